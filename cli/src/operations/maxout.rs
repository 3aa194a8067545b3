//! The largest of several consecutive channels.

use super::closures::{Closures, computed, in_parts};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry};
use crate::error::CliError;
use wgpu_activations::Groups;

/// `maxout`.
pub struct Maxout;

impl Operation for Maxout {
    fn entry(&self) -> Entry {
        Entry {
            name: "maxout",
            kind: "grouped",
            aliases: &["max_out"],
            parameters: vec![ParameterEntry {
                name: "pieces",
                default: Default::Word("2"),
                range: "a whole number that divides the axis".to_owned(),
            }],
            summary: "The largest of `pieces` consecutive elements along --axis, 1 by default.",
            formula: "max of x[k pieces] .. x[k pieces + pieces - 1]",
            gradient: "dy at the first largest, else 0",
            source: Some("Goodfellow et al. 2013"),
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let pieces = options.integer("pieces")?.unwrap_or(2);
        let pieces = usize::try_from(pieces).map_err(|_| {
            CliError::Usage(format!(
                "maxout: parameter pieces = {pieces} must be a whole number, 1 or more"
            ))
        })?;
        let axis = options.axis()?;
        let along = move |shape: &[usize]| axis.unwrap_or(if shape.len() < 2 { -1 } else { 1 });
        let of = move |inputs: &[Input]| {
            let maxout = wgpu_activations::Maxout::new(pieces);
            Ok(maxout.along(along(inputs[0].shape())))
        };
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: &["x"],
            integers: None,
            gradients: &["the input"],
            shape: Box::new(move |inputs| {
                let shape = inputs[0].shape();
                let groups = Groups::new(shape, along(shape), pieces)?;
                Ok(groups.output_shape().to_vec())
            }),
            streamed: in_parts(of),
            run,
            grad,
        }))
    }
}
