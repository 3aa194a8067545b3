//! The host layer without an adapter: wgpu's noop backend computes nothing but validates all, on
//! limits of our choosing. What is recorded must be valid whatever the limits, and every misuse
//! must come back as a value whose message names the thing.

use wgpu::{BufferUsages, Limits};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, BceWithLogits, BinaryCrossEntropy, BufferArray,
    Chain, ChainRanges, CrossEntropy, DType, Error, Gate, Gpu, GumbelSoftmax, Inspect, Kernels,
    Maxout, NllLoss, OfShape, Prelu, Random, Reduction, Result, Rrelu, Shaping, SparseFunction,
    SumShape, Targets, TypedSlice, wgpu,
};

/// A range of f32 as an array of a shape.
fn rows<'a>(range: wgpu::BufferSlice<'a>, shape: &'a [usize]) -> BufferArray<'a> {
    TypedSlice::f32(range).of_shape(shape)
}

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
    for dims in [
        [65_535 * 64 + 1, 2, 1],
        [65_536, 33, 1],
        [1, 2, 65_535 * 64 + 3],
        [70_000, 100, 1],
    ] {
        let [outer, len, inner] = dims;
        let shape = AxisShape { outer, len, inner };
        let slice = x.slice(bytes(shape.elements()));
        let work = recorded(&device, &queue, |pass| {
            kernels.apply_in_place(pass, AxisFunction::Softmax.along(1), rows(slice, &dims))
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
    for dims in shapes {
        let &[outer, len, inner] = dims;
        let shape = AxisShape { outer, len, inner };
        let n = shape.elements();
        let buffers = [(); 3].map(|()| storage(&device, n));
        let [x, dy, out] = [&buffers[0], &buffers[1], &buffers[2]];
        let all = |buffer: &'static str| format!("{buffer} {shape:?}, software: {software}");
        for &function in AxisFunction::ALL {
            let results = shape.output_elements(function);
            let [all_x, dx] = [x, out].map(|b| b.slice(bytes(n)));
            let of_rows = rows(all_x, dims);
            let [y, g] = [out, dy].map(|b| b.slice(bytes(results)));
            let what = |call| format!("{call} of {function}: {}", all("on"));
            let work = recorded(&device, &queue, |pass| {
                kernels.apply(pass, function.along(1), of_rows, y)
            });
            check(what("apply_axis"), work);
            let work = recorded(&device, &queue, |pass| {
                kernels.grad(pass, function.along(1), of_rows, g, dx)
            });
            check(what("grad_axis"), work);
            if function.reduces() {
                continue;
            }
            let work = recorded(&device, &queue, |pass| {
                kernels.apply_in_place(pass, function.along(1), of_rows)
            });
            check(what("apply_axis_in_place"), work);
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_in_place(pass, function.along(1), of_rows, g)
            });
            check(what("grad_axis_in_place"), work);
            if function == AxisFunction::LogSoftmax {
                continue;
            }
            let work = recorded(&device, &queue, |pass| {
                kernels.grad_from_output(pass, function.along(1), of_rows, g, dx)
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
            let y = backend
                .apply(function.along(axis), x.of_shape(shape))
                .unwrap();
            let dx = backend
                .grad(function.along(axis), x.of_shape(shape), &y)
                .unwrap();
            assert_eq!(dx.len(), x.len());
        }
    }
    assert_eq!(backend.apply(Activation::Gelu, &x).unwrap().len(), x.len());
    let long = vec![1.0; 70_000];
    let error = backend
        .apply(AxisFunction::Softmax.along(0), &long)
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
    let dims = [1000, 0, 1];
    let work = recorded(&device, &queue, |pass| {
        kernels.apply(
            pass,
            AxisFunction::LogSumExp.along(1),
            rows(x.slice(..), &dims),
            y.slice(..),
        )
    });
    assert_valid("logsumexp", work);
    let work = recorded(&device, &queue, |pass| {
        kernels.apply(
            pass,
            AxisFunction::Softmax.along(1),
            rows(x.slice(..), &dims),
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
    let dims = [10, 100, 1];
    let work = recorded(&device, &queue, |pass| {
        kernels.apply(pass, f, a, b)?;
        kernels.apply_in_place(pass, f, b)?;
        kernels.grad(pass, f, a, b, c)?;
        kernels.grad_in_place(pass, f, a, b)?;
        kernels.apply(pass, softmax.along(1), rows(a, &dims), b)?;
        kernels.grad(pass, softmax.along(1), rows(a, &dims), b, c)?;
        kernels.grad_from_output(pass, softmax.along(1), rows(a, &dims), b, c)?;
        kernels.grad_in_place(pass, softmax.along(1), rows(a, &dims), b)
    });
    assert_valid("an arena", work);
    // One row is split over workgroups, and part of the arguments share a buffer.
    let dims = [1, 1000, 1];
    let own = storage(&device, 1000);
    let work = recorded(&device, &queue, |pass| {
        kernels.grad(pass, f, a, own.slice(..), b)?;
        kernels.grad(pass, f, own.slice(..), a, b)?;
        kernels.grad(pass, f, a, a, b)?;
        kernels.apply(pass, AxisFunction::LogSumExp.along(1), rows(a, &dims), b)?;
        kernels.grad(
            pass,
            AxisFunction::LogSoftmax.along(1),
            rows(a, &dims),
            own.slice(..),
            b,
        )
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
    let dims = [4, 256, 1];
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
    let (text, found) = error(&|pass| {
        kernels.apply(
            pass,
            softmax.along(1),
            rows(x.slice(..), &dims),
            y.slice(..2048),
        )
    });
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
        kernels.apply_in_place(
            pass,
            AxisFunction::LogSumExp.along(1),
            rows(x.slice(..), &dims),
        )
    });
    assert!(
        matches!(
            found,
            Error::NotInPlace {
                function: "logsumexp"
            }
        ),
        "{text}"
    );
    for function in [AxisFunction::LogSoftmax, AxisFunction::LogSumExp] {
        let (text, found) = error(&|pass| {
            let (x, y) = (x.slice(..), y.slice(..2048));
            kernels.grad_from_output(pass, function.along(1), rows(x, &dims), x, y)
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
            .apply(AxisFunction::Softmax.along(axis), &x)
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

/// Every operation that kernels record, on ranges of eight buffers, over many rows and a long one.
fn every_operation(
    kernels: &Kernels,
    pass: &mut wgpu::ComputePass<'_>,
    buffers: &[wgpu::Buffer],
) -> Vec<(&'static str, Result<()>)> {
    let [a, b, c, d, e, f, g] = std::array::from_fn(|i| buffers[i].slice(..));
    let mut all = Vec::new();
    let mut add = |name, done| all.push((name, done));
    let gelu = Activation::Gelu;
    add("apply", kernels.apply(pass, gelu, a, b));
    add("apply_in_place", kernels.apply_in_place(pass, gelu, a));
    add("grad", kernels.grad(pass, gelu, a, b, c));
    add("grad_in_place", kernels.grad_in_place(pass, gelu, a, b));
    let random = Random::new(1);
    let rrelu = Rrelu::default().training(random);
    add("uniform", kernels.uniform(pass, random, a));
    add("gumbel_noise", kernels.gumbel_noise(pass, random, a));
    add("rrelu", kernels.apply(pass, rrelu, a, b));
    add("rrelu_in_place", kernels.apply_in_place(pass, rrelu, a));
    add("grad_rrelu", kernels.grad(pass, rrelu, a, b, c));
    add(
        "grad_rrelu_in_place",
        kernels.grad_in_place(pass, rrelu, a, b),
    );
    let slope = "negative_slope";
    add(
        "grad_parameter",
        kernels.grad_parameter(pass, Activation::LeakyRelu, slope, a, b, c),
    );
    let gate = Gate::new(Activation::Silu);
    add("gate_pair", kernels.apply(pass, gate, (a, b), c));
    add(
        "grad_gate_pair",
        kernels.grads(pass, gate, (a, b), c, [d.into(), e.into()]),
    );
    for shape in [[128, 64], [1, 8192]] {
        for &function in AxisFunction::ALL {
            add(
                "apply_axis",
                kernels.apply(pass, function.along(1), rows(a, &shape), b),
            );
            add(
                "grad_axis",
                kernels.grad(pass, function.along(1), rows(a, &shape), b, c),
            );
        }
        let softmax = AxisFunction::Softmax;
        add(
            "apply_axis_in_place",
            kernels.apply_in_place(pass, softmax.along(1), rows(a, &shape)),
        );
        add(
            "grad_axis_in_place",
            kernels.grad_in_place(pass, softmax.along(1), rows(a, &shape), b),
        );
        add(
            "from output",
            kernels.grad_from_output(pass, softmax.along(1), rows(a, &shape), b, c),
        );
        for function in [
            SparseFunction::Hardmax,
            SparseFunction::Sparsemax,
            SparseFunction::Entmax { alpha: 1.5 },
            SparseFunction::Entmax { alpha: 3.0 },
            SparseFunction::Entmax { alpha: 1.0 },
        ] {
            add(
                "apply_sparse",
                kernels.apply(pass, function.along(1), rows(a, &shape), b),
            );
            add(
                "grad_sparse",
                kernels.grad(pass, function.along(1), rows(a, &shape), b, c),
            );
            let done = kernels.grad_from_output(pass, function.along(1), rows(a, &shape), b, c);
            add("grad_sparse_from_output", done);
        }
        add(
            "maxout",
            kernels.apply(pass, Maxout::new(4).along(-1), rows(a, &shape), b),
        );
        add(
            "grad_maxout",
            kernels.grad(pass, Maxout::new(4).along(-1), rows(a, &shape), b, c),
        );
        for hard in [false, true] {
            let gumbel = GumbelSoftmax::new(1.0, random).unwrap().hard(hard);
            add(
                "gumbel_softmax",
                kernels.apply(pass, gumbel.along(1), rows(a, &shape), b),
            );
            let done = kernels.apply(pass, gumbel.along(1), (rows(a, &shape), b), c);
            add("gumbel_softmax_with", done);
            add(
                "grad_gumbel_softmax",
                kernels.grad(pass, gumbel.along(1), rows(a, &shape), b, c),
            );
            let done = kernels.grad(pass, gumbel.along(1), (rows(a, &shape), b), c, d);
            add("grad_gumbel_softmax_with", done);
        }
        add(
            "gate",
            kernels.apply(pass, gate.along(1), rows(a, &shape), b),
        );
        add(
            "grad_gate",
            kernels.grad(pass, gate.along(1), rows(a, &shape), b, c),
        );
        let prelu = Prelu::per_channel(&shape).unwrap();
        let slope = rows(b, &shape[1..]);
        add("prelu", kernels.apply(pass, &prelu, (a, slope), c));
        add(
            "grad_prelu",
            kernels.grads(pass, &prelu, (a, slope), c, [d.into(), e.into()]),
        );
        for axis in [0, 1] {
            let sums = SumShape::new(&shape, &[axis]).unwrap();
            add("sum", kernels.sum(pass, &sums, a, b));
        }
        let weights = vec![1.0; shape[1]];
        for targets in [
            TypedSlice::classes(b).mean_over(3.0).of_shape(&shape[..1]),
            rows(b, &shape),
        ] {
            for weighted in [false, true] {
                for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
                    let loss = CrossEntropy::new().reduction(reduction);
                    let loss = if weighted {
                        loss.weight(&weights)
                    } else {
                        loss
                    };
                    let of = (rows(a, &shape), targets);
                    add("cross_entropy", kernels.apply(pass, &loss, of, d));
                    let dy = buffers[3].slice(
                        ..4 * if reduction == Reduction::None {
                            shape[0] as u64
                        } else {
                            1
                        },
                    );
                    add("grad_cross_entropy", kernels.grad(pass, &loss, of, dy, e));
                    let done = kernels.apply_with_grad(pass, &loss, of, d, e);
                    add("cross_entropy_with_grad", done);
                }
            }
        }
        let nll = NllLoss::new().reduction(Reduction::None).weight(&weights);
        let of = (
            rows(a, &shape),
            TypedSlice::classes(b).of_shape(&shape[..1]),
        );
        add("nll_loss", kernels.apply(pass, &nll, of, d));
        let done = kernels.grad(pass, &nll, of, buffers[3].slice(..4 * shape[0] as u64), e);
        add("grad_nll_loss", done);
        for (weighted, positive) in [(false, false), (true, false), (true, true)] {
            let ones = [1.0; 8192];
            let mut loss = BceWithLogits::new().reduction(Reduction::None);
            let mut of_p = BinaryCrossEntropy::new().reduction(Reduction::None);
            if weighted {
                (loss, of_p) = (loss.weight(&ones), of_p.weight(&ones));
            }
            if positive {
                loss = loss.pos_weight(&ones);
            }
            let of = (rows(a, &shape), b);
            add("bce", kernels.apply(pass, &loss, of, f));
            add("its gradient", kernels.grad(pass, &loss, of, e, f));
            add("bce of probabilities", kernels.apply(pass, &of_p, of, f));
            let done = kernels.grad(pass, &of_p, of, e, f);
            add("the gradient of that", done);
        }
        let x = rows(a, &shape);
        let mask = TypedSlice::mask(d).of_shape(&shape);
        let bias = rows(e, &shape).named("bias");
        let lengths = TypedSlice::lengths(f).of_shape(&shape[..1]);
        let sinks = rows(g, &[1]).named("sinks");
        for arrays in [
            &[x, mask][..],
            &[x, mask, bias],
            &[x, mask, bias, lengths],
            &[x, mask, bias, lengths, sinks],
        ] {
            let softmax = softmax.along(1);
            add("masked", kernels.apply(pass, softmax, arrays, b));
            add("its gradient", kernels.grad(pass, softmax, arrays, b, c));
            let with_sinks = match arrays.len() {
                5 => softmax,
                _ => softmax.sink(0.5),
            };
            let both = [c.into(), b.into()];
            let dy = buffers[7].slice(..);
            let done = kernels.grads(pass, with_sinks, arrays, dy, both);
            add("by the sinks", done);
        }
        for rows in [false, true] {
            let chain = Chain::new().multiply().apply(gelu);
            let chain = if rows { chain.softmax(-1) } else { chain };
            let chain = chain.add();
            let operands: &[(_, &[usize])] = &[(b.into(), &shape[1..]), (c.into(), &shape)];
            let ranges = ChainRanges {
                operands,
                gradients: &[],
            };
            add("chain", kernels.chain(pass, &chain, &shape, a, ranges, d));
            let gradients = &[Some(f), Some(g)];
            let ranges = ChainRanges {
                operands,
                gradients,
            };
            add(
                "grad_chain",
                kernels.grad_chain(pass, &chain, &shape, a, ranges, d, e),
            );
        }
    }
    all
}

/// What is not recorded because of a limit is not begun, and the limit is named.
#[test]
fn few_storage_buffers_are_named() {
    let mut refused = Vec::new();
    for buffers in 4..=8 {
        let limits = Limits {
            max_storage_buffers_per_shader_stage: buffers,
            ..downlevel()
        };
        let (device, queue) = device(limits, false);
        let kernels = Kernels::new(&device);
        let arrays: Vec<_> = (0..8).map(|_| storage(&device, 8192)).collect();
        let dispatches = kernels.counts().dispatches;
        let (all, invalid) = recorded(&device, &queue, |pass| {
            every_operation(&kernels, pass, &arrays)
        });
        assert!(invalid.is_none(), "{buffers} buffers: {}", invalid.unwrap());
        assert!(kernels.counts().dispatches > dispatches);
        let mut count = 0;
        for (name, done) in all {
            let Err(error) = done else { continue };
            let Error::TooManyBuffers { needed, limit } = error else {
                panic!("{name} with {buffers} buffers: {error}");
            };
            assert!(needed > limit && limit == buffers, "{name}: {error}");
            let text = error.to_string();
            assert!(
                text.contains("max_storage_buffers_per_shader_stage"),
                "{text}"
            );
            count += 1;
        }
        refused.push(count);
    }
    // With more buffers, more runs; with eight all.
    assert!(refused.is_sorted_by(|a, b| a > b || *b == 0), "{refused:?}");
    assert!(refused[0] > 10 && refused[4] == 0, "{refused:?}");
}

/// A refused operation of many dispatches leaves none of them behind.
#[test]
fn what_is_refused_is_not_begun() {
    let limits = Limits {
        max_storage_buffers_per_shader_stage: 4,
        ..downlevel()
    };
    let (device, queue) = device(limits, false);
    let kernels = Kernels::new(&device);
    let arrays: Vec<_> = (0..8).map(|_| storage(&device, 8192)).collect();
    let [a, b, c, d, e, f, g] = std::array::from_fn(|i| arrays[i].slice(..));
    let chain = Chain::new().scale(2.0).softmax(-1).add().multiply();
    let operands: &[(_, &[usize])] = &[(b.into(), &[64]), (c.into(), &[128, 64])];
    let gradients = &[Some(f), Some(g)];
    let ranges = ChainRanges {
        operands,
        gradients,
    };
    let (done, invalid) = recorded(&device, &queue, |pass| {
        kernels.grad_chain(pass, &chain, &[128, 64], a, ranges, d, e)
    });
    assert!(
        matches!(done, Err(Error::TooManyBuffers { .. })),
        "{done:?}"
    );
    assert!(invalid.is_none());
    assert_eq!(kernels.counts().dispatches, 0);
}

/// A device that lacks what every operation needs says so at every entry point, by the limit's
/// name.
#[test]
fn limits_that_nothing_runs_on_are_named() {
    let mut cases = vec![(
        Limits::downlevel_webgl2_defaults(),
        "max_compute_invocations_per_workgroup",
    )];
    type Lower = fn(&mut Limits);
    let lowered: [(Lower, &str); 7] = [
        (
            |l| l.max_compute_invocations_per_workgroup = 31,
            "max_compute_invocations_per_workgroup",
        ),
        (
            |l| l.max_compute_workgroup_size_x = 1,
            "max_compute_workgroup_size_x",
        ),
        (
            |l| l.max_compute_workgroups_per_dimension = 0,
            "max_compute_workgroups_per_dimension",
        ),
        (
            |l| l.max_compute_workgroup_storage_size = 0,
            "max_compute_workgroup_storage_size",
        ),
        (
            |l| l.max_storage_buffers_per_shader_stage = 3,
            "max_storage_buffers_per_shader_stage",
        ),
        (
            |l| l.max_uniform_buffers_per_shader_stage = 1,
            "max_uniform_buffers_per_shader_stage",
        ),
        (
            |l| l.max_storage_buffer_binding_size = 512,
            "max_storage_buffer_binding_size",
        ),
    ];
    for (lower, name) in lowered {
        let mut limits = downlevel();
        lower(&mut limits);
        cases.push((limits, name));
    }
    for (limits, name) in cases {
        for software in [false, true] {
            let (device, queue) = device(limits.clone(), software);
            let kernels = Kernels::new(&device);
            let arrays: Vec<_> = (0..8).map(|_| storage(&device, 8192)).collect();
            let (all, invalid) = recorded(&device, &queue, |pass| {
                every_operation(&kernels, pass, &arrays)
            });
            assert!(invalid.is_none(), "{name}");
            let rows = AxisShape::new(&[1, 8192], 1).unwrap();
            let plan = kernels.describe_axis(&rows);
            assert!(plan.contains(name), "{plan}");
            let gpu = Gpu::from_device(device, queue);
            let backend = Backend::Gpu(gpu.clone());
            let x = [1.0; 64];
            let softmax = AxisFunction::Softmax;
            let shaping = Shaping::new().scale(2.0);
            let classes = CrossEntropy::new();
            let targets = Targets::Indices(&[0; 8]);
            let more = [
                ("empty", gpu.empty(&[4]).map(drop)),
                ("upload", gpu.upload(&x, &[64]).map(drop)),
                ("wait", gpu.wait()),
                ("submit", gpu.batch().submit()),
                ("self_check", gpu.self_check().map(drop)),
                ("tune", gpu.tune(false, |_| ()).map(drop)),
                (
                    "labels",
                    gpu.labels(classes.clone(), &[8, 8], targets).map(drop),
                ),
                ("apply", backend.apply(Activation::Relu, &x).map(drop)),
                (
                    "rows",
                    backend
                        .apply(softmax.along(0), x.of_shape(&[8, 8]))
                        .map(drop),
                ),
                (
                    "shaped rows",
                    backend
                        .apply(
                            softmax.along(0).shaped(&shaping),
                            shaping.inputs(x.of_shape(&[8, 8])),
                        )
                        .map(drop),
                ),
                (
                    "sparse",
                    backend
                        .apply(SparseFunction::Sparsemax.along(1), x.of_shape(&[8, 8]))
                        .map(drop),
                ),
                (
                    "cross_entropy",
                    backend
                        .apply(&classes, (x.of_shape(&[8, 8]), targets))
                        .map(drop),
                ),
                (
                    "inspect",
                    backend.inspect(&Inspect::default(), &x, &[64]).map(drop),
                ),
                ("uniform", backend.uniform(Random::new(1), 64).map(drop)),
                (
                    "chain",
                    backend
                        .apply_chain(&Chain::new().softmax(-1), &x, &[8, 8], &[])
                        .map(drop),
                ),
            ];
            for (call, done) in all.into_iter().chain(more) {
                let error = done.unwrap_err();
                assert!(
                    matches!(error, Error::DeviceLimit { .. }),
                    "{call}: {error}"
                );
                assert!(error.to_string().contains(name), "{call}: {error}");
            }
        }
    }
}

/// The least limits that are documented serve every operation that needs no more buffers.
#[test]
fn the_least_limits_are_enough() {
    let limits = Limits {
        max_compute_invocations_per_workgroup: 32,
        max_compute_workgroup_size_x: 32,
        max_compute_workgroups_per_dimension: 16,
        max_compute_workgroup_storage_size: 8192,
        max_storage_buffers_per_shader_stage: 4,
        max_uniform_buffers_per_shader_stage: 2,
        max_storage_buffer_binding_size: 1024,
        ..downlevel()
    };
    for software in [false, true] {
        let (device, queue) = device(limits.clone(), software);
        let kernels = Kernels::new(&device);
        let arrays: Vec<_> = (0..8).map(|_| storage(&device, 8192)).collect();
        let (all, invalid) = recorded(&device, &queue, |pass| {
            every_operation(&kernels, pass, &arrays)
        });
        assert!(invalid.is_none(), "{}", invalid.unwrap());
        for (name, done) in all {
            let is_named = matches!(
                done,
                Ok(())
                    | Err(Error::TooManyBuffers { .. }
                        | Error::AxisStepTooLarge { .. }
                        | Error::OutOfMemory { .. })
            );
            assert!(is_named, "{name}: {}", done.unwrap_err());
        }
        let backend = Backend::Gpu(Gpu::from_device(device, queue));
        let statistics = backend.inspect(&Inspect::default(), &[1.0; 100], &[100]);
        assert!(statistics.is_ok(), "{}", statistics.unwrap_err());
    }
}

/// Sizes that no buffer can have are errors before anything is planned, also where their product
/// wraps to a small number.
#[test]
fn sizes_that_no_buffer_can_have_are_errors() {
    let (device, queue) = device(downlevel(), false);
    let kernels = Kernels::new(&device);
    let arrays: Vec<_> = (0..5).map(|_| storage(&device, 1024)).collect();
    let [a, b, c, d, e] = std::array::from_fn(|i| arrays[i].slice(..));
    let softmax = AxisFunction::Softmax;
    let sparse = SparseFunction::Sparsemax;
    let gumbel = GumbelSoftmax::new(1.0, Random::new(1)).unwrap();
    let loss = CrossEntropy::new().reduction(Reduction::None);
    let nll = NllLoss::new().reduction(Reduction::None);
    let huge = 1usize << 62;
    for [outer, len, inner] in [
        [huge, 4, 1],
        [4, 1, huge],
        [1, huge, 4],
        [1 << 32, 1, 1 << 32],
        [huge, 0, 4],
        [usize::MAX, 1, 1],
    ] {
        let shape = AxisShape { outer, len, inner };
        let dims = [outer, len, inner];
        let gate = Gate::new(Activation::Silu);
        let of = (rows(a, &dims), TypedSlice::classes(b));
        let (all, invalid) = recorded(&device, &queue, |pass| {
            vec![
                kernels.apply(pass, softmax.along(1), rows(a, &dims), b),
                kernels.apply(pass, AxisFunction::LogSumExp.along(1), rows(a, &dims), b),
                kernels.apply_in_place(pass, softmax.along(1), rows(a, &dims)),
                kernels.grad(pass, softmax.along(1), rows(a, &dims), b, c),
                kernels.grad_in_place(pass, softmax.along(1), rows(a, &dims), b),
                kernels.grad_from_output(pass, softmax.along(1), rows(a, &dims), b, c),
                kernels.apply(pass, sparse.along(1), rows(a, &dims), b),
                kernels.grad(pass, sparse.along(1), rows(a, &dims), b, c),
                kernels.grad_from_output(pass, sparse.along(1), rows(a, &dims), b, c),
                kernels.apply(pass, gumbel.along(1), rows(a, &dims), b),
                kernels.apply(pass, gumbel.along(1), (rows(a, &dims), b), c),
                kernels.grad(pass, gumbel.along(1), rows(a, &dims), b, c),
                kernels.grad(pass, gumbel.along(1), (rows(a, &dims), b), c, d),
                kernels.apply(pass, loss.clone().axis(1), of, c),
                kernels.apply_with_grad(pass, loss.clone().axis(1), of, c, e),
                kernels.apply(pass, nll.clone().axis(1), of, c),
                kernels.apply(pass, gate.along(1), rows(a, &dims), b),
                kernels.grad(pass, gate.along(1), rows(a, &dims), b, c),
            ]
        });
        assert!(invalid.is_none());
        for (i, done) in all.into_iter().enumerate() {
            let error = done.unwrap_err();
            let is_size = matches!(
                error,
                Error::ShapeTooLarge { .. } | Error::BufferTooSmall { .. }
            );
            assert!(is_size, "{i} of {shape:?}: {error}");
        }
        let plan = kernels.describe_axis(&shape);
        assert!(
            plan.contains("more elements than can be addressed"),
            "{plan}"
        );
    }
    // Addressable, but more than the device's buffers hold.
    for [outer, len, inner] in [[1 << 58, 4, 1], [1 << 58, 0, 1], [4, 1 << 40, 4]] {
        let dims = [outer, len, inner];
        let shape = AxisShape { outer, len, inner };
        let plan = kernels.describe_axis(&shape);
        assert!(plan.contains("max_buffer_size"), "{plan}");
        let (done, invalid) = recorded(&device, &queue, |pass| {
            kernels.apply(pass, AxisFunction::LogSumExp.along(1), rows(a, &dims), b)
        });
        assert!(invalid.is_none());
        assert!(
            matches!(done, Err(Error::BufferTooSmall { .. })),
            "{done:?}"
        );
    }
    for backend in [Backend::cpu(), Backend::Gpu(gpu(downlevel()))] {
        for count in [usize::MAX, 1 << 62] {
            for done in [
                backend.uniform(Random::new(1), count),
                backend.gumbel_noise(Random::new(1), count),
            ] {
                assert!(matches!(done, Err(Error::ShapeTooLarge { .. })));
            }
        }
    }
}

/// Batches that share a tensor are submitted as they were recorded, or not at all.
#[test]
fn batches_that_share_a_tensor_keep_their_order() {
    let gpu = gpu(downlevel());
    let relu = Activation::Relu;
    for dtype in [DType::F32, DType::F16] {
        let x = gpu.empty_as(&[2, 4], dtype).unwrap();
        let too_early = |done: Result<()>, role: &str| {
            let error = done.unwrap_err();
            assert!(matches!(error, Error::SubmittedTooEarly { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(role) && text.contains("[2, 4]"), "{text}");
        };
        let no_values = |done: Result<()>| {
            let error = done.unwrap_err();
            assert!(matches!(error, Error::NoValues { .. }), "{error}");
            assert!(error.to_string().contains("[2, 4]"), "{error}");
        };

        // One makes what the other reads.
        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        let y = first.apply(relu, &x).unwrap();
        let z = second.apply(AxisFunction::Softmax.along(-1), &y).unwrap();
        too_early(second.submit(), "input");
        first.submit().unwrap();
        y.read().unwrap();
        assert!(matches!(z.read(), Err(Error::NotSubmitted)));

        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        let y = first.apply(relu, &x).unwrap();
        let z = second.apply(relu, &y).unwrap();
        second.apply_in_place(relu, &y).unwrap();
        first.submit().unwrap();
        second.submit().unwrap();
        z.read().unwrap();

        // It is dropped, before or after the other one is recorded.
        for in_place in [false, true] {
            let (mut first, mut second) = (gpu.batch(), gpu.batch());
            let y = first.apply(relu, &x).unwrap();
            match in_place {
                false => second.apply(relu, &y).map(drop).unwrap(),
                true => second.apply_in_place(relu, &y).unwrap(),
            }
            drop(first);
            no_values(second.submit());
            let mut third = gpu.batch();
            no_values(third.apply(relu, &y).map(drop));
            no_values(third.apply_in_place(relu, &y));
            no_values(third.grad_in_place(relu, &x, &y));
            no_values(third.apply_in_place(AxisFunction::Softmax.along(0), &y));
            // What is made anew is there.
            third.apply_into(relu, &x, &y).unwrap();
            third.apply_in_place(relu, &y).unwrap();
            third.submit().unwrap();
            y.read().unwrap();
        }
        // What was there before stays, and may be read.
        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        first.apply_in_place(relu, &x).unwrap();
        second.apply(relu, &x).unwrap();
        drop(first);
        second.submit().unwrap();

        // One reads what the other writes, and both write.
        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        let y = first.apply(relu, &x).unwrap();
        second.apply_in_place(relu, &x).unwrap();
        too_early(second.submit(), "input");
        first.submit().unwrap();
        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        first.apply_into(relu, &x, &y).unwrap();
        second.apply_into(Activation::Relu6, &x, &y).unwrap();
        too_early(second.submit(), "output");
        first.submit().unwrap();

        // Turns that no order serves.
        let (mut first, mut second) = (gpu.batch(), gpu.batch());
        first.apply_in_place(relu, &x).unwrap();
        second.apply_in_place(relu, &x).unwrap();
        first.apply_in_place(relu, &x).unwrap();
        too_early(first.submit(), "input");
        second.submit().unwrap();

        // Readers are in nobody's way, and an operation that failed leaves nothing behind.
        let (mut first, mut second, mut third) = (gpu.batch(), gpu.batch(), gpu.batch());
        first.apply(relu, &x).unwrap();
        second.apply(relu, &x).unwrap();
        let short = gpu.empty_as(&[4], dtype).unwrap();
        assert!(third.apply_into(relu, &short, &x).is_err());
        let log = AxisFunction::LogSumExp;
        assert!(third.apply_in_place(log.along(0), &x).is_err());
        third.submit().unwrap();
        second.submit().unwrap();
        first.submit().unwrap();
    }
}

/// A line, whatever is in it.
#[test]
fn debug_output_is_a_line() {
    let gpu = gpu(downlevel());
    let x = gpu.upload(&[1.0; 4], &[2, 2]).unwrap();
    let mut batch = gpu.batch();
    batch.apply(Activation::Gelu, &x).unwrap();
    let loss = CrossEntropy::new().weight(&[1.0; 2]);
    let labels = gpu
        .labels(loss, &[2, 2], Targets::Indices(&[0, 1]))
        .unwrap();
    let mask = gpu.upload_mask(&[1; 4], &[2, 2]).unwrap();
    let lengths = gpu.upload_lengths(&[1; 2], &[2]).unwrap();
    let array = x.named("bias");
    let lines = [
        format!("{gpu:?}"),
        format!("{:?}", Backend::Gpu(gpu.clone())),
        format!("{:?}", Backend::cpu()),
        format!("{x:?}"),
        format!("{batch:?}"),
        format!("{labels:?}"),
        format!("{:?}", gpu.kernels()),
        format!("{mask:?}"),
        format!("{lengths:?}"),
        format!("{array:?}"),
    ];
    for line in lines {
        assert!(
            line.len() < 400 && !line.contains('\n'),
            "{} bytes: {line}",
            line.len()
        );
    }
    assert!(format!("{x:?}").contains("[2, 2]"));
}
