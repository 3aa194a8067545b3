//! The softmax family over contiguous rows in f32: the hottest rows, at twice the lanes of
//! [`rows`](super::rows).
//!
//! A row is read once, block by block, and a block is in the first cache from its maximum to its
//! sums. Its weights are relative to a power of two next to e^maximum: then nothing is subtracted
//! from an element, whose rounding a weight would show, and another exponent is all that it takes.
//! What a block's weights are multiplied by in the end makes up for the power, so that the row's
//! maximum need not be known before. Weights stay in the output; a logarithm keeps none and reads
//! the row again. Short rows go through the same steps side by side, some blocks' worth at a time.
//!
//! Weights are rounded once. A few are added up in f32, those sums in f64, and so are the products
//! with an upstream gradient. A row that f32 does not hold (sums beyond its range, infinities and
//! NaN in gradients) is left to [`rows`](super::rows).

use super::isa::{Isa, Kernel};
use super::narrow::scaled_exp_parts;
use super::phases::{Direction, Job, Piece, Segment};
use super::rows::weight;
use super::threads::prelude::*;
use super::wide::Wide;
use crate::axis::AxisFunction;
use std::hint::black_box;
use std::ops::Range;

/// Elements with a maximum of their own.
const BLOCK: usize = 2048;
/// The most rows side by side.
const BATCH: usize = 32;
/// SIMD lanes of f32 at the widest.
const LANES: usize = 16;
/// Elements whose terms are added up in f32 before f64.
const GROUP: usize = 4 * LANES;
/// The vector that a row ends with, over elements before it where they are no whole vectors.
const LAST: usize = 8;
/// Rows of fewer elements are faster side by side in a tile, forward and backward.
const SHORTEST: [usize; 2] = [33, 16];

/// Weights of which some may be below all f32 add up to no more than this.
const SMALLEST_REST: f64 = 1e-28;

/// Maxima up to here are near enough to 0: the argument of an element's exponential is the element.
const NEAR: f32 = 256.0;

/// Whether [`Rows`] and [`split`] compute the job.
pub(super) fn computes(isa: Isa, job: &Job) -> bool {
    let shortest = SHORTEST[usize::from(job.direction != Direction::Forward)];
    job.shape.inner == 1 && job.shape.len >= shortest && isa.fuses()
}

/// Blocks on the stack, made once for many rows: clearing them costs more than a short row.
#[repr(align(64))]
struct Scratch {
    /// The input of a call in place.
    x: [f32; BLOCK],
    /// The weights that a logarithm does not keep.
    weights: [f32; BLOCK],
}

impl Scratch {
    #[inline(always)]
    fn new() -> Self {
        Self {
            x: [0.0; BLOCK],
            weights: [0.0; BLOCK],
        }
    }
}

/// Where the weights of a row's elements go.
#[derive(PartialEq)]
enum Weights {
    /// They stay in the output until the results are made of them.
    Kept,
    /// Only their sums are wanted.
    Aside,
    /// The input is what others have made of them.
    Given,
}

/// Which sum over the upstream gradient a row takes.
#[derive(PartialEq)]
enum Upstream {
    None,
    /// That of its products with the weights.
    Product,
    /// Its own.
    Sum,
}

/// What is computed of a row.
trait Way {
    /// Whether it is of -x.
    const NEGATED: bool = false;
    const WEIGHTS: Weights;
    const UPSTREAM: Upstream = Upstream::None;
    /// Whether the logarithm of the sum is wanted.
    const LOG: bool = false;
    /// Whether a row has one result, the first coefficient.
    const REDUCES: bool = false;

    /// Whether f32 holds the row's coefficients; `dy` is the upstream gradient of a row that has one.
    #[inline(always)]
    fn holds(_: &Whole, _dy: f32) -> bool {
        true
    }

    /// What [`Way::at`] needs of a block, whose weights are to be multiplied by `scale`.
    fn coefficients(row: &Whole, scale: f64, dy: f32) -> [f32; 3];

    /// The result of a weight, or of an element where none are kept.
    fn at<const FMA: bool>(x: f32, dy: f32, coefficients: [f32; 3]) -> f32;
}

/// A number as a sum of two f32.
#[inline(always)]
fn parts(x: f64) -> [f32; 2] {
    let high = x as f32;
    [high, (x - f64::from(high)) as f32]
}

/// Sums up to here, and differences of them and any f32, stay in range after [`QUARTER`].
const LARGEST: f64 = 1e37;
/// What keeps the difference of two f32 in range.
const QUARTER: f32 = 0.25;

#[inline(always)]
fn held(x: f64) -> bool {
    x.abs() <= LARGEST
}

struct Softmax<const NEGATED: bool>;

impl<const NEGATED: bool> Way for Softmax<NEGATED> {
    const NEGATED: bool = NEGATED;
    const WEIGHTS: Weights = Weights::Kept;

    #[inline(always)]
    fn coefficients(row: &Whole, scale: f64, _: f32) -> [f32; 3] {
        let [high, low] = parts(row.defined(scale / row.sum));
        [high, low, 0.0]
    }

    #[inline(always)]
    fn at<const FMA: bool>(weight: f32, _: f32, [high, low, _]: [f32; 3]) -> f32 {
        mul_add::<FMA>(weight, high, weight * low)
    }
}

struct LogSoftmax;

impl Way for LogSoftmax {
    const WEIGHTS: Weights = Weights::Aside;
    const LOG: bool = true;

    #[inline(always)]
    fn coefficients(row: &Whole, _: f64, _: f32) -> [f32; 3] {
        [row.max, row.defined(row.log) as f32, 0.0]
    }

    /// Both terms are of one sign.
    #[inline(always)]
    fn at<const FMA: bool>(x: f32, _: f32, [max, log, _]: [f32; 3]) -> f32 {
        (x - max) - log
    }
}

struct LogSumExp;

impl Way for LogSumExp {
    const WEIGHTS: Weights = Weights::Aside;
    const LOG: bool = true;
    const REDUCES: bool = true;

    #[inline(always)]
    fn coefficients(row: &Whole, _: f64, _: f32) -> [f32; 3] {
        [(f64::from(row.max) + row.log) as f32, 0.0, 0.0]
    }

    #[inline(always)]
    fn at<const FMA: bool>(x: f32, _: f32, _: [f32; 3]) -> f32 {
        x
    }
}

/// p·(dy - Σ p·dy).
struct SoftmaxGradient<const NEGATED: bool>;

impl<const NEGATED: bool> Way for SoftmaxGradient<NEGATED> {
    const NEGATED: bool = NEGATED;
    const WEIGHTS: Weights = Weights::Kept;
    const UPSTREAM: Upstream = Upstream::Product;

    #[inline(always)]
    fn holds(row: &Whole, _: f32) -> bool {
        row.max.is_finite() && held(row.upstream)
    }

    #[inline(always)]
    fn coefficients(row: &Whole, scale: f64, _: f32) -> [f32; 3] {
        let dot = row.upstream / row.sum;
        let sign = if NEGATED { -1.0 } else { 1.0 };
        let factor = sign / f64::from(QUARTER) * (scale / row.sum);
        let [high, low] = parts(factor);
        [high, low, QUARTER * dot as f32]
    }

    #[inline(always)]
    fn at<const FMA: bool>(weight: f32, dy: f32, [high, low, dot]: [f32; 3]) -> f32 {
        let p = mul_add::<FMA>(weight, high, weight * low);
        p * mul_add::<FMA>(dy, QUARTER, -dot)
    }
}

/// dy - p·Σ dy.
struct LogSoftmaxGradient;

impl Way for LogSoftmaxGradient {
    const WEIGHTS: Weights = Weights::Kept;
    const UPSTREAM: Upstream = Upstream::Sum;

    #[inline(always)]
    fn holds(row: &Whole, _: f32) -> bool {
        row.max.is_finite() && held(row.upstream)
    }

    #[inline(always)]
    fn coefficients(row: &Whole, scale: f64, _: f32) -> [f32; 3] {
        let [high, low] = parts(-row.upstream * (scale / row.sum));
        [high, low, 0.0]
    }

    #[inline(always)]
    fn at<const FMA: bool>(weight: f32, dy: f32, [high, low, _]: [f32; 3]) -> f32 {
        mul_add::<FMA>(weight, high, mul_add::<FMA>(weight, low, dy))
    }
}

/// p·dy, of the row's one dy.
struct LogSumExpGradient;

impl Way for LogSumExpGradient {
    const WEIGHTS: Weights = Weights::Kept;

    #[inline(always)]
    fn holds(row: &Whole, dy: f32) -> bool {
        row.max.is_finite() && held(dy.into())
    }

    #[inline(always)]
    fn coefficients(row: &Whole, scale: f64, dy: f32) -> [f32; 3] {
        let [high, low] = parts(f64::from(dy) * (scale / row.sum));
        [high, low, 0.0]
    }

    #[inline(always)]
    fn at<const FMA: bool>(weight: f32, _: f32, [high, low, _]: [f32; 3]) -> f32 {
        mul_add::<FMA>(weight, high, weight * low)
    }
}

/// [`SoftmaxGradient`] from p.
struct FromOutput<const NEGATED: bool>;

impl<const NEGATED: bool> Way for FromOutput<NEGATED> {
    const WEIGHTS: Weights = Weights::Given;
    const UPSTREAM: Upstream = Upstream::Product;

    #[inline(always)]
    fn holds(row: &Whole, _: f32) -> bool {
        held(row.upstream)
    }

    #[inline(always)]
    fn coefficients(row: &Whole, _: f64, _: f32) -> [f32; 3] {
        let sign = if NEGATED { -1.0 } else { 1.0 };
        [sign / QUARTER, 0.0, QUARTER * row.upstream as f32]
    }

    #[inline(always)]
    fn at<const FMA: bool>(p: f32, dy: f32, [factor, _, dot]: [f32; 3]) -> f32 {
        p * factor * mul_add::<FMA>(dy, QUARTER, -dot)
    }
}

/// Calls a method of the job's way.
macro_rules! by_way {
    ($job:expr, $call:ident::<FMA>($($argument:expr),*)) => {{
        assert!(FMA, "`computes` leaves the others out, and so does the compiler");
        use AxisFunction::{LogSoftmax as Log, LogSumExp as Lse, Softmax as Soft, Softmin as Min};
        match ($job.direction, $job.function) {
            (Direction::Forward, Soft) => $call::<Softmax<false>, FMA>($($argument),*),
            (Direction::Forward, Min) => $call::<Softmax<true>, FMA>($($argument),*),
            (Direction::Forward, Log) => $call::<LogSoftmax, FMA>($($argument),*),
            (Direction::Forward, Lse) => $call::<LogSumExp, FMA>($($argument),*),
            (Direction::Backward, Soft) => $call::<SoftmaxGradient<false>, FMA>($($argument),*),
            (Direction::Backward, Min) => $call::<SoftmaxGradient<true>, FMA>($($argument),*),
            (Direction::Backward, Log) => $call::<LogSoftmaxGradient, FMA>($($argument),*),
            (Direction::Backward, Lse) => $call::<LogSumExpGradient, FMA>($($argument),*),
            (Direction::FromOutput, Min) => $call::<FromOutput<true>, FMA>($($argument),*),
            (Direction::FromOutput, _) => $call::<FromOutput<false>, FMA>($($argument),*),
        }
    }};
}

/// What is known of a block.
#[derive(Clone, Copy)]
struct Found {
    max: f32,
    /// The logarithm of what its weights are relative to.
    shift: f64,
    /// The sum of its weights.
    sum: f64,
    /// For a logarithm, that sum without the maximum's.
    rest: f64,
    upstream: f64,
}

impl Found {
    const NOTHING: Self = Self {
        max: 0.0,
        shift: 0.0,
        sum: 1.0,
        rest: 0.0,
        upstream: 0.0,
    };
}

/// A row's maximum and sums, these relative to what its weights are.
#[derive(Clone, Copy)]
struct Whole {
    max: f32,
    sum: f64,
    upstream: f64,
    /// The logarithm of the sum over e^max.
    log: f64,
}

impl Whole {
    /// A value where the row has one, NaN where its maximum is infinite.
    #[inline(always)]
    fn defined(&self, value: f64) -> f64 {
        if self.max.is_infinite() {
            f64::NAN
        } else {
            value
        }
    }
}

/// log(1 + rest) of a row; beside an infinite maximum the rest is nothing, or NaN.
#[inline(always)]
fn logarithm<const FMA: bool>(max: f32, rest: f64) -> f64 {
    let log = Wide::<FMA>(rest).ln_1p_any().0;
    if max.is_infinite() { rest } else { log }
}

/// e^(shift - to), 1 where both are the same infinity.
#[inline(always)]
fn scale<const FMA: bool>(shift: f64, to: f64) -> f64 {
    if shift == to {
        1.0
    } else {
        Wide::<FMA>(shift - to).exp_below_zero().0
    }
}

/// A row from its blocks, and the logarithm of what its sums are relative to.
#[inline(always)]
fn merged<W: Way, const FMA: bool>(found: &[Found]) -> (Whole, f64) {
    let mut largest = found[0];
    for block in found {
        if block.max > largest.max {
            largest = *block;
        }
    }
    let Found { max, shift, .. } = largest;
    let top = scale::<FMA>(max.into(), shift);
    let (mut sum, mut upstream, mut rest, mut ties) = (0.0, 0.0, 0.0, 0.0);
    for block in found {
        let scale = scale::<FMA>(block.shift, shift);
        sum += scale * block.sum;
        upstream += match W::UPSTREAM {
            Upstream::Product => scale * block.upstream,
            _ => block.upstream,
        };
        // The first maximum is the 1 in log(1 + ...), so that small logarithms keep their precision.
        if block.max == max {
            rest += block.rest / top + ties;
            ties = 1.0;
        } else {
            rest += scale * block.sum / top;
        }
    }
    let log = logarithm::<FMA>(max, rest);
    let whole = Whole {
        max,
        sum,
        upstream,
        log,
    };
    (whole, shift)
}

/// All rows of some steps along the outer dimension, on this thread. Returns those that f32 does not
/// hold.
pub(super) fn run(isa: Isa, job: &Job, outer: Range<usize>, piece: Piece) -> Vec<usize> {
    let len = job.shape.len;
    let scratch = &mut Scratch::new();
    let mut not_held = Vec::new();
    let out_len = if job.reduces() { 1 } else { len };
    if len <= BLOCK {
        let many = (BLOCK / len).min(BATCH);
        let all = outer.clone().step_by(many);
        for (first, out) in all.zip(piece.out.chunks_mut(many * out_len)) {
            isa.run(Batch {
                job,
                first,
                out,
                scratch,
                not_held: &mut not_held,
            });
        }
        return not_held;
    }
    let mut found = Vec::with_capacity(len.div_ceil(BLOCK));
    for (row, out) in outer.zip(piece.out.chunks_exact_mut(out_len)) {
        let (result, out) = if job.reduces() {
            (Some(&mut out[0]), &mut [][..])
        } else {
            (None, out)
        };
        let base = row * len;
        let mut part = Segment {
            range: 0..len,
            piece: Piece { out, base },
        };
        found.clear();
        isa.run(First {
            job,
            part: &mut part,
            found: &mut found,
            scratch,
        });
        let dy = of_row(job, row);
        let (whole, shift, holds) = isa.run(Merge {
            job,
            found: &found,
            dy,
        });
        if !holds {
            not_held.push(row);
        } else if let Some(result) = result {
            *result = LogSumExp::coefficients(&whole, 1.0, dy)[0];
        } else {
            isa.run(Second {
                job,
                part: &mut part,
                found: &found,
                whole,
                shift,
                dy,
            });
        }
    }
    not_held
}

/// The upstream gradient over some elements, where each has its own.
#[inline(always)]
fn upstream<'a, W: Way>(job: &Job<'a>, first: usize, count: usize) -> &'a [f32] {
    if W::UPSTREAM == Upstream::None {
        &[]
    } else {
        &job.dy[first..first + count]
    }
}

/// The upstream gradient of a row that has one.
#[inline(always)]
fn of_row(job: &Job, row: usize) -> f32 {
    if job.direction == Direction::Backward && job.function.reduces() {
        job.dy[row]
    } else {
        0.0
    }
}

/// Short rows from `first` on, side by side in each step.
struct Batch<'a> {
    job: &'a Job<'a>,
    first: usize,
    out: &'a mut [f32],
    scratch: &'a mut Scratch,
    /// Takes the rows that f32 does not hold.
    not_held: &'a mut Vec<usize>,
}

impl Kernel for Batch<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        by_way!(self.job, batch::<FMA>(self));
    }
}

#[inline(always)]
fn batch<W: Way, const FMA: bool>(this: Batch) {
    let Batch {
        job,
        first,
        out,
        scratch,
        not_held,
    } = this;
    let len = job.shape.len;
    let count = out.len() / if W::REDUCES { 1 } else { len };
    let elements = count * len;
    let x = match job.x {
        Some(x) => &x[first * len..first * len + elements],
        None => {
            scratch.x[..elements].copy_from_slice(out);
            &scratch.x[..elements]
        }
    };
    let dy = upstream::<W>(job, first * len, elements);
    let dy_of = |at: &Range<usize>| if dy.is_empty() { dy } else { &dy[at.clone()] };
    let row = |i: usize| i * len..(i + 1) * len;
    // An array for each, so that what is done to all rows is SIMD code.
    let mut max = [0.0; BATCH];
    let mut shift = [0.0; BATCH];
    let (mut sum, mut rest, mut upstream) = ([1.0; BATCH], [0.0; BATCH], [0.0; BATCH]);
    if W::WEIGHTS != Weights::Given {
        for i in 0..count {
            max[i] = largest::<W>(&x[row(i)]);
        }
        for i in 0..BATCH {
            shift[i] = shift_of(max[i]);
        }
        let to = if W::WEIGHTS == Weights::Kept {
            &mut *out
        } else {
            &mut scratch.weights[..elements]
        };
        for i in 0..count {
            weights::<W, FMA>(&x[row(i)], &mut to[row(i)], max[i]);
        }
    }
    let weights: &[f32] = match W::WEIGHTS {
        Weights::Kept => out,
        Weights::Aside => &scratch.weights[..elements],
        Weights::Given => x,
    };
    for i in 0..count {
        let at = row(i);
        let (of_weights, of_dy) = summed::<W, FMA>(&weights[at.clone()], dy_of(&at));
        (sum[i], upstream[i]) = (of_weights, of_dy);
        if W::LOG {
            rest[i] = rest_of::<FMA>(&x[at.clone()], &weights[at], max[i], of_weights);
        }
    }
    let mut coefficients = [[0.0; BATCH]; 3];
    let mut holds = true;
    let whole = |i: usize| {
        let log = if W::LOG {
            let top = scale::<FMA>(max[i].into(), shift[i]);
            logarithm::<FMA>(max[i], rest[i] / top)
        } else {
            0.0
        };
        Whole {
            max: max[i],
            sum: sum[i],
            upstream: upstream[i],
            log,
        }
    };
    let mut dy_of_rows = [0.0; BATCH];
    if job.function.reduces() && job.direction == Direction::Backward {
        dy_of_rows[..count].copy_from_slice(&job.dy[first..first + count]);
    }
    for i in 0..BATCH {
        let (whole, dy) = (whole(i), dy_of_rows[i]);
        holds &= W::holds(&whole, dy);
        let [a, b, c] = W::coefficients(&whole, 1.0, dy);
        coefficients[0][i] = a;
        coefficients[1][i] = b;
        coefficients[2][i] = c;
    }
    if W::REDUCES {
        out.copy_from_slice(&coefficients[0][..count]);
        return;
    }
    for i in 0..count {
        let (at, c) = (row(i), coefficients.map(|c| c[i]));
        let dy = dy_of(&at);
        let out = &mut out[at.clone()];
        if W::WEIGHTS == Weights::Kept {
            map_in_place::<W, FMA>(out, dy, c);
        } else {
            map::<W, FMA>(&x[at], dy, out, c);
        }
    }
    if !holds {
        let all = (0..count).filter(|&i| !W::holds(&whole(i), dy_of_rows[i]));
        not_held.extend(all.map(|i| first + i));
    }
}

/// One row by all threads, each on its segments. Returns the value of a reduction; none where f32
/// does not hold the row.
pub(super) fn split(isa: Isa, job: &Job, row: usize, parts: &mut [Segment]) -> Option<f32> {
    let found: Vec<Vec<Found>> = parts
        .par_iter_mut()
        .map(|part| {
            let mut found = Vec::with_capacity(part.range.len().div_ceil(BLOCK));
            isa.run(First {
                job,
                part,
                found: &mut found,
                scratch: &mut Scratch::new(),
            });
            found
        })
        .collect();
    let dy = of_row(job, row);
    let (whole, shift, holds) = isa.run(Merge {
        job,
        found: &found.concat(),
        dy,
    });
    if !holds {
        return None;
    }
    if job.reduces() {
        return Some(LogSumExp::coefficients(&whole, 1.0, dy)[0]);
    }
    parts.par_iter_mut().zip(&found).for_each(|(part, found)| {
        isa.run(Second {
            job,
            part,
            found,
            whole,
            shift,
            dy,
        });
    });
    Some(0.0)
}

/// Finds what there is to know of each block; where they are kept, it leaves weights in the output.
struct First<'a, 'b> {
    job: &'a Job<'a>,
    part: &'a mut Segment<'b>,
    found: &'a mut Vec<Found>,
    scratch: &'a mut Scratch,
}

impl Kernel for First<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        by_way!(self.job, first::<FMA>(self));
    }
}

/// The part of the input that lies over a segment; none where the call is in place.
#[inline(always)]
fn input<'a>(job: &Job<'a>, part: &Segment) -> Option<&'a [f32]> {
    let base = part.piece.base;
    job.x.map(|x| &x[base..base + part.range.len()])
}

/// A row from its blocks, what its sums are relative to, and whether f32 holds it.
struct Merge<'a> {
    job: &'a Job<'a>,
    found: &'a [Found],
    dy: f32,
}

impl Kernel for Merge<'_> {
    type Output = (Whole, f64, bool);
    #[inline(always)]
    fn run<const FMA: bool>(self) -> (Whole, f64, bool) {
        by_way!(self.job, merged_parts::<FMA>(&self))
    }
}

#[inline(always)]
fn merged_parts<W: Way, const FMA: bool>(parts: &Merge) -> (Whole, f64, bool) {
    let (whole, shift) = merged::<W, FMA>(parts.found);
    (whole, shift, W::holds(&whole, parts.dy))
}

/// The results from what is known of the row, and what its sums are relative to.
struct Second<'a, 'b> {
    job: &'a Job<'a>,
    part: &'a mut Segment<'b>,
    found: &'a [Found],
    whole: Whole,
    shift: f64,
    dy: f32,
}

impl Kernel for Second<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        by_way!(self.job, second::<FMA>(self));
    }
}

#[inline(always)]
fn first<W: Way, const FMA: bool>(this: First) {
    let First {
        job,
        part,
        found,
        scratch,
    } = this;
    let len = part.range.len();
    let (x, dy) = (input(job, part), upstream::<W>(job, part.piece.base, len));
    let out = &mut *part.piece.out;
    for start in (0..len).step_by(BLOCK) {
        let at = start..len.min(start + BLOCK);
        let count = at.len();
        let x = match x {
            Some(x) => &x[at.clone()],
            None => {
                scratch.x[..count].copy_from_slice(&out[at.clone()]);
                &scratch.x[..count]
            }
        };
        let dy = if dy.is_empty() { dy } else { &dy[at.clone()] };
        let mut block = Found::NOTHING;
        let weights: &[f32] = if W::WEIGHTS == Weights::Given {
            x
        } else {
            let to = if W::WEIGHTS == Weights::Kept {
                &mut out[at]
            } else {
                &mut scratch.weights[..count]
            };
            block.max = largest::<W>(x);
            block.shift = shift_of(block.max);
            weights::<W, FMA>(x, to, block.max);
            to
        };
        let (sum, upstream) = summed::<W, FMA>(weights, dy);
        (block.sum, block.upstream) = (sum, upstream);
        if W::LOG {
            block.rest = rest_of::<FMA>(x, weights, block.max, sum);
        }
        found.push(block);
    }
}

#[inline(always)]
fn second<W: Way, const FMA: bool>(this: Second) {
    let (job, part) = (this.job, this.part);
    let x = input(job, part);
    let dy = upstream::<W>(job, part.piece.base, part.range.len());
    let blocks = part.piece.out.chunks_mut(BLOCK).zip(this.found);
    for (i, (out, block)) in blocks.enumerate() {
        let scale = scale::<FMA>(block.shift, this.shift);
        let coefficients = W::coefficients(&this.whole, scale, this.dy);
        let at = i * BLOCK..i * BLOCK + out.len();
        let dy = if dy.is_empty() { dy } else { &dy[at.clone()] };
        match x {
            Some(x) if W::WEIGHTS != Weights::Kept => {
                map::<W, FMA>(&x[at], dy, out, coefficients);
            }
            _ => map_in_place::<W, FMA>(out, dy, coefficients),
        }
    }
}

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The largest element that is not NaN; the sums see the others.
#[inline(always)]
fn largest<W: Way>(x: &[f32]) -> f32 {
    let larger = |max: f32, x: f32| if x > max { x } else { max };
    let of = |x: f32| if W::NEGATED { -x } else { x };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (max, &x) in lanes.iter_mut().zip(chunk) {
            *max = larger(*max, of(x));
        }
    }
    let (chunks, tail) = rest.as_chunks::<LAST>();
    // An element may well be seen twice.
    let last = if tail.is_empty() {
        None
    } else {
        x.last_chunk()
    };
    for chunk in chunks.iter().chain(last) {
        for (max, &x) in lanes.iter_mut().zip(chunk) {
            *max = larger(*max, of(x));
        }
    }
    // The lanes go through memory: the loop would be taken apart into the pairs of this one.
    let lanes: [f32; LAST] = std::array::from_fn(|i| larger(lanes[i], lanes[i + LAST]));
    let [a, b, c, d, e, f, g, h] = black_box(lanes);
    let max = larger(
        larger(larger(a, e), larger(b, f)),
        larger(larger(c, g), larger(d, h)),
    );
    if x.len() < LAST {
        tail.iter().fold(max, |max, &x| larger(max, of(x)))
    } else {
        max
    }
}

/// The weights of a block with this maximum.
#[inline(always)]
fn weights<W: Way, const FMA: bool>(x: &[f32], to: &mut [f32], max: f32) {
    let sign = if W::NEGATED { -1.0 } else { 1.0 };
    // NaN in a block of nothing else but -infinity shows on this way, too.
    let anchor = if max == f32::NEG_INFINITY { 0.0 } else { max };
    if anchor.abs() <= NEAR {
        let power = Power::near(anchor);
        each(x, to, |x| power.weight::<FMA>(x * sign));
    } else {
        let max = f64::from(max);
        each(x, to, |x| weight::<FMA>(x, sign, max) as f32);
    }
}

/// The logarithm of what the weights of a block with this maximum are relative to.
#[inline(always)]
fn shift_of(max: f32) -> f64 {
    if max.abs() <= NEAR {
        Power::near(max).log()
    } else {
        max.into()
    }
}

/// The sum of a block's weights but for that of its maximum.
#[inline(always)]
fn rest_of<const FMA: bool>(x: &[f32], weights: &[f32], max: f32, sum: f64) -> f64 {
    let top = f64::from(weight_of::<FMA>(max));
    if sum >= 2.0 * top && max.is_finite() {
        return sum - top;
    }
    // The maximum is most of the sum, and what a difference would leave is too little.
    let mut lanes = [0.0f64; LANES];
    for (weights, x) in weights.chunks(LANES).zip(x.chunks(LANES)) {
        for (sum, (&weight, &x)) in lanes.iter_mut().zip(weights.iter().zip(x)) {
            *sum += f64::from(if x == max { 0.0 } else { weight });
        }
    }
    let rest = lanes.iter().sum();
    if rest < SMALLEST_REST && max.is_finite() {
        let exact = |&x: &f32| {
            if x == max {
                0.0
            } else {
                weight::<FMA>(x, 1.0, max.into())
            }
        };
        return x.iter().map(exact).sum::<f64>() * top;
    }
    rest
}

/// The weight of a block's maximum itself.
#[inline(always)]
fn weight_of<const FMA: bool>(max: f32) -> f32 {
    if max.abs() <= NEAR {
        Power::near(max).weight::<FMA>(max)
    } else {
        1.0
    }
}

/// A power of two that weights are relative to.
#[derive(Clone, Copy)]
struct Power {
    of_two: f32,
    /// Where weights end.
    lowest: f32,
}

impl Power {
    /// That next to e^max.
    #[inline(always)]
    fn near(max: f32) -> Self {
        let of_two = (max * std::f32::consts::LOG2_E).round_ties_even();
        Self {
            of_two,
            lowest: (of_two - 127.0) * std::f32::consts::LN_2,
        }
    }

    #[inline(always)]
    fn log(self) -> f64 {
        f64::from(self.of_two) * std::f64::consts::LN_2
    }

    /// e^x over the power, 0 below 2^-126.5; NaN for NaN.
    #[inline(always)]
    fn weight<const FMA: bool>(self, x: f32) -> f32 {
        let x = if x < self.lowest { self.lowest } else { x };
        let (scale, rest) = scaled_exp_parts::<FMA>(x, 0.0, -self.of_two);
        mul_add::<FMA>(scale, rest, scale)
    }
}

/// to = f(x), element by element.
#[inline(always)]
fn each(x: &[f32], to: &mut [f32], f: impl Fn(f32) -> f32) {
    each_with(x, &[], to, |x, _| f(x));
}

/// to = f(x, dy), element by element; dy is 0 where it is empty.
#[inline(always)]
fn each_with(x: &[f32], dy: &[f32], to: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let whole = vectors::<LANES>(x, dy, to, 0, &f);
    let whole = vectors::<LAST>(x, dy, to, whole, &f);
    if whole == x.len() {
        return;
    }
    if x.len() < LAST {
        for (i, (to, &x)) in to.iter_mut().zip(x).enumerate() {
            *to = f(x, dy.get(i).copied().unwrap_or(0.0));
        }
    } else {
        // Some are the same once more.
        vectors::<LAST>(x, dy, to, x.len() - LAST, &f);
    }
}

/// Whole vectors of [`each_with`] from an element on. Returns where they end.
#[inline(always)]
fn vectors<const N: usize>(
    x: &[f32],
    dy: &[f32],
    to: &mut [f32],
    first: usize,
    f: impl Fn(f32, f32) -> f32,
) -> usize {
    let (x, to) = (x[first..].as_chunks::<N>().0, &mut to[first..]);
    let dy = &dy[first.min(dy.len())..];
    let to = to.as_chunks_mut::<N>().0;
    if dy.is_empty() {
        for (to, x) in to.iter_mut().zip(x) {
            for (to, &x) in to.iter_mut().zip(x) {
                *to = f(x, 0.0);
            }
        }
    } else {
        for (to, (x, dy)) in to.iter_mut().zip(x.iter().zip(dy.as_chunks::<N>().0)) {
            for (to, (&x, &dy)) in to.iter_mut().zip(x.iter().zip(dy)) {
                *to = f(x, dy);
            }
        }
    }
    first + N * x.len()
}

/// to = f(to, dy), element by element; dy is 0 where it is empty.
#[inline(always)]
fn each_in_place(to: &mut [f32], dy: &[f32], f: impl Fn(f32, f32) -> f32) {
    // The last vector may share elements with those before it.
    let last = to.last_chunk::<LAST>().map(|x| {
        let dy = dy.last_chunk::<LAST>().unwrap_or(&[0.0; LAST]);
        std::array::from_fn::<f32, LAST, _>(|i| f(x[i], dy[i]))
    });
    let Some(last) = last else {
        for (i, to) in to.iter_mut().enumerate() {
            *to = f(*to, dy.get(i).copied().unwrap_or(0.0));
        }
        return;
    };
    let (chunks, rest) = to.as_chunks_mut::<LANES>();
    in_place(chunks, dy, &f);
    let dy = &dy[(LANES * chunks.len()).min(dy.len())..];
    in_place(rest.as_chunks_mut::<LAST>().0, dy, &f);
    if let Some(to) = to.last_chunk_mut::<LAST>() {
        *to = last;
    }
}

/// Whole vectors of [`each_in_place`].
#[inline(always)]
fn in_place<const N: usize>(to: &mut [[f32; N]], dy: &[f32], f: impl Fn(f32, f32) -> f32) {
    if dy.is_empty() {
        for to in to {
            for to in to {
                *to = f(*to, 0.0);
            }
        }
    } else {
        for (to, dy) in to.iter_mut().zip(dy.as_chunks::<N>().0) {
            for (to, &dy) in to.iter_mut().zip(dy) {
                *to = f(*to, dy);
            }
        }
    }
}

/// to = results of x.
#[inline(always)]
fn map<W: Way, const FMA: bool>(x: &[f32], dy: &[f32], to: &mut [f32], c: [f32; 3]) {
    each_with(x, dy, to, |x, dy| W::at::<FMA>(x, dy, c));
}

/// to = results of what it holds.
#[inline(always)]
fn map_in_place<W: Way, const FMA: bool>(to: &mut [f32], dy: &[f32], c: [f32; 3]) {
    each_in_place(to, dy, |x, dy| W::at::<FMA>(x, dy, c));
}

/// The sums of a block's weights, and with or of its upstream gradient.
#[inline(always)]
fn summed<W: Way, const FMA: bool>(weights: &[f32], dy: &[f32]) -> (f64, f64) {
    let mut sums = Sums {
        weights: [0.0; LANES],
        upstream: [0.0; LANES],
    };
    let (groups, rest) = weights.as_chunks::<GROUP>();
    for (i, weights) in groups.iter().enumerate() {
        let mut few = Few::NOTHING;
        let dy: &[f32; GROUP] = vector::<W, GROUP>(dy, i);
        for (j, weights) in weights.as_chunks::<LANES>().0.iter().enumerate() {
            few.add::<W, FMA, LANES>(weights, vector::<W, LANES>(dy, j));
        }
        sums.add::<W>(&few);
    }
    let mut few = Few::NOTHING;
    let all_dy = dy;
    let dy = &dy[(GROUP * groups.len()).min(dy.len())..];
    let (chunks, rest) = rest.as_chunks::<LANES>();
    for (i, weights) in chunks.iter().enumerate() {
        few.add::<W, FMA, LANES>(weights, vector::<W, LANES>(dy, i));
    }
    let dy = &dy[(LANES * chunks.len()).min(dy.len())..];
    let (chunks, tail) = rest.as_chunks::<LAST>();
    for (i, weights) in chunks.iter().enumerate() {
        few.add::<W, FMA, LAST>(weights, vector::<W, LAST>(dy, i));
    }
    if !tail.is_empty() {
        // The row's last vector without the elements that were added.
        let (mut last, mut dy) = ([0.0; LAST], [0.0; LAST]);
        if let Some(weights) = weights.last_chunk::<LAST>() {
            let new = std::array::from_fn(|i| KEPT[tail.len() + i]);
            last = times(weights, &new);
            dy = times(all_dy.last_chunk().unwrap_or(&dy), &new);
        } else {
            last[..tail.len()].copy_from_slice(tail);
            dy[..all_dy.len()].copy_from_slice(all_dy);
        }
        few.add::<W, FMA, LAST>(&last, &dy);
    }
    sums.add::<W>(&few);
    let is_summed = W::UPSTREAM != Upstream::None;
    let upstream = if is_summed { total(sums.upstream) } else { 0.0 };
    let is_weighed = W::WEIGHTS != Weights::Given;
    let weights = if is_weighed { total(sums.weights) } else { 1.0 };
    (weights, upstream)
}

#[inline(always)]
fn total(lanes: [f64; LANES]) -> f64 {
    let four: [f64; 4] =
        std::array::from_fn(|i| (lanes[i] + lanes[i + 4]) + (lanes[i + 8] + lanes[i + 12]));
    // As in `largest`.
    let [a, b, c, d] = black_box(four);
    (a + c) + (b + d)
}

/// As many ones as a window of [`LAST`] is moved to the right, behind zeros.
const KEPT: [f32; 2 * LAST] = {
    let mut kept = [0.0; 2 * LAST];
    let mut i = LAST;
    while i < 2 * LAST {
        kept[i] = 1.0;
        i += 1;
    }
    kept
};

#[inline(always)]
fn times(a: &[f32; LAST], b: &[f32; LAST]) -> [f32; LAST] {
    std::array::from_fn(|i| a[i] * b[i])
}

/// A vector of the upstream gradient by its number, where there is one.
#[inline(always)]
fn vector<W: Way, const N: usize>(dy: &[f32], i: usize) -> &[f32; N] {
    if W::UPSTREAM == Upstream::None {
        &[0.0; N]
    } else {
        &dy.as_chunks::<N>().0[i]
    }
}

/// Sums of a few terms a lane.
struct Few {
    weights: [f32; LANES],
    upstream: [f32; LANES],
}

impl Few {
    const NOTHING: Self = Self {
        weights: [0.0; LANES],
        upstream: [0.0; LANES],
    };

    /// Adds a vector to the first lanes.
    #[inline(always)]
    fn add<W: Way, const FMA: bool, const N: usize>(&mut self, weights: &[f32; N], dy: &[f32; N]) {
        if W::WEIGHTS != Weights::Given {
            for (sum, &weight) in self.weights.iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        for (i, sum) in self.upstream[..N].iter_mut().enumerate() {
            match W::UPSTREAM {
                Upstream::None => {}
                Upstream::Product => *sum = mul_add::<FMA>(weights[i], dy[i], *sum),
                Upstream::Sum => *sum += dy[i],
            }
        }
    }
}

struct Sums {
    weights: [f64; LANES],
    upstream: [f64; LANES],
}

impl Sums {
    #[inline(always)]
    fn add<W: Way>(&mut self, few: &Few) {
        // f32 of whole vectors before f64 of half as many lanes: as in `largest`.
        if W::WEIGHTS != Weights::Given {
            for (sum, few) in self.weights.iter_mut().zip(black_box(few.weights)) {
                *sum += f64::from(few);
            }
        }
        if W::UPSTREAM != Upstream::None {
            for (sum, few) in self.upstream.iter_mut().zip(black_box(few.upstream)) {
                *sum += f64::from(few);
            }
        }
    }
}
