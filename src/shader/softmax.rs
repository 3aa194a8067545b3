//! The modules of the kernels over rows, and of the softmax family among them.

use super::{MATH, Pass};
use crate::axis::AxisFunction;

pub(super) const ROWS: &str = include_str!("../../shaders/rows.wgsl");
pub(super) const SUMS: &str = include_str!("../../shaders/sums.wgsl");
const PLAIN: &str = include_str!("../../shaders/plain.wgsl");
const SOFTMAX: &str = include_str!("../../shaders/softmax.wgsl");

/// The entry points of a module over rows.
#[cfg(test)]
pub(crate) const ROW_ENTRY_POINTS: [&str; 5] = [
    "row_per_invocation",
    "row_per_workgroup",
    "split_partial",
    "split_combine",
    "split_finish",
];

/// A module over rows; `kind` supplies what rows.wgsl asks for.
pub(crate) fn rows(kind: &str) -> String {
    format!("{MATH}\n{ROWS}\n{kind}")
}

/// Rows of elements as they are; `kind` supplies what they are reduced to and what comes out.
pub(crate) fn plain_rows(kind: &str) -> String {
    rows(&format!("{SUMS}\n{PLAIN}\n{kind}"))
}

/// The module of one function of the softmax family and one pass.
/// Softmin is softmax with a sign in the uniforms.
pub(crate) fn softmax(function: AxisFunction, pass: Pass) -> String {
    plain_rows(&softmax_kind(function, pass))
}

pub(super) fn softmax_kind(function: AxisFunction, pass: Pass) -> String {
    let kind = match function {
        AxisFunction::Softmax | AxisFunction::Softmin => "SOFTMAX",
        AxisFunction::LogSoftmax => "LOG_SOFTMAX",
        AxisFunction::LogSumExp => "LOGSUMEXP",
    };
    let backward = pass.is_backward();
    let from_output = pass == Pass::FromOutput;
    let x = if pass.binds_x() { "x" } else { "out" };
    // A pass refers to no binding that it has not.
    let dy = match pass {
        Pass::Forward | Pass::ForwardInPlace => "0.0",
        Pass::Backward | Pass::FromOutput => "dy[i]",
        Pass::BackwardInPlace => "out[i]",
    };
    let term = if function.reduces() { "0.0" } else { dy };
    let store = if function.reduces() && !backward {
        "\n    out[uniforms.out_first + row] = logsumexp_of(r);"
    } else {
        ""
    };
    format!(
        "const KIND: u32 = {kind};\nconst BACKWARD: bool = {backward};\n\
         const FROM_OUTPUT: bool = {from_output};\n\
         fn load_x(i: u32) -> f32 {{\n    return {x}[i];\n}}\n\
         fn load_dy(i: u32) -> f32 {{\n    return {dy};\n}}\n\
         fn load_term(i: u32) -> f32 {{\n    return {term};\n}}\n\
         fn store_row(row: u32, r: Row) {{{store}\n}}\n{SOFTMAX}"
    )
}
