//! Gated linear units on every backend against the f64 reference.

mod common;

use common::backends;
use wgpu_activations::reference::{self as activation, gate as reference, ulp_error};
use wgpu_activations::{
    Activation, Backend, Bounds, Error, Gate, Gpu, Layout, OfShape, Order, check,
};

/// Marsaglia's xorshift64 (2003).
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 8_388_608.0 - 1.0
    }

    /// Any normal number, of any exponent.
    fn any(&mut self) -> f32 {
        loop {
            let x = f32::from_bits(self.bits());
            if x.is_normal() {
                return x;
            }
        }
    }
}

/// Values, gates and upstream gradients that hurt: dense around zero, of all exponents in every
/// combination, every special value with every other.
fn hard() -> [Vec<f32>; 3] {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut inputs = [const { Vec::new() }; 3];
    let mut push = |value: f32, gate: f32, dy: f32| {
        for (input, x) in inputs.iter_mut().zip([value, gate, dy]) {
            input.push(x);
        }
    };
    for _ in 0..15_000 {
        push(noise.unit() * 4.0, noise.unit() * 6.0, noise.unit() * 2.0);
        push(noise.unit() * 9.0, noise.unit() * 30.0, noise.unit());
        push(noise.any(), noise.unit() * 100.0, noise.any());
        push(noise.any(), noise.any(), noise.any());
        // A gate that leaves f32, weighed by what brings the product back.
        push(
            noise.unit() * 3e38,
            noise.unit() * 300.0,
            noise.unit() * 3e38,
        );
        // Near the mantissas that make an ULP of a factor two of the product.
        push(
            1.99 + noise.unit() * 0.01,
            noise.unit() * 8.0,
            1.99 + noise.unit() * 0.01,
        );
    }
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let special = [
        0.0,
        -0.0,
        inf,
        -inf,
        nan,
        1.0,
        -1.0,
        7.0,
        -7.0,
        7.000_001,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -2.5,
    ];
    for value in special {
        for gate in special {
            for dy in special {
                push(value, gate, dy);
            }
        }
    }
    inputs
}

/// The worst errors of a result and both gradients, with where they are.
fn worst(gate: &Gate, inputs: &[Vec<f32>; 3], got: [&[f32]; 3]) -> [(f64, String); 3] {
    let mut worst = [(); 3].map(|()| (-1.0, String::new()));
    for i in 0..inputs[0].len() {
        let [v, g, dy] = [0, 1, 2].map(|k| f64::from(inputs[k][i]));
        // Where f or f' has left f32, only factors that are kept in parts come back.
        let f = gate.function();
        let factors = [activation::forward(&f, g), activation::backward(&f, g)];
        let gone = |f: &f64| *f != 0.0 && f.abs() < f32::MIN_POSITIVE.into();
        if gate.bounds() != Bounds::CONTRACT && factors.iter().any(gone) {
            continue;
        }
        let back = reference::backward(gate, v, g, dy);
        let wants = [
            (reference::forward(gate, v, g), 0.0),
            (back.value, 0.0),
            (back.gate, back.largest),
        ];
        for ((worst, got), (want, largest)) in worst.iter_mut().zip(got).zip(wants) {
            // Terms may be larger than their sum, and than f32 is.
            let max = f64::from(f32::MAX);
            let error = ulp_error(got[i], want, largest) * (max / largest).min(1.0);
            if error > worst.0 {
                let at = format!("value {v:e}, gate {g:e}, dy {dy:e}");
                *worst = (error, format!("{:e} instead of {want:e} at {at}", got[i]));
            }
        }
    }
    worst
}

#[test]
fn every_gate_holds_its_bounds() {
    let mut functions = Gate::ALL.to_vec();
    functions.extend([
        Gate::SWIGLU.with([("alpha", 1.3)]).unwrap(),
        Gate::CLAMPED_SWIGLU
            .with([("limit", 2.5), ("alpha", 0.7), ("offset", -0.4)])
            .unwrap(),
        Gate::new(Activation::QuickGelu),
        Gate::new(Activation::Hardtanh),
        Gate::new(Activation::Softshrink),
        Gate::new(Activation::Tanh),
        Gate::new(Activation::Elu),
        Gate::new(
            Activation::LeakyRelu
                .with([("negative_slope", 0.3)])
                .unwrap(),
        ),
    ]);
    hold(&functions, &hard());
}

/// Extreme parameters, with inputs at the ends of f32. Steeper ones would make something of bits that a
/// device may flush from an input near 2^-126.
#[test]
fn extreme_parameters_hold_their_bounds() {
    let alphas = [1.702, 1e-30, -1e-20, 1e10, -1e20, 1e30];
    let limits = [7.0, 1e-30, 1e30, f32::MAX];
    let offsets = [1.0, 0.0, -1e30, f32::MAX, f32::MIN];
    let mut functions = alphas
        .map(|alpha| Gate::SWIGLU.with([("alpha", alpha)]).unwrap())
        .to_vec();
    for alpha in alphas {
        for limit in limits {
            let clamped = offsets.map(|offset| {
                let parameters = [("alpha", alpha), ("limit", limit), ("offset", offset)];
                Gate::CLAMPED_SWIGLU.with(parameters).unwrap()
            });
            functions.extend(clamped);
        }
    }
    // All of the special ones, at the end, and some of the others.
    let inputs: [Vec<f32>; 3] = hard().map(|all| {
        let (drawn, special) = all.split_at(90_000);
        let drawn = drawn.iter().step_by(59);
        drawn.chain(special).copied().collect()
    });
    assert!(inputs[0].len() > 4000);
    hold(&functions, &inputs);
}

fn hold(functions: &[Gate], inputs: &[Vec<f32>; 3]) {
    let [value, gates, dy] = inputs;
    for backend in backends() {
        let mut breaches = Vec::new();
        for function in functions {
            let y = backend.apply(function, (value, gates)).unwrap();
            let [dvalue, dgate] = backend
                .grads(function, (value, gates), dy)
                .unwrap()
                .try_into()
                .unwrap();
            let bounds = function.bounds();
            let limits = [bounds.forward, bounds.backward, bounds.backward];
            let errors = worst(function, inputs, [&y, &dvalue, &dgate]);
            println!(
                "{function}: {:.2} {:.2} {:.2}",
                errors[0].0, errors[1].0, errors[2].0
            );
            for ((error, what), limit) in errors.into_iter().zip(limits) {
                if error > limit.into() {
                    breaches.push(format!("{function}: {error:.2} ULP, {what}"));
                }
            }
        }
        let name = backend.description();
        assert!(breaches.is_empty(), "{name}\n{}", breaches.join("\n"));
    }
}

#[test]
fn the_check_passes() {
    for backend in backends() {
        for gate in [
            Gate::GEGLU,
            Gate::CLAMPED_SWIGLU,
            Gate::new(Activation::Mish),
        ] {
            for report in check::gate::gate(&backend, &gate).unwrap() {
                assert!(report.passed(), "{report:?}");
                assert!(report.inputs > 60_000);
            }
        }
    }
}

/// vLLM's names are an activation of the first half times the second; all others have the value first,
/// and one array is what its halves are as two.
#[test]
fn every_name_has_its_order() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2);
    let tanh = |x: f64| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + u.tanh())
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let clamped = |x: f64| silu(1.702 * x) / 1.702;
    let (a, b, c, d) = (1.0, 2.0, 3.0, 4.0);
    for (name, want) in [
        ("silu_and_mul", [silu(a) * c, silu(b) * d]),
        ("SiLU-and-Mul", [silu(a) * c, silu(b) * d]),
        ("gelu_and_mul", [gelu(a) * c, gelu(b) * d]),
        ("gelu_tanh_and_mul", [tanh(a) * c, tanh(b) * d]),
        ("mul_and_silu", [a * silu(c), b * silu(d)]),
        ("swiglu", [a * silu(c), b * silu(d)]),
        ("geglu", [a * gelu(c), b * gelu(d)]),
        ("geglu_erf", [a * gelu(c), b * gelu(d)]),
        ("geglu_tanh", [a * tanh(c), b * tanh(d)]),
        ("reglu", [a * c, b * d]),
        ("bilinear", [a * c, b * d]),
        ("glu", [a * sigmoid(c), b * sigmoid(d)]),
        ("gated_linear_unit", [a * sigmoid(c), b * sigmoid(d)]),
        // Pairs, the gate first.
        (
            "clamped_swiglu",
            [clamped(a) * (b + 1.0), clamped(c) * (d + 1.0)],
        ),
        (
            "swiglu_oai",
            [clamped(a) * (b + 1.0), clamped(c) * (d + 1.0)],
        ),
        (
            "gpt_oss_swiglu",
            [clamped(a) * (b + 1.0), clamped(c) * (d + 1.0)],
        ),
    ] {
        let gate: Gate = name.parse().unwrap();
        for backend in backends() {
            let x = [1.0f32, 2.0, 3.0, 4.0];
            let y = backend.apply(gate.along(-1), &x).unwrap();
            for (got, want) in y.iter().zip(want) {
                assert!(
                    ulp_error(*got, want, 0.0) <= 2.0,
                    "{name}: {got} instead of {want}"
                );
            }
            let split = gate.with_layout(Layout::Split);
            let (value, other) = match gate.order() {
                Order::ValueFirst => x.split_at(2),
                Order::GateFirst => (&x[2..], &x[..2]),
            };
            let pair = backend.apply(split, (value, other)).unwrap();
            assert_eq!(pair, backend.apply(split.along(-1), &x).unwrap(), "{name}");
        }
    }
}

/// The measure objects to another gate, another order, and gradients in each other's place.
#[test]
fn wrong_gates_are_seen() {
    let inputs = hard();
    let [value, gates, dy] = &inputs;
    let cpu = Backend::cpu();
    let y = cpu.apply(Gate::GEGLU_TANH, (value, gates)).unwrap();
    let [dvalue, dgate] = cpu
        .grads(&Gate::GEGLU, (value, gates), dy)
        .unwrap()
        .try_into()
        .unwrap();
    let errors = worst(&Gate::GEGLU, &inputs, [&y, &dgate, &dvalue]);
    assert!(
        errors.iter().all(|(error, _)| *error > 1000.0),
        "{errors:?}"
    );
    let swapped = cpu.apply(Gate::REGLU, (gates, value)).unwrap();
    assert!(worst(&Gate::REGLU, &inputs, [&swapped, &dvalue, &dgate])[0].0 > 1000.0);
}

/// The halves of a layout, found the plain way: the flat places of each value and its gate.
fn places(gate: &Gate, shape: &[usize], axis: usize) -> Vec<[usize; 2]> {
    let inner: usize = shape[axis + 1..].iter().product();
    let len = shape[axis];
    let outer: usize = shape[..axis].iter().product();
    let mut places = Vec::new();
    for o in 0..outer {
        for i in 0..len / 2 {
            for n in 0..inner {
                let (a, b) = match gate.layout() {
                    Layout::Split => (i, i + len / 2),
                    Layout::Interleaved => (2 * i, 2 * i + 1),
                };
                let [a, b] = [a, b].map(|i| (o * len + i) * inner + n);
                places.push(match gate.order() {
                    Order::ValueFirst => [a, b],
                    Order::GateFirst => [b, a],
                });
            }
        }
    }
    places
}

#[test]
fn every_layout_is_that_of_separate_arrays() {
    let shapes: [(&[usize], isize); 13] = [
        (&[2], 0),
        (&[6], -1),
        (&[8], 0),
        (&[5, 2], 1),
        (&[3, 10], -1),
        (&[3, 16], -1),
        (&[2, 6, 5], 1),
        (&[2, 6, 8], 1),
        (&[4, 3, 7], 0),
        (&[0, 4], 1),
        (&[4, 0], 0),
        (&[300, 1030], -1),
        (&[40_002, 3], 0),
    ];
    for backend in backends() {
        for (shape, axis) in shapes {
            let mut noise = Noise(7 + shape.len() as u64);
            let n: usize = shape.iter().product();
            let x: Vec<f32> = (0..n).map(|_| noise.unit() * 3.0).collect();
            let dy: Vec<f32> = (0..n / 2).map(|_| noise.unit()).collect();
            for layout in [Layout::Split, Layout::Interleaved] {
                for order in [Order::ValueFirst, Order::GateFirst] {
                    let gate = Gate::SWIGLU.with_layout(layout).with_order(order);
                    let index = axis.rem_euclid(shape.len() as isize) as usize;
                    let places = places(&gate, shape, index);
                    let [value, gates] = [0, 1].map(|k| {
                        let of = places.iter().map(|place| x[place[k]]);
                        of.collect::<Vec<f32>>()
                    });
                    let y = backend.apply(gate.along(axis), x.of_shape(shape)).unwrap();
                    let what = format!("{} {shape:?} {axis} {layout:?} {order:?}", backend.kind());
                    assert_eq!(y, backend.apply(gate, (&value, &gates)).unwrap(), "{what}");
                    let dx = backend
                        .grad(gate.along(axis), x.of_shape(shape), &dy)
                        .unwrap();
                    let [dvalue, dgate] = backend
                        .grads(&gate, (&value, &gates), &dy)
                        .unwrap()
                        .try_into()
                        .unwrap();
                    let mut want = vec![0.0; n];
                    for (i, [v, g]) in places.into_iter().enumerate() {
                        (want[v], want[g]) = (dvalue[i], dgate[i]);
                    }
                    assert_eq!(dx, want, "{what}'");
                }
            }
        }
    }
}

/// Lengths around fours, workgroups and the pieces that travel.
#[test]
fn lengths() {
    for backend in backends() {
        for n in [
            0,
            1,
            3,
            4,
            5,
            511,
            512,
            513,
            32_767,
            65_537,
            (2 << 20) - 1,
            (4 << 20) + 6,
        ] {
            let mut noise = Noise(11);
            let [value, gates, dy] = [(); 3].map(|()| {
                let numbers = (0..n).map(|_| noise.unit());
                numbers.collect::<Vec<f32>>()
            });
            let y = backend.apply(Gate::REGLU, (&value, &gates)).unwrap();
            let product = |(&v, &g): (&f32, &f32)| if g > 0.0 { v * g } else { 0.0 };
            assert!(
                y.iter().copied().eq(value.iter().zip(&gates).map(product)),
                "{n}"
            );
            let x = [&value[..], &gates].concat();
            let dx = backend.grad(Gate::REGLU.along(0), &x, &dy).unwrap();
            let want = |i: usize| {
                let open = gates[i % n] > 0.0;
                let factor = if i < n { gates[i] } else { value[i - n] };
                if open { dy[i % n] * factor } else { 0.0 }
            };
            assert!((0..2 * n).all(|i| dx[i] == want(i)), "{n}");
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    for backend in backends() {
        let x = [1.0; 12];
        let odd = backend
            .apply(Gate::GLU.along(-1), x.of_shape(&[4, 3]))
            .unwrap_err();
        assert!(matches!(odd, Error::OddAxis { len: 3, .. }), "{odd}");
        assert!(odd.to_string().contains("glu"), "{odd}");
        assert!(
            backend
                .apply(Gate::GLU.along(2), x.of_shape(&[4, 3]))
                .is_err()
        );
        assert!(
            backend
                .apply(Gate::GLU.along(0), x.of_shape(&[4, 4]))
                .is_err()
        );
        assert!(
            backend
                .grad(Gate::GLU.along(0), x.of_shape(&[4, 3]), &[1.0; 5])
                .is_err()
        );
        assert!(backend.apply(Gate::GLU, (&x, &x[1..])).is_err());
        assert!(backend.grads(&Gate::GLU, (&x, &x), &x[1..]).is_err());
        let mut y = [0.0; 7];
        assert!(
            backend
                .apply_into(Gate::GLU.along(0), x.of_shape(&[4, 3]), &mut y)
                .is_err()
        );
    }
}

/// The device level and the encoder level compute what the host level does.
#[test]
fn tensors() {
    let Some(Backend::Gpu(gpu)) = backends()
        .into_iter()
        .find(|b| matches!(b, Backend::Gpu(_)))
    else {
        return;
    };
    let backend = Backend::Gpu(Gpu::clone(&gpu));
    let mut noise = Noise(3);
    let x: Vec<f32> = (0..6 * 10).map(|_| noise.unit()).collect();
    let dy: Vec<f32> = (0..6 * 5).map(|_| noise.unit()).collect();
    let gate = Gate::GEGLU;
    let [tx, tdy] = [(&x, [6, 10]), (&dy, [6, 5])].map(|(x, s)| gpu.upload(x, &s).unwrap());
    let mut batch = gpu.batch();
    let y = batch.apply(gate.along(-1), &tx).unwrap();
    let dx = batch.grad(gate.along(-1), &tx, &tdy).unwrap();
    let pair = batch.apply(gate, (&tdy, &y)).unwrap();
    let by_both = batch.grads(gate, (&tdy, &y), &pair).unwrap();
    assert!(batch.apply(gate.along(2), &tx).is_err());
    assert!(batch.grad(gate.along(-1), &tx, &tx).is_err());
    assert!(batch.apply(gate, (&tx, &y)).is_err());
    assert!(batch.grads(gate, (&y, &y), &tx).is_err());
    batch.submit().unwrap();
    assert_eq!(y.shape(), [6, 5]);
    assert_eq!(dx.shape(), [6, 10]);
    let read = |t: &wgpu_activations::Tensor| t.read().unwrap();
    assert_eq!(
        read(&y),
        backend.apply(gate.along(1), x.of_shape(&[6, 10])).unwrap()
    );
    assert_eq!(
        read(&dx),
        backend
            .grad(gate.along(1), x.of_shape(&[6, 10]), &dy)
            .unwrap()
    );
    assert_eq!(read(&pair), backend.apply(gate, (&dy, &read(&y))).unwrap());
    let want = backend
        .grads(&gate, (&dy, &read(&y)), &read(&pair))
        .unwrap();
    let by_both: Vec<_> = by_both.iter().map(read).collect();
    assert_eq!(by_both, want);
}
