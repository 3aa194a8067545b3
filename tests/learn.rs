//! Gradients by the parameters of activations on every backend, against dual numbers in f64.

mod common;

use common::backends;
use wgpu_activations::reference::{parameter_derivative, ulp_error};
use wgpu_activations::{Activation, Backend, Elementwise, Error, learnable};

fn values(n: usize, seed: u32, scale: f32) -> Vec<f32> {
    let hash = |i: u32| (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) >> 8;
    // 24 bits, between -1 and 1.
    (0..n as u32)
        .map(|i| (hash(hash(i)) as f32 / 8_388_608.0 - 1.0) * scale)
        .collect()
}

/// What is wrong with a sum: it is further from the exact one than 4 ULP and the rounding of a
/// pairwise f32 sum.
fn wrong(f: &Elementwise, name: &str, x: &[f32], dy: &[f32], got: f32) -> Option<String> {
    let parameters = f.activation().info().parameters;
    let index = parameters.iter().position(|p| p.name == name).unwrap();
    let (mut want, mut size) = (0.0, 0.0);
    for (&x, &dy) in x.iter().zip(dy) {
        let term = f64::from(dy) * parameter_derivative(f, index, x.into());
        want += term;
        size += term.abs();
    }
    let levels = (x.len().max(1) as f64).log2().ceil();
    let off = (f64::from(got) - want).abs() - size * levels * 2f64.powi(-24);
    let far = off > 0.0 && ulp_error(got, want, 0.0) > 4.0;
    // NaN is no distance.
    let far = far || got.is_nan() != want.is_nan();
    far.then(|| {
        format!(
            "{f} by {name}, {} elements: {got:e} instead of {want:e}",
            x.len()
        )
    })
}

fn cases() -> Vec<(Elementwise, &'static str)> {
    let mut cases = Vec::new();
    for (activation, name) in learnable() {
        for value in [-1.5, 0.0, 0.25, 1.0, 12.0] {
            cases.push((activation.with([(name, value)]).unwrap(), name));
        }
    }
    cases
}

#[test]
fn every_parameter_has_its_gradient() {
    for backend in backends() {
        let mut breaches = Vec::new();
        for (f, name) in cases() {
            // Single terms, where there is nothing but their own error; then sums.
            for x in [-90.0, -20.0, -3.3, -0.6, -1e-3, 0.0, 0.7, 2.9, 15.0, 88.0] {
                let x = [x];
                let got = backend.grad_parameter(f, name, &x, &[1.7]).unwrap();
                breaches.extend(wrong(&f, name, &x, &[1.7], got));
            }
            for (n, scale) in [(2, 1.0), (100, 8.0), (10_007, 30.0)] {
                let (x, dy) = (values(n, 1, scale), values(n, 2, 2.0));
                let got = backend.grad_parameter(f, name, &x, &dy).unwrap();
                breaches.extend(wrong(&f, name, &x, &dy, got));
                let again = backend.grad_parameter(f, name, &x, &dy).unwrap();
                assert_eq!(got.to_bits(), again.to_bits());
            }
        }
        let what = backend.description();
        assert!(breaches.is_empty(), "{what}\n{}", breaches.join("\n"));
    }
}

/// More elements than travel at a time.
#[test]
fn pieces() {
    let n = (4 << 20) + 77;
    let (x, dy) = (values(n, 1, 6.0), values(n, 2, 1.0));
    for backend in backends() {
        let swish = Activation::Swish.into();
        let got = backend.grad_parameter(swish, "beta", &x, &dy).unwrap();
        assert_eq!(wrong(&swish, "beta", &x, &dy, got), None);
    }
}

#[test]
fn special_numbers() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for backend in backends() {
        let by_beta = |x: &[f32], dy: &[f32]| {
            let swish = Activation::Swish;
            backend.grad_parameter(swish, "beta", x, dy).unwrap()
        };
        assert_eq!(by_beta(&[], &[]), 0.0);
        assert_eq!(by_beta(&[inf, -inf, 1e30, 0.0], &[1.0, 1.0, 1.0, inf]), 0.0);
        assert!(by_beta(&[nan, 1.0], &[0.0, 1.0]).is_nan());
        assert!(by_beta(&[1.0, 1.0], &[nan, 1.0]).is_nan());
    }
}

#[test]
fn wrong_arguments_are_errors() {
    for backend in backends() {
        let unknown = backend.grad_parameter(Activation::Swish, "alpha", &[0.0f32; 0], &[]);
        assert!(matches!(unknown, Err(Error::UnknownParameter { .. })));
        let not = backend.grad_parameter(Activation::Clamp, "min", &[0.0f32; 0], &[]);
        assert!(matches!(not, Err(Error::NotLearnable { .. })));
        let short = backend.grad_parameter(Activation::Swish, "beta", &[1.0], &[]);
        assert!(matches!(short, Err(Error::LengthMismatch { .. })));
    }
}

/// The measure objects to another parameter's gradient, and to one that is a little off.
#[test]
fn wrong_sums_are_seen() {
    let cpu = Backend::cpu();
    // Terms of one sign: nothing cancels that an error could hide behind.
    let (x, dy) = (values(100, 1, 3.0), vec![1.0; 100]);
    let f: Elementwise = Activation::Selu.into();
    let right = cpu.grad_parameter(f, "alpha", &x, &dy).unwrap();
    assert_eq!(wrong(&f, "alpha", &x, &dy, right), None);
    assert!(wrong(&f, "scale", &x, &dy, right).is_some());
    assert!(wrong(&f, "alpha", &x, &dy, right * 1.000_01).is_some());
}

/// The device level computes what the host level does.
#[test]
fn tensors() {
    let Some(Backend::Gpu(gpu)) = backends()
        .into_iter()
        .find(|b| matches!(b, Backend::Gpu(_)))
    else {
        return;
    };
    let (x, dy) = (values(3000, 1, 3.0), values(3000, 2, 1.0));
    let [tx, tdy] = [&x, &dy].map(|v| gpu.upload(v, &[30, 100]).unwrap());
    let swish = Activation::Swish;
    let mut batch = gpu.batch();
    let sum = batch.grad_parameter(swish, "beta", &tx, &tdy).unwrap();
    assert!(batch.grad_parameter(swish, "beta", &tx, &sum).is_err());
    let none = gpu.upload(&[0.0f32; 0], &[0]).unwrap();
    let zero = batch.grad_parameter(swish, "beta", &none, &none).unwrap();
    batch.submit().unwrap();
    assert_eq!(zero.read().unwrap(), [0.0]);
    let want = Backend::Gpu(gpu.clone())
        .grad_parameter(swish, "beta", &x, &dy)
        .unwrap();
    assert_eq!(sum.read().unwrap(), [want]);
}
