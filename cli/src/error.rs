//! What can go wrong in the command line, and the exit code that says so.

use crate::file::NpyError;
use std::io;
use std::path::PathBuf;

/// An error that ends the program: one line on stderr.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// An input file that cannot be used.
    #[error("{}: {source}", .path.display())]
    Input {
        /// The file as given.
        path: PathBuf,
        /// What is wrong with it.
        source: NpyError,
    },
    /// An output file that cannot be written.
    #[error("{}: {reason}", .path.display())]
    Output {
        /// The file as given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Standard output that cannot be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
    /// The library's own errors: names, parameters, shapes, devices.
    #[error(transparent)]
    Library(#[from] wgpu_activations::Error),
    /// A validation that found results outside their bounds.
    #[error("{0}")]
    CheckFailed(String),
}

impl CliError {
    /// The exit code: 1 for a failed check, 2 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CheckFailed(_) => 1,
            _ => 2,
        }
    }
}
