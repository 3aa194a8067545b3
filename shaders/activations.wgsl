// The catalogue's activations: for each row `name` a pair of pure functions `name` and
// `name_grad` of x and the row's parameters, over math.wgsl. A name that WGSL itself has
// (abs, clamp, exp, tanh) ends in an underscore. NaN needs no care here: the kernel passes a
// NaN input on.

const FRAC_1_SQRT_2PI: f32 = 0.39894228;
const FRAC_2_SQRT_PI: f32 = 1.12837917;

fn indicator(condition: bool) -> f32 {
    return select(0.0, 1.0, condition);
}

// parameter * x with 0 * infinity = 0, the limit for a slope of zero.
fn times(parameter: f32, x: f32) -> f32 {
    return select(parameter * x, parameter * at_least(at_most(x, 1.0), -1.0), parameter == 0.0);
}

fn relu(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0);
}
fn relu_grad(x: f32) -> f32 {
    return indicator(x > 0.0);
}

fn relu6(x: f32) -> f32 {
    return at_most(relu(x), 6.0);
}
fn relu6_grad(x: f32) -> f32 {
    return indicator((x > 0.0) & (x < 6.0));
}

fn leaky_relu(x: f32, negative_slope: f32) -> f32 {
    return select(times(negative_slope, x), x, x > 0.0);
}
fn leaky_relu_grad(x: f32, negative_slope: f32) -> f32 {
    return select(negative_slope, 1.0, x > 0.0);
}

fn elu(x: f32, alpha: f32) -> f32 {
    return select(alpha * expm1_sum(at_most(x, 0.0), 0.0), x, x > 0.0);
}
fn elu_grad(x: f32, alpha: f32) -> f32 {
    return select(exp_times(alpha, at_most(x, 0.0), 0.0), 1.0, x > 0.0);
}

// A product with one rounding, whatever its factors, as m 2^n with m as hi, lo.
struct Factors {
    m: vec2<f32>,
    n: i32,
}
fn factors(a: f32, b: f32) -> Factors {
    let x = normalised(a);
    let y = normalised(b);
    let m = product(x.m, y.m);
    return Factors(narrowed(m.x, m.y), x.n + y.n);
}
fn selu(x: f32, alpha: f32, scale_: f32) -> f32 {
    let near = at_most(x, 0.0);
    let e = expm1_parts(near, 0.0);
    let f = factors(scale_, alpha);
    let y = times_parts(f.m, narrowed(e.x, e.y));
    // A tiny x is taken up, so that its product is normal.
    let tiny = near > -1e-20;
    let below = select(y.x + y.y, (f.m.x + f.m.y) * (near * 1.8446744e19), tiny);
    return select(scale(below, max(f.n - select(0, 64, tiny), -252)), times(scale_, x), x > 0.0);
}
fn selu_grad(x: f32, alpha: f32, scale_: f32) -> f32 {
    let f = factors(scale_, alpha);
    return select(scaled_exp(f.m.x + f.m.y, f.n, exp_far(at_most(x, 0.0), 0.0)), scale_, x > 0.0);
}

// x / alpha as hi, lo; x is taken out alpha's power of two first. Where the quotient saturates the
// residual does not matter.
fn celu_argument(x: f32, alpha: f32) -> vec2<f32> {
    let a = normalised(alpha);
    let top = scale(at_most(x, 0.0), -a.n);
    let hi = ratio(top, a.m);
    let p = product(hi, a.m);
    let exact = (abs(hi) < 400.0) & (abs(top) > 1e-30);
    return vec2<f32>(hi, select(0.0, ratio(settled(top - p.x) - p.y, a.m), exact));
}
fn celu(x: f32, alpha: f32) -> f32 {
    let z = celu_argument(x, alpha);
    // alpha (e^z - 1) = x (1 + z/2 + ...), which also outlives an underflow of z.
    let small = x + x * (z.x * (0.5 + z.x * (0.16666667 + z.x * 0.041666668)));
    let power = exp_far(z.x, 0.0);
    let e = less_one(power);
    // What z.y adds, apart: beside e.y it would be rounded away.
    let rest = z.y * at_most(1.0 + (e.x + e.y), 3e38);
    let near = narrowed(e.x, e.y);
    let far = times_parts(split(alpha), vec2<f32>(near.x, near.y + rest));
    let plain = alpha * (e.x + (e.y + rest));
    let a = normalised(alpha);
    // Past 60 the 1 is nothing, and the power may leave f32.
    let past = scaled_exp(a.m, a.n, Scaled(power.q + z.y * (1.0 + power.q), power.n));
    let large = select(select(plain, far.x + far.y, is_moderate(alpha)), past, z.x > 60.0);
    let y = select(large, small, abs(z.x) < 0.02);
    return select(y, x, x > 0.0);
}
fn celu_grad(x: f32, alpha: f32) -> f32 {
    let z = celu_argument(x, alpha);
    return select(exp_sum(z.x, z.y), 1.0, x > 0.0);
}

// Phi(-t) e^(t^2/2) as hi, lo, every factor carried with its rounding error, which is what a
// bound of 2 ULP asks. One quotient serves the polynomial's variable and the denominator.
fn normal_tail_parts(t: f32) -> vec2<f32> {
    let r = ratio(1.0, (t + 1.0) * (t + 4.0));
    let d = one_plus(t);
    let whole = r * (t + 4.0);
    let hi = leading(whole);
    let lo = (settled(1.0 - hi * d.x) - hi * d.y) * whole;
    let top = narrowed(0.46875, normal_tail_rest(t, r * (t + 1.0)));
    return times_parts(top, vec2<f32>(hi, lo));
}
// t Phi(-t).
fn gelu_tail(x: f32) -> f32 {
    let t = at_most(abs(x), 16.0);
    let e = gaussian_scaled(t, 0.5);
    let m = normal_tail_parts(t);
    let p = times_parts(narrowed(m.x, m.y), split(t));
    return scale(p.x + settled(p.y + (p.x + p.y) * e.q), e.n);
}
// x Phi(x) is -t Phi(-t) below zero and x - x Phi(-x) above; near zero it is x / 2.
fn gelu(x: f32) -> f32 {
    let tail = gelu_tail(x);
    return select(select(x - tail, -tail, x < 0.0), 0.5 * x, abs(x) < 1e-20);
}
fn gelu_grad(x: f32) -> f32 {
    let t = at_most(abs(x), 16.0);
    let e = gaussian_scaled(t, 0.5);
    let m = normal_tail_parts(t);
    // t / sqrt(2 pi).
    let c = times_parts(split(t), vec2<f32>(0.39892578125, 1.64989999e-5));
    let share = settled(m.x - c.x);
    let larger = select(-c.x, m.x, m.x > c.x);
    let rest = settled(settled(larger - share) + other_of(m.x, -c.x, larger)) + (m.y - c.y);
    // f'(-t); f'(x) + f'(-x) = 1.
    let below = scale(share + settled(rest + (share + rest) * e.q), e.n);
    return select(1.0 - below, below, x < 0.0);
}

// x (2 sqrt(2/pi) + k x^2) as hi, lo; the sum loses nothing, since both terms have the sign of
// x. k's hi has 12 bits.
fn cubic(x: f32, k: vec2<f32>) -> vec2<f32> {
    let square = product(x, x);
    let sh = leading(square.x);
    let rest = k.x * (settled(square.x - sh) + square.y) + k.y * (square.x + square.y);
    let inner = sum(1.595703125, settled(k.x * sh));
    return times_parts(split(x), vec2<f32>(inner.x, inner.y + (rest + 6.59966057e-5)));
}
// 2 sqrt(2/pi) (x + 0.044715 x^3).
fn gelu_tanh_argument(x: f32) -> vec2<f32> {
    return cubic(x, vec2<f32>(0.07135009765625, 4.71861635e-6));
}
fn gelu_tanh(x: f32) -> f32 {
    let near = at_least(at_most(x, 16.0), -16.0);
    let z = gelu_tanh_argument(near);
    return gated_sum(at_least(x, -16.0), z.x, z.y);
}
fn gelu_tanh_grad(x: f32) -> f32 {
    let near = at_least(at_most(x, 12.0), -12.0);
    let z = gelu_tanh_argument(near);
    // x z', where the cubic term counts three times.
    let rise = cubic(near, vec2<f32>(0.21405029296875, 1.41558494e-05));
    return gated_slope(z.x, z.y, rise);
}

fn quick_gelu(x: f32) -> f32 {
    return swish(x, 1.702);
}
fn quick_gelu_grad(x: f32) -> f32 {
    return swish_grad(x, 1.702);
}

fn silu(x: f32) -> f32 {
    return gated_sum(x, x, 0.0);
}
fn silu_grad(x: f32) -> f32 {
    let near = at_least(at_most(x, 150.0), -150.0);
    return gated_slope(near, 0.0, vec2<f32>(near, 0.0));
}

// beta x as hi, lo; an infinity stays, and what overflows or underflows needs no second part.
fn swish_argument(x: f32, beta: f32) -> vec2<f32> {
    let plain = times(beta, x);
    let z = product(beta, x);
    let inside = (abs(plain) < 300.0) & (abs(plain) > 1e-20);
    return select(vec2<f32>(plain, 0.0), z, inside);
}
fn swish(x: f32, beta: f32) -> f32 {
    let z = swish_argument(x, beta);
    // A huge x outlives e^z far down: (x 2^-64) e^(z + 64 log 2) there.
    let far = z.x < -120.0;
    let hi = z.x + select(0.0, 44.375, far);
    let lo = z.y - select(0.0, 0.013580444, far);
    // Nor may parts of a huge x leave f32 where the result does not.
    let large = (abs(x) > 1e38) & !far;
    let down = select(select(1.0, 5.421010862427522e-20, far), 0.25, large);
    return gated_sum(x * down, hi, lo) * select(1.0, 4.0, large);
}
fn swish_grad(x: f32, beta: f32) -> f32 {
    let z = swish_argument(x, beta);
    let near = at_least(at_most(z.x, 150.0), -150.0);
    return gated_slope(near, z.y, vec2<f32>(near, z.y));
}

// e = e^x, 1 / ((1 + e)^2 + 1) = 1 / D and 1 + e, what tanh(softplus x) = 1 - 2 / D is made of.
struct Mish {
    e: Scaled,
    above: vec2<f32>,
    r: vec2<f32>,
}
fn mish_parts(near: f32) -> Mish {
    let e = exp_scaled(near, 0.0);
    let d = one_plus_exp(e);
    // d.x has 12 bits, so that its square is exact.
    let square = sum(settled(d.x * d.x), 1.0);
    let r = reciprocal_parts(square.x, square.y + d.y * (2.0 * d.x + d.y));
    return Mish(e, d, r);
}
// 1 - 2 / D or, below zero, e (e + 2) / D.
fn mish(x: f32) -> f32 {
    let near = at_least(at_most(x, 20.0), -150.0);
    let m = mish_parts(near);
    let top = times_parts(narrowed(settled(m.above.x + 1.0), m.above.y), m.r);
    let negative = x < 0.0;
    let share = narrowed(select(settled(1.0 - 2.0 * m.r.x), top.x, negative), select(-2.0 * m.r.y, top.y, negative));
    let y = times_parts(share, split(near));
    let below = scale(y.x + settled(y.y + (y.x + y.y) * m.e.q), m.e.n);
    let above = select(y.x + y.y, x, x >= 20.0);
    return select(select(above, below, negative), 0.6 * x, abs(x) < 1e-20);
}
// (e / D) (e + 2 + 4 x (1 + e) / D).
fn mish_grad(x: f32) -> f32 {
    let near = at_least(at_most(x, 15.0), -150.0);
    let m = mish_parts(near);
    let share = times_parts(m.above, m.r);
    let swing = times_parts(narrowed(share.x, share.y), split(4.0 * near));
    let head = settled(m.above.x + 1.0);
    let total = settled(head + swing.x);
    let lost = settled(swing.x - settled(total - head));
    let slope = times_parts(narrowed(total, lost + (swing.y + m.above.y)), m.r);
    return scale(slope.x + settled(slope.y + (slope.x + slope.y) * m.e.q), m.e.n);
}

fn sigmoid(x: f32) -> f32 {
    return sigmoid_sum(x, 0.0);
}
fn sigmoid_grad(x: f32) -> f32 {
    return logistic_slope(abs(x), 0.0, 0);
}

fn logsigmoid(x: f32) -> f32 {
    return -(at_least(-x, 0.0) + log1p_exp(-abs(x), 0.0));
}
fn logsigmoid_grad(x: f32) -> f32 {
    return sigmoid_sum(-x, 0.0);
}

// alpha x + b + b_lo, right through a cancellation: t 2^n, and as plain arithmetic has it. All is
// taken out b's power of two, and alpha's out of x, so that no product leaves f32 where it matters;
// where x is far from what b compares with, t has no more than the right sign.
struct LineValue {
    t: f32,
    n: i32,
    plain: f32,
    is_plain: bool,
}
fn line_parts(x: f32, alpha: f32, b: f32, b_lo: f32) -> LineValue {
    let a = normalised(alpha);
    let c = normalised(b);
    // A slope of 0 is that at the infinities, too.
    let v = select(x, 0.0, alpha == 0.0);
    let u = scale(v, clamp(a.n - c.n, -252, 254));
    let p = settled(a.m * u);
    let ah = leading(a.m);
    let al = settled(a.m - ah);
    let uh = leading(u);
    let ul = settled(u - uh);
    // What the product's rounding lost (Dekker 1971).
    let near = settled(settled(settled(ah * uh) - p) + settled(ah * ul));
    let lost = settled(near + settled(al * uh)) + settled(al * ul);
    let s = sum(p, c.m);
    let far = !is_moderate(u);
    let t = select(s.x + (s.y + lost), p + c.m, far);
    return LineValue(t + scale(b_lo, -c.n), c.n, alpha * v + b, far);
}
fn line_value(l: LineValue) -> f32 {
    return select(scale(l.t, l.n), l.plain, l.is_plain);
}
fn line(x: f32, alpha: f32, beta: f32) -> f32 {
    return line_value(line_parts(x, alpha, beta, 0.0));
}

// alpha x + b + b_lo of hardsigmoid. Its default alpha, 1/6, is no f32: NaN stands for it, and the
// result is 3/2 of that line.
fn hard_line(x: f32, alpha: f32, b: f32, b_lo: f32) -> LineValue {
    let sixth = is_nan(alpha);
    // Past 2e38 nothing that x is changes a sign.
    let near = select(b, at_most(at_least(b, -2e38), 2e38), sixth);
    let c = product(select(1.0, 1.5, sixth), near);
    let whole = settled(c.x + c.y);
    let rest = settled(c.y - settled(whole - c.x));
    return line_parts(x, select(alpha, 0.25, sixth), whole, rest + select(1.0, 1.5, sixth) * b_lo);
}
fn hardsigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    let sixth = is_nan(alpha);
    let above = at_least(line_value(hard_line(x, alpha, beta, 0.0)), 0.0);
    let y = at_most(above, select(1.0, 1.5, sixth));
    // 2/3 as two.
    let part = times_parts(split(y), vec2<f32>(0.66650390625, 0.00016276042));
    // The parts of a tiny y may be flushed.
    return select(y, select(y * 0.666666687, part.x + part.y, is_moderate(y)), sixth);
}
fn hardsigmoid_grad(x: f32, alpha: f32, beta: f32) -> f32 {
    // Both comparisons see the line through its exact difference to the bound.
    let less = settled(beta - 1.0);
    let larger = select(-1.0, beta, abs(beta) > 1.0);
    let lost = settled(other_of(beta, -1.0, larger) - settled(less - larger));
    let inside = (hard_line(x, alpha, beta, 0.0).t > 0.0) & (hard_line(x, alpha, less, lost).t < 0.0);
    return select(0.0, select(alpha, 0.16666667, is_nan(alpha)), inside);
}

fn tanh_(x: f32) -> f32 {
    return tanh_f32(x);
}
fn tanh_grad(x: f32) -> f32 {
    return sech_squared(x);
}

fn hardtanh(x: f32, min_val: f32, max_val: f32) -> f32 {
    return at_most(at_least(x, min_val), max_val);
}
fn hardtanh_grad(x: f32, min_val: f32, max_val: f32) -> f32 {
    return indicator((x > min_val) & (x < max_val));
}

fn clamp_(x: f32, low: f32, high: f32) -> f32 {
    return at_most(at_least(x, low), high);
}
fn clamp_grad(x: f32, low: f32, high: f32) -> f32 {
    return indicator((x >= low) & (x <= high));
}

fn hardswish(x: f32) -> f32 {
    let near = at_least(at_most(x, 3.0), -3.0);
    let p = times_parts(sum(near, 3.0), split(near));
    // 1/6 as two.
    let y = times_parts(narrowed(p.x, p.y), vec2<f32>(0.166625976562, 4.06901054e-5));
    let inside = select(y.x + y.y, 0.5 * x, abs(x) < 1e-20);
    return select(select(inside, x, x >= 3.0), signed_zero(x), x <= -3.0);
}
fn hardswish_grad(x: f32) -> f32 {
    return select(select(0.5 + x * 0.333333343, 1.0, x >= 3.0), 0.0, x <= -3.0);
}

// log(1 + e^z) / beta with z = beta x; where z is past 90 that is x, whatever z overflows to.
fn softplus(x: f32, beta: f32, threshold_: f32) -> f32 {
    let z = swish_argument(x, beta);
    let l = log1p_exp_scaled(-abs(z.x), negated_if(z.y, z.x > 0.0));
    let n = small_integer(l.z);
    // The larger part of z + log(1 + e^-z) leads the sum.
    let leads = (z.x > l.x) | (n < 0);
    let rest = z.y + select(l.x + l.y, scale(l.x + l.y, max(n, -252)), n < 0);
    let above = select(vec2<f32>(l.x, z.x + (z.y + l.y)), vec2<f32>(z.x, rest), leads);
    let positive = z.x > 0.0;
    let top = select(l.xy, above, positive);
    let b = normalised(beta);
    let bh = leading(b.m);
    let share = quotient_sums(top.x, top.y, bh, b.m - bh);
    let y = scale(share, clamp(select(n, 0, positive) - b.n, -252, 254));
    return select(y, x, (z.x > 90.0) | (beta * x > threshold_));
}
fn softplus_grad(x: f32, beta: f32, threshold_: f32) -> f32 {
    let z = swish_argument(x, beta);
    return select(sigmoid_sum(z.x, z.y), 1.0, beta * x > threshold_);
}

fn softsign(x: f32) -> f32 {
    // Past 2^25 the quotient is 1.
    let a = at_most(abs(x), 1e9);
    let d = sum(a, 1.0);
    let y = times_parts(split(a), reciprocal_parts(d.x, d.y));
    return select(with_sign(y.x + y.y, x), x, a < 1e-20);
}
fn softsign_grad(x: f32) -> f32 {
    // Taken down so that the parts of the square are normal.
    let a = at_most(abs(x), 1e25);
    let down = select(1.0, 2.3283064365386963e-10, a > 1e9);
    let d = sum(a * down, down);
    let r = reciprocal_parts(d.x, d.y);
    return (settled(r.x * r.x) + r.y * (2.0 * r.x + r.y)) * down * down;
}

// A series below 0.9 (0.20), else x - (2 / (1 + e^-2x) - 1), whose first difference is exact.
fn tanhshrink(x: f32) -> f32 {
    let a = abs(x);
    let near = at_most(a, 1.1);
    let s = near * near;
    let p = 8.13762745e-5 + s * (-0.133332923 + s * (0.0539611131 + s * (-0.0218207669
        + s * (0.00869263988 + s * (-0.00324405241 + s * (0.00101178419
        + s * (-0.000218258618 + s * 2.29799662e-5)))))));
    let nh = leading(near);
    let square = settled(nh * nh);
    let sh = leading(square);
    let s_lo = settled(square - sh) + (near - nh) * (near + nh);
    let share = narrowed(settled(0.333251953125 * sh), 0.333251953125 * s_lo + s * p);
    let cube = times_parts(share, split(near));
    let series = select(near * (share.x + share.y), cube.x + cube.y, near > 1e-9);
    let above = one_plus_exp(exp_scaled(-2.0 * at_most(a, 40.0), 0.0));
    let r = reciprocal_parts(above.x, above.y);
    let far = settled(a - settled(2.0 * r.x - 1.0)) - 2.0 * r.y;
    return with_sign(select(far, series, a < 0.9), x);
}
fn tanhshrink_grad(x: f32) -> f32 {
    let t = tanh_parts(x);
    return select(settled(t.x * t.x) + t.y * (2.0 * t.x + t.y), x * x, abs(x) < 1e-10);
}

fn hardshrink(x: f32, lambd: f32) -> f32 {
    return select(0.0, x, abs(x) > lambd);
}
fn hardshrink_grad(x: f32, lambd: f32) -> f32 {
    return indicator(abs(x) > lambd);
}

fn softshrink(x: f32, lambd: f32) -> f32 {
    return select(select(0.0, x + lambd, x < -lambd), x - lambd, x > lambd);
}
fn softshrink_grad(x: f32, lambd: f32) -> f32 {
    return indicator(abs(x) > lambd);
}

fn shrink(x: f32, lambd: f32, bias: f32) -> f32 {
    return select(select(0.0, x - bias, x > lambd), x + bias, x < -lambd);
}
fn shrink_grad(x: f32, lambd: f32, bias: f32) -> f32 {
    return indicator((x < -lambd) | (x > lambd));
}

fn threshold(x: f32, threshold_: f32, value: f32) -> f32 {
    return select(value, x, x > threshold_);
}
fn threshold_grad(x: f32, threshold_: f32, value: f32) -> f32 {
    return indicator(x > threshold_);
}

fn thresholded_relu(x: f32, alpha: f32) -> f32 {
    return select(0.0, x, x > alpha);
}
fn thresholded_relu_grad(x: f32, alpha: f32) -> f32 {
    return indicator(x > alpha);
}

// The binary exponent of m >= 0, as far as `scale` follows its double.
fn exponent(m: f32) -> i32 {
    return clamp(i32((bitcast<u32>(m) >> 23u) & 0xffu) - 127, -126, 125);
}
// sqrt(u^2 + b) as the device's root and the rest that one step of Newton finds.
fn hypotenuse(u: f32, b: f32) -> vec2<f32> {
    let square = product(u, u);
    let v = sum(square.x, b);
    let root = square_root(v.x + (v.y + square.y));
    let p = product(root, root);
    let rest = settled(v.x - p.x) + ((v.y + square.y) - p.y);
    return vec2<f32>(root, select(0.0, ratio(0.5 * rest, root), root > 0.0));
}
// With u = x 2^-k at k = the exponent of the larger of |x| and sqrt(b) nothing overflows; below
// zero the sum is b / (root - x).
fn squareplus(x: f32, b: f32) -> f32 {
    let near = at_least(at_most(x, 3.4028234e38), -3.4028234e38);
    let k = exponent(max(abs(near), square_root(b)));
    let u = scale(near, -k);
    let root = hypotenuse(u, scale(b, -2 * k));
    let total = sum(root.x, abs(u));
    let above = scale(0.5 * (total.x + (total.y + root.y)), k);
    let top = normalised(b);
    let share = quotient_sums(0.5 * top.m, 0.0, total.x, total.y + root.y);
    let below = scale(share, max(top.n - k, -252));
    return select(select(above, below, x < 0.0), select(x, 0.0, x < 0.0), is_inf(x));
}
// b / (2 root (root + |x|)) below zero, which is less than 1 by as much above.
fn squareplus_grad(x: f32, b: f32) -> f32 {
    let near = at_least(at_most(x, 3.4028234e38), -3.4028234e38);
    let k = exponent(max(abs(near), square_root(b)));
    let u = scale(near, -k);
    let root = hypotenuse(u, scale(b, -2 * k));
    let total = sum(root.x, abs(u));
    let d = times_parts(narrowed(root.x, root.y), narrowed(total.x, total.y + root.y));
    let below_parts = narrowed(d.x, d.y);
    let top = normalised(b);
    let y = times_parts(split(0.5 * top.m), reciprocal_parts(below_parts.x, below_parts.y));
    let below = scale(y.x + y.y, clamp(top.n - 2 * k, -252, 254));
    let slope = select(1.0 - below, below, x < 0.0);
    return select(slope, 0.5, (x == 0.0) & (b == 0.0));
}

fn sparse_plus(x: f32) -> f32 {
    let above = one_plus(at_least(at_most(x, 1.0), -1.0));
    let y = settled(above.x * above.x) + above.y * (2.0 * above.x + above.y);
    return select(0.25 * y, x, x >= 1.0);
}
fn sparse_plus_grad(x: f32) -> f32 {
    return at_most(at_least(0.5 * (x + 1.0), 0.0), 1.0);
}

fn sparse_sigmoid(x: f32) -> f32 {
    return at_most(at_least(0.5 * (x + 1.0), 0.0), 1.0);
}
fn sparse_sigmoid_grad(x: f32) -> f32 {
    return select(0.0, 0.5, (x > -1.0) & (x < 1.0));
}

fn relu_squared(x: f32) -> f32 {
    let y = relu(x);
    return y * y;
}
fn relu_squared_grad(x: f32) -> f32 {
    return 2.0 * relu(x);
}

fn exp_(x: f32) -> f32 {
    return exp_sum(x, 0.0);
}
fn exp_grad(x: f32) -> f32 {
    return exp_sum(x, 0.0);
}

fn erf(x: f32) -> f32 {
    return select(erf_f32(x), x * FRAC_2_SQRT_PI, abs(x) < 1e-20);
}
fn erf_grad(x: f32) -> f32 {
    let e = gaussian_scaled(x, 1.0);
    let y = times_parts(narrowed(1.0, e.q), vec2<f32>(1.1279296875, 0.000449479602));
    return scale(y.x + y.y, e.n);
}

fn abs_(x: f32) -> f32 {
    return abs(x);
}
fn abs_grad(x: f32) -> f32 {
    return select(select(0.0, -1.0, x < 0.0), 1.0, x > 0.0);
}

fn square(x: f32) -> f32 {
    return x * x;
}
fn square_grad(x: f32) -> f32 {
    return 2.0 * x;
}

fn linear(x: f32, alpha: f32, beta: f32) -> f32 {
    return line(x, alpha, beta);
}
fn linear_grad(x: f32, alpha: f32, beta: f32) -> f32 {
    return alpha;
}

fn identity(x: f32) -> f32 {
    return x;
}
fn identity_grad(x: f32) -> f32 {
    return 1.0;
}

// alpha x in turns of 2 pi; factors of 2^64 are taken out where the product could overflow.
fn snake_phase(x: f32, alpha: f32) -> u32 {
    let large_x = abs(x) > 1e19;
    let large_alpha = abs(alpha) > 1e19;
    let u = x * select(1.0, 5.421010862427522e-20, large_x);
    let a = alpha * select(1.0, 5.421010862427522e-20, large_alpha);
    let ah = leading(a);
    let uh = leading(u);
    let shift = select(0u, 64u, large_x) + select(0u, 64u, large_alpha);
    // Four exact products: their turns add up, whatever their magnitudes.
    return turns(ah * uh, shift) + turns(ah * (u - uh), shift)
        + turns((a - ah) * uh, shift) + turns((a - ah) * (u - uh), shift);
}
// (alpha x + sin^2) / alpha, both out of alpha's power of two; where alpha x is far from 1, x is all.
fn snake(x: f32, alpha: f32) -> f32 {
    let wave = sin_squared_turns(snake_phase(x, alpha));
    let a = normalised(alpha);
    let u = scale(x, a.n);
    let ah = leading(a.m);
    let rise = times_parts(wave, reciprocal_parts(ah, a.m - ah));
    let total = settled(u + rise.x);
    let larger = select(rise.x, u, abs(u) > abs(rise.x));
    let rest = settled(settled(larger - total) + other_of(u, rise.x, larger));
    let y = scale(total + (rest + rise.y), -a.n);
    return select(x, y, (abs(u) > 1e-18) & (abs(u) < 1e18));
}
// 1 + sin 2 alpha x = 2 sin^2 (alpha x + pi/4), which does not cancel.
fn snake_grad(x: f32, alpha: f32) -> f32 {
    let wave = sin_squared_turns(snake_phase(x, alpha) + 0x20000000u);
    return select(2.0 * (wave.x + wave.y), 1.0, is_inf(x));
}

// A series below 1 (0.13), else |x| + log(1 + e^-2|x|) - log 2.
fn logcosh(x: f32) -> f32 {
    let a = abs(x);
    let near = at_most(a, 1.0);
    let nh = leading(near);
    let s = near * near;
    let p = -0.0833330974 + s * (0.0222174488 + s * (-0.00671350025
        + s * (0.00208252133 + s * (-0.000560404267 + s * 8.78655337e-5))));
    // Half of the square as it is, its own rounding in the rest.
    let rest = 0.5 * ((near - nh) * (near + nh)) + s * s * p;
    let series = select(0.5 * settled(nh * nh) + rest, 0.5 * s, a < 1e-10);
    let far = settled(a - LN2_HI) + (log1p_exp(-2.0 * at_most(a, 100.0), 0.0) - LN2_LO);
    return select(far, series, a < 1.0);
}
fn logcosh_grad(x: f32) -> f32 {
    return tanh_f32(x);
}

fn lisht(x: f32) -> f32 {
    let a = abs(x);
    let y = times_parts(tanh_parts(x), split(a));
    return select(select(y.x + y.y, a, a > 20.0), a * a, a < 1e-10);
}
fn lisht_grad(x: f32) -> f32 {
    let a = at_most(abs(x), 20.0);
    let t = tanh_parts(x);
    let rest = settled(1.0 - t.x * t.x) - t.y * (2.0 * t.x + t.y);
    return with_sign(select(t.x + (t.y + a * rest), 2.0 * a, a < 1e-10), x);
}
