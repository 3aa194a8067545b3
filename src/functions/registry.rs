//! Every operation by its name, with options in parentheses: for programs that read from a file what
//! to compute.

use super::Maxout;
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::chain::parse::{Argument, Problem, split};
use crate::error::{Error, Result, shown};
use crate::gate::{Gate, Layout, Order};
use crate::gumbel::GumbelSoftmax;
use crate::loss::{BceWithLogits, BinaryCrossEntropy, CrossEntropy, NllLoss, Reduction};
use crate::names::Names;
use crate::operation::Operation;
use crate::random::Random;
use crate::rrelu::Rrelu;
use crate::shaping::Causal;
use crate::sparse::SparseFunction;
use std::cell::RefCell;
use std::str::FromStr;

/// An operation, with its options set.
type Made = std::result::Result<Box<dyn Operation>, Problem>;

/// A function by its names.
struct Entry {
    names: Names,
    make: Box<dyn Fn(&Options<'_, '_>) -> Made>,
}

/// The options of a text: those that are asked for are taken out.
struct Options<'a, 'b> {
    left: RefCell<Vec<&'b Argument<'a>>>,
    /// What was asked for.
    known: RefCell<Vec<&'static str>>,
}

impl<'a, 'b> Options<'a, 'b> {
    fn new(arguments: &'b [Argument<'a>]) -> Self {
        Self {
            left: RefCell::new(arguments.iter().collect()),
            known: RefCell::default(),
        }
    }

    fn take(&self, name: &'static str) -> std::result::Result<Option<&'b Argument<'a>>, Problem> {
        self.known.borrow_mut().push(name);
        let mut left = self.left.borrow_mut();
        let is_it = |argument: &&Argument<'_>| argument.name == Some(name);
        let found = left.iter().position(is_it).map(|i| left.remove(i));
        match left.iter().find(|argument| is_it(argument)) {
            Some(again) => Err((again.at, "this is given twice".to_owned())),
            None => Ok(found),
        }
    }

    /// The value of an option, where it is given.
    fn get<T: FromStr>(&self, name: &'static str) -> std::result::Result<Option<T>, Problem> {
        let Some(argument) = self.take(name)? else {
            return Ok(None);
        };
        let wrong = |_| {
            let problem = format!("'{}' is no value of {name}", shown(argument.value));
            (argument.at, problem)
        };
        argument.value.parse().map(Some).map_err(wrong)
    }

    /// One of some words.
    fn choice<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> std::result::Result<Option<T>, Problem> {
        let Some(argument) = self.take(name)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == argument.value);
        found.map(|&(_, value)| Some(value)).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            (argument.at, format!("{name} is {}", words.join(" or ")))
        })
    }

    fn axis(&self) -> std::result::Result<isize, Problem> {
        Ok(self.get("axis")?.unwrap_or(-1))
    }

    /// The parameters of these names that are given.
    fn parameters(
        &self,
        names: impl IntoIterator<Item = &'static str>,
    ) -> std::result::Result<Vec<(&'static str, f32)>, Problem> {
        let mut given = Vec::new();
        for name in names {
            given.extend(self.get(name)?.map(|value| (name, value)));
        }
        Ok(given)
    }

    /// An error where something is left that nobody asked for.
    fn finish(&self) -> std::result::Result<(), Problem> {
        let left = self.left.borrow();
        let Some(argument) = left.first() else {
            return Ok(());
        };
        let known = self.known.borrow();
        let there = match known.len() {
            0 => "it has no options".to_owned(),
            _ => format!("there is {}", known.join(", ")),
        };
        let problem = match argument.name {
            Some(name) => format!("there is no '{}' here; {there}", shown(name)),
            None => format!("options have names, as in axis=-1; {there}"),
        };
        Err((argument.at, problem))
    }
}

/// An error of the options' values, which is nowhere in particular.
fn refused(error: Error) -> Problem {
    (0, error.to_string())
}

fn entry(names: Names, make: impl Fn(&Options<'_, '_>) -> Made + 'static) -> Entry {
    Entry {
        names,
        make: Box::new(make),
    }
}

/// Every operation that a name and options make.
fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for &activation in Activation::ALL {
        let info = activation.info();
        all.push(entry((info.name, info.aliases), move |options| {
            let parameters = options.parameters(info.parameters.iter().map(|p| p.name))?;
            Ok(Box::new(activation.with(parameters).map_err(refused)?))
        }));
    }
    all.push(entry(("rrelu", &[]), |options| {
        let standard = Rrelu::default();
        let lower = options.get("lower")?.unwrap_or(standard.lower());
        let upper = options.get("upper")?.unwrap_or(standard.upper());
        let rrelu = Rrelu::new(lower, upper).map_err(refused)?;
        let seed = options.get("seed")?.map(Random::new);
        Ok(Box::new(
            seed.map_or(rrelu, |random| rrelu.training(random)),
        ))
    }));
    for &gate in Gate::ALL {
        all.push(entry((gate.name(), gate.aliases()), move |options| {
            let orders = [("value", Order::ValueFirst), ("gate", Order::GateFirst)];
            let layouts = [
                ("split", Layout::Split),
                ("interleaved", Layout::Interleaved),
            ];
            let parameters = options.parameters(gate.parameters())?;
            let gate = gate.with(parameters).map_err(refused)?;
            let order = options.choice("first", &orders)?;
            let gate = order.map_or(gate, |order| gate.with_order(order));
            let layout = options.choice("layout", &layouts)?;
            let gate = layout.map_or(gate, |layout| gate.with_layout(layout));
            Ok(match options.choice("arrays", &[("1", 1), ("2", 2)])? {
                Some(2) => Box::new(gate),
                _ => Box::new(gate.along(options.axis()?)),
            })
        }));
    }
    for &function in AxisFunction::ALL {
        all.push(entry(
            (function.name(), function.aliases()),
            move |options| {
                let corners = [
                    ("upper_left", Causal::UpperLeft),
                    ("lower_right", Causal::LowerRight),
                ];
                let mut softmax = function.along(options.axis()?);
                if let Some(scale) = options.get("scale")? {
                    softmax = softmax.scale(scale);
                }
                if let Some(temperature) = options.get("temperature")? {
                    softmax = softmax.temperature(temperature);
                }
                if let Some(cap) = options.get("soft_cap")? {
                    softmax = softmax.soft_cap(cap);
                }
                if let Some(sink) = options.get("sink")? {
                    softmax = softmax.sink(sink);
                }
                if let Some(causal) = options.choice("causal", &corners)? {
                    softmax = softmax.causal(causal);
                }
                Ok(Box::new(softmax))
            },
        ));
    }
    for &function in SparseFunction::ALL {
        all.push(entry(
            (function.name(), function.aliases()),
            move |options| {
                let function = match function {
                    SparseFunction::Entmax { alpha } => {
                        let alpha = options.get("alpha")?.unwrap_or(alpha);
                        SparseFunction::entmax(alpha).map_err(refused)?
                    }
                    function => function,
                };
                Ok(Box::new(function.along(options.axis()?)))
            },
        ));
    }
    all.push(entry(("gumbel_softmax", &[]), |options| {
        let random = Random::new(options.get("seed")?.unwrap_or(0));
        let tau = options.get("tau")?.unwrap_or(1.0);
        let gumbel = GumbelSoftmax::new(tau, random).map_err(refused)?;
        let gumbel = gumbel.hard(options.get("hard")?.unwrap_or(false));
        Ok(Box::new(gumbel.along(options.axis()?)))
    }));
    all.push(entry(("maxout", &[]), |options| {
        let pieces = options.get("pieces")?;
        let pieces = pieces.ok_or((0, "the value pieces is missing".to_owned()))?;
        Ok(Box::new(Maxout::new(pieces).along(options.axis()?)))
    }));
    all.push(entry(("cross_entropy", &[]), |options| {
        let mut loss = CrossEntropy::new();
        if let Some(share) = options.get("label_smoothing")? {
            loss = loss.label_smoothing(share);
        }
        if let Some(class) = options.get("ignore_index")? {
            loss = loss.ignore_index(class);
        }
        if let Some(axis) = options.get("axis")? {
            loss = loss.axis(axis);
        }
        loss = loss.reduction(options.get("reduction")?.unwrap_or_default());
        Ok(Box::new(loss))
    }));
    all.push(entry(("nll_loss", &[]), |options| {
        let mut loss = NllLoss::new();
        if let Some(class) = options.get("ignore_index")? {
            loss = loss.ignore_index(class);
        }
        if let Some(axis) = options.get("axis")? {
            loss = loss.axis(axis);
        }
        loss = loss.reduction(options.get("reduction")?.unwrap_or_default());
        Ok(Box::new(loss))
    }));
    let reduction = |options: &Options<'_, '_>| -> std::result::Result<Reduction, Problem> {
        Ok(options.get("reduction")?.unwrap_or_default())
    };
    let names = ("binary_cross_entropy_with_logits", &["bce_with_logits"][..]);
    all.push(entry(names, move |options| {
        Ok(Box::new(
            BceWithLogits::new().reduction(reduction(options)?),
        ))
    }));
    all.push(entry(("binary_cross_entropy", &["bce"]), move |options| {
        let loss = BinaryCrossEntropy::new();
        Ok(Box::new(loss.reduction(reduction(options)?)))
    }));
    all
}

/// The names of all operations that [`str::parse`] makes, each with its aliases: activations, gates, the
/// softmax family and its kin, and losses.
///
/// [`Prelu`](crate::Prelu) and [`Chain`](crate::Chain) are made of shapes and steps instead.
pub fn operations() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    entries().into_iter().map(|entry| entry.names)
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
        let begin = text.len() - text.trim_start().len();
        let syntax = |(offset, problem): Problem| Error::OperationSyntax {
            column: text[..begin + offset].chars().count() + 1,
            problem,
        };
        let (name, arguments) = split(text.trim()).map_err(syntax)?;
        let wanted = name.to_lowercase().replace('-', "_");
        let mut entries = entries();
        let found = entries.iter().position(|entry| {
            let (own, aliases) = entry.names;
            own == wanted || aliases.contains(&wanted.as_str())
        });
        let Some(found) = found else {
            let taken = entries.into_iter().map(|entry| entry.names);
            return Err(Error::unknown_function("function", name, taken));
        };
        let options = Options::new(&arguments);
        let made = (entries.swap_remove(found).make)(&options).map_err(syntax)?;
        options.finish().map_err(syntax)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_makes_its_operation() {
        let mut count = 0;
        for (name, aliases) in operations() {
            for name in [&name].into_iter().chain(aliases) {
                let text = match *name {
                    "maxout" => "maxout(pieces=2)".to_owned(),
                    name => name.to_uppercase(),
                };
                let operation: Box<dyn Operation> = text.parse().unwrap();
                assert!(!operation.roles().is_empty());
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
            (" elu(alpha=x)", "column 6: 'x' is no value of alpha"),
            ("elu(alpha=1, alpha=2)", "column 14: this is given twice"),
            ("elu(1)", "column 5: options have names"),
            (
                "relu(slope=1)",
                "there is no 'slope' here; it has no options",
            ),
            (
                "softmax(axis=-1",
                "column 8: this parenthesis is not closed",
            ),
            ("maxout", "pieces is missing"),
            ("entmax(alpha=0.5)", "entmax's alpha"),
            (
                "cross_entropy(reduction=average)",
                "'average' is no value of reduction",
            ),
            ("softmax(causal=yes)", "causal is upper_left or lower_right"),
            ("swiglu(layout=pairs)", "layout is split or interleaved"),
        ] {
            let message = error(text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
