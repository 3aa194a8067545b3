//! Buffers that are used again: a fresh one costs its pages' first touch, which on a software
//! adapter is more than a kernel.

use crate::error::{Error, Result};
use crate::kernels::{Kernels, lock};
use std::collections::HashMap;
use std::sync::Mutex;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// A tensor: bound, and copied to and from.
    Storage,
    /// Bound, and mapped by the host to write inputs and to read results.
    Shared,
    /// Mapped by the host to read results.
    Readback,
}

/// Bytes of unused buffers that are kept at most, or as many as are in use: whoever works on large
/// tensors makes others as large.
const KEPT: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct Pool {
    /// They keep bind groups of these buffers, until they are told that one is gone.
    kernels: Kernels,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: HashMap<(Purpose, u64), Vec<wgpu::Buffer>>,
    bytes: u64,
    /// Bytes of tensors and pieces that are in use.
    lent: u64,
}

impl Free {
    /// Takes out the largest buffer.
    fn pop_largest(&mut self) -> Option<wgpu::Buffer> {
        let of_size = self.buffers.iter_mut().filter(|(_, free)| !free.is_empty());
        let (&(_, size), free) = of_size.max_by_key(|((_, size), _)| *size)?;
        self.bytes -= size;
        free.pop()
    }

    /// Notes that a buffer is in use, or is not any more. Of readbacks some are never back.
    fn lend(&mut self, purpose: Purpose, bytes: u64, is_back: bool) {
        if purpose != Purpose::Readback {
            self.lent = if is_back {
                self.lent.saturating_sub(bytes)
            } else {
                self.lent + bytes
            };
        }
    }
}

/// The size that a request is rounded up to: few sizes, so that they meet again; 16 bytes at
/// least, so that a vec4 can be bound.
pub(super) fn rounded(bytes: u64) -> u64 {
    const STEP: u64 = 1 << 20;
    if bytes <= STEP {
        bytes.next_power_of_two().max(16)
    } else {
        bytes.div_ceil(STEP) * STEP
    }
}

impl Pool {
    pub(super) fn new(kernels: &Kernels) -> Self {
        Self {
            kernels: kernels.clone(),
            free: Mutex::default(),
        }
    }

    /// A buffer of at least `bytes`, with any contents.
    pub(super) fn take(
        &self,
        super_: &super::Inner,
        purpose: Purpose,
        bytes: u64,
    ) -> Result<wgpu::Buffer> {
        let limit = super_.device.limits().max_buffer_size;
        // Rounding up must not be what passes the limit.
        let size = if rounded(bytes) <= limit {
            rounded(bytes)
        } else {
            bytes
        };
        if size > limit {
            return Err(Error::OutOfMemory {
                bytes,
                reason: format!("its largest buffer holds {limit}"),
            });
        }
        {
            let mut free = lock(&self.free);
            let found = free.buffers.get_mut(&(purpose, size)).and_then(Vec::pop);
            if let Some(buffer) = found {
                free.bytes -= size;
                free.lend(purpose, size, false);
                return Ok(buffer);
            }
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("activations"),
            size,
            usage: match purpose {
                Purpose::Storage => {
                    wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::COPY_SRC
                        | wgpu::BufferUsages::COPY_DST
                }
                Purpose::Shared => {
                    wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::MAP_READ
                        | wgpu::BufferUsages::MAP_WRITE
                }
                Purpose::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            },
            mapped_at_creation: false,
        };
        let buffer = match super_.create(&descriptor) {
            // What nobody uses may be what is missing.
            Err(Error::OutOfMemory { .. }) if self.empty() => {
                // A poll lets go of what is done; a lost device is found by the next attempt.
                let _ = super_.device.poll(wgpu::PollType::wait_indefinitely());
                super_.create(&descriptor)?
            }
            created => created?,
        };
        lock(&self.free).lend(purpose, size, false);
        if purpose != Purpose::Readback {
            self.kernels.own(&buffer);
        }
        Ok(buffer)
    }

    /// Takes back a buffer whose recorded work is all submitted: a queue runs in order, so that
    /// whoever has it next comes later.
    pub(super) fn give(&self, purpose: Purpose, buffer: wgpu::Buffer) {
        let mut gone = Vec::new();
        {
            let mut free = lock(&self.free);
            let size = buffer.size();
            free.lend(purpose, size, true);
            free.bytes += size;
            let of_size = free.buffers.entry((purpose, size)).or_default();
            of_size.push(buffer);
            let most = KEPT.max(free.lent);
            while free.bytes > most {
                gone.extend(free.pop_largest());
            }
        }
        for buffer in &gone {
            self.kernels.forget(buffer);
        }
    }

    /// Lets go of a buffer that nobody is to have again.
    pub(super) fn discard(&self, purpose: Purpose, buffer: &wgpu::Buffer) {
        lock(&self.free).lend(purpose, buffer.size(), true);
        self.kernels.forget(buffer);
    }

    /// Lets go of all unused buffers; whether there were some.
    pub(super) fn empty(&self) -> bool {
        let buffers = {
            let mut free = lock(&self.free);
            free.bytes = 0;
            std::mem::take(&mut free.buffers)
        };
        let mut some = false;
        for buffer in buffers.values().flatten() {
            self.kernels.forget(buffer);
            some = true;
        }
        some
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // All buffers are back: tensors keep the device that they are of.
        self.empty();
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Purpose, lock, rounded};
    use crate::Gpu;

    #[test]
    fn as_much_is_kept_as_is_in_use() {
        let (device, queue) = crate::noop::device();
        let gpu = Gpu::from_device(device, queue);
        let pool = &gpu.inner.pool;
        let kept = || lock(&pool.free).bytes;
        let of = |bytes: u64| gpu.empty(&[(bytes / 4) as usize]).unwrap();
        let half = KEPT / 2;
        let [a, b, c, d, e, f] = [half; 6].map(of);
        let small = of(4096);
        drop([a, b, c]);
        assert_eq!(kept(), 3 * half);
        // With less in use, the bound is back.
        drop([d, e, f]);
        assert_eq!(kept(), KEPT);
        drop(small);
        assert_eq!(kept(), half + rounded(4096));
        assert_eq!(lock(&pool.free).lent, 0);
        let a = pool.take(&gpu.inner, Purpose::Storage, 100).unwrap();
        assert_eq!(lock(&pool.free).lent, 128);
        pool.discard(Purpose::Storage, &a);
        assert_eq!(lock(&pool.free).lent, 0);
        assert!(pool.empty());
        assert!(!pool.empty());
        assert_eq!(kept(), 0);
    }
}
