//! The losses on every backend against the f64 reference, PyTorch's rules and each other.

mod common;

use wgpu_activations::check::{self, Report};
use wgpu_activations::half::f16;
use wgpu_activations::reference::{loss as reference, ulp_error};
use wgpu_activations::{
    Array, AxisFunction, AxisShape, Backend, BceWithLogits, BinaryCrossEntropy, CrossEntropy,
    DType, Error, NllLoss, OfShape, Reduction, Targets, TypedSlice, operation_for, operations,
};

/// Marsaglia's xorshift64 (2003), between -1 and 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // 24 bits, which an f32 holds.
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn index(&mut self, below: usize) -> usize {
        ((f64::from(self.next()) + 1.0) / 2.0 * below as f64) as usize % below.max(1)
    }
}

/// The rounding of a pairwise f32 sum over `len` terms, relative to it.
fn levels(len: usize) -> f64 {
    (len.max(1) as f64).log2().ceil() * 2f64.powi(-24)
}

/// The largest error in ULP, of what an error of `allowance` times the value or its largest term
/// does not explain.
#[track_caller]
fn worst(got: &[f32], want: &reference::Values, allowance: f64) -> f64 {
    assert_eq!(got.len(), want.0.len(), "as many results as wanted values");
    let mut worst = 0.0f64;
    for ((&got, &want), &largest) in got.iter().zip(&want.0).zip(&want.1) {
        let error = (f64::from(got) - want).abs();
        let explained = want.abs().max(largest) * allowance;
        let ulp = ulp_error(got, want, largest);
        worst = worst.max(
            if error > 0.0 && error.is_finite() && explained.is_finite() {
                ulp * ((error - explained) / error).max(0.0)
            } else {
                ulp
            },
        );
    }
    worst
}

/// Logits, targets and options for one shape.
struct Case {
    shape: Vec<usize>,
    around: AxisShape,
    x: Vec<f32>,
    classes: Vec<i64>,
    q: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(shape: &[usize], axis: isize, scale: f32, offset: f32, seed: u64) -> Self {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ seed);
        let around = AxisShape::new(shape, axis).unwrap();
        let (elements, rows, len) = (around.elements(), around.rows(), around.len);
        let x = noise.take(elements);
        let classes = (0..rows).map(|_| match noise.index(len + 1) {
            // One in so many rows is ignored.
            class if class == len => -100,
            class => class as i64,
        });
        Self {
            shape: shape.to_vec(),
            around,
            x: x.iter().map(|x| x * scale + offset).collect(),
            classes: classes.collect(),
            q: noise.take(elements).iter().map(|q| q.abs()).collect(),
            weight: noise.take(len).iter().map(|w| w.abs() + 0.01).collect(),
            dy: noise.take(rows),
        }
    }
}

fn assert_passed(reports: Vec<Report>, backend: &Backend) {
    for report in reports {
        println!(
            "{} {} on {:?}: {:.2} ULP over {} values",
            report.function,
            report.pass,
            backend.kind(),
            report.worst_ulp,
            report.inputs
        );
        assert!(report.passed() && report.inputs > 1000, "{report:?}");
    }
}

#[test]
fn cross_entropy_meets_the_reference() {
    for backend in common::backends() {
        assert_passed(check::loss::cross_entropy(&backend).unwrap(), &backend);
    }
}

#[test]
fn binary_cross_entropy_meets_the_reference() {
    for backend in common::backends() {
        let reports = check::loss::binary_cross_entropy_with_logits(&backend).unwrap();
        assert_passed(reports, &backend);
        let reports = check::loss::binary_cross_entropy(&backend).unwrap();
        assert_passed(reports, &backend);
    }
}

/// The harness must object to another loss, and to a gradient of the wrong sign.
#[test]
fn a_wrong_loss_is_seen() {
    let case = Case::new(&[9, 64], 1, 4.0, 0.0, 1);
    let backend = Backend::cpu();
    let targets = Targets::Indices(&case.classes);
    let plain = CrossEntropy::new().reduction(Reduction::None);
    let smooth = plain.clone().label_smoothing(0.01);
    let (x, shape) = (&case.x, &case.shape);
    let got = backend
        .apply(&smooth, (x.of_shape(shape), targets))
        .unwrap();
    let want = reference::cross_entropy(&plain, x, shape, targets).unwrap();
    assert!(worst(&got, &want, levels(64)) > 1000.0);
    let negative: Vec<f32> = case.dy.iter().map(|dy| -dy).collect();
    let got = backend.grad(&plain, (x.of_shape(shape), targets), &negative);
    let want = reference::grad_cross_entropy(&plain, x, shape, targets, &case.dy);
    assert!(worst(&got.unwrap(), &want.unwrap(), levels(64)) > 1000.0);
}

/// Rows over several pieces of host memory, rows longer than most, and long columns.
#[test]
fn long_rows() {
    let backends = common::backends();
    for (shape, axis) in [
        (&[17, 262_144][..], 1),
        (&[2, 700_001], 1),
        (&[3000, 70], 0),
    ] {
        let case = Case::new(shape, axis, 8.0, 0.0, 5);
        let loss = CrossEntropy::new().axis(axis).reduction(Reduction::None);
        let targets = Targets::Indices(&case.classes);
        let want = reference::cross_entropy(&loss, &case.x, shape, targets).unwrap();
        let ones = vec![1.0; case.around.rows()];
        let slopes = reference::grad_cross_entropy(&loss, &case.x, shape, targets, &ones).unwrap();
        for backend in &backends {
            let (losses, dx) = backend
                .apply_with_grad(&loss, (case.x.of_shape(shape), targets))
                .unwrap();
            let forward = worst(&losses, &want, 0.0);
            let backward = worst(&dx, &slopes, 2.0 * levels(case.around.len));
            println!(
                "{shape:?}, {:?}: {forward:.2}, {backward:.2}",
                backend.kind()
            );
            assert!(forward <= 4.0 && backward <= 4.0, "{forward} {backward}");
        }
    }
}

/// The loss and its gradient of one row on a backend.
fn row(backend: &Backend, loss: &CrossEntropy, x: &[f32], targets: Targets<'_>) -> (f32, Vec<f32>) {
    let loss = loss.clone().reduction(Reduction::None);
    let (value, dx) = backend
        .apply_with_grad(&loss, (x.of_shape(&[1, x.len()]), targets))
        .unwrap();
    (value[0], dx)
}

#[test]
fn edges_are_as_documented() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let plain = CrossEntropy::new();
    for backend in common::backends() {
        let row = |loss: &CrossEntropy, x: &[f32], targets| row(&backend, loss, x, targets);
        // A target far below, and one at minus infinity.
        let (loss, dx) = row(&plain, &[0.0, 3000.0, -1000.0], Targets::Indices(&[2]));
        assert_eq!((loss, &dx[..]), (4000.0, &[0.0, 1.0, -1.0][..]));
        let (loss, dx) = row(&plain, &[0.0, -inf], Targets::Indices(&[1]));
        assert_eq!((loss, &dx[..]), (inf, &[1.0, -1.0][..]));
        // Rows without an answer, which ignored are 0.
        for x in [
            [nan, 0.0, 1.0],
            [0.0, 1.0, nan],
            [inf, 0.0, 1.0],
            [-inf; 3],
            [nan; 3],
        ] {
            for targets in [
                Targets::Indices(&[0]),
                Targets::Indices32(&[1]),
                Targets::Probabilities(&[0.5, 0.5, 0.0]),
            ] {
                let (loss, dx) = row(&plain, &x, targets);
                assert!(loss.is_nan(), "{x:?} {targets:?} {loss}");
                assert!(dx.iter().all(|dx| dx.is_nan()), "{x:?} {targets:?} {dx:?}");
            }
            let (loss, dx) = row(&plain, &x, Targets::Indices(&[-100]));
            assert_eq!((loss, &dx[..]), (0.0, &[0.0; 3][..]));
            let seventh = CrossEntropy::new().ignore_index(7).label_smoothing(0.5);
            assert_eq!(row(&seventh, &x, Targets::Indices(&[7])).0, 0.0);
        }
        // A single class is certain.
        let (loss, dx) = row(&plain, &[-7.0], Targets::Indices(&[0]));
        assert_eq!((loss, dx[0]), (0.0, 0.0));
        // Weights and probabilities of 0 win.
        let weighted = CrossEntropy::new().weight(&[0.0, 1.0]);
        let (loss, dx) = row(&weighted, &[-inf, 0.0], Targets::Indices(&[0]));
        assert_eq!((loss, &dx[..]), (0.0, &[0.0, 0.0][..]));
        let (loss, dx) = row(&plain, &[-inf, 0.0], Targets::Probabilities(&[0.0, 1.0]));
        assert_eq!((loss, &dx[..]), (0.0, &[0.0, 0.0][..]));
        let smooth = CrossEntropy::new().label_smoothing(0.1);
        assert_eq!(row(&smooth, &[-inf, 0.0], Targets::Indices(&[1])).0, inf);
        // A gradient that does not reach a row stays 0, and one that is infinite has a sign.
        let each = plain.clone().reduction(Reduction::None);
        let x = [-inf, 0.0, 0.0];
        let targets = Targets::Indices(&[1]);
        let dx = backend.grad(&each, (x.of_shape(&[1, 3]), targets), &[inf]);
        assert_eq!(dx.unwrap(), [0.0, -inf, inf]);
        let dx = backend.grad(&each, (x.of_shape(&[1, 3]), targets), &[0.0]);
        assert!(dx.unwrap().iter().all(|dx| *dx == 0.0));
        let dx = backend.grad(&each, (x.of_shape(&[1, 3]), targets), &[nan]);
        assert!(dx.unwrap().iter().all(|dx| dx.is_nan()));
    }
}

/// Losses near 0 keep their precision: log(1 + e^-d), e^-d / (1 + e^-d).
#[test]
fn confident_predictions() {
    for backend in common::backends() {
        for d in [0.5f32, 3.0, 10.0, 13.8, 15.9, 16.1, 20.0, 40.0, 80.0] {
            for offset in [0.0, 1024.0] {
                let e = libm::exp(-f64::from(d));
                let (want, share) = (libm::log1p(e), e / (1.0 + e));
                for targets in [Targets::Indices(&[1]), Targets::Probabilities(&[0.0, 1.0])] {
                    // The difference is exact in f32.
                    let x = [offset - d, offset];
                    let d = f64::from(x[1]) - f64::from(x[0]);
                    let (want, share) = if offset == 0.0 {
                        (want, share)
                    } else {
                        let e = libm::exp(-d);
                        (libm::log1p(e), e / (1.0 + e))
                    };
                    let (loss, dx) = row(&backend, &CrossEntropy::new(), &x, targets);
                    assert!(ulp_error(loss, want, 0.0) <= 4.0, "{d}: {loss:e}, {want:e}");
                    assert!(
                        ulp_error(dx[0], share, 0.0) <= 4.0,
                        "{d}: {dx:?}, {share:e}"
                    );
                    // For probabilities p - 1 is relative to the larger of the two.
                    let largest = match targets {
                        Targets::Indices(_) => 0.0,
                        _ => 1.0,
                    };
                    assert!(
                        ulp_error(dx[1], -share, largest) <= 4.0,
                        "{d}: {dx:?}, {share:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn reductions_of_nothing() {
    let none: &[i64] = &[];
    for backend in common::backends() {
        for (shape, targets) in [(&[0usize, 3][..], none), (&[2, 3], &[-100, -100])] {
            let x = vec![1.0; shape.iter().product()];
            let targets = Targets::Indices(targets);
            let value = |reduction| {
                let loss = CrossEntropy::new().reduction(reduction);
                backend.apply(&loss, (x.of_shape(shape), targets)).unwrap()
            };
            assert!(value(Reduction::Mean)[0].is_nan());
            assert_eq!(value(Reduction::Sum)[0].to_bits(), 0);
            assert_eq!(value(Reduction::None), vec![0.0; shape[0]]);
            let mean = CrossEntropy::new();
            let dx = backend.grad(&mean, (x.of_shape(shape), targets), &[1.0]);
            assert_eq!(dx.unwrap(), vec![0.0; x.len()]);
        }
        let bce = backend.apply(BceWithLogits::new(), (&[0.0f32; 0], &[0.0f32; 0]));
        assert!(bce.unwrap()[0].is_nan());
    }
}

/// What is refused says where it is.
#[test]
fn mistakes_are_refused() {
    let x = [0.0; 6];
    for backend in common::backends() {
        let loss = CrossEntropy::new();
        let error = backend.apply(&loss, (x.of_shape(&[2, 3]), Targets::Indices(&[0, 3])));
        assert!(matches!(
            error,
            Err(Error::TargetOutOfRange {
                row: 1,
                target: 3,
                classes: 3
            })
        ));
        let error = backend.grad(
            &loss,
            (x.of_shape(&[2, 3]), Targets::Indices(&[-1, 0])),
            &[1.0],
        );
        assert!(matches!(
            error,
            Err(Error::TargetOutOfRange {
                row: 0,
                target: -1,
                classes: 3
            })
        ));
        let short = CrossEntropy::new().weight(&[1.0; 2]);
        let error = backend.apply(&short, (x.of_shape(&[2, 3]), Targets::Indices(&[0, 1])));
        assert!(matches!(
            error,
            Err(Error::LengthMismatch {
                expected: 3,
                got: 2,
                ..
            })
        ));
        let error = backend.grad(
            &loss,
            (x.of_shape(&[2, 3]), Targets::Indices(&[0, 1])),
            &[1.0; 2],
        );
        assert!(matches!(error, Err(Error::LengthMismatch { .. })));
        let error = backend.apply(
            NllLoss::new(),
            (x.of_shape(&[2, 3]), Targets::Indices32(&[0, 9])),
        );
        assert!(matches!(error, Err(Error::TargetOutOfRange { row: 1, .. })));
        let error = backend.apply(BinaryCrossEntropy::new(), (&[0.5, 1.5], &[1.0; 2]));
        assert!(matches!(
            error,
            Err(Error::NotAProbability { index: 1, .. })
        ));
    }
}

/// Softmax of two logits is the logistic function of their difference, and its cross entropy the
/// binary one.
#[test]
fn two_classes_are_one_logit() {
    let mut noise = Noise(11);
    let z: Vec<f32> = noise.take(1000).iter().map(|z| z * 30.0).collect();
    // The class 1 has the logit z, the class 0 has 0.
    let x: Vec<f32> = z.iter().flat_map(|&z| [0.0, z]).collect();
    let shape = [z.len(), 2];
    let targets: Vec<i64> = (0..z.len() as i64).map(|i| i % 2).collect();
    let t: Vec<f32> = targets.iter().map(|&t| t as f32).collect();
    for backend in common::backends() {
        let y = backend
            .apply(AxisFunction::Softmax.along(-1), x.of_shape(&shape))
            .unwrap();
        let sigmoid = backend
            .apply(wgpu_activations::Activation::Sigmoid, &z)
            .unwrap();
        for (pair, sigmoid) in y.chunks(2).zip(&sigmoid) {
            assert!(ulp_error(pair[1], (*sigmoid).into(), 0.0) <= 4.0);
        }
        for reduction in Reduction::ALL {
            let loss = CrossEntropy::new().reduction(*reduction);
            let binary = BceWithLogits::new().reduction(*reduction);
            let targets = Targets::Indices(&targets);
            let two = backend.apply(&loss, (x.of_shape(&shape), targets)).unwrap();
            let one = backend.apply(&binary, (&z, &t)).unwrap();
            assert_eq!(one.len(), two.len());
            for (one, two) in one.iter().zip(&two) {
                assert!(ulp_error(*two, (*one).into(), 0.0) <= 4.0, "{one} {two}");
            }
            let dy = vec![1.0; one.len()];
            let two = backend
                .grad(&loss, (x.of_shape(&shape), targets), &dy)
                .unwrap();
            let one = backend.grad(&binary, (&z, &t), &dy).unwrap();
            for (one, two) in one.iter().zip(two.chunks(2)) {
                assert!(
                    ulp_error(two[1], (*one).into(), 0.0) <= 4.0,
                    "{one} {two:?}"
                );
            }
        }
    }
}

#[test]
fn binary_edges() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let loss = BceWithLogits::new().reduction(Reduction::None);
    let x = [inf, -inf, inf, -inf, nan, 0.0, 0.0];
    let t = [1.0, 0.0, 0.0, 1.0, 0.0, nan, 0.5];
    let dy = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, inf];
    let p = BinaryCrossEntropy::new().reduction(Reduction::None);
    for backend in common::backends() {
        let y = backend.apply(&loss, (&x, &t));
        let y = y.unwrap();
        assert_eq!(y[..4], [0.0, 0.0, inf, inf]);
        assert!(y[4].is_nan() && y[5].is_nan());
        let dx = backend.grad(&loss, (&x, &t), &dy);
        let dx = dx.unwrap();
        assert_eq!(dx[..4], [0.0, 0.0, 1.0, -1.0]);
        // The gradient is 0 at sigmoid(x) = t, and 0 wins.
        assert!(dx[4].is_nan() && dx[5].is_nan() && dx[6] == 0.0, "{dx:?}");
        let x = [0.0, 1.0, 0.0, 1.0, nan];
        let t = [0.0, 1.0, 1.0, 0.0, 1.0];
        let y = backend.apply(&p, (&x, &t)).unwrap();
        assert_eq!(y[..4], [0.0, 0.0, 100.0, 100.0]);
        assert!(y[4].is_nan());
    }
}

#[test]
fn nll_loss_picks() {
    let case = Case::new(&[7, 5, 3], 1, 3.0, -3.0, 9);
    let targets = Targets::Indices(&case.classes);
    for backend in common::backends() {
        for reduction in Reduction::ALL {
            let loss = NllLoss::new().weight(&case.weight).reduction(*reduction);
            let value = backend
                .apply(&loss, (case.x.of_shape(&case.shape), targets))
                .unwrap();
            let want = reference::nll_loss(&loss, &case.x, &case.shape, targets).unwrap();
            assert!(worst(&value, &want, 0.0) <= 1.0);
            let dy = &case.dy[..value.len()];
            let dx = backend
                .grad(&loss, (case.x.of_shape(&case.shape), targets), dy)
                .unwrap();
            let want = reference::grad_nll_loss(&loss, &case.shape, targets, dy).unwrap();
            let zeros = vec![0.0; want.len()];
            assert!(worst(&dx, &(want, zeros), 0.0) <= 1.0);
        }
    }
}

/// A line of `data/losses.jsonl`: PyTorch's own formulas in f64 (`data/losses.py`).
#[derive(serde::Deserialize)]
struct Line {
    function: String,
    shape: Vec<usize>,
    x: Vec<f32>,
    classes: Option<Vec<i64>>,
    probabilities: Option<Vec<f32>>,
    targets: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
    pos_weight: Option<Vec<f32>>,
    #[serde(default)]
    smoothing: f32,
    #[serde(default)]
    ignore_index: i64,
    reduction: String,
    /// Null stands for NaN; an empty gradient was not computed.
    loss: Vec<Option<f64>>,
    gradient: Vec<Option<f64>>,
}

impl Line {
    /// Loss and gradient for an upstream gradient of 1.
    fn run(&self, backend: &Backend) -> (Vec<f32>, Vec<f32>) {
        let (x, shape) = (&self.x[..], &self.shape[..]);
        let reduction: Reduction = self.reduction.parse().unwrap();
        let ones = vec![1.0; self.loss.len()];
        let weight = self.weight.as_deref();
        let targets = match (&self.classes, &self.probabilities) {
            (Some(classes), _) => classes.into(),
            (None, Some(q)) => q.into(),
            (None, None) => Targets::Probabilities(&[]),
        };
        match &self.function[..] {
            "cross_entropy" => {
                let mut loss = CrossEntropy::new()
                    .label_smoothing(self.smoothing)
                    .ignore_index(self.ignore_index)
                    .reduction(reduction);
                if let Some(weight) = weight {
                    loss = loss.weight(weight);
                }
                let value = backend.apply(&loss, (x.of_shape(shape), targets)).unwrap();
                let dx = backend.grad(&loss, (x.of_shape(shape), targets), &ones);
                (value, dx.unwrap())
            }
            "nll_loss" => {
                let mut loss = NllLoss::new()
                    .ignore_index(self.ignore_index)
                    .reduction(reduction);
                if let Some(weight) = weight {
                    loss = loss.weight(weight);
                }
                let value = backend.apply(&loss, (x.of_shape(shape), targets)).unwrap();
                let dx = backend.grad(&loss, (x.of_shape(shape), targets), &ones);
                (value, dx.unwrap())
            }
            "binary_cross_entropy" => {
                let mut loss = BinaryCrossEntropy::new().reduction(reduction);
                if let Some(weight) = weight {
                    loss = loss.weight(weight);
                }
                let t = self.targets.as_ref().unwrap();
                let value = backend.apply(&loss, (x.of_shape(shape), t)).unwrap();
                let dx = backend.grad(&loss, (x.of_shape(shape), t), &ones);
                (value, dx.unwrap())
            }
            "binary_cross_entropy_with_logits" => {
                let mut loss = BceWithLogits::new().reduction(reduction);
                if let Some(weight) = weight {
                    loss = loss.weight(weight);
                }
                if let Some(weight) = &self.pos_weight {
                    loss = loss.pos_weight(weight);
                }
                let t = self.targets.as_ref().unwrap();
                let value = backend.apply(&loss, (x.of_shape(shape), t));
                let dx = backend.grad(&loss, (x.of_shape(shape), t), &ones);
                (value.unwrap(), dx.unwrap())
            }
            other => panic!("{other}"),
        }
    }

    /// What is off, if anything.
    fn compare(&self, loss: &[f32], dx: &[f32]) -> Result<(), String> {
        let near = |got: f32, want: Option<f64>, absolute: f64| match want {
            None => got.is_nan(),
            Some(want) => {
                ulp_error(got, want, 0.0) <= 4.0 || (f64::from(got) - want).abs() <= absolute
            }
        };
        let pairs = loss.iter().zip(&self.loss);
        // The data's own sums cancel to within 1e-15 of their terms.
        let mut off = pairs.filter(|(got, want)| !near(**got, **want, 1e-14));
        if let Some((got, want)) = off.next_back() {
            return Err(format!("loss {got} instead of {want:?}"));
        }
        let pairs = dx.iter().zip(&self.gradient);
        // Central differences are within 1e-9. Where a gradient is the difference of two terms,
        // errors are relative to these, which are below 8 here.
        let plain = self.smoothing == 0.0 && self.classes.is_some();
        let absolute = if plain {
            1e-9
        } else {
            4.0 * 8.0 * 2f64.powi(-24)
        };
        let mut off = pairs.filter(|(got, want)| !near(**got, **want, absolute));
        match off.next_back() {
            Some((got, want)) => Err(format!("gradient {got} instead of {want:?}")),
            None => Ok(()),
        }
    }
}

#[test]
fn pytorchs_formulas() {
    let lines: Vec<Line> = include_str!("data/losses.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 100);
    for backend in common::backends() {
        for (i, line) in lines.iter().enumerate() {
            let (loss, dx) = line.run(&backend);
            assert_eq!(loss.len(), line.loss.len());
            if let Err(what) = line.compare(&loss, &dx) {
                panic!("line {}, {:?}: {what}", i + 1, backend.kind());
            }
            // What is a little off is seen.
            let off: Vec<f32> = loss.iter().map(|loss| loss * 1.00001 + 1e-6).collect();
            let nan = line.loss.iter().all(|loss| loss.is_none());
            assert!(nan || line.compare(&off, &dx).is_err(), "line {}", i + 1);
        }
    }
}

/// On tensors: every loss and gradient, as from host memory.
#[test]
fn tensors_give_what_host_memory_gives() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    let case = Case::new(&[6, 40, 5], 1, 4.0, 0.0, 21);
    let shape = &case.shape[..];
    let (classes, q) = (
        Targets::Indices(&case.classes),
        Targets::Probabilities(&case.q),
    );
    let x = gpu.upload(&case.x, shape).unwrap();
    for &reduction in Reduction::ALL {
        let plain = CrossEntropy::new().reduction(reduction);
        let weighted = plain.clone().weight(&case.weight).label_smoothing(0.2);
        for (loss, targets) in [(&plain, classes), (&weighted, classes), (&weighted, q)] {
            let (want, want_dx) = backend
                .apply_with_grad(loss, (case.x.of_shape(shape), targets))
                .unwrap();
            let dy = gpu.upload(
                &vec![1.0; want.len()],
                &match reduction {
                    Reduction::None => vec![6, 5],
                    _ => vec![],
                },
            );
            let dy = dy.unwrap();
            let labels = gpu.labels(loss.clone(), shape, targets).unwrap();
            let mut batch = gpu.batch();
            let value = batch.apply(loss, (&x, &labels)).unwrap();
            let dx = batch.grad(loss, (&x, &labels), &dy).unwrap();
            let (again, both) = batch.apply_with_grad(loss, (&x, &labels)).unwrap();
            batch.submit().unwrap();
            assert_eq!(value.shape(), dy.shape());
            for (got, want) in value.read().unwrap().iter().zip(&want) {
                assert!(ulp_error(*got, (*want).into(), 0.0) <= 2.0, "{got} {want}");
            }
            assert_eq!(value.read().unwrap(), again.read().unwrap());
            for dx in [dx, both] {
                for (got, want) in dx.read().unwrap().iter().zip(&want_dx) {
                    assert!(ulp_error(*got, (*want).into(), 1e-3) <= 4.0, "{got} {want}");
                }
            }
        }
        let loss = NllLoss::new().weight(&case.weight).reduction(reduction);
        let labels = gpu.labels(loss.clone(), shape, classes).unwrap();
        let want = backend
            .apply(&loss, (case.x.of_shape(shape), classes))
            .unwrap();
        let dy = &case.dy[..want.len()];
        let want_dx = backend
            .grad(&loss, (case.x.of_shape(shape), classes), dy)
            .unwrap();
        let mut batch = gpu.batch();
        let value = batch.apply(&loss, (&x, &labels)).unwrap();
        let dy = gpu.upload(dy, value.shape()).unwrap();
        let dx = batch.grad(&loss, (&x, &labels), &dy).unwrap();
        assert!(batch.apply(&loss, (&dy, &labels)).is_err());
        batch.submit().unwrap();
        for (got, want) in value.read().unwrap().iter().zip(&want) {
            assert!(ulp_error(*got, (*want).into(), 0.0) <= 2.0, "{got} {want}");
        }
        for (got, want) in dx.read().unwrap().iter().zip(&want_dx) {
            assert!(ulp_error(*got, (*want).into(), 0.0) <= 2.0, "{got} {want}");
        }

        let t = gpu.upload(&case.q, shape).unwrap();
        let loss = BceWithLogits::new()
            .reduction(reduction)
            .axis(1)
            .pos_weight(&case.weight);
        let of_p = BinaryCrossEntropy::new().reduction(reduction);
        let want = [
            backend.apply(&loss, (case.x.of_shape(shape), &case.q)),
            backend.apply(&of_p, (case.q.of_shape(shape), &case.q)),
        ];
        let mut batch = gpu.batch();
        let value = [
            batch.apply(&loss, (&x, &t)).unwrap(),
            batch.apply(&of_p, (&t, &t)).unwrap(),
        ];
        let ones = vec![1.0; value[0].len()];
        let dy = gpu.upload(&ones, value[0].shape()).unwrap();
        let dx = [
            batch.grad(&loss, (&x, &t), &dy).unwrap(),
            batch.grad(&of_p, (&t, &t), &dy).unwrap(),
        ];
        batch.submit().unwrap();
        for (value, want) in value.iter().zip(want) {
            for (got, want) in value.read().unwrap().iter().zip(want.unwrap()) {
                assert!(ulp_error(*got, want.into(), 0.0) <= 2.0, "{got} {want}");
            }
        }
        let want = [
            backend.grad(&loss, (case.x.of_shape(shape), &case.q), &ones),
            backend.grad(&of_p, (case.q.of_shape(shape), &case.q), &ones),
        ];
        for (dx, want) in dx.iter().zip(want) {
            for (got, want) in dx.read().unwrap().iter().zip(want.unwrap()) {
                assert!(ulp_error(*got, want.into(), 1e-3) <= 4.0, "{got} {want}");
            }
        }
    }
    // Nothing to reduce.
    let loss = CrossEntropy::new();
    let labels = gpu.labels(loss.clone(), &[2, 3], Targets::Indices(&[-100, -100]));
    let x = gpu.upload(&[1.0; 6], &[2, 3]).unwrap();
    let empty = gpu.upload(&[0.0f32; 0], &[0, 3]).unwrap();
    let sum = loss.clone().reduction(Reduction::Sum);
    let none = gpu.labels(sum.clone(), &[0, 3], Targets::Indices(&[]));
    let ignored = gpu.labels(sum.clone(), &[2, 0], Targets::Indices(&[-100, -100]));
    let no_classes = gpu.upload(&[0.0f32; 0], &[2, 0]).unwrap();
    let mut batch = gpu.batch();
    let (mean, dx) = batch
        .apply_with_grad(&loss, (&x, &labels.unwrap()))
        .unwrap();
    let of_none = batch.apply(&sum, (&no_classes, &ignored.unwrap())).unwrap();
    let sum = batch.apply(&sum, (&empty, &none.unwrap())).unwrap();
    batch.submit().unwrap();
    assert_eq!(of_none.read().unwrap(), [0.0]);
    assert!(mean.read().unwrap()[0].is_nan());
    assert_eq!(dx.read().unwrap(), [0.0; 6]);
    assert_eq!(sum.read().unwrap(), [0.0]);
}

/// Losses by their names, whose types nobody knows, have their labels and weights on tensors, too.
#[test]
fn losses_of_the_registry_have_labels_and_weights_on_tensors() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    let shape = &[3, 4][..];
    let mut noise = Noise(31);
    let x: Vec<f32> = noise.take(12).iter().map(|x| x.abs()).collect();
    let weight: Vec<f32> = noise.take(4).iter().map(|w| 2.0 + w).collect();
    let (classes, q) = ([1i64, 3, 0], vec![0.25; 12]);
    let tx = gpu.upload(&x, shape).unwrap();
    let tq = gpu.upload(&q, shape).unwrap();
    let mut seen = Vec::new();
    for info in operations() {
        // What takes other shapes has no weights; the list below says which do.
        let Ok(plain) = operation_for(info.name, &[shape]) else {
            continue;
        };
        for input in info.forms[0].iter().filter(|input| input.optional) {
            let Some(held) = plain.with_weight(input.name, &weight) else {
                assert!(
                    !input.name.contains("weight"),
                    "{} {}",
                    info.name,
                    input.name
                );
                continue;
            };
            seen.push(format!("{}.{}", info.name, input.name));
            let named = || Array::from(&weight).named(input.name);
            let mut batch = gpu.batch();
            let (want, got) = match held.class_loss() {
                Some(loss) => {
                    let labels = gpu.labels(loss, shape, (&classes).into()).unwrap();
                    assert_eq!(labels.shape(), [3]);
                    let want = backend.apply(&*plain, (x.of_shape(shape), &classes, named()));
                    (want, batch.apply(&*held, (&tx, &labels)))
                }
                None => {
                    let want =
                        backend.apply(&*plain, (x.of_shape(shape), q.of_shape(shape), named()));
                    (want, batch.apply(&*held, (&tx, &tq)))
                }
            };
            batch.submit().unwrap();
            let (want, got) = (want.unwrap(), got.unwrap().read().unwrap());
            let unweighted = match plain.class_loss() {
                Some(_) => backend.apply(&*plain, (x.of_shape(shape), &classes)),
                None => backend.apply(&*plain, (x.of_shape(shape), q.of_shape(shape))),
            };
            assert_ne!(want, unweighted.unwrap());
            assert!(
                ulp_error(got[0], want[0].into(), 0.0) <= 2.0,
                "{got:?} {want:?}"
            );
        }
    }
    assert_eq!(
        seen,
        [
            "cross_entropy.weight",
            "nll_loss.weight",
            "binary_cross_entropy_with_logits.weight",
            "binary_cross_entropy_with_logits.pos_weight",
            "binary_cross_entropy.weight",
            "focal_loss.weight",
        ]
    );
}

/// On the caller's buffers nobody can refuse a target: its row is NaN.
#[test]
fn unchecked_targets_make_nan() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let x = gpu.upload(&[1.0; 9], &[3, 3]).unwrap();
    // As i32, whose bits travel as those of an f32.
    let targets = [1, 3, -1].map(|t: i32| f32::from_bits(t as u32));
    let targets = gpu.upload(&targets, &[3]).unwrap();
    let (losses, dx) = (gpu.empty(&[3]).unwrap(), gpu.empty(&[3, 3]).unwrap());
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let logits = TypedSlice::f32(x.buffer().slice(..36)).of_shape(&[3, 3]);
        let classes = TypedSlice::classes(targets.buffer().slice(..12));
        let loss = CrossEntropy::new().reduction(Reduction::None);
        let (losses, dx) = (losses.buffer().slice(..12), dx.buffer().slice(..36));
        let kernels = gpu.kernels();
        kernels
            .apply_with_grad(&mut pass, loss, (logits, classes), losses, dx)
            .unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    let (losses, dx) = (losses.read().unwrap(), dx.read().unwrap());
    assert!(ulp_error(losses[0], libm::log(3.0), 0.0) <= 2.0);
    assert!(losses[1].is_nan() && losses[2].is_nan());
    assert!(dx[..3].iter().all(|dx| dx.is_finite()));
    assert!(dx[3..].iter().all(|dx| dx.is_nan()));
}

/// On the caller's buffers: elements' losses, and the gradient, at an offset.
#[test]
fn binary_losses_on_buffers() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    let mut noise = Noise(5);
    let (x, t) = (noise.take(128 * 3), noise.take(128 * 3));
    let (x, t) = (&x[..], &t.iter().map(|t| t.abs()).collect::<Vec<_>>()[..]);
    let positive = [0.5, 3.0, 1.0];
    let shape = [64, 3];
    let loss = BceWithLogits::new()
        .pos_weight(&positive)
        .reduction(Reduction::None);
    let [x_all, t_all] = [x, t].map(|values| gpu.upload(values, &[values.len()]).unwrap());
    let dy = gpu.upload(&[0.5], &[1]).unwrap();
    let value = gpu.empty(&[]).unwrap();
    let [losses, dx] = [(); 2].map(|()| gpu.empty(&[192]).unwrap());
    // The second half of each.
    let half = 192 * 4..384 * 4;
    let inputs = TypedSlice::f32(x_all.buffer().slice(half.clone())).of_shape(&shape);
    let inputs = (inputs, t_all.buffer().slice(half));
    let mean = loss.clone().reduction(Reduction::Mean);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let kernels = gpu.kernels();
        let out = losses.buffer().slice(..192 * 4);
        kernels.apply(&mut pass, &loss, inputs, out).unwrap();
        let dy = dy.buffer().slice(..4);
        let out = dx.buffer().slice(..192 * 4);
        kernels.grad(&mut pass, &mean, inputs, dy, out).unwrap();
        let out = value.buffer().slice(..4);
        kernels.apply(&mut pass, &mean, inputs, out).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    let (x, t) = (&x[192..], &t[192..]);
    let want = backend.apply(&loss, (x.of_shape(&shape), t));
    assert_eq!(losses.read().unwrap(), want.unwrap());
    let want = backend.apply(&mean, (x.of_shape(&shape), t)).unwrap()[0];
    let got = value.read().unwrap()[0];
    assert!(ulp_error(got, want.into(), 0.0) <= 2.0, "{got} {want}");
    let want = backend.grad(&mean, (x.of_shape(&shape), t), &[0.5]);
    for (got, want) in dx.read().unwrap().iter().zip(want.unwrap()) {
        assert!(ulp_error(*got, want.into(), 0.0) <= 4.0, "{got} {want}");
    }
}

/// What an operation on buffers cannot do it refuses, before anything is recorded.
#[test]
fn options_that_an_operation_does_not_take_are_refused() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let x = gpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    // The classes 1 and 0, as i32.
    let targets = gpu.upload(&[f32::from_bits(1), 0.0], &[2]).unwrap();
    let dy = gpu.upload(&[1.0, 1.0], &[2]).unwrap();
    let [losses, dx] = [gpu.empty(&[2]).unwrap(), gpu.empty(&[2, 2]).unwrap()];
    let [x, losses_range, dx_range] = [
        x.buffer().slice(..16),
        losses.buffer().slice(..8),
        dx.buffer().slice(..16),
    ];
    let logits = TypedSlice::f32(x).of_shape(&[2, 2]);
    let classes = TypedSlice::classes(targets.buffer().slice(..8));
    let each = CrossEntropy::new().reduction(Reduction::None);
    let kernels = gpu.kernels();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let of_q = TypedSlice::f32(x);
        for (loss, targets, option) in [
            (CrossEntropy::new(), classes, "mean"),
            (each.clone().ignore_index(1), of_q, "ignore_index"),
            (each.clone().weight(&[1.0; 3]), classes, "weight has 3"),
        ] {
            let (pass, inputs) = (&mut pass, (logits, targets));
            let dy = dy.buffer().slice(..8);
            for call in [
                kernels.apply(pass, &loss, inputs, losses_range),
                kernels.grad(pass, &loss, inputs, dy, dx_range),
                kernels.apply_with_grad(pass, &loss, inputs, losses_range, dx_range),
            ] {
                let error = call.unwrap_err().to_string();
                assert!(error.contains(option), "{error}");
            }
        }
        let two = [dx_range.into(), losses_range.into()];
        let two = kernels.grads(&mut pass, &each, (logits, classes), losses_range, two);
        assert!(two.unwrap_err().to_string().contains("one gradient"));
        let in_place = kernels.apply_in_place(&mut pass, &each, (logits, classes));
        assert!(matches!(in_place, Err(Error::NotInPlace { .. })));
        let half = TypedSlice::new(x, DType::F16).of_shape(&[2, 2]);
        let narrow = kernels.apply(&mut pass, &each, (half, classes), losses_range);
        assert!(narrow.unwrap_err().to_string().contains("identity"));
        // What it can do it does: the loss's weight; and a mean, over as many rows as it is told.
        let weighted = each.clone().weight(&[1.0, 10.0]);
        kernels
            .apply(&mut pass, weighted, (logits, classes), losses_range)
            .unwrap();
        let dy = dy.buffer().slice(..4);
        let inputs = (logits, classes.mean_over(2.0));
        kernels
            .grad(&mut pass, CrossEntropy::new(), inputs, dy, dx_range)
            .unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    // Both rows are (a, a + 1): log(1 + 1/e) and log(1 + e).
    let [one, other] = [libm::log1p((-1.0f64).exp()), libm::log1p(1.0f64.exp())];
    for (got, want) in losses.read().unwrap().iter().zip([10.0 * one, other]) {
        assert!(ulp_error(*got, want, 0.0) <= 2.0, "{got} {want}");
    }
    let p = 1.0 / (1.0 + 1.0f64.exp());
    let want = [0.5 * p, -0.5 * p, -0.5 * (1.0 - p), 0.5 * (1.0 - p)];
    for (got, want) in dx.read().unwrap().iter().zip(want) {
        assert!(ulp_error(*got, want, 0.0) <= 4.0, "{got} {want}");
    }
}

/// Labels are of one loss; another one's operations refuse them.
#[test]
fn labels_of_another_loss_are_refused() {
    let Some(Backend::Gpu(gpu)) = common::backends().pop() else {
        return;
    };
    let x = gpu.upload(&[-1.0, -2.0, -3.0, -4.0], &[2, 2]).unwrap();
    let one = gpu.upload(&[1.0], &[]).unwrap();
    let targets = Targets::Indices(&[1, 0]);
    let (of_nll, of_entropy) = (NllLoss::new(), CrossEntropy::new());
    let nll = gpu.labels(of_nll.clone(), &[2, 2], targets).unwrap();
    let entropy = gpu.labels(of_entropy.clone(), &[2, 2], targets).unwrap();
    let weighted = of_nll.clone().weight(&[1.0, 2.0]);
    let mut batch = gpu.batch();
    let refused = [
        batch.apply(&of_entropy, (&x, &nll)).map(drop),
        batch.grad(&of_entropy, (&x, &nll), &one).map(drop),
        batch.apply_with_grad(&of_entropy, (&x, &nll)).map(drop),
        batch.apply(&of_nll, (&x, &entropy)).map(drop),
        batch.grad(&of_nll, (&x, &entropy), &one).map(drop),
        batch.apply(&weighted, (&x, &nll)).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::OtherLabels { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("nll_loss"), "{text}");
    }
    let loss = batch.apply(&of_nll, (&x, &nll)).unwrap();
    // What is reduced does not change the targets.
    let sum = of_nll.reduction(Reduction::Sum);
    let sum = batch.apply(&sum, (&x, &nll)).unwrap();
    batch.submit().unwrap();
    assert_eq!(loss.read().unwrap(), [2.5]);
    assert_eq!(sum.read().unwrap(), [5.0]);
    assert!(
        gpu.labels(NllLoss::new(), &[2, 2], Targets::Probabilities(&[0.5; 4]))
            .is_err()
    );
}

/// Weights, positive weights and upstream gradients of any size: only the product of all of them is
/// to lie in f32.
#[test]
fn products_of_extreme_weights_do_not_leave_f32_on_the_way() {
    let inf = f32::INFINITY;
    let magnitudes = [0.0, 1e-30, 0.3, 3.0, 79.0, 81.0, 110.0, 1e5, 1e30, inf];
    let xs = magnitudes.into_iter().flat_map(|x| [x, -x]);
    let xs: Vec<f32> = xs.collect();
    let weights = [1.0, 0.0, 1.2e-38, 1e-20, 1e20, f32::MAX];
    let mut rows = Vec::new();
    for &x in &xs {
        for t in [0.0, 1.0, 0.25, 1e-30] {
            for w in weights {
                for p in weights {
                    rows.push([x, t, w, p, [1.0, -2.5, 1e-20, 1e20][rows.len() % 4]]);
                }
            }
        }
    }
    let [x, t, w, p, dy] = [0, 1, 2, 3, 4].map(|k| -> Vec<f32> {
        let column = rows.iter().map(|row| row[k]);
        column.collect()
    });
    let shape = [1, rows.len()];
    let loss = BceWithLogits::new().reduction(Reduction::None);
    let loss = loss.weight(&w).pos_weight(&p);
    // A zero wins over an infinity.
    let times = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let sigmoid = |x: f64| {
        let e = (-x.abs()).exp();
        if x > 0.0 {
            1.0 / (1.0 + e)
        } else {
            e / (1.0 + e)
        }
    };
    for backend in common::backends() {
        let what = backend.description();
        let y = backend.apply(&loss, (x.of_shape(&shape), &t));
        let dx = backend.grad(&loss, (x.of_shape(&shape), &t), &dy);
        for ((row, y), dx) in rows.iter().zip(y.unwrap()).zip(dx.unwrap()) {
            let [x, t, w, p, dy] = row.map(f64::from);
            let off = f64::from(1.0 - row[1]);
            let want = times(w, times(p * t, softplus(-x)) + times(off, softplus(x)));
            let error = ulp_error(y, want, 0.0);
            assert!(error <= 4.0, "{what} {row:?}: {y:e} instead of {want:e}");
            let (rise, fall) = (off * sigmoid(x), p * t * sigmoid(-x));
            let want = dy * w * (rise - fall);
            let largest = dy.abs() * w * rise.max(fall);
            let largest = largest.min(f32::MAX.into());
            let error = ulp_error(dx, want, largest);
            assert!(error <= 4.0, "{what} {row:?}': {dx:e} instead of {want:e}");
        }
        let ps = [0.0, 1.2e-38, 1e-20, 0.3, 0.5, 1.0 - 2f32.powi(-24), 1.0];
        let q: Vec<f32> = (0..rows.len()).map(|i| ps[i % ps.len()]).collect();
        let loss = BinaryCrossEntropy::new().reduction(Reduction::None);
        let loss = loss.weight(&w);
        let dx = backend.grad(&loss, (q.of_shape(&shape), &t), &dy);
        for ((row, dx), q) in rows.iter().zip(dx.unwrap()).zip(q) {
            let [_, t, w, _, dy] = row.map(f64::from);
            let q = f64::from(q);
            let want = dy * w * (q - t) / (q * (1.0 - q)).max(1e-12);
            let error = ulp_error(dx, want, 0.0);
            assert!(error <= 4.0, "{what} {q:e} {row:?}: {dx:e}, not {want:e}");
        }
    }
}

/// A weight is an option of the loss or an array of the call, of any type of numbers, and broadcasts: with
/// the same bits.
#[test]
fn weights_are_options_or_arrays() {
    let mut noise = Noise(17);
    let shape = [5, 3, 4];
    let x = noise.take(60);
    let shares: Vec<f32> = x.iter().map(|x| (x + 1.0) / 2.0).collect();
    let targets: Vec<f32> = noise.take(60).iter().map(|t| t.abs()).collect();
    let classes: Vec<i64> = (0..20).map(|i| i * 7 % 3).collect();
    // Numbers that f16 has too.
    let weight = [0.5f32, 2.0, 1.25];
    let half = weight.map(f16::from_f32);
    for backend in &common::backends() {
        let cross = CrossEntropy::new().label_smoothing(0.1);
        for reduction in Reduction::ALL {
            let (cross, nll) = (
                cross.clone().reduction(*reduction),
                NllLoss::new().reduction(*reduction),
            );
            let (x, classes) = (x.of_shape(&shape), &classes);
            let want = backend
                .apply(cross.clone().weight(&weight), (x, classes))
                .unwrap();
            assert_eq!(backend.apply(&cross, (x, classes, &weight)).unwrap(), want);
            assert_eq!(backend.apply(&cross, (x, classes, &half)).unwrap(), want);
            let q = targets.of_shape(&shape);
            let want = backend
                .apply(cross.clone().weight(&weight), (x, q))
                .unwrap();
            assert_eq!(backend.apply(&cross, (x, q, &weight)).unwrap(), want);
            let dy = &noise.take(want.len())[..];
            let dx = backend
                .grad(cross.clone().weight(&weight), (x, classes), dy)
                .unwrap();
            assert_eq!(backend.grad(&cross, (x, classes, &weight), dy).unwrap(), dx);
            let both = backend
                .apply_with_grad(&cross, (x, classes, &weight))
                .unwrap();
            let of_option = backend
                .apply_with_grad(cross.weight(&weight), (x, classes))
                .unwrap();
            assert_eq!(both, of_option);
            let want = backend
                .apply(nll.clone().weight(&weight), (x, classes))
                .unwrap();
            assert_eq!(backend.apply(&nll, (x, classes, &weight)).unwrap(), want);
            let dx = backend
                .grad(nll.clone().weight(&weight), (x, classes), dy)
                .unwrap();
            assert_eq!(backend.grad(&nll, (x, classes, &weight), dy).unwrap(), dx);
        }
        let logits = BceWithLogits::new().axis(1);
        let all = &noise.take(60)[..];
        // Each: an array, its shape, and how it lies over all elements.
        type Own<'a> = (&'a [f32], &'a [usize], fn(usize) -> usize);
        let ones: [Own<'_>; 6] = [
            (&[1.5], &[], |_| 0),
            (&weight, &[3], |i| i / 4 % 3),
            (&weight, &[3, 1], |i| i / 4 % 3),
            (&all[..12], &[3, 4], |i| i % 12),
            (&all[..20], &[5, 1, 4], |i| i / 12 * 4 % 20 + i % 4),
            (all, &[5, 3, 4], |i| i),
        ];
        for (own, own_shape, place) in ones {
            let spread: Vec<f32> = (0..60).map(|i| own[place(i)]).collect();
            let (x, shares, t) = (
                x.of_shape(&shape),
                shares.of_shape(&shape),
                targets.of_shape(&shape),
            );
            let own = own.of_shape(own_shape);
            let option = logits.clone().weight(&spread).pos_weight(&spread);
            let want = backend.apply(&option, (x, t)).unwrap();
            let given = (x, t, own.named("weight"), own.named("pos_weight"));
            assert_eq!(
                backend.apply(&logits, given).unwrap(),
                want,
                "{own_shape:?}"
            );
            let dx = backend.grad(&option, (x, t), &[0.75]).unwrap();
            let given = (x, t, own.named("weight"), own.named("pos_weight"));
            assert_eq!(
                backend.grad(&logits, given, &[0.75]).unwrap(),
                dx,
                "{own_shape:?}"
            );
            let plain = BinaryCrossEntropy::new().axis(1).reduction(Reduction::None);
            let want = backend
                .apply(plain.clone().weight(&spread), (shares, t))
                .unwrap();
            assert_eq!(
                backend.apply(&plain, (shares, t, own)).unwrap(),
                want,
                "{own_shape:?}"
            );
        }
        let (x, t) = (x.of_shape(&shape), targets.of_shape(&shape));
        let refused = |error: wgpu_activations::Result<Vec<f32>>, words: &str| {
            let text = error.unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        };
        let twice = cross.clone().weight(&weight);
        refused(
            backend.apply(twice, (x, &classes, &weight)),
            "leave one of them out",
        );
        refused(
            backend.apply(&cross, (x, &classes, &weight[..2])),
            "3 are expected",
        );
        refused(
            backend.apply(&cross, (x, &classes, &[1.0, f32::NAN, 1.0])),
            "NaN",
        );
        refused(
            backend.apply(&logits, (x, t, [1.0; 10].of_shape(&[5, 2, 1]))),
            "does not broadcast",
        );
        refused(backend.apply(&logits, (x, t, &[f32::INFINITY])), "inf");
        let turned = [0i64; 20].map(|_| 1);
        refused(
            backend.apply(&cross, (x, turned.of_shape(&[4, 5]))),
            "[5, 4]",
        );
        refused(
            backend.apply(&logits, (x, targets.of_shape(&[3, 5, 4]))),
            "[3, 5, 4]",
        );
        let one = CrossEntropy::new().axis(0).reduction(Reduction::None);
        let of_one = backend
            .apply(&one, ([0.5f32].of_shape(&[]), &[0i64]))
            .unwrap();
        assert_eq!(of_one, [0.0]);
        let none = [0.0f32; 0].of_shape(&[0, 3]);
        let empty = (none, none, [1.0; 3].of_shape(&[1, 3]));
        let loss = BceWithLogits::new().reduction(Reduction::Sum);
        assert_eq!(backend.apply(&loss, empty).unwrap(), [0.0]);
    }
}

/// On a device a weight is the loss's own.
#[test]
fn weights_on_a_device_are_options() {
    let Some(gpu) = common::gpu() else {
        return;
    };
    let logits = gpu.upload(&[0.5, -1.0], &[2]).unwrap();
    let mut batch = gpu.batch();
    let loss = BceWithLogits::new();
    let error = batch.apply(&loss, (&logits, &logits, &logits)).unwrap_err();
    assert!(error.to_string().contains("from host memory"), "{error}");
}
