//! The parametric rectifier on every backend against the f64 reference.

mod common;

use common::backends;
use wgpu_activations::reference::{prelu as reference, ulp_error};
use wgpu_activations::{Backend, Error, Prelu};

fn values(n: usize, seed: u32) -> Vec<f32> {
    let hash = |i: u32| (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) >> 8;
    // 24 bits, between -8 and 8.
    (0..n as u32)
        .map(|i| hash(hash(i)) as f32 / 1_048_576.0 - 8.0)
        .collect()
}

/// The slope's index of each element by NumPy's rule, found the plain way.
fn broadcast(shape: &[usize], slope: &[usize]) -> Vec<usize> {
    let n: usize = shape.iter().product();
    let index = |flat: usize| {
        let (mut rest, mut at, mut stride) = (flat, 0, 1);
        for axis in (0..shape.len()).rev() {
            let i = rest % shape[axis];
            rest /= shape[axis];
            let behind = shape.len() - axis;
            if let Some(k) = slope.len().checked_sub(behind) {
                at += stride * if slope[k] == 1 { 0 } else { i };
                stride *= slope[k];
            }
        }
        at
    };
    (0..n).map(index).collect()
}

/// An operation and the slope's index of each element.
fn cases() -> Vec<(Prelu, Vec<usize>)> {
    let mut cases = Vec::new();
    let shapes: [(&[usize], &[usize]); 16] = [
        (&[], &[]),
        (&[1], &[1]),
        (&[7], &[7]),
        (&[7], &[1]),
        (&[3, 8], &[8]),
        (&[3, 7], &[7]),
        (&[2, 3, 4, 5], &[3, 1, 1]),
        (&[2, 3, 4, 6], &[3, 1, 1]),
        (&[2, 3, 4, 5], &[1, 3, 1, 5]),
        (&[2, 3, 4, 5], &[2, 1, 4, 1]),
        (&[2, 3, 4], &[2, 3, 4]),
        (&[300, 257], &[257]),
        (&[3, 40, 50, 20], &[40, 1, 1]),
        (&[5, 1], &[5, 1]),
        (&[0, 3], &[3]),
        (&[2, 3, 2, 3, 2], &[2, 1, 2, 1, 2]),
    ];
    for (shape, slope) in shapes {
        let prelu = Prelu::broadcast(shape, slope).unwrap();
        cases.push((prelu, broadcast(shape, slope)));
    }
    for shape in [&[100_003][..], &[2, 3], &[4, 3, 17]] {
        let channels = if shape.len() < 2 { 1 } else { shape[1] };
        let mut of = vec![1; shape.len()];
        if let [_, c, ..] = &mut of[..] {
            *c = channels;
        }
        cases.push((Prelu::per_channel(shape).unwrap(), broadcast(shape, &of)));
        let one = vec![1; shape.len()];
        cases.push((Prelu::shared(shape).unwrap(), broadcast(shape, &one)));
    }
    cases.push((
        Prelu::along(&[6, 5], 0).unwrap(),
        broadcast(&[6, 5], &[6, 1]),
    ));
    cases
}

/// The first gradient by a slope that is further from the exact sum than 4 ULP and the rounding
/// of a pairwise f32 sum.
fn wrong_slope(got: &[f32], x: &[f32], dy: &[f32], of: &[usize]) -> Option<String> {
    let mut sums = vec![(0.0, 0.0, 0); got.len()];
    for ((&x, &dy), &k) in x.iter().zip(dy).zip(of) {
        let term = reference::slope_term(x.into(), dy.into());
        sums[k].0 += term;
        sums[k].1 += term.abs();
        sums[k].2 += 1;
    }
    let far = |k: &usize| {
        let (want, size, n) = sums[*k];
        let levels = f64::from(n).log2().ceil().max(0.0);
        let allowed = size * levels * 2f64.powi(-24);
        let off = (f64::from(got[*k]) - want).abs() - allowed;
        // A sum that is NaN is right where it must be.
        if want.is_nan() || got[*k].is_nan() {
            return want.is_nan() != got[*k].is_nan();
        }
        off > 0.0 && ulp_error(got[*k], want, 0.0) > 4.0
    };
    let first = (0..got.len()).find(far)?;
    Some(format!(
        "{:e} instead of {:e} at {first}",
        got[first], sums[first].0
    ))
}

#[test]
fn every_sharing_of_slopes() {
    for backend in backends() {
        for (prelu, of) in cases() {
            let n = prelu.elements();
            let (x, dy) = (values(n, 1), values(n, 2));
            let slope = values(prelu.slopes(), 3);
            let what = format!("{} {prelu:?}", backend.kind());
            let y = backend.apply(&prelu, (&x, &slope)).unwrap();
            let [dx, dslope] = backend
                .grads(&prelu, (&x, &slope), &dy)
                .unwrap()
                .try_into()
                .unwrap();
            for (i, &k) in of.iter().enumerate() {
                let (x, slope, dy) = (x[i].into(), slope[k].into(), dy[i].into());
                let want = reference::forward(x, slope);
                assert!(ulp_error(y[i], want, 0.0) <= 0.5, "{what}, {i}");
                let want = reference::backward(x, slope, dy);
                assert!(ulp_error(dx[i], want, 0.0) <= 0.5, "{what}, {i}");
            }
            assert_eq!(dslope.len(), prelu.slopes());
            assert_eq!(wrong_slope(&dslope, &x, &dy, &of), None, "{what}");
            let again = backend.grads(&prelu, (&x, &slope), &dy).unwrap();
            assert_eq!(again, [dx, dslope], "{what}");
        }
    }
}

/// More elements than travel at a time, with a sum that a naive one misses.
#[test]
fn pieces() {
    for backend in backends() {
        for shape in [&[2, 3, 700_003][..], &[4_200_001]] {
            let prelu = Prelu::per_channel(shape).unwrap();
            let n = prelu.elements();
            let mut x = values(n, 5);
            for (i, x) in x.iter_mut().enumerate() {
                if i % 3 == 0 {
                    *x = -0.001;
                }
            }
            x[0] = -1e7;
            let mut dy = vec![1.0; n];
            dy[1] = -1e7 / x[1].abs();
            x[1] = -x[1].abs();
            let slope = values(prelu.slopes(), 3);
            let ones = vec![1; shape.len()];
            let mut of = ones.clone();
            if shape.len() > 1 {
                of[1] = shape[1];
            }
            let of = broadcast(shape, &of);
            let [dx, dslope] = backend
                .grads(&prelu, (&x, &slope), &dy)
                .unwrap()
                .try_into()
                .unwrap();
            assert_eq!(wrong_slope(&dslope, &x, &dy, &of), None, "{shape:?}");
            let y = backend.apply(&prelu, (&x, &slope)).unwrap();
            for (i, &k) in of.iter().enumerate() {
                assert_eq!(y[i], if x[i] > 0.0 { x[i] } else { slope[k] * x[i] });
                assert_eq!(dx[i], if x[i] > 0.0 { dy[i] } else { slope[k] * dy[i] });
            }
        }
    }
}

#[test]
fn special_numbers() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for backend in backends() {
        let prelu = Prelu::broadcast(&[8], &[8]).unwrap();
        let x = [0.0, -0.0, nan, -inf, inf, -2.0, -inf, 3.0];
        let slope = [2.0, 0.5, 0.25, 0.0, nan, inf, -1.0, nan];
        let dy = [3.0, 3.0, 2.0, 1.0, 1.0, 0.0, 0.0, inf];
        let y = backend.apply(&prelu, (&x, &slope)).unwrap();
        assert_eq!((y[0], y[1], y[3], y[4]), (0.0, 0.0, 0.0, inf));
        assert!(y[2].is_nan());
        assert_eq!(y[5..], [-inf, inf, 3.0]);
        let [dx, dslope] = backend
            .grads(&prelu, (&x, &slope), &dy)
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(dx[..4], [6.0, 1.5, 0.5, 0.0]);
        assert_eq!((dx[4], dx[5], dx[6], dx[7]), (1.0, 0.0, 0.0, inf));
        assert_eq!((dslope[0], dslope[1], dslope[3]), (0.0, 0.0, -inf));
        assert!(dslope[2].is_nan());
        assert_eq!(dslope[4..], [0.0; 4]);
        // Nothing has a gradient of 0.
        let empty = Prelu::per_channel(&[0, 2]).unwrap();
        let [dx, dslope] = backend
            .grads(&empty, (&[], &[1.0, 2.0]), &[])
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!((dx, dslope), (vec![], vec![0.0, 0.0]));
    }
}

#[test]
fn wrong_arguments_are_errors() {
    for backend in backends() {
        let prelu = Prelu::per_channel(&[2, 3, 2]).unwrap();
        let x = [1.0; 12];
        let error = backend.apply(&prelu, (&x, &[0.1; 2])).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(
                error,
                Error::SlopeLength {
                    expected: 3,
                    got: 2,
                    ..
                }
            ),
            "{text}"
        );
        assert!(
            text.contains("axis 1") && text.contains("[2, 3, 2]"),
            "{text}"
        );
        assert!(backend.apply(&prelu, (&x[1..], &[0.1; 3])).is_err());
        assert!(backend.grads(&prelu, (&x, &[0.1; 3]), &x[1..]).is_err());
    }
}

/// The measure objects to a sum of the wrong elements, and to one that is a little off.
#[test]
fn wrong_sums_are_seen() {
    let of = broadcast(&[4, 3], &[3]);
    let (x, dy) = (values(12, 1), values(12, 2));
    let prelu = Prelu::broadcast(&[4, 3], &[3]).unwrap();
    let right = Backend::cpu()
        .grad_by(&prelu, "slope", (&x, &[0.0; 3]), &dy)
        .unwrap();
    assert_eq!(wrong_slope(&right, &x, &dy, &of), None);
    let swapped = [right[1], right[0], right[2]];
    assert!(wrong_slope(&swapped, &x, &dy, &of).is_some());
    let off = [right[0], right[1], right[2] * 1.000_01];
    assert!(wrong_slope(&off, &x, &dy, &of).is_some());
}

/// The device level computes what the host level does.
#[test]
fn tensors() {
    let Some(Backend::Gpu(gpu)) = backends()
        .into_iter()
        .find(|b| matches!(b, Backend::Gpu(_)))
    else {
        return;
    };
    let backend = Backend::Gpu(gpu.clone());
    let shape = [4, 3, 5];
    let prelu = Prelu::per_channel(&shape).unwrap();
    let (x, dy, slope) = (values(60, 1), values(60, 2), values(3, 3));
    let [tx, tdy] = [&x, &dy].map(|v| gpu.upload(v, &shape).unwrap());
    let tslope = gpu.upload(&slope, &[3]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(&prelu, (&tx, &tslope)).unwrap();
    let by_both = batch.grads(&prelu, (&tx, &tslope), &tdy).unwrap();
    assert!(batch.apply(&prelu, (&tslope, &tslope)).is_err());
    assert!(batch.apply(&prelu, (&tx, &tx)).is_err());
    let none = Prelu::per_channel(&[0, 3]).unwrap();
    let empty = gpu.upload(&[0.0f32; 0], &[0, 3]).unwrap();
    let of_none = batch.grads(&none, (&empty, &tslope), &empty).unwrap();
    batch.submit().unwrap();
    assert_eq!(of_none[1].read().unwrap(), [0.0; 3]);
    assert_eq!(
        y.read().unwrap(),
        backend.apply(&prelu, (&x, &slope)).unwrap()
    );
    let want = backend.grads(&prelu, (&x, &slope), &dy).unwrap();
    let by_both: Vec<_> = by_both.iter().map(|by| by.read().unwrap()).collect();
    assert_eq!(by_both, want);
}
