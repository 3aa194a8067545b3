//! Arrays that stay on the device.

use crate::Native;
use crate::adopt;
use crate::arrays::{numbers, shape};
use crate::call::Asked;
use crate::error::{error, raised};
use js_sys::{Array as List, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::{DType, Gpu, Tensor, TensorArray};

/// A tensor of f32.
#[wasm_bindgen]
pub struct NativeTensor {
    tensor: Tensor,
    gpu: Gpu,
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
    /// The value of an operation of this tensor and others.
    pub fn apply(
        &self,
        name: String,
        options: List,
        others: Vec<NativeTensor>,
    ) -> Result<NativeTensor, JsValue> {
        self.computed(name, &options, &others, None)
            .map(|mut results| results.remove(0))
    }

    /// The gradients of an operation of this tensor and others, by all that there is one by.
    pub fn grads(
        &self,
        name: String,
        options: List,
        others: Vec<NativeTensor>,
        dy: &NativeTensor,
    ) -> Result<Vec<NativeTensor>, JsValue> {
        self.computed(name, &options, &others, Some(dy))
    }

    /// The same tensor once more: what is given to a call is gone behind it.
    pub fn share(&self) -> NativeTensor {
        self.with(self.tensor.clone())
    }

    fn with(&self, tensor: Tensor) -> Self {
        let gpu = self.gpu.clone();
        Self { tensor, gpu }
    }

    fn computed(
        &self,
        name: String,
        options: &List,
        others: &[NativeTensor],
        dy: Option<&NativeTensor>,
    ) -> Result<Vec<NativeTensor>, JsValue> {
        let tensors = || [self].into_iter().chain(others).map(|of| &of.tensor);
        let shapes: Vec<Vec<usize>> = tensors().map(|tensor| tensor.shape().to_vec()).collect();
        let operation = Asked::new(name, options)?.operation(&shapes)?;
        let arrays: Vec<TensorArray<'_>> = tensors().map(TensorArray::from).collect();
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
