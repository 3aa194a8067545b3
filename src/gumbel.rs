//! gumbel_softmax: its temperature, whether it is hard, and its random numbers.

use crate::error::{Error, Result};
use crate::random::Random;

/// Softmax of (x + g) / tau with Gumbel noise g: a sample of the categories whose logarithms are
/// x, smoothed so that it has a gradient (Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017).
///
/// Where it is hard, the result is 1 at the maximum of x + g, the first of equal ones, and else 0,
/// and its gradient is that of the soft one (straight through). Element i of an array, in
/// row-major order, takes number i of the random numbers, and the backward pass draws the same
/// noise again; or the caller hands the noise in.
///
/// ```
/// use wgpu_activations::{Backend, GumbelSoftmax, Random};
/// let backend = Backend::auto()?;
/// let gumbel = GumbelSoftmax::new(0.5, Random::new(7))?.hard(true);
/// let y = backend.apply(gumbel.along(-1), &[0.1, 2.0, -1.0])?;
/// assert_eq!(y.iter().sum::<f32>(), 1.0);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GumbelSoftmax {
    tau: f32,
    hard: bool,
    random: Random,
}

impl GumbelSoftmax {
    /// The soft one with this temperature.
    ///
    /// # Errors
    /// [`Error::OptionOutOfRange`] where tau is not from 1e-30 to 1e30.
    pub fn new(tau: f32, random: Random) -> Result<Self> {
        if !(1e-30..=1e30).contains(&tau) {
            return Err(Error::OptionOutOfRange {
                option: "gumbel_softmax's tau",
                value: tau.to_string(),
                range: "from 1e-30 to 1e30",
            });
        }
        Ok(Self {
            tau,
            hard: false,
            random,
        })
    }

    /// Whether the result is one-hot.
    #[must_use]
    pub fn hard(self, hard: bool) -> Self {
        Self { hard, ..self }
    }

    /// The temperature.
    pub fn tau(self) -> f32 {
        self.tau
    }

    /// Whether the result is one-hot.
    pub fn is_hard(self) -> bool {
        self.hard
    }

    /// The random numbers of the noise.
    pub fn random(self) -> Random {
        self.random
    }

    /// The same for elements from `first` on.
    pub(crate) fn skip(self, first: u64) -> Self {
        Self {
            random: self.random.skip(first),
            ..self
        }
    }
}

impl Default for GumbelSoftmax {
    /// PyTorch's: soft, with the temperature 1; and the seed 0.
    fn default() -> Self {
        Self {
            tau: 1.0,
            hard: false,
            random: Random::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_positive() {
        for tau in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = GumbelSoftmax::new(tau, Random::new(0)).unwrap_err();
            assert!(error.to_string().contains("tau"), "{error}");
        }
        let one = GumbelSoftmax::new(1.0, Random::new(0)).unwrap();
        assert_eq!(one, GumbelSoftmax::default());
    }
}
