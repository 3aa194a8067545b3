//! Many arrays under names: `.npz` archives, `.safetensors` files and folders of `.npy` files.

use crate::error::CliError;
use crate::npy::{self, NpyError};
use crate::output::{self, Target};
use crate::{safetensors as tensor, terminal};
use memmap2::Mmap;
use npyz::npz::{NpzArchive, NpzWriter};
use safetensors::tensor::{SafeTensors, TensorView};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use wgpu_activations::DType;
use wgpu_activations::half::{bf16, f16};

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
    /// The archive, and its members' file names.
    Npz(NpzArchive<BufReader<File>>, Vec<String>),
    /// The file, and its tensors' names.
    Safetensors(Mmap, Vec<String>),
    /// Names of files, of which those that end in .npy are arrays.
    Folder(Vec<String>),
}

/// Where a container of the same kind goes.
pub enum Place {
    /// A file.
    File(Target),
    /// A folder that is not there yet.
    Folder(PathBuf),
}

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
        let input = |error: io::Error| CliError::Input {
            path: path.to_owned(),
            source: NpyError::reading(error),
        };
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
            let mut archive = NpzArchive::open(path).map_err(input)?;
            let zip = archive.zip_archive();
            let mut names = Vec::new();
            for i in 0..zip.len() {
                let member = zip.by_index(i).map_err(|e| bad(path, e))?;
                names.push(member.name().to_owned());
            }
            Kind::Npz(archive, names)
        } else if is("safetensors") {
            let file = File::open(path).map_err(input)?;
            // SAFETY: the file is read only. Who shortens it meanwhile ends the program, as with
            // any mapped file; no memory that Rust owns changes.
            let mapped = unsafe { Mmap::map(&file) }.map_err(input)?;
            let tensors = SafeTensors::deserialize(&mapped).map_err(|e| bad(path, e))?;
            let mut tensors = tensors.tensors();
            // In the order of their data.
            tensors.sort_by_key(|(_, tensor)| tensor.data().as_ptr() as usize);
            let names = tensors.into_iter().map(|(name, _)| name).collect();
            Kind::Safetensors(mapped, names)
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
            return Target::new(output).map(Place::File);
        }
        Err(CliError::Output {
            path: output.to_owned(),
            reason: format!("the input is a .{extension} file, and so is the output: end it so"),
        })
    }

    /// The arrays' names.
    pub fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Npz(_, files) | Kind::Folder(files) => files
                .iter()
                .map(|file| array_name(file).to_owned())
                .collect(),
            Kind::Safetensors(_, names) => names.clone(),
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
            Kind::Npz(archive, files) => {
                let path = self.path.join(&files[i]);
                let mut bytes = Vec::new();
                let mut member = archive
                    .zip_archive()
                    .by_index(i)
                    .map_err(|e| bad(&path, e))?;
                let array = match member.read_to_end(&mut bytes) {
                    Ok(_) => npy::parse(bytes),
                    Err(error) => Err(NpyError::reading(error)),
                };
                npy(path, array)
            }
            Kind::Safetensors(mapped, names) => {
                let wrong = |e: &dyn std::fmt::Display| {
                    bad(&self.path, format_args!("'{}': {e}", names[i]))
                };
                let tensors = SafeTensors::deserialize(mapped).map_err(|e| wrong(&e))?;
                let tensor = tensors.tensor(&names[i]).map_err(|e| wrong(&e))?;
                let array = tensor::code(tensor.dtype())
                    .and_then(|(code, _)| npy::parse_elements(code, tensor.shape(), tensor.data()));
                let path = self.path.join(&names[i]);
                npy(path, array)
            }
        }
    }

    /// Writes all arrays: those that have a result so, the others as they are.
    pub fn write(&mut self, place: &Place, results: &[Option<Array>]) -> Result<(), CliError> {
        match place {
            Place::File(target) => {
                let staged = target.begin()?;
                let file = staged.file().map_err(|e| staged.error(e))?;
                match &mut self.kind {
                    Kind::Npz(archive, files) => {
                        write_npz(archive, files, results, file).map_err(|e| staged.error(e))?;
                    }
                    Kind::Safetensors(mapped, names) => {
                        write_safetensors(mapped, names, results, file)
                            .map_err(|e| staged.error(e))?;
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
                    for (file, result) in files.iter().zip(results) {
                        let (from, to) = (self.path.join(file), folder.join(file));
                        match result {
                            None => copy(&from, &to, path)?,
                            Some(array) => {
                                write_file(&to, array).map_err(|e| unwritten(path, e))?
                            }
                        }
                    }
                    Ok(())
                })
            }
        }
    }
}

/// Copies a file into the folder that becomes `output`; the error names the file or the folder,
/// whichever it was.
fn copy(from: &Path, to: &Path, output: &Path) -> Result<(), CliError> {
    let Err(error) = fs::copy(from, to) else {
        return Ok(());
    };
    let readable = File::open(from).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    Err(match readable {
        Ok(_) => unwritten(output, error),
        Err(error) => CliError::Input {
            path: from.to_owned(),
            source: NpyError::reading(error),
        },
    })
}

fn unwritten(path: &Path, error: io::Error) -> CliError {
    CliError::Output {
        path: path.to_owned(),
        reason: format!("cannot write it: {error}"),
    }
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

fn write_file(path: &Path, array: &Array) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write_npy(&mut out, array)?;
    out.into_inner()?.sync_all()
}

/// Members that stay are copied without being unpacked.
fn write_npz(
    archive: &mut NpzArchive<BufReader<File>>,
    files: &[String],
    results: &[Option<Array>],
    out: &File,
) -> io::Result<()> {
    let mut writer = NpzWriter::new(BufWriter::new(out));
    for (i, (file, result)) in files.iter().zip(results).enumerate() {
        let zip = archive.zip_archive();
        match result {
            None => {
                let member = zip.by_index_raw(i)?;
                writer.zip_writer().raw_copy_file(member)?;
            }
            Some(array) => {
                let method = zip.by_index_raw(i)?.compression();
                let options = zip::write::FileOptions::default()
                    .compression_method(method)
                    .large_file(true);
                writer.zip_writer().start_file(file, options)?;
                write_npy(writer.zip_writer(), array)?;
            }
        }
    }
    writer.zip_writer().finish()?.flush()
}

fn write_safetensors(
    mapped: &[u8],
    names: &[String],
    results: &[Option<Array>],
    mut out: &File,
) -> io::Result<()> {
    let wrong = |e: safetensors::SafeTensorError| io::Error::new(io::ErrorKind::InvalidData, e);
    let tensors = SafeTensors::deserialize(mapped).map_err(wrong)?;
    let (_, metadata) = SafeTensors::read_metadata(mapped).map_err(wrong)?;
    let bytes = results.iter().map(|result| match result {
        Some(array) => encode(array),
        None => Vec::new(),
    });
    let bytes: Vec<Vec<u8>> = bytes.collect();
    let mut views = Vec::new();
    for ((name, result), bytes) in names.iter().zip(results).zip(&bytes) {
        let tensor = tensors.tensor(name).map_err(wrong)?;
        let view = match result {
            None => tensor,
            Some(array) => {
                let dtype = tensor::dtype(array.dtype);
                TensorView::new(dtype, array.shape.clone(), bytes).map_err(wrong)?
            }
        };
        views.push((name, view));
    }
    let all = safetensors::serialize(views, metadata.metadata().clone()).map_err(wrong)?;
    io::copy(&mut Cursor::new(all), &mut out)?;
    Ok(())
}
