//! `activations bench`: the rates of the functions beside the rate of a plain copy.
//!
//! The copy is a kernel of one vec4 an invocation on a GPU, and the identity on the CPU, measured in
//! turn with each function, so that
//! a share of it is a ratio within the run that the machine's other load does not bend.

use super::copy::CopyKernel;
use crate::args::BenchArgs;
use crate::error::CliError;
use crate::function::{Function, Operation};
use crate::operations;
use crate::terminal::{self, Progress};
use serde::Serialize;
use std::time::{Duration, Instant};
use wgpu_activations::{
    Activation, AxisFunction, AxisShape, Backend, CrossEntropy, Elementwise, Gate, Gpu, Labels,
    Mask, OfShape, Tensor,
};

/// A sample is at least this long: calls are repeated to fill it.
const SAMPLE: Duration = Duration::from_millis(20);

const SOFTMAX: AxisFunction = AxisFunction::Softmax;

/// Samples of each function; the median of an odd number is one of them.
const SAMPLES: usize = 9;

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    backend: String,
    shape: Vec<usize>,
    results: Vec<Entry>,
}

/// The rate of a function in one direction.
#[derive(Serialize)]
pub(super) struct Entry {
    pub function: &'static str,
    pub pass: &'static str,
    /// Bytes read and written by one call.
    bytes: u64,
    median_ms: f64,
    pub median_gb_per_s: f64,
    best_gb_per_s: f64,
    copy_median_gb_per_s: f64,
    /// The median of the ratios of neighbouring samples.
    pub share_of_copy: f64,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    Operation(Operation),
    /// Of an array whose last axis has values, then gates.
    Gate(Gate),
    /// Softmax over the last axis under a key mask, of which every eighth key is out.
    Masked,
    /// Mean cross entropy of logits along the last axis with a class for each row.
    CrossEntropy,
}

impl Subject {
    /// The subjects of these names, each once with its name; all of them where there is no name.
    pub fn select(names: &[String]) -> Result<Vec<(&'static str, Self)>, CliError> {
        let (own, rest): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| Self::find(name).is_some());
        let mut subjects = Vec::new();
        if own.is_empty() || !rest.is_empty() {
            let rest: Vec<String> = rest.into_iter().cloned().collect();
            let unknown = |name: &str| {
                let own = Self::own().into_iter().map(|(name, _)| name);
                Function::unknown("function of bench", name, own)
            };
            let functions = Function::select(&rest, unknown)?;
            subjects.extend(functions.into_iter().map(|f| (f.name(), Self::from(f))));
        }
        let own: Vec<(&'static str, Self)> = match names {
            [] => Self::own(),
            _ => own
                .into_iter()
                .filter_map(|name| Self::find(name))
                .collect(),
        };
        for (name, subject) in own {
            if subjects.iter().all(|(there, _)| *there != name) {
                subjects.push((name, subject));
            }
        }
        Ok(subjects)
    }

    /// What is no function of the catalogue or the softmax family.
    fn own() -> Vec<(&'static str, Self)> {
        let gates = Gate::ALL
            .iter()
            .map(|&gate| (gate.name(), Self::Gate(gate)));
        let rest = [
            ("masked_softmax", Self::Masked),
            ("cross_entropy", Self::CrossEntropy),
        ];
        gates.chain(rest).collect()
    }

    fn find(name: &str) -> Option<(&'static str, Self)> {
        let wanted = operations::canonical(name);
        Self::own().into_iter().find(|(own, _)| *own == wanted)
    }
}

impl From<Function> for Subject {
    fn from(function: Function) -> Self {
        Self::Operation(match function {
            Function::Elementwise(a) => Operation::Elementwise(Elementwise::from(a)),
            Function::Axis(g) => Operation::Axis(g),
        })
    }
}

/// What one call computes.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Copy,
    Forward(Subject),
    Backward(Subject),
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Forward(_) => "forward",
            Self::Backward(_) => "backward",
        }
    }
}

/// Arrays in place, ready for any work.
pub(super) struct Rig {
    memory: Memory,
    shape: Vec<usize>,
    elements: usize,
    rows: usize,
}

/// Input, upstream gradient and output where the backend computes; of a function that reduces,
/// the upstream gradient and the output have one value for each row.
enum Memory {
    Cpu {
        backend: Backend,
        x: Vec<f32>,
        dy: Vec<f32>,
        y: Vec<f32>,
        classes: Vec<i32>,
        keys: Vec<u8>,
    },
    Gpu {
        gpu: Gpu,
        copy: CopyKernel,
        x: Tensor,
        dy: Tensor,
        y: Tensor,
        row_dy: Tensor,
        row_y: Tensor,
        /// An upstream gradient for a gate's output, where the last axis is even.
        half_dy: Option<Tensor>,
        labels: Labels,
        scalar: Tensor,
        keys: Mask,
    },
}

impl Rig {
    pub fn new(backend: Backend, shape: &[usize]) -> Result<Self, CliError> {
        let (rows, len) = (AxisShape::new(shape, -1)?.rows(), shape[shape.len() - 1]);
        let elements = shape.iter().product();
        let x = noise(elements, 8.0, 1)?;
        let dy = noise(elements, 1.0, 2)?;
        // Scattered over the row; a class is below 2^31 wherever a row fits in memory.
        let classes: Vec<i32> = (0..rows).map(|row| (row * 7919 % len) as i32).collect();
        let keys: Vec<u8> = (0..len).map(|key| u8::from(key % 8 != 7)).collect();
        let memory = match backend {
            Backend::Gpu(gpu) => Memory::Gpu {
                copy: CopyKernel::new(&gpu, elements),
                x: gpu.upload(&x, shape)?,
                dy: gpu.upload(&dy, shape)?,
                y: gpu.empty(shape)?,
                row_dy: gpu.upload(&dy[..rows], &shape[..shape.len() - 1])?,
                row_y: gpu.empty(&shape[..shape.len() - 1])?,
                half_dy: if len % 2 == 0 {
                    let half = [&shape[..shape.len() - 1], &[len / 2]].concat();
                    Some(gpu.upload(&dy[..elements / 2], &half)?)
                } else {
                    None
                },
                labels: gpu.labels(CrossEntropy::new().axis(-1), shape, (&classes).into())?,
                scalar: gpu.upload(&[1.0], &[])?,
                keys: gpu.upload_mask(&keys, &[len])?,
                gpu,
            },
            backend => Memory::Cpu {
                backend,
                y: crate::memory::zeros(elements)?,
                x,
                dy,
                classes,
                keys,
            },
        };
        Ok(Self {
            memory,
            shape: shape.to_vec(),
            elements,
            rows,
        })
    }

    /// The bytes that one call reads and writes.
    fn bytes(&self, work: Work) -> u64 {
        let outputs = |subject| match subject {
            Subject::Operation(Operation::Axis(g)) if g.reduces() => self.rows,
            Subject::Operation(_) | Subject::Masked => self.elements,
            Subject::Gate(_) => self.elements / 2,
            // The classes; what is written is a scalar.
            Subject::CrossEntropy => self.rows,
        };
        let values = match work {
            Work::Copy => match &self.memory {
                Memory::Gpu { copy, .. } => return copy.bytes(),
                Memory::Cpu { .. } => 2 * self.elements,
            },
            Work::Forward(subject) => self.elements + outputs(subject),
            Work::Backward(subject) => 2 * self.elements + outputs(subject),
        };
        (values * size_of::<f32>()) as u64
    }

    /// How long `calls` calls of `work` take.
    fn time(&mut self, work: Work, calls: usize) -> Result<Duration, CliError> {
        let shape = &self.shape;
        match &mut self.memory {
            Memory::Cpu {
                backend,
                x,
                dy,
                y,
                classes,
                keys,
            } => {
                let start = Instant::now();
                for _ in 0..calls {
                    match work {
                        Work::Copy => backend.apply_into(Activation::Identity, &*x, &mut *y)?,
                        Work::Forward(Subject::Operation(Operation::Elementwise(f))) => {
                            backend.apply_into(f, &*x, &mut *y)?
                        }
                        Work::Backward(Subject::Operation(Operation::Elementwise(f))) => {
                            backend.grad_into(f, &*x, &*dy, &mut *y)?;
                        }
                        Work::Forward(Subject::Operation(Operation::Axis(g))) => {
                            let len = if g.reduces() { self.rows } else { y.len() };
                            backend.apply_into(g.along(-1), x.of_shape(shape), &mut y[..len])?;
                        }
                        Work::Backward(Subject::Operation(Operation::Axis(g))) => {
                            let len = if g.reduces() { self.rows } else { dy.len() };
                            backend.grad_into(
                                g.along(-1),
                                x.of_shape(shape),
                                &dy[..len],
                                &mut *y,
                            )?;
                        }
                        Work::Forward(Subject::Gate(gate)) => {
                            let half = y.len() / 2;
                            backend.apply_into(
                                gate.along(-1),
                                x.of_shape(shape),
                                &mut y[..half],
                            )?;
                        }
                        Work::Backward(Subject::Gate(gate)) => {
                            let half = dy.len() / 2;
                            backend.grad_into(
                                gate.along(-1),
                                x.of_shape(shape),
                                &dy[..half],
                                &mut *y,
                            )?;
                        }
                        Work::Forward(Subject::Masked) => {
                            let inputs = (x.of_shape(shape), &*keys);
                            backend.apply_into(SOFTMAX.along(-1), inputs, &mut *y)?;
                        }
                        Work::Backward(Subject::Masked) => {
                            let inputs = (x.of_shape(shape), &*keys);
                            backend.grad(SOFTMAX.along(-1), inputs, &*dy)?;
                        }
                        Work::Forward(Subject::CrossEntropy) => {
                            let loss = CrossEntropy::new().axis(-1);
                            backend.apply(&loss, (x.of_shape(shape), &*classes))?;
                        }
                        Work::Backward(Subject::CrossEntropy) => {
                            let loss = CrossEntropy::new().axis(-1);
                            backend.grad(&loss, (x.of_shape(shape), &*classes), &[1.0])?;
                        }
                    }
                }
                Ok(start.elapsed())
            }
            Memory::Gpu {
                gpu,
                copy,
                x,
                dy,
                y,
                row_dy,
                row_y,
                half_dy,
                labels,
                scalar,
                keys,
            } => {
                let start = Instant::now();
                if let Work::Copy = work {
                    copy.submit(gpu, calls);
                    gpu.wait()?;
                    return Ok(start.elapsed());
                }
                let (x, y, keys) = (&*x, &*y, &*keys);
                let softmax = SOFTMAX.along(-1);
                let loss = &CrossEntropy::new();
                let mut batch = gpu.batch();
                for _ in 0..calls {
                    match work {
                        // Done above.
                        Work::Copy => {}
                        Work::Forward(Subject::Operation(Operation::Elementwise(f))) => {
                            batch.apply_into(f, x, y)?
                        }
                        Work::Backward(Subject::Operation(Operation::Elementwise(f))) => {
                            batch.grad_into(f, x, dy, y)?;
                        }
                        Work::Forward(Subject::Operation(Operation::Axis(g))) => {
                            let y = if g.reduces() { &*row_y } else { y };
                            batch.apply_into(g.along(-1), x, y)?;
                        }
                        Work::Backward(Subject::Operation(Operation::Axis(g))) => {
                            let dy = if g.reduces() { &*row_dy } else { &*dy };
                            batch.grad_into(g.along(-1), x, dy, y)?;
                        }
                        Work::Forward(Subject::Gate(gate)) => {
                            batch.apply(gate.along(-1), x)?;
                        }
                        Work::Backward(Subject::Gate(gate)) => {
                            let half = half_dy.as_ref().unwrap_or(dy);
                            batch.grad(gate.along(-1), x, half)?;
                        }
                        Work::Forward(Subject::Masked) => {
                            batch.apply_into(softmax, (x, keys), y)?;
                        }
                        Work::Backward(Subject::Masked) => {
                            batch.grad(softmax, (x, keys), dy)?;
                        }
                        Work::Forward(Subject::CrossEntropy) => {
                            batch.apply(loss, (x, &*labels))?;
                        }
                        Work::Backward(Subject::CrossEntropy) => {
                            batch.grad(loss, (x, &*labels), scalar)?;
                        }
                    }
                }
                batch.submit()?;
                gpu.wait()?;
                Ok(start.elapsed())
            }
        }
    }

    /// The calls that fill a sample; warms everything up on the way.
    fn calls(&mut self, work: Work) -> Result<usize, CliError> {
        self.time(work, 1)?;
        let one = self.time(work, 1)?.max(Duration::from_nanos(100));
        let calls = SAMPLE.as_nanos().div_ceil(one.as_nanos());
        Ok(usize::try_from(calls).unwrap_or(1).clamp(1, 1000))
    }

    /// GB/s of one sample.
    fn rate(&mut self, work: Work, calls: usize) -> Result<f64, CliError> {
        let seconds = self.time(work, calls)?.as_secs_f64();
        Ok(self.bytes(work) as f64 * calls as f64 / seconds / 1e9)
    }

    pub fn measure(&mut self, function: &'static str, work: Work) -> Result<Entry, CliError> {
        let copy = Work::Copy;
        let (copy_calls, calls) = (self.calls(copy)?, self.calls(work)?);
        let mut copies = Vec::new();
        let mut rates = Vec::new();
        let mut shares = Vec::new();
        for _ in 0..SAMPLES {
            let copied = self.rate(copy, copy_calls)?;
            let rate = self.rate(work, calls)?;
            copies.push(copied);
            rates.push(rate);
            shares.push(rate / copied);
        }
        let bytes = self.bytes(work);
        let best = rates.iter().copied().fold(0.0, f64::max);
        let median_rate = median(&mut rates);
        Ok(Entry {
            function,
            pass: work.name(),
            bytes,
            median_ms: bytes as f64 / median_rate / 1e6,
            median_gb_per_s: median_rate,
            best_gb_per_s: best,
            copy_median_gb_per_s: median(&mut copies),
            share_of_copy: median(&mut shares),
        })
    }
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Uniform values in [-scale, scale): both sides of every branch. A fixed sequence (splitmix64,
/// Steele et al. 2014), so that runs compare.
pub(super) fn noise(len: usize, scale: f32, seed: u64) -> Result<Vec<f32>, CliError> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits are exact in f32.
        ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    let mut values = crate::memory::room(len)?;
    values.extend(std::iter::repeat_with(next).take(len));
    Ok(values)
}

/// Measures the functions and prints a table.
pub fn bench(args: &BenchArgs) -> Result<(), CliError> {
    let shape = &args.shape.0;
    let mut subjects = Subject::select(&args.functions)?;
    // An odd axis has no halves: only whoever asks for a gate by name hears of it.
    if args.functions.is_empty() && shape.last().is_some_and(|len| len % 2 == 1) {
        subjects.retain(|(_, subject)| !matches!(subject, Subject::Gate(_)));
    }
    let progress = Progress::bar(2 * subjects.len());
    let backend = super::open(&args.backend, &progress)?;
    let description = backend.description();
    let mut rig = Rig::new(backend, shape)?;

    let mut results = Vec::new();
    for (name, subject) in subjects {
        for work in [Work::Forward(subject), Work::Backward(subject)] {
            progress.doing(format_args!("{name} {}", work.name()));
            results.push(rig.measure(name, work)?);
            progress.step();
        }
    }
    drop(progress);

    let summary = Summary {
        backend: description,
        shape: shape.clone(),
        results,
    };
    if args.json {
        terminal::print_json(&summary)
    } else {
        terminal::print(&text(&summary.results))
    }
}

fn text(entries: &[Entry]) -> String {
    let head = [
        "function",
        "pass",
        "ms",
        "GB/s",
        "best",
        "copy GB/s",
        "of the copy",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for e in entries {
        rows.push(vec![
            e.function.to_owned(),
            e.pass.to_owned(),
            format!("{:.3}", e.median_ms),
            format!("{:.1}", e.median_gb_per_s),
            format!("{:.1}", e.best_gb_per_s),
            format!("{:.1}", e.copy_median_gb_per_s),
            format!("{:.0} %", 100.0 * e.share_of_copy),
        ]);
    }
    terminal::table(&rows, &[2, 3, 4, 5, 6])
}
