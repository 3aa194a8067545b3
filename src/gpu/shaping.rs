//! The softmax family over shaped rows, on tensors.

use super::stream;
use super::tensor::{Batch, Tensor, output_shape, same_shape};
use super::{Gpu, Wait};
use crate::axis::AxisFunction;
use crate::element::DType;
use crate::error::Result;
use crate::kernels::BufferShaping;
use crate::shape::{element_count, same_length};
use crate::shaping::{Geometry, Shaping};

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

    /// A [`Shaping::sink`](Shaping::sink) of its own for each row, or for rows that share one; its
    /// shape broadcasts to x's, with the function's axis of length 1. Replaces that.
    pub fn sinks(mut self, logits: &'a Tensor) -> Self {
        (self.sinks, self.settings.sink) = (Some((logits, logits.shape())), None);
        self
    }
}

impl Gpu {
    /// A mask on the device: nonzero takes part.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub fn upload_mask(&self, keep: &[u8], shape: &[usize]) -> Result<Mask> {
        pollster::block_on(self.mask_by(keep, shape, Wait::Block))
    }

    /// [`Gpu::upload_mask`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub async fn upload_mask_async(&self, keep: &[u8], shape: &[usize]) -> Result<Mask> {
        self.mask_by(keep, shape, Wait::Async).await
    }

    async fn mask_by(&self, keep: &[u8], shape: &[usize], wait: Wait) -> Result<Mask> {
        same_length("the mask", element_count(shape)?, keep.len())?;
        let words = self.empty(&[keep.len().div_ceil(4)])?;
        stream::upload(&self.inner, keep, words.buffer(), wait).await?;
        Ok(Mask {
            words,
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

    /// [`Gpu::upload_lengths`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub async fn upload_lengths_async(&self, lengths: &[u32], shape: &[usize]) -> Result<Lengths> {
        let words = self.upload_async::<f32>(bytemuck::cast_slice(lengths), shape);
        Ok(Lengths {
            words: words.await?,
        })
    }
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
        self.record_shaped(function, shaping, axis, x, None, ("output", y), false)
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
            let out = ("gradient", &dx);
            self.record_shaped(function, shaping, axis, x, Some(dy), out, false)?;
        }
        Ok(dx)
    }

    /// The gradient of `function` after `shaping` by its sinks, in a new tensor of their shape and
    /// type; where the sink is a number, of one element. dy has the shape of the function's output.
    ///
    /// # Errors
    /// As [`Batch::grad_axis_shaped`] and [`Kernels::grad_axis_sinks`](crate::Kernels::grad_axis_sinks).
    pub fn grad_axis_sinks(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let upstream = output_shape(function, x.shape(), axis)?;
        same_shape("the upstream gradient", &upstream, dy.shape())?;
        // What does not fit is an error also where there is nothing to record.
        let rows = Geometry::new(shaping, x.shape(), axis)?.shape.rows();
        shaping.sink_sums(x.shape(), axis)?;
        let (of, dtype) = match shaping.sinks {
            Some((sinks, _)) => (sinks.shape(), sinks.dtype()),
            None => (&[][..], DType::F32),
        };
        if rows == 0 {
            // Sums of nothing.
            let zeros = self.handle.upload(&vec![0.0; element_count(of)?], of)?;
            return self.cast(&zeros, dtype);
        }
        let dsinks = self.output(of, dtype)?;
        if !dsinks.is_empty() {
            let out = ("gradient by the sinks", &dsinks);
            self.record_shaped(function, shaping, axis, x, Some(dy), out, true)?;
        }
        Ok(dsinks)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place behind three public calls"
    )]
    fn record_shaped(
        &mut self,
        function: AxisFunction,
        shaping: &TensorShaping<'_>,
        axis: isize,
        x: &Tensor,
        dy: Option<&Tensor>,
        out: (&'static str, &Tensor),
        by_sink: bool,
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
            or_x(shaping.sinks.map(|(sinks, _)| sinks)),
        ];
        let [upstream, mask, bias, lengths, sinks] = &tensors;
        let tensors = [
            ("input", x),
            ("upstream gradient", upstream),
            ("mask", mask),
            ("bias", bias),
            ("lengths", lengths),
            ("sinks", sinks),
            out,
        ];
        self.record(tensors, &[out.1], |kernels, pass, slices| {
            let [x, upstream, mask, bias, lengths, sinks, out] = slices;
            let shaping: BufferShaping<'_> = Shaping {
                mask: shaping.mask.map(|(_, shape)| (mask, shape)),
                bias: shaping.bias.map(|(_, shape)| (bias, shape)),
                lengths: shaping.lengths.map(|(_, shape)| (lengths, shape)),
                sinks: shaping.sinks.map(|(_, shape)| (sinks, shape)),
                settings: shaping.settings,
            };
            match dy {
                None => kernels.apply_axis_shaped(pass, function, &shaping, shape, axis, x, out),
                Some(_) if by_sink => {
                    kernels.grad_axis_sinks(pass, function, &shaping, shape, axis, x, upstream, out)
                }
                Some(_) => kernels
                    .grad_axis_shaped(pass, function, &shaping, shape, axis, x, upstream, out),
            }
        })
    }
}
