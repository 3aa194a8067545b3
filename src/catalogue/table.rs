//! The catalogue: one row for each element-wise activation. A row and a WGSL pair of the same
//! name in `shaders/activations.wgsl` are all that an activation needs; the enum, the command
//! line, the uniforms, the documentation table and the tests come from here.
//!
//! A row's formulas are generic over [`Real`] and see finite, infinite and signed-zero inputs;
//! NaN never reaches a caller through them, because every evaluator passes a NaN input on
//! unchanged. Formulas take the limit at the infinities, which is what the `at_least` and
//! `at_most` in them are for.

use super::real::Real;
use super::{Bounds, Info, Parameter};
use crate::range::Range;

/// The most parameters that a row has; uniforms and the formulas' arrays have this length.
pub const MAX_PARAMETERS: usize = 2;

/// A row's formulas.
pub(crate) trait Formula {
    /// f(x).
    fn forward<R: Real>(x: R, p: [R; MAX_PARAMETERS]) -> R;
    /// f'(x), at a kink by PyTorch's convention.
    fn backward<R: Real>(x: R, p: [R; MAX_PARAMETERS]) -> R;
    /// The magnitude of the largest term that f'(x) is a sum of, where the sum changes sign;
    /// elsewhere 0. An error near such a root is measured against this.
    fn largest_term(_x: f64, _p: [f64; MAX_PARAMETERS]) -> f64 {
        0.0
    }
    /// Where f or f' is not smooth.
    fn kinks(_p: [f64; MAX_PARAMETERS]) -> Vec<f64> {
        Vec::new()
    }
}

/// A computation that is generic over the row, run for one row by [`Activation::visit`].
pub(crate) trait Visitor {
    type Output;
    fn visit<F: Formula>(self) -> Self::Output;
}

macro_rules! catalogue {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident $name:literal ($($parameter:ident: $default:expr, $range:ident $(, $exact:literal)?);*) {
            aliases: [$($alias:literal),*],
            formula: $formula:literal,
            derivative: $derivative:literal,
            source: $source:literal,
            forward: |$fx:ident, $fp:pat_param| $forward:expr,
            backward: |$bx:ident, $bp:pat_param| $backward:expr,
            $(largest_term: |$lx:ident, $lp:pat_param| $largest:expr,)?
            $(kinks: |$kp:pat_param| $kinks:expr,)?
            $(bounds: $bounds:expr,)?
        }
    )*) => {
        /// An element-wise activation of the catalogue.
        ///
        /// [`Activation::info`] says what each one computes. A variant stands for itself with its
        /// default parameters wherever an [`Elementwise`](crate::Elementwise) is asked for;
        /// [`Activation::with`] sets parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Activation {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Activation {
            /// Every activation, in the catalogue's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The row of this activation: names, parameters, formula, source, error bounds.
            pub fn info(self) -> &'static Info {
                match self {
                    $(Self::$variant => {
                        const INFO: Info = Info {
                            name: $name,
                            aliases: &[$($alias),*],
                            parameters: &[$(Parameter {
                                name: stringify!($parameter),
                                default: $default,
                                range: Range::$range,
                                exact: {
                                    const TEXTS: &[&str] = &[$($exact)?];
                                    TEXTS.first().copied()
                                },
                            }),*],
                            summary: concat!($($doc),+),
                            formula: $formula,
                            derivative: $derivative,
                            source: $source,
                            bounds: {
                                #[allow(unused_mut, unused_assignments, reason = "a row may keep the default")]
                                let mut bounds = Bounds::CONTRACT;
                                $(bounds = $bounds;)?
                                bounds
                            },
                        };
                        &INFO
                    })*
                }
            }

            /// Runs `visitor` on this row's formulas.
            pub(crate) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$variant => visitor.visit::<formulas::$variant>(),)*
                }
            }
        }

        /// The rows as types.
        pub(crate) mod formulas {
            use super::*;
            $(
                pub(crate) struct $variant;
                impl Formula for $variant {
                    #[inline(always)]
                    fn forward<R: Real>($fx: R, $fp: [R; MAX_PARAMETERS]) -> R { $forward }
                    #[inline(always)]
                    fn backward<R: Real>($bx: R, $bp: [R; MAX_PARAMETERS]) -> R { $backward }
                    $(fn largest_term($lx: f64, $lp: [f64; MAX_PARAMETERS]) -> f64 { $largest })?
                    $(fn kinks($kp: [f64; MAX_PARAMETERS]) -> Vec<f64> { $kinks.to_vec() })?
                }
            )*
        }
    };
}

/// The largest finite f32: where a formula must not see an infinity, its limit is taken here.
const HUGE: f64 = f32::MAX as f64;
/// Past this magnitude e^-|x| is far below every f32, also times two others, and still normal in
/// f64.
const FAR: f64 = 700.0;

#[inline(always)]
fn c<R: Real>(value: f64) -> R {
    R::cst(value)
}

#[inline(always)]
fn when<R: Real>(condition: bool, yes: R, no: R) -> R {
    R::select(condition, yes, no)
}

/// 1 where the condition holds, else 0.
#[inline(always)]
fn indicator<R: Real>(condition: bool) -> R {
    when(condition, c(1.0), c(0.0))
}

/// A finite parameter times x, with 0 · ±infinity = ±0: the limit for a slope of zero.
#[inline(always)]
fn times<R: Real>(parameter: R, x: R) -> R {
    let inside = x.at_least(-1.0).at_most(1.0);
    // Finite products stay what they are, for dual numbers' sake.
    let limit = parameter == c(0.0) && x.abs() > c(HUGE);
    when(limit, parameter * inside, parameter * x)
}

/// The line of hardsigmoid, `rise` + `offset`, in units of which 1 is `unit`: sixths where alpha is
/// its default, for which NaN stands.
struct HardLine<R> {
    rise: R,
    offset: R,
    unit: f64,
    slope: R,
}

#[inline(always)]
fn hard_line<R: Real>(x: R, [alpha, beta]: [R; MAX_PARAMETERS]) -> HardLine<R> {
    if alpha.is_nan() {
        HardLine {
            rise: x,
            offset: c::<R>(6.0) * beta,
            unit: 6.0,
            slope: c(1.0 / 6.0),
        }
    } else {
        HardLine {
            rise: times(alpha, x),
            offset: beta,
            unit: 1.0,
            slope: alpha,
        }
    }
}

/// max(z, 0) + log(1 + e^-|z|) = log(1 + e^z).
#[inline(always)]
fn softplus<R: Real>(z: R) -> R {
    z.at_least(0.0) + (-z.abs()).exp().ln_1p()
}

/// 1 - tanh² x from the input: 4e / (1 + e)², e = e^-2|x|.
#[inline(always)]
fn sech_squared<R: Real>(x: R) -> R {
    let e = (c::<R>(-2.0) * x.abs()).exp();
    c::<R>(4.0) * e / (c::<R>(1.0) + e).squared()
}

/// x·σ(z) with z = βx already formed; the far side of a finite z takes its limit ±0.
#[inline(always)]
fn gated_by_sigmoid<R: Real>(x: R, z: R) -> R {
    when(z < c(0.0), x.at_least(-HUGE).at_most(HUGE), x) * z.sigmoid()
}

/// d/dx x·σ(βx) = σ(z)(1 + z·σ(-z)) with z = βx.
#[inline(always)]
fn gated_by_sigmoid_slope<R: Real>(z: R) -> R {
    let z = z.at_least(-FAR).at_most(FAR);
    z.sigmoid() * (c::<R>(1.0) + z * (-z).sigmoid())
}

fn gated_by_sigmoid_largest(z: f64) -> f64 {
    let z = z.clamp(-FAR, FAR);
    let s = Real::sigmoid(z);
    s.max((s * z * Real::sigmoid(-z)).abs())
}

/// 2·sqrt(2/pi) and 0.044715 times it (Hendrycks & Gimpel 2016, the tanh form of GELU).
pub(crate) const GELU_TANH_1: f64 = 1.595_769_121_605_730_8;
pub(crate) const GELU_TANH_3: f64 = 0.071_354_816_272_600_25;

/// e and n = e(e + 2) with tanh(softplus x) = n / (n + 2); past 40 the quotient is 1.
#[inline(always)]
fn mish_parts<R: Real>(x: R) -> (R, R) {
    let e = x.at_most(40.0).exp();
    (e, e * (e + c(2.0)))
}

/// The two summands of the derivative of mish.
#[inline(always)]
fn mish_slope<R: Real>(x: R) -> (R, R) {
    let x = x.at_least(-FAR).at_most(40.0);
    let (e, n) = mish_parts(x);
    let above = n + c(2.0);
    let sech2 = c::<R>(4.0) * (n + c(1.0)) / above.squared();
    (n / above, x * (e / (e + c(1.0))) * sech2)
}

/// Sum of coefficients[k]·x^(2k).
#[inline(always)]
fn even_series<R: Real>(x2: R, coefficients: &[f64]) -> R {
    let mut sum = c(0.0);
    for &coefficient in coefficients.iter().rev() {
        sum = sum * x2 + c(coefficient);
    }
    sum
}

/// Below this, `tanhshrink` and `logcosh` are their Taylor series (truncated past 1e-14).
const SERIES: f64 = 0.25;
/// (x - tanh x)/x³.
const TANHSHRINK: [f64; 9] = [
    1.0 / 3.0,
    -2.0 / 15.0,
    17.0 / 315.0,
    -62.0 / 2835.0,
    1382.0 / 155_925.0,
    -21_844.0 / 6_081_075.0,
    929_569.0 / 638_512_875.0,
    -6_404_582.0 / 10_854_718_875.0,
    443_861_162.0 / 1_856_156_927_625.0,
];
/// log cosh x / x².
const LOGCOSH: [f64; 9] = [
    1.0 / 2.0,
    -1.0 / 12.0,
    1.0 / 45.0,
    -17.0 / 2520.0,
    31.0 / 14_175.0,
    -691.0 / 935_550.0,
    10_922.0 / 42_567_525.0,
    -929_569.0 / 10_216_206_000.0,
    3_202_291.0 / 97_692_469_875.0,
];

const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
const QUICK_GELU_BETA: f32 = 1.702;

catalogue! {
    /// Rectified linear unit.
    Relu "relu" () {
        aliases: [],
        formula: "max(x, 0)",
        derivative: "1 if x > 0 else 0",
        source: "Nair & Hinton 2010",
        forward: |x, _| when(x <= c(0.0), c(0.0), x),
        backward: |x, _| indicator(x > c(0.0)),
        kinks: |_| [0.0],
    }
    /// ReLU that saturates at 6.
    Relu6 "relu6" () {
        aliases: ["relu_6"],
        formula: "min(max(x, 0), 6)",
        derivative: "1 if 0 < x < 6 else 0",
        source: "Krizhevsky 2010",
        forward: |x, _| when(x <= c(0.0), c(0.0), x).at_most(6.0),
        backward: |x, _| indicator(x > c(0.0) && x < c(6.0)),
        kinks: |_| [0.0, 6.0],
    }
    /// ReLU with a slope below zero.
    LeakyRelu "leaky_relu" (negative_slope: 0.01, Finite) {
        aliases: ["leakyrelu", "lrelu"],
        formula: "x if x > 0 else negative_slope * x",
        derivative: "1 if x > 0 else negative_slope",
        source: "Maas et al. 2013",
        forward: |x, [slope, _]| when(x > c(0.0), x, times(slope, x)),
        backward: |x, [slope, _]| when(x > c(0.0), c(1.0), slope),
        kinks: |_| [0.0],
    }
    /// Exponential linear unit.
    Elu "elu" (alpha: 1.0, Finite) {
        aliases: [],
        formula: "x if x > 0 else alpha * (exp(x) - 1)",
        derivative: "1 if x > 0 else alpha * exp(x)",
        source: "Clevert et al. 2015",
        forward: |x, [alpha, _]| when(x > c(0.0), x, alpha * x.at_most(0.0).exp_m1()),
        backward: |x, [alpha, _]| when(x > c(0.0), c(1.0), alpha * x.at_most(0.0).exp()),
        kinks: |_| [0.0],
    }
    /// Self-normalising ELU.
    Selu "selu" (alpha: 1.673_263_2, Finite; scale: 1.050_701, Finite) {
        aliases: [],
        formula: "scale * (x if x > 0 else alpha * (exp(x) - 1))",
        derivative: "scale * (1 if x > 0 else alpha * exp(x))",
        source: "Klambauer et al. 2017",
        forward: |x, [alpha, scale]|
            when(x > c(0.0), times(scale, x), scale * alpha * x.at_most(0.0).exp_m1()),
        backward: |x, [alpha, scale]|
            when(x > c(0.0), scale, scale * alpha * x.at_most(0.0).exp()),
        kinks: |_| [0.0],
    }
    /// Continuously differentiable ELU.
    Celu "celu" (alpha: 1.0, NonZero) {
        aliases: [],
        formula: "x if x > 0 else alpha * (exp(x / alpha) - 1)",
        derivative: "1 if x > 0 else exp(x / alpha)",
        source: "Barron 2017",
        forward: |x, [alpha, _]| when(x > c(0.0), x, alpha * (x.at_most(0.0) / alpha).exp_m1()),
        backward: |x, [alpha, _]| when(x > c(0.0), c(1.0), (x.at_most(0.0) / alpha).exp()),
        kinks: |_| [0.0],
    }
    /// Gaussian error linear unit, exact form.
    Gelu "gelu" () {
        aliases: ["gelu_erf", "gelu_exact", "gelu_none"],
        formula: "x * Phi(x), Phi the normal distribution function",
        derivative: "Phi(x) + x * phi(x), phi the normal density",
        source: "Hendrycks & Gimpel 2016",
        forward: |x, _| {
            let x = x.at_least(-40.0);
            x * x.norm_cdf()
        },
        backward: |x, _| {
            let x = x.at_least(-40.0).at_most(40.0);
            x.norm_cdf() + x * c(FRAC_1_SQRT_2PI) * (c::<R>(-0.5) * x.squared()).exp()
        },
        largest_term: |x, _| {
            let x = x.clamp(-40.0, 40.0);
            x.norm_cdf().max((x * FRAC_1_SQRT_2PI * (-0.5 * x * x).exp()).abs())
        },
    }
    /// The tanh form of GELU, a function of its own.
    GeluTanh "gelu_tanh" () {
        aliases: ["gelu_new", "gelu_approximate", "gelu_pytorch_tanh", "gelu_fast"],
        formula: "x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x^3)",
        derivative: "s + x * s * (1 - s) * 2u', s = sigmoid(2u)",
        source: "Hendrycks & Gimpel 2016",
        forward: |x, _| {
            let x = x.at_least(-30.0);
            x * (x * (c::<R>(GELU_TANH_1) + c::<R>(GELU_TANH_3) * x.squared())).sigmoid()
        },
        backward: |x, _| {
            let x = x.at_least(-30.0).at_most(30.0);
            let z = x * (c::<R>(GELU_TANH_1) + c::<R>(GELU_TANH_3) * x.squared());
            let slope = c::<R>(GELU_TANH_1) + c::<R>(3.0 * GELU_TANH_3) * x.squared();
            z.sigmoid() + x * z.sigmoid() * (-z).sigmoid() * slope
        },
        largest_term: |x, _| {
            let x = x.clamp(-30.0, 30.0);
            let z = x * (GELU_TANH_1 + GELU_TANH_3 * x * x);
            let slope = GELU_TANH_1 + 3.0 * GELU_TANH_3 * x * x;
            let s = Real::sigmoid(z);
            s.max((x * s * Real::sigmoid(-z) * slope).abs())
        },
    }
    /// The sigmoid form of GELU: swish with beta 1.702.
    QuickGelu "quick_gelu" () {
        aliases: ["gelu_sigmoid", "quickgelu"],
        formula: "x * sigmoid(1.702 x)",
        derivative: "s * (1 + 1.702 x * (1 - s)), s = sigmoid(1.702 x)",
        source: "Hendrycks & Gimpel 2016",
        forward: |x, _| gated_by_sigmoid(x, c::<R>(QUICK_GELU_BETA.into()) * x),
        backward: |x, _| gated_by_sigmoid_slope(c::<R>(QUICK_GELU_BETA.into()) * x),
        largest_term: |x, _| gated_by_sigmoid_largest(f64::from(QUICK_GELU_BETA) * x),
    }
    /// Sigmoid-weighted linear unit.
    Silu "silu" () {
        aliases: ["swish_1"],
        formula: "x * sigmoid(x)",
        derivative: "s * (1 + x * (1 - s)), s = sigmoid(x)",
        source: "Elfwing et al. 2017",
        forward: |x, _| gated_by_sigmoid(x, x),
        backward: |x, _| gated_by_sigmoid_slope(x),
        largest_term: |x, _| gated_by_sigmoid_largest(x),
    }
    /// SiLU with a steepness.
    Swish "swish" (beta: 1.0, Finite) {
        aliases: ["swish_beta"],
        formula: "x * sigmoid(beta * x)",
        derivative: "s * (1 + beta * x * (1 - s)), s = sigmoid(beta * x)",
        source: "Ramachandran et al. 2017",
        forward: |x, [beta, _]| gated_by_sigmoid(x, times(beta, x)),
        backward: |x, [beta, _]| gated_by_sigmoid_slope(times(beta, x)),
        largest_term: |x, [beta, _]| gated_by_sigmoid_largest(times(beta, x)),
    }
    /// Self-regularised non-monotonic activation.
    Mish "mish" () {
        aliases: [],
        formula: "x * tanh(softplus(x))",
        derivative: "t + x * sigmoid(x) * (1 - t^2), t = tanh(softplus(x))",
        source: "Misra 2019",
        forward: |x, _| {
            let x = x.at_least(-FAR);
            let (_, n) = mish_parts(x);
            x * (n / (n + c(2.0)))
        },
        backward: |x, _| {
            let (t, rest) = mish_slope(x);
            t + rest
        },
        largest_term: |x, _| {
            let (t, rest) = mish_slope(x);
            t.max(rest.abs())
        },
    }
    /// Logistic function.
    Sigmoid "sigmoid" () {
        aliases: ["logistic", "expit"],
        formula: "1 / (1 + exp(-x))",
        derivative: "sigmoid(x) * sigmoid(-x)",
        source: "Verhulst 1845",
        forward: |x, _| x.sigmoid(),
        backward: |x, _| x.sigmoid() * (-x).sigmoid(),
    }
    /// Logarithm of the logistic function.
    LogSigmoid "logsigmoid" () {
        aliases: ["log_sigmoid"],
        formula: "min(x, 0) - log1p(exp(-|x|))",
        derivative: "sigmoid(-x)",
        source: "PyTorch logsigmoid",
        forward: |x, _| -softplus(-x),
        backward: |x, _| (-x).sigmoid(),
    }
    /// Piecewise linear sigmoid. The default alpha is 1/6 itself, of which f32 has the nearest.
    HardSigmoid "hardsigmoid" (alpha: 1.0 / 6.0, Finite, "1/6"; beta: 0.5, Finite) {
        aliases: ["hard_sigmoid"],
        formula: "min(max(alpha * x + beta, 0), 1)",
        derivative: "alpha if 0 < alpha * x + beta < 1 else 0",
        source: "Courbariaux et al. 2015",
        forward: |x, p| {
            let HardLine { rise, offset, unit, .. } = hard_line(x, p);
            (rise + offset).at_least(0.0).at_most(unit) * when(unit == 1.0, c(1.0), c(1.0 / 6.0))
        },
        backward: |x, p| {
            let HardLine { rise, offset, unit, slope } = hard_line(x, p);
            // The sign of a difference to a bound survives rounding where the bound is taken off
            // the larger of the two; the line itself may round onto it.
            let falls = rise.abs() < offset.abs();
            let (small, large) = (when(falls, rise, offset), when(falls, offset, rise));
            let inside = rise + offset > c(0.0) && small + (large - c(unit)) < c(0.0);
            when(inside, slope, c(0.0))
        },
        kinks: |[alpha, beta]| {
            let alpha = if alpha.is_nan() { 1.0 / 6.0 } else { alpha };
            [-beta / alpha, (1.0 - beta) / alpha]
        },
    }
    /// Hyperbolic tangent.
    Tanh "tanh" () {
        aliases: [],
        formula: "tanh(x)",
        derivative: "4e / (1 + e)^2, e = exp(-2|x|)",
        source: "LeCun et al. 1998",
        forward: |x, _| x.tanh(),
        backward: |x, _| sech_squared(x),
    }
    /// Clamp whose slope at the bounds is 0.
    Hardtanh "hardtanh" (min_val: -1.0, NotNan; max_val: 1.0, NotBelowPrevious) {
        aliases: ["hard_tanh"],
        formula: "min(max(x, min_val), max_val)",
        derivative: "1 if min_val < x < max_val else 0",
        source: "Collobert 2004",
        forward: |x, [low, high]| {
            let y = when(x < low, low, x);
            when(y > high, high, y)
        },
        backward: |x, [low, high]| indicator(x > low && x < high),
        kinks: |[low, high]| [low, high],
    }
    /// Clamp whose slope at the bounds is 1; a minimum above the maximum gives the maximum.
    Clamp "clamp" (min: f32::NEG_INFINITY, NotNan; max: f32::INFINITY, NotNan) {
        aliases: ["clip"],
        formula: "min(max(x, min), max)",
        derivative: "1 if min <= x <= max else 0",
        source: "PyTorch clamp",
        forward: |x, [low, high]| {
            let y = when(x < low, low, x);
            when(y > high, high, y)
        },
        backward: |x, [low, high]| indicator(x >= low && x <= high),
        kinks: |[low, high]| [low, high],
    }
    /// Piecewise linear swish.
    Hardswish "hardswish" () {
        aliases: ["hard_swish", "hard_silu", "hardsilu"],
        formula: "x * min(max(x + 3, 0), 6) / 6",
        derivative: "0 if x <= -3, 1 if x >= 3, else x / 3 + 1/2",
        source: "Howard et al. 2019",
        forward: |x, _| {
            let x = x.at_least(-3.0);
            x * ((x + c(3.0)).at_most(6.0) / c(6.0))
        },
        backward: |x, _|
            when(x <= c(-3.0), c(0.0), when(x >= c(3.0), c(1.0), x / c(3.0) + c(0.5))),
        largest_term: |x, _| if (-3.0..3.0).contains(&x) { (x.abs() / 3.0).max(0.5) } else { 0.0 },
        kinks: |_| [-3.0, 3.0],
    }
    /// Smooth ReLU; linear where beta * x is above the threshold, which is off by default.
    Softplus "softplus" (beta: 1.0, NonZero; threshold: f32::INFINITY, NotNan) {
        aliases: ["soft_plus"],
        formula: "log(1 + exp(beta * x)) / beta",
        derivative: "sigmoid(beta * x)",
        source: "Dugas et al. 2000",
        forward: |x, [beta, threshold]| {
            let z = beta * x;
            when(z.round_to_f32() > threshold, x, softplus(z) / beta)
        },
        backward: |x, [beta, threshold]| {
            let z = beta * x;
            when(z.round_to_f32() > threshold, c(1.0), z.sigmoid())
        },
        kinks: |[beta, threshold]| [threshold / beta],
    }
    /// Algebraic sigmoid.
    Softsign "softsign" () {
        aliases: ["soft_sign"],
        formula: "x / (1 + |x|)",
        derivative: "1 / (1 + |x|)^2",
        source: "Turian et al. 2009",
        forward: |x, _| {
            let x = x.at_least(-HUGE).at_most(HUGE);
            x / (c::<R>(1.0) + x.abs())
        },
        backward: |x, _| c::<R>(1.0) / (c::<R>(1.0) + x.abs()).squared(),
    }
    /// What tanh takes away.
    Tanhshrink "tanhshrink" () {
        aliases: ["tanh_shrink"],
        formula: "x - tanh(x)",
        derivative: "tanh(x)^2",
        source: "PyTorch tanhshrink",
        forward: |x, _| {
            let small = x.at_least(-SERIES).at_most(SERIES);
            let series = small * small.squared() * even_series(small.squared(), &TANHSHRINK);
            when(x.abs() < c(SERIES), series, x - x.tanh())
        },
        backward: |x, _| x.tanh().squared(),
    }
    /// Zero inside a band, the input outside.
    Hardshrink "hardshrink" (lambd: 0.5, Finite) {
        aliases: ["hard_shrink"],
        formula: "x if |x| > lambd else 0",
        derivative: "1 if |x| > lambd else 0",
        source: "Donoho & Johnstone 1994",
        forward: |x, [lambd, _]| when(x.abs() > lambd, x, c(0.0)),
        backward: |x, [lambd, _]| indicator(x.abs() > lambd),
        kinks: |[lambd, _]| [-lambd, lambd],
    }
    /// Soft thresholding: towards zero by lambd.
    Softshrink "softshrink" (lambd: 0.5, NonNegative) {
        aliases: ["soft_shrink"],
        formula: "sign(x) * max(|x| - lambd, 0)",
        derivative: "1 if |x| > lambd else 0",
        source: "Donoho 1995",
        forward: |x, [lambd, _]|
            when(x > lambd, x - lambd, when(x < -lambd, x + lambd, c(0.0))),
        backward: |x, [lambd, _]| indicator(x.abs() > lambd),
        kinks: |[lambd, _]| [-lambd, lambd],
    }
    /// Thresholding with an offset of its own.
    Shrink "shrink" (lambd: 0.5, Finite; bias: 0.0, Finite) {
        aliases: [],
        formula: "x + bias if x < -lambd, x - bias if x > lambd, else 0",
        derivative: "1 if x < -lambd or x > lambd else 0",
        source: "ONNX Shrink",
        forward: |x, [lambd, bias]|
            when(x < -lambd, x + bias, when(x > lambd, x - bias, c(0.0))),
        backward: |x, [lambd, _]| indicator(x < -lambd || x > lambd),
        kinks: |[lambd, _]| [-lambd, lambd],
    }
    /// The input above a threshold, a value elsewhere.
    Threshold "threshold" (threshold: 0.0, NotNan; value: 0.0, NotNan) {
        aliases: [],
        formula: "x if x > threshold else value",
        derivative: "1 if x > threshold else 0",
        source: "PyTorch threshold",
        forward: |x, [threshold, value]| when(x > threshold, x, value),
        backward: |x, [threshold, _]| indicator(x > threshold),
        kinks: |[threshold, _]| [threshold],
    }
    /// The input above alpha, zero elsewhere.
    ThresholdedRelu "thresholded_relu" (alpha: 1.0, NotNan) {
        aliases: ["thresholdedrelu"],
        formula: "x if x > alpha else 0",
        derivative: "1 if x > alpha else 0",
        source: "Konda et al. 2014",
        forward: |x, [alpha, _]| when(x > alpha, x, c(0.0)),
        backward: |x, [alpha, _]| indicator(x > alpha),
        kinks: |[alpha, _]| [alpha],
    }
    /// Algebraic smooth ReLU.
    Squareplus "squareplus" (b: 4.0, NonNegative) {
        aliases: ["square_plus"],
        formula: "(x + sqrt(x^2 + b)) / 2",
        derivative: "(1 + x / sqrt(x^2 + b)) / 2",
        source: "Barron 2021",
        forward: |x, [b, _]| {
            let root = (x.squared() + b).sqrt();
            let below = c::<R>(0.5) * b / (root - x.at_most(0.0));
            when(x < c(0.0), below, c::<R>(0.5) * (x + root))
        },
        backward: |x, [b, _]| {
            let x = x.at_least(-HUGE).at_most(HUGE);
            let root = (x.squared() + b).sqrt();
            let below = c::<R>(0.5) * b / (root * (root - x.at_most(0.0)));
            let above = c::<R>(0.5) * (c::<R>(1.0) + x / root);
            when(root == c(0.0), c(0.5), when(x < c(0.0), below, above))
        },
        kinks: |[b, _]| if b == 0.0 { &[0.0][..] } else { &[] },
    }
    /// Quadratic between two straight lines.
    SparsePlus "sparse_plus" () {
        aliases: ["sparseplus"],
        formula: "0 if x <= -1, x if x >= 1, else (x + 1)^2 / 4",
        derivative: "min(max((x + 1) / 2, 0), 1)",
        source: "Liu et al. 2023 (jax.nn.sparse_plus)",
        forward: |x, _| {
            let middle = c::<R>(0.25) * (x.at_most(1.0) + c(1.0)).squared();
            when(x <= c(-1.0), c(0.0), when(x >= c(1.0), x, middle))
        },
        backward: |x, _| (c::<R>(0.5) * (x + c(1.0))).at_least(0.0).at_most(1.0),
        kinks: |_| [-1.0, 1.0],
    }
    /// Piecewise linear sigmoid between -1 and 1.
    SparseSigmoid "sparse_sigmoid" () {
        aliases: ["sparsesigmoid"],
        formula: "min(max((x + 1) / 2, 0), 1)",
        derivative: "1/2 if -1 < x < 1 else 0",
        source: "Liu et al. 2023 (jax.nn.sparse_sigmoid)",
        forward: |x, _| (c::<R>(0.5) * (x + c(1.0))).at_least(0.0).at_most(1.0),
        backward: |x, _| when(x > c(-1.0) && x < c(1.0), c(0.5), c(0.0)),
        kinks: |_| [-1.0, 1.0],
    }
    /// Square of the ReLU.
    ReluSquared "relu_squared" () {
        aliases: ["relu2", "squared_relu", "relu_2"],
        formula: "max(x, 0)^2",
        derivative: "2 max(x, 0)",
        source: "So et al. 2021 (Primer)",
        forward: |x, _| when(x <= c(0.0), c(0.0), x).squared(),
        backward: |x, _| c::<R>(2.0) * when(x <= c(0.0), c(0.0), x),
        kinks: |_| [0.0],
    }
    /// Exponential.
    Exp "exp" () {
        aliases: ["exponential"],
        formula: "exp(x)",
        derivative: "exp(x)",
        source: "Keras exponential",
        forward: |x, _| x.exp(),
        backward: |x, _| x.exp(),
    }
    /// Error function.
    Erf "erf" () {
        aliases: [],
        formula: "erf(x)",
        derivative: "2 / sqrt(pi) * exp(-x^2)",
        source: "ONNX Erf",
        forward: |x, _| x.erf(),
        backward: |x, _|
            c::<R>(std::f64::consts::FRAC_2_SQRT_PI) * (-x.at_least(-FAR).at_most(FAR).squared()).exp(),
    }
    /// Magnitude.
    Abs "abs" () {
        aliases: ["absolute"],
        formula: "|x|",
        derivative: "sign(x)",
        source: "oneDNN eltwise_abs",
        forward: |x, _| x.abs(),
        backward: |x, _| when(x > c(0.0), c(1.0), when(x < c(0.0), c(-1.0), c(0.0))),
        kinks: |_| [0.0],
    }
    /// Square.
    Square "square" () {
        aliases: [],
        formula: "x^2",
        derivative: "2x",
        source: "oneDNN eltwise_square",
        forward: |x, _| x.squared(),
        backward: |x, _| c::<R>(2.0) * x,
    }
    /// A straight line.
    Linear "linear" (alpha: 1.0, Finite; beta: 0.0, Finite) {
        aliases: ["affine"],
        formula: "alpha * x + beta",
        derivative: "alpha",
        source: "WebNN linear",
        forward: |x, [alpha, beta]| times(alpha, x) + beta,
        backward: |_x, [alpha, _]| alpha,
    }
    /// The input itself.
    Identity "identity" () {
        aliases: [],
        formula: "x",
        derivative: "1",
        source: "PyTorch Identity",
        forward: |x, _| x,
        backward: |_x, _| c(1.0),
    }
    /// Periodic activation; its slope at the infinities, which has no limit, is taken as 1.
    Snake "snake" (alpha: 1.0, NonZero) {
        aliases: [],
        formula: "x + sin(alpha * x)^2 / alpha",
        derivative: "1 + sin(2 * alpha * x)",
        source: "Ziyin et al. 2020",
        forward: |x, [alpha, _]| x + (alpha * x.at_least(-HUGE).at_most(HUGE)).sin().squared() / alpha,
        backward: |x, [alpha, _]| {
            let wave = (c::<R>(2.0) * alpha * x.at_least(-HUGE).at_most(HUGE)).sin();
            when(x.abs() > c(HUGE), c(1.0), c::<R>(1.0) + wave)
        },
        largest_term: |_x, _| 1.0,
    }
    /// Logarithm of the hyperbolic cosine.
    LogCosh "logcosh" () {
        aliases: ["log_cosh"],
        formula: "log(cosh(x))",
        derivative: "tanh(x)",
        source: "NNlib.jl logcosh",
        forward: |x, _| {
            let small = x.at_least(-SERIES).at_most(SERIES).squared();
            let far = x.abs() + (c::<R>(-2.0) * x.abs()).exp().ln_1p() - c(std::f64::consts::LN_2);
            when(x.abs() < c(SERIES), small * even_series(small, &LOGCOSH), far)
        },
        backward: |x, _| x.tanh(),
    }
    /// Linearly scaled tanh.
    Lisht "lisht" () {
        aliases: [],
        formula: "x * tanh(x)",
        derivative: "tanh(x) + x * (1 - tanh(x)^2)",
        source: "Roy et al. 2019",
        forward: |x, _| x * x.tanh(),
        backward: |x, _| {
            let x = x.at_least(-FAR).at_most(FAR);
            x.tanh() + x * sech_squared(x)
        },
    }
}
