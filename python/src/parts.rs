//! Rows of which there are several parts.

use crate::arrays::Held;
use crate::error::raised;
use crate::run::compute;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::Arc;
use wgpu_activations::{AxisFunction, Backend, InputKind, RowPart};

/// What a part of some rows says of them, of arrays of f32; `wgpu_activations.RowPart` is made of it.
#[pyclass(frozen, module = "wgpu_activations._native")]
pub struct Rows(RowPart);

fn input(array: &Bound<'_, PyAny>, name: &str) -> PyResult<Held> {
    let held = Held::input(array, InputKind::Numbers, "a part of rows", name)?;
    if held.is_f32() {
        return Ok(held);
    }
    Err(PyTypeError::new_err(format!("{name} is not float32")))
}

struct Work {
    x: Held,
    dy: Option<Held>,
    rows: Option<RowPart>,
    result: Option<Held>,
}

#[pymethods]
impl Rows {
    #[staticmethod]
    #[pyo3(signature = (x, axis, dy=None))]
    fn of(x: &Bound<'_, PyAny>, axis: isize, dy: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let py = x.py();
        let work = Work {
            x: input(x, "x")?,
            dy: dy.map(|dy| input(dy, "dy")).transpose()?,
            rows: None,
            result: None,
        };
        let elements = work.x.f32().len();
        let done = compute(
            py,
            Arc::new(Backend::cpu()),
            work,
            elements,
            move |_, work| {
                let (x, shape) = (work.x.f32(), work.x.shape());
                work.rows = Some(match &work.dy {
                    Some(dy) => RowPart::of_gradient(x, dy.f32(), shape, axis)?,
                    None => RowPart::of(x, shape, axis)?,
                });
                Ok(())
            },
        )?;
        let none = || RowPart::nothing(0);
        Ok(Self(done.rows.unwrap_or_else(none)))
    }

    /// What both say of the same rows.
    fn merged(&self, other: &Self) -> PyResult<Self> {
        let mut rows = self.0.clone();
        rows.merge(&other.0).map_err(raised)?;
        Ok(Self(rows))
    }

    /// The value of elements of the rows, or with `dy` the gradient.
    #[pyo3(signature = (function, x, axis, dy=None))]
    fn finished(
        &self,
        function: &str,
        x: &Bound<'_, PyAny>,
        axis: isize,
        dy: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = x.py();
        let function: AxisFunction = function.parse().map_err(raised)?;
        let x = input(x, "x")?;
        let work = Work {
            dy: dy.map(|dy| input(dy, "dy")).transpose()?,
            rows: Some(self.0.clone()),
            result: Some(Held::f32_zeros(py, x.shape())?),
            x,
        };
        let elements = work.x.f32().len();
        let done = compute(
            py,
            Arc::new(Backend::cpu()),
            work,
            elements,
            move |_, work| {
                let (Some(rows), Some(result)) = (&work.rows, &mut work.result) else {
                    return Ok(());
                };
                let (x, shape) = (work.x.f32(), work.x.shape());
                match &work.dy {
                    Some(dy) => {
                        rows.grad_into(function, x, dy.f32(), shape, axis, result.f32_mut())
                    }
                    None => rows.apply_into(function, x, shape, axis, result.f32_mut()),
                }
            },
        )?;
        match done.result {
            Some(result) => result.returned(py),
            None => Ok(py.None()),
        }
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        RowPart::from_bytes(bytes).map(Self).map_err(raised)
    }

    /// logsumexp of each row, in f32.
    fn logsumexp<'py>(&self, py: Python<'py>) -> Bound<'py, numpy::PyArray1<f32>> {
        numpy::PyArray1::from_vec(py, self.0.logsumexp())
    }
}
