//! Many arrays, each with an operation of its own.

use crate::arrays::{Inputs, OfShape};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::operation::{AsOperation, Direction, Given, IntoOperation, Operation, Rows, Shape};
use crate::shape::AxisShape;
use std::borrow::Cow;

/// One array of many, and the operation that is computed of it; for
/// [`Backend::apply_many`](crate::Backend::apply_many).
#[derive(Debug)]
pub struct Item<'a, T: Element = f32> {
    x: Cow<'a, [T]>,
    /// Along axis 1 of the rows.
    pub(crate) operation: Box<dyn Operation>,
    pub(crate) rows: Rows,
    output: Shape,
}

impl<'a, T: Element> Item<'a, T> {
    /// An operation of an array of one axis, such as an activation.
    ///
    /// # Errors
    /// As [`Item::of_shape`].
    pub fn new(operation: impl IntoOperation, x: &'a [T]) -> Result<Self> {
        Self::of_shape(operation, x, &[x.len()])
    }

    /// An operation of an array of a shape: an activation, a function along an axis, a gate.
    ///
    /// ```
    /// use wgpu_activations::{Gate, Item};
    /// let item = Item::of_shape(Gate::GLU.along(-1), &[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(item.output_shape(), [2, 1]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::AxisOutOfRange`] and what else the operation refuses;
    /// [`Error::Inputs`] where it needs other arrays, or is causal.
    pub fn of_shape(operation: impl IntoOperation, x: &'a [T], shape: &[usize]) -> Result<Self> {
        let held = operation.held();
        let operation = held.as_operation();
        let arrays = x.of_shape(shape).arrays();
        let given = Given::new(operation, Direction::Forward, &arrays, None)?;
        let output = operation.infer(Direction::Forward, &given)?.swap_remove(0);
        let rows = operation.rows(shape)?.ok_or_else(|| Error::Inputs {
            function: operation.name(),
            detail: "is not computed of many arrays at once: it takes more arrays than one, or is causal"
                .to_owned(),
        })?;
        Ok(Self {
            x: Cow::Borrowed(x),
            operation: operation.of_rows(0),
            rows,
            output,
        })
    }

    /// The shape of the result.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// The array's numbers.
    pub(crate) fn x(&self) -> &[T] {
        &self.x
    }

    /// The array around the axis of its rows.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let AxisShape { outer, len, inner } = self.rows.shape;
        [outer, len, inner]
    }

    /// Elements of the result.
    pub(crate) fn results(&self) -> usize {
        self.output.iter().product()
    }

    /// The same item with numbers of its own.
    pub(crate) fn owning(&self, x: Vec<T>) -> Item<'static, T> {
        Item {
            x: Cow::Owned(x),
            operation: self.operation.boxed(),
            rows: self.rows,
            output: self.output.clone(),
        }
    }
}
