//! `activations run` and `activations grad`: a function or its gradients on files.

use super::stream::{Files, upstream_shape};
use crate::args::{GradArgs, RunArgs};
use crate::error::CliError;
use crate::memory;
use crate::operations::{self, Call, Input, Output, read};
use crate::output::{self, Target};
use crate::terminal::Progress;
use wgpu_activations::DType;

/// Arguments that fit together.
struct Plan {
    call: Box<dyn Call>,
    targets: Vec<Target>,
}

impl Plan {
    /// `gradients` says whether the outputs are those of `grad`.
    fn new(args: &RunArgs, gradients: bool) -> Result<Self, CliError> {
        let call = operations::prepare(args)?;
        let name = call.name();
        let most = match gradients {
            true => call.gradients(),
            false => vec![""],
        };
        let given = args.outputs.len();
        if given == 0 || given > most.len() {
            return Err(CliError::Usage(if most.len() == 1 {
                format!("{name} needs one -o, {given} are given")
            } else {
                format!(
                    "{name} has gradients by {}, in this order; {given} -o are given",
                    most.join(", ")
                )
            }));
        }
        let targets = args.outputs.iter().map(|path| Target::new(path));
        let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
        Target::apart(&targets)?;
        Ok(Self { call, targets })
    }

    /// The files, where the call goes through them in parts.
    fn files<'a>(&'a self, args: &'a RunArgs) -> Result<Option<Files<'a>>, CliError> {
        match &self.targets[..] {
            [target] => Files::open(args, &*self.call, target),
            _ => Ok(None),
        }
    }

    fn read(&self, args: &RunArgs, progress: &Progress) -> Result<Vec<Input>, CliError> {
        let by_position = self.call.inputs().into_iter().zip(&args.inputs);
        let flagged = self.call.flagged().iter().map(|(info, path)| (*info, path));
        let files = by_position.chain(flagged);
        files
            .map(|(info, path)| Input::read(info, path, progress))
            .collect()
    }
}

/// What the outputs are stored as: what is asked for, or as the first input.
fn dtype(args: &RunArgs, inputs: &[Input]) -> DType {
    let own = || inputs.first().map_or(DType::F32, Input::dtype);
    args.dtype.unwrap_or_else(own)
}

fn write(targets: &[Target], outputs: &[Output], dtype: DType) -> Result<(), CliError> {
    let outputs: Vec<_> = targets
        .iter()
        .zip(outputs)
        .map(|(target, output)| (target, (&output.shape[..], &output.data[..], dtype)))
        .collect();
    output::write_arrays(&outputs)
}

/// Computes a function of arrays.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let plan = Plan::new(args, false)?;
    if let Some(files) = plan.files(args)? {
        return files.run();
    }
    let progress = Progress::spinner();
    let inputs = plan.read(args, &progress)?;
    plan.call.output_shape(&inputs)?;
    let backend = super::open(&args.backend, &progress)?;
    progress.doing("computing");
    let dtype = dtype(args, &inputs);
    let output = plan.call.run(&backend, &inputs)?;
    progress.doing("writing");
    write(&plan.targets, &[output], dtype)
}

/// Computes the gradients of a function by its inputs.
pub fn grad(args: &GradArgs) -> Result<(), CliError> {
    let plan = Plan::new(&args.run, true)?;
    if let Some(files) = plan.files(&args.run)?
        && let Some(done) = files.grad(plan.call.name(), args.upstream.as_ref())?
    {
        return Ok(done);
    }
    let progress = Progress::spinner();
    let inputs = plan.read(&args.run, &progress)?;
    let shape = plan.call.output_shape(&inputs)?;
    let upstream = match &args.upstream {
        None => memory::filled(shape.iter().product(), 1.0)?,
        Some(path) => {
            let dy = read(path, &progress)?;
            if dy.shape != shape {
                let text = upstream_shape(path, &dy.shape, plan.call.name(), &shape);
                return Err(CliError::Usage(text));
            }
            dy.data
        }
    };

    let backend = super::open(&args.run.backend, &progress)?;
    progress.doing("computing");
    let wanted = plan.targets.len();
    let dtype = dtype(&args.run, &inputs);
    let outputs = plan.call.grad(&backend, &inputs, &upstream, wanted)?;
    progress.doing("writing");
    write(&plan.targets, &outputs, dtype)
}
