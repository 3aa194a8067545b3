//! Operations on arrays in host memory, the one way for all of them: cut as the operation says, piece by
//! piece; and tiles of columns where the device binds no block of rows.

use super::Gpu;
use super::stream::{HostWait, Job, PIECE, Target, ranges, run};
use crate::arrays::{DataMut, TypedSlice};
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::operation::{
    Cut, Direction, Given, Lowered, Operation, Outputs, Part, Piece, Reach, Words, Written,
    of_elements, on_cpu,
};
use crate::shape::AxisShape;
use std::ops::Range;

/// A call of an operation.
#[derive(Clone, Copy)]
struct Call<'a> {
    operation: &'a dyn Operation,
    direction: Direction,
    given: &'a Given<'a>,
    /// Which output is wanted, where they are computed one by one.
    output: usize,
}

impl Reach<'_> {
    /// The elements of an array of `len` that whole blocks of `shape` need; `first_row` is the number
    /// of the shape's first row in the whole.
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
    fn gather(&self, array: &Words<'_>, reach: &Reach<'_>) -> Option<Words<'static>> {
        let steps = self.steps(reach)?;
        let mut gathered = Vec::with_capacity(self.shape().elements() * array.element());
        steps.for_each(|step| gathered.extend_from_slice(array.bytes_of(step).bytes()));
        Some(array.gathered(gathered))
    }
}

impl Gpu {
    /// Computes the outputs of an operation: all of them, or those that are wanted where they are
    /// computed one by one. Where known answers are wrong and the plan goes around the reason from
    /// then on, once more.
    pub(crate) async fn compute(
        &self,
        operation: &dyn Operation,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
        wait: HostWait,
    ) -> Result<()> {
        let one_by_one = operation.is_one_by_one(direction);
        for output in 0..outputs.len() {
            if one_by_one && outputs[output].is_none() {
                continue;
            }
            let call = Call {
                operation,
                direction,
                given,
                output,
            };
            let quirks = || self.inner.kernels.traits().quirks;
            let before = quirks();
            match self.compute_once(call, outputs, wait).await {
                Err(Error::Untrusted { .. }) if quirks() != before => {
                    self.compute_once(call, outputs, wait).await?;
                }
                done => done?,
            }
            if !one_by_one {
                break;
            }
        }
        Ok(())
    }

    async fn compute_once(
        &self,
        call: Call<'_>,
        outputs: &mut Outputs<'_>,
        wait: HostWait,
    ) -> Result<()> {
        let Call {
            operation,
            direction,
            given,
            output,
        } = call;
        self.inner.kernels.usable()?;
        let mut lowered = operation.lower(direction, given, output, &self.inner.kernels)?;
        if let Some(random) = lowered.noise {
            let mut noise = vec![0.0; given.x().len()];
            self.noise_host(random, true, &mut noise, wait).await?;
            lowered.inputs.insert(1, Words::owned(noise));
            lowered.reaches.insert(1, Reach::Elements);
        }
        let is_empty = match &lowered.cut {
            Cut::Elements(count) => *count == 0,
            Cut::Rows(shape, _) => shape.elements() == 0,
            Cut::Pieces(_) => given.x().len() == 0,
        };
        if is_empty {
            // Rows of no elements may have results, but nothing to bring to a device.
            return on_cpu(&Cpu::new(), operation, direction, given, outputs);
        }
        let wide = !operation.takes_16_bits_on_gpu();
        let numbers = lowered.outputs.iter().filter_map(|written| written.left);
        let mut left: Vec<Vec<f32>> = numbers.map(|numbers| vec![0.0; numbers]).collect();
        {
            let mut finished = left.iter_mut();
            let mut all = outputs[output..].iter_mut();
            let written = lowered.outputs.iter().filter_map(|written| {
                let out = all.next();
                match written.left {
                    Some(_) => finished
                        .next()
                        .map(|left| Target::new(DataMut::F32(left), true)),
                    None => out
                        .and_then(Option::as_mut)
                        .map(|out| Target::new(out.lent(), wide)),
                }
            });
            let mut targets: Vec<Target<'_>> = written.collect();
            self.run_lowered(call, &lowered, &mut targets, wait).await?;
        }
        // In the order of the outputs that were left unfinished.
        let mut left = left.into_iter();
        for (written, out) in lowered.outputs.iter().zip(&mut outputs[output..]) {
            if written.left.is_some()
                && let (Some(left), Some(out)) = (left.next(), out)
            {
                out.write(&operation.finish(given, left)?);
            }
        }
        Ok(())
    }

    async fn run_lowered(
        &self,
        call: Call<'_>,
        lowered: &Lowered<'_>,
        targets: &mut [Target<'_>],
        wait: HostWait,
    ) -> Result<()> {
        let (shape, steps) = match &lowered.cut {
            Cut::Pieces(pieces) => {
                let pieces = (&lowered.inputs[..], pieces.iter().cloned());
                let elements = |piece: &Piece| {
                    let elements = &piece.outputs[0];
                    (of_elements(elements.len()), elements.start as u64)
                };
                return self
                    .pieces(call, lowered, pieces, targets, &elements, wait)
                    .await;
            }
            &Cut::Elements(count) => (of_elements(count), 1),
            &Cut::Rows(shape, steps) => (shape, steps),
        };
        if shape.len * shape.inner == 1 || self.inner.kernels.binds_rows(&shape, steps) {
            let whole = (&lowered.inputs[..], shape, 0);
            return self.blocks(call, lowered, whole, targets, wait).await;
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
                if !self.inner.kernels.binds_rows(&tile.shape(), steps) {
                    return Err(Error::AxisStepTooLarge {
                        bytes: shape.inner as u64 * 4,
                        limit: traits.max_binding,
                    });
                }
                self.tile(call, lowered, &tile, targets, wait).await?;
            }
        }
        Ok(())
    }

    /// One tile: gathered, computed, and put in its place.
    async fn tile(
        &self,
        call: Call<'_>,
        lowered: &Lowered<'_>,
        tile: &Tile,
        targets: &mut [Target<'_>],
        wait: HostWait,
    ) -> Result<()> {
        let width = tile.columns.len();
        let inputs = lowered.inputs.iter().zip(&lowered.reaches);
        let gathered: Vec<Words<'_>> = inputs
            .map(|(array, reach)| tile.gather(array, reach).unwrap_or_else(|| array.clone()))
            .collect();
        let steps = |written: &Written<'_>| tile.steps(&written.reach).into_iter().flatten();
        let lengths = lowered
            .outputs
            .iter()
            .map(|written| steps(written).count() * width);
        let mut results: Vec<Vec<f32>> = lengths.map(|length| vec![0.0; length]).collect();
        let own = results
            .iter_mut()
            .map(|result| Target::new(DataMut::F32(result), true));
        let mut own: Vec<Target<'_>> = own.collect();
        let first_row = tile.first_row() as u64;
        let part = (&gathered[..], tile.shape(), first_row);
        self.blocks(call, lowered, part, &mut own, wait).await?;
        for ((result, written), target) in results.iter().zip(&lowered.outputs).zip(targets) {
            for (row, step) in result.chunks(width).zip(steps(written)) {
                target.write(step, row);
            }
        }
        Ok(())
    }

    /// Whole blocks of rows, piece by piece, of which the first row has a number in the whole.
    async fn blocks(
        &self,
        call: Call<'_>,
        lowered: &Lowered<'_>,
        (arrays, shape, first_row): (&[Words<'_>], AxisShape, u64),
        targets: &mut [Target<'_>],
        wait: HostWait,
    ) -> Result<()> {
        let block = shape.len * shape.inner;
        let pieces = ranges(shape.outer, (PIECE / block).max(1)).map(|blocks| {
            let of = |reach: &Reach<'_>, len| reach.of_blocks(&blocks, &shape, first_row, len);
            let inputs = lowered.reaches.iter().zip(arrays);
            let outputs = lowered.outputs.iter();
            Piece {
                inputs: inputs
                    .map(|(reach, array)| of(reach, array.len()))
                    .collect(),
                outputs: outputs.map(|written| of(&written.reach, 0)).collect(),
            }
        });
        let rows = |piece: &Piece| {
            // The first input has an element for each of the shape's.
            let elements = &piece.inputs[0];
            let outer = elements.len() / block;
            let first_row = first_row + (elements.start / shape.len) as u64;
            (AxisShape { outer, ..shape }, first_row)
        };
        self.pieces(call, lowered, (arrays, pieces), targets, &rows, wait)
            .await
    }

    /// Pieces of arrays, of which `rows` tells the rows and the number of the first one in the whole.
    async fn pieces(
        &self,
        call: Call<'_>,
        lowered: &Lowered<'_>,
        (arrays, pieces): (&[Words<'_>], impl Iterator<Item = Piece>),
        targets: &mut [Target<'_>],
        rows: &impl Fn(&Piece) -> (AxisShape, u64),
        wait: HostWait,
    ) -> Result<()> {
        let dtypes: Vec<DType> = arrays
            .iter()
            .map(Words::dtype)
            .chain(targets.iter().map(Target::dtype))
            .collect();
        // Of another type it takes another place.
        let same = arrays.last().map(Words::dtype) == targets.first().map(|target| target.dtype());
        let in_place = lowered.in_place && same;
        let job = Job {
            inputs: arrays,
            outputs: targets,
            in_last_input: in_place,
        };
        let mut number = 0;
        run(
            &self.inner,
            job,
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let typed = slices.iter().zip(&dtypes);
                let typed: Vec<TypedSlice<'_>> = typed
                    .map(|(&slice, &dtype)| TypedSlice::new(slice, dtype))
                    .collect();
                let (read, written) = typed.split_at(arrays.len());
                let (shape, first_row) = rows(piece);
                let part = Part {
                    direction: call.direction,
                    output: call.output,
                    given: call.given,
                    shape,
                    first_row,
                    piece: number,
                    inputs: &piece.inputs,
                    in_place,
                    number: lowered.number,
                    read,
                    written,
                };
                number += 1;
                call.operation.record(kernels, pass, &part)
            },
        )
        .await
    }
}
