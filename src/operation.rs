//! What an operation is: a function with its options as a value that says which arrays it takes, which
//! come out, how it may be cut, and how a part of it is computed on the CPU and on a device. Executors
//! know this trait and no function.

use crate::arrays::{Array, Data, DataMut, Owned};
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, TypedSlice};
use crate::random::Random;
use crate::shape::{AxisShape, element_count, same_axes, same_length};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// What is computed of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Its value.
    Forward,
    /// The gradients by its inputs, from its inputs.
    Backward,
    /// The gradient by its first input, from its output, which takes that one's place.
    FromOutput,
    /// Its value, and the gradient by its first input for an upstream gradient of 1.
    Both,
}

/// What an input is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Real numbers.
    Numbers,
    /// Classes, or a probability for each.
    Targets,
    /// Truth values: nonzero is true.
    Mask,
    /// Numbers of elements.
    Lengths,
}

impl Kind {
    fn takes(self, data: &Data<'_>) -> bool {
        match self {
            Self::Numbers => data.dtype().is_some(),
            Self::Targets => matches!(data, Data::I32(_) | Data::I64(_)) || data.dtype().is_some(),
            Self::Mask => matches!(data, Data::U8(_)),
            Self::Lengths => matches!(data, Data::U32(_)),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Numbers => "f32, f16 or bf16",
            Self::Targets => "classes (i64, i32) or probabilities (f32, f16, bf16)",
            Self::Mask => "u8 or bool",
            Self::Lengths => "u32",
        }
    }
}

/// An input of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// As [`Array::named`] has it.
    pub name: &'static str,
    /// As sentences have it.
    pub what: &'static str,
    pub kind: Kind,
    pub optional: bool,
}

impl Role {
    pub(crate) const fn new(name: &'static str, what: &'static str, kind: Kind) -> Self {
        Self {
            name,
            what,
            kind,
            optional: false,
        }
    }

    pub(crate) const fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The input of what has one.
    pub(crate) const INPUT: Self = Self::new("input", "the input", Kind::Numbers);
}

/// An array as an operation sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub data: Data<'a>,
    pub shape: &'a [usize],
    /// Whether the caller gave it no shape, so that the number of its elements is all that counts.
    pub is_flat: bool,
}

impl<'a> View<'a> {
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    fn of(array: &'a Array<'_>) -> Self {
        Self {
            data: array.data(),
            shape: array.shape(),
            is_flat: array.is_flat(),
        }
    }

    /// An error where the array has not so many elements, or has a shape of its own that is another one;
    /// axes of length 1 do not matter.
    pub(crate) fn check(&self, what: &'static str, shape: &[usize]) -> Result<()> {
        same_length(what, shape.iter().product(), self.len())?;
        let same = self.is_flat || shape.len() == 1 || same_axes(self.shape, shape);
        if same {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            what,
            expected: shape.to_vec(),
            got: self.shape.to_vec(),
        })
    }

    /// The numbers of an array of f32, which executors have made it where the operation takes no other.
    pub(crate) fn f32(&self) -> &'a [f32] {
        match self.data {
            Data::F32(x) => x,
            // Invariant: see above.
            _ => unreachable!("an array that is no f32"),
        }
    }
}

/// The inputs that an operation has at most.
const MOST_INPUTS: usize = 5;

/// The arrays that are given to a call, by the operation's roles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    inputs: [Option<View<'a>>; MOST_INPUTS],
    pub(crate) dy: Option<View<'a>>,
}

impl<'a> Given<'a> {
    /// The first input, which is always there; from the output, that.
    pub(crate) fn x(&self) -> View<'a> {
        // Invariant: whoever makes one puts the first input in.
        self.inputs[0].expect("a first input")
    }

    pub(crate) fn get(&self, i: usize) -> Option<View<'a>> {
        self.inputs.get(i).copied().flatten()
    }

    /// An input that is not optional.
    pub(crate) fn at(&self, i: usize) -> View<'a> {
        // Invariant: whoever makes one checks what is missing.
        self.get(i).expect("an input that is not optional")
    }

    /// The upstream gradient of a gradient.
    pub(crate) fn dy(&self) -> View<'a> {
        // Invariant: gradients are given one.
        self.dy.expect("an upstream gradient")
    }

    /// An error where there is an upstream gradient, which is not of this shape.
    pub(crate) fn check_dy(&self, shape: &[usize]) -> Result<()> {
        let check = |dy: View<'_>| dy.check("the upstream gradient", shape);
        self.dy.map_or(Ok(()), check)
    }

    /// The inputs, then the upstream gradient.
    pub(crate) fn all(&self) -> impl Iterator<Item = Option<View<'a>>> {
        self.inputs.iter().copied().chain([self.dy])
    }

    /// Arrays by the roles of an operation.
    pub(crate) fn new(
        operation: &dyn Operation,
        direction: Direction,
        arrays: &'a [Array<'_>],
        dy: Option<&'a Array<'_>>,
    ) -> Result<Self> {
        let roles = match direction {
            Direction::FromOutput => {
                operation.check_from_output()?;
                &[Role::new("output", "the output", Kind::Numbers)]
            }
            _ => operation.roles(),
        };
        let refused = |detail: String| Error::Inputs {
            function: operation.name(),
            detail,
        };
        let mut inputs = [None; MOST_INPUTS];
        let mut next = 0;
        for array in arrays {
            let data = array.data();
            let slot = match array.name() {
                Some(name) => roles.iter().position(|role| role.name == name),
                None => (next..roles.len()).find(|&i| roles[i].kind.takes(&data)),
            };
            let Some(slot) = slot else {
                return Err(refused(match array.name() {
                    Some(name) => format!("has no input '{name}'; {}", taken(roles)),
                    None => format!(
                        "was given an array too many, or one of a wrong type; {}",
                        taken(roles)
                    ),
                }));
            };
            let role = &roles[slot];
            if !role.kind.takes(&data) {
                let kinds = role.kind.description();
                return Err(refused(format!("takes {} of {kinds}", role.what)));
            }
            if inputs[slot].is_some() {
                return Err(refused(format!("was given {} twice", role.what)));
            }
            if array.name().is_none() {
                next = slot + 1;
            }
            let shape = array.shape();
            same_length(role.what, element_count(shape)?, data.len())?;
            inputs[slot] = Some(View::of(array));
        }
        for (role, given) in roles.iter().zip(&inputs) {
            if given.is_none() && !role.optional {
                return Err(refused(format!("lacks {}; {}", role.what, taken(roles))));
            }
        }
        let dy = dy.map(View::of);
        if let Some(dy) = &dy
            && dy.data.dtype().is_none()
        {
            return Err(refused(
                "takes an upstream gradient of f32, f16 or bf16".to_owned(),
            ));
        }
        Ok(Self { inputs, dy })
    }

    /// The same arrays, where those that are in `wide` are f32.
    pub(crate) fn with<'b>(self, wide: &'b [Option<Cow<'_, [f32]>>; MOST_INPUTS + 1]) -> Given<'b>
    where
        'a: 'b,
    {
        let mut given: Given<'b> = self;
        let views = given.inputs.iter_mut().chain([&mut given.dy]);
        for (view, wide) in views.zip(wide) {
            if let (Some(view), Some(wide)) = (view, wide) {
                view.data = Data::F32(wide);
            }
        }
        given
    }

    /// The numbers of 16 bits as f32, in the places of [`Given::with`].
    pub(crate) fn widened(&self) -> [Option<Cow<'a, [f32]>>; MOST_INPUTS + 1] {
        let mut views = self.all();
        std::array::from_fn(|_| {
            let data = views.next().flatten()?.data;
            let is_narrow = data.dtype().is_some_and(|dtype| dtype != DType::F32);
            is_narrow.then(|| data.widened())
        })
    }
}

/// Which inputs there are, in words.
fn taken(roles: &[Role]) -> String {
    let named = roles.iter().map(|role| {
        let optional = if role.optional { " (optional)" } else { "" };
        format!("{}{optional}", role.what)
    });
    format!("it takes {}", named.collect::<Vec<_>>().join(", "))
}

/// The shapes of what comes out.
pub type Shapes = SmallVec<[Shape; 2]>;
/// The lengths of the axes.
pub type Shape = SmallVec<[usize; 6]>;

/// The shapes of a single output.
pub(crate) fn shaped_as(shape: &[usize]) -> Shapes {
    std::iter::once(Shape::from_slice(shape)).collect()
}

/// Where results go, as far as they are wanted.
pub type Outputs<'a> = [Option<DataMut<'a>>];

/// An output of f32; nothing where it is not wanted.
pub(crate) fn f32_of<'a>(output: &'a mut Option<DataMut<'_>>) -> &'a mut [f32] {
    match output {
        // Invariant: executors have made it f32 where the operation writes no other.
        Some(output) => output.as_f32().expect("an output of f32"),
        None => &mut [],
    }
}

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

/// A function with its options: an [`Activation`](crate::Activation), a function along an axis, a
/// [`Gate`](crate::Gate), a loss. What calls of [`Backend`](crate::Backend) take, and no more than that:
/// nobody else can implement it.
pub trait Operation: fmt::Debug + Send + Sync + Sealed {
    /// The name, PyTorch's where it has one.
    #[doc(hidden)]
    fn name(&self) -> &'static str;

    /// The inputs.
    #[doc(hidden)]
    fn roles(&self) -> &'static [Role];

    /// The gradients: by which inputs, and as sentences have them. The first one is by the first input.
    #[doc(hidden)]
    fn gradients(&self) -> &'static [(usize, &'static str)] {
        &[(0, "the gradient")]
    }

    /// An error where there is no gradient from the output.
    #[doc(hidden)]
    fn check_from_output(&self) -> Result<()> {
        Err(Error::NotFromOutput {
            function: self.name(),
        })
    }

    /// Why there is no gradient by the input of a name.
    #[doc(hidden)]
    fn no_gradient_by(&self, name: &str) -> Error {
        Error::Inputs {
            function: self.name(),
            detail: format!("has no gradient by '{name}'"),
        }
    }

    /// The shapes of the outputs: of the value, or of each gradient. Checks options and shapes.
    #[doc(hidden)]
    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes>;

    /// The axis of the first input that the value lacks, where it lacks one.
    #[doc(hidden)]
    fn reduced_axis(&self, _rank: usize) -> Option<usize> {
        None
    }

    /// How many times a call goes over its elements.
    #[doc(hidden)]
    fn passes(&self) -> usize {
        1
    }

    /// Whether the host computes it on any backend.
    #[doc(hidden)]
    fn is_for_the_host(&self) -> bool {
        false
    }

    /// Whether it computes its value and its gradient in one go.
    #[doc(hidden)]
    fn has_both(&self) -> bool {
        false
    }

    /// Whether the CPU computes on numbers of these types as they are. It always does on f32.
    #[doc(hidden)]
    fn takes_on_cpu(&self, _given: &Given<'_>, _outputs: &[DType]) -> bool {
        false
    }

    /// Whether a device reads and writes numbers of 16 bits.
    #[doc(hidden)]
    fn takes_16_bits_on_gpu(&self) -> bool {
        false
    }

    /// Computes the outputs; shapes and lengths were checked. All are there, or those that are wanted
    /// where they are computed one by one.
    #[doc(hidden)]
    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()>;

    /// The call as a device computes it; of all outputs, or of one that is wanted where they are
    /// computed one by one. Not asked of what is for the host.
    #[doc(hidden)]
    fn lower<'a>(
        &'a self,
        _direction: Direction,
        _given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        unreachable!("{} is for the host", self.name())
    }

    /// Whether each output is computed on its own.
    #[doc(hidden)]
    fn is_one_by_one(&self, _direction: Direction) -> bool {
        false
    }

    /// Records a part of a call. Not asked of what is for the host.
    #[doc(hidden)]
    fn record(
        &self,
        _kernels: &Kernels,
        _pass: &mut wgpu::ComputePass<'_>,
        _part: &Part<'_>,
    ) -> Result<()> {
        unreachable!("{} is for the host", self.name())
    }

    /// Makes the output that a device left unfinished of what it left.
    #[doc(hidden)]
    fn finish(&self, _given: &Given<'_>, left: Vec<f32>) -> Result<Vec<f32>> {
        Ok(left)
    }

    /// The same operation for another thread.
    #[doc(hidden)]
    fn boxed(&self) -> Box<dyn Operation>;
}

#[doc(hidden)]
pub trait Sealed {}

/// What is, or stands for, an [`Operation`]: one by value or by reference, or an
/// [`Activation`](crate::Activation).
pub trait IntoOperation {
    #[doc(hidden)]
    type Held: AsOperation;

    #[doc(hidden)]
    fn held(self) -> Self::Held;
}

/// An operation, or a reference to one.
#[doc(hidden)]
pub trait AsOperation: Send + Sync {
    fn as_operation(&self) -> &dyn Operation;
}

impl<T: Operation> AsOperation for T {
    fn as_operation(&self) -> &dyn Operation {
        self
    }
}

impl AsOperation for &dyn Operation {
    fn as_operation(&self) -> &dyn Operation {
        *self
    }
}

impl<'a> IntoOperation for &'a dyn Operation {
    type Held = &'a dyn Operation;

    fn held(self) -> Self::Held {
        self
    }
}

/// Makes types operations that calls take by value or by reference.
macro_rules! operations {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::operation::Sealed for $type {}

        impl $crate::operation::IntoOperation for $type {
            type Held = Self;

            fn held(self) -> Self {
                self
            }
        }

        impl<'a> $crate::operation::IntoOperation for &'a $type {
            type Held = &'a dyn $crate::operation::Operation;

            fn held(self) -> Self::Held {
                self
            }
        }
    )*};
}
pub(crate) use operations;

/// Computes outputs on the CPU: of 16 bits as they are where the operation takes them, else in f32.
pub(crate) fn on_cpu(
    cpu: &Cpu,
    operation: &dyn Operation,
    direction: Direction,
    given: &Given<'_>,
    outputs: &mut Outputs<'_>,
) -> Result<()> {
    let dtypes: SmallVec<[DType; 2]> = outputs.iter().flatten().map(DataMut::dtype).collect();
    let is_narrow = |dtype: Option<DType>| dtype.is_some_and(|dtype| dtype != DType::F32);
    let inputs = given.all().flatten().map(|view| view.data.dtype());
    let mut all = inputs.chain(dtypes.iter().copied().map(Some));
    if !all.any(is_narrow) || operation.takes_on_cpu(given, &dtypes) {
        return operation.compute(cpu, direction, given, outputs);
    }
    let wide = given.widened();
    let given = given.with(&wide);
    let aside = outputs.iter().map(|out| match out {
        Some(out) if out.dtype() != DType::F32 => vec![0.0; out.len()],
        _ => Vec::new(),
    });
    let mut aside: SmallVec<[Vec<f32>; 2]> = aside.collect();
    let computed = outputs
        .iter_mut()
        .zip(&mut aside)
        .map(|(out, aside)| match out {
            Some(DataMut::F32(out)) => Some(DataMut::F32(out)),
            Some(_) => Some(DataMut::F32(aside)),
            None => None,
        });
    let mut computed: SmallVec<[Option<DataMut<'_>>; 2]> = computed.collect();
    operation.compute(cpu, direction, &given, &mut computed)?;
    drop(computed);
    for (out, aside) in outputs.iter_mut().zip(&aside) {
        if let Some(out) = out
            && out.dtype() != DType::F32
        {
            out.write(aside);
        }
    }
    Ok(())
}
