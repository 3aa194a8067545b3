// Elementary functions in f32 from + - * / and bit operations: WGSL's own may be off by
// hundreds of ULP or lose NaN. Pure functions; no bindings, no globals but constants.
//
// Conventions: a value carried as `hi, lo` is the unevaluated sum of the two; a value carried as
// `Scaled` is (1 + q) * 2^n. Splits mask bits instead of subtracting, so that contraction and
// reassociation cannot undo them. Polynomials are weighted minimax fits of our own (Lawson's
// iteration over 400 Chebyshev nodes, coefficients rounded one by one with the rest refitted);
// the error beside each is relative to the function, in units of 2^-24.

const LOG2_E: f32 = 1.44269504;
// log 2 in two parts; the first has 10 bits, so that n * LN2_HI is exact.
const LN2_HI: f32 = 0.693359375;
const LN2_LO: f32 = -2.12194442e-4;

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_inf(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

// The leading 12 bits of x: products of two such are exact.
fn leading(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// `bound` where x is above it, else x; NaN stays. The built-in min may drop NaN.
fn at_most(x: f32, bound: f32) -> f32 {
    return select(x, bound, x > bound);
}

// `bound` where x is below it, else x; NaN stays.
fn at_least(x: f32, bound: f32) -> f32 {
    return select(x, bound, x < bound);
}

// 2^n for n in [-126, 127].
fn pow2(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}

// x * 2^n for n in [-378, 381]: every step is exact but where the result itself leaves f32.
fn scale(x: f32, n: i32) -> f32 {
    let third = n / 3;
    return x * pow2(third) * pow2(third) * pow2(n - 2 * third);
}

// Zero with the sign of x.
fn signed_zero(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0x80000000u);
}

// |y| with the sign of x.
fn with_sign(y: f32, x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(y) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}

// a * b as hi, lo: hi is the product of the leading parts, exact; lo is rounded, at most
// 2^-10 of hi. Only where neither overflows nor nears 2^-126, below which lo is lost.
fn product(a: f32, b: f32) -> vec2<f32> {
    let ah = leading(a);
    let bh = leading(b);
    return vec2<f32>(ah * bh, ah * (b - bh) + (a - ah) * b);
}

// a + b as hi, lo: hi has 12 bits, so that it can be a factor of an exact product.
fn sum(a: f32, b: f32) -> vec2<f32> {
    let hi = leading(a + b);
    let larger = abs(a) >= abs(b);
    return vec2<f32>(hi, (select(b, a, larger) - hi) + select(a, b, larger));
}

// a / b with one residual step, for where the device's quotient (2.5 ULP allowed) would take
// more of a bound than it has. The residual is exact, fused or not; where it would underflow
// the device's quotient stands.
fn quotient(a: f32, b: f32) -> f32 {
    let q = a / b;
    let p = product(q, b);
    return q + select(0.0, ((a - p.x) - p.y) / b, abs(a) > 1e-30);
}

struct Scaled {
    q: f32,
    n: i32,
}

// e^(hi + lo) for |lo| far below |hi| or below 1; hi is clamped to where f32 ends.
fn exp_scaled(hi: f32, lo: f32) -> Scaled {
    let x = at_least(at_most(hi, 100.0), -180.0);
    let n = floor(x * LOG2_E + 0.5);
    let r = ((x - n * LN2_HI) + lo) - n * LN2_LO;
    return Scaled(expm1_reduced(r), i32(n));
}

// e^r - 1 on |r| <= 0.35 (0.23).
fn expm1_reduced(r: f32) -> f32 {
    let p = 0.5 + r * (0.16666545 + r * (0.0416664034 + r * (0.00836639665 + r * 0.0013940651)));
    return r + r * r * p;
}

fn exp_sum(hi: f32, lo: f32) -> f32 {
    let e = exp_scaled(hi, lo);
    return scale(1.0 + e.q, e.n);
}

// e^(hi + lo) - 1.
fn expm1_sum(hi: f32, lo: f32) -> f32 {
    let e = exp_scaled(hi, lo);
    let s = pow2(clamp(e.n, -126, 127));
    let near = s * e.q + (s - 1.0);
    return select(select(near, scale(1.0 + e.q, e.n), e.n > 25), e.q, e.n == 0);
}

// log(1 + f) - f on [-0.2929, 0.4143] (0.10).
fn log1p_rest(f: f32) -> f32 {
    let p = 0.333333164 + f * (-0.250008076 + f * (0.200022995 + f * (-0.166246444
        + f * (0.141810209 + f * (-0.131278321 + f * (0.12882261 + f * -0.078625001))))));
    let square = f * f;
    return f * square * p - 0.5 * square;
}

// log(1 + z) for z in [0, 1].
fn log1p_unit(z: f32) -> f32 {
    let high = z > 0.41421;
    // (1 + z) / 2 - 1; exact.
    let f = select(z, 0.5 * (z - 1.0), high);
    let rest = log1p_rest(f);
    return select(f + rest, (f + (rest + LN2_LO)) + LN2_HI, high);
}

// log(s) for normal s > 0.
fn log_positive(s: f32) -> f32 {
    let bits = bitcast<u32>(s);
    // Shift the cut to sqrt(1/2), so that the mantissa lies in [0.7071, 1.4142).
    let k = i32((bits - 0x3f3504f3u) >> 23u) - select(0, 512, bits < 0x3f3504f3u);
    let f = bitcast<f32>(bits - (u32(k) << 23u)) - 1.0;
    let n = f32(k);
    return n * LN2_HI + (f + (log1p_rest(f) + n * LN2_LO));
}

// log(1 + e^(hi + lo)) for hi <= 0 as a value times 2^n, for a tail that outlives e^hi.
fn log1p_exp_scaled(hi: f32, lo: f32) -> vec2<f32> {
    let e = exp_scaled(hi, lo);
    let tail = e.n < -26;
    let z = pow2(clamp(e.n, -126, 0)) * (1.0 + e.q);
    return vec2<f32>(select(log1p_unit(z), 1.0 + e.q, tail), select(0.0, f32(e.n), tail));
}

fn log1p_exp(hi: f32, lo: f32) -> f32 {
    let v = log1p_exp_scaled(hi, lo);
    return scale(v.x, i32(v.y));
}

// e / (1 + e)^2 with e = e^-a, a >= 0: the logistic density.
fn logistic_slope(hi: f32, lo: f32) -> f32 {
    let e = exp_scaled(-hi, -lo);
    let above = 1.0 + scale(1.0 + e.q, e.n);
    return scale((1.0 + e.q) / (above * above), e.n);
}

fn sigmoid_sum(hi: f32, lo: f32) -> f32 {
    return gated_sum(1.0, hi, lo);
}

// x / (1 + e^-(hi + lo)); for a negative hi as x e^z / (1 + e^z), scaled last so that the
// product outlives e^z. Below -177 no f32 times e^z is normal.
fn gated_sum(x: f32, hi: f32, lo: f32) -> f32 {
    let negative = hi < 0.0;
    let e = exp_scaled(-abs(hi), select(-lo, lo, negative));
    let above = 1.0 + scale(1.0 + e.q, e.n);
    let top = select(x, x + x * e.q, negative);
    let y = scale(quotient(top, above), select(0, e.n, negative));
    return select(y, signed_zero(x), hi < -177.0);
}

// d/dx of x sigmoid(z) with z = beta x: sigmoid(z) (1 + z sigmoid(-z)).
fn gated_slope(hi: f32, lo: f32) -> f32 {
    let z = at_least(at_most(hi, 150.0), -150.0);
    let negative = z < 0.0;
    let e = exp_scaled(-abs(z), select(-lo, lo, negative));
    let small = scale(1.0 + e.q, e.n);
    let above = 1.0 + small;
    let denominator = above * above;
    // z < 0: e (1 + e + z) / (1 + e)^2; else (1 + e + z e) / (1 + e)^2.
    let below_zero = scale((1.0 + e.q) * (above + z) / denominator, e.n);
    return select((above + z * small) / denominator, below_zero, negative);
}

// tanh, odd series below 0.6 (0.05), else 1 - 2 / (e^2a + 1).
fn tanh_f32(x: f32) -> f32 {
    let a = at_most(abs(x), 10.0);
    let s = a * a;
    let p = -0.333332986 + s * (0.133319408 + s * (-0.053785298
        + s * (0.0208009779 + s * -0.00590098649)));
    let far = 1.0 - 2.0 / (exp_sum(2.0 * a, 0.0) + 1.0);
    let y = select(far, a + a * s * p, a < 0.6);
    return with_sign(y, x);
}

// 1 - tanh(x)^2.
fn sech_squared(x: f32) -> f32 {
    return 4.0 * logistic_slope(2.0 * abs(x), 0.0);
}

// e^(-x^2 * k) for k = 1/2 or 1, scaled; the square's own rounding is carried along.
fn gaussian_scaled(x: f32, k: f32) -> Scaled {
    let a = at_most(abs(x), 16.0);
    let ah = leading(a);
    return exp_scaled(-k * (ah * ah), -k * ((a - ah) * (a + ah)));
}

// The numerator of Mills' ratio less 0.4375 at u = (t - 4) / (t + 4): the normal distribution's
// tail is Phi(-t) = e^(-t^2/2) (0.4375 + this) / (t + 0.75), t in [0.5, 14.6] (0.13).
fn normal_tail_numerator(t: f32) -> f32 {
    let u = (t - 4.0) / (t + 4.0);
    return 0.0109505458 + u * (-0.0541040003 + u * (-0.0170951635 + u * (0.0465253964
        + u * (-0.039914757 + u * (0.0200781766 + u * (-0.00511830067
        + u * (-0.000520897913 + u * (0.000685040955 + u * 2.44245421e-5))))))));
}

// (Phi(x) - 1/2) / x as hi (constant), lo on |x| <= 0.65 (0.01).
const NORMAL_CENTRE_HI: f32 = 0.39892578125;
fn normal_centre_lo(x: f32) -> f32 {
    let s = x * x;
    return 1.64989233e-5 + s * (-0.0664903522 + s * (0.00997302681
        + s * (-0.00118380971 + s * 0.000105843159)));
}

// erf: x times an even polynomial below 0.9 (0.01), else 1 - e^(fit of log erfc) (0.01).
fn erf_f32(x: f32) -> f32 {
    let a = at_most(abs(x), 4.0);
    let s = a * a;
    let p = 0.000449479296 + s * (-0.376126349 + s * (0.112837121 + s * (-0.0268602856
        + s * (0.00520318747 + s * (-0.000816683925 + s * 8.47132687e-5)))));
    let l = 0.000170553685 + a * (-1.12949514 + a * (-0.633386731 + a * (-0.108236462
        + a * (0.0250913538 + a * (-0.00416045915 + a * (0.000432286994 + a * -2.0908079e-5))))));
    let y = select(1.0 - exp_sum(l, 0.0), 1.1279296875 * a + a * p, a < 0.9);
    return with_sign(y, x);
}

// 1/(2 pi) as a binary fraction behind 160 zero bits, for exponents down to those of f32.
const TURNS: array<u32, 18> = array<u32, 18>(
    0u, 0u, 0u, 0u, 0u,
    0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0x7f9458eau,
    0xf7aef158u, 0x6dc91b8eu, 0x909374b8u, 0x01924bbau, 0x82746487u, 0x3f877ac7u);

// The upper 32 bits of a * b.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let b0 = b & 0xffffu;
    let middle = a0 * (b >> 16u) + ((a0 * b0) >> 16u);
    let other = (a >> 16u) * b0 + (middle & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}

// x * 2^shift in turns of 2 pi, modulo 1, as a fixed-point fraction of 2^32: exact to 2^-32 for
// every finite x and shift in [0, 128] (Payne & Hanek 1983).
fn turns(x: f32, shift: u32) -> u32 {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    let exponent = bits >> 23u;
    let mantissa = select(0u, (bits & 0x7fffffu) | 0x800000u, exponent > 0u);
    // x = mantissa * 2^(exponent - 150); the table's bit 160 has the weight 1/2.
    let start = min(exponent + 10u + shift, 480u);
    let word = start >> 5u;
    let offset = start & 31u;
    let t0 = TURNS[word];
    let t1 = TURNS[word + 1u];
    let t2 = TURNS[word + 2u];
    // A shift by 32 is undefined, so that the carry is shifted twice.
    let w0 = (t0 << offset) | ((t1 >> 1u) >> (31u - offset));
    let w1 = (t1 << offset) | ((t2 >> 1u) >> (31u - offset));
    let fraction = mantissa * w0 + multiply_high(mantissa, w1);
    return select(fraction, 0u - fraction, x < 0.0);
}

// The sine of a fixed-point fraction of a turn.
fn sin_turns(phase: u32) -> f32 {
    // sin(pi - a) = sin(a) folds the half turn that is away from 0.
    let outer = ((phase + 0x40000000u) & 0x80000000u) != 0u;
    let folded = select(phase, 0x80000000u - phase, outer);
    let f = f32(bitcast<i32>(folded)) * 2.3283064365386963e-10;
    let s = f * f;
    return f * (6.28318548 + s * (-41.3418388 + s * (81.6226425 + s * (-77.4828873
        + s * (56.2300911 + s * -105.333023)))));
}
