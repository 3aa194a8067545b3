//! The softmax family: what is computed for a row, in three phases.
//!
//! A row takes a maximum, then sums over weights e^(x - max), then a map with what the sums give.
//! Each phase adds up over any split of the row, so that a long row can be shared by threads.

use super::wide::Wide;
use crate::axis::AxisFunction;
use crate::shape::AxisShape;
use std::ops::Range;

/// Which values go in and come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// x to y.
    Forward,
    /// x and dy to dx.
    Backward,
    /// y and dy to dx; softmax and softmin only.
    FromOutput,
}

/// One call: what is computed over which arrays.
#[derive(Clone, Copy)]
pub(super) struct Job<'a, T = f32> {
    pub function: AxisFunction,
    pub direction: Direction,
    pub shape: AxisShape,
    /// The input, or the output for [`Direction::FromOutput`]; none where the call is in place.
    pub x: Option<&'a [T]>,
    /// The upstream gradient; empty where there is none.
    pub dy: &'a [T],
}

/// The part of the output that a thread writes: elements from `base` on.
pub(super) struct Piece<'a> {
    pub out: &'a mut [f32],
    pub base: usize,
}

/// A range of an axis and the output over it.
pub(super) struct Segment<'a> {
    pub range: Range<usize>,
    pub piece: Piece<'a>,
}

/// The sums over a row; which is which depends on the job, see [`Job::coefficients`].
pub(super) type Sums = [f64; 3];

impl Job<'_> {
    /// -1 where the function is of -x.
    #[inline(always)]
    pub(super) fn sign(&self) -> f32 {
        if self.function == AxisFunction::Softmin {
            -1.0
        } else {
            1.0
        }
    }

    /// Whether the forward result is made from logarithms.
    #[inline(always)]
    pub(super) fn is_log(&self) -> bool {
        matches!(
            self.function,
            AxisFunction::LogSoftmax | AxisFunction::LogSumExp
        )
    }

    /// What the map needs of a row, from its maximum and sums; `dy` is the row's upstream
    /// gradient where the function reduces.
    ///
    /// An infinite maximum means that a row has +infinity or nothing but -infinity. A NaN is in
    /// the sums.
    #[inline(always)]
    pub(super) fn coefficients<const FMA: bool>(&self, max: f64, sums: Sums, dy: f64) -> Sums {
        let sign = f64::from(self.sign());
        let defined = |value: f64| if max.is_infinite() { f64::NAN } else { value };
        match self.direction {
            // Sums: ties with the maximum, the rest. Without the first tie, which is the 1 in
            // log(1 + ...), small logarithms keep their precision.
            Direction::Forward if self.is_log() => {
                let log = Wide::<FMA>(sums[0] - 1.0 + sums[1]).ln_1p_any().0;
                match self.function {
                    AxisFunction::LogSumExp => [max + log, 0.0, 0.0],
                    _ => [defined(log), 0.0, 0.0],
                }
            }
            // Sums: weights.
            Direction::Forward => [Self::scale(max, sums[0]), 0.0, 0.0],
            // Sums: weights, weights times gradients, gradients. The result is
            // dy·c0 + weight·(dy·c1 + c2).
            Direction::Backward => {
                let inverse = defined(1.0 / sums[0]);
                match self.function {
                    AxisFunction::LogSumExp => [0.0, 0.0, inverse * dy],
                    AxisFunction::LogSoftmax => [1.0, 0.0, -inverse * sums[2]],
                    _ => {
                        let inverse = sign * inverse;
                        [0.0, inverse, -inverse * (sums[1] / sums[0])]
                    }
                }
            }
            Direction::FromOutput => [0.0, sign, -sign * sums[1]],
        }
    }

    /// What a softmax weight is multiplied by, from its row's maximum and the sum of weights.
    #[inline(always)]
    pub(super) fn scale(max: f64, sum: f64) -> f64 {
        if max.is_infinite() {
            f64::NAN
        } else {
            1.0 / sum
        }
    }

    /// Whether the output has one value for each row.
    pub(super) fn reduces(&self) -> bool {
        self.function.reduces() && self.direction == Direction::Forward
    }

    /// Elements of the output for each step along the outer dimension.
    pub(super) fn output_block(&self) -> usize {
        if self.reduces() {
            self.shape.inner
        } else {
            self.shape.len * self.shape.inner
        }
    }
}
