//! Neural-network activation functions and the softmax family on any GPU that wgpu reaches.

mod axis;
mod catalogue;
mod cpu;
mod error;
pub mod reference;
pub mod shader;

pub use axis::{AxisFunction, AxisShape};
pub use catalogue::{Activation, Bounds, Elementwise, Info, Parameter, Range};
pub use cpu::Cpu;
pub use error::{Error, Result};
