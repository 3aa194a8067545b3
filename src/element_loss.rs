//! Losses of single elements, apart from any of them: options, weights over an array, and what a loss has
//! for each place that computes it.

use crate::error::{Error, Result};
use crate::loss::{Reduction, finite};
use crate::shape::{AxisShape, element_count, same_length};
use std::borrow::Cow;
use std::sync::Arc;

/// How the CPU computes a loss of an element x with the target t; in f64, with a weight w and a weight p of
/// positives, which are finite.
pub(crate) trait Formula: Sync {
    /// The loss.
    fn loss<const FMA: bool>(&self, x: f64, t: f64, w: f64, p: f64) -> f64;

    /// Its slope by x.
    fn slope<const FMA: bool>(&self, x: f64, t: f64, w: f64, p: f64) -> f64;
}

/// What all of them have.
#[derive(Clone, Debug)]
pub(crate) struct ElementOptions {
    pub weight: Option<Arc<[f32]>>,
    pub reduction: Reduction,
    pub axis: isize,
}

impl Default for ElementOptions {
    fn default() -> Self {
        Self {
            weight: None,
            reduction: Reduction::Mean,
            axis: -1,
        }
    }
}

macro_rules! element_options {
    ($type:ident) => {
        impl $type {
            /// The loss with its defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// A weight for each element, or for each class along the axis, or one for all;
            /// finite numbers.
            pub fn weight(mut self, weight: &[f32]) -> Self {
                self.options.weight = Some(weight.into());
                self
            }

            /// What becomes of the elements' losses: their mean by default.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.options.reduction = reduction;
                self
            }

            /// The axis along which class weights lie: the last by default.
            pub fn axis(mut self, axis: isize) -> Self {
                self.options.axis = axis;
                self
            }
        }
    };
}
pub(crate) use element_options;

/// The weight of a loss, and that of positives.
pub(crate) type Weights<'a> = [Option<&'a [f32]>; 2];

const WEIGHTS: [&str; 2] = ["the weight", "the weight of positives"];

/// An error where a weight is not finite.
pub(crate) fn check_weights(weights: Weights<'_>) -> Result<()> {
    WEIGHTS
        .into_iter()
        .zip(weights)
        .try_for_each(|(what, weight)| finite(what, weight.unwrap_or_default()))
}

impl ElementOptions {
    /// A call with these weights, whose values are not checked, of so many inputs and targets; `what` the inputs are.
    pub(crate) fn problem<'a>(
        &self,
        what: &'static str,
        shape: &[usize],
        [inputs, targets]: [usize; 2],
        [weight, pos_weight]: [Option<Spread<'a>>; 2],
    ) -> Result<ElementProblem<'a>> {
        let count = element_count(shape)?;
        same_length(what, count, inputs)?;
        same_length("the targets", count, targets)?;
        Ok(ElementProblem {
            weight,
            pos_weight,
            reduction: self.reduction,
            count,
        })
    }

    /// How weights without shapes are spread over an array, with their values checked.
    pub(crate) fn spread_all<'a>(
        &self,
        weights: Weights<'a>,
        shape: &[usize],
    ) -> Result<[Option<Spread<'a>>; 2]> {
        check_weights(weights)?;
        let spread = |i: usize| {
            let spread = |values: &'a [f32]| {
                let stride = self.stride(WEIGHTS[i], values.len(), shape)?;
                Ok(Spread {
                    values,
                    stride,
                    count: values.len(),
                })
            };
            weights[i].map(spread).transpose()
        };
        Ok([spread(0)?, spread(1)?])
    }

    /// The elements that follow each other with one weight, of so many weights without a shape: one for
    /// all, one for each element or one for each index of the axis.
    fn stride(&self, what: &'static str, weights: usize, shape: &[usize]) -> Result<usize> {
        if weights == element_count(shape)? || weights == 1 {
            return Ok(1);
        }
        let around = AxisShape::new(shape, self.axis)?;
        same_length(what, around.len, weights)?;
        Ok(around.inner)
    }

    /// Where weights lie: those of more axes than one broadcast from the last axis on.
    pub(crate) fn place(
        &self,
        what: &'static str,
        count: usize,
        own: &[usize],
        shape: &[usize],
    ) -> Result<Place> {
        if own.len() < 2 {
            let stride = self.stride(what, count, shape)?;
            return Ok(Place::strided(count, stride));
        }
        let leading = shape.len().checked_sub(own.len());
        let ones = std::iter::repeat_n(1, leading.unwrap_or(0));
        let aligned: Vec<usize> = ones.chain(own.iter().copied()).collect();
        let fits = |(own, of): (&usize, &usize)| own == of || *own == 1;
        if leading.is_none() || !aligned.iter().zip(shape).all(fits) {
            return Err(Error::NotBroadcastable {
                what,
                shape: own.to_vec(),
                to: shape.to_vec(),
            });
        }
        if shape.contains(&0) {
            return Ok(Place::strided(0, 1));
        }
        let is_own = |&i: &usize| aligned[i] == shape[i] && shape[i] != 1;
        let mut axes = (0..shape.len()).filter(is_own);
        let (first, last) = (axes.clone().next(), axes.next_back());
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Place::strided(count, 1));
        };
        if (first..=last).all(|i| is_own(&i) || shape[i] == 1) {
            let stride = shape[last + 1..].iter().product();
            return Ok(Place::strided(count, stride));
        }
        Ok(Place {
            count: element_count(shape)?,
            stride: 1,
            repeated: Some((aligned, shape.to_vec())),
        })
    }
}

/// Where weights lie over an array.
pub(crate) struct Place {
    count: usize,
    stride: usize,
    /// The shapes of the weights and of the array, where the weights have to be repeated.
    repeated: Option<(Vec<usize>, Vec<usize>)>,
}

impl Place {
    fn strided(count: usize, stride: usize) -> Self {
        Self {
            count,
            stride,
            repeated: None,
        }
    }

    /// The weights in their places.
    pub(crate) fn filled(self, values: Cow<'_, [f32]>) -> Weight<'_> {
        let values = match self.repeated {
            None if self.count == 0 => Cow::Owned(Vec::new()),
            None => values,
            Some((own, shape)) => {
                // From the last axis on, whose elements lie side by side.
                let (mut all, mut block) = (values.into_owned(), 1);
                for (&own, &len) in own.iter().zip(&shape).rev() {
                    if own < len {
                        let mut repeated = Vec::with_capacity(all.len() * len);
                        for part in all.chunks(block) {
                            (0..len).for_each(|_| repeated.extend_from_slice(part));
                        }
                        all = repeated;
                    }
                    block *= len;
                }
                Cow::Owned(all)
            }
        };
        Weight {
            values,
            stride: self.stride,
            count: self.count,
        }
    }

    /// Where they lie, for kernels, which have the weights in a buffer.
    pub(crate) fn without_numbers(self) -> Weight<'static> {
        Weight {
            values: Cow::Borrowed(&[]),
            stride: self.stride,
            count: self.count,
        }
    }
}

/// A weight of elements, which may be of a call's own.
#[derive(Clone, Debug)]
pub(crate) struct Weight<'a> {
    pub values: Cow<'a, [f32]>,
    stride: usize,
    count: usize,
}

impl Weight<'_> {
    pub(crate) fn spread(&self) -> Spread<'_> {
        Spread {
            values: &self.values,
            stride: self.stride,
            count: self.count,
        }
    }
}

/// Values over an array: element i has number (i / stride) modulo their count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread<'a> {
    /// None where a device has them.
    pub values: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

impl Spread<'_> {
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> f32 {
        self.values[i / self.stride % self.values.len()]
    }
}

/// A checked call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementProblem<'a> {
    pub weight: Option<Spread<'a>>,
    pub pos_weight: Option<Spread<'a>>,
    pub reduction: Reduction,
    pub count: usize,
}

impl ElementProblem<'_> {
    /// What a mean divides by.
    pub(crate) fn total(&self) -> f64 {
        self.count as f64
    }
}

/// An error where a number is no probability, and no NaN.
pub(crate) fn check_probabilities(probabilities: &[f32]) -> Result<()> {
    let outside = |&p: &f32| !(p.is_nan() || (0.0..=1.0).contains(&p));
    match probabilities.iter().position(outside) {
        None => Ok(()),
        Some(index) => Err(Error::NotAProbability {
            index,
            value: probabilities[index],
        }),
    }
}
