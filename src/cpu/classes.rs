//! Losses over classes: a row of logits to its loss, its gradient, or both.
//!
//! A row's exponentials are relative to an anchor, an element of its own whose e^0 = 1 stays out
//! of the sum, so that log p = -log(1 + sum) keeps its precision where p is close to 1. For a
//! target class the anchor is the target, which is known before the row is read: one pass gives
//! the loss. Only where an element lies so far above it that f64 would overflow, and where every
//! class has a part in the loss (smoothing, target probabilities), the anchor is the maximum.
//!
//! As in the softmax family there are two engines: [`Row`] puts SIMD lanes along a row, and
//! [`Tile`] a row into each lane, for short rows and inner axes.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::{self, prelude::*};
use super::wide::Wide;
use crate::loss::{ClassProblem, ClassTargets, IGNORED, Upstream, pairwise_sum};
use crate::shape::AxisShape;
use std::hint::select_unpredictable;
use std::ops::Range;

/// One call over checked arrays.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    problem: &'a ClassProblem<'a>,
    x: &'a [f32],
    /// Where there is a gradient to compute.
    upstream: Option<Upstream<'a>>,
    /// What a target class keeps, and what label smoothing gives to each class.
    keep: f64,
    spread: f64,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        problem: &'a ClassProblem<'a>,
        x: &'a [f32],
        upstream: Option<Upstream<'a>>,
    ) -> Self {
        Self {
            problem,
            x,
            upstream,
            keep: 1.0 - problem.smoothing,
            spread: problem.smoothing / problem.shape.len as f64,
        }
    }

    /// Whether every class has a part in a row's loss.
    #[inline(always)]
    fn dense(&self) -> bool {
        self.spread > 0.0 || matches!(self.problem.targets, ClassTargets::Probabilities(_))
    }

    /// A row's target class; none for probabilities.
    #[inline(always)]
    fn target(&self, row: usize) -> Option<u32> {
        match &self.problem.targets {
            ClassTargets::Classes(classes) => Some(classes[row]),
            ClassTargets::Probabilities(_) => None,
        }
    }

    #[inline(always)]
    fn probabilities(&self) -> &[f32] {
        match &self.problem.targets {
            ClassTargets::Classes(_) => &[],
            ClassTargets::Probabilities(q) => q,
        }
    }

    #[inline(always)]
    fn weight(&self, class: usize) -> f64 {
        self.problem.weight.map_or(1.0, |w| w[class].into())
    }

    #[inline(always)]
    fn gradient(&self, row: usize) -> f64 {
        self.upstream.map_or(0.0, |dy| dy.at(row))
    }
}

/// A row shorter than this goes into a lane.
const SHORT: usize = 48;
/// Columns of an inner axis from which on a row goes into a lane.
const WIDE: usize = 16;
/// Longer rows are cut into segments of this, which threads share.
const SEGMENT: usize = 64 * 1024;
/// Elements that a thread takes at a time.
const TASK: usize = 16 * 1024;
/// How far above the anchor an element's power may lie, with room for the sum of all.
const FARTHEST: f64 = 600.0;

/// Computes each row's loss, where `losses` is not empty, and the gradient, where `dx` is not.
pub(super) fn run(isa: Isa, job: &Job, losses: &mut [f64], dx: &mut [f32]) {
    let shape = job.problem.shape;
    let (rows, len, inner) = (shape.rows(), shape.len, shape.inner);
    if rows == 0 {
        return;
    }
    if len == 0 {
        // Target probabilities of no classes: the sum of nothing.
        losses.fill(0.0);
        return;
    }
    let serial = rows * len < SERIAL_BELOW || threads::count() == 1;
    if inner == 1 && len <= SHORT {
        let step = (TASK / len).next_multiple_of(LANES);
        let step = if serial { rows } else { step };
        tasks(losses, dx, rows, step, len).for_each(|(rows, losses, dx)| {
            isa.run(Tiles {
                job,
                first: rows.start,
                lanes: Lanes::Rows,
                losses,
                out: Target::Flat(dx, rows.start * len),
                width: rows.len(),
            });
        });
    } else if inner >= WIDE {
        let wanted = (!losses.is_empty(), !dx.is_empty());
        let mut losses = losses;
        let mut dx = dx;
        for o in 0..shape.outer {
            let (mut own, mut block): (&mut [f64], &mut [f32]) = (&mut [], &mut []);
            if wanted.0 {
                (own, losses) = losses.split_at_mut(inner);
            }
            if wanted.1 {
                (block, dx) = dx.split_at_mut(len * inner);
            }
            columns(isa, job, o, own, block, serial);
        }
    } else if len > SEGMENT {
        for row in 0..rows {
            let at = row / inner;
            let block = if dx.is_empty() {
                &mut []
            } else {
                &mut dx[at * len * inner..(at + 1) * len * inner]
            };
            let loss = segmented(isa, job, row, block);
            if let Some(to) = losses.get_mut(row) {
                *to = loss;
            }
        }
    } else {
        let step = TASK.div_ceil(len * inner);
        let step = if serial { shape.outer } else { step };
        tasks(losses, dx, rows, step * inner, len).for_each(|(rows, losses, dx)| {
            whole_rows(isa, job, rows, losses, dx);
        });
    }
}

/// The rows in steps, each with its part of the outputs; an empty output has empty parts.
fn tasks<'a>(
    losses: &'a mut [f64],
    dx: &'a mut [f32],
    rows: usize,
    step: usize,
    len: usize,
) -> impl IndexedParallelIterator<Item = (Range<usize>, &'a mut [f64], &'a mut [f32])> {
    let mut parts = Vec::with_capacity(rows.div_ceil(step));
    let (mut losses, mut dx) = (losses, dx);
    for first in (0..rows).step_by(step) {
        let count = step.min(rows - first);
        let (loss, more) = std::mem::take(&mut losses)
            .split_at_mut_checked(count)
            .unwrap_or_default();
        let (part, rest) = std::mem::take(&mut dx)
            .split_at_mut_checked(count * len)
            .unwrap_or_default();
        (losses, dx) = (more, rest);
        parts.push((first..first + count, loss, part));
    }
    parts.into_par_iter()
}

/// One step along the outer dimension with rows of columns.
fn columns(isa: Isa, job: &Job, o: usize, losses: &mut [f64], dx: &mut [f32], serial: bool) {
    let (len, inner) = (job.problem.shape.len, job.problem.shape.inner);
    let width = TASK.div_ceil(len).next_multiple_of(LANES).min(inner);
    let width = if serial { inner } else { width };
    let groups = inner.div_ceil(width);
    let mut parts: Vec<Vec<&mut [f32]>> = (0..groups).map(|_| Vec::new()).collect();
    for step in dx.chunks_mut(inner) {
        for (part, columns) in parts.iter_mut().zip(step.chunks_mut(width)) {
            part.push(columns);
        }
    }
    let mut losses: Vec<&mut [f64]> = losses.chunks_mut(width).collect();
    losses.resize_with(groups, Default::default);
    let tasks: Vec<_> = parts.into_iter().zip(losses).collect();
    tasks
        .into_par_iter()
        .enumerate()
        .for_each(|(group, (part, losses))| {
            let first = group * width;
            isa.run(Tiles {
                job,
                first: o * inner + first,
                lanes: Lanes::Columns,
                losses,
                out: Target::Steps(part),
                width: width.min(inner - first),
            });
        });
}

/// What a row comes to.
#[derive(Clone, Copy)]
struct Finished {
    loss: f64,
    /// The gradient before the upstream one is e^(x - anchor) scale, less the class's factor.
    scale: f64,
    /// The same at the target of a sparse row.
    at_target: f64,
}

/// The sums over a row or a part of it.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Of e^(x - anchor) but for the anchor's own.
    total: f64,
    /// Of the classes' factors, and of factor (x - anchor).
    share: f64,
    slope: f64,
}

/// A row's anchor or target.
#[derive(Clone, Copy)]
struct Place {
    class: usize,
    value: f64,
}

/// The sum of the others' powers; NaN where the anchor says that a row has no answer.
#[inline(always)]
fn defined(total: f64, anchor: f64) -> f64 {
    select_unpredictable(anchor.abs() < f64::INFINITY, total, f64::NAN)
}

/// A row whose target alone makes the loss; `same` where the target is the anchor.
#[inline(always)]
fn finish_sparse<const FMA: bool>(
    total: f64,
    anchor: f64,
    target: f64,
    same: bool,
    weight: f64,
) -> Finished {
    let total = defined(total, anchor);
    let inverse = 1.0 / (1.0 + total);
    let below = (anchor - target) + Wide::<FMA>(total).ln_1p_any().0;
    let power = Wide::<FMA>(target - anchor).exp_below_zero().0;
    let others = select_unpredictable(same, total * inverse, 1.0 - power * inverse);
    Finished {
        // A weight of 0 wins over an infinite logarithm.
        loss: reached(weight, below),
        scale: weight * inverse,
        at_target: -weight * others,
    }
}

/// A row where every class has a factor.
#[inline(always)]
fn finish_dense<const FMA: bool>(sums: Sums, anchor: f64) -> Finished {
    let total = defined(sums.total, anchor);
    Finished {
        loss: sums.share * Wide::<FMA>(total).ln_1p_any().0 - sums.slope,
        scale: sums.share / (1.0 + total),
        at_target: 0.0,
    }
}

#[inline(always)]
fn finish<const FMA: bool>(sums: Sums, anchor: Place, sparse: Option<(Place, f64)>) -> Finished {
    match sparse {
        None => finish_dense::<FMA>(sums, anchor.value),
        Some((target, weight)) => finish_sparse::<FMA>(
            sums.total,
            anchor.value,
            target.value,
            anchor.class == target.class,
            weight,
        ),
    }
}

/// A product where 0 wins over infinity.
#[inline(always)]
fn reached(g: f64, v: f64) -> f64 {
    let product = g * v;
    let lost = product.is_nan() && !g.is_nan() && !v.is_nan();
    select_unpredictable(lost, 0.0, product)
}

/// Elements of a block: its copies stay below the size from which `memcpy` has a slow start.
const BLOCK: usize = 512;
/// Independent sums of a row, and rows of a tile.
const LANES: usize = 16;

/// The blocks on the stack, made once for many rows.
#[repr(align(64))]
struct Scratch {
    x: [f32; BLOCK],
    e: [f64; BLOCK],
    factor: [f64; BLOCK],
}

impl Scratch {
    #[inline(always)]
    fn new() -> Self {
        Self {
            x: [0.0; BLOCK],
            e: [0.0; BLOCK],
            factor: [0.0; BLOCK],
        }
    }
}

/// Some rows, each of at most a segment, on this thread.
fn whole_rows(isa: Isa, job: &Job, rows: Range<usize>, losses: &mut [f64], dx: &mut [f32]) {
    let (len, inner) = (job.problem.shape.len, job.problem.shape.inner);
    let scratch = &mut Scratch::new();
    let part = 0..len;
    for (k, number) in rows.clone().enumerate() {
        let row = Row { job, row: number };
        let finished = row.finished(
            isa,
            scratch,
            |scratch| {
                let part = part.clone();
                isa.run(MaxPhase { row, part, scratch })
            },
            |scratch, anchor| {
                isa.run(SumPhase {
                    row,
                    part: part.clone(),
                    anchor,
                    scratch,
                })
            },
        );
        if let Some(loss) = losses.get_mut(k) {
            *loss = finished.map_or(0.0, |(_, f)| f.loss);
        }
        if !dx.is_empty() {
            let block = (number / inner - rows.start / inner) * len * inner;
            let out = &mut dx[block..block + len * inner];
            isa.run(MapPhase {
                row,
                part: part.clone(),
                finished,
                out,
                scratch,
            });
        }
    }
}

/// One row by all threads; `dx` is its step along the outer dimension, or empty.
fn segmented(isa: Isa, job: &Job, row: usize, dx: &mut [f32]) -> f64 {
    let (len, inner) = (job.problem.shape.len, job.problem.shape.inner);
    let row = Row { job, row };
    let segments: Vec<Range<usize>> = (0..len)
        .step_by(SEGMENT)
        .map(|start| start..len.min(start + SEGMENT))
        .collect();
    let max = |_: &mut ()| {
        let parts = segments.par_iter().cloned();
        parts
            .map(|part| {
                let scratch = &mut Scratch::new();
                isa.run(MaxPhase { row, part, scratch })
            })
            .reduce(|| f32::NEG_INFINITY, f32::max)
    };
    let sums = |_: &mut (), anchor: Place| {
        let parts: Vec<(Sums, f64)> = segments
            .par_iter()
            .cloned()
            .map(|part| {
                isa.run(SumPhase {
                    row,
                    part,
                    anchor,
                    scratch: &mut Scratch::new(),
                })
            })
            .collect();
        let sum = |of: fn(&Sums) -> f64| {
            pairwise_sum(&parts.iter().map(|(sums, _)| of(sums)).collect::<Vec<_>>())
        };
        let sums = Sums {
            total: sum(|s| s.total),
            share: sum(|s| s.share),
            slope: sum(|s| s.slope),
        };
        let max = parts.iter().map(|(_, max)| *max);
        (sums, max.fold(f64::NEG_INFINITY, f64::max))
    };
    let finished = row.finished(isa, &mut (), max, sums);
    if !dx.is_empty() {
        dx.par_chunks_mut(SEGMENT * inner)
            .zip(segments)
            .for_each(|(out, part)| {
                isa.run(MapPhase {
                    row,
                    part,
                    finished,
                    out,
                    scratch: &mut Scratch::new(),
                });
            });
    }
    finished.map_or(0.0, |(_, f)| f.loss)
}

struct MaxPhase<'a, 'b> {
    row: Row<'a>,
    part: Range<usize>,
    scratch: &'b mut Scratch,
}

impl Kernel for MaxPhase<'_, '_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        self.row.max(self.part, self.scratch)
    }
}

struct SumPhase<'a, 'b> {
    row: Row<'a>,
    part: Range<usize>,
    anchor: Place,
    scratch: &'b mut Scratch,
}

impl Kernel for SumPhase<'_, '_> {
    type Output = (Sums, f64);
    #[inline(always)]
    fn run<const FMA: bool>(self) -> (Sums, f64) {
        self.row.sums::<FMA>(self.part, self.anchor, self.scratch)
    }
}

struct Finish {
    sums: Sums,
    anchor: Place,
    sparse: Option<(Place, f64)>,
}

impl Kernel for Finish {
    type Output = Finished;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Finished {
        finish::<FMA>(self.sums, self.anchor, self.sparse)
    }
}

struct MapPhase<'a, 'b> {
    row: Row<'a>,
    part: Range<usize>,
    finished: Option<(Place, Finished)>,
    out: &'b mut [f32],
    scratch: &'b mut Scratch,
}

impl Kernel for MapPhase<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.row
            .map::<FMA>(self.part, self.finished, self.out, self.scratch);
    }
}

/// What a row is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Ignored,
    /// One class, and nothing of any other.
    Sparse(usize),
    /// Every class has a factor; the class is where the target is one.
    Dense(Option<usize>),
}

/// A row of the array, by its number.
#[derive(Clone, Copy)]
struct Row<'a> {
    job: &'a Job<'a>,
    row: usize,
}

impl Row<'_> {
    #[inline(always)]
    fn target(&self) -> Aim {
        match self.job.target(self.row) {
            Some(IGNORED) => Aim::Ignored,
            Some(class) if !self.job.dense() => Aim::Sparse(class as usize),
            class => Aim::Dense(class.map(|class| class as usize)),
        }
    }

    /// Where element `i` of the row lies in the array.
    #[inline(always)]
    fn offset(&self, i: usize) -> usize {
        let shape = self.job.problem.shape;
        (self.row / shape.inner * shape.len + i) * shape.inner + self.row % shape.inner
    }

    #[inline(always)]
    fn place(&self, class: usize) -> Place {
        Place {
            class,
            value: self.job.x[self.offset(class)].into(),
        }
    }

    /// The row's anchor and what it comes to, by phases that work `with` something; none where the row
    /// is ignored.
    fn finished<W>(
        &self,
        isa: Isa,
        with: &mut W,
        max: impl FnOnce(&mut W) -> f32,
        sums: impl Fn(&mut W, Place) -> (Sums, f64),
    ) -> Option<(Place, Finished)> {
        let highest = |max: f32| self.place(self.argmax(max, 0..self.job.problem.shape.len));
        // The target and its weight, where it alone makes the loss.
        let (mut anchor, sparse) = match self.target() {
            Aim::Ignored => return None,
            Aim::Sparse(class) => {
                let place = self.place(class);
                (place, Some((place, self.job.weight(class))))
            }
            Aim::Dense(_) => (highest(max(with)), None),
        };
        let (mut all, largest) = sums(with, anchor);
        if largest - anchor.value > FARTHEST {
            anchor = highest(largest as f32);
            (all, _) = sums(with, anchor);
        }
        let finished = isa.run(Finish {
            sums: all,
            anchor,
            sparse,
        });
        Some((anchor, finished))
    }

    /// The range in blocks.
    #[inline(always)]
    fn blocks(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = range.end;
        range.step_by(BLOCK).map(move |i| i..end.min(i + BLOCK))
    }

    /// Copies a block of an array of the logits' shape and pads it to whole lanes. Returns the
    /// padded length.
    #[inline(always)]
    fn gather(&self, from: &[f32], block: &Range<usize>, pad: f32, to: &mut [f32; BLOCK]) -> usize {
        let (stride, count) = (self.job.problem.shape.inner, block.len());
        let from = &from[self.offset(block.start)..];
        if stride == 1 {
            to[..count].copy_from_slice(&from[..count]);
        } else {
            for (to, from) in to[..count].iter_mut().zip(from.iter().step_by(stride)) {
                *to = *from;
            }
        }
        let padded = count.next_multiple_of(LANES);
        to[count..padded].fill(pad);
        padded
    }

    /// The factors of a block's classes; the padding's are 0. Spoils `x`.
    #[inline(always)]
    fn factors(&self, block: &Range<usize>, scratch: &mut Scratch) {
        let job = self.job;
        let factor = &mut scratch.factor;
        let padded = match self.target() {
            Aim::Dense(None) => {
                let q = job.probabilities();
                let padded = self.gather(q, block, 0.0, &mut scratch.x);
                for (factor, &q) in factor[..padded].iter_mut().zip(&scratch.x[..padded]) {
                    *factor = job.keep * f64::from(q) + job.spread;
                }
                padded
            }
            _ => {
                factor.fill(job.spread);
                block.len().next_multiple_of(LANES)
            }
        };
        if let Some(weight) = job.problem.weight {
            let weight = &weight[block.clone()];
            for (factor, &weight) in factor.iter_mut().zip(weight) {
                *factor *= f64::from(weight);
            }
        }
        if let Aim::Dense(Some(class)) = self.target()
            && block.contains(&class)
        {
            factor[class - block.start] += job.keep * job.weight(class);
        }
        factor[block.len()..padded].fill(0.0);
    }

    /// The largest element that is not NaN.
    #[inline(always)]
    fn max(&self, range: Range<usize>, scratch: &mut Scratch) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for block in self.blocks(range) {
            let padded = self.gather(self.job.x, &block, f32::NEG_INFINITY, &mut scratch.x);
            for chunk in scratch.x[..padded].as_chunks::<LANES>().0 {
                for (max, &x) in lanes.iter_mut().zip(chunk) {
                    *max = if x > *max { x } else { *max };
                }
            }
        }
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The first class whose logit is `max`; the first of all where there is none.
    #[inline(always)]
    fn argmax(&self, max: f32, range: Range<usize>) -> usize {
        let x = &self.job.x[self.offset(range.start)..];
        let row = x.iter().step_by(self.job.problem.shape.inner);
        let found = row.take(range.len()).position(|&x| x == max);
        range.start + found.unwrap_or(0)
    }

    /// The sums of a range relative to the anchor, and its maximum.
    #[inline(always)]
    fn sums<const FMA: bool>(
        &self,
        range: Range<usize>,
        anchor: Place,
        scratch: &mut Scratch,
    ) -> (Sums, f64) {
        let dense = matches!(self.target(), Aim::Dense(_));
        let mut total = [0.0; LANES];
        let mut share = [0.0; LANES];
        let mut slope = [0.0; LANES];
        let mut max = [f32::NEG_INFINITY; LANES];
        for block in self.blocks(range) {
            if dense {
                self.factors(&block, scratch);
            }
            let padded = self.gather(self.job.x, &block, f32::NEG_INFINITY, &mut scratch.x);
            let (x, e) = (&scratch.x[..padded], &mut scratch.e[..padded]);
            for (e, &x) in e.iter_mut().zip(x) {
                *e = power::<FMA>(x, anchor.value);
            }
            if block.contains(&anchor.class) {
                e[anchor.class - block.start] = 0.0;
            }
            let chunks = x.as_chunks::<LANES>().0.iter();
            for (x, e) in chunks.clone().zip(e.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    total[i] += e[i];
                    max[i] = if x[i] > max[i] { x[i] } else { max[i] };
                }
            }
            if dense {
                for (x, f) in chunks.zip(scratch.factor.as_chunks::<LANES>().0) {
                    for i in 0..LANES {
                        share[i] += f[i];
                        slope[i] += slope_term(f[i], x[i], anchor.value);
                    }
                }
            }
        }
        let sums = Sums {
            total: total.iter().sum(),
            share: share.iter().sum(),
            slope: slope.iter().sum(),
        };
        (
            sums,
            max.into_iter().fold(f32::NEG_INFINITY, f32::max).into(),
        )
    }

    /// The gradient of a range; `out` begins with the step of its first element.
    #[inline(always)]
    fn map<const FMA: bool>(
        &self,
        range: Range<usize>,
        finished: Option<(Place, Finished)>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let job = self.job;
        let stride = job.problem.shape.inner;
        let first = range.start;
        let target = self.target();
        let g = job.gradient(self.row);
        for block in self.blocks(range) {
            let to = &mut out[(block.start - first) * stride + self.row % stride..];
            let Some((anchor, finished)) = finished else {
                for to in to.iter_mut().step_by(stride).take(block.len()) {
                    *to = 0.0;
                }
                continue;
            };
            if matches!(target, Aim::Dense(_)) {
                self.factors(&block, scratch);
            }
            let padded = self.gather(job.x, &block, 0.0, &mut scratch.x);
            let x = &mut scratch.x[..padded];
            if matches!(target, Aim::Dense(_)) {
                for (x, f) in x.iter_mut().zip(&scratch.factor) {
                    let v = power::<FMA>(*x, anchor.value) * finished.scale - f;
                    *x = reached(g, v) as f32;
                }
            } else {
                for x in x.iter_mut() {
                    let v = power::<FMA>(*x, anchor.value) * finished.scale;
                    *x = reached(g, v) as f32;
                }
            }
            if let Aim::Sparse(class) = target
                && block.contains(&class)
            {
                x[class - block.start] = reached(g, finished.at_target) as f32;
            }
            if stride == 1 {
                to[..block.len()].copy_from_slice(&x[..block.len()]);
            } else {
                for (to, x) in to.iter_mut().step_by(stride).zip(&x[..block.len()]) {
                    *to = *x;
                }
            }
        }
    }
}

/// e^(x - anchor); the difference is exact in f64 but for what no f32 result can show.
#[inline(always)]
fn power<const FMA: bool>(x: f32, anchor: f64) -> f64 {
    Wide::<FMA>(f64::from(x) - anchor).exp_below_zero().0
}

/// factor (x - anchor), where a factor of 0 wins over an infinity.
#[inline(always)]
fn slope_term(factor: f64, x: f32, anchor: f64) -> f64 {
    let term = factor * (f64::from(x) - anchor);
    select_unpredictable(factor == 0.0, 0.0, term)
}

/// What lies side by side in a tile.
#[derive(Clone, Copy)]
enum Lanes {
    /// Contiguous rows, one behind the other.
    Rows,
    /// Columns of an inner axis.
    Columns,
}

/// Where a tile's gradient goes.
enum Target<'a> {
    /// Contiguous rows, from an element of the array on.
    Flat(&'a mut [f32], usize),
    /// For each step along the axis the columns of all tiles.
    Steps(Vec<&'a mut [f32]>),
}

/// `width` rows from `first` on, sixteen at a time.
struct Tiles<'a> {
    job: &'a Job<'a>,
    first: usize,
    lanes: Lanes,
    losses: &'a mut [f64],
    out: Target<'a>,
    width: usize,
}

type Of<T> = [T; LANES];

impl Kernel for Tiles<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let len = self.job.problem.shape.len;
        for k in (0..self.width).step_by(LANES) {
            let width = LANES.min(self.width - k);
            let tile = Tile::new(self.job, self.lanes, self.first + k, width);
            let ready = tile.reduce::<FMA>();
            if !self.losses.is_empty() {
                self.losses[k..k + width].copy_from_slice(&ready.loss[..width]);
            }
            match &mut self.out {
                Target::Flat(out, base) if !out.is_empty() => {
                    let out = &mut out[tile.start - *base..][..width * len];
                    for i in 0..len {
                        let dx = tile.gradient::<FMA>(i, &ready);
                        for (row, dx) in out.chunks_exact_mut(len).zip(dx) {
                            row[i] = dx;
                        }
                    }
                }
                Target::Flat(..) => {}
                Target::Steps(steps) => {
                    for (i, step) in steps.iter_mut().enumerate() {
                        let dx = tile.gradient::<FMA>(i, &ready);
                        step[k..k + width].copy_from_slice(&dx[..width]);
                    }
                }
            }
        }
    }
}

/// Up to sixteen rows, each in a lane. Loops over lanes are plain: what is in a closure would not
/// be compiled for the instruction set.
struct Tile<'a> {
    job: &'a Job<'a>,
    first: usize,
    width: usize,
    /// Element i of row j lies at start + i step + j lane.
    start: usize,
    step: usize,
    lane: usize,
}

/// What the rows of a tile come to.
struct Ready {
    loss: Of<f64>,
    anchor: Of<f64>,
    scale: Of<f64>,
    at_target: Of<f64>,
    /// The target, or no class.
    target: Of<u32>,
    upstream: Of<f64>,
    /// All bits, or none where the row is left out.
    live: Of<u32>,
}

/// The sums of the rows of a tile, and their maxima.
struct TileSums {
    total: Of<f64>,
    share: Of<f64>,
    slope: Of<f64>,
    max: Of<f32>,
}

/// No class, where there is none to single out.
const NO_CLASS: u32 = IGNORED;

impl<'a> Tile<'a> {
    #[inline(always)]
    fn new(job: &'a Job<'a>, lanes: Lanes, first: usize, width: usize) -> Self {
        let AxisShape { len, inner, .. } = job.problem.shape;
        let (start, step, lane) = match lanes {
            Lanes::Rows => (first * len, 1, len),
            Lanes::Columns => (first / inner * len * inner + first % inner, inner, 1),
        };
        Self {
            job,
            first,
            width,
            start,
            step,
            lane,
        }
    }

    /// Element i of each row, 0 in lanes without one.
    #[inline(always)]
    fn load(&self, from: &[f32], i: usize) -> Of<f32> {
        let from = &from[self.start + i * self.step..];
        let mut lanes = [0.0; LANES];
        if self.lane == 1 && self.width == LANES {
            lanes.copy_from_slice(&from[..LANES]);
        } else {
            let from = from.iter().step_by(self.lane);
            for (lane, from) in lanes[..self.width].iter_mut().zip(from) {
                *lane = *from;
            }
        }
        lanes
    }

    /// The logit of a class of row j; 0 in lanes without a row.
    #[inline(always)]
    fn value(&self, class: u32, j: usize) -> f64 {
        if j < self.width {
            self.job.x[self.start + class as usize * self.step + j * self.lane].into()
        } else {
            0.0
        }
    }

    /// The factor of class i in each row.
    #[inline(always)]
    fn factor(&self, i: usize, target: &Of<u32>) -> Of<f64> {
        let job = self.job;
        let weight = job.weight(i);
        let (spread, keep) = (job.spread * weight, job.keep * weight);
        let mut factor = [0.0; LANES];
        match &job.problem.targets {
            ClassTargets::Probabilities(q) => {
                let q = self.load(q, i);
                for j in 0..LANES {
                    factor[j] = keep * f64::from(q[j]) + spread;
                }
            }
            ClassTargets::Classes(_) => {
                for j in 0..LANES {
                    let own = select_unpredictable(target[j] == i as u32, keep, 0.0);
                    factor[j] = spread + own;
                }
            }
        }
        factor
    }

    /// The place of each row's maximum.
    #[inline(always)]
    fn highest(&self) -> Of<u32> {
        let mut max = [f32::NEG_INFINITY; LANES];
        let mut place = [0u32; LANES];
        for i in 0..self.job.problem.shape.len {
            let x = self.load(self.job.x, i);
            for j in 0..LANES {
                let above = x[j] > max[j];
                max[j] = if above { x[j] } else { max[j] };
                place[j] = if above { i as u32 } else { place[j] };
            }
        }
        place
    }

    #[inline(always)]
    fn reduce<const FMA: bool>(&self) -> Ready {
        let job = self.job;
        let dense = job.dense();
        let probabilities = matches!(job.problem.targets, ClassTargets::Probabilities(_));
        let mut ready = Ready {
            loss: [0.0; LANES],
            anchor: [0.0; LANES],
            scale: [0.0; LANES],
            at_target: [0.0; LANES],
            target: [NO_CLASS; LANES],
            upstream: [0.0; LANES],
            live: [0; LANES],
        };
        for j in 0..self.width {
            if let Some(class) = job.target(self.first + j) {
                ready.target[j] = class;
            }
            if probabilities || ready.target[j] != NO_CLASS {
                ready.live[j] = u32::MAX;
                ready.upstream[j] = job.gradient(self.first + j);
            }
        }
        // A row that is left out computes with its first class, for nothing.
        let mut anchor = if dense { self.highest() } else { [0; LANES] };
        let mut weight = [0.0; LANES];
        let mut target = [0.0; LANES];
        if !dense {
            for j in 0..self.width {
                anchor[j] = ready.target[j] & ready.live[j];
                weight[j] = job.weight(anchor[j] as usize);
                target[j] = self.value(anchor[j], j);
            }
        }
        let mut values = [0.0; LANES];
        for (j, value) in values.iter_mut().enumerate() {
            *value = self.value(anchor[j], j);
        }
        let mut sums = self.sums::<FMA>(&anchor, &values, &ready.target, dense);
        let mut far = false;
        #[expect(clippy::needless_range_loop, reason = "lanes of several arrays")]
        for j in 0..self.width {
            far |= ready.live[j] != 0 && f64::from(sums.max[j]) - values[j] > FARTHEST;
        }
        if far {
            let highest = self.highest();
            for j in 0..self.width {
                if f64::from(sums.max[j]) - values[j] > FARTHEST {
                    anchor[j] = highest[j];
                    values[j] = self.value(anchor[j], j);
                }
            }
            sums = self.sums::<FMA>(&anchor, &values, &ready.target, dense);
        }
        ready.anchor = values;
        for j in 0..LANES {
            let finished = if dense {
                let sums = Sums {
                    total: sums.total[j],
                    share: sums.share[j],
                    slope: sums.slope[j],
                };
                finish_dense::<FMA>(sums, values[j])
            } else {
                let same = anchor[j] == ready.target[j];
                finish_sparse::<FMA>(sums.total[j], values[j], target[j], same, weight[j])
            };
            let live = ready.live[j] != 0;
            ready.loss[j] = select_unpredictable(live, finished.loss, 0.0);
            ready.scale[j] = finished.scale;
            ready.at_target[j] = finished.at_target;
        }
        ready
    }

    #[inline(always)]
    fn sums<const FMA: bool>(
        &self,
        anchor: &Of<u32>,
        values: &Of<f64>,
        target: &Of<u32>,
        dense: bool,
    ) -> TileSums {
        let mut sums = TileSums {
            total: [0.0; LANES],
            share: [0.0; LANES],
            slope: [0.0; LANES],
            max: [f32::NEG_INFINITY; LANES],
        };
        for i in 0..self.job.problem.shape.len {
            let x = self.load(self.job.x, i);
            let mut e = [0.0; LANES];
            for j in 0..LANES {
                e[j] = power::<FMA>(x[j], values[j]);
            }
            for j in 0..LANES {
                let own = anchor[j] == i as u32;
                sums.total[j] += if own { 0.0 } else { e[j] };
                sums.max[j] = if x[j] > sums.max[j] {
                    x[j]
                } else {
                    sums.max[j]
                };
            }
            if dense {
                let factor = self.factor(i, target);
                for j in 0..LANES {
                    sums.share[j] += factor[j];
                    sums.slope[j] += slope_term(factor[j], x[j], values[j]);
                }
            }
        }
        sums
    }

    /// The gradient at class i of each row.
    #[inline(always)]
    fn gradient<const FMA: bool>(&self, i: usize, ready: &Ready) -> Of<f32> {
        let x = self.load(self.job.x, i);
        let mut v = [0.0; LANES];
        for j in 0..LANES {
            v[j] = power::<FMA>(x[j], ready.anchor[j]) * ready.scale[j];
        }
        if self.job.dense() {
            let factor = self.factor(i, &ready.target);
            for (v, factor) in v.iter_mut().zip(factor) {
                *v -= factor;
            }
        } else {
            #[expect(clippy::needless_range_loop, reason = "lanes of several arrays")]
            for j in 0..LANES {
                let here = ready.target[j] == i as u32;
                v[j] = if here { ready.at_target[j] } else { v[j] };
            }
        }
        let mut dx = [0.0; LANES];
        for j in 0..LANES {
            let reached = reached(ready.upstream[j], v[j]) as f32;
            dx[j] = f32::from_bits(reached.to_bits() & ready.live[j]);
        }
        dx
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::OfShape;
    use crate::backend::Backend;
    use crate::cpu::Cpu;
    use crate::loss::{CrossEntropy, Reduction, Targets};
    use crate::reference::{loss as reference, ulp_error};

    /// Numbers from a linear congruence, in [-0.5, 0.5).
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    /// Every option that changes what is computed, over one array on one instruction set: the
    /// largest error in ULP, and how many values were compared.
    fn check(isa: Isa, shape: &[usize], axis: isize, scale: f32, seed: u64) -> (f64, usize) {
        let around = AxisShape::new(shape, axis).unwrap();
        let mut x = numbers(around.elements(), seed);
        x.iter_mut().for_each(|x| *x *= scale);
        let classes: Vec<i64> = numbers(around.rows(), seed + 1)
            .iter()
            .map(|u| match ((u + 0.5) * (around.len + 1) as f32) as i64 {
                // One more than there are: the last marks an ignored row.
                class if class as usize >= around.len => -100,
                class => class,
            })
            .collect();
        let q: Vec<f32> = numbers(around.elements(), seed + 2)
            .iter()
            .map(|u| (u + 0.5) * 2.0 / around.len as f32)
            .collect();
        let weight: Vec<f32> = (0..around.len).map(|i| 0.25 + (i % 5) as f32).collect();
        let dy = numbers(around.rows(), seed + 3);
        let cpu = Backend::Cpu(Cpu { isa }, String::new());
        let (mut worst, mut compared) = (0.0f64, 0);
        let mut see = |got: &[f32], want: &reference::Values, what: &str| {
            assert_eq!(got.len(), want.0.len());
            for ((&got, &want), &largest) in got.iter().zip(&want.0).zip(&want.1) {
                let error = ulp_error(got, want, largest);
                let isa = isa.name();
                assert!(error < 1.0, "{isa} {what} {shape:?}: {got:e} for {want:e}");
                worst = worst.max(error);
                compared += 1;
            }
        };
        let plain = CrossEntropy::new().axis(axis).reduction(Reduction::None);
        for (loss, targets) in [
            (plain.clone(), Targets::Indices(&classes)),
            (plain.clone().weight(&weight), Targets::Indices(&classes)),
            (
                plain.clone().weight(&weight).label_smoothing(0.2),
                Targets::Indices(&classes),
            ),
            (
                plain.clone().label_smoothing(1.0),
                Targets::Indices(&classes),
            ),
            (plain.clone(), Targets::Probabilities(&q)),
            (
                plain.weight(&weight).label_smoothing(0.3),
                Targets::Probabilities(&q),
            ),
        ] {
            let what = format!("{loss:?}");
            let losses = cpu.apply(&loss, (x.of_shape(shape), targets)).unwrap();
            let want = reference::cross_entropy(&loss, &x, shape, targets).unwrap();
            see(&losses, &want, &what);
            let dx = cpu.grad(&loss, (x.of_shape(shape), targets), &dy).unwrap();
            let want = reference::grad_cross_entropy(&loss, &x, shape, targets, &dy).unwrap();
            see(&dx, &want, &what);
            for reduction in [Reduction::Mean, Reduction::Sum] {
                let loss = loss.clone().reduction(reduction);
                let value = cpu.apply(&loss, (x.of_shape(shape), targets)).unwrap();
                let want = reference::cross_entropy(&loss, &x, shape, targets).unwrap();
                see(&value, &want, &what);
                let (again, dx) = cpu
                    .apply_with_grad(&loss, (x.of_shape(shape), targets))
                    .unwrap();
                assert_eq!(value[0].to_bits(), again[0].to_bits());
                let want =
                    reference::grad_cross_entropy(&loss, &x, shape, targets, &[1.0]).unwrap();
                see(&dx, &want, &what);
            }
        }
        (worst, compared)
    }

    #[test]
    fn every_path_meets_the_reference() {
        let mut compared = 0;
        for isa in Isa::available() {
            let mut worst = 0.0f64;
            for (k, (shape, axis)) in [
                (&[1usize][..], 0isize),
                (&[7], 0),
                (&[3, 1], 1),
                (&[17, 2], 1),
                (&[33, 10], 1),
                (&[5, 48], 1),
                (&[5, 49], 1),
                (&[4, 511], 1),
                (&[3, 1025], 1),
                (&[2, 5, 3], 1),
                (&[2, 70, 3], 1),
                (&[2, 5, 16], 1),
                (&[2, 6, 7, 11], 1),
                (&[40, 19], 0),
                (&[900, 12], 1),
                (&[1, 30, 300], 1),
                (&[2, 70_001], 1),
                (&[1, 66_000, 2], 1),
            ]
            .iter()
            .enumerate()
            {
                for scale in [4.0, 3000.0] {
                    let (error, count) = check(isa, shape, *axis, scale, 99 * k as u64 + 1);
                    worst = worst.max(error);
                    compared += count;
                }
            }
            println!("{}: {worst:.3} ULP", isa.name());
        }
        assert!(compared > 500_000, "{compared}");
    }

    /// What one row gives, on both engines: alone, and as a column of many.
    fn row(loss: &CrossEntropy, x: &[f32], targets: Targets<'_>) -> (f32, Vec<f32>) {
        let cpu = Backend::cpu();
        let loss = loss.clone().reduction(Reduction::None);
        let (value, dx) = cpu
            .apply_with_grad(&loss, (x.of_shape(&[1, x.len()]), targets))
            .unwrap();
        let columns: Vec<f32> = x.iter().flat_map(|&x| [x; 20]).collect();
        let wide: Vec<f32>;
        let classes: Vec<i64>;
        let targets = match targets {
            Targets::Probabilities(q) => {
                wide = q.iter().flat_map(|&q| [q; 20]).collect();
                Targets::Probabilities(&wide)
            }
            Targets::Indices(class) => {
                classes = vec![class[0]; 20];
                Targets::Indices(&classes)
            }
            _ => unreachable!(),
        };
        let shape = [1, x.len(), 20];
        let (all, grid) = cpu
            .apply_with_grad(&loss, (columns.of_shape(&shape), targets))
            .unwrap();
        for (j, other) in all.iter().enumerate() {
            assert!(
                ulp_error(*other, value[0].into(), 0.0) <= 1.0,
                "{other} {value:?}"
            );
            for (i, dx) in dx.iter().enumerate() {
                let other = grid[i * 20 + j];
                assert!(ulp_error(other, (*dx).into(), 0.0) <= 1.0, "{other} {dx}");
            }
        }
        (value[0], dx)
    }

    #[test]
    fn edges_are_as_documented() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let plain = CrossEntropy::new();
        // A target far below, and one at minus infinity.
        let (loss, dx) = row(&plain, &[0.0, 3000.0, -1000.0], (&[2i64]).into());
        assert_eq!((loss, &dx[..]), (4000.0, &[0.0, 1.0, -1.0][..]));
        let (loss, dx) = row(&plain, &[0.0, -inf], (&[1i64]).into());
        assert_eq!((loss, &dx[..]), (inf, &[1.0, -1.0][..]));
        // Rows without an answer.
        for x in [[nan, 0.0, 1.0], [inf, 0.0, 1.0], [-inf; 3], [nan; 3]] {
            for targets in [
                Targets::Indices(&[0]),
                Targets::Indices(&[1]),
                Targets::Probabilities(&[0.5, 0.5, 0.0]),
            ] {
                let (loss, dx) = row(&plain, &x, targets);
                assert!(loss.is_nan(), "{x:?} {targets:?} {loss}");
                assert!(dx.iter().all(|dx| dx.is_nan()), "{x:?} {targets:?} {dx:?}");
            }
            // Ignored, they are 0.
            let (loss, dx) = row(&plain, &x, (&[-100i64]).into());
            assert_eq!((loss, &dx[..]), (0.0, &[0.0; 3][..]));
        }
        let (loss, dx) = row(&plain, &[nan], (&[0i64]).into());
        assert!(loss.is_nan() && dx[0].is_nan());
        // A single class is certain.
        let (loss, dx) = row(&plain, &[-7.0], (&[0i64]).into());
        assert_eq!((loss, dx[0]), (0.0, 0.0));
        // Weights and probabilities of 0 win.
        let weighted = CrossEntropy::new().weight(&[0.0, 1.0]);
        let (loss, dx) = row(&weighted, &[-inf, 0.0], (&[0i64]).into());
        assert_eq!((loss, &dx[..]), (0.0, &[0.0, 0.0][..]));
        let (loss, _) = row(&plain, &[-inf, 0.0], (&[0.0f32, 1.0]).into());
        assert_eq!(loss, 0.0);
        let smooth = CrossEntropy::new().label_smoothing(0.1);
        let (loss, _) = row(&smooth, &[-inf, 0.0], (&[1i64]).into());
        assert_eq!(loss, inf);
        // Confident: log(1 + e^-14) and e^-14 / (1 + e^-14).
        let (loss, dx) = row(&plain, &[14.0, 0.0], (&[0i64]).into());
        assert!(ulp_error(loss, libm::log1p(libm::exp(-14.0)), 0.0) < 1.0);
        let share = libm::exp(-14.0) / (1.0 + libm::exp(-14.0));
        assert!(ulp_error(dx[0], -share, 0.0) < 1.0 && ulp_error(dx[1], share, 0.0) < 1.0);
    }

    #[test]
    fn empty_and_ignored_arrays() {
        let cpu = Backend::cpu();
        let loss = |reduction| CrossEntropy::new().reduction(reduction);
        let none: &[i64] = &[];
        for (shape, targets) in [(&[0usize, 3][..], none), (&[2, 3], &[-100, -100])] {
            let x = vec![1.0; shape.iter().product()];
            let value = |r| cpu.apply(loss(r), (x.of_shape(shape), targets));
            assert!(value(Reduction::Mean).unwrap()[0].is_nan());
            assert_eq!(value(Reduction::Sum).unwrap()[0].to_bits(), 0);
            assert_eq!(value(Reduction::None).unwrap(), vec![0.0; shape[0]]);
            let mean = loss(Reduction::Mean);
            let dx = cpu.grad(&mean, (x.of_shape(shape), targets), &[1.0]);
            assert_eq!(dx.unwrap(), vec![0.0; x.len()]);
        }
        // No classes: nothing can be a target, and a sum over nothing is 0.
        let q: &[f32] = &[];
        let value = cpu.apply(loss(Reduction::Sum), ([0.0; 0].of_shape(&[2, 0]), q));
        assert_eq!(value.unwrap(), [0.0]);
        let refused = cpu.apply(
            loss(Reduction::Sum),
            ([0.0; 0].of_shape(&[2, 0]), &[0i64, 0]),
        );
        assert!(refused.is_err());
    }
}
