//! What is run: arguments over arrays that `inputs` makes from their names.

use serde_json::Value;

/// One run of the program.
pub struct Case {
    /// Its arguments, without outputs and backend.
    pub line: String,
    /// How many arrays it writes; none where it is refused.
    pub outputs: usize,
    /// The threads of the CPU backend, where the numbers are theirs: they share long rows, whose sums are
    /// then cut in other places.
    pub threads: Option<usize>,
    /// Whether it is left out on adapters: another case has the same kernel there.
    pub cpu_only: bool,
}

impl Case {
    /// The function's name.
    pub fn function(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Whether `word` stands somewhere in the arguments, with `=` and more behind it where it ends so.
    fn has(&self, word: &str) -> bool {
        self.line
            .split(' ')
            .any(|w| w == word || word.ends_with('=') && w.starts_with(word))
    }

    /// How many output files it names.
    pub fn files(&self) -> usize {
        self.outputs.max(1)
    }

    /// What the file of digests calls it.
    pub fn key(&self) -> String {
        self.prefixed(&self.line)
    }

    /// A command that repeats it.
    pub fn command(&self, backend: &str) -> String {
        let outputs: String = (0..self.files()).map(|i| format!(" -o y{i}.npy")).collect();
        let words = self
            .line
            .split(' ')
            .map(|word| match word.contains(['|', '(']) {
                true => format!("'{word}'"),
                false => word.to_owned(),
            });
        let line = words.collect::<Vec<_>>().join(" ");
        self.prefixed(&format!("activations {line} --backend {backend}{outputs}"))
    }

    fn prefixed(&self, text: &str) -> String {
        match self.threads {
            Some(threads) => format!("RAYON_NUM_THREADS={threads} {text}"),
            None => text.to_owned(),
        }
    }
}

/// Parameters other than the defaults.
const PARAMETERS: &[(&str, &[&str])] = &[
    (
        "leaky_relu",
        &["-p negative_slope=0.2", "-p negative_slope=-1.5"],
    ),
    ("elu", &["-p alpha=0.5", "-p alpha=-2"]),
    ("selu", &["-p alpha=1.25 -p scale=0.75"]),
    ("celu", &["-p alpha=0.5", "-p alpha=-2"]),
    ("swish", &["-p beta=1.702", "-p beta=-0.5", "-p beta=1e30"]),
    ("hardsigmoid", &["-p alpha=0.2 -p beta=0.4"]),
    ("hardtanh", &["-p min_val=-2.5 -p max_val=0.5"]),
    ("clamp", &["-p min=-1 -p max=6"]),
    ("softplus", &["-p beta=2 -p threshold=20", "-p beta=-1"]),
    ("hardshrink", &["-p lambd=1.5"]),
    ("softshrink", &["-p lambd=0.25"]),
    ("shrink", &["-p lambd=1.5 -p bias=0.25"]),
    ("threshold", &["-p threshold=0.5 -p value=-3"]),
    ("thresholded_relu", &["-p alpha=0.25"]),
    ("squareplus", &["-p b=1", "-p b=0"]),
    ("linear", &["-p alpha=-2.5 -p beta=0.75"]),
    ("snake", &["-p alpha=0.5", "-p alpha=-3"]),
];

/// What a row may be shaped by.
const SHAPINGS: &[&str] = &[
    "-p scale=0.125",
    "-p temperature=0.5 --axis=1",
    "-p soft_cap=3",
    "-p sink=0",
    "--causal",
    "-p causal=lower_right -p scale=0.5 -p soft_cap=2",
    "-p query_axis=1 --causal",
    "--mask mask-6x9.npy",
    "--mask mask-6x9.npy -p row_policy=nan",
    "--bias bias-2x6x9.npy",
    "--lengths below-2-9.npy",
    "--lengths below-2-9.npy --mask mask-6x9.npy --bias bias-6x9.npy --causal -p scale=-0.5 -p soft_cap=4 -p sink=1.5",
];

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, line: String, outputs: usize) {
        self.0.push(Case {
            line,
            outputs,
            threads: None,
            cpu_only: false,
        });
    }

    fn run(&mut self, line: &str) {
        self.add(format!("run {line}"), 1);
    }

    fn grad(&mut self, line: &str, outputs: usize) {
        self.add(format!("grad {line}"), outputs);
    }

    /// `run` and `grad`, with an upstream gradient of this shape.
    fn both(&mut self, line: &str, shape: &str, outputs: usize) {
        self.run(line);
        self.grad(&format!("{line} --upstream dy-{shape}.npy"), outputs);
    }

    /// The last ones, of that many threads.
    fn with_threads(&mut self, last: usize, threads: usize) {
        let from = self.0.len() - last;
        self.0[from..]
            .iter_mut()
            .for_each(|case| case.threads = Some(threads));
    }

    /// The last ones on the CPU only.
    fn cpu_only(&mut self, last: usize) {
        let from = self.0.len() - last;
        self.0[from..]
            .iter_mut()
            .for_each(|case| case.cpu_only = true);
    }
}

/// All cases, of the functions that `list` has.
pub fn all(list: &[Value]) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for function in list {
        let name = function["name"].as_str().unwrap();
        match function["family"].as_str().unwrap() {
            "activation" => elementwise(&mut cases, name),
            "gate" => gate(&mut cases, name),
            _ => {}
        }
    }
    learnable(&mut cases);
    rows(&mut cases);
    shaped(&mut cases);
    sampled(&mut cases);
    losses(&mut cases);
    chains(&mut cases);
    halves(&mut cases);
    in_parts(&mut cases);
    refused(&mut cases);
    cases.0
}

fn elementwise(cases: &mut Cases, name: &str) {
    let of = PARAMETERS.iter().find(|(of, _)| *of == name);
    let parameters = of.map_or(&[][..], |(_, parameters)| parameters);
    cases.run(&format!("{name} bits-3001.npy"));
    cases.grad(&format!("{name} bits-3001.npy --upstream hard-3001.npy"), 1);
    for (i, parameters) in parameters.iter().enumerate() {
        let line = format!("{name} bits-3001.npy {parameters}");
        cases.run(&line);
        cases.grad(&format!("{line} --upstream hard-3001.npy"), 1);
        if i > 0 {
            cases.cpu_only(2);
        }
    }
    cases.grad(&format!("{name} bits-3001.npy"), 1);
    cases.run(&format!("{name} tame-3x16411.npy"));
    cases.cpu_only(2);
}

fn gate(cases: &mut Cases, name: &str) {
    let opposite = match name {
        "clamped_swiglu" => "-p layout=split -p order=value_first",
        _ => "-p layout=interleaved -p order=gate_first",
    };
    cases.both(&format!("{name} bits-6x602.npy"), "6x301", 1);
    cases.both(&format!("{name} bits-6x602.npy {opposite}"), "6x301", 1);
    cases.both(&format!("{name} tame-3x8x19.npy --axis=1"), "3x4x19", 1);
    if name != "swiglu" {
        cases.cpu_only(2);
    }
    let pair = format!("{name} bits-6x301-1.npy tame-6x301-2.npy");
    cases.run(&pair);
    cases.grad(&format!("{pair} --upstream hard-6x301.npy"), 2);
    cases.grad(&format!("{pair} --upstream dy-6x301.npy"), 2);
    cases.cpu_only(1);
    let own = match name {
        "swiglu" => "-p alpha=1.702",
        "clamped_swiglu" => "-p alpha=0.5 -p limit=3 -p offset=-0.25",
        _ => return,
    };
    cases.both(&format!("{name} bits-6x602.npy {own}"), "6x301", 1);
}

/// Gradients by parameters, and prelu.
fn learnable(cases: &mut Cases) {
    let wide = "tame-3x16411.npy --upstream dy-3x16411.npy";
    for (name, outputs) in [
        ("leaky_relu", 2),
        ("elu", 2),
        ("selu", 3),
        ("swish", 2),
        ("linear", 3),
    ] {
        cases.grad(&format!("{name} {wide}"), outputs);
    }
    for (line, shape) in [
        ("bits-3001.npy tame-1.npy", "3001"),
        ("tame-4x6x19.npy tame-6.npy", "4x6x19"),
        ("tame-4x6x19.npy tame-19.npy --axis=-1", "4x6x19"),
        ("tame-4x6x19.npy tame-4x1x19.npy", "4x6x19"),
        ("tame-4x6x19.npy tame-19.npy -p broadcast=true", "4x6x19"),
        ("tame-3x16411.npy tame-3.npy --axis=0", "3x16411"),
    ] {
        cases.both(&format!("prelu {line}"), shape, 2);
    }
}

/// Functions of rows: of all lengths, along all axes.
fn rows(cases: &mut Cases) {
    for name in [
        "softmax",
        "log_softmax",
        "softmin",
        "hardmax",
        "sparsemax",
        "entmax",
    ] {
        for (shape, rest, everywhere) in [
            ("15x37", "", true),
            ("15x150", "", name == "softmax"),
            ("4x6x19", " --axis=0", name == "softmax"),
            ("4x6x19", " --axis=1", true),
            ("3x1025", "", true),
            ("9001x4", "", true),
            ("5x1", "", false),
        ] {
            let kind = if shape.starts_with("15x") {
                "rows"
            } else {
                "tame"
            };
            cases.both(&format!("{name} {kind}-{shape}.npy{rest}"), shape, 1);
            if !everywhere {
                cases.cpu_only(2);
            }
        }
        cases.both(&format!("{name} tame-40x900.npy --axis=0"), "40x900", 1);
        cases.cpu_only(2);
        cases.both(&format!("{name} tame-1x70001.npy"), "1x70001", 1);
        cases.with_threads(2, 2);
    }
    for len in [2, 8] {
        cases.both(
            &format!("softmax tame-50x{len}.npy"),
            &format!("50x{len}"),
            1,
        );
    }
    for (line, shape) in [
        ("rows-15x37.npy", "15"),
        ("rows-15x150.npy --keepdims", "15x1"),
        ("tame-4x6x19.npy --axis=0", "6x19"),
        ("tame-4x6x19.npy --axis=1 --keepdims", "4x1x19"),
        ("tame-4x6x19.npy --axis=0,2", "6"),
        ("tame-3x1025.npy", "3"),
        ("tame-9001x4.npy", "9001"),
    ] {
        cases.both(&format!("logsumexp {line}"), shape, 1);
    }
    cases.both("logsumexp tame-1x70001.npy", "1", 1);
    cases.with_threads(2, 2);
    for alpha in ["1", "1.25", "2", "3"] {
        let line = format!("entmax rows-15x37.npy -p alpha={alpha}");
        cases.both(&line, "15x37", 1);
    }
    cases.both("softmax2d tame-2x6x5x7.npy", "2x6x5x7", 1);
    cases.both("softmax2d tame-6x5x7.npy", "6x5x7", 1);
    cases.cpu_only(2);
    cases.both("maxout rows-15x42.npy", "15x21", 1);
    cases.both("maxout tame-4x6x19.npy -p pieces=3 --axis=1", "4x2x19", 1);
    cases.both("maxout tame-4x6x19.npy -p pieces=4 --axis=0", "1x6x19", 1);
    cases.both("maxout tame-30x1300.npy -p pieces=13", "30x100", 1);
}

fn shaped(cases: &mut Cases) {
    const SCORES: &str = "2x2x6x9";
    for shaping in SHAPINGS {
        cases.both(&format!("softmax tame-{SCORES}.npy {shaping}"), SCORES, 1);
        for name in ["log_softmax", "softmin"] {
            cases.both(&format!("{name} tame-{SCORES}.npy {shaping}"), SCORES, 1);
            cases.cpu_only(2);
        }
        let reduced = if shaping.contains("--axis=1") {
            "2x6x9"
        } else {
            "2x2x6"
        };
        cases.both(
            &format!("logsumexp tame-{SCORES}.npy {shaping}"),
            reduced,
            1,
        );
        cases.cpu_only(2);
    }
    for name in ["softmax", "log_softmax", "softmin"] {
        cases.both(
            &format!("{name} tame-{SCORES}.npy --sinks tame-2x1x1.npy --causal"),
            SCORES,
            2,
        );
        let all = "--lengths below-15-37.npy --bias bias-37.npy -p scale=2";
        cases.both(&format!("{name} rows-15x37.npy {all}"), "15x37", 1);
    }
    let line = format!("logsumexp tame-{SCORES}.npy --sinks tame-2x1x1.npy --causal");
    cases.both(&line, "2x2x6", 2);
    cases.both(
        "logsumexp rows-15x37.npy --bias bias-37.npy -p scale=2",
        "15",
        1,
    );
    cases.both(
        "softmax tame-8x70x70.npy --causal -p scale=0.125",
        "8x70x70",
        1,
    );
    cases.both("softmax tame-2x1025.npy --bias bias-1025.npy", "2x1025", 1);
}

/// What draws random numbers.
fn sampled(cases: &mut Cases) {
    for rest in [
        "",
        " -p seed=7",
        " -p seed=7 -p offset=5",
        " -p lower=-0.5 -p upper=0.75 -p seed=12345678901234567890",
    ] {
        cases.both(&format!("rrelu bits-3001.npy{rest}"), "3001", 1);
    }
    for (line, shape) in [
        ("rows-15x37.npy", "15x37"),
        ("rows-15x37.npy -p seed=7 -p tau=0.5", "15x37"),
        (
            "tame-4x6x19.npy --axis=1 -p seed=7 -p hard=true -p tau=2",
            "4x6x19",
        ),
        ("tame-4x6x19.npy tame-4x6x19-1.npy --axis=0", "4x6x19"),
        ("tame-3x1025.npy -p seed=8", "3x1025"),
        ("rows-15x37.npy -p seed=7 -p offset=37", "15x37"),
    ] {
        cases.both(&format!("gumbel_softmax {line}"), shape, 1);
    }
}

fn losses(cases: &mut Cases) {
    for name in ["cross_entropy", "nll_loss"] {
        // One loss for each row, of extreme ones too.
        let rows = format!("{name} rows-15x37.npy class-15-37.npy -p reduction=none");
        cases.both(&rows, "15", 1);
        for reduction in ["mean", "sum"] {
            let line = format!("{name} tame-9x11.npy class-9-11.npy -p reduction={reduction}");
            cases.both(&line, "scalar", 1);
            cases.cpu_only(2);
            let rest = "--weight unit-11.npy -p ignore_index=3";
            let line =
                format!("{name} tame-9x11.npy below-9-10.npy -p reduction={reduction} {rest}");
            cases.both(&line, "scalar", 1);
        }
        for line in [
            "tame-2x6x5x7.npy class-2x5x7-6.npy",
            "tame-5x7x6.npy class-5x7-6.npy --axis=-1",
            "tame-3x1025.npy class-3-1025.npy",
            "tame-9001x4.npy class-9001-4.npy",
        ] {
            cases.run(&format!("{name} {line}"));
            cases.grad(&format!("{name} {line}"), 1);
        }
    }
    let long = "cross_entropy tame-1x70001.npy below-1-70000.npy";
    cases.both(long, "scalar", 1);
    for line in [
        "rows-15x37.npy class-15-37.npy -p reduction=none -p label_smoothing=0.1",
        "rows-15x37.npy unit-15x37.npy -p reduction=none",
        "rows-15x37.npy unit-15x37.npy -p reduction=none -p label_smoothing=0.25 --weight unit-37.npy",
    ] {
        cases.both(&format!("cross_entropy {line}"), "15", 1);
    }
    let smooth = "tame-2x6x5x7.npy class-2x5x7-6.npy -p label_smoothing=0.1 --weight unit-6.npy";
    for line in [smooth, "tame-2x6x5x7.npy unit-2x6x5x7.npy"] {
        cases.run(&format!("cross_entropy {line}"));
        cases.grad(&format!("cross_entropy {line}"), 1);
    }
    for (name, kind) in [
        ("binary_cross_entropy_with_logits", "rows"),
        ("binary_cross_entropy", "unit"),
        ("focal_loss", "rows"),
    ] {
        let line = format!("{name} {kind}-15x37.npy unit-15x37-1.npy -p reduction=none");
        cases.both(&line, "15x37", 1);
        cases.both(&format!("{line} --weight unit-15x1.npy"), "15x37", 1);
        let kind = if kind == "rows" { "tame" } else { kind };
        for rest in ["9x11.npy unit-9x11-1.npy", "3x16411.npy unit-3x16411-1.npy"] {
            for reduction in ["mean", "sum"] {
                let line = format!("{name} {kind}-{rest} -p reduction={reduction}");
                cases.both(&line, "scalar", 1);
            }
        }
    }
    let name = "binary_cross_entropy_with_logits";
    for rest in [
        "--pos-weight unit-37.npy",
        "--pos-weight unit-15.npy --axis=0 --weight unit-15x37-2.npy",
    ] {
        let line = format!("{name} rows-15x37.npy unit-15x37-1.npy -p reduction=none {rest}");
        cases.both(&line, "15x37", 1);
    }
    for rest in ["-p gamma=0.5 -p alpha=-1", "-p gamma=5 -p alpha=0.9"] {
        let line = format!("focal_loss rows-15x37.npy unit-15x37-1.npy -p reduction=none {rest}");
        cases.both(&line, "15x37", 1);
    }
}

fn chains(cases: &mut Cases) {
    const SHAPE: &str = "4x6x19";
    for (chain, rest, outputs) in [
        ("scale(0.125)|bias(1)|gelu|clamp(0,6)", " tame-6.npy", 2),
        (
            "add|silu|multiply",
            " tame-4x6x19-1.npy tame-4x6x19-2.npy",
            3,
        ),
        ("cast(f16)|tanh|cast(bf16)|sigmoid", "", 1),
        ("dropout(0.25,seed=7)|mish|scale(3)", "", 1),
        (
            "scale(0.5)|bias(-1)|softmax(axis=-1)|scale(2)",
            " tame-19.npy",
            2,
        ),
        ("add|log_softmax(axis=1)|elu(0.5)", " tame-4x6x19-1.npy", 2),
    ] {
        cases.both(&format!("{chain} tame-{SHAPE}.npy{rest}"), SHAPE, outputs);
    }
    cases.both("softplus(2)|erf bits-3001.npy", "3001", 1);
    cases.both("bias(0)|gelu tame-3x16411.npy tame-3.npy", "3x16411", 2);
}

/// Files of 16 bits.
fn halves(cases: &mut Cases) {
    for kind in ["f16", "bf16"] {
        for name in ["gelu", "tanh", "softplus"] {
            cases.run(&format!("{name} {kind}bits-3001.npy"));
            cases.grad(&format!("{name} {kind}bits-3001.npy"), 1);
            if name != "gelu" {
                cases.cpu_only(2);
            }
        }
        for name in ["softmax", "log_softmax", "sparsemax"] {
            let line = format!("{name} {kind}-5x37.npy");
            cases.both(&line, "5x37", 1);
        }
        cases.both(&format!("swiglu {kind}-5x38.npy"), "5x19", 1);
        cases.both(&format!("prelu {kind}-5x38.npy {kind}-38.npy"), "5x38", 2);
        cases.cpu_only(4);
        cases.run(&format!("cross_entropy {kind}-5x38.npy class-5-38.npy"));
        cases.grad(&format!("cross_entropy {kind}-5x38.npy class-5-38.npy"), 1);
        cases.cpu_only(2);
        cases.run(&format!("silu bits-3001.npy --dtype {kind}"));
    }
}

/// Files that go through in parts, some of them cut within rows.
fn in_parts(cases: &mut Cases) {
    cases.both("gelu tame-3x16411.npy --memory 64K", "3x16411", 1);
    cases.cpu_only(2);
    cases.both("softmax tame-40x900.npy --memory 64K", "40x900", 1);
    cases.cpu_only(2);
    for name in ["softmax", "log_softmax"] {
        cases.both(
            &format!("{name} tame-3x16411.npy --memory 64K"),
            "3x16411",
            1,
        );
        cases.both(
            &format!("{name} tame-900x40.npy --axis=0 --memory 64K"),
            "900x40",
            1,
        );
        cases.both(&format!("{name} tame-900x40.npy --axis=0"), "900x40", 1);
        cases.with_threads(6, 2);
        cases.cpu_only(6);
    }
}

/// What is an error.
fn refused(cases: &mut Cases) {
    for line in [
        "softmax tame-2x2x6x9.npy --mask mask-6x9.npy -p row_policy=error",
        "softmax tame-4x6x19.npy --axis=3",
        "swiglu tame-3x7.npy",
        "prelu tame-4x6x19.npy tame-5.npy",
        "cross_entropy tame-9x11.npy below-9-40.npy",
        "celu tame-5.npy -p alpha=0",
        "add|gelu tame-5.npy tame-4.npy",
    ] {
        cases.add(format!("run {line}"), 0);
        cases.cpu_only(1);
    }
}

/// What no case has: functions, gradients and parameters of the list.
pub fn missing(list: &[Value], cases: &[Case]) -> Vec<String> {
    let mut missing = Vec::new();
    for function in list {
        let name = function["name"].as_str().unwrap();
        let own: Vec<&Case> = cases
            .iter()
            .filter(|case| case.function() == name)
            .collect();
        for command in ["run", "grad"] {
            if !own.iter().any(|case| case.has(command)) {
                missing.push(format!("{command} {name}"));
            }
        }
        for parameter in function["parameters"].as_array().unwrap() {
            let parameter = parameter["name"].as_str().unwrap();
            let assigned = format!("{parameter}=");
            if !own.iter().any(|case| case.has(&assigned)) {
                missing.push(format!("{name} with -p {assigned}"));
            }
        }
    }
    missing
}
