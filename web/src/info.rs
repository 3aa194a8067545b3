//! What the registry says of operations, as JavaScript's objects.

use crate::arrays::word;
use crate::call::OPERATIONS;
use crate::error::set;
use js_sys::{Array as List, Object};
use wasm_bindgen::prelude::*;
use wgpu_activations::{Activation, OperationInfo, OptionInfo, OptionKind};

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> List {
    words.into_iter().map(JsValue::from).collect()
}

fn option(info: &OperationInfo, option: &OptionInfo) -> JsValue {
    let told = JsValue::from(Object::new());
    let (kind, choices) = match &option.kind {
        OptionKind::Number => ("number", &[][..]),
        OptionKind::Integer => ("integer", &[][..]),
        OptionKind::Count => ("count", &[][..]),
        OptionKind::Flag => ("flag", &[][..]),
        OptionKind::Choice(words) => ("choice", &words[..]),
        _ => ("text", &[][..]),
    };
    set(&told, "name", option.name);
    set(&told, "kind", kind);
    set(&told, "words", words(choices.iter().copied()));
    let default = match (&option.kind, &option.default) {
        (_, None) => JsValue::UNDEFINED,
        (OptionKind::Flag, Some(text)) => JsValue::from(text == "true"),
        (OptionKind::Choice(_), Some(text)) => JsValue::from(&**text),
        (_, Some(text)) => match (text.parse::<f64>(), fraction(text)) {
            (Ok(number), _) | (_, Some(number)) => JsValue::from(number),
            _ => JsValue::from(&**text),
        },
    };
    set(&told, "default", default);
    set(&told, "meaning", &*option.meaning);
    // Of an activation's parameters the library knows which values there are.
    let activation = info.name.parse::<Activation>().ok();
    let parameters = activation.map_or(&[][..], |activation| activation.info().parameters);
    let parameter = parameters.iter().find(|known| known.name == option.name);
    if let Some(parameter) = parameter {
        set(&told, "range", parameter.range.to_string());
    }
    told
}

/// A default such as 1/8.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    Some(above.trim().parse::<f64>().ok()? / below.trim().parse::<f64>().ok()?)
}

fn told(info: &OperationInfo) -> JsValue {
    let told = JsValue::from(Object::new());
    for (name, text) in [
        ("name", info.name),
        ("family", info.family),
        ("summary", info.summary),
        ("formula", info.formula),
        ("derivative", info.gradient),
        ("source", info.source),
        ("shapes", info.shapes),
    ] {
        set(&told, name, text);
    }
    set(&told, "aliases", words(info.aliases.iter().copied()));
    set(&told, "elementwise", info.elementwise);
    set(&told, "fromOutput", info.from_output);
    let options = info.options.iter().map(|known| option(info, known));
    set(&told, "options", options.collect::<List>());
    let forms = info.forms.iter().map(|form| {
        let inputs = form.iter().map(|input| {
            let told = JsValue::from(Object::new());
            set(&told, "name", input.name);
            set(&told, "kind", word(input.kind));
            set(&told, "optional", input.optional);
            set(&told, "differentiable", input.differentiable);
            told
        });
        inputs.collect::<List>()
    });
    set(&told, "forms", forms.collect::<List>());
    let missing = info.missing.iter().map(|(way, why)| {
        let told = JsValue::from(Object::new());
        set(&told, "way", way.to_string());
        set(&told, "why", *why);
        told
    });
    set(&told, "missing", missing.collect::<List>());
    told
}

/// What the registry says of every operation.
#[wasm_bindgen]
pub fn functions() -> List {
    OPERATIONS.iter().map(told).collect()
}
