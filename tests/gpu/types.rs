//! Arrays of 16-bit numbers, and of several types in one operation, in the element-wise kernels on
//! the caller's buffers: the same bits as from f32 and rounded once.

use crate::{gpu, noise};
use wgpu_activations::half::{bf16, f16};
use wgpu_activations::{Activation, DType, Gpu, TypedSlice, wgpu};

/// Bit patterns of every exponent and sign, with NaN and infinities among them.
fn patterns(n: usize, seed: u64) -> Vec<u16> {
    let noise = noise(seed, n, 1.0);
    (noise
        .iter()
        .map(|v| (v.to_bits() >> 3) as u16 ^ (v.to_bits() >> 17) as u16))
    .collect()
}

/// The numbers of words, as many as there are.
fn numbers(words: &[u8], dtype: DType, n: usize) -> Vec<f32> {
    let narrow = |i: usize| u16::from_le_bytes([words[2 * i], words[2 * i + 1]]);
    (0..n)
        .map(|i| match dtype {
            DType::F32 => f32::from_le_bytes(std::array::from_fn(|k| words[4 * i + k])),
            DType::F16 => f16::from_bits(narrow(i)).to_f32(),
            DType::Bf16 => bf16::from_bits(narrow(i)).to_f32(),
        })
        .collect()
}

/// What a result is as a number of a type, and as its bits; NaN are one.
fn rounded(value: f32, dtype: DType) -> u32 {
    match dtype {
        _ if value.is_nan() => 0xffff_ffff,
        DType::F32 => value.to_bits(),
        DType::F16 => f16::from_f32(value).to_bits().into(),
        DType::Bf16 => bf16::from_f32(value).to_bits().into(),
    }
}

/// An array of a type with any contents, in whole words.
fn array(dtype: DType, n: usize, seed: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = match dtype {
        DType::F32 => noise(seed, n, 30.0)
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
        _ => patterns(n, seed)
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect(),
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0xa5);
    bytes
}

fn buffer(gpu: &Gpu, bytes: &[u8]) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, bytes);
    buffer
}

fn contents(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<u8> {
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    gpu.queue().submit([encoder.finish()]);
    staging
        .slice(..)
        .map_async(wgpu::MapMode::Read, |mapped| mapped.unwrap());
    gpu.wait().unwrap();
    staging.slice(..).get_mapped_range().unwrap().to_vec()
}

/// The places where bits are not those of f32 results that are rounded.
fn wrong(got: &[u8], want: &[f32], dtype: DType) -> Vec<usize> {
    let got = numbers(got, dtype, want.len());
    (0..want.len())
        .filter(|&i| rounded(got[i], dtype) != rounded(want[i], dtype))
        .collect()
}

fn types_are_exact(gpu: &Gpu, n: usize, dtypes: [DType; 3]) {
    let f = Activation::Silu;
    let inputs: Vec<Vec<u8>> = (0..2)
        .map(|i| array(dtypes[i], n, i as u64 + n as u64))
        .collect();
    let values: Vec<Vec<f32>> = (0..2).map(|i| numbers(&inputs[i], dtypes[i], n)).collect();
    let [x, dy] = [&values[0], &values[1]].map(|v| gpu.upload(v, &[n]).unwrap());
    let mut batch = gpu.batch();
    let [y, dx] = [batch.apply(f, &x).unwrap(), batch.grad(f, &x, &dy).unwrap()];
    batch.submit().unwrap();
    let [y, dx] = [y, dx].map(|t| t.read().unwrap());

    let [bx, bdy] = [&inputs[0], &inputs[1]].map(|bytes| buffer(gpu, bytes));
    let [by, bdx] = [0, 1].map(|_| buffer(gpu, &array(dtypes[2], n, 9)));
    let of = |buffer, dtype| TypedSlice::new(wgpu::Buffer::slice(buffer, ..), dtype);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let kernels = gpu.kernels();
        let [x, dy] = [of(&bx, dtypes[0]), of(&bdy, dtypes[1])];
        kernels.apply(&mut pass, f, x, of(&by, dtypes[2])).unwrap();
        kernels
            .grad(&mut pass, f, x, dy, of(&bdx, dtypes[2]))
            .unwrap();
        // In place, last: the upstream gradient first, which needs x.
        kernels.grad_in_place(&mut pass, f, x, dy).unwrap();
        kernels.apply_in_place(&mut pass, f, x).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    let results = [
        (&by, &y, dtypes[2]),
        (&bdx, &dx, dtypes[2]),
        (&bdy, &dx, dtypes[1]),
        (&bx, &y, dtypes[0]),
    ];
    for (i, (buffer, want, dtype)) in results.into_iter().enumerate() {
        let wrong = wrong(&contents(gpu, buffer), want, dtype);
        assert_eq!(wrong, [0; 0], "{n} of {dtypes:?}, result {i}");
    }
}

#[test]
fn every_type_and_mixture() {
    let Some(gpu) = gpu() else { return };
    let all = [DType::F32, DType::F16, DType::Bf16];
    for out in all {
        for (x, dy) in all.into_iter().flat_map(|x| all.map(|dy| (x, dy))) {
            types_are_exact(&gpu, 1003, [x, dy, out]);
        }
        types_are_exact(&gpu, 70_001, [DType::F16, DType::Bf16, out]);
        types_are_exact(&gpu, 70_001, [DType::F32, DType::F16, out]);
    }
}

#[test]
fn lengths_around_every_boundary() {
    let Some(gpu) = gpu() else { return };
    let edges = [4, 8, 16, 16_384];
    let around = edges.into_iter().flat_map(|n| [n - 1, n, n + 1]);
    for n in [1, 2, 6].into_iter().chain(around) {
        types_are_exact(&gpu, n, [DType::F16; 3]);
        types_are_exact(&gpu, n, [DType::F16, DType::Bf16, DType::F32]);
        types_are_exact(&gpu, n, [DType::F32, DType::F32, DType::Bf16]);
    }
}

/// Another type's rounding, and a neighbour's result, are seen.
#[test]
fn the_comparison_sees() {
    let want = [1.0 + 2f32.powi(-9), 3.0, f32::NAN];
    let bytes = |dtype: DType| -> Vec<u8> {
        let bits = want.map(|v| rounded(v, dtype) as u16);
        bits.iter().flat_map(|b| b.to_le_bytes()).collect()
    };
    assert_eq!(wrong(&bytes(DType::F16), &want, DType::F16), [0; 0]);
    assert_eq!(wrong(&bytes(DType::Bf16), &want, DType::F16), [0, 1]);
    assert_eq!(
        wrong(&bytes(DType::F16)[2..], &want[..2], DType::F16),
        [0, 1]
    );
}

/// Lengths that do not match are errors, and an odd number of f32 beside padded ones is none.
#[test]
fn lengths_of_several_types() {
    let Some(gpu) = gpu() else { return };
    let [short, long] = [8, 12].map(|bytes| buffer(&gpu, &vec![0; bytes]));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let of = |buffer, dtype| TypedSlice::new(wgpu::Buffer::slice(buffer, ..), dtype);
    let mut apply = |x, y| gpu.kernels().apply(&mut pass, Activation::Relu, x, y);
    // Three f32 and four of 16 bits, of which one is padding.
    assert!(apply(of(&short, DType::F16), of(&long, DType::F32)).is_ok());
    assert!(apply(of(&long, DType::F32), of(&short, DType::Bf16)).is_ok());
    assert!(apply(of(&short, DType::F32), of(&long, DType::F16)).is_err());
    assert!(apply(of(&long, DType::F16), of(&short, DType::F16)).is_err());
}
