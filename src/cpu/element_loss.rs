//! Losses of single elements, by the formulas that they have for the CPU.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::prelude::*;
use crate::element_loss::{ElementProblem, Formula, Spread};
use crate::loss::{Upstream, pairwise_sum};
use std::hint::select_unpredictable;

/// Elements whose weights are spread out at a time.
const BLOCK: usize = 512;
/// Elements that a thread takes at a time, and whose losses are added up together.
const TASK: usize = 16 * 1024;
/// Each element's loss, where `out` is not empty; and the sum of all.
pub(super) fn losses<F: Formula>(
    isa: Isa,
    formula: &F,
    problem: &ElementProblem,
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
            formula,
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
pub(super) fn gradient<F: Formula>(
    isa: Isa,
    formula: &F,
    problem: &ElementProblem,
    x: &[f32],
    targets: &[f32],
    upstream: Upstream,
    dx: &mut [f32],
) {
    let part = |(i, dx): (usize, &mut [f32])| {
        let first = i * TASK;
        let range = first..first + dx.len();
        isa.run(Gradient {
            formula,
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
    fn load(&mut self, problem: &ElementProblem, first: usize, count: usize) {
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
pub(crate) fn reached(a: f64, b: f64) -> f64 {
    let product = a * b;
    let lost = product.is_nan() && !a.is_nan() && !b.is_nan();
    select_unpredictable(lost, 0.0, product)
}

struct Losses<'a, F> {
    formula: &'a F,
    problem: &'a ElementProblem<'a>,
    first: usize,
    x: &'a [f32],
    targets: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Formula> Kernel for Losses<'_, F> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let mut weights = Weights::new();
        let mut losses = [0.0; BLOCK];
        let mut sums = Vec::with_capacity(TASK / BLOCK);
        let blocks = self.x.chunks(BLOCK).zip(self.targets.chunks(BLOCK));
        for (i, (x, t)) in blocks.enumerate() {
            weights.load(self.problem, self.first + i * BLOCK, x.len());
            let (all, positive) = (&weights.all, &weights.positive);
            let each = losses.iter_mut().zip(x).zip(t).zip(all).zip(positive);
            for ((((loss, &x), &t), &w), &p) in each {
                *loss = self.formula.loss::<FMA>(x.into(), t.into(), w, p);
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

struct Gradient<'a, F> {
    formula: &'a F,
    problem: &'a ElementProblem<'a>,
    first: usize,
    x: &'a [f32],
    targets: &'a [f32],
    upstream: Upstream<'a>,
    dx: &'a mut [f32],
}

impl<F: Formula> Kernel for Gradient<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
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
            for (((((dx, &x), &t), &w), &p), &g) in each.zip(&upstream) {
                let slope = self.formula.slope::<FMA>(x.into(), t.into(), w, p);
                *dx = reached(g, slope) as f32;
            }
        }
    }
}
