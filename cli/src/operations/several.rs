//! Functions that reduce an axis, along several, or with their axes kept.

use super::named::Named;
use super::{Call, InParts, Input, Options, Output};
use crate::error::CliError;
use crate::memory;
use std::path::PathBuf;
use wgpu_activations::{
    AxisShape, Backend, InputInfo, OfShape, OperationInfo, Stream, operation_named,
};

/// The axes that are reduced.
pub struct Axes {
    axes: Vec<isize>,
    keepdims: bool,
}

/// Whether an operation of one array leaves an axis out.
pub fn reduces(info: &OperationInfo) -> bool {
    let of = operation_named(info.name, &[], &[]);
    let shape = of.and_then(|operation| Stream::output_shape(&*operation, &[2, 2]));
    info.forms.len() == 1 && shape.is_ok_and(|shape| shape.is_some_and(|shape| shape.len() == 1))
}

/// The axes of a call that needs them here: along several, or where axes are kept.
pub fn axes(info: &OperationInfo, options: &mut Options) -> Result<Option<Axes>, CliError> {
    if !reduces(info) {
        return Ok(None);
    }
    let keepdims = options.keepdims();
    let axes = options.axes().unwrap_or_else(|| vec![-1]);
    Ok(Some(Axes { axes, keepdims }))
}

fn shaped(name: &str) -> CliError {
    CliError::Usage(format!(
        "{name} of several axes takes no mask and the like; give one --axis"
    ))
}

/// A call along these axes.
pub struct Several {
    named: Named,
    axes: Axes,
}

/// An array whose axes of interest were moved behind the others, as one.
struct Gathered {
    /// Which axis of the array each axis is, the last ones being those of interest.
    order: Vec<usize>,
    shape: Vec<usize>,
}

impl Several {
    /// The operation along the axes.
    pub fn new(named: Named, axes: Axes) -> Result<Self, CliError> {
        if axes.axes.len() > 1 && !named.is_plain() {
            return Err(shaped(named.name()));
        }
        let named = match axes.axes[..] {
            [axis] => named.along(axis)?,
            _ => named,
        };
        Ok(Self { named, axes })
    }

    /// Whether there is one axis, along which the library computes as it is.
    fn is_single(&self) -> bool {
        self.axes.axes.len() == 1
    }

    /// The axes from the front, each once.
    fn indices(&self, shape: &[usize]) -> Result<Vec<usize>, CliError> {
        let mut indices = Vec::new();
        for &axis in &self.axes.axes {
            AxisShape::new(shape, axis)?;
            // Invariant: the axis is in range, `AxisShape` has seen to it.
            let index = axis.rem_euclid(shape.len().max(1) as isize) as usize;
            if indices.contains(&index) {
                return Err(CliError::Usage(format!("--axis names axis {index} twice")));
            }
            indices.push(index);
        }
        indices.sort_unstable();
        Ok(indices)
    }

    /// The shape of what is left of an array.
    fn left(&self, shape: &[usize]) -> Result<Vec<usize>, CliError> {
        let indices = self.indices(shape)?;
        let kept = shape.iter().enumerate().filter_map(|(i, &len)| {
            match (indices.contains(&i), self.axes.keepdims) {
                (false, _) => Some(len),
                (true, true) => Some(1),
                (true, false) => None,
            }
        });
        Ok(kept.collect())
    }

    fn gathered(&self, shape: &[usize]) -> Result<Gathered, CliError> {
        let indices = self.indices(shape)?;
        let (behind, before): (Vec<usize>, Vec<usize>) =
            (0..shape.len()).partition(|i| indices.contains(i));
        let mut order = before;
        order.extend(behind);
        Ok(Gathered {
            order,
            shape: shape.to_vec(),
        })
    }

    /// The input with the axes as its last one, of so many rows.
    fn moved(&self, input: &Input, rows: usize) -> Result<(Vec<f32>, [usize; 2]), CliError> {
        let x = input.floats();
        let mut moved = memory::room(x.len())?;
        moved.extend(self.gathered(input.shape())?.places().map(|place| x[place]));
        let len = x.len().checked_div(rows).unwrap_or(0);
        Ok((moved, [rows, len]))
    }
}

impl Gathered {
    /// For each element of the array with moved axes, its place in the array as it was.
    fn places(&self) -> impl Iterator<Item = usize> {
        let rank = self.shape.len();
        let mut strides = vec![1; rank];
        for axis in (1..rank).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let shape: Vec<usize> = self.order.iter().map(|&axis| self.shape[axis]).collect();
        let strides: Vec<usize> = self.order.iter().map(|&axis| strides[axis]).collect();
        let mut index = vec![0; rank];
        let mut place = 0;
        (0..self.shape.iter().product()).map(move |_| {
            let here = place;
            for axis in (0..rank).rev() {
                index[axis] += 1;
                place += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                place -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
            here
        })
    }
}

impl Call for Several {
    fn name(&self) -> &'static str {
        self.named.name()
    }

    fn inputs(&self) -> Vec<InputInfo> {
        self.named.inputs()
    }

    fn flagged(&self) -> &[(InputInfo, PathBuf)] {
        self.named.flagged()
    }

    fn gradients(&self) -> Vec<&'static str> {
        let mut all = self.named.gradients();
        if !self.is_single() {
            all.truncate(1);
        }
        all
    }

    fn in_parts(&self, shape: &[usize]) -> Result<Option<InParts>, CliError> {
        let left = self.left(shape)?;
        if !self.is_single() {
            return Ok(None);
        }
        let parts = self.named.in_parts(shape)?;
        Ok(parts.map(|(operation, _)| (operation, left)))
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let left = self.left(inputs[0].shape())?;
        if self.is_single() {
            self.named.output_shape(inputs)?;
        }
        Ok(left)
    }

    fn run(&self, backend: &Backend, inputs: &[Input]) -> Result<Output, CliError> {
        let shape = self.output_shape(inputs)?;
        if self.is_single() {
            let output = self.named.run(backend, inputs)?;
            return Ok(Output { shape, ..output });
        }
        let mut data = memory::zeros_of(&shape)?;
        let (moved, of) = self.moved(&inputs[0], data.len())?;
        let operation = self.named.made_along_last()?;
        backend.apply_into(&*operation, moved.of_shape(&of), &mut data)?;
        Ok(Output { shape, data })
    }

    fn grad(
        &self,
        backend: &Backend,
        inputs: &[Input],
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError> {
        if self.is_single() {
            return self.named.grad(backend, inputs, upstream, wanted);
        }
        let shape = inputs[0].shape().to_vec();
        let (moved, of) = self.moved(&inputs[0], upstream.len())?;
        let mut result = memory::zeros(moved.len())?;
        let operation = self.named.made_along_last()?;
        backend.grad_into(&*operation, moved.of_shape(&of), upstream, &mut result)?;
        let mut data = memory::zeros(moved.len())?;
        for (place, value) in self.gathered(&shape)?.places().zip(result) {
            data[place] = value;
        }
        Ok(vec![Output { shape, data }])
    }
}
