//! Gated linear units on tensors.

use super::tensor::same_shape;
use super::{Batch, Tensor};
use crate::error::Result;
use crate::gate::{Gate, GateShape, output_shape};

impl Batch {
    /// y = value · f(gate) of the two that x holds along `axis`, in a new tensor whose axis has
    /// half the length.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange),
    /// [`Error::OddAxis`](crate::Error::OddAxis).
    pub fn gate(&mut self, function: &Gate, x: &Tensor, axis: isize) -> Result<Tensor> {
        let shape = GateShape::new(function, x.shape(), axis)?;
        let y = self.output(&output_shape(function, x.shape(), axis)?, x.dtype())?;
        self.record(
            [("input", x), ("output", &y)],
            &[&y],
            |kernels, pass, [x, y]| kernels.gate(pass, function, &shape, x, y),
        )?;
        Ok(y)
    }

    /// The gradients by value and gate, in a new tensor of the layout of x; dy has the shape of
    /// the gate's result.
    ///
    /// # Errors
    /// As [`Batch::gate`]; [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
    pub fn grad_gate(
        &mut self,
        function: &Gate,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = GateShape::new(function, x.shape(), axis)?;
        let upstream = output_shape(function, x.shape(), axis)?;
        same_shape("the upstream gradient", &upstream, dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_gate(pass, function, &shape, x, dy, dx)
        })?;
        Ok(dx)
    }

    /// y = value · f(gate), of tensors of one shape, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
    pub fn gate_pair(&mut self, function: &Gate, value: &Tensor, gate: &Tensor) -> Result<Tensor> {
        same_shape("the gate", value.shape(), gate.shape())?;
        let y = self.output(value.shape(), value.dtype())?;
        let tensors = [("value", value), ("gate", gate), ("output", &y)];
        self.record(tensors, &[&y], |kernels, pass, [value, gate, y]| {
            kernels.gate_pair(pass, function, value, gate, y)
        })?;
        Ok(y)
    }

    /// The gradients by value and gate, of tensors of one shape, in two new tensors.
    ///
    /// # Errors
    /// As [`Batch::gate_pair`].
    pub fn grad_gate_pair(
        &mut self,
        function: &Gate,
        value: &Tensor,
        gate: &Tensor,
        dy: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        same_shape("the gate", value.shape(), gate.shape())?;
        same_shape("the upstream gradient", value.shape(), dy.shape())?;
        let (dvalue, dgate) = (
            self.output(value.shape(), value.dtype())?,
            self.output(value.shape(), value.dtype())?,
        );
        let tensors = [
            ("value", value),
            ("gate", gate),
            ("upstream gradient", dy),
            ("gradient by the value", &dvalue),
            ("gradient by the gate", &dgate),
        ];
        self.record(
            tensors,
            &[&dvalue, &dgate],
            |kernels, pass, [value, gate, dy, dvalue, dgate]| {
                kernels.grad_gate_pair(pass, function, value, gate, dy, dvalue, dgate)
            },
        )?;
        Ok((dvalue, dgate))
    }
}
