//! Noise and randomised slopes in f64, from the generator's numbers.

use crate::random::Random;
use crate::rrelu::Rrelu;

/// Gumbel noise -log(-log u) of the number u between 0 and 1 at `index`.
pub fn gumbel(random: Random, index: u64) -> f64 {
    -libm::log(-libm::log(f64::from(random.uniform(index))))
}

/// The slope of element `index` for x <= 0: f64's own rounding is all that it has.
pub fn rrelu_slope(rrelu: Rrelu, index: u64) -> f64 {
    let (lower, upper) = (f64::from(rrelu.lower()), f64::from(rrelu.upper()));
    match rrelu.random() {
        Some(random) => lower + (upper - lower) * f64::from(random.uniform(index)),
        None => (lower + upper) / 2.0,
    }
}

/// rrelu of every element of x.
pub fn rrelu(rrelu: Rrelu, x: &[f32]) -> Vec<f64> {
    let values = x.iter().enumerate().map(|(i, &x)| {
        let slope = rrelu_slope(rrelu, i as u64);
        match f64::from(x) {
            x if x > 0.0 || x.is_nan() => x,
            // 0 times -infinity is 0, as it is for every number before.
            _ if slope == 0.0 => 0.0,
            x => slope * x,
        }
    });
    values.collect()
}

/// The gradient of rrelu by x; a zero factor wins over an infinite one.
///
/// # Panics
/// Where `dy` has not the length of `x`.
pub fn grad_rrelu(rrelu: Rrelu, x: &[f32], dy: &[f32]) -> Vec<f64> {
    assert_eq!(x.len(), dy.len());
    let values = x.iter().zip(dy).enumerate().map(|(i, (&x, &dy))| {
        let slope = if x > 0.0 {
            1.0
        } else {
            rrelu_slope(rrelu, i as u64)
        };
        if x.is_nan() || dy.is_nan() {
            f64::NAN
        } else if slope == 0.0 {
            0.0
        } else {
            slope * f64::from(dy)
        }
    });
    values.collect()
}

/// The magnitude of the largest term of element `index`'s slope: what an error is measured
/// against where the bounds have different signs.
pub fn rrelu_largest_term(rrelu: Rrelu) -> f64 {
    let (lower, upper) = (f64::from(rrelu.lower()), f64::from(rrelu.upper()));
    if lower < 0.0 && upper > 0.0 {
        lower.abs().max(upper)
    } else {
        0.0
    }
}
