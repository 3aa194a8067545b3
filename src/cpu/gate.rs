//! Gated linear units: value · f(gate) in f64, rounded once, for halves of blocks, pairs and
//! separate arrays.

use super::Cpu;
use super::elementwise::SERIAL_BELOW;
use super::isa::{Isa, Kernel};
use super::threads::prelude::*;
use super::wide::Wide;
use crate::catalogue::{Formula, MAX_PARAMETERS, Visitor};
use crate::error::Result;
use crate::gate::{Clamp, Gate, GateShape, Order};
use crate::shape::same_length;
use std::marker::PhantomData;

/// Pairs that a thread takes at a time.
const CHUNK: usize = 16 * 1024;
/// Pairs of narrow blocks that are gathered at a time, on the stack.
const BLOCK: usize = 512;
/// Halves of fewer elements are gathered: loops over them would hardly start.
const NARROW: usize = 64;

/// A gate's numbers, as the loops take them. Where nothing is clamped, the limit is infinite and
/// the offset -0, which changes no number.
#[derive(Clone, Copy)]
struct Numbers {
    parameters: [f32; MAX_PARAMETERS],
    clamped: bool,
    limit: f64,
    offset: f64,
}

/// A run of y = value · f(gate).
struct Forward<'a, F> {
    row: PhantomData<F>,
    numbers: Numbers,
    value: &'a [f32],
    gate: &'a [f32],
    out: &'a mut [f32],
}

/// A run of both gradients.
struct Backward<'a, F> {
    row: PhantomData<F>,
    numbers: Numbers,
    value: &'a [f32],
    gate: &'a [f32],
    dy: &'a [f32],
    by_value: &'a mut [f32],
    by_gate: &'a mut [f32],
}

impl Numbers {
    /// What f(gate) is multiplied by.
    #[inline(always)]
    fn weighed(&self, value: f64) -> f64 {
        let value = if value < -self.limit {
            -self.limit
        } else {
            value
        };
        let value = if value > self.limit {
            self.limit
        } else {
            value
        };
        value + self.offset
    }

    /// What goes into f.
    #[inline(always)]
    fn inside(&self, gate: f64) -> f64 {
        if gate > self.limit { self.limit } else { gate }
    }

    #[inline(always)]
    fn wide<const FMA: bool>(&self) -> [Wide<FMA>; MAX_PARAMETERS] {
        self.parameters.map(|p| Wide(p.into()))
    }
}

/// Of numbers, only 0 times an infinity is NaN; there the zero wins, with the sign of the
/// product.
#[inline(always)]
fn zero_wins(product: f64, signs: u64) -> f64 {
    if product.is_nan() {
        f64::from_bits(signs & (1 << 63))
    } else {
        product
    }
}

impl<F: Formula> Kernel for Forward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let p = self.numbers.wide::<FMA>();
        for ((y, &value), &gate) in self.out.iter_mut().zip(self.value).zip(self.gate) {
            let weight = self.numbers.weighed(value.into());
            let f = F::forward(Wide(self.numbers.inside(gate.into())), p).0;
            let product = zero_wins(weight * f, weight.to_bits() ^ f.to_bits());
            let nan = value.is_nan() | gate.is_nan();
            *y = if nan { value + gate } else { product as f32 };
        }
    }
}

impl<F: Formula> Kernel for Backward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let p = self.numbers.wide::<FMA>();
        let outputs = self.by_value.iter_mut().zip(self.by_gate);
        let inputs = self.value.iter().zip(self.gate).zip(self.dy);
        for ((by_value, by_gate), ((&value, &gate), &dy)) in outputs.zip(inputs) {
            let weight = self.numbers.weighed(value.into());
            let at = Wide::<FMA>(self.numbers.inside(gate.into()));
            let (f, slope) = (F::forward(at, p).0, F::backward(at, p).0);
            let dy64 = f64::from(dy);
            let first = zero_wins(dy64 * f, dy64.to_bits() ^ f.to_bits());
            let signs = dy64.to_bits() ^ weight.to_bits() ^ slope.to_bits();
            let second = zero_wins(dy64 * weight * slope, signs);
            let nan = gate.is_nan() | dy.is_nan();
            let Numbers { clamped, limit, .. } = self.numbers;
            let first = if f64::from(value).abs() > limit {
                0.0
            } else {
                first
            };
            let second = if f64::from(gate) > limit { 0.0 } else { second };
            let value_nan = value.is_nan();
            let nan_first = nan | (clamped & value_nan);
            *by_value = if nan_first { f32::NAN } else { first as f32 };
            *by_gate = if nan | value_nan {
                f32::NAN
            } else {
                second as f32
            };
        }
    }
}

/// Runs of one gate on one set of instructions.
#[derive(Clone, Copy)]
struct Runs {
    isa: Isa,
    gate: Gate,
}

/// The arrays of a run.
enum Run<'a> {
    Forward([&'a [f32]; 2], &'a mut [f32]),
    Backward([&'a [f32]; 3], [&'a mut [f32]; 2]),
}

struct Dispatch<'a>(Runs, Run<'a>);

impl Visitor for Dispatch<'_> {
    type Output = ();
    fn visit<F: Formula>(self) {
        let Self(Runs { isa, gate }, run) = self;
        let Clamp { limit, offset } = gate.clamp().unwrap_or(Clamp {
            limit: f32::INFINITY,
            offset: -0.0,
        });
        let numbers = Numbers {
            parameters: gate.function().packed(),
            clamped: gate.clamp().is_some(),
            limit: limit.into(),
            offset: offset.into(),
        };
        let row = PhantomData::<F>;
        match run {
            Run::Forward([value, gate], out) => isa.run(Forward {
                row,
                numbers,
                value,
                gate,
                out,
            }),
            Run::Backward([value, gate, dy], [by_value, by_gate]) => isa.run(Backward {
                row,
                numbers,
                value,
                gate,
                dy,
                by_value,
                by_gate,
            }),
        }
    }
}

impl Runs {
    fn run(self, run: Run<'_>) {
        self.gate.function().activation().visit(Dispatch(self, run));
    }

    /// Value and gate out of what comes first and second.
    fn ordered<T>(self, first: T, second: T) -> [T; 2] {
        match self.gate.order() {
            Order::ValueFirst => [first, second],
            Order::GateFirst => [second, first],
        }
    }
}

/// y = value · f(gate), of arrays of one length.
fn pair(isa: Isa, gate: &Gate, value: &[f32], gates: &[f32], y: &mut [f32]) {
    let runs = Runs { isa, gate: *gate };
    if y.len() < SERIAL_BELOW {
        return runs.run(Run::Forward([value, gates], y));
    }
    let inputs = value.par_chunks(CHUNK).zip(gates.par_chunks(CHUNK));
    let chunks = y.par_chunks_mut(CHUNK).zip(inputs);
    chunks.for_each(|(y, (value, gates))| runs.run(Run::Forward([value, gates], y)));
}

/// Both gradients, of arrays of one length; `inputs` are value, gate and upstream gradient.
fn grad_pair(isa: Isa, gate: &Gate, inputs: [&[f32]; 3], outputs: [&mut [f32]; 2]) {
    let runs = Runs { isa, gate: *gate };
    let [value, gates, dy] = inputs;
    let [by_value, by_gate] = outputs;
    if dy.len() < SERIAL_BELOW {
        return runs.run(Run::Backward([value, gates, dy], [by_value, by_gate]));
    }
    let inputs = value.par_chunks(CHUNK).zip(gates.par_chunks(CHUNK));
    let inputs = inputs.zip(dy.par_chunks(CHUNK));
    let outputs = by_value
        .par_chunks_mut(CHUNK)
        .zip(by_gate.par_chunks_mut(CHUNK));
    outputs
        .zip(inputs)
        .for_each(|((by_value, by_gate), ((value, gates), dy))| {
            runs.run(Run::Backward([value, gates, dy], [by_value, by_gate]));
        });
}

/// y = value · f(gate), of an array that holds both.
fn split(isa: Isa, gate: &Gate, shape: &GateShape, x: &[f32], y: &mut [f32]) {
    let runs = Runs { isa, gate: *gate };
    let half = shape.half;
    let chunk = |first: usize, y: &mut [f32]| {
        let (mut at, mut rest) = (first, y);
        while !rest.is_empty() {
            let (block, inside) = (at / half, at % half);
            let start = block * 2 * half + inside;
            if half < NARROW {
                let count = rest.len().min(BLOCK);
                let (mut a, mut b) = ([0.0; BLOCK], [0.0; BLOCK]);
                gather(half, inside, &x[start..], &mut a[..count], &mut b[..count]);
                let (out, behind) = rest.split_at_mut(count);
                runs.run(Run::Forward(runs.ordered(&a[..count], &b[..count]), out));
                (at, rest) = (at + count, behind);
            } else {
                let count = rest.len().min(half - inside);
                let (out, behind) = rest.split_at_mut(count);
                let [a, b] = [start, start + half].map(|i| &x[i..i + count]);
                runs.run(Run::Forward(runs.ordered(a, b), out));
                (at, rest) = (at + count, behind);
            }
        }
    };
    if y.len() < SERIAL_BELOW {
        return chunk(0, y);
    }
    let chunks = y.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(i, y)| chunk(i * CHUNK, y));
}

/// Pairs of narrow blocks, from `inside` of the first block's half on, which is x's first element.
fn gather(half: usize, inside: usize, x: &[f32], first: &mut [f32], second: &mut [f32]) {
    if half == 1 {
        for ((a, b), pair) in first.iter_mut().zip(second).zip(x.chunks_exact(2)) {
            (*a, *b) = (pair[0], pair[1]);
        }
        return;
    }
    let (mut at, mut left) = (0, half - inside);
    for (a, b) in first.iter_mut().zip(second) {
        (*a, *b) = (x[at], x[at + half]);
        (at, left) = (at + 1, left - 1);
        if left == 0 {
            (at, left) = (at + half, half);
        }
    }
}

/// Both gradients into one array of the input's layout.
fn grad_split(isa: Isa, gate: &Gate, shape: &GateShape, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let runs = Runs { isa, gate: *gate };
    let half = shape.half;
    if half == 0 {
        return;
    }
    if half >= 2 * CHUNK {
        let blocks = dx.chunks_mut(2 * half).zip(x.chunks(2 * half));
        for ((dx, x), dy) in blocks.zip(dy.chunks(half)) {
            let (first, second) = dx.split_at_mut(half);
            let (a, b) = x.split_at(half);
            let [value, gates] = runs.ordered(a, b);
            grad_pair(isa, gate, [value, gates, dy], runs.ordered(first, second));
        }
        return;
    }
    let blocks = (CHUNK / half).max(1);
    let chunk = |dx: &mut [f32], x: &[f32], dy: &[f32]| {
        if half >= NARROW {
            let blocks = dx.chunks_mut(2 * half).zip(x.chunks(2 * half));
            for ((dx, x), dy) in blocks.zip(dy.chunks(half)) {
                let (a, b) = x.split_at(half);
                let [value, gates] = runs.ordered(a, b);
                let (first, second) = dx.split_at_mut(half);
                let outputs = runs.ordered(first, second);
                runs.run(Run::Backward([value, gates, dy], outputs));
            }
            return;
        }
        let pairs = BLOCK / half * half;
        let chunks = dx.chunks_mut(2 * pairs).zip(x.chunks(2 * pairs));
        for ((dx, x), dy) in chunks.zip(dy.chunks(pairs)) {
            let n = dy.len();
            let (mut a, mut b) = ([0.0; BLOCK], [0.0; BLOCK]);
            gather(half, 0, x, &mut a[..n], &mut b[..n]);
            let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
            let [value, gates] = runs.ordered(&a[..n], &b[..n]);
            let outputs = runs.ordered(&mut first[..n], &mut second[..n]);
            runs.run(Run::Backward([value, gates, dy], outputs));
            if half == 1 {
                let sources = first[..n].iter().zip(&second[..n]);
                for (pair, (first, second)) in dx.chunks_exact_mut(2).zip(sources) {
                    (pair[0], pair[1]) = (*first, *second);
                }
                continue;
            }
            let sources = first[..n].chunks(half).zip(second[..n].chunks(half));
            for (dx, (first, second)) in dx.chunks_mut(2 * half).zip(sources) {
                dx[..half].copy_from_slice(first);
                dx[half..].copy_from_slice(second);
            }
        }
    };
    if dy.len() < SERIAL_BELOW {
        return chunk(dx, x, dy);
    }
    let inputs = x
        .par_chunks(2 * half * blocks)
        .zip(dy.par_chunks(half * blocks));
    let chunks = dx.par_chunks_mut(2 * half * blocks).zip(inputs);
    chunks.for_each(|(dx, (x, dy))| chunk(dx, x, dy));
}

impl Cpu {
    /// y = value · f(gate) of the two that `x` holds along `axis`.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::OddAxis`], [`Error::LengthMismatch`].
    ///
    /// [`Error::AxisOutOfRange`]: crate::Error::AxisOutOfRange
    /// [`Error::OddAxis`]: crate::Error::OddAxis
    /// [`Error::LengthMismatch`]: crate::Error::LengthMismatch
    pub(crate) fn gate_into(
        &self,
        function: &Gate,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
    ) -> Result<()> {
        let shape = GateShape::new(function, shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.pairs(), y.len())?;
        split(self.isa, function, &shape, x, y);
        Ok(())
    }

    /// dx = the gradients by value and gate, in the layout of `x`.
    ///
    /// # Errors
    /// As [`Cpu::gate_into`].
    pub(crate) fn grad_gate_into(
        &self,
        function: &Gate,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let shape = GateShape::new(function, shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", shape.pairs(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        grad_split(self.isa, function, &shape, x, dy, dx);
        Ok(())
    }

    /// y = value · f(gate), of arrays of one length.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn gate_pair_into(
        &self,
        function: &Gate,
        value: &[f32],
        gate: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        same_length("the gate", value.len(), gate.len())?;
        same_length("the output", value.len(), y.len())?;
        pair(self.isa, function, value, gate, y);
        Ok(())
    }

    /// The gradients by value and gate, of arrays of one length.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn grad_gate_pair_into(
        &self,
        function: &Gate,
        value: &[f32],
        gate: &[f32],
        dy: &[f32],
        dvalue: &mut [f32],
        dgate: &mut [f32],
    ) -> Result<()> {
        same_length("the gate", value.len(), gate.len())?;
        same_length("the upstream gradient", value.len(), dy.len())?;
        same_length("the gradient by the value", value.len(), dvalue.len())?;
        same_length("the gradient by the gate", value.len(), dgate.len())?;
        grad_pair(self.isa, function, [value, gate, dy], [dvalue, dgate]);
        Ok(())
    }
}
