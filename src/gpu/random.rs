//! Random numbers and the randomised leaky rectifier: on tensors, and from and to host memory.

use super::stream::{HostWait, Job, PIECE, Target, ranges, run};
use super::{Batch, Gpu, Tensor};
use crate::arrays::DataMut;
use crate::element::DType;
use crate::error::Result;
use crate::operation::Piece;
use crate::random::Random;

impl Batch {
    /// The numbers between 0 and 1 of `random`, in a new tensor.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`](crate::Error::ShapeTooLarge),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory),
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn uniform(&mut self, random: Random, shape: &[usize]) -> Result<Tensor> {
        let out = self.output(shape, DType::F32)?;
        self.record([("output", &out)], &[&out], |kernels, pass, [out]| {
            kernels.uniform(pass, random, out)
        })?;
        Ok(out)
    }

    /// Gumbel noise -log(-log u) of the numbers u of `random`, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::uniform`].
    pub fn gumbel_noise(&mut self, random: Random, shape: &[usize]) -> Result<Tensor> {
        let out = self.output(shape, DType::F32)?;
        self.record([("output", &out)], &[&out], |kernels, pass, [out]| {
            kernels.gumbel_noise(pass, random, out)
        })?;
        Ok(out)
    }
}

impl Gpu {
    /// out = random numbers, in host memory; Gumbel noise, or numbers between 0 and 1.
    pub(crate) async fn noise_host(
        &self,
        random: Random,
        gumbel: bool,
        out: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let pieces = ranges(out.len(), PIECE).map(|range| Piece {
            inputs: std::iter::empty().collect(),
            outputs: std::iter::once(range).collect(),
        });
        run(
            &self.inner,
            Job {
                inputs: &[],
                outputs: &mut [Target::new(DataMut::F32(out), true)],
                in_last_input: false,
            },
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let random = random.skip(piece.outputs[0].start as u64);
                if gumbel {
                    kernels.gumbel_noise(pass, random, slices[0])
                } else {
                    kernels.uniform(pass, random, slices[0])
                }
            },
        )
        .await
    }
}
