//! The modules of the losses, over classes and of elements.

use super::MATH;
use super::softmax::rows;
use crate::element_shader::ElementShader;

const CROSS_ENTROPY: &str = include_str!("../../shaders/cross_entropy.wgsl");
const ELEMENT: &str = include_str!("../../shaders/element_loss.wgsl");

/// What a module of a loss over classes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LossPass {
    /// Each row's loss.
    Loss,
    /// The gradient, for an upstream gradient.
    Gradient,
    /// Both, for an upstream gradient of 1.
    Both,
}

/// A module of a loss over classes; what its text depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClassModule {
    pub pass: LossPass,
    /// Negative log likelihood instead of cross entropy.
    pub nll: bool,
    /// Whether targets are probabilities, not classes.
    pub probabilities: bool,
    /// Whether every class has a part in a row's loss.
    pub dense: bool,
    /// Whether classes have weights.
    pub weighted: bool,
}

/// The text of a module.
pub(crate) fn class_loss(module: ClassModule) -> String {
    let ClassModule {
        pass,
        nll,
        probabilities,
        dense,
        weighted,
    } = module;
    // An entry point refers to no binding that it has not.
    let (target, probability) = if probabilities {
        (
            "0u",
            "bitcast<f32>(targets[options.target_first + at])".to_owned(),
        )
    } else {
        ("targets[options.target_first + row]", "0.0".to_owned())
    };
    let weight = if weighted {
        "class_weight[options.weight_first + class_]"
    } else {
        "1.0"
    };
    let dy = match pass {
        LossPass::Gradient => "dy[options.dy_first + row * options.dy_each]",
        LossPass::Loss | LossPass::Both => "1.0",
    };
    let store = match pass {
        LossPass::Loss => "\n    out[uniforms.out_first + row] = loss_of(line_of(row), r);\n",
        LossPass::Both => "\n    losses[options.loss_first + row] = loss_of(line_of(row), r);\n",
        LossPass::Gradient => "",
    };
    let reduces = pass == LossPass::Loss;
    rows(&format!(
        "const PROBABILITIES: bool = {probabilities};\nconst DENSE: bool = {dense};\n\
         const NLL: bool = {nll};\nconst REDUCES: bool = {reduces};\n\
         fn load_target(row: u32) -> u32 {{\n    return {target};\n}}\n\
         fn load_probability(at: u32) -> f32 {{\n    return {probability};\n}}\n\
         fn load_weight(class_: u32) -> f32 {{\n    return {weight};\n}}\n\
         fn load_dy(row: u32) -> f32 {{\n    return {dy};\n}}\n\
         fn store_row(row: u32, r: Row) {{{store}}}\n{CROSS_ENTROPY}"
    ))
}

/// A module of a loss of elements; what its text depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ElementModule {
    pub shader: &'static ElementShader,
    pub gradient: bool,
    pub weighted: bool,
    /// Whether positives have a weight.
    pub positives: bool,
}

/// The text of a module.
pub(crate) fn element_loss(module: ElementModule) -> String {
    let ElementModule {
        shader,
        gradient,
        weighted,
        positives,
    } = module;
    let weight = |is: bool, name: &str, array: &str| {
        if is {
            format!(
                "{array}[uniforms.{name}_first + (uniforms.{name}_start + i) \
                 / uniforms.{name}_stride % uniforms.{name}_count]"
            )
        } else {
            "1.0".to_owned()
        }
    };
    let function = match gradient {
        false => shader.loss,
        true => shader.slope,
    };
    let text = shader.text;
    let value = if gradient {
        format!(
            "narrow(times(times(wide(dy[uniforms.dy_first + i * uniforms.dy_each]), \
             wide(uniforms.scale)), {function}))"
        )
    } else {
        format!("narrow({function})")
    };
    let all = weight(weighted, "weight", "class_weight");
    let positive = weight(positives, "positive", "positive_weight");
    format!(
        "{MATH}\n{ELEMENT}\n{text}\n\
         fn load_weight(i: u32) -> f32 {{\n    return {all};\n}}\n\
         fn load_positive(i: u32) -> f32 {{\n    return {positive};\n}}\n\
         fn result_at(i: u32, x: f32, t: f32) -> f32 {{\n    return {value};\n}}\n"
    )
}

#[cfg(test)]
impl ElementModule {
    /// Every module there is.
    pub(crate) fn all() -> Vec<Self> {
        let of = |shader: &'static ElementShader| {
            (0..8).map(move |i| Self {
                shader,
                gradient: i & 1 == 1,
                weighted: i & 2 == 2,
                positives: i & 4 == 4,
            })
        };
        let all = crate::functions::element_shaders().into_iter().flat_map(of);
        // A loss that does not read it has none.
        let has = |shader: &ElementShader| shader.loss.contains("load_positive");
        all.filter(|module| has(module.shader) || !module.positives)
            .collect()
    }
}

#[cfg(test)]
impl ClassModule {
    /// Every module there is.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for pass in [LossPass::Loss, LossPass::Gradient, LossPass::Both] {
            for (nll, probabilities, dense) in [
                (false, false, false),
                (false, false, true),
                (false, true, true),
                (true, false, false),
            ] {
                all.extend([false, true].map(|weighted| Self {
                    pass,
                    nll,
                    probabilities,
                    dense,
                    weighted,
                }));
            }
        }
        all
    }
}
