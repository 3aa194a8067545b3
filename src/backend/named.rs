//! Calls of one family each, by the names that they had before operations were values.

use super::Backend;
use crate::arrays::{Array, Listed, OfShape};
use crate::axis::AxisFunction;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::functions::{Maxout, Softmax};
use crate::gate::Gate;
use crate::gumbel::GumbelSoftmax;
use crate::loss::{BceWithLogits, BinaryCrossEntropy, CrossEntropy, NllLoss, Targets};
use crate::prelu::Prelu;
use crate::rrelu::Rrelu;
use crate::shape::element_count;
use crate::shaping::Shaping;
use crate::sparse::SparseFunction;

/// A call of a name and its twin that does not block, as calls of an operation.
macro_rules! named {
    ($(fn $name:ident / $async_name:ident($($argument:ident: $type:ty),*) -> $output:ty = $call:ident / $async_call:ident($($given:expr),*) $(| $map:expr)?;)*) => {$(
        #[doc = concat!("[`Backend::", stringify!($call), "`] by another name.")]
        ///
        /// # Errors
        #[doc = concat!("As [`Backend::", stringify!($call), "`].")]
        pub fn $name<T: Element>(&self, $($argument: $type),*) -> Result<$output> {
            self.$call($($given),*)$(.map($map))?
        }

        #[doc = concat!("[`Backend::", stringify!($name), "`] without blocking its thread.")]
        ///
        /// # Errors
        #[doc = concat!("As [`Backend::", stringify!($name), "`].")]
        pub async fn $async_name<T: Element>(&self, $($argument: $type),*) -> Result<$output> {
            self.$async_call($($given),*).await$(.map($map))?
        }
    )*};
}

/// Two gradients.
fn pair<T>(gradients: Vec<Vec<T>>) -> (Vec<T>, Vec<T>) {
    let mut gradients = gradients.into_iter();
    let mut next = || gradients.next().unwrap_or_default();
    (next(), next())
}

/// The function of a shaping, and its arrays behind x.
fn shaped<'a, T: Element>(
    function: AxisFunction,
    shaping: &Shaping<'a>,
    x: &'a [T],
    shape: &'a [usize],
    axis: isize,
) -> (Softmax, Listed<'a, T>) {
    let x = Array::from_elements(x, shape);
    let arrays = [
        Some(x),
        shaping
            .mask
            .map(|(mask, shape)| Array::from(mask.of_shape(shape)).named("mask")),
        shaping
            .bias
            .map(|(bias, shape)| Array::from(bias.of_shape(shape)).named("bias")),
        shaping
            .lengths
            .map(|(lengths, shape)| Array::from(lengths.of_shape(shape)).named("lengths")),
        shaping
            .sinks
            .map(|(sinks, shape)| Array::from(sinks.of_shape(shape)).named("sinks")),
    ];
    let softmax = Softmax::new(function, axis, shaping.settings);
    (softmax, Listed::new(arrays.into_iter().flatten()))
}

impl Backend {
    named! {
        fn apply_axis / apply_axis_async(function: AxisFunction, x: &[T], shape: &[usize], axis: isize) -> Vec<T> = apply / apply_async(function.along(axis), x.of_shape(shape));
        fn apply_axis_into / apply_axis_into_async(function: AxisFunction, x: &[T], shape: &[usize], axis: isize, y: &mut [T]) -> () = apply_into / apply_into_async(function.along(axis), x.of_shape(shape), y);
        fn grad_axis / grad_axis_async(function: AxisFunction, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad / grad_async(function.along(axis), x.of_shape(shape), dy);
        fn grad_axis_into / grad_axis_into_async(function: AxisFunction, x: &[T], dy: &[T], shape: &[usize], axis: isize, dx: &mut [T]) -> () = grad_into / grad_into_async(function.along(axis), x.of_shape(shape), dy, dx);
        fn grad_axis_from_output / grad_axis_from_output_async(function: AxisFunction, y: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad_from_output / grad_from_output_async(function.along(axis), y.of_shape(shape), dy);
        fn gate / gate_async(function: &Gate, x: &[T], shape: &[usize], axis: isize) -> Vec<T> = apply / apply_async(function.along(axis), x.of_shape(shape));
        fn gate_into / gate_into_async(function: &Gate, x: &[T], shape: &[usize], axis: isize, y: &mut [T]) -> () = apply_into / apply_into_async(function.along(axis), x.of_shape(shape), y);
        fn grad_gate / grad_gate_async(function: &Gate, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad / grad_async(function.along(axis), x.of_shape(shape), dy);
        fn grad_gate_into / grad_gate_into_async(function: &Gate, x: &[T], dy: &[T], shape: &[usize], axis: isize, dx: &mut [T]) -> () = grad_into / grad_into_async(function.along(axis), x.of_shape(shape), dy, dx);
        fn gate_pair / gate_pair_async(function: &Gate, value: &[T], gate: &[T]) -> Vec<T> = apply / apply_async(function, Listed::of([value, gate]));
        fn grad_gate_pair / grad_gate_pair_async(function: &Gate, value: &[T], gate: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) = grads / grads_async(function, Listed::of([value, gate]), dy) | pair;
        fn apply_sparse / apply_sparse_async(function: SparseFunction, x: &[T], shape: &[usize], axis: isize) -> Vec<T> = apply / apply_async(function.along(axis), x.of_shape(shape));
        fn grad_sparse / grad_sparse_async(function: SparseFunction, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad / grad_async(function.along(axis), x.of_shape(shape), dy);
        fn grad_sparse_from_output / grad_sparse_from_output_async(function: SparseFunction, y: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad_from_output / grad_from_output_async(function.along(axis), y.of_shape(shape), dy);
        fn maxout / maxout_async(x: &[T], shape: &[usize], axis: isize, pieces: usize) -> Vec<T> = apply / apply_async(Maxout::new(pieces).along(axis), x.of_shape(shape));
        fn grad_maxout / grad_maxout_async(x: &[T], dy: &[T], shape: &[usize], axis: isize, pieces: usize) -> Vec<T> = grad / grad_async(Maxout::new(pieces).along(axis), x.of_shape(shape), dy);
        fn gumbel_softmax / gumbel_softmax_async(gumbel: GumbelSoftmax, x: &[T], shape: &[usize], axis: isize) -> Vec<T> = apply / apply_async(gumbel.along(axis), x.of_shape(shape));
        fn gumbel_softmax_with / gumbel_softmax_with_async(gumbel: GumbelSoftmax, x: &[T], noise: &[T], shape: &[usize], axis: isize) -> Vec<T> = apply / apply_async(gumbel.along(axis), Listed::new([Array::from_elements(x, shape), Array::from_elements(noise, shape)]));
        fn grad_gumbel_softmax / grad_gumbel_softmax_async(gumbel: GumbelSoftmax, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad / grad_async(gumbel.along(axis), x.of_shape(shape), dy);
        fn grad_gumbel_softmax_with / grad_gumbel_softmax_with_async(gumbel: GumbelSoftmax, x: &[T], noise: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T> = grad / grad_async(gumbel.along(axis), Listed::new([Array::from_elements(x, shape), Array::from_elements(noise, shape)]), dy);
        fn cross_entropy / cross_entropy_async(loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>) -> Vec<T> = apply / apply_async(loss, (logits.of_shape(shape), targets));
        fn grad_cross_entropy / grad_cross_entropy_async(loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>, dy: &[T]) -> Vec<T> = grad / grad_async(loss, (logits.of_shape(shape), targets), dy);
        fn cross_entropy_with_grad / cross_entropy_with_grad_async(loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>) -> (Vec<T>, Vec<T>) = apply_with_grad / apply_with_grad_async(loss, (logits.of_shape(shape), targets));
        fn nll_loss / nll_loss_async(loss: &NllLoss, log_probabilities: &[T], shape: &[usize], targets: Targets<'_>) -> Vec<T> = apply / apply_async(loss, (log_probabilities.of_shape(shape), targets));
        fn grad_nll_loss / grad_nll_loss_async(loss: &NllLoss, shape: &[usize], targets: Targets<'_>, dy: &[T]) -> Vec<T> = grad / grad_async(loss, (vec![T::default(); element_count(shape)?].of_shape(shape), targets), dy);
        fn binary_cross_entropy_with_logits / binary_cross_entropy_with_logits_async(loss: &BceWithLogits, logits: &[T], shape: &[usize], targets: &[T]) -> Vec<T> = apply / apply_async(loss, Listed::new([Array::from_elements(logits, shape), Array::from_elements(targets, shape)]));
        fn grad_binary_cross_entropy_with_logits / grad_binary_cross_entropy_with_logits_async(loss: &BceWithLogits, logits: &[T], shape: &[usize], targets: &[T], dy: &[T]) -> Vec<T> = grad / grad_async(loss, Listed::new([Array::from_elements(logits, shape), Array::from_elements(targets, shape)]), dy);
        fn binary_cross_entropy / binary_cross_entropy_async(loss: &BinaryCrossEntropy, probabilities: &[T], shape: &[usize], targets: &[T]) -> Vec<T> = apply / apply_async(loss, Listed::new([Array::from_elements(probabilities, shape), Array::from_elements(targets, shape)]));
        fn grad_binary_cross_entropy / grad_binary_cross_entropy_async(loss: &BinaryCrossEntropy, probabilities: &[T], shape: &[usize], targets: &[T], dy: &[T]) -> Vec<T> = grad / grad_async(loss, Listed::new([Array::from_elements(probabilities, shape), Array::from_elements(targets, shape)]), dy);
        fn prelu / prelu_async(prelu: &Prelu, x: &[T], slope: &[T]) -> Vec<T> = apply / apply_async(prelu, Listed::of([x, slope]));
        fn grad_prelu / grad_prelu_async(prelu: &Prelu, x: &[T], slope: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) = grads / grads_async(prelu, Listed::of([x, slope]), dy) | pair;
        fn rrelu / rrelu_async(rrelu: Rrelu, x: &[T]) -> Vec<T> = apply / apply_async(rrelu, x);
        fn grad_rrelu / grad_rrelu_async(rrelu: Rrelu, x: &[T], dy: &[T]) -> Vec<T> = grad / grad_async(rrelu, x, dy);
    }

    /// Softmax over the channels of an array (N, C, H, W) or (C, H, W), which are its axis -3.
    ///
    /// # Errors
    /// As [`Backend::apply`]; [`Error::AxisOutOfRange`] for another number of axes.
    pub fn softmax2d<T: Element>(&self, x: &[T], shape: &[usize]) -> Result<Vec<T>> {
        has_channels(shape)?;
        self.apply(AxisFunction::Softmax.along(-3), x.of_shape(shape))
    }

    /// [`Backend::softmax2d`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::softmax2d`].
    pub async fn softmax2d_async<T: Element>(&self, x: &[T], shape: &[usize]) -> Result<Vec<T>> {
        has_channels(shape)?;
        self.apply_async(AxisFunction::Softmax.along(-3), x.of_shape(shape))
            .await
    }

    /// [`Backend::apply`] of a shaping.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_axis_shaped<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.apply(softmax, inputs)
    }

    /// [`Backend::apply_axis_shaped`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub async fn apply_axis_shaped_async<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.apply_async(softmax, inputs).await
    }

    /// [`Backend::apply_into`] of a shaping.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_axis_shaped_into<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        shape: &[usize],
        axis: isize,
        y: &mut [T],
    ) -> Result<()> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.apply_into(softmax, inputs, y)
    }

    /// [`Backend::apply_axis_shaped_into`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub async fn apply_axis_shaped_into_async<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        shape: &[usize],
        axis: isize,
        y: &mut [T],
    ) -> Result<()> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.apply_into_async(softmax, inputs, y).await
    }

    /// [`Backend::grad`] of a shaping.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn grad_axis_shaped<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.grad(softmax, inputs, dy)
    }

    /// [`Backend::grad_axis_shaped`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub async fn grad_axis_shaped_async<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.grad_async(softmax, inputs, dy).await
    }

    /// [`Backend::grad_by`] the sinks of a shaping.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn grad_axis_sinks<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.grad_by(softmax, "sinks", inputs, dy)
    }

    /// [`Backend::grad_axis_sinks`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub async fn grad_axis_sinks_async<T: Element>(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
    ) -> Result<Vec<T>> {
        let (softmax, inputs) = shaped(function, shaping, x, shape, axis);
        self.grad_by_async(softmax, "sinks", inputs, dy).await
    }
}

fn has_channels(shape: &[usize]) -> Result<()> {
    if matches!(shape.len(), 3 | 4) {
        return Ok(());
    }
    Err(Error::AxisOutOfRange {
        axis: -3,
        rank: shape.len(),
    })
}
