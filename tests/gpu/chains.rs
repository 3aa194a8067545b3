//! Tensors that stay on the device: chains in one submission, reused buffers, the async twins, and
//! recordings into encoders and buffers of the caller's own.

use crate::{Noise, axis_error, bits, coded, difference, gpu, noise, relu};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wgpu::BufferUsages;
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, Gpu, Kernels, OfShape, TypedSlice, wgpu,
};

#[test]
fn a_chain_in_one_submission_is_its_steps() {
    let Some(gpu) = gpu() else { return };
    let shape = [37, 129];
    let [x, dy] = [3, 4].map(|seed| gpu.upload(&noise(seed, 37 * 129, 6.0), &shape).unwrap());
    let chain = |gpu: &Gpu, step_by_step: bool| {
        let mut batch = gpu.batch();
        let next = |batch: &mut wgpu_activations::Batch| {
            if step_by_step {
                std::mem::replace(batch, gpu.batch()).submit().unwrap();
            }
        };
        let a = batch.apply(Activation::Gelu, &x).unwrap();
        next(&mut batch);
        let b = batch.apply(AxisFunction::LogSoftmax.along(-1), &a).unwrap();
        next(&mut batch);
        batch.apply_in_place(Activation::Exp, &b).unwrap();
        next(&mut batch);
        let c = batch
            .grad_from_output(AxisFunction::Softmax.along(-1), &b, &dy)
            .unwrap();
        next(&mut batch);
        batch.grad_in_place(Activation::Gelu, &x, &c).unwrap();
        next(&mut batch);
        let d = batch.apply(AxisFunction::LogSumExp.along(0), &c).unwrap();
        batch.submit().unwrap();
        [a, b, c, d].map(|t| bits(&t.read().unwrap()))
    };
    let whole = chain(&gpu, false);
    assert!(whole.iter().all(|values| !values.is_empty()));
    assert_eq!(whole, chain(&gpu, true));
}

/// Old values lie in every buffer that comes back; none may be seen.
#[test]
fn reused_buffers_leak_nothing() {
    let Some(gpu) = gpu() else { return };
    let mut dice = Noise(42);
    for round in 0..150 {
        // Sizes that share the pool's and fill them differently.
        let n = 1 + dice.bits() as usize % 3000;
        let x: Vec<f32> = coded(n).iter().map(|v| v + round as f32).collect();
        let t = gpu.upload(&x, &[n]).unwrap();
        let mut batch = gpu.batch();
        let y = batch.apply(Activation::Relu, &t).unwrap();
        let z = batch.apply(AxisFunction::Softmax.along(0), &t).unwrap();
        // Gone before it runs: its buffer must not be another's yet.
        drop(t);
        let w = batch.apply(Activation::Relu, &y).unwrap();
        batch.submit().unwrap();
        assert_eq!(
            difference(&w.read().unwrap(), x.iter().copied().map(relu)),
            None,
            "{n}"
        );
        assert_eq!(bits(&w.read().unwrap()), bits(&y.read().unwrap()));
        let shape = AxisShape::new(&[n], 0).unwrap();
        assert_eq!(
            axis_error(AxisFunction::Softmax, &x, &shape, &z.read().unwrap()),
            None
        );
    }
    // The same through the host's staging, where a short array follows a long one.
    let backend = Backend::Gpu(gpu);
    for n in [100_000, 3, 70_001, 1, 65_537, 5] {
        let y = backend.apply(Activation::Relu, &coded(n)).unwrap();
        assert_eq!(difference(&y, coded(n).into_iter().map(relu)), None);
    }
}

#[test]
fn async_twins_give_the_same_bits() {
    for backend in crate::common::backends() {
        let x = noise(5, 10_001, 4.0);
        let dy = noise(6, 10_001, 4.0);
        let f = Activation::Mish;
        let softmax = AxisFunction::Softmax;
        let shape = &[73, 137];
        let (blocking, asynchronous) = (
            [
                backend.apply(f, &x).unwrap(),
                backend.grad(f, &x, &dy).unwrap(),
                backend.apply(softmax.along(-1), x.of_shape(shape)).unwrap(),
                backend
                    .grad(softmax.along(0), x.of_shape(shape), &dy)
                    .unwrap(),
                backend
                    .grad_from_output(softmax.along(1), x.of_shape(shape), &dy)
                    .unwrap(),
            ],
            pollster::block_on(async {
                [
                    backend.apply_async(f, &x).await.unwrap(),
                    backend.grad_async(f, &x, &dy).await.unwrap(),
                    backend
                        .apply_async(softmax.along(-1), x.of_shape(shape))
                        .await
                        .unwrap(),
                    backend
                        .grad_async(softmax.along(0), x.of_shape(shape), &dy)
                        .await
                        .unwrap(),
                    backend
                        .grad_from_output_async(softmax.along(1), x.of_shape(shape), &dy)
                        .await
                        .unwrap(),
                ]
            }),
        );
        for (a, b) in blocking.iter().zip(&asynchronous) {
            assert_eq!(bits(a), bits(b));
        }
        if let Backend::Gpu(gpu) = &backend {
            let t = pollster::block_on(gpu.upload_async(&x, &[10_001])).unwrap();
            assert_eq!(bits(&pollster::block_on(t.read_async()).unwrap()), bits(&x));
        }
    }
}

/// While the device works, a future says that it is not ready instead of blocking its thread.
#[test]
fn async_reads_are_pending_while_the_device_works() {
    let Some(gpu) = gpu() else { return };
    let n = 8 << 20;
    let x = coded(n);
    let t = gpu.upload(&x, &[n]).unwrap();
    let mut batch = gpu.batch();
    for _ in 0..8 {
        batch.apply_in_place(Activation::Gelu, &t).unwrap();
    }
    batch.apply_in_place(Activation::Relu, &t).unwrap();
    batch.submit().unwrap();
    let mut read = pin!(t.read_async());
    let first = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(first, Poll::Pending));
    assert_eq!(pollster::block_on(read).unwrap().len(), n);

    // A future that is dropped half way leaves the device in order.
    let backend = Backend::Gpu(gpu.clone());
    {
        let mut abandoned = pin!(backend.apply_async(Activation::Gelu, &x));
        let first = abandoned
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(first, Poll::Pending));
    }
    let y = backend.apply(Activation::Relu, &x[..1001]).unwrap();
    assert_eq!(difference(&y, x[..1001].iter().copied().map(relu)), None);
}

/// A buffer of the caller's with known bytes everywhere.
fn own_buffer(gpu: &Gpu, words: usize) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: words as u64 * 4,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    });
    let mut view = buffer.slice(..).get_mapped_range_mut().unwrap();
    view.copy_from_slice(bytemuck::cast_slice(&coded(words)));
    drop(view);
    buffer.unmap();
    buffer
}

/// The buffer's words, through a copy of the caller's own.
fn contents(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<f32> {
    let copy = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
    gpu.queue().submit([encoder.finish()]);
    copy.slice(..)
        .map_async(wgpu::MapMode::Read, |mapped| mapped.unwrap());
    gpu.wait().unwrap();
    let view = copy.slice(..).get_mapped_range().unwrap();
    bytemuck::cast_slice(&view).to_vec()
}

/// The caller's encoder, pass, buffers and ranges: nothing runs before the caller submits, and
/// nothing outside of the ranges changes.
#[test]
fn recordings_stay_in_their_ranges() {
    let Some(gpu) = gpu() else { return };
    let kernels = Kernels::new(gpu.device());
    let words = 64 * 100;
    let before = coded(words);
    // Odd lengths in words, at offsets that any device can bind.
    let range = |first: usize, len: usize| first as u64 * 256..(first as u64 * 64 + len as u64) * 4;
    for one_buffer in [true, false] {
        let source = own_buffer(&gpu, words);
        let target = if one_buffer {
            source.clone()
        } else {
            own_buffer(&gpu, words)
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let x = source.slice(range(1, 333));
            kernels
                .apply(&mut pass, Activation::Relu, x, target.slice(range(20, 333)))
                .unwrap();
            kernels
                .apply_in_place(&mut pass, Activation::Square, target.slice(range(40, 1)))
                .unwrap();
            let rows = TypedSlice::f32(x).of_shape(&[3, 111]);
            let y = target.slice(range(60, 333));
            kernels
                .apply(&mut pass, AxisFunction::Softmin.along(-1), rows, y)
                .unwrap();
            let y = target.slice(range(80, 3));
            kernels
                .apply(&mut pass, AxisFunction::LogSumExp.along(-1), rows, y)
                .unwrap();
            let dx = target.slice(range(90, 333));
            kernels.grad(&mut pass, Activation::Relu, x, x, dx).unwrap();
        }
        let commands = encoder.finish();
        assert_eq!(
            bits(&contents(&gpu, &target)),
            bits(&before),
            "ran before it was submitted"
        );
        gpu.queue().submit([commands]);
        let after = contents(&gpu, &target);
        let x = &before[64..64 + 333];
        let mut want = before.clone();
        for (k, &x) in x.iter().enumerate() {
            want[20 * 64 + k] = relu(x);
            want[90 * 64 + k] = if x > 0.0 { x } else { 0.0 * x };
        }
        want[40 * 64] *= want[40 * 64];
        let shape = AxisShape::new(&[3, 111], -1).unwrap();
        for (function, first, len) in [
            (AxisFunction::Softmin, 60, 333),
            (AxisFunction::LogSumExp, 80, 3),
        ] {
            let got = &after[first * 64..first * 64 + len];
            assert_eq!(axis_error(function, x, &shape, got), None);
            want[first * 64..first * 64 + len].copy_from_slice(got);
        }
        assert_eq!(difference(&after, want), None, "one buffer: {one_buffer}");
        if !one_buffer {
            assert_eq!(bits(&contents(&gpu, &source)), bits(&before));
        }
    }
}

/// An adopted device computes what an own one does.
#[test]
fn an_adopted_device_computes_the_same() {
    let Some(own) = gpu() else { return };
    let adopted = Gpu::from_device(own.device().clone(), own.queue().clone());
    assert!(
        adopted.description().contains("caller"),
        "{}",
        adopted.description()
    );
    let x = noise(13, 5000, 4.0);
    let results = [own, adopted].map(|gpu| {
        let backend = Backend::Gpu(gpu);
        let y = backend.apply(Activation::Tanh, &x).unwrap();
        let z = backend
            .apply(AxisFunction::Softmax.along(-1), x.of_shape(&[5, 1000]))
            .unwrap();
        [bits(&y), bits(&z)]
    });
    assert_eq!(results[0], results[1]);
}
