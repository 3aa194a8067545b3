//! The self-check as callers have it: on an opened device, on an adopted one, and for kernels that
//! have no queue to ask by. What faults lead to is tested beside the code, where there are any.

use super::{coded, gpu};
use wgpu_activations::{Activation, Backend, Gpu, Kernels, Verdict, wgpu};

#[test]
fn opened_devices_are_probed_and_functions_asked_at_their_first_use() {
    let Some(gpu) = gpu() else { return };
    let subjects = |gpu: &Gpu| -> Vec<String> {
        let found = gpu.findings();
        found.findings.into_iter().map(|f| f.subject).collect()
    };
    let probed = subjects(&gpu);
    assert!(probed.iter().any(|s| s == "barriers"), "{probed:?}");
    assert!(!probed.iter().any(|s| s.starts_with("relu")), "{probed:?}");
    // On the host path and in a batch, and no more than is used.
    let x = coded(1000);
    let backend = Backend::Gpu(gpu.clone());
    backend.apply(Activation::Relu, &x).unwrap();
    let tensor = gpu.upload(&x, &[1000]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.grad(Activation::Relu6, &tensor, &tensor).unwrap();
    batch.submit().unwrap();
    y.read().unwrap();
    let asked = subjects(&gpu);
    assert_eq!(asked[probed.len()..], ["relu forward", "relu6 backward"]);
    let kept = gpu.findings();
    assert!(kept.passed(), "{kept}");
    assert!(
        kept.to_string()
            .contains("relu forward: 64 results within 0.00 ULP")
    );
    // Taken at its word, nothing is asked.
    backend.trusting().apply(Activation::Elu, &x).unwrap();
    assert_eq!(subjects(&gpu), asked);
}

#[test]
fn adopted_devices_and_kernels_are_checked_on_request() {
    let Some(own) = gpu() else { return };
    let adopted = Gpu::from_device(own.device().clone(), own.queue().clone());
    assert!(adopted.findings().findings.is_empty());
    let check = adopted.self_check().unwrap();
    let wrong = |verdict| check.findings.iter().any(|f| f.verdict == verdict);
    assert_eq!(check.passed(), !wrong(Verdict::Distrusted));
    let all = 2 * Activation::ALL.len();
    assert!(check.findings.len() > all, "{check}");
    assert_eq!(adopted.findings().findings, check.findings);

    let kernels = Kernels::with_findings(own.device(), &check);
    let x = own.upload(&[-1.0, 2.0, f32::NAN], &[3]).unwrap();
    let mut encoder = own
        .device()
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let slice = x.buffer().slice(..12);
    kernels
        .apply_in_place(
            &mut encoder.begin_compute_pass(&Default::default()),
            Activation::Relu,
            slice,
        )
        .unwrap();
    own.queue().submit([encoder.finish()]);
    let y = x.read().unwrap();
    assert!(y[..2] == [0.0, 2.0] && y[2].is_nan(), "{y:?}");
}
