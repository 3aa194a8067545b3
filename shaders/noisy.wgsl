// Elements of rows.wgsl with noise: (x + n) / tau, for the softmax of gumbel_softmax. The noise
// lies where the result goes, and is read for the last time just before. uniforms.number is tau.

const MASKED: bool = false;

struct Line {
    start: u32,
    row: u32,
}

// 1 / tau as hi, lo of which hi has 12 bits; made once, with the line.
var<private> rate: vec2<f32>;

fn line_of(row: u32) -> Line {
    let tau = uniforms.number;
    let tau_hi = leading(tau);
    let r = quotient_parts(1.0, 0.0, tau_hi, tau - tau_hi);
    let hi = leading(r.x);
    rate = vec2<f32>(hi, (r.x - hi) + r.y);
    return Line(row_start(row), row);
}

// The value as hi, lo.
alias Value = vec2<f32>;

fn value_at(line: Line, k: u32, at: u32, x: f32, kept: bool) -> Value {
    let v = select(negative_infinity(), x, kept);
    let t = sum(v, out[uniforms.out_first + at]);
    let r = rate;
    let product = settled(t.x * r.x);
    let rest = t.x * r.y + t.y * (r.x + r.y);
    let hi = settled(product + rest);
    let lo = settled(settled(product - hi) + rest);
    // Of what is huge the rest would be no exponent, and what is infinite has none.
    let has_rest = abs(hi) < 1e9;
    return vec2<f32>(select(select(hi, product, is_inf(product)), v, is_inf(v)), select(0.0, lo, has_rest));
}

fn high(v: Value) -> f32 {
    return v.x;
}

fn end_of(line: Line, end: u32) -> u32 {
    return end;
}

fn low(v: Value) -> f32 {
    return v.y;
}

fn flat(m: f32) -> Value {
    return vec2<f32>(m, 0.0);
}

fn value_of_row(r: Row) -> Value {
    return flat(r.max);
}

fn higher_value(a: Value, b: Value) -> Value {
    return select(a, b, b.x > a.x);
}

fn same(a: Value, b: Value) -> bool {
    return (a.x == b.x) & (a.y == b.y);
}

fn keep_eight(line: Line, k: u32, step: u32, count: u32) -> u32 {
    return 255u;
}

fn weight(v: Value, m: Value) -> f32 {
    let d = sum(v.x, -m.x);
    let e = exp_sum(d.x, d.y + (v.y - m.y));
    return select(e, 0.0, v.x - m.x < -200.0 || (is_inf(v.x) && v.x < 0.0));
}

fn weight_from(v: Value, m: Reference) -> f32 {
    return exp_from(v.x, v.y, m);
}

// The gradient by an element x whose gradient by its value is d.
fn by_input(d: f32, x: f32) -> f32 {
    let r = rate;
    return d * r.x + d * r.y;
}

fn completed(r: Row) -> Row {
    return r;
}

fn nothing_kept(r: Row) -> f32 {
    return 0.0;
}

fn of_nothing(r: Row, value: f32) -> f32 {
    return value;
}
