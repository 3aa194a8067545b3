//! Operations as callables.

use crate::arrays::{Held, Out, word};
use crate::backend;
use crate::device::{self, Device, Inputs, Wanted, lacks_dy, lacks_output};
use crate::error::raised;
use crate::run::compute;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};
use wgpu_activations::{
    Array, ArrayMut, Call, Error, InputInfo, InputKind, Operation, OperationInfo, OptionInfo,
    OptionKind, operation_for,
};

/// Every operation of the library.
static OPERATIONS: LazyLock<Vec<OperationInfo>> =
    LazyLock::new(|| wgpu_activations::operations().collect());

/// How many operations a function keeps that it has made.
const MOST: usize = 64;

/// An operation that was made, and what of.
struct Made {
    options: Settings,
    shapes: Shapes,
    operation: Arc<dyn Operation>,
}

/// Options by their number, in order.
type Settings = Vec<(usize, Setting)>;

/// The value of an option, which is compared with those of calls before without being written as text.
#[derive(Clone, PartialEq)]
enum Setting {
    /// Its bits.
    Number(u64),
    Whole(i64),
    Large(u64),
    Flag(bool),
    Word(&'static str),
    Text(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(bits) => f64::from_bits(*bits).fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Large(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The shapes that an operation is made by, or for all but a few no more than the numbers of axes.
type Shapes = Vec<Vec<usize>>;

/// An operation of the registry, with some of its options set.
#[pyclass(frozen, subclass, module = "wgpu_activations._native")]
pub struct Function {
    info: &'static OperationInfo,
    /// The name that it is called by.
    name: &'static str,
    options: Settings,
    text: String,
    made: Mutex<Vec<Made>>,
}

/// What is asked of a call.
struct Asked<'py> {
    form: &'static [InputInfo],
    arrays: Vec<(&'static InputInfo, Bound<'py, PyAny>)>,
    options: Option<Settings>,
    out: Option<Bound<'py, PyAny>>,
    dy: Option<Bound<'py, PyAny>>,
}

/// The arrays of a call, with what it computes of them.
struct Work {
    operation: Arc<dyn Operation>,
    what: What,
    /// The names of inputs that may be missing.
    names: Vec<Option<&'static str>>,
    /// The inputs, and behind them the upstream gradient where there is one.
    inputs: Vec<Held>,
    outputs: Vec<Option<Held>>,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Value,
    Gradients,
    FromOutput,
    Both,
}

impl What {
    /// The name of an input, in whose place the output may be.
    fn name_of(self, input: &InputInfo) -> &'static str {
        match self {
            Self::FromOutput => "output",
            _ => input.name,
        }
    }
}

impl Asked<'_> {
    /// The device of the first tensor, where there is one.
    fn device(&self) -> Option<&Bound<'_, Device>> {
        let arrays = self.arrays.iter().map(|(_, array)| array);
        let mut all = arrays.chain(&self.dy).chain(&self.out);
        let tensor = all.find_map(device::tensor)?;
        Some(tensor.get().device_of(tensor.py()))
    }
}

impl Work {
    fn arrays(&self) -> impl Iterator<Item = Array<'_>> {
        let arrays = self.inputs.iter().zip(&self.names);
        arrays.map(|(input, name)| match name {
            Some(name) => input.array().named(name),
            None => input.array(),
        })
    }

    fn call(&self) -> Call<'_> {
        let arrays = self.arrays();
        let dy = || self.inputs.last().map(Held::array);
        let none = || Array::from(&[0.0f32; 0]);
        match self.what {
            What::Value => Call::value(arrays),
            What::Both => Call::value_and_gradient(arrays),
            What::Gradients => Call::gradients(arrays, dy().unwrap_or_else(none)),
            What::FromOutput => {
                let y = self.inputs.first().map_or_else(none, Held::array);
                Call::gradient_from_output(y, dy().unwrap_or_else(none))
            }
        }
    }
}

fn names(inputs: &[InputInfo], optional: bool) -> String {
    let names = inputs.iter().filter(|input| input.optional == optional);
    names.map(|input| input.name).collect::<Vec<_>>().join(", ")
}

/// The value of an option; none where it is not set.
fn value_of(option: &'static OptionInfo, value: &Bound<'_, PyAny>) -> PyResult<Option<Setting>> {
    if value.is_none() {
        return Ok(None);
    }
    let name = option.name;
    let wrong = |wanted: &str| {
        let given = value.get_type().name();
        let given = given.map_or_else(|_| String::new(), |given| given.to_string());
        PyTypeError::new_err(format!("{name} is {wanted}, and {given} was given"))
    };
    let is_bool = value.is_instance_of::<PyBool>();
    Ok(Some(match &option.kind {
        OptionKind::Number => {
            if is_bool || value.is_instance_of::<PyString>() {
                return Err(wrong("a number"));
            }
            let number: f64 = value.extract().map_err(|_| wrong("a number"))?;
            Setting::Number(number.to_bits())
        }
        OptionKind::Integer | OptionKind::Count => {
            if is_bool {
                return Err(wrong("a whole number"));
            }
            match value.extract() {
                Ok(number) => Setting::Whole(number),
                Err(_) => Setting::Large(value.extract().map_err(|_| wrong("a whole number"))?),
            }
        }
        OptionKind::Flag => {
            if !is_bool {
                return Err(wrong("True or False"));
            }
            Setting::Flag(value.is_truthy()?)
        }
        OptionKind::Choice(words) => {
            if is_bool && option.default.is_none() {
                // The first word is what a bare yes means.
                return Ok(value.is_truthy()?.then(|| Setting::Word(words[0])));
            }
            let word = value.str()?;
            let word = word.to_str()?;
            let Some(word) = words.iter().find(|known| **known == word) else {
                let words = words.join(" or ");
                return Err(PyValueError::new_err(format!("{name} is {words}")));
            };
            Setting::Word(word)
        }
        _ => Setting::Text(value.str()?.to_string()),
    }))
}

impl Function {
    fn text_of(&self, options: &[(usize, Setting)]) -> String {
        text_of(self.info, self.name, options)
    }

    fn unknown(&self, name: &str) -> PyErr {
        let options: Vec<&str> = self.info.options.iter().map(|option| option.name).collect();
        let mut inputs: Vec<&str> = Vec::new();
        for input in self.info.forms.iter().flatten() {
            if !inputs.contains(&input.name) {
                inputs.push(input.name);
            }
        }
        PyTypeError::new_err(format!(
            "{} has no '{name}'; it has the arrays {}, {}, and out",
            self.name,
            inputs.join(", "),
            match options.len() {
                0 => "no options".to_owned(),
                _ => format!("the options {}", options.join(", ")),
            }
        ))
    }

    /// Which form of the inputs a call means that gives so many by position, and these by name.
    fn form(
        &self,
        positions: usize,
        named: &[(&str, Bound<'_, PyAny>)],
    ) -> PyResult<&'static [InputInfo]> {
        let forms = &self.info.forms;
        let fits = |form: &&Vec<InputInfo>| {
            let required = || form.iter().filter(|input| !input.optional);
            let in_place = required().count() >= positions;
            let known = |name: &str| form.iter().any(|input| input.name == name);
            let is_named = |input: &InputInfo| named.iter().any(|(name, _)| *name == input.name);
            let rest = required().skip(positions).all(is_named);
            let twice = required().take(positions).any(is_named);
            in_place && rest && !twice && named.iter().all(|(name, _)| known(name))
        };
        if let Some(form) = forms.iter().find(fits) {
            return Ok(form);
        }
        let taken = forms.iter().map(|form| {
            let optional = names(form, true);
            match optional.is_empty() {
                true => names(form, false),
                false => format!("{} by position and {optional} by name", names(form, false)),
            }
        });
        let taken = taken.collect::<Vec<_>>().join(", or ");
        let by_name = match named.is_empty() {
            true => String::new(),
            false => {
                let named: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
                format!(" and {} by name", named.join(", "))
            }
        };
        Err(PyTypeError::new_err(format!(
            "{} takes {taken}; it was given {positions} by position{by_name}. Options go by name, as in axis=-1",
            self.name
        )))
    }

    fn asked<'py>(
        &self,
        what: What,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Asked<'py>> {
        let mut named: Vec<(&'static str, Bound<'py, PyAny>)> = Vec::new();
        let mut options: Option<Settings> = None;
        let (mut out, mut dy) = (None, None);
        for (key, value) in keywords.into_iter().flatten() {
            let key = key.cast::<PyString>()?.to_str()?;
            if key == "out" && what == What::Value {
                out = (!value.is_none()).then_some(value);
            } else if key == "dy" && matches!(what, What::Gradients | What::FromOutput) {
                dy = (!value.is_none()).then_some(value);
            } else if let Some(input) = self
                .info
                .forms
                .iter()
                .flatten()
                .find(|input| input.name == key)
            {
                if !value.is_none() {
                    named.push((input.name, value));
                }
            } else if let Some(i) = self
                .info
                .options
                .iter()
                .position(|option| option.name == key)
            {
                let options = options.get_or_insert_with(|| self.options.clone());
                options.retain(|(at, _)| *at != i);
                if let Some(value) = value_of(&self.info.options[i], &value)? {
                    options.push((i, value));
                    options.sort_by_key(|(i, _)| *i);
                }
            } else {
                return Err(self.unknown(key));
            }
        }
        let mut positions: Vec<Bound<'py, PyAny>> = arguments.iter().collect();
        if what == What::FromOutput {
            if !self.info.from_output {
                let function = self.info.name;
                return Err(raised(Error::NotFromOutput { function }));
            }
            if dy.is_none() && positions.len() == 2 {
                dy = positions.pop();
            }
            let [y] = &positions[..] else {
                return Err(lacks_output());
            };
            // Its numbers are in the place of the first input.
            let form = &self.info.forms[0][..];
            let arrays = vec![(&form[0], y.clone())];
            return Ok(Asked {
                form,
                arrays,
                options,
                out,
                dy,
            });
        }
        if what == What::Gradients && dy.is_none() && positions.len() > 1 {
            let others = positions.len() - 1;
            if self.form(others, &named).is_ok() {
                dy = positions.pop();
            }
        }
        let form = self.form(positions.len(), &named)?;
        let mut arrays = Vec::with_capacity(form.len());
        let mut positions = positions.into_iter();
        for input in form {
            let by_position = if input.optional {
                None
            } else {
                positions.next()
            };
            let by_name = || {
                let found = named.iter().find(|(name, _)| *name == input.name);
                found.map(|(_, array)| array.clone())
            };
            if let Some(array) = by_position.or_else(by_name) {
                arrays.push((input, array));
            }
        }
        Ok(Asked {
            form,
            arrays,
            options,
            out,
            dy,
        })
    }

    /// The operation of some options, kept from call to call.
    fn operation(
        &self,
        options: Option<&[(usize, Setting)]>,
        arrays: &[&[usize]],
    ) -> PyResult<Arc<dyn Operation>> {
        let options = options.unwrap_or(&self.options);
        let is_shaped = self.info.by_shapes;
        let same = |made: &&Made| {
            let same = |(a, b): (&Vec<usize>, &&[usize])| match is_shaped {
                true => a == b,
                false => a.len() == b.len(),
            };
            let shapes =
                made.shapes.len() == arrays.len() && made.shapes.iter().zip(arrays).all(same);
            shapes && made.options == options
        };
        let Ok(mut made) = self.made.lock() else {
            return Err(PyValueError::new_err("another thread failed"));
        };
        if let Some(made) = made.iter().find(same) {
            return Ok(made.operation.clone());
        }
        let operation: Arc<dyn Operation> =
            Arc::from(operation_for(&self.text_of(options), arrays).map_err(raised)?);
        if made.len() == MOST {
            made.clear();
        }
        made.push(Made {
            options: options.to_vec(),
            shapes: arrays.iter().map(|shape| shape.to_vec()).collect(),
            operation: operation.clone(),
        });
        Ok(operation)
    }

    /// Computes, and gives what was computed with.
    fn computed(
        &self,
        py: Python<'_>,
        what: What,
        asked: &Asked<'_>,
        only_first: bool,
    ) -> PyResult<(Work, Option<Out>)> {
        let backend = backend::of_call(py)?;
        let mut inputs = Vec::with_capacity(asked.arrays.len() + 1);
        for (input, array) in &asked.arrays {
            inputs.push(Held::input(
                array,
                input.kind,
                self.name,
                what.name_of(input),
            )?);
        }
        let shapes: Vec<&[usize]> = inputs.iter().map(Held::shape).collect();
        let operation = self.operation(asked.options.as_deref(), &shapes)?;
        let names = asked.arrays.iter();
        let names = names.map(|(input, _)| input.optional.then_some(input.name));
        let names = names.collect();
        let mut work = Work {
            operation,
            what,
            names,
            inputs,
            outputs: Vec::new(),
        };
        if matches!(what, What::Gradients | What::FromOutput) {
            let dy = match &asked.dy {
                Some(dy) => Held::input(dy, InputKind::Numbers, self.name, "dy")?,
                None => self.ones(py, &work)?,
            };
            work.inputs.push(dy);
        }
        let call = work.call();
        let shapes = call.shapes(&*work.operation).map_err(raised)?;
        let elements = call.elements();
        drop(call);
        let mut out = None;
        let mut outputs = Vec::with_capacity(shapes.len());
        for (i, shape) in shapes.iter().enumerate() {
            outputs.push(match &asked.out {
                _ if only_first && i > 0 => None,
                Some(given) => {
                    let (place, held) = Out::place(given, shape, &work.inputs)?;
                    out = Some(place);
                    Some(held)
                }
                // A gradient has the type of what it is by, where that is known to be one of numbers.
                None => Some(Held::zeros(py, shape, &work.inputs[0])?),
            });
        }
        work.outputs = outputs;
        let work = compute(py, backend, work, elements, |backend, work| {
            let mut outputs = std::mem::take(&mut work.outputs);
            let mut places: Vec<Option<ArrayMut<'_>>> = outputs
                .iter_mut()
                .map(|output| output.as_mut().and_then(Held::array_mut))
                .collect();
            let done = backend.run(&*work.operation, &work.call(), &mut places);
            drop(places);
            work.outputs = outputs;
            done
        })?;
        Ok((work, out))
    }

    /// Records a call on tensors, and gives those that come out.
    fn on_device(
        &self,
        device: &Bound<'_, Device>,
        asked: &Asked<'_>,
        what: What,
        only_first: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let own = Inputs {
            device,
            function: self.name,
        };
        let mut inputs = Vec::with_capacity(asked.arrays.len());
        for (input, array) in &asked.arrays {
            let name = input.optional.then_some(input.name);
            inputs.push(own.input(array, input.kind, (what.name_of(input), name))?);
        }
        let dy = asked.dy.as_ref();
        let dy = dy.map(|dy| own.input(dy, InputKind::Numbers, ("dy", None)));
        let wanted = match (what, &asked.out) {
            (What::Value, None) => Wanted::Value,
            (What::Value, Some(out)) => match device::tensor(out) {
                Some(out) => Wanted::Into(own.own(out, "out")?),
                None => return Err(PyTypeError::new_err("out is no tensor, as the arrays are")),
            },
            (What::Gradients, _) if only_first => Wanted::First,
            (What::Gradients, _) => Wanted::All,
            (What::FromOutput, _) => Wanted::FromOutput,
            (What::Both, _) => Wanted::Both,
        };
        let shapes: Vec<&[usize]> = inputs.iter().map(device::Input::shape).collect();
        let operation = self.operation(asked.options.as_deref(), &shapes)?;
        let dy = dy.transpose()?;
        let (operation, inputs) = own.weighted(operation, inputs)?;
        let work = device::Work {
            function: self.name,
            operation,
            wanted,
            inputs,
            dy,
        };
        work.recorded(device)
    }

    /// What a call computes of tensors, or of arrays.
    fn results(
        &self,
        py: Python<'_>,
        what: What,
        asked: &Asked<'_>,
        only_first: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        if let Some(device) = asked.device() {
            return self.on_device(device, asked, what, only_first);
        }
        let (work, out) = self.computed(py, what, asked, only_first)?;
        if let Some(out) = out {
            let result = work.outputs.into_iter().flatten().next();
            return result
                .map(|result| out.filled(py, &result))
                .into_iter()
                .collect();
        }
        let results = work.outputs.into_iter().flatten();
        results.map(|result| result.returned(py)).collect()
    }

    /// The upstream gradient of a result that is one number.
    fn ones(&self, py: Python<'_>, work: &Work) -> PyResult<Held> {
        let call = Call::value(work.arrays());
        let shapes = match work.what {
            What::FromOutput => vec![vec![2]],
            _ => call.shapes(&*work.operation).map_err(raised)?,
        };
        if shapes[0].iter().product::<usize>() != 1 {
            return Err(lacks_dy(self.name, &shapes[0]));
        }
        let mut one = Held::f32_zeros(py, &shapes[0])?;
        one.f32_mut().fill(1.0);
        Ok(one)
    }
}

fn text_of(info: &OperationInfo, name: &str, options: &[(usize, Setting)]) -> String {
    if options.is_empty() {
        return name.to_owned();
    }
    let options = options
        .iter()
        .map(|(i, value)| format!("{}={value}", info.options[*i].name));
    format!("{name}({})", options.collect::<Vec<_>>().join(", "))
}

#[pymethods]
impl Function {
    /// The operation of a name or of a text such as "elu(alpha=0.5)", with options set.
    #[new]
    #[pyo3(signature = (text, **options))]
    fn new(text: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let (name, inside) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end().strip_suffix(')').unwrap_or(rest)),
            None => (text, ""),
        };
        let wanted = name.trim().to_lowercase().replace('-', "_");
        let found = OPERATIONS.iter().find_map(|info| {
            let mut names = [info.name].into_iter().chain(info.aliases.iter().copied());
            names.find(|name| *name == wanted).map(|name| (info, name))
        });
        let Some((info, name)) = found else {
            // The library's sentence, with what looks like it.
            let error = operation_for(text, &[]).err();
            let none = || PyValueError::new_err(format!("no function is called '{text}'"));
            return Err(error.map_or_else(none, raised));
        };
        let mut function = Self {
            info,
            name,
            options: Vec::new(),
            text: name.to_owned(),
            made: Mutex::default(),
        };
        if !inside.trim().is_empty() {
            for part in inside.split(',') {
                let (option, value) = part.split_once('=').unwrap_or((part, ""));
                let found = info
                    .options
                    .iter()
                    .position(|known| known.name == option.trim());
                let i = found.ok_or_else(|| function.unknown(option.trim()))?;
                let value = Setting::Text(value.trim().to_owned());
                function.options.push((i, value));
            }
        }
        for (key, value) in options.into_iter().flatten() {
            let key = key.cast::<PyString>()?.to_string();
            let found = info.options.iter().position(|known| known.name == key);
            let i = found.ok_or_else(|| function.unknown(&key))?;
            function.options.retain(|(at, _)| *at != i);
            if let Some(value) = value_of(&info.options[i], &value)? {
                function.options.push((i, value));
            }
        }
        function.options.sort_by_key(|(i, _)| *i);
        function.text = function.text_of(&function.options);
        // Values that cannot be are told here, and not by the first call.
        let any: &[usize] = &[];
        let required = info.forms[0].iter().filter(|input| !input.optional).count();
        let shapes = vec![any; if required > 1 { required } else { 0 }];
        operation_for(&function.text, &shapes).map_err(raised)?;
        Ok(function)
    }

    /// The name that it is called by.
    #[getter]
    fn name(&self) -> &'static str {
        self.name
    }

    /// The function as text, from which it can be made again.
    #[getter]
    fn text(&self) -> &str {
        &self.text
    }

    /// What the registry says of it.
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        told(py, self.info)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = arguments.py();
        let asked = self.asked(What::Value, arguments, keywords)?;
        first(self.results(py, What::Value, &asked, false)?)
    }

    /// The gradient by the first input.
    #[pyo3(signature = (*arguments, **keywords))]
    fn gradient<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.first_gradient(What::Gradients, arguments, keywords)
    }

    /// The gradient by the first input, from the output.
    #[pyo3(signature = (*arguments, **keywords))]
    fn gradient_from_output<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.first_gradient(What::FromOutput, arguments, keywords)
    }

    /// The gradients by all inputs that have one, by name.
    #[pyo3(signature = (*arguments, **keywords))]
    fn gradients<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = arguments.py();
        let asked = self.asked(What::Gradients, arguments, keywords)?;
        let all = self.results(py, What::Gradients, &asked, false)?;
        let gradients = PyDict::new(py);
        let by = asked.form.iter().filter(|input| input.differentiable);
        for (input, gradient) in by.zip(all) {
            gradients.set_item(input.name, gradient)?;
        }
        Ok(gradients)
    }

    /// The value, and its gradient by the first input for an upstream gradient of 1.
    #[pyo3(signature = (*arguments, **keywords))]
    fn value_and_gradient<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
        let py = arguments.py();
        let asked = self.asked(What::Both, arguments, keywords)?;
        let mut results = self.results(py, What::Both, &asked, false)?.into_iter();
        match (results.next(), results.next()) {
            (Some(value), Some(gradient)) => Ok((value, gradient)),
            _ => Err(PyValueError::new_err("there is no result")),
        }
    }
}

impl Function {
    fn first_gradient<'py>(
        &self,
        what: What,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = arguments.py();
        let asked = self.asked(what, arguments, keywords)?;
        first(self.results(py, what, &asked, true)?)
    }
}

/// The first result.
fn first(results: Vec<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    let result = results.into_iter().next();
    result.ok_or_else(|| PyValueError::new_err("there is no result"))
}

fn told<'py>(py: Python<'py>, info: &OperationInfo) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("name", info.name)?;
    told.set_item("aliases", PyTuple::new(py, info.aliases)?)?;
    told.set_item("summary", info.summary)?;
    told.set_item("formula", info.formula)?;
    told.set_item("gradient", info.gradient)?;
    told.set_item("source", info.source)?;
    told.set_item("shapes", info.shapes)?;
    told.set_item("elementwise", info.elementwise)?;
    told.set_item("from_output", info.from_output)?;
    let options = info.options.iter().map(|option| {
        let told = PyDict::new(py);
        told.set_item("name", option.name)?;
        let (kind, words) = match &option.kind {
            OptionKind::Number => ("number", &[][..]),
            OptionKind::Integer => ("integer", &[][..]),
            OptionKind::Count => ("count", &[][..]),
            OptionKind::Flag => ("flag", &[][..]),
            OptionKind::Choice(words) => ("choice", &words[..]),
            _ => ("text", &[][..]),
        };
        told.set_item("kind", kind)?;
        told.set_item("words", PyTuple::new(py, words)?)?;
        told.set_item("default", option.default.as_deref())?;
        told.set_item("meaning", &option.meaning)?;
        Ok(told)
    });
    told.set_item("options", options.collect::<PyResult<Vec<_>>>()?)?;
    let forms = info.forms.iter().map(|form| {
        let inputs = form.iter().map(|input| {
            let told = PyDict::new(py);
            told.set_item("name", input.name)?;
            told.set_item("kind", word(input.kind))?;
            told.set_item("optional", input.optional)?;
            told.set_item("differentiable", input.differentiable)?;
            Ok(told)
        });
        inputs.collect::<PyResult<Vec<_>>>()
    });
    told.set_item("forms", forms.collect::<PyResult<Vec<_>>>()?)?;
    Ok(told)
}

/// What the registry says of every operation.
#[pyfunction]
pub fn operations(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    OPERATIONS.iter().map(|info| told(py, info)).collect()
}
