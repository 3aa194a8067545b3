//! Room for large arrays, or an error where there is none.

use crate::error::CliError;

/// Room for `len` values.
pub fn room(len: usize) -> Result<Vec<f32>, CliError> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| {
        CliError::Usage(format!(
            "an array of {len} elements needs more memory than there is; use a smaller one"
        ))
    })?;
    Ok(values)
}

/// `len` times the same value.
pub fn filled(len: usize, value: f32) -> Result<Vec<f32>, CliError> {
    let mut values = room(len)?;
    values.resize(len, value);
    Ok(values)
}

/// Zeros for an array of this shape.
pub fn zeros_of(shape: &[usize]) -> Result<Vec<f32>, CliError> {
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    // More than can be addressed is more than there is.
    zeros(len.unwrap_or(usize::MAX))
}

/// `len` zeros.
pub fn zeros(len: usize) -> Result<Vec<f32>, CliError> {
    filled(len, 0.0)
}
