//! Errors of the library as JavaScript's.

use wasm_bindgen::prelude::*;
use wgpu_activations::Error;

/// An error with the library's sentence, and the name of its kind as `code`.
pub fn raised(error: Error) -> JsValue {
    let kind = format!("{error:?}");
    let end = kind.find(|c: char| !c.is_ascii_alphanumeric());
    let kind = &kind[..end.unwrap_or(kind.len())];
    self::error(&error.to_string(), kind)
}

/// An error of the binding's own.
pub fn error(message: &str, code: &str) -> JsValue {
    let error = JsValue::from(js_sys::Error::new(message));
    set(&error, "code", code);
    error
}

/// Sets a property of an object that the binding has made.
pub fn set(object: &JsValue, name: &str, value: impl Into<JsValue>) {
    // Invariant: the object is no proxy and not frozen.
    let _ = js_sys::Reflect::set(object, &name.into(), &value.into());
}
