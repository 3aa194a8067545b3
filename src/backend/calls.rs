//! The calls of a backend: every operation, every type of numbers, blocking or not, in one way.

use super::{Backend, carried};
use crate::arrays::{
    Array, ArrayMut, Arrays, Data, DataMut, FromResult, Inputs, Output, Owned, Place,
};
use crate::cpu::Cpu;
use crate::cpu::threads::{self, elsewhere};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::gpu::HostWait;
use crate::operation::{
    AsOperation, Direction, Given, IntoOperation, Operation, Outputs, Shape, Shapes, on_cpu,
};
use crate::shape::{element_count, same_length};
use smallvec::SmallVec;

/// Which of the outputs are wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    First,
    All,
    /// The gradient by the input of this name.
    By(&'static str),
}

/// What a call computes, and of which arrays: for programs that know the number and the types of arrays
/// when they run, as bindings to other languages do. [`Call::shapes`] says what comes out, and
/// [`Backend::run`] computes it.
///
/// ```
/// use wgpu_activations::{Array, Backend, Call, OfShape, operation_for};
/// let backend = Backend::cpu();
/// let softmax = operation_for("softmax(axis=0)", &[])?;
/// let call = Call::value([Array::from([1.0f32, 1.0].of_shape(&[2, 1]))]);
/// assert_eq!(call.shapes(&*softmax)?, [vec![2, 1]]);
/// let mut y = [0.0f32; 2];
/// backend.run(&*softmax, &call, &mut [Some((&mut y[..]).into())])?;
/// assert_eq!(y, [0.5, 0.5]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Debug)]
pub struct Call<'a> {
    direction: Direction,
    arrays: Arrays<'a>,
    dy: Option<Array<'a>>,
    wanted: Wanted,
}

impl<'a> Call<'a> {
    fn new(direction: Direction, inputs: impl Inputs<'a>) -> Self {
        Self {
            direction,
            arrays: inputs.arrays(),
            dy: None,
            wanted: Wanted::First,
        }
    }

    pub(super) fn forward(inputs: impl Inputs<'a>) -> Self {
        Self::new(Direction::Forward, inputs)
    }

    pub(super) fn backward(inputs: impl Inputs<'a>, dy: impl Inputs<'a>) -> Self {
        Self::new(Direction::Backward, inputs).with_dy(dy)
    }

    pub(super) fn from_output(y: impl Inputs<'a>, dy: impl Inputs<'a>) -> Self {
        Self::new(Direction::FromOutput, y).with_dy(dy)
    }

    pub(super) fn both(inputs: impl Inputs<'a>) -> Self {
        Self::new(Direction::Both, inputs).all()
    }

    /// The gradient by the input of a name alone.
    pub(super) fn by(self, input: &'static str) -> Self {
        let wanted = Wanted::By(input);
        Self { wanted, ..self }
    }

    fn with_dy(self, dy: impl Inputs<'a>) -> Self {
        // An upstream gradient is one array.
        let dy = dy.arrays().into_iter().next();
        Self { dy, ..self }
    }

    pub(super) fn all(self) -> Self {
        let wanted = Wanted::All;
        Self { wanted, ..self }
    }

    fn given<'b>(&'b self, operation: &dyn Operation) -> Result<Given<'b>> {
        Given::new(operation, self.direction, &self.arrays, self.dy.as_ref())
    }

    /// The same call for another thread.
    async fn carried(&self) -> Call<'static> {
        let mut arrays = Arrays::new();
        for array in &self.arrays {
            arrays.push(carried::array(array).await);
        }
        let dy = match &self.dy {
            Some(dy) => Some(carried::array(dy).await),
            None => None,
        };
        Call {
            direction: self.direction,
            arrays,
            dy,
            wanted: self.wanted,
        }
    }

    /// How many elements its arrays have.
    pub fn elements(&self) -> usize {
        let arrays = self.arrays.iter().chain(&self.dy);
        arrays.map(|array| array.data().len()).sum()
    }

    fn of(direction: Direction, arrays: impl IntoIterator<Item = Array<'a>>) -> Self {
        Self {
            direction,
            arrays: arrays.into_iter().collect(),
            dy: None,
            wanted: Wanted::All,
        }
    }

    /// The value.
    pub fn value(arrays: impl IntoIterator<Item = Array<'a>>) -> Self {
        Self::of(Direction::Forward, arrays)
    }

    /// The gradients by all inputs that there are gradients by, in their order.
    pub fn gradients(arrays: impl IntoIterator<Item = Array<'a>>, dy: Array<'a>) -> Self {
        let dy = Some(dy);
        Self {
            dy,
            ..Self::of(Direction::Backward, arrays)
        }
    }

    /// The gradient by the first input, from the output.
    pub fn gradient_from_output(y: Array<'a>, dy: Array<'a>) -> Self {
        let dy = Some(dy);
        Self {
            dy,
            ..Self::of(Direction::FromOutput, [y])
        }
    }

    /// The value, and its gradient by the first input for an upstream gradient of 1.
    pub fn value_and_gradient(arrays: impl IntoIterator<Item = Array<'a>>) -> Self {
        Self::of(Direction::Both, arrays)
    }

    /// The shapes of what comes out: an axis that the operation reduces is not there.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn shapes(&self, operation: impl IntoOperation) -> Result<Vec<Vec<usize>>> {
        let held = operation.held();
        let operation = held.as_operation();
        let given = self.given(operation)?;
        let mut shapes = operation.infer(self.direction, &given)?;
        if self.direction == Direction::Both && !operation.has_both() {
            shapes.truncate(1);
            shapes.push(Shape::from_slice(given.x().shape));
        }
        Ok(shapes.iter().map(|shape| shape.to_vec()).collect())
    }
}

/// What came out, and its shape with as many axes as the first input has.
pub(super) type Results = SmallVec<[(Owned, Shape); 2]>;

/// The only result, of a call that has one.
pub(super) fn one<T: Element, R: FromResult<T>>(results: Results) -> R {
    let mut results = results.into_iter();
    // Invariant: an operation has one output at least.
    let (numbers, shape) = results.next().expect("a result");
    R::from_result(numbers.into_vec(), &shape)
}

pub(super) fn each<T: Element>(results: Results) -> Vec<Vec<T>> {
    results
        .into_iter()
        .map(|(numbers, _)| numbers.into_vec())
        .collect()
}

pub(super) fn two<T: Element, R: FromResult<T>>(mut results: Results) -> (R, R) {
    let second = results.drain(1..).collect();
    (one(results), one(second))
}

impl Backend {
    /// The value of an operation: an activation of an array, a function along an axis of it, a gate, a
    /// loss. The result is row-major; see the operation for its shape.
    ///
    /// ```
    /// use wgpu_activations::{Activation, AxisFunction, Backend, CrossEntropy, OfShape};
    /// let backend = Backend::auto()?;
    /// let y = backend.apply(Activation::Relu, &[-1.0, 2.0])?;
    /// assert_eq!(y, [0.0, 2.0]);
    /// let x = [1.0, 1.0, 1.0, 7.0, 7.0, 7.0];
    /// let p = backend.apply(AxisFunction::Softmax.along(-1), x.of_shape(&[2, 3]))?;
    /// assert_eq!(p, [1.0 / 3.0; 6]);
    /// let loss = backend.apply(CrossEntropy::new(), (x.of_shape(&[2, 3]), &[0, 2]))?;
    /// assert!((loss[0] - 3.0f32.ln()).abs() < 1e-6);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Inputs`] where an array is missing, too many or of a wrong type;
    /// [`Error::LengthMismatch`], [`Error::AxisOutOfRange`] and what else the operation refuses;
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::Device`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn apply<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> Result<I::Result> {
        let call = Call::forward(inputs);
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(one)
    }

    /// [`Backend::apply`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> impl Future<Output = Result<I::Result>> + Send {
        let (operation, call) = (operation.held(), Call::forward(inputs));
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(one)
        }
    }

    /// [`Backend::apply`] into an array of any type of numbers.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn apply_into<'a, 'b>(
        &self,
        operation: impl IntoOperation,
        inputs: impl Inputs<'a>,
        y: impl Output<'b>,
    ) -> Result<()> {
        let call = Call::forward(inputs);
        self.now_into(operation.held().as_operation(), &call, y.place())
    }

    /// [`Backend::apply_into`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_into_async<'a, 'b>(
        &self,
        operation: impl IntoOperation,
        inputs: impl Inputs<'a>,
        y: impl Output<'b>,
    ) -> impl Future<Output = Result<()>> + Send {
        let (operation, y) = (operation.held(), y.place());
        let call = Call::forward(inputs);
        async move {
            let done = self.later_into(operation.as_operation(), &call, y);
            done.await
        }
    }

    /// The gradient of an operation by its first input, for the upstream gradient `dy`, which has the
    /// length of the operation's result.
    ///
    /// ```
    /// use wgpu_activations::{Activation, Backend};
    /// let dx = Backend::cpu().grad(Activation::Relu, &[-1.0, 2.0], &[1.0, 0.5])?;
    /// assert_eq!(dx, [0.0, 0.5]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn grad<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::backward(inputs, dy);
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(one)
    }

    /// [`Backend::grad`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn grad_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> impl Future<Output = Result<I::Result>> + Send {
        let operation = operation.held();
        let call = Call::backward(inputs, dy);
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(one)
        }
    }

    /// [`Backend::grad`] of numbers of any three types.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn grad_into<'a, 'b>(
        &self,
        operation: impl IntoOperation,
        inputs: impl Inputs<'a>,
        dy: impl Inputs<'a>,
        dx: impl Output<'b>,
    ) -> Result<()> {
        let call = Call::backward(inputs, dy);
        self.now_into(operation.held().as_operation(), &call, dx.place())
    }

    /// [`Backend::grad_into`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn grad_into_async<'a, 'b>(
        &self,
        operation: impl IntoOperation,
        inputs: impl Inputs<'a>,
        dy: impl Inputs<'a>,
        dx: impl Output<'b>,
    ) -> impl Future<Output = Result<()>> + Send {
        let operation = operation.held();
        let call = Call::backward(inputs, dy);
        let dx = dx.place();
        async move {
            let done = self.later_into(operation.as_operation(), &call, dx);
            done.await
        }
    }

    /// The gradients of an operation by all inputs that it has gradients by, in their order: by value
    /// and gate of a [`Gate`](crate::Gate), by x and the slope of a [`Prelu`](crate::Prelu), by x and the
    /// sinks of a softmax that has some; else the one by the first input.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn grads<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<Vec<Vec<I::Number>>> {
        let call = Call::backward(inputs, dy).all();
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(each)
    }

    /// [`Backend::grads`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn grads_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> impl Future<Output = Result<Vec<Vec<I::Number>>>> + Send {
        let operation = operation.held();
        let call = Call::backward(inputs, dy).all();
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(each)
        }
    }

    /// The gradient by the input of a name alone: `sinks` of the softmax family, `slope` of a
    /// [`Prelu`](crate::Prelu).
    ///
    /// # Errors
    /// As [`Backend::apply`]; [`Error::Inputs`] where there is no gradient by that.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn grad_by<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        input: &'static str,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::backward(inputs, dy).by(input);
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(one)
    }

    /// [`Backend::grad_by`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::grad_by`].
    pub fn grad_by_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        input: &'static str,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> impl Future<Output = Result<I::Result>> + Send {
        let operation = operation.held();
        let call = Call::backward(inputs, dy).by(input);
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(one)
        }
    }

    /// The gradient by the first input, from the operation's output `y`: of softmax and softmin one
    /// pass over the rows less, and of the sparse functions exact, since the output's zeros say which
    /// elements count.
    ///
    /// # Errors
    /// As [`Backend::apply`]; [`Error::NotFromOutput`] for operations that cannot.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn grad_from_output<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        y: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::from_output(y, dy);
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(one)
    }

    /// [`Backend::grad_from_output`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::grad_from_output`].
    pub fn grad_from_output_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        y: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> impl Future<Output = Result<I::Result>> + Send {
        let operation = operation.held();
        let call = Call::from_output(y, dy);
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(one)
        }
    }

    /// The value, and its gradient by the first input for an upstream gradient of 1: of cross entropy
    /// in one go.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn apply_with_grad<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> Result<(I::Result, I::Result)> {
        let call = Call::both(inputs);
        self.now(operation.held().as_operation(), &call, I::Number::DTYPE)
            .map(two)
    }

    /// [`Backend::apply_with_grad`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply`].
    pub fn apply_with_grad_async<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> impl Future<Output = Result<(I::Result, I::Result)>> + Send {
        let operation = operation.held();
        let call = Call::both(inputs);
        async move {
            let results = self.later(operation.as_operation(), &call, I::Number::DTYPE);
            results.await.map(two)
        }
    }

    /// Computes a call whose arrays are known when it is made: what is wanted of [`Call::shapes`], each
    /// into its array.
    ///
    /// # Errors
    /// As [`Backend::apply`]; [`Error::LengthMismatch`] where there is another number of outputs.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(
        &self,
        operation: impl IntoOperation,
        call: &Call<'_>,
        outputs: &mut [Option<ArrayMut<'_>>],
    ) -> Result<()> {
        let held = operation.held();
        let wait = HostWait::BLOCK;
        pollster::block_on(self.outputs_of(held.as_operation(), call, outputs, wait))
    }

    /// [`Backend::run`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::run`].
    pub fn run_async(
        &self,
        operation: impl IntoOperation,
        call: &Call<'_>,
        outputs: &mut [Option<ArrayMut<'_>>],
    ) -> impl Future<Output = Result<()>> + Send {
        let operation = operation.held();
        async move {
            let operation = operation.as_operation();
            let (backend, place) = self.elsewhere(operation.is_for_the_host());
            let (operation, call) = (operation.boxed(), call.carried().await);
            let places = outputs.iter().map(|output| {
                let output = output.as_ref()?;
                Some(Owned::zeros(output.0.dtype(), output.0.len()))
            });
            let mut results: Vec<Option<Owned>> = places.collect();
            let results = elsewhere(place, async move || {
                let places = results.iter_mut().map(|result| {
                    let place = result.as_mut()?.data_mut()?;
                    Some(ArrayMut(place))
                });
                let mut places: Vec<Option<ArrayMut<'_>>> = places.collect();
                let wait = HostWait::ELSEWHERE;
                let done = backend
                    .outputs_of(&*operation, &call, &mut places, wait)
                    .await;
                drop(places);
                done.map(|()| results)
            });
            for (output, result) in outputs.iter_mut().zip(results.await?) {
                if let (Some(output), Some(result)) = (output, result) {
                    output.0.take(result);
                }
            }
            Ok(())
        }
    }

    async fn outputs_of(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        outputs: &mut [Option<ArrayMut<'_>>],
        wait: HostWait,
    ) -> Result<()> {
        let shapes = call.shapes(operation)?;
        same_length("the outputs", shapes.len(), outputs.len())?;
        for (shape, output) in shapes.iter().zip(&*outputs) {
            if let Some(output) = output {
                same_length("the output", element_count(shape)?, output.0.len())?;
            }
        }
        let is_wanted = |output: &Option<ArrayMut<'_>>| output.is_some();
        if call.direction == Direction::Both && !operation.has_both() {
            let dtype = DType::F32;
            let results = self
                .one_after_the_other(operation, call, dtype, wait)
                .await?;
            for ((result, _), output) in results.into_iter().zip(outputs) {
                if let Some(output) = output {
                    output.0.write(&result.into_vec::<f32>());
                }
            }
            return Ok(());
        }
        let given = call.given(operation)?;
        let one_by_one = operation.is_one_by_one(call.direction);
        // What is computed along with what is wanted needs a place.
        let aside = shapes.iter().zip(&*outputs).map(|(shape, output)| {
            let elements = match is_wanted(output) || one_by_one {
                true => 0,
                false => element_count(shape)?,
            };
            Ok(Owned::zeros(DType::F32, elements))
        });
        let mut aside: SmallVec<[Owned; 2]> = aside.collect::<Result<_>>()?;
        let places = outputs.iter_mut().zip(&mut aside);
        let places = places.map(|(output, aside)| match output {
            Some(output) => Some(output.0.lent()),
            None => aside.data_mut().filter(|_| !one_by_one),
        });
        let mut places: SmallVec<[Option<DataMut<'_>>; 2]> = places.collect();
        let computed = (call.direction, &given);
        self.compute(operation, computed, &mut places, wait).await
    }

    /// The value of an operation, in the way that a call waits.
    pub(super) async fn value<'a, I: Inputs<'a>>(
        &self,
        operation: &dyn Operation,
        inputs: I,
        wait: HostWait,
    ) -> Result<I::Result> {
        let call = Call::forward(inputs);
        self.results(operation, &call, I::Number::DTYPE, wait)
            .await
            .map(one)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn now(&self, operation: &dyn Operation, call: &Call<'_>, dtype: DType) -> Result<Results> {
        pollster::block_on(self.results(operation, call, dtype, HostWait::BLOCK))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn now_into(&self, operation: &dyn Operation, call: &Call<'_>, out: Place<'_>) -> Result<()> {
        pollster::block_on(self.result_into(operation, call, out, HostWait::BLOCK))
    }

    /// The results of a call that another thread makes, on arrays of its own; unless the CPU computes
    /// them faster than to wait for one.
    async fn later(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        dtype: DType,
    ) -> Result<Results> {
        let (backend, place) = self.elsewhere(operation.is_for_the_host());
        let elements = call.elements().saturating_mul(operation.passes());
        if place == threads::Place::Pool && elements <= carried::FEW {
            let wait = HostWait::ELSEWHERE;
            return backend.results(operation, call, dtype, wait).await;
        }
        let (operation, call) = (operation.boxed(), call.carried().await);
        elsewhere(place, async move || {
            let wait = HostWait::ELSEWHERE;
            backend.results(&*operation, &call, dtype, wait).await
        })
        .await
    }

    async fn later_into(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        out: Place<'_>,
    ) -> Result<()> {
        // What does not fit is found before anything is computed.
        fits(operation, call, &out)?;
        let results = self.later(operation, call, out.dtype()).await?;
        let Some((results, _)) = results.into_iter().next() else {
            return Ok(());
        };
        match (results, out) {
            (results, Place::Strided(mut out)) => out.put(results),
            (Owned::F32(results), Place::Slice(DataMut::F32(out), _)) => {
                carried::copy_back(results, out).await;
            }
            (Owned::F16(results), Place::Slice(DataMut::F16(out), _)) => {
                carried::copy_back(results, out).await;
            }
            (Owned::Bf16(results), Place::Slice(DataMut::Bf16(out), _)) => {
                carried::copy_back(results, out).await;
            }
            // Invariant: the results are of the type that was asked for.
            _ => unreachable!("results of another type"),
        }
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn result_into(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        out: Place<'_>,
        wait: HostWait,
    ) -> Result<()> {
        let shapes = fits(operation, call, &out)?;
        let out = match out {
            Place::Slice(out, _) => out,
            Place::Strided(mut out) => {
                let results = self.results(operation, call, out.dtype(), wait).await?;
                if let Some((results, _)) = results.into_iter().next() {
                    out.put(results);
                }
                return Ok(());
            }
        };
        let given = call.given(operation)?;
        // What is computed along with what is wanted needs a place.
        let others = match operation.is_one_by_one(call.direction) {
            true => &[],
            false => &shapes[1..],
        };
        let others = others
            .iter()
            .map(|shape| Ok(Owned::zeros(DType::F32, element_count(shape)?)));
        let mut others: SmallVec<[Owned; 1]> = others.collect::<Result<_>>()?;
        let outputs = [Some(out)]
            .into_iter()
            .chain(others.iter_mut().map(Owned::data_mut));
        let mut outputs: SmallVec<[Option<DataMut<'_>>; 2]> = outputs.collect();
        let computed = (call.direction, &given);
        self.compute(operation, computed, &mut outputs, wait).await
    }

    pub(super) async fn results(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        dtype: DType,
        wait: HostWait,
    ) -> Result<Results> {
        if call.direction == Direction::Both && !operation.has_both() {
            return self.one_after_the_other(operation, call, dtype, wait).await;
        }
        let given = call.given(operation)?;
        let shapes = operation.infer(call.direction, &given)?;
        let one_by_one = operation.is_one_by_one(call.direction);
        let wanted = match call.wanted {
            Wanted::All => None,
            Wanted::First => Some(0),
            Wanted::By(name) => Some(operation.gradient_by(name, shapes.len())?),
        };
        let is_wanted = |i: usize| wanted.is_none_or(|wanted| wanted == i);
        let mut results = Results::new();
        for (i, shape) in shapes.iter().enumerate() {
            // What is computed along with what is wanted needs a place.
            let elements = if is_wanted(i) || !one_by_one {
                element_count(shape)?
            } else {
                0
            };
            let rank = given.x().shape.len();
            let kept = kept(operation, shape, rank);
            results.push((Owned::zeros(dtype, elements), kept));
        }
        let outputs = results.iter_mut().enumerate().map(|(i, (result, _))| {
            let is_there = is_wanted(i) || !one_by_one;
            result.data_mut().filter(|_| is_there)
        });
        let mut outputs: SmallVec<[Option<DataMut<'_>>; 2]> = outputs.collect();
        let computed = (call.direction, &given);
        self.compute(operation, computed, &mut outputs, wait)
            .await?;
        drop(outputs);
        if let Some(wanted) = wanted {
            results.swap(0, wanted);
            results.truncate(1);
        }
        Ok(results)
    }

    /// Value and gradient of an operation that does not compute both in one go.
    async fn one_after_the_other(
        &self,
        operation: &dyn Operation,
        call: &Call<'_>,
        dtype: DType,
        wait: HostWait,
    ) -> Result<Results> {
        let forward = Call {
            direction: Direction::Forward,
            arrays: call.arrays.iter().map(Array::borrowed).collect(),
            dy: None,
            wanted: Wanted::First,
        };
        let mut results = Box::pin(self.results(operation, &forward, dtype, wait)).await?;
        let ones = vec![1.0f32; results[0].0.data().len()];
        let backward = Call {
            direction: Direction::Backward,
            arrays: call.arrays.iter().map(Array::borrowed).collect(),
            dy: Some(Array::flat(Data::F32(&ones))),
            wanted: Wanted::First,
        };
        results.extend(Box::pin(self.results(operation, &backward, dtype, wait)).await?);
        Ok(results)
    }

    /// Computes outputs on the device; or on the CPU, where the backend is that or the adapter is not
    /// to be trusted with what the call needs.
    async fn compute(
        &self,
        operation: &dyn Operation,
        (direction, given): (Direction, &Given<'_>),
        outputs: &mut Outputs<'_>,
        wait: HostWait,
    ) -> Result<()> {
        let cpu = match self {
            Self::Gpu(gpu) if !operation.is_for_the_host() => {
                match gpu
                    .compute(operation, direction, given, outputs, wait)
                    .await
                {
                    Err(Error::Untrusted { .. }) => &Cpu::new(),
                    done => return done,
                }
            }
            Self::Gpu(_) => &Cpu::new(),
            Self::Cpu(cpu, _) => cpu,
        };
        on_cpu(cpu, operation, direction, given, outputs)
    }
}

/// The shapes of the outputs; an error where the first one does not fit its place.
fn fits(operation: &dyn Operation, call: &Call<'_>, out: &Place<'_>) -> Result<Shapes> {
    let shapes = operation.infer(call.direction, &call.given(operation)?)?;
    let what = match call.direction {
        Direction::Forward | Direction::Both => "the output",
        Direction::FromOutput => "the gradient",
        Direction::Backward => operation.gradients()[0].1,
    };
    same_length(what, element_count(&shapes[0])?, out.len())?;
    out.check(what, &shapes[0])?;
    Ok(shapes)
}

/// A shape with as many axes as the first input has: one that is reduced has length 1.
fn kept(operation: &dyn Operation, shape: &Shape, rank: usize) -> Shape {
    let mut kept = shape.clone();
    // Slopes may have more axes than the array.
    while kept.len() > rank {
        let last = kept.pop().unwrap_or(1);
        match kept.last_mut() {
            Some(before) => *before *= last,
            None => break,
        }
    }
    if let Some(axis) = operation
        .reduced_axis(rank)
        .filter(|_| kept.len() + 1 == rank)
    {
        kept.insert(axis, 1);
    }
    while kept.len() < rank {
        kept.push(1);
    }
    kept
}
