//! Rows of the softmax family in parts, however they are cut, against f64.

use wgpu_activations::{AxisFunction, Backend, OfShape, RowPart};

/// Rows that hurt: wide, far from 0, flat, with infinities, short of all but one.
fn rows(len: usize) -> Vec<Vec<f32>> {
    let number = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0;
    let of = |f: &dyn Fn(usize) -> f32| (0..len).map(f).collect::<Vec<f32>>();
    vec![
        of(&|i| number(i) * 6.0 - 3.0),
        of(&|i| number(i) * 200.0 - 100.0),
        of(&|i| 1e4 + number(i)),
        of(&|_| -1e30),
        of(&|i| if i == len / 2 { 80.0 } else { -80.0 }),
        of(&|i| {
            if i % 3 == 0 {
                number(i)
            } else {
                f32::NEG_INFINITY
            }
        }),
        of(&|i| (number(i) - 0.5) * 3e38),
    ]
}

/// Units in the last place of the larger of the value and `term`.
fn ulps(got: f32, want: f64, term: f64) -> f64 {
    if f64::from(got) == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if want.abs() < f64::from(f32::MIN_POSITIVE) && got.abs() < f32::MIN_POSITIVE {
        return 0.0;
    }
    let size = (want.abs().max(term) as f32).max(f32::MIN_POSITIVE);
    (f64::from(got) - want).abs() / f64::from(f32::from_bits(size.to_bits() + 1) - size)
}

/// Cuts of a row: one, two uneven, many, with empty ones, into single elements.
fn cuts(len: usize) -> Vec<Vec<usize>> {
    vec![
        vec![0, len],
        vec![0, 1, len],
        vec![0, len / 3, len / 3, len - 1, len],
        (0..=len).step_by((len / 17).max(1)).chain([len]).collect(),
        (0..=len.min(40)).chain([len]).collect(),
    ]
}

#[test]
fn every_cut_is_within_the_contract() {
    for len in [1, 2, 65, 1000] {
        let rows = rows(len);
        let count = rows.len();
        for cut in cuts(len) {
            let pieces: Vec<(Vec<f32>, [usize; 2])> = cut
                .windows(2)
                .map(|ends| {
                    let piece = rows.iter().flat_map(|row| row[ends[0]..ends[1]].to_vec());
                    (piece.collect(), [count, ends[1] - ends[0]])
                })
                .collect();
            let mut whole = RowPart::nothing(count);
            // From the last one on: the order does not matter.
            for (x, shape) in pieces.iter().rev() {
                whole.merge(&RowPart::of(x, shape, -1).unwrap()).unwrap();
            }
            let whole = RowPart::from_bytes(&whole.to_bytes()).unwrap();
            let totals = whole.logsumexp();
            let mut results = [AxisFunction::Softmax, AxisFunction::LogSoftmax].map(|function| {
                let results = pieces.iter().map(|(x, shape)| {
                    let mut y = vec![7.0; x.len()];
                    whole.apply_into(function, x, shape, 1, &mut y).unwrap();
                    (y, shape[1])
                });
                let mut all = vec![Vec::new(); count];
                for (y, width) in results {
                    for (row, all) in all.iter_mut().enumerate() {
                        all.extend_from_slice(&y[row * width..(row + 1) * width]);
                    }
                }
                all.into_iter()
            });
            for (i, row) in rows.iter().enumerate() {
                let max: f64 = row.iter().copied().fold(f32::NEG_INFINITY, f32::max).into();
                let differences = row.iter().map(|&x| f64::from(x) - max);
                let sum: f64 = differences.clone().map(f64::exp).sum();
                assert!(
                    ulps(totals[i], max + sum.ln(), 0.0) <= 2.0,
                    "{len} {cut:?} row {i}"
                );
                let [p, log] = results.each_mut().map(|all| all.next().unwrap());
                for ((d, p), log) in differences.zip(p).zip(log) {
                    assert!(
                        ulps(p, d.exp() / sum, 0.0) <= 2.0,
                        "{len} {cut:?} row {i}: {p}"
                    );
                    assert!(
                        ulps(log, d - sum.ln(), 0.0) <= 2.0,
                        "{len} {cut:?} row {i}: {log}"
                    );
                }
            }
        }
    }
}

/// Along any axis, gradients too: what the whole array gives.
#[test]
fn gradients_along_any_axis() {
    let (a, b, c) = (5, 12, 7);
    let number = |i: usize| ((i * 37) % 101) as f32 / 16.0 - 3.0;
    let x: Vec<f32> = (0..a * b * c).map(number).collect();
    let dy: Vec<f32> = (0..a * b * c).map(|i| number(i * 5 + 3)).collect();
    let backend = Backend::cpu();
    for axis in [0, 1, 2] {
        for function in [AxisFunction::Softmax, AxisFunction::LogSoftmax] {
            let operation = function.along(axis);
            let want = backend
                .grad(operation, x.of_shape(&[a, b, c]), &dy)
                .unwrap();
            // Parts along the axis: the array's index along it is below the cut, or not.
            let place = |i: usize| [i / (b * c), i / c % b, i % c][axis as usize];
            let mut shapes = [[a, b, c]; 2];
            let cut = 3;
            shapes[0][axis as usize] = cut;
            shapes[1][axis as usize] -= cut;
            let of = |all: &[f32], second: bool| -> Vec<f32> {
                let kept = (0..all.len()).filter(|&i| (place(i) >= cut) == second);
                kept.map(|i| all[i]).collect()
            };
            let parts = [false, true].map(|second| {
                let shape = &shapes[usize::from(second)];
                RowPart::of_gradient(&of(&x, second), &of(&dy, second), shape, axis).unwrap()
            });
            let mut whole = RowPart::nothing_of_gradient(parts[0].rows());
            whole.merge(&parts[1]).unwrap();
            whole.merge(&parts[0]).unwrap();
            for second in [false, true] {
                let (x, dy) = (of(&x, second), of(&dy, second));
                let mut dx = vec![0.0; x.len()];
                let shape = &shapes[usize::from(second)];
                whole
                    .grad_into(function, &x, &dy, shape, axis, &mut dx)
                    .unwrap();
                for (got, want) in dx.iter().zip(of(&want, second)) {
                    assert!(
                        (got - want).abs() <= 1e-6,
                        "{function} {axis}: {got} {want}"
                    );
                }
            }
        }
    }
}

/// NaN and infinities make of a row what they make of it in one piece.
#[test]
fn rows_without_a_softmax() {
    let nan = f32::NAN;
    for (row, total) in [
        ([1.0, nan, 2.0, 3.0], nan),
        ([1.0, f32::INFINITY, 2.0, 3.0], f32::INFINITY),
        ([f32::NEG_INFINITY; 4], f32::NEG_INFINITY),
    ] {
        let mut whole = RowPart::of(&row[..2], &[2], 0).unwrap();
        whole
            .merge(&RowPart::of(&row[2..], &[2], 0).unwrap())
            .unwrap();
        let got = whole.logsumexp()[0];
        assert!(
            got == total || (got.is_nan() && total.is_nan()),
            "{row:?}: {got}"
        );
        let mut y = [0.0; 2];
        whole
            .apply_into(AxisFunction::Softmax, &row[2..], &[2], 0, &mut y)
            .unwrap();
        assert!(y.iter().all(|y| y.is_nan()), "{row:?}: {y:?}");
        let y = whole.log_softmax_of(&[row[3]]).unwrap();
        assert!(y[0].is_nan());
    }
    assert_eq!(RowPart::nothing(2).logsumexp(), [f32::NEG_INFINITY; 2]);
}

#[test]
fn mistakes_are_errors() {
    let part = RowPart::of(&[1.0; 6], &[2, 3], 1).unwrap();
    let mut y = [0.0; 6];
    let text = |error: wgpu_activations::Error| error.to_string();
    let mut other = part.clone();
    let error = text(other.merge(&RowPart::nothing(3)).unwrap_err());
    assert!(error.contains("rows"), "{error}");
    let error = text(other.merge(&RowPart::nothing_of_gradient(2)).unwrap_err());
    assert!(error.contains("its own kind"), "{error}");
    let error = part.apply_into(AxisFunction::Softmin, &[1.0; 6], &[2, 3], 1, &mut y);
    assert!(text(error.unwrap_err()).contains("softmax and log_softmax"));
    let error = part.apply_into(AxisFunction::Softmax, &[1.0; 6], &[2, 3], 0, &mut y);
    assert!(text(error.unwrap_err()).contains("rows"));
    let error = part.grad_into(AxisFunction::Softmax, &y, &y, &[2, 3], 1, &mut [0.0; 6]);
    assert!(text(error.unwrap_err()).contains("for gradients"));
    assert!(RowPart::of(&[1.0; 6], &[2, 4], 1).is_err());
    let bytes = part.to_bytes();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[1..], &[]] {
        let error = text(RowPart::from_bytes(damaged).unwrap_err());
        assert!(error.contains("other bytes"), "{error}");
    }
}
