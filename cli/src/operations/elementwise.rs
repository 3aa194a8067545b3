//! The catalogue's activations.

use super::{Call, Default, Entry, Input, Operation, Options, Output, ParameterEntry};
use crate::error::CliError;
use crate::memory;
use crate::terminal::Number;
use wgpu_activations::{Activation, Backend, Elementwise, learnable};

/// A row of the catalogue.
pub struct Catalogue(pub Activation);

impl Operation for Catalogue {
    fn entry(&self) -> Entry {
        let info = self.0.info();
        let parameters = info.parameters.iter().map(|p| ParameterEntry {
            name: p.name,
            default: match p.exact {
                Some(text) => Default::Word(text),
                None => Default::Number(Number(p.default)),
            },
            range: p.range.to_string(),
        });
        Entry {
            name: info.name,
            kind: "elementwise",
            aliases: info.aliases,
            parameters: parameters.collect(),
            summary: info.summary.trim(),
            formula: info.formula,
            gradient: info.derivative,
            source: Some(info.source),
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let f = options.activation(self.0)?;
        let learned = learnable().filter(|(activation, _)| *activation == self.0);
        let mut gradients = vec!["the input"];
        gradients.extend(learned.map(|(_, parameter)| parameter));
        Ok(Box::new(Ready { f, gradients }))
    }
}

struct Ready {
    f: Elementwise,
    gradients: Vec<&'static str>,
}

impl Call for Ready {
    fn gradients(&self) -> &[&'static str] {
        &self.gradients
    }

    fn streamed(&self, _shape: &[usize]) -> Option<Box<dyn wgpu_activations::Operation>> {
        Some(Box::new(self.f))
    }

    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        Ok(inputs[0].shape().to_vec())
    }

    fn run(self: Box<Self>, backend: &Backend, inputs: Vec<Input>) -> Result<Output, CliError> {
        let (shape, mut data) = only(inputs);
        backend.apply_in_place(self.f, &mut data)?;
        Ok(Output { shape, data })
    }

    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError> {
        let (shape, x) = only(inputs);
        let mut data = memory::zeros(x.len())?;
        backend.grad_into(self.f, &x, upstream, &mut data)?;
        let mut outputs = vec![Output { shape, data }];
        for parameter in &self.gradients[1..wanted] {
            let sum = backend.grad_parameter(self.f, parameter, &x, upstream)?;
            outputs.push(Output {
                shape: Vec::new(),
                data: vec![sum],
            });
        }
        Ok(outputs)
    }
}

/// The one input's array.
fn only(inputs: Vec<Input>) -> (Vec<usize>, Vec<f32>) {
    match inputs.into_iter().next() {
        Some(Input::Floats(array)) => (array.shape, array.data),
        // Invariant: there is one input, and none is read as integers.
        _ => (vec![0], Vec::new()),
    }
}
