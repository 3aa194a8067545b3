//! The families of functions as operations, one file each.

mod elementwise;
mod gate;
mod kin;
mod loss;
mod prelu;
mod random;
mod registry;
mod softmax;

pub use kin::Maxout;
pub use registry::operations;
pub use softmax::{Along, Softmax};
