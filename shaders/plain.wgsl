// Elements of rows.wgsl as they are, times the sign of the function's argument. The composer
// supplies `load_x(i)`.

const MASKED: bool = false;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

alias Value = f32;

fn keep(line: Line, k: u32) -> bool {
    return true;
}

fn keep_four(line: Line, k: u32, step: u32) -> u32 {
    return 15u;
}

fn element(line: Line, k: u32, at: u32, kept: bool) -> f32 {
    let v = load_x(uniforms.x_first + at);
    return select(uniforms.sign * v, v, FROM_OUTPUT);
}

fn high(v: f32) -> f32 {
    return v;
}

fn low(v: f32) -> f32 {
    return 0.0;
}

fn flat(m: f32) -> f32 {
    return m;
}

fn value_of_row(r: Row) -> f32 {
    return r.max;
}

fn higher_value(a: f32, b: f32) -> f32 {
    return higher(a, b);
}

fn same(a: f32, b: f32) -> bool {
    return (a == b) & !is_inf(a);
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

// x - m - log(sum).
fn log_softmax_of(v: f32, m: f32, log_sum: f32) -> f32 {
    let d = sum(v, -m);
    let plain = v - m;
    return select(plain - log_sum, d.x - (log_sum - d.y), plain > -1e30);
}

// The gradient by x of an element whose gradient by its value is d.
fn by_input(d: f32, at: u32) -> f32 {
    return d;
}

fn completed(r: Row) -> Row {
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
