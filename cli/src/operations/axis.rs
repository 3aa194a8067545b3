//! The softmax family along one axis, shaped by masks, biases and scales, and logsumexp along
//! several.

use super::closures::gradient;
use super::{Call, Default, Entry, Input, Operation, Options, Output, ParameterEntry, read};
use crate::error::CliError;
use crate::memory;
use crate::npy::Array;
use crate::terminal::{Number, Progress};
use std::path::PathBuf;
use wgpu_activations::{AxisFunction, AxisShape, Backend, Causal, OfShape, RowPolicy, Shaping};

/// A function of the family.
pub struct Family(pub AxisFunction);

impl Operation for Family {
    fn entry(&self) -> Entry {
        let g = self.0;
        Entry {
            name: g.name(),
            kind: "axis",
            aliases: g.aliases(),
            parameters: parameters(g.reduces()),
            summary: if g.reduces() {
                "Along an axis or several, which it reduces; takes --mask, --bias, --lengths, --sinks and --causal."
            } else {
                "Along an axis; takes --mask, --bias, --lengths, --sinks and --causal."
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
        let shaping = Shaped::new(options)?;
        if let (Some(_), [_, _, ..]) = (&shaping, &axes[..]) {
            return Err(CliError::Usage(format!(
                "{} of several axes takes no mask and the like; give one --axis",
                function.name()
            )));
        }
        Ok(Box::new(Ready {
            function,
            axes,
            keepdims,
            shaping,
        }))
    }
}

fn parameters(reduces: bool) -> Vec<ParameterEntry> {
    let number = |value| Default::Number(Number(value));
    let mut parameters: Vec<ParameterEntry> = [
        ("scale", number(1.0), "a finite number other than 0"),
        (
            "temperature",
            number(1.0),
            "a finite number other than 0; divides",
        ),
        ("soft_cap", number(0.0), "a finite number, 0 (none) or more"),
        (
            "sink",
            Default::Word("none"),
            "a number for all rows; 0 is softmax1",
        ),
        (
            "causal",
            Default::Word("upper_left"),
            "upper_left or lower_right, with --causal",
        ),
        (
            "query_axis",
            Default::Word("the one before"),
            "the axis of the queries, with --causal",
        ),
        (
            "row_policy",
            Default::Word("zero"),
            "zero, nan or error, for rows without an element",
        ),
    ]
    .into_iter()
    .map(|(name, default, range)| ParameterEntry {
        name,
        default,
        range: range.to_owned(),
    })
    .collect();
    if reduces {
        parameters.push(ParameterEntry {
            name: "keepdims",
            default: Default::Word("false"),
            range: "true or false".to_owned(),
        });
    }
    parameters
}

struct Ready {
    function: AxisFunction,
    axes: Vec<isize>,
    keepdims: bool,
    shaping: Option<Shaped>,
}

/// What is done to the elements of a row first, with the arrays still in files.
struct Shaped {
    numbers: Shaping<'static>,
    /// Whether a row's place among the others matters.
    placed: bool,
    mask: Option<PathBuf>,
    bias: Option<PathBuf>,
    lengths: Option<PathBuf>,
    sinks: Option<PathBuf>,
}

impl Shaped {
    /// What the options ask for; nothing where they ask for nothing.
    fn new(options: &mut Options) -> Result<Option<Self>, CliError> {
        let mut numbers = Shaping::new();
        let mut any = false;
        if let Some(scale) = options.number("scale")? {
            (numbers, any) = (numbers.scale(scale), true);
        }
        if let Some(temperature) = options.number("temperature")? {
            if any {
                return Err(CliError::Usage(
                    "scale and temperature say the same thing; give one of them".to_owned(),
                ));
            }
            (numbers, any) = (numbers.temperature(temperature), true);
        }
        if let Some(cap) = options.number("soft_cap")? {
            (numbers, any) = (numbers.soft_cap(cap), true);
        }
        let sink = options.number("sink")?;
        if let Some(sink) = sink {
            (numbers, any) = (numbers.sink(sink), true);
        }
        let sink = sink.is_some();
        let alignments = [
            ("upper_left", Causal::UpperLeft),
            ("lower_right", Causal::LowerRight),
        ];
        let alignment = options.choice("causal", &alignments)?;
        let mut placed = false;
        if options.causal() || alignment.is_some() {
            numbers = numbers.causal(alignment.unwrap_or(Causal::UpperLeft));
            (any, placed) = (true, true);
        }
        if let Some(axis) = options.integer("query_axis")? {
            numbers = numbers.query_axis(axis as isize);
            placed = true;
        }
        let policies = [
            ("zero", RowPolicy::Zeros),
            ("zeros", RowPolicy::Zeros),
            ("nan", RowPolicy::Nan),
            ("error", RowPolicy::Error),
        ];
        if let Some(policy) = options.choice("row_policy", &policies)? {
            (numbers, any) = (numbers.row_policy(policy), true);
        }
        let shaped = Self {
            numbers,
            placed,
            mask: options.file("mask"),
            bias: options.file("bias"),
            lengths: options.file("lengths"),
            sinks: options.file("sinks"),
        };
        if sink && shaped.sinks.is_some() {
            return Err(CliError::Usage(
                "sink is one number for all rows and --sinks has one for each; give one of them"
                    .to_owned(),
            ));
        }
        any |= shaped.has_files();
        Ok(any.then_some(shaped))
    }

    fn has_files(&self) -> bool {
        let files = [&self.mask, &self.bias, &self.lengths, &self.sinks];
        files.into_iter().any(Option::is_some)
    }

    /// Reads the arrays, and hands the whole to `work`, with the shape of the sinks.
    fn with<T>(
        &self,
        work: impl FnOnce(&Shaping<'_>, &[usize]) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let progress = Progress::spinner();
        let mask: Option<Array<u8>> = optional(&self.mask, &progress)?;
        let bias: Option<Array> = optional(&self.bias, &progress)?;
        let lengths: Option<Array<i64>> = optional(&self.lengths, &progress)?;
        let sinks: Option<Array> = optional(&self.sinks, &progress)?;
        drop(progress);
        let lengths = match (&lengths, &self.lengths) {
            (Some(array), Some(path)) => {
                let converted: Result<Vec<u32>, _> =
                    array.data.iter().map(|&n| u32::try_from(n)).collect();
                let converted = converted.map_err(|_| {
                    CliError::Usage(format!(
                        "{}: a length is a whole number, 0 or more and below 2^32",
                        path.display()
                    ))
                })?;
                Some((converted, array.shape.clone()))
            }
            _ => None,
        };
        let mut shaping: Shaping<'_> = self.numbers;
        if let Some(mask) = &mask {
            shaping = shaping.mask(&mask.data, &mask.shape);
        }
        if let Some(bias) = &bias {
            shaping = shaping.bias(&bias.data, &bias.shape);
        }
        if let Some((lengths, shape)) = &lengths {
            shaping = shaping.lengths(lengths, shape);
        }
        if let Some(sinks) = &sinks {
            shaping = shaping.sinks(&sinks.data, &sinks.shape);
        }
        work(&shaping, sinks.as_ref().map_or(&[], |sinks| &sinks.shape))
    }
}

/// Reads a file where there is one.
fn optional<T: crate::npy::Value>(
    path: &Option<PathBuf>,
    progress: &Progress,
) -> Result<Option<Array<T>>, CliError> {
    path.as_ref().map(|path| read(path, progress)).transpose()
}

/// An array whose axes of interest were moved behind the others, as one.
struct Gathered {
    /// Which axis of the array each axis is, the last ones being those of interest.
    order: Vec<usize>,
    shape: Vec<usize>,
}

impl Ready {
    /// Hands what is done to the rows to `work`, with the shape of the sinks.
    fn shaped<T>(
        &self,
        work: impl FnOnce(&Shaping<'_>, &[usize]) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        match &self.shaping {
            Some(shaped) => shaped.with(work),
            None => work(&Shaping::new(), &[]),
        }
    }

    /// The axes from the front, each once.
    fn indices(&self, shape: &[usize]) -> Result<Vec<usize>, CliError> {
        let mut indices = Vec::new();
        for &axis in &self.axes {
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
    fn streamed(&self, _shape: &[usize]) -> Option<Box<dyn wgpu_activations::Operation>> {
        match (&self.shaping, &self.axes[..]) {
            (None, &[axis]) => Some(Box::new(self.function.along(axis))),
            (Some(shaped), &[axis]) if !shaped.placed && !shaped.has_files() => {
                Some(Box::new(self.function.along(axis).shaped(&shaped.numbers)))
            }
            _ => None,
        }
    }

    fn inputs(&self) -> &[&'static str] {
        &["x"]
    }

    fn gradients(&self) -> &[&'static str] {
        match &self.shaping {
            Some(shaped) if shaped.sinks.is_some() => &["the input", "the sinks"],
            _ => &["the input"],
        }
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
            self.shaped(|shaping, _| {
                let softmax = self.function.along(axis).shaped(shaping);
                Ok(backend.apply_into(softmax, shaping.inputs(x.of_shape(of)), &mut data)?)
            })?;
            return Ok(Output { shape, data });
        }
        let mut moved = memory::room(x.len())?;
        moved.extend(self.gathered(of)?.places().map(|place| x[place]));
        let rows = data.len();
        let len = x.len().checked_div(rows).unwrap_or(0);
        backend.apply_into(
            self.function.along(-1),
            moved.of_shape(&[rows, len]),
            &mut data,
        )?;
        Ok(Output { shape, data })
    }

    fn grad(
        self: Box<Self>,
        backend: &Backend,
        inputs: Vec<Input>,
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError> {
        let (x, shape) = (inputs[0].floats(), inputs[0].shape().to_vec());
        let mut data = memory::zeros(x.len())?;
        if let [axis] = self.axes[..] {
            return self.shaped(|shaping, sinks| {
                let softmax = self.function.along(axis).shaped(shaping);
                let arrays = shaping.inputs(x.of_shape(&shape));
                backend.grad_into(softmax, arrays, upstream, &mut data)?;
                let mut outputs = vec![gradient(&inputs[0], data)];
                if wanted > 1 {
                    let arrays = shaping.inputs(x.of_shape(&shape));
                    outputs.push(Output {
                        shape: sinks.to_vec(),
                        data: backend.grad_by(softmax, "sinks", arrays, upstream)?,
                    });
                }
                Ok(outputs)
            });
        }
        let gathered = self.gathered(&shape)?;
        let mut moved = memory::room(x.len())?;
        moved.extend(gathered.places().map(|place| x[place]));
        let rows = upstream.len();
        let len = x.len().checked_div(rows).unwrap_or(0);
        let mut result = memory::zeros(x.len())?;
        backend.grad_into(
            self.function.along(-1),
            moved.of_shape(&[rows, len]),
            upstream,
            &mut result,
        )?;
        for (place, value) in gathered.places().zip(result) {
            data[place] = value;
        }
        Ok(vec![Output { shape, data }])
    }
}
