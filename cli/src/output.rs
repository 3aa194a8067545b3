//! Output files that appear whole or not at all: written beside their target under a temporary
//! name, flushed to the disk, then renamed. Ctrl-C removes the temporary files.

use crate::error::CliError;
use crate::npy;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{NamedTempFile, TempPath};

/// The exit code of an interrupted program, by the shells' convention.
const INTERRUPTED: i32 = 130;

/// Temporary files that exist now. Whoever holds the lock keeps the set and the disk in step,
/// so that an interrupt falls before or after a change of both, never between.
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<PathBuf>> {
    // The list stays true even where a holder panicked: each change of it is one call.
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C, and the polite signals like it, clean up and end the program.
pub fn clean_up_on_interrupt() {
    // Fails only where a handler is installed already, which nothing else here does.
    let _ = ctrlc::set_handler(|| {
        // Held until the end of the process: no rename starts from here on.
        let pending = pending();
        for path in pending.iter() {
            let _ = fs::remove_file(path);
        }
        let _ = writeln!(io::stderr(), "error: interrupted");
        std::process::exit(INTERRUPTED);
    });
}

/// A place for an output file, checked before anything is computed.
#[derive(Debug)]
pub struct Target {
    /// As the user wrote it.
    given: PathBuf,
    /// What is replaced: the end of the link where `given` is one.
    path: PathBuf,
    /// The directory of `path`.
    directory: PathBuf,
}

impl Target {
    /// Looks at the place: the directory must be there, and what is replaced must be a file.
    pub fn new(given: &Path) -> Result<Self, CliError> {
        let fail = |reason: &str| {
            Err(CliError::Output {
                path: given.to_owned(),
                reason: reason.to_owned(),
            })
        };
        let path = match fs::metadata(given) {
            Ok(there) if there.is_dir() => {
                return fail("is a directory; give the name of a file in it");
            }
            // Renaming over a device or a pipe would remove it.
            Ok(there) if !there.is_file() => {
                return fail("exists and is not a regular file; give another name");
            }
            Ok(there) if there.permissions().readonly() => {
                return fail("exists and is read-only; give another name");
            }
            Ok(_) => fs::canonicalize(given).unwrap_or_else(|_| given.to_owned()),
            Err(_) => given.to_owned(),
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if path.file_name().is_none() {
            return fail("is not the name of a file");
        }
        if !directory.is_dir() {
            let name = directory.display();
            return fail(&format!("there is no directory '{name}'; create it first"));
        }
        Ok(Self {
            given: given.to_owned(),
            path,
            directory,
        })
    }

    fn error(&self, error: io::Error) -> CliError {
        CliError::Output {
            path: self.given.clone(),
            reason: format!("cannot write it: {error}"),
        }
    }

    /// The content in a temporary file beside the target, on the disk.
    fn stage(&self, content: Content<'_>) -> io::Result<TempPath> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".activations-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets: the umask takes its share.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut file = {
            let mut pending = pending();
            let file = builder.tempfile_in(&self.directory)?;
            pending.push(file.path().to_owned());
            file
        };
        let written = self.fill(&mut file, content);
        let path = file.into_temp_path();
        match written {
            Ok(()) => Ok(path),
            Err(e) => {
                discard(path);
                Err(e)
            }
        }
    }

    fn fill(&self, file: &mut NamedTempFile, content: Content<'_>) -> io::Result<()> {
        match content {
            Content::Array(shape, data) => npy::write(file.as_file_mut(), shape, data)?,
            Content::Text(text) => file.write_all(text.as_bytes())?,
        }
        if let Ok(there) = fs::metadata(&self.path) {
            file.as_file().set_permissions(there.permissions())?;
        }
        file.as_file().sync_all()
    }
}

/// Removes a temporary file.
fn discard(path: TempPath) {
    let mut pending = pending();
    pending.retain(|p| p != &*path);
    drop(path);
}

/// What a file is to hold.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An .npy array: its shape and its elements.
    Array(&'a [usize], &'a [f32]),
    /// Text as it is.
    Text(&'a str),
}

/// Writes every content to its target; none appears before all are on the disk.
pub fn write_all(outputs: &[(&Target, Content<'_>)]) -> Result<(), CliError> {
    let mut staged = Vec::new();
    for (target, content) in outputs {
        match target.stage(*content) {
            Ok(path) => staged.push(path),
            Err(e) => {
                staged.into_iter().for_each(discard);
                return Err(target.error(e));
            }
        }
    }
    let mut pending = pending();
    let mut result = Ok(());
    for ((target, ..), path) in outputs.iter().zip(staged) {
        let temporary = path.to_path_buf();
        if result.is_ok() {
            result = path
                .persist(&target.path)
                .map_err(|e| target.error(e.error));
        }
        pending.retain(|p| *p != temporary);
    }
    // The rename itself is on the disk once the directory is; not every system can do this,
    // and the file is whole either way.
    for (target, ..) in outputs {
        let _ = File::open(&target.directory).and_then(|d| d.sync_all());
    }
    result
}
