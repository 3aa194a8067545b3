//! Focal loss in f64 with `libm`, by its formula.

use super::FocalLoss;
use crate::error::Result;
use crate::functions::ElementLoss;
use crate::loss::upstream;
use crate::reference::loss::{Values, reached, reduced, softplus};

/// Each loss, or their sum or mean; and beside it what the contract's bound is measured by.
pub(super) fn focal_loss(
    loss: &FocalLoss,
    logits: &[f32],
    shape: &[usize],
    targets: &[f32],
) -> Result<Values> {
    let problem = loss.problem(logits, shape, targets)?;
    let terms = logits.iter().zip(targets).enumerate().map(|(i, (&x, &t))| {
        let of = Element::new(loss, x.into(), t.into());
        let w = problem.weight.map_or(1.0, |w| f64::from(w.at(i)));
        let largest = of.entropy[0].max(of.entropy[1]);
        let factor = w * of.balance;
        (
            reached(factor, reached(of.power, of.entropy[0] + of.entropy[1])),
            reached(factor, reached(of.power, largest)).abs(),
        )
    });
    Ok(reduced(problem.reduction, terms.collect(), problem.total()))
}

/// The gradient by the logits.
pub(super) fn grad_focal_loss(
    loss: &FocalLoss,
    logits: &[f32],
    shape: &[usize],
    targets: &[f32],
    dy: &[f32],
) -> Result<Values> {
    let problem = loss.problem(logits, shape, targets)?;
    let dy = upstream(problem.reduction, dy, problem.count, problem.total())?;
    let terms = logits.iter().zip(targets).enumerate().map(|(i, (&x, &t))| {
        let (x, t) = (f64::from(x), f64::from(t));
        let of = Element::new(loss, x, t);
        let w = problem.weight.map_or(1.0, |w| f64::from(w.at(i)));
        let factor = dy.at(i) * w * of.balance * of.power;
        let (up, down) = (logistic(x), logistic(-x));
        let entropy = of.entropy[0] + of.entropy[1];
        // d log q = (1 - 2 t) up down / q; of the target 1 q is `down`, of 0 `up`.
        let growth = match t {
            0.0 => down,
            1.0 => -up,
            _ => (1.0 - 2.0 * t) * up * down / of.missing,
        };
        let parts = [
            (1.0 - t) * up,
            -t * down,
            reached(growth, reached(loss.gamma.into(), entropy)),
        ];
        let largest = parts.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let slope: f64 = parts.iter().sum();
        (reached(factor, slope), reached(factor, largest).abs())
    });
    Ok(terms.unzip())
}

/// What the formula is made of.
struct Element {
    /// t softplus(-x) and (1 - t) softplus(x).
    entropy: [f64; 2],
    missing: f64,
    power: f64,
    balance: f64,
}

impl Element {
    fn new(loss: &FocalLoss, x: f64, t: f64) -> Self {
        let missing = t * logistic(-x) + (1.0 - t) * logistic(x);
        let [on, off] = loss.balance();
        Self {
            entropy: [reached(t, softplus(-x)), reached(1.0 - t, softplus(x))],
            missing,
            power: libm::pow(missing, loss.gamma.into()),
            balance: on * t + off * (1.0 - t),
        }
    }
}

/// 1 / (1 + e^-x), each end to its own precision.
fn logistic(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    match x < 0.0 {
        true => e / (1.0 + e),
        false => 1.0 / (1.0 + e),
    }
}
