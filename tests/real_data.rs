//! The functions of a real model on its own tensors (examples/data), on every backend, against
//! the f64 reference. `-- --nocapture` prints the largest errors.

mod common;

use wgpu_activations::reference::{self, ulp_error};

use wgpu_activations::{
    Activation, AxisFunction, AxisShape, CrossEntropy, Elementwise, OfShape, Reduction, Targets,
};

/// The f32 values and the shape of a little-endian .npy file in C order.
fn load(name: &str) -> (Vec<f32>, Vec<usize>) {
    let (bytes, shape) = read(name, "'<f4'");
    let values = bytes.chunks_exact(4);
    let values: Vec<f32> = values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert_eq!(values.len(), shape.iter().product::<usize>());
    (values, shape)
}

/// The values of a file of i64.
fn load_indices(name: &str) -> Vec<i64> {
    let (bytes, _) = read(name, "'<i8'");
    let values = bytes.chunks_exact(8);
    values
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The data and the shape of a file whose type is `descr`.
fn read(name: &str, descr: &str) -> (Vec<u8>, Vec<usize>) {
    let path = format!("{}/examples/data/{name}.npy", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let header_end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..header_end]).unwrap();
    assert!(
        header.contains(descr) && header.contains("'fortran_order': False"),
        "{header}"
    );
    let inside = header.split('(').nth(1).unwrap().split(')').next().unwrap();
    let dims = inside.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape = dims.map(|d| d.parse().unwrap()).collect();
    (bytes[header_end..].to_vec(), shape)
}

/// The largest error in ULP beyond an allowance, over results, wanted values, the magnitudes that
/// errors are relative to, and allowances.
fn worst(got: &[f32], wanted: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    let mut worst = 0.0f64;
    let mut count = 0;
    for (&got, (want, largest, allowance)) in got.iter().zip(wanted) {
        let toward = (f64::from(got) - want).clamp(-allowance, allowance);
        // What is left of the error, seen from the wanted value.
        worst = worst.max(ulp_error(got, want, largest) * remaining(got, want, toward));
        count += 1;
    }
    assert_eq!(count, got.len());
    worst
}

/// The share of an error that `explained` leaves.
fn remaining(got: f32, want: f64, explained: f64) -> f64 {
    let error = f64::from(got) - want;
    if error == 0.0 {
        0.0
    } else {
        (error - explained) / error
    }
}

#[test]
fn gelu_of_real_pre_activations() {
    let (x, _) = load("ffn_preactivation");
    assert!(x.len() > 90_000);
    for backend in common::backends() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let f = Elementwise::from(activation);
            let y = backend.apply(f, &x).unwrap();
            let want = x
                .iter()
                .map(|&x| (reference::forward(&f, x.into()), 0.0, 0.0));
            let forward = worst(&y, want);
            // The pre-activations stand for an upstream gradient, which is rounded once more.
            let dx = backend.grad(f, &x, &x).unwrap();
            let want = x.iter().map(|&x| {
                let g = f64::from(x);
                let largest = (g * reference::largest_term(&f, g)).abs();
                let slope = reference::backward(&f, g);
                let want = g * slope;
                // A subnormal derivative may be flushed before the product is taken.
                let flushed = slope.abs() < f32::MIN_POSITIVE.into();
                (want, largest, if flushed { want.abs() } else { 0.0 })
            });
            let backward = worst(&dx, want);
            println!(
                "{f} on {:?}: forward {forward:.2} ULP, backward {backward:.2}",
                backend.kind()
            );
            assert!(
                forward <= 2.0 && backward <= 4.5,
                "{f}: {forward} {backward}"
            );
        }
        let y = backend.apply(Activation::GeluTanh, &x).unwrap();
        let gelu = Elementwise::from(Activation::Gelu);
        let want = x
            .iter()
            .map(|&x| (reference::forward(&gelu, x.into()), 0.0, 0.0));
        assert!(worst(&y, want) > 100.0, "another function passes for gelu");
    }
}

#[test]
fn softmax_of_real_scores_and_logits() {
    for name in ["attention_scores", "vocab_logits"] {
        let (x, shape) = load(name);
        let rows = AxisShape::new(&shape, -1).unwrap();
        let levels = (rows.len as f64).log2().ceil() * 2f64.powi(-24);
        for backend in common::backends() {
            for function in [AxisFunction::Softmax, AxisFunction::LogSoftmax] {
                let y = backend
                    .apply(function.along(-1), x.of_shape(&shape))
                    .unwrap();
                let want = reference::axis_forward(function, &x, &rows);
                let want = want.iter().map(|&w| match function {
                    AxisFunction::Softmax => (w, 0.0, w * levels),
                    _ => (w, 0.0, levels),
                });
                let forward = worst(&y, want);
                let dx = backend
                    .grad(function.along(-1), x.of_shape(&shape), &x)
                    .unwrap();
                let (want, largest) = reference::axis_backward(function, &x, &x, &rows);
                let want = want
                    .iter()
                    .zip(&largest)
                    .map(|(&w, &l)| (w, l, 2.0 * l * levels));
                let backward = worst(&dx, want);
                println!(
                    "{function} of {name} on {:?}: forward {forward:.2} ULP, backward {backward:.2}",
                    backend.kind()
                );
                assert!(
                    forward <= 4.0 && backward <= 4.0,
                    "{function}: {forward} {backward}"
                );
            }
        }
    }
}

/// Cross entropy of the real targets, and gradient rows that sum to 0: what 4 ULP of each element
/// and the rounding of a sum leave of it.
#[test]
fn cross_entropy_of_real_targets() {
    let (x, shape) = load("vocab_logits");
    let targets = load_indices("vocab_targets");
    let targets = Targets::Indices(&targets);
    let levels = (shape[1] as f64).log2().ceil() * 2f64.powi(-24);
    let plain = CrossEntropy::new();
    for backend in common::backends() {
        for loss in [
            plain.clone().reduction(Reduction::None),
            plain.clone(),
            plain.clone().label_smoothing(0.1),
        ] {
            let (value, dx) = backend
                .apply_with_grad(&loss, (x.of_shape(&shape), targets))
                .unwrap();
            let want = reference::loss::cross_entropy(&loss, &x, &shape, targets).unwrap();
            let want = want.0.iter().map(|&w| (w, 0.0, 0.0));
            let forward = worst(&value, want);
            let dy = vec![1.0; value.len()];
            let (want, largest) =
                reference::loss::grad_cross_entropy(&loss, &x, &shape, targets, &dy).unwrap();
            let want = want.iter().zip(&largest);
            let want = want.map(|(&w, &l)| (w, l, 2.0 * w.abs().max(l) * levels));
            let backward = worst(&dx, want);
            let balance = dx.chunks(shape[1]).map(|row| {
                let sum: f64 = row.iter().map(|&dx| f64::from(dx)).sum();
                let size: f64 = row.iter().map(|&dx| f64::from(dx).abs()).sum();
                sum.abs() / size
            });
            let balance = balance.fold(0.0, f64::max);
            println!(
                "cross entropy on {:?}: forward {forward:.2} ULP, backward {backward:.2}, \
                 rows sum to {balance:.1e} of their size",
                backend.kind()
            );
            assert!(forward <= 4.0 && backward <= 4.0, "{forward} {backward}");
            assert!(balance <= 4.0 * 2f64.powi(-23) + levels, "{balance}");
        }
    }
}
