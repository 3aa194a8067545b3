//! Masked and shaped softmax on every backend, against the f64 reference and against what it is
//! made of.

mod common;

use wgpu_activations::reference::{
    self, shaped_backward, shaped_backward_by_sinks, shaped_forward, ulp_error,
};
use wgpu_activations::{
    AxisFunction, AxisShape, Backend, Causal, Chain, DType, Error, GumbelSoftmax, OfShape, Random,
    RowPolicy, Shaping,
};

use AxisFunction::{LogSoftmax, LogSumExp, Softmax, Softmin};

/// Numbers between -scale and scale.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next() * scale).collect()
}

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    // Any nonzero byte keeps.
    let keep = numbers(count, seed, 1.0);
    keep.iter()
        .map(|&v| {
            if v > -0.3 {
                1 + (v.to_bits() % 255) as u8
            } else {
                0
            }
        })
        .collect()
}

fn lengths(count: usize, seed: u64, most: usize) -> Vec<u32> {
    let spread = numbers(count, seed, 1.0);
    spread
        .iter()
        .map(|v| ((v + 1.0) * 0.6 * most as f32) as u32)
        .collect()
}

/// The error in ULP that the rounding of a sum does not explain.
fn beyond(got: f32, want: f64, largest: f64, allowance: f64) -> f64 {
    let error = f64::from(got) - want;
    let own = ulp_error(got, want, largest);
    if own == 0.0 || !error.is_finite() {
        return own;
    }
    own * (1.0 - allowance / error.abs()).max(0.0)
}

/// The largest error of a function, forward and backward; the first that is out of bounds, or a
/// result of what takes no part that is not exactly nothing, panics.
fn hold(
    backend: &Backend,
    function: AxisFunction,
    shaping: &Shaping<'_>,
    x: &[f32],
    shape: &[usize],
    axis: usize,
    what: &str,
) -> f64 {
    let kind = backend.kind();
    let levels = (shape[axis] as f64 + 1.0).log2().ceil() * 2f64.powi(-24);
    let y = backend
        .apply(
            function.along(axis as isize).shaped(shaping),
            shaping.inputs(x.of_shape(shape)),
        )
        .unwrap();
    let want = shaped_forward(function, shaping, x, shape, axis);
    assert_eq!(y.len(), want.len());
    let mut worst = 0.0f64;
    let mut see = |i: usize, got: f32, want: f64, error: f64, pass: &str| {
        assert!(
            error <= 4.0,
            "{function} {pass} on {kind:?}, {what}, {shape:?} along {axis}, {i}: {got:e}, want {want:e}, {error} ULP"
        );
        worst = worst.max(error);
    };
    for (i, (&got, &want)) in y.iter().zip(&want).enumerate() {
        let (largest, allowance) = match function {
            Softmax | Softmin => (0.0, want.abs() * levels),
            LogSoftmax => (0.0, levels),
            // The maximum and the logarithm may cancel: such a sum is measured against 1.
            _ => (1.0, levels),
        };
        see(
            i,
            got,
            want,
            beyond(got, want, largest, allowance),
            "forward",
        );
        let nothing = match function {
            LogSoftmax | LogSumExp => f64::NEG_INFINITY,
            _ => 0.0,
        };
        assert!(
            want != nothing || f64::from(got) == want,
            "{what} {i}: {got:e}"
        );
    }
    let dy = numbers(want.len(), 99, 2.0);
    let dx = backend
        .grad(
            function.along(axis as isize).shaped(shaping),
            shaping.inputs(x.of_shape(shape)),
            &dy,
        )
        .unwrap();
    let (want, largest) = shaped_backward(function, shaping, x, &dy, shape, axis);
    for (i, &got) in dx.iter().enumerate() {
        let error = beyond(got, want[i], largest[i], 2.0 * largest[i] * levels);
        see(i, got, want[i], error, "backward");
        assert!(
            want[i] != 0.0 || largest[i] != 0.0 || got == 0.0,
            "{what} {i}"
        );
    }
    let by_sinks = backend.grad_by(
        function.along(axis as isize).shaped(shaping),
        "sinks",
        shaping.inputs(x.of_shape(shape)),
        &dy,
    );
    let dsinks = match by_sinks {
        Err(Error::NoSinks) => return worst,
        dsinks => dsinks.unwrap(),
    };
    let (want, sizes) = shaped_backward_by_sinks(function, shaping, x, &dy, shape, axis);
    assert_eq!(dsinks.len(), want.len());
    for (i, &got) in dsinks.iter().enumerate() {
        // Of a row the sum of the weights, twice, and of the upstream gradients.
        let error = beyond(got, want[i], sizes[i], 3.0 * sizes[i] * levels);
        see(i, got, want[i], error, "by sinks");
    }
    worst
}

/// Mask, bias and lengths along every subset of the axes, along every axis.
#[test]
fn arrays_broadcast_over_any_axes() {
    const SHAPE: [usize; 4] = [2, 3, 4, 5];
    let x = numbers(120, 1, 6.0);
    let mut cases = 0;
    for backend in common::backends() {
        let mut worst = 0.0f64;
        for axis in 0..4 {
            for subset in 0..16usize {
                let part = |subset: usize| -> Vec<usize> {
                    (0..4)
                        .map(|i| if subset >> i & 1 == 1 { SHAPE[i] } else { 1 })
                        .collect()
                };
                let mask_shape = part(subset);
                // Others in other turns; without the leading ones, as NumPy has them.
                let full = part(subset.wrapping_mul(7) & 15);
                let ones = full.iter().take_while(|&&d| d == 1).count();
                let bias_shape = &full[ones..];
                let mut lengths_shape = part(subset.wrapping_mul(11) & 15);
                lengths_shape[axis] = 1;
                lengths_shape.truncate(1 + subset % 4);
                let count = |shape: &[usize]| shape.iter().product::<usize>();
                let mask = bytes(count(&mask_shape), 3 + subset as u64);
                let bias = numbers(count(bias_shape), 5, 3.0);
                let ends = lengths(count(&lengths_shape), 7 + subset as u64, SHAPE[axis]);
                let mut shaping = Shaping::new()
                    .mask(&mask, &mask_shape)
                    .bias(&bias, bias_shape)
                    .lengths(&ends, &lengths_shape)
                    .scale(0.7)
                    .soft_cap(4.0);
                if subset % 3 == 1 {
                    let query = (axis + 1 + subset % 3) % 4;
                    shaping = shaping
                        .causal([Causal::UpperLeft, Causal::LowerRight][subset & 1])
                        .query_axis(query as isize);
                }
                let mut sinks_shape = part(subset.wrapping_mul(13) & 15);
                sinks_shape[axis] = 1;
                let sinks = numbers(count(&sinks_shape), 9 + subset as u64, 3.0);
                // Without the leading ones, too.
                let ones = sinks_shape.iter().take_while(|&&d| d == 1).count();
                match subset % 5 {
                    2 => shaping = shaping.sink(0.25),
                    0 | 3 => shaping = shaping.sinks(&sinks, &sinks_shape[ones.min(subset)..]),
                    _ => {}
                }
                let function = AxisFunction::ALL[subset % 4];
                for function in [function, Softmax] {
                    let what = format!(
                        "mask {mask_shape:?}, bias {bias_shape:?}, lengths {lengths_shape:?}, \
                         sinks {sinks_shape:?}"
                    );
                    worst = worst.max(hold(&backend, function, &shaping, &x, &SHAPE, axis, &what));
                    cases += 1;
                }
            }
        }
        println!("{:?}: {worst:.2} ULP", backend.kind());
    }
    assert!(cases >= 128, "{cases}");
}

/// Rows of every strategy, with each part of the shaping.
#[test]
fn parts_and_lengths() {
    let shapes: [(&[usize], usize); 7] = [
        (&[3, 7, 1], 2),
        (&[2, 40, 16], 2),
        (&[4, 9, 64], 2),
        (&[2, 3, 1000], 2),
        (&[1, 2, 40_000], 2),
        (&[2, 50, 33], 1),
        (&[2, 3000, 3], 1),
    ];
    for backend in common::backends() {
        let mut worst = 0.0f64;
        for (shape, axis) in shapes {
            let count: usize = shape.iter().product();
            let x = numbers(count, 11, 20.0);
            let mask = bytes(count, 12);
            let bias = numbers(count, 13, 5.0);
            let ends = lengths(shape[0], 14, shape[axis]);
            let plain = Shaping::new();
            let sliced: &[usize] = &shape[..1];
            let mut each = shape.to_vec();
            each[axis] = 1;
            let sinks = numbers(count / shape[axis], 15, 25.0);
            let cases = [
                ("nothing", plain),
                ("mask", plain.mask(&mask, shape)),
                ("scaled bias", plain.bias(&bias, shape).temperature(0.3)),
                ("causal", plain.causal(Causal::LowerRight).query_axis(0)),
                ("lengths", plain.lengths(&ends, sliced)),
                ("cap", plain.mask(&mask, shape).soft_cap(8.0)),
                ("sink", plain.mask(&mask, shape).sink(3.0)),
                ("sinks", plain.mask(&mask, shape).sinks(&sinks, &each)),
                (
                    "scaled sinks",
                    plain
                        .scale(-0.4)
                        .lengths(&ends, sliced)
                        .sinks(&sinks, &each),
                ),
            ];
            for (what, shaping) in cases {
                // Most functions of the plain parts, and softmax of all: pipelines take time.
                let functions: &[AxisFunction] = match what {
                    "mask" | "sink" | "sinks" => AxisFunction::ALL,
                    _ => &[Softmax],
                };
                for &function in functions {
                    let error = hold(&backend, function, &shaping, &x, shape, axis, what);
                    worst = worst.max(error);
                }
            }
        }
        println!("{:?}: {worst:.2} ULP", backend.kind());
    }
}

/// The bytes and the shape of a .npy file of examples/data, in C order.
fn npy(name: &str) -> (Vec<u8>, Vec<usize>) {
    let path = format!("{}/examples/data/{name}.npy", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let inside = header.split('(').nth(1).unwrap().split(')').next().unwrap();
    let dims = inside.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape = dims.map(|d| d.parse().unwrap()).collect();
    (bytes[end..].to_vec(), shape)
}

/// A mask says what a row is: the softmax of the unmasked part, and nothing beside.
#[test]
fn real_scores_with_their_key_mask() {
    let (scores, shape) = npy("attention_scores");
    let x: Vec<f32> = scores
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let (keep, mask_shape) = npy("attention_mask");
    assert_eq!(shape.len(), 4, "[batch, heads, queries, keys]");
    assert_eq!(x.len(), shape.iter().product::<usize>());
    let keys = shape[3];
    assert!(keep.contains(&0) && keep.contains(&1));
    let broadcast = [mask_shape[0], 1, 1, keys];
    let ends: Vec<u32> = keep
        .chunks(keys)
        .map(|row| row.iter().map(|&k| u32::from(k)).sum())
        .collect();
    let padded_at_the_end = keep
        .chunks(keys)
        .zip(&ends)
        .all(|(row, &end)| row[..end as usize].iter().all(|&k| k == 1));
    assert!(padded_at_the_end);
    let shapings = [
        Shaping::new().mask(&keep, &broadcast),
        Shaping::new().lengths(&ends, &mask_shape[..1]),
    ];
    let per_batch = x.len() / shape[0];
    for backend in common::backends() {
        for (function, shaping) in [Softmax, LogSoftmax, LogSumExp]
            .into_iter()
            .flat_map(|f| shapings.map(|s| (f, s)))
        {
            let y = backend
                .apply(
                    function.along(-1).shaped(&shaping),
                    shaping.inputs(x.of_shape(&shape)),
                )
                .unwrap();
            let levels = (keys as f64).log2().ceil() * 2f64.powi(-24);
            for (number, row) in x.chunks(keys).enumerate() {
                let end = ends[number * keys / per_batch] as usize;
                let unmasked = AxisShape::new(&[end], 0).unwrap();
                let want = reference::axis_forward(function, &row[..end], &unmasked);
                if function == LogSumExp {
                    let error = beyond(y[number], want[0], 1.0, levels);
                    assert!(error <= 4.0, "{error} ULP");
                    continue;
                }
                let got = &y[number * keys..][..keys];
                for (&got, &want) in got.iter().zip(&want) {
                    let allowance = match function {
                        Softmax => want * levels,
                        _ => levels,
                    };
                    let error = beyond(got, want, 0.0, allowance);
                    assert!(error <= 4.0, "{got:e}, want {want:e}: {error} ULP");
                }
                let nothing = if function == Softmax {
                    0.0
                } else {
                    f32::NEG_INFINITY
                };
                assert!(got[end..].iter().all(|&y| y == nothing));
            }
            // The gradient of what is masked is 0, also where the upstream gradient is NaN there.
            if function != LogSumExp {
                let dy: Vec<f32> = (0..x.len())
                    .map(|i| {
                        if i % keys < ends[i / per_batch] as usize {
                            x[i]
                        } else {
                            f32::NAN
                        }
                    })
                    .collect();
                let dx = backend
                    .grad(
                        function.along(-1).shaped(&shaping),
                        shaping.inputs(x.of_shape(&shape)),
                        &dy,
                    )
                    .unwrap();
                for (i, &dx) in dx.iter().enumerate() {
                    let masked = i % keys >= ends[i / per_batch] as usize;
                    assert!(dx.is_finite() && (!masked || dx == 0.0), "{i}: {dx}");
                }
            }
        }
    }
}

/// One row of each kind of special values, in and out of the mask, with each strategy's length.
#[test]
fn special_rows() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for backend in common::backends() {
        for len in [5usize, 40, 5000] {
            let shape = [8, len];
            let mut x = numbers(8 * len, 21, 3.0);
            let mut keep = bytes(8 * len, 22);
            let at = |row: usize, k: usize| row * len + k;
            for k in 0..len {
                keep[at(0, k)] = 0;
                x[at(1, k)] = -inf;
                keep[at(6, k)] = u8::from(k == 2);
            }
            keep[at(1, 1)] = 1;
            let rows = [
                (2, nan, 0),
                (3, nan, 1),
                (4, inf, 0),
                (5, inf, 1),
                (7, 80.0, 1),
            ];
            for (row, value, kept) in rows {
                x[at(row, 3)] = value;
                keep[at(row, 3)] = kept;
            }
            let shaping = Shaping::new().mask(&keep, &shape);
            for &function in AxisFunction::ALL {
                for policy in [RowPolicy::Zeros, RowPolicy::Nan] {
                    let shaping = shaping.row_policy(policy);
                    let what = format!("special rows, {policy:?}");
                    hold(&backend, function, &shaping, &x, &shape, 1, &what);
                    let shaping = shaping.sink(-1.0);
                    hold(&backend, function, &shaping, &x, &shape, 1, &what);
                }
            }
            let y = backend
                .apply(
                    Softmax.along(-1).shaped(&shaping),
                    shaping.inputs(x.of_shape(&shape)),
                )
                .unwrap();
            let row = |i: usize| &y[i * len..(i + 1) * len];
            assert!(row(0).iter().all(|&y| y == 0.0));
            assert!(
                row(1)
                    .iter()
                    .zip(&keep[len..])
                    .all(|(y, &k)| y.is_nan() == (k != 0))
            );
            for (number, defined) in [(2, true), (3, false), (4, true), (5, false)] {
                let sum: f32 = row(number).iter().sum();
                assert_eq!((sum - 1.0).abs() < 1e-5, defined, "{number}: {sum}");
                // What takes no part is 0, whatever the row is.
                let masked = row(number).iter().zip(&keep[number * len..]);
                assert!(masked.filter(|&(_, &k)| k == 0).all(|(&y, _)| y == 0.0));
            }
            assert_eq!(row(6)[2], 1.0);

            // The error names the first row, and nothing is written.
            let mut out = vec![7.0; x.len()];
            let strict = shaping.row_policy(RowPolicy::Error);
            let error = backend
                .apply_into(
                    Softmax.along(-1).shaped(&strict),
                    strict.inputs(x.of_shape(&shape)),
                    &mut out,
                )
                .unwrap_err();
            assert!(
                matches!(&error, Error::FullyMaskedRow { row } if row == &[0]),
                "{error}"
            );
            assert!(out.iter().all(|&y| y == 7.0));
        }
    }
}

/// Every kind of row with every kind of sink, by one number and by an array of them: the same bits.
#[test]
fn special_sinks() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let sinks = [-inf, -3e38, -1.5, 0.0, 40.0, 3e38, inf, nan];
    const KINDS: usize = 6;
    for backend in common::backends() {
        for len in [5usize, 40, 3000] {
            // A row of each kind for each sink: as they are, all masked, of nothing but -infinity,
            // with -infinity, with infinity, with NaN.
            let shape = [sinks.len(), KINDS, len];
            let each = [sinks.len(), 1, 1];
            let mut x = numbers(sinks.len() * KINDS * len, 71, 3.0);
            let mut keep = vec![1u8; x.len()];
            let rows = x.chunks_mut(len).zip(keep.chunks_mut(len));
            for (number, (row, keep)) in rows.enumerate() {
                match number % KINDS {
                    0 => keep[1] = 0,
                    1 => keep.fill(0),
                    2 => row.fill(-inf),
                    kind => row[2] = [-inf, inf, nan][kind - 3],
                }
            }
            let scaled = Shaping::new().mask(&keep, &shape).scale(1.5);
            for shaping in [Shaping::new().mask(&keep, &shape), scaled] {
                let array = shaping.sinks(&sinks, &each);
                for &function in AxisFunction::ALL {
                    for policy in [RowPolicy::Zeros, RowPolicy::Nan] {
                        let array = array.row_policy(policy);
                        let what = format!("special sinks, {policy:?}");
                        hold(&backend, function, &array, &x, &shape, 2, &what);
                        let all = backend.apply(
                            function.along(-1).shaped(&array),
                            array.inputs(x.of_shape(&shape)),
                        );
                        let all = all.unwrap();
                        let count = all.len() / sinks.len();
                        for (i, &sink) in sinks.iter().enumerate() {
                            let number = shaping.row_policy(policy).sink(sink);
                            let one = backend.apply(
                                function.along(-1).shaped(&number),
                                number.inputs(x.of_shape(&shape)),
                            );
                            let one = one.unwrap();
                            let part = i * count..(i + 1) * count;
                            let same = |(a, b): (&f32, &f32)| {
                                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
                            };
                            let mut pairs = all[part.clone()].iter().zip(&one[part]);
                            assert!(pairs.all(same), "{function} {sink} of {len}");
                        }
                    }
                }
            }
        }
    }
}

/// What sinks mean at the limits, worked out by hand.
#[test]
fn sinks_by_hand() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [0.0f32; 12];
    let sinks = [0.0, -inf, inf, nan];
    let shaping = Shaping::new().sinks(&sinks, &[4, 1]);
    for backend in common::backends() {
        let run = |function: AxisFunction, shaping: &Shaping<'_>| {
            let y = backend.apply(
                function.along(-1).shaped(shaping),
                shaping.inputs(x.of_shape(&[4, 3])),
            );
            y.unwrap()
        };
        let y = run(Softmax, &shaping);
        assert_eq!(y[..3], [0.25; 3]);
        assert_eq!(y[3..6], [1.0 / 3.0; 3]);
        assert_eq!(y[6..9], [0.0; 3]);
        assert!(y[9..].iter().all(|y| y.is_nan()));
        let y = run(LogSoftmax, &shaping);
        assert!((y[0] + 4f32.ln()).abs() < 3e-7 && (y[3] + 3f32.ln()).abs() < 3e-7);
        assert_eq!(y[6..9], [-inf; 3]);
        assert!(y[9..].iter().all(|y| y.is_nan()));
        let y = run(LogSumExp, &shaping);
        assert!((y[0] - 4f32.ln()).abs() < 3e-7 && (y[1] - 3f32.ln()).abs() < 3e-7);
        assert!(y[2] == inf && y[3].is_nan());
        // Rows of which nothing takes part are their sinks.
        let masked = shaping.mask(&[0], &[1]);
        let y = run(LogSumExp, &masked);
        assert!(y[..3] == [0.0, -inf, inf] && y[3].is_nan());
        assert_eq!(run(Softmax, &masked), [0.0; 12]);
        assert_eq!(run(LogSoftmax, &masked), [-inf; 12]);
        // The later of two replaces the other.
        assert_eq!(run(Softmax, &shaping.sink(0.0)), [0.25; 12]);
        let y = run(Softmax, &Shaping::new().sink(5.0).sinks(&[0.0], &[]));
        assert_eq!(y, [0.25; 12]);
        // Softmin's sink is not turned.
        let y = run(Softmin, &Shaping::new().sinks(&[6f32.ln()], &[1, 1]));
        assert!(y.iter().all(|y| (y - 1.0 / 9.0).abs() < 3e-8), "{y:?}");
    }
}

/// The gradient by sinks against differences of the forward reference.
#[test]
fn gradients_by_sinks_are_differences() {
    const SHAPE: [usize; 4] = [2, 3, 4, 5];
    let x = numbers(120, 81, 3.0);
    let keep = bytes(120, 82);
    // Powers of two, so that what is added to a sink is not rounded.
    let step = 2f32.powi(-9);
    let mut compared = 0;
    for (axis, given) in [
        (3, &[3usize, 1, 1][..]),
        (3, &[2, 1, 4, 1]),
        (3, &[4, 1]),
        (3, &[]),
        (1, &[1, 5]),
        (0, &[1, 3, 1, 5]),
        (2, &[2, 3, 1, 5]),
    ] {
        let count: usize = given.iter().product();
        let sinks: Vec<f32> = numbers(count, 83, 2.0)
            .iter()
            .map(|s| (s / step).round() * step)
            .collect();
        let plain = Shaping::new().mask(&keep, &SHAPE);
        for (shaping, function) in [plain, plain.scale(-0.7), plain.soft_cap(2.0)]
            .into_iter()
            .flat_map(|s| AxisFunction::ALL.iter().map(move |&f| (s, f)))
        {
            let forward = |sinks: &[f32], dy: &[f32]| -> f64 {
                let shaping = shaping.sinks(sinks, given);
                let y = shaped_forward(function, &shaping, &x, &SHAPE, axis);
                // What is masked has no finite logarithm.
                let terms = y.iter().zip(dy).filter(|(y, _)| y.is_finite());
                terms.map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            let results = if function.reduces() {
                120 / SHAPE[axis]
            } else {
                120
            };
            let dy = numbers(results, 84, 2.0);
            let difference = |i: usize| {
                let [mut above, mut below] = [&sinks, &sinks].map(Vec::clone);
                above[i] += step;
                below[i] -= step;
                (forward(&above, &dy) - forward(&below, &dy)) / (2.0 * f64::from(step))
            };
            let want: Vec<f64> = (0..count).map(difference).collect();
            let shaped = shaping.sinks(&sinks, given);
            let exact = shaped_backward_by_sinks(function, &shaped, &x, &dy, &SHAPE, axis).0;
            for backend in common::backends() {
                let got = backend.grad_by(
                    function.along(axis as isize).shaped(&shaped),
                    "sinks",
                    shaped.inputs(x.of_shape(&SHAPE)),
                    &dy,
                );
                let got = got.unwrap().into_iter().map(f64::from).zip(&exact);
                for (i, (got, exact)) in got.enumerate() {
                    let near = |v: f64| (v - want[i]).abs() <= 2e-5 * want[i].abs().max(1.0);
                    assert!(
                        near(got) && near(*exact),
                        "{function} {given:?} along {axis}, {i}: {got} {exact} {}",
                        want[i]
                    );
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 500, "{compared}");
}

/// Gradients by sinks that can be worked out, also at the limits.
#[test]
fn gradients_by_sinks_by_hand() {
    const NONE: [f32; 0] = [];
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [0.0f32; 15];
    let sinks = [0.0, -inf, inf, nan, 3f32.ln()];
    let shaping = Shaping::new().sinks(&sinks, &[5, 1]);
    let dy = [4.0, 8.0, -4.0].repeat(5);
    for backend in common::backends() {
        let run = |function: AxisFunction, shaping: &Shaping<'_>, dy: &[f32]| {
            let by = backend.grad_by(
                function.along(-1).shaped(shaping),
                "sinks",
                shaping.inputs(x.of_shape(&[5, 3])),
                dy,
            );
            by.unwrap()
        };
        let near = |a: f32, b: f32| (a - b).abs() <= 3e-7 * b.abs();
        let by = run(Softmax, &shaping, &dy);
        assert!(by[..3] == [-0.5, 0.0, 0.0] && by[3].is_nan(), "{by:?}");
        assert!(near(by[4], -8.0 / 12.0), "{by:?}");
        let by = run(LogSoftmax, &shaping, &dy);
        assert!(by[..3] == [-2.0, 0.0, -8.0] && by[3].is_nan(), "{by:?}");
        assert!(near(by[4], -4.0), "{by:?}");
        let by = run(LogSumExp, &shaping, &[8.0; 5]);
        assert!(by[..3] == [2.0, 0.0, 8.0] && by[3].is_nan(), "{by:?}");
        assert!(near(by[4], 4.0), "{by:?}");
        // A row of which nothing takes part is its sink, and one of -infinity is none.
        for policy in [RowPolicy::Zeros, RowPolicy::Nan] {
            let masked = shaping.mask(&[0], &[1]).row_policy(policy);
            let by = run(LogSumExp, &masked, &[8.0; 5]);
            assert!(by[..3] == [8.0, 0.0, 8.0] && by[4] == 8.0, "{by:?}");
            for function in [Softmax, LogSoftmax] {
                let by = run(function, &masked, &[nan; 15]);
                assert!(by[..3] == [0.0; 3] && by[4] == 0.0, "{function} {by:?}");
            }
        }
        // A number is one sink of all rows.
        let number = Shaping::new().sink(0.0);
        assert_eq!(run(LogSumExp, &number, &[1.0, 2.0, 3.0, 4.0, 6.0]), [4.0]);
        let array = Shaping::new().sinks(&[0.0], &[1]);
        assert_eq!(run(LogSumExp, &array, &[1.0, 2.0, 3.0, 4.0, 6.0]), [4.0]);
        // Rows of no elements are their sinks, too; of no rows the sums are of nothing.
        let by = |function: AxisFunction, shape: &[usize], dy: &[f32]| {
            let shaping = Shaping::new().sinks(&[0.5], &[1, 1]);
            backend.grad_by(
                function.along(1).shaped(&shaping),
                "sinks",
                shaping.inputs(NONE.of_shape(shape)),
                dy,
            )
        };
        assert_eq!(by(LogSumExp, &[3, 0], &[1.0, 2.0, 4.0]).unwrap(), [7.0]);
        assert_eq!(by(Softmax, &[3, 0], &[]).unwrap(), [0.0]);
        assert_eq!(by(Softmax, &[0, 3], &[]).unwrap(), [0.0]);
        assert_eq!(by(LogSumExp, &[0, 3], &[]).unwrap(), [0.0]);
    }
}

/// A sum over many rows is that of its terms, with the same bits in each run; in 16 bits, too.
#[test]
fn gradients_by_sinks_of_many_rows() {
    let shape = [40usize, 8, 100, 33];
    let count: usize = shape.iter().product();
    let x = numbers(count, 91, 4.0);
    let dy = numbers(count, 92, 1.0);
    let sinks = numbers(8, 93, 3.0);
    let shaping = Shaping::new()
        .sinks(&sinks, &[8, 1, 1])
        .causal(Causal::UpperLeft);
    let (want, sizes) = shaped_backward_by_sinks(Softmax, &shaping, &x, &dy, &shape, 3);
    for backend in common::backends() {
        let call = || {
            let by = backend.grad_by(
                Softmax.along(-1).shaped(&shaping),
                "sinks",
                shaping.inputs(x.of_shape(&shape)),
                &dy,
            );
            by.unwrap()
        };
        let by = call();
        for (i, (&got, &want)) in by.iter().zip(&want).enumerate() {
            let error = beyond(got, want, 0.0, 20.0 * sizes[i] * 2f64.powi(-24));
            assert!(error <= 1.0, "{i}: {got:e} {want:e}, {error} ULP");
        }
        assert_eq!(by, call());
        let halves: Vec<half::f16> = x.iter().map(|&x| half::f16::from_f32(x)).collect();
        let wide: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
        let by = backend.grad_by(
            Softmax.along(-1).shaped(&shaping),
            "sinks",
            shaping.inputs(halves.of_shape(&shape)),
            &halves,
        );
        let same = backend.grad_by(
            Softmax.along(-1).shaped(&shaping),
            "sinks",
            shaping.inputs(wide.of_shape(&shape)),
            &wide,
        );
        let same: Vec<half::f16> = same.unwrap().into_iter().map(half::f16::from_f32).collect();
        assert_eq!(by.unwrap(), same);
    }
}

/// A gradient by sinks needs some, and rows that share them in few turns.
#[test]
fn what_has_no_gradient_by_sinks_is_an_error() {
    for backend in common::backends() {
        let none = Shaping::new().scale(2.0);
        let error = backend.grad_by(
            Softmax.along(0).shaped(&none),
            "sinks",
            none.inputs(&[1.0]),
            &[1.0],
        );
        assert!(matches!(error, Err(Error::NoSinks)), "{error:?}");
        let sinks = [0.0; 16];
        let given = [2, 1, 2, 1, 2, 1, 2, 1];
        let shaping = Shaping::new().sinks(&sinks, &given);
        let x = [1.0; 256];
        let error = backend.grad_by(
            Softmax.along(-1).shaped(&shaping),
            "sinks",
            shaping.inputs(x.of_shape(&[2; 8])),
            &x,
        );
        assert!(
            matches!(error, Err(Error::ScatteredAxes { .. })),
            "{error:?}"
        );
        let shaping = Shaping::new().sink(0.0);
        let error = backend.grad_by(
            Softmax.along(-1).shaped(&shaping),
            "sinks",
            shaping.inputs(x.of_shape(&[16, 16])),
            &x[1..],
        );
        let Err(Error::LengthMismatch { what, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(what, "the upstream gradient");
        let error = backend.grad_by(
            Softmax.along(2).shaped(&shaping),
            "sinks",
            shaping.inputs(x.of_shape(&[16, 16])),
            &x,
        );
        assert!(matches!(error, Err(Error::AxisOutOfRange { .. })));
    }
}

/// Sinks have no axis along the function's, and as many elements as their shape.
#[test]
fn sinks_that_do_not_fit_are_errors() {
    let x = numbers(24, 72, 1.0);
    for backend in common::backends() {
        let call = |sinks: &[f32], given: &[usize], axis| {
            let shaping = Shaping::new().sinks(sinks, given);
            let y = backend.apply(
                Softmax.along(axis).shaped(&shaping),
                shaping.inputs(x.of_shape(&[2, 3, 4])),
            );
            y.unwrap_err()
        };
        for (given, axis, to) in [
            (&[4usize][..], -1, [2, 3, 1]),
            (&[3, 4], -1, [2, 3, 1]),
            (&[2, 1], -1, [2, 3, 4]),
            (&[3, 1], 1, [2, 1, 4]),
            (&[3, 1, 1], 2, [2, 3, 4]),
            (&[1, 1, 1, 1], 2, [2, 3, 4]),
        ] {
            let count = given.iter().product();
            let error = call(&vec![0.0; count], given, axis);
            let Error::NotBroadcastable {
                what,
                shape,
                to: of,
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((*what, &shape[..], &of[..]), ("the sinks", given, &to[..]));
        }
        let error = call(&[0.0; 2], &[3, 1], -1);
        assert!(
            matches!(
                error,
                Error::LengthMismatch {
                    what: "the sinks",
                    expected: 3,
                    got: 2
                }
            ),
            "{error}"
        );
    }
}

/// Causal masks with fewer and more queries than keys are PyTorch's two.
#[test]
fn causal_masks_are_triangles() {
    for backend in common::backends() {
        for (queries, keys) in [(3usize, 4usize), (4, 3), (40, 70), (70, 40)] {
            let shape = [2, queries, keys];
            let x = numbers(2 * queries * keys, 31, 4.0);
            for (causal, diagonal) in [
                (Causal::UpperLeft, 0),
                (Causal::LowerRight, keys as isize - queries as isize),
            ] {
                let tril: Vec<bool> = (0..queries * keys)
                    .map(|i| (i % keys) as isize <= (i / keys) as isize + diagonal)
                    .collect();
                let triangle = [queries, keys];
                let masked = Shaping::new().mask_of_bools(&tril, &triangle);
                let shaping = Shaping::new().causal(causal);
                for function in [Softmax, LogSoftmax, LogSumExp] {
                    let y = backend.apply(
                        function.along(-1).shaped(&shaping),
                        shaping.inputs(x.of_shape(&shape)),
                    );
                    let want = backend.apply(
                        function.along(-1).shaped(&masked),
                        masked.inputs(x.of_shape(&shape)),
                    );
                    let pairs = y.unwrap().into_iter().zip(want.unwrap());
                    // The sums of a masked row may be added in another order.
                    for (y, want) in pairs {
                        let near = (y - want).abs() <= 1e-6 * want.abs().max(1e-3);
                        assert!(y == want || near, "{function} {shape:?}: {y} {want}");
                    }
                    let what = format!("{causal:?}");
                    hold(&backend, function, &shaping, &x, &shape, 2, &what);
                }
            }
        }
    }
}

/// Tensors give what arrays in host memory give, bit for bit; pieces what the whole gives.
#[test]
fn tensors_and_pieces() {
    for backend in common::backends() {
        // More than a piece, of rows that broadcast arrays turn over in; a mask without every axis.
        let shape = [6usize, 10, 300, 300];
        let count: usize = shape.iter().product();
        let x = numbers(count, 41, 5.0);
        let keep = bytes(6 * 300, 42);
        let bias = numbers(10 * 300 * 300, 43, 2.0);
        let ends = lengths(6, 44, 300);
        // One for each row, of which a piece has some.
        let sinks = numbers(6 * 10 * 300, 48, 4.0);
        let shaping = Shaping::new()
            .mask(&keep, &[6, 1, 1, 300])
            .bias(&bias, &[10, 300, 300])
            .lengths(&ends, &[6])
            .sinks(&sinks, &[6, 10, 300, 1]);
        let y = backend
            .apply(
                Softmax.along(-1).shaped(&shaping),
                shaping.inputs(x.of_shape(&shape)),
            )
            .unwrap();
        let want = Backend::cpu()
            .apply(
                Softmax.along(-1).shaped(&shaping),
                shaping.inputs(x.of_shape(&shape)),
            )
            .unwrap();
        let levels = 9.0 * 2f64.powi(-24);
        for (i, (&y, &want)) in y.iter().zip(&want).enumerate() {
            let want = f64::from(want);
            // The CPU's own rounding is one more.
            assert!(
                beyond(y, want, 0.0, want * levels) <= 5.0,
                "{i}: {y} {want}"
            );
        }
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let small = [2usize, 3, 5, 7];
        let count = 210;
        let x = numbers(count, 45, 5.0);
        let keep = bytes(2 * 7, 46);
        let bias = numbers(35, 47, 2.0);
        let ends = [5, 0];
        let sinks = [0.5, -2.0, 1.0];
        let host = Shaping::new()
            .mask(&keep, &[2, 1, 1, 7])
            .bias(&bias, &[5, 7])
            .lengths(&ends, &[2])
            .sinks(&sinks, &[3, 1, 1])
            .causal(Causal::UpperLeft);
        let mask = gpu.upload_mask(&keep, &[2, 1, 1, 7]).unwrap();
        let bias = gpu.upload(&bias, &[5, 7]).unwrap();
        let ends = gpu.upload_lengths(&ends, &[2]).unwrap();
        let learned = gpu.upload(&sinks, &[3, 1, 1]).unwrap();
        let input = gpu.upload(&x, &small).unwrap();
        for &function in AxisFunction::ALL {
            let mut batch = gpu.batch();
            let causal = function.along(-1).causal(Causal::UpperLeft);
            let device = (&input, &mask, &bias, &ends, &learned);
            let y = batch.apply(causal, device).unwrap();
            let dx = batch.grad(causal, device, &y).unwrap();
            batch.submit().unwrap();
            let y = y.read().unwrap();
            let same = backend.apply(
                function.along(-1).shaped(&host),
                host.inputs(x.of_shape(&small)),
            );
            assert_eq!(y, same.unwrap(), "{function}");
            let same = backend.grad(
                function.along(-1).shaped(&host),
                host.inputs(x.of_shape(&small)),
                &y,
            );
            let dx = dx.read().unwrap();
            let equal = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(dx.iter().zip(&same.unwrap()).all(equal), "{function}");
            // By their sinks, by one number, and in 16 bits; the upstream gradient is the input, or a
            // part of it.
            let rows = gpu.upload(&x[..30], &[2, 3, 5]).unwrap();
            let upstream = if function.reduces() { &rows } else { &input };
            let dy = &x[..upstream.len()];
            let mut batch = gpu.batch();
            let by_sinks = batch.grad_by(causal, "sinks", device, upstream).unwrap();
            let one = (&input, &mask, &bias, &ends);
            let one = batch.grad_by(causal.sink(0.5), "sinks", one, upstream);
            let one = one.unwrap();
            let narrow = batch.cast(&learned, DType::F16).unwrap();
            let halves = (&input, &mask, &bias, &ends, &narrow);
            let rounded = batch.grad_by(causal, "sinks", halves, upstream).unwrap();
            let wrong = batch.grad_by(causal, "sinks", device, &learned);
            assert!(matches!(wrong, Err(Error::LengthMismatch { .. })));
            let none = batch.grad_by(causal, "sinks", (&input, &mask), upstream);
            assert!(matches!(none, Err(Error::NoSinks)));
            batch.submit().unwrap();
            for (shaping, got, of) in [(host, by_sinks, &[3, 1, 1][..]), (host.sink(0.5), one, &[])]
            {
                assert_eq!(got.shape(), of);
                let want = backend.grad_by(
                    function.along(-1).shaped(&shaping),
                    "sinks",
                    shaping.inputs(x.of_shape(&small)),
                    dy,
                );
                for (got, want) in got.read().unwrap().iter().zip(want.unwrap()) {
                    // Sums of the same terms, which may be taken from each other.
                    let near = ulp_error(*got, want.into(), 1.0) <= 1.0;
                    assert!(near, "{function}: {got} {want}");
                }
                if of.is_empty() {
                    continue;
                }
                assert_eq!((rounded.dtype(), rounded.shape()), (DType::F16, of));
                // The sinks are f16 numbers.
                let want = got.read().unwrap();
                for (got, want) in rounded.read_as::<half::f16>().unwrap().iter().zip(want) {
                    assert_eq!(*got, half::f16::from_f32(want));
                }
            }
        }
        let empty = gpu.upload(&[0.0f32; 0], &[3, 0]).unwrap();
        let upstream = gpu.upload(&[1.0f32, 2.0, 4.0], &[3]).unwrap();
        let mut batch = gpu.batch();
        let number = LogSumExp.along(-1).sink(0.5);
        let by_rows = batch.grad_by(number, "sinks", &empty, &upstream);
        let by_none = batch.grad_by(Softmax.along(0).sink(0.5), "sinks", &empty, &empty);
        batch.submit().unwrap();
        assert_eq!(by_rows.unwrap().read().unwrap(), [7.0]);
        assert_eq!(by_none.unwrap().read().unwrap(), [0.0]);
    }
}

/// Arrays of no elements, and rows of none.
#[test]
fn nothing_at_all() {
    const NONE: [f32; 0] = [];
    for backend in common::backends() {
        let shaping = Shaping::new().mask(&[], &[0]).sink(0.5);
        let y = backend.apply(
            LogSumExp.along(1).shaped(&shaping),
            shaping.inputs(NONE.of_shape(&[3, 0])),
        );
        assert_eq!(y.unwrap(), [0.5; 3]);
        let shaping = shaping.sinks(&[0.5, -1.0, 2.0], &[3, 1]);
        let y = backend.apply(
            LogSumExp.along(1).shaped(&shaping),
            shaping.inputs(NONE.of_shape(&[3, 0])),
        );
        assert_eq!(y.unwrap(), [0.5, -1.0, 2.0]);
        let plain = Shaping::new().causal(Causal::LowerRight);
        let y = backend.apply(
            LogSumExp.along(1).shaped(&plain),
            plain.inputs(NONE.of_shape(&[3, 0])),
        );
        assert_eq!(y.unwrap(), [f32::NEG_INFINITY; 3]);
        for shape in [[3, 0], [0, 3]] {
            let y = backend.apply(
                Softmax.along(1).shaped(&plain),
                plain.inputs(NONE.of_shape(&shape)),
            );
            assert!(y.unwrap().is_empty());
            let dx = backend.grad(
                Softmax.along(1).shaped(&plain),
                plain.inputs(NONE.of_shape(&shape)),
                &NONE,
            );
            assert!(dx.unwrap().is_empty());
        }
    }
}

/// The harness itself: another mask, scale or causal diagonal is seen.
#[test]
fn wrong_shapings_are_seen() {
    let x = numbers(40, 51, 4.0);
    let keep = bytes(8, 52);
    let right = Shaping::new().mask(&keep, &[8]).scale(0.5);
    let other: Vec<u8> = keep.iter().map(|&k| u8::from(k == 0)).collect();
    let want = shaped_forward(Softmax, &right, &x, &[5, 8], 1);
    for wrong in [
        right.mask(&other, &[8]),
        right.scale(0.5001),
        right.causal(Causal::UpperLeft),
        right.soft_cap(30.0),
        right.sink(-5.0),
        right.sinks(&[-90.0, -5.0, -90.0, -90.0, -90.0], &[5, 1]),
    ] {
        let y = Backend::cpu()
            .apply(
                Softmax.along(1).shaped(&wrong),
                wrong.inputs(x.of_shape(&[5, 8])),
            )
            .unwrap();
        let worst = y
            .iter()
            .zip(&want)
            .map(|(&y, &want)| beyond(y, want, 0.0, want * 4.0 * 2f64.powi(-24)));
        assert!(worst.fold(0.0, f64::max) > 4.0, "{wrong:?}");
    }
}

/// Scores of every size with scales of every size, so that their products are of every size, too: in
/// rows that are close to each other, far apart, and of both.
#[test]
fn scores_and_scales_of_any_size() {
    let power = |n: i32| 2f64.powi(n) as f32;
    let mut x = Vec::new();
    // From where no difference is subnormal: those may be flushed.
    for n in (-95..=127).step_by(6) {
        let step = power(n - 20);
        let near = power(n) * 0.75;
        // Neighbours, multiples, what one of another size does not show, and a tie.
        x.extend([near, near + step, near - 3.0 * step, -near]);
        x.extend([near, 0.3 * near, 0.0, -0.9 * near]);
        x.extend([power(n), power(-n - 1), -power(n - 30), power(n - 7)]);
        x.extend([near, near, near - power(n - 24), near - power(n - 23)]);
    }
    // Where the exponential of the scaled difference shows the most.
    let mut scales: Vec<f32> = (-140..=126).step_by(14).map(|n| -1.37 * power(n)).collect();
    scales.extend((-126..=120).step_by(9).map(|n| 1.61 * power(n)));
    let long: Vec<f32> = (0..5000)
        .map(|i| x[(i * 7919) % 64] * 1.5 + numbers(1, i as u64, 2.0)[0])
        .collect();
    let rows = x.len() / 4;
    for backend in common::backends() {
        let mut worst = 0.0f64;
        for (i, &scale) in scales.iter().enumerate() {
            let plain = Shaping::new();
            let shapings = [plain.scale(scale), plain.temperature(scale)];
            for (shaping, &function) in shapings
                .iter()
                .zip([AxisFunction::ALL; 2])
                .flat_map(|(s, f)| f.iter().map(move |f| (s, f)))
            {
                let what = format!("{shaping:?}");
                worst = worst.max(hold(&backend, function, shaping, &x, &[rows, 4], 1, &what));
            }
            let shaping = plain.scale(scale).sink([-1.5, 2.0, 1e30, -3e38][i % 4]);
            let function = AxisFunction::ALL[i % 4];
            worst = worst.max(hold(
                &backend,
                function,
                &shaping,
                &x,
                &[rows, 4],
                1,
                "a sink",
            ));
            for (shape, axis) in [(&[2, 2500][..], 1), (&[50, 100], 0)] {
                for function in [function, Softmax] {
                    let what = format!("{:?}", shapings[0]);
                    worst = worst.max(hold(
                        &backend,
                        function,
                        &shapings[0],
                        &long,
                        shape,
                        axis,
                        &what,
                    ));
                }
            }
        }
        println!("{:?}: {worst:.2} ULP", backend.kind());
    }
}

/// A bias and a scaled score of any size, also of sizes that cancel.
#[test]
fn biases_of_any_size() {
    let lowest = f32::MIN;
    let mut x = Vec::new();
    let mut bias = Vec::new();
    for n in (-100..=126).step_by(9) {
        let big = 2f64.powi(n) as f32;
        let near = numbers(4, n as u64 + 200, 8.0);
        for (i, &near) in near.iter().enumerate() {
            // The same bias all over; one that takes the score back; one that is beside it.
            x.extend([near, [big, -big, big * 0.5, 0.0][i], near]);
            bias.extend([-big, -[big, -big, big * 0.5, 0.0][i], big * near]);
        }
    }
    let pairs = x.len() / 12;
    // Rows of four: of each kind one.
    let by_kind = |from: &[f32]| -> Vec<f32> {
        (0..pairs * 3)
            .flat_map(|r| (0..4).map(move |i| (r / 3) * 12 + i * 3 + r % 3))
            .map(|i| from[i])
            .collect()
    };
    let (mut x, mut bias) = (by_kind(&x), by_kind(&bias));
    for (scores, biases) in [
        ([1.0, 2.0, 3.0, 2.5], [lowest; 4]),
        ([1.0, 2.0, 3.0, 2.5], [-1e20; 4]),
        (
            [
                -3e38,
                -3e38,
                f32::from_bits((-3e38f32).to_bits() - 1),
                -2.9e38,
            ],
            [lowest, lowest, lowest, -3.3e38],
        ),
        ([3e38, -3e38, 1.0, 2.0], [-3e38, 3e38, 0.5, 0.25]),
        ([1e20, 1.0, 3.0, -1e20], [-1e20, 0.5, 0.0, 1e20]),
    ] {
        x.extend(scores);
        bias.extend(biases);
    }
    let shape = [x.len() / 4, 4];
    for backend in common::backends() {
        let mut worst = 0.0f64;
        for &function in AxisFunction::ALL {
            let plain = Shaping::new().bias(&bias, &shape);
            for (i, shaping) in [
                plain,
                plain.scale(2.0),
                plain.scale(-0.7),
                plain.temperature(3e-20),
                plain.temperature(1e38),
                plain.sink(3.0),
                plain.scale(0.5).sink(-1e38),
            ]
            .into_iter()
            .enumerate()
            {
                let what = format!("biases, case {i}");
                worst = worst.max(hold(&backend, function, &shaping, &x, &shape, 1, &what));
            }
        }
        println!("{:?}: {worst:.2} ULP", backend.kind());
    }
}

/// Caps of any size, with scores that reach them and scores that do not.
#[test]
fn caps_of_any_size() {
    let mut x = Vec::new();
    for n in (-60..=120).step_by(4) {
        let size = 2f64.powi(n) as f32;
        x.extend(numbers(4, n as u64 + 300, size));
        x.extend([size, size * 1.0000002, size * 0.999, -size]);
    }
    x.extend([f32::INFINITY, 3.0, f32::NEG_INFINITY, f32::INFINITY]);
    let rows = x.len() / 4;
    let bias = numbers(x.len(), 77, 3.0);
    for backend in common::backends() {
        let mut worst = 0.0f64;
        for cap in [1e-30, 0.02, 1.0, 30.0, 50.0, 1e3, 1e6, 1e15, 1e38] {
            for scale in [1.0, -3.0, 1e-25, 1e25] {
                let shaping = Shaping::new().soft_cap(cap).scale(scale);
                for &function in AxisFunction::ALL {
                    let what = format!("cap {cap}, scale {scale}");
                    worst = worst.max(hold(&backend, function, &shaping, &x, &[rows, 4], 1, &what));
                }
                let what = format!("cap {cap}, scale {scale}, bias and sink");
                let shape = [rows, 4];
                let shaping = shaping.bias(&bias, &shape).sink(1.0);
                worst = worst.max(hold(&backend, Softmax, &shaping, &x, &[rows, 4], 1, &what));
            }
        }
        println!("{:?}: {worst:.2} ULP", backend.kind());
    }
}

/// Results that can be worked out by hand.
#[test]
fn scales_and_biases_by_hand() {
    let plain = Shaping::new();
    let third = [0.090_030_57, 0.244_728_47, 0.665_240_95];
    for backend in common::backends() {
        let run = |function: AxisFunction, shaping: &Shaping<'_>, x: &[f32]| {
            backend
                .apply(function.along(-1).shaped(shaping), shaping.inputs(x))
                .unwrap()
        };
        let one_hot: [(f32, f32, Shaping<'_>); 6] = [
            (14.25, 11.16, plain.temperature(1e-8)),
            (-3.66, -6.23, plain.temperature(1e-9)),
            (50.0, 49.0, plain.scale(1e37)),
            (3e38, 2e38, plain.scale(2.0)),
            (1.0, -1.0, plain.temperature(1e-40)),
            (-1.0, 1.0, plain.scale(-3e38)),
        ];
        for (a, b, shaping) in one_hot {
            assert_eq!(run(Softmax, &shaping, &[a, b]), [1.0, 0.0], "{shaping:?}");
            assert_eq!(run(LogSoftmax, &shaping, &[a, b])[0], 0.0, "{shaping:?}");
            let dx = backend.grad(
                Softmax.along(-1).shaped(&shaping),
                shaping.inputs(&[a, b]),
                &[1.0, 2.0],
            );
            assert_eq!(dx.unwrap(), [0.0, 0.0], "{shaping:?}");
        }
        let row: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
        let at = (0..256).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
        let y = run(Softmax, &plain.scale(1e9), &row);
        assert!((0..256).all(|i| y[i] == f32::from(u8::from(i == at))));
        let y = run(LogSumExp, &plain.temperature(0.7), &[2.5e38, 0.0]);
        assert_eq!(y, [f32::INFINITY]);
        for low in [f32::MIN, -1e20] {
            let bias = [low; 3];
            let y = run(Softmax, &plain.bias(&bias, &[3]), &[1.0, 2.0, 3.0]);
            for (y, want) in y.iter().zip(third) {
                assert!((y - want).abs() <= 2e-7 * want, "{y} {want}");
            }
        }
        // All temperatures but 0 have a meaning.
        let y = run(Softmax, &plain.temperature(1e38), &[1.0, 2.0]);
        assert_eq!(y, [0.5, 0.5]);
        let y = run(Softmax, &plain.temperature(2e38), &[2e38, 0.0]);
        assert!((y[0] - 0.731_058_6).abs() < 1e-7, "{y:?}");
        for (shaping, name) in [
            (plain.temperature(0.0), "temperature"),
            (plain.scale(0.0), "scale"),
            (plain.temperature(f32::INFINITY), "temperature"),
        ] {
            let error = backend
                .apply(Softmax.along(0).shaped(&shaping), shaping.inputs(&[1.0]))
                .unwrap_err();
            assert!(
                matches!(error, Error::ParameterOutOfRange { parameter, .. } if parameter == name),
                "{error}"
            );
        }
    }
}

/// A row of one is 1, no part is above the whole, and no logarithm of one above 0.
#[test]
fn nothing_is_above_one() {
    for backend in common::backends() {
        for (len, scale) in [
            (1usize, 90.0),
            (1, 1e-3),
            (2, 20.0),
            (2, 1.0),
            (3, 40.0),
            (7, 60.0),
            (40, 200.0),
            (3000, 9e3),
        ] {
            let rows = (70_000 / len).min(20_000);
            let x = numbers(rows * len, 61 + len as u64, scale);
            let shape = [rows, len];
            let keep = bytes(len, 62);
            let noise = numbers(x.len(), 63, 3.0);
            let gumbel = GumbelSoftmax::new(0.7, Random::new(1)).unwrap();
            let chain = Chain::new().axis(Softmax, -1);
            let results = [
                backend.apply(Softmax.along(-1), x.of_shape(&shape)),
                backend.apply(Softmin.along(-1), x.of_shape(&shape)),
                backend.apply(Softmax.along(-1), (x.of_shape(&shape), &keep)),
                backend.apply(Softmax.along(-1).scale(0.37), x.of_shape(&shape)),
                backend.apply(
                    Softmax.along(-1),
                    (x.of_shape(&shape), noise.of_shape(&shape)),
                ),
                backend.apply(gumbel.along(-1), (x.of_shape(&shape), &noise)),
                backend.apply_chain(&chain, &x, &shape, &[]),
            ];
            for (i, y) in results.into_iter().enumerate() {
                let y = y.unwrap();
                let most = y.iter().copied().fold(0.0, f32::max);
                assert!(most <= 1.0, "{i} of rows of {len}: {most}");
                let masked = i == 2 && keep[0] == 0;
                if len == 1 && !masked {
                    assert!(y.iter().all(|&y| y == 1.0), "{i}: rows of one");
                }
            }
            for y in [
                backend.apply(LogSoftmax.along(-1), x.of_shape(&shape)),
                backend.apply(LogSoftmax.along(-1).scale(0.37), x.of_shape(&shape)),
            ] {
                let y = y.unwrap();
                assert!(y.iter().all(|&y| y <= 0.0), "rows of {len}");
            }
        }
        // Columns, and one kept element of several.
        let x = numbers(6000, 64, 90.0);
        let y = backend
            .apply(Softmax.along(1), x.of_shape(&[2, 1, 3000]))
            .unwrap();
        assert!(y.iter().all(|&y| y == 1.0));
        let one = Shaping::new().lengths(&[1], &[1]);
        let y = backend.apply(
            Softmax.along(1).shaped(&one),
            one.inputs(x.of_shape(&[1000, 6])),
        );
        assert!(
            y.unwrap()
                .chunks(6)
                .all(|row| row == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        );
    }
}

/// PyTorch's softmax of a tensor without axes.
#[test]
fn an_array_without_axes_is_a_row_of_one() {
    for backend in common::backends() {
        for axis in [0, -1] {
            let apply = |function: AxisFunction| {
                backend
                    .apply(function.along(axis), [3.5].of_shape(&[]))
                    .unwrap()
            };
            assert_eq!(apply(Softmax), [1.0]);
            assert_eq!(apply(Softmin), [1.0]);
            assert_eq!(apply(LogSoftmax), [0.0]);
            assert_eq!(apply(LogSumExp), [3.5]);
            let dx = backend.grad(Softmax.along(axis), [3.5].of_shape(&[]), &[2.0]);
            assert_eq!(dx.unwrap(), [0.0]);
            let shaping = Shaping::new().scale(2.0).mask(&[1], &[]);
            let y = backend.apply(
                LogSumExp.along(axis).shaped(&shaping),
                shaping.inputs([3.5].of_shape(&[])),
            );
            assert_eq!(y.unwrap(), [7.0]);
        }
        for axis in [1, -2] {
            let error = backend
                .apply(Softmax.along(axis), [3.5].of_shape(&[]))
                .unwrap_err();
            assert!(
                matches!(error, Error::AxisOutOfRange { rank: 0, .. }),
                "{error}"
            );
        }
        let causal = Shaping::new().causal(Causal::UpperLeft);
        let error = backend.apply(
            Softmax.along(0).shaped(&causal),
            causal.inputs([3.5].of_shape(&[])),
        );
        assert!(matches!(error.unwrap_err(), Error::NoQueryAxis { .. }));
    }
}
