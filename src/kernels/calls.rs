//! The calls of the encoder level: every operation, on ranges of the caller's buffers.

use super::{Kernels, filled_buffer};
use crate::arrays::{Array, Arrays, BufferArray, Buffers, TypedSlice};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::operation::{AsOperation, DeviceCall, Direction, Given, IntoOperation, Operation};
use crate::shape::element_count;

/// Outputs that an operation has at most.
const MOST_OUTPUTS: usize = 2;

/// What a call computes, with its arrays on the device.
struct Call<'a> {
    direction: Direction,
    arrays: Arrays<'a>,
    dy: Option<Array<'a>>,
    /// Where outputs go that are wanted.
    outputs: [Option<TypedSlice<'a>>; MOST_OUTPUTS],
    in_place: bool,
}

impl<'a> Call<'a> {
    fn new(direction: Direction, inputs: impl Buffers<'a>, output: Option<TypedSlice<'a>>) -> Self {
        Self {
            direction,
            arrays: inputs.arrays(),
            dy: None,
            outputs: [output, None],
            in_place: output.is_none(),
        }
    }

    fn with_dy(self, dy: impl Into<BufferArray<'a>>) -> Self {
        let dy = Some(dy.into().array());
        Self { dy, ..self }
    }

    /// The same arrays, for one output.
    fn one<'b>(
        &'b self,
        direction: Direction,
        output: Option<TypedSlice<'b>>,
        dy: Option<Array<'b>>,
    ) -> Call<'b> {
        Call {
            direction,
            arrays: self.arrays.iter().map(Array::borrowed).collect(),
            dy,
            outputs: [output, None],
            in_place: false,
        }
    }
}

impl Kernels {
    /// Records the value of an operation: an activation of an array, a function along an axis of it, a
    /// gate, a loss. Functions along an axis take arrays that have a shape,
    /// [`TypedSlice::of_shape`]; a range without one has a single axis.
    ///
    /// Activations take numbers of any types and are computed in f32; all else takes f32.
    ///
    /// ```no_run
    /// # fn record(kernels: &wgpu_activations::Kernels, pass: &mut wgpu::ComputePass<'_>, x: &wgpu::Buffer, mask: &wgpu::Buffer, y: &wgpu::Buffer) -> wgpu_activations::Result<()> {
    /// use wgpu_activations::{Activation, AxisFunction, DType, TypedSlice};
    /// let half = TypedSlice::new(x.slice(..), DType::F16);
    /// kernels.apply(pass, Activation::Gelu, half, y.slice(..))?;
    /// let softmax = AxisFunction::Softmax.along(-1).scale(0.125);
    /// let x = TypedSlice::f32(x.slice(..)).of_shape(&[8, 64, 64]);
    /// let mask = TypedSlice::mask(mask.slice(..)).of_shape(&[64, 64]);
    /// kernels.apply(pass, softmax, (x, mask), y.slice(..))?;
    /// # Ok(()) }
    /// ```
    ///
    /// A loss that is reduced is one number; a mean over classes has to know over how many rows,
    /// [`TypedSlice::mean_over`].
    ///
    /// # Errors
    /// A buffer without `STORAGE`, a misaligned, overlapping or too small range;
    /// [`Error::AxisStepTooLarge`] where a step along the axis is more than a binding holds;
    /// [`Error::TooManyBuffers`]; what else the operation refuses.
    pub fn apply<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        inputs: impl Buffers<'a>,
        y: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let call = Call::new(Direction::Forward, inputs, Some(y.into()));
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records the value of an operation in the place of its input.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::NotInPlace`] of all but activations, rrelu and plain functions
    /// of the softmax family that do not reduce.
    pub fn apply_in_place<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        x: impl Buffers<'a>,
    ) -> Result<()> {
        let call = Call::new(Direction::Forward, x, None);
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records the gradient of an operation by its first input, for the upstream gradient dy, which has
    /// the shape of the operation's value.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grad<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        inputs: impl Buffers<'a>,
        dy: impl Into<BufferArray<'a>>,
        dx: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let call = Call::new(Direction::Backward, inputs, Some(dx.into())).with_dy(dy);
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records the gradient by the first input in the place of the upstream gradient.
    ///
    /// # Errors
    /// As [`Kernels::apply_in_place`].
    pub fn grad_in_place<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        inputs: impl Buffers<'a>,
        dy: impl Into<BufferArray<'a>>,
    ) -> Result<()> {
        let call = Call::new(Direction::Backward, inputs, None).with_dy(dy);
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records both gradients of an operation that has two: by value and gate, by x and the slope, by x
    /// and the sinks. The one by the sinks has an element for each of them, and one where the sink is a
    /// number.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grads<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        inputs: impl Buffers<'a>,
        dy: impl Into<BufferArray<'a>>,
        [dx, second]: [TypedSlice<'a>; 2],
    ) -> Result<()> {
        let mut call = Call::new(Direction::Backward, inputs, Some(dx)).with_dy(dy);
        call.outputs[1] = Some(second);
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records the gradient by the input of a name alone: `sinks` of the softmax family, `slope` of a
    /// [`Prelu`](crate::Prelu).
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::Inputs`] where there is no gradient by that.
    pub fn grad_by<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        input: &str,
        inputs: impl Buffers<'a>,
        dy: impl Into<BufferArray<'a>>,
        out: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let held = operation.held();
        let operation = held.as_operation();
        let mut call = Call::new(Direction::Backward, inputs, Some(out.into())).with_dy(dy);
        let given = Given::new(operation, call.direction, &call.arrays, call.dy.as_ref())?;
        let count = operation.infer(call.direction, &given)?.len();
        let output = operation.gradient_by(input, count)?;
        call.outputs.swap(0, output);
        self.call(pass, operation, call)
    }

    /// Records the gradient by the first input, from the operation's output y.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::NotFromOutput`] of operations whose rounded output does not hold
    /// the gradient to full accuracy.
    pub fn grad_from_output<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        y: impl Buffers<'a>,
        dy: impl Into<BufferArray<'a>>,
        dx: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let call = Call::new(Direction::FromOutput, y, Some(dx.into())).with_dy(dy);
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records the value of an operation, and dx = its gradient by the first input for an upstream
    /// gradient of 1: of cross entropy in one go.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn apply_with_grad<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: impl IntoOperation,
        inputs: impl Buffers<'a>,
        y: impl Into<TypedSlice<'a>>,
        dx: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let mut call = Call::new(Direction::Both, inputs, Some(y.into()));
        call.outputs[1] = Some(dx.into());
        self.call(pass, operation.held().as_operation(), call)
    }

    /// Records an operation.
    fn call(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: &dyn Operation,
        call: Call<'_>,
    ) -> Result<()> {
        if call.direction == Direction::Both && !operation.has_both() {
            return self.one_after_the_other(pass, operation, &call);
        }
        let given = Given::new(operation, call.direction, &call.arrays, call.dy.as_ref())?;
        let shapes = operation.infer(call.direction, &given)?;
        if shapes.len() == 1 && call.outputs[1].is_some() {
            // What nobody writes would have any contents.
            return Err(Error::Inputs {
                function: operation.name(),
                detail: "has one gradient here; `Kernels::grad` records it".to_owned(),
            });
        }
        self.check(operation, &given, &call)?;
        // What is computed along with what is wanted needs a place.
        let alone = call.in_place || operation.is_one_by_one(call.direction);
        let outputs = shapes.iter().zip(&call.outputs);
        let missing = outputs.filter(|(_, output)| output.is_none() && !alone);
        let aside = match missing.map(|(shape, _)| shape).next() {
            Some(shape) => {
                let bytes = element_count(shape)?.max(1) as u64 * 4;
                Some((self.kept(&self.inner.terms, bytes), bytes))
            }
            None => None,
        };
        let aside = aside.as_ref().map(|(buffer, bytes)| buffer.slice(..*bytes));
        let outputs = call
            .outputs
            .map(|output| output.or(aside.map(TypedSlice::f32)));
        operation.record_call(
            self,
            pass,
            &DeviceCall {
                direction: call.direction,
                given: &given,
                outputs: &outputs[..shapes.len()],
                in_place: call.in_place,
            },
        )
    }

    /// Value and gradient of an operation that does not compute both in one go.
    fn one_after_the_other(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operation: &dyn Operation,
        call: &Call<'_>,
    ) -> Result<()> {
        let forward = call.one(Direction::Forward, call.outputs[0], None);
        let given = Given::new(operation, Direction::Forward, &forward.arrays, None)?;
        let value = element_count(&operation.infer(Direction::Forward, &given)?[0])?;
        let ones = self.constant(&vec![1.0; value.max(1)]);
        let dy = BufferArray::from(ones.slice(..)).array();
        self.call(pass, operation, forward)?;
        let backward = call.one(Direction::Backward, call.outputs[1], Some(dy));
        self.call(pass, operation, backward)
    }

    /// An error where a range is too small for its shape, or has numbers that the operation's kernels do
    /// not take.
    fn check(&self, operation: &dyn Operation, given: &Given<'_>, call: &Call<'_>) -> Result<()> {
        let mut narrow = call
            .outputs
            .iter()
            .flatten()
            .any(|out| out.dtype() != DType::F32);
        let roles = Given::roles(operation, call.direction);
        let names = roles.iter().map(|role| role.name);
        let names = names.chain(std::iter::repeat_n(
            "",
            given.all().count() - 1 - roles.len(),
        ));
        for (view, name) in given.all().zip(names.chain(["upstream gradient"])) {
            let Some(view) = view else { continue };
            let array = view.data.on_device();
            narrow |= array.contents.dtype() != DType::F32;
            let operand = self.operand(array.slice(), name)?;
            let bytes = (array.len as u64).saturating_mul(array.contents.bytes() as u64);
            let needed = bytes.div_ceil(4).saturating_mul(4);
            if operand.bytes < needed {
                return Err(Error::BufferTooSmall {
                    what: name,
                    needed,
                    got: operand.bytes,
                });
            }
        }
        if narrow && !operation.takes_16_bits_on_gpu() {
            return Err(Error::Inputs {
                function: operation.name(),
                detail:
                    "takes f32 in a pass of the caller's; the activation identity converts numbers \
                         of 16 bits"
                        .to_owned(),
            });
        }
        Ok(())
    }

    /// A buffer of these numbers, as weights of a loss are.
    pub(crate) fn constant(&self, numbers: &[f32]) -> wgpu::Buffer {
        // What is kept is looked up by its contents.
        const MOST_KEPT: usize = 16 * 1024;
        let words: &[u32] = bytemuck::cast_slice(numbers);
        if words.len() <= MOST_KEPT {
            return self.uniforms(words);
        }
        filled_buffer(&self.inner.device, wgpu::BufferUsages::STORAGE, words)
    }
}
