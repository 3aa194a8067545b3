//! f16 and bf16: every family of calls in host memory and on tensors against the f64 reference,
//! rounded to the type; lengths, mixtures of types, and numbers that are special.

mod common;

use common::{backends, gpu};
use half::{bf16, f16};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, BceWithLogits, BinaryCrossEntropy, ClassLoss,
    CrossEntropy, DType, Element, Elementwise, Error, Gate, Gpu, Groups, GumbelSoftmax, Inspect,
    Maxout, NllLoss, OfShape, Prelu, Random, Reduction, Rrelu, Shaping, SparseFunction, Targets,
    Tensor, Value, half, reference,
};

const SHAPE: [usize; 3] = [3, 7, 5];
const AXIS: isize = 1;
const COUNT: usize = 105;

fn around() -> AxisShape {
    AxisShape::new(&SHAPE, AXIS).unwrap()
}

/// Numbers that the type holds, of either sign.
fn numbers<T: Element>(seed: usize, scale: f32) -> Vec<T> {
    let value = |i: usize| ((i * 37 + seed * 101) % 211) as f32 / 105.5 - 1.0;
    (0..COUNT).map(|i| T::from_f32(scale * value(i))).collect()
}

/// Between 0 and 1.
fn probabilities<T: Element>(seed: usize) -> Vec<T> {
    let values = numbers::<T>(seed, 0.49);
    values
        .iter()
        .map(|v| T::from_f32(v.to_f32() + 0.5))
        .collect()
}

fn wide<T: Element>(x: &[T]) -> Vec<f32> {
    x.iter().map(|x| x.to_f32()).collect()
}

/// Each result is the exact one rounded to the type, where `size` is what f32's error of some ULP
/// is relative to: the last bit may fall the other way where that error crosses a middle.
#[track_caller]
fn expect<T: Element>(what: &str, got: &[T], want: &[f64], size: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let off = (want.abs() + size) * 2f64.powi(-21);
        let (low, high) = (T::from_f64(want - off), T::from_f64(want + off));
        let fits = got >= low && got <= high || want.is_nan() && got.to_f32().is_nan();
        assert!(
            fits,
            "{what}, {}: {got:?} instead of {want:e} at {i}",
            T::DTYPE
        );
    }
}

fn gumbel() -> GumbelSoftmax {
    GumbelSoftmax::new(0.7, Random::new(5)).unwrap()
}

fn rrelu() -> Rrelu {
    Rrelu::new(0.1, 0.3).unwrap().training(Random::new(9))
}

/// What every family gives for the same inputs: its name, the exact results, and the size of what
/// they are sums of.
fn exact<T: Element>() -> Vec<(&'static str, Vec<f64>, f64)> {
    let (x, dy) = (wide(&numbers::<T>(1, 4.0)), wide(&numbers::<T>(2, 1.5)));
    let mut all = Vec::new();
    let mut add = |what, values: Vec<f64>, size: f64| all.push((what, values, size));
    let pairs = || {
        x.iter()
            .zip(&dy)
            .map(|(&x, &dy)| (f64::from(x), f64::from(dy)))
    };

    let gelu = Elementwise::from(Activation::Gelu);
    let forward = x.iter().map(|&x| reference::forward(&gelu, x.into()));
    add("gelu", forward.collect(), 0.0);
    let backward = pairs().map(|(x, dy)| dy * reference::backward(&gelu, x));
    add("gelu'", backward.collect(), 1.0);

    let shape = around();
    for (name, grad, function) in [
        ("softmax", "softmax'", AxisFunction::Softmax),
        ("log_softmax", "log_softmax'", AxisFunction::LogSoftmax),
        ("logsumexp", "logsumexp'", AxisFunction::LogSumExp),
    ] {
        add(name, reference::axis_forward(function, &x, &shape), 0.0);
        let upstream = &dy[..shape.output_elements(function)];
        add(
            grad,
            reference::axis_backward(function, &x, upstream, &shape).0,
            1.0,
        );
    }
    let shaping = Shaping::new().scale(0.5).lengths(&[7, 3, 1], &[3, 1, 1]);
    let softmax = AxisFunction::Softmax;
    add(
        "shaped softmax",
        reference::shaped_forward(softmax, &shaping, &x, &SHAPE, 1),
        0.0,
    );
    add(
        "shaped softmax'",
        reference::shaped_backward(softmax, &shaping, &x, &dy, &SHAPE, 1).0,
        1.0,
    );

    let swiglu = Gate::SWIGLU;
    let gated = pairs().map(|(value, gate)| reference::gate::forward(&swiglu, value, gate));
    add("gate", gated.collect(), 0.0);
    let grads: Vec<_> = (pairs().zip(pairs()))
        .map(|((value, gate), (dy, _))| reference::gate::backward(&swiglu, value, gate, dy))
        .collect();
    add(
        "gate' by value",
        grads.iter().map(|g| g.value).collect(),
        0.0,
    );
    add("gate' by gate", grads.iter().map(|g| g.gate).collect(), 8.0);

    let slope = wide(&slopes::<T>());
    let of = |i: usize| f64::from(slope[i / 5 % 7]);
    let prelu = pairs().enumerate();
    add(
        "prelu",
        prelu
            .clone()
            .map(|(i, (x, _))| reference::prelu::forward(x, of(i)))
            .collect(),
        0.0,
    );
    let dx = prelu
        .clone()
        .map(|(i, (x, dy))| reference::prelu::backward(x, of(i), dy));
    add("prelu'", dx.collect(), 0.0);
    let mut dslope = vec![0.0; 7];
    prelu.for_each(|(i, (x, dy))| dslope[i / 5 % 7] += reference::prelu::slope_term(x, dy));
    add("prelu' by slope", dslope, 30.0);

    let sparsemax = SparseFunction::Sparsemax;
    let y = reference::sparse::forward(sparsemax, &x, &shape);
    add("sparsemax", y.clone(), 4.0);
    add(
        "sparsemax'",
        reference::sparse::from_output(sparsemax, &y, &dy, &shape).0,
        2.0,
    );
    let groups = Groups::new(&SHAPE, AXIS, 7).unwrap().rows();
    let wide64 = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    add(
        "maxout",
        wide64(reference::maxout::forward(&x, &groups)),
        0.0,
    );
    add(
        "maxout'",
        wide64(reference::maxout::backward(&x, &dy[..15], &groups)),
        0.0,
    );
    let noise: Vec<f32> = (0..COUNT as u64)
        .map(|i| reference::random::gumbel(Random::new(5), i) as f32)
        .collect();
    add(
        "gumbel_softmax",
        reference::gumbel::forward(0.7, &x, &noise, &shape),
        0.2,
    );
    add(
        "gumbel_softmax'",
        reference::gumbel::backward(0.7, &x, &noise, &dy, &shape).0,
        2.0,
    );
    add("rrelu", reference::random::rrelu(rrelu(), &x), 0.0);
    add(
        "rrelu'",
        reference::random::grad_rrelu(rrelu(), &x, &dy),
        0.0,
    );

    let classes = targets();
    let classes = Targets::Indices(&classes);
    let loss = CrossEntropy::new();
    add(
        "cross_entropy",
        reference::loss::cross_entropy(&loss, &x, &SHAPE, classes)
            .unwrap()
            .0,
        1.0,
    );
    let each = CrossEntropy::new().reduction(Reduction::None);
    let dx = reference::loss::grad_cross_entropy(&each, &x, &SHAPE, classes, &dy[..15]);
    add("cross_entropy'", dx.unwrap().0, 1.0);
    let nll = NllLoss::new();
    add(
        "nll_loss",
        reference::loss::nll_loss(&nll, &x, &SHAPE, classes)
            .unwrap()
            .0,
        4.0,
    );
    let dx = reference::loss::grad_nll_loss(&nll, &SHAPE, classes, &dy[..1]);
    add("nll_loss'", dx.unwrap(), 0.0);
    let t = wide(&probabilities::<T>(3));
    let bce = BceWithLogits::new();
    let value = reference::loss::binary_cross_entropy_with_logits(&bce, &x, &SHAPE, &t);
    add("bce with logits", value.unwrap().0, 4.0);
    let each = BceWithLogits::new().reduction(Reduction::None);
    let dx = reference::loss::grad_binary_cross_entropy_with_logits(&each, &x, &SHAPE, &t, &dy);
    add("bce with logits'", dx.unwrap().0, 1.5);
    let p = wide(&probabilities::<T>(4));
    let bce = BinaryCrossEntropy::new().reduction(Reduction::None);
    let value = reference::loss::binary_cross_entropy(&bce, &p, &SHAPE, &t);
    add("bce", value.unwrap().0, 1.0);
    let dx = reference::loss::grad_binary_cross_entropy(&bce, &p, &SHAPE, &t, &dy);
    add("bce'", dx.unwrap().0, 100.0);
    all
}

fn slopes<T: Element>() -> Vec<T> {
    numbers::<T>(6, 0.5)[..7].to_vec()
}

fn targets() -> Vec<i64> {
    (0..15).map(|i| i * 5 % 7).collect()
}

/// The same by the calls on host memory, in the same order.
fn in_host_memory<T: Element + Value>(backend: &Backend) -> Vec<Vec<T>> {
    let (x, dy) = (&numbers::<T>(1, 4.0)[..], &numbers::<T>(2, 1.5)[..]);
    let mut all = Vec::new();
    let mut add = |values: Result<Vec<T>, Error>| all.push(values.unwrap());
    add(backend.apply(Activation::Gelu, x));
    add(backend.grad(Activation::Gelu, x, dy));
    for function in [
        AxisFunction::Softmax,
        AxisFunction::LogSoftmax,
        AxisFunction::LogSumExp,
    ] {
        add(backend.apply(function.along(AXIS), x.of_shape(&SHAPE)));
        let upstream = &dy[..around().output_elements(function)];
        add(backend.grad(function.along(AXIS), x.of_shape(&SHAPE), upstream));
    }
    let shaping = Shaping::new().scale(0.5).lengths(&[7, 3, 1], &[3, 1, 1]);
    add(backend.apply(
        AxisFunction::Softmax.along(AXIS).shaped(&shaping),
        shaping.inputs(x.of_shape(&SHAPE)),
    ));
    add(backend.grad(
        AxisFunction::Softmax.along(AXIS).shaped(&shaping),
        shaping.inputs(x.of_shape(&SHAPE)),
        dy,
    ));
    add(backend.apply(Gate::SWIGLU, (x, dy)));
    let [dvalue, dgate] = backend
        .grads(&Gate::SWIGLU, (x, dy), x)
        .unwrap()
        .try_into()
        .unwrap();
    add(Ok(dvalue));
    add(Ok(dgate));
    let prelu = Prelu::per_channel(&SHAPE).unwrap();
    add(backend.apply(&prelu, (x, &slopes::<T>())));
    let [dx, dslope] = backend
        .grads(&prelu, (x, &slopes::<T>()), dy)
        .unwrap()
        .try_into()
        .unwrap();
    add(Ok(dx));
    add(Ok(dslope));
    add(backend.apply(SparseFunction::Sparsemax.along(AXIS), x.of_shape(&SHAPE)));
    add(backend.grad(
        SparseFunction::Sparsemax.along(AXIS),
        x.of_shape(&SHAPE),
        dy,
    ));
    add(backend.apply(Maxout::new(7).along(AXIS), x.of_shape(&SHAPE)));
    add(backend.grad(Maxout::new(7).along(AXIS), x.of_shape(&SHAPE), &dy[..15]));
    add(backend.apply(gumbel().along(AXIS), x.of_shape(&SHAPE)));
    add(backend.grad(gumbel().along(AXIS), x.of_shape(&SHAPE), dy));
    add(backend.apply(rrelu(), x));
    add(backend.grad(rrelu(), x, dy));
    let classes = targets();
    let classes = Targets::Indices(&classes);
    add(backend.apply(CrossEntropy::new(), (x.of_shape(&SHAPE), classes)));
    let each = CrossEntropy::new().reduction(Reduction::None);
    add(backend.grad(&each, (x.of_shape(&SHAPE), classes), &dy[..15]));
    add(backend.apply(NllLoss::new(), (x.of_shape(&SHAPE), classes)));
    add(backend.grad(&NllLoss::new(), (x.of_shape(&SHAPE), classes), &dy[..1]));
    let t = &probabilities::<T>(3)[..];
    add(backend.apply(BceWithLogits::new(), (x.of_shape(&SHAPE), t)));
    let each = BceWithLogits::new().reduction(Reduction::None);
    add(backend.grad(&each, (x.of_shape(&SHAPE), t), dy));
    let bce = BinaryCrossEntropy::new().reduction(Reduction::None);
    let p = &probabilities::<T>(4)[..];
    add(backend.apply(&bce, (p.of_shape(&SHAPE), t)));
    add(backend.grad(&bce, (p.of_shape(&SHAPE), t), dy));
    all
}

/// The same by one batch on tensors.
fn on_tensors<T: Element>(gpu: &Gpu) -> Vec<Vec<T>> {
    let send = |values: &[T], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let (x, dy) = (
        send(&numbers(1, 4.0), &SHAPE),
        send(&numbers(2, 1.5), &SHAPE),
    );
    let rows = send(&numbers::<T>(2, 1.5)[..15], &[3, 5]);
    let mut batch = gpu.batch();
    let mut all: Vec<Tensor> = Vec::new();
    let mut add = |tensor: Result<Tensor, Error>| all.push(tensor.unwrap());
    add(batch.apply(Activation::Gelu, &x));
    add(batch.grad(Activation::Gelu, &x, &dy));
    for function in [
        AxisFunction::Softmax,
        AxisFunction::LogSoftmax,
        AxisFunction::LogSumExp,
    ] {
        add(batch.apply(function.along(AXIS), &x));
        let upstream = if function.reduces() { &rows } else { &dy };
        add(batch.grad(function.along(AXIS), &x, upstream));
    }
    let lengths = gpu.upload_lengths(&[7, 3, 1], &[3, 1, 1]).unwrap();
    let halved = AxisFunction::Softmax.along(AXIS).scale(0.5);
    add(batch.apply(halved, (&x, &lengths)));
    add(batch.grad(halved, (&x, &lengths), &dy));
    add(batch.apply(Gate::SWIGLU, (&x, &dy)));
    // One tensor in two places.
    let by_both = batch.grads(Gate::SWIGLU, (&x, &dy), &x).unwrap();
    by_both.into_iter().for_each(|gradient| add(Ok(gradient)));
    let (prelu, slope) = (Prelu::per_channel(&SHAPE).unwrap(), send(&slopes(), &[7]));
    add(batch.apply(&prelu, (&x, &slope)));
    let by_both = batch.grads(&prelu, (&x, &slope), &dy).unwrap();
    by_both.into_iter().for_each(|gradient| add(Ok(gradient)));
    add(batch.apply(SparseFunction::Sparsemax.along(AXIS), &x));
    add(batch.grad(SparseFunction::Sparsemax.along(AXIS), &x, &dy));
    add(batch.apply(Maxout::new(7).along(AXIS), &x));
    let upstream = send(&numbers::<T>(2, 1.5)[..15], &[3, 1, 5]);
    add(batch.grad(Maxout::new(7).along(AXIS), &x, &upstream));
    add(batch.apply(gumbel().along(AXIS), &x));
    add(batch.grad(gumbel().along(AXIS), &x, &dy));
    add(batch.apply(rrelu(), &x));
    add(batch.grad(rrelu(), &x, &dy));
    let classes = targets();
    let labels = |loss: ClassLoss| {
        gpu.labels(loss, &SHAPE, Targets::Indices(&classes))
            .unwrap()
    };
    let (mean, nll) = (CrossEntropy::new(), NllLoss::new());
    let each = CrossEntropy::new().reduction(Reduction::None);
    add(batch.apply(&mean, (&x, &labels(mean.clone().into()))));
    add(batch.grad(&each, (&x, &labels(each.clone().into())), &rows));
    let of_nll = labels(nll.clone().into());
    add(batch.apply(&nll, (&x, &of_nll)));
    let one = send(&numbers::<T>(2, 1.5)[..1], &[]);
    add(batch.grad(&nll, (&x, &of_nll), &one));
    let t = send(&probabilities(3), &SHAPE);
    add(batch.apply(BceWithLogits::new(), (&x, &t)));
    let bce = BceWithLogits::new().reduction(Reduction::None);
    add(batch.grad(&bce, (&x, &t), &dy));
    let bce = BinaryCrossEntropy::new().reduction(Reduction::None);
    let p = send(&probabilities(4), &SHAPE);
    add(batch.apply(&bce, (&p, &t)));
    add(batch.grad(&bce, (&p, &t), &dy));
    batch.submit().unwrap();
    all.iter().map(|tensor| tensor.read_as().unwrap()).collect()
}

fn every_family<T: Element + Value>() {
    let exact = exact::<T>();
    assert!(exact.len() > 30);
    let compare = |got: Vec<Vec<T>>| {
        assert_eq!(got.len(), exact.len());
        for (got, (what, want, size)) in got.iter().zip(&exact) {
            expect(what, got, want, *size);
        }
    };
    for backend in backends() {
        compare(in_host_memory(&backend));
        let (x, dy) = (numbers::<T>(1, 4.0), numbers::<T>(2, 1.5));
        let (swish, name) = (Activation::Swish, "beta");
        let got = backend.grad_parameter(swish, name, &x, &dy).unwrap();
        let want = backend
            .grad_parameter(swish, name, &wide(&x), &wide(&dy))
            .unwrap();
        assert_eq!(got, want);
        let inspect = Inspect::of(Activation::Relu);
        let got = backend.inspect(&inspect, &x, &SHAPE).unwrap();
        let want = backend.inspect(&inspect, &wide(&x), &SHAPE).unwrap();
        assert_eq!(format!("{got:?}"), format!("{want:?}"));
    }
    if let Some(gpu) = gpu() {
        compare(on_tensors(&gpu));
        let x = numbers::<T>(1, 4.0);
        let inspect = Inspect::of(Activation::Relu);
        let [got, want] = [gpu.upload(&x, &SHAPE), gpu.upload(&wide(&x), &SHAPE)]
            .map(|x| gpu.inspect(&inspect, &x.unwrap()).unwrap());
        assert_eq!(format!("{got:?}"), format!("{want:?}"));
    }
}

#[test]
fn every_family_in_f16() {
    every_family::<f16>();
}

#[test]
fn every_family_in_bf16() {
    every_family::<bf16>();
}

/// The comparison above objects to a result that is one step off, and to another function.
#[test]
fn wrong_results_are_seen() {
    let x = numbers::<f16>(1, 4.0);
    let backend = Backend::cpu();
    let y = backend.apply(Activation::GeluTanh, &x).unwrap();
    let (what, want, size) = &exact::<f16>()[0];
    let seen = |y: &[f16]| {
        let compared = std::panic::catch_unwind(|| expect(what, y, want, *size));
        compared.is_err()
    };
    assert!(seen(&y));
    let mut y = backend.apply(Activation::Gelu, &x).unwrap();
    assert!(!seen(&y));
    y[50] = f16::from_bits(y[50].to_bits() + 1);
    assert!(seen(&y));
}

/// What a call makes of an array is what it makes of each element, at odd lengths too, and for
/// every mixture of types; NaN stays NaN, what is too large becomes infinite, what is small stays.
fn mixtures<T: Element, U: Element, V: Element>(backend: &Backend) {
    let special = [
        f32::NAN,
        -f32::NAN,
        f32::from_bits(0x7fa0_0000),
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        0.0,
        65_504.0,
        -65_504.0,
        2f32.powi(-24),
        -(2f32.powi(-15)),
        1e-40,
        3e38,
    ];
    for n in [0usize, 1, 2, 3, 5, 7, 8, 9, 15, 17, 255, 1027, 40_003] {
        let at = |i: usize| special.get(i).copied().unwrap_or(i as f32 * 0.01 - 3.0);
        let x: Vec<T> = (0..n).map(|i| T::from_f32(at(n - 1 - i))).collect();
        let dy: Vec<U> = (0..n)
            .map(|i| U::from_f32(((i * 7) % 11) as f32 - 5.0))
            .collect();
        let same = |got: V, want: f64| {
            let want = V::from_f64(want);
            got == want || got.to_f32().is_nan() && want.to_f32().is_nan()
        };
        let what = format!("{} {} {} of {n}", T::DTYPE, U::DTYPE, V::DTYPE);
        for f in [Activation::Identity, Activation::Relu] {
            let mut y = vec![V::default(); n];
            backend.apply_into(f, &x, &mut y).unwrap();
            for (i, (&y, &x)) in y.iter().zip(&x).enumerate() {
                let x = f64::from(x.to_f32());
                let cut = x < 0.0 && f == Activation::Relu;
                let want = if cut { 0.0 } else { x };
                // A device may flush what is subnormal in f32.
                let flushed = want.abs() < f64::from(f32::MIN_POSITIVE) && y == V::default();
                assert!(
                    same(y, want) || flushed,
                    "{what}, {f} at {i}: {x:e} to {y:?}"
                );
            }
            let mut dx = vec![V::default(); n];
            backend.grad_into(f, &x, &dy, &mut dx).unwrap();
            for (i, ((&dx, &x), &dy)) in dx.iter().zip(&x).zip(&dy).enumerate() {
                let (x, dy) = (f64::from(x.to_f32()), f64::from(dy.to_f32()));
                let want = if x.is_nan() {
                    x
                } else if x > 0.0 || f == Activation::Identity {
                    dy
                } else {
                    0.0
                };
                assert!(same(dx, want), "{what}, {f}' at {i}: {x:e} to {dx:?}");
            }
        }
    }
}

#[test]
fn mixed_types_and_odd_lengths() {
    for backend in backends() {
        mixtures::<f16, f16, f16>(&backend);
        mixtures::<bf16, bf16, bf16>(&backend);
        mixtures::<f16, f32, f32>(&backend);
        mixtures::<f32, f16, f16>(&backend);
        mixtures::<bf16, f32, f16>(&backend);
        mixtures::<f32, f32, bf16>(&backend);
        mixtures::<f16, bf16, f32>(&backend);
        let mut x = numbers::<bf16>(1, 3.0);
        let y = backend.apply(Activation::Silu, &x).unwrap();
        backend.apply_in_place(Activation::Silu, &mut x).unwrap();
        assert_eq!(x, y);
    }
}

/// More than travels at a time, with an odd number at the end.
#[test]
fn more_than_a_piece() {
    let n = (4 << 20) + 33;
    let x: Vec<f16> = (0..n)
        .map(|i| f16::from_bits((i * 7 % 0x7c00) as u16))
        .collect();
    for backend in backends() {
        let y = backend.apply(Activation::Relu, &x).unwrap();
        assert!(y == x);
        let mut wide = vec![0.0f32; n];
        backend.apply_into(Activation::Relu, &x, &mut wide).unwrap();
        assert!(wide.iter().zip(&x).all(|(w, x)| *w == x.to_f32()));
    }
    if let Some(gpu) = gpu() {
        let x = &x;
        let tensor = gpu.upload(x, &[n]).unwrap();
        assert!(tensor.read_as::<f16>().unwrap() == *x);
    }
}

/// Rows that the CPU takes some at a time give what they give in f32, rounded: short and long ones,
/// along every axis, reduced, in place, from the output, and none at all.
#[test]
fn rows_of_any_number_on_the_cpu() {
    fn close(got: &[bf16], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        let same = |(got, want): (&bf16, &f32)| {
            let ulp = want.abs().min(f32::MAX) * 2f32.powi(-22);
            (bf16::from_f32(want - ulp)..=bf16::from_f32(want + ulp)).contains(got)
        };
        let pairs = got.iter().zip(want);
        assert_eq!(pairs.clone().position(|pair| !same(pair)), None);
    }
    let cpu = Backend::cpu();
    for (shape, axis) in [
        (&[3000, 17][..], 1),
        (&[40, 1000], 1),
        (&[2, 20_001], 1),
        (&[1, 50_000], 1),
        (&[5, 700, 13], 1),
        (&[300, 130], 0),
        (&[7], 0),
        (&[0, 4], 1),
        (&[4, 0], 1),
    ] {
        let n: usize = shape.iter().product();
        let x: Vec<bf16> = (0..n)
            .map(|i| bf16::from_f32((i * 7 % 97) as f32 * 0.1))
            .collect();
        for function in [AxisFunction::Softmax, AxisFunction::LogSumExp] {
            let around = AxisShape::new(shape, axis).unwrap();
            let rows = around.output_elements(function);
            let (mut y, mut wide) = (vec![bf16::ZERO; rows], vec![0.0f32; rows]);
            let f = function.along(axis);
            let wide_x = self::wide(&x);
            let (x_of, wide_of) = (x.of_shape(shape), wide_x.of_shape(shape));
            cpu.apply_into(f, x_of, &mut y).unwrap();
            cpu.apply_into(f, wide_of, &mut wide).unwrap();
            close(&y, &wide);
            let dy: Vec<bf16> = (0..rows)
                .map(|i| bf16::from_f32((i % 11) as f32 - 5.0))
                .collect();
            let (mut dx, mut wide_dx) = (vec![bf16::ZERO; n], vec![0.0f32; n]);
            let wide_dy = self::wide(&dy);
            cpu.grad_into(f, x_of, &dy, &mut dx).unwrap();
            cpu.grad_into(f, wide_of, &wide_dy, &mut wide_dx).unwrap();
            close(&dx, &wide_dx);
            if function.reduces() {
                continue;
            }
            let wide_y = self::wide(&y);
            let from = cpu.grad_from_output(f, y.of_shape(shape), &dy).unwrap();
            let wide_dx = cpu.grad_from_output(f, wide_y.of_shape(shape), &wide_dy);
            close(&from, &wide_dx.unwrap());
        }
    }
}

#[test]
fn tensors_know_their_type() {
    let Some(gpu) = gpu() else { return };
    let x = gpu.upload(&[f16::ONE, f16::NAN, f16::MAX], &[3]).unwrap();
    assert_eq!((x.dtype(), x.len()), (DType::F16, 3));
    let wrong = x.read_as::<bf16>();
    assert!(matches!(
        wrong,
        Err(Error::DTypeMismatch {
            expected: DType::F16,
            got: DType::Bf16
        })
    ));
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "the array holds f16, and was read as bf16; `dtype` says what it holds"
    );
    let y = gpu.empty_as(&[3], DType::Bf16).unwrap();
    let mut batch = gpu.batch();
    batch.apply_into(Activation::Relu, &x, &y).unwrap();
    let wide = batch.cast(&x, DType::F32).unwrap();
    let same = batch.cast(&x, DType::F16).unwrap();
    let in_place = gpu.upload(&[bf16::NEG_ONE; 3], &[3]).unwrap();
    batch.apply_in_place(Activation::Elu, &in_place).unwrap();
    // A row family that writes where it reads.
    let rows = gpu.upload(&[f16::ONE; 9], &[3, 3]).unwrap();
    batch
        .apply_in_place(AxisFunction::Softmax.along(-1), &rows)
        .unwrap();
    batch.submit().unwrap();
    let same_numbers = |got: Vec<f32>, want: [f32; 3]| {
        let pairs = got.iter().zip(want);
        assert!(
            got.len() == 3
                && pairs
                    .clone()
                    .all(|(g, w)| *g == w || g.is_nan() && w.is_nan()),
            "{got:?}"
        );
    };
    same_numbers(y.read().unwrap(), [1.0, f32::NAN, 65_536.0]);
    same_numbers(wide.read_as::<f32>().unwrap(), [1.0, f32::NAN, 65_504.0]);
    same_numbers(same.read().unwrap(), [1.0, f32::NAN, 65_504.0]);
    let want = bf16::from_f64((-1f64).exp_m1());
    assert_eq!(in_place.read_as::<bf16>().unwrap(), [want; 3]);
    assert_eq!(
        rows.read_as::<f16>().unwrap(),
        [f16::from_f32(1.0 / 3.0); 9]
    );
    let other = gpu.upload(&[1.0, 2.0], &[2]).unwrap();
    assert_eq!(other.dtype(), DType::F32);
}
