//! Ranges of parameters' values.

use std::fmt;

/// The values that a parameter may take: the widest set on which the function is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Range {
    /// Any finite number.
    Finite,
    /// Any finite number but 0.
    NonZero,
    /// A finite number that is 0 or more.
    NonNegative,
    /// Anything but NaN, infinities included.
    NotNan,
    /// Anything but NaN that is not below the parameter before it.
    NotBelowPrevious,
    /// A number from 0 to 1.
    Share,
}

impl Range {
    pub(crate) fn contains(self, value: f32, previous: f32) -> bool {
        match self {
            Self::Finite => value.is_finite(),
            Self::NonZero => value.is_finite() && value != 0.0,
            Self::NonNegative => value.is_finite() && value >= 0.0,
            Self::NotNan => !value.is_nan(),
            Self::NotBelowPrevious => value >= previous,
            Self::Share => (0.0..=1.0).contains(&value),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finite => "a finite number",
            Self::NonZero => "a finite number other than 0",
            Self::NonNegative => "a finite number, 0 or more",
            Self::NotNan => "a number or an infinity, not NaN",
            Self::NotBelowPrevious => "a number that is not below the parameter before it",
            Self::Share => "a number from 0 to 1",
        })
    }
}
