//! The whole truth about one function and direction: every f32 there is, on several backends at
//! once, against the f64 reference.
//!
//! A [`Run`] goes through its inputs in chunks. One thread asks the backends for their results of
//! the next chunk, while all cores hold those of the last one against the reference, whose values
//! are worked out once for all backends.
//!
//! ```
//! use std::ops::ControlFlow;
//! use wgpu_activations::check::{Pass, exhaustive::{Run, Span}};
//! use wgpu_activations::{Activation, Backend};
//!
//! // All 2^32 take half a minute and more; these are the numbers between 1 and 1.5.
//! let span = Span::new(1.0f32.to_bits(), 1.5f32.to_bits(), 1)?;
//! let mut run = Run::new(Activation::Mish, Pass::Forward, span, 1);
//! run.advance(&[Backend::cpu()], |run| {
//!     eprintln!("{} of {}", run.done(), run.span().len());
//!     ControlFlow::Continue(())
//! })?;
//! let result = &run.tallies()[0];
//! assert_eq!(result.inputs, (1 << 22) + 1);
//! assert!(result.worst.unwrap().ulp < 0.51);
//! # Ok::<(), wgpu_activations::Error>(())
//! ```

use super::oracle::{BLOCK, Block, Oracle};
use super::{Pass, exact};
use crate::backend::Backend;
use crate::catalogue::Elementwise;
use crate::cpu::threads::{self, prelude::*};
use crate::cpu::{Isa, Kernel};
use crate::error::{Error, Result};
use crate::shape::same_length;
use std::ops::ControlFlow;
use std::sync::mpsc;

/// Inputs that travel at a time: 16 MiB.
const CHUNK: usize = 4 << 20;
/// Blocks that a thread takes at a time.
const UNIT: usize = 16;
/// How far, in ULP, an estimated error may be from the reference's own: the oracle's tolerance
/// in ULP, and f32's rounding of the estimate.
const SLACK: f64 = 4e-6;

/// Which inputs: bit patterns from `first` to `last`, both included, every `stride`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: u32,
    last: u32,
    stride: u32,
}

impl Span {
    /// Every f32 there is.
    pub const ALL: Self = Self {
        first: 0,
        last: u32::MAX,
        stride: 1,
    };

    /// The bit patterns from `first` to `last`, every `stride`-th. With a stride of 1 the
    /// reference is interpolated between neighbours; with any other, which is slower for each
    /// input, it is evaluated for each.
    ///
    /// # Errors
    /// [`Error::EmptySpan`] where `last` is before `first`, or the stride is 0.
    pub fn new(first: u32, last: u32, stride: u32) -> Result<Self> {
        if first > last || stride == 0 {
            return Err(Error::EmptySpan {
                first,
                last,
                stride,
            });
        }
        Ok(Self {
            first,
            last,
            stride,
        })
    }

    /// The first bit pattern.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The bit pattern that none is beyond.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The distance between bit patterns.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// How many inputs there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> u64 {
        u64::from((self.last - self.first) / self.stride) + 1
    }

    /// The input at a place below [`Span::len`].
    fn bits(&self, at: u64) -> u32 {
        // Below 2^32, because it is not beyond `last`.
        (u64::from(self.first) + at * u64::from(self.stride)) as u32
    }
}

/// The largest error of a tally.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// The input.
    pub input: f32,
    /// The backend's result.
    pub got: f32,
    /// The reference's value.
    pub want: f64,
    /// The error in ULP; infinite where a NaN was wrong.
    pub ulp: f64,
}

impl Worst {
    /// The error of the result `got` for the input `input`, by the contract.
    pub fn new(f: &Elementwise, pass: Pass, input: f32, got: f32) -> Self {
        let (want, ulp) = exact(f, pass, input, got);
        Self {
            input,
            got,
            want,
            ulp,
        }
    }
}

/// What was found of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// How many results were compared.
    pub inputs: u64,
    /// The largest error; none where no result was off by more than 4e-6 ULP.
    pub worst: Option<Worst>,
    /// Results outside the bound, wrong NaNs included.
    pub outside: u64,
    /// Results that are NaN where the reference is not, or the other way.
    pub nan_mismatches: u64,
    /// Results that are zero where the reference rounds to a subnormal number: allowed.
    pub flushed: u64,
    /// Zeros with the other sign than the reference's value, of values below the normal numbers:
    /// not part of the contract.
    pub zero_signs: u64,
    /// How many errors are in each quarter of an ULP, the last one for all that are larger.
    pub histogram: [u64; Self::BINS],
}

impl Tally {
    /// Counts of the histogram: quarters of an ULP up to 8, and what is beyond.
    pub const BINS: usize = 33;

    /// A tally of nothing.
    pub const EMPTY: Self = Self {
        inputs: 0,
        worst: None,
        outside: 0,
        nan_mismatches: 0,
        flushed: 0,
        zero_signs: 0,
        histogram: [0; Self::BINS],
    };

    /// Whether every result was within the bound.
    pub fn passed(&self) -> bool {
        self.outside == 0 && self.nan_mismatches == 0
    }

    fn worst_ulp(&self) -> f64 {
        self.worst.map_or(0.0, |w| w.ulp)
    }

    /// Adds what was found later.
    fn add(&mut self, later: &Self) {
        self.inputs += later.inputs;
        if later.worst_ulp() > self.worst_ulp() {
            self.worst = later.worst;
        }
        self.outside += later.outside;
        self.nan_mismatches += later.nan_mismatches;
        self.flushed += later.flushed;
        self.zero_signs += later.zero_signs;
        for (sum, count) in self.histogram.iter_mut().zip(later.histogram) {
            *sum += count;
        }
    }
}

/// One function and direction over a span of inputs, finished or on its way. It is a plain value:
/// [`Run::done`] and [`Run::tallies`] are all that a later process needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    f: Elementwise,
    pass: Pass,
    span: Span,
    done: u64,
    tallies: Vec<Tally>,
}

impl Run {
    /// A run over that many backends which has not begun.
    pub fn new(f: impl Into<Elementwise>, pass: Pass, span: Span, backends: usize) -> Self {
        Self::resume(f, pass, span, 0, vec![Tally::EMPTY; backends])
    }

    /// A run that has come to `done` inputs, with one tally for each backend.
    pub fn resume(
        f: impl Into<Elementwise>,
        pass: Pass,
        span: Span,
        done: u64,
        tallies: Vec<Tally>,
    ) -> Self {
        Self {
            f: f.into(),
            pass,
            span,
            done: done.min(span.len()),
            tallies,
        }
    }

    /// The function.
    pub fn function(&self) -> Elementwise {
        self.f
    }

    /// The direction.
    pub fn pass(&self) -> Pass {
        self.pass
    }

    /// All inputs.
    pub fn span(&self) -> Span {
        self.span
    }

    /// How many inputs were compared.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Whether that was all.
    pub fn is_finished(&self) -> bool {
        self.done == self.span.len()
    }

    /// What was found so far, in the order of the backends.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// The largest error that is within the contract.
    pub fn bound(&self) -> f64 {
        let bounds = self.f.activation().info().bounds;
        match self.pass {
            Pass::Forward => bounds.forward.into(),
            Pass::Backward => bounds.backward.into(),
        }
    }

    /// Goes on to the end, or until `each`, which is called after every chunk, breaks. The
    /// backward direction has an upstream gradient of 1. The backends must be those of the
    /// tallies, in the same order.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where there are not as many backends as tallies, and the
    /// backends' own; what was done until then stays. A breach is in the tallies.
    pub fn advance(
        &mut self,
        backends: &[Backend],
        mut each: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<()> {
        same_length("the list of backends", self.tallies.len(), backends.len())?;
        // What the adapters compute, not what is computed in their place.
        let backends: &[Backend] = &backends.iter().map(Backend::trusting).collect::<Vec<_>>();
        let oracle = Oracle::new(self.f, self.pass);
        let (f, pass, span, start) = (self.f, self.pass, self.span, self.done);
        // Two chunks go round: one is computed while the other is compared.
        let (give_back, empty) = mpsc::channel::<Chunk>();
        let (send, full) = mpsc::channel::<Result<Chunk>>();
        for _ in 0..2 {
            // Both ends are here: nothing is lost.
            let _ = give_back.send(Chunk::default());
        }
        std::thread::scope(|scope| {
            let spawned = threads::scoped(scope, "activations check", move || {
                let mut from = start;
                while from < span.len() {
                    let Ok(mut chunk) = empty.recv() else { return };
                    let filled = chunk.fill(&span, from, f, pass, backends);
                    from += chunk.x.len() as u64;
                    let failed = filled.is_err();
                    if send.send(filled.map(|()| chunk)).is_err() || failed {
                        return;
                    }
                }
            });
            if !spawned {
                // No thread to be had: one after the other.
                let mut chunk = Chunk::default();
                while !self.is_finished() {
                    chunk.fill(&span, self.done, f, pass, backends)?;
                    self.compare(&oracle, &chunk);
                    if each(self).is_break() {
                        break;
                    }
                }
                return Ok(());
            }
            // Dropped on the way out, so that the other thread ends.
            let give_back = give_back;
            while !self.is_finished() {
                let chunk = match full.recv() {
                    Ok(chunk) => chunk?,
                    // The thread went without a word: it panicked, which the scope reports.
                    Err(mpsc::RecvError) => break,
                };
                self.compare(&oracle, &chunk);
                if each(self).is_break() {
                    break;
                }
                // The other thread is gone once it has sent the last chunk.
                let _ = give_back.send(chunk);
            }
            Ok(())
        })
    }

    /// Holds a chunk's results against the reference.
    fn compare(&mut self, oracle: &Oracle, chunk: &Chunk) {
        let bound = self.bound();
        let first = u64::from(self.span.bits(self.done));
        let stride = u64::from(self.span.stride);
        let count = chunk.x.len() as u64;
        // Units start at whole blocks of bit patterns, wherever the chunk does.
        let width = (UNIT * BLOCK) as u64;
        let units = if stride == 1 {
            (first + count).div_ceil(width) - first / width
        } else {
            count.div_ceil(width)
        };
        let known: Vec<f64> = self.tallies.iter().map(Tally::worst_ulp).collect();
        let found: Vec<Vec<Tally>> = (0..units)
            .into_par_iter()
            .map(|unit| {
                let mut comparison = Comparison::new(oracle, bound, &known);
                if stride == 1 {
                    let from = (first / width + unit) * width;
                    let until = (from + width).min(first + count);
                    comparison.neighbours(chunk, first, from.max(first), until);
                } else {
                    let from = unit * width;
                    comparison.apart(chunk, from, (from + width).min(count));
                }
                comparison.tallies
            })
            .collect();
        // In their order, so that the first of equals is kept, however the threads were.
        for unit in &found {
            for (sum, later) in self.tallies.iter_mut().zip(unit) {
                sum.add(later);
            }
        }
        self.done += count;
    }
}

/// Inputs, and each backend's results.
#[derive(Default)]
struct Chunk {
    x: Vec<f32>,
    ones: Vec<f32>,
    results: Vec<Vec<f32>>,
}

impl Chunk {
    fn fill(
        &mut self,
        span: &Span,
        from: u64,
        f: Elementwise,
        pass: Pass,
        backends: &[Backend],
    ) -> Result<()> {
        let len = (span.len() - from).min(CHUNK as u64);
        self.x.clear();
        self.x
            .extend((from..from + len).map(|at| f32::from_bits(span.bits(at))));
        self.results.resize(backends.len(), Vec::new());
        for (backend, result) in backends.iter().zip(&mut self.results) {
            result.resize(self.x.len(), 0.0);
            match pass {
                Pass::Forward => backend.apply_into(f, &self.x, result)?,
                Pass::Backward => {
                    self.ones.resize(self.x.len(), 1.0);
                    backend.grad_into(f, &self.x, &self.ones, result)?;
                }
            }
        }
        Ok(())
    }
}

/// What one thread holds of a comparison.
struct Comparison<'a> {
    oracle: &'a Oracle,
    bound: f64,
    /// The largest error of each backend so far.
    known: Vec<f64>,
    block: Block,
    errors: Vec<f32>,
    tallies: Vec<Tally>,
}

impl<'a> Comparison<'a> {
    fn new(oracle: &'a Oracle, bound: f64, known: &[f64]) -> Self {
        Self {
            oracle,
            bound,
            known: known.to_vec(),
            block: Block::new(),
            errors: vec![0.0; BLOCK],
            tallies: vec![Tally::EMPTY; known.len()],
        }
    }

    /// The bit patterns `from..until` of a chunk that starts at `first`, block by block.
    fn neighbours(&mut self, chunk: &Chunk, first: u64, from: u64, until: u64) {
        let width = BLOCK as u64;
        let mut at = from;
        while at < until {
            let block = at / width * width;
            let end = (block + width).min(until);
            // Bit patterns, so below 2^32.
            self.oracle.fill(block as u32, &mut self.block);
            let values = (at - block) as usize..(end - block) as usize;
            self.hold(chunk, (at - first) as usize, values);
            at = end;
        }
    }

    /// The inputs at `from..until` of a chunk of numbers that are no neighbours.
    fn apart(&mut self, chunk: &Chunk, from: u64, until: u64) {
        let (mut at, until) = (from as usize, until as usize);
        while at < until {
            let len = (until - at).min(BLOCK);
            self.block.largest_term = 0.0;
            for (want, &x) in self.block.want.iter_mut().zip(&chunk.x[at..at + len]) {
                *want = if x.is_nan() {
                    f64::NAN
                } else {
                    self.oracle.value(x.into())
                };
            }
            self.hold(chunk, at, 0..len);
            at += len;
        }
    }

    /// Holds every backend's results from `start` on against those `values` of the block.
    fn hold(&mut self, chunk: &Chunk, start: usize, values: std::ops::Range<usize>) {
        let want = &self.block.want[values];
        let x = &chunk.x[start..start + want.len()];
        let errors = &mut self.errors[..want.len()];
        for (results, (tally, known)) in chunk
            .results
            .iter()
            .zip(self.tallies.iter_mut().zip(&mut self.known))
        {
            let got = &results[start..start + want.len()];
            let largest_term = self.block.largest_term;
            let summary = Isa::best().run(Estimate {
                want,
                got,
                largest_term,
                errors: &mut *errors,
            });
            tally.inputs += want.len() as u64;
            tally.flushed += summary.flushed;
            tally.zero_signs += summary.zero_signs;

            // What may be a new record or outside the bound is measured by the reference itself.
            let limit = known.min(self.bound) + SLACK;
            let calm = f64::from(summary.largest) <= limit;
            if !calm {
                for (i, error) in errors.iter_mut().enumerate() {
                    if f64::from(*error) <= known.min(self.bound) + SLACK {
                        continue;
                    }
                    let worst = Worst::new(&self.oracle.f(), self.oracle.pass(), x[i], got[i]);
                    *error = worst.ulp as f32;
                    tally.outside += u64::from(worst.ulp > self.bound);
                    tally.nan_mismatches += u64::from(got[i].is_nan() != worst.want.is_nan());
                    if worst.ulp > *known {
                        *known = worst.ulp;
                        tally.worst = Some(worst);
                    }
                }
            }
            bin(errors, &mut tally.histogram);
        }
    }
}

/// Counts errors by quarters of an ULP.
fn bin(errors: &[f32], histogram: &mut [u64; Tally::BINS]) {
    let mut at_least = errors.len();
    for (k, count) in histogram.iter_mut().enumerate() {
        let edge = (k + 1) as f32 * 0.25;
        let above = if k + 1 == Tally::BINS {
            0
        } else {
            errors.iter().filter(|&&e| e >= edge).count()
        };
        *count += (at_least - above) as u64;
        at_least = above;
        if above == 0 {
            break;
        }
    }
}

/// The errors of a block's results, as [`reference::ulp_error`](crate::reference::ulp_error) has
/// them, from what may be an interpolated value.
struct Estimate<'a> {
    want: &'a [f64],
    got: &'a [f32],
    /// The least that errors are relative to.
    largest_term: f64,
    errors: &'a mut [f32],
}

/// What an [`Estimate`] saw.
struct Summary {
    /// The largest error, or NaN or an infinity where one was no number.
    largest: f32,
    flushed: u64,
    zero_signs: u64,
}

impl Kernel for Estimate<'_> {
    type Output = Summary;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Summary {
        const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
        const LARGEST: f64 = f32::MAX as f64;
        /// Half the least subnormal f32: what is above rounds to a number that is not zero.
        const VANISHING: f64 = f64::from_bits((1023 - 150) << 52);
        let least = self.largest_term.clamp(SMALLEST, LARGEST);
        // Magnitudes are in the order of their bits, with NaN above all.
        let mut largest = 0u32;
        let (mut flushed, mut zero_signs) = (0u32, 0u32);
        for ((error, &want), &got) in self.errors.iter_mut().zip(self.want).zip(self.got) {
            let wide = f64::from(got);
            let size = want.abs();
            let unit = if size > least { size } else { least };
            let unit = if unit > LARGEST { LARGEST } else { unit };
            // One over the spacing of f32 at `unit`, which is 2^(exponent - 23).
            let per_ulp = f64::from_bits((2046 + 23 - (unit.to_bits() >> 52)) << 52);
            let plain = ((wide - want).abs() * per_ulp) as f32;
            let tiny = size < SMALLEST;
            let overflown = got.is_infinite() & (got == want as f32);
            let nan = got.is_nan() & want.is_nan();
            let fine = (tiny & (wide.abs() <= SMALLEST)) | overflown | nan;
            let e = if fine { 0.0 } else { plain };
            *error = e;
            largest = largest.max(e.to_bits());
            let zero = tiny & (wide == 0.0);
            flushed += u32::from(zero & (size > VANISHING));
            let signs = (wide.to_bits() ^ want.to_bits()) >> 63 == 1;
            zero_signs += u32::from(zero & signs);
        }
        Summary {
            largest: f32::from_bits(largest),
            flushed: flushed.into(),
            zero_signs: zero_signs.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Activation;
    use crate::reference::{self, ulp_error};

    /// One span's worth of `computed` on the CPU, held against the reference of `f`.
    fn held(f: Activation, computed: Activation, pass: Pass, span: Span) -> Tally {
        let mut chunk = Chunk::default();
        chunk
            .fill(&span, 0, computed.into(), pass, &[Backend::cpu()])
            .unwrap();
        let mut run = Run::new(f, pass, span, 1);
        run.compare(&Oracle::new(f.into(), pass), &chunk);
        assert!(run.is_finished());
        run.tallies.remove(0)
    }

    /// The tally of the same by the definition, number by number.
    fn by_hand(f: Activation, computed: Activation, pass: Pass, span: Span) -> Tally {
        let mut chunk = Chunk::default();
        chunk
            .fill(&span, 0, computed.into(), pass, &[Backend::cpu()])
            .unwrap();
        let mut tally = Tally::EMPTY;
        let bound = Run::new(f, pass, span, 1).bound();
        for (&x, &got) in chunk.x.iter().zip(&chunk.results[0]) {
            let worst = Worst::new(&f.into(), pass, x, got);
            tally.inputs += 1;
            tally.outside += u64::from(worst.ulp > bound);
            tally.nan_mismatches += u64::from(got.is_nan() != worst.want.is_nan());
            if worst.ulp > tally.worst_ulp() {
                tally.worst = Some(worst);
            }
            let bin = (worst.ulp * 4.0) as usize;
            tally.histogram[bin.min(Tally::BINS - 1)] += 1;
        }
        tally
    }

    /// Interpolated and counted in blocks, the tally is that of the definition: over odd spans of
    /// ordinary numbers, of those around a root, an overflow, the subnormal numbers and NaN.
    #[test]
    fn tallies_are_those_of_the_definition() {
        let bits = |x: f32| x.to_bits();
        let around = |middle: u32| Span::new(middle - 5_003, middle + 9_001, 1).unwrap();
        let mut worst = 0;
        for (f, computed) in [
            (Activation::Gelu, Activation::Gelu),
            (Activation::Gelu, Activation::GeluTanh),
            (Activation::Exp, Activation::Exp),
            (Activation::Snake, Activation::Snake),
            (Activation::Hardswish, Activation::Hardswish),
            (Activation::Square, Activation::ReluSquared),
        ] {
            for pass in [Pass::Forward, Pass::Backward] {
                for middle in [
                    bits(0.3),
                    bits(-0.751_791_5),
                    bits(88.722_84),
                    bits(-87.336_54),
                    bits(1.844_674_4e19),
                    bits(3.0),
                    bits(f32::MIN_POSITIVE),
                    bits(f32::INFINITY),
                    bits(f32::NEG_INFINITY),
                ] {
                    let span = around(middle);
                    let mut want = by_hand(f, computed, pass, span);
                    let got = held(f, computed, pass, span);
                    let what = format!("{f} by {computed} {pass} around {middle:#x}");
                    let ulp = (got.worst_ulp(), want.worst_ulp());
                    assert!(
                        ulp.0 == ulp.1 || (ulp.1 - ulp.0).abs() <= SLACK,
                        "{what}: {ulp:?}"
                    );
                    worst += usize::from(got.worst == want.worst);
                    // Near an edge an estimate may fall on its other side.
                    let moved: u64 = (got.histogram.iter().zip(&want.histogram))
                        .map(|(a, b)| a.abs_diff(*b))
                        .sum();
                    assert!(moved <= want.inputs / 5, "{what}: {moved} moved");
                    assert_eq!(got.histogram.iter().sum::<u64>(), got.inputs, "{what}");
                    want.worst = got.worst;
                    want.histogram = got.histogram;
                    (want.flushed, want.zero_signs) = (got.flushed, got.zero_signs);
                    assert_eq!(got, want, "{what}");
                }
            }
        }
        assert!(worst > 100, "{worst}");
    }

    /// The estimate of an error against its definition, for all kinds of pairs.
    #[test]
    fn estimates_are_ulp_errors() {
        let got = [
            0.0,
            -0.0,
            1e-45,
            -1e-40,
            1.2e-38,
            1.0,
            1.000_000_1,
            -1.0,
            3e38,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let want = [
            0.0,
            -0.0,
            1e-60,
            1e-45,
            1e-40,
            -1.17e-38,
            1.2e-38,
            1.0,
            1.000_000_03,
            3e38,
            3.402_823_466e38,
            3.402_823_6e38,
            1e39,
            -1e39,
            f64::INFINITY,
            f64::NAN,
        ];
        for largest_term in [0.0, 1e-40, 0.7, 1.0, 1e38] {
            for want in want {
                for got in got {
                    let mut errors = [0.0];
                    let summary = Isa::best().run(Estimate {
                        want: &[want],
                        got: &[got],
                        largest_term,
                        errors: &mut errors,
                    });
                    let exact = ulp_error(got, want, largest_term);
                    let what = format!("{got:e} for {want:e}: {} {exact}", errors[0]);
                    // What is not finite is asked of the reference.
                    if summary.largest.is_finite() {
                        let close = (f64::from(errors[0]) - exact).abs() <= 1e-6 * exact + 1e-30;
                        assert!(close, "{what}");
                        assert_eq!(summary.largest, errors[0]);
                    } else {
                        assert!(exact > 0.0 || got.is_infinite(), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn flushed_results_and_signs_of_zeros_are_counted() {
        let count = |want: f64, got: f32| {
            let summary = Isa::best().run(Estimate {
                want: &[want],
                got: &[got],
                largest_term: 0.0,
                errors: &mut [0.0],
            });
            (summary.flushed, summary.zero_signs)
        };
        assert_eq!(count(1e-40, 0.0), (1, 0));
        assert_eq!(count(-1e-40, 0.0), (1, 1));
        assert_eq!(count(-1e-60, -0.0), (0, 0));
        assert_eq!(count(-0.0, 0.0), (0, 1));
        assert_eq!(count(1e-40, 1e-40), (0, 0));
        assert_eq!(count(1.0, 0.0), (0, 0));
    }

    /// In CI: the upper half of every bit pattern.
    #[test]
    fn every_upper_half_on_the_cpu() {
        let span = Span::new(0, u32::MAX, 1 << 16).unwrap();
        assert_eq!(span.len(), 1 << 16);
        for f in [Activation::Silu, Activation::Mish, Activation::Tanh] {
            for pass in [Pass::Forward, Pass::Backward] {
                let mut run = Run::new(f, pass, span, 1);
                run.advance(&[Backend::cpu()], |_| ControlFlow::Continue(()))
                    .unwrap();
                let tally = &run.tallies()[0];
                assert!(run.is_finished() && tally.passed(), "{f} {pass}: {tally:?}");
                assert_eq!(tally.inputs, 1 << 16);
            }
        }
        let wrong = held(Activation::Silu, Activation::QuickGelu, Pass::Forward, span);
        assert!(!wrong.passed() && wrong.outside > 1_000, "{wrong:?}");
    }

    /// A result that is wrong for one number among millions is found.
    #[test]
    fn one_wrong_result_is_found() {
        let span = Span::new(0x3f00_0000, 0x3f3f_ffff, 1).unwrap();
        let (f, pass) = (Activation::Tanh, Pass::Forward);
        let mut chunk = Chunk::default();
        chunk
            .fill(&span, 0, f.into(), pass, &[Backend::cpu()])
            .unwrap();
        let spoilt = &mut chunk.results[0][1_234_567];
        *spoilt = f32::from_bits(spoilt.to_bits() + 4);
        chunk.results[0][2_345_678] = f32::NAN;
        let mut run = Run::new(f, pass, span, 1);
        run.compare(&Oracle::new(f.into(), pass), &chunk);
        let tally = &run.tallies()[0];
        assert_eq!((tally.outside, tally.nan_mismatches), (2, 1));
        let worst = tally.worst.unwrap();
        assert_eq!(worst.input.to_bits(), 0x3f00_0000 + 2_345_678);
        assert_eq!(tally.histogram[Tally::BINS - 1], 1);
        assert_eq!(tally.histogram[12..20].iter().sum::<u64>(), 1);
    }

    /// Interrupted after any chunk and taken up again from its parts, a run ends as in one go.
    #[test]
    fn a_run_goes_on_where_it_was() {
        let span = Span::new(0x3e7f_f123, 0x3e7f_f123 + 3 * CHUNK as u32 + 77, 1).unwrap();
        let backends = [Backend::cpu(), Backend::cpu()];
        for (f, pass) in [
            (Activation::Tanh, Pass::Forward),
            (Activation::Gelu, Pass::Backward),
        ] {
            let mut whole = Run::new(f, pass, span, 2);
            whole
                .advance(&backends, |_| ControlFlow::Continue(()))
                .unwrap();
            assert_eq!(whole.tallies()[0], whole.tallies()[1]);

            let mut run = Run::new(f, pass, span, 2);
            let mut stops = 0;
            while !run.is_finished() {
                run.advance(&backends, |_| ControlFlow::Break(())).unwrap();
                run = Run::resume(f, pass, span, run.done(), run.tallies().to_vec());
                stops += 1;
            }
            assert_eq!(stops, 4);
            assert_eq!(run, whole);
        }
    }

    #[test]
    fn misuse_is_an_error() {
        assert!(Span::new(2, 1, 1).is_err());
        assert!(Span::new(1, 2, 0).is_err());
        assert_eq!(Span::ALL.len(), 1 << 32);
        assert_eq!(Span::new(7, 7, u32::MAX).unwrap().len(), 1);
        let last = Span::new(1, u32::MAX, u32::MAX - 1).unwrap();
        assert_eq!((last.len(), last.bits(1)), (2, u32::MAX));
        let mut run = Run::new(Activation::Relu, Pass::Forward, Span::ALL, 2);
        let error = run.advance(&[Backend::cpu()], |_| ControlFlow::Break(()));
        assert!(error.is_err());
        assert!(reference::kinks(&run.function()).contains(&0.0));
    }
}
