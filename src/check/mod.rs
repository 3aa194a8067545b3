//! The accuracy check: a backend's results for stratified inputs against the f64 reference;
//! [`exhaustive`] holds those for every f32 there is against it, and [`mod@half`] those for every
//! number of 16 bits.

/// A check and its twin that does not block, which hand their arguments to `core`.
macro_rules! checks {
    ($(
        $(#[$doc:meta])*
        fn $name:ident / $async_name:ident / $core:ident ($($argument:ident: $type:ty),*) -> $output:ty;
    )*) => {$(
        $(#[$doc])*
        #[cfg(not(target_arch = "wasm32"))]
        pub fn $name(backend: &$crate::Backend, $($argument: $type),*) -> $crate::Result<$output> {
            let trial = $crate::backend::Trial::new(backend, $crate::gpu::HostWait::BLOCK);
            pollster::block_on($core(&trial, $($argument),*))
        }

        #[doc = concat!("[`", stringify!($name), "`] without blocking its thread.")]
        ///
        /// # Errors
        #[doc = concat!("As [`", stringify!($name), "`].")]
        pub async fn $async_name(backend: &$crate::Backend, $($argument: $type),*) -> $crate::Result<$output> {
            use $crate::cpu::threads::{Place, elsewhere};
            let trial = $crate::backend::Trial::new(backend, $crate::gpu::HostWait::ELSEWHERE);
            $(let $argument = $argument.to_owned();)*
            elsewhere(Place::Own, async move || $core(&trial, $($argument),*).await).await
        }
    )*};
}

pub mod custom;
#[cfg(not(target_arch = "wasm32"))]
pub mod exhaustive;
mod family;
pub mod gate;
pub mod half;
pub mod loss;
#[cfg(not(target_arch = "wasm32"))]
mod oracle;
pub mod prelu;
pub mod random;
pub mod shaping;
pub mod sparse;
mod worst;

pub use family::{Family, Found, RATED, Subject, family_async, subject_async};
#[cfg(not(target_arch = "wasm32"))]
pub use family::{family, subject};

use crate::arrays::OfShape;
use crate::axis::AxisFunction;
use crate::backend::Trial;
use crate::catalogue::{Activation, Elementwise};
use crate::error::Result;
use crate::range::Range;
use crate::reference::{self, ulp_error};
use crate::shape::AxisShape;
use std::fmt;

/// Which direction of a function a report is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// f(x).
    Forward,
    /// The gradient by x.
    Backward,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// The worst result of one function and direction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The function with its parameters, or with the shape that it ran over.
    pub function: String,
    /// Forward or backward.
    pub pass: Pass,
    /// How many results were compared.
    pub inputs: usize,
    /// The largest error in ULP; infinite where a NaN was wrong. Along an axis, what the rounding
    /// of a pairwise f32 sum explains is taken off.
    pub worst_ulp: f64,
    /// The input of the worst result.
    pub worst_input: f32,
    /// The worst result.
    pub got: f32,
    /// The reference's value for it.
    pub want: f64,
    /// The largest error that is within the contract.
    pub bound: f64,
    /// Results that are NaN where the reference is not, or the other way.
    pub nan_mismatches: usize,
}

impl Report {
    /// Whether every result was within the bound.
    pub fn passed(&self) -> bool {
        self.worst_ulp <= self.bound && self.nan_mismatches == 0
    }

    fn new(function: String, pass: Pass, bound: f64) -> Self {
        Self {
            function,
            pass,
            inputs: 0,
            worst_ulp: 0.0,
            worst_input: 0.0,
            got: 0.0,
            want: 0.0,
            bound,
            nan_mismatches: 0,
        }
    }

    fn add(&mut self, input: f32, got: f32, want: f64, ulp: f64) {
        self.inputs += 1;
        self.nan_mismatches += usize::from(got.is_nan() != want.is_nan());
        if ulp > self.worst_ulp || self.inputs == 1 {
            self.worst_ulp = ulp;
            self.worst_input = input;
            self.got = got;
            self.want = want;
        }
    }
}

/// An activation with its defaults, and with a spread of other values of its parameters.
pub fn parameter_sets(activation: Activation) -> Vec<Elementwise> {
    let info = activation.info();
    let mut sets = vec![Elementwise::from(activation)];
    for parameter in info.parameters {
        let values: &[f32] = match parameter.range {
            Range::Finite => &[-1.75, 0.0, 0.3, 1.0, 35.8],
            Range::NonZero => &[-2.0, 0.1, 0.7, 3.0],
            Range::NonNegative => &[0.0, 1e-3, 1.5, 100.0],
            Range::NotNan => &[-3.0, -0.25, 20.0, f32::INFINITY],
            Range::NotBelowPrevious => &[-1.0, 0.0, 6.0],
            Range::Share => &[0.0, 0.25, 1.0],
        };
        // A pair that contradicts the other parameter's default is no set.
        sets.extend(
            values
                .iter()
                .filter_map(|&v| activation.with([(parameter.name, v)]).ok())
                .filter(|set| *set != Elementwise::from(activation)),
        );
    }
    sets
}

/// Inputs for `f`: every exponent with both signs, a dense range around zero, all special values,
/// the neighbours of every kink, and what was the worst of all f32 in an exhaustive run.
pub fn inputs(f: &Elementwise) -> Vec<f32> {
    let mut inputs: Vec<f32> = (0..=u32::MAX).step_by(20_011).map(f32::from_bits).collect();
    inputs.extend((-50_000..=50_000).map(|i| i as f32 * 0.002_113));
    inputs.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0xffc0_1234),
        f32::from_bits(0x7f80_0001),
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
    ]);
    // Where exponentials and the normal distribution end, and roots of derivatives.
    let ends = [
        -103.98,
        -103.0,
        -91.9,
        -88.8,
        -88.73,
        -88.0,
        -87.34,
        -87.0,
        -16.6,
        -14.2,
        -13.3,
        -9.1,
        -5.6,
        -1.278_464_5,
        -1.192_4,
        -0.751_791_6,
        0.65,
        0.6,
        0.9,
        1.1,
        9.02,
        20.0,
        88.0,
        88.73,
        104.0,
    ];
    let kinks = reference::kinks(f).into_iter().map(|k| k as f32);
    for point in kinks.chain(ends).chain(ends.map(|e| -e)) {
        let bits = point.to_bits();
        inputs.extend((-8i32..=8).map(|i| f32::from_bits(bits.wrapping_add_signed(i))));
    }
    let name = f.activation().info().name;
    for (_, worst) in worst::WORST.iter().filter(|(row, _)| *row == name) {
        inputs.extend(worst.iter().copied().map(f32::from_bits));
    }
    inputs
}

checks! {
    /// Holds `f` forward and backward on `backend` against the reference.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn elementwise / elementwise_async / elementwise_by (f: Elementwise) -> Vec<Report>;
}

async fn elementwise_by(backend: &Trial, f: Elementwise) -> Result<Vec<Report>> {
    held_by(f, async |pass, x: &[f32]| match pass {
        Pass::Forward => backend.apply(f, x).await,
        Pass::Backward => backend.grad(f, x, &vec![1.0; x.len()]).await,
    })
    .await
}

/// What [`elementwise`] does, of results from anywhere.
#[cfg(test)]
pub(crate) fn held(
    f: Elementwise,
    mut results: impl FnMut(Pass, &[f32]) -> Result<Vec<f32>>,
) -> Result<Vec<Report>> {
    pollster::block_on(held_by(f, async |pass, x: &[f32]| results(pass, x)))
}

async fn held_by(
    f: Elementwise,
    mut results: impl AsyncFnMut(Pass, &[f32]) -> Result<Vec<f32>>,
) -> Result<Vec<Report>> {
    let x = inputs(&f);
    let bounds = f.activation().info().bounds;
    let mut reports = Vec::new();
    for (pass, bound) in [
        (Pass::Forward, bounds.forward),
        (Pass::Backward, bounds.backward),
    ] {
        let mut report = Report::new(f.to_string(), pass, bound.into());
        for (&x, got) in x.iter().zip(results(pass, &x).await?) {
            let (want, ulp) = exact(&f, pass, x, got);
            report.add(x, got, want, ulp);
        }
        reports.push(report);
    }
    Ok(reports)
}

checks! {
    /// Holds the gradient of `f` for upstream gradients between 2^-20 and 2^20 of both signs against
    /// the reference: dy · f'(x), of the same inputs, where f'(x) is far from the ends of the range.
    ///
    /// The contract is on dy = 1. The product with any other is rounded once more, and an ULP of it may
    /// be half of one of the derivative; hence the bound, twice the backward one and 1.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn upstream / upstream_async / upstream_by (f: Elementwise) -> Report;
}

async fn upstream_by(backend: &Trial, f: Elementwise) -> Result<Report> {
    let x = inputs(&f);
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let dy: Vec<f32> = (0..x.len())
        .map(|_| noise.next() * (noise.next() * 20.0).exp2())
        .collect();
    let bound = 2.0 * f64::from(f.activation().info().bounds.backward) + 1.0;
    let mut report = Report::new(f.to_string(), Pass::Backward, bound);
    for ((&x, &dy), got) in x.iter().zip(&dy).zip(backend.grad(f, &x, &dy).await?) {
        let slope = reference::backward(&f, x.into());
        // Slopes and products that may be flushed, or overflow, are not on trial here.
        let near = (2f64.powi(-80)..2f64.powi(80)).contains(&slope.abs());
        let ordinary = near || slope == 0.0 || slope.is_nan();
        if x.is_subnormal() || dy.abs() < 1e-12 || !ordinary {
            continue;
        }
        let wide = f64::from(dy);
        let largest = reference::largest_term(&f, x.into()) * wide.abs();
        let want = if slope == 0.0 { 0.0 } else { wide * slope };
        report.add(x, got, want, ulp_error(got, want, largest));
    }
    Ok(report)
}

/// The reference's value for x, and by how many ULP `got` is off; a subnormal input may also have
/// been flushed to zero on its way.
fn exact(f: &Elementwise, pass: Pass, x: f32, got: f32) -> (f64, f64) {
    let error = |x: f64| match pass {
        Pass::Forward => {
            let want = reference::forward(f, x);
            (want, ulp_error(got, want, 0.0))
        }
        Pass::Backward => {
            let want = reference::backward(f, x);
            (want, ulp_error(got, want, reference::largest_term(f, x)))
        }
    };
    let (want, own) = error(x.into());
    if x.is_subnormal() {
        let (_, by_zero) = error(0.0f64.copysign(x.into()));
        (want, own.min(by_zero))
    } else {
        (want, own)
    }
}

/// The shapes and axes that [`axis`] runs over: every strategy's, and lengths around the
/// boundaries of blocks and workgroups.
const SHAPES: &[(&[usize], isize)] = &[
    (&[5, 1], -1),
    (&[300, 2], -1),
    (&[70, 33], -1),
    (&[9, 64], -1),
    (&[3, 255], -1),
    (&[3, 257], 1),
    (&[2, 1000], -1),
    (&[100, 1025], -1),
    (&[1, 100_003], -1),
    (&[4, 7, 3], 1),
    (&[2, 65, 130], 1),
    (&[40, 6], 0),
    (&[2000, 3], 0),
];

checks! {
    /// Holds a function along an axis, forward and backward, against the reference: over several
    /// shapes, with magnitudes from tiny to huge, large common offsets and rows of special values.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn axis / axis_async / axis_by (function: AxisFunction) -> Vec<Report>;
}

async fn axis_by(backend: &Trial, function: AxisFunction) -> Result<Vec<Report>> {
    let results = async |pass, x: &[f32], dy: &[f32], shape: &[usize], axis| match pass {
        Pass::Forward => backend.apply(function.along(axis), x.of_shape(shape)).await,
        Pass::Backward => {
            backend
                .grad(function.along(axis), x.of_shape(shape), dy)
                .await
        }
    };
    held_rows_by(function, results).await
}

/// What [`axis`] does, of results from anywhere.
#[cfg(test)]
pub(crate) fn held_rows(
    function: AxisFunction,
    mut results: impl FnMut(Pass, &[f32], &[f32], &[usize], isize) -> Result<Vec<f32>>,
) -> Result<Vec<Report>> {
    let results = async |pass, x: &[f32], dy: &[f32], shape: &[usize], axis| {
        results(pass, x, dy, shape, axis)
    };
    pollster::block_on(held_rows_by(function, results))
}

async fn held_rows_by(
    function: AxisFunction,
    mut results: impl AsyncFnMut(Pass, &[f32], &[f32], &[usize], isize) -> Result<Vec<f32>>,
) -> Result<Vec<Report>> {
    const BOUND: f64 = 4.0;
    let mut forward = Report::new(function.to_string(), Pass::Forward, BOUND);
    let mut backward = Report::new(function.to_string(), Pass::Backward, BOUND);
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        let around = AxisShape::new(shape, axis)?;
        // Each pairwise level rounds once.
        let levels = (around.len as f64).log2().ceil() * 2f64.powi(-24);
        for (k, &(scale, offset)) in [
            (1.0, 0.0),
            (30.0, 0.0),
            (4.0, 1e4),
            (1e-30, 0.0),
            (1e30, 0.0),
        ]
        .iter()
        .enumerate()
        {
            let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ (i * 8 + k) as u64);
            let mut x: Vec<f32> = (0..around.elements())
                .map(|_| noise.next() * scale + offset)
                .collect();
            if k == 0 {
                special_rows(&mut x, &around);
            }
            let dy: Vec<f32> = (0..around.output_elements(function))
                .map(|_| noise.next())
                .collect();
            let got = results(Pass::Forward, &x, &dy, shape, axis).await?;
            let want = reference::axis_forward(function, &x, &around);
            for (j, (&got, &want)) in got.iter().zip(&want).enumerate() {
                // A relative rounding of the sum is an absolute one of its logarithm.
                let sum = match function {
                    AxisFunction::Softmax | AxisFunction::Softmin => want.abs() * levels,
                    AxisFunction::LogSoftmax | AxisFunction::LogSumExp => levels,
                };
                // An intermediate as large as the row's maximum is rounded, too.
                let largest = match function {
                    AxisFunction::LogSumExp => row_max(&x, &around, j),
                    _ => 0.0,
                };
                let ulp = beyond(got, want, largest, sum);
                forward.add(x[j.min(x.len() - 1)], got, want, ulp);
            }
            let got = results(Pass::Backward, &x, &dy, shape, axis).await?;
            let (want, largest) = reference::axis_backward(function, &x, &dy, &around);
            for (j, &got) in got.iter().enumerate() {
                let ulp = beyond(got, want[j], largest[j], 2.0 * largest[j] * levels);
                backward.add(x[j], got, want[j], ulp);
            }
        }
    }
    Ok(vec![forward, backward])
}

/// The error in ULP that `allowance`, the rounding of a sum, does not explain.
fn beyond(got: f32, want: f64, largest: f64, allowance: f64) -> f64 {
    let nearer = if f64::from(got) > want {
        (f64::from(got) - allowance).max(want)
    } else {
        (f64::from(got) + allowance).min(want)
    };
    if got.is_finite() && want.is_finite() {
        let own = ulp_error(got, want, largest);
        let exact = (nearer - want).abs() / (f64::from(got) - want).abs();
        // 0 / 0 where there is no error at all.
        if own == 0.0 { 0.0 } else { own * exact }
    } else {
        ulp_error(got, want, largest)
    }
}

/// The magnitude of the maximum of a reduced row.
fn row_max(x: &[f32], shape: &AxisShape, row: usize) -> f64 {
    let start = (row / shape.inner) * shape.len * shape.inner + row % shape.inner;
    let row = (0..shape.len).map(|i| x[start + i * shape.inner]);
    f64::from(row.fold(f32::NEG_INFINITY, f32::max)).abs()
}

/// Puts NaN, infinities and spikes into the first rows, as far as there are rows.
fn special_rows(x: &mut [f32], shape: &AxisShape) {
    let last = shape.len - 1;
    let patterns: [&dyn Fn(usize, f32) -> f32; 7] = [
        &|_, v| v,
        &|i, v| if i == last / 2 { f32::NAN } else { v },
        &|i, v| if i == last { f32::INFINITY } else { v },
        &|i, v| if i == 0 { f32::NEG_INFINITY } else { v },
        &|_, _| f32::NEG_INFINITY,
        &|i, v| if i == last { 80.0 } else { v },
        &|i, _| if i == 0 { f32::MAX } else { f32::MIN },
    ];
    for row in 0..shape.rows() {
        let start = (row / shape.inner) * shape.len * shape.inner + row % shape.inner;
        let pattern = patterns[row % patterns.len()];
        // Only the first of many rows: most stay ordinary.
        if row < 2 * patterns.len() {
            for i in 0..shape.len {
                let at = start + i * shape.inner;
                x[at] = pattern(i, x[at]);
            }
        }
    }
}

/// Marsaglia's xorshift64 (2003): the check's inputs are the same everywhere.
struct Noise(u64);

impl Noise {
    /// A number between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // 24 bits, which an f32 holds.
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    #[test]
    fn the_worst_inputs_are_of_functions_that_there_are_and_are_checked() {
        for (name, worst) in worst::WORST {
            let activation: Activation = name.parse().unwrap();
            assert_eq!(activation.info().name, *name);
            let bits: Vec<u32> = inputs(&activation.into())
                .into_iter()
                .map(f32::to_bits)
                .collect();
            assert!(worst.iter().all(|w| bits.contains(w)), "{name}");
        }
    }

    /// Upstream gradients on the CPU; and a report is able to object.
    #[test]
    fn upstream_gradients_are_held_against_the_product() {
        for f in [Activation::Gelu, Activation::Relu, Activation::Snake] {
            let report = upstream(&Backend::cpu(), f.into()).unwrap();
            assert!(report.passed() && report.inputs > 100_000, "{report:?}");
            let rounds = f != Activation::Relu;
            assert!(report.worst_ulp > 0.4 || !rounds, "{report:?}");
        }
    }
}
