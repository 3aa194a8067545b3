//! Softmax rows with one row in each SIMD lane: for inner axes, whose rows lie side by side, and
//! for rows that are shorter than a few vectors, which are transposed into a tile on the stack.
//!
//! A tile is `W` rows wide and at most [`DEEPEST`] elements deep. Lanes past the last row compute
//! on what happens to be there and are never stored.

use super::isa::{Isa, Kernel};
use super::phases::{Direction, Job, Piece, Segment, Sums};
use super::rows::weight;
use super::threads::prelude::*;
use crate::shape::AxisShape;
use std::ops::Range;

/// The most rows of a tile.
pub(super) const WIDEST: usize = 64;
/// Inner axes from this length on are worth lanes of their own.
pub(super) const NARROWEST: usize = 16;
/// The depth of a tile. Rows that are no longer than this are read once.
pub(super) const DEEPEST: usize = 64;

/// Where results go.
pub(super) enum Target<'a> {
    /// Into whole blocks.
    Flat(Piece<'a>),
    /// Into some columns of one block, given row by row; `first` is the first column.
    Columns {
        rows: Vec<&'a mut [f32]>,
        first: usize,
    },
}

/// All rows of some steps along the outer dimension, or those of the target's columns, on this thread.
pub(super) fn run(isa: Isa, job: &Job, outer: Range<usize>, mut target: Target) {
    let AxisShape { len, inner, .. } = job.shape;
    let target = &mut target;
    if inner < NARROWEST {
        let rows = outer.start * inner..outer.end * inner;
        isa.run(Tiles::<WIDEST, false, true> { job, rows, target });
        return;
    }
    for o in outer {
        let columns = match &target {
            Target::Flat(_) => 0..inner,
            Target::Columns { rows, first } => *first..*first + rows[0].len(),
        };
        let count = columns.len();
        let rows = o * inner + columns.start..o * inner + columns.end;
        // The widest tile of which at most a quarter runs empty.
        let fits = |w: usize| count.next_multiple_of(w) * 4 <= count * 5;
        match (fits(WIDEST), fits(32), len <= DEEPEST) {
            (true, _, true) => isa.run(Tiles::<WIDEST, true, true> { job, rows, target }),
            (true, _, false) => isa.run(Tiles::<WIDEST, true, false> { job, rows, target }),
            (_, true, true) => isa.run(Tiles::<32, true, true> { job, rows, target }),
            (_, true, false) => isa.run(Tiles::<32, true, false> { job, rows, target }),
            (_, _, true) => isa.run(Tiles::<16, true, true> { job, rows, target }),
            (_, _, false) => isa.run(Tiles::<16, true, false> { job, rows, target }),
        }
    }
}

/// Rows by their numbers, `W` in a tile: `COLUMNS` of an inner axis of at least [`NARROWEST`] or not;
/// `WHOLE` where a tile holds all of a row, and stays on the stack from phase to phase. What is known to the
/// compiler here keeps it from making loops for layouts that cannot be.
struct Tiles<'a, 'b, const W: usize, const COLUMNS: bool, const WHOLE: bool> {
    job: &'a Job<'a>,
    rows: Range<usize>,
    target: &'a mut Target<'b>,
}

impl<const W: usize, const COLUMNS: bool, const WHOLE: bool> Kernel
    for Tiles<'_, '_, W, COLUMNS, WHOLE>
{
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { job, rows, target } = self;
        // The kernel's own, so that the compiler sees that nothing else writes to it.
        let tile = &mut Tile::<W>::new();
        for first in rows.clone().step_by(W) {
            let lanes = Lanes::<COLUMNS>::new(job, first, rows.end - first, W);
            let mut state = State::new();
            let range = 0..job.shape.len;
            lanes.max(tile, range.clone(), &mut state, target, WHOLE);
            lanes.sums::<W, FMA>(tile, range.clone(), &mut state, target, WHOLE);
            lanes.finish::<W, FMA>(&mut state);
            if job.reduces() {
                lanes.put(&state, target);
            } else {
                lanes.map::<W, FMA>(tile, range, &state, target, WHOLE);
            }
        }
    }
}

/// One tile of columns, from column `c` of block `o` on, by all threads, each on its segments.
/// Returns the values of a reduction.
pub(super) fn split(
    isa: Isa,
    job: &Job,
    o: usize,
    c: usize,
    parts: &mut [Segment],
) -> [f64; WIDEST] {
    let inner = job.shape.inner;
    let lanes = Lanes::<true>::new(job, o * inner + c, inner - c, WIDEST);
    let part = |part: &mut Segment, phase, state| {
        let (out, base) = (&mut *part.piece.out, part.piece.base);
        isa.run(Part {
            lanes,
            range: part.range.clone(),
            target: Target::Flat(Piece { out, base }),
            phase,
            state,
        })
    };
    let mut state = State::new();
    for phase in [Phase::Max, Phase::Sums] {
        let of = |segment| part(segment, phase, state);
        let partial: Vec<State<WIDEST>> = parts.par_iter_mut().map(of).collect();
        for other in partial {
            state.merge(phase, &other);
        }
    }
    state = isa.run(Finish { lanes, state });
    if !job.reduces() {
        parts.par_iter_mut().for_each(|segment| {
            part(segment, Phase::Map, state);
        });
    }
    state.sums[0]
}

#[derive(Clone, Copy)]
enum Phase {
    Max,
    Sums,
    Map,
}

/// What is known of each row of a tile: its maximum, then its sums, then its coefficients.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct State<const W: usize> {
    max: [f32; W],
    max64: [f64; W],
    sums: [[f64; W]; 3],
}

impl<const W: usize> State<W> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            max: [f32::NEG_INFINITY; W],
            max64: [f64::NEG_INFINITY; W],
            sums: [[0.0; W]; 3],
        }
    }

    /// Adds what another part of the axis has found in a phase that began with this state.
    fn merge(&mut self, phase: Phase, other: &Self) {
        for (max, other) in self.max.iter_mut().zip(other.max) {
            *max = max.max(other);
        }
        self.max64 = self.max.map(f64::from);
        if let Phase::Sums = phase {
            for (sums, other) in self.sums.iter_mut().zip(other.sums) {
                for (sum, other) in sums.iter_mut().zip(other) {
                    *sum += other;
                }
            }
        }
    }
}

/// One phase over a range of the axis.
struct Part<'a> {
    lanes: Lanes<'a, true>,
    range: Range<usize>,
    target: Target<'a>,
    phase: Phase,
    state: State<WIDEST>,
}

impl Kernel for Part<'_> {
    type Output = State<WIDEST>;
    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> State<WIDEST> {
        let (lanes, range, mut state) = (self.lanes, self.range, self.state);
        let (tile, target) = (&mut Tile::new(), &mut self.target);
        match self.phase {
            Phase::Max => lanes.max(tile, range, &mut state, target, false),
            Phase::Sums => lanes.sums::<_, FMA>(tile, range, &mut state, target, false),
            Phase::Map => lanes.map::<_, FMA>(tile, range, &state, target, false),
        }
        state
    }
}

struct Finish<'a> {
    lanes: Lanes<'a, true>,
    state: State<WIDEST>,
}

impl Kernel for Finish<'_> {
    type Output = State<WIDEST>;
    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> State<WIDEST> {
        self.lanes.finish::<_, FMA>(&mut self.state);
        self.state
    }
}

/// The stack's part of a tile: input and upstream gradient, one array of lanes for each step.
/// Vectors that straddle cache lines would halve the speed.
#[repr(align(64))]
struct Tile<const W: usize> {
    x: [[f32; W]; DEEPEST],
    dy: [[f32; W]; DEEPEST],
}

impl<const W: usize> Tile<W> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            x: [[0.0; W]; DEEPEST],
            dy: [[0.0; W]; DEEPEST],
        }
    }
}

/// Rows `first..first + width` of the array, one in each lane; whether they are `COLUMNS` of an inner axis
/// of at least [`NARROWEST`].
#[derive(Clone, Copy)]
struct Lanes<'a, const COLUMNS: bool> {
    job: &'a Job<'a>,
    first: usize,
    width: usize,
}

impl<'a, const COLUMNS: bool> Lanes<'a, COLUMNS> {
    /// As many of the `count` rows from `first` on as a tile of `lanes` takes.
    #[inline(always)]
    fn new(job: &'a Job<'a>, first: usize, count: usize, lanes: usize) -> Self {
        Self {
            job,
            first,
            width: count.min(lanes),
        }
    }

    /// Stores the results of rows that have one each.
    #[inline(always)]
    fn put<const W: usize>(&self, state: &State<W>, target: &mut Target) {
        let results = &state.sums[0][..self.width];
        let to = match target {
            Target::Flat(piece) => &mut piece.out[self.first - piece.base..],
            Target::Columns { rows, first } => {
                &mut rows[0][self.first % self.job.shape.inner - *first..]
            }
        };
        for (to, &result) in to.iter_mut().zip(results) {
            *to = result as f32;
        }
    }

    /// Where element `i` of the first row lies in the array.
    #[inline(always)]
    fn offset(&self, i: usize) -> usize {
        let shape = self.job.shape;
        (self.first / shape.inner * shape.len + i) * shape.inner + self.first % shape.inner
    }

    /// Copies steps `range` of the rows `from` an array whose first element is number `base`.
    #[inline(always)]
    fn gather<const W: usize>(
        &self,
        from: &[f32],
        base: usize,
        range: Range<usize>,
        tile: &mut [[f32; W]; DEEPEST],
    ) {
        let AxisShape { len, inner, .. } = self.job.shape;
        if COLUMNS {
            for (lanes, i) in tile.iter_mut().zip(range) {
                let at = self.offset(i) - base;
                lanes[..self.width].copy_from_slice(&from[at..at + self.width]);
            }
        } else if inner == 1 {
            let at = self.first * len - base;
            let from = &from[at..at + self.width * len];
            if self.width == W && transpose_in_short(from, len, tile) {
                return;
            }
            for (lane, row) in from.chunks_exact(len).enumerate() {
                for (lanes, &value) in tile.iter_mut().zip(row) {
                    lanes[lane] = value;
                }
            }
        } else {
            for lane in 0..self.width {
                let row = self.first + lane;
                let at = row / inner * len * inner + row % inner - base;
                let values = from[at..].iter().step_by(inner).take(len);
                for (lanes, &value) in tile.iter_mut().zip(values) {
                    lanes[lane] = value;
                }
            }
        }
    }

    /// Copies steps `range` of `x`, or of what the output holds where there is none.
    #[inline(always)]
    fn load<const W: usize>(
        &self,
        x: Option<&[f32]>,
        range: Range<usize>,
        target: &Target,
        tile: &mut [[f32; W]; DEEPEST],
    ) {
        let (from, base) = match (x, target) {
            (Some(x), _) => (x, 0),
            (None, Target::Flat(piece)) => (&*piece.out, piece.base),
            (None, Target::Columns { rows, first }) => {
                let c = self.first % self.job.shape.inner - first;
                for (lanes, i) in tile.iter_mut().zip(range) {
                    lanes[..self.width].copy_from_slice(&rows[i][c..c + self.width]);
                }
                return;
            }
        };
        self.gather(from, base, range, tile);
    }

    /// Copies steps `range` of the upstream gradient, unless a row has only one.
    #[inline(always)]
    fn load_dy<const W: usize>(&self, range: Range<usize>, tile: &mut [[f32; W]; DEEPEST]) {
        if self.job.direction != Direction::Forward && !self.job.function.reduces() {
            self.gather(self.job.dy, 0, range, tile);
        }
    }

    #[inline(always)]
    fn store<const W: usize>(
        &self,
        range: Range<usize>,
        target: &mut Target,
        tile: &[[f32; W]; DEEPEST],
    ) {
        let AxisShape { len, inner, .. } = self.job.shape;
        match target {
            Target::Columns { rows, first } => {
                let c = self.first % inner - *first;
                for (lanes, i) in tile.iter().zip(range) {
                    rows[i][c..c + self.width].copy_from_slice(&lanes[..self.width]);
                }
            }
            Target::Flat(piece) if COLUMNS => {
                for (lanes, i) in tile.iter().zip(range) {
                    let at = self.offset(i) - piece.base;
                    piece.out[at..at + self.width].copy_from_slice(&lanes[..self.width]);
                }
            }
            Target::Flat(piece) if inner == 1 => {
                let at = self.first * len - piece.base;
                let to = &mut piece.out[at..at + self.width * len];
                if self.width == W && transpose_out_short(tile, len, to) {
                    return;
                }
                for (lane, row) in to.chunks_exact_mut(len).enumerate() {
                    for (lanes, value) in tile.iter().zip(row) {
                        *value = lanes[lane];
                    }
                }
            }
            Target::Flat(piece) => {
                for lane in 0..self.width {
                    let row = self.first + lane;
                    let at = row / inner * len * inner + row % inner - piece.base;
                    let values = piece.out[at..].iter_mut().step_by(inner).take(len);
                    for (lanes, value) in tile.iter().zip(values) {
                        *value = lanes[lane];
                    }
                }
            }
        }
    }

    /// Calls of a phase come in steps of a tile's depth.
    #[inline(always)]
    fn steps(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = range.end;
        range.step_by(DEEPEST).map(move |i| i..end.min(i + DEEPEST))
    }

    /// The largest element of each row that is not NaN; the sums see the others. Where the rows
    /// are `whole` within one tile, this also loads it for the phases to come.
    #[inline(always)]
    fn max<const W: usize>(
        &self,
        tile: &mut Tile<W>,
        range: Range<usize>,
        state: &mut State<W>,
        target: &Target,
        whole: bool,
    ) {
        let sign = self.job.sign();
        let from_output = self.job.direction == Direction::FromOutput;
        if from_output && !whole {
            return;
        }
        for step in Self::steps(range) {
            self.load(self.job.x, step.clone(), target, &mut tile.x);
            if whole {
                self.load_dy(step.clone(), &mut tile.dy);
            }
            if from_output {
                return;
            }
            for lanes in &tile.x[..step.len()] {
                for (max, &x) in state.max.iter_mut().zip(lanes) {
                    let x = x * sign;
                    *max = if x > *max { x } else { *max };
                }
            }
        }
    }

    /// The sums that the job's coefficients are made of; forward softmax leaves its weights in
    /// the tile, and in the output unless the rows are `whole`.
    #[inline(always)]
    fn sums<const W: usize, const FMA: bool>(
        &self,
        tile: &mut Tile<W>,
        range: Range<usize>,
        state: &mut State<W>,
        target: &mut Target,
        whole: bool,
    ) {
        let job = self.job;
        let sign = job.sign();
        for (wide, max) in state.max64.iter_mut().zip(state.max) {
            *wide = max.into();
        }
        let max = &state.max64;
        let [s0, s1, s2] = &mut state.sums;
        for step in Self::steps(range) {
            if !whole {
                self.load(job.x, step.clone(), target, &mut tile.x);
                self.load_dy(step.clone(), &mut tile.dy);
            }
            let pairs = tile.x.iter_mut().zip(&tile.dy).take(step.len());
            match job.direction {
                Direction::FromOutput => {
                    for (y, dy) in pairs {
                        for i in 0..W {
                            s1[i] += f64::from(y[i]) * f64::from(dy[i]);
                        }
                    }
                }
                Direction::Forward if job.is_log() => {
                    for (x, _) in pairs {
                        for i in 0..W {
                            let e = weight::<FMA>(x[i], sign, max[i]);
                            let tie = x[i] == state.max[i];
                            s0[i] += if tie { 1.0 } else { 0.0 };
                            s1[i] += if tie { 0.0 } else { e };
                        }
                    }
                }
                Direction::Forward => {
                    for (x, _) in pairs {
                        for i in 0..W {
                            let e = weight::<FMA>(x[i], sign, max[i]);
                            s0[i] += e;
                            x[i] = e as f32;
                        }
                    }
                    if !whole {
                        self.store(step, target, &tile.x);
                    }
                }
                Direction::Backward => {
                    for (x, dy) in pairs {
                        for i in 0..W {
                            let (e, dy) = (weight::<FMA>(x[i], sign, max[i]), f64::from(dy[i]));
                            s0[i] += e;
                            s1[i] += dy * e;
                            s2[i] += dy;
                        }
                    }
                }
            }
        }
    }

    /// Turns the sums into the job's coefficients.
    #[inline(always)]
    fn finish<const W: usize, const FMA: bool>(&self, state: &mut State<W>) {
        let job = self.job;
        let mut dy = [0.0f32; W];
        if job.function.reduces() && job.direction == Direction::Backward {
            dy[..self.width].copy_from_slice(&job.dy[self.first..self.first + self.width]);
        }
        let [s0, s1, s2] = &mut state.sums;
        // The same for each lane; the case on its own is a loop without branches.
        if job.direction == Direction::Forward && !job.is_log() {
            for (sum, &max) in s0.iter_mut().zip(&state.max64) {
                *sum = Job::scale(max, *sum);
            }
            return;
        }
        for i in 0..W {
            let sums: Sums = [s0[i], s1[i], s2[i]];
            [s0[i], s1[i], s2[i]] = job.coefficients::<FMA>(state.max64[i], sums, dy[i].into());
        }
    }

    /// The results, from the coefficients in `state`.
    #[inline(always)]
    fn map<const W: usize, const FMA: bool>(
        &self,
        tile: &mut Tile<W>,
        range: Range<usize>,
        state: &State<W>,
        target: &mut Target,
        whole: bool,
    ) {
        let job = self.job;
        let sign = job.sign();
        let max = &state.max64;
        let [c0, c1, c2] = &state.sums;
        for step in Self::steps(range) {
            if !whole {
                // The weights of forward softmax are in the output.
                let weights = job.direction == Direction::Forward && !job.is_log();
                let x = if weights { None } else { job.x };
                self.load(x, step.clone(), target, &mut tile.x);
                self.load_dy(step.clone(), &mut tile.dy);
            }
            let pairs = tile.x.iter_mut().zip(&tile.dy).take(step.len());
            match job.direction {
                Direction::Forward if job.is_log() => {
                    for (x, _) in pairs {
                        for i in 0..W {
                            x[i] = (f64::from(x[i] * sign) - max[i] - c0[i]) as f32;
                        }
                    }
                }
                Direction::Forward => {
                    for (x, _) in pairs {
                        for i in 0..W {
                            x[i] = (f64::from(x[i]) * c0[i]) as f32;
                        }
                    }
                }
                Direction::Backward => {
                    for (x, dy) in pairs {
                        for i in 0..W {
                            let (e, dy) = (weight::<FMA>(x[i], sign, max[i]), f64::from(dy[i]));
                            x[i] = (dy * c0[i] + e * (dy * c1[i] + c2[i])) as f32;
                        }
                    }
                }
                Direction::FromOutput => {
                    for (y, dy) in pairs {
                        for i in 0..W {
                            let dy = f64::from(dy[i]);
                            y[i] = (f64::from(y[i]) * (dy * c1[i] + c2[i])) as f32;
                        }
                    }
                }
            }
            self.store(step, target, &tile.x);
        }
    }
}

/// Full tiles of rows of up to 8, where the length is best known to the compiler; false for any
/// other length.
#[inline(always)]
fn transpose_in_short<const W: usize>(
    rows: &[f32],
    len: usize,
    tile: &mut [[f32; W]; DEEPEST],
) -> bool {
    match len {
        1 => transpose_in::<W, 1>(rows, tile),
        2 => transpose_in::<W, 2>(rows, tile),
        3 => transpose_in::<W, 3>(rows, tile),
        4 => transpose_in::<W, 4>(rows, tile),
        5 => transpose_in::<W, 5>(rows, tile),
        6 => transpose_in::<W, 6>(rows, tile),
        7 => transpose_in::<W, 7>(rows, tile),
        8 => transpose_in::<W, 8>(rows, tile),
        _ => return false,
    }
    true
}

/// The way back of [`transpose_in_short`].
#[inline(always)]
fn transpose_out_short<const W: usize>(
    tile: &[[f32; W]; DEEPEST],
    len: usize,
    rows: &mut [f32],
) -> bool {
    match len {
        1 => transpose_out::<W, 1>(tile, rows),
        2 => transpose_out::<W, 2>(tile, rows),
        3 => transpose_out::<W, 3>(tile, rows),
        4 => transpose_out::<W, 4>(tile, rows),
        5 => transpose_out::<W, 5>(tile, rows),
        6 => transpose_out::<W, 6>(tile, rows),
        7 => transpose_out::<W, 7>(tile, rows),
        8 => transpose_out::<W, 8>(tile, rows),
        _ => return false,
    }
    true
}

#[inline(always)]
fn transpose_in<const W: usize, const N: usize>(rows: &[f32], tile: &mut [[f32; W]; DEEPEST]) {
    if let Some((rows, _)) = rows.as_chunks::<N>().0.split_first_chunk::<W>() {
        for lane in 0..W {
            for i in 0..N {
                tile[i][lane] = rows[lane][i];
            }
        }
    }
}

#[inline(always)]
fn transpose_out<const W: usize, const N: usize>(tile: &[[f32; W]; DEEPEST], rows: &mut [f32]) {
    if let Some((rows, _)) = rows.as_chunks_mut::<N>().0.split_first_chunk_mut::<W>() {
        for lane in 0..W {
            for i in 0..N {
                rows[lane][i] = tile[i][lane];
            }
        }
    }
}
