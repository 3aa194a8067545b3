//! Gated linear units: one half of an array, passed through an activation, weighs the other half.
//! What there is, the layouts, and what is wrong with a shape; nothing here computes.

use crate::catalogue::{Activation, Bounds, Elementwise, Factor};
use crate::error::{Error, Result};
use crate::few::Few;
use crate::range::Range;
use crate::shape::{AxisShape, element_count};
use std::fmt;

/// A gated linear unit: y = value · f(gate), with any activation of the catalogue as f.
///
/// Value and gate are the two halves of one array along an axis, the value first unless
/// [`Gate::order`] says otherwise, or two arrays, which are two inputs. [`Gate::GLU`]
/// (Dauphin et al. 2017) and its kin (Shazeer 2020) are constants; [`Gate::new`] takes any other
/// activation.
///
/// The clamped form is y = (min(max(value, -limit), limit) + offset) · f(min(gate, limit)), as in
/// OpenAI's gpt-oss; its gradient is 0 beyond the limit, and passes at the limit itself.
///
/// A zero factor wins over an infinite one, in the results and in the gradients.
///
/// ```
/// use wgpu_activations::{Activation, Backend, Gate, Order};
/// let backend = Backend::cpu();
/// // One row: the values 1 and 2, then the gates 0 and -5.
/// let y = backend.apply(Gate::REGLU.along(-1), &[1.0, 2.0, 3.0, -5.0])?;
/// assert_eq!(y, [3.0, 0.0]);
///
/// let mish = Gate::new(Activation::Mish).with_order(Order::GateFirst);
/// assert_eq!(mish.to_string(), "gate(mish)");
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    name: Name,
    function: Elementwise,
    clamp: Option<Clamp>,
    layout: Layout,
    order: Order,
}

/// What a gate is called; its place in [`Gate::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Glu,
    Reglu,
    Geglu,
    GegluTanh,
    Swiglu,
    Bilinear,
    ClampedSwiglu,
    /// [`Gate::new`]'s.
    Other,
}

/// The clamped form's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clamp {
    pub limit: f32,
    pub offset: f32,
}

/// How value and gate lie along the axis of one array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One half of the axis, then the other.
    #[default]
    Split,
    /// By turns, in pairs.
    Interleaved,
}

/// Which of value and gate comes first in one array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The value, as in PyTorch's `glu`.
    #[default]
    ValueFirst,
    /// The gate, as in Llama's feed-forward layers with both projections in one, and in vLLM's
    /// `silu_and_mul`.
    GateFirst,
}

impl Gate {
    /// y = value · sigmoid(gate). Dauphin et al. 2017.
    pub const GLU: Self = Self::named(Name::Glu, Activation::Sigmoid);
    /// y = value · relu(gate). Shazeer 2020.
    pub const REGLU: Self = Self::named(Name::Reglu, Activation::Relu);
    /// y = value · gelu(gate). Shazeer 2020.
    pub const GEGLU: Self = Self::named(Name::Geglu, Activation::Gelu);
    /// y = value · gelu_tanh(gate). Shazeer 2020, with the tanh form of GELU.
    pub const GEGLU_TANH: Self = Self::named(Name::GegluTanh, Activation::GeluTanh);
    /// y = value · silu(gate). Shazeer 2020.
    pub const SWIGLU: Self = Self::named(Name::Swiglu, Activation::Silu);
    /// y = value · gate. Mnih & Hinton 2007.
    pub const BILINEAR: Self = Self::named(Name::Bilinear, Activation::Identity);
    /// y = (clamp(value, -7, 7) + 1) · swish(min(gate, 7)) with beta 1.702; pairs, the gate
    /// first. OpenAI gpt-oss 2025.
    pub const CLAMPED_SWIGLU: Self = Self {
        name: Name::ClampedSwiglu,
        function: Elementwise::constant(Activation::Swish, [1.702, 0.0]),
        clamp: Some(Clamp {
            limit: 7.0,
            offset: 1.0,
        }),
        layout: Layout::Interleaved,
        order: Order::GateFirst,
    };

    /// The gates that have names.
    pub const ALL: &'static [Self] = &[
        Self::GLU,
        Self::REGLU,
        Self::GEGLU,
        Self::GEGLU_TANH,
        Self::SWIGLU,
        Self::BILINEAR,
        Self::CLAMPED_SWIGLU,
    ];

    const fn named(name: Name, activation: Activation) -> Self {
        Self {
            name,
            // None of the named activations has a parameter.
            function: Elementwise::constant(activation, [0.0; 2]),
            clamp: None,
            layout: Layout::Split,
            order: Order::ValueFirst,
        }
    }

    /// y = value · f(gate): halves of the axis, the value first.
    pub fn new(f: impl Into<Elementwise>) -> Self {
        Self {
            function: f.into(),
            ..Self::named(Name::Other, Activation::Identity)
        }
    }

    /// This gate with some parameters set, by name.
    ///
    /// [`Gate::CLAMPED_SWIGLU`] has `alpha` (the steepness, 1.702), `limit` (7) and `offset` (1);
    /// [`Gate::SWIGLU`] has `alpha` (the steepness of ONNX's SwiGLU, 1); another gate has its
    /// activation's parameters.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] and [`Error::ParameterOutOfRange`].
    pub fn with<'a>(self, parameters: impl IntoIterator<Item = (&'a str, f32)>) -> Result<Self> {
        let mut gate = self;
        for (name, value) in parameters {
            match (self.name, name, &mut gate.clamp) {
                (Name::Swiglu | Name::ClampedSwiglu, "alpha", _) => {
                    let beta = Activation::Swish.with([("beta", value)]);
                    gate.function = beta.map_err(|_| self.out_of_range("alpha", value))?;
                }
                (Name::Swiglu | Name::ClampedSwiglu, "limit", Some(clamp)) => {
                    clamp.limit = value;
                    if !(value.is_finite() && value >= 0.0) {
                        return Err(Error::ParameterOutOfRange {
                            function: self.name(),
                            parameter: "limit",
                            value,
                            range: Range::NonNegative,
                        });
                    }
                }
                (Name::Swiglu | Name::ClampedSwiglu, "offset", Some(clamp)) => {
                    clamp.offset = value;
                    if !value.is_finite() {
                        return Err(self.out_of_range("offset", value));
                    }
                }
                (Name::Swiglu | Name::ClampedSwiglu, ..) => {
                    return Err(Error::UnknownParameter {
                        function: self.name(),
                        name: name.to_owned(),
                        known: self.parameters(),
                    });
                }
                _ => {
                    gate.function = gate.function.with([(name, value)])?;
                }
            }
        }
        Ok(gate)
    }

    fn out_of_range(&self, parameter: &'static str, value: f32) -> Error {
        Error::ParameterOutOfRange {
            function: self.name(),
            parameter,
            value,
            range: Range::Finite,
        }
    }

    /// The names of the parameters that [`Gate::with`] takes.
    pub fn parameters(&self) -> Vec<&'static str> {
        match self.name {
            Name::ClampedSwiglu => vec!["alpha", "limit", "offset"],
            Name::Swiglu => vec!["alpha"],
            _ => {
                let info = self.function.activation().info();
                info.parameters.iter().map(|p| p.name).collect()
            }
        }
    }

    /// The value and the range of one of [`Gate::parameters`].
    pub(crate) fn parameter(&self, name: &str) -> (f32, Range) {
        match (name, self.clamp) {
            ("limit", Some(clamp)) => (clamp.limit, Range::NonNegative),
            ("offset", Some(clamp)) => (clamp.offset, Range::Finite),
            _ => {
                let info = self.function.activation().info();
                let of_name = info.parameters.iter().position(|p| p.name == name);
                let values = self.function.parameters();
                // The steepness of what has none is 1.
                let value = values.get(of_name.unwrap_or(0)).copied().unwrap_or(1.0);
                let range = of_name.map_or(Range::Finite, |i| info.parameters[i].range);
                (value, range)
            }
        }
    }

    /// The paper that the gate is from.
    pub(crate) fn source(&self) -> &'static str {
        match self.name {
            Name::Glu => "Dauphin et al. 2017",
            Name::Bilinear => "Mnih & Hinton 2007",
            Name::ClampedSwiglu => "OpenAI gpt-oss 2025",
            _ => "Shazeer 2020",
        }
    }

    /// This gate for arrays in another layout.
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// This gate for arrays in another order.
    pub fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The name: `glu` and so on, or `gate` for one of [`Gate::new`].
    pub fn name(&self) -> &'static str {
        match self.name {
            Name::Glu => "glu",
            Name::Reglu => "reglu",
            Name::Geglu => "geglu",
            Name::GegluTanh => "geglu_tanh",
            Name::Swiglu => "swiglu",
            Name::Bilinear => "bilinear",
            Name::ClampedSwiglu => "clamped_swiglu",
            Name::Other => "gate",
        }
    }

    /// Other names of the same gate. vLLM's `silu_and_mul`, `gelu_and_mul` and `gelu_tanh_and_mul`
    /// parse with the gate first, as they have it there.
    pub fn aliases(&self) -> &'static [&'static str] {
        match self.name {
            Name::Glu => &["gated_linear_unit"],
            Name::Geglu => &["geglu_erf", "gelu_and_mul"],
            Name::GegluTanh => &["gelu_tanh_and_mul"],
            Name::Swiglu => &["silu_and_mul", "mul_and_silu"],
            Name::ClampedSwiglu => &["swiglu_oai", "gpt_oss_swiglu"],
            _ => &[],
        }
    }

    /// The formula as text.
    pub fn formula(&self) -> &'static str {
        match self.name {
            Name::Glu => "value * sigmoid(gate)",
            Name::Reglu => "value * relu(gate)",
            Name::Geglu => "value * gelu(gate)",
            Name::GegluTanh => "value * gelu_tanh(gate)",
            Name::Swiglu => "value * gate * sigmoid(alpha * gate)",
            Name::Bilinear => "value * gate",
            Name::ClampedSwiglu => {
                "(clamp(value, -limit, limit) + offset) * g * sigmoid(alpha * g), g = min(gate, limit)"
            }
            Name::Other => "value * f(gate)",
        }
    }

    /// The activation that the gate goes through.
    pub fn function(&self) -> Elementwise {
        self.function
    }

    /// How value and gate lie in one array.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Which of the two comes first in one array.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How far results may be from the correctly rounded ones: the contract's bounds for the named
    /// gates, and for activations that are exact or as `sigmoid`, `silu`, `swish`, `quick_gelu`,
    /// `gelu` and `gelu_tanh` are. For any other one, on a GPU, f(gate) is rounded before the
    /// product, which doubles its error where it is counted in the product's ULP, and rounds
    /// again; and where f(gate) or f'(gate) is below f32's normal numbers, so may the product be
    /// taken to be.
    pub fn bounds(&self) -> Bounds {
        let own = self.function.activation().info().bounds;
        if self.keeps_parts() {
            return Bounds::CONTRACT;
        }
        Bounds {
            forward: 2 * own.forward + 1,
            backward: 2 * own.backward + 1,
        }
    }

    /// Whether f(gate) goes into products with what its rounding lost, or loses nothing.
    pub(crate) fn keeps_parts(&self) -> bool {
        self.function.activation().factor() != Factor::Rounded
    }

    pub(crate) fn clamp(&self) -> Option<Clamp> {
        self.clamp
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.clamp) {
            (Name::Other, _) => write!(f, "gate({})", self.function),
            (_, Some(Clamp { limit, offset })) => {
                let alpha = self.function.packed()[0];
                let name = self.name();
                write!(f, "{name}(alpha={alpha}, limit={limit}, offset={offset})")
            }
            (Name::Swiglu, None) if self.function.activation() == Activation::Swish => {
                write!(f, "swiglu(alpha={})", self.function.packed()[0])
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// An array that holds value and gate: `blocks` times `half` elements of the first, then `half`
/// elements of the second. A split axis and interleaved pairs along any axis are both of this
/// form. The result has `blocks · half` elements, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateShape {
    /// How many blocks there are.
    pub blocks: usize,
    /// Elements of the value, and of the gate, in a block.
    pub half: usize,
}

impl GateShape {
    /// Rows of two: of a value and its gate.
    pub(crate) fn rows(&self) -> AxisShape {
        AxisShape {
            outer: self.blocks,
            len: 2,
            inner: self.half,
        }
    }

    /// Looks at `shape` in the layout of `gate` along `axis`, which counts from the end where it
    /// is negative.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`], and [`Error::OddAxis`] where the axis
    /// cannot be halved.
    pub fn new(gate: &Gate, shape: &[usize], axis: isize) -> Result<Self> {
        let AxisShape { outer, len, inner } = AxisShape::new(shape, axis)?;
        if len % 2 != 0 {
            return Err(Error::OddAxis {
                function: gate.name(),
                axis,
                len,
                shape: shape.to_vec(),
            });
        }
        Ok(match gate.layout {
            Layout::Split => Self {
                blocks: outer,
                half: len / 2 * inner,
            },
            Layout::Interleaved => Self {
                blocks: outer * (len / 2),
                half: inner,
            },
        })
    }

    /// An error where no array can have this shape.
    pub(crate) fn check(&self) -> Result<()> {
        element_count(&[self.blocks, 2, self.half]).map(drop)
    }

    /// Elements of the result, half of the input's.
    pub fn pairs(&self) -> usize {
        self.blocks.saturating_mul(self.half)
    }

    /// Elements of the input.
    pub fn elements(&self) -> usize {
        self.pairs().saturating_mul(2)
    }
}

/// The shape of a gate's result: the input's with half the axis.
///
/// # Errors
/// As [`GateShape::new`].
pub(crate) fn output_shape(gate: &Gate, shape: &[usize], axis: isize) -> Result<Few<usize, 8>> {
    GateShape::new(gate, shape, axis)?;
    let mut output: Few<usize, 8> = shape.iter().copied().collect();
    // `axis` is in range, or the line above had returned.
    let index = if axis < 0 {
        axis + shape.len() as isize
    } else {
        axis
    };
    output[index as usize] /= 2;
    element_count(&output)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse() {
        for gate in Gate::ALL {
            for name in std::iter::once(gate.name()).chain(gate.aliases().iter().copied()) {
                let parsed = name.parse::<Gate>().unwrap();
                assert_eq!(parsed.with_order(gate.order), *gate, "{name}");
            }
            assert!(gate.to_string().starts_with(gate.name()));
        }
        assert_eq!("SwiGLU".parse::<Gate>().unwrap(), Gate::SWIGLU);
        let unknown = "swigl".parse::<Gate>().unwrap_err();
        assert!(unknown.to_string().contains("swiglu"), "{unknown}");
    }

    #[test]
    fn parameters_are_checked() {
        let steep = Gate::SWIGLU.with([("alpha", 2.0)]).unwrap();
        assert_eq!(steep.to_string(), "swiglu(alpha=2)");
        assert_eq!(steep.function().parameters(), [2.0]);
        let clamped = Gate::CLAMPED_SWIGLU.with([("limit", 3.0), ("offset", 0.0)]);
        let clamped = clamped.unwrap().clamp().unwrap();
        assert_eq!((clamped.limit, clamped.offset), (3.0, 0.0));
        let leaky = Gate::new(Activation::LeakyRelu).with([("negative_slope", 0.5)]);
        assert_eq!(leaky.unwrap().function().parameters(), [0.5]);
        for (gate, name, value) in [
            (Gate::CLAMPED_SWIGLU, "limit", -1.0),
            (Gate::CLAMPED_SWIGLU, "limit", f32::NAN),
            (Gate::CLAMPED_SWIGLU, "offset", f32::INFINITY),
            (Gate::CLAMPED_SWIGLU, "alpha", f32::NAN),
            (Gate::SWIGLU, "limit", 1.0),
            (Gate::GLU, "alpha", 1.0),
        ] {
            let error = gate.with([(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn shapes_are_blocks_of_two_halves() {
        let shape = |gate: Gate, shape: &[usize], axis| {
            let s = GateShape::new(&gate, shape, axis).unwrap();
            (s.blocks, s.half)
        };
        let pairs = Gate::GLU.with_layout(Layout::Interleaved);
        assert_eq!(shape(Gate::GLU, &[2, 6, 5], 1), (2, 15));
        assert_eq!(shape(pairs, &[2, 6, 5], 1), (6, 5));
        assert_eq!(shape(Gate::GLU, &[2, 6], -1), (2, 3));
        assert_eq!(shape(pairs, &[2, 6], -1), (6, 1));
        assert_eq!(output_shape(&pairs, &[2, 6, 5], -2).unwrap()[..], [2, 3, 5]);
        let odd = GateShape::new(&Gate::GLU, &[4, 3], -1).unwrap_err();
        let text = odd.to_string();
        assert!(
            text.contains("axis -1") && text.contains("3 elements"),
            "{text}"
        );
        assert!(GateShape::new(&Gate::GLU, &[4], 1).is_err());
        assert!(GateShape::new(&Gate::GLU, &[], 0).is_err());
    }
}
