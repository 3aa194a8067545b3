//! Sums on devices of all kinds: every piece, lane and merge.

use super::{disguises, gpu, run, values, whole};
use crate::kernels::Kernels;
use crate::plan::{self, Traits};
use crate::sum::SumShape;

/// Each sum in f64 with its size, the sum of magnitudes; sums are found the plain way.
fn exact(shape: &SumShape, x: &[f32]) -> Vec<(f64, f64)> {
    let [k1, r1, k2, r2, k3, r3] = shape.groups;
    let mut sums = vec![(0.0, 0.0); shape.sums()];
    let mut at = 0;
    for a in 0..k1 {
        for _ in 0..r1 {
            for b in 0..k2 {
                for _ in 0..r2 {
                    for c in 0..k3 {
                        for _ in 0..r3 {
                            let (sum, size) = &mut sums[(a * k2 + b) * k3 + c];
                            *sum += f64::from(x[at]);
                            *size += f64::from(x[at]).abs();
                            at += 1;
                        }
                    }
                }
            }
        }
    }
    sums
}

/// The first sum that is not the exact one, rounded to f32 or next to it.
fn wrong(got: &[f32], want: &[(f64, f64)]) -> Option<String> {
    let far = |i: &usize| {
        let (want, size) = want[*i];
        let allowed = want.abs() * 2f64.powi(-23) + size * 2f64.powi(-40);
        got[*i].is_nan() || (f64::from(got[*i]) - want).abs() > allowed
    };
    let first = (0..got.len()).find(far)?;
    Some(format!(
        "{:e} instead of {:e} at {first}",
        got[first], want[first].0
    ))
}

#[test]
fn every_device_sums_the_same() {
    let Some(gpu) = gpu() else { return };
    let (mut direct, mut cut) = (0, 0);
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for groups in [
            [1, 1, 1, 1, 1, 1],
            [7, 1, 1, 1, 1, 1],
            [1, 100_003, 1, 1, 1, 1],
            [3, 5000, 1, 1, 1, 1],
            [1, 40, 3, 700, 1, 1],
            [1, 600, 50, 1, 1, 1],
            [2, 3, 4, 5, 6, 7],
            [1, 3, 5, 41, 7, 11],
            [1500, 3, 1, 1, 1, 1],
            [1, 2, 2, 6000, 1, 1],
        ] {
            let shape = SumShape { groups };
            let Some(plan) = plan::sum(&shape, &traits) else {
                panic!("{shape:?} on {traits:?}");
            };
            direct += usize::from(plan.direct());
            cut += usize::from(plan.pieces_per_row > 1);
            let x = values(shape.elements(), 3);
            let tx = gpu.upload(&x, &[x.len()]).unwrap();
            let sums = [(); 2].map(|()| {
                let sums = gpu
                    .upload(&vec![9.0; shape.sums()], &[shape.sums()])
                    .unwrap();
                run(&gpu, |pass| {
                    kernels.sum(pass, &shape, whole(&tx), whole(&sums))
                })
                .unwrap();
                sums.read().unwrap()
            });
            let want = exact(&shape, &x);
            assert_eq!(
                wrong(&sums[0], &want),
                None,
                "{groups:?} on {traits:?}, {plan:?}"
            );
            assert_eq!(sums[0], sums[1]);
        }
    }
    assert!(direct > 5 && cut > 3, "{direct}, {cut}");
}

/// What was lost comes back: a naive sum is 0 or 5 % off here.
#[test]
fn sums_are_compensated() {
    let Some(gpu) = gpu() else { return };
    let n = 300_000;
    let mut x = vec![0.1f32; n];
    x[0] = 1e8;
    x[n - 1] = -1e8;
    let shape = SumShape::new(&[n], &[0]).unwrap();
    let [x, sum] = [&x[..], &[0.0]].map(|v| gpu.upload(v, &[v.len()]).unwrap());
    let kernels = gpu.kernels();
    run(&gpu, |pass| {
        kernels.sum(pass, &shape, whole(&x), whole(&sum))
    })
    .unwrap();
    let want = (n - 2) as f64 * f64::from(0.1f32);
    assert_eq!(wrong(&sum.read().unwrap(), &[(want, 2e8)]), None);
    assert_eq!(sum.read().unwrap()[0], want as f32);
}

/// Infinities and NaN stay what they are; nothing is no term.
#[test]
fn special_terms() {
    let Some(gpu) = gpu() else { return };
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [
        1.0, inf, 2.0, -inf, 3.0, 1.0, nan, 1.0, inf, 3e38, 3e38, 1.0,
    ];
    let shape = SumShape::new(&[4, 3], &[1]).unwrap();
    let [x, sums] = [&x[..], &[0.0; 4]].map(|v| gpu.upload(v, &[v.len()]).unwrap());
    let kernels = gpu.kernels();
    run(&gpu, |pass| {
        kernels.sum(pass, &shape, whole(&x), whole(&sums))
    })
    .unwrap();
    let got = sums.read().unwrap();
    assert_eq!((got[0], got[1], got[3]), (inf, -inf, inf));
    assert!(got[2].is_nan());
    let shape = SumShape::new(&[0, 4], &[0]).unwrap();
    run(&gpu, |pass| {
        kernels.sum(pass, &shape, whole(&x), whole(&sums))
    })
    .unwrap();
    assert_eq!(sums.read().unwrap(), [0.0; 4]);
}

#[test]
fn wrong_sums_are_seen() {
    assert_eq!(wrong(&[1.0], &[(1.0, 1.0)]), None);
    assert!(wrong(&[1.000_001], &[(1.0, 1.0)]).is_some());
    assert!(wrong(&[f32::NAN], &[(1.0, 1.0)]).is_some());
}
