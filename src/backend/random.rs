//! Random numbers and the randomised leaky rectifier, in host memory.

use super::Backend;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::random::Random;
use crate::shape::element_count;

impl Backend {
    twins! {
        /// The first `count` numbers between 0 and 1 of `random`: the same bits on every backend.
        ///
        /// # Errors
        /// [`Error::ShapeTooLarge`](crate::Error::ShapeTooLarge),
        /// [`Error::OutOfMemory`](crate::Error::OutOfMemory),
        /// [`Error::DeviceLost`](crate::Error::DeviceLost),
        /// [`Error::Device`](crate::Error::Device).
        fn uniform / uniform_async / uniform_core (random: Random, count: usize) -> Vec<f32>;
        /// Gumbel noise -log(-log u) of the first `count` numbers u of `random`, within 2 ULP.
        ///
        /// # Errors
        /// As [`Backend::uniform`].
        fn gumbel_noise / gumbel_noise_async / gumbel_noise_core (random: Random, count: usize) -> Vec<f32>;
    }

    pub(super) async fn uniform_core(
        &self,
        random: Random,
        count: usize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0.0; element_count(&[count])?];
        either!(
            self,
            |gpu| gpu.noise_host(random, false, &mut out, wait).await,
            |cpu| {
                cpu.uniform_into(random, &mut out);
                Ok(())
            }
        )?;
        Ok(out)
    }

    pub(super) async fn gumbel_noise_core(
        &self,
        random: Random,
        count: usize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0.0; element_count(&[count])?];
        either!(
            self,
            |gpu| gpu.noise_host(random, true, &mut out, wait).await,
            |cpu| {
                cpu.gumbel_noise_into(random, &mut out);
                Ok(())
            }
        )?;
        Ok(out)
    }
}
