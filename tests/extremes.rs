//! Extreme parameters and extreme inputs together, in both directions, on every backend: the
//! contract holds wherever a function is defined.

mod common;

use common::backends;
use wgpu_activations::check::Pass;
use wgpu_activations::reference::{self, ulp_error};
use wgpu_activations::{Activation, Backend, Chain, Elementwise, Range};

/// Magnitudes of parameters: subnormal, at the ends of the normal numbers, where products with
/// inputs leave f32 on either side, and ordinary ones.
const MAGNITUDES: [f32; 15] = [
    1e-45,
    3.1e-41,
    f32::MIN_POSITIVE,
    1.3e-30,
    7.7e-20,
    1.1e-9,
    0.017,
    0.3,
    1.0,
    1.7,
    36.0,
    2.1e6,
    2.3e19,
    1.4e30,
    f32::MAX,
];

fn parameters(range: Range) -> Vec<f32> {
    let signed = MAGNITUDES.into_iter().flat_map(|m| [m, -m]);
    let ends = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY];
    let allowed = |v: &f32| match range {
        Range::Finite => v.is_finite(),
        Range::NonZero => v.is_finite() && *v != 0.0,
        Range::NonNegative => v.is_finite() && *v >= 0.0,
        // `with` has the last word.
        _ => true,
    };
    signed.chain(ends).filter(allowed).collect()
}

/// `activation` with every combination of extreme parameters that it takes, and its default.
fn sets(activation: Activation) -> Vec<Elementwise> {
    let mut sets = vec![Elementwise::from(activation)];
    let info = activation.info();
    let values = info.parameters.iter().map(|p| {
        let mut values = parameters(p.range);
        values.push(p.default);
        values
            .into_iter()
            .map(move |v| (p.name, v))
            .collect::<Vec<_>>()
    });
    match &values.collect::<Vec<_>>()[..] {
        [] => {}
        [one] => sets.extend(one.iter().filter_map(|&p| activation.with([p]).ok())),
        [one, two] => {
            let pairs = one.iter().flat_map(|&a| two.iter().map(move |&b| [a, b]));
            sets.extend(pairs.filter_map(|pair| activation.with(pair).ok()));
        }
        more => panic!("{} parameters", more.len()),
    }
    sets
}

/// Every exponent with both signs and two fractions, the ends, and where the parameters bend the
/// function or bring its argument to an ordinary size.
fn inputs(f: &Elementwise) -> Vec<f32> {
    let mut inputs = vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for exponent in 0..255u32 {
        for fraction in [0u32, 0x2b_5a31, 0x7f_ffff] {
            let x = f32::from_bits(exponent << 23 | fraction);
            inputs.extend([x, -x]);
        }
    }
    // One bit each.
    inputs.extend((0..23).flat_map(|bit| [f32::from_bits(1 << bit), -f32::from_bits(1 << bit)]));
    let p = f.parameters();
    let mut points = reference::kinks(f);
    for &p in p {
        let p = f64::from(p);
        for z in [
            1e-6, 0.02, 0.5, 1.0, 3.0, 9.0, 60.0, 87.0, 90.0, 104.0, 130.0, 200.0,
        ] {
            points.extend([z * p, z / p, -z * p, -z / p]);
        }
        points.extend([p.abs().sqrt(), -p.abs().sqrt()]);
    }
    for point in points {
        let bits = (point as f32).to_bits();
        inputs.extend((-2i32..=2).map(|i| f32::from_bits(bits.wrapping_add_signed(i))));
    }
    inputs
}

fn flushed(v: f32) -> f32 {
    if v.is_subnormal() {
        0.0f32.copysign(v)
    } else {
        v
    }
}

/// By how many ULP `got` is off at best, where subnormal inputs and parameters are as they are or
/// flushed.
fn off(f: &Elementwise, also: Option<&Elementwise>, pass: Pass, x: f32, got: f32) -> (f64, f64) {
    let error = |f: &Elementwise, x: f32| {
        let (want, term) = match pass {
            Pass::Forward => (reference::forward(f, x.into()), 0.0),
            Pass::Backward => {
                let term = reference::largest_term(f, x.into());
                (reference::backward(f, x.into()), term)
            }
        };
        assert!(
            !want.is_nan() || x.is_nan(),
            "the reference of {f} at {x:e}"
        );
        (want, ulp_error(got, want, term))
    };
    let (want, own) = error(f, x);
    let mut best = own;
    for f in [Some(f), also].into_iter().flatten() {
        for x in [x, flushed(x)] {
            if best > 0.0 {
                best = best.min(error(f, x).1);
            }
        }
    }
    (want, best)
}

/// What is outside the bounds of `activation` on `backend`: how many results, and the worst.
fn breaches(backend: &Backend, activation: Activation, pass: Pass) -> (usize, Option<String>) {
    let bounds = activation.info().bounds;
    let bound = match pass {
        Pass::Forward => bounds.forward,
        Pass::Backward => bounds.backward,
    };
    let (mut count, mut worst) = (0, (0.0, None));
    for f in sets(activation) {
        let x = inputs(&f);
        let results = match pass {
            Pass::Forward => backend.apply(f, &x),
            Pass::Backward => backend.grad(f, &x, &vec![1.0; x.len()]),
        };
        let names = activation.info().parameters.iter().map(|p| p.name);
        let values = f.parameters().iter().map(|&v| flushed(v));
        let also = activation.with(names.zip(values)).ok();
        let also = also.filter(|also| *also != f);
        for (&x, got) in x.iter().zip(results.unwrap()) {
            let (want, ulp) = off(&f, also.as_ref(), pass, x, got);
            // What is far below every f32 leaves no residue.
            let residue = want.abs() < 2f64.powi(-152) && got.abs() > f32::from_bits(2);
            let residue = residue && !x.is_subnormal();
            if ulp > f64::from(bound) || got.is_nan() != x.is_nan() || residue {
                count += 1;
                if ulp > worst.0 || worst.1.is_none() {
                    let text = format!("{f} {pass} at {x:e}: {got:e}, {want:e}, {ulp:.1} ULP");
                    worst = (ulp, Some(text));
                }
            }
        }
    }
    (count, worst.1)
}

#[test]
fn every_function_holds_at_every_extreme() {
    for backend in backends() {
        let mut wrong = Vec::new();
        for &activation in Activation::ALL {
            for pass in [Pass::Forward, Pass::Backward] {
                if let (count, Some(worst)) = breaches(&backend, activation, pass) {
                    wrong.push(format!("{count} breaches, the worst: {worst}"));
                }
            }
        }
        let what = backend.description();
        assert!(wrong.is_empty(), "{what}\n{}", wrong.join("\n"));
    }
}

/// The inputs next to the kinks of hardsigmoid and its kin, and a spread.
fn around_three() -> Vec<f32> {
    let near = |to: f32| (-2000i32..=2000).map(move |i| to.to_bits().wrapping_add_signed(i));
    let near = near(3.0).chain(near(-3.0)).map(f32::from_bits);
    near.chain((-40_000..=40_000).map(|i| i as f32 * 1.1e-4))
        .collect()
}

/// The default is PyTorch's relu6(x + 3) / 6, also where little is left of the line, alone and in
/// a chain; hardswish is x times it.
#[test]
fn the_default_hardsigmoid_is_a_sixth_of_relu6() {
    let x = around_three();
    for backend in backends() {
        let what = backend.description();
        let hard = Activation::HardSigmoid;
        let y = backend.apply(hard, &x).unwrap();
        let swish = backend.apply(Activation::Hardswish, &x).unwrap();
        for ((&x, &y), &swish) in x.iter().zip(&y).zip(&swish) {
            let sixth = (f64::from(x) + 3.0).clamp(0.0, 6.0) / 6.0;
            assert!(
                ulp_error(y, sixth, 0.0) <= 2.0,
                "{what} at {x}: {y:e}, {sixth:e}"
            );
            let product = f64::from(x) * sixth;
            assert!(
                ulp_error(swish, product, 0.0) <= 2.0,
                "{what} at {x}: {swish:e}, {product:e}"
            );
        }
        assert!(y.iter().all(|y| (0.0..=1.0).contains(y)));
        assert_eq!(
            backend.apply(hard, &[3.0, 7.0, f32::INFINITY]).unwrap(),
            [1.0; 3]
        );
        let chain = Chain::new().apply(hard);
        assert_eq!(backend.apply_chain(&chain, &x, &[x.len()], &[]).unwrap(), y);
        // Upstream gradients meet 1/6, and nothing outside.
        let slope = backend.grad(hard, &[-3.0, -2.9999998, 0.0, 2.9999998, 3.0], &[6.0; 5]);
        assert_eq!(slope.unwrap(), [0.0, 1.0, 1.0, 1.0, 0.0], "{what}");
    }
}

/// An alpha that is given is that f32, also the one nearest to 1/6.
#[test]
fn a_given_alpha_is_what_it_is() {
    let x = around_three();
    let alpha = 1.0f32 / 6.0;
    let given = Activation::HardSigmoid.with([("alpha", alpha)]).unwrap();
    for backend in backends() {
        let y = backend.apply(given, &x).unwrap();
        for (&x, &y) in x.iter().zip(&y) {
            // Exact but for the sum's one rounding.
            let want = (f64::from(alpha) * f64::from(x) + 0.5).clamp(0.0, 1.0);
            assert!(
                ulp_error(y, want, 0.0) <= 2.0,
                "{} at {x}: {y:e}, {want:e}",
                backend.description()
            );
        }
        let default = backend
            .apply(Activation::HardSigmoid, &[-2.999_999])
            .unwrap()[0];
        assert_ne!(backend.apply(given, &[-2.999_999]).unwrap()[0], default);
    }
}
