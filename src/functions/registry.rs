//! Every operation by its name, with options in parentheses: for programs that read from a file what
//! to compute.

use super::Maxout;
use super::ways::{self, Way};
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::chain::parse::{Argument, split};
use crate::error::{Error, Result, shown};
use crate::gate::{Gate, Layout, Order};
use crate::gumbel::GumbelSoftmax;
use crate::loss::{
    BceWithLogits, BinaryCrossEntropy, CrossEntropy, IGNORE_INDEX, NllLoss, Reduction,
};
use crate::names::{Names, spelled};
use crate::operation::{Kind as InputKind, Operation};
use crate::prelu::Prelu;
use crate::random::Random;
use crate::range::Range;
use crate::rrelu::Rrelu;
use crate::shaping::{Causal, RowPolicy};
use crate::sparse::SparseFunction;
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// What is wrong with options.
enum Wrong {
    /// A text, at some place.
    At(usize, String),
    /// A name that the operation has no option of, at some place.
    Unknown(usize, Error),
    /// Values, which are no text's.
    Value(Error),
}

impl Wrong {
    /// The error where options are a text, of which bytes have these columns.
    fn in_text(self, column: impl Fn(usize) -> usize) -> Error {
        let (at, problem) = match self {
            Self::At(at, problem) => (at, problem),
            Self::Unknown(at, error) => (at, error.to_string()),
            Self::Value(error) => return error,
        };
        Error::OperationSyntax {
            column: column(at),
            problem,
        }
    }

    /// The error where options are names with values.
    fn of(self, function: &'static str) -> Error {
        match self {
            Self::At(_, problem) => Error::Options { function, problem },
            Self::Unknown(_, error) | Self::Value(error) => error,
        }
    }
}

type Asked<T> = std::result::Result<T, Wrong>;

/// An operation, with its options set.
type Made = Asked<Box<dyn Operation>>;

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
struct About {
    summary: &'static str,
    formula: &'static str,
    gradient: &'static str,
    source: &'static str,
    shapes: &'static str,
}

impl About {
    const SAME_SHAPE: &'static str = "The result has the shape of the input.";
}

/// A function by its names.
struct Entry {
    family: &'static str,
    names: Names,
    about: About,
    elementwise: bool,
    make: Box<dyn Fn(&Options<'_, '_>) -> Made + Send + Sync>,
}

/// Values of options, as text has them.
trait OfText: Sized {
    const KIND: OptionKind;

    /// The value; else what it must be.
    fn of_text(text: &str) -> std::result::Result<Self, &'static str>;
}

macro_rules! of_text {
    ($($type:ty => $kind:ident, $what:literal;)*) => {$(
        impl OfText for $type {
            const KIND: OptionKind = OptionKind::$kind;

            fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
                text.parse().map_err(|_| $what)
            }
        }
    )*};
}
of_text! {
isize => Integer, "a whole number";
i64 => Integer, "a whole number";
usize => Count, "a whole number, 0 or more";
u64 => Count, "a whole number from 0 to 2^64 - 1";
}

impl OfText for bool {
    const KIND: OptionKind = OptionKind::Flag;

    fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
        spelled(text).parse().map_err(|_| "true or false")
    }
}

impl OfText for f32 {
    const KIND: OptionKind = OptionKind::Number;

    fn of_text(text: &str) -> std::result::Result<Self, &'static str> {
        let number: f32 = text.parse().map_err(|_| "a number")?;
        // Infinities are welcome by name only.
        if number.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
            return Err("a number that an f32 holds");
        }
        Ok(number)
    }
}

/// The options of a text: those that are asked for are taken out, and each question says what it is
/// about, so that what an entry asks for is what it has.
struct Options<'a, 'b> {
    /// The name that the operation is called by.
    called: &'a str,
    left: RefCell<Vec<&'b Argument<'a>>>,
    /// What was asked for.
    known: RefCell<Vec<OptionInfo>>,
    /// The shapes of the arrays, where they are known.
    shapes: &'b [&'b [usize]],
}

impl<'a, 'b> Options<'a, 'b> {
    fn new(called: &'a str, arguments: &'b [Argument<'a>], shapes: &'b [&'b [usize]]) -> Self {
        Self {
            called,
            left: RefCell::new(arguments.iter().collect()),
            known: RefCell::default(),
            shapes,
        }
    }

    /// The value of an option as text, where it is given.
    fn take(&self, option: OptionInfo) -> Asked<Option<&'b Argument<'a>>> {
        let name = option.name;
        self.known.borrow_mut().push(option);
        let mut left = self.left.borrow_mut();
        let is_it = |argument: &&Argument<'_>| argument.name == Some(name);
        let found = left.iter().position(is_it).map(|i| left.remove(i));
        match left.iter().find(|argument| is_it(argument)) {
            Some(again) => Err(Wrong::At(again.at, format!("{name} is given twice"))),
            None => Ok(found),
        }
    }

    fn parsed<T: OfText>(
        &self,
        name: &'static str,
        default: Option<String>,
        meaning: &str,
    ) -> Asked<Option<T>> {
        let option = OptionInfo {
            name,
            kind: T::KIND,
            default,
            meaning: meaning.to_owned(),
        };
        let Some(argument) = self.take(option)? else {
            return Ok(None);
        };
        let wrong = |expected| Self::wrong(name, argument, expected);
        T::of_text(argument.value).map(Some).map_err(wrong)
    }

    fn wrong(name: &str, argument: &Argument<'_>, expected: impl fmt::Display) -> Wrong {
        let value = shown(argument.value);
        Wrong::At(argument.at, format!("{name} = {value} must be {expected}"))
    }

    /// The value of an option that has no default, where it is given.
    fn get<T: OfText>(&self, name: &'static str, meaning: &str) -> Asked<Option<T>> {
        self.parsed(name, None, meaning)
    }

    /// The value of an option, or its default.
    fn or<T: OfText + ToString>(&self, name: &'static str, default: T, meaning: &str) -> Asked<T> {
        let given = self.parsed(name, Some(default.to_string()), meaning)?;
        Ok(given.unwrap_or(default))
    }

    /// One of some words; case and `-` for `_` do not matter.
    fn choice<T: Copy>(
        &self,
        name: &'static str,
        default: Option<&str>,
        words: &[(&'static str, T)],
        meaning: &str,
    ) -> Asked<Option<T>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let option = OptionInfo {
            name,
            kind: OptionKind::Choice(known.clone()),
            default: default.map(str::to_owned),
            meaning: meaning.to_owned(),
        };
        let Some(argument) = self.take(option)? else {
            return Ok(None);
        };
        let wanted = spelled(argument.value);
        let found = words.iter().find(|(word, _)| *word == wanted);
        found
            .map(|&(_, value)| Some(value))
            .ok_or_else(|| Self::wrong(name, argument, known.join(" or ")))
    }

    fn axis(&self) -> Asked<isize> {
        self.or("axis", -1, "negative from the end")
    }

    fn reduction(&self) -> Asked<Reduction> {
        let words: [_; Reduction::ALL.len()] = std::array::from_fn(|i| {
            let reduction = Reduction::ALL[i];
            (reduction.name(), reduction)
        });
        let standard = Reduction::default();
        let meaning = "what is made of the losses of rows or elements";
        let given = self.choice("reduction", Some(standard.name()), &words, meaning)?;
        Ok(given.unwrap_or(standard))
    }

    /// A seed, and the number of the first element's random number.
    fn random(&self, seed: Option<u64>) -> Asked<Option<Random>> {
        let meaning = match seed {
            Some(_) => "of the random numbers",
            None => "of the random numbers; with one, training",
        };
        let seed = match seed {
            Some(seed) => Some(self.or("seed", seed, meaning)?),
            None => self.get("seed", meaning)?,
        };
        let meaning = "the place of the first element in the whole that the array is a part of";
        let first = self.or("offset", 0, meaning)?;
        Ok(seed.map(|seed| Random::new(seed).starting_at(first)))
    }

    /// The parameters that are given, of these names, defaults and ranges.
    fn parameters(
        &self,
        names: impl IntoIterator<Item = (&'static str, String, Range)>,
    ) -> Asked<Vec<(&'static str, f32)>> {
        let mut given = Vec::new();
        for (name, default, range) in names {
            let value = self.parsed(name, Some(default), &range.to_string())?;
            given.extend(value.map(|value| (name, value)));
        }
        Ok(given)
    }

    /// An error where something is left that nobody asked for.
    fn finish(&self, function: &'static str) -> Asked<()> {
        let left = self.left.borrow();
        let Some(argument) = left.first() else {
            return Ok(());
        };
        let known = self.known.borrow();
        let names: Vec<&'static str> = known.iter().map(|option| option.name).collect();
        Err(match argument.name {
            Some(name) => {
                let unknown = Error::UnknownParameter {
                    function,
                    name: name.to_owned(),
                    known: names,
                };
                Wrong::Unknown(argument.at, unknown)
            }
            None if names.is_empty() => Wrong::At(argument.at, "it has no options".to_owned()),
            None => {
                let names = names.join(", ");
                let problem = format!("options have names, as in axis=-1; there is {names}");
                Wrong::At(argument.at, problem)
            }
        })
    }
}

fn entry(
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
    }
}

fn activation(activation: Activation) -> Entry {
    let info = activation.info();
    let about = About {
        summary: info.summary.trim(),
        formula: info.formula,
        gradient: info.derivative,
        source: info.source,
        shapes: About::SAME_SHAPE,
    };
    let make = move |options: &Options<'_, '_>| -> Made {
        let parameters = info.parameters.iter().map(|p| {
            let default = p.exact.map_or(p.default.to_string(), str::to_owned);
            (p.name, default, p.range)
        });
        let parameters = options.parameters(parameters)?;
        Ok(Box::new(activation.with(parameters).map_err(Wrong::Value)?))
    };
    Entry {
        elementwise: true,
        ..entry("activation", (info.name, info.aliases), about, make)
    }
}

fn rrelu() -> Entry {
    let about = About {
        summary: "leaky_relu with a random slope for each element in training, their mean in evaluation.",
        formula: "x if x > 0 else a x, a in [lower, upper]",
        gradient: "1 if x > 0 else a",
        source: "Xu et al. 2015",
        shapes: About::SAME_SHAPE,
    };
    let make = |options: &Options<'_, '_>| -> Made {
        let standard = Rrelu::default();
        let lower = options.or("lower", standard.lower(), "a finite number")?;
        let meaning = "a finite number that is not below lower";
        let upper = options.or("upper", standard.upper(), meaning)?;
        let random = options.random(None)?;
        let rrelu = Rrelu::new(lower, upper).map_err(Wrong::Value)?;
        Ok(Box::new(
            random.map_or(rrelu, |random| rrelu.training(random)),
        ))
    };
    Entry {
        elementwise: true,
        ..entry("rrelu", ("rrelu", &[]), about, make)
    }
}

fn gate(gate: Gate) -> Entry {
    let about = About {
        summary: "A gated linear unit: of one array that holds value and gate along an axis, or of two, the value \
                  and the gate. In one array the value is first, or the gate, as vLLM's names have it.",
        formula: gate.formula(),
        gradient: "dy f(gate) by the value, dy value f'(gate) by the gate",
        source: gate.source(),
        shapes: "The result has half of the input along the axis; of two arrays, which have one shape, \
                 that one.",
    };
    let names = (gate.name(), gate.aliases());
    entry("gate", names, about, move |options| {
        // A name of vLLM's has the gate first.
        let gate: Gate = options.called.parse().map_err(Wrong::Value)?;
        let orders = [
            ("value_first", Order::ValueFirst),
            ("gate_first", Order::GateFirst),
        ];
        let layouts = [
            ("split", Layout::Split),
            ("interleaved", Layout::Interleaved),
        ];
        let parameters = gate.parameters().into_iter().map(|name| {
            let (value, range) = gate.parameter(name);
            (name, value.to_string(), range)
        });
        let parameters = options.parameters(parameters)?;
        let word = |order| {
            orders
                .iter()
                .find(|(_, o)| *o == order)
                .map(|(word, _)| *word)
        };
        let meaning = "which of the two one array has first";
        let order = options.choice("order", word(gate.order()), &orders, meaning)?;
        let word = |layout| {
            layouts
                .iter()
                .find(|(_, l)| *l == layout)
                .map(|(word, _)| *word)
        };
        let meaning = "in halves of one array, or in turns";
        let layout = options.choice("layout", word(gate.layout()), &layouts, meaning)?;
        let meaning = "how many arrays there are; as many as are given, where that is known";
        let arrays = options.choice("arrays", None, &[("1", 1), ("2", 2)], meaning)?;
        let meaning = "negative from the end";
        let axis: Option<isize> = options.parsed("axis", Some("-1".to_owned()), meaning)?;
        let gate = gate.with(parameters).map_err(Wrong::Value)?;
        let gate = order.map_or(gate, |order| gate.with_order(order));
        let gate = layout.map_or(gate, |layout| gate.with_layout(layout));
        match (arrays.unwrap_or(options.shapes.len()), order, layout, axis) {
            (2, None, None, None) => Ok(Box::new(gate)),
            (2, ..) => {
                let problem = "order, layout and axis are how one array holds value and gate; leave them out \
                               for two, the value and the gate";
                Err(Wrong::At(0, problem.to_owned()))
            }
            (_, _, _, axis) => Ok(Box::new(gate.along(axis.unwrap_or(-1)))),
        }
    })
}

fn of_rows(function: AxisFunction) -> Entry {
    let about = About {
        summary: "A function of whole rows along an axis, with what is done to their elements before: \
                  scaled, capped, biased, masked.",
        formula: function.formula(),
        gradient: function.gradient(),
        source: "Bridle 1990; masks, caps and sinks as FlashAttention, ONNX's Attention and gpt-oss",
        shapes: if function.reduces() {
            "The result lacks the axis. Mask and bias broadcast to the input from its last axis, lengths \
             and sinks have the axis with length 1, or end before it."
        } else {
            "The result has the shape of the input. Mask and bias broadcast to it from its last axis; \
             lengths are aligned at its first axis, sinks at its last with length 1."
        },
    };
    let names = (function.name(), function.aliases());
    entry("softmax", names, about, move |options| {
        let mut softmax = function.along(options.axis()?);
        let scale = options.get("scale", "x is multiplied by it")?;
        let temperature = options.get("temperature", "x is divided by it")?;
        let cap = options.get("soft_cap", "elements v become cap tanh(v / cap)")?;
        let sink = options.get(
            "sink",
            "an element more in each row, which is not in the result",
        )?;
        let corners = [
            ("upper_left", Causal::UpperLeft),
            ("lower_right", Causal::LowerRight),
        ];
        let meaning = "no query sees a later key, from that corner";
        let causal = options.choice("causal", None, &corners, meaning)?;
        let meaning = "the axis of the queries; the one before the axis by default";
        let query_axis = options.get("query_axis", meaning)?;
        let policies = [
            ("zeros", RowPolicy::Zeros),
            ("nan", RowPolicy::Nan),
            ("error", RowPolicy::Error),
        ];
        let meaning = "what a row is of which nothing takes part";
        let policy = options.choice("row_policy", Some("zeros"), &policies, meaning)?;
        if scale.is_some() && temperature.is_some() {
            let problem = "scale and temperature say the same thing; give one of them";
            return Err(Wrong::At(0, problem.to_owned()));
        }
        softmax = scale.map_or(softmax, |scale| softmax.scale(scale));
        softmax = temperature.map_or(softmax, |t| softmax.temperature(t));
        softmax = cap.map_or(softmax, |cap| softmax.soft_cap(cap));
        softmax = sink.map_or(softmax, |sink| softmax.sink(sink));
        softmax = causal.map_or(softmax, |causal| softmax.causal(causal));
        softmax = query_axis.map_or(softmax, |axis| softmax.query_axis(axis));
        softmax = policy.map_or(softmax, |policy| softmax.row_policy(policy));
        Ok(Box::new(softmax))
    })
}

fn softmax2d() -> Entry {
    let softmax = AxisFunction::Softmax;
    let about = About {
        summary: "Softmax over the channels of images.",
        formula: softmax.formula(),
        gradient: softmax.gradient(),
        source: "PyTorch",
        shapes: "The input has the shape (C, H, W) or (N, C, H, W), and so has the result.",
    };
    let names = ("softmax2d", &["softmax_2d"][..]);
    entry("softmax", names, about, move |options| {
        let axis = options.or("axis", -3, "of the channels")?;
        match options.shapes.first().map(|shape| shape.len()) {
            None | Some(3 | 4) => Ok(Box::new(softmax.along(axis))),
            Some(axes) => Err(Wrong::At(
                0,
                format!(
                    "it is of (C, H, W) or (N, C, H, W), the input has {axes} axes; softmax takes any axis"
                ),
            )),
        }
    })
}

fn sparse(function: SparseFunction) -> Entry {
    let about = About {
        summary: "A function of whole rows along an axis, whose results are 0 where an element is far \
                  below the largest.",
        formula: function.formula(),
        gradient: function.gradient(),
        source: match function {
            SparseFunction::Hardmax => "ONNX",
            SparseFunction::Sparsemax => "Martins and Astudillo 2016",
            SparseFunction::Entmax { .. } => "Peters, Niculae and Martins 2019",
        },
        shapes: About::SAME_SHAPE,
    };
    let names = (function.name(), function.aliases());
    entry("sparse", names, about, move |options| {
        let axis = options.axis()?;
        let function = match function {
            SparseFunction::Entmax { alpha } => {
                let alpha = options.or("alpha", alpha, "a finite number, 1 or more")?;
                SparseFunction::entmax(alpha).map_err(Wrong::Value)?
            }
            function => function,
        };
        Ok(Box::new(function.along(axis)))
    })
}

fn gumbel_softmax() -> Entry {
    let about = About {
        summary: "A sample of the categories whose logarithms are x, smoothed so that it has a gradient.",
        formula: "softmax((x + G) / tau), G = -log(-log u)",
        gradient: "that of softmax((x + G) / tau), also where the result is one-hot",
        source: "Jang et al. 2017; Maddison et al. 2017",
        shapes: "The result has the shape of the input, and so has the noise.",
    };
    let names = ("gumbel_softmax", &["concrete"][..]);
    entry("gumbel_softmax", names, about, |options| {
        let standard = GumbelSoftmax::default();
        let tau = options.or("tau", standard.tau(), "the temperature, from 1e-30 to 1e30")?;
        let hard = options.or("hard", standard.is_hard(), "whether the result is one-hot")?;
        let random = options.random(Some(standard.random().seed()))?;
        let axis = options.axis()?;
        let gumbel = GumbelSoftmax::new(tau, random.unwrap_or_default()).map_err(Wrong::Value)?;
        Ok(Box::new(gumbel.hard(hard).along(axis)))
    })
}

fn maxout() -> Entry {
    let about = About {
        summary: "The maxima of groups of consecutive elements along an axis.",
        formula: "max of x[k pieces] .. x[k pieces + pieces - 1]",
        gradient: "dy at the first maximum of its group, else 0",
        source: "Goodfellow et al. 2013",
        shapes: "The result has the axis' length divided by the pieces.",
    };
    entry("maxout", ("maxout", &["max_out"]), about, |options| {
        let axis = options.axis()?;
        let meaning = "elements of a group, which divide the axis";
        let pieces = options.or("pieces", 2, meaning)?;
        Ok(Box::new(Maxout::new(pieces).along(axis)))
    })
}

fn prelu() -> Entry {
    let about = About {
        summary: "The parametric rectifier: leaky_relu with slopes that are learned.",
        formula: "x if x > 0 else slope * x",
        gradient: "dy where x > 0, else slope * dy; by a slope, the sum of x * dy where x <= 0",
        source: "He et al. 2015",
        shapes: "The result has the shape of the input. A slope of one element is for all, one of one \
                 axis has one for each index of the option's axis, others broadcast from the last axis on.",
    };
    entry("prelu", ("prelu", &["parametric_relu"]), about, |options| {
        let meaning = "the axis of the slopes, negative from the end; 1 by default, as in PyTorch";
        let axis: Option<isize> = options.get("axis", meaning)?;
        let meaning = "whether slopes of one axis lie along the last, as in ONNX and NumPy";
        let broadcast = options.or("broadcast", false, meaning)?;
        let [shape, slope] = *options.shapes else {
            let problem = "it is made by the shapes of its two arrays, as `Prelu` is; a name alone does \
                           not do";
            return Err(Wrong::At(0, problem.to_owned()));
        };
        if axis.is_some() && (broadcast || slope.len() > 1) {
            let problem = "slopes that broadcast from the last axis have no axis; leave it out";
            return Err(Wrong::At(0, problem.to_owned()));
        }
        let prelu = match (slope, axis) {
            (_, _) if slope.iter().product::<usize>() == 1 => Prelu::shared(shape),
            ([_], axis) if !broadcast => match axis {
                Some(axis) => Prelu::along(shape, axis),
                None => Prelu::per_channel(shape),
            },
            _ => Prelu::broadcast(shape, slope),
        };
        Ok(Box::new(prelu.map_err(Wrong::Value)?))
    })
}

const OF_CLASSES: &str = "One number, or with reduction=none the logits' shape without the axis. Targets are \
                          classes of that shape, or probabilities of the logits' shape; the weight has \
                          one number for each class.";
const OF_WEIGHTS: &str = "of weights that have one axis; the last by default";
const OF_ELEMENTS: &str = "One number, or with reduction=none the input's shape, which the targets have. A weight of one axis \
     has one for each index of the option's axis, others broadcast from the last axis on.";

fn cross_entropy() -> Entry {
    let about = About {
        summary: "The cross entropy of softmax and classes, or probabilities of classes.",
        formula: "-w[t] log softmax(x)[t]",
        gradient: "w[t] (softmax(x) - onehot(t))",
        source: "PyTorch",
        shapes: OF_CLASSES,
    };
    let aliases = &[
        "crossentropy",
        "softmax_cross_entropy",
        "cross_entropy_loss",
    ];
    entry("loss", ("cross_entropy", aliases), about, |options| {
        let mut loss = CrossEntropy::new().reduction(options.reduction()?);
        let meaning = "rows of this class are left out";
        loss = loss.ignore_index(options.or("ignore_index", IGNORE_INDEX, meaning)?);
        let meaning = "the share of the target spread over all classes, from 0 to 1";
        loss = loss.label_smoothing(options.or("label_smoothing", 0.0, meaning)?);
        let meaning = "of the classes; 1 by default, 0 of an array of one axis";
        if let Some(axis) = options.get("axis", meaning)? {
            loss = loss.axis(axis);
        }
        Ok(Box::new(loss))
    })
}

fn nll_loss() -> Entry {
    let about = About {
        summary: "The negative log likelihood of classes: cross entropy of what log_softmax made.",
        formula: "-w[t] x[t]",
        gradient: "-w[t] onehot(t)",
        source: "PyTorch",
        shapes: "One number, or with reduction=none the input's shape without the axis. Targets are classes \
                 of that shape; the weight has one number for each class.",
    };
    let aliases = &["nll", "negative_log_likelihood"];
    entry("loss", ("nll_loss", aliases), about, |options| {
        let mut loss = NllLoss::new().reduction(options.reduction()?);
        let meaning = "rows of this class are left out";
        loss = loss.ignore_index(options.or("ignore_index", IGNORE_INDEX, meaning)?);
        let meaning = "of the classes; 1 by default, 0 of an array of one axis";
        if let Some(axis) = options.get("axis", meaning)? {
            loss = loss.axis(axis);
        }
        Ok(Box::new(loss))
    })
}

fn bce_with_logits() -> Entry {
    let about = About {
        summary: "The binary cross entropy of sigmoid and probabilities.",
        formula: "w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)))",
        gradient: "w (sigmoid(x) (1 + (p - 1) t) - p t)",
        source: "PyTorch",
        shapes: OF_ELEMENTS,
    };
    let names = (
        "binary_cross_entropy_with_logits",
        &["bce_with_logits", "sigmoid_cross_entropy_with_logits"][..],
    );
    entry("loss", names, about, |options| {
        let loss = BceWithLogits::new().reduction(options.reduction()?);
        let axis = options.get("axis", OF_WEIGHTS)?;
        Ok(Box::new(axis.map_or(loss.clone(), |axis| loss.axis(axis))))
    })
}

fn binary_cross_entropy() -> Entry {
    let about = About {
        summary: "The binary cross entropy of probabilities.",
        formula: "-w (t log x + (1 - t) log(1 - x)), logarithms from -100 on",
        gradient: "w (x - t) / max(x (1 - x), 1e-12)",
        source: "PyTorch",
        shapes: OF_ELEMENTS,
    };
    let names = ("binary_cross_entropy", &["bce", "bce_loss"][..]);
    entry("loss", names, about, |options| {
        let loss = BinaryCrossEntropy::new().reduction(options.reduction()?);
        let axis = options.get("axis", OF_WEIGHTS)?;
        Ok(Box::new(axis.map_or(loss.clone(), |axis| loss.axis(axis))))
    })
}

/// Every operation that a name and options make.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut all: Vec<Entry> = Activation::ALL.iter().map(|&f| activation(f)).collect();
    all.push(rrelu());
    all.extend(Gate::ALL.iter().map(|&f| gate(f)));
    all.extend(AxisFunction::ALL.iter().map(|&f| of_rows(f)));
    all.push(softmax2d());
    all.extend(SparseFunction::ALL.iter().map(|&f| sparse(f)));
    all.extend([
        gumbel_softmax(),
        maxout(),
        prelu(),
        cross_entropy(),
        nll_loss(),
    ]);
    all.extend([bce_with_logits(), binary_cross_entropy()]);
    all
});

impl Entry {
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
