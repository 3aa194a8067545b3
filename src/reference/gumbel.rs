//! gumbel_softmax with given noise in f64.

use super::for_rows;
use super::shaping::exact_sum;
use crate::shape::AxisShape;

/// Softmax of (x + noise) / tau of every row.
///
/// # Panics
/// Where an array has another number of elements than `shape`.
pub fn forward(tau: f32, x: &[f32], noise: &[f32], shape: &AxisShape) -> Vec<f64> {
    assert_eq!((x.len(), noise.len()), (shape.elements(), shape.elements()));
    let mut out = vec![0.0; x.len()];
    for_rows(shape, |index, _| {
        // Sums as two f64, so that differences are exact.
        let values: Vec<[f64; 2]> = index
            .clone()
            .map(|i| exact_sum(x[i].into(), noise[i].into()))
            .collect();
        let nan = values.iter().any(|v| v[0].is_nan());
        let most = values
            .iter()
            .copied()
            .fold([f64::NEG_INFINITY, 0.0], |a, b| {
                if b[0] > a[0] || (b[0] == a[0] && b[1] > a[1]) {
                    b
                } else {
                    a
                }
            });
        let undefined = nan || most[0].is_infinite();
        let weights = values.iter().map(|v| {
            let lost = if v[0].is_finite() {
                v[1] - most[1]
            } else {
                0.0
            };
            libm::exp(((v[0] - most[0]) + lost) / f64::from(tau))
        });
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        for (i, weight) in index.zip(weights) {
            out[i] = if undefined { f64::NAN } else { weight / total };
        }
    });
    out
}

/// Its gradient by x, and beside each value the magnitude of the largest term.
///
/// # Panics
/// As [`forward`].
pub fn backward(
    tau: f32,
    x: &[f32],
    noise: &[f32],
    dy: &[f32],
    shape: &AxisShape,
) -> (Vec<f64>, Vec<f64>) {
    let y = forward(tau, x, noise, shape);
    let (mut out, mut largest) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for_rows(shape, |index, _| {
        let term = |i: usize| y[i] * f64::from(dy[i]);
        let dot: f64 = index.clone().map(term).sum();
        let size: f64 = index.clone().map(|i| term(i).abs()).sum();
        for i in index {
            let (g, rate) = (f64::from(dy[i]), 1.0 / f64::from(tau));
            out[i] = y[i] * (g - dot) * rate;
            largest[i] = y[i] * g.abs().max(size) * rate;
        }
    });
    (out, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_differences() {
        let (x, noise) = ([0.5f32, -1.0, 2.0, 0.25], [0.1f32, 0.7, -0.6, 2.0]);
        let dy = [1.0f32, -0.5, 0.25, 3.0];
        let shape = AxisShape {
            outer: 1,
            len: 4,
            inner: 1,
        };
        for tau in [0.5, 1.0, 3.0] {
            let (dx, _) = backward(tau, &x, &noise, &dy, &shape);
            for i in 0..4 {
                // Steps that f32 has exactly.
                let h = 2f32.powi(-10);
                let value = |h: f32| {
                    let mut moved = x;
                    moved[i] += h;
                    let y = forward(tau, &moved, &noise, &shape);
                    y.iter().zip(dy).map(|(y, g)| y * f64::from(g)).sum::<f64>()
                };
                let difference = (value(h) - value(-h)) / f64::from(2.0 * h);
                assert!((dx[i] - difference).abs() < 1e-5, "{tau} {i}");
            }
        }
    }
}
