//! What is left of the bounds on a device that divides as badly as WGSL lets it. Software adapters
//! divide exactly, so the two functions of math.wgsl that divide are replaced by worse ones: the
//! quotient 2 ULP off, the square root 3, up, down, or by a hash of the operands.

use crate::common::gpu;
use bytemuck::cast_slice;
use std::collections::BTreeSet;
use std::sync::mpsc;
use wgpu_activations::shader::{ACTIVATIONS, MATH, derivative_name, function_name};
use wgpu_activations::wgpu::{self, util::DeviceExt};
use wgpu_activations::{Activation, Elementwise, Gpu, check, reference};

const QUOTIENT: &str = "return a / b;";
const ROOT: &str = "return sqrt(x);";

/// Both files without their comments.
fn text() -> String {
    let lines = MATH.lines().chain(ACTIVATIONS.lines());
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// The files with a quotient and a square root that are off by `direction` (WGSL of `h`, a hash of
/// the operands) times 2 and 3 times `size` ULP.
fn rough(direction: &str, size: u32) -> String {
    let moved = |exact: &str, other: &str, ulps: u32| {
        format!(
            "return moved({exact}, direction({other}) * {});",
            ulps * size
        )
    };
    let helpers = format!(
        "fn moved(x: f32, ulps: i32) -> f32 {{
            let bits = bitcast<u32>(x);
            let size = bits & 0x7fffffffu;
            let inside = size > 0x00900000u && size < 0x7f700000u;
            return select(x, bitcast<f32>(bits + bitcast<u32>(ulps)), inside);
        }}
        fn direction(a: f32, b: f32) -> i32 {{
            var h = (bitcast<u32>(a) * 2654435761u) ^ (bitcast<u32>(b) * 2246822519u);
            h = (h ^ (h >> 15u)) * 2654435761u;
            return {direction};
        }}\n"
    );
    let text = text();
    assert_eq!(
        (text.matches(QUOTIENT).count(), text.matches(ROOT).count()),
        (1, 1)
    );
    let text = text.replace(QUOTIENT, &moved("a / b", "a, b", 2));
    helpers + &text.replace(ROOT, &moved("sqrt(x)", "x, 1.0", 3))
}

/// The names of the functions that divide or take a root, directly or through others.
fn dividing() -> BTreeSet<String> {
    let text = text();
    let functions: Vec<(&str, &str)> = text
        .split("\nfn ")
        .skip(1)
        .filter_map(|function| function.split_once('('))
        .collect();
    let mut found = BTreeSet::from(["ratio".to_owned(), "square_root".to_owned()]);
    loop {
        let calls = |body: &str| {
            let mut words = body.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| found.contains(word))
        };
        let more: BTreeSet<String> = functions
            .iter()
            .filter(|(_, body)| calls(body))
            .map(|(name, _)| (*name).to_owned())
            .chain(found.iter().cloned())
            .collect();
        if more.len() == found.len() {
            return found;
        }
        found = more;
    }
}

/// f(x) and f'(x) by a module over `text`.
fn run(gpu: &Gpu, text: &str, f: &Elementwise, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    const GROUP: usize = 64;
    let arguments: String = (0..f.parameters().len())
        .map(|i| format!(", p[{i}]"))
        .collect();
    let (forward, backward) = (
        function_name(f.activation()),
        derivative_name(f.activation()),
    );
    let source = format!(
        "{text}
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read> p: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @group(0) @binding(3) var<storage, read_write> dx: array<f32>;
        @compute @workgroup_size({GROUP})
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            // The last parameter is a zero that no compiler knows.
            opaque_zero = bitcast<u32>(p[arrayLength(&p) - 1u]);
            if id.x < arrayLength(&x) {{
                y[id.x] = {forward}(x[id.x]{arguments});
                dx[id.x] = {backward}(x[id.x]{arguments});
            }}
        }}"
    );
    let (device, queue) = (gpu.device(), gpu.queue());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let input = |values: &[f32]| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents: cast_slice(values),
            usage: wgpu::BufferUsages::STORAGE,
        })
    };
    let output = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size_of_val(x) as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let mut parameters = f.parameters().to_vec();
    parameters.push(0.0);
    let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let buffers = [
        input(x),
        input(&parameters),
        output(storage),
        output(storage),
    ];
    let entries: Vec<_> = (0..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(x.len().div_ceil(GROUP) as u32, 1, 1);
    drop(pass);
    let readback = [2, 3].map(|i: usize| {
        let to = output(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        encoder.copy_buffer_to_buffer(&buffers[i], 0, &to, 0, to.size());
        to
    });
    queue.submit([encoder.finish()]);
    let (sender, receiver) = mpsc::channel();
    for buffer in &readback {
        let sender = sender.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver outlives both.
            let _ = sender.send(result);
        });
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let [y, dx] = readback.map(|buffer| {
        receiver.recv().unwrap().unwrap();
        cast_slice(&buffer.get_mapped_range(..).unwrap()).to_vec()
    });
    (y, dx)
}

/// What is outside the bounds of `f`, the worst of each direction.
fn breaches(gpu: &Gpu, text: &str, f: &Elementwise) -> Vec<String> {
    let all = check::inputs(f);
    // A share of the many, and all that are there for a reason.
    let (many, few) = all.split_at(all.len().saturating_sub(3000));
    let x: Vec<f32> = many.iter().step_by(11).chain(few).copied().collect();
    let x: Vec<f32> = x
        .into_iter()
        .filter(|x| !x.is_nan() && !x.is_subnormal())
        .collect();
    let (y, dx) = run(gpu, text, f, &x);
    let bounds = f.activation().info().bounds;
    let mut worst = [(0.0, 0.0, 0.0, "forward"), (0.0, 0.0, 0.0, "backward")];
    for (i, &x) in x.iter().enumerate() {
        let wide = f64::from(x);
        let forward = reference::ulp_error(y[i], reference::forward(f, wide), 0.0);
        let largest = reference::largest_term(f, wide);
        let backward = reference::ulp_error(dx[i], reference::backward(f, wide), largest);
        for (worst, (ulp, got)) in worst.iter_mut().zip([(forward, y[i]), (backward, dx[i])]) {
            if ulp > worst.0 {
                *worst = (ulp, x, got, worst.3);
            }
        }
    }
    let limits = [bounds.forward, bounds.backward].map(f64::from);
    let pairs = worst
        .iter()
        .zip(limits)
        .filter(|(worst, limit)| worst.0 > *limit);
    pairs
        .map(|((ulp, x, got, pass), _)| format!("{f} {pass} at {x:e}: {got:e}, {ulp:.2} ULP"))
        .collect()
}

/// The functions that divide, with their defaults and some other parameters.
fn functions() -> Vec<Elementwise> {
    let dividing = dividing();
    let divides = |&activation: &Activation| {
        dividing.contains(&function_name(activation))
            || dividing.contains(&derivative_name(activation))
    };
    let activations = Activation::ALL.iter().copied().filter(divides);
    activations
        .flat_map(|activation| check::parameter_sets(activation).into_iter().step_by(2))
        .collect()
}

#[test]
fn only_two_functions_divide() {
    let text = text();
    assert_eq!(
        text.matches('/').count(),
        1,
        "a quotient besides that of `ratio`"
    );
    let roots = text.matches("sqrt(").count() + text.matches("inverseSqrt").count();
    assert_eq!(roots, 1, "a root besides that of `square_root`");
    let dividing = dividing();
    for name in [
        "silu",
        "gelu_grad",
        "tanh_",
        "softplus",
        "squareplus",
        "celu",
    ] {
        assert!(dividing.contains(name), "{name}");
    }
    for name in ["relu", "exp_", "erf_grad", "elu"] {
        assert!(!dividing.contains(name), "{name}");
    }
}

#[test]
fn the_bounds_hold_with_the_worst_quotients() {
    let Some(gpu) = gpu() else { return };
    let functions = functions();
    assert!(functions.len() > 20, "{}", functions.len());
    let mut found = Vec::new();
    for direction in ["1", "-1", "select(-1, 1, (h >> 31u) == 1u)"] {
        let text = rough(direction, 1);
        for f in &functions {
            let wrong = breaches(&gpu, &text, f);
            found.extend(
                wrong
                    .into_iter()
                    .map(|wrong| format!("{direction}: {wrong}")),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The harness itself: what no residual step makes good is seen.
#[test]
fn quotients_past_repair_are_seen() {
    let Some(gpu) = gpu() else { return };
    let text = rough("1", 1 << 16);
    for activation in [Activation::Silu, Activation::Gelu, Activation::Mish] {
        assert!(
            !breaches(&gpu, &text, &activation.into()).is_empty(),
            "{activation}"
        );
    }
}
