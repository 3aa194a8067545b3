//! The arguments: what the program accepts, and its help.

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use wgpu_activations::{AdapterChoice, BackendKind, DType};

/// Activation functions and the softmax family on .npy files, on a GPU or the CPU.
#[derive(Debug, Parser)]
#[command(
    name = "activations",
    version,
    after_help = "\
Exit codes: 0 done, 1 a check failed, 2 wrong usage or input, 130 interrupted.

Example: activations run gelu x.npy -o y.npy"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the functions: names, aliases, parameters, formulas
    #[command(after_help = "Example: activations list --json | jq '.[].name'")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the GPU adapters, their limits and features, and which one is chosen
    #[command(after_help = "\
Examples:
  activations adapters
  activations adapters --self-check")]
    Adapters {
        /// Ask each adapter what the functions take for granted, and known answers of them all
        #[arg(long)]
        self_check: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compute a function of an array
    #[command(after_help = "\
Examples:
  activations run gelu x.npy -o y.npy
  activations run leaky_relu x.npy -o y.npy -p negative_slope=0.2
  activations run softmax scores.npy -o weights.npy --axis=-1
  activations run 'scale(0.125) | bias(1) | gelu | clamp(0, 6)' x.npy bias.npy -o y.npy

Steps of a chain are functions, scale(FACTOR), bias(axis=N), add, multiply, cast(DTYPE),
dropout(P, seed=N) and one softmax(axis=N) or its kin; bias, add and multiply take the input files behind the first, in order.")]
    Run(RunArgs),
    /// Compute the gradient of a function by its input
    #[command(after_help = "\
Examples:
  activations grad gelu x.npy --upstream dy.npy -o dx.npy
  activations grad softmax scores.npy --upstream dy.npy -o dscores.npy --axis=-1")]
    Grad(GradArgs),
    /// Compute functions of many arrays at once, chosen by their names
    #[command(after_help = "\
Arrays are those of a .npz or .safetensors file or of a folder of .npy files; the output is the
same. Patterns have * for any characters and ? for one; the first rule that matches counts. Arrays
that no rule matches are copied as they are; a rule that matches nothing is an error.

Examples:
  activations batch model.safetensors -o out.safetensors --apply 'mlp.*=gelu' --apply 'attn.*=softmax(axis=-1)'
  activations batch arrays.npz -o out.npz --apply '*=leaky_relu(negative_slope=0.2)'
  activations batch folder -o results --apply 'x?=relu'")]
    Batch(BatchArgs),
    /// Look at activations: dead units, saturation, slopes, a histogram, and what they mean
    #[command(after_help = "\
Examples:
  activations inspect preactivations.npy --function relu
  activations inspect activations.npy --json")]
    Inspect(InspectArgs),
    /// Hold every function, forward and backward, against an f64 reference
    #[command(after_help = "\
A result is checked in ULP, units in the last place of the correctly rounded f32.

With --exhaustive, every f32 there is, 2^32 of them, on one backend or several at once: about a
minute for each function and direction. The report is also what an interrupted run goes on from.

Examples:
  activations check gelu softmax --backend cpu
  activations check --exhaustive gelu silu --on gpu --on cpu
  activations check --exhaustive --on gpu:0 --on gpu:1 --on cpu --report all.json")]
    Check(CheckArgs),
    /// Measure the functions' rates, and their share of a plain copy's rate
    #[command(after_help = "\
Rates count the bytes of a call's arrays, which stay on the device; each sample is measured beside
one of the same backend's plain copy. nll_loss, which reads one element of a row, has rates above it.

Examples:
  activations bench gelu softmax --shape 4096,1024
  activations bench --transfers gelu")]
    Bench(BenchArgs),
    /// Measure how kernels walk arrays fastest on an adapter, and keep it
    #[command(after_help = "\
Takes some seconds. What is chosen is kept in the user's cache folder, by adapter, driver and version;
every run on that adapter takes it from there. The environment variable ACTIVATIONS_CACHE names another
folder, or is `off`.

Examples:
  activations tune
  activations tune --adapter 0 --dry-run
  activations tune --reset")]
    Tune(TuneArgs),
    /// Report what is needed to trust this machine's devices: self-check, accuracy, rates
    #[command(after_help = "\
Each GPU adapter and the CPU backend in turn: the self-check, the functions against the f64 reference
in f32, f16 and bf16, and the rates of some functions, of arrays that stay on the device and of
arrays in host memory. What the time does not suffice for is named in the report. There is nothing
about the person or the machine's name in it.

Example: activations report -o report.json")]
    Report(ReportArgs),
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The file to write; what is there is replaced
    #[arg(short, long, value_name = "FILE.json")]
    pub output: PathBuf,
    /// Only this GPU adapter, by its index in `activations adapters` or a part of its name, and the
    /// CPU [default: every GPU, or a software adapter where there is none]
    #[arg(long, value_name = "INDEX|NAME")]
    pub adapter: Option<AdapterChoice>,
    /// About how long it may take
    #[arg(long, value_name = "SECONDS", default_value = "120",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// The array whose rates are measured
    #[arg(long, value_name = "R,C", default_value = "4096,4096", value_parser = shape)]
    pub shape: Shape,
}

/// Arguments of `tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The GPU adapter: its index in `activations adapters`, or a part of its name [default: the
    /// one that the environment variable WGPU_ADAPTER_NAME names, else the best]
    #[arg(long, value_name = "INDEX|NAME")]
    pub adapter: Option<AdapterChoice>,
    /// Measure, and keep nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Forget what was kept, and measure nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub reset: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where to compute.
#[derive(Debug, Args)]
pub struct BackendArgs {
    /// Where to compute; auto takes a hardware GPU or the adapter that is named, else the CPU
    #[arg(long, value_enum, default_value = "auto", value_name = "BACKEND")]
    pub backend: BackendName,
    /// The GPU adapter: its index in `activations adapters`, or a part of its name [default: the
    /// one that the environment variable WGPU_ADAPTER_NAME names, else the best]
    #[arg(long, value_name = "INDEX|NAME")]
    pub adapter: Option<AdapterChoice>,
}

/// The backends by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// A hardware GPU, or else the CPU
    Auto,
    /// A GPU or a software adapter, or else an error
    Gpu,
    /// The CPU
    Cpu,
}

impl From<BackendName> for BackendKind {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Auto => Self::Auto,
            BackendName::Gpu => Self::Gpu,
            BackendName::Cpu => Self::Cpu,
        }
    }
}

/// What `run` and `grad` share: a function, files, and where to compute.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The function's name or an alias, see `activations list`; or a chain of them
    pub function: String,
    /// The input arrays; of a gate one with value and gate, or two: the value and the gate
    #[arg(required = true, value_name = "IN.npy")]
    pub inputs: Vec<PathBuf>,
    /// The output array; it is written whole or not at all. FILE.safetensors:TENSOR replaces or
    /// adds that tensor, and the file's others stay
    #[arg(short, long = "output", required = true, value_name = "OUT.npy")]
    pub outputs: Vec<PathBuf>,
    /// What the output is stored as: f32, f16 or bf16 [default: as the first input where that has
    /// 16 bits, else f32]
    #[arg(long, value_name = "TYPE", value_parser = dtype)]
    pub dtype: Option<DType>,
    /// A parameter of the function; may be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// The axis of a function along one, negative from the end; several for logsumexp, as 0,2
    /// [default: -1; 1 for cross_entropy, nll_loss and prelu, -3 for softmax2d]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = axes)]
    pub axis: Option<Axes>,
    /// Keep the axes that logsumexp reduces, with length 1
    #[arg(long)]
    pub keepdims: bool,
    /// Softmax family: which elements take part, those that are not 0, or of real numbers 1;
    /// broadcast to the input
    #[arg(long, value_name = "M.npy")]
    pub mask: Option<PathBuf>,
    /// Softmax family: what is added to the scores; broadcast to the input
    #[arg(long, value_name = "B.npy")]
    pub bias: Option<PathBuf>,
    /// Softmax family: how many elements of each row take part
    #[arg(long, value_name = "L.npy")]
    pub lengths: Option<PathBuf>,
    /// Softmax family: a sink of its own for each row, or for rows that share one, [H, 1, 1] for scores
    /// [B, H, Q, K]; broadcast to the input, the axis having length 1
    #[arg(long, value_name = "S.npy")]
    pub sinks: Option<PathBuf>,
    /// Softmax family: a query sees no key behind it
    #[arg(long)]
    pub causal: bool,
    /// Losses: a weight for each class; of losses of elements also an array that broadcasts
    #[arg(long, value_name = "W.npy")]
    pub weight: Option<PathBuf>,
    /// binary_cross_entropy_with_logits: a weight of the positive targets for each class along the
    /// axis, or an array that broadcasts, [C, 1, 1] for [N, C, H, W] for instance
    #[arg(long, value_name = "P.npy")]
    pub pos_weight: Option<PathBuf>,
    /// Memory for parts of files that are larger, such as 64M or 2G, 64K at least: functions of one
    /// file go through files of any size, rows of others than the plain softmax family in one piece
    #[arg(long, value_name = "BYTES", default_value = "128M", value_parser = bytes)]
    pub memory: Bytes,
    /// Where to compute.
    #[command(flatten)]
    pub backend: BackendArgs,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub usize);

fn bytes(text: &str) -> Result<Bytes, String> {
    let hint = "write it as bytes, or with K, M or G for their multiples of 1024, such as 64M";
    let (digits, shift) = match text.to_ascii_uppercase().chars().last() {
        Some('K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: usize = digits.parse().map_err(|_| hint)?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes > 0 => Ok(Bytes(bytes)),
        _ => Err(hint.to_owned()),
    }
}

/// The arguments of `grad`.
#[derive(Debug, Args)]
pub struct GradArgs {
    /// Function, inputs and outputs.
    #[command(flatten)]
    pub run: RunArgs,
    /// The gradient by the function's output, of the output's shape [default: all 1]
    #[arg(long, value_name = "DY.npy")]
    pub upstream: Option<PathBuf>,
}

/// The arguments of `batch`.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The arrays: a .npz or .safetensors file, or a folder of .npy files
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The results, of the same kind; all of it is written or nothing
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// A function for the arrays whose names match a pattern; may be given several times
    #[arg(long = "apply", required = true, value_name = "PATTERN=FUNCTION", value_parser = rule)]
    pub rules: Vec<Rule>,
    /// Where to compute.
    #[command(flatten)]
    pub backend: BackendArgs,
}

/// A function for the arrays whose names match a pattern.
#[derive(Clone, Debug)]
pub struct Rule {
    /// With * for any characters and ? for one.
    pub pattern: String,
    /// The function's name.
    pub function: String,
    /// Its parameters, and `axis`.
    pub parameters: Vec<(String, String)>,
}

impl Rule {
    /// Whether the pattern matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) =
            (self.pattern.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        // Where the last star stands, and the character from which it was to match less.
        let mut star = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
                _ => match star {
                    Some((at, from)) => {
                        star = Some((at, from + 1));
                        (p, n) = (at + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&c| c == '*')
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    let hint = "write it as pattern=function, such as 'mlp.*=gelu' or '*=softmax(axis=0)'";
    let (pattern, function) = text.split_once('=').ok_or(hint)?;
    let (function, inside) = match function.trim().strip_suffix(')') {
        None => (function, ""),
        Some(call) => call.split_once('(').ok_or(hint)?,
    };
    if pattern.is_empty() || function.trim().is_empty() || function.contains(['(', ')']) {
        return Err(hint.to_owned());
    }
    let parameters = inside.split(',').filter(|text| !text.trim().is_empty());
    Ok(Rule {
        pattern: pattern.to_owned(),
        function: function.trim().to_owned(),
        parameters: parameters.map(parameter).collect::<Result<_, _>>()?,
    })
}

/// The arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The array: of activations, or of a function's inputs
    #[arg(value_name = "X.npy")]
    pub input: PathBuf,
    /// The activation that the array is the input of
    #[arg(long, short, value_name = "NAME")]
    pub function: Option<String>,
    /// A parameter of the function; may be given several times
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// The axis along which units lie, negative from the end: 1 for channels first
    #[arg(
        long,
        value_name = "N",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    pub axis: isize,
    /// The slope, in magnitude, below which an element counts as saturated
    #[arg(long, value_name = "SLOPE", default_value = "0.01")]
    pub saturation: f32,
    /// The bins of the histogram
    #[arg(long, value_name = "N", default_value = "20")]
    pub bins: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub backend: BackendArgs,
}

/// The arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The functions to check; all where none is named
    #[arg(value_name = "FUNCTION")]
    pub functions: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Check every f32 there is, with the default parameters; of the activations only
    #[arg(long)]
    pub exhaustive: bool,
    /// Check every number of this type of 16 bits, f16 or bf16: results are to be the correctly
    /// rounded ones; of the activations, with their default parameters, and the softmax family only
    #[arg(long, value_name = "TYPE", value_parser = half_type, conflicts_with = "exhaustive")]
    pub dtype: Option<DType>,
    /// What of it, where, and to which file.
    #[command(flatten)]
    pub run: ExhaustiveArgs,
    /// Where to compute.
    #[command(flatten)]
    pub backend: BackendArgs,
}

/// A type of numbers by its name.
fn dtype(text: &str) -> Result<DType, String> {
    text.parse()
        .map_err(|error: wgpu_activations::Error| error.to_string())
}

/// A type of 16 bits by its name.
fn half_type(text: &str) -> Result<DType, String> {
    match text.parse() {
        Ok(DType::F32) => Err("f32 has more than 65,536 numbers: take --exhaustive".to_owned()),
        Ok(dtype) => Ok(dtype),
        Err(error) => Err(error.to_string()),
    }
}

/// The arguments of `check --exhaustive`.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --exhaustive")]
pub struct ExhaustiveArgs {
    /// A place to compute, in the stead of --backend: cpu, gpu, or gpu:ADAPTER with an adapter's
    /// index or a part of its name; may be given several times
    #[arg(long, value_name = "PLACE", requires = "exhaustive", value_parser = place,
          conflicts_with_all = ["backend", "adapter"])]
    pub on: Vec<Place>,
    /// One direction only
    #[arg(long, value_enum, value_name = "PASS", requires = "exhaustive")]
    pub pass: Option<PassName>,
    /// The report, from which an interrupted run goes on; beside it a .md for people [default:
    /// activations-check.json]
    #[arg(long, value_name = "FILE.json", requires = "exhaustive")]
    pub report: Option<PathBuf>,
    /// Begin anew where the report exists
    #[arg(long, requires = "exhaustive")]
    pub fresh: bool,
    /// Only the bit patterns from FIRST to LAST, such as 0x3f800000..0x3fffffff
    #[arg(long, value_name = "FIRST..LAST", requires = "exhaustive", value_parser = bits)]
    pub bits: Option<(u32, u32)>,
    /// Only every N-th bit pattern; from 2 on, the reference is not interpolated
    #[arg(long, value_name = "N", requires = "exhaustive",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub stride: Option<u32>,
}

/// One place to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The CPU.
    Cpu,
    /// A GPU adapter.
    Gpu(AdapterChoice),
}

fn place(text: &str) -> Result<Place, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(Place::Cpu),
        None if text == "gpu" => Ok(Place::Gpu(AdapterChoice::from_env())),
        Some(("gpu", adapter)) if !adapter.is_empty() => match adapter.parse() {
            Ok(choice) => Ok(Place::Gpu(choice)),
            Err(never) => match never {},
        },
        _ => Err("use cpu, gpu or gpu:ADAPTER, such as gpu:0".to_owned()),
    }
}

/// The directions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PassName {
    /// f(x)
    Forward,
    /// The gradient by x
    Backward,
}

fn bits(text: &str) -> Result<(u32, u32), String> {
    let hint = "write it as two bit patterns in hexadecimal, such as 0x3f800000..0x3fffffff";
    let pattern = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u32::from_str_radix(digits, 16).map_err(|_| hint)
    };
    let (first, last) = text.split_once("..").ok_or(hint)?;
    let (first, last) = (pattern(first)?, pattern(last)?);
    if first > last {
        return Err("the first bit pattern is beyond the last".to_owned());
    }
    Ok((first, last))
}

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The functions to measure; all where none is named
    #[arg(value_name = "FUNCTION")]
    pub functions: Vec<String>,
    /// The array's shape; functions of rows run along its last axis
    #[arg(long, value_name = "R,C", default_value = "4096,1024", value_parser = shape)]
    pub shape: Shape,
    /// Measure from what size on a GPU pays: the CPU, the GPU with the transfers, and the GPU on arrays
    /// that are there, for 1,000 to 10,000,000 elements; of gelu and softmax where nothing is named
    #[arg(long, conflicts_with = "shape")]
    pub transfers: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute.
    #[command(flatten)]
    pub backend: BackendArgs,
}

/// An array's dimensions.
#[derive(Clone, Debug)]
pub struct Shape(pub Vec<usize>);

fn shape(text: &str) -> Result<Shape, String> {
    let dimensions: Result<Vec<usize>, _> = text.split(',').map(|d| d.trim().parse()).collect();
    let dimensions = dimensions.map_err(|_| "write it as rows,columns, such as 4096,1024")?;
    let bytes = dimensions
        .iter()
        .try_fold(size_of::<f32>(), |n, &d| n.checked_mul(d))
        .filter(|&b| isize::try_from(b).is_ok());
    match bytes {
        Some(0) => Err("there is nothing to measure in an empty array".to_owned()),
        Some(_) => Ok(Shape(dimensions)),
        None => Err("that is more than can be addressed".to_owned()),
    }
}

/// Axes of an array.
#[derive(Clone, Debug)]
pub struct Axes(pub Vec<isize>);

fn axes(text: &str) -> Result<Axes, String> {
    let axes: Result<Vec<isize>, _> = text.split(',').map(|axis| axis.trim().parse()).collect();
    let hint = "write it as a number such as -1, or as several such as 0,2";
    axes.map(Axes).map_err(|_| hint.to_owned())
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let hint = "write it as name=value, such as alpha=0.5";
    let (name, value) = text.split_once('=').ok_or(hint)?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err(hint.to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A refusal of the arguments in one line: clap's words without its drawing.
pub fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no subcommand is given; use list, adapters, run, grad, batch, inspect, check or bench, \
                see --help"
            .to_owned();
    }
    let text = error.to_string();
    let text = text.strip_prefix("error:").unwrap_or(&text);
    let words = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| line.strip_prefix("tip:").map_or(line, str::trim));
    let mut out = String::new();
    for part in words {
        let separator = match out.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) if part.starts_with(['<', '-', '[']) => " ",
            Some(_) => "; ",
        };
        out.push_str(separator);
        out.push_str(part);
    }
    format!("{out}; see --help")
}
