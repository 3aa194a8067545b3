//! A function by its name: element-wise or along an axis.

use wgpu_activations::{Activation, AxisFunction, Error, Result};

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

    /// The functions of these names, each once; all of them where there is no name. `unknown` is
    /// the error of a name that is none.
    pub fn select(names: &[String], unknown: impl Fn(&str) -> Error) -> Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(Self::all().collect());
        }
        let mut functions = Vec::new();
        for name in names {
            let function = Self::find(name).ok_or_else(|| unknown(name))?;
            if !functions.contains(&function) {
                functions.push(function);
            }
        }
        Ok(functions)
    }

    /// The function of a name or an alias.
    pub fn find(name: &str) -> Option<Self> {
        let axis = name.parse().map(Self::Axis);
        axis.or_else(|_| name.parse().map(Self::Elementwise)).ok()
    }

    /// The error of a name that is neither a function's nor one of `more`; `wanted` says what both
    /// are.
    pub fn unknown(
        wanted: &'static str,
        name: &str,
        more: impl IntoIterator<Item = &'static str>,
    ) -> Error {
        let own = Self::all().map(Self::names);
        let more = more.into_iter().map(|name| (name, &[][..]));
        Error::unknown_function(wanted, name, own.chain(more))
    }

    /// The canonical name and the aliases.
    fn names(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Elementwise(a) => (a.info().name, a.info().aliases),
            Self::Axis(g) => (g.name(), g.aliases()),
        }
    }

    /// The canonical name.
    pub fn name(self) -> &'static str {
        self.names().0
    }
}
