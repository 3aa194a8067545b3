//! Statistics of activations on every backend, against a plain count in f64.

mod common;

use common::backends;
use wgpu_activations::{Activation, Backend, Elementwise, Error, Inspect, Statistics, reference};

/// What the backends must find, counted one element at a time.
struct Plain {
    nan: u64,
    infinities: [u64; 2],
    zeros: u64,
    min: f64,
    max: f64,
    mean: f64,
    variance: f64,
    saturated: u64,
    mean_slope: f64,
    dead: u64,
}

fn plain(f: &Elementwise, x: &[f32], outer: usize, units: usize, inner: usize) -> Plain {
    let y: Vec<f64> = x.iter().map(|&x| reference::forward(f, x.into())).collect();
    // As f32 see it: what overflows is an infinity.
    let y: Vec<f64> = y.into_iter().map(|y| f64::from(y as f32)).collect();
    let slopes = x.iter().map(|&x| reference::backward(f, x.into()).abs());
    let slopes: Vec<f64> = slopes.filter(|s| !s.is_nan()).collect();
    let finite: Vec<f64> = y.iter().copied().filter(|y| y.is_finite()).collect();
    let n = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / n;
    let dead = (0..units).filter(|u| {
        let mut run = (0..outer).flat_map(|o| (0..inner).map(move |i| (o * units + u) * inner + i));
        run.all(|at| y[at] == 0.0)
    });
    Plain {
        nan: y.iter().filter(|y| y.is_nan()).count() as u64,
        infinities: [f64::INFINITY, f64::NEG_INFINITY]
            .map(|i| y.iter().filter(|&&y| y == i).count() as u64),
        zeros: finite.iter().filter(|&&y| y == 0.0).count() as u64,
        min: finite.iter().copied().fold(f64::NAN, f64::min),
        max: finite.iter().copied().fold(f64::NAN, f64::max),
        mean,
        variance: finite.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>() / n,
        saturated: slopes.iter().filter(|&&s| s < 0.01).count() as u64,
        mean_slope: slopes.iter().sum::<f64>() / slopes.len() as f64,
        dead: dead.count() as u64,
    }
}

/// Whether two numbers agree to `relative` of `scale`; NaN and infinities agree with themselves.
fn near(got: f64, want: f64, scale: f64, relative: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= relative * scale
}

/// What is off, in words; nothing where all is as it should be.
fn objections(got: &Statistics, want: &Plain) -> Vec<String> {
    let counts = [
        ("nan", got.nan, want.nan),
        ("+infinity", got.positive_infinities, want.infinities[0]),
        ("-infinity", got.negative_infinities, want.infinities[1]),
        ("zeros", got.zeros, want.zeros),
        ("saturated", got.saturated, want.saturated),
        ("dead", got.dead_units, want.dead),
    ];
    let mut found: Vec<String> = counts
        .iter()
        .filter(|(_, got, want)| got != want)
        .map(|(what, got, want)| format!("{what}: {got}, not {want}"))
        .collect();
    // A few ULP of f32 each: the values are rounded, the sums are not.
    let spread = want.variance.sqrt() + want.mean.abs();
    let numbers = [
        ("min", got.min.into(), want.min, want.min.abs(), 3e-7),
        ("max", got.max.into(), want.max, want.max.abs(), 3e-7),
        ("mean", got.mean, want.mean, spread, 3e-7),
        ("variance", got.variance, want.variance, want.variance, 2e-6),
        (
            "slope",
            got.mean_slope,
            want.mean_slope,
            want.mean_slope,
            1e-6,
        ),
    ];
    found.extend(
        numbers
            .iter()
            .filter(|(_, got, want, scale, relative)| !near(*got, *want, *scale, *relative))
            .map(|(what, got, want, ..)| format!("{what}: {got}, not {want}")),
    );
    let counted: u64 = got.histogram.counts.iter().sum();
    let finite = got.elements - got.nan - got.positive_infinities - got.negative_infinities;
    if counted != finite {
        found.push(format!("the histogram has {counted} of {finite}"));
    }
    found
}

/// Numbers around `offset`, with the third unit negative throughout.
fn sample(elements: usize, units: usize, inner: usize, offset: f32, size: f32) -> Vec<f32> {
    (0..elements)
        .map(|i| {
            let wave = ((i * 7919 + 13) % 10_007) as f32 / 10_007.0 - 0.5;
            let x = offset + size * wave;
            if (i / inner) % units == 2 {
                -x.abs() - 1e-3
            } else {
                x
            }
        })
        .collect()
}

#[test]
fn statistics_are_those_of_a_plain_count() {
    let shapes: [(&[usize], isize, [usize; 3]); 8] = [
        (&[3, 5], -1, [3, 5, 1]),
        (&[257, 33], -1, [257, 33, 1]),
        (&[4, 6, 9, 11], 1, [4, 6, 99]),
        (&[7, 300, 5], 1, [7, 300, 5]),
        (&[5, 1000], 0, [1, 5, 1000]),
        (&[40_001], -1, [1, 1, 40_001]),
        (&[], -1, [1, 1, 1]),
        (&[700, 300], -1, [700, 300, 1]),
    ];
    let functions = [
        Activation::Relu,
        Activation::Identity,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Gelu,
        Activation::Square,
    ];
    for backend in backends() {
        let flushes = backend.apply(Activation::Square, &[3e-20]).unwrap() == [0.0];
        for (shape, axis, [outer, units, inner]) in shapes {
            for (offset, size) in [(0.0, 12.0), (1000.0, 3.0), (0.0, 2e30), (-3e-20, 1e-21)] {
                let mut x = sample(outer * units * inner, units, inner, offset, size);
                for special in [false, true] {
                    if special && x.len() > 14 {
                        x[3] = f32::NAN;
                        x[4] = f32::INFINITY;
                        x[9] = f32::NEG_INFINITY;
                        x[11] = 0.0;
                        x[12] = -0.0;
                    }
                    for activation in functions {
                        // A result that the device flushes is a zero to it.
                        if activation == Activation::Square && offset < 0.0 && flushes {
                            continue;
                        }
                        let f = activation.into();
                        let what = Inspect::of(f).unit_axis(axis).bins(17);
                        let got = backend.inspect(&what, &x, shape).unwrap();
                        let want = plain(&f, &x, outer, units, inner);
                        let found = objections(&got, &want);
                        assert!(
                            found.is_empty(),
                            "{}: {f} of {shape:?} around {offset} by {size}: {found:?}",
                            backend.description()
                        );
                        assert_eq!(got.units, units as u64);
                        assert_eq!(got.histogram.edges.len(), 18);
                    }
                }
            }
        }
    }
}

/// The comparison above must object to other functions and other axes.
#[test]
fn a_wrong_count_is_seen() {
    let x = sample(257 * 33, 33, 1, 0.0, 12.0);
    let got = |what: Inspect| Backend::cpu().inspect(&what, &x, &[257, 33]).unwrap();
    let want = plain(&Activation::Relu.into(), &x, 257, 33, 1);
    assert!(objections(&got(Inspect::of(Activation::Relu)), &want).is_empty());
    assert!(!objections(&got(Inspect::of(Activation::Gelu)), &want).is_empty());
    assert!(!objections(&got(Inspect::of(Activation::Relu).unit_axis(0)), &want).is_empty());
    assert!(!objections(&got(Inspect::of(Activation::Relu).saturation(2.0)), &want).is_empty());
}

/// Both backends count the same bins, edges included.
#[test]
fn histograms_count_what_their_edges_say() {
    let mut x: Vec<f32> = (0..5000).map(|i| (i % 41) as f32 * 0.25 - 3.0).collect();
    x.extend([f32::NAN, f32::INFINITY]);
    for backend in backends() {
        for bins in [1, 7, 40, 41, 64] {
            let got = backend.inspect(&Inspect::default().bins(bins), &x, &[x.len()]);
            let histogram = got.unwrap().histogram;
            let last = histogram.counts.len() - 1;
            for (i, &count) in histogram.counts.iter().enumerate() {
                let (low, high) = (histogram.edges[i], histogram.edges[i + 1]);
                let inside = x
                    .iter()
                    .filter(|&&x| x >= low && (x < high || (i == last && x <= high)));
                assert_eq!(count, inside.count() as u64, "bin {i} of {bins}");
            }
        }
        // All one value, the ends of f32, and nothing at all.
        let one = backend.inspect(&Inspect::default(), &[2.5; 100], &[10, 10]);
        assert_eq!(one.unwrap().histogram.counts.iter().sum::<u64>(), 100);
        let ends = [f32::MAX, f32::MIN, 0.0, 1.0];
        let ends = backend
            .inspect(&Inspect::default().bins(2), &ends, &[4])
            .unwrap();
        assert_eq!(ends.histogram.counts, [1, 3]);
        assert!((ends.variance / (f64::from(f32::MAX).powi(2) / 2.0) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn nothing_is_nothing() {
    for backend in backends() {
        // No sample says nothing of a unit, however many there are: they are no more than a number.
        let most = usize::MAX / 8;
        for (shape, units) in [
            (&[0][..], 1),
            (&[0, 5], 5),
            (&[5, 0], 0),
            (&[0, 1 << 40], 1 << 40),
            (&[0, most], most as u64),
            (&[3, 0, 1 << 62], 1 << 62),
            (&[0, usize::MAX], u64::MAX),
        ] {
            let found = backend
                .inspect(&Inspect::of(Activation::Relu), &[0.0f32; 0], shape)
                .unwrap();
            assert_eq!((found.elements, found.units), (0, units), "{shape:?}");
            assert_eq!((found.dead_units, found.dead_fraction()), (0, 0.0));
            assert_eq!(found.histogram.counts, [0; 32]);
            assert!(found.min.is_nan() && found.mean.is_nan() && found.variance.is_nan());
            assert!(found.mean_slope.is_nan());
        }
        if let Backend::Gpu(gpu) = &backend {
            let tensor = gpu.empty(&[0, 1 << 40]).unwrap();
            let found = gpu.inspect(&Inspect::default(), &tensor).unwrap();
            assert_eq!((found.units, found.dead_units), (1 << 40, 0));
        }
        let nan = backend
            .inspect(&Inspect::default(), &[f32::NAN; 3], &[3])
            .unwrap();
        assert_eq!(
            (nan.nan, nan.dead_units, nan.histogram.counts[0]),
            (3, 0, 0)
        );
    }
}

#[test]
fn wrong_questions_are_errors() {
    for backend in backends() {
        let ask = |what: Inspect, n: usize| backend.inspect(&what, &vec![0.0; n], &[2, 3]);
        let plain = Inspect::default();
        assert!(matches!(ask(plain, 5), Err(Error::LengthMismatch { .. })));
        assert!(matches!(
            ask(plain.unit_axis(2), 6),
            Err(Error::AxisOutOfRange { .. })
        ));
        for wrong in [plain.bins(0), plain.bins(5000), plain.saturation(f32::NAN)] {
            let error = ask(wrong, 6).unwrap_err();
            assert!(matches!(error, Error::OptionOutOfRange { .. }), "{error}");
        }
    }
}

/// More than a piece of host memory, and a tensor that stays on the device, give the same.
#[test]
fn pieces_and_tensors_are_one() {
    let (outer, units) = (2900, 1500);
    let x = sample(outer * units, units, 1, 0.0, 4.0);
    let want = plain(&Activation::Relu.into(), &x, outer, units, 1);
    let what = Inspect::of(Activation::Relu);
    for backend in backends() {
        let whole = backend.inspect(&what, &x, &[outer, units]).unwrap();
        assert_eq!(objections(&whole, &want), Vec::<String>::new());
        if let Backend::Gpu(gpu) = &backend {
            let tensor = gpu.upload(&x, &[outer, units]).unwrap();
            let resident = gpu.inspect(&what, &tensor).unwrap();
            assert_eq!(objections(&resident, &want), Vec::<String>::new());
            let mut batch = gpu.batch();
            let y = batch.apply(Activation::Relu, &tensor).unwrap();
            let early = gpu.inspect(&Inspect::default(), &y).unwrap_err();
            assert!(matches!(early, Error::NotSubmitted), "{early}");
            batch.submit().unwrap();
            let after = gpu.inspect(&Inspect::default(), &y).unwrap();
            assert_eq!(after.dead_units, resident.dead_units);
            assert_eq!(after.mean, resident.mean);
        }
    }
}
