//! The kin of softmax whose results have zeros: hardmax, sparsemax and entmax.

use crate::error::{Error, Result};
use std::fmt;

/// A function of whole rows along one axis that gives probabilities, most of which may be 0.
///
/// As for the softmax family, a row with a NaN, with a positive infinity, or of nothing but
/// negative infinities has no defined sparsemax and entmax and becomes NaN; a negative infinity
/// beside numbers becomes 0. Hardmax is defined for every row without a NaN.
///
/// ```
/// use wgpu_activations::{Backend, SparseFunction};
/// let x = [1.0, 0.5, -1.0];
/// let backend = Backend::auto()?;
/// let p = backend.apply(SparseFunction::Sparsemax.along(-1), &x)?;
/// assert_eq!(p, [0.75, 0.25, 0.0]);
/// let p = backend.apply(SparseFunction::entmax(1.5)?.along(-1), &x)?;
/// assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SparseFunction {
    /// 1 at the row's maximum, the first of equal ones; else 0. Its gradient is 0.
    Hardmax,
    /// The point of the simplex nearest to the row: max(x - tau, 0) with tau such that the sum is
    /// 1 (Martins and Astudillo 2016).
    Sparsemax,
    /// max((alpha - 1) x - tau, 0)^(1 / (alpha - 1)) with tau such that the sum is 1 (Peters,
    /// Niculae and Martins 2019). With alpha 1 it is softmax, with 2 sparsemax.
    /// Above 2, the gradient's terms y^(2 - alpha) grow without bound for small results, and the error of
    /// a gradient, as everywhere, is relative to its largest term.
    Entmax {
        /// How sparse the result is: a finite number that is 1 or more.
        alpha: f32,
    },
}

/// What is computed: the function with its special cases apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    Hardmax,
    Softmax,
    Sparsemax,
    /// Entmax with alpha 1.5.
    Entmax15,
    /// Entmax with any other alpha above 1.
    Entmax(f32),
}

impl SparseFunction {
    /// The family; entmax with alpha 1.5.
    pub const ALL: &'static [Self] = &[Self::Hardmax, Self::Sparsemax, Self::Entmax { alpha: 1.5 }];

    /// Entmax with this alpha.
    ///
    /// # Errors
    /// [`Error::OptionOutOfRange`] where alpha is below 1, or no finite number.
    pub fn entmax(alpha: f32) -> Result<Self> {
        let function = Self::Entmax { alpha };
        function.rule()?;
        Ok(function)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardmax => "hardmax",
            Self::Sparsemax => "sparsemax",
            Self::Entmax { .. } => "entmax",
        }
    }

    /// Other names.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Hardmax => &["hard_max"],
            Self::Sparsemax => &["sparse_max"],
            Self::Entmax { .. } => &["entmax15", "entmax_15"],
        }
    }

    /// The formula as text, over one row.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Hardmax => "1 at the first maximum, else 0",
            Self::Sparsemax => "max(x - tau, 0), tau such that the sum is 1",
            Self::Entmax { .. } => {
                "max((alpha - 1) x - tau, 0)^(1 / (alpha - 1)), tau such that the sum is 1"
            }
        }
    }

    /// The gradient by the input as text, over one row; g is the upstream gradient.
    pub fn gradient(self) -> &'static str {
        match self {
            Self::Hardmax => "0",
            Self::Sparsemax => "g - mean of g where y > 0, else 0",
            Self::Entmax { .. } => {
                "s * (g - sum(s * g) / sum(s)), s = y^(2 - alpha) where y > 0, else 0"
            }
        }
    }

    /// # Errors
    /// [`Error::OptionOutOfRange`].
    pub(crate) fn rule(self) -> Result<Rule> {
        Ok(match self {
            Self::Hardmax => Rule::Hardmax,
            Self::Sparsemax => Rule::Sparsemax,
            Self::Entmax { alpha: 1.0 } => Rule::Softmax,
            Self::Entmax { alpha: 1.5 } => Rule::Entmax15,
            Self::Entmax { alpha: 2.0 } => Rule::Sparsemax,
            Self::Entmax { alpha } if alpha > 1.0 && alpha.is_finite() => Rule::Entmax(alpha),
            Self::Entmax { alpha } => {
                return Err(Error::OptionOutOfRange {
                    option: "entmax's alpha",
                    value: alpha.to_string(),
                    range: "a finite number that is 1 or more",
                });
            }
        })
    }
}

impl fmt::Display for SparseFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Entmax { alpha } => write!(f, "(alpha={alpha})"),
            Self::Hardmax | Self::Sparsemax => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_rules() {
        for &function in SparseFunction::ALL {
            assert_eq!(function.name().parse::<SparseFunction>().unwrap(), function);
        }
        let error = "sparsemux".parse::<SparseFunction>().unwrap_err();
        assert!(error.to_string().contains("sparsemax"), "{error}");
        assert_eq!(
            SparseFunction::entmax(2.0).unwrap().rule().unwrap(),
            Rule::Sparsemax
        );
        assert_eq!(
            SparseFunction::entmax(1.0).unwrap().rule().unwrap(),
            Rule::Softmax
        );
        assert_eq!(
            SparseFunction::entmax(1.25).unwrap().to_string(),
            "entmax(alpha=1.25)"
        );
        for alpha in [0.999, f32::NAN, f32::INFINITY, -2.0] {
            let error = SparseFunction::entmax(alpha).unwrap_err();
            assert!(matches!(error, Error::OptionOutOfRange { .. }), "{error}");
        }
    }
}
