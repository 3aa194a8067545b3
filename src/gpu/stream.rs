//! Between host memory and the device: uploads and downloads through a bounded number of staging
//! buffers, and whole operations on host memory, piece by piece, of which one is computed while
//! its neighbours travel.

use super::pool::{Pool, Purpose};
use super::{Gpu, Inner, Wait};
use crate::axis::{AxisFunction, AxisShape};
use crate::catalogue::Elementwise;
use crate::cpu::same_length;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, from_output};
use crate::plan::{self, Traits};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Elements that travel at a time: 16 MiB.
const PIECE: usize = 4 << 20;
/// Pieces under way at a time.
const DEPTH: usize = 2;

/// Writes `x` to the start of `buffer`.
pub(super) async fn upload(
    gpu: &Arc<Inner>,
    x: &[f32],
    buffer: &wgpu::Buffer,
    wait: Wait,
) -> Result<()> {
    let mut under_way = VecDeque::new();
    for (i, piece) in x.chunks(PIECE).enumerate() {
        let offset = (i * PIECE) as u64 * 4;
        gpu.watched(0, || {
            gpu.queue
                .write_buffer(buffer, offset, bytemuck::cast_slice(piece));
        })?;
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
    Ok(())
}

/// Reads the start of `buffer` into `out`.
pub(super) async fn download(
    gpu: &Arc<Inner>,
    buffer: &wgpu::Buffer,
    out: &mut [f32],
    wait: Wait,
) -> Result<()> {
    let mut under_way: VecDeque<(Readback, &mut [f32])> = VecDeque::new();
    let mut offset = 0;
    for piece in out.chunks_mut(PIECE) {
        let mut encoder = encoder(gpu);
        let readback = Readback::record(gpu, &mut encoder, buffer, offset, piece.len())?;
        offset += piece.len() as u64 * 4;
        under_way.push_back((readback.submit(gpu, encoder)?, piece));
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

fn encoder(gpu: &Inner) -> wgpu::CommandEncoder {
    gpu.device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("activations"),
        })
}

/// A piece of results on its way to the host.
struct Readback {
    staging: wgpu::Buffer,
    bytes: u64,
    state: State,
}

enum State {
    Recorded,
    Submitted(
        wgpu::SubmissionIndex,
        futures_intrusive::channel::shared::OneshotReceiver<
            std::result::Result<(), wgpu::BufferAsyncError>,
        >,
    ),
}

impl Readback {
    fn record(
        gpu: &Inner,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        offset: u64,
        elements: usize,
    ) -> Result<Self> {
        let bytes = elements as u64 * 4;
        let staging = gpu.pool.take(gpu, Purpose::Readback, bytes)?;
        encoder.copy_buffer_to_buffer(source, offset, &staging, 0, bytes);
        Ok(Self {
            staging,
            bytes,
            state: State::Recorded,
        })
    }

    fn submit(self, gpu: &Inner, encoder: wgpu::CommandEncoder) -> Result<Self> {
        let index = gpu.submit(|| Some(encoder.finish()))?;
        let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
        self.staging
            .slice(..self.bytes)
            .map_async(wgpu::MapMode::Read, move |mapped| {
                // The receiver may be gone: its future was dropped.
                let _ = sender.send(mapped);
            });
        Ok(Self {
            state: State::Submitted(index, receiver),
            ..self
        })
    }

    async fn finish(self, gpu: &Arc<Inner>, out: &mut [f32], wait: Wait) -> Result<()> {
        let State::Submitted(index, receiver) = self.state else {
            return Err(Error::NotSubmitted);
        };
        gpu.finished(index, wait).await?;
        let failed = |what: String| Error::Device { message: what };
        match receiver.receive().await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                gpu.healthy()?;
                return Err(failed(format!("results cannot be mapped: {error}")));
            }
            None => return Err(failed("results were never mapped".to_owned())),
        }
        {
            let view = self.staging.slice(..self.bytes).get_mapped_range();
            let view = view.map_err(|error| failed(format!("results cannot be read: {error}")))?;
            bytemuck::cast_slice_mut(out).copy_from_slice(&view);
        }
        self.staging.unmap();
        gpu.pool.give(Purpose::Readback, self.staging);
        Ok(())
    }
}

/// Buffers of one piece, which go back to the pool when its results are there.
struct Slots<'a> {
    pool: &'a Pool,
    buffers: Vec<wgpu::Buffer>,
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        for buffer in self.buffers.drain(..) {
            self.pool.give(Purpose::Storage, buffer);
        }
    }
}

/// A piece of an operation on host memory: what is read of each input, and what is written.
struct Piece {
    inputs: Vec<Range<usize>>,
    output: Range<usize>,
}

/// Runs an operation piece by piece. `record` gets the device buffers of the inputs and, where
/// `separate`, one for the result; else the result replaces the last input.
async fn run(
    gpu: &Arc<Inner>,
    pieces: impl Iterator<Item = Piece>,
    inputs: &[&[f32]],
    output: &mut [f32],
    separate: bool,
    wait: Wait,
    mut record: impl FnMut(
        &Kernels,
        &mut wgpu::ComputePass<'_>,
        &[wgpu::BufferSlice<'_>],
        &Piece,
    ) -> Result<()>,
) -> Result<()> {
    gpu.healthy()?;
    let mut under_way: VecDeque<(Readback, Range<usize>, Slots<'_>)> = VecDeque::new();
    for piece in pieces {
        let mut lengths: Vec<usize> = piece.inputs.iter().map(Range::len).collect();
        if separate {
            lengths.push(piece.output.len());
        }
        let mut slots = Slots {
            pool: &gpu.pool,
            buffers: Vec::with_capacity(lengths.len()),
        };
        for &length in &lengths {
            slots
                .buffers
                .push(gpu.pool.take(gpu, Purpose::Storage, length as u64 * 4)?);
        }
        for ((input, range), buffer) in inputs.iter().zip(&piece.inputs).zip(&slots.buffers) {
            let bytes = bytemuck::cast_slice(&input[range.clone()]);
            gpu.watched(0, || gpu.queue.write_buffer(buffer, 0, bytes))?;
        }
        let mut encoder = encoder(gpu);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let slices: Vec<wgpu::BufferSlice<'_>> = slots
                .buffers
                .iter()
                .zip(&lengths)
                .map(|(buffer, &length)| buffer.slice(..length as u64 * 4))
                .collect();
            record(&gpu.kernels, &mut pass, &slices, &piece)?;
        }
        // The last buffer holds the result either way.
        let result = &slots.buffers[slots.buffers.len() - 1];
        let readback = Readback::record(gpu, &mut encoder, result, 0, piece.output.len())?;
        under_way.push_back((readback.submit(gpu, encoder)?, piece.output, slots));
        if under_way.len() >= DEPTH
            && let Some((readback, range, slots)) = under_way.pop_front()
        {
            readback.finish(gpu, &mut output[range], wait).await?;
            drop(slots);
        }
    }
    for (readback, range, slots) in under_way {
        readback.finish(gpu, &mut output[range], wait).await?;
        drop(slots);
    }
    Ok(())
}

/// Ranges of `total` elements in steps of at most `step`.
fn ranges(total: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total.div_ceil(step)).map(move |i| i * step..total.min((i + 1) * step))
}

impl Gpu {
    /// y = f(x) in host memory.
    pub(crate) async fn apply_host(
        &self,
        f: Elementwise,
        x: &[f32],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the output", x.len(), y.len())?;
        let pieces = ranges(x.len(), PIECE).map(|range| Piece {
            inputs: vec![range.clone()],
            output: range,
        });
        run(
            &self.inner,
            pieces,
            &[x],
            y,
            false,
            wait.0,
            |kernels, pass, slices, _| kernels.apply_in_place(pass, f, slices[0]),
        )
        .await
    }

    /// x = f(x) in host memory, a piece at a time: each is read back before it is replaced.
    pub(crate) async fn apply_host_in_place(
        &self,
        f: Elementwise,
        x: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let mut staged = Vec::new();
        for piece in x.chunks_mut(PIECE) {
            staged.clear();
            staged.extend_from_slice(piece);
            self.apply_host(f, &staged, piece, wait).await?;
        }
        Ok(())
    }

    /// dx = dy · f'(x) in host memory.
    pub(crate) async fn grad_host(
        &self,
        f: Elementwise,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let pieces = ranges(x.len(), PIECE).map(|range| Piece {
            inputs: vec![range.clone(), range.clone()],
            output: range,
        });
        run(
            &self.inner,
            pieces,
            &[x, dy],
            dx,
            false,
            wait.0,
            |kernels, pass, slices, _| kernels.grad_in_place(pass, f, slices[0], slices[1]),
        )
        .await
    }

    /// An operation along an axis, in host memory.
    pub(crate) async fn axis_host(
        &self,
        operation: AxisOperation<'_>,
        shape: &AxisShape,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        operation.check(shape, output.len())?;
        if output.is_empty() {
            return Ok(());
        }
        if shape.len == 0 {
            output.fill(f32::NEG_INFINITY);
            return Ok(());
        }
        let traits = Traits::of(&self.inner.device);
        if plan::axis(&AxisShape { outer: 1, ..*shape }, &traits).is_none() {
            return self.axis_by_columns(operation, shape, output, wait).await;
        }
        let block = shape.len * shape.inner;
        let outer = (PIECE / block).max(1);
        let function = operation.function();
        let inputs = operation.inputs();
        let pieces = ranges(shape.outer, outer).map(|blocks| {
            let elements = blocks.start * block..blocks.end * block;
            let rows = blocks.start * shape.inner..blocks.end * shape.inner;
            let reduced = |is: bool| if is { rows.clone() } else { elements.clone() };
            let forward = matches!(operation, AxisOperation::Forward { .. });
            Piece {
                inputs: (0..inputs.len())
                    .map(|i| reduced(i == 1 && function.reduces()))
                    .collect(),
                output: reduced(forward && function.reduces()),
            }
        });
        let separate = function.reduces() || matches!(operation, AxisOperation::FromOutput { .. });
        run(
            &self.inner,
            pieces,
            &inputs,
            output,
            separate,
            wait.0,
            |kernels, pass, slices, piece| {
                let shape = AxisShape {
                    outer: piece.inputs[0].len() / block,
                    ..*shape
                };
                match operation {
                    AxisOperation::Forward { .. } if separate => {
                        kernels.apply_axis(pass, function, &shape, slices[0], slices[1])
                    }
                    AxisOperation::Forward { .. } => {
                        kernels.apply_axis_in_place(pass, function, &shape, slices[0])
                    }
                    AxisOperation::Backward { .. } if separate => {
                        kernels.grad_axis(pass, function, &shape, slices[0], slices[1], slices[2])
                    }
                    AxisOperation::Backward { .. } => {
                        kernels.grad_axis_in_place(pass, function, &shape, slices[0], slices[1])
                    }
                    AxisOperation::FromOutput { .. } => kernels.grad_axis_from_output(
                        pass, function, &shape, slices[0], slices[1], slices[2],
                    ),
                }
            },
        )
        .await
    }

    /// Rows whose elements lie further apart than the device binds: columns are gathered into
    /// tiles on the host, which are arrays of their own.
    async fn axis_by_columns(
        &self,
        operation: AxisOperation<'_>,
        shape: &AxisShape,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let traits = Traits::of(&self.inner.device);
        // Less than a piece, and than a binding from an aligned offset.
        let bindable = (traits.max_binding.saturating_sub(traits.alignment) / 4) as usize;
        let width = (PIECE.min(bindable) / shape.len).max(1);
        if shape.outer == 1 && width >= shape.inner {
            // A tile that is no smaller would be cut for ever.
            return Err(Error::AxisStepTooLarge {
                bytes: shape.inner as u64 * 4,
                limit: traits.max_binding,
            });
        }
        let reduces = operation.function().reduces();
        let forward = matches!(operation, AxisOperation::Forward { .. });
        for outer in 0..shape.outer {
            for columns in ranges(shape.inner, width) {
                let tile = AxisShape {
                    outer: 1,
                    len: shape.len,
                    inner: columns.len(),
                };
                let at = |steps: usize, i: usize| {
                    let start = (outer * steps + i) * shape.inner;
                    start + columns.start..start + columns.end
                };
                let gathered: Vec<Vec<f32>> = operation
                    .inputs()
                    .iter()
                    .enumerate()
                    .map(|(k, input)| {
                        let steps = if k == 1 && reduces { 1 } else { shape.len };
                        (0..steps)
                            .flat_map(|i| input[at(steps, i)].iter().copied())
                            .collect()
                    })
                    .collect();
                let steps = if forward && reduces { 1 } else { shape.len };
                let mut result = vec![0.0; steps * columns.len()];
                let part = operation.on(&gathered);
                Box::pin(self.axis_host(part, &tile, &mut result, wait)).await?;
                for (i, row) in result.chunks(columns.len()).enumerate() {
                    output[at(steps, i)].copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}

/// How a call on host memory waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostWait(Wait);

impl HostWait {
    pub(crate) const BLOCK: Self = Self(Wait::Block);
    pub(crate) const ASYNC: Self = Self(Wait::Async);
}

/// An operation along an axis with its inputs in host memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AxisOperation<'a> {
    Forward {
        function: AxisFunction,
        x: &'a [f32],
    },
    Backward {
        function: AxisFunction,
        x: &'a [f32],
        dy: &'a [f32],
    },
    FromOutput {
        function: AxisFunction,
        y: &'a [f32],
        dy: &'a [f32],
    },
}

impl<'a> AxisOperation<'a> {
    fn function(&self) -> AxisFunction {
        match *self {
            Self::Forward { function, .. }
            | Self::Backward { function, .. }
            | Self::FromOutput { function, .. } => function,
        }
    }

    fn inputs(&self) -> Vec<&'a [f32]> {
        match *self {
            Self::Forward { x, .. } => vec![x],
            Self::Backward { x, dy, .. } => vec![x, dy],
            Self::FromOutput { y, dy, .. } => vec![y, dy],
        }
    }

    /// The same operation on other arrays.
    fn on<'b>(&self, inputs: &'b [Vec<f32>]) -> AxisOperation<'b> {
        let function = self.function();
        match self {
            Self::Forward { .. } => AxisOperation::Forward {
                function,
                x: &inputs[0],
            },
            Self::Backward { .. } => AxisOperation::Backward {
                function,
                x: &inputs[0],
                dy: &inputs[1],
            },
            Self::FromOutput { .. } => AxisOperation::FromOutput {
                function,
                y: &inputs[0],
                dy: &inputs[1],
            },
        }
    }

    fn check(&self, shape: &AxisShape, output: usize) -> Result<()> {
        let upstream = shape.output_elements(self.function());
        match *self {
            Self::Forward { x, .. } => {
                same_length("the input", shape.elements(), x.len())?;
                same_length("the output", upstream, output)
            }
            Self::Backward { x, dy, .. } => {
                same_length("the input", shape.elements(), x.len())?;
                same_length("the upstream gradient", upstream, dy.len())?;
                same_length("the gradient", shape.elements(), output)
            }
            Self::FromOutput { function, y, dy } => {
                from_output(function)?;
                same_length("the output", shape.elements(), y.len())?;
                same_length("the upstream gradient", upstream, dy.len())?;
                same_length("the gradient", shape.elements(), output)
            }
        }
    }
}
