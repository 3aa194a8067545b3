// The first maximum of a row, as a kind of rows.wgsl: hardmax, maxout and its gradient. The
// composer writes `KIND` and, for the buffers that there are, `load_x(at)`, `load_dy(row)` and
// `store_row(row, r)`.

const HARDMAX: u32 = 0u;
const MAXOUT: u32 = 1u;
const MAXOUT_GRAD: u32 = 2u;
// Zeros; what counts of an element is whether it is NaN.
const HARDMAX_GRAD: u32 = 3u;

const REDUCES: bool = KIND == MAXOUT;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

// A maximum and its place in the whole row. A NaN is the maximum of every row that has one.
struct Row {
    value: f32,
    index: u32,
    padding_0: u32,
    padding_1: u32,
}

fn nothing() -> Row {
    return Row(negative_infinity(), 0xffffffffu, 0u, 0u);
}

// The larger of two, or of equal ones that which comes first.
fn merge(a: Row, b: Row) -> Row {
    let nan_a = is_nan(a.value);
    let nan_b = is_nan(b.value);
    let same = (nan_a && nan_b) || (!nan_a && !nan_b && a.value == b.value);
    let larger = (nan_b && !nan_a) || (!nan_b && !nan_a && b.value > a.value);
    if larger || (same && b.index < a.index) {
        return b;
    }
    return a;
}

fn reduce(line: Line, share: Share) -> Row {
    var r = nothing();
    for (var i = share.first; i < share.end; i += share.step) {
        let v = load_x(line.start + i * uniforms.inner);
        r = merge(r, Row(v, uniforms.step_offset + i, 0u, 0u));
    }
    return r;
}

fn completed(row: u32, r: Row) -> Row {
    return r;
}

fn finish_share(line: Line, share: Share, r: Row) {
    var at_maximum = 1.0;
    if KIND == MAXOUT_GRAD {
        at_maximum = load_dy(line.row);
    } else if KIND == HARDMAX_GRAD {
        at_maximum = 0.0;
    }
    let undefined = KIND != MAXOUT_GRAD && is_nan(r.value);
    for (var i = share.first; i < share.end; i += share.step) {
        let at = line.start + i * uniforms.inner;
        var y = select(0.0, at_maximum, uniforms.step_offset + i == r.index);
        if KIND == MAXOUT_GRAD {
            let v = load_x(at);
            y = select(y, v, is_nan(v));
        }
        out[uniforms.out_first + at] = select(y, not_a_number(), undefined);
    }
}

fn holds_row() -> bool {
    return false;
}

fn held_row(line: Line) {
}
