//! Softmax over the channels of images.

use super::closures::{Closures, computed, in_parts, same_shape};
use super::{Call, Entry, Input, Operation, Options};
use crate::error::CliError;
use wgpu_activations::AxisFunction;

/// `softmax2d`: softmax along axis -3.
pub struct Channels;

fn images(inputs: &[Input]) -> Result<Vec<usize>, CliError> {
    match inputs[0].shape().len() {
        3 | 4 => same_shape(inputs),
        axes => Err(CliError::Usage(format!(
            "softmax2d is of (C, H, W) or (N, C, H, W); the input has {axes} axes. softmax takes \
             any --axis"
        ))),
    }
}

impl Operation for Channels {
    fn entry(&self) -> Entry {
        let softmax = AxisFunction::Softmax;
        Entry {
            name: "softmax2d",
            kind: "axis",
            aliases: &["softmax_2d"],
            parameters: Vec::new(),
            summary: "Softmax over the channels of (C, H, W) or (N, C, H, W).",
            formula: softmax.formula(),
            gradient: softmax.gradient(),
            source: None,
        }
    }

    fn prepare(&self, _: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let of = |_: &[Input]| Ok(AxisFunction::Softmax.along(-3));
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: &["x"],
            integers: None,
            gradients: &["the input"],
            shape: Box::new(images),
            streamed: in_parts(of),
            run,
            grad,
        }))
    }
}
