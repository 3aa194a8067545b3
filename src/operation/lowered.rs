//! A call as a device computes it: how it is cut, what is read and written, and a part of it.

use super::{Direction, Given};
use crate::arrays::{Data, Owned, TypedSlice};
use crate::axis::AxisFunction;
use crate::element::DType;
use crate::random::Random;
use crate::shape::AxisShape;
use smallvec::SmallVec;
use std::ops::Range;

/// How a call is cut for a device.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Anywhere between two elements.
    Elements(usize),
    /// Between whole blocks of rows, or between columns of a block; and how many elements of a row an
    /// invocation walks at most.
    Rows(AxisShape, u64),
    /// As the operation says.
    Pieces(Vec<Piece>),
}

/// A piece of a call: what is read of each array on the device, and what is written, in elements.
#[derive(Clone, Debug)]
pub struct Piece {
    pub inputs: SmallVec<[Range<usize>; 6]>,
    pub outputs: SmallVec<[Range<usize>; 2]>,
}

/// The elements of an array that some rows need.
pub enum Reach<'a> {
    /// One for each of the rows' elements.
    Elements,
    /// One for each row.
    Rows,
    /// All of them, whichever rows.
    Whole,
    /// A range by the rows' numbers, as arrays that are broadcast have it.
    Span(Box<dyn Fn(Range<u64>) -> Range<usize> + Send + Sync + 'a>),
}

/// An array as a device reads it.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    source: Source<'a>,
    /// The bytes of an element on the device.
    element: usize,
    /// The type of its numbers there; of what is none, any.
    dtype: DType,
    /// Whether its numbers are widened, piece by piece.
    widens: bool,
}

#[derive(Clone, Debug)]
enum Source<'a> {
    Borrowed(Data<'a>),
    Owned(Owned),
    Gathered(Vec<u8>),
}

/// A range of an array as it goes to a device.
pub(crate) enum Bytes<'a> {
    AsTheyAre(&'a [u8]),
    Widened(Vec<f32>),
}

impl Bytes<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::AsTheyAre(bytes) => bytes,
            Self::Widened(wide) => bytemuck::cast_slice(wide),
        }
    }
}

impl<'a> Words<'a> {
    /// An array as it is.
    pub(crate) fn new(data: Data<'a>) -> Self {
        Self {
            element: data.element(),
            dtype: data.dtype().unwrap_or_default(),
            source: Source::Borrowed(data),
            widens: false,
        }
    }

    /// An array of real numbers as f32.
    pub(crate) fn wide(data: Data<'a>) -> Self {
        Self {
            element: 4,
            dtype: DType::F32,
            source: Source::Borrowed(data),
            widens: data.element() == 2,
        }
    }

    /// An array of its own.
    pub(crate) fn owned(owned: impl Into<Owned>) -> Self {
        let owned = owned.into();
        Self {
            element: owned.data().element(),
            dtype: owned.data().dtype().unwrap_or_default(),
            source: Source::Owned(owned),
            widens: false,
        }
    }

    /// Other elements that lie on the device as these do.
    pub(crate) fn gathered(&self, bytes: Vec<u8>) -> Words<'static> {
        Words {
            element: self.element,
            dtype: self.dtype,
            source: Source::Gathered(bytes),
            widens: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.source {
            Source::Borrowed(data) => data.len(),
            Source::Owned(owned) => owned.data().len(),
            Source::Gathered(bytes) => bytes.len() / self.element,
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The bytes of an element on the device.
    pub(crate) fn element(&self) -> usize {
        self.element
    }

    /// Where it lies, of an array that is on the device.
    pub(crate) fn slice(&self) -> TypedSlice<'a> {
        match &self.source {
            Source::Borrowed(data) => data.on_device().slice(),
            // Invariant: operations that make arrays of their own record whole calls themselves.
            _ => unreachable!("an array in host memory"),
        }
    }

    /// A range of elements as it goes to the device.
    pub(crate) fn bytes_of(&self, range: Range<usize>) -> Bytes<'_> {
        let data = match &self.source {
            Source::Borrowed(data) => *data,
            Source::Owned(owned) => owned.data(),
            Source::Gathered(bytes) => {
                let bytes = &bytes[range.start * self.element..range.end * self.element];
                return Bytes::AsTheyAre(bytes);
            }
        };
        let data = data.part(range);
        if self.widens {
            Bytes::Widened(data.widened().into_owned())
        } else {
            Bytes::AsTheyAre(data.bytes())
        }
    }
}

/// A call as a device computes it, of arrays in host memory.
pub struct Lowered<'a> {
    pub cut: Cut,
    /// The arrays that the device reads, in the order that [`Operation::record`] knows.
    pub inputs: SmallVec<[Words<'a>; 6]>,
    /// How much of each a part needs.
    pub reaches: SmallVec<[Reach<'a>; 6]>,
    /// What it writes.
    pub outputs: SmallVec<[Written<'a>; 2]>,
    /// Whether the only output takes the place of the last input.
    pub in_place: bool,
    /// A number of the operation's own, for [`Part::number`].
    pub number: f32,
    /// Gumbel noise that the device draws first, to be read as the second input.
    pub noise: Option<Random>,
}

/// What a device writes.
pub struct Written<'a> {
    pub reach: Reach<'a>,
    /// How many numbers it leaves for the host to finish; where it is none, they are the output.
    pub left: Option<usize>,
}

impl<'a> Written<'a> {
    /// An output.
    pub(crate) fn output(reach: Reach<'a>) -> Self {
        Self { reach, left: None }
    }

    /// So many numbers for the host to finish.
    pub(crate) fn left(reach: Reach<'a>, numbers: usize) -> Self {
        let left = Some(numbers);
        Self { reach, left }
    }
}

impl<'a> Lowered<'a> {
    /// A call whose output is what the device writes.
    pub(crate) fn new(
        cut: Cut,
        inputs: impl IntoIterator<Item = (Words<'a>, Reach<'a>)>,
        output: Reach<'a>,
    ) -> Self {
        let (inputs, reaches) = inputs.into_iter().unzip();
        Self {
            cut,
            inputs,
            reaches,
            outputs: std::iter::once(Written::output(output)).collect(),
            in_place: false,
            number: 0.0,
            noise: None,
        }
    }

    /// The same, where the output takes the place of the last input.
    pub(crate) fn in_place(self) -> Self {
        Self {
            in_place: true,
            ..self
        }
    }
}

/// A part of a call, as it is recorded.
pub struct Part<'a> {
    pub direction: Direction,
    /// Which output is wanted, where they are computed one by one.
    pub output: usize,
    /// The whole call.
    pub given: &'a Given<'a>,
    /// The part's rows around the axis; elements are rows of one.
    pub shape: AxisShape,
    /// The number of the part's first row in the whole.
    pub first_row: u64,
    /// The number of the piece, where the operation cuts.
    pub piece: usize,
    /// The elements of each array on the device that are there.
    pub inputs: &'a [Range<usize>],
    /// Whether the output takes the place of the last input.
    pub in_place: bool,
    /// [`Lowered::number`].
    pub number: f32,
    /// The arrays on the device.
    pub read: &'a [TypedSlice<'a>],
    pub written: &'a [TypedSlice<'a>],
}

impl<'a> Part<'a> {
    /// An array that is read.
    pub(crate) fn read(&self, i: usize) -> wgpu::BufferSlice<'a> {
        self.read[i].slice()
    }

    /// An array that is written.
    pub(crate) fn written(&self, i: usize) -> wgpu::BufferSlice<'a> {
        self.written[i].slice()
    }
}

/// A whole call of arrays on a device.
pub struct DeviceCall<'a> {
    pub direction: Direction,
    pub given: &'a Given<'a>,
    /// Where the outputs go that are wanted; none in place.
    pub outputs: &'a [Option<TypedSlice<'a>>],
    /// Whether the output takes the place of the last input.
    pub in_place: bool,
}

impl<'a> DeviceCall<'a> {
    /// An input that is not optional.
    pub(crate) fn read(&self, i: usize) -> wgpu::BufferSlice<'a> {
        self.given.at(i).range().slice()
    }

    pub(crate) fn dy(&self) -> Option<wgpu::BufferSlice<'a>> {
        let dy = self.given.dy;
        dy.map(|dy| dy.range().slice())
    }

    /// An output, where it is wanted.
    pub(crate) fn written(&self, i: usize) -> Option<wgpu::BufferSlice<'a>> {
        let out = self.outputs.get(i).copied().flatten();
        out.map(|out| out.slice())
    }
}

/// Elements as rows of one.
pub(crate) fn of_elements(count: usize) -> AxisShape {
    AxisShape {
        outer: count,
        len: 1,
        inner: 1,
    }
}

/// An operation of one array as rows that are computed apart from each other, for arrays that come in
/// parts and for many arrays at once; elements are rows of one.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The array around the axis of the rows.
    pub shape: AxisShape,
    /// Whether a row has one result.
    pub reduces: bool,
    /// Whether an element's number in the whole matters.
    pub numbered: bool,
    /// Whether kernels compute it in place.
    pub in_place: bool,
    /// The function, where parts of a row are enough: two passes over them.
    pub in_two_passes: Option<AxisFunction>,
}

impl Rows {
    /// Elements, computed in place.
    pub(crate) fn of_elements(count: usize) -> Self {
        Self {
            in_place: true,
            ..Self::new(of_elements(count), false)
        }
    }

    pub(crate) fn new(shape: AxisShape, reduces: bool) -> Self {
        Self {
            shape,
            reduces,
            numbered: false,
            in_place: false,
            in_two_passes: None,
        }
    }

    /// The elements of a block of rows: of the array, and of the results.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn block(&self) -> [usize; 2] {
        let AxisShape { len, inner, .. } = self.shape;
        [len * inner, if self.reduces { inner } else { len * inner }]
    }

    /// So many elements of the array as blocks, around the axis.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn part(&self, inner: usize, elements: usize) -> [usize; 3] {
        let len = self.shape.len;
        [elements / (len * inner).max(1), len, inner]
    }
}
