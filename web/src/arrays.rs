//! JavaScript's arrays as the library sees them.

use crate::error::{error, set};
use half::{bf16, f16};
use js_sys::{Array as List, Reflect};
use wasm_bindgen::prelude::*;
use wgpu_activations::{Array, ArrayMut, InputKind, OfShape, Targets};

/// An array of its own, with its shape where it has one.
pub struct Held {
    data: Data,
    shape: Option<Vec<usize>>,
    /// The input's name, where it may be missing.
    pub name: Option<&'static str>,
}

pub enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    U8(Vec<u8>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// A kind of inputs as JavaScript has it.
pub fn word(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Numbers => "numbers",
        InputKind::Targets => "targets",
        InputKind::Mask => "mask",
        InputKind::Lengths => "lengths",
    }
}

fn property(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// The lengths of axes; none where none are given.
pub fn shape(given: &JsValue) -> Result<Option<Vec<usize>>, JsValue> {
    if given.is_undefined() || given.is_null() {
        return Ok(None);
    }
    let given = List::from(given);
    let lengths = given.iter().map(|length| {
        let length = length.as_f64().unwrap_or(-1.0);
        if length.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&length) {
            return Ok(length as usize);
        }
        Err(error("a shape is whole numbers, 0 or more", "Shape"))
    });
    lengths.collect::<Result<_, _>>().map(Some)
}

impl Held {
    /// What `index.js` makes of an argument: `{ dtype, data, shape }`, whose data are of the type that the
    /// word says; 16-bit numbers are in a Uint16Array.
    pub fn new(given: &JsValue) -> Result<Self, JsValue> {
        let dtype = property(given, "dtype").as_string().unwrap_or_default();
        let data = property(given, "data");
        let bits = || js_sys::Uint16Array::new(&data).to_vec();
        let data = match &*dtype {
            "f32" => Data::F32(js_sys::Float32Array::new(&data).to_vec()),
            "f16" => Data::F16(bits().into_iter().map(f16::from_bits).collect()),
            "bf16" => Data::Bf16(bits().into_iter().map(bf16::from_bits).collect()),
            "u8" => Data::U8(js_sys::Uint8Array::new(&data).to_vec()),
            "u32" => Data::U32(js_sys::Uint32Array::new(&data).to_vec()),
            "i32" => Data::I32(js_sys::Int32Array::new(&data).to_vec()),
            "i64" => Data::I64(js_sys::BigInt64Array::new(&data).to_vec()),
            _ => {
                let problem = format!("no type of numbers is called '{dtype}'");
                return Err(error(&problem, "UnknownDType"));
            }
        };
        let shape = shape(&property(given, "shape"))?;
        Ok(Self {
            data,
            shape,
            name: None,
        })
    }

    /// Zeros of the type of another array, where that is one of real numbers.
    pub fn zeros_like(&self, shape: Vec<usize>) -> Self {
        let count = shape.iter().product();
        Self {
            data: match self.data {
                Data::F16(_) => Data::F16(vec![f16::ZERO; count]),
                Data::Bf16(_) => Data::Bf16(vec![bf16::ZERO; count]),
                _ => Data::F32(vec![0.0; count]),
            },
            shape: Some(shape),
            name: None,
        }
    }

    /// Numbers of a shape.
    pub fn of(numbers: Vec<f32>, shape: &[usize]) -> Self {
        Self {
            data: Data::F32(numbers),
            shape: Some(shape.to_vec()),
            name: None,
        }
    }

    pub fn ones(shape: Vec<usize>) -> Self {
        Self::of(vec![1.0; shape.iter().product()], &shape)
    }

    fn len(&self) -> usize {
        match &self.data {
            Data::F32(x) => x.len(),
            Data::F16(x) => x.len(),
            Data::Bf16(x) => x.len(),
            Data::U8(x) => x.len(),
            Data::U32(x) => x.len(),
            Data::I32(x) => x.len(),
            Data::I64(x) => x.len(),
        }
    }

    /// The lengths of the axes: one of all elements, where no shape is given.
    pub fn shape(&self) -> Vec<usize> {
        self.shape.clone().unwrap_or_else(|| vec![self.len()])
    }

    /// The numbers, where they are f32.
    pub fn f32(&self) -> Result<&[f32], JsValue> {
        match &self.data {
            Data::F32(x) => Ok(x),
            _ => Err(error("this takes a Float32Array", "DTypeMismatch")),
        }
    }

    /// The bytes of a mask.
    pub fn bytes(&self) -> Result<&[u8], JsValue> {
        match &self.data {
            Data::U8(x) => Ok(x),
            _ => Err(error(
                "a mask takes booleans or a Uint8Array",
                "DTypeMismatch",
            )),
        }
    }

    /// The numbers of lengths.
    pub fn counts(&self) -> Result<&[u32], JsValue> {
        match &self.data {
            Data::U32(x) => Ok(x),
            _ => Err(error(
                "lengths take whole numbers or a Uint32Array",
                "DTypeMismatch",
            )),
        }
    }

    /// Classes, or their probabilities.
    pub fn targets(&self) -> Result<Targets<'_>, JsValue> {
        match &self.data {
            Data::I32(x) => Ok(x.into()),
            Data::I64(x) => Ok(x.into()),
            Data::F32(x) => Ok(x.into()),
            _ => Err(error(
                "labels take classes as an Int32Array or a BigInt64Array, or probabilities as a Float32Array",
                "DTypeMismatch",
            )),
        }
    }

    pub fn array(&self) -> Array<'_> {
        macro_rules! shaped {
            ($x:ident) => {
                match &self.shape {
                    Some(shape) => $x[..].of_shape(shape).into(),
                    None => (&$x[..]).into(),
                }
            };
        }
        let array: Array<'_> = match &self.data {
            Data::F32(x) => shaped!(x),
            Data::F16(x) => shaped!(x),
            Data::Bf16(x) => shaped!(x),
            Data::U8(x) => shaped!(x),
            Data::U32(x) => shaped!(x),
            Data::I32(x) => shaped!(x),
            Data::I64(x) => shaped!(x),
        };
        match self.name {
            Some(name) => array.named(name),
            None => array,
        }
    }

    /// The array as an output; none of what is no real number.
    pub fn array_mut(&mut self) -> Option<ArrayMut<'_>> {
        match &mut self.data {
            Data::F32(x) => Some((&mut x[..]).into()),
            Data::F16(x) => Some((&mut x[..]).into()),
            Data::Bf16(x) => Some((&mut x[..]).into()),
            _ => None,
        }
    }

    /// `{ dtype, data, shape }` of a result.
    pub fn given(&self) -> JsValue {
        let result = JsValue::from(js_sys::Object::new());
        let bits = |bits: Vec<u16>| JsValue::from(js_sys::Uint16Array::from(&bits[..]));
        let (dtype, data) = match &self.data {
            Data::F32(x) => ("f32", js_sys::Float32Array::from(&x[..]).into()),
            Data::F16(x) => ("f16", bits(x.iter().map(|x| x.to_bits()).collect())),
            Data::Bf16(x) => ("bf16", bits(x.iter().map(|x| x.to_bits()).collect())),
            _ => ("", JsValue::UNDEFINED),
        };
        set(&result, "dtype", dtype);
        set(&result, "data", data);
        set(&result, "shape", numbers(&self.shape()));
        result
    }
}

/// A list of whole numbers.
pub fn numbers(numbers: &[usize]) -> List {
    numbers.iter().map(|&n| JsValue::from(n as f64)).collect()
}
