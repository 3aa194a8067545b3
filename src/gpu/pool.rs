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

/// Bytes of unused buffers that are kept at most.
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
                return Ok(buffer);
            }
        }
        let buffer = super_.create(&wgpu::BufferDescriptor {
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
        })?;
        if purpose != Purpose::Readback {
            self.kernels.own(&buffer);
        }
        Ok(buffer)
    }

    /// Takes back a buffer whose recorded work is all submitted: a queue runs in order, so that
    /// whoever has it next comes later.
    pub(super) fn give(&self, purpose: Purpose, buffer: wgpu::Buffer) {
        let mut free = lock(&self.free);
        if free.bytes + buffer.size() <= KEPT {
            free.bytes += buffer.size();
            free.buffers
                .entry((purpose, buffer.size()))
                .or_default()
                .push(buffer);
            return;
        }
        drop(free);
        self.discard(&buffer);
    }

    /// Lets go of a buffer that nobody is to have again.
    pub(super) fn discard(&self, buffer: &wgpu::Buffer) {
        self.kernels.forget(buffer);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // All buffers are back: tensors keep the device that they are of.
        for buffer in lock(&self.free).buffers.values().flatten() {
            self.kernels.forget(buffer);
        }
    }
}
