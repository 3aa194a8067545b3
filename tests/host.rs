//! The host layer without an adapter: wgpu's noop backend computes nothing but validates all, on
//! limits of our choosing. What is recorded must be valid whatever the limits, and every misuse
//! must come back as a value whose message names the thing.

use wgpu::{BufferUsages, Limits};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, Error, Gpu, Kernels, Result, wgpu,
};

/// A device of the noop backend with these limits.
fn device(limits: Limits, software: bool) -> (wgpu::Device, wgpu::Queue) {
    let kind = if software {
        wgpu::DeviceType::Cpu
    } else {
        wgpu::DeviceType::DiscreteGpu
    };
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        limits: Some(limits.clone()),
        device_type: Some(kind),
        ..wgpu::NoopBackendOptions::enabled()
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let request = wgpu::DeviceDescriptor {
        required_limits: limits,
        ..Default::default()
    };
    pollster::block_on(adapter.unwrap().request_device(&request)).unwrap()
}

/// What every WebGPU device has, and no more.
fn downlevel() -> Limits {
    Limits::downlevel_defaults()
}

/// Less than any device has: 256 elements a binding, workgroups of 32.
fn tiny() -> Limits {
    Limits {
        max_storage_buffer_binding_size: 1024,
        max_compute_invocations_per_workgroup: 32,
        max_compute_workgroup_size_x: 32,
        max_compute_workgroups_per_dimension: 16,
        ..downlevel()
    }
}

/// Bindings of any size, so that dispatches alone are what is cut.
fn many_workgroups() -> Limits {
    Limits {
        max_storage_buffer_binding_size: 1 << 30,
        max_buffer_size: 1 << 30,
        max_compute_invocations_per_workgroup: 64,
        max_compute_workgroup_size_x: 64,
        ..downlevel()
    }
}

fn buffer(device: &wgpu::Device, elements: usize, usage: BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: elements.max(1) as u64 * 4,
        usage,
        mapped_at_creation: false,
    })
}

fn storage(device: &wgpu::Device, elements: usize) -> wgpu::Buffer {
    buffer(device, elements, BufferUsages::STORAGE)
}

fn bytes(elements: usize) -> std::ops::RangeTo<u64> {
    ..elements as u64 * 4
}

/// Records `work` into a pass of its own and submits it; what wgpu has against it.
fn recorded<T>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    work: impl FnOnce(&mut wgpu::ComputePass<'_>) -> T,
) -> (T, Option<wgpu::Error>) {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let value = work(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    queue.submit([encoder.finish()]);
    (value, pollster::block_on(scope.pop()))
}

#[track_caller]
fn assert_valid(what: &str, (result, error): (Result<()>, Option<wgpu::Error>)) {
    assert!(result.is_ok(), "{what}: {}", result.unwrap_err());
    assert!(error.is_none(), "{what}: {}", error.unwrap());
}

/// Lengths around everything that cuts: lanes, workgroups, bindings.
fn lengths() -> Vec<usize> {
    let mut lengths = vec![1, 2, 3, 4, 5, 7];
    for edge in [31, 32, 64, 128, 252, 256, 512, 1024, 16 * 256, 16 * 32 * 16] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    lengths
}

#[test]
fn elementwise_work_of_any_length_is_valid() {
    for limits in [tiny(), downlevel()] {
        let (device, queue) = device(limits, false);
        let kernels = Kernels::new(&device);
        for n in lengths() {
            let [x, dy, out] = [(); 3].map(|()| storage(&device, n));
            let [x, dy, out] = [&x, &dy, &out].map(|b| b.slice(bytes(n)));
            let f = Activation::Gelu;
            let what = |call: &str| format!("{call} of {n}");
            let work = recorded(&device, &queue, |pass| kernels.apply(pass, f, x, out));
            assert_valid(&what("apply"), work);
            let work = recorded(&device, &queue, |pass| kernels.apply_in_place(pass, f, x));
            assert_valid(&what("apply_in_place"), work);
            let work = recorded(&device, &queue, |pass| kernels.grad(pass, f, x, dy, out));
            assert_valid(&what("grad"), work);
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_in_place(pass, f, x, dy)
            });
            assert_valid(&what("grad_in_place"), work);
        }
    }
}

#[test]
fn more_than_65_535_workgroups_are_valid() {
    let (device, queue) = device(many_workgroups(), false);
    let kernels = Kernels::new(&device);
    let edge = 65_535 * 64 * 4;
    let x = storage(&device, 2 * edge + 5);
    for n in [
        edge - 1,
        edge,
        edge + 1,
        edge + 255,
        edge + 257,
        2 * edge + 5,
    ] {
        let slice = x.slice(bytes(n));
        let work = recorded(&device, &queue, |pass| {
            kernels.apply_in_place(pass, Activation::Relu, slice)
        });
        assert_valid(&format!("{n}"), work);
    }
    for shape in [
        [65_535 * 64 + 1, 2, 1],
        [65_536, 33, 1],
        [1, 2, 65_535 * 64 + 3],
        [70_000, 100, 1],
    ] {
        let [outer, len, inner] = shape;
        let shape = AxisShape { outer, len, inner };
        let slice = x.slice(bytes(shape.elements()));
        let work = recorded(&device, &queue, |pass| {
            kernels.apply_axis_in_place(pass, AxisFunction::Softmax, &shape, slice)
        });
        assert_valid(&format!("{shape:?}"), work);
    }
}

/// Every call along an axis, over shapes of every strategy; the number of calls that no plan
/// serves because a step is larger than a binding.
fn record_axis_calls(limits: Limits, software: bool, shapes: &[[usize; 3]]) -> usize {
    let (device, queue) = device(limits, software);
    let kernels = Kernels::new(&device);
    let mut refused = 0;
    let mut check = |what: String, work: (Result<()>, Option<wgpu::Error>)| {
        if matches!(work.0, Err(Error::AxisStepTooLarge { .. })) {
            assert!(work.1.is_none(), "{what}");
            refused += 1;
        } else {
            assert_valid(&what, work);
        }
    };
    for &[outer, len, inner] in shapes {
        let shape = AxisShape { outer, len, inner };
        let n = shape.elements();
        let buffers = [(); 3].map(|()| storage(&device, n));
        let [x, dy, out] = [&buffers[0], &buffers[1], &buffers[2]];
        let all = |buffer: &'static str| format!("{buffer} {shape:?}, software: {software}");
        for &function in AxisFunction::ALL {
            let rows = shape.output_elements(function);
            let [all_x, dx] = [x, out].map(|b| b.slice(bytes(n)));
            let [y, g] = [out, dy].map(|b| b.slice(bytes(rows)));
            let what = |call| format!("{call} of {function}: {}", all("on"));
            let work = recorded(&device, &queue, |pass| {
                kernels.apply_axis(pass, function, &shape, all_x, y)
            });
            check(what("apply_axis"), work);
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_axis(pass, function, &shape, all_x, g, dx)
            });
            check(what("grad_axis"), work);
            if function.reduces() {
                continue;
            }
            let work = recorded(&device, &queue, |pass| {
                kernels.apply_axis_in_place(pass, function, &shape, all_x)
            });
            check(what("apply_axis_in_place"), work);
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_axis_in_place(pass, function, &shape, all_x, g)
            });
            check(what("grad_axis_in_place"), work);
            if function == AxisFunction::LogSoftmax {
                continue;
            }
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_axis_from_output(pass, function, &shape, all_x, g, dx)
            });
            check(what("grad_axis_from_output"), work);
        }
    }
    refused
}

const SHAPES: [[usize; 3]; 16] = [
    [1, 1, 1],
    [3, 1, 1],
    [5, 2, 1],
    [7, 33, 1],
    [513, 7, 1],
    [2, 191, 1],
    [3, 193, 1],
    [3, 255, 1],
    [2, 257, 1],
    [1, 5000, 1],
    [3, 1111, 1],
    [600, 40, 1],
    [4, 9, 7],
    [5, 300, 3],
    [2, 3, 61],
    [1, 70_000, 1],
];

#[test]
fn work_along_an_axis_is_valid() {
    for software in [false, true] {
        assert_eq!(record_axis_calls(downlevel(), software, &SHAPES), 0);
        let (planned, cut_too_often) = SHAPES.split_at(15);
        assert_eq!(record_axis_calls(tiny(), software, planned), 0);
        // Either way each call says so: 365 parts of a row leave no room for their results, and
        // no binding holds a step of 8 KiB.
        assert_eq!(record_axis_calls(tiny(), software, cut_too_often), 16);
        assert_eq!(record_axis_calls(tiny(), software, &[[1, 2, 2048]]), 16);
    }
}

/// Host memory is worked in tiles where no binding holds a step; what no tile helps is an error.
#[test]
fn host_memory_is_tiled_to_any_binding() {
    let backend = Backend::Gpu(gpu(tiny()));
    let x = vec![1.0; 2 * 4099];
    for (shape, axis) in [
        (&[2, 4099][..], 0),
        (&[1, 2, 4099], 1),
        (&[2, 4099], 1),
        (&[4099, 2], 0),
    ] {
        for &function in AxisFunction::ALL {
            let y = backend.apply_axis(function, &x, shape, axis).unwrap();
            let dx = backend.grad_axis(function, &x, &y, shape, axis).unwrap();
            assert_eq!(dx.len(), x.len());
        }
    }
    assert_eq!(backend.apply(Activation::Gelu, &x).unwrap().len(), x.len());
    let long = vec![1.0; 70_000];
    let error = backend
        .apply_axis(AxisFunction::Softmax, &long, &[70_000], 0)
        .unwrap_err();
    assert!(matches!(error, Error::AxisStepTooLarge { .. }), "{error}");
    assert!(error.to_string().contains("1024"), "{error}");
}

/// Rows of no elements have a logsumexp, and nothing else.
#[test]
fn rows_of_no_elements_are_valid() {
    let (device, queue) = device(tiny(), false);
    let kernels = Kernels::new(&device);
    let [x, y] = [4, 1000].map(|n| storage(&device, n));
    let shape = AxisShape {
        outer: 1000,
        len: 0,
        inner: 1,
    };
    let work = recorded(&device, &queue, |pass| {
        kernels.apply_axis(
            pass,
            AxisFunction::LogSumExp,
            &shape,
            x.slice(..),
            y.slice(..),
        )
    });
    assert_valid("logsumexp", work);
    let work = recorded(&device, &queue, |pass| {
        kernels.apply_axis(
            pass,
            AxisFunction::Softmax,
            &shape,
            x.slice(..),
            y.slice(..),
        )
    });
    assert_valid("softmax", work);
}

/// An arena: every operand is a range of one buffer.
#[test]
fn ranges_of_one_buffer_are_valid() {
    let (device, queue) = device(downlevel(), false);
    let kernels = Kernels::new(&device);
    let arena = storage(&device, 4096);
    let range = |i: u64| arena.slice(i * 4096..i * 4096 + 4000);
    let [a, b, c] = [range(0), range(1), range(2)];
    let f = Activation::Silu;
    let softmax = AxisFunction::Softmax;
    let shape = AxisShape {
        outer: 10,
        len: 100,
        inner: 1,
    };
    let work = recorded(&device, &queue, |pass| {
        kernels.apply(pass, f, a, b)?;
        kernels.apply_in_place(pass, f, b)?;
        kernels.grad(pass, f, a, b, c)?;
        kernels.grad_in_place(pass, f, a, b)?;
        kernels.apply_axis(pass, softmax, &shape, a, b)?;
        kernels.grad_axis(pass, softmax, &shape, a, b, c)?;
        kernels.grad_axis_from_output(pass, softmax, &shape, a, b, c)?;
        kernels.grad_axis_in_place(pass, softmax, &shape, a, b)
    });
    assert_valid("an arena", work);
    // One row is split over workgroups, and part of the arguments share a buffer.
    let shape = AxisShape {
        outer: 1,
        len: 1000,
        inner: 1,
    };
    let own = storage(&device, 1000);
    let work = recorded(&device, &queue, |pass| {
        kernels.grad(pass, f, a, own.slice(..), b)?;
        kernels.grad(pass, f, own.slice(..), a, b)?;
        kernels.grad(pass, f, a, a, b)?;
        kernels.apply_axis(pass, AxisFunction::LogSumExp, &shape, a, b)?;
        kernels.grad_axis(pass, AxisFunction::LogSoftmax, &shape, a, own.slice(..), b)
    });
    assert_valid("half an arena", work);
}

/// The harness itself: what wgpu has against a recording is seen.
#[test]
fn invalid_work_is_seen() {
    let (device, queue) = device(tiny(), false);
    let (_, error) = recorded(&device, &queue, |pass| pass.dispatch_workgroups(1, 1, 1));
    assert!(error.is_some());
}

#[test]
fn misused_buffers_are_named() {
    let (device, queue) = device(downlevel(), false);
    let kernels = Kernels::new(&device);
    let x = storage(&device, 1024);
    let y = storage(&device, 1024);
    let copied = buffer(&device, 1024, BufferUsages::COPY_DST);
    let f = Activation::Tanh;
    let softmax = AxisFunction::Softmax;
    let shape = AxisShape {
        outer: 4,
        len: 256,
        inner: 1,
    };
    let error = |work: &dyn Fn(&mut wgpu::ComputePass<'_>) -> Result<()>| {
        let (result, invalid) = recorded(&device, &queue, |pass| work(pass));
        assert!(invalid.is_none(), "recorded before it was checked");
        let error = result.unwrap_err();
        (error.to_string(), error)
    };

    let (text, found) = error(&|pass| kernels.apply(pass, f, copied.slice(..), y.slice(..)));
    assert!(
        matches!(found, Error::BufferUsage { what: "input", .. }),
        "{text}"
    );
    assert!(text.contains("input") && text.contains("STORAGE"), "{text}");
    let (text, found) = error(&|pass| kernels.apply(pass, f, x.slice(..), copied.slice(..)));
    assert!(
        matches!(found, Error::BufferUsage { what: "output", .. }),
        "{text}"
    );

    let (text, found) = error(&|pass| kernels.apply(pass, f, x.slice(..8), y.slice(4..12)));
    let misaligned = matches!(
        found,
        Error::BufferMisaligned {
            edge: "offset",
            value: 4,
            ..
        }
    );
    assert!(
        misaligned && text.contains("output") && text.contains("256"),
        "{text}"
    );
    let (text, found) = error(&|pass| kernels.apply_in_place(pass, f, x.slice(..6)));
    assert!(
        matches!(
            found,
            Error::BufferMisaligned {
                edge: "size",
                value: 6,
                ..
            }
        ),
        "{text}"
    );

    let (text, found) = error(&|pass| kernels.apply(pass, f, x.slice(..1024), y.slice(..512)));
    let small = matches!(
        found,
        Error::BufferTooSmall {
            needed: 1024,
            got: 512,
            ..
        }
    );
    assert!(small && text.contains("output"), "{text}");
    let (text, found) = error(&|pass| kernels.apply(pass, f, x.slice(..512), y.slice(..1024)));
    assert!(
        matches!(
            found,
            Error::LengthMismatch {
                expected: 128,
                got: 256,
                ..
            }
        ),
        "{text}"
    );
    let (text, found) =
        error(&|pass| kernels.grad(pass, f, x.slice(..512), y.slice(..256), y.slice(512..1024)));
    assert!(matches!(found, Error::BufferTooSmall { .. }), "{text}");
    assert!(text.contains("upstream gradient"), "{text}");
    let (text, found) =
        error(&|pass| kernels.apply_axis(pass, softmax, &shape, x.slice(..), y.slice(..2048)));
    assert!(
        matches!(
            found,
            Error::BufferTooSmall {
                needed: 4096,
                got: 2048,
                ..
            }
        ),
        "{text}"
    );

    let (text, found) = error(&|pass| kernels.apply(pass, f, x.slice(..1024), x.slice(512..1536)));
    assert!(matches!(found, Error::BufferOverlap { .. }), "{text}");
    assert!(text.contains("input") && text.contains("output"), "{text}");
    let (text, found) = error(&|pass| kernels.grad_in_place(pass, f, x.slice(..), x.slice(..)));
    assert!(matches!(found, Error::BufferOverlap { .. }), "{text}");

    let (text, found) = error(&|pass| {
        kernels.apply_axis_in_place(pass, AxisFunction::LogSumExp, &shape, x.slice(..))
    });
    assert!(
        matches!(
            found,
            Error::LengthMismatch {
                expected: 4,
                got: 1024,
                ..
            }
        ),
        "{text}"
    );
    for function in [AxisFunction::LogSoftmax, AxisFunction::LogSumExp] {
        let (text, found) = error(&|pass| {
            let (x, y) = (x.slice(..), y.slice(..2048));
            kernels.grad_axis_from_output(pass, function, &shape, x, x, y)
        });
        assert!(matches!(found, Error::NotFromOutput { .. }), "{text}");
        assert!(text.contains(function.name()), "{text}");
    }
}

fn gpu(limits: Limits) -> Gpu {
    let (device, queue) = device(limits, false);
    Gpu::from_device(device, queue)
}

#[test]
fn misused_tensors_are_named() {
    let (here, there) = (gpu(downlevel()), gpu(downlevel()));
    let x = here.upload(&[1.0; 6], &[2, 3]).unwrap();
    let foreign = there.upload(&[1.0; 6], &[2, 3]).unwrap();
    let mut batch = here.batch();

    let error = batch.apply(Activation::Relu, &foreign).unwrap_err();
    assert!(
        matches!(error, Error::ForeignTensor { what: "input" }),
        "{error}"
    );
    let error = batch
        .apply_into(Activation::Relu, &x, &foreign)
        .unwrap_err();
    assert!(
        matches!(error, Error::ForeignTensor { what: "output" }),
        "{error}"
    );
    let error = batch.apply_into(Activation::Relu, &x, &x).unwrap_err();
    assert!(matches!(error, Error::BufferOverlap { .. }), "{error}");
    let wide = here.empty(&[3, 2]).unwrap();
    let error = batch.apply_into(Activation::Relu, &x, &wide).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
    assert!(error.to_string().contains("[3, 2]"), "{error}");
    let error = batch.grad(Activation::Relu, &x, &wide).unwrap_err();
    assert!(error.to_string().contains("upstream gradient"), "{error}");
    for axis in [2, -3] {
        let error = batch
            .apply_axis(AxisFunction::Softmax, &x, axis)
            .unwrap_err();
        assert!(
            matches!(error, Error::AxisOutOfRange { rank: 2, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("-2 to 1"), "{error}");
    }
    let error = here.upload(&[1.0; 5], &[2, 3]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::LengthMismatch {
                expected: 6,
                got: 5,
                ..
            }
        ),
        "{error}"
    );

    // The batch is as usable as before.
    let y = batch.apply(Activation::Relu, &x).unwrap();
    let error = y.read().unwrap_err();
    assert!(matches!(error, Error::NotSubmitted), "{error}");
    assert!(error.to_string().contains("submit"), "{error}");
    batch.submit().unwrap();
    assert_eq!(y.read().unwrap().len(), 6);
}

/// A dropped batch runs nothing: what it would have made is not there, what was there stays.
#[test]
fn a_dropped_batch_leaves_everything_as_it_was() {
    let gpu = gpu(downlevel());
    let x = gpu.upload(&[1.0; 8], &[8]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(Activation::Relu, &x).unwrap();
    batch.apply_in_place(Activation::Relu, &x).unwrap();
    assert!(matches!(x.read(), Err(Error::NotSubmitted)));
    drop(batch);
    assert!(matches!(y.read(), Err(Error::NotSubmitted)));
    assert_eq!(x.read().unwrap().len(), 8);
}

#[test]
fn more_than_the_device_holds_is_an_error() {
    let limits = Limits {
        max_buffer_size: 1 << 20,
        max_storage_buffer_binding_size: 1 << 20,
        ..downlevel()
    };
    let gpu = gpu(limits);
    assert!(gpu.empty(&[1 << 18]).is_ok());
    let error = gpu.empty(&[(1 << 18) + 1]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutOfMemory {
                bytes: 1_048_580,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("1048576"), "{error}");
    let error = gpu.empty(&[usize::MAX, 2]).unwrap_err();
    assert!(matches!(error, Error::ShapeTooLarge { .. }), "{error}");
    // Sizes that round up past the limit are still served.
    assert!(gpu.empty(&[(1 << 18) - 1]).is_ok());
}

/// An adopted device that is gone is an error, too, though its handlers are the caller's.
#[test]
fn a_destroyed_device_is_an_error() {
    let gpu = gpu(downlevel());
    let x = gpu.upload(&[1.0; 8], &[8]).unwrap();
    gpu.device().destroy();
    for error in [
        gpu.empty(&[8]).map(|_| ()).unwrap_err(),
        gpu.upload(&[1.0; 8], &[8]).map(|_| ()).unwrap_err(),
        x.read().map(|_| ()).unwrap_err(),
        gpu.wait().unwrap_err(),
    ] {
        assert!(matches!(error, Error::DeviceLost { .. }), "{error:?}");
    }
}
