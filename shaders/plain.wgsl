// Elements of sums.wgsl as they are, times the sign of the function's argument.

const MASKED: bool = false;
const SINK: bool = false;
const LONG: bool = false;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

alias Value = f32;

fn keep_eight(line: Line, k: u32, step: u32, count: u32) -> u32 {
    return 255u;
}

fn value_at(line: Line, k: u32, at: u32, x: f32, kept: bool) -> f32 {
    if FROM_OUTPUT {
        return select(0.0, x, kept);
    }
    return select(negative_infinity(), uniforms.sign * x, kept);
}

fn lowest() -> f32 {
    return select(negative_infinity(), 0.0, FROM_OUTPUT);
}

fn zero_value() -> f32 {
    return 0.0;
}

fn row_of(v: f32, seen: f32, sum: f32, dot: f32) -> Row {
    return Row(v, seen, sum, dot);
}

fn value_of_row(r: Row) -> f32 {
    return r.max;
}

fn higher_value(a: f32, b: f32) -> f32 {
    return select(a, b, b > a);
}

fn rises(b: f32, a: f32) -> bool {
    return (b > a) | is_nan(b);
}

fn same(a: f32, b: f32) -> bool {
    return a == b;
}

fn is_infinite(v: f32) -> bool {
    return is_inf(v);
}

fn snapped_value(v: f32) -> f32 {
    return snapped(v);
}

fn fixed(v: f32) -> Reference {
    return reference_of(v);
}

fn far_above(v: f32, m: f32) -> bool {
    return v > m + HEADROOM;
}

fn difference(v: f32, m: f32) -> vec2<f32> {
    return bounded(exact_sum(v, -m));
}

fn end_of(line: Line, end: u32) -> u32 {
    return end;
}

// An element's softmax times its row's sum.
fn weight(v: f32, m: f32) -> f32 {
    if FROM_OUTPUT {
        return v;
    }
    return exp_below(v, m);
}

fn weight_from(v: f32, m: Reference) -> f32 {
    if FROM_OUTPUT {
        return v;
    }
    return exp_from(v, 0.0, m);
}

// The gradient by an element x whose value is v and whose upstream gradient is g.
fn gradient_at(v: f32, x: f32, g: f32, w: Whole) -> f32 {
    return held_result(v, weight_from(v, w.reference), g, w);
}

fn completed(row: u32, r: Row) -> Row {
    return r;
}

// The result of an element that takes no part.
fn nothing_kept(r: Row) -> f32 {
    return 0.0;
}

// A row's result, which is `value` where an element takes part.
fn of_nothing(r: Row, value: f32) -> f32 {
    return value;
}
