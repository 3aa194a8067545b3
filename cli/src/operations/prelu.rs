//! The parametric rectifier: an array and its slopes.

use super::closures::{Closures, computed, same_shape, whole};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry};
use crate::error::CliError;
use wgpu_activations::Prelu;

/// `prelu`.
pub struct Parametric;

/// Which element has which slope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broadcast {
    Channel,
    Numpy,
}

impl Operation for Parametric {
    fn entry(&self) -> Entry {
        Entry {
            name: "prelu",
            kind: "learnable",
            aliases: &["parametric_relu"],
            parameters: vec![ParameterEntry {
                name: "broadcast",
                default: Default::Word("channel"),
                range: "channel (PyTorch: along --axis, 1 by default) or numpy (ONNX)".to_owned(),
            }],
            summary: "Of X.npy and SLOPE.npy; grad writes the gradients by both.",
            formula: "x if x > 0 else slope * x",
            gradient: "dy if x > 0 else slope * dy; by a slope the sum of x dy where x <= 0",
            source: Some("He et al. 2015"),
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let choices = [("channel", Broadcast::Channel), ("numpy", Broadcast::Numpy)];
        let broadcast = options.choice("broadcast", &choices)?;
        let axis = options.axis()?;
        if axis.is_some() && broadcast == Some(Broadcast::Numpy) {
            return Err(CliError::Usage(
                "slopes that are broadcast by numpy's rule have no --axis; leave it out".to_owned(),
            ));
        }
        let of = move |inputs: &[Input]| {
            let (shape, slope) = (inputs[0].shape(), inputs[1].shape());
            // More than one axis of slopes is no list of channels.
            let rule = broadcast.unwrap_or(match slope {
                [] | [_] => Broadcast::Channel,
                _ => Broadcast::Numpy,
            });
            let prelu = match (rule, axis) {
                (Broadcast::Numpy, _) => Prelu::broadcast(shape, slope)?,
                _ if inputs[1].floats().len() == 1 => Prelu::shared(shape)?,
                (Broadcast::Channel, Some(axis)) => Prelu::along(shape, axis)?,
                (Broadcast::Channel, None) => Prelu::per_channel(shape)?,
            };
            Ok::<_, CliError>(prelu)
        };
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: &["x", "slope"],
            integers: None,
            gradients: &["x", "the slope"],
            streamed: whole(),
            shape: Box::new(move |inputs| {
                let slopes = of(inputs)?.slopes();
                if slopes != inputs[1].floats().len() {
                    return Err(CliError::Usage(format!(
                        "prelu of shape {:?} has {slopes} slopes here, the slope file has shape {:?}; \
                         --axis names another axis, -p broadcast=numpy another rule",
                        inputs[0].shape(),
                        inputs[1].shape(),
                    )));
                }
                same_shape(inputs)
            }),
            run,
            grad,
        }))
    }
}
