//! The randomised leaky rectifier: its range of slopes, and where they come from.

use crate::catalogue::{Activation, Elementwise};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::range::Range;

/// The randomised leaky rectifier (Xu, Wang, Chen and Li 2015): x where x > 0, else a x.
///
/// In training, a is drawn for each element from [lower, upper], by [`Random`]; in evaluation it is
/// the mean of the two. Element i of an array takes number i, and the backward pass asks for the
/// same numbers again, so that no noise is kept. The derivative at 0 is a, as PyTorch's.
///
/// ```
/// use wgpu_activations::{Backend, Random, Rrelu};
/// let backend = Backend::auto()?;
/// let evaluation = Rrelu::default();
/// assert!((backend.apply(evaluation, &[-48.0, 1.0])?[0] + 11.0).abs() < 1e-5);
/// let training = evaluation.training(Random::new(7));
/// let y = backend.apply(training, &[-48.0, 1.0])?;
/// assert!((-16.0..=-6.0).contains(&y[0]) && y[1] == 1.0);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rrelu {
    lower: f32,
    upper: f32,
    random: Option<Random>,
}

impl Default for Rrelu {
    /// Slopes from 1/8 to 1/3, in evaluation: PyTorch's.
    fn default() -> Self {
        Self {
            lower: 1.0 / 8.0,
            upper: 1.0 / 3.0,
            random: None,
        }
    }
}

impl Rrelu {
    /// Slopes from `lower` to `upper`, in evaluation. They may be negative, equal, or above 1.
    ///
    /// # Errors
    /// [`Error::ParameterOutOfRange`] where one is no finite number, their difference is none, or
    /// `upper` lies below `lower`.
    pub fn new(lower: f32, upper: f32) -> Result<Self> {
        let wrong = |parameter, value, range| {
            Err(Error::ParameterOutOfRange {
                function: "rrelu",
                parameter,
                value,
                range,
            })
        };
        if !lower.is_finite() {
            return wrong("lower", lower, Range::Finite);
        }
        if !(upper.is_finite() && (upper - lower).is_finite()) {
            return wrong("upper", upper, Range::Finite);
        }
        if upper < lower {
            return wrong("upper", upper, Range::NotBelowPrevious);
        }
        Ok(Self {
            lower,
            upper,
            random: None,
        })
    }

    /// The same in training, with slopes by these random numbers.
    #[must_use]
    pub fn training(self, random: Random) -> Self {
        Self {
            random: Some(random),
            ..self
        }
    }

    /// The smallest slope.
    pub fn lower(self) -> f32 {
        self.lower
    }

    /// The largest slope.
    pub fn upper(self) -> f32 {
        self.upper
    }

    /// The random numbers of the slopes; none in evaluation.
    pub fn random(self) -> Option<Random> {
        self.random
    }

    /// The slope for a number between 0 and 1, before it is rounded.
    #[inline(always)]
    pub(crate) fn slope(self, uniform: f32) -> f64 {
        let (lower, upper) = (f64::from(self.lower), f64::from(self.upper));
        lower + (upper - lower) * f64::from(uniform)
    }

    /// Evaluation as the element-wise function that it is.
    pub(crate) fn evaluation(self) -> Elementwise {
        let mean = self.mean() as f32;
        match Activation::LeakyRelu.with([("negative_slope", mean)]) {
            Ok(f) => f,
            // Between two finite slopes lies a finite one, which is all that it asks.
            Err(error) => unreachable!("{error}"),
        }
    }

    /// The slope of the evaluation.
    pub(crate) fn mean(self) -> f64 {
        0.5 * (f64::from(self.lower) + f64::from(self.upper))
    }

    /// The same for elements from `first` on.
    pub(crate) fn skip(self, first: u64) -> Self {
        Self {
            random: self.random.map(|random| random.skip(first)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_held_against_each_other() {
        for (lower, upper, name) in [
            (f32::NAN, 1.0, "lower"),
            (0.0, f32::INFINITY, "upper"),
            (0.5, 0.25, "upper"),
            (f32::MIN, f32::MAX, "upper"),
            (0.0, f32::NAN, "upper"),
        ] {
            match Rrelu::new(lower, upper) {
                Err(Error::ParameterOutOfRange { parameter, .. }) => assert_eq!(parameter, name),
                other => panic!("{lower} {upper}: {other:?}"),
            }
        }
        assert_eq!(Rrelu::new(-2.0, -2.0).unwrap().mean(), -2.0);
        assert_eq!(Rrelu::new(0.125, 1.0 / 3.0).unwrap(), Rrelu::default());
    }
}
