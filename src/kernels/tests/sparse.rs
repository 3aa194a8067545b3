//! The kin of softmax and random numbers on devices of all kinds: every strategy and every cut.

use super::{disguises, gpu, run, values, whole, wrong};
use crate::gumbel::GumbelSoftmax;
use crate::kernels::{Kernels, steps_of};
use crate::maxout::Groups;
use crate::plan::{self, Traits};
use crate::random::Random;
use crate::reference;
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

const SHAPES: [(usize, usize, usize); 6] = [
    (70, 3, 1),
    (3, 257, 1),
    (1, 1, 1),
    (1, 5001, 1),
    (2, 700, 5),
    (3, 33, 40),
];

#[test]
fn every_device_finds_the_same_support() {
    let Some(gpu) = gpu() else { return };
    let mut strategies = std::collections::BTreeSet::new();
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for (i, (outer, len, inner)) in SHAPES.into_iter().enumerate() {
            let shape = AxisShape { outer, len, inner };
            let x = values(shape.elements(), i as u32);
            let dy = values(x.len(), 100 + i as u32);
            let rounding = (len as f64).log2().ceil().max(1.0) * 2f64.powi(-24);
            for function in [
                SparseFunction::Hardmax,
                SparseFunction::Sparsemax,
                SparseFunction::Entmax { alpha: 1.5 },
                SparseFunction::Entmax { alpha: 1.2 },
                SparseFunction::Entmax { alpha: 3.0 },
            ] {
                // Entmax 1.5 has the general one's passes, and a steep one takes many.
                if i % 2 == 0 && matches!(function, SparseFunction::Entmax { alpha: 1.5 | 3.0 }) {
                    continue;
                }
                let plan = plan::axis_within(&shape, &traits, steps_of(function.rule().unwrap()));
                let plan = plan.unwrap_or_else(|| panic!("{shape:?} on {traits:?}"));
                let name = format!("{:?}", plan.strategy);
                strategies.insert(name.split(' ').next().unwrap_or_default().to_owned());
                strategies.extend((plan.chunks_per_row > 1).then(|| "cut rows".to_owned()));
                let what = format!("{function} of {shape:?} on {traits:?}, {plan:?}");
                let [tx, tdy, y, dx, direct] =
                    [&x, &dy, &x, &x, &x].map(|v| gpu.upload(v, &[v.len()]).unwrap());
                let [bx, bdy, by, bdx, bdirect] = [&tx, &tdy, &y, &dx, &direct].map(whole);
                run(&gpu, |pass| {
                    kernels.apply_sparse(pass, function, &shape, bx, by)?;
                    kernels.grad_sparse_from_output(pass, function, &shape, by, bdy, bdx)?;
                    kernels.grad_sparse(pass, function, &shape, bx, bdy, bdirect)
                })
                .unwrap();
                let [y, dx, direct] = [&y, &dx, &direct].map(|t| t.read().unwrap());
                let want = reference::sparse::forward_within(function, &x, &shape, rounding);
                for (j, (&got, want)) in y.iter().zip(&want).enumerate() {
                    let error = want.ulp(got);
                    assert!(error <= 4.0, "{what} {j}: {got:e} instead of {want:?}");
                }
                let outputs: Vec<f64> = y.iter().map(|&y| y.into()).collect();
                let (want, largest) =
                    reference::sparse::from_output(function, &outputs, &dy, &shape);
                assert_eq!(wrong(&dx, &want, &largest, 4.0), None, "{what}'");
                assert_eq!(dx, direct, "{what}' from the input");
            }
        }
    }
    let all = ["RowPerInvocation", "RowPerWorkgroup", "Split", "cut rows"];
    assert_eq!(strategies, all.map(str::to_owned).into());
}

#[test]
fn every_device_draws_and_picks_the_same() {
    let Some(gpu) = gpu() else { return };
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for (i, (outer, len, inner)) in SHAPES.into_iter().enumerate() {
            let shape = AxisShape { outer, len, inner };
            let what = format!("{shape:?} on {traits:?}");
            // Few values, so that there are ties.
            let x: Vec<f32> = values(shape.elements(), i as u32)
                .into_iter()
                .map(|x| x.round())
                .collect();
            let dy = values(x.len(), 200 + i as u32);
            let rows = shape.rows();
            let random = Random::new(3).stream(9).starting_at(i as u64);
            let gumbel = GumbelSoftmax::new(1.7, random).unwrap();
            let [tx, tdy, noise, soft, hard, dx, winners] =
                [(); 7].map(|()| gpu.upload(&x, &[x.len()]).unwrap());
            let maxima = gpu.upload(&x[..rows], &[rows]).unwrap();
            let tdy = gpu.upload(&dy, tdy.shape()).unwrap();
            let groups = Groups::of_rows(shape);
            run(&gpu, |pass| {
                let [bx, bdy] = [&tx, &tdy].map(whole);
                kernels.gumbel_noise(pass, random, whole(&noise))?;
                kernels.gumbel_softmax(pass, gumbel, &shape, bx, whole(&soft))?;
                kernels.gumbel_softmax(pass, gumbel.hard(true), &shape, bx, whole(&hard))?;
                kernels.grad_gumbel_softmax(pass, gumbel, &shape, bx, bdy, whole(&dx))?;
                kernels.maxout(pass, &groups, bx, whole(&maxima))?;
                let upstream = tdy.buffer().slice(..rows as u64 * 4);
                kernels.grad_maxout(pass, &groups, bx, upstream, whole(&winners))
            })
            .unwrap();
            let [noise, soft, hard, dx, winners, maxima] =
                [&noise, &soft, &hard, &dx, &winners, &maxima].map(|t| t.read().unwrap());
            assert_eq!(maxima, reference::maxout::forward(&x, &shape), "{what}");
            let want = reference::maxout::backward(&x, &dy[..rows], &shape);
            assert_eq!(winners, want, "{what}");
            for (j, &got) in noise.iter().enumerate() {
                let want = reference::random::gumbel(random, j as u64);
                assert!(reference::ulp_error(got, want, 0.0) <= 2.0, "{what} {j}");
            }
            let rounding = (len as f64).log2().ceil();
            let want = reference::gumbel::forward(1.7, &x, &noise, &shape);
            assert_eq!(
                wrong(&soft, &want, &vec![0.0; x.len()], rounding),
                None,
                "{what}"
            );
            let (want, largest) = reference::gumbel::backward(1.7, &x, &noise, &dy, &shape);
            assert_eq!(wrong(&dx, &want, &largest, 2.0 * rounding), None, "{what}");
            let sums: Vec<f32> = x.iter().zip(&noise).map(|(x, noise)| x + noise).collect();
            let want = reference::sparse::forward(SparseFunction::Hardmax, &sums, &shape);
            assert!(
                hard.iter().zip(want).all(|(&y, want)| f64::from(y) == want),
                "{what}"
            );
        }
    }
}
