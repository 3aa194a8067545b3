//! Neural-network activation functions and the softmax family on any GPU that wgpu reaches.

mod axis;
mod backend;
mod catalogue;
mod cpu;
mod error;
mod gpu;
mod kernels;
mod plan;
pub mod check;
pub mod reference;
pub mod shader;

pub use axis::{AxisFunction, AxisShape};
pub use backend::{Backend, BackendKind};
pub use catalogue::{Activation, Bounds, Elementwise, Info, Parameter, Range};
pub use cpu::Cpu;
pub use error::{Error, Result};
pub use gpu::{AdapterChoice, AdapterReport, Batch, Gpu, Tensor, adapters, adapters_async};
pub use kernels::Kernels;
pub use wgpu;
