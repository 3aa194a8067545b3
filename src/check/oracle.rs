//! The reference's values for every f32 of a block of neighbours, at a small part of the cost of
//! evaluating the formula for each.
//!
//! A block is 4096 consecutive bit patterns: equally spaced numbers, that span 2^-11 of their
//! binade. On so short an interval a smooth function is its interpolating polynomial to f64's own
//! rounding (the remainder of degree 6 shrinks with the seventh power of the width). So a block is
//! seven values of [`reference`] at Chebyshev nodes, and the polynomial through them. Five more
//! values of the reference, both ends of the block among them, must agree with the polynomial to
//! 1e-13, which is 2e-6 ULP of an f32; a block where one does not, and each that contains a kink
//! or a zero, is evaluated number by number. Whoever reports an error takes the reference's own
//! value for it: the polynomial decides only which results are worth asking for.

use super::Pass;
use crate::catalogue::Elementwise;
use crate::reference;

/// Numbers in a block.
pub(super) const BLOCK: usize = 4096;
/// Values that the polynomial goes through.
const NODES: usize = 7;
/// Where, between -1 and 1, the polynomial is held against the reference.
const CONTROLS: [f64; 5] = [-1.0, 1.0, 0.11, -0.53, 0.79];
/// The largest relative difference there.
const TOLERANCE: f64 = 1e-13;

/// One function and direction, ready to be evaluated block by block.
pub(super) struct Oracle {
    f: Elementwise,
    pass: Pass,
    kinks: Vec<f64>,
    nodes: [f64; NODES],
    /// Coefficients of the polynomials that are 1 at one node and 0 at the others.
    basis: [[f64; NODES]; NODES],
}

/// The reference's values for a block.
pub(super) struct Block {
    /// f or f' of each number.
    pub(super) want: Box<[f64]>,
    /// The largest terms of all numbers of the block are at least this; 0 where there are none.
    pub(super) largest_term: f64,
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            want: vec![0.0; BLOCK].into(),
            largest_term: 0.0,
        }
    }
}

impl Oracle {
    pub(super) fn new(f: Elementwise, pass: Pass) -> Self {
        let nodes: [f64; NODES] = std::array::from_fn(|k| {
            ((2 * k + 1) as f64 * std::f64::consts::PI / (2 * NODES) as f64).cos()
        });
        Self {
            f,
            pass,
            kinks: reference::kinks(&f),
            nodes,
            basis: std::array::from_fn(|k| basis(&nodes, k)),
        }
    }

    pub(super) fn f(&self) -> Elementwise {
        self.f
    }

    pub(super) fn pass(&self) -> Pass {
        self.pass
    }

    /// The reference's value for x.
    pub(super) fn value(&self, x: f64) -> f64 {
        match self.pass {
            Pass::Forward => reference::forward(&self.f, x),
            Pass::Backward => reference::backward(&self.f, x),
        }
    }

    /// What an error at x is measured against where it is larger than the value.
    pub(super) fn largest_term(&self, x: f64) -> f64 {
        match self.pass {
            Pass::Forward => 0.0,
            Pass::Backward => reference::largest_term(&self.f, x),
        }
    }

    /// Fills `block` with the values for the bit patterns from `first` on.
    pub(super) fn fill(&self, first: u32, block: &mut Block) {
        debug_assert!((first as usize).is_multiple_of(BLOCK));
        let at = |i: usize| f32::from_bits(first + i as u32);
        if !at(BLOCK - 1).is_finite() {
            block.want.fill(f64::NAN);
            block.want[0] = self.value(at(0).into());
            block.largest_term = 0.0;
            return;
        }
        let ends = [f64::from(at(0)), f64::from(at(BLOCK - 1))];
        let middle = 0.5 * (ends[0] + ends[1]);
        let half = 0.5 * (ends[1] - ends[0]);
        let values = self.nodes.map(|t| self.value(middle + t * half));
        let controls = CONTROLS.map(|t| self.value(middle + t * half));
        let terms = CONTROLS.map(|t| self.largest_term(middle + t * half));
        let least = terms.iter().copied().fold(f64::INFINITY, f64::min);
        let equal = |values: &[f64]| values.iter().all(|v| v.to_bits() == controls[0].to_bits());
        // Terms are smooth, so none in between is further below.
        let steady = terms.iter().all(|&t| t == least);
        block.largest_term = if steady { least } else { 0.99 * least };

        let low = ends[0].min(ends[1]);
        let high = ends[0].max(ends[1]);
        let plain = low > 0.0 || high < 0.0;
        let kink = self.kinks.iter().any(|k| (low..=high).contains(k));
        if plain && !kink {
            if equal(&values) && equal(&controls) {
                block.want.fill(controls[0]);
                return;
            }
            let polynomial = self.polynomial(&values);
            let agrees = CONTROLS.iter().zip(controls).all(|(&t, value)| {
                let by_polynomial = polynomial.iter().rev().fold(0.0, |sum, c| sum * t + c);
                let size = value.abs().max(block.largest_term);
                (by_polynomial - value).abs() <= TOLERANCE * size + 1e-60
            });
            if agrees {
                evaluate(&polynomial, &mut block.want);
                return;
            }
        }
        if !steady {
            block.largest_term = 0.0;
        }
        for (i, want) in block.want.iter_mut().enumerate() {
            *want = self.value(at(i).into());
        }
    }

    /// The coefficients of the polynomial through `values` at the nodes.
    fn polynomial(&self, values: &[f64; NODES]) -> [f64; NODES] {
        let mut sum = [0.0; NODES];
        for (value, basis) in values.iter().zip(&self.basis) {
            for (s, b) in sum.iter_mut().zip(basis) {
                *s += value * b;
            }
        }
        sum
    }
}

/// The polynomial that is 1 at node `k` and 0 at the others (Lagrange), lowest power first.
fn basis(nodes: &[f64; NODES], k: usize) -> [f64; NODES] {
    let mut product = [0.0; NODES];
    product[0] = 1.0;
    for (i, &node) in nodes.iter().enumerate().filter(|&(i, _)| i != k) {
        // Times (t - node) / (node k - node).
        let scale = 1.0 / (nodes[k] - nodes[i]);
        for power in (0..NODES).rev() {
            let shifted = if power == 0 { 0.0 } else { product[power - 1] };
            product[power] = (shifted - node * product[power]) * scale;
        }
    }
    product
}

/// The polynomial at a block's equally spaced numbers, the first at -1 and the last at 1.
fn evaluate(polynomial: &[f64; NODES], out: &mut [f64]) {
    crate::cpu::Isa::best().run(Horner { polynomial, out });
}

struct Horner<'a> {
    polynomial: &'a [f64; NODES],
    out: &'a mut [f64],
}

impl crate::cpu::Kernel for Horner<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let step = 2.0 / (BLOCK - 1) as f64;
        let c = *self.polynomial;
        for (i, y) in self.out.iter_mut().enumerate() {
            let t = f64::from(i as i32) * step - 1.0;
            let mut sum = c[NODES - 1];
            for k in (0..NODES - 1).rev() {
                sum = if FMA {
                    sum.mul_add(t, c[k])
                } else {
                    sum * t + c[k]
                };
            }
            *y = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Activation;
    use crate::check::parameter_sets;

    /// Blocks of every function, direction, parameter set and size of number, number by number.
    #[test]
    fn blocks_are_the_reference() {
        let mut block = Block::new();
        let mut interpolated = 0;
        for &activation in Activation::ALL {
            let mut sets = parameter_sets(activation).into_iter();
            for pass in [Pass::Forward, Pass::Backward] {
                let oracle = Oracle::new(activation.into(), pass);
                // Some 300 blocks each: all exponents of both signs, at changing places.
                for k in 0..317u32 {
                    let first = (k * 13_612_421) & !(BLOCK as u32 - 1);
                    oracle.fill(first, &mut block);
                    interpolated += hold(&oracle, first, &block);
                }
            }
            for f in sets.by_ref() {
                for pass in [Pass::Forward, Pass::Backward] {
                    let oracle = Oracle::new(f, pass);
                    for k in 0..41u32 {
                        let first = (k * 104_728_943) & !(BLOCK as u32 - 1);
                        oracle.fill(first, &mut block);
                        hold(&oracle, first, &block);
                    }
                    for kink in reference::kinks(&f) {
                        let first = (kink as f32).to_bits() & !(BLOCK as u32 - 1);
                        oracle.fill(first, &mut block);
                        hold(&oracle, first, &block);
                    }
                }
            }
        }
        assert!(interpolated > 5_000, "{interpolated}");
    }

    /// Holds some numbers of a block against the reference; 1 where none is exactly equal, which
    /// tells that there was something to hold.
    fn hold(oracle: &Oracle, first: u32, block: &Block) -> usize {
        let mut same = 0;
        for i in (0..BLOCK).step_by(273).chain([1, BLOCK - 2]) {
            let x = f64::from(f32::from_bits(first + i as u32));
            let want = oracle.value(x);
            let got = block.want[i];
            same += usize::from(got.to_bits() == want.to_bits());
            if want.is_nan() || want.is_infinite() {
                assert!(got == want || got.is_nan() && want.is_nan());
                continue;
            }
            let size = want.abs().max(oracle.largest_term(x));
            let what = (oracle.f, oracle.pass);
            assert!(
                (got - want).abs() <= 4e-13 * size + 1e-60,
                "{what:?} at {x:e}: {got:e}, {want:e}"
            );
            assert!(
                block.largest_term <= oracle.largest_term(x),
                "{what:?} at {x:e}"
            );
        }
        usize::from(same < 8)
    }
}
