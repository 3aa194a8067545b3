//! `run` and `grad`: results against formulas that are written out here in f64.

use crate::support::{Scratch, assert_close, npy, read, words};

/// Half the contract's slack, to spare: what the command line adds is no error at all.
const ULP: f64 = 4.0;

fn inputs() -> Vec<f32> {
    (0..24)
        .map(|i| ((i * 37 % 24) as f32 - 11.0) * 0.4375)
        .collect()
}

/// Runs `line` on the inputs as a [2, 3, 4] array named x.npy.
fn run(line: &str) -> (Vec<usize>, Vec<f32>) {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    let line = format!("{line} {{x.npy}} -o {{y.npy}} --backend cpu");
    words(&scratch, &line).ok();
    read(&scratch.path("y.npy"))
}

fn map(f: impl Fn(f64) -> f64) -> Vec<f64> {
    inputs().iter().map(|&x| f(f64::from(x))).collect()
}

/// The rows of a [2, 3, 4] array along `axis`, as lists of positions.
fn rows(axis: usize) -> Vec<Vec<usize>> {
    let at = |i: usize, j: usize, k: usize| 12 * i + 4 * j + k;
    match axis {
        0 => (0..12)
            .map(|n| (0..2).map(|i| at(i, n / 4, n % 4)).collect())
            .collect(),
        1 => (0..8)
            .map(|n| (0..3).map(|j| at(n / 4, j, n % 4)).collect())
            .collect(),
        2 => (0..6)
            .map(|n| (0..4).map(|k| at(n / 3, n % 3, k)).collect())
            .collect(),
        _ => unreachable!("three axes"),
    }
}

fn softmax(axis: usize) -> Vec<f64> {
    let x = map(|x| x);
    let mut y = vec![0.0; 24];
    for row in rows(axis) {
        let sum: f64 = row.iter().map(|&i| x[i].exp()).sum();
        for &i in &row {
            y[i] = x[i].exp() / sum;
        }
    }
    y
}

fn logsumexp(axis: usize) -> Vec<f64> {
    let x = map(|x| x);
    let sum = |row: &Vec<usize>| row.iter().map(|&i| x[i].exp()).sum::<f64>().ln();
    rows(axis).iter().map(sum).collect()
}

#[test]
fn element_wise_functions() {
    let (shape, y) = run("run silu");
    assert_eq!(shape, [2, 3, 4]);
    assert_close(&y, &map(|x| x / (1.0 + (-x).exp())), ULP);
    let (_, y) = run("run tanh");
    assert_close(&y, &map(f64::tanh), ULP);
    let slope = f64::from(0.2f32);
    let leaky = map(|x| if x > 0.0 { x } else { slope * x });
    let (_, y) = run("run leaky_relu -p negative_slope=0.2");
    assert_close(&y, &leaky, ULP);
    // The default is another one, so the parameter does arrive.
    let (_, y) = run("run leaky_relu");
    assert!(std::panic::catch_unwind(|| assert_close(&y, &leaky, ULP)).is_err());
    let (_, y) = run("run hardtanh -p min_val=-2.5 -p max_val=0.5");
    assert_close(&y, &map(|x| x.clamp(-2.5, 0.5)), ULP);
    let (_, y) = run("run clamp -p min=-inf --param max=-1");
    assert_close(&y, &map(|x| x.min(-1.0)), ULP);
}

#[test]
fn softmax_along_every_axis() {
    for (text, axis) in [
        ("", 2),
        ("--axis=-1", 2),
        ("--axis -1", 2),
        ("--axis 2", 2),
        ("--axis=-2", 1),
        ("--axis 1", 1),
        ("--axis 0", 0),
        ("--axis -3", 0),
    ] {
        let (shape, y) = run(&format!("run softmax {text}"));
        assert_eq!(shape, [2, 3, 4]);
        assert_close(&y, &softmax(axis), ULP);
        let (_, y) = run(&format!("run log_softmax {text}"));
        let want: Vec<f64> = softmax(axis).iter().map(|y| y.ln()).collect();
        assert_close(&y, &want, ULP);
    }
}

#[test]
fn logsumexp_drops_or_keeps_its_axis() {
    for (text, axis, dropped, kept) in [
        ("", 2, [2, 3], [2, 3, 1]),
        ("--axis 1", 1, [2, 4], [2, 1, 4]),
        ("--axis=-3", 0, [3, 4], [1, 3, 4]),
    ] {
        let (shape, y) = run(&format!("run logsumexp {text}"));
        assert_eq!(shape, dropped);
        assert_close(&y, &logsumexp(axis), ULP);
        let (shape, y) = run(&format!("run logsumexp --keepdims {text}"));
        assert_eq!(shape, kept);
        assert_close(&y, &logsumexp(axis), ULP);
    }
}

/// The gradient on the inputs for an upstream array of this shape.
fn grad(line: &str, shape: &[usize], dy: &[f32]) -> Vec<f32> {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    scratch.array("dy.npy", shape, dy);
    let line = format!("{line} {{x.npy}} --upstream {{dy.npy}} -o {{dx.npy}} --backend cpu");
    words(&scratch, &line).ok();
    let (shape, dx) = read(&scratch.path("dx.npy"));
    assert_eq!(shape, [2, 3, 4]);
    dx
}

#[test]
fn gradients() {
    let dy: Vec<f32> = (0..24).map(|i| (i as f32 - 7.0) * 0.25).collect();
    let wide: Vec<f64> = dy.iter().map(|&g| f64::from(g)).collect();
    let times = |d: Vec<f64>| d.iter().zip(&wide).map(|(d, g)| d * g).collect::<Vec<_>>();

    let dx = grad("grad tanh", &[2, 3, 4], &dy);
    assert_close(&dx, &times(map(|x| 1.0 / x.cosh().powi(2))), 2.0 * ULP);
    let dx = grad("grad square", &[2, 3, 4], &dy);
    assert_close(&dx, &times(map(|x| 2.0 * x)), 2.0 * ULP);

    for axis in 0..3 {
        let y = softmax(axis);
        let mut want = vec![0.0; 24];
        for row in rows(axis) {
            let dot: f64 = row.iter().map(|&i| wide[i] * y[i]).sum();
            for &i in &row {
                want[i] = y[i] * (wide[i] - dot);
            }
        }
        let dx = grad(&format!("grad softmax --axis {axis}"), &[2, 3, 4], &dy);
        // Differences may cancel, so the distance counts in units of the largest term.
        for (dx, want) in dx.iter().zip(&want) {
            assert!((f64::from(*dx) - want).abs() < 5e-6, "{dx} is not {want}");
        }
    }
    for (shape, flag) in [(&[2, 3][..], ""), (&[2, 3, 1], "--keepdims")] {
        let dx = grad(&format!("grad logsumexp {flag}"), shape, &dy[..6]);
        let y = softmax(2);
        let want: Vec<f64> = (0..24).map(|i| y[i] * wide[i / 4]).collect();
        assert_close(&dx, &want, 2.0 * ULP);
    }
}

#[test]
fn an_upstream_of_another_shape_is_refused() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3], &[0.5; 6]);
    scratch.array("turned.npy", &[3, 2], &[0.5; 6]);
    scratch.array("kept.npy", &[2, 1], &[0.5; 2]);
    let refused = |line: &str, parts: &[&str]| {
        words(&scratch, &format!("{line} -o {{dx.npy}} --backend cpu")).refused(parts);
    };
    let parts = ["turned.npy", "[3, 2]", "[2, 3]"];
    refused("grad relu {x.npy} --upstream {turned.npy}", &parts);
    refused("grad softmax {x.npy} --upstream {turned.npy}", &parts);
    refused(
        "grad logsumexp {x.npy} --upstream {x.npy}",
        &["[2, 3]", "has [2]"],
    );
    refused(
        "grad logsumexp {x.npy} --upstream {kept.npy}",
        &["[2, 1]", "has [2]"],
    );
    assert!(!scratch.path("dx.npy").exists());
}

#[test]
fn empty_arrays() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[3, 0], &[]);
    words(&scratch, "run gelu {x.npy} -o {y.npy} --backend cpu").ok();
    assert_eq!(read(&scratch.path("y.npy")), (vec![3, 0], vec![]));
    words(&scratch, "run softmax {x.npy} -o {y.npy} --backend cpu").ok();
    assert_eq!(read(&scratch.path("y.npy")), (vec![3, 0], vec![]));
    // The sum over nothing is 0, and its logarithm the limit.
    words(&scratch, "run logsumexp {x.npy} -o {y.npy} --backend cpu").ok();
    assert_eq!(
        read(&scratch.path("y.npy")),
        (vec![3], vec![f32::NEG_INFINITY; 3])
    );
    words(
        &scratch,
        "run logsumexp {x.npy} --axis 0 -o {y.npy} --backend cpu",
    )
    .ok();
    assert_eq!(read(&scratch.path("y.npy")), (vec![0], vec![]));
}

/// Several axes are one sum, in whatever order they are named, kept or not.
#[test]
fn logsumexp_reduces_several_axes() {
    let x = map(|x| x);
    let whole = x.iter().map(|x| x.exp()).sum::<f64>().ln();
    let (shape, y) = run("run logsumexp --axis 0,1,2");
    assert_eq!(shape, [0usize; 0]);
    assert_close(&y, &[whole], ULP);
    // The first and the last: the one between them stays.
    let between: Vec<f64> = (0..3)
        .map(|j| {
            let of = |i: usize, k: usize| x[12 * i + 4 * j + k].exp();
            let terms = (0..2).flat_map(|i| (0..4).map(move |k| (i, k)));
            terms.map(|(i, k)| of(i, k)).sum::<f64>().ln()
        })
        .collect();
    for (axes, kept) in [
        ("0,-1", &[3][..]),
        ("2,0", &[3]),
        ("0,2 --keepdims", &[1, 3, 1]),
    ] {
        let (shape, y) = run(&format!("run logsumexp --axis {axes}"));
        assert_eq!(shape, kept);
        assert_close(&y, &between, ULP);
    }
    let (shape, dx) = run("grad logsumexp --axis 0,2");
    assert_eq!(shape, [2, 3, 4]);
    let want: Vec<f64> = (0..24)
        .map(|i| x[i].exp() / between[i / 4 % 3].exp())
        .collect();
    assert_close(&dx, &want, ULP);
}

/// A gradient without an upstream one is that of the sum of all outputs.
#[test]
fn the_upstream_gradient_is_one_where_none_is_given() {
    let (shape, dx) = run("grad square");
    assert_eq!(shape, [2, 3, 4]);
    assert_close(&dx, &map(|x| 2.0 * x), ULP);
}

/// The slopes are those of the seed, forward and backward; without a seed, their mean.
#[test]
fn rrelu_draws_its_slopes_from_the_seed() {
    let mean = (1.0 / 8.0 + 1.0 / 3.0) / 2.0;
    let (_, y) = run("run rrelu");
    assert_close(&y, &map(|x| if x > 0.0 { x } else { mean * x }), ULP);
    let (_, y) = run("run rrelu -p seed=7 -p lower=0.5 -p upper=0.75");
    let (_, slopes) = run("grad rrelu -p seed=7 -p lower=0.5 -p upper=0.75");
    let x = inputs();
    let negative: Vec<usize> = (0..24).filter(|&i| x[i] < 0.0).collect();
    assert!(negative.iter().all(|&i| (0.5..=0.75).contains(&slopes[i])));
    assert!(negative.iter().any(|&i| slopes[i] != slopes[negative[0]]));
    let want: Vec<f64> = (0..24)
        .map(|i| f64::from(x[i]) * f64::from(slopes[i]))
        .collect();
    assert_close(&y, &want, ULP);
    let (_, other) = run("grad rrelu -p seed=8 -p lower=0.5 -p upper=0.75");
    assert_ne!(slopes, other);
}

/// Numbers, their meaning, and JSON that has both.
#[test]
fn inspect_counts_and_explains() {
    let scratch = Scratch::new();
    // Samples of three units, of which relu lets nothing of the last one through.
    let two = [1.0, -2.0, -3.0, 2.0, 3.0, -1.0];
    scratch.array("x.npy", &[16, 3], &two.repeat(8));
    let line = "inspect {x.npy} --function relu --backend cpu --bins 3";
    let text = words(&scratch, line).ok().stdout;
    for part in [
        "dead units",
        "1 (33.3 %) of 3",
        "dying ReLU",
        "mean |f'(x)|     0.5\n",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let json = words(&scratch, &format!("{line} --json")).ok().stdout;
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["dead_units"], 1);
    assert_eq!(found["zeros"], 24);
    assert_eq!(found["histogram"]["counts"], serde_json::json!([24, 8, 16]));
    scratch.array("nan.npy", &[2], &[f32::NAN, f32::INFINITY]);
    let text = words(&scratch, "inspect {nan.npy} --backend cpu")
        .ok()
        .stdout;
    assert!(
        text.contains("NaN: 1 of") && text.contains("infinities"),
        "{text}"
    );
}

/// A unit is not dead that is 0 once, and few samples do not make it so.
#[test]
fn inspect_finds_no_dead_units_without_samples() {
    let scratch = Scratch::new();
    scratch.array("row.npy", &[1, 2], &[0.0, 3.0]);
    scratch.array("two.npy", &[2, 2], &[0.0, 3.0, 0.0, 1.0]);
    let run = |line: &str| words(&scratch, &format!("inspect {line} --backend cpu")).ok();
    for line in ["{row.npy}", "{row.npy} --function relu"] {
        let text = run(line).stdout;
        assert!(text.contains("1 (50.0 %) of 2"), "{text}");
        assert!(!text.contains("dying") && !text.contains("0 for"), "{text}");
    }
    let text = run("{two.npy}").stdout;
    assert!(text.contains("each of the 2 samples"), "{text}");
    assert!(
        text.contains("too few") && !text.contains("dying"),
        "{text}"
    );
}

/// Numbers far from 1 keep their digits.
#[test]
fn inspect_shows_small_and_large_numbers() {
    let scratch = Scratch::new();
    let small: Vec<f32> = (0..=8).map(|i| (i - 4) as f32 * 2.5e-7).collect();
    scratch.array("small.npy", &[9], &small);
    let large: Vec<f32> = (0..=8).map(|i| (i - 4) as f32 * 2f32.powi(100)).collect();
    scratch.array("large.npy", &[9], &large);
    scratch.array("near.npy", &[2], &[1000.0, 1000.001]);
    scratch.array("same.npy", &[2], &[2.0, 2.0]);
    let run = |line: &str| words(&scratch, &format!("inspect {line} --backend cpu")).ok();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();

    let text = run("{small.npy} --bins 4").stdout;
    assert!(text.contains("-1e-6 to 1e-6"), "{text}");
    // The deviation of -4..4 in steps is sqrt(60 / 9).
    assert!(text.contains("0, 6.45497e-7"), "{text}");
    let edges = ["-0.00000100", "-0.00000050", "0.00000000", "0.00000050"];
    for edge in edges {
        let line = |l: &String| l.trim_start().starts_with(&format!("{edge} "));
        assert!(lines(&text).iter().any(line), "{edge} in\n{text}");
    }
    let text = run("{large.npy} --bins 4").stdout;
    let range = "-5.0706024e30 to 5.0706024e30";
    for part in [
        range,
        "3.27306e30",
        "-5.07e30",
        "-2.54e30",
        " 0.00e0",
        " 2.54e30",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    // Each edge differs from the next.
    let text = run("{near.npy} --bins 2").stdout;
    assert!(
        text.contains("1000.00000 ") && text.contains("1000.00049 "),
        "{text}"
    );
    run("{same.npy}");
    let text = run("{small.npy} --function square").stdout;
    assert!(text.contains("multiplied by 1.11e-6 on average"), "{text}");
}

/// One array in two layouts and orders, and two arrays in both orders, are the same gate.
#[test]
fn gates_take_one_array_or_two() {
    let scratch = Scratch::new();
    let (value, gate) = ([1.0f32, -2.0, 0.5, 3.0], [0.5f32, 2.0, -1.0, 0.0]);
    let silu = |g: f32| f64::from(g) / (1.0 + (-f64::from(g)).exp());
    let want: Vec<f64> = (0..4)
        .map(|i| f64::from(value[i]) * silu(gate[i]))
        .collect();
    let pairs: Vec<f32> = (0..4).flat_map(|i| [gate[i], value[i]]).collect();
    let mut halves = value.to_vec();
    halves.extend(gate);
    scratch.array("value.npy", &[1, 4], &value);
    scratch.array("gate.npy", &[1, 4], &gate);
    scratch.array("pairs.npy", &[1, 8], &pairs);
    scratch.array("halves.npy", &[1, 8], &halves);
    halves.rotate_left(4);
    scratch.array("other.npy", &[1, 8], &halves);
    scratch.array("dy.npy", &[1, 4], &[2.0; 4]);
    for inputs in [
        "swiglu {value.npy} {gate.npy}",
        "swiglu {halves.npy}",
        "swiglu {other.npy} -p order=gate_first",
        "swiglu {pairs.npy} -p layout=interleaved -p order=gate-first",
        "silu_and_mul {other.npy}",
        "SiLU-and-mul {value.npy} {gate.npy}",
        "SiLU-and-mul {halves.npy} -p order=value_first",
        "mul_and_silu {halves.npy}",
    ] {
        let line = format!("run {inputs} -o {{y.npy}} --backend cpu");
        words(&scratch, &line).ok();
        let (shape, y) = read(&scratch.path("y.npy"));
        assert_eq!(shape, [1, 4], "{inputs}");
        assert_close(&y, &want, ULP);
    }
    let line = "grad silu_and_mul {value.npy} {gate.npy} --upstream {dy.npy} -o {dv.npy} -o {dg.npy} --backend cpu";
    words(&scratch, line).ok();
    let twice: Vec<f64> = gate.iter().map(|&g| 2.0 * silu(g)).collect();
    assert_close(&read(&scratch.path("dv.npy")).1, &twice, ULP);
    let slope = |g: f64| {
        let s = 1.0 / (1.0 + (-g).exp());
        s * (1.0 + g * (1.0 - s))
    };
    let dgate: Vec<f64> = (0..4)
        .map(|i| 2.0 * f64::from(value[i]) * slope(gate[i].into()))
        .collect();
    assert_close(&read(&scratch.path("dg.npy")).1, &dgate, ULP);
    // Two files are the value and the gate, whatever the order in one.
    for gate in ["glu", "geglu", "clamped_swiglu", "gelu_and_mul"] {
        let inputs = [
            "{halves.npy} -p layout=split -p order=value_first",
            "{other.npy} -p layout=split -p order=gate_first",
            "{value.npy} {gate.npy}",
        ];
        let [one, other, two] = inputs.map(|inputs| {
            let line = format!("run {gate} {inputs} -o {{y.npy}} --backend cpu");
            words(&scratch, &line).ok();
            read(&scratch.path("y.npy"))
        });
        assert!(one == two && other == two, "{gate}");
    }
    for (line, parts) in [
        ("run glu {x3.npy} -o {z.npy}", &["3"][..]),
        (
            "run glu {value.npy} {gate.npy} -p layout=split -o {z.npy}",
            &["one array", "leave them out"],
        ),
        (
            "run glu {value.npy} {halves.npy} -o {z.npy}",
            &["the gate", "4 are expected"],
        ),
        (
            "run glu {halves.npy} -o {z.npy} -p order=last",
            &["value_first or gate_first"],
        ),
        ("run glu {halves.npy} -o {z.npy} -p limit=3", &["'limit'"]),
    ] {
        scratch.array("x3.npy", &[1, 3], &[0.0; 3]);
        words(&scratch, &format!("{line} --backend cpu")).refused(parts);
    }
}

/// Classes and probabilities, weights, smoothing and reductions, forward and backward.
#[test]
fn losses_take_logits_and_targets() {
    let scratch = Scratch::new();
    let x = [2.0f32, 0.5, -1.0, 0.0, 3.0, 0.25, -0.5, 1.0, 1.5];
    scratch.array("x.npy", &[3, 3], &x);
    let classes: Vec<u8> = [0i64, -100, 1]
        .iter()
        .flat_map(|t| t.to_le_bytes())
        .collect();
    scratch.file("t.npy", &npy("<i8", false, &[3], &classes));
    scratch.array("w.npy", &[3], &[1.0, 2.0, 0.5]);
    let log_p = |row: usize, class: usize| {
        let row: Vec<f64> = x[3 * row..3 * row + 3].iter().map(|&x| x.into()).collect();
        row[class] - row.iter().map(|x| x.exp()).sum::<f64>().ln()
    };
    let run = |line: &str| {
        words(&scratch, &format!("{line} --backend cpu")).ok();
        read(&scratch.path("y.npy"))
    };
    let (first, last) = (-log_p(0, 0), -log_p(2, 1));
    let base = "run cross_entropy {x.npy} {t.npy} -o {y.npy}";
    for (options, shape, want) in [
        ("-p reduction=none", &[3][..], vec![first, 0.0, last]),
        ("", &[], vec![(first + last) / 2.0]),
        (
            "-p reduction=sum --weight {w.npy}",
            &[],
            vec![first + 2.0 * last],
        ),
        ("--weight {w.npy}", &[], vec![(first + 2.0 * last) / 3.0]),
        ("-p ignore_index=1 -p reduction=none", &[3], vec![]),
    ] {
        if want.is_empty() {
            // -100 is a class then, and none that there is.
            words(&scratch, &format!("{base} {options} --backend cpu")).refused(&["-100"]);
            continue;
        }
        let (got, y) = run(&format!("{base} {options}"));
        assert_eq!(got, shape, "{options}");
        assert_close(&y, &want, ULP);
    }
    // Smoothing spreads a share over all classes; its gradient is softmax less the soft target.
    let (_, y) = run(&format!("{base} -p label_smoothing=0.3 -p reduction=none"));
    let all: f64 = (0..3).map(|c| -log_p(0, c)).sum();
    assert_close(&y[..1], &[0.7 * first + 0.1 * all], ULP);
    let (shape, dx) = run("grad cross_entropy {x.npy} {t.npy} -o {y.npy} -p reduction=sum");
    assert_eq!(shape, [3, 3]);
    let want: Vec<f64> = (0..3)
        .map(|c| log_p(0, c).exp() - f64::from(c == 0))
        .collect();
    assert_close(&dx[..3], &want, ULP);
    assert_eq!(dx[3..6], [0.0; 3]);

    // Probabilities as targets, and the binary loss.
    scratch.array(
        "q.npy",
        &[3, 3],
        &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0],
    );
    let (_, y) = run("run cross_entropy {x.npy} {q.npy} -o {y.npy} -p reduction=none");
    assert_close(&y, &[first, -log_p(1, 1), last], ULP);
    let (shape, y) = run("run bce_with_logits {x.npy} {q.npy} -o {y.npy} -p reduction=none");
    assert_eq!(shape, [3, 3]);
    assert_close(&y[..2], &[(-2f64).exp().ln_1p(), 0.5f64.exp().ln_1p()], ULP);
    for (line, parts) in [
        (
            "run cross_entropy {x.npy} {w.npy} -o {z.npy}",
            &["9 are expected"][..],
        ),
        (
            "run cross_entropy {x.npy} {t.npy} -o {z.npy} --axis 2",
            &["axis 2"],
        ),
        (
            "run nll_loss {x.npy} {t.npy} -o {z.npy} -p label_smoothing=0.1",
            &["'label_smoothing'"],
        ),
        (
            "run cross_entropy {x.npy} {t.npy} -o {z.npy} --pos-weight {w.npy}",
            &["--pos-weight"],
        ),
        (
            "run cross_entropy {x.npy} {t.npy} -o {z.npy} -p reduction=max",
            &["none or mean or sum"],
        ),
    ] {
        words(&scratch, &format!("{line} --backend cpu")).refused(parts);
        assert!(!scratch.path("z.npy").exists());
    }
}

/// Weights of several axes are broadcast as PyTorch does, also where a length fits the last axis.
#[test]
fn weights_of_binary_losses_broadcast() {
    let scratch = Scratch::new();
    // 2 images of 3 classes, 2 by 3.
    let shape = [2, 3, 2, 3];
    let x: Vec<f32> = (0..36).map(|i| (i * 7 % 11) as f32 * 0.5 - 2.5).collect();
    let t: Vec<f32> = (0..36).map(|i| (i * 5 % 3) as f32 * 0.5).collect();
    scratch.array("x.npy", &shape, &x);
    scratch.array("t.npy", &shape, &t);
    let class = [0.25f32, 3.0, 10.0];
    let rows = [1.0f32, 7.0];
    scratch.array("c.npy", &[3, 1, 1], &class);
    scratch.array("r.npy", &[1, 1, 2, 1], &rows);
    let loss = |i: usize| {
        let (w, p) = (f64::from(rows[i / 3 % 2]), f64::from(class[i / 6 % 3]));
        let (x, t) = (f64::from(x[i]), f64::from(t[i]));
        w * (p * t * (-x).exp().ln_1p() + (1.0 - t) * x.exp().ln_1p())
    };
    let want: Vec<f64> = (0..36).map(loss).collect();
    let line = "run bce_with_logits {x.npy} {t.npy} -o {y.npy} -p reduction=none --backend cpu";
    words(
        &scratch,
        &format!("{line} --pos-weight {{c.npy}} --weight {{r.npy}}"),
    )
    .ok();
    let (out, y) = read(&scratch.path("y.npy"));
    assert_eq!(out, shape);
    assert_close(&y, &want, ULP);
    // Three values alone lie along the last axis, or the one that is named.
    scratch.array("flat.npy", &[3], &class);
    words(
        &scratch,
        &format!("{line} --pos-weight {{flat.npy}} --weight {{r.npy}} --axis 1"),
    )
    .ok();
    assert_close(&read(&scratch.path("y.npy")).1, &want, ULP);
    for (name, shape) in [
        ("two.npy", &[2usize, 2, 1][..]),
        ("long.npy", &[1, 1, 3, 1, 1]),
    ] {
        let values = vec![1.0; shape.iter().product()];
        scratch.array(name, shape, &values);
        let told = ["the weight of positives", "does not broadcast"];
        words(&scratch, &format!("{line} --pos-weight {{{name}}}")).refused(&told);
    }
}

/// Slopes of one, of channels, and by numpy's rule; the gradient by the slope beside that by x.
#[test]
fn prelu_has_slopes_and_their_gradient() {
    let x = map(|x| x);
    let slopes = [0.5f32, -0.25, 2.0];
    let channel = |i: usize| f64::from(slopes[i / 4 % 3]);
    let want: Vec<f64> = (0..24)
        .map(|i| if x[i] > 0.0 { x[i] } else { channel(i) * x[i] })
        .collect();
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    scratch.array("slope.npy", &[3], &slopes);
    scratch.array("column.npy", &[3, 1], &slopes);
    scratch.array("one.npy", &[1], &[0.25]);
    let run = |line: &str| words(&scratch, &format!("{line} --backend cpu"));
    for rule in [
        "{slope.npy}",
        "{column.npy}",
        "{slope.npy} --axis=-2",
        "{slope.npy} -p broadcast=false",
    ] {
        run(&format!("run prelu {{x.npy}} {rule} -o {{y.npy}}")).ok();
        assert_close(&read(&scratch.path("y.npy")).1, &want, ULP);
    }
    run("run prelu {x.npy} {one.npy} -o {y.npy}").ok();
    let shared = map(|x| if x > 0.0 { x } else { 0.25 * x });
    assert_close(&read(&scratch.path("y.npy")).1, &shared, ULP);
    run("grad prelu {x.npy} {column.npy} -o {dx.npy} -o {ds.npy}").ok();
    let (shape, dslope) = read(&scratch.path("ds.npy"));
    assert_eq!(shape, [3, 1]);
    let sums: Vec<f64> = (0..3)
        .map(|c| {
            (0..24)
                .filter(|i| i / 4 % 3 == c && x[*i] <= 0.0)
                .map(|i| x[i])
                .sum()
        })
        .collect();
    assert_close(&dslope, &sums, ULP);
    let slope: Vec<f64> = (0..24)
        .map(|i| if x[i] > 0.0 { 1.0 } else { channel(i) })
        .collect();
    assert_close(&read(&scratch.path("dx.npy")).1, &slope, ULP);
    for (line, part) in [
        (
            "run prelu {x.npy} {slope.npy} -o {z.npy} --axis 0",
            "2 are expected",
        ),
        (
            "run prelu {x.npy} {slope.npy} -o {z.npy} -p broadcast=true",
            "slope",
        ),
        (
            "run prelu {x.npy} {slope.npy} -o {z.npy} -p broadcast=true --axis 1",
            "have no axis",
        ),
        ("run prelu {x.npy} -o {z.npy}", "2 inputs (input, slope)"),
    ] {
        run(line).refused(&[part]);
    }
}

/// Of [2, 3, 4], along axis -1: one place, or the nearest point of the simplex.
#[test]
fn the_kin_of_softmax_have_zeros() {
    let x = map(|x| x);
    let (_, hard) = run("run hardmax");
    let (_, sparse) = run("run sparsemax");
    let (_, same) = run("run entmax -p alpha=2");
    assert_close(
        &same,
        &sparse.iter().map(|&y| y.into()).collect::<Vec<f64>>(),
        ULP,
    );
    let (_, soft) = run("run entmax -p alpha=1");
    assert_close(&soft, &softmax(2), ULP);
    for row in rows(2) {
        let top = row
            .iter()
            .copied()
            .max_by(|&a, &b| x[a].total_cmp(&x[b]))
            .unwrap();
        for &i in &row {
            assert_eq!(hard[i], f32::from(u8::from(i == top)));
            // Elements more than 1 below the largest are out.
            assert!(sparse[i] >= 0.0 && (x[i] > x[top] - 1.0 || sparse[i] == 0.0));
        }
        let sum: f32 = row.iter().map(|&i| sparse[i]).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
    let (shape, most) = run("run maxout --axis=1 -p pieces=3");
    assert_eq!(shape, [2, 1, 4]);
    let want: Vec<f64> = rows(1)
        .iter()
        .map(|r| r.iter().map(|&i| x[i]).fold(f64::MIN, f64::max))
        .collect();
    assert_close(&most, &want, 0.0);
    let (_, channels) = run("run softmax2d");
    assert_close(&channels, &softmax(0), ULP);
    // A draw is one-hot, and the same from the same seed.
    let (_, draw) = run("run gumbel_softmax -p hard=true -p seed=5");
    let (_, again) = run("run gumbel_softmax -p hard=true -p seed=5");
    assert_eq!(draw, again);
    assert!(
        rows(2)
            .iter()
            .all(|r| r.iter().map(|&i| draw[i]).sum::<f32>() == 1.0)
    );
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    scratch.array("g.npy", &[2, 3, 4], &[0.5; 24]);
    scratch.array("flat.npy", &[6, 4], &inputs());
    scratch.array("deep.npy", &[1, 1, 2, 3, 4], &inputs());
    for (line, part) in [
        ("run softmax2d {flat.npy} -o {y.npy}", "2 axes"),
        ("run softmax2d {deep.npy} -o {y.npy}", "5 axes"),
        ("run entmax {x.npy} -o {y.npy} -p alpha=0.5", "alpha"),
        ("run maxout {x.npy} -o {y.npy} -p pieces=3", "3"),
        ("run maxout {x.npy} -o {y.npy} -p pieces=0", "pieces"),
        ("run gumbel_softmax {x.npy} -o {y.npy} -p tau=0", "tau"),
    ] {
        words(&scratch, &format!("{line} --backend cpu")).refused(&[part]);
    }
    // Noise that is one constant is none.
    words(
        &scratch,
        "run gumbel_softmax {x.npy} {g.npy} -o {y.npy} --backend cpu",
    )
    .ok();
    assert_close(&read(&scratch.path("y.npy")).1, &softmax(2), ULP);
}

/// Masks, biases, lengths, causality and scales, in one call each; [2, 3, 4] along the last axis.
#[test]
fn softmax_takes_masks_and_their_kin() {
    let x = map(|x| x);
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    scratch.file("keys.npy", &npy("|b1", false, &[4], &[1, 0, 1, 1]));
    scratch.array("bias.npy", &[3, 1], &[1.0, 2.0, 3.0]);
    scratch.file(
        "lengths.npy",
        &npy("<i4", false, &[2], &[3, 0, 0, 0, 1, 0, 0, 0]),
    );
    scratch.array("sinks.npy", &[3, 1], &[2f32.ln(), f32::NEG_INFINITY, 0.0]);
    // What softmax must be where `keeps` says which elements take part, and values are `scale` x.
    let want = |scale: f64, sink: f64, keeps: &dyn Fn(usize, usize, usize) -> bool| {
        let mut y = vec![0.0; 24];
        for row in rows(2) {
            let kept: Vec<usize> = row
                .iter()
                .copied()
                .filter(|&i| keeps(i / 12, i / 4 % 3, i % 4))
                .collect();
            let sum: f64 = kept.iter().map(|&i| (scale * x[i]).exp()).sum();
            for &i in &kept {
                y[i] = (scale * x[i]).exp() / (sum + sink);
            }
        }
        y
    };
    for (options, y) in [
        ("--mask {keys.npy}", want(1.0, 0.0, &|_, _, k| k != 1)),
        ("--causal", want(1.0, 0.0, &|_, q, k| k <= q)),
        (
            "--causal -p causal=lower_right",
            want(1.0, 0.0, &|_, q, k| k <= q + 1),
        ),
        (
            "--lengths {lengths.npy}",
            want(1.0, 0.0, &|n, _, k| k < [3, 1][n]),
        ),
        (
            "-p scale=0.5 --bias {bias.npy}",
            want(0.5, 0.0, &|_, _, _| true),
        ),
        ("-p temperature=2", want(0.5, 0.0, &|_, _, _| true)),
        ("-p sink=0", want(1.0, 1.0, &|_, _, _| true)),
        (
            "--causal --mask {keys.npy} -p scale=2",
            want(2.0, 0.0, &|_, q, k| k <= q && k != 1),
        ),
    ] {
        let line = format!("run softmax {{x.npy}} -o {{y.npy}} --backend cpu {options}");
        words(&scratch, &line).ok();
        assert_close(&read(&scratch.path("y.npy")).1, &y, ULP);
        let line = format!("grad softmax {{x.npy}} -o {{dx.npy}} --backend cpu {options}");
        words(&scratch, &line).ok();
        assert_eq!(read(&scratch.path("dx.npy")).0, [2, 3, 4]);
    }
    let y = want(1.0, 0.0, &|_, _, _| true);
    let shared: Vec<f64> = (0..24)
        .map(|i| {
            let sum: f64 = (i / 4 * 4..i / 4 * 4 + 4).map(|j| x[j].exp()).sum();
            y[i] * sum / (sum + [2.0, 0.0, 1.0][i / 4 % 3])
        })
        .collect();
    let line = "run softmax {x.npy} -o {y.npy} --backend cpu --sinks {sinks.npy}";
    words(&scratch, line).ok();
    assert_close(&read(&scratch.path("y.npy")).1, &shared, ULP);
    // A second output is the gradient by the sinks: of logsumexp their shares, over both batches.
    let line = "grad logsumexp {x.npy} -o {dx.npy} -o {ds.npy} --backend cpu --sinks {sinks.npy}";
    words(&scratch, line).ok();
    let share = |row: usize, sink: f64| {
        let sum: f64 = (row * 4..row * 4 + 4).map(|i| x[i].exp()).sum();
        sink / (sum + sink)
    };
    let by = |q: usize, sink| share(q, sink) + share(3 + q, sink);
    let (shape, by_sinks) = read(&scratch.path("ds.npy"));
    assert_eq!(shape, [3, 1]);
    assert_close(&by_sinks, &[by(0, 2.0), 0.0, by(2, 1.0)], ULP);
    words(
        &scratch,
        "grad softmax {x.npy} -o {dx.npy} -o {no.npy} --backend cpu -p sink=0",
    )
    .refused(&["one -o"]);
    // What transformers writes: 1 takes part.
    scratch.array("ones.npy", &[4], &[1.0, 0.0, 1.0, 1.0]);
    scratch.file(
        "halves.npy",
        &npy("<f2", false, &[4], &[0, 0x3c, 0, 0, 0, 0x3c, 0, 0x3c]),
    );
    let double: Vec<u8> = [1f64, -0.0, 1.0, 1.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    scratch.file("double.npy", &npy("<f8", false, &[4], &double));
    scratch.file("bytes.npy", &npy("|u1", false, &[4], &[7, 0, 255, 1]));
    for mask in ["ones", "halves", "double", "bytes"] {
        let line =
            format!("run softmax {{x.npy}} -o {{y.npy}} --backend cpu --mask {{{mask}.npy}}");
        words(&scratch, &line).ok();
        let want = want(1.0, 0.0, &|_, _, k| k != 1);
        assert_close(&read(&scratch.path("y.npy")).1, &want, ULP);
    }
    scratch.array("minus.npy", &[4], &[0.0, f32::NEG_INFINITY, 0.0, 0.0]);
    scratch.file("half.npy", &npy("<f2", false, &[1], &[0, 0x38]));
    scratch.array("nan.npy", &[1], &[f32::NAN]);
    scratch.file("none.npy", &npy("|b1", false, &[1], &[0]));
    let line = "run softmax {x.npy} -o {z.npy} --backend cpu";
    words(&scratch, &format!("{line} --mask {{none.npy}}")).ok();
    assert_eq!(read(&scratch.path("z.npy")).1, [0.0; 24]);
    std::fs::remove_file(scratch.path("z.npy")).unwrap();
    for (options, part) in [
        ("--mask {none.npy} -p row_policy=error", "row"),
        ("--mask {bias.npy}", "it holds 2, and a mask holds 0 and 1"),
        ("--mask {minus.npy}", "it holds -inf"),
        ("--mask {minus.npy}", "--bias"),
        ("--mask {minus.npy}", "astype('bool')"),
        ("--mask {half.npy}", "it holds 0.5"),
        ("--mask {nan.npy}", "it holds NaN"),
        ("--lengths {bias.npy}", "integers"),
        ("--mask {lengths.npy}", "[2]"),
        ("-p scale=2 -p temperature=2", "one of them"),
        ("-p scale=0", "scale"),
        ("-p sink=0 --sinks {sinks.npy}", "one of them"),
        (
            "--axis 1 --sinks {sinks.npy}",
            "[3, 1] does not broadcast to [2, 1, 4]",
        ),
        ("-p row_policy=maybe", "zeros or nan or error"),
    ] {
        words(&scratch, &format!("{line} {options}")).refused(&[part]);
        assert!(!scratch.path("z.npy").exists());
    }
    let line = "run logsumexp {x.npy} -o {z.npy} --backend cpu --axis 0,1 --causal";
    words(&scratch, line).refused(&["several axes"]);
}

/// A second output is the gradient by a parameter that is learned.
#[test]
fn learned_parameters_have_gradients() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3, 4], &inputs());
    let line = "grad leaky_relu {x.npy} -o {dx.npy} -o {ds.npy} --backend cpu";
    words(&scratch, line).ok();
    let (shape, sum) = read(&scratch.path("ds.npy"));
    assert_eq!(shape, [0usize; 0]);
    assert_close(&sum, &[map(|x| x.min(0.0)).iter().sum::<f64>()], ULP);
    let line = "grad gelu {x.npy} -o {dx.npy} -o {ds.npy} --backend cpu";
    words(&scratch, line).refused(&["one -o, 2 are given"]);
}
