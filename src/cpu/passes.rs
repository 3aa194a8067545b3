//! Rows of the softmax family that come in parts, for arrays of which only a part is in memory.
//!
//! A first pass hands every part to [`Passes::absorb`], which keeps a maximum and the sums of
//! [`phases`](super::phases) for each row, relative to the largest element so far. A second
//! pass makes results of the same parts, in any order. Everything is in f64.
//!
//! Rows lie side by side as columns of a matrix; few columns are folded, several steps beside one
//! another, so that SIMD lanes are full.

use super::isa::{Isa, Kernel};
use super::phases::{Direction, Job};
use super::rows::weight;
use super::threads::{self, prelude::*};
use super::wide::Wide;
use crate::axis::AxisFunction;
use crate::shape::AxisShape;

/// Columns that go through the first pass together.
const LANES: usize = 64;
/// Steps of a column that are looked at together: one maximum and one rescaling for all of them.
const DEPTH: usize = 32;
/// Elements that a thread takes at a time in the second pass.
const TASK: usize = 16 * 1024;

/// What is done to the rows.
#[derive(Clone, Copy)]
pub(crate) struct Passes {
    isa: Isa,
    function: AxisFunction,
    backward: bool,
}

/// What is known of each row so far: its largest element, and three sums over e^(x - max).
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    max: Vec<f32>,
    sums: [Vec<f64>; 3],
}

/// What the second pass needs of each row.
#[derive(Clone, Debug)]
pub(crate) struct Coefficients {
    max: Vec<f64>,
    factors: [Vec<f64>; 3],
}

impl Columns {
    /// So many rows of which nothing is known.
    pub fn new(count: usize) -> Self {
        Self {
            max: vec![f32::NEG_INFINITY; count],
            sums: std::array::from_fn(|_| vec![0.0; count]),
        }
    }

    /// The rows' largest elements, and their sums.
    pub fn parts(&self) -> (&[f32], [&[f64]; 3]) {
        (&self.max, self.sums.each_ref().map(Vec::as_slice))
    }

    /// Rows of which this is known; as many of each.
    pub fn from_parts(max: Vec<f32>, sums: [Vec<f64>; 3]) -> Self {
        Self { max, sums }
    }

    fn as_lanes(&mut self) -> Vec<Lanes<'_>> {
        let [s0, s1, s2] = &mut self.sums;
        let sums = s0
            .chunks_mut(LANES)
            .zip(s1.chunks_mut(LANES))
            .zip(s2.chunks_mut(LANES));
        let all = self.max.chunks_mut(LANES).zip(sums).enumerate();
        all.map(|(i, (max, ((s0, s1), s2)))| Lanes {
            first: i * LANES,
            max,
            sums: [s0, s1, s2],
        })
        .collect()
    }
}

/// The state of neighbouring rows.
struct Lanes<'a> {
    first: usize,
    max: &'a mut [f32],
    sums: [&'a mut [f64]; 3],
}

impl Passes {
    /// The function, or with `backward` its gradient by the input.
    pub fn new(function: AxisFunction, backward: bool) -> Self {
        Self {
            isa: Isa::best(),
            function,
            backward,
        }
    }

    fn job(&self) -> Job<'static> {
        Job {
            function: self.function,
            direction: if self.backward {
                Direction::Backward
            } else {
                Direction::Forward
            },
            shape: AxisShape {
                outer: 1,
                len: 1,
                inner: 1,
            },
            x: None,
            dy: &[],
        }
    }

    /// Takes some steps of the rows: `x` and, where each element has one, its upstream gradient.
    pub fn absorb(&self, x: &[f32], dy: &[f32], columns: &mut Columns) {
        let width = columns.max.len();
        let threads = threads::count();
        if width >= LANES * threads {
            // Enough columns for everybody.
            columns.as_lanes().into_par_iter().for_each(|lanes| {
                self.isa.run(Absorb {
                    passes: self,
                    x,
                    dy,
                    stride: width,
                    lanes,
                });
            });
            return;
        }
        let folded = width * (LANES / width).max(1);
        let part = x.len().div_ceil(threads).next_multiple_of(folded).max(1);
        let parts: Vec<Columns> = (0..x.len().div_ceil(part))
            .into_par_iter()
            .map(|i| {
                let range = i * part..x.len().min((i + 1) * part);
                let dy = dy.get(range.clone()).unwrap_or(&[]);
                self.absorb_alone(&x[range], dy, folded)
            })
            .collect();
        // Always in the same order, so that the same bits come out.
        for part in &parts {
            for from in 0..folded {
                self.merge(columns, from % width, part, from);
            }
        }
    }

    /// Takes blocks of rows that lie one after the other, each of `width` columns; of many blocks each
    /// thread has some.
    pub fn absorb_blocks(&self, x: &[f32], dy: &[f32], width: usize, columns: &mut Columns) {
        let blocks = columns.max.len() / width.max(1);
        if blocks == 0 || x.is_empty() {
            return;
        }
        let len = x.len() / blocks;
        let block = |i: usize| {
            let range = i * len..(i + 1) * len;
            (&x[range.clone()], dy.get(range).unwrap_or(&[]))
        };
        let mut store = |i: usize, of: &Columns| {
            for column in 0..of.max.len() {
                self.merge(columns, i * width + column % width, of, column);
            }
        };
        if blocks < threads::count() {
            for i in 0..blocks {
                let (x, dy) = block(i);
                let mut of = Columns::new(width);
                self.absorb(x, dy, &mut of);
                store(i, &of);
            }
            return;
        }
        let folded = width * (LANES / width).max(1);
        let all: Vec<Columns> = (0..blocks)
            .into_par_iter()
            .map(|i| {
                let (x, dy) = block(i);
                self.absorb_alone(x, dy, folded)
            })
            .collect();
        for (i, of) in all.iter().enumerate() {
            store(i, of);
        }
    }

    /// Adds what is known of the same rows elsewhere.
    pub fn merge_all(&self, columns: &mut Columns, other: &Columns) {
        for row in 0..columns.max.len().min(other.max.len()) {
            self.merge(columns, row, other, row);
        }
    }

    /// The results of blocks as [`Passes::absorb_blocks`] takes them.
    pub fn map_blocks(
        &self,
        x: &[f32],
        dy: &[f32],
        of: &Coefficients,
        width: usize,
        out: &mut [f32],
    ) {
        let blocks = of.max.len() / width.max(1);
        if blocks == 0 || out.is_empty() {
            return;
        }
        let len = out.len() / blocks;
        out.par_chunks_mut(len).enumerate().for_each(|(i, out)| {
            let (rows, range) = (i * width..(i + 1) * width, i * len..(i + 1) * len);
            let of = Coefficients {
                max: of.max[rows.clone()].to_vec(),
                factors: of.factors.each_ref().map(|all| all[rows.clone()].to_vec()),
            };
            self.map(&x[range.clone()], dy.get(range).unwrap_or(&[]), &of, out);
        });
    }

    /// Some steps on this thread, folded into rows of `folded` columns, the last of which may
    /// have fewer.
    fn absorb_alone(&self, x: &[f32], dy: &[f32], folded: usize) -> Columns {
        let mut columns = Columns::new(folded);
        let whole = x.len() / folded * folded;
        let mut absorb = |x: &[f32], dy: &[f32]| {
            for lanes in columns.as_lanes() {
                self.isa.run(Absorb {
                    passes: self,
                    x,
                    dy,
                    stride: folded,
                    lanes,
                });
            }
        };
        absorb(&x[..whole], dy.get(..whole).unwrap_or(&[]));
        if whole < x.len() {
            let padded = |from: &[f32], with: f32| {
                let mut row = from.to_vec();
                row.resize(folded, with);
                row
            };
            let nothing = f32::NEG_INFINITY * self.job().sign();
            let dy = dy.get(whole..).map(|dy| padded(dy, 0.0));
            absorb(&padded(&x[whole..], nothing), &dy.unwrap_or_default());
        }
        columns
    }

    /// Adds what `other` knows of its row `from` to row `to`.
    fn merge(&self, columns: &mut Columns, to: usize, other: &Columns, from: usize) {
        let (a, b) = (columns.max[to], other.max[from]);
        let max = a.max(b);
        let mut mine = columns.sums.each_ref().map(|sums| sums[to]);
        let mut theirs = other.sums.each_ref().map(|sums| sums[from]);
        self.isa.run(Rescale {
            job: self.job(),
            sums: &mut mine,
            step: f64::from(a) - f64::from(max),
            moved: a != max,
        });
        self.isa.run(Rescale {
            job: self.job(),
            sums: &mut theirs,
            step: f64::from(b) - f64::from(max),
            moved: b != max,
        });
        columns.max[to] = max;
        for (i, sums) in columns.sums.iter_mut().enumerate() {
            sums[to] = mine[i] + theirs[i];
        }
    }

    /// What the rows come to, once all is absorbed; `dy` has an upstream gradient for each row
    /// of a function that reduces, and else nothing.
    pub fn finish(&self, columns: &Columns, dy: &[f32]) -> Coefficients {
        let mut factors: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
        for (i, &max) in columns.max.iter().enumerate() {
            let dy = dy.get(i).copied().unwrap_or(0.0);
            let row = self.isa.run(Finish {
                job: self.job(),
                max: max.into(),
                sums: columns.sums.each_ref().map(|sums| sums[i]),
                dy: dy.into(),
            });
            for (all, factor) in factors.iter_mut().zip(row) {
                all.push(factor);
            }
        }
        Coefficients {
            max: columns.max.iter().map(|&max| max.into()).collect(),
            factors,
        }
    }

    /// The results of some steps of the rows.
    pub fn map(&self, x: &[f32], dy: &[f32], of: &Coefficients, out: &mut [f32]) {
        let width = of.max.len();
        let fold = (LANES / width).max(1);
        let folded;
        let of = if fold == 1 {
            of
        } else {
            folded = Coefficients {
                max: of.max.repeat(fold),
                factors: of.factors.each_ref().map(|all| all.repeat(fold)),
            };
            &folded
        };
        let width = of.max.len();
        let task = TASK.next_multiple_of(width);
        out.par_chunks_mut(task).enumerate().for_each(|(i, out)| {
            let range = i * task..i * task + out.len();
            self.isa.run(Map {
                passes: self,
                x: &x[range.clone()],
                dy: dy.get(range).unwrap_or(&[]),
                of,
                out,
            });
        });
    }
}

impl Coefficients {
    /// The results of a function that reduces.
    pub fn results(&self) -> Vec<f32> {
        self.factors[0].iter().map(|&y| y as f32).collect()
    }
}

/// Sums relative to a maximum as sums relative to one that is `step` less far down.
struct Rescale<'a> {
    job: Job<'static>,
    sums: &'a mut [f64; 3],
    step: f64,
    moved: bool,
}

impl Kernel for Rescale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        if !self.moved {
            return;
        }
        let factor = Wide::<FMA>(self.step).exp_below_zero().0;
        *self.sums = rescaled(&self.job, *self.sums, factor);
    }
}

/// The sums times the factor by which a larger maximum makes weights smaller.
#[inline(always)]
fn rescaled(job: &Job, [s0, s1, s2]: [f64; 3], factor: f64) -> [f64; 3] {
    if job.direction == Direction::Forward && job.is_log() {
        // What tied with the maximum does no more.
        [0.0, (s0 + s1) * factor, s2]
    } else {
        [s0 * factor, s1 * factor, s2]
    }
}

struct Finish {
    job: Job<'static>,
    max: f64,
    sums: [f64; 3],
    dy: f64,
}

impl Kernel for Finish {
    type Output = [f64; 3];
    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f64; 3] {
        self.job.coefficients::<FMA>(self.max, self.sums, self.dy)
    }
}

/// The first pass over some columns of a matrix.
struct Absorb<'a, 'b> {
    passes: &'a Passes,
    x: &'a [f32],
    dy: &'a [f32],
    stride: usize,
    lanes: Lanes<'b>,
}

/// Vectors that straddle cache lines would halve the speed.
#[repr(align(64))]
struct Tile([[f32; LANES]; DEPTH]);

#[repr(align(64))]
struct Sums([[f64; LANES]; 3]);

impl Kernel for Absorb<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            passes,
            x,
            dy,
            stride,
            lanes,
        } = self;
        let job = passes.job();
        let (sign, is_log) = (job.sign(), job.is_log() && !passes.backward);
        let has_dy = !dy.is_empty();
        let width = lanes.max.len();
        let mut max = [f32::NEG_INFINITY; LANES];
        max[..width].copy_from_slice(lanes.max);
        let mut sums = Sums([[0.0; LANES]; 3]);
        for (to, from) in sums.0.iter_mut().zip(&lanes.sums) {
            to[..width].copy_from_slice(from);
        }
        // Lanes past the last column have zeros and are never stored.
        let mut tile = Tile([[0.0; LANES]; DEPTH]);
        let mut gradients = Tile([[0.0; LANES]; DEPTH]);
        let gather = |from: &[f32], tile: &mut Tile, sign: f32| {
            let rows = from.chunks(stride);
            for (to, row) in tile.0.iter_mut().zip(rows) {
                let row = &row[lanes.first..lanes.first + width];
                for (to, &x) in to.iter_mut().zip(row) {
                    *to = x * sign;
                }
            }
        };
        for (i, step) in x.chunks(DEPTH * stride).enumerate() {
            gather(step, &mut tile, sign);
            if has_dy {
                let start = i * DEPTH * stride;
                gather(&dy[start..start + step.len()], &mut gradients, 1.0);
            }
            let depth = step.len() / stride;
            let before = max;
            for row in &tile.0[..depth] {
                for (max, &x) in max.iter_mut().zip(row) {
                    *max = if x > *max { x } else { *max };
                }
            }
            // A row of which nothing counts yet has no element to relate the others to.
            let mut reference = [0.0; LANES];
            for (reference, &max) in reference.iter_mut().zip(&max) {
                *reference = if max == f32::NEG_INFINITY {
                    0.0
                } else {
                    f64::from(max)
                };
            }
            let [s0, s1, s2] = &mut sums.0;
            if before != max {
                for lane in 0..LANES {
                    let step = f64::from(before[lane]) - f64::from(max[lane]);
                    let factor = Wide::<FMA>(step).exp_below_zero().0;
                    let scaled = rescaled(&job, [s0[lane], s1[lane], s2[lane]], factor);
                    let moved = before[lane] != max[lane];
                    s0[lane] = if moved { scaled[0] } else { s0[lane] };
                    s1[lane] = if moved { scaled[1] } else { s1[lane] };
                }
            }
            for (row, dy) in tile.0.iter().zip(&gradients.0).take(depth) {
                if is_log {
                    for lane in 0..LANES {
                        let e = weight::<FMA>(row[lane], 1.0, reference[lane]);
                        let tie = row[lane] == max[lane];
                        s0[lane] += if tie { 1.0 } else { 0.0 };
                        s1[lane] += if tie { 0.0 } else { e };
                    }
                } else if has_dy {
                    for lane in 0..LANES {
                        let e = weight::<FMA>(row[lane], 1.0, reference[lane]);
                        let dy = f64::from(dy[lane]);
                        s0[lane] += e;
                        s1[lane] += e * dy;
                        s2[lane] += dy;
                    }
                } else {
                    for lane in 0..LANES {
                        s0[lane] += weight::<FMA>(row[lane], 1.0, reference[lane]);
                    }
                }
            }
        }
        lanes.max.copy_from_slice(&max[..width]);
        for (to, from) in lanes.sums.into_iter().zip(&sums.0) {
            to.copy_from_slice(&from[..width]);
        }
    }
}

/// The second pass over whole steps of all columns; the last step may have fewer.
struct Map<'a> {
    passes: &'a Passes,
    x: &'a [f32],
    dy: &'a [f32],
    of: &'a Coefficients,
    out: &'a mut [f32],
}

impl Kernel for Map<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            passes,
            x,
            dy,
            of,
            out,
        } = self;
        let job = passes.job();
        let sign = job.sign();
        let width = of.max.len();
        for (i, out) in out.chunks_mut(width).enumerate() {
            let count = out.len();
            let range = i * width..i * width + count;
            let x = &x[range.clone()];
            let max = &of.max[..count];
            let [c0, c1, c2] = of.factors.each_ref().map(|all| &all[..count]);
            match (passes.backward, passes.function) {
                (false, _) if job.is_log() => {
                    for j in 0..count {
                        out[j] = (f64::from(x[j] * sign) - max[j] - c0[j]) as f32;
                    }
                }
                (false, _) => {
                    for j in 0..count {
                        out[j] = (weight::<FMA>(x[j], sign, max[j]) * c0[j]) as f32;
                    }
                }
                (true, AxisFunction::LogSumExp) => {
                    for j in 0..count {
                        out[j] = (weight::<FMA>(x[j], sign, max[j]) * c2[j]) as f32;
                    }
                }
                (true, _) => {
                    let dy = &dy[range];
                    for j in 0..count {
                        let (e, dy) = (weight::<FMA>(x[j], sign, max[j]), f64::from(dy[j]));
                        out[j] = (dy * c0[j] + e * (dy * c1[j] + c2[j])) as f32;
                    }
                }
            }
        }
    }
}
