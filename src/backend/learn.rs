//! Gradients by an activation's parameter, in host memory.

use super::Backend;
use crate::catalogue::Elementwise;
use crate::cpu::convert;
use crate::element::Element;
use crate::error::Result;
use crate::gpu::HostWait;

impl Backend {
    twins! {
        /// The gradient by the parameter `name` of f: the sum of dy · df/dp over all elements,
        /// with the same bits in each run. [`learnable`](crate::learnable) has the parameters
        /// that there are gradients by; for slopes of their own, see
        /// [`Prelu`](crate::Prelu).
        ///
        /// ```
        /// use wgpu_activations::{Activation, Backend};
        /// let swish = Activation::Swish.with([("beta", 2.0)])?;
        /// // x² σ(βx) σ(-βx) at 0 and at 1.
        /// let by_beta = Backend::cpu().grad_parameter(swish, "beta", &[0.0, 1.0], &[1.0, 1.0])?;
        /// assert!((by_beta - 0.104_993_59).abs() < 1e-7);
        /// # Ok::<(), wgpu_activations::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`Backend::grad`]; [`Error::UnknownParameter`](crate::Error::UnknownParameter),
        /// [`Error::NotLearnable`](crate::Error::NotLearnable).
        fn grad_parameter / grad_parameter_async / grad_parameter_core<T> [x, dy] (f @ Elementwise: impl Into<Elementwise>, name: &str, x: &[T], dy: &[T]) -> f32;
    }

    pub(super) async fn grad_parameter_core(
        &self,
        f: impl Into<Elementwise>,
        name: &str,
        x: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<f32> {
        let f = f.into();
        either!(
            self,
            |gpu| gpu.grad_parameter_host(f, name, x, dy, wait).await,
            |cpu| cpu.grad_parameter(f, name, x, dy)
        )
    }
}
