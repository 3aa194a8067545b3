//! Arrays of the ndarray crate: whatever their strides are, they go in and come out.

use crate::axis::AxisFunction;
use crate::backend::Backend;
use crate::catalogue::Elementwise;
use crate::element::Element;
use crate::error::{Error, Result};
use ndarray::{Array, ArrayRef, ArrayView, Axis, CowArray, Dimension, ShapeBuilder};

/// # Arrays of the ndarray crate
///
/// With the feature `ndarray`, calls that end in `_nd` take arrays and views of any number of axes
/// and any strides: slices with steps, reversed axes, permuted axes, broadcast views. What is
/// contiguous, in whatever order of the axes, is computed where it lies; else it is copied into
/// order, and the results out of it.
///
/// ```
/// use ndarray::{Axis, array, s};
/// use wgpu_activations::{Activation, AxisFunction, Backend};
/// let backend = Backend::cpu();
/// let x = array![[-1.0f32, 2.0, 3.0], [4.0, -5.0, 6.0]];
///
/// let y = backend.apply_nd(Activation::Relu, &x.slice(s![.., ..;-2]))?;
/// assert_eq!(y, array![[3.0, 0.0], [6.0, 4.0]]);
///
/// let mut p = x.clone();
/// backend.apply_axis_into_nd(AxisFunction::Softmax, &x.t(), Axis(0), &mut p.view_mut().reversed_axes())?;
/// assert!(p.sum_axis(Axis(1)).iter().all(|sum| (sum - 1.0).abs() < 1e-6));
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
///
/// These calls block.
impl Backend {
    /// f of every element of x.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_nd<T: Element, D: Dimension>(
        &self,
        f: impl Into<Elementwise>,
        x: &ArrayRef<T, D>,
    ) -> Result<Array<T, D>> {
        // Contiguous in some order, in which a function of elements has no interest.
        let mut y = x.to_owned();
        self.apply_into_nd(f, x, &mut y)?;
        Ok(y)
    }

    /// y = f(x).
    ///
    /// # Errors
    /// As [`Backend::apply_into`]; [`Error::ShapeMismatch`] where x cannot be broadcast to y.
    pub fn apply_into_nd<T: Element, D: Dimension, E: Dimension>(
        &self,
        f: impl Into<Elementwise>,
        x: &ArrayRef<T, E>,
        y: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        let x = broadcast("the input", x, y)?;
        if x.strides() == y.strides()
            && let (Some(x), Some(y)) = (x.as_slice_memory_order(), y.as_slice_memory_order_mut())
        {
            return self.apply_into(f, x, y);
        }
        y.assign(&x);
        self.apply_in_place_nd(f, y)
    }

    /// x = f(x).
    ///
    /// # Errors
    /// As [`Backend::apply_in_place`].
    pub fn apply_in_place_nd<T: Element, D: Dimension>(
        &self,
        f: impl Into<Elementwise>,
        x: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        if let Some(x) = x.as_slice_memory_order_mut() {
            return self.apply_in_place(f, x);
        }
        let mut copy: Vec<T> = x.iter().copied().collect();
        self.apply_in_place(f, &mut copy)?;
        put(&copy, x);
        Ok(())
    }

    /// dy · f'(x), from the input x; dy is broadcast to its shape.
    ///
    /// # Errors
    /// As [`Backend::grad`]; [`Error::ShapeMismatch`].
    pub fn grad_nd<T: Element, D: Dimension, E: Dimension>(
        &self,
        f: impl Into<Elementwise>,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
    ) -> Result<Array<T, D>> {
        let mut dx = x.to_owned();
        self.grad_into_nd(f, x, dy, &mut dx)?;
        Ok(dx)
    }

    /// dx = dy · f'(x); x and dy are broadcast to its shape.
    ///
    /// # Errors
    /// As [`Backend::grad_into`]; [`Error::ShapeMismatch`].
    pub fn grad_into_nd<T: Element, D: Dimension, E: Dimension, F: Dimension>(
        &self,
        f: impl Into<Elementwise>,
        x: &ArrayRef<T, E>,
        dy: &ArrayRef<T, F>,
        dx: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        let x = broadcast("the input", x, dx)?;
        let dy = broadcast("the upstream gradient", dy, dx)?;
        if x.strides() == dx.strides()
            && dy.strides() == dx.strides()
            && let (Some(x), Some(dy)) = (x.as_slice_memory_order(), dy.as_slice_memory_order())
            && let Some(dx) = dx.as_slice_memory_order_mut()
        {
            return self.grad_into(f, x, dy, dx);
        }
        let (x, dy) = (x.as_standard_layout(), dy.as_standard_layout());
        let (x, dy) = (in_order(&x), in_order(&dy));
        if let Some(dx) = dx.as_slice_mut() {
            return self.grad_into(f, x, dy, dx);
        }
        put(&self.grad(f, x, dy)?, dx);
        Ok(())
    }

    /// `function` of every row of x along `axis`. A function that reduces keeps the axis, with
    /// length 1.
    ///
    /// # Errors
    /// As [`Backend::apply_axis`].
    pub fn apply_axis_nd<T: Element, D: Dimension>(
        &self,
        function: AxisFunction,
        x: &ArrayRef<T, D>,
        axis: Axis,
    ) -> Result<Array<T, D>> {
        let shape = output_shape(function, x, axis)?;
        let mut y = Array::from_elem(shape.set_f(is_reversed(x)), T::default());
        self.apply_axis_into_nd(function, x, axis, &mut y)?;
        Ok(y)
    }

    /// y = `function` of every row of x along `axis`, which has length 1 in y where the function
    /// reduces.
    ///
    /// # Errors
    /// As [`Backend::apply_axis_into`]; [`Error::ShapeMismatch`].
    pub fn apply_axis_into_nd<T: Element, D: Dimension>(
        &self,
        function: AxisFunction,
        x: &ArrayRef<T, D>,
        axis: Axis,
        y: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        let shape = output_shape(function, x, axis)?;
        same_shape("the output", &shape, y)?;
        if is_reversed(x)
            && is_reversed(y)
            && let (Some(x_slice), Some(y)) =
                (x.as_slice_memory_order(), y.as_slice_memory_order_mut())
        {
            // The same rows along another axis.
            let shape: Vec<usize> = x.shape().iter().rev().copied().collect();
            let axis = (shape.len() - 1 - axis.index()) as isize;
            return self.apply_axis_into(function, x_slice, &shape, axis, y);
        }
        let (standard, axis) = (x.as_standard_layout(), axis.index() as isize);
        if let Some(y) = y.as_slice_mut() {
            return self.apply_axis_into(function, in_order(&standard), x.shape(), axis, y);
        }
        let result = self.apply_axis(function, in_order(&standard), x.shape(), axis)?;
        put(&result, y);
        Ok(())
    }

    /// The gradient of `function` by its input x; dy has the shape of the function's output, where
    /// an axis that is reduced has length 1, or is broadcast to it.
    ///
    /// # Errors
    /// As [`Backend::grad_axis`]; [`Error::ShapeMismatch`].
    pub fn grad_axis_nd<T: Element, D: Dimension, E: Dimension>(
        &self,
        function: AxisFunction,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
        axis: Axis,
    ) -> Result<Array<T, D>> {
        let mut dx = Array::from_elem(x.raw_dim(), T::default());
        self.grad_axis_into_nd(function, x, dy, axis, &mut dx)?;
        Ok(dx)
    }

    /// dx = the gradient of `function` by its input x, as [`Backend::grad_axis_nd`].
    ///
    /// # Errors
    /// As [`Backend::grad_axis_nd`].
    pub fn grad_axis_into_nd<T: Element, D: Dimension, E: Dimension>(
        &self,
        function: AxisFunction,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
        axis: Axis,
        dx: &mut ArrayRef<T, D>,
    ) -> Result<()> {
        same_shape("the gradient", &x.raw_dim(), dx)?;
        let shape = output_shape(function, x, axis)?;
        let dy = dy
            .broadcast(shape.clone())
            .ok_or_else(|| mismatch("the upstream gradient", shape.slice(), dy.shape()))?;
        let axis = axis.index() as isize;
        let (x, dy) = (x.as_standard_layout(), dy.as_standard_layout());
        let shape = x.shape();
        let (x, dy) = (in_order(&x), in_order(&dy));
        if let Some(dx) = dx.as_slice_mut() {
            return self.grad_axis_into(function, x, dy, shape, axis, dx);
        }
        put(&self.grad_axis(function, x, dy, shape, axis)?, dx);
        Ok(())
    }
}

/// The elements of an array that was brought into standard layout.
fn in_order<'a, T: Element, D: Dimension>(x: &'a CowArray<'_, T, D>) -> &'a [T] {
    // Invariant: the standard layout is that of a slice.
    x.as_slice().expect("an array in standard layout")
}

/// Whether x is contiguous with the first axis fastest.
fn is_reversed<T: Element, D: Dimension>(x: &ArrayRef<T, D>) -> bool {
    !x.is_standard_layout() && x.view().reversed_axes().is_standard_layout()
}

/// Copies elements in row-major order.
fn put<T: Element, D: Dimension>(from: &[T], to: &mut ArrayRef<T, D>) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// x with the shape of y.
fn broadcast<'a, T: Element, D: Dimension, E: Dimension>(
    what: &'static str,
    x: &'a ArrayRef<T, E>,
    y: &ArrayRef<T, D>,
) -> Result<ArrayView<'a, T, D>> {
    x.broadcast(y.raw_dim())
        .ok_or_else(|| mismatch(what, y.shape(), x.shape()))
}

fn same_shape<T: Element, D: Dimension>(
    what: &'static str,
    expected: &D,
    array: &ArrayRef<T, D>,
) -> Result<()> {
    if *expected == array.raw_dim() {
        return Ok(());
    }
    Err(mismatch(what, expected.slice(), array.shape()))
}

fn mismatch(what: &'static str, expected: &[usize], got: &[usize]) -> Error {
    Error::ShapeMismatch {
        what,
        expected: expected.to_vec(),
        got: got.to_vec(),
    }
}

/// The shape of a function's output, in which an axis that is reduced has length 1.
fn output_shape<T: Element, D: Dimension>(
    function: AxisFunction,
    x: &ArrayRef<T, D>,
    axis: Axis,
) -> Result<D> {
    let (mut shape, rank) = (x.raw_dim(), x.ndim());
    if axis.index() >= rank {
        return Err(Error::AxisOutOfRange {
            axis: isize::try_from(axis.index()).unwrap_or(isize::MAX),
            rank,
        });
    }
    if function.reduces() {
        shape[axis.index()] = 1;
    }
    Ok(shape)
}
