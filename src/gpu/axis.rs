//! The softmax family from and to host memory.

use super::Gpu;
use super::rows::{Reach, RowsOperation};
use super::stream::{HostWait, in_last_input, words};
use crate::axis::AxisFunction;
use crate::error::{Error, Result};
use crate::kernels::from_output;
use crate::plan;
use crate::shape::{AxisShape, same_length};

/// An operation along an axis with its inputs in host memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AxisOperation<'a> {
    Forward {
        function: AxisFunction,
        x: &'a [f32],
    },
    Backward {
        function: AxisFunction,
        x: &'a [f32],
        dy: &'a [f32],
    },
    FromOutput {
        function: AxisFunction,
        y: &'a [f32],
        dy: &'a [f32],
    },
}

impl AxisOperation<'_> {
    fn function(&self) -> AxisFunction {
        match *self {
            Self::Forward { function, .. }
            | Self::Backward { function, .. }
            | Self::FromOutput { function, .. } => function,
        }
    }

    fn check(&self, shape: &AxisShape, output: usize) -> Result<()> {
        let upstream = shape.output_elements(self.function());
        match *self {
            Self::Forward { x, .. } => {
                same_length("the input", shape.elements(), x.len())?;
                same_length("the output", upstream, output)
            }
            Self::Backward { x, dy, .. } => {
                same_length("the input", shape.elements(), x.len())?;
                same_length("the upstream gradient", upstream, dy.len())?;
                same_length("the gradient", shape.elements(), output)
            }
            Self::FromOutput { function, y, dy } => {
                from_output(function)?;
                same_length("the output", shape.elements(), y.len())?;
                same_length("the upstream gradient", upstream, dy.len())?;
                same_length("the gradient", shape.elements(), output)
            }
        }
    }
}

impl Gpu {
    /// An operation along an axis, in host memory. Where its known answers are wrong and the plan
    /// goes around the reason from then on, once more.
    pub(crate) async fn axis_host(
        &self,
        operation: AxisOperation<'_>,
        shape: &AxisShape,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let quirks = || self.inner.kernels.traits().quirks;
        let before = quirks();
        match self.axis_host_once(operation, shape, output, wait).await {
            Err(Error::Untrusted { .. }) if quirks() != before => {
                self.axis_host_once(operation, shape, output, wait).await
            }
            done => done,
        }
    }

    async fn axis_host_once(
        &self,
        operation: AxisOperation<'_>,
        shape: &AxisShape,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        operation.check(shape, output.len())?;
        if shape.len == 0 {
            // Of rows of no elements there is an output where the function reduces them.
            output.fill(f32::NEG_INFINITY);
            return Ok(());
        }
        let function = operation.function();
        let per_row = if function.reduces() {
            Reach::Rows
        } else {
            Reach::Elements
        };
        let one;
        let two;
        let (inputs, reach): (&[_], _) = match operation {
            AxisOperation::Forward { x, .. } => {
                one = [(words(x), Reach::Elements)];
                (&one, per_row)
            }
            AxisOperation::Backward { x, dy, .. } | AxisOperation::FromOutput { y: x, dy, .. } => {
                two = [(words(x), Reach::Elements), (words(dy), per_row)];
                (&two, Reach::Elements)
            }
        };
        let separate = function.reduces() || matches!(operation, AxisOperation::FromOutput { .. });
        let rows = RowsOperation {
            shape: *shape,
            steps: plan::STEPS,
            inputs,
            outputs: &[reach],
            results: in_last_input(!separate),
        };
        self.rows_host(
            &rows,
            &mut [output],
            wait,
            &|kernels, pass, part, slices| {
                let shape = &part.shape;
                match operation {
                    AxisOperation::Forward { .. } if separate => {
                        kernels.apply_axis(pass, function, shape, slices[0], slices[1])
                    }
                    AxisOperation::Forward { .. } => {
                        kernels.apply_axis_in_place(pass, function, shape, slices[0])
                    }
                    AxisOperation::Backward { .. } if separate => {
                        kernels.grad_axis(pass, function, shape, slices[0], slices[1], slices[2])
                    }
                    AxisOperation::Backward { .. } => {
                        kernels.grad_axis_in_place(pass, function, shape, slices[0], slices[1])
                    }
                    AxisOperation::FromOutput { .. } => kernels.grad_axis_from_output(
                        pass, function, shape, slices[0], slices[1], slices[2],
                    ),
                }
            },
        )
        .await
    }
}
