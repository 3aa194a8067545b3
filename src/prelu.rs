//! The parametric rectifier's slopes: how many there are, and which element has which. Nothing
//! here computes.

use crate::error::{Error, Result};
use crate::plan::SumPiece;
use crate::shape::AxisShape;
use crate::sum::SumShape;

/// Which slope each element of an array has, for y = x where x > 0, else slope · x (He et al.
/// 2015).
///
/// The gradient by a slope is the sum over all elements that have it: of x · dy where x <= 0. At 0
/// the gradient by x is slope · dy, and that by the slope is 0. A zero factor wins over an
/// infinite one.
///
/// ```
/// use wgpu_activations::{Backend, Prelu};
/// // Two samples of two channels.
/// let prelu = Prelu::per_channel(&[2, 2])?;
/// let y = Backend::cpu().apply(&prelu, (&[-1.0, -1.0, 2.0, -3.0], &[0.25, 0.5]))?;
/// assert_eq!(y, [-0.25, -0.5, 2.0, -1.5]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelu {
    shape: Vec<usize>,
    sharing: Sharing,
    sums: SumShape,
}

/// What the slopes are for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sharing {
    All,
    Axis(usize),
    Broadcast(Vec<usize>),
}

impl Prelu {
    /// One slope for all elements of an array of this shape.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`].
    pub fn shared(shape: &[usize]) -> Result<Self> {
        Self::build(shape, Sharing::All, &vec![true; shape.len()])
    }

    /// A slope for each index of axis 1, as PyTorch has it; one for all where there is no such
    /// axis.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`].
    pub fn per_channel(shape: &[usize]) -> Result<Self> {
        if shape.len() < 2 {
            Self::shared(shape)
        } else {
            Self::along(shape, 1)
        }
    }

    /// A slope for each index of `axis`, which counts from the end where it is negative.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`].
    pub fn along(shape: &[usize], axis: isize) -> Result<Self> {
        AxisShape::new(shape, axis)?;
        if shape.is_empty() {
            return Err(Error::AxisOutOfRange { axis, rank: 0 });
        }
        // `axis` is in range, or the line above had returned.
        let index = axis.rem_euclid(shape.len() as isize) as usize;
        let shared: Vec<bool> = (0..shape.len()).map(|i| i != index).collect();
        Self::build(shape, Sharing::Axis(index), &shared)
    }

    /// Slopes of `slope_shape`, broadcast to `shape` from the last axis on, as ONNX, WebNN and
    /// NumPy do.
    ///
    /// # Errors
    /// [`Error::SlopeShape`] where an axis fits neither 1 nor the array's, or there are more;
    /// [`Error::ShapeTooLarge`]; [`Error::ScatteredAxes`] where axes with and without slopes of
    /// their own take turns more than six times.
    pub fn broadcast(shape: &[usize], slope_shape: &[usize]) -> Result<Self> {
        let missing = |axis| Error::SlopeShape {
            axis,
            slope: slope_shape.to_vec(),
            shape: shape.to_vec(),
        };
        let added = shape.len().checked_sub(slope_shape.len());
        let added = added.ok_or_else(|| missing(-(shape.len() as isize) - 1))?;
        let mut shared = vec![true; shape.len()];
        for (i, &len) in slope_shape.iter().enumerate() {
            if len == shape[added + i] {
                shared[added + i] = false;
            } else if len != 1 {
                return Err(missing(i as isize - slope_shape.len() as isize));
            }
        }
        Self::build(shape, Sharing::Broadcast(slope_shape.to_vec()), &shared)
    }

    fn build(shape: &[usize], sharing: Sharing, shared: &[bool]) -> Result<Self> {
        Ok(Self {
            shape: shape.to_vec(),
            sharing,
            sums: SumShape::over(shape, shared)?,
        })
    }

    /// The shape of the array.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements of the array.
    pub fn elements(&self) -> usize {
        self.sums.elements()
    }

    /// How many slopes there are.
    pub fn slopes(&self) -> usize {
        match &self.sharing {
            Sharing::All => 1,
            Sharing::Axis(axis) => self.shape[*axis],
            Sharing::Broadcast(shape) => shape.iter().product(),
        }
    }

    /// Which elements have which slope.
    pub(crate) fn sums(&self) -> &SumShape {
        &self.sums
    }

    /// The part of a piece of an array, with the slopes that the piece has.
    pub(crate) fn part(piece: &SumPiece) -> Self {
        let groups = piece.groups.map(|n| n as usize);
        Self {
            shape: vec![groups.iter().product()],
            sharing: Sharing::Broadcast(vec![piece.rows() as usize]),
            sums: SumShape { groups },
        }
    }

    /// An error where there are not as many slopes as there must be.
    pub(crate) fn check_slopes(&self, what: &'static str, got: usize) -> Result<()> {
        let expected = self.slopes();
        if got == expected {
            return Ok(());
        }
        Err(Error::SlopeLength {
            what,
            expected,
            got,
            of: match &self.sharing {
                Sharing::All => format!("one for the whole shape {:?}", self.shape),
                Sharing::Axis(axis) => {
                    format!(
                        "one for each index of axis {axis} of the shape {:?}",
                        self.shape
                    )
                }
                Sharing::Broadcast(slope) => format!("those of the slope's shape {slope:?}"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_counted() {
        let groups = |p: Result<Prelu>| {
            let p = p.unwrap();
            (p.slopes(), p.sums().shifted_to_the_end())
        };
        assert_eq!(groups(Prelu::shared(&[2, 3])), (1, [1, 1, 1, 1, 1, 6]));
        let channels = groups(Prelu::per_channel(&[2, 3, 4, 5]));
        assert_eq!(channels, (3, [1, 1, 1, 2, 3, 20]));
        assert_eq!(groups(Prelu::per_channel(&[7])), (1, [1, 1, 1, 1, 1, 7]));
        assert_eq!(groups(Prelu::per_channel(&[])), (1, [1; 6]));
        let last = groups(Prelu::broadcast(&[2, 3, 4], &[4]));
        assert_eq!(last, (4, [1, 1, 1, 6, 4, 1]));
        let each = groups(Prelu::broadcast(&[2, 3], &[2, 3]));
        assert_eq!(each, (6, [1, 1, 1, 1, 6, 1]));
        let outer = groups(Prelu::broadcast(&[2, 3, 4], &[3, 1]));
        assert_eq!(outer, (3, [1, 1, 1, 2, 3, 4]));
        assert_eq!(groups(Prelu::broadcast(&[2, 3], &[1, 1])).0, 1);
        assert_eq!(groups(Prelu::broadcast(&[2, 3], &[])).0, 1);
    }

    #[test]
    fn what_does_not_broadcast_is_an_error() {
        let error = Prelu::broadcast(&[2, 3, 4], &[3]).unwrap_err().to_string();
        assert!(
            error.contains("axis -1") && error.contains("[2, 3, 4]"),
            "{error}"
        );
        let error = Prelu::broadcast(&[4], &[1, 4]).unwrap_err();
        assert!(
            matches!(error, Error::SlopeShape { axis: -2, .. }),
            "{error}"
        );
        assert!(Prelu::along(&[2, 3], 2).is_err());
        let channels = Prelu::per_channel(&[2, 3, 4]).unwrap();
        let error = channels
            .check_slopes("the slope", 4)
            .unwrap_err()
            .to_string();
        assert!(error.contains("axis 1") && error.contains("3"), "{error}");
    }
}
