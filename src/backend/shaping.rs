//! The softmax family over shaped rows, on either backend.

use super::{Backend, Narrowed};
use crate::axis::AxisFunction;
use crate::cpu::convert::{self, WideOutput};
use crate::element::Element;
use crate::error::Result;
use crate::gpu::{HostJob, HostWait, output_shape};
use crate::shaping::Shaping;

impl Backend {
    twins! {
        /// `function` of every row of x along `axis`, after `shaping`: masked, causal, biased,
        /// scaled. The result has x's shape, without the axis where the function reduces.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`]; [`Error::NotBroadcastable`](crate::Error::NotBroadcastable),
        /// [`Error::NoQueryAxis`](crate::Error::NoQueryAxis),
        /// [`Error::ParameterOutOfRange`](crate::Error::ParameterOutOfRange),
        /// [`Error::FullyMaskedRow`](crate::Error::FullyMaskedRow) where the policy is that.
        fn apply_axis_shaped / apply_axis_shaped_async / apply_axis_shaped_core<T> [x] (function: AxisFunction, shaping: &Shaping<'_>, x: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// y = `function` of every row of x along `axis`, after `shaping`.
        ///
        /// # Errors
        /// As [`Backend::apply_axis_shaped`].
        fn apply_axis_shaped_into / apply_axis_shaped_into_async / apply_axis_shaped_into_core<T> [x => y] (function: AxisFunction, shaping: &Shaping<'_>, x: &[T], shape: &[usize], axis: isize; y: &mut [T]) -> ();
        /// The gradient of `function` after `shaping` by its input x; dy has the shape of the
        /// function's output. It is exactly 0 where an element takes no part.
        ///
        /// # Errors
        /// As [`Backend::apply_axis_shaped`].
        fn grad_axis_shaped / grad_axis_shaped_async / grad_axis_shaped_core<T> [x, dy] (function: AxisFunction, shaping: &Shaping<'_>, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
    }

    async fn apply_axis_shaped_core(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let elements = output_shape(function, shape, axis)?.iter().product();
        let mut y = vec![0.0; elements];
        self.apply_axis_shaped_into_core(function, shaping, x, shape, axis, &mut y, wait)
            .await?;
        Ok(y)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operation's own, and how to wait"
    )]
    async fn apply_axis_shaped_into_core(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let job = HostJob {
            function,
            shaping,
            x,
            dy: None,
            shape,
            axis,
        };
        either!(
            (self, wait),
            |gpu| gpu.shaped_host(job, y, wait).await,
            |cpu| cpu.apply_axis_shaped_into(function, shaping, x, shape, axis, y)
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operation's own, and how to wait"
    )]
    async fn grad_axis_shaped_core(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut dx = vec![0.0; x.len()];
        let job = HostJob {
            function,
            shaping,
            x,
            dy: Some(dy),
            shape,
            axis,
        };
        either!(
            (self, wait),
            |gpu| gpu.shaped_host(job, &mut dx, wait).await,
            |cpu| cpu.grad_axis_shaped_into(function, shaping, x, dy, shape, axis, &mut dx)
        )?;
        Ok(dx)
    }
}
