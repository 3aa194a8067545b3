//! The accuracy check of the parametric rectifier and of gradients by activations' parameters.

use super::{Noise, Pass, Report, beyond};
use crate::backend::Trial;
use crate::error::Result;
use crate::learn::learnable;
use crate::prelu::Prelu;
use crate::reference::{parameter_derivative, prelu as reference, ulp_error};

/// Shapes of arrays, and of the slopes that are broadcast over them.
const SHAPES: [(&[usize], &[usize]); 7] = [
    (&[7], &[1]),
    (&[3, 8], &[8]),
    (&[2, 3, 4, 6], &[3, 1, 1]),
    (&[2, 3, 4, 5], &[2, 1, 4, 1]),
    (&[300, 257], &[257]),
    (&[5, 40, 61], &[40, 1]),
    (&[100_003], &[1]),
];

checks! {
    /// Holds prelu and its gradients by x and by the slope against the reference: slopes that are shared and
    /// broadcast, and special values. Of a gradient by a slope, what the rounding of a pairwise sum explains is
    /// taken off.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn prelu / prelu_async / prelu_by () -> Vec<Report>;
}

pub(crate) async fn prelu_by(backend: &Trial) -> Result<Vec<Report>> {
    let mut forward = Report::new("prelu".to_owned(), Pass::Forward, 0.5);
    let mut backward = Report::new("prelu".to_owned(), Pass::Backward, 0.5);
    let mut by_slope = Report::new("prelu by the slope".to_owned(), Pass::Backward, 4.0);
    for (i, (shape, given)) in SHAPES.into_iter().enumerate() {
        let prelu = Prelu::broadcast(shape, given)?;
        let mut noise = Noise(0x517c_c1b7_2722_0a95 ^ i as u64);
        let mut values = |count: usize, scale: f32| -> Vec<f32> {
            (0..count).map(|_| noise.next() * scale).collect()
        };
        let mut x = values(prelu.elements(), 8.0);
        let specials = [0.0, -0.0, f32::INFINITY, f32::MAX, 1e-30, -1e-30];
        for (x, special) in x.iter_mut().step_by(5).zip(specials) {
            *x = special;
        }
        let (dy, slope) = (values(x.len(), 2.0), values(prelu.slopes(), 1.5));
        let of = slopes_of(shape, given);
        let y = backend.apply(&prelu, (&x, &slope)).await?;
        let gradients = backend.grads(&prelu, (&x, &slope), &dy).await?;
        let [dx, dslope] = &gradients[..] else {
            continue;
        };
        let mut sums = vec![(0.0, 0.0, 0u32); slope.len()];
        for (k, &at) in of.iter().enumerate() {
            let (wide, slope, dy) = (x[k].into(), slope[at].into(), dy[k].into());
            let want = reference::forward(wide, slope);
            forward.add(x[k], y[k], want, ulp_error(y[k], want, 0.0));
            let want = reference::backward(wide, slope, dy);
            backward.add(x[k], dx[k], want, ulp_error(dx[k], want, 0.0));
            let term = reference::slope_term(wide, dy);
            let (sum, size, count) = &mut sums[at];
            (*sum, *size, *count) = (*sum + term, *size + term.abs(), *count + 1);
        }
        for (&got, &(want, size, count)) in dslope.iter().zip(&sums) {
            let levels = f64::from(count).log2().ceil() * 2f64.powi(-24);
            by_slope.add(0.0, got, want, beyond(got, want, 0.0, size * levels));
        }
    }
    Ok(vec![forward, backward, by_slope])
}

/// The number of the slope of each element, by NumPy's rule.
fn slopes_of(shape: &[usize], given: &[usize]) -> Vec<usize> {
    let count: usize = shape.iter().product();
    let number = |element: usize| {
        let (mut rest, mut at, mut stride) = (element, 0, 1);
        let mut given = given.iter().rev();
        for &len in shape.iter().rev() {
            let place = rest % len;
            rest /= len;
            if let Some(&own) = given.next() {
                at += stride * if own == 1 { 0 } else { place };
                stride *= own;
            }
        }
        at
    };
    (0..count).map(number).collect()
}

checks! {
    /// Holds the gradients by every parameter that can be learned against dual numbers in f64: of single
    /// elements, and sums, of which what the rounding of a pairwise sum explains is taken off.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn parameter_gradients / parameter_gradients_async / parameter_gradients_by () -> Vec<Report>;
}

pub(crate) async fn parameter_gradients_by(backend: &Trial) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for (activation, name) in learnable() {
        let what = format!("{activation} by {name}");
        let mut report = Report::new(what, Pass::Backward, 4.0);
        let parameters = activation.info().parameters;
        // Invariant: it is one of the activation's.
        let index = parameters.iter().position(|p| p.name == name).unwrap_or(0);
        for (i, value) in [-1.5, 0.0, 0.25, 1.0, 12.0].into_iter().enumerate() {
            let f = activation.with([(name, value)])?;
            let mut noise = Noise(0x2545_f491_4f6c_dd1d ^ i as u64);
            let mut arrays: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
            for x in [-90.0, -20.0, -3.3, -0.6, -1e-3, 0.0, 0.7, 2.9, 15.0, 88.0] {
                arrays.push((vec![x], vec![1.7]));
            }
            for (count, scale) in [(2, 1.0), (100, 8.0), (10_007, 30.0)] {
                let mut values =
                    |scale: f32| -> Vec<f32> { (0..count).map(|_| noise.next() * scale).collect() };
                arrays.push((values(scale), values(2.0)));
            }
            for (x, dy) in arrays {
                let got = backend.grad_parameter(f, name, &x, &dy).await?;
                let (mut want, mut size) = (0.0, 0.0);
                for (&x, &dy) in x.iter().zip(&dy) {
                    let term = f64::from(dy) * parameter_derivative(&f, index, x.into());
                    (want, size) = (want + term, size + term.abs());
                }
                let levels = (x.len() as f64).log2().ceil() * 2f64.powi(-24);
                report.add(x[0], got, want, beyond(got, want, 0.0, size * levels));
            }
        }
        reports.push(report);
    }
    Ok(reports)
}
