//! What an operation costs beside its kernel: recorded operations on the noop backend, which has no
//! kernels, by hand and by this crate; one small operation and a hundred on the adapter; and
//! rates over sizes, which must not fall: `cargo bench --bench overhead`.

use std::hint::black_box;
use std::time::Instant;
use wgpu_activations::{Activation, Backend, Cache, Gpu, GpuOptions, Kernels, Result, wgpu};

const ROUNDS: usize = 15;

/// The least and the median seconds of calls in turns.
fn in_turns<const N: usize>(rounds: usize, mut calls: [&mut dyn FnMut(); N]) -> [[f64; 2]; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (call, times) in calls.iter_mut().zip(&mut times) {
            let start = Instant::now();
            call();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        [times[0], times[times.len() / 2]]
    })
}

fn noop() -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions::enabled();
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()));
    let device = adapter.expect("the noop adapter");
    pollster::block_on(device.request_device(&Default::default())).expect("a noop device")
}

fn buffers(device: &wgpu::Device, bytes: u64) -> [wgpu::Buffer; 2] {
    [(); 2].map(|()| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    })
}

/// A pipeline that copies, and groups of two buffers in both directions.
fn by_hand(
    device: &wgpu::Device,
    [x, y]: &[wgpu::Buffer; 2],
) -> (wgpu::ComputePipeline, [wgpu::BindGroup; 2]) {
    let text = "@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
        @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&y) { y[id.x] = x[id.x]; }
        }";
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let groups = [[x, y], [y, x]].map(|pair| {
        let entry = |binding: usize| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: pair[binding].as_entire_binding(),
        };
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[entry(0), entry(1)],
        })
    });
    (pipeline, groups)
}

/// Microseconds of an operation of so many in one submission on arrays of `elements`, recorded by
/// hand and by `kernels`; the submission and the wait are part of it.
fn recorded(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    kernels: &Kernels,
    elements: u64,
    operations: usize,
) -> Result<[f64; 2]> {
    let pair = buffers(device, elements * 4);
    let (pipeline, groups) = by_hand(device, &pair);
    let submit = |record: &mut dyn FnMut(&mut wgpu::ComputePass<'_>, usize)| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for i in 0..operations {
            record(&mut pass, i % 2);
        }
        drop(pass);
        let index = queue.submit([encoder.finish()]);
        let poll = wgpu::PollType::Wait {
            submission_index: Some(index),
            timeout: None,
        };
        device.poll(poll).expect("the work is done");
    };
    let workgroups = (elements / 4).div_ceil(256) as u32;
    let mut hand = || {
        submit(&mut |pass, i| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &groups[i], &[]);
            pass.dispatch_workgroups(workgroups, 1, 1);
        });
    };
    let mut failed = Ok(());
    let mut ours = || {
        submit(&mut |pass, i| {
            let (x, y) = (pair[i].slice(..), pair[1 - i].slice(..));
            let done = kernels.apply(pass, Activation::Identity, x, y);
            failed = failed.clone().and(done);
        });
    };
    let [hand, ours] = in_turns(40 * ROUNDS, [&mut hand, &mut ours]);
    failed?;
    Ok([hand, ours].map(|[least, _]| least / operations as f64 * 1e6))
}

fn overhead() -> Result<()> {
    println!(
        "an operation in microseconds, the least of {} rounds",
        40 * ROUNDS
    );
    println!(
        "{:28} {:>10} {:>9} {:>9}",
        "", "operations", "by hand", "recorded"
    );
    let line = |what: &str, operations: usize, [hand, ours]: [f64; 2]| {
        println!("{what:28} {operations:10} {hand:9.2} {ours:9.2}");
    };
    let (device, queue) = noop();
    let kernels = Kernels::new(&device);
    for operations in [1, 100] {
        let found = recorded(&device, &queue, &kernels, 1024, operations)?;
        line("noop", operations, found);
    }
    let Ok(gpu) = Gpu::open_with(&GpuOptions::new().cache(Cache::Off)) else {
        return Ok(());
    };
    for elements in [1024, 65_536, 1 << 20] {
        for operations in [1, 100] {
            if elements == 1 << 20 && operations == 100 {
                continue;
            }
            let (device, queue) = (gpu.device(), gpu.queue());
            let found = recorded(device, queue, gpu.kernels(), elements, operations)?;
            line(&format!("{elements} elements on a GPU"), operations, found);
        }
    }
    Ok(())
}

/// Nanoseconds of a call that few numbers go through, beside a loop by hand that allocates as it does.
fn small_calls() {
    const CALLS: usize = 1000;
    println!(
        "{:28} {:>10} {:>9} {:>9}",
        "a call in nanoseconds", "elements", "loop", "call"
    );
    let backend = Backend::cpu();
    for elements in [1, 16, 256, 4096] {
        let x: Vec<f32> = (0..elements)
            .map(|i| (i % 100) as f32 / 10.0 - 5.0)
            .collect();
        let mut plain = || {
            for _ in 0..CALLS {
                let mut y = vec![0.0f32; elements];
                y.iter_mut()
                    .zip(black_box(&x))
                    .for_each(|(y, x)| *y = x.max(0.0));
                black_box(&y);
            }
        };
        let mut call = || {
            for _ in 0..CALLS {
                let _ = black_box(backend.apply(Activation::Relu, black_box(&x)));
            }
        };
        let found = in_turns(20 * ROUNDS, [&mut plain, &mut call]);
        let [plain, call] = found.map(|[least, _]| least / CALLS as f64 * 1e9);
        println!(
            "{:28} {elements:10} {plain:9.1} {call:9.1}",
            "relu on the CPU"
        );
    }
}

/// GB/s over sizes, each size in turn.
fn sizes(name: &str, sizes: [usize; 3], mut call: impl FnMut(&[f32], &mut [f32])) {
    let most = sizes.into_iter().max().unwrap_or(0);
    let x: Vec<f32> = (0..most).map(|i| (i % 1000) as f32 / 100.0 - 5.0).collect();
    let mut y = vec![0.0; most];
    let mut times = sizes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (&n, times) in sizes.iter().zip(&mut times) {
            let start = Instant::now();
            call(&x[..n], &mut y[..n]);
            times.push(start.elapsed().as_secs_f64());
        }
    }
    for (n, mut times) in sizes.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let rate = |seconds: f64| n as f64 * 8e-9 / seconds;
        let (best, median) = (rate(times[0]), rate(times[times.len() / 2]));
        println!("{name:28} {n:12} {best:7.2} GB/s at best, {median:7.2} in the middle");
    }
}

fn main() -> Result<()> {
    overhead()?;
    small_calls();
    let large = [1 << 20, 16 << 20, 64 << 20];
    let cpu = Backend::cpu();
    let mut failed = Ok(());
    for f in [Activation::Relu, Activation::Gelu] {
        sizes(&format!("cpu {f}"), large, |x, y| {
            failed = failed.clone().and(cpu.apply_into(f, x, y));
        });
        if let Ok(gpu) = Backend::gpu() {
            sizes(&format!("gpu {f}, one-shot"), large, |x, y| {
                failed = failed.clone().and(gpu.apply_into(f, x, y));
            });
        }
        // A thousand elements against as many of an array that one thread computes.
        let one = [1000, 8192, 32_000];
        sizes(&format!("cpu {f}, one thread"), one, |x, y| {
            failed = failed.clone().and(cpu.apply_into(f, x, y));
        });
    }
    failed
}
