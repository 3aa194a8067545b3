//! Hardmax, sparsemax and entmax of rows, and their gradients.
//!
//! With m the row's maximum, q = alpha - 1 and c = m - x, the results are w (1 - q c / w^q)^(1/q),
//! and w, the largest of them, is the root of an increasing function: the row's sum less 1. Only
//! elements with q c < 1 can have a result, so that a row is read twice in SIMD code, for its
//! maximum and for these candidates, and the root is looked for among the candidates alone. Where
//! q > 1 results rise steeply from the threshold, and the root is the smallest of them instead.

use super::Cpu;
use super::isa::{Isa, Kernel};
use super::lines::each_row;
use super::phases::{Direction, Job};
use super::softmax;
use super::wide::Wide;
use crate::axis::AxisFunction;
use crate::catalogue::Real;
use crate::error::Result;
use crate::shape::{AxisShape, same_length};
use crate::sparse::{Rule, SparseFunction};

impl Cpu {
    /// y = `function` of each row of x along `axis`.
    ///
    /// # Errors
    /// [`Error::OptionOutOfRange`](crate::Error::OptionOutOfRange),
    /// [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange),
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn apply_sparse_into(
        &self,
        function: SparseFunction,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
    ) -> Result<()> {
        let (rule, shape) = (function.rule()?, AxisShape::new(shape, axis)?);
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.elements(), y.len())?;
        let isa = self.isa;
        match rule {
            Rule::Softmax => self.softmax(&shape, Direction::Forward, x, &[], y),
            _ => each_row(&shape, [x], y, |scratch: &mut Scratch, [x], y| {
                forward(isa, rule, scratch, x, y);
            }),
        }
        Ok(())
    }

    /// dx = the gradient of `function` by its input x along `axis`.
    ///
    /// # Errors
    /// As [`Cpu::apply_sparse_into`].
    pub(crate) fn grad_sparse_into(
        &self,
        function: SparseFunction,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let (rule, shape) = (function.rule()?, AxisShape::new(shape, axis)?);
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let isa = self.isa;
        match rule {
            Rule::Softmax => self.softmax(&shape, Direction::Backward, x, dy, dx),
            _ => each_row(&shape, [x, dy], dx, |scratch: &mut Scratch, [x, dy], dx| {
                let mut y = std::mem::take(&mut scratch.row);
                y.resize(x.len(), 0.0);
                forward(isa, rule, scratch, x, &mut y);
                isa.run(Gradient {
                    rule,
                    y: &y,
                    dy,
                    dx,
                });
                scratch.row = y;
            }),
        }
        Ok(())
    }

    /// dx = the gradient of `function` by its input, from its output y along `axis`.
    ///
    /// # Errors
    /// As [`Cpu::apply_sparse_into`].
    pub(crate) fn grad_sparse_from_output_into(
        &self,
        function: SparseFunction,
        y: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let (rule, shape) = (function.rule()?, AxisShape::new(shape, axis)?);
        same_length("the output", shape.elements(), y.len())?;
        same_length("the upstream gradient", y.len(), dy.len())?;
        same_length("the gradient", y.len(), dx.len())?;
        let isa = self.isa;
        match rule {
            Rule::Softmax => self.softmax(&shape, Direction::FromOutput, y, dy, dx),
            _ => each_row(&shape, [y, dy], dx, |_: &mut (), [y, dy], dx| {
                isa.run(Gradient { rule, y, dy, dx });
            }),
        }
        Ok(())
    }

    fn softmax(
        &self,
        shape: &AxisShape,
        direction: Direction,
        x: &[f32],
        dy: &[f32],
        out: &mut [f32],
    ) {
        let job = Job {
            function: AxisFunction::Softmax,
            direction,
            shape: *shape,
            x: Some(x),
            dy,
        };
        softmax::run(self.isa, &job, out);
    }
}

/// What a thread works in.
#[derive(Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    row: Vec<f32>,
}

/// An element that may have a result.
struct Candidate {
    index: usize,
    /// How far it lies below the maximum.
    below: f64,
}

/// One row's results.
fn forward(isa: Isa, rule: Rule, scratch: &mut Scratch, x: &[f32], y: &mut [f32]) {
    let max = isa.run(Maximum(x));
    if max.is_nan() || (max.is_infinite() && rule != Rule::Hardmax) {
        y.fill(f32::NAN);
        return;
    }
    y.fill(0.0);
    // 1/q: from here on nothing has a result.
    let reach = match rule {
        Rule::Hardmax => {
            if let Some(first) = x.iter().position(|&x| x == max) {
                y[first] = 1.0;
            }
            return;
        }
        // Softmax is not computed here.
        Rule::Sparsemax | Rule::Softmax => 1.0,
        Rule::Entmax15 => 2.0,
        Rule::Entmax(alpha) => 1.0 / (f64::from(alpha) - 1.0),
    };
    let candidates = &mut scratch.candidates;
    isa.run(Filter {
        x,
        max,
        reach,
        candidates,
    });
    match rule {
        Rule::Entmax15 => isa.run(Entmax15 { candidates, y }),
        Rule::Entmax(alpha) if alpha > 2.0 => isa.run(Steep {
            exponent: reach,
            x,
            candidates,
            y,
        }),
        Rule::Entmax(_) => isa.run(Entmax {
            exponent: reach,
            candidates,
            y,
        }),
        _ => isa.run(Sparsemax { candidates, y }),
    }
}

/// Elements of SIMD code.
const LANES: usize = 16;

/// A row's maximum; NaN where an element is.
struct Maximum<'a>(&'a [f32]);

impl Kernel for Maximum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let mut most = [f32::NEG_INFINITY; LANES];
        let mut nan = [false; LANES];
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let x = chunk[lane];
                most[lane] = if x > most[lane] { x } else { most[lane] };
                nan[lane] |= x.is_nan();
            }
        }
        let max = most.into_iter().chain(rest.iter().copied());
        let max = max.fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        if nan.contains(&true) || rest.iter().any(|x| x.is_nan()) {
            f32::NAN
        } else {
            max
        }
    }
}

/// The elements less than `reach` below the maximum.
struct Filter<'a> {
    x: &'a [f32],
    max: f32,
    reach: f64,
    candidates: &'a mut Vec<Candidate>,
}

impl Kernel for Filter<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            x,
            max,
            reach,
            candidates,
        } = self;
        candidates.clear();
        let max = f64::from(max);
        // At most the true bound, so that no candidate is missed.
        let bound = ((max - reach) as f32).next_down();
        let mut look = |first: usize, part: &[f32]| {
            for (i, &x) in part.iter().enumerate() {
                let below = max - f64::from(x);
                if below < reach {
                    candidates.push(Candidate {
                        index: first + i,
                        below,
                    });
                }
            }
        };
        let (chunks, rest) = x.as_chunks::<LANES>();
        for (i, chunk) in chunks.iter().enumerate() {
            let mut any = false;
            for &x in chunk {
                any |= x > bound;
            }
            if any {
                look(i * LANES, chunk);
            }
        }
        look(x.len() - rest.len(), rest);
    }
}

/// Newton's method from above: every step is that of the candidates above the threshold before, so
/// that the support only shrinks, and the threshold is exact when it no longer does (Michelot
/// 1986).
struct Sparsemax<'a> {
    candidates: &'a mut Vec<Candidate>,
    y: &'a mut [f32],
}

impl Kernel for Sparsemax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { candidates, y } = self;
        loop {
            let sum: f64 = candidates.iter().map(|candidate| candidate.below).sum();
            let largest = (1.0 + sum) / candidates.len() as f64;
            let before = candidates.len();
            candidates.retain(|candidate| candidate.below < largest);
            // The maximum stays, whose distance is 0.
            if candidates.len() == before {
                for candidate in candidates.iter() {
                    y[candidate.index] = (largest - candidate.below) as f32;
                }
                return;
            }
        }
    }
}

/// Newton steps for one root, at most; each but the last shrinks the function times its slope by
/// four at least.
const STEPS: usize = 200;
/// A step so short, against the root, that the next would be none.
const SHORT: f64 = 1e-10;

/// Results (v - c/2)^2: Newton's method for w = v^2.
struct Entmax15<'a> {
    candidates: &'a mut Vec<Candidate>,
    y: &'a mut [f32],
}

impl Kernel for Entmax15<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { candidates, y } = self;
        let mut v = 1.0f64;
        for _ in 0..STEPS {
            let (mut squares, mut sum) = (0.0, 0.0);
            for candidate in candidates.iter() {
                let u = v - 0.5 * candidate.below;
                squares += u * u;
                sum += u;
            }
            let step = (squares - 1.0) * v / sum;
            // Above the root the step is shorter than w; what rounding adds is none.
            let next = (v * v - step).max(0.0).sqrt().min(v);
            let short = v - next <= SHORT * v;
            v = next;
            candidates.retain(|candidate| 0.5 * candidate.below < v);
            if short {
                break;
            }
        }
        for candidate in candidates.iter() {
            let u = v - 0.5 * candidate.below;
            y[candidate.index] = (u * u) as f32;
        }
    }
}

/// Results w t with t = (1 - c K)^p, K = q w^-q, p = 1/q, for q < 1. Newton's method for w from
/// above, whose slope is the sum of t^(1 - q).
struct Entmax<'a> {
    exponent: f64,
    candidates: &'a mut Vec<Candidate>,
    y: &'a mut [f32],
}

impl Kernel for Entmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            exponent,
            candidates,
            y,
        } = self;
        let q = 1.0 / exponent;
        let mut w = 1.0f64;
        for _ in 0..STEPS {
            let scale = q * w.powf(-q);
            let (sum, slope) = summed::<FMA, _>(candidates, Below { scale, exponent });
            let step = (w * sum - 1.0) / slope;
            let short = step.abs() <= SHORT * w;
            w = (w - step).min(w);
            let scale = q * w.powf(-q);
            candidates.retain(|candidate| candidate.below * scale < 1.0);
            if short {
                break;
            }
        }
        let scale = q * w.powf(-q);
        let results = Below { scale, exponent };
        for candidate in candidates.iter() {
            let (t, _) = results.of::<FMA>(candidate);
            y[candidate.index] = (w * t) as f32;
        }
    }
}

/// Results (q d + t^q)^p for q > 1, p = 1/q, of elements that lie d above the least one with a
/// result, which is t.
///
/// An element has a result where those above it would sum to less than 1 if its own were 0. So
/// elements with results are found by halving the sorted row. The sum is convex in t, as a norm of
/// ((q d)^p, t) is, and no element's result is less than t, so that Newton's method from 1 / their
/// number comes from above. All distances are single differences of inputs: where results rise with
/// an infinite slope from the threshold, one that is rounded twice is seen.
struct Steep<'a> {
    exponent: f64,
    x: &'a [f32],
    candidates: &'a mut Vec<Candidate>,
    y: &'a mut [f32],
}

impl Kernel for Steep<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self {
            exponent,
            x,
            candidates,
            y,
        } = self;
        let q = 1.0 / exponent;
        for candidate in candidates.iter_mut() {
            // Below 0: what lies between two candidates is one difference.
            candidate.below = -f64::from(x[candidate.index]);
        }
        candidates.sort_unstable_by(|a, b| a.below.total_cmp(&b.below));
        let (mut inside, mut outside) = (1, candidates.len());
        while inside < outside {
            let middle = inside.midpoint(outside);
            let above = Above {
                least: candidates[middle].below,
                q,
                power: 0.0,
                exponent,
            };
            if summed::<FMA, _>(&candidates[..middle], above).0 < 1.0 {
                inside = middle + 1;
            } else {
                outside = middle;
            }
        }
        let least = candidates[inside - 1].below;
        let ties = candidates[..inside].partition_point(|candidate| candidate.below < least);
        let (above, equal) = candidates[..inside].split_at(ties);
        let count = equal.len() as f64;
        let mut t = 1.0 / inside as f64;
        let results = |t: f64| Above {
            least,
            q,
            power: (q * t.ln()).exp(),
            exponent,
        };
        for _ in 0..STEPS {
            let (sum, slope) = summed::<FMA, _>(above, results(t));
            let step = (sum + count * t - 1.0) / (slope / t + count);
            let short = step.abs() <= SHORT * t + f64::EPSILON;
            // Rounding alone can step below 0.
            t = (t - step).max(0.0);
            if short || t == 0.0 {
                break;
            }
        }
        let results = results(t);
        for candidate in above {
            y[candidate.index] = results.of::<FMA>(candidate).0 as f32;
        }
        for candidate in equal {
            y[candidate.index] = t as f32;
        }
    }
}

/// A candidate's result, up to a factor that all have, and its slope by the root. A trait, because a
/// closure's body would be compiled for the baseline.
trait Term: Copy {
    fn of<const FMA: bool>(self, candidate: &Candidate) -> (f64, f64);
}

/// The sums of results and of slopes.
#[inline(always)]
fn summed<const FMA: bool, T: Term>(candidates: &[Candidate], term: T) -> (f64, f64) {
    let (mut sums, mut slopes) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = candidates.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, candidate) in chunk.iter().enumerate() {
            let (result, slope) = term.of::<FMA>(candidate);
            sums[lane] += result;
            slopes[lane] += slope;
        }
    }
    for (lane, candidate) in rest.iter().enumerate() {
        let (result, slope) = term.of::<FMA>(candidate);
        sums[lane] += result;
        slopes[lane] += slope;
    }
    (sums.iter().sum(), slopes.iter().sum())
}

/// t = u^exponent with u = 1 - below·scale, or 0 where that is negative; and t / u.
#[derive(Clone, Copy)]
struct Below {
    scale: f64,
    exponent: f64,
}

impl Term for Below {
    #[inline(always)]
    fn of<const FMA: bool>(self, candidate: &Candidate) -> (f64, f64) {
        // 0 times an infinite scale is the maximum itself.
        let below = candidate.below;
        let e = if below == 0.0 {
            0.0
        } else {
            below * self.scale
        };
        let u = if e < 1.0 { 1.0 - e } else { 0.0 };
        let log = -Wide::<FMA>(e / u).ln_1p_any().0;
        let t = Wide::<FMA>(log * self.exponent).exp_below_zero().0;
        let t = if e < 1.0 { t } else { 0.0 };
        (t, if u > 0.0 { t / u } else { 0.0 })
    }
}

/// u^exponent with u = q d + power, of an element that lies d above the least one; and the power's
/// share of u times that.
#[derive(Clone, Copy)]
struct Above {
    least: f64,
    q: f64,
    power: f64,
    exponent: f64,
}

impl Term for Above {
    #[inline(always)]
    fn of<const FMA: bool>(self, candidate: &Candidate) -> (f64, f64) {
        let u = self.q * (self.least - candidate.below) + self.power;
        let log = -Wide::<FMA>((1.0 - u) / u).ln_1p_any().0;
        let result = Wide::<FMA>(log * self.exponent).exp().0;
        if u > 0.0 {
            (result, result * (self.power / u))
        } else {
            (0.0, 0.0)
        }
    }
}

/// dx = s (dy - sum(s dy) / sum(s)), s = y^(2 - alpha) where y > 0, else 0.
struct Gradient<'a> {
    rule: Rule,
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { rule, y, dy, dx } = self;
        match rule {
            Rule::Hardmax => gradient::<FMA, _>(Nothing, y, dy, dx),
            Rule::Entmax15 => gradient::<FMA, _>(Root, y, dy, dx),
            Rule::Entmax(alpha) => {
                gradient::<FMA, _>(Power(2.0 - f64::from(alpha)), y, dy, dx);
            }
            // Softmax is not computed here.
            Rule::Sparsemax | Rule::Softmax => gradient::<FMA, _>(One, y, dy, dx),
        }
    }
}

/// The weight s of a y > 0. A trait, because a closure's body would be compiled for the baseline.
trait Weight: Copy {
    fn of<const FMA: bool>(self, y: f64) -> f64;
}

#[derive(Clone, Copy)]
struct Nothing;

impl Weight for Nothing {
    #[inline(always)]
    fn of<const FMA: bool>(self, _: f64) -> f64 {
        0.0
    }
}

#[derive(Clone, Copy)]
struct One;

impl Weight for One {
    #[inline(always)]
    fn of<const FMA: bool>(self, _: f64) -> f64 {
        1.0
    }
}

#[derive(Clone, Copy)]
struct Root;

impl Weight for Root {
    #[inline(always)]
    fn of<const FMA: bool>(self, y: f64) -> f64 {
        y.sqrt()
    }
}

#[derive(Clone, Copy)]
struct Power(f64);

impl Weight for Power {
    #[inline(always)]
    fn of<const FMA: bool>(self, y: f64) -> f64 {
        // y <= 1; a log by way of 1/y - 1, which is positive.
        let log = -Wide::<FMA>((1.0 - y) / y).ln_1p_any().0;
        // Far beyond f32, and sums of it stay finite.
        let bounded = (log * self.0).min(600.0);
        Wide::<FMA>(bounded).exp().0
    }
}

#[inline(always)]
fn weight<const FMA: bool, W: Weight>(weight: W, y: f32) -> f64 {
    let s = weight.of::<FMA>(if y > 0.0 { f64::from(y) } else { 1.0 });
    if y > 0.0 { s } else { 0.0 }
}

/// s g, where an s of 0 wins over an infinity.
#[inline(always)]
fn times(s: f64, g: f64) -> f64 {
    if s == 0.0 { 0.0 } else { s * g }
}

#[inline(always)]
fn gradient<const FMA: bool, W: Weight>(kind: W, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (mut total, mut dot) = ([0.0; LANES], [0.0; LANES]);
    let mut nan = [false; LANES];
    let (ys, y_rest) = y.as_chunks::<LANES>();
    let (dys, dy_rest) = dy.as_chunks::<LANES>();
    for (y, dy) in ys.iter().zip(dys) {
        for lane in 0..LANES {
            let (y, g) = (y[lane], dy[lane]);
            let s = weight::<FMA, W>(kind, y);
            total[lane] += s;
            dot[lane] += times(s, g.into());
            nan[lane] |= y.is_nan() | g.is_nan();
        }
    }
    for (lane, (&y, &g)) in y_rest.iter().zip(dy_rest).enumerate() {
        let s = weight::<FMA, W>(kind, y);
        total[lane] += s;
        dot[lane] += times(s, g.into());
        nan[lane] |= y.is_nan() | g.is_nan();
    }
    if nan.contains(&true) {
        dx.fill(f32::NAN);
        return;
    }
    let mean = dot.iter().sum::<f64>() / total.iter().sum::<f64>();
    for ((dx, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
        *dx = times(weight::<FMA, W>(kind, y), f64::from(g) - mean) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{sparse as reference, ulp_error};

    /// Numbers of a spread, from a linear congruence.
    fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(|_| next() * scale).collect()
    }

    /// f64's own rounding, and that of the polynomials, is all that the threshold has.
    const ROUNDING: f64 = 1.0 / 4_294_967_296.0;

    /// Softmax is rounded twice, everything else once.
    fn bound(function: SparseFunction) -> f64 {
        match function {
            SparseFunction::Entmax { alpha: 1.0 } => 2.0,
            _ => 0.6,
        }
    }

    fn functions() -> Vec<SparseFunction> {
        let alphas = [1.0, 1.0001, 1.25, 1.5, 1.999, 2.001, 2.5, 4.0, 12.0, 1e6];
        let entmax = alphas.map(|alpha| SparseFunction::Entmax { alpha });
        let mut functions = vec![SparseFunction::Hardmax, SparseFunction::Sparsemax];
        functions.extend(entmax);
        functions
    }

    /// Every function, forward and backward, over rows of all lengths and magnitudes; f64 is
    /// rounded once.
    #[test]
    fn rows_are_the_references() {
        for (k, shape) in [[1, 1], [7, 3], [5, 17], [2, 64], [1, 203]]
            .into_iter()
            .enumerate()
        {
            for scale in [1e-5, 0.5, 6.0, 1e30] {
                let x = numbers(shape[0] * shape[1], k as u64, scale);
                for function in functions() {
                    rows_are_within(function, &x, &shape);
                }
            }
        }
    }

    fn rows_are_within(function: SparseFunction, x: &[f32], shape: &[usize; 2]) {
        let dy = numbers(x.len(), 99, 3.0);
        let around = AxisShape::new(shape, -1).unwrap();
        let wants = reference::forward_within(function, x, &around, ROUNDING);
        for isa in Isa::available() {
            let cpu = Cpu { isa };
            let mut y = vec![7.0; x.len()];
            cpu.apply_sparse_into(function, x, shape, -1, &mut y)
                .unwrap();
            for (i, (&got, want)) in y.iter().zip(&wants).enumerate() {
                assert!(
                    want.ulp(got) < bound(function),
                    "{function} {shape:?} {i}: {got:e} {want:?}"
                );
            }
            let outputs: Vec<f64> = y.iter().map(|&y| y.into()).collect();
            let (want, largest) = reference::from_output(function, &outputs, &dy, &around);
            let mut dx = vec![7.0; x.len()];
            cpu.grad_sparse_from_output_into(function, &y, &dy, shape, -1, &mut dx)
                .unwrap();
            if matches!(function, SparseFunction::Entmax { alpha } if alpha > 100.0) {
                // The terms are beyond f64.
                assert!(dx.iter().all(|dx| !dx.is_nan()), "{function}' {shape:?}");
                continue;
            }
            for i in 0..x.len() {
                let error = ulp_error(dx[i], want[i], largest[i]);
                assert!(
                    error < bound(function),
                    "{function}' {shape:?} {i}: {error}"
                );
            }
            let mut from_input = vec![7.0; x.len()];
            cpu.grad_sparse_into(function, x, &dy, shape, -1, &mut from_input)
                .unwrap();
            if !matches!(function, SparseFunction::Entmax { alpha: 1.0 }) {
                assert_eq!(dx, from_input, "{function}");
            }
        }
    }

    /// A row whose support shrinks by one element in every step, and other slow ones.
    #[test]
    fn slow_rows_converge() {
        let geometric: Vec<f32> = (0..60).map(|i| -(1.0 - 0.75f32.powi(i))).collect();
        let close: Vec<f32> = (0..1000).map(|i| 1.0 - (i as f32).powi(3) * 1e-9).collect();
        let equal = vec![-3.25; 777];
        for x in [geometric, close, equal] {
            let around = AxisShape::new(&[x.len()], -1).unwrap();
            for function in functions() {
                let want = reference::forward_within(function, &x, &around, ROUNDING);
                let mut y = vec![7.0; x.len()];
                let cpu = Cpu::new();
                cpu.apply_sparse_into(function, &x, &[x.len()], -1, &mut y)
                    .unwrap();
                for (&got, want) in y.iter().zip(&want) {
                    assert!(
                        want.ulp(got) < bound(function),
                        "{function}: {got:e} {want:?}"
                    );
                }
            }
        }
    }
}
