//! Shaped rows on devices of all kinds: every strategy, and arrays that no binding holds.

use super::{Tensor, disguises, gpu, run, values, whole, wrong};
use crate::axis::AxisFunction;
use crate::kernels::Kernels;
use crate::plan::Traits;
use crate::{BufferArray, Causal, Error, RowPolicy, Shaping, Softmax, TypedSlice, reference};

#[test]
fn every_device_shapes_the_same() {
    let Some(gpu) = gpu() else { return };
    let (mut cases, mut refused) = (0, 0);
    for traits in disguises(Traits::of(gpu.device())) {
        let kernels = Kernels::with_traits(gpu.device(), traits);
        for (i, (shape, axis)) in [
            ([3usize, 200, 40], 2usize),
            ([2, 3, 257], 2),
            ([2, 260, 100], 2),
            ([5, 14, 3], 2),
            ([1, 2, 9001], 2),
            ([2, 700, 5], 1),
            ([3, 33, 40], 1),
            // More sinks than some of the devices bind: shared, and one for each row.
            ([2, 5000, 3], 2),
            ([2, 5000, 3], 2),
        ]
        .into_iter()
        .enumerate()
        {
            let n: usize = shape.iter().product();
            let x = values(n, i as u32);
            let full = &shape[..];
            let (mask_shape, bias_shape) = match i % 3 {
                0 => (full, &shape[1..]),
                1 => (&shape[2..], full),
                _ => (&shape[1..], &shape[2..]),
            };
            let count = |shape: &[usize]| shape.iter().product::<usize>();
            let keep: Vec<u8> = values(count(mask_shape), 50)
                .iter()
                .map(|&v| u8::from(v > -5.0))
                .collect();
            let bias = values(count(bias_shape), 51);
            let ends: Vec<u32> = (0..shape[0] as u32)
                .map(|i| shape[axis] as u32 - i * 5)
                .collect();
            let mut sinks_shape = shape;
            sinks_shape[axis] = 1;
            let sinks_shape = &sinks_shape[i % 2..];
            let sinks = values(count(sinks_shape), 52);
            let of_sinks = sinks.clone();
            let shaping = Shaping::new()
                .mask(&keep, mask_shape)
                .bias(&bias, bias_shape)
                .lengths(&ends, &shape[..1])
                .sinks(&sinks, sinks_shape)
                .causal(Causal::LowerRight)
                .query_axis(0)
                .scale(0.75);
            // Any four bytes are an element of a tensor.
            let mut bytes = keep.clone();
            bytes.resize(bytes.len().next_multiple_of(4), 1);
            let keep: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            let ends: Vec<f32> = bytemuck::pod_collect_to_vec(&ends);
            let [keep, bias, ends, sinks] =
                [&keep[..], &bias, &ends, &sinks].map(|v| gpu.upload(v, &[v.len()]).unwrap());
            let rounding = (shape[axis] as f64).log2().ceil();
            for function in [AxisFunction::Softmax, AxisFunction::LogSumExp] {
                let what = format!("{function} of {shape:?} along {axis} on {traits:?}");
                let rows = if function.reduces() {
                    n / shape[axis]
                } else {
                    n
                };
                let dy = values(rows, 100 + i as u32);
                let [tx, tdy, y, dx, ds] =
                    [&x[..], &dy, &dy, &x, &of_sinks].map(|v| gpu.upload(v, &[v.len()]).unwrap());
                let [bx, bdy, by, bdx, bds] = [&tx, &tdy, &y, &dx, &ds].map(whole);
                let softmax = function.along(axis as isize).shaped(&shaping);
                let in_buffers = &[
                    TypedSlice::f32(bx).of_shape(full),
                    TypedSlice::mask(whole(&keep)).of_shape(mask_shape),
                    TypedSlice::f32(whole(&bias)).of_shape(bias_shape),
                    TypedSlice::lengths(whole(&ends)).of_shape(&shape[..1]),
                    TypedSlice::f32(whole(&sinks)).of_shape(sinks_shape),
                ][..];
                let mut by_sinks = Ok(());
                run(&gpu, |pass| {
                    kernels.apply(pass, softmax, in_buffers, by)?;
                    by_sinks = kernels.grad_by(pass, softmax, "sinks", in_buffers, bdy, bds);
                    if function.reduces() {
                        return Ok(());
                    }
                    kernels.grad(pass, softmax, in_buffers, bdy, bdx)
                })
                .unwrap();
                let want = reference::shaped_forward(function, &shaping, &x, full, axis);
                let largest = vec![if function.reduces() { 1.0 } else { 0.0 }; rows];
                let got = y.read().unwrap();
                assert_eq!(wrong(&got, &want, &largest, rounding), None, "{what}");
                // Long sums that are many bindings large leave more parts than one of these holds.
                let many =
                    n > 4 * of_sinks.len() && of_sinks.len() * 8 > traits.max_binding as usize;
                match by_sinks {
                    Err(Error::OutOfMemory { .. }) if many => refused += 1,
                    done => {
                        done.unwrap();
                        let (want, sizes) = reference::shaped_backward_by_sinks(
                            function, &shaping, &x, &dy, full, axis,
                        );
                        let got = ds.read().unwrap();
                        let wrong = wrong(&got, &want, &sizes, 2.0 * rounding);
                        assert_eq!(wrong, None, "{what} by sinks");
                    }
                }
                cases += 1;
                if function.reduces() {
                    continue;
                }
                let (want, largest) =
                    reference::shaped_backward(function, &shaping, &x, &dy, full, axis);
                let got = dx.read().unwrap();
                assert_eq!(
                    wrong(&got, &want, &largest, 2.0 * rounding),
                    None,
                    "{what}'"
                );
            }
        }
        gpu.wait().unwrap();
    }
    assert!(cases >= 90 && refused == 4, "{cases}, {refused}");
}

#[test]
fn mistakes_are_errors() {
    let Some(gpu) = gpu() else { return };
    let kernels = gpu.kernels();
    let [x, y] = [(); 2].map(|()| gpu.upload(&[1.0; 24], &[2, 3, 4]).unwrap());
    let mask = gpu.upload(&[1.0], &[1]).unwrap();
    let shape = [2, 3, 4];
    let call = |softmax: Softmax, more: Option<BufferArray<'_>>| {
        let mut result = Ok(());
        run(&gpu, |pass| {
            let x = TypedSlice::f32(whole(&x)).of_shape(&shape);
            let arrays: Vec<_> = [x].into_iter().chain(more).collect();
            result = kernels.apply(pass, softmax, &arrays[..], whole(&y));
            Ok(())
        })
        .unwrap();
        result.unwrap_err()
    };
    let plain = AxisFunction::Softmax.along(-1);
    let first = AxisFunction::Softmax.along(0);
    let ranges = |shape| {
        let of = whole(&mask);
        (
            TypedSlice::mask(of).of_shape(shape),
            TypedSlice::lengths(of).of_shape(shape),
            TypedSlice::f32(of).of_shape(shape).named("sinks"),
        )
    };
    let error = call(plain, Some(ranges(&[5]).0));
    assert!(matches!(error, Error::NotBroadcastable { .. }), "{error}");
    // Four bytes are less than eight.
    let error = call(plain, Some(ranges(&[2, 1, 4]).0));
    assert!(matches!(error, Error::BufferTooSmall { .. }), "{error}");
    // Lengths begin with the first axis, and have none along the function's.
    let error = call(plain, Some(ranges(&[4]).1));
    assert!(matches!(error, Error::NotBroadcastable { .. }), "{error}");
    let error = call(first, Some(ranges(&[2]).1));
    assert!(matches!(error, Error::NotBroadcastable { .. }), "{error}");
    // Sinks have none along it either, and are broadcast as biases are.
    let error = call(plain, Some(ranges(&[4]).2));
    assert!(matches!(error, Error::NotBroadcastable { .. }), "{error}");
    let error = call(plain, Some(ranges(&[3, 1]).2));
    assert!(matches!(error, Error::BufferTooSmall { .. }), "{error}");
    let error = call(
        plain,
        Some(TypedSlice::f32(whole(&y)).of_shape(&[3, 1]).named("sinks")),
    );
    assert!(matches!(error, Error::BufferOverlap { .. }), "{error}");
    let error = call(first.causal(Causal::UpperLeft), None);
    assert!(matches!(error, Error::NoQueryAxis { axis: 0 }), "{error}");
    let error = call(plain.row_policy(RowPolicy::Error), None);
    assert!(matches!(error, Error::PolicyNeedsHost), "{error}");
    for wrong in [
        plain.scale(0.0),
        plain.scale(f32::NAN),
        plain.temperature(f32::INFINITY),
        plain.temperature(0.0),
        plain.soft_cap(-1.0),
        plain.soft_cap(f32::INFINITY),
    ] {
        let error = call(wrong, None);
        assert!(
            matches!(error, Error::ParameterOutOfRange { .. }),
            "{error}"
        );
    }
    // The gradient by sinks is refused where there are none, and before anything is recorded.
    let by_sinks = |sinks: Option<&Tensor>, out: &Tensor| {
        let dispatches = kernels.counts().dispatches;
        let mut result = Ok(());
        run(&gpu, |pass| {
            let [dy, out] = [&x, out].map(whole);
            let x = TypedSlice::f32(whole(&x)).of_shape(&shape);
            let sinks = sinks.map(|sinks| TypedSlice::f32(whole(sinks)).of_shape(&[3, 1]));
            let sinks = sinks.map(|sinks| sinks.named("sinks"));
            let arrays: Vec<_> = [x].into_iter().chain(sinks).collect();
            result = kernels.grad_by(pass, plain, "sinks", &arrays[..], dy, out);
            Ok(())
        })
        .unwrap();
        assert_eq!(kernels.counts().dispatches, dispatches);
        result.unwrap_err()
    };
    let error = by_sinks(None, &mask);
    assert!(matches!(error, Error::NoSinks), "{error}");
    let sinks = gpu.upload(&[0.0; 3], &[3]).unwrap();
    let error = by_sinks(Some(&sinks), &mask);
    assert!(matches!(error, Error::BufferTooSmall { .. }), "{error}");
    let error = by_sinks(Some(&sinks), &sinks);
    assert!(matches!(error, Error::BufferOverlap { .. }), "{error}");
    let error = by_sinks(Some(&sinks), &x);
    assert!(matches!(error, Error::BufferOverlap { .. }), "{error}");
    // The result's buffer cannot be the mask's.
    let error = call(plain, Some(TypedSlice::mask(whole(&y)).of_shape(&shape)));
    assert!(matches!(error, Error::BufferOverlap { .. }), "{error}");
}
