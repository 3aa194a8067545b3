//! The losses: of logits, log-probabilities or probabilities, and targets.

use super::closures::{Closures, computed, whole};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry, read};
use crate::error::CliError;
use crate::npy::Array;
use crate::terminal::{Number, Progress};
use std::path::PathBuf;
use wgpu_activations::{
    AxisShape, BceWithLogits, BinaryCrossEntropy, CrossEntropy, NllLoss, Reduction,
};

/// One of the losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Of logits and classes, or probabilities of classes.
    CrossEntropy,
    /// Of log-probabilities and classes.
    Nll,
    /// Of logits and targets between 0 and 1.
    BceWithLogits,
    /// Of probabilities and targets between 0 and 1.
    Bce,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::CrossEntropy,
        Self::Nll,
        Self::BceWithLogits,
        Self::Bce,
    ];

    fn of_classes(self) -> bool {
        matches!(self, Self::CrossEntropy | Self::Nll)
    }
}

impl Operation for Loss {
    fn entry(&self) -> Entry {
        let parameter = |name, default, range: &str| ParameterEntry {
            name,
            default,
            range: range.to_owned(),
        };
        let mut parameters = vec![parameter(
            "reduction",
            Default::Word("mean"),
            "none, mean or sum",
        )];
        if self.of_classes() {
            let default = Default::Number(Number(-100.0));
            parameters.push(parameter("ignore_index", default, "a whole number"));
        }
        if *self == Self::CrossEntropy {
            let default = Default::Number(Number(0.0));
            parameters.push(parameter("label_smoothing", default, "from 0 to 1"));
        }
        let (name, aliases, summary, formula, gradient): (_, &'static [&'static str], _, _, _) =
            match self {
                Self::CrossEntropy => (
                    "cross_entropy",
                    &[
                        "crossentropy",
                        "softmax_cross_entropy",
                        "cross_entropy_loss",
                    ],
                    "Of LOGITS.npy and TARGETS.npy, classes (integers) or probabilities; classes \
                     along --axis, 1 by default; takes --weight.",
                    "-w[t] log softmax(x)[t]",
                    "w[t] (softmax(x) - onehot(t))",
                ),
                Self::Nll => (
                    "nll_loss",
                    &["nll", "negative_log_likelihood"],
                    "Of LOG_PROBABILITIES.npy and TARGETS.npy, classes; takes --weight.",
                    "-w[t] x[t]",
                    "-w[t] onehot(t)",
                ),
                Self::BceWithLogits => (
                    "binary_cross_entropy_with_logits",
                    &["bce_with_logits", "sigmoid_cross_entropy_with_logits"],
                    "Of LOGITS.npy and TARGETS.npy of one shape; takes --weight and --pos-weight.",
                    "w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)))",
                    "w (sigmoid(x) (1 + (p - 1) t) - p t)",
                ),
                Self::Bce => (
                    "binary_cross_entropy",
                    &["bce", "bce_loss"],
                    "Of PROBABILITIES.npy and TARGETS.npy of one shape; takes --weight.",
                    "-w (t log x + (1 - t) log(1 - x)), logarithms from -100 on",
                    "w (x - t) / max(x (1 - x), 1e-12)",
                ),
            };
        Entry {
            name,
            kind: "loss",
            aliases,
            parameters,
            summary,
            formula,
            gradient,
            source: None,
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let reductions = Reduction::ALL.iter().map(|&r| (r.name(), r));
        let reductions: Vec<(&str, Reduction)> = reductions.collect();
        let ready = Ready {
            loss: *self,
            reduction: options
                .choice("reduction", &reductions)?
                .unwrap_or_default(),
            ignore_index: if self.of_classes() {
                options.integer("ignore_index")?
            } else {
                None
            },
            label_smoothing: if *self == Self::CrossEntropy {
                options.number("label_smoothing")?.unwrap_or(0.0)
            } else {
                0.0
            },
            axis: options.axis()?,
            weight: options.file("weight"),
            pos_weight: if *self == Self::BceWithLogits {
                options.file("pos-weight")
            } else {
                None
            },
        };
        let shape = ready.clone();
        let (run, grad) = match self {
            Self::CrossEntropy => computed(move |_| ready.cross_entropy()),
            Self::Nll => computed(move |_| ready.nll()),
            Self::BceWithLogits => computed(move |inputs| ready.bce_with_logits(inputs[0].shape())),
            Self::Bce => computed(move |inputs| ready.bce(inputs[0].shape())),
        };
        Ok(Box::new(Closures {
            inputs: match self {
                Self::CrossEntropy | Self::BceWithLogits => &["logits", "targets"],
                Self::Nll => &["log-probabilities", "targets"],
                Self::Bce => &["probabilities", "targets"],
            },
            integers: self.of_classes().then_some(1),
            gradients: match self {
                Self::CrossEntropy | Self::BceWithLogits => &["the logits"],
                Self::Nll => &["the log-probabilities"],
                Self::Bce => &["the probabilities"],
            },
            streamed: whole(),
            shape: Box::new(move |inputs| shape.output_shape(inputs)),
            run,
            grad,
        }))
    }
}

/// A loss with its options, the weights still in files.
#[derive(Clone)]
struct Ready {
    loss: Loss,
    reduction: Reduction,
    ignore_index: Option<i64>,
    label_smoothing: f32,
    axis: Option<isize>,
    weight: Option<PathBuf>,
    pos_weight: Option<PathBuf>,
}

fn weights(path: &Option<PathBuf>) -> Result<Option<Array>, CliError> {
    let progress = Progress::spinner();
    path.as_ref().map(|path| read(path, &progress)).transpose()
}

/// The weights of an option over an array of `shape`. One value, and one for each class, are left to
/// the loss, which spreads them along its axis; more axes are broadcast as PyTorch does, from the last.
fn spread(
    option: &str,
    path: &Option<PathBuf>,
    shape: &[usize],
) -> Result<Option<Vec<f32>>, CliError> {
    let Some(array) = weights(path)? else {
        return Ok(None);
    };
    if array.shape.len() <= 1 {
        return Ok(Some(array.data));
    }
    let leading = shape.len().saturating_sub(array.shape.len());
    let own: Vec<usize> = std::iter::repeat_n(1, leading)
        .chain(array.shape.iter().copied())
        .collect();
    let fits = |(own, of): (&usize, &usize)| own == of || *own == 1;
    if own.len() != shape.len() || !own.iter().zip(shape).all(fits) {
        return Err(CliError::Usage(format!(
            "{option} has shape {:?}, which does not broadcast to {shape:?}",
            array.shape
        )));
    }
    if shape.contains(&0) {
        return Ok(Some(Vec::new()));
    }
    // From the last axis on, whose elements lie side by side.
    let (mut values, mut block) = (array.data, 1);
    for (&own, &len) in own.iter().zip(shape).rev() {
        if own < len {
            let repeated = values.chunks(block).flat_map(|part| part.repeat(len));
            values = repeated.collect();
        }
        block *= len;
    }
    Ok(Some(values))
}

/// Sets what is given.
macro_rules! configured {
    ($ready:ident, $loss:expr $(, $option:ident: $value:expr)*) => {{
        let mut loss = $loss.reduction($ready.reduction);
        if let Some(axis) = $ready.axis {
            loss = loss.axis(axis);
        }
        $(if let Some(value) = $value {
            loss = loss.$option(value);
        })*
        Ok(loss)
    }};
}

impl Ready {
    fn cross_entropy(&self) -> Result<CrossEntropy, CliError> {
        let loss = CrossEntropy::new().label_smoothing(self.label_smoothing);
        let weight = self.class_weight()?;
        configured!(self, loss, weight: weight.as_deref(), ignore_index: self.ignore_index)
    }

    fn nll(&self) -> Result<NllLoss, CliError> {
        let weight = self.class_weight()?;
        configured!(self, NllLoss::new(), weight: weight.as_deref(), ignore_index: self.ignore_index)
    }

    fn class_weight(&self) -> Result<Option<Vec<f32>>, CliError> {
        Ok(weights(&self.weight)?.map(|array| array.data))
    }

    fn bce_with_logits(&self, shape: &[usize]) -> Result<BceWithLogits, CliError> {
        let weight = spread("--weight", &self.weight, shape)?;
        let positive = spread("--pos-weight", &self.pos_weight, shape)?;
        configured!(
            self,
            BceWithLogits::new(),
            weight: weight.as_deref(),
            pos_weight: positive.as_deref()
        )
    }

    fn bce(&self, shape: &[usize]) -> Result<BinaryCrossEntropy, CliError> {
        let weight = spread("--weight", &self.weight, shape)?;
        configured!(self, BinaryCrossEntropy::new(), weight: weight.as_deref())
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let (shape, targets) = (inputs[0].shape(), inputs[1].shape());
        let mismatch = |expected: &[usize]| {
            Err(CliError::Usage(format!(
                "the targets have shape {targets:?} where {expected:?} is expected"
            )))
        };
        let losses = if self.loss.of_classes() {
            let default = if shape.len() == 1 { 0 } else { 1 };
            let axis = self.axis.unwrap_or(default);
            AxisShape::new(shape, axis)?;
            let mut rows = shape.to_vec();
            // Invariant: the axis is in range, `AxisShape` has seen to it; one number has none.
            if !rows.is_empty() {
                rows.remove(axis.rem_euclid(shape.len() as isize) as usize);
            }
            let expected = match &inputs[1] {
                Input::Integers(_) => &rows[..],
                Input::Floats(_) => shape,
            };
            if targets != expected {
                return mismatch(expected);
            }
            rows
        } else {
            if targets != shape {
                return mismatch(shape);
            }
            shape.to_vec()
        };
        Ok(match self.reduction {
            Reduction::None => losses,
            Reduction::Mean | Reduction::Sum => Vec::new(),
        })
    }
}
