//! Arrays of the ndarray crate with all sorts of strides: the same numbers as from plain slices.

mod common;

use common::backends;
use ndarray::{Array, Array3, ArrayD, Ix3, ShapeBuilder, arr0, array, s};
use wgpu_activations::half::bf16;
use wgpu_activations::{
    Activation, AxisFunction, Backend, CrossEntropy, Error, Gate, OfShape, Reduction,
};

/// A three-dimensional array of numbers that differ.
fn numbers(shape: [usize; 3]) -> Array3<f32> {
    let mut i = 0;
    Array::from_shape_simple_fn(shape, || {
        i += 1;
        ((i * 7919) % 401) as f32 / 40.0 - 5.0
    })
}

/// Views of an array that lie in memory in all sorts of ways.
fn layouts(x: &Array3<f32>) -> Vec<ndarray::ArrayView3<'_, f32>> {
    vec![
        x.view(),
        x.t(),
        x.view().permuted_axes([1, 2, 0]),
        x.slice(s![..;-1, .., ..]),
        x.slice(s![.., ..;2, 1..]),
        x.slice(s![..;-2, ..;-1, ..;3]),
        x.slice(s![.., 1..2, ..]),
        x.slice(s![0..0, .., ..]),
        x.slice(s![.., 0..1, ..])
            .broadcast(x.raw_dim())
            .map(|_| x.slice(s![.., ..1, ..]))
            .unwrap(),
    ]
}

/// The plain call, element by element in logical order.
fn plain(backend: &Backend, f: Activation, x: &ndarray::ArrayView3<'_, f32>) -> Array3<f32> {
    let flat: Vec<f32> = x.iter().copied().collect();
    Array::from_shape_vec(x.raw_dim(), backend.apply(f, &flat).unwrap()).unwrap()
}

#[test]
fn elements_of_any_strides() {
    for backend in backends() {
        let x = numbers([4, 5, 7]);
        for x in layouts(&x) {
            let want = plain(&backend, Activation::Gelu, &x);
            assert_eq!(backend.apply(Activation::Gelu, &x).unwrap(), want);

            for mut y in layouts(&numbers([5, 7, 4]))
                .into_iter()
                .map(|y| y.to_owned())
            {
                if y.raw_dim() != x.raw_dim() {
                    continue;
                }
                backend.apply_into(Activation::Gelu, &x, &mut y).unwrap();
                assert_eq!(y, want);
            }

            // Into every other column of something larger; nothing else changes.
            let [a, b, c] = [0, 1, 2].map(|i| x.shape()[i]);
            let mut large = Array3::from_elem([a, b, 2 * c], 9.0);
            let mut y = large.slice_mut(s![..;-1, .., ..;2]);
            backend.apply_into(Activation::Gelu, &x, &mut y).unwrap();
            assert_eq!(y, want);
            backend
                .apply_into(Activation::Abs, &y.to_owned(), &mut y)
                .unwrap();
            assert_eq!(y, want.abs());
            assert!(large.slice(s![.., .., 1..;2]).iter().all(|&y| y == 9.0));
        }
    }
}

#[test]
fn broadcast_views_and_shapes_that_differ() {
    for backend in backends() {
        let row = array![-1.0f32, 0.5, 2.0];
        let wide = row.broadcast([4, 3]).unwrap();
        let y = backend.apply(Activation::Square, &wide).unwrap();
        assert_eq!(y, array![[1.0, 0.25, 4.0]].broadcast([4, 3]).unwrap());
        let twos = arr0(2.0);
        let dy = twos.broadcast([4, 3]).unwrap();
        let dx = backend.grad(Activation::Square, &y, &dy).unwrap();
        assert_eq!(dx, &y * 4.0);
        let turned = y.t();
        let error = backend.apply_into(Activation::Relu, &y, &mut turned.to_owned());
        assert!(matches!(error.unwrap_err(), Error::ShapeMismatch { .. }));
        let error = backend.grad(Activation::Relu, &y, &turned);
        assert!(matches!(error.unwrap_err(), Error::ShapeMismatch { .. }));
        let error = backend.apply(Gate::GLU, (&y, &turned));
        assert!(matches!(error.unwrap_err(), Error::ShapeMismatch { .. }));
        let error = backend.apply_into(Activation::Relu, &y, &mut array![0.0f32]);
        assert!(matches!(error.unwrap_err(), Error::LengthMismatch { .. }));
    }
}

/// Every family takes views, and masks and targets are some, too.
#[test]
fn all_inputs_are_views() {
    for backend in backends() {
        let x = numbers([4, 6, 5]);
        let view = x.slice(s![.., ..;-1, ..;2]);
        let plain = view.as_standard_layout();
        let flat = plain.as_slice().unwrap();
        let shape = [4usize, 6, 3];

        let gate = Gate::SWIGLU.along(1);
        let y = backend.apply(gate, &view).unwrap();
        assert_eq!(y.shape(), [4, 3, 3]);
        let want = backend.apply(gate, flat.of_shape(&shape)).unwrap();
        assert_eq!(y.as_slice().unwrap(), want);

        let mask = Array::from_shape_fn([3, 6], |(i, j)| (i + j) % 3 > 0);
        let softmax = AxisFunction::Softmax.along(1).scale(0.5);
        let y = backend.apply(softmax, (&view, &mask.t())).unwrap();
        let kept: Vec<bool> = mask.t().iter().copied().collect();
        let inputs = (flat.of_shape(&shape), kept.of_shape(&[6, 3]));
        let want = backend.apply(softmax, inputs).unwrap();
        assert_eq!(y.as_slice().unwrap(), want);

        let targets = Array::from_shape_fn([3, 4], |(i, j)| ((i + 2 * j) % 6) as i64);
        let loss = CrossEntropy::new().reduction(Reduction::None);
        let each = backend.apply(&loss, (&view, &targets.t())).unwrap();
        assert_eq!(each.shape(), [4, 1, 3]);
        let classes: Vec<i64> = targets.t().iter().copied().collect();
        let want = backend.apply(&loss, (flat.of_shape(&shape), &classes));
        assert_eq!(each.as_slice().unwrap(), want.unwrap());
        let mean = backend.apply(CrossEntropy::new(), (&view, &targets.t()));
        assert_eq!(mean.unwrap().shape(), [1, 1, 1]);
    }
}

#[test]
fn gradients_of_any_strides() {
    for backend in backends() {
        let (x, dy) = (numbers([4, 5, 7]), numbers([4, 5, 7]) * 0.3);
        for (x, dy) in layouts(&x).into_iter().zip(layouts(&dy)) {
            let flat = |x: &ndarray::ArrayView3<'_, f32>| x.iter().copied().collect::<Vec<_>>();
            let want = backend
                .grad(Activation::Silu, &flat(&x), &flat(&dy))
                .unwrap();
            let want = Array::from_shape_vec(x.raw_dim(), want).unwrap();
            assert_eq!(backend.grad(Activation::Silu, &x, &dy).unwrap(), want);
            // Orders that differ.
            let other = dy.as_standard_layout();
            assert_eq!(backend.grad(Activation::Silu, &x, &other).unwrap(), want);
            let mut dx = Array3::<f32>::zeros(x.raw_dim().f());
            backend
                .grad_into(Activation::Silu, &x, &dy, &mut dx.slice_mut(s![.., .., ..]))
                .unwrap();
            assert_eq!(dx, want);
        }
    }
}

#[test]
fn rows_of_any_strides() {
    for backend in backends() {
        let x = numbers([4, 5, 7]);
        for x in layouts(&x) {
            for axis in 0..3 {
                for &function in AxisFunction::ALL {
                    let shape = x.shape().to_vec();
                    let flat: Vec<f32> = x.iter().copied().collect();
                    let want = backend
                        .apply(function.along(axis as isize), flat.of_shape(&shape))
                        .unwrap();
                    let mut reduced: Ix3 = x.raw_dim();
                    if function.reduces() {
                        reduced[axis] = 1;
                    }
                    let want = Array::from_shape_vec(reduced, want).unwrap();
                    let y = backend.apply(function.along(axis as isize), &x).unwrap();
                    assert_eq!(y.shape(), want.shape());
                    for (&y, &want) in y.iter().zip(&want) {
                        let close = (y - want).abs() <= want.abs() * 1e-6;
                        assert!(
                            close || y == want,
                            "{function} {shape:?} {axis}: {y} for {want}"
                        );
                    }
                    let mut large = Array3::zeros([reduced[0], reduced[1], 2 * reduced[2]]);
                    let mut part = large.slice_mut(s![.., ..;-1, 1..;2]);
                    backend
                        .apply_into(function.along(axis as isize), &x, &mut part)
                        .unwrap();
                    let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() < 1e-5;
                    assert!(part.iter().zip(&y).all(near));

                    let dy = numbers([reduced[0], reduced[1], reduced[2]]);
                    let flat_dy: Vec<f32> = dy.iter().copied().collect();
                    let want = backend.grad(
                        function.along(axis as isize),
                        flat.of_shape(&shape),
                        &flat_dy,
                    );
                    let want = Array::from_shape_vec(x.raw_dim(), want.unwrap()).unwrap();
                    let dx = backend
                        .grad(function.along(axis as isize), &x, &dy)
                        .unwrap();
                    assert_eq!(dx, want, "{function} {shape:?} {axis}");
                }
            }
        }
        let error = backend
            .apply(AxisFunction::Softmax.along(3), &x)
            .unwrap_err();
        assert!(
            matches!(error, Error::AxisOutOfRange { axis: 3, rank: 3 }),
            "{error}"
        );
        let wrong = &mut Array3::<f32>::zeros([4, 5, 7]);
        let error = backend.apply_into(AxisFunction::LogSumExp.along(0), &x, wrong);
        assert!(matches!(error.unwrap_err(), Error::LengthMismatch { .. }));
    }
}

#[test]
fn any_number_of_axes_and_sixteen_bits() {
    for backend in backends() {
        assert_eq!(
            backend.apply(Activation::Relu, &arr0(-3.0f32)).unwrap(),
            arr0(0.0)
        );
        let x = ArrayD::from_elem(vec![2; 6], bf16::from_f32(0.0));
        let y = backend
            .apply(AxisFunction::Softmax.along(4), &x.t())
            .unwrap();
        assert!(y.iter().all(|&y| y == bf16::from_f32(0.5)));
    }
}
