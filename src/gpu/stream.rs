//! Between host memory and the device: uploads and downloads through a bounded number of staging
//! buffers, and operations on host memory, piece by piece, of which one is computed while its
//! neighbours travel.

use super::asked::Staged;
use super::pool::{Pool, Purpose};
use super::{Inner, Wait, now};
use crate::arrays::DataMut;
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::operation::{Piece, Words};
use crate::self_check::Answer;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

pub(super) use crate::plan::HOST_PIECE as PIECE;
/// Pieces under way at a time.
const DEPTH: usize = 2;

/// The bytes of that many elements on the device, in whole words.
pub(super) fn padded(elements: usize, element: usize) -> u64 {
    (elements as u64 * element as u64).next_multiple_of(4)
}

/// Writes bytes to a place of a buffer; half a word at the end with zeros behind it.
pub(super) fn write(gpu: &Inner, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
    let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
    gpu.watched(0, || {
        if !words.is_empty() {
            gpu.queue.write_buffer(buffer, offset, words);
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            let at = offset + words.len() as u64;
            gpu.queue.write_buffer(buffer, at, &last);
        }
    })
}

/// What a mapping ends in.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;
type MappedReceiver = futures_intrusive::channel::shared::OneshotReceiver<Mapped>;

/// Asks for a buffer's first bytes in host memory; a poll brings them.
fn map(buffer: &wgpu::Buffer, bytes: u64, mode: wgpu::MapMode) -> MappedReceiver {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    buffer.slice(..bytes).map_async(mode, move |mapped| {
        // The receiver may be gone: its future was dropped.
        let _ = sender.send(mapped);
    });
    receiver
}

/// Writes bytes to the start of a buffer that the host can map, without a copy in between.
async fn write_mapped(
    gpu: &Arc<Inner>,
    buffer: &wgpu::Buffer,
    bytes: &[u8],
    wait: Wait,
) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let size = bytes.len().next_multiple_of(4);
    let mapped = map(buffer, size as u64, wgpu::MapMode::Write);
    // Nothing uses the buffer, so that this brings it.
    let _ = gpu.device.poll(wgpu::PollType::Poll);
    let ready = match now(mapped.receive()) {
        Some(ready) => ready,
        None => {
            gpu.idle(wait).await?;
            mapped.receive().await
        }
    };
    match ready {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(gpu.failed(format!("inputs cannot be mapped: {error}"))),
        None => return Err(gpu.failed("inputs were never mapped".to_owned())),
    }
    {
        let view = buffer.slice(..size as u64).get_mapped_range_mut();
        let mut view =
            view.map_err(|error| gpu.failed(format!("inputs cannot be written: {error}")))?;
        view.slice(..bytes.len()).copy_from_slice(bytes);
        view.slice(bytes.len()..)
            .copy_from_slice(&[0; 3][..size - bytes.len()]);
    }
    buffer.unmap();
    Ok(())
}

/// Writes `x` to the start of `buffer`, of whole words at least.
pub(super) async fn upload<T: bytemuck::Pod>(
    gpu: &Arc<Inner>,
    x: &[T],
    buffer: &wgpu::Buffer,
    wait: Wait,
) -> Result<()> {
    let mut under_way = VecDeque::new();
    let mut offset = 0;
    for piece in x.chunks(PIECE) {
        for part in piece.chunks(wait.at_a_time(PIECE)) {
            if offset > 0 {
                wait.pause().await;
            }
            write(gpu, buffer, offset, bytemuck::cast_slice(part))?;
            offset += size_of_val(part) as u64;
        }
        // What fits one piece goes with the next submission; more is sent off piece by piece,
        // because wgpu stages what it has not sent.
        if x.len() > PIECE {
            under_way.push_back(gpu.submit(|| None)?);
        }
        if under_way.len() > DEPTH
            && let Some(oldest) = under_way.pop_front()
        {
            gpu.finished(oldest, wait).await?;
        }
    }
    gpu.settled(under_way).await
}

/// Reads the start of `buffer` into `out`.
pub(super) async fn download<T: Element>(
    gpu: &Arc<Inner>,
    buffer: &wgpu::Buffer,
    out: &mut [T],
    wait: Wait,
) -> Result<()> {
    let mut under_way: VecDeque<(Readback, &mut [T])> = VecDeque::new();
    let mut offset = 0;
    for piece in out.chunks_mut(PIECE) {
        let mut encoder = encoder(gpu);
        let bytes = padded(piece.len(), size_of::<T>());
        let readback = Readback::record(gpu, &mut encoder, buffer, offset, bytes)?;
        offset += bytes;
        let submission = gpu.submit(|| Some(encoder.finish()))?;
        under_way.push_back((readback.submitted(submission), piece));
        if under_way.len() > DEPTH
            && let Some((readback, piece)) = under_way.pop_front()
        {
            readback.finish(gpu, piece, wait).await?;
        }
    }
    for (readback, piece) in under_way {
        readback.finish(gpu, piece, wait).await?;
    }
    Ok(())
}

pub(super) fn encoder(gpu: &Inner) -> wgpu::CommandEncoder {
    gpu.device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("activations"),
        })
}

/// A piece of results on its way to the host.
struct Readback {
    staging: wgpu::Buffer,
    /// Whether `staging` is the pool's, and not the buffer of the results itself.
    is_copy: bool,
    bytes: u64,
    state: State,
}

enum State {
    Recorded,
    Submitted(super::Submission, MappedReceiver),
}

impl Readback {
    fn record(
        gpu: &Inner,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Result<Self> {
        let staging = gpu.pool.take(gpu, Purpose::Readback, bytes)?;
        encoder.copy_buffer_to_buffer(source, offset, &staging, 0, bytes);
        Ok(Self {
            staging,
            is_copy: true,
            bytes,
            state: State::Recorded,
        })
    }

    /// Results that are read where they are.
    fn in_place(buffer: &wgpu::Buffer, bytes: u64) -> Self {
        Self {
            staging: buffer.clone(),
            is_copy: false,
            bytes,
            state: State::Recorded,
        }
    }

    /// Asks for the results of a submission.
    fn submitted(self, index: super::Submission) -> Self {
        let receiver = map(&self.staging, self.bytes, wgpu::MapMode::Read);
        Self {
            state: State::Submitted(index, receiver),
            ..self
        }
    }

    async fn finish<T: Element>(self, gpu: &Arc<Inner>, out: &mut [T], wait: Wait) -> Result<()> {
        let State::Submitted(index, receiver) = self.state else {
            return Err(Error::NotSubmitted);
        };
        gpu.finished(index, wait).await?;
        match receiver.receive().await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                return Err(gpu.failed(format!("results cannot be mapped: {error}")));
            }
            None => return Err(gpu.failed("results were never mapped".to_owned())),
        }
        let mut offset = 0;
        for part in out.chunks_mut(wait.at_a_time(PIECE)) {
            if offset > 0 {
                wait.pause().await;
            }
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(part);
            let end = offset + bytes.len().next_multiple_of(4) as u64;
            let view = self.staging.slice(offset..end).get_mapped_range();
            let view =
                view.map_err(|error| gpu.failed(format!("results cannot be read: {error}")))?;
            bytes.copy_from_slice(&view[..bytes.len()]);
            offset = end;
        }
        self.staging.unmap();
        if self.is_copy {
            gpu.pool.give(Purpose::Readback, self.staging);
        }
        Ok(())
    }
}

/// A buffer of the pool for a while.
#[cfg(feature = "cache")]
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    buffer: wgpu::Buffer,
}

#[cfg(feature = "cache")]
impl Lent<'_> {
    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

#[cfg(feature = "cache")]
impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pool.give(Purpose::Storage, self.buffer.clone());
    }
}

/// A buffer of at least so many bytes, with any contents.
#[cfg(feature = "cache")]
pub(super) fn storage(gpu: &Inner, bytes: u64) -> Result<Lent<'_>> {
    Ok(Lent {
        pool: &gpu.pool,
        buffer: gpu.pool.take(gpu, Purpose::Storage, bytes)?,
    })
}

/// Buffers of one piece, which go back to the pool when its results are there.
struct Slots<'a> {
    pool: &'a Pool,
    purpose: Purpose,
    /// Whether nothing is under way any more that maps them.
    done: bool,
    buffers: Vec<wgpu::Buffer>,
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        for buffer in self.buffers.drain(..) {
            if self.done || self.purpose == Purpose::Storage {
                self.pool.give(self.purpose, buffer);
            } else {
                self.pool.discard(self.purpose, &buffer);
            }
        }
    }
}

/// Where results go, and how the device writes them.
pub(super) struct Target<'a> {
    data: DataMut<'a>,
    dtype: DType,
}

impl<'a> Target<'a> {
    /// An array that the device writes as it is, or as f32.
    pub(super) fn new(data: DataMut<'a>, wide: bool) -> Self {
        let dtype = if wide { DType::F32 } else { data.dtype() };
        Self { data, dtype }
    }

    /// The type of the numbers on the device.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Writes the nearest numbers to a range.
    pub(super) fn write(&mut self, range: Range<usize>, x: &[f32]) {
        self.data.part(range).write(x);
    }
}

/// An operation on host memory.
pub(super) struct Job<'a, 'b> {
    pub inputs: &'a [Words<'a>],
    pub outputs: &'a mut [Target<'b>],
    /// Whether the only output is in the buffer of the last input; else outputs have their own.
    pub in_last_input: bool,
}

/// Runs an operation piece by piece, one of which is computed while its neighbours travel.
/// `record` gets the device's ranges of the inputs and, in buffers of their own, of the outputs;
/// a range of no elements is one of a single element that nobody reads.
pub(super) async fn run(
    gpu: &Arc<Inner>,
    job: Job<'_, '_>,
    pieces: impl Iterator<Item = Piece>,
    wait: Wait,
    mut record: impl FnMut(
        &Kernels,
        &mut wgpu::ComputePass<'_>,
        &[wgpu::BufferSlice<'_>],
        &Piece,
    ) -> Result<()>,
) -> Result<()> {
    gpu.healthy()?;
    let Job {
        inputs,
        outputs,
        in_last_input,
    } = job;
    let kernels = gpu.asking();
    let shared = gpu.shares_memory();
    let purpose = if shared {
        Purpose::Shared
    } else {
        Purpose::Storage
    };
    let mut under_way: VecDeque<UnderWay<'_>> = VecDeque::new();
    for piece in pieces {
        let own = if in_last_input {
            &[][..]
        } else {
            &piece.outputs[..]
        };
        let read = piece.inputs.iter().zip(inputs.iter().map(Words::element));
        let bytes = outputs.iter().map(|target| target.dtype.bytes());
        let written = own.iter().zip(bytes);
        let lengths: Vec<u64> = read
            .chain(written)
            .map(|(range, element)| padded(range.len().max(1), element))
            .collect();
        let mut slots = Slots {
            pool: &gpu.pool,
            purpose,
            done: false,
            buffers: Vec::with_capacity(lengths.len()),
        };
        for &bytes in &lengths {
            slots.buffers.push(gpu.pool.take(gpu, purpose, bytes)?);
        }
        for ((input, range), buffer) in inputs.iter().zip(&piece.inputs).zip(&slots.buffers) {
            let bytes = input.bytes_of(range.clone());
            if shared {
                write_mapped(gpu, buffer, bytes.bytes(), wait).await?;
            } else {
                write(gpu, buffer, 0, bytes.bytes())?;
            }
        }
        let mut encoder = encoder(gpu);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let slices: Vec<wgpu::BufferSlice<'_>> = slots
                .buffers
                .iter()
                .zip(&lengths)
                .map(|(buffer, &bytes)| buffer.slice(..bytes))
                .collect();
            gpu.recorded(|| record(&kernels, &mut pass, &slices, &piece))?;
        }
        let staged = Staged::copied(gpu, kernels.take_asking(), &mut encoder)?;
        // The last buffers hold the results either way.
        let first = slots.buffers.len() - piece.outputs.len();
        let mut readbacks = Vec::with_capacity(piece.outputs.len());
        let written = piece.outputs.iter().zip(outputs.iter());
        for ((range, target), buffer) in written.zip(&slots.buffers[first..]) {
            if !range.is_empty() {
                let bytes = padded(range.len(), target.dtype.bytes());
                readbacks.push(if shared {
                    Readback::in_place(buffer, bytes)
                } else {
                    Readback::record(gpu, &mut encoder, buffer, 0, bytes)?
                });
            }
        }
        let submission = gpu.submit(|| Some(encoder.finish()))?;
        staged.submitted(&submission);
        under_way.push_back(UnderWay {
            answers: kernels.take_relied(),
            submission: submission.clone(),
            readbacks: readbacks
                .into_iter()
                .map(|readback| readback.submitted(submission.clone()))
                .collect(),
            outputs: piece.outputs.into_vec(),
            slots,
        });
        if under_way.len() >= DEPTH
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.finish(gpu, outputs, wait).await?;
        }
    }
    for piece in under_way {
        piece.finish(gpu, outputs, wait).await?;
    }
    Ok(())
}

/// A piece whose results travel.
struct UnderWay<'a> {
    submission: super::Submission,
    /// What its results stand and fall with.
    answers: Vec<Arc<Answer>>,
    readbacks: Vec<Readback>,
    outputs: Vec<Range<usize>>,
    slots: Slots<'a>,
}

impl UnderWay<'_> {
    async fn finish(
        mut self,
        gpu: &Arc<Inner>,
        outputs: &mut [Target<'_>],
        wait: Wait,
    ) -> Result<()> {
        // Nothing is written of what turns out to be wrong.
        gpu.answered(&self.answers, self.submission, wait).await?;
        let filled = self.outputs.into_iter().zip(outputs);
        let filled = filled.filter(|(range, _)| !range.is_empty());
        for (readback, (range, target)) in self.readbacks.into_iter().zip(filled) {
            match (target.dtype, target.data.part(range)) {
                (_, DataMut::F32(out)) => readback.finish(gpu, out, wait).await?,
                (DType::F16, DataMut::F16(out)) => readback.finish(gpu, out, wait).await?,
                (DType::Bf16, DataMut::Bf16(out)) => readback.finish(gpu, out, wait).await?,
                (_, mut out) => {
                    let mut wide = vec![0.0f32; out.len()];
                    readback.finish(gpu, &mut wide, wait).await?;
                    out.write(&wide);
                }
            }
        }
        self.slots.done = true;
        Ok(())
    }
}

/// Ranges of `total` elements in steps of at most `step`.
pub(super) fn ranges(total: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total.div_ceil(step)).map(move |i| i * step..total.min((i + 1) * step))
}

/// How a call on host memory waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostWait(pub(super) Wait);

impl HostWait {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) const BLOCK: Self = Self(Wait::Block);
    pub(crate) const ELSEWHERE: Self = Self(Wait::ELSEWHERE);
}
