//! The numbers that a custom function's formula is written over.

use crate::catalogue::Real;
use std::ops::{Add, Div, Mul, Neg, Sub};

pub(super) mod sealed {
    pub trait Sealed {}
}

/// A number that a [`CustomFormula`](super::CustomFormula) is evaluated over: f64 on the CPU, dual
/// numbers for derivatives (Clifford 1873), and what records the formula to write WGSL from it.
///
/// Nothing can be asked of a value; [`less`](Number::less) chooses between two, both of which are
/// evaluated.
pub trait Number:
    sealed::Sealed
    + Copy
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// A constant.
    fn constant(value: f64) -> Self;
    /// `yes` where self is less than `other`, else `no`.
    fn less(self, other: Self, yes: Self, no: Self) -> Self;
    /// Magnitude.
    fn abs(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1 without cancellation.
    fn exp_m1(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
    /// log(1 + e^x).
    fn softplus(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;

    /// The larger of x and a bound.
    fn at_least(self, bound: f64) -> Self {
        let bound = Self::constant(bound);
        self.less(bound, bound, self)
    }
    /// The smaller of x and a bound.
    fn at_most(self, bound: f64) -> Self {
        let bound = Self::constant(bound);
        bound.less(self, bound, self)
    }
    /// x².
    fn squared(self) -> Self {
        self * self
    }
}

impl<R: Real> sealed::Sealed for R {}

impl<R: Real> Number for R {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        R::cst(value)
    }
    #[inline(always)]
    fn less(self, other: Self, yes: Self, no: Self) -> Self {
        R::select(self < other, yes, no)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Real::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Real::sqrt(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        Real::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        Real::exp_m1(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        Real::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Real::sigmoid(self)
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        Real::at_least(self, 0.0) + (-Real::abs(self)).exp().ln_1p()
    }
    #[inline(always)]
    fn erf(self) -> Self {
        Real::erf(self)
    }
}
