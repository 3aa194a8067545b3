//! Fused chains: on tensors, and from and to host memory.

use super::stream::{HostWait, Job, PIECE, Target, ranges, run};
use super::tensor::same_shape;
use super::{Batch, Gpu, Tensor};
use crate::arrays::{Data, DataMut};
use crate::chain::{Chain, Resolved};
use crate::element::DType;
use crate::error::Result;
use crate::kernels::{ChainJob, ChainRanges};
use crate::operation::{Piece, Words};
use crate::shape::same_length;
use smallvec::SmallVec;

impl Batch {
    /// y = chain(x) in a new tensor, with the operands in the order of the steps that take them.
    ///
    /// # Errors
    /// As [`Kernels::chain`](crate::Kernels::chain); [`Error::ForeignTensor`](crate::Error::ForeignTensor).
    pub fn chain(&mut self, chain: &Chain, x: &Tensor, operands: &[&Tensor]) -> Result<Tensor> {
        checked(chain, x, operands)?;
        let mut values = self.chain_values(chain, x, operands, chain.parts().count())?;
        // Invariant: there is one part at least.
        Ok(values.pop().unwrap_or_else(|| x.clone()))
    }

    /// What the first `count` parts of a chain make of x.
    fn chain_values(
        &mut self,
        chain: &Chain,
        x: &Tensor,
        operands: &[&Tensor],
        count: usize,
    ) -> Result<Vec<Tensor>> {
        let (mut rest, last) = (operands, chain.parts().count());
        let mut values: Vec<Tensor> = Vec::with_capacity(count);
        for (i, part) in chain.parts().enumerate().take(count) {
            let (own, others) = rest.split_at(part.operands());
            rest = others;
            // Between parts every result is f32, as it is in a kernel.
            let dtype = if i + 1 == last { x.dtype() } else { DType::F32 };
            let v = self.chain_part(&part, values.last().unwrap_or(x), own, dtype)?;
            values.push(v);
        }
        Ok(values)
    }

    /// A chain of one kernel.
    fn chain_part(
        &mut self,
        chain: &Chain,
        x: &Tensor,
        operands: &[&Tensor],
        dtype: DType,
    ) -> Result<Tensor> {
        let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape()).collect();
        let y = self.output(x.shape(), dtype)?;
        let mut tensors = vec![("input", x), ("output", &y)];
        tensors.extend(operands.iter().map(|operand| ("operand", *operand)));
        self.record_all(&tensors, &[&y], |kernels, pass, slices| {
            let operands: Vec<_> = slices[2..]
                .iter()
                .map(|&slice| slice.into())
                .zip(shapes)
                .collect();
            let ranges = ChainRanges {
                operands: &operands,
                gradients: &[],
            };
            kernels.chain(pass, chain, x.shape(), slices[0], ranges, slices[1])
        })?;
        Ok(y)
    }

    /// The gradients of a chain from its input: by x, and by each of the operands, in new tensors
    /// of their shapes.
    ///
    /// # Errors
    /// As [`Batch::chain`].
    pub fn grad_chain(
        &mut self,
        chain: &Chain,
        x: &Tensor,
        operands: &[&Tensor],
        dy: &Tensor,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        checked(chain, x, operands)?;
        same_shape("the upstream gradient", x.shape(), dy.shape())?;
        if x.is_empty() {
            // Sums of nothing.
            let zeros = |operand: &&Tensor| {
                let zeros = vec![0.0; operand.len()];
                self.handle.recorded_upload(&zeros, operand.shape())
            };
            let gradients: Result<Vec<Tensor>> = operands.iter().map(zeros).collect();
            return Ok((self.handle.empty(x.shape())?, gradients?));
        }
        let parts: Vec<Chain> = chain.parts().collect();
        let values = self.chain_values(chain, x, operands, parts.len() - 1)?;
        let (mut rest, mut g) = (operands, dy.clone());
        let mut by_parts = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate().rev() {
            let (others, own) = rest.split_at(rest.len() - part.operands());
            rest = others;
            let given = if i == 0 { x } else { &values[i - 1] };
            let by_operands;
            (g, by_operands) = self.grad_chain_part(part, given, own, &g)?;
            by_parts.push(by_operands);
        }
        Ok((g, by_parts.into_iter().rev().flatten().collect()))
    }

    /// The gradients of a chain of one kernel.
    fn grad_chain_part(
        &mut self,
        chain: &Chain,
        x: &Tensor,
        operands: &[&Tensor],
        dy: &Tensor,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape()).collect();
        let dx = self.output(x.shape(), x.dtype())?;
        let outputs = operands
            .iter()
            .map(|operand| self.output(operand.shape(), operand.dtype()));
        let gradients: Vec<Tensor> = outputs.collect::<Result<_>>()?;
        let mut tensors = vec![("input", x), ("upstream gradient", dy), ("gradient", &dx)];
        tensors.extend(operands.iter().map(|operand| ("operand", *operand)));
        tensors.extend(gradients.iter().map(|g| ("gradient by an operand", g)));
        let written: Vec<&Tensor> = [&dx].into_iter().chain(&gradients).collect();
        self.record_all(&tensors, &written, |kernels, pass, slices| {
            let (inputs, rest) = slices.split_at(3);
            let (operands, gradients) = rest.split_at(shapes.len());
            let operands: Vec<_> = operands
                .iter()
                .map(|&slice| slice.into())
                .zip(shapes)
                .collect();
            let gradients: Vec<_> = gradients.iter().copied().map(Some).collect();
            let ranges = ChainRanges {
                operands: &operands,
                gradients: &gradients,
            };
            let [x_range, dy, dx] = [inputs[0], inputs[1], inputs[2]];
            kernels.grad_chain(pass, chain, x.shape(), x_range, ranges, dy, dx)
        })?;
        Ok((dx, gradients))
    }
}

/// Whether a chain takes these tensors.
fn checked(chain: &Chain, x: &Tensor, operands: &[&Tensor]) -> Result<()> {
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape()).collect();
    chain.check(x.shape(), &shapes)
}

impl Gpu {
    /// A chain around a function of rows, in host memory: the whole array at once.
    pub(crate) async fn row_chain_host(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        y: &mut [f32],
        wait: HostWait,
    ) -> Result<()> {
        let x = self.upload_by(x, shape, wait.0).await?;
        let operands = self.uploaded(operands, wait).await?;
        let operands: Vec<&Tensor> = operands.iter().collect();
        let mut batch = self.batch();
        let out = batch.chain(chain, &x, &operands)?;
        batch.submit()?;
        y.copy_from_slice(&out.read_by(wait.0).await?);
        Ok(())
    }

    /// The gradients of such a chain.
    pub(crate) async fn grad_row_chain_host(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let x = self.upload_by(x, shape, wait.0).await?;
        let dy = self.upload_by(dy, shape, wait.0).await?;
        let operands = self.uploaded(operands, wait).await?;
        let operands: Vec<&Tensor> = operands.iter().collect();
        let mut batch = self.batch();
        let (dx, gradients) = batch.grad_chain(chain, &x, &operands, &dy)?;
        batch.submit()?;
        let dx = dx.read_by(wait.0).await?;
        let mut by_operands = Vec::with_capacity(gradients.len());
        for gradient in gradients {
            by_operands.push(gradient.read_by(wait.0).await?);
        }
        Ok((dx, by_operands))
    }

    async fn uploaded(&self, arrays: &[(&[f32], &[usize])], wait: HostWait) -> Result<Vec<Tensor>> {
        let mut tensors = Vec::with_capacity(arrays.len());
        for (values, shape) in arrays {
            tensors.push(self.upload_by(values, shape, wait.0).await?);
        }
        Ok(tensors)
    }

    /// A chain in host memory; for its gradients, the terms of those by operands that are
    /// broadcast, which the host adds up.
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) async fn chain_host(
        &self,
        (chain, resolved): (&Chain, &Resolved),
        x: &[f32],
        operands: &[&[f32]],
        dy: Option<&[f32]>,
        out: &mut [f32],
        terms: &mut [Vec<f32>],
        wait: HostWait,
    ) -> Result<()> {
        same_length("the output", x.len(), out.len())?;
        let gradients = terms.len();
        let pieces = ranges(x.len(), PIECE).map(|elements| {
            let mut inputs: SmallVec<[_; 6]> = std::iter::once(elements.clone()).collect();
            inputs.extend(resolved.places.iter().map(|place| {
                if place.is_whole() {
                    elements.clone()
                } else {
                    place.span(elements.start, elements.len()).0
                }
            }));
            inputs.extend(dy.map(|_| elements.clone()));
            Piece {
                inputs,
                outputs: SmallVec::from_elem(elements, 1 + gradients),
            }
        });
        let arrays = [x].into_iter().chain(operands.iter().copied()).chain(dy);
        let inputs: Vec<Words<'_>> = arrays.map(|x| Words::new(Data::F32(x))).collect();
        let outputs = [out]
            .into_iter()
            .chain(terms.iter_mut().map(Vec::as_mut_slice));
        let outputs = outputs.map(|out| Target::new(DataMut::F32(out), true));
        let job = Job {
            inputs: &inputs,
            outputs: &mut outputs.collect::<Vec<_>>(),
            in_last_input: false,
        };
        run(
            &self.inner,
            job,
            pieces,
            wait.0,
            |kernels, pass, slices, piece| {
                let (places, mut next) = (resolved.places.len(), 1);
                let mut take = |count: usize| {
                    next += count;
                    &slices[next - count..next]
                };
                let job = ChainJob {
                    chain,
                    resolved,
                    elements: piece.inputs[0].clone(),
                    x: slices[0].into(),
                    operands: take(places).iter().map(|&slice| slice.into()).collect(),
                    dy: dy.map(|_| take(1)[0].into()),
                    out: take(1)[0].into(),
                    terms: match gradients {
                        0 => (0..places).map(|_| None).collect(),
                        _ => take(gradients).iter().copied().map(Some).collect(),
                    },
                };
                kernels.chain_part(pass, &job)
            },
        )
        .await
    }
}
