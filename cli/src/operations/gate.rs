//! Gated linear units: one array of values and gates, or two.

use super::closures::{Closures, computed, gradient, in_parts, whole};
use super::{Call, Default, Entry, Input, Operation, Options, Output, ParameterEntry};
use crate::error::CliError;
use wgpu_activations::{AxisShape, Gate, Layout, Order};

/// One of the gates.
pub struct Gated(pub Gate);

impl Operation for Gated {
    fn entry(&self) -> Entry {
        let gate = self.0;
        let parameter = |name, default, range: &str| ParameterEntry {
            name,
            default: Default::Word(default),
            range: range.to_owned(),
        };
        let (layout, order) = (layout_name(gate.layout()), order_name(gate.order()));
        let mut parameters = vec![
            parameter("layout", layout, "split or interleaved, for one input"),
            parameter("order", order, &orders(&gate)),
        ];
        let own = gate.parameters();
        parameters.extend(
            own.into_iter()
                .map(|name| parameter(name, "see the formula", "a number")),
        );
        Entry {
            name: gate.name(),
            kind: "gate",
            aliases: gate.aliases(),
            parameters,
            summary: "Of one array with values and gates along --axis, or of two, in the same order.",
            formula: gate.formula(),
            gradient: "dy f(gate) by the value, dy value f'(gate) by the gate",
            source: None,
        }
    }

    fn prepare(&self, options: &mut Options, inputs: usize) -> Result<Box<dyn Call>, CliError> {
        let mut gate = self.0;
        let orders = [
            (order_name(Order::ValueFirst), Order::ValueFirst),
            (order_name(Order::GateFirst), Order::GateFirst),
        ];
        if let Some(order) = options.choice("order", &orders)? {
            gate = gate.with_order(order);
        }
        let layouts = [
            (layout_name(Layout::Split), Layout::Split),
            (layout_name(Layout::Interleaved), Layout::Interleaved),
        ];
        let layout = options.choice("layout", &layouts)?;
        if inputs == 2 {
            if layout.is_some() {
                return Err(CliError::Usage(format!(
                    "{}: layout is how one array holds value and gate; leave it out for two",
                    gate.name()
                )));
            }
            let numbers = options.numbers(&gate.parameters())?;
            let gate = gate.with(numbers.iter().map(|(name, value)| (&**name, *value)))?;
            return Ok(pair(gate));
        }
        if let Some(layout) = layout {
            gate = gate.with_layout(layout);
        }
        let axis = options.axis()?.unwrap_or(-1);
        let numbers = options.numbers(&gate.parameters())?;
        let gate = gate.with(numbers.iter().map(|(name, value)| (&**name, *value)))?;
        let of = move |_: &[Input]| Ok(gate.along(axis));
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: match gate.order() {
                Order::ValueFirst => &["value and gate"],
                Order::GateFirst => &["gate and value"],
            },
            integers: None,
            gradients: &["the input"],
            shape: Box::new(move |inputs| {
                let mut shape = inputs[0].shape().to_vec();
                AxisShape::new(&shape, axis)?;
                let index = axis.rem_euclid(shape.len().max(1) as isize) as usize;
                // One number has no halves, and is refused as any odd length is.
                if let Some(len) = shape.get_mut(index) {
                    *len /= 2;
                }
                Ok(shape)
            }),
            streamed: in_parts(of),
            run,
            grad,
        }))
    }
}

/// The call of two arrays, which come in the order that they have in one.
fn pair(gate: Gate) -> Box<dyn Call> {
    let first = gate.order();
    let (names, gradients): (&[&str], &[&str]) = match first {
        Order::GateFirst => (&["gate", "value"], &["the gate", "the value"]),
        Order::ValueFirst => (&["value", "gate"], &["the value", "the gate"]),
    };
    let (value, other) = match first {
        Order::GateFirst => (1, 0),
        Order::ValueFirst => (0, 1),
    };
    Box::new(Closures {
        inputs: names,
        integers: None,
        gradients,
        shape: Box::new(|inputs| {
            let (a, b) = (inputs[0].shape(), inputs[1].shape());
            if a == b {
                return Ok(a.to_vec());
            }
            Err(CliError::Usage(format!(
                "value and gate must have one shape; they have {a:?} and {b:?}"
            )))
        }),
        streamed: whole(),
        run: Box::new(move |backend, inputs| {
            Ok(backend.apply(gate, (inputs[value].floats(), inputs[other].floats()))?)
        }),
        grad: Box::new(move |backend, inputs, dy| {
            let arrays = (inputs[value].floats(), inputs[other].floats());
            let by = [&inputs[value], &inputs[other]]
                .into_iter()
                .zip(backend.grads(&gate, arrays, dy)?);
            let mut outputs: Vec<Output> = by.map(|(by, data)| gradient(by, data)).collect();
            if first == Order::GateFirst {
                outputs.reverse();
            }
            Ok(outputs)
        }),
    })
}

/// The orders that there are, and the names that have another one than the gate.
fn orders(gate: &Gate) -> String {
    let mut text = "value_first or gate_first".to_owned();
    for alias in gate.aliases() {
        let order = alias.parse().map(|gate: Gate| gate.order());
        if let Some(order) = order.ok().filter(|order| *order != gate.order()) {
            text += &format!("; {alias} has {}", order_name(order));
        }
    }
    text
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Split => "split",
        Layout::Interleaved => "interleaved",
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::ValueFirst => "value_first",
        Order::GateFirst => "gate_first",
    }
}
