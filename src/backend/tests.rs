//! Where the CPU steps in for a device, without an adapter: a device of wgpu's noop backend, which
//! computes nothing, is said to be wrong.

use super::*;
use crate::arrays::OfShape;
use crate::plan::Quirks;
use crate::self_check::{Answer, Direction, Question, Way};
use crate::{
    Activation, AxisFunction, BceWithLogits, BinaryCrossEntropy, Causal, Chain, CrossEntropy, Gate,
    Groups, GumbelSoftmax, Inspect, Item, Maxout, NllLoss, Prelu, Random, Reduction, Rrelu,
    SparseFunction, Targets,
};

fn gpu() -> Gpu {
    let (device, queue) = crate::noop::device();
    Gpu::from_device(device, queue)
}

/// What every call of a backend makes of a few numbers, with its name.
fn every_call(backend: &Backend) -> Vec<(&'static str, Result<Vec<f32>>)> {
    let x: Vec<f32> = (0..24).map(|i| (i * 7 % 24) as f32 * 0.25 - 3.0).collect();
    let dy: Vec<f32> = (0..24).map(|i| (i * 5 % 24) as f32 * 0.1 - 1.0).collect();
    let probabilities: Vec<f32> = (0..24).map(|i| (i * 11 % 24) as f32 / 24.0).collect();
    let (x, dy, q, shape) = (&x[..], &dy[..], &probabilities[..], &[4, 6][..]);
    let softmax = AxisFunction::Softmax;
    let shaped = softmax.along(1).causal(Causal::UpperLeft).scale(0.5);
    let random = Random::new(3);
    let gumbel = GumbelSoftmax::new(0.7, random).unwrap();
    let rrelu = Rrelu::default().training(random);
    let (gate, prelu) = (
        Gate::new(Activation::Silu),
        Prelu::per_channel(shape).unwrap(),
    );
    let slope = [0.1, 0.2, 0.3, -0.4, 0.5, 0.6];
    let groups = Groups::new(shape, -1, 3)
        .unwrap()
        .output_shape()
        .iter()
        .product::<usize>();
    let (entropy, nll) = (CrossEntropy::new(), NllLoss::new());
    let each = CrossEntropy::new()
        .reduction(Reduction::None)
        .label_smoothing(0.1);
    let targets = Targets::Indices(&[1, 0, 5, -100]);
    let (bce, of_p) = (BceWithLogits::new(), BinaryCrossEntropy::new());
    let (plain, rows) = (
        Chain::new().apply(Activation::Tanh).multiply(),
        Chain::new().scale(2.0).softmax(-1),
    );
    let operand: &[(&[f32], &[usize])] = &[(&slope, &[6])];
    let swish = Activation::Swish.with([("beta", 2.0)]).unwrap();
    let pair = |result: Result<(Vec<f32>, Vec<f32>)>| result.map(|(a, b)| [a, b].concat());
    let all = |result: Result<Vec<Vec<f32>>>| result.map(|all| all.concat());
    let chained = |result: Result<(Vec<f32>, Vec<Vec<f32>>)>| {
        result.map(|(dx, by)| [dx, by.concat()].concat())
    };
    let in_place = |f: Activation| {
        let mut y = x.to_vec();
        backend.apply_in_place(f, &mut y).map(|()| y)
    };
    let items = [
        Item::new(Activation::Gelu, x).unwrap(),
        Item::of_shape(softmax.along(-1), x, shape).unwrap(),
    ];
    let entmax = |alpha| SparseFunction::Entmax { alpha };
    vec![
        ("apply", backend.apply(Activation::Gelu, x)),
        ("apply_in_place", in_place(Activation::Gelu)),
        ("grad", backend.grad(Activation::Gelu, x, dy)),
        (
            "apply_axis",
            backend.apply(softmax.along(0), x.of_shape(shape)),
        ),
        (
            "grad_axis",
            backend.grad(softmax.along(0), x.of_shape(shape), dy),
        ),
        (
            "grad_axis_from_output",
            backend.grad_from_output(softmax.along(1), q.of_shape(shape), dy),
        ),
        (
            "apply_axis_shaped",
            backend.apply(shaped, x.of_shape(shape)),
        ),
        (
            "grad_axis_shaped",
            backend.grad(shaped, x.of_shape(shape), dy),
        ),
        (
            "apply_sparse",
            backend.apply(SparseFunction::Sparsemax.along(1), x.of_shape(shape)),
        ),
        (
            "entmax of 1",
            backend.apply(entmax(1.0).along(1), x.of_shape(shape)),
        ),
        (
            "grad_sparse",
            backend.grad(entmax(1.5).along(1), x.of_shape(shape), dy),
        ),
        (
            "gradient of entmax of 1",
            backend.grad(entmax(1.0).along(1), x.of_shape(shape), dy),
        ),
        (
            "grad_sparse_from_output",
            backend.grad_from_output(entmax(1.5).along(1), q.of_shape(shape), dy),
        ),
        (
            "softmax2d",
            backend.apply(softmax.along(-3), x.of_shape(&[2, 3, 4])),
        ),
        (
            "maxout",
            backend.apply(Maxout::new(3).along(1), x.of_shape(shape)),
        ),
        (
            "grad_maxout",
            backend.grad(Maxout::new(3).along(1), x.of_shape(shape), &dy[..groups]),
        ),
        (
            "gumbel_softmax",
            backend.apply(gumbel.along(1), x.of_shape(shape)),
        ),
        (
            "gumbel_softmax_with",
            backend.apply(gumbel.along(1), (x.of_shape(shape), q)),
        ),
        (
            "grad_gumbel_softmax",
            backend.grad(gumbel.along(1), x.of_shape(shape), dy),
        ),
        (
            "grad_gumbel_softmax_with",
            backend.grad(gumbel.along(1), (x.of_shape(shape), q), dy),
        ),
        ("gate", backend.apply(gate.along(1), x.of_shape(shape))),
        (
            "grad_gate",
            backend.grad(gate.along(1), x.of_shape(shape), &dy[..12]),
        ),
        ("gate_pair", backend.apply(gate, (x, q))),
        ("grad_gate_pair", all(backend.grads(&gate, (x, q), dy))),
        ("prelu", backend.apply(&prelu, (x, &slope))),
        ("grad_prelu", all(backend.grads(&prelu, (x, &slope), dy))),
        (
            "grad_parameter",
            backend
                .grad_parameter(swish, "beta", x, dy)
                .map(|by| vec![by]),
        ),
        ("uniform", backend.uniform(random, 24)),
        ("gumbel_noise", backend.gumbel_noise(random, 24)),
        ("rrelu", backend.apply(rrelu, x)),
        ("grad_rrelu", backend.grad(rrelu, x, dy)),
        (
            "cross_entropy",
            backend.apply(&entropy, (x.of_shape(shape), targets)),
        ),
        (
            "grad_cross_entropy",
            backend.grad(&each, (x.of_shape(shape), targets), &dy[..4]),
        ),
        (
            "cross_entropy_with_grad",
            pair(backend.apply_with_grad(&entropy, (x.of_shape(shape), targets))),
        ),
        (
            "nll_loss",
            backend.apply(&nll, (x.of_shape(shape), targets)),
        ),
        (
            "grad_nll_loss",
            backend.grad(&nll, (x.of_shape(shape), targets), &dy[..1]),
        ),
        (
            "bce_with_logits",
            backend.apply(&bce, (x.of_shape(shape), q)),
        ),
        (
            "its gradient",
            backend.grad(&bce, (x.of_shape(shape), q), &dy[..1]),
        ),
        (
            "binary_cross_entropy",
            backend.apply(&of_p, (q.of_shape(shape), q)),
        ),
        (
            "the gradient of that",
            backend.grad(&of_p, (q.of_shape(shape), q), &dy[..1]),
        ),
        (
            "apply_chain",
            backend.apply_chain(&plain, x, shape, operand),
        ),
        (
            "grad_chain",
            chained(backend.grad_chain(&plain, x, shape, operand, dy)),
        ),
        (
            "a chain around rows",
            backend.apply_chain(&rows, x, shape, &[]),
        ),
        (
            "the gradient of a chain around rows",
            chained(backend.grad_chain(&rows, x, shape, &[], dy)),
        ),
        ("apply_many", all(backend.apply_many(&items))),
        (
            "inspect",
            backend
                .inspect(&Inspect::of(Activation::Relu), x, shape)
                .map(|s| vec![s.mean as f32, s.dead_fraction() as f32]),
        ),
    ]
}

fn assert_like_the_cpu(backend: &Backend, names: Option<&[&str]>) {
    let is_asked = |name: &str| names.is_none_or(|names| names.contains(&name));
    let calls = every_call(backend)
        .into_iter()
        .zip(every_call(&Backend::cpu()));
    for ((name, got), (_, want)) in calls.filter(|((name, _), _)| is_asked(name)) {
        let bits = |values: Result<Vec<f32>>| -> Vec<u32> {
            let values = values.unwrap_or_else(|error| panic!("{name}: {error}"));
            values.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(got), bits(want), "{name}");
    }
}

#[test]
fn every_call_is_computed_where_the_device_is_not_to_be_trusted() {
    let gpu = gpu();
    let wrong = Some("a test says so".to_owned());
    gpu.kernels()
        .trust()
        .probed(Vec::new(), Quirks::default(), wrong);
    assert_like_the_cpu(&Backend::Gpu(gpu), None);
}

/// Entmax with alpha 1 is softmax, and no better than that.
#[test]
fn functions_that_are_another_go_where_that_one_goes() {
    let gpu = gpu();
    for way in [Way::Short, Way::Invocation, Way::Workgroup, Way::Split] {
        for direction in [Direction::Forward, Direction::Backward] {
            let answer = Answer::new(Question::Axis(AxisFunction::Softmax, direction, way));
            let wrong = Some(Err("a test says so".to_owned()));
            gpu.kernels().trust().settle(&answer, Quirks::all(), wrong);
        }
    }
    let of_softmax = [
        "apply_axis",
        "grad_axis",
        "entmax of 1",
        "gradient of entmax of 1",
        "softmax2d",
        "a chain around rows",
        "the gradient of a chain around rows",
    ];
    assert_like_the_cpu(&Backend::Gpu(gpu), Some(&of_softmax));
}

#[test]
fn auto_takes_the_cpu_where_no_device_opens() {
    let refused = || Error::DeviceRequest {
        adapter: "an adapter".to_owned(),
        reason: "out of threads".to_owned(),
    };
    let none = || Error::NoAdapter {
        reason: "no graphics driver answers".to_owned(),
        remedy: "use the CPU".to_owned(),
    };
    let lost = || Error::DeviceLost {
        reason: "it fell off the bus".to_owned(),
    };
    for (error, words) in [
        (refused(), "an adapter"),
        (none(), "no graphics driver"),
        (lost(), "off the bus"),
    ] {
        let backend = Backend::on(BackendKind::Auto, Err(error)).unwrap();
        assert_eq!(backend.kind(), BackendKind::Cpu);
        let description = backend.description();
        assert!(description.contains(words), "{description}");
    }
    let asked_for = Backend::on(BackendKind::Gpu, Err(refused()));
    assert!(matches!(asked_for, Err(Error::DeviceRequest { .. })));
    let unknown = Error::UnknownAdapter {
        wanted: "mine".to_owned(),
        available: Vec::new(),
        interfaces: None,
    };
    let named = Backend::on(BackendKind::Auto, Err(unknown));
    assert!(matches!(named, Err(Error::UnknownAdapter { .. })));
}
