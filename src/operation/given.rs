//! The inputs of an operation: its roles, and the arrays of a call by them.

use super::{Direction, Operation};
use crate::arrays::{Array, Contents, Data, TypedSlice};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::shape::{element_count, same_axes, same_length};
use smallvec::SmallVec;
use std::borrow::Cow;

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
        let on_device = match data {
            Data::Device(array) => Some(array.contents),
            _ => None,
        };
        match self {
            Self::Numbers => data.dtype().is_some(),
            Self::Targets => {
                matches!(data, Data::I32(_) | Data::I64(_))
                    || data.dtype().is_some()
                    || on_device == Some(Contents::Classes)
            }
            Self::Mask => matches!(data, Data::U8(_)) || on_device == Some(Contents::Mask),
            Self::Lengths => matches!(data, Data::U32(_)) || on_device == Some(Contents::Lengths),
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

    /// Where it lies, of an array on a device.
    pub(crate) fn range(&self) -> TypedSlice<'a> {
        self.data.on_device().slice()
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
        if self.is_flat && matches!(self.data, Data::Device(_)) {
            // Kernels check ranges of buffers, which may end in half a word.
            return Ok(());
        }
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
    /// One array of which nothing but its shape is known.
    pub(crate) fn of_shape(shape: &'a [usize]) -> Self {
        let view = View {
            data: Data::F32(&[]),
            shape,
            is_flat: false,
        };
        let mut inputs = [None; MOST_INPUTS];
        inputs[0] = Some(view);
        Self { inputs, dy: None }
    }

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

    /// The inputs of a call: from its output, that alone.
    pub(crate) fn roles(operation: &dyn Operation, direction: Direction) -> &'static [Role] {
        const OUTPUT: &[Role] = &[Role::new("output", "the output", Kind::Numbers)];
        match direction {
            Direction::FromOutput => OUTPUT,
            _ => operation.roles(),
        }
    }

    /// Arrays by the roles of an operation.
    pub(crate) fn new(
        operation: &dyn Operation,
        direction: Direction,
        arrays: &'a [Array<'_>],
        dy: Option<&'a Array<'_>>,
    ) -> Result<Self> {
        if direction == Direction::FromOutput {
            operation.check_from_output()?;
        }
        let roles = Self::roles(operation, direction);
        let refused = |detail: String| Error::Inputs {
            function: operation.name(),
            detail,
        };
        let mut inputs = [None; MOST_INPUTS];
        for (array, slot) in arrays.iter().zip(Self::slots(operation, roles, arrays)?) {
            let (role, data) = (&roles[slot], array.data());
            same_length(role.what, element_count(array.shape())?, data.len())?;
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

    /// Which inputs the arrays are.
    pub(crate) fn slots(
        operation: &dyn Operation,
        roles: &[Role],
        arrays: &[Array<'_>],
    ) -> Result<SmallVec<[usize; MOST_INPUTS]>> {
        let refused = |detail: String| Error::Inputs {
            function: operation.name(),
            detail,
        };
        let mut slots = SmallVec::new();
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
            if slots.contains(&slot) {
                return Err(refused(format!("was given {} twice", role.what)));
            }
            if array.name().is_none() {
                next = slot + 1;
            }
            slots.push(slot);
        }
        Ok(slots)
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
