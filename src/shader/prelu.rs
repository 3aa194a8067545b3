//! The text of the parametric rectifier's modules.

use super::{Lanes, MATH, spelled};

const PRELU: &str = include_str!("../../shaders/prelu.wgsl");

/// Which elements of a vec4 share a slope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bend {
    /// One element an invocation.
    One,
    /// Four with one slope.
    Shared,
    /// Four with neighbouring slopes.
    Each,
}

impl Bend {
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::One, Self::Shared, Self::Each];

    pub(crate) fn lanes(self) -> Lanes {
        match self {
            Self::One => Lanes::One,
            Self::Shared | Self::Each => Lanes::Four,
        }
    }
}

/// The module: entry points `forward` and `backward`.
pub(crate) fn prelu(bend: Bend) -> String {
    let (element, slopes, body) = match bend {
        Bend::One => (
            "f32",
            "return slopes[slope_of(uniforms.index + i)];",
            "return bend_one(x, y, slope);",
        ),
        Bend::Shared => (
            "vec4<f32>",
            "return vec4<f32>(slopes[slope_of(uniforms.index + 4u * i)]);",
            EACH,
        ),
        Bend::Each => (
            "vec4<f32>",
            "let at = slope_of(uniforms.index + 4u * i);\n    \
             return vec4<f32>(slopes[at], slopes[at + 1u], slopes[at + 2u], slopes[at + 3u]);",
            EACH,
        ),
    };
    spelled(&format!(
        "{MATH}\nalias Element = {element};\n\
         fn slopes_at(i: u32) -> Element {{\n    {slopes}\n}}\n\
         fn bend(x: Element, y: Element, slope: Element) -> Element {{\n    {body}\n}}\n{PRELU}"
    ))
}

const EACH: &str = "return vec4<f32>(bend_one(x.x, y.x, slope.x), bend_one(x.y, y.y, slope.y), \
                    bend_one(x.z, y.z, slope.z), bend_one(x.w, y.w, slope.w));";
