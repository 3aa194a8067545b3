//! The f64 reference that both backends are held against, and how an error is measured.
//!
//! The formulas are the catalogue's, evaluated in f64 with `libm`, so an error of the reference
//! is below 1e-9 of an f32 ULP wherever the formula does not cancel.

mod chain;
pub mod gate;
pub mod gumbel;
pub mod loss;
pub mod maxout;
pub mod prelu;
pub mod random;
mod shaping;
pub mod sparse;

pub use chain::{Bounded, chain_backward, chain_forward};
pub use shaping::{shaped_backward, shaped_backward_by_sinks, shaped_forward};

use crate::axis::AxisFunction;
use crate::catalogue::{Dual, Elementwise, Formula, MAX_PARAMETERS, Visitor};
use crate::shape::AxisShape;

/// f(x); NaN where x is NaN.
pub fn forward(f: &Elementwise, x: f64) -> f64 {
    struct Forward(f64, [f64; MAX_PARAMETERS]);
    impl Visitor for Forward {
        type Output = f64;
        fn visit<F: Formula>(self) -> f64 {
            F::forward(self.0, self.1)
        }
    }
    guard(x, f.activation().visit(Forward(x, wide(f))))
}

/// f'(x), at a kink by PyTorch's convention; NaN where x is NaN.
pub fn backward(f: &Elementwise, x: f64) -> f64 {
    struct Backward(f64, [f64; MAX_PARAMETERS]);
    impl Visitor for Backward {
        type Output = f64;
        fn visit<F: Formula>(self) -> f64 {
            F::backward(self.0, self.1)
        }
    }
    guard(x, f.activation().visit(Backward(x, wide(f))))
}

/// f'(x) by automatic differentiation of the forward formula (dual numbers): the check on
/// [`backward`], which it equals everywhere but at the kinks.
pub fn derivative(f: &Elementwise, x: f64) -> f64 {
    struct Derivative(f64, [f64; MAX_PARAMETERS]);
    impl Visitor for Derivative {
        type Output = f64;
        fn visit<F: Formula>(self) -> f64 {
            use crate::catalogue::Real;
            F::forward(Dual::variable(self.0), self.1.map(Dual::cst)).du
        }
    }
    guard(x, f.activation().visit(Derivative(x, wide(f))))
}

/// df/dp by the parameter number `index` at x, by automatic differentiation of the forward
/// formula (dual numbers).
pub fn parameter_derivative(f: &Elementwise, index: usize, x: f64) -> f64 {
    struct Derivative(usize, f64, [f64; MAX_PARAMETERS]);
    impl Visitor for Derivative {
        type Output = f64;
        fn visit<F: Formula>(self) -> f64 {
            use crate::catalogue::Real;
            let Self(index, x, parameters) = self;
            let mut parameters = parameters.map(Dual::cst);
            parameters[index] = Dual::variable(parameters[index].re);
            F::forward(Dual::cst(x), parameters).du
        }
    }
    guard(x, f.activation().visit(Derivative(index, x, wide(f))))
}

/// The magnitude of the largest term of f'(x) where f' changes sign, else 0: what an error near
/// such a root is measured against.
pub fn largest_term(f: &Elementwise, x: f64) -> f64 {
    struct Largest(f64, [f64; MAX_PARAMETERS]);
    impl Visitor for Largest {
        type Output = f64;
        fn visit<F: Formula>(self) -> f64 {
            F::largest_term(self.0, self.1)
        }
    }
    f.activation().visit(Largest(x, wide(f)))
}

/// Where f or f' is not smooth.
pub fn kinks(f: &Elementwise) -> Vec<f64> {
    struct Kinks([f64; MAX_PARAMETERS]);
    impl Visitor for Kinks {
        type Output = Vec<f64>;
        fn visit<F: Formula>(self) -> Vec<f64> {
            F::kinks(self.0)
        }
    }
    f.activation().visit(Kinks(wide(f)))
}

fn wide(f: &Elementwise) -> [f64; MAX_PARAMETERS] {
    f.packed().map(f64::from)
}

fn guard(x: f64, y: f64) -> f64 {
    if x.is_nan() { x } else { y }
}

/// `function` of every row of `x` in f64.
///
/// # Panics
/// Where `x` has another number of elements than `shape`.
pub fn axis_forward(function: AxisFunction, x: &[f32], shape: &AxisShape) -> Vec<f64> {
    assert_eq!(x.len(), shape.elements());
    let mut out = vec![0.0; shape.output_elements(function)];
    for_rows(shape, |index, row| {
        let values: Vec<f64> = index.clone().map(|i| f64::from(x[i])).collect();
        let result = row_forward(function, &values);
        if function.reduces() {
            out[row] = result[0];
        } else {
            for (i, value) in index.zip(result) {
                out[i] = value;
            }
        }
    });
    out
}

/// The gradient of `function` by `x` for the upstream gradient `dy`, in f64, and beside each
/// value the magnitude of the largest term that it is a sum of.
///
/// # Panics
/// Where `x` or `dy` has another number of elements than `shape` and `function` say.
pub fn axis_backward(
    function: AxisFunction,
    x: &[f32],
    dy: &[f32],
    shape: &AxisShape,
) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(x.len(), shape.elements());
    assert_eq!(dy.len(), shape.output_elements(function));
    let mut out = vec![0.0; x.len()];
    let mut largest = vec![0.0; x.len()];
    for_rows(shape, |index, row| {
        let values: Vec<f64> = index.clone().map(|i| f64::from(x[i])).collect();
        let g: Vec<f64> = if function.reduces() {
            vec![f64::from(dy[row]); values.len()]
        } else {
            index.clone().map(|i| f64::from(dy[i])).collect()
        };
        let weights = match function {
            AxisFunction::Softmin => row_forward(AxisFunction::Softmin, &values),
            _ => row_forward(AxisFunction::Softmax, &values),
        };
        let dot: f64 = g.iter().zip(&weights).map(|(g, y)| g * y).sum();
        let dot_size: f64 = g.iter().zip(&weights).map(|(g, y)| (g * y).abs()).sum();
        let sum: f64 = g.iter().sum();
        let sum_size: f64 = g.iter().map(|g| g.abs()).sum();
        for ((i, &g), &y) in index.zip(&g).zip(&weights) {
            (out[i], largest[i]) = match function {
                AxisFunction::Softmax => (y * (g - dot), y * g.abs().max(dot_size)),
                AxisFunction::Softmin => (-y * (g - dot), y * g.abs().max(dot_size)),
                AxisFunction::LogSoftmax => (g - y * sum, g.abs().max(y * sum_size)),
                AxisFunction::LogSumExp => (g * y, (g * y).abs()),
            };
        }
    });
    (out, largest)
}

/// Calls `visit` with the indices of each row's elements and the row's number.
fn for_rows(
    shape: &AxisShape,
    mut visit: impl FnMut(std::iter::StepBy<std::ops::Range<usize>>, usize),
) {
    if shape.inner == 0 {
        return;
    }
    for outer in 0..shape.outer {
        for inner in 0..shape.inner {
            let start = outer * shape.len * shape.inner + inner;
            let end = (outer + 1) * shape.len * shape.inner;
            visit(
                (start..end.max(start)).step_by(shape.inner),
                outer * shape.inner + inner,
            );
        }
    }
}

fn row_forward(function: AxisFunction, x: &[f64]) -> Vec<f64> {
    if function == AxisFunction::Softmin {
        let negated: Vec<f64> = x.iter().map(|x| -x).collect();
        return row_forward(AxisFunction::Softmax, &negated);
    }
    let nan = x.iter().any(|x| x.is_nan());
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Terms are added from the smallest up, so that the sum's rounding stays at f64's own.
    let mut terms: Vec<f64> = x.iter().map(|x| libm::exp(x - max)).collect();
    let unsorted = terms.clone();
    terms.sort_by(f64::total_cmp);
    let sum: f64 = terms.iter().sum();
    // The largest term is 1: the others alone hold what a logarithm near 0 is made of.
    let log_sum = libm::log1p(terms.iter().rev().skip(1).rev().sum());
    match function {
        AxisFunction::LogSumExp if nan => vec![f64::NAN],
        AxisFunction::LogSumExp if max.is_infinite() => vec![max],
        AxisFunction::LogSumExp => vec![max + log_sum],
        _ if nan || max.is_infinite() => vec![f64::NAN; x.len()],
        AxisFunction::LogSoftmax => x.iter().map(|x| (x - max) - log_sum).collect(),
        _ => unsorted.iter().map(|term| term / sum).collect(),
    }
}

/// The distance of `got` from the exact value `want`, in ULP of the f32 nearest to `want`, or of
/// `largest_term` where that is larger.
///
/// A result where both are NaN, or the same infinity, is 0 away; where just one is NaN, or the
/// infinities differ, it is infinitely far. A value that rounds to an infinity is also met by the
/// largest finite f32's neighbourhood, measured as if exponents went on. Subnormal results may
/// flush to zero: below the smallest normal f32 any value of at most that magnitude is 0 away.
pub fn ulp_error(got: f32, want: f64, largest_term: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if got.is_infinite() || want.is_infinite() {
        let rounded = want as f32;
        if got == rounded {
            return 0.0;
        }
        // Overflow by a rounding error at the very end of the range counts as that error.
        let beyond = f64::from(f32::MAX) + ulp_of(f64::from(f32::MAX));
        return if want.is_finite() && got.is_sign_positive() == want.is_sign_positive() {
            (beyond - want.abs()) / ulp_of(f64::from(f32::MAX))
        } else {
            f64::INFINITY
        };
    }
    let smallest = f64::from(f32::MIN_POSITIVE);
    if want.abs() < smallest && f64::from(got).abs() <= smallest {
        return 0.0;
    }
    let unit = ulp_of(want.abs().max(largest_term));
    (f64::from(got) - want).abs() / unit
}

/// The spacing of f32 at the magnitude `value`, not below that of the smallest normal f32.
pub(crate) fn ulp_of(value: f64) -> f64 {
    let value = value.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    // 2^(exponent - 23) lies within f64's normal range for every f32 exponent.
    f64::from_bits(((exponent - 23 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Activation;

    #[test]
    fn ulps_are_counted() {
        let next = f32::from_bits(1.0f32.to_bits() + 1);
        assert_eq!(ulp_error(next, 1.0, 0.0), 1.0);
        assert_eq!(ulp_error(1.0, 1.0, 0.0), 0.0);
        assert_eq!(ulp_error(f32::NAN, f64::NAN, 0.0), 0.0);
        assert_eq!(ulp_error(f32::NAN, 1.0, 0.0), f64::INFINITY);
        assert_eq!(ulp_error(1.0, f64::NAN, 0.0), f64::INFINITY);
        assert_eq!(ulp_error(f32::INFINITY, 1e39, 0.0), 0.0);
        assert_eq!(ulp_error(f32::NEG_INFINITY, 1e39, 0.0), f64::INFINITY);
        assert_eq!(ulp_error(0.0, 1e-40, 0.0), 0.0);
        assert!(ulp_error(0.0, 1.2e-38, 0.0) > 1e6);
        assert!(ulp_error(f32::INFINITY, 1e38, 0.0) > 1e6);
        assert!(ulp_error(1e38, f64::INFINITY, 0.0) > 1e6);
    }

    /// Every row's derivative against dual numbers, over all magnitudes.
    #[test]
    fn derivatives_are_those_of_dual_numbers() {
        let mut cases = 0;
        for &activation in Activation::ALL {
            let f = activation.into();
            let kinks = kinks(&f);
            for bits in (0..=u32::MAX).step_by(99_991) {
                let x = f64::from(f32::from_bits(bits));
                if x.is_nan() || x.is_infinite() || kinks.contains(&x) {
                    continue;
                }
                let (by_row, by_dual) = (backward(&f, x), derivative(&f, x));
                // f/x is what dual arithmetic's own cancellation is relative to.
                let secant = (forward(&f, x) / x).abs();
                let size = by_row.abs().max(largest_term(&f, x)).max(1e-8 * secant);
                let size = size.max(1e-45);
                let error = (by_row - by_dual).abs() / size;
                // Dual numbers overflow to inf * 0 where the formula itself has long saturated.
                if by_dual.is_finite() {
                    assert!(error < 1e-7, "{f} at {x:e}: {by_row:e}, dual {by_dual:e}");
                    cases += 1;
                }
            }
        }
        assert!(cases > 1_000_000, "{cases}");
    }
}
