//! The parametric rectifier: on tensors, and from and to host memory.

use super::stream::{HostWait, Operation, PIECE, Piece, Results, run, words};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::error::Result;
use crate::plan;
use crate::prelu::Prelu;
use crate::shape::same_length;

impl Batch {
    /// y = x where x > 0, else slope · x, in a new tensor; x has the shape of `prelu`, and the
    /// slope's tensor as many elements as there are slopes, in any shape.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::ShapeMismatch`](crate::Error::ShapeMismatch),
    /// [`Error::SlopeLength`](crate::Error::SlopeLength).
    pub fn prelu(&mut self, prelu: &Prelu, x: &Tensor, slope: &Tensor) -> Result<Tensor> {
        same_shape("the input", prelu.shape(), x.shape())?;
        prelu.check_slopes("the slope", slope.len())?;
        let y = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("slope", slope), ("output", &y)];
        self.record(tensors, &[&y], |kernels, pass, [x, slope, y]| {
            kernels.prelu(pass, prelu, x, slope, y)
        })?;
        Ok(y)
    }

    /// The gradients by x and by the slope, in two new tensors.
    ///
    /// # Errors
    /// As [`Batch::prelu`].
    pub fn grad_prelu(
        &mut self,
        prelu: &Prelu,
        x: &Tensor,
        slope: &Tensor,
        dy: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        same_shape("the input", prelu.shape(), x.shape())?;
        prelu.check_slopes("the slope", slope.len())?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        if x.is_empty() {
            // Sums of nothing.
            let zeros = vec![0.0; slope.len()];
            let dslope = self.handle.upload(&zeros, slope.shape())?;
            let dslope = self.cast(&dslope, slope.dtype())?;
            return Ok((self.handle.empty_as(x.shape(), x.dtype())?, dslope));
        }
        let (dx, dslope) = (
            self.output(x.shape(), x.dtype())?,
            self.output(slope.shape(), slope.dtype())?,
        );
        let tensors = [
            ("input", x),
            ("slope", slope),
            ("upstream gradient", dy),
            ("gradient", &dx),
            ("gradient by the slope", &dslope),
        ];
        self.record(
            tensors,
            &[&dx, &dslope],
            |kernels, pass, [x, slope, dy, dx, dslope]| {
                kernels.grad_prelu(pass, prelu, x, slope, dy, dx, dslope)
            },
        )?;
        Ok((dx, dslope))
    }
}

impl Gpu {
    /// y = x where x > 0, else slope · x, in host memory.
    pub(crate) async fn prelu_host(
        &self,
        prelu: &Prelu,
        x: &[f32],
        slope: &[f32],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the input", prelu.elements(), x.len())?;
        prelu.check_slopes("the slope", slope.len())?;
        same_length("the output", x.len(), y.len())?;
        let cut = plan::sum_pieces(prelu.sums(), PIECE as u64);
        let pieces = cut.iter().map(|piece| {
            let elements = piece.start as usize..(piece.start + piece.elements()) as usize;
            Piece {
                inputs: vec![elements.clone(), piece.row_range()],
                outputs: vec![elements],
            }
        });
        let operation = Operation {
            inputs: &[words(x), words(slope)],
            outputs: &mut [y],
            results: Results::InOwnBuffers,
        };
        let mut next = cut.iter();
        run(
            &self.inner,
            operation,
            pieces.filter(|piece| !piece.outputs[0].is_empty()),
            wait.0,
            |kernels, pass, slices, _| {
                let Some(part) = next.next().map(Prelu::part) else {
                    return Ok(());
                };
                kernels.prelu(pass, &part, slices[0], slices[1], slices[2])
            },
        )
        .await
    }

    /// The gradients by x and by the slope, in host memory. Pieces leave the parts of their sums,
    /// which the host adds up in f64.
    pub(crate) async fn grad_prelu_host(
        &self,
        prelu: &Prelu,
        [x, slope, dy]: [&[f32]; 3],
        [dx, dslope]: [&mut [f32]; 2],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the input", prelu.elements(), x.len())?;
        prelu.check_slopes("the slope", slope.len())?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        prelu.check_slopes("the gradient by the slope", dslope.len())?;
        if x.is_empty() {
            dslope.fill(0.0);
            return Ok(());
        }
        let cut = plan::sum_pieces(prelu.sums(), PIECE as u64);
        let mut all = 0;
        let pieces: Vec<Piece> = cut
            .iter()
            .map(|piece| {
                let elements = piece.start as usize..(piece.start + piece.elements()) as usize;
                let parts = all..all + 2 * piece.rows() as usize;
                all = parts.end;
                Piece {
                    inputs: vec![elements.clone(), piece.row_range(), elements.clone()],
                    outputs: vec![elements, parts],
                }
            })
            .collect();
        let mut parts = vec![0.0; all];
        let mut next = cut.iter();
        let operation = Operation {
            inputs: &[words(x), words(slope), words(dy)],
            outputs: &mut [dx, &mut parts],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces.into_iter(),
            wait.0,
            |kernels, pass, slices, _| {
                let Some(part) = next.next().map(Prelu::part) else {
                    return Ok(());
                };
                let inputs = [slices[0], slices[1], slices[2]];
                kernels.grad_prelu_by(pass, &part, inputs, [slices[3], slices[4]], 0.0)
            },
        )
        .await?;
        plan::merge_pieces(&cut, &parts, dslope);
        Ok(())
    }
}
