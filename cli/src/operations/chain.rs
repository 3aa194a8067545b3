//! Chains of functions, written as `scale(0.125) | gelu | clamp(0, 6)`.

use super::{Call, Input, Output};
use crate::error::CliError;
use wgpu_activations::{Backend, Chain, InputInfo, Step};

/// A chain.
pub struct Chained {
    chain: Chain,
    /// What the inputs are: x, and the operands of steps in their order.
    names: Vec<&'static str>,
}

impl Chained {
    pub fn new(chain: Chain) -> Self {
        let operands = chain.steps().iter().filter_map(Step::operand);
        let names = std::iter::once("input").chain(operands).collect();
        Self { chain, names }
    }
}

/// The operands with their shapes.
fn operands(inputs: &[Input]) -> Vec<(&[f32], &[usize])> {
    let operands = inputs[1..].iter();
    operands.map(|o| (o.floats(), o.shape())).collect()
}

/// An array of the shape of an input.
fn shaped_as(input: &Input, data: Vec<f32>) -> Output {
    let shape = input.shape().to_vec();
    Output { shape, data }
}

impl Call for Chained {
    fn name(&self) -> &'static str {
        "the chain"
    }

    fn inputs(&self) -> Vec<InputInfo> {
        self.names.iter().copied().map(InputInfo::numbers).collect()
    }

    fn gradients(&self) -> Vec<&'static str> {
        self.names.clone()
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let shapes: Vec<&[usize]> = inputs[1..].iter().map(Input::shape).collect();
        self.chain.check(inputs[0].shape(), &shapes)?;
        Ok(inputs[0].shape().to_vec())
    }

    fn run(&self, backend: &Backend, inputs: &[Input]) -> Result<Output, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape());
        let y = backend.apply_chain(&self.chain, x, shape, &operands(inputs))?;
        Ok(shaped_as(&inputs[0], y))
    }

    fn grad(
        &self,
        backend: &Backend,
        inputs: &[Input],
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape());
        let operands = operands(inputs);
        let (dx, by_operands) = backend.grad_chain(&self.chain, x, shape, &operands, upstream)?;
        let all = std::iter::once(dx).chain(by_operands).take(wanted);
        let all = inputs.iter().zip(all);
        Ok(all.map(|(by, gradient)| shaped_as(by, gradient)).collect())
    }
}
