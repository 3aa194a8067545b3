//! The softmax family along one axis, and logsumexp along several.

use super::{Call, Entry, Input, Operation, Options, Output};
use crate::error::CliError;
use crate::memory;
use wgpu_activations::{AxisFunction, AxisShape, Backend};

/// A function of the family.
pub struct Family(pub AxisFunction);

impl Operation for Family {
    fn entry(&self) -> Entry {
        let g = self.0;
        Entry {
            name: g.name(),
            kind: "axis",
            aliases: g.aliases(),
            parameters: Vec::new(),
            summary: if g.reduces() {
                "Along an axis or several, which it reduces."
            } else {
                "Along an axis."
            },
            formula: g.formula(),
            gradient: g.gradient(),
            source: None,
        }
    }

    fn prepare(&self, options: &mut Options, _: usize) -> Result<Box<dyn Call>, CliError> {
        let function = self.0;
        let (axes, keepdims) = if function.reduces() {
            let axes = options.axes().unwrap_or_else(|| vec![-1]);
            (axes, options.keepdims()?)
        } else {
            (vec![options.axis()?.unwrap_or(-1)], false)
        };
        Ok(Box::new(Ready {
            function,
            axes,
            keepdims,
        }))
    }
}

struct Ready {
    function: AxisFunction,
    axes: Vec<isize>,
    keepdims: bool,
}

/// An array whose axes of interest were moved behind the others, as one.
struct Gathered {
    /// Which axis of the array each axis is, the last ones being those of interest.
    order: Vec<usize>,
    shape: Vec<usize>,
}

impl Ready {
    /// The axes from the front, each once.
    fn indices(&self, shape: &[usize]) -> Result<Vec<usize>, CliError> {
        let mut indices = Vec::new();
        for &axis in &self.axes {
            AxisShape::new(shape, axis)?;
            // Invariant: the axis is in range, `AxisShape` has seen to it.
            let index = axis.rem_euclid(shape.len() as isize) as usize;
            if indices.contains(&index) {
                return Err(CliError::Usage(format!("--axis names axis {index} twice")));
            }
            indices.push(index);
        }
        indices.sort_unstable();
        Ok(indices)
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

impl Call for Ready {
    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let shape = inputs[0].shape();
        let indices = self.indices(shape)?;
        if !self.function.reduces() {
            return Ok(shape.to_vec());
        }
        let kept = shape.iter().enumerate().filter_map(|(i, &d)| {
            match (indices.contains(&i), self.keepdims) {
                (false, _) => Some(d),
                (true, true) => Some(1),
                (true, false) => None,
            }
        });
        Ok(kept.collect())
    }

    fn run(self: Box<Self>, backend: &Backend, inputs: Vec<Input>) -> Result<Output, CliError> {
        let shape = self.output_shape(&inputs)?;
        let (x, of) = (inputs[0].floats(), inputs[0].shape());
        let mut data = memory::zeros(shape.iter().product())?;
        if let [axis] = self.axes[..] {
            backend.apply_axis_into(self.function, x, of, axis, &mut data)?;
            return Ok(Output { shape, data });
        }
        let mut moved = memory::room(x.len())?;
        moved.extend(self.gathered(of)?.places().map(|place| x[place]));
        let rows = data.len();
        let len = x.len().checked_div(rows).unwrap_or(0);
        backend.apply_axis_into(self.function, &moved, &[rows, len], -1, &mut data)?;
        Ok(Output { shape, data })
    }

    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
    ) -> Result<Vec<Output>, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape().to_vec());
        let mut data = memory::zeros(x.len())?;
        if let [axis] = self.axes[..] {
            backend.grad_axis_into(self.function, x, upstream, &shape, axis, &mut data)?;
            return Ok(vec![Output { shape, data }]);
        }
        let gathered = self.gathered(&shape)?;
        let mut moved = memory::room(x.len())?;
        moved.extend(gathered.places().map(|place| x[place]));
        let rows = upstream.len();
        let len = x.len().checked_div(rows).unwrap_or(0);
        let mut result = memory::zeros(x.len())?;
        backend.grad_axis_into(
            self.function,
            &moved,
            upstream,
            &[rows, len],
            -1,
            &mut result,
        )?;
        for (place, value) in gathered.places().zip(result) {
            data[place] = value;
        }
        Ok(vec![Output { shape, data }])
    }
}
