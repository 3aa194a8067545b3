//! Random numbers and the randomised leaky rectifier: on tensors, and from and to host memory.

use super::stream::{HostWait, Operation, PIECE, Piece, Results, ranges, run, words};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::element::DType;
use crate::error::Result;
use crate::random::Random;
use crate::rrelu::Rrelu;
use crate::shape::same_length;

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

    /// y = rrelu(x), in a new tensor; element i in row-major order takes number i.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn rrelu(&mut self, rrelu: Rrelu, x: &Tensor) -> Result<Tensor> {
        let y = self.output(x.shape(), x.dtype())?;
        self.record(
            [("input", x), ("output", &y)],
            &[&y],
            |kernels, pass, [x, y]| kernels.rrelu(pass, rrelu, x, y),
        )?;
        Ok(y)
    }

    /// dx = the gradient of rrelu by x, with the slopes of the forward pass, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::grad`].
    pub fn grad_rrelu(&mut self, rrelu: Rrelu, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_rrelu(pass, rrelu, x, dy, dx)
        })?;
        Ok(dx)
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
            inputs: Vec::new(),
            outputs: vec![range],
        });
        run(
            &self.inner,
            Operation {
                inputs: &[],
                outputs: &mut [out],
                results: Results::InOwnBuffers,
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

    /// y = rrelu(x) in host memory.
    pub(crate) async fn rrelu_host(
        &self,
        rrelu: Rrelu,
        x: &[f32],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the output", x.len(), y.len())?;
        let pieces = ranges(x.len(), PIECE).map(|range| Piece {
            inputs: vec![range.clone()],
            outputs: vec![range],
        });
        run(
            &self.inner,
            Operation {
                inputs: &[words(x)],
                outputs: &mut [y],
                results: Results::InLastInput,
            },
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let rrelu = rrelu.skip(piece.outputs[0].start as u64);
                kernels.rrelu_in_place(pass, rrelu, slices[0])
            },
        )
        .await
    }

    /// dx = the gradient of rrelu by x, in host memory.
    pub(crate) async fn grad_rrelu_host(
        &self,
        rrelu: Rrelu,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let pieces = ranges(x.len(), PIECE).map(|range| Piece {
            inputs: vec![range.clone(), range.clone()],
            outputs: vec![range],
        });
        run(
            &self.inner,
            Operation {
                inputs: &[words(x), words(dy)],
                outputs: &mut [dx],
                results: Results::InLastInput,
            },
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let rrelu = rrelu.skip(piece.outputs[0].start as u64);
                kernels.grad_rrelu_in_place(pass, rrelu, slices[0], slices[1])
            },
        )
        .await
    }
}
