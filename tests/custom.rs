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
    // Lines and names are the caller's, whatever they are in the module.
    line(
        &format!(
            "/* Two\nlines. */ const half = 0.5;\nfn silu() {{}}\nfn silu() {{}}\n{head} return x; }}"
        ),
        4,
        "fn silu() {}",
        "redefinition of `silu`",
    );
    line(
        &format!("fn let(x: f32) -> f32 {{ return x; }}\n{head} return x; }}"),
        1,
        "fn let(x: f32) -> f32 { return x; }",
        "let",
    );
    line(
        &format!(
            "\n@group(0) @binding(7) var<storage> mine: array<f32>;\n{head} return mine[0] * x * b; }}"
        ),
        2,
        "@group(0) @binding(7) var<storage> mine: array<f32>;",
        "no bindings",
    );
    // A type of the caller's that hides WGSL's.
    assert!(matches!(
        with(&format!("alias f32 = u32;\n{head} return x; }}")),
        Error::CustomShader { .. }
    ));
    // What the kernel has beside the library is out of reach.
    line(
        &format!("{head}\n    return x * f32(uniforms.count);\n}}"),
        2,
        "return x * f32(uniforms.count);",
        "uniforms",
    );
}

#[test]
fn bad_names_and_values_are_told() {
    for name in ["", "2x", "a b", "_x", "größe"] {
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
}

struct Same;

impl CustomFormula for Same {
    fn value<N: Number>(&self, x: N, _: &[N]) -> N {
        x
    }
}

/// x / (b + |x|).
struct Soft;

impl CustomFormula for Soft {
    fn value<N: Number>(&self, x: N, p: &[N]) -> N {
        x / (x.abs() + p[0])
    }
}

/// Names that are somebody else's: of every shader of the library, of what is composed with them, of
/// WGSL itself.
fn taken() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        for pair in words.windows(2) {
            if matches!(
                pair[0],
                "fn" | "const" | "struct" | "alias" | "override" | "var"
            ) {
                names.push(pair[1].to_owned());
            }
            if matches!(
                pair[0],
                "private" | "workgroup" | "storage" | "uniform" | "read_write"
            ) {
                names.push(pair[1].to_owned());
            }
        }
    }
    assert!(names.len() > 300, "{}", names.len());
    let composed = "DOTS HEADROOM EXACT_MAX FROM_OUTPUT WORDS Elements Gradients ChainConstants x out dy \
                    chain constants load_x load_dy store_out load_operand_0 reach_0 place_0 one_0 \
                    operand_0 gradient_0 store_gradient_0 steps_one before_one after_one chain_unit \
                    load_plain store_plain v0 g0 o0 d0 t0 p0 own_ activations_exp_sum";
    names.extend(composed.split_whitespace().map(str::to_owned));
    names.extend(
        naga::keywords::wgsl::BUILTIN_IDENTIFIERS
            .iter()
            .map(|&name| name.to_owned()),
    );
    names.extend(
        naga::keywords::wgsl::RESERVED
            .iter()
            .map(|&name| name.to_owned()),
    );
    names.retain(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
    names.sort();
    names.dedup();
    names
}

/// A chain of elements and one around a softmax, forward and backward, against the reference.
fn computes_right(chain: &Chain) {
    let x: Vec<f32> = (0..64).map(|i| (i * 37 % 64) as f32 * 0.25 - 8.0).collect();
    let dy: Vec<f32> = (0..64).map(|i| (i * 29 % 64) as f32 * 0.02 - 0.6).collect();
    let shape = [8, 8];
    for backend in backends() {
        for chain in [chain.clone(), chain.clone().softmax(-1)] {
            let y = backend.apply_chain(&chain, &x, &shape, &[]).unwrap();
            for (got, want) in y.iter().zip(chain_forward(&chain, &x, &shape, &[])) {
                assert!(want.allows(*got), "{chain}: {got} instead of {want:?}");
            }
        }
        let (dx, _) = backend.grad_chain(chain, &x, &shape, &[], &dy).unwrap();
        let (want, _) = chain_backward(chain, &x, &shape, &[], &dy);
        for (got, want) in dx.iter().zip(want) {
            assert!(want.allows(*got), "{chain}: {got} instead of {want:?}");
        }
    }
}

/// A function may have any name, and changes nothing but itself.
#[test]
fn no_name_of_a_function_reaches_the_library() {
    let same = |name: &str| Custom::new(name).formula(Same).unwrap();
    // All are helpers in the next test.
    for name in taken().into_iter().step_by(16) {
        let function = same(&name);
        assert_eq!(function.name(), name);
        assert!(function.wgsl().contains(&format!("fn {name}(")));
    }
    let catalogue = |chain: Chain| {
        [
            Activation::Elu,
            Activation::Gelu,
            Activation::Mish,
            Activation::Snake,
        ]
        .into_iter()
        .fold(chain, Chain::apply)
    };
    for names in [
        [
            "floor", "exp", "select", "f32", "abs", "clamp", "bitcast", "let",
        ],
        [
            "DOTS",
            "HEADROOM",
            "EXACT_MAX",
            "FROM_OUTPUT",
            "exp_sum",
            "gelu",
            "x",
            "uniforms",
        ],
    ] {
        computes_right(&catalogue(
            names
                .iter()
                .fold(Chain::new(), |chain, name| chain.apply(same(name))),
        ));
    }
}

/// Nor do the names that its WGSL declares: its own calls are of those, all others of what was there
/// before, the derivative's that is made from the formula among them.
#[test]
fn no_name_in_wgsl_reaches_the_library() {
    let keywords = "alias break case const const_assert continue continuing default diagnostic discard \
                    else enable false fn for if let loop override requires return struct switch true \
                    var while";
    let mut text = String::new();
    for name in taken() {
        // Words that WGSL is written with, and the type that this text is.
        if !keywords.split_whitespace().any(|word| word == name) && name != "f32" {
            text += &format!("fn {name}(y: f32) -> f32 {{ return y + 1.0; }}\n");
        }
    }
    text += "fn mine(y: f32, b: f32) -> f32 {
        if y < 0.0 { return y / (b - y); }
        return y / (b + y) + (floor(1.0) - 2.0) * ratio(3.0);
    }";
    let mine = Custom::new("mine")
        .parameter("b", 0.5, Range::Finite)
        .bounds(4, 16)
        .wgsl(&text)
        .formula(Soft)
        .unwrap();
    let chain = Chain::new()
        .apply(&mine)
        .apply(Activation::Gelu)
        .apply(Activation::Elu);
    computes_right(&chain);
    for backend in backends() {
        for report in check::custom::custom(&backend, &mine, -8.0..=8.0).unwrap() {
            assert!(report.passed(), "{}: {report:?}", backend.kind());
        }
    }
}

/// Nor do the names inside of its functions, and what it has of its own is its own.
#[test]
fn local_names_are_free() {
    let text = "
alias real = f32;
alias Three = array<real, 3>;
struct Pair { uniforms: real, Elements: real }
const real_half: real = 0.5;
var<private> steps: Three;
fn soft(Elements_: real, load_x: real) -> real { return soft2(Elements_, load_x); }
fn soft2(Elements: f32, x: f32) -> real {
    let settled = made(Elements, x);
    var exp_sum = Three(settled.uniforms, settled.Elements, real_half);
    steps = exp_sum;
    return ratio(steps[0], steps[1] + (steps[2] - real_half));
}
fn made(x: real, out: real) -> Pair { return Pair(x, abs(x) + out); }
";
    let soft = Custom::new("soft")
        .parameter("b", 0.5, Range::Finite)
        .bounds(4, 16)
        .wgsl(text)
        .formula(Soft)
        .unwrap();
    computes_right(&Chain::new().apply(soft).apply(Activation::Mish));
}

/// Functions of one name, with helpers of one name, are two functions.
#[test]
fn functions_of_one_name_stay_apart() {
    let with = |helper: &str| {
        let text = format!(
            "fn helper(b: f32) -> f32 {{ return {helper}; }}
             fn soft(x: f32, b: f32) -> f32 {{ return ratio(x, abs(x) + helper(b)); }}"
        );
        let soft = Custom::new("soft")
            .parameter("b", 0.5, Range::Finite)
            .wgsl(&text);
        soft.bounds(4, 16)
    };
    let one = with("b").formula(Soft).unwrap();
    let two = with("0.0 + b").formula(Soft).unwrap();
    let made = Custom::new("soft").formula(Same).unwrap();
    assert_ne!(one.wgsl(), two.wgsl());
    let one = one.with([("b", 2.0)]).unwrap();
    computes_right(&Chain::new().apply(one).apply(two).apply(made));
}

/// Constants that are no WGSL literals.
struct Ends;

impl CustomFormula for Ends {
    fn value<N: Number>(&self, x: N, _p: &[N]) -> N {
        let hole = x.less(N::constant(-100.0), N::constant(f64::NAN), x);
        N::constant(100.0).less(x, N::constant(f64::INFINITY), hole)
    }
}

#[test]
fn constants_may_be_infinite() {
    let ends = Custom::new("ends").formula(Ends).unwrap();
    let chain = Chain::new().apply(ends);
    let (inf, max) = (f32::INFINITY, f32::MAX);
    let x = [-3.5, 0.0, 99.0, 101.0, max, inf, -max, -inf];
    for backend in backends() {
        let what = backend.description();
        let y = backend.apply_chain(&chain, &x, &[x.len()], &[]).unwrap();
        assert_eq!(y[..6], [-3.5, 0.0, 99.0, inf, inf, inf], "{what}");
        assert!(y[6].is_nan() && y[7].is_nan(), "{what}: {y:?}");
    }
    // The largest f32 is less than infinity, and infinity is not.
    let bounded = Custom::new("bounded").formula(Bounded).unwrap();
    let chain = Chain::new().apply(bounded);
    for backend in backends() {
        let y = backend.apply_chain(&chain, &[-inf, -max, 1.0, max, inf], &[5], &[]);
        assert_eq!(
            y.unwrap(),
            [-7.0, -max, 1.0, max, 7.0],
            "{}",
            backend.description()
        );
    }
}

struct Bounded;

impl CustomFormula for Bounded {
    fn value<N: Number>(&self, x: N, _p: &[N]) -> N {
        let inf = N::constant(f64::INFINITY);
        let below = x.less(inf, x, N::constant(7.0));
        (-inf).less(x, below, N::constant(-7.0))
    }
}
