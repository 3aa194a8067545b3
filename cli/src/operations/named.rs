//! Operations of the library's registry.

use super::{Call, InParts, Input, Options, Output, flag, told};
use crate::error::CliError;
use crate::memory;
use std::path::PathBuf;
use wgpu_activations::{
    self as library, Activation, ArrayMut, Backend, Elementwise, InputInfo, Operation,
    OperationInfo, Stream, learnable, operation_named,
};

/// An operation with its options.
pub struct Named {
    /// The name that it is called by, which may say something.
    called: String,
    pub info: OperationInfo,
    values: Vec<(String, String)>,
    files: Vec<(InputInfo, PathBuf)>,
    /// The inputs that come by position.
    inputs: Vec<InputInfo>,
    /// An activation that has gradients by its parameters.
    learned: Option<Elementwise>,
}

impl Named {
    /// The operation that the options ask for, with so many input files.
    pub fn new(
        called: &str,
        info: OperationInfo,
        options: Options,
        count: usize,
    ) -> Result<Self, CliError> {
        let told_options = options.of(&info)?;
        let by_position = |form: &Vec<InputInfo>| -> Vec<InputInfo> {
            let inputs = form.iter().filter(|input| flag(input).is_none());
            inputs.copied().collect()
        };
        let forms: Vec<Vec<InputInfo>> = info.forms.iter().map(by_position).collect();
        let form = check_count(info.name, &forms, count)?;
        let named = Self {
            called: called.to_owned(),
            values: told_options.values,
            files: told_options.files,
            inputs: forms[form][..count].to_vec(),
            learned: None,
            info,
        };
        // What is wrong with options is told before files are read; of two arrays any shape will do.
        let any: &[usize] = &[];
        named.made(&vec![any; if count > 1 { count } else { 0 }])?;
        let activation = named.info.name.parse::<Activation>();
        let has_gradients = |activation: &Activation| learnable().any(|(a, _)| a == *activation);
        let learned = match activation.ok().filter(has_gradients) {
            Some(activation) => Some(with_parameters(activation, &named.values)?),
            None => None,
        };
        Ok(Self { learned, ..named })
    }

    /// The operation of arrays of these shapes.
    fn made(&self, shapes: &[&[usize]]) -> Result<Box<dyn Operation>, CliError> {
        let values = self.values.iter();
        let values: Vec<(&str, &str)> = values.map(|(name, value)| (&**name, &**value)).collect();
        let made = operation_named(&self.called, &values, shapes);
        made.map_err(|error| told(&self.info, error))
    }

    fn of(&self, inputs: &[Input]) -> Result<Box<dyn Operation>, CliError> {
        let shapes = inputs[..self.inputs.len()].iter().map(Input::shape);
        self.made(&shapes.collect::<Vec<_>>())
    }

    /// The same along an axis.
    pub fn along(mut self, axis: isize) -> Result<Self, CliError> {
        self.values.push(("axis".to_owned(), axis.to_string()));
        self.made(&[])?;
        Ok(self)
    }

    /// The operation along the last axis, where nothing says which.
    pub fn made_along_last(&self) -> Result<Box<dyn Operation>, CliError> {
        self.made(&[])
    }

    /// Whether there are options or inputs beside the input.
    pub fn is_plain(&self) -> bool {
        self.files.is_empty() && self.values.is_empty()
    }
}

/// The number of the form of inputs that has so many.
pub fn check_count(name: &str, forms: &[Vec<InputInfo>], count: usize) -> Result<usize, CliError> {
    let fits = |form: &Vec<InputInfo>| {
        let required = form.iter().filter(|input| !input.optional).count();
        (required..=form.len()).contains(&count)
    };
    forms.iter().position(fits).ok_or_else(|| {
        let told = forms.iter().map(|form| {
            let names = form.iter().map(|input| match input.optional {
                true => format!("{}, which may be missing", input.name),
                false => input.name.to_owned(),
            });
            let plural = if form.len() == 1 { "" } else { "s" };
            let names = names.collect::<Vec<_>>().join(", ");
            format!("{} input{plural} ({names})", form.len())
        });
        let told = told.collect::<Vec<_>>().join(" or ");
        CliError::Usage(format!("{name} has {told}, {count} files are given"))
    })
}

fn arrays(inputs: &[Input]) -> impl Iterator<Item = library::Array<'_>> {
    inputs.iter().map(Input::array)
}

impl Call for Named {
    fn name(&self) -> &'static str {
        self.info.name
    }

    fn inputs(&self) -> Vec<InputInfo> {
        self.inputs.clone()
    }

    fn flagged(&self) -> &[(InputInfo, PathBuf)] {
        &self.files
    }

    fn gradients(&self) -> Vec<&'static str> {
        let flagged = self.files.iter().map(|(input, _)| input);
        let all = self.inputs.iter().chain(flagged);
        let by = all.filter(|input| input.differentiable);
        let mut by: Vec<&str> = by.map(|input| input.name).collect();
        if let Some(f) = &self.learned {
            let of = learnable().filter(|(activation, _)| *activation == f.activation());
            by.extend(of.map(|(_, parameter)| parameter));
        }
        by
    }

    fn in_parts(&self, shape: &[usize]) -> Result<Option<InParts>, CliError> {
        if self.inputs.len() > 1 || !self.files.is_empty() {
            return Ok(None);
        }
        let operation = self.made(&[shape])?;
        let output = Stream::output_shape(&*operation, shape)?;
        Ok(output.map(|output| (operation, output)))
    }

    fn output_shape(&self, inputs: &[Input]) -> Result<Vec<usize>, CliError> {
        let operation = self.of(inputs)?;
        let mut shapes = library::Call::value(arrays(inputs)).shapes(&*operation)?;
        Ok(shapes.swap_remove(0))
    }

    fn run(&self, backend: &Backend, inputs: &[Input]) -> Result<Output, CliError> {
        let shape = self.output_shape(inputs)?;
        let mut data = memory::zeros_of(&shape)?;
        let mut outputs = [Some(ArrayMut::from(&mut data[..]))];
        let call = library::Call::value(arrays(inputs));
        backend.run(&*self.of(inputs)?, &call, &mut outputs)?;
        Ok(Output { shape, data })
    }

    fn grad(
        &self,
        backend: &Backend,
        inputs: &[Input],
        upstream: &[f32],
        wanted: usize,
    ) -> Result<Vec<Output>, CliError> {
        let operation = self.of(inputs)?;
        let call = library::Call::gradients(arrays(inputs), upstream.into());
        let shapes = call.shapes(&*operation)?;
        let mut results = Vec::new();
        for shape in shapes.iter().take(wanted).cloned() {
            let data = memory::zeros_of(&shape)?;
            results.push(Output { shape, data });
        }
        let wanted_data = results.iter_mut().map(|output| &mut output.data[..]);
        let mut outputs: Vec<_> = wanted_data.map(|data| Some(ArrayMut::from(data))).collect();
        outputs.resize_with(shapes.len(), || None);
        backend.run(&*operation, &call, &mut outputs)?;
        drop(outputs);
        if let Some(f) = self.learned {
            let x = inputs[0].floats();
            for parameter in &self.gradients()[results.len()..wanted] {
                let sum = backend.grad_parameter(f, parameter, x, upstream)?;
                results.push(Output {
                    shape: Vec::new(),
                    data: vec![sum],
                });
            }
        }
        Ok(results)
    }
}

/// An activation with parameters as they were given.
pub fn with_parameters(
    activation: Activation,
    parameters: &[(String, String)],
) -> Result<Elementwise, CliError> {
    let values: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (&**n, &**v)).collect();
    operation_named(activation.info().name, &values, &[])?;
    // Values that are no numbers are refused by then.
    let numbers = values
        .iter()
        .map(|(name, value)| (*name, value.parse().unwrap_or(f32::NAN)));
    Ok(activation.with(numbers)?)
}
