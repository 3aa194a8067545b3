// The softmax family along one axis of an array seen as (outer, len, inner), forward and
// backward, by two passes over a row: its maximum m, then the sum of e^(x - m). Three ways to
// divide the work, planned by the host:
//   row_per_invocation, row_per_workgroup;
//   split_partial, split_combine, split_finish: `lanes` invocations a row.
// The composer writes, for what is computed and for which buffers are one, `KIND`, `BACKWARD`,
// `FROM_OUTPUT` (softmax's gradient with its own output as x), `load_x(i)`, `load_dy(i)`, `dot_term(i, row, e)` and `store_row(row, r)`, so that an entry
// point refers to just the bindings that it has.

struct Uniforms {
    // Length of a row in this binding, and the stride of its elements.
    len: u32,
    inner: u32,
    // Rows in this binding.
    rows: u32,
    // Where the arrays begin in their bindings, in elements.
    x_first: u32,
    dy_first: u32,
    out_first: u32,
    // split: invocations a row, all partial results a row, and the first one's place.
    lanes: u32,
    partials: u32,
    partial_first: u32,
    // split: the first row's place among the partial results' rows.
    row_first: u32,
    // -1 for softmin, else 1.
    sign: f32,
    // 0, which no compiler knows: infinities and NaN are made with it.
    zero: u32,
}

const SOFTMAX: u32 = 0u;
const LOG_SOFTMAX: u32 = 1u;
const LOGSUMEXP: u32 = 2u;

// Whether a row's result is one value.
const REDUCES: bool = KIND == LOGSUMEXP && !BACKWARD;

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(4) var<storage, read_write> partials: array<Row>;

// What a row's elements are reduced to.
struct Row {
    // The maximum, and whether an element was NaN (1) or not (0).
    max: f32,
    nan: f32,
    // Sum of e^(x - max); backward also of g e^(x - max), or of g for log_softmax.
    sum: f32,
    dot: f32,
}

// A sum with the part that its rounding lost (Kahan 1965), added to by blocks.
struct Sum {
    value: f32,
    lost: f32,
}

const BLOCK: u32 = 32u;

fn add(s: Sum, term: f32) -> Sum {
    let y = term - s.lost;
    let t = s.value + y;
    return Sum(t, settled(settled(t) - s.value) - y);
}

// e^(x - m) for x <= m with the difference's rounding error carried along; 0 for x = -infinity,
// NaN for x = +infinity and for NaN.
fn exp_below(x: f32, m: f32) -> f32 {
    let d = sum(x, -m);
    let e = exp_sum(d.x, d.y);
    return select(e, 0.0, x - m < -200.0 || (is_inf(x) && x < 0.0));
}

fn element(i: u32) -> f32 {
    let v = load_x(uniforms.x_first + i);
    return select(uniforms.sign * v, v, FROM_OUTPUT);
}

// An element's softmax times its row's sum.
fn weight(v: f32, m: f32) -> f32 {
    if FROM_OUTPUT {
        return v;
    }
    return exp_below(v, m);
}

// The upstream gradient of element i, which is the row's own for logsumexp.
fn upstream(i: u32, row: u32) -> f32 {
    return load_dy(uniforms.dy_first + select(i, row, KIND == LOGSUMEXP));
}

// The first element of a row.
fn row_start(row: u32) -> u32 {
    return (row / uniforms.inner) * uniforms.len * uniforms.inner + row % uniforms.inner;
}

// A row's elements first, first + step, ...: maximum, then sums.
fn reduce(row: u32, start: u32, first: u32, step: u32) -> Row {
    let inner = uniforms.inner;
    // A row of no elements stays at -infinity.
    var m = select(nothing().max, 0.0, FROM_OUTPUT);
    var nan = 0.0;
    if !FROM_OUTPUT && first < uniforms.len {
        m = element(start + first * inner);
    }
    for (var i = first; i < uniforms.len && !FROM_OUTPUT; i += step) {
        let v = element(start + i * inner);
        m = select(m, v, v > m);
        nan = select(nan, 1.0, is_nan(v));
    }
    var total = Sum(0.0, 0.0);
    var dots = Sum(0.0, 0.0);
    for (var i = first; i < uniforms.len;) {
        var block = 0.0;
        var dot_block = 0.0;
        for (var k = 0u; k < BLOCK && i < uniforms.len; k++) {
            let at = start + i * inner;
            let e = weight(element(at), m);
            block += e;
            dot_block += dot_term(at, row, e);
            i += step;
        }
        total = add(total, block);
        dots = add(dots, dot_block);
    }
    return Row(m, nan, total.value, dots.value);
}

// Two parts of a row as one. A part of nothing but -infinity, or of nothing, has a sum of 0.
fn merge(a: Row, b: Row) -> Row {
    let m = select(a.max, b.max, b.max > a.max || is_nan(b.max));
    let wa = select(exp_below(a.max, m), 1.0, a.max == m);
    let wb = select(exp_below(b.max, m), 1.0, b.max == m);
    let dots = select(a.dot * wa + b.dot * wb, a.dot + b.dot, KIND == LOG_SOFTMAX);
    return Row(m, max(a.nan, b.nan), a.sum * wa + b.sum * wb, dots);
}

// The part of an invocation that has no element.
fn nothing() -> Row {
    return Row(bitcast<f32>(0xff800000u + uniforms.zero), 0.0, 0.0, 0.0);
}

// An infinite maximum is the limit; a NaN element wins over it.
fn logsumexp_of(r: Row) -> f32 {
    let value = select(r.max + log_positive(r.sum), r.max, is_inf(r.max));
    return select(value, bitcast<f32>(0x7fc00000u + uniforms.zero), r.nan > 0.0);
}

// x - m - log(sum).
fn log_softmax_of(v: f32, r: Row, log_sum: f32) -> f32 {
    let d = sum(v, -r.max);
    let plain = v - r.max;
    return select(plain - log_sum, d.x - (log_sum - d.y), plain > -1e30);
}

// The result at element i of a row that was reduced to r.
fn finish(i: u32, row: u32, r: Row, log_sum: f32) {
    let v = element(i);
    var y: f32;
    if BACKWARD {
        // A row of outputs has the sum 1 by what it is.
        let sum = select(r.sum, 1.0, FROM_OUTPUT);
        let share = weight(v, r.max) / sum;
        let g = upstream(i, row);
        if KIND == SOFTMAX {
            y = uniforms.sign * share * (g - r.dot / sum);
        } else if KIND == LOG_SOFTMAX {
            y = g - share * r.dot;
        } else {
            y = g * share;
        }
    } else if KIND == SOFTMAX {
        y = exp_below(v, r.max) / r.sum;
    } else {
        y = log_softmax_of(v, r, log_sum);
    }
    out[uniforms.out_first + i] = y;
}

// A row's log of the sum; with a NaN where the row has no defined log_softmax.
fn row_log_sum(r: Row) -> f32 {
    return select(log_positive(r.sum), r.sum, is_nan(r.sum));
}

@compute @workgroup_size(workgroup_size)
fn row_per_invocation(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let row = id.y * (groups.x * workgroup_size) + id.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row_start(row);
    let r = reduce(row, start, 0u, 1u);
    if REDUCES {
        store_row(row, r);
        return;
    }
    let log_sum = row_log_sum(r);
    for (var i = 0u; i < uniforms.len; i++) {
        finish(start + i * uniforms.inner, row, r, log_sum);
    }
}

var<workgroup> shared_rows: array<Row, workgroup_size>;

// The merged parts of all of a workgroup's invocations, in each of them.
fn merge_workgroup(part: Row, local: u32) -> Row {
    shared_rows[local] = part;
    workgroupBarrier();
    // Any workgroup size: the upper part folds onto the lower until one is left.
    for (var width = workgroup_size; width > 1u;) {
        let half = (width + 1u) / 2u;
        if local + half < width {
            shared_rows[local] = merge(shared_rows[local], shared_rows[local + half]);
        }
        workgroupBarrier();
        width = half;
    }
    return workgroupUniformLoad(&shared_rows[0]);
}

@compute @workgroup_size(workgroup_size)
fn row_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    opaque_zero = uniforms.zero;
    // Surplus workgroups of the fold compute the last row again and write what it has.
    let row = min(group.y * groups.x + group.x, uniforms.rows - 1u);
    let surplus = group.y * groups.x + group.x >= uniforms.rows;
    let start = row_start(row);
    var part = nothing();
    if local < uniforms.len {
        part = reduce(row, start, local, workgroup_size);
    }
    let r = merge_workgroup(part, local);
    if surplus {
        return;
    }
    if REDUCES {
        if local == 0u {
            store_row(row, r);
        }
        return;
    }
    let log_sum = row_log_sum(r);
    for (var i = local; i < uniforms.len; i += workgroup_size) {
        finish(start + i * uniforms.inner, row, r, log_sum);
    }
}

// An invocation of a split row: the lane is fastest where rows are contiguous, else the row.
struct Part {
    row: u32,
    lane: u32,
    inside: bool,
}

fn part_of(index: u32) -> Part {
    let inner = uniforms.inner;
    let column = index % inner;
    let rest = index / inner;
    let row = (rest / uniforms.lanes) * inner + column;
    return Part(row, rest % uniforms.lanes, row < uniforms.rows);
}

@compute @workgroup_size(workgroup_size)
fn split_partial(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let part = part_of(id.y * (groups.x * workgroup_size) + id.x);
    if !part.inside {
        return;
    }
    var r = nothing();
    if part.lane < uniforms.len {
        r = reduce(part.row, row_start(part.row), part.lane, uniforms.lanes);
    }
    partials[(uniforms.row_first + part.row) * uniforms.partials + uniforms.partial_first + part.lane] = r;
}

// One workgroup a row: all partial results into the row's first.
@compute @workgroup_size(workgroup_size)
fn split_combine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    opaque_zero = uniforms.zero;
    let row = min(group.y * groups.x + group.x, uniforms.rows - 1u);
    let surplus = group.y * groups.x + group.x >= uniforms.rows;
    let first = row * uniforms.partials;
    var part = nothing();
    for (var i = local; i < uniforms.partials; i += workgroup_size) {
        part = merge(part, partials[first + i]);
    }
    let r = merge_workgroup(part, local);
    if local == 0u && !surplus {
        partials[first] = r;
        store_row(row, r);
    }
}

@compute @workgroup_size(workgroup_size)
fn split_finish(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let part = part_of(id.y * (groups.x * workgroup_size) + id.x);
    if !part.inside {
        return;
    }
    let r = partials[(uniforms.row_first + part.row) * uniforms.partials];
    let log_sum = row_log_sum(r);
    let start = row_start(part.row);
    for (var i = part.lane; i < uniforms.len; i += uniforms.lanes) {
        finish(start + i * uniforms.inner, part.row, r, log_sum);
    }
}
