//! What a batch is asked to compute, and of which tensors.

use super::loss::Labels;
use super::shaping::{Lengths, Mask};
use super::tensor::Tensor;
use crate::arrays::{Array, Contents, OnDevice};
use crate::element::DType;
use crate::operation::Direction;
use smallvec::SmallVec;

/// A tensor, or another array on the device, that is given to a call of [`Batch`](crate::Batch): they convert into it,
/// and [`Tensor::named`] says which of an operation's inputs it is.
#[derive(Clone, Copy, Debug)]
pub struct TensorArray<'a> {
    pub(super) held: Held<'a>,
    name: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Held<'a> {
    Numbers(&'a Tensor),
    Mask(&'a Mask),
    Lengths(&'a Lengths),
    Labels(&'a Labels),
}

macro_rules! held {
    ($($type:ident => $variant:ident),*) => {$(
        impl<'a> From<&'a $type> for TensorArray<'a> {
            fn from(array: &'a $type) -> Self {
                Self {
                    held: Held::$variant(array),
                    name: None,
                }
            }
        }
    )*};
}
held!(Tensor => Numbers, Mask => Mask, Lengths => Lengths, Labels => Labels);

impl<'a> TensorArray<'a> {
    /// The memory.
    pub(super) fn tensor(&self) -> &'a Tensor {
        match self.held {
            Held::Numbers(tensor) => tensor,
            Held::Mask(mask) => &mask.words,
            Held::Lengths(lengths) => &lengths.words,
            Held::Labels(labels) => &labels.targets,
        }
    }

    fn shape(&self) -> &'a [usize] {
        match self.held {
            Held::Mask(mask) => mask.shape(),
            _ => self.tensor().shape(),
        }
    }

    pub(super) fn contents(&self) -> Contents {
        match self.held {
            Held::Numbers(tensor) => Contents::Numbers(tensor.dtype()),
            Held::Mask(_) => Contents::Mask,
            Held::Lengths(_) => Contents::Lengths,
            Held::Labels(labels) if labels.probabilities => Contents::Numbers(DType::F32),
            Held::Labels(_) => Contents::Classes,
        }
    }

    /// The array, which lies in a range of a buffer where work is recorded.
    pub(super) fn array(
        &self,
        slice: Option<wgpu::BufferSlice<'a>>,
        contents: Contents,
    ) -> Array<'a> {
        let len = self.shape().iter().product();
        let mut array = OnDevice {
            slice,
            ..OnDevice::new(contents, len)
        };
        if let Held::Labels(labels) = self.held {
            array.total = Some(labels.total);
            array.checked_for = Some(&labels.checked_for);
        }
        Array::on_device(array, Some(self.shape()), self.name)
    }
}

impl Tensor {
    /// The input of this name, as [`Array::named`]: `noise` of gumbel_softmax, or `bias` and `sinks` of
    /// the softmax family where one is given without the other.
    pub fn named(&self, name: &'static str) -> TensorArray<'_> {
        TensorArray {
            name: Some(name),
            ..self.into()
        }
    }
}

pub type TensorArrays<'a> = SmallVec<[TensorArray<'a>; 4]>;

/// What a call of [`Batch`](crate::Batch) is computed of: a tensor, or a tuple or slice of tensors, masks, lengths and
/// labels.
pub trait Tensors<'a> {
    #[doc(hidden)]
    fn tensors(self) -> TensorArrays<'a>;
}

impl<'a> Tensors<'a> for &'a Tensor {
    fn tensors(self) -> TensorArrays<'a> {
        std::iter::once(self.into()).collect()
    }
}

impl<'a> Tensors<'a> for &[TensorArray<'a>] {
    fn tensors(self) -> TensorArrays<'a> {
        self.iter().copied().collect()
    }
}

macro_rules! tuples {
    ($($tensors:ident),*) => {
        impl<'a, $($tensors: Into<TensorArray<'a>>),*> Tensors<'a> for ($($tensors,)*) {
            fn tensors(self) -> TensorArrays<'a> {
                #[expect(non_snake_case, reason = "values are named by their types")]
                let ($($tensors,)*) = self;
                [$($tensors.into()),*].into_iter().collect()
            }
        }
    };
}
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);

/// Which of the outputs are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    First,
    All,
    /// The gradient by the input of this name.
    By(&'static str),
}

/// What a batch is asked to compute.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub direction: Direction,
    pub inputs: TensorArrays<'a>,
    pub dy: Option<&'a Tensor>,
    pub wanted: Wanted,
    /// Where the first output goes that is wanted, if not into a new tensor.
    pub place: Option<&'a Tensor>,
    /// Whether it takes the place of the last input.
    pub in_place: bool,
}

impl<'a> Request<'a> {
    pub fn new(direction: Direction, inputs: impl Tensors<'a>) -> Self {
        Self {
            direction,
            inputs: inputs.tensors(),
            dy: None,
            wanted: Wanted::First,
            place: None,
            in_place: false,
        }
    }

    pub fn with_dy(self, dy: &'a Tensor) -> Self {
        let dy = Some(dy);
        Self { dy, ..self }
    }

    pub fn wanting(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    /// The same arrays, for another direction.
    pub fn toward(&self, direction: Direction) -> Self {
        Self {
            direction,
            ..self.clone()
        }
    }

    pub fn into(self, place: &'a Tensor) -> Self {
        let place = Some(place);
        Self { place, ..self }
    }
}
