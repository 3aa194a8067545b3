//! Gated linear units: on tensors, and from and to host memory.

use super::stream::{HostWait, Operation, PIECE, Piece, Results, ranges, run, words};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::error::Result;
use crate::gate::{Gate, GateShape, Order, output_shape};
use crate::shape::same_length;

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

/// Value and gate out of what comes first and second.
fn ordered<T>(function: &Gate, [first, second]: [T; 2]) -> [T; 2] {
    match function.order() {
        Order::ValueFirst => [first, second],
        Order::GateFirst => [second, first],
    }
}

impl Gpu {
    /// y = value · f(gate) of the two that x holds, in host memory.
    pub(crate) async fn gate_host(
        &self,
        function: &Gate,
        shape: &GateShape,
        x: &[f32],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.pairs(), y.len())?;
        let half = shape.half;
        if 2 * half > PIECE {
            // Larger blocks than travel at a time are pairs of arrays.
            for (x, y) in x.chunks(2 * half).zip(y.chunks_mut(half)) {
                let [value, gate] = ordered(function, x.split_at(half).into());
                self.gate_pair_host(function, value, gate, y, wait).await?;
            }
            return Ok(());
        }
        let pieces = ranges(shape.blocks, PIECE / (2 * half).max(1)).map(|blocks| {
            let results = half * blocks.start..half * blocks.end;
            let both = 2 * results.start..2 * results.end;
            Piece {
                inputs: vec![both],
                outputs: vec![results],
            }
        });
        let operation = Operation {
            inputs: &[words(x)],
            outputs: &mut [y],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces.filter(|piece| !piece.outputs[0].is_empty()),
            wait.0,
            |kernels, pass, slices, piece| {
                let blocks = piece.outputs[0].len() / half;
                let shape = GateShape { blocks, half };
                kernels.gate(pass, function, &shape, slices[0], slices[1])
            },
        )
        .await
    }

    /// dx = the gradients by value and gate, in host memory.
    pub(crate) async fn grad_gate_host(
        &self,
        function: &Gate,
        shape: &GateShape,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", shape.pairs(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let half = shape.half;
        if 2 * half > PIECE {
            let blocks = x.chunks(2 * half).zip(dy.chunks(half));
            for ((x, dy), dx) in blocks.zip(dx.chunks_mut(2 * half)) {
                let [value, gate] = ordered(function, x.split_at(half).into());
                let outputs = ordered(function, dx.split_at_mut(half).into());
                let inputs = [value, gate, dy];
                self.grad_gate_pair_host(function, inputs, outputs, wait)
                    .await?;
            }
            return Ok(());
        }
        let pieces = ranges(shape.blocks, PIECE / (2 * half).max(1)).map(|blocks| {
            let both = 2 * half * blocks.start..2 * half * blocks.end;
            Piece {
                inputs: vec![both.clone(), half * blocks.start..half * blocks.end],
                outputs: vec![both],
            }
        });
        let operation = Operation {
            inputs: &[words(x), words(dy)],
            outputs: &mut [dx],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces.filter(|piece| !piece.outputs[0].is_empty()),
            wait.0,
            |kernels, pass, slices, piece| {
                let blocks = piece.inputs[1].len() / half;
                let shape = GateShape { blocks, half };
                kernels.grad_gate(pass, function, &shape, slices[0], slices[1], slices[2])
            },
        )
        .await
    }

    /// y = value · f(gate) of two arrays in host memory.
    pub(crate) async fn gate_pair_host(
        &self,
        function: &Gate,
        value: &[f32],
        gate: &[f32],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the gate", value.len(), gate.len())?;
        same_length("the output", value.len(), y.len())?;
        let pieces = ranges(y.len(), PIECE / 2).map(|range| Piece {
            inputs: vec![range.clone(), range.clone()],
            outputs: vec![range],
        });
        let operation = Operation {
            inputs: &[words(value), words(gate)],
            outputs: &mut [y],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces,
            wait.0,
            |kernels, pass, slices, _| {
                kernels.gate_pair(pass, function, slices[0], slices[1], slices[2])
            },
        )
        .await
    }

    /// The gradients by value and gate, of value, gate and upstream gradient in host memory.
    pub(crate) async fn grad_gate_pair_host(
        &self,
        function: &Gate,
        [value, gate, dy]: [&[f32]; 3],
        [dvalue, dgate]: [&mut [f32]; 2],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the gate", value.len(), gate.len())?;
        same_length("the upstream gradient", value.len(), dy.len())?;
        same_length("the gradient by the value", value.len(), dvalue.len())?;
        same_length("the gradient by the gate", value.len(), dgate.len())?;
        let pieces = ranges(dy.len(), PIECE / 2).map(|range| Piece {
            inputs: vec![range.clone(); 3],
            outputs: vec![range; 2],
        });
        let operation = Operation {
            inputs: &[words(value), words(gate), words(dy)],
            outputs: &mut [dvalue, dgate],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces,
            wait.0,
            |kernels, pass, slices, _| {
                let [value, gate, dy, dvalue, dgate] = std::array::from_fn(|i| slices[i]);
                kernels.grad_gate_pair(pass, function, value, gate, dy, dvalue, dgate)
            },
        )
        .await
    }
}
