//! How the arrays of a kernel are declared, read and written: some elements at a time, of any type
//! of numbers, so that the kernel itself sees f32 alone.

use crate::element::DType;
use std::fmt::Write;

/// How many neighbouring elements an invocation reads and writes at a time: a unit. The composed
/// text has them as an `Elements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "cache", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "cache", serde(rename_all = "lowercase"))]
pub(crate) enum Width {
    /// An f32; `Elements` is `f32`.
    One,
    /// What one word holds of numbers of 16 bits; `vec2<f32>`.
    Two,
    /// `vec4<f32>`.
    Four,
    /// A struct of two `vec4<f32>`: `a` has the elements 0, 2, 4 and 6, and `b` those between.
    Eight,
    /// As `Eight`, in words of 64 bits. llvmpipe moves word by word, whatever a word's size.
    Long,
}

impl Width {
    /// Elements of a unit.
    pub(crate) fn elements(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight | Self::Long => 8,
        }
    }

    /// The members of an `Elements`, each with its element's place in the unit.
    pub(crate) fn members(self) -> &'static [(&'static str, u32)] {
        const VECTOR: [(&str, u32); 4] = [(".x", 0), (".y", 1), (".z", 2), (".w", 3)];
        match self {
            Self::One => &[("", 0)],
            Self::Two => &[(".x", 0), (".y", 1)],
            Self::Four => &VECTOR,
            Self::Eight | Self::Long => &[
                (".a.x", 0),
                (".a.y", 2),
                (".a.z", 4),
                (".a.w", 6),
                (".b.x", 1),
                (".b.y", 3),
                (".b.z", 5),
                (".b.w", 7),
            ],
        }
    }

    /// An `Elements` of an expression for each member, in which `@` stands for the member and `#`
    /// for its element's place.
    pub(crate) fn each(self, expression: &str) -> String {
        let of = |&(member, place): &(&str, u32)| {
            let text = expression.replace('@', member);
            text.replace('#', &format!("{place}u"))
        };
        let parts: Vec<String> = self.members().iter().map(of).collect();
        match self {
            Self::One => parts.concat(),
            Self::Two => format!("vec2<f32>({})", parts.join(", ")),
            Self::Four => format!("vec4<f32>({})", parts.join(", ")),
            Self::Eight | Self::Long => format!(
                "Elements(vec4<f32>({}), vec4<f32>({}))",
                parts[..4].join(", "),
                parts[4..].join(", ")
            ),
        }
    }

    /// The declaration of `Elements`.
    fn elements_type(self) -> &'static str {
        match self {
            Self::One => "alias Elements = f32;\n",
            Self::Two => "alias Elements = vec2<f32>;\n",
            Self::Four => "alias Elements = vec4<f32>;\n",
            Self::Eight | Self::Long => {
                "struct Elements {\n    a: vec4<f32>,\n    b: vec4<f32>,\n}\n"
            }
        }
    }

    /// What an array is declared to be made of; none is larger than a unit.
    fn stored(self, dtype: DType) -> &'static str {
        match (self, dtype) {
            (Self::One | Self::Two, DType::F32) => "f32",
            (Self::Four | Self::Eight, DType::F32) => "vec4<f32>",
            (Self::Long, DType::F32) => "vec4<u64>",
            // A width of one has no halves of words; the planner takes two.
            (Self::One | Self::Two, _) => "u32",
            (Self::Four, _) => "vec2<u32>",
            (Self::Eight, _) => "vec4<u32>",
            (Self::Long, _) => "vec2<u64>",
        }
    }
}

/// An array that a kernel binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Array<'a> {
    /// Its variable's name.
    pub name: &'a str,
    pub binding: u32,
    pub dtype: DType,
    pub written: bool,
}

/// Declares `arrays`, with functions `load_NAME(unit) -> Elements` for each and
/// `store_NAME(unit, Elements)` for those that are written. A unit is numbered from the beginning
/// of the binding. [`Width::Two`] reads `uniforms.last`, the place of the last element, beyond
/// which nothing of an f32 array is written.
pub(crate) fn declare(arrays: &[Array<'_>], width: Width) -> String {
    let mut text = String::new();
    if arrays.iter().any(|array| array.dtype != DType::F32) {
        text.push_str(super::HALF);
    }
    text.push_str(width.elements_type());
    for array in arrays {
        let (name, binding) = (array.name, array.binding);
        let access = if array.written { "read_write" } else { "read" };
        let stored = width.stored(array.dtype);
        let load = load(array, width);
        let _ = write!(
            text,
            "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{stored}>;\n\
             fn load_{name}(unit: u32) -> Elements {{\n{load}}}\n"
        );
        if array.written {
            let store = store(array, width);
            let _ = write!(
                text,
                "fn store_{name}(unit: u32, value: Elements) {{\n{store}}}\n"
            );
        }
    }
    text
}

/// The body of an array's load.
fn load(array: &Array<'_>, width: Width) -> String {
    let name = array.name;
    if array.dtype == DType::F32 {
        return match width {
            Width::One | Width::Four => format!("    return {name}[unit];\n"),
            Width::Two => format!(
                "    let at = 2u * unit;\n    \
                 return vec2<f32>({name}[at], {name}[min(at + 1u, uniforms.last)]);\n"
            ),
            Width::Eight => format!(
                "    let p = {name}[2u * unit];\n    let q = {name}[2u * unit + 1u];\n    \
                 return Elements(vec4<f32>(p.xz, q.xz), vec4<f32>(p.yw, q.yw));\n"
            ),
            Width::Long => format!(
                "    let words = {name}[unit];\n    \
                 return Elements(\n        bitcast<vec4<f32>>(vec4<u32>(words)),\n        \
                 bitcast<vec4<f32>>(vec4<u32>(words >> vec4<u32>(32u))),\n    );\n"
            ),
        };
    }
    let kind = array.dtype.short_name();
    match width {
        Width::One | Width::Two => {
            format!("    return unpack_{kind}(vec2<u32>({name}[unit], 0u)).xy;\n")
        }
        Width::Four => format!("    return unpack_{kind}({name}[unit]);\n"),
        Width::Eight => halves(kind, &format!("    let words = {name}[unit];\n")),
        Width::Long => halves(
            kind,
            &format!(
                "    let pair = {name}[unit];\n    \
                 let words = vec4<u32>(vec2<u32>(pair), vec2<u32>(pair >> vec2<u32>(32u))).xzyw;\n"
            ),
        ),
    }
}

/// `Elements` of eight numbers in four words.
fn halves(kind: &str, words: &str) -> String {
    format!(
        "{words}    return Elements(\n        widen_{kind}(words << vec4<u32>(16u)),\n        \
         widen_{kind}(words & vec4<u32>(0xffff0000u)),\n    );\n"
    )
}

/// The body of an array's store.
fn store(array: &Array<'_>, width: Width) -> String {
    let name = array.name;
    if array.dtype == DType::F32 {
        return match width {
            Width::One | Width::Four => format!("    {name}[unit] = value;\n"),
            Width::Two => format!(
                "    let at = 2u * unit;\n    {name}[at] = value.x;\n    \
                 if at + 1u <= uniforms.last {{\n        {name}[at + 1u] = value.y;\n    }}\n"
            ),
            Width::Eight => format!(
                "    {name}[2u * unit] = vec4<f32>(value.a.x, value.b.x, value.a.y, value.b.y);\n    \
                 {name}[2u * unit + 1u] = vec4<f32>(value.a.z, value.b.z, value.a.w, value.b.w);\n"
            ),
            Width::Long => format!(
                "    let low = vec4<u64>(bitcast<vec4<u32>>(value.a));\n    \
                 let high = vec4<u64>(bitcast<vec4<u32>>(value.b));\n    \
                 {name}[unit] = low | (high << vec4<u32>(32u));\n"
            ),
        };
    }
    let kind = array.dtype.short_name();
    let words = format!("narrow_{kind}(value.a) | (narrow_{kind}(value.b) << vec4<u32>(16u))");
    match width {
        Width::One | Width::Two => {
            format!("    {name}[unit] = pack_{kind}(value.xyxy).x;\n")
        }
        Width::Four => format!("    {name}[unit] = pack_{kind}(value);\n"),
        Width::Eight => format!("    {name}[unit] = {words};\n"),
        Width::Long => format!(
            "    let words = {words};\n    \
             {name}[unit] = vec2<u64>(words.xz) | (vec2<u64>(words.yw) << vec2<u32>(32u));\n"
        ),
    }
}
