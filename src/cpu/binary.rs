//! Losses of single elements: binary cross entropy with and without logits, and what
//! negative log likelihood needs, which is one element of each row.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::prelude::*;
use super::wide::Wide;
use crate::catalogue::Real;
use crate::loss::{
    BinaryProblem, ClassProblem, ClassTargets, IGNORED, Spread, Upstream, pairwise_sum,
};
use std::hint::select_unpredictable;

/// Elements whose weights are spread out at a time.
const BLOCK: usize = 512;
/// Elements that a thread takes at a time, and whose losses are added up together.
const TASK: usize = 16 * 1024;
/// The least that a logarithm of a probability is taken for, PyTorch's.
const LEAST_LOG: f64 = -100.0;
/// Below this a logarithm is clamped in any case.
const LEAST_PROBABILITY: f64 = 1e-44;
/// What the gradient's denominator is at least, PyTorch's.
const LEAST_DENOMINATOR: f64 = 1e-12;

/// Each element's loss, where `out` is not empty; and the sum of all.
pub(super) fn losses(
    isa: Isa,
    problem: &BinaryProblem,
    x: &[f32],
    targets: &[f32],
    out: &mut [f32],
) -> f64 {
    let wanted = !out.is_empty();
    let count = x.len();
    let mut parts: Vec<(usize, &mut [f32])> = if wanted {
        let chunks = out.chunks_mut(TASK).enumerate();
        chunks.map(|(i, out)| (i * TASK, out)).collect()
    } else {
        let starts = (0..count).step_by(TASK);
        starts.map(|start| (start, Default::default())).collect()
    };
    let part = |(start, out): &mut (usize, &mut [f32])| {
        let range = *start..count.min(*start + TASK);
        isa.run(Losses {
            problem,
            first: *start,
            x: &x[range.clone()],
            targets: &targets[range],
            out,
        })
    };
    let sums: Vec<f64> = if count < SERIAL_BELOW {
        parts.iter_mut().map(part).collect()
    } else {
        parts.par_iter_mut().map(part).collect()
    };
    pairwise_sum(&sums)
}

/// dx = the gradient by x.
pub(super) fn gradient(
    isa: Isa,
    problem: &BinaryProblem,
    x: &[f32],
    targets: &[f32],
    upstream: Upstream,
    dx: &mut [f32],
) {
    let part = |(i, dx): (usize, &mut [f32])| {
        let first = i * TASK;
        let range = first..first + dx.len();
        isa.run(Gradient {
            problem,
            first,
            x: &x[range.clone()],
            targets: &targets[range],
            upstream,
            dx,
        });
    };
    if x.len() < SERIAL_BELOW {
        dx.chunks_mut(TASK).enumerate().for_each(part);
    } else {
        dx.par_chunks_mut(TASK).enumerate().for_each(part);
    }
}

/// The weights of a block.
#[repr(align(64))]
struct Weights {
    all: [f64; BLOCK],
    positive: [f64; BLOCK],
}

impl Weights {
    #[inline(always)]
    fn new() -> Self {
        Self {
            all: [1.0; BLOCK],
            positive: [1.0; BLOCK],
        }
    }

    #[inline(always)]
    fn load(&mut self, problem: &BinaryProblem, first: usize, count: usize) {
        fill(&mut self.all[..count], problem.weight, first);
        fill(&mut self.positive[..count], problem.pos_weight, first);
    }
}

#[inline(always)]
fn fill(to: &mut [f64], from: Option<Spread>, first: usize) {
    let Some(spread) = from else {
        return;
    };
    for (i, to) in to.iter_mut().enumerate() {
        *to = spread.at(first + i).into();
    }
}

/// A product where 0 wins over infinity.
#[inline(always)]
fn reached(a: f64, b: f64) -> f64 {
    let product = a * b;
    let lost = product.is_nan() && !a.is_nan() && !b.is_nan();
    select_unpredictable(lost, 0.0, product)
}

/// log(1 + e^x) and log(1 + e^-x).
#[inline(always)]
fn softplus<const FMA: bool>(x: f64) -> [f64; 2] {
    let tail = Wide::<FMA>(-x.abs()).exp_below_zero().ln_1p().0;
    // A tail that is NaN is one where x is.
    let positive = select_unpredictable(x > 0.0, x, 0.0);
    let negative = select_unpredictable(x < 0.0, -x, 0.0);
    [positive + tail, negative + tail]
}

/// The loss of one element.
#[inline(always)]
fn loss_of<const FMA: bool>(with_logits: bool, x: f32, t: f32, w: f64, p: f64) -> f64 {
    let (x, t) = (f64::from(x), f64::from(t));
    if with_logits {
        let [up, down] = softplus::<FMA>(x);
        return reached(w, reached(p * t, down) + reached(1.0 - t, up));
    }
    // log(a) where a + b = 1, as -log(1 + b / a), which is exact on both ends.
    let log = |a: f64, b: f64| {
        let log = -Wide::<FMA>(b / a).ln_1p_any().0;
        // e^-100 is above this.
        select_unpredictable(a > LEAST_PROBABILITY && log > LEAST_LOG, log, LEAST_LOG)
    };
    let value = w * -(t * log(x, 1.0 - x) + (1.0 - t) * log(1.0 - x, x));
    select_unpredictable((0.0..=1.0).contains(&x), value, f64::NAN)
}

/// The gradient by one element, before the upstream one.
#[inline(always)]
fn gradient_of<const FMA: bool>(with_logits: bool, x: f32, t: f32, w: f64, p: f64) -> f64 {
    let (x, t) = (f64::from(x), f64::from(t));
    if with_logits {
        // Both halves of the logistic function, each to its own precision.
        let e = Wide::<FMA>(-x.abs()).exp_below_zero().0;
        let large = 1.0 / (1.0 + e);
        let small = e * large;
        let up = select_unpredictable(x < 0.0, small, large);
        let down = select_unpredictable(x < 0.0, large, small);
        return w * ((1.0 - t) * up - p * t * down);
    }
    let denominator = x * (1.0 - x);
    let least = denominator < LEAST_DENOMINATOR;
    let value = (x - t) / select_unpredictable(least, LEAST_DENOMINATOR, denominator);
    w * select_unpredictable((0.0..=1.0).contains(&x), value, f64::NAN)
}

struct Losses<'a> {
    problem: &'a BinaryProblem<'a>,
    first: usize,
    x: &'a [f32],
    targets: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Losses<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let logits = self.problem.with_logits;
        let mut weights = Weights::new();
        let mut losses = [0.0; BLOCK];
        let mut sums = Vec::with_capacity(TASK / BLOCK);
        let blocks = self.x.chunks(BLOCK).zip(self.targets.chunks(BLOCK));
        for (i, (x, t)) in blocks.enumerate() {
            weights.load(self.problem, self.first + i * BLOCK, x.len());
            let (all, positive) = (&weights.all, &weights.positive);
            let each = losses.iter_mut().zip(x).zip(t).zip(all).zip(positive);
            if logits {
                for ((((loss, &x), &t), &w), &p) in each {
                    *loss = loss_of::<FMA>(true, x, t, w, p);
                }
            } else {
                for ((((loss, &x), &t), &w), &p) in each {
                    *loss = loss_of::<FMA>(false, x, t, w, p);
                }
            }
            let losses = &losses[..x.len()];
            if !self.out.is_empty() {
                let out = &mut self.out[i * BLOCK..][..x.len()];
                for (out, &loss) in out.iter_mut().zip(losses) {
                    *out = loss as f32;
                }
            }
            sums.push(pairwise_sum(losses));
        }
        pairwise_sum(&sums)
    }
}

struct Gradient<'a> {
    problem: &'a BinaryProblem<'a>,
    first: usize,
    x: &'a [f32],
    targets: &'a [f32],
    upstream: Upstream<'a>,
    dx: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let logits = self.problem.with_logits;
        let mut weights = Weights::new();
        let mut upstream = [0.0; BLOCK];
        let blocks = self.x.chunks(BLOCK).zip(self.targets.chunks(BLOCK));
        for (i, ((x, t), dx)) in blocks.zip(self.dx.chunks_mut(BLOCK)).enumerate() {
            let first = self.first + i * BLOCK;
            weights.load(self.problem, first, x.len());
            for (k, g) in upstream[..x.len()].iter_mut().enumerate() {
                *g = self.upstream.at(first + k);
            }
            let (all, positive) = (&weights.all, &weights.positive);
            let each = dx.iter_mut().zip(x).zip(t).zip(all).zip(positive);
            if logits {
                for (((((dx, &x), &t), &w), &p), &g) in each.zip(&upstream) {
                    *dx = reached(g, gradient_of::<FMA>(true, x, t, w, p)) as f32;
                }
            } else {
                for (((((dx, &x), &t), &w), &p), &g) in each.zip(&upstream) {
                    *dx = reached(g, gradient_of::<FMA>(false, x, t, w, p)) as f32;
                }
            }
        }
    }
}

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
