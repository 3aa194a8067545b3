//! WGSL: the shader files, and the composer that joins them with a generated shim. Public, so
//! that a caller's own shader can fuse an activation.

use crate::axis::AxisFunction;
use crate::catalogue::{Activation, Elementwise};
use std::fmt::Write;

/// `exp`, `log1p`, `tanh`, `erf`, the normal distribution and their kin in f32: pure functions.
pub const MATH: &str = include_str!("../shaders/math.wgsl");
/// Every activation and its derivative as pure functions over [`MATH`].
pub const ACTIVATIONS: &str = include_str!("../shaders/activations.wgsl");
const ELEMENTWISE: &str = include_str!("../shaders/elementwise.wgsl");
const SOFTMAX: &str = include_str!("../shaders/softmax.wgsl");

/// The name of an activation's WGSL function; its derivative's is that of [`derivative_name`].
/// What WGSL has itself (`abs`, `clamp`, `exp`, `tanh`) ends in an underscore.
pub fn function_name(activation: Activation) -> String {
    let name = activation.info().name;
    match activation {
        Activation::Abs | Activation::Clamp | Activation::Exp | Activation::Tanh => {
            format!("{name}_")
        }
        _ => name.to_owned(),
    }
}

/// The name of an activation's derivative in WGSL.
pub fn derivative_name(activation: Activation) -> String {
    format!("{}_grad", activation.info().name)
}

/// WGSL text that defines `fn {name}(x: f32) -> f32` and `fn {name}_grad(x: f32) -> f32` for an
/// activation with its parameters as constants, and all that they need. It declares no binding
/// and can stand before any shader once.
///
/// ```
/// use wgpu_activations::{Activation, shader};
/// let text = shader::fused("activate", Activation::LeakyRelu.with([("negative_slope", 0.2)])?);
/// assert!(text.contains("fn activate(x: f32) -> f32"));
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
pub fn fused(name: &str, f: impl Into<Elementwise>) -> String {
    let f = f.into();
    let mut arguments = String::new();
    for value in f.parameters() {
        // An infinite parameter is no WGSL literal; no f32 lies beyond the largest.
        let value = value.clamp(f32::MIN, f32::MAX);
        let _ = write!(arguments, ", f32({value:e})");
    }
    let forward = function_name(f.activation());
    let backward = derivative_name(f.activation());
    format!(
        "{MATH}\n{ACTIVATIONS}\n\
         fn {name}(x: f32) -> f32 {{\n    return select({forward}(x{arguments}), x, is_nan(x));\n}}\n\
         fn {name}_grad(x: f32) -> f32 {{\n    return select({backward}(x{arguments}), x, is_nan(x));\n}}\n"
    )
}

/// How many f32 an invocation of an element-wise kernel handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lanes {
    /// One: for the up to three elements that are left over.
    One,
    /// A vec4.
    Four,
}

impl Lanes {
    pub(crate) fn count(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Four => 4,
        }
    }
}

/// The element-wise module of one activation: entry points `forward`, `forward_in_place`,
/// `backward`, `backward_in_place`.
pub(crate) fn elementwise(activation: Activation, lanes: Lanes) -> String {
    let arguments: String = (0..activation.info().parameters.len())
        .map(|i| format!(", uniforms.p{i}"))
        .collect();
    let forward = function_name(activation);
    let backward = derivative_name(activation);
    let (element, vector) = match lanes {
        Lanes::One => ("f32", ["activate_one(x)", "activate_grad_one(x, dy)"].map(str::to_owned)),
        Lanes::Four => {
            let each = |call: &str| {
                let calls: Vec<String> = "xyzw".chars().map(|c| call.replace('@', &c.to_string())).collect();
                format!("vec4<f32>({})", calls.join(", "))
            };
            (
                "vec4<f32>",
                [each("activate_one(x.@)"), each("activate_grad_one(x.@, dy.@)")],
            )
        }
    };
    let [all, all_grad] = vector;
    format!(
        "{MATH}\n{ACTIVATIONS}\nalias Element = {element};\n\
         fn activate_one(x: f32) -> f32 {{\n    return select({forward}(x{arguments}), x, is_nan(x));\n}}\n\
         fn activate_grad_one(x: f32, dy: f32) -> f32 {{\n    \
             let d = select({backward}(x{arguments}), x, is_nan(x));\n    \
             let y = dy * d;\n    \
             // Only 0 * infinity makes a NaN of what was none; the zero wins.\n    \
             return select(y, 0.0, is_nan(y) && !is_nan(x) && !is_nan(dy));\n}}\n\
         fn activate(x: Element) -> Element {{\n    return {all};\n}}\n\
         fn activate_grad(x: Element, dy: Element) -> Element {{\n    return {all_grad};\n}}\n\
         {ELEMENTWISE}"
    )
}

/// Which pass of a function a module computes, and which of its buffers are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pass {
    /// out = f(x).
    Forward,
    /// out = f(out).
    ForwardInPlace,
    /// out = dy · f'(x).
    Backward,
    /// out = out · f'(x).
    BackwardInPlace,
    /// out = dy · f'(x) where x holds f's output; for softmax alone.
    FromOutput,
}

impl Pass {

    /// The entry point of the element-wise module.
    pub(crate) fn entry_point(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::ForwardInPlace => "forward_in_place",
            Self::Backward | Self::FromOutput => "backward",
            Self::BackwardInPlace => "backward_in_place",
        }
    }

    pub(crate) fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardInPlace | Self::FromOutput)
    }

    /// Whether x has a binding of its own.
    pub(crate) fn binds_x(self) -> bool {
        self != Self::ForwardInPlace
    }

    /// Whether the upstream gradient has a binding of its own.
    pub(crate) fn binds_dy(self) -> bool {
        matches!(self, Self::Backward | Self::FromOutput)
    }
}

/// The entry points of a softmax module.
#[cfg(test)]
pub(crate) const SOFTMAX_ENTRY_POINTS: [&str; 5] = [
    "row_per_invocation",
    "row_per_workgroup",
    "split_partial",
    "split_combine",
    "split_finish",
];

/// The module of one function of the softmax family and one pass.
/// Softmin is softmax with a sign in the uniforms.
pub(crate) fn softmax(function: AxisFunction, pass: Pass) -> String {
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
    let dot = match function {
        _ if !backward => "0.0",
        AxisFunction::Softmax | AxisFunction::Softmin => "upstream(i, row) * e",
        AxisFunction::LogSoftmax => "upstream(i, row)",
        AxisFunction::LogSumExp => "0.0",
    };
    let store = if function.reduces() && !backward {
        "\n    out[uniforms.out_first + row] = logsumexp_of(r);"
    } else {
        ""
    };
    format!(
        "{MATH}\nconst KIND: u32 = {kind};\nconst BACKWARD: bool = {backward};\n\
         const FROM_OUTPUT: bool = {from_output};\n\
         fn load_x(i: u32) -> f32 {{\n    return {x}[i];\n}}\n\
         fn load_dy(i: u32) -> f32 {{\n    return {dy};\n}}\n\
         fn dot_term(i: u32, row: u32, e: f32) -> f32 {{\n    return {dot};\n}}\n\
         fn store_row(row: u32, r: Row) {{{store}\n}}\n{SOFTMAX}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::front::wgsl;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    fn validate(text: &str) -> naga::Module {
        let module = match wgsl::parse_str(text) {
            Ok(module) => module,
            Err(error) => panic!("{}", error.emit_to_string(text)),
        };
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        if let Err(error) = validator.validate(&module) {
            panic!("{}", error.emit_to_string(text));
        }
        module
    }

    /// A row without its WGSL pair, or with another number of parameters, fails here.
    #[test]
    fn every_row_has_its_wgsl_pair() {
        let module = validate(&format!("{MATH}\n{ACTIVATIONS}"));
        for &activation in Activation::ALL {
            for name in [function_name(activation), derivative_name(activation)] {
                let function = module.functions.iter().map(|(_, f)| f);
                let found = function
                    .filter(|f| f.name.as_deref() == Some(&name))
                    .collect::<Vec<_>>();
                assert_eq!(found.len(), 1, "{name} in activations.wgsl");
                let arity = 1 + activation.info().parameters.len();
                assert_eq!(found[0].arguments.len(), arity, "arguments of {name}");
            }
        }
    }

    #[test]
    fn every_module_validates() {
        for &activation in Activation::ALL {
            for lanes in [Lanes::One, Lanes::Four] {
                let module = validate(&elementwise(activation, lanes));
                assert_eq!(module.entry_points.len(), 4);
            }
            validate(&fused("f", activation));
        }
        for &function in AxisFunction::ALL {
            let passes = [
                Pass::Forward,
                Pass::ForwardInPlace,
                Pass::Backward,
                Pass::BackwardInPlace,
                Pass::FromOutput,
            ];
            for pass in passes {
                let module = validate(&softmax(function, pass));
                let names: Vec<&str> = module.entry_points.iter().map(|e| e.name.as_str()).collect();
                assert_eq!(names, SOFTMAX_ENTRY_POINTS);
            }
        }
    }
}
