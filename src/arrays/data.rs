//! Slices and vectors with their type as a value.

use super::device::{Contents, OnDevice};
use crate::cpu::convert::{narrow_into, widened};
use crate::element::{DType, Element};
use half::{bf16, f16};
use std::borrow::Cow;
use std::ops::Range;

/// An array that is read.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    U8(&'a [u8]),
    U32(&'a [u32]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    /// An array on a device, for calls that are recorded: it has no elements here.
    Device(OnDevice<'a>),
}

/// An array that is written.
#[derive(Debug)]
pub enum DataMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
}

/// An array of its own.
#[derive(Clone, Debug)]
pub enum Owned {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    U8(Vec<u8>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// The same expression for an array of any type.
macro_rules! each_type {
    ($of:ident, $value:expr, |$x:ident| $body:expr $(, $($more:tt)*)?) => {
        match $value {
            $of::F32($x) => $body,
            $of::F16($x) => $body,
            $of::Bf16($x) => $body,
            $of::U8($x) => $body,
            $of::U32($x) => $body,
            $of::I32($x) => $body,
            $of::I64($x) => $body,
            $($($more)*)?
        }
    };
}

/// The same expression for an array of real numbers that is written.
macro_rules! each_number {
    ($value:expr, |$x:ident| $body:expr) => {
        match $value {
            $crate::arrays::DataMut::F32($x) => $body,
            $crate::arrays::DataMut::F16($x) => $body,
            $crate::arrays::DataMut::Bf16($x) => $body,
        }
    };
}
pub(crate) use each_number;

impl<'a> Data<'a> {
    /// An array of numbers.
    pub(crate) fn of<T: Element>(x: &'a [T]) -> Self {
        match T::DTYPE {
            DType::F32 => Self::F32(bytemuck::cast_slice(x)),
            DType::F16 => Self::F16(bytemuck::cast_slice(x)),
            DType::Bf16 => Self::Bf16(bytemuck::cast_slice(x)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        each_type!(Data, self, |x| x.len(), Self::Device(array) => array.len)
    }

    /// Its type, where it is one of real numbers.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self {
            Self::F32(_) => Some(DType::F32),
            Self::F16(_) => Some(DType::F16),
            Self::Bf16(_) => Some(DType::Bf16),
            Self::Device(OnDevice {
                contents: Contents::Numbers(dtype),
                ..
            }) => Some(*dtype),
            _ => None,
        }
    }

    /// The array as one of type T; of another type, none of it.
    pub(crate) fn of_type<T: Element>(&self) -> &'a [T] {
        if self.dtype() == Some(T::DTYPE) {
            bytemuck::cast_slice(self.bytes())
        } else {
            &[]
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        each_type!(Data, *self, |x| bytemuck::cast_slice(x), Self::Device(_) => &[])
    }

    /// The bytes of an element.
    pub(crate) fn element(&self) -> usize {
        match self {
            Self::U8(_) => 1,
            Self::F16(_) | Self::Bf16(_) => 2,
            Self::F32(_) | Self::U32(_) | Self::I32(_) => 4,
            Self::I64(_) => 8,
            Self::Device(array) => array.contents.bytes(),
        }
    }

    /// The numbers as f32; of what is no array of real numbers, none.
    pub(crate) fn widened(&self) -> Cow<'a, [f32]> {
        match *self {
            Self::F32(x) => Cow::Borrowed(x),
            Self::F16(x) => widened(x),
            Self::Bf16(x) => widened(x),
            _ => Cow::Borrowed(&[]),
        }
    }

    /// The array on a device that it is.
    pub(crate) fn on_device(&self) -> OnDevice<'a> {
        match self {
            Self::Device(array) => *array,
            // Invariant: what records calls is given arrays on the device alone.
            _ => unreachable!("an array in host memory"),
        }
    }

    /// A part of it.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        match *self {
            Self::F32(x) => Self::F32(&x[range]),
            Self::F16(x) => Self::F16(&x[range]),
            Self::Bf16(x) => Self::Bf16(&x[range]),
            Self::U8(x) => Self::U8(&x[range]),
            Self::U32(x) => Self::U32(&x[range]),
            Self::I32(x) => Self::I32(&x[range]),
            Self::I64(x) => Self::I64(&x[range]),
            // Nobody cuts what is not here.
            Self::Device(array) => Self::Device(array),
        }
    }
}

impl<'a> DataMut<'a> {
    /// An array of numbers.
    pub(crate) fn of<T: Element>(x: &'a mut [T]) -> Self {
        match T::DTYPE {
            DType::F32 => Self::F32(bytemuck::cast_slice_mut(x)),
            DType::F16 => Self::F16(bytemuck::cast_slice_mut(x)),
            DType::Bf16 => Self::Bf16(bytemuck::cast_slice_mut(x)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        each_number!(self, |x| x.len())
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::Bf16,
        }
    }

    /// A part of it.
    pub(crate) fn part(&mut self, range: Range<usize>) -> DataMut<'_> {
        match self {
            Self::F32(x) => DataMut::F32(&mut x[range]),
            Self::F16(x) => DataMut::F16(&mut x[range]),
            Self::Bf16(x) => DataMut::Bf16(&mut x[range]),
        }
    }

    /// The same array for a while.
    pub(crate) fn lent(&mut self) -> DataMut<'_> {
        self.part(0..self.len())
    }

    /// Writes the nearest numbers.
    pub(crate) fn write(&mut self, x: &[f32]) {
        match self {
            Self::F32(out) => out.copy_from_slice(x),
            Self::F16(out) => narrow_into(x, out),
            Self::Bf16(out) => narrow_into(x, out),
        }
    }

    /// Takes numbers of its own type.
    pub(crate) fn take(&mut self, x: Owned) {
        match (self, x) {
            (Self::F32(out), Owned::F32(x)) => out.copy_from_slice(&x),
            (Self::F16(out), Owned::F16(x)) => out.copy_from_slice(&x),
            (Self::Bf16(out), Owned::Bf16(x)) => out.copy_from_slice(&x),
            // Invariant: whoever makes them makes them of its type.
            _ => unreachable!("numbers of another type"),
        }
    }

    /// The array, where it is one of f32.
    pub(crate) fn as_f32(&mut self) -> Option<&mut [f32]> {
        match self {
            Self::F32(x) => Some(x),
            Self::F16(_) | Self::Bf16(_) => None,
        }
    }
}

impl Owned {
    /// So many zeros.
    pub(crate) fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Self::F32(vec![0.0; len]),
            DType::F16 => Self::F16(vec![f16::ZERO; len]),
            DType::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
        }
    }

    pub(crate) fn data(&self) -> Data<'_> {
        each_type!(Owned, self, |x| (&x[..]).into())
    }

    /// To be written; nothing where it is no array of real numbers.
    pub(crate) fn data_mut(&mut self) -> Option<DataMut<'_>> {
        match self {
            Self::F32(x) => Some(DataMut::F32(x)),
            Self::F16(x) => Some(DataMut::F16(x)),
            Self::Bf16(x) => Some(DataMut::Bf16(x)),
            _ => None,
        }
    }

    /// Numbers of an element's type.
    pub(crate) fn of<T: Element>(x: Vec<T>) -> Self {
        match T::DTYPE {
            DType::F32 => Self::F32(bytemuck::cast_vec(x)),
            DType::F16 => Self::F16(bytemuck::cast_vec(x)),
            DType::Bf16 => Self::Bf16(bytemuck::cast_vec(x)),
        }
    }

    /// The numbers as a vector of their type; none of another type.
    pub(crate) fn into_vec<T: Element>(self) -> Vec<T> {
        match (self, T::DTYPE) {
            (Self::F32(x), DType::F32) => bytemuck::cast_vec(x),
            (Self::F16(x), DType::F16) => bytemuck::cast_vec(x),
            (Self::Bf16(x), DType::Bf16) => bytemuck::cast_vec(x),
            _ => Vec::new(),
        }
    }
}

macro_rules! from_slices {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$type]> for Data<'a> {
            fn from(x: &'a [$type]) -> Self {
                Self::$variant(x)
            }
        }

        impl From<Vec<$type>> for Owned {
            fn from(x: Vec<$type>) -> Self {
                Self::$variant(x)
            }
        }
    )*};
}
from_slices!(f32 => F32, f16 => F16, bf16 => Bf16, u8 => U8, u32 => U32, i32 => I32, i64 => I64);
