//! `activations report`: what is needed to trust this machine's devices, in one file that its owner
//! can send.

use super::{adapters, bench, check, half};
use crate::args::ReportArgs;
use crate::error::CliError;
use crate::function::Function;
use crate::output::{self, Target};
use crate::report::ulp;
use crate::terminal::{self, Progress};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};
use wgpu_activations::check::{RATED, Subject};
use wgpu_activations::{AdapterChoice, Backend, BackendKind, DType};

/// What a file of this kind begins with; the number changes with its meaning.
const FORMAT: &str = "activations report, 1";

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
    let mut places: Vec<Option<usize>> = chosen(&adapters, args.adapter.as_ref())?
        .into_iter()
        .map(Some)
        .collect();
    if places.is_empty()
        && let Err(why) = Backend::open(BackendKind::Gpu, &AdapterChoice::Auto)
    {
        terminal::line("note", format_args!("{why}; the report is of the CPU"));
    }
    places.push(None);
    let mut measuring: Vec<Measuring> = places
        .into_iter()
        .map(|place| Measuring::new(place, args))
        .collect::<Result<_, _>>()?;

    let tasks = measuring.iter().map(|m| m.rest.len()).sum();
    let progress = Progress::bar(tasks);
    let count = measuring.len();
    // What one backend has no time for in its share may fit into what another does not need.
    for turn in [Turn::First, Turn::Second] {
        for (done, measuring) in measuring.iter_mut().enumerate() {
            let begin = Instant::now();
            let share = end.saturating_duration_since(begin) / (count - done) as u32;
            let mut name = "CPU".to_owned();
            if let Some(index) = measuring.found.adapter {
                name.clone_from(&adapters[index].name);
                if turn == Turn::First {
                    progress.doing(format_args!("{name}: self-check"));
                    measuring.found.passed &= adapters[index].ask();
                }
            }
            let doing = |task: &Task| progress.doing(format_args!("{name}: {task}"));
            if let Err(error) = measuring.turn(turn, begin, share, doing, || progress.step()) {
                measuring.found.error = Some(error.to_string());
                measuring.found.passed = false;
            }
            measuring.found.seconds += begin.elapsed().as_secs_f64();
        }
    }
    drop(progress);
    let backends: Vec<Measured> = measuring.into_iter().map(Measuring::end).collect();

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
    terminal::print(&text(&report.backends, &report.adapters))?;
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

/// Something to measure or to check.
enum Task {
    Rate(bench::Subject, bench::Pass),
    Check(Subject),
    Half(Function, DType),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(of, pass) => write!(f, "rate of {} {}", of.name, pass.name()),
            Self::Check(subject) => write!(f, "check of {}", subject.name()),
            Self::Half(function, dtype) => write!(f, "check of {} in {dtype}", function.name()),
        }
    }
}

impl Task {
    fn kind(&self) -> usize {
        match self {
            Self::Rate(..) => 0,
            Self::Check(_) => 1,
            Self::Half(..) => 2,
        }
    }

    /// All that is done with a backend.
    fn all() -> Result<Vec<Self>, CliError> {
        let rated = bench::Subject::select(&RATED.map(str::to_owned))?;
        let passes = [bench::Pass::Forward, bench::Pass::Backward];
        let both = |of: bench::Subject| passes.map(|pass| Self::Rate(of.clone(), pass));
        let rates = rated.into_iter().flat_map(both);
        let checks = check::subjects(&[])?.into_iter().map(Self::Check);
        let halves = Function::all().flat_map(|function| {
            [DType::F16, DType::Bf16].map(|dtype| Self::Half(function, dtype))
        });
        Ok(rates.chain(checks).chain(halves).collect())
    }
}

/// A backend's turns: in the first one rates take a third of the time at most, so that all kinds
/// are there; in the second one accuracy goes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

/// A backend that is being measured.
struct Measuring<'a> {
    args: &'a ReportArgs,
    found: Measured,
    /// Opened at its first turn.
    backend: Option<Backend>,
    /// What is not done yet.
    rest: Vec<Task>,
    /// How long the tasks of each kind took.
    spent: [Spent; 3],
}

/// How long tasks took.
#[derive(Clone, Copy, Default)]
struct Spent {
    total: Duration,
    tasks: u32,
    longest: Duration,
}

impl Spent {
    fn add(&mut self, time: Duration) {
        self.total += time;
        self.tasks += 1;
        self.longest = self.longest.max(time);
    }

    /// How long another one may take; one that took very long, for a machine that was busy, is no
    /// measure.
    fn expected(self) -> Duration {
        self.longest.min(4 * self.total / self.tasks.max(1))
    }
}

impl<'a> Measuring<'a> {
    fn new(adapter: Option<usize>, args: &'a ReportArgs) -> Result<Self, CliError> {
        Ok(Self {
            args,
            found: Measured::new(adapter, args),
            backend: None,
            rest: Task::all()?,
            spent: [Spent::default(); 3],
        })
    }

    /// Does what there is time for; no task is begun that is expected to take longer than what is left.
    fn turn(
        &mut self,
        turn: Turn,
        begin: Instant,
        share: Duration,
        doing: impl Fn(&Task),
        step: impl Fn(),
    ) -> Result<(), CliError> {
        if self.found.error.is_some() {
            return Ok(());
        }
        let backend = match &self.backend {
            Some(backend) => backend.clone(),
            None => self.open()?,
        };
        let end = begin + share;
        let rates_end = match turn {
            Turn::First => begin + share / 3,
            Turn::Second => end,
        };
        let mut tasks = std::mem::take(&mut self.rest);
        if turn == Turn::Second {
            tasks.sort_by_key(|task| matches!(task, Task::Rate(..)));
        }
        let mut rig = None;
        let mut tasks = tasks.into_iter();
        let mut done = Ok(());
        for task in tasks.by_ref() {
            let kind = task.kind();
            let end = match task {
                Task::Rate(..) => rates_end,
                _ => end,
            };
            let start = Instant::now();
            if start + self.spent[kind].expected() >= end {
                self.rest.push(task);
                continue;
            }
            doing(&task);
            done = self.measure(&backend, &task, &mut rig);
            if done.is_err() {
                self.rest.push(task);
                break;
            }
            step();
            self.spent[kind].add(start.elapsed());
        }
        self.rest.extend(tasks);
        done
    }

    fn open(&mut self) -> Result<Backend, CliError> {
        let backend = match self.found.adapter {
            Some(index) => Backend::open(BackendKind::Gpu, &AdapterChoice::Index(index))?,
            None => Backend::cpu(),
        };
        self.found.backend = backend.description();
        Ok(self.backend.insert(backend).clone())
    }

    fn measure(
        &mut self,
        backend: &Backend,
        task: &Task,
        rig: &mut Option<bench::Rig>,
    ) -> Result<(), CliError> {
        let shape = &self.args.shape.0;
        let found = &mut self.found;
        match task {
            Task::Rate(subject, pass) => {
                let rig = match rig {
                    Some(rig) => rig,
                    none => none.insert(bench::Rig::new(backend.clone(), shape)?),
                };
                let mut prepared = rig.prepare(subject)?;
                if let Some(resident) = rig.measure(&mut prepared, *pass)? {
                    let one_shot_gb_per_s = match (pass, Function::find(subject.name)) {
                        (bench::Pass::Forward, Some(Function::Elementwise(_))) => {
                            Some(one_shot(backend, &mut prepared)?)
                        }
                        _ => None,
                    };
                    found.rates.push(Rate {
                        resident,
                        one_shot_gb_per_s,
                    });
                }
            }
            Task::Check(subject) => {
                let (entries, upstream) = check::found(backend, *subject)?;
                found.passed &= entries.iter().chain(&upstream).all(|e| e.passed);
                found.check.extend(entries);
                found.upstream.extend(upstream);
            }
            Task::Half(function, dtype) => {
                let entries = half::check(backend, *function, *dtype)?;
                found.passed &= entries.iter().all(|e| e.passed);
                match dtype {
                    DType::F16 => found.f16.extend(entries),
                    _ => found.bf16.extend(entries),
                }
            }
        }
        Ok(())
    }

    /// What was found, with what the time did not suffice for.
    fn end(mut self) -> Measured {
        if self.found.error.is_none() {
            self.found.left_out = self.rest.iter().map(Task::to_string).collect();
        }
        self.found
    }
}

/// GB/s of calls on host memory; only of activations, since others say no more.
fn one_shot(backend: &Backend, of: &mut bench::Prepared) -> Result<f64, CliError> {
    let pass = bench::Pass::Forward;
    // Warms up what is made once.
    of.in_memory(backend, pass, 1)?;
    let mut rates = Vec::new();
    for _ in 0..ONE_SHOTS {
        let taken = of.in_memory(backend, pass, 1)?;
        rates.push(of.bytes(pass) as f64 / taken.as_secs_f64() / 1e9);
    }
    Ok(bench::median(&mut rates))
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
fn text(backends: &[Measured], adapters: &[adapters::Entry]) -> String {
    let mut out = String::new();
    for found in backends {
        out += &format!("{}\n", found.backend);
        if let Some(error) = &found.error {
            out += &format!("  {error}\n");
        }
        if found.adapter.is_some_and(|index| adapters[index].failed()) {
            out += "  the self-check failed; `activations adapters --self-check` says on what\n";
        }
        // Upstream gradients other than 1 have a bound of their own.
        for name in ["forward", "backward", "any dy"] {
            let entries = || {
                let all = found.check.iter().chain(&found.upstream);
                all.filter(|e| e.pass == name)
            };
            let worst = entries().max_by(|a, b| a.max_ulp.0.total_cmp(&b.max_ulp.0));
            if let Some(worst) = worst {
                let outside = entries().filter(|e| !e.passed).count();
                out += &format!(
                    "  {name}: {} checks, {outside} outside their bounds, {} ULP at most, {}\n",
                    entries().count(),
                    ulp(worst.max_ulp.0),
                    worst.function
                );
                for e in entries().filter(|e| !e.passed) {
                    let [most, bound] = [e.max_ulp.0, e.bound.0].map(ulp);
                    out += &format!("    {}: {most} ULP, {bound} allowed\n", e.function);
                }
            }
        }
        for (entries, dtype) in [(&found.f16, "f16"), (&found.bf16, "bf16")] {
            let (inputs, wrong) = entries
                .iter()
                .fold((0, 0), |(i, w), e| (i + e.inputs, w + e.wrong));
            if inputs > 0 {
                out += &format!("  {dtype}: {inputs} results, {wrong} wrong\n");
                for e in entries.iter().filter(|e| e.wrong > 0) {
                    out += &format!("    {} {}: {} wrong\n", e.function, e.pass, e.wrong);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_expected_to_take_as_long_as_others_of_its_kind() {
        let mut spent = Spent::default();
        assert_eq!(spent.expected(), Duration::ZERO);
        spent.add(Duration::from_secs(8));
        assert_eq!(spent.expected(), Duration::from_secs(8));
        // Of many short ones and one that is not, some more than most take.
        (0..7).for_each(|_| spent.add(Duration::from_secs(0)));
        assert_eq!(spent.expected(), Duration::from_secs(4));
    }
}
