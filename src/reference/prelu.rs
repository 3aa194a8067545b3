//! The parametric rectifier in f64.

/// y = x where x > 0, else slope · x.
pub fn forward(x: f64, slope: f64) -> f64 {
    if x > 0.0 { x } else { times(slope, x) }
}

/// The gradient by x for the upstream gradient `dy`.
pub fn backward(x: f64, slope: f64, dy: f64) -> f64 {
    if x > 0.0 { dy } else { times(slope, dy) }
}

/// The term of the gradient by the slope.
pub fn slope_term(x: f64, dy: f64) -> f64 {
    if x > 0.0 { 0.0 } else { times(x, dy) }
}

/// a · b, and 0 where one is 0 and the other infinite.
fn times(a: f64, b: f64) -> f64 {
    let product = a * b;
    if product.is_nan() && !a.is_nan() && !b.is_nan() {
        0.0
    } else {
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both gradients against central differences of the forward formula.
    #[test]
    fn gradients_are_differences() {
        for x in [-3.0, -0.5, 0.25, 4.0] {
            for slope in [-1.5, 0.0, 0.2, 7.0] {
                let (h, dy) = (1e-6, 1.5);
                let by_x = dy * (forward(x + h, slope) - forward(x - h, slope)) / (2.0 * h);
                let by_slope = dy * (forward(x, slope + h) - forward(x, slope - h)) / (2.0 * h);
                assert!((backward(x, slope, dy) - by_x).abs() < 1e-8);
                assert!((slope_term(x, dy) - by_slope).abs() < 1e-8);
            }
        }
        assert_eq!(backward(0.0, 0.25, 2.0), 0.5);
        assert_eq!(slope_term(0.0, 2.0), 0.0);
        assert_eq!(backward(f64::NAN, 0.25, 2.0), 0.5);
        assert!(slope_term(f64::NAN, 2.0).is_nan());
        assert_eq!(forward(f64::NEG_INFINITY, 0.0), 0.0);
    }
}
