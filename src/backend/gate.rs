//! Gated linear units, in host memory.

use super::{Backend, Narrowed};
use crate::cpu::convert::{self, WideOutput};
use crate::element::Element;
use crate::error::Result;
use crate::gate::{Gate, GateShape};
use crate::gpu::HostWait;

impl Backend {
    twins! {
        /// value · f(gate) of the two that `x` holds along `axis`. The result has x's shape with
        /// half the axis.
        ///
        /// # Errors
        /// As [`Backend::apply_into`]; [`Error::AxisOutOfRange`](crate::Error::AxisOutOfRange),
        /// [`Error::ShapeTooLarge`](crate::Error::ShapeTooLarge), and
        /// [`Error::OddAxis`](crate::Error::OddAxis) where the axis cannot be halved.
        fn gate / gate_async / gate_core<T> [x] (function: &Gate, x: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// y = value · f(gate) of the two that `x` holds along `axis`.
        ///
        /// # Errors
        /// As [`Backend::gate`].
        fn gate_into / gate_into_async / gate_into_core<T> [x => y] (function: &Gate, x: &[T], shape: &[usize], axis: isize; y: &mut [T]) -> ();
        /// The gradients by value and gate, in the layout of `x`; `shape` is that of x, and dy has
        /// the shape of the gate's result.
        ///
        /// # Errors
        /// As [`Backend::gate`].
        fn grad_gate / grad_gate_async / grad_gate_core<T> [x, dy] (function: &Gate, x: &[T], dy: &[T], shape: &[usize], axis: isize) -> Vec<T>;
        /// dx = the gradients by value and gate, in the layout of `x`.
        ///
        /// # Errors
        /// As [`Backend::gate`].
        fn grad_gate_into / grad_gate_into_async / grad_gate_into_core<T> [x, dy => dx] (function: &Gate, x: &[T], dy: &[T], shape: &[usize], axis: isize; dx: &mut [T]) -> ();
        /// value · f(gate), of two arrays of one length.
        ///
        /// # Errors
        /// As [`Backend::apply_into`].
        fn gate_pair / gate_pair_async / gate_pair_core<T> [value, gate] (function: &Gate, value: &[T], gate: &[T]) -> Vec<T>;
        /// The gradients by value and by gate, of arrays of one length.
        ///
        /// # Errors
        /// As [`Backend::apply_into`].
        fn grad_gate_pair / grad_gate_pair_async / grad_gate_pair_core<T> [value, gate, dy] (function: &Gate, value: &[T], gate: &[T], dy: &[T]) -> (Vec<T>, Vec<T>);
    }

    async fn gate_core(
        &self,
        function: &Gate,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut y = vec![0.0; GateShape::new(function, shape, axis)?.pairs()];
        self.gate_into_core(function, x, shape, axis, &mut y, wait)
            .await?;
        Ok(y)
    }

    async fn gate_into_core(
        &self,
        function: &Gate,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let around = GateShape::new(function, shape, axis)?;
        either!(
            self,
            |gpu| gpu.gate_host(function, &around, x, y, wait).await,
            |cpu| cpu.gate_into(function, x, shape, axis, y)
        )
    }

    async fn grad_gate_core(
        &self,
        function: &Gate,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut dx = vec![0.0; x.len()];
        self.grad_gate_into_core(function, x, dy, shape, axis, &mut dx, wait)
            .await?;
        Ok(dx)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the operation's own, and how to wait"
    )]
    async fn grad_gate_into_core(
        &self,
        function: &Gate,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let around = GateShape::new(function, shape, axis)?;
        either!(
            self,
            |gpu| gpu.grad_gate_host(function, &around, x, dy, dx, wait).await,
            |cpu| cpu.grad_gate_into(function, x, dy, shape, axis, dx)
        )
    }

    async fn gate_pair_core(
        &self,
        function: &Gate,
        value: &[f32],
        gate: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let mut y = vec![0.0; value.len()];
        either!(
            self,
            |gpu| gpu
                .gate_pair_host(function, value, gate, &mut y, wait)
                .await,
            |cpu| cpu.gate_pair_into(function, value, gate, &mut y)
        )?;
        Ok(y)
    }

    async fn grad_gate_pair_core(
        &self,
        function: &Gate,
        value: &[f32],
        gate: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut dvalue, mut dgate) = (vec![0.0; value.len()], vec![0.0; value.len()]);
        either!(
            self,
            |gpu| {
                let (inputs, outputs) = ([value, gate, dy], [&mut dvalue[..], &mut dgate]);
                gpu.grad_gate_pair_host(function, inputs, outputs, wait)
                    .await
            },
            |cpu| cpu.grad_gate_pair_into(function, value, gate, dy, &mut dvalue, &mut dgate)
        )?;
        Ok((dvalue, dgate))
    }
}
