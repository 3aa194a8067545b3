//! Tensors of `.safetensors` files, which are named `FILE.safetensors:TENSOR`, or by the file alone
//! where it has one.

use crate::file::{NpyError, open_file};
use crate::terminal;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use wgpu_activations::DType;

/// The longest header that is read: what the format's own library allows.
const MAX_HEADER: u64 = 100_000_000;
/// The name of what is written where none is given.
pub const NAME: &str = "output";
/// What has this name in a header is no tensor.
pub const RESERVED: &str = "__metadata__";
/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// The file and the tensor that a path names; none where it is no `.safetensors` file's.
pub fn split(path: &Path) -> Option<(PathBuf, Option<&str>)> {
    const END: &str = ".safetensors";
    let text = path.to_str()?;
    let lower = text.to_ascii_lowercase();
    if lower.ends_with(END) {
        return Some((path.to_owned(), None));
    }
    let at = lower.find(&format!("{END}:"))? + END.len();
    let name = Some(&text[at + 1..]).filter(|name| !name.is_empty());
    Some((PathBuf::from(&text[..at]), name))
}

/// A tensor in a file.
pub struct Tensor {
    /// The dtype by numpy's code.
    pub code: &'static str,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The place of its first byte.
    pub start: u64,
    /// That behind its last one.
    pub end: u64,
}

/// A file whose header was read, once.
#[derive(Debug)]
pub struct Archive {
    file: File,
    /// Which file it was, and in what state.
    seen: fs::Metadata,
    /// The place of the data.
    start: u64,
    header: Metadata,
    /// In the order of the data.
    names: Vec<String>,
}

fn damaged(what: impl std::fmt::Display) -> NpyError {
    NpyError::Safetensors(what.to_string())
}

impl Archive {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<Self, NpyError> {
        let (mut file, size) = open_file(path)?;
        let mut length = [0; 8];
        let short = |_| damaged("it is shorter than a header");
        file.read_exact(&mut length).map_err(short)?;
        let length = u64::from_le_bytes(length);
        let start = 8 + length.min(MAX_HEADER);
        if length > MAX_HEADER || start > size {
            return Err(damaged(format_args!(
                "its header claims to be {length} bytes long"
            )));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(damaged)?;
        Ok(Self {
            seen: file.metadata()?,
            file,
            start,
            names: header.offset_keys(),
            header,
        })
    }

    /// Refuses a file that is shorter or longer than its header says.
    pub fn whole(self) -> Result<Self, NpyError> {
        let (size, claimed) = (self.seen.len(), self.start + self.header.data_len() as u64);
        if size == claimed {
            return Ok(self);
        }
        Err(damaged(format_args!(
            "it has {size} bytes where its header claims {claimed}; it is truncated or mislabelled"
        )))
    }

    /// The tensors' names, in the order of their data.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a file is this one, as it was when it was opened.
    pub fn is(&self, file: &fs::Metadata) -> bool {
        let same = |of: fn(&fs::Metadata) -> u64| of(&self.seen) == of(file);
        #[cfg(unix)]
        let place = same(std::os::unix::fs::MetadataExt::ino);
        #[cfg(not(unix))]
        let place = true;
        place && same(fs::Metadata::len) && self.seen.modified().ok() == file.modified().ok()
    }

    /// The tensor of this name, or the only one.
    pub fn find(&self, name: Option<&str>) -> Result<Tensor, NpyError> {
        let name = match (name, &self.names[..]) {
            (Some(name), _) if self.header.info(name).is_some() => name,
            (None, [only]) => only,
            (name, names) => {
                let mut names = names.to_vec();
                names.sort();
                return Err(NpyError::NoTensor {
                    name: name.map_or("no name is given".to_owned(), |name| {
                        format!("it has no '{}'", terminal::shown(name))
                    }),
                    there: candidates(&names, name),
                });
            }
        };
        let Some(info) = self.header.info(name) else {
            return Err(damaged(format_args!("'{name}' is not described")));
        };
        let (from, to) = info.data_offsets;
        let tensor = Tensor {
            code: code(info.dtype)?,
            shape: info.shape.clone(),
            start: self.start + from as u64,
            end: self.start.saturating_add(to as u64),
        };
        // That shapes, types and places fit each other, the header's reader has seen to.
        if tensor.end > self.seen.len() {
            return Err(damaged(format_args!(
                "'{name}' of shape {:?} does not lie where the header says; it is truncated or mislabelled",
                info.shape
            )));
        }
        Ok(tensor)
    }

    /// The file from byte `start` on.
    pub fn reader(&self, start: u64) -> io::Result<BufReader<&File>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::with_capacity(BUFFER, file))
    }

    /// The file from byte `start` on.
    pub fn into_reader(mut self, start: u64) -> io::Result<BufReader<File>> {
        self.file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::with_capacity(BUFFER, self.file))
    }
}

/// Some of the names that there are: those that a name is a part of, where there are such.
fn candidates(names: &[String], name: Option<&str>) -> String {
    const SHOWN: usize = 8;
    let wanted = name.unwrap_or("").to_lowercase();
    let like = |name: &&&str| name.to_lowercase().contains(&wanted);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let like: Vec<&str> = all.iter().filter(like).copied().collect();
    terminal::some_of(if like.is_empty() { &all } else { &like }, SHOWN)
}

/// What is written: its name, its dimensions and what it is stored as.
pub type New<'a> = (&'a str, &'a [usize], DType);

/// Where everything goes in a file that is written.
pub struct Layout {
    /// What precedes the data.
    header: Vec<u8>,
    /// The place of each new tensor's first byte.
    starts: Vec<u64>,
    /// What is taken over from the old file: the places there and here, and how many bytes.
    kept: Vec<[u64; 3]>,
    /// All bytes.
    bytes: u64,
}

impl Layout {
    /// Of new tensors, and of those in `old` that have other names.
    pub fn new(old: Option<&Archive>, new: &[New<'_>]) -> Result<Self, NpyError> {
        enum From {
            Old(u64),
            New(usize),
        }
        let mut tensors = Vec::new();
        for (i, &(name, shape, dtype)) in new.iter().enumerate() {
            let bytes = shape.iter().product::<usize>() * dtype.bytes();
            tensors.push((name, self::dtype(dtype), shape, bytes, From::New(i)));
        }
        let replaced: HashSet<&str> = new.iter().map(|&(name, ..)| name).collect();
        let kept = old.into_iter().flat_map(|old| {
            let names = old.names.iter().map(String::as_str);
            let kept = names.filter(|name| !replaced.contains(name));
            kept.filter_map(|name| Some((old.start, name, old.header.info(name)?)))
        });
        for (start, name, info) in kept {
            let (from, to) = info.data_offsets;
            let place = From::Old(start + from as u64);
            tensors.push((name, info.dtype, &info.shape[..], to - from, place));
        }
        // As the format's own library does: then each lies at a multiple of its element.
        tensors.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));

        let mut end = 0usize;
        let mut described = Vec::new();
        let mut places = Vec::new();
        for (name, dtype, shape, bytes, from) in tensors {
            let start = end;
            let too_large = || damaged("its tensors are larger than any file");
            end = start.checked_add(bytes).ok_or_else(too_large)?;
            let info = TensorInfo {
                dtype,
                shape: shape.to_vec(),
                data_offsets: (start, end),
            };
            described.push((name.to_owned(), info));
            places.push((from, start as u64, bytes as u64));
        }
        let said = old.and_then(|old| old.header.metadata().clone());
        let header = Metadata::new(said, described).map_err(damaged)?;
        let mut text = serde_json::to_vec(&header).map_err(damaged)?;
        // The data begin at a multiple of 8.
        text.resize(text.len().next_multiple_of(8), b' ');
        if text.len() as u64 > MAX_HEADER {
            return Err(damaged(format_args!(
                "its header would be longer than the {MAX_HEADER} bytes that are read"
            )));
        }
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text);

        let first = header.len() as u64;
        let mut layout = Self {
            bytes: first + end as u64,
            header,
            starts: vec![0; new.len()],
            kept: Vec::new(),
        };
        for (from, start, bytes) in places {
            match from {
                From::New(i) => layout.starts[i] = first + start,
                From::Old(place) => layout.kept.push([place, first + start, bytes]),
            }
        }
        Ok(layout)
    }

    /// The place of each new tensor's first byte.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes everything but the new tensors' elements.
    pub fn write(&self, old: Option<&Archive>, mut out: &File) -> io::Result<()> {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&self.header)?;
        let Some(old) = old else { return Ok(()) };
        for &[from, to, bytes] in &self.kept {
            let mut file = &old.file;
            file.seek(SeekFrom::Start(from))?;
            out.seek(SeekFrom::Start(to))?;
            if io::copy(&mut file.take(bytes), &mut out)? < bytes {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file that is there was shortened meanwhile",
                ));
            }
        }
        Ok(())
    }
}

/// A dtype by numpy's code.
fn code(dtype: Dtype) -> Result<&'static str, NpyError> {
    Ok(match dtype {
        Dtype::F16 => "<f2",
        Dtype::BF16 => "|V2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::I32 => "<i4",
        Dtype::I64 => "<i8",
        Dtype::U8 => "|u1",
        Dtype::U16 => "<u2",
        Dtype::U32 => "<u4",
        Dtype::U64 => "<u8",
        Dtype::BOOL => "|b1",
        other => return Err(NpyError::Dtype(other.to_string())),
    })
}

/// A dtype of results.
fn dtype(of: DType) -> Dtype {
    match of {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_tensors() {
        let of = |path: &'static str| split(Path::new(path));
        assert_eq!(of("a.npy"), None);
        assert_eq!(of("a.safetensors"), Some(("a.safetensors".into(), None)));
        assert_eq!(
            of("d/a.safetensors:layer.0:w"),
            Some(("d/a.safetensors".into(), Some("layer.0:w")))
        );
        assert_eq!(
            of("A.SafeTensors:B"),
            Some(("A.SafeTensors".into(), Some("B")))
        );
        assert_eq!(of("a.safetensors:"), Some(("a.safetensors".into(), None)));
        assert_eq!(
            of("É.SafeTensors:B"),
            Some(("É.SafeTensors".into(), Some("B")))
        );
    }

    /// The format's own library reads what is written, and finds the kept tensors' bytes.
    #[test]
    fn layouts_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut file = File::create_new(&path).unwrap();
        let new: [New<'_>; 3] = [
            ("o", &[3, 1], DType::F16),
            ("a \"b\"", &[2], DType::Bf16),
            ("x", &[], DType::F32),
        ];
        let layout = Layout::new(None, &new).unwrap();
        assert_eq!(layout.header.len() % 8, 0);
        layout.write(None, &file).unwrap();
        for (place, byte, bytes) in [(0, 1, 6), (1, 2, 4), (2, 3, 4)] {
            file.seek(SeekFrom::Start(layout.starts[place])).unwrap();
            file.write_all(&vec![byte; bytes]).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, layout.bytes);
        let of = |bytes: &[u8], name: &str| {
            let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let tensor = file.tensor(name).unwrap();
            let data = tensor.data().to_vec();
            (tensor.dtype(), tensor.shape().to_vec(), data)
        };
        assert_eq!(of(&bytes, "o"), (Dtype::F16, vec![3, 1], vec![1; 6]));
        assert_eq!(of(&bytes, "a \"b\""), (Dtype::BF16, vec![2], vec![2; 4]));
        assert_eq!(of(&bytes, "x"), (Dtype::F32, vec![], vec![3; 4]));

        let old = Archive::open(&path).unwrap().whole().unwrap();
        assert!(old.is(&fs::metadata(&path).unwrap()));
        let layout = Layout::new(Some(&old), &[("o", &[5], DType::F32)]).unwrap();
        let merged = File::create_new(folder.path().join("b")).unwrap();
        merged.set_len(layout.bytes()).unwrap();
        layout.write(Some(&old), &merged).unwrap();
        let bytes = fs::read(folder.path().join("b")).unwrap();
        assert_eq!(of(&bytes, "o"), (Dtype::F32, vec![5], vec![0; 20]));
        assert_eq!(of(&bytes, "a \"b\""), (Dtype::BF16, vec![2], vec![2; 4]));
        assert_eq!(of(&bytes, "x"), (Dtype::F32, vec![], vec![3; 4]));

        // What is cut while it is read is an error, as is what was cut before.
        let cut = fs::OpenOptions::new().write(true).open(&path).unwrap();
        cut.set_len(old.start + 1).unwrap();
        assert!(layout.write(Some(&old), &merged).is_err());
        assert!(!old.is(&fs::metadata(&path).unwrap()));
        assert!(Archive::open(&path).unwrap().whole().is_err());
    }
}
