//! The numbers of docs/choosing.md, computed with this crate: `choosing` prints them, and
//! `choosing DIRECTORY` also draws the figures there.

#[path = "../common/mod.rs"]
mod common;
mod svg;

use common::Outcome;
use std::fs;
use std::path::Path;
use svg::{Figure, Panel};
use wgpu_activations::{Activation, AxisFunction, Backend, Elementwise};

fn main() -> Outcome {
    // The CPU, so that everyone sees the same digits.
    let backend = Backend::cpu();
    let figures = [
        ("rectifiers.svg", rectifiers(&backend)?),
        ("smooth.svg", smooth(&backend)?),
        ("saturating.svg", saturating(&backend)?),
        ("hard.svg", hard(&backend)?),
        ("depth.svg", depth(&backend)?),
        ("dying.svg", dying(&backend)?),
        ("temperature.svg", temperature(&backend)?),
    ];
    if let Some(directory) = std::env::args_os().nth(1) {
        let directory = Path::new(&directory);
        fs::create_dir_all(directory)?;
        for (name, figure) in figures {
            fs::write(directory.join(name), figure.svg())?;
        }
        println!("drawn in {}", directory.display());
    }
    Ok(())
}

/// f and f' of some functions side by side.
fn curves(
    backend: &Backend,
    functions: &[Elementwise],
    x: [f64; 2],
    y: [f64; 2],
    slope: [f64; 2],
) -> Outcome<Figure> {
    let points = grid(x);
    let ones = vec![1.0; points.len()];
    let (mut values, mut slopes) = (Vec::new(), Vec::new());
    for &f in functions {
        values.push(join(&points, &backend.apply(f, &points)?));
        slopes.push(join(&points, &backend.grad(f, &points, &ones)?));
    }
    let panel = |title, y, curves| Panel {
        title,
        x_label: "x",
        x,
        y,
        log: false,
        curves,
    };
    Ok(Figure {
        names: functions.iter().map(short).collect(),
        panels: vec![panel("f(x)", y, values), panel("f'(x)", slope, slopes)],
    })
}

/// The name, with parameters where they are not the defaults.
fn short(f: &Elementwise) -> String {
    if *f == f.activation().into() {
        f.activation().to_string()
    } else {
        f.to_string()
    }
}

fn grid([low, high]: [f64; 2]) -> Vec<f32> {
    (0..=300)
        .map(|i| (low + (high - low) * f64::from(i) / 300.0) as f32)
        .collect()
}

fn join(x: &[f32], y: &[f32]) -> Vec<[f64; 2]> {
    x.iter()
        .zip(y)
        .map(|(&x, &y)| [x.into(), y.into()])
        .collect()
}

fn rectifiers(backend: &Backend) -> Outcome<Figure> {
    let functions = [
        Activation::Relu.into(),
        // Ten times the default, to be seen.
        Activation::LeakyRelu.with([("negative_slope", 0.1)])?,
        Activation::Elu.into(),
        Activation::Selu.into(),
        Activation::Softplus.into(),
    ];
    curves(backend, &functions, [-4.0, 4.0], [-2.0, 4.0], [-0.2, 1.8])
}

fn smooth(backend: &Backend) -> Outcome<Figure> {
    let functions = [
        Activation::Gelu,
        Activation::Silu,
        Activation::Mish,
        Activation::Relu,
    ];
    let points = grid([-6.0, 6.0]);
    println!("minimum, and where f' < 0:");
    for f in &functions[..3] {
        let values = backend.apply(*f, &points)?;
        let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
        let slopes = backend.grad(*f, &points, &vec![1.0; points.len()])?;
        let falling = points
            .iter()
            .zip(&slopes)
            .filter(|(_, slope)| **slope < 0.0);
        let end = falling.map(|(x, _)| *x).fold(f32::NEG_INFINITY, f32::max);
        println!("  {:10} {lowest:.4}, x <= {end:.2}", f.to_string());
    }
    // Steps of 2^-10 from -8 to 8.
    let points: Vec<f32> = (-8192..=8192).map(|i| i as f32 / 1024.0).collect();
    println!("largest distance from gelu:");
    let gelu = backend.apply(Activation::Gelu, &points)?;
    for f in [
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Silu,
    ] {
        let distance = distance(&backend.apply(f, &points)?, &gelu);
        println!("  {:10} {distance:.1e}", f.to_string());
    }
    let functions = functions.map(Elementwise::from);
    curves(backend, &functions, [-5.0, 4.0], [-0.5, 4.0], [-0.3, 1.3])
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn saturating(backend: &Backend) -> Outcome<Figure> {
    let functions = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softsign,
        Activation::Erf,
    ];
    let functions = functions.map(Elementwise::from);
    curves(backend, &functions, [-6.0, 6.0], [-1.2, 1.2], [-0.1, 1.3])
}

fn hard(backend: &Backend) -> Outcome<Figure> {
    let pairs = [
        [Activation::Sigmoid, Activation::HardSigmoid],
        [Activation::Silu, Activation::Hardswish],
    ];
    let points = grid([-6.0, 6.0]);
    println!("largest distance of the hard variants:");
    for [smooth, hard] in pairs {
        let distance = distance(
            &backend.apply(smooth, &points)?,
            &backend.apply(hard, &points)?,
        );
        println!("  {hard} from {smooth}: {distance:.3}");
    }
    let functions: Vec<Elementwise> = pairs.concat().into_iter().map(Elementwise::from).collect();
    curves(backend, &functions, [-5.0, 5.0], [-0.6, 3.0], [-0.6, 1.6])
}

/// Numbers that are the same everywhere (Marsaglia's xorshift64, 2003).
struct Noise(u64);

impl Noise {
    /// Between 0 and 1.
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // 24 bits, which an f32 holds.
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Nearly normal, by the sum of twelve.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

const WIDTH: usize = 128;
const LAYERS: usize = 30;
const SAMPLES: usize = 32;

/// The gradient's size behind each layer of a random network.
fn depth(backend: &Backend) -> Outcome<Figure> {
    // Weights' variance times the width: Glorot & Bengio 2010 where f saturates, He et al. 2015
    // for rectifiers and their kin.
    let networks = [
        (Activation::Sigmoid, 1.0),
        (Activation::Tanh, 1.0),
        (Activation::Relu, 2.0),
        (Activation::Gelu, 2.0),
    ];
    println!("largest f', and what a network of {LAYERS} layers leaves of a gradient:");
    let mut curves = Vec::new();
    for (f, gain) in networks {
        let points = grid([-6.0, 6.0]);
        let slopes = backend.grad(f, &points, &vec![1.0; points.len()])?;
        let steepest = slopes.iter().copied().fold(0.0, f32::max);
        let sizes = gradient_sizes(backend, f, gain)?;
        let left = sizes.last().copied().unwrap_or_default();
        println!("  {:8} {steepest:.3}   {left:.1e}", f.to_string());
        let numbered = sizes.iter().enumerate().map(|(i, &size)| [i as f64, size]);
        curves.push(numbered.collect());
    }
    Ok(Figure {
        names: networks.map(|(f, _)| f.to_string()).to_vec(),
        panels: vec![Panel {
            title: "size of the gradient",
            x_label: "layers that it came back through",
            x: [0.0, LAYERS as f64],
            y: [1e-20, 1e4],
            log: true,
            curves,
        }],
    })
}

/// Root mean squares of the gradient by the input of each layer, from the last to the first,
/// relative to the upstream gradient.
fn gradient_sizes(backend: &Backend, f: Activation, gain: f32) -> Outcome<Vec<f64>> {
    let mut noise = Noise(1);
    let scale = (gain / WIDTH as f32).sqrt();
    let mut x: Vec<f32> = (0..SAMPLES * WIDTH).map(|_| noise.normal()).collect();
    let mut layers = Vec::new();
    for _ in 0..LAYERS {
        let weights: Vec<f32> = (0..WIDTH * WIDTH).map(|_| scale * noise.normal()).collect();
        let z = multiply(&x, |k, j| weights[k * WIDTH + j]);
        x = backend.apply(f, &z)?;
        layers.push((weights, z));
    }
    let mut g: Vec<f32> = (0..SAMPLES * WIDTH).map(|_| noise.normal()).collect();
    let size = |g: &[f32]| g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let upstream = size(&g);
    let mut sizes = vec![1.0];
    for (weights, z) in layers.iter().rev() {
        let dz = backend.grad(f, z, &g)?;
        g = multiply(&dz, |k, j| weights[j * WIDTH + k]);
        sizes.push(size(&g) / upstream);
    }
    Ok(sizes)
}

/// [SAMPLES, WIDTH] times [WIDTH, WIDTH].
fn multiply(x: &[f32], weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let rows = x.chunks(WIDTH);
    let product = |row: &[f32], j| row.iter().enumerate().map(|(k, x)| x * weight(k, j)).sum();
    rows.flat_map(|row| (0..WIDTH).map(move |j| (row, j)))
        .map(|(row, j)| product(row, j))
        .collect()
}

/// One unit that starts far below zero, trained to copy its input.
fn dying(backend: &Backend) -> Outcome<Figure> {
    const STEPS: usize = 600;
    let x: Vec<f32> = (0..64).map(|i| i as f32 / 63.0).collect();
    let functions = [
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Gelu,
    ];
    println!("loss of f(w x + b) = x from w = 1, b = -3, after {STEPS} steps, and f'(-3):");
    let mut curves = Vec::new();
    for f in functions {
        let (mut w, mut b) = (1.0f32, -3.0f32);
        let mut curve = Vec::new();
        for step in 0..=STEPS {
            let z: Vec<f32> = x.iter().map(|x| w * x + b).collect();
            let y = backend.apply(f, &z)?;
            let error: Vec<f32> = y.iter().zip(&x).map(|(y, x)| y - x).collect();
            let mean = |values: &mut dyn Iterator<Item = f32>| values.sum::<f32>() / x.len() as f32;
            curve.push([step as f64, mean(&mut error.iter().map(|e| e * e)).into()]);
            let dz = backend.grad(f, &z, &error)?;
            w -= 0.5 * mean(&mut dz.iter().zip(&x).map(|(d, x)| d * x));
            b -= 0.5 * mean(&mut dz.iter().copied());
        }
        let slope = backend.grad(f, &[-3.0], &[1.0])?[0];
        println!("  {:10} {:.4}   {slope:.4}", f.to_string(), curve[STEPS][1]);
        curves.push(curve);
    }
    Ok(Figure {
        names: functions.map(|f| f.to_string()).to_vec(),
        panels: vec![Panel {
            title: "mean squared error of one unit",
            x_label: "training steps",
            x: [0.0, STEPS as f64],
            y: [1e-4, 1e1],
            log: true,
            curves,
        }],
    })
}

/// Softmax of five logits over the temperature, and softmax of two beside the logistic function.
fn temperature(backend: &Backend) -> Outcome<Figure> {
    let logits = [3.0f32, 2.0, 1.0, 0.0, -1.0];
    let powers: Vec<f64> = (-100..=100).map(|i| f64::from(i) / 100.0).collect();
    let mut curves = vec![Vec::new(); logits.len()];
    for &power in &powers {
        let temperature = 10f64.powf(power) as f32;
        let x = logits.map(|x| x / temperature);
        let y = backend.apply(AxisFunction::Softmax.along(0), &x)?;
        for (curve, y) in curves.iter_mut().zip(y) {
            curve.push([power, y.into()]);
        }
    }
    println!("softmax of {logits:?} / T:");
    for temperature in [0.1f32, 1.0, 10.0] {
        let x = logits.map(|x| x / temperature);
        let y = backend.apply(AxisFunction::Softmax.along(0), &x)?;
        let y: Vec<String> = y.iter().map(|y| format!("{y:.3}")).collect();
        println!("  T = {temperature:<4} {}", y.join("  "));
    }
    let two = backend.apply(AxisFunction::Softmax.along(0), &[1.3, -0.4])?;
    let one = backend.apply(Activation::Sigmoid, &[1.3 - -0.4])?;
    println!("softmax of [1.3, -0.4]: {two:?}; sigmoid(1.3 - -0.4): {one:?}");
    assert!((two[0] - one[0]).abs() < 1e-6);
    Ok(Figure {
        names: logits.map(|x| format!("x = {x}")).to_vec(),
        panels: vec![Panel {
            title: "softmax of five logits",
            x_label: "log10 of the temperature",
            x: [-1.0, 1.0],
            y: [0.0, 1.0],
            log: false,
            curves,
        }],
    })
}
