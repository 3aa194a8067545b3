//! The encoder level: records operations into the caller's compute pass on the caller's device
//! and buffers. It owns pipelines and small constant buffers; it never submits and never blocks.

mod ask;
mod axis;
mod calls;
mod chain;
mod compiled;
mod element_loss;
mod elementwise;
mod gate;
mod groups;
mod learn;
mod loss;
mod prelu;
mod random;
mod shaping;
mod sparse;
mod statistics;
mod sum;

pub(crate) use ask::Asking;
pub(crate) use axis::from_output;
#[cfg(test)]
pub(crate) use axis::{AxisUniforms, axis_slots};
pub(crate) use chain::ChainJob;
pub use chain::ChainRanges;
pub(crate) use element_loss::ElementCall;
#[cfg(test)]
pub(crate) use element_loss::{ElementUniforms, element_slots};
#[cfg(test)]
pub(crate) use elementwise::ElementwiseUniforms;
pub(crate) use elementwise::elementwise_slots;
#[cfg(test)]
pub(crate) use gate::{GateUniforms, gate_slots};
pub(crate) use loss::{ClassBuffers, TargetBuffer, UpstreamBuffer};
#[cfg(test)]
pub(crate) use loss::{LossOptions, class_slots};
#[cfg(test)]
pub(crate) use prelu::{PreluUniforms, prelu_slots};
#[cfg(test)]
pub(crate) use random::{RandomUniforms, draw_slots};
pub(crate) use shaping::ShapedJob;
#[cfg(test)]
pub(crate) use shaping::{DimensionUniforms, FactorUniforms, ShapingUniforms, shaped_slots};
#[cfg(test)]
pub(crate) use sparse::module_slots;
pub(crate) use sparse::{Kin, steps_of};
#[cfg(test)]
pub(crate) use statistics::StatisticsUniforms;
pub(crate) use statistics::{Part, Stage};
#[cfg(test)]
pub(crate) use sum::{SumUniforms, sum_slots};

use crate::arrays::TypedSlice;
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::plan::{Quirks, Traits, axis_within, lacking};
use crate::self_check::{SelfCheck, Trust};
use crate::shader::{
    self, Access, Bend, ChainModule, ClassModule, Draw, ElementModule, Lanes, OPERAND_GRADIENTS,
    OPERANDS, Pass, RowChainModule, Shaped, Term, Unit,
};
use crate::shape::AxisShape;
use crate::shape::same_length;
use ask::Asked;
use compiled::Compiled;
use groups::{Groups, Recorded};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kernels of this crate on one device.
///
/// Every method records into a compute pass that the caller opened, on ranges of the caller's
/// buffers. A range is a [`wgpu::BufferSlice`]: its offset must be a multiple of the device's
/// `min_storage_buffer_offset_alignment`, its size of 4, and its buffer must have the usage
/// `STORAGE`. Ranges larger than one binding are cut. Errors are found before anything is
/// recorded.
///
/// Every device with [`wgpu::Limits::downlevel_defaults`] will do for the element-wise functions,
/// the softmax family and sums. Below any of these limits every call answers
/// [`Error::DeviceLimit`]:
///
/// | Limit | At least |
/// |---|---|
/// | `max_compute_invocations_per_workgroup`, `max_compute_workgroup_size_x` | 32 |
/// | `max_compute_workgroups_per_dimension` | 16 |
/// | `max_compute_workgroup_storage_size` | 8192 |
/// | `max_storage_buffers_per_shader_stage` | 4 |
/// | `max_uniform_buffers_per_shader_stage` | 2 |
/// | `max_storage_buffer_binding_size` | 1024 |
///
/// Losses, gates of two arrays, shaped rows and chains bind a storage buffer for each of their
/// arrays, and rows that are split one more; the most is 7, and with a chain's operands and their
/// gradients as many as those are. Where the device has fewer the call answers
/// [`Error::TooManyBuffers`].
///
/// Cloning is cheap and shares the pipelines.
///
/// ```no_run
/// # fn record(device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder, x: &wgpu::Buffer, y: &wgpu::Buffer) -> Result<(), wgpu_activations::Error> {
/// use wgpu_activations::{Activation, Kernels};
/// let kernels = Kernels::new(device);
/// let mut pass = encoder.begin_compute_pass(&Default::default());
/// kernels.apply(&mut pass, Activation::Gelu, x.slice(..), y.slice(..))?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Kernels {
    inner: Arc<Inner>,
    /// Where what is used for the first time asks for its known answers; the device layer, which
    /// can read them, has that.
    asked: Option<Arc<Asked>>,
    /// Whether nothing is refused.
    trusting: bool,
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            pipelines,
            dispatches,
        } = self.counts();
        write!(f, "Kernels({pipelines} pipelines, {dispatches} dispatches)")
    }
}

struct Inner {
    device: wgpu::Device,
    traits: Traits,
    /// The limit of the device that keeps everything from running.
    lacks: Option<Error>,
    /// Storage buffers that an entry point can bind.
    storage_buffers: u32,
    compiled: Mutex<Compiled>,
    /// What the driver compiled, also in runs before.
    cache: Option<wgpu::PipelineCache>,
    /// Whether it compiled something since [`Kernels::compiled_data`] was last called.
    compiled_more: AtomicBool,
    /// Constant buffers by their contents: they never change, so that recorded work may share
    /// them in any order, and a repeated operation allocates none.
    uniforms: Mutex<HashMap<Box<[u32]>, wgpu::Buffer>>,
    /// Bind groups by the dispatches that they were made for.
    groups: Mutex<Groups>,
    /// Partial results of split rows. Work of one queue runs in order and each operation writes
    /// before it reads, so that all of them share it.
    scratch: Mutex<Option<wgpu::Buffer>>,
    /// Terms of the gradients by operands that are broadcast, shared as `scratch` is.
    terms: Mutex<Option<wgpu::Buffer>>,
    /// What lies between the parts of a chain whose gradient takes several dispatches.
    middle: Mutex<Option<wgpu::Buffer>>,
    pipelines_compiled: AtomicU64,
    dispatches_recorded: AtomicU64,
    /// What is known of the adapter's faults.
    trust: Mutex<Trust>,
    #[cfg(test)]
    fault: Mutex<Option<Fault>>,
    /// The dispatches that are recorded, where a test keeps them.
    #[cfg(test)]
    seen: Mutex<Option<Vec<tests::isa::Seen>>>,
}

/// What kernels have done since they were made, all clones together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Pipelines that were compiled.
    pub pipelines: u64,
    /// Dispatches that were recorded.
    pub dispatches: u64,
}

/// A fault that a test puts into every shader's text.
#[cfg(test)]
pub(crate) type Fault = fn(String) -> String;

/// A chain's module: of elements alone, or around rows.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it lies behind an `Arc`")]
enum AnyChain {
    Elements(ChainModule),
    Rows(RowChainModule),
}

impl AnyChain {
    fn text(&self) -> String {
        match self {
            Self::Elements(module) => module.text(),
            Self::Rows(module) => module.text(),
        }
    }
}

/// A shader module of this crate; what its text depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ModuleKey {
    /// Over x, dy and the result of these types.
    Elementwise(Activation, Access, [DType; 3]),
    Axis(AxisFunction, Pass, Unit),
    Statistics(Activation),
    Random(Draw),
    Kin(Kin),
    Sum(Term),
    Gate {
        activation: Activation,
        clamped: bool,
        lanes: Lanes,
    },
    ClassLoss(ClassModule),
    ElementLoss(ElementModule),
    Prelu(Bend),
    Shaped(AxisFunction, Pass, Shaped, Unit),
    /// A chain's number among those that are kept.
    Chain(usize),
}

impl ModuleKey {
    fn text(self, compiled: &Compiled) -> String {
        match self {
            // Invariant: whoever records it holds it.
            Self::Chain(number) => match compiled.chain_of(number) {
                Some(chain) => chain.text(),
                None => unreachable!("a chain that is recorded is kept"),
            },
            Self::Elementwise(activation, access, dtypes) => {
                shader::elementwise(activation, access, dtypes)
            }
            Self::Axis(function, pass, unit) => shader::softmax(function, pass, unit),
            Self::Statistics(activation) => shader::statistics(activation),
            Self::Random(draw) => shader::random(draw),
            Self::Kin(kin) => kin.text(),
            Self::Sum(term) => shader::reduce(term),
            Self::Prelu(bend) => shader::prelu(bend),
            Self::Gate {
                activation,
                clamped,
                lanes,
            } => shader::gate(activation, clamped, lanes),
            Self::ClassLoss(module) => shader::class_loss(module),
            Self::ElementLoss(module) => shader::element_loss(module),
            Self::Shaped(function, pass, shaped, unit) => {
                shader::shaped_softmax(function, pass, shaped, unit)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PipelineKey {
    module: ModuleKey,
    entry_point: &'static str,
    workgroup: u32,
    /// Whether an input is a range of the result's buffer.
    one_buffer: bool,
}

/// A pipeline and the layout of its one group.
#[derive(Clone, Debug)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// One dispatch of an entry point.
struct Work<'a> {
    module: ModuleKey,
    entry_point: &'static str,
    /// Invocations of a workgroup; the entry point's `workgroup_size`.
    workgroup: u32,
    /// What the entry point refers to beside the uniforms, no more and no less.
    bindings: &'a [(Slot, wgpu::BufferBinding<'a>)],
    /// The words of the entry point's uniform struct.
    uniforms: &'a [u32],
    /// Workgroups, folded into two dimensions where they are many.
    groups: u64,
}

/// The bindings of an entry point; no more than a few are ever bound.
pub(crate) type Slots = Few<Slot, 12>;
/// What is bound for a dispatch.
type Bindings<'a> = Few<(Slot, wgpu::BufferBinding<'a>), 12>;

/// A binding of the shader files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    X,
    Dy,
    Out,
    Uniforms,
    Partials,
    /// The edges of a histogram's bins.
    Edges,
    /// Counters.
    Counts,
    /// A second input.
    Second,
    /// A second result.
    OutSecond,
    /// Of losses over classes.
    Targets,
    ClassWeight,
    LossOptions,
    Losses,
    PositiveWeight,
    /// Of shaped rows.
    Mask,
    Bias,
    Lengths,
    Sinks,
    Shaping,
    /// Of chains, by number.
    Operand(u32),
    OperandGradient(u32),
}

impl Slot {
    /// The number of its `@binding`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::X => 0,
            Self::Dy => 1,
            Self::Out => 2,
            Self::Uniforms => 3,
            Self::Partials => 4,
            Self::Edges => 5,
            Self::Counts => 6,
            Self::Second => 7,
            Self::OutSecond => 8,
            Self::Sinks => 9,
            Self::Mask => 10,
            Self::Bias => 11,
            Self::Lengths => 12,
            Self::Shaping => 13,
            Self::Targets => 14,
            Self::ClassWeight => 15,
            Self::LossOptions => 16,
            Self::Losses => 17,
            Self::PositiveWeight => 18,
            Self::Operand(number) => OPERANDS + number,
            Self::OperandGradient(number) => OPERAND_GRADIENTS + number,
        }
    }

    pub(crate) fn binding_type(self) -> wgpu::BufferBindingType {
        match self {
            Self::X
            | Self::Dy
            | Self::Mask
            | Self::Bias
            | Self::Lengths
            | Self::Sinks
            | Self::Edges
            | Self::Second
            | Self::Targets
            | Self::ClassWeight
            | Self::PositiveWeight
            | Self::Operand(_) => wgpu::BufferBindingType::Storage { read_only: true },
            Self::Out
            | Self::Partials
            | Self::Counts
            | Self::OutSecond
            | Self::Losses
            | Self::OperandGradient(_) => wgpu::BufferBindingType::Storage { read_only: false },
            Self::Uniforms | Self::LossOptions | Self::Shaping => wgpu::BufferBindingType::Uniform,
        }
    }

    /// Whether it is one of the storage buffers that a device limits.
    fn is_storage(self) -> bool {
        matches!(self.binding_type(), wgpu::BufferBindingType::Storage { .. })
    }

    /// Whether kernels write it.
    fn is_written(self) -> bool {
        self.binding_type() == (wgpu::BufferBindingType::Storage { read_only: false })
    }

    /// The type beside a writable binding of the same buffer.
    fn binding_type_in_one_buffer(self) -> wgpu::BufferBindingType {
        match self.binding_type() {
            wgpu::BufferBindingType::Storage { .. } => {
                wgpu::BufferBindingType::Storage { read_only: false }
            }
            uniform @ wgpu::BufferBindingType::Uniform => uniform,
        }
    }
}

/// A range of a buffer, checked.
#[derive(Clone, Copy)]
struct Operand<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    bytes: u64,
    dtype: DType,
    what: &'static str,
}

impl<'a> Operand<'a> {
    /// How many there are; of an odd number of 16 bits each, one more.
    fn elements(&self) -> u64 {
        self.bytes / self.dtype.bytes() as u64
    }

    /// Elements [start, start + len) bound from an offset that the device takes, and how many
    /// elements lie in the binding before them.
    fn window(&self, start: u64, len: u64, traits: &Traits) -> (wgpu::BufferBinding<'a>, u32) {
        let element = self.dtype.bytes() as u64;
        let begin = self.offset + start * element;
        let aligned = begin / traits.alignment * traits.alignment;
        let binding = wgpu::BufferBinding {
            buffer: self.buffer,
            offset: aligned,
            size: wgpu::BufferSize::new((begin - aligned + len * element).next_multiple_of(4)),
        };
        // Less than one alignment, which is a u32.
        (binding, ((begin - aligned) / element) as u32)
    }
}

impl Kernels {
    /// Kernels for `device`. Compiles nothing yet: a pipeline is made when it is first needed
    /// and kept.
    pub fn new(device: &wgpu::Device) -> Self {
        Self::with_traits(device, Traits::of(device))
    }

    pub(crate) fn with_traits(device: &wgpu::Device, traits: Traits) -> Self {
        Self::with_pipelines(device, traits, None)
    }

    /// Kernels for `device` that know what a self-check of its adapter found: they go around
    /// what is worked around, and refuse what is not to be trusted. Kernels on their own have no
    /// queue to find out by, and trust the adapter.
    ///
    /// ```no_run
    /// # fn run(device: wgpu::Device, queue: wgpu::Queue) -> Result<(), wgpu_activations::Error> {
    /// use wgpu_activations::{Gpu, Kernels};
    /// let check = Gpu::from_device(device.clone(), queue).self_check()?;
    /// let kernels = Kernels::with_findings(&device, &check);
    /// # Ok(()) }
    /// ```
    pub fn with_findings(device: &wgpu::Device, check: &SelfCheck) -> Self {
        let kernels = Self::new(device);
        *lock(&kernels.inner.trust) = check.trust.clone();
        kernels
    }

    /// Kernels whose pipelines come from a cache of wgpu's, and go there.
    pub(crate) fn with_pipelines(
        device: &wgpu::Device,
        traits: Traits,
        compiled: Option<wgpu::PipelineCache>,
    ) -> Self {
        let limits = device.limits();
        Self {
            inner: Arc::new(Inner {
                device: device.clone(),
                traits,
                lacks: lacking(&limits),
                storage_buffers: limits.max_storage_buffers_per_shader_stage,
                compiled: Mutex::default(),
                cache: compiled,
                compiled_more: AtomicBool::new(false),
                uniforms: Mutex::default(),
                groups: Mutex::default(),
                scratch: Mutex::default(),
                terms: Mutex::default(),
                middle: Mutex::default(),
                pipelines_compiled: AtomicU64::new(0),
                dispatches_recorded: AtomicU64::new(0),
                trust: Mutex::default(),
                #[cfg(test)]
                fault: Mutex::default(),
                #[cfg(test)]
                seen: Mutex::default(),
            }),
            asked: None,
            trusting: false,
        }
    }

    /// The same kernels, which walk arrays in another way; pipelines are compiled anew.
    #[cfg(feature = "cache")]
    pub(crate) fn walking(&self, walk: crate::plan::Walk) -> Self {
        let traits = Traits {
            walk,
            ..self.inner.traits
        };
        let compiled = self.inner.cache.clone();
        let kernels = Self::with_pipelines(&self.inner.device, traits, compiled);
        *kernels.trust() = self.trust().clone();
        kernels
    }

    /// Kernels that believe to be on another device, with a fault in every shader.
    #[cfg(test)]
    pub(crate) fn spoiled(device: &wgpu::Device, traits: Traits, fault: Fault) -> Self {
        let kernels = Self::with_traits(device, traits);
        *lock(&kernels.inner.fault) = Some(fault);
        kernels
    }

    /// How many pipelines were compiled and dispatches recorded: what fused operations save, in
    /// numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            pipelines: self.inner.pipelines_compiled.load(Ordering::Relaxed),
            dispatches: self.inner.dispatches_recorded.load(Ordering::Relaxed),
        }
    }

    /// What the driver has compiled, where it has something new and a cache is there to keep it.
    pub(crate) fn compiled_data(&self) -> Option<Vec<u8>> {
        // wgpu's head and Vulkan's: a driver that keeps nothing returns no more.
        const HEADS: usize = 96;
        let cache = self.inner.cache.as_ref()?;
        if !self.inner.compiled_more.swap(false, Ordering::AcqRel) {
            return None;
        }
        cache.get_data().filter(|data| data.len() > HEADS)
    }

    /// What a plan may count on.
    pub(crate) fn traits(&self) -> Traits {
        let (own, found) = (self.inner.traits, lock(&self.inner.trust).quirks);
        Traits {
            quirks: Quirks {
                barriers: own.quirks.barriers || found.barriers,
                loops: own.quirks.loops || found.loops,
            },
            ..own
        }
    }

    /// What is known of the adapter.
    pub(crate) fn trust(&self) -> MutexGuard<'_, Trust> {
        lock(&self.inner.trust)
    }

    /// Shader text as it is compiled.
    pub(crate) fn text(&self, text: String) -> String {
        #[cfg(test)]
        if let Some(fault) = *lock(&self.inner.fault) {
            return fault(text);
        }
        text
    }

    /// An error where the device has not what every operation needs.
    pub(crate) fn usable(&self) -> Result<()> {
        self.inner.lacks.clone().map_or(Ok(()), Err)
    }

    /// Whether a block of rows can be bound, of which an invocation walks so many elements at most, so
    /// that the elements of a part lie side by side.
    pub(crate) fn binds_rows(&self, shape: &AxisShape, steps: u64) -> bool {
        axis_within(&AxisShape { outer: 1, ..*shape }, &self.traits(), steps).is_some()
    }

    /// An error where an entry point cannot bind so many storage buffers.
    fn binds(&self, buffers: usize) -> Result<()> {
        self.usable()?;
        let limit = self.inner.storage_buffers;
        match u32::try_from(buffers) {
            Ok(needed) if needed > limit => Err(Error::TooManyBuffers { needed, limit }),
            _ => Ok(()),
        }
    }

    /// A range as an operand; an error where it cannot be one, or where the device has not, or gets
    /// wrong, what every function counts on.
    fn operand<'a>(
        &self,
        slice: impl Into<TypedSlice<'a>>,
        what: &'static str,
    ) -> Result<Operand<'a>> {
        let typed = slice.into();
        let (slice, dtype) = (typed.slice(), typed.dtype());
        self.usable()?;
        if !self.trusting {
            self.trust().anything()?;
        }
        let buffer = slice.buffer();
        let needed = wgpu::BufferUsages::STORAGE;
        if !buffer.usage().contains(needed) {
            return Err(Error::BufferUsage {
                what,
                needed,
                got: buffer.usage(),
            });
        }
        let (offset, bytes) = (slice.offset(), slice.size());
        let alignment = self.inner.traits.alignment;
        for (edge, value, alignment) in [("offset", offset, alignment), ("size", bytes, 4)] {
            if value % alignment != 0 {
                return Err(Error::BufferMisaligned {
                    what,
                    edge,
                    value,
                    alignment,
                });
            }
        }
        Ok(Operand {
            buffer,
            offset,
            bytes,
            dtype,
            what,
        })
    }

    fn same_size(&self, a: &Operand<'_>, b: &Operand<'_>) -> Result<()> {
        let mut lengths = [a, b].map(|o| o.elements() as usize);
        // An odd number of f32 beside 16 bits each, whose last has a word to itself.
        if a.dtype.bytes() != b.dtype.bytes() && lengths[0].abs_diff(lengths[1]) == 1 {
            let (wide, narrow) = if a.dtype == DType::F32 {
                (0, 1)
            } else {
                (1, 0)
            };
            if lengths[wide] % 2 == 1 && lengths[narrow] == lengths[wide] + 1 {
                lengths[narrow] -= 1;
            }
        }
        if lengths[1] < lengths[0] {
            return Err(Error::BufferTooSmall {
                what: b.what,
                needed: (lengths[0] * b.dtype.bytes()) as u64,
                got: b.bytes,
            });
        }
        same_length(b.what, lengths[0], lengths[1])
    }

    /// Records one dispatch.
    fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, work: &Work<'_>) {
        // A buffer has one usage in a dispatch: inputs beside a result are bound as it is.
        let one_buffer = work.bindings.iter().any(|(slot, binding)| {
            slot.is_written()
                && work
                    .bindings
                    .iter()
                    .any(|(other, input)| !other.is_written() && input.buffer == binding.buffer)
        });
        let key = PipelineKey {
            module: work.module,
            entry_point: work.entry_point,
            workgroup: work.workgroup,
            one_buffer,
        };
        // Looked up and let go of: what is not there is made outside of the lock.
        let known = lock(&self.inner.groups).get(&key, work);
        let recorded = known.unwrap_or_else(|| self.prepare(key, work));
        let [columns, rows] = self.inner.traits.fold(work.groups);
        #[cfg(test)]
        self.see(&key, work, [columns, rows]);
        pass.set_pipeline(&recorded.pipeline);
        pass.set_bind_group(0, &recorded.group, &[]);
        pass.dispatch_workgroups(columns, rows, 1);
        self.inner
            .dispatches_recorded
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Makes what a dispatch sets, and keeps it.
    fn prepare(&self, key: PipelineKey, work: &Work<'_>) -> Recorded {
        let Pipeline { pipeline, layout } = self.pipeline(key, || {
            let slots = work.bindings.iter().map(|(slot, _)| *slot);
            slots.chain([Slot::Uniforms]).collect()
        });
        let uniforms = self.uniforms(work.uniforms);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = work
            .bindings
            .iter()
            .map(|(slot, binding)| (*slot, wgpu::BindingResource::Buffer(binding.clone())))
            .chain([(Slot::Uniforms, uniforms.as_entire_binding())])
            .map(|(slot, resource)| wgpu::BindGroupEntry {
                binding: slot.number(),
                resource,
            })
            .collect();
        let group = self
            .inner
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("activations"),
                layout: &layout,
                entries: &entries,
            });
        let recorded = Recorded { pipeline, group };
        lock(&self.inner.groups).keep(key, work, recorded.clone());
        recorded
    }

    /// Lets go of all that is kept for when the same work is recorded again: bind groups, and with
    /// them the buffers that they keep alive; pipelines, which are compiled again when they are
    /// needed; constants; and memory for intermediate results.
    ///
    /// Up to 1024 bind groups and 256 pipelines are kept, the longest unused go first. Groups of
    /// buffers of the caller's own keep at most 256 MiB alive. Work that is recorded already is not
    /// touched.
    pub fn release(&self) {
        let inner = &self.inner;
        lock(&inner.compiled).clear();
        lock(&inner.groups).clear();
        lock(&inner.uniforms).clear();
        for kept in [&inner.scratch, &inner.terms, &inner.middle] {
            let buffer = lock(kept).take();
            if let Some(buffer) = buffer {
                self.forget(&buffer);
            }
        }
    }

    /// Takes a new buffer as one whose end [`Kernels::forget`] tells.
    pub(crate) fn own(&self, buffer: &wgpu::Buffer) {
        lock(&self.inner.groups).own(buffer);
    }

    /// Lets go of a buffer.
    pub(crate) fn forget(&self, buffer: &wgpu::Buffer) {
        lock(&self.inner.groups).forget(buffer);
    }

    /// A buffer that holds `words`, which never change.
    fn uniforms(&self, words: &[u32]) -> wgpu::Buffer {
        let mut cache = lock(&self.inner.uniforms);
        if let Some(buffer) = cache.get(words) {
            return buffer.clone();
        }
        // A bound, not a working set: recorded work keeps its own references.
        if cache.len() >= 4096 {
            cache.clear();
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE;
        let buffer = filled_buffer(&self.inner.device, usage, words);
        cache.insert(words.into(), buffer.clone());
        buffer
    }

    fn scratch(&self, bytes: u64) -> wgpu::Buffer {
        let mut scratch = lock(&self.inner.scratch);
        match &*scratch {
            Some(buffer) if buffer.size() >= bytes => buffer.clone(),
            _ => {
                let buffer = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("activations partial results"),
                    // All of it is bound.
                    size: bytes.next_power_of_two().min(self.inner.traits.max_binding),
                    usage: wgpu::BufferUsages::STORAGE,
                    mapped_at_creation: false,
                });
                self.own(&buffer);
                if let Some(smaller) = scratch.replace(buffer.clone()) {
                    self.forget(&smaller);
                }
                buffer
            }
        }
    }

    fn module(&self, key: ModuleKey, one_buffer: bool) -> wgpu::ShaderModule {
        let device = &self.inner.device;
        lock(&self.inner.compiled).module((key, one_buffer), |compiled| {
            let mut text = self.text(key.text(compiled));
            if one_buffer {
                text = shader::in_one_buffer(&text);
            }
            device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("activations"),
                source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
            })
        })
    }

    /// The pipeline of `key`; `slots` says what its entry point refers to.
    fn pipeline(&self, key: PipelineKey, slots: impl FnOnce() -> Vec<Slot>) -> Pipeline {
        let now = lock(&self.inner.groups).now();
        if let Some(pipeline) = lock(&self.inner.compiled).pipeline(&key, now) {
            return pipeline;
        }
        // Compiled outside the lock: others may record meanwhile.
        let pipeline = self.compile(key, &slots());
        let mut compiled = lock(&self.inner.compiled);
        compiled.keep(key, pipeline, &mut lock(&self.inner.groups))
    }

    fn compile(&self, key: PipelineKey, slots: &[Slot]) -> Pipeline {
        let device = &self.inner.device;
        self.inner
            .pipelines_compiled
            .fetch_add(1, Ordering::Relaxed);
        let entries: Vec<wgpu::BindGroupLayoutEntry> = slots
            .iter()
            .map(|&slot| wgpu::BindGroupLayoutEntry {
                binding: slot.number(),
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: if key.one_buffer {
                        slot.binding_type_in_one_buffer()
                    } else {
                        slot.binding_type()
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("activations"),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("activations"),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.entry_point),
            layout: Some(&pipeline_layout),
            module: &self.module(key.module, key.one_buffer),
            entry_point: Some(key.entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[("workgroup_size", f64::from(key.workgroup))],
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.inner.cache.as_ref(),
        });
        self.inner.compiled_more.store(true, Ordering::Release);
        Pipeline { pipeline, layout }
    }
}

fn holds(operand: &Operand<'_>, elements: usize) -> Result<()> {
    // More than there is of anything where the shape is no array's.
    let bytes = (elements as u64).saturating_mul(operand.dtype.bytes() as u64);
    let needed = bytes.div_ceil(4).saturating_mul(4);
    if operand.bytes < needed {
        return Err(Error::BufferTooSmall {
            what: operand.what,
            needed,
            got: operand.bytes,
        });
    }
    Ok(())
}

fn separate(a: &Operand<'_>, b: &Operand<'_>) -> Result<()> {
    let apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
    if a.buffer == b.buffer && !apart {
        return Err(Error::BufferOverlap {
            first: a.what,
            second: b.what,
        });
    }
    Ok(())
}

/// A buffer with these contents from its beginning.
pub(crate) fn filled_buffer(
    device: &wgpu::Device,
    usage: wgpu::BufferUsages,
    words: &[u32],
) -> wgpu::Buffer {
    let bytes = bytemuck::cast_slice(words);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("activations constants"),
        size: bytes.len() as u64,
        usage,
        mapped_at_creation: true,
    });
    // Fails only where the device is lost, and then nothing reads the buffer.
    if let Ok(mut view) = buffer.slice(..).get_mapped_range_mut() {
        view.copy_from_slice(bytes);
    }
    buffer.unmap();
    buffer
}

/// A poisoned cache is as good as any: nothing panics while it is half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
