// Elementary functions in f32 from + - * / and bit operations: WGSL's own may be off by
// hundreds of ULP or lose NaN. Functions of their arguments alone; no bindings.
//
// Conventions: a value carried as `hi, lo` is the unevaluated sum of the two; a value carried as
// `Scaled` is (1 + q) * 2^n. Splits mask bits, and what must be subtracted in this order passes
// through `settled`, because compilers contract and reassociate: Mesa's turns (a - b) - c into
// a - (b + c). Polynomials are weighted minimax fits of our own (Lawson's
// iteration over 400 Chebyshev nodes, coefficients rounded one by one with the rest refitted);
// the error beside each is relative to the function, in units of 2^-24.

const LOG2_E: f32 = 1.44269504;
// log 2 in two parts; the first has 10 bits, so that n * LN2_HI is exact.
const LN2_HI: f32 = 0.693359375;
const LN2_LO: f32 = -2.12194442e-4;

// Always 0. A kernel stores a 0 from its uniforms here before anything else, which no compiler
// can see through; a shader that does not is as right wherever its compiler keeps the order.
var<private> opaque_zero: u32;

// x, as a value whose making is out of any compiler's sight. Metal's compiler and Direct3D's use fast
// math unasked: they contract, reorder, share and factor out whatever is plain arithmetic. So every
// difference and product that is exact, or whose rounding error is carried on, passes through here
// itself, and so does each step of a sum whose order matters: settled(settled(a - b) + c).
fn settled(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ opaque_zero);
}

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

// The one of a and b that `one` is not. By bits: FXC makes one instruction of select(b, a, c) beside
// select(a, b, c), and fails on it where either is negated.
fn other_of(a: f32, b: f32, one: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(a) ^ bitcast<u32>(b)) ^ bitcast<u32>(one));
}

// -x where the condition holds, else x; by bits as above.
fn negated_if(x: f32, condition: bool) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ select(0u, 0x80000000u, condition));
}

// 2^n for n in [-126, 127].
fn pow2(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}

// x * 2^n for n in [-252, 254]: both steps are exact but where the result itself leaves f32.
fn scale(x: f32, n: i32) -> f32 {
    let first = clamp(n, -126, 127);
    return settled(x * pow2(first)) * pow2(n - first);
}

// x = m 2^n with |m| in [1, 2), or an integer below 2^23 where x is subnormal or 0, by its bits, so
// that a device that flushes keeps it. Infinities and NaN are none of these.
struct Normalised {
    m: f32,
    n: i32,
}

fn normalised(x: f32) -> Normalised {
    let bits = bitcast<u32>(x);
    let exponent = (bits >> 23u) & 0xffu;
    let small = with_sign(f32(bits & 0x7fffffu), x);
    let m = bitcast<f32>((bits & 0x807fffffu) | 0x3f800000u);
    return Normalised(select(m, small, exponent == 0u), select(i32(exponent) - 127, -149, exponent == 0u));
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
    return vec2<f32>(settled(ah * bh), ah * (b - bh) + (a - ah) * b);
}

// a + b as hi, lo: hi has 12 bits, so that it can be a factor of an exact product.
fn sum(a: f32, b: f32) -> vec2<f32> {
    let hi = leading(a + b);
    let larger = select(b, a, abs(a) >= abs(b));
    return vec2<f32>(hi, settled(settled(larger - hi) + other_of(a, b, larger)));
}

// x as hi, lo; hi has 12 bits.
fn split(x: f32) -> vec2<f32> {
    let hi = leading(x);
    return vec2<f32>(hi, x - hi);
}

// a + b as hi, lo, for |a| >= |b| or a that is 0; hi has 12 bits, and nothing is lost where a
// has few.
fn narrowed(a: f32, b: f32) -> vec2<f32> {
    let hi = leading(a + b);
    return vec2<f32>(hi, settled(settled(a - hi) + b));
}

// (a.x + a.y) (b.x + b.y) as hi, lo; exact but for the rounding of lo where both have a hi of
// 12 bits.
fn times_parts(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(settled(a.x * b.x), a.x * b.y + a.y * (b.x + b.y));
}

// Whether the parts of x and products with them stay normal: 2^-96 <= |x| < 2^96.
fn is_moderate(x: f32) -> bool {
    return ((bitcast<u32>(x) & 0x7fffffffu) - 0x0f800000u) < 0x60000000u;
}

// The device's quotient and square root, of which WGSL promises 2.5 ULP and about as much. No
// other function divides, so that a test can put worse ones in their place.
fn ratio(a: f32, b: f32) -> f32 {
    return a / b;
}

fn square_root(x: f32) -> f32 {
    return sqrt(x);
}

// 1 / (b + b_lo) as hi, lo, whatever the device's quotient is: hi has 12 bits, and so must b, so
// that the residual 1 - hi b is exact, fused or not. |b| must lie in 2^-100 .. 2^100.
fn reciprocal_parts(b: f32, b_lo: f32) -> vec2<f32> {
    let r = ratio(1.0, b + b_lo);
    let hi = leading(r);
    return vec2<f32>(hi, (settled(1.0 - hi * b) - hi * b_lo) * r);
}

// 1 / b within an ULP, whatever the device's quotient is.
fn reciprocal(b: f32) -> f32 {
    let r = ratio(1.0, b);
    let hi = leading(r);
    return hi + settled(1.0 - hi * b) * r;
}

// (a + a_lo) / (b + b_lo) and its rounding error, for a b of 12 bits. Where the residual could
// leave f32 the product with the reciprocal stands. |b| must be below 2^126.
fn quotient_parts(a: f32, a_lo: f32, b: f32, b_lo: f32) -> vec2<f32> {
    let reciprocal = ratio(1.0, b + b_lo);
    let q = (a + a_lo) * reciprocal;
    let qh = leading(q);
    let rest = (settled(settled(a - qh * b) + a_lo) - (q - qh) * b) - q * b_lo;
    return vec2<f32>(q, select(0.0, rest * reciprocal, is_moderate(a)));
}

// (a + a_lo) / (b + b_lo) for a b of 12 bits; where a's parts could leave the normal numbers, with
// one rounding more.
fn quotient_sums(a: f32, a_lo: f32, b: f32, b_lo: f32) -> f32 {
    let r = reciprocal_parts(b, b_lo);
    let q = times_parts(narrowed(a, a_lo), r);
    return select((a + a_lo) * (r.x + r.y), q.x + q.y, is_moderate(a));
}

// a / b, within an ULP whatever the device's quotient is.
fn quotient(a: f32, b: f32) -> f32 {
    let d = split(b);
    let q = quotient_parts(a, 0.0, d.x, d.y);
    return q.x + q.y;
}

// The integer that a float below 2^22 is, from the bits of an exact sum: a conversion would be
// wrapped in range checks.
fn small_integer(n: f32) -> i32 {
    return bitcast<i32>(n + 12582912.0) - 0x4b400000;
}

struct Scaled {
    q: f32,
    n: i32,
}

// e^(hi + lo) for |lo| far below |hi| or below 1; hi is clamped to what `scale` can follow.
fn exp_scaled(hi: f32, lo: f32) -> Scaled {
    let x = at_least(at_most(hi, 173.9), -173.9);
    let n = floor(x * LOG2_E + 0.5);
    let r = (settled(x - n * LN2_HI) + lo) - n * LN2_LO;
    return Scaled(expm1_reduced(r), small_integer(n));
}

// e^r - 1 on |r| <= 0.35 (0.01).
fn expm1_reduced(r: f32) -> f32 {
    let p = 0.5 + r * (0.166666672 + r * (0.0416664891 + r * (0.00833320711
        + r * (0.00139326649 + r * 0.000199451097))));
    return r + r * r * p;
}

// The value of an e whose power of two is normal, or so small that it may be 2^-126.
fn value(e: Scaled) -> f32 {
    let s = pow2(clamp(e.n, -126, 127));
    return s + s * e.q;
}

fn exp_sum(hi: f32, lo: f32) -> f32 {
    let e = exp_scaled(hi, lo);
    return scale(1.0 + e.q, e.n);
}

// e^(hi + lo) for arguments down to where no product with two f32 is anything but 0.
fn exp_far(hi: f32, lo: f32) -> Scaled {
    let x = at_least(at_most(hi, 400.0), -400.0);
    let n = floor((x + lo) * LOG2_E + 0.5);
    let r = (settled(x - n * LN2_HI) + lo) - n * LN2_LO;
    return Scaled(expm1_reduced(r), small_integer(n));
}

// factor * e^(hi + lo), whatever of the two leaves f32.
fn exp_times(factor: f32, hi: f32, lo: f32) -> f32 {
    let f = normalised(factor);
    return scaled_exp(f.m, f.n, exp_far(hi, lo));
}

// m 2^n e.
fn scaled_exp(m: f32, n: i32, e: Scaled) -> f32 {
    return scale(m + m * e.q, clamp(e.n + n, -252, 254));
}

// e^(hi + lo) - 1 as the sum of two: a power of two less 1, and the rest.
fn expm1_parts(hi: f32, lo: f32) -> vec2<f32> {
    return less_one(exp_scaled(hi, lo));
}

// e - 1, as expm1_parts.
fn less_one(e: Scaled) -> vec2<f32> {
    let s = pow2(clamp(e.n, -126, 127));
    return select(vec2<f32>(s - 1.0, s * e.q), vec2<f32>(0.0, scale(1.0 + e.q, e.n)), e.n > 25);
}

fn expm1_sum(hi: f32, lo: f32) -> f32 {
    let e = expm1_parts(hi, lo);
    return e.x + e.y;
}

// log(1 + f) - f on [-0.2929, 0.5] (0.04).
fn log1p_rest(f: f32) -> f32 {
    let p = 0.333333135 + f * (-0.250002474 + f * (0.200021669 + f * (-0.166554347
        + f * (0.142096639 + f * (-0.126095772 + f * (0.121484078 + f * (-0.106207438
        + f * 0.0496284291)))))));
    let square = f * f;
    return f * square * p - 0.5 * square;
}

// log(1 + z) for z in [0, 1] as the sum of two.
fn log1p_unit(z: f32) -> vec2<f32> {
    let high = z > 0.5;
    // (1 + z) / 2 - 1; exact.
    let f = select(z, 0.5 * (z - 1.0), high);
    let rest = log1p_rest(f);
    return select(vec2<f32>(f, rest), vec2<f32>(LN2_HI, f + (rest + LN2_LO)), high);
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

// log(s + s_lo) for normal s > 0 and s_lo far below it, as hi, lo of which hi has 12 bits, within
// 2^-30 of itself: n log 2 + 2 atanh(f / (2 + f)).
fn log_parts(s: f32, s_lo: f32) -> vec2<f32> {
    let bits = bitcast<u32>(s);
    let k = i32((bits - 0x3f3504f3u) >> 23u) - select(0, 512, bits < 0x3f3504f3u);
    let f = bitcast<f32>(bits - (u32(k) << 23u)) - 1.0;
    let n = f32(k);
    let below = sum(2.0, f);
    let z = quotient_parts(f, 0.0, below.x, below.y);
    let t = z.x * z.x;
    let p = z.x * t * (0.666666667 + t * (0.4 + t * (0.285714286 + t * (0.222222222 + t * 0.181818182))));
    let whole = sum(settled(n * LN2_HI), 2.0 * z.x);
    return vec2<f32>(whole.x, whole.y + (((2.0 * z.y + p) + n * LN2_LO) + ratio(s_lo, s)));
}

// log(1 + e^(hi + lo)) for hi <= 0, as (x + y) * 2^z so that a tail outlives e^hi.
fn log1p_exp_scaled(hi: f32, lo: f32) -> vec3<f32> {
    let e = exp_far(hi, lo);
    let s = pow2(clamp(e.n, -126, 127));
    let z = s + s * e.q;
    // What z has lost, times a rough 1 / (1 + z).
    let lost = (s * e.q - settled(settled(z) - s)) * (1.0 - 0.5 * z);
    return select(vec3<f32>(log1p_unit(z) + vec2<f32>(0.0, lost), 0.0), vec3<f32>(1.0, e.q, f32(e.n)), e.n < -26);
}

fn log1p_exp(hi: f32, lo: f32) -> f32 {
    let v = log1p_exp_scaled(hi, lo);
    return scale(v.x + v.y, max(small_integer(v.z), -252));
}

// sigma(z) = 1 / (1 + e^-z) as (hi + lo) 2^-m with a hi of 12 bits.
struct Logistic {
    hi: f32,
    lo: f32,
    m: i32,
}

// With E = e^-z = (1 + q) 2^n the denominator is taken out 2^m, m = max(n, 0), which outlives
// e^z. It is 1 + 2^-|n| and the rest; the first two are exact.
fn logistic(hi: f32, lo: f32) -> Logistic {
    let e = exp_scaled(-hi, -lo);
    let small = pow2(-min(abs(e.n), 126));
    let rest = select(e.q, small * e.q, e.n < 0);
    let above = leading(1.0 + (small + rest));
    let r = reciprocal_parts(above, settled(settled(1.0 - above) + small) + rest);
    return Logistic(r.x, r.y, max(e.n, 0));
}

fn sigmoid_sum(hi: f32, lo: f32) -> f32 {
    let s = logistic(hi, lo);
    return scale(s.hi + s.lo, -s.m);
}

// x sigma(hi + lo). Below -173 the result is 0.
fn gated_sum(x: f32, hi: f32, lo: f32) -> f32 {
    let s = logistic(hi, lo);
    let y = times_parts(split(x), vec2<f32>(s.hi, s.lo));
    let total = select(x * (s.hi + s.lo), y.x + y.y, is_moderate(x));
    return select(scale(total, -s.m), signed_zero(x), hi < -173.0);
}

// d/dx of x sigma(z) where x dz/dx is `rise`, whose sign is z's: with s = sigma(-|z|) it is
// s (1 - |rise| (1 - s)) for z < 0, and 1 less that above. 1 - |rise| is exact where it matters.
fn gated_slope(hi: f32, lo: f32, rise: vec2<f32>) -> f32 {
    let negative = hi < 0.0;
    let l = logistic(-abs(hi), negated_if(lo, !negative));
    let steep = abs(rise.x);
    let rest = negated_if(rise.y, negative);
    let s = (l.hi + l.lo) * pow2(max(-l.m, -126));
    let w = split(settled(1.0 - steep) + ((steep + rest) * s - rest));
    let y = times_parts(w, vec2<f32>(l.hi, l.lo));
    let below = scale(y.x + y.y, -l.m);
    return select(1.0 - below, below, negative);
}

// 1 + a as hi, lo for a in [-1, 2^23]; hi has 12 bits, and hi - 1 is exact.
fn one_plus(a: f32) -> vec2<f32> {
    let hi = leading(1.0 + a);
    return vec2<f32>(hi, a - settled(hi - 1.0));
}

// 1 + e as hi, lo for n <= 23; past that off by 2^-24. hi has 12 bits.
fn one_plus_exp(e: Scaled) -> vec2<f32> {
    let s = pow2(max(e.n, -126));
    let rest = s * e.q;
    let hi = leading(1.0 + (s + rest));
    return vec2<f32>(hi, settled(s - settled(hi - 1.0)) + rest);
}

// 2^k e / (1 + e)^2 with e = e^-(hi + lo), hi >= 0: at k = 0 the logistic density. The rounding
// of e shows in both and all but cancels.
fn logistic_slope(hi: f32, lo: f32, k: i32) -> f32 {
    let e = exp_scaled(-hi, -lo);
    let y = value(e);
    let above = one_plus(y);
    let r = reciprocal_parts(above.x, above.y);
    let square = settled(r.x * r.x);
    let rest = r.y * (2.0 * r.x + r.y);
    let m = e.n + k;
    let top = select(pow2(max(m, -126)), 0.0, m < -126);
    return top * (square + (rest + (square + rest) * e.q));
}

// tanh |x| as hi, lo, hi of 12 bits: odd series below 0.6 (0.05), else 2 / (1 + e^-2a) - 1.
fn tanh_parts(x: f32) -> vec2<f32> {
    let a = at_most(abs(x), 10.0);
    let s = a * a;
    let p = -0.333332986 + s * (0.133319408 + s * (-0.053785298
        + s * (0.0208009779 + s * -0.00590098649)));
    let above = one_plus_exp(exp_scaled(-2.0 * a, 0.0));
    let r = reciprocal_parts(above.x, above.y);
    let near = a < 0.6;
    return narrowed(select(settled(2.0 * r.x - 1.0), a, near), select(2.0 * r.y, a * s * p, near));
}

// The same in one, where a reciprocal that is not exact to its rounding will do.
fn tanh_f32(x: f32) -> f32 {
    let a = at_most(abs(x), 10.0);
    let s = a * a;
    let p = -0.333332986 + s * (0.133319408 + s * (-0.053785298
        + s * (0.0208009779 + s * -0.00590098649)));
    let far = 1.0 - 2.0 * reciprocal(value(exp_scaled(2.0 * a, 0.0)) + 1.0);
    return with_sign(select(far, a + a * s * p, a < 0.6), x);
}

// 1 - tanh(x)^2.
fn sech_squared(x: f32) -> f32 {
    return logistic_slope(2.0 * abs(x), 0.0, 2);
}

// e^(-x^2 * k) for k = 1/2 or 1, scaled; the square's own rounding is carried along.
fn gaussian_scaled(x: f32, k: f32) -> Scaled {
    let a = at_most(abs(x), 16.0);
    let ah = leading(a);
    return exp_scaled(-k * settled(ah * ah), -k * ((a - ah) * (a + ah)));
}

// The tail of the normal distribution is Phi(-t) = e^(-t^2/2) (0.46875 + v) / (t + 1); this is v
// for t in [0, 14.6], a polynomial of u = (t - 4) / (t + 4) (0.04), by a rough 1 / (t + 4).
fn normal_tail_rest(t: f32, r: f32) -> f32 {
    // Near -1 it is u + 1 that a rough quotient leaves right.
    let low = t < 2.0;
    let u = select(t - 4.0, t + t, low) * r - select(0.0, 1.0, low);
    return 0.00330320699 + u * (-0.0967034698 + u * (0.0139995916 + u * (0.0286000241
        + u * (-0.0321972035 + u * (0.0179400221 + u * (-0.00500471704 + u * (-0.000303612207
        + u * (0.000693381531 + u * (-6.03124608e-5 + u * -7.16087816e-5)))))))));
}
fn normal_tail_numerator(t: f32) -> f32 {
    return normal_tail_rest(t, ratio(1.0, t + 4.0));
}

// erf: x times an even polynomial below 0.9 (0.01), else 1 - e^(fit of log erfc) (0.01).
fn erf_f32(x: f32) -> f32 {
    let a = at_most(abs(x), 4.0);
    let s = a * a;
    let p = 0.000449479296 + s * (-0.376126349 + s * (0.112837121 + s * (-0.0268602856
        + s * (0.00520318747 + s * (-0.000816683925 + s * 8.47132687e-5)))));
    let l = 0.000170553685 + a * (-1.12949514 + a * (-0.633386731 + a * (-0.108236462
        + a * (0.0250913538 + a * (-0.00416045915 + a * (0.000432286994 + a * -2.0908079e-5))))));
    let ah = leading(a);
    let near = settled(1.1279296875 * ah) + (1.1279296875 * (a - ah) + a * p);
    let y = select(1.0 - value(exp_scaled(l, 0.0)), near, a < 0.9);
    return with_sign(y, x);
}

// Word k of 1/(2 pi) as a binary fraction behind 160 zero bits. By comparisons: an array that is
// indexed by data is copied into every invocation's memory by some drivers.
fn turns_word(k: u32) -> u32 {
    var word = 0u;
    word = select(word, 0x28be60dbu, k == 5u);
    word = select(word, 0x9391054au, k == 6u);
    word = select(word, 0x7f09d5f4u, k == 7u);
    word = select(word, 0x7d4d3770u, k == 8u);
    word = select(word, 0x36d8a566u, k == 9u);
    word = select(word, 0x4f10e410u, k == 10u);
    word = select(word, 0x7f9458eau, k == 11u);
    word = select(word, 0xf7aef158u, k == 12u);
    word = select(word, 0x6dc91b8eu, k == 13u);
    word = select(word, 0x909374b8u, k == 14u);
    word = select(word, 0x01924bbau, k == 15u);
    word = select(word, 0x82746487u, k == 16u);
    word = select(word, 0x3f877ac7u, k == 17u);
    return word;
}

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
    let t0 = turns_word(word);
    let t1 = turns_word(word + 1u);
    let t2 = turns_word(word + 2u);
    // A shift by 32 is undefined, so that the carry is shifted twice.
    let w0 = (t0 << offset) | ((t1 >> 1u) >> (31u - offset));
    let w1 = (t1 << offset) | ((t2 >> 1u) >> (31u - offset));
    let fraction = mantissa * w0 + multiply_high(mantissa, w1);
    return select(fraction, 0u - fraction, x < 0.0);
}

// The squared sine of a fixed-point fraction of a turn as hi, lo; its error is relative to the
// smaller of sin^2 and cos^2 (0.1).
fn sin_squared_turns(phase: u32) -> vec2<f32> {
    // sin^2 has the period of half a turn, and is 1 - sin^2 a quarter further on.
    let half = phase << 1u;
    let signed = bitcast<i32>(half) >> 1u;
    let outer = abs(signed) > 0x20000000;
    let folded = select(abs(signed), 0x40000000 - abs(signed), outer);
    let high = folded & 0x7ffe0000;
    let fh = f32(high) * 2.3283064365386963e-10;
    let fl = f32(folded - high) * 2.3283064365386963e-10;
    let s = settled(fh * fh);
    let s_lo = fl * (2.0 * fh + fl);
    let sh = leading(s);
    let t = s + s_lo;
    let p = 0.00966757629 + t * (-519.515076 + t * (2734.57593 + t * (-7703.34277
        + t * 12924.4297)));
    let y = settled(39.46875 * sh);
    let y_lo = 39.46875 * (settled(s - sh) + s_lo) + t * p;
    let start = select(y, 1.0, outer);
    let less = select(0.0, -y, outer);
    let rest = negated_if(y_lo, outer);
    let hi = leading(settled(start + less) + rest);
    return vec2<f32>(hi, settled(settled(start - hi) + less) + rest);
}
