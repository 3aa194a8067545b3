//! The entries of the registry, but for those of families that lie in folders of their own.

use super::options::{Made, Options, Wrong};
use super::{About, Entry, entry};
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::check;
use crate::functions::Maxout;
use crate::gate::{Gate, Layout, Order};
use crate::gumbel::GumbelSoftmax;
use crate::loss::{CrossEntropy, IGNORE_INDEX, NllLoss};
use crate::prelu::Prelu;
use crate::rrelu::Rrelu;
use crate::shaping::{Causal, RowPolicy};
use crate::sparse::SparseFunction;

pub(super) fn activation(activation: Activation) -> Entry {
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

pub(super) fn rrelu() -> Entry {
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
            .checked(|trial| Box::pin(check::random::rrelu_by(trial)))
    }
}

pub(super) fn gate(gate: Gate) -> Entry {
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
    .checked(move |trial| Box::pin(check::gate::gate_by(trial, gate)))
}

pub(super) fn of_rows(function: AxisFunction) -> Entry {
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

pub(super) fn softmax2d() -> Entry {
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

pub(super) fn sparse(function: SparseFunction) -> Entry {
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
    .checked(move |trial| Box::pin(check::sparse::of_name_by(trial, function.name())))
}

pub(super) fn gumbel_softmax() -> Entry {
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
    .checked(|trial| Box::pin(check::sparse::gumbel_softmax_by(trial)))
}

pub(super) fn maxout() -> Entry {
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
    .checked(|trial| Box::pin(check::sparse::maxout_by(trial)))
}

pub(super) fn prelu() -> Entry {
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
    .checked(|trial| Box::pin(check::prelu::prelu_by(trial)))
}

const OF_CLASSES: &str = "One number, or with reduction=none the logits' shape without the axis. Targets are \
                          classes of that shape, or probabilities of the logits' shape; the weight has \
                          one number for each class.";

pub(super) fn cross_entropy() -> Entry {
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
    .checked(|trial| Box::pin(check::loss::cross_entropy_by(trial)))
}

pub(super) fn nll_loss() -> Entry {
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
    .checked(|trial| Box::pin(check::loss::nll_loss_by(trial)))
}
