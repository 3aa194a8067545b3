// Numbers as (hi + lo) 2^n, whatever n, for products that are rounded once: a product of rounded
// factors would lose the bound of 2 ULP, and a factor alone may leave f32 where the product does
// not. For some activations, f and f' in that form, over activations.wgsl.

struct Term {
    hi: f32,
    lo: f32,
    n: i32,
}

// Exponents of 0 and of infinity: past all others, the zero's past the infinity's.
const ZERO: i32 = -1000000;
const INFINITE: i32 = 10000;

// x as a Term with hi in [1, 2), of x's sign; NaN is the caller's care.
fn normal(x: f32) -> Term {
    let subnormal = (bitcast<u32>(x) & 0x7f800000u) == 0u;
    let bits = bitcast<u32>(select(x, x * 16777216.0, subnormal));
    let exponent = i32((bits >> 23u) & 0xffu);
    let n = exponent - select(127, 151, subnormal);
    let past = select(select(n, INFINITE, exponent == 255), ZERO, exponent == 0);
    return Term(bitcast<f32>((bits & 0x807fffffu) | 0x3f800000u), 0.0, past);
}

// The same number with all of hi + lo that an f32 holds in hi; |lo| <= |hi|.
fn renewed(t: Term) -> Term {
    let hi = settled(t.hi + t.lo);
    return Term(hi, settled(settled(t.hi - hi) + t.lo), t.n);
}

// a * b; either's hi is at most some 2^20 and its lo far below that.
fn product_of(a: Term, b: Term) -> Term {
    let ah = leading(a.hi);
    let bh = leading(b.hi);
    let lo = (ah * (b.hi - bh) + (a.hi - ah) * b.hi) + (a.hi * b.lo + a.lo * b.hi);
    return Term(settled(ah * bh), lo, a.n + b.n);
}

fn rounded(t: Term) -> f32 {
    return scale(t.hi + t.lo, clamp(t.n, -252, 254));
}

// 2^i + 2^j (1 + q) for i, j <= 0 of which one is 0: hi has 12 bits.
fn sum_of_powers(i: i32, j: i32, q: f32) -> vec2<f32> {
    let one = pow2(max(i, -126));
    let power = pow2(max(j, -126));
    let total = settled(one + power);
    let larger = select(power, one, j < i);
    let lost = settled(other_of(one, power, larger) - settled(total - larger));
    let rest = power * q + lost;
    let hi = leading(total + rest);
    return vec2<f32>(hi, settled(total - hi) + rest);
}

// x / (1 + e^-(hi + lo)), where hi is above `end`; else 0.
fn gated_term(x: f32, hi: f32, lo: f32) -> Term {
    let e = exp_far(-hi, -lo);
    let m = max(e.n, 0);
    let d = sum_of_powers(-m, e.n - m, e.q);
    let t = normal(x);
    let q = quotient_parts(t.hi, 0.0, d.x, d.y);
    return Term(q.x, q.y, select(t.n - m, ZERO, hi < -709.7));
}

// t.hi (1 + q), where q is not small.
fn times_exp(hi: f32, lo: f32, e: Scaled) -> Term {
    return renewed(Term(hi, lo + (hi + lo) * e.q, e.n));
}

// (1 + e)^2 as hi of 12 bits and lo, with e = 2^n (1 + q), n <= 0.
fn squared_above(above: vec2<f32>) -> vec2<f32> {
    let square = settled(above.x * above.x);
    let rest = above.y * (2.0 * above.x + above.y);
    let hi = leading(square + rest);
    return vec2<f32>(hi, settled(square - hi) + rest);
}

// d/dx of x sigmoid(z) where x dz/dx is `rise`, as gated_slope of math.wgsl.
fn gated_slope_term(hi: f32, lo: f32, rise: f32) -> Term {
    let negative = hi < 0.0;
    let e = exp_far(-abs(hi), negated_if(lo, !negative));
    let above = sum_of_powers(0, min(e.n, 0), e.q);
    let d = squared_above(above);
    let power = pow2(max(e.n, -126));
    let t = select(rise * (power + power * e.q), rise, negative);
    let s = settled(above.x + t);
    let larger = select(t, above.x, abs(above.x) >= abs(t));
    let lost = settled(settled(larger - s) + other_of(above.x, t, larger));
    let q = quotient_parts(s, lost + above.y, d.x, d.y);
    let below = times_exp(q.x, q.y, e);
    if negative {
        return below;
    }
    return Term(q.x, q.y, 0);
}

fn sigmoid_term(x: f32) -> Term {
    return gated_term(1.0, x, 0.0);
}
// sigmoid(z) sigmoid(-z) of z = hi + lo.
fn logistic_slope_term(hi: f32, lo: f32) -> Term {
    let e = exp_far(-abs(hi), negated_if(lo, !(hi < 0.0)));
    let d = squared_above(sum_of_powers(0, min(e.n, 0), e.q));
    let q = quotient_parts(1.0, 0.0, d.x, d.y);
    let t = times_exp(q.x, q.y, e);
    return Term(t.hi, t.lo, select(t.n, ZERO, abs(hi) > 709.7));
}
fn sigmoid_grad_term(x: f32) -> Term {
    return logistic_slope_term(x, 0.0);
}

fn silu_term(x: f32) -> Term {
    return gated_term(x, x, 0.0);
}
fn silu_grad_term(x: f32) -> Term {
    let near = at_least(at_most(x, 400.0), -400.0);
    return gated_slope_term(near, 0.0, near);
}

fn swish_term(x: f32, beta: f32) -> Term {
    let z = swish_argument(x, beta);
    return gated_term(x, z.x, z.y);
}
fn swish_grad_term(x: f32, beta: f32) -> Term {
    let z = swish_argument(x, beta);
    let near = at_least(at_most(z.x, 400.0), -400.0);
    return gated_slope_term(near, z.y, near + z.y);
}

fn quick_gelu_term(x: f32) -> Term {
    return swish_term(x, 1.702);
}
fn quick_gelu_grad_term(x: f32) -> Term {
    return swish_grad_term(x, 1.702);
}

fn gelu_tanh_term(x: f32) -> Term {
    let near = at_least(at_most(x, 16.0), -16.0);
    let z = gelu_tanh_argument(near);
    let t = gated_term(at_least(x, -16.0), z.x, z.y);
    return Term(t.hi, t.lo, select(t.n, ZERO, x < -21.2));
}
fn gelu_tanh_grad_term(x: f32) -> Term {
    let near = at_least(at_most(x, 16.0), -16.0);
    let z = gelu_tanh_argument(near);
    let t = gated_slope_term(z.x, z.y, near * (1.595769122 + 0.214064449 * near * near));
    return Term(t.hi, t.lo, select(t.n, ZERO, x < -21.2));
}

// The normal distribution's Phi(-t) e^(t^2/2) for t in [0, 28] as hi, lo: the fit of math.wgsl,
// and the asymptotic series past it.
fn mills(t: f32) -> vec2<f32> {
    let inverse = 1.0 / at_least(t, 1.0);
    let s = inverse * inverse;
    let bend = s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s)));
    // 1/sqrt(2 pi) (1 + 1/t) (1 - bend) - 0.46875, from the largest part to the smallest.
    let rise = FRAC_1_SQRT_2PI * inverse;
    let far = (rise - 0.0698077196) - (FRAC_1_SQRT_2PI + rise) * bend;
    let d = sum(t, 1.0);
    let v = select(normal_tail_numerator(at_most(t, 14.0)), far, t > 14.0);
    return quotient_parts(0.46875, v, d.x, d.y);
}

fn gaussian_far(t: f32) -> Scaled {
    let th = leading(t);
    return exp_far(-0.5 * settled(th * th), -0.5 * ((t - th) * (t + th)));
}

// 1 - t, where t is at most about 1.
fn complement(t: Term) -> Term {
    // What a smaller power would keep is lost beside the 1.
    let power = pow2(clamp(t.n, -126, 0));
    let hi = t.hi * power;
    let lo = t.lo * power;
    let rest = settled(1.0 - hi);
    return Term(rest, settled(settled(1.0 - rest) - hi) - lo, 0);
}

// x Phi(x).
fn gelu_term(x: f32) -> Term {
    let t = at_most(abs(x), 28.0);
    let m = mills(t);
    let tail = times_exp(m.x, m.y, gaussian_far(t));
    var share = complement(tail);
    if x < 0.0 {
        share = tail;
    }
    let y = renewed(product_of(normal(x), share));
    return Term(y.hi, y.lo, select(y.n, ZERO, x < -38.0));
}
// Phi(x) + x phi(x).
fn gelu_grad_term(x: f32) -> Term {
    let t = at_most(abs(x), 28.0);
    let m = mills(t);
    let th = leading(t);
    // t / sqrt(2 pi), exact in its first part.
    let hi = settled(0.39892578125 * th);
    let lo = 0.39892578125 * (t - th) + 1.64991514e-5 * t;
    let s = settled(m.x - hi);
    let larger = m.x >= hi;
    let lost = select(settled(m.x - settled(s + hi)), settled(settled(m.x - s) - hi), larger);
    let below = times_exp(s, lost + (m.y - lo), gaussian_far(t));
    var y = complement(below);
    if x < 0.0 {
        y = below;
    }
    return Term(y.hi, y.lo, select(y.n, ZERO, x < -38.0));
}
