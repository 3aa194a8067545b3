//! Arrays of input files by what they are made of, and arrays for output files.

use crate::error::CliError;
use crate::npy::{self, Array, Value};
use crate::terminal::Progress;
use std::path::Path;
use wgpu_activations::{self as library, DType, InputInfo, InputKind, OfShape};

/// An input file's array.
#[derive(Debug)]
pub struct Input {
    /// What it is to the operation.
    pub info: InputInfo,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Floats(Array),
    Classes(Array<i64>),
    Mask(Array<u8>),
    Lengths(Array<u32>),
}

impl Input {
    /// Reads what an operation takes.
    pub fn read(info: InputInfo, path: &Path, progress: &Progress) -> Result<Self, CliError> {
        let values = match info.kind {
            InputKind::Numbers => Values::Floats(read(path, progress)?),
            InputKind::Targets => {
                let integers = npy::has_integers(path).map_err(|source| CliError::Input {
                    path: path.to_owned(),
                    source,
                })?;
                match integers {
                    true => Values::Classes(read(path, progress)?),
                    false => Values::Floats(read(path, progress)?),
                }
            }
            InputKind::Mask => Values::Mask(read(path, progress)?),
            InputKind::Lengths => {
                let read: Array<i64> = read(path, progress)?;
                let data: Result<Vec<u32>, _> =
                    read.data.iter().map(|&n| u32::try_from(n)).collect();
                let data = data.map_err(|_| {
                    CliError::Usage(format!(
                        "{}: a length is a whole number, 0 or more and below 2^32",
                        path.display()
                    ))
                })?;
                Values::Lengths(Array {
                    data,
                    shape: read.shape,
                    float: read.float,
                    notes: Vec::new(),
                })
            }
        };
        Ok(Self { info, values })
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match &self.values {
            Values::Floats(array) => &array.shape,
            Values::Classes(array) => &array.shape,
            Values::Mask(array) => &array.shape,
            Values::Lengths(array) => &array.shape,
        }
    }

    /// The values of an input of real numbers; none of others.
    pub fn floats(&self) -> &[f32] {
        match &self.values {
            Values::Floats(array) => &array.data,
            _ => &[],
        }
    }

    /// What results are stored as where nothing else is asked for.
    pub fn dtype(&self) -> DType {
        match &self.values {
            Values::Floats(array) => array.float,
            _ => DType::F32,
        }
    }

    /// As the library takes it.
    pub fn array(&self) -> library::Array<'_> {
        let shape = self.shape();
        let array: library::Array<'_> = match &self.values {
            Values::Floats(array) => array.data.of_shape(shape).into(),
            Values::Classes(array) => array.data.of_shape(shape).into(),
            Values::Mask(array) => array.data.of_shape(shape).into(),
            Values::Lengths(array) => array.data.of_shape(shape).into(),
        };
        array.named(self.info.name)
    }
}

/// An output file's array.
#[derive(Debug)]
pub struct Output {
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The elements, the last axis fastest.
    pub data: Vec<f32>,
}

/// Reads a file, and tells what its conversion cost.
pub fn read<T: Value>(path: &Path, progress: &Progress) -> Result<Array<T>, CliError> {
    progress.doing(format_args!("reading {}", path.display()));
    let array = npy::read(path).map_err(|source| CliError::Input {
        path: path.to_owned(),
        source,
    })?;
    for note in &array.notes {
        progress.line("note", format_args!("{}: {note}", path.display()));
    }
    Ok(array)
}
