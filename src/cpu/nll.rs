//! Negative log likelihood, which needs one element of each row.

use super::element_loss::reached;
use crate::loss::{ClassProblem, ClassTargets, IGNORED, Upstream};

/// Where the target's element of each row lies, with its weight; none for an ignored row.
fn picked<'a>(
    problem: &'a ClassProblem<'a>,
) -> impl Iterator<Item = Option<(usize, f64)>> + use<'a> {
    let shape = problem.shape;
    let classes: &[u32] = match &problem.targets {
        ClassTargets::Classes(classes) => classes,
        // Refused when the problem was made.
        ClassTargets::Probabilities(_) => &[],
    };
    classes.iter().enumerate().map(move |(row, &class)| {
        let class = (class != IGNORED).then_some(class as usize)?;
        let at = (row / shape.inner * shape.len + class) * shape.inner + row % shape.inner;
        Some((at, problem.weight.map_or(1.0, |w| w[class].into())))
    })
}

/// The loss of each row of log-probabilities.
pub(crate) fn nll(problem: &ClassProblem, x: &[f32]) -> Vec<f64> {
    picked(problem)
        .map(|row| row.map_or(0.0, |(at, w)| reached(-w, x[at].into())))
        .collect()
}

/// Adds the gradient by the log-probabilities to zeros. It does not depend on them.
pub(crate) fn nll_gradient(problem: &ClassProblem, upstream: Upstream, dx: &mut [f32]) {
    for (row, place) in picked(problem).enumerate() {
        if let Some((at, w)) = place {
            dx[at] = reached(upstream.at(row), -w) as f32;
        }
    }
}
