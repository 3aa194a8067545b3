//! Arrays that live on the device.

use super::pool::Purpose;
use super::{Gpu, Inner, Wait, stream};
use crate::cpu::convert::widened;
use crate::cpu::threads::{Place, elsewhere};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::few::Few;
use crate::kernels::lock;
use crate::self_check::Answer;
use crate::shape::element_count;
use half::{bf16, f16};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A row-major array of f32, f16 or bf16 in a buffer of a [`Gpu`].
///
/// Cloning is cheap and shares the buffer, which goes back to the pool with the last clone.
#[derive(Clone)]
pub struct Tensor {
    pub(super) inner: Arc<Array>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.inner.gpu.info;
        let (dtype, shape) = (self.dtype(), self.shape());
        write!(f, "Tensor({dtype} {shape:?} on {})", info.name)
    }
}

pub(super) struct Array {
    pub(super) gpu: Arc<Inner>,
    buffer: wgpu::Buffer,
    /// Whether the buffer is the caller's, and not the pool's.
    is_callers: bool,
    shape: Vec<usize>,
    dtype: DType,
    users: Mutex<Users>,
    /// Known answers that its values stand and fall with, as far as they are not there yet or
    /// were wrong.
    pub(super) answers: Mutex<Vec<Arc<Answer>>>,
    /// What a browser may have against the batches that its values come of.
    #[cfg(target_arch = "wasm32")]
    origins: Mutex<super::later::Origins>,
}

/// The batches that use a tensor, as far as what became of them matters.
pub(super) struct Users {
    /// Whether there is something to read without those that write it.
    pub before: bool,
    /// Those that write it and are not submitted yet.
    pub writers: Few<Arc<Fate>, 2>,
    /// Those that read it and are not submitted yet.
    pub readers: Few<Arc<Fate>, 2>,
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
pub(super) struct Fate(AtomicU8);

impl Fate {
    const SUBMITTED: u8 = 1;
    const DROPPED: u8 = 2;

    pub(super) fn submitted(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::SUBMITTED
    }

    /// Whether it is neither submitted nor dropped.
    pub(super) fn open(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// An open batch's hold on its fate: to let go of it is to drop the batch.
#[derive(Debug, Default)]
pub(super) struct Undecided(pub Arc<Fate>);

impl Undecided {
    pub(super) fn submitted(self) {
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
        if !self.is_callers {
            self.gpu.pool.give(Purpose::Storage, self.buffer.clone());
        }
    }
}

impl Tensor {
    /// A tensor with any contents; `readable` where those are as good as any.
    pub(super) fn new(gpu: &Gpu, shape: &[usize], dtype: DType, readable: bool) -> Result<Self> {
        let elements = element_count(shape)?;
        let bytes = stream::padded(elements, dtype.bytes());
        let buffer = gpu.inner.pool.take(&gpu.inner, Purpose::Storage, bytes)?;
        // Of nothing, all is there.
        let readable = readable || elements == 0;
        Ok(Self::in_buffer(gpu, buffer, shape, dtype, readable))
    }

    /// A tensor in a caller's buffer of the same device, with the values that the buffer has when a batch
    /// or a read is submitted. The buffer stays the caller's, and must not be destroyed before.
    ///
    /// # Errors
    /// [`Error::BufferUsage`] without `STORAGE` and `COPY_SRC`; [`Error::BufferTooSmall`],
    /// [`Error::ShapeTooLarge`].
    pub fn of_buffer(
        gpu: &Gpu,
        buffer: wgpu::Buffer,
        shape: &[usize],
        dtype: DType,
    ) -> Result<Self> {
        let needed = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let (what, got) = ("the buffer", buffer.usage());
        if !got.contains(needed) {
            return Err(Error::BufferUsage { what, needed, got });
        }
        let (needed, got) = (
            stream::padded(element_count(shape)?, dtype.bytes()),
            buffer.size(),
        );
        if got < needed {
            return Err(Error::BufferTooSmall { what, needed, got });
        }
        let mut tensor = Self::in_buffer(gpu, buffer, shape, dtype, true);
        if let Some(array) = Arc::get_mut(&mut tensor.inner) {
            array.is_callers = true;
        }
        Ok(tensor)
    }

    fn in_buffer(
        gpu: &Gpu,
        buffer: wgpu::Buffer,
        shape: &[usize],
        dtype: DType,
        readable: bool,
    ) -> Self {
        Self {
            inner: Arc::new(Array {
                gpu: Arc::clone(&gpu.inner),
                buffer,
                is_callers: false,
                shape: shape.to_vec(),
                dtype,
                users: Mutex::new(Users {
                    before: readable,
                    writers: Few::default(),
                    readers: Few::default(),
                }),
                answers: Mutex::default(),
                #[cfg(target_arch = "wasm32")]
                origins: Mutex::default(),
            }),
        }
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
    #[cfg(not(target_arch = "wasm32"))]
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
    #[cfg(not(target_arch = "wasm32"))]
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
        // As they are now: a batch that replaces the values during the read is none of its business.
        #[cfg(target_arch = "wasm32")]
        let origins = self.origins().all();
        let mut out = vec![T::default(); self.len()];
        stream::download(&self.inner.gpu, self.buffer(), &mut out, wait).await?;
        #[cfg(target_arch = "wasm32")]
        for later in origins {
            later.verdict().await?;
        }
        for answer in known {
            answer.verdict().await?;
        }
        Ok(out)
    }

    /// The batches that its values come of, as far as a browser may have something against them.
    #[cfg(target_arch = "wasm32")]
    pub(super) fn origins(&self) -> MutexGuard<'_, super::later::Origins> {
        lock(&self.inner.origins)
    }

    /// The known answers that a read which is submitted from now on stands and falls with; they
    /// arrive before it.
    pub(super) fn known_answers(&self) -> Vec<Arc<Answer>> {
        let mut answers = self.answers();
        answers.retain(|answer| answer.is_submitted());
        answers
    }

    /// The known answers that its values stand and fall with.
    pub(super) fn answers(&self) -> Vec<Arc<Answer>> {
        let mut answers = lock(&self.inner.answers);
        answers.retain(|answer| !answer.is_over());
        answers.clone()
    }

    /// The array's bytes of its buffer; not of an empty one.
    pub(super) fn slice(&self) -> wgpu::BufferSlice<'_> {
        let bytes = stream::padded(self.len(), self.dtype().bytes());
        self.buffer().slice(..bytes)
    }

    /// Whether both are the same array.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether something was written to it, or will be by a batch that is recorded.
    pub(super) fn has_contents(&self) -> bool {
        let users = self.users();
        users.before || !users.writers.is_empty()
    }

    /// The batches that use it and are not settled.
    pub(super) fn users(&self) -> MutexGuard<'_, Users> {
        let mut users = lock(&self.inner.users);
        users.settle();
        users
    }
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
