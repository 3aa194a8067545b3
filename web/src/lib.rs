//! The compiled part of the npm package `wgpu-activations`: operations of the library's registry, called with
//! JavaScript's arrays. What a user sees is made of it in `package/index.js`.
#![cfg(target_arch = "wasm32")]

mod adopt;
mod arrays;
mod call;
mod chain;
mod check;
mod error;
mod info;
mod tensor;

use error::raised;
use js_sys::Promise;
use std::sync::Once;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::{AdapterChoice, Backend, BackendKind, Gpu};

/// A backend.
#[wasm_bindgen]
pub struct Native(Backend);

/// Tells `panicked` what a panic says: what waits for the code that panicked waits for ever.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(panicked: js_sys::Function) {
    static ONCE: Once = Once::new();
    thread_local! {
        static PANICKED: std::cell::RefCell<Option<js_sys::Function>> = const { std::cell::RefCell::new(None) };
    }
    PANICKED.set(Some(panicked));
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let text = JsValue::from(panic.to_string());
            PANICKED.with_borrow(|panicked| {
                if let Some(panicked) = panicked {
                    // Nothing is left to tell of an error in it.
                    let _ = panicked.call1(&JsValue::NULL, &text);
                }
            });
        }));
    });
}

/// The version of the library.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

#[wasm_bindgen]
impl Native {
    /// Opens "auto", "cpu" or "gpu".
    pub fn open(kind: String) -> Promise {
        future_to_promise(async move {
            let kind = kind.parse::<BackendKind>();
            let kind = kind.map_err(|problem| error::error(&problem, "Options"))?;
            let opened = Backend::open_async(kind, &AdapterChoice::Auto).await;
            Ok(Self(opened.map_err(raised)?).into())
        })
    }

    /// Opens a caller's device, which an object in the place of `navigator.gpu` gives out.
    pub fn adopt(gpu: JsValue) -> Promise {
        future_to_promise(async move {
            let (device, queue) = adopt::device(gpu).await?;
            let gpu = Gpu::from_device(device, queue);
            Ok(Self(Backend::Gpu(gpu)).into())
        })
    }

    /// "cpu" or "gpu".
    pub fn kind(&self) -> String {
        self.0.kind().to_string()
    }

    /// One line: the backend, its device, and why it was taken.
    pub fn describe(&self) -> String {
        self.0.description()
    }

    /// The device, where there is one.
    pub fn device(&self) -> JsValue {
        let device = match &self.0 {
            Backend::Gpu(gpu) => gpu.device().as_webgpu(),
            Backend::Cpu(..) => None,
        };
        device.map_or(JsValue::UNDEFINED, |device| device.into())
    }

    fn gpu(&self) -> Result<&Gpu, JsValue> {
        match &self.0 {
            Backend::Gpu(gpu) => Ok(gpu),
            Backend::Cpu(..) => Err(error::error(
                "tensors are on a GPU, and the CPU computes here; use apply, which takes and gives arrays",
                "NoAdapter",
            )),
        }
    }
}
