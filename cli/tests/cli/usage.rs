//! Wrong usage: one line that says what to change, exit code 2.

use crate::support::{Outcome, Scratch, activations, command, read, words};

#[test]
fn wrong_arguments_are_refused_in_one_line() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3], &[0.5; 6]);
    let run = "run gelu {x.npy} -o {y.npy} --backend cpu";
    for (line, parts) in [
        ("", &["no subcommand", "list, adapters, run"][..]),
        ("lst", &["'lst'", "'list'"]),
        ("run", &["<FUNCTION>", "<IN.npy>", "--output"]),
        ("run gelu", &["<IN.npy>", "--output"]),
        ("run gelu {x.npy}", &["--output <OUT.npy>"]),
        ("run gelu {x.npy} -o", &["value is required", "--output"]),
        (
            "grad gelu {x.npy} -o {y.npy} -o {z.npy}",
            &["one -o, 2 are given"],
        ),
        ("run gelu {x.npy} --outpu {y.npy}", &["--outpu", "--output"]),
        (
            "run gelo {x.npy} -o {y.npy}",
            &["'gelo'", "did you mean", "gelu"],
        ),
        ("run zzzzzzz {x.npy} -o {y.npy}", &["'zzzzzzz'", "list"]),
        ("tune --reset --dry-run", &["--reset", "--dry-run"]),
        ("check gelo", &["'gelo'", "did you mean", "gelu"]),
        ("bench gelo", &["'gelo'", "did you mean", "gelu"]),
        ("run nosuch {x.npy} -o {y.npy}", &["`activations list`"]),
        (
            "run crossentropi {x.npy} -o {y.npy}",
            &["did you mean cross_entropy"],
        ),
        (
            "run Soft-Max-2d-d {x.npy} -o {y.npy}",
            &["did you mean softmax2d"],
        ),
        ("check cross_entropyy", &["did you mean cross_entropy"]),
        ("bench masked_softmaxx", &["did you mean masked_softmax"]),
        (
            "bench --transfers gelu --backend cpu",
            &["--transfers", "`--backend gpu`"],
        ),
        ("bench --transfers --shape 8,8", &["--transfers", "--shape"]),
        ("bench softmax2d --shape 8,8 --backend cpu", &["softmax2d"]),
        (
            "check --exhaustive swiglu",
            &["swiglu is a gate", "run swiglu"],
        ),
        ("check --dtype f16 glu", &["glu is a gate", "run glu"]),
        (
            "batch {x.npy} -o {y} --apply x=swoglu",
            &["--apply 'x=swoglu'", "swiglu"],
        ),
        (
            "batch {x.npy} -o {y} --apply x=gelu(approximate=tanh)",
            &["gelu_tanh"],
        ),
        (
            "inspect {x.npy} --function softmax",
            &["no activation", "`activations run softmax`"],
        ),
        (
            "inspect {x.npy} --function gelu -p approximate=tanh",
            &["gelu_tanh"],
        ),
        (
            "run sparsemax|scale(2) {x.npy} -o {y.npy}",
            &["column 1", "`activations run sparsemax`"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} -p approximate=tanh",
            &["no parameter 'approximate'", "gelu_tanh"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} -p axis=0",
            &["no parameter 'axis'", "given as --axis"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} -p dim=0",
            &["no parameter 'dim'", "given as --axis"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} -p mask=m.npy",
            &["given as --mask"],
        ),
        (
            "run swiglu {x.npy} -o {y.npy} -p axis=0",
            &["given as --axis"],
        ),
        (
            "run binary_cross_entropy_with_logits {x.npy} {x.npy} -o {y.npy} -p pos_weight=2",
            &["given as --pos-weight"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} -p dim=0",
            &["no parameter 'dim'; it has none"],
        ),
        (
            "run gelu {x.npy} {x.npy} -o {y.npy}",
            &["gelu has 1 input (input), 2 files"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} -o {z.npy}",
            &["one -o, 2 are given"],
        ),
        ("run elu {x.npy} -o {y.npy} -p alpha", &["name=value"]),
        ("run elu {x.npy} -o {y.npy} -p =1", &["name=value"]),
        (
            "run elu {x.npy} -o {y.npy} -p alpha=two",
            &["alpha = two must be a number"],
        ),
        (
            "run elu {x.npy} -o {y.npy} -p alpha=1e39",
            &["alpha = 1e39", "that an f32 holds"],
        ),
        (
            "run elu {x.npy} -o {y.npy} -p alpha=nan",
            &["alpha", "finite"],
        ),
        (
            "run elu {x.npy} -o {y.npy} -p slope=1",
            &["'slope'", "it has alpha"],
        ),
        ("run gelu {x.npy} -o {y.npy} -p alpha=1", &["it has none"]),
        (
            "run softmax {x.npy} -o {y.npy} -p beta=1",
            &["softmax", "'beta'"],
        ),
        (
            "run elu {x.npy} -o {y.npy} -p alpha=1 -p alpha=2",
            &["alpha is given twice"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} --axis 0",
            &["gelu", "takes no --axis"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} --axis=2",
            &["axis 2", "use -2 to 1"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} --axis -3",
            &["axis -3", "use -2 to 1"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} --axis x",
            &["'x'", "--axis"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} --keepdims",
            &["softmax", "--keepdims"],
        ),
        (
            "run softmax {x.npy} -o {y.npy} --axis 0,1",
            &["softmax", "one axis"],
        ),
        (
            "run logsumexp {x.npy} -o {y.npy} --axis 0,-2",
            &["axis 0 twice"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} --weight {x.npy}",
            &["gelu takes no --weight"],
        ),
        (
            "run rrelu {x.npy} -o {y.npy} -p seed=-1",
            &["seed = -1", "whole number"],
        ),
        (
            "run rrelu {x.npy} -o {y.npy} -p lower=2 -p upper=1",
            &["rrelu", "upper"],
        ),
        ("inspect {x.npy} --function gelo", &["did you mean", "gelu"]),
        ("inspect {x.npy} -p alpha=1", &["--function"]),
        (
            "inspect {x.npy} --backend cpu --bins 0",
            &["bins = 0", "1 to 4096"],
        ),
        (
            "inspect {x.npy} --backend cpu --axis 2",
            &["axis 2", "use -2 to 1"],
        ),
        (
            "run gelu {x.npy} -o {y.npy} --backend tpu",
            &["'tpu'", "auto, gpu, cpu"],
        ),
        ("bench --shape 4096x1024", &["4096,1024"]),
        ("bench --shape 0,4", &["empty"]),
        (
            "bench --shape 99999999999,99999999999",
            &["more than can be addressed"],
        ),
    ] {
        let outcome = words(&scratch, line);
        outcome.refused(parts);
        let told = outcome
            .stderr
            .lines()
            .filter(|l| !l.starts_with("backend: "));
        assert_eq!(told.count(), 1, "{line}: {outcome:?}");
        assert_eq!(scratch.names(), ["x.npy"], "{line}");
    }
    let huge = words(&scratch, "bench --shape 1000000,1000000000 --backend cpu");
    huge.refused(&["1000000000000000 elements", "more memory than there is"]);
    let both = words(&scratch, &format!("{run} --adapter 0"));
    both.refused(&["--adapter chooses a GPU", "--backend gpu"]);
    // The line that the others vary is right.
    words(&scratch, run).ok();
}

/// An array without axes is a row of one along -1 and 0.
#[test]
fn a_scalar_is_a_row_of_one() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[], &[0.5]);
    for (line, want) in [
        ("run softmax {x.npy} -o {y.npy}", 1.0),
        ("run log_softmax {x.npy} -o {y.npy} --axis 0", 0.0),
        ("run logsumexp {x.npy} -o {y.npy}", 0.5),
        ("run logsumexp {x.npy} -o {y.npy} --keepdims", 0.5),
        ("run softmax {x.npy} -o {y.npy} -p scale=2", 1.0),
        ("run sparsemax {x.npy} -o {y.npy}", 1.0),
        ("run softmax {x.npy} -o {y.npy} --memory 1M", 1.0),
        ("run relu {x.npy} -o {y.npy}", 0.5),
    ] {
        for backend in ["cpu", "auto"] {
            words(&scratch, &format!("{line} --backend {backend}")).ok();
            assert_eq!(read(&scratch.path("y.npy")), (vec![], vec![want]), "{line}");
        }
    }
    words(&scratch, "run softmax {x.npy} -o {y.npy} --axis 1").refused(&["axis 1", "scalar"]);
    words(&scratch, "run swiglu {x.npy} -o {y.npy}").refused(&[]);
}

#[test]
fn names_that_break_lines_do_not_break_the_error() {
    let outcome = activations(&["run", "relu", "a\nb\u{1b}[31m.npy", "-o", "y.npy"]);
    outcome.refused(&["a b", "No such file"]);
    assert_eq!(outcome.stderr.lines().count(), 1);
    let outcome = activations(&["run", "re\nlu", "a.npy", "-o", "y.npy"]);
    outcome.refused(&["no function"]);
    assert_eq!(outcome.stderr.lines().count(), 1);
}

/// What was given by mistake may be of any length.
#[test]
fn long_names_are_not_echoed_whole() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[1], &[1.0]);
    let x = scratch.path("x.npy");
    let x = x.to_str().unwrap();
    // As long as the system takes an argument.
    let long = "gelu".repeat(30_000);
    let (pair, rule, path) = (
        format!("{long}=1"),
        format!("x={long}"),
        format!("{x}:{long}"),
    );
    let value = format!("alpha={long}");
    let chain = format!("relu | {long}");
    for args in [
        &["run", &long, x, "-o", "y.npy"][..],
        &["run", &chain, x, "-o", "y.npy"],
        &["run", "gelu", &long, "-o", "y.npy", "--backend", "cpu"],
        &["run", "gelu", &path, "-o", "y.npy", "--backend", "cpu"],
        &["run", "gelu", x, "-o", &long, "--backend", "cpu"],
        &["run", "gelu", x, "-o", "y.npy", "-p", &pair],
        &["run", "elu", x, "-o", "y.npy", "-p", &value],
        &["run", "gelu", x, "-o", "y.npy", "--backend", &long],
        &["run", "gelu", x, "-o", "y.npy", "--axis", &long],
        &["run", "gelu", x, "-o", "y.npy", &format!("--{long}")],
        &["inspect", x, "--function", &long],
        &["batch", x, "-o", "y", "--apply", &rule],
        &["check", &long],
        &["bench", &long],
        &[&long],
    ] {
        let outcome = activations(args);
        outcome.refused(&[]);
        assert!(
            outcome.stderr.len() < 10_000,
            "{} bytes",
            outcome.stderr.len()
        );
    }
}

/// Whatever is in the list and not taken by a command says what takes it.
#[test]
fn functions_that_are_not_taken_say_where_they_are() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2], &[0.5; 2]);
    let list = activations(&["list", "--json"]).ok().stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    for function in &list {
        let name = function["name"].as_str().unwrap();
        if function["family"] == "activation" {
            continue;
        }
        let hint = format!("`activations run {name}`");
        let line = format!("inspect {{x.npy}} --backend cpu --function {name}");
        words(&scratch, &line).refused(&["no activation is called", &hint]);
        let chain = format!("run relu|{name} {{x.npy}} -o {{y.npy}} --backend cpu");
        let outcome = words(&scratch, &chain);
        let step = ["softmax", "log_softmax", "softmin"].contains(&name);
        if step {
            outcome.ok();
        } else if name != "logsumexp" {
            outcome.refused(&["no step is called", &hint]);
        }
    }
}

#[test]
fn help_says_what_the_axis_is() {
    for command in ["run", "grad"] {
        let help = activations(&[command, "--help"]).ok().stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let default = "[default: -1; 1 for cross_entropy, nll_loss and prelu, -3 for softmax2d]";
        assert!(help.contains(default), "{help}");
    }
}

#[cfg(unix)]
#[test]
fn names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let name = OsStr::from_bytes(b"\xff\xfe.npy");
    std::fs::rename(
        scratch.array("x", &[1], &[-1.0]),
        scratch.path("").join(name),
    )
    .unwrap();
    let output = command(&["run", "relu", "--backend", "cpu"])
        .current_dir(scratch.path(""))
        .args([name, OsStr::new("-o"), OsStr::new("y.npy")])
        .output()
        .unwrap();
    Outcome::from(output).ok();
}

#[test]
fn help_has_an_example_each() {
    for command in ["list", "adapters", "run", "grad", "check", "bench"] {
        let outcome = activations(&[command, "--help"]).ok();
        let example = format!("  activations {command}");
        let inline = format!("Example: activations {command}");
        let there = outcome.stdout.contains(&example) || outcome.stdout.contains(&inline);
        assert!(there, "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
    }
    let outcome = activations(&["--help"]).ok();
    assert!(outcome.stdout.contains("Exit codes"), "{}", outcome.stdout);
    let version = activations(&["--version"]).ok();
    assert_eq!(
        version.stdout,
        format!("activations {}\n", env!("CARGO_PKG_VERSION"))
    );
}
