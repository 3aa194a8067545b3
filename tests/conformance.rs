//! The WebNN conformance cases (`tests/data/webnn_cases.jsonl`) on every backend, each at the
//! tolerance that it came with.

mod common;

use common::backends;
use half::f16;
use serde::Deserialize;
use std::collections::BTreeMap;
use wgpu_activations::{Activation, AxisFunction, Backend, OfShape, Prelu};

/// A line of the file of cases; `tests/data/README.md` says what the fields mean.
#[derive(Clone, Deserialize)]
struct Case {
    name: String,
    function: String,
    #[serde(rename = "type")]
    kind: Type,
    #[serde(default)]
    parameters: BTreeMap<String, f32>,
    shape: Vec<usize>,
    #[serde(default)]
    axes: Vec<usize>,
    tolerance: Tolerance,
    #[serde(default)]
    slope_shape: Vec<usize>,
    #[serde(default)]
    slope: String,
    x: String,
    y: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    F32,
    F16,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tolerance {
    Ulp(i64),
    Atol(f64),
}

impl Type {
    /// Values from their bits in hexadecimal, widened exactly.
    fn decode(self, hex: &str) -> Vec<f32> {
        let digits = match self {
            Self::F32 => 8,
            Self::F16 => 4,
        };
        assert_eq!(hex.len() % digits, 0);
        (0..hex.len())
            .step_by(digits)
            .map(|at| {
                let bits = u32::from_str_radix(&hex[at..at + digits], 16).unwrap();
                match self {
                    Self::F32 => f32::from_bits(bits),
                    Self::F16 => f16::from_bits(u16::try_from(bits).unwrap()).to_f32(),
                }
            })
            .collect()
    }

    /// The place of a value among all values of the type in ascending order; both zeros are 0.
    fn place(self, value: f32) -> i64 {
        let (magnitude, negative) = match self {
            Self::F32 => (i64::from(value.abs().to_bits()), value.is_sign_negative()),
            Self::F16 => {
                let rounded = f16::from_f32(value);
                let magnitude = rounded.to_bits() & 0x7fff;
                (i64::from(magnitude), rounded.is_sign_negative())
            }
        };
        if negative { -magnitude } else { magnitude }
    }
}

impl Case {
    /// Runs the case; the error says what is off.
    fn run(&self, backend: &Backend) -> Result<(), String> {
        let x = self.kind.decode(&self.x);
        assert_eq!(x.len(), self.shape.iter().product::<usize>());
        let result = if self.function == "prelu" {
            let prelu = Prelu::broadcast(&self.shape, &self.slope_shape).unwrap();
            backend.apply(&prelu, (&x, &self.kind.decode(&self.slope)))
        } else if let Ok(function) = self.function.parse::<AxisFunction>() {
            self.run_axis(backend, function, &x)
        } else {
            let activation: Activation = self.function.parse().unwrap();
            let parameters = self.parameters.iter().map(|(k, &v)| (k.as_str(), v));
            let f = activation.with(parameters).unwrap();
            backend.apply(f, &x)
        };
        let got = result.map_err(|error| error.to_string())?;
        self.compare(&got)
    }

    fn run_axis(
        &self,
        backend: &Backend,
        function: AxisFunction,
        x: &[f32],
    ) -> wgpu_activations::Result<Vec<f32>> {
        if let [axis] = self.axes[..] {
            let axis = isize::try_from(axis).unwrap();
            return backend.apply(function.along(axis), x.of_shape(&self.shape));
        }
        // Several axes, or none: one row for each index of the axes that stay.
        let rows = rows(x, &self.shape, &self.axes);
        let shape = [rows.len(), rows[0].len()];
        backend.apply(function.along(-1), rows.concat().of_shape(&shape))
    }

    fn compare(&self, got: &[f32]) -> Result<(), String> {
        let want = self.kind.decode(&self.y);
        if got.len() != want.len() {
            return Err(format!("{} values instead of {}", got.len(), want.len()));
        }
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let good = match self.tolerance {
                Tolerance::Ulp(ulp) => {
                    let distance = self.kind.place(got).abs_diff(self.kind.place(want));
                    !got.is_nan() && distance <= ulp.unsigned_abs()
                }
                Tolerance::Atol(atol) => f64::from(got - want).abs() <= atol,
            };
            if !good {
                return Err(format!("value {i} is {got:e}, expected {want:e}"));
            }
        }
        Ok(())
    }
}

/// The elements of an array as rows: one for each index of the dimensions outside `axes`, in
/// their order, with the elements along `axes` in it.
fn rows(x: &[f32], shape: &[usize], axes: &[usize]) -> Vec<Vec<f32>> {
    let kept = |axis: &usize| !axes.contains(axis);
    let count = (0..shape.len())
        .filter(kept)
        .map(|axis| shape[axis])
        .product();
    let mut rows = vec![Vec::new(); count];
    for (flat, &value) in x.iter().enumerate() {
        let (mut rest, mut row, mut stride) = (flat, 0, 1);
        for axis in (0..shape.len()).rev() {
            let index = rest % shape[axis];
            rest /= shape[axis];
            if kept(&axis) {
                row += index * stride;
                stride *= shape[axis];
            }
        }
        rows[row].push(value);
    }
    rows
}

fn cases() -> Vec<Case> {
    include_str!("data/webnn_cases.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The cases of each function: a list that shrinks is a failure.
const COUNTS: [(&str, usize); 17] = [
    ("clamp", 39),
    ("elu", 20),
    ("erf", 6),
    ("exp", 14),
    ("gelu", 12),
    ("hard_sigmoid", 30),
    ("hard_swish", 14),
    ("leaky_relu", 20),
    ("linear", 26),
    ("logsumexp", 43),
    ("prelu", 13),
    ("relu", 15),
    ("sigmoid", 14),
    ("softmax", 9),
    ("softplus", 5),
    ("softsign", 8),
    ("tanh", 12),
];

#[test]
fn every_case_holds_on_every_backend() {
    let cases = cases();
    for backend in backends() {
        let mut run = BTreeMap::<&str, usize>::new();
        let mut breaches = Vec::new();
        for case in &cases {
            if let Err(what) = case.run(&backend) {
                breaches.push(format!("{}: {what}", case.name));
            }
            *run.entry(&case.function).or_default() += 1;
        }
        let what = backend.description();
        assert!(breaches.is_empty(), "{what}\n{}", breaches.join("\n"));
        assert_eq!(run, BTreeMap::from(COUNTS));
    }
}

/// The harness itself: another function in a case's place is rejected.
#[test]
fn wrong_functions_are_rejected() {
    let cpu = Backend::cpu();
    for (right, wrong) in [
        ("gelu", "gelu_tanh"),
        ("gelu", "identity"),
        ("sigmoid", "hardsigmoid"),
        ("erf", "tanh"),
        ("softplus", "relu"),
        ("softmax", "log_softmax"),
        ("softmax", "softmin"),
        ("relu", "abs"),
        ("prelu", "relu"),
    ] {
        let mut rejected = 0;
        for mut case in cases().into_iter().filter(|case| case.function == right) {
            case.function = wrong.to_owned();
            rejected += usize::from(case.run(&cpu).is_err());
        }
        assert!(rejected > 0, "no {right} case rejects {wrong}");
    }
}

/// The harness itself: one expected value moved just past the tolerance is rejected, in each
/// case that has a tolerance in ULP of a value that is not zero.
#[test]
fn perturbed_values_are_rejected() {
    let cpu = Backend::cpu();
    let mut rejected = 0;
    for mut case in cases() {
        let Tolerance::Ulp(ulp) = case.tolerance else {
            continue;
        };
        let digits = match case.kind {
            Type::F32 => 8,
            Type::F16 => 4,
        };
        let bits = u32::from_str_radix(&case.y[..digits], 16).unwrap();
        if bits == 0 {
            continue;
        }
        // Twice the tolerance and more: our own result may lie on either side of the old value.
        let moved = bits + 2 * u32::try_from(ulp).unwrap() + 1;
        case.y
            .replace_range(..digits, &format!("{moved:0digits$x}"));
        assert!(case.run(&cpu).is_err(), "{} accepts {moved:x}", case.name);
        rejected += 1;
    }
    assert!(rejected > 200, "{rejected}");
}

/// Several reduced axes are gathered into rows as a transpose would.
#[test]
fn rows_follow_the_axes() {
    let x: Vec<f32> = (0..24u8).map(f32::from).collect();
    let gathered = rows(&x, &[2, 3, 4], &[0, 2]);
    assert_eq!(gathered.len(), 3);
    assert_eq!(gathered[1], [4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
    assert_eq!(rows(&x, &[2, 3, 4], &[0, 1, 2]), vec![x.clone()]);
    assert_eq!(rows(&x[..2], &[2], &[]), [vec![0.0], vec![1.0]]);
    assert_eq!(rows(&x[5..6], &[], &[]), [vec![5.0]]);
}

/// Distances are counted across zero, and in the ULP of the case's own type.
#[test]
fn places_are_ordered() {
    for kind in [Type::F32, Type::F16] {
        assert_eq!(kind.place(-0.0), kind.place(0.0));
        assert_eq!(kind.place(-1.0), -kind.place(1.0));
        assert!(kind.place(f32::NEG_INFINITY) < kind.place(-1.0));
    }
    assert_eq!(
        Type::F32.place(1.0 + f32::EPSILON),
        Type::F32.place(1.0) + 1
    );
    assert_eq!(
        Type::F16.place(1.0 + 1.0 / 1024.0),
        Type::F16.place(1.0) + 1
    );
    assert_eq!(Type::F16.place(1.0 + f32::EPSILON), Type::F16.place(1.0));
}
