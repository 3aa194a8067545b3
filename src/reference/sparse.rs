//! Hardmax, sparsemax and entmax of rows, and their gradients, in f64: by sorting and by
//! bisection, which share nothing with the backends' iterations.

use super::{for_rows, ulp_error};
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

/// `function` of every row of `x`.
///
/// # Panics
/// Where `x` has another number of elements than `shape`.
pub fn forward(function: SparseFunction, x: &[f32], shape: &AxisShape) -> Vec<f64> {
    assert_eq!(x.len(), shape.elements());
    let mut out = vec![0.0; x.len()];
    for_rows(shape, |index, _| {
        let row: Vec<f64> = index.clone().map(|i| f64::from(x[i])).collect();
        for (i, y) in index.zip(row_forward(function, &row)) {
            out[i] = y;
        }
    });
    out
}

/// The gradient of `function` by its input, from its output `y`, and beside each value the
/// magnitude of the largest term that it is a sum of. A zero weight wins over an infinite
/// gradient, and a NaN anywhere in a row over all.
///
/// # Panics
/// Where `y` or `dy` has another number of elements than `shape`.
pub fn from_output(
    function: SparseFunction,
    y: &[f64],
    dy: &[f32],
    shape: &AxisShape,
) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(y.len(), shape.elements());
    assert_eq!(dy.len(), shape.elements());
    let (mut out, mut largest) = (vec![0.0; y.len()], vec![0.0; y.len()]);
    for_rows(shape, |index, _| {
        let row: Vec<(f64, f64)> = index.clone().map(|i| (y[i], f64::from(dy[i]))).collect();
        let weight = |y: f64| match function {
            _ if y <= 0.0 => 0.0,
            SparseFunction::Hardmax => 0.0,
            SparseFunction::Sparsemax => 1.0,
            SparseFunction::Entmax { alpha } => libm::pow(y, 2.0 - f64::from(alpha)),
        };
        let times = |s: f64, g: f64| if s == 0.0 { 0.0 } else { s * g };
        let nan = row.iter().any(|(y, g)| y.is_nan() || g.is_nan());
        let total: f64 = row.iter().map(|&(y, _)| weight(y)).sum();
        let dot: f64 = row.iter().map(|&(y, g)| times(weight(y), g)).sum();
        let size: f64 = row.iter().map(|&(y, g)| times(weight(y), g.abs())).sum();
        for (i, &(y, g)) in index.zip(&row) {
            let s = weight(y);
            out[i] = if nan {
                f64::NAN
            } else {
                times(s, g - dot / total)
            };
            largest[i] = times(s, g.abs().max(size / total));
        }
    });
    (out, largest)
}

/// A result, and the range that a rounding of its row allows.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// The exact result.
    pub want: f64,
    low: f64,
    high: f64,
}

impl Within {
    /// The error of `got` in ULP beyond the range.
    pub fn ulp(&self, got: f32) -> f64 {
        if got.is_nan() || self.want.is_nan() {
            return ulp_error(got, self.want, 0.0);
        }
        ulp_error(got, f64::from(got).clamp(self.low, self.high), 0.0)
    }
}

/// [`forward`], with the range of results that a relative error `rounding` explains of what a row
/// has in common.
///
/// Up to an alpha of 2 that is the row's threshold. With u = (want / largest)^(alpha - 1), which is 0
/// at the threshold and 1 at the maximum, such an error moves u by (1 - u) times it, and less so where
/// alpha - 1 is below 1. Where alpha is above 2, results rise from the threshold with an infinite
/// slope, and it is the row's sum, which is 1: the range is from the results that sum to 1 - `rounding`
/// to those that sum to 1 + `rounding`.
///
/// # Panics
/// Where `x` has another number of elements than `shape`.
pub fn forward_within(
    function: SparseFunction,
    x: &[f32],
    shape: &AxisShape,
    rounding: f64,
) -> Vec<Within> {
    let all = forward(function, x, shape);
    let mut out: Vec<Within> = all
        .iter()
        .map(|&want| Within {
            want,
            low: want,
            high: want,
        })
        .collect();
    let q = match function {
        SparseFunction::Sparsemax => 1.0,
        SparseFunction::Entmax { alpha } if alpha > 1.0 => f64::from(alpha) - 1.0,
        _ => return out,
    };
    for_rows(shape, |index, _| {
        let row: Vec<f64> = index.clone().map(|i| f64::from(x[i])).collect();
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let largest = index.clone().map(|i| all[i]).fold(0.0, f64::max);
        if q > 1.0 && max.is_finite() {
            let low = steep(&row, max, q, 1.0 - rounding);
            let high = steep(&row, max, q, 1.0 + rounding);
            for (k, i) in index.enumerate() {
                out[i].low = low[k].min(all[i]);
                out[i].high = high[k].max(all[i]);
            }
            return;
        }
        for i in index {
            let u = libm::pow(all[i] / largest, q);
            let moved = (1.0 - u) * q * rounding;
            let at = |u: f64| largest * libm::pow(u.max(0.0), 1.0 / q);
            // What comes of the powers' own rounding is none.
            out[i].low = at(u - moved).min(all[i]);
            out[i].high = at(u + moved).max(all[i]);
        }
    });
    out
}

fn row_forward(function: SparseFunction, x: &[f64]) -> Vec<f64> {
    let nan = x.iter().any(|x| x.is_nan());
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if nan {
        return vec![f64::NAN; x.len()];
    }
    match function {
        SparseFunction::Hardmax => {
            let first = x.iter().position(|&x| x == max);
            (0..x.len()).map(|i| f64::from(Some(i) == first)).collect()
        }
        _ if max.is_infinite() => vec![f64::NAN; x.len()],
        SparseFunction::Sparsemax => sparsemax(x, max),
        SparseFunction::Entmax { alpha: 1.0 } => {
            let terms: Vec<f64> = x.iter().map(|x| libm::exp(x - max)).collect();
            let total: f64 = terms.iter().sum();
            terms.iter().map(|term| term / total).collect()
        }
        SparseFunction::Entmax { alpha } if alpha > 2.0 => {
            steep(x, max, f64::from(alpha) - 1.0, 1.0)
        }
        SparseFunction::Entmax { alpha } => entmax(x, max, f64::from(alpha)),
    }
}

/// The algorithm of the paper: the support is the longest beginning of the sorted row in which
/// every element lies above the threshold of that beginning.
fn sparsemax(x: &[f64], max: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = x.iter().map(|x| x - max).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut tau) = (0.0, 0.0);
    for (k, &z) in sorted.iter().enumerate() {
        sum += z;
        let count = (k + 1) as f64;
        if 1.0 + count * z > sum {
            tau = (sum - 1.0) / count;
        }
    }
    x.iter().map(|x| ((x - max) - tau).max(0.0)).collect()
}

/// Bisection for the largest result w, in which the row's sum increases.
fn entmax(x: &[f64], max: f64, alpha: f64) -> Vec<f64> {
    let q = alpha - 1.0;
    // Nothing further down has a result where w is 1, nor where it is less.
    let near: Vec<f64> = x.iter().copied().filter(|x| q * (max - x) < 1.0).collect();
    let results = |x: &[f64], w: f64| -> Vec<f64> {
        // w - y, by powers of w, so that the threshold keeps its precision.
        let inverse = q * libm::pow(w, -q);
        let of = move |x: &f64| {
            if *x == max {
                return w;
            }
            let u = 1.0 - (max - x) * inverse;
            if u > 0.0 {
                w * libm::pow(u, 1.0 / q)
            } else {
                0.0
            }
        };
        x.iter().map(of).collect()
    };
    let (mut low, mut high) = (1.0 / x.len() as f64, 1.0);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if results(&near, middle).iter().sum::<f64>() < 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    results(x, high)
}

/// The results for q > 1 that sum to `sum`: sorted, an element has one where those before it would
/// sum to less if its own were 0; and bisection for the least of them, t, beside which the others are
/// (q d + t^q)^(1/q) with their distance d.
fn steep(x: &[f64], max: f64, q: f64, sum: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = x.iter().copied().filter(|x| q * (max - x) < 1.1).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let result = |x: f64, least: f64, t: f64| {
        if x > least {
            libm::pow(q * (x - least) + libm::pow(t, q), 1.0 / q)
        } else {
            t
        }
    };
    let total = |xs: &[f64], least: f64, t: f64| xs.iter().map(|&x| result(x, least, t)).sum();
    let has_result = |least: &f64| {
        let total: f64 = total(&sorted, *least, 0.0);
        total < sum
    };
    let count = sorted.partition_point(has_result);
    let least = sorted[count - 1];
    let (mut low, mut high) = (0.0, 1.1);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        let total: f64 = total(&sorted[..count], least, middle);
        if total < sum {
            low = middle;
        } else {
            high = middle;
        }
    }
    let results = x.iter().map(|&x| {
        if x < least {
            0.0
        } else {
            result(x, least, high)
        }
    });
    results.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTIONS: [SparseFunction; 6] = [
        SparseFunction::Sparsemax,
        SparseFunction::Entmax { alpha: 1.0 },
        SparseFunction::Entmax { alpha: 1.05 },
        SparseFunction::Entmax { alpha: 1.5 },
        SparseFunction::Entmax { alpha: 2.0 },
        SparseFunction::Entmax { alpha: 3.5 },
    ];

    /// Numbers of the papers' packages and by hand.
    #[test]
    fn known_values() {
        let close = |got: Vec<f64>, want: &[f64]| {
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
        };
        let third = 1.0 / 3.0;
        close(
            sparsemax(&[0.5, 0.4, 0.3], 0.5),
            &[third + 0.1, third, third - 0.1],
        );
        close(
            row_forward(SparseFunction::Sparsemax, &[1.0, 0.5, -1.0]),
            &[0.75, 0.25, 0.0],
        );
        // alpha 1.5: (1/2 - tau)^2 + tau^2 = 1 for x = [1, 0].
        let root = (0.25 + 7f64.sqrt() / 4.0).powi(2);
        let got = row_forward(SparseFunction::Entmax { alpha: 1.5 }, &[1.0, 0.0]);
        close(got, &[root, 1.0 - root]);
        let two = SparseFunction::Entmax { alpha: 2.0 };
        close(
            row_forward(two, &[0.5, 0.4, 0.3]),
            &sparsemax(&[0.5, 0.4, 0.3], 0.5),
        );
        close(
            row_forward(SparseFunction::Hardmax, &[1.0, 3.0, 3.0]),
            &[0.0, 1.0, 0.0],
        );
    }

    /// The gradients from the output against differences of the forward function.
    #[test]
    fn gradients_are_differences() {
        let x = [0.31f32, -0.2, 0.9, 0.55, -1.7, 0.52];
        let dy = [0.3f32, -1.0, 0.25, 2.0, 0.7, -0.4];
        let shape = AxisShape {
            outer: 1,
            len: 6,
            inner: 1,
        };
        for function in FUNCTIONS {
            let (dx, _) = from_output(function, &forward(function, &x, &shape), &dy, &shape);
            for i in 0..x.len() {
                let value = |h: f64| {
                    let mut row: Vec<f64> = x.iter().map(|&x| x.into()).collect();
                    row[i] += h;
                    let y = row_forward(function, &row);
                    y.iter().zip(dy).map(|(y, g)| y * f64::from(g)).sum::<f64>()
                };
                let difference = (value(1e-6) - value(-1e-6)) / 2e-6;
                let error = (dx[i] - difference).abs();
                assert!(error < 1e-7, "{function} {i}: {} {difference}", dx[i]);
            }
        }
    }
}
