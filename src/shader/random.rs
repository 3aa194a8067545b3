//! The modules that draw random numbers.

use super::{MATH, Pass};

pub(super) const PHILOX: &str = include_str!("../../shaders/philox.wgsl");
const RANDOM: &str = include_str!("../../shaders/random.wgsl");

/// What a module makes of its random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Draw {
    /// out = numbers between 0 and 1.
    Uniform,
    /// out = Gumbel noise.
    Gumbel,
    /// The randomised leaky rectifier.
    Rrelu(Pass),
}

impl Draw {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] = [
        Self::Uniform,
        Self::Gumbel,
        Self::Rrelu(Pass::Forward),
        Self::Rrelu(Pass::ForwardInPlace),
        Self::Rrelu(Pass::Backward),
        Self::Rrelu(Pass::BackwardInPlace),
    ];
}

/// The module of one draw; its entry point is `fill`.
pub(crate) fn random(draw: Draw) -> String {
    let x = "x[uniforms.x_first + i]";
    let out = "out[uniforms.out_first + i]";
    let result = match draw {
        Draw::Uniform => "uniform_of(bits)".to_owned(),
        Draw::Gumbel => "gumbel_of(uniform_of(bits))".to_owned(),
        Draw::Rrelu(pass) => {
            let x = if pass.binds_x() { x } else { out };
            let dy = if pass.binds_dy() {
                "dy[uniforms.dy_first + i]"
            } else {
                out
            };
            if pass.is_backward() {
                format!("rrelu_grad({x}, {dy}, uniform_of(bits))")
            } else {
                format!("rrelu({x}, uniform_of(bits))")
            }
        }
    };
    format!(
        "{MATH}\n{PHILOX}\nfn result(i: u32, bits: u32) -> f32 {{\n    return {result};\n}}\n{RANDOM}"
    )
}
