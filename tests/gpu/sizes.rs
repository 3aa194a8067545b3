//! Every size: around lanes, workgroups, dispatches and bindings, and every strategy along an axis.

use crate::{
    axis_error, axis_grad_error, bits, breach, coded, common, difference, gpu, noise, relu,
};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, CrossEntropy, Gpu, GumbelSoftmax, Maxout,
    OfShape, Random, Reduction, Shaping, SparseFunction, reference, wgpu,
};

/// More elements than 65,535 workgroups of 64 invocations hold.
const FOLDED: usize = 65_535 * 64 * 4;
/// More than a binding of 128 MiB, with a tail.
const UNBOUND: usize = 40_000_003;

fn elementwise_is_exact(gpu: &Gpu, n: usize) {
    let x = coded(n);
    let dy: Vec<f32> = x.iter().map(|x| x + 0.5).collect();
    let [tx, tdy] = [&x, &dy].map(|v| gpu.upload(v, &[n]).unwrap());
    let mut batch = gpu.batch();
    let y = batch.apply(Activation::Relu, &tx).unwrap();
    let dx = batch.grad(Activation::Relu, &tx, &tdy).unwrap();
    batch.submit().unwrap();
    let want = |i: usize| if x[i] > 0.0 { dy[i] } else { 0.0 * dy[i] };
    assert_eq!(
        difference(&y.read().unwrap(), x.iter().copied().map(relu)),
        None,
        "{n}"
    );
    assert_eq!(
        difference(&dx.read().unwrap(), (0..n).map(want)),
        None,
        "{n}"
    );

    let mut batch = gpu.batch();
    batch.grad_in_place(Activation::Relu, &tx, &tdy).unwrap();
    batch.apply_in_place(Activation::Relu, &tx).unwrap();
    batch.submit().unwrap();
    assert_eq!(
        bits(&tx.read().unwrap()),
        bits(&y.read().unwrap()),
        "{n} in place"
    );
    assert_eq!(
        bits(&tdy.read().unwrap()),
        bits(&dx.read().unwrap()),
        "{n} in place"
    );
}

#[test]
fn lengths_around_every_boundary() {
    let Some(gpu) = gpu() else { return };
    let edges = [4, 8, 64, 256, 1024, 4096, 8192, 16_384];
    let around = edges.into_iter().flat_map(|n| [n - 1, n, n + 1]);
    for n in [0, 1, 2].into_iter().chain(around) {
        elementwise_is_exact(&gpu, n);
    }
}

#[test]
fn elements_past_65_535_workgroups() {
    let Some(gpu) = gpu() else { return };
    for n in [FOLDED - 1, FOLDED + 1] {
        elementwise_is_exact(&gpu, n);
    }
}

#[test]
fn elements_past_a_binding() {
    let Some(gpu) = gpu() else { return };
    let x = coded(UNBOUND);
    let t = gpu.upload(&x, &[UNBOUND]).unwrap();
    let mut batch = gpu.batch();
    batch.apply_in_place(Activation::Relu, &t).unwrap();
    batch.submit().unwrap();
    assert_eq!(
        difference(&t.read().unwrap(), x.iter().copied().map(relu)),
        None
    );
}

/// In host memory, past a piece of the staging and with an odd rest.
#[test]
fn elements_past_a_piece_of_staging() {
    for backend in common::backends() {
        let n = (4 << 20) * 2 + 7;
        let x = coded(n);
        let y = backend.apply(Activation::Relu, &x).unwrap();
        assert_eq!(difference(&y, x.iter().copied().map(relu)), None);
        let dx = backend.grad(Activation::Relu, &x, &x).unwrap();
        let want = x.iter().map(|&x| if x > 0.0 { x } else { 0.0 * x });
        assert_eq!(difference(&dx, want), None);
        let mut z = x.clone();
        backend.apply_in_place(Activation::Relu, &mut z).unwrap();
        assert_eq!(bits(&z), bits(&y));
    }
}

#[test]
fn nothing_to_do_is_done() {
    const NONE: [f32; 0] = [];
    for backend in common::backends() {
        assert!(backend.apply(Activation::Gelu, &NONE).unwrap().is_empty());
        assert!(
            backend
                .grad(Activation::Gelu, &NONE, &NONE)
                .unwrap()
                .is_empty()
        );
        for &function in AxisFunction::ALL {
            for (shape, axis) in [(&[0, 5][..], -1), (&[5, 0], 0), (&[3, 0, 2], 2)] {
                let y = backend
                    .apply(function.along(axis), NONE.of_shape(shape))
                    .unwrap();
                assert!(y.is_empty(), "{function} of {shape:?}");
            }
        }
        // Rows of no elements: the sum is 0.
        let y = backend
            .apply(AxisFunction::LogSumExp.along(1), NONE.of_shape(&[2, 0, 3]))
            .unwrap();
        assert_eq!(y, [f32::NEG_INFINITY; 6]);
        let dx = backend
            .grad(
                AxisFunction::LogSumExp.along(1),
                [].of_shape(&[2, 0, 3]),
                &[1.0; 6],
            )
            .unwrap();
        assert!(dx.is_empty());
    }
    let Some(gpu) = gpu() else { return };
    let x = gpu.upload(&[0.0f32; 0], &[2, 0, 3]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(Activation::Gelu, &x).unwrap();
    let z = batch.apply(AxisFunction::LogSumExp.along(1), &x).unwrap();
    let w = batch.apply(AxisFunction::Softmax.along(1), &x).unwrap();
    batch.submit().unwrap();
    assert!(y.read().unwrap().is_empty() && w.read().unwrap().is_empty());
    assert_eq!(z.read().unwrap(), [f32::NEG_INFINITY; 6]);
    // A batch of nothing.
    gpu.batch().submit().unwrap();
}

/// Shapes of every strategy, all functions, forward and backward, out of place and in place.
#[test]
fn every_strategy_along_every_axis() {
    const SHAPES: [(&[usize], isize); 25] = [
        (&[1], 0),
        (&[5, 1], -1),
        (&[3, 4], 0),
        (&[1000, 2], -1),
        (&[1001, 2], -1),
        (&[7, 4], -1),
        (&[5, 8], -1),
        (&[70, 62], -1),
        (&[2, 30_522], -1),
        (&[4097, 31], -1),
        (&[300, 33], -1),
        (&[65, 63], -1),
        (&[63, 65], -1),
        (&[3, 255], -1),
        (&[3, 256], -1),
        (&[3, 257], -1),
        (&[600, 700], -1),
        (&[2, 4097], -1),
        (&[5, 30_011], -1),
        (&[1, 100_003], -1),
        (&[8, 512, 64], 1),
        (&[8, 512, 64], 0),
        (&[3, 1000, 5], 1),
        (&[2, 20_000, 3], 1),
        (&[7, 3, 2, 5], -2),
    ];
    let gpu = gpu();
    let mut strategies = std::collections::BTreeSet::new();
    for (i, (shape, axis)) in SHAPES.into_iter().enumerate() {
        let around = AxisShape::new(shape, axis).unwrap();
        let n = around.elements();
        let x = noise(i as u64, n, 8.0);
        let dy = noise(100 + i as u64, n, 2.0);
        for &function in AxisFunction::ALL {
            let dy = &dy[..around.output_elements(function)];
            let Some(gpu) = &gpu else { continue };
            let plan = gpu.kernels().describe_axis(&around);
            strategies.insert(plan.split([' ', ',']).next().unwrap().to_owned());
            let tx = gpu.upload(&x, shape).unwrap();
            let mut upstream = shape.to_vec();
            if function.reduces() {
                upstream.remove((axis + if axis < 0 { shape.len() as isize } else { 0 }) as usize);
            }
            let tdy = gpu.upload(dy, &upstream).unwrap();
            let mut batch = gpu.batch();
            let y = batch.apply(function.along(axis), &tx).unwrap();
            let dx = batch.grad(function.along(axis), &tx, &tdy).unwrap();
            batch.submit().unwrap();
            let [y, dx] = [y, dx].map(|t| t.read().unwrap());
            assert_eq!(axis_error(function, &x, &around, &y), None, "{plan}");
            assert_eq!(
                axis_grad_error(function, &x, dy, &around, &dx),
                None,
                "{plan}"
            );
            if function.reduces() {
                continue;
            }
            // Through the host, which computes in place.
            let backend = Backend::Gpu(gpu.clone());
            let dx_in_place = backend
                .grad(function.along(axis), x.of_shape(shape), dy)
                .unwrap();
            assert_eq!(
                bits(&dx_in_place),
                bits(&dx),
                "{function} of {shape:?}, {plan}"
            );
            let mut batch = gpu.batch();
            batch.apply_in_place(function.along(axis), &tx).unwrap();
            batch.submit().unwrap();
            assert_eq!(
                bits(&tx.read().unwrap()),
                bits(&y),
                "{function} of {shape:?}, {plan}"
            );
        }
    }
    // Which strategies there are is the plan's; these shapes are to reach more than one.
    assert!(gpu.is_none() || strategies.len() > 1, "{strategies:?}");
}

/// Softmax, log_softmax and logsumexp of some row in f64, from formulas of the test's own.
struct Row {
    max: f64,
    sum: f64,
}

impl Row {
    fn of(x: impl Iterator<Item = f32> + Clone) -> Self {
        let max = f64::from(x.clone().fold(f32::NEG_INFINITY, f32::max));
        let sum = x.map(|x| (f64::from(x) - max).exp()).sum::<f64>();
        Self { max, sum }
    }

    fn softmax(&self, x: f32) -> f64 {
        (f64::from(x) - self.max).exp() / self.sum
    }

    fn logsumexp(&self) -> f64 {
        self.max + self.sum.ln()
    }
}

/// Samples of one long row, and its sum.
fn check_long_row(x: &[f32], y: &[f32]) {
    let row = Row::of(x.iter().copied());
    let n = x.len();
    let samples = (0..n).step_by(997).chain(n - 300..n);
    for i in samples {
        let want = row.softmax(x[i]);
        let wrong = breach(AxisFunction::Softmax, y[i], want, 0.0, n);
        assert!(!wrong, "{:e} instead of {want:e} at {i} of {n}", y[i]);
    }
    let total: f64 = y.iter().map(|&y| f64::from(y)).sum();
    assert!(
        (total - 1.0).abs() < 1e-5,
        "the row of {n} adds up to {total}"
    );
}

#[test]
fn one_row_of_ten_million() {
    let n = 10_000_000;
    let x = noise(7, n, 10.0);
    for backend in common::backends() {
        let y = backend
            .apply(AxisFunction::Softmax.along(-1), x.of_shape(&[1, n]))
            .unwrap();
        check_long_row(&x, &y);
        let got = backend.apply(AxisFunction::LogSumExp.along(0), &x).unwrap();
        let want = Row::of(x.iter().copied()).logsumexp();
        assert!(
            !breach(AxisFunction::LogSumExp, got[0], want, 10.0, n),
            "{got:?}, {want}"
        );
    }
}

/// A block that no binding holds is cut along the axis.
#[test]
fn one_row_past_a_binding() {
    let Some(gpu) = gpu() else { return };
    let x = noise(8, UNBOUND, 10.0);
    let t = gpu.upload(&x, &[UNBOUND]).unwrap();
    let mut batch = gpu.batch();
    batch
        .apply_in_place(AxisFunction::Softmax.along(0), &t)
        .unwrap();
    batch.submit().unwrap();
    check_long_row(&x, &t.read().unwrap());
}

/// Four interleaved rows in a block that no binding holds, and their gradient.
#[test]
fn interleaved_rows_past_a_binding() {
    let Some(gpu) = gpu() else { return };
    let (len, inner) = (9_000_001, 4);
    let x = noise(9, len * inner, 6.0);
    let dy = noise(10, inner, 3.0);
    let tx = gpu.upload(&x, &[len, inner]).unwrap();
    let tdy = gpu.upload(&dy, &[inner]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(AxisFunction::LogSumExp.along(0), &tx).unwrap();
    let dx = batch
        .grad(AxisFunction::LogSumExp.along(0), &tx, &tdy)
        .unwrap();
    batch.submit().unwrap();
    let [y, dx] = [y, dx].map(|t| t.read().unwrap());
    for column in 0..inner {
        let row = Row::of(x.iter().skip(column).step_by(inner).copied());
        let want = row.logsumexp();
        assert!(
            !breach(AxisFunction::LogSumExp, y[column], want, 6.0, len),
            "{column}"
        );
        for i in (0..len).step_by(9973).chain(len - 20..len) {
            let at = i * inner + column;
            let want = f64::from(dy[column]) * row.softmax(x[at]);
            let ulp = reference::ulp_error(dx[at], want, 0.0);
            assert!(
                ulp < 4.0 + 48.0,
                "{:e} instead of {want:e} at {i}, {column}",
                dx[at]
            );
        }
    }
}

#[test]
fn ten_million_rows_of_two() {
    let rows = 10_000_000;
    let x = noise(11, 2 * rows, 10.0);
    for backend in common::backends() {
        let y = backend
            .apply(AxisFunction::Softmax.along(-1), x.of_shape(&[rows, 2]))
            .unwrap();
        for i in (0..rows).step_by(499).chain(rows - 300..rows) {
            let row = Row::of(x[2 * i..2 * i + 2].iter().copied());
            for k in 2 * i..2 * i + 2 {
                let want = row.softmax(x[k]);
                let wrong = breach(AxisFunction::Softmax, y[k], want, 0.0, 2);
                assert!(!wrong, "{:e} instead of {want:e} in row {i}", y[k]);
            }
        }
        let sums = y.chunks(2).map(|row| row[0] + row[1]);
        assert_eq!(sums.filter(|sum| (sum - 1.0).abs() > 1e-6).count(), 0);
    }
    // On the device all rows are there at once: more than 65,535 workgroups.
    let Some(gpu) = gpu() else { return };
    let t = gpu.upload(&x, &[rows, 2]).unwrap();
    let mut batch = gpu.batch();
    let y = batch.apply(AxisFunction::LogSumExp.along(-1), &t).unwrap();
    batch.submit().unwrap();
    let y = y.read().unwrap();
    for i in (0..rows).step_by(499).chain(rows - 300..rows) {
        let want = Row::of(x[2 * i..2 * i + 2].iter().copied()).logsumexp();
        assert!(
            !breach(AxisFunction::LogSumExp, y[i], want, 10.0, 2),
            "{} in row {i}",
            y[i]
        );
    }
}

/// One step along the axis is more than lavapipe binds: host memory is worked in tiles of columns.
#[test]
fn a_step_past_a_binding_is_tiled() {
    let Some(gpu) = gpu() else { return };
    let (len, inner) = (2, 35_000_000);
    let x = noise(12, len * inner, 10.0);
    let backend = Backend::Gpu(gpu);
    let y = backend
        .apply(AxisFunction::LogSoftmax.along(0), x.of_shape(&[len, inner]))
        .unwrap();
    for i in (0..inner).step_by(1999).chain(inner - 300..inner) {
        let row = Row::of([x[i], x[inner + i]].into_iter());
        for k in [i, inner + i] {
            let want = f64::from(x[k]) - row.logsumexp();
            assert!(
                !breach(AxisFunction::LogSoftmax, y[k], want, 0.0, 2),
                "{} at {k}, {want}",
                y[k]
            );
        }
    }
}

/// The adapter that is there, with bindings of 64 KiB.
fn with_small_bindings(own: &Gpu) -> Gpu {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 64 << 10,
        max_storage_buffers_per_shader_stage: 8,
        ..wgpu::Limits::downlevel_defaults()
    };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters
        .into_iter()
        .find(|adapter| adapter.get_info().name == own.info().name)
        .unwrap();
    let request = wgpu::DeviceDescriptor {
        required_limits: limits,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&request)).unwrap();
    Gpu::from_device(device, queue)
}

/// Every family over rows gives in tiles of columns what it gives in one piece, bit for bit: with
/// inputs by element and by row, arrays that are broadcast, classes and weights.
#[test]
fn every_family_is_tiled() {
    let Some(gpu) = gpu() else { return };
    let small = Backend::Gpu(with_small_bindings(&gpu));
    let whole = Backend::Gpu(gpu);
    let shape = [2, 3, 20_000];
    let (by_class, keys) = ([3, 1], [3, 20_000]);
    let rows = shape[0] * shape[2];
    let x = noise(13, rows * 3, 4.0);
    let dy = noise(14, rows * 3, 1.0);
    let by_row = noise(15, rows, 1.0);
    let mask: Vec<u8> = (0..3 * shape[2]).map(|i| u8::from(i % 5 != 0)).collect();
    let classes: Vec<i64> = (0..rows as i64).map(|i| i % 3).collect();
    let weight = [1.0, 2.0, 0.5];
    let same = |of: &dyn Fn(&Backend) -> Vec<Vec<f32>>, what: &str| {
        for (tiled, one) in of(&small).iter().zip(of(&whole)) {
            assert!(!one.is_empty());
            assert_eq!(difference(tiled, one), None, "{what}");
        }
    };
    for &function in AxisFunction::ALL {
        let upstream = if function.reduces() { &by_row } else { &dy };
        let shaping = Shaping::new()
            .mask(&mask, &keys)
            .bias(&x[..3], &by_class)
            .lengths(&[3, 2], &[2])
            .scale(0.5);
        same(
            &|b| {
                vec![
                    b.apply(function.along(1), x.of_shape(&shape)).unwrap(),
                    b.grad(function.along(1), x.of_shape(&shape), upstream)
                        .unwrap(),
                    b.apply(
                        function.along(1).shaped(&shaping),
                        shaping.inputs(x.of_shape(&shape)),
                    )
                    .unwrap(),
                    b.grad(
                        function.along(1).shaped(&shaping),
                        shaping.inputs(x.of_shape(&shape)),
                        upstream,
                    )
                    .unwrap(),
                ]
            },
            function.name(),
        );
    }
    let loss = CrossEntropy::new()
        .weight(&weight)
        .reduction(Reduction::None);
    let gumbel = GumbelSoftmax::new(0.7, Random::new(5)).unwrap();
    same(
        &|b| {
            vec![
                b.apply(&loss, (x.of_shape(&shape), &classes)).unwrap(),
                b.grad(&loss, (x.of_shape(&shape), &classes), &by_row)
                    .unwrap(),
                b.apply(&loss, (x.of_shape(&shape), &dy)).unwrap(),
            ]
        },
        "cross_entropy",
    );
    same(
        &|b| {
            let sparsemax = SparseFunction::Sparsemax;
            let y = b.apply(sparsemax.along(1), x.of_shape(&shape)).unwrap();
            let dx = b.grad_from_output(sparsemax.along(1), y.of_shape(&shape), &dy);
            vec![
                dx.unwrap(),
                y,
                b.apply(Maxout::new(3).along(1), x.of_shape(&shape))
                    .unwrap(),
                b.grad(Maxout::new(3).along(1), x.of_shape(&shape), &by_row)
                    .unwrap(),
                b.apply(gumbel.along(1), x.of_shape(&shape)).unwrap(),
                b.grad(gumbel.along(1), x.of_shape(&shape), &dy).unwrap(),
            ]
        },
        "the kin of softmax",
    );
}
