//! Operations over rows in host memory: blocks of rows piece by piece, and tiles of columns where
//! the device binds no block.

use super::stream::{HostWait, Operation, PIECE, Piece, Results, Words, ranges, run, words};
use super::{Gpu, Wait};
use crate::axis::AxisShape;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::plan;

/// An operation over rows; its arrays have the shape's elements, or one for each row.
pub(super) struct RowsOperation<'a> {
    pub shape: AxisShape,
    /// Elements of a row that an invocation walks at most, as the kernel plans them.
    pub steps: u64,
    /// The inputs, and whether each has one element for each row.
    pub inputs: Vec<(&'a [f32], bool)>,
    pub per_row: bool,
}

/// What records an operation: the shape of a part, the number of its first element, and the
/// ranges of its inputs and its output.
pub(super) trait Record:
    Fn(&Kernels, &mut wgpu::ComputePass<'_>, &AxisShape, u64, &[wgpu::BufferSlice<'_>]) -> Result<()>
{
}

impl<F> Record for F where
    F: Fn(
        &Kernels,
        &mut wgpu::ComputePass<'_>,
        &AxisShape,
        u64,
        &[wgpu::BufferSlice<'_>],
    ) -> Result<()>
{
}

impl Gpu {
    /// Whether the device binds a block of rows, so that the elements of a part lie side by side.
    pub(super) fn binds_rows(&self, shape: &AxisShape, steps: u64) -> bool {
        let traits = self.inner.kernels.traits();
        plan::axis_within(&AxisShape { outer: 1, ..*shape }, &traits, steps).is_some()
    }

    /// Runs an operation over rows; lengths were checked.
    pub(super) async fn rows_host(
        &self,
        operation: &RowsOperation<'_>,
        output: &mut [f32],
        wait: HostWait,
        record: &impl Record,
    ) -> Result<()> {
        let shape = &operation.shape;
        if shape.elements() == 0 {
            return Ok(());
        }
        if self.binds_rows(shape, operation.steps) {
            return self.blocks_host(operation, output, 0, wait.0, record).await;
        }
        let traits = self.inner.kernels.traits();
        // Less than a piece, and than a binding from an aligned offset.
        let bindable = (traits.max_binding.saturating_sub(traits.alignment) / 4) as usize;
        let width = (PIECE.min(bindable) / shape.len).max(1);
        for outer in 0..shape.outer {
            for columns in ranges(shape.inner, width) {
                let tile = AxisShape {
                    outer: 1,
                    len: shape.len,
                    inner: columns.len(),
                };
                if !self.binds_rows(&tile, operation.steps) {
                    return Err(Error::AxisStepTooLarge {
                        bytes: shape.inner as u64 * 4,
                        limit: traits.max_binding,
                    });
                }
                let steps = |per_row: bool| if per_row { 1 } else { shape.len };
                let at = |per_row: bool, i: usize| {
                    let start = (outer * steps(per_row) + i) * shape.inner;
                    start + columns.start..start + columns.end
                };
                let gathered: Vec<Vec<f32>> = operation
                    .inputs
                    .iter()
                    .map(|&(input, per_row)| {
                        let steps = 0..steps(per_row);
                        let values = steps.flat_map(|i| input[at(per_row, i)].iter().copied());
                        values.collect()
                    })
                    .collect();
                let inputs = gathered.iter().zip(&operation.inputs);
                let part = RowsOperation {
                    shape: tile,
                    inputs: inputs
                        .map(|(values, &(_, per_row))| (values.as_slice(), per_row))
                        .collect(),
                    ..*operation
                };
                let mut result = vec![0.0; steps(operation.per_row) * columns.len()];
                self.blocks_host(&part, &mut result, 0, wait.0, record)
                    .await?;
                for (i, row) in result.chunks(columns.len()).enumerate() {
                    output[at(operation.per_row, i)].copy_from_slice(row);
                }
            }
        }
        Ok(())
    }

    /// Whole blocks of rows, piece by piece.
    async fn blocks_host(
        &self,
        operation: &RowsOperation<'_>,
        output: &mut [f32],
        first: u64,
        wait: Wait,
        record: &impl Record,
    ) -> Result<()> {
        let shape = operation.shape;
        let block = shape.len * shape.inner;
        let range_of = |blocks: &std::ops::Range<usize>, per_row: bool| {
            let block = if per_row { shape.inner } else { block };
            blocks.start * block..blocks.end * block
        };
        let pieces = ranges(shape.outer, (PIECE / block).max(1)).map(|blocks| Piece {
            inputs: operation
                .inputs
                .iter()
                .map(|&(_, per_row)| range_of(&blocks, per_row))
                .collect(),
            outputs: vec![range_of(&blocks, operation.per_row)],
        });
        let inputs: Vec<Words<'_>> = operation.inputs.iter().map(|(x, _)| words(x)).collect();
        run(
            &self.inner,
            Operation {
                inputs: &inputs,
                outputs: &mut [output],
                results: Results::InOwnBuffers,
            },
            pieces,
            wait,
            |kernels, pass, slices, piece| {
                // The first input has an element for each of the shape's.
                let elements = &piece.inputs[0];
                let part = AxisShape {
                    outer: elements.len() / block,
                    ..shape
                };
                record(kernels, pass, &part, first + elements.start as u64, slices)
            },
        )
        .await
    }
}
