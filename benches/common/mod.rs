//! What the benches share: which cases run, inputs, criterion's settings.

// Each bench is a crate of its own, and uses a part of this.
#![allow(dead_code)]

use criterion::Criterion;
use std::time::Duration;
use wgpu_activations::{Activation, AxisFunction};

/// [rows, columns] of the usual 4 Mi elements, by rows of every length that matters.
pub const SHAPES: [[usize; 2]; 6] = [
    [2_097_152, 2],
    [65_536, 64],
    [4096, 1024],
    [137, 30_522],
    [64, 65_536],
    [4, 1_048_576],
];

/// The shape of element-wise cases, for which rows mean nothing.
pub const SQUARE: [usize; 2] = [4096, 1024];

/// Numbers of elements, to see what a case costs beside its bytes.
pub const SIZES: [usize; 5] = [1000, 65_536, 1 << 20, 1 << 24, 1 << 28];

/// Functions of the subset that runs where no filter is given.
const ACTIVATIONS: [Activation; 7] = [
    Activation::Relu,
    Activation::Exp,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Gelu,
    Activation::Silu,
    Activation::Mish,
];
const AXIS_FUNCTIONS: [AxisFunction; 2] = [AxisFunction::Softmax, AxisFunction::LogSoftmax];

/// What runs: everything where a filter picks from it, else a subset of a few minutes.
pub struct Cases {
    pub activations: Vec<Activation>,
    pub axis_functions: Vec<AxisFunction>,
    pub shapes: Vec<[usize; 2]>,
    pub sizes: Vec<usize>,
}

impl Cases {
    pub fn selected() -> Self {
        if is_filtered() {
            Self {
                activations: Activation::ALL.to_vec(),
                axis_functions: AxisFunction::ALL.to_vec(),
                shapes: SHAPES.to_vec(),
                sizes: SIZES.to_vec(),
            }
        } else {
            Self {
                activations: ACTIVATIONS.to_vec(),
                axis_functions: AXIS_FUNCTIONS.to_vec(),
                shapes: [SHAPES[1], SHAPES[2], SHAPES[5]].to_vec(),
                sizes: [SIZES[0], SIZES[2], SIZES[3]].to_vec(),
            }
        }
    }
}

/// Whether an argument is a filter, and not an option of criterion's or the value of one.
fn is_filtered() -> bool {
    const WITH_VALUE: [&str; 4] = [
        "--save-baseline",
        "--baseline",
        "--baseline-lenient",
        "--color",
    ];
    let arguments: Vec<String> = std::env::args().collect();
    let pairs = arguments.windows(2);
    pairs
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .any(|(before, argument)| !argument.starts_with('-') && !WITH_VALUE.contains(&before))
}

/// Short samples: a case is a second.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args()
}

/// `[4096, 1024]` as `4096x1024`.
pub fn name([rows, columns]: [usize; 2]) -> String {
    format!("{rows}x{columns}")
}

/// Values in [-8, 8): both sides of every branch.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 8 & 0xffff) as f32 / 4096.0 - 8.0)
        .collect()
}

/// The bytes of `arrays` arrays of f32.
pub fn bytes(elements: usize, arrays: usize) -> u64 {
    (elements * arrays * size_of::<f32>()) as u64
}
