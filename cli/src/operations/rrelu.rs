//! The randomised leaky rectifier.

use super::closures::{Closures, computed, in_parts, same_shape};
use super::{Call, Default, Entry, Input, Operation, Options, ParameterEntry};
use crate::error::CliError;
use crate::terminal::Number;
use wgpu_activations::{Random, Rrelu};

/// `rrelu`.
pub struct Randomised;

impl Operation for Randomised {
    fn entry(&self) -> Entry {
        let parameter = |name, default, range: &str| ParameterEntry {
            name,
            default,
            range: range.to_owned(),
        };
        let default = Rrelu::default();
        let number = |value| Default::Number(Number(value));
        Entry {
            name: "rrelu",
            kind: "randomised",
            aliases: &[],
            parameters: vec![
                parameter("lower", number(default.lower()), "a finite number"),
                parameter(
                    "upper",
                    number(default.upper()),
                    "a finite number that is not below lower",
                ),
                parameter(
                    "seed",
                    Default::Word("none"),
                    "a whole number; with one, training",
                ),
            ],
            summary: "leaky_relu with a random slope in training and their mean in evaluation.",
            formula: "x if x > 0 else a x, a in [lower, upper]",
            gradient: "1 if x > 0 else a",
            source: Some("Xu et al. 2015"),
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let default = Rrelu::default();
        let lower = options.number("lower")?.unwrap_or(default.lower());
        let upper = options.number("upper")?.unwrap_or(default.upper());
        let mut rrelu = Rrelu::new(lower, upper)?;
        if let Some(seed) = options.seed()? {
            rrelu = rrelu.training(Random::new(seed));
        }
        let of = move |_: &[Input]| Ok(rrelu);
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
