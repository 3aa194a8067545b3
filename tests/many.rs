//! Many arrays at once: each as if it were alone, and few submissions for all of them.

mod common;

use common::backends;
use wgpu_activations::half::f16;
use wgpu_activations::{
    Activation, AxisFunction, Backend, CrossEntropy, Element, Error, Gate, Item, OfShape, Random,
    Rrelu, SparseFunction,
};

/// Numbers of a spread that softmax sees, from a linear congruence.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| next() * scale).collect()
}

fn rrelu() -> Rrelu {
    Rrelu::default().training(Random::new(3))
}

/// What is computed of an array.
#[derive(Clone, Copy)]
enum What {
    Each(Activation),
    Along(AxisFunction, [usize; 3]),
    Gated([usize; 3]),
    Sparse([usize; 3]),
    Scaled([usize; 3]),
    Noisy(usize),
}

/// Arrays of all kinds: empty, of one element, of rows of several lengths along all axes.
fn arrays(count: usize) -> Vec<(Vec<f32>, What)> {
    let whats = |i: usize| {
        let (n, rows) = (i * 7 % 50, 1 + i % 5);
        match i % 11 {
            0 => What::Each(Activation::Gelu),
            1 => What::Each(Activation::Tanh),
            2 => What::Along(AxisFunction::Softmax, [rows, n % 9, 1]),
            3 => What::Along(AxisFunction::Softmax, [rows, 3, n % 4]),
            4 => What::Along(AxisFunction::LogSumExp, [rows, n % 9, 1 + i % 2]),
            5 => What::Along(AxisFunction::LogSoftmax, [rows, 200, 1]),
            6 => What::Gated([rows, 2 * (n % 9), 1 + i % 3]),
            7 => What::Sparse([rows, n % 9, 1 + i % 3]),
            8 => What::Scaled([rows, 1 + n, 1]),
            9 => What::Noisy(n),
            _ => What::Along(AxisFunction::Softmin, [1, 1 + n, 1]),
        }
    };
    (0..count)
        .map(|i| {
            let elements = match whats(i) {
                What::Each(_) => i * 13 % 301,
                What::Along(_, shape)
                | What::Gated(shape)
                | What::Sparse(shape)
                | What::Scaled(shape) => shape.iter().product(),
                What::Noisy(n) => n,
            };
            (numbers(elements, i as u64, 20.0), whats(i))
        })
        .collect()
}

fn items<T: Element>(arrays: &[(Vec<T>, What)]) -> Vec<Item<'_, T>> {
    let items = arrays.iter().map(|(x, what)| match what {
        What::Each(f) => Item::new(*f, x).unwrap(),
        What::Along(g, shape) => Item::of_shape(g.along(1), x, shape).unwrap(),
        What::Gated(shape) => Item::of_shape(Gate::GEGLU.along(1), x, shape).unwrap(),
        What::Sparse(shape) => {
            Item::of_shape(SparseFunction::Sparsemax.along(1), x, shape).unwrap()
        }
        What::Scaled(shape) => {
            let scaled = AxisFunction::LogSumExp.along(1).scale(0.5).sink(1.0);
            Item::of_shape(scaled, x, shape).unwrap()
        }
        What::Noisy(_) => Item::new(rrelu(), x).unwrap(),
    });
    items.collect()
}

fn alone<T: Element>(backend: &Backend, x: &[T], what: What) -> Vec<T> {
    match what {
        What::Each(f) => backend.apply(f, x).unwrap(),
        What::Along(g, shape) => backend.apply(g.along(1), x.of_shape(&shape)).unwrap(),
        What::Gated(shape) => {
            let gate = Gate::GEGLU.along(1);
            backend.apply(gate, x.of_shape(&shape)).unwrap()
        }
        What::Sparse(shape) => {
            let sparsemax = SparseFunction::Sparsemax.along(1);
            backend.apply(sparsemax, x.of_shape(&shape)).unwrap()
        }
        What::Scaled(shape) => {
            let scaled = AxisFunction::LogSumExp.along(1).scale(0.5).sink(1.0);
            backend.apply(scaled, x.of_shape(&shape)).unwrap()
        }
        What::Noisy(_) => backend.apply(rrelu(), x).unwrap(),
    }
}

#[test]
fn each_is_as_if_it_were_alone() {
    for backend in backends() {
        let arrays = arrays(300);
        let all = backend.apply_many(&items(&arrays)).unwrap();
        assert_eq!(all.len(), arrays.len());
        for (i, (y, (x, what))) in all.iter().zip(&arrays).enumerate() {
            let want = alone(&backend, x, *what);
            assert_eq!(y.len(), want.len(), "array {i}");
            for (&y, &want) in y.iter().zip(&want) {
                // More rows at once may be added up another way.
                let close = (y - want).abs() <= want.abs() * 4e-7 + 1e-37;
                assert!(close || y == want, "array {i}: {y} for {want}");
            }
        }
    }
}

#[test]
fn sixteen_bits_go_along() {
    for backend in backends() {
        let narrow = |x: &Vec<f32>| x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
        let arrays: Vec<_> = arrays(40)
            .iter()
            .map(|(x, what)| (narrow(x), *what))
            .collect();
        let all = backend.apply_many(&items(&arrays)).unwrap();
        for (y, (x, what)) in all.iter().zip(&arrays) {
            for (y, want) in y.iter().zip(alone(&backend, x, *what)) {
                let (y, want) = (f32::from(*y), f32::from(want));
                assert!(
                    y == want || (y - want).abs() <= want.abs() * 1e-3,
                    "{y} for {want}"
                );
            }
        }
    }
}

#[test]
fn thousands_of_arrays_are_one_submission() {
    let Some(gpu) = common::gpu() else { return };
    let backend = Backend::Gpu(gpu.clone());
    let arrays = arrays(5000);
    // Known answers are asked for at a function's first use.
    backend.apply_many(&items(&arrays)).unwrap();
    let (submissions, dispatches) = (gpu.submissions(), gpu.kernels().counts().dispatches);
    backend.apply_many(&items(&arrays)).unwrap();
    assert_eq!(gpu.submissions() - submissions, 1);
    // At most one for each operation and length of rows, and one for each array of random numbers.
    let of_noise = arrays
        .iter()
        .filter(|(x, what)| matches!(what, What::Noisy(_)) && !x.is_empty());
    let dispatches = gpu.kernels().counts().dispatches - dispatches - of_noise.count() as u64;
    assert!((7..300).contains(&dispatches), "{dispatches} dispatches");
}

#[test]
fn large_arrays_travel_alone() {
    for backend in backends() {
        let large = numbers((1 << 20) + 3, 1, 9.0);
        let small = numbers(5, 2, 9.0);
        let items = [
            Item::new(Activation::Relu, &small).unwrap(),
            Item::new(Activation::Relu, &large).unwrap(),
            Item::new(AxisFunction::LogSumExp.along(0), &large).unwrap(),
            Item::new(Activation::Identity, &small).unwrap(),
        ];
        let all = backend.apply_many(&items).unwrap();
        let relu = |x: &[f32]| x.iter().map(|x| x.max(0.0)).collect::<Vec<_>>();
        assert_eq!(all[0], relu(&small));
        assert_eq!(all[1], relu(&large));
        assert_eq!(all[2].len(), 1);
        assert_eq!(all[3], small);
        assert!(backend.apply_many::<f32>(&[]).unwrap().is_empty());
    }
    let wrong = Item::of_shape(AxisFunction::Softmax.along(0), &[1.0f32; 5], &[2, 3]);
    assert!(matches!(wrong.unwrap_err(), Error::LengthMismatch { .. }));
    let wrong = Item::of_shape(CrossEntropy::new(), &[1.0f32; 6], &[2, 3]);
    assert!(matches!(wrong, Err(Error::Inputs { .. })));
    let wrong = Item::of_shape(AxisFunction::Softmax.along(2), &[1.0f32; 6], &[2, 3]);
    assert!(matches!(wrong.unwrap_err(), Error::AxisOutOfRange { .. }));
}
