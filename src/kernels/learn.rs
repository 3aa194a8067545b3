//! Gradients by an activation's parameter.

use super::Kernels;
use super::sum::Sum;
use crate::catalogue::Elementwise;
use crate::error::Result;
use crate::learn::Learnable;
use crate::shader::Term;
use crate::sum::SumShape;

impl Kernels {
    /// Records the gradient by the parameter `name` of f, one element: the sum of dy · df/dp.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::UnknownParameter`](crate::Error::UnknownParameter),
    /// [`Error::NotLearnable`](crate::Error::NotLearnable).
    pub fn grad_parameter(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        name: &str,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        sum: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let f = f.into();
        let learnable = Learnable::find(f.activation(), name)?;
        self.grad_parameter_by(pass, (learnable, f), [x, dy], sum, 1.0)
    }

    /// The gradient, divided; by 0 for its two parts.
    pub(crate) fn grad_parameter_by(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        (learnable, f): (Learnable, Elementwise),
        [x, dy]: [wgpu::BufferSlice<'_>; 2],
        out: wgpu::BufferSlice<'_>,
        divisor: f32,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        self.same_size(&x, &dy)?;
        let shape = SumShape::over(&[x.elements() as usize], &[true])?;
        let sum = Sum {
            term: Term::Parameter(learnable),
            parameters: f.packed(),
            divisor,
            shape: &shape,
            x,
            dy: Some(dy),
            out: self.operand(out, "gradient by the parameter")?,
        };
        self.sum_of(pass, &sum)
    }
}
