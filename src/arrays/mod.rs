//! Arrays whose type is a value: what callers hand over, and what executors pass on.

mod buffers;
mod data;
mod device;
mod inputs;
mod outputs;

pub use buffers::{BufferArray, Buffers};
pub(crate) use data::each_number;
pub use data::{Data, DataMut, Owned};
pub(crate) use device::{CheckedFor, Contents};
pub use device::{OnDevice, TypedSlice};
pub use inputs::{Array, Arrays, FromResult, Inputs, OfShape, Shaped, Value};
#[cfg(feature = "ndarray")]
pub(crate) use outputs::Strided;
pub use outputs::{ArrayMut, Output, Place};
