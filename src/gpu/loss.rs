//! The targets of losses on a device.

use super::{Gpu, Tensor, Wait, stream};
use crate::arrays::CheckedFor;
use crate::backend::carried;
use crate::cpu::threads::{Place, elsewhere};
use crate::error::{Error, Result};
use crate::loss::{ClassLoss, ClassTargets, Targets};
use crate::shape::element_count;
use std::fmt;

/// The targets of a loss over classes on a device, checked on the host, for calls of
/// [`Batch`](crate::Batch) with that loss.
#[derive(Clone)]
pub struct Labels {
    /// The loss that they were checked for, and the shape of the logits.
    pub(super) checked_for: CheckedFor,
    pub(super) targets: Tensor,
    pub(super) probabilities: bool,
    /// What a mean divides by.
    pub(super) total: f64,
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Labels({}, for {:?})",
            self.checked_for.loss, self.checked_for.shape
        )
    }
}

impl Labels {
    /// The lengths of the axes: of classes the logits' without that of the classes, of probabilities the
    /// logits'.
    pub fn shape(&self) -> &[usize] {
        self.targets.shape()
    }
}

impl Gpu {
    /// Targets for logits of `shape`, or log-probabilities, brought to the device.
    ///
    /// # Errors
    /// Whatever [`CrossEntropy`](crate::CrossEntropy) refuses, before
    /// anything is sent; [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn labels(
        &self,
        loss: impl Into<ClassLoss>,
        shape: &[usize],
        targets: Targets<'_>,
    ) -> Result<Labels> {
        pollster::block_on(self.labels_by(loss.into(), shape, targets, Wait::Block))
    }

    /// [`Gpu::labels`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::labels`].
    pub async fn labels_async(
        &self,
        loss: impl Into<ClassLoss>,
        shape: &[usize],
        targets: Targets<'_>,
    ) -> Result<Labels> {
        let (gpu, loss, shape) = (self.clone(), loss.into(), shape.to_vec());
        let targets = carried::array(&targets.into()).await;
        elsewhere(Place::Own, async move || {
            let targets = Targets::of(targets.data());
            gpu.labels_by(loss, &shape, targets, Wait::ELSEWHERE).await
        })
        .await
    }

    async fn labels_by(
        &self,
        loss: ClassLoss,
        shape: &[usize],
        targets: Targets<'_>,
        wait: Wait,
    ) -> Result<Labels> {
        let problem = loss.problem(element_count(shape)?, shape, targets)?;
        let mut rows = shape.to_vec();
        // One number has no axis to leave out.
        if !rows.is_empty() {
            rows.remove(loss.options().index(shape.len()));
        }
        let send = async |values: &[f32], shape: &[usize]| {
            let tensor = self.empty(shape)?;
            stream::upload(&self.inner, values, tensor.buffer(), wait).await?;
            Ok::<Tensor, Error>(tensor)
        };
        let (targets, probabilities) = match &problem.targets {
            ClassTargets::Classes(classes) => {
                (send(bytemuck::cast_slice(classes), &rows).await?, false)
            }
            ClassTargets::Probabilities(q) => (send(q, shape).await?, true),
        };
        let total = problem.total;
        drop(problem);
        Ok(Labels {
            checked_for: loss.options().checked_for(loss.name(), shape),
            targets,
            probabilities,
            total,
        })
    }
}
