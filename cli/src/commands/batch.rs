//! `activations batch`: functions of many arrays in one file or folder, chosen by their names.

use super::open;
use crate::args::{BatchArgs, Rule};
use crate::container::{Array, Container};
use crate::error::CliError;
use crate::terminal::{self, Progress};
use wgpu_activations::{Backend, Item, Operation};

/// What is computed of arrays whose names match.
fn operation(rule: &Rule) -> Result<Box<dyn Operation>, CliError> {
    let parameters = rule.parameters.iter();
    let parameters: Vec<String> = parameters
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let text = match parameters.len() {
        0 => rule.function.clone(),
        _ => format!("{}({})", rule.function, parameters.join(", ")),
    };
    text.parse().map_err(|error| {
        let [pattern, text] = [&rule.pattern, &text].map(|text| terminal::shown(text));
        CliError::Usage(format!("--apply '{pattern}={text}': {error}"))
    })
}

/// Computes the functions of all arrays whose names match, and copies the others.
pub fn batch(args: &BatchArgs) -> Result<(), CliError> {
    let operations = args.rules.iter().map(operation);
    let operations: Vec<Box<dyn Operation>> = operations.collect::<Result<_, _>>()?;
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
            arrays.push((i, &*operations[*rule], container.read(i)?));
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
    arrays: &mut [(usize, &dyn Operation, Array)],
) -> Result<(), CliError> {
    let items = arrays.iter().map(|(i, operation, array)| {
        let item = Item::of_shape(*operation, &array.data, &array.shape);
        item.map_err(|e| CliError::Usage(format!("'{}': {e}", names[*i])))
    });
    let items: Vec<Item<'_>> = items.collect::<Result<_, _>>()?;
    let results = backend.apply_many(&items)?;
    let shapes: Vec<Vec<usize>> = items
        .iter()
        .map(|item| item.output_shape().to_vec())
        .collect();
    for ((_, _, array), (data, shape)) in arrays.iter_mut().zip(results.into_iter().zip(shapes)) {
        (array.data, array.shape) = (data, shape);
    }
    Ok(())
}
