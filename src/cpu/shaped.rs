//! The softmax family over shaped rows. What a row needs are differences of its values, and those of
//! elements and of biases are exact, whatever scale and cap make of them. They are made in f64, in a
//! buffer of the row's length, and SIMD lanes run along them.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::{self, prelude::*};
use super::wide::Wide;
use crate::axis::AxisFunction;
use crate::catalogue::Real;
use crate::shaping::{Geometry, Line, RowPolicy, Settings, Shaping};
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
    /// Whether that is the gradient by the sink, a term for each row.
    pub by_sink: bool,
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
            let outer = i * blocks..shape.outer.min((i + 1) * blocks);
            rows(isa, job, outer, 0..shape.inner, Target::Flat(out));
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
            let columns = i * width..shape.inner.min((i + 1) * width);
            self::rows(isa, job, o..o + 1, columns, Target::Columns(rows));
        });
    }
}

impl Job<'_> {
    /// Whether the output has one value for each row.
    fn per_row(&self) -> bool {
        self.by_sink || self.function.reduces() && self.dy.is_none()
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

/// A row's values less their maximum, then its weights; its upstream gradients; its elements and
/// biases, with signs so that values grow with them.
#[derive(Default)]
struct Scratch {
    v: Vec<f64>,
    g: Vec<f64>,
    x: Vec<f64>,
    b: Vec<f64>,
}

/// What the differences of a row are from, its largest value: how large, and the sink less that.
struct Top {
    value: f64,
    sink: f64,
    /// Whether there is a softmax, but for NaNs among the elements.
    defined: bool,
}

/// Some columns of some blocks, on this thread.
fn rows(isa: Isa, job: &Job, outer: Range<usize>, columns: Range<usize>, mut target: Target) {
    let shape = job.geometry.shape;
    let scratch = &mut Scratch::default();
    for o in outer.clone() {
        for c in columns.clone() {
            let row = Row {
                job,
                line: job.shaping.line(job.geometry, (o * shape.inner + c) as u64),
                number: o * shape.inner + c,
                start: o * shape.len * shape.inner + c,
            };
            let end = row.line.end;
            let (block, first) = (o - outer.start, c - columns.start);
            match &mut target {
                Target::Flat(out) if job.per_row() => {
                    out[block * shape.inner + c] = isa.run(Whole {
                        row,
                        scratch,
                        out: &mut [],
                    });
                }
                Target::Columns(out) if job.per_row() => {
                    out[0][first] = isa.run(Whole {
                        row,
                        scratch,
                        out: &mut [],
                    });
                }
                Target::Flat(out) if shape.inner == 1 => {
                    let out = &mut out[block * shape.len..][..shape.len];
                    let (out, outside) = out.split_at_mut(end);
                    outside.fill(isa.run(Whole { row, scratch, out }));
                }
                Target::Flat(out) => {
                    let nothing = isa.run(Whole {
                        row,
                        scratch,
                        out: &mut [],
                    });
                    let from = block * shape.len * shape.inner + c;
                    let places = out[from..].iter_mut().step_by(shape.inner);
                    put(places.take(shape.len), &scratch.v[..end], nothing);
                }
                Target::Columns(out) => {
                    let nothing = isa.run(Whole {
                        row,
                        scratch,
                        out: &mut [],
                    });
                    let places = out.iter_mut().map(|step| &mut step[first]);
                    put(places, &scratch.v[..end], nothing);
                }
            }
        }
    }
}

/// One row: its one result; or its results up to the row's end in `scratch.v`, and in `out` where that
/// is not empty, and what stands behind them. The loops over rows stand outside, so that all ways to
/// them share its code.
struct Whole<'a> {
    row: Row<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl Kernel for Whole<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let Self { row, scratch, out } = self;
        let Job { dy, by_sink, .. } = *row.job;
        if by_sink && row.line.sink.is_none() {
            return 0.0;
        }
        let top = row.differences::<FMA>(scratch);
        match dy {
            Some(dy) if by_sink => row.by_sink::<FMA>(scratch, &top, dy) as f32,
            None if row.job.per_row() => row.reduced::<FMA>(&scratch.v, &top) as f32,
            _ => {
                let nothing = row.results::<FMA>(scratch, &top);
                for (to, &y) in out.iter_mut().zip(&scratch.v) {
                    *to = y as f32;
                }
                nothing
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

    /// The values of the row less the largest of them and the sink; -infinity for what takes no part.
    #[inline(always)]
    fn differences<const FMA: bool>(&self, scratch: &mut Scratch) -> Top {
        let settings = &self.job.shaping.settings;
        let values = Values::new(settings);
        let end = self.line.end;
        let Scratch { v, x, b, .. } = scratch;
        self.gather(self.job.x, f64::NEG_INFINITY, v);
        let turn = self.job.sign() * 1.0f64.copysign(settings.scale.value());
        let as_they_are = settings.soft_cap == 0.0 && self.line.bias.is_none();
        let (anchor, mut top) = if as_they_are {
            if turn < 0.0 {
                v[..end].iter_mut().for_each(|v| *v = -*v);
            }
            self.masked(v, f64::NEG_INFINITY);
            let max = largest(v);
            if max.is_finite() {
                let scale = values.high + values.low;
                v.iter_mut().for_each(|v| *v = (*v - max) * scale);
            }
            ((max, 0.0), max)
        } else {
            x.clone_from(v);
            x[..end].iter_mut().for_each(|x| *x *= turn);
            self.biases(b);
            for ((v, &x), &b) in v.iter_mut().zip(&*x).zip(&*b) {
                *v = values.rough::<FMA>(x, b);
            }
            v[end..].fill(f64::NEG_INFINITY);
            self.masked(v, f64::NEG_INFINITY);
            self.masked(x, 0.0);
            self.masked(b, 0.0);
            let mut max = largest(v);
            let mut anchor = (0.0, 0.0);
            if max.is_finite() {
                // A rounded value may not be the largest; one that is close to it is soon found.
                for _ in 0..8 {
                    let at = v.iter().position(|&v| v == max).unwrap_or(0);
                    anchor = (x[at], b[at]);
                    values.less::<FMA>(anchor, x, b, v);
                    max = largest(v);
                    if max <= 0.0 {
                        break;
                    }
                }
                (anchor, 0.0)
            } else {
                (anchor, max)
            }
        };
        if top.is_finite() {
            top = values.difference::<FMA>(anchor, (0.0, 0.0));
        }
        let Some(sink) = self.line.sink.map(f64::from) else {
            return Top {
                value: top,
                sink: f64::NEG_INFINITY,
                defined: top.is_finite(),
            };
        };
        if sink.is_nan() {
            return Top {
                value: sink,
                sink,
                defined: false,
            };
        }
        if top.is_infinite() {
            let above = top > 0.0;
            return Top {
                value: top.max(sink),
                sink: if above { f64::NEG_INFINITY } else { 0.0 },
                defined: !above,
            };
        }
        if sink == f64::INFINITY {
            // All others are nothing beside it.
            v.iter_mut().for_each(|v| *v -= sink);
            return Top {
                value: sink,
                sink: 0.0,
                defined: true,
            };
        }
        let of_sink = values.difference::<FMA>((0.0, sink), anchor);
        if of_sink > 0.0 {
            v.iter_mut().for_each(|v| *v -= of_sink);
        }
        Top {
            value: if of_sink > 0.0 { sink } else { top },
            sink: of_sink.min(0.0),
            defined: true,
        }
    }

    /// The biases of a row of lanes, with the function's sign.
    #[inline(always)]
    fn biases(&self, b: &mut Vec<f64>) {
        let (sign, end) = (self.job.sign(), self.line.end);
        b.clear();
        match (self.line.bias, self.line.bias_step) {
            (None, _) => {}
            (Some(bias), 0) => b.resize(end, sign * f64::from(bias[0])),
            (Some(bias), step) => {
                let biases = bias.iter().step_by(step).take(end);
                b.extend(biases.map(|&b| sign * f64::from(b)));
            }
        }
        b.resize(end.next_multiple_of(LANES), 0.0);
    }

    /// What the sink adds to a row's weights.
    #[inline(always)]
    fn sink<const FMA: bool>(&self, top: &Top) -> f64 {
        match self.line.sink {
            Some(_) => Wide::<FMA>(top.sink).exp_below_zero().0,
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
    fn log_sum<const FMA: bool>(&self, v: &[f64], top: &Top) -> f64 {
        let mut ties = [0.0; LANES];
        let mut rest = [0.0; LANES];
        for chunk in v.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                let weight = Wide::<FMA>(chunk[i]).exp_below_zero().0;
                let tie = chunk[i] == 0.0;
                ties[i] += if tie { 1.0 } else { 0.0 };
                rest[i] += if tie { 0.0 } else { weight };
            }
        }
        let mut sums = [ties.iter().sum::<f64>(), rest.iter().sum::<f64>()];
        let sink = self.sink::<FMA>(top);
        sums[usize::from(sink != 1.0)] += sink;
        // Without the first tie, which is the 1 in log(1 + ...), small logarithms keep their
        // precision.
        Wide::<FMA>(sums[0] - 1.0 + sums[1]).ln_1p_any().0
    }

    /// The row's logsumexp.
    #[inline(always)]
    fn reduced<const FMA: bool>(&self, v: &[f64], top: &Top) -> f64 {
        let max = top.value;
        let nan = self.job.shaping.settings.policy == RowPolicy::Nan;
        if (max == f64::NEG_INFINITY || nan) && self.is_empty() {
            return if nan { f64::NAN } else { max };
        }
        let seen = v[..self.line.end].iter().any(|v| v.is_nan());
        if seen || max.is_infinite() {
            return if seen { f64::NAN } else { max };
        }
        max + self.log_sum::<FMA>(v, top)
    }

    /// Makes the results up to the row's end in place of the values; returns what stands behind it.
    #[inline(always)]
    fn results<const FMA: bool>(&self, scratch: &mut Scratch, top: &Top) -> f32 {
        let log = self.job.function == AxisFunction::LogSoftmax;
        let nan = self.job.shaping.settings.policy == RowPolicy::Nan;
        let nothing = match self.job.dy {
            None if nan && self.is_empty() => f32::NAN,
            None if log => f32::NEG_INFINITY,
            _ => 0.0,
        };
        let defined = match self.job.dy {
            None if log => self.log_softmax::<FMA>(&mut scratch.v, top),
            None => self.softmax::<FMA>(&mut scratch.v, top),
            Some(dy) => self.gradient::<FMA>(scratch, top, dy),
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
        nothing
    }

    /// Softmax in place of the values; false where it is not defined.
    #[inline(always)]
    fn softmax<const FMA: bool>(&self, v: &mut [f64], top: &Top) -> bool {
        let sum = weigh::<FMA>(v) + self.sink::<FMA>(top);
        let share = 1.0 / sum;
        for v in v.iter_mut() {
            *v *= share;
        }
        top.defined && !sum.is_nan()
    }

    #[inline(always)]
    fn log_softmax<const FMA: bool>(&self, v: &mut [f64], top: &Top) -> bool {
        let log = self.log_sum::<FMA>(v, top);
        for v in v.iter_mut() {
            *v -= log;
        }
        top.defined && !log.is_nan()
    }

    /// The gradient in place of the values.
    #[inline(always)]
    fn gradient<const FMA: bool>(&self, scratch: &mut Scratch, top: &Top, dy: &[f32]) -> bool {
        let Scratch { v, g, .. } = scratch;
        let sum = weigh::<FMA>(v) + self.sink::<FMA>(top);
        let inverse = 1.0 / sum;
        let defined = top.defined && !sum.is_nan();
        let slope = self.job.sign() * self.job.shaping.settings.scale.value();
        if self.job.function.reduces() {
            let factor = f64::from(dy[self.number]) * inverse * slope;
            v.iter_mut().for_each(|v| *v *= factor);
        } else {
            let dot = self.upstream(v, g, dy);
            if self.job.function == AxisFunction::LogSoftmax {
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

    /// The row's upstream gradients, and their sum: for softmax with the weights `e`.
    #[inline(always)]
    fn upstream(&self, e: &[f64], g: &mut Vec<f64>, dy: &[f32]) -> f64 {
        self.gather(dy, 0.0, g);
        self.masked(g, 0.0);
        let mut sums = [0.0; LANES];
        let log = self.job.function == AxisFunction::LogSoftmax;
        for (e, g) in e
            .as_chunks::<LANES>()
            .0
            .iter()
            .zip(g.as_chunks::<LANES>().0)
        {
            for i in 0..LANES {
                sums[i] += if log { g[i] } else { g[i] * e[i] };
            }
        }
        sums.iter().sum()
    }

    /// The gradient by the row's sink: its share of the sum, times what results lose by it.
    #[inline(always)]
    fn by_sink<const FMA: bool>(&self, scratch: &mut Scratch, top: &Top, dy: &[f32]) -> f64 {
        let Scratch { v, g, .. } = scratch;
        let own = self.sink::<FMA>(top);
        let sum = weigh::<FMA>(v) + own;
        if !top.defined || sum.is_nan() {
            return f64::NAN;
        }
        let share = own / sum;
        if self.job.function.reduces() {
            return share * f64::from(dy[self.number]);
        }
        let dot = self.upstream(v, g, dy);
        if self.job.function == AxisFunction::LogSoftmax {
            -share * dot
        } else {
            -share * (dot / sum)
        }
    }

    /// Multiplies gradients by the soft cap's derivative, 4 e / (1 + e)² with e = e^(-2 |x| rate).
    #[inline(always)]
    fn capped<const FMA: bool>(&self, v: &mut [f64], x: &mut Vec<f64>) {
        let settings = &self.job.shaping.settings;
        if settings.soft_cap > 0.0 {
            let rate = -2.0 * (settings.scale.value() / f64::from(settings.soft_cap)).abs();
            self.gather(self.job.x, 0.0, x);
            for (v, x) in v.iter_mut().zip(&*x) {
                let e = Wide::<FMA>(x.abs() * rate).exp_below_zero().0;
                *v *= 4.0 * e / ((1.0 + e) * (1.0 + e));
            }
        }
    }
}

/// The largest value that is not NaN.
#[inline(always)]
fn largest(v: &[f64]) -> f64 {
    let mut lanes = [f64::NEG_INFINITY; LANES];
    for chunk in v.as_chunks::<LANES>().0 {
        for (max, &v) in lanes.iter_mut().zip(chunk) {
            *max = if v > *max { v } else { *max };
        }
    }
    lanes.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// Weights e^v in place of values of at most 0, and their sum.
#[inline(always)]
fn weigh<const FMA: bool>(v: &mut [f64]) -> f64 {
    let mut sums = [0.0; LANES];
    for chunk in v.as_chunks_mut::<LANES>().0 {
        for i in 0..LANES {
            chunk[i] = Wide::<FMA>(chunk[i]).exp_below_zero().0;
            sums[i] += chunk[i];
        }
    }
    sums.iter().sum()
}

/// What makes values of elements and biases, which have their signs already.
#[derive(Clone, Copy)]
struct Values {
    /// The scale as a number of 29 bits, whose product with an f32 is exact, and the rest.
    high: f64,
    low: f64,
    /// 0 where there is none.
    cap: f64,
    /// 2 scale / cap.
    rate: f64,
}

impl Values {
    fn new(settings: &Settings) -> Self {
        let scale = settings.scale.value().abs();
        let high = f64::from_bits(scale.to_bits() & !((1 << 24) - 1));
        let rest = settings.scale.rest() * 1.0f64.copysign(settings.scale.value());
        let cap = f64::from(settings.soft_cap);
        Self {
            high,
            low: (scale - high) + rest,
            cap,
            rate: if cap > 0.0 { 2.0 * scale / cap } else { 0.0 },
        }
    }

    /// A value within f64's rounding, which tells an infinity or a NaN.
    #[inline(always)]
    fn rough<const FMA: bool>(&self, x: f64, b: f64) -> f64 {
        let x = if self.cap > 0.0 {
            self.cap * Wide::<FMA>(0.5 * self.rate * x).tanh().0
        } else {
            (self.high + self.low) * x
        };
        x + b
    }

    /// In place of finite values in `v`, these less that of `m`.
    #[inline(always)]
    fn less<const FMA: bool>(&self, m: (f64, f64), x: &[f64], b: &[f64], v: &mut [f64]) {
        for ((v, &x), &b) in v.iter_mut().zip(x).zip(b) {
            let difference = self.difference::<FMA>((x, b), m);
            *v = if v.is_finite() { difference } else { *v };
        }
    }

    /// The value of an element and its bias less that of another.
    #[inline(always)]
    fn difference<const FMA: bool>(&self, (x, b): (f64, f64), (m, c): (f64, f64)) -> f64 {
        let (step, rest) = two_sum(b, -c);
        if self.cap > 0.0 {
            return self.capped::<FMA>(x, m) + step + rest;
        }
        // Each part's products with the scale's high part are exact; with the low part they are
        // small.
        let (of_x, of_m) = (x * self.high, m * self.high);
        let (product, lost) = two_sum(of_x, -of_m);
        let (sum, more) = two_sum(product, step);
        sum + ((lost + more) + rest + (x - m) * self.low)
    }

    /// cap tanh(scale x / cap) less that of m, without the cancellation.
    #[inline(always)]
    fn capped<const FMA: bool>(&self, x: f64, m: f64) -> f64 {
        let power = |x: f64| Wide::<FMA>(-self.rate * x.abs()).exp_below_zero().0;
        let (of_x, of_m) = (power(x), power(m));
        let d = if x == m { 0.0 } else { x - m };
        let rise = -Wide::<FMA>(-self.rate * d.abs()).exp_m1().0;
        let one_side = (x < 0.0) == (m < 0.0);
        let larger = if of_x > of_m { of_x } else { of_m };
        let factor = if one_side { larger } else { 1.0 };
        let size = 2.0 * self.cap * rise * factor / ((1.0 + of_x) * (1.0 + of_m));
        if d < 0.0 { -size } else { size }
    }
}

/// a + b as the rounded sum and what its rounding lost (Knuth).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

#[cfg(test)]
mod tests {
    use crate::cpu::{Cpu, Isa};
    use crate::reference::{shaped_backward, shaped_backward_by_sinks, shaped_forward, ulp_error};
    use crate::{AxisFunction, Shaping};

    /// Sinks above, among and below their rows' elements, and those that are no numbers.
    #[test]
    fn sinks_on_every_instruction_set() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let sinks = [-inf, -40.0, -1.5, 0.25, 3.0, 80.0, inf, nan];
        let of = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 80.0 - 6.0;
        let mut compared = 0;
        for isa in Isa::available() {
            let cpu = Cpu { isa };
            for (len, inner) in [(1, 1), (7, 1), (100, 1), (5, 3), (70, 3)] {
                let (shape, given) = ([8, len, inner], [8, 1, 1]);
                let x: Vec<f32> = (0..8 * len * inner).map(of).collect();
                let plain = Shaping::new().sinks(&sinks, &given);
                for (shaping, &function) in [plain, plain.scale(0.4), plain.soft_cap(3.0)]
                    .iter()
                    .flat_map(|s| AxisFunction::ALL.iter().map(move |f| (s, f)))
                {
                    let want = shaped_forward(function, shaping, &x, &shape, 1);
                    let dy: Vec<f32> = (0..want.len()).map(|i| of(i * 31 + 5)).collect();
                    let mut y = vec![0.0; want.len()];
                    cpu.apply_axis_shaped_into(function, shaping, &x, &shape, 1, &mut y)
                        .unwrap();
                    let (by_x, largest) = shaped_backward(function, shaping, &x, &dy, &shape, 1);
                    let mut dx = vec![0.0; x.len()];
                    cpu.grad_axis_shaped_into(function, shaping, &x, &dy, &shape, 1, &mut dx)
                        .unwrap();
                    let (by_sinks, sizes) =
                        shaped_backward_by_sinks(function, shaping, &x, &dy, &shape, 1);
                    let mut ds = vec![0.0; 8];
                    cpu.grad_axis_sinks_into(function, shaping, &x, &dy, &shape, 1, &mut ds)
                        .unwrap();
                    let none = vec![1.0; want.len()];
                    for (got, want, size) in
                        [(y, want, none), (dx, by_x, largest), (ds, by_sinks, sizes)]
                    {
                        for (i, &got) in got.iter().enumerate() {
                            let error = ulp_error(got, want[i], size[i]);
                            let what = format!("{}: {function} of {shape:?}", isa.name());
                            assert!(error <= 1.0, "{what}, {i}: {got:e}, want {:e}", want[i]);
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 10_000, "{compared}");
    }
}
