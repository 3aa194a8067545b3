//! What the softmax family takes beside numbers, on a device: masks and row lengths.

use super::{Gpu, Tensor, Wait, stream};
use crate::error::Result;
use crate::shape::{element_count, same_length};

/// A mask on a [`Gpu`], for calls of [`Batch`](crate::Batch): one byte an element, nonzero takes part.
///
/// Cloning is cheap and shares the buffer.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Four bytes an element, the last one filled up.
    pub(super) words: Tensor,
    shape: Vec<usize>,
}

impl Mask {
    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// Row lengths on a [`Gpu`], for calls of [`Batch`](crate::Batch).
///
/// Cloning is cheap and shares the buffer.
#[derive(Clone, Debug)]
pub struct Lengths {
    pub(super) words: Tensor,
}

impl Lengths {
    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        self.words.shape()
    }
}

impl Gpu {
    /// A mask on the device: nonzero takes part.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn upload_mask(&self, keep: &[u8], shape: &[usize]) -> Result<Mask> {
        pollster::block_on(self.mask_by(keep, shape, Wait::Block))
    }

    /// [`Gpu::upload_mask`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub async fn upload_mask_async(&self, keep: &[u8], shape: &[usize]) -> Result<Mask> {
        self.mask_by(keep, shape, Wait::Async).await
    }

    async fn mask_by(&self, keep: &[u8], shape: &[usize], wait: Wait) -> Result<Mask> {
        same_length("the mask", element_count(shape)?, keep.len())?;
        let words = self.empty(&[keep.len().div_ceil(4)])?;
        stream::upload(&self.inner, keep, words.buffer(), wait).await?;
        Ok(Mask {
            words,
            shape: shape.to_vec(),
        })
    }

    /// Row lengths on the device.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn upload_lengths(&self, lengths: &[u32], shape: &[usize]) -> Result<Lengths> {
        Ok(Lengths {
            words: self.upload::<f32>(bytemuck::cast_slice(lengths), shape)?,
        })
    }

    /// [`Gpu::upload_lengths`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub async fn upload_lengths_async(&self, lengths: &[u32], shape: &[usize]) -> Result<Lengths> {
        let words = self.upload_async::<f32>(bytemuck::cast_slice(lengths), shape);
        Ok(Lengths {
            words: words.await?,
        })
    }
}
