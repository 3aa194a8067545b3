//! The known answers of the functions: hard inputs, and whether results for them are within the
//! contract of the f64 reference.

use super::{Direction, Question, Way};
use crate::axis::AxisFunction;
use crate::catalogue::Elementwise;
use crate::reference::{self, ulp_error, ulp_of};
use crate::shape::AxisShape;

/// Inputs of an element-wise question; a multiple of four.
pub(crate) const INPUTS: usize = 64;
/// Words behind the results that no kernel may touch.
pub(crate) const GUARD: [u32; 4] = [0x7fc0_a5a5, 0xdead_beef, 0, 0x3f80_0000];

/// A question's inputs.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub x: Vec<f32>,
    /// The upstream gradient, as long as the function's result.
    pub dy: Vec<f32>,
    /// Results.
    pub results: usize,
    /// How an axis function sees x.
    pub shape: AxisShape,
}

/// The inputs of a question. With `tail`, of element-wise functions some more, so that their
/// number is no multiple of four.
pub(crate) fn inputs(question: Question, tail: bool) -> Inputs {
    match question {
        Question::Elementwise(activation, _) => {
            let mut x = elementwise(&activation.into());
            if tail {
                x.extend([f32::NAN, -1.75, f32::NEG_INFINITY]);
            }
            Inputs {
                dy: vec![1.0; x.len()],
                results: x.len(),
                shape: AxisShape {
                    outer: 1,
                    len: x.len(),
                    inner: 1,
                },
                x,
            }
        }
        Question::Axis(function, direction, way) => rows(function, direction, way),
    }
}

/// Whether results are within the contract, and no more than the results was written: the worst
/// error, in words.
pub(crate) fn judge(question: Question, inputs: &Inputs, words: &[u32]) -> Result<String, String> {
    let (got, guard) = words.split_at(inputs.results);
    if guard != &GUARD[..guard.len()] {
        return Err("it writes behind the end of its results".to_owned());
    }
    let got: &[f32] = bytemuck::cast_slice(got);
    let mut worst = Worst::default();
    let bound = match question {
        Question::Elementwise(activation, direction) => {
            let f = activation.into();
            let bounds = activation.info().bounds;
            for (&x, &got) in inputs.x.iter().zip(got) {
                worst.elementwise(&f, direction, x, got);
            }
            match direction {
                Direction::Forward => bounds.forward,
                Direction::Backward | Direction::FromOutput => bounds.backward,
            }
        }
        Question::Axis(function, direction, _) => {
            worst.axis(function, direction, inputs, got);
            4
        }
    };
    let judged = worst.judged(bound.into())?;
    Ok(match question {
        Question::Elementwise(..) => judged,
        Question::Axis(..) => format!("{judged} beside the rounding of the sum"),
    })
}

/// The worst of some results.
#[derive(Default)]
struct Worst {
    ulp: f64,
    x: f32,
    got: f32,
    want: f64,
    count: usize,
}

impl Worst {
    fn add(&mut self, ulp: f64, x: f32, got: f32, want: f64) {
        self.count += 1;
        if ulp > self.ulp {
            *self = Self {
                ulp,
                x,
                got,
                want,
                count: self.count,
            };
        }
    }

    fn elementwise(&mut self, f: &Elementwise, direction: Direction, x: f32, got: f32) {
        let exact = |x: f64| match direction {
            Direction::Forward => (reference::forward(f, x), 0.0),
            Direction::Backward | Direction::FromOutput => {
                (reference::backward(f, x), reference::largest_term(f, x))
            }
        };
        let (want, largest) = exact(x.into());
        let mut ulp = ulp_error(got, want, largest);
        if x.is_subnormal() {
            // It may have been flushed on its way.
            let (want, largest) = exact(0f64.copysign(x.into()));
            ulp = ulp.min(ulp_error(got, want, largest));
        }
        // A zero has the sign of its limit.
        if want == 0.0 && got == 0.0 && x != 0.0 && !x.is_subnormal() {
            let signs = [got.is_sign_negative(), want.is_sign_negative()];
            if direction == Direction::Forward && signs[0] != signs[1] {
                ulp = f64::INFINITY;
            }
        }
        self.add(ulp, x, got, want);
    }

    fn axis(&mut self, function: AxisFunction, direction: Direction, inputs: &Inputs, got: &[f32]) {
        let Inputs { x, dy, shape, .. } = inputs;
        // Each level of a pairwise sum rounds once.
        let levels = (shape.len as f64).log2().ceil() * 2f64.powi(-24);
        let (want, largest) = match direction {
            Direction::Forward => {
                let want = reference::axis_forward(function, x, shape);
                // A logarithm is relative to the maximum that it lies beside.
                let largest = match function {
                    AxisFunction::LogSumExp => x.chunks(shape.len).map(highest).collect(),
                    _ => vec![0.0; want.len()],
                };
                (want, largest)
            }
            Direction::Backward => reference::axis_backward(function, x, dy, shape),
            Direction::FromOutput => from_output(function, x, dy, shape),
        };
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let size = match (function, direction) {
                (AxisFunction::LogSoftmax | AxisFunction::LogSumExp, Direction::Forward) => 1.0,
                (_, Direction::Forward) => want.abs(),
                _ => 2.0 * largest[i],
            };
            let own = ulp_error(got, want, largest[i]);
            // What the rounding of the sum explains.
            let allowance = size * levels / ulp_of(want.abs().max(largest[i]));
            let ulp = if own.is_finite() && allowance.is_finite() {
                (own - allowance).max(0.0)
            } else {
                own
            };
            self.add(ulp, x[i.min(x.len() - 1)], got, want);
        }
    }

    fn judged(&self, bound: f64) -> Result<String, String> {
        let Self {
            ulp,
            x,
            got,
            want,
            count,
        } = self;
        if *ulp <= bound {
            Ok(format!("{count} results within {ulp:.2} ULP"))
        } else if ulp.is_finite() {
            Err(format!(
                "{ulp:.1} ULP off at {x:e}, where {bound} are allowed: {got:e} instead of {want:e}"
            ))
        } else {
            Err(format!("{got:e} instead of {want:e} at {x:e}"))
        }
    }
}

fn highest(row: &[f32]) -> f64 {
    f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max)).abs()
}

/// The gradient of softmax or softmin by the formula over its output, as given.
fn from_output(
    function: AxisFunction,
    y: &[f32],
    dy: &[f32],
    shape: &AxisShape,
) -> (Vec<f64>, Vec<f64>) {
    let sign = if function == AxisFunction::Softmin {
        -1.0
    } else {
        1.0
    };
    let mut out = (Vec::new(), Vec::new());
    for (y, g) in y.chunks(shape.len).zip(dy.chunks(shape.len)) {
        let terms = || y.iter().zip(g).map(|(y, g)| (f64::from(*y), f64::from(*g)));
        let dot: f64 = terms().map(|(y, g)| y * g).sum();
        let size: f64 = terms().map(|(y, g)| (y * g).abs()).sum();
        for (y, g) in terms() {
            out.0.push(sign * y * (g - dot));
            out.1.push(y * g.abs().max(size));
        }
    }
    out
}

/// [`INPUTS`] inputs that hurt: both infinities, zeros, NaN and its payloads, subnormals, the last
/// normal results on either side, roots of derivatives, every kink with its neighbours, and all
/// magnitudes between.
fn elementwise(f: &Elementwise) -> Vec<f32> {
    let mut x = vec![
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0xffc0_1234),
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
        -1e-40,
        // Where exponentials end, on their own or after a factor.
        -88.73,
        88.73,
        -103.9,
        -87.3,
        -20.0,
        20.0,
        -9.1,
        9.02,
        -5.6,
        // Near roots of derivatives, and between the pieces of the kernels' approximations.
        -1.278_464_5,
        -1.192_4,
        -0.751_791_6,
        -0.6,
        0.3,
        0.9,
        1e-20,
        -1e-20,
        1e20,
        -1e20,
        // Normal, with products that are not.
        -1.2e-38,
        1.7e-37,
        -1.13e-36,
        4.39e-36,
        -1.9e-35,
    ];
    x.extend(ends(|x| reference::forward(f, x)));
    x.extend(ends(|x| reference::backward(f, x)));
    for kink in reference::kinks(f) {
        let bits = (kink as f32).to_bits();
        // Of zero the neighbours are subnormal.
        let near: &[i32] = if bits << 1 == 0 { &[0] } else { &[-1, 0, 1] };
        x.extend(
            near.iter()
                .map(|&i| f32::from_bits(bits.wrapping_add_signed(i))),
        );
    }
    // The rest spreads over exponents from -30 to 12, with mantissas of all kinds.
    let mut state = 0x9e37_79b9u32;
    while x.len() < INPUTS {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let exponent = 97 + (state >> 24) % 43;
        x.push(f32::from_bits(
            (state & 0x8000_0000) | exponent << 23 | (state >> 4) & 0x7f_ffff,
        ));
    }
    x.truncate(INPUTS);
    x
}

/// Inputs whose results are the last normal numbers, and some before, on the sides where there
/// are such.
fn ends(f: impl Fn(f64) -> f64) -> Vec<f32> {
    let normal = |x: f64| (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&f(x).abs());
    let mut ends = Vec::new();
    for side in [-1.0, 1.0] {
        let (mut inside, mut outside) = (3.0, 300.0);
        if !normal(side * inside) || normal(side * outside) {
            continue;
        }
        for _ in 0..30 {
            let middle = 0.5 * (inside + outside);
            if normal(side * middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        ends.extend([1.0, 0.9995, 0.995].map(|part| (side * inside * part) as f32));
    }
    ends
}

/// Rows that hurt, one of each kind: small and large numbers, offsets, spikes late in the row,
/// NaN and infinities.
fn rows(function: AxisFunction, direction: Direction, way: Way) -> Inputs {
    let len = match way {
        Way::Short => 12,
        // More than a workgroup's invocations, or than one merges.
        Way::Invocation | Way::Workgroup => 300,
        Way::Split => 1200,
    };
    let mut noise = 0x2545_f491u32;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // 24 bits, between -1 and 1.
        (noise >> 8) as f32 / 8_388_608.0 - 1.0
    };
    type Row = fn(usize, usize, f32) -> f32;
    let kinds: [Row; 11] = [
        |_, _, v| v,
        |_, _, v| 30.0 * v,
        |_, _, v| 1e4 + 4.0 * v,
        |_, _, v| 1e-30 * v,
        |_, _, v| 1e30 * v,
        |i, last, v| if i == last { 80.0 } else { v },
        |i, last, v| if i == last / 2 { f32::NAN } else { v },
        |i, last, v| if i == last { f32::INFINITY } else { v },
        |i, _, v| if i == 0 { f32::NEG_INFINITY } else { v },
        |_, _, _| f32::NEG_INFINITY,
        |i, last, _| if i == last / 3 { f32::MAX } else { f32::MIN },
    ];
    let mut x: Vec<f32> = Vec::with_capacity(kinds.len() * len);
    for kind in kinds {
        x.extend((0..len).map(|i| kind(i, len - 1, next())));
    }
    let shape = AxisShape {
        outer: kinds.len(),
        len,
        inner: 1,
    };
    if direction == Direction::FromOutput {
        // An output: shares of a whole, of all sizes.
        x.iter_mut().for_each(|v| *v = next().abs().powi(9));
        for row in x.chunks_mut(len) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
    }
    let upstream = shape.output_elements(function);
    Inputs {
        dy: (0..upstream).map(|_| next()).collect(),
        results: if direction == Direction::Forward {
            upstream
        } else {
            x.len()
        },
        x,
        shape,
    }
}
