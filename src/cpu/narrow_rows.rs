//! Forward softmax, softmin and log_softmax over contiguous rows in f32: the hottest rows, at twice
//! the lanes of [`rows`](super::rows).
//!
//! A row is read once, block by block: a block's weights are relative to its own maximum, so that
//! the row's need not be known. What a block's weights are multiplied by in the end makes up for
//! that. log_softmax keeps no weights and reads the row again.
//!
//! The difference of an element and the maximum is carried as a sum of two, weights are rounded
//! once, sums are added up in f64. Blocks are of a size at which they are still in the first cache
//! when their maximum is known.

use super::isa::{Isa, Kernel};
use super::narrow::scaled_exp_parts;
use super::phases::{Direction, Job, Piece, Segment};
use super::threads::prelude::*;
use super::wide::Wide;
use crate::axis::AxisFunction;
use std::ops::Range;

/// Elements with a maximum of their own.
const BLOCK: usize = 2048;
/// SIMD lanes of f32 at the widest.
const LANES: usize = 16;
/// Elements that are added up at a time.
const GROUP: usize = 4 * LANES;

/// Rows from this length on are faster here than side by side in a tile.
const SHORTEST: usize = 64;

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

/// Whether [`Rows`] and [`split`] compute the job.
pub(super) fn computes(isa: Isa, job: &Job) -> bool {
    let is_forward = job.direction == Direction::Forward;
    let is_known = is_forward && job.function != AxisFunction::LogSumExp;
    is_known && job.shape.inner == 1 && job.shape.len >= SHORTEST && isa.fuses()
}

/// What is known of a block.
#[derive(Clone, Copy)]
struct Found {
    max: f32,
    /// The sum of its weights; for a logarithm only of those below the maximum.
    sum: f64,
    /// For a logarithm, the number of elements that are the maximum.
    ties: f64,
}

/// All rows of some steps along the outer dimension.
pub(super) struct Rows<'a> {
    pub job: &'a Job<'a>,
    pub outer: Range<usize>,
    pub piece: Piece<'a>,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { job, outer, piece } = self;
        let len = job.shape.len;
        let mut found = Vec::with_capacity(len.div_ceil(BLOCK));
        let mut scratch = Scratch::new();
        let rows = piece.out.chunks_exact_mut(len);
        for (row, out) in outer.zip(rows) {
            let x = job.x.map(|x| &x[row * len..(row + 1) * len]);
            found.clear();
            first::<FMA>(job.function, x, out, &mut found, &mut scratch);
            let whole = Whole::new::<FMA>(&found);
            second::<FMA>(job.function, x, out, &found, whole);
        }
    }
}

/// One row by all threads, each on its segments.
pub(super) fn split(isa: Isa, job: &Job, parts: &mut [Segment]) {
    let found: Vec<Vec<Found>> = parts
        .par_iter_mut()
        .map(|part| isa.run(First { job, part }))
        .collect();
    let whole = isa.run(Merge(&found));
    parts.par_iter_mut().zip(&found).for_each(|(part, found)| {
        isa.run(Second {
            job,
            part,
            found,
            whole,
        });
    });
}

/// The part of the input that lies over a segment's output; none where the call is in place.
#[inline(always)]
fn input<'a>(job: &Job<'a>, part: &Segment) -> Option<&'a [f32]> {
    let base = part.piece.base;
    job.x.map(|x| &x[base..base + part.piece.out.len()])
}

struct First<'a, 'b> {
    job: &'a Job<'a>,
    part: &'a mut Segment<'b>,
}

impl Kernel for First<'_, '_> {
    type Output = Vec<Found>;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<Found> {
        let x = input(self.job, self.part);
        let mut found = Vec::with_capacity(self.part.piece.out.len().div_ceil(BLOCK));
        let (out, scratch) = (&mut *self.part.piece.out, &mut Scratch::new());
        first::<FMA>(self.job.function, x, out, &mut found, scratch);
        found
    }
}

struct Merge<'a>(&'a [Vec<Found>]);

impl Kernel for Merge<'_> {
    type Output = Whole;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Whole {
        Whole::new::<FMA>(&self.0.concat())
    }
}

struct Second<'a, 'b> {
    job: &'a Job<'a>,
    part: &'a mut Segment<'b>,
    found: &'a [Found],
    whole: Whole,
}

impl Kernel for Second<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let x = input(self.job, self.part);
        let out = &mut *self.part.piece.out;
        second::<FMA>(self.job.function, x, out, self.found, self.whole);
    }
}

/// A row's maximum and sums, relative to it.
#[derive(Clone, Copy)]
struct Whole {
    max: f64,
    sum: f64,
    ties: f64,
}

impl Whole {
    #[inline(always)]
    fn new<const FMA: bool>(found: &[Found]) -> Self {
        let max = found.iter().fold(f32::NEG_INFINITY, |a, b| a.max(b.max));
        let mut whole = Self {
            max: max.into(),
            sum: 0.0,
            ties: 0.0,
        };
        for block in found {
            if block.max == max {
                whole.sum += block.sum;
                whole.ties += block.ties;
            } else {
                let scale = whole.scale::<FMA>(block.max);
                whole.sum += scale * (block.sum + block.ties);
            }
        }
        whole
    }

    /// e^(max - the row's).
    #[inline(always)]
    fn scale<const FMA: bool>(&self, max: f32) -> f64 {
        Wide::<FMA>(f64::from(max) - self.max).exp_below_zero().0
    }

    /// A value where the row has one, NaN where its maximum is infinite.
    fn defined(&self, value: f64) -> f64 {
        if self.max.is_infinite() {
            f64::NAN
        } else {
            value
        }
    }
}

/// Finds what there is to know of each block; softmax leaves its weights in the output.
#[inline(always)]
fn first<const FMA: bool>(
    function: AxisFunction,
    x: Option<&[f32]>,
    out: &mut [f32],
    found: &mut Vec<Found>,
    scratch: &mut Scratch,
) {
    for start in (0..out.len()).step_by(BLOCK) {
        let out = &mut out[start..];
        let count = out.len().min(BLOCK);
        let out = &mut out[..count];
        let x = match x {
            Some(x) => &x[start..start + count],
            None => {
                scratch.x[..count].copy_from_slice(out);
                &scratch.x[..count]
            }
        };
        found.push(match function {
            AxisFunction::LogSoftmax => logarithmic::<FMA>(x, &mut scratch.weights),
            AxisFunction::Softmin => weights::<FMA, true>(x, out),
            _ => weights::<FMA, false>(x, out),
        });
    }
}

/// The results from what is known of the row.
#[inline(always)]
fn second<const FMA: bool>(
    function: AxisFunction,
    x: Option<&[f32]>,
    out: &mut [f32],
    found: &[Found],
    whole: Whole,
) {
    if function == AxisFunction::LogSoftmax {
        // Without the first tie, which is the 1 in log(1 + ...), small logarithms keep their
        // precision.
        let log = Wide::<FMA>(whole.ties - 1.0 + whole.sum).ln_1p_any().0;
        let log = whole.defined(log);
        match x {
            Some(x) => {
                for (y, &x) in out.iter_mut().zip(x) {
                    *y = (f64::from(x) - whole.max - log) as f32;
                }
            }
            None => {
                for y in out {
                    *y = (f64::from(*y) - whole.max - log) as f32;
                }
            }
        }
        return;
    }
    for (out, block) in out.chunks_mut(BLOCK).zip(found) {
        let scale = if f64::from(block.max) == whole.max {
            1.0
        } else {
            whole.scale::<FMA>(block.max)
        };
        let scale = whole.defined(scale / whole.sum);
        let high = scale as f32;
        let low = (scale - f64::from(high)) as f32;
        for y in out {
            *y = mul_add::<FMA>(*y, high, *y * low);
        }
    }
}

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The largest element that is not NaN; the sums see the others.
#[inline(always)]
fn largest<const NEGATED: bool>(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (max, &x) in lanes.iter_mut().zip(chunk) {
            let x = if NEGATED { -x } else { x };
            *max = if x > *max { x } else { *max };
        }
    }
    let rest = rest.iter().map(|&x| if NEGATED { -x } else { x });
    lanes
        .into_iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, f32::max)
}

/// A maximum to subtract: any will do where no element is finite.
#[inline(always)]
fn finite(max: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { max }
}

/// e^(x - max), 0 below e^-88.
#[inline(always)]
fn weight<const FMA: bool, const NEGATED: bool>(x: f32, max: f32) -> f32 {
    let x = if NEGATED { -x } else { x };
    // What the difference loses is the exponent's, so that the weight would show it (Knuth).
    let d = x - max;
    let of_max = d - x;
    let lost = (max + of_max) - (x - (d - of_max));
    let is_far = d < -88.0;
    let d = if is_far { -88.0 } else { d };
    let lost = if is_far { 0.0 } else { lost };
    let (scale, rest) = scaled_exp_parts::<FMA>(d, lost, 0.0);
    mul_add::<FMA>(scale, rest, scale)
}

/// The weights of a block.
#[inline(always)]
fn weights<const FMA: bool, const NEGATED: bool>(x: &[f32], out: &mut [f32]) -> Found {
    let max = largest::<NEGATED>(x);
    let shift = finite(max);
    let mut lanes = [0.0f64; LANES];
    let (groups, rest) = x.as_chunks::<GROUP>();
    let (to, to_rest) = out.as_chunks_mut::<GROUP>();
    for (to, x) in to.iter_mut().zip(groups) {
        for (to, &x) in to.iter_mut().zip(x) {
            *to = weight::<FMA, NEGATED>(x, shift);
        }
        add(&mut lanes, to);
    }
    if !rest.is_empty() {
        let mut last = padded(
            rest,
            if NEGATED {
                f32::INFINITY
            } else {
                f32::NEG_INFINITY
            },
        );
        for x in &mut last {
            *x = weight::<FMA, NEGATED>(*x, shift);
        }
        to_rest.copy_from_slice(&last[..rest.len()]);
        add(&mut lanes, &last);
    }
    Found {
        max,
        sum: lanes.iter().sum(),
        ties: 0.0,
    }
}

/// The sums of a block for a logarithm; its weights go aside.
#[inline(always)]
fn logarithmic<const FMA: bool>(x: &[f32], aside: &mut [f32; BLOCK]) -> Found {
    let max = largest::<false>(x);
    let shift = finite(max);
    // Elements that are the maximum have no weight here.
    let below = |x: f32| {
        let weight = weight::<FMA, false>(x, shift);
        if x == max { 0.0 } else { weight }
    };
    let mut lanes = [0.0f64; LANES];
    let (groups, rest) = x.as_chunks::<GROUP>();
    let whole = GROUP * groups.len();
    for (to, &x) in aside[..whole].iter_mut().zip(x) {
        *to = below(x);
    }
    for weights in aside[..whole].as_chunks::<GROUP>().0 {
        add(&mut lanes, weights);
    }
    if !rest.is_empty() {
        let mut last = padded(rest, f32::NEG_INFINITY);
        for x in &mut last {
            *x = below(*x);
        }
        add(&mut lanes, &last);
    }
    let mut ties = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (ties, &x) in ties.iter_mut().zip(chunk) {
            *ties += if x == max { 1.0 } else { 0.0 };
        }
    }
    let rest = rest.iter().filter(|&&x| x == max).count();
    Found {
        max,
        sum: lanes.iter().sum(),
        ties: ties.iter().map(|&t| f64::from(t)).sum::<f64>() + rest as f64,
    }
}

/// A group that starts with `x`.
#[inline(always)]
fn padded(x: &[f32], pad: f32) -> [f32; GROUP] {
    let mut group = [pad; GROUP];
    group[..x.len()].copy_from_slice(x);
    group
}

/// Adds a group to the lanes' sums.
#[inline(always)]
fn add(sums: &mut [f64; LANES], terms: &[f32; GROUP]) {
    for terms in terms.as_chunks::<LANES>().0 {
        for (sum, &term) in sums.iter_mut().zip(terms) {
            *sum += f64::from(term);
        }
    }
}
