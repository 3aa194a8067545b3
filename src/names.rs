//! What names stand for: functions by their names and aliases, and types of numbers; where a name
//! stands for none, what looks like it among those that are taken there, and what else has that name.
//!
//! The families do not know one another, and each is found here.

use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::families::families;
use crate::gate::{Gate, Order};
use crate::sparse::SparseFunction;
use std::str::FromStr;

/// A function's name and its aliases.
pub(crate) type Names = (&'static str, &'static [&'static str]);

/// The most names that an error suggests.
const MOST: usize = 5;

fn of_activation(activation: &Activation) -> Names {
    let info = activation.info();
    (info.name, info.aliases)
}

fn of_axis_function(function: &AxisFunction) -> Names {
    (function.name(), function.aliases())
}

fn of_sparse_function(function: &SparseFunction) -> Names {
    (function.name(), function.aliases())
}

fn of_gate(gate: &Gate) -> Names {
    (gate.name(), gate.aliases())
}

pub(crate) fn activations() -> impl Iterator<Item = Names> {
    Activation::ALL.iter().map(of_activation)
}

pub(crate) fn axis_functions() -> impl Iterator<Item = Names> {
    AxisFunction::ALL.iter().map(of_axis_function)
}

/// A name in the spelling of the names here.
pub(crate) fn spelled(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The function of a family that has a name; `wanted` says what the family is.
fn find<T: Copy>(
    name: &str,
    wanted: &'static str,
    family: &[T],
    names: fn(&T) -> Names,
) -> Result<T> {
    let given = spelled(name);
    let found = family.iter().find(|function| {
        let (own, aliases) = names(function);
        own == given || aliases.contains(&given.as_str())
    });
    let unknown = || Error::unknown_function(wanted, name, family.iter().map(names));
    found.copied().ok_or_else(unknown)
}

impl FromStr for Activation {
    type Err = Error;

    /// Finds an activation by its name or an alias; case and `-` for `_` do not matter.
    fn from_str(name: &str) -> Result<Self> {
        find(name, "activation", Self::ALL, of_activation)
    }
}

impl FromStr for AxisFunction {
    type Err = Error;

    /// Finds a function by its name or an alias; case and `-` for `_` do not matter.
    fn from_str(name: &str) -> Result<Self> {
        let wanted = "function of the softmax family";
        find(name, wanted, Self::ALL, of_axis_function)
    }
}

impl FromStr for SparseFunction {
    type Err = Error;

    /// Finds a function by its name or an alias; case and `-` for `_` do not matter. Entmax has
    /// alpha 1.5.
    fn from_str(name: &str) -> Result<Self> {
        let wanted = "sparse kin of softmax";
        find(name, wanted, Self::ALL, of_sparse_function)
    }
}

impl FromStr for Gate {
    type Err = Error;

    /// Finds a gate by its name or an alias, in the order that the name stands for; case and `-` for
    /// `_` do not matter.
    fn from_str(name: &str) -> Result<Self> {
        let gate = find(name, "gate", Self::ALL, of_gate)?;
        // vLLM's and FlashInfer's: an activation of the first half times the second.
        Ok(match spelled(name).ends_with("_and_mul") {
            true => gate.with_order(Order::GateFirst),
            false => gate,
        })
    }
}

impl FromStr for DType {
    type Err = Error;

    /// Parses a name of either length; `half` and `float` are PyTorch's other names.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "f32" | "float32" | "float" => Ok(Self::F32),
            "f16" | "float16" | "half" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::Bf16),
            _ => Err(Error::UnknownDType {
                text: text.to_owned(),
            }),
        }
    }
}

/// A function's names, what it is, and what takes it.
type Known = (Names, &'static str, &'static str);

/// Functions that have a type or a call of their own.
const OTHERS: &[Known] = &[
    (
        ("prelu", &[]),
        "a rectifier with an array of slopes",
        "Prelu",
    ),
    (("rrelu", &[]), "a rectifier with random slopes", "Rrelu"),
    (
        ("softmax2d", &[]),
        "a softmax over channels",
        "AxisFunction::Softmax.along(-3)",
    ),
    (
        ("gumbel_softmax", &[]),
        "a softmax of noisy scores",
        "GumbelSoftmax",
    ),
    (("maxout", &[]), "a maximum of channels", "Maxout"),
    (("cross_entropy", &[]), "a loss", "CrossEntropy"),
    (("nll_loss", &[]), "a loss", "NllLoss"),
];

macro_rules! known {
    ($($folder:ident { $($type:ident: $name:literal,)* } $what:literal;)*) => {
        /// Those of families in folders.
        const OF_FAMILIES: &[Known] = &[$($((($name, &[]), $what, stringify!($type))),*),*];
    };
}
families!(known);

/// All functions.
fn all() -> impl Iterator<Item = Known> {
    let activations = activations().map(|n| (n, "an activation", "Activation"));
    let softmax = "of the softmax family";
    let axis = axis_functions().map(move |n| (n, softmax, "AxisFunction"));
    let sparse = SparseFunction::ALL.iter().map(of_sparse_function);
    let sparse = sparse.map(|n| (n, "a sparse kin of softmax", "SparseFunction"));
    let gates = Gate::ALL.iter().map(of_gate);
    let gates = gates.map(|n| (n, "a gate", "Gate"));
    activations
        .chain(axis)
        .chain(sparse)
        .chain(gates)
        .chain(OTHERS.iter().chain(OF_FAMILIES).copied())
}

impl Error {
    /// The error of a name that is none of those, with their aliases, that are taken where it
    /// stands; `wanted` says what they are, such as `activation`.
    ///
    /// It suggests names that are taken there. Where none looks like the one given but a function
    /// of the library does, it says what that is and what takes it.
    pub fn unknown_function(
        wanted: &'static str,
        name: &str,
        taken: impl IntoIterator<Item = (&'static str, &'static [&'static str])>,
    ) -> Self {
        let given = bare(name);
        let mut similar: Vec<(usize, &'static str)> = taken
            .into_iter()
            .filter_map(|names| Some((distance(names, &given)?, names.0)))
            .collect();
        similar.sort_by_key(|&(distance, _)| distance);
        let mut others: Vec<(usize, Known)> = all()
            .filter_map(|known| Some((distance(known.0, &given)?, known)))
            .collect();
        others.sort_by_key(|&(distance, _)| distance);
        if let [(0, _), ..] = similar[..] {
            similar.retain(|&(distance, _)| distance == 0);
        }
        let exact = others.first().is_some_and(|&(distance, _)| distance == 0);
        let exact = exact && similar.first().is_none_or(|&(distance, _)| distance > 0);
        if exact {
            similar.clear();
        }
        let elsewhere = others.first().filter(|_| similar.is_empty());
        let mut names: Vec<&'static str> = Vec::new();
        for (_, name) in similar {
            if !names.contains(&name) && names.len() < MOST {
                names.push(name);
            }
        }
        Self::UnknownFunction {
            name: name.to_owned(),
            wanted,
            similar: names,
            elsewhere: elsewhere.map(|(_, ((name, _), what, place))| {
                format!("{name} is {what}: `{place}`, or `activations run {name}`")
            }),
        }
    }
}

/// A name without what its spellings differ in.
fn bare(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

/// How far a name is from the nearest of a function's; none where nobody would take one for the
/// other.
fn distance((name, aliases): Names, given: &str) -> Option<usize> {
    let names = std::iter::once(&name).chain(aliases);
    names.filter_map(|known| near(&bare(known), given)).min()
}

/// In how many letters two names differ, where these are few or one contains the other.
fn near(known: &str, given: &str) -> Option<usize> {
    // No longer one looks like a name.
    if given.len() > 64 {
        return None;
    }
    let shorter = known.len().min(given.len());
    let distance = edit_distance(known, given);
    let contained = shorter > 2 && (known.contains(given) || given.contains(known));
    let few = if shorter > 3 { 2 } else { 1 };
    (contained || distance <= few).then_some(distance)
}

/// Levenshtein's distance (1966), a row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is suggested, and what is said of other functions.
    fn refused<T: FromStr<Err = Error> + std::fmt::Debug>(
        name: &str,
    ) -> (Vec<&'static str>, Option<String>) {
        match name.parse::<T>().unwrap_err() {
            Error::UnknownFunction {
                similar, elsewhere, ..
            } => (similar, elsewhere),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_is_taken_is_suggested() {
        assert_eq!(refused::<Activation>("gelo").0[0], "gelu");
        assert_eq!(refused::<Activation>("Leaky-Re-LU").0, ["leaky_relu"]);
        assert_eq!(refused::<AxisFunction>("sofmax").0[0], "softmax");
        assert_eq!(refused::<Gate>("swiglo").0[0], "swiglu");
        assert_eq!(refused::<SparseFunction>("sparsemux").0, ["sparsemax"]);
        for function in all() {
            let (name, _) = function.0;
            let taken: Vec<&str> = activations().map(|(name, _)| name).collect();
            if taken.contains(&name) {
                continue;
            }
            let (similar, elsewhere) = refused::<Activation>(name);
            assert_eq!(similar, [""; 0], "{name}");
            let elsewhere = elsewhere.unwrap();
            assert!(elsewhere.starts_with(&format!("{name} is ")), "{elsewhere}");
        }
    }

    #[test]
    fn spellings_do_not_matter() {
        for name in ["SoftMax", "soft-max", "SOFT_MAX"] {
            let (_, elsewhere) = refused::<Activation>(name);
            assert!(elsewhere.unwrap().contains("`AxisFunction`"), "{name}");
        }
        let taken = [("cross_entropy", &[][..]), ("nll_loss", &[])];
        for name in ["crossentropy", "Cross-Entropy", "cross_entropi"] {
            let error = Error::unknown_function("function", name, taken).to_string();
            assert!(error.contains("did you mean cross_entropy?"), "{error}");
        }
    }

    #[test]
    fn what_looks_like_nothing_says_how_to_list() {
        for name in ["nosuch", "", "x", "ünïcödé"] {
            let error = name.parse::<Activation>().unwrap_err().to_string();
            assert!(error.contains("`activations list`"), "{error}");
            assert!(error.starts_with("no activation is called"), "{error}");
        }
    }

    /// A text of a MiB is not a name, and nobody reads it in an error.
    #[test]
    fn long_names_are_cut() {
        let long = "gelu".repeat(1 << 18);
        let activation = long.parse::<Activation>().unwrap_err();
        let chain = format!("relu | {long}")
            .parse::<crate::Chain>()
            .unwrap_err();
        let value = format!("scale({long})")
            .parse::<crate::Chain>()
            .unwrap_err();
        let parameter = Activation::Elu.with([(&*long, 1.0)]).unwrap_err();
        let dtype = long.parse::<crate::DType>().unwrap_err();
        let reduction = long.parse::<crate::Reduction>().unwrap_err();
        for error in [activation, chain, value, parameter, dtype, reduction] {
            let text = error.to_string();
            assert!(text.len() < 300, "{} bytes", text.len());
            assert!(text.contains("… (1048576 bytes)"), "{text}");
        }
    }
}
