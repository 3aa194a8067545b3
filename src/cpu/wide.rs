//! The CPU backend's real number: f64 with polynomials in place of `libm`.
//!
//! Every function here is free of branches, tables and calls (but [`Real::sin`]), so that a loop
//! over a catalogue formula becomes SIMD code, and is within 2^-35 of the true value, so that the
//! rounding of a result to f32 is the only error that is left to see.
//!
//! The polynomials are Chebyshev interpolants computed with mpmath's `chebyfit` at 50 digits on
//! the interval named at each, then rounded to f64; the stated error is the largest relative
//! error of the rounded polynomial over 2000 points at 50 digits.

use crate::catalogue::Real;
use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// (e^r - 1) / r for |r| <= log(2) / 2; error 2^-37.5.
const EXP_M1: [f64; 8] = [
    0.9999999999955055,
    0.4999999999995507,
    0.1666666678638044,
    0.041666666786337556,
    0.008333283518768105,
    0.001388883909064138,
    0.00019907582591325134,
    2.4867883453521802e-5,
];

/// log(1 + x) / x for x in [0, 1]; error 2^-38.
const LN_1P: [f64; 14] = [
    0.9999999999965526,
    -0.4999999986454919,
    0.33333324425176525,
    -0.24999766952241512,
    0.19996782322178103,
    -0.16639681062517256,
    0.14136394226230475,
    -0.11924821056785652,
    0.09509049761833763,
    -0.06673351301809682,
    0.03782205115422201,
    -0.01566061972113594,
    0.0041139143025147725,
    -0.0005074701491635587,
];

/// erf(x) / x in u = x² for u in [0, 1]; error 2^-40.
const ERF: [f64; 9] = [
    1.1283791670946768,
    -0.3761263888963531,
    0.11283791308604582,
    -0.026866133235095593,
    0.005223783477189248,
    -0.0008542637997087229,
    0.0001195656256820733,
    -1.3909340021874599e-5,
    1.058938064107502e-6,
];

/// (z + K)·e^(z²/2)·Phi(-z) in t = (z - K) / (z + K) for z in [0, 40], K = `TAIL_K`, Phi the
/// normal distribution function; error 2^-37.5.
const TAIL: [f64; 15] = [
    0.7632305289702537,
    -0.6402577602557067,
    0.4464525170544619,
    -0.25314179952463145,
    0.11138259652552152,
    -0.03387133605396658,
    0.004223612850566998,
    0.0017489177452799849,
    -0.0009177272841251404,
    6.008277622452154e-6,
    0.0001119045202886833,
    -1.5095251411069692e-5,
    -1.3813491744647885e-5,
    2.218083376490571e-6,
    1.533877868199943e-6,
];
/// The point that `TAIL` maps to t = 0; of the half-integers it gives the smallest error.
const TAIL_K: f64 = 4.5;
/// Past this the lower tail of the normal distribution is below every f64.
const TAIL_END: f64 = 40.0;

/// 1.5·2^52 rounds what is added to it to an integer; 1023 more put the bits of 2^k, but for
/// their place, into the low bits of the sum.
const MAGIC: f64 = 6_755_399_441_055_744.0 + 1023.0;
/// Bits of an f64's fraction.
const FRACTION_BITS: u32 = 52;

/// An f64 whose functions vectorise. `FMA` says whether the target multiplies and adds in one
/// instruction; without one, `mul_add` would be a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide<const FMA: bool>(pub f64);

impl<const FMA: bool> Wide<FMA> {
    #[inline(always)]
    fn mul_add(self, by: f64, plus: f64) -> f64 {
        if FMA {
            self.0.mul_add(by, plus)
        } else {
            self.0 * by + plus
        }
    }

    /// Σ coefficients[i]·x^i as two interleaved Horner chains, over the even and the odd powers:
    /// half the latency of one chain for one more multiplication.
    #[inline(always)]
    fn polynomial<const N: usize>(self, coefficients: &[f64; N]) -> f64 {
        let x2 = self.0 * self.0;
        let (mut high, mut low) = (coefficients[N - 1], coefficients[N - 2]);
        let mut i = N - 2;
        while i >= 2 {
            high = Self(high).mul_add(x2, coefficients[i - 1]);
            low = Self(low).mul_add(x2, coefficients[i - 2]);
            i -= 2;
        }
        let sum = Self(high).mul_add(self.0, low);
        // An odd number of coefficients leaves the constant over.
        if i == 1 {
            Self(sum).mul_add(self.0, coefficients[0])
        } else {
            sum
        }
    }

    /// e^x = scale·(1 + rest) with |rest| < 0.42; x in [-709.1, 709.8]. The ends give the scales
    /// 0 and infinity.
    #[inline(always)]
    fn exp_parts(self) -> (f64, f64) {
        let shifted = self.mul_add(std::f64::consts::LOG2_E, MAGIC);
        let k = shifted - MAGIC;
        // One constant for log 2 will do: k times its rounding error is below 2^-43.
        let r = Self(-k).mul_add(std::f64::consts::LN_2, self.0);
        let scale = f64::from_bits(shifted.to_bits() << FRACTION_BITS);
        (scale, r * Self(r).polynomial(&EXP_M1))
    }

    /// Phi(-z) for z in [0, `TAIL_END`].
    #[inline(always)]
    fn lower_tail(z: f64) -> f64 {
        let w = 1.0 / (z + TAIL_K);
        let t = (z - TAIL_K) * w;
        Self(-0.5 * (z * z)).exp().0 * (w * Self(t).polynomial(&TAIL))
    }

    /// e^x for x that is not above 0.
    #[inline(always)]
    pub(crate) fn exp_below_zero(self) -> Self {
        let (scale, rest) = self.at_least(-709.1).exp_parts();
        Self(Self(scale).mul_add(rest, scale))
    }

    /// log(1 + x) for any x >= 0, infinity excepted.
    #[inline(always)]
    pub(crate) fn ln_1p_any(self) -> Self {
        // 1 + x = 2^k·(1 + a); below 1 it is x itself that keeps its precision.
        let bits = (1.0 + self.0).to_bits();
        let one = 1.0f64.to_bits();
        let fraction = (1u64 << FRACTION_BITS) - 1;
        let a = f64::from_bits(bits & fraction | one) - 1.0;
        // The exponent, in the low bits of 2^52 so that no conversion is needed.
        let two52 = 4_503_599_627_370_496.0f64;
        let k = f64::from_bits((bits >> FRACTION_BITS) | two52.to_bits()) - (two52 + 1023.0);
        let small = self.0 < 1.0;
        let a = select_unpredictable(small, self.0, a);
        let k = select_unpredictable(small, 0.0, k);
        let log = Self(k).mul_add(std::f64::consts::LN_2, Self(a).ln_1p().0);
        Self(select_unpredictable(self.0.is_nan(), self.0, log))
    }
}

impl<const FMA: bool> PartialEq for Wide<FMA> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

// The operators are spelled out: the defaults go through `partial_cmp`, which hides from the
// compiler that a comparison is one instruction.
impl<const FMA: bool> PartialOrd for Wide<FMA> {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
    #[inline(always)]
    fn lt(&self, other: &Self) -> bool {
        self.0 < other.0
    }
    #[inline(always)]
    fn le(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
    #[inline(always)]
    fn gt(&self, other: &Self) -> bool {
        self.0 > other.0
    }
    #[inline(always)]
    fn ge(&self, other: &Self) -> bool {
        self.0 >= other.0
    }
}

impl<const FMA: bool> Neg for Wide<FMA> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
}
impl<const FMA: bool> Add for Wide<FMA> {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Self(self.0 + o.0)
    }
}
impl<const FMA: bool> Sub for Wide<FMA> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Self(self.0 - o.0)
    }
}
impl<const FMA: bool> Mul for Wide<FMA> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Self(self.0 * o.0)
    }
}
impl<const FMA: bool> Div for Wide<FMA> {
    type Output = Self;
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        Self(self.0 / o.0)
    }
}

impl<const FMA: bool> Real for Wide<FMA> {
    #[inline(always)]
    fn cst(value: f64) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn select(condition: bool, yes: Self, no: Self) -> Self {
        Self(select_unpredictable(condition, yes.0, no.0))
    }
    #[inline(always)]
    fn round_to_f32(self) -> Self {
        Self(f64::from(self.0 as f32))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }
    /// 0 below -709.1 and infinity above 709.5.
    #[inline(always)]
    fn exp(self) -> Self {
        let (scale, rest) = self.at_least(-709.1).at_most(709.78).exp_parts();
        // Not scale + scale·rest, which at an infinite scale is NaN where rest is negative.
        Self(scale * (1.0 + rest))
    }
    /// At most 2^1023, which as an f32 is infinity.
    #[inline(always)]
    fn exp_m1(self) -> Self {
        let (scale, rest) = self.at_least(-709.1).at_most(709.0).exp_parts();
        // Near zero the scale is 1 and nothing is taken away; -0 needs its sign put back.
        let e = Self(scale).mul_add(rest, scale - 1.0);
        Self(e.copysign(self.0))
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        Self(self.0 * self.polynomial(&LN_1P))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        let e = (self + self).exp_m1();
        e / (e + Self(2.0))
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self(1.0 / (1.0 + (-self).exp().0))
    }
    #[inline(always)]
    fn erf(self) -> Self {
        let small = self.at_least(-1.0).at_most(1.0);
        let series = small.0 * small.squared().polynomial(&ERF);
        let z = (self.abs() * Self(std::f64::consts::SQRT_2)).at_most(TAIL_END);
        let far = (1.0 - 2.0 * Self::lower_tail(z.0)).copysign(self.0);
        Self::select(self.abs() < Self(1.0), Self(series), Self(far))
    }
    #[inline(always)]
    fn norm_cdf(self) -> Self {
        let tail = Self(Self::lower_tail(self.abs().at_most(TAIL_END).0));
        Self::select(self < Self(0.0), tail, Self(1.0) - tail)
    }
    /// The one function that stays a call, and is scalar: the reduction of arguments of up to 1e77 takes a table
    /// of the digits of pi. [`snake`](super::snake) calls it for large ones.
    #[inline(always)]
    fn sin(self) -> Self {
        Self(libm::sin(self.0))
    }
}

/// dy·slope, rounded once. A zero wins over an infinity; NaN for NaN in x or dy.
#[inline(always)]
pub(super) fn times_slope(x: f32, dy: f32, slope: f64) -> f32 {
    let dy64 = f64::from(dy);
    let product = dy64 * slope;
    // Of numbers, only 0 times an infinity is NaN; there the zero wins, with the product's sign.
    let sign = (dy64.to_bits() ^ slope.to_bits()) & (1 << 63);
    let product = if product.is_nan() {
        f64::from_bits(sign)
    } else {
        product
    };
    let nan = x.is_nan() | dy.is_nan();
    if nan { x + dy } else { product as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function here, and the same one in `libm`.
    type Pair<const FMA: bool> = (&'static str, fn(Wide<FMA>) -> Wide<FMA>, fn(f64) -> f64);

    /// The largest relative error of a function over stratified f32 inputs of either sign that
    /// lie in [low, high], where the true value is a normal f64 in the range of f32's products.
    fn worst<const FMA: bool>(
        (_, ours, libm): Pair<FMA>,
        low: f32,
        high: f32,
        mut seen: impl FnMut(f32, f64),
    ) -> f64 {
        let mut worst = 0.0f64;
        for bits in (0..=u32::MAX).step_by(4_999) {
            let x = f32::from_bits(bits);
            if !(low..=high).contains(&x) {
                continue;
            }
            let (got, want) = (ours(Wide(x.into())).0, libm(x.into()));
            // Beyond these a result, or its product with any f32, is no f32.
            if want.abs() > 1e90 || want.abs() < 1e-90 {
                assert!(
                    got.abs() > 1e80 || got.abs() < 1e-80,
                    "{x:e}: {got:e}, {want:e}"
                );
                continue;
            }
            let error = ((got - want) / want).abs();
            assert!(error.is_finite(), "{x:e}: {got:e}, {want:e}");
            seen(x, error);
            worst = worst.max(error);
        }
        worst
    }

    fn primitives_are_those_of_libm<const FMA: bool>() {
        let limit = 2f64.powi(-35);
        let cases: [(Pair<FMA>, f32, f32); 9] = [
            (("exp", Real::exp, libm::exp), f32::MIN, f32::MAX),
            (("exp_m1", Real::exp_m1, libm::expm1), f32::MIN, f32::MAX),
            (("ln_1p", Real::ln_1p, libm::log1p), 0.0, 1.0),
            (("ln_1p_any", Wide::ln_1p_any, libm::log1p), 0.0, f32::MAX),
            (("tanh", Real::tanh, libm::tanh), f32::MIN, f32::MAX),
            (
                ("sigmoid", Real::sigmoid, Real::sigmoid),
                f32::MIN,
                f32::MAX,
            ),
            (("erf", Real::erf, libm::erf), f32::MIN, f32::MAX),
            (
                ("norm_cdf", Real::norm_cdf, Real::norm_cdf),
                -40.0,
                f32::MAX,
            ),
            (("sqrt", Real::sqrt, f64::sqrt), 0.0, f32::MAX),
        ];
        for (pair, low, high) in cases {
            let mut inputs = 0;
            let error = worst(pair, low, high, |_, _| inputs += 1);
            println!("{} (FMA {FMA}): 2^{:.1}", pair.0, error.log2());
            assert!(error < limit, "{}: 2^{:.1}", pair.0, error.log2());
            assert!(inputs > 100_000, "{}: {inputs} inputs", pair.0);
        }
    }

    #[test]
    fn fused_primitives_are_those_of_libm() {
        primitives_are_those_of_libm::<true>();
    }

    #[test]
    fn unfused_primitives_are_those_of_libm() {
        primitives_are_those_of_libm::<false>();
    }

    /// The measure itself must object to a polynomial that is a little off.
    #[test]
    fn a_wrong_primitive_is_seen() {
        let off: Pair<true> = ("off", |x| Wide(libm::exp(x.0) * (1.0 + 1e-10)), libm::exp);
        assert!(worst(off, f32::MIN, f32::MAX, |_, _| ()) > 2f64.powi(-35));
    }

    #[test]
    fn limits_and_signs() {
        fn check<const FMA: bool>() {
            let w = Wide::<FMA>;
            let (inf, tiny) = (f64::INFINITY, f64::from(f32::from_bits(1)));
            assert_eq!(w(-inf).exp().0, 0.0);
            assert_eq!(w(inf).exp().0, inf);
            assert_eq!(w(0.0).exp().0, 1.0);
            assert_eq!(w(-inf).exp_m1().0, -1.0);
            assert_eq!(w(inf).exp_m1().0 as f32, f32::INFINITY);
            assert_eq!(w(inf).tanh().0, 1.0);
            assert_eq!(w(-inf).tanh().0, -1.0);
            assert_eq!(w(inf).sigmoid().0, 1.0);
            assert_eq!(w(-inf).sigmoid().0, 0.0);
            assert_eq!(w(inf).erf().0, 1.0);
            assert_eq!(w(-inf).erf().0, -1.0);
            assert_eq!(w(inf).norm_cdf().0, 1.0);
            assert_eq!(w(-inf).norm_cdf().0, 0.0);
            for f in [Real::exp_m1, Real::tanh, Real::erf] {
                for x in [0.0, tiny] {
                    let (plus, minus): (Wide<FMA>, Wide<FMA>) = (f(w(x)), f(w(-x)));
                    assert!(plus.0.is_sign_positive() && minus.0.is_sign_negative());
                }
            }
            assert_eq!(w(-inf).exp_below_zero().0, 0.0);
            let with_nan = [Real::exp, Real::exp_m1, Real::tanh, Real::sigmoid];
            let more = [Wide::exp_below_zero, Wide::ln_1p_any];
            for f in with_nan.into_iter().chain(more) {
                let at_nan: Wide<FMA> = f(w(f64::NAN));
                assert!(at_nan.0.is_nan());
            }
        }
        check::<true>();
        check::<false>();
    }
}
