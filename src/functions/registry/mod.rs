//! Every operation by its name, with options in parentheses: for programs that read from a file what
//! to compute.

mod entries;
mod options;

pub(super) use options::Options;

use super::ways::{self, Way};
use crate::axis::AxisFunction;
use crate::backend::Trial;
use crate::catalogue::Activation;
use crate::chain::parse::{Argument, split};
use crate::check::Report;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::names::{Names, spelled};
use crate::operation::{Kind as InputKind, Operation};
use crate::sparse::SparseFunction;
use options::{Made, Wrong};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::LazyLock;

/// What an operation is, for programs that offer every operation: its names, options, inputs, and what it
/// computes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationInfo {
    /// The name: PyTorch's where it has one.
    pub name: &'static str,
    /// What it has in common with its like: `activation`, `gate`, `softmax`, `loss` and so on.
    pub family: &'static str,
    /// Names that other frameworks use for the same function.
    pub aliases: &'static [&'static str],
    /// One sentence on what it is.
    pub summary: &'static str,
    /// The value as text.
    pub formula: &'static str,
    /// The gradient as text.
    pub gradient: &'static str,
    /// The paper or the framework that the definition is from.
    pub source: &'static str,
    /// The shapes of what comes out.
    pub shapes: &'static str,
    /// The options in the order in which they are best shown.
    pub options: Vec<OptionInfo>,
    /// The inputs; a gate has two forms, of one array and of two.
    pub forms: Vec<Vec<InputInfo>>,
    /// Whether the text alone does not make it: see [`operation_for`].
    pub by_shapes: bool,
    /// Whether an element of the result is a function of the element at its place, and of that place
    /// where it has a seed.
    pub elementwise: bool,
    /// Whether it has a gradient from its output.
    pub from_output: bool,
    /// The ways that it does not run, each with the reason; a gate as one of a single array. Causal, and with
    /// arrays beside the first, nothing runs in parts or in place.
    pub missing: Vec<(Way, &'static str)>,
}

/// An option of an operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: OptionKind,
    /// The value where none is given, where there is one.
    pub default: Option<String>,
    /// Which values are defined, or what they mean.
    pub meaning: String,
}

/// What values of an option are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// Any real number, as f32.
    Number,
    /// A whole number.
    Integer,
    /// A whole number that is 0 or more.
    Count,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(Vec<&'static str>),
}

/// An input of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputInfo {
    /// As [`Array::named`](crate::Array::named) has it.
    pub name: &'static str,
    /// What it is made of.
    pub kind: InputKind,
    /// Whether a call may do without.
    pub optional: bool,
    /// Whether there is a gradient by it.
    pub differentiable: bool,
}

impl InputInfo {
    /// Real numbers that there is a gradient by, of a name.
    pub fn numbers(name: &'static str) -> Self {
        Self {
            name,
            kind: InputKind::Numbers,
            optional: false,
            differentiable: true,
        }
    }
}

/// What an operation computes, in words.
pub(super) struct About {
    pub summary: &'static str,
    pub formula: &'static str,
    pub gradient: &'static str,
    pub source: &'static str,
    pub shapes: &'static str,
}

impl About {
    const SAME_SHAPE: &'static str = "The result has the shape of the input.";
}

/// A check of an operation that is under way.
pub(crate) type Checking<'a> = Pin<Box<dyn Future<Output = Result<Vec<Report>>> + 'a>>;

type Check = dyn for<'a> Fn(&'a Trial) -> Checking<'a> + Send + Sync;

/// A function by its names.
pub(super) struct Entry {
    family: &'static str,
    names: Names,
    about: About,
    elementwise: bool,
    make: Box<dyn Fn(&Options<'_, '_>) -> Made + Send + Sync>,
    check: Option<Box<Check>>,
}

/// An entry of an operation of whole arrays.
pub(super) fn entry(
    family: &'static str,
    names: Names,
    about: About,
    make: impl Fn(&Options<'_, '_>) -> Made + Send + Sync + 'static,
) -> Entry {
    Entry {
        family,
        names,
        about,
        elementwise: false,
        make: Box::new(make),
        check: None,
    }
}

/// Every operation that a name and options make.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut all: Vec<Entry> = Activation::ALL
        .iter()
        .map(|&f| entries::activation(f))
        .collect();
    all.push(entries::rrelu());
    all.extend(Gate::ALL.iter().map(|&f| entries::gate(f)));
    all.extend(AxisFunction::ALL.iter().map(|&f| entries::of_rows(f)));
    all.push(entries::softmax2d());
    all.extend(SparseFunction::ALL.iter().map(|&f| entries::sparse(f)));
    all.extend([
        entries::gumbel_softmax(),
        entries::maxout(),
        entries::prelu(),
        entries::cross_entropy(),
        entries::nll_loss(),
    ]);
    all.extend(super::entries_of_families());
    all
});

impl Entry {
    /// The same with a check against the reference.
    pub(super) fn checked(
        mut self,
        check: impl for<'a> Fn(&'a Trial) -> Checking<'a> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// The entry of a name or an alias.
    fn find(name: &str) -> Result<&'static Self> {
        let wanted = spelled(name);
        let found = ENTRIES.iter().find(|entry| {
            let (own, aliases) = entry.names;
            own == wanted || aliases.contains(&wanted.as_str())
        });
        found.ok_or_else(|| {
            let taken = ENTRIES.iter().map(|entry| entry.names);
            Error::unknown_function("function", name, taken)
        })
    }

    /// The operation of some options.
    fn made(&self, called: &str, arguments: &[Argument<'_>], shapes: &[&[usize]]) -> Made {
        let options = Options::new(called, arguments, shapes);
        let made = (self.make)(&options);
        // What is unknown comes before what an unknown option may have been for.
        match &made {
            Err(Wrong::At(0, _) | Wrong::Value(_)) | Ok(_) => options.finish(self.names.0)?,
            Err(_) => {}
        }
        made
    }

    /// The options, and the operation for so many arrays where there is one.
    fn probed(&self, arrays: usize) -> (Vec<OptionInfo>, Option<Box<dyn Operation>>) {
        let shape: &[usize] = &[2, 2];
        let shapes = vec![shape; arrays];
        let options = Options::new(self.names.0, &[], &shapes);
        let made = (self.make)(&options).ok();
        (options.known.into_inner(), made)
    }

    fn info(&self) -> OperationInfo {
        let about = &self.about;
        let (options, by_name) = self.probed(0);
        let mut forms: Vec<Vec<InputInfo>> = Vec::new();
        let mut from_output = false;
        let mut missing = None;
        for operation in (0..3).filter_map(|arrays| self.probed(arrays).1) {
            from_output |= operation.check_from_output().is_ok();
            // Axes of which every operation takes some.
            missing.get_or_insert_with(|| {
                ways::missing((self.names.0, self.family), &*operation, &[2, 4, 2, 2])
            });
            let differentiable: Vec<usize> = operation.gradients().iter().map(|g| g.0).collect();
            let inputs = operation.roles().iter().enumerate();
            let form = inputs.map(|(i, role)| InputInfo {
                name: role.name,
                kind: role.kind,
                optional: role.optional,
                differentiable: differentiable.contains(&i),
            });
            let form = form.collect();
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        OperationInfo {
            name: self.names.0,
            family: self.family,
            aliases: self.names.1,
            summary: about.summary,
            formula: about.formula,
            gradient: about.gradient,
            source: about.source,
            shapes: about.shapes,
            options,
            forms,
            by_shapes: by_name.is_none(),
            elementwise: self.elementwise,
            from_output,
            missing: missing.unwrap_or_default(),
        }
    }
}

/// All operations that have names: activations, gates, the softmax family and its kin, losses. Text makes
/// them by [`str::parse`], but for prelu, which is made by its arrays' shapes too ([`operation_for`]).
///
/// ```
/// let softmax = wgpu_activations::operations().find(|operation| operation.name == "softmax").unwrap();
/// assert_eq!(softmax.forms[0][1].name, "mask");
/// assert_eq!(softmax.options[0].default.as_deref(), Some("-1")); // of its axis
/// ```
pub fn operations() -> impl Iterator<Item = OperationInfo> {
    ENTRIES.iter().map(Entry::info)
}

/// The operation's name where one is called so; else the name itself as the list would have it.
pub(crate) fn operation_name(name: &str) -> String {
    let found = Entry::find(name);
    found.map_or_else(
        |_| spelled(name).to_string(),
        |entry| entry.names.0.to_owned(),
    )
}

/// The operations that have a check of their own.
pub(crate) fn checked_operations() -> impl Iterator<Item = &'static str> {
    let checked = ENTRIES.iter().filter(|entry| entry.check.is_some());
    checked.map(|entry| entry.names.0)
}

/// The check of an operation that has one.
pub(crate) fn check_of<'a>(name: &str, trial: &'a Trial) -> Option<Checking<'a>> {
    let entry = ENTRIES.iter().find(|entry| entry.names.0 == name)?;
    entry.check.as_ref().map(|check| check(trial))
}

/// An operation by its name or an alias, with options in parentheses where others than the defaults are
/// wanted; case and `-` for `_` do not matter.
///
/// ```
/// use wgpu_activations::{Backend, OfShape, Operation};
/// let backend = Backend::cpu();
/// let leaky: Box<dyn Operation> = "leaky_relu(negative_slope=0.5)".parse()?;
/// assert_eq!(backend.apply(&*leaky, &[-1.0, 2.0])?, [-0.5, 2.0]);
/// let softmax: Box<dyn Operation> = "softmax(axis=0, temperature=2)".parse()?;
/// assert_eq!(backend.apply(&*softmax, [1.0, 1.0].of_shape(&[2, 1]))?, [0.5, 0.5]);
/// let error = "softmax(axes=0)".parse::<Box<dyn Operation>>().unwrap_err();
/// assert!(error.to_string().contains("column 9"));
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownFunction`], [`Error::OperationSyntax`].
impl FromStr for Box<dyn Operation> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        operation_for(text, &[])
    }
}

/// An operation by its text, for arrays of these shapes: of two arrays a gate is one of two, and prelu has
/// a slope for each index of axis 1, or whatever the shape of its slopes says.
///
/// ```
/// use wgpu_activations::{Backend, operation_for};
/// let prelu = operation_for("prelu", &[&[2, 2], &[2]])?;
/// let y = Backend::cpu().apply(&*prelu, (&[-1.0, -1.0, 2.0, -3.0], &[0.25, 0.5]))?;
/// assert_eq!(y, [-0.25, -0.5, 2.0, -1.5]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownFunction`], [`Error::OperationSyntax`].
pub fn operation_for(text: &str, shapes: &[&[usize]]) -> Result<Box<dyn Operation>> {
    let begin = text.len() - text.trim_start().len();
    let column = |offset| text[..begin + offset].chars().count() + 1;
    let (name, arguments) = split(text.trim()).map_err(|(offset, problem)| {
        let wrong = Wrong::At(offset, problem);
        wrong.in_text(column)
    })?;
    let entry = Entry::find(name)?;
    let made = entry.made(&spelled(name), &arguments, shapes);
    made.map_err(|wrong| wrong.in_text(column))
}

/// An operation by its name or an alias, with options as names and values, for arrays of these shapes, as
/// [`operation_for`] has them.
///
/// ```
/// use wgpu_activations::{Backend, operation_named};
/// let elu = operation_named("elu", &[("alpha", "0.5")], &[])?;
/// assert_eq!(Backend::cpu().apply(&*elu, &[3.0])?, [3.0]);
/// let error = operation_named("elu", &[("alpha", "two")], &[]).unwrap_err();
/// assert_eq!(error.to_string(), "elu: alpha = two must be a number");
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownFunction`]; [`Error::UnknownParameter`], [`Error::Options`] and what else the operation
/// refuses.
pub fn operation_named(
    name: &str,
    options: &[(&str, &str)],
    shapes: &[&[usize]],
) -> Result<Box<dyn Operation>> {
    let entry = Entry::find(name)?;
    // Their numbers are their places; 0 is none's.
    let arguments = (1..).zip(options).map(|(at, &(name, value))| Argument {
        name: Some(name),
        value,
        at,
    });
    let arguments: Vec<Argument<'_>> = arguments.collect();
    let made = entry.made(&spelled(name), &arguments, shapes);
    made.map_err(|wrong| wrong.of(entry.names.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_its_operation() {
        let mut count = 0;
        for info in operations() {
            for name in [&info.name].into_iter().chain(info.aliases) {
                let text = name.to_uppercase();
                let shape: &[usize] = match info.name {
                    "softmax2d" => &[2, 2, 2],
                    _ => &[2, 2],
                };
                let shapes = vec![shape; info.forms[0].len()];
                let operation = operation_for(&text, &shapes[..shapes.len().min(2)]).unwrap();
                if info.name != "softmax2d" {
                    assert_eq!(operation.name(), info.name);
                }
                assert_eq!(info.by_shapes, text.parse::<Box<dyn Operation>>().is_err());
                count += 1;
            }
        }
        assert!(count > 80, "{count}");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = |text: &str| text.parse::<Box<dyn Operation>>().unwrap_err().to_string();
        for (text, words) in [
            ("gelo", "gelu"),
            (" elu(alpha=x)", "column 6: alpha = x must be a number"),
            (
                "elu(alpha=1e39)",
                "alpha = 1e39 must be a number that an f32",
            ),
            ("elu(alpha=1, alpha=2)", "column 14: alpha is given twice"),
            ("elu(1)", "column 5: options have names"),
            (
                "relu(slope=1)",
                "relu has no parameter 'slope'; it has none",
            ),
            (
                "softmax(axis=-1",
                "column 8: this parenthesis is not closed",
            ),
            (
                "maxout(pieces=-1)",
                "pieces = -1 must be a whole number, 0 or",
            ),
            ("entmax(alpha=0.5)", "entmax's alpha"),
            (
                "cross_entropy(reduction=average)",
                "reduction = average must be none or mean or sum",
            ),
            (
                "softmax(causal=yes)",
                "yes must be upper_left or lower_right",
            ),
            ("swiglu(layout=pairs)", "pairs must be split or interleaved"),
            ("softmax(scale=2, temperature=2)", "give one"),
            (
                "swiglu(arrays=2, order=gate_first)",
                "leave them out for two",
            ),
            ("entmax(alpha=0.5, axis=0)", "entmax's alpha"),
            ("prelu", "made by the shapes of its two arrays"),
        ] {
            let message = error(text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }
    /// What is told of an operation is what it takes: each option with its default, and no other.
    #[test]
    fn options_are_told_as_they_are_taken() {
        let mut with_options = 0;
        for info in operations() {
            assert!(
                !info.summary.is_empty() && !info.formula.is_empty(),
                "{}",
                info.name
            );
            let shape: &[usize] = match info.name {
                "softmax2d" => &[4, 4, 4],
                _ => &[4, 4],
            };
            for form in &info.forms {
                let required = form.iter().filter(|input| !input.optional).count();
                let shapes = vec![shape; required];
                let mut values = Vec::new();
                for option in &info.options {
                    // How one array holds value and gate; and the axis of slopes of one.
                    let is_of_one = ["order", "layout", "axis"].contains(&option.name);
                    if required == 2 && ["gate", "prelu"].contains(&info.family) && is_of_one {
                        continue;
                    }
                    with_options += 1;
                    let value = match (&option.default, &option.kind) {
                        // A fraction stands for itself, and is no text of an f32.
                        (Some(value), _) if !value.contains('/') => value.clone(),
                        (_, OptionKind::Choice(words)) if option.name == "arrays" => {
                            words[required - 1].to_owned()
                        }
                        (_, OptionKind::Choice(words)) => words[0].to_owned(),
                        (_, OptionKind::Flag) => "false".to_owned(),
                        (_, _) if option.name == "temperature" => continue,
                        (_, _) => "1".to_owned(),
                    };
                    values.push(format!("{}={value}", option.name));
                }
                let text = format!("{}({})", info.name, values.join(", "));
                operation_for(&text, &shapes).unwrap_or_else(|error| panic!("{text}: {error}"));
            }
        }
        assert!(with_options > 90, "{with_options}");
        let forms = |name: &str| -> Vec<Vec<&str>> {
            let info = operations().find(|info| info.name == name).unwrap();
            let names = |form: &Vec<InputInfo>| form.iter().map(|input| input.name).collect();
            info.forms.iter().map(names).collect()
        };
        assert_eq!(forms("geglu"), [vec!["input"], vec!["value", "gate"]]);
        assert_eq!(forms("prelu"), [["input", "slope"]]);
        assert_eq!(forms("gelu"), [["input"]]);
    }

    /// vLLM's names have the gate first, as they have it there.
    #[test]
    fn names_of_gates_say_the_order() {
        let of = |text: &str| format!("{:?}", text.parse::<Box<dyn Operation>>().unwrap());
        assert_eq!(of("silu_and_mul"), of("swiglu(order=Gate-First)"));
        assert_ne!(of("silu_and_mul"), of("swiglu"));
        assert_eq!(of("silu_and_mul(order=value_first)"), of("swiglu"));
    }

    /// A part of an array has the random numbers of its place in the whole.
    #[test]
    fn random_numbers_begin_at_the_offset() {
        let backend = crate::Backend::cpu();
        let x: Vec<f32> = (0..12).map(|i| i as f32 - 20.0).collect();
        for name in ["rrelu", "gumbel_softmax"] {
            let of = |offset: usize, x: &[f32]| {
                let text = format!("{name}(seed=7, offset={offset})");
                let operation: Box<dyn Operation> = text.parse().unwrap();
                use crate::OfShape;
                backend
                    .apply(&*operation, x.of_shape(&[x.len() / 4, 4]))
                    .unwrap()
            };
            let whole = of(0, &x);
            assert_eq!([of(0, &x[..4]), of(4, &x[4..])].concat(), whole);
            assert_ne!(of(0, &x[4..]), whole[4..]);
        }
    }
}
