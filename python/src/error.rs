//! The library's errors as Python's.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::{PyErr, create_exception};
use wgpu_activations::Error;

create_exception!(
    wgpu_activations,
    DeviceError,
    PyRuntimeError,
    "A GPU, or the process' part of one, cannot compute: there is none, it was lost, or memory ran out."
);

/// The library's sentence in the class that Python has for it.
pub fn raised(error: Error) -> PyErr {
    let sentence = error.to_string();
    match error {
        Error::NoAdapter { .. }
        | Error::UnknownAdapter { .. }
        | Error::DeviceRequest { .. }
        | Error::DeviceLimit { .. }
        | Error::TooManyBuffers { .. }
        | Error::TooManyAxes { .. }
        | Error::AxisStepTooLarge { .. }
        | Error::OutOfMemory { .. }
        | Error::DeviceLost { .. }
        | Error::Device { .. }
        | Error::Untrusted { .. }
        | Error::Cache { .. } => DeviceError::new_err(sentence),
        Error::Inputs { .. } | Error::TargetsAreIndices { .. } => PyTypeError::new_err(sentence),
        _ => PyValueError::new_err(sentence),
    }
}
