//! Softmax rows with SIMD lanes along the row: for long rows that are contiguous, or that have so
//! few neighbours that lanes across rows would run empty.
//!
//! A row goes through a block on the stack, padded to whole lanes with values that change
//! nothing. The copy costs little beside the exponentials, and makes strides, odd lengths and
//! in-place calls the same thing.

use super::isa::{Isa, Kernel};
use super::phases::{Direction, Job, Piece, Segment, Sums};
use super::threads::prelude::*;
use super::wide::Wide;
use crate::shape::AxisShape;
use std::ops::Range;

/// Elements of a block: its copies stay below the size from which `memcpy` has a slow start.
const BLOCK: usize = 512;
/// Independent sums, enough for the adders' latency at any SIMD width; blocks are padded to it.
const LANES: usize = 16;

type Block<T> = [T; BLOCK];

/// The blocks on the stack. Clearing them costs more than a short row, so they are made once for
/// many rows. Vectors that straddle cache lines would halve the speed.
#[repr(align(64))]
struct Scratch {
    x: Block<f32>,
    dy: Block<f32>,
    e: Block<f64>,
}

impl Scratch {
    #[inline(always)]
    fn new() -> Self {
        Self {
            x: [0.0; BLOCK],
            dy: [0.0; BLOCK],
            e: [0.0; BLOCK],
        }
    }
}

/// All rows of some steps along the outer dimension, on this thread. Each phase of a row is a kernel:
/// if all of it were one, the compiler would make a loop over rows for every combination of what the
/// phases decide.
pub(super) fn run(isa: Isa, job: &Job, outer: Range<usize>, piece: Piece) {
    let AxisShape { len, inner, .. } = job.shape;
    let mut part = Segment {
        range: 0..len,
        piece,
    };
    let scratch = &mut Scratch::new();
    for row in outer.start * inner..outer.end * inner {
        let row = Row { job, row };
        let part = &mut part;
        let max = isa.run(MaxPhase { row, part, scratch });
        let sums = isa.run(SumPhase {
            row,
            part,
            max,
            scratch,
        });
        let coefficients = isa.run(Finish { row, max, sums });
        if job.reduces() {
            let Piece { out, base } = &mut part.piece;
            out[row.row - *base] = coefficients[0] as f32;
        } else {
            isa.run(MapPhase {
                row,
                part,
                max,
                coefficients,
                scratch,
            });
        }
    }
}

/// One row by all threads, each on its segments. Returns the value of a reduction.
pub(super) fn split(isa: Isa, job: &Job, row: usize, parts: &mut [Segment]) -> f64 {
    let row = Row { job, row };
    let max = parts
        .par_iter()
        .map(|part| {
            let scratch = &mut Scratch::new();
            isa.run(MaxPhase { row, part, scratch })
        })
        .reduce(|| f32::NEG_INFINITY, f32::max);
    let partial: Vec<Sums> = parts
        .par_iter_mut()
        .map(|part| {
            isa.run(SumPhase {
                row,
                part,
                max,
                scratch: &mut Scratch::new(),
            })
        })
        .collect();
    let sums = partial
        .iter()
        .fold([0.0; 3], |a, b| std::array::from_fn(|i| a[i] + b[i]));
    let coefficients = isa.run(Finish { row, max, sums });
    if !job.reduces() {
        parts.par_iter_mut().for_each(|part| {
            isa.run(MapPhase {
                row,
                part,
                max,
                coefficients,
                scratch: &mut Scratch::new(),
            });
        });
    }
    coefficients[0]
}

struct MaxPhase<'a, 'b> {
    row: Row<'a>,
    part: &'a Segment<'b>,
    scratch: &'a mut Scratch,
}

impl Kernel for MaxPhase<'_, '_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let range = self.part.range.clone();
        self.row.max(range, &self.part.piece, self.scratch)
    }
}

struct SumPhase<'a, 'b> {
    row: Row<'a>,
    part: &'a mut Segment<'b>,
    max: f32,
    scratch: &'a mut Scratch,
}

impl Kernel for SumPhase<'_, '_> {
    type Output = Sums;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Sums {
        let range = self.part.range.clone();
        let piece = &mut self.part.piece;
        self.row.sums::<FMA>(range, self.max, piece, self.scratch)
    }
}

struct Finish<'a> {
    row: Row<'a>,
    max: f32,
    sums: Sums,
}

impl Kernel for Finish<'_> {
    type Output = Sums;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Sums {
        self.row.coefficients::<FMA>(self.max, self.sums)
    }
}

struct MapPhase<'a, 'b> {
    row: Row<'a>,
    part: &'a mut Segment<'b>,
    max: f32,
    coefficients: Sums,
    scratch: &'a mut Scratch,
}

impl Kernel for MapPhase<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (range, piece) = (self.part.range.clone(), &mut self.part.piece);
        self.row
            .map::<FMA>(range, self.max, self.coefficients, piece, self.scratch);
    }
}

/// A row of the array, by its number.
#[derive(Clone, Copy)]
struct Row<'a> {
    job: &'a Job<'a>,
    row: usize,
}

impl Row<'_> {
    /// Where element `i` of the row lies in the array.
    #[inline(always)]
    fn offset(&self, i: usize) -> usize {
        let shape = self.job.shape;
        (self.row / shape.inner * shape.len + i) * shape.inner + self.row % shape.inner
    }

    /// The range in blocks: offset into the array and length of each.
    #[inline(always)]
    fn blocks(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let (this, end) = (*self, range.end);
        range
            .step_by(BLOCK)
            .map(move |i| (this.offset(i), BLOCK.min(end - i)))
    }

    /// Copies a block of the input, from x or in place, and pads it. Returns the padded part.
    #[inline(always)]
    fn load<'b>(
        &self,
        piece: &Piece,
        (offset, count): (usize, usize),
        pad: f32,
        block: &'b mut Block<f32>,
    ) -> &'b mut [f32] {
        match self.job.x {
            Some(x) => self.gather(&x[offset..], count, pad, block),
            None => self.gather(&piece.out[offset - piece.base..], count, pad, block),
        }
    }

    /// Copies `count` elements of the row that starts `from` on, and pads them.
    #[inline(always)]
    fn gather<'b>(
        &self,
        from: &[f32],
        count: usize,
        pad: f32,
        block: &'b mut Block<f32>,
    ) -> &'b mut [f32] {
        let stride = self.job.shape.inner;
        if stride == 1 {
            block[..count].copy_from_slice(&from[..count]);
        } else {
            for (to, from) in block[..count].iter_mut().zip(from.iter().step_by(stride)) {
                *to = *from;
            }
        }
        let padded = count.next_multiple_of(LANES);
        block[count..padded].fill(pad);
        &mut block[..padded]
    }

    #[inline(always)]
    fn store(&self, piece: &mut Piece, (offset, count): (usize, usize), block: &[f32]) {
        let stride = self.job.shape.inner;
        let to = &mut piece.out[offset - piece.base..];
        if stride == 1 {
            to[..count].copy_from_slice(&block[..count]);
        } else {
            for (to, from) in to.iter_mut().step_by(stride).zip(&block[..count]) {
                *to = *from;
            }
        }
    }

    /// The upstream gradient of a block; empty where a row has only one.
    #[inline(always)]
    fn load_dy<'b>(
        &self,
        (offset, count): (usize, usize),
        block: &'b mut Block<f32>,
    ) -> &'b mut [f32] {
        if self.job.function.reduces() {
            return &mut block[..0];
        }
        self.gather(&self.job.dy[offset..], count, 0.0, block)
    }

    /// An input that has no weight.
    #[inline(always)]
    fn neutral(&self) -> f32 {
        f32::NEG_INFINITY * self.job.sign()
    }

    /// The largest element that is not NaN; the sums see the others.
    #[inline(always)]
    fn max(&self, range: Range<usize>, piece: &Piece, scratch: &mut Scratch) -> f32 {
        if self.job.direction == Direction::FromOutput {
            return 0.0;
        }
        let sign = self.job.sign();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for at in self.blocks(range) {
            let x = self.load(piece, at, self.neutral(), &mut scratch.x);
            for chunk in x.as_chunks::<LANES>().0 {
                for (max, x) in lanes.iter_mut().zip(chunk) {
                    let x = x * sign;
                    *max = if x > *max { x } else { *max };
                }
            }
        }
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The sums that the job's coefficients are made of; forward softmax leaves its weights in
    /// the output.
    #[inline(always)]
    fn sums<const FMA: bool>(
        &self,
        range: Range<usize>,
        max: f32,
        piece: &mut Piece,
        scratch: &mut Scratch,
    ) -> Sums {
        let job = self.job;
        let (sign, max64) = (job.sign(), f64::from(max));
        let mut sums = [[0.0; LANES]; 3];
        for at in self.blocks(range) {
            if job.direction == Direction::FromOutput {
                let y = self.load(piece, at, 0.0, &mut scratch.x);
                let dy = self.load_dy(at, &mut scratch.dy);
                for (y, dy) in y
                    .as_chunks::<LANES>()
                    .0
                    .iter()
                    .zip(dy.as_chunks::<LANES>().0)
                {
                    let products: [f64; LANES] =
                        std::array::from_fn(|i| f64::from(y[i]) * f64::from(dy[i]));
                    add(&mut sums[1], &products);
                }
                continue;
            }
            let x = self.load(piece, at, self.neutral(), &mut scratch.x);
            let e = &mut scratch.e[..x.len()];
            match job.direction {
                Direction::Forward if job.is_log() => {
                    for (e, &x) in e.iter_mut().zip(&*x) {
                        let weight = weight::<FMA>(x, sign, max64);
                        *e = if x == max { 0.0 } else { weight };
                    }
                    for (x, e) in x
                        .as_chunks::<LANES>()
                        .0
                        .iter()
                        .zip(e.as_chunks::<LANES>().0)
                    {
                        let ties: [f64; LANES] =
                            std::array::from_fn(|i| if x[i] == max { 1.0 } else { 0.0 });
                        add(&mut sums[0], &ties);
                        add(&mut sums[1], e);
                    }
                }
                Direction::Forward => {
                    for (e, x) in e.iter_mut().zip(x.iter_mut()) {
                        *e = weight::<FMA>(*x, sign, max64);
                        *x = *e as f32;
                    }
                    for e in e.as_chunks::<LANES>().0 {
                        add(&mut sums[0], e);
                    }
                    self.store(piece, at, x);
                }
                _ => {
                    for (e, &x) in e.iter_mut().zip(&*x) {
                        *e = weight::<FMA>(x, sign, max64);
                    }
                    for e in e.as_chunks::<LANES>().0 {
                        add(&mut sums[0], e);
                    }
                    let dy = self.load_dy(at, &mut scratch.dy);
                    for (e, dy) in e
                        .as_chunks::<LANES>()
                        .0
                        .iter()
                        .zip(dy.as_chunks::<LANES>().0)
                    {
                        let dy: [f64; LANES] = std::array::from_fn(|i| f64::from(dy[i]));
                        let products: [f64; LANES] = std::array::from_fn(|i| dy[i] * e[i]);
                        add(&mut sums[1], &products);
                        add(&mut sums[2], &dy);
                    }
                }
            }
        }
        sums.map(|lanes| lanes.iter().sum())
    }

    #[inline(always)]
    fn coefficients<const FMA: bool>(&self, max: f32, sums: Sums) -> Sums {
        let job = self.job;
        let reduces = job.function.reduces() && job.direction == Direction::Backward;
        let dy = if reduces { job.dy[self.row] } else { 0.0 };
        job.coefficients::<FMA>(max.into(), sums, dy.into())
    }

    /// The results of a range of the row.
    #[inline(always)]
    fn map<const FMA: bool>(
        &self,
        range: Range<usize>,
        max: f32,
        [c0, c1, c2]: Sums,
        piece: &mut Piece,
        scratch: &mut Scratch,
    ) {
        let job = self.job;
        let (sign, max) = (job.sign(), f64::from(max));
        for at in self.blocks(range) {
            let x = if job.direction == Direction::Forward && !job.is_log() {
                let from = &piece.out[at.0 - piece.base..];
                self.gather(from, at.1, 0.0, &mut scratch.x)
            } else {
                self.load(piece, at, self.neutral(), &mut scratch.x)
            };
            match job.direction {
                Direction::Forward if job.is_log() => {
                    for x in x.iter_mut() {
                        *x = (f64::from(*x * sign) - max - c0) as f32;
                    }
                }
                Direction::Forward => {
                    for x in x.iter_mut() {
                        *x = (f64::from(*x) * c0) as f32;
                    }
                }
                Direction::Backward if job.function.reduces() => {
                    for x in x.iter_mut() {
                        *x = (weight::<FMA>(*x, sign, max) * c2) as f32;
                    }
                }
                Direction::Backward => {
                    let dy = self.load_dy(at, &mut scratch.dy);
                    for (x, &dy) in x.iter_mut().zip(&*dy) {
                        let (e, dy) = (weight::<FMA>(*x, sign, max), f64::from(dy));
                        *x = (dy * c0 + e * (dy * c1 + c2)) as f32;
                    }
                }
                Direction::FromOutput => {
                    let dy = self.load_dy(at, &mut scratch.dy);
                    for (x, &dy) in x.iter_mut().zip(&*dy) {
                        *x = (f64::from(*x) * (f64::from(dy) * c1 + c2)) as f32;
                    }
                }
            }
            self.store(piece, at, x);
        }
    }
}

/// e^(±x - max); the difference is exact in f64 but for what no f32 result can show.
#[inline(always)]
pub(super) fn weight<const FMA: bool>(x: f32, sign: f32, max: f64) -> f64 {
    Wide::<FMA>(f64::from(x * sign) - max).exp_below_zero().0
}

#[inline(always)]
fn add(sums: &mut [f64; LANES], terms: &[f64; LANES]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += term;
    }
}
