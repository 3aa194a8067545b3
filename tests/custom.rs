//! Custom functions: written in Rust alone, with WGSL of their own, in chains, checked; and what is
//! wrong with them told.

mod common;

use common::backends;
use wgpu_activations::reference::{chain_backward, chain_forward};
use wgpu_activations::{Activation, Chain, Custom, CustomFormula, Error, Number, Range, check};

/// x sigmoid(b x), with another derivative than the catalogue's: by dual numbers.
struct Swoosh;

impl CustomFormula for Swoosh {
    fn value<N: Number>(&self, x: N, p: &[N]) -> N {
        x * (p[0] * x).sigmoid()
    }
}

/// A bit of everything that a formula can be made of.
struct Everything;

impl CustomFormula for Everything {
    fn value<N: Number>(&self, x: N, p: &[N]) -> N {
        let c = N::constant;
        let bell = (-(x.squared() * c(0.5))).exp() / (x.abs() + c(1.0));
        let root = (x.squared() + c(1.0)).sqrt();
        let bent = x.less(
            c(0.0),
            x.at_most(0.0).exp_m1() * p[0],
            x.tanh() + x.softplus() * p[1],
        );
        // Far from 0, where a sum's error would be larger than it.
        c(3.0) + bell * root + bent + x.at_least(-1.0).at_most(2.0) * x.erf()
    }
}

fn swoosh() -> Custom {
    let swoosh = Custom::new("swoosh").parameter("b", 1.5, Range::Finite);
    // The rounding of b x is that of the exponent.
    swoosh.bounds(12, 32).formula(Swoosh).unwrap()
}

fn everything() -> Custom {
    Custom::new("everything")
        .parameter("alpha", 1.0, Range::Finite)
        .parameter("beta", 0.5, Range::Finite)
        .bounds(16, 64)
        .formula(Everything)
        .unwrap()
}

const WGSL: &str = "
fn swoosh(x: f32, b: f32) -> f32 {
    return x * sigmoid_sum(b * x, 0.0);
}";

#[test]
fn a_formula_alone_suffices() {
    for backend in backends() {
        for function in [swoosh(), everything()] {
            for report in check::custom::custom(&backend, &function, -8.0..=8.0).unwrap() {
                assert!(report.passed(), "{}: {report:?}", backend.kind());
                assert!(report.inputs > 50_000);
            }
        }
        let other = swoosh().with([("b", -0.25)]).unwrap();
        assert_eq!(other.to_string(), "swoosh(b=-0.25)");
        for report in check::custom::custom(&backend, &other, -8.0..=8.0).unwrap() {
            assert!(report.passed(), "{}: {report:?}", backend.kind());
        }
    }
}

#[test]
fn wgsl_of_ones_own_is_used() {
    let given = Custom::new("swoosh")
        .parameter("b", 1.5, Range::Finite)
        .bounds(12, 32);
    let one = given.clone().wgsl(WGSL).formula(Swoosh).unwrap();
    assert!(one.wgsl().contains("sigmoid_sum(b * x") && one.wgsl().contains("fn swoosh_grad"));
    let both = format!("{WGSL}\nfn swoosh_grad(x: f32, b: f32) -> f32 {{ return 7.0; }}");
    let wrong = given.clone().wgsl(&both).formula(Swoosh).unwrap();
    for backend in backends() {
        let ok = |f: &Custom| -> Vec<bool> {
            let reports = check::custom::custom(&backend, f, -8.0..=8.0).unwrap();
            reports.iter().map(|report| report.passed()).collect()
        };
        assert_eq!(ok(&one), [true, true]);
        // The check sees a derivative that is none, where it is what is computed.
        let gpu = matches!(backend, wgpu_activations::Backend::Gpu(_));
        assert_eq!(ok(&wrong), [true, !gpu]);
    }
}

#[test]
fn custom_functions_go_into_chains() {
    let chain = Chain::new()
        .scale(0.5)
        .apply(everything())
        .bias(-1)
        .apply(Activation::Relu)
        .apply(swoosh());
    let x: Vec<f32> = (0..403)
        .map(|i| (i * 37 % 403) as f32 * 0.05 - 10.0)
        .collect();
    let dy: Vec<f32> = (0..403)
        .map(|i| (i * 53 % 101) as f32 * 0.02 - 1.0)
        .collect();
    let bias: Vec<f32> = (0..13).map(|i| i as f32 * 0.1 - 0.6).collect();
    let (shape, operands) = ([31, 13], [(&bias[..], &[13usize][..])]);
    for backend in backends() {
        let y = backend.apply_chain(&chain, &x, &shape, &operands).unwrap();
        for (got, want) in y.iter().zip(chain_forward(&chain, &x, &shape, &operands)) {
            assert!(want.allows(*got), "{got} instead of {want:?}");
        }
        let (dx, _) = backend
            .grad_chain(&chain, &x, &shape, &operands, &dy)
            .unwrap();
        let (want, _) = chain_backward(&chain, &x, &shape, &operands, &dy);
        for (got, want) in dx.iter().zip(want) {
            assert!(want.allows(*got), "{got} instead of {want:?}");
        }
        let nan = backend
            .apply_chain(&chain, &[f32::NAN; 13], &[1, 13], &operands)
            .unwrap();
        assert!(nan.iter().all(|y| y.is_nan()));
    }
}

#[test]
fn bad_wgsl_shows_its_line() {
    let with = |text: &str| {
        let function = Custom::new("swoosh")
            .parameter("b", 1.0, Range::Finite)
            .wgsl(text);
        function.formula(Swoosh).unwrap_err()
    };
    let line = |text: &str, wanted: u32, shown: &str, said: &str| match with(text) {
        Error::CustomShader {
            line,
            text,
            problem,
            ..
        } => {
            assert_eq!((line, text.as_str()), (Some(wanted), shown), "{problem}");
            assert!(problem.contains(said), "{problem}");
        }
        other => panic!("{other}"),
    };
    let head = "fn swoosh(x: f32, b: f32) -> f32 {";
    line(
        &format!("\n{head}\n    return exq(x);\n}}"),
        3,
        "return exq(x);",
        "exq",
    );
    line(
        &format!("{head}\n    let y = x * b\n    return y;\n}}"),
        3,
        "return y;",
        "expected",
    );
    line(&format!("{head}\n    return 1u;\n}}"), 1, head, "");
    line(
        "// Too few.\nfn swoosh(x: f32) -> f32 { return x; }",
        2,
        "fn swoosh(x: f32) -> f32 { return x; }",
        "p0: f32",
    );
    line(
        "fn swoosh(x: f32, b: u32) -> f32 { return x; }",
        1,
        "fn swoosh(x: f32, b: u32) -> f32 { return x; }",
        "f32",
    );
    let missing = with("fn swish_of_mine(x: f32, b: f32) -> f32 { return x; }");
    assert!(
        missing
            .to_string()
            .contains("fn swoosh(x: f32, p0: f32) -> f32"),
        "{missing}"
    );
    // A name of the library's or of the kernel's own.
    line(
        &format!("fn silu(x: f32) -> f32 {{ return x; }}\n{head} return x; }}"),
        1,
        "fn silu(x: f32) -> f32 { return x; }",
        "redefinition",
    );
    line(
        &format!("fn steps_one(x: f32) -> f32 {{ return x; }}\n{head} return x; }}"),
        1,
        "fn steps_one(x: f32) -> f32 { return x; }",
        "redefinition",
    );
}

#[test]
fn bad_names_and_values_are_told() {
    for name in ["", "2x", "a b", "gelu", "tanh_f32"] {
        let made = Custom::new(name)
            .parameter("b", 1.0, Range::Finite)
            .formula(Swoosh);
        assert!(matches!(made, Err(Error::CustomFunction { .. })), "{name}");
    }
    let made = Custom::new("swoosh")
        .parameter("b", 2.0, Range::Share)
        .formula(Swoosh);
    assert!(made.unwrap_err().to_string().contains("b = 2"));
    assert!(swoosh().with([("b", f32::NAN)]).is_err());
    assert!(
        swoosh()
            .with([("c", 1.0)])
            .unwrap_err()
            .to_string()
            .contains("there is b")
    );
    let other = Custom::new("swoosh")
        .parameter("b", 1.0, Range::Finite)
        .wgsl(WGSL);
    let chain = Chain::new()
        .apply(swoosh())
        .apply(other.formula(Swoosh).unwrap());
    let error = chain.check(&[1], &[]).unwrap_err().to_string();
    assert!(
        error.contains("step 2") && error.contains("same name"),
        "{error}"
    );
}
