//! Bind groups that are used again. A bind group keeps its buffers alive, so that how many are
//! kept is bounded, and what goes out of use goes first.

#![expect(
    clippy::mutable_key_type,
    reason = "wgpu hashes and compares a buffer by its identity, which does not change"
)]

use super::{PipelineKey, Slot, Work};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};

/// Bind groups that are kept at most.
const MOST: usize = 1024;
/// Bytes of the caller's buffers that kept groups keep alive at most. Buffers of the pool do not
/// count: it says when it lets go of one.
const MOST_BYTES: u64 = 256 << 20;

/// What a dispatch sets: its pipeline and its one group.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub pipeline: wgpu::ComputePipeline,
    pub group: wgpu::BindGroup,
}

/// The groups of dispatches, by all that they depend on.
#[derive(Debug, Default)]
pub(super) struct Groups {
    entries: HashMap<u64, Entry, RandomState>,
    /// Quick, as every dispatch is hashed.
    hasher: RandomState,
    /// The number of the last use of any.
    now: u64,
    /// The caller's buffers that groups refer to, and how many groups.
    foreign: HashMap<wgpu::Buffer, usize>,
    foreign_bytes: u64,
    /// Buffers whose end [`Groups::forget`] is told.
    own: HashSet<wgpu::Buffer>,
}

/// A binding: the range of a buffer from an offset on.
type Bound = (Slot, wgpu::Buffer, u64, Option<wgpu::BufferSize>);

#[derive(Debug)]
struct Entry {
    key: PipelineKey,
    uniforms: Box<[u32]>,
    bindings: Box<[Bound]>,
    recorded: Recorded,
    used: u64,
}

impl Entry {
    fn is_of(&self, key: &PipelineKey, work: &Work<'_>) -> bool {
        let is_bound = |(kept, wanted): (&Bound, &(Slot, wgpu::BufferBinding<'_>))| {
            let ((slot, buffer, offset, size), (wanted_slot, wanted)) = (kept, wanted);
            slot == wanted_slot
                && buffer == wanted.buffer
                && *offset == wanted.offset
                && *size == wanted.size
        };
        self.key == *key
            && *self.uniforms == *work.uniforms
            && self.bindings.len() == work.bindings.len()
            && self.bindings.iter().zip(work.bindings).all(is_bound)
    }

    /// Each of the buffers that its maker does not know, once.
    fn foreign<'a>(
        &'a self,
        own: &'a HashSet<wgpu::Buffer>,
    ) -> impl Iterator<Item = &'a wgpu::Buffer> {
        let is_constant = |slot: Slot| slot.binding_type() == wgpu::BufferBindingType::Uniform;
        let bindings = self.bindings.iter().enumerate();
        bindings.filter_map(move |(i, (slot, buffer, ..))| {
            let before = self.bindings[..i]
                .iter()
                .any(|(_, other, ..)| other == buffer);
            (!before && !is_constant(*slot) && !own.contains(buffer)).then_some(buffer)
        })
    }
}

impl Groups {
    fn hash(&self, key: &PipelineKey, work: &Work<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        work.uniforms.hash(&mut hasher);
        for (slot, binding) in work.bindings {
            (slot.number(), binding.buffer, binding.offset, binding.size).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What was made for the same dispatch before.
    pub(super) fn get(&mut self, key: &PipelineKey, work: &Work<'_>) -> Option<Recorded> {
        let hash = self.hash(key, work);
        let entry = self.entries.get_mut(&hash)?;
        // Two that share a hash take turns.
        if !entry.is_of(key, work) {
            return None;
        }
        self.now += 1;
        entry.used = self.now;
        Some(entry.recorded.clone())
    }

    /// Keeps what was made for a dispatch.
    pub(super) fn keep(&mut self, key: PipelineKey, work: &Work<'_>, recorded: Recorded) {
        let hash = self.hash(&key, work);
        self.remove(hash);
        self.now += 1;
        let bindings = work
            .bindings
            .iter()
            .map(|(slot, binding)| (*slot, binding.buffer.clone(), binding.offset, binding.size));
        let entry = Entry {
            key,
            uniforms: work.uniforms.into(),
            bindings: bindings.collect(),
            recorded,
            used: self.now,
        };
        let bytes: u64 = entry.foreign(&self.own).map(wgpu::Buffer::size).sum();
        if bytes > MOST_BYTES {
            // Work on so much does not notice a group that is made anew.
            return;
        }
        for buffer in entry.foreign(&self.own) {
            let groups = self.foreign.entry(buffer.clone()).or_default();
            if *groups == 0 {
                self.foreign_bytes += buffer.size();
            }
            *groups += 1;
        }
        self.entries.insert(hash, entry);
        while self.entries.len() > MOST || self.foreign_bytes > MOST_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(&hash, _)| hash) else {
                break;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, hash: u64) {
        let Some(entry) = self.entries.remove(&hash) else {
            return;
        };
        for buffer in entry.foreign(&self.own) {
            let Some(groups) = self.foreign.get_mut(buffer) else {
                continue;
            };
            *groups -= 1;
            if *groups == 0 {
                self.foreign_bytes -= buffer.size();
                self.foreign.remove(buffer);
            }
        }
    }

    /// Takes a buffer that no group refers to yet as one whose end [`Groups::forget`] is told.
    pub(super) fn own(&mut self, buffer: &wgpu::Buffer) {
        self.own.insert(buffer.clone());
    }

    /// Lets go of a buffer.
    pub(super) fn forget(&mut self, buffer: &wgpu::Buffer) {
        let refers = |entry: &Entry| entry.bindings.iter().any(|(_, other, ..)| other == buffer);
        let of_buffer: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| refers(entry))
            .map(|(&hash, _)| hash)
            .collect();
        for hash in of_buffer {
            self.remove(hash);
        }
        self.own.remove(buffer);
    }

    /// When something was last recorded, by the number of uses.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// The last use of each pipeline that has a group here.
    pub(super) fn uses(&self) -> HashMap<PipelineKey, u64> {
        let mut uses = HashMap::new();
        for entry in self.entries.values() {
            let used: &mut u64 = uses.entry(entry.key).or_default();
            *used = entry.used.max(*used);
        }
        uses
    }

    /// Lets go of a pipeline's groups.
    pub(super) fn forget_pipeline(&mut self, key: &PipelineKey) {
        let entries = self.entries.iter();
        let of_pipeline = entries.filter(|(_, entry)| entry.key == *key);
        let of_pipeline: Vec<u64> = of_pipeline.map(|(&hash, _)| hash).collect();
        for hash in of_pipeline {
            self.remove(hash);
        }
    }

    /// Lets go of all groups.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.foreign.clear();
        self.foreign_bytes = 0;
    }
}

#[cfg(test)]
impl Groups {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn foreign_bytes(&self) -> u64 {
        self.foreign_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_BYTES};
    use crate::kernels::{Kernels, lock};
    use crate::{Activation, Gpu};

    fn device() -> (wgpu::Device, wgpu::Queue) {
        crate::noop::with_limits(wgpu::Limits {
            max_buffer_size: 2 * MOST_BYTES,
            ..wgpu::Limits::default()
        })
    }

    fn buffer(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    }

    /// Records an operation on the start of each buffer.
    fn record<'a>(kernels: &Kernels, buffers: impl IntoIterator<Item = &'a wgpu::Buffer>) {
        let device = &kernels.inner.device;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for buffer in buffers {
            let x = buffer.slice(..64);
            kernels
                .apply_in_place(&mut pass, Activation::Relu, x)
                .unwrap();
        }
    }

    /// How many groups are kept, and the bytes of the caller's that they keep alive.
    fn kept(kernels: &Kernels) -> (usize, u64) {
        let groups = lock(&kernels.inner.groups);
        (groups.len(), groups.foreign_bytes())
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_longest_unused_goes_first() {
        let (device, _queue) = device();
        let kernels = Kernels::new(&device);
        let first = buffer(&device, 256);
        for _ in 0..3 * MOST {
            record(&kernels, [&first, &buffer(&device, 256)]);
        }
        assert_eq!(kept(&kernels), (MOST, MOST as u64 * 256));
        // Of two groups of a buffer, each keeps it.
        kernels.release();
        record(&kernels, [&first]);
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        kernels
            .apply_in_place(&mut pass, Activation::Elu, first.slice(..))
            .unwrap();
        assert_eq!(kept(&kernels), (2, 256));
        let large = [(); 3].map(|()| buffer(&device, MOST_BYTES / 2));
        record(&kernels, &large);
        assert_eq!(kept(&kernels), (2, MOST_BYTES));
        record(&kernels, [&buffer(&device, MOST_BYTES + 4)]);
        assert_eq!(kept(&kernels), (2, MOST_BYTES));
        kernels.release();
        assert_eq!(kept(&kernels), (0, 0));
    }

    #[test]
    fn groups_go_with_the_buffers_of_the_pool() {
        let (device, queue) = device();
        let gpu = Gpu::from_device(device, queue);
        let kernels = gpu.kernels().clone();
        {
            let tensors = [(); 3].map(|()| gpu.empty(&[25 << 20]).unwrap());
            record(&kernels, tensors.iter().map(crate::Tensor::buffer));
            // They do not count as the caller's.
            assert_eq!(kept(&kernels), (3, 0));
        }
        // The pool has room for two of them.
        assert_eq!(kept(&kernels), (2, 0));
        drop(gpu);
        assert_eq!(kept(&kernels), (0, 0));
        assert!(lock(&kernels.inner.groups).own.is_empty());
    }
}
