//! The parametric rectifier, in host memory.

use super::{Backend, Narrowed};
use crate::cpu::convert;
use crate::element::Element;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::prelu::Prelu;

impl Backend {
    twins! {
        /// x where x > 0, else slope · x; see [`Prelu`] for which element has which slope.
        ///
        /// # Errors
        /// As [`Backend::apply_into`]; [`Error::SlopeLength`](crate::Error::SlopeLength).
        fn prelu / prelu_async / prelu_core<T> [x, slope] (prelu: &Prelu, x: &[T], slope: &[T]) -> Vec<T>;
        /// The gradients by x and by the slope. Each sum of the latter is within an ULP of the
        /// exact sum of the rounded terms, wherever that is not the small rest of a cancellation,
        /// and has the same bits in each run.
        ///
        /// # Errors
        /// As [`Backend::prelu`].
        fn grad_prelu / grad_prelu_async / grad_prelu_core<T> [x, slope, dy] (prelu: &Prelu, x: &[T], slope: &[T], dy: &[T]) -> (Vec<T>, Vec<T>);
    }

    async fn prelu_core(
        &self,
        prelu: &Prelu,
        x: &[f32],
        slope: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut y = vec![0.0; x.len()];
        either!(
            self,
            |gpu| gpu.prelu_host(prelu, x, slope, &mut y, wait).await,
            |cpu| cpu.prelu_into(prelu, x, slope, &mut y)
        )?;
        Ok(y)
    }

    async fn grad_prelu_core(
        &self,
        prelu: &Prelu,
        x: &[f32],
        slope: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut dx, mut dslope) = (vec![0.0; x.len()], vec![0.0; prelu.slopes()]);
        either!(
            self,
            |gpu| {
                let outputs = [&mut dx[..], &mut dslope];
                gpu.grad_prelu_host(prelu, [x, slope, dy], outputs, wait)
                    .await
            },
            |cpu| cpu.grad_prelu_into(prelu, x, slope, dy, &mut dx, &mut dslope)
        )?;
        Ok((dx, dslope))
    }
}
