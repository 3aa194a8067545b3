//! What `run` and `grad` can compute: every function behind one interface of arrays in and out.

mod axis;
mod chain;
mod closures;
mod elementwise;
mod gate;
mod gumbel;
mod loss;
mod maxout;
mod options;
mod prelu;
mod rrelu;
mod softmax2d;
mod sparse;

pub use options::{Options, with_parameters};

use crate::error::CliError;
use crate::npy::{self, Array, Value};
use crate::terminal::{Number, Progress};
use serde::Serialize;
use std::path::Path;
use wgpu_activations::{Activation, AxisFunction, Backend, DType, Error, Gate, SparseFunction};

/// A function as `activations list` shows it.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The canonical name.
    pub name: &'static str,
    /// What sort of function it is.
    pub kind: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What `-p` takes.
    pub parameters: Vec<ParameterEntry>,
    /// One sentence.
    pub summary: &'static str,
    /// The value.
    pub formula: &'static str,
    /// The gradient.
    pub gradient: &'static str,
    /// Where it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
}

/// A parameter as `activations list` shows it.
#[derive(Debug, Serialize)]
pub struct ParameterEntry {
    /// The name.
    pub name: &'static str,
    /// What it is where it is not given.
    pub default: Default,
    /// What it may be.
    pub range: String,
}

/// A parameter's default.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Default {
    /// A number.
    Number(Number<f32>),
    /// A word, or a number that f32 has not.
    Word(&'static str),
}

impl std::fmt::Display for Default {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{}", n.0),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// A function that can be computed on files.
pub trait Operation {
    /// What the list says of it.
    fn entry(&self) -> Entry;
    /// The call that the options ask for, with so many input files.
    fn prepare(&self, options: &mut Options, inputs: usize) -> Result<Box<dyn Call>, CliError>;
}

/// An input file's array.
#[derive(Debug)]
pub enum Input {
    /// Real numbers.
    Floats(Array),
    /// Whole numbers, for what takes them.
    Integers(Array<i64>),
}

impl Input {
    /// An array of this shape of which nothing was read.
    pub fn unread(shape: &[usize]) -> Self {
        Self::Floats(Array {
            shape: shape.to_vec(),
            data: Vec::new(),
            float: DType::F32,
            notes: Vec::new(),
        })
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(array) => &array.shape,
            Self::Integers(array) => &array.shape,
        }
    }

    /// The values of an input that is read as real numbers.
    pub fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(array) => &array.data,
            // Invariant: only an input that a call takes as integers is read so.
            Self::Integers(_) => &[],
        }
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

/// An operation with its options, ready for its inputs.
pub trait Call {
    /// What the inputs are, in words; as many as there must be.
    fn inputs(&self) -> &[&'static str];

    /// Whether input `i` may have integers, which are then not converted.
    fn takes_integers(&self, _i: usize) -> bool {
        false
    }

    /// What the gradients are of, in words; the first of them may be written alone.
    fn gradients(&self) -> &[&'static str] {
        &["the input"]
    }

    /// The operation of one input file of this shape, and its gradient by the input, that goes through
    /// it in parts; none where it needs the whole array in memory.
    fn streamed(&self, _shape: &[usize]) -> Option<Box<dyn wgpu_activations::Operation>> {
        None
    }

    /// The shape of the function's output for inputs of these shapes.
    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError>;

    /// The function's output.
    fn run(self: Box<Self>, backend: &Backend, inputs: Vec<Input>) -> Result<Output, CliError>;

    /// The gradients, in the order of [`Call::gradients`]; at least the first `wanted`.
    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError>;
}

/// Every operation, in the order of the list.
pub fn all() -> Vec<Box<dyn Operation>> {
    let mut all: Vec<Box<dyn Operation>> = Vec::new();
    for &activation in Activation::ALL {
        all.push(Box::new(elementwise::Catalogue(activation)));
    }
    all.push(Box::new(prelu::Parametric));
    all.push(Box::new(rrelu::Randomised));
    for &gate in Gate::ALL {
        all.push(Box::new(gate::Gated(gate)));
    }
    for &function in AxisFunction::ALL {
        all.push(Box::new(axis::Family(function)));
    }
    all.push(Box::new(softmax2d::Channels));
    for &function in SparseFunction::ALL {
        all.push(Box::new(sparse::Sparse(function)));
    }
    all.push(Box::new(gumbel::Gumbel));
    all.push(Box::new(maxout::Maxout));
    for loss in loss::Loss::ALL {
        all.push(Box::new(loss));
    }
    all
}

/// The operation of a name or an alias, or a chain of them; case and `-` for `_` do not matter.
pub fn find(name: &str) -> Result<Box<dyn Operation>, CliError> {
    if let Some(operation) = named(name) {
        return Ok(operation);
    }
    if let Some(chain) = chain::Chained::find(name) {
        return Ok(Box::new(chain?));
    }
    let all = all();
    let entries = all.iter().map(|operation| operation.entry());
    let taken = entries.map(|entry| (entry.name, entry.aliases));
    Err(Error::unknown_function("function", name, taken).into())
}

fn named(name: &str) -> Option<Box<dyn Operation>> {
    // Some of a gate's names have an order of their own.
    if let Ok(gate) = name.parse() {
        return Some(Box::new(gate::Gated(gate)));
    }
    let wanted = spelled(name);
    all().into_iter().find(|operation| {
        let entry = operation.entry();
        entry.name == wanted || entry.aliases.contains(&&*wanted)
    })
}

/// A name as the list has it, but for aliases.
fn spelled(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The operation's name where one is called so; else the name itself as the list would have it.
pub fn canonical(name: &str) -> String {
    let operation = named(name).map(|operation| operation.entry().name.to_owned());
    operation.unwrap_or_else(|| spelled(name))
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
