//! maxout of groups: what it picks is exact.

use super::for_rows;
use crate::shape::AxisShape;

/// The maximum of every row; NaN where there is one.
///
/// # Panics
/// Where `x` has another number of elements than `rows`.
pub fn forward(x: &[f32], rows: &AxisShape) -> Vec<f32> {
    let mut out = vec![0.0; rows.rows()];
    for_rows(rows, |index, row| out[row] = x[winner(x, index)]);
    out
}

/// Its gradient by x: dy at the first maximum, NaN where x is NaN, else 0.
///
/// # Panics
/// Where `x` has another number of elements than `rows`, or `dy` than `rows` has rows.
pub fn backward(x: &[f32], dy: &[f32], rows: &AxisShape) -> Vec<f32> {
    let mut out: Vec<f32> = x
        .iter()
        .map(|x| if x.is_nan() { *x } else { 0.0 })
        .collect();
    for_rows(rows, |index, row| {
        let winner = winner(x, index);
        if !x[winner].is_nan() {
            out[winner] = dy[row];
        }
    });
    out
}

fn winner(x: &[f32], mut index: impl Iterator<Item = usize> + Clone) -> usize {
    if let Some(nan) = index.clone().find(|&i| x[i].is_nan()) {
        return nan;
    }
    let max = index
        .clone()
        .map(|i| x[i])
        .fold(f32::NEG_INFINITY, f32::max);
    // A group has an element, and its maximum is one of them.
    index.find(|&i| x[i] == max).unwrap()
}
