//! What `cargo xtask isa` compiles with drivers that have no device: every pipeline as SPIR-V, and the dispatches
//! of a spread of calls as they are planned for hardware.

use crate::arrays::{Buffers, TypedSlice};
use crate::element::DType;
use crate::kernels::{Kernels, PipelineKey, Work, lock};
use crate::operation::{Direction, Given, Kind, Operation};
use crate::plan::{Traits, Walk};
use crate::{
    Activation, BufferArray, Chain, ChainRanges, Random, Result, SumShape, operation_for,
    operations, shader,
};
use naga::back::{pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ResourceBinding, ShaderStage};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A dispatch that was recorded.
pub(in crate::kernels) struct Seen {
    text: String,
    entry_point: &'static str,
    workgroup: u32,
    groups: [u32; 2],
    /// Each binding's number, in order, with its words where it is uniform.
    bindings: Vec<(u32, Option<Vec<u32>>)>,
}

impl Kernels {
    /// Keeps a dispatch where dispatches are kept.
    pub(in crate::kernels) fn see(&self, key: &PipelineKey, work: &Work<'_>, groups: [u32; 2]) {
        let mut seen = lock(&self.inner.seen);
        let Some(seen) = seen.as_mut() else { return };
        let mut text = key.module.text(&lock(&self.inner.compiled));
        if key.one_buffer {
            text = shader::in_one_buffer(&text);
        }
        let kept = lock(&self.inner.uniforms);
        let words_of = |buffer: &wgpu::Buffer| {
            let found = kept.iter().find(|(_, kept)| *kept == buffer);
            found.map(|(words, _)| words.to_vec())
        };
        let bindings = work.bindings.iter().map(|(slot, binding)| {
            let uniform = !slot.is_storage();
            let words = uniform.then(|| words_of(binding.buffer).unwrap_or_default());
            (slot.number(), words)
        });
        let own = super::Slot::Uniforms.number();
        let mut bindings: Vec<_> = bindings.collect();
        bindings.push((own, Some(work.uniforms.to_vec())));
        seen.push(Seen {
            text,
            entry_point: key.entry_point,
            workgroup: key.workgroup,
            groups,
            bindings,
        });
    }
}

/// The limits of a card, as its driver tells them.
fn limits() -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: u64::from(u32::MAX) & !3,
        max_buffer_size: u64::from(u32::MAX) & !3,
        max_compute_invocations_per_workgroup: 1024,
        max_compute_workgroup_size_x: 1024,
        max_compute_workgroup_storage_size: 65_536,
        max_storage_buffers_per_shader_stage: 16,
        min_storage_buffer_offset_alignment: 32,
        ..wgpu::Limits::default()
    }
}

/// Elements of an array: enough to fill a card.
const ELEMENTS: usize = 1 << 24;

/// Rows of every length that matters.
const ROWS: [usize; 13] = [
    8,
    16,
    36,
    64,
    100,
    128,
    256,
    1_000,
    1_024,
    4_096,
    30_522,
    65_536,
    1 << 20,
];

/// What is recorded of a call.
struct Recorded {
    /// What is computed, the shape, the type of numbers and the direction, with tabs between.
    name: String,
    elements: usize,
    /// What any implementation must read and write.
    bytes: usize,
    dispatches: Vec<Seen>,
}

struct Recorder {
    device: wgpu::Device,
    /// Encoders are made as long as there is one.
    _queue: wgpu::Queue,
    kernels: Kernels,
    buffers: Vec<wgpu::Buffer>,
    calls: Vec<Recorded>,
    refused: Vec<String>,
}

impl Recorder {
    fn new() -> Self {
        let (device, queue) = crate::noop::with_limits(limits());
        let traits = Traits {
            software: false,
            walk: Walk::of(false, false),
            ..Traits::of(&device)
        };
        let kernels = Kernels::with_traits(&device, traits);
        let buffer = |_| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * ELEMENTS as u64,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let buffers = (0..6).map(buffer).collect();
        Self {
            device,
            _queue: queue,
            kernels,
            buffers,
            calls: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn slice(&self, i: usize, bytes: usize) -> wgpu::BufferSlice<'_> {
        self.buffers[i].slice(..bytes.next_multiple_of(4) as u64)
    }

    /// Records a call.
    fn record(
        &mut self,
        name: &str,
        [elements, bytes]: [usize; 2],
        call: impl FnOnce(&Self, &mut wgpu::ComputePass<'_>) -> Result<()>,
    ) {
        *lock(&self.kernels.inner.seen) = Some(Vec::new());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let said = call(self, &mut encoder.begin_compute_pass(&Default::default()));
        let dispatches = lock(&self.kernels.inner.seen).take().unwrap();
        // Pipelines of other calls are other ones.
        self.kernels.release();
        match said {
            Ok(()) => self.calls.push(Recorded {
                name: name.to_owned(),
                elements,
                bytes,
                dispatches,
            }),
            Err(error) => self.refused.push(format!("{name}: {error}")),
        }
    }

    /// Records an operation of arrays of these numbers.
    fn operation(&mut self, text: &str, shape: &[usize], dtype: DType, direction: Direction) {
        let [elements, width] = [shape.iter().product(), dtype.bytes()];
        let single = operation_for(text, &[shape]);
        let alone = |operation: &dyn Operation| {
            let others = &operation.roles()[1..];
            others.iter().all(|role| role.optional)
        };
        let operation = match single {
            Ok(operation) if alone(&*operation) => Ok(operation),
            _ => operation_for(text, &[shape, second_shape(text, shape)]),
        };
        let name = format!("{text}\t{shape:?}\t{}\t{direction:?}", dtype.short_name());
        let sized = operation.and_then(|operation| {
            let sizes = sizes(self, &*operation, shape, dtype, direction)?;
            Ok((operation, sizes))
        });
        let (operation, [inputs, value, gradient]) = match sized {
            Ok(sized) => sized,
            Err(error) => return self.refused.push(format!("{name}: {error}")),
        };
        let bytes = match direction {
            Direction::Forward => inputs + value * width,
            _ => inputs + (value + gradient) * width,
        };
        self.record(&name, [elements, bytes], |recorder, pass| {
            let arrays = arrays(recorder, &*operation, shape, dtype);
            let out = |i, n| TypedSlice::new(recorder.slice(i, n * width), dtype);
            let kernels = &recorder.kernels;
            match direction {
                Direction::Forward => kernels.apply(pass, &*operation, &arrays[..], out(4, value)),
                Direction::FromOutput => kernels.grad_from_output(
                    pass,
                    &*operation,
                    &arrays[..1],
                    out(5, value),
                    out(4, gradient),
                ),
                _ => kernels.grad(
                    pass,
                    &*operation,
                    &arrays[..],
                    out(5, value),
                    out(4, gradient),
                ),
            }
        });
    }
}

/// The shape of a second array: of slopes there are as many as columns.
fn second_shape<'a>(text: &str, shape: &'a [usize]) -> &'a [usize] {
    if text == "prelu" { &shape[1..] } else { shape }
}

/// The arrays that an operation cannot do without.
fn arrays<'a>(
    recorder: &'a Recorder,
    operation: &dyn Operation,
    shape: &'a [usize],
    dtype: DType,
) -> Vec<BufferArray<'a>> {
    let roles = operation.roles().iter().filter(|role| !role.optional);
    let of_classes = ["cross_entropy", "nll_loss"].contains(&operation.name());
    let arrays = roles.enumerate().map(|(i, role)| match role.kind {
        Kind::Targets if of_classes && i == 1 => {
            let rows = &shape[..1];
            let classes = TypedSlice::classes(recorder.slice(i, rows[0] * 4));
            classes.mean_over(rows[0] as f64).of_shape(rows)
        }
        _ => {
            let shape = match i {
                0 => shape,
                _ => second_shape(operation.name(), shape),
            };
            let bytes = shape.iter().product::<usize>() * dtype.bytes();
            TypedSlice::new(recorder.slice(i, bytes), dtype).of_shape(shape)
        }
    });
    arrays.collect()
}

/// Bytes of the inputs, and elements of the value and of the gradient.
fn sizes(
    recorder: &Recorder,
    operation: &dyn Operation,
    shape: &[usize],
    dtype: DType,
    direction: Direction,
) -> Result<[usize; 3]> {
    let own = arrays(recorder, operation, shape, dtype);
    let inputs = own[..].arrays();
    let given = Given::new(operation, Direction::Forward, &inputs, None)?;
    let value = operation.infer(Direction::Forward, &given)?;
    let value: usize = value[0].iter().product();
    let mut bytes: usize = given
        .all()
        .flatten()
        .map(|view| view.len() * view.data.on_device().contents.bytes())
        .sum();
    let x: usize = shape.iter().product();
    if direction == Direction::FromOutput {
        bytes = x * dtype.bytes();
    }
    Ok([bytes, value, x])
}

/// A spread of calls that every family is in.
fn calls() -> Recorder {
    let mut recorder = Recorder::new();
    let both = [Direction::Forward, Direction::Backward];
    for &activation in Activation::ALL {
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            for direction in both {
                recorder.operation(activation.info().name, &[ELEMENTS], dtype, direction);
            }
        }
    }
    for function in ["softmax", "log_softmax", "logsumexp"] {
        for len in ROWS {
            let shape = [ELEMENTS / len, len];
            for direction in both {
                recorder.operation(function, &shape, DType::F32, direction);
            }
            if function == "softmax" {
                recorder.operation(function, &shape, DType::F32, Direction::FromOutput);
            }
        }
        for direction in both {
            recorder.operation(function, &[1, 1 << 20], DType::F32, direction);
        }
    }
    let rows = [1 << 14, 1024];
    let others = operations().filter(|info| {
        let known = info.name.parse::<Activation>().is_ok();
        // softmax2d is softmax, of other shapes.
        let elsewhere = ["softmax", "log_softmax", "logsumexp", "softmax2d"];
        !known && !elsewhere.contains(&info.name)
    });
    let mut texts: Vec<String> = others.map(|info| info.name.to_owned()).collect();
    for text in &mut texts {
        match text.as_str() {
            "maxout" => text.push_str("(pieces=4)"),
            "rrelu" => text.push_str("(seed=1)"),
            "gumbel_softmax" => text.push_str("(seed=1)"),
            _ => {}
        }
    }
    let more = [
        "softmax(soft_cap=30)",
        "softmax(scale=0.125, causal=upper_left)",
    ];
    texts.extend(more.map(str::to_owned));
    for text in texts {
        for direction in both.into_iter().chain([Direction::FromOutput]) {
            recorder.operation(&text, &rows, DType::F32, direction);
        }
    }
    let n = ELEMENTS;
    let named = |name: &str| format!("{name}\t{rows:?}\tf32\tForward");
    recorder.record(&named("uniform numbers"), [n, 4 * n], |r, pass| {
        r.kernels.uniform(pass, Random::new(1), r.slice(4, 4 * n))
    });
    recorder.record(&named("Gumbel noise"), [n, 4 * n], |r, pass| {
        r.kernels
            .gumbel_noise(pass, Random::new(1), r.slice(4, 4 * n))
    });
    for (name, axes) in [("sum of rows", vec![1]), ("sum of columns", vec![0])] {
        recorder.record(&named(name), [n, 4 * n], |r, pass| {
            let shape = SumShape::new(&rows, &axes)?;
            let sums = r.slice(4, 4 * shape.sums());
            r.kernels.sum(pass, &shape, r.slice(0, 4 * n), sums)
        });
    }
    let chains = [
        (
            "gelu | dropout",
            Chain::new().apply(Activation::Gelu).dropout(0.1, 1),
        ),
        (
            "softmax | dropout",
            Chain::new().softmax(-1).dropout(0.1, 1),
        ),
    ];
    for (name, chain) in chains {
        recorder.record(&named(name), [n, 8 * n], |r, pass| {
            let ranges = ChainRanges::default();
            r.kernels.chain(
                pass,
                &chain,
                &rows,
                r.slice(0, 4 * n),
                ranges,
                r.slice(4, 4 * n),
            )
        });
    }
    recorder
}

fn validated(text: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text).unwrap();
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    let info = validator.validate(&module).unwrap();
    (module, info)
}

/// An entry point as wgpu-hal 30 hands it to a Vulkan driver of a card that has robust buffers; bindings
/// are numbered in turn there.
fn handed(
    (module, info): &(Module, ModuleInfo),
    entry: &str,
    workgroup: u32,
    bindings: &[u32],
) -> Vec<u8> {
    let stage = (ShaderStage::Compute, entry);
    let name = "workgroup_size";
    let mut overrides = module.overrides.iter();
    let asks = overrides.any(|(_, asked)| asked.name.as_deref() == Some(name));
    let constants = asks.then(|| (name.to_owned(), f64::from(workgroup)));
    let constants = constants.into_iter().collect();
    let (module, info) = process_overrides(module, info, Some(stage), &constants).unwrap();
    let turns = bindings.iter().zip(0..).map(|(&binding, turn)| {
        let info = spv::BindingInfo {
            descriptor_set: 0,
            binding: turn,
            binding_array_size: None,
        };
        (ResourceBinding { group: 0, binding }, info)
    });
    let target = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        binding_map: turns.collect(),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Restrict,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        ..spv::Options::default()
    };
    let options = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: entry.to_owned(),
    };
    let words = spv::write_vec(&module, &info, &target, Some(&options)).unwrap();
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The pipelines that were written, each once.
struct Written {
    folder: PathBuf,
    index: String,
    numbers: HashMap<Vec<u8>, usize>,
}

impl Written {
    /// The number of a pipeline. A line of the index has it, the workgroup, the entry point, whether each binding
    /// is uniform, and a name.
    fn number(
        &mut self,
        module: &(Module, ModuleInfo),
        entry: &str,
        workgroup: u32,
        bindings: &[(u32, bool)],
        name: &str,
    ) -> usize {
        let numbers: Vec<u32> = bindings.iter().map(|&(number, _)| number).collect();
        let code = handed(module, entry, workgroup, &numbers);
        let next = self.numbers.len();
        *self.numbers.entry(code).or_insert_with_key(|code| {
            fs::write(self.folder.join(format!("{next:04}.spv")), code).unwrap();
            let uniform: String = bindings
                .iter()
                .map(|&(_, uniform)| if uniform { 'u' } else { 's' })
                .collect();
            let _ = writeln!(
                self.index,
                "{next:04}\t{workgroup}\t{entry}\t{uniform}\t{name}"
            );
            next
        })
    }
}

/// More than registers hold, in places that memory decides.
const SPILLING: &str = "
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var held: array<u32, 2048>;
    for (var i = 0u; i < 2048u; i++) {
        held[data[i] & 2047u] = data[id.x + i];
    }
    data[id.x] = held[data[id.x] & 2047u];
}
";

/// Writes what `cargo xtask isa` compiles into the folder that a variable names: pipelines as `NUMBER.spv`, of which
/// `pipelines.tsv` tells, and the dispatches of each call with the words of their uniforms, `calls.tsv`. One pipeline,
/// "must spill", is to be objected to.
#[test]
#[ignore = "writes what `cargo xtask isa` compiles"]
fn pipelines_for_drivers() {
    let folder = std::env::var_os("ACTIVATIONS_ISA").expect("ACTIVATIONS_ISA names a folder");
    let mut written = Written {
        folder: Path::new(&folder).to_owned(),
        index: String::new(),
        numbers: HashMap::new(),
    };
    let recorder = calls();
    // Nothing is left out but what has no gradient from its output.
    let refused = recorder.refused.iter();
    let refused: Vec<&String> = refused.filter(|r| !r.contains("FromOutput")).collect();
    assert_eq!(refused, [""; 0]);
    let mut lines = String::new();
    let mut modules: HashMap<String, (Module, ModuleInfo)> = HashMap::new();
    for call in recorder.calls {
        let _ = writeln!(
            lines,
            "call\t{}\t{}\t{}",
            call.elements, call.bytes, call.name
        );
        for dispatch in call.dispatches {
            let module = modules
                .entry(dispatch.text)
                .or_insert_with_key(|text| validated(text));
            let bindings = dispatch.bindings.iter();
            let bindings: Vec<_> = bindings.map(|(n, words)| (*n, words.is_some())).collect();
            let number = written.number(
                module,
                dispatch.entry_point,
                dispatch.workgroup,
                &bindings,
                &call.name.replace('\t', ", "),
            );
            let [x, y] = dispatch.groups;
            let _ = write!(lines, "dispatch\t{number:04}\t{x}\t{y}");
            for (turn, (_, words)) in dispatch.bindings.iter().enumerate() {
                if let Some(words) = words {
                    let words: Vec<String> = words.iter().map(u32::to_string).collect();
                    let _ = write!(lines, "\t{turn}={}", words.join(","));
                }
            }
            lines.push('\n');
        }
    }
    let probes = ("the self-check".to_owned(), shader::probes(128, 30));
    let spilling = ("must spill".to_owned(), SPILLING.to_owned());
    // With one buffer, only a binding's access differs.
    let others = shader::tests::all_modules().into_iter();
    let others = others.filter(|(name, _)| !name.ends_with("one buffer"));
    for (name, text) in others.chain([probes, spilling]) {
        let module = validated(&text);
        for entry in &module.0.entry_points {
            let bindings = shader::tests::used(&module.0, &module.1, &entry.name).into_iter();
            let bindings: Vec<_> = bindings.map(|(n, uniform, _)| (n, uniform)).collect();
            written.number(&module, &entry.name, 256, &bindings, &name);
        }
    }
    for (file, text) in [("pipelines.tsv", &written.index), ("calls.tsv", &lines)] {
        fs::write(written.folder.join(file), text).unwrap();
    }
}
