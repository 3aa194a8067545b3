//! Statistics of activations.

use crate::arrays::Held;
use crate::backend;
use crate::error::raised;
use crate::run::compute;
use numpy::PyArray1;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use wgpu_activations::{Activation, InputKind, Inspect, Statistics};

/// Statistics of f(x) of an array of f32, by name.
#[pyfunction]
pub fn inspect<'py>(
    x: &Bound<'py, PyAny>,
    function: &str,
    parameters: Vec<(String, f32)>,
    unit_axis: isize,
    saturation: f32,
    bins: u32,
) -> PyResult<Bound<'py, PyDict>> {
    let py = x.py();
    let activation: Activation = function.parse().map_err(raised)?;
    let parameters = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), *value));
    let f = activation.with(parameters).map_err(raised)?;
    let what = Inspect::of(f)
        .unit_axis(unit_axis)
        .saturation(saturation)
        .bins(bins);
    let x = Held::input(x, InputKind::Numbers, "inspect", "x")?;
    if !x.is_f32() {
        return Err(PyTypeError::new_err("x is not float32"));
    }
    let (backend, elements) = (backend::of_call(py)?, x.f32().len());
    let work = (x, None::<Statistics>);
    let (_, found) = compute(py, backend, work, elements, move |backend, (x, found)| {
        *found = Some(backend.inspect(&what, x.f32(), x.shape())?);
        Ok(())
    })?;
    let told = PyDict::new(py);
    let Some(found) = found else {
        return Ok(told);
    };
    told.set_item("elements", found.elements)?;
    told.set_item("nan", found.nan)?;
    told.set_item("positive_infinities", found.positive_infinities)?;
    told.set_item("negative_infinities", found.negative_infinities)?;
    told.set_item("zeros", found.zeros)?;
    told.set_item("min", found.min)?;
    told.set_item("max", found.max)?;
    told.set_item("mean", found.mean)?;
    told.set_item("variance", found.variance)?;
    told.set_item("saturated", found.saturated)?;
    told.set_item("saturated_fraction", found.saturated_fraction())?;
    told.set_item("mean_slope", found.mean_slope)?;
    told.set_item("units", found.units)?;
    told.set_item("dead_units", found.dead_units)?;
    told.set_item("dead_fraction", found.dead_fraction())?;
    told.set_item(
        "histogram_edges",
        PyArray1::from_slice(py, &found.histogram.edges),
    )?;
    told.set_item(
        "histogram_counts",
        PyArray1::from_slice(py, &found.histogram.counts),
    )?;
    Ok(told)
}
