//! Five thousand small arrays in one submission, and one call for each, in comparison.

use std::time::{Duration, Instant};
use wgpu_activations::{Activation, AxisFunction, Backend, Item, OfShape};

fn main() -> Result<(), wgpu_activations::Error> {
    let backend = Backend::auto()?;
    eprintln!("backend: {}", backend.description());
    // Arrays of up to 1000 elements; every other one is a few rows.
    let arrays: Vec<Vec<f32>> = (0..5000usize)
        .map(|i| {
            let elements = if i % 2 == 0 {
                i * 7 % 1000
            } else {
                (1 + i % 8) * 64
            };
            (0..elements).map(|k| (k % 17) as f32 - 8.0).collect()
        })
        .collect();
    let items: Result<Vec<Item<'_>>, _> = arrays
        .iter()
        .enumerate()
        .map(|(i, x)| match i % 2 {
            0 => Item::new(Activation::Gelu, x),
            _ => Item::of_shape(AxisFunction::Softmax.along(-1), x, &[x.len() / 64, 64]),
        })
        .collect();
    let items = items?;

    let one_by_one = || {
        let all = arrays.iter().enumerate().map(|(i, x)| match i % 2 {
            0 => backend.apply(Activation::Gelu, x),
            _ => backend.apply(
                AxisFunction::Softmax.along(-1),
                x.of_shape(&[x.len() / 64, 64]),
            ),
        });
        all.collect::<Result<Vec<_>, _>>()
    };
    let timed = |work: &dyn Fn() -> Result<Vec<Vec<f32>>, wgpu_activations::Error>| {
        let start = Instant::now();
        work().map(|y| (y, start.elapsed()))
    };
    let mut least = [Duration::MAX; 2];
    for _ in 0..3 {
        let (together, a) = timed(&|| backend.apply_many(&items))?;
        let (alone, b) = timed(&one_by_one)?;
        assert_eq!(together.len(), alone.len());
        least = [least[0].min(a), least[1].min(b)];
    }
    let [together, alone] = least;
    println!(
        "together {:.1} ms, one by one {:.1} ms: {:.1} times as long",
        together.as_secs_f64() * 1e3,
        alone.as_secs_f64() * 1e3,
        alone.as_secs_f64() / together.as_secs_f64(),
    );
    Ok(())
}
