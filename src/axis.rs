//! The functions along an axis: the softmax family.

use crate::shape::AxisShape;
use std::fmt;

/// A function of whole rows along one axis of an array.
///
/// A row with a NaN, or with a positive infinity, or of nothing but negative infinities has no
/// defined softmax and becomes NaN; `LogSumExp` has the limits +infinity and -infinity there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AxisFunction {
    /// e^x / sum e^x.
    Softmax,
    /// x - log sum e^x.
    LogSoftmax,
    /// Softmax of -x.
    Softmin,
    /// log sum e^x: the axis is reduced to length 1.
    LogSumExp,
}

impl AxisFunction {
    /// The whole family.
    pub const ALL: &'static [Self] = &[
        Self::Softmax,
        Self::LogSoftmax,
        Self::Softmin,
        Self::LogSumExp,
    ];

    /// The name, PyTorch's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
            Self::Softmin => "softmin",
            Self::LogSumExp => "logsumexp",
        }
    }

    /// Other frameworks' names.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Softmax => &["soft_max"],
            Self::LogSoftmax => &["logsoftmax"],
            Self::Softmin => &["soft_min"],
            Self::LogSumExp => &["log_sum_exp", "reduce_log_sum_exp", "reducelogsumexp"],
        }
    }

    /// The formula as text, over one row.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Softmax => "exp(x - max x) / sum exp(x - max x)",
            Self::LogSoftmax => "x - max x - log sum exp(x - max x)",
            Self::Softmin => "softmax(-x)",
            Self::LogSumExp => "max x + log sum exp(x - max x)",
        }
    }

    /// The gradient by the input as text, over one row; g is the upstream gradient.
    pub fn gradient(self) -> &'static str {
        match self {
            Self::Softmax => "y * (g - sum(g * y)), y = softmax(x)",
            Self::LogSoftmax => "g - softmax(x) * sum(g)",
            Self::Softmin => "-y * (g - sum(g * y)), y = softmin(x)",
            Self::LogSumExp => "g * softmax(x)",
        }
    }

    /// Whether the result has one value for each row instead of one for each element.
    pub fn reduces(self) -> bool {
        self == Self::LogSumExp
    }
}

impl fmt::Display for AxisFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AxisShape {
    /// Elements of the result of `function`.
    pub fn output_elements(&self, function: AxisFunction) -> usize {
        if function.reduces() {
            self.rows()
        } else {
            self.elements()
        }
    }
}
