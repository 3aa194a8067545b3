//! Chains in f64, each step of an unrounded result of the step before it; and how far a chain of
//! f32 steps, each within its bound, may be from that.

use super::{backward, forward, largest_term, ulp_of};
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

/// What each step is given, and what the last one makes, for element `i`.
fn values(
    chain: &Chain,
    x: &[f32],
    shape: &[usize],
    operands: &[(&[f32], &[usize])],
    i: usize,
) -> (Vec<Bounded>, Vec<f32>) {
    let mut all = vec![Bounded::exact(x[i])];
    let mut used = Vec::new();
    let mut v = all[0];
    for step in chain.steps() {
        if step.operand().is_some() {
            used.push(element(step, operands[used.len()], shape, i));
        }
        let operand = f64::from(*used.last().unwrap_or(&0.0));
        v = match step {
            Step::Apply(f) => {
                let Bounds { forward: ulps, .. } = f.activation().info().bounds;
                v.through(ulps.into(), |v| forward(f, v))
            }
            Step::Custom(f) => v.through(f.bounds().forward.into(), |v| f.reference(v)),
            Step::Scale(factor) => v.through(0.5, |v| v * f64::from(*factor)),
            Step::Bias(_) | Step::Add => v.through(0.5, |v| v + operand),
            Step::Multiply => v.through(0.5, |v| v * operand),
            Step::Cast(dtype) => v.through(0.0, |v| rounded(*dtype, v)),
            Step::Dropout { probability, seed } => match Chain::kept(*probability, *seed, i as u64)
            {
                // The factor is rounded, too.
                true => v.through(1.5, |v| v / (1.0 - f64::from(*probability))),
                false => Bounded::exact(0.0),
            },
        };
        all.push(v);
    }
    (all, used)
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
    let last = |i| values(chain, x, shape, operands, i).0[chain.steps().len()];
    (0..x.len()).map(last).collect()
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
    let mut dx = Vec::with_capacity(x.len());
    let mut terms = vec![Vec::with_capacity(x.len()); operands.len()];
    for (i, &dy) in dy.iter().enumerate() {
        let (given, used) = values(chain, x, shape, operands, i);
        let mut operand = used.len();
        let mut g = Bounded::exact(dy);
        for (step, &v) in chain.steps().iter().zip(&given).rev() {
            operand -= usize::from(step.operand().is_some());
            g = match step {
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
                Step::Bias(_) | Step::Add => {
                    terms[operand].push(g);
                    g
                }
                Step::Multiply => {
                    terms[operand].push(g.times(v, 0.5));
                    g.times(Bounded::exact(used[operand]), 0.5)
                }
                Step::Cast(_) => g,
                Step::Dropout { probability, seed } => {
                    match Chain::kept(*probability, *seed, i as u64) {
                        true => g.through(1.5, |g| g / (1.0 - f64::from(*probability))),
                        false => Bounded::exact(0.0),
                    }
                }
            };
        }
        dx.push(g);
    }
    (dx, terms)
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
