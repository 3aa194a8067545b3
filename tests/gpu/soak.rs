//! A great many operations in one process, whose memory does not grow with them. Short here;
//! `cargo xtask torture` says how many seconds it takes.

use crate::{Noise, difference, process, relu};
use std::io::Write;
use std::time::{Duration, Instant};
use wgpu_activations::{Activation, AxisFunction, Backend, Gpu};

/// Submissions before memory is looked at first: pools, caches and the allocator are full then.
const WARM: u64 = 300;
/// The same of the long form: constants that are kept, 4096 of them, are as many, too.
const WARM_LONG: u64 = 6000;
/// Submissions of the short form.
const LEAST: u64 = 600;
/// What the allocator may keep more at the end than at the beginning, in KiB, however many
/// operations lie between.
const MOST: usize = 16 << 10;

/// Operations in a submission.
const OPERATIONS: u64 = 10;

/// The memory of this process, in KiB.
fn memory() -> usize {
    process::status("VmRSS")
}

/// Ten operations in one submission, on tensors of any size; some results are looked at.
fn submit(gpu: &Gpu, dice: &mut Noise) {
    let n = 1 + dice.bits() as usize % 5000;
    let x: Vec<f32> = (0..n).map(|_| dice.value(8.0)).collect();
    let t = gpu.upload(&x, &[n]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(Activation::Relu, &t).unwrap();
    let z = batch.apply(Activation::Gelu, &y).unwrap();
    let p = batch.apply(AxisFunction::Softmax.along(0), &z).unwrap();
    let dx = batch.grad(AxisFunction::Softmax.along(0), &z, &p).unwrap();
    batch.apply_in_place(Activation::Tanh, &dx).unwrap();
    for _ in 0..3 {
        batch.grad_in_place(Activation::Silu, &z, &dx).unwrap();
    }
    let s = batch.apply(AxisFunction::LogSumExp.along(0), &dx).unwrap();
    batch.apply_in_place(Activation::Square, &s).unwrap();
    batch.submit().unwrap();
    match dice.bits() % 3 {
        0 => {
            let got = y.read().unwrap();
            assert_eq!(difference(&got, x.iter().copied().map(relu)), None);
        }
        1 => drop(p.read().unwrap()),
        // Dropped before it was computed.
        _ => {}
    }
}

/// Ten calls, of any size.
fn call(backend: &Backend, dice: &mut Noise) {
    for _ in 0..OPERATIONS / 5 {
        let n = 1 + dice.bits() as usize % 5000;
        let x: Vec<f32> = (0..n).map(|_| dice.value(8.0)).collect();
        let y = backend.apply(Activation::Relu, &x).unwrap();
        assert_eq!(difference(&y, x.iter().copied().map(relu)), None);
        backend.grad(Activation::Gelu, &x, &y).unwrap();
        let f = AxisFunction::Softmax;
        let p = backend.apply(f.along(0), &x).unwrap();
        backend.grad(f.along(0), &x, &p).unwrap();
        let f = AxisFunction::LogSumExp;
        backend.apply(f.along(0), &x).unwrap();
    }
}

#[test]
fn torture_of_memory() {
    if !process::is_child() {
        let text = process::child("soak::torture_of_memory", &[]);
        assert!(text.contains("grew"), "{text}");
        return;
    }
    let seconds = std::env::var("ACTIVATIONS_TORTURE").ok();
    // To whoever runs it; the tests' own output is looked at by the parent.
    let tell = |text: &str| {
        if seconds.is_some() {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    for backend in crate::common::backends() {
        let name = backend.description();
        let mut dice = Noise(7);
        let mut round = || match &backend {
            // Calls too: they have ways of their own to the device.
            Backend::Gpu(gpu) if !dice.bits().is_multiple_of(4) => submit(gpu, &mut dice),
            _ => call(&backend, &mut dice),
        };
        let warm = if seconds.is_some() { WARM_LONG } else { WARM };
        (0..warm).for_each(|_| round());
        let before = memory();
        let start = Instant::now();
        let until = seconds
            .as_ref()
            .map(|s| start + Duration::from_secs(s.parse().unwrap()));
        let (mut rounds, mut told) = (0, start);
        while rounds < LEAST || until.is_some_and(|until| Instant::now() < until) {
            round();
            rounds += 1;
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                tell(&format!(
                    "memory: {} operations, {} KiB more than at first so far: {name}",
                    rounds * OPERATIONS,
                    memory().saturating_sub(before)
                ));
            }
        }
        let more = memory().saturating_sub(before);
        println!("grew by {more} KiB");
        tell(&format!(
            "memory: {} operations, {more} KiB more than at first: {name}",
            rounds * OPERATIONS
        ));
        assert!(more <= MOST, "{more} KiB more: {name}");
    }
}
