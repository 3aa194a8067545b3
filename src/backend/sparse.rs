//! The kin of softmax in host memory: hardmax, sparsemax, entmax, maxout and gumbel_softmax.

use super::{Backend, Narrowed};
use crate::axis::AxisFunction;
use crate::cpu::convert;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gpu::{HostWait, SparseOperation};
use crate::gumbel::GumbelSoftmax;
use crate::maxout::Groups;
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

impl Backend {
    twins! {
        /// `function` of every row of x along `axis`.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`]; [`Error::OptionOutOfRange`].
        fn apply_sparse / apply_sparse_async / apply_sparse_core<T> [x] (function: SparseFunction, x: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// The gradient of `function` by its input x.
        ///
        /// # Errors
        /// As [`Backend::apply_sparse`].
        fn grad_sparse / grad_sparse_async / grad_sparse_core<T> [x, dy] (function: SparseFunction, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// The gradient of `function` by its input, from its output y: one pass over the rows, and
        /// exact, since the output's zeros say which elements count.
        ///
        /// # Errors
        /// As [`Backend::apply_sparse`].
        fn grad_sparse_from_output / grad_sparse_from_output_async / grad_sparse_from_output_core<T> [y, dy] (function: SparseFunction, y: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// Softmax over the channels of an array (N, C, H, W) or (C, H, W), which are its axis -3.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`]; [`Error::AxisOutOfRange`] for another number of axes.
        fn softmax2d / softmax2d_async / softmax2d_core<T> [x] (x: &[T], shape: &[usize]) -> Vec<T>;
        /// The maxima of groups of `pieces` consecutive elements along `axis`, whose length they
        /// divide; see [`Groups`] for the shape of the result.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`]; [`Error::OptionOutOfRange`].
        fn maxout / maxout_async / maxout_core<T> [x] (x: &[T], shape: &[usize], axis: isize, pieces: usize) -> Vec<T>;
        /// The gradient of maxout by x, whose shape is `shape`; dy has that of the output.
        ///
        /// # Errors
        /// As [`Backend::maxout`].
        fn grad_maxout / grad_maxout_async / grad_maxout_core<T> [x, dy] (x: &[T], dy: &[T], shape: &[usize], axis: isize, pieces: usize) -> Vec<T>;
        /// gumbel_softmax of every row of x along `axis`.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`].
        fn gumbel_softmax / gumbel_softmax_async / gumbel_softmax_core<T> [x] (gumbel: GumbelSoftmax, x: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// gumbel_softmax of every row of x with noise of the caller's own.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`].
        fn gumbel_softmax_with / gumbel_softmax_with_async / gumbel_softmax_with_core<T> [x, noise] (gumbel: GumbelSoftmax, x: &[T], noise: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// The gradient of gumbel_softmax by x, with the noise of the forward pass; where it is
        /// hard, that of the soft one.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`].
        fn grad_gumbel_softmax / grad_gumbel_softmax_async / grad_gumbel_softmax_core<T> [x, dy] (gumbel: GumbelSoftmax, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// The gradient of gumbel_softmax by x with noise of the caller's own.
        ///
        /// # Errors
        /// As [`Backend::apply_axis`].
        fn grad_gumbel_softmax_with / grad_gumbel_softmax_with_async / grad_gumbel_softmax_with_core<T> [x, noise, dy] (gumbel: GumbelSoftmax, x: &[T], noise: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
    }

    async fn apply_sparse_core(
        &self,
        function: SparseFunction,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut y = vec![0.0; x.len()];
        let (around, operation) = (AxisShape::new(shape, axis)?, SparseOperation::Forward { x });
        either!(
            self,
            |gpu| gpu
                .sparse_host(function, operation, &around, &mut y, wait)
                .await,
            |cpu| cpu.apply_sparse_into(function, x, shape, axis, &mut y)
        )?;
        Ok(y)
    }

    async fn grad_sparse_core(
        &self,
        function: SparseFunction,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut dx = vec![0.0; x.len()];
        let around = AxisShape::new(shape, axis)?;
        let operation = SparseOperation::Backward { x, dy };
        either!(
            self,
            |gpu| gpu
                .sparse_host(function, operation, &around, &mut dx, wait)
                .await,
            |cpu| cpu.grad_sparse_into(function, x, dy, shape, axis, &mut dx)
        )?;
        Ok(dx)
    }

    async fn grad_sparse_from_output_core(
        &self,
        function: SparseFunction,
        y: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut dx = vec![0.0; y.len()];
        let around = AxisShape::new(shape, axis)?;
        let operation = SparseOperation::FromOutput { y, dy };
        either!(
            self,
            |gpu| gpu
                .sparse_host(function, operation, &around, &mut dx, wait)
                .await,
            |cpu| cpu.grad_sparse_from_output_into(function, y, dy, shape, axis, &mut dx)
        )?;
        Ok(dx)
    }

    async fn softmax2d_core(&self, x: &[f32], shape: &[usize], wait: HostWait) -> Result<Vec<f32>> {
        if !matches!(shape.len(), 3 | 4) {
            return Err(Error::AxisOutOfRange {
                axis: -3,
                rank: shape.len(),
            });
        }
        self.apply_axis_core(AxisFunction::Softmax, x, shape, -3, wait)
            .await
    }

    async fn maxout_core(
        &self,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        pieces: usize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let groups = Groups::new(shape, axis, pieces)?;
        let mut y = vec![0.0; groups.rows().rows()];
        either!(
            self,
            |gpu| gpu.maxout_host(&groups, x, None, &mut y, wait).await,
            |cpu| cpu.maxout_into(&groups, x, &mut y)
        )?;
        Ok(y)
    }

    async fn grad_maxout_core(
        &self,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        pieces: usize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let groups = Groups::new(shape, axis, pieces)?;
        let mut dx = vec![0.0; x.len()];
        either!(
            self,
            |gpu| gpu.maxout_host(&groups, x, Some(dy), &mut dx, wait).await,
            |cpu| cpu.grad_maxout_into(&groups, x, dy, &mut dx)
        )?;
        Ok(dx)
    }

    async fn gumbel_softmax_core(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        self.gumbel(gumbel, x, [None; 2], (shape, axis), wait).await
    }

    async fn gumbel_softmax_with_core(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        noise: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        self.gumbel(gumbel, x, [Some(noise), None], (shape, axis), wait)
            .await
    }

    async fn grad_gumbel_softmax_core(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        self.gumbel(gumbel, x, [None, Some(dy)], (shape, axis), wait)
            .await
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operation's own, and how to wait"
    )]
    async fn grad_gumbel_softmax_with_core(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        noise: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        self.gumbel(gumbel, x, [Some(noise), Some(dy)], (shape, axis), wait)
            .await
    }

    /// gumbel_softmax with noise and an upstream gradient where they are given.
    async fn gumbel(
        &self,
        gumbel: GumbelSoftmax,
        x: &[f32],
        arrays: [Option<&[f32]>; 2],
        (shape, axis): (&[usize], isize),
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let around = AxisShape::new(shape, axis)?;
        let mut out = vec![0.0; x.len()];
        let [noise, dy] = arrays;
        either!(
            self,
            |gpu| gpu
                .gumbel_host(gumbel, &around, arrays, x, &mut out, wait)
                .await,
            |cpu| cpu.gumbel_into(gumbel, x, noise, dy, &around, &mut out)
        )?;
        Ok(out)
    }
}
