//! `activations run` and `activations grad`: a function or its gradient on files.

use crate::args::{GradArgs, RunArgs};
use crate::error::CliError;
use crate::function::{Function, Operation};
use crate::npy::{self, Array};
use crate::output::{self, Content, Target};
use crate::terminal::Progress;
use std::path::Path;
use wgpu_activations::AxisShape;

/// Arguments that fit together.
struct Plan<'a> {
    operation: Operation,
    input: &'a Path,
    target: Target,
    axis: isize,
    keepdims: bool,
}

impl<'a> Plan<'a> {
    fn new(args: &'a RunArgs) -> Result<Self, CliError> {
        let function: Function = args.function.parse()?;
        let name = function.name();
        let usage = |text: String| Err(CliError::Usage(text));
        for (i, (parameter, _)) in args.parameters.iter().enumerate() {
            if args.parameters[..i].iter().any(|(p, _)| p == parameter) {
                return usage(format!("the parameter {parameter} is given twice"));
            }
        }
        let operation = function.with(&args.parameters)?;
        let [input] = &args.inputs[..] else {
            let given = args.inputs.len();
            return usage(format!("{name} has 1 input, {given} files are given"));
        };
        let [target] = &args.outputs[..] else {
            let given = args.outputs.len();
            return usage(format!("{name} needs one -o, {given} are given"));
        };
        let reduces = match operation {
            Operation::Elementwise(_) if args.axis.is_some() => {
                return usage(format!(
                    "{name} works element by element and has no axis; leave --axis out"
                ));
            }
            Operation::Elementwise(_) => false,
            Operation::Axis(g) => g.reduces(),
        };
        if args.keepdims && !reduces {
            return usage(format!("{name} reduces no axis; leave --keepdims out"));
        }
        Ok(Self {
            operation,
            input,
            target: Target::new(target)?,
            axis: args.axis.unwrap_or(-1),
            keepdims: args.keepdims,
        })
    }

    /// The shape of the function's output.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, CliError> {
        let Operation::Axis(g) = self.operation else {
            return Ok(input.to_vec());
        };
        AxisShape::new(input, self.axis)?;
        let mut shape = input.to_vec();
        if g.reduces() {
            // Invariant: the axis is in range, `AxisShape` has seen to it.
            let axis = self.axis.rem_euclid(input.len() as isize) as usize;
            if self.keepdims {
                shape[axis] = 1;
            } else {
                shape.remove(axis);
            }
        }
        Ok(shape)
    }
}

fn read(path: &Path, progress: &Progress) -> Result<Array, CliError> {
    progress.doing(format_args!("reading {}", path.display()));
    let array = npy::read(path).map_err(|source| CliError::Input {
        path: path.to_owned(),
        source,
    })?;
    for note in &array.notes {
        progress.line("note", format_args!("{}: {note}", path.display()));
    }
    Ok(array)
}

/// Computes a function of an array.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let plan = Plan::new(args)?;
    let progress = Progress::spinner();
    let Array {
        shape, mut data, ..
    } = read(plan.input, &progress)?;
    let output_shape = plan.output_shape(&shape)?;

    let backend = super::open(&args.backend, &progress)?;
    progress.doing("computing");
    match plan.operation {
        Operation::Elementwise(f) => backend.apply_in_place(f, &mut data)?,
        Operation::Axis(g) => {
            let mut y = super::zeros(output_shape.iter().product())?;
            backend.apply_axis_into(g, &data, &shape, plan.axis, &mut y)?;
            data = y;
        }
    }
    progress.doing("writing");
    output::write_all(&[(&plan.target, Content::Array(&output_shape, &data))])
}

/// Computes the gradient of a function by its input.
pub fn grad(args: &GradArgs) -> Result<(), CliError> {
    let plan = Plan::new(&args.run)?;
    let progress = Progress::spinner();
    let x = read(plan.input, &progress)?;
    let output_shape = plan.output_shape(&x.shape)?;
    let dy = read(&args.upstream, &progress)?;
    if dy.shape != output_shape {
        return Err(CliError::Usage(format!(
            "{}: the upstream gradient has shape {:?} where the function's output has {:?}",
            args.upstream.display(),
            dy.shape,
            output_shape,
        )));
    }

    let backend = super::open(&args.run.backend, &progress)?;
    progress.doing("computing");
    let mut dx = super::zeros(x.data.len())?;
    match plan.operation {
        Operation::Elementwise(f) => backend.grad_into(f, &x.data, &dy.data, &mut dx)?,
        Operation::Axis(g) => {
            backend.grad_axis_into(g, &x.data, &dy.data, &x.shape, plan.axis, &mut dx)?;
        }
    }
    progress.doing("writing");
    output::write_all(&[(&plan.target, Content::Array(&x.shape, &dx))])
}
