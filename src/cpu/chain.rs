//! Fused chains: blocks that stay in a core's cache go through all steps, each of which rounds to
//! f32.

use super::Cpu;
use super::elementwise::SERIAL_BELOW;
use super::isa::Isa;
use super::phases::{Direction, Job};
use super::softmax;
use super::threads::prelude::*;
use crate::chain::{Around, Chain, Place, Resolved, Step, rest, threshold};
use crate::element::DType;
use crate::random::{halves, philox_lanes};
use half::{bf16, f16};

/// Elements that go through the steps together: some blocks of this size fit the L1 cache.
const BLOCK: usize = 1024;
/// Elements that a thread takes at a time.
const CHUNK: usize = 16 * BLOCK;
/// Blocks of random numbers that are made at a time.
const DRAWN: usize = 16;

/// A block of numbers.
type Block = [f32; BLOCK];

impl Cpu {
    /// out = chain(x); with an upstream gradient, that by x, and in `terms` the terms of those by
    /// the operands, an element for each of x's. Lengths are those of `resolved`.
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) fn chain(
        &self,
        chain: &Chain,
        resolved: &Resolved,
        x: &[f32],
        operands: &[&[f32]],
        dy: Option<&[f32]>,
        out: &mut [f32],
        terms: &mut [Vec<f32>],
    ) {
        if let Some(around) = &resolved.around {
            return self.chain_around(chain, (resolved, around), x, operands, dy, out, terms);
        }
        let steps = Steps {
            isa: self.isa,
            steps: chain.steps(),
            places: &resolved.places,
            operands,
        };
        // Parts of all results side by side, so that threads take one of each.
        let chunk = if x.len() < SERIAL_BELOW {
            SERIAL_BELOW
        } else {
            CHUNK
        };
        let mut parts: Vec<Part<'_>> = out
            .chunks_mut(chunk)
            .enumerate()
            .map(|(i, out)| Part {
                start: i * chunk,
                out,
                terms: Vec::with_capacity(terms.len()),
            })
            .collect();
        for terms in terms {
            for (part, terms) in parts.iter_mut().zip(terms.chunks_mut(chunk)) {
                part.terms.push(terms);
            }
        }
        parts
            .into_par_iter()
            .for_each(|part| steps.part(part, x, dy));
    }
}

impl Cpu {
    /// [`Cpu::chain`] around a function of rows: the part before it, that, and the part behind.
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    fn chain_around(
        &self,
        chain: &Chain,
        (resolved, around): (&Resolved, &Around),
        x: &[f32],
        operands: &[&[f32]],
        dy: Option<&[f32]>,
        out: &mut [f32],
        terms: &mut [Vec<f32>],
    ) {
        let [before, after] = chain.around(around.step);
        let cut = around.operands;
        let side = |places: &[Place]| Resolved {
            elements: resolved.elements,
            places: places.iter().copied().collect(),
            around: None,
        };
        let sides = [side(&resolved.places[..cut]), side(&resolved.places[cut..])];
        let (own, others) = operands.split_at(cut);
        let rows = |direction, x: Option<&[f32]>, dy: &[f32], out: &mut [f32]| {
            let job = Job {
                function: around.function,
                direction,
                shape: around.shape,
                x,
                dy,
            };
            softmax::run(self.isa, &job, out);
        };
        let mut given = vec![0.0; x.len()];
        self.chain(&before, &sides[0], x, own, None, &mut given, &mut []);
        let mut made = vec![0.0; x.len()];
        rows(Direction::Forward, Some(&given), &[], &mut made);
        let Some(dy) = dy else {
            return self.chain(&after, &sides[1], &made, others, None, out, &mut []);
        };
        let (own_terms, other_terms) = terms.split_at_mut(cut);
        self.chain(&after, &sides[1], &made, others, Some(dy), out, other_terms);
        rows(Direction::Backward, Some(&given), out, &mut made);
        self.chain(&before, &sides[0], x, own, Some(&made), out, own_terms);
    }
}

/// What a thread computes at a time.
struct Part<'a> {
    start: usize,
    out: &'a mut [f32],
    terms: Vec<&'a mut [f32]>,
}

/// A chain's steps with their operands.
struct Steps<'a> {
    isa: Isa,
    steps: &'a [Step],
    places: &'a [Place],
    operands: &'a [&'a [f32]],
}

impl Steps<'_> {
    fn part(&self, part: Part<'_>, x: &[f32], dy: Option<&[f32]>) {
        // What each step is given, for the way back; forward, two take turns.
        let kept = if dy.is_some() {
            self.steps.len() + 1
        } else {
            2
        };
        let mut values = vec![[0.0; BLOCK]; kept];
        let mut operands = vec![[0.0; BLOCK]; self.operands.len()];
        let mut terms = part.terms;
        for (b, out) in part.out.chunks_mut(BLOCK).enumerate() {
            let (offset, n) = (b * BLOCK, out.len());
            let start = part.start + offset;
            for ((block, place), values) in operands.iter_mut().zip(self.places).zip(self.operands)
            {
                fill(place, values, start, &mut block[..n]);
            }
            values[0][..n].copy_from_slice(&x[start..start + n]);
            let mut operand = 0;
            for (k, step) in self.steps.iter().enumerate() {
                let (from, to) = (k % kept, (k + 1) % kept);
                let [v, next] = two(&mut values, from, to);
                let o = operands.get(operand).unwrap_or(&[0.0; BLOCK]);
                self.forward(step, &v[..n], &o[..n], start, &mut next[..n]);
                operand += usize::from(step.operand().is_some());
            }
            let Some(dy) = dy else {
                out.copy_from_slice(&values[self.steps.len() % kept][..n]);
                continue;
            };
            let mut g = [0.0; BLOCK];
            g[..n].copy_from_slice(&dy[start..start + n]);
            for (k, step) in self.steps.iter().enumerate().rev() {
                operand -= usize::from(step.operand().is_some());
                let v = &values[k][..n];
                if step.operand().is_some() {
                    let multiplied = *step == Step::Multiply;
                    for ((d, &g), &v) in terms[operand][offset..].iter_mut().zip(&g[..n]).zip(v) {
                        *d = if multiplied { g * v } else { g };
                    }
                }
                let o = operands.get(operand).unwrap_or(&[0.0; BLOCK]);
                self.backward(step, v, &o[..n], start, &mut g[..n]);
            }
            out.copy_from_slice(&g[..n]);
        }
    }

    /// One step of elements from number `start` on.
    fn forward(&self, step: &Step, v: &[f32], o: &[f32], start: usize, next: &mut [f32]) {
        match step {
            Step::Apply(f) => self.isa.forward(f, v, next),
            Step::Custom(f) => f.block(self.isa, v, next),
            // What is around it is computed part by part.
            Step::Axis(..) => next.copy_from_slice(v),
            Step::Scale(factor) => map(v, next, |v| v * factor),
            Step::Bias(_) | Step::Add => zip(v, o, next, |v, o| v + o),
            Step::Multiply => zip(v, o, next, |v, o| v * o),
            Step::Cast(DType::F32) => next.copy_from_slice(v),
            Step::Cast(DType::F16) => map(v, next, |v| f16::from_f32(v).to_f32()),
            Step::Cast(DType::Bf16) => map(v, next, |v| bf16::from_f32(v).to_f32()),
            Step::Dropout { probability, seed } => {
                next.copy_from_slice(v);
                drop_out(*probability, *seed, start, next);
            }
        }
    }

    /// The gradient by what the step was given, v, in the place of that by what it made.
    fn backward(&self, step: &Step, v: &[f32], o: &[f32], start: usize, g: &mut [f32]) {
        match step {
            Step::Apply(f) => {
                let mut block = [0.0; BLOCK];
                let upstream = &mut block[..g.len()];
                upstream.copy_from_slice(g);
                self.isa.backward(f, v, upstream, g);
            }
            Step::Custom(f) => f.grad_block(v, g),
            Step::Scale(factor) => g.iter_mut().for_each(|g| *g *= factor),
            Step::Bias(_) | Step::Add | Step::Cast(_) | Step::Axis(..) => {}
            Step::Multiply => g.iter_mut().zip(o).for_each(|(g, o)| *g *= o),
            Step::Dropout { probability, seed } => drop_out(*probability, *seed, start, g),
        }
    }
}

fn map(v: &[f32], next: &mut [f32], f: impl Fn(f32) -> f32) {
    for (next, &v) in next.iter_mut().zip(v) {
        *next = f(v);
    }
}

fn zip(v: &[f32], o: &[f32], next: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for ((next, &v), &o) in next.iter_mut().zip(v).zip(o) {
        *next = f(v, o);
    }
}

/// Two different blocks.
fn two(blocks: &mut [Block], from: usize, to: usize) -> [&mut Block; 2] {
    let (low, high) = blocks.split_at_mut(from.max(to));
    if from < to {
        [&mut low[from], &mut high[0]]
    } else {
        [&mut high[0], &mut low[to]]
    }
}

/// The operand's values for the array's elements from number `start` on.
fn fill(place: &Place, values: &[f32], start: usize, out: &mut [f32]) {
    let [_, r1, k2, r2, k3, r3] = place.sums.shifted_to_the_end();
    let mut done = 0;
    while done < out.len() {
        let i = start + done;
        let runs = i / r3;
        let rest = runs / k3 / r2;
        let index = (rest / k2 / r1 * k2 + rest % k2) * k3 + runs % k3;
        let left = out.len() - done;
        if r3 > 1 {
            // A run of one value.
            let run = (r3 - i % r3).min(left);
            out[done..done + run].fill(values[index]);
            done += run;
        } else {
            let run = (k3 - runs % k3).min(left);
            out[done..done + run].copy_from_slice(&values[index..index + run]);
            done += run;
        }
    }
}

/// Drops elements of which the first has the number `start`, a multiple of four.
fn drop_out(probability: f32, seed: u64, start: usize, values: &mut [f32]) {
    let (threshold, factor) = (threshold(probability), rest(probability));
    for (i, values) in values.chunks_mut(4 * DRAWN).enumerate() {
        let first = (start / 4 + i * DRAWN) as u64;
        let counters = |half: usize| std::array::from_fn(|lane| halves(first + lane as u64)[half]);
        let words = philox_lanes(
            [counters(0), counters(1), [0; DRAWN], [0; DRAWN]],
            halves(seed),
        );
        for (j, value) in values.iter_mut().enumerate() {
            let kept = words[j % 4][j / 4] >= threshold;
            *value = if kept { *value * factor } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_filled_run_by_run() {
        let chain = Chain::new().add();
        for own in [
            vec![2, 3, 4, 5],
            vec![1, 3, 1, 5],
            vec![2, 1, 4, 1],
            vec![1, 1, 1, 5],
            vec![2, 1, 1, 1],
            vec![1, 3, 4, 1],
            vec![1, 1, 1, 1],
        ] {
            let resolved = chain.resolve(&[2, 3, 4, 5], &[&own]).unwrap();
            let place = &resolved.places[0];
            let values: Vec<f32> = (0..place.elements()).map(|i| i as f32).collect();
            for start in [0, 1, 7, 20, 119] {
                let mut out = vec![-1.0; 120 - start];
                fill(place, &values, start, &mut out);
                let want = (start..120).map(|i| place.index(i) as f32);
                assert!(out.iter().copied().eq(want), "{own:?} from {start}");
            }
        }
    }

    #[test]
    fn dropout_is_that_of_the_index() {
        for start in [0, 4, 1020, 4096] {
            let mut values = vec![1.0; 131];
            drop_out(0.25, 9, start, &mut values);
            for (i, &value) in values.iter().enumerate() {
                let kept = Chain::kept(0.25, 9, (start + i) as u64);
                assert_eq!(value, if kept { 1.0 / 0.75 } else { 0.0 });
            }
        }
    }
}
