// Elements of rows.wgsl with noise: (x + n) / tau, for the softmax of gumbel_softmax. The noise
// lies where the result goes, and is read for the last time just before. uniforms.number is tau.

const MASKED: bool = false;
const SINK: bool = false;
const LONG: bool = true;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

// 1 / tau, in units of 4.
fn rate_of() -> Factor {
    // tau is a normal number, 2^n t.
    let bits = bitcast<u32>(uniforms.number);
    let n = i32(bits >> 23u) - 127;
    let t = split(bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u));
    let r = reciprocal_parts(t.x, t.y);
    // A quarter before a difference, so that it stays inside f32.
    let half = -n >> 1u;
    let down = min(half, 0);
    return Factor(r.x, r.y, 0.25 * pow2(down), pow2(half - down), pow2(-n - half), -n, 0.0, 0u);
}

// An element and its noise: differences of values are exact before they are divided.
alias Value = vec2<f32>;

fn value_at(line: Line, k: u32, at: u32, x: f32, kept: bool) -> Value {
    let v = vec2<f32>(x, out[uniforms.out_first + at]);
    let inside = is_finite(v.x) & is_finite(v.y);
    return select(lowest(), select(vec2<f32>(v.x + v.y, 0.0), v, inside), kept);
}

fn lowest() -> Value {
    return vec2<f32>(negative_infinity(), 0.0);
}

fn zero_value() -> Value {
    return vec2<f32>(0.0, 0.0);
}

fn end_of(line: Line, end: u32) -> u32 {
    return end;
}

// The second part of a row's value is where the pass needs nothing else.
fn row_of(v: Value, seen: f32, sum: f32, dot: f32) -> Row {
    return Row(v.x, select(seen, v.y, DOTS), sum, select(v.y, dot, DOTS));
}

fn value_of_row(r: Row) -> Value {
    return vec2<f32>(r.max, select(r.dot, r.seen, DOTS));
}

fn higher_value(a: Value, b: Value) -> Value {
    return select(a, b, difference(b, a).x > 0.0);
}

fn rises(b: Value, a: Value) -> bool {
    return (difference(b, a).x > 0.0) | is_nan(b.x);
}

fn same(a: Value, b: Value) -> bool {
    return (a.x == b.x) & (a.y == b.y);
}

fn is_infinite(v: Value) -> bool {
    return is_inf(v.x);
}

fn snapped_value(v: Value) -> Value {
    return v;
}

// The two parts of a value; nothing is to be taken from -infinity.
fn fixed(v: Value) -> Reference {
    let none = is_inf(v.x) & (v.x < 0.0);
    return Reference(select(v.x, 0.0, none), v.y);
}

fn far_above(v: Value, m: Value) -> bool {
    return difference(v, m).x > HEADROOM;
}

fn difference(v: Value, m: Value) -> vec2<f32> {
    let rate = rate_of();
    let d = times_factor(added(apart(v.x, m.x, rate.pre), apart(v.y, m.y, rate.pre)), rate);
    return bounded(vec2<f32>(4.0 * d.x, 4.0 * d.y));
}

fn keep_eight(line: Line, k: u32, step: u32, count: u32) -> u32 {
    return 255u;
}

fn weight(v: Value, m: Value) -> f32 {
    return weight_from(v, fixed(m));
}

fn weight_from(v: Value, m: Reference) -> f32 {
    return exp_of(difference(v, vec2<f32>(m.far, m.near)));
}

// The gradient by an element x whose value is v and whose upstream gradient is g.
fn gradient_at(v: Value, x: f32, g: f32, w: Whole) -> f32 {
    return steep_gradient(difference(v, vec2<f32>(w.reference.far, w.reference.near)), rate_of(), g, w);
}

fn completed(row: u32, r: Row) -> Row {
    return r;
}

fn nothing_kept(r: Row) -> f32 {
    return 0.0;
}

fn of_nothing(r: Row, value: f32) -> f32 {
    return value;
}
