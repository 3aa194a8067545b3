//! Arrays that stay on the device.

use crate::Native;
use crate::adopt;
use crate::arrays::{Held, numbers, shape};
use crate::call::{Asked, optional, takes};
use crate::error::{error, raised};
use js_sys::{Array as List, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::{DType, Gpu, Labels, Lengths, Mask, Operation, Tensor, TensorArray};

/// A tensor of f32.
#[wasm_bindgen]
pub struct NativeTensor {
    tensor: Tensor,
    gpu: Gpu,
}

/// An array beside the first tensor of a call, which is gone behind it.
#[wasm_bindgen]
pub struct NativeArray {
    kept: Kept,
    /// The input that it is, of those that may be missing.
    name: Option<&'static str>,
}

#[derive(Clone)]
enum Kept {
    Numbers(Tensor),
    Mask(Mask),
    Lengths(Lengths),
    Labels(Labels),
}

impl From<Kept> for NativeArray {
    fn from(kept: Kept) -> Self {
        Self { kept, name: None }
    }
}

impl NativeArray {
    fn array(&self) -> TensorArray<'_> {
        match (&self.kept, self.name) {
            (Kept::Numbers(tensor), Some(name)) => tensor.named(name),
            (Kept::Numbers(tensor), None) => tensor.into(),
            // Of each of these an operation has one input at most.
            (Kept::Mask(mask), _) => mask.into(),
            (Kept::Lengths(lengths), _) => lengths.into(),
            (Kept::Labels(labels), _) => labels.into(),
        }
    }

    fn axes(&self) -> &[usize] {
        match &self.kept {
            Kept::Numbers(tensor) => tensor.shape(),
            Kept::Mask(mask) => mask.shape(),
            Kept::Lengths(lengths) => lengths.shape(),
            Kept::Labels(labels) => labels.shape(),
        }
    }
}

#[wasm_bindgen]
impl NativeArray {
    /// The same array as an input of a function, of this name where it has one.
    pub fn share(&self, function: &str, input: Option<String>) -> Result<NativeArray, JsValue> {
        let name = match input {
            Some(input) if !takes(function, &input) => {
                let problem = format!("{function} has no input called {input}");
                return Err(error(&problem, "Inputs"));
            }
            Some(input) => optional(function, &input),
            None => None,
        };
        let kept = self.kept.clone();
        Ok(NativeArray { kept, name })
    }

    pub fn shape(&self) -> List {
        numbers(self.axes())
    }
}

/// The operation with the numbers that it takes as options in the place of arrays: pairs of an input's name and an
/// array.
fn weighted(
    mut operation: Box<dyn Operation>,
    weights: &List,
    first: &[usize],
) -> Result<Box<dyn Operation>, JsValue> {
    for pair in weights.iter() {
        let pair = List::from(&pair);
        let input = pair.get(0).as_string().unwrap_or_default();
        let name = operation.name();
        let Some(input) = optional(name, &input) else {
            let problem = format!("{name} has no input called {input}");
            return Err(error(&problem, "Inputs"));
        };
        let held = Held::new(&pair.get(1))?;
        let shape = held.shape();
        if shape.len() > 1 && shape != first {
            let problem = format!(
                "{input} of {name} has the shape {shape:?}; beside tensors it is a list, or of the first one's \
                 shape, {first:?}"
            );
            return Err(error(&problem, "ShapeMismatch"));
        }
        let Some(made) = operation.with_weight(input, held.f32()?) else {
            let problem = format!(
                "{input} of {name} is on the device beside tensors: make it by tensor, mask, lengths or labels"
            );
            return Err(error(&problem, "Inputs"));
        };
        operation = made;
    }
    Ok(operation)
}

fn needed(given: &JsValue) -> Result<Vec<usize>, JsValue> {
    shape(given)?.ok_or_else(|| error("a tensor takes a shape, as in [2, 3]", "Shape"))
}

#[wasm_bindgen]
impl Native {
    /// A tensor with any contents.
    pub fn empty(&self, shape: JsValue) -> Result<NativeTensor, JsValue> {
        let gpu = self.gpu()?.clone();
        let tensor = gpu.empty(&needed(&shape)?).map_err(raised)?;
        Ok(NativeTensor { tensor, gpu })
    }

    /// A mask on the device, of bytes.
    pub fn mask(&self, given: &JsValue) -> Result<Promise, JsValue> {
        let (gpu, held) = (self.gpu()?.clone(), Held::new(given)?);
        Ok(future_to_promise(async move {
            let mask = gpu.upload_mask_async(held.bytes()?, &held.shape()).await;
            let kept = Kept::Mask(mask.map_err(raised)?);
            Ok(NativeArray::from(kept).into())
        }))
    }

    /// Row lengths on the device.
    pub fn lengths(&self, given: &JsValue) -> Result<Promise, JsValue> {
        let (gpu, held) = (self.gpu()?.clone(), Held::new(given)?);
        Ok(future_to_promise(async move {
            let lengths = gpu
                .upload_lengths_async(held.counts()?, &held.shape())
                .await;
            let kept = Kept::Lengths(lengths.map_err(raised)?);
            Ok(NativeArray::from(kept).into())
        }))
    }

    /// The targets of a loss over classes on the device, for logits of this shape.
    pub fn labels(
        &self,
        name: String,
        options: &List,
        weights: &List,
        logits: JsValue,
        targets: &JsValue,
    ) -> Result<Promise, JsValue> {
        let (gpu, held) = (self.gpu()?.clone(), Held::new(targets)?);
        let logits = needed(&logits)?;
        let shapes = [logits.clone(), held.shape()];
        let operation = Asked::new(name, options)?.operation(&shapes)?;
        let operation = weighted(operation, weights, &logits)?;
        let Some(loss) = operation.class_loss() else {
            let problem = format!(
                "{} takes no labels: they are for losses over classes, and other targets are tensors",
                operation.name()
            );
            return Err(error(&problem, "Inputs"));
        };
        Ok(future_to_promise(async move {
            let labels = gpu.labels_async(loss, &logits, held.targets()?).await;
            let kept = Kept::Labels(labels.map_err(raised)?);
            Ok(NativeArray::from(kept).into())
        }))
    }

    /// A tensor in a buffer of the caller's.
    pub fn tensor_of(&self, buffer: JsValue, shape: JsValue) -> Result<NativeTensor, JsValue> {
        let gpu = self.gpu()?.clone();
        let buffer = adopt::buffer(gpu.device(), &buffer)?;
        let shape = needed(&shape)?;
        let tensor = Tensor::of_buffer(&gpu, buffer, &shape, DType::F32).map_err(raised)?;
        Ok(NativeTensor { tensor, gpu })
    }
}

#[wasm_bindgen]
impl NativeTensor {
    /// The value of an operation of this tensor and others, with weights as pairs of a name and an array.
    pub fn apply(
        &self,
        name: String,
        options: List,
        others: Vec<NativeArray>,
        weights: List,
    ) -> Result<NativeTensor, JsValue> {
        self.computed(name, &options, &others, &weights, None)
            .map(|mut results| results.remove(0))
    }

    /// The gradients of the same, by all that there is one by.
    pub fn grads(
        &self,
        name: String,
        options: List,
        others: Vec<NativeArray>,
        weights: List,
        dy: &NativeTensor,
    ) -> Result<Vec<NativeTensor>, JsValue> {
        self.computed(name, &options, &others, &weights, Some(dy))
    }

    /// The same tensor as an input of a function, of this name where it has one.
    pub fn share(&self, function: &str, input: Option<String>) -> Result<NativeArray, JsValue> {
        NativeArray::from(Kept::Numbers(self.tensor.clone())).share(function, input)
    }

    fn with(&self, tensor: Tensor) -> Self {
        let gpu = self.gpu.clone();
        Self { tensor, gpu }
    }

    fn computed(
        &self,
        name: String,
        options: &List,
        others: &[NativeArray],
        weights: &List,
        dy: Option<&NativeTensor>,
    ) -> Result<Vec<NativeTensor>, JsValue> {
        let first = self.tensor.shape();
        let shapes = others.iter().map(NativeArray::axes);
        let shapes: Vec<Vec<usize>> = [first]
            .into_iter()
            .chain(shapes)
            .map(<[_]>::to_vec)
            .collect();
        let operation = Asked::new(name, options)?.operation(&shapes)?;
        let operation = weighted(operation, weights, first)?;
        let others = others.iter().map(NativeArray::array);
        let arrays: Vec<TensorArray<'_>> =
            [(&self.tensor).into()].into_iter().chain(others).collect();
        let mut batch = self.gpu.batch();
        let results = match dy {
            None => batch.apply(&*operation, &arrays[..]).map(|y| vec![y]),
            Some(dy) => batch.grads(&*operation, &arrays[..], &dy.tensor),
        };
        let results = results.map_err(raised)?;
        batch.submit().map_err(raised)?;
        Ok(results
            .into_iter()
            .map(|tensor| self.with(tensor))
            .collect())
    }

    /// The values.
    pub fn read(&self) -> Promise {
        let tensor = self.tensor.clone();
        future_to_promise(async move {
            let numbers = tensor.read_async().await.map_err(raised)?;
            Ok(js_sys::Float32Array::from(&numbers[..]).into())
        })
    }

    /// The GPUBuffer, which may be longer than the array.
    pub fn buffer(&self) -> JsValue {
        let buffer = self.tensor.buffer().as_webgpu();
        buffer.map_or(JsValue::UNDEFINED, |buffer| buffer.into())
    }

    pub fn shape(&self) -> List {
        numbers(self.tensor.shape())
    }
}
