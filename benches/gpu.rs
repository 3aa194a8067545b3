//! Kernels over buffers that stay on the GPU: many dispatches a submission, so that the kernel
//! is what is timed. The plain copies beside them are `copy`, the kernel of `identity`, and
//! `copy_buffer`, wgpu's `copy_buffer_to_buffer`.
//!
//! `cargo bench --bench gpu` runs a subset of about two minutes; with a filter (a regular
//! expression over the names below), all functions and shapes are picked from:
//!
//! ```text
//! forward/FUNCTION/ROWSxCOLUMNS    backward/FUNCTION/ROWSxCOLUMNS
//! size/FUNCTION/ELEMENTS           the cost of an array by its size
//! cargo bench --bench gpu -- 'forward/(copy|gelu)/'
//! ```

mod common;

use common::{Cases, SQUARE, bytes, name, numbers};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use std::time::{Duration, Instant};
use wgpu_activations::{Activation, AxisFunction, Batch, Gpu, Result, Tensor};

/// Dispatches of a submission: enough that its own cost is small beside theirs.
const BATCH: u64 = 64;

/// Times what `record` records once, by submissions of up to [`BATCH`] of it.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    gpu: &Gpu,
    record: impl Fn(&mut Batch) -> Result<()>,
) {
    let run = |times: u64| -> Result<Duration> {
        let start = Instant::now();
        let mut left = times;
        while left > 0 {
            let mut batch = gpu.batch();
            let now = left.min(BATCH);
            for _ in 0..now {
                record(&mut batch)?;
            }
            batch.submit()?;
            left -= now;
        }
        gpu.wait()?;
        Ok(start.elapsed())
    };
    group.bench_function(id, |b| {
        b.iter_custom(|times| run(times).expect("the GPU computes"));
    });
}

/// Times wgpu's own copy from one buffer to another.
fn bench_copy(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    gpu: &Gpu,
    x: &Tensor,
    y: &Tensor,
) {
    let size = (x.len() * size_of::<f32>()) as u64;
    group.bench_function(id, |b| {
        b.iter_custom(|times| {
            let start = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for _ in 0..times {
                encoder.copy_buffer_to_buffer(x.buffer(), 0, y.buffer(), 0, size);
            }
            gpu.queue().submit([encoder.finish()]);
            gpu.wait().expect("the GPU copies");
            start.elapsed()
        });
    });
}

/// Input, upstream gradient and output in GPU memory.
struct Arrays {
    x: Tensor,
    dy: Tensor,
    y: Tensor,
}

impl Arrays {
    fn new(gpu: &Gpu, shape: &[usize]) -> Result<Self> {
        let x = numbers(shape.iter().product());
        Ok(Self {
            x: gpu.upload(&x, shape)?,
            dy: gpu.upload(&x, shape)?,
            y: gpu.empty(shape)?,
        })
    }
}

fn copies(group: &mut BenchmarkGroup<'_, WallTime>, gpu: &Gpu, arrays: &Arrays, case: &str) {
    let Arrays { x, y, .. } = arrays;
    bench_copy(group, BenchmarkId::new("copy_buffer", case), gpu, x, y);
    bench(group, BenchmarkId::new("copy", case), gpu, |batch| {
        batch.apply_into(Activation::Identity, x, y)
    });
}

fn elementwise(c: &mut Criterion, cases: &Cases, gpu: &Gpu) -> Result<()> {
    let arrays = Arrays::new(gpu, &SQUARE)?;
    let Arrays { x, dy, y } = &arrays;
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Bytes(bytes(x.len(), 2)));
    copies(&mut group, gpu, &arrays, &name(SQUARE));
    for &f in &cases.activations {
        let id = BenchmarkId::new(f.info().name, name(SQUARE));
        bench(&mut group, id, gpu, |batch| batch.apply_into(f, x, y));
    }
    group.finish();
    let mut group = c.benchmark_group("backward");
    group.throughput(Throughput::Bytes(bytes(x.len(), 3)));
    for &f in &cases.activations {
        let id = BenchmarkId::new(f.info().name, name(SQUARE));
        bench(&mut group, id, gpu, |batch| batch.grad_into(f, x, dy, y));
    }
    Ok(())
}

fn along_an_axis(c: &mut Criterion, cases: &Cases, gpu: &Gpu) -> Result<()> {
    for &shape in &cases.shapes {
        let Arrays { x, dy, y } = &Arrays::new(gpu, &shape)?;
        let of_rows = &Arrays::new(gpu, &shape[..1])?;
        let upstream = |f: AxisFunction| if f.reduces() { &of_rows.dy } else { dy };
        let output = |f: AxisFunction| if f.reduces() { &of_rows.y } else { y };
        let mut group = c.benchmark_group("forward");
        for &f in &cases.axis_functions {
            let id = BenchmarkId::new(f.name(), name(shape));
            group.throughput(Throughput::Bytes(bytes(x.len() + output(f).len(), 1)));
            bench(&mut group, id, gpu, |batch| {
                batch.apply_into(f.along(-1), x, output(f))
            });
        }
        group.finish();
        let mut group = c.benchmark_group("backward");
        for &f in &cases.axis_functions {
            let id = BenchmarkId::new(f.name(), name(shape));
            group.throughput(Throughput::Bytes(bytes(2 * x.len() + upstream(f).len(), 1)));
            bench(&mut group, id, gpu, |batch| {
                batch.grad_into(f.along(-1), x, upstream(f), y)
            });
        }
    }
    Ok(())
}

/// From what is all overhead to what is all bytes.
fn sizes(c: &mut Criterion, cases: &Cases, gpu: &Gpu) -> Result<()> {
    let mut group = c.benchmark_group("size");
    for &elements in &cases.sizes {
        let arrays = Arrays::new(gpu, &[elements])?;
        let Arrays { x, y, .. } = &arrays;
        group.throughput(Throughput::Bytes(bytes(elements, 2)));
        copies(&mut group, gpu, &arrays, &elements.to_string());
        for f in [Activation::Relu, Activation::Gelu] {
            let id = BenchmarkId::new(f.info().name, elements);
            bench(&mut group, id, gpu, |batch| batch.apply_into(f, x, y));
        }
        let id = BenchmarkId::new("softmax", elements);
        bench(&mut group, id, gpu, |batch| {
            batch.apply_into(AxisFunction::Softmax.along(-1), x, y)
        });
    }
    Ok(())
}

fn main() -> Result<()> {
    let cases = Cases::selected();
    let gpu = match Gpu::new() {
        Ok(gpu) => gpu,
        // Like the tests, a bench without an adapter is skipped aloud.
        Err(error) => {
            eprintln!("skipped: {error}");
            return Ok(());
        }
    };
    eprintln!("{}", gpu.description());
    let mut c = common::criterion();
    elementwise(&mut c, &cases, &gpu)?;
    along_an_axis(&mut c, &cases, &gpu)?;
    sizes(&mut c, &cases, &gpu)?;
    c.final_summary();
    Ok(())
}
