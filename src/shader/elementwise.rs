//! The element-wise module of one activation.

use super::memory::{self, Array, Width};
use super::{ACTIVATIONS, MATH, derivative_name, function_name, spelled, uniform_arguments};
use crate::catalogue::Activation;
use crate::element::DType;
use std::fmt::Write;

const ELEMENTWISE: &str = include_str!("../../shaders/elementwise.wgsl");

/// How an invocation walks arrays: in so many units of a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "cache", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Access {
    pub width: Width,
    pub units: u32,
}

impl Access {
    /// One unit an invocation.
    pub(crate) const fn single(width: Width) -> Self {
        Self { width, units: 1 }
    }
}

/// The element-wise module of one activation, over x, dy and out of these types: entry points
/// `forward`, `forward_in_place`, `backward`, `backward_in_place`.
pub(crate) fn elementwise(activation: Activation, access: Access, dtypes: [DType; 3]) -> String {
    let width = access.width;
    let arguments = uniform_arguments(activation);
    let forward = function_name(activation);
    let backward = derivative_name(activation);
    let arrays = [("x", 0, false), ("dy", 1, false), ("out", 2, true)];
    let arrays: Vec<Array<'_>> = arrays
        .into_iter()
        .zip(dtypes)
        .map(|((name, binding, written), dtype)| Array {
            name,
            binding,
            dtype,
            written,
        })
        .collect();
    let memory = memory::declare(&arrays, width);
    let all = width.each("activate_one(x@)");
    let all_grad = width.each("activate_grad_one(x@, dy@)");
    let entry_points = entry_points(
        &[
            "forward",
            "forward_in_place",
            "backward",
            "backward_in_place",
        ],
        access.units,
    );
    spelled(&format!(
        "{MATH}\n{ACTIVATIONS}\n{memory}\
         fn activate_one(x: f32) -> f32 {{\n    return select({forward}(x{arguments}), x, is_nan(x));\n}}\n\
         fn activate_grad_one(x: f32, dy: f32) -> f32 {{\n    \
             let d = select({backward}(x{arguments}), x, is_nan(x));\n    \
             let y = dy * d;\n    \
             // Only 0 * infinity makes a NaN of what was none; the zero wins.\n    \
             return select(y, 0.0, is_nan(y) & !is_nan(x) & !is_nan(dy));\n}}\n\
         fn activate(x: Elements) -> Elements {{\n    return {all};\n}}\n\
         fn activate_grad(x: Elements, dy: Elements) -> Elements {{\n    return {all_grad};\n}}\n\
         {ELEMENTWISE}{entry_points}"
    ))
}

/// Entry points, each of which calls the function of its name with `_unit` behind it for each unit
/// of an invocation; a module has `uniforms.zero` for math.wgsl. Workgroups are folded into two
/// dimensions, of which one ends at 65,535.
pub(super) fn entry_points(names: &[&str], units: u32) -> String {
    let mut text = String::new();
    for name in names {
        let _ = write!(
            text,
            "\n@compute @workgroup_size(workgroup_size)\n\
             fn {name}(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
             opaque_zero = uniforms.zero;\n    \
             let row = groups.x * workgroup_size;\n    \
             let i = id.y * row + id.x;\n    {name}_unit(i);\n"
        );
        for unit in 1..units {
            let _ = writeln!(text, "    {name}_unit(i + {unit}u * (groups.y * row));");
        }
        text.push_str("}\n");
    }
    text
}
