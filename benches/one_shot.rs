//! From host memory to host memory, as `Backend::apply_into` goes: upload, kernel and readback on
//! a GPU, and the same call on the CPU, with a plain `memcpy` beside them.
//!
//! `cargo bench --bench one_shot` runs a subset of a minute; with a filter (a regular expression
//! over the names below), all functions and sizes are picked from:
//!
//! ```text
//! gpu/FUNCTION/ELEMENTS    cpu/FUNCTION/ELEMENTS    memcpy/ELEMENTS
//! cargo bench --bench one_shot -- 'gpu/(relu|gelu)/'
//! ```

mod common;

use common::{Cases, bytes, numbers};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use wgpu_activations::{AxisFunction, Backend, OfShape};

fn one_shot(c: &mut Criterion, cases: &Cases, name: &str, backend: &Backend) {
    let mut group = c.benchmark_group(name);
    for &elements in &cases.sizes {
        let (x, mut y) = (numbers(elements), vec![0.0; elements]);
        group.throughput(Throughput::Bytes(bytes(elements, 2)));
        for &f in &cases.activations {
            group.bench_function(BenchmarkId::new(f.info().name, elements), |b| {
                b.iter(|| backend.apply_into(f, black_box(&x), &mut y));
            });
        }
        let shape = [elements];
        group.bench_function(BenchmarkId::new("softmax", elements), |b| {
            let softmax = AxisFunction::Softmax;
            b.iter(|| {
                backend.apply_into(softmax.along(-1), black_box(&x).of_shape(&shape), &mut y)
            });
        });
    }
}

fn memcpy(c: &mut Criterion, cases: &Cases) {
    let mut group = c.benchmark_group("memcpy");
    for &elements in &cases.sizes {
        let (x, mut y) = (numbers(elements), vec![0.0; elements]);
        group.throughput(Throughput::Bytes(bytes(elements, 2)));
        group.bench_function(BenchmarkId::from_parameter(elements), |b| {
            b.iter(|| y.copy_from_slice(black_box(&x)));
        });
    }
}

fn main() {
    let cases = Cases::selected();
    let mut c = common::criterion();
    memcpy(&mut c, &cases);
    one_shot(&mut c, &cases, "cpu", &Backend::cpu());
    match Backend::gpu() {
        Ok(gpu) => {
            eprintln!("{}", gpu.description());
            one_shot(&mut c, &cases, "gpu", &gpu);
        }
        // Like the tests, a bench without an adapter is skipped aloud.
        Err(error) => eprintln!("gpu skipped: {error}"),
    }
    c.final_summary();
}
