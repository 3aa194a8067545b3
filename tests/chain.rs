//! Fused chains on every backend: against the f64 composition within the sum of the parts' bounds,
//! against the parts themselves, at every boundary and broadcast; and what they compile and record.

mod common;

use common::{backends, gpu};
use wgpu_activations::reference::{Bounded, chain_backward, chain_forward};
use wgpu_activations::{Activation, Backend, Chain, ChainRanges, DType, Error, Step, TypedSlice};

/// Marsaglia's xorshift64 (2003): numbers between -scale and scale.
fn noise(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        scale * ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn chain(text: &str) -> Chain {
    text.parse().unwrap()
}

/// The first result that the bounds of the parts do not allow.
fn breach(got: &[f32], want: &[Bounded]) -> Option<String> {
    assert_eq!(got.len(), want.len());
    let wrong = got
        .iter()
        .zip(want)
        .position(|(&got, want)| !want.allows(got));
    wrong.map(|i| format!("{:e} at {i} instead of {:?}", got[i], want[i]))
}

/// Chains with operands of a shape each, for an array of shape [a, b, c].
fn cases([a, b, c]: [usize; 3]) -> Vec<(Chain, Vec<Vec<usize>>)> {
    let whole = vec![a, b, c];
    vec![
        (Chain::new(), vec![]),
        (chain("scale(0.125) | gelu | clamp(0, 6)"), vec![]),
        (chain("silu | tanh | mish | softplus | elu(0.5)"), vec![]),
        (chain("bias(0) | relu"), vec![vec![a]]),
        (chain("bias(1) | sigmoid"), vec![vec![b]]),
        (chain("scale(3) | bias(2) | quick_gelu"), vec![vec![c]]),
        (chain("add | multiply"), vec![whole.clone(), whole.clone()]),
        (
            chain("multiply | softsign | add"),
            vec![vec![a, 1, c], vec![b, 1]],
        ),
        (chain("add | gelu | multiply"), vec![vec![1], vec![a, 1, 1]]),
        (chain("cast(f16) | tanh | cast(bf16)"), vec![]),
        (
            chain("gelu | dropout(0.3, seed=12345678901) | add"),
            vec![whole],
        ),
        (
            chain("dropout(0.5) | scale(-2) | dropout(0, seed=1)"),
            vec![],
        ),
    ]
}

#[test]
fn results_are_within_the_sum_of_the_parts_bounds() {
    let shapes = [
        [2, 3, 4],
        [1, 1, 1],
        [3, 5, 7],
        [2, 8, 16],
        [1, 130, 33],
        [4, 1, 129],
        [5, 2, 1],
        [0, 3, 2],
        [2, 3, 0],
    ];
    let mut results = 0;
    for backend in backends() {
        for (s, shape) in shapes.into_iter().enumerate() {
            let n = shape.iter().product();
            let mut x = noise(s as u64, n, 6.0);
            let dy = noise(1 + s as u64, n, 2.0);
            if n > 20 {
                x[..4].copy_from_slice(&[0.0, -0.0, 1e-42, -30.0]);
            }
            for (k, (chain, own)) in cases(shape).into_iter().enumerate() {
                let values: Vec<Vec<f32>> = own
                    .iter()
                    .map(|own| noise(k as u64, own.iter().product(), 3.0))
                    .collect();
                let operands: Vec<(&[f32], &[usize])> = values
                    .iter()
                    .zip(&own)
                    .map(|(values, own)| (values.as_slice(), own.as_slice()))
                    .collect();
                let context = format!("{} of {shape:?} with {own:?}: {chain}", backend.kind());
                let y = backend.apply_chain(&chain, &x, &shape, &operands).unwrap();
                let wrong = breach(&y, &chain_forward(&chain, &x, &shape, &operands));
                assert_eq!(wrong, None, "{context}");
                let (dx, gradients) = backend
                    .grad_chain(&chain, &x, &shape, &operands, &dy)
                    .unwrap();
                let (want, terms) = chain_backward(&chain, &x, &shape, &operands, &dy);
                assert_eq!(breach(&dx, &want), None, "backward, {context}");
                for ((got, terms), (step, own)) in
                    gradients.iter().zip(&terms).zip(takers(&chain).zip(&own))
                {
                    let want = sums(terms, step, own, &shape);
                    assert_eq!(breach(got, &want), None, "operand, {context}");
                }
                results += y.len();
            }
        }
    }
    assert!(results > 100_000, "{results}");
}

/// The steps that take operands.
fn takers(chain: &Chain) -> impl Iterator<Item = &Step> {
    let steps = chain.steps().iter();
    steps.filter(|step| matches!(step, Step::Add | Step::Multiply | Step::Bias(_)))
}

/// The sums of terms over what an operand is broadcast along.
fn sums(terms: &[Bounded], step: &Step, own: &[usize], shape: &[usize]) -> Vec<Bounded> {
    let mut aligned = vec![1; shape.len()];
    match *step {
        Step::Bias(axis) => aligned[axis as usize] = own[0],
        _ => aligned[shape.len() - own.len()..].copy_from_slice(own),
    }
    let zero = Bounded {
        value: 0.0,
        error: 0.0,
    };
    let mut sums = vec![zero; own.iter().product()];
    for (i, term) in terms.iter().enumerate() {
        let (mut rest, mut index, mut stride) = (i, 0, 1);
        for axis in (0..shape.len()).rev() {
            index += rest % shape[axis] % aligned[axis] * stride;
            rest /= shape[axis];
            stride *= aligned[axis];
        }
        sums[index].value += term.value;
        // A term may be its error off, and the compensated sum an ULP of its largest part.
        sums[index].error += term.error + term.value.abs() * 2f64.powi(-23);
    }
    sums
}

/// The harness objects to what is wrong: to another function, to a step left out, to an operand
/// along another axis, to another mask.
#[test]
fn wrong_chains_are_seen() {
    let x = noise(1, 60, 4.0);
    let bias = noise(2, 4, 1.0);
    let shape = [4, 4, 4];
    let x = [&x[..], &[1.0, 2.0, -1.0, 0.5]].concat();
    let right = chain("scale(0.5) | bias(1) | gelu | dropout(0.2, seed=3)");
    let operands: [(&[f32], &[usize]); 1] = [(&bias, &[4])];
    let want = chain_forward(&right, &x, &shape, &operands);
    for text in [
        "scale(0.5) | bias(1) | gelu_tanh | dropout(0.2, seed=3)",
        "scale(0.5000001) | bias(1) | gelu | dropout(0.2, seed=3)",
        "bias(1) | gelu | dropout(0.2, seed=3)",
        "scale(0.5) | bias(2) | gelu | dropout(0.2, seed=3)",
        "scale(0.5) | bias(1) | gelu | dropout(0.2, seed=4)",
        "scale(0.5) | bias(1) | gelu | dropout(0.2, seed=3) | cast(bf16)",
    ] {
        let got = Backend::cpu().apply_chain(&chain(text), &x, &shape, &operands);
        assert!(breach(&got.unwrap(), &want).is_some(), "{text}");
    }
}

/// On the CPU, a chain is its parts bit for bit; also for what is special.
#[test]
fn a_chain_is_its_parts() {
    let cpu = Backend::cpu();
    let mut x: Vec<f32> = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).collect();
    x.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let (shape, dy) = ([x.len()], noise(5, x.len(), 1.0));
    let [silu, hard] = [Activation::Silu, Activation::HardSigmoid];
    let both = Chain::new().apply(silu).scale(0.7).apply(hard);
    let first = cpu.apply(silu, &x).unwrap();
    let scaled: Vec<f32> = first.iter().map(|v| v * 0.7).collect();
    let want = cpu.apply(hard, &scaled).unwrap();
    let got = cpu.apply_chain(&both, &x, &shape, &[]).unwrap();
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(&got), bits(&want));
    let g = cpu.grad(hard, &scaled, &dy).unwrap();
    let g: Vec<f32> = g.iter().map(|g| g * 0.7).collect();
    let want = cpu.grad(silu, &x, &g).unwrap();
    let (got, _) = cpu.grad_chain(&both, &x, &shape, &[], &dy).unwrap();
    assert_eq!(bits(&got), bits(&want));
}

/// NaN and infinities go through a chain as they go through its parts, on every backend.
#[test]
fn special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [nan, inf, -inf, 3.4e38, -0.0, 1e-40];
    for backend in backends() {
        let apply = |text: &str| backend.apply_chain(&chain(text), &x, &[6], &[]).unwrap();
        let y = apply("scale(2) | relu | clamp(0, 6)");
        assert!(y[0].is_nan());
        assert_eq!(y[1..4], [6.0, 0.0, 6.0]);
        assert!(apply("scale(0)")[1].is_nan());
        let y = apply("cast(f16)");
        assert!(y[0].is_nan());
        assert_eq!(y[1..4], [inf, -inf, inf]);
        assert_eq!(apply("cast(bf16)")[3], 3.4e38f32.to_bf16());
        // What is dropped is 0, whatever it was.
        let y = apply("dropout(0.999999, seed=1)");
        assert_eq!(y, [0.0; 6]);
    }
}

trait ToBf16 {
    fn to_bf16(self) -> f32;
}

impl ToBf16 for f32 {
    fn to_bf16(self) -> f32 {
        wgpu_activations::half::bf16::from_f32(self).to_f32()
    }
}

/// Casts over every half and its neighbours, against the `half` crate.
#[test]
fn casts_round_as_ieee_says() {
    use wgpu_activations::half::{bf16, f16};
    let halves = (0..=u16::MAX).flat_map(|bits| {
        let [a, b] = [
            f16::from_bits(bits).to_f32(),
            bf16::from_bits(bits).to_f32(),
        ];
        // The numbers, and those half a step beyond them and beside that.
        let far = [0x1000, 0xfff, 0x1001, 0x8000, 0x7fff, 0x8001];
        let far = far.map(|d| f32::from_bits(a.to_bits() + d));
        let beyond = [0x8000, 0x7fff, 0x8001].map(|d| f32::from_bits(b.to_bits().wrapping_add(d)));
        let small = a + 2f32.powi(-25);
        [a, b, small].into_iter().chain(far).chain(beyond)
    });
    let x: Vec<f32> = halves.step_by(3).collect();
    for backend in backends() {
        for (dtype, round) in [
            (
                DType::F16,
                (|x: f32| f16::from_f32(x).to_f32()) as fn(f32) -> f32,
            ),
            (DType::Bf16, |x| bf16::from_f32(x).to_f32()),
        ] {
            let got = backend
                .apply_chain(&Chain::new().cast(dtype), &x, &[x.len()], &[])
                .unwrap();
            for (&x, got) in x.iter().zip(got) {
                let want = round(x);
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                // Subnormal f32 may be flushed.
                let flushed = x.abs() < f32::MIN_POSITIVE && got == 0.0;
                assert!(
                    same || flushed,
                    "{} {dtype}: {got:e} of {x:e}",
                    backend.kind()
                );
            }
        }
    }
}

/// Lengths around vectors, workgroups and the host's pieces, with an operand that is broadcast
/// across their ends; results that are exact.
#[test]
fn lengths() {
    for backend in backends() {
        for n in [
            1,
            2,
            3,
            4,
            5,
            7,
            127,
            128,
            129,
            511,
            512,
            513,
            1023,
            1025,
            (4 << 20) + 6,
        ] {
            let x: Vec<f32> = (0..n).map(|i| (i % 1000) as f32 - 300.0).collect();
            let row: Vec<f32> = (0..n.min(6)).map(|i| i as f32).collect();
            let rows = n / row.len();
            let x = &x[..rows * row.len()];
            let chain = chain("scale(2) | relu | bias(-1)");
            let shape = [rows, row.len()];
            let y = backend
                .apply_chain(&chain, x, &shape, &[(&row, &[row.len()])])
                .unwrap();
            for (i, (&x, y)) in x.iter().zip(y).enumerate() {
                let want = (2.0 * x).max(0.0) + (i % row.len()) as f32;
                assert_eq!(y, want, "{} {n} at {i}", backend.kind());
            }
        }
    }
}

/// Softmax of scaled and biased scores is one dispatch; so are rows of any way of planning them.
#[test]
fn softmax_in_a_chain_is_one_dispatch() {
    let Some(gpu) = gpu() else { return };
    let gpu = gpu.trusting();
    let shape = [2, 12, 64, 64];
    let x = noise(1, shape.iter().product(), 8.0);
    let bias: Vec<f32> = (0..128)
        .map(|i| if i % 5 == 0 { -1e9 } else { 0.0 })
        .collect();
    let chain = chain("scale(0.125) | add | softmax(-1)");
    let tensor = gpu.upload(&x, &shape).unwrap();
    let added = gpu.upload(&bias, &[2, 1, 1, 64]).unwrap();
    let before = gpu.kernels().counts();
    let mut batch = gpu.batch();
    let y = batch.chain(&chain, &tensor, &[&added]).unwrap();
    batch.submit().unwrap();
    let y = y.read().unwrap();
    assert_eq!(gpu.kernels().counts().dispatches - before.dispatches, 1);
    let operands: [(&[f32], &[usize]); 1] = [(&bias, &[2, 1, 1, 64])];
    let want = chain_forward(&chain, &x, &shape, &operands);
    assert_eq!(breach(&y, &want), None);
    assert_eq!(y.iter().filter(|y| **y == 0.0).count(), y.len() / 64 * 13);
}

#[test]
fn one_dispatch_and_nothing_new_compiled_for_other_values() {
    let Some(gpu) = gpu() else { return };
    let gpu = gpu.trusting();
    let x = gpu.upload(&noise(1, 4096, 3.0), &[64, 64]).unwrap();
    let bias = gpu.upload(&noise(2, 64, 3.0), &[64]).unwrap();
    let run = |text: &str| {
        let before = gpu.kernels().counts();
        let mut batch = gpu.batch();
        let y = batch.chain(&chain(text), &x, &[&bias]).unwrap();
        batch.submit().unwrap();
        y.read().unwrap();
        let after = gpu.kernels().counts();
        (
            after.pipelines - before.pipelines,
            after.dispatches - before.dispatches,
        )
    };
    assert_eq!(
        run("scale(2) | bias(1) | gelu | clamp(0, 6) | dropout(0.1)"),
        (1, 1)
    );
    assert_eq!(
        run("scale(-3) | bias(1) | gelu | clamp(-1, 2) | dropout(0.2, seed=9)"),
        (0, 1)
    );
    // Along another axis the operand is found in another way.
    assert_eq!(
        run("scale(2) | bias(0) | gelu | clamp(0, 6) | dropout(0.1)"),
        (1, 1)
    );
    assert_eq!(run("bias(1) | gelu"), (1, 1));
}

/// Tensors and borrowed buffers give what host memory gives, gradients by operands included.
#[test]
fn every_level_computes_the_same() {
    let Some(gpu) = gpu() else { return };
    let backend = Backend::Gpu(gpu.clone());
    let chain = chain("scale(0.5) | bias(1) | silu | multiply | add");
    let shape = [3, 10, 14];
    let (x, dy) = (noise(1, 420, 3.0), noise(2, 420, 1.0));
    let (bias, factor, rest) = (noise(3, 10, 1.0), noise(4, 14, 1.0), noise(5, 420, 1.0));
    let operands: [(&[f32], &[usize]); 3] = [(&bias, &[10]), (&factor, &[14]), (&rest, &shape)];
    let want = backend.apply_chain(&chain, &x, &shape, &operands).unwrap();
    let (want_dx, want_operands) = backend
        .grad_chain(&chain, &x, &shape, &operands, &dy)
        .unwrap();

    let [x, dy] = [&x, &dy].map(|values| gpu.upload(values, &shape).unwrap());
    let tensors = operands.map(|(values, shape)| gpu.upload(values, shape).unwrap());
    let mut batch = gpu.batch();
    let y = batch.chain(&chain, &x, &tensors.each_ref()).unwrap();
    let (dx, gradients) = batch
        .grad_chain(&chain, &x, &tensors.each_ref(), &dy)
        .unwrap();
    batch.submit().unwrap();
    assert_eq!(y.read().unwrap(), want);
    assert_eq!(dx.read().unwrap(), want_dx);
    for (gradient, (want, tensor)) in gradients.iter().zip(want_operands.iter().zip(&tensors)) {
        assert_eq!(gradient.shape(), tensor.shape());
        for (got, want) in gradient.read().unwrap().iter().zip(want) {
            assert!(
                (got - want).abs() <= 1e-6 * want.abs().max(1.0),
                "{got} {want}"
            );
        }
    }

    let whole = |t: &wgpu_activations::Tensor| t.buffer().clone();
    let out = gpu.upload(&vec![0.0; 420], &shape).unwrap();
    let buffers: Vec<_> = [&x, &out].into_iter().chain(&tensors).map(whole).collect();
    let bytes = |n: usize| ..n as u64 * 4;
    let ranges: Vec<(TypedSlice<'_>, &[usize])> = operands
        .iter()
        .zip(&buffers[2..])
        .map(|((values, shape), buffer)| (buffer.slice(bytes(values.len())).into(), *shape))
        .collect();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let ranges = ChainRanges {
        operands: &ranges,
        gradients: &[],
    };
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let [x, y] = [0, 1].map(|i| buffers[i].slice(bytes(420)));
    gpu.kernels()
        .chain(&mut pass, &chain, &shape, x, ranges, y)
        .unwrap();
    let overlap = gpu.kernels().chain(&mut pass, &chain, &shape, x, ranges, x);
    assert!(matches!(overlap, Err(Error::BufferOverlap { .. })));
    drop(pass);
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(out.read().unwrap(), want);
}

#[test]
fn what_does_not_fit_is_an_error() {
    for backend in backends() {
        let apply = |text: &str, n: usize, operands: &[(&[f32], &[usize])]| {
            backend
                .apply_chain(&chain(text), &vec![1.0; n], &[2, 3], operands)
                .unwrap_err()
        };
        assert!(matches!(
            apply("relu", 5, &[]),
            Error::LengthMismatch { .. }
        ));
        assert!(matches!(apply("add", 6, &[]), Error::ChainOperands { .. }));
        assert!(matches!(
            apply("add", 6, &[(&[1.0; 2], &[2])]),
            Error::NotBroadcastable { .. }
        ));
        assert!(matches!(
            apply("add", 6, &[(&[1.0; 2], &[3])]),
            Error::LengthMismatch { .. }
        ));
        assert!(matches!(
            apply("bias(2)", 6, &[(&[1.0; 2], &[2])]),
            Error::AxisOutOfRange { .. }
        ));
        let chain = Chain::new().scale(f32::INFINITY);
        let scaled = backend.apply_chain(&chain, &[1.0], &[1], &[]);
        assert!(matches!(scaled, Err(Error::ChainStep { .. })));
    }
}

/// A chain of more steps than a kernel takes is several, with the bits of its parts one after the
/// other; kernels by themselves say how many they take.
#[test]
fn a_long_chain_is_the_same_in_parts() {
    let shape = [3, 50];
    let x = noise(1, 150, 2.0);
    let dy = noise(2, 150, 1.0);
    let operands = [
        (noise(3, 50, 1.0), vec![50]),
        (noise(4, 150, 1.0), vec![3, 50]),
    ];
    let given: Vec<(&[f32], &[usize])> = operands.iter().map(|(o, s)| (&o[..], &s[..])).collect();
    let step = |i: usize| match i % 4 {
        0 => "scale(0.75)",
        1 => "leaky_relu",
        2 => "dropout(0.125, seed=7)",
        _ => "scale(1.5)",
    };
    let steps = |from: usize, to: usize| -> Vec<String> {
        let name = |i| match i {
            20 => "add",
            40 => "softmax(axis=-1)",
            60 => "multiply",
            _ => step(i),
        };
        (from..to).map(|i| name(i).to_owned()).collect()
    };
    let of = |from, to| chain(&steps(from, to).join(" | "));
    for backend in backends() {
        let whole = backend.apply_chain(&of(0, 70), &x, &shape, &given).unwrap();
        let first = backend
            .apply_chain(&of(0, 30), &x, &shape, &given[..1])
            .unwrap();
        let second = backend
            .apply_chain(&of(30, 55), &first, &shape, &[])
            .unwrap();
        let third = backend
            .apply_chain(&of(55, 70), &second, &shape, &given[1..])
            .unwrap();
        assert_eq!(whole, third);
        let (dx, by) = backend
            .grad_chain(&of(0, 70), &x, &shape, &given, &dy)
            .unwrap();
        let (g, by_second) = backend
            .grad_chain(&of(55, 70), &second, &shape, &given[1..], &dy)
            .unwrap();
        let (g, _) = backend
            .grad_chain(&of(30, 55), &first, &shape, &[], &g)
            .unwrap();
        let (g, by_first) = backend
            .grad_chain(&of(0, 30), &x, &shape, &given[..1], &g)
            .unwrap();
        assert_eq!((dx, by), (g, [by_first, by_second].concat()));
        let Backend::Gpu(gpu) = &backend else {
            continue;
        };
        let array = gpu.upload(&x, &shape).unwrap();
        let tensors = given.iter().map(|(o, s)| gpu.upload(o, s).unwrap());
        let tensors: Vec<_> = tensors.collect();
        let mut batch = gpu.batch();
        let y = batch
            .chain(&of(0, 70), &array, &[&tensors[0], &tensors[1]])
            .unwrap();
        batch.submit().unwrap();
        assert_eq!(y.read().unwrap(), whole);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let (x, y) = (array.buffer().slice(..600), y.buffer().slice(..600));
        let long = Chain::new();
        let long = (0..33).fold(long, |chain, _| chain.apply(Activation::Tanh));
        let got = gpu
            .kernels()
            .chain(&mut pass, &long, &shape, x, ChainRanges::default(), y);
        let error = got.unwrap_err();
        assert!(
            matches!(
                error,
                Error::ChainTooLong {
                    steps: 33,
                    most: 32
                }
            ),
            "{error}"
        );
    }
}
