//! A caller's WGSL, as it goes into modules: looked at, and with names of its own.

/// A browser that has no naga finds what is wrong when it compiles.
#[cfg(not(target_arch = "wasm32"))]
mod check;

use super::names::Names;
use crate::error::Result;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What the names that a caller's text declares begin with in a module, and none of the library's.
pub(super) const PREFIX: &str = "own_";

/// Whether a text declares that name.
pub(crate) fn declares(text: &str, name: &str) -> bool {
    Names::of(text).declared().any(|declared| declared == name)
}

/// A custom function as it is in modules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CustomText {
    /// The function's name; its derivative's has `_grad` behind it.
    pub name: Arc<str>,
    /// How many parameters it has.
    pub parameters: usize,
    /// What defines both.
    pub text: Arc<str>,
}

/// The text of a custom function, of what the caller gave and what was made beside it: functions
/// `name` and `name_grad` of x and so many parameters.
///
/// Whatever it declares has a prefix, another one for each text, so that no name of a caller's meets
/// one of the library's, of WGSL's or of another function's.
///
/// # Errors
/// [`Error::CustomShader`](crate::Error::CustomShader) where it is no WGSL of such functions.
pub(crate) fn custom(name: &str, parameters: usize, given: &str, made: &str) -> Result<CustomText> {
    let mut hash = DefaultHasher::new();
    (name, given, made).hash(&mut hash);
    let prefix = format!("{PREFIX}{:016x}_", hash.finish());
    let own = Names::of(given).with_prefix(&prefix);
    // What is made of a formula calls the library's functions, whatever the caller has of their names.
    let made = made.replace("fn ", &format!("fn {prefix}"));
    let function = CustomText {
        name: format!("{prefix}{name}").into(),
        parameters,
        text: format!("{own}\n{made}").into(),
    };
    #[cfg(not(target_arch = "wasm32"))]
    check::Given {
        name,
        text: given,
        own: &own,
        prefix: &prefix,
        function: &function,
    }
    .check()?;
    Ok(function)
}
