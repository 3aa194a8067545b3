//! The command line of `wgpu-activations`: activations and softmax on .npy files.

mod args;
mod commands;
mod container;
mod error;
mod file;
mod function;
mod memory;
mod npy;
mod operations;
mod output;
mod report;
mod safetensors;
mod terminal;

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    keep_the_driver_quiet();
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

/// Mesa's device selection layer asks a Wayland compositor for its device, and where there is
/// no session at all, on a server say, complains on stderr in words that look like our errors.
fn keep_the_driver_quiet() {
    let unset = |name| std::env::var_os(name).is_none();
    if cfg!(target_os = "linux") && unset("XDG_RUNTIME_DIR") && unset("MESA_VK_DEVICE_SELECT") {
        // SAFETY: the first call in `main`, so no other thread reads the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
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
