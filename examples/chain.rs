//! Attention weights as one chain, softmax(scale * x + bias), and as its three parts: the same
//! numbers by one dispatch and by three, with the time that each takes.
//!
//! ```console
//! cargo run --release --example chain
//! ```

mod common;

use common::{Outcome, gpu};
use std::time::{Duration, Instant};
use wgpu_activations::{AxisFunction, Chain};

/// Heads, queries, keys.
const SHAPE: [usize; 3] = [96, 128, 128];
const CALLS: usize = 20;

fn main() -> Outcome {
    let Some(gpu) = gpu()? else { return Ok(()) };
    let elements: usize = SHAPE.iter().product();
    let scores: Vec<f32> = (0..elements)
        .map(|i| ((i * 29) % 1009) as f32 / 8.0 - 60.0)
        .collect();
    let bias: Vec<f32> = (0..SHAPE[1] * SHAPE[2])
        .map(|i| -((i % 128) as f32) / 16.0)
        .collect();
    let scores = gpu.upload(&scores, &SHAPE)?;
    let bias = gpu.upload(&bias, &SHAPE[1..])?;

    let whole = Chain::new().scale(0.125).add().softmax(-1);
    let parts = [Chain::new().scale(0.125), Chain::new().add()];
    println!("one: {whole}; parts: {}, {}, softmax", parts[0], parts[1]);

    let dispatches = || gpu.kernels().counts().dispatches;
    let mut least = [Duration::MAX; 2];
    let mut results = Vec::new();
    for round in 0..6 {
        for together in [true, false] {
            let (before, start) = (dispatches(), Instant::now());
            let mut batch = gpu.batch();
            let mut last = None;
            for _ in 0..CALLS {
                last = Some(if together {
                    batch.chain(&whole, &scores, &[&bias])?
                } else {
                    let scaled = batch.chain(&parts[0], &scores, &[])?;
                    let biased = batch.chain(&parts[1], &scaled, &[&bias])?;
                    batch.apply(AxisFunction::Softmax.along(-1), &biased)?
                });
            }
            batch.submit()?;
            gpu.wait()?;
            let kind = usize::from(!together);
            // The first round compiles, and asks the adapter for known answers.
            if round == 1 {
                println!(
                    "{} dispatches a call",
                    (dispatches() - before) / CALLS as u64
                );
                results.push(last.map_or(Ok(Vec::new()), |y| y.read())?);
            }
            if round > 0 {
                least[kind] = least[kind].min(start.elapsed());
            }
        }
    }
    let apart = results[0]
        .iter()
        .zip(&results[1])
        .map(|(a, b)| (a - b).abs());
    let most = apart.fold(0.0, f32::max);
    println!("results differ by {most:e} at most");
    assert!(most < 1e-6 && results[0].len() == elements);
    let ratio = least[1].as_secs_f64() / least[0].as_secs_f64();
    println!("the parts take {ratio:.1} times as long");
    Ok(())
}
