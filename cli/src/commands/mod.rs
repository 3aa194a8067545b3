//! The subcommands, and what they share.

mod adapters;
mod batch;
mod bench;
mod check;
mod exhaustive;
mod half;
mod inspect;
mod list;
mod report;
mod run;
mod stream;
mod tune;

use crate::args::{BackendArgs, BackendName, Command};
use crate::error::CliError;
use crate::terminal::Progress;
use wgpu_activations::{AdapterChoice, Backend};

/// Runs a subcommand.
pub fn dispatch(command: &Command) -> Result<(), CliError> {
    match command {
        Command::List { json } => list::list(*json),
        Command::Adapters { self_check, json } => adapters::adapters(*self_check, *json),
        Command::Run(args) => run::run(args),
        Command::Grad(args) => run::grad(args),
        Command::Batch(args) => batch::batch(args),
        Command::Check(args) if args.exhaustive => exhaustive::exhaustive(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Check(args) => match args.dtype {
            Some(dtype) => half::half(args, dtype),
            None => check::check(args),
        },
        Command::Bench(args) => bench::bench(args),
        Command::Tune(args) => tune::tune(args),
        Command::Report(args) => report::report(args),
    }
}

/// Opens the backend and says on stderr which one it is, and why.
fn open(args: &BackendArgs, progress: &Progress) -> Result<Backend, CliError> {
    if args.backend == BackendName::Cpu && args.adapter.is_some() {
        return Err(CliError::Usage(
            "--adapter chooses a GPU; leave it out, or use --backend gpu".to_owned(),
        ));
    }
    progress.doing("opening the backend");
    let adapter = args.adapter.clone();
    let adapter = adapter.unwrap_or_else(AdapterChoice::from_env);
    let backend = Backend::open(args.backend.into(), &adapter)?;
    progress.line("backend", backend.description());
    Ok(backend)
}
