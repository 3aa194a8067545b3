//! Tensors in buffers of the caller's.

use crate::gpu;
use wgpu_activations::{Activation, DType, Error, Tensor, wgpu};

#[test]
fn a_tensor_in_a_callers_buffer_has_the_values_that_are_there() {
    let Some(gpu) = gpu() else { return };
    let buffer = |size, usage| {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    };
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let own = buffer(24, usage | wgpu::BufferUsages::COPY_DST);
    let of = |own: &wgpu::Buffer, shape: &[usize]| {
        Tensor::of_buffer(&gpu, own.clone(), shape, DType::F32)
    };
    let x = of(&own, &[2, 2]).unwrap();
    for values in [[-1.0f32, 2.0, -3.0, 4.0], [5.0, -6.0, 7.0, -8.0]] {
        gpu.queue()
            .write_buffer(&own, 0, bytemuck::cast_slice(&values));
        let mut batch = gpu.batch();
        let y = batch.apply(Activation::Relu, &x).unwrap();
        batch.submit().unwrap();
        assert_eq!(y.read().unwrap(), values.map(|v| v.max(0.0)));
    }
    // It stays the caller's: no other tensor gets it.
    drop(x);
    let other = gpu.upload(&[1.0; 6], &[6]).unwrap();
    assert_ne!(other.buffer(), &own);
    gpu.queue()
        .write_buffer(&own, 0, bytemuck::cast_slice(&[9.0f32; 6]));
    assert_eq!(other.read().unwrap(), [1.0; 6]);

    let small = of(&own, &[7]).unwrap_err();
    assert!(matches!(
        small,
        Error::BufferTooSmall {
            needed: 28,
            got: 24,
            ..
        }
    ));
    let unbound = of(&buffer(24, wgpu::BufferUsages::COPY_SRC), &[1]).unwrap_err();
    assert!(matches!(unbound, Error::BufferUsage { .. }), "{unbound}");
}
