//! The softmax family: how rows are spread over threads.
//!
//! Two engines run the [`phases`](super::phases) of a row: [`rows`](super::rows) puts SIMD lanes
//! along a row, and [`tiles`](super::tiles) puts a row into each lane, for short rows and for inner
//! axes. Both compute in f64. A third, [`narrow_rows`], computes what is asked most, contiguous rows,
//! in f32.
//!
//! Forward softmax keeps its weights in the output as f32 and scales them there, so its result is
//! rounded twice (within 1 ULP); what else the first two give is rounded once.

use super::convert::{WideOutput, narrow_block, widen_block};
use super::elementwise::SERIAL_BELOW;
use super::isa::Isa;
use super::narrow_rows;
use super::phases::{Direction, Job, Piece, Segment};
use super::rows;
use super::threads::{self, prelude::*};
use super::tiles;
use crate::element::{DType, Element};
use crate::shape::AxisShape;
use std::ops::Range;

/// Elements that a thread takes at a time.
const TASK: usize = 16 * 1024;
/// The smallest part of an axis, or of a row of columns, that is a thread's own.
const SMALLEST_PART: usize = 256;

/// Elements of 16 bits that a thread widens at a time: with their results they fit its caches.
const WIDENED: usize = 16 * 1024;

/// [`run`] on numbers of any type: those of 16 bits are widened and rounded some rows at a time.
pub(super) fn run_any<T: Element>(isa: Isa, job: &Job<'_, T>, out: &mut [T]) {
    let (function, direction, shape) = (job.function, job.direction, job.shape);
    let block = shape.len * shape.inner;
    let rows_of = |reduced: bool| if reduced { shape.inner } else { block };
    let is_forward = direction == Direction::Forward;
    let out_block = rows_of(function.reduces() && is_forward);
    let dy_block = rows_of(function.reduces());
    // Rows of no elements have nothing to widen, but may have results.
    if T::DTYPE == DType::F32 || block == 0 {
        let array = |array| {
            if block == 0 {
                &[]
            } else {
                bytemuck::cast_slice(array)
            }
        };
        let job = Job {
            function,
            direction,
            shape,
            x: job.x.map(array),
            dy: array(job.dy),
        };
        let mut out = WideOutput::new(out);
        run(isa, &job, &mut out);
        return out.finish();
    }
    let blocks = (WIDENED / block).max(1);
    let chunk = |scratch: &mut [Vec<f32>; 3], (i, out): (usize, &mut [T])| {
        let outer = out.len() / out_block;
        let part = |array: &'_ [T], block: usize, to: &mut Vec<f32>| {
            let first = i * blocks * block;
            to.resize(outer * block, 0.0);
            widen_block(isa, &array[first..first + outer * block], to);
        };
        let [x, dy, wide] = scratch;
        match job.x {
            Some(input) => part(input, block, x),
            None => x.clear(),
        }
        if is_forward {
            dy.clear();
        } else {
            part(job.dy, dy_block, dy);
        }
        wide.resize(out.len(), 0.0);
        if job.x.is_none() {
            widen_block(isa, out, wide);
        }
        let job = Job {
            function,
            direction,
            shape: AxisShape { outer, ..shape },
            x: job.x.map(|_| &x[..]),
            dy: &dy[..],
        };
        run(isa, &job, wide);
        narrow_block(isa, wide, out);
    };
    if out.len() < SERIAL_BELOW {
        let mut scratch = Default::default();
        let chunks = out.chunks_mut(blocks * out_block).enumerate();
        return chunks.for_each(|part| chunk(&mut scratch, part));
    }
    out.par_chunks_mut(blocks * out_block)
        .enumerate()
        .for_each_init(Default::default, chunk);
}

/// Runs the job; lengths were checked.
pub(super) fn run(isa: Isa, job: &Job, out: &mut [f32]) {
    let AxisShape { outer, len, inner } = job.shape;
    if out.is_empty() {
        return;
    }
    if len == 0 {
        // Only a reduction has results here: the sum of nothing.
        out.fill(f32::NEG_INFINITY);
        return;
    }
    let block = len * inner;
    let threads = threads::count();
    if outer * block < SERIAL_BELOW || threads == 1 {
        run_blocks(isa, job, 0..outer, out);
    } else if outer >= 4 * threads || block < SERIAL_BELOW {
        let mut blocks = TASK.div_ceil(block);
        if len <= tiles::DEEPEST {
            // Whole tiles of short rows for each task.
            blocks = blocks.next_multiple_of(tiles::WIDEST);
        }
        out.par_chunks_mut(blocks * job.output_block())
            .enumerate()
            .for_each(|(i, out)| {
                let first = i * blocks;
                run_blocks(isa, job, first..outer.min(first + blocks), out);
            });
    } else {
        for (o, out) in out.chunks_mut(job.output_block()).enumerate() {
            if inner < tiles::NARROWEST {
                split_rows(isa, job, o, out, threads);
            } else if len >= inner {
                split_tiles_along_axis(isa, job, o, out, threads);
            } else {
                split_tiles_by_columns(isa, job, o, out, threads);
            }
        }
    }
}

/// All rows of some steps along the outer dimension, on this thread.
fn run_blocks(isa: Isa, job: &Job, outer: Range<usize>, out: &mut [f32]) {
    let AxisShape { len, inner, .. } = job.shape;
    let block = job.output_block();
    let base = outer.start * block;
    if narrow_rows::computes(isa, job) {
        let piece = Piece {
            out: &mut *out,
            base,
        };
        let not_held = narrow_rows::run(isa, job, outer, piece);
        for row in not_held {
            let out = &mut out[row * block - base..][..block];
            let base = row * block;
            rows::run(isa, job, row..row + 1, Piece { out, base });
        }
        return;
    }
    let piece = Piece { out, base };
    if inner >= tiles::NARROWEST || len <= tiles::DEEPEST {
        tiles::run(isa, job, outer, tiles::Target::Flat(piece));
    } else {
        rows::run(isa, job, outer, piece);
    }
}

/// The ranges of an axis that threads take, and the pieces of one block of the output over them.
fn segments<'a>(job: &Job, o: usize, out: &'a mut [f32], threads: usize) -> Vec<Segment<'a>> {
    let AxisShape { len, inner, .. } = job.shape;
    let count = (2 * threads).min(len / SMALLEST_PART).max(1);
    let step = len.div_ceil(count);
    let mut rest = out;
    (0..len)
        .step_by(step)
        .map(|start| {
            let range = start..len.min(start + step);
            // A reduction writes nothing while it runs.
            let elements = if job.reduces() {
                0
            } else {
                range.len() * inner
            };
            let (out, tail) = std::mem::take(&mut rest).split_at_mut(elements);
            rest = tail;
            let base = (o * len + start) * inner;
            Segment {
                range,
                piece: Piece { out, base },
            }
        })
        .collect()
}

/// One block of few rows, each shared by all threads.
fn split_rows(isa: Isa, job: &Job, o: usize, out: &mut [f32], threads: usize) {
    let inner = job.shape.inner;
    let mut results = [0.0; tiles::NARROWEST];
    let mut parts = segments(job, o, out, threads);
    if narrow_rows::computes(isa, job)
        && let Some(result) = narrow_rows::split(isa, job, o, &mut parts)
    {
        drop(parts);
        if job.reduces() {
            out[0] = result;
        }
        return;
    }
    for (c, result) in results[..inner].iter_mut().enumerate() {
        *result = rows::split(isa, job, o * inner + c, &mut parts);
    }
    drop(parts);
    if job.reduces() {
        for (out, result) in out.iter_mut().zip(results) {
            *out = result as f32;
        }
    }
}

/// One block whose axis is longer than its rows of columns: threads share the axis.
fn split_tiles_along_axis(isa: Isa, job: &Job, o: usize, out: &mut [f32], threads: usize) {
    let inner = job.shape.inner;
    let mut parts = segments(job, o, out, threads);
    let mut tile_results = |c: usize| tiles::split(isa, job, o, c, &mut parts);
    if job.reduces() {
        // The pieces are empty here, so the results can be kept in a panel of their own.
        let mut results = Vec::with_capacity(inner);
        for c in (0..inner).step_by(tiles::WIDEST) {
            let width = tiles::WIDEST.min(inner - c);
            results.extend_from_slice(&tile_results(c)[..width]);
        }
        for (out, result) in out.iter_mut().zip(results) {
            *out = result as f32;
        }
    } else {
        for c in (0..inner).step_by(tiles::WIDEST) {
            tile_results(c);
        }
    }
}

/// One block with more columns than its axis is long: each thread takes columns of its own.
fn split_tiles_by_columns(isa: Isa, job: &Job, o: usize, out: &mut [f32], threads: usize) {
    let AxisShape { len, inner, .. } = job.shape;
    let groups = (2 * threads).min(inner / SMALLEST_PART).max(1);
    let width = inner.div_ceil(groups).next_multiple_of(tiles::WIDEST);
    let groups = inner.div_ceil(width);
    let rows = if job.reduces() { 1 } else { len };
    let mut columns: Vec<Vec<&mut [f32]>> = (0..groups).map(|_| Vec::with_capacity(rows)).collect();
    for row in out.chunks_mut(inner) {
        for (group, part) in columns.iter_mut().zip(row.chunks_mut(width)) {
            group.push(part);
        }
    }
    columns
        .into_par_iter()
        .enumerate()
        .for_each(|(group, rows)| {
            let first = group * width;
            let target = tiles::Target::Columns { rows, first };
            tiles::run(isa, job, o..o + 1, target);
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::AxisFunction;
    use crate::reference::{axis_backward, axis_forward, ulp_error};
    use AxisFunction::{LogSoftmax, LogSumExp, Softmax, Softmin};

    /// Numbers of a spread that softmax sees, from a linear congruence.
    fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(|_| next() * scale).collect()
    }

    /// The forward reference, with logarithms as log(1 + rest): the sum of a row whose largest
    /// element stands far out loses in f64 what an f32 result still shows.
    fn forward(function: AxisFunction, x: &[f32], shape: &AxisShape) -> Vec<f64> {
        let mut want = axis_forward(function, x, shape);
        if function != LogSoftmax {
            return want;
        }
        let AxisShape { outer, len, inner } = *shape;
        for (o, c) in (0..outer).flat_map(|o| (0..inner).map(move |c| (o, c))) {
            let at = |i: usize| (o * len + i) * inner + c;
            let mut row: Vec<f64> = (0..len).map(|i| x[at(i)].into()).collect();
            if row.iter().any(|x| x.is_nan()) {
                continue;
            }
            row.sort_by(f64::total_cmp);
            let max = row[len - 1];
            if max.is_infinite() {
                continue;
            }
            let rest: f64 = row[..len - 1].iter().map(|x| libm::exp(x - max)).sum();
            for i in 0..len {
                want[at(i)] = f64::from(x[at(i)]) - max - libm::log1p(rest);
            }
        }
        want
    }

    /// The largest error in ULP of every function and direction over the rows of `x`, each call
    /// also checked against its in-place twin; what is wrong panics with `name`.
    fn check(isa: Isa, shape: AxisShape, x: &[f32], name: &str) -> f64 {
        check_with(isa, shape, x, &numbers(x.len(), 5, 4.0), name)
    }

    /// The same with an upstream gradient.
    fn check_with(isa: Isa, shape: AxisShape, x: &[f32], dy: &[f32], name: &str) -> f64 {
        let mut worst = 0.0f64;
        // Of each level of a pairwise sum, half an ULP at least.
        let levels = (shape.len as f64).log2().ceil() / 2.0;
        let mut see = |error: f64, allowance: f64, what: &str| {
            let (isa, limit) = (isa.name(), 2.0 + allowance);
            assert!(error < limit, "{isa} {what} {name} {shape:?}: {error} ULP");
            worst = worst.max(error);
        };
        for &function in AxisFunction::ALL {
            let job = |direction, x, dy| Job {
                function,
                direction,
                shape,
                x,
                dy,
            };
            let want = forward(function, x, &shape);
            let mut y = vec![7.0; want.len()];
            run(isa, &job(Direction::Forward, Some(x), &[]), &mut y);
            for (&got, &want) in y.iter().zip(&want) {
                // The maximum and the logarithm may cancel: such a sum is measured against 1.
                let largest = if function == LogSumExp { 1.0 } else { 0.0 };
                see(ulp_error(got, want, largest), levels, function.name());
            }
            if !function.reduces() {
                let mut in_place = x.to_vec();
                run(isa, &job(Direction::Forward, None, &[]), &mut in_place);
                let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
                assert!(in_place.iter().zip(&y).all(same), "{function} in place");
            }
            let dy = &dy[..want.len()];
            let (want, largest) = axis_backward(function, x, dy, &shape);
            let mut dx = vec![7.0; x.len()];
            run(isa, &job(Direction::Backward, Some(x), dy), &mut dx);
            for ((&got, &want), &largest) in dx.iter().zip(&want).zip(&largest) {
                // What is less than all f32 may be flushed before a large factor makes it more.
                if largest > 1e-30 {
                    see(ulp_error(got, want, largest), 2.0 * levels, function.name());
                }
            }
            if matches!(function, Softmax | Softmin) {
                run(isa, &job(Direction::FromOutput, Some(&y), dy), &mut dx);
                for ((&got, &want), &largest) in dx.iter().zip(&want).zip(&largest) {
                    // The f32 output's own roundings are in this one.
                    if largest > 1e-30 {
                        let error = 0.5 * ulp_error(got, want, largest);
                        see(error, 2.0 * levels, "from output");
                    }
                }
            }
        }
        worst
    }

    fn shapes() -> Vec<AxisShape> {
        let mut shapes = Vec::new();
        for len in [1, 2, 3, 7, 8, 9, 15, 17, 63, 64, 65, 1000, 1024, 1025] {
            for inner in [1, 2, 5, 15, 16, 17, 64, 65, 100] {
                for outer in [1, 3, 67] {
                    if outer * len * inner <= 70_000 {
                        shapes.push(AxisShape { outer, len, inner });
                    }
                }
            }
        }
        // Sizes at which threads share: whole blocks, rows, axes, columns.
        for (outer, len, inner) in [
            (1, 100_003, 1),
            (2, 50_001, 3),
            (1, 3001, 64),
            (3, 1111, 30),
            (1, 20, 5003),
            (2, 3, 30_011),
            (40_000, 2, 1),
            (300, 129, 2),
            (1, 1, 40_000),
            (40_000, 1, 1),
        ] {
            shapes.push(AxisShape { outer, len, inner });
        }
        shapes
    }

    #[test]
    fn shapes_and_instruction_sets() {
        let shapes = shapes();
        assert!(shapes.len() > 250, "{} shapes", shapes.len());
        for isa in Isa::available() {
            let mut worst = 0.0f64;
            for &shape in &shapes {
                let x = numbers(shape.elements(), 3, 30.0);
                worst = worst.max(check(isa, shape, &x, "random"));
            }
            println!("{}: {worst:.3} ULP", isa.name());
        }
    }

    /// Rows with what arithmetic stumbles over, in every engine.
    #[test]
    fn special_rows() {
        let (inf, nan, big) = (f32::INFINITY, f32::NAN, f32::MAX);
        let sprinkles: &[&[f32]] = &[
            &[nan],
            &[inf],
            &[-inf],
            &[inf, -inf],
            &[inf, nan],
            &[-inf, nan],
            &[big, -big],
            &[1e-40, -1e-40],
            &[1000.0, -1000.0],
            &[0.0, -0.0],
        ];
        let mut rows = 0;
        for (len, inner) in [
            (1, 1),
            (2, 1),
            (9, 1),
            (70, 1),
            (5, 3),
            (90, 3),
            (5, 20),
            (90, 20),
        ]
        .into_iter()
        .chain([(40_000, 1), (30_000, 2), (3000, 20), (3, 20_000)])
        {
            let shape = AxisShape {
                outer: 2,
                len,
                inner,
            };
            for (sprinkle, &values) in sprinkles.iter().enumerate() {
                // Some of the elements, or all of them.
                for stride in [1, 7] {
                    let mut x = numbers(shape.elements(), 11, 3.0);
                    for (i, x) in x.iter_mut().enumerate().step_by(stride) {
                        *x = values[i / stride % values.len()];
                    }
                    check(Isa::best(), shape, &x, &format!("sprinkle {sprinkle}"));
                    rows += 1;
                }
            }
        }
        assert!(rows > 100);
    }

    /// Contiguous rows of lengths around those of vectors and blocks, which sums of too few bits, a
    /// cancelling upstream gradient or a tail that is left out or added twice would show.
    #[test]
    fn contiguous_rows_of_every_length() {
        let around = |n: usize| n - 9..=n + 9;
        let lengths = (1..=80)
            .chain(around(128))
            .chain(around(2048))
            .chain(around(4096));
        for len in lengths.chain([100_003]) {
            let outer = if len < 100 { 35 } else { 2 };
            let shape = AxisShape {
                outer,
                len,
                inner: 1,
            };
            let count = shape.elements();
            let mut alternating = numbers(count, 6, 4.0);
            let mut one = vec![0.0; count];
            for (i, dy) in alternating.iter_mut().enumerate() {
                *dy += if i % 2 == 0 { 1e3 } else { -1e3 };
            }
            for row in 0..outer {
                one[row * len + (row * 7) % len] = 1e4;
            }
            // 256 is where weights are made in another way.
            for (scale, offset) in [
                (2.0, 0.0),
                (60.0, 0.0),
                (4.0, 256.0),
                (6.0, -255.0),
                (50.0, 1e4),
            ] {
                let mut x = numbers(count, 8, scale);
                x.iter_mut().for_each(|x| *x += offset);
                let name = format!("{scale} {offset}");
                for isa in Isa::available() {
                    check_with(isa, shape, &x, &alternating, &name);
                    check_with(isa, shape, &x, &one, &name);
                }
                // One element of most weight, the first of a row and the last.
                for (row, at) in [(0, 0), (outer - 1, len - 1)] {
                    x[row * len + at] = offset + 2.0 * scale;
                }
                check_with(
                    Isa::best(),
                    shape,
                    &x,
                    &alternating,
                    &format!("spike {name}"),
                );
            }
        }
    }

    /// Infinities and NaN at the first and last elements of vectors and blocks, alone in their row.
    #[test]
    fn special_values_at_the_ends_of_blocks() {
        let len = 2 * 2048 + 21;
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for at in [0, 7, 8, 15, 16, 2047, 2048, 2055, 4095, 4096, len - 1] {
            for (value, others) in [
                (nan, 1.0),
                (inf, 1.0),
                (-inf, 1.0),
                (nan, -inf),
                (3.0, -inf),
            ] {
                let shape = AxisShape {
                    outer: 2,
                    len,
                    inner: 1,
                };
                let mut x = vec![others; 2 * len];
                x[at] = value;
                check(
                    Isa::best(),
                    shape,
                    &x,
                    &format!("{value} at {at} among {others}"),
                );
                let short = AxisShape {
                    outer: 2,
                    len: 16 + at % 37,
                    inner: 1,
                };
                x.truncate(short.elements());
                check(
                    Isa::best(),
                    short,
                    &x,
                    &format!("{value} at {at} among {others}"),
                );
            }
        }
    }

    /// Upstream gradients whose sums and differences leave f32, and those that are infinite or NaN.
    #[test]
    fn huge_upstream_gradients() {
        for len in [8, 30, 64, 100, 5000] {
            let shape = AxisShape {
                outer: 3,
                len,
                inner: 1,
            };
            let x = numbers(shape.elements(), 3, 2.0);
            for size in [3e38, 1e38, 3e36, 1e-37] {
                let mut dy = vec![size; x.len()];
                dy[..len / 2].fill(-size);
                check_with(Isa::best(), shape, &x, &dy, &format!("{size}"));
            }
            for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let mut dy = numbers(x.len(), 7, 2.0);
                dy[len + len / 2] = value;
                let job = Job {
                    function: Softmax,
                    direction: Direction::Backward,
                    shape,
                    x: Some(&x),
                    dy: &dy,
                };
                let mut dx = vec![7.0; x.len()];
                run(Isa::best(), &job, &mut dx);
                let (rows, special) = (dx.chunks(len), |dx: &f32| !dx.is_finite());
                let found: Vec<bool> = rows.map(|row| row.iter().any(special)).collect();
                assert_eq!(found, [false, true, false], "{value} in rows of {len}");
                if value.is_nan() {
                    assert!(dx[len..2 * len].iter().all(|dx| dx.is_nan()));
                }
            }
        }
    }

    /// A row whose largest element stands so far out that log(1 + rest) is nearly rest.
    #[test]
    fn confident_log_softmax_keeps_its_precision() {
        let shape = AxisShape {
            outer: 1,
            len: 3,
            inner: 1,
        };
        let x = [40.0, 0.0, 1.0];
        let job = Job {
            function: LogSoftmax,
            direction: Direction::Forward,
            shape,
            x: Some(&x),
            dy: &[],
        };
        let mut y = [0.0; 3];
        run(Isa::best(), &job, &mut y);
        let want = -libm::log1p(libm::exp(-40.0) + libm::exp(-39.0));
        assert!(ulp_error(y[0], want, 0.0) < 1.0, "{} {want}", y[0]);
    }

    /// The measure must object to one function in place of another.
    #[test]
    #[should_panic = "ULP"]
    fn a_wrong_row_is_seen() {
        let x = numbers(10, 3, 30.0);
        let y = numbers(10, 4, 30.0);
        let shape = AxisShape {
            outer: 2,
            len: 5,
            inner: 1,
        };
        let want = forward(Softmax, &y, &shape);
        let job = Job {
            function: Softmax,
            direction: Direction::Forward,
            shape,
            x: Some(&x),
            dy: &[],
        };
        let mut got = vec![0.0; 10];
        run(Isa::best(), &job, &mut got);
        for (&got, &want) in got.iter().zip(&want) {
            let error = ulp_error(got, want, 0.0);
            assert!(error < 2.0, "{error} ULP");
        }
    }
}
