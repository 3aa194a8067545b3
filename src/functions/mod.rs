//! The families of functions as operations: a file each, or a folder with all that a family has.

mod element_loss;
mod elementwise;
mod gate;
mod kin;
mod loss;
mod prelu;
mod random;
mod registry;
mod softmax;
mod ways;

use crate::families::families;

macro_rules! declare {
    ($($folder:ident { $($type:ident: $name:literal,)* } $what:literal;)*) => {
        $(mod $folder;)*

        /// The types of the families in folders.
        pub mod families {
            $(pub use super::$folder::{$($type),*};)*
        }

        fn entries_of_families() -> Vec<registry::Entry> {
            let mut all = Vec::new();
            $(all.extend($folder::entry::entries());)*
            all
        }

        /// How devices compute losses of elements.
        #[cfg(test)]
        pub(crate) fn element_shaders() -> Vec<&'static crate::element_shader::ElementShader> {
            vec![$($(<families::$type as element_loss::ElementLoss>::SHADER),*),*]
        }
    };
}
families!(declare);

pub(crate) use element_loss::ElementLoss;
pub use kin::Maxout;
pub use registry::{
    InputInfo, OperationInfo, OptionInfo, OptionKind, operation_for, operation_named, operations,
};
pub(crate) use registry::{check_of, checked_operations, operation_name};
pub use softmax::{Along, Softmax};
pub use ways::Way;
