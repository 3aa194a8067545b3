//! The arrays of a call as callers write them: slices, slices of a shape, and tuples of them.

use super::data::{Data, Owned};
use super::device::OnDevice;
use crate::element::Element;
use smallvec::SmallVec;
use std::borrow::Cow;

mod sealed {
    pub trait Sealed {}
}

/// A number, or a truth value, that arrays given to a call are made of.
pub trait Value: sealed::Sealed + Copy {
    #[doc(hidden)]
    fn data(x: &[Self]) -> Data<'_>;

    #[doc(hidden)]
    fn owned(x: Vec<Self>) -> Owned;
}

macro_rules! values {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}

        impl Value for $type {
            fn data(x: &[Self]) -> Data<'_> {
                x.into()
            }

            fn owned(x: Vec<Self>) -> Owned {
                x.into()
            }
        }
    )*};
}
values!(u8, u32, i32, i64);

impl<T: Element> sealed::Sealed for T {}

impl<T: Element> Value for T {
    fn data(x: &[Self]) -> Data<'_> {
        Data::of(x)
    }

    fn owned(x: Vec<Self>) -> Owned {
        Owned::of(x)
    }
}

impl sealed::Sealed for bool {}

/// True is 1.
impl Value for bool {
    fn data(x: &[Self]) -> Data<'_> {
        Data::U8(bytemuck::cast_slice(x))
    }

    fn owned(x: Vec<Self>) -> Owned {
        Owned::U8(x.into_iter().map(u8::from).collect())
    }
}

/// An array that is given to a call: numbers of any type, with a shape where it matters.
///
/// Slices, vectors and arrays convert into one without a shape, [`OfShape::of_shape`] makes one with a
/// shape, and [`Array::named`] says which of an operation's inputs it is.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    data: Storage<'a>,
    shape: Shape<'a>,
    name: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Storage<'a> {
    Borrowed(Data<'a>),
    Owned(Owned),
}

/// The lengths of the axes.
#[derive(Clone, Debug)]
enum Shape<'a> {
    /// One axis of all elements.
    Flat(usize),
    Of(Cow<'a, [usize]>),
}

/// The arrays of a call.
pub type Arrays<'a> = SmallVec<[Array<'a>; 4]>;

impl<'a> Array<'a> {
    pub(crate) fn flat(data: Data<'a>) -> Self {
        Self {
            shape: Shape::Flat(data.len()),
            data: Storage::Borrowed(data),
            name: None,
        }
    }

    pub(crate) fn with_shape(data: Data<'a>, shape: &'a [usize]) -> Self {
        Self {
            shape: Shape::Of(Cow::Borrowed(shape)),
            ..Self::flat(data)
        }
    }

    /// Elements that were copied, in a shape.
    #[cfg(feature = "ndarray")]
    pub(crate) fn copied(data: Owned, shape: &'a [usize]) -> Self {
        Self {
            data: Storage::Owned(data),
            shape: Shape::Of(Cow::Borrowed(shape)),
            name: None,
        }
    }

    /// An array on a device.
    pub(crate) fn on_device(
        data: OnDevice<'a>,
        shape: Option<&'a [usize]>,
        name: Option<&'static str>,
    ) -> Self {
        let array = Self::flat(Data::Device(data));
        Self {
            shape: shape.map_or(array.shape, |shape| Shape::Of(Cow::Borrowed(shape))),
            data: array.data,
            name,
        }
    }

    /// The input of this name: `mask`, `bias`, `lengths` or `sinks` of the softmax family, `noise` of
    /// gumbel_softmax. Arrays without a name are taken in the order of the inputs, each for the next
    /// one that takes its type.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.name
    }

    pub(crate) fn data(&self) -> Data<'_> {
        match &self.data {
            Storage::Borrowed(data) => *data,
            Storage::Owned(owned) => owned.data(),
        }
    }

    /// Whether it has no shape.
    pub(crate) fn is_flat(&self) -> bool {
        matches!(self.shape, Shape::Flat(_))
    }

    pub(crate) fn shape(&self) -> &[usize] {
        match &self.shape {
            Shape::Flat(len) => std::slice::from_ref(len),
            Shape::Of(shape) => shape,
        }
    }

    /// The same array for a while.
    pub(crate) fn borrowed(&self) -> Array<'_> {
        Array {
            data: Storage::Borrowed(self.data()),
            shape: match &self.shape {
                Shape::Flat(len) => Shape::Flat(*len),
                Shape::Of(shape) => Shape::Of(Cow::Borrowed(shape)),
            },
            name: self.name,
        }
    }

    /// The same array with numbers of its own.
    pub(crate) fn with_data(&self, data: Owned) -> Array<'static> {
        Array {
            data: Storage::Owned(data),
            shape: match &self.shape {
                Shape::Flat(len) => Shape::Flat(*len),
                Shape::Of(shape) => Shape::Of(Cow::Owned(shape.to_vec())),
            },
            name: self.name,
        }
    }
}

impl<'a, V: Value> From<&'a [V]> for Array<'a> {
    fn from(x: &'a [V]) -> Self {
        Self::flat(V::data(x))
    }
}

impl<'a, V: Value, const N: usize> From<&'a [V; N]> for Array<'a> {
    fn from(x: &'a [V; N]) -> Self {
        x[..].into()
    }
}

impl<'a, V: Value> From<&'a Vec<V>> for Array<'a> {
    fn from(x: &'a Vec<V>) -> Self {
        x[..].into()
    }
}

/// A slice with a shape, of [`OfShape::of_shape`].
#[derive(Clone, Copy, Debug)]
pub struct Shaped<'a, V> {
    x: &'a [V],
    shape: &'a [usize],
}

impl<'a, V: Value> Shaped<'a, V> {
    /// The input of this name, as [`Array::named`].
    pub fn named(self, name: &'static str) -> Array<'a> {
        Array::from(self).named(name)
    }
}

impl<'a, V: Value> From<Shaped<'a, V>> for Array<'a> {
    fn from(array: Shaped<'a, V>) -> Self {
        Self::with_shape(V::data(array.x), array.shape)
    }
}

/// Gives a slice a shape.
pub trait OfShape<V> {
    /// The slice as a row-major array of `shape`; a call checks that it has as many elements.
    ///
    /// ```
    /// use wgpu_activations::{AxisFunction, Backend, OfShape};
    /// let x = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0];
    /// let p = Backend::cpu().apply(AxisFunction::Softmax.along(-1), x.of_shape(&[2, 3]))?;
    /// assert_eq!(p[3..], [1.0 / 3.0; 3]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    fn of_shape<'a>(&'a self, shape: &'a [usize]) -> Shaped<'a, V>;
}

impl<V> OfShape<V> for [V] {
    fn of_shape<'a>(&'a self, shape: &'a [usize]) -> Shaped<'a, V> {
        Shaped { x: self, shape }
    }
}

/// What an operation is computed of: an array, or a tuple of arrays. Results have the numbers of the
/// first one, and are a vector, or an array of the ndarray crate where that one is.
pub trait Inputs<'a> {
    /// The numbers of the results.
    type Number: Element;
    /// What holds a result.
    type Result: FromResult<Self::Number>;

    #[doc(hidden)]
    fn arrays(self) -> Arrays<'a>;
}

/// What holds a result.
#[doc(hidden)]
pub trait FromResult<T> {
    fn from_result(numbers: Vec<T>, shape: &[usize]) -> Self;
}

impl<T> FromResult<T> for Vec<T> {
    fn from_result(numbers: Vec<T>, _shape: &[usize]) -> Self {
        numbers
    }
}

impl<'a, T: Element> Inputs<'a> for &'a [T] {
    type Number = T;
    type Result = Vec<T>;

    fn arrays(self) -> Arrays<'a> {
        std::iter::once(Array::flat(Data::of(self))).collect()
    }
}

impl<'a, T: Element, const N: usize> Inputs<'a> for &'a [T; N] {
    type Number = T;
    type Result = Vec<T>;

    fn arrays(self) -> Arrays<'a> {
        self[..].arrays()
    }
}

impl<'a, T: Element> Inputs<'a> for &'a Vec<T> {
    type Number = T;
    type Result = Vec<T>;

    fn arrays(self) -> Arrays<'a> {
        self[..].arrays()
    }
}

impl<'a, T: Element> Inputs<'a> for Shaped<'a, T> {
    type Number = T;
    type Result = Vec<T>;

    fn arrays(self) -> Arrays<'a> {
        std::iter::once(Array::with_shape(Data::of(self.x), self.shape)).collect()
    }
}

macro_rules! tuples {
    ($($others:ident),*) => {
        impl<'a, X: Inputs<'a>, $($others: Into<Array<'a>>),*> Inputs<'a> for (X, $($others),*) {
            type Number = X::Number;
            type Result = X::Result;

            fn arrays(self) -> Arrays<'a> {
                #[expect(non_snake_case, reason = "values are named by their types")]
                let (x, $($others),*) = self;
                let mut arrays = x.arrays();
                $(arrays.push($others.into());)*
                arrays
            }
        }
    };
}
tuples!(A);
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
