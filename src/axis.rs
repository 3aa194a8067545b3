//! The functions along an axis (the softmax family), and an array seen as (outer, axis, inner).

use crate::error::{Error, Result};
use crate::names;
use std::fmt;
use std::str::FromStr;

/// A function of whole rows along one axis of an array.
///
/// A row with a NaN, or with a positive infinity, or of nothing but negative infinities has no
/// defined softmax and becomes NaN; `LogSumExp` has the limits +infinity and -infinity there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AxisFunction {
    /// e^x / sum e^x.
    Softmax,
    /// x - log sum e^x.
    LogSoftmax,
    /// Softmax of -x.
    Softmin,
    /// log sum e^x: the axis is reduced to length 1.
    LogSumExp,
}

impl AxisFunction {
    /// The whole family.
    pub const ALL: &'static [Self] = &[
        Self::Softmax,
        Self::LogSoftmax,
        Self::Softmin,
        Self::LogSumExp,
    ];

    /// The name, PyTorch's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
            Self::Softmin => "softmin",
            Self::LogSumExp => "logsumexp",
        }
    }

    /// Other frameworks' names.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Softmax => &["soft_max"],
            Self::LogSoftmax => &["logsoftmax"],
            Self::Softmin => &["soft_min"],
            Self::LogSumExp => &["log_sum_exp", "reduce_log_sum_exp", "reducelogsumexp"],
        }
    }

    /// The formula as text, over one row.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Softmax => "exp(x - max x) / sum exp(x - max x)",
            Self::LogSoftmax => "x - max x - log sum exp(x - max x)",
            Self::Softmin => "softmax(-x)",
            Self::LogSumExp => "max x + log sum exp(x - max x)",
        }
    }

    /// The gradient by the input as text, over one row; g is the upstream gradient.
    pub fn gradient(self) -> &'static str {
        match self {
            Self::Softmax => "y * (g - sum(g * y)), y = softmax(x)",
            Self::LogSoftmax => "g - softmax(x) * sum(g)",
            Self::Softmin => "-y * (g - sum(g * y)), y = softmin(x)",
            Self::LogSumExp => "g * softmax(x)",
        }
    }

    /// Whether the result has one value for each row instead of one for each element.
    pub fn reduces(self) -> bool {
        self == Self::LogSumExp
    }
}

impl fmt::Display for AxisFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AxisFunction {
    type Err = Error;

    /// Finds a function by its name or an alias; case and `-` for `_` do not matter.
    fn from_str(name: &str) -> Result<Self> {
        let wanted = name.to_lowercase().replace('-', "_");
        Self::ALL
            .iter()
            .copied()
            .find(|f| f.name() == wanted || f.aliases().contains(&wanted.as_str()))
            .ok_or_else(|| {
                Error::unknown_function(
                    "function of the softmax family",
                    name,
                    names::axis_functions(),
                )
            })
    }
}

/// A row-major array around one axis: `outer` blocks of `len` steps of `inner` elements.
/// Element `i` of the row (o, n) lies at `(o * len + i) * inner + n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisShape {
    /// Product of the dimensions before the axis.
    pub outer: usize,
    /// The axis' own length: the length of a row.
    pub len: usize,
    /// Product of the dimensions behind the axis: the stride of a row.
    pub inner: usize,
}

impl AxisShape {
    /// Looks at `shape` around `axis`, which counts from the end where it is negative. An array
    /// without axes is a row of one along axis 0 or -1, as in PyTorch.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`] and [`Error::ShapeTooLarge`].
    pub fn new(shape: &[usize], axis: isize) -> Result<Self> {
        let rank = shape.len();
        if rank == 0 && matches!(axis, 0 | -1) {
            return Ok(Self {
                outer: 1,
                len: 1,
                inner: 1,
            });
        }
        let index = if axis < 0 {
            axis.checked_add_unsigned(rank)
        } else {
            Some(axis)
        };
        let index = index
            .and_then(|i| usize::try_from(i).ok())
            .filter(|&i| i < rank)
            .ok_or(Error::AxisOutOfRange { axis, rank })?;
        element_count(shape)?;
        // The whole product fits; a part of it can only be larger where another part is 0.
        let part = |dims: &[usize]| element_count(dims);
        Ok(Self {
            outer: part(&shape[..index])?,
            len: shape[index],
            inner: part(&shape[index + 1..])?,
        })
    }

    /// An error where no array can have this shape.
    pub(crate) fn check(&self) -> Result<()> {
        let shape = [self.outer, self.len, self.inner];
        // Rows of no elements have results, too.
        element_count(&[self.outer, self.len.max(1), self.inner])
            .map(drop)
            .map_err(|_| Error::ShapeTooLarge {
                shape: shape.to_vec(),
            })
    }

    /// Elements of the array; the largest number where they are more.
    pub fn elements(&self) -> usize {
        self.rows().saturating_mul(self.len)
    }

    /// Rows, which is the number of results of a function that reduces.
    pub fn rows(&self) -> usize {
        self.outer.saturating_mul(self.inner)
    }

    /// Elements of the result of `function`.
    pub fn output_elements(&self, function: AxisFunction) -> usize {
        if function.reduces() {
            self.rows()
        } else {
            self.elements()
        }
    }
}

/// The number of elements of an array of this shape; 1 for a scalar.
///
/// # Errors
/// [`Error::ShapeTooLarge`] where the bytes of that many f32 cannot be addressed.
pub(crate) fn element_count(shape: &[usize]) -> Result<usize> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    count
        .filter(|&n| n <= isize::MAX as usize / size_of::<f32>())
        .ok_or_else(|| Error::ShapeTooLarge {
            shape: shape.to_vec(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        let last = AxisShape::new(&[2, 3, 4], -1).unwrap();
        assert_eq!((last.outer, last.len, last.inner), (6, 4, 1));
        assert_eq!(AxisShape::new(&[2, 3, 4], 2).unwrap(), last);
        let middle = AxisShape::new(&[2, 3, 4], -2).unwrap();
        assert_eq!((middle.outer, middle.len, middle.inner), (2, 3, 4));
        assert_eq!(middle.elements(), 24);
        assert_eq!(middle.output_elements(AxisFunction::LogSumExp), 8);
    }

    #[test]
    fn bad_axes_and_shapes_are_errors() {
        for (shape, axis) in [(&[2, 3][..], 2), (&[2, 3], -3), (&[], 1), (&[], -2)] {
            let error = AxisShape::new(shape, axis).unwrap_err();
            assert!(matches!(error, Error::AxisOutOfRange { .. }), "{error}");
        }
        assert!(AxisShape::new(&[2], isize::MIN).is_err());
        let error = AxisShape::new(&[usize::MAX, 2], 0).unwrap_err();
        assert!(matches!(error, Error::ShapeTooLarge { .. }), "{error}");
        assert!(AxisShape::new(&[usize::MAX, usize::MAX, 0], 0).is_err());
        // Products that wrap to 0, and a shape whose rows alone are too many.
        for [outer, len, inner] in [[1 << 62, 4, 1], [1 << 32, 1, 1 << 32], [1 << 62, 0, 4]] {
            let shape = AxisShape { outer, len, inner };
            assert!(matches!(shape.check(), Err(Error::ShapeTooLarge { .. })));
            assert!(len == 0 || shape.elements() == usize::MAX, "{shape:?}");
        }
    }
}
