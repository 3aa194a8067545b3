//! What the crate can compute element by element: the table of activations, their parameters,
//! and their formulas over real numbers. Nothing here knows of a GPU.

mod real;
mod table;

pub(crate) use real::{Dual, Real};
pub use table::{Activation, MAX_PARAMETERS};
pub(crate) use table::{Formula, GELU_TANH_1, GELU_TANH_3, Visitor, formulas};

use crate::error::{Error, Result};
use crate::range::Range;
use std::fmt;

/// A row of the catalogue, without its formulas' code.
#[derive(Debug)]
#[non_exhaustive]
pub struct Info {
    /// The name: PyTorch's functional name where it has one.
    pub name: &'static str,
    /// Names that other frameworks use for the same function.
    pub aliases: &'static [&'static str],
    /// Parameters in the order in which they are packed.
    pub parameters: &'static [Parameter],
    /// One sentence on what it is.
    pub summary: &'static str,
    /// f(x) as text.
    pub formula: &'static str,
    /// f'(x) as text.
    pub derivative: &'static str,
    /// The paper or the framework that the definition is from.
    pub source: &'static str,
    /// How far a result may be from the correctly rounded one.
    pub bounds: Bounds,
}

/// A parameter of an activation.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name, as frameworks spell it.
    pub name: &'static str,
    /// The value where none is given.
    pub default: f32,
    /// The values that are defined.
    pub range: Range,
    /// The real number, as text, that the function takes where no value is given, if `default` is
    /// only the f32 next to it.
    // Formulas and shaders see NaN then.
    pub exact: Option<&'static str>,
}

/// The largest error of a row, in units in the last place (ULP) of the correctly rounded f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// For f(x).
    pub forward: u32,
    /// For f'(x); near a sign change, in ULP of the largest term.
    pub backward: u32,
}

impl Bounds {
    /// What every row keeps unless `docs/accuracy.md` says why it cannot.
    pub const CONTRACT: Self = Self {
        forward: 2,
        backward: 4,
    };
}

/// How an activation's f32 goes into a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    /// As an f32 that was rounded once at most, with a slope of 0, 1 or -1.
    Plain,
    /// With what its rounding lost, by WGSL functions of its own.
    Parts,
    /// As the f32 that the element-wise function gives.
    Rounded,
}

impl Activation {
    /// How it goes into a product; a gate of one that is [`Factor::Rounded`] has wider bounds.
    pub(crate) fn factor(self) -> Factor {
        match self {
            Self::Relu
            | Self::Relu6
            | Self::Hardtanh
            | Self::Clamp
            | Self::Hardshrink
            | Self::Softshrink
            | Self::Shrink
            | Self::Threshold
            | Self::ThresholdedRelu
            | Self::Abs
            | Self::Identity => Factor::Plain,
            Self::Sigmoid
            | Self::Silu
            | Self::Swish
            | Self::QuickGelu
            | Self::Gelu
            | Self::GeluTanh => Factor::Parts,
            _ => Factor::Rounded,
        }
    }
}

impl Activation {
    /// This activation with some parameters set, by name; the rest keep their defaults.
    ///
    /// ```
    /// use wgpu_activations::Activation;
    /// let leaky = Activation::LeakyRelu.with([("negative_slope", 0.2)])?;
    /// assert_eq!(leaky.parameters(), [0.2]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] and [`Error::ParameterOutOfRange`].
    pub fn with<'a>(
        self,
        parameters: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<Elementwise> {
        Elementwise::from(self).with(parameters)
    }
}

impl Activation {
    /// The error of a parameter that this activation does not have.
    pub(crate) fn unknown_parameter(self, name: &str) -> Error {
        let info = self.info();
        Error::UnknownParameter {
            function: info.name,
            name: name.to_owned(),
            known: info.parameters.iter().map(|p| p.name).collect(),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

/// An activation with its parameters: what the element-wise calls take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elementwise {
    activation: Activation,
    values: [f32; MAX_PARAMETERS],
    /// Where the value stands for the real number that it is nearest to.
    unrounded: [bool; MAX_PARAMETERS],
}

impl Elementwise {
    /// An activation with values that its row is known to take.
    pub(crate) const fn constant(activation: Activation, values: [f32; MAX_PARAMETERS]) -> Self {
        Self {
            activation,
            values,
            unrounded: [false; MAX_PARAMETERS],
        }
    }

    /// The same with some parameters set, by name.
    pub(crate) fn with<'a>(
        mut self,
        parameters: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<Self> {
        let info = self.activation.info();
        for (name, value) in parameters {
            let known = info.parameters.iter().position(|p| p.name == name);
            let Some(index) = known else {
                return Err(self.activation.unknown_parameter(name));
            };
            self.values[index] = value;
            self.unrounded[index] = false;
        }
        for (index, parameter) in info.parameters.iter().enumerate() {
            let previous = self.values[index.saturating_sub(1)];
            if !parameter.range.contains(self.values[index], previous) {
                return Err(Error::ParameterOutOfRange {
                    function: info.name,
                    parameter: parameter.name,
                    value: self.values[index],
                    range: parameter.range,
                });
            }
        }
        Ok(self)
    }

    /// The activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The parameters' values in the row's order.
    pub fn parameters(&self) -> &[f32] {
        &self.values[..self.activation.info().parameters.len()]
    }

    /// The values as formulas and shaders take them, NaN where one stands for a real number that
    /// f32 has not, padded with zeros to the length that uniforms have.
    pub(crate) fn packed(&self) -> [f32; MAX_PARAMETERS] {
        std::array::from_fn(|i| match self.unrounded[i] {
            true => f32::NAN,
            false => self.values[i],
        })
    }
}

impl From<Activation> for Elementwise {
    fn from(activation: Activation) -> Self {
        let mut f = Self::constant(activation, [0.0; MAX_PARAMETERS]);
        for (i, parameter) in activation.info().parameters.iter().enumerate() {
            f.values[i] = parameter.default;
            f.unrounded[i] = parameter.exact.is_some();
        }
        f
    }
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.activation.info();
        f.write_str(info.name)?;
        let mut separator = "(";
        for (i, parameter) in info.parameters.iter().enumerate() {
            // No f32 that is written here would be it.
            if !self.unrounded[i] {
                write!(f, "{separator}{}={}", parameter.name, self.values[i])?;
                separator = ", ";
            }
        }
        f.write_str(if separator == "(" { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_aliases_are_unique() {
        let mut seen = HashSet::new();
        for activation in Activation::ALL {
            let info = activation.info();
            for name in std::iter::once(&info.name).chain(info.aliases) {
                assert!(seen.insert(*name), "{name} stands for two functions");
                assert_eq!(name.parse::<Activation>().unwrap(), *activation);
            }
            assert!(info.parameters.len() <= MAX_PARAMETERS);
        }
        assert!(seen.len() > 60);
    }

    #[test]
    fn defaults_are_in_range() {
        for activation in Activation::ALL {
            activation.with([]).unwrap();
        }
    }

    /// A default that f32 has not is another function than the f32 next to it, and its text leads
    /// back to it.
    #[test]
    fn a_default_may_be_no_f32() {
        let exact = Elementwise::from(Activation::HardSigmoid);
        let given = Activation::HardSigmoid
            .with([("alpha", 1.0 / 6.0)])
            .unwrap();
        assert_ne!(exact, given);
        assert_eq!(exact.parameters(), given.parameters());
        assert!(exact.packed()[0].is_nan() && given.packed() == [1.0 / 6.0, 0.5]);
        assert_eq!(exact.to_string(), "hardsigmoid(beta=0.5)");
        assert_eq!(given.to_string(), "hardsigmoid(alpha=0.16666667, beta=0.5)");
        let shifted = exact.with([("beta", 0.25)]).unwrap();
        assert!(shifted.packed()[0].is_nan() && shifted.packed()[1] == 0.25);
        assert_eq!(
            Elementwise::from(Activation::Elu),
            Activation::Elu.with([("alpha", 1.0)]).unwrap()
        );
    }

    #[test]
    fn parameters_are_checked() {
        let unknown = Activation::Elu.with([("slope", 1.0)]).unwrap_err();
        assert!(unknown.to_string().contains("alpha"), "{unknown}");
        let out = Activation::Celu.with([("alpha", 0.0)]).unwrap_err();
        assert!(out.to_string().contains("alpha"), "{out}");
        assert!(Activation::Hardtanh.with([("min_val", 2.0)]).is_err());
        let moved = Activation::Hardtanh.with([("min_val", 2.0), ("max_val", 3.0)]);
        assert_eq!(moved.unwrap().parameters(), [2.0, 3.0]);
        assert!(Activation::Clamp.with([("min", f32::NAN)]).is_err());
        assert!("no_such_function".parse::<Activation>().is_err());
    }
}
