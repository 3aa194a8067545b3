//! The types that numbers are stored as. Everything is computed in f32 or better, whatever they are.

use half::{bf16, f16};
use std::fmt;

/// What the numbers of an array are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 binary32.
    #[default]
    F32,
    /// IEEE 754 binary16: 11 bits of precision, up to 65504.
    F16,
    /// bfloat16, the upper half of an f32: 8 bits of precision, f32's range.
    Bf16,
}

impl DType {
    /// All of them.
    pub const ALL: &[Self] = &[Self::F32, Self::F16, Self::Bf16];

    /// The name that PyTorch and NumPy give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The short name, which is that of the Rust type.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// A number that arrays are made of: `f32`, [`half::f16`] or [`half::bf16`].
pub trait Element:
    sealed::Sealed + bytemuck::Pod + Default + PartialEq + PartialOrd + fmt::Debug + Send + Sync
{
    /// Its type as a value.
    const DTYPE: DType;

    /// The same number as f32, which holds all of them.
    fn to_f32(self) -> f32;

    /// The nearest number, to even between two; beyond the largest, infinity. NaN stays NaN.
    fn from_f32(value: f32) -> Self;

    /// The same of an f64, rounded once.
    fn from_f64(value: f64) -> Self {
        Self::from_f32(to_odd(value))
    }
}

/// `value` cut to f32, with a last bit of 1 where something was cut off: what is rounded from it
/// to fewer bits than f32 has is rounded as `value` itself would be.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let exact = f64::from(nearest);
    if exact == value || nearest.is_nan() {
        return nearest;
    }
    // Towards zero, from where the nearest may lie beyond.
    let beyond = exact.abs() > value.abs();
    f32::from_bits((nearest.to_bits() - u32::from(beyond)) | 1)
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;

    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }

    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;

    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;

    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse() {
        for &dtype in DType::ALL {
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.short_name().parse::<DType>().unwrap(), dtype);
            assert_eq!(dtype.to_string(), dtype.short_name());
        }
        assert!("f64".parse::<DType>().is_err());
    }

    /// Beside the middle between two numbers by less than f32 can tell.
    #[test]
    fn f64_are_rounded_once() {
        for (low, high) in [
            (1.0, 1.0 + 2f64.powi(-10)),
            (3.0 * 2f64.powi(-24), 2f64.powi(-22)),
        ] {
            let middle = (low + high) / 2.0;
            for sign in [1.0, -1.0] {
                let round = |x: f64| <f16 as Element>::from_f64(sign * x).to_f64();
                assert_eq!(round(middle.next_down()), sign * low);
                assert_eq!(round(middle.next_up()), sign * high);
            }
        }
        let round = <bf16 as Element>::from_f64;
        assert_eq!(round(1.0 + 2f64.powi(-8)), bf16::ONE);
        assert!(round((1.0 + 2f64.powi(-8)).next_up()) > bf16::ONE);
        assert_eq!(round(2f64.powi(-134)), bf16::ZERO);
        assert_eq!(round(2f64.powi(-134).next_up()).to_bits(), 1);
        assert_eq!(round(1e300), bf16::INFINITY);
        assert_eq!(<f16 as Element>::from_f64(65_520f64.next_down()), f16::MAX);
        assert!(Element::to_f32(round(f64::NAN)).is_nan());
        assert_eq!(round(-1e-300).to_bits(), 0x8000);
        for bits in (0..=u32::MAX).step_by(10_007) {
            let x = f32::from_bits(bits);
            let same = <f16 as Element>::from_f64(x.into()) == <f16 as Element>::from_f32(x);
            assert!(same || x.is_nan());
        }
    }

    #[test]
    fn conversions_round_to_even_and_keep_what_is_special() {
        // Half a step above 1: to the even 1; above 65504 by half a step: infinity.
        assert_eq!(<f16 as Element>::from_f32(1.0 + 2f32.powi(-11)), f16::ONE);
        assert_eq!(<f16 as Element>::from_f32(65_520.0), f16::INFINITY);
        assert_eq!(<f16 as Element>::from_f32(2f32.powi(-24)).to_bits(), 1);
        assert_eq!(<bf16 as Element>::from_f32(1.0 + 2f32.powi(-8)), bf16::ONE);
        assert!(Element::to_f32(<bf16 as Element>::from_f32(f32::NAN)).is_nan());
        assert!(Element::to_f32(<f16 as Element>::from_f32(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
