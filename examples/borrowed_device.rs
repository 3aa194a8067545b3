//! Story 3, your own device: the kernels record into your compute pass, on ranges of your
//! buffers, between whatever else you do there. They never submit and never wait.

mod common;

use common::{Outcome, worst_ulp};
use std::sync::mpsc;
use wgpu::util::{BufferInitDescriptor, DeviceExt};
use wgpu_activations::{Activation, AxisFunction, Kernels, TypedSlice, wgpu};

/// Your buffer holds three layers' values; the middle one is what we are after.
const LAYER: usize = 4096;
const ROW: usize = 64;

fn main() -> Outcome {
    let Some((device, queue)) = my_device()? else {
        return Ok(());
    };
    let values: Vec<f32> = (0..3 * LAYER)
        .map(|i| (i % 97) as f32 / 8.0 - 6.0)
        .collect();
    let layers = device.create_buffer_init(&BufferInitDescriptor {
        label: Some("my layers"),
        contents: bytemuck::cast_slice(&values),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    });
    let bytes = (LAYER * size_of::<f32>()) as u64;
    let activated = my_buffer(
        &device,
        bytes,
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    );
    let readback = my_buffer(
        &device,
        bytes,
        wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
    );

    // Ranges begin at multiples of `min_storage_buffer_offset_alignment`, here 16 KiB.
    let middle = layers.slice(bytes..2 * bytes);
    let kernels = Kernels::new(&device);
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        kernels.apply(&mut pass, Activation::Mish, middle, activated.slice(..))?;
        let rows = TypedSlice::f32(activated.slice(..)).of_shape(&[LAYER / ROW, ROW]);
        kernels.apply_in_place(&mut pass, AxisFunction::Softmax.along(-1), rows)?;
    }
    encoder.copy_buffer_to_buffer(&activated, 0, &readback, 0, bytes);
    // Your submission, your wait.
    queue.submit([encoder.finish()]);
    let got = read(&device, &readback)?;

    let want = values[LAYER..2 * LAYER].chunks(ROW).flat_map(|row| {
        let weights = row.iter().map(|&x| libm::exp(mish(x.into())));
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(move |weight| weight / sum)
    });
    // An exponential makes an absolute error of its argument a relative one.
    let worst = worst_ulp(&got, want, 32.0);
    println!(
        "mish and softmax of the middle of three layers, in the caller's pass: within {worst:.2} ULP"
    );

    // What does not fit is an error before anything is recorded, not a message from the driver.
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let odd = kernels.apply(
        &mut pass,
        Activation::Mish,
        layers.slice(4..4 + bytes),
        activated.slice(..),
    );
    println!("an odd offset: {}", odd.unwrap_err());
    Ok(())
}

fn mish(x: f64) -> f64 {
    x * libm::tanh(libm::log1p(libm::exp(x)))
}

/// A device as any program of yours would open it, with the least that wgpu asks of adapters.
fn my_device() -> Outcome<Option<(wgpu::Device, wgpu::Queue)>> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = match pollster::block_on(instance.request_adapter(&Default::default())) {
        Ok(adapter) => adapter,
        Err(error) => return common::no_adapter(error).map(|()| None),
    };
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits::downlevel_defaults(),
        ..Default::default()
    };
    let opened = pollster::block_on(adapter.request_device(&descriptor))?;
    println!("device: my own, on {}", adapter.get_info().name);
    Ok(Some(opened))
}

fn my_buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("my buffer"),
        size,
        usage,
        mapped_at_creation: false,
    })
}

fn read(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Outcome<Vec<f32>> {
    let (sender, receiver) = mpsc::channel();
    buffer
        .slice(..)
        .map_async(wgpu::MapMode::Read, move |mapped| {
            // The receiver waits below.
            let _ = sender.send(mapped);
        });
    device.poll(wgpu::PollType::wait_indefinitely())?;
    receiver.recv()??;
    let values = bytemuck::cast_slice(&buffer.slice(..).get_mapped_range()?).to_vec();
    Ok(values)
}
