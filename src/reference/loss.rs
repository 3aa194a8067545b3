//! The losses in f64 with `libm`, by their formulas.

use crate::element_loss::ElementProblem;
use crate::error::Result;
use crate::functions::ElementLoss;
use crate::functions::families::{BceWithLogits, BinaryCrossEntropy};
use crate::loss::{
    ClassProblem, ClassTargets, CrossEntropy, IGNORED, NllLoss, Reduction, Targets, Upstream,
    upstream,
};

/// Exact values, and beside each the magnitude of the largest term that it is a sum of.
pub type Values = (Vec<f64>, Vec<f64>);

/// [`CrossEntropy`] of logits in f64.
///
/// # Errors
/// What the loss refuses.
pub fn cross_entropy(
    loss: &CrossEntropy,
    logits: &[f32],
    shape: &[usize],
    targets: Targets<'_>,
) -> Result<Values> {
    let problem = loss.problem(logits.len(), shape, targets)?;
    let rows: Vec<Row> = rows(&problem, logits).collect();
    let losses = rows
        .iter()
        .map(|row| row.as_ref().map_or((0.0, 0.0), loss_of));
    Ok(reduced(problem.reduction, losses.collect(), problem.total))
}

/// The gradient of [`CrossEntropy`] by the logits in f64.
///
/// # Errors
/// What the loss refuses; a `dy` that has not the loss's length.
pub fn grad_cross_entropy(
    loss: &CrossEntropy,
    logits: &[f32],
    shape: &[usize],
    targets: Targets<'_>,
    dy: &[f32],
) -> Result<Values> {
    let problem = loss.problem(logits.len(), shape, targets)?;
    let dy = problem.upstream(dy)?;
    let mut out = (vec![0.0; logits.len()], vec![0.0; logits.len()]);
    for (r, row) in rows(&problem, logits).enumerate() {
        let Some(row) = row else {
            continue;
        };
        let g = dy.at(r);
        let share: f64 = row.factors.iter().sum();
        for (c, &at) in row.places.iter().enumerate() {
            // p - 1 of a single target is the others' sum.
            let single = row.factors[c] == share;
            let value = if single {
                -row.factors[c] * row.others[c]
            } else {
                share * row.p[c] - row.factors[c]
            };
            let largest = if single {
                0.0
            } else {
                (share * row.p[c]).abs().max(row.factors[c].abs())
            };
            out.0[at] = reached(g, value);
            out.1[at] = (g * largest).abs();
        }
    }
    Ok(out)
}

/// [`NllLoss`] of log-probabilities in f64.
///
/// # Errors
/// What the loss refuses.
pub fn nll_loss(
    loss: &NllLoss,
    log_probabilities: &[f32],
    shape: &[usize],
    targets: Targets<'_>,
) -> Result<Values> {
    let problem = loss.problem(log_probabilities.len(), shape, targets)?;
    let losses = rows(&problem, log_probabilities).map(|row| {
        let value = row.map_or(0.0, |row| {
            let terms = row.factors.iter().zip(&row.x);
            terms.filter(|(f, _)| **f != 0.0).map(|(f, x)| -f * x).sum()
        });
        (value, value.abs())
    });
    Ok(reduced(problem.reduction, losses.collect(), problem.total))
}

/// The gradient of [`NllLoss`] by the log-probabilities in f64.
///
/// # Errors
/// What the loss refuses; a `dy` that has not the loss's length.
pub fn grad_nll_loss(
    loss: &NllLoss,
    shape: &[usize],
    targets: Targets<'_>,
    dy: &[f32],
) -> Result<Vec<f64>> {
    let zeros = vec![0.0; shape.iter().product()];
    let problem = loss.problem(zeros.len(), shape, targets)?;
    let dy = problem.upstream(dy)?;
    let mut out = vec![0.0; zeros.len()];
    for (r, row) in rows(&problem, &zeros).enumerate() {
        for (at, factor) in row
            .iter()
            .flat_map(|row| row.places.iter().zip(&row.factors))
        {
            if *factor != 0.0 {
                out[*at] = -dy.at(r) * factor;
            }
        }
    }
    Ok(out)
}

/// [`BceWithLogits`] in f64.
///
/// # Errors
/// What the loss refuses.
pub fn binary_cross_entropy_with_logits(
    loss: &BceWithLogits,
    logits: &[f32],
    shape: &[usize],
    targets: &[f32],
) -> Result<Values> {
    let problem = loss.problem(logits, shape, targets)?;
    Ok(binary(true, &problem, logits, targets))
}

/// The gradient of [`BceWithLogits`] by the logits in f64.
///
/// # Errors
/// What the loss refuses; a `dy` that has not the loss's length.
pub fn grad_binary_cross_entropy_with_logits(
    loss: &BceWithLogits,
    logits: &[f32],
    shape: &[usize],
    targets: &[f32],
    dy: &[f32],
) -> Result<Values> {
    let problem = loss.problem(logits, shape, targets)?;
    grad_binary(true, &problem, logits, targets, dy)
}

/// [`BinaryCrossEntropy`] in f64.
///
/// # Errors
/// What the loss refuses.
pub fn binary_cross_entropy(
    loss: &BinaryCrossEntropy,
    probabilities: &[f32],
    shape: &[usize],
    targets: &[f32],
) -> Result<Values> {
    let problem = loss.problem(probabilities, shape, targets)?;
    Ok(binary(false, &problem, probabilities, targets))
}

/// The gradient of [`BinaryCrossEntropy`] by the probabilities in f64.
///
/// # Errors
/// What the loss refuses; a `dy` that has not the loss's length.
pub fn grad_binary_cross_entropy(
    loss: &BinaryCrossEntropy,
    probabilities: &[f32],
    shape: &[usize],
    targets: &[f32],
    dy: &[f32],
) -> Result<Values> {
    let problem = loss.problem(probabilities, shape, targets)?;
    grad_binary(false, &problem, probabilities, targets, dy)
}

/// A row that is not ignored.
struct RowTerms {
    /// Where its elements lie.
    places: Vec<usize>,
    x: Vec<f64>,
    /// What each class's -log p is multiplied by.
    factors: Vec<f64>,
    /// Softmax, what is missing from it to 1, and its logarithm.
    p: Vec<f64>,
    others: Vec<f64>,
    log_p: Vec<f64>,
}

type Row = Option<RowTerms>;

fn rows<'a>(problem: &'a ClassProblem<'a>, x: &'a [f32]) -> impl Iterator<Item = Row> + 'a {
    let shape = problem.shape;
    (0..shape.rows()).map(move |row| {
        let start = row / shape.inner * shape.len * shape.inner + row % shape.inner;
        let places: Vec<usize> = (0..shape.len).map(|c| start + c * shape.inner).collect();
        let smoothing = problem.smoothing;
        let factor = |c: usize| {
            let q = match &problem.targets {
                ClassTargets::Classes(t) => f64::from(u8::from(t[row] as usize == c)),
                ClassTargets::Probabilities(q) => q[places[c]].into(),
            };
            let w = problem.weight.map_or(1.0, |w| f64::from(w[c]));
            ((1.0 - smoothing) * q + smoothing / shape.len as f64) * w
        };
        if matches!(&problem.targets, ClassTargets::Classes(t) if t[row] == IGNORED) {
            return None;
        }
        let x: Vec<f64> = places.iter().map(|&at| x[at].into()).collect();
        let factors = (0..shape.len).map(factor).collect();
        Some(softmax(places, x, factors))
    })
}

fn softmax(places: Vec<usize>, x: Vec<f64>, factors: Vec<f64>) -> RowTerms {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let undefined = x.iter().any(|x| x.is_nan()) || max.is_infinite();
    let e: Vec<f64> = x.iter().map(|x| libm::exp(x - max)).collect();
    // The largest is 1: what the others add is summed apart from it, the smallest first.
    let largest = x.iter().position(|&x| x == max).unwrap_or(0);
    let mut rest: Vec<f64> = e.clone();
    if !rest.is_empty() {
        rest.swap_remove(largest);
    }
    rest.sort_by(f64::total_cmp);
    let rest: f64 = rest.iter().sum();
    let log = libm::log1p(rest);
    let defined = |value: f64| if undefined { f64::NAN } else { value };
    let total = 1.0 + rest;
    let others = |c: usize| {
        if c == largest {
            rest / total
        } else {
            1.0 - e[c] / total
        }
    };
    RowTerms {
        p: e.iter().map(|e| defined(e / total)).collect(),
        others: (0..x.len()).map(|c| defined(others(c))).collect(),
        log_p: x.iter().map(|x| defined((x - max) - log)).collect(),
        places,
        x,
        factors,
    }
}

/// A row's loss, and its largest term.
fn loss_of(row: &RowTerms) -> (f64, f64) {
    if row.log_p.iter().any(|log| log.is_nan()) {
        return (f64::NAN, 0.0);
    }
    let terms = row.factors.iter().zip(&row.log_p);
    let terms: Vec<f64> = terms
        .filter(|(factor, _)| **factor != 0.0)
        .map(|(factor, log)| -factor * log)
        .collect();
    let largest = terms.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    (terms.iter().fold(0.0, |a, b| a + b), largest)
}

/// A product where 0 wins over infinity.
pub(crate) fn reached(a: f64, b: f64) -> f64 {
    let zero = (a == 0.0 && b.is_infinite()) || (b == 0.0 && a.is_infinite());
    if zero { 0.0 } else { a * b }
}

/// The reduction of (loss, largest term) of every row.
pub(crate) fn reduced(reduction: Reduction, losses: Vec<(f64, f64)>, total: f64) -> Values {
    if reduction == Reduction::None {
        return losses.into_iter().unzip();
    }
    let divisor = if reduction == Reduction::Mean {
        total
    } else {
        1.0
    };
    let mut values: Vec<f64> = losses.iter().map(|(loss, _)| *loss).collect();
    values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let sum = values.iter().fold(0.0, |a, b| a + b);
    // Each result that is added has an error of its own.
    let largest: f64 = losses
        .iter()
        .map(|(loss, largest)| largest.abs().max(loss.abs()))
        .sum();
    (vec![sum / divisor], vec![(largest / divisor).abs()])
}

fn binary(with_logits: bool, problem: &ElementProblem, x: &[f32], targets: &[f32]) -> Values {
    let terms = x.iter().zip(targets).enumerate().map(|(i, (&x, &t))| {
        let (x, t) = (f64::from(x), f64::from(t));
        let w = problem.weight.map_or(1.0, |w| f64::from(w.at(i)));
        let p = problem.pos_weight.map_or(1.0, |p| f64::from(p.at(i)));
        let [positive, negative] = if with_logits {
            [softplus(-x), softplus(x)]
        } else {
            [-clamped(libm::log(x)), -clamped(libm::log1p(-x))]
        };
        let parts = [
            reached(w, reached(p * t, positive)),
            reached(w, reached(1.0 - t, negative)),
        ];
        (parts[0] + parts[1], parts[0].abs().max(parts[1].abs()))
    });
    reduced(problem.reduction, terms.collect(), problem.total())
}

pub(crate) fn softplus(x: f64) -> f64 {
    if x > 0.0 {
        x + libm::log1p(libm::exp(-x))
    } else {
        libm::log1p(libm::exp(x))
    }
}

/// A logarithm of a probability, not below -100; NaN where it is none's.
fn clamped(log: f64) -> f64 {
    if log <= 0.0 {
        log.max(-100.0)
    } else {
        f64::NAN
    }
}

fn grad_binary(
    with_logits: bool,
    problem: &ElementProblem,
    x: &[f32],
    targets: &[f32],
    dy: &[f32],
) -> Result<Values> {
    let dy: Upstream = upstream(problem.reduction, dy, problem.count, problem.total())?;
    let terms = x.iter().zip(targets).enumerate().map(|(i, (&x, &t))| {
        let (x, t) = (f64::from(x), f64::from(t));
        let w = problem.weight.map_or(1.0, |w| f64::from(w.at(i)));
        let p = problem.pos_weight.map_or(1.0, |p| f64::from(p.at(i)));
        let g = dy.at(i);
        if !with_logits {
            let inside = (0.0..=1.0).contains(&x);
            let value = w * (x - t) / (x * (1.0 - x)).max(1e-12);
            let value = if inside { value } else { f64::NAN };
            return (reached(g, value), 0.0);
        }
        let logistic = |x: f64| {
            if x < 0.0 {
                libm::exp(x) / (1.0 + libm::exp(x))
            } else {
                1.0 / (1.0 + libm::exp(-x))
            }
        };
        let parts = [-p * t * logistic(-x), (1.0 - t) * logistic(x)];
        let largest = parts[0].abs().max(parts[1].abs());
        let largest = if parts.contains(&0.0) { 0.0 } else { largest };
        (
            reached(g, w * (parts[0] + parts[1])),
            (g * w * largest).abs(),
        )
    });
    Ok(terms.unzip())
}
