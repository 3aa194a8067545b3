//! Several steps that are computed as one.

use crate::arrays::Held;
use crate::backend;
use crate::device::{self, Inputs};
use crate::error::raised;
use crate::run::compute;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;
use wgpu_activations::InputKind;

/// Steps one after the other, which read each array once and write once: "scale(0.5) | bias(1) | gelu".
#[pyclass(frozen, subclass, module = "wgpu_activations")]
pub struct Chain(Arc<wgpu_activations::Chain>);

struct Work {
    chain: Arc<wgpu_activations::Chain>,
    x: Held,
    operands: Vec<Held>,
    dy: Option<Held>,
    outputs: Vec<Held>,
}

/// An array of f32; numbers of 16 bits are for the caller to widen.
fn input(array: &Bound<'_, PyAny>, name: &str) -> PyResult<Held> {
    let held = Held::input(array, InputKind::Numbers, "a chain", name)?;
    if held.is_f32() {
        return Ok(held);
    }
    Err(PyTypeError::new_err(format!("{name} is not float32")))
}

#[pymethods]
impl Chain {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        text.parse()
            .map(|chain| Self(Arc::new(chain)))
            .map_err(raised)
    }

    /// The chain as text, from which it can be made again.
    #[getter]
    fn text(&self) -> String {
        self.0.to_string()
    }

    /// What the steps are called that take an operand, in order.
    #[getter]
    fn operands<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let names = self
            .0
            .steps()
            .iter()
            .filter_map(wgpu_activations::Step::operand);
        PyTuple::new(py, names.collect::<Vec<_>>())
    }

    /// The value of an array of f32.
    fn value(&self, x: &Bound<'_, PyAny>, operands: Vec<Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let py = x.py();
        let mut work = self.work(x, &operands, None)?;
        work.outputs.push(Held::f32_zeros(py, work.x.shape())?);
        let elements = work.x.f32().len();
        let backend = backend::of_call(py)?;
        let work = compute(py, backend, work, elements, |backend, work| {
            let operands: Vec<(&[f32], &[usize])> =
                work.operands.iter().map(|o| (o.f32(), o.shape())).collect();
            let y = backend.apply_chain(&work.chain, work.x.f32(), work.x.shape(), &operands)?;
            work.outputs[0].f32_mut().copy_from_slice(&y);
            Ok(())
        })?;
        first(work.outputs, py)
    }

    /// Records the chain on tensors, which some of the arrays are, into `out` or a new one; with dy its gradients,
    /// by the first array and by each operand.
    #[pyo3(signature = (arrays, dy=None, out=None))]
    fn record(
        &self,
        arrays: Vec<Bound<'_, PyAny>>,
        dy: Option<Bound<'_, PyAny>>,
        out: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let all = || arrays.iter().chain(&dy).chain(&out);
        let Some(tensor) = all().find_map(device::tensor) else {
            return Err(PyTypeError::new_err("there is no tensor"));
        };
        let device = tensor.get().device_of(tensor.py());
        let function = "a chain";
        let own = Inputs { device, function };
        let input = |array, what| own.input(array, InputKind::Numbers, (what, None));
        let mut inputs = Vec::with_capacity(arrays.len());
        for (i, array) in arrays.iter().enumerate() {
            inputs.push(input(
                array,
                if i == 0 { "the array" } else { "an operand" },
            )?);
        }
        let dy = dy.as_ref().map(|dy| input(dy, "dy")).transpose()?;
        let out = match &out {
            None => None,
            Some(out) => match device::tensor(out) {
                Some(out) => Some(own.own(out, "out")?),
                None => return Err(PyTypeError::new_err("out is no tensor, as the arrays are")),
            },
        };
        device::chain(device, &self.0, inputs, dy, out.as_ref())
    }

    /// The gradients by the array, and by each operand.
    fn gradients(
        &self,
        x: &Bound<'_, PyAny>,
        operands: Vec<Bound<'_, PyAny>>,
        dy: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let py = x.py();
        let mut work = self.work(x, &operands, Some(input(dy, "dy")?))?;
        let outputs = [&work.x].into_iter().chain(&work.operands);
        let outputs = outputs.map(|array| Held::f32_zeros(py, array.shape()));
        work.outputs = outputs.collect::<PyResult<_>>()?;
        let elements = work.x.f32().len();
        let backend = backend::of_call(py)?;
        let work = compute(py, backend, work, elements, |backend, work| {
            let operands: Vec<(&[f32], &[usize])> =
                work.operands.iter().map(|o| (o.f32(), o.shape())).collect();
            let dy = work.dy.as_ref().map_or(&[][..], Held::f32);
            let (dx, by) =
                backend.grad_chain(&work.chain, work.x.f32(), work.x.shape(), &operands, dy)?;
            for (output, gradient) in work.outputs.iter_mut().zip([dx].into_iter().chain(by)) {
                output.f32_mut().copy_from_slice(&gradient);
            }
            Ok(())
        })?;
        work.outputs
            .into_iter()
            .map(|output| output.returned(py))
            .collect()
    }
}

impl Chain {
    fn work(
        &self,
        x: &Bound<'_, PyAny>,
        operands: &[Bound<'_, PyAny>],
        dy: Option<Held>,
    ) -> PyResult<Work> {
        let operands = operands.iter().map(|operand| input(operand, "an operand"));
        Ok(Work {
            chain: self.0.clone(),
            x: input(x, "the array")?,
            operands: operands.collect::<PyResult<_>>()?,
            dy,
            outputs: Vec::new(),
        })
    }
}

fn first(outputs: Vec<Held>, py: Python<'_>) -> PyResult<Py<PyAny>> {
    match outputs.into_iter().next() {
        Some(output) => output.returned(py),
        None => Ok(py.None()),
    }
}
