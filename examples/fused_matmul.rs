//! Your own shader with an activation inside: a matrix product that applies GELU before it
//! stores, so that the pre-activation never travels to memory and back.

mod common;

use common::{Outcome, worst_ulp};
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu_activations::{Activation, shader, wgpu};

const ROWS: usize = 96;
const DEPTH: usize = 32;
const COLUMNS: usize = 80;

/// Yours. `activate` comes from `shader::fused`, whose own names all begin with
/// `activations_`. Storing a 0 there that the compiler cannot see keeps it from reordering the sums.
const MATMUL: &str = "
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
// rows, depth, columns, 0.
@group(0) @binding(3) var<uniform> sizes: vec4<u32>;

@compute @workgroup_size(8, 8)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>) {
    activations_opaque_zero = sizes.w;
    if id.x >= sizes.z || id.y >= sizes.x {
        return;
    }
    var total = 0.0;
    for (var k = 0u; k < sizes.y; k++) {
        total += a[id.y * sizes.y + k] * b[k * sizes.z + id.x];
    }
    c[id.y * sizes.z + id.x] = activate(total);
}
";

fn main() -> Outcome {
    let Some(gpu) = common::gpu()? else {
        return Ok(());
    };
    let device = gpu.device();
    // Eighths, so that the products and their sum are exact and GELU is all there is to check.
    let eighths = |len: usize, step: usize| -> Vec<f32> {
        let value = |i| ((i * step) % 17) as f32 / 8.0 - 1.0;
        (0..len).map(value).collect()
    };
    let (a, b) = (eighths(ROWS * DEPTH, 5), eighths(DEPTH * COLUMNS, 7));

    let text = shader::fused([("activate", Activation::Gelu)])? + MATMUL;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("matmul and gelu"),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("matmul and gelu"),
        layout: None,
        module: &module,
        entry_point: Some("matmul"),
        compilation_options: Default::default(),
        cache: None,
    });
    let sizes = device.create_buffer_init(&BufferInitDescriptor {
        label: Some("sizes"),
        contents: bytemuck::cast_slice(&[ROWS as u32, DEPTH as u32, COLUMNS as u32, 0]),
        usage: wgpu::BufferUsages::UNIFORM,
    });

    // Tensors are wgpu buffers: use them as such where that is handy.
    let left = gpu.upload(&a, &[ROWS, DEPTH])?;
    let right = gpu.upload(&b, &[DEPTH, COLUMNS])?;
    let product = gpu.empty(&[ROWS, COLUMNS])?;
    let buffers = [left.buffer(), right.buffer(), product.buffer(), &sizes];
    let entries: Vec<_> = (0..)
        .zip(buffers)
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
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(COLUMNS.div_ceil(8) as u32, ROWS.div_ceil(8) as u32, 1);
    }
    gpu.queue().submit([encoder.finish()]);
    let got = product.read()?;

    let want = (0..ROWS * COLUMNS).map(|i| {
        let (row, column) = (i / COLUMNS, i % COLUMNS);
        let total: f64 = (0..DEPTH)
            .map(|k| f64::from(a[row * DEPTH + k]) * f64::from(b[k * COLUMNS + column]))
            .sum();
        0.5 * total * libm::erfc(-total / std::f64::consts::SQRT_2)
    });
    let worst = worst_ulp(&got, want, 4.0);
    println!(
        "gelu(a b), [{ROWS}, {DEPTH}] by [{DEPTH}, {COLUMNS}] in one kernel: within {worst:.2} ULP"
    );
    Ok(())
}
