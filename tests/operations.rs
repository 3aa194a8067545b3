//! Every operation runs every way that there is for arrays in host memory, with the same numbers: blocking
//! or not, into arrays of any numbers, from and to views with strides, forward and backward, of 16 bits.

mod common;

use common::backends;
use ndarray::{Array2, ArrayView2, s};
use pollster::block_on;
use std::collections::BTreeSet;
use std::fmt::Debug;
use wgpu_activations::half::{bf16, f16};
use wgpu_activations::{
    Activation, AxisFunction, Backend, BceWithLogits, BufferArray, Chain, ClassLoss, CrossEntropy,
    DType, Element, Error, Gpu, InputInfo, Item, NllLoss, OfShape, Operation, Prelu, Reduction,
    Stream, Tensor, TensorArray, TypedSlice, Way, operations, wgpu,
};

/// Rows of six, of which every operation here takes some.
const SHAPE: [usize; 2] = [10, 6];

fn made(text: &str) -> Box<dyn Operation> {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Numbers that all three types have, from -3 to 3.
fn numbers(seed: usize) -> Vec<f32> {
    let count = SHAPE.iter().product::<usize>();
    let number = |i: usize| ((i * 37 + seed * 11) % 49) as f32 / 8.0 - 3.0;
    (0..count).map(number).collect()
}

/// The same between 0 and 1.
fn shares(seed: usize) -> Vec<f32> {
    numbers(seed).iter().map(|x| (x + 3.125) / 8.0).collect()
}

fn rounded<T: Element>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&x| T::from_f32(x)).collect()
}

/// The bits of results, all NaN alike.
fn bits<T: Element>(x: &[T]) -> Vec<u32> {
    let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
    x.iter().map(|&x| bits(x.to_f32())).collect()
}

fn same<T: Element>(what: &str, got: &[T], want: &[f32]) {
    let want: Vec<T> = rounded(want);
    assert_eq!(bits(got), bits(&want), "{what}");
}

/// A view of the same numbers that lie in memory in another order, with gaps.
fn scattered<T: Element>(x: &[T]) -> Array2<T> {
    let [rows, columns] = SHAPE;
    let mut wide = Array2::from_elem([2 * columns, rows], T::default());
    let mut view = wide.slice_mut(s![..;2, ..;-1]);
    let plain = ArrayView2::from_shape(SHAPE, x).unwrap();
    view.assign(&plain.t());
    wide
}

/// Runs `$operation` of `$values` in every way; `|x| inputs` makes its inputs of the first one.
macro_rules! every_way {
    ($backend:expr, $what:expr, $operation:expr, $values:expr, |$x:ident| $inputs:expr) => {{
        let (backend, operation, values): (&Backend, &dyn Operation, Vec<f32>) =
            ($backend, $operation, $values);
        let what = |way: &str| format!("{} {way} on {:?}", $what, backend.kind());
        let $x = values.of_shape(&SHAPE);
        let y = backend.apply(operation, $inputs).unwrap_or_else(|e| panic!("{}: {e}", what("forward")));
        let dy = &numbers(5)[..y.len()];
        let dx = backend.grad(operation, $inputs, dy).unwrap();

        same(&what("async"), &block_on(backend.apply_async(operation, $inputs)).unwrap(), &y);
        same(&what("async grad"), &block_on(backend.grad_async(operation, $inputs, dy)).unwrap(), &dx);
        let mut out = vec![7.0f32; y.len()];
        backend.apply_into(operation, $inputs, &mut out).unwrap();
        same(&what("into"), &out, &y);
        let mut out = vec![f16::ONE; y.len()];
        backend.apply_into(operation, $inputs, &mut out).unwrap();
        same(&what("into f16"), &out, &y);
        let mut out = vec![bf16::ONE; y.len()];
        block_on(backend.apply_into_async(operation, $inputs, &mut out)).unwrap();
        same(&what("into bf16, async"), &out, &y);
        let mut out = vec![7.0f32; dx.len()];
        backend.grad_into(operation, $inputs, dy, &mut out).unwrap();
        same(&what("grad into"), &out, &dx);
        let mut out = vec![f16::ONE; dx.len()];
        block_on(backend.grad_into_async(operation, $inputs, dy, &mut out)).unwrap();
        same(&what("grad into f16, async"), &out, &dx);
        let all = backend.grads(operation, $inputs, dy).unwrap();
        same(&what("grads"), &all[0], &dx);
        assert_eq!(all, block_on(backend.grads_async(operation, $inputs, dy)).unwrap());
        let too_long = &mut vec![0.0f32; y.len() + 1];
        let error = backend.apply_into(operation, $inputs, too_long).unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { .. }), "{error}");

        let (again, by_ones) = backend.apply_with_grad(operation, $inputs).unwrap();
        same(&what("with its gradient"), &again, &y);
        let ones = backend.grad(operation, $inputs, &vec![1.0; y.len()]).unwrap();
        let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-6 * b.abs().max(1e-3);
        assert!(by_ones.iter().zip(&ones).all(near), "{}", what("with its gradient"));
        let again = block_on(backend.apply_with_grad_async(operation, $inputs)).unwrap();
        assert_eq!(bits(&again.1), bits(&by_ones));

        {
            let wide = scattered(&values);
            let view = wide.slice(s![..;2, ..;-1]);
            let view = view.t();
            let $x = &view;
            let of_view = backend.apply(operation, $inputs).unwrap();
            assert_eq!(of_view.ndim(), 2);
            let flat: Vec<f32> = of_view.iter().copied().collect();
            same(&what("of a view"), &flat, &y);
            let [a, b] = [0, 1].map(|i| of_view.shape()[i]);
            let mut gaps = Array2::from_elem([2 * a, b], 9.0f32);
            backend.apply_into(operation, $inputs, &mut gaps.slice_mut(s![1..;2, ..])).unwrap();
            assert_eq!(gaps.slice(s![1..;2, ..]), of_view);
            assert!(gaps.slice(s![..;2, ..]).iter().all(|&gap| gap == 9.0));
        }
        half_of(&what("f16"), &values, &y, dy, &dx, |values: &[f16], dy: &[f16]| {
            let $x = values.of_shape(&SHAPE);
            [backend.apply(operation, $inputs), backend.grad(operation, $inputs, dy)]
        });
        half_of(&what("bf16"), &values, &y, dy, &dx, |values: &[bf16], dy: &[bf16]| {
            let $x = values.of_shape(&SHAPE);
            [backend.apply(operation, $inputs), backend.grad(operation, $inputs, dy)]
        });
    }};
}

/// Numbers of 16 bits that are those of f32 give what these give, rounded.
fn half_of<T: Element, E: Debug>(
    what: &str,
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &[f32],
    run: impl FnOnce(&[T], &[T]) -> [Result<Vec<T>, E>; 2],
) {
    let [value, gradient] = run(&rounded(x), &rounded(dy)).map(Result::unwrap);
    same(what, &value, y);
    same(what, &gradient, dx);
}

/// The names of operations that do with one array.
fn of_one() -> impl Iterator<Item = &'static str> {
    let needs_one =
        |form: &Vec<InputInfo>| form.iter().filter(|input| !input.optional).count() == 1;
    operations()
        .filter(move |operation| operation.forms.iter().any(needs_one))
        .map(|operation| operation.name)
}

/// Every name that there is, with options that it needs.
#[test]
fn of_one_array() {
    for backend in backends() {
        let mut count = 0;
        for name in of_one() {
            let text = match name {
                "maxout" => "maxout(pieces=3)",
                "rrelu" => "rrelu(seed=3)",
                "softmax2d" => "softmax2d(axis=-1)",
                name => name,
            };
            every_way!(&backend, text, &*made(text), numbers(1), |x| x);
            count += 1;
        }
        assert!(count > 50, "{count}");
    }
}

#[test]
fn of_several_arrays() {
    let (second, noise) = (numbers(2), numbers(3));
    let mask: Vec<bool> = (0..SHAPE[1]).map(|i| i % 3 != 1).collect();
    let lengths: Vec<u32> = (0..SHAPE[0] as u32).map(|i| i % 7).collect();
    let classes: Vec<i64> = (0..SHAPE[0] as i64).map(|i| i * 5 % 6).collect();
    let (targets, slopes) = (shares(4), numbers(6));
    let sinks = &numbers(7)[..SHAPE[0]];
    for backend in backends() {
        let backend = &backend;
        every_way!(
            backend,
            "pair",
            &*made("geglu(arrays=2)"),
            numbers(1),
            |x| (x, second.of_shape(&SHAPE))
        );
        let gumbel = &*made("gumbel_softmax(tau=0.5)");
        every_way!(backend, "noise", gumbel, numbers(1), |x| (x, &noise));
        for function in AxisFunction::ALL {
            let operation = &*made(&format!("{function}(scale=0.5, causal=upper_left)"));
            every_way!(backend, function, operation, numbers(1), |x| {
                (
                    x,
                    &mask,
                    second.of_shape(&SHAPE),
                    &lengths,
                    sinks.of_shape(&[SHAPE[0], 1]).named("sinks"),
                )
            });
        }
        for loss in ["cross_entropy", "nll_loss"] {
            for reduction in ["none", "mean", "sum"] {
                let operation = &*made(&format!("{loss}(reduction={reduction})"));
                every_way!(backend, loss, operation, numbers(1), |x| (x, &classes));
            }
        }
        let smooth = &*made("cross_entropy(reduction=none, label_smoothing=0.25)");
        every_way!(backend, "probabilities", smooth, numbers(1), |x| {
            (x, targets.of_shape(&SHAPE))
        });
        for loss in [
            "binary_cross_entropy",
            "binary_cross_entropy_with_logits",
            "focal_loss",
        ] {
            for reduction in ["none", "mean"] {
                let operation = &*made(&format!("{loss}(reduction={reduction})"));
                every_way!(backend, loss, operation, shares(1), |x| {
                    (x, targets.of_shape(&SHAPE))
                });
            }
        }
        let prelu = Prelu::per_channel(&SHAPE).unwrap();
        every_way!(backend, "prelu", &prelu, numbers(1), |x| {
            (x, &slopes[..SHAPE[1]])
        });
    }
}

/// Runs an operation of arrays on a device in every way, in batches and in a pass of the caller's;
/// `want` are the value and the gradient for [`numbers`] of 5, of arrays in host memory.
fn on_device(
    gpu: &Gpu,
    what: &str,
    operation: &dyn Operation,
    tensors: &[TensorArray<'_>],
    buffers: &[BufferArray<'_>],
    want: [&[f32]; 2],
) {
    let [want, want_dx] = want;
    let near = |way: &str, got: &[f32], want: &[f32]| {
        assert_eq!(got.len(), want.len(), "{what} {way}");
        for (a, b) in got.iter().zip(want) {
            let is_near =
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6 * b.abs().max(0.1);
            assert!(is_near, "{what} {way}: {got:?} {want:?}");
        }
    };
    let mut batch = gpu.batch();
    let y = batch
        .apply(operation, tensors)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let dy = gpu.upload(&numbers(5)[..y.len()], y.shape()).unwrap();
    let dx = batch.grad(operation, tensors, &dy).unwrap();
    let all = batch.grads(operation, tensors, &dy).unwrap();
    let into = gpu.empty_as(y.shape(), DType::F16).unwrap();
    batch.apply_into(operation, tensors, &into).unwrap();
    let dx_into = gpu.empty_as(dx.shape(), DType::Bf16).unwrap();
    batch.grad_into(operation, tensors, &dy, &dx_into).unwrap();
    let (again, by_ones) = batch.apply_with_grad(operation, tensors).unwrap();
    let ones = gpu.upload(&vec![1.0; y.len()], y.shape()).unwrap();
    let same_ones = batch.grad(operation, tensors, &ones).unwrap();
    let wrong = gpu.empty(&[77]).unwrap();
    assert!(batch.grad(operation, tensors, &wrong).is_err(), "{what}");
    assert!(
        batch.apply_into(operation, tensors, &wrong).is_err(),
        "{what}"
    );
    batch.submit().unwrap();
    let [value, gradient] = [&y, &dx].map(|t| t.read().unwrap());
    near("forward", &value, want);
    near("backward", &gradient, want_dx);
    near("grads", &all[0].read().unwrap(), &gradient);
    same(what, &into.read_as::<f16>().unwrap(), &value);
    same(what, &dx_into.read_as::<bf16>().unwrap(), &gradient);
    near("with its gradient", &again.read().unwrap(), &value);
    near(
        "with its gradient",
        &by_ones.read().unwrap(),
        &same_ones.read().unwrap(),
    );

    let out = [y.shape(), dx.shape(), y.shape(), dx.shape()].map(|s| gpu.empty(s).unwrap());
    let [py, pdx, both_y, both_dx] = out.each_ref().map(range);
    let second = all.get(1).map(|second| gpu.empty(second.shape()).unwrap());
    let other_dx = gpu.empty(dx.shape()).unwrap();
    let upstream = TypedSlice::f32(range(&dy)).of_shape(y.shape());
    let kernels = gpu.kernels();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    {
        let pass = &mut encoder.begin_compute_pass(&Default::default());
        kernels.apply(pass, operation, buffers, py).unwrap();
        kernels
            .grad(pass, operation, buffers, upstream, pdx)
            .unwrap();
        kernels
            .apply_with_grad(pass, operation, buffers, both_y, both_dx)
            .unwrap();
        if let Some(second) = &second {
            let both = [range(&other_dx).into(), range(second).into()];
            kernels
                .grads(pass, operation, buffers, upstream, both)
                .unwrap();
        }
    }
    gpu.queue().submit([encoder.finish()]);
    let [py, pdx, both_y, both_dx] = out.map(|t| t.read().unwrap());
    near("in a pass", &py, &value);
    near("in a pass, backward", &pdx, &gradient);
    near("in a pass, with its gradient", &both_y, &value);
    near(
        "in a pass, with its gradient",
        &both_dx,
        &same_ones.read().unwrap(),
    );
    if let Some(second) = second {
        near("in a pass, both", &other_dx.read().unwrap(), &gradient);
        near(
            "in a pass, both",
            &second.read().unwrap(),
            &all[1].read().unwrap(),
        );
    }
}

/// The range of a tensor of f32.
fn range(tensor: &Tensor) -> wgpu::BufferSlice<'_> {
    tensor.buffer().slice(..4 * tensor.len() as u64)
}

/// Tensors and ranges of buffers give the numbers of arrays in host memory: every name that there is.
#[test]
fn one_array_on_a_device() {
    for backend in backends() {
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let x = numbers(1);
        for name in of_one() {
            let text = match name {
                "maxout" => "maxout(pieces=3)",
                "rrelu" => "rrelu(seed=3)",
                "softmax2d" => "softmax2d(axis=-1)",
                name => name,
            };
            let operation = &*made(text);
            let y = backend.apply(operation, x.of_shape(&SHAPE)).unwrap();
            let dy = &numbers(5)[..y.len()];
            let dx = backend.grad(operation, x.of_shape(&SHAPE), dy).unwrap();
            let tensor = gpu.upload(&x, &SHAPE).unwrap();
            let buffers = [TypedSlice::f32(range(&tensor)).of_shape(&SHAPE)];
            on_device(
                gpu,
                text,
                operation,
                &[(&tensor).into()],
                &buffers,
                [&y, &dx],
            );

            let mut batch = gpu.batch();
            let narrow = gpu.upload(&rounded::<f16>(&x), &SHAPE).unwrap();
            let rounded_y = batch.apply(operation, &narrow).unwrap();
            let of_output = batch.apply(operation, &tensor).unwrap();
            let upstream = gpu.upload(dy, of_output.shape()).unwrap();
            let from_output = batch.grad_from_output(operation, &of_output, &upstream);
            if of_output.shape() == SHAPE {
                let dy_here = gpu.upload(dy, &SHAPE).unwrap();
                batch.grad_in_place(operation, &tensor, &dy_here).unwrap();
                batch.apply_in_place(operation, &tensor).unwrap();
                batch.submit().unwrap();
                same(text, &tensor.read().unwrap(), &of_output.read().unwrap());
                same(text, &dy_here.read().unwrap(), &dx);
            } else {
                assert!(batch.apply_in_place(operation, &tensor).is_err());
                batch.submit().unwrap();
            }
            same(text, &rounded_y.read_as::<f16>().unwrap(), &y);
            let on_host = backend.grad_from_output(operation, y.of_shape(of_output.shape()), dy);
            assert_eq!(from_output.is_ok(), on_host.is_ok(), "{text}");
            if let (Ok(got), Ok(want)) = (from_output, on_host) {
                same(text, &got.read().unwrap(), &want);
            }
        }
    }
}

/// The same of several arrays: masks, lengths, labels, slopes.
#[test]
fn several_arrays_on_a_device() {
    let [rows, columns] = SHAPE;
    let (x, second, t) = (numbers(1), numbers(2), shares(4));
    let keep: Vec<u8> = (0..columns).map(|i| u8::from(i % 3 != 1)).collect();
    let ends: Vec<u32> = (0..rows as u32).map(|i| i % 7).collect();
    let classes: Vec<i64> = (0..rows as i64).map(|i| i * 5 % 6).collect();
    for backend in backends() {
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let up = |x: &[f32], shape: &[usize]| gpu.upload(x, shape).unwrap();
        let [tx, ty, tt] = [&x, &second, &t].map(|x| up(x, &SHAPE));
        let at = |tensor| TypedSlice::f32(range(tensor)).of_shape(&SHAPE);
        macro_rules! hold {
            ($text:expr, $operation:expr, $inputs:expr, $tensors:expr, $buffers:expr) => {{
                let (operation, text): (&dyn Operation, &str) = ($operation, $text);
                let y = backend.apply(operation, $inputs).unwrap();
                let dx = backend
                    .grad(operation, $inputs, &numbers(5)[..y.len()])
                    .unwrap();
                on_device(gpu, text, operation, $tensors, $buffers, [&y, &dx]);
            }};
        }
        let two = &[(&tx).into(), (&ty).into()];
        let text = "geglu(arrays=2)";
        let inputs = || (x.of_shape(&SHAPE), second.of_shape(&SHAPE));
        hold!(text, &*made(text), inputs(), two, &[at(&tx), at(&ty)]);
        let text = "gumbel_softmax(tau=0.5)";
        hold!(text, &*made(text), inputs(), two, &[at(&tx), at(&ty)]);
        let prelu = Prelu::per_channel(&SHAPE).unwrap();
        let slope = up(&second[..columns], &[columns]);
        let by_slope = TypedSlice::f32(range(&slope)).of_shape(&SHAPE[1..]);
        let inputs = || (x.of_shape(&SHAPE), &second[..columns]);
        let tensors = &[(&tx).into(), (&slope).into()];
        hold!("prelu", &prelu, inputs(), tensors, &[at(&tx), by_slope]);

        let mask = gpu.upload_mask(&keep, &[columns]).unwrap();
        let lengths = gpu.upload_lengths(&ends, &[rows]).unwrap();
        let of_sinks = [rows, 1];
        let sinks = up(&second[..rows], &of_sinks);
        // The same bytes as f32 in buffers of their own.
        let mut bytes = keep.clone();
        bytes.resize(8, 0);
        let words: Vec<f32> = words_of(&bytes);
        let (mask_words, end_words) = (
            up(&words, &[2]),
            up(
                &ends
                    .iter()
                    .map(|&end| f32::from_bits(end))
                    .collect::<Vec<_>>(),
                &[rows],
            ),
        );
        for function in AxisFunction::ALL {
            let text = format!("{function}(scale=0.5, causal=upper_left)");
            let inputs = || {
                (
                    x.of_shape(&SHAPE),
                    &keep,
                    second.of_shape(&SHAPE),
                    &ends,
                    second[..rows].of_shape(&of_sinks).named("sinks"),
                )
            };
            let tensors = &[
                (&tx).into(),
                (&mask).into(),
                (&ty).into(),
                (&lengths).into(),
                sinks.named("sinks"),
            ];
            let buffers = &[
                at(&tx),
                TypedSlice::mask(range(&mask_words)).of_shape(&SHAPE[1..]),
                at(&ty),
                TypedSlice::lengths(range(&end_words)).of_shape(&SHAPE[..1]),
                TypedSlice::f32(range(&sinks))
                    .of_shape(&[10, 1])
                    .named("sinks"),
            ];
            hold!(&text, &*made(&text), inputs(), tensors, buffers);
        }
        let class_words: Vec<f32> = classes.iter().map(|&c| f32::from_bits(c as u32)).collect();
        let class_words = up(&class_words, &[rows]);
        let of_classes = TypedSlice::classes(range(&class_words)).mean_over(rows as f64);
        for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum] {
            let entropy = CrossEntropy::new()
                .reduction(reduction)
                .label_smoothing(0.25);
            let nll = NllLoss::new().reduction(reduction);
            let of: [(&dyn Operation, ClassLoss); 2] = [
                (&entropy, entropy.clone().into()),
                (&nll, nll.clone().into()),
            ];
            for (operation, loss) in of {
                let labels = gpu.labels(loss, &SHAPE, (&classes).into()).unwrap();
                let inputs = || (x.of_shape(&SHAPE), &classes);
                let tensors = &[(&tx).into(), (&labels).into()];
                hold!(
                    "a loss",
                    operation,
                    inputs(),
                    tensors,
                    &[at(&tx), of_classes.of_shape(&SHAPE[..1])]
                );
            }
            let labels = gpu.labels(entropy.clone(), &SHAPE, (&t).into()).unwrap();
            let inputs = || (x.of_shape(&SHAPE), t.of_shape(&SHAPE));
            let tensors = &[(&tx).into(), (&labels).into()];
            hold!(
                "probabilities",
                &entropy,
                inputs(),
                tensors,
                &[at(&tx), at(&tt)]
            );
            let bce = BceWithLogits::new().reduction(reduction);
            let tensors = &[(&tx).into(), (&tt).into()];
            hold!("bce", &bce, inputs(), tensors, &[at(&tx), at(&tt)]);
        }
    }
}

/// Bytes as the words that they lie in.
fn words_of(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks(4).map(|word| word.try_into().unwrap());
    words
        .map(|word| f32::from_bits(u32::from_le_bytes(word)))
        .collect()
}

/// Of nothing comes nothing, of 16 bits too; and slopes may have more axes than a view.
#[test]
fn empty_arrays_and_views_of_few_axes() {
    let nothing: [f16; 0] = [];
    for backend in backends() {
        for text in [
            "swiglu",
            "sparsemax",
            "softmax(scale=2)",
            "rrelu(seed=1)",
            "gelu",
        ] {
            let y = backend.apply(&*made(text), nothing.of_shape(&[0, 4]));
            assert!(y.unwrap().is_empty(), "{text}");
        }
        let prelu = Prelu::broadcast(&[2, 3], &[2, 1]).unwrap();
        let (x, slopes) = (ndarray::arr1(&[-1.0f32; 6]), [0.5, 2.0]);
        let inputs = || (&x, slopes.of_shape(&[2, 1]));
        let y = backend.apply(&prelu, inputs()).unwrap();
        assert_eq!(y.as_slice().unwrap(), [-0.5, -0.5, -0.5, -2.0, -2.0, -2.0]);
        let by = backend
            .grad_by(&prelu, "slope", inputs(), &[1.0; 6])
            .unwrap();
        assert_eq!(by.as_slice().unwrap(), [-3.0, -3.0]);
    }
}

/// What can be had from the output, and what cannot.
#[test]
fn gradients_from_outputs() {
    let (dy, x) = (numbers(5), numbers(1));
    let mut from_output = BTreeSet::new();
    for name in operations().map(|operation| operation.name) {
        if ["maxout", "prelu", "softmax2d"].contains(&name) {
            continue;
        }
        let operation = &*made(name);
        let backend = Backend::cpu();
        let of = |y: &[f32]| {
            let shape = if y.len() == dy.len() {
                &SHAPE[..]
            } else {
                &[10]
            };
            backend.grad_from_output(operation, y.of_shape(shape), &dy[..y.len()])
        };
        match of(&x) {
            Err(Error::NotFromOutput { .. }) => {}
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => {
                let y = backend.apply(operation, x.of_shape(&SHAPE)).unwrap();
                let got = of(&y).unwrap();
                let want = backend.grad(operation, x.of_shape(&SHAPE), &dy).unwrap();
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
                assert!(got.iter().zip(&want).all(near), "{name}");
                from_output.insert(name);
            }
        }
    }
    let wanted = ["entmax", "hardmax", "softmax", "softmin", "sparsemax"];
    assert_eq!(from_output.into_iter().collect::<Vec<_>>(), wanted);
}

/// Arrays that are missing, too many, of a wrong type or of a wrong name are told by what is taken.
#[test]
fn wrong_arrays_are_errors() {
    let x = [1.0f32, 2.0];
    let backend = Backend::cpu();
    let text = |result: Result<Vec<f32>, Error>| result.unwrap_err().to_string();
    let error = text(backend.apply(&*made("geglu(arrays=2)"), &x));
    assert_eq!(error, "geglu lacks the gate; it takes the value, the gate");
    let error = text(backend.apply(&*made("gelu"), (&x, &x)));
    assert!(
        error.contains("gelu was given an array too many"),
        "{error}"
    );
    let error = text(backend.apply(&*made("cross_entropy"), (&x, &[true])));
    assert!(
        error.contains("it takes the logits, the targets"),
        "{error}"
    );
    let softmax = &*made("softmax");
    let error = text(backend.apply(softmax, (&x, x.of_shape(&[2]).named("noise"))));
    assert!(error.contains("softmax has no input 'noise'"), "{error}");
    let error = text(backend.apply(softmax, (&x, x.of_shape(&[2]).named("mask"))));
    assert!(error.contains("takes the mask of u8 or bool"), "{error}");
    let error = text(backend.apply(softmax, (&x, &[1u8, 1], &[0u8, 1])));
    assert!(error.contains("an array too many"), "{error}");
    let error = text(backend.apply(softmax, x.of_shape(&[3])));
    assert!(
        error.contains("the input has 2 elements where 3"),
        "{error}"
    );
    let error = text(backend.grad_by(softmax, "mask", &x, &x));
    assert!(error.contains("no gradient by 'mask'"), "{error}");
}

/// What the registry says of the ways that not every operation has.
#[test]
fn ways_are_as_they_are_told() {
    let x = numbers(1);
    let gpu = common::gpu();
    let mut told = [0, 0];
    for info in operations() {
        let has = |way: Way| info.missing.iter().all(|(missing, _)| *missing != way);
        if info.name == "prelu" {
            // It is made by the shapes of its arrays; no way of one array has it.
            assert!(!has(Way::InParts) && !has(Way::InPlaceInPass));
            continue;
        }
        let operation = &*made(match info.name {
            "softmax2d" => "softmax2d(axis=-1)",
            name => name,
        });
        let what = info.name;
        told[usize::from(has(Way::InParts))] += 1;
        let parts = Stream::output_shape(operation, &SHAPE).unwrap();
        assert_eq!(parts.is_some(), has(Way::InParts), "{what}");
        let item = Item::of_shape(operation, &x, &SHAPE);
        assert_eq!(item.is_ok(), has(Way::InParts), "{what}");
        let chain = what.parse::<Chain>();
        assert_eq!(chain.is_ok(), has(Way::InChains), "{what}");
        let activation = what.parse::<Activation>();
        assert_eq!(activation.is_ok(), has(Way::InPlaceInMemory), "{what}");
        let Some(gpu) = &gpu else {
            continue;
        };
        let tensor = gpu.upload(&x, &SHAPE).unwrap();
        let done = gpu.batch().apply_in_place(operation, &tensor);
        assert_eq!(done.is_ok(), has(Way::InPlaceOnTensors), "{what}");
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let range = TypedSlice::f32(tensor.buffer().slice(..)).of_shape(&SHAPE);
        let done = gpu.kernels().apply_in_place(&mut pass, operation, range);
        assert_eq!(done.is_ok(), has(Way::InPlaceInPass), "{what}");
    }
    assert!(told[0] > 3 && told[1] > 50, "{told:?}");
}
