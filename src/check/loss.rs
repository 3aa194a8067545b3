//! The accuracy check of the losses.

use super::{Noise, Pass, Report, SHAPES, beyond, special_rows};
use crate::arrays::OfShape;
use crate::backend::{Backend, Trial};
use crate::error::Result;
use crate::functions::families::{BceWithLogits, BinaryCrossEntropy};
use crate::loss::{CrossEntropy, NllLoss, Reduction, Targets};
use crate::operation::Operation;
use crate::reference::loss as reference;
use crate::shape::AxisShape;

/// The contract's bound for losses, beside the rounding of a sum.
const BOUND: f64 = 4.0;

checks! {
    /// Holds cross entropy, forward and backward, against the reference: classes and probabilities as
    /// targets, weights, label smoothing, each row and their mean, over several shapes, with magnitudes
    /// from tiny to huge, large common offsets, ignored rows and rows of special values.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn cross_entropy / cross_entropy_async / cross_entropy_by () -> Vec<Report>;
}

pub(crate) async fn cross_entropy_by(backend: &Trial) -> Result<Vec<Report>> {
    let name = || "cross_entropy".to_owned();
    let mut forward = Report::new(name(), Pass::Forward, BOUND);
    let mut backward = Report::new(name(), Pass::Backward, BOUND);
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        for (k, &(scale, offset)) in [(1.0, 0.0), (30.0, 0.0), (4.0, 1e4), (1e30, 0.0)]
            .iter()
            .enumerate()
        {
            let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ (i * 8 + k) as u64);
            let case = Case::new(shape, axis, (scale, offset), k == 1, &mut noise)?;
            // Options differ from scale to scale: all of them with each would take long.
            for (j, (loss, targets)) in case.losses().into_iter().enumerate() {
                if (i + j) % 2 == k % 2 {
                    case.compare(backend, &loss, targets, &mut forward, &mut backward)
                        .await?;
                }
            }
        }
    }
    Ok(vec![forward, backward])
}

checks! {
    /// Holds negative log likelihood, forward and backward, against the reference: weights, ignored rows, each
    /// row and their mean. On a device it is asked of tensors, as calls on host memory compute it on the host.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn nll_loss / nll_loss_async / nll_loss_by () -> Vec<Report>;
}

pub(crate) async fn nll_loss_by(backend: &Trial) -> Result<Vec<Report>> {
    let mut reports =
        [Pass::Forward, Pass::Backward].map(|pass| Report::new("nll_loss".to_owned(), pass, BOUND));
    for (i, &(shape, axis)) in SHAPES.iter().enumerate() {
        for (k, &scale) in [1.0, 1e30].iter().enumerate() {
            let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ (i * 8 + k) as u64);
            let case = Case::new(shape, axis, (scale, 0.0), k == 0, &mut noise)?;
            let plain = NllLoss::new().axis(axis);
            for loss in [plain.clone(), plain.weight(&case.weight)] {
                for reduction in [Reduction::None, Reduction::Mean] {
                    let loss = loss.clone().reduction(reduction);
                    case.compare_nll(backend, loss, &mut reports).await?;
                }
            }
        }
    }
    Ok(reports.into())
}

/// Logits of one shape, and what losses of them take.
struct Case<'a> {
    shape: &'a [usize],
    axis: isize,
    around: AxisShape,
    x: Vec<f32>,
    classes: Vec<i64>,
    q: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl<'a> Case<'a> {
    fn new(
        shape: &'a [usize],
        axis: isize,
        (scale, offset): (f32, f32),
        special: bool,
        noise: &mut Noise,
    ) -> Result<Self> {
        let around = AxisShape::new(shape, axis)?;
        let mut take = |count: usize| (0..count).map(|_| noise.next()).collect::<Vec<f32>>();
        let mut x = take(around.elements());
        x.iter_mut().for_each(|x| *x = *x * scale + offset);
        if special {
            special_rows(&mut x, &around);
        }
        let classes = take(around.rows()).into_iter().map(|u| {
            // One class more than there are marks a row to leave out.
            match ((f64::from(u) + 1.0) / 2.0 * (around.len + 1) as f64) as usize {
                class if class < around.len => class as i64,
                _ => -100,
            }
        });
        let classes = classes.collect();
        Ok(Self {
            shape,
            axis,
            around,
            x,
            classes,
            q: take(around.elements()).iter().map(|q| q.abs()).collect(),
            weight: take(around.len).iter().map(|w| w.abs() + 0.01).collect(),
            dy: take(around.rows()),
        })
    }

    /// The options that change what is computed, with the targets that they are for.
    fn losses(&self) -> Vec<(CrossEntropy, Targets<'_>)> {
        let plain = CrossEntropy::new().axis(self.axis);
        let weighted = plain.clone().weight(&self.weight);
        let (classes, q) = (
            Targets::Indices(&self.classes),
            Targets::Probabilities(&self.q),
        );
        vec![
            (plain.clone(), classes),
            (weighted.clone(), classes),
            (plain.clone().label_smoothing(0.1), classes),
            (weighted.clone().label_smoothing(0.1), classes),
            (plain, q),
            (weighted.label_smoothing(0.3), q),
        ]
    }

    async fn compare_nll(
        &self,
        backend: &Trial,
        loss: NllLoss,
        [forward, backward]: &mut [Report; 2],
    ) -> Result<()> {
        let (x, shape) = (&self.x[..], self.shape);
        let classes = Targets::Indices(&self.classes);
        let dy = match loss.classes.reduction {
            Reduction::None => &self.dy[..],
            Reduction::Mean | Reduction::Sum => &self.dy[..1],
        };
        let (got, dx) = match backend.backend() {
            Backend::Gpu(gpu) => {
                let labels = gpu.labels_async(loss.clone(), shape, classes).await?;
                let mut of_losses = shape.to_vec();
                match loss.classes.reduction {
                    Reduction::None => {
                        of_losses.remove(loss.classes.index(shape.len()));
                    }
                    Reduction::Mean | Reduction::Sum => of_losses.clear(),
                }
                let x = gpu.upload_async(x, shape).await?;
                let dy = gpu.upload_async(dy, &of_losses).await?;
                let mut batch = gpu.batch();
                let losses = batch.apply(&loss, (&x, &labels))?;
                let dx = batch.grad(&loss, (&x, &labels), &dy)?;
                batch.submit()?;
                (losses.read_async().await?, dx.read_async().await?)
            }
            _ => {
                let x = x.of_shape(shape);
                let losses = backend.apply(&loss, (x, classes)).await?;
                (losses, backend.grad(&loss, (x, classes), dy).await?)
            }
        };
        let want = reference::nll_loss(&loss, x, shape, classes)?;
        let levels = match loss.classes.reduction {
            Reduction::None => 0.0,
            // Each pairwise level of the rows' sum rounds once.
            _ => (self.around.rows() as f64).log2().ceil() * 2f64.powi(-24),
        };
        for (j, &got) in got.iter().enumerate() {
            let (want, largest) = (want.0[j], want.1[j]);
            let sum = levels * want.abs().max(largest);
            forward.add(x[j], got, want, beyond(got, want, largest, sum));
        }
        let want = reference::grad_nll_loss(&loss, shape, classes, dy)?;
        for (j, &got) in dx.iter().enumerate() {
            backward.add(x[j], got, want[j], beyond(got, want[j], want[j].abs(), 0.0));
        }
        Ok(())
    }

    async fn compare(
        &self,
        backend: &Trial,
        loss: &CrossEntropy,
        targets: Targets<'_>,
        forward: &mut Report,
        backward: &mut Report,
    ) -> Result<()> {
        let (x, shape) = (&self.x[..], self.shape);
        // Each pairwise level rounds once.
        let levels = (self.around.len as f64).log2().ceil() * 2f64.powi(-24);
        let see = |report: &mut Report, got: &[f32], want: &reference::Values, share: f64| {
            for (j, &got) in got.iter().enumerate() {
                let (want, largest) = (want.0[j], want.1[j]);
                let sum = share * levels * want.abs().max(largest);
                let ulp = beyond(got, want, largest, sum);
                report.add(x[j.min(x.len() - 1)], got, want, ulp);
            }
        };
        for reduction in [Reduction::None, Reduction::Mean] {
            let loss = loss.clone().reduction(reduction);
            let want = reference::cross_entropy(&loss, x, shape, targets)?;
            if reduction == Reduction::None {
                let got = backend.apply(&loss, (x.of_shape(shape), targets)).await?;
                see(forward, &got, &want, 1.0);
                let got = backend
                    .grad(&loss, (x.of_shape(shape), targets), &self.dy)
                    .await?;
                let want = reference::grad_cross_entropy(&loss, x, shape, targets, &self.dy)?;
                see(backward, &got, &want, 2.0);
            } else {
                let (got, dx) = backend
                    .apply_with_grad(&loss, (x.of_shape(shape), targets))
                    .await?;
                see(forward, &got, &want, 1.0);
                let want = reference::grad_cross_entropy(&loss, x, shape, targets, &[1.0])?;
                see(backward, &dx, &want, 2.0);
            }
        }
        Ok(())
    }
}

checks! {
    /// Holds binary cross entropy of logits, forward and backward, against the reference, over all magnitudes
    /// and with every way to weigh.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn binary_cross_entropy_with_logits / binary_cross_entropy_with_logits_async
        / binary_cross_entropy_with_logits_by () -> Vec<Report>;
    /// Holds binary cross entropy of probabilities, forward and backward, against the reference, over all
    /// magnitudes, weighed and not.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn binary_cross_entropy / binary_cross_entropy_async / binary_cross_entropy_by () -> Vec<Report>;
}

pub(crate) async fn binary_cross_entropy_with_logits_by(backend: &Trial) -> Result<Vec<Report>> {
    let inputs = Elements::new();
    let (three, four) = ([0.5, 2.0, 0.0], [1.5, 0.25, 3.0, 0.75]);
    let losses = |reduction| {
        let plain = BceWithLogits::new().reduction(reduction);
        [
            plain.clone(),
            plain.clone().pos_weight(&four).weight(&[0.5]),
            plain.clone().axis(1).pos_weight(&three).weight(&three),
            plain.pos_weight(&inputs.own).weight(&inputs.own),
        ]
    };
    let name = "binary_cross_entropy_with_logits";
    let want = reference::binary_cross_entropy_with_logits;
    let want_grad = reference::grad_binary_cross_entropy_with_logits;
    inputs
        .compare(backend, name, &inputs.x, losses, want, want_grad)
        .await
}

pub(crate) async fn binary_cross_entropy_by(backend: &Trial) -> Result<Vec<Report>> {
    let inputs = Elements::new();
    let squeezed = |x: &f32| match x.abs() {
        x if x > 1.0 => 1.0 / (1.0 + x),
        x => x,
    };
    let p: Vec<f32> = inputs.x.iter().map(squeezed).collect();
    let losses = |reduction| {
        let plain = BinaryCrossEntropy::new().reduction(reduction);
        [plain.clone(), plain.weight(&[1.5, 0.25, 3.0, 0.75])]
    };
    let name = "binary_cross_entropy";
    let want = reference::binary_cross_entropy;
    let want_grad = reference::grad_binary_cross_entropy;
    inputs
        .compare(backend, name, &p, losses, want, want_grad)
        .await
}

/// What losses of elements are checked on.
pub(crate) struct Elements {
    /// Numbers of all magnitudes.
    pub x: Vec<f32>,
    /// Targets from 0 to 1, of which nearly a third is 0 and as many 1.
    pub targets: Vec<f32>,
    dy: Vec<f32>,
    /// A weight for each element.
    pub own: Vec<f32>,
    shape: [usize; 3],
}

impl Elements {
    pub(crate) fn new() -> Self {
        let mut noise = Noise(0x2545_f491_4f6c_dd1d);
        // More than once, as each has a target that depends on its place.
        let edges = [0.0, -0.0, 1.0, -1.0, 60.0, 88.0, -88.0, 104.0, -104.0];
        let mut x: Vec<f32> = edges.into_iter().cycle().take(16 * edges.len()).collect();
        let all = (0..=u32::MAX).step_by(400_009).map(f32::from_bits);
        // Of larger ones a weighted loss is infinite, and so is every mean.
        x.extend(all.filter(|x| x.abs() < 1e37 && !x.is_subnormal()));
        x.extend((0..5000).map(|_| noise.next() * 120.0));
        // A whole number of classes.
        x.truncate(x.len() / 12 * 12);
        let target = |i: usize| match i % 16 {
            0 | 3 | 6 | 9 | 12 => 0.0,
            1 | 4 | 7 | 10 | 13 => 1.0,
            // Next to 0 and to 1.
            2 => noise.next().abs() * 1e-20,
            5 => noise.next().abs() * 1e-12,
            8 => 1.0 - f32::EPSILON / 2.0,
            11 => 1.0 - noise.next().abs() * 1e-4,
            _ => noise.next().abs(),
        };
        let targets = (0..x.len()).map(target).collect();
        let dy = x.iter().map(|_| noise.next()).collect();
        let own = x.iter().map(|_| noise.next().abs()).collect();
        let shape = [x.len() / 12, 3, 4];
        Self {
            x,
            targets,
            dy,
            own,
            shape,
        }
    }

    /// Holds losses against their values and gradients in f64, reduced in each way.
    pub(crate) async fn compare<L: Operation, const N: usize>(
        &self,
        backend: &Trial,
        name: &str,
        x: &[f32],
        losses: impl Fn(Reduction) -> [L; N],
        want: impl Fn(&L, &[f32], &[usize], &[f32]) -> Result<reference::Values>,
        want_grad: impl Fn(&L, &[f32], &[usize], &[f32], &[f32]) -> Result<reference::Values>,
    ) -> Result<Vec<Report>> {
        let (shape, t) = (&self.shape[..], &self.targets[..]);
        let mut reports =
            [Pass::Forward, Pass::Backward].map(|pass| Report::new(name.to_owned(), pass, BOUND));
        for &reduction in Reduction::ALL {
            let dy = match reduction {
                Reduction::None => &self.dy[..],
                Reduction::Mean | Reduction::Sum => &self.dy[..1],
            };
            for loss in losses(reduction) {
                let operation: &dyn Operation = &loss;
                let got = [
                    backend.apply(operation, (x.of_shape(shape), t)).await?,
                    backend.grad(operation, (x.of_shape(shape), t), dy).await?,
                ];
                let want = [
                    want(&loss, x, shape, t)?,
                    want_grad(&loss, x, shape, t, dy)?,
                ];
                for (report, (got, want)) in reports.iter_mut().zip(got.iter().zip(&want)) {
                    for (j, &got) in got.iter().enumerate() {
                        let ulp = beyond(got, want.0[j], want.1[j], 0.0);
                        report.add(x[j], got, want.0[j], ulp);
                    }
                }
            }
        }
        Ok(reports.into())
    }
}
