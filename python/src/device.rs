//! Tensors that stay on a device: operations on them are recorded, and submitted when something is read.

use crate::arrays::{Held, descriptor};
use crate::backend::{Backend, Owned, check_process, is_forked, used};
use crate::error::{DeviceError, raised};
use crate::run::{here, waiting};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wgpu_activations::{
    AdapterChoice, Batch, Chain, DType, Gpu, InputKind, Labels, Lengths, Mask, Operation,
    Tensor as Numbers, TensorArray,
};

/// How many operations a batch has at most, and how many bytes its results: what a batch refers to keeps its
/// memory until it is submitted.
const MOST_OPERATIONS: usize = 1024;
const MOST_BYTES: usize = 256 << 20;

/// A device that is open, with what is recorded and not submitted.
struct Open {
    gpu: Gpu,
    batch: Option<Batch>,
    operations: usize,
    bytes: usize,
}

impl Open {
    fn submit(&mut self) -> PyResult<()> {
        (self.operations, self.bytes) = (0, 0);
        match self.batch.take() {
            Some(batch) => batch.submit().map_err(raised),
            None => Ok(()),
        }
    }
}

/// A GPU on which tensors stay. Functions of tensors are recorded, and run in one submission when something is
/// read.
#[pyclass(frozen, module = "wgpu_activations")]
pub struct Device {
    /// None of a closed one.
    open: Mutex<Option<Owned<Open>>>,
    description: String,
}

fn opened(name: &str) -> PyResult<Gpu> {
    let choice = match name {
        "auto" | "gpu" => AdapterChoice::from_env(),
        "cpu" => {
            return Err(DeviceError::new_err(
                "the CPU has no tensors: its functions compute on arrays where they are",
            ));
        }
        _ => {
            let Ok(choice) = name.parse();
            choice
        }
    };
    Gpu::open(&choice).map_err(raised)
}

#[pymethods]
impl Device {
    /// The best adapter, one by a part of its name or by its number, or that of a backend.
    #[new]
    #[pyo3(signature = (name=None))]
    fn new(py: Python<'_>, name: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        check_process()?;
        used();
        let gpu = match name {
            None => here(py, || opened("auto"))?,
            Some(name) => match name.cast::<Backend>() {
                Ok(backend) => match backend.get().gpu() {
                    Some(gpu) => gpu,
                    None => opened("cpu")?,
                },
                Err(_) => {
                    let name: String = name.extract().map_err(|_| {
                        PyTypeError::new_err("a device is an adapter's name, or a backend")
                    })?;
                    here(py, || opened(&name))?
                }
            },
        };
        let description = gpu.description();
        let open = Open {
            gpu,
            batch: None,
            operations: 0,
            bytes: 0,
        };
        Ok(Self {
            open: Mutex::new(Some(open.into())),
            description,
        })
    }

    /// A tensor with an array's numbers: float32, float16 and bfloat16 as they are, others as calls take them.
    fn array(slf: &Bound<'_, Self>, x: &Bound<'_, PyAny>) -> PyResult<Tensor> {
        check_process()?;
        let held = Held::input(x, InputKind::Numbers, "a tensor", "the array")?;
        let own = slf.get();
        let numbers = here(slf.py(), move || {
            let gpu = own.gpu()?;
            sent(held.upload(&gpu))
        })?;
        Ok(Tensor::new(slf, numbers))
    }

    /// Submits what is recorded, without waiting for it.
    fn submit(&self, py: Python<'_>) -> PyResult<()> {
        check_process()?;
        here(py, || self.with(|open| open.submit()))
    }

    /// How many submissions were made so far: of batches, and of what went to and from the device.
    #[getter]
    fn submissions(&self, py: Python<'_>) -> PyResult<u64> {
        check_process()?;
        here(py, || self.with(|open| Ok(open.gpu.submissions())))
    }

    /// Ends the device: what is recorded and was not read is dropped, and tensors are of no use.
    fn close(&self, py: Python<'_>) {
        // In a forked process another thread may have held the lock for ever.
        if !is_forked() {
            py.detach(|| drop(self.locked().take()));
        }
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        check_process()?;
        Ok(py.detach(|| self.locked().is_none()))
    }

    /// One line: the adapter, its interface, and why it was taken.
    #[getter]
    fn description(&self) -> &str {
        &self.description
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __repr__(&self) -> String {
        format!("<wgpu_activations device {}>", self.description)
    }
}

impl Device {
    fn locked(&self) -> MutexGuard<'_, Option<Owned<Open>>> {
        self.open.lock().unwrap_or_else(|poisoned| {
            // Whatever a thread had recorded when it failed is half a call.
            self.open.clear_poison();
            let mut open = poisoned.into_inner();
            if let Some(open) = &mut *open {
                open.batch = None;
            }
            open
        })
    }

    /// Works on an open device. No lock of the interpreter's is waited for meanwhile.
    fn with<T>(&self, work: impl FnOnce(&mut Open) -> PyResult<T>) -> PyResult<T> {
        match &mut *self.locked() {
            Some(open) => work(open),
            None => Err(DeviceError::new_err(
                "the device was closed; read tensors within its `with`",
            )),
        }
    }

    fn gpu(&self) -> PyResult<Gpu> {
        self.with(|open| Ok(open.gpu.clone()))
    }

    /// Records work.
    fn recorded(
        &self,
        work: impl FnOnce(&Gpu, &mut Batch) -> PyResult<Vec<Numbers>>,
    ) -> PyResult<Vec<Numbers>> {
        self.with(|open| {
            let batch = open.batch.get_or_insert_with(|| open.gpu.batch());
            let results = work(&open.gpu, batch)?;
            open.operations += 1;
            open.bytes += results.iter().map(|x| 4 * x.len()).sum::<usize>();
            if open.operations >= MOST_OPERATIONS || open.bytes >= MOST_BYTES {
                open.submit()?;
            }
            Ok(results)
        })
    }
}

/// What was sent to a device, of what can be sent.
fn sent<T>(done: Option<wgpu_activations::Result<T>>) -> PyResult<T> {
    let done = done.ok_or_else(|| PyTypeError::new_err("a tensor holds real numbers"))?;
    done.map_err(raised)
}

/// An array on a device.
#[pyclass(frozen, module = "wgpu_activations")]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: DType,
    /// Nobody else has this memory, so that other memory takes its place where results are written.
    numbers: Mutex<Owned<Numbers>>,
    device: Py<Device>,
}

impl Tensor {
    fn new(device: &Bound<'_, Device>, numbers: Numbers) -> Self {
        Self {
            shape: numbers.shape().to_vec(),
            dtype: numbers.dtype(),
            numbers: Mutex::new(numbers.into()),
            device: device.clone().unbind(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Owned<Numbers>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> Numbers {
        self.locked().clone()
    }

    /// An error where a result of this shape is none for it.
    fn check_shape(&self, shape: &[usize]) -> PyResult<()> {
        if self.shape == shape {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "out has the shape {:?}, and the result {shape:?}",
            self.shape
        )))
    }

    /// Takes numbers of its shape and type for its own.
    fn replace(&self, numbers: Numbers) {
        *self.locked() = numbers.into();
    }

    pub fn device_of<'py>(&self, py: Python<'py>) -> &Bound<'py, Device> {
        self.device.bind(py)
    }

    /// The values in a new array.
    fn values(&self, py: Python<'_>) -> PyResult<Held> {
        check_process()?;
        let device = self.device.clone_ref(py);
        let mut held = Held::zeros_as(py, &self.shape, self.dtype)?;
        let numbers = self.numbers();
        waiting(py, move || {
            device.get().with(Open::submit)?;
            held.read(&numbers).map_err(raised)?;
            Ok(held)
        })
    }
}

#[pymethods]
impl Tensor {
    /// The lengths of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    /// The type of its numbers, as NumPy has it.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        descriptor(py, self.dtype).map(Bound::into_any)
    }

    /// The device that it is on.
    #[getter]
    fn device<'py>(&self, py: Python<'py>) -> Bound<'py, Device> {
        self.device_of(py).clone()
    }

    /// Submits what is recorded, waits, and gives the values as a NumPy array; of no axes, as a number.
    fn numpy(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.values(py)?.returned(py)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            let problem = "the values of a tensor come from its device, which is a copy";
            return Err(PyValueError::new_err(problem));
        }
        let array = self.values(py)?.into_object().into_bound(py);
        match dtype {
            Some(dtype) => array.call_method1("astype", (dtype,)),
            None => Ok(array),
        }
    }

    fn __len__(&self) -> PyResult<usize> {
        let first = self.shape.first();
        let none = || PyTypeError::new_err("a tensor of no axes has no length");
        first.copied().ok_or_else(none)
    }

    fn __repr__(&self) -> String {
        format!("<wgpu_activations tensor {} {:?}>", self.dtype, self.shape)
    }
}

/// The tensor that an object is, where it is one.
pub fn tensor<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, Tensor>> {
    object.cast().ok()
}

/// An array of a call on tensors.
pub struct Input {
    array: Given,
    kind: InputKind,
    /// The input that it is, of those that may be missing.
    name: Option<&'static str>,
}

enum Given {
    Tensor(Py<Tensor>),
    /// To be sent to the device.
    Array(Held),
}

/// The arrays of a call on a device, which it checks.
pub struct Inputs<'a, 'py> {
    pub device: &'a Bound<'py, Device>,
    pub function: &'a str,
}

impl Inputs<'_, '_> {
    /// An array, or a tensor of the device.
    pub fn input(
        &self,
        object: &Bound<'_, PyAny>,
        kind: InputKind,
        (what, name): (&str, Option<&'static str>),
    ) -> PyResult<Input> {
        let function = self.function;
        let Some(tensor) = tensor(object) else {
            let array = Given::Array(Held::input(object, kind, function, what)?);
            return Ok(Input { array, kind, name });
        };
        if matches!(kind, InputKind::Mask | InputKind::Lengths) {
            return Err(PyTypeError::new_err(format!(
                "{what} of {function} is an array, which goes to the device with the call; a tensor holds real \
                 numbers"
            )));
        }
        Ok(Input {
            array: Given::Tensor(self.own(tensor, what)?),
            kind,
            name,
        })
    }

    /// A tensor, which has to be the device's.
    pub fn own(&self, tensor: &Bound<'_, Tensor>, what: &str) -> PyResult<Py<Tensor>> {
        if tensor.get().device.is(self.device) {
            return Ok(tensor.clone().unbind());
        }
        Err(PyValueError::new_err(format!(
            "{what} of {} is a tensor of another device than those before it; pass {what}.numpy()",
            self.function
        )))
    }

    /// The operation with the weights that it takes as options, and the arrays that are left.
    pub fn weighted(
        &self,
        mut operation: Arc<dyn Operation>,
        inputs: Vec<Input>,
    ) -> PyResult<(Arc<dyn Operation>, Vec<Input>)> {
        let shape = inputs[0].shape().to_vec();
        let mut rest = Vec::with_capacity(inputs.len());
        for input in inputs {
            let is_weight = |name: &&str| operation.with_weight(name, &[]).is_some();
            let Some(name) = input.name.filter(is_weight) else {
                rest.push(input);
                continue;
            };
            let Given::Array(held) = input.array else {
                return Err(PyTypeError::new_err(format!(
                    "{name} of {} is an array beside tensors, and no tensor",
                    self.function
                )));
            };
            let mut values = held.wide().unwrap_or_default();
            // An option has no axes of its own.
            if held.shape().len() > 1 && operation.class_loss().is_none() {
                values = held.spread(self.device.py(), &shape)?;
            }
            let weighted = operation.with_weight(name, &values);
            operation = weighted.map_or(operation, Arc::from);
        }
        Ok((operation, rest))
    }
}

impl Input {
    pub fn shape(&self) -> &[usize] {
        match &self.array {
            Given::Tensor(tensor) => &tensor.get().shape,
            Given::Array(held) => held.shape(),
        }
    }

    /// The array on the device; of a loss over classes of rows of this shape, what they are checked for.
    fn sent(
        &self,
        gpu: &Gpu,
        operation: Option<&dyn Operation>,
        shape: &[usize],
    ) -> PyResult<Sent> {
        let held = match &self.array {
            Given::Tensor(tensor) => return Ok(Sent::Numbers(tensor.get().numbers())),
            Given::Array(held) => held,
        };
        let loss = operation.filter(|_| self.kind == InputKind::Targets);
        if let Some(loss) = loss.and_then(Operation::class_loss) {
            let wide;
            let targets = match held.classes() {
                Some(classes) => classes,
                None => {
                    wide = held.wide().unwrap_or_default();
                    (&wide).into()
                }
            };
            let labels = gpu.labels(loss, shape, targets).map_err(raised)?;
            let long = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect();
            let (expected, got): (Vec<usize>, Vec<usize>) =
                (long(labels.shape()), long(held.shape()));
            if held.shape().len() > 1 && expected != got {
                return Err(PyValueError::new_err(format!(
                    "the targets have the shape {:?}, and {:?} is expected",
                    held.shape(),
                    labels.shape()
                )));
            }
            return Ok(Sent::Labels(labels));
        }
        match self.kind {
            InputKind::Numbers | InputKind::Targets => sent(held.upload(gpu)).map(Sent::Numbers),
            InputKind::Mask => sent(held.upload_mask(gpu)).map(Sent::Mask),
            InputKind::Lengths => sent(held.upload_lengths(gpu)).map(Sent::Lengths),
        }
    }
}

/// An array that is on the device.
enum Sent {
    Numbers(Numbers),
    Mask(Mask),
    Lengths(Lengths),
    Labels(Labels),
}

impl Sent {
    fn array(&self, name: Option<&'static str>) -> TensorArray<'_> {
        match (self, name) {
            (Self::Numbers(numbers), Some(name)) => numbers.named(name),
            (Self::Numbers(numbers), None) => numbers.into(),
            // Of each of these an operation has one input at most.
            (Self::Mask(mask), _) => mask.into(),
            (Self::Lengths(lengths), _) => lengths.into(),
            (Self::Labels(labels), _) => labels.into(),
        }
    }

    fn numbers(&self) -> PyResult<&Numbers> {
        match self {
            Self::Numbers(numbers) => Ok(numbers),
            _ => Err(PyTypeError::new_err("a tensor holds real numbers")),
        }
    }
}

/// What a call on tensors computes.
pub enum Wanted {
    /// The value, in a tensor that is there.
    Into(Py<Tensor>),
    Value,
    /// The gradient by the first input.
    First,
    /// The gradients by all inputs that have one.
    All,
    FromOutput,
    Both,
}

/// A call on tensors.
pub struct Work {
    pub function: &'static str,
    pub operation: Arc<dyn Operation>,
    pub wanted: Wanted,
    pub inputs: Vec<Input>,
    pub dy: Option<Input>,
}

/// The error of a gradient that lacks its upstream gradient.
pub fn lacks_dy(function: &str, shape: &[usize]) -> PyErr {
    PyTypeError::new_err(format!(
        "the result of {function} has the shape {shape:?}; its gradient takes dy, the gradient of what is made of \
         it, of that shape"
    ))
}

/// The error of a gradient from the output that is not given both.
pub fn lacks_output() -> PyErr {
    PyTypeError::new_err("the gradient from the output takes the output and dy")
}

impl Work {
    /// Records the call, and gives what comes out.
    pub fn recorded(self, device: &Bound<'_, Device>) -> PyResult<Vec<Py<PyAny>>> {
        check_process()?;
        let py = device.py();
        let out = match &self.wanted {
            Wanted::Into(out) => Some(out.clone_ref(py)),
            _ => None,
        };
        let own = device.get();
        let results = here(py, move || {
            let gpu = own.gpu()?;
            let shape = self.inputs.first().map_or(&[][..], Input::shape);
            let operation = &*self.operation;
            let sent = self.inputs.iter();
            let sent = sent.map(|input| input.sent(&gpu, Some(operation), shape));
            let sent = sent.collect::<PyResult<Vec<_>>>()?;
            let dy = self.dy.as_ref().map(|dy| dy.sent(&gpu, None, &[]));
            let dy = dy.transpose()?;
            own.recorded(|gpu, batch| self.record(gpu, batch, &sent, dy.as_ref()))
        })?;
        match out {
            Some(out) => Ok(vec![out.into_any()]),
            None => tensors(device, results),
        }
    }

    fn record(
        &self,
        gpu: &Gpu,
        batch: &mut Batch,
        sent: &[Sent],
        dy: Option<&Sent>,
    ) -> PyResult<Vec<Numbers>> {
        let operation = &*self.operation;
        let arrays = sent.iter().zip(&self.inputs);
        let arrays: Vec<TensorArray<'_>> =
            arrays.map(|(sent, input)| sent.array(input.name)).collect();
        let arrays = &arrays[..];
        let one = |result: wgpu_activations::Result<Numbers>| Ok(vec![result.map_err(raised)?]);
        let lacking = |value: &Numbers| match value.len() {
            1 => Ok(()),
            _ => Err(lacks_dy(self.function, value.shape())),
        };
        let dy = dy.map(Sent::numbers).transpose()?;
        match (&self.wanted, dy) {
            (Wanted::Value, _) => one(batch.apply(operation, arrays)),
            (Wanted::Into(out), _) => {
                let out = out.get();
                let y = gpu.empty_as(&out.shape, out.dtype).map_err(raised)?;
                batch.apply_into(operation, arrays, &y).map_err(raised)?;
                out.replace(y.clone());
                Ok(vec![y])
            }
            (Wanted::Both, _) => {
                let (value, gradient) = batch.apply_with_grad(operation, arrays).map_err(raised)?;
                Ok(vec![value, gradient])
            }
            (Wanted::First, Some(dy)) => one(batch.grad(operation, arrays, dy)),
            (Wanted::First, None) => {
                let (value, gradient) = batch.apply_with_grad(operation, arrays).map_err(raised)?;
                lacking(&value)?;
                Ok(vec![gradient])
            }
            (Wanted::All, Some(dy)) => batch.grads(operation, arrays, dy).map_err(raised),
            (Wanted::All, None) => {
                let value = batch.apply(operation, arrays).map_err(raised)?;
                lacking(&value)?;
                let ones = gpu.upload(&[1.0f32], value.shape()).map_err(raised)?;
                batch.grads(operation, arrays, &ones).map_err(raised)
            }
            (Wanted::FromOutput, Some(dy)) => one(batch.grad_from_output(operation, arrays, dy)),
            (Wanted::FromOutput, None) => Err(lacks_output()),
        }
    }
}

fn tensors(device: &Bound<'_, Device>, results: Vec<Numbers>) -> PyResult<Vec<Py<PyAny>>> {
    let results = results.into_iter().map(|numbers| {
        let tensor = Bound::new(device.py(), Tensor::new(device, numbers))?;
        Ok(tensor.into_any().unbind())
    });
    results.collect()
}

/// Records a chain of the first input with the others as its operands; with dy its gradients.
pub fn chain(
    device: &Bound<'_, Device>,
    chain: &Chain,
    inputs: Vec<Input>,
    dy: Option<Input>,
    out: Option<&Py<Tensor>>,
) -> PyResult<Vec<Py<PyAny>>> {
    check_process()?;
    let (own, place) = (device.get(), out.map(Py::get));
    let results = here(device.py(), move || {
        let gpu = own.gpu()?;
        let sent = |input: &Input| match input.sent(&gpu, None, &[])? {
            Sent::Numbers(numbers) => Ok(numbers),
            _ => Err(PyTypeError::new_err("a chain takes real numbers")),
        };
        let all = inputs.iter().map(sent).collect::<PyResult<Vec<_>>>()?;
        let dy = dy.as_ref().map(sent).transpose()?;
        own.recorded(|_, batch| {
            let (x, operands) = (&all[0], all[1..].iter().collect::<Vec<_>>());
            match (&dy, place) {
                (None, None) => batch.chain(chain, x, &operands).map(|y| vec![y]),
                (None, Some(out)) => {
                    out.check_shape(x.shape())?;
                    // Of two types of 16 bits the result is rounded to the second alone.
                    let same = out.dtype == x.dtype();
                    let wide = if same { out.dtype } else { DType::F32 };
                    let y = batch.cast(x, wide);
                    let y = y.and_then(|x| batch.chain(chain, &x, &operands));
                    let y = y.and_then(|y| batch.cast(&y, out.dtype));
                    y.map(|y| {
                        out.replace(y.clone());
                        vec![y]
                    })
                }
                (Some(dy), _) => {
                    let gradients = batch.grad_chain(chain, x, &operands, dy);
                    gradients.map(|(dx, by)| [dx].into_iter().chain(by).collect())
                }
            }
            .map_err(raised)
        })
    })?;
    match out {
        Some(out) => Ok(vec![out.clone_ref(device.py()).into_any()]),
        None => tensors(device, results),
    }
}
