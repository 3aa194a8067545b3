//! The compiled part of the Python package `wgpu_activations`: operations of the library's registry as
//! callables, and what they take and give as NumPy arrays. What a user sees is made of it in Python.

mod arrays;
mod backend;
mod chain;
mod device;
mod error;
mod function;
mod inspect;
mod parts;
mod run;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("DeviceError", module.py().get_type::<error::DeviceError>())?;
    module.add_class::<backend::Backend>()?;
    module.add_class::<chain::Chain>()?;
    module.add_class::<device::Device>()?;
    module.add_class::<device::Tensor>()?;
    module.add_class::<function::Function>()?;
    module.add_class::<parts::Rows>()?;
    module.add_function(wrap_pyfunction!(arrays::set_bfloat16, module)?)?;
    module.add_function(wrap_pyfunction!(backend::current, module)?)?;
    module.add_function(wrap_pyfunction!(backend::set_default, module)?)?;
    module.add_function(wrap_pyfunction!(backend::enter, module)?)?;
    module.add_function(wrap_pyfunction!(backend::leave, module)?)?;
    module.add_function(wrap_pyfunction!(backend::forked, module)?)?;
    module.add_function(wrap_pyfunction!(function::operations, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(run::fault, module)?)?;
    Ok(())
}
