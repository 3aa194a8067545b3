//! Devices of wgpu's noop backend, which computes nothing, for unit tests that need no adapter.

/// A device with wgpu's default limits, and its queue.
pub(crate) fn device() -> (wgpu::Device, wgpu::Queue) {
    with_limits(wgpu::Limits::default())
}

/// A device with these limits, and its queue.
pub(crate) fn with_limits(limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        limits: Some(limits.clone()),
        ..wgpu::NoopBackendOptions::enabled()
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()));
    let request = wgpu::DeviceDescriptor {
        required_limits: limits,
        ..Default::default()
    };
    pollster::block_on(adapter.unwrap().request_device(&request)).unwrap()
}
