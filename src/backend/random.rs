//! Random numbers and the randomised leaky rectifier, in host memory.

use super::{Backend, Narrowed};
use crate::cpu::convert;
use crate::element::Element;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::random::Random;
use crate::rrelu::Rrelu;
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
        /// rrelu of every element of x; element i takes number i of its random numbers.
        ///
        /// # Errors
        /// As [`Backend::apply`].
        fn rrelu / rrelu_async / rrelu_core<T> [x] (rrelu: Rrelu, x: &[T]) -> Vec<T>;
        /// The gradient of rrelu by x, with the slopes of the forward pass.
        ///
        /// # Errors
        /// As [`Backend::grad`].
        fn grad_rrelu / grad_rrelu_async / grad_rrelu_core<T> [x, dy] (rrelu: Rrelu, x: &[T], dy: &[T]) -> Vec<T>;
    }

    async fn uniform_core(&self, random: Random, count: usize, wait: HostWait) -> Result<Vec<f32>> {
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

    async fn gumbel_noise_core(
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

    async fn rrelu_core(&self, rrelu: Rrelu, x: &[f32], wait: HostWait) -> Result<Vec<f32>> {
        let mut y = vec![0.0; x.len()];
        either!(
            self,
            |gpu| gpu.rrelu_host(rrelu, x, &mut y, wait).await,
            |cpu| cpu.rrelu_into(rrelu, x, &mut y)
        )?;
        Ok(y)
    }

    async fn grad_rrelu_core(
        &self,
        rrelu: Rrelu,
        x: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut dx = vec![0.0; x.len()];
        either!(
            self,
            |gpu| gpu.grad_rrelu_host(rrelu, x, dy, &mut dx, wait).await,
            |cpu| cpu.grad_rrelu_into(rrelu, x, dy, &mut dx)
        )?;
        Ok(dx)
    }
}
