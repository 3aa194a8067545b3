//! Every way in which a call can fail, as a value that says what happened and what to change.

use crate::element::DType;
use crate::range::Range;
use std::borrow::Cow;

/// The result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and what would help.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No GPU adapter answers; the CPU backend needs none.
    #[error("no GPU adapter: {reason}; use the CPU backend, or {remedy}")]
    NoAdapter {
        /// What was looked for.
        reason: String,
        /// What would make it an adapter.
        remedy: String,
    },
    /// An adapter was asked for by a name or an index that none has.
    #[error("no adapter matches '{}'; there are: {}{}", shown(.wanted), list(.available), asked(.interfaces))]
    UnknownAdapter {
        /// The name or index as given.
        wanted: String,
        /// The adapters that are there.
        available: Vec<String>,
        /// What the environment variable `WGPU_BACKEND` says, where it is set.
        interfaces: Option<String>,
    },
    /// The adapter would not open a device.
    #[error("the adapter '{adapter}' gave no device: {reason}")]
    DeviceRequest {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A name of no function that is taken there.
    #[error("no {wanted} is called '{}'{}", shown(.name), other_functions(.similar, .elsewhere))]
    UnknownFunction {
        /// The name as given.
        name: String,
        /// What is taken there, such as `activation`.
        wanted: &'static str,
        /// Names that are taken there and look like it.
        similar: Vec<&'static str>,
        /// What the name stands for elsewhere, where it is no name that is taken there.
        elsewhere: Option<String>,
    },
    /// A name of no type of numbers.
    #[error("no type of numbers is called '{}'; there are f32, f16 and bf16", shown(.text))]
    UnknownDType {
        /// The name as given.
        text: String,
    },
    /// An array that is read as another type of numbers than it holds.
    #[error("the array holds {expected}, and was read as {got}; `dtype` says what it holds")]
    DTypeMismatch {
        /// What it holds.
        expected: DType,
        /// What was asked for.
        got: DType,
    },
    /// A parameter that the function does not have.
    #[error("{function} has no parameter '{}'; {}", shown(.name), known_parameters(.known, function, .name))]
    UnknownParameter {
        /// The function.
        function: &'static str,
        /// The parameter as given.
        name: String,
        /// The parameters that it has.
        known: Vec<&'static str>,
    },
    /// A parameter's value for which the function is not defined.
    #[error("{function}: parameter {parameter} = {value} must be {range}")]
    ParameterOutOfRange {
        /// The function.
        function: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// The value as given.
        value: f32,
        /// The values that it may take.
        range: Range,
    },
    /// A span of bit patterns in which there is none.
    #[error(
        "no bit pattern is between {first:#010x} and {last:#010x} with a stride of {stride}; give \
         the smaller one first, and a stride of 1 or more"
    )]
    EmptySpan {
        /// The first bit pattern.
        first: u32,
        /// The last one.
        last: u32,
        /// The distance between them.
        stride: u32,
    },
    /// An option of an operation has a value that it cannot take.
    #[error("{option} = {} must be {range}", shown(.value))]
    OptionOutOfRange {
        /// The option.
        option: &'static str,
        /// The value as given.
        value: String,
        /// The values that it may take.
        range: &'static str,
    },
    /// The arrays that were given are not those that the function takes.
    #[error("{function} {detail}")]
    Inputs {
        /// The function.
        function: &'static str,
        /// What is wrong, and what it takes.
        detail: String,
    },
    /// Two things that must have the same number of elements do not.
    #[error("{what} has {got} elements where {expected} are expected")]
    LengthMismatch {
        /// The argument that is off.
        what: &'static str,
        /// The elements that it must have.
        expected: usize,
        /// The elements that it has.
        got: usize,
    },
    /// Two shapes that must be the same are not.
    #[error("{what} has shape {got:?} where {expected:?} is expected")]
    ShapeMismatch {
        /// The argument that is off.
        what: &'static str,
        /// The shape that it must have.
        expected: Vec<usize>,
        /// The shape that it has.
        got: Vec<usize>,
    },
    /// The product of a shape's dimensions does not fit the address space.
    #[error("the shape {shape:?} has more elements than can be addressed")]
    ShapeTooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// An axis that the shape does not have.
    #[error("axis {axis} is out of range for an array of rank {rank}{}", axis_range(*.rank))]
    AxisOutOfRange {
        /// The axis as given.
        axis: isize,
        /// The number of axes.
        rank: usize,
    },
    /// An axis that a gate cannot halve.
    #[error(
        "{function} halves its axis into values and gates, and axis {axis} of the shape {shape:?} has {len} elements, an odd number"
    )]
    OddAxis {
        /// The gate.
        function: &'static str,
        /// The axis as given.
        axis: isize,
        /// Its length.
        len: usize,
        /// The shape.
        shape: Vec<usize>,
    },
    /// Slopes that do not broadcast to their array.
    #[error(
        "slopes of the shape {slope:?} do not broadcast to the shape {shape:?}: axis {axis} is neither 1 nor the array's"
    )]
    SlopeShape {
        /// The first axis that does not fit, from the end.
        axis: isize,
        /// The slopes' shape.
        slope: Vec<usize>,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// More or fewer slopes than an array has.
    #[error("{what} has {got} elements where {expected} are expected, {of}")]
    SlopeLength {
        /// The argument that is off.
        what: &'static str,
        /// The elements that it must have.
        expected: usize,
        /// The elements that it has.
        got: usize,
        /// What the slopes are for.
        of: String,
    },
    /// A parameter by which no gradient is known.
    #[error(
        "no gradient by {parameter} of {function} is known; those by {} are", list(.learnable)
    )]
    NotLearnable {
        /// The function.
        function: &'static str,
        /// Its parameter.
        parameter: &'static str,
        /// The parameters by which gradients are known.
        learnable: Vec<String>,
    },
    /// Axes to sum over that take turns with others more often than a kernel follows.
    #[error(
        "kept and summed axes of the shape {shape:?} take turns more than six times; move axes of one kind together"
    )]
    ScatteredAxes {
        /// The shape.
        shape: Vec<usize>,
    },
    /// An array whose axes are not those of the array that it is for, nor of length 1.
    #[error("{what} of shape {shape:?} does not broadcast to {to:?}")]
    NotBroadcastable {
        /// The argument that is off.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape that it is for.
        to: Vec<usize>,
    },
    /// The text of a chain cannot be read.
    #[error("the chain at column {column}: {problem}")]
    ChainSyntax {
        /// The character at which the trouble is, the first one's number being 1.
        column: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Options of an operation that do not go together, or a value that is none.
    #[error("{function}: {problem}")]
    Options {
        /// The function.
        function: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// What is an option and an array, such as a weight or a sink, was given as both.
    #[error(
        "{function} was given {what} twice: as an option and as an array; leave one of them out"
    )]
    GivenTwice {
        /// The function.
        function: &'static str,
        /// What was given twice.
        what: &'static str,
    },
    /// The text of an operation cannot be read.
    #[error("the function at column {column}: {problem}")]
    OperationSyntax {
        /// The character at which the trouble is, the first one's number being 1.
        column: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A chain's step has a value that it cannot take, or cannot stand where it stands.
    #[error("step {step} of the chain, {text}: {problem}")]
    ChainStep {
        /// The step's number, from 1.
        step: usize,
        /// The step.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// A chain is given too many operands, or too few.
    #[error("the chain takes {expected} operands ({}), {got} are given", .wanted.join(", "))]
    ChainOperands {
        /// How many there must be.
        expected: usize,
        /// The steps that take them.
        wanted: Vec<&'static str>,
        /// How many there are.
        got: usize,
    },
    /// A custom function's name, parameters or values are not right.
    #[error("{}: {problem}", shown(.function))]
    CustomFunction {
        /// The function.
        function: String,
        /// What is wrong.
        problem: String,
    },
    /// A name that a function of [`shader::fused`](crate::shader::fused) cannot have.
    #[error("no function of a shader can be called '{name}': {problem}")]
    FusedName {
        /// The name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A custom function's WGSL is not right.
    #[error("{}{}: {problem}", shown(.function), at_line(.line, .text))]
    CustomShader {
        /// The function.
        function: String,
        /// The line of the caller's text, from 1, where the trouble is in one.
        line: Option<u32>,
        /// The text of that line.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// A causal mask over an array that has no axis of queries.
    #[error(
        "a causal mask needs an axis of queries that is not axis {axis}, the one before it or another that is named"
    )]
    NoQueryAxis {
        /// The function's axis.
        axis: usize,
    },
    /// A row of which nothing takes part, where the policy is that this is an error.
    #[error("everything is masked in row {row:?} (its place along the axes but the function's)")]
    FullyMaskedRow {
        /// The row's place along each axis but the function's.
        row: Vec<usize>,
    },
    /// An error about what masks hold was asked of a call that does not see them.
    #[error(
        "masked rows are found out only where the masks are in host memory; take another row policy"
    )]
    PolicyNeedsHost,
    /// The gradient by sinks of a shaping that has none.
    #[error(
        "the shaping has no sink that a gradient is by; give it `sinks`, or a number as `sink`"
    )]
    NoSinks,
    /// Arrays are broadcast along more axes in turn than a kernel follows.
    #[error("the arrays are broadcast along {axes} axes in turn; a GPU follows up to {most}")]
    TooManyAxes {
        /// Axes after those that are alike were fused.
        axes: usize,
        /// The most.
        most: usize,
    },
    /// An operation reads and writes more arrays than the device binds at once.
    #[error(
        "the operation binds {needed} storage buffers, and the device's limit max_storage_buffers_per_shader_stage is {limit}; request the device with a higher one, as `Gpu::open` does"
    )]
    TooManyBuffers {
        /// Arrays of the operation.
        needed: u32,
        /// The device's limit.
        limit: u32,
    },
    /// A chain is too long for one kernel.
    #[error(
        "the chain has {steps} steps, and one kernel takes {most} at most: split it into chains of \
         fewer, as Batch and Backend do by themselves"
    )]
    ChainTooLong {
        /// Steps of the chain.
        steps: usize,
        /// The most.
        most: usize,
    },
    /// A limit of the device that no operation can do with.
    #[error(
        "the device's limit {limit} is {got}, and {needed} is needed; request the device with a higher one, as `Gpu::open` does"
    )]
    DeviceLimit {
        /// The limit's name in [`wgpu::Limits`].
        limit: &'static str,
        /// The least that is needed, see [`Kernels`](crate::Kernels).
        needed: u64,
        /// What the device has.
        got: u64,
    },
    /// A buffer lacks a usage flag.
    #[error("the {what} buffer needs the usage {needed:?}, it has {got:?}")]
    BufferUsage {
        /// The argument's role.
        what: &'static str,
        /// The flag that is needed.
        needed: wgpu::BufferUsages,
        /// The flags that it has.
        got: wgpu::BufferUsages,
    },
    /// A buffer range is smaller than the operation's array.
    #[error("the {what} range holds {got} bytes where {needed} are needed")]
    BufferTooSmall {
        /// The argument's role.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        got: u64,
    },
    /// A buffer range does not begin or end where the device can bind it.
    #[error(
        "the {what} range has its {edge} at byte {value}, which is not a multiple of {alignment}"
    )]
    BufferMisaligned {
        /// The argument's role.
        what: &'static str,
        /// `offset` or `size`.
        edge: &'static str,
        /// Where it is.
        value: u64,
        /// What it must be a multiple of.
        alignment: u64,
    },
    /// A block of rows is more than the adapter binds at once, and its steps are too large or too
    /// many to cut it along the axis.
    #[error(
        "the axis' rows, in steps of {bytes} bytes, cannot be cut to what this adapter binds ({limit} bytes); call the backend with host memory, which works in tiles"
    )]
    AxisStepTooLarge {
        /// Bytes from one element of a row to the next.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
    },
    /// A gradient was asked for from an output that does not determine it to full accuracy.
    #[error(
        "the gradient of {function} is not accurate from its output; ask for it from the input"
    )]
    NotFromOutput {
        /// The function.
        function: &'static str,
    },
    /// A target class that there is not.
    #[error(
        "the target of row {row} is {target}, which is no class: there are {classes}, from 0 on"
    )]
    TargetOutOfRange {
        /// The row, counted over all axes but that of the classes.
        row: usize,
        /// The target as given.
        target: i64,
        /// How many classes there are.
        classes: usize,
    },
    /// Target probabilities where the function takes class indices alone.
    #[error("{function} takes class indices as targets, no probabilities")]
    TargetsAreIndices {
        /// The function.
        function: &'static str,
    },
    /// A class to ignore where targets are probabilities of all classes.
    #[error(
        "ignore_index {ignore_index} is not for target probabilities; give class indices, or leave it out"
    )]
    IgnoreIndexOfProbabilities {
        /// The class as given.
        ignore_index: i64,
    },
    /// A call whose output was to take the place of its input.
    #[error("{function} is not computed in place; give it an output of its own")]
    NotInPlace {
        /// The function.
        function: &'static str,
    },
    /// An option of a loss that an operation does not do.
    #[error("{operation} does not take the loss's {option}: {instead}")]
    OptionNotTaken {
        /// The operation.
        operation: &'static str,
        /// The option.
        option: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Labels that were made for another loss.
    #[error(
        "{operation} takes labels that were made for the same loss with the same weight, axis and ignored class; these were made for {of}"
    )]
    OtherLabels {
        /// The operation.
        operation: &'static str,
        /// The loss that they were made for.
        of: &'static str,
    },
    /// A NaN or an infinity where a finite number is needed.
    #[error("{what} at index {index} is {value}; it must be a finite number")]
    NotFinite {
        /// The argument that is off.
        what: &'static str,
        /// The place of its first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// An input that must be a probability is none.
    #[error("the probability at index {index} is {value}; it must lie between 0 and 1")]
    NotAProbability {
        /// The place of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A reduction that there is not.
    #[error("no reduction is called '{}'; use none, mean or sum", shown(.name))]
    UnknownReduction {
        /// The name as given.
        name: String,
    },
    /// Two ranges of one buffer overlap; the in-place calls are for that.
    #[error(
        "the {first} and {second} ranges overlap in one buffer; use the in-place call, or separate them"
    )]
    BufferOverlap {
        /// One argument's role.
        first: &'static str,
        /// The other's.
        second: &'static str,
    },
    /// More memory than the device gives.
    #[error("the device has no room for {bytes} bytes ({reason})")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// The limit or the driver's words.
        reason: String,
    },
    /// The device is gone: unplugged, reset or destroyed. A new `Gpu` is needed.
    ///
    /// Every call of a [`Gpu`](crate::Gpu) or a [`Backend`](crate::Backend) on it that begins
    /// afterwards is this error, [`Batch::submit`](crate::Batch::submit) included; one that was under
    /// way is, or has its results. Recording into a batch may do without the device.
    #[error("the GPU device was lost ({reason}); open a new one")]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// The device reported an error of its own.
    #[error("the GPU reported an error: {message}")]
    Device {
        /// The driver's words.
        message: String,
    },
    /// The adapter computes this function wrong, or cannot be trusted with any.
    #[error(
        "this adapter is not to be trusted with {function} ({reason}); use the CPU, as a `Backend` does by itself"
    )]
    Untrusted {
        /// The function, its direction, and for rows the way that they are divided; `anything`
        /// where a probe of the adapter itself failed.
        function: String,
        /// What is wrong: the known answer that is not met, or the probe.
        reason: String,
    },
    /// What is kept from run to run cannot be written or removed.
    #[error("the cache{}: {reason}", at(.path))]
    Cache {
        /// The file; empty where there is no cache.
        path: std::path::PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A tensor was read before the batch that computes it was submitted.
    #[error(
        "the tensor's batch has not been submitted yet, or was dropped; call `submit` on it before reading"
    )]
    NotSubmitted,
    /// A batch reads a tensor whose values nobody makes.
    #[error(
        "the {what} tensor of shape {shape:?} has no values: the batch that was to make them was dropped"
    )]
    NoValues {
        /// The tensor's role.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Batches that share a tensor which one of them writes are submitted in another order than
    /// they were recorded.
    #[error(
        "the {what} tensor of shape {shape:?} is shared with a batch that was recorded before and is not submitted yet; submit that one first, or drop it"
    )]
    SubmittedTooEarly {
        /// The tensor's role in this batch.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor of one device was handed to another.
    #[error("the {what} tensor lives on another device")]
    ForeignTensor {
        /// The argument's role.
        what: &'static str,
    },
}

/// A text of the caller's as an error shows it: of a long one the beginning.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

fn at(path: &std::path::Path) -> String {
    if path.as_os_str().is_empty() {
        String::new()
    } else {
        format!(" ({})", path.display())
    }
}

fn at_line(line: &Option<u32>, text: &str) -> String {
    line.map_or(String::new(), |line| {
        format!(", line {line}, `{}`", shown(text))
    })
}

fn other_functions(similar: &[&str], elsewhere: &Option<String>) -> String {
    match elsewhere {
        Some(elsewhere) => format!("; {elsewhere}"),
        None if similar.is_empty() => "; `activations list` shows all there are".to_owned(),
        None => format!("; did you mean {}?", similar.join(", ")),
    }
}

fn known_parameters(known: &[&str], function: &str, name: &str) -> String {
    let known = match known {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    // PyTorch's gelu takes a word.
    let other = match (function, name) {
        ("gelu", "approximate") => "; the approximation with tanh is a function, gelu_tanh",
        _ => "",
    };
    format!("it has {known}{other}")
}

/// Why there may be fewer adapters than the machine has.
fn asked(interfaces: &Option<String>) -> String {
    interfaces.as_ref().map_or(String::new(), |value| {
        format!("; WGPU_BACKEND={} limits them", shown(value))
    })
}

fn axis_range(rank: usize) -> String {
    if rank == 0 {
        "; a scalar has no axis".to_owned()
    } else {
        format!("; use {} to {}", -(rank as isize), rank - 1)
    }
}
