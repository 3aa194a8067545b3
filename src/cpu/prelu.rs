//! The parametric rectifier: runs of one slope, or of a slope for each element.

use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::prelude::*;
use super::{Cpu, sum};
use crate::error::Result;
use crate::prelu::Prelu;
use crate::shape::same_length;
use std::ops::Range;

/// Elements that a thread takes at a time.
const CHUNK: usize = 16 * 1024;

/// a · b, where a zero wins over an infinity.
#[inline(always)]
fn times(a: f32, b: f32) -> f32 {
    let product = a * b;
    let none = product.is_nan() & !(a.is_nan() | b.is_nan());
    if none { 0.0 } else { product }
}

/// One slope, or one for each element.
#[derive(Clone, Copy)]
enum Slopes<'a> {
    One(f32),
    Each(&'a [f32]),
}

/// out = y where x > 0, else slope · y; y is x, or the upstream gradient.
struct Run<'a> {
    x: &'a [f32],
    y: &'a [f32],
    slopes: Slopes<'a>,
    out: &'a mut [f32],
}

impl Kernel for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.out.iter_mut().zip(self.x).zip(self.y);
        match self.slopes {
            Slopes::One(slope) => {
                for ((out, &x), &y) in rows {
                    let below = times(slope, y);
                    *out = if x > 0.0 { y } else { below };
                }
            }
            Slopes::Each(slopes) => {
                for (((out, &x), &y), &slope) in rows.zip(slopes) {
                    let below = times(slope, y);
                    *out = if x > 0.0 { y } else { below };
                }
            }
        }
    }
}

/// x · dy where x <= 0, else 0: the term of the gradient by the slope.
#[inline(always)]
fn slope_term(x: f32, dy: f32) -> f64 {
    let product = f64::from(x) * f64::from(dy);
    // Of numbers, only 0 times an infinity is NaN; there the zero wins.
    let none = product.is_nan() & !(x.is_nan() | dy.is_nan());
    if (x > 0.0) | none { 0.0 } else { product }
}

/// The sum of the slope's terms over a run.
struct SlopeSum<'a> {
    x: &'a [f32],
    dy: &'a [f32],
}

impl Kernel for SlopeSum<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        // Sums side by side, so that lanes of any width add in the same order.
        let mut lanes = [0.0f64; 16];
        for (x, dy) in self.x.chunks(16).zip(self.dy.chunks(16)) {
            for ((lane, &x), &dy) in lanes.iter_mut().zip(x).zip(dy) {
                *lane += slope_term(x, dy);
            }
        }
        lanes.iter().fold(0.0, |total, lane| total + lane)
    }
}

/// out = y where x > 0, else slope · y, over a whole array.
fn run(isa: Isa, prelu: &Prelu, x: &[f32], y: &[f32], slope: &[f32], out: &mut [f32]) {
    let [_, r1, k2, r2, k3, r3] = prelu.sums().shifted_to_the_end();
    let chunk = |first: usize, out: &mut [f32]| {
        let mut done = 0;
        while done < out.len() {
            let at = first + done;
            let (column, rest) = ((at / r3) % k3, at / r3 / k3);
            let row = ((rest / r2 / k2 / r1) * k2 + rest / r2 % k2) * k3 + column;
            let left = out.len() - done;
            let (count, slopes) = if r3 == 1 {
                // Neighbours have neighbouring slopes.
                let count = left.min(k3 - column);
                (count, Slopes::Each(&slope[row..row + count]))
            } else {
                let count = left.min(r3 - at % r3);
                (count, Slopes::One(slope[row]))
            };
            isa.run(Run {
                x: &x[at..at + count],
                y: &y[at..at + count],
                slopes,
                out: &mut out[done..done + count],
            });
            done += count;
        }
    };
    if out.len() < SERIAL_BELOW {
        return chunk(0, out);
    }
    let chunks = out.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(i, out)| chunk(i * CHUNK, out));
}

impl Cpu {
    /// y = x where x > 0, else slope · x.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch),
    /// [`Error::SlopeLength`](crate::Error::SlopeLength).
    pub(crate) fn prelu_into(
        &self,
        prelu: &Prelu,
        x: &[f32],
        slope: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        same_length("the input", prelu.elements(), x.len())?;
        prelu.check_slopes("the slope", slope.len())?;
        same_length("the output", x.len(), y.len())?;
        run(self.isa, prelu, x, x, slope, y);
        Ok(())
    }

    /// The gradients by x and by the slope, which is added up in f64 in an order of its own: the
    /// same bits on any number of threads.
    ///
    /// # Errors
    /// As [`Cpu::prelu_into`].
    pub(crate) fn grad_prelu_into(
        &self,
        prelu: &Prelu,
        x: &[f32],
        slope: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        dslope: &mut [f32],
    ) -> Result<()> {
        same_length("the input", prelu.elements(), x.len())?;
        prelu.check_slopes("the slope", slope.len())?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        prelu.check_slopes("the gradient by the slope", dslope.len())?;
        run(self.isa, prelu, x, dy, slope, dx);
        let run = |range: Range<usize>| {
            let (x, dy) = (&x[range.clone()], &dy[range]);
            self.isa.run(SlopeSum { x, dy })
        };
        let add = |range: Range<usize>, totals: &mut [f64]| {
            let rows = x[range.clone()].iter().zip(&dy[range]);
            for (total, (&x, &dy)) in totals.iter_mut().zip(rows) {
                *total += slope_term(x, dy);
            }
        };
        let sums = sum::sum_of_runs(prelu.sums(), run, add);
        for (out, sum) in dslope.iter_mut().zip(sums) {
            *out = sum as f32;
        }
        Ok(())
    }
}
