//! `activations report`: what is needed to trust this machine's devices, in one file that its owner
//! can send.

use super::{adapters, bench, check, half};
use crate::args::ReportArgs;
use crate::error::CliError;
use crate::function::{Function, Operation};
use crate::output::{self, Target};
use crate::report::ulp;
use crate::terminal::{self, Progress};
use serde::Serialize;
use std::time::{Duration, Instant};
use wgpu_activations::{AdapterChoice, Backend, BackendKind, DType};

/// What a file of this kind begins with; the number changes with its meaning.
const FORMAT: &str = "activations report, 1";

/// Whose rates are measured, in both directions.
const RATED: [&str; 8] = [
    "relu",
    "tanh",
    "silu",
    "gelu",
    "softmax",
    "log_softmax",
    "swiglu",
    "cross_entropy",
];

/// Calls on host memory of which the median is taken.
const ONE_SHOTS: usize = 5;

/// The file.
#[derive(Serialize)]
struct Report {
    format: &'static str,
    version: &'static str,
    system: System,
    adapters: Vec<adapters::Entry>,
    backends: Vec<Measured>,
    seconds: f64,
}

/// The machine, as far as results and rates depend on it.
#[derive(Serialize)]
struct System {
    os: &'static str,
    architecture: &'static str,
    threads: usize,
}

/// What was found of a backend.
#[derive(Serialize)]
struct Measured {
    backend: String,
    /// The adapter's place in the list; none for the CPU.
    adapter: Option<usize>,
    /// Whether nothing was outside its bounds; of the self-check, too.
    passed: bool,
    /// Why there is nothing of it.
    error: Option<String>,
    /// The array of the rates.
    shape: Vec<usize>,
    rates: Vec<Rate>,
    check: Vec<check::Entry>,
    /// Gradients for upstream gradients other than 1.
    upstream: Vec<check::Entry>,
    f16: Vec<half::Entry>,
    bf16: Vec<half::Entry>,
    /// What the time did not suffice for.
    left_out: Vec<String>,
    seconds: f64,
}

/// The rates of a function: of arrays that stay on the device, beside the copy there, and of
/// arrays in host memory.
#[derive(Serialize)]
struct Rate {
    #[serde(flatten)]
    resident: bench::Entry,
    /// Of activations, forward.
    one_shot_gb_per_s: Option<f64>,
}

/// Makes the report, writes it, and says in short what is in it.
pub fn report(args: &ReportArgs) -> Result<(), CliError> {
    let target = Target::file(&args.output)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(args.seconds);
    let mut adapters = adapters::Entry::all();
    let chosen = chosen(&adapters, args.adapter.as_ref())?;
    let mut places: Vec<Option<usize>> = chosen.into_iter().map(Some).collect();
    places.push(None);

    let progress = Progress::spinner();
    let mut backends = Vec::new();
    for (done, &place) in places.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / (places.len() - done) as u32;
        let mut measuring = Measuring {
            args,
            progress: &progress,
            end: Instant::now() + share,
            share,
            found: Measured::new(place, args),
        };
        let self_checked = place.is_none_or(|index| {
            progress.doing(format_args!("{}: self-check", adapters[index].name));
            adapters[index].ask()
        });
        if let Err(error) = measuring.run() {
            measuring.found.error = Some(error.to_string());
            measuring.found.passed = false;
        }
        measuring.found.passed &= self_checked;
        backends.push(measuring.found);
    }
    drop(progress);

    let report = Report {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION"),
        system: System {
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
        },
        adapters,
        backends,
        seconds: start.elapsed().as_secs_f64(),
    };
    let json = serde_json::to_string(&report).map_err(|e| CliError::Stdout(e.into()))?;
    output::write_texts(&[(&target, &format!("{json}\n"))])?;
    terminal::print(&text(&report.backends))?;
    verdict(&report.backends)
}

/// The adapters that are asked: those that are named, else those that are no software, else the one
/// that would be taken.
fn chosen(
    adapters: &[adapters::Entry],
    named: Option<&AdapterChoice>,
) -> Result<Vec<usize>, CliError> {
    let of = |which: &dyn Fn(&adapters::Entry) -> bool| -> Vec<usize> {
        let found = adapters.iter().filter(|adapter| which(adapter));
        found.map(|adapter| adapter.index).collect()
    };
    let named = match named {
        None | Some(AdapterChoice::Auto) => {
            let hardware = of(&|adapter| adapter.device_type != "software adapter");
            return Ok(if hardware.is_empty() {
                of(&|adapter| adapter.chosen)
            } else {
                hardware
            });
        }
        Some(named) => named,
    };
    let found = match named {
        AdapterChoice::Index(index) => of(&|adapter| adapter.index == *index),
        _ => {
            let part = named.to_string().to_lowercase();
            of(&|adapter| adapter.name.to_lowercase().contains(&part))
        }
    };
    if found.is_empty() {
        // The library's error says which adapters there are.
        Backend::open(BackendKind::Gpu, named)?;
    }
    Ok(found)
}

impl Measured {
    fn new(adapter: Option<usize>, args: &ReportArgs) -> Self {
        Self {
            backend: String::new(),
            adapter,
            passed: true,
            error: None,
            shape: args.shape.0.clone(),
            rates: Vec::new(),
            check: Vec::new(),
            upstream: Vec::new(),
            f16: Vec::new(),
            bf16: Vec::new(),
            left_out: Vec::new(),
            seconds: 0.0,
        }
    }
}

/// A backend that is being measured, and how long.
struct Measuring<'a> {
    args: &'a ReportArgs,
    progress: &'a Progress,
    end: Instant,
    share: Duration,
    found: Measured,
}

impl Measuring<'_> {
    /// Rates first, a third of the time at most; then accuracy in f32, and in 16 bits.
    fn run(&mut self) -> Result<(), CliError> {
        let start = Instant::now();
        let backend = match self.found.adapter {
            Some(index) => Backend::open(BackendKind::Gpu, &AdapterChoice::Index(index))?,
            None => Backend::cpu(),
        };
        self.found.backend = backend.description();
        let done = self
            .rates(&backend)
            .and_then(|()| self.accuracy(&backend))
            .and_then(|()| self.halves(&backend));
        self.found.seconds = start.elapsed().as_secs_f64();
        done
    }

    /// Whether there is time for something by then; else it is left out.
    fn has_time(&mut self, end: Instant, what: impl FnOnce() -> String) -> bool {
        let has = Instant::now() < end;
        if !has {
            self.found.left_out.push(what());
        }
        has
    }

    fn rates(&mut self, backend: &Backend) -> Result<(), CliError> {
        let end = self.end - self.share * 2 / 3;
        let shape = &self.args.shape.0;
        let names = RATED.map(str::to_owned);
        let mut rig = None;
        for (name, subject) in bench::Subject::select(&names)? {
            for work in [
                bench::Work::Forward(subject),
                bench::Work::Backward(subject),
            ] {
                let what = || format!("rate of {name} {}", work.name());
                if !self.has_time(end, what) {
                    continue;
                }
                self.progress.doing(what());
                let rig = match &mut rig {
                    Some(rig) => rig,
                    none => none.insert(bench::Rig::new(backend.clone(), shape)?),
                };
                let resident = rig.measure(name, work)?;
                let one_shot = match work {
                    bench::Work::Forward(bench::Subject::Operation(operation)) => {
                        one_shot(backend, operation, shape)?
                    }
                    _ => None,
                };
                self.found.rates.push(Rate {
                    resident,
                    one_shot_gb_per_s: one_shot,
                });
            }
        }
        Ok(())
    }

    fn accuracy(&mut self, backend: &Backend) -> Result<(), CliError> {
        for subject in check::subjects(&[])? {
            if self.has_time(self.end, || format!("check of {}", subject.name())) {
                self.progress
                    .doing(format_args!("check of {}", subject.name()));
                let (entries, upstream) = subject.check(backend)?;
                self.found.passed &= entries.iter().chain(&upstream).all(|e| e.passed);
                self.found.check.extend(entries);
                self.found.upstream.extend(upstream);
            }
        }
        Ok(())
    }

    fn halves(&mut self, backend: &Backend) -> Result<(), CliError> {
        for function in Function::all() {
            for dtype in [DType::F16, DType::Bf16] {
                let what = || format!("check of {} in {dtype}", function.name());
                if !self.has_time(self.end, what) {
                    continue;
                }
                self.progress.doing(what());
                let entries = half::check(backend, function, dtype)?;
                self.found.passed &= entries.iter().all(|e| e.passed);
                match dtype {
                    DType::F16 => self.found.f16.extend(entries),
                    _ => self.found.bf16.extend(entries),
                }
            }
        }
        Ok(())
    }
}

/// GB/s of calls on host memory; only of activations, since others say no more.
fn one_shot(
    backend: &Backend,
    operation: Operation,
    shape: &[usize],
) -> Result<Option<f64>, CliError> {
    let Operation::Elementwise(f) = operation else {
        return Ok(None);
    };
    let x = bench::noise(shape.iter().product(), 8.0, 1)?;
    let mut y = crate::memory::zeros(x.len())?;
    // Warms up what is made once.
    backend.apply_into(f, &x, &mut y)?;
    let mut rates = Vec::new();
    for _ in 0..ONE_SHOTS {
        let start = Instant::now();
        backend.apply_into(f, &x, &mut y)?;
        let bytes = (2 * size_of_val(x.as_slice())) as f64;
        rates.push(bytes / start.elapsed().as_secs_f64() / 1e9);
    }
    Ok(Some(bench::median(&mut rates)))
}

/// An error that names the backends of which something is not right.
fn verdict(backends: &[Measured]) -> Result<(), CliError> {
    let wrong: Vec<&str> = backends
        .iter()
        .filter(|found| !found.passed)
        .map(|found| found.backend.as_str())
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(CliError::CheckFailed(format!(
        "the report is written; something is not right on {}",
        wrong.join(", ")
    )))
}

/// Some lines for each backend.
fn text(backends: &[Measured]) -> String {
    let mut out = String::new();
    for found in backends {
        out += &format!("{}\n", found.backend);
        if let Some(error) = &found.error {
            out += &format!("  {error}\n");
        }
        for (pass, name) in [("forward", "forward"), ("backward", "backward")] {
            let entries = || found.check.iter().filter(|e| e.pass == pass);
            let worst = entries().max_by(|a, b| a.max_ulp.0.total_cmp(&b.max_ulp.0));
            if let Some(worst) = worst {
                let outside = entries().filter(|e| !e.passed).count();
                out += &format!(
                    "  {name}: {} checks, {outside} outside their bounds, {} ULP at most, {}\n",
                    entries().count(),
                    ulp(worst.max_ulp.0),
                    worst.function
                );
            }
        }
        for (entries, dtype) in [(&found.f16, "f16"), (&found.bf16, "bf16")] {
            let (inputs, wrong) = entries
                .iter()
                .fold((0, 0), |(i, w), e| (i + e.inputs, w + e.wrong));
            if inputs > 0 {
                out += &format!("  {dtype}: {inputs} results, {wrong} wrong\n");
            }
        }
        for rate in &found.rates {
            let resident = &rate.resident;
            let one_shot = rate.one_shot_gb_per_s;
            out += &format!(
                "  {} {}: {:.1} GB/s, {:.0} % of the copy{}\n",
                resident.function,
                resident.pass,
                resident.median_gb_per_s,
                100.0 * resident.share_of_copy,
                one_shot.map_or_else(String::new, |rate| format!("; {rate:.1} from host memory"))
            );
        }
        if !found.left_out.is_empty() {
            out += &format!(
                "  no time for {} of these: {}\n",
                found.left_out.len(),
                terminal::some_of(&found.left_out, 4)
            );
        }
    }
    out
}
