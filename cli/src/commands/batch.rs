//! `activations batch`: functions of many arrays in one file or folder, chosen by their names.

use super::open;
use crate::args::{BatchArgs, Rule};
use crate::container::{Array, Container};
use crate::error::CliError;
use crate::function::Function as Known;
use crate::operations::with_parameters;
use crate::terminal::{self, Progress};
use wgpu_activations::{AxisFunction, Backend, Elementwise, Item};

/// What is computed of arrays whose names match.
#[derive(Clone, Copy)]
enum Function {
    Elementwise(Elementwise),
    Axis(AxisFunction, isize),
}

impl Function {
    fn new(rule: &Rule) -> Result<Self, CliError> {
        let name = &rule.function;
        let wrong = |what: String| {
            let (pattern, name) = (terminal::shown(&rule.pattern), terminal::shown(name));
            CliError::Usage(format!("--apply '{pattern}={name}…': {what}"))
        };
        let function =
            Known::find(name).ok_or_else(|| Known::unknown("function of batch", name, []));
        let activation = match function.map_err(|error| wrong(error.to_string()))? {
            Known::Elementwise(activation) => activation,
            Known::Axis(function) => {
                let mut axis = -1;
                for (name, value) in &rule.parameters {
                    if name != "axis" {
                        return Err(wrong(format!("there is no parameter '{name}'; use axis")));
                    }
                    let number = value.parse();
                    axis = number.map_err(|_| wrong(format!("axis={value} is no whole number")))?;
                }
                return Ok(Self::Axis(function, axis));
            }
        };
        let function = with_parameters(activation, &rule.parameters);
        let function = function.map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Elementwise(function))
    }

    fn item<'a>(self, x: &'a [f32], shape: &[usize]) -> Result<Item<'a>, CliError> {
        Ok(match self {
            Self::Elementwise(f) => Item::elementwise(f, x),
            Self::Axis(function, axis) => Item::axis(function, x, shape, axis)?,
        })
    }

    /// The shape of the result.
    fn output_shape(self, shape: &mut Vec<usize>) {
        if let Self::Axis(function, axis) = self
            && function.reduces()
            && !shape.is_empty()
        {
            // Invariant: the axis is in range, `Item::axis` has seen to it.
            shape.remove(axis.rem_euclid(shape.len() as isize) as usize);
        }
    }
}

/// Computes the functions of all arrays whose names match, and copies the others.
pub fn batch(args: &BatchArgs) -> Result<(), CliError> {
    let functions = args.rules.iter().map(Function::new);
    let functions: Vec<Function> = functions.collect::<Result<_, _>>()?;
    let progress = Progress::spinner();
    progress.doing(format_args!("reading {}", args.input.display()));
    let mut container = Container::open(&args.input)?;
    let target = container.target(&args.output)?;

    let names = container.names();
    let rules = names
        .iter()
        .map(|name| args.rules.iter().position(|rule| rule.matches(name)));
    let rules: Vec<Option<usize>> = rules.collect();
    for (i, rule) in args.rules.iter().enumerate() {
        if !rules.contains(&Some(i)) {
            let shadowed = names.iter().any(|name| rule.matches(name));
            let pattern = &rule.pattern;
            return Err(CliError::Usage(if shadowed {
                format!("--apply '{pattern}': rules before it take all that it matches")
            } else {
                format!(
                    "--apply '{pattern}' matches none of the {} arrays in {}",
                    names.len(),
                    args.input.display()
                )
            }));
        }
    }

    let mut arrays = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        if let Some(rule) = rule {
            arrays.push((i, functions[*rule], container.read(i)?));
        }
    }
    let backend = open(&args.backend, &progress)?;
    progress.doing("computing");
    compute(&backend, &names, &mut arrays)?;
    progress.doing("writing");
    let mut results: Vec<Option<Array>> = names.iter().map(|_| None).collect();
    let computed = arrays.len();
    for (i, _, array) in arrays {
        results[i] = Some(array);
    }
    container.write(&target, &results)?;
    drop(progress);
    terminal::line(
        "note",
        format_args!(
            "{computed} of {} arrays computed, the others copied",
            names.len()
        ),
    );
    Ok(())
}

/// Replaces every array by its function's result.
fn compute(
    backend: &Backend,
    names: &[String],
    arrays: &mut [(usize, Function, Array)],
) -> Result<(), CliError> {
    let items = arrays.iter().map(|(i, function, array)| {
        let item = function.item(&array.data, &array.shape);
        item.map_err(|e| CliError::Usage(format!("'{}': {e}", names[*i])))
    });
    let items: Vec<Item<'_>> = items.collect::<Result<_, _>>()?;
    let results = backend.apply_many(&items)?;
    for ((_, function, array), data) in arrays.iter_mut().zip(results) {
        array.data = data;
        function.output_shape(&mut array.shape);
    }
    Ok(())
}
