//! Statistics of activations in host memory.

use super::Backend;
use crate::cpu::convert;
use crate::element::Element;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::statistics::{Inspect, Statistics};

impl Backend {
    twins! {
        /// Statistics of the activations of `x`, an array of pre-activations (or, with the
        /// default [`Inspect`], of activations).
        ///
        /// # Errors
        /// [`Error::LengthMismatch`](crate::Error::LengthMismatch),
        /// [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange),
        /// [`Error::OptionOutOfRange`](crate::Error::OptionOutOfRange); on a GPU also
        /// [`Error::OutOfMemory`](crate::Error::OutOfMemory),
        /// [`Error::DeviceLost`](crate::Error::DeviceLost) and
        /// [`Error::AxisStepTooLarge`](crate::Error::AxisStepTooLarge) where no binding holds a
        /// word for each unit.
        fn inspect / inspect_async / inspect_core<T> [x] (what: &Inspect, x: &[T], shape: &[usize]) -> Statistics;
    }

    async fn inspect_core(
        &self,
        what: &Inspect,
        x: &[f32],
        shape: &[usize],
        wait: HostWait,
    ) -> Result<Statistics> {
        either!(
            self,
            |gpu| gpu.inspect_host(what, x, shape, wait).await,
            |cpu| cpu.inspect(what, x, shape)
        )
    }
}
