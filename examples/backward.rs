//! Story 5, gradients: from the input where the output has forgotten too much, from the output
//! where that is exact and cheaper.

mod common;

use common::{Outcome, worst_ulp};
use wgpu_activations::{Activation, AxisFunction, Backend, OfShape};

fn main() -> Outcome {
    let backend = Backend::auto()?;
    println!("backend: {}", backend.description());

    // Many frameworks keep the output of sigmoid and take y (1 - y). From x = 17.3 on y has
    // rounded to 1, and the gradient is lost; from the input it is not.
    let x: Vec<f32> = [0.0, 5.0, 10.0, 15.0, 20.0, 40.0, 80.0].to_vec();
    let dy = vec![1.0; x.len()];
    let y = backend.apply(Activation::Sigmoid, &x)?;
    let dx = backend.grad(Activation::Sigmoid, &x, &dy)?;
    let slope = |x: &f32| {
        let x = f64::from(*x);
        1.0 / ((1.0 + libm::exp(-x)) * (1.0 + libm::exp(x)))
    };
    println!("    x   y (1 - y)      from the input   f64");
    for ((x, y), dx) in x.iter().zip(&y).zip(&dx) {
        println!(
            "{x:5}   {:<12e}   {dx:<14e}   {:e}",
            y * (1.0 - y),
            slope(x)
        );
    }
    worst_ulp(&dx, x.iter().map(slope), 8.0);
    assert!(y[4] * (1.0 - y[4]) == 0.0 && dx[4] > 2e-9);

    // Softmax: y holds all that the gradient needs, and the exponentials are saved.
    let shape = [64, 100];
    let x: Vec<f32> = (0..6400)
        .map(|i| ((i * 37) % 401) as f32 / 40.0 - 5.0)
        .collect();
    let dy: Vec<f32> = (0..6400)
        .map(|i| ((i * 53) % 211) as f32 / 100.0 - 1.0)
        .collect();
    let y = backend.apply(AxisFunction::Softmax.along(-1), x.of_shape(&shape))?;
    let from_input = backend.grad(AxisFunction::Softmax.along(-1), x.of_shape(&shape), &dy)?;
    let from_output =
        backend.grad_from_output(AxisFunction::Softmax.along(-1), y.of_shape(&shape), &dy)?;
    let want = softmax_gradient(&x, &dy, shape[1]);
    for (name, dx) in [
        ("from the input", &from_input),
        ("from the output", &from_output),
    ] {
        // The gradient is a difference: an error is relative to the terms that cancel.
        let worst = dx.iter().zip(&want).map(|(&dx, (want, term))| {
            (f64::from(dx) - want).abs() / (term * f64::from(f32::EPSILON))
        });
        let worst = worst.fold(0.0, f64::max);
        println!("softmax, gradient {name}: within {worst:.2} ULP of the largest term");
        assert!(worst < 8.0);
    }

    // log_softmax's output has rounded away what its gradient needs, so that is refused.
    let refused =
        backend.grad_from_output(AxisFunction::LogSoftmax.along(-1), y.of_shape(&shape), &dy);
    println!("log_softmax from its output: {}", refused.unwrap_err());
    Ok(())
}

/// y (g - sum g y) in f64 for each row, and beside it the largest term of it.
fn softmax_gradient(x: &[f32], dy: &[f32], columns: usize) -> Vec<(f64, f64)> {
    let rows = x.chunks(columns).zip(dy.chunks(columns));
    rows.flat_map(|(x, g)| {
        let weights: Vec<f64> = x.iter().map(|&x| libm::exp(x.into())).collect();
        let sum: f64 = weights.iter().sum();
        let y: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let products = || y.iter().zip(g).map(|(y, &g)| y * f64::from(g));
        let (dot, size) = (
            products().sum::<f64>(),
            products().map(f64::abs).sum::<f64>(),
        );
        let row = y.iter().zip(g).map(|(y, &g)| {
            let g = f64::from(g);
            (y * (g - dot), y * g.abs().max(size))
        });
        row.collect::<Vec<_>>()
    })
    .collect()
}
