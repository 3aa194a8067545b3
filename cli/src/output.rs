//! Output files that appear whole or not at all: written beside their target under a temporary
//! name, flushed to the disk, then renamed. Ctrl-C removes the temporary files.

use crate::error::CliError;
use crate::{npy, safetensors};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;
use wgpu_activations::DType;

/// The exit code of an interrupted program, by the shells' convention.
const INTERRUPTED: i32 = 130;

/// Temporary files and folders that exist now. Whoever holds the lock keeps the set and the disk in step,
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
            let _ = fs::remove_dir_all(path);
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
    /// The name in a `.safetensors` file, where it is one; it may have been left out.
    tensor: Option<Option<String>>,
}

impl Target {
    /// Looks at the place: the directory must be there, and what is replaced must be a file.
    pub fn new(given: &Path) -> Result<Self, CliError> {
        let tensor = safetensors::split(given);
        let given = tensor.as_ref().map_or(given, |(file, _)| file);
        not_stdout(given)?;
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
            tensor: tensor.map(|(_, name)| name.map(str::to_owned)),
        })
    }

    /// What precedes an array's elements in a file of this kind.
    pub fn header(&self, shape: &[usize], dtype: DType) -> Result<Vec<u8>, CliError> {
        match &self.tensor {
            Some(name) => Ok(safetensors::header(name.as_deref(), shape, dtype)),
            None => npy::header(shape, dtype).map_err(|e| self.error(e)),
        }
    }

    fn error(&self, error: io::Error) -> CliError {
        CliError::Output {
            path: self.given.clone(),
            reason: format!("cannot write it: {error}"),
        }
    }

    /// An empty temporary file beside the target.
    pub fn begin(&self) -> Result<Staged<'_>, CliError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".activations-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets: the umask takes its share.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut pending = pending();
        let file = builder
            .tempfile_in(&self.directory)
            .map_err(|e| self.error(e))?;
        pending.push(file.path().to_owned());
        Ok(Staged {
            target: self,
            file: Some(file),
        })
    }
}

/// An error for `-`, which other programs take for standard output: what is written appears whole
/// or not at all, and that only a file can do.
pub fn not_stdout(path: &Path) -> Result<(), CliError> {
    if path != Path::new("-") {
        return Ok(());
    }
    Err(CliError::Output {
        path: path.to_owned(),
        reason: "standard output is not written to; give a name, ./- for one that is called so"
            .to_owned(),
    })
}

/// What a target is to become, in a temporary file that vanishes with the value.
#[derive(Debug)]
pub struct Staged<'a> {
    target: &'a Target,
    /// Always there until it is published.
    file: Option<NamedTempFile>,
}

impl Staged<'_> {
    /// The file.
    pub fn file(&self) -> io::Result<&File> {
        let file = self.file.as_ref().map(NamedTempFile::as_file);
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What went wrong with the file, as an error that names the target.
    pub fn error(&self, error: io::Error) -> CliError {
        self.target.error(error)
    }

    /// Finds the room that the file will take, where the system can do this.
    pub fn reserve(&self, bytes: u64) -> Result<(), CliError> {
        let reserve = || {
            let file = self.file()?;
            #[cfg(target_os = "linux")]
            {
                use rustix::fs::{FallocateFlags, fallocate};
                use rustix::io::Errno;
                match fallocate(file, FallocateFlags::empty(), 0, bytes) {
                    // Nothing to reserve, or a file system that does not: the writes will tell.
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                    done => return done.map_err(io::Error::from),
                }
            }
            file.set_len(bytes)
        };
        reserve().map_err(|e| self.error(e))
    }

    fn fill(&self, content: Content<'_>) -> Result<(), CliError> {
        let header = match content {
            Content::Array { shape, dtype, .. } => self.target.header(shape, dtype)?,
            Content::Text(_) => Vec::new(),
        };
        let fill = || {
            let mut file = self.file()?;
            match content {
                Content::Array { data, dtype, .. } => npy::write(file, &header, data, dtype),
                Content::Text(text) => file.write_all(text.as_bytes()),
            }
        };
        fill().map_err(|e| self.error(e))
    }

    /// Sees to it that the content is on the disk.
    fn sync(&self) -> Result<(), CliError> {
        let sync = || {
            let file = self.file()?;
            if let Ok(there) = fs::metadata(&self.target.path) {
                file.set_permissions(there.permissions())?;
            }
            file.sync_all()
        };
        sync().map_err(|e| self.error(e))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut pending = pending();
            pending.retain(|p| p != file.path());
            drop(file);
        }
    }
}

/// What a file is to hold.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An array.
    Array {
        /// Its dimensions.
        shape: &'a [usize],
        /// Its elements.
        data: &'a [f32],
        /// What they are stored as.
        dtype: DType,
    },
    /// Text as it is.
    Text(&'a str),
}

/// Writes every content to its target; none appears before all are on the disk.
pub fn write_all(outputs: &[(&Target, Content<'_>)]) -> Result<(), CliError> {
    let mut staged = Vec::new();
    for (target, content) in outputs {
        let file = target.begin()?;
        file.fill(*content)?;
        staged.push(file);
    }
    publish(staged)
}

/// Puts files in their targets' places; none before all are on the disk.
pub fn publish(mut staged: Vec<Staged<'_>>) -> Result<(), CliError> {
    staged.iter().try_for_each(Staged::sync)?;
    let mut result = Ok(());
    {
        let mut pending = pending();
        for staged in &mut staged {
            let Some(file) = staged.file.take() else {
                continue;
            };
            let temporary = file.path().to_owned();
            if result.is_ok() {
                let persisted = file.persist(&staged.target.path);
                result = persisted
                    .map(drop)
                    .map_err(|e| staged.target.error(e.error));
            }
            pending.retain(|p| *p != temporary);
        }
    }
    // The rename itself is on the disk once the directory is; not every system can do this,
    // and the file is whole either way.
    for staged in &staged {
        let _ = File::open(&staged.target.directory).and_then(|d| d.sync_all());
    }
    result
}

/// Makes a folder of what `fill` puts into it, or none; its name must be free.
pub fn folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let wrong = |error: io::Error| CliError::Output {
        path: path.to_owned(),
        reason: format!("cannot write it: {error}"),
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = {
        let mut pending = pending();
        let folder = tempfile::Builder::new()
            .prefix(".activations-")
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(wrong)?;
        pending.push(folder.path().to_owned());
        folder
    };
    let temporary = folder.path().to_owned();
    let filled = fill(&temporary);
    let mut pending = pending();
    pending.retain(|p| *p != temporary);
    // What is not renamed is removed with the value.
    filled?;
    let publish = || {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(parent)?.permissions().mode();
            fs::set_permissions(&temporary, fs::Permissions::from_mode(mode & 0o777))?;
        }
        fs::rename(&temporary, path)
    };
    publish().map_err(wrong)?;
    // Its name is another now: nothing is there to remove.
    let _ = folder.keep();
    let _ = File::open(parent).and_then(|d| d.sync_all());
    Ok(())
}
