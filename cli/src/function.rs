//! A function by its name: element-wise or along an axis.

use std::str::FromStr;
use wgpu_activations::{Activation, AxisFunction, Elementwise, Error, Result};

/// Any function of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// One of the catalogue's activations.
    Elementwise(Activation),
    /// One of the softmax family.
    Axis(AxisFunction),
}

impl Function {
    /// Every function, the activations first.
    pub fn all() -> impl Iterator<Item = Self> {
        let activations = Activation::ALL.iter().copied().map(Self::Elementwise);
        activations.chain(AxisFunction::ALL.iter().copied().map(Self::Axis))
    }

    /// The functions of these names, each once; all of them where there is no name.
    pub fn select(names: &[String]) -> Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(Self::all().collect());
        }
        let mut functions = Vec::new();
        for name in names {
            let function = name.parse()?;
            if !functions.contains(&function) {
                functions.push(function);
            }
        }
        Ok(functions)
    }

    /// The canonical name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elementwise(a) => a.info().name,
            Self::Axis(g) => g.name(),
        }
    }
}

impl FromStr for Function {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.parse() {
            Ok(g) => Ok(Self::Axis(g)),
            Err(_) => name.parse().map(Self::Elementwise),
        }
    }
}

/// A function with its parameters, ready to be computed.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Element by element.
    Elementwise(Elementwise),
    /// Along an axis.
    Axis(AxisFunction),
}
