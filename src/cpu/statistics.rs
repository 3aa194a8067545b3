//! Statistics of activations: two passes over the array, in f64, over threads.

use super::isa::Isa;
use super::threads::prelude::*;
use crate::catalogue::Elementwise;
use crate::shape::AxisShape;
use crate::statistics::{Inspect, Statistics, Summary, assemble};
use std::sync::atomic::{AtomicBool, Ordering};

/// Elements that a thread takes at a time.
const CHUNK: usize = 64 * 1024;
/// Elements whose values are computed at a time, on the stack.
const BLOCK: usize = 1024;

/// Statistics of f(x) for x seen as (outer, units, inner).
pub(super) fn inspect(isa: Isa, what: &Inspect, x: &[f32], units: &AxisShape) -> Statistics {
    let f = what.function();
    let alive: Vec<AtomicBool> = (0..units.len).map(|_| AtomicBool::new(false)).collect();
    let summary = x
        .par_chunks(CHUNK)
        .enumerate()
        .map(|(i, chunk)| summarise(isa, what, chunk, i * CHUNK, units, &alive))
        .reduce(|| Summary::NOTHING, Summary::merge);
    let elements = x.len() as u64;
    let scale = summary.scale(elements, what.histogram_bins());
    let (mean, bins) = (scale.mean, scale.bins());
    let shrink = f64::from(scale.shrink);
    // Chunk by chunk and then in order: the same sum whatever the threads do.
    let spreads: Vec<(f64, Vec<u64>)> = x
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut squares = 0.0;
            let mut counts = vec![0; bins];
            each_block(chunk, |_, block| {
                let mut y = [0.0; BLOCK];
                let y = &mut y[..block.len()];
                super::elementwise::apply(isa, &f, block, y);
                for &y in y.iter().filter(|y| y.is_finite()) {
                    let distance = (f64::from(y) - mean) * shrink;
                    squares += distance * distance;
                    counts[scale.bin_of(y)] += 1;
                }
            });
            (squares, counts)
        })
        .collect();
    let mut counts = vec![0; bins];
    let mut squares = 0.0;
    for (part, found) in spreads {
        squares += part;
        for (count, found) in counts.iter_mut().zip(found) {
            *count += found;
        }
    }
    let alive: Vec<bool> = alive.iter().map(|a| a.load(Ordering::Relaxed)).collect();
    let reference = mean * shrink;
    assemble(
        elements, &summary, scale, squares, reference, &alive, counts,
    )
}

/// Blocks that fit the stack, and where they begin.
fn each_block(chunk: &[f32], mut work: impl FnMut(usize, &[f32])) {
    for (i, block) in chunk.chunks(BLOCK).enumerate() {
        work(i * BLOCK, block);
    }
}

fn summarise(
    isa: Isa,
    what: &Inspect,
    chunk: &[f32],
    start: usize,
    units: &AxisShape,
    alive: &[AtomicBool],
) -> Summary {
    let f: Elementwise = what.function();
    let threshold = what.threshold();
    let mut found = Summary::NOTHING;
    each_block(chunk, |at, block| {
        let (mut y, mut slope) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (y, slope) = (&mut y[..block.len()], &mut slope[..block.len()]);
        super::elementwise::apply(isa, &f, block, y);
        super::elementwise::grad(isa, &f, block, &[1.0; BLOCK][..block.len()], slope);
        for (i, (&y, &slope)) in y.iter().zip(&*slope).enumerate() {
            if y != 0.0 {
                let unit = ((start + at + i) / units.inner) % units.len;
                // Most are there already; a store would take the cache line from other threads.
                if !alive[unit].load(Ordering::Relaxed) {
                    alive[unit].store(true, Ordering::Relaxed);
                }
            }
            if y.is_nan() {
                found.nan += 1;
                continue;
            }
            found.saturated += u64::from(slope.abs() < threshold);
            found.slopes += f64::from(slope.abs());
            if y.is_finite() {
                found.zeros += u64::from(y == 0.0);
                found.min = found.min.min(y);
                found.max = found.max.max(y);
                found.total += f64::from(y);
            } else if y > 0.0 {
                found.positive_infinities += 1;
            } else {
                found.negative_infinities += 1;
            }
        }
    });
    found
}
