//! Gated linear units in f64.

use super::{backward as slope, forward as activation, largest_term};
use crate::gate::Gate;

/// The gradients by a value and by its gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradients {
    /// dy · f(gate).
    pub value: f64,
    /// dy · value · f'(gate).
    pub gate: f64,
    /// The magnitude of the largest term that the gradient by the gate is a sum of, where f'
    /// changes sign; else 0.
    pub largest: f64,
}

/// value · f(gate), or the clamped form of it; NaN where either is NaN.
pub fn forward(gate: &Gate, value: f64, at: f64) -> f64 {
    if value.is_nan() || at.is_nan() {
        return f64::NAN;
    }
    times(
        weighed(gate, value),
        activation(&gate.function(), inside(gate, at)),
    )
}

/// The gradients for the upstream gradient `dy`: NaN where a factor is NaN, and 0 where one is 0.
pub fn backward(gate: &Gate, value: f64, at: f64, dy: f64) -> Gradients {
    let f = gate.function();
    let bent = inside(gate, at);
    let limit = gate.clamp().map_or(f64::INFINITY, |c| c.limit.into());
    let passes = |open: bool, g: f64| if open || g.is_nan() { g } else { 0.0 };
    let weight = times(dy, weighed(gate, value));
    let clamped_nan = gate.clamp().is_some() && value.is_nan();
    let by_value = if clamped_nan {
        f64::NAN
    } else {
        passes(
            value.abs() <= limit || value.is_nan(),
            times(dy, activation(&f, bent)),
        )
    };
    let largest = times(weight.abs(), largest_term(&f, bent));
    Gradients {
        value: by_value,
        gate: passes(at <= limit, times(weight, slope(&f, bent))),
        largest: if at <= limit && largest.is_finite() {
            largest
        } else {
            0.0
        },
    }
}

/// What f(gate) is multiplied by.
fn weighed(gate: &Gate, value: f64) -> f64 {
    match gate.clamp() {
        Some(clamp) if !value.is_nan() => {
            let limit = f64::from(clamp.limit);
            value.clamp(-limit, limit) + f64::from(clamp.offset)
        }
        _ => value,
    }
}

/// What goes into f.
fn inside(gate: &Gate, at: f64) -> f64 {
    match gate.clamp() {
        Some(clamp) if at > f64::from(clamp.limit) => clamp.limit.into(),
        _ => at,
    }
}

/// a · b, and 0 where one is 0 and the other infinite.
fn times(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 || b == 0.0 {
        0.0f64.copysign(a.signum() * b.signum())
    } else {
        a * b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Activation;

    /// Both gradients against central differences of the forward formula.
    #[test]
    fn gradients_are_differences() {
        let mut gates = Gate::ALL.to_vec();
        gates.push(Gate::new(Activation::Mish));
        gates.push(
            Gate::CLAMPED_SWIGLU
                .with([("limit", 1.5), ("alpha", 0.5)])
                .unwrap(),
        );
        let mut compared = 0;
        for gate in gates {
            for value in [-8.1, -1.2, -0.3, 0.4, 1.1, 7.5] {
                for at in [-9.3, -1.3, -0.2, 0.6, 1.4, 2.2, 7.7] {
                    let h = 1e-5;
                    let dy = -1.7;
                    let by = |dv: f64, dg: f64| {
                        let f = |s: f64| forward(&gate, value + s * dv, at + s * dg);
                        dy * (f(h) - f(-h)) / (2.0 * h)
                    };
                    let got = backward(&gate, value, at, dy);
                    for (got, want) in [(got.value, by(1.0, 0.0)), (got.gate, by(0.0, 1.0))] {
                        let error = (got - want).abs();
                        assert!(error < 1e-7 * want.abs().max(1.0), "{gate} {value} {at}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 500);
    }

    #[test]
    fn nan_and_zero_and_the_limit() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert!(forward(&Gate::GLU, nan, 0.0).is_nan() && forward(&Gate::GLU, 0.0, nan).is_nan());
        assert_eq!(forward(&Gate::REGLU, inf, -1.0), 0.0);
        assert_eq!(forward(&Gate::REGLU, 0.0, inf), 0.0);
        let g = backward(&Gate::REGLU, nan, 2.0, 3.0);
        assert_eq!(g.value, 6.0);
        assert!(g.gate.is_nan());
        assert!(
            backward(&Gate::CLAMPED_SWIGLU, nan, 2.0, 3.0)
                .value
                .is_nan()
        );
        let at_limit = backward(&Gate::CLAMPED_SWIGLU, 7.0, 7.0, 1.0);
        assert!(at_limit.value > 6.9 && at_limit.gate > 7.9);
        let past = backward(&Gate::CLAMPED_SWIGLU, -7.1, 7.1, 1.0);
        assert_eq!((past.value, past.gate), (0.0, 0.0));
        // min(max(value, -limit), limit) + 1 is 0 here, and wins over the infinity.
        let g = Gate::CLAMPED_SWIGLU;
        assert_eq!(backward(&g, -1.0, 0.5, inf).gate, 0.0);
        assert_eq!(forward(&g, inf, inf), forward(&g, 7.0, 7.0));
    }
}
