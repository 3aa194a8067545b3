//! The CPU backend, with `memcpy` on the same threads beside it.
//!
//! `cargo bench --bench cpu` runs a subset of about two minutes; with a filter (a regular
//! expression over the names below), all functions and shapes are picked from:
//!
//! ```text
//! forward/FUNCTION/ROWSxCOLUMNS    backward/FUNCTION/ROWSxCOLUMNS
//! size/FUNCTION/ELEMENTS           the cost of an array by its size; `one_thread` beside it
//! copy/ROWSxCOLUMNS                memcpy, in chunks over the threads
//! cargo bench --bench cpu -- 'forward/(copy|gelu)/'
//! ```

mod common;

use common::{Cases, SQUARE, bytes, name, numbers};
use criterion::{BenchmarkId, Criterion, Throughput};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;
use wgpu_activations::{Activation, AxisFunction, Backend, OfShape};

/// Elements that a thread copies at a time.
const CHUNK: usize = 16 * 1024;

/// y = x, by `memcpy` in chunks over the threads.
fn copy(x: &[f32], y: &mut [f32]) {
    if x.len() < 2 * CHUNK {
        return y.copy_from_slice(x);
    }
    let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(y, x)| y.copy_from_slice(x));
}

fn elementwise(c: &mut Criterion, cases: &Cases, cpu: &Backend) {
    let elements = SQUARE[0] * SQUARE[1];
    let (x, mut y) = (numbers(elements), vec![0.0; elements]);
    let mut group = c.benchmark_group("forward");
    group.throughput(Throughput::Bytes(bytes(elements, 2)));
    group.bench_function(BenchmarkId::new("copy", name(SQUARE)), |b| {
        b.iter(|| copy(black_box(&x), &mut y));
    });
    for &f in &cases.activations {
        group.bench_function(BenchmarkId::new(f.info().name, name(SQUARE)), |b| {
            b.iter(|| cpu.apply_into(f, black_box(&x), &mut y));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("backward");
    group.throughput(Throughput::Bytes(bytes(elements, 3)));
    for &f in &cases.activations {
        group.bench_function(BenchmarkId::new(f.info().name, name(SQUARE)), |b| {
            b.iter(|| cpu.grad_into(f, black_box(&x), &x, &mut y));
        });
    }
}

fn along_an_axis(c: &mut Criterion, cases: &Cases, cpu: &Backend) {
    for &shape in &cases.shapes {
        let [rows, columns] = shape;
        let elements = rows * columns;
        let (x, mut y) = (numbers(elements), vec![0.0; elements]);
        let mut group = c.benchmark_group("forward");
        for &f in &cases.axis_functions {
            let results = if f.reduces() { rows } else { elements };
            group.throughput(Throughput::Bytes(bytes(elements + results, 1)));
            group.bench_function(BenchmarkId::new(f.name(), name(shape)), |b| {
                b.iter(|| {
                    cpu.apply_into(
                        f.along(-1),
                        black_box(x.of_shape(&shape)),
                        &mut y[..results],
                    )
                });
            });
        }
        group.finish();
        let mut group = c.benchmark_group("backward");
        for &f in &cases.axis_functions {
            let results = if f.reduces() { rows } else { elements };
            group.throughput(Throughput::Bytes(bytes(2 * elements + results, 1)));
            group.bench_function(BenchmarkId::new(f.name(), name(shape)), |b| {
                let dy = &x[..results];
                b.iter(|| cpu.grad_into(f.along(-1), black_box(x.of_shape(&shape)), dy, &mut y));
            });
        }
    }
}

/// From what still fits the first cache to what no cache holds.
fn sizes(c: &mut Criterion, cases: &Cases, cpu: &Backend) {
    // A pool of one: what a call costs that wakes nobody.
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one_thread = one_thread.expect("a thread starts");
    let mut group = c.benchmark_group("size");
    for &elements in &cases.sizes {
        let (x, mut y) = (numbers(elements), vec![0.0; elements]);
        group.throughput(Throughput::Bytes(bytes(elements, 2)));
        group.bench_function(BenchmarkId::new("copy", elements), |b| {
            b.iter(|| copy(black_box(&x), &mut y));
        });
        for f in [Activation::Relu, Activation::Gelu] {
            group.bench_function(BenchmarkId::new(f.info().name, elements), |b| {
                b.iter(|| cpu.apply_into(f, black_box(&x), &mut y));
            });
            let id = BenchmarkId::new(format!("{f} one_thread"), elements);
            group.bench_function(id, |b| {
                b.iter_custom(|times| {
                    one_thread.install(|| {
                        let start = Instant::now();
                        for _ in 0..times {
                            let _ = black_box(cpu.apply_into(f, black_box(&x), &mut y));
                        }
                        start.elapsed()
                    })
                });
            });
        }
        let softmax = AxisFunction::Softmax.along(-1);
        group.bench_function(BenchmarkId::new("softmax", elements), |b| {
            b.iter(|| cpu.apply_into(softmax, black_box(&x), &mut y));
        });
    }
}

fn main() {
    let (cases, cpu) = (Cases::selected(), Backend::cpu());
    eprintln!("{}", cpu.description());
    let mut c = common::criterion();
    elementwise(&mut c, &cases, &cpu);
    along_an_axis(&mut c, &cases, &cpu);
    sizes(&mut c, &cases, &cpu);
    c.final_summary();
}
