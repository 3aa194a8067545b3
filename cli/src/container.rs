//! Many arrays under names: `.npz` archives, `.safetensors` files and folders of `.npy` files.

use crate::error::CliError;
use crate::file::{NpyError, open_file};
use crate::npy;
use crate::output::{self, Target};
use crate::safetensors::Archive;
use crate::terminal;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use wgpu_activations::DType;
use wgpu_activations::half::{bf16, f16};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An array: row-major.
#[derive(Debug)]
pub struct Array {
    /// The dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// The elements, the last axis fastest.
    pub data: Vec<f32>,
    /// What they were stored as, and will be.
    pub dtype: DType,
}

/// An open file or folder.
pub struct Container {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// The archive, its size, and its members' file names.
    Npz(ZipArchive<BufReader<File>>, u64, Vec<String>),
    /// The file.
    Safetensors(Box<Archive>),
    /// Names of files, of which those that end in .npy are arrays.
    Folder(Vec<String>),
}

/// Where a container of the same kind goes.
pub enum Place {
    /// A file.
    File(Box<Target>),
    /// A folder that is not there yet.
    Folder(PathBuf),
}

/// The most bytes that deflate makes of one.
const INFLATES: u64 = 1032;

/// The name of an array in a file of that name; other files have none.
fn array_name(file: &str) -> &str {
    file.strip_suffix(".npy").unwrap_or(file)
}

impl Container {
    fn bad(&self, what: impl std::fmt::Display) -> CliError {
        bad(&self.path, what)
    }

    /// Opens what is at `path`: a folder, or a file whose name says what it is.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let is = |extension: &str| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(extension))
        };
        let wrong = |source: NpyError| CliError::Input {
            path: path.to_owned(),
            source,
        };
        let input = |error: io::Error| wrong(NpyError::reading(error));
        let kind = if path.is_dir() {
            let (mut names, mut others) = (Vec::new(), Vec::new());
            for entry in fs::read_dir(path).map_err(input)? {
                let entry = entry.map_err(input)?;
                let name = entry.file_name().into_string();
                let name = name.map_err(|name| {
                    bad(path, format_args!("the file name {name:?} is not Unicode"))
                })?;
                if entry.path().is_file() {
                    names.push(name);
                } else {
                    others.push(name);
                }
            }
            names.sort();
            others.sort();
            if !others.is_empty() {
                let (path, others) = (path.display(), terminal::some_of(&others, 4));
                terminal::line(
                    "note",
                    format_args!("{path}: only its files are taken, not {others}"),
                );
            }
            Kind::Folder(names)
        } else if is("npz") {
            let (file, size) = open_file(path).map_err(wrong)?;
            let archive = ZipArchive::new(BufReader::new(file));
            let mut archive = archive.map_err(|e| bad(path, e))?;
            let mut names = Vec::new();
            for i in 0..archive.len() {
                let member = archive.by_index_raw(i).map_err(|e| bad(path, e))?;
                let name = member.name().map_err(|e| bad(path, e))?;
                names.push(name.into_owned());
            }
            Kind::Npz(archive, size, names)
        } else if is("safetensors") {
            let archive = Archive::open(path).and_then(Archive::whole);
            Kind::Safetensors(Box::new(archive.map_err(wrong)?))
        } else {
            return Err(bad(
                path,
                "neither a folder nor a .npz or .safetensors file; for one array use run",
            ));
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
        })
    }

    /// The place of an output of the same kind.
    pub fn target(&self, output: &Path) -> Result<Place, CliError> {
        output::not_stdout(output)?;
        let extension = match self.kind {
            Kind::Npz(..) => "npz",
            Kind::Safetensors(..) => "safetensors",
            Kind::Folder(_) => {
                let reason = if output.file_name().is_none() {
                    "is not the name of a folder"
                } else if fs::symlink_metadata(output).is_ok() {
                    "exists; give a name that is free"
                } else {
                    return Ok(Place::Folder(output.to_owned()));
                };
                return Err(CliError::Output {
                    path: output.to_owned(),
                    reason: reason.to_owned(),
                });
            }
        };
        if output
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(extension))
        {
            return Target::file(output).map(|file| Place::File(Box::new(file)));
        }
        Err(CliError::Output {
            path: output.to_owned(),
            reason: format!("the input is a .{extension} file, and so is the output: end it so"),
        })
    }

    /// The arrays' names.
    pub fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Npz(.., files) | Kind::Folder(files) => files
                .iter()
                .map(|file| array_name(file).to_owned())
                .collect(),
            Kind::Safetensors(archive) => archive.names().to_vec(),
        }
    }

    /// The array of a number.
    pub fn read(&mut self, i: usize) -> Result<Array, CliError> {
        let npy = |path: PathBuf, array: Result<npy::Array, NpyError>| {
            let array = array.map_err(|source| CliError::Input {
                path: path.clone(),
                source,
            })?;
            for note in &array.notes {
                terminal::line("note", format_args!("{}: {note}", path.display()));
            }
            Ok(Array {
                shape: array.shape,
                data: array.data,
                dtype: array.float,
            })
        };
        match &mut self.kind {
            Kind::Folder(files) => {
                let path = self.path.join(&files[i]);
                let array = npy::read(&path);
                npy(path, array)
            }
            Kind::Npz(archive, size, files) => {
                let path = self.path.join(&files[i]);
                let member = archive.by_index(i).map_err(|e| bad(&path, e))?;
                let packed = member.compressed_size().min(*size);
                let most = match member.compression() {
                    CompressionMethod::Stored => packed,
                    CompressionMethod::Deflated => packed.saturating_mul(INFLATES),
                    _ => u64::MAX,
                };
                let size = member.size().min(most);
                npy(path, npy::parse(member, size))
            }
            Kind::Safetensors(archive) => {
                let name = &archive.names()[i];
                npy(self.path.join(name), npy::read_tensor(archive, name))
            }
        }
    }

    /// Writes all arrays: those that have a result so, the others as they are.
    pub fn write(&mut self, place: &Place, results: &[Option<Array>]) -> Result<(), CliError> {
        match place {
            Place::File(target) => {
                let staged = target.begin()?;
                match &mut self.kind {
                    Kind::Npz(archive, _, files) => {
                        let write = |file| write_npz(archive, files, results, file);
                        let written = staged.file().and_then(write);
                        written.map_err(|e| staged.error(e))?;
                    }
                    Kind::Safetensors(archive) => {
                        let all = archive.names().iter().zip(results);
                        let new = all.filter_map(|(name, result)| Some((name, result.as_ref()?)));
                        let described = new
                            .clone()
                            .map(|(name, array)| (&name[..], &array.shape[..], array.dtype));
                        let described: Vec<_> = described.collect();
                        let starts = staged.lay_out_tensors(Some(archive), &described)?;
                        for (start, (_, array)) in starts.into_iter().zip(new) {
                            staged.write(start, &array.data, array.dtype)?;
                        }
                    }
                    // Invariant: a folder's place is one.
                    Kind::Folder(_) => {}
                }
                output::publish(vec![staged])
            }
            Place::Folder(path) => {
                let Kind::Folder(files) = &self.kind else {
                    return Err(self.bad("is no folder"));
                };
                output::folder(path, |folder| {
                    for (name, result) in files.iter().zip(results) {
                        let unwritten = |error: io::Error| CliError::Output {
                            path: path.to_owned(),
                            reason: format!("cannot write it: {error}"),
                        };
                        let to = folder.create(name).map_err(unwritten)?;
                        match result {
                            None => copy(&self.path.join(name), &to, unwritten)?,
                            Some(array) => write_file(&to, array).map_err(unwritten)?,
                        }
                    }
                    Ok(())
                })
            }
        }
    }
}

/// Copies a file; the error is the file's where it cannot be read, else `unwritten` makes it.
fn copy(
    from: &Path,
    mut to: &File,
    unwritten: impl FnOnce(io::Error) -> CliError,
) -> Result<(), CliError> {
    let unreadable = |source: NpyError| CliError::Input {
        path: from.to_owned(),
        source,
    };
    let (mut file, _) = open_file(from).map_err(unreadable)?;
    let permissions = file.metadata().map(|m| m.permissions());
    let copied = io::copy(&mut file, &mut to);
    let Err(error) = copied.and_then(|_| to.set_permissions(permissions?)) else {
        return Ok(());
    };
    let readable = File::open(from).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    Err(match readable {
        Ok(_) => unwritten(error),
        Err(error) => unreadable(NpyError::reading(error)),
    })
}

fn bad(path: &Path, what: impl std::fmt::Display) -> CliError {
    CliError::Usage(format!("{}: {what}", path.display()))
}

/// The elements, little endian.
fn encode(array: &Array) -> Vec<u8> {
    let x = array.data.iter();
    match array.dtype {
        DType::F32 => x.flat_map(|x| x.to_le_bytes()).collect(),
        DType::F16 => x.flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        DType::Bf16 => x.flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
    }
}

fn write_npy(mut out: impl Write, array: &Array) -> io::Result<()> {
    out.write_all(&npy::header(&array.shape, array.dtype)?)?;
    out.write_all(&encode(array))
}

fn write_file(file: &File, array: &Array) -> io::Result<()> {
    let header = npy::header(&array.shape, array.dtype)?;
    npy::write(file, &header, &array.data, array.dtype)
}

/// Members that stay are copied without being unpacked.
fn write_npz(
    archive: &mut ZipArchive<BufReader<File>>,
    files: &[String],
    results: &[Option<Array>],
    out: &File,
) -> io::Result<()> {
    let mut writer = ZipWriter::new(BufWriter::new(out));
    for (i, (file, result)) in files.iter().zip(results).enumerate() {
        let member = archive.by_index_raw(i)?;
        match result {
            None => writer.raw_copy_file(member)?,
            Some(array) => {
                let options = SimpleFileOptions::default()
                    .compression_method(member.compression())
                    .large_file(true);
                writer.start_file(file, options)?;
                write_npy(&mut writer, array)?;
            }
        }
    }
    writer.finish()?.flush()
}
