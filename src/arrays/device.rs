//! Arrays on a device: what they hold, and where they lie.

use crate::element::DType;
use std::sync::Arc;

/// What a range of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    Numbers(DType),
    /// A byte for each element.
    Mask,
    /// A u32 for each element.
    Lengths,
    /// An i32 or u32 for each element.
    Classes,
}

impl Contents {
    /// The type of its numbers; words of anything else are bound as f32 are.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::Numbers(dtype) => dtype,
            Self::Mask | Self::Lengths | Self::Classes => DType::F32,
        }
    }

    /// Whether it is classes.
    pub(crate) fn classes(self) -> bool {
        self == Self::Classes
    }

    /// The bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Mask => 1,
            _ => self.dtype().bytes(),
        }
    }
}

/// The loss that targets were checked for, with its options that matter to them.
#[derive(Clone, Debug)]
pub(crate) struct CheckedFor {
    pub loss: &'static str,
    pub weight: Option<Arc<[f32]>>,
    pub ignore_index: i64,
    pub axis: Option<isize>,
    /// The shape of its first input.
    pub shape: Vec<usize>,
}

/// An array on a device, of which the host knows no element.
#[derive(Clone, Copy, Debug)]
pub struct OnDevice<'a> {
    /// Where it lies; not known before its work is recorded.
    pub(crate) slice: Option<wgpu::BufferSlice<'a>>,
    pub(crate) contents: Contents,
    pub(crate) len: usize,
    /// What a mean over targets divides by.
    pub(crate) total: Option<f64>,
    /// What targets were checked for, so that ignored rows are marked.
    pub(crate) checked_for: Option<&'a CheckedFor>,
}

impl<'a> OnDevice<'a> {
    pub(crate) fn new(contents: Contents, len: usize) -> Self {
        Self {
            slice: None,
            contents,
            len,
            total: None,
            checked_for: None,
        }
    }

    /// The range of the buffer.
    pub(crate) fn slice(&self) -> TypedSlice<'a> {
        TypedSlice {
            // Invariant: what is recorded lies somewhere.
            slice: self.slice.expect("a range of a buffer"),
            contents: self.contents,
            total: self.total,
        }
    }
}

/// A range of a buffer and what it holds: numbers of a type in row-major order, or the mask, lengths
/// or classes of an operation that takes some. A [`wgpu::BufferSlice`] by itself is one of f32.
///
/// Its size is a multiple of 4, so that an odd number of 16 bits each has two bytes behind it, which
/// are written with any contents.
#[derive(Clone, Copy, Debug)]
pub struct TypedSlice<'a> {
    slice: wgpu::BufferSlice<'a>,
    pub(super) contents: Contents,
    pub(super) total: Option<f64>,
}

impl<'a> TypedSlice<'a> {
    fn holding(slice: wgpu::BufferSlice<'a>, contents: Contents) -> Self {
        Self {
            slice,
            contents,
            total: None,
        }
    }

    /// The range as numbers of this type.
    pub fn new(slice: wgpu::BufferSlice<'a>, dtype: DType) -> Self {
        Self::holding(slice, Contents::Numbers(dtype))
    }

    /// The range as f32.
    pub fn f32(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::new(slice, DType::F32)
    }

    /// The range as a mask of one byte an element, of which nonzero takes part.
    pub fn mask(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::holding(slice, Contents::Mask)
    }

    /// The range as u32 that say how many elements of a row take part.
    pub fn lengths(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::holding(slice, Contents::Lengths)
    }

    /// The range as classes, i32 or u32, the targets of a loss. Nobody checks them before they are
    /// used: a row whose target is no class, and not the ignored one, has a NaN loss and a NaN
    /// gradient.
    pub fn classes(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::holding(slice, Contents::Classes)
    }

    /// The same classes, for a loss that is a mean: over so many rows, those that are ignored left
    /// out, or over the sum of their class weights where the loss has some.
    #[must_use]
    pub fn mean_over(self, total: f64) -> Self {
        let total = Some(total);
        Self { total, ..self }
    }

    /// The range.
    pub(crate) fn slice(&self) -> wgpu::BufferSlice<'a> {
        self.slice
    }

    pub(crate) fn dtype(&self) -> DType {
        self.contents.dtype()
    }
}

impl<'a> From<wgpu::BufferSlice<'a>> for TypedSlice<'a> {
    fn from(slice: wgpu::BufferSlice<'a>) -> Self {
        Self::f32(slice)
    }
}
