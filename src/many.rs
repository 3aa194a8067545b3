//! Many arrays, each with a function of its own.

use crate::axis::AxisFunction;
use crate::catalogue::Elementwise;
use crate::element::Element;
use crate::error::Result;
use crate::shape::{AxisShape, same_length};

/// One array of many, and the function that is computed of it; for
/// [`Backend::apply_many`](crate::Backend::apply_many).
#[derive(Clone, Copy, Debug)]
pub struct Item<'a, T: Element = f32> {
    pub(crate) x: &'a [T],
    pub(crate) function: Function,
}

/// What is computed of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    /// Element by element.
    Elementwise(Elementwise),
    /// Along an axis of an array of a shape.
    Axis(AxisFunction, AxisShape),
}

impl<'a, T: Element> Item<'a, T> {
    /// f of every element of x.
    pub fn elementwise(f: impl Into<Elementwise>, x: &'a [T]) -> Self {
        Self {
            x,
            function: Function::Elementwise(f.into()),
        }
    }

    /// `function` of every row of x along `axis`.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange),
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub fn axis(function: AxisFunction, x: &'a [T], shape: &[usize], axis: isize) -> Result<Self> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the array", shape.elements(), x.len())?;
        Ok(Self {
            x,
            function: Function::Axis(function, shape),
        })
    }

    /// Elements of the result.
    pub(crate) fn results(&self) -> usize {
        match self.function {
            Function::Elementwise(_) => self.x.len(),
            Function::Axis(function, shape) => shape.output_elements(function),
        }
    }
}
