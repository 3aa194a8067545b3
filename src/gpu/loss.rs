//! Losses from and to host memory on the device.

use super::Gpu;
use super::stream::{HostWait, Operation, PIECE, Piece, Results, ranges, run, words};
use crate::axis::AxisShape;
use crate::error::{Error, Result};
use crate::kernels::{BinaryCall, ClassBuffers, TargetBuffer, UpstreamBuffer};
use crate::loss::{BinaryProblem, ClassProblem, ClassTargets, CrossEntropy, Upstream};
use crate::plan::{self, Traits};

/// A loss over classes with its arrays in host memory.
#[derive(Clone, Copy)]
pub(crate) struct ClassJob<'a> {
    pub problem: &'a ClassProblem<'a>,
    pub x: &'a [f32],
    /// Where the gradient is wanted.
    pub upstream: Option<Upstream<'a>>,
}

impl Gpu {
    /// Each row's loss, where `losses` is not empty, and the gradient, where `dx` is not. Both at
    /// once are for one upstream gradient of all rows.
    pub(crate) async fn class_loss_host(
        &self,
        job: ClassJob<'_>,
        losses: &mut [f32],
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let ClassJob {
            problem,
            x,
            upstream,
        } = job;
        let shape = problem.shape;
        if shape.elements() == 0 {
            losses.fill(0.0);
            return Ok(());
        }
        let traits = Traits::of(&self.inner.device);
        if plan::axis(&AxisShape { outer: 1, ..shape }, &traits).is_none() {
            return self.class_loss_by_columns(job, losses, dx, wait).await;
        }
        // The device sees ignored rows by the bits that the host marks them with.
        let loss = CrossEntropy::new()
            .label_smoothing(problem.smoothing as f32)
            .ignore_index(-1);
        let (targets, probabilities): (&[u32], bool) = match &problem.targets {
            ClassTargets::Classes(classes) => (classes, false),
            ClassTargets::Probabilities(q) => (words(q), true),
        };
        let weight = problem.weight.unwrap_or_default();
        let mut same = [0.0f32];
        let dy: &[f32] = match upstream {
            Some(Upstream::Each(dy)) => dy,
            Some(Upstream::Same(dy)) => {
                same[0] = dy as f32;
                &same
            }
            None => &[],
        };
        let each = matches!(upstream, Some(Upstream::Each(_)));
        let block = shape.len * shape.inner;
        let outer = (PIECE / block).max(1);
        let (wants_losses, wants_dx) = (!losses.is_empty(), !dx.is_empty());
        let pieces = ranges(shape.outer, outer).map(|blocks| {
            let elements = blocks.start * block..blocks.end * block;
            let rows = blocks.start * shape.inner..blocks.end * shape.inner;
            let mut outputs = Vec::with_capacity(2);
            if wants_losses {
                outputs.push(rows.clone());
            }
            if wants_dx {
                outputs.push(elements.clone());
            }
            let of_targets = if probabilities { &elements } else { &rows };
            Piece {
                inputs: vec![
                    elements.clone(),
                    of_targets.clone(),
                    0..weight.len(),
                    if each { rows } else { 0..dy.len() },
                ],
                outputs,
            }
        });
        let mut outputs: Vec<&mut [f32]> = Vec::with_capacity(2);
        if wants_losses {
            outputs.push(losses);
        }
        if wants_dx {
            outputs.push(dx);
        }
        let operation = Operation {
            inputs: &[words(x), targets, words(weight), words(dy)],
            outputs: &mut outputs,
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let shape = AxisShape {
                    outer: piece.inputs[0].len() / block,
                    ..shape
                };
                let targets = if probabilities {
                    TargetBuffer::Probabilities(slices[1])
                } else {
                    TargetBuffer::Indices(slices[1])
                };
                let buffers = ClassBuffers {
                    logits: slices[0],
                    targets,
                    weight: (!weight.is_empty()).then_some(slices[2]),
                };
                let dy = if each {
                    UpstreamBuffer::Each(slices[3])
                } else {
                    UpstreamBuffer::Same(slices[3], 1.0)
                };
                let loss = &loss;
                match (wants_losses, wants_dx) {
                    (true, true) => kernels.cross_entropy_with_grad(
                        pass, loss, &shape, buffers, slices[4], slices[5], same[0],
                    ),
                    (true, false) => kernels.cross_entropy(pass, loss, &shape, buffers, slices[4]),
                    _ => kernels.grad_cross_entropy(pass, loss, &shape, buffers, dy, slices[4]),
                }
            },
        )
        .await
    }

    /// Rows whose elements lie further apart than the device binds: columns are gathered into
    /// tiles on the host, which are arrays of their own.
    async fn class_loss_by_columns(
        &self,
        job: ClassJob<'_>,
        losses: &mut [f32],
        dx: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let problem = job.problem;
        let AxisShape { outer, len, inner } = problem.shape;
        let traits = Traits::of(&self.inner.device);
        // Less than a piece, and than a binding from an aligned offset.
        let bindable = (traits.max_binding.saturating_sub(traits.alignment) / 4) as usize;
        let width = (PIECE.min(bindable) / len).max(1);
        if outer == 1 && width >= inner {
            // A tile that is no smaller would be cut for ever.
            return Err(Error::AxisStepTooLarge {
                bytes: inner as u64 * 4,
                limit: traits.max_binding,
            });
        }
        for o in 0..outer {
            for columns in ranges(inner, width) {
                let steps = |i: usize| {
                    let start = (o * len + i) * inner;
                    start + columns.start..start + columns.end
                };
                let rows = o * inner + columns.start..o * inner + columns.end;
                let gather = |from: &[f32]| -> Vec<f32> {
                    let parts = (0..len).flat_map(|i| from[steps(i)].iter().copied());
                    parts.collect()
                };
                let q: Vec<f32>;
                let targets = match &problem.targets {
                    ClassTargets::Classes(classes) => {
                        ClassTargets::Classes(classes[rows.clone()].to_vec())
                    }
                    ClassTargets::Probabilities(all) => {
                        q = gather(all);
                        ClassTargets::Probabilities(&q)
                    }
                };
                let tile = ClassProblem {
                    shape: AxisShape {
                        outer: 1,
                        len,
                        inner: columns.len(),
                    },
                    targets,
                    ..*problem
                };
                let part = ClassJob {
                    problem: &tile,
                    x: &gather(job.x),
                    upstream: job.upstream.map(|upstream| match upstream {
                        Upstream::Each(dy) => Upstream::Each(&dy[rows.clone()]),
                        same @ Upstream::Same(_) => same,
                    }),
                };
                let wants_dx = if dx.is_empty() { 0 } else { part.x.len() };
                let mut tile_dx = vec![0.0; wants_dx];
                let own: &mut [f32] = if losses.is_empty() {
                    &mut []
                } else {
                    &mut losses[rows]
                };
                Box::pin(self.class_loss_host(part, own, &mut tile_dx, wait)).await?;
                for (i, step) in tile_dx.chunks(columns.len()).enumerate() {
                    dx[steps(i)].copy_from_slice(step);
                }
            }
        }
        Ok(())
    }

    /// The loss of each element, or where there is an upstream gradient the gradient.
    pub(crate) async fn binary_loss_host(
        &self,
        problem: &BinaryProblem<'_>,
        x: &[f32],
        targets: &[f32],
        upstream: Option<Upstream<'_>>,
        out: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let mut same = [0.0f32];
        let dy: &[f32] = match upstream {
            Some(Upstream::Each(dy)) => dy,
            Some(Upstream::Same(dy)) => {
                same[0] = dy as f32;
                &same
            }
            None => &[],
        };
        let each = matches!(upstream, Some(Upstream::Each(_)));
        let spreads = [problem.weight, problem.pos_weight];
        let values = spreads.map(|spread| spread.map_or(&[][..], |spread| spread.values));
        let pieces = ranges(x.len(), PIECE).map(|range| {
            let whole = |all: &[f32]| {
                if all.len() == x.len() && all.len() > 1 {
                    range.clone()
                } else {
                    0..all.len()
                }
            };
            Piece {
                inputs: vec![
                    range.clone(),
                    range.clone(),
                    whole(values[0]),
                    whole(values[1]),
                    if each { range.clone() } else { 0..dy.len() },
                ],
                outputs: vec![range],
            }
        });
        let operation = Operation {
            inputs: &[
                words(x),
                words(targets),
                words(values[0]),
                words(values[1]),
                words(dy),
            ],
            outputs: &mut [out],
            results: Results::InOwnBuffers,
        };
        run(
            &self.inner,
            operation,
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let dy = match upstream {
                    Some(Upstream::Each(_)) => Some(UpstreamBuffer::Each(slices[4])),
                    Some(Upstream::Same(_)) => Some(UpstreamBuffer::Same(slices[4], 1.0)),
                    None => None,
                };
                kernels.binary_loss(
                    pass,
                    &BinaryCall {
                        problem,
                        start: piece.outputs[0].start,
                        count: piece.outputs[0].len(),
                        x: slices[0],
                        targets: slices[1],
                        weights: [
                            problem.weight.map(|_| slices[2]),
                            problem.pos_weight.map(|_| slices[3]),
                        ],
                        dy,
                        out: slices[5],
                    },
                )
            },
        )
        .await
    }
}
