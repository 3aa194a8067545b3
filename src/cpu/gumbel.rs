//! gumbel_softmax and its gradient: rows of (x + noise) / tau in f64, whose differences are made
//! before they are divided.

use super::Cpu;
use super::isa::Kernel;
use super::lines::each_row;
use super::wide::Wide;
use crate::error::Result;
use crate::gumbel::GumbelSoftmax;
use crate::shape::{AxisShape, same_length};

impl Cpu {
    /// gumbel_softmax along the axis of `shape`, or its gradient by x where there is a dy; with
    /// noise of the caller's own where there is some.
    pub(crate) fn gumbel_into(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        noise: Option<&[f32]>,
        dy: Option<&[f32]>,
        shape: &AxisShape,
        out: &mut [f32],
    ) -> Result<()> {
        same_length("the input", shape.elements(), x.len())?;
        let drawn;
        let noise = match noise {
            Some(noise) => noise,
            None => {
                let mut noise = vec![0.0; x.len()];
                self.gumbel_noise_into(gumbel.random(), &mut noise);
                drawn = noise;
                &drawn
            }
        };
        same_length("the noise", x.len(), noise.len())?;
        let isa = self.isa;
        match dy {
            None if gumbel.is_hard() => {
                each_row(shape, [x, noise], out, |_: &mut (), [x, noise], out| {
                    hard(x, noise, out);
                });
            }
            None => each_row(shape, [x, noise], out, |weights, [x, noise], out| {
                isa.run(Row {
                    tau: gumbel.tau(),
                    weights,
                    x,
                    noise,
                    dy: None,
                    out,
                });
            }),
            Some(dy) => {
                same_length("the upstream gradient", x.len(), dy.len())?;
                each_row(
                    shape,
                    [x, noise, dy],
                    out,
                    |weights, [x, noise, dy], out| {
                        isa.run(Row {
                            tau: gumbel.tau(),
                            weights,
                            x,
                            noise,
                            dy: Some(dy),
                            out,
                        });
                    },
                );
            }
        }
        Ok(())
    }
}

/// 1 at the first maximum of the sums, which are rounded as the other backend's.
fn hard(x: &[f32], noise: &[f32], out: &mut [f32]) {
    let sums = x.iter().zip(noise).map(|(x, noise)| x + noise);
    let (mut winner, mut most, mut nan) = (0, f32::NEG_INFINITY, false);
    for (i, sum) in sums.enumerate() {
        nan |= sum.is_nan();
        if sum > most {
            (winner, most) = (i, sum);
        }
    }
    out.fill(if nan { f32::NAN } else { 0.0 });
    if !nan {
        out[winner] = 1.0;
    }
}

/// a + b as the rounded sum and what its rounding lost (Knuth); nothing of an infinity.
#[inline(always)]
fn sum(a: f32, b: f32) -> (f64, f64) {
    let (a, b) = (f64::from(a), f64::from(b));
    let sum = a + b;
    let of_b = sum - a;
    let lost = (a - (sum - of_b)) + (b - of_b);
    (sum, if sum.is_finite() { lost } else { 0.0 })
}

/// One row's softmax, or its gradient.
struct Row<'a> {
    tau: f32,
    weights: &'a mut Vec<f64>,
    x: &'a [f32],
    noise: &'a [f32],
    dy: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            tau,
            weights,
            x,
            noise,
            dy,
            out,
        } = self;
        let rate = 1.0 / f64::from(tau);
        weights.resize(x.len(), 0.0);
        let sums = || x.iter().zip(noise).map(|(&x, &noise)| sum(x, noise));
        // The largest sum; of those that are rounded to one, the one that lost most.
        let mut top = (f64::NEG_INFINITY, 0.0);
        for (sum, lost) in sums() {
            let above = sum > top.0 || (sum == top.0 && lost > top.1);
            top = if above { (sum, lost) } else { top };
        }
        let max = top.0;
        for (weight, (sum, lost)) in weights.iter_mut().zip(sums()) {
            let below = (sum - max) + (lost - top.1);
            *weight = Wide::<FMA>(below * rate).exp_below_zero().0;
        }
        let sum: f64 = weights.iter().sum();
        // An infinite maximum has no defined row; a NaN is in the sum.
        let scale = if max.is_infinite() {
            f64::NAN
        } else {
            1.0 / sum
        };
        match dy {
            None => {
                for (out, weight) in out.iter_mut().zip(weights) {
                    *out = (*weight * scale) as f32;
                }
            }
            Some(dy) => {
                let terms = weights
                    .iter()
                    .zip(dy)
                    .map(|(weight, &dy)| weight * f64::from(dy));
                let mean = terms.sum::<f64>() * scale;
                for ((out, weight), &dy) in out.iter_mut().zip(weights).zip(dy) {
                    *out = (*weight * scale * rate * (f64::from(dy) - mean)) as f32;
                }
            }
        }
    }
}
