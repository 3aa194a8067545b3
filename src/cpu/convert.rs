//! Arrays of 16-bit numbers as f32 and back: integer arithmetic that becomes SIMD code for every
//! instruction set. What is f32 already is not copied.

use super::isa::{Isa, Kernel};
use super::threads::prelude::*;
use crate::element::{DType, Element};
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

/// Elements that a thread converts at a time, and fewer than which one does alone.
const CHUNK: usize = 64 * 1024;

/// An f16's bits as those of the same f32.
#[inline(always)]
pub(super) fn f16_to_f32(bits: u16) -> f32 {
    let (size, sign) = (
        i32::from(bits & 0x7fff) << 13,
        u32::from(bits & 0x8000) << 16,
    );
    let normal = size + 0x3800_0000;
    // 2^-14 less than a number between 2^-14 and 2^-13 whose fraction it is.
    let small = f32::from_bits((size + 0x3880_0000) as u32) - 1.0 / 16_384.0;
    let finite = if size < 0x0080_0000 {
        small.to_bits() as i32
    } else {
        normal
    };
    let whole = if size >= 0x0f80_0000 {
        size + 0x7000_0000
    } else {
        finite
    };
    f32::from_bits(whole as u32 | sign)
}

/// The bits of the f16 that is nearest to `x`; NaN becomes quiet.
#[inline(always)]
pub(super) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let size = (bits & 0x7fff_ffff) as i32;
    let cut = size >> 13;
    // Half a step less a bit, and the bit where that makes it even; 0x38000000 is the exponents'
    // difference. A carry goes to the exponent, and from 65520 on to that of infinity.
    let rounded = (size + (cut & 1) + 0xfff - 0x3800_0000) >> 13;
    // The step at 0.5 is 2^-24, that of f16's subnormal numbers: the addition rounds.
    let small = (f32::from_bits(size as u32) + 0.5).to_bits() as i32 - 0x3f00_0000;
    let finite = if size < 0x3880_0000 {
        small
    } else {
        rounded.min(0x7c00)
    };
    let whole = if size > 0x7f80_0000 {
        (cut & 0x3ff) | 0x7e00
    } else {
        finite
    };
    (whole as u32 | (bits >> 16) & 0x8000) as u16
}

/// A bf16's bits as those of the same f32.
#[inline(always)]
pub(super) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bits of the bf16 that is nearest to `x`; NaN becomes quiet.
#[inline(always)]
pub(super) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(((bits >> 16) & 1) + 0x7fff);
    let nan = (bits & 0x7fff_ffff) as i32 > 0x7f80_0000;
    ((if nan { bits | 0x0040_0000 } else { rounded }) >> 16) as u16
}

struct Widen<'a> {
    dtype: DType,
    x: &'a [u16],
    out: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let pairs = self.out.iter_mut().zip(self.x);
        if self.dtype == DType::F16 {
            pairs.for_each(|(y, &x)| *y = f16_to_f32(x));
        } else {
            pairs.for_each(|(y, &x)| *y = bf16_to_f32(x));
        }
    }
}

struct Narrow<'a> {
    dtype: DType,
    x: &'a [f32],
    out: &'a mut [u16],
}

impl Kernel for Narrow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let pairs = self.out.iter_mut().zip(self.x);
        if self.dtype == DType::F16 {
            pairs.for_each(|(y, &x)| *y = f32_to_f16(x));
        } else {
            pairs.for_each(|(y, &x)| *y = f32_to_bf16(x));
        }
    }
}

/// The same numbers as f32, on this thread.
pub(super) fn widen_block<T: Element>(isa: Isa, x: &[T], out: &mut [f32]) {
    match T::DTYPE {
        DType::F32 => out.copy_from_slice(bytemuck::cast_slice(x)),
        dtype => isa.run(Widen {
            dtype,
            x: bytemuck::cast_slice(x),
            out,
        }),
    }
}

/// The nearest numbers, on this thread.
pub(super) fn narrow_block<T: Element>(isa: Isa, x: &[f32], out: &mut [T]) {
    match T::DTYPE {
        DType::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(x),
        dtype => isa.run(Narrow {
            dtype,
            x,
            out: bytemuck::cast_slice_mut(out),
        }),
    }
}

/// The same numbers as f32: the array itself where they are.
pub(crate) fn widened<T: Element>(x: &[T]) -> Cow<'_, [f32]> {
    if T::DTYPE == DType::F32 {
        return Cow::Borrowed(bytemuck::cast_slice(x));
    }
    let mut wide = vec![0.0; x.len()];
    let chunks = wide.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(wide, x)| widen_block(Isa::best(), x, wide));
    Cow::Owned(wide)
}

/// Writes the nearest numbers to `out`.
pub(crate) fn narrow_into<T: Element>(x: &[f32], out: &mut [T]) {
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| narrow_block(Isa::best(), x, out));
}

/// An array of results that are computed in f32: itself where it is f32, else an array aside, whose
/// numbers [`WideOutput::finish`] rounds into it.
pub(crate) struct WideOutput<'a, T: Element> {
    out: &'a mut [T],
    aside: Vec<f32>,
}

impl<'a, T: Element> WideOutput<'a, T> {
    pub(crate) fn new(out: &'a mut [T]) -> Self {
        let aside = match T::DTYPE {
            DType::F32 => Vec::new(),
            _ => vec![0.0; out.len()],
        };
        Self { out, aside }
    }

    pub(crate) fn finish(self) {
        if T::DTYPE != DType::F32 {
            narrow_into(&self.aside, self.out);
        }
    }
}

impl<T: Element> Deref for WideOutput<'_, T> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match T::DTYPE {
            DType::F32 => bytemuck::cast_slice(self.out),
            _ => &self.aside,
        }
    }
}

impl<T: Element> DerefMut for WideOutput<'_, T> {
    fn deref_mut(&mut self) -> &mut [f32] {
        match T::DTYPE {
            DType::F32 => bytemuck::cast_slice_mut(self.out),
            _ => &mut self.aside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// The bits of what lies on, beside and between 16-bit numbers, of NaN, and of every 3001st f32.
    fn floats(to_f32: impl Fn(u16) -> f32) -> Vec<f32> {
        let mut floats = Vec::new();
        for n in 0..0x7f00_u16 {
            let (low, high) = (to_f32(n).to_bits(), to_f32(n + 1).to_bits());
            // Neighbours are of one exponent, or the upper one begins the next.
            let middle = low + (high - low) / 2;
            floats.extend([low, low + 1, middle - 1, middle, middle + 1]);
        }
        floats.extend((0..23).map(|i| 0x7f80_0000 | 1 << i));
        floats.extend((0..0x8000_0000).step_by(3001));
        let both = floats.into_iter().flat_map(|x| [x, x | 0x8000_0000]);
        both.map(f32::from_bits).collect()
    }

    fn check<T: Element>(bits: impl Fn(T) -> u16, of: impl Fn(u16) -> T) {
        let all: Vec<T> = (0..=u16::MAX).map(of).collect();
        for isa in Isa::available() {
            let mut wide = vec![0.0; all.len()];
            widen_block(isa, &all, &mut wide);
            for (&n, wide) in all.iter().zip(&wide) {
                let want = n.to_f32();
                assert!(want.to_bits() == wide.to_bits() || want.is_nan() && wide.is_nan());
            }
            let x = floats(|n| all[usize::from(n)].to_f32());
            assert!(x.len() > 1_000_000);
            let mut narrow = vec![T::default(); x.len()];
            narrow_block(isa, &x, &mut narrow);
            for (&x, &got) in x.iter().zip(&narrow) {
                let want = T::from_f32(x);
                assert_eq!(bits(got), bits(want), "{x:e}, {}", isa.name());
            }
        }
    }

    /// The `half` crate shares no code with the above.
    #[test]
    fn conversions_are_those_of_the_half_crate() {
        check(f16::to_bits, f16::from_bits);
        check(bf16::to_bits, bf16::from_bits);
    }

    #[test]
    fn f32_is_not_copied() {
        let x = [1.0f32, 2.0];
        assert!(matches!(widened(&x), Cow::Borrowed(_)));
        let mut out = [0.0f32; 2];
        let mut wide = WideOutput::new(&mut out);
        assert!(wide.aside.is_empty());
        wide[1] = 3.0;
        wide.finish();
        assert_eq!(out, [0.0, 3.0]);
    }

    #[test]
    fn arrays_of_any_length() {
        for n in [0, 1, 3, 8, 17, CHUNK - 1, CHUNK + 1, 3 * CHUNK + 5] {
            let x: Vec<f16> = (0..n)
                .map(|i| f16::from_bits((i % 0x7c00) as u16))
                .collect();
            let wide = widened(&x);
            assert_eq!(wide.len(), n);
            assert!(
                wide.iter()
                    .zip(&x)
                    .all(|(w, x)| w.to_bits() == x.to_f32().to_bits())
            );
            let mut same = vec![f16::ZERO; n];
            narrow_into(&wide, &mut same);
            assert_eq!(same, x);
            let mut out = vec![bf16::ZERO; n];
            let mut aside = WideOutput::new(&mut out);
            aside.copy_from_slice(&wide);
            aside.finish();
            assert!(
                out.iter()
                    .zip(&*wide)
                    .all(|(o, &w)| *o == bf16::from_f32(w))
            );
        }
    }
}
