//! Focal loss on every backend: its check, torchvision's formula, edges, and what it has in common with
//! binary cross entropy.

mod common;

use wgpu_activations::{
    Backend, BceWithLogits, Error, FocalLoss, OfShape, Operation, Reduction, check,
};

#[test]
fn it_meets_the_reference() {
    let family = check::Family::find("sigmoid_focal_loss").unwrap();
    for backend in common::backends() {
        let reports = check::family(&backend, family).unwrap();
        assert_eq!(reports.len(), 2);
        for report in reports {
            assert!(report.passed(), "{}: {report:?}", backend.description());
        }
    }
}

/// torchvision's `sigmoid_focal_loss`, line by line in f64.
fn torchvision(x: f64, t: f64, alpha: f64, gamma: f64) -> f64 {
    let p = 1.0 / (1.0 + (-x).exp());
    let ce = x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
    let p_t = p * t + (1.0 - p) * (1.0 - t);
    let loss = ce * (1.0 - p_t).powf(gamma);
    if alpha < 0.0 {
        return loss;
    }
    (alpha * t + (1.0 - alpha) * (1.0 - t)) * loss
}

/// Where torchvision's formula is well conditioned in f64 it is the same, and its slope the gradient.
#[test]
fn it_is_torchvisions() {
    let x: Vec<f32> = (-60..=60).map(|i| i as f32 / 8.0).collect();
    let targets = [0.0f32, 1.0, 0.25, 0.5, 0.9];
    let options = [
        (0.25, 2.0),
        (-1.0, 0.0),
        (0.75, 0.5),
        (1.0, 3.0),
        (0.0, 1.0),
    ];
    for backend in common::backends() {
        for (alpha, gamma) in options {
            let loss = FocalLoss::new()
                .alpha(alpha)
                .gamma(gamma)
                .reduction(Reduction::None);
            let (alpha, gamma) = (f64::from(alpha), f64::from(gamma));
            for t in targets {
                let all = vec![t; x.len()];
                let y = backend.apply(&loss, (&x, &all)).unwrap();
                let ones = vec![1.0; x.len()];
                let dx = backend.grad(&loss, (&x, &all), &ones).unwrap();
                let of = |x: f64| torchvision(x, t.into(), alpha, gamma);
                for (i, &x) in x.iter().enumerate() {
                    let x = f64::from(x);
                    let at = format!("x {x}, t {t}, alpha {alpha}, gamma {gamma}");
                    let want = of(x);
                    let error = (f64::from(y[i]) - want).abs();
                    assert!(error <= 1e-6 * want.abs() + 1e-12, "{at}: {}, {want}", y[i]);
                    // Richardson's extrapolation of central differences.
                    let slope = |h: f64| (of(x + h) - of(x - h)) / (2.0 * h);
                    let want = (4.0 * slope(5e-4) - slope(1e-3)) / 3.0;
                    let error = (f64::from(dx[i]) - want).abs();
                    assert!(
                        error <= 2e-6 * want.abs() + 1e-10,
                        "{at}: {}, {want}",
                        dx[i]
                    );
                }
            }
        }
    }
}

/// Without a power and a balance it is binary cross entropy, whatever the shape, weight and reduction.
#[test]
fn a_gamma_of_0_is_binary_cross_entropy() {
    let x: Vec<f32> = (0..60).map(|i| (i as f32 - 30.0) * 0.7).collect();
    let t: Vec<f32> = (0..60).map(|i| (i % 7) as f32 / 6.0).collect();
    for backend in common::backends() {
        for &reduction in Reduction::ALL {
            let weight = [0.5, 2.0, 0.0, 1.25];
            let plain = FocalLoss::new().gamma(0.0).alpha(-1.0);
            let focal = plain.axis(1).weight(&weight).reduction(reduction);
            let binary = BceWithLogits::new().axis(1).weight(&weight);
            let binary = binary.reduction(reduction);
            let shape = [5, 4, 3];
            let y = backend.apply(&focal, (x.of_shape(&shape), &t)).unwrap();
            let want = backend.apply(&binary, (x.of_shape(&shape), &t)).unwrap();
            assert_eq!(y.len(), want.len());
            for (y, want) in y.iter().zip(&want) {
                assert!((y - want).abs() <= 4e-7 * want.abs(), "{y}, {want}");
            }
        }
    }
}

/// What overflows and underflows on the way does not in the result; NaN comes of NaN alone.
#[test]
fn edges() {
    let inf = f32::INFINITY;
    // Logit, target, loss, gradient; without a balance.
    let cases = [
        (inf, 1.0, 0.0, 0.0),
        (-inf, 0.0, 0.0, 0.0),
        (inf, 0.0, inf, 1.0),
        (-inf, 1.0, inf, -1.0),
        (3e38, 0.0, 3e38, 1.0),
        (-3e38, 1.0, 3e38, -1.0),
        // Half of the target is missing whatever the logit.
        (3e38, 0.5, 3e38 / 8.0, 0.125),
        (200.0, 1.0, 0.0, 0.0),
        (0.0, 0.5, 0.25 * std::f32::consts::LN_2, 0.0),
    ];
    let loss = FocalLoss::new().alpha(-1.0).reduction(Reduction::None);
    for backend in common::backends() {
        for (x, t, y, dx) in cases {
            let got = backend.apply(&loss, (&[x], &[t])).unwrap()[0];
            let slope = backend.grad(&loss, (&[x], &[t]), &[1.0]).unwrap()[0];
            let near = |a: f32, b: f32| a == b || (a - b).abs() <= 4e-7 * b.abs();
            assert!(near(got, y), "{x}, {t}: {got}, not {y}");
            assert!(near(slope, dx), "{x}, {t}: {slope}, not {dx}");
        }
        // e^-60 three times over is below any f32, and is one again by a weight.
        let weighted = loss.clone().weight(&[1e30]);
        let got = backend.apply(&weighted, (&[30.0], &[1.0])).unwrap()[0];
        let want = 1e30 * (-30f64).exp().ln_1p() * (-60f64).exp();
        assert!(
            (f64::from(got) - want).abs() <= 4e-7 * want,
            "{got}, {want}"
        );
        // Next to nothing of the other class, which devices may flush.
        let loss = FocalLoss::new().alpha(1.0).reduction(Reduction::None);
        let t = 1e-36f32;
        let got = backend.apply(&loss, (&[10.0], &[t])).unwrap()[0];
        let want = f64::from(t) * torchvision(10.0, t.into(), -1.0, 2.0);
        assert!(
            (f64::from(got) - want).abs() <= 4e-7 * want,
            "{got}, {want}"
        );
        let loss = FocalLoss::new().reduction(Reduction::None);
        let slope = backend.grad(&loss, (&[-inf], &[1e-40]), &[1.0]);
        assert_eq!(slope.unwrap()[0], 0.0);
        for nan in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            assert!(backend.apply(&loss, (&[nan.0], &[nan.1])).unwrap()[0].is_nan());
        }
        let none: [f32; 0] = [];
        assert_eq!(backend.apply(&loss, (&none, &none)).unwrap(), none);
    }
}

#[test]
fn mistakes_are_told() {
    let backend = Backend::cpu();
    let message = |loss: &FocalLoss, t: f32| {
        let error = backend.apply(loss, (&[1.0], &[t])).unwrap_err();
        error.to_string()
    };
    let text = message(&FocalLoss::new().gamma(-1.0), 1.0);
    assert!(text.contains("gamma = -1"), "{text}");
    let text = message(&FocalLoss::new().alpha(1.5), 1.0);
    assert!(text.contains("alpha = 1.5"), "{text}");
    let text = message(&FocalLoss::new().gamma(1001.0), 1.0);
    assert!(text.contains("from 0 to 1000"), "{text}");
    let text = message(&FocalLoss::new().alpha(f32::NAN), 1.0);
    assert!(text.contains("alpha = NaN"), "{text}");
    let text = message(&FocalLoss::new(), 2.0);
    assert!(text.contains("index 0 is 2"), "{text}");
    assert!(matches!(
        backend.apply(FocalLoss::new(), (&[1.0, 2.0], &[1.0])),
        Err(Error::ShapeMismatch { .. } | Error::LengthMismatch { .. })
    ));
    let made: Box<dyn Operation> = "sigmoid_focal_loss(gamma=1, alpha=-1)".parse().unwrap();
    let y = backend.apply(&*made, (&[0.0], &[1.0])).unwrap();
    assert!((y[0] - 0.5 * std::f32::consts::LN_2).abs() < 1e-7);
}
