//! The softmax family over shaped rows: on tensors, and in host memory piece by piece.

use super::stream::{Operation, PIECE, Piece, Results, ranges, run, words};
use super::tensor::{Batch, Tensor, output_shape, same_shape};
use super::{Gpu, HostWait};
use crate::axis::{AxisFunction, AxisShape, element_count};
use crate::cpu::same_length;
use crate::error::{Error, Result};
use crate::kernels::{BufferShaping, ShapedJob};
use crate::plan;
use crate::shaping::{Geometry, Shaping, Which};
use std::ops::Range;

/// A mask on a [`Gpu`], for [`TensorShaping`]: one byte an element, nonzero takes part.
///
/// Cloning is cheap and shares the buffer.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Four bytes an element, the last one filled up.
    words: Tensor,
    shape: Vec<usize>,
}

impl Mask {
    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// Row lengths on a [`Gpu`], for [`TensorShaping`].
///
/// Cloning is cheap and shares the buffer.
#[derive(Clone, Debug)]
pub struct Lengths {
    words: Tensor,
}

impl Lengths {
    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        self.words.shape()
    }
}

/// A [`Shaping`] whose arrays are on a [`Gpu`], for [`Batch`].
pub type TensorShaping<'a> = Shaping<'a, &'a Mask, &'a Tensor, &'a Lengths>;

impl<'a> TensorShaping<'a> {
    /// A shaping that changes nothing yet, for arrays on the device.
    pub fn on_device() -> Self {
        Self::NONE
    }

    /// Elements whose mask is 0 take no part; its shape broadcasts to x's.
    pub fn mask(mut self, keep: &'a Mask) -> Self {
        self.mask = Some((keep, keep.shape()));
        self
    }

    /// Is added to the scaled and capped elements; its shape broadcasts to x's.
    pub fn bias(mut self, bias: &'a Tensor) -> Self {
        self.bias = Some((bias, bias.shape()));
        self
    }

    /// How many elements of a row take part; the shape broadcasts to x's with its axes aligned at
    /// the beginning.
    pub fn lengths(mut self, lengths: &'a Lengths) -> Self {
        self.lengths = Some((lengths, lengths.shape()));
        self
    }
}

/// Bytes in words of four, the last one filled up with zeros.
fn packed(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![0; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}

impl Gpu {
    /// A mask on the device: nonzero takes part.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub fn upload_mask(&self, keep: &[u8], shape: &[usize]) -> Result<Mask> {
        same_length("the mask", element_count(shape)?, keep.len())?;
        let words = packed(keep);
        Ok(Mask {
            words: self.upload::<f32>(bytemuck::cast_slice(&words), &[words.len()])?,
            shape: shape.to_vec(),
        })
    }

    /// Row lengths on the device.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub fn upload_lengths(&self, lengths: &[u32], shape: &[usize]) -> Result<Lengths> {
        Ok(Lengths {
            words: self.upload::<f32>(bytemuck::cast_slice(lengths), shape)?,
        })
    }

    /// `function` after `shaping`, or its gradient where there is an upstream gradient, in host
    /// memory.
    pub(crate) async fn shaped_host(
        &self,
        job: HostJob<'_>,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let geometry = job.shaping.geometry(job.shape, job.axis)?;
        let shape = geometry.shape;
        let upstream = shape.output_elements(job.function);
        same_length("the input", shape.elements(), job.x.len())?;
        match job.dy {
            Some(dy) => {
                same_length("the upstream gradient", upstream, dy.len())?;
                same_length("the gradient", shape.elements(), output.len())?;
            }
            None => same_length("the output", upstream, output.len())?,
        }
        job.shaping.check_rows(&geometry)?;
        let mask = packed(job.shaping.mask.map_or(&[], |(m, _)| m));
        let host = Host {
            job,
            geometry: &geometry,
            mask: &mask,
        };
        if output.is_empty() {
            return Ok(());
        }
        let traits = self.inner.kernels.traits();
        if plan::axis(&AxisShape { outer: 1, ..shape }, &traits).is_some() {
            return self
                .shaped_rows(&host, shape, 0, job.x, job.dy, output, wait)
                .await;
        }
        // Rows whose elements lie further apart than the device binds: columns are gathered into
        // tiles, which are arrays of their own.
        let bindable = (traits.max_binding.saturating_sub(traits.alignment) / 4) as usize;
        let width = (PIECE.min(bindable) / shape.len).max(1);
        if shape.outer == 1 && width >= shape.inner {
            return Err(Error::AxisStepTooLarge {
                bytes: shape.inner as u64 * 4,
                limit: traits.max_binding,
            });
        }
        let reduces = job.function.reduces();
        let steps_of = |per_row: bool| if per_row { 1 } else { shape.len };
        for outer in 0..shape.outer {
            for columns in ranges(shape.inner, width) {
                let tile = AxisShape {
                    outer: 1,
                    len: shape.len,
                    inner: columns.len(),
                };
                let at = |steps: usize, i: usize| {
                    let start = (outer * steps + i) * shape.inner;
                    start + columns.start..start + columns.end
                };
                let gather = |array: &[f32], steps: usize| -> Vec<f32> {
                    (0..steps)
                        .flat_map(|i| array[at(steps, i)].iter().copied())
                        .collect()
                };
                let x = gather(job.x, shape.len);
                let dy = job.dy.map(|dy| gather(dy, steps_of(reduces)));
                let steps = steps_of(reduces && dy.is_none());
                let mut result = vec![0.0; steps * columns.len()];
                let row = (outer * shape.inner + columns.start) as u64;
                self.shaped_rows(&host, tile, row, &x, dy.as_deref(), &mut result, wait)
                    .await?;
                for (i, row) in result.chunks(columns.len()).enumerate() {
                    output[at(steps, i)].copy_from_slice(row);
                }
            }
        }
        Ok(())
    }

    /// Rows from `first_row` of the whole on, which are an array of `shape`.
    #[expect(clippy::too_many_arguments, reason = "arrays, and where they lie")]
    async fn shaped_rows(
        &self,
        host: &Host<'_>,
        shape: AxisShape,
        first_row: u64,
        x: &[f32],
        dy: Option<&[f32]>,
        output: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let shaping = host.job.shaping;
        let (function, reduces) = (host.job.function, host.job.function.reduces());
        let mut inputs = vec![words(x)];
        inputs.extend(dy.map(words));
        let own = inputs.len();
        let arrays = [
            shaping.mask.map(|_| (Which::Mask, words(host.mask), 4)),
            shaping.bias.map(|(b, _)| (Which::Bias, words(b), 1)),
            shaping.lengths.map(|(l, _)| (Which::Lengths, words(l), 1)),
        ];
        inputs.extend(arrays.iter().flatten().map(|(_, words, _)| *words));
        let block = shape.len * shape.inner;
        let outer = (PIECE / block.max(1)).max(1);
        let rows_of = |blocks: &Range<usize>| {
            let rows = blocks.start * shape.inner..blocks.end * shape.inner;
            first_row + rows.start as u64..first_row + rows.end as u64
        };
        let pieces = ranges(shape.outer, outer).map(|blocks| {
            let range_of = |per_row: bool| {
                let each = if per_row { shape.inner } else { block };
                blocks.start * each..blocks.end * each
            };
            let mut inputs = vec![range_of(false)];
            if dy.is_some() {
                inputs.push(range_of(reduces));
            }
            for (which, words, per_word) in arrays.iter().flatten() {
                let steps = 0..shape.len as u64;
                let span = host.geometry.span(*which, rows_of(&blocks), steps);
                let start = span.start as usize / per_word;
                // Of rows of no elements there may be nothing.
                let end = (span.end as usize).div_ceil(*per_word).min(words.len());
                inputs.push(start..end);
            }
            Piece {
                inputs,
                outputs: vec![range_of(reduces && dy.is_none())],
            }
        });
        run(
            &self.inner,
            Operation {
                inputs: &inputs,
                outputs: &mut [output],
                results: Results::InOwnBuffers,
            },
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let each = if reduces && dy.is_none() {
                    shape.inner
                } else {
                    block
                };
                let first = piece.outputs[0].start / each;
                let count = piece.outputs[0].len() / each;
                let mut next = own;
                let arrays = arrays.map(|array| {
                    let (_, _, per_word) = array?;
                    let origin = (piece.inputs[next].start * per_word) as u64;
                    next += 1;
                    Some((slices[next - 1], origin))
                });
                kernels.shaped(
                    pass,
                    &ShapedJob {
                        function,
                        geometry: host.geometry,
                        settings: &shaping.settings,
                        shape: AxisShape {
                            outer: count,
                            ..shape
                        },
                        first_row: first_row + (first * shape.inner) as u64,
                        arrays,
                        x: slices[0],
                        dy: dy.map(|_| slices[1]),
                        out: slices[slices.len() - 1],
                    },
                )
            },
        )
        .await
    }
}

/// An operation in host memory.
#[derive(Clone, Copy)]
pub(crate) struct HostJob<'a> {
    pub function: AxisFunction,
    pub shaping: &'a Shaping<'a>,
    pub x: &'a [f32],
    pub dy: Option<&'a [f32]>,
    pub shape: &'a [usize],
    pub axis: isize,
}

/// An operation in host memory, checked.
struct Host<'a> {
    job: HostJob<'a>,
    geometry: &'a Geometry,
    mask: &'a [u32],
}

impl Batch {
    /// y = `function` of every row of x along `axis` after `shaping`, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`] and [`Kernels::apply_axis_shaped`](crate::Kernels::apply_axis_shaped).
    pub fn apply_axis_shaped(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        x: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let y = self.output(&output_shape(function, x.shape(), axis)?, x.dtype())?;
        self.apply_axis_shaped_into(function, shaping, x, axis, &y)?;
        Ok(y)
    }

    /// y = `function` of every row of x along `axis` after `shaping`.
    ///
    /// # Errors
    /// As [`Batch::apply_axis_into`] and [`Kernels::apply_axis_shaped`](crate::Kernels::apply_axis_shaped).
    pub fn apply_axis_shaped_into(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        x: &Tensor,
        axis: isize,
        y: &Tensor,
    ) -> Result<()> {
        let output = output_shape(function, x.shape(), axis)?;
        same_shape("the output", &output, y.shape())?;
        self.record_shaped(function, shaping, axis, x, None, ("output", y))
    }

    /// dx = the gradient of `function` after `shaping` by its input x, in a new tensor; dy has the
    /// shape of the function's output.
    ///
    /// # Errors
    /// As [`Batch::apply_axis_shaped`].
    pub fn grad_axis_shaped(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let upstream = output_shape(function, x.shape(), axis)?;
        same_shape("the upstream gradient", &upstream, dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        if !x.is_empty() {
            self.record_shaped(function, shaping, axis, x, Some(dy), ("gradient", &dx))?;
        }
        Ok(dx)
    }

    fn record_shaped(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        axis: isize,
        x: &Tensor,
        dy: Option<&Tensor>,
        out: (&'static str, &Tensor),
    ) -> Result<()> {
        // Rows of no elements have a logsumexp, but an empty array cannot be bound.
        let stand_in = if x.is_empty() && !out.1.is_empty() {
            Some(self.stand_in()?)
        } else {
            None
        };
        let (shape, x) = (x.shape(), stand_in.as_ref().unwrap_or(x));
        // What is not there, or empty, is x; and not looked at.
        let or_x =
            |tensor: Option<&'_ Tensor>| tensor.filter(|t| !t.is_empty()).unwrap_or(x).clone();
        let tensors = [
            or_x(dy),
            or_x(shaping.mask.map(|(mask, _)| &mask.words)),
            or_x(shaping.bias.map(|(bias, _)| bias)),
            or_x(shaping.lengths.map(|(lengths, _)| &lengths.words)),
        ];
        let [upstream, mask, bias, lengths] = &tensors;
        let tensors = [
            ("input", x),
            ("upstream gradient", upstream),
            ("mask", mask),
            ("bias", bias),
            ("lengths", lengths),
            out,
        ];
        self.record(tensors, &[out.1], |kernels, pass, slices| {
            let [x, upstream, mask, bias, lengths, out] = slices;
            let shaping: BufferShaping<'_> = Shaping {
                mask: shaping.mask.map(|(_, shape)| (mask, shape)),
                bias: shaping.bias.map(|(_, shape)| (bias, shape)),
                lengths: shaping.lengths.map(|(_, shape)| (lengths, shape)),
                settings: shaping.settings,
            };
            match dy {
                None => kernels.apply_axis_shaped(pass, function, &shaping, shape, axis, x, out),
                Some(_) => kernels
                    .grad_axis_shaped(pass, function, &shaping, shape, axis, x, upstream, out),
            }
        })
    }
}
