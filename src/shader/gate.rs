//! The text of the gated linear units' modules.

use super::{ACTIVATIONS, Lanes, MATH, derivative_name, function_name, spelled};
use crate::catalogue::{Activation, Factor};

/// Products that are rounded once.
pub(super) const TERMS: &str = include_str!("../../shaders/terms.wgsl");
const GATE: &str = include_str!("../../shaders/gate.wgsl");
const PAIRS: &str = include_str!("../../shaders/gate_pairs.wgsl");

/// The module of gates of one activation, one element or four an invocation.
pub(crate) fn gate(activation: Activation, clamped: bool, lanes: Lanes) -> String {
    let arguments: String = (0..activation.info().parameters.len())
        .map(|i| format!(", uniforms.p{i}"))
        .collect();
    let forward = function_name(activation);
    let backward = derivative_name(activation);
    let name = activation.info().name;
    let shim = match activation.factor() {
        Factor::Plain => format!(
            "fn weighed(value: f32, x: f32) -> f32 {{\n    \
                 return zero_wins(value * {forward}(x{arguments}));\n}}\n\
             fn upstream(dy: f32, x: f32) -> f32 {{\n    \
                 return zero_wins(dy * {forward}(x{arguments}));\n}}\n\
             fn bent_upstream(value: f32, x: f32, dy: f32) -> f32 {{\n    \
                 return zero_wins(dy * value * {backward}(x{arguments}));\n}}\n"
        ),
        other => {
            let (f, slope) = if other == Factor::Parts {
                (
                    format!("{name}_term(x{arguments})"),
                    format!("{name}_grad_term(x{arguments})"),
                )
            } else {
                (
                    format!("normal({forward}(x{arguments}))"),
                    format!("normal({backward}(x{arguments}))"),
                )
            };
            format!(
                "fn weighed(value: f32, x: f32) -> f32 {{\n    \
                     return rounded(product_of(weight(value), {f}));\n}}\n\
                 fn upstream(dy: f32, x: f32) -> f32 {{\n    \
                     return rounded(product_of(normal(dy), {f}));\n}}\n\
                 fn bent_upstream(value: f32, x: f32, dy: f32) -> f32 {{\n    \
                     let both = renewed(product_of(normal(dy), weight(value)));\n    \
                     return rounded(product_of(both, {slope}));\n}}\n"
            )
        }
    };
    let (element, pairs) = match lanes {
        Lanes::One => ("f32", ""),
        Lanes::Four => ("vec4<f32>", PAIRS),
    };
    let each = |call: &str| match lanes {
        Lanes::One => call.replace(".@", ""),
        Lanes::Four => {
            let calls: Vec<String> = "xyzw"
                .chars()
                .map(|c| call.replace('@', &c.to_string()))
                .collect();
            format!("vec4<f32>({})", calls.join(", "))
        }
    };
    let all = each("gate_one(v.@, g.@)");
    let by_value = each("grad_value_one(v.@, g.@, dy.@)");
    let by_gate = each("grad_gate_one(v.@, g.@, dy.@)");
    spelled(&format!(
        "{MATH}\n{ACTIVATIONS}\nalias Element = {element};\nconst CLAMPED: bool = {clamped};\n{shim}\
         fn gate(v: Element, g: Element) -> Element {{\n    return {all};\n}}\n\
         fn grad_value(v: Element, g: Element, dy: Element) -> Element {{\n    \
             return {by_value};\n}}\n\
         fn grad_gate(v: Element, g: Element, dy: Element) -> Element {{\n    \
             return {by_gate};\n}}\n{TERMS}\n{GATE}\n{pairs}"
    ))
}

/// The entry points of a module of these lanes.
#[cfg(test)]
pub(super) fn entry_points(lanes: Lanes) -> &'static [&'static str] {
    const ALL: [&str; 8] = [
        "forward_blocks",
        "backward_blocks",
        "forward_apart",
        "backward_apart",
        "backward_value",
        "backward_gate",
        "forward_pairs",
        "backward_pairs",
    ];
    match lanes {
        Lanes::One => &ALL[..6],
        Lanes::Four => &ALL,
    }
}

/// Every module of a gate: each activation, and the clamped form of the one that has it.
#[cfg(test)]
pub(super) fn modules() -> Vec<(String, Lanes, String)> {
    let mut modules = Vec::new();
    // Of the activations that are taken as they are, two stand for all: functions of theirs are
    // translated with the element-wise modules.
    let parts = Activation::ALL
        .iter()
        .filter(|a| a.factor() == Factor::Parts);
    let activations = parts.chain(&[Activation::Relu, Activation::Elu]);
    for lanes in [Lanes::One, Lanes::Four] {
        for &activation in activations.clone() {
            let name = format!("gate({activation}), {lanes:?}");
            modules.push((name, lanes, gate(activation, false, lanes)));
        }
        let text = gate(Activation::Swish, true, lanes);
        modules.push((format!("clamped gate, {lanes:?}"), lanes, text));
    }
    modules
}
