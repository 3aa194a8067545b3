//! Arrays in host memory whose type is a value: what callers hand over, and what executors pass on.

mod data;
mod inputs;
mod outputs;

pub(crate) use data::each_number;
pub use data::{Data, DataMut, Owned};
pub use inputs::{Array, Arrays, FromResult, Inputs, OfShape, Shaped, Value};
#[cfg(feature = "ndarray")]
pub(crate) use outputs::Strided;
pub use outputs::{ArrayMut, Output, Place};
