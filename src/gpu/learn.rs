//! Gradients by an activation's parameter: on tensors, and from host memory.

use super::stream::{HostWait, Job, PIECE, Target, ranges, run};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::arrays::{Data, DataMut};
use crate::catalogue::Elementwise;
use crate::element::DType;
use crate::error::Result;
use crate::learn::Learnable;
use crate::operation::{Piece, Words};
use crate::plan;
use crate::shape::same_length;

impl Batch {
    /// The gradient by the parameter `name` of f, in a new tensor of one element: the sum of
    /// dy · df/dp.
    ///
    /// # Errors
    /// As [`Batch::grad`]; [`Error::UnknownParameter`](crate::Error::UnknownParameter),
    /// [`Error::NotLearnable`](crate::Error::NotLearnable).
    pub fn grad_parameter(
        &mut self,
        f: impl Into<Elementwise>,
        name: &str,
        x: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor> {
        let f = f.into();
        Learnable::find(f.activation(), name)?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        if x.is_empty() {
            return self.handle.recorded_upload(&[0.0], &[]);
        }
        let sum = self.output(&[], DType::F32)?;
        let tensors = [
            ("input", x),
            ("upstream gradient", dy),
            ("gradient by the parameter", &sum),
        ];
        self.record(tensors, &[&sum], |kernels, pass, [x, dy, sum]| {
            kernels.grad_parameter(pass, f, name, x, dy, sum)
        })?;
        Ok(sum)
    }
}

impl Gpu {
    /// The gradient by the parameter `name` of f, of arrays in host memory.
    pub(crate) async fn grad_parameter_host(
        &self,
        f: Elementwise,
        name: &str,
        x: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<f32> {
        let learnable = Learnable::find(f.activation(), name)?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        let pieces = ranges(x.len(), PIECE).enumerate().map(|(i, range)| {
            let pair = 2 * i..2 * i + 2;
            Piece {
                inputs: [range.clone(), range].into_iter().collect(),
                outputs: std::iter::once(pair).collect(),
            }
        });
        let mut parts = vec![0.0; 2 * x.len().div_ceil(PIECE)];
        let job = Job {
            inputs: &[x, dy].map(|x| Words::new(Data::F32(x))),
            outputs: &mut [Target::new(DataMut::F32(&mut parts), true)],
            in_last_input: false,
        };
        run(
            &self.inner,
            job,
            pieces,
            wait.0,
            |kernels, pass, slices, _| {
                let inputs = [slices[0], slices[1]];
                kernels.grad_parameter_by(pass, (learnable, f), inputs, slices[2], 0.0)
            },
        )
        .await?;
        Ok(plan::total(&parts) as f32)
    }
}
