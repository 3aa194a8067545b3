//! The text of the modules that sum.

use super::MATH;

const REDUCE: &str = include_str!("../../shaders/reduce.wgsl");

/// What a sum adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    /// The elements of x.
    Array,
    /// x · dy where x <= 0: the gradient by the slope of the parametric rectifier.
    PreluSlope,
}

impl Term {
    /// The body of `term(i, j)`, over `x[i]` and `dy[j]`.
    fn body(self) -> String {
        match self {
            Self::Array => "return x[i];".to_owned(),
            Self::PreluSlope => "let product = x[i] * dy[j];\n    \
                 // A zero wins over an infinity.\n    \
                 let none = is_nan(product) && !is_nan(x[i]) && !is_nan(dy[j]);\n    \
                 return select(product, 0.0, none || (x[i] > 0.0 && !is_nan(x[i])));"
                .to_owned(),
        }
    }

    /// Whether there is a second array.
    #[cfg(test)]
    pub(crate) fn binds_dy(self) -> bool {
        match self {
            Self::Array => false,
            Self::PreluSlope => true,
        }
    }
}

/// The module of one kind of sum.
pub(crate) fn reduce(term: Term) -> String {
    let body = term.body();
    format!("{MATH}\nfn term(i: u32, j: u32) -> f32 {{\n    {body}\n}}\n{REDUCE}")
}

/// The entry points of a module that sums.
#[cfg(test)]
pub(super) const ENTRY_POINTS: [&str; 4] = ["sum_rows", "sum_lanes", "merge", "finish"];

/// Every term.
#[cfg(test)]
pub(super) const TERMS: [Term; 2] = [Term::Array, Term::PreluSlope];

/// Every module that sums, by a name.
#[cfg(test)]
pub(super) fn modules() -> Vec<(String, String)> {
    let modules = TERMS.iter().flat_map(|&term| {
        let text = reduce(term);
        let name = format!("sum of {term:?}");
        [
            (format!("{name}, one buffer"), super::in_one_buffer(&text)),
            (name, text),
        ]
    });
    modules.collect()
}
