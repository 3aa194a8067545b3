//! The element-wise functions: blocks of SIMD code over chunks of the array over threads.

use super::convert::{narrow_block, widen_block};
use super::isa::{Isa, Kernel};
use super::narrow;
use super::snake;
use super::threads::prelude::*;
use super::wide::{Wide, times_slope};
use crate::catalogue::{Activation, Elementwise, Formula, MAX_PARAMETERS, Visitor};
use crate::element::{DType, Element};
use std::marker::PhantomData;

/// Arrays of fewer elements stay on the calling thread: waking another one takes as long as
/// they do.
pub(super) const SERIAL_BELOW: usize = 32 * 1024;
/// Elements that a thread takes at a time: some microseconds of work, and in and out together
/// well within a core's L2 cache.
const CHUNK: usize = 16 * 1024;
/// Elements that the in-place calls copy aside at a time, on the stack and in the L1 cache.
const BLOCK: usize = 1024;

/// One chunk of y = f(x) or dx = dy·f'(x).
struct Chunk<'a> {
    isa: Isa,
    parameters: [f32; MAX_PARAMETERS],
    x: &'a [f32],
    /// The upstream gradient, for the backward direction.
    dy: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Visitor for Chunk<'_> {
    type Output = ();
    fn visit<F: Formula>(self) {
        let parameters = self.parameters;
        let (x, out) = (self.x, self.out);
        let row = PhantomData::<F>;
        match self.dy {
            None => self.isa.run(Forward {
                row,
                parameters,
                x,
                out,
            }),
            Some(dy) => self.isa.run(Backward {
                row,
                parameters,
                x,
                dy,
                out,
            }),
        }
    }
}

struct Forward<'a, F> {
    row: PhantomData<F>,
    parameters: [f32; MAX_PARAMETERS],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Formula> Kernel for Forward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [p0, p1] = self.parameters;
        let parameters = [Wide::<FMA>(p0.into()), Wide(p1.into())];
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            let value = F::forward(Wide::<FMA>(x.into()), parameters).0 as f32;
            *y = if x.is_nan() { x } else { value };
        }
    }
}

struct Backward<'a, F> {
    row: PhantomData<F>,
    parameters: [f32; MAX_PARAMETERS],
    x: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Formula> Kernel for Backward<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [p0, p1] = self.parameters;
        let parameters = [Wide::<FMA>(p0.into()), Wide(p1.into())];
        for ((dx, &x), &dy) in self.out.iter_mut().zip(self.x).zip(self.dy) {
            *dx = times_slope(x, dy, F::backward(Wide::<FMA>(x.into()), parameters).0);
        }
    }
}

/// Whether a softplus is the one of the f32 formula: from 18 on that is x, so that a threshold
/// there, such as PyTorch's 20, changes nothing.
fn narrow_softplus(f: &Elementwise) -> bool {
    let [beta, threshold] = f.packed();
    beta == 1.0 && threshold >= 18.0
}

impl Isa {
    pub(super) fn forward(self, f: &Elementwise, x: &[f32], out: &mut [f32]) {
        match f.activation() {
            // The identity is the copy that everything else is measured against.
            Activation::Identity => out.copy_from_slice(x),
            Activation::Sigmoid => self.narrow::<narrow::Sigmoid>(f, x, out),
            Activation::Tanh => self.narrow::<narrow::Tanh>(f, x, out),
            Activation::Exp => self.narrow::<narrow::Exp>(f, x, out),
            Activation::Silu => self.narrow::<narrow::Silu>(f, x, out),
            Activation::Gelu => self.narrow::<narrow::Gelu>(f, x, out),
            Activation::GeluTanh => self.narrow::<narrow::GeluTanh>(f, x, out),
            Activation::Erf => self.narrow::<narrow::Erf>(f, x, out),
            Activation::Softplus if narrow_softplus(f) => {
                self.narrow::<narrow::Softplus>(f, x, out);
            }
            Activation::LogSigmoid => self.narrow::<narrow::LogSigmoid>(f, x, out),
            Activation::LogCosh => self.narrow::<narrow::LogCosh>(f, x, out),
            Activation::Snake => self.run(snake::Forward {
                parameters: f.packed(),
                x,
                out,
            }),
            _ => self.chunk(f, x, None, out),
        }
    }

    pub(super) fn backward(self, f: &Elementwise, x: &[f32], dy: &[f32], out: &mut [f32]) {
        match f.activation() {
            Activation::Sigmoid => self.narrow_slope::<narrow::SigmoidSlope>(f, x, dy, out),
            Activation::Silu => self.narrow_slope::<narrow::SiluSlope>(f, x, dy, out),
            Activation::Gelu => self.narrow_slope::<narrow::GeluSlope>(f, x, dy, out),
            Activation::Snake => self.run(snake::Backward {
                parameters: f.packed(),
                x,
                dy,
                out,
            }),
            _ => self.chunk(f, x, Some(dy), out),
        }
    }

    /// The gradient of `f` by the f32 formula `F` of its derivative, as [`Isa::narrow`].
    fn narrow_slope<F: narrow::Narrow>(
        self,
        f: &Elementwise,
        x: &[f32],
        dy: &[f32],
        out: &mut [f32],
    ) {
        if F::FUSES && !self.fuses() {
            return self.chunk(f, x, Some(dy), out);
        }
        self.run(narrow::Backward {
            slope: PhantomData::<F>,
            x,
            dy,
            out,
        });
    }

    /// `f` by its f32 formula `F`, where these instructions keep that within its bounds.
    fn narrow<F: narrow::Narrow>(self, f: &Elementwise, x: &[f32], out: &mut [f32]) {
        if F::FUSES && !self.fuses() {
            return self.chunk(f, x, None, out);
        }
        self.run(narrow::Forward {
            function: PhantomData::<F>,
            x,
            out,
        });
    }

    fn chunk(self, f: &Elementwise, x: &[f32], dy: Option<&[f32]>, out: &mut [f32]) {
        f.activation().visit(Chunk {
            isa: self,
            parameters: f.packed(),
            x,
            dy,
            out,
        });
    }
}

/// A block of an array as f32, in `aside` where it is not f32 itself.
fn block<'a, T: Element>(isa: Isa, x: &'a [T], aside: &'a mut [f32; BLOCK]) -> &'a [f32] {
    if T::DTYPE == DType::F32 {
        return bytemuck::cast_slice(x);
    }
    let aside = &mut aside[..x.len()];
    widen_block(isa, x, aside);
    aside
}

/// Computes a block of results as f32, in `aside` where they are not f32 themselves.
fn result<T: Element>(
    isa: Isa,
    out: &mut [T],
    aside: &mut [f32; BLOCK],
    compute: impl FnOnce(&mut [f32]),
) {
    if T::DTYPE == DType::F32 {
        return compute(bytemuck::cast_slice_mut(out));
    }
    let aside = &mut aside[..out.len()];
    compute(aside);
    narrow_block(isa, aside, out);
}

/// y = f(x).
pub(super) fn apply<T: Element, U: Element>(isa: Isa, f: &Elementwise, x: &[T], y: &mut [U]) {
    let chunk = |(y, x): (&mut [U], &[T])| {
        if T::DTYPE == DType::F32 && U::DTYPE == DType::F32 {
            return isa.forward(f, bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
        }
        let (mut wide, mut out) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (y, x) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK)) {
            let x = block(isa, x, &mut wide);
            result(isa, y, &mut out, |y| isa.forward(f, x, y));
        }
    };
    if x.len() < SERIAL_BELOW {
        return chunk((y, x));
    }
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(chunk);
}

/// x = f(x).
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn apply_in_place<T: Element>(isa: Isa, f: &Elementwise, x: &mut [T]) {
    if f.activation() == Activation::Identity {
        return;
    }
    let chunk = |x: &mut [T]| {
        let (mut aside, mut out) = ([0.0; BLOCK], [0.0; BLOCK]);
        for block in x.chunks_mut(BLOCK) {
            let aside = &mut aside[..block.len()];
            widen_block(isa, block, aside);
            result(isa, block, &mut out, |y| isa.forward(f, aside, y));
        }
    };
    if x.len() < SERIAL_BELOW {
        return chunk(x);
    }
    x.par_chunks_mut(CHUNK).for_each(chunk);
}

/// dx = dy·f'(x).
pub(super) fn grad<T: Element, U: Element, V: Element>(
    isa: Isa,
    f: &Elementwise,
    x: &[T],
    dy: &[U],
    dx: &mut [V],
) {
    let chunk = |((dx, x), dy): ((&mut [V], &[T]), &[U])| {
        if [T::DTYPE, U::DTYPE, V::DTYPE] == [DType::F32; 3] {
            let (x, dy) = (bytemuck::cast_slice(x), bytemuck::cast_slice(dy));
            return isa.backward(f, x, dy, bytemuck::cast_slice_mut(dx));
        }
        let (mut wide, mut upstream, mut out) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let inputs = x.chunks(BLOCK).zip(dy.chunks(BLOCK));
        for (dx, (x, dy)) in dx.chunks_mut(BLOCK).zip(inputs) {
            let x = block(isa, x, &mut wide);
            let dy = block(isa, dy, &mut upstream);
            result(isa, dx, &mut out, |dx| isa.backward(f, x, dy, dx));
        }
    };
    if x.len() < SERIAL_BELOW {
        return chunk(((dx, x), dy));
    }
    dx.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .zip(dy.par_chunks(CHUNK))
        .for_each(chunk);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{self, ulp_error};

    /// Bit patterns from everywhere: all exponents of either sign, the ends of the range,
    /// subnormals, NaN payloads, and the neighbourhood of every kink and every round number.
    fn inputs(f: &Elementwise) -> Vec<f32> {
        let mut inputs: Vec<f32> = (0..=u32::MAX)
            .step_by(699_997)
            .map(f32::from_bits)
            .collect();
        let ends = [0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX];
        let round = (0..=400).map(|i| i as f32 * 0.25);
        let kinks = reference::kinks(f).into_iter().map(|k| k as f32);
        for x in ends.into_iter().chain(round).chain(kinks) {
            inputs.extend([x, x.next_up(), x.next_down()]);
            inputs.extend([-x, (-x).next_up(), (-x).next_down()]);
        }
        inputs.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN]);
        inputs.push(f32::from_bits(0x7f80_0001));
        inputs
    }

    /// Every row with its defaults and with a spread of other parameters that it takes.
    fn cases() -> Vec<Elementwise> {
        let spread = [-2.0, -0.3, 0.0, 0.1, 1.0, 3.0, 20.0];
        let mut cases = Vec::new();
        for &activation in Activation::ALL {
            cases.push(activation.into());
            match activation.info().parameters {
                [] => {}
                [p] => cases.extend(
                    spread
                        .iter()
                        .filter_map(|&v| activation.with([(p.name, v)]).ok()),
                ),
                [p, q] => {
                    for v in spread {
                        cases.extend(
                            spread
                                .iter()
                                .filter_map(|&w| activation.with([(p.name, v), (q.name, w)]).ok()),
                        );
                    }
                }
                more => panic!("{} parameters", more.len()),
            }
        }
        cases
    }

    const NARROW: [Activation; 10] = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Exp,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Erf,
        Activation::Softplus,
        Activation::LogSigmoid,
        Activation::LogCosh,
    ];

    /// The largest error, in ULP, of `got` against the reference of `f`, and where it is.
    fn worst_forward(f: &Elementwise, x: &[f32], got: &[f32]) -> (f64, f32) {
        let errors = x.iter().zip(got).map(|(&x, &got)| {
            let want = reference::forward(f, x.into());
            (ulp_error(got, want, 0.0), x)
        });
        errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    /// Those of them whose derivative is in f32, too.
    const NARROW_SLOPE: [Activation; 3] = [Activation::Sigmoid, Activation::Silu, Activation::Gelu];

    fn worst_backward(f: &Elementwise, x: &[f32], dy: &[f32], got: &[f32]) -> (f64, f32) {
        let errors = x.iter().zip(dy).zip(got).map(|((&x, &dy), &got)| {
            let slope = reference::backward(f, x.into());
            let dy = f64::from(dy);
            // In f32 a derivative that is subnormal may be flushed before it is multiplied.
            let flushed = slope.abs() < f32::MIN_POSITIVE.into();
            if flushed && NARROW_SLOPE.contains(&f.activation()) && dy.is_finite() && slope != 0.0 {
                return (0.0, x);
            }
            let zero = (slope == 0.0 && !dy.is_nan()) || (dy == 0.0 && !slope.is_nan());
            let want = if zero { 0.0 } else { slope * dy };
            let largest = reference::largest_term(f, x.into()) * dy.abs();
            let largest = if largest.is_finite() { largest } else { 0.0 };
            (ulp_error(got, want, largest), x)
        });
        errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    #[test]
    fn every_row_is_within_its_bounds_on_every_instruction_set() {
        let cases = cases();
        assert!(cases.len() > 200, "{} cases", cases.len());
        for isa in Isa::available() {
            let mut summary = Vec::new();
            for f in &cases {
                let x = inputs(f);
                assert!(x.len() > 6_000);
                let mut y = vec![0.0; x.len()];
                apply(isa, f, &x, &mut y);
                let (forward, at) = worst_forward(f, &x, &y);
                let bound = f.activation().info().bounds;
                // The rows of `narrow` round several times.
                let wide = !NARROW.contains(&f.activation());
                let limit = if wide { 0.51 } else { 1.9 };
                assert!(
                    forward < limit,
                    "{} {f} at {at:e}: {forward} ULP",
                    isa.name()
                );
                assert!(forward <= bound.forward.into());
                let mut backward = 0.0f64;
                for scale in [1.0, -0.7, 1.7e-12, 3e20] {
                    let dy: Vec<f32> = x.iter().map(|_| scale).collect();
                    grad(isa, f, &x, &dy, &mut y);
                    let (error, at) = worst_backward(f, &x, &dy, &y);
                    let wide = !NARROW_SLOPE.contains(&f.activation());
                    let limit = if wide { 0.51 } else { 3.5 };
                    assert!(error < limit, "{} {f}' at {at:e}: {error} ULP", isa.name());
                    assert!(error <= bound.backward.into());
                    backward = backward.max(error);
                }
                if forward > 0.501 || backward > 0.501 {
                    summary.push(format!("{f}: {forward:.4}, {backward:.4}"));
                }
            }
            println!("{}: above 0.501 ULP:\n{}", isa.name(), summary.join("\n"));
        }
    }

    /// The measure above must object to one function in place of another.
    #[test]
    fn a_wrong_function_is_seen() {
        let gelu = Activation::Gelu.into();
        let x = inputs(&gelu);
        let mut y = vec![0.0; x.len()];
        apply(Isa::best(), &Activation::GeluTanh.into(), &x, &mut y);
        assert!(worst_forward(&gelu, &x, &y).0 > 100.0);
        let dy = vec![-1.0; x.len()];
        grad(Isa::best(), &gelu, &x, &dy, &mut y);
        let negated = vec![1.0; x.len()];
        assert!(worst_backward(&gelu, &x, &negated, &y).0 > 100.0);
    }

    #[test]
    fn nan_and_zero_and_infinite_gradients() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let x = [1.0, -1.0, nan, 1.0, -1.0, -inf, inf, inf, 200.0];
        let dy = [0.0, inf, 1.0, nan, -inf, inf, -inf, 0.0, 0.0];
        for isa in Isa::available() {
            let mut dx = [1.0; 9];
            grad(isa, &Activation::Relu.into(), &x, &dy, &mut dx);
            assert_eq!(dx[..2], [0.0, 0.0]);
            assert!(dx[2].is_nan() && dx[3].is_nan());
            assert!(dx[4] == 0.0 && dx[4].is_sign_negative());
            assert_eq!(dx[5..], [0.0, -inf, 0.0, 0.0]);
            grad(isa, &Activation::Exp.into(), &x, &dy, &mut dx);
            assert_eq!(dx[7..], [0.0, 0.0]);
            assert_eq!(dx[5], 0.0);
        }
    }

    /// Lengths around the ends of SIMD blocks, of stack blocks and of threads' chunks: every
    /// call gives what the reference gives, element for element, and nothing beyond.
    #[test]
    fn lengths() {
        let gelu = Activation::Gelu.into();
        let lengths = (0..70)
            .chain([BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
            .chain([SERIAL_BELOW - 1, SERIAL_BELOW, SERIAL_BELOW + 1])
            .chain([CHUNK * 3 - 1, CHUNK * 3, CHUNK * 3 + 1, 100_003]);
        for n in lengths {
            let x: Vec<f32> = (0..n)
                .map(|i| ((i * 37) % 101) as f32 * 0.1 - 5.0)
                .collect();
            let dy: Vec<f32> = (0..n).map(|i| ((i * 53) % 97) as f32 * 0.1 - 4.0).collect();
            for isa in Isa::available() {
                let mut y = vec![0.0; n];
                apply(isa, &gelu, &x, &mut y);
                assert!(worst_forward(&gelu, &x, &y).0 < 1.0);
                let mut in_place = x.clone();
                apply_in_place(isa, &gelu, &mut in_place);
                assert_eq!(y, in_place);
                grad(isa, &gelu, &x, &dy, &mut y);
                assert!(worst_backward(&gelu, &x, &dy, &y).0 < 3.5);
                let mut copy = vec![1.0; n];
                apply(isa, &Activation::Identity.into(), &x, &mut copy);
                assert_eq!(copy, x);
            }
        }
    }
}
