//! Streams along an axis: whole blocks, some columns at a time, or two passes over rows that do
//! not fit.

use super::pipeline::{Chunk, Progress, Span};
use super::{CPU_CHUNK, Sink, Source, Stream, StreamError, same_count};
use crate::arrays::OfShape;
use crate::axis::AxisFunction;
use crate::backend::Backend;
use crate::cpu::{Coefficients, Columns, Passes};
use crate::shape::AxisShape;
use std::sync::{Mutex, PoisonError};

/// The fewest neighbouring elements that are worth a read of their own.
const STRIP: usize = 16 * 1024;
/// Bytes that the two passes keep for each column: a maximum and sums, then what becomes of them.
const COLUMN: usize = 64;

/// A function along an axis, forward or backward.
#[derive(Clone, Copy)]
struct Job {
    function: AxisFunction,
    backward: bool,
    shape: AxisShape,
}

impl Job {
    /// The elements of each input's block.
    fn inputs(&self) -> Vec<usize> {
        let block = self.shape.len * self.shape.inner;
        match (self.backward, self.function.reduces()) {
            (false, _) => vec![block],
            (true, false) => vec![block, block],
            (true, true) => vec![block, self.shape.inner],
        }
    }

    /// The elements of the output's block.
    fn output(&self) -> usize {
        if !self.backward && self.function.reduces() {
            self.shape.inner
        } else {
            self.shape.len * self.shape.inner
        }
    }

    /// How many arrays of the input's size go along.
    fn arrays(&self) -> usize {
        1 + usize::from(self.backward && !self.function.reduces())
            + usize::from(self.backward || !self.function.reduces())
    }

    /// Whole rows, of which `inner` lie side by side.
    fn compute(
        &self,
        backend: &Backend,
        inner: usize,
        inputs: &[&[f32]],
        out: &mut [f32],
    ) -> crate::Result<()> {
        let outer = inputs[0].len() / (self.shape.len * inner);
        let shape = [outer, self.shape.len, inner];
        let (function, x) = (self.function.along(1), inputs[0].of_shape(&shape));
        if self.backward {
            backend.grad_into(function, x, inputs[1], out)
        } else {
            backend.apply_into(function, x, out)
        }
    }
}

impl Stream<'_> {
    /// y = `function` of every row of x, an array of shape `shape`, along `axis`.
    ///
    /// # Errors
    /// As [`Stream::apply`]; [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange).
    pub fn apply_axis(
        &self,
        function: AxisFunction,
        x: &mut dyn Source,
        shape: &[usize],
        axis: isize,
        y: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let job = Job {
            function,
            backward: false,
            shape: AxisShape::new(shape, axis)?,
        };
        self.axis(job, &mut [x], y)
    }

    /// dx = the gradient of `function` by its input x; dy has the shape of the function's output.
    ///
    /// # Errors
    /// As [`Stream::apply_axis`].
    pub fn grad_axis(
        &self,
        function: AxisFunction,
        x: &mut dyn Source,
        dy: &mut dyn Source,
        shape: &[usize],
        axis: isize,
        dx: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let job = Job {
            function,
            backward: true,
            shape: AxisShape::new(shape, axis)?,
        };
        self.axis(job, &mut [x, dy], dx)
    }

    fn axis(
        &self,
        job: Job,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, len, inner } = job.shape;
        let elements = |block: usize| (outer * block) as u64;
        let per_inputs = job.inputs();
        for (i, (source, &per)) in sources.iter().zip(&per_inputs).enumerate() {
            let what = ["the input", "the upstream gradient"][i];
            same_count(what, elements(per), source.elements())?;
        }
        same_count("the output", elements(job.output()), sink.elements())?;
        if job.shape.elements() == 0 {
            // Only a reduction has results here: the sum of nothing.
            let nothing = vec![f32::NEG_INFINITY; STRIP];
            let total = sink.elements();
            for first in (0..total).step_by(STRIP) {
                let count = (STRIP as u64).min(total - first) as usize;
                sink.write(first, &nothing[..count])
                    .map_err(StreamError::Write)?;
            }
            return Ok(());
        }
        if self.at_a_time(&per_inputs, job.output()) > 0 {
            let mut inputs: Vec<(&mut dyn Source, usize)> = Vec::new();
            for (source, &per) in sources.iter_mut().zip(&per_inputs) {
                inputs.push((&mut **source, per));
            }
            let backend = self.backend;
            return self.blocks(&mut inputs, (sink, job.output()), &|inputs, out| {
                job.compute(backend, inner, inputs, out)
            });
        }
        let columns = self.room() / (len * job.arrays()).max(1);
        if columns >= STRIP {
            self.tiles(job, columns, sources, sink)
        } else {
            self.two_passes(job, sources, sink)
        }
    }

    /// Blocks that do not fit, by whole columns.
    fn tiles(
        &self,
        job: Job,
        columns: usize,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, len, inner } = job.shape;
        let (per_inputs, per_output) = (job.inputs(), job.output());
        let backend = self.backend;
        let mut progress = self.progress(job, 1);
        for o in 0..outer {
            for c in (0..inner).step_by(columns) {
                let width = columns.min(inner - c);
                let span = |per: usize| Span {
                    first: (o * per + c) as u64,
                    width,
                    step: inner as u64,
                    count: if per == inner { 1 } else { len },
                };
                let chunk = Chunk {
                    inputs: per_inputs.iter().map(|&per| span(per)).collect(),
                    output: span(per_output),
                };
                let compute =
                    |inputs: &[&[f32]], out: &mut [f32]| job.compute(backend, width, inputs, out);
                progress = self.run(1, [chunk].into_iter(), sources, sink, progress, &compute)?;
            }
        }
        Ok(())
    }

    /// The first pass finds what the second needs, for as many columns as there is room for.
    fn two_passes(
        &self,
        job: Job,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, inner, .. } = job.shape;
        let columns = (self.memory / 4 / COLUMN).max(STRIP).min(inner);
        let passes = Passes::new(job.function, job.backward);
        let mut progress = self.progress(job, 2);
        for o in 0..outer {
            for c in (0..inner).step_by(columns) {
                let columns = c..inner.min(c + columns);
                progress = self.rows(job, passes, o, columns, sources, sink, progress)?;
            }
        }
        Ok(())
    }

    /// Both passes over some rows of a block.
    #[allow(clippy::too_many_arguments, reason = "all of them are the loop's")]
    fn rows(
        &self,
        job: Job,
        passes: Passes,
        o: usize,
        columns: std::ops::Range<usize>,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
        progress: Progress,
    ) -> Result<Progress, StreamError> {
        let AxisShape { len, inner, .. } = job.shape;
        let (width, reduces) = (columns.len(), job.function.reduces());
        let row = (o * inner + columns.start) as u64;
        let with_dy = job.backward && !reduces;
        let room = (self.room() / job.arrays()).min(CPU_CHUNK);
        let steps = (room / width).max(1);
        let chunks = |results: bool| {
            (0..len).step_by(steps).map(move |step| {
                let count = steps.min(len - step);
                let first = ((o * len + step) * inner + columns.start) as u64;
                let span = if width == inner {
                    Span::of(first, count * width)
                } else {
                    Span {
                        first,
                        width,
                        step: inner as u64,
                        count,
                    }
                };
                Chunk {
                    inputs: vec![span; 1 + usize::from(with_dy)],
                    output: if results { span } else { Span::of(0, 0) },
                }
            })
        };
        let read = &mut sources[..1 + usize::from(with_dy)];
        let seen = Mutex::new(Columns::new(width));
        let absorb = |inputs: &[&[f32]], _: &mut [f32]| {
            let dy = inputs.get(1).copied().unwrap_or(&[]);
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            passes.absorb(inputs[0], dy, &mut seen);
            Ok(())
        };
        let progress = self.run(1, chunks(false), read, sink, progress, &absorb)?;
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);

        let mut upstream = vec![0.0; if job.backward && reduces { width } else { 0 }];
        if !upstream.is_empty() {
            sources[1]
                .read(row, &mut upstream)
                .map_err(|source| StreamError::Read { input: 1, source })?;
        }
        let found: Coefficients = passes.finish(&seen, &upstream);
        if reduces && !job.backward {
            sink.write(row, &found.results())
                .map_err(StreamError::Write)?;
            return Ok(progress);
        }
        let read = &mut sources[..1 + usize::from(with_dy)];
        let map = |inputs: &[&[f32]], out: &mut [f32]| {
            let dy = inputs.get(1).copied().unwrap_or(&[]);
            passes.map(inputs[0], dy, &found, out);
            Ok(())
        };
        self.run(1, chunks(true), read, sink, progress, &map)
    }

    /// All that moves where each input is read `times` times.
    fn progress(&self, job: Job, times: u64) -> Progress {
        let read: usize = job.inputs().iter().sum();
        let outer = job.shape.outer as u64;
        Progress::of(outer * (read as u64 * times + job.output() as u64))
    }
}
