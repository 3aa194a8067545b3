//! The modules of the kin of softmax: hardmax and maxout, sparsemax and entmax, gumbel_softmax.

use super::Pass;
use super::softmax::{FACTOR, SUMS, Unit, rows, rows_of_units, softmax_kind};
use crate::axis::AxisFunction;

const ARGMAX: &str = include_str!("../../shaders/argmax.wgsl");
const NOISY: &str = include_str!("../../shaders/noisy.wgsl");
const SPARSE: &str = include_str!("../../shaders/sparse.wgsl");
const SPARSE_GRAD: &str = include_str!("../../shaders/sparse_grad.wgsl");

/// What is made of the first maximum of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Argmax {
    /// 1 there, else 0.
    Hardmax,
    /// The same of x and noise that lies where the result goes.
    NoisyHardmax,
    /// Its zeros, which are NaN where the row of x or of dy has one.
    HardmaxGrad,
    /// The maximum.
    Maxout,
    /// dy there, else 0.
    MaxoutGrad,
}

#[cfg(test)]
impl Argmax {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Hardmax,
        Self::NoisyHardmax,
        Self::HardmaxGrad,
        Self::Maxout,
        Self::MaxoutGrad,
    ];
}

/// The module of a row's first maximum.
pub(crate) fn argmax(argmax: Argmax) -> String {
    let x = "x[uniforms.x_first + at]";
    let (kind, x, dy, store) = match argmax {
        Argmax::Hardmax => ("HARDMAX", x.to_owned(), "0.0", ""),
        Argmax::NoisyHardmax => {
            let sum = format!("{x} + out[uniforms.out_first + at]");
            ("HARDMAX", sum, "0.0", "")
        }
        Argmax::HardmaxGrad => {
            let dy = "dy[uniforms.dy_first + at]";
            let nan = format!("select(0.0, not_a_number(), is_nan({x}) | is_nan({dy}))");
            ("HARDMAX_GRAD", nan, "0.0", "")
        }
        Argmax::Maxout => (
            "MAXOUT",
            x.to_owned(),
            "0.0",
            "\n    out[uniforms.out_first + row] = r.value;",
        ),
        Argmax::MaxoutGrad => (
            "MAXOUT_GRAD",
            x.to_owned(),
            "dy[uniforms.dy_first + row]",
            "",
        ),
    };
    rows(&format!(
        "const KIND: u32 = {kind};\n\
         fn load_x(at: u32) -> f32 {{\n    return {x};\n}}\n\
         fn load_dy(row: u32) -> f32 {{\n    return {dy};\n}}\n\
         fn store_row(row: u32, r: Row) {{{store}\n}}\n{ARGMAX}"
    ))
}

/// A function of sparse.wgsl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sparse {
    Sparsemax,
    Entmax15,
    /// Entmax with alpha just above 1, nearly softmax.
    Smooth,
    /// Entmax with alpha below 2.
    Entmax,
    /// Entmax with alpha above 2.
    Steep,
}

impl Sparse {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [
        Self::Sparsemax,
        Self::Entmax15,
        Self::Smooth,
        Self::Entmax,
        Self::Steep,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sparsemax => "SPARSEMAX",
            Self::Entmax15 => "ENTMAX15",
            Self::Smooth => "SMOOTH",
            Self::Entmax => "ENTMAX",
            Self::Steep => "STEEP",
        }
    }
}

/// The entry points of [`sparse`] that rows.wgsl has not.
#[cfg(test)]
pub(crate) const SPARSE_ENTRY_POINTS: [&str; 3] =
    ["solve_per_workgroup", "refine_partial", "refine_combine"];

/// The module of sparsemax or an entmax.
pub(crate) fn sparse(sparse: Sparse) -> String {
    let kind = sparse.name();
    rows(&format!(
        "const KIND: u32 = {kind};\n\
         fn load_x(at: u32) -> f32 {{\n    return x[uniforms.x_first + at];\n}}\n{SPARSE}"
    ))
}

/// The module of the gradient of sparsemax or an entmax from its output, which lies in `out`
/// where it is `in_place`.
pub(crate) fn sparse_grad(sparse: Sparse, in_place: bool) -> String {
    // From the output, what is nearly softmax is like any other.
    let kind = match sparse {
        Sparse::Smooth => Sparse::Entmax.name(),
        _ => sparse.name(),
    };
    let unit = Unit::One;
    let load_x = unit.load("load_x", Some(if in_place { "out" } else { "x" }));
    let (load_term, store) = (unit.load("load_term", Some("dy")), unit.store());
    rows(&format!(
        "{SUMS}\nconst KIND: u32 = {kind};\n{load_x}{load_term}{store}{SPARSE_GRAD}"
    ))
}

/// The module of softmax over x and noise that lies where the result goes, and its gradient.
pub(crate) fn noisy_softmax(backward: bool) -> String {
    let pass = if backward {
        Pass::Backward
    } else {
        Pass::Forward
    };
    let kind = softmax_kind(AxisFunction::Softmax, pass, Unit::One, false);
    rows_of_units(
        Unit::One,
        [Unit::One; 3],
        &format!("{SUMS}\n{FACTOR}\n{NOISY}\n{kind}"),
    )
}
