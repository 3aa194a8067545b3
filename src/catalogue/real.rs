//! The real numbers that a catalogue formula is written over: `f64` with the system of `libm`
//! behind it (the oracle) and dual numbers over it (the gradient oracle). The CPU backend adds
//! its own fast type in `cpu::wide`.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number that a catalogue row can be evaluated over.
///
/// Rows take both arms of every case and `select` between them, so that a loop over a formula
/// has no branches and the compiler can vectorise it.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// A constant.
    fn cst(value: f64) -> Self;
    /// `yes` where `condition` holds, else `no`; both are evaluated.
    fn select(condition: bool, yes: Self, no: Self) -> Self {
        if condition { yes } else { no }
    }
    /// The value rounded to the nearest `f32`, for the comparisons that are defined on that.
    fn round_to_f32(self) -> Self;
    /// Magnitude.
    fn abs(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1 without cancellation.
    fn exp_m1(self) -> Self;
    /// log(1 + x) without cancellation, for x in [0, 1].
    fn ln_1p(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The normal cumulative distribution, with full relative accuracy in the lower tail.
    fn norm_cdf(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;

    /// `bound` where x is below it, else x; NaN stays NaN.
    fn at_least(self, bound: f64) -> Self {
        Self::select(self < Self::cst(bound), Self::cst(bound), self)
    }
    /// `bound` where x is above it, else x; NaN stays NaN.
    fn at_most(self, bound: f64) -> Self {
        Self::select(self > Self::cst(bound), Self::cst(bound), self)
    }
    /// x².
    fn squared(self) -> Self {
        self * self
    }
    /// Whether it is no number.
    fn is_nan(self) -> bool {
        self.partial_cmp(&self).is_none()
    }
}

const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

impl Real for f64 {
    fn cst(value: f64) -> Self {
        value
    }
    fn round_to_f32(self) -> Self {
        f64::from(self as f32)
    }
    fn abs(self) -> Self {
        f64::abs(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn exp(self) -> Self {
        libm::exp(self)
    }
    fn exp_m1(self) -> Self {
        libm::expm1(self)
    }
    fn ln_1p(self) -> Self {
        libm::log1p(self)
    }
    fn tanh(self) -> Self {
        libm::tanh(self)
    }
    fn sigmoid(self) -> Self {
        // Above -708 the exponential stays finite; below, the limit 0 is what f64 has left.
        1.0 / (1.0 + libm::exp(-self))
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
    fn norm_cdf(self) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
    fn sin(self) -> Self {
        libm::sin(self)
    }
}

/// A dual number `re + eps·du`: its `du` carries the derivative through a formula
/// (forward-mode automatic differentiation; Clifford 1873).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual {
    pub re: f64,
    pub du: f64,
}

impl Dual {
    /// The variable that is differentiated by.
    pub(crate) fn variable(re: f64) -> Self {
        Self { re, du: 1.0 }
    }
    /// The chain rule: value `re`, inner derivative times `slope`. A zero factor wins over an
    /// infinite one, as in a limit that is reached before the other factor blows up.
    fn chain(self, re: f64, slope: f64) -> Self {
        let du = if self.du == 0.0 { 0.0 } else { self.du * slope };
        Self { re, du }
    }
}

impl PartialEq for Dual {
    fn eq(&self, other: &Self) -> bool {
        self.re == other.re
    }
}
impl PartialOrd for Dual {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.re.partial_cmp(&other.re)
    }
}
impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            re: -self.re,
            du: -self.du,
        }
    }
}
impl Add for Dual {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self {
            re: self.re + o.re,
            du: self.du + o.du,
        }
    }
}
impl Sub for Dual {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self {
            re: self.re - o.re,
            du: self.du - o.du,
        }
    }
}
impl Mul for Dual {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self {
            re: self.re * o.re,
            du: self.du * o.re + self.re * o.du,
        }
    }
}
impl Div for Dual {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        Self {
            re: self.re / o.re,
            du: (self.du * o.re - self.re * o.du) / o.re / o.re,
        }
    }
}

impl Real for Dual {
    fn cst(value: f64) -> Self {
        Self { re: value, du: 0.0 }
    }
    fn round_to_f32(self) -> Self {
        Self {
            re: self.re.round_to_f32(),
            du: self.du,
        }
    }
    fn abs(self) -> Self {
        if self.re < 0.0 { -self } else { self }
    }
    fn sqrt(self) -> Self {
        let root = self.re.sqrt();
        self.chain(root, 0.5 / root)
    }
    fn exp(self) -> Self {
        let e = libm::exp(self.re);
        self.chain(e, e)
    }
    fn exp_m1(self) -> Self {
        self.chain(libm::expm1(self.re), libm::exp(self.re))
    }
    fn ln_1p(self) -> Self {
        self.chain(libm::log1p(self.re), 1.0 / (1.0 + self.re))
    }
    fn tanh(self) -> Self {
        let cosh = libm::cosh(self.re);
        self.chain(libm::tanh(self.re), 1.0 / (cosh * cosh))
    }
    fn sigmoid(self) -> Self {
        let slope = Real::sigmoid(self.re) * Real::sigmoid(-self.re);
        self.chain(Real::sigmoid(self.re), slope)
    }
    fn erf(self) -> Self {
        let slope = std::f64::consts::FRAC_2_SQRT_PI * libm::exp(-self.re * self.re);
        self.chain(libm::erf(self.re), slope)
    }
    fn norm_cdf(self) -> Self {
        let slope = FRAC_1_SQRT_2PI * libm::exp(-0.5 * self.re * self.re);
        self.chain(self.re.norm_cdf(), slope)
    }
    fn sin(self) -> Self {
        self.chain(libm::sin(self.re), libm::cos(self.re))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    /// Every slope of `Dual`'s functions against a central difference of the function itself.
    #[test]
    fn dual_slopes_are_differences() {
        let functions: [fn(Dual) -> Dual; 9] = [
            Real::sqrt,
            Real::exp,
            Real::exp_m1,
            Real::ln_1p,
            Real::tanh,
            Real::sigmoid,
            Real::erf,
            Real::norm_cdf,
            Real::sin,
        ];
        for (i, f) in functions.iter().enumerate() {
            for x in [0.1, 0.5, 0.9] {
                let h = 1e-5;
                let at = |x| f(Dual::cst(x)).re;
                let difference = (at(x + h) - at(x - h)) / (2.0 * h);
                let slope = f(Dual::variable(x)).du;
                assert_relative_eq!(slope, difference, max_relative = 1e-8, epsilon = 1e-10);
                assert!(slope.is_finite(), "function {i} at {x}");
            }
        }
    }
}
