//! The softmax family over shaped rows. A row's values are f64, since a scale or a bias rounds in
//! f32: they are made once, in a buffer of the row's length, and SIMD lanes run along them.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::{self, prelude::*};
use super::wide::Wide;
use crate::axis::AxisFunction;
use crate::catalogue::Real;
use crate::shaping::{Geometry, Line, RowPolicy, Shaping};
use std::ops::Range;

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub function: AxisFunction,
    pub shaping: &'a Shaping<'a>,
    pub geometry: &'a Geometry,
    pub x: &'a [f32],
    /// The upstream gradient where the call is for a gradient.
    pub dy: Option<&'a [f32]>,
}

/// Independent sums, enough for the adders' latency at any SIMD width; rows are padded to it.
const LANES: usize = 16;
/// Elements that a thread takes at a time.
const TASK: usize = 16 * 1024;
/// Columns of a block that are a thread's own at least.
const COLUMNS: usize = 16;

/// Runs the job; lengths were checked.
pub(super) fn run(isa: Isa, job: &Job, out: &mut [f32]) {
    let shape = job.geometry.shape;
    let per_block = if job.per_row() {
        shape.inner
    } else {
        shape.len * shape.inner
    };
    if out.is_empty() {
        return;
    }
    let threads = threads::count();
    let block = (shape.len * shape.inner).max(1);
    let serial = shape.outer * block < SERIAL_BELOW || threads == 1;
    if serial || shape.outer >= threads || shape.inner < 2 * COLUMNS {
        let blocks = if serial {
            shape.outer
        } else {
            // No thread is left without.
            TASK.div_ceil(block).min(shape.outer.div_ceil(threads))
        };
        let task = |(i, out)| {
            isa.run(Rows {
                job,
                outer: i * blocks..shape.outer.min((i + 1) * blocks),
                columns: 0..shape.inner,
                target: Target::Flat(out),
            });
        };
        if serial {
            task((0, out));
        } else {
            out.par_chunks_mut(per_block * blocks)
                .enumerate()
                .for_each(task);
        }
        return;
    }
    // Few blocks: threads share the columns of each.
    let width = shape.inner.div_ceil(2 * threads).max(COLUMNS);
    for (o, out) in out.chunks_mut(per_block).enumerate() {
        let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
        columns.resize_with(shape.inner.div_ceil(width), Vec::new);
        for row in out.chunks_mut(shape.inner) {
            for (group, part) in columns.iter_mut().zip(row.chunks_mut(width)) {
                group.push(part);
            }
        }
        columns.into_par_iter().enumerate().for_each(|(i, rows)| {
            isa.run(Rows {
                job,
                outer: o..o + 1,
                columns: i * width..shape.inner.min((i + 1) * width),
                target: Target::Columns(rows),
            });
        });
    }
}

impl Job<'_> {
    /// Whether the output has one value for each row.
    fn per_row(&self) -> bool {
        self.function.reduces() && self.dy.is_none()
    }

    fn sign(&self) -> f64 {
        if self.function == AxisFunction::Softmin {
            -1.0
        } else {
            1.0
        }
    }
}

/// Where results go.
enum Target<'a> {
    /// Into whole blocks.
    Flat(&'a mut [f32]),
    /// Into some columns of one block, given step by step.
    Columns(Vec<&'a mut [f32]>),
}

/// Some columns of some blocks.
struct Rows<'a> {
    job: &'a Job<'a>,
    outer: Range<usize>,
    columns: Range<usize>,
    target: Target<'a>,
}

/// A row's values, then its weights; and its upstream gradients.
#[derive(Default)]
struct Scratch {
    v: Vec<f64>,
    g: Vec<f64>,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let shape = self.job.geometry.shape;
        let mut scratch = Scratch::default();
        for o in self.outer.clone() {
            for c in self.columns.clone() {
                let row = Row {
                    job: self.job,
                    line: self
                        .job
                        .shaping
                        .line(self.job.geometry, (o * shape.inner + c) as u64),
                    number: o * shape.inner + c,
                    start: o * shape.len * shape.inner + c,
                };
                let (block, first) = (o - self.outer.start, c - self.columns.start);
                if self.job.per_row() {
                    let y = row.reduced::<FMA>(&mut scratch) as f32;
                    match &mut self.target {
                        Target::Flat(out) => out[block * shape.inner + c] = y,
                        Target::Columns(out) => out[0][first] = y,
                    }
                    continue;
                }
                match &mut self.target {
                    Target::Flat(out) if shape.inner == 1 => {
                        let out = &mut out[block * shape.len..][..shape.len];
                        row.results::<FMA, _>(&mut scratch, |results, nothing| {
                            let (inside, outside) = out.split_at_mut(results.len());
                            for (to, &y) in inside.iter_mut().zip(results) {
                                *to = y as f32;
                            }
                            outside.fill(nothing);
                        });
                    }
                    Target::Flat(out) => {
                        let from = block * shape.len * shape.inner + c;
                        let places = out[from..].iter_mut().step_by(shape.inner);
                        row.results::<FMA, _>(&mut scratch, |results, nothing| {
                            put(places.take(shape.len), results, nothing);
                        });
                    }
                    Target::Columns(out) => {
                        let places = out.iter_mut().map(|step| &mut step[first]);
                        row.results::<FMA, _>(&mut scratch, |results, nothing| {
                            put(places, results, nothing);
                        });
                    }
                }
            }
        }
    }
}

/// Results, and what stands where elements cannot take part any more.
#[inline(always)]
fn put<'a>(mut places: impl Iterator<Item = &'a mut f32>, results: &[f64], nothing: f32) {
    // In this order: `zip` takes of its first part before it sees that the second has no more.
    for (&y, to) in results.iter().zip(&mut places) {
        *to = y as f32;
    }
    places.for_each(|to| *to = nothing);
}

/// One row.
struct Row<'a> {
    job: &'a Job<'a>,
    line: Line<'a>,
    number: usize,
    /// Where its first element lies in the array.
    start: usize,
}

impl Row<'_> {
    /// The elements up to the end, from `array`, which is x or like it.
    #[inline(always)]
    fn elements<'b>(&self, array: &'b [f32]) -> impl Iterator<Item = &'b f32> {
        let step = self.job.geometry.shape.inner;
        array[self.start.min(array.len())..]
            .iter()
            .step_by(step)
            .take(self.line.end)
    }

    /// Puts an array's elements into a row of lanes that `pad` fills up.
    #[inline(always)]
    fn gather(&self, array: &[f32], pad: f64, to: &mut Vec<f64>) {
        let end = self.line.end;
        to.resize(end.next_multiple_of(LANES), pad);
        if self.job.geometry.shape.inner == 1 {
            for (to, &x) in to.iter_mut().zip(&array[self.start..self.start + end]) {
                *to = x.into();
            }
        } else {
            for (to, &x) in to.iter_mut().zip(self.elements(array)) {
                *to = x.into();
            }
        }
        to[end..].fill(pad);
    }

    /// `other` in place of what takes no part.
    #[inline(always)]
    fn masked(&self, to: &mut [f64], other: f64) {
        let to = &mut to[..self.line.end];
        match (self.line.mask, self.line.mask_step) {
            (None, _) => {}
            (Some(mask), 0) if mask[0] != 0 => {}
            (Some(_), 0) => to.fill(other),
            (Some(mask), 1) => {
                for (to, &keep) in to.iter_mut().zip(mask) {
                    *to = if keep != 0 { *to } else { other };
                }
            }
            (Some(mask), step) => {
                for (to, &keep) in to.iter_mut().zip(mask.iter().step_by(step)) {
                    *to = if keep != 0 { *to } else { other };
                }
            }
        }
        let Some(bias) = self.line.bias else {
            return;
        };
        let choose = |to: &mut f64, b: f32| {
            *to = if b == f32::NEG_INFINITY { other } else { *to };
        };
        match self.line.bias_step {
            0 => to.iter_mut().for_each(|to| choose(to, bias[0])),
            step => {
                let pairs = to.iter_mut().zip(bias.iter().step_by(step));
                pairs.for_each(|(to, &b)| choose(to, b));
            }
        }
    }

    /// The values of the row, -infinity for what takes no part.
    #[inline(always)]
    fn values<const FMA: bool>(&self, v: &mut Vec<f64>) {
        let settings = &self.job.shaping.settings;
        let sign = self.job.sign();
        let scale = sign * settings.scale;
        self.gather(self.job.x, f64::NEG_INFINITY, v);
        let end = self.line.end;
        if settings.soft_cap > 0.0 {
            let cap = f64::from(settings.soft_cap);
            let rate = scale / cap;
            for v in &mut v[..end] {
                *v = cap * Wide::<FMA>(*v * rate).tanh().0;
            }
        } else if scale != 1.0 {
            for v in &mut v[..end] {
                *v *= scale;
            }
        }
        if let Some(bias) = self.line.bias {
            match self.line.bias_step {
                0 => {
                    let bias = sign * f64::from(bias[0]);
                    v[..end].iter_mut().for_each(|v| *v += bias);
                }
                1 => {
                    for (v, &b) in v[..end].iter_mut().zip(bias) {
                        *v += sign * f64::from(b);
                    }
                }
                step => {
                    for (v, &b) in v[..end].iter_mut().zip(bias.iter().step_by(step)) {
                        *v += sign * f64::from(b);
                    }
                }
            }
        }
        self.masked(v, f64::NEG_INFINITY);
    }

    /// The largest value that is not NaN, and the sink.
    #[inline(always)]
    fn max(&self, v: &[f64]) -> f64 {
        let mut lanes = [f64::NEG_INFINITY; LANES];
        for chunk in v.as_chunks::<LANES>().0 {
            for (max, &v) in lanes.iter_mut().zip(chunk) {
                *max = if v > *max { v } else { *max };
            }
        }
        let sink = self
            .job
            .shaping
            .settings
            .sink
            .map_or(f64::NEG_INFINITY, f64::from);
        lanes.into_iter().fold(sink, f64::max)
    }

    /// What the sink adds to a row's weights.
    #[inline(always)]
    fn sink<const FMA: bool>(&self, max: f64) -> f64 {
        match self.job.shaping.settings.sink {
            Some(sink) => Wide::<FMA>(f64::from(sink) - max).exp_below_zero().0,
            None => 0.0,
        }
    }

    /// Whether nothing takes part.
    #[cold]
    fn is_empty(&self) -> bool {
        !(0..self.line.end).any(|k| self.line.keeps(k))
    }

    /// log(sum of weights) beyond the maximum.
    #[inline(always)]
    fn log_sum<const FMA: bool>(&self, v: &[f64], max: f64) -> f64 {
        let mut ties = [0.0; LANES];
        let mut rest = [0.0; LANES];
        for chunk in v.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                let weight = Wide::<FMA>(chunk[i] - max).exp_below_zero().0;
                let tie = chunk[i] == max;
                ties[i] += if tie { 1.0 } else { 0.0 };
                rest[i] += if tie { 0.0 } else { weight };
            }
        }
        let mut sums = [ties.iter().sum::<f64>(), rest.iter().sum::<f64>()];
        let sink = self.sink::<FMA>(max);
        sums[usize::from(sink != 1.0)] += sink;
        // Without the first tie, which is the 1 in log(1 + ...), small logarithms keep their
        // precision.
        Wide::<FMA>(sums[0] - 1.0 + sums[1]).ln_1p_any().0
    }

    /// The row's logsumexp.
    #[inline(always)]
    fn reduced<const FMA: bool>(&self, scratch: &mut Scratch) -> f64 {
        self.values::<FMA>(&mut scratch.v);
        let v = &scratch.v;
        let max = self.max(v);
        let nan = self.job.shaping.settings.policy == RowPolicy::Nan;
        if (max == f64::NEG_INFINITY || nan) && self.is_empty() {
            return if nan { f64::NAN } else { max };
        }
        let seen = v[..self.line.end].iter().any(|v| v.is_nan());
        if seen || max.is_infinite() {
            return if seen { f64::NAN } else { max };
        }
        max + self.log_sum::<FMA>(v, max)
    }

    /// Gives `put` the results up to the row's end, and what stands behind it.
    #[inline(always)]
    fn results<const FMA: bool, P: FnOnce(&[f64], f32)>(&self, scratch: &mut Scratch, put: P) {
        self.values::<FMA>(&mut scratch.v);
        let max = self.max(&scratch.v);
        let log = self.job.function == AxisFunction::LogSoftmax;
        let nan = self.job.shaping.settings.policy == RowPolicy::Nan;
        let nothing = match self.job.dy {
            None if nan && self.is_empty() => f32::NAN,
            None if log => f32::NEG_INFINITY,
            _ => 0.0,
        };
        let defined = match self.job.dy {
            None if log => self.log_softmax::<FMA>(&mut scratch.v, max),
            None => self.softmax::<FMA>(&mut scratch.v, max),
            Some(dy) => self.gradient::<FMA>(scratch, max, dy),
        };
        let results = &mut scratch.v[..self.line.end];
        if nothing.is_nan() {
            results.fill(f64::NAN);
        } else if !defined {
            for (k, y) in results.iter_mut().enumerate() {
                *y = if self.line.keeps(k) {
                    f64::NAN
                } else {
                    nothing.into()
                };
            }
        }
        put(results, nothing);
    }

    /// Softmax in place of the values; false where it is not defined.
    #[inline(always)]
    fn softmax<const FMA: bool>(&self, v: &mut [f64], max: f64) -> bool {
        let sum = weigh::<FMA>(v, max) + self.sink::<FMA>(max);
        let share = 1.0 / sum;
        for v in v.iter_mut() {
            *v *= share;
        }
        max.is_finite() && !sum.is_nan()
    }

    #[inline(always)]
    fn log_softmax<const FMA: bool>(&self, v: &mut [f64], max: f64) -> bool {
        let log = self.log_sum::<FMA>(v, max);
        for v in v.iter_mut() {
            *v = (*v - max) - log;
        }
        max.is_finite() && !log.is_nan()
    }

    /// The gradient in place of the values.
    #[inline(always)]
    fn gradient<const FMA: bool>(&self, scratch: &mut Scratch, max: f64, dy: &[f32]) -> bool {
        let Scratch { v, g } = scratch;
        let sum = weigh::<FMA>(v, max) + self.sink::<FMA>(max);
        let inverse = 1.0 / sum;
        let defined = max.is_finite() && !sum.is_nan();
        let slope = self.job.sign() * self.job.shaping.settings.scale;
        if self.job.function.reduces() {
            let factor = f64::from(dy[self.number]) * inverse * slope;
            v.iter_mut().for_each(|v| *v *= factor);
        } else {
            self.gather(dy, 0.0, g);
            self.masked(g, 0.0);
            let mut sums = [0.0; LANES];
            let log = self.job.function == AxisFunction::LogSoftmax;
            for (e, g) in v
                .as_chunks::<LANES>()
                .0
                .iter()
                .zip(g.as_chunks::<LANES>().0)
            {
                for i in 0..LANES {
                    sums[i] += if log { g[i] } else { g[i] * e[i] };
                }
            }
            let dot: f64 = sums.iter().sum();
            if log {
                let share = dot * inverse;
                for (e, g) in v.iter_mut().zip(&*g) {
                    *e = (*g - *e * share) * slope;
                }
            } else {
                let (factor, mean) = (inverse * slope, dot * inverse);
                for (e, g) in v.iter_mut().zip(&*g) {
                    *e *= (*g - mean) * factor;
                }
            }
        }
        self.capped::<FMA>(v, g);
        // A NaN or an infinity of the upstream gradient stays with what takes part.
        self.masked(v, 0.0);
        defined
    }

    /// Multiplies gradients by the soft cap's derivative, 4 e / (1 + e)² with e = e^(-2 |x| rate).
    #[inline(always)]
    fn capped<const FMA: bool>(&self, v: &mut [f64], x: &mut Vec<f64>) {
        let settings = &self.job.shaping.settings;
        if settings.soft_cap > 0.0 {
            let rate = -2.0 * (settings.scale / f64::from(settings.soft_cap)).abs();
            self.gather(self.job.x, 0.0, x);
            for (v, x) in v.iter_mut().zip(&*x) {
                let e = Wide::<FMA>(x.abs() * rate).exp_below_zero().0;
                *v *= 4.0 * e / ((1.0 + e) * (1.0 + e));
            }
        }
    }
}

/// Weights e^(v - max) in place of values, and their sum.
#[inline(always)]
fn weigh<const FMA: bool>(v: &mut [f64], max: f64) -> f64 {
    let mut sums = [0.0; LANES];
    for chunk in v.as_chunks_mut::<LANES>().0 {
        for i in 0..LANES {
            chunk[i] = Wide::<FMA>(chunk[i] - max).exp_below_zero().0;
            sums[i] += chunk[i];
        }
    }
    sums.iter().sum()
}
