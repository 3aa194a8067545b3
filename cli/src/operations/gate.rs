//! Gated linear units: one array of values and gates, or two.

use super::closures::{Closures, gradient};
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
            parameter("order", order, "value_first or gate_first"),
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
            summary: "Of one array with values and gates along --axis, or of two.",
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
        let order = options.choice("order", &orders)?;
        if let Some(order) = order {
            gate = gate.with_order(order);
        }
        if inputs == 2 {
            // Two arrays lie in no layout, but one still comes first on the command line.
            let first = order.unwrap_or(Order::GateFirst);
            let numbers = options.numbers(&gate.parameters())?;
            let gate = gate.with(numbers.iter().map(|(name, value)| (&**name, *value)))?;
            return Ok(pair(gate, first));
        }
        let layouts = [
            (layout_name(Layout::Split), Layout::Split),
            (layout_name(Layout::Interleaved), Layout::Interleaved),
        ];
        if let Some(layout) = options.choice("layout", &layouts)? {
            gate = gate.with_layout(layout);
        }
        let axis = options.axis()?.unwrap_or(-1);
        let numbers = options.numbers(&gate.parameters())?;
        let gate = gate.with(numbers.iter().map(|(name, value)| (&**name, *value)))?;
        Ok(Box::new(Closures {
            inputs: &["value and gate"],
            integers: None,
            gradients: &["the input"],
            shape: Box::new(move |inputs| {
                let mut shape = inputs[0].shape().to_vec();
                AxisShape::new(&shape, axis)?;
                // Invariant: the axis is in range, `AxisShape` has seen to it.
                let index = axis.rem_euclid(shape.len() as isize) as usize;
                shape[index] /= 2;
                Ok(shape)
            }),
            run: Box::new(move |backend, inputs| {
                let (x, shape) = (inputs[0].floats(), inputs[0].shape());
                Ok(backend.gate(&gate, x, shape, axis)?)
            }),
            grad: Box::new(move |backend, inputs, dy| {
                let (x, shape) = (inputs[0].floats(), inputs[0].shape());
                let dx = backend.grad_gate(&gate, x, dy, shape, axis)?;
                Ok(vec![gradient(&inputs[0], dx)])
            }),
        }))
    }
}

/// The call of two arrays: the gate first, as in `run swiglu GATE.npy VALUE.npy`, or the value.
fn pair(gate: Gate, first: Order) -> Box<dyn Call> {
    let (names, gradients): (&[&str], &[&str]) = match first {
        Order::GateFirst => (&["gate", "value"], &["the gate", "the value"]),
        Order::ValueFirst => (&["value", "gate"], &["the value", "the gate"]),
    };
    let of = move |inputs: &[Input]| match first {
        Order::GateFirst => (1, 0),
        Order::ValueFirst => (0, inputs.len() - 1),
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
        run: Box::new(move |backend, inputs| {
            let (value, other) = of(inputs);
            Ok(backend.gate_pair(&gate, inputs[value].floats(), inputs[other].floats())?)
        }),
        grad: Box::new(move |backend, inputs, dy| {
            let (value, other) = of(inputs);
            let (dvalue, dgate) = backend.grad_gate_pair(
                &gate,
                inputs[value].floats(),
                inputs[other].floats(),
                dy,
            )?;
            let mut outputs: Vec<Output> = vec![
                gradient(&inputs[value], dvalue),
                gradient(&inputs[other], dgate),
            ];
            if first == Order::GateFirst {
                outputs.reverse();
            }
            Ok(outputs)
        }),
    })
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
