//! Losses on tensors.

use super::stream;
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor, Wait};
use crate::backend::carried;
use crate::cpu::threads::{Place, elsewhere};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::{BinaryCall, ClassBuffers, TargetBuffer, UpstreamBuffer};
use crate::loss::{
    BceWithLogits, BinaryCrossEntropy, BinaryProblem, ClassLoss, ClassTargets, CrossEntropy,
    Reduction, Spread, Targets,
};
use crate::shape::{AxisShape, element_count};
use std::fmt;

/// The targets of a loss over classes on a device, with the loss's options: checked on the host,
/// for the operations of that loss, [`Batch::cross_entropy`] or [`Batch::nll_loss`] and their kin.
#[derive(Clone)]
pub struct Labels {
    /// The name of the loss that they are for.
    of: &'static str,
    /// What the kernels take of it.
    loss: CrossEntropy,
    reduction: Reduction,
    targets: Tensor,
    probabilities: bool,
    weight: Option<Tensor>,
    /// The shape of the logits.
    shape: Vec<usize>,
    around: AxisShape,
    /// The shape of the rows' losses.
    rows: Vec<usize>,
    /// What a mean divides by.
    total: f64,
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            reduction,
            shape,
            ..
        } = self;
        write!(f, "Labels({of}, {reduction}, for {shape:?})")
    }
}

impl Gpu {
    /// Targets for logits of `shape`, or log-probabilities, brought to the device.
    ///
    /// # Errors
    /// Whatever [`CrossEntropy`](crate::CrossEntropy) refuses, before
    /// anything is sent; [`Error::OutOfMemory`], [`Error::DeviceLost`].
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
        rows.remove(loss.class_axis(shape.len()));
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
        let weight = match problem.weight {
            Some(weight) => Some(send(weight, &[weight.len()]).await?),
            None => None,
        };
        let (around, total) = (problem.shape, problem.total);
        Ok(Labels {
            of: loss.name(),
            loss: loss.for_checked_targets(),
            reduction: problem.reduction,
            targets,
            probabilities,
            weight,
            shape: shape.to_vec(),
            around,
            rows,
            total,
        })
    }
}

impl Labels {
    /// The shape of the loss.
    fn result(&self) -> &[usize] {
        match self.reduction {
            Reduction::None => &self.rows,
            Reduction::Mean | Reduction::Sum => &[],
        }
    }

    /// What the upstream gradient of all rows is multiplied by.
    fn scale(&self) -> f32 {
        match self.reduction {
            Reduction::Mean => (1.0 / self.total) as f32,
            Reduction::None | Reduction::Sum => 1.0,
        }
    }

    fn buffers<'a>(
        &self,
        logits: wgpu::BufferSlice<'a>,
        targets: wgpu::BufferSlice<'a>,
        weight: wgpu::BufferSlice<'a>,
    ) -> ClassBuffers<'a> {
        ClassBuffers {
            logits,
            targets: if self.probabilities {
                TargetBuffer::Probabilities(targets)
            } else {
                TargetBuffer::Indices(targets)
            },
            weight: self.weight.as_ref().map(|_| weight),
        }
    }

    /// The weight, or what stands in for it and is not read.
    fn weight(&self) -> &Tensor {
        self.weight.as_ref().unwrap_or(&self.targets)
    }

    /// An error where they are another loss's.
    fn are_for(&self, operation: &'static str) -> Result<()> {
        if self.of == operation {
            return Ok(());
        }
        Err(Error::OtherLabels {
            operation,
            of: self.of,
        })
    }
}

/// Which loss over classes a batch records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    CrossEntropy,
    Nll,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Nll => "nll_loss",
        }
    }
}

impl Batch {
    /// Cross entropy of logits, in a new tensor: in the rows' shape, or a scalar where the loss
    /// reduces them.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] where the labels are for another shape, [`Error::OtherLabels`]
    /// where they are for another loss; as [`Batch::apply_axis`].
    pub fn cross_entropy(&mut self, logits: &Tensor, labels: &Labels) -> Result<Tensor> {
        let losses = self.rows_of(Over::CrossEntropy, logits, labels)?;
        let loss = self.reduced(labels, losses)?;
        self.cast(&loss, logits.dtype())
    }

    /// The gradient by the logits, in a new tensor; `dy` has the loss's shape.
    ///
    /// # Errors
    /// As [`Batch::cross_entropy`].
    pub fn grad_cross_entropy(
        &mut self,
        logits: &Tensor,
        labels: &Labels,
        dy: &Tensor,
    ) -> Result<Tensor> {
        self.gradient_of(Over::CrossEntropy, logits, labels, dy)
    }

    /// Cross entropy, and its gradient by the logits for an upstream gradient of 1, in new
    /// tensors: the logits are read twice, for the sums and for the gradient.
    ///
    /// # Errors
    /// As [`Batch::cross_entropy`].
    pub fn cross_entropy_with_grad(
        &mut self,
        logits: &Tensor,
        labels: &Labels,
    ) -> Result<(Tensor, Tensor)> {
        labels.are_for(Over::CrossEntropy.name())?;
        same_shape("the logits", &labels.shape, logits.shape())?;
        let dx = self.output(logits.shape(), logits.dtype())?;
        if logits.is_empty() {
            let losses = self.no_losses(labels)?;
            let loss = self.reduced(labels, losses)?;
            return Ok((self.cast(&loss, logits.dtype())?, dx));
        }
        let losses = self.output(&labels.rows, DType::F32)?;
        self.record(
            [
                ("logits", logits),
                ("target", &labels.targets),
                ("class weight", labels.weight()),
                ("loss", &losses),
                ("gradient", &dx),
            ],
            &[&losses, &dx],
            |kernels, pass, [x, targets, weight, losses, dx]| {
                let buffers = labels.buffers(x, targets, weight);
                let (loss, scale) = (&labels.loss, labels.scale());
                kernels.cross_entropy_with_grad(
                    pass,
                    loss,
                    &labels.around,
                    buffers,
                    losses,
                    dx,
                    scale,
                )
            },
        )?;
        let loss = self.reduced(labels, losses)?;
        Ok((self.cast(&loss, logits.dtype())?, dx))
    }

    /// Negative log likelihood of log-probabilities, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::cross_entropy`].
    pub fn nll_loss(&mut self, log_probabilities: &Tensor, labels: &Labels) -> Result<Tensor> {
        let losses = self.rows_of(Over::Nll, log_probabilities, labels)?;
        let loss = self.reduced(labels, losses)?;
        self.cast(&loss, log_probabilities.dtype())
    }

    /// The gradient of the negative log likelihood by the log-probabilities, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::nll_loss`].
    pub fn grad_nll_loss(
        &mut self,
        log_probabilities: &Tensor,
        labels: &Labels,
        dy: &Tensor,
    ) -> Result<Tensor> {
        self.gradient_of(Over::Nll, log_probabilities, labels, dy)
    }

    fn rows_of(&mut self, over: Over, x: &Tensor, labels: &Labels) -> Result<Tensor> {
        labels.are_for(over.name())?;
        same_shape("the logits", &labels.shape, x.shape())?;
        if x.is_empty() {
            return self.no_losses(labels);
        }
        let losses = self.output(&labels.rows, DType::F32)?;
        self.record(
            [
                ("logits", x),
                ("target", &labels.targets),
                ("class weight", labels.weight()),
                ("loss", &losses),
            ],
            &[&losses],
            |kernels, pass, [x, targets, weight, losses]| {
                let buffers = labels.buffers(x, targets, weight);
                let (loss, around) = (&labels.loss, &labels.around);
                match over {
                    Over::CrossEntropy => {
                        kernels.cross_entropy(pass, loss, around, buffers, losses)
                    }
                    Over::Nll => kernels.nll_loss(pass, -1, around, buffers, losses),
                }
            },
        )?;
        Ok(losses)
    }

    fn gradient_of(
        &mut self,
        over: Over,
        x: &Tensor,
        labels: &Labels,
        dy: &Tensor,
    ) -> Result<Tensor> {
        labels.are_for(over.name())?;
        same_shape("the logits", &labels.shape, x.shape())?;
        same_shape("the upstream gradient", labels.result(), dy.shape())?;
        let dx = self.output(x.shape(), x.dtype())?;
        self.record(
            [
                ("logits", x),
                ("target", &labels.targets),
                ("class weight", labels.weight()),
                ("upstream gradient", dy),
                ("gradient", &dx),
            ],
            &[&dx],
            |kernels, pass, [x, targets, weight, dy, dx]| {
                let buffers = labels.buffers(x, targets, weight);
                let dy = match labels.reduction {
                    Reduction::None => UpstreamBuffer::Each(dy),
                    Reduction::Mean | Reduction::Sum => UpstreamBuffer::Same(dy, labels.scale()),
                };
                let (loss, around) = (&labels.loss, &labels.around);
                match over {
                    Over::CrossEntropy => {
                        kernels.grad_cross_entropy(pass, loss, around, buffers, dy, dx)
                    }
                    Over::Nll => kernels.grad_nll_loss(pass, -1, around, buffers, dy, dx),
                }
            },
        )?;
        Ok(dx)
    }

    /// The losses of rows of no classes.
    fn no_losses(&self, labels: &Labels) -> Result<Tensor> {
        let rows = labels.around.rows();
        self.gpu().upload(&vec![0.0; rows], &labels.rows)
    }

    fn reduced(&mut self, labels: &Labels, losses: Tensor) -> Result<Tensor> {
        let divisor = match labels.reduction {
            Reduction::None => return Ok(losses),
            Reduction::Sum => 1.0,
            Reduction::Mean => labels.total,
        };
        self.reduced_by(&losses, divisor)
    }

    /// The sum of losses over a divisor, as a scalar.
    fn reduced_by(&mut self, losses: &Tensor, divisor: f64) -> Result<Tensor> {
        if divisor == 0.0 {
            return self.gpu().upload(&[f32::NAN], &[]);
        }
        if losses.is_empty() {
            return self.gpu().upload(&[0.0], &[]);
        }
        let value = self.output(&[], DType::F32)?;
        self.record(
            [("loss", losses), ("output", &value)],
            &[&value],
            |kernels, pass, [all, value]| {
                kernels.reduced_loss(pass, losses.len(), divisor as f32, all, value)
            },
        )?;
        Ok(value)
    }

    /// Binary cross entropy of logits with target probabilities of their shape, in a new tensor:
    /// of that shape, or a scalar where the loss reduces.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], [`Error::LengthMismatch`] and [`Error::NotFinite`] for weights;
    /// as [`Batch::apply`].
    pub fn binary_cross_entropy_with_logits(
        &mut self,
        loss: &BceWithLogits,
        logits: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        same_shape("the targets", logits.shape(), targets.shape())?;
        let problem = loss.problem(logits.len(), logits.shape(), targets.len())?;
        self.binary_value(&problem, logits, targets)
    }

    /// The gradient of binary cross entropy by the logits, in a new tensor; `dy` has the loss's
    /// shape.
    ///
    /// # Errors
    /// As [`Batch::binary_cross_entropy_with_logits`].
    pub fn grad_binary_cross_entropy_with_logits(
        &mut self,
        loss: &BceWithLogits,
        logits: &Tensor,
        targets: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor> {
        same_shape("the targets", logits.shape(), targets.shape())?;
        let problem = loss.problem(logits.len(), logits.shape(), targets.len())?;
        self.binary(&problem, logits, targets, Some(dy))
    }

    /// Binary cross entropy of probabilities, in a new tensor. Nobody checks them before they are
    /// used: the loss of what is no probability is NaN.
    ///
    /// # Errors
    /// As [`Batch::binary_cross_entropy_with_logits`].
    pub fn binary_cross_entropy(
        &mut self,
        loss: &BinaryCrossEntropy,
        probabilities: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        same_shape("the targets", probabilities.shape(), targets.shape())?;
        let problem = loss.unchecked(probabilities.len(), probabilities.shape(), targets.len())?;
        self.binary_value(&problem, probabilities, targets)
    }

    /// The gradient of binary cross entropy by the probabilities, in a new tensor.
    ///
    /// # Errors
    /// As [`Batch::binary_cross_entropy`].
    pub fn grad_binary_cross_entropy(
        &mut self,
        loss: &BinaryCrossEntropy,
        probabilities: &Tensor,
        targets: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor> {
        same_shape("the targets", probabilities.shape(), targets.shape())?;
        let problem = loss.unchecked(probabilities.len(), probabilities.shape(), targets.len())?;
        self.binary(&problem, probabilities, targets, Some(dy))
    }

    /// The losses of elements, reduced as f32 where the loss reduces, in x's type.
    fn binary_value(
        &mut self,
        problem: &BinaryProblem<'_>,
        x: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        let losses = self.binary(problem, x, targets, None)?;
        let loss = match problem.reduction {
            Reduction::None => losses,
            Reduction::Sum => self.reduced_by(&losses, 1.0)?,
            Reduction::Mean => self.reduced_by(&losses, problem.total())?,
        };
        self.cast(&loss, x.dtype())
    }

    /// The losses of elements, in f32, or where there is an upstream gradient the gradient.
    fn binary(
        &mut self,
        problem: &BinaryProblem<'_>,
        x: &Tensor,
        targets: &Tensor,
        dy: Option<&Tensor>,
    ) -> Result<Tensor> {
        if let Some(dy) = dy {
            let wanted = match problem.reduction {
                Reduction::None => x.shape(),
                Reduction::Mean | Reduction::Sum => &[],
            };
            same_shape("the upstream gradient", wanted, dy.shape())?;
        }
        let dtype = if dy.is_some() { x.dtype() } else { DType::F32 };
        let out = self.output(x.shape(), dtype)?;
        let upload = |spread: Option<Spread<'_>>| match spread {
            Some(spread) => {
                let values = spread.values;
                self.gpu().upload(values, &[values.len()]).map(Some)
            }
            None => Ok(None),
        };
        let weights = [upload(problem.weight)?, upload(problem.pos_weight)?];
        // What there is not is not read: the targets stand in.
        let of = |i: usize| weights[i].as_ref().unwrap_or(targets);
        self.record(
            [
                ("input", x),
                ("target", targets),
                ("weight", of(0)),
                ("weight of positives", of(1)),
                ("upstream gradient", dy.unwrap_or(targets)),
                ("output", &out),
            ],
            &[&out],
            |kernels, pass, [x, targets, weight, positive, upstream, out]| {
                let scale = (1.0 / problem.total()) as f32;
                let upstream = match problem.reduction {
                    Reduction::None => UpstreamBuffer::Each(upstream),
                    Reduction::Sum => UpstreamBuffer::Same(upstream, 1.0),
                    Reduction::Mean => UpstreamBuffer::Same(upstream, scale),
                };
                kernels.binary_loss(
                    pass,
                    &BinaryCall {
                        problem,
                        start: 0,
                        count: problem.count,
                        x,
                        targets,
                        weights: [
                            weights[0].as_ref().map(|_| weight),
                            weights[1].as_ref().map(|_| positive),
                        ],
                        dy: dy.map(|_| upstream),
                        out,
                    },
                )
            },
        )?;
        Ok(out)
    }
}
