//! Kernels that believe to be on another device: whatever adapter is there runs the strategies of
//! all kinds of devices, and is cut as devices of all sizes would be.

pub(super) mod isa;
mod shaping;
mod sparse;
mod sum;

use super::*;
use crate::plan::{self, Walk};
use crate::shape::AxisShape;
use crate::{Backend, Gpu, Tensor, reference};
use std::io::Write;

/// The adapter's GPU; else the test is skipped, or fails where one is required, as `tests/` do.
fn gpu() -> Option<Gpu> {
    match Backend::gpu() {
        Ok(Backend::Gpu(gpu)) => Some(gpu),
        Err(error @ Error::NoAdapter { .. }) => {
            let is = |name, value| std::env::var(name).is_ok_and(|v| v == value);
            let required = is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1");
            assert!(!required, "an adapter is required: {error}");
            // Where nobody reads it, nothing is lost.
            let _ = writeln!(std::io::stdout(), "SKIPPED: {error}");
            None
        }
        other => panic!("the GPU backend does not open: {other:?}"),
    }
}

/// What the adapter can do at least, as if it were another.
fn disguises(own: Traits) -> Vec<Traits> {
    let hardware = Traits {
        software: false,
        walk: Walk::of(false, false),
        ..own
    };
    let software = Traits {
        software: true,
        walk: Walk {
            wide: own.walk.wide,
            narrow: own.walk.narrow,
            ..Walk::of(true, false)
        },
        ..own
    };
    vec![
        hardware,
        software,
        // Odd workgroups that no tree halves, in folds of many rows.
        Traits {
            max_invocations: 7,
            max_groups: 50,
            ..hardware
        },
        // 4096 elements a binding, of which some lie before the first that is needed.
        Traits {
            max_binding: 16_384,
            alignment: 256,
            ..hardware
        },
        Traits {
            max_binding: 16_384,
            alignment: 256,
            max_invocations: 32,
            ..software
        },
    ]
}

fn values(n: usize, seed: u32) -> Vec<f32> {
    let hash = |i: u32| (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) >> 8;
    // 24 bits, between -8 and 8.
    (0..n as u32)
        .map(|i| hash(hash(i)) as f32 / 1_048_576.0 - 8.0)
        .collect()
}

/// Records `work` into a pass and submits it.
fn run(gpu: &Gpu, work: impl FnOnce(&mut wgpu::ComputePass<'_>) -> Result<()>) -> Result<()> {
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let recorded = work(&mut encoder.begin_compute_pass(&Default::default()));
    gpu.queue().submit([encoder.finish()]);
    recorded
}

fn whole(tensor: &Tensor) -> wgpu::BufferSlice<'_> {
    tensor.buffer().slice(..tensor.len() as u64 * 4)
}

/// The first result that is further from the reference than 4 ULP and the rounding of a sum.
fn wrong(got: &[f32], want: &[f64], largest: &[f64], rounding: f64) -> Option<String> {
    assert_eq!(got.len(), want.len());
    let far = |i: &usize| {
        let bound = 4.0 + 2.0 * rounding;
        let (got, want, largest) = (got[*i], want[*i], largest[*i]);
        reference::ulp_error(got, want, largest) > bound
    };
    let first = (0..got.len()).find(far)?;
    Some(format!(
        "{:e} instead of {:e} at {first}",
        got[first], want[first]
    ))
}

#[test]
fn every_strategy_of_every_device_computes_the_same() {
    let Some(gpu) = gpu() else { return };
    let mut strategies = std::collections::BTreeSet::new();
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for (i, (outer, len, inner)) in [
            (600, 40, 1),
            (3, 257, 1),
            (520, 100, 1),
            (1, 1, 1),
            (70, 3, 1),
            (2, 3001, 1),
            (1, 9001, 1),
            (2, 700, 5),
            (3, 33, 40),
        ]
        .into_iter()
        .enumerate()
        {
            let shape = AxisShape { outer, len, inner };
            let n = shape.elements();
            let x = values(n, i as u32);
            let dy = values(n, 100 + i as u32);
            let rounding = (len as f64).log2().ceil();
            let Some(plan) = plan::axis(&shape, &traits) else {
                panic!("{shape:?} on {traits:?}");
            };
            let name = format!("{:?}", plan.strategy);
            strategies.insert(name.split(' ').next().unwrap_or_default().to_owned());
            strategies.extend((plan.chunks_per_row > 1).then(|| "cut rows".to_owned()));
            for &function in AxisFunction::ALL {
                let what = format!("{function} of {shape:?} on {traits:?}, {plan:?}");
                let rows = shape.output_elements(function);
                let dy = &dy[..rows];
                let [tx, tdy, y, dx] =
                    [&x[..], dy, dy, &x].map(|v| gpu.upload(v, &[v.len()]).unwrap());
                let [bx, bdy, by, bdx] = [&tx, &tdy, &y, &dx].map(whole);
                run(&gpu, |pass| {
                    kernels.apply_axis(pass, function, &shape, bx, by)?;
                    kernels.grad_axis(pass, function, &shape, bx, bdy, bdx)
                })
                .unwrap();
                let [y, dx] = [&y, &dx].map(|t| t.read().unwrap());
                let want = reference::axis_forward(function, &x, &shape);
                // Logarithms are differences of numbers of this size.
                let largest = match function {
                    AxisFunction::Softmax | AxisFunction::Softmin => vec![0.0; rows],
                    AxisFunction::LogSoftmax | AxisFunction::LogSumExp => vec![1.0; rows],
                };
                assert_eq!(wrong(&y, &want, &largest, rounding), None, "{what}");
                let (want, largest) = reference::axis_backward(function, &x, dy, &shape);
                assert_eq!(wrong(&dx, &want, &largest, 2.0 * rounding), None, "{what}'");
                if function.reduces() {
                    continue;
                }
                run(&gpu, |pass| {
                    kernels.grad_axis_in_place(pass, function, &shape, bx, bdy)?;
                    kernels.apply_axis_in_place(pass, function, &shape, bx)
                })
                .unwrap();
                assert_eq!(tx.read().unwrap(), y, "{what} in place");
                assert_eq!(tdy.read().unwrap(), dx, "{what}' in place");
            }
        }
        gpu.wait().unwrap();
    }
    let all = ["RowPerInvocation", "RowPerWorkgroup", "Split", "cut rows"];
    assert_eq!(strategies, all.map(str::to_owned).into());
}

#[test]
fn elements_are_cut_for_every_device() {
    let Some(gpu) = gpu() else { return };
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for n in [1, 3, 4095, 4096, 4097, 12_289, 100_003] {
            let x = values(n, 7);
            let [tx, y] = [(); 2].map(|()| gpu.upload(&x, &[n]).unwrap());
            let [bx, by] = [&tx, &y].map(whole);
            run(&gpu, |pass| {
                kernels.apply(pass, Activation::Relu, bx, by)?;
                kernels.grad_in_place(pass, Activation::Relu, by, bx)
            })
            .unwrap();
            let want: Vec<f32> = x.iter().map(|&x| if x > 0.0 { x } else { 0.0 }).collect();
            assert_eq!(y.read().unwrap(), want, "{n} on {traits:?}");
            // x where the slope is 1; the upstream gradient was x.
            assert_eq!(tx.read().unwrap(), want, "{n} on {traits:?}");
        }
    }
}

/// The harness itself.
#[test]
fn wrong_rows_are_seen() {
    let want = [0.25, 0.5, 0.25];
    let largest = [0.0; 3];
    assert_eq!(wrong(&[0.25, 0.5, 0.25], &want, &largest, 2.0), None);
    assert!(wrong(&[0.25, 0.25, 0.5], &want, &largest, 2.0).is_some());
    assert!(wrong(&[0.25, 0.5, f32::NAN], &want, &largest, 2.0).is_some());
    assert!(wrong(&[0.25, -0.5, 0.25], &want, &largest, 2.0).is_some());
}
