//! Sums over axes: in f64, over parts whose ends depend on the shape alone, so that the result
//! does not depend on threads.

use super::elementwise::SERIAL_BELOW;
use super::threads::prelude::*;
use crate::sum::SumShape;
use std::ops::Range;

/// Elements of a part, at least.
const PART: usize = 64 * 1024;
/// Parts of the terms of one sum, at most.
const MOST_PARTS: usize = 64;

/// For each sum of `shape`, that of `term(i)` over its elements' places i.
pub(super) fn sum(shape: &SumShape, term: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
    let add = |range: Range<usize>, totals: &mut [f64]| {
        for (total, i) in totals.iter_mut().zip(range) {
            *total += term(i);
        }
    };
    sum_of_runs(shape, |range| run(range, &term), add)
}

/// As [`sum`], where `run` gives the sum of neighbouring terms, and `add` adds each of them to a
/// total of its own.
pub(super) fn sum_of_runs(
    shape: &SumShape,
    run: impl Fn(Range<usize>) -> f64 + Sync,
    add: impl Fn(Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let [k1, r1, k2, r2, k3, r3] = match shape.groups {
        // The last length is that of runs.
        [k1, r1, k2, r2, 1, 1] => [k1, r1, 1, 1, k2, r2],
        groups => groups,
    };
    let (sums, unit) = (k2 * k3, k2 * r2 * k3 * r3);
    if shape.elements() == 0 || sums == 0 {
        return vec![0.0; shape.sums()];
    }
    let step = PART.div_ceil(unit).max(r1.div_ceil(MOST_PARTS));
    let per_block = r1.div_ceil(step);
    let part = |index: usize| -> Vec<f64> {
        let (block, first) = (index / per_block, index % per_block * step);
        let units = block * r1 + first..block * r1 + r1.min(first + step);
        if unit == 1 {
            return vec![run(units)];
        }
        let mut totals = vec![0.0; sums];
        for unit_index in units {
            let mut at = unit_index * unit;
            for totals in totals.chunks_mut(k3) {
                for _ in 0..r2 {
                    if r3 == 1 {
                        add(at..at + k3, totals);
                        at += k3;
                    } else {
                        for total in totals.iter_mut() {
                            *total += run(at..at + r3);
                            at += r3;
                        }
                    }
                }
            }
        }
        totals
    };
    let parts: Vec<Vec<f64>> = if shape.elements() < SERIAL_BELOW {
        (0..k1 * per_block).map(part).collect()
    } else {
        (0..k1 * per_block).into_par_iter().map(part).collect()
    };
    let merged = parts.chunks(per_block).flat_map(|parts| {
        (0..sums).map(move |k| {
            let parts = parts.iter().map(|part| part[k]);
            parts.fold(0.0, |total, part| total + part)
        })
    });
    merged.collect()
}

/// The sum of what `part` gives for the parts of two arrays of one length.
pub(super) fn sum_of_chunks(
    x: &[f32],
    dy: &[f32],
    part: impl Fn(&[f32], &[f32]) -> f64 + Sync,
) -> f64 {
    let parts: Vec<f64> = if x.len() < SERIAL_BELOW {
        let parts = x.chunks(PART).zip(dy.chunks(PART));
        parts.map(|(x, dy)| part(x, dy)).collect()
    } else {
        let parts = x.par_chunks(PART).zip(dy.par_chunks(PART));
        parts.map(|(x, dy)| part(x, dy)).collect()
    };
    parts.iter().fold(0.0, |total, part| total + part)
}

/// The sum of a run of terms, eight side by side.
#[inline(always)]
fn run(range: Range<usize>, term: &impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let whole = range.len() / 8 * 8;
    for start in (range.start..range.start + whole).step_by(8) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += term(start + lane);
        }
    }
    let rest = (range.start + whole..range.end).map(term);
    let rest = rest.fold(0.0, |total, term| total + term);
    lanes.iter().fold(rest, |total, lane| total + lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of each sum's elements, the plain way.
    fn places(shape: &SumShape) -> Vec<Vec<usize>> {
        let [k1, r1, k2, r2, k3, r3] = shape.groups;
        let mut places = vec![Vec::new(); shape.sums()];
        let mut at = 0;
        for a in 0..k1 {
            for _ in 0..r1 {
                for b in 0..k2 {
                    for _ in 0..r2 {
                        for c in 0..k3 {
                            for _ in 0..r3 {
                                places[(a * k2 + b) * k3 + c].push(at);
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
        places
    }

    #[test]
    fn each_term_is_added_once() {
        for groups in [
            [1, 1, 1, 1, 1, 1],
            [2, 3, 4, 5, 6, 7],
            [1, 40, 3, 17, 1, 1],
            [5, 1, 1, 1, 1, 9],
            [1, 100_003, 1, 1, 1, 1],
            [1, 1, 3, 70_001, 1, 1],
            [1, 3000, 50, 1, 1, 1],
            [3, 0, 2, 1, 1, 1],
            [1, 300, 2, 2, 3, 33],
        ] {
            let shape = SumShape { groups };
            // Sums of integers are exact.
            let term = |i: usize| (i % 1009) as f64;
            let want: Vec<f64> = places(&shape)
                .into_iter()
                .map(|places| places.into_iter().map(term).sum())
                .collect();
            assert_eq!(sum(&shape, term), want, "{groups:?}");
        }
    }
}
