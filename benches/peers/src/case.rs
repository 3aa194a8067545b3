//! What is computed: functions, directions, shapes, and the arrays they are computed of.

use std::fmt;
use std::path::{Path, PathBuf};

/// The elements of every case, but for what a last row would lack.
const ELEMENTS: usize = 4_194_304;
const COLUMNS: [usize; 6] = [2, 64, 1024, 30_522, 65_536, 1_048_576];
const ELEMENTWISE: [&str; 10] = [
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "mish",
    "elu",
    "relu",
    "exp",
];
const ALONG_ROWS: [&str; 2] = ["softmax", "log_softmax"];

/// From x to y, or from x and dy to dx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// One function in one direction over one shape.
#[derive(Clone, Debug)]
pub struct Case {
    pub function: &'static str,
    pub direction: Direction,
    pub rows: usize,
    pub columns: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, rows, columns) = (self.direction.name(), self.rows, self.columns);
        write!(f, "{} {direction} [{rows}, {columns}]", self.function)
    }
}

impl Case {
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for direction in [Direction::Forward, Direction::Backward] {
            for function in ELEMENTWISE.into_iter().chain(ALONG_ROWS) {
                cases.extend(COLUMNS.iter().map(|&columns| Self {
                    function,
                    direction,
                    rows: ELEMENTS / columns,
                    columns,
                }));
            }
        }
        cases
    }

    pub fn is_along_rows(&self) -> bool {
        ALONG_ROWS.contains(&self.function)
    }

    pub fn elements(&self) -> usize {
        self.rows * self.columns
    }

    /// What is read and written once by whoever wastes nothing.
    pub fn bytes(&self) -> usize {
        let arrays = match self.direction {
            Direction::Forward => 2,
            Direction::Backward => 3,
        };
        arrays * 4 * self.elements()
    }
}

/// x and dy, in memory and as files of f32 for other processes.
pub struct Inputs {
    pub x: Vec<f32>,
    pub dy: Vec<f32>,
    pub x_file: PathBuf,
    pub dy_file: PathBuf,
}

impl Inputs {
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        let x = noise(ELEMENTS, 8.0, 1);
        // Gradients that some peers can only take as ones are ones for all.
        let dy = vec![1.0; ELEMENTS];
        let inputs = Self {
            x_file: folder.join("x.f32"),
            dy_file: folder.join("dy.f32"),
            x,
            dy,
        };
        let bytes =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        std::fs::write(&inputs.x_file, bytes(&inputs.x))?;
        std::fs::write(&inputs.dy_file, bytes(&inputs.dy))?;
        Ok(inputs)
    }
}

/// Uniform values in [-scale, scale) by splitmix64 (Steele et al. 2014).
fn noise(len: usize, scale: f32, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The largest difference between two results, as a share of the largest magnitude in `want`;
/// infinite where their lengths differ or one is no number.
pub fn deviation(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let largest = want.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let off = got
        .iter()
        .zip(want)
        .map(|(&g, &w)| {
            let off = (f64::from(g) - f64::from(w)).abs();
            if off.is_nan() { f64::INFINITY } else { off }
        })
        .fold(0.0, f64::max);
    // Where all should be zero, the difference itself counts.
    off / if largest == 0.0 { 1.0 } else { largest.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_seen() {
        assert_eq!(deviation(&[1.0, 4.0], &[1.0, 4.0]), 0.0);
        assert_eq!(deviation(&[1.0, 3.0], &[1.0, 4.0]), 0.25);
        assert_eq!(deviation(&[f32::NAN, 4.0], &[1.0, 4.0]), f64::INFINITY);
        assert_eq!(deviation(&[1.0], &[1.0, 4.0]), f64::INFINITY);
    }

    #[test]
    fn every_shape_is_there_once() {
        let cases = Case::all();
        assert_eq!(cases.len(), 2 * 12 * 6);
        assert!(cases.iter().all(|c| c.elements() > ELEMENTS - c.columns));
    }
}
