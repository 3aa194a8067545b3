//! The encoder level: records operations into the caller's compute pass on the caller's device
//! and buffers. It owns pipelines and small constant buffers; it never submits and never blocks.

use crate::axis::{AxisFunction, AxisShape};
use crate::catalogue::{Activation, Elementwise};
use crate::error::{Error, Result};
use crate::plan::{self, AxisChunk, AxisPlan, PARTIAL_BYTES, Strategy, Traits};
use crate::shader::{self, Lanes, Pass};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The kernels of this crate on one device.
///
/// Every method records into a compute pass that the caller opened, on ranges of the caller's
/// buffers. A range is a [`wgpu::BufferSlice`]: its offset must be a multiple of the device's
/// `min_storage_buffer_offset_alignment`, its size of 4, and its buffer must have the usage
/// `STORAGE`. Ranges larger than one binding are cut. Errors are found before anything is
/// recorded.
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
#[derive(Clone, Debug)]
pub struct Kernels {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    traits: Traits,
    modules: Mutex<HashMap<(ModuleKey, bool), wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, Pipeline>>,
    /// Constant buffers by their contents: they never change, so that recorded work may share
    /// them in any order, and a repeated operation allocates none.
    uniforms: Mutex<HashMap<UniformWords, wgpu::Buffer>>,
    /// Partial results of split rows. Work of one queue runs in order and each operation writes
    /// before it reads, so that all of them share it.
    scratch: Mutex<Option<wgpu::Buffer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ModuleKey {
    Elementwise(Activation, Lanes),
    Axis(AxisFunction, Pass),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PipelineKey {
    module: ModuleKey,
    pass: Pass,
    entry_point: &'static str,
    workgroup: u32,
    /// Whether an input is a range of the result's buffer.
    one_buffer: bool,
}

/// A pipeline and the bindings of its one group, in order.
#[derive(Clone, Debug)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    slots: Arc<[Slot]>,
}

/// A binding of the shader files; the number is that of its `@binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    X = 0,
    Dy = 1,
    Out = 2,
    Uniforms = 3,
    Partials = 4,
}

impl Slot {
    pub(crate) fn binding_type(self) -> wgpu::BufferBindingType {
        match self {
            Self::X | Self::Dy => wgpu::BufferBindingType::Storage { read_only: true },
            Self::Out | Self::Partials => wgpu::BufferBindingType::Storage { read_only: false },
            Self::Uniforms => wgpu::BufferBindingType::Uniform,
        }
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

/// The bindings of an element-wise entry point.
pub(crate) fn elementwise_slots(pass: Pass) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(4);
    if pass.binds_x() {
        slots.push(Slot::X);
    }
    if pass.binds_dy() {
        slots.push(Slot::Dy);
    }
    slots.extend([Slot::Out, Slot::Uniforms]);
    slots
}

/// The bindings of a softmax entry point.
pub(crate) fn axis_slots(function: AxisFunction, pass: Pass, entry_point: &str) -> Vec<Slot> {
    let mut slots = elementwise_slots(pass);
    let reduced = function.reduces() && !pass.is_backward();
    match entry_point {
        "split_combine" => {
            slots = if reduced { vec![Slot::Out] } else { Vec::new() };
            slots.extend([Slot::Uniforms, Slot::Partials]);
        }
        "split_partial" => {
            // The first pass writes partial results alone, but reads in place from `out`; the
            // gradient of logsumexp is not needed yet.
            let uses_out = pass == Pass::ForwardInPlace
                || (pass == Pass::BackwardInPlace && !function.reduces());
            slots.retain(|slot| match slot {
                Slot::Out => uses_out,
                Slot::Dy => !function.reduces(),
                _ => true,
            });
            slots.push(Slot::Partials);
        }
        "split_finish" => slots.push(Slot::Partials),
        _ => {}
    }
    slots
}

/// The longest uniform struct of the shader files, in words.
const UNIFORM_WORDS: usize = 16;
type UniformWords = [u32; UNIFORM_WORDS];

/// `Uniforms` of elementwise.wgsl.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ElementwiseUniforms {
    pub count: u32,
    pub first: u32,
    pub parameters: [f32; crate::catalogue::MAX_PARAMETERS],
    pub zero: u32,
    pub padding: [u32; 3],
}

/// `Uniforms` of softmax.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct AxisUniforms {
    pub len: u32,
    pub inner: u32,
    pub rows: u32,
    pub x_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub lanes: u32,
    pub partials: u32,
    pub partial_first: u32,
    pub row_first: u32,
    pub segment: u32,
    pub sign: f32,
    pub zero: u32,
    pub padding: [u32; 3],
}

/// A range of a buffer, checked.
#[derive(Clone, Copy)]
struct Operand<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    bytes: u64,
    what: &'static str,
}

impl<'a> Operand<'a> {
    fn elements(&self) -> u64 {
        self.bytes / 4
    }

    /// Elements [start, start + len) bound from an offset that the device takes, and how many
    /// elements lie in the binding before them.
    fn window(&self, start: u64, len: u64, traits: &Traits) -> (wgpu::BindingResource<'a>, u32) {
        let begin = self.offset + start * 4;
        let aligned = begin / traits.alignment * traits.alignment;
        let binding = wgpu::BufferBinding {
            buffer: self.buffer,
            offset: aligned,
            size: wgpu::BufferSize::new(begin - aligned + len * 4),
        };
        // Less than one alignment, which is a u32.
        (
            wgpu::BindingResource::Buffer(binding),
            ((begin - aligned) / 4) as u32,
        )
    }
}

impl Kernels {
    /// Kernels for `device`. Compiles nothing yet: a pipeline is made when it is first needed
    /// and kept.
    pub fn new(device: &wgpu::Device) -> Self {
        Self::with_traits(device, Traits::of(device))
    }

    fn with_traits(device: &wgpu::Device, traits: Traits) -> Self {
        Self {
            inner: Arc::new(Inner {
                device: device.clone(),
                traits,
                modules: Mutex::default(),
                pipelines: Mutex::default(),
                uniforms: Mutex::default(),
                scratch: Mutex::default(),
            }),
        }
    }

    /// Records y = f(x).
    ///
    /// # Errors
    /// A buffer without `STORAGE`, a misaligned or overlapping range, ranges of unequal length.
    pub fn apply(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        self.same_size(&x, &y)?;
        separate(&x, &y)?;
        self.elementwise(pass, f.into(), Pass::Forward, Some(x), None, y);
        Ok(())
    }

    /// Records x = f(x).
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn apply_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        self.elementwise(pass, f.into(), Pass::ForwardInPlace, None, None, x);
        Ok(())
    }

    /// Records dx = dy · f'(x), from the input x.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grad(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        self.same_size(&x, &dy)?;
        self.same_size(&x, &dx)?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        self.elementwise(pass, f.into(), Pass::Backward, Some(x), Some(dy), dx);
        Ok(())
    }

    /// Records dy = dy · f'(x).
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grad_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        self.same_size(&x, &dy)?;
        separate(&x, &dy)?;
        self.elementwise(pass, f.into(), Pass::BackwardInPlace, Some(x), None, dy);
        Ok(())
    }

    /// Records y = `function` of every row of x, which is seen as `shape`.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::AxisStepTooLarge`].
    pub fn apply_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&x, shape.elements())?;
        holds(&y, shape.output_elements(function))?;
        separate(&x, &y)?;
        self.axis(pass, function, shape, Pass::Forward, Some(x), None, y)
    }

    /// Records x = `function` of every row of x; not for a function that reduces.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`]; [`Error::LengthMismatch`] where the function reduces.
    pub fn apply_axis_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        holds(&x, shape.elements())?;
        in_place_length(function, shape)?;
        self.axis(pass, function, shape, Pass::ForwardInPlace, None, None, x)
    }

    /// Records dx = the gradient of `function` by x, from the input x; dy has the shape of the
    /// function's output.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`].
    pub fn grad_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.output_elements(function))?;
        holds(&dx, shape.elements())?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        self.axis(pass, function, shape, Pass::Backward, Some(x), Some(dy), dx)
    }

    /// Records dx = the gradient of softmax or softmin by its input, from its output y.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`]; [`Error::NotFromOutput`] for the logarithmic functions, whose
    /// rounded output does not hold the softmax to full accuracy.
    pub fn grad_axis_from_output(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        y: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        from_output(function)?;
        let y = self.operand(y, "output")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        for operand in [&y, &dy, &dx] {
            holds(operand, shape.elements())?;
        }
        separate(&y, &dx)?;
        separate(&dy, &dx)?;
        self.axis(
            pass,
            function,
            shape,
            Pass::FromOutput,
            Some(y),
            Some(dy),
            dx,
        )
    }

    /// Records dy = the gradient of `function` by x; not for a function that reduces.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis_in_place`].
    pub fn grad_axis_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.elements())?;
        in_place_length(function, shape)?;
        separate(&x, &dy)?;
        self.axis(
            pass,
            function,
            shape,
            Pass::BackwardInPlace,
            Some(x),
            None,
            dy,
        )
    }

    /// The strategy that is planned for `shape`, in words: for benchmarks and bug reports.
    pub fn describe_axis(&self, shape: &AxisShape) -> String {
        match plan::axis(shape, &self.inner.traits) {
            Some(plan) => format!(
                "{:?}, workgroups of {}, {} chunks",
                plan.strategy,
                plan.workgroup,
                plan.chunks.len()
            ),
            None => "host tiles".to_owned(),
        }
    }

    fn operand<'a>(&self, slice: wgpu::BufferSlice<'a>, what: &'static str) -> Result<Operand<'a>> {
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
            what,
        })
    }

    fn same_size(&self, a: &Operand<'_>, b: &Operand<'_>) -> Result<()> {
        if b.bytes < a.bytes {
            return Err(Error::BufferTooSmall {
                what: b.what,
                needed: a.bytes,
                got: b.bytes,
            });
        }
        let lengths = [a, b].map(|o| o.elements() as usize);
        crate::cpu::same_length(b.what, lengths[0], lengths[1])
    }

    fn elementwise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        kind: Pass,
        x: Option<Operand<'_>>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) {
        let traits = &self.inner.traits;
        for chunk in plan::chunks(out.elements(), traits) {
            let tail = chunk.len % 4;
            for (lanes, first, count) in [
                (Lanes::Four, 0, chunk.len - tail),
                (Lanes::One, chunk.len - tail, tail),
            ] {
                if count == 0 {
                    continue;
                }
                let groups =
                    count.div_ceil(lanes.count() * u64::from(traits.elementwise_workgroup()));
                // A chunk is a binding, whose elements a u32 counts.
                let uniforms = self.uniforms(&ElementwiseUniforms {
                    count: (count / lanes.count()) as u32,
                    first: (first / lanes.count()) as u32,
                    parameters: f.packed(),
                    zero: 0,
                    padding: [0; 3],
                });
                let pipeline = self.pipeline(PipelineKey {
                    module: ModuleKey::Elementwise(f.activation(), lanes),
                    pass: kind,
                    entry_point: kind.entry_point(),
                    workgroup: traits.elementwise_workgroup(),
                    one_buffer: in_one_buffer([x, dy], &out),
                });
                let [x, dy, out] = [x, dy, Some(out)]
                    .map(|operand| operand.map(|o| o.window(chunk.start, chunk.len, traits).0));
                let resources = [x, dy, out, Some(uniforms.as_entire_binding()), None];
                self.dispatch(pass, &pipeline, resources, groups);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place behind six public calls"
    )]
    fn axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        kind: Pass,
        x: Option<Operand<'_>>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) -> Result<()> {
        if shape.elements() == 0 && !(function.reduces() && !kind.is_backward() && shape.rows() > 0)
        {
            return Ok(());
        }
        let plan = plan::axis(shape, &self.inner.traits).ok_or(Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: self.inner.traits.max_binding,
        })?;
        let recorder = AxisRecorder {
            kernels: self,
            function,
            shape,
            kind,
            plan: &plan,
            x,
            dy,
            out,
        };
        recorder.record(pass);
        Ok(())
    }

    fn dispatch(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        pipeline: &Pipeline,
        resources: [Option<wgpu::BindingResource<'_>>; 5],
        groups: u64,
    ) {
        let entries: Vec<wgpu::BindGroupEntry<'_>> = resources
            .into_iter()
            .enumerate()
            .filter(|(binding, _)| pipeline.slots.iter().any(|&slot| slot as usize == *binding))
            .filter_map(|(binding, resource)| {
                Some(wgpu::BindGroupEntry {
                    // One of five.
                    binding: binding as u32,
                    resource: resource?,
                })
            })
            .collect();
        let group = self
            .inner
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("activations"),
                layout: &pipeline.layout,
                entries: &entries,
            });
        let [columns, rows] = self.inner.traits.fold(groups);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(columns, rows, 1);
    }

    fn uniforms<T: bytemuck::Pod>(&self, value: &T) -> wgpu::Buffer {
        let bytes = bytemuck::bytes_of(value);
        let mut words: UniformWords = [0; UNIFORM_WORDS];
        bytemuck::bytes_of_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        let mut cache = lock(&self.inner.uniforms);
        // A bound, not a working set: recorded work keeps its own references.
        if cache.len() >= 4096 {
            cache.clear();
        }
        let device = &self.inner.device;
        cache
            .entry(words)
            .or_insert_with(|| constant_buffer(device, bytemuck::bytes_of(&words)))
            .clone()
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
                scratch.insert(buffer).clone()
            }
        }
    }

    fn module(&self, key: ModuleKey, one_buffer: bool) -> wgpu::ShaderModule {
        let mut modules = lock(&self.inner.modules);
        let device = &self.inner.device;
        modules
            .entry((key, one_buffer))
            .or_insert_with(|| {
                let mut text = match key {
                    ModuleKey::Elementwise(activation, lanes) => {
                        shader::elementwise(activation, lanes)
                    }
                    ModuleKey::Axis(function, pass) => shader::softmax(function, pass),
                };
                if one_buffer {
                    text = shader::in_one_buffer(&text);
                }
                device.create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some("activations"),
                    source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
                })
            })
            .clone()
    }

    fn pipeline(&self, key: PipelineKey) -> Pipeline {
        if let Some(pipeline) = lock(&self.inner.pipelines).get(&key) {
            return pipeline.clone();
        }
        // Compiled outside the lock: others may record meanwhile.
        let pipeline = self.compile(key);
        lock(&self.inner.pipelines)
            .entry(key)
            .or_insert(pipeline)
            .clone()
    }

    fn compile(&self, key: PipelineKey) -> Pipeline {
        let device = &self.inner.device;
        let slots = match key.module {
            ModuleKey::Elementwise(..) => elementwise_slots(key.pass),
            ModuleKey::Axis(function, _) => axis_slots(function, key.pass, key.entry_point),
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = slots
            .iter()
            .map(|&slot| wgpu::BindGroupLayoutEntry {
                binding: slot as u32,
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
            cache: None,
        });
        Pipeline {
            pipeline,
            layout,
            slots: slots.into(),
        }
    }
}

/// One axis operation while it is recorded.
struct AxisRecorder<'a> {
    kernels: &'a Kernels,
    function: AxisFunction,
    shape: &'a AxisShape,
    kind: Pass,
    plan: &'a AxisPlan,
    x: Option<Operand<'a>>,
    dy: Option<Operand<'a>>,
    out: Operand<'a>,
}

impl AxisRecorder<'_> {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        match self.plan.strategy {
            Strategy::RowPerInvocation => self.rows(pass, "row_per_invocation", 1),
            Strategy::RowPerWorkgroup => {
                self.rows(pass, "row_per_workgroup", u64::from(self.plan.workgroup));
            }
            Strategy::Split { lanes, segment } => {
                // Rows that are cut share one set of partial results, a block of rows at a time.
                if self.plan.chunks_per_row > 1 {
                    for block in self.plan.chunks.chunks(self.plan.chunks_per_row as usize) {
                        self.split(pass, block, (lanes, segment), block[0].first_outer, 1);
                    }
                } else {
                    let outer = self.shape.outer as u64;
                    self.split(pass, &self.plan.chunks, (lanes, segment), 0, outer);
                }
            }
        }
    }

    fn rows(&self, pass: &mut wgpu::ComputePass<'_>, entry_point: &'static str, per_row: u64) {
        for chunk in &self.plan.chunks {
            let rows = chunk.outer * self.shape.inner as u64;
            let groups = (rows * per_row).div_ceil(u64::from(self.plan.workgroup));
            self.dispatch(
                pass,
                entry_point,
                chunk,
                AxisUniforms::default(),
                None,
                groups,
            );
        }
    }

    /// Partial results of all chunks, their combination, and the results of all chunks; the
    /// rows are those of `outer` blocks from `first_outer` on.
    fn split(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chunks: &[AxisChunk],
        (lanes, segment): (u32, u32),
        first_outer: u64,
        outer: u64,
    ) {
        let lanes = u64::from(lanes);
        let inner = self.shape.inner as u64;
        let rows = outer * inner;
        let partials = lanes * self.plan.chunks_per_row;
        let scratch = self.kernels.scratch(rows * (partials + 1) * PARTIAL_BYTES);
        let workgroup = u64::from(self.plan.workgroup);
        // The plan bounds rows and partial results by what a binding holds.
        let of = |i: usize, chunk: &AxisChunk| AxisUniforms {
            lanes: lanes as u32,
            partials: partials as u32,
            partial_first: (i as u64 % self.plan.chunks_per_row * lanes) as u32,
            row_first: ((chunk.first_outer - first_outer) * inner) as u32,
            segment,
            ..AxisUniforms::default()
        };
        let per_lane = |chunk: &AxisChunk| (chunk.outer * inner * lanes).div_ceil(workgroup);
        for (i, chunk) in chunks.iter().enumerate() {
            let groups = per_lane(chunk);
            self.dispatch(
                pass,
                "split_partial",
                chunk,
                of(i, chunk),
                Some(&scratch),
                groups,
            );
        }
        let all = AxisChunk {
            first_outer,
            outer,
            first_step: 0,
            steps: self.shape.len as u64,
        };
        self.dispatch(
            pass,
            "split_combine",
            &all,
            of(0, &all),
            Some(&scratch),
            rows,
        );
        if self.function.reduces() && !self.kind.is_backward() {
            return;
        }
        for (i, chunk) in chunks.iter().enumerate() {
            let groups = per_lane(chunk);
            self.dispatch(
                pass,
                "split_finish",
                chunk,
                of(i, chunk),
                Some(&scratch),
                groups,
            );
        }
    }

    fn dispatch(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        entry_point: &'static str,
        chunk: &AxisChunk,
        mut uniforms: AxisUniforms,
        scratch: Option<&wgpu::Buffer>,
        groups: u64,
    ) {
        let traits = &self.kernels.inner.traits;
        let (len, inner) = (self.shape.len as u64, self.shape.inner as u64);
        let elements = chunk.outer * chunk.steps * inner;
        let start = (chunk.first_outer * len + chunk.first_step) * inner;
        let (row_start, rows) = (chunk.first_outer * inner, chunk.outer * inner);
        let reduced = self.function.reduces();
        // The combination reads no array, and writes one value a row where the function reduces.
        let (out_range, dy_range) = match (reduced, self.kind.is_backward()) {
            (true, false) => ((row_start, rows), (0, 0)),
            (true, true) => ((start, elements), (row_start, rows)),
            (false, _) => ((start, elements), (start, elements)),
        };
        let slots = axis_slots(self.function, self.kind, entry_point);
        let [(x, x_first), (dy, dy_first), (out, out_first)] = [
            // Rows of no elements read none, but a binding cannot be empty.
            (Slot::X, self.x, (start, elements.max(1))),
            (Slot::Dy, self.dy, dy_range),
            (Slot::Out, Some(self.out), out_range),
        ]
        .map(|(slot, operand, (start, len))| {
            let bound = operand.filter(|_| slots.contains(&slot));
            bound.map(|o| o.window(start, len, traits)).unzip()
        });
        // In place, what is read lies where the result goes.
        let out_first = out_first.unwrap_or(0);
        uniforms.len = chunk.steps as u32;
        uniforms.inner = inner as u32;
        uniforms.rows = rows as u32;
        uniforms.x_first = x_first.unwrap_or(out_first);
        uniforms.dy_first = dy_first.unwrap_or(out_first);
        uniforms.out_first = out_first;
        uniforms.sign = if self.function == AxisFunction::Softmin {
            -1.0
        } else {
            1.0
        };
        let uniforms = self.kernels.uniforms(&uniforms);
        let pipeline = self.kernels.pipeline(PipelineKey {
            module: ModuleKey::Axis(kernel_of(self.function), self.kind),
            pass: self.kind,
            entry_point,
            workgroup: self.plan.workgroup,
            one_buffer: in_one_buffer([self.x, self.dy], &self.out),
        });
        let resources = [
            x,
            dy,
            out,
            Some(uniforms.as_entire_binding()),
            scratch.map(wgpu::Buffer::as_entire_binding),
        ];
        self.kernels.dispatch(pass, &pipeline, resources, groups);
    }
}

/// Softmin is softmax's kernel with a sign.
fn kernel_of(function: AxisFunction) -> AxisFunction {
    match function {
        AxisFunction::Softmin => AxisFunction::Softmax,
        other => other,
    }
}

/// An error where `function`'s gradient is not exact from its output.
pub(crate) fn from_output(function: AxisFunction) -> Result<()> {
    match function {
        AxisFunction::Softmax | AxisFunction::Softmin => Ok(()),
        AxisFunction::LogSoftmax | AxisFunction::LogSumExp => Err(Error::NotFromOutput {
            function: function.name(),
        }),
    }
}

fn holds(operand: &Operand<'_>, elements: usize) -> Result<()> {
    let needed = elements as u64 * 4;
    if operand.bytes < needed {
        return Err(Error::BufferTooSmall {
            what: operand.what,
            needed,
            got: operand.bytes,
        });
    }
    Ok(())
}

fn in_place_length(function: AxisFunction, shape: &AxisShape) -> Result<()> {
    if function.reduces() {
        return Err(Error::LengthMismatch {
            what: "the in-place output",
            expected: shape.output_elements(function),
            got: shape.elements(),
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

/// Whether an input is a range of the result's buffer.
fn in_one_buffer(inputs: [Option<Operand<'_>>; 2], out: &Operand<'_>) -> bool {
    inputs
        .iter()
        .flatten()
        .any(|input| input.buffer == out.buffer)
}

fn constant_buffer(device: &wgpu::Device, bytes: &[u8]) -> wgpu::Buffer {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("activations uniforms"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::UNIFORM,
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
