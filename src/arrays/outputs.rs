//! Where the results of a call go that writes into the caller's array.

use super::data::{DataMut, Owned};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::same_axes;

/// An array that a call writes: of any numbers, row-major, or one of the ndarray crate.
pub trait Output<'a> {
    #[doc(hidden)]
    fn place(self) -> Place<'a>;
}

/// A row-major array of real numbers that [`Backend::run`](crate::Backend::run) writes.
#[derive(Debug)]
pub struct ArrayMut<'a>(pub(crate) DataMut<'a>);

impl<'a, T: Element> From<&'a mut [T]> for ArrayMut<'a> {
    fn from(y: &'a mut [T]) -> Self {
        Self(DataMut::of(y))
    }
}

/// Where results go.
#[doc(hidden)]
pub enum Place<'a> {
    /// A slice, and its shape where it has one.
    Slice(DataMut<'a>, Option<Vec<usize>>),
    /// An array whose elements are not in row-major order.
    Strided(Box<dyn Strided + 'a>),
}

/// An array whose elements are not in row-major order.
#[doc(hidden)]
pub trait Strided: Send {
    fn shape(&self) -> &[usize];

    fn dtype(&self) -> DType;

    /// Copies results in row-major order.
    fn put(&mut self, results: Owned);
}

impl<'a> Place<'a> {
    /// A row-major array of a shape.
    #[cfg(feature = "ndarray")]
    pub(crate) fn of_shape(data: DataMut<'a>, shape: Vec<usize>) -> Self {
        Self::Slice(data, Some(shape))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Slice(data, _) => data.len(),
            Self::Strided(array) => array.shape().iter().product(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Slice(data, _) => data.dtype(),
            Self::Strided(array) => array.dtype(),
        }
    }

    /// An error where the array has a shape, and another one than the results; axes of length 1 do not
    /// matter.
    pub(crate) fn check(&self, what: &'static str, shape: &[usize]) -> Result<()> {
        let own = match self {
            Self::Slice(_, None) => return Ok(()),
            Self::Slice(_, Some(own)) => own,
            Self::Strided(array) => array.shape(),
        };
        if same_axes(own, shape) {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            what,
            expected: shape.to_vec(),
            got: own.to_vec(),
        })
    }
}

impl<'a, T: Element> Output<'a> for &'a mut [T] {
    fn place(self) -> Place<'a> {
        Place::Slice(DataMut::of(self), None)
    }
}

impl<'a, T: Element> Output<'a> for &'a mut Vec<T> {
    fn place(self) -> Place<'a> {
        self[..].place()
    }
}

impl<'a, T: Element, const N: usize> Output<'a> for &'a mut [T; N] {
    fn place(self) -> Place<'a> {
        self[..].place()
    }
}
