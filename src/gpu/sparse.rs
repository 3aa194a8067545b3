//! The kin of softmax on tensors, and from and to host memory: hardmax, sparsemax, entmax, maxout
//! and gumbel_softmax.

use super::rows::{Reach, RowsOperation};
use super::stream::{HostWait, Results, words};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::error::Result;
use crate::gumbel::GumbelSoftmax;
use crate::kernels::steps_of;
use crate::maxout::Groups;
use crate::plan::STEPS;
use crate::shape::{AxisShape, same_length};
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

/// What a sparse function computes, in host memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SparseOperation<'a> {
    Forward { x: &'a [f32] },
    Backward { x: &'a [f32], dy: &'a [f32] },
    FromOutput { y: &'a [f32], dy: &'a [f32] },
}

impl Gpu {
    /// A sparse function along an axis, in host memory.
    pub(crate) async fn sparse_host(
        &self,
        function: SparseFunction,
        operation: SparseOperation<'_>,
        shape: &AxisShape,
        out: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let rule = function.rule()?;
        let elements = Reach::Elements;
        let (what, inputs) = match operation {
            SparseOperation::Forward { x } => ("the output", vec![x]),
            SparseOperation::Backward { x, dy } => ("the gradient", vec![x, dy]),
            SparseOperation::FromOutput { y, dy } => ("the gradient", vec![y, dy]),
        };
        for (input, what) in inputs.iter().zip(["the input", "the upstream gradient"]) {
            same_length(what, shape.elements(), input.len())?;
        }
        same_length(what, shape.elements(), out.len())?;
        let inputs: Vec<_> = inputs.into_iter().map(|x| (words(x), elements)).collect();
        let rows = RowsOperation {
            shape: *shape,
            steps: steps_of(rule),
            inputs: &inputs,
            outputs: &[elements],
            results: Results::InOwnBuffers,
        };
        self.rows_host(&rows, &mut [out], wait, &|kernels, pass, part, slices| {
            let shape = &part.shape;
            match operation {
                SparseOperation::Forward { .. } => {
                    kernels.apply_sparse(pass, function, shape, slices[0], slices[1])
                }
                SparseOperation::Backward { .. } => {
                    kernels.grad_sparse(pass, function, shape, slices[0], slices[1], slices[2])
                }
                SparseOperation::FromOutput { .. } => kernels.grad_sparse_from_output(
                    pass, function, shape, slices[0], slices[1], slices[2],
                ),
            }
        })
        .await
    }

    /// maxout in host memory, or its gradient where there is a dy.
    pub(crate) async fn maxout_host(
        &self,
        groups: &Groups,
        x: &[f32],
        dy: Option<&[f32]>,
        out: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let shape = groups.rows();
        same_length("the input", shape.elements(), x.len())?;
        let mut inputs = vec![(words(x), Reach::Elements)];
        if let Some(dy) = dy {
            same_length("the upstream gradient", shape.rows(), dy.len())?;
            inputs.push((words(dy), Reach::Rows));
        }
        let output = if dy.is_some() {
            Reach::Elements
        } else {
            Reach::Rows
        };
        let rows = RowsOperation {
            shape,
            steps: STEPS,
            inputs: &inputs,
            outputs: &[output],
            results: Results::InOwnBuffers,
        };
        self.rows_host(&rows, &mut [out], wait, &|kernels, pass, part, slices| {
            let groups = Groups::of_rows(part.shape);
            match slices {
                [x, y] => kernels.maxout(pass, &groups, *x, *y),
                _ => kernels.grad_maxout(pass, &groups, slices[0], slices[1], slices[2]),
            }
        })
        .await
    }

    /// gumbel_softmax in host memory, or its gradient where there is a dy, with the caller's noise
    /// where there is some.
    pub(crate) async fn gumbel_host(
        &self,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        [noise, dy]: [Option<&[f32]>; 2],
        x: &[f32],
        out: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the input", shape.elements(), x.len())?;
        for (array, what) in [(noise, "the noise"), (dy, "the upstream gradient")] {
            if let Some(array) = array {
                same_length(what, shape.elements(), array.len())?;
            }
        }
        // Tiles of columns have no numbers in a row: their noise is gathered as they are.
        let drawn = match noise {
            None if !self.binds_rows(shape, STEPS) => {
                let mut drawn = vec![0.0; x.len()];
                self.noise_host(gumbel.random(), true, &mut drawn, wait)
                    .await?;
                Some(drawn)
            }
            _ => None,
        };
        let noise = noise.or(drawn.as_deref());
        let arrays = [Some(x), noise, dy].into_iter().flatten();
        let inputs: Vec<_> = arrays.map(|x| (words(x), Reach::Elements)).collect();
        let rows = RowsOperation {
            shape: *shape,
            steps: STEPS,
            inputs: &inputs,
            outputs: &[Reach::Elements],
            results: Results::InOwnBuffers,
        };
        let given = (noise.is_some(), dy.is_some());
        self.rows_host(&rows, &mut [out], wait, &|kernels, pass, part, slices| {
            let shape = &part.shape;
            let gumbel = gumbel.skip(part.first_row * shape.len as u64);
            let [x, rest @ ..] = slices else {
                // There is an input and an output.
                return Ok(());
            };
            match (given, rest) {
                ((true, false), [noise, y]) => {
                    kernels.gumbel_softmax_with(pass, gumbel, shape, *x, *noise, *y)
                }
                ((true, true), [noise, dy, dx]) => {
                    kernels.grad_gumbel_softmax_with(pass, gumbel, shape, *x, *noise, *dy, *dx)
                }
                ((false, true), [dy, dx]) => {
                    kernels.grad_gumbel_softmax(pass, gumbel, shape, *x, *dy, *dx)
                }
                (_, rest) => kernels.gumbel_softmax(pass, gumbel, shape, *x, rest[0]),
            }
        })
        .await
    }
}
