//! Shapes: how many elements an array has, and an array seen as (outer, axis, inner).

use crate::error::{Error, Result};

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
}

/// Whether two shapes are the same but for axes of length 1.
pub(crate) fn same_axes(a: &[usize], b: &[usize]) -> bool {
    let long = |shape: &'_ [usize]| {
        shape
            .iter()
            .copied()
            .filter(|&len| len != 1)
            .collect::<Vec<_>>()
    };
    a == b || long(a) == long(b)
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

/// An error where `got` elements are not as many as `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(Error::LengthMismatch {
            what,
            expected,
            got,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::AxisFunction;

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
