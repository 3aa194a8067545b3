//! Every number of 16 bits: what a backend makes of all 65,536 of f16 or bf16, against the f64
//! reference, rounded once.
//!
//! A result is right where it is the correctly rounded one. What is computed in f32 within its
//! bounds, and rounded from there, may end on the other side of the middle between two neighbours
//! where the exact result lies as close to that as f32 can be off: such results are counted. What
//! is neither is wrong.

use super::{Noise, Pass};
use crate::arrays::OfShape;
use crate::axis::AxisFunction;
use crate::backend::Trial;
use crate::catalogue::Elementwise;
use crate::cpu::threads::prelude::*;
use crate::element::{DType, Element};
use crate::error::Result;
use crate::reference::{self, ulp_of};
use crate::shape::AxisShape;
use half::{bf16, f16};

/// How the results of one function and direction came out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rounding {
    /// The function with its parameters.
    pub function: String,
    /// Forward or backward.
    pub pass: Pass,
    /// The upstream gradient of a backward pass over an activation.
    pub upstream: Option<f32>,
    /// What inputs and results are stored as.
    pub dtype: DType,
    /// How many results were compared.
    pub inputs: usize,
    /// Those whose last bit fell the other way, within f32's bound.
    pub other_way: usize,
    /// Those that are subnormal in f32, or come of such an input, which a device may flush: they
    /// are as small, and no more is asked of them. Of bf16 alone.
    pub flushed: usize,
    /// All others that are not correctly rounded.
    pub wrong: usize,
    /// The first wrong one: its input, what came, and the reference's value.
    pub worst: Option<(f32, f32, f64)>,
}

impl Rounding {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.wrong == 0 && self.inputs > 0
    }

    fn new<T: Element>(function: String, pass: Pass, upstream: Option<T>) -> Self {
        Self {
            function,
            pass,
            upstream: upstream.map(T::to_f32),
            dtype: T::DTYPE,
            inputs: 0,
            other_way: 0,
            flushed: 0,
            wrong: 0,
            worst: None,
        }
    }

    fn add<T: Element>(&mut self, x: T, got: T, exact: Exact) {
        self.inputs += 1;
        match exact.judge(got) {
            Judgement::Right => {}
            Judgement::OtherWay => self.other_way += 1,
            Judgement::Flushed => self.flushed += 1,
            Judgement::Wrong => {
                self.wrong += 1;
                let first = (x.to_f32(), got.to_f32(), exact.want);
                self.worst.get_or_insert(first);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Right,
    OtherWay,
    Flushed,
    Wrong,
}

/// An exact result, and how far from it what is computed in f32 may be.
#[derive(Clone, Copy, Debug)]
struct Exact {
    want: f64,
    off: f64,
    /// Whether it is subnormal in f32, so that anything as small will do.
    may_flush: bool,
    /// The exact result of a subnormal input that was flushed.
    of_zero: Option<f64>,
}

impl Exact {
    fn judge<T: Element>(&self, got: T) -> Judgement {
        let right = T::from_f64(self.want);
        if got == right || got.to_f32().is_nan() && self.want.is_nan() {
            return Judgement::Right;
        }
        let between = |want: f64| {
            let (low, high) = (T::from_f64(want - self.off), T::from_f64(want + self.off));
            low <= got && got <= high
        };
        if between(self.want) {
            Judgement::OtherWay
        } else if self.may_flush && f64::from(got.to_f32().abs()) <= SMALLEST
            || self.of_zero.is_some_and(between)
        {
            Judgement::Flushed
        } else {
            Judgement::Wrong
        }
    }
}

/// Every number of the type.
fn all<T: Element>() -> Vec<T> {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    match T::DTYPE {
        // An f32 has more, of which nobody asks here.
        DType::F32 => Vec::new(),
        _ => bytemuck::cast_slice(&bits).to_vec(),
    }
}

/// The upstream gradients of the backward passes: one, and some of either sign that are none of
/// 2^n.
const UPSTREAM: [f32; 4] = [1.0, -0.7, 3.3, 0.011];

checks! {
    /// Holds `f` forward, and backward for several upstream gradients, over every number of `dtype`
    /// against the reference; none of f32.
    ///
    /// ```
    /// use wgpu_activations::{Activation, Backend, DType, check};
    /// for rounding in check::half::elementwise(&Backend::cpu(), Activation::Gelu.into(), DType::F16)? {
    ///     assert!(rounding.passed() && rounding.inputs > 60_000, "{rounding:?}");
    /// }
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// The backend's own; what is wrong is in the report.
    fn elementwise / elementwise_async / elementwise_by (f: Elementwise, dtype: DType) -> Vec<Rounding>;
}

pub(super) async fn elementwise_by(
    backend: &Trial,
    f: Elementwise,
    dtype: DType,
) -> Result<Vec<Rounding>> {
    match dtype {
        DType::F32 => Ok(Vec::new()),
        DType::F16 => elementwise_of::<f16>(backend, f).await,
        DType::Bf16 => elementwise_of::<bf16>(backend, f).await,
    }
}

async fn elementwise_of<T: Element>(backend: &Trial, f: Elementwise) -> Result<Vec<Rounding>> {
    let x = all::<T>();
    let bounds = f.activation().info().bounds;
    let exact: Vec<Exact> = x
        .par_iter()
        .map(|x| forward(&f, x.to_f32(), bounds.forward.into()))
        .collect();
    let mut report = Rounding::new::<T>(f.to_string(), Pass::Forward, None);
    for ((&x, got), exact) in x.iter().zip(backend.apply(f, &x).await?).zip(exact) {
        report.add(x, got, exact);
    }
    let mut reports = vec![report];
    for dy in UPSTREAM.map(T::from_f32) {
        // The product with any but 1 is rounded once more.
        let bound = match dy.to_f32() {
            1.0 => f64::from(bounds.backward),
            _ => 2.0 * f64::from(bounds.backward) + 1.0,
        };
        let exact: Vec<Option<Exact>> = x
            .par_iter()
            .map(|x| backward(&f, x.to_f32(), dy.to_f32().into(), bound))
            .collect();
        let mut report = Rounding::new(f.to_string(), Pass::Backward, Some(dy));
        let got = backend.grad(f, &x, &vec![dy; x.len()]).await?;
        for ((&x, got), exact) in x.iter().zip(got).zip(exact) {
            if let Some(exact) = exact {
                report.add(x, got, exact);
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

fn forward(f: &Elementwise, x: f32, bound: f64) -> Exact {
    let value = |x: f32| reference::forward(f, x.into());
    let want = value(x);
    Exact {
        want,
        off: bound * ulp_of(want.abs()),
        may_flush: want.abs() < SMALLEST,
        of_zero: x.is_subnormal().then(|| value(0.0f32.copysign(x))),
    }
}

/// Nothing where the slope is so small or so large that f32 has it less exactly, or not at all, and
/// the upstream gradient brings it back.
fn backward(f: &Elementwise, x: f32, dy: f64, bound: f64) -> Option<Exact> {
    let slope = reference::backward(f, x.into());
    let ordinary = (2f64.powi(-80)..2f64.powi(80)).contains(&slope.abs());
    if !(dy == 1.0 || ordinary || slope == 0.0 || slope.is_nan()) {
        return None;
    }
    let times = |slope: f64| if slope == 0.0 { 0.0 } else { slope * dy };
    let want = times(slope);
    let largest = reference::largest_term(f, x.into()) * dy.abs();
    let of_zero = |x: f32| times(reference::backward(f, 0.0f64.copysign(x.into())));
    Some(Exact {
        want,
        off: bound * ulp_of(want.abs().max(largest)),
        may_flush: want.abs() < SMALLEST,
        of_zero: x.is_subnormal().then(|| of_zero(x)),
    })
}

/// Rows of every kind of kernel.
const SHAPES: [(&[usize], isize); 5] = [
    (&[301, 2], -1),
    (&[71, 33], -1),
    (&[9, 1025], -1),
    (&[3, 65, 31], 1),
    (&[41, 7], 0),
];

checks! {
    /// Holds a function along an axis, forward and backward, over rows of some lengths and magnitudes
    /// against the reference; none of f32.
    ///
    /// # Errors
    /// The backend's own; what is wrong is in the report.
    fn axis / axis_async / axis_by (function: AxisFunction, dtype: DType) -> Vec<Rounding>;
}

pub(super) async fn axis_by(
    backend: &Trial,
    function: AxisFunction,
    dtype: DType,
) -> Result<Vec<Rounding>> {
    match dtype {
        DType::F32 => Ok(Vec::new()),
        DType::F16 => axis_of::<f16>(backend, function).await,
        DType::Bf16 => axis_of::<bf16>(backend, function).await,
    }
}

async fn axis_of<T: Element>(backend: &Trial, function: AxisFunction) -> Result<Vec<Rounding>> {
    const BOUND: f64 = 4.0;
    let mut forward = Rounding::new::<T>(function.to_string(), Pass::Forward, None);
    let mut backward = Rounding::new::<T>(function.to_string(), Pass::Backward, None);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let exact = |want: f64, off: f64| Exact {
        want,
        off,
        may_flush: want.abs() < SMALLEST,
        of_zero: None,
    };
    for (shape, axis) in SHAPES {
        let around = AxisShape::new(shape, axis)?;
        // Each pairwise level of a sum rounds once.
        let levels = (around.len as f64).log2().ceil() * 2f64.powi(-24);
        for scale in [1.0, 12.0, 300.0] {
            let mut numbers = |count: usize, scale: f32| -> Vec<T> {
                let numbers = (0..count).map(|_| T::from_f32(noise.next() * scale));
                numbers.collect()
            };
            let x = numbers(around.elements(), scale);
            let dy = numbers(around.output_elements(function), 1.0);
            let [wide, wide_dy] =
                [&x, &dy].map(|values| values.iter().map(|v| v.to_f32()).collect::<Vec<_>>());
            let largest = f64::from(wide.iter().fold(0.0f32, |m, x| m.max(x.abs())));
            let got = backend
                .apply(function.along(axis), x.of_shape(shape))
                .await?;
            let want = reference::axis_forward(function, &wide, &around);
            for (i, (&got, want)) in got.iter().zip(want).enumerate() {
                let (size, sum) = match function {
                    AxisFunction::Softmax | AxisFunction::Softmin => (0.0, want * levels),
                    AxisFunction::LogSoftmax => (0.0, levels),
                    AxisFunction::LogSumExp => (largest, levels),
                };
                let off = BOUND * ulp_of(want.abs().max(size)) + sum;
                forward.add(x[i], got, exact(want, off));
            }
            // A subnormal weight may be flushed before it is multiplied.
            let weights = match function {
                AxisFunction::Softmax | AxisFunction::Softmin => {
                    reference::axis_forward(function, &wide, &around)
                }
                AxisFunction::LogSoftmax | AxisFunction::LogSumExp => Vec::new(),
            };
            let flushed = |i: usize| weights.get(i).is_some_and(|&weight| weight < SMALLEST);
            let got = backend
                .grad(function.along(axis), x.of_shape(shape), &dy)
                .await?;
            let (want, sizes) = reference::axis_backward(function, &wide, &wide_dy, &around);
            for (i, (&got, want)) in got.iter().zip(want).enumerate() {
                let sum = 2.0 * sizes[i] * levels;
                let off = BOUND * ulp_of(want.abs().max(sizes[i])) + sum;
                let mut exact = exact(want, off);
                exact.may_flush |= flushed(i);
                backward.add(x[i], got, exact);
            }
        }
    }
    Ok(vec![forward, backward])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;
    use crate::catalogue::Activation;

    #[test]
    fn wrong_results_are_told_from_those_beside_a_middle() {
        let next = |x: f32| f16::from_bits(f16::from_f32(x).to_bits() + 1);
        let at = |want: f64| Exact {
            want,
            off: 2f64.powi(-22),
            may_flush: want < SMALLEST,
            of_zero: None,
        };
        let middle = 1.0 + 2f64.powi(-11);
        assert_eq!(at(middle).judge(f16::ONE), Judgement::Right);
        assert_eq!(at(middle).judge(next(1.0)), Judgement::OtherWay);
        assert_eq!(at(1.0).judge(next(1.0)), Judgement::Wrong);
        assert_eq!(at(f64::NAN).judge(f16::ONE), Judgement::Wrong);
        assert_eq!(at(1.0).judge(f16::NAN), Judgement::Wrong);
        assert_eq!(at(f64::NAN).judge(f16::NAN), Judgement::Right);
        assert_eq!(at(1e6).judge(f16::MAX), Judgement::Wrong);
        let small = Exact {
            off: 0.0,
            ..at(1e-39)
        };
        assert_eq!(small.judge(bf16::ZERO), Judgement::Flushed);
        assert_eq!(small.judge(bf16::from_f32(2e-38)), Judgement::Wrong);
    }

    /// Another function in a function's place is wrong at many inputs.
    #[test]
    fn a_wrong_function_is_seen() {
        let exact = |x: f16| forward(&Activation::Gelu.into(), x.to_f32(), 2.0);
        let x = all::<f16>();
        let y = Backend::cpu().apply(Activation::GeluTanh, &x).unwrap();
        let mut report = Rounding::new::<f16>(String::new(), Pass::Forward, None);
        for (&x, y) in x.iter().zip(y) {
            report.add(x, y, exact(x));
        }
        assert!(report.wrong > 100 && !report.passed(), "{report:?}");
        assert_eq!(report.inputs, 65_536);
    }

    #[test]
    fn the_cpu_passes() {
        for dtype in [DType::F16, DType::Bf16] {
            for f in [Activation::Gelu, Activation::Relu, Activation::Exp] {
                let reports = elementwise(&Backend::cpu(), f.into(), dtype).unwrap();
                assert_eq!(reports.len(), 5);
                assert!(reports.iter().all(Rounding::passed), "{reports:?}");
            }
            let softmax = AxisFunction::Softmax;
            let reports = axis(&Backend::cpu(), softmax, dtype).unwrap();
            assert!(reports.iter().all(Rounding::passed), "{reports:?}");
        }
        assert!(
            elementwise(&Backend::cpu(), Activation::Relu.into(), DType::F32)
                .unwrap()
                .is_empty()
        );
    }
}
