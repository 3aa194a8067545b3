//! Story 2, data that stays on the device: upload once, several operations in one submission,
//! one readback of the small result.

mod common;

use common::{Outcome, worst_ulp};
use wgpu_activations::{Activation, AxisFunction};

const ROWS: usize = 1024;
const CLASSES: usize = 1000;

fn main() -> Outcome {
    let Some(gpu) = common::gpu()? else {
        return Ok(());
    };
    let hidden: Vec<f32> = (0..ROWS * CLASSES)
        .map(|i| ((i * 7919) % 1201) as f32 / 100.0 - 6.0)
        .collect();

    let x = gpu.upload(&hidden, &[ROWS, CLASSES])?;
    let mut batch = gpu.batch();
    let activated = batch.apply(Activation::Silu, &x)?;
    // In place where the input is not needed any more.
    batch.apply_in_place(Activation::Softplus.with([("beta", 2.0)])?, &activated)?;
    let probabilities = batch.apply(AxisFunction::Softmax.along(-1), &activated)?;
    let log_partition = batch.apply(AxisFunction::LogSumExp.along(-1), &activated)?;

    // Nothing has run so far, and a result that is not there yet is an error and no garbage.
    println!("before: {}", probabilities.read().unwrap_err());
    batch.submit()?;
    let log_partition = log_partition.read()?;

    let activate = |x: &f32| {
        let x = f64::from(*x);
        libm::log1p(libm::exp(2.0 * x / (1.0 + libm::exp(-x)))) / 2.0
    };
    let want = hidden.chunks(CLASSES).map(|row| {
        let sum: f64 = row.iter().map(|x| libm::exp(activate(x))).sum();
        libm::log(sum)
    });
    // Each step rounds to f32, so that errors add up; they are relative to the largest value.
    let worst = worst_ulp(&log_partition, want, 8.0);
    println!(
        "{} operations on {} values, one submission; {} values came back, within {worst:.2} ULP",
        4,
        hidden.len(),
        log_partition.len(),
    );

    let row: f32 = probabilities.read()?[..CLASSES].iter().sum();
    println!("the first row of the softmax sums to {row}");
    assert!((row - 1.0).abs() < 1e-5);
    Ok(())
}
