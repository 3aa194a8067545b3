//! Streams: the same results as calls on whole arrays, in chunks that the test chooses, each
//! element read as often as it should be and written once.

mod common;

use common::backends;
use std::io::{self, Cursor};
use std::sync::atomic::{AtomicUsize, Ordering};
use wgpu_activations::half::f16;
use wgpu_activations::reference::{axis_backward, axis_forward, ulp_error};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, Causal, Error, OfShape, Operation, Progress, Raw,
    Sink, Source, Stream, StreamError,
};

/// Numbers of a spread that softmax sees, from a linear congruence.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| next() * scale).collect()
}

/// An array that counts what is read of it, and fails where it is told to.
struct Counted<'a> {
    array: &'a [f32],
    read: &'a AtomicUsize,
    fails_at: u64,
}

impl Source for Counted<'_> {
    fn elements(&self) -> u64 {
        self.array.len() as u64
    }

    fn read(&mut self, first: u64, out: &mut [f32]) -> io::Result<()> {
        if first >= self.fails_at {
            return Err(io::Error::other("a bad sector"));
        }
        self.read.fetch_add(out.len(), Ordering::Relaxed);
        Source::read(&mut self.array, first, out)
    }
}

/// An array of which each element may be written once, until it is full.
struct Once {
    array: Vec<Option<f32>>,
    room: u64,
    writes: usize,
}

impl Once {
    fn new(elements: usize) -> Self {
        Self {
            array: vec![None; elements],
            room: u64::MAX,
            writes: 0,
        }
    }

    fn done(self) -> Vec<f32> {
        let all = self.array.into_iter().collect::<Option<Vec<f32>>>();
        all.expect("every element is written")
    }
}

impl Sink for Once {
    fn elements(&self) -> u64 {
        self.array.len() as u64
    }

    fn write(&mut self, first: u64, data: &[f32]) -> io::Result<()> {
        if first + data.len() as u64 > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.writes += 1;
        for (to, &x) in self.array[first as usize..].iter_mut().zip(data) {
            assert_eq!(to.replace(x), None, "written twice");
        }
        Ok(())
    }
}

fn same(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let differ = a
        .iter()
        .zip(b)
        .position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differ, None);
}

#[test]
fn elements_in_chunks_are_those_of_one_call() {
    for backend in backends() {
        let one = 4
            * 2
            * if matches!(backend, Backend::Cpu(..)) {
                2
            } else {
                3
            };
        for elements in [0, 1, 99, 100, 101, 1000, 70_001] {
            let x = numbers(elements, 1, 12.0);
            let dy = numbers(elements, 2, 3.0);
            // 100 elements at a time, or 1000; one chunk; and less than an element's room.
            for memory in [100 * one, 1000 * one, 64 << 20, 1] {
                if memory * 50 < elements * one {
                    continue;
                }
                let stream = Stream::new(&backend).memory(memory);
                let mut y = Once::new(elements);
                let read = AtomicUsize::new(0);
                let mut source = Counted {
                    array: &x,
                    read: &read,
                    fails_at: u64::MAX,
                };
                stream.apply(Activation::Gelu, &mut source, &mut y).unwrap();
                assert_eq!(read.load(Ordering::Relaxed), elements);
                if memory == 100 * one {
                    assert_eq!(y.writes, elements.div_ceil(100));
                }
                same(&y.done(), &backend.apply(Activation::Gelu, &x).unwrap());

                let mut dx = Once::new(elements);
                stream
                    .grad(Activation::Gelu, &mut &x[..], &mut &dy[..], &mut dx)
                    .unwrap();
                same(
                    &dx.done(),
                    &backend.grad(Activation::Gelu, &x, &dy).unwrap(),
                );
            }
        }
    }
}

/// Rows along all kinds of axes, in one pass and in two, against the f64 reference.
fn check(backend: &Backend, shape: [usize; 3], memory: usize, x: &[f32], passes: usize) {
    let stream = Stream::new(backend).memory(memory);
    let around = AxisShape::new(&shape, 1).unwrap();
    // Two passes are in f64; one is the backend's, whose sums are rounded as they grow.
    let levels = f64::from(shape[1].next_power_of_two().ilog2());
    let bound = match passes {
        2 => 1.0,
        _ => 4.0 + 0.5 * levels,
    };
    let close = |got: f32, want: f64, largest: f64, what: &dyn std::fmt::Debug| {
        let error = ulp_error(got, want, largest);
        assert!(
            error <= bound,
            "{what:?} {shape:?}: {got} for {want}, {error} ULP"
        );
    };
    for &function in AxisFunction::ALL {
        let want = axis_forward(function, x, &around);
        let mut y = Once::new(want.len());
        let read = AtomicUsize::new(0);
        let mut source = Counted {
            array: x,
            read: &read,
            fails_at: u64::MAX,
        };
        stream
            .apply(function.along(1), (&mut source, &shape), &mut y)
            .unwrap();
        let times = if function.reduces() { 1 } else { passes };
        assert_eq!(read.load(Ordering::Relaxed), times * x.len(), "{function}");
        for (got, &want) in y.done().into_iter().zip(&want) {
            let largest = if function.reduces() { 1.0 } else { 0.0 };
            close(got, want, largest, &function);
        }

        let dy = numbers(want.len(), 5, 4.0);
        let (want, largest) = axis_backward(function, x, &dy, &around);
        let mut dx = Once::new(x.len());
        stream
            .grad(
                function.along(1),
                (&mut &x[..], &shape),
                &mut &dy[..],
                &mut dx,
            )
            .unwrap();
        for ((got, &want), &largest) in dx.done().into_iter().zip(&want).zip(&largest) {
            // A gradient has two sums; in two passes, neither is rounded.
            let rounding = match passes {
                2 => 0.0,
                _ => 2.0 * levels * 2f64.powi(-24) * largest,
            };
            let off = (f64::from(got) - want).clamp(-rounding, rounding);
            let error = ulp_error(got, want + off, largest);
            let most = if passes == 2 { 1.0 } else { 4.0 };
            assert!(
                error <= most,
                "gradient of {function}, {shape:?}: {got} for {want}, {error} ULP"
            );
        }
    }
}

#[test]
fn rows_that_fit_go_through_once() {
    for backend in backends() {
        for shape in [[70, 30, 1], [9, 5, 20], [1, 100, 1], [300, 1, 1], [2, 2, 3]] {
            let x = numbers(shape.iter().product(), 3, 30.0);
            check(&backend, shape, 16 << 10, &x, 1);
        }
    }
}

#[test]
fn columns_that_fit_go_through_once() {
    for backend in backends() {
        let shape = [2, 3, 40_000];
        let x = numbers(shape.iter().product(), 3, 30.0);
        check(&backend, shape, 2 << 20, &x, 1);
    }
}

#[test]
fn rows_that_do_not_fit_go_through_twice() {
    // On the CPU whatever the backend is.
    let backend = Backend::cpu();
    for shape in [
        [1, 5000, 1],
        [3, 2049, 1],
        [2, 700, 3],
        [2, 300, 64],
        [1, 33, 130],
        [1, 3, 16_500],
    ] {
        let x = numbers(shape.iter().product(), 3, 30.0);
        check(&backend, shape, 8 << 10, &x, 2);
        // Slowly rising rows move the maximum on and on.
        let rising = (0..x.len()).map(|i| (i as f32 - 2000.0) * 0.01 + x[i] * 0.01);
        check(&backend, shape, 8 << 10, &rising.collect::<Vec<_>>(), 2);
    }
}

#[test]
fn special_values_in_rows_that_do_not_fit() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let backend = Backend::cpu();
    for shape in [[1, 3000, 1], [1, 1500, 5], [1, 40, 100]] {
        let elements: usize = shape.iter().product();
        for special in [
            &[nan][..],
            &[inf],
            &[-inf],
            &[inf, nan],
            &[-inf, nan],
            &[f32::MAX],
        ] {
            for range in [
                0..elements,
                0..elements / 2,
                elements / 2..elements,
                700..701,
            ] {
                let mut x = numbers(elements, 7, 20.0);
                for i in range {
                    x[i] = special[i % special.len()];
                }
                check(&backend, shape, 4 << 10, &x, 2);
            }
        }
    }
}

/// Rows of any operation of one array, in blocks, in columns, and of more memory than was asked for
/// where there is no other way.
#[test]
fn rows_of_every_operation() {
    let shape = [6, 24, 10];
    let x = numbers(6 * 24 * 10, 3, 6.0);
    for backend in backends() {
        for text in [
            "swiglu(axis=1)",
            "geglu(axis=1, order=gate_first)",
            "reglu(axis=2, layout=interleaved)",
            "sparsemax(axis=1)",
            "entmax(axis=1, alpha=1.5)",
            "hardmax(axis=2)",
            "maxout(axis=1, pieces=4)",
            "gumbel_softmax(axis=1, seed=5)",
            "rrelu(seed=7)",
            "softmax(axis=1, scale=0.5, sink=1)",
            "logsumexp(axis=1, soft_cap=3)",
            "gelu",
        ] {
            let operation: Box<dyn Operation> = text.parse().unwrap();
            let want = backend.apply(&*operation, x.of_shape(&shape)).unwrap();
            let dy = numbers(want.len(), 4, 2.0);
            let want_dx = backend.grad(&*operation, x.of_shape(&shape), &dy).unwrap();
            let near = |got: &[f32], want: &[f32], what: &str| {
                let off = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-6 * b.abs().max(1.0);
                let off = got.iter().zip(want).position(off);
                assert_eq!(off, None, "{text} {what}");
            };
            for memory in [1, 2000, 9000, 64 << 20] {
                let stream = Stream::new(&backend).memory(memory);
                let mut y = Once::new(want.len());
                stream
                    .apply(&*operation, (&mut &x[..], &shape), &mut y)
                    .unwrap();
                near(&y.done(), &want, "forward");
                let mut dx = Once::new(x.len());
                stream
                    .grad(&*operation, (&mut &x[..], &shape), &mut &dy[..], &mut dx)
                    .unwrap();
                near(&dx.done(), &want_dx, "backward");
            }
        }
    }
}

#[test]
fn empty_arrays_and_axes() {
    let backend = Backend::cpu();
    let stream = Stream::new(&backend);
    let mut none: Once = Once::new(0);
    for (shape, axis) in [([0, 3], 1), ([3, 0], 1), ([3, 0], 0)] {
        stream
            .apply(
                AxisFunction::Softmax.along(axis),
                (&mut &[][..], &shape),
                &mut none,
            )
            .unwrap();
    }
    let mut sums = Once::new(40_000);
    stream
        .apply(
            AxisFunction::LogSumExp.along(-1),
            (&mut &[][..], &[40_000, 0]),
            &mut sums,
        )
        .unwrap();
    assert!(sums.done().iter().all(|&y| y == f32::NEG_INFINITY));
}

#[test]
fn what_fails_ends_the_stream() {
    for backend in backends() {
        let x = numbers(100_000, 1, 4.0);
        let stream = Stream::new(&backend).memory(10_000);
        for fails_at in [0, 50_000, 99_999 - 500] {
            let read = AtomicUsize::new(0);
            let mut bad = Counted {
                array: &x,
                read: &read,
                fails_at,
            };
            let error = stream
                .grad(
                    Activation::Relu,
                    &mut &x[..],
                    &mut bad,
                    &mut Once::new(x.len()),
                )
                .unwrap_err();
            let StreamError::Read { input: 1, source } = error else {
                panic!("{error}");
            };
            assert_eq!(source.to_string(), "a bad sector");

            let mut full = Once::new(x.len());
            full.room = fails_at;
            let error = stream
                .apply(Activation::Relu, &mut &x[..], &mut full)
                .unwrap_err();
            assert!(matches!(error, StreamError::Write(_)), "{error}");

            let mut y = Once::new(x.len());
            let passed = AtomicUsize::new(0);
            let error = stream.blocks(&mut [(&mut &x[..], 10)], (&mut y, 10), &|x, y| {
                if passed.fetch_add(x[0].len(), Ordering::Relaxed) as u64 >= fails_at {
                    return Err(Error::ShapeTooLarge { shape: vec![7] });
                }
                y.copy_from_slice(x[0]);
                Ok(())
            });
            let error = error.unwrap_err();
            assert!(
                matches!(error, StreamError::Compute(Error::ShapeTooLarge { .. })),
                "{error}"
            );
        }
        let mut short = Once::new(3);
        let error = stream.apply(Activation::Relu, &mut &x[..], &mut short);
        let error = error.unwrap_err();
        assert!(
            matches!(error, StreamError::Compute(Error::LengthMismatch { .. })),
            "{error}"
        );
        let error = stream.apply(AxisFunction::Softmax.along(1), &mut &x[..], &mut short);
        assert!(matches!(
            error.unwrap_err(),
            StreamError::Compute(Error::AxisOutOfRange { .. })
        ));
        let causal = AxisFunction::Softmax.along(1).causal(Causal::UpperLeft);
        let shape = [1000, 100];
        let error = stream.apply(causal, (&mut &x[..], &shape), &mut short);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("softmax is not computed in parts"),
            "{error}"
        );
    }
}

#[test]
fn progress_reaches_its_end() {
    let backend = Backend::cpu();
    let x = numbers(5000, 1, 4.0);
    for (memory, total) in [(4 << 10, 60_000), (1 << 20, 40_000)] {
        let last = std::cell::Cell::new(None);
        let report = |progress: Progress| {
            let before = last.replace(Some(progress)).map_or(0, |p: Progress| p.done);
            assert!(progress.done > before);
        };
        let stream = Stream::new(&backend).memory(memory).on_progress(&report);
        let mut y = Once::new(x.len());
        stream
            .apply(AxisFunction::Softmax.along(0), &mut &x[..], &mut y)
            .unwrap();
        assert_eq!(last.get(), Some(Progress { done: total, total }));
    }
}

#[test]
fn raw_numbers_lie_where_they_are_said_to() {
    let mut bytes = b"head".to_vec();
    bytes.extend((0..10u8).flat_map(|i| f32::from(i).to_le_bytes()));
    let mut raw = Raw::new(Cursor::new(bytes), 4, 10);
    let mut part = [0.0f32; 3];
    for first in [7, 0, 3, 6] {
        raw.read(first, &mut part).unwrap();
        assert_eq!(part, [0.0, 1.0, 2.0].map(|i| i + first as f32));
    }
    let error = raw.read(9, &mut part).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    raw.read(1, &mut part).unwrap();
    assert_eq!(part, [1.0, 2.0, 3.0]);
    raw.write(8, &[-1.0f32, -2.0]).unwrap();
    raw.read(7, &mut part).unwrap();
    assert_eq!(part, [7.0, -1.0, -2.0]);

    let mut halves = Raw::new(Cursor::new(vec![0; 8]), 2, 3);
    halves.write(1, &[f16::ONE]).unwrap();
    assert_eq!(
        halves.into_inner().into_inner(),
        [0, 0, 0, 0, 0, 0x3c, 0, 0]
    );
}
