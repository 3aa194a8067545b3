//! The losses of the CPU backend.

use super::classes::{Job, run};
use super::{Cpu, element_loss, nll};
use crate::element_loss::{ElementProblem, Formula};
use crate::error::Result;
use crate::loss::{ClassProblem, Reduction, Upstream, reduce, upstream};

impl Cpu {
    /// Each row's loss, where `losses` is not empty, and the gradient, where `dx` is not.
    pub(crate) fn class_loss(
        &self,
        problem: &ClassProblem,
        x: &[f32],
        upstream: Option<Upstream<'_>>,
        losses: &mut [f64],
        dx: &mut [f32],
    ) {
        run(self.isa, &Job::new(problem, x, upstream), losses, dx);
    }

    /// The negative log likelihood, reduced where it is to be.
    pub(crate) fn nll(&self, problem: &ClassProblem, x: &[f32]) -> Vec<f32> {
        problem.reduce(&nll::nll(problem, x))
    }

    pub(crate) fn nll_gradient(
        &self,
        problem: &ClassProblem,
        upstream: Upstream<'_>,
        dx: &mut [f32],
    ) {
        dx.fill(0.0);
        nll::nll_gradient(problem, upstream, dx);
    }

    /// A loss of elements, reduced where it is to be.
    pub(crate) fn element_loss(
        &self,
        loss: &impl Formula,
        problem: &ElementProblem,
        x: &[f32],
        targets: &[f32],
        out: &mut [f32],
    ) {
        if problem.reduction == Reduction::None {
            element_loss::losses(self.isa, loss, problem, x, targets, out);
            return;
        }
        let sum = element_loss::losses(self.isa, loss, problem, x, targets, &mut []);
        out.copy_from_slice(&reduce(problem.reduction, &[sum], problem.total()));
    }

    pub(crate) fn grad_element_loss(
        &self,
        loss: &impl Formula,
        problem: &ElementProblem,
        x: &[f32],
        targets: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<()> {
        let upstream = upstream(problem.reduction, dy, problem.count, problem.total())?;
        element_loss::gradient(self.isa, loss, problem, x, targets, upstream, dx);
        Ok(())
    }
}
