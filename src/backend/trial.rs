//! The calls of a backend that is held against a reference: in one way for callers that block and for those
//! that do not.

use super::Backend;
use super::calls::{Call, Results, each, one, two};
use crate::arrays::Inputs;
use crate::catalogue::Elementwise;
use crate::chain::Chain;
use crate::element::{DType, Element};
use crate::error::Result;
use crate::gpu::HostWait;
use crate::operation::{AsOperation, IntoOperation};
use crate::random::Random;

/// A backend whose GPU is taken at its word, and how its calls wait.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    backend: Backend,
    wait: HostWait,
}

impl Trial {
    pub(crate) fn new(backend: &Backend, wait: HostWait) -> Self {
        let backend = backend.trusting();
        Self { backend, wait }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn run(
        &self,
        operation: impl IntoOperation,
        call: &Call<'_>,
        dtype: DType,
    ) -> Result<Results> {
        let operation = operation.held();
        let operation = operation.as_operation();
        let results = self.backend.results(operation, call, dtype, self.wait);
        results.await
    }

    pub(crate) async fn apply<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> Result<I::Result> {
        let call = Call::forward(inputs);
        Ok(one(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn grad<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::backward(inputs, dy);
        Ok(one(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn grads<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<Vec<Vec<I::Number>>> {
        let call = Call::backward(inputs, dy).all();
        Ok(each(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn grad_by<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        input: &'static str,
        inputs: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::backward(inputs, dy).by(input);
        Ok(one(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn grad_from_output<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        y: I,
        dy: impl Inputs<'a, Number = I::Number>,
    ) -> Result<I::Result> {
        let call = Call::from_output(y, dy);
        Ok(one(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn apply_with_grad<'a, I: Inputs<'a>>(
        &self,
        operation: impl IntoOperation,
        inputs: I,
    ) -> Result<(I::Result, I::Result)> {
        let call = Call::both(inputs);
        Ok(two(self.run(operation, &call, I::Number::DTYPE).await?))
    }

    pub(crate) async fn uniform(&self, random: Random, count: usize) -> Result<Vec<f32>> {
        self.backend.uniform_core(random, count, self.wait).await
    }

    pub(crate) async fn gumbel_noise(&self, random: Random, count: usize) -> Result<Vec<f32>> {
        self.backend
            .gumbel_noise_core(random, count, self.wait)
            .await
    }

    pub(crate) async fn grad_parameter(
        &self,
        f: Elementwise,
        name: &str,
        x: &[f32],
        dy: &[f32],
    ) -> Result<f32> {
        let f = self.backend.grad_parameter_core(f, name, x, dy, self.wait);
        f.await
    }

    pub(crate) async fn apply_chain(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
    ) -> Result<Vec<f32>> {
        let y = self
            .backend
            .apply_chain_core(chain, x, shape, &[], self.wait);
        y.await
    }

    /// The gradient by x.
    pub(crate) async fn grad_chain(
        &self,
        chain: &Chain,
        x: &[f32],
        shape: &[usize],
        dy: &[f32],
    ) -> Result<Vec<f32>> {
        let gradients = self
            .backend
            .grad_chain_core(chain, x, shape, &[], dy, self.wait);
        Ok(gradients.await?.0)
    }
}
