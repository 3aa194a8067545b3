//! The device level: a device and its queue, tensors that live on it, batches of operations in
//! one submission, and the way to and from host memory.

mod adapter;
mod asked;
mod batch;
mod chain;
#[cfg(any(target_arch = "wasm32", test))]
mod later;
mod learn;
mod loss;
mod many;
mod operations;
mod pool;
mod random;
mod request;
mod rows;
mod self_check;
mod shaping;
mod statistics;
#[cfg_attr(not(feature = "cache"), path = "uncached.rs")]
mod store;
mod stream;
mod tensor;
#[cfg(feature = "cache")]
mod tune;

#[cfg(not(target_arch = "wasm32"))]
pub use adapter::adapters;
pub use adapter::{AdapterChoice, AdapterReport, adapters_async};
pub use batch::Batch;
pub use loss::Labels;
pub use request::{TensorArray, Tensors};
pub use shaping::{Lengths, Mask};
pub use store::Cache;
pub(crate) use stream::HostWait;
pub use tensor::Tensor;
#[cfg(feature = "cache")]
pub use tune::{TuneCandidate, TuneReport, Tuned};

use crate::cpu::threads::{self, Place, elsewhere};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, lock};
use crate::plan::Traits;
use crate::shape::{element_count, same_length};
pub(crate) use adapter::Admitted;
use adapter::Opened;
use pool::Pool;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use store::{Content, Store};

/// A GPU: a device with its queue, the kernels on it, and a pool of buffers.
///
/// Cloning is cheap; clones share everything.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.inner.info;
        write!(f, "Gpu({} on {})", info.name, info.backend)
    }
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    kernels: Kernels,
    info: wgpu::AdapterInfo,
    why: String,
    pool: Pool,
    /// Where pipelines are kept from run to run.
    store: Option<Store>,
    /// What went wrong that a call goes on without.
    warnings: Mutex<Vec<String>>,
    /// `None` where the device's handlers are the caller's.
    faults: Option<Arc<Faults>>,
    /// An empty list for what the next batch keeps, as long as the last one's.
    spare: Mutex<Vec<Tensor>>,
    /// What went to the queue.
    submissions: AtomicU64,
    #[cfg(target_arch = "wasm32")]
    later: Unsettled,
}

/// What a browser has not said yet.
#[cfg(target_arch = "wasm32")]
#[derive(Debug, Default)]
struct Unsettled {
    /// The scopes of what the next submission is for.
    scopes: Mutex<Vec<later::Scope>>,
    /// Batches that nobody has waited for.
    batches: Mutex<Vec<Arc<later::Later>>>,
}

/// A submission, as something to wait for.
#[cfg(not(target_arch = "wasm32"))]
type Submission = wgpu::SubmissionIndex;
#[cfg(target_arch = "wasm32")]
use later::Submission;

/// What the device reported of itself, asynchronously.
#[derive(Debug, Default)]
struct Faults {
    lost: Mutex<Option<String>>,
    errors: Mutex<Vec<String>>,
}

impl Faults {
    /// Those of a device, which tells its loss.
    fn of_loss(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Self::default());
        let reports = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            let text = if message.is_empty() {
                format!("{reason:?}")
            } else {
                message
            };
            lock(&reports.lost).get_or_insert(text);
        });
        faults
    }
}

/// How a [`Gpu`] is opened, where [`Gpu::open`]'s way is not wanted.
///
/// ```no_run
/// use wgpu_activations::{Cache, Gpu, GpuOptions};
/// let gpu = Gpu::open_with(&GpuOptions::new().cache(Cache::Off))?;
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    adapter: AdapterChoice,
    admitted: Admitted,
    cache: Cache,
    #[cfg(feature = "cache")]
    tune: bool,
}

impl GpuOptions {
    /// The best adapter; what is kept from run to run is in the user's cache folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The adapter to open.
    pub fn adapter(mut self, choice: AdapterChoice) -> Self {
        self.adapter = choice;
        self
    }

    /// What is taken where no adapter is named.
    pub(crate) fn admitted(mut self, admitted: Admitted) -> Self {
        self.admitted = admitted;
        self
    }

    /// Where compiled pipelines and tuned numbers are kept.
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = cache;
        self
    }

    /// Whether a device that nobody has tuned yet is tuned when it is opened ([`Gpu::tune`]), which
    /// takes some seconds; it is not by default.
    #[cfg(feature = "cache")]
    pub fn tune_on_first_use(mut self, tune: bool) -> Self {
        self.tune = tune;
        self
    }
}

/// How a call waits for the device.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// In this thread.
    Block,
    /// Elsewhere, while the caller's executor runs on.
    Async,
}

impl Wait {
    /// On a thread of [`threads::elsewhere`].
    const ELSEWHERE: Self = match cfg!(target_arch = "wasm32") {
        false => Self::Block,
        // It is the only one.
        true => Self::Async,
    };

    /// How many of so many elements are copied between two pauses.
    fn at_a_time(self, elements: usize) -> usize {
        match self {
            Self::Block => elements,
            Self::Async => threads::PIECE,
        }
    }

    /// Lets the caller's executor run something else in between.
    async fn pause(self) {
        if matches!(self, Self::Async) {
            threads::pause().await;
        }
    }
}

impl Gpu {
    /// The best adapter's device.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::DeviceRequest`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new() -> Result<Self> {
        Self::open(&AdapterChoice::Auto)
    }

    /// [`Gpu::new`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn new_async() -> Result<Self> {
        Self::open_async(&AdapterChoice::Auto).await
    }

    /// The device of an adapter of choice.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownAdapter`], [`Error::DeviceRequest`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(choice: &AdapterChoice) -> Result<Self> {
        Self::open_with(&GpuOptions::new().adapter(choice.clone()))
    }

    /// [`Gpu::open`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_async(choice: &AdapterChoice) -> Result<Self> {
        Self::open_with_async(&GpuOptions::new().adapter(choice.clone())).await
    }

    /// A device by options.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_with(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::open_by(options, Wait::Block))
    }

    /// [`Gpu::open_with`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_with_async(options: &GpuOptions) -> Result<Self> {
        let options = options.clone();
        elsewhere(Place::Own, async move || {
            Self::open_by(&options, Wait::ELSEWHERE).await
        })
        .await
    }

    async fn open_by(options: &GpuOptions, wait: Wait) -> Result<Self> {
        let Opened {
            device,
            queue,
            info,
            why,
        } = adapter::open(&options.adapter, options.admitted).await?;
        let faults = Faults::of_loss(&device);
        let reports = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&reports.errors).push(error.to_string());
        }));
        let gpu = Self::assemble(device, queue, info, why, Some(faults), &options.cache);
        gpu.inner.probe(wait).await?;
        #[cfg(feature = "cache")]
        if options.tune {
            return gpu.tuned(wait).await;
        }
        Ok(gpu)
    }

    /// Whether the device is lost.
    pub(crate) fn is_lost(&self) -> bool {
        let inner = &self.inner;
        inner
            .reported_loss()
            .and_then(|()| inner.answers())
            .is_err()
    }

    /// Adopts the caller's device and queue. The device's error handlers stay the caller's: an
    /// error that wgpu reports asynchronously outside of this crate's own scopes goes to them.
    /// Nothing is kept from run to run.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::from_device_with(device, queue, &Cache::Off)
    }

    /// [`Gpu::from_device`], with tuned numbers from a cache; compiled pipelines are kept there,
    /// too, where the device has `PIPELINE_CACHE`.
    pub fn from_device_with(device: wgpu::Device, queue: wgpu::Queue, cache: &Cache) -> Self {
        let info = adapter::info_of(&device);
        let why = "the caller's device".to_owned();
        // In a browser any number of programs may listen to a device's loss.
        #[cfg(target_arch = "wasm32")]
        let faults = Some(Faults::of_loss(&device));
        #[cfg(not(target_arch = "wasm32"))]
        let faults = None;
        Self::assemble(device, queue, info, why, faults, cache)
    }

    fn assemble(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        why: String,
        faults: Option<Arc<Faults>>,
        cache: &Cache,
    ) -> Self {
        let mut warnings = Vec::new();
        let store = Store::new(cache, &info);
        let pipelines = store
            .as_ref()
            .filter(|_| device.features().contains(wgpu::Features::PIPELINE_CACHE))
            .and_then(|store| pipelines(&device, store, &mut warnings));
        let mut traits = Traits::of(&device);
        if let Some(store) = &store {
            match store::kept(store, &device) {
                Ok(walk) => traits.walk = walk.unwrap_or(traits.walk),
                Err(warning) => warnings.push(warning),
            }
        }
        let kernels = Kernels::with_pipelines(&device, traits, pipelines);
        Self {
            inner: Arc::new(Inner {
                pool: Pool::new(&kernels),
                kernels,
                device,
                queue,
                info,
                why,
                store,
                warnings: Mutex::new(warnings),
                faults,
                spare: Mutex::default(),
                submissions: AtomicU64::new(0),
                #[cfg(target_arch = "wasm32")]
                later: Unsettled::default(),
            }),
        }
    }

    /// Compiled pipelines that are kept from run to run go to their file when the last clone is
    /// dropped; this writes them now, where there are new ones. For programs that end without.
    ///
    /// What goes wrong is one of the [`Gpu::warnings`].
    pub fn keep_pipelines(&self) {
        self.inner.keep_pipelines();
    }

    /// What went wrong so far that does no harm but costs time: files of the cache that are of no
    /// use, or cannot be written.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.inner.warnings).clone()
    }

    /// The same device with other kernels.
    fn sharing(&self, kernels: Kernels) -> Self {
        let gpu = &self.inner;
        Self {
            inner: Arc::new(Inner {
                device: gpu.device.clone(),
                queue: gpu.queue.clone(),
                pool: Pool::new(&kernels),
                kernels,
                info: gpu.info.clone(),
                why: gpu.why.clone(),
                store: gpu.store.clone(),
                warnings: Mutex::new(self.warnings()),
                faults: gpu.faults.clone(),
                spare: Mutex::default(),
                submissions: AtomicU64::new(0),
                #[cfg(target_arch = "wasm32")]
                later: Unsettled::default(),
            }),
        }
    }

    /// One line: the adapter, its interface, why it was taken, what does not run on it, and
    /// warnings.
    pub fn description(&self) -> String {
        let info = &self.inner.info;
        let wrong = self.inner.kernels.trust().summary();
        let wrong = wrong.map_or_else(String::new, |wrong| format!("; {wrong}"));
        let mut text = format!(
            "{} on {}; {}{wrong}",
            info.name, info.backend, self.inner.why
        );
        for warning in self.warnings() {
            text += "; warning: ";
            text += &warning;
        }
        text
    }

    /// What wgpu says of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// The device, for work of the caller's own.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The queue, for work of the caller's own.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// The kernels, to record into encoders of the caller's own.
    pub fn kernels(&self) -> &Kernels {
        &self.inner.kernels
    }

    /// How many submissions were made so far: what batches save, as a number.
    pub fn submissions(&self) -> u64 {
        self.inner.submissions.load(Ordering::Relaxed)
    }

    /// A tensor of f32 of this shape with any contents.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
    pub fn empty(&self, shape: &[usize]) -> Result<Tensor> {
        self.empty_as(shape, DType::F32)
    }

    /// A tensor of this shape and type with any contents.
    ///
    /// # Errors
    /// As [`Gpu::empty`].
    pub fn empty_as(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.inner.healthy()?;
        Tensor::new(self, shape, dtype, true)
    }

    /// A tensor with the values of `x`, in row-major order and of their type.
    ///
    /// # Errors
    /// As [`Gpu::empty`]; [`Error::LengthMismatch`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn upload<T: Element>(&self, x: &[T], shape: &[usize]) -> Result<Tensor> {
        pollster::block_on(self.upload_by(x, shape, Wait::Block))
    }

    /// [`Gpu::upload`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub async fn upload_async<T: Element>(&self, x: &[T], shape: &[usize]) -> Result<Tensor> {
        self.upload_by(x, shape, Wait::Async).await
    }

    /// [`Gpu::upload`] for what is recorded, which waits for nothing in a browser: it keeps what it has not
    /// sent yet.
    fn recorded_upload(&self, x: &[f32], shape: &[usize]) -> Result<Tensor> {
        #[cfg(not(target_arch = "wasm32"))]
        let tensor = self.upload(x, shape);
        #[cfg(target_arch = "wasm32")]
        let tensor = self.empty(shape).and_then(|tensor| {
            stream::write(&self.inner, tensor.buffer(), 0, bytemuck::cast_slice(x))?;
            Ok(tensor)
        });
        tensor
    }

    async fn upload_by<T: Element>(&self, x: &[T], shape: &[usize], wait: Wait) -> Result<Tensor> {
        same_length("the array", element_count(shape)?, x.len())?;
        let tensor = self.empty_as(shape, T::DTYPE)?;
        stream::upload(&self.inner, x, tensor.buffer(), wait).await?;
        Ok(tensor)
    }

    /// A batch: operations that are recorded now and run in one submission.
    pub fn batch(&self) -> Batch {
        Batch::new(self)
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Device`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(&self) -> Result<()> {
        pollster::block_on(self.inner.idle(Wait::Block))
    }

    /// [`Gpu::wait`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub async fn wait_async(&self) -> Result<()> {
        self.inner.idle(Wait::Async).await
    }
}

/// The pipelines that are kept in a store, or none yet.
fn pipelines(
    device: &wgpu::Device,
    store: &Store,
    warnings: &mut Vec<String>,
) -> Option<wgpu::PipelineCache> {
    let kept = store.read(Content::Pipelines).unwrap_or_else(|warning| {
        warnings.push(warning);
        None
    });
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("activations"),
        data: kept.as_deref(),
        // What wgpu or the driver finds to be another's, it leaves.
        fallback: true,
    };
    // SAFETY: the data is what `get_data` returned for this adapter and this driver, as the file's
    // first line says, and whole, as its checksum says. Who may write to the user's cache
    // folder may as well replace the program.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    let refused = now(scope.pop()).flatten();
    if let Some(error) = &refused {
        warnings.push(format!("pipelines are not kept: {error}"));
    }
    refused.is_none().then_some(cache)
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keep_pipelines();
    }
}

impl Inner {
    /// Whether host and device have one memory, so that storage buffers may be mapped.
    fn shares_memory(&self) -> bool {
        let kind = self.info.device_type;
        matches!(
            kind,
            wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu
        ) && self
            .device
            .features()
            .contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
    }

    /// Writes what was compiled since it was last written.
    fn keep_pipelines(&self) {
        let Some(store) = &self.store else { return };
        let Some(data) = self.kernels.compiled_data() else {
            return;
        };
        if let Err(error) = store.write(Content::Pipelines, &data) {
            let path = store.path(Content::Pipelines);
            let warning = format!("{} cannot be written: {error}", path.display());
            lock(&self.warnings).push(warning);
        }
    }

    /// An error where the device has not what every operation needs, is lost, or has reported an
    /// error since it was last asked.
    fn healthy(&self) -> Result<()> {
        self.kernels.usable()?;
        if let Some(faults) = &self.faults {
            // A loss is reported where the device is polled. A poll that fails is of a lost device.
            let _ = self.device.poll(wgpu::PollType::Poll);
            self.reported_loss()?;
            let errors = std::mem::take(&mut *lock(&faults.errors));
            if !errors.is_empty() {
                return Err(self.failed(errors.join("; ")));
            }
        }
        // wgpu keeps quiet about what it does not do on a lost device.
        self.answers()
    }

    /// An error where a device of our own has reported its loss.
    fn reported_loss(&self) -> Result<()> {
        let lost = self.faults.as_ref().and_then(|f| lock(&f.lost).clone());
        lost.map_or(Ok(()), |reason| Err(Error::DeviceLost { reason }))
    }

    /// What went wrong on the device: its loss, where it is lost, and else what these words say. A
    /// device is lost before it reports that: not before its work is done and somebody polls. So it
    /// is asked.
    fn failed(&self, message: String) -> Error {
        let asked = self.reported_loss().and_then(|()| self.answers());
        asked.err().unwrap_or(Error::Device { message })
    }

    /// A browser tells of a loss before anybody can ask.
    #[cfg(target_arch = "wasm32")]
    fn answers(&self) -> Result<()> {
        Ok(())
    }

    /// An error where a device is lost, whatever it has reported: it maps nothing.
    #[cfg(not(target_arch = "wasm32"))]
    fn answers(&self) -> Result<()> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let probe = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("activations probe"),
            size: 4,
            // Mapped as it is: wgpu has a copy to make of what is not to be mapped.
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        let full = now(memory.pop()).flatten().is_some();
        if full || probe.slice(..).get_mapped_range_mut().is_ok() {
            return Ok(());
        }
        Err(Error::DeviceLost {
            reason: "it answers no more".to_owned(),
        })
    }

    /// Runs `work` and returns what the device had against it.
    fn watched<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let value = work();
        let scopes = [memory, internal, validation].map(|scope| scope.pop());
        #[cfg(target_arch = "wasm32")]
        {
            // A browser answers later: whoever waits for the next submission waits for that.
            let later = scopes.map(|found| later::Scope {
                bytes,
                found: Box::pin(found),
            });
            lock(&self.later.scopes).extend(later);
            self.healthy()?;
            Ok(value)
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            let found = scopes.map(now);
            self.healthy()?;
            match found.into_iter().flatten().flatten().next() {
                None => Ok(value),
                Some(error @ wgpu::Error::OutOfMemory { .. }) => Err(refused(bytes, &error)),
                Some(error) => Err(self.failed(error.to_string())),
            }
        }
    }

    /// Runs `work` that compiles. A browser tells of a shader that it refuses where the work is waited for;
    /// elsewhere the submission is refused.
    #[cfg(target_arch = "wasm32")]
    fn recorded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.watched(0, work)?
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn recorded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        work()
    }

    fn create(&self, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer> {
        self.watched(descriptor.size, || self.device.create_buffer(descriptor))
    }

    /// Submits, and says what the device had against it.
    #[cfg(not(target_arch = "wasm32"))]
    fn submit(&self, commands: impl FnOnce() -> Option<wgpu::CommandBuffer>) -> Result<Submission> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.watched(0, || self.queue.submit(commands()))
    }

    /// Submits; what the device has against it, the submission will know.
    #[cfg(target_arch = "wasm32")]
    fn submit(&self, commands: impl FnOnce() -> Option<wgpu::CommandBuffer>) -> Result<Submission> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.watched(0, || self.queue.submit(commands()))?;
        let later = later::Later::new();
        later.begin(self.scopes());
        Ok(later::Submission(later))
    }

    /// The scopes of what was made for a submission.
    #[cfg(target_arch = "wasm32")]
    fn scopes(&self) -> Vec<later::Scope> {
        std::mem::take(&mut *lock(&self.later.scopes))
    }

    /// Submits a batch, whose results know what the device has against it.
    #[cfg(target_arch = "wasm32")]
    fn submit_batch(
        &self,
        encoder: wgpu::CommandEncoder,
        later: &Arc<later::Later>,
    ) -> Result<Submission> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.watched(0, || self.queue.submit([encoder.finish()]))?;
        later.begin(self.scopes());
        let mut batches = lock(&self.later.batches);
        // Of those that went wrong and are not waited for, the first is told.
        let mut wrong = false;
        batches.retain(|batch| {
            !batch.is_right() && (!batch.is_wrong() || !std::mem::replace(&mut wrong, true))
        });
        batches.push(Arc::clone(later));
        Ok(later::Submission(Arc::clone(later)))
    }

    /// An error of submissions that are not waited for, which were told of elsewhere when they were made.
    #[cfg(not(target_arch = "wasm32"))]
    async fn settled(&self, _: impl IntoIterator<Item = Submission>) -> Result<()> {
        Ok(())
    }

    /// An error of submissions that are not waited for.
    #[cfg(target_arch = "wasm32")]
    async fn settled(&self, submissions: impl IntoIterator<Item = Submission>) -> Result<()> {
        for submission in submissions {
            submission.0.verdict().await?;
        }
        Ok(())
    }

    /// Waits for everything that was submitted.
    async fn idle(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let poll = wgpu::PollType::wait_indefinitely();
        let polled = match wait {
            Wait::Block => self.device.poll(poll).map(|_| ()),
            Wait::Async => poll_elsewhere(self, poll).await,
        };
        #[cfg(target_arch = "wasm32")]
        self.all_settled().await?;
        self.healthy()?;
        polled.map_err(|error| self.failed(error.to_string()))
    }

    /// The first error of all batches that nobody has waited for, and of what is made since.
    #[cfg(target_arch = "wasm32")]
    async fn all_settled(&self) -> Result<()> {
        let made = later::Later::new();
        made.begin(self.scopes());
        let batches = std::mem::take(&mut *lock(&self.later.batches));
        let mut first = Ok(());
        for batch in batches.into_iter().chain([made]) {
            let verdict = batch.verdict().await;
            first = first.and(verdict);
        }
        first
    }

    /// Waits for a submission.
    #[cfg(not(target_arch = "wasm32"))]
    async fn finished(self: &Arc<Self>, submission: Submission, wait: Wait) -> Result<()> {
        let poll = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: None,
        };
        let polled = match wait {
            Wait::Block => self.device.poll(poll).map(|_| ()),
            Wait::Async => poll_elsewhere(self, poll).await,
        };
        self.healthy()?;
        polled.map_err(|error| self.failed(error.to_string()))
    }

    /// Waits for a submission, and for what the device has against it.
    #[cfg(target_arch = "wasm32")]
    async fn finished(self: &Arc<Self>, submission: Submission, _: Wait) -> Result<()> {
        work_done(&self.queue).await;
        let verdict = submission.0.verdict().await;
        self.reported_loss()?;
        if let Err(Error::OutOfMemory { .. }) = verdict {
            // What nobody uses may be what is missing, for the next call.
            self.pool.empty();
        }
        verdict?;
        self.healthy()
    }
}

/// Polls in a thread of its own, so that the caller's executor is free meanwhile.
#[cfg(not(target_arch = "wasm32"))]
async fn poll_elsewhere(
    inner: &Arc<Inner>,
    poll: wgpu::PollType,
) -> std::result::Result<(), wgpu::PollError> {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    let device = inner.device.clone();
    let spawned = threads::spawn("activations poll", move || {
        // The receiver may be gone: its future was dropped.
        let _ = sender.send(device.poll(poll).map(|_| ()));
    });
    if spawned {
        return receiver.receive().await.unwrap_or(Ok(()));
    }
    // No thread to be had: waiting here is late, not wrong.
    let poll = wgpu::PollType::wait_indefinitely();
    inner.device.poll(poll).map(|_| ())
}

/// In a browser the event loop polls, and the queue tells when it is empty.
#[cfg(target_arch = "wasm32")]
async fn poll_elsewhere(
    inner: &Arc<Inner>,
    _poll: wgpu::PollType,
) -> std::result::Result<(), wgpu::PollError> {
    work_done(&inner.queue).await;
    Ok(())
}

/// Waits for everything that was submitted.
#[cfg(target_arch = "wasm32")]
async fn work_done(queue: &wgpu::Queue) {
    let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
    queue.on_submitted_work_done(move || {
        // The receiver may be gone: its future was dropped.
        let _ = sender.send(());
    });
    let _ = receiver.receive().await;
}

/// What the device had against watched work.
fn refused(bytes: u64, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
            bytes,
            reason: "the driver refused".to_owned(),
        },
        error => Error::Device {
            message: error.to_string(),
        },
    }
}

/// The value of a future that is ready; wgpu's error scopes are, outside of a browser.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
