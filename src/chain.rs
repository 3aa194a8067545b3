//! Chains of functions that are computed as one: their steps, their text, and which element of an
//! operand belongs to which element of the array. Nothing here computes.

pub(crate) mod parse;

use crate::axis::AxisFunction;
use crate::catalogue::{Activation, Elementwise};
use crate::custom::Custom;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::shape::{AxisShape, element_count};
use crate::sum::SumShape;
use std::fmt;

/// Steps of a kernel at most. What a compiler takes grows with their square: 32 that are transcendental
/// take lavapipe about a second, 64 five, and 1,000 many minutes.
pub(crate) const MOST_STEPS: usize = 32;

/// A step of a [`Chain`]: of what the steps before it made, v, and for some of an operand o.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// f(v), with NaN where v is.
    Apply(Elementwise),
    /// A function of the caller's own, with NaN where v is.
    Custom(Custom),
    /// v · factor.
    Scale(f32),
    /// v + o, where o has one element for each place along the axis.
    Bias(isize),
    /// v + o, where o broadcasts to the array.
    Add,
    /// v · o, where o broadcasts to the array.
    Multiply,
    /// v rounded to the numbers of another type; the gradient passes as it is.
    Cast(DType),
    /// 0 with a probability, else v / (1 - probability).
    Dropout {
        /// The share of elements that become 0, from 0 to below 1.
        probability: f32,
        /// What decides which; the mask is that of [`Chain::kept`].
        seed: u64,
    },
    /// A function of the softmax family that keeps the shape, along an axis.
    Axis(AxisFunction, isize),
}

impl From<Elementwise> for Step {
    fn from(f: Elementwise) -> Self {
        Self::Apply(f)
    }
}

impl From<Activation> for Step {
    fn from(f: Activation) -> Self {
        Self::Apply(f.into())
    }
}

impl From<Custom> for Step {
    fn from(f: Custom) -> Self {
        Self::Custom(f)
    }
}

impl From<&Custom> for Step {
    fn from(f: &Custom) -> Self {
        Self::Custom(f.clone())
    }
}

impl Step {
    /// What the operand of this step is called; `None` where it takes none.
    pub fn operand(&self) -> Option<&'static str> {
        match self {
            Self::Bias(_) => Some("bias"),
            Self::Add => Some("add"),
            Self::Multiply => Some("multiply"),
            _ => None,
        }
    }

    /// What is wrong with the step's own values.
    fn check(&self) -> std::result::Result<(), String> {
        match *self {
            Self::Scale(factor) if !factor.is_finite() => {
                Err(format!("the factor {factor} must be a finite number"))
            }
            Self::Dropout { probability, .. } if !(0.0..1.0).contains(&probability) => Err(
                format!("the probability {probability} must be a number from 0 to below 1"),
            ),
            Self::Axis(AxisFunction::LogSumExp, _) => {
                Err("logsumexp changes the shape, which a chain keeps".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(function) => function.fmt(f),
            Self::Custom(function) => function.fmt(f),
            Self::Scale(factor) => write!(f, "scale({factor})"),
            Self::Bias(axis) => write!(f, "bias(axis={axis})"),
            Self::Add => f.write_str("add"),
            Self::Multiply => f.write_str("multiply"),
            Self::Cast(dtype) => write!(f, "cast({dtype})"),
            Self::Axis(function, axis) => write!(f, "{function}(axis={axis})"),
            Self::Dropout { probability, seed } => write!(f, "dropout({probability}, seed={seed})"),
        }
    }
}

/// Functions one after the other that are computed as one: every array is read once and the
/// result written once, on a GPU by one kernel. A chain of more than 32 steps is several kernels
/// there, with the same result.
///
/// Steps that need a second array, [`bias`](Chain::bias), [`add`](Chain::add) and
/// [`multiply`](Chain::multiply), take their operands from the call, in the order of the steps.
/// What every step makes is rounded to f32, so that a chain's result is what its parts give one
/// after the other, within the sum of their bounds. Sums, products and casts follow IEEE 754.
///
/// Kernels are compiled by structure: which steps, and how operands are broadcast. Factors,
/// parameters, seeds and sizes are data; another of them compiles nothing.
///
/// A chain is also written as text, as the command line takes it:
///
/// ```
/// use wgpu_activations::{Activation, Backend, Chain};
/// let chain = Chain::new().scale(0.5).apply(Activation::Relu).add();
/// assert_eq!(chain, "scale(0.5) | relu | add".parse()?);
/// let x = [-2.0, 2.0, 4.0, 6.0];
/// let y = Backend::cpu().apply_chain(&chain, &x, &[2, 2], &[(&[10.0, 20.0], &[2])])?;
/// assert_eq!(y, [10.0, 21.0, 12.0, 23.0]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    steps: Vec<Step>,
}

impl Chain {
    /// No steps: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// A step more.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// f of every element.
    #[must_use]
    pub fn apply(self, f: impl Into<Step>) -> Self {
        self.step(f.into())
    }

    /// Multiplies by a finite number.
    #[must_use]
    pub fn scale(self, factor: f32) -> Self {
        self.step(Step::Scale(factor))
    }

    /// Adds an operand of one axis: its length is the array's along `axis`, which counts from the
    /// end where it is negative.
    #[must_use]
    pub fn bias(self, axis: isize) -> Self {
        self.step(Step::Bias(axis))
    }

    /// Adds an operand that has the array's shape or broadcasts to it: its axes, aligned at the
    /// end, have the array's length or 1.
    #[must_use]
    pub fn add(self) -> Self {
        self.step(Step::Add)
    }

    /// Multiplies by an operand that has the array's shape or broadcasts to it.
    #[must_use]
    pub fn multiply(self) -> Self {
        self.step(Step::Multiply)
    }

    /// Rounds to the nearest number of `dtype`.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Self {
        self.step(Step::Cast(dtype))
    }

    /// Makes a share of the elements 0 and divides the others by what is left of 1, as PyTorch's
    /// dropout in training; a dropped element is 0 whatever it was. The mask is a function of the
    /// seed and the element's index alone, the same on every backend.
    #[must_use]
    pub fn dropout(self, probability: f32, seed: u64) -> Self {
        self.step(Step::Dropout { probability, seed })
    }

    /// Softmax along an axis; a chain can have one function along an axis, at any place.
    #[must_use]
    pub fn softmax(self, axis: isize) -> Self {
        self.axis(AxisFunction::Softmax, axis)
    }

    /// A function of the softmax family along an axis; one that keeps the shape.
    #[must_use]
    pub fn axis(self, function: AxisFunction, axis: isize) -> Self {
        self.step(Step::Axis(function, axis))
    }

    /// The smaller of max and the larger of v and min; NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::ParameterOutOfRange`] where either is NaN.
    pub fn clamp(self, min: f32, max: f32) -> Result<Self> {
        Ok(self.apply(Activation::Clamp.with([("min", min), ("max", max)])?))
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many operands a call takes.
    pub fn operands(&self) -> usize {
        self.steps.iter().filter_map(Step::operand).count()
    }

    /// The steps before and behind number `step`, as chains.
    pub(crate) fn around(&self, step: usize) -> [Self; 2] {
        [&self.steps[..step], &self.steps[step + 1..]].map(|steps| Self {
            steps: steps.to_vec(),
        })
    }

    /// Chains that a kernel each takes, and one after the other make the same.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Self> {
        let empty = self.steps.is_empty().then(Self::new);
        let parts = self.steps.chunks(MOST_STEPS).map(|steps| Self {
            steps: steps.to_vec(),
        });
        empty.into_iter().chain(parts)
    }

    /// Whether a call takes an array of this shape and operands of those.
    ///
    /// # Errors
    /// [`Error::ChainStep`], [`Error::ChainOperands`], [`Error::NotBroadcastable`],
    /// [`Error::ShapeMismatch`], [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`].
    pub fn check(&self, shape: &[usize], operands: &[&[usize]]) -> Result<()> {
        self.resolve(shape, operands).map(drop)
    }

    /// Whether the dropout of `seed` keeps element `index` of the array.
    pub fn kept(probability: f32, seed: u64, index: u64) -> bool {
        crate::random::Random::new(seed).bits(index) >= threshold(probability)
    }

    /// The chain around arrays of these shapes.
    pub(crate) fn resolve(&self, shape: &[usize], operands: &[&[usize]]) -> Result<Resolved> {
        let elements = element_count(shape)?;
        let mut around: Option<Around> = None;
        let mut places = Few::default();
        let expected = self.operands();
        if expected != operands.len() {
            let wanted = self.steps.iter().filter_map(Step::operand);
            return Err(Error::ChainOperands {
                expected,
                wanted: wanted.collect(),
                got: operands.len(),
            });
        }
        for (i, step) in self.steps.iter().enumerate() {
            let wrong = |problem| Error::ChainStep {
                step: i + 1,
                text: step.to_string(),
                problem,
            };
            step.check().map_err(wrong)?;
            if let Step::Axis(function, axis) = *step {
                if around.is_some() {
                    let problem = "a chain has one function along an axis at most".to_owned();
                    return Err(wrong(problem));
                }
                around = Some(Around {
                    step: i,
                    operands: places.len(),
                    function,
                    shape: AxisShape::new(shape, axis)?,
                });
            }
            let Some(what) = step.operand() else {
                continue;
            };
            let given = operands[places.len()];
            let ones = |count| std::iter::repeat_n(1, count);
            let mut aligned: Few<usize, 8> =
                ones(shape.len().saturating_sub(given.len())).collect();
            if let Step::Bias(axis) = *step {
                AxisShape::new(shape, axis)?;
                if shape.is_empty() {
                    return Err(Error::AxisOutOfRange { axis, rank: 0 });
                }
                // In range, or the line above had returned.
                let axis = axis.rem_euclid(shape.len() as isize) as usize;
                if given.len() != 1 {
                    return Err(Error::ShapeMismatch {
                        what,
                        expected: vec![shape[axis]],
                        got: given.to_vec(),
                    });
                }
                aligned = ones(shape.len()).collect();
                aligned[axis] = given[0];
            } else {
                aligned.extend_from_slice(given);
            }
            let fits = |(&own, &whole): (&usize, &usize)| own == whole || own == 1;
            if aligned.len() != shape.len() || !aligned.iter().zip(shape).all(fits) {
                return Err(Error::NotBroadcastable {
                    what,
                    shape: given.to_vec(),
                    to: shape.to_vec(),
                });
            }
            let summed: Few<bool, 8> = aligned
                .iter()
                .zip(shape)
                .map(|(&own, &whole)| own != whole)
                .collect();
            places.push(Place {
                what,
                sums: SumShape::over(shape, &summed)?,
            });
        }
        Ok(Resolved {
            elements,
            places,
            around,
        })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// Random bits below this drop an element.
pub(crate) fn threshold(probability: f32) -> u32 {
    // Below 2^32, since the probability is below 1, and exact: an f32 has 24 bits.
    (f64::from(probability) * 4_294_967_296.0) as u32
}

/// What a kept element is multiplied by.
pub(crate) fn rest(probability: f32) -> f32 {
    1.0 / (1.0 - probability)
}

/// A chain around arrays of some shapes.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub elements: usize,
    /// The operands in order.
    pub places: Few<Place, 4>,
    /// The step along an axis, where there is one.
    pub around: Option<Around>,
}

/// The step of a chain along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// Its number from 0, and how many operands the steps before it take.
    pub step: usize,
    pub operands: usize,
    pub function: AxisFunction,
    /// The array around the axis.
    pub shape: AxisShape,
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub what: &'static str,
    /// The array, summed over what the operand is broadcast along: its gradient.
    pub sums: SumShape,
}

impl Place {
    /// Whether it has an element for each of the array's.
    pub(crate) fn is_whole(&self) -> bool {
        let [_, a, _, b, _, c] = self.sums.groups;
        (a, b, c) == (1, 1, 1)
    }

    /// Its elements.
    pub(crate) fn elements(&self) -> usize {
        self.sums.sums()
    }

    /// The array's elements in one of its outermost blocks, and the operand's.
    pub(crate) fn block(&self) -> (usize, usize) {
        let [_, r1, k2, r2, k3, r3] = self.sums.shifted_to_the_end();
        (r1 * k2 * r2 * k3 * r3, k2 * k3)
    }

    /// The operand's elements that elements [start, start + len) of the array have a part of, and
    /// the index among the array's elements at which the first of them begins.
    pub(crate) fn span(&self, start: usize, len: usize) -> (std::ops::Range<usize>, usize) {
        let (block, per_block) = self.block();
        if block == 0 || len == 0 {
            return (0..0, 0);
        }
        let (first, last) = (start / block, (start + len - 1) / block);
        (first * per_block..(last + 1) * per_block, first * block)
    }

    /// The operand's element for the array's element `i`.
    #[cfg(test)]
    pub(crate) fn index(&self, i: usize) -> usize {
        let [_, r1, k2, r2, k3, r3] = self.sums.groups;
        let runs = i / r3;
        let rest = runs / k3 / r2;
        (rest / k2 / r1 * k2 + rest % k2) * k3 + runs % k3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_broadcast_from_the_end() {
        let chain = Chain::new().bias(1).add().multiply();
        let resolved = chain
            .resolve(&[2, 3, 4], &[&[3], &[2, 1, 1], &[3, 1]])
            .unwrap();
        let index =
            |k: usize| -> Vec<usize> { (0..24).map(|i| resolved.places[k].index(i)).collect() };
        assert_eq!(index(0), (0..24).map(|i| i / 4 % 3).collect::<Vec<_>>());
        assert_eq!(index(1), (0..24).map(|i| i / 12).collect::<Vec<_>>());
        assert_eq!(index(0), index(2));
        assert!(!resolved.places[0].is_whole());
        assert_eq!(resolved.places[0].elements(), 3);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let chain = Chain::new().add().bias(-1);
        let with =
            |operands: &[&[usize]]| chain.resolve(&[2, 3], operands).unwrap_err().to_string();
        assert!(with(&[&[3]]).contains("add, bias"), "{}", with(&[&[3]]));
        assert!(with(&[&[2], &[3]]).contains("[2]"));
        assert!(with(&[&[1, 2, 3], &[3]]).contains("broadcast"));
        assert!(with(&[&[3], &[2]]).contains("bias"));
        assert!(with(&[&[3], &[1, 3]]).contains("bias"));
        let step = |chain: Chain| chain.resolve(&[2, 3], &[]).unwrap_err().to_string();
        assert!(step(Chain::new().scale(f32::NAN)).contains("finite"));
        assert!(step(Chain::new().dropout(1.0, 0)).contains("step 1"));
        assert!(step(Chain::new().softmax(0).softmax(1)).contains("step 2"));
        assert!(step(Chain::new().softmax(2)).contains("axis 2"));
        assert!(step(Chain::new().axis(AxisFunction::LogSumExp, 0)).contains("shape"));
        assert!(Chain::new().clamp(f32::NAN, 0.0).is_err());
    }
}
