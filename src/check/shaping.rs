//! The accuracy check of the softmax family over rows that are masked, biased, scaled and capped.

use super::{Noise, Pass, Report, beyond};
use crate::arrays::OfShape;
use crate::axis::AxisFunction;
use crate::backend::Trial;
use crate::error::Result;
use crate::reference::{shaped_backward, shaped_backward_by_sinks, shaped_forward};
use crate::shape::AxisShape;
use crate::shaping::{Causal, Shaping};

const BOUND: f64 = 4.0;

/// Shapes with the axis: rows that one invocation takes, a workgroup, several, and columns.
const SHAPES: [(&[usize], usize); 6] = [
    (&[2, 3, 4, 5], 3),
    (&[2, 3, 4, 5], 1),
    (&[3, 4, 64], 2),
    (&[2, 5, 257], 2),
    (&[1, 2, 3000], 2),
    (&[2, 70, 33], 1),
];

/// The arrays of a shaping.
struct Arrays {
    mask: (Vec<u8>, Vec<usize>),
    bias: (Vec<f32>, Vec<usize>),
    lengths: (Vec<u32>, Vec<usize>),
    sinks: (Vec<f32>, Vec<usize>),
}

impl Arrays {
    /// Arrays that are broadcast along other axes each.
    fn new(shape: &[usize], axis: usize, noise: &mut Noise) -> Self {
        let part = |keep: &dyn Fn(usize) -> bool| -> Vec<usize> {
            let lengths = shape.iter().enumerate();
            lengths
                .map(|(i, &len)| if keep(i) { len } else { 1 })
                .collect()
        };
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let mut numbers = |shape: Vec<usize>| {
            let numbers: Vec<f32> = (0..count(&shape)).map(|_| noise.next()).collect();
            (numbers, shape)
        };
        let (mask, mask_shape) = numbers(part(&|i| i == axis || i == 0));
        let (bias, bias_shape) = numbers(part(&|i| i == axis || i == 1));
        let (lengths, lengths_shape) = numbers(part(&|i| i == 0 && i != axis));
        let (sinks, sinks_shape) = numbers(part(&|i| i == 1 && i != axis));
        let most = shape[axis] as f32;
        Self {
            mask: (
                mask.iter().map(|&v| u8::from(v > -0.6)).collect(),
                mask_shape,
            ),
            bias: (bias.iter().map(|v| v * 3.0).collect(), bias_shape),
            lengths: (
                lengths
                    .iter()
                    .map(|v| ((v + 1.4) * 0.5 * most) as u32)
                    .collect(),
                lengths_shape,
            ),
            sinks: (sinks.iter().map(|v| v * 3.0).collect(), sinks_shape),
        }
    }

    /// Some of them with some settings, by a number below [`CASES`].
    fn shaping(&self, number: usize) -> Shaping<'_> {
        let (mask, bias) = (&self.mask, &self.bias);
        let shaping = Shaping::new();
        match number {
            0 => shaping.mask(&mask.0, &mask.1).scale(0.7).sink(0.25),
            1 => shaping
                .bias(&bias.0, &bias.1)
                .lengths(&self.lengths.0, &self.lengths.1)
                .temperature(3.0),
            2 => shaping
                .mask(&mask.0, &mask.1)
                .bias(&bias.0, &bias.1)
                .sinks(&self.sinks.0, &self.sinks.1)
                .scale(0.5)
                .soft_cap(4.0),
            3 => shaping
                .mask(&mask.0, &mask.1)
                .causal(Causal::UpperLeft)
                .sinks(&self.sinks.0, &self.sinks.1),
            _ => shaping
                .bias(&bias.0, &bias.1)
                .causal(Causal::LowerRight)
                .scale(-0.125),
        }
    }
}

/// Ways in which rows are shaped.
const CASES: usize = 5;

checks! {
    /// Holds a function of the softmax family under masks, biases, lengths, causal orders, scales, soft caps and
    /// sinks, with its gradients by x and by the sinks, against the reference: arrays that are broadcast along
    /// several axes, and magnitudes from small to huge.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn shaped / shaped_async / shaped_by (function: AxisFunction) -> Vec<Report>;
}

pub(crate) async fn shaped_by(backend: &Trial, function: AxisFunction) -> Result<Vec<Report>> {
    let name = |what: &str| format!("{function} of shaped rows{what}");
    let mut forward = Report::new(name(""), Pass::Forward, BOUND);
    let mut backward = Report::new(name(""), Pass::Backward, BOUND);
    let mut by_sinks = Report::new(name(", by the sinks"), Pass::Backward, BOUND);
    // A driver compiles each case anew, for seconds: functions share them out.
    let first = AxisFunction::ALL
        .iter()
        .position(|&f| f == function)
        .unwrap_or(0);
    let numbers_of = [first % CASES, (first + 2) % CASES];
    let scales = [1.0, 30.0, 1e4, 1e30];
    for (i, (shape, axis)) in SHAPES.into_iter().enumerate() {
        let around = AxisShape::new(shape, axis as isize)?;
        // Each pairwise level rounds once; a sink is one element more.
        let levels = (around.len as f64 + 1.0).log2().ceil() * 2f64.powi(-24);
        let mut noise = Noise(0x0ddb_1a5e_5bad_5eed ^ i as u64);
        let arrays = Arrays::new(shape, axis, &mut noise);
        for (scale, number) in scales.into_iter().zip(numbers_of.into_iter().cycle()) {
            let mut numbers =
                |count: usize| -> Vec<f32> { (0..count).map(|_| noise.next()).collect() };
            let x: Vec<f32> = numbers(around.elements())
                .iter()
                .map(|v| v * scale)
                .collect();
            let shaping = arrays.shaping(number);
            let softmax = function.along(axis as isize).shaped(&shaping);
            let inputs = || shaping.inputs(x.of_shape(shape));
            let got = backend.apply(softmax, inputs()).await?;
            let want = shaped_forward(function, &shaping, &x, shape, axis);
            for (j, (&got, &want)) in got.iter().zip(&want).enumerate() {
                let (largest, sum) = match function {
                    AxisFunction::Softmax | AxisFunction::Softmin => (0.0, want.abs() * levels),
                    AxisFunction::LogSoftmax => (0.0, levels),
                    // The maximum and the logarithm may cancel: such a sum is measured against 1.
                    AxisFunction::LogSumExp => (1.0, levels),
                };
                let at = j.min(x.len() - 1);
                forward.add(x[at], got, want, beyond(got, want, largest, sum));
            }
            let dy: Vec<f32> = numbers(want.len()).iter().map(|v| v * 2.0).collect();
            let got = backend.grad(softmax, inputs(), &dy).await?;
            let (want, largest) = shaped_backward(function, &shaping, &x, &dy, shape, axis);
            for (j, &got) in got.iter().enumerate() {
                let ulp = beyond(got, want[j], largest[j], 2.0 * largest[j] * levels);
                backward.add(x[j], got, want[j], ulp);
            }
            if matches!(number, 0 | 2 | 3) {
                let got = backend.grad_by(softmax, "sinks", inputs(), &dy).await?;
                let (want, sizes) =
                    shaped_backward_by_sinks(function, &shaping, &x, &dy, shape, axis);
                for (j, &got) in got.iter().enumerate() {
                    // Of a row the sum of the weights, twice, and of the upstream gradients.
                    let ulp = beyond(got, want[j], sizes[j], 3.0 * sizes[j] * levels);
                    by_sinks.add(0.0, got, want[j], ulp);
                }
            }
        }
    }
    Ok(vec![forward, backward, by_sinks])
}
