//! Random numbers and what is made of them, element by element: uniform and Gumbel noise, and the
//! randomised leaky rectifier.

use super::Cpu;
use super::elementwise::SERIAL_BELOW;
use super::isa::Kernel;
use super::threads::prelude::*;
use super::wide::Wide;
use crate::error::Result;
use crate::random::{Random, halves, philox_lanes, uniform_of};
use crate::rrelu::Rrelu;
use crate::shape::same_length;

/// Blocks of four numbers that are made at a time.
const BLOCKS: usize = 16;
/// Elements that a thread takes at a time; a multiple of four, so that its blocks are its own.
const CHUNK: usize = 16 * 1024;

impl Cpu {
    /// out = the numbers between 0 and 1 of `random`, from its first on.
    pub(crate) fn uniform_into(&self, random: Random, out: &mut [f32]) {
        self.fill(random, out, Noise::Uniform);
    }

    /// out = Gumbel noise -log(-log u) of the numbers u of `random`.
    pub(crate) fn gumbel_noise_into(&self, random: Random, out: &mut [f32]) {
        self.fill(random, out, Noise::Gumbel);
    }

    fn fill(&self, random: Random, out: &mut [f32], noise: Noise) {
        let isa = self.isa;
        chunks(out, |first, out| {
            isa.run(Fill {
                random: random.skip(first),
                noise,
                out,
            });
        });
    }

    /// y = rrelu(x).
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn rrelu_into(&self, rrelu: Rrelu, x: &[f32], y: &mut [f32]) -> Result<()> {
        same_length("the output", x.len(), y.len())?;
        let Some(random) = rrelu.random() else {
            return self.apply_into(rrelu.evaluation(), x, y);
        };
        let isa = self.isa;
        chunks(y, |first, out| {
            isa.run(Sloped {
                rrelu,
                random: random.skip(first),
                x: &x[first as usize..][..out.len()],
                dy: None,
                out,
            });
        });
        Ok(())
    }

    /// dx = the gradient of rrelu by x, with the slopes of the forward pass.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn grad_rrelu_into(
        &self,
        rrelu: Rrelu,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let Some(random) = rrelu.random() else {
            return self.grad_into(rrelu.evaluation(), x, dy, dx);
        };
        let isa = self.isa;
        chunks(dx, |first, out| {
            let range = first as usize..first as usize + out.len();
            isa.run(Sloped {
                rrelu,
                random: random.skip(first),
                x: &x[range.clone()],
                dy: Some(&dy[range]),
                out,
            });
        });
        Ok(())
    }
}

/// Calls `each` with the parts of `out` and the index of each one's first element, over threads
/// where they are many.
fn chunks(out: &mut [f32], each: impl Fn(u64, &mut [f32]) + Sync) {
    if out.len() < SERIAL_BELOW {
        return each(0, out);
    }
    out.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(i, out)| each((i * CHUNK) as u64, out));
}

/// A few blocks of numbers. No closure takes them: its body would be compiled for the baseline.
struct Bits {
    words: [u32; 4 * BLOCKS],
    first: usize,
}

impl Bits {
    /// Number `at` of `random` and those behind it.
    #[inline(always)]
    fn of(random: Random, at: usize) -> Self {
        let [s0, s1] = halves(random.stream_number());
        let first = random.first().wrapping_add(at as u64);
        let mut counters = [[0; BLOCKS], [0; BLOCKS], [s0; BLOCKS], [s1; BLOCKS]];
        #[expect(clippy::needless_range_loop, reason = "lanes of several arrays")]
        for lane in 0..BLOCKS {
            // Blocks are counted modulo 2^62, as numbers are modulo 2^64.
            let block = (first / 4 + lane as u64) & (u64::MAX >> 2);
            [counters[0][lane], counters[1][lane]] = halves(block);
        }
        let lanes = philox_lanes(counters, halves(random.seed()));
        let mut words = [0; 4 * BLOCKS];
        for lane in 0..BLOCKS {
            for word in 0..4 {
                words[4 * lane + word] = lanes[word][lane];
            }
        }
        Self {
            words,
            first: (first % 4) as usize,
        }
    }

    /// As many of them as `most`, or as there are.
    #[inline(always)]
    fn up_to(&self, most: usize) -> &[u32] {
        let bits = &self.words[self.first..];
        &bits[..bits.len().min(most)]
    }
}

#[derive(Clone, Copy)]
enum Noise {
    Uniform,
    Gumbel,
}

struct Fill<'a> {
    random: Random,
    noise: Noise,
    out: &'a mut [f32],
}

impl Kernel for Fill<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { random, noise, out } = self;
        let mut at = 0;
        while at < out.len() {
            let bits = Bits::of(random, at);
            let bits = bits.up_to(out.len() - at);
            let out = &mut out[at..at + bits.len()];
            at += bits.len();
            match noise {
                Noise::Uniform => {
                    for (out, &bits) in out.iter_mut().zip(bits) {
                        *out = uniform_of(bits);
                    }
                }
                Noise::Gumbel => {
                    for (out, &bits) in out.iter_mut().zip(bits) {
                        *out = gumbel::<FMA>(uniform_of(bits)) as f32;
                    }
                    for (out, &bits) in out.iter_mut().zip(bits) {
                        // Close to its root the polynomials' error would be seen.
                        if out.abs() < 1.0 / 128.0 {
                            let u = f64::from(uniform_of(bits));
                            *out = -libm::log(-libm::log(u)) as f32;
                        }
                    }
                }
            }
        }
    }
}

/// -log(-log u), within 2^-34 and as many times the root's neighbourhood needs.
#[inline(always)]
fn gumbel<const FMA: bool>(u: f32) -> f64 {
    let u = f64::from(u);
    let e = Wide::<FMA>((1.0 - u) / u).ln_1p_any().0;
    // |log e| by the one of e and 1/e that is not below 1.
    let above = e > 1.0;
    let (numerator, denominator) = if above { (e - 1.0, 1.0) } else { (1.0 - e, e) };
    let log = Wide::<FMA>(numerator / denominator).ln_1p_any().0;
    if above { -log } else { log }
}

struct Sloped<'a> {
    rrelu: Rrelu,
    random: Random,
    x: &'a [f32],
    /// The upstream gradient, for the backward direction.
    dy: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Sloped<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            rrelu,
            random,
            x,
            dy,
            out,
        } = self;
        let mut at = 0;
        while at < out.len() {
            let bits = Bits::of(random, at);
            let bits = bits.up_to(out.len() - at);
            let range = at..at + bits.len();
            at += bits.len();
            let (x, out) = (&x[range.clone()], &mut out[range.clone()]);
            match dy {
                None => {
                    for ((out, &x), &bits) in out.iter_mut().zip(x).zip(bits) {
                        let value = times(rrelu.slope(uniform_of(bits)), x);
                        *out = if (x > 0.0) | x.is_nan() { x } else { value };
                    }
                }
                Some(dy) => {
                    for (((out, &x), &dy), &bits) in out.iter_mut().zip(x).zip(&dy[range]).zip(bits)
                    {
                        let value = times(rrelu.slope(uniform_of(bits)), dy);
                        let value = if x > 0.0 { dy } else { value };
                        *out = if x.is_nan() { x } else { value };
                    }
                }
            }
        }
    }
}

/// slope · x, where a slope of 0 wins over an infinity, and not over a NaN.
#[inline(always)]
fn times(slope: f64, x: f32) -> f32 {
    let product = (slope * f64::from(x)) as f32;
    if (slope == 0.0) & !x.is_nan() {
        0.0
    } else {
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::reference::random as reference;
    use crate::reference::ulp_error;

    fn cpus() -> impl Iterator<Item = Cpu> {
        Isa::available().into_iter().map(|isa| Cpu { isa })
    }

    /// Lengths and beginnings around the ends of words, blocks, batches and threads' chunks.
    #[test]
    fn numbers_are_the_generators_wherever_they_begin() {
        for cpu in cpus() {
            for n in [0, 1, 3, 63, 64, 65, 130, SERIAL_BELOW - 1, 3 * CHUNK + 7] {
                for first in [0, 1, 2, 3, 4, (1 << 34) - 5, u64::MAX - 17] {
                    let random = Random::new(0x0123_4567_89ab_cdef)
                        .stream(99)
                        .starting_at(first);
                    let mut out = vec![7.0; n];
                    cpu.uniform_into(random, &mut out);
                    for (i, &got) in out.iter().enumerate() {
                        assert_eq!(got, random.uniform(i as u64), "{n} {first} {i}");
                    }
                }
            }
        }
    }

    #[test]
    fn gumbel_noise_is_rounded_once() {
        for cpu in cpus() {
            let random = Random::new(3);
            let mut out = vec![0.0; 1 << 19];
            cpu.gumbel_noise_into(random, &mut out);
            let errors = out
                .iter()
                .enumerate()
                .map(|(i, &got)| ulp_error(got, reference::gumbel(random, i as u64), 0.0));
            let worst = errors.fold(0.0, f64::max);
            assert!(worst < 0.52, "{}: {worst}", cpu.isa.name());
        }
        // The largest and the smallest that there are, and the closest to the root.
        for u in [2f32.powi(-24), 1.0 - 2f32.powi(-24), 0.367_879_4] {
            let got = gumbel::<false>(u);
            let want = -libm::log(-libm::log(u.into()));
            assert!((got - want).abs() < 1e-9, "{u}: {got}, {want}");
        }
    }
}
