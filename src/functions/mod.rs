//! The families of functions as operations, one file each.

mod elementwise;
mod gate;
mod kin;
mod loss;
mod prelu;
mod random;
mod registry;
mod softmax;
mod ways;

pub use kin::Maxout;
pub(crate) use registry::operation_name;
pub use registry::{
    InputInfo, OperationInfo, OptionInfo, OptionKind, operation_for, operation_named, operations,
};
pub use softmax::{Along, Softmax};
pub use ways::Way;
