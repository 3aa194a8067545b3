//! Streams of rows: whole blocks, some columns at a time, or two passes over rows that do not fit.

use super::pipeline::{Chunk, Progress, Span};
use super::{CPU_CHUNK, Sink, Source, Stream, StreamError, StreamInput, same_count};
use crate::arrays::OfShape;
use crate::axis::AxisFunction;
use crate::backend::Backend;
use crate::cpu::{Coefficients, Columns, Passes};
use crate::error::Error;
use crate::operation::{Operation, Rows};
use crate::shape::AxisShape;
use std::sync::{Mutex, PoisonError};

/// The fewest neighbouring elements that are worth a read of their own.
const STRIP: usize = 16 * 1024;
/// Bytes that the two passes keep for each column: a maximum and sums, then what becomes of them.
const COLUMN: usize = 64;

/// An operation of rows, forward or backward.
#[derive(Clone, Copy)]
struct Job<'a> {
    operation: &'a dyn Operation,
    backward: bool,
    rows: Rows,
}

impl Job<'_> {
    /// The elements of each input's block.
    fn inputs(&self) -> Vec<usize> {
        let [block, results] = self.rows.block();
        if self.backward {
            vec![block, results]
        } else {
            vec![block]
        }
    }

    /// The elements of the output's block.
    fn output(&self) -> usize {
        let [block, results] = self.rows.block();
        if self.backward { block } else { results }
    }

    /// How many arrays of the input's size go along.
    fn arrays(&self) -> usize {
        1 + usize::from(self.backward && !self.rows.reduces)
            + usize::from(self.backward || !self.rows.reduces)
    }

    /// Whole rows, of which `inner` lie side by side; the first element has this number in the whole.
    fn compute(
        &self,
        backend: &Backend,
        (first, inner): (u64, usize),
        inputs: &[&[f32]],
        out: &mut [f32],
    ) -> crate::Result<()> {
        let shape = self.rows.part(inner, inputs[0].len());
        let (operation, x) = (self.operation.of_rows(first), inputs[0].of_shape(&shape));
        match inputs.get(1) {
            Some(&dy) => backend.grad_into(&*operation, x, dy, out),
            None => backend.apply_into(&*operation, x, out),
        }
    }
}

impl Stream<'_> {
    /// An operation of an array's rows.
    pub(super) fn rows_of(
        &self,
        operation: &dyn Operation,
        x: StreamInput<'_>,
        dy: Option<&mut dyn Source>,
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let elements = x.source.elements();
        let flat = [usize::try_from(elements).unwrap_or(usize::MAX)];
        let shape = x.shape.unwrap_or(&flat);
        let rows = operation.rows(shape)?.ok_or_else(|| Error::Inputs {
            function: operation.name(),
            detail: "is not computed in parts: it takes more arrays than one, or is causal"
                .to_owned(),
        })?;
        let job = Job {
            operation,
            backward: dy.is_some(),
            rows,
        };
        match dy {
            Some(dy) => self.axis(job, &mut [&mut *x.source, &mut *dy], sink),
            None => self.axis(job, &mut [&mut *x.source], sink),
        }
    }

    fn axis(
        &self,
        job: Job<'_>,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, len, inner } = job.rows.shape;
        let elements = |block: usize| (outer * block) as u64;
        let per_inputs = job.inputs();
        for (i, (source, &per)) in sources.iter().zip(&per_inputs).enumerate() {
            let what = ["the input", "the upstream gradient"][i];
            same_count(what, elements(per), source.elements())?;
        }
        same_count("the output", elements(job.output()), sink.elements())?;
        if job.rows.shape.elements() == 0 {
            // Only a reduction has results here, of rows of nothing: the same for all.
            let total = sink.elements();
            if total == 0 {
                return Ok(());
            }
            let row = [1, 0, 1];
            let operation = job.operation.of_rows(0);
            let of_row = self
                .backend
                .apply(&*operation, [0.0f32; 0].of_shape(&row))?;
            let nothing = vec![of_row.first().copied().unwrap_or(0.0); STRIP];
            for first in (0..total).step_by(STRIP) {
                let count = (STRIP as u64).min(total - first) as usize;
                sink.write(first, &nothing[..count])
                    .map_err(StreamError::Write)?;
            }
            return Ok(());
        }
        let columns = self.room() / (len * job.arrays()).max(1);
        let in_tiles = inner > 1 && !job.rows.numbered;
        let function = job.rows.in_two_passes;
        // What has no other way takes the memory that a block or a column needs.
        let fits = self.at_a_time(&per_inputs, job.output()) > 0;
        if fits || !in_tiles && function.is_none() {
            let mut inputs: Vec<(&mut dyn Source, usize)> = Vec::new();
            for (source, &per) in sources.iter_mut().zip(&per_inputs) {
                inputs.push((&mut **source, per));
            }
            let backend = self.backend;
            let output = (sink, job.output());
            return self.by_blocks(&mut inputs, output, &|chunk, inputs, out| {
                job.compute(backend, (chunk.inputs[0].first, inner), inputs, out)
            });
        }
        match function {
            Some(function) if columns < STRIP => self.two_passes(job, function, sources, sink),
            _ => self.tiles(job, columns.max(1), sources, sink),
        }
    }

    /// Blocks that do not fit, by whole columns.
    fn tiles(
        &self,
        job: Job<'_>,
        columns: usize,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, len, inner } = job.rows.shape;
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
                let compute = |_: &Chunk, inputs: &[&[f32]], out: &mut [f32]| {
                    job.compute(backend, (0, width), inputs, out)
                };
                progress = self.run(1, [chunk].into_iter(), sources, sink, progress, &compute)?;
            }
        }
        Ok(())
    }

    /// The first pass finds what the second needs, for as many columns as there is room for.
    fn two_passes(
        &self,
        job: Job<'_>,
        function: AxisFunction,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
    ) -> Result<(), StreamError> {
        let AxisShape { outer, inner, .. } = job.rows.shape;
        let columns = (self.memory / 4 / COLUMN).max(STRIP).min(inner);
        let passes = Passes::new(function, job.backward);
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
        job: Job<'_>,
        passes: Passes,
        o: usize,
        columns: std::ops::Range<usize>,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
        progress: Progress,
    ) -> Result<Progress, StreamError> {
        let AxisShape { len, inner, .. } = job.rows.shape;
        let (width, reduces) = (columns.len(), job.rows.reduces);
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
        let absorb = |_: &Chunk, inputs: &[&[f32]], _: &mut [f32]| {
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
        let map = |_: &Chunk, inputs: &[&[f32]], out: &mut [f32]| {
            let dy = inputs.get(1).copied().unwrap_or(&[]);
            passes.map(inputs[0], dy, &found, out);
            Ok(())
        };
        self.run(1, chunks(true), read, sink, progress, &map)
    }

    /// All that moves where each input is read `times` times.
    fn progress(&self, job: Job<'_>, times: u64) -> Progress {
        let read: usize = job.inputs().iter().sum();
        let outer = job.rows.shape.outer as u64;
        Progress::of(outer * (read as u64 * times + job.output() as u64))
    }
}
