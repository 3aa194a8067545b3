//! Chains of functions, written as `scale(0.125) | gelu | clamp(0, 6)`.

use super::closures::{gradient, same_shape};
use super::{Call, Entry, Input, Operation, Options, Output};
use crate::error::CliError;
use wgpu_activations::{Backend, Chain, Step};

/// A chain.
pub struct Chained(Chain);

impl Chained {
    /// The chain that a text is, where it can be none of the functions' names.
    pub fn find(text: &str) -> Option<Result<Self, CliError>> {
        let parsed = text.parse::<Chain>();
        let written_as_one = text.contains(['|', '(']);
        (written_as_one || parsed.is_ok()).then(|| Ok(Self(parsed?)))
    }
}

impl Operation for Chained {
    fn entry(&self) -> Entry {
        Entry {
            name: "the chain",
            kind: "chain",
            aliases: &[],
            parameters: Vec::new(),
            summary: "Of X.npy and the operands of its steps, in order; grad writes the gradients by all.",
            formula: "one step after the other",
            gradient: "the chain rule",
            source: None,
        }
    }

    fn prepare(&self, _: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let operands = self.0.steps().iter().filter_map(Step::operand);
        Ok(Box::new(Ready {
            chain: self.0.clone(),
            inputs: std::iter::once("x").chain(operands).collect(),
        }))
    }
}

struct Ready {
    chain: Chain,
    inputs: Vec<&'static str>,
}

/// The operands with their shapes.
fn operands(inputs: &[Input]) -> Vec<(&[f32], &[usize])> {
    let operands = inputs[1..].iter();
    operands.map(|o| (o.floats(), o.shape())).collect()
}

impl Call for Ready {
    fn inputs(&self) -> &[&'static str] {
        &self.inputs
    }

    fn gradients(&self) -> &[&'static str] {
        &self.inputs
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let shapes: Vec<&[usize]> = inputs[1..].iter().map(Input::shape).collect();
        self.chain.check(inputs[0].shape(), &shapes)?;
        same_shape(inputs)
    }

    fn run(self: Box<Self>, backend: &Backend, inputs: Vec<Input>) -> Result<Output, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape());
        let y = backend.apply_chain(&self.chain, x, shape, &operands(&inputs))?;
        Ok(gradient(&inputs[0], y))
    }

    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
        _: usize,
    ) -> Result<Vec<Output>, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape());
        let operands = operands(&inputs);
        let (dx, by_operands) = backend.grad_chain(&self.chain, x, shape, &operands, upstream)?;
        let all = std::iter::once(dx).chain(by_operands);
        Ok(inputs
            .iter()
            .zip(all)
            .map(|(by, g)| gradient(by, g))
            .collect())
    }
}
