//! What goes wrong on a device comes back as an error, and what comes after it works.

use crate::{common, gpu};
use std::sync::atomic::{AtomicBool, Ordering};
use wgpu_activations::{
    Activation, AdapterChoice, AxisFunction, Backend, BackendKind, Error, Gpu, OfShape, wgpu,
};

#[test]
fn a_lost_device_says_so_and_a_new_one_works() {
    let Some(gpu) = gpu() else { return };
    let x = gpu.upload(&[1.0; 100], &[100]).unwrap();
    let mut begun = gpu.batch();
    let y = begun.apply(Activation::Gelu, &x).unwrap();
    gpu.device().destroy();
    let backend = Backend::Gpu(gpu.clone());
    let softmax = AxisFunction::Softmax;
    let recorded_late = begun.apply_in_place(Activation::Gelu, &y);
    let errors = [
        gpu.empty(&[4]).map(drop).unwrap_err(),
        gpu.upload(&[1.0; 4], &[4]).map(drop).unwrap_err(),
        x.read().map(drop).unwrap_err(),
        begun.submit().unwrap_err(),
        gpu.batch().submit().unwrap_err(),
        gpu.batch()
            .apply(Activation::Relu, &x)
            .map(drop)
            .unwrap_err(),
        gpu.wait().unwrap_err(),
        backend
            .apply(Activation::Relu, &[1.0])
            .map(drop)
            .unwrap_err(),
        backend
            .apply(Activation::Relu, &[1.0; 100_000])
            .map(drop)
            .unwrap_err(),
        backend
            .grad(Activation::Relu, &[1.0], &[1.0])
            .map(drop)
            .unwrap_err(),
        backend
            .apply(softmax.along(0), [1.0; 6].of_shape(&[2, 3]))
            .map(drop)
            .unwrap_err(),
        pollster::block_on(backend.apply_async(Activation::Relu, &[1.0]))
            .map(drop)
            .unwrap_err(),
    ];
    for (i, error) in errors.iter().enumerate() {
        assert!(matches!(error, Error::DeviceLost { .. }), "{i}: {error}");
        assert!(error.to_string().contains("open a new one"), "{error}");
    }
    // Recording needs no device that answers; what was recorded never runs.
    assert!(recorded_late.is_ok() || matches!(recorded_late, Err(Error::DeviceLost { .. })));
    assert!(matches!(y.read(), Err(Error::NotSubmitted)));

    let again = Gpu::new().unwrap();
    assert_eq!(
        Backend::Gpu(again)
            .apply(Activation::Relu, &[-1.0, 2.0])
            .unwrap(),
        [0.0, 2.0]
    );
}

/// A device that is lost under an adopted handle is seen, too.
#[test]
fn a_lost_adopted_device_says_so() {
    let Some(own) = gpu() else { return };
    let adopted = Gpu::from_device(own.device().clone(), own.queue().clone());
    let x = adopted.upload(&[1.0; 100], &[100]).unwrap();
    own.device().destroy();
    for error in [
        x.read().map(drop).unwrap_err(),
        adopted.empty(&[1]).map(drop).unwrap_err(),
        Backend::Gpu(adopted)
            .apply(Activation::Relu, &[1.0])
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
}

/// A device that is destroyed while it works is not lost for wgpu before the work is done; its calls
/// say so at once, whatever wgpu has against them.
#[test]
fn a_device_that_is_lost_while_it_works_says_so() {
    let Some(gpu) = gpu() else { return };
    let x = gpu.upload(&vec![0.5; 1 << 23], &[1 << 23]).unwrap();
    let backend = Backend::Gpu(gpu.clone());
    let mut work = gpu.batch();
    for _ in 0..64 {
        work.apply_in_place(Activation::Mish, &x).unwrap();
    }
    let mut begun = gpu.batch();
    let y = begun.apply(Activation::Gelu, &x).unwrap();
    work.submit().unwrap();
    gpu.device().destroy();
    let softmax = AxisFunction::Softmax;
    let errors = [
        gpu.empty(&[12_345]).map(drop).unwrap_err(),
        gpu.upload(&[1.0; 4], &[4]).map(drop).unwrap_err(),
        gpu.batch()
            .apply(Activation::Relu, &x)
            .map(drop)
            .unwrap_err(),
        begun.submit().unwrap_err(),
        gpu.batch().submit().unwrap_err(),
        backend
            .apply(Activation::Relu, &[1.0])
            .map(drop)
            .unwrap_err(),
        backend
            .apply(softmax.along(0), [1.0; 6].of_shape(&[2, 3]))
            .map(drop)
            .unwrap_err(),
        x.read().map(drop).unwrap_err(),
        gpu.wait().unwrap_err(),
    ];
    for (i, error) in errors.iter().enumerate() {
        assert!(matches!(error, Error::DeviceLost { .. }), "{i}: {error}");
    }
    assert!(y.read().is_err());
}

/// Calls of several threads while the device is destroyed: right results, or its loss, and nothing
/// but the loss of whatever begins afterwards.
#[test]
fn a_device_that_is_lost_under_threads_says_so() {
    let x: Vec<f32> = (0..100_000).map(|i| (i % 997) as f32 * 0.01).collect();
    let softmax = AxisFunction::Softmax;
    let relu: Vec<f32> = x.iter().map(|&x| x.max(0.0)).collect();
    let Some(own) = gpu() else { return };
    let want = Backend::Gpu(own).apply(softmax.along(1), x.of_shape(&[1000, 100]));
    let want = &want.unwrap();
    for round in 0..24 {
        let Some(gpu) = gpu() else { return };
        // Every other device is one that the caller's handlers watch.
        let gpu = match round % 2 {
            0 => gpu,
            _ => Gpu::from_device(gpu.device().clone(), gpu.queue().clone()),
        };
        let backend = Backend::Gpu(gpu.clone());
        let destroyed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let call = |i: usize| {
                let (backend, gpu, destroyed) = (&backend, &gpu, &destroyed);
                let (x, relu) = (&x, &relu);
                scope.spawn(move || {
                    let mut lost = 0;
                    // A bound, in case that nothing is ever lost.
                    for _ in 0..10_000 {
                        let late = destroyed.load(Ordering::Acquire);
                        let tensor = || gpu.upload(x, &[100_000]);
                        let done = match i {
                            0 => backend.apply(Activation::Relu, x).map(|y| y == *relu),
                            1 => backend
                                .apply(softmax.along(1), x.of_shape(&[1000, 100]))
                                .map(|y| y == *want),
                            2 => tensor().and_then(|t| t.read()).map(|y| y == *x),
                            3 => tensor().and_then(|t| {
                                let mut batch = gpu.batch();
                                let y = batch.apply(Activation::Relu, &t)?;
                                batch.submit()?;
                                y.read().map(|y| y == *relu)
                            }),
                            // What brings nothing back.
                            4 => gpu.empty(&[100_000]).map(|_| true),
                            5 => tensor().map(|_| true),
                            _ => gpu.batch().submit().map(|()| true),
                        };
                        match done {
                            Ok(right) => assert!(right && !late, "{i}: {right}, late: {late}"),
                            Err(Error::DeviceLost { .. }) => lost += 1,
                            Err(error) => panic!("{i}: {error}"),
                        }
                        if lost == 3 {
                            return;
                        }
                        if i > 3 {
                            std::thread::yield_now();
                        }
                    }
                    assert!(i > 3, "the device was never lost");
                })
            };
            let threads = [0, 1, 2, 3, 4, 5, 6].map(call);
            std::thread::sleep(std::time::Duration::from_millis(2 + 3 * round));
            gpu.device().destroy();
            destroyed.store(true, Ordering::Release);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

/// An error that wgpu reports of its own accord is the next call's; the one after is well.
#[test]
fn errors_of_the_device_are_the_next_calls() {
    let Some(gpu) = gpu() else { return };
    let x = gpu.upload(&[-1.0, 2.0], &[2]).unwrap();
    let provoke = || {
        // No buffer may be of no use.
        let usage = wgpu::BufferUsages::empty();
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("provoked"),
            size: 16,
            usage,
            mapped_at_creation: false,
        })
    };
    let backend = Backend::Gpu(gpu.clone());
    type Call<'a> = (&'static str, Box<dyn Fn() -> Result<(), Error> + 'a>);
    let calls: [Call; 5] = [
        ("empty", Box::new(|| gpu.empty(&[1]).map(drop))),
        ("read", Box::new(|| x.read().map(drop))),
        ("wait", Box::new(|| gpu.wait())),
        ("submit", Box::new(|| gpu.batch().submit())),
        (
            "apply",
            Box::new(|| backend.apply(Activation::Relu, &[1.0]).map(drop)),
        ),
    ];
    for (name, call) in &calls {
        provoke();
        let error = call().unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{name}: {error}");
        assert!(error.to_string().contains("provoked"), "{name}: {error}");
        assert!(call().is_ok(), "{name}");
    }
    assert_eq!(
        backend.apply(Activation::Relu, &[-1.0, 2.0]).unwrap(),
        [0.0, 2.0]
    );
}

/// More than any device has is an error before anything is touched.
#[test]
fn more_memory_than_there_is() {
    let Some(gpu) = gpu() else { return };
    let limit = gpu.device().limits().max_buffer_size;
    if let Ok(elements) = usize::try_from(limit / 4 + 1)
        && elements < isize::MAX as usize / 4
    {
        let error = gpu.empty(&[elements]).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains(&(elements as u64 * 4).to_string()),
            "{error}"
        );
    }
    assert!(gpu.empty(&[4]).is_ok());
}

#[test]
fn an_unknown_adapter_lists_those_there_are() {
    let known = wgpu_activations::adapters();
    assert_eq!(known.iter().any(|a| a.chosen), gpu().is_some());
    for choice in [
        AdapterChoice::Name("no such adapter".to_owned()),
        AdapterChoice::Index(usize::MAX),
    ] {
        for kind in [BackendKind::Gpu, BackendKind::Auto] {
            let error = Backend::open(kind, &choice).map(drop).unwrap_err();
            let Error::UnknownAdapter {
                wanted, available, ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!(*wanted, choice.to_string());
            assert_eq!(available.len(), known.len());
            for adapter in &known {
                assert!(error.to_string().contains(&adapter.name), "{error}");
            }
        }
    }
    // A known one opens by index and by a part of its name in another case.
    if let Some(best) = known.iter().find(|a| a.chosen) {
        let half = best
            .name
            .chars()
            .take(best.name.chars().count() / 2 + 1)
            .collect::<String>();
        for choice in [
            AdapterChoice::Index(best.index),
            AdapterChoice::Name(half.to_uppercase()),
        ] {
            assert_eq!(Gpu::open(&choice).unwrap().info().name, best.name);
        }
    }
}

/// Wrong calls are the same errors on every backend.
#[test]
fn wrong_shapes_are_errors_on_every_backend() {
    for backend in common::backends() {
        let what = backend.description();
        let f = Activation::Gelu;
        let softmax = AxisFunction::Softmax;
        for error in [
            backend.apply_into(f, &[1.0; 3], &mut [0.0; 2]).unwrap_err(),
            backend.grad(f, &[1.0; 3], &[1.0; 2]).map(drop).unwrap_err(),
            backend
                .grad_into(f, &[1.0; 3], &[1.0; 3], &mut [0.0; 4])
                .unwrap_err(),
            backend
                .apply(softmax.along(0), [1.0; 5].of_shape(&[2, 3]))
                .map(drop)
                .unwrap_err(),
            backend
                .grad(softmax.along(0), [1.0; 6].of_shape(&[2, 3]), &[1.0; 5])
                .map(drop)
                .unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::LengthMismatch { .. }),
                "{what}: {error}"
            );
        }
        for axis in [2, -3, isize::MAX, isize::MIN] {
            let error = backend
                .apply(softmax.along(axis), [1.0; 6].of_shape(&[2, 3]))
                .unwrap_err();
            assert!(
                matches!(error, Error::AxisOutOfRange { .. }),
                "{what}: {error}"
            );
        }
        let error = backend
            .apply(
                softmax.along(0),
                [0.0f32; 0].of_shape(&[usize::MAX, usize::MAX]),
            )
            .unwrap_err();
        assert!(
            matches!(error, Error::ShapeTooLarge { .. }),
            "{what}: {error}"
        );
        let log = AxisFunction::LogSoftmax;
        let error = backend
            .grad_from_output(log.along(0), &[1.0], &[1.0])
            .unwrap_err();
        assert!(
            matches!(error, Error::NotFromOutput { .. }),
            "{what}: {error}"
        );
    }
}
