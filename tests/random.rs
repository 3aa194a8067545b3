//! Random numbers by index and the randomised leaky rectifier, on every backend.

mod common;

use common::backends;
use wgpu_activations::{Backend, Error, Kernels, Random, Rrelu, check, wgpu};

/// Sequences that begin at every word of a block, at the carry into the block's upper half, and at
/// the end of all numbers.
fn sequences() -> Vec<Random> {
    let random = Random::new(0xfedc_ba98_7654_3210).stream(0x1_0000_0001);
    let firsts = [0, 1, 2, 3, (1 << 34) - 6, u64::MAX - 130];
    firsts.map(|first| random.starting_at(first)).into()
}

#[test]
fn uniforms_are_the_same_bits_everywhere() {
    for backend in backends() {
        for random in sequences() {
            for n in [0, 1, 2, 3, 4, 5, 255, 256, 257, 1030] {
                let got = backend.uniform(random, n).unwrap();
                assert_eq!(got.len(), n);
                for (i, got) in got.into_iter().enumerate() {
                    let want = random.uniform(i as u64);
                    assert_eq!(got, want, "{} {random:?} {i}", backend.description());
                }
            }
        }
    }
}

/// Pieces that the host streams, and a binding's end.
#[test]
fn long_arrays_are_one_sequence() {
    let n = (4 << 20) + 4099;
    let random = Random::new(5).starting_at(3);
    let want = Backend::cpu().uniform(random, n).unwrap();
    assert_eq!(want[n - 1], random.uniform(n as u64 - 1));
    for backend in backends() {
        assert!(
            backend.uniform(random, n).unwrap() == want,
            "{}",
            backend.description()
        );
        let part = backend
            .uniform(random.starting_at(3 + 1_000_001), 10)
            .unwrap();
        assert_eq!(part, want[1_000_001..1_000_011]);
    }
}

#[test]
fn noise_and_rrelu_are_within_their_bounds() {
    for backend in backends() {
        let mut reports = check::random::noise(&backend).unwrap();
        reports.extend(check::random::rrelu(&backend).unwrap());
        assert_eq!(reports.len(), 4);
        for report in reports {
            println!("{}: {report:?}", backend.description());
            assert!(report.passed() && report.inputs > 100_000, "{report:?}");
        }
    }
}

/// Training draws slopes over the whole range, the same ones forward and backward.
#[test]
fn slopes_are_drawn_between_the_bounds() {
    let n = 10_000;
    let rrelu = Rrelu::new(-1.0, 3.0).unwrap().training(Random::new(1));
    for backend in backends() {
        let y = backend.apply(rrelu, &vec![-1.0; n]).unwrap();
        let dx = backend.grad(rrelu, &vec![0.0; n], &vec![-1.0; n]).unwrap();
        assert_eq!(y, dx, "{}", backend.description());
        assert!(y.iter().all(|y| (-3.0..=1.0).contains(y)));
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / n as f64;
        assert!((mean + 1.0).abs() < 0.06, "{mean}");
        let other = rrelu.training(Random::new(2));
        assert_ne!(backend.apply(other, &vec![-1.0; n]).unwrap(), y);
        // PyTorch's evaluation: the mean slope, also at 0.
        let evaluation = Rrelu::default();
        let mean = (0.125 + 1.0 / 3.0) / 2.0;
        let got = backend
            .grad(evaluation, &[0.0, -0.0, 5.0], &[1.0; 3])
            .unwrap();
        assert_eq!(got, [mean, mean, 1.0]);
    }
}

#[test]
fn wrong_lengths_are_errors() {
    for backend in backends() {
        let rrelu = Rrelu::default().training(Random::new(0));
        let error = backend.grad(rrelu, &[0.0; 3], &[0.0; 4]).unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { .. }), "{error}");
    }
}

/// The device levels give what the host level gives: tensors, and buffers of the caller's own.
#[test]
fn levels_agree() {
    let rrelu = Rrelu::default().training(Random::new(9).starting_at(1));
    for backend in backends() {
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let x: Vec<f32> = (0..1001).map(|i| i as f32 * 0.5 - 300.0).collect();
        let want = backend.apply(rrelu, &x).unwrap();
        let want_dx = backend.grad(rrelu, &x, &x).unwrap();
        let tensor = gpu.upload(&x, &[7, 143]).unwrap();
        let mut batch = gpu.batch();
        let y = batch.apply(rrelu, &tensor).unwrap();
        let dx = batch.grad(rrelu, &tensor, &tensor).unwrap();
        let noise = batch.gumbel_noise(Random::new(4), &[11, 3]).unwrap();
        let numbers = batch.uniform(Random::new(4), &[0, 3]).unwrap();
        let wrong = gpu.upload(&x[..7], &[7]).unwrap();
        assert!(batch.grad(rrelu, &tensor, &wrong).is_err());
        let evaluated = batch.apply(Rrelu::default(), &tensor).unwrap();
        batch.submit().unwrap();
        assert_eq!(y.read().unwrap(), want);
        assert_eq!(dx.read().unwrap(), want_dx);
        assert_eq!(
            noise.read().unwrap(),
            backend.gumbel_noise(Random::new(4), 33).unwrap()
        );
        assert!(numbers.read().unwrap().is_empty());
        assert_eq!(
            evaluated.read().unwrap(),
            backend.apply(Rrelu::default(), &x).unwrap()
        );

        let kernels = Kernels::new(gpu.device());
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let x = tensor.buffer().slice(..4004);
            let dx = dx.buffer().slice(..4004);
            kernels.grad_in_place(&mut pass, rrelu, x, dx).unwrap();
            kernels.apply_in_place(&mut pass, rrelu, x).unwrap();
            let overlapping = kernels.apply(&mut pass, rrelu, x, x).unwrap_err();
            assert!(
                matches!(overlapping, Error::BufferOverlap { .. }),
                "{overlapping}"
            );
        }
        gpu.queue().submit([encoder.finish()]);
        assert_eq!(tensor.read().unwrap(), want);
        let twice = backend.grad(rrelu, &x, &want_dx).unwrap();
        assert_eq!(dx.read().unwrap(), twice);
        let readback = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let error = kernels.uniform(&mut pass, Random::new(0), readback.slice(..));
        assert!(matches!(error, Err(Error::BufferUsage { .. })));
    }
}
