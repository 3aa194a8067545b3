//! The command line of `wgpu-activations`: activations and softmax on .npy files.

mod args;
mod commands;
mod error;
mod function;
mod npy;
mod output;
mod terminal;

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return finish(terminal::print(&e.to_string()));
        }
        Err(e) => return finish(Err(error::CliError::Usage(args::one_line(&e)))),
    };
    output::clean_up_on_interrupt();
    finish(commands::dispatch(&cli.command))
}

fn finish(result: Result<(), error::CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            terminal::line("error", &e);
            ExitCode::from(e.exit_code())
        }
    }
}
