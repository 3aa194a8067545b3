//! Attention weights of two padded sentences: what a mask, a causal order, a scale and a sink do
//! to a softmax, forward and backward, on the best backend there is.
//!
//! ```console
//! cargo run --release --example masked_attention
//! ```

use wgpu_activations::{AxisFunction, Backend, Causal, OfShape, Result, RowPolicy, Shaping};

/// Two sentences, one of five tokens and one of three with two of padding; a head of five queries
/// and five keys each.
const SHAPE: [usize; 3] = [2, 5, 5];
const LENGTHS: [u32; 2] = [5, 3];

fn main() -> Result<()> {
    let backend = Backend::auto()?;
    println!("backend: {}", backend.description());

    // Scores as a product of queries and keys has them; what padding holds is rubbish.
    let mut scores: Vec<f32> = (0..50).map(|i| ((i * 29) % 17) as f32 - 8.0).collect();
    for query in 0..5 {
        scores[25 + query * 5 + 3] = f32::NAN;
        scores[25 + query * 5 + 4] = 1e30;
    }
    let softmax = |shaping: &Shaping<'_>| {
        backend.apply(
            AxisFunction::Softmax.along(-1).shaped(shaping),
            shaping.inputs(scores.of_shape(&SHAPE)),
        )
    };

    // 1 / sqrt(head size) and the key lengths, in the kernel that computes the softmax.
    let padded = Shaping::new().scale(0.125).lengths(&LENGTHS, &[2]);
    let weights = softmax(&padded)?;
    show("sentence 1, all keys", &weights[..25]);
    show("sentence 2, its padding masked", &weights[25..]);
    for (row, weights) in weights.chunks(5).enumerate() {
        let sum: f32 = weights.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "row {row} sums to {sum}");
        // Exactly zero: rubbish in the padding, NaN included, does not show.
        assert!(row < 5 || weights[3..] == [0.0, 0.0]);
    }

    let causal = padded.causal(Causal::UpperLeft);
    let weights = softmax(&causal)?;
    show("sentence 1, no query sees a later key", &weights[..25]);
    for query in 0..5 {
        assert!(
            weights[query * 5 + query + 1..query * 5 + 5]
                .iter()
                .all(|&w| w == 0.0)
        );
    }

    // A share that goes nowhere: rows sum to less than 1.
    let weights = softmax(&padded.sink(0.0))?;
    show("sentence 1, with a sink of e^0", &weights[..25]);
    assert!(weights.chunks(5).all(|row| row.iter().sum::<f32>() < 1.0));

    // A row of which nothing is left is zeros, or what is asked for.
    let nobody = Shaping::new().mask(&[0; 5], &[5]);
    assert!(softmax(&nobody)?.iter().all(|&w| w == 0.0));
    let error = softmax(&nobody.row_policy(RowPolicy::Error)).unwrap_err();
    println!("a row without a key, as an error: {error}");

    // No gradient flows to what takes no part.
    let dy: Vec<f32> = (0..50).map(|i| (i % 3) as f32).collect();
    let dx = backend.grad(
        AxisFunction::Softmax.along(-1).shaped(&causal),
        causal.inputs(scores.of_shape(&SHAPE)),
        &dy,
    )?;
    show("sentence 1, gradient", &dx[..25]);
    assert!((0..5).all(|q| dx[25 + q * 5 + 3] == 0.0 && dx[25 + q * 5 + 4] == 0.0));
    Ok(())
}

fn show(title: &str, rows: &[f32]) {
    println!("{title}:");
    for row in rows.chunks(5) {
        let cells: Vec<String> = row.iter().map(|w| format!("{w:6.3}")).collect();
        println!("  {}", cells.join(" "));
    }
}
