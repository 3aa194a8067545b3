//! half.wgsl against the `half` crate, bit for bit: every number of 16 bits, and of f32 what lies on,
//! beside and between them.

use crate::{Noise, common::gpu};
use bytemuck::cast_slice;
use std::sync::mpsc;
use wgpu_activations::Gpu;
use wgpu_activations::half::{bf16, f16};
use wgpu_activations::shader::HALF;
use wgpu_activations::wgpu::{self, util::DeviceExt};

/// What a shader over [`HALF`] writes to the words `y` from the words `x`, an invocation `i` for
/// each of `count`.
fn run(gpu: &Gpu, body: &str, x: &[u32], count: usize, results: usize) -> Vec<u32> {
    let source = format!(
        "{HALF}
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            let i = id.x;
            if i < {count}u {{
                {body}
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
    let input = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: cast_slice(x),
        usage: wgpu::BufferUsages::STORAGE,
    });
    let output = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * results as u64,
            usage,
            mapped_at_creation: false,
        })
    };
    let y = output(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let readback = output(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[&input, &y].map(|buffer| wgpu::BindGroupEntry {
            binding: u32::from(std::ptr::eq(buffer, &y)),
            resource: buffer.as_entire_binding(),
        }),
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(count.div_ceil(64) as u32, 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&y, 0, &readback, 0, readback.size());
    queue.submit([encoder.finish()]);
    let (sender, receiver) = mpsc::channel();
    readback.map_async(wgpu::MapMode::Read, .., move |result| {
        // The receiver outlives the call.
        let _ = sender.send(result);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    receiver.recv().unwrap().unwrap();
    cast_slice(&readback.get_mapped_range(..).unwrap()).to_vec()
}

/// The 16-bit numbers as f32, by the shader, four at a time and one at a time.
fn unpacked(gpu: &Gpu, kind: &str, numbers: &[u16]) -> [Vec<u32>; 2] {
    let four = format!(
        "let v = bitcast<vec4<u32>>(unpack_{kind}(vec2<u32>(x[2u * i], x[2u * i + 1u])));
        y[4u * i] = v.x; y[4u * i + 1u] = v.y; y[4u * i + 2u] = v.z; y[4u * i + 3u] = v.w;"
    );
    // What else is in the word is not looked at.
    let one = format!("y[i] = bitcast<u32>({kind}_to_f32(x[i]));");
    let count = numbers.len();
    let words: Vec<u32> = numbers
        .iter()
        .map(|&n| 0xdead_0000 | u32::from(n))
        .collect();
    [
        run(gpu, &four, cast_slice(numbers), count / 4, count),
        run(gpu, &one, &words, count, count),
    ]
}

/// f32 as 16-bit numbers, by the shader, in the same two ways.
fn packed(gpu: &Gpu, kind: &str, x: &[u32]) -> [Vec<u16>; 2] {
    let four = format!(
        "let v = vec4<u32>(x[4u * i], x[4u * i + 1u], x[4u * i + 2u], x[4u * i + 3u]);
        let w = pack_{kind}(bitcast<vec4<f32>>(v));
        y[2u * i] = w.x; y[2u * i + 1u] = w.y;"
    );
    let one = format!("y[i] = f32_to_{kind}(bitcast<f32>(x[i]));");
    let four = run(gpu, &four, x, x.len() / 4, x.len() / 2);
    let one = run(gpu, &one, x, x.len(), x.len());
    assert!(one.iter().all(|word| word >> 16 == 0));
    [
        cast_slice(&four).to_vec(),
        one.into_iter().map(|word| word as u16).collect(),
    ]
}

/// Every number of 16 bits.
fn numbers() -> Vec<u16> {
    (0..=u16::MAX).collect()
}

/// The bits of f32 that are those of a number of 16 bits, that of which is half-way to the next,
/// and the neighbours of both; what is far beyond and far below; NaN with every single bit of
/// payload; and some that nobody chose.
fn floats(to_f32: impl Fn(u16) -> f32) -> Vec<u32> {
    let mut bits = Vec::new();
    for n in 0..0x7fff_u16 {
        let (low, high) = (to_f32(n), to_f32(n + 1));
        if low.is_nan() || high.is_nan() {
            continue;
        }
        // Past the largest number lies infinity, as if it were the next power of two.
        let high = match high.is_infinite() {
            true => f64::from(low).log2().ceil().exp2(),
            false => high.into(),
        };
        let middle = ((f64::from(low) + high) / 2.0) as f32;
        for x in [low, middle] {
            let x = x.to_bits();
            bits.extend([x.saturating_sub(1), x, x + 1]);
        }
    }
    bits.extend((0..32).map(|i| 1u32 << i));
    bits.extend((0..23).map(|i| 0x7f80_0000 | 1 << i));
    bits.extend([0x7f80_0000, 0x7f7f_ffff, 0x7fff_ffff, 0x7fc0_0000]);
    bits.extend((0..255).flat_map(|e| [e << 23, e << 23 | 0x7f_ffff, e << 23 | 0x2a_aaaa]));
    let mut noise = Noise(7);
    bits.extend((0..100_000).map(|_| (noise.bits() >> 32) as u32));
    let negative: Vec<u32> = bits.iter().map(|x| x ^ 0x8000_0000).collect();
    bits.extend(negative);
    bits.truncate(bits.len() / 4 * 4);
    bits
}

/// The first number that does not become what it should; a NaN may have become quiet.
fn wrong_f32(got: &[u32], want: impl Fn(u16) -> f32) -> Option<String> {
    assert_eq!(got.len(), 1 << 16);
    let mut pairs = (0..=u16::MAX).zip(got);
    let wrong = pairs.find(|&(n, &got)| {
        let want = want(n);
        let quiet = if want.is_nan() { 0x0040_0000 } else { 0 };
        got | quiet != want.to_bits() | quiet
    });
    wrong.map(|(n, got)| format!("{n:#x}: {got:#x}"))
}

fn wrong_bits(x: &[u32], got: &[u16], want: impl Fn(f32) -> u16) -> Option<String> {
    assert_eq!(got.len(), x.len());
    let mut pairs = x.iter().zip(got);
    let wrong = pairs.find(|&(&x, &got)| got != want(f32::from_bits(x)));
    wrong.map(|(x, got)| format!("{x:#x}: {got:#x}"))
}

#[test]
fn every_16_bit_number_is_unpacked() {
    let Some(gpu) = gpu() else { return };
    for got in unpacked(&gpu, "f16", &numbers()) {
        assert_eq!(wrong_f32(&got, |n| f16::from_bits(n).to_f32()), None);
        // The harness sees a wrong kind.
        assert!(wrong_f32(&got, |n| bf16::from_bits(n).to_f32()).is_some());
    }
    for got in unpacked(&gpu, "bf16", &numbers()) {
        assert_eq!(wrong_f32(&got, |n| bf16::from_bits(n).to_f32()), None);
    }
}

#[test]
fn f32_are_packed_to_the_nearest() {
    let Some(gpu) = gpu() else { return };
    let x = floats(|n| f16::from_bits(n).to_f32());
    let f16_bits = |x: f32| f16::from_f32(x).to_bits();
    assert!(x.len() > 350_000);
    for got in packed(&gpu, "f16", &x) {
        assert_eq!(wrong_bits(&x, &got, f16_bits), None);
        // The harness sees a rounding towards 0.
        let cut = |x: f32| f16_bits(f32::from_bits(x.to_bits() & !0x1fff));
        assert!(wrong_bits(&x, &got, cut).is_some());
    }
    let x = floats(|n| bf16::from_bits(n).to_f32());
    for got in packed(&gpu, "bf16", &x) {
        assert_eq!(wrong_bits(&x, &got, |x| bf16::from_f32(x).to_bits()), None);
    }
}
