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
        /// The gradient of `function` after `shaping` by its sinks, one for each, or one where the sink
        /// is a number; dy has the shape of the function's output. A row's term is, with p_s the
        /// sink's share e^(s - logsumexp),
        ///
        /// - of softmax and softmin -p_s Σ p dy,
        /// - of log_softmax -p_s Σ dy,
        /// - of logsumexp p_s dy,
        ///
        /// over what takes part in the row, and those of the rows that share a sink are added up,
        /// with the same bits in each run. It is exactly 0 for a sink of -infinity. A row of
        /// which nothing takes part is its sink, whatever the [`RowPolicy`](crate::RowPolicy): of
        /// logsumexp its term is dy. There is no call from the output, which has rounded p_s away.
        ///
        /// ```
        /// use wgpu_activations::{AxisFunction, Backend, Shaping};
        /// // Two heads, each with a query of three keys; e^0 beside three of e^0.
        /// let shaping = Shaping::new().sinks(&[0.0, 0.0], &[2, 1, 1]);
        /// let dy = [4.0, 0.0, 0.0, 8.0, 4.0, 4.0];
        /// let dsinks = Backend::cpu().grad_axis_sinks(
        ///     AxisFunction::Softmax, &shaping, &[0.0; 6], &dy, &[2, 1, 3], -1)?;
        /// assert_eq!(dsinks, [-0.25, -1.0]);
        /// # Ok::<(), wgpu_activations::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`Backend::grad_axis_shaped`]; [`Error::NoSinks`](crate::Error::NoSinks);
        /// [`Error::ScatteredAxes`](crate::Error::ScatteredAxes) where axes along which rows share
        /// sinks take turns with others more than six times.
        fn grad_axis_sinks / grad_axis_sinks_async / grad_axis_sinks_core<T> [x, dy] (function: AxisFunction, shaping: &Shaping<'_>, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<f32>;
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
            by_sink: false,
            shape,
            axis,
        };
        either!(self, |gpu| gpu.shaped_host(job, y, wait).await, |cpu| cpu
            .apply_axis_shaped_into(function, shaping, x, shape, axis, y))
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
            by_sink: false,
            shape,
            axis,
        };
        either!(
            self,
            |gpu| gpu.shaped_host(job, &mut dx, wait).await,
            |cpu| cpu.grad_axis_shaped_into(function, shaping, x, dy, shape, axis, &mut dx)
        )?;
        Ok(dx)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operation's own, and how to wait"
    )]
    async fn grad_axis_sinks_core(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        // Before the sinks are counted.
        shaping.geometry(shape, axis)?;
        let mut dsinks = vec![0.0; shaping.sink_sums(shape, axis)?.sums()];
        either!(
            self,
            |gpu| {
                let (arrays, rows) = ([x, dy], (shape, axis));
                gpu.grad_sinks_host(function, shaping, arrays, rows, &mut dsinks, wait)
                    .await
            },
            |cpu| cpu.grad_axis_sinks_into(function, shaping, x, dy, shape, axis, &mut dsinks)
        )?;
        Ok(dsinks)
    }
}
