//! Chains in f64, each step of an unrounded result of the step before it; and how far a chain of
//! f32 steps, each within its bound, may be from that.

use super::{backward, forward, largest_term, ulp_of};
use crate::axis::AxisFunction;
use crate::catalogue::Bounds;
use crate::chain::{Chain, Step};
use crate::element::DType;
use half::{bf16, f16};

/// A value, and how far from it a result may be whose parts are within their bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The exact value.
    pub value: f64,
    /// The largest error that the parts' bounds allow.
    pub error: f64,
}

impl Bounded {
    fn exact(value: f32) -> Self {
        Self {
            value: value.into(),
            error: 0.0,
        }
    }

    /// f of the value, and of what it might be, with an error of `ulps` more.
    fn through(self, ulps: f64, f: impl Fn(f64) -> f64) -> Self {
        let value = f(self.value);
        let ends = [self.value - self.error, self.value + self.error];
        let off = ends.map(|end| (f(end) - value).abs());
        // NaN where an infinity is near: no bound is left there.
        let off = if self.error == 0.0 {
            0.0
        } else {
            off[0].max(off[1])
        };
        let error = off + ulps * ulp_of(value.abs() + off);
        Self { value, error }
    }

    /// The product of two, rounded to within `ulps`.
    fn times(self, other: Self, ulps: f64) -> Self {
        let value = self.value * other.value;
        let off = self.error * (other.value.abs() + other.error) + self.value.abs() * other.error;
        let error = off + ulps * ulp_of(value.abs() + off);
        Self { value, error }
    }

    /// Whether a result is within the bound, or flushed to zero within f32's smallest normal.
    pub fn allows(self, got: f32) -> bool {
        let Self { value, error } = self;
        if value.is_nan() || got.is_nan() {
            return value.is_nan() == got.is_nan();
        }
        let near = (f64::from(got) - value).abs() <= error + f64::from(f32::MIN_POSITIVE);
        // What rounds to an infinity, and infinities themselves.
        let overflows = value.abs() + error >= f64::from(f32::MAX)
            && got.is_infinite()
            && got.is_sign_positive() == value.is_sign_positive();
        near || overflows || f64::from(got) == value
    }
}

/// An operand's element for the array's element `i`: axes are aligned at the end, or at one axis.
fn element(step: &Step, (values, own): (&[f32], &[usize]), shape: &[usize], i: usize) -> f32 {
    let (mut rest, mut index, mut stride) = (i, 0, 1);
    for axis in (0..shape.len()).rev() {
        let at = rest % shape[axis];
        rest /= shape[axis];
        let length = match *step {
            Step::Bias(one) if axis as isize == one.rem_euclid(shape.len() as isize) => own[0],
            Step::Bias(_) => 1,
            _ => match (axis + own.len()).checked_sub(shape.len()) {
                Some(k) => own[k],
                None => 1,
            },
        };
        if length > 1 {
            index += at * stride;
            stride *= length;
        }
    }
    values[index]
}

/// What each step is given, and what the last one makes; and each operand's elements.
fn values(
    chain: &Chain,
    x: &[f32],
    shape: &[usize],
    operands: &[(&[f32], &[usize])],
) -> (Vec<Vec<Bounded>>, Vec<Vec<f32>>) {
    let mut all = vec![x.iter().map(|&x| Bounded::exact(x)).collect::<Vec<_>>()];
    let mut used: Vec<Vec<f32>> = Vec::new();
    for step in chain.steps() {
        let given = &all[all.len() - 1];
        if step.operand().is_some() {
            let of = |i| element(step, operands[used.len()], shape, i);
            used.push((0..x.len()).map(of).collect());
        }
        let operand = used.last();
        let made = match *step {
            Step::Axis(function, axis) => rows(function, given, shape, axis),
            _ => given
                .iter()
                .enumerate()
                .map(|(i, &v)| one(step, v, operand.map_or(0.0, |o| o[i].into()), i))
                .collect(),
        };
        all.push(made);
    }
    (all, used)
}

/// A step of element `i` with its operand.
fn one(step: &Step, v: Bounded, operand: f64, i: usize) -> Bounded {
    match step {
        Step::Apply(f) => {
            let Bounds { forward: ulps, .. } = f.activation().info().bounds;
            v.through(ulps.into(), |v| forward(f, v))
        }
        Step::Custom(f) => v.through(f.bounds().forward.into(), |v| f.reference(v)),
        Step::Scale(factor) => v.through(0.5, |v| v * f64::from(*factor)),
        Step::Bias(_) | Step::Add => v.through(0.5, |v| v + operand),
        Step::Multiply => v.through(0.5, |v| v * operand),
        Step::Cast(dtype) => v.through(0.0, |v| rounded(*dtype, v)),
        Step::Dropout { probability, seed } => match Chain::kept(*probability, *seed, i as u64) {
            // The factor is rounded, too.
            true => v.through(1.5, |v| v / (1.0 - f64::from(*probability))),
            false => Bounded::exact(0.0),
        },
        Step::Axis(..) => v,
    }
}

/// The indices of each row's elements.
fn row_indices(shape: &[usize], axis: isize) -> Vec<Vec<usize>> {
    let axis = axis.rem_euclid(shape.len() as isize) as usize;
    let (len, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let rows = shape.iter().product::<usize>() / len.max(1);
    let start = |row: usize| row / inner * len * inner + row % inner;
    (0..rows)
        .map(|row| (0..len).map(|i| start(row) + i * inner).collect())
        .collect()
}

/// The softmax of a row in f64, and that of the negated row for softmin.
fn weights(function: AxisFunction, row: &[f64]) -> Vec<f64> {
    let sign = if function == AxisFunction::Softmin {
        -1.0
    } else {
        1.0
    };
    let top = row
        .iter()
        .map(|v| sign * v)
        .fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|v| (sign * v - top).exp()).collect();
    let total: f64 = e.iter().sum();
    e.iter().map(|e| e / total).collect()
}

/// A pairwise f32 sum's relative rounding.
fn pairwise(len: usize) -> f64 {
    (len as f64).log2().ceil().max(0.0) * 2f64.powi(-24)
}

/// A function of the softmax family of every row. Errors of a row's elements change a weight by a
/// factor of up to e^2 of them.
fn rows(function: AxisFunction, given: &[Bounded], shape: &[usize], axis: isize) -> Vec<Bounded> {
    let mut made = vec![Bounded::exact(0.0); given.len()];
    for row in row_indices(shape, axis) {
        let values: Vec<f64> = row.iter().map(|&i| given[i].value).collect();
        let off = row.iter().map(|&i| given[i].error).fold(0.0, f64::max);
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares = weights(function, &values);
        for (&i, share) in row.iter().zip(shares) {
            let (value, change) = match function {
                // The other terms' sum is what a logarithm near 0 is made of.
                AxisFunction::LogSoftmax => {
                    let rest: f64 = values.iter().map(|v| (v - top).exp()).sum();
                    (
                        given[i].value - top - rest.ln(),
                        2.0 * off + pairwise(row.len()),
                    )
                }
                _ => (share, share * ((2.0 * off).exp_m1() + pairwise(row.len()))),
            };
            let error = change + 4.0 * ulp_of(value.abs() + change);
            made[i] = Bounded { value, error };
        }
    }
    made
}

/// The gradient of a function of the softmax family, of the rows that it was given and what came of
/// them.
fn rows_back(
    function: AxisFunction,
    given: &[Bounded],
    g: &[Bounded],
    shape: &[usize],
    axis: isize,
) -> Vec<Bounded> {
    let mut made = vec![Bounded::exact(0.0); given.len()];
    for row in row_indices(shape, axis) {
        let values: Vec<f64> = row.iter().map(|&i| given[i].value).collect();
        let off = row.iter().map(|&i| given[i].error).fold(0.0, f64::max);
        let shares = weights(function, &values);
        // How far a weight may be off, relative to itself.
        let loose = (2.0 * off).exp_m1() + pairwise(row.len()) + 8.0 * 2f64.powi(-24);
        let terms = |f: &dyn Fn(f64, Bounded) -> f64| -> f64 {
            row.iter().zip(&shares).map(|(&i, &y)| f(y, g[i])).sum()
        };
        let dot = terms(&|y, g| y * g.value);
        let dot_off = terms(&|y, g| y * (g.value.abs() * loose + g.error));
        let (sum, sum_off) = (
            terms(&|_, g| g.value),
            terms(&|_, g| g.value.abs() * loose + g.error),
        );
        for (&i, &y) in row.iter().zip(&shares) {
            let g = g[i];
            let (value, error) = match function {
                AxisFunction::LogSoftmax => (
                    g.value - y * sum,
                    g.error + y * (sum.abs() * loose + sum_off) + 4.0 * ulp_of(g.value.abs()),
                ),
                _ => {
                    let sign = if function == AxisFunction::Softmin {
                        -1.0
                    } else {
                        1.0
                    };
                    let size = g.value.abs() + dot.abs();
                    (
                        sign * y * (g.value - dot),
                        y * (size * loose + g.error + dot_off) + 4.0 * ulp_of(y * size),
                    )
                }
            };
            made[i] = Bounded { value, error };
        }
    }
    made
}

fn rounded(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F32 => v,
        DType::F16 => f16::from_f64(v).to_f64(),
        DType::Bf16 => bf16::from_f64(v).to_f64(),
    }
}

/// A chain of x, of that shape, with operands and their shapes.
///
/// # Panics
/// Where the arrays have other lengths than their shapes, or fewer operands are there than the
/// chain takes.
pub fn chain_forward(
    chain: &Chain,
    x: &[f32],
    shape: &[usize],
    operands: &[(&[f32], &[usize])],
) -> Vec<Bounded> {
    values(chain, x, shape, operands)
        .0
        .pop()
        .unwrap_or_default()
}

/// The gradient of a chain by x, and the terms of those by its operands, an element for each of
/// x's; the gradient by an operand is the sum of the terms of what it is broadcast along.
///
/// # Panics
/// As [`chain_forward`].
pub fn chain_backward(
    chain: &Chain,
    x: &[f32],
    shape: &[usize],
    operands: &[(&[f32], &[usize])],
    dy: &[f32],
) -> (Vec<Bounded>, Vec<Vec<Bounded>>) {
    let (given, used) = values(chain, x, shape, operands);
    let mut terms = vec![Vec::new(); used.len()];
    let mut operand = used.len();
    let mut g: Vec<Bounded> = dy.iter().map(|&dy| Bounded::exact(dy)).collect();
    for (step, v) in chain.steps().iter().zip(&given).rev() {
        operand -= usize::from(step.operand().is_some());
        match *step {
            Step::Bias(_) | Step::Add => terms[operand] = g.clone(),
            Step::Multiply => {
                let both = g.iter().zip(v);
                terms[operand] = both.map(|(g, v)| g.times(*v, 0.5)).collect();
            }
            Step::Axis(function, axis) => {
                g = rows_back(function, v, &g, shape, axis);
                continue;
            }
            _ => {}
        }
        let factor = used.get(operand);
        g = g
            .iter()
            .zip(v)
            .enumerate()
            .map(|(i, (&g, &v))| back(step, v, g, factor.map_or(0.0, |o| o[i]), i))
            .collect();
    }
    (g, terms)
}

/// The gradient by what a step was given, v, from that by what it made.
fn back(step: &Step, v: Bounded, g: Bounded, operand: f32, i: usize) -> Bounded {
    match step {
        Step::Apply(f) => {
            let ulps = f.activation().info().bounds.backward;
            let largest = largest_term(f, v.value);
            times_slope(|v| backward(f, v), largest, ulps.into(), v, g)
        }
        Step::Custom(f) => {
            let secant = (f.reference(v.value) / v.value).abs();
            let ulps = f.bounds().backward;
            times_slope(|v| f.reference_derivative(v), secant, ulps.into(), v, g)
        }
        Step::Scale(factor) => g.times(Bounded::exact(*factor), 0.5),
        Step::Multiply => g.times(Bounded::exact(operand), 0.5),
        Step::Bias(_) | Step::Add | Step::Cast(_) | Step::Axis(..) => g,
        Step::Dropout { probability, seed } => match Chain::kept(*probability, *seed, i as u64) {
            true => g.through(1.5, |g| g / (1.0 - f64::from(*probability))),
            false => Bounded::exact(0.0),
        },
    }
}

/// g · f'(v), where a zero wins over an infinity, and an error of the slope is in ULP of its
/// largest term.
fn times_slope(
    slope: impl Fn(f64) -> f64,
    largest: f64,
    ulps: f64,
    v: Bounded,
    g: Bounded,
) -> Bounded {
    let slope = v.through(0.0, slope);
    let zero = (slope.value == 0.0 && slope.error == 0.0 && !g.value.is_nan())
        || (g.value == 0.0 && g.error == 0.0 && !slope.value.is_nan());
    if zero {
        return Bounded::exact(0.0);
    }
    let product = g.times(slope, ulps);
    let largest = largest * (g.value.abs() + g.error);
    Bounded {
        error: product.error
            + ulps
                * if largest.is_finite() {
                    ulp_of(largest)
                } else {
                    0.0
                },
        ..product
    }
}
