//! Story 4, softmax over any axis of an array of any rank, without a transposition, and what its
//! two passes are for.

mod common;

use common::{Outcome, worst_ulp};
use wgpu_activations::{AxisFunction, AxisShape, Backend, OfShape};

fn main() -> Outcome {
    let backend = Backend::auto()?;
    println!("backend: {}", backend.description());

    let shape = [8, 512, 64];
    let x: Vec<f32> = (0..shape.iter().product())
        .map(|i| ((i * 31) % 1009) as f32 / 50.0 - 10.0)
        .collect();
    for axis in [0, 1, 2, -1] {
        let y = backend.apply(AxisFunction::Softmax.along(axis), x.of_shape(&shape))?;
        let seen = AxisShape::new(&shape, axis)?;
        let worst = worst_ulp(&y, softmax(&x, &seen), 4.0);
        let (rows, len, stride) = (seen.rows(), seen.len, seen.inner);
        println!(
            "axis {axis:2}: {rows} rows of {len}, {stride} apart: within {worst:.2} ULP of f64"
        );
    }

    // logsumexp leaves the axis out.
    let totals = backend.apply(AxisFunction::LogSumExp.along(1), x.of_shape(&shape))?;
    assert_eq!(totals.len(), 8 * 64);
    println!(
        "logsumexp over axis 1 of {shape:?}: {} values",
        totals.len()
    );

    // e^1000 is infinite in f32, and infinity / infinity is NaN: hence the maximum comes first.
    let large = [1000.0, 999.0, 998.0];
    let sum: f32 = large.iter().map(|x: &f32| x.exp()).sum();
    let naive = large.map(|x: f32| x.exp() / sum);
    let stable = backend.apply(AxisFunction::Softmax.along(0), &large)?;
    println!("softmax of {large:?}: {stable:?}; in one naive pass: {naive:?}");
    assert!(naive.iter().all(|y| y.is_nan()));
    worst_ulp(&stable, softmax(&large, &AxisShape::new(&[3], 0)?), 4.0);

    // Small probabilities are what log_softmax is for: softmax rounds this one to zero.
    let far = [0.0, -120.0];
    let y = backend.apply(AxisFunction::Softmax.along(0), &far)?;
    let log = backend.apply(AxisFunction::LogSoftmax.along(0), &far)?;
    println!("softmax of {far:?}: {y:?}; log_softmax: {log:?}");
    assert!(y[1].ln() == f32::NEG_INFINITY && log[1] == -120.0);
    Ok(())
}

/// Softmax in f64; element i of the row (o, n) lies at (o * len + i) * inner + n.
fn softmax(x: &[f32], shape: &AxisShape) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for o in 0..shape.outer {
        for n in 0..shape.inner {
            let at = |i| (o * shape.len + i) * shape.inner + n;
            let row = || (0..shape.len).map(|i| f64::from(x[at(i)]));
            let max = row().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row().map(|x| libm::exp(x - max)).sum();
            for (i, x) in row().enumerate() {
                y[at(i)] = libm::exp(x - max) / sum;
            }
        }
    }
    y
}
