//! A call that is made of closures: for operations whose backend call is one line.

use super::{Call, Input, Output};
use crate::error::CliError;
use wgpu_activations::{Array, Backend, IntoOperation, OfShape, Operation, Shaped};

type Shape = Box<dyn Fn(&[Input]) -> Result<Vec<usize>, CliError>>;
type Run = Box<dyn Fn(&Backend, &[Input]) -> Result<Vec<f32>, CliError>>;
type Streamed = Box<dyn Fn(&[usize]) -> Option<Box<dyn Operation>>>;
type Grad = Box<dyn Fn(&Backend, &[Input], &[f32]) -> Result<Vec<Output>, CliError>>;

/// What a call does.
pub struct Closures {
    /// What the inputs are, in words.
    pub inputs: &'static [&'static str],
    /// Which input may have integers.
    pub integers: Option<usize>,
    /// What the gradients are of, in words.
    pub gradients: &'static [&'static str],
    /// The shape of the output.
    pub shape: Shape,
    /// The operation of one input of a shape, where files of any size go through it.
    pub streamed: Streamed,
    /// The output.
    pub run: Run,
    /// The gradients.
    pub grad: Grad,
}

impl Call for Closures {
    fn inputs(&self) -> &[&'static str] {
        self.inputs
    }

    fn takes_integers(&self, i: usize) -> bool {
        self.integers == Some(i)
    }

    fn gradients(&self) -> &[&'static str] {
        self.gradients
    }

    fn streamed(&self, shape: &[usize]) -> Option<Box<dyn Operation>> {
        (self.streamed)(shape)
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        (self.shape)(inputs)
    }

    fn run(self: Box<Self>, backend: &Backend, inputs: Vec<Input>) -> Result<Output, CliError> {
        let shape = (self.shape)(&inputs)?;
        let data = (self.run)(backend, &inputs)?;
        Ok(Output { shape, data })
    }

    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
        _: usize,
    ) -> Result<Vec<Output>, CliError> {
        (self.grad)(backend, &inputs, upstream)
    }
}

/// What goes through in parts: the operation of one input.
pub fn in_parts<O: Operation + 'static>(
    of: impl Fn(&[Input]) -> Result<O, CliError> + 'static,
) -> Streamed {
    Box::new(move |shape| {
        let operation = of(&[Input::unread(shape)]).ok()?;
        Some(Box::new(operation))
    })
}

/// What needs all its inputs in memory.
pub fn whole() -> Streamed {
    Box::new(|_| None)
}

/// Output and gradients of the operation of the library's that `of` makes for the inputs: one, or two of
/// which the second one's shape says nothing more.
pub fn computed<O: IntoOperation>(
    of: impl Fn(&[Input]) -> Result<O, CliError> + Clone + 'static,
) -> (Run, Grad) {
    let forward = of.clone();
    let run = move |backend: &Backend, inputs: &[Input]| {
        let (operation, x) = (forward(inputs)?, first(inputs));
        Ok(match inputs.get(1) {
            Some(other) => backend.apply(operation, (x, other))?,
            None => backend.apply(operation, x)?,
        })
    };
    let grad = move |backend: &Backend, inputs: &[Input], dy: &[f32]| {
        let (operation, x) = (of(inputs)?, first(inputs));
        let gradients = match inputs.get(1) {
            Some(other) => backend.grads(operation, (x, other), dy)?,
            None => backend.grads(operation, x, dy)?,
        };
        let gradients = inputs.iter().zip(gradients);
        Ok(gradients.map(|(by, data)| gradient(by, data)).collect())
    };
    (Box::new(run), Box::new(grad))
}

fn first(inputs: &[Input]) -> Shaped<'_, f32> {
    inputs[0].floats().of_shape(inputs[0].shape())
}

/// Targets are as the file has them: integers are classes.
impl<'a> From<&'a Input> for Array<'a> {
    fn from(input: &'a Input) -> Self {
        match input {
            Input::Floats(array) => (&array.data).into(),
            Input::Integers(array) => (&array.data).into(),
        }
    }
}

/// The shape of the first input.
pub fn same_shape(inputs: &[Input]) -> Result<Vec<usize>, CliError> {
    Ok(inputs[0].shape().to_vec())
}

/// A gradient by an input, of its shape.
pub fn gradient(by: &Input, data: Vec<f32>) -> Output {
    let shape = by.shape().to_vec();
    Output { shape, data }
}
