//! The modules of the kernels over rows, and of the softmax family among them.

use super::prune::pruned;
use super::{MATH, Pass, spelled};
use crate::axis::AxisFunction;
use std::fmt::Write;

pub(super) const ROWS: &str = include_str!("../../shaders/rows.wgsl");
pub(super) const SUMS: &str = include_str!("../../shaders/sums.wgsl");
const PLAIN: &str = include_str!("../../shaders/plain.wgsl");
pub(super) const FACTOR: &str = include_str!("../../shaders/factor.wgsl");
const SHAPED: &str = include_str!("../../shaders/shaped.wgsl");
const SOFTMAX: &str = include_str!("../../shaders/softmax.wgsl");
const EIGHTS: &str = include_str!("../../shaders/eights.wgsl");

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
pub(crate) const SOFTMAX_ENTRY_POINTS: [&str; 7] = [
    ROW_ENTRY_POINTS[0],
    ROW_ENTRY_POINTS[1],
    ROW_ENTRY_POINTS[2],
    ROW_ENTRY_POINTS[3],
    ROW_ENTRY_POINTS[4],
    HELD,
    IN_EIGHTS,
];

/// The entry point of a softmax module in which an invocation holds a row.
pub(crate) const HELD: &str = "row_held";
/// The longest row that it takes.
pub(crate) const HELD_LENGTH: usize = 16;
/// The entry point of a module of plain elements in which an invocation holds eight elements of
/// rows of two, four or eight.
pub(crate) const IN_EIGHTS: &str = "rows_in_eights";

/// How many elements that lie side by side in a row are read and written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    One,
    Two,
    Four,
}

impl Unit {
    /// All of them, the widest first.
    pub(crate) const ALL: [Self; 3] = [Self::Four, Self::Two, Self::One];

    pub(crate) fn elements(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// The type of a unit.
    fn name(self) -> &'static str {
        match self {
            Self::One => "f32",
            Self::Two => "vec2<f32>",
            Self::Four => "vec4<f32>",
        }
    }

    /// A function that reads eight elements of an array, or is zeros where there is none.
    pub(super) fn load(self, function: &str, array: Option<&str>) -> String {
        let mut text =
            format!("fn {function}(at: u32, stride: u32, count: u32) -> array<f32, 8> {{\n");
        let mut elements = Vec::new();
        for part in 0..8 / self.elements() {
            if let Some(array) = array {
                let index = match part {
                    0 => "at".to_owned(),
                    part => format!("at + min({part}u, count - 1u) * stride"),
                };
                let _ = writeln!(text, "    let u{part} = {array}[{index}];");
            }
            elements.extend(
                "xyzw"
                    .chars()
                    .take(self.elements() as usize)
                    .map(|c| match self {
                        _ if array.is_none() => "0.0".to_owned(),
                        Self::One => format!("u{part}"),
                        _ => format!("u{part}.{c}"),
                    }),
            );
        }
        let _ = writeln!(
            text,
            "    return array<f32, 8>({});\n}}",
            elements.join(", ")
        );
        text
    }

    /// A function that writes the first units of eight elements to `out`.
    pub(super) fn store(self) -> String {
        let mut text =
            "fn store_out(at: u32, stride: u32, count: u32, y: array<f32, 8>) {\n".to_owned();
        let (width, unit) = (self.elements(), self.name());
        for part in 0..8 / width {
            let elements: Vec<String> = (0..width)
                .map(|i| format!("y[{}]", part * width + i))
                .collect();
            let store = format!(
                "out[at + {part}u * stride] = {unit}({});",
                elements.join(", ")
            );
            let _ = writeln!(text, "    if {part}u < count {{\n        {store}\n    }}");
        }
        text + "}\n"
    }
}

/// The arrays of a module over rows, x, dy and the result, with the units that they are bound as.
fn arrays([x, dy, out]: [Unit; 3]) -> String {
    let [x, dy, out] = [x, dy, out].map(Unit::name);
    format!(
        "@group(0) @binding(0) var<storage, read> x: array<{x}>;\n\
         @group(0) @binding(1) var<storage, read> dy: array<{dy}>;\n\
         @group(0) @binding(2) var<storage, read_write> out: array<{out}>;\n"
    )
}

/// A module over rows; `kind` supplies what rows.wgsl asks for.
pub(crate) fn rows(kind: &str) -> String {
    spelled(&joined(Unit::One, [Unit::One; 3], kind))
}

/// A module over rows that are divided into units, with the units of x, dy and the result.
/// Its branches are decided: differences of values are long, and called from many places.
pub(super) fn rows_of_units(unit: Unit, units: [Unit; 3], kind: &str) -> String {
    spelled(&pruned(&joined(unit, units, kind)))
}

fn joined(unit: Unit, units: [Unit; 3], kind: &str) -> String {
    let (arrays, unit) = (arrays(units), unit.elements());
    format!("{MATH}\n{arrays}const UNIT: u32 = {unit}u;\n{ROWS}\n{kind}")
}

/// The module of one function of the softmax family and one pass.
/// Softmin is softmax with a sign in the uniforms.
pub(crate) fn softmax(function: AxisFunction, pass: Pass, unit: Unit) -> String {
    let kind = softmax_kind(function, pass, unit, false);
    let eights = if function.reduces() { "" } else { EIGHTS };
    rows_of_units(
        unit,
        units(function, pass, unit),
        &format!("{SUMS}\n{PLAIN}\n{kind}\n{eights}"),
    )
}

/// The module of one function forward, without rows in eights, for a chain around it.
pub(super) fn rows_of_softmax(function: AxisFunction, unit: Unit) -> String {
    let kind = softmax_kind(function, Pass::Forward, unit, false);
    let units = units(function, Pass::Forward, unit);
    rows_of_units(unit, units, &format!("{SUMS}\n{PLAIN}\n{kind}\n"))
}

/// The units of x, dy and the result; those of which each row has one element are single.
fn units(function: AxisFunction, pass: Pass, unit: Unit) -> [Unit; 3] {
    match (function.reduces(), pass.is_backward()) {
        (false, _) => [unit; 3],
        (true, false) => [unit, Unit::One, Unit::One],
        (true, true) => [unit, Unit::One, unit],
    }
}

/// What an element's value is made of; the arrays that a module reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shaped {
    pub mask: bool,
    /// Whether fours of the elements that are read together lie side by side.
    pub runs: bool,
    /// Whether their mask does.
    pub mask_runs: bool,
    pub bias: bool,
    pub lengths: bool,
    pub sink: Sink,
    /// Whether a gradient is that by the sink, one for each row.
    pub by_sink: bool,
    pub value: Value,
}

/// What takes part in a row beside its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sink {
    None,
    /// One logit for all rows.
    Number,
    /// An array of them.
    Array,
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
pub(crate) fn shaped_softmax(
    function: AxisFunction,
    pass: Pass,
    shaped: Shaped,
    unit: Unit,
) -> String {
    let Shaped {
        mask,
        runs,
        mask_runs,
        bias,
        lengths,
        sink,
        by_sink,
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
    let load_sink = match sink {
        Sink::None => "0.0",
        Sink::Number => "shaping.sink",
        Sink::Array => "sinks[i]",
    };
    let (any_sink, sinks) = (sink != Sink::None, sink == Sink::Array);
    let (scaled, capped) = (value == Value::Scaled, value == Value::Capped);
    let kind = softmax_kind(function, pass, unit, by_sink);
    let text = format!(
        "const MASK: bool = {mask};\nconst RUNS: bool = {runs};\n\
         const MASK_RUNS: bool = {mask_runs};\n\
         const BIAS: bool = {bias};\nconst SINK: bool = {any_sink};\n\
         const SINKS: bool = {sinks};\n\
         const SCALED: bool = {scaled};\nconst CAPPED: bool = {capped};\n\
         fn load_mask(i: u32) -> bool {{\n    return {load_mask};\n}}\n\
         fn load_mask_word(i: u32) -> u32 {{\n    return {load_mask_word};\n}}\n\
         fn load_bias(i: u32) -> f32 {{\n    return {load_bias};\n}}\n\
         fn load_length(i: u32) -> u32 {{\n    return {load_length};\n}}\n\
         fn load_sink(i: u32) -> f32 {{\n    return {load_sink};\n}}\n\
         {SUMS}\n{FACTOR}\n{SHAPED}\n{kind}"
    );
    let [x, dy, out] = units(function, pass, unit);
    let out = if by_sink { Unit::One } else { out };
    rows_of_units(unit, [x, dy, out], &text)
}

/// softmax.wgsl with what it asks the composer for; with `by_sink` the gradient is that by the row's
/// sink.
pub(super) fn softmax_kind(
    function: AxisFunction,
    pass: Pass,
    unit: Unit,
    by_sink: bool,
) -> String {
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
        Pass::Forward | Pass::ForwardInPlace => None,
        Pass::Backward | Pass::FromOutput => Some("dy"),
        Pass::BackwardInPlace => Some("out"),
    };
    let reduces = function.reduces();
    let load_x = unit.load("load_x", Some(x));
    let load_term = unit.load("load_term", dy.filter(|_| !reduces));
    let dy_of = match dy.filter(|_| reduces) {
        Some(dy) => format!("{dy}[uniforms.dy_first + row]"),
        None => "0.0".to_owned(),
    };
    let of_row = match (reduces && !backward, by_sink) {
        (true, _) => Some("logsumexp_of(r)"),
        (false, true) => Some("gradient_by_sink(row, r)"),
        (false, false) => None,
    };
    let (store_out, store_row) = match of_row {
        Some(value) => {
            let none = "fn store_out(at: u32, stride: u32, count: u32, y: array<f32, 8>) {\n}\n";
            let store = format!("\n    out[uniforms.out_first + row] = {value};");
            (none.to_owned(), store)
        }
        None => (unit.store(), String::new()),
    };
    format!(
        "const KIND: u32 = {kind};\nconst BACKWARD: bool = {backward};\n\
         const FROM_OUTPUT: bool = {from_output};\nconst BY_SINK: bool = {by_sink};\n{load_x}{load_term}{store_out}\
         fn load_dy_of(row: u32) -> f32 {{\n    return {dy_of};\n}}\n\
         fn store_row(row: u32, r: Row) {{{store_row}\n}}\n{SOFTMAX}"
    )
}
