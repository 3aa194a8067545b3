//! The parametric rectifier on tensors.

use super::tensor::same_shape;
use super::{Batch, Tensor};
use crate::error::Result;
use crate::prelu::Prelu;

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
