//! Functions of a whole row that are computed on the row as a slice: rows over threads, and the
//! rows of an inner axis gathered side by side and put back.

use super::elementwise::SERIAL_BELOW;
use super::threads::{self, prelude::*};
use crate::shape::AxisShape;

/// Elements that a thread takes at a time.
const TASK: usize = 16 * 1024;
/// Columns that are gathered together: a cache line of them.
const COLUMNS: usize = 16;

/// Calls `row` with each row of the inputs and of the output, and with something of the thread's
/// own to work in. All arrays have `shape`.
pub(super) fn each_row<const N: usize, S: Default + Send>(
    shape: &AxisShape,
    inputs: [&[f32]; N],
    out: &mut [f32],
    row: impl Fn(&mut S, [&[f32]; N], &mut [f32]) + Sync,
) {
    let AxisShape { outer, len, inner } = *shape;
    let block = len * inner;
    if out.is_empty() {
        return;
    }
    let serial = out.len() < SERIAL_BELOW || threads::count() == 1;
    let blocks = |scratch: &mut Scratch<S, N>, first: usize, out: &mut [f32]| {
        for (i, out) in out.chunks_mut(block).enumerate() {
            let start = (first + i) * block;
            let inputs = inputs.map(|input| &input[start..start + block]);
            if inner == 1 {
                row(&mut scratch.own, inputs, out);
                continue;
            }
            for columns in (0..inner).step_by(COLUMNS) {
                let columns = columns..inner.min(columns + COLUMNS);
                scratch.rows(inputs, len, inner, columns.clone(), &row);
                scatter(&scratch.out, out, inner, columns);
            }
        }
    };
    if serial {
        blocks(&mut Scratch::default(), 0, out);
    } else if outer >= 2 * threads::count() || inner <= COLUMNS {
        let count = TASK.div_ceil(block);
        out.par_chunks_mut(count * block).enumerate().for_each_init(
            Scratch::default,
            |scratch, (i, out)| {
                blocks(scratch, i * count, out);
            },
        );
    } else {
        // Few blocks of many columns: tiles of columns over threads, some at a time.
        let wave = 4 * threads::count() * COLUMNS;
        for (o, out) in out.chunks_mut(block).enumerate() {
            let inputs = inputs.map(|input| &input[o * block..(o + 1) * block]);
            for first in (0..inner).step_by(wave) {
                let tiles: Vec<_> = (first..inner.min(first + wave))
                    .step_by(COLUMNS)
                    .map(|c| c..inner.min(c + COLUMNS))
                    .collect();
                let results: Vec<Vec<f32>> = tiles
                    .par_iter()
                    .map_init(Scratch::<S, N>::default, |scratch, columns| {
                        scratch.rows(inputs, len, inner, columns.clone(), &row);
                        std::mem::take(&mut scratch.out)
                    })
                    .collect();
                for (columns, result) in tiles.into_iter().zip(results) {
                    scatter(&result, out, inner, columns);
                }
            }
        }
    }
}

/// A thread's own.
struct Scratch<S, const N: usize> {
    own: S,
    inputs: [Vec<f32>; N],
    /// Rows of results, one after the other.
    out: Vec<f32>,
}

impl<S: Default, const N: usize> Default for Scratch<S, N> {
    fn default() -> Self {
        Self {
            own: S::default(),
            inputs: std::array::from_fn(|_| Vec::new()),
            out: Vec::new(),
        }
    }
}

impl<S, const N: usize> Scratch<S, N> {
    /// Computes the rows of some columns of a block into `self.out`.
    fn rows(
        &mut self,
        inputs: [&[f32]; N],
        len: usize,
        inner: usize,
        columns: std::ops::Range<usize>,
        row: &impl Fn(&mut S, [&[f32]; N], &mut [f32]),
    ) {
        let width = columns.len();
        for (gathered, input) in self.inputs.iter_mut().zip(inputs) {
            gathered.resize(width * len, 0.0);
            for (i, step) in input.chunks(inner).enumerate() {
                for (c, &value) in step[columns.clone()].iter().enumerate() {
                    gathered[c * len + i] = value;
                }
            }
        }
        self.out.resize(width * len, 0.0);
        for (c, out) in self.out.chunks_mut(len).enumerate() {
            let inputs = std::array::from_fn(|i| &self.inputs[i][c * len..(c + 1) * len]);
            row(&mut self.own, inputs, out);
        }
    }
}

/// Puts rows back into the columns of a block.
fn scatter(rows: &[f32], block: &mut [f32], inner: usize, columns: std::ops::Range<usize>) {
    let len = block.len() / inner;
    for (i, step) in block.chunks_mut(inner).enumerate() {
        for (c, value) in step[columns.clone()].iter_mut().enumerate() {
            *value = rows[c * len + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes of every branch: each row is reversed, and finds its own numbers.
    #[test]
    fn rows_are_found_and_put_back() {
        for (outer, len, inner) in [
            (1, 1, 1),
            (3, 5, 1),
            (2, 7, 3),
            (1, 3, 50),
            (5000, 9, 1),
            (1000, 3, 17),
            (1, 40, 1003),
            (2, 500, 80),
            (1, 100_000, 1),
            (1, 20_000, 5),
            (3, 0, 4),
        ] {
            let shape = AxisShape { outer, len, inner };
            let x: Vec<f32> = (0..shape.elements()).map(|i| i as f32).collect();
            let mut out = vec![-1.0; x.len()];
            each_row(&shape, [&x, &x], &mut out, |_: &mut (), [a, b], out| {
                assert_eq!(a, b);
                assert_eq!(a.len(), len);
                for (out, a) in out.iter_mut().zip(a.iter().rev()) {
                    *out = *a;
                }
            });
            for (i, &got) in out.iter().enumerate() {
                let (o, step, c) = (i / (len * inner), i / inner % len, i % inner);
                let want = (o * len + (len - 1 - step)) * inner + c;
                assert_eq!(got, want as f32, "{shape:?} {i}");
            }
        }
    }
}
