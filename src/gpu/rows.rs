//! Operations over rows in host memory, the one way for all families: whole blocks piece by piece,
//! and tiles of columns where the device binds no block.

use super::Gpu;
use super::stream::{HostWait, Operation, PIECE, Piece, Results, Words, ranges, run};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::plan;
use crate::shape::AxisShape;
use std::ops::Range;

/// The elements of an array that some rows need.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    /// One for each of the rows' elements.
    Elements,
    /// One for each row.
    Rows,
    /// All of them, whichever rows.
    Whole,
    /// A range by the rows' numbers, as arrays that are broadcast have it.
    Span(&'a (dyn Fn(Range<u64>) -> Range<usize> + Sync)),
}

impl Reach<'_> {
    /// The elements of an array that whole blocks of `shape` need; `first_row` is the number of
    /// the shape's first row in the whole.
    fn of_blocks(
        &self,
        blocks: &Range<usize>,
        shape: &AxisShape,
        first_row: u64,
        len: usize,
    ) -> Range<usize> {
        let times = |each: usize| blocks.start * each..blocks.end * each;
        match self {
            Self::Elements => times(shape.len * shape.inner),
            Self::Rows => times(shape.inner),
            Self::Whole => 0..len,
            Self::Span(span) => {
                let rows = times(shape.inner);
                span(first_row + rows.start as u64..first_row + rows.end as u64)
            }
        }
    }
}

/// An operation over rows of an array, with its inputs; lengths were checked.
pub(super) struct RowsOperation<'a> {
    pub shape: AxisShape,
    /// Elements of a row that an invocation walks at most, as the kernel plans them.
    pub steps: u64,
    pub inputs: &'a [(Words<'a>, Reach<'a>)],
    /// [`Reach::Elements`] or [`Reach::Rows`].
    pub outputs: &'a [Reach<'a>],
    pub results: Results,
}

/// A part of an operation over rows, as it is recorded.
pub(super) struct Part<'a> {
    pub shape: AxisShape,
    /// The number of the first row in the whole.
    pub first_row: u64,
    /// The elements of each input that are there.
    pub inputs: &'a [Range<usize>],
}

/// What records a part, on the ranges of its inputs and then, where they have buffers of their
/// own, of its outputs.
pub(super) trait Record:
    Fn(&Kernels, &mut wgpu::ComputePass<'_>, &Part<'_>, &[wgpu::BufferSlice<'_>]) -> Result<()>
{
}

impl<F> Record for F where
    F: Fn(&Kernels, &mut wgpu::ComputePass<'_>, &Part<'_>, &[wgpu::BufferSlice<'_>]) -> Result<()>
{
}

/// Neighbouring columns of a block, over the whole axis.
struct Tile {
    /// The whole.
    around: AxisShape,
    outer: usize,
    columns: Range<usize>,
}

impl Tile {
    fn shape(&self) -> AxisShape {
        AxisShape {
            outer: 1,
            len: self.around.len,
            inner: self.columns.len(),
        }
    }

    fn first_row(&self) -> usize {
        self.outer * self.around.inner + self.columns.start
    }

    /// Where the tile's elements lie in an array of the whole, step by step along the axis; none
    /// of arrays that do not follow the rows' elements.
    fn steps(&self, reach: &Reach<'_>) -> Option<impl Iterator<Item = Range<usize>> + use<>> {
        let steps = match reach {
            Reach::Elements => self.around.len,
            Reach::Rows => 1,
            Reach::Whole | Reach::Span(_) => return None,
        };
        let (inner, width) = (self.around.inner, self.columns.len());
        let start = self.outer * steps * inner + self.columns.start;
        Some((0..steps).map(move |i| start + i * inner..start + i * inner + width))
    }

    /// The tile's elements as an array of their own.
    fn gather(&self, array: &Words<'_>, reach: &Reach<'_>) -> Option<Vec<u8>> {
        let steps = self.steps(reach)?;
        let mut gathered = Vec::with_capacity(self.shape().elements() * array.element());
        steps.for_each(|step| gathered.extend_from_slice(array.bytes_of(step)));
        Some(gathered)
    }
}

impl Gpu {
    /// Whether the device binds a block of rows, so that the elements of a part lie side by side.
    pub(super) fn binds_rows(&self, shape: &AxisShape, steps: u64) -> bool {
        let traits = self.inner.kernels.traits();
        plan::axis_within(&AxisShape { outer: 1, ..*shape }, &traits, steps).is_some()
    }

    /// Runs an operation over rows.
    pub(super) async fn rows_host(
        &self,
        operation: &RowsOperation<'_>,
        outputs: &mut [&mut [f32]],
        wait: HostWait,
        record: &impl Record,
    ) -> Result<()> {
        self.inner.kernels.usable()?;
        let shape = operation.shape;
        if shape.elements() == 0 {
            return Ok(());
        }
        if self.binds_rows(&shape, operation.steps) {
            return self.blocks_host(operation, 0, outputs, wait, record).await;
        }
        let traits = self.inner.kernels.traits();
        // Less than a piece, and than a binding from an aligned offset.
        let bindable = (traits.max_binding.saturating_sub(traits.alignment) / 4) as usize;
        let width = (PIECE.min(bindable) / shape.len).max(1);
        for outer in 0..shape.outer {
            for columns in ranges(shape.inner, width) {
                let tile = Tile {
                    around: shape,
                    outer,
                    columns,
                };
                if !self.binds_rows(&tile.shape(), operation.steps) {
                    return Err(Error::AxisStepTooLarge {
                        bytes: shape.inner as u64 * 4,
                        limit: traits.max_binding,
                    });
                }
                self.tile_host(operation, &tile, outputs, wait, record)
                    .await?;
            }
        }
        Ok(())
    }

    /// One tile: gathered, computed, and put in its place.
    async fn tile_host(
        &self,
        operation: &RowsOperation<'_>,
        tile: &Tile,
        outputs: &mut [&mut [f32]],
        wait: HostWait,
        record: &impl Record,
    ) -> Result<()> {
        let width = tile.columns.len();
        let inputs = operation.inputs.iter();
        let gathered: Vec<Option<Vec<u8>>> = inputs
            .map(|(array, reach)| tile.gather(array, reach))
            .collect();
        let inputs: Vec<(Words<'_>, Reach<'_>)> = gathered
            .iter()
            .zip(operation.inputs)
            .map(|(own, &(whole, reach))| match own {
                Some(own) => (whole.with_bytes(own), reach),
                None => (whole, reach),
            })
            .collect();
        let mut results: Vec<Vec<f32>> = operation
            .outputs
            .iter()
            .map(|reach| vec![0.0; tile.steps(reach).map_or(0, Iterator::count) * width])
            .collect();
        let part = RowsOperation {
            shape: tile.shape(),
            inputs: &inputs,
            ..*operation
        };
        let mut slices: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
        let first = tile.first_row() as u64;
        self.blocks_host(&part, first, &mut slices, wait, record)
            .await?;
        for ((result, reach), output) in results.iter().zip(operation.outputs).zip(outputs) {
            for (row, step) in result
                .chunks(width)
                .zip(tile.steps(reach).into_iter().flatten())
            {
                output[step].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// Whole blocks of rows, piece by piece, of which the first row has a number in the whole.
    async fn blocks_host(
        &self,
        operation: &RowsOperation<'_>,
        first_row: u64,
        outputs: &mut [&mut [f32]],
        wait: HostWait,
        record: &impl Record,
    ) -> Result<()> {
        let shape = operation.shape;
        let block = shape.len * shape.inner;
        let words: Vec<Words<'_>> = operation.inputs.iter().map(|&(array, _)| array).collect();
        let pieces = ranges(shape.outer, (PIECE / block).max(1)).map(|blocks| {
            let of = |reach: &Reach<'_>, len| reach.of_blocks(&blocks, &shape, first_row, len);
            let inputs = operation.inputs.iter();
            Piece {
                inputs: inputs
                    .map(|(array, reach)| of(reach, array.len()))
                    .collect(),
                outputs: operation.outputs.iter().map(|r| of(r, 0)).collect(),
            }
        });
        run(
            &self.inner,
            Operation {
                inputs: &words,
                outputs,
                results: operation.results,
            },
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                // The first input has an element for each of the shape's.
                let elements = &piece.inputs[0];
                let part = Part {
                    shape: AxisShape {
                        outer: elements.len() / block,
                        ..shape
                    },
                    first_row: first_row + (elements.start / shape.len) as u64,
                    inputs: &piece.inputs,
                };
                record(kernels, pass, &part, slices)
            },
        )
        .await
    }
}
