//! The threads of a stream: one reads, some compute, and the caller's writes and reports. Buffers
//! go around between them. Where the system grants no threads, the caller's does it all.

use super::{Sink, Source, Stream, StreamError};
use crate::cpu::threads;
use crate::kernels::lock;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How far a stream is, in bytes that were read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What was moved.
    pub done: u64,
    /// What there is to move.
    pub total: u64,
}

impl Progress {
    /// Nothing of so many elements.
    pub(super) fn of(elements: u64) -> Self {
        Self {
            done: 0,
            total: elements.saturating_mul(size_of::<f32>() as u64),
        }
    }
}

/// Elements of an array: `count` strips of `width`, `step` apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub first: u64,
    pub width: usize,
    pub step: u64,
    pub count: usize,
}

impl Span {
    /// Elements side by side.
    pub fn of(first: u64, width: usize) -> Self {
        Self {
            first,
            width,
            step: 0,
            count: 1,
        }
    }

    fn len(&self) -> usize {
        self.width * self.count
    }

    /// The strips: the first element of each in the array, and where it lies in a buffer.
    fn strips(self) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        (0..if self.width == 0 { 0 } else { self.count }).map(move |i| {
            let first = self.first + i as u64 * self.step;
            (first, i * self.width..(i + 1) * self.width)
        })
    }

    fn read(self, source: &mut dyn Source, out: &mut [f32]) -> io::Result<()> {
        self.strips()
            .try_for_each(|(first, at)| source.read(first, &mut out[at]))
    }

    /// Makes a buffer as long as the elements.
    fn fit(self, buffer: &mut Vec<f32>) -> Result<(), StreamError> {
        let missing = self.len().saturating_sub(buffer.len());
        let room = buffer.try_reserve_exact(missing);
        room.map_err(|_| StreamError::Memory {
            bytes: self.len().saturating_mul(size_of::<f32>()),
        })?;
        buffer.resize(self.len(), 0.0);
        Ok(())
    }

    fn write(self, sink: &mut dyn Sink, data: &[f32]) -> io::Result<()> {
        self.strips()
            .try_for_each(|(first, at)| sink.write(first, &data[at]))
    }
}

/// What is computed at a time.
#[derive(Debug)]
pub(super) struct Chunk {
    pub inputs: Vec<Span>,
    pub output: Span,
}

/// What computes blocks, wherever they lie.
pub(super) type OfBlocks<'a> = dyn Fn(&[&[f32]], &mut [f32]) -> crate::Result<()> + Sync + 'a;

/// What computes a chunk.
pub(super) type Compute<'a> =
    dyn Fn(&Chunk, &[&[f32]], &mut [f32]) -> crate::Result<()> + Sync + 'a;

/// A chunk with its inputs.
struct Full {
    chunk: Chunk,
    inputs: Vec<Vec<f32>>,
}

impl Full {
    /// The chunk's results in that buffer, and the inputs' buffers.
    fn computed(
        self,
        mut output: Vec<f32>,
        compute: &Compute<'_>,
    ) -> Result<(Done, Vec<Vec<f32>>), StreamError> {
        let Self { chunk, inputs } = self;
        chunk.output.fit(&mut output)?;
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        compute(&chunk, &slices, &mut output)?;
        Ok((Done { chunk, output }, inputs))
    }
}

/// A chunk's results.
struct Done {
    chunk: Chunk,
    output: Vec<f32>,
}

/// Takes what comes next; none where nobody is left to send something.
fn next<T>(receiver: &Mutex<Receiver<T>>) -> Option<T> {
    lock(receiver).recv().ok()
}

/// The computing thread's ends of the channels.
struct Worker<'a> {
    full: &'a Mutex<Receiver<Result<Full, StreamError>>>,
    empty: Sender<Vec<Vec<f32>>>,
    vacant: &'a Mutex<Receiver<Vec<f32>>>,
    done: Sender<Result<Done, StreamError>>,
}

impl Worker<'_> {
    /// Works until there is no more, until something fails, or until the others are gone.
    fn run(self, compute: &Compute<'_>) {
        while let Some(full) = next(self.full) {
            let Some(output) = next(self.vacant) else {
                return;
            };
            let done = full.and_then(|full| full.computed(output, compute));
            let done = done.map(|(done, inputs)| {
                // Nobody reads any more where that fails.
                let _ = self.empty.send(inputs);
                done
            });
            // Who waits for buffers that went with an error must not wait for this thread.
            let failed = done.is_err();
            if self.done.send(done).is_err() || failed {
                return;
            }
        }
    }
}

impl Stream<'_> {
    /// Reads, computes and writes the chunks, `workers` of them at once, and counts on from
    /// `progress`.
    ///
    /// A thread that ends drops its ends of the channels, which ends the others: the first error
    /// arrives at the caller's thread in the place of a result.
    pub(super) fn run(
        &self,
        workers: usize,
        chunks: impl Iterator<Item = Chunk> + Send,
        sources: &mut [&mut dyn Source],
        sink: &mut dyn Sink,
        mut progress: Progress,
        compute: &Compute<'_>,
    ) -> Result<Progress, StreamError> {
        let (fill, full) = channel();
        let (empty_again, empty) = channel();
        let (vacant_again, vacant) = channel();
        let (finish, finished) = channel();
        for _ in 0..=workers {
            // The receivers are right here.
            let _ = empty_again.send(vec![Vec::new(); sources.len()]);
            let _ = vacant_again.send(Vec::new());
        }
        let (full, vacant) = (Mutex::new(full), Mutex::new(vacant));
        // Whichever thread reads holds it to the end.
        let reading = &Mutex::new((chunks, sources));
        std::thread::scope(|scope| {
            let mut computing = 0;
            for _ in 0..workers {
                let worker = Worker {
                    full: &full,
                    empty: empty_again.clone(),
                    vacant: &vacant,
                    done: finish.clone(),
                };
                let spawned = threads::scoped(scope, "activations compute", move || {
                    worker.run(compute);
                });
                computing += usize::from(spawned);
            }
            let reader = move || {
                let (chunks, sources) = &mut *lock(reading);
                for chunk in chunks {
                    let Ok(inputs) = empty.recv() else {
                        return;
                    };
                    let read = read(chunk, inputs, sources);
                    let failed = read.is_err();
                    if fill.send(read).is_err() || failed {
                        return;
                    }
                }
            };
            drop((empty_again, finish));
            let mut written = |Done { chunk, output }: &Done, progress: &mut Progress| {
                let result = chunk.output.write(sink, output);
                result.map_err(StreamError::Write)?;
                let inputs: usize = chunk.inputs.iter().map(Span::len).sum();
                let elements = inputs + chunk.output.len();
                progress.done += (elements * size_of::<f32>()) as u64;
                (self.report)(*progress);
                Ok::<(), StreamError>(())
            };
            // Without a thread that computes, nothing is read ahead.
            if computing == 0 || !threads::scoped(scope, "activations read", reader) {
                let (chunks, sources) = &mut *lock(reading);
                let (mut inputs, mut output) = (vec![Vec::new(); sources.len()], Vec::new());
                for chunk in chunks {
                    let full = read(chunk, inputs, sources)?;
                    let done;
                    (done, inputs) = full.computed(output, compute)?;
                    written(&done, &mut progress)?;
                    output = done.output;
                }
                return Ok(progress);
            }
            let result = (|| {
                for done in finished {
                    let done = done?;
                    written(&done, &mut progress)?;
                    // Nobody computes any more where that fails.
                    let _ = vacant_again.send(done.output);
                }
                Ok(progress)
            })();
            drop(vacant_again);
            result
        })
    }
}

fn read(
    chunk: Chunk,
    mut inputs: Vec<Vec<f32>>,
    sources: &mut [&mut dyn Source],
) -> Result<Full, StreamError> {
    let spans = chunk.inputs.iter().zip(sources).zip(&mut inputs);
    for (input, ((span, source), buffer)) in spans.enumerate() {
        span.fit(buffer)?;
        span.read(&mut **source, buffer)
            .map_err(|source| StreamError::Read { input, source })?;
    }
    Ok(Full { chunk, inputs })
}
