//! How sums over axes are cut into dispatches.

use super::{Traits, enough_invocations, most_steps};
use crate::few::Few;
use crate::sum::SumShape;

/// A contiguous part of the array, an array of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SumPiece {
    /// Elements before it.
    pub start: u64,
    /// Its groups of axes, as [`SumShape`] has them.
    pub groups: [u64; 6],
    /// Sums before its first.
    pub row_first: u64,
    /// Pieces of the same sums before it.
    pub index: u64,
}

impl SumPiece {
    pub(crate) fn elements(&self) -> u64 {
        self.groups.iter().product()
    }

    pub(crate) fn rows(&self) -> u64 {
        let [a, _, b, _, c, _] = self.groups;
        a * b * c
    }

    /// Which of all sums it has a part of.
    pub(crate) fn row_range(&self) -> std::ops::Range<usize> {
        self.row_first as usize..(self.row_first + self.rows()) as usize
    }

    pub(crate) fn len(&self) -> u64 {
        let [_, a, _, b, _, c] = self.groups;
        a * b * c
    }
}

/// The cutting of sums over axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SumPlan {
    pub pieces: Few<SumPiece, 1>,
    /// Pieces of each sum.
    pub pieces_per_row: u64,
    /// Invocations of a sum in a piece; 1 with one piece for a sum: no partial sums are needed.
    pub lanes: u64,
    /// Terms of a lane one after the other, or 0 where lanes take turns.
    pub segment: u64,
    pub workgroup: u32,
}

impl SumPlan {
    /// Whether each sum is one invocation's.
    pub(crate) fn direct(&self) -> bool {
        self.lanes == 1 && self.pieces_per_row == 1
    }

    /// Partial sums of each sum.
    pub(crate) fn slots(&self) -> u64 {
        self.lanes * self.pieces_per_row
    }
}

/// Bytes of a partial sum.
pub(crate) const PARTIAL_SUM_BYTES: u64 = 8;
/// Partial sums that one invocation merges.
pub(crate) const MERGED: u64 = 32;

/// Plans the sums of `shape`. `None` where the partial sums of all are more than a binding holds.
pub(crate) fn sum(shape: &SumShape, traits: &Traits) -> Option<SumPlan> {
    let bindable = (traits.max_binding / 4).saturating_sub(traits.alignment / 4);
    let pieces = sum_pieces(shape, bindable);
    let pieces_per_row = pieces
        .iter()
        .map(|piece| piece.index + 1)
        .max()
        .unwrap_or(1);
    let rows = pieces.iter().map(SumPiece::rows).max().unwrap_or(0).max(1);
    let len = pieces.iter().map(SumPiece::len).max().unwrap_or(0);
    let workgroup = 64.min(traits.max_invocations);
    // A partial sum must be worth some terms to its lane, and two regions of them a binding.
    let least = len.div_ceil(most_steps(traits)).max(1);
    let room = traits.max_binding / PARTIAL_SUM_BYTES / 2;
    let lanes = (enough_invocations(traits) / rows)
        .min(len / 16)
        .min(room / (shape.sums() as u64 * pieces_per_row).max(1))
        .max(least);
    let segment = if traits.software {
        len.div_ceil(lanes).max(1)
    } else {
        0
    };
    let lanes = if traits.software {
        len.div_ceil(segment).max(1)
    } else {
        lanes
    };
    let plan = SumPlan {
        pieces,
        pieces_per_row,
        lanes,
        segment,
        workgroup,
    };
    let most_invocations = traits.most_groups().saturating_mul(u64::from(workgroup));
    let all = shape.sums() as u64 * plan.slots();
    let fits = plan.direct() || all <= room;
    let counted = (rows * plan.lanes).max(all.min(room)) <= most_invocations.min(u32::MAX.into());
    (fits && counted).then_some(plan)
}

/// Cuts the sums of `shape` into pieces of at most `most` elements.
pub(crate) fn sum_pieces(shape: &SumShape, most: u64) -> Few<SumPiece, 1> {
    let mut pieces = Few::default();
    let whole = SumPiece {
        start: 0,
        groups: shape.groups.map(|n| n as u64),
        row_first: 0,
        index: 0,
    };
    cut(whole, most, &mut pieces);
    pieces
}

/// The sum of pairs, of a rounded sum and what was lost of it.
pub(crate) fn total(pairs: &[f32]) -> f64 {
    let pairs = pairs.chunks_exact(2).map(|pair| {
        // Past the end of f32, and of NaN, what was lost means nothing.
        let lost = if pair[0].is_finite() { pair[1] } else { 0.0 };
        f64::from(pair[0]) + f64::from(lost)
    });
    pairs.fold(0.0, |total, sum| total + sum)
}

/// Adds up what the pieces of sums left: for each of a piece's sums a pair, the rounded sum and
/// what was lost of it.
pub(crate) fn merge_pieces(pieces: &[SumPiece], parts: &[f32], sums: &mut [f32]) {
    let mut totals = vec![0.0f64; sums.len()];
    let mut pairs = parts.chunks_exact(2);
    for piece in pieces {
        for total in &mut totals[piece.row_range()] {
            *total += pairs.next().map_or(0.0, self::total);
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = total as f32;
    }
}

/// Cuts a piece into such as can be bound, and says how many share each sum.
fn cut(piece: SumPiece, bindable: u64, pieces: &mut Few<SumPiece, 1>) -> u64 {
    let [k1, r1, k2, r2, k3, r3] = piece.groups;
    let (unit, unit_rows) = (k2 * r2 * k3 * r3, k2 * k3);
    let block = r1 * unit;
    if piece.elements() == 0 {
        pieces.push(piece);
        return 1;
    }
    if block <= bindable {
        let most = bindable / block;
        for first in (0..k1).step_by(most as usize) {
            pieces.push(SumPiece {
                start: piece.start + first * block,
                groups: [most.min(k1 - first), r1, k2, r2, k3, r3],
                row_first: piece.row_first + first * unit_rows,
                ..piece
            });
        }
        return 1;
    }
    let mut per_row = 0;
    for outer in 0..k1 {
        per_row = 0;
        let start = piece.start + outer * block;
        let row_first = piece.row_first + outer * unit_rows;
        if unit <= bindable {
            let most = bindable / unit;
            for first in (0..r1).step_by(most as usize) {
                pieces.push(SumPiece {
                    start: start + first * unit,
                    groups: [1, most.min(r1 - first), k2, r2, k3, r3],
                    row_first,
                    index: piece.index + per_row,
                });
                per_row += 1;
            }
        } else {
            for first in 0..r1 {
                let inside = SumPiece {
                    start: start + first * unit,
                    groups: [k2, r2, k3, r3, 1, 1],
                    row_first,
                    index: piece.index + per_row,
                };
                per_row += cut(inside, bindable, pieces);
            }
        }
    }
    per_row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Quirks;

    fn traits(elements: u64, software: bool) -> Traits {
        Traits {
            max_binding: elements * 4 + 256,
            alignment: 256,
            max_groups: 65_535,
            max_invocations: 256,
            software,
            walk: crate::plan::Walk::of(software, false),
            quirks: Quirks::default(),
        }
    }

    /// Every element is in one piece, every piece can be bound, and the pieces of a sum are
    /// numbered.
    #[test]
    fn pieces_cover_the_array() {
        let mut planned = 0;
        for groups in [
            [2, 3, 4, 5, 6, 7],
            [1, 1000, 1, 1, 1, 1],
            [50, 1, 1, 1, 1, 1],
            [1, 4, 3, 100, 1, 1],
            [3, 2, 2, 3, 2, 100],
            [3, 0, 2, 1, 1, 1],
        ] {
            let shape = SumShape { groups };
            for most in [64, 100, 1000, 1 << 20] {
                let Some(plan) = sum(&shape, &traits(most, most % 3 == 1)) else {
                    assert!(most <= 100, "{groups:?}, {most}");
                    continue;
                };
                planned += 1;
                let mut at = 0;
                let mut used = vec![0; shape.sums()];
                for piece in &plan.pieces {
                    assert_eq!(piece.start, at, "{groups:?}, {most}");
                    at += piece.elements();
                    assert!(piece.elements() <= most);
                    for row in piece.row_first..piece.row_first + piece.rows() {
                        assert_eq!(used[row as usize], piece.index, "{groups:?}, {most}");
                        used[row as usize] += 1;
                    }
                    let segment = plan.segment.max(1);
                    assert!(plan.segment == 0 || piece.len() <= plan.lanes * segment);
                }
                assert_eq!(at, shape.elements() as u64);
                assert!(used.iter().all(|&n| n == plan.pieces_per_row));
            }
        }
        assert!(planned >= 20, "{planned}");
    }

    #[test]
    fn lanes_are_for_few_long_sums() {
        let plan = |groups, software| sum(&SumShape { groups }, &traits(1 << 25, software));
        let shared = plan([1, 1 << 24, 1, 1, 1, 1], true).unwrap();
        assert_eq!((shared.lanes, shared.segment), (1024, 16_384));
        assert!(!shared.direct());
        assert!(plan([1 << 20, 4, 1, 1, 1, 1], false).unwrap().direct());
        let long = plan([1 << 12, 1 << 20, 1, 1, 1, 1], true).unwrap();
        assert_eq!(long.segment, 16_384);
        // More partial sums than a binding has room for.
        assert!(plan([1, 8, 1 << 25, 1, 1, 1], true).is_none());
    }
}
