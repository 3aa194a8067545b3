//! Any upstream gradient, on every backend: the rules for zeros, infinities and NaN, and random
//! functions, parameters, shapes and axes against the f64 reference. Seeds are fixed.

use crate::{axis_error, axis_grad_error, common, noise};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, Elementwise, OfShape, check, reference,
};

/// A zero in either factor wins over an infinity in the other; NaN in either wins over all.
#[test]
fn zero_wins_over_infinity_and_nan_over_all() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    // The slope of relu is 0 or 1, that of exp 0 or infinite at the ends.
    let cases = [
        (Activation::Relu, -1.0, inf, 0.0),
        (Activation::Relu, -1.0, -inf, 0.0),
        (Activation::Relu, -1.0, nan, nan),
        (Activation::Relu, 1.0, inf, inf),
        (Activation::Relu, 1.0, -inf, -inf),
        (Activation::Relu, nan, 0.0, nan),
        (Activation::Exp, -inf, inf, 0.0),
        (Activation::Exp, inf, 0.0, 0.0),
        (Activation::Exp, inf, -0.0, 0.0),
        (Activation::Exp, inf, -2.0, -inf),
        (Activation::Exp, inf, nan, nan),
        (Activation::Square, inf, 0.0, 0.0),
        (Activation::Square, -inf, 1.0, -inf),
        (Activation::Sigmoid, inf, inf, 0.0),
        (Activation::Sigmoid, nan, nan, nan),
    ];
    for backend in common::backends() {
        for (f, x, dy, want) in cases {
            // Enough for the vector lanes and for the rest.
            let dx = backend.grad(f, &[x; 7], &[dy; 7]).unwrap();
            for got in dx {
                let same = got == want || got.is_nan() && want.is_nan();
                assert!(same, "{}: {f}'({x}) * {dy} = {got}", backend.description());
            }
        }
    }
}

/// The magnitudes of an upstream gradient.
fn any_upstream() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1000.0f32..1000.0,
        2 => -1e-3f32..1e-3,
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
    ]
}

fn any_input() -> impl Strategy<Value = f32> {
    use prop::num::f32::{INFINITE, NEGATIVE, NORMAL, POSITIVE, QUIET_NAN, ZERO};
    prop_oneof![
        4 => -20.0f32..20.0,
        2 => -130.0f32..130.0,
        2 => POSITIVE | NEGATIVE | NORMAL | ZERO | INFINITE | QUIET_NAN,
    ]
}

fn any_function() -> impl Strategy<Value = Elementwise> {
    let activation = prop::sample::select(Activation::ALL.to_vec());
    activation.prop_flat_map(|a| prop::sample::select(check::parameter_sets(a)))
}

/// What is wrong with `got` as dy * f'(x).
fn gradient_error(f: &Elementwise, x: f32, dy: f32, got: f32) -> Option<String> {
    let slope = reference::backward(f, x.into());
    let product = slope * f64::from(dy);
    let want = match (slope.is_nan() || dy.is_nan(), product.is_nan()) {
        // 0 * infinity.
        (false, true) => 0.0,
        _ => product,
    };
    let bound = f64::from(f.activation().info().bounds.backward) + 0.5;
    let largest = reference::largest_term(f, x.into()) * f64::from(dy).abs();
    let ulp = reference::ulp_error(got, want, largest);
    // A slope beyond f32, or below its normal numbers, was rounded as such before the product.
    let magnitude = slope.abs();
    let overflowed = magnitude > f64::from(f32::MAX) && magnitude.is_finite();
    let smallest = f64::from(f32::MIN_POSITIVE);
    let near = (f64::from(got) - want).abs() <= smallest * f64::from(dy).abs();
    let flushed = magnitude > 0.0 && magnitude < smallest && (got == 0.0 || dy.is_finite() && near);
    let wrong = ulp > bound && !flushed && !(overflowed && got.abs() > f32::MAX / 1000.0);
    wrong.then(|| format!("{f}'({x:e}) * {dy:e} = {got:e} instead of {want:e}, {ulp} ULP"))
}

fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..Default::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn fail(backend: &Backend, text: String) -> TestCaseError {
    TestCaseError::fail(format!("{}: {text}", backend.description()))
}

#[test]
fn any_function_of_any_inputs() {
    let backends = common::backends();
    let pairs = prop::collection::vec((any_input(), any_upstream()), 1..200);
    let found = runner(150).run(&(any_function(), pairs), |(f, pairs)| {
        let (x, dy): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        for backend in &backends {
            let y = backend
                .apply(f, &x)
                .map_err(|error| fail(backend, error.to_string()))?;
            let bound = f64::from(f.activation().info().bounds.forward);
            for (&x, &y) in x.iter().zip(&y) {
                let want = reference::forward(&f, x.into());
                let ulp = reference::ulp_error(y, want, 0.0);
                if ulp > bound {
                    let text = format!("{f}({x:e}) = {y:e} instead of {want:e}, {ulp} ULP");
                    return Err(fail(backend, text));
                }
            }
            let dx = backend
                .grad(f, &x, &dy)
                .map_err(|error| fail(backend, error.to_string()))?;
            for (i, &got) in dx.iter().enumerate() {
                if let Some(text) = gradient_error(&f, x[i], dy[i], got) {
                    return Err(fail(backend, text));
                }
            }
        }
        Ok(())
    });
    assert!(found.is_ok(), "{}", found.unwrap_err());
}

#[test]
fn any_shape_along_any_axis() {
    let backends = common::backends();
    let dims = prop::collection::vec(prop_oneof![Just(1usize), 1usize..20, 1usize..90], 1..4);
    let cases = (
        dims,
        any::<prop::sample::Index>(),
        any::<bool>(),
        prop::sample::select(AxisFunction::ALL.to_vec()),
        any::<u64>(),
        prop::sample::select(vec![0.1f32, 5.0, 80.0, 1e6]),
    );
    let found = runner(120).run(
        &cases,
        |(shape, index, backwards, function, seed, scale)| {
            let rank = shape.len() as isize;
            let axis = index.index(shape.len()) as isize - if backwards { rank } else { 0 };
            let around = AxisShape::new(&shape, axis).unwrap();
            let x = noise(seed, around.elements(), scale);
            let dy = noise(seed ^ 1, around.output_elements(function), 3.0);
            for backend in &backends {
                let y = backend.apply(function.along(axis), x.of_shape(&shape));
                let y = y.map_err(|error| fail(backend, error.to_string()))?;
                if let Some(text) = axis_error(function, &x, &around, &y) {
                    return Err(fail(backend, text));
                }
                let dx = backend.grad(function.along(axis), x.of_shape(&shape), &dy);
                let dx = dx.map_err(|error| fail(backend, error.to_string()))?;
                if let Some(text) = axis_grad_error(function, &x, &dy, &around, &dx) {
                    return Err(fail(backend, text));
                }
            }
            Ok(())
        },
    );
    assert!(found.is_ok(), "{}", found.unwrap_err());
}

/// Softmax' gradient from its own output: y (dy - sum dy y), with the y that was given.
#[test]
fn gradients_from_the_output() {
    for backend in common::backends() {
        for (i, (shape, axis)) in [
            (&[1, 1][..], 0),
            (&[40, 33], -1),
            (&[3, 1000], -1),
            (&[4, 100, 6], 1),
            (&[1, 60_000], -1),
        ]
        .into_iter()
        .enumerate()
        {
            let around = AxisShape::new(shape, axis).unwrap();
            let x = noise(200 + i as u64, around.elements(), 6.0);
            let dy = noise(300 + i as u64, around.elements(), 2.0);
            for (function, sign) in [(AxisFunction::Softmax, 1.0), (AxisFunction::Softmin, -1.0)] {
                let y = backend
                    .apply(function.along(axis), x.of_shape(shape))
                    .unwrap();
                let dx = backend
                    .grad_from_output(function.along(axis), y.of_shape(shape), &dy)
                    .unwrap();
                let at = |row: usize, k: usize| {
                    let (outer, column) = (row / around.inner, row % around.inner);
                    (outer * around.len + k) * around.inner + column
                };
                for row in 0..around.rows() {
                    let terms = (0..around.len).map(|k| at(row, k));
                    let terms = terms.map(|at| f64::from(y[at]) * f64::from(dy[at]));
                    let (dot, size) = terms.fold((0.0, 0.0), |(d, s), t| (d + t, s + t.abs()));
                    for k in 0..around.len {
                        let at = at(row, k);
                        let (y, g) = (f64::from(y[at]), f64::from(dy[at]));
                        let want = sign * y * (g - dot);
                        let ulp = reference::ulp_error(dx[at], want, y * g.abs().max(size));
                        let what = backend.description();
                        assert!(
                            ulp < 20.0,
                            "{what}: {function} of {shape:?} at {at}: {ulp} ULP"
                        );
                    }
                }
            }
        }
    }
}

/// The harness itself: negated and neighbouring gradients, a lost NaN and a lost zero are seen.
#[test]
fn wrong_gradients_are_seen() {
    let gelu = Activation::Gelu.into();
    for x in [-3.0f32, -0.3, 0.7, 2.0] {
        let dy = 1.5;
        let got = (reference::backward(&gelu, x.into()) * f64::from(dy)) as f32;
        assert_eq!(gradient_error(&gelu, x, dy, got), None);
        assert!(gradient_error(&gelu, x, dy, -got).is_some());
        assert!(gradient_error(&gelu, x, dy, got / dy).is_some());
        assert!(gradient_error(&Activation::GeluTanh.into(), x, dy, got).is_some());
        assert!(gradient_error(&gelu, x, f32::NAN, got).is_some());
        assert!(gradient_error(&gelu, f32::NAN, dy, got).is_some());
        let off = got * (1.0 + 12.0 * f32::EPSILON);
        assert!(gradient_error(&gelu, x, dy, off).is_some());
    }
    let relu = Activation::Relu.into();
    assert_eq!(gradient_error(&relu, -1.0, f32::INFINITY, 0.0), None);
    assert!(gradient_error(&relu, -1.0, f32::INFINITY, f32::NAN).is_some());
    assert!(gradient_error(&relu, -1.0, f32::INFINITY, f32::INFINITY).is_some());
}
