//! Softmax of noisy scores: a differentiable draw.

use super::closures::{Closures, computed, in_parts, same_shape, whole};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry};
use crate::error::CliError;
use crate::terminal::Number;
use wgpu_activations::{GumbelSoftmax, Random};

/// `gumbel_softmax`.
pub struct Gumbel;

impl Operation for Gumbel {
    fn entry(&self) -> Entry {
        let parameter = |name, default, range: &str| ParameterEntry {
            name,
            default,
            range: range.to_owned(),
        };
        Entry {
            name: "gumbel_softmax",
            kind: "axis",
            aliases: &["concrete"],
            parameters: vec![
                parameter(
                    "tau",
                    Default::Number(Number(1.0)),
                    "a finite number above 0",
                ),
                parameter("hard", Default::Word("false"), "true or false"),
                parameter("seed", Default::Word("0"), "a whole number"),
            ],
            summary: "Along an axis; with a second input, that is the noise.",
            formula: "softmax((x + G) / tau), G = -log(-log u)",
            gradient: "softmax's, / tau; also where hard",
            source: Some("Jang et al. 2017; Maddison et al. 2017"),
        }
    }

    fn prepare(&self, options: &mut Options, inputs: usize) -> Result<Box<dyn Call>, CliError> {
        let axis = options.axis()?.unwrap_or(-1);
        let tau = options.number("tau")?.unwrap_or(1.0);
        let hard = options.truth("hard")?.unwrap_or(false);
        let random = Random::new(options.seed()?.unwrap_or(0));
        let gumbel = GumbelSoftmax::new(tau, random)?.hard(hard);
        let noisy = inputs == 2;
        let of = move |_: &[Input]| Ok(gumbel.along(axis));
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: if noisy { &["x", "noise"] } else { &["x"] },
            integers: None,
            gradients: &["x"],
            shape: Box::new(move |inputs| match inputs.get(1) {
                Some(noise) if noise.shape() != inputs[0].shape() => Err(CliError::Usage(format!(
                    "the noise has shape {:?} where {:?} is expected",
                    noise.shape(),
                    inputs[0].shape()
                ))),
                _ => same_shape(inputs),
            }),
            streamed: if noisy { whole() } else { in_parts(of) },
            run,
            grad,
        }))
    }
}
