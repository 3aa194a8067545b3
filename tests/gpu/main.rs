//! The device level on a real adapter: sizes, chains, borrowed devices, faults, gradients, and
//! what a process as a whole does. Results are held against f64, or bit for bit where the
//! function is exact. Without an adapter a test runs what it has for the CPU, or is skipped.

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod chains;
mod exhaustive;
mod faults;
mod gradients;
mod half;
mod process;
mod rough;
mod self_check;
mod sizes;
#[cfg(target_os = "linux")]
mod soak;
mod types;

use common::gpu;
use wgpu_activations::{AxisFunction, AxisShape, Backend, OfShape, reference};

/// Marsaglia's xorshift64 (2003).
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between -scale and scale.
    fn value(&mut self, scale: f32) -> f32 {
        // 24 bits, which an f32 holds.
        scale * ((self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    }
}

fn noise(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ seed);
    (0..n).map(|_| noise.value(scale)).collect()
}

/// A value for each index, of either sign, that no neighbour shares: a result at the wrong place
/// is a wrong result.
fn coded(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| {
            let value = (i % 16_777_213 + 1) as f32;
            if i % 3 == 0 { -value } else { value }
        })
        .collect()
}

fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The first place where two arrays are not the same bits.
fn difference(got: &[f32], want: impl IntoIterator<Item = f32>) -> Option<String> {
    let mut count = 0;
    for (i, want) in want.into_iter().enumerate() {
        let got = got.get(i).copied();
        if got.map(f32::to_bits) != Some(want.to_bits()) {
            return Some(format!("{got:?} instead of {want:e} at {i}"));
        }
        count += 1;
    }
    (count != got.len()).then(|| format!("{} values instead of {count}", got.len()))
}

/// Whether a result along an axis is off by more than 4 ULP and the rounding of a pairwise sum
/// over `len` elements; `largest` is the largest magnitude that it was made from.
fn breach(function: AxisFunction, got: f32, want: f64, largest: f64, len: usize) -> bool {
    // A relative rounding of a sum is an absolute one of its logarithm.
    let allowance = match function {
        AxisFunction::Softmax | AxisFunction::Softmin => want.abs(),
        _ => 1.0,
    };
    ulp_beyond(got, want, largest, allowance * pairwise(len)) > 4.0
}

/// The relative rounding of a pairwise f32 sum: each level rounds once.
fn pairwise(len: usize) -> f64 {
    (len as f64).log2().ceil().max(0.0) * 2f64.powi(-24)
}

/// The error in ULP beside an allowance.
fn ulp_beyond(got: f32, want: f64, largest: f64, allowance: f64) -> f64 {
    let off = f64::from(got) - want;
    // An infinity or NaN has no part that could be allowed.
    let allowed = if off.is_finite() {
        off.clamp(-allowance, allowance)
    } else {
        0.0
    };
    reference::ulp_error(got, want + allowed, largest)
}

/// What is wrong with `function`'s results along an axis, against the f64 reference.
fn axis_error(function: AxisFunction, x: &[f32], shape: &AxisShape, got: &[f32]) -> Option<String> {
    let want = reference::axis_forward(function, x, shape);
    if got.len() != want.len() {
        return Some(format!("{} values instead of {}", got.len(), want.len()));
    }
    // What a logarithm is a difference of.
    let largest = match function {
        AxisFunction::LogSumExp => x
            .iter()
            .filter(|x| x.is_finite())
            .fold(0.0, |m, x| x.abs().max(m)),
        _ => 0.0,
    };
    let pairs = got.iter().zip(&want).enumerate();
    let wrong =
        pairs.filter(|(_, (got, want))| breach(function, **got, **want, largest.into(), shape.len));
    wrong
        .map(|(i, (got, want))| {
            format!("{function} of {shape:?}: {got:e} instead of {want:e} at {i}")
        })
        .next()
}

/// What is wrong with the gradient of `function` by x.
fn axis_grad_error(
    function: AxisFunction,
    x: &[f32],
    dy: &[f32],
    shape: &AxisShape,
    got: &[f32],
) -> Option<String> {
    let (want, largest) = reference::axis_backward(function, x, dy, shape);
    if got.len() != want.len() {
        return Some(format!("{} values instead of {}", got.len(), want.len()));
    }
    let weights = match function {
        AxisFunction::Softmin => function,
        _ => AxisFunction::Softmax,
    };
    let weights = reference::axis_forward(weights, x, shape);
    let ulp = |i: usize| {
        // A gradient has two sums. And a subnormal weight may be flushed before it is multiplied.
        let flushed = weights[i] < f32::MIN_POSITIVE.into() && got[i] == 0.0;
        let flushed = if flushed { want[i].abs() } else { 0.0 };
        let allowance = 2.0 * largest[i] * pairwise(shape.len) + flushed;
        ulp_beyond(got[i], want[i], largest[i], allowance)
    };
    let worst = (0..got.len()).max_by(|&a, &b| ulp(a).total_cmp(&ulp(b)))?;
    let (got, want, ulp) = (got[worst], want[worst], ulp(worst));
    (ulp > 4.0).then(|| {
        format!("{function}' of {shape:?}: {got:e} instead of {want:e} at {worst}, {ulp} ULP")
    })
}

/// The harness itself: a neighbouring function, a value at the wrong place, a negated gradient
/// and a lost row are all seen.
#[test]
fn wrong_results_are_seen() {
    let shape = AxisShape::new(&[3, 50], -1).unwrap();
    let x = noise(1, 150, 5.0);
    let dy = noise(2, 150, 1.0);
    let backend = Backend::cpu();
    for &function in AxisFunction::ALL {
        let got = backend
            .apply(function.along(-1), x.of_shape(&[3, 50]))
            .unwrap();
        assert_eq!(axis_error(function, &x, &shape, &got), None);
        for &other in AxisFunction::ALL {
            if other != function {
                assert!(
                    axis_error(other, &x, &shape, &got).is_some(),
                    "{function} passes for {other}"
                );
            }
        }
        let mut swapped = got.clone();
        swapped.swap(0, 1);
        assert!(axis_error(function, &x, &shape, &swapped).is_some());
        let off = got
            .iter()
            .map(|y| y * (1.0 + 64.0 * f32::EPSILON))
            .collect::<Vec<_>>();
        assert!(axis_error(function, &x, &shape, &off).is_some());

        let dy = &dy[..shape.output_elements(function)];
        let dx = backend
            .grad(function.along(-1), x.of_shape(&[3, 50]), dy)
            .unwrap();
        assert_eq!(axis_grad_error(function, &x, dy, &shape, &dx), None);
        let negated: Vec<f32> = dx.iter().map(|d| -d).collect();
        assert!(axis_grad_error(function, &x, dy, &shape, &negated).is_some());
        assert!(axis_grad_error(function, &x, dy, &shape, &dx[50..]).is_some());
    }
    let codes = coded(1000);
    assert_eq!(difference(&codes, coded(1000)), None);
    assert!(difference(&codes, coded(999)).is_some());
    assert!(difference(&codes, coded(1001)).is_some());
    assert!(difference(&codes, codes.iter().copied().map(relu)).is_some());
    let mut shifted = codes.clone();
    shifted.rotate_left(1);
    assert!(difference(&shifted, codes).is_some());
}
