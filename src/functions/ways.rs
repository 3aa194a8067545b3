//! Which ways an operation runs, asked of the operation itself; and why it does not run the others.

use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::chain::Chain;
use crate::operation::{Direction, Given, Operation};
use std::fmt;

/// A way to run or to hold an operation that not every operation has. The others every operation has:
/// arrays in host memory, blocking and async, results of the caller's, views of ndarray, f32, f16 and bf16,
/// the CPU in the place of an adapter that is wrong, tensors, a caller's compute pass, the command line's
/// `run`, `grad`, `check` and `bench`, Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// The gradient from the output.
    FromOutput,
    /// [`Backend::apply_in_place`](crate::Backend::apply_in_place).
    InPlaceInMemory,
    /// [`Batch::apply_in_place`](crate::Batch::apply_in_place).
    InPlaceOnTensors,
    /// [`Kernels::apply_in_place`](crate::Kernels::apply_in_place).
    InPlaceInPass,
    /// Arrays in parts: [`Stream`](crate::Stream), files larger than memory, many arrays at once
    /// ([`Backend::apply_many`](crate::Backend::apply_many), `activations batch`).
    InParts,
    /// Tensors of 16 bits without a copy of 32 aside.
    SixteenBitsOnTensors,
    /// Known answers of the self-check.
    KnownAnswers,
    /// `activations check --dtype`.
    CheckOfSixteenBits,
    /// A step of a [`Chain`].
    InChains,
}

impl Way {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::FromOutput,
        Self::InPlaceInMemory,
        Self::InPlaceOnTensors,
        Self::InPlaceInPass,
        Self::InParts,
        Self::SixteenBitsOnTensors,
        Self::KnownAnswers,
        Self::CheckOfSixteenBits,
        Self::InChains,
    ];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FromOutput => "gradient from the output",
            Self::InPlaceInMemory => "in place in host memory",
            Self::InPlaceOnTensors => "in place on tensors",
            Self::InPlaceInPass => "in place in the caller's pass",
            Self::InParts => "`Stream`, `apply_many`, files in parts, `activations batch`",
            Self::SixteenBitsOnTensors => "tensors of 16 bits without a copy aside",
            Self::KnownAnswers => "known answers of the self-check",
            Self::CheckOfSixteenBits => "`activations check --dtype`",
            Self::InChains => "in a chain",
        })
    }
}

const OTHER_ARRAYS: &str = "it takes other arrays than one";
const ANOTHER_SHAPE: &str = "the result has another shape than the input";

/// The ways that an operation of a family does not run, each with the reason. Its arrays have `shape` where
/// it is one of a single array.
pub(super) fn missing(
    (name, family): (&str, &str),
    operation: &dyn Operation,
    shape: &[usize],
) -> Vec<(Way, &'static str)> {
    // What an operation refuses of one array is one of several.
    let rows = operation.rows(shape).ok().flatten();
    let is_single = operation
        .roles()
        .iter()
        .filter(|role| !role.optional)
        .count()
        == 1;
    let of_one = || {
        let shapes = operation
            .infer(Direction::Forward, &Given::of_shape(shape))
            .ok()?;
        Some(shapes.first()?[..] == *shape)
    };
    let keeps_shape = match is_single {
        true => of_one().unwrap_or(false),
        false => !matches!(family, "loss"),
    };
    let is_activation = name.parse::<Activation>().is_ok();
    let is_axis = name.parse::<AxisFunction>().is_ok();
    let why_not = |way: Way| -> Option<&'static str> {
        let has = |has: bool, reason| (!has).then_some(reason);
        match way {
            Way::FromOutput => has(
                operation.check_from_output().is_ok(),
                "the output has rounded away what the gradient needs, or does not tell the input",
            ),
            Way::InPlaceInMemory | Way::InPlaceOnTensors | Way::InPlaceInPass if !keeps_shape => {
                Some(ANOTHER_SHAPE)
            }
            Way::InPlaceInMemory => has(
                is_activation,
                "its result goes into an array of its own, by `apply_into`",
            ),
            Way::InPlaceOnTensors => has(is_single, OTHER_ARRAYS),
            Way::InPlaceInPass if !is_single => Some(OTHER_ARRAYS),
            Way::InPlaceInPass => has(
                rows.is_some_and(|rows| rows.in_place),
                "its kernels read elements that they have written already",
            ),
            Way::InParts => has(rows.is_some(), OTHER_ARRAYS),
            Way::SixteenBitsOnTensors => has(
                operation.takes_16_bits_on_gpu(),
                "its kernels read and write f32; numbers are converted around them",
            ),
            Way::KnownAnswers => has(
                is_activation || operation.name().parse::<AxisFunction>().is_ok(),
                "the probes hold it, and a gate its activation's answers",
            ),
            Way::CheckOfSixteenBits => has(
                is_activation || is_axis,
                "its results in 16 bits are those in f32, rounded once",
            ),
            Way::InChains => has(
                name.parse::<Chain>().is_ok(),
                "chains take activations, softmax, log_softmax and softmin",
            ),
        }
    };
    let ways = Way::ALL.iter();
    ways.filter_map(|&way| Some((way, why_not(way)?))).collect()
}
