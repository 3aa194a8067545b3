//! Ranges of the caller's buffers as the arrays of a recorded call.

use super::device::{OnDevice, TypedSlice};
use super::inputs::{Array, Arrays};

impl<'a> TypedSlice<'a> {
    /// The range as a row-major array of `shape`; it may be longer than that.
    pub fn of_shape(self, shape: &'a [usize]) -> BufferArray<'a> {
        BufferArray {
            shape: Some(shape),
            ..self.into()
        }
    }

    /// As [`BufferArray::named`].
    pub fn named(self, name: &'static str) -> BufferArray<'a> {
        BufferArray::from(self).named(name)
    }
}

/// An array in a buffer that is given to a call of [`Kernels`](crate::Kernels), of
/// [`TypedSlice::of_shape`] or [`TypedSlice::named`].
#[derive(Clone, Copy, Debug)]
pub struct BufferArray<'a> {
    range: TypedSlice<'a>,
    shape: Option<&'a [usize]>,
    name: Option<&'static str>,
}

impl<'a> BufferArray<'a> {
    /// The input of this name, as [`Array::named`].
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        let name = Some(name);
        Self { name, ..self }
    }

    pub(crate) fn array(self) -> Array<'a> {
        let TypedSlice {
            contents, total, ..
        } = self.range;
        let slice = self.range.slice();
        let len = match self.shape {
            // More than any buffer has where there is no such number; its shape is an error.
            Some(shape) => shape.iter().fold(1, |n: usize, &len| n.saturating_mul(len)),
            None => slice.size() as usize / contents.bytes(),
        };
        let data = OnDevice {
            slice: Some(slice),
            total,
            ..OnDevice::new(contents, len)
        };
        Array::on_device(data, self.shape, self.name)
    }
}

impl<'a, T: Into<TypedSlice<'a>>> From<T> for BufferArray<'a> {
    fn from(range: T) -> Self {
        Self {
            range: range.into(),
            shape: None,
            name: None,
        }
    }
}

/// What a call of [`Kernels`](crate::Kernels) is computed of: an array in a buffer, or a tuple or slice
/// of arrays.
pub trait Buffers<'a> {
    #[doc(hidden)]
    fn arrays(self) -> Arrays<'a>;
}

impl<'a> Buffers<'a> for wgpu::BufferSlice<'a> {
    fn arrays(self) -> Arrays<'a> {
        BufferArray::from(self).arrays()
    }
}

impl<'a> Buffers<'a> for TypedSlice<'a> {
    fn arrays(self) -> Arrays<'a> {
        BufferArray::from(self).arrays()
    }
}

impl<'a> Buffers<'a> for BufferArray<'a> {
    fn arrays(self) -> Arrays<'a> {
        std::iter::once(self.array()).collect()
    }
}

impl<'a> Buffers<'a> for &[BufferArray<'a>] {
    fn arrays(self) -> Arrays<'a> {
        self.iter().map(|array| array.array()).collect()
    }
}

macro_rules! tuples {
    ($($arrays:ident),*) => {
        impl<'a, $($arrays: Into<BufferArray<'a>>),*> Buffers<'a> for ($($arrays,)*) {
            fn arrays(self) -> Arrays<'a> {
                #[expect(non_snake_case, reason = "values are named by their types")]
                let ($($arrays,)*) = self;
                [$($arrays.into().array()),*].into_iter().collect()
            }
        }
    };
}
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);
