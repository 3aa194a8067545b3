// The gradient of sparsemax and entmax from their output y, as a kind of rows.wgsl over sums.wgsl:
// dx = s (dy - sum(s dy) / sum(s)) with s = y^(2 - alpha) where y > 0, else 0. uniforms.number is
// alpha - 1. The composer writes `KIND` and what sums.wgsl asks for of the arrays; x is y.

const SPARSEMAX: u32 = 0u;
const ENTMAX15: u32 = 1u;
const ENTMAX: u32 = 2u;
// Entmax with alpha > 2: s is a power below 0, whose logarithm is kept so that no sum overflows.
const STEEP: u32 = 3u;

const REDUCES: bool = false;
const MASKED: bool = false;
const LONG: bool = false;
const FROM_OUTPUT: bool = KIND != STEEP;
const EXACT_MAX: bool = false;
const DOTS: bool = true;
const DOTS_SCALED: bool = true;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

// s, or the logarithm of s in two parts.
alias Value = vec2<f32>;

fn value_at(line: Line, k: u32, at: u32, x: f32, kept: bool) -> Value {
    let y = select(0.0, x, kept);
    if is_nan(y) {
        return vec2<f32>(y, 0.0);
    }
    if !(y >= 1.17549435e-38) {
        return vec2<f32>(select(0.0, negative_infinity(), KIND == STEEP), 0.0);
    }
    if KIND == SPARSEMAX {
        return vec2<f32>(1.0, 0.0);
    }
    if KIND == ENTMAX15 {
        // One step of Heron's takes back what the device's root may lack.
        let r = sqrt(y);
        return vec2<f32>(r + 0.5 * quotient(rest_of_square(y, r), r), 0.0);
    }
    // Past this every weight but those of equal results is infinite against the next.
    let power = at_least(settled(1.0 - uniforms.number), -1e36);
    let power_hi = leading(power);
    let log_y = log_parts(y, 0.0);
    let hi = settled(log_y.x * power_hi);
    let lo = log_y.x * (power - power_hi) + log_y.y * power;
    if KIND == STEEP {
        // Beyond a million, where the first part has no fractions, the second would be large.
        let whole = settled(hi + lo);
        let rest = settled(hi - whole) + lo;
        return vec2<f32>(whole, select(rest, 0.0, abs(whole) > 1e6));
    }
    return vec2<f32>(exp_sum(hi, lo), 0.0);
}

// y - r^2.
fn rest_of_square(y: f32, r: f32) -> f32 {
    let p = product(r, r);
    return settled(y - p.x) - p.y;
}

fn lowest() -> Value {
    return vec2<f32>(select(negative_infinity(), 0.0, FROM_OUTPUT), 0.0);
}

fn end_of(line: Line, end: u32) -> u32 {
    return end;
}

fn row_of(v: Value, seen: f32, sum: f32, dot: f32) -> Row {
    return Row(v.x, seen, sum, dot);
}

fn value_of_row(r: Row) -> Value {
    return vec2<f32>(r.max, 0.0);
}

fn higher_value(a: Value, b: Value) -> Value {
    return select(a, b, b.x > a.x);
}

fn rises(b: Value, a: Value) -> bool {
    return (b.x > a.x) | is_nan(b.x);
}

fn same(a: Value, b: Value) -> bool {
    return (a.x == b.x) & (a.y == b.y);
}

fn is_infinite(v: Value) -> bool {
    return is_inf(v.x);
}

fn snapped_value(v: Value) -> Value {
    return vec2<f32>(snapped(v.x), 0.0);
}

fn fixed(v: Value) -> Reference {
    return reference_of(v.x);
}

fn far_above(v: Value, m: Value) -> bool {
    return v.x > m.x + HEADROOM;
}

fn keep_eight(line: Line, k: u32, step: u32, count: u32) -> u32 {
    return 255u;
}

fn weight(v: Value, m: Value) -> f32 {
    if FROM_OUTPUT {
        return v.x;
    }
    let d = sum(v.x, -m.x);
    let e = exp_sum(d.x, d.y + (v.y - m.y));
    return select(select(e, 0.0, v.x - m.x < -200.0 || is_inf(v.x)), v.x, is_nan(v.x));
}

fn weight_from(v: Value, m: Reference) -> f32 {
    if FROM_OUTPUT {
        return v.x;
    }
    return select(exp_from(v.x, v.y, m), v.x, is_nan(v.x));
}

// s g, where a 0 wins over an infinity, and not over a NaN: an s can be beyond f32.
fn weighted(s: f32, g: f32) -> f32 {
    return select(s * g, 0.0, (s == 0.0 && !is_nan(g)) || (g == 0.0 && !is_nan(s)));
}

fn dot_term(g: f32, w: f32) -> f32 {
    return weighted(w, g);
}

fn completed(row: u32, r: Row) -> Row {
    return r;
}

fn store_row(row: u32, r: Row) {
}

fn finish_share(line: Line, share: Share, r: Row) {
    let mean = quotient(r.dot, r.sum);
    let nan = is_nan(r.sum) || is_nan(r.dot) || r.seen == NAN_SEEN;
    let step = share.step;
    for (var u = share.first; u < share.end; u += PARTS * step) {
        let count = min((share.end - u + step - 1u) / step, PARTS);
        let t = turn_at(line, u, step, count, 255u);
        let v = t.values;
        let stride = step * uniforms.inner;
        let g = load_term((uniforms.dy_first + t.at) / UNIT, stride, count);
        store_out((uniforms.out_first + t.at) / UNIT, stride, count, Eight(
            result(v[0], g[0], mean, nan), result(v[1], g[1], mean, nan),
            result(v[2], g[2], mean, nan), result(v[3], g[3], mean, nan),
            result(v[4], g[4], mean, nan), result(v[5], g[5], mean, nan),
            result(v[6], g[6], mean, nan), result(v[7], g[7], mean, nan)));
    }
}

fn result(v: Value, g: f32, mean: f32, nan: bool) -> f32 {
    var s = v.x;
    if KIND == STEEP {
        s = exp_sum(v.x, v.y);
        s = select(s, 0.0, is_inf(v.x));
    }
    let dx = weighted(s, g - mean);
    // Where nothing was positive there is no mean, and no weight.
    let value = select(dx, 0.0, s == 0.0);
    return select(value, not_a_number(), nan);
}

fn holds_row() -> bool {
    return false;
}

fn held_row(line: Line) {
}
