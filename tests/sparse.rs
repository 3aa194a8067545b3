//! The kin of softmax on every backend: hardmax, sparsemax, entmax, maxout and gumbel_softmax.

mod common;

use common::backends;
use wgpu_activations::{
    AxisFunction, AxisShape, Backend, Error, GumbelSoftmax, Kernels, Maxout, OfShape, Random,
    SparseFunction, TypedSlice, check, reference,
};

const SPARSEMAX: SparseFunction = SparseFunction::Sparsemax;
const ENTMAX15: SparseFunction = SparseFunction::Entmax { alpha: 1.5 };

/// Numbers around 0, from a linear congruence.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| next() * scale).collect()
}

#[test]
fn sparse_functions_are_within_their_bounds() {
    for backend in backends() {
        let functions = check::sparse::functions();
        assert!(functions.len() >= 8);
        for function in functions {
            for report in check::sparse::sparse(&backend, function).unwrap() {
                println!("{:?}: {report:?}", backend.kind());
                assert!(report.inputs > 100_000);
                assert!(report.passed(), "{}: {report:?}", backend.description());
            }
        }
    }
}

/// Alphas next to 1, on either side of the alpha from which another kernel is taken.
#[test]
fn entmax_is_within_its_bounds_next_to_softmax() {
    let near = [1, 2, 84, 1000, 8190, 8192, 8400].map(|n| 1.0 + n as f32 / 8_388_608.0);
    for backend in backends() {
        for alpha in near {
            let function = SparseFunction::entmax(alpha).unwrap();
            for report in check::sparse::sparse(&backend, function).unwrap() {
                assert!(report.passed(), "{}: {report:?}", backend.description());
            }
        }
    }
}

/// Next to 1 entmax is softmax; far out, hardmax that shares ties.
#[test]
fn entmax_takes_its_limits() {
    let x = [0.1, 2.0, -0.4, -80.0, 1.75];
    let ties = [5.0, 5.0, -3.0, 5.0, 5.0, 4.999];
    for backend in backends() {
        let what = backend.description();
        let next = SparseFunction::entmax(1.000_000_1).unwrap();
        let y = backend.apply(next.along(0), &x).unwrap();
        let softmax =
            reference::axis_forward(AxisFunction::Softmax, &x, &AxisShape::new(&[5], 0).unwrap());
        for (y, want) in y.iter().zip(&softmax) {
            // Off by alpha - 1 times half the square of a distance at most.
            assert!(
                (f64::from(*y) / want - 1.0).abs() < 7e-4,
                "{what}: {y:e} {want:e}"
            );
        }
        for alpha in [1e6, 1e10, 1e20, 1e30, f32::MAX] {
            let function = SparseFunction::entmax(alpha).unwrap();
            let y = backend.apply(function.along(0), &ties).unwrap();
            assert_eq!(y, [0.25, 0.25, 0.0, 0.25, 0.25, 0.0], "{what} {function}");
            let y = backend.apply(function.along(0), &[0.0, -1.0]).unwrap();
            assert!(
                (y[0] - 1.0).abs() < 1e-4 && y[1] < 1e-4,
                "{what} {function}: {y:?}"
            );
        }
    }
}

#[test]
fn maxout_and_gumbel_softmax_are_within_their_bounds() {
    for backend in backends() {
        let mut reports = check::sparse::maxout(&backend).unwrap();
        reports.extend(check::sparse::gumbel_softmax(&backend).unwrap());
        assert_eq!(reports.len(), 4);
        for report in reports {
            println!("{:?}: {report:?}", backend.kind());
            assert!(report.inputs > 30_000);
            assert!(report.passed(), "{}: {report:?}", backend.description());
        }
    }
}

/// Results and gradients that can be had by hand.
#[test]
fn known_values() {
    for backend in backends() {
        let apply =
            |function: SparseFunction, x: &[f32]| backend.apply(function.along(0), x).unwrap();
        assert_eq!(apply(SPARSEMAX, &[1.0, 0.5, -1.0]), [0.75, 0.25, 0.0]);
        assert_eq!(apply(SPARSEMAX, &[7.0, 7.0, 7.0, 7.0]), [0.25; 4]);
        assert_eq!(apply(SPARSEMAX, &[1.0, 0.0]), [1.0, 0.0]);
        assert_eq!(apply(ENTMAX15, &[2.0, 0.0, -3.0]), [1.0, 0.0, 0.0]);
        assert_eq!(apply(ENTMAX15, &[-5.0; 4]), [0.25; 4]);
        // alpha - 1 = 2: y = sqrt(2 x - tau) of two equal elements, and of one that is far off.
        let three = SparseFunction::entmax(3.0).unwrap();
        assert_eq!(apply(three, &[1.0, 1.0, 0.5]), [0.5, 0.5, 0.0]);
        let hardmax = SparseFunction::Hardmax;
        assert_eq!(apply(hardmax, &[1.0, 3.0, 3.0]), [0.0, 1.0, 0.0]);
        assert_eq!(apply(hardmax, &[0.0, -0.0]), [1.0, 0.0]);
        for function in [SPARSEMAX, ENTMAX15, three, hardmax] {
            assert_eq!(apply(function, &[-4.0e30]), [1.0], "{function}");
            let dx = backend.grad(function.along(0), &[2.5], &[9.0]).unwrap();
            assert_eq!(dx, [0.0], "{function}");
        }
        let grad = |function: SparseFunction, x: &[f32], dy: &[f32]| {
            backend.grad(function.along(0), x, dy).unwrap()
        };
        assert_eq!(
            grad(SPARSEMAX, &[1.0, 0.5, -1.0], &[3.0, 1.0, 100.0]),
            [1.0, -1.0, 0.0]
        );
        assert_eq!(grad(hardmax, &[1.0, 2.0], &[3.0, -4.0]), [0.0, 0.0]);
        assert_eq!(
            grad(ENTMAX15, &[0.0; 4], &[1.0, 3.0, 1.0, 3.0]),
            [-0.5, 0.5, -0.5, 0.5]
        );
    }
}

/// NaN, infinities and no elements.
#[test]
fn special_rows() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let functions = [SPARSEMAX, ENTMAX15]
        .into_iter()
        .chain([1.0, 1.2, 3.0].map(|alpha| SparseFunction::Entmax { alpha }));
    for backend in backends() {
        for function in functions.clone() {
            for row in [
                [1.0, nan, 0.0],
                [inf, 0.0, 1.0],
                [-inf, -inf, -inf],
                [nan, inf, -inf],
            ] {
                let y = backend.apply(function.along(0), &row).unwrap();
                assert!(y.iter().all(|y| y.is_nan()), "{function} {row:?} {y:?}");
                let dx = backend.grad(function.along(0), &row, &[1.0; 3]).unwrap();
                assert!(dx.iter().all(|dx| dx.is_nan()), "{function} {row:?} {dx:?}");
            }
            let y = backend
                .apply(function.along(0), &[-inf, 2.0, -inf])
                .unwrap();
            assert_eq!(y, [0.0, 1.0, 0.0], "{function}");
            let y = backend
                .apply(function.along(0), &[f32::MAX, f32::MIN])
                .unwrap();
            assert_eq!(y, [1.0, 0.0], "{function}");
            // Off the support an infinite gradient is nothing, and a NaN is one.
            if function != (SparseFunction::Entmax { alpha: 1.0 }) {
                let dy = [5.0, 5.0, inf];
                let dx = backend.grad_from_output(function.along(0), &[0.5, 0.5, 0.0], &dy);
                assert_eq!(dx.unwrap(), [0.0; 3], "{function}");
            }
            let dy = [5.0, 5.0, nan];
            let dx = backend.grad_from_output(function.along(0), &[0.5, 0.5, 0.0], &dy);
            assert!(dx.unwrap().iter().all(|dx| dx.is_nan()), "{function}");
            for shape in [[0, 4], [4, 0]] {
                assert!(
                    backend
                        .apply(function.along(-1), [0.0f32; 0].of_shape(&shape))
                        .unwrap()
                        .is_empty()
                );
                assert!(
                    backend
                        .grad(function.along(0), [0.0f32; 0].of_shape(&shape), &[])
                        .unwrap()
                        .is_empty()
                );
            }
        }
        let hardmax = |row: &[f32]| {
            let y = backend.apply(SparseFunction::Hardmax.along(0), row);
            y.unwrap()
        };
        assert_eq!(hardmax(&[-inf, -inf]), [1.0, 0.0]);
        assert_eq!(hardmax(&[0.0, inf, inf]), [0.0, 1.0, 0.0]);
        assert!(hardmax(&[0.0, nan, inf]).iter().all(|y| y.is_nan()));
        let dx = backend.grad(SparseFunction::Hardmax.along(0), &[0.0, nan], &[1.0; 2]);
        assert!(dx.unwrap().iter().all(|dx| dx.is_nan()));
    }
}

/// The gradient from the input against differences of f64, away from the support's edge.
#[test]
fn gradients_from_the_input() {
    let shape = [3, 37, 2];
    let around = AxisShape::new(&shape, 1).unwrap();
    let x = numbers(around.elements(), 3, 4.0);
    let dy = numbers(x.len(), 4, 2.0);
    for backend in backends() {
        for function in check::sparse::functions() {
            let y = reference::sparse::forward(function, &x, &around);
            let (want, largest) = reference::sparse::from_output(function, &y, &dy, &around);
            let got = backend
                .grad(function.along(1), x.of_shape(&shape), &dy)
                .unwrap();
            for i in 0..x.len() {
                let error = reference::ulp_error(got[i], want[i], largest[i]);
                // What the output's own error adds comes beside.
                assert!(
                    error < 6.0,
                    "{function} {i}: {error} ULP {} {}",
                    got[i],
                    want[i]
                );
            }
        }
    }
}

/// Rows that are split over many lanes, and rows whose support is slow to find.
#[test]
fn long_and_slow_rows() {
    let geometric: Vec<f32> = (0..60).map(|i| -(1.0 - 0.75f32.powi(i))).collect();
    let close: Vec<f32> = (0..3000).map(|i| 1.0 - (i as f32).powi(3) * 1e-9).collect();
    let equal = vec![-3.25; 5000];
    let steps: Vec<f32> = (0..4097).map(|i| -(i as f32) / 4096.0).collect();
    let long: Vec<f32> = numbers(300_001, 8, 1.0);
    for x in [geometric, close, equal, steps, long] {
        let around = AxisShape::new(&[x.len()], 0).unwrap();
        let rounding = (x.len() as f64).log2().ceil() * 2f64.powi(-24);
        for alpha in [1.25, 1.5, 2.0, 2.1, 3.0, 9.0] {
            let function = SparseFunction::entmax(alpha).unwrap();
            let want = reference::sparse::forward_within(function, &x, &around, rounding);
            for backend in backends() {
                let y = backend.apply(function.along(0), &x).unwrap();
                let errors = y.iter().zip(&want).map(|(&got, want)| want.ulp(got));
                let worst = errors.fold(0.0, f64::max);
                let n = x.len();
                assert!(
                    worst <= 4.0,
                    "{} {function} {n}: {worst}",
                    backend.description()
                );
            }
        }
    }
}

/// Rows for an alpha above 2 and their results, by bisection in 80 digits: results close to the
/// threshold, from which they rise with an infinite slope.
const STEEP: [(f32, &[f32], &[f64]); 8] = [
    (
        2.25,
        &[0.3, -0.2, 0.1, -0.25],
        &[0.6191350396389476, 0.0, 0.38086496036105244, 0.0],
    ),
    (
        3.0,
        &[0.0, -0.4999, -0.50001],
        &[0.9999000132083893, 9.998679161071777e-05, 0.0],
    ),
    (3.0, &[0.25, 0.125, -0.2], &[0.625, 0.375, 0.0]),
    (
        6.0,
        &[0.1, 0.1, 0.0999999, -0.05],
        &[
            0.33333614970038933,
            0.33333614970038933,
            0.3333277005992214,
            0.0,
        ],
    ),
    (
        12.0,
        &[1.0, 0.95, 0.9091, 0.90909],
        &[0.9471017030521129, 0.05289829694788701, 0.0, 0.0],
    ),
    (
        12.0,
        &[0.03, 0.02, 0.0299],
        &[0.5454396433888294, 0.0, 0.45456035661117056],
    ),
    (
        1001.0,
        &[1e-30, 0.0, -0.001],
        &[0.9397233105676177, 0.06027668943238224, 0.0],
    ),
    (
        1001.0,
        &[2.0, 1.9999998, 1.9990001],
        &[0.9916932109409569, 0.008306789059043144, 0.0],
    ),
];

#[test]
fn steep_entmax_is_exact_next_to_the_threshold() {
    for (alpha, x, exact) in STEEP {
        let function = SparseFunction::entmax(alpha).unwrap();
        let around = AxisShape::new(&[x.len()], 0).unwrap();
        let rounding = 2.0 * 2f64.powi(-24);
        let within = reference::sparse::forward_within(function, x, &around, rounding);
        for (within, exact) in within.iter().zip(exact) {
            assert!(
                (within.want - exact).abs() <= 1e-12 * exact.max(1e-3),
                "{function}: {within:?} instead of {exact:e}"
            );
        }
        for backend in backends() {
            let y = backend.apply(function.along(0), x).unwrap();
            for (got, within) in y.iter().zip(&within) {
                let error = within.ulp(*got);
                println!("{} {function} {got:e}: {error}", backend.description());
                assert!(error <= 4.0, "{} {function} {y:?}", backend.description());
            }
        }
    }
}

/// Whatever alpha is, and however close to each other or wide apart elements are.
#[test]
fn steep_rows_of_every_spread() {
    for (len, alpha, scale) in [2, 5, 300].iter().flat_map(|&len| {
        let alphas = [
            2.000_000_2,
            2.01,
            2.5,
            3.0,
            6.0,
            12.0,
            1000.0,
            3e7,
            f32::MAX,
        ];
        let scales = [1e-36, 1e-3, 0.1, 0.6, 1e20];
        alphas
            .into_iter()
            .flat_map(move |alpha| scales.map(|scale| (len, alpha, scale)))
    }) {
        let rows = 400 / len + 3;
        let x = numbers(rows * len, 5, scale);
        let dy = numbers(x.len(), 6, 2.0);
        let function = SparseFunction::entmax(alpha).unwrap();
        let around = AxisShape::new(&[rows, len], 1).unwrap();
        let rounding = (len as f64).log2().ceil() * 2f64.powi(-24);
        let within = reference::sparse::forward_within(function, &x, &around, rounding);
        for backend in backends() {
            let what = format!("{} {function} {len} {scale:e}", backend.description());
            let y = backend
                .apply(function.along(1), x.of_shape(&[rows, len]))
                .unwrap();
            for (i, (got, within)) in y.iter().zip(&within).enumerate() {
                let error = within.ulp(*got);
                assert!(error <= 4.0, "{what} {i}: {got:e} {within:?}: {error}");
            }
            let dx = backend
                .grad(function.along(1), x.of_shape(&[rows, len]), &dy)
                .unwrap();
            let nan = dx.iter().position(|dx| dx.is_nan()).map(|i| i / len * len);
            assert!(
                nan.is_none(),
                "{what}: y {:?} dy {:?}",
                nan.map(|i| &y[i..][..len]),
                nan.map(|i| &dy[i..][..len])
            );
        }
    }
}

/// Every result is of the row that it belongs to, whatever the shape: against rows one at a time.
#[test]
fn rows_are_their_own() {
    let shapes: [(&[usize], isize); 5] = [
        (&[700, 50], -1),
        (&[3, 2500, 2], 1),
        (&[2, 9, 300], 1),
        (&[5000, 2], 0),
        (&[600, 3000], -1),
    ];
    for backend in backends() {
        for (shape, axis) in shapes {
            let around = AxisShape::new(shape, axis).unwrap();
            let x = numbers(around.elements(), 1, 3.0);
            let y = backend
                .apply(SPARSEMAX.along(axis), x.of_shape(shape))
                .unwrap();
            let want = reference::sparse::forward(SPARSEMAX, &x, &around);
            for (i, (got, want)) in y.iter().zip(&want).enumerate() {
                let error = (f64::from(*got) - want).abs();
                assert!(error < 1e-6, "{} {shape:?} {i}", backend.description());
            }
            assert!(want.iter().any(|&y| y > 0.0 && y < 1.0));
        }
    }
}

#[test]
fn maxout_takes_the_first_maximum_of_each_group() {
    let nan = f32::NAN;
    for backend in backends() {
        let x = [
            1.0, 3.0, 3.0, 0.0, -1.0, nan, 2.0, nan, -7.0, -7.0, -8.0, -9.0,
        ];
        let y = backend
            .apply(Maxout::new(3).along(1), x.of_shape(&[2, 6]))
            .unwrap();
        assert_eq!(y[..1], [3.0]);
        assert!(y[1].is_nan() && y[2].is_nan());
        assert_eq!(y[3..], [-7.0]);
        let dx = backend
            .grad(
                Maxout::new(3).along(1),
                x.of_shape(&[2, 6]),
                &[1.0, 2.0, 3.0, 4.0],
            )
            .unwrap();
        assert_eq!(dx[..5], [0.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(dx[5].is_nan() && dx[7].is_nan());
        assert_eq!(
            [dx[6], dx[8], dx[9], dx[10], dx[11]],
            [0.0, 0.0, 4.0, 0.0, 0.0]
        );
        // Channels of an image.
        let image = [1.0, 2.0, 3.0, 0.0, 5.0, 1.0, 7.0, 8.0];
        let y = backend
            .apply(Maxout::new(2).along(1), image.of_shape(&[1, 4, 2]))
            .unwrap();
        assert_eq!(y, [3.0, 2.0, 7.0, 8.0]);
        for pieces in [0, 3, 5] {
            let error = backend
                .apply(Maxout::new(pieces).along(1), image.of_shape(&[1, 4, 2]))
                .unwrap_err();
            assert!(error.to_string().contains("divisor"), "{error}");
        }
        let error = backend
            .grad(
                Maxout::new(2).along(1),
                image.of_shape(&[1, 4, 2]),
                &[0.0; 3],
            )
            .unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { .. }), "{error}");
        assert!(
            backend
                .apply(Maxout::new(2).along(1), [0.0f32; 0].of_shape(&[0, 4]))
                .unwrap()
                .is_empty()
        );
        // More than a piece travels with, and groups of every length.
        let long = numbers(60 * 70_001, 5, 10.0);
        for pieces in [2, 60] {
            let shape = [long.len()];
            let y = backend
                .apply(Maxout::new(pieces).along(0), long.of_shape(&shape))
                .unwrap();
            let groups = long.chunks(pieces);
            let want = groups.map(|g| g.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert!(y.into_iter().eq(want), "{pieces}");
        }
    }
}

#[test]
fn gumbel_softmax_samples_categories() {
    let n = 20_000;
    let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    let x: Vec<f32> = logits.iter().copied().cycle().take(3 * n).collect();
    let gumbel = GumbelSoftmax::new(0.5, Random::new(11)).unwrap();
    let mut samples = Vec::new();
    for backend in backends() {
        let hard = backend
            .apply(gumbel.hard(true).along(-1), x.of_shape(&[n, 3]))
            .unwrap();
        let soft = backend
            .apply(gumbel.along(-1), x.of_shape(&[n, 3]))
            .unwrap();
        let mut counts = [0; 3];
        for (hard, soft) in hard.chunks(3).zip(soft.chunks(3)) {
            let winner = hard.iter().position(|&y| y == 1.0).unwrap();
            counts[winner] += 1;
            assert_eq!(hard.iter().sum::<f32>(), 1.0);
            assert!(soft.iter().all(|&y| y <= soft[winner]));
            assert!((soft.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        // The Gumbel-max trick: categories have their probabilities.
        for (count, p) in counts.into_iter().zip([0.5, 0.3, 0.2]) {
            let deviation = (p * (1.0 - p) / n as f64).sqrt();
            let share = f64::from(count) / n as f64;
            assert!((share - p).abs() < 5.0 * deviation, "{counts:?}");
        }
        samples.push(hard);
        // Noise that is handed in is as good as noise that is drawn.
        let noise = backend.gumbel_noise(gumbel.random(), x.len()).unwrap();
        let given = backend
            .apply(gumbel.along(-1), (x.of_shape(&[n, 3]), &noise))
            .unwrap();
        assert_eq!(given, soft);
        let dy = numbers(x.len(), 2, 1.0);
        let grad = backend
            .grad(gumbel.along(-1), x.of_shape(&[n, 3]), &dy)
            .unwrap();
        let given = backend.grad(gumbel.along(-1), (x.of_shape(&[n, 3]), &noise), &dy);
        assert_eq!(given.unwrap(), grad);
        // Straight through: the hard one's gradient is the soft one's.
        let hard = backend.grad(gumbel.hard(true).along(-1), x.of_shape(&[n, 3]), &dy);
        assert_eq!(hard.unwrap(), grad);
        let short = backend.apply(gumbel.along(-1), (x.of_shape(&[n, 3]), &noise[1..]));
        assert!(matches!(short, Err(Error::LengthMismatch { .. })));
    }
    assert!(samples.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn alphas_below_one_are_errors() {
    for backend in backends() {
        let function = SparseFunction::Entmax { alpha: 0.5 };
        let error = backend.apply(function.along(0), &[1.0]).unwrap_err();
        assert!(error.to_string().contains("alpha = 0.5"), "{error}");
        let error = backend
            .apply(SPARSEMAX.along(0), [1.0; 3].of_shape(&[2]))
            .unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { .. }), "{error}");
    }
}

/// The device levels give what the host level gives: tensors, and buffers of the caller's own.
#[test]
fn levels_agree() {
    let shape = [11, 30, 2];
    let x = numbers(660, 1, 5.0);
    let dy = numbers(660, 2, 5.0);
    for backend in backends() {
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let [tx, tdy] = [&x, &dy].map(|v| gpu.upload(v, &shape).unwrap());
        let gumbel = GumbelSoftmax::new(0.7, Random::new(3)).unwrap();
        for function in [SPARSEMAX, ENTMAX15, SparseFunction::Hardmax] {
            let mut batch = gpu.batch();
            let y = batch.apply(function.along(1), &tx).unwrap();
            let dx = batch.grad(function.along(1), &tx, &tdy).unwrap();
            let from_output = batch.grad_from_output(function.along(1), &y, &tdy).unwrap();
            batch.submit().unwrap();
            let want = backend
                .apply(function.along(1), x.of_shape(&shape))
                .unwrap();
            assert_eq!(y.read().unwrap(), want);
            let want_dx = backend
                .grad(function.along(1), x.of_shape(&shape), &dy)
                .unwrap();
            assert_eq!(dx.read().unwrap(), want_dx);
            assert_eq!(from_output.read().unwrap(), want_dx);
        }
        let mut batch = gpu.batch();
        let sample = batch.apply(gumbel.along(1), &tx).unwrap();
        let noise = batch.gumbel_noise(gumbel.random(), &shape).unwrap();
        let given = batch.apply(gumbel.along(1), (&tx, &noise)).unwrap();
        let sampled = batch.grad(gumbel.along(1), &tx, &tdy).unwrap();
        let given_dx = batch.grad(gumbel.along(1), (&tx, &noise), &tdy).unwrap();
        let groups = batch.apply(Maxout::new(5).along(1), &tx).unwrap();
        assert_eq!(groups.shape(), [11, 6, 2]);
        let winners = batch.grad(Maxout::new(5).along(1), &tx, &groups).unwrap();
        assert!(batch.grad(Maxout::new(5).along(1), &tx, &tdy).is_err());
        assert!(batch.apply(Maxout::new(7).along(1), &tx).is_err());
        batch.submit().unwrap();
        let want = backend.apply(gumbel.along(1), x.of_shape(&shape)).unwrap();
        assert_eq!(sample.read().unwrap(), want);
        assert_eq!(given.read().unwrap(), want);
        let want = backend
            .grad(gumbel.along(1), x.of_shape(&shape), &dy)
            .unwrap();
        assert_eq!(sampled.read().unwrap(), want);
        assert_eq!(given_dx.read().unwrap(), want);
        let maxima = backend
            .apply(Maxout::new(5).along(1), x.of_shape(&shape))
            .unwrap();
        assert_eq!(groups.read().unwrap(), maxima);
        let want = backend
            .grad(Maxout::new(5).along(1), x.of_shape(&shape), &maxima)
            .unwrap();
        assert_eq!(winners.read().unwrap(), want);

        let kernels = Kernels::new(gpu.device());
        let slice = |tensor: &wgpu_activations::Tensor| tensor.buffer().clone();
        let (bx, by) = (slice(&tx), slice(&sample));
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let (x, y) = (bx.slice(..2640), by.slice(..2640));
            let rows = TypedSlice::f32(x).of_shape(&shape);
            kernels
                .apply(&mut pass, ENTMAX15.along(1), rows, y)
                .unwrap();
            let same = kernels.apply(&mut pass, ENTMAX15.along(1), rows, x);
            assert!(matches!(same, Err(Error::BufferOverlap { .. })));
            let short = by.slice(..1280);
            let short = kernels.apply(&mut pass, SPARSEMAX.along(1), rows, short);
            assert!(matches!(short, Err(Error::BufferTooSmall { .. })));
            let maxout = Maxout::new(5).along(1);
            let short = kernels.apply(&mut pass, maxout, rows, by.slice(..512));
            assert!(matches!(short, Err(Error::BufferTooSmall { .. })));
        }
        gpu.queue().submit([encoder.finish()]);
        let want = backend
            .apply(ENTMAX15.along(1), x.of_shape(&shape))
            .unwrap();
        assert_eq!(sample.read().unwrap(), want);
    }
}
