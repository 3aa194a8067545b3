//! The kin of softmax whose results have zeros.

use super::closures::{Closures, computed, in_parts, same_shape};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry};
use crate::error::CliError;
use crate::terminal::Number;
use wgpu_activations::SparseFunction;

/// `hardmax`, `sparsemax` or `entmax`.
pub struct Sparse(pub SparseFunction);

impl Operation for Sparse {
    fn entry(&self) -> Entry {
        let function = self.0;
        let alpha = |alpha| ParameterEntry {
            name: "alpha",
            default: Default::Number(Number(alpha)),
            range: "a finite number that is 1 or more".to_owned(),
        };
        Entry {
            name: function.name(),
            kind: "axis",
            aliases: function.aliases(),
            parameters: match function {
                SparseFunction::Entmax { alpha: value } => vec![alpha(value)],
                _ => Vec::new(),
            },
            summary: "Along an axis; most results may be 0.",
            formula: function.formula(),
            gradient: function.gradient(),
            source: match function {
                SparseFunction::Sparsemax => Some("Martins and Astudillo 2016"),
                SparseFunction::Entmax { .. } => Some("Peters, Niculae and Martins 2019"),
                _ => None,
            },
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let axis = options.axis()?.unwrap_or(-1);
        let mut function = self.0;
        if let SparseFunction::Entmax { .. } = function
            && let Some(alpha) = options.number("alpha")?
        {
            function = SparseFunction::entmax(alpha)?;
        }
        let of = move |_: &[Input]| Ok(function.along(axis));
        let (run, grad) = computed(of);
        Ok(Box::new(Closures {
            inputs: &["x"],
            integers: None,
            gradients: &["the input"],
            shape: Box::new(same_shape),
            streamed: in_parts(of),
            run,
            grad,
        }))
    }
}
