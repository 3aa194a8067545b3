//! Recording work again allocates nothing on the host beyond what wgpu itself does. A counting
//! allocator compares our recordings with the same wgpu calls made by hand, on the noop backend.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wgpu_activations::{
    Activation, AxisFunction, Batch, BceWithLogits, Chain, ChainRanges, CrossEntropy, DType, Gate,
    Gpu, GumbelSoftmax, Kernels, Maxout, Prelu, Random, Reduction, Result, Rrelu, SparseFunction,
    SumShape, TypedSlice, wgpu,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts this thread's allocations.
struct Counting;

// SAFETY: every call is passed on to `System` as it came; the counter is a thread-local cell
// without a destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// How often each operation is recorded while allocations are counted.
const TIMES: usize = 64;

fn device() -> (wgpu::Device, wgpu::Queue) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions::enabled();
    let instance = wgpu::Instance::new(descriptor);
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let request = wgpu::DeviceDescriptor::default();
    pollster::block_on(adapter.unwrap().request_device(&request)).unwrap()
}

fn buffer(device: &wgpu::Device) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 1 << 20,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    })
}

/// Allocations of `dispatches` dispatches that are recorded by hand, none like the one before it,
/// and all of what is set made beforehand.
fn by_hand(device: &wgpu::Device, queue: &wgpu::Queue, dispatches: usize) -> usize {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                 x[id.x] = 1u;
             }"
            .into(),
        ),
    });
    let pairs = [(); 2].map(|()| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer(device).as_entire_binding(),
            }],
        });
        (pipeline, group)
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let counted = allocations(|| {
        for i in 0..dispatches {
            let (pipeline, group) = &pairs[i % 2];
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    });
    drop(pass);
    queue.submit([encoder.finish()]);
    counted
}

type Operation<'a> = Box<dyn Fn(&Kernels, &mut wgpu::ComputePass<'_>) -> Result<()> + 'a>;

/// Operations of every family, and how many dispatches each takes at most.
fn operations(buffers: &[wgpu::Buffer; 4]) -> Vec<(&'static str, usize, Operation<'_>)> {
    let [x, dy, y, z] = buffers.each_ref().map(|b| b.slice(..1 << 16));
    let [odd_x, _, odd_y, _] = buffers.each_ref().map(|b| b.slice(..4 * 1001));
    let rows = TypedSlice::f32(x).of_shape(&[16, 1024]);
    // Few long rows are split.
    let long = TypedSlice::f32(x).of_shape(&[2, 8192]);
    let gate = Gate::new(Activation::Silu);
    let slope = TypedSlice::f32(dy).of_shape(&[16]);
    let prelu = Prelu::per_channel(&[4, 16, 256]).unwrap();
    let random = Random::new(1);
    let gumbel = GumbelSoftmax::new(1.0, random).unwrap();
    let rrelu = Rrelu::default().training(random);
    let sums = SumShape::new(&[16, 1024], &[0]).unwrap();
    let [cross_entropy, with_grad] = [(); 2].map(|()| {
        let loss = CrossEntropy::new().label_smoothing(0.1);
        loss.reduction(Reduction::None)
    });
    let mean = CrossEntropy::new().weight(&[0.5; 1024]);
    let bce = BceWithLogits::new().reduction(Reduction::None);
    let softmax = AxisFunction::Softmax;
    let mask = TypedSlice::mask(dy).of_shape(&[16, 1024]);
    let of_mean = TypedSlice::classes(dy).mean_over(16.0).of_shape(&[16]);
    let classes = TypedSlice::classes(dy).of_shape(&[16]);
    let half = |slice| TypedSlice::new(slice, DType::F16);
    let biased = Chain::new().bias(-1).apply(Activation::Gelu);
    let chain = biased.clone().multiply();
    let by_bias = buffers[3].slice(1 << 17..(1 << 17) + 4096);
    macro_rules! list {
        ($($name:literal, $most:literal: |$k:ident, $p:ident| $call:expr;)*) => {
            vec![$(($name, $most, Box::new(move |$k: &Kernels, $p: &mut wgpu::ComputePass<'_>| $call))),*]
        };
    }
    list! {
        "apply", 1: |k, p| k.apply(p, Activation::Gelu, x, y);
        "in place", 1: |k, p| k.apply_in_place(p, Activation::Gelu, x);
        "apply with a tail", 2: |k, p| k.apply(p, Activation::Relu, odd_x, odd_y);
        "grad", 1: |k, p| k.grad(p, Activation::Mish, x, dy, y);
        "softmax", 3: |k, p| k.apply(p, softmax.along(-1), rows, y);
        "softmax of long rows", 3: |k, p| k.apply(p, softmax.along(-1), long, y);
        "logsumexp", 3: |k, p| k.apply(p, AxisFunction::LogSumExp.along(-1), rows, y);
        "softmax's gradient", 3: |k, p| k.grad(p, softmax.along(-1), rows, dy, y);
        "gate", 1: |k, p| k.apply(p, gate.along(-1), rows, y);
        "gate's gradient", 1: |k, p| k.grad(p, gate.along(-1), rows, dy, y);
        "a pair's gate", 1: |k, p| k.apply(p, gate, (x, dy), y);
        "prelu", 1: |k, p| k.apply(p, &prelu, (x, slope), y);
        "maxout", 3: |k, p| k.apply(p, Maxout::new(4).along(-1), rows, y);
        "entmax", 48: |k, p| k.apply(p, SparseFunction::Entmax { alpha: 1.5 }.along(-1), rows, y);
        "apply to f16", 1: |k, p| k.apply(p, Activation::Gelu, half(x), half(y));
        "chain", 1: |k, p| {
            let operands: &[(_, &[usize])] = &[(z.into(), &[1024]), (dy.into(), &[16, 1024])];
            let ranges = ChainRanges { operands, gradients: &[] };
            k.chain(p, &chain, &[16, 1024], x, ranges, y)
        };
        "chain's gradient", 4: |k, p| {
            let operands: &[(_, &[usize])] = &[(z.into(), &[1024])];
            let ranges = ChainRanges { operands, gradients: &[Some(by_bias)] };
            k.grad_chain(p, &biased, &[16, 1024], x, ranges, dy, y)
        };
        "masked softmax", 3:
            |k, p| k.apply(p, softmax.along(-1).scale(0.5), (rows, mask), y);
        "uniform", 1: |k, p| k.uniform(p, random, y);
        "rrelu", 1: |k, p| k.apply(p, rrelu, x, y);
        "gumbel_softmax", 3: |k, p| k.apply(p, gumbel.along(-1), rows, y);
        "sum", 3: |k, p| k.sum(p, &sums, x, y);
        "a parameter's gradient", 3:
            |k, p| k.grad_parameter(p, Activation::LeakyRelu, "negative_slope", x, dy, z);
        "cross_entropy", 3: |k, p| k.apply(p, &cross_entropy, (rows, classes), y);
        "cross_entropy with its gradient", 3:
            |k, p| k.apply_with_grad(p, &with_grad, (rows, classes), y, z);
        "binary_cross_entropy", 1:
            |k, p| k.apply(p, &bce, (rows, dy), y);
        "a reduced loss", 6: |k, p| k.apply(p, &mean, (rows, of_mean), y);
    }
}

#[test]
fn recording_again_allocates_no_more_than_wgpu_does() {
    let (device, queue) = device();
    let buffers = [(); 4].map(|()| buffer(&device));
    let kernels = Kernels::new(&device);
    let mut encoder = device.create_command_encoder(&Default::default());
    for (name, dispatches, record) in operations(&buffers) {
        let by_hand = by_hand(&device, &queue, TIMES * dispatches);
        assert!(by_hand < TIMES, "wgpu itself allocates for each: {by_hand}");
        let mut pass = encoder.begin_compute_pass(&Default::default());
        record(&kernels, &mut pass).unwrap();
        drop(pass);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let counted = allocations(|| {
            for _ in 0..TIMES {
                record(&kernels, &mut pass).unwrap();
            }
        });
        drop(pass);
        assert!(counted <= by_hand, "{name}: {counted} against {by_hand}");
    }
    queue.submit([encoder.finish()]);
}

#[test]
fn a_batch_like_the_last_allocates_no_more_than_wgpu_does() {
    let (device, queue) = device();
    let by_hand = by_hand(&device, &queue, 4 * TIMES);
    let gpu = Gpu::from_device(device, queue);
    let [x, dy, y] = [(); 3].map(|()| gpu.empty(&[16, 1024]).unwrap());
    let record = |batch: &mut Batch| {
        batch.apply_into(Activation::Gelu, &x, &y).unwrap();
        batch.apply_in_place(Activation::Relu, &y).unwrap();
        batch.grad_into(Activation::Gelu, &x, &dy, &y).unwrap();
        let softmax = AxisFunction::Softmax;
        batch.apply_into(softmax.along(-1), &x, &y).unwrap();
    };
    for round in 0..3 {
        let mut batch = gpu.batch();
        // The first operation opens the pass.
        record(&mut batch);
        let counted = allocations(|| (1..TIMES).for_each(|_| record(&mut batch)));
        batch.submit().unwrap();
        if round > 0 {
            assert!(counted <= by_hand, "{counted} against {by_hand}");
        }
    }
}

/// The harness itself.
#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 1);
    let (device, _queue) = device();
    let buffers = [(); 4].map(|()| buffer(&device));
    let kernels = Kernels::new(&device);
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let forgetful = allocations(|| {
        for _ in 0..TIMES {
            let [x, _, y, _] = buffers.each_ref().map(|b| b.slice(..1 << 16));
            kernels.release();
            kernels.apply(&mut pass, Activation::Gelu, x, y).unwrap();
        }
    });
    assert!(forgetful >= TIMES, "{forgetful}");
}
