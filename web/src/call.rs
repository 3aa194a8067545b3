//! Calls of operations by their names.

use crate::Native;
use crate::arrays::Held;
use crate::error::{error, raised};
use js_sys::{Array as List, Promise};
use std::sync::LazyLock;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::{
    Array, ArrayMut, Call, Operation, OperationInfo, OptionInfo, OptionKind, operation_named,
};

/// What the registry says of every operation. It makes operations to ask them, which takes longer than a call.
pub static OPERATIONS: LazyLock<Vec<OperationInfo>> =
    LazyLock::new(|| wgpu_activations::operations().collect());

/// What the registry says of the operation of a name or an alias.
pub fn info_of(name: &str) -> Option<&'static OperationInfo> {
    let wanted = name.trim().to_lowercase().replace('-', "_");
    OPERATIONS
        .iter()
        .find(|info| info.name == wanted || info.aliases.contains(&&*wanted))
}

/// An operation as JavaScript asks for it: its name, and its options as names and values.
pub struct Asked {
    name: String,
    options: Vec<(String, String)>,
}

impl Asked {
    /// Of a name and a list of pairs.
    pub fn new(name: String, options: &List) -> Result<Self, JsValue> {
        let info = info_of(&name);
        let mut texts = Vec::new();
        for pair in options.iter() {
            let pair = List::from(&pair);
            let option = pair.get(0).as_string().unwrap_or_default();
            let value = pair.get(1);
            let known = info.and_then(|info| {
                let mut options = info.options.iter();
                options.find(|known| known.name == option)
            });
            let text = match known {
                Some(known) => value_of(known, &value)?,
                // The library says which there are.
                None => Some(text_of(&value)),
            };
            texts.extend(text.map(|text| (option, text)));
        }
        Ok(Self {
            name,
            options: texts,
        })
    }

    pub fn operation(&self, shapes: &[Vec<usize>]) -> Result<Box<dyn Operation>, JsValue> {
        let options: Vec<(&str, &str)> = self
            .options
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        operation_named(&self.name, &options, &shapes).map_err(raised)
    }
}

fn text_of(value: &JsValue) -> String {
    if let Some(number) = value.as_f64() {
        return number.to_string();
    }
    if let Some(flag) = value.as_bool() {
        return flag.to_string();
    }
    if value.is_bigint() {
        return String::from(js_sys::Object::from(value.clone()).to_string());
    }
    // An object may have no text, or a long one.
    value.as_string().unwrap_or_else(|| kind_of(value))
}

/// What a value is, with its article.
fn kind_of(value: &JsValue) -> String {
    let kind = value.js_typeof().as_string().unwrap_or_default();
    let article = if kind == "object" { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The value of an option as text; none where it is not set.
fn value_of(option: &OptionInfo, value: &JsValue) -> Result<Option<String>, JsValue> {
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    let wrong = |wanted: &str| {
        let given = kind_of(value);
        let problem = format!("{} is {wanted}, and {given} was given", option.name);
        error(&problem, "Options")
    };
    match &option.kind {
        OptionKind::Number if value.as_f64().is_none() => Err(wrong("a number")),
        OptionKind::Integer | OptionKind::Count
            if value.as_f64().is_none() && !value.is_bigint() =>
        {
            Err(wrong("a whole number"))
        }
        OptionKind::Flag if value.as_bool().is_none() => Err(wrong("true or false")),
        OptionKind::Choice(words) if option.default.is_none() && value.as_bool().is_some() => {
            // The first word is what a bare yes means.
            Ok(value.is_truthy().then(|| words[0].to_owned()))
        }
        _ => Ok(Some(text_of(value))),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Value,
    Gradients,
    FromOutput,
    Both,
}

/// The arrays of a call, with what it computes of them.
struct Work {
    operation: Box<dyn Operation>,
    what: What,
    inputs: Vec<Held>,
    dy: Option<Held>,
}

impl Work {
    fn call(&self) -> Result<Call<'_>, JsValue> {
        let arrays = self.inputs.iter().map(Held::array);
        let dy = || self.dy.as_ref().map(Held::array).ok_or_else(no_dy);
        Ok(match self.what {
            What::Value => Call::value(arrays),
            What::Both => Call::value_and_gradient(arrays),
            What::Gradients => Call::gradients(arrays, dy()?),
            What::FromOutput => {
                let y = self.inputs.first().map(Held::array);
                let y = y.unwrap_or_else(|| Array::from(&[0.0f32; 0]));
                Call::gradient_from_output(y, dy()?)
            }
        })
    }
}

fn no_dy() -> JsValue {
    let problem =
        "a gradient takes dy, the gradient of what is made of the result, of the result's shape";
    error(problem, "Inputs")
}

/// Whether a function has an input of this name; of a function that there is none of nothing is known.
pub fn takes(function: &str, input: &str) -> bool {
    info_of(function).is_none_or(|info| info.forms.iter().flatten().any(|i| i.name == input))
}

/// The name of an input that may be missing.
pub fn optional(name: &str, input: &str) -> Option<&'static str> {
    let info = info_of(name)?;
    let found = info.forms.iter().flatten().find(|i| i.name == input)?;
    found.optional.then_some(found.name)
}

/// What `index.js` makes of inputs: pairs of a name and an array.
pub fn held(function: &str, inputs: &List) -> Result<Vec<Held>, JsValue> {
    let inputs = inputs.iter().map(|pair| {
        let pair = List::from(&pair);
        let mut held = Held::new(&pair.get(1))?;
        held.name = optional(function, &pair.get(0).as_string().unwrap_or_default());
        Ok(held)
    });
    inputs.collect()
}

#[wasm_bindgen]
impl Native {
    /// Computes "value", "gradients", "from_output" or "both" of an operation; what comes out is a list. What is
    /// given is read before this returns: the caller may change it then.
    pub fn run(
        &self,
        what: String,
        name: String,
        options: List,
        inputs: List,
        dy: JsValue,
    ) -> Result<Promise, JsValue> {
        let backend = self.0.clone();
        let what = match &*what {
            "value" => What::Value,
            "both" => What::Both,
            "from_output" => What::FromOutput,
            _ => What::Gradients,
        };
        let inputs = held(&name, &inputs)?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(Held::shape).collect();
        let operation = Asked::new(name, &options)?.operation(&shapes)?;
        let dy = match dy.is_undefined() {
            true => None,
            false => Some(Held::new(&dy)?),
        };
        let mut work = Work {
            operation,
            what,
            inputs,
            dy,
        };
        Ok(future_to_promise(async move {
            if work.dy.is_none() && what == What::Gradients {
                // Of a result that is one number, it is 1.
                let value = Call::value(work.inputs.iter().map(Held::array));
                let shapes = value.shapes(&*work.operation).map_err(raised)?;
                if shapes[0].iter().product::<usize>() == 1 {
                    work.dy = Some(Held::ones(shapes[0].clone()));
                }
            }
            let call = work.call()?;
            let shapes = call.shapes(&*work.operation).map_err(raised)?;
            let like = &work.inputs[0];
            let mut outputs: Vec<Held> = shapes
                .into_iter()
                .map(|shape| like.zeros_like(shape))
                .collect();
            let mut places: Vec<Option<ArrayMut<'_>>> =
                outputs.iter_mut().map(Held::array_mut).collect();
            let done = backend.run_async(&*work.operation, &call, &mut places);
            done.await.map_err(raised)?;
            drop(places);
            Ok(outputs.iter().map(Held::given).collect::<List>().into())
        }))
    }
}
