//! WebGPU's objects of the caller's. wgpu makes its own alone, by methods of JavaScript's objects: for the
//! time of one call such a method gives out the caller's object.

use crate::error::error;
use js_sys::{Object, Reflect};
use wasm_bindgen::prelude::*;

/// Sets a property that hides one of the prototype's, runs `work`, and puts back what was there.
fn hiding<T>(
    object: &JsValue,
    name: &str,
    value: &JsValue,
    work: impl FnOnce() -> T,
) -> Result<T, JsValue> {
    let descriptor = Object::new();
    Reflect::set(&descriptor, &"value".into(), value)?;
    Reflect::set(&descriptor, &"configurable".into(), &true.into())?;
    let target: &Object = object.unchecked_ref();
    // A page may have one of its own there.
    let before = Object::get_own_property_descriptor(target, &name.into());
    if !Reflect::define_property(target, &name.into(), &descriptor)? {
        return Err(error(&format!("{name} cannot be replaced here"), "Device"));
    }
    let done = work();
    match before.dyn_ref::<Object>() {
        Some(before) => Reflect::define_property(target, &name.into(), before)?,
        None => Reflect::delete_property(target, &name.into())?,
    };
    Ok(done)
}

/// The device that `gpu` gives out.
pub async fn device(gpu: JsValue) -> Result<(wgpu::Device, wgpu::Queue), JsValue> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into())?;
    // The instance asks for it once, when it is made.
    let instance = hiding(&navigator, "gpu", &gpu, || {
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
    })?;
    let adapter = instance.request_adapter(&Default::default()).await;
    let adapter = adapter.map_err(|problem| error(&problem.to_string(), "NoAdapter"))?;
    let opened = adapter.request_device(&Default::default()).await;
    opened.map_err(|problem| error(&problem.to_string(), "DeviceRequest"))
}

/// A buffer of JavaScript's as wgpu's.
pub fn buffer(device: &wgpu::Device, buffer: &JsValue) -> Result<wgpu::Buffer, JsValue> {
    let number = |name: &str| {
        let value = Reflect::get(buffer, &name.into()).ok()?;
        value.as_f64()
    };
    let (Some(size), Some(usage)) = (number("size"), number("usage")) else {
        return Err(error("this is no GPUBuffer", "BufferUsage"));
    };
    let Some(js) = device.as_webgpu() else {
        return Err(error("the device is not WebGPU's", "Device"));
    };
    let given = buffer.clone();
    let give = Closure::<dyn FnMut(JsValue) -> JsValue>::new(move |_| given.clone());
    hiding(js.as_ref(), "createBuffer", give.as_ref(), || {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: size as u64,
            usage: wgpu::BufferUsages::from_bits_truncate(usage as u32),
            mapped_at_creation: false,
        })
    })
}
