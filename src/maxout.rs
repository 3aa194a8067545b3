//! The groups of channels that maxout takes the maximum of.

use crate::error::{Error, Result};
use crate::few::Few;
use crate::shape::AxisShape;

/// Groups of `pieces` consecutive elements along an axis, for maxout (Goodfellow, Warde-Farley,
/// Mirza, Courville and Bengio 2013): element j of the result is the maximum of elements
/// j · pieces to (j + 1) · pieces - 1. A NaN is the maximum of every group that has one.
///
/// The gradient goes to the maximum, the first of equal ones.
///
/// ```
/// use wgpu_activations::{Backend, Maxout, OfShape};
/// let backend = Backend::auto()?;
/// let x = [1.0, 5.0, -2.0, -3.0];
/// let y = backend.apply(Maxout::new(2).along(-1), x.of_shape(&[2, 2]))?;
/// assert_eq!(y, [5.0, -2.0]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    rows: AxisShape,
    output: Few<usize, 8>,
}

impl Groups {
    /// Looks at `shape` as groups of `pieces` along `axis`, which counts from the end where it is
    /// negative.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`]; [`Error::OptionOutOfRange`] where
    /// `pieces` is 0 or does not divide the axis.
    pub fn new(shape: &[usize], axis: isize, pieces: usize) -> Result<Self> {
        let around = AxisShape::new(shape, axis)?;
        if pieces == 0 || !around.len.is_multiple_of(pieces) {
            return Err(Error::OptionOutOfRange {
                option: "maxout's pieces",
                value: format!("{pieces}, for an axis of {},", around.len),
                range: "a divisor of the axis' length",
            });
        }
        // In range, or the axis above had been refused; an array without axes has one group.
        let index = axis.rem_euclid(shape.len().max(1) as isize) as usize;
        let mut output: Few<usize, 8> = shape.iter().copied().collect();
        if let Some(len) = output.get_mut(index) {
            *len /= pieces;
        }
        Ok(Self {
            rows: AxisShape {
                outer: around.outer * (around.len / pieces),
                len: pieces,
                inner: around.inner,
            },
            output,
        })
    }

    /// Groups that are the rows of `rows`.
    pub(crate) fn of_rows(rows: AxisShape) -> Self {
        Self {
            rows,
            output: [rows.outer, rows.inner].into(),
        }
    }

    /// The array with each group as a row.
    pub fn rows(&self) -> AxisShape {
        self.rows
    }

    /// The shape of the result: the array's, with the axis divided by the pieces.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_divide_the_axis() {
        let groups = Groups::new(&[2, 6, 5], -2, 3).unwrap();
        assert_eq!(groups.output_shape(), [2, 2, 5]);
        let rows = groups.rows();
        assert_eq!((rows.outer, rows.len, rows.inner), (4, 3, 5));
        assert_eq!(Groups::new(&[2, 6, 5], 1, 3).unwrap(), groups);
        for (pieces, axis) in [(0, 1), (4, 1), (7, 1), (2, 2)] {
            let error = Groups::new(&[2, 6, 5], axis, pieces).unwrap_err();
            assert!(matches!(error, Error::OptionOutOfRange { .. }), "{error}");
        }
        assert!(Groups::new(&[2, 6, 5], 3, 1).is_err());
        assert_eq!(Groups::new(&[0, 4], 1, 2).unwrap().output_shape(), [0, 2]);
    }
}
