//! The losses of the CPU backend, as its users call them.

use super::classes::{Job, run};
use super::{Cpu, binary};
use crate::error::Result;
use crate::loss::{
    BceWithLogits, BinaryCrossEntropy, BinaryProblem, CrossEntropy, NllLoss, Reduction, Targets,
    reduce, upstream,
};
use crate::shape::element_count;

impl Cpu {
    /// The loss of logits of `shape`: one value for each row, or one in all where it is reduced.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`](crate::Error::TargetOutOfRange) and what else a
    /// [`CrossEntropy`] refuses; lengths that do not fit the shape.
    pub fn cross_entropy(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets)?;
        let mut losses = vec![0.0; problem.shape.rows()];
        run(
            self.isa,
            &Job::new(&problem, logits, None),
            &mut losses,
            &mut [],
        );
        Ok(problem.reduce(&losses))
    }

    /// The gradient by the logits for the upstream gradient `dy`, which has the loss's length.
    ///
    /// # Errors
    /// As [`Cpu::cross_entropy`].
    pub fn grad_cross_entropy(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets)?;
        let upstream = problem.upstream(dy)?;
        let mut dx = vec![0.0; logits.len()];
        run(
            self.isa,
            &Job::new(&problem, logits, Some(upstream)),
            &mut [],
            &mut dx,
        );
        Ok(dx)
    }

    /// The loss, and its gradient by the logits for an upstream gradient of 1.
    ///
    /// # Errors
    /// As [`Cpu::cross_entropy`].
    pub fn cross_entropy_with_grad(
        &self,
        loss: &CrossEntropy,
        logits: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let problem = loss.problem(logits.len(), shape, targets)?;
        let mut losses = vec![0.0; problem.shape.rows()];
        let mut dx = vec![0.0; logits.len()];
        let job = Job::new(&problem, logits, Some(problem.ones()));
        run(self.isa, &job, &mut losses, &mut dx);
        Ok((problem.reduce(&losses), dx))
    }

    /// Negative log likelihood of log-probabilities of `shape`.
    ///
    /// # Errors
    /// As [`Cpu::cross_entropy`].
    pub fn nll_loss(
        &self,
        loss: &NllLoss,
        log_probabilities: &[f32],
        shape: &[usize],
        targets: Targets<'_>,
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(log_probabilities.len(), shape, targets)?;
        Ok(problem.reduce(&binary::nll(&problem, log_probabilities)))
    }

    /// The gradient by the log-probabilities, whose values it does not depend on.
    ///
    /// # Errors
    /// As [`Cpu::cross_entropy`].
    pub fn grad_nll_loss(
        &self,
        loss: &NllLoss,
        shape: &[usize],
        targets: Targets<'_>,
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let count = element_count(shape)?;
        let problem = loss.problem(count, shape, targets)?;
        let mut dx = vec![0.0; count];
        binary::nll_gradient(&problem, problem.upstream(dy)?, &mut dx);
        Ok(dx)
    }

    /// Binary cross entropy of logits of `shape` with target probabilities of the same shape.
    ///
    /// # Errors
    /// Lengths that do not fit the shape; a weight that is not finite.
    pub fn binary_cross_entropy_with_logits(
        &self,
        loss: &BceWithLogits,
        logits: &[f32],
        shape: &[usize],
        targets: &[f32],
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets.len())?;
        Ok(self.binary(&problem, logits, targets))
    }

    /// The gradient by the logits.
    ///
    /// # Errors
    /// As [`Cpu::binary_cross_entropy_with_logits`].
    pub fn grad_binary_cross_entropy_with_logits(
        &self,
        loss: &BceWithLogits,
        logits: &[f32],
        shape: &[usize],
        targets: &[f32],
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(logits.len(), shape, targets.len())?;
        self.grad_binary(&problem, logits, targets, dy)
    }

    /// Binary cross entropy of probabilities of `shape`.
    ///
    /// # Errors
    /// As [`Cpu::binary_cross_entropy_with_logits`];
    /// [`Error::NotAProbability`](crate::Error::NotAProbability).
    pub fn binary_cross_entropy(
        &self,
        loss: &BinaryCrossEntropy,
        probabilities: &[f32],
        shape: &[usize],
        targets: &[f32],
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(probabilities, shape, targets.len())?;
        Ok(self.binary(&problem, probabilities, targets))
    }

    /// The gradient by the probabilities.
    ///
    /// # Errors
    /// As [`Cpu::binary_cross_entropy`].
    pub fn grad_binary_cross_entropy(
        &self,
        loss: &BinaryCrossEntropy,
        probabilities: &[f32],
        shape: &[usize],
        targets: &[f32],
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let problem = loss.problem(probabilities, shape, targets.len())?;
        self.grad_binary(&problem, probabilities, targets, dy)
    }

    pub(crate) fn binary(&self, problem: &BinaryProblem, x: &[f32], targets: &[f32]) -> Vec<f32> {
        if problem.reduction == Reduction::None {
            let mut out = vec![0.0; x.len()];
            binary::losses(self.isa, problem, x, targets, &mut out);
            return out;
        }
        let sum = binary::losses(self.isa, problem, x, targets, &mut []);
        reduce(problem.reduction, &[sum], problem.total())
    }

    pub(crate) fn grad_binary(
        &self,
        problem: &BinaryProblem,
        x: &[f32],
        targets: &[f32],
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let upstream = upstream(problem.reduction, dy, problem.count, problem.total())?;
        let mut dx = vec![0.0; x.len()];
        binary::gradient(self.isa, problem, x, targets, upstream, &mut dx);
        Ok(dx)
    }
}
