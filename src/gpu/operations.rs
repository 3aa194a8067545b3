//! What a batch computes of an operation: the tensors that it is given, those that come out, and the call
//! on their buffers.

use super::loss::Labels;
use super::shaping::{Lengths, Mask};
use super::tensor::same_shape;
use super::{Batch, Tensor};
use crate::arrays::{Array, Arrays, Contents, Data, DataMut, OnDevice, Owned, TypedSlice};
use crate::catalogue::Activation;
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::Call;
use crate::operation::{Direction, Given, Operation, Shapes, on_cpu};
use crate::shape::element_count;
use smallvec::SmallVec;

/// A tensor, or another array on the device, that is given to a call of [`Batch`]: they convert into it,
/// and [`Tensor::named`] says which of an operation's inputs it is.
#[derive(Clone, Copy, Debug)]
pub struct TensorArray<'a> {
    held: Held<'a>,
    name: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Held<'a> {
    Numbers(&'a Tensor),
    Mask(&'a Mask),
    Lengths(&'a Lengths),
    Labels(&'a Labels),
}

macro_rules! held {
    ($($type:ident => $variant:ident),*) => {$(
        impl<'a> From<&'a $type> for TensorArray<'a> {
            fn from(array: &'a $type) -> Self {
                Self {
                    held: Held::$variant(array),
                    name: None,
                }
            }
        }
    )*};
}
held!(Tensor => Numbers, Mask => Mask, Lengths => Lengths, Labels => Labels);

impl<'a> TensorArray<'a> {
    /// The memory.
    fn tensor(&self) -> &'a Tensor {
        match self.held {
            Held::Numbers(tensor) => tensor,
            Held::Mask(mask) => &mask.words,
            Held::Lengths(lengths) => &lengths.words,
            Held::Labels(labels) => &labels.targets,
        }
    }

    fn shape(&self) -> &'a [usize] {
        match self.held {
            Held::Mask(mask) => mask.shape(),
            _ => self.tensor().shape(),
        }
    }

    fn contents(&self) -> Contents {
        match self.held {
            Held::Numbers(tensor) => Contents::Numbers(tensor.dtype()),
            Held::Mask(_) => Contents::Mask,
            Held::Lengths(_) => Contents::Lengths,
            Held::Labels(labels) if labels.probabilities => Contents::Numbers(DType::F32),
            Held::Labels(_) => Contents::Classes,
        }
    }

    /// The array, which lies in a range of a buffer where work is recorded.
    fn array(&self, slice: Option<wgpu::BufferSlice<'a>>, contents: Contents) -> Array<'a> {
        let len = self.shape().iter().product();
        let mut array = OnDevice {
            slice,
            ..OnDevice::new(contents, len)
        };
        if let Held::Labels(labels) = self.held {
            array.total = Some(labels.total);
            let loss = &labels.loss;
            array.checked_for = Some(loss.options().checked_for(loss.name(), &labels.shape));
        }
        Array::on_device(array, Some(self.shape()), self.name)
    }
}

impl Tensor {
    /// The input of this name, as [`Array::named`]: `noise` of gumbel_softmax, or `bias` and `sinks` of
    /// the softmax family where one is given without the other.
    pub fn named(&self, name: &'static str) -> TensorArray<'_> {
        TensorArray {
            name: Some(name),
            ..self.into()
        }
    }
}

type TensorArrays<'a> = SmallVec<[TensorArray<'a>; 4]>;

/// What a call of [`Batch`] is computed of: a tensor, or a tuple or slice of tensors, masks, lengths and
/// labels.
pub trait Tensors<'a> {
    #[doc(hidden)]
    fn tensors(self) -> TensorArrays<'a>;
}

impl<'a> Tensors<'a> for &'a Tensor {
    fn tensors(self) -> TensorArrays<'a> {
        std::iter::once(self.into()).collect()
    }
}

impl<'a> Tensors<'a> for &[TensorArray<'a>] {
    fn tensors(self) -> TensorArrays<'a> {
        self.iter().copied().collect()
    }
}

macro_rules! tuples {
    ($($tensors:ident),*) => {
        impl<'a, $($tensors: Into<TensorArray<'a>>),*> Tensors<'a> for ($($tensors,)*) {
            fn tensors(self) -> TensorArrays<'a> {
                #[expect(non_snake_case, reason = "values are named by their types")]
                let ($($tensors,)*) = self;
                [$($tensors.into()),*].into_iter().collect()
            }
        }
    };
}
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);

/// Which of the outputs are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    First,
    All,
    /// The gradient by the input of this name.
    By(&'static str),
}

/// What a batch is asked to compute.
#[derive(Clone)]
pub(super) struct Request<'a> {
    direction: Direction,
    pub inputs: TensorArrays<'a>,
    dy: Option<&'a Tensor>,
    wanted: Wanted,
    /// Where the first output goes that is wanted, if not into a new tensor.
    place: Option<&'a Tensor>,
    /// Whether it takes the place of the last input.
    in_place: bool,
}

impl<'a> Request<'a> {
    pub fn new(direction: Direction, inputs: impl Tensors<'a>) -> Self {
        Self {
            direction,
            inputs: inputs.tensors(),
            dy: None,
            wanted: Wanted::First,
            place: None,
            in_place: false,
        }
    }

    pub fn with_dy(self, dy: &'a Tensor) -> Self {
        let dy = Some(dy);
        Self { dy, ..self }
    }

    pub fn wanting(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    /// The same arrays, for another direction.
    pub fn toward(&self, direction: Direction) -> Self {
        Self {
            direction,
            ..self.clone()
        }
    }

    pub fn into(self, place: &'a Tensor) -> Self {
        let place = Some(place);
        Self { place, ..self }
    }
}

/// Outputs as far as they are computed.
type Results = SmallVec<[Option<Tensor>; 2]>;

impl Batch {
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
            let call = Call {
                direction: request.direction,
                arrays: arrays
                    .map(|(input, (slice, contents))| input.array(*slice, *contents))
                    .collect(),
                dy: dy
                    .as_ref()
                    .zip(found_dy)
                    .map(|(dy, (slice, contents))| dy.array(slice, contents)),
                outputs: std::array::from_fn(|i| {
                    let result = results.get(i)?.as_ref()?;
                    Some(TypedSlice::new(slices.next()?, dtype_of(result)))
                }),
                in_place: request.in_place,
            };
            kernels.call(pass, operation, call)
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
                let values = self.handle.upload(values, result.shape())?;
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
