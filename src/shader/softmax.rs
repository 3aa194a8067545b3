//! The modules of the kernels over rows, and of the softmax family among them.

use super::{MATH, Pass};
use crate::axis::AxisFunction;

pub(super) const ROWS: &str = include_str!("../../shaders/rows.wgsl");
pub(super) const SUMS: &str = include_str!("../../shaders/sums.wgsl");
const PLAIN: &str = include_str!("../../shaders/plain.wgsl");
const SHAPED: &str = include_str!("../../shaders/shaped.wgsl");
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

/// The entry points of a softmax module.
#[cfg(test)]
pub(crate) const SOFTMAX_ENTRY_POINTS: [&str; 6] = [
    ROW_ENTRY_POINTS[0],
    ROW_ENTRY_POINTS[1],
    ROW_ENTRY_POINTS[2],
    ROW_ENTRY_POINTS[3],
    ROW_ENTRY_POINTS[4],
    HELD,
];

/// The entry point of a softmax module beside those over rows.
pub(crate) const HELD: &str = "row_held";
/// The longest row that it takes.
pub(crate) const HELD_LENGTH: usize = 16;

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

/// What an element's value is made of; the arrays that a module reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shaped {
    pub mask: bool,
    pub bias: bool,
    pub lengths: bool,
    pub value: Value,
}

/// An element's value before the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    /// x.
    Plain,
    /// scale · x.
    Scaled,
    /// cap · tanh(scale · x / cap).
    Capped,
}

/// The module of one function of the softmax family and one pass over shaped elements.
pub(crate) fn shaped_softmax(function: AxisFunction, pass: Pass, shaped: Shaped) -> String {
    let Shaped {
        mask,
        bias,
        lengths,
        value,
    } = shaped;
    // A module refers to no binding that it has not.
    let (load_mask, load_mask_word) = if mask {
        (
            "((mask[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu) != 0u",
            "mask[i]",
        )
    } else {
        ("true", "0u")
    };
    let load_bias = if bias { "bias[i]" } else { "0.0" };
    let load_length = if lengths {
        "lengths[i]"
    } else {
        "shaping.keys"
    };
    let (value_of, slope) = match value {
        Value::Plain => ("vec2<f32>(x, 0.0)", "1.0"),
        Value::Scaled => ("scaled(x)", "shaping.scale"),
        Value::Capped if pass.is_backward() => ("capped(x)", "capped_slope(load_x(i))"),
        Value::Capped => ("capped(x)", "1.0"),
    };
    let kind = softmax_kind(function, pass);
    rows(&format!(
        "const MASK: bool = {mask};\nconst BIAS: bool = {bias};\n\
         fn load_mask(i: u32) -> bool {{\n    return {load_mask};\n}}\n\
         fn load_mask_word(i: u32) -> u32 {{\n    return {load_mask_word};\n}}\n\
         fn load_bias(i: u32) -> f32 {{\n    return {load_bias};\n}}\n\
         fn load_length(i: u32) -> u32 {{\n    return {load_length};\n}}\n\
         fn value_of(x: f32) -> vec2<f32> {{\n    return {value_of};\n}}\n\
         fn slope_at(i: u32) -> f32 {{\n    return {slope};\n}}\n{SUMS}\n{SHAPED}\n{kind}"
    ))
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
