//! Faults put into the shaders on purpose: each is found, has the consequence that is documented,
//! and costs no caller a wrong result.

use super::*;
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::gpu::adapter::{self, Admitted};
use crate::gpu::pool::Pool;
use crate::kernels::Fault;
use crate::kernels::Kernels;
use crate::plan::{Traits, Walk};
use crate::shape::AxisShape;
use crate::{AdapterChoice, Backend, Cpu, Elementwise, OfShape};
use std::io::Write;

/// The adapter's GPU with a fault in its shaders, as if it were hardware where `hardware`; else
/// the test is skipped, or fails where an adapter is required, as `tests/` do.
fn spoiled(hardware: bool, fault: Fault) -> Option<Gpu> {
    let opened = pollster::block_on(adapter::open(&AdapterChoice::from_env(), Admitted::All));
    let opened = match opened {
        Ok(opened) => opened,
        Err(error @ Error::NoAdapter { .. }) => {
            let is = |name, value| std::env::var(name).is_ok_and(|v| v == value);
            let required = is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1");
            assert!(!required, "an adapter is required: {error}");
            // Where nobody reads it, nothing is lost.
            let _ = writeln!(std::io::stdout(), "SKIPPED: {error}");
            return None;
        }
        Err(error) => panic!("the GPU does not open: {error}"),
    };
    let own = Traits::of(&opened.device);
    let traits = if hardware {
        Traits {
            software: false,
            walk: Walk::of(false, false),
            ..own
        }
    } else {
        own
    };
    let kernels = Kernels::spoiled(&opened.device, traits, fault);
    let gpu = Gpu {
        inner: Arc::new(Inner {
            submissions: std::sync::atomic::AtomicU64::new(0),
            pool: Pool::new(&kernels),
            kernels,
            device: opened.device,
            queue: opened.queue,
            info: opened.info,
            why: opened.why,
            spare: Default::default(),
            store: None,
            warnings: Default::default(),
            faults: None,
        }),
    };
    pollster::block_on(gpu.inner.probe(Wait::Block)).unwrap();
    Some(gpu)
}

fn none(text: String) -> String {
    text
}

/// The text with one thing in the place of another, which must be there in a kernel.
fn instead(text: &str, this: &str, that: &str) -> String {
    let changed = text.replace(this, that);
    assert_ne!(changed, text, "there is no {this}");
    changed
}

fn is_probe(text: &str) -> bool {
    text.contains("fn turns_of_a_loop")
}

/// WGSL's own tanh: 1e-5 off, or NaN where its exponentials overflow.
fn builtin_tanh(text: String) -> String {
    let own = "fn tanh_f32(x: f32) -> f32 {";
    instead(
        &text,
        own,
        &format!("{own}\n    return tanh(x);\n}}\nfn unused(x: f32) -> f32 {{"),
    )
}

/// Reductions that meet nowhere, in the probes too.
fn no_barriers(text: String) -> String {
    text.replace("workgroupBarrier();", "")
}

/// A reduction whose kernel alone lacks its barriers.
fn no_barriers_in_kernels(text: String) -> String {
    if is_probe(&text) {
        text
    } else {
        no_barriers(text)
    }
}

/// A relu by the built-in max, which may drop NaN, in the place of the guarded one.
fn max_drops_nan(text: String) -> String {
    text.replace(
        "select(relu(x), x, is_nan(x))",
        "select(max(x, 0.0), 0.0, is_nan(x))",
    )
}

/// Rows whose NaN does not count.
fn rows_drop_nan(text: String) -> String {
    if is_probe(&text) {
        return text;
    }
    // A NaN among the terms would outlive a test that misses it.
    text.replace(
        "return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;",
        "return x != max(x, x);",
    )
    .replace(
        "return select(negative_infinity(), uniforms.sign * x, kept);",
        "return max(select(negative_infinity(), uniforms.sign * x, kept), -1e30);",
    )
}

/// A compiler that sees (a + b) - a - b and makes a 0 of it.
fn reassociated(text: String) -> String {
    let text = instead(
        &text,
        "return vec2<f32>(hi, settled(settled(larger - hi) + other_of(a, b, larger)));",
        "return vec2<f32>(hi, (a + b) - (hi + settled(a + b - hi)));",
    );
    let text = instead(
        &text,
        "return vec2<f32>(hi, settled(settled(a - hi) + b));",
        "return vec2<f32>(hi, (a + b) - (hi + settled(a + b - hi)));",
    );
    text.replace(
        "return settled(a - settled(s - c)) + settled(b - c);",
        "return (a + b) - s;",
    )
}

fn reassociated_in_kernels(text: String) -> String {
    if is_probe(&text) {
        text
    } else {
        reassociated(text)
    }
}

/// An exponential whose tail is flushed before it is multiplied.
fn flushed(text: String) -> String {
    let own = "return settled(x * pow2(first)) * pow2(n - first);";
    instead(
        &text,
        own,
        &format!("return select({}, 0.0, n < -126);", &own[7..own.len() - 1]),
    )
}

/// A quotient by a rough reciprocal.
fn rough_division(text: String) -> String {
    text.replace("bitcast<u32>(a / b)", "bitcast<u32>((a / b) * 1.000001)")
}

/// A loop that does not come to its end, on any adapter.
fn short_loops(text: String) -> String {
    text.replace("count < given[0].y;", "count < min(given[0].y, 65535u);")
}

fn verdict(check: &SelfCheck, subject: &str) -> Verdict {
    let found = check.findings.iter().find(|f| f.subject == subject);
    found
        .unwrap_or_else(|| panic!("no {subject} in\n{check}"))
        .verdict
}

/// Asks a few functions; all would be compiled for each test.
fn ask(gpu: &Gpu, activations: &[Activation], functions: &[AxisFunction]) -> SelfCheck {
    let few = || {
        let mut few = Question::all();
        few.retain(|question| match question {
            Question::Elementwise(activation, _) => activations.contains(activation),
            Question::Axis(function, ..) => functions.contains(function),
        });
        few
    };
    pollster::block_on(gpu.ask_twice(few, Wait::Block)).unwrap();
    gpu.findings()
}

/// The functions that are not trusted.
fn wrong(check: &SelfCheck) -> Vec<&str> {
    let wrong = |f: &&Finding| f.verdict == Verdict::Distrusted;
    check
        .findings
        .iter()
        .filter(wrong)
        .map(|f| f.subject.as_str())
        .collect()
}

const INPUTS: [f32; 9] = [
    -91.5,
    -13.1,
    -2.0,
    -1e-20,
    0.3,
    5.0,
    95.0,
    f32::NAN,
    f32::INFINITY,
];

/// The CPU's results, bit by bit.
fn assert_on_cpu(backend: &Backend, f: impl Into<Elementwise>) {
    let f = f.into();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let (cpu, dy) = (Cpu::new(), INPUTS.map(|_| 1.0));
    let [mut y, mut dx] = [(); 2].map(|()| vec![0.0; INPUTS.len()]);
    cpu.apply_into(f, &INPUTS, &mut y).unwrap();
    cpu.grad_into(f, &INPUTS, &dy, &mut dx).unwrap();
    // Any result of an adapter that is not distrusted may differ in the last place.
    let [got, got_dx] = [
        backend.apply(f, &INPUTS).unwrap(),
        backend.grad(f, &INPUTS, &dy).unwrap(),
    ];
    let mut in_place = INPUTS.to_vec();
    backend.apply_in_place(f, &mut in_place).unwrap();
    assert_eq!(bits(got), bits(y.clone()), "{f}");
    assert_eq!(bits(in_place), bits(y), "{f} in place");
    let close = |(a, b): (&f32, &f32)| {
        a == b || a.to_bits().abs_diff(b.to_bits()) < 5 || (a.is_nan() && b.is_nan())
    };
    assert!(got_dx.iter().zip(&dx).all(close), "{f}: {got_dx:?}, {dx:?}");
}

#[test]
fn an_adapter_without_faults_passes() {
    let Some(gpu) = spoiled(false, none) else {
        return;
    };
    let before = gpu.findings();
    assert!(before.passed() && before.findings.len() > 15, "{before}");
    let check = gpu.self_check().unwrap();
    assert!(check.passed(), "{check}");
    let asked = check.findings.len();
    assert!(asked > 2 * Activation::ALL.len() + 4 * 2 * 3, "{asked}");
    assert!(
        check
            .findings
            .iter()
            .all(|f| f.verdict != Verdict::Tolerated),
        "{check}"
    );
    assert!(!gpu.description().contains("CPU"), "{}", gpu.description());
    let twin = pollster::block_on(gpu.self_check_async()).unwrap();
    assert_eq!(twin.findings, check.findings);
    // Its kernels know all that.
    let kernels = Kernels::with_findings(gpu.device(), &check);
    assert_eq!(kernels.traits().quirks, gpu.inner.kernels.traits().quirks);
}

#[test]
fn a_builtin_tanh_goes_to_the_cpu() {
    let Some(gpu) = spoiled(false, builtin_tanh) else {
        return;
    };
    // The first call finds it, without a self-check, and has the right result.
    let backend = Backend::Gpu(gpu.clone());
    assert_on_cpu(&backend, Activation::Tanh);
    let of_tanh = |check: &SelfCheck| {
        let wrong = wrong(check);
        wrong.contains(&"tanh forward") && wrong.iter().all(|w| w.starts_with("tanh"))
    };
    assert!(of_tanh(&gpu.findings()), "{}", gpu.findings());
    let description = backend.description();
    assert!(
        description.contains("on the CPU: tanh forward"),
        "{description}"
    );

    // On the device there is no CPU to fall back to: an error that says what is wrong.
    let x = gpu.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let mut batch = gpu.batch();
    let error = batch.apply(Activation::Tanh, &x).unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("tanh forward"), "{error}");
    // Everything else goes on.
    let y = batch.apply(Activation::Relu, &x).unwrap();
    batch.submit().unwrap();
    assert_eq!(y.read().unwrap()[..4], [0.0; 4]);

    let check = ask(&gpu, &[Activation::Tanh, Activation::Sigmoid], &[]);
    assert!(!check.passed());
    assert!(of_tanh(&check), "{check}");
    assert!(
        check.to_string().contains("WRONG         tanh forward: "),
        "{check}"
    );
    let kernels = Kernels::with_findings(gpu.device(), &check);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let slice = x.buffer().slice(..INPUTS.len() as u64 * 4);
    let refused = kernels.apply_in_place(&mut pass, Activation::Tanh, slice);
    assert!(
        matches!(refused, Err(Error::Untrusted { .. })),
        "{refused:?}"
    );
    kernels
        .apply_in_place(&mut pass, Activation::Relu, slice)
        .unwrap();
}

/// A chain whose first link is wrong: all that follows from it is refused, and nothing else.
#[test]
fn what_follows_from_a_wrong_answer_is_not_read() {
    let Some(gpu) = spoiled(false, builtin_tanh) else {
        return;
    };
    let x = gpu.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let mut batch = gpu.batch();
    let tanh = batch.apply(Activation::Tanh, &x).unwrap();
    let other = batch.apply(Activation::Relu, &x).unwrap();
    batch.submit().unwrap();
    let mut batch = gpu.batch();
    let follows = batch.apply(Activation::Relu, &tanh).unwrap();
    let apart = batch.apply(Activation::Relu6, &other).unwrap();
    batch.submit().unwrap();
    for tainted in [&follows, &tanh] {
        let error = tainted.read().unwrap_err();
        assert!(error.to_string().contains("tanh forward"), "{error}");
    }
    apart.read().unwrap();
    x.read().unwrap();

    // A batch that is dropped asks nothing, and holds nothing up.
    let Some(gpu) = spoiled(false, builtin_tanh) else {
        return;
    };
    let x = gpu.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let mut dropped = gpu.batch();
    dropped.apply_in_place(Activation::Tanh, &x).unwrap();
    drop(dropped);
    assert_eq!(x.read().unwrap()[..6], INPUTS[..6]);
    assert!(wrong(&gpu.findings()).is_empty());
    let mut batch = gpu.batch();
    let tanh = batch.apply(Activation::Tanh, &x).unwrap();
    batch.submit().unwrap();
    assert!(tanh.read().is_err());
}

fn softmax_is_right(backend: &Backend, shape: &[usize]) {
    let n: usize = shape.iter().product();
    let x: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1009) as f32 * 0.01).collect();
    let got = backend
        .apply(AxisFunction::Softmax.along(-1), x.of_shape(shape))
        .unwrap();
    let around = AxisShape::new(shape, -1).unwrap();
    let want = crate::reference::axis_forward(AxisFunction::Softmax, &x, &around);
    for (got, want) in got.iter().zip(want) {
        assert!(
            crate::reference::ulp_error(*got, want, 0.0) < 16.0,
            "{got:e}, {want:e}"
        );
    }
}

#[test]
fn barriers_that_do_not_hold_are_gone_around() {
    let shapes = [&[600, 40][..], &[3, 300], &[1, 9000]];
    for hardware in [false, true] {
        let Some(gpu) = spoiled(hardware, no_barriers) else {
            return;
        };
        let found = gpu.findings();
        assert_eq!(
            verdict(&found, "barriers"),
            Verdict::WorkedAround,
            "{found}"
        );
        let backend = Backend::Gpu(gpu.clone());
        for shape in shapes {
            let around = AxisShape::new(shape, -1).unwrap();
            let plan = gpu.kernels().describe_axis(&around);
            assert!(!plan.contains("RowPerWorkgroup"), "{plan}");
            softmax_is_right(&backend, shape);
        }
        let check = ask(&gpu, &[], &[AxisFunction::Softmax, AxisFunction::LogSumExp]);
        assert!(check.passed(), "{check}");
    }
}

/// The probe's barriers hold, and the kernels' do not: their known answers find it, and the
/// call that found it is computed again.
#[test]
fn a_reduction_without_its_barriers_is_gone_around() {
    for (hardware, shape, way) in [
        (true, [600, 40], "a row a workgroup"),
        (true, [2, 9000], "split rows"),
        (false, [2, 9000], "split rows"),
    ] {
        let Some(gpu) = spoiled(hardware, no_barriers_in_kernels) else {
            return;
        };
        assert_eq!(verdict(&gpu.findings(), "barriers"), Verdict::Right);
        softmax_is_right(&Backend::Gpu(gpu.clone()), &shape);
        assert!(gpu.inner.kernels.traits().quirks.barriers, "{way}");
        let check = ask(&gpu, &[], &[AxisFunction::Softmax]);
        assert!(check.passed(), "{check}");
        softmax_is_right(&Backend::Gpu(gpu), &shape);
    }
}

#[test]
fn a_max_that_drops_nan_goes_to_the_cpu() {
    let Some(gpu) = spoiled(false, max_drops_nan) else {
        return;
    };
    assert_on_cpu(&Backend::Gpu(gpu.clone()), Activation::Relu);
    assert_eq!(wrong(&gpu.findings()), ["relu forward"]);

    let Some(gpu) = spoiled(false, rows_drop_nan) else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    for shape in [&[3, 13][..], &[70, 300], &[1, 5000]] {
        let mut x = vec![0.5; shape.iter().product()];
        x[shape[1] / 2] = f32::NAN;
        let y = backend
            .apply(AxisFunction::LogSumExp.along(-1), x.of_shape(shape))
            .unwrap();
        assert!(
            y[0].is_nan() && y[1..].iter().all(|y| y.is_finite()),
            "{shape:?}: {y:?}"
        );
    }
    let findings = gpu.findings();
    assert!(
        wrong(&findings)
            .iter()
            .any(|w| w.starts_with("logsumexp forward")),
        "{findings}"
    );
}

#[test]
fn sums_that_are_put_in_another_order_are_found() {
    // In the probes: nothing is left to trust.
    let Some(gpu) = spoiled(false, reassociated) else {
        return;
    };
    let findings = gpu.findings();
    assert_eq!(
        wrong(&findings),
        ["errors of sums", "split products"],
        "{findings}"
    );
    let backend = Backend::Gpu(gpu.clone());
    assert_on_cpu(&backend, Activation::Gelu);
    assert_on_cpu(&backend, Activation::Relu);
    softmax_is_right(&backend, &[3, 300]);
    let description = backend.description();
    assert!(
        description.contains("no function runs on it"),
        "{description}"
    );
    // Who has not asked for a GPU gets none.
    let auto = Backend::on(crate::BackendKind::Auto, Ok(gpu.clone())).unwrap();
    assert_eq!(auto.kind(), crate::BackendKind::Cpu);
    let description = auto.description();
    assert!(description.contains("errors of sums"), "{description}");
    let x = gpu.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let error = gpu.batch().apply(Activation::Relu, &x).unwrap_err();
    assert!(error.to_string().contains("errors of sums"), "{error}");

    // In the kernels alone: the functions that need the order.
    let Some(gpu) = spoiled(false, reassociated_in_kernels) else {
        return;
    };
    assert_on_cpu(&Backend::Gpu(gpu.clone()), Activation::Gelu);
    let check = gpu.self_check().unwrap();
    let wrong = wrong(&check);
    assert!(wrong.contains(&"gelu forward"), "{check}");
    assert!(
        !wrong.contains(&"relu forward") && !wrong.contains(&"exp forward"),
        "{check}"
    );
}

#[test]
fn an_exponential_that_is_flushed_goes_to_the_cpu() {
    let Some(gpu) = spoiled(false, flushed) else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    assert_on_cpu(&backend, Activation::Silu);
    assert_on_cpu(&backend, Activation::Mish);
    let findings = gpu.findings();
    let wrong = wrong(&findings);
    for function in ["silu forward", "mish forward"] {
        assert!(wrong.contains(&function), "{findings}");
    }
}

#[test]
fn division_beyond_its_promise_is_found() {
    let Some(gpu) = spoiled(false, rough_division) else {
        return;
    };
    let findings = gpu.findings();
    assert_eq!(wrong(&findings), ["division"], "{findings}");
    assert_on_cpu(&Backend::Gpu(gpu), Activation::Silu);
}

#[test]
fn loops_that_end_early_are_kept_short() {
    let Some(gpu) = spoiled(true, short_loops) else {
        return;
    };
    assert_eq!(
        verdict(&gpu.findings(), "long loops"),
        Verdict::WorkedAround
    );
    // An adapter that does not call itself software would give each row to an invocation.
    let long = AxisShape {
        outer: 1,
        len: 50_000,
        inner: 70_000,
    };
    let plan = gpu.kernels().describe_axis(&long);
    assert!(!plan.contains("RowPerInvocation"), "{plan}");
    softmax_is_right(&Backend::Gpu(gpu), &[2, 100_003]);
}

/// A gate is no better than its activation.
#[test]
fn a_gate_of_a_wrong_activation_goes_to_the_cpu() {
    let Some(gpu) = spoiled(false, builtin_tanh) else {
        return;
    };
    let gate = crate::Gate::new(Activation::Tanh);
    let value = [1.0; INPUTS.len()];
    let y = Backend::Gpu(gpu.clone()).apply(gate, (&value, &INPUTS));
    let want = Backend::cpu().apply(gate, (&value, &INPUTS)).unwrap();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(y.unwrap()), bits(want));
    let x = gpu.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let refused = gpu.batch().apply(gate, (&x, &x)).map(drop);
    assert!(
        matches!(refused, Err(Error::Untrusted { .. })),
        "{refused:?}"
    );
    // Taken at its word, it computes what it computes.
    let trusting = gpu.trusting();
    let x = trusting.upload(&INPUTS, &[INPUTS.len()]).unwrap();
    let mut batch = trusting.batch();
    let y = batch.apply(Activation::Tanh, &x).unwrap();
    batch.submit().unwrap();
    y.read().unwrap();
    let error = crate::check::elementwise(&Backend::Gpu(gpu), Activation::Tanh.into());
    assert!(!error.unwrap().iter().all(crate::check::Report::passed));
}
