//! Pipelines that are kept, with their modules and the structures of chains. A driver's code of a
//! chain is megabytes, so that how many there are is bounded; the longest unused goes first.

use super::groups::Groups;
use super::{AnyChain, ModuleKey, Pipeline, PipelineKey};
use std::collections::HashMap;
use std::sync::Arc;

/// Pipelines that are kept at most: some times what a large network's training needs.
pub(super) const MOST: usize = 256;

/// What was compiled.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    modules: HashMap<(ModuleKey, bool), wgpu::ShaderModule>,
    /// With the last use that made no difference to the bind groups.
    pipelines: HashMap<PipelineKey, (Pipeline, u64)>,
    /// The structures of chains, by the numbers in their keys.
    chains: HashMap<usize, Arc<AnyChain>>,
    next: usize,
}

impl Compiled {
    /// The number of a chain's structure, and the structure: it stays as long as that is held.
    pub(super) fn chain(&mut self, chain: AnyChain) -> (usize, Arc<AnyChain>) {
        let known = self.chains.iter().find(|(_, known)| ***known == chain);
        if let Some((&number, known)) = known {
            return (number, Arc::clone(known));
        }
        let (number, chain) = (self.next, Arc::new(chain));
        self.next += 1;
        self.chains.insert(number, Arc::clone(&chain));
        (number, chain)
    }

    /// The structure of that number.
    pub(super) fn chain_of(&self, number: usize) -> Option<Arc<AnyChain>> {
        self.chains.get(&number).cloned()
    }

    pub(super) fn module(
        &mut self,
        key: (ModuleKey, bool),
        make: impl FnOnce(&Self) -> wgpu::ShaderModule,
    ) -> wgpu::ShaderModule {
        if let Some(module) = self.modules.get(&key) {
            return module.clone();
        }
        let module = make(self);
        self.modules.insert(key, module.clone());
        module
    }

    pub(super) fn pipeline(&mut self, key: &PipelineKey, now: u64) -> Option<Pipeline> {
        let (pipeline, used) = self.pipelines.get_mut(key)?;
        *used = now;
        Some(pipeline.clone())
    }

    /// Keeps a pipeline, unless another thread was faster, in the place of the longest unused one.
    pub(super) fn keep(
        &mut self,
        key: PipelineKey,
        pipeline: Pipeline,
        groups: &mut Groups,
    ) -> Pipeline {
        let kept = self
            .pipelines
            .entry(key)
            .or_insert((pipeline, groups.now()));
        let kept = kept.0.clone();
        if self.pipelines.len() > MOST {
            let uses = groups.uses();
            let used = |(other, (_, used)): &(&PipelineKey, &(Pipeline, u64))| {
                uses.get(other).copied().unwrap_or(0).max(*used)
            };
            let others = self.pipelines.iter().filter(|(other, _)| **other != key);
            if let Some(oldest) = others.min_by_key(used).map(|(oldest, _)| *oldest) {
                self.pipelines.remove(&oldest);
                groups.forget_pipeline(&oldest);
                self.tidy();
            }
        }
        kept
    }

    /// Lets go of modules and structures that have no pipeline any more and are not in use.
    fn tidy(&mut self) {
        let pipelines = &self.pipelines;
        let has = |module: ModuleKey| pipelines.keys().any(|key| key.module == module);
        self.modules.retain(|(module, _), _| has(*module));
        self.chains
            .retain(|&number, chain| Arc::strong_count(chain) > 1 || has(ModuleKey::Chain(number)));
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.pipelines.clear();
        self.tidy();
    }
}

#[cfg(test)]
impl Compiled {
    /// How many modules, pipelines and structures of chains there are.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.modules.len(), self.pipelines.len(), self.chains.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::MOST;
    use crate::kernels::{Kernels, lock};
    use crate::{Activation, Chain, ChainRanges};

    #[test]
    fn what_is_compiled_is_bounded_and_let_go_of() {
        let (device, _queue) = crate::noop::device();
        let kernels = Kernels::new(&device);
        let buffer = |size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let (x, y) = (buffer(64), buffer(64));
        let record = |chain: &Chain| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let (x, y) = (x.slice(..), y.slice(..));
            let ranges = ChainRanges::default();
            kernels
                .chain(&mut pass, chain, &[16], x, ranges, y)
                .unwrap();
        };
        let compiled = || kernels.counts().pipelines;
        // As many structures as there are numbers of nine bits.
        let chain = |number: usize| {
            let step = |chain: Chain, bit: usize| match number >> bit & 1 {
                0 => chain.scale(2.0),
                _ => chain.apply(Activation::Relu),
            };
            (0..9).fold(Chain::new(), step)
        };
        record(&chain(511));
        let each = compiled();
        for number in 0..MOST + 20 {
            record(&chain(number));
            // In use all the time.
            record(&chain(511));
        }
        assert_eq!(compiled(), each * (MOST as u64 + 21));
        let [modules, pipelines, chains] = lock(&kernels.inner.compiled).counts();
        assert!(pipelines <= MOST && modules <= MOST && chains <= MOST);
        // The longest unused one went first.
        record(&chain(MOST + 19));
        assert_eq!(compiled(), each * (MOST as u64 + 21));
        record(&chain(0));
        assert_eq!(compiled(), each * (MOST as u64 + 22));
        kernels.release();
        assert_eq!(lock(&kernels.inner.compiled).counts(), [0; 3]);
        record(&chain(0));
        assert_eq!(compiled(), each * (MOST as u64 + 23));
    }
}
