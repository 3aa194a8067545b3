//! The text of the modules that sum.

use super::gate::TERMS;
use super::{ACTIVATIONS, MATH};
use crate::learn::Learnable;

const LEARN: &str = include_str!("../../shaders/learn.wgsl");
const REDUCE: &str = include_str!("../../shaders/reduce.wgsl");

/// What a sum adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    /// The elements of x.
    Array,
    /// x · dy where x <= 0: the gradient by the slope of the parametric rectifier.
    PreluSlope,
    /// dy · df/dp: the gradient by an activation's parameter.
    Parameter(Learnable),
}

impl Term {
    /// The body of `term(i, j)`, over `x[i]` and `dy[j]`.
    fn body(self) -> String {
        match self {
            Self::Parameter(learnable) => format!(
                "let d = {}(x[i], uniforms.p0, uniforms.p1);\n    \
                 let y = rounded(product_of(normal(dy[j]), d));\n    \
                 return select(y, x[i] + dy[j], is_nan(x[i]) | is_nan(dy[j]));",
                learnable.function()
            ),
            Self::Array => "return x[i];".to_owned(),
            Self::PreluSlope => "let product = x[i] * dy[j];\n    \
                 // A zero wins over an infinity.\n    \
                 let none = is_nan(product) & !is_nan(x[i]) & !is_nan(dy[j]);\n    \
                 return select(product, 0.0, none | ((x[i] > 0.0) & !is_nan(x[i])));"
                .to_owned(),
        }
    }

    /// Whether there is a second array.
    #[cfg(test)]
    pub(crate) fn binds_dy(self) -> bool {
        match self {
            Self::Array => false,
            Self::PreluSlope | Self::Parameter(_) => true,
        }
    }
}

/// The module of one kind of sum.
pub(crate) fn reduce(term: Term) -> String {
    let body = term.body();
    let functions = match term {
        Term::Parameter(_) => format!("{ACTIVATIONS}\n{TERMS}\n{LEARN}\n"),
        Term::Array | Term::PreluSlope => String::new(),
    };
    format!("{MATH}\n{functions}fn term(i: u32, j: u32) -> f32 {{\n    {body}\n}}\n{REDUCE}")
}

/// The entry points of a module that sums.
#[cfg(test)]
pub(super) const ENTRY_POINTS: [&str; 4] = ["sum_rows", "sum_lanes", "merge", "finish"];

/// Every term.
#[cfg(test)]
pub(super) fn terms() -> Vec<Term> {
    let parameters = Learnable::ALL.iter().map(|&l| Term::Parameter(l));
    [Term::Array, Term::PreluSlope]
        .into_iter()
        .chain(parameters)
        .collect()
}

/// Every module that sums, by a name; one stands for all whose inputs are declared writable.
#[cfg(test)]
pub(super) fn modules() -> Vec<(String, String)> {
    let modules = terms()
        .into_iter()
        .map(|term| (format!("sum of {term:?}"), reduce(term)));
    let text = super::in_one_buffer(&reduce(Term::PreluSlope));
    modules
        .chain([("sum, one buffer".to_owned(), text)])
        .collect()
}
