//! Activations inside a caller's own shader.

mod common;

use common::backends;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::HashSet;
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu_activations::reference::{backward, forward, largest_term, ulp_error};
use wgpu_activations::shader::{ACTIVATIONS, MATH, fused};
use wgpu_activations::{Activation, Backend, Elementwise, Error, wgpu};

fn valid(text: &str) -> naga::Module {
    let module = wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    validator.validate(&module).unwrap();
    module
}

/// The names that a module declares.
fn declared(module: &naga::Module) -> Vec<String> {
    let functions = module.functions.iter().map(|(_, f)| f.name.clone());
    let constants = module.constants.iter().map(|(_, c)| c.name.clone());
    let variables = module.global_variables.iter().map(|(_, v)| v.name.clone());
    let types = module.types.iter().map(|(_, t)| t.name.clone());
    let all = functions.chain(constants).chain(variables).chain(types);
    all.flatten().collect()
}

#[test]
fn what_is_needed_is_there_and_nothing_else() {
    for &activation in Activation::ALL {
        let text = fused([("mine", activation)]).unwrap();
        let module = valid(&text);
        for name in declared(&module) {
            if name == "mine" || name == "mine_grad" {
                continue;
            }
            assert!(name.starts_with("activations_"), "{activation}: {name}");
            // Declared once, and used.
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let count = words.filter(|word| *word == name).count();
            let zero = name == "activations_opaque_zero";
            assert!(count > 1 || zero, "{activation}: {name} is not used");
        }
        assert!(
            text.contains("var<private> activations_opaque_zero: u32;"),
            "{activation}"
        );
    }
    let lines = |f: Activation| fused([("f", f)]).unwrap().lines().count();
    assert!(lines(Activation::Relu) <= 20, "{}", lines(Activation::Relu));
    assert!(
        lines(Activation::Gelu) <= 200,
        "{}",
        lines(Activation::Gelu)
    );
}

/// One call for several, beside functions of the caller's with the library's names.
#[test]
fn a_callers_names_are_free() {
    let leaky = Activation::LeakyRelu
        .with([("negative_slope", 0.2)])
        .unwrap();
    let all = Activation::ALL.iter().map(|&f| (f.info().name, f));
    let all = all.filter(|(name, _)| !naga::keywords::wgsl::BUILTIN_IDENTIFIERS.contains(name));
    let mine = all.map(|(name, f)| (name, Elementwise::from(f)));
    let text = fused(mine.chain([("hidden", leaky)])).unwrap();
    let module = valid(&text);
    let names: HashSet<String> = declared(&module).into_iter().collect();
    let library = valid(&format!("{MATH}{ACTIVATIONS}"));
    let own: String = declared(&library)
        .into_iter()
        .filter(|name| !names.contains(name))
        .map(|name| format!("fn {name}(x: f32) -> f32 {{ return x; }}\n"))
        .collect();
    assert!(own.contains("fn exp_sum(") && !own.contains("fn gelu("));
    valid(&(text + &own));
}

#[test]
fn wrong_names_are_told() {
    let refused = |names: &[&'static str], said: &str| {
        let functions = names.iter().map(|&name| (name, Activation::Gelu));
        let error = fused(functions).unwrap_err();
        assert!(matches!(error, Error::FusedName { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    };
    for name in ["", "2x", "a b", "_x", "größe", "f(x: f32) {} fn g"] {
        refused(&[name], "letters, digits");
    }
    for word in naga::keywords::wgsl::RESERVED {
        refused(&[word], "take another");
    }
    for name in naga::keywords::wgsl::BUILTIN_IDENTIFIERS {
        refused(&[name], "take another");
    }
    refused(&["activations_mine"], "the library's");
    refused(&["f", "f"], "another function");
    refused(&["f", "f_grad"], "another function");
    refused(&["f_grad", "f"], "another function");
}

/// The fused functions and derivatives of a caller's shader, beside a `square` and a `gelu` of its own.
#[test]
fn fused_functions_hold_their_bounds() {
    let celu = Activation::Celu.with([("alpha", 0.3)]).unwrap();
    let functions: [(&str, Elementwise); 4] = [
        ("one", Activation::Gelu.into()),
        ("two", celu),
        ("three", Activation::Square.into()),
        ("four", Activation::Softplus.into()),
    ];
    let mut body = String::new();
    for (k, (name, _)) in functions.iter().enumerate() {
        body += &format!(
            "    y[{}u * n + i] = {name}(x[i]);\n    y[{}u * n + i] = {name}_grad(x[i]);\n",
            2 * k,
            2 * k + 1
        );
    }
    let text = fused(functions).unwrap()
        + &format!(
            "
fn square(x: f32) -> f32 {{ return 7.0; }}
fn gelu(x: f32) -> f32 {{ return square(x); }}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> zero: u32;
@compute @workgroup_size(64)
fn mine(@builtin(global_invocation_id) id: vec3<u32>) {{
    activations_opaque_zero = zero;
    let i = id.x;
    let n = arrayLength(&x);
    if i >= n {{ return; }}
{body}    if gelu(x[i]) != 7.0 {{ y[i] = 0.0; }}
}}"
        );
    for backend in backends() {
        let Backend::Gpu(gpu) = backend else { continue };
        let x: Vec<f32> = (0..4001).map(|i| (i as f32 - 2000.0) * 0.005).collect();
        let device = gpu.device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.clone().into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("mine"),
            compilation_options: Default::default(),
            cache: None,
        });
        let zero = device.create_buffer_init(&BufferInitDescriptor {
            label: None,
            contents: &[0; 4],
            usage: wgpu::BufferUsages::UNIFORM,
        });
        let input = gpu.upload(&x, &[x.len()]).unwrap();
        let output = gpu.empty(&[2 * functions.len(), x.len()]).unwrap();
        let buffers = [input.buffer(), output.buffer(), &zero];
        let sizes = [4 * x.len(), 8 * functions.len() * x.len(), 4];
        let entries: Vec<_> = (0..)
            .zip(buffers.into_iter().zip(sizes))
            .map(|(binding, (buffer, size))| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(size as u64),
                }),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(x.len().div_ceil(64) as u32, 1, 1);
        }
        gpu.queue().submit([encoder.finish()]);
        let y = output.read().unwrap();
        for (k, (name, f)) in functions.iter().enumerate() {
            let bounds = f.activation().info().bounds;
            let values = y[2 * k * x.len()..].iter();
            let slopes = y[(2 * k + 1) * x.len()..].iter();
            for ((&x, &value), &slope) in x.iter().zip(values).zip(slopes) {
                let error = ulp_error(value, forward(f, x.into()), 0.0);
                assert!(error <= bounds.forward.into(), "{name}({x}): {error} ULP");
                let error = ulp_error(slope, backward(f, x.into()), largest_term(f, x.into()));
                assert!(
                    error <= bounds.backward.into(),
                    "{name}_grad({x}): {error} ULP"
                );
            }
        }
    }
}
