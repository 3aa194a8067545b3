//! The hottest functions in f32: a core could not compute them at the rate of its memory if they
//! were widened to f64. They have twice the lanes, and use up more of the contract: the largest
//! error over every f32 is 1.0 ULP for exp and logcosh, 1.4 for softplus, logsigmoid and erf, 1.5 for
//! sigmoid, silu and gelu_tanh, 1.6 for gelu and 1.7 for tanh; of the derivatives 1.4 for sigmoid, 3.1 for silu and 2.9 for gelu.

use super::isa::Kernel;
use crate::catalogue::{GELU_TANH_1, GELU_TANH_3};
use std::hint::select_unpredictable;
use std::marker::PhantomData;

/// (e^r - 1) / r for |r| <= log(2) / 2, by the same method as those of [`wide`](super::wide);
/// error 2^-28.3 as rounded to f32.
const EXP_M1: [f32; 7] = [
    1.0,
    0.5,
    0.166_666_67,
    0.041_666_35,
    0.008_333_298,
    0.001_394_111_9,
    0.000_198_992_86,
];

/// 1.5·2^23 rounds what is added to it to an integer; 127 more put the bits of 2^k, but for their
/// place, into the low bits of the sum.
const MAGIC: f32 = 12_582_912.0 + 127.0;
/// log 2 in two parts, the first with so few bits that its products with integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// A function of one number in f32.
pub(super) trait Narrow {
    /// Whether its bound stands on products that are not rounded before they are added to.
    const FUSES: bool = false;
    fn at<const FMA: bool>(x: f32) -> f32;
}

/// y = `F`(x), NaN for NaN.
pub(super) struct Forward<'a, F> {
    pub function: PhantomData<F>,
    pub x: &'a [f32],
    pub out: &'a mut [f32],
}

impl<F: Narrow> Kernel for Forward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            let value = F::at::<FMA>(x);
            *y = if x.is_nan() { x } else { value };
        }
    }
}

/// dx = dy·f'(x), f' the function `F`. A zero wins over an infinity; NaN for NaN in either.
pub(super) struct Backward<'a, F> {
    pub slope: PhantomData<F>,
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub out: &'a mut [f32],
}

impl<F: Narrow> Kernel for Backward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((dx, &x), &dy) in self.out.iter_mut().zip(self.x).zip(self.dy) {
            let slope = F::at::<FMA>(x);
            let product = dy * slope;
            // Of numbers, only 0 times an infinity is NaN: a zero with the product's sign.
            let sign = (dy.to_bits() ^ slope.to_bits()) & (1 << 31);
            let product = if product.is_nan() {
                f32::from_bits(sign)
            } else {
                product
            };
            let nan = x.is_nan() | dy.is_nan();
            *dx = if nan { x + dy } else { product };
        }
    }
}

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^x = scale·(1 + rest); x in [-88.0, 88.37], whose lower end gives the scale 0.
#[inline(always)]
fn exp_parts<const FMA: bool>(x: f32) -> (f32, f32) {
    scaled_exp_parts::<FMA>(x, 0.0, 0.0)
}

/// e^(x - low)·2^up = scale·(1 + rest), where the left side is a normal number; `up` is an integer
/// and `low` below x's last place.
#[inline(always)]
pub(super) fn scaled_exp_parts<const FMA: bool>(x: f32, low: f32, up: f32) -> (f32, f32) {
    let magic = MAGIC + up;
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, magic);
    let k = shifted - magic;
    let r = mul_add::<FMA>(-k, LN_2_HIGH, x);
    let r = mul_add::<FMA>(-k, LN_2_LOW, r) - low;
    let scale = f32::from_bits(shifted.to_bits() << 23);
    let [_, c1, c2, c3, c4, c5, c6] = EXP_M1;
    let r2 = r * r;
    let even = mul_add::<FMA>(mul_add::<FMA>(c6, r2, c4), r2, c2);
    let odd = mul_add::<FMA>(mul_add::<FMA>(c5, r2, c3), r2, c1);
    // The first coefficient is 1, so that the first term is exact.
    let tail = mul_add::<FMA>(even, r, odd);
    (scale, mul_add::<FMA>(tail, r2, r))
}

/// x, or the bound that it is beyond.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Up to here e^x has a scale below infinity; 1 / (1 + e^x) is subnormal by then.
const LAST: f32 = 88.37;

/// 1 / (1 + e^-x).
pub(super) struct Sigmoid;

impl Narrow for Sigmoid {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        let (scale, rest) = exp_parts::<FMA>(clamp(-x, -88.0, LAST));
        let d = mul_add::<FMA>(scale, rest, 1.0 + scale);
        // What the sums lost, where e^-x is what counts, taken back to first order.
        let lost = mul_add::<FMA>(scale, rest, scale - d) + 1.0;
        let y = 1.0 / d;
        let y = mul_add::<FMA>(-lost * y, y, y);
        if x < -LAST { 0.0 } else { y }
    }
}

/// e / (e + 2) with e = e^2|x| - 1, and the sign of x.
pub(super) struct Tanh;

impl Narrow for Tanh {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        // From 9.02 on the result is 1.
        let z = x.abs();
        let z = if z > 10.0 { 10.0 } else { z };
        let (scale, rest) = exp_parts::<FMA>(z + z);
        let e = mul_add::<FMA>(scale, rest, scale - 1.0);
        let d = e + 2.0;
        let inverse = 1.0 / d;
        let y = e * inverse;
        // One residual step takes the roundings of the sum and of the quotient back.
        let lost = e - (d - 2.0);
        let residual = mul_add::<FMA>(-y, d, e) - y * lost;
        mul_add::<FMA>(residual, inverse, y).copysign(x)
    }
}

/// e^x.
pub(super) struct Exp;

impl Narrow for Exp {
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        // 2^64 is left out of the scale and put back at the end, which reaches the subnormal
        // results and infinity.
        let (up, back) = if x < 0.0 {
            (64.0, 1.0 / TWO_64)
        } else {
            (-64.0, TWO_64)
        };
        let (scale, rest) = scaled_exp_parts::<FMA>(clamp(x, -104.0, 89.0), 0.0, up);
        mul_add::<FMA>(scale, rest, scale) * back
    }
}

const TWO_64: f32 = 18_446_744_073_709_551_616.0;

/// x / (1 + e^-(high + low)), for high in [-110, 60].
///
/// The denominator is computed times 2^-32: e^110 has no f32, and quotients of these are normal.
#[inline(always)]
fn over_one_plus_exp<const FMA: bool>(x: f32, high: f32, low: f32) -> f32 {
    const DOWN: f32 = 1.0 / 4_294_967_296.0;
    let (scale, rest) = scaled_exp_parts::<FMA>(-high, low, -32.0);
    let d = mul_add::<FMA>(scale, rest, DOWN + scale);
    let lost = mul_add::<FMA>(scale, rest, scale - d) + DOWN;
    let inverse = 1.0 / d;
    let q = x * inverse;
    // What the quotient lacks, by its residual.
    let residual = mul_add::<FMA>(-q, lost, mul_add::<FMA>(-q, d, x));
    mul_add::<FMA>(residual, inverse, q) * DOWN
}

/// x / (1 + e^-x).
pub(super) struct Silu;

impl Narrow for Silu {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        // Below it is zero, above 18 it is x.
        let z = if x < -110.0 { -110.0 } else { x };
        let y = over_one_plus_exp::<FMA>(z, z, 0.0);
        if x < 60.0 { y } else { x }
    }
}

/// x / (1 + e^-(x (A + B x²))), A and B those of [`GELU_TANH_1`].
pub(super) struct GeluTanh;

impl Narrow for GeluTanh {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        const A: f32 = GELU_TANH_1 as f32;
        const A_LOW: f32 = (GELU_TANH_1 - A as f64) as f32;
        const B: f32 = GELU_TANH_3 as f32;
        const B_LOW: f32 = (GELU_TANH_3 - B as f64) as f32;
        // Below it is zero.
        let z = if x < -10.8 { -10.8 } else { x };
        // The argument reaches 107, so that it takes two f32: of x², of the sum, of the product.
        let x2 = z * z;
        let x2_low = mul_add::<FMA>(z, z, -x2);
        let b = B * x2;
        let b_low = mul_add::<FMA>(B, x2, -b) + mul_add::<FMA>(B, x2_low, B_LOW * x2);
        let sum = b + A;
        let of_b = sum - A;
        let sum_low = ((b - of_b) + (A - (sum - of_b))) + (b_low + A_LOW);
        let high = z * sum;
        let low = mul_add::<FMA>(z, sum_low, mul_add::<FMA>(z, sum, -high));
        let y = over_one_plus_exp::<FMA>(z, high, low);
        if x < 7.5 { y } else { x }
    }
}

/// W(z) = e^(z²/2)·Phi(-z), Phi the normal distribution function, around a point of [0, 1.1]: the
/// point m, W(m), and the coefficients of (z - m), (z - m)², ... Least squares of the relative error
/// at Chebyshev nodes with mpmath at 50 digits; error 2^-27.0 as rounded to f32. The point is an f32
/// at which W is very nearly one (Gal 1986), so that the leading term is exact.
const TAIL_NEAR: [f32; 10] = [
    0.450_004_52,
    0.361_128_36,
    -0.236_432_9,
    0.127_366_41,
    -0.059_705_563,
    0.025_120_09,
    -0.009_679_424,
    0.003_496_559,
    -0.001_190_648_2,
    2.8950398e-4,
];
/// The same for z in [1.1, 2.6]; error 2^-27.1.
const TAIL_MIDDLE: [f32; 10] = [
    1.980_005_1,
    0.169_365_02,
    -0.063_598_67,
    0.021_719_614,
    -0.006_864_592_4,
    0.002_032_605,
    -5.6784804e-4,
    1.4847763e-4,
    -4.004328e-5,
    1.29222435e-5,
];
/// z·W(z) in 1/z for z in [2.6, 14], around a point of 1/z; error 2^-26.9.
const TAIL_FAR: [f32; 10] = [
    0.224_403_78,
    0.381_312_6,
    -0.139_121,
    -0.176_643_65,
    0.404_013_45,
    -0.265_343_1,
    -0.509_649_04,
    1.753_584_9,
    -1.657_200_6,
    -1.722_622_2,
];

/// What is left of the normal distribution behind z >= 0, z at most 15.
struct Tail {
    /// e^(-z²/2)·2^up = scale·(1 + rest).
    scale: f32,
    rest: f32,
    /// W(z), or z·W(z) where `far`: c1 + w.
    c1: f32,
    w: f32,
    far: bool,
    /// 1 / z where `far`.
    inverse: f32,
}

impl Tail {
    /// `lowest` is the least exponent whose power still counts.
    #[inline(always)]
    fn at<const FMA: bool>(z: f32, lowest: f32, up: f32) -> Self {
        // e^(-z²/2) shows the rounding of z².
        let z2 = z * z;
        let z2_low = mul_add::<FMA>(z, z, -z2);
        let half = -0.5 * z2;
        let half = if half < lowest { lowest } else { half };
        let (scale, rest) = scaled_exp_parts::<FMA>(half, 0.5 * z2_low, up);

        let (near, far) = (z < 1.1, z > 2.6);
        let c = |i: usize| {
            let close = select_unpredictable(near, TAIL_NEAR[i], TAIL_MIDDLE[i]);
            select_unpredictable(far, TAIL_FAR[i], close)
        };
        let inverse = 1.0 / z;
        let v = select_unpredictable(far, inverse, z) - c(0);
        let v2 = v * v;
        let low = mul_add::<FMA>(
            mul_add::<FMA>(c(6), v, c(5)),
            v2,
            mul_add::<FMA>(c(4), v, c(3)),
        );
        let high = mul_add::<FMA>(c(9), v2, mul_add::<FMA>(c(8), v, c(7)));
        let polynomial = mul_add::<FMA>(high, v2 * v2, low);
        let w = mul_add::<FMA>(c(2), v, v2 * polynomial);
        Self {
            scale,
            rest,
            c1: c(1),
            w,
            far,
            inverse,
        }
    }
}

/// x·Phi(x), as the larger of x and 0 less |x|·Phi(-|x|).
pub(super) struct Gelu;

impl Narrow for Gelu {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        // From 13.3 on nothing normal is left of the tail.
        let z = x.abs();
        let z = if z > 14.0 { 14.0 } else { z };
        let Tail {
            scale,
            rest,
            c1,
            w,
            far,
            ..
        } = Tail::at::<FMA>(z, -88.0, 0.0);
        // (c1 + w)·(1 + rest) as a sum of two.
        let w = mul_add::<FMA>(c1, rest, mul_add::<FMA>(w, rest, w));
        let sum = c1 + w;
        let lost = w - (sum - c1);

        let above = x > 0.0;
        let minus_z = select_unpredictable(above, -x, x);
        let factor = select_unpredictable(far, -1.0, minus_z);
        let tail = mul_add::<FMA>(factor, sum, factor * lost);
        // Minus zero keeps the sign of a tail that is zero.
        mul_add::<FMA>(tail, scale, select_unpredictable(above, x, -0.0))
    }
}

/// Powers that are taken times this have results that are normal where they are not.
const UP: f32 = 24.0;
const DOWN: f32 = 1.0 / 16_777_216.0;
/// An exponent whose power times 2^UP is 0.
const LOWEST: f32 = -105.0;

/// Phi(x) + x·phi(x): with W as above, e^(-z²/2)·(W(z) - z / sqrt(2 pi)) of z = -x, and for a positive
/// x 1 less that of z = x.
pub(super) struct GeluSlope;

impl Narrow for GeluSlope {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
        let z = x.abs();
        let z = if z > 15.0 { 15.0 } else { z };
        let tail = Tail::at::<FMA>(z, LOWEST, UP);
        let w = tail.c1 + tail.w;
        let w = select_unpredictable(tail.far, w * tail.inverse, w);
        let power = mul_add::<FMA>(tail.scale, tail.rest, tail.scale);
        let rest = power * mul_add::<FMA>(-FRAC_1_SQRT_2PI, z, w);
        if x > 0.0 {
            mul_add::<FMA>(rest, -DOWN, 1.0)
        } else {
            rest * DOWN
        }
    }
}

/// e = e^-|x|, with which sigmoid(|x|) is 1 / (1 + e) and sigmoid(-|x|) e / (1 + e).
struct Sigmoids {
    /// 2^24·e = scale·(1 + rest).
    scale: f32,
    rest: f32,
    /// 1 / (1 + e) = y·(1 + lacks).
    y: f32,
    lacks: f32,
}

impl Sigmoids {
    #[inline(always)]
    fn of<const FMA: bool>(x: f32) -> Self {
        let z = -x.abs();
        let z = if z < LOWEST { LOWEST } else { z };
        let (scale, rest) = scaled_exp_parts::<FMA>(z, 0.0, UP);
        let e = mul_add::<FMA>(scale, rest, scale);
        let d = mul_add::<FMA>(e, DOWN, 1.0);
        let lost = mul_add::<FMA>(e, DOWN, 1.0 - d);
        let y = 1.0 / d;
        let lacks = mul_add::<FMA>(-y, lost, mul_add::<FMA>(-y, d, 1.0));
        Self {
            scale,
            rest,
            y,
            lacks,
        }
    }
}

/// sigmoid(x)·sigmoid(-x).
pub(super) struct SigmoidSlope;

impl Narrow for SigmoidSlope {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        let Sigmoids {
            scale,
            rest,
            y,
            lacks,
        } = Sigmoids::of::<FMA>(x);
        let y2 = y * y;
        let lost = mul_add::<FMA>(y, y, -y2);
        let low = mul_add::<FMA>(y2 + y2, lacks, lost);
        // Powers of two round nothing.
        (y2 + mul_add::<FMA>(y2, rest, mul_add::<FMA>(low, rest, low))) * scale * DOWN
    }
}

/// s·(1 + x·sigmoid(-x)), s = sigmoid(x).
pub(super) struct SiluSlope;

impl Narrow for SiluSlope {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        let Sigmoids {
            scale,
            rest,
            y,
            lacks,
        } = Sigmoids::of::<FMA>(x);
        let y = mul_add::<FMA>(y, lacks, y);
        let x = clamp(x, -110.0, 110.0);
        let above = x > 0.0;
        let below = mul_add::<FMA>(y, rest, y) * (scale * DOWN);
        let other = select_unpredictable(above, below, y);
        let slope = y * mul_add::<FMA>(x, other, 1.0);
        let times_e = mul_add::<FMA>(slope, rest, slope) * scale * DOWN;
        select_unpredictable(above, slope, times_e)
    }
}

/// 2 atanh(s) = 2s + s³·Q(s²) for |s| <= 1/3: Q by least squares as [`TAIL_NEAR`]; error 2^-27.4.
const ATANH: [f32; 4] = [0.666_664_1, 0.400_217_92, 0.279_981_73, 0.280_276_4];

/// log(1 + e)·2^`UP` as 2 atanh(s), s = e / (2 + e); e = e^z, z in [`LOWEST`, 0].
#[inline(always)]
fn log_1p_exp<const FMA: bool>(z: f32) -> f32 {
    let (scale, rest) = scaled_exp_parts::<FMA>(z, 0.0, UP);
    let up = mul_add::<FMA>(scale, rest, scale);
    let lost = mul_add::<FMA>(scale, rest, scale - up);
    let e = up * DOWN;
    let inverse = 1.0 / (2.0 + e);
    // s·2^UP, and its residual, to which 2 + e is not rounded; up - 2s is exact.
    let s = up * inverse;
    let residual = mul_add::<FMA>(-s, e, mul_add::<FMA>(-2.0, s, up)) + lost;
    let t = s * DOWN;
    let t2 = t * t;
    let [c0, c1, c2, c3] = ATANH;
    let low = mul_add::<FMA>(c1, t2, c0);
    let q = mul_add::<FMA>(mul_add::<FMA>(c3, t2, c2), t2 * t2, low);
    let more = mul_add::<FMA>(residual + residual, inverse, s * t2 * q);
    mul_add::<FMA>(s, 2.0, more)
}

/// log(1 + e^x), as the larger of x and 0, and log(1 + e^-|x|).
#[inline(always)]
fn softplus<const FMA: bool>(x: f32) -> f32 {
    let z = -x.abs();
    let z = if z < LOWEST { LOWEST } else { z };
    let log = log_1p_exp::<FMA>(z);
    mul_add::<FMA>(log, DOWN, if x > 0.0 { x } else { 0.0 })
}

/// log(1 + e^x).
pub(super) struct Softplus;

impl Narrow for Softplus {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        softplus::<FMA>(x)
    }
}

/// -log(1 + e^-x).
pub(super) struct LogSigmoid;

impl Narrow for LogSigmoid {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        -softplus::<FMA>(-x)
    }
}

/// log(cosh x) = x²/2·(1 + x²·P(x²)) for |x| <= 0.75, by least squares as well; error 2^-27.3.
const LOG_COSH: [f32; 5] = [
    -0.166_666_25,
    0.044_433_89,
    -0.013_403_243,
    0.004_038_616_5,
    -8.660_325_5e-4,
];

/// log(cosh x): near 0 by its polynomial, elsewhere |x| - log 2 + log(1 + e^-2|x|).
pub(super) struct LogCosh;

impl Narrow for LogCosh {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        const LN_2: f32 = std::f32::consts::LN_2;
        const LN_2_REST: f32 = (std::f64::consts::LN_2 - LN_2 as f64) as f32;
        let z = x.abs();
        let half = 0.5 * z;
        let leading = half * z;
        let lost = mul_add::<FMA>(half, z, -leading);
        let x2 = z * z;
        let [c0, c1, c2, c3, c4] = LOG_COSH;
        let low = mul_add::<FMA>(c1, x2, c0);
        let high = mul_add::<FMA>(c4, x2 * x2, mul_add::<FMA>(c3, x2, c2));
        let p = mul_add::<FMA>(high, x2 * x2, low);
        let near = leading + mul_add::<FMA>(leading * x2, p, lost);

        let twice = -2.0 * z;
        let log = log_1p_exp::<FMA>(if twice < LOWEST { LOWEST } else { twice });
        let far = (z - LN_2) + mul_add::<FMA>(log, DOWN, -LN_2_REST);
        select_unpredictable(z < 0.75, near, far)
    }
}

/// erf(x) / x less the f32 next to 2 / sqrt(pi), in x² for |x| <= 1, by least squares as well; error
/// 2^-28.0 of erf(x) / x.
const ERF_NEAR: [f32; 7] = [
    -6.004_157e-8,
    -0.376_126_26,
    0.112_835_824,
    -0.026_853_692,
    0.005_188_099,
    -0.000_800_818_9,
    7.847_259e-5,
];
/// log(1 - erf(x)) / x for x in [1, 4]; error 2^-27.9 of erf(x)'s 1.
const ERF_FAR: [f32; 6] = [
    -1.128_490_3,
    -0.635_795_5,
    -0.105_165_41,
    0.022_831_42,
    -0.003_197_71,
    0.000_212_015_06,
];

/// The error function: up to 1 by its polynomial, above by that of the logarithm of 1 - erf(|x|).
pub(super) struct Erf;

impl Narrow for Erf {
    const FUSES: bool = true;
    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> f32 {
        // From 3.92 on the result is 1.
        let z = x.abs();
        let z = if z > 4.0 { 4.0 } else { z };
        let z2 = z * z;
        let z4 = z2 * z2;

        let [c0, c1, c2, c3, c4, c5, c6] = ERF_NEAR;
        let low = mul_add::<FMA>(c1, z2, c0);
        let middle = mul_add::<FMA>(c3, z2, c2);
        let high = mul_add::<FMA>(c6, z4, mul_add::<FMA>(c5, z2, c4));
        let w = mul_add::<FMA>(mul_add::<FMA>(high, z4, middle), z4, low);
        let near = mul_add::<FMA>(z, std::f32::consts::FRAC_2_SQRT_PI, z * w);

        let [c0, c1, c2, c3, c4, c5] = ERF_FAR;
        let low = mul_add::<FMA>(c1, z, c0);
        let middle = mul_add::<FMA>(c3, z, c2);
        let high = mul_add::<FMA>(c5, z, c4);
        let log = z * mul_add::<FMA>(mul_add::<FMA>(high, z2, middle), z2, low);
        let (scale, rest) = exp_parts::<FMA>(log);
        let far = 1.0 - mul_add::<FMA>(scale, rest, scale);
        select_unpredictable(z < 1.0, near, far).copysign(x)
    }
}
