//! Arrays that are larger than memory: from a source to a sink in chunks, of which one is read,
//! one or two are computed and one is written at a time.

mod axis;
mod pipeline;
mod place;

pub use pipeline::Progress;
pub use place::{Raw, Sink, Source, StreamInput};

use crate::backend::{Backend, BackendKind};
use crate::error::Error;
use crate::operation::{AsOperation, Direction, Given, IntoOperation};
use pipeline::{Chunk, Compute, OfBlocks, Span};
use std::io;

/// Bytes of buffers where nothing else is said.
const MEMORY: usize = 128 << 20;
/// Elements that the CPU takes at a time: what its caches hold.
const CPU_CHUNK: usize = 1 << 18;
/// Elements that a GPU takes at a time: 16 MiB, a piece of the calls on host memory.
const GPU_CHUNK: usize = 4 << 20;

/// Why a stream ended early. What the sink has then is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// An input could not be read.
    #[error("input {input} cannot be read: {source}")]
    Read {
        /// Which one, from 0.
        input: usize,
        /// Why.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("the output cannot be written: {0}")]
    Write(#[source] io::Error),
    /// There is no room for the buffers.
    #[error(
        "{bytes} bytes of buffers are more than there is memory for; ask for less, where it is not a row \
         that has to fit"
    )]
    Memory {
        /// The bytes of the one that failed.
        bytes: usize,
    },
    /// The computation failed.
    #[error(transparent)]
    Compute(#[from] Error),
}

/// A function of arrays that need not fit into memory, nor into a GPU's.
///
/// Chunks go from [`Source`]s to a [`Sink`]. Threads read, compute and write at the same time, in
/// buffers that are made once, so that a call takes [`Stream::memory`] bytes and what the backend
/// needs for a chunk, whatever the arrays' size.
///
/// | Function | Goes through the arrays |
/// |---|---|
/// | element by element | once |
/// | along an axis, where rows fit into a chunk, or some columns of them | once |
/// | a plain function of the softmax family otherwise | twice: for each row's maximum and sums, in f64 on the CPU; then for its results |
/// | any other function otherwise | once, with as much memory as a row takes |
///
/// ```
/// use wgpu_activations::{Activation, AxisFunction, Backend, Stream};
/// let backend = Backend::cpu();
/// let stream = Stream::new(&backend).memory(1 << 20);
///
/// // Files as `Raw` would do as well.
/// let (x, mut y) = (vec![-1.0, 2.0], vec![0.0; 2]);
/// stream.apply(Activation::Relu, &mut &x[..], &mut &mut y[..])?;
/// assert_eq!(y, [0.0, 2.0]);
/// let softmin = AxisFunction::Softmin.along(-1);
/// stream.apply(softmin, (&mut &[7.0, 7.0][..], &[1, 2]), &mut &mut y[..])?;
/// assert_eq!(y, [0.5, 0.5]);
/// # Ok::<(), wgpu_activations::StreamError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    backend: &'a Backend,
    memory: usize,
    report: &'a dyn Fn(Progress),
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("backend", self.backend)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl<'a> Stream<'a> {
    /// Streams through a backend, with 128 MiB of buffers.
    pub fn new(backend: &'a Backend) -> Self {
        Self {
            backend,
            memory: MEMORY,
            report: &|_| {},
        }
    }

    /// The bytes of all buffers in host memory, about. What a backend keeps comes on top: on a
    /// GPU some pieces of 16 MiB, and what its driver needs.
    pub fn memory(self, bytes: usize) -> Self {
        Self {
            memory: bytes,
            ..self
        }
    }

    /// Calls `report` in the caller's thread whenever a chunk is done.
    pub fn on_progress(self, report: &'a dyn Fn(Progress)) -> Self {
        Self { report, ..self }
    }

    /// The value of an operation of one array: an activation, a function along an axis, a gate.
    ///
    /// # Errors
    /// [`StreamError::Read`], [`StreamError::Write`], and what
    /// [`Backend::apply_into`](crate::Backend::apply_into) answers; [`Error::Inputs`] where the operation
    /// needs other arrays, or is causal.
    pub fn apply<'b>(
        &self,
        operation: impl IntoOperation,
        x: impl Into<StreamInput<'b>>,
        y: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        self.rows_of(operation.held().as_operation(), x.into(), None, y)
    }

    /// The gradient of an operation by its array, for the upstream gradient dy, which has the shape of
    /// the operation's value.
    ///
    /// # Errors
    /// As [`Stream::apply`].
    pub fn grad<'b>(
        &self,
        operation: impl IntoOperation,
        x: impl Into<StreamInput<'b>>,
        dy: &mut dyn Source,
        dx: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        self.rows_of(operation.held().as_operation(), x.into(), Some(dy), dx)
    }

    /// The shape of an operation's value of an array of a shape, where it goes through in parts; none
    /// where it takes other arrays, or is causal.
    ///
    /// ```
    /// use wgpu_activations::{Gate, Stream};
    /// assert_eq!(Stream::output_shape(Gate::GLU.along(-1), &[2, 6])?, Some(vec![2, 3]));
    /// assert_eq!(Stream::output_shape(Gate::GLU, &[2, 6])?, None);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], and what else the operation refuses.
    pub fn output_shape(
        operation: impl IntoOperation,
        shape: &[usize],
    ) -> crate::Result<Option<Vec<usize>>> {
        let held = operation.held();
        let operation = held.as_operation();
        if operation.rows(shape)?.is_none() {
            return Ok(None);
        }
        let given = Given::of_shape(shape);
        let shapes = operation.infer(Direction::Forward, &given)?;
        Ok(shapes.first().map(|shape| shape.to_vec()))
    }

    /// Any computation that takes whole blocks: so many elements of each input give so many of
    /// the output, block after block. `compute` gets any number of blocks at a time, in slices
    /// of one length each, and may run in several threads at once.
    ///
    /// ```
    /// # use wgpu_activations::{Backend, Stream};
    /// let (x, mut sums) = (vec![1.0, 2.0, 3.0, 4.0], vec![0.0; 2]);
    /// let backend = Backend::cpu();
    /// Stream::new(&backend).blocks(&mut [(&mut &x[..], 2)], (&mut &mut sums[..], 1), &|x, y| {
    ///     for (pair, y) in x[0].chunks(2).zip(y) {
    ///         *y = pair.iter().sum();
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(sums, [3.0, 7.0]);
    /// # Ok::<(), wgpu_activations::StreamError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Stream::apply`], with what `compute` answers; [`Error::LengthMismatch`] where the
    /// arrays have different numbers of blocks.
    pub fn blocks(
        &self,
        inputs: &mut [(&mut dyn Source, usize)],
        output: (&mut dyn Sink, usize),
        compute: &OfBlocks<'_>,
    ) -> Result<(), StreamError> {
        self.by_blocks(inputs, output, &|_, x, y| compute(x, y))
    }

    /// [`Stream::blocks`], where a block's place in the arrays matters.
    fn by_blocks(
        &self,
        inputs: &mut [(&mut dyn Source, usize)],
        output: (&mut dyn Sink, usize),
        compute: &Compute<'_>,
    ) -> Result<(), StreamError> {
        let (sink, per_output) = output;
        // Where blocks of an array have no elements, the others say how many there are.
        let blocks_of = |elements: u64, per: usize| elements.checked_div(per as u64);
        let lengths: Vec<(u64, usize)> =
            inputs.iter().map(|(x, per)| (x.elements(), *per)).collect();
        let mut all = lengths
            .iter()
            .copied()
            .chain([(sink.elements(), per_output)]);
        let blocks = all.find_map(|(n, per)| blocks_of(n, per)).unwrap_or(0);
        for (i, &(got, per)) in lengths.iter().enumerate() {
            let what = if i == 0 { "the input" } else { "another input" };
            same_count(what, blocks * per as u64, got)?;
        }
        same_count("the output", blocks * per_output as u64, sink.elements())?;

        let per_inputs: Vec<usize> = lengths.iter().map(|&(_, per)| per).collect();
        let at_a_time = self.at_a_time(&per_inputs, per_output).max(1) as u64;
        let count = blocks.div_ceil(at_a_time);
        let chunks = (0..count).map(|i| {
            let first = i * at_a_time;
            let blocks = at_a_time.min(blocks - first);
            let span = |per: usize| Span::of(first * per as u64, blocks as usize * per);
            Chunk {
                inputs: per_inputs.iter().map(|&per| span(per)).collect(),
                output: span(per_output),
            }
        });
        let mut sources: Vec<&mut dyn Source> = Vec::new();
        for (source, _) in inputs.iter_mut() {
            sources.push(&mut **source);
        }
        let total = lengths.iter().map(|(n, _)| n).sum::<u64>() + sink.elements();
        self.run(
            self.workers(),
            chunks,
            &mut sources,
            sink,
            Progress::of(total),
            compute,
        )?;
        Ok(())
    }

    /// Chunks that are computed at a time.
    fn workers(&self) -> usize {
        // A GPU's calls wait for the device; a second one fills the gaps.
        match self.backend.kind() {
            BackendKind::Cpu => 1,
            _ => 2,
        }
    }

    /// Sets of buffers: one is filled or emptied beside those that are computed.
    fn depth(&self) -> usize {
        self.workers() + 1
    }

    /// Elements of buffers that a chunk may have, of all its arrays together.
    fn room(&self) -> usize {
        self.memory / (size_of::<f32>() * self.depth())
    }

    /// Blocks that are computed at a time; 0 where a single one is too large.
    fn at_a_time(&self, inputs: &[usize], output: usize) -> usize {
        let block = (inputs.iter().sum::<usize>() + output).max(1);
        let best = match self.backend.kind() {
            BackendKind::Cpu => CPU_CHUNK,
            _ => GPU_CHUNK,
        };
        let largest = inputs.iter().copied().chain([output]).max().unwrap_or(1);
        let wanted = (best / largest.max(1)).max(1);
        wanted.min(self.room() / block)
    }
}

/// An error where an array has another number of elements.
fn same_count(what: &'static str, expected: u64, got: u64) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    let length = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Err(Error::LengthMismatch {
        what,
        expected: length(expected),
        got: length(got),
    })
}
