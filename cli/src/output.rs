//! Output files that appear whole or not at all: written beside their target under a temporary
//! name, flushed to the disk, then renamed. Ctrl-C removes the temporary files.

use crate::error::CliError;
use crate::npy;
use crate::safetensors::{self, Archive, Layout, New};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;
use wgpu_activations::DType;

/// The exit code of an interrupted program, by the shells' convention.
const INTERRUPTED: i32 = 130;

/// How the program's files stand. Whoever holds the lock keeps this and the disk in step, so that an
/// interrupt falls before or after a change of both, never between. Whatever gets a name in the
/// file system gets it under the lock.
struct Files {
    /// Temporary files and folders that exist now.
    pending: Vec<PathBuf>,
    /// The result is in its place: nothing is left to interrupt.
    settled: bool,
}

static FILES: Mutex<Files> = Mutex::new(Files {
    pending: Vec::new(),
    settled: false,
});

fn files() -> MutexGuard<'static, Files> {
    // They stay true even where a holder panicked: each change is one call.
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C, and the polite signals like it, clean up and end the program.
#[cfg(unix)]
pub fn clean_up_on_interrupt() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, mpsc};

    // A write past the limit for a file is an error like one on a full disk, once the signal does
    // not end the program. Where a handler cannot be installed, or no thread can be had for it,
    // signals do what they do by themselves.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default());
    let (installed, wait) = mpsc::channel::<()>();
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let ending = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU];
            let signals = signal_hook::iterator::Signals::new(ending);
            drop(installed);
            if let Ok(mut signals) = signals {
                signals.forever().for_each(|_| interrupted());
            }
        });
    if spawned.is_ok() {
        // Ends with the error that the sender is gone.
        let _ = wait.recv();
    }
}

/// Makes Ctrl-C, and the polite signals like it, clean up and end the program.
#[cfg(not(unix))]
pub fn clean_up_on_interrupt() {
    // Fails only where a handler is installed already, which nothing else here does.
    let _ = ctrlc::set_handler(interrupted);
}

/// Removes what is unfinished and ends the program; does nothing once it is finished.
fn interrupted() {
    // Held until the end of the process: no file is made or renamed from here on.
    let files = files();
    if files.settled {
        return;
    }
    for path in &files.pending {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
    }
    let _ = writeln!(io::stderr(), "error: interrupted");
    // Not by way of destructors: other threads are at work in what they would tear down.
    #[cfg(unix)]
    signal_hook::low_level::exit(INTERRUPTED);
    #[cfg(not(unix))]
    std::process::exit(INTERRUPTED);
}

/// A place for an output file, checked before anything is computed.
#[derive(Debug)]
pub struct Target {
    /// As the user wrote it.
    given: PathBuf,
    /// What is replaced: the end of the links where `given` is one, and the same for every way to
    /// write it.
    path: PathBuf,
    /// The directory of `path`.
    directory: PathBuf,
    /// What is written of it, where that is one of a `.safetensors` file's tensors.
    tensor: Option<Tensor>,
}

/// A tensor of a `.safetensors` file.
#[derive(Debug)]
struct Tensor {
    name: String,
    /// The file that is there, whose other tensors are kept.
    old: Option<Archive>,
}

/// Links that are followed, as many as Linux follows.
const LINKS: usize = 40;

/// What a path leads to by links; it need not be there.
fn end_of_links(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(to) = fs::read_link(&path) else {
            return Some(path);
        };
        // An absolute link takes the place of all.
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    None
}

impl Target {
    /// A place for an array. A tensor of a `.safetensors` file leaves the file's others as they
    /// are; the file alone stands for its only one.
    pub fn new(given: &Path) -> Result<Self, CliError> {
        let Some((file, name)) = safetensors::split(given) else {
            return Self::file(given);
        };
        let mut target = Self::file(&file)?;
        let fail = |reason: String| {
            Err(CliError::Output {
                path: file.clone(),
                reason,
            })
        };
        let old = match fs::metadata(&target.path) {
            Ok(there) if there.len() > 0 => {
                match Archive::open(&target.path).and_then(Archive::whole) {
                    Ok(old) => Some(old),
                    Err(error) => {
                        return fail(format!("exists, and {error}; give another name"));
                    }
                }
            }
            _ => None,
        };
        let there = old.as_ref().map_or(&[][..], |old| old.names());
        let name = match (name, there) {
            (Some(safetensors::RESERVED), _) => {
                return fail(format!(
                    "'{}' names no tensor in this format; give another name",
                    safetensors::RESERVED
                ));
            }
            (Some(name), _) => name.to_owned(),
            (None, []) => safetensors::NAME.to_owned(),
            (None, [only]) => only.clone(),
            (None, many) => {
                return fail(format!(
                    "exists and has {} tensors; write FILE.safetensors:TENSOR to replace or add one, or give another name",
                    many.len()
                ));
            }
        };
        target.tensor = Some(Tensor { name, old });
        Ok(target)
    }

    /// A place for a file: the directory must be there, and what is replaced must be a file.
    pub fn file(given: &Path) -> Result<Self, CliError> {
        not_stdout(given)?;
        let fail = |reason: &str| {
            Err(CliError::Output {
                path: given.to_owned(),
                reason: reason.to_owned(),
            })
        };
        let Some(path) = end_of_links(given) else {
            return fail("is a link that leads back to itself; give another name");
        };
        match fs::metadata(&path) {
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
            Ok(there) => note_hard_links(given, &there),
            Err(_) => {}
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Some(name) = path.file_name() else {
            return fail("is not the name of a file");
        };
        if !directory.is_dir() {
            let name = directory.display();
            return fail(&format!("there is no directory '{name}'; create it first"));
        }
        let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let path = directory.join(name);
        Ok(Self {
            given: given.to_owned(),
            path: fs::canonicalize(&path).unwrap_or(path),
            directory,
            tensor: None,
        })
    }

    /// Refuses places of which one would take what is written to another.
    pub fn apart(targets: &[Self]) -> Result<(), CliError> {
        for (i, target) in targets.iter().enumerate() {
            for other in targets[..i].iter().filter(|t| t.path == target.path) {
                let what = match (&target.tensor, &other.tensor) {
                    (Some(a), Some(b)) if a.name != b.name => continue,
                    (Some(tensor), Some(_)) => format!("the tensor '{}' of one file", tensor.name),
                    _ => "one file".to_owned(),
                };
                return Err(CliError::Output {
                    path: target.given.clone(),
                    reason: format!("two outputs go to {what}; give each a place of its own"),
                });
            }
        }
        Ok(())
    }

    /// Whether the file's other tensors are still what they were when they were looked at.
    fn is_unchanged(&self) -> bool {
        let Some(tensor) = &self.tensor else {
            return true;
        };
        match (&tensor.old, fs::metadata(&self.path)) {
            (Some(old), Ok(now)) => old.is(&now),
            (None, Ok(now)) => now.len() == 0,
            (_, Err(_)) => true,
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
        let mut files = files();
        let file = builder
            .tempfile_in(&self.directory)
            .map_err(|e| self.error(e))?;
        files.pending.push(file.path().to_owned());
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
    fn reserve(&self, bytes: u64) -> Result<(), CliError> {
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

    /// Writes everything but the elements of arrays, each with its target, of which there are
    /// several only in a `.safetensors` file. Where each one's elements begin.
    pub fn lay_out(&self, arrays: &[(&Target, &[usize], DType)]) -> Result<Vec<u64>, CliError> {
        let Some(tensor) = &self.target.tensor else {
            // Invariant: places were held apart, so that there is one.
            let mut starts = Vec::new();
            for &(_, shape, dtype) in arrays {
                let header = npy::header(shape, dtype).map_err(|e| self.error(e))?;
                let start = header.len() as u64;
                self.reserve(start + (shape.iter().product::<usize>() * dtype.bytes()) as u64)?;
                let write = || self.file()?.write_all(&header);
                write().map_err(|e| self.error(e))?;
                starts.push(start);
            }
            return Ok(starts);
        };
        let new = arrays.iter().filter_map(|&(target, shape, dtype)| {
            let tensor = target.tensor.as_ref()?;
            Some((&tensor.name[..], shape, dtype))
        });
        self.lay_out_tensors(tensor.old.as_ref(), &new.collect::<Vec<_>>())
    }

    /// Writes everything of a `.safetensors` file but new tensors' elements; what `old` has under
    /// other names is kept. Where each one's elements begin.
    pub fn lay_out_tensors(
        &self,
        old: Option<&Archive>,
        new: &[New<'_>],
    ) -> Result<Vec<u64>, CliError> {
        let layout = Layout::new(old, new).map_err(|error| CliError::Output {
            path: self.target.given.clone(),
            reason: format!("cannot write it: {error}"),
        })?;
        self.reserve(layout.bytes())?;
        let write = || layout.write(old, self.file()?);
        write().map_err(|e| self.error(e))?;
        Ok(layout.starts().to_vec())
    }

    /// Writes the elements of an array from byte `start` on.
    pub fn write(&self, start: u64, data: &[f32], dtype: DType) -> Result<(), CliError> {
        let write = || {
            let mut writer = npy::Writer::new(self.file()?, start, data.len() as u64, dtype);
            wgpu_activations::Sink::write(&mut writer, 0, data)
        };
        write().map_err(|e| self.error(e))
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
            let mut files = files();
            let path = file.path().to_owned();
            drop(file);
            files.pending.retain(|p| *p != path);
        }
    }
}

/// An array, and what it is stored as.
pub type Stored<'a> = (&'a [usize], &'a [f32], DType);

/// Writes every array to its target, and is done; none appears before all are on the disk.
pub fn write_arrays(outputs: &[(&Target, Stored<'_>)]) -> Result<(), CliError> {
    let mut staged: Vec<Staged<'_>> = Vec::new();
    for (target, _) in outputs {
        if staged.iter().any(|s| s.target.path == target.path) {
            continue;
        }
        let file = target.begin()?;
        let here = outputs.iter().filter(|(t, _)| t.path == target.path);
        let arrays = here
            .clone()
            .map(|&(t, (shape, _, dtype))| (t, shape, dtype));
        let starts = file.lay_out(&arrays.collect::<Vec<_>>())?;
        for (start, &(_, (_, data, dtype))) in starts.into_iter().zip(here) {
            file.write(start, data, dtype)?;
        }
        staged.push(file);
    }
    publish(staged)
}

/// Writes every text to its target; none appears before all are on the disk. More may follow.
pub fn write_texts(outputs: &[(&Target, &str)]) -> Result<(), CliError> {
    let mut staged = Vec::new();
    for (target, text) in outputs {
        let file = target.begin()?;
        let write = || file.file()?.write_all(text.as_bytes());
        write().map_err(|e| file.error(e))?;
        staged.push(file);
    }
    put(staged, false)
}

/// Puts files in their targets' places; none before all are on the disk. The program is done then,
/// and an interrupt that comes too late for them changes nothing.
pub fn publish(staged: Vec<Staged<'_>>) -> Result<(), CliError> {
    put(staged, true)
}

fn put(mut staged: Vec<Staged<'_>>, last: bool) -> Result<(), CliError> {
    staged.iter().try_for_each(Staged::sync)?;
    let mut result = Ok(());
    {
        let mut files = files();
        if let Some(changed) = staged.iter().find(|s| !s.target.is_unchanged()) {
            // The files vanish with their values, for which the lock must be free.
            drop(files);
            return Err(CliError::Output {
                path: changed.target.given.clone(),
                reason: "was changed by another program meanwhile; run this again".to_owned(),
            });
        }
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
            files.pending.retain(|p| *p != temporary);
        }
        files.settled = last && result.is_ok();
    }
    // The rename itself is on the disk once the directory is; not every system can do this,
    // and the file is whole either way.
    for staged in &staged {
        let _ = File::open(&staged.target.directory).and_then(|d| d.sync_all());
    }
    result
}

/// A folder that is being filled.
pub struct Folder(PathBuf);

impl Folder {
    /// A new file in it.
    pub fn create(&self, name: &str) -> io::Result<File> {
        // An interrupt removes the folder with what is in it, and nothing comes after.
        let _held = files();
        File::create_new(self.0.join(name))
    }
}

/// Makes a folder of what `fill` puts into it, or none, and is done; its name must be free.
pub fn folder(
    path: &Path,
    fill: impl FnOnce(&Folder) -> Result<(), CliError>,
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
        let mut files = files();
        let folder = tempfile::Builder::new()
            .prefix(".activations-")
            .suffix(".tmp")
            .tempdir_in(parent)
            .map_err(wrong)?;
        files.pending.push(folder.path().to_owned());
        folder
    };
    let temporary = folder.path().to_owned();
    let filled =
        fill(&Folder(temporary.clone())).and_then(|()| sync_folder(&temporary).map_err(wrong));
    let mut files = files();
    let publish = || {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(parent)?.permissions().mode();
            fs::set_permissions(&temporary, fs::Permissions::from_mode(mode & 0o777))?;
        }
        fs::rename(&temporary, path)
    };
    let published = filled.and_then(|()| publish().map_err(wrong));
    if published.is_ok() {
        // Its name is another now: nothing is there to remove.
        let _ = folder.keep();
        files.settled = true;
    } else {
        drop(folder);
    }
    files.pending.retain(|p| *p != temporary);
    drop(files);
    let _ = File::open(parent).and_then(|d| d.sync_all());
    published
}

/// Sees to it that a folder of files is on the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    // One call for all of them: file by file, each waits for the disk.
    #[cfg(target_os = "linux")]
    match rustix::fs::syncfs(File::open(folder)?) {
        Err(rustix::io::Errno::NOSYS) => {}
        done => return done.map_err(io::Error::from),
    }
    for entry in fs::read_dir(folder)? {
        // Windows flushes what may be written to.
        let mut options = fs::OpenOptions::new();
        options.read(true).write(cfg!(windows));
        if let Ok(file) = options.open(entry?.path()) {
            file.sync_all()?;
        }
    }
    Ok(())
}

/// Says that a file's other names keep what it was, where it has any: a new file takes its place.
#[cfg(unix)]
fn note_hard_links(given: &Path, there: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;
    if there.nlink() > 1 {
        let (name, others) = (given.display(), there.nlink() - 1);
        crate::terminal::line(
            "note",
            format_args!(
                "{name}: a new file takes this name; {others} other names (hard links) keep the old one"
            ),
        );
    }
}

#[cfg(not(unix))]
fn note_hard_links(_: &Path, _: &fs::Metadata) {}
