//! Losses, in host memory.

use super::{Backend, Narrowed};
use crate::Cpu;
use crate::cpu::convert;
use crate::element::Element;
use crate::error::Result;
use crate::gpu::{ClassJob, Gpu, HostWait};
use crate::loss::{
    BceWithLogits, BinaryCrossEntropy, BinaryProblem, ClassProblem, CrossEntropy, NllLoss,
    Reduction, Targets, Upstream, reduce, upstream,
};

impl Backend {
    twins! {
        /// Cross entropy of logits of `shape`: one value for each row, or one in all where the
        /// loss reduces them. Targets are classes in the shape without the class axis, or
        /// probabilities in the logits' shape; all are checked before anything is computed.
        ///
        /// ```
        /// use wgpu_activations::{Backend, CrossEntropy, Targets};
        /// // Two rows of three classes.
        /// let logits = [2.0, 0.5, -1.0, 0.0, 3.0, 0.0];
        /// let backend = Backend::cpu();
        /// let loss = CrossEntropy::new();
        /// let mean = backend.cross_entropy(&loss, &logits, &[2, 3], Targets::Indices(&[0, 1]))?[0];
        /// assert!((mean - 0.168).abs() < 1e-3);
        /// let dx = backend.grad_cross_entropy(&loss, &logits, &[2, 3], Targets::Indices(&[0, 1]), &[1.0])?;
        /// assert!(dx[..3].iter().sum::<f32>().abs() < 1e-7);
        /// # Ok::<(), wgpu_activations::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`Error::TargetOutOfRange`](crate::Error::TargetOutOfRange) with the row;
        /// [`Error::LengthMismatch`](crate::Error::LengthMismatch),
        /// [`Error::NotFinite`](crate::Error::NotFinite) for weights;
        /// [`Error::ParameterOutOfRange`](crate::Error::ParameterOutOfRange) for the smoothing;
        /// [`Error::IgnoreIndexOfProbabilities`](crate::Error::IgnoreIndexOfProbabilities);
        /// and as [`Backend::apply_axis`].
        fn cross_entropy / cross_entropy_async / cross_entropy_core<T> [logits] (loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>) -> Vec<T>;
        /// The gradient of cross entropy by the logits, for the upstream gradient `dy`, which has
        /// the loss's length: one for each row, or one.
        ///
        /// # Errors
        /// As [`Backend::cross_entropy`].
        fn grad_cross_entropy / grad_cross_entropy_async / grad_cross_entropy_core<T> [logits, dy] (loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>, dy: &[T]) -> Vec<T>;
        /// Cross entropy and its gradient by the logits for an upstream gradient of 1, in one go.
        ///
        /// # Errors
        /// As [`Backend::cross_entropy`].
        fn cross_entropy_with_grad / cross_entropy_with_grad_async / cross_entropy_with_grad_core<T> [logits] (loss: &CrossEntropy, logits: &[T], shape: &[usize], targets: Targets<'_>) -> (Vec<T>, Vec<T>);
        /// Negative log likelihood of log-probabilities of `shape`. It reads one of each row,
        /// which takes less than to bring a row to a device: the host computes it on any backend.
        ///
        /// # Errors
        /// As [`Backend::cross_entropy`];
        /// [`Error::TargetsAreIndices`](crate::Error::TargetsAreIndices).
        fn nll_loss / nll_loss_async / nll_loss_core<T> [log_probabilities] (loss: &NllLoss, log_probabilities: &[T], shape: &[usize], targets: Targets<'_>) -> Vec<T>;
        /// The gradient of the negative log likelihood by the log-probabilities, on whose values
        /// it does not depend.
        ///
        /// # Errors
        /// As [`Backend::nll_loss`].
        fn grad_nll_loss / grad_nll_loss_async / grad_nll_loss_core<T> [dy] (loss: &NllLoss, shape: &[usize], targets: Targets<'_>, dy: &[T]) -> Vec<T>;
        /// Binary cross entropy of logits of `shape` with target probabilities of that shape: one
        /// value for each element, or one in all.
        ///
        /// # Errors
        /// [`Error::LengthMismatch`](crate::Error::LengthMismatch),
        /// [`Error::NotFinite`](crate::Error::NotFinite) for weights; and as [`Backend::apply`].
        fn binary_cross_entropy_with_logits / binary_cross_entropy_with_logits_async / binary_cross_entropy_with_logits_core<T> [logits, targets] (loss: &BceWithLogits, logits: &[T], shape: &[usize], targets: &[T]) -> Vec<T>;
        /// The gradient of binary cross entropy by the logits; `dy` has the loss's length.
        ///
        /// # Errors
        /// As [`Backend::binary_cross_entropy_with_logits`].
        fn grad_binary_cross_entropy_with_logits / grad_binary_cross_entropy_with_logits_async / grad_binary_cross_entropy_with_logits_core<T> [logits, targets, dy] (loss: &BceWithLogits, logits: &[T], shape: &[usize], targets: &[T], dy: &[T]) -> Vec<T>;
        /// Binary cross entropy of probabilities of `shape`.
        ///
        /// # Errors
        /// As [`Backend::binary_cross_entropy_with_logits`];
        /// [`Error::NotAProbability`](crate::Error::NotAProbability).
        fn binary_cross_entropy / binary_cross_entropy_async / binary_cross_entropy_core<T> [probabilities, targets] (loss: &BinaryCrossEntropy, probabilities: &[T], shape: &[usize], targets: &[T]) -> Vec<T>;
        /// The gradient of binary cross entropy by the probabilities.
        ///
        /// # Errors
        /// As [`Backend::binary_cross_entropy`].
        fn grad_binary_cross_entropy / grad_binary_cross_entropy_async / grad_binary_cross_entropy_core<T> [probabilities, targets, dy] (loss: &BinaryCrossEntropy, probabilities: &[T], shape: &[usize], targets: &[T], dy: &[T]) -> Vec<T>;
    }

    async fn cross_entropy_core(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        either!(
            self,
            |gpu| {
                let problem = loss.problem(logits.len(), shape, targets)?;
                let mut losses = vec![0.0; problem.shape.rows()];
                on_device(gpu, &problem, logits, None, [&mut losses, &mut []], wait)
                    .await
                    .map(|()| reduced(&problem, losses))
            },
            |cpu| cpu.cross_entropy(loss, logits, shape, targets)
        )
    }

    async fn grad_cross_entropy_core(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
        dy: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        either!(
            self,
            |gpu| {
                let problem = loss.problem(logits.len(), shape, targets)?;
                let upstream = Some(problem.upstream(dy)?);
                let mut dx = vec![0.0; logits.len()];
                on_device(gpu, &problem, logits, upstream, [&mut [], &mut dx], wait)
                    .await
                    .map(|()| dx)
            },
            |cpu| cpu.grad_cross_entropy(loss, logits, shape, targets, dy)
        )
    }

    async fn cross_entropy_with_grad_core(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        either!(
            self,
            |gpu| {
                let problem = loss.problem(logits.len(), shape, targets)?;
                let upstream = Some(problem.ones());
                let mut losses = vec![0.0; problem.shape.rows()];
                let mut dx = vec![0.0; logits.len()];
                on_device(
                    gpu,
                    &problem,
                    logits,
                    upstream,
                    [&mut losses, &mut dx],
                    wait,
                )
                .await
                .map(|()| (reduced(&problem, losses), dx))
            },
            |cpu| cpu.cross_entropy_with_grad(loss, logits, shape, targets)
        )
    }

    async fn nll_loss_core(
        &self,
        loss: &NllLoss,
        log_probabilities: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
        _wait: HostWait,
    ) -> Result<Vec<f32>> {
        Cpu::new().nll_loss(loss, log_probabilities, shape, targets)
    }

    async fn grad_nll_loss_core(
        &self,
        loss: &NllLoss,
        shape: &[usize],
        targets: Targets<'_>,
        dy: &[f32],
        _wait: HostWait,
    ) -> Result<Vec<f32>> {
        Cpu::new().grad_nll_loss(loss, shape, targets, dy)
    }

    async fn binary_cross_entropy_with_logits_core(
        &self,
        loss: &BceWithLogits,
        logits: &[f32],
        shape: &[usize],
        targets: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets.len())?;
        self.binary(&problem, logits, targets, wait).await
    }

    async fn grad_binary_cross_entropy_with_logits_core(
        &self,
        loss: &BceWithLogits,
        logits: &[f32],
        shape: &[usize],
        targets: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets.len())?;
        self.grad_binary(&problem, logits, targets, dy, wait).await
    }

    async fn binary_cross_entropy_core(
        &self,
        loss: &BinaryCrossEntropy,
        probabilities: &[f32],
        shape: &[usize],
        targets: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(probabilities, shape, targets.len())?;
        self.binary(&problem, probabilities, targets, wait).await
    }

    async fn grad_binary_cross_entropy_core(
        &self,
        loss: &BinaryCrossEntropy,
        probabilities: &[f32],
        shape: &[usize],
        targets: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(probabilities, shape, targets.len())?;
        self.grad_binary(&problem, probabilities, targets, dy, wait)
            .await
    }

    async fn binary(
        &self,
        problem: &BinaryProblem<'_>,
        x: &[f32],
        targets: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        either!(
            self,
            |gpu| {
                let mut out = vec![0.0; x.len()];
                let done = gpu.binary_loss_host(problem, x, targets, None, &mut out, wait);
                done.await.map(|()| {
                    if problem.reduction == Reduction::None {
                        return out;
                    }
                    let losses: Vec<f64> = out.into_iter().map(f64::from).collect();
                    reduce(problem.reduction, &losses, problem.total())
                })
            },
            |cpu| Ok(cpu.binary(problem, x, targets))
        )
    }

    async fn grad_binary(
        &self,
        problem: &BinaryProblem<'_>,
        x: &[f32],
        targets: &[f32],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        either!(
            self,
            |gpu| {
                let upstream = upstream(problem.reduction, dy, problem.count, problem.total())?;
                let mut dx = vec![0.0; x.len()];
                gpu.binary_loss_host(problem, x, targets, Some(upstream), &mut dx, wait)
                    .await
                    .map(|()| dx)
            },
            |cpu| cpu.grad_binary(problem, x, targets, dy)
        )
    }
}

/// A checked loss over classes on the device.
async fn on_device(
    gpu: &Gpu,
    problem: &ClassProblem<'_>,
    x: &[f32],
    upstream: Option<Upstream<'_>>,
    [losses, dx]: [&mut [f32]; 2],
    wait: HostWait,
) -> Result<()> {
    let job = ClassJob {
        problem,
        x,
        upstream,
    };
    gpu.class_loss_host(job, losses, dx, wait).await
}

/// The loss from every row's.
fn reduced(problem: &ClassProblem<'_>, losses: Vec<f32>) -> Vec<f32> {
    if problem.reduction == Reduction::None {
        return losses;
    }
    let losses: Vec<f64> = losses.into_iter().map(f64::from).collect();
    problem.reduce(&losses)
}
