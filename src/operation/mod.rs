//! What an operation is: a function with its options as a value that says which arrays it takes, which
//! come out, how it may be cut, and how a part of it is computed on the CPU and on a device. Executors
//! know this trait and no function.

mod given;
mod lowered;

pub use given::{Given, Kind, Role, View};
pub(crate) use lowered::{
    Cut, DeviceCall, Lowered, Part, Piece, Reach, Rows, Words, Written, of_elements,
};

use crate::arrays::{DataMut, TypedSlice};
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::loss::ClassLoss;
use smallvec::SmallVec;
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

    /// The number of the gradient by the input of a name, among so many.
    #[doc(hidden)]
    fn gradient_by(&self, name: &str, count: usize) -> Result<usize> {
        let is_it = |&(input, _): &(usize, &str)| self.roles()[input].name == name;
        let found = self.gradients().iter().position(is_it);
        found
            .filter(|&i| i < count)
            .ok_or_else(|| self.no_gradient_by(name))
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

    /// Whether its kernels compute what there is of rows without elements.
    #[doc(hidden)]
    fn records_empty_rows(&self) -> bool {
        false
    }

    /// Records a whole call of arrays on a device: as one part, unless the operation has kernels of
    /// its own for that.
    #[doc(hidden)]
    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let lowered = self.lower(call.direction, call.given, 0, kernels)?;
        if call.in_place && !lowered.in_place {
            return Err(Error::NotInPlace {
                function: self.name(),
            });
        }
        let shape = match lowered.cut {
            Cut::Elements(count) => of_elements(count),
            Cut::Rows(shape, _) => shape,
            Cut::Pieces(_) => unreachable!("{} has no kernels for a whole call", self.name()),
        };
        let read: SmallVec<[TypedSlice<'_>; 6]> = lowered.inputs.iter().map(Words::slice).collect();
        let inputs = lowered.inputs.iter().map(|words| 0..words.len());
        let inputs: SmallVec<[Range<usize>; 6]> = inputs.collect();
        let written: SmallVec<[TypedSlice<'_>; 2]> =
            call.outputs.iter().copied().flatten().collect();
        let part = Part {
            direction: call.direction,
            output: 0,
            given: call.given,
            shape,
            first_row: 0,
            piece: 0,
            inputs: &inputs,
            in_place: call.in_place,
            number: lowered.number,
            read: &read,
            written: &written,
        };
        self.record(kernels, pass, &part)
    }

    /// The loss over classes that it is, for [`Gpu::labels`](crate::Gpu::labels), of an operation whose type
    /// is not known.
    fn class_loss(&self) -> Option<ClassLoss> {
        None
    }

    /// The same operation with these numbers as its option in the place of the input of this name: of a
    /// loss its `weight` or `pos_weight`, which calls on a device take as an option alone. None of an input
    /// that is no option.
    fn with_weight(&self, _input: &str, _weight: &[f32]) -> Option<Box<dyn Operation>> {
        None
    }

    /// Makes the output that a device left unfinished of what it left.
    #[doc(hidden)]
    fn finish(&self, _given: &Given<'_>, left: Vec<f32>) -> Result<Vec<f32>> {
        Ok(left)
    }

    /// The operation of an array of this shape as rows; none where it needs other arrays, or more than
    /// a row for what comes out.
    #[doc(hidden)]
    fn rows(&self, _shape: &[usize]) -> Result<Option<Rows>> {
        Ok(None)
    }

    /// The same operation along axis 1 of a part of the rows, around their axis, of which the first
    /// element has this number in the whole.
    #[doc(hidden)]
    fn of_rows(&self, _first: u64) -> Box<dyn Operation> {
        self.boxed()
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
