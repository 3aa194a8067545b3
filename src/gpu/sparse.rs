//! The kin of softmax on tensors: hardmax, sparsemax, entmax, maxout and gumbel_softmax.

use super::tensor::same_shape;
use super::{Batch, Tensor};
use crate::error::Result;
use crate::gumbel::GumbelSoftmax;
use crate::maxout::Groups;
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

impl Batch {
    /// y = `function` of every row of x along `axis`, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`]; [`Error::OptionOutOfRange`](crate::Error::OptionOutOfRange).
    pub fn apply_sparse(
        &mut self,
        function: SparseFunction,
        x: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        let y = self.output(x.shape(), x.dtype())?;
        self.record(
            [("input", x), ("output", &y)],
            &[&y],
            |kernels, pass, [x, y]| kernels.apply_sparse(pass, function, &shape, x, y),
        )?;
        Ok(y)
    }

    /// dx = the gradient of `function` by its input x, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_sparse`].
    pub fn grad_sparse(
        &mut self,
        function: SparseFunction,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_sparse(pass, function, &shape, x, dy, dx)
        })?;
        Ok(dx)
    }

    /// dx = the gradient of `function` by its input, from its output y, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_sparse`].
    pub fn grad_sparse_from_output(
        &mut self,
        function: SparseFunction,
        y: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(y.shape(), axis)?;
        same_shape("the upstream gradient", y.shape(), dy.shape())?;
        let dx = self.output(y.shape(), y.dtype())?;
        let tensors = [("output", y), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [y, dy, dx]| {
            kernels.grad_sparse_from_output(pass, function, &shape, y, dy, dx)
        })?;
        Ok(dx)
    }

    /// The maxima of groups of `pieces` consecutive elements along `axis`, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`]; [`Error::OptionOutOfRange`](crate::Error::OptionOutOfRange).
    pub fn maxout(&mut self, x: &Tensor, axis: isize, pieces: usize) -> Result<Tensor> {
        let groups = Groups::new(x.shape(), axis, pieces)?;
        let y = self.output(groups.output_shape(), x.dtype())?;
        self.record(
            [("input", x), ("output", &y)],
            &[&y],
            |kernels, pass, [x, y]| kernels.maxout(pass, &groups, x, y),
        )?;
        Ok(y)
    }

    /// dx = the gradient of maxout by x, in a new tensor; dy has the shape of its output.
    ///
    /// # Errors
    /// As [`Batch::maxout`].
    pub fn grad_maxout(
        &mut self,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
        pieces: usize,
    ) -> Result<Tensor> {
        let groups = Groups::new(x.shape(), axis, pieces)?;
        same_shape("the upstream gradient", groups.output_shape(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_maxout(pass, &groups, x, dy, dx)
        })?;
        Ok(dx)
    }

    /// y = gumbel_softmax of every row of x along `axis`, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`].
    pub fn gumbel_softmax(
        &mut self,
        gumbel: GumbelSoftmax,
        x: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        let y = self.output(x.shape(), x.dtype())?;
        self.record(
            [("input", x), ("output", &y)],
            &[&y],
            |kernels, pass, [x, y]| kernels.gumbel_softmax(pass, gumbel, &shape, x, y),
        )?;
        Ok(y)
    }

    /// y = gumbel_softmax of every row of x with noise of the caller's own, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::gumbel_softmax`].
    pub fn gumbel_softmax_with(
        &mut self,
        gumbel: GumbelSoftmax,
        x: &Tensor,
        noise: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        same_shape("the noise", x.shape(), noise.shape())?;
        let y = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("noise", noise), ("output", &y)];
        self.record(tensors, &[&y], |kernels, pass, [x, noise, y]| {
            kernels.gumbel_softmax_with(pass, gumbel, &shape, x, noise, y)
        })?;
        Ok(y)
    }

    /// dx = the gradient of gumbel_softmax by x, with the noise of the forward pass, in a new
    /// tensor; where it is hard, that of the soft one.
    ///
    /// # Errors
    /// As [`Batch::gumbel_softmax`].
    pub fn grad_gumbel_softmax(
        &mut self,
        gumbel: GumbelSoftmax,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_gumbel_softmax(pass, gumbel, &shape, x, dy, dx)
        })?;
        Ok(dx)
    }

    /// dx = the gradient of gumbel_softmax by x with noise of the caller's own, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::gumbel_softmax`].
    pub fn grad_gumbel_softmax_with(
        &mut self,
        gumbel: GumbelSoftmax,
        x: &Tensor,
        noise: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(x.shape(), axis)?;
        same_shape("the noise", x.shape(), noise.shape())?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [
            ("input", x),
            ("noise", noise),
            ("upstream gradient", dy),
            ("gradient", &dx),
        ];
        self.record(tensors, &[&dx], |kernels, pass, [x, noise, dy, dx]| {
            kernels.grad_gumbel_softmax_with(pass, gumbel, &shape, x, noise, dy, dx)
        })?;
        Ok(dx)
    }
}
