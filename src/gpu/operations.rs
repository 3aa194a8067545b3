//! The calls of a batch: every operation, on tensors. It makes the tensors that come out, and records the
//! call on all of their buffers.

use super::request::{Held, Request, TensorArray, Tensors, Wanted};
use super::tensor::same_shape;
use super::{Batch, Tensor};
use crate::arrays::{Array, Arrays, Contents, Data, DataMut, Owned, TypedSlice};
use crate::catalogue::Activation;
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::operation::{
    AsOperation, DeviceCall, Direction, Given, IntoOperation, Operation, Shapes, on_cpu,
};
use crate::shape::element_count;
use smallvec::SmallVec;

/// Outputs as far as they are computed.
type Results = SmallVec<[Option<Tensor>; 2]>;

impl Batch {
    /// The value of an operation, in a new tensor of the first input's type: an activation of a tensor, a
    /// function along an axis of it, a gate, a loss.
    ///
    /// ```no_run
    /// # fn run(gpu: &wgpu_activations::Gpu) -> wgpu_activations::Result<()> {
    /// use wgpu_activations::{Activation, AxisFunction, CrossEntropy, Gate};
    /// let x = gpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
    /// let loss = CrossEntropy::new();
    /// let labels = gpu.labels(loss.clone(), &[2, 2], (&[0i64, 1]).into())?;
    /// let mut batch = gpu.batch();
    /// let y = batch.apply(Activation::Gelu, &x)?;
    /// let p = batch.apply(AxisFunction::Softmax.along(-1).scale(0.5), &y)?;
    /// let gated = batch.apply(Gate::GLU, (&x, &p))?;
    /// let loss = batch.apply(loss, (&gated, &labels))?;
    /// batch.submit()?;
    /// println!("{:?}", loss.read()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Inputs`] where a tensor is missing, too many or of a wrong kind;
    /// [`Error::ShapeMismatch`], [`Error::AxisOutOfRange`] and what else the operation refuses;
    /// [`Error::OtherLabels`], [`Error::ForeignTensor`], [`Error::NoValues`];
    /// [`Error::AxisStepTooLarge`] where a step along the axis is more than a binding holds;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn apply<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
    ) -> Result<Tensor> {
        let request = Request::new(Direction::Forward, inputs);
        self.one(operation.held().as_operation(), &request)
    }

    /// The value of an operation, in a tensor of any type.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::BufferOverlap`] where y is an input.
    pub fn apply_into<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
        y: &'a Tensor,
    ) -> Result<()> {
        let request = Request::new(Direction::Forward, inputs).into(y);
        self.one(operation.held().as_operation(), &request)?;
        Ok(())
    }

    /// x = the value of an operation of it, which has its shape.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn apply_in_place(&mut self, operation: impl IntoOperation, x: &Tensor) -> Result<()> {
        let held = operation.held();
        let operation = held.as_operation();
        let request = Request::new(Direction::Forward, x);
        self.in_place(operation, request, ("input", x))
    }

    /// The gradient of an operation by its first input, in a new tensor of its type, for the upstream
    /// gradient dy, which has the shape of the operation's value.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn grad<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
        dy: &'a Tensor,
    ) -> Result<Tensor> {
        let request = Request::new(Direction::Backward, inputs).with_dy(dy);
        self.one(operation.held().as_operation(), &request)
    }

    /// The gradient by the first input, in a tensor of any type.
    ///
    /// # Errors
    /// As [`Batch::apply_into`].
    pub fn grad_into<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
        dy: &'a Tensor,
        dx: &'a Tensor,
    ) -> Result<()> {
        let request = Request::new(Direction::Backward, inputs);
        let request = request.with_dy(dy).into(dx);
        self.one(operation.held().as_operation(), &request)?;
        Ok(())
    }

    /// dy = the gradient by the first input, which has its shape.
    ///
    /// # Errors
    /// As [`Batch::apply_into`].
    pub fn grad_in_place<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
        dy: &'a Tensor,
    ) -> Result<()> {
        let held = operation.held();
        let operation = held.as_operation();
        let request = Request::new(Direction::Backward, inputs).with_dy(dy);
        self.in_place(operation, request, ("upstream gradient", dy))
    }

    /// The gradients by all inputs that the operation has gradients by, in their order and of their
    /// types: by value and gate of a [`Gate`](crate::Gate), by x and the slope of a
    /// [`Prelu`](crate::Prelu), by x and the sinks of a softmax that has some; else the one by the first
    /// input.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn grads<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
        dy: &'a Tensor,
    ) -> Result<Vec<Tensor>> {
        let request = Request::new(Direction::Backward, inputs).with_dy(dy);
        let request = request.wanting(Wanted::All);
        let all = self.run(operation.held().as_operation(), &request)?;
        Ok(all.into_vec())
    }

    /// The gradient by the input of a name alone: `sinks` of the softmax family, `slope` of a
    /// [`Prelu`](crate::Prelu).
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::Inputs`] where there is no gradient by that.
    pub fn grad_by<'a>(
        &mut self,
        operation: impl IntoOperation,
        input: &'static str,
        inputs: impl Tensors<'a>,
        dy: &'a Tensor,
    ) -> Result<Tensor> {
        let request = Request::new(Direction::Backward, inputs).with_dy(dy);
        let request = request.wanting(Wanted::By(input));
        self.one(operation.held().as_operation(), &request)
    }

    /// The gradient by the first input, from the operation's output y, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::NotFromOutput`] of operations whose rounded output does not hold the
    /// gradient to full accuracy.
    pub fn grad_from_output<'a>(
        &mut self,
        operation: impl IntoOperation,
        y: impl Tensors<'a>,
        dy: &'a Tensor,
    ) -> Result<Tensor> {
        let request = Request::new(Direction::FromOutput, y).with_dy(dy);
        self.one(operation.held().as_operation(), &request)
    }

    /// The value, and its gradient by the first input for an upstream gradient of 1, in new tensors: of
    /// cross entropy the logits are read twice, for the sums and for the gradient.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn apply_with_grad<'a>(
        &mut self,
        operation: impl IntoOperation,
        inputs: impl Tensors<'a>,
    ) -> Result<(Tensor, Tensor)> {
        let held = operation.held();
        let operation = held.as_operation();
        let request = Request::new(Direction::Both, inputs);
        if operation.has_both() {
            let request = request.wanting(Wanted::All);
            let mut both = self.run(operation, &request)?.into_iter();
            // Invariant: an operation that has both has two outputs.
            let mut next = || both.next().expect("two outputs");
            return Ok((next(), next()));
        }
        let y = self.one(operation, &request.toward(Direction::Forward))?;
        let ones = self
            .handle
            .recorded_upload(&vec![1.0; y.len()], y.shape())?;
        let inputs = &request.inputs[..];
        let backward = Request::new(Direction::Backward, inputs).with_dy(&ones);
        let dx = self.one(operation, &backward)?;
        Ok((y, dx))
    }

    /// The same numbers in a new tensor of another type, rounded to the nearest; x itself where it
    /// has that type.
    ///
    /// # Errors
    /// As [`Batch::apply`].
    pub fn cast(&mut self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        if x.dtype() == dtype {
            return Ok(x.clone());
        }
        let y = self.output(x.shape(), dtype)?;
        self.apply_into(Activation::Identity, x, &y)?;
        Ok(y)
    }

    /// The only output that is wanted.
    pub(super) fn one(
        &mut self,
        operation: &dyn Operation,
        request: &Request<'_>,
    ) -> Result<Tensor> {
        let mut results = self.run(operation, request)?;
        // Invariant: an operation has one output at least.
        Ok(results.remove(0))
    }

    /// The outputs that are wanted.
    pub(super) fn run(
        &mut self,
        operation: &dyn Operation,
        request: &Request<'_>,
    ) -> Result<SmallVec<[Tensor; 2]>> {
        let &Request {
            direction,
            ref inputs,
            dy,
            wanted,
            place,
            in_place,
        } = request;
        let arrays = inputs
            .iter()
            .map(|input| input.array(None, input.contents()));
        let arrays: Arrays<'_> = arrays.collect();
        let upstream = dy.map(TensorArray::from);
        let upstream = upstream.map(|dy| dy.array(None, dy.contents()));
        let given = Given::new(operation, direction, &arrays, upstream.as_ref())?;
        let shapes = operation.infer(direction, &given)?;
        if in_place {
            let written = dy.or(inputs.first().map(TensorArray::tensor));
            if let Some(written) = written {
                same_shape("the output", written.shape(), &shapes[0])?;
            }
        }
        let index = match wanted {
            Wanted::First => Some(0),
            Wanted::All => None,
            Wanted::By(name) => Some(operation.gradient_by(name, shapes.len())?),
        };
        let is_wanted = |i: usize| index.is_none_or(|index| index == i);
        let one_by_one = operation.is_one_by_one(direction);
        let mut results = Results::new();
        for (i, shape) in shapes.iter().enumerate() {
            results.push(match place.filter(|_| is_wanted(i)) {
                _ if in_place || !is_wanted(i) && one_by_one => None,
                Some(place) => {
                    same_shape(output_name(operation, direction, i), shape, place.shape())?;
                    Some(place.clone())
                }
                None => Some(self.output(shape, dtype_of(operation, direction, &given, i))?),
            });
        }
        self.compute(
            operation,
            request,
            (&arrays, upstream.as_ref()),
            &shapes,
            &results,
        )?;
        let wanted = results.into_iter().enumerate();
        let wanted = wanted.filter_map(|(i, result)| result.filter(|_| is_wanted(i)));
        Ok(wanted.collect())
    }

    /// Computes results of the request's arrays.
    fn compute(
        &mut self,
        operation: &dyn Operation,
        request: &Request<'_>,
        (arrays, dy): (&[Array<'_>], Option<&Array<'_>>),
        shapes: &Shapes,
        results: &Results,
    ) -> Result<()> {
        let direction = request.direction;
        let stand_in;
        let mut tensors: SmallVec<[(&'static str, &Tensor); 8]> = SmallVec::new();
        let roles = Given::roles(operation, direction);
        let slots = Given::slots(operation, roles, arrays)?;
        for (input, slot) in request.inputs.iter().zip(slots) {
            tensors.push((roles[slot].name, input.tensor()));
        }
        tensors.extend(request.dy.map(|dy| ("upstream gradient", dy)));
        if tensors.iter().any(|(_, tensor)| tensor.is_empty()) {
            self.of_this_device(&tensors)?;
            if results.iter().flatten().all(Tensor::is_empty) {
                return Ok(());
            }
            if !operation.records_empty_rows() {
                return self.of_nothing(operation, request, (arrays, dy), shapes, results);
            }
            // An empty array cannot be bound.
            stand_in = self.handle.empty(&[1])?;
            for (_, tensor) in tensors.iter_mut().filter(|(_, tensor)| tensor.is_empty()) {
                *tensor = &stand_in;
            }
        }
        for (i, result) in results.iter().enumerate() {
            let what = output_name(operation, direction, i);
            let what = what.strip_prefix("the ").unwrap_or(what);
            tensors.extend(result.as_ref().map(|result| (what, result)));
        }
        self.record_call(operation, request, &tensors, results)
    }

    /// Records a call on tensors that have elements: the inputs, the upstream gradient, the results.
    fn record_call(
        &mut self,
        operation: &dyn Operation,
        request: &Request<'_>,
        tensors: &[(&'static str, &Tensor)],
        results: &Results,
    ) -> Result<()> {
        let wide = !operation.takes_16_bits_on_gpu();
        let dtype_of = |tensor: &Tensor| if wide { DType::F32 } else { tensor.dtype() };
        let inputs = &request.inputs;
        let mut written: SmallVec<[&Tensor; 2]> = results.iter().flatten().collect();
        if request.in_place {
            written.extend(tensors.last().map(|(_, tensor)| *tensor));
        }
        let work = |kernels: &crate::Kernels,
                    pass: &mut wgpu::ComputePass<'static>,
                    slices: &[wgpu::BufferSlice<'_>]| {
            let mut slices = slices.iter().copied();
            let mut array = |input: &TensorArray<'_>| {
                let contents = match input.held {
                    Held::Numbers(tensor) => Contents::Numbers(dtype_of(tensor)),
                    _ => input.contents(),
                };
                (slices.next(), contents)
            };
            // Which range each has, in the order of the tensors.
            let found: SmallVec<[_; 4]> = inputs.iter().map(&mut array).collect();
            let dy = request.dy.map(TensorArray::from);
            let found_dy = dy.as_ref().map(&mut array);
            let arrays = inputs.iter().zip(&found);
            let arrays = arrays.map(|(input, (slice, contents))| input.array(*slice, *contents));
            let arrays: Arrays<'_> = arrays.collect();
            let dy = dy.as_ref().zip(found_dy);
            let dy = dy.map(|(dy, (slice, contents))| dy.array(slice, contents));
            let outputs = results.iter().map(|result| {
                let result = result.as_ref()?;
                Some(TypedSlice::new(slices.next()?, dtype_of(result)))
            });
            let outputs: SmallVec<[Option<TypedSlice<'_>>; 2]> = outputs.collect();
            let direction = request.direction;
            let call = DeviceCall {
                direction,
                given: &Given::new(operation, direction, &arrays, dy.as_ref())?,
                outputs: &outputs,
                in_place: request.in_place,
            };
            operation.record_call(kernels, pass, &call)
        };
        if wide {
            self.record_all(tensors, &written, work)
        } else {
            self.record_slices(tensors, &written, work)
        }
    }

    /// Results of arrays without elements: the sum over nothing, the loss of no classes.
    fn of_nothing(
        &mut self,
        operation: &dyn Operation,
        request: &Request<'_>,
        (arrays, dy): (&[Array<'_>], Option<&Array<'_>>),
        shapes: &Shapes,
        results: &Results,
    ) -> Result<()> {
        let on_host = |array: &Array<'_>| {
            let Data::Device(data) = array.data() else {
                return array.with_data(Owned::F32(Vec::new()));
            };
            array.with_data(match data.contents {
                Contents::Numbers(_) => Owned::zeros(DType::F32, data.len),
                Contents::Mask => Owned::U8(vec![0; data.len]),
                Contents::Lengths => Owned::U32(vec![0; data.len]),
                // Of no classes, every row is ignored.
                Contents::Classes => {
                    let ignored = data.checked_for.map_or(0, |checked| checked.ignore_index);
                    Owned::I64(vec![ignored; data.len])
                }
            })
        };
        let arrays: Vec<Array<'_>> = arrays.iter().map(on_host).collect();
        let dy = dy.map(on_host);
        let given = Given::new(operation, request.direction, &arrays, dy.as_ref())?;
        let mut values = Vec::new();
        for shape in shapes {
            values.push(vec![0.0f32; element_count(shape)?]);
        }
        let outputs = values.iter_mut().map(|values| Some(DataMut::F32(values)));
        let mut outputs: Vec<Option<DataMut<'_>>> = outputs.collect();
        on_cpu(
            &Cpu::new(),
            operation,
            request.direction,
            &given,
            &mut outputs,
        )?;
        for (result, values) in results.iter().zip(&values) {
            if let Some(result) = result.as_ref().filter(|result| !result.is_empty()) {
                let values = self.handle.recorded_upload(values, result.shape())?;
                self.apply_into(Activation::Identity, &values, result)?;
            }
        }
        Ok(())
    }

    /// Computes an operation in the place of a tensor; with a copy where its kernels cannot.
    pub(super) fn in_place(
        &mut self,
        operation: &dyn Operation,
        request: Request<'_>,
        (what, tensor): (&'static str, &Tensor),
    ) -> Result<()> {
        let here = Request {
            in_place: true,
            ..request.clone()
        };
        let done = self.read_before((what, tensor), |batch| batch.run(operation, &here));
        match done {
            Err(Error::NotInPlace { .. }) => {
                let aside = self.one(operation, &request)?;
                self.apply_into(Activation::Identity, &aside, tensor)
            }
            done => done.map(drop),
        }
    }
}

/// The name of an output, as sentences have it.
fn output_name(operation: &dyn Operation, direction: Direction, i: usize) -> &'static str {
    match (direction, i) {
        (Direction::Forward, _) | (Direction::Both, 0) => "the output",
        (Direction::Backward, i) => operation.gradients()[i].1,
        (Direction::FromOutput | Direction::Both, _) => "the gradient",
    }
}

/// The type of a new output: that of what it is the gradient by, or of the first input.
fn dtype_of(operation: &dyn Operation, direction: Direction, given: &Given<'_>, i: usize) -> DType {
    let input = match direction {
        Direction::Backward => operation.gradients()[i].0,
        _ => 0,
    };
    let dtype = given.get(input).and_then(|view| view.data.dtype());
    dtype.unwrap_or_default()
}
