//! Story 1, one call on host memory: GELU of the pre-activations of a real model, on whatever
//! this machine has.
//!
//! It also shows why the textbook formula is not enough: `1 + erf` cancels where x is negative.

mod common;

use common::{Outcome, worst_ulp};
use wgpu_activations::{Activation, Backend};

/// 64 tokens times 1536 features, see `examples/data/README.md`.
const PREACTIVATION: &[u8] = include_bytes!("data/ffn_preactivation.npy");

/// GELU in f64: x·Φ(x) with Φ(x) = erfc(-x/√2) / 2.
fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// GELU as textbooks have it, in f32.
fn textbook_gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x / std::f32::consts::SQRT_2))
}

fn main() -> Outcome {
    let x = values_of_npy(PREACTIVATION);

    let backend = Backend::auto()?;
    println!("backend: {}", backend.description());
    let y = backend.apply(Activation::Gelu, &x)?;

    let worst = worst_ulp(&y, x.iter().map(|&x| gelu(x.into())), 4.0);
    println!(
        "gelu of {} real values: within {worst:.2} ULP of f64",
        y.len()
    );

    // Below -13.2 a result is subnormal, and a GPU may flush it to zero.
    let normal = x.iter().zip(&y).filter(|(x, _)| **x > -13.2);
    let (&lowest, at_lowest) = normal.min_by(|a, b| a.0.total_cmp(b.0)).ok_or("no value")?;
    println!("at one of the lowest of them, x = {lowest}:");
    println!("  this crate         {at_lowest:e}");
    println!("  f64                {:e}", gelu(lowest.into()));
    println!("  textbook in f32    {:e}", textbook_gelu(lowest));
    assert!(*at_lowest < 0.0 && textbook_gelu(lowest) == 0.0);
    Ok(())
}

/// The values of a version 1 .npy file of little-endian f32: ten bytes, of which the last two are
/// the header's length, the header, the values.
fn values_of_npy(file: &[u8]) -> Vec<f32> {
    let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
    let (values, _) = file[10 + header..].as_chunks::<4>();
    values
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}
