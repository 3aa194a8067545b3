//! The module of `statistics.wgsl` for one activation.

use super::{ACTIVATIONS, MATH, derivative_name, function_name, uniform_arguments};
use crate::catalogue::Activation;

const STATISTICS: &str = include_str!("../../shaders/statistics.wgsl");

/// The module with entry points `clear`, `summarise` and `spread`.
pub(crate) fn statistics(activation: Activation) -> String {
    let arguments = uniform_arguments(activation);
    let forward = function_name(activation);
    let backward = derivative_name(activation);
    format!(
        "{MATH}\n{ACTIVATIONS}\n\
         fn activate_one(x: f32) -> f32 {{\n    return select({forward}(x{arguments}), x, is_nan(x));\n}}\n\
         fn slope_one(x: f32) -> f32 {{\n    return {backward}(x{arguments});\n}}\n{STATISTICS}"
    )
}
