//! Calls that do not block: what they compute, where, and that every blocking call has one.

mod common;

use common::{backends, gpu};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use wgpu_activations::{
    Activation, Array, AxisFunction, Backend, Call, Chain, CrossEntropy, Custom, CustomFormula,
    Gate, Inspect, Item, NllLoss, Number, OfShape, Operation, Random, Result, Shaping,
    SparseFunction, Targets, half::f16,
};

const ROWS: usize = 300;
const LEN: usize = 500;

fn numbers() -> Vec<f32> {
    (0..ROWS * LEN)
        .map(|i| (i % 977) as f32 * 0.01 - 3.0)
        .collect()
}

/// The result of a future that goes to tokio's or anyone's pool, and whether its first poll had it.
fn polled<T>(future: impl Future<Output = T> + Send) -> (T, bool) {
    let mut future = pin!(future);
    let first = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    match first {
        Poll::Ready(value) => (value, true),
        Poll::Pending => (pollster::block_on(future), false),
    }
}

/// A large call on the CPU is not there at once, and is what the blocking call computes.
fn check<T: PartialEq + std::fmt::Debug>(
    what: &str,
    future: impl Future<Output = Result<T>> + Send,
    want: Result<T>,
) {
    let (got, at_once) = polled(future);
    assert!(!at_once, "{what} was computed in a poll");
    assert!(got.unwrap() == want.unwrap(), "{what} differs");
}

#[test]
fn the_cpu_computes_large_calls_elsewhere() {
    let cpu = &Backend::cpu();
    let (x, shape) = (&numbers()[..], &[ROWS, LEN][..]);
    let twice = [x, x].concat();
    let gelu = Activation::Gelu;
    let f = AxisFunction::Softmax;
    check("apply", cpu.apply_async(gelu, x), cpu.apply(gelu, x));
    check("grad", cpu.grad_async(gelu, x, x), cpu.grad(gelu, x, x));
    let (softmax, want) = (
        cpu.apply_async(f.along(-1), x.of_shape(shape)),
        cpu.apply(f.along(-1), x.of_shape(shape)),
    );
    check("softmax", softmax, want);
    let want = cpu.grad(f.along(0), x.of_shape(shape), x);
    check(
        "grad_axis",
        cpu.grad_async(f.along(0), x.of_shape(shape), x),
        want,
    );
    let sparse = SparseFunction::Entmax { alpha: 1.5 };
    let want = cpu.apply(sparse.along(-1), x.of_shape(shape));
    check(
        "entmax",
        cpu.apply_async(sparse.along(-1), x.of_shape(shape)),
        want,
    );
    let glu: Gate = "swiglu".parse().unwrap();
    let gated = cpu.apply_async(glu.along(-1), twice.of_shape(&[ROWS, 2 * LEN]));
    check(
        "gate",
        gated,
        cpu.apply(glu.along(-1), twice.of_shape(&[ROWS, 2 * LEN])),
    );
    let mask: Vec<u8> = (0..LEN).map(|i| u8::from(i % 3 > 0)).collect();
    let shaping = Shaping::new()
        .mask(&mask, &[LEN])
        .bias(&x[..LEN], &[LEN])
        .scale(0.5);
    let want = cpu.apply(
        f.along(-1).shaped(&shaping),
        shaping.inputs(x.of_shape(shape)),
    );
    check(
        "shaped",
        cpu.apply_async(
            f.along(-1).shaped(&shaping),
            shaping.inputs(x.of_shape(shape)),
        ),
        want,
    );
    let shaping = shaping.sinks(&x[..ROWS], &[ROWS, 1]);
    let want = cpu.grad_by(
        f.along(-1).shaped(&shaping),
        "sinks",
        shaping.inputs(x.of_shape(shape)),
        x,
    );
    check(
        "by sinks",
        cpu.grad_by_async(
            f.along(-1).shaped(&shaping),
            "sinks",
            shaping.inputs(x.of_shape(shape)),
            x,
        ),
        want,
    );
    let chain = Chain::new().apply(gelu).add().multiply();
    let operands = [(&x[..LEN], &[LEN][..]), (x, shape)];
    let want = cpu.apply_chain(&chain, x, shape, &operands);
    check(
        "chain",
        cpu.apply_chain_async(&chain, x, shape, &operands),
        want,
    );
    let want = cpu.grad_chain(&chain, x, shape, &operands, x);
    check(
        "grad_chain",
        cpu.grad_chain_async(&chain, x, shape, &operands, x),
        want,
    );
    let classes: Vec<i64> = (0..ROWS as i64).collect();
    for targets in [Targets::Indices(&classes), Targets::Probabilities(x)] {
        let loss = CrossEntropy::new();
        let want = cpu.apply(&loss, (x.of_shape(shape), targets));
        check(
            "loss",
            cpu.apply_async(&loss, (x.of_shape(shape), targets)),
            want,
        );
    }
    let (loss, targets) = (NllLoss::new(), Targets::Indices(&classes));
    let want = cpu.apply(&loss, (x.of_shape(shape), targets));
    check(
        "nll_loss",
        cpu.apply_async(&loss, (x.of_shape(shape), targets)),
        want,
    );
    let what = Inspect::of(Activation::Relu);
    check(
        "inspect",
        cpu.inspect_async(&what, x, shape),
        cpu.inspect(&what, x, shape),
    );
    let random = Random::new(3);
    let count = x.len();
    check(
        "uniform",
        cpu.uniform_async(random, count),
        cpu.uniform(random, count),
    );
    let swish = Activation::Swish;
    let want = cpu.grad_parameter(swish, "beta", x, x);
    check("beta", cpu.grad_parameter_async(swish, "beta", x, x), want);
    let items = [
        Item::new(gelu, x).unwrap(),
        Item::of_shape(f.along(0), x, shape).unwrap(),
    ];
    check("many", cpu.apply_many_async(&items), cpu.apply_many(&items));

    let (mut got, mut want) = (vec![0.0; count], vec![0.0; count]);
    cpu.apply_into(f.along(0), x.of_shape(shape), &mut want)
        .unwrap();
    assert!(!polled(cpu.apply_into_async(f.along(0), x.of_shape(shape), &mut got)).1);
    assert_eq!(got, want);
    got.copy_from_slice(x);
    cpu.apply_into(gelu, x, &mut want).unwrap();
    assert!(!polled(cpu.apply_in_place_async(gelu, &mut got)).1);
    assert_eq!(got, want);
    // A mistake is one elsewhere, too, and writes nothing.
    let wrong = polled(cpu.apply_into_async(gelu, x, &mut got[1..])).0;
    assert!(wrong.is_err() && got == want);
}

#[test]
fn what_is_short_is_there_at_once() {
    let cpu = Backend::cpu();
    let (y, at_once) = polled(cpu.apply_async(Activation::Relu, &[-1.0, 2.0]));
    assert_eq!((y.unwrap(), at_once), (vec![0.0, 2.0], true));
}

/// x, and on which threads it is computed.
struct Watched(Arc<Mutex<Vec<ThreadId>>>);

impl CustomFormula for Watched {
    fn value<N: Number>(&self, x: N, _: &[N]) -> N {
        let mut threads = self.0.lock().unwrap();
        if threads.last() != Some(&thread::current().id()) {
            threads.push(thread::current().id());
        }
        x * N::constant(1.0)
    }
}

#[test]
fn the_executors_thread_computes_nothing_long() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let watched = Custom::new("watched").formula(Watched(Arc::clone(&threads)));
    let chain = Chain::new().apply(watched.unwrap());
    let x = numbers();
    // What is made when it is defined is made here.
    threads.lock().unwrap().clear();
    let y = polled(Backend::cpu().apply_chain_async(&chain, &x, &[x.len()], &[])).0;
    assert_eq!(y.unwrap(), x);
    let threads = threads.lock().unwrap();
    assert!(!threads.is_empty() && !threads.contains(&thread::current().id()));
}

#[test]
fn a_future_that_is_dropped_or_forgotten_takes_nothing_along() {
    let cpu = Backend::cpu();
    for polls in 0..4 {
        for forgotten in [false, true] {
            let x = numbers();
            let mut future = Box::pin(cpu.apply_async(Activation::Gelu, &x));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if future.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
            if forgotten {
                std::mem::forget(future);
            }
        }
    }
    let x = numbers();
    let y = polled(cpu.apply_async(Activation::Relu, &x)).0.unwrap();
    assert!(y.iter().zip(&x).all(|(&y, &x)| y == x.max(0.0)));
}

#[test]
fn a_device_is_brought_its_arrays_without_blocking() {
    let Some(gpu) = gpu() else { return };
    let x = numbers();
    let f = AxisFunction::Softmax;
    let mask: Vec<u8> = (0..LEN).map(|i| u8::from(i % 3 > 0)).collect();
    let lengths: Vec<u32> = (0..ROWS as u32).collect();
    let (keep, ends) = pollster::block_on(async {
        let keep = gpu.upload_mask_async(&mask, &[LEN]).await.unwrap();
        let ends = gpu.upload_lengths_async(&lengths, &[ROWS]).await.unwrap();
        (keep, ends)
    });
    let array = gpu.upload(&x, &[ROWS, LEN]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(f.along(-1), (&array, &keep, &ends)).unwrap();
    batch.submit().unwrap();
    pollster::block_on(gpu.wait_async()).unwrap();
    let shaping = Shaping::new()
        .mask(&mask, &[LEN])
        .lengths(&lengths, &[ROWS]);
    let backend = Backend::Gpu(gpu);
    let want = backend
        .apply(
            f.along(-1).shaped(&shaping),
            shaping.inputs(x.of_shape(&[ROWS, LEN])),
        )
        .unwrap();
    assert_eq!(y.read().unwrap(), want);
    let chain = Chain::new().add().softmax(-1).scale(2.0);
    let operands = [(&x[..LEN], &[LEN][..])];
    for backend in backends() {
        let shape = &[ROWS, LEN];
        let got = polled(backend.apply_chain_async(&chain, &x, shape, &operands)).0;
        let want = backend.apply_chain(&chain, &x, shape, &operands).unwrap();
        assert_eq!(got.unwrap(), want);
        let mut got = x.clone();
        polled(backend.apply_in_place_async(Activation::Gelu, &mut got))
            .0
            .unwrap();
        let want = backend.apply(Activation::Gelu, &x).unwrap();
        assert_eq!(got, want);
    }
    assert!(matches!(
        pollster::block_on(Backend::gpu_async()),
        Ok(Backend::Gpu(_))
    ));
    assert!(pollster::block_on(Backend::auto_async()).is_ok());
}

/// The result of a future, how many polls it took, and what there is to say after the first one.
fn counted<T, F: Future<Output = T> + Send, S>(future: F, after: impl Fn() -> S) -> (T, usize, S) {
    let mut future = pin!(future);
    let mut polls = 0;
    let mut said = None;
    let counting = poll_fn(|context| {
        let done = future.as_mut().poll(context);
        polls += 1;
        said.get_or_insert_with(&after);
        done
    });
    let value = pollster::block_on(counting);
    (value, polls, said.unwrap())
}

/// On the executor's thread a device's arrays are copied in small pieces, and nothing is compiled.
#[test]
fn a_devices_calls_do_no_more_than_copy() {
    let Some(gpu) = gpu() else { return };
    const PIECE: usize = 128 * 1024;
    let pieces = 9;
    let x: Vec<f32> = (0..pieces * PIECE - 5)
        .map(|i| (i % 977) as f32 * 0.01 - 3.0)
        .collect();
    let shape = &[x.len()][..];
    let backend = Backend::Gpu(gpu.clone());
    let compiled = || gpu.kernels().counts().pipelines;

    let before = compiled();
    let (y, polls, first) = counted(backend.apply_async(Activation::Relu, &x), compiled);
    assert!(y.unwrap().iter().zip(&x).all(|(&y, &x)| y == x.max(0.0)));
    assert!(polls >= pieces && first == before && compiled() > before);
    let mut y = vec![0.0; x.len()];
    let (done, polls, _) = counted(backend.apply_into_async(Activation::Abs, &x, &mut y), || ());
    done.unwrap();
    assert!(polls >= 2 * pieces && y.iter().zip(&x).all(|(y, x)| *y == x.abs()));
    let (done, polls, _) = counted(
        backend.apply_in_place_async(Activation::Relu, &mut y),
        || (),
    );
    done.unwrap();
    assert!(polls >= 2 * pieces && y.iter().zip(&x).all(|(y, x)| *y == x.abs()));

    let (tensor, polls, _) = counted(gpu.upload_async(&x, shape), || ());
    let tensor = tensor.unwrap();
    assert!(polls >= pieces, "{polls} polls");
    // What is submitted after the first poll of a read comes after it.
    let (read, polls, _) = counted(tensor.read_async(), || {
        let mut batch = gpu.batch();
        batch.apply_in_place(Activation::Relu, &tensor).unwrap();
        batch.submit().unwrap();
    });
    assert!(polls >= pieces && read.unwrap() == x);
    let read = pollster::block_on(tensor.read_async()).unwrap();
    assert!(read.iter().zip(&x).all(|(&y, &x)| y == x.max(0.0)));

    let half: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
    let (tensor, polls, _) = counted(gpu.upload_async(&half, shape), || ());
    let tensor = tensor.unwrap();
    let (read, read_polls, _) = counted(tensor.read_async(), || ());
    assert!(polls >= pieces && read_polls >= pieces);
    assert!(
        read.unwrap()
            .iter()
            .zip(&half)
            .all(|(y, x)| *y == x.to_f32())
    );
    let (report, _, _) = counted(
        gpu.inspect_async(&Inspect::of(Activation::Relu), &tensor),
        || (),
    );
    assert_eq!(
        report.unwrap(),
        gpu.inspect(&Inspect::of(Activation::Relu), &tensor)
            .unwrap()
    );
}

/// Masks of bytes are brought in whole words.
#[test]
fn a_mask_may_end_within_a_word() {
    let Some(gpu) = gpu() else { return };
    for len in 1..10 {
        let mask: Vec<u8> = (0..len).map(|i| [1, 0, 7][i % 3]).collect();
        let keep = gpu.upload_mask(&mask, &[len]).unwrap();
        let x = gpu.upload(&vec![0.5; 2 * len], &[2, len]).unwrap();
        let mut batch = gpu.batch();
        let softmax = AxisFunction::Softmax.along(-1);
        let y = batch.apply(softmax, (&x, &keep)).unwrap();
        batch.submit().unwrap();
        let taking_part = mask.iter().filter(|&&keep| keep > 0).count() as f32;
        let row: Vec<f32> = mask
            .iter()
            .map(|&keep| f32::from(keep.min(1)) / taking_part)
            .collect();
        let got = y.read().unwrap();
        for (got, want) in got.iter().zip(row.iter().chain(&row)) {
            assert!(
                (got - want).abs() <= want * 4.0 * f32::EPSILON,
                "{len}: {got} {want}"
            );
        }
    }
}

/// The sources of a folder of the library.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Tests have no callers to block.
        if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// A call of arrays whose types are known when it runs.
#[test]
fn calls_that_are_made_when_they_run_have_twins() {
    let x = [-1.0f32, 0.5, 2.0, 3.0];
    for backend in backends() {
        let operation: Box<dyn Operation> = "geglu(arrays=2)".parse().unwrap();
        let arrays = || [Array::from(&x), Array::from(&x)];
        let call = Call::gradients(arrays(), Array::from(&x));
        let (mut first, mut second) = ([0.0f32; 4], [f16::ZERO; 4]);
        let outputs = &mut [
            Some((&mut first[..]).into()),
            Some((&mut second[..]).into()),
        ];
        backend.run(&*operation, &call, outputs).unwrap();
        let (mut again, mut narrow) = ([0.0f32; 4], [f16::ONE; 4]);
        let outputs = &mut [
            Some((&mut again[..]).into()),
            Some((&mut narrow[..]).into()),
        ];
        polled(backend.run_async(&*operation, &call, outputs))
            .0
            .unwrap();
        assert_eq!((again, narrow), (first, second));
        assert!(first[2] != 0.0);
        let none = &mut [];
        assert!(
            polled(backend.run_async(&*operation, &call, none))
                .0
                .is_err()
        );
    }
}

/// What stands before `fn`.
const KEYWORDS: [&str; 4] = ["pub", "pub(crate)", "pub(super)", "async"];

/// `block_on` is in functions that have a twin, and nowhere in async ones, and so are `now` and `now_into`
/// of the backend, which wrap it; the twins of macros have each other.
#[test]
fn every_blocking_call_has_a_twin() {
    let backend = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/backend.rs");
    let mut files = vec![(backend.clone(), std::fs::read_to_string(backend).unwrap())];
    files.extend(sources("src/backend"));
    files.extend(sources("src/gpu"));
    let mut blocking = BTreeSet::new();
    for (path, text) in &files {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let mut function = String::new();
        for line in text.lines().map(str::trim_start) {
            if let Some((before, rest)) = line.split_once("fn ")
                && before
                    .split_whitespace()
                    .all(|word| KEYWORDS.contains(&word))
            {
                let name = rest.split(['(', '<']).next().unwrap();
                let prefix = if before.contains("async") {
                    "async "
                } else {
                    ""
                };
                function = format!("{prefix}{name}");
            }
            let twins = function.starts_with('$') || function.starts_with("async $");
            let wraps = ["now", "now_into"].contains(&&*function);
            let blocks = ["block_on(", "self.now(", "self.now_into("]
                .iter()
                .any(|call| line.contains(call));
            if blocks && !wraps && !line.starts_with("//") && !twins {
                assert!(
                    !function.starts_with("async "),
                    "{path:?}: {function} blocks"
                );
                let twin = |kind: &str| text.contains(&format!("pub {kind} {function}_async"));
                assert!(
                    twin("fn") || twin("async fn"),
                    "{path:?}: {function} has no twin"
                );
                blocking.insert(function.clone());
            }
        }
    }
    assert!(
        blocking.contains("upload_mask") && blocking.contains("grads") && blocking.len() > 16,
        "{blocking:?}"
    );
}

/// Loops take rayon's iterators from one place, which sees to it that there is a pool.
#[test]
fn no_loop_goes_around_the_pool() {
    for folder in [
        "src",
        "src/cpu",
        "src/backend",
        "src/check",
        "src/gpu",
        "src/kernels",
        "src/stream",
    ] {
        for (path, text) in sources(folder) {
            let own = path.ends_with("cpu/threads.rs");
            for word in [
                "rayon::",
                "thread::spawn(",
                "thread::Builder",
                "scope.spawn(",
            ] {
                let used = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                assert!(own || !used.contains(word), "{path:?} has {word}");
            }
        }
    }
}
