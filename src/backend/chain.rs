//! Fused chains, in host memory.

use super::Backend;
use crate::chain::{Chain, MOST_STEPS, Resolved};
use crate::cpu::Cpu;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::shape::same_length;

impl Backend {
    twins! {
        /// chain(x), where x has that shape; with the operands and their shapes in the order of
        /// the steps that take them.
        ///
        /// # Errors
        /// As [`Backend::apply_into`]; [`Error::ChainStep`](crate::Error::ChainStep),
        /// [`Error::ChainOperands`](crate::Error::ChainOperands),
        /// [`Error::NotBroadcastable`](crate::Error::NotBroadcastable),
        /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch).
        fn apply_chain / apply_chain_async / apply_chain_core (chain: &Chain, x: &[f32], shape: &[usize], operands: &[(&[f32], &[usize])]) -> Vec<f32>;
        /// The gradients of a chain from its input: by x, and by each of the operands. Those of
        /// operands that are broadcast are sums, added up in f64, of f32 terms.
        ///
        /// # Errors
        /// As [`Backend::apply_chain`].
        fn grad_chain / grad_chain_async / grad_chain_core (chain: &Chain, x: &[f32], shape: &[usize], operands: &[(&[f32], &[usize])], dy: &[f32]) -> (Vec<f32>, Vec<Vec<f32>>);
    }

    pub(super) async fn apply_chain_core(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        if self.takes_whole(chain) {
            return self
                .apply_chain_whole(chain, x, shape, operands, wait)
                .await;
        }
        checked(chain, x, shape, operands)?;
        let parts = chain.parts().count();
        let mut values = self
            .chain_values(chain, x, shape, operands, wait, parts)
            .await?;
        // Invariant: a long chain has parts.
        Ok(values.pop().unwrap_or_default())
    }

    pub(super) async fn grad_chain_core(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        if self.takes_whole(chain) {
            let gradients = self.grad_chain_whole(chain, x, shape, operands, dy, wait);
            return gradients.await;
        }
        checked(chain, x, shape, operands)?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        let parts: Vec<Chain> = chain.parts().collect();
        let values = self
            .chain_values(chain, x, shape, operands, wait, parts.len() - 1)
            .await?;
        let (mut rest, mut g) = (operands, dy.to_vec());
        let mut by_parts = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate().rev() {
            let (others, own) = rest.split_at(rest.len() - part.operands());
            rest = others;
            let given = if i == 0 { x } else { &values[i - 1] };
            let by_operands;
            (g, by_operands) = self
                .grad_chain_whole(part, given, shape, own, &g, wait)
                .await?;
            by_parts.push(by_operands);
        }
        Ok((g, by_parts.into_iter().rev().flatten().collect()))
    }

    /// Whether a chain is computed in one go: on a GPU, where one kernel takes it.
    fn takes_whole(&self, chain: &Chain) -> bool {
        matches!(self, Self::Cpu(..)) || chain.steps().len() <= MOST_STEPS
    }

    /// What the first `count` parts of a chain make of x.
    async fn chain_values(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        wait: HostWait,
        count: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let mut rest = operands;
        let mut values: Vec<Vec<f32>> = Vec::with_capacity(count);
        for part in chain.parts().take(count) {
            let (own, others) = rest.split_at(part.operands());
            rest = others;
            let given = values.last().map_or(x, |v| v);
            let v = self.apply_chain_whole(&part, given, shape, own, wait);
            values.push(v.await?);
        }
        Ok(values)
    }

    async fn apply_chain_whole(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        wait: HostWait,
    ) -> Result<Vec<f32>> {
        let given = operands;
        let (resolved, operands) = checked(chain, x, shape, operands)?;
        let mut y = vec![0.0; x.len()];
        either!(
            self,
            |gpu| match resolved.around {
                Some(_) => {
                    gpu.row_chain_host(chain, x, shape, given, &mut y, wait)
                        .await
                }
                None => {
                    let both = (chain, &resolved);
                    gpu.chain_host(both, x, &operands, None, &mut y, &mut [], wait)
                        .await
                }
            },
            |cpu| {
                cpu.chain(chain, &resolved, x, &operands, None, &mut y, &mut []);
                Ok(())
            }
        )?;
        Ok(y)
    }

    async fn grad_chain_whole(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        operands: &[(&[f32], &[usize])],
        dy: &[f32],
        wait: HostWait,
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let given = operands;
        let (resolved, operands) = checked(chain, x, shape, operands)?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        let mut dx = vec![0.0; x.len()];
        let mut terms = vec![vec![0.0; x.len()]; operands.len()];
        either!(
            self,
            |gpu| match resolved.around {
                Some(_) => match gpu
                    .grad_row_chain_host(chain, x, shape, given, dy, wait)
                    .await
                {
                    // Its sums are added up on the device.
                    Ok(gradients) => return Ok(gradients),
                    Err(error) => Err(error),
                },
                None => {
                    let both = (chain, &resolved);
                    gpu.chain_host(both, x, &operands, Some(dy), &mut dx, &mut terms, wait)
                        .await
                }
            },
            |cpu| {
                cpu.chain(
                    chain,
                    &resolved,
                    x,
                    &operands,
                    Some(dy),
                    &mut dx,
                    &mut terms,
                );
                Ok(())
            }
        )?;
        let places = resolved.places.iter().zip(terms);
        let sums = places.map(|(place, terms)| {
            if place.is_whole() {
                return Ok(terms);
            }
            let mut sums = vec![0.0; place.elements()];
            Cpu::new().sum_into(&place.sums, &terms, &mut sums)?;
            Ok(sums)
        });
        Ok((dx, sums.collect::<Result<_>>()?))
    }
}

/// The chain around its arrays, whose lengths are those of their shapes.
fn checked<'a>(
    chain: &Chain,
    x: &[f32],
    shape: &[usize],
    operands: &[(&'a [f32], &[usize])],
) -> Result<(Resolved, Vec<&'a [f32]>)> {
    let shapes: Vec<&[usize]> = operands.iter().map(|(_, shape)| *shape).collect();
    let resolved = chain.resolve(shape, &shapes)?;
    same_length("the input", resolved.elements, x.len())?;
    for (place, (values, shape)) in resolved.places.iter().zip(operands) {
        same_length(place.what, shape.iter().product(), values.len())?;
    }
    let operands = operands.iter().map(|(values, _)| *values).collect();
    Ok((resolved, operands))
}
