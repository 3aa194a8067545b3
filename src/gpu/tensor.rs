//! Arrays that live on the device, and batches of operations on them.

use super::asked::Staged;
use super::pool::Purpose;
use super::{Gpu, Inner, Wait, stream};
use crate::axis::AxisFunction;
use crate::catalogue::{Activation, Elementwise};
use crate::cpu::convert::widened;
use crate::cpu::threads::{Place, elsewhere};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::few::Few;
use crate::kernels::{Kernels, TypedSlice, lock};
use crate::self_check::Answer;
use crate::shape::{AxisShape, element_count};
use half::{bf16, f16};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A row-major array of f32, f16 or bf16 in a buffer of a [`Gpu`].
///
/// Cloning is cheap and shares the buffer, which goes back to the pool with the last clone.
#[derive(Clone)]
pub struct Tensor {
    inner: Arc<Array>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.inner.gpu.info;
        let (dtype, shape) = (self.dtype(), self.shape());
        write!(f, "Tensor({dtype} {shape:?} on {})", info.name)
    }
}

struct Array {
    gpu: Arc<Inner>,
    buffer: wgpu::Buffer,
    shape: Vec<usize>,
    dtype: DType,
    users: Mutex<Users>,
    /// Known answers that its values stand and fall with, as far as they are not there yet or
    /// were wrong.
    answers: Mutex<Vec<Arc<Answer>>>,
}

/// The batches that use a tensor, as far as what became of them matters.
struct Users {
    /// Whether there is something to read without those that write it.
    before: bool,
    /// Those that write it and are not submitted yet.
    writers: Few<Arc<Fate>, 2>,
    /// Those that read it and are not submitted yet.
    readers: Few<Arc<Fate>, 2>,
}

impl Users {
    /// Forgets what is settled.
    fn settle(&mut self) {
        self.before |= self.writers.iter().any(|fate| fate.submitted());
        for batches in [&mut self.writers, &mut self.readers] {
            if !batches.iter().all(|fate| fate.open()) {
                *batches = batches.iter().filter(|f| f.open()).cloned().collect();
            }
        }
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Fate(AtomicU8);

impl Fate {
    const SUBMITTED: u8 = 1;
    const DROPPED: u8 = 2;

    fn submitted(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::SUBMITTED
    }

    /// Whether it is neither submitted nor dropped.
    fn open(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// An open batch's hold on its fate: to let go of it is to drop the batch.
#[derive(Debug, Default)]
struct Undecided(Arc<Fate>);

impl Undecided {
    fn submitted(self) {
        self.0.0.store(Fate::SUBMITTED, Ordering::Release);
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        let _ = self
            .0
            .0
            .compare_exchange(0, Fate::DROPPED, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        self.gpu.pool.give(Purpose::Storage, self.buffer.clone());
    }
}

impl Tensor {
    /// A tensor with any contents; `readable` where those are as good as any.
    pub(super) fn new(gpu: &Gpu, shape: &[usize], dtype: DType, readable: bool) -> Result<Self> {
        let elements = element_count(shape)?;
        let bytes = stream::padded(elements, dtype.bytes());
        let buffer = gpu.inner.pool.take(&gpu.inner, Purpose::Storage, bytes)?;
        Ok(Self {
            inner: Arc::new(Array {
                gpu: Arc::clone(&gpu.inner),
                buffer,
                shape: shape.to_vec(),
                dtype,
                users: Mutex::new(Users {
                    // Of nothing, all is there.
                    before: readable || elements == 0,
                    writers: Few::default(),
                    readers: Few::default(),
                }),
                answers: Mutex::default(),
            }),
        })
    }

    /// The lengths of the axes; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.inner.shape
    }

    /// What its numbers are stored as.
    pub fn dtype(&self) -> DType {
        self.inner.dtype
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.inner.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer, which can be longer than the array, for work of the caller's own. An odd number
    /// of 16 bits each is followed by two bytes that are written with any contents.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.inner.buffer
    }

    /// Copies the values to host memory as f32, which holds all numbers of 16 bits, and waits for
    /// them.
    ///
    /// # Errors
    /// [`Error::NotSubmitted`] before the batch that computes it is submitted;
    /// [`Error::DeviceLost`], [`Error::Device`], [`Error::OutOfMemory`].
    pub fn read(&self) -> Result<Vec<f32>> {
        pollster::block_on(self.read_wide(Wait::Block))
    }

    /// [`Tensor::read`] without blocking.
    ///
    /// # Errors
    /// As [`Tensor::read`].
    pub async fn read_async(&self) -> Result<Vec<f32>> {
        self.read_wide(Wait::Async).await
    }

    /// Copies the values to host memory as they are stored, and waits for them.
    ///
    /// ```no_run
    /// # fn read(gpu: &wgpu_activations::Gpu) -> wgpu_activations::Result<()> {
    /// use wgpu_activations::{Activation, half::f16};
    /// let x = gpu.upload(&[f16::ONE, f16::NEG_ONE], &[2])?;
    /// let mut batch = gpu.batch();
    /// let y = batch.apply(Activation::Relu, &x)?;
    /// batch.submit()?;
    /// assert_eq!(y.read_as::<f16>()?, [f16::ONE, f16::ZERO]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::read`]; [`Error::DTypeMismatch`] where it has another type,
    /// [`Tensor::dtype`].
    pub fn read_as<T: Element>(&self) -> Result<Vec<T>> {
        pollster::block_on(self.read_by(Wait::Block))
    }

    /// [`Tensor::read_as`] without blocking.
    ///
    /// # Errors
    /// As [`Tensor::read_as`].
    pub async fn read_as_async<T: Element>(&self) -> Result<Vec<T>> {
        self.read_by(Wait::Async).await
    }

    /// An error where the tensor is another device's, or where a batch that computes it is not
    /// submitted.
    pub(super) fn readable_on(&self, gpu: &Arc<Inner>) -> Result<()> {
        if !Arc::ptr_eq(&self.inner.gpu, gpu) {
            return Err(Error::ForeignTensor { what: "input" });
        }
        let users = self.users();
        if !users.before || !users.writers.is_empty() {
            return Err(Error::NotSubmitted);
        }
        Ok(())
    }

    async fn read_wide(&self, wait: Wait) -> Result<Vec<f32>> {
        async fn wide<T: Element>(x: Vec<T>, wait: Wait) -> Vec<f32> {
            match wait {
                Wait::Block => widened(&x).into_owned(),
                Wait::Async => elsewhere(Place::Pool, async move || widened(&x).into_owned()).await,
            }
        }
        Ok(match self.dtype() {
            DType::F32 => self.read_by(wait).await?,
            DType::F16 => wide(self.read_by::<f16>(wait).await?, wait).await,
            DType::Bf16 => wide(self.read_by::<bf16>(wait).await?, wait).await,
        })
    }

    pub(super) async fn read_by<T: Element>(&self, wait: Wait) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            return Err(Error::DTypeMismatch {
                expected: self.dtype(),
                got: T::DTYPE,
            });
        }
        self.readable_on(&self.inner.gpu)?;
        let known = self.known_answers();
        let mut out = vec![T::default(); self.len()];
        stream::download(&self.inner.gpu, self.buffer(), &mut out, wait).await?;
        for answer in known {
            answer.verdict().await?;
        }
        Ok(out)
    }

    /// The known answers that a read which is submitted from now on stands and falls with; they
    /// arrive before it.
    pub(super) fn known_answers(&self) -> Vec<Arc<Answer>> {
        let mut answers = self.answers();
        answers.retain(|answer| answer.is_submitted());
        answers
    }

    /// The known answers that its values stand and fall with.
    fn answers(&self) -> Vec<Arc<Answer>> {
        let mut answers = lock(&self.inner.answers);
        answers.retain(|answer| !answer.is_over());
        answers.clone()
    }

    /// The array's bytes of its buffer; not of an empty one.
    fn slice(&self) -> wgpu::BufferSlice<'_> {
        let bytes = stream::padded(self.len(), self.dtype().bytes());
        self.buffer().slice(..bytes)
    }

    /// Whether both are the same array.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether something was written to it, or will be by a batch that is recorded.
    fn has_contents(&self) -> bool {
        let users = self.users();
        users.before || !users.writers.is_empty()
    }

    /// The batches that use it and are not settled.
    fn users(&self) -> MutexGuard<'_, Users> {
        let mut users = lock(&self.inner.users);
        users.settle();
        users
    }
}

/// Operations that run in one submission, in the order of the calls.
///
/// Results are there after [`Batch::submit`]; a batch that is dropped without it runs nothing.
/// An error in a call records nothing and leaves the batch usable.
///
/// Several may be open at once. Those that share a tensor which one of them writes are submitted in
/// the order in which they were recorded; [`Batch::submit`] refuses any other order.
#[must_use = "a batch runs when it is submitted"]
pub struct Batch {
    gpu: Arc<Inner>,
    pub(super) handle: Gpu,
    /// Those of the device, which ask for the known answers of what is new to them.
    kernels: Kernels,
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// All tensors that the work refers to: their buffers must not go to anyone else before it
    /// is submitted.
    kept: Vec<Tensor>,
    /// Tensors that batches which are to be submitted before use, too.
    after: Vec<After>,
    fate: Undecided,
}

/// A batch that must be settled before another one is submitted, because both use a tensor.
struct After {
    what: &'static str,
    tensor: Tensor,
    fate: Arc<Fate>,
    /// Whether the other one makes what is read.
    makes: bool,
}

impl After {
    /// An error where the batch is open, or was dropped and nobody else made the tensor's values.
    fn check(&self) -> Result<()> {
        let (what, shape) = (self.what, self.tensor.shape().to_vec());
        if self.fate.open() {
            return Err(Error::SubmittedTooEarly { what, shape });
        }
        if self.makes && !self.tensor.users().before {
            return Err(Error::NoValues { what, shape });
        }
        Ok(())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.gpu.info.name;
        write!(f, "Batch({} uses of tensors on {name})", self.kept.len())
    }
}

impl Batch {
    pub(super) fn new(gpu: &Gpu) -> Self {
        let descriptor = wgpu::CommandEncoderDescriptor {
            label: Some("activations batch"),
        };
        Self {
            gpu: Arc::clone(&gpu.inner),
            handle: gpu.clone(),
            kernels: gpu.inner.asking(),
            encoder: gpu.inner.device.create_command_encoder(&descriptor),
            pass: None,
            kept: std::mem::take(&mut *lock(&gpu.inner.spare)),
            after: Vec::new(),
            fate: Undecided::default(),
        }
    }

    /// y = f(x), in a new tensor of x's type.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::ForeignTensor`], [`Error::DeviceLost`].
    pub fn apply(&mut self, f: impl Into<Elementwise>, x: &Tensor) -> Result<Tensor> {
        let y = self.output(x.shape(), x.dtype())?;
        self.apply_into(f, x, &y)?;
        Ok(y)
    }

    /// y = f(x), for tensors of one shape and any two types.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::BufferOverlap`] where y is x, [`Error::ForeignTensor`].
    pub fn apply_into(&mut self, f: impl Into<Elementwise>, x: &Tensor, y: &Tensor) -> Result<()> {
        same_shape("the output", x.shape(), y.shape())?;
        self.record_typed(
            [("input", x), ("output", y)],
            &[y],
            |kernels, pass, [x, y]| kernels.apply(pass, f, x, y),
        )
    }

    /// x = f(x).
    ///
    /// # Errors
    /// [`Error::ForeignTensor`].
    pub fn apply_in_place(&mut self, f: impl Into<Elementwise>, x: &Tensor) -> Result<()> {
        self.read_before(("input", x), |batch| {
            batch.record_typed([("input", x)], &[x], |kernels, pass, [x]| {
                kernels.apply_in_place(pass, f, x)
            })
        })
    }

    /// dx = dy · f'(x), in a new tensor of x's type.
    ///
    /// # Errors
    /// As [`Batch::apply`] and [`Batch::apply_into`].
    pub fn grad(&mut self, f: impl Into<Elementwise>, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let dx = self.output(x.shape(), x.dtype())?;
        self.grad_into(f, x, dy, &dx)?;
        Ok(dx)
    }

    /// dx = dy · f'(x), for tensors of one shape and any types.
    ///
    /// # Errors
    /// As [`Batch::apply_into`].
    pub fn grad_into(
        &mut self,
        f: impl Into<Elementwise>,
        x: &Tensor,
        dy: &Tensor,
        dx: &Tensor,
    ) -> Result<()> {
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        same_shape("the gradient", x.shape(), dx.shape())?;
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", dx)];
        self.record_typed(tensors, &[dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad(pass, f, x, dy, dx)
        })
    }

    /// dy = dy · f'(x).
    ///
    /// # Errors
    /// As [`Batch::apply_into`].
    pub fn grad_in_place(
        &mut self,
        f: impl Into<Elementwise>,
        x: &Tensor,
        dy: &Tensor,
    ) -> Result<()> {
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        let tensors = [("input", x), ("upstream gradient", dy)];
        self.read_before(tensors[1], |batch| {
            batch.record_typed(tensors, &[dy], |kernels, pass, [x, dy]| {
                kernels.grad_in_place(pass, f, x, dy)
            })
        })
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

    /// y = `function` of every row of x along `axis`, in a new tensor; a function that reduces
    /// leaves the axis with length 1 out of its shape.
    ///
    /// # Errors
    /// As [`Batch::apply`]; [`Error::AxisOutOfRange`], [`Error::AxisStepTooLarge`].
    pub fn apply_axis(
        &mut self,
        function: AxisFunction,
        x: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let y = self.output(&output_shape(function, x.shape(), axis)?, x.dtype())?;
        self.apply_axis_into(function, x, axis, &y)?;
        Ok(y)
    }

    /// y = `function` of every row of x along `axis`.
    ///
    /// # Errors
    /// As [`Batch::apply_into`]; [`Error::AxisOutOfRange`], [`Error::AxisStepTooLarge`].
    pub fn apply_axis_into(
        &mut self,
        function: AxisFunction,
        x: &Tensor,
        axis: isize,
        y: &Tensor,
    ) -> Result<()> {
        let shape = AxisShape::new(x.shape(), axis)?;
        same_shape(
            "the output",
            &output_shape(function, x.shape(), axis)?,
            y.shape(),
        )?;
        // Rows of no elements have a logsumexp, but an empty array cannot be bound.
        let stand_in = if x.is_empty() && !y.is_empty() {
            Some(self.stand_in()?)
        } else {
            None
        };
        let x = stand_in.as_ref().unwrap_or(x);
        self.record(
            [("input", x), ("output", y)],
            &[y],
            |kernels, pass, [x, y]| kernels.apply_axis(pass, function, &shape, x, y),
        )
    }

    /// x = `function` of every row of x along `axis`; not for a function that reduces.
    ///
    /// # Errors
    /// As [`Batch::apply_axis_into`].
    pub fn apply_axis_in_place(
        &mut self,
        function: AxisFunction,
        x: &Tensor,
        axis: isize,
    ) -> Result<()> {
        let shape = AxisShape::new(x.shape(), axis)?;
        self.read_before(("input", x), |batch| {
            batch.record([("input", x)], &[x], |kernels, pass, [x]| {
                kernels.apply_axis_in_place(pass, function, &shape, x)
            })
        })
    }

    /// dx = the gradient of `function` by its input x, in a new tensor; dy has the shape of the
    /// function's output.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`].
    pub fn grad_axis(
        &mut self,
        function: AxisFunction,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let dx = self.output(x.shape(), x.dtype())?;
        self.grad_axis_into(function, x, dy, axis, &dx)?;
        Ok(dx)
    }

    /// dx = the gradient of `function` by its input x.
    ///
    /// # Errors
    /// As [`Batch::apply_axis_into`].
    pub fn grad_axis_into(
        &mut self,
        function: AxisFunction,
        x: &Tensor,
        dy: &Tensor,
        axis: isize,
        dx: &Tensor,
    ) -> Result<()> {
        let shape = AxisShape::new(x.shape(), axis)?;
        let upstream = output_shape(function, x.shape(), axis)?;
        same_shape("the upstream gradient", &upstream, dy.shape())?;
        same_shape("the gradient", x.shape(), dx.shape())?;
        if x.is_empty() {
            return Ok(());
        }
        let tensors = [("input", x), ("upstream gradient", dy), ("gradient", dx)];
        self.record(tensors, &[dx], |kernels, pass, [x, dy, dx]| {
            kernels.grad_axis(pass, function, &shape, x, dy, dx)
        })
    }

    /// dx = the gradient of softmax or softmin by its input, from its output y, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::apply_axis`]; [`Error::NotFromOutput`] for the logarithmic functions.
    pub fn grad_axis_from_output(
        &mut self,
        function: AxisFunction,
        y: &Tensor,
        dy: &Tensor,
        axis: isize,
    ) -> Result<Tensor> {
        let shape = AxisShape::new(y.shape(), axis)?;
        same_shape("the upstream gradient", y.shape(), dy.shape())?;
        let dx = self.output(y.shape(), y.dtype())?;
        let tensors = [("output", y), ("upstream gradient", dy), ("gradient", &dx)];
        self.record(tensors, &[&dx], |kernels, pass, [y, dy, dx]| {
            kernels.grad_axis_from_output(pass, function, &shape, y, dy, dx)
        })?;
        Ok(dx)
    }

    /// Submits the work. Does not wait: a read does, and so does [`Gpu::wait`].
    ///
    /// # Errors
    /// [`Error::SubmittedTooEarly`] where a batch that was recorded before uses a tensor that this
    /// one writes, or writes one that this one uses, and is not submitted; [`Error::NoValues`] where
    /// it was to make the tensor and was dropped. [`Error::DeviceLost`], [`Error::Device`].
    pub fn submit(self) -> Result<()> {
        let Self {
            gpu,
            kernels,
            mut encoder,
            pass,
            mut kept,
            after,
            fate,
            ..
        } = self;
        // The pass ends before its encoder.
        drop(pass);
        after.iter().try_for_each(After::check)?;
        let staged = Staged::copied(&gpu, kernels.take_asking(), &mut encoder)?;
        gpu.submit(|| Some(encoder.finish()))?;
        staged.submitted();
        fate.submitted();
        kept.clear();
        *lock(&gpu.spare) = kept;
        Ok(())
    }

    /// The device that the batch runs on.
    pub(super) fn gpu(&self) -> &Gpu {
        &self.handle
    }

    /// A tensor that this batch writes, of which there is nothing to read before.
    pub(super) fn output(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.gpu.healthy()?;
        Tensor::new(&self.handle, shape, dtype, false)
    }

    /// A tensor of one element, for what must be bound and is not read.
    pub(super) fn stand_in(&self) -> Result<Tensor> {
        self.handle.empty(&[1])
    }

    /// Records one operation of kernels that know f32 alone: tensors of 16 bits are widened into
    /// tensors aside before it, and what it writes is rounded behind it.
    pub(super) fn record<const N: usize>(
        &mut self,
        tensors: [(&'static str, &Tensor); N],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            [wgpu::BufferSlice<'_>; N],
        ) -> Result<()>,
    ) -> Result<()> {
        self.record_all(&tensors, written, |kernels, pass, slices| {
            work(kernels, pass, std::array::from_fn(|i| slices[i]))
        })
    }

    /// [`Batch::record`] for any number of tensors.
    pub(super) fn record_all(
        &mut self,
        tensors: &[(&'static str, &Tensor)],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            &[wgpu::BufferSlice<'_>],
        ) -> Result<()>,
    ) -> Result<()> {
        if tensors.iter().all(|(_, t)| t.dtype() == DType::F32) {
            return self.record_slices(tensors, written, work);
        }
        self.of_this_device(tensors)?;
        if tensors.iter().any(|(_, t)| t.is_empty()) {
            return Ok(());
        }
        // What the operation sees in the place of each, itself where it is f32.
        let mut wide: Vec<Tensor> = Vec::with_capacity(tensors.len());
        for (_, tensor) in tensors {
            // What stands in two places is widened once.
            let before = tensors.iter().position(|(_, t)| t.is(tensor));
            let copy = match before.and_then(|i| wide.get(i)) {
                Some(copy) => copy.clone(),
                None if tensor.dtype() == DType::F32 => (*tensor).clone(),
                None => {
                    let copy = self.output(tensor.shape(), DType::F32)?;
                    let is_read = !written.iter().any(|w| w.is(tensor));
                    if is_read || tensor.has_contents() {
                        self.apply_into(Activation::Identity, tensor, &copy)?;
                    }
                    copy
                }
            };
            wide.push(copy);
        }
        let around = tensors.iter().zip(&wide);
        let is_result = |tensor: &Tensor| written.iter().any(|w| w.is(tensor));
        let results = around.clone().filter(|((_, t), _)| is_result(t));
        let written: Vec<&Tensor> = results.clone().map(|(_, wide)| wide).collect();
        let all: Vec<_> = around.map(|((what, _), wide)| (*what, wide)).collect();
        self.record_slices(&all, &written, work)?;
        for ((_, tensor), wide) in results.filter(|((_, t), _)| t.dtype() != DType::F32) {
            self.apply_into(Activation::Identity, wide, tensor)?;
        }
        Ok(())
    }

    /// Records one operation of kernels that know every type of numbers.
    pub(super) fn record_typed<const N: usize>(
        &mut self,
        tensors: [(&'static str, &Tensor); N],
        written: &[&Tensor],
        work: impl FnOnce(&Kernels, &mut wgpu::ComputePass<'static>, [TypedSlice<'_>; N]) -> Result<()>,
    ) -> Result<()> {
        self.record_slices(&tensors, written, |kernels, pass, slices| {
            let typed = |i: usize| TypedSlice::new(slices[i], tensors[i].1.dtype());
            work(kernels, pass, std::array::from_fn(typed))
        })
    }

    /// An error where a tensor is another device's.
    fn of_this_device(&self, tensors: &[(&'static str, &Tensor)]) -> Result<()> {
        for &(what, tensor) in tensors {
            if !Arc::ptr_eq(&tensor.inner.gpu, &self.gpu) {
                return Err(Error::ForeignTensor { what });
            }
        }
        Ok(())
    }

    /// Records one operation on tensors of this batch's device; an empty one is nothing to do.
    fn record_slices(
        &mut self,
        tensors: &[(&'static str, &Tensor)],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            &[wgpu::BufferSlice<'_>],
        ) -> Result<()>,
    ) -> Result<()> {
        self.of_this_device(tensors)?;
        if tensors.iter().any(|(_, tensor)| tensor.is_empty()) {
            return Ok(());
        }
        let is_written = |tensor: &Tensor| written.iter().any(|w| w.is(tensor));
        for &(what, tensor) in tensors {
            if !is_written(tensor) {
                has_values(what, tensor)?;
            }
        }
        let slices: Few<_, 8> = tensors.iter().map(|(_, tensor)| tensor.slice()).collect();
        let encoder = &mut self.encoder;
        let pass = self.pass.get_or_insert_with(|| {
            encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor::default())
                .forget_lifetime()
        });
        work(&self.kernels, pass, &slices)?;
        self.kept
            .extend(tensors.iter().map(|(_, tensor)| (*tensor).clone()));
        let mut answers = self.kernels.take_relied();
        answers.extend(tensors.iter().flat_map(|(_, tensor)| tensor.answers()));
        for tensor in written {
            let mut known = lock(&tensor.inner.answers);
            for answer in &answers {
                if !known.iter().any(|other| Arc::ptr_eq(other, answer)) {
                    known.push(Arc::clone(answer));
                }
            }
        }
        // What is read before what is written: a tensor may be both.
        for is_write in [false, true] {
            for &(what, tensor) in tensors {
                if is_written(tensor) == is_write {
                    self.uses(what, tensor, is_write);
                }
            }
        }
        Ok(())
    }

    /// Records an operation that reads a tensor before it replaces its values.
    fn read_before(
        &mut self,
        (what, tensor): (&'static str, &Tensor),
        record: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.of_this_device(&[(what, tensor)])?;
        has_values(what, tensor)?;
        // As it is before this batch writes it.
        let first = self.after.len();
        self.uses(what, tensor, false);
        let done = record(self);
        if done.is_err() {
            self.after.truncate(first);
        }
        done
    }

    /// Notes that the batch reads or writes a tensor, and which batches come first.
    fn uses(&mut self, what: &'static str, tensor: &Tensor, is_write: bool) {
        let own = &self.fate.0;
        let mut users = tensor.users();
        // What this batch writes itself first, it needs nobody for.
        let makes = !is_write && !users.writers.iter().any(|fate| Arc::ptr_eq(fate, own));
        let Users {
            writers, readers, ..
        } = &mut *users;
        let readers_before = readers
            .iter()
            .filter(|_| is_write)
            .map(|fate| (fate, false));
        let before = writers
            .iter()
            .map(|fate| (fate, makes))
            .chain(readers_before);
        for (fate, makes) in before.filter(|(fate, _)| !Arc::ptr_eq(fate, own)) {
            let is_known = |a: &&mut After| a.tensor.is(tensor) && Arc::ptr_eq(&a.fate, fate);
            if let Some(known) = self.after.iter_mut().find(is_known) {
                known.makes |= makes;
                continue;
            }
            self.after.push(After {
                what,
                tensor: tensor.clone(),
                fate: Arc::clone(fate),
                makes,
            });
        }
        let batches = if is_write { writers } else { readers };
        if !batches.iter().any(|fate| Arc::ptr_eq(fate, own)) {
            batches.push(Arc::clone(own));
        }
    }
}

/// An error where a tensor has no values, and no batch that is still open makes any.
fn has_values(what: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.has_contents() {
        return Ok(());
    }
    Err(Error::NoValues {
        what,
        shape: tensor.shape().to_vec(),
    })
}

/// The shape of `function`'s output: the input's, or without the axis where it reduces.
pub(crate) fn output_shape(
    function: AxisFunction,
    shape: &[usize],
    axis: isize,
) -> Result<Few<usize, 8>> {
    AxisShape::new(shape, axis)?;
    // `axis` is in range, or the line above had returned.
    let index = if axis < 0 {
        axis + shape.len() as isize
    } else {
        axis
    };
    let is_left_out = |i: usize| function.reduces() && i == index as usize;
    let kept = shape.iter().enumerate().filter(|(i, _)| !is_left_out(*i));
    Ok(kept.map(|(_, &len)| len).collect())
}

pub(super) fn same_shape(what: &'static str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(Error::ShapeMismatch {
            what,
            expected: expected.to_vec(),
            got: got.to_vec(),
        })
    }
}
