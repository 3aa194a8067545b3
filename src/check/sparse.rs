//! The check of the kin of softmax: hardmax, sparsemax, entmax, maxout and gumbel_softmax.

use super::{Noise, Pass, Report, beyond, special_rows};
use crate::arrays::OfShape;
use crate::backend::Trial;
use crate::error::Result;
use crate::functions::Maxout;
use crate::gumbel::GumbelSoftmax;
use crate::maxout::Groups;
use crate::random::Random;
use crate::reference;
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

const BOUND: f64 = 4.0;

/// The shapes and axes of this check: every strategy's, and lengths around the boundaries of
/// workgroups and of what one invocation walks.
const SHAPES: &[(&[usize], isize)] = &[
    (&[5, 1], -1),
    (&[300, 2], -1),
    (&[70, 33], -1),
    (&[9, 64], -1),
    (&[3, 257], 1),
    (&[2, 1000], -1),
    (&[4, 1025], -1),
    (&[1, 10_007], -1),
    (&[4, 7, 3], 1),
    (&[2, 65, 130], 1),
    (&[40, 6], 0),
    (&[2000, 3], 0),
];

/// The functions that [`sparse`] is asked for: all of them, with a spread of alphas.
pub fn functions() -> Vec<SparseFunction> {
    let alphas = [1.0, 1.01, 1.5, 1.75, 2.01, 2.5, 3.0, 4.0, 12.0];
    let mut functions = vec![SparseFunction::Hardmax, SparseFunction::Sparsemax];
    functions.extend(alphas.map(|alpha| SparseFunction::Entmax { alpha }));
    functions
}

/// All of [`functions`] that have a name.
pub(crate) async fn of_name_by(backend: &Trial, name: &str) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for function in functions().into_iter().filter(|f| f.name() == name) {
        reports.extend(sparse_by(backend, function).await?);
    }
    Ok(reports)
}

checks! {
    /// Holds a sparse function, forward and backward from its own output, against the reference: over
    /// several shapes, magnitudes and offsets, and with rows of special values. What a rounding of the
    /// row's threshold explains, as of a pairwise sum, is taken off.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn sparse / sparse_async / sparse_by (function: SparseFunction) -> Vec<Report>;
}

pub(crate) async fn sparse_by(backend: &Trial, function: SparseFunction) -> Result<Vec<Report>> {
    let mut forward = Report::new(function.to_string(), Pass::Forward, BOUND);
    let mut backward = Report::new(function.to_string(), Pass::Backward, BOUND);
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        let around = AxisShape::new(shape, axis)?;
        let levels = levels(&around);
        for (k, (scale, offset)) in [
            (1.0, 0.0),
            (12.0, 0.0),
            (4.0, 1e4),
            (1e-3, 0.0),
            (1e30, 0.0),
        ]
        .into_iter()
        .enumerate()
        {
            let mut noise = Noise(0x517c_c1b7_2722_0a95 ^ (i * 8 + k) as u64);
            let mut x: Vec<f32> = (0..around.elements())
                .map(|_| noise.next() * scale + offset)
                .collect();
            let dy: Vec<f32> = (0..x.len()).map(|_| noise.next()).collect();
            if k == 0 {
                special_rows(&mut x, &around);
            }
            let y = backend
                .apply(function.along(axis), x.of_shape(shape))
                .await?;
            let within = reference::sparse::forward_within(function, &x, &around, levels);
            for (j, (&got, within)) in y.iter().zip(&within).enumerate() {
                let want = within.want;
                let error = beyond(got, want, 0.0, want.abs() * levels);
                forward.add(x[j], got, want, error.min(within.ulp(got)));
            }
            let got = backend
                .grad_from_output(function.along(axis), y.of_shape(shape), &dy)
                .await?;
            let outputs: Vec<f64> = y.iter().map(|&y| y.into()).collect();
            let (want, largest) = reference::sparse::from_output(function, &outputs, &dy, &around);
            for (j, &got) in got.iter().enumerate() {
                let ulp = beyond(got, want[j], largest[j], 2.0 * largest[j] * levels);
                backward.add(y[j], got, want[j], ulp);
            }
        }
    }
    Ok(vec![forward, backward])
}

checks! {
    /// Holds gumbel_softmax, forward and backward, against the reference with the backend's own noise,
    /// at several temperatures.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn gumbel_softmax / gumbel_softmax_async / gumbel_softmax_by () -> Vec<Report>;
}

pub(crate) async fn gumbel_softmax_by(backend: &Trial) -> Result<Vec<Report>> {
    let mut forward = Report::new("gumbel_softmax".to_owned(), Pass::Forward, BOUND);
    let mut backward = Report::new("gumbel_softmax".to_owned(), Pass::Backward, BOUND);
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        let around = AxisShape::new(shape, axis)?;
        let levels = levels(&around);
        for (k, (tau, scale)) in [(1.0, 4.0), (0.3, 4.0), (7.0, 100.0)]
            .into_iter()
            .enumerate()
        {
            let mut dice = Noise(0x2545_f491_4f6c_dd1d ^ (i * 8 + k) as u64);
            let mut x: Vec<f32> = (0..around.elements())
                .map(|_| dice.next() * scale)
                .collect();
            let dy: Vec<f32> = (0..x.len()).map(|_| dice.next()).collect();
            if k == 0 {
                special_rows(&mut x, &around);
            }
            let random = Random::new(i as u64).starting_at(3);
            let gumbel = GumbelSoftmax::new(tau, random)?;
            let noise = backend.gumbel_noise(random, x.len()).await?;
            let got = backend.apply(gumbel.along(axis), x.of_shape(shape)).await?;
            let want = reference::gumbel::forward(tau, &x, &noise, &around);
            for (j, (&got, &want)) in got.iter().zip(&want).enumerate() {
                forward.add(x[j], got, want, beyond(got, want, 0.0, want.abs() * levels));
            }
            let got = backend
                .grad(gumbel.along(axis), x.of_shape(shape), &dy)
                .await?;
            let (want, largest) = reference::gumbel::backward(tau, &x, &noise, &dy, &around);
            for (j, &got) in got.iter().enumerate() {
                let ulp = beyond(got, want[j], largest[j], 2.0 * largest[j] * levels);
                backward.add(x[j], got, want[j], ulp);
            }
        }
    }
    Ok(vec![forward, backward])
}

checks! {
    /// Holds maxout, forward and backward, against what it must pick, bit for bit.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn maxout / maxout_async / maxout_by () -> Vec<Report>;
}

pub(crate) async fn maxout_by(backend: &Trial) -> Result<Vec<Report>> {
    let mut forward = Report::new("maxout".to_owned(), Pass::Forward, 0.0);
    let mut backward = Report::new("maxout".to_owned(), Pass::Backward, 0.0);
    let exact = |got: f32, want: f32| {
        let same = got == want || got.is_nan() && want.is_nan();
        if same { 0.0 } else { f64::INFINITY }
    };
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        let len = AxisShape::new(shape, axis)?.len;
        for pieces in (1..=len).filter(|&pieces| len.is_multiple_of(pieces)) {
            let groups = Groups::new(shape, axis, pieces)?;
            let rows = groups.rows();
            let mut noise = Noise(0x0ddb_1a5e_5bad_5eed ^ (i * 1000 + pieces) as u64);
            // Few values, so that there are ties.
            let mut value = || (noise.next() * 8.0).round();
            let mut x: Vec<f32> = (0..rows.elements()).map(|_| value()).collect();
            let dy: Vec<f32> = (0..rows.rows()).map(|_| value()).collect();
            special_rows(&mut x, &rows);
            let maxout = Maxout::new(pieces).along(axis);
            let got = backend.apply(maxout, x.of_shape(shape)).await?;
            for (j, (&got, want)) in got
                .iter()
                .zip(reference::maxout::forward(&x, &rows))
                .enumerate()
            {
                forward.add(j as f32, got, want.into(), exact(got, want));
            }
            let got = backend.grad(maxout, x.of_shape(shape), &dy).await?;
            let want = reference::maxout::backward(&x, &dy, &rows);
            for (j, (&got, want)) in got.iter().zip(want).enumerate() {
                backward.add(x[j], got, want.into(), exact(got, want));
            }
        }
    }
    Ok(vec![forward, backward])
}

/// What a pairwise sum of a row rounds: each level once.
fn levels(shape: &AxisShape) -> f64 {
    (shape.len as f64).log2().ceil().max(1.0) * 2f64.powi(-24)
}
