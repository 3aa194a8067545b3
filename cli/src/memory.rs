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

/// `len` zeros.
pub fn zeros(len: usize) -> Result<Vec<f32>, CliError> {
    filled(len, 0.0)
}
