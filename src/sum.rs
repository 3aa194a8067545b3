//! Sums over some axes of an array: which elements belong to which sum. Nothing here computes.

use crate::error::{Error, Result};
use crate::shape::element_count;

/// An array whose elements are added up over some of its axes, as gradients by broadcast
/// parameters are.
///
/// Neighbouring axes of one kind are one: the array is seen as six groups of axes, by turns kept
/// and summed over, the outermost kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumShape {
    /// Lengths: kept, summed, kept, summed, kept, summed.
    pub(crate) groups: [usize; 6],
}

impl SumShape {
    /// Looks at `shape`, of which `axes` are summed over; an axis counts from the end where it
    /// is negative. The sums are in the order of the other axes.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`]; [`Error::ScatteredAxes`] where kept
    /// and summed axes take turns more than six times.
    pub fn new(shape: &[usize], axes: &[isize]) -> Result<Self> {
        let rank = shape.len();
        let mut summed = vec![false; rank];
        for &axis in axes {
            let index = if axis < 0 {
                axis.checked_add_unsigned(rank)
            } else {
                Some(axis)
            };
            let index = index.and_then(|i| usize::try_from(i).ok());
            let index = index.filter(|&i| i < rank);
            summed[index.ok_or(Error::AxisOutOfRange { axis, rank })?] = true;
        }
        Self::over(shape, &summed)
    }

    /// Looks at `shape`, summed over the axes that `summed` says.
    pub(crate) fn over(shape: &[usize], summed: &[bool]) -> Result<Self> {
        element_count(shape)?;
        let mut groups = [1; 6];
        let mut group = 0;
        for (&len, &summed) in shape.iter().zip(summed) {
            if len == 1 {
                continue;
            }
            // Odd groups are summed over.
            if (group % 2 == 1) != summed {
                group += 1;
            }
            let Some(length) = groups.get_mut(group) else {
                return Err(Error::ScatteredAxes {
                    shape: shape.to_vec(),
                });
            };
            *length *= len;
        }
        Ok(Self { groups })
    }

    /// The groups with those of length 1 in front, so that the last length is that of the longest
    /// runs of one sum.
    pub(crate) fn shifted_to_the_end(&self) -> [usize; 6] {
        let mut groups = self.groups;
        while groups[4..] == [1, 1] && groups != [1; 6] {
            groups = [1, 1, groups[0], groups[1], groups[2], groups[3]];
        }
        groups
    }

    /// Elements of the array.
    pub fn elements(&self) -> usize {
        self.groups.iter().product()
    }

    /// Sums.
    pub fn sums(&self) -> usize {
        let [a, _, b, _, c, _] = self.groups;
        a * b * c
    }

    /// Terms of each sum.
    pub fn terms(&self) -> usize {
        let [_, a, _, b, _, c] = self.groups;
        a * b * c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_one_kind_are_one_group() {
        let groups = |shape: &[usize], axes: &[isize]| SumShape::new(shape, axes).unwrap().groups;
        assert_eq!(groups(&[2, 3, 4, 5], &[0, 2, 3]), [1, 2, 3, 20, 1, 1]);
        assert_eq!(
            groups(&[2, 3, 4, 5], &[-1, -2, -3, 0]),
            [1, 120, 1, 1, 1, 1]
        );
        assert_eq!(groups(&[2, 3, 4], &[]), [24, 1, 1, 1, 1, 1]);
        assert_eq!(groups(&[2, 1, 4], &[0]), [1, 2, 4, 1, 1, 1]);
        assert_eq!(groups(&[2, 1, 4], &[1]), [8, 1, 1, 1, 1, 1]);
        assert_eq!(groups(&[], &[]), [1; 6]);
        assert_eq!(groups(&[3, 0, 4], &[1]), [3, 0, 4, 1, 1, 1]);
        let shape = SumShape::new(&[2, 3, 4, 5, 6], &[0, 2, 4]).unwrap();
        assert_eq!((shape.sums(), shape.terms()), (15, 48));
        assert_eq!(shape.elements(), 720);
    }

    #[test]
    fn what_cannot_be_summed_is_an_error() {
        assert!(SumShape::new(&[2], &[1]).is_err());
        assert!(SumShape::new(&[2], &[-2]).is_err());
        let scattered = SumShape::new(&[2; 7], &[0, 2, 4, 6]).unwrap_err();
        assert!(
            matches!(scattered, Error::ScatteredAxes { .. }),
            "{scattered}"
        );
        assert!(SumShape::new(&[2; 6], &[1, 3, 5]).is_ok());
    }
}
