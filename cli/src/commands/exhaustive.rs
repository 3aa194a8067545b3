//! `activations check --exhaustive`: every f32 there is, on several backends at once.

use crate::args::{CheckArgs, PassName, Place};
use crate::error::CliError;
use crate::function::Function;
use crate::output::{self, Target};
use crate::report::{Report, ulp};
use crate::terminal::{self, Progress};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wgpu_activations::check::Pass;
use wgpu_activations::check::exhaustive::{Run, Span};
use wgpu_activations::{Activation, Backend, BackendKind, Error};

/// The report's name where none is given.
const REPORT: &str = "activations-check.json";
/// The least time between two writings of the report.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Runs what is not done yet, and prints and writes the report.
pub fn exhaustive(args: &CheckArgs) -> Result<(), CliError> {
    let wanted = wanted(args)?;
    let (first, last) = args.run.bits.unwrap_or((0, u32::MAX));
    let span = Span::new(first, last, args.run.stride.unwrap_or(1))?;
    let files = Files::new(args.run.report.as_deref().unwrap_or(Path::new(REPORT)))?;

    let opening = Progress::spinner();
    let backends = backends(args, &opening)?;
    drop(opening);
    let names = backends.iter().map(Backend::description).collect();
    let begun = Report::new(names, span, &wanted);
    let (mut report, runs) = match files.read(args.run.fresh)? {
        Some(text) => Report::read(&text, &begun, span).map_err(|refusal| files.error(refusal))?,
        None => {
            let run = |&(f, pass): &(Activation, Pass)| Run::new(f, pass, span, backends.len());
            (begun, wanted.iter().map(run).collect())
        }
    };

    let total = runs.iter().map(|run| run.span().len()).sum();
    let mut before: u64 = runs.iter().map(Run::done).sum();
    let place = args.run.report.as_deref().unwrap_or(Path::new(REPORT));
    let verb = match before {
        0 => "is written",
        n if n == total => "is finished; --fresh measures anew:",
        _ => "is gone on with",
    };
    terminal::line("report", format!("{verb} in {}", place.display()));
    files.write(&report)?;
    let progress = Progress::inputs(total, before);
    for (index, mut run) in runs.into_iter().enumerate() {
        if run.is_finished() {
            continue;
        }
        let what = format!("{} {}", run.function().activation(), run.pass());
        progress.doing(&what);
        let seconds = report.checks[index].seconds;
        let start = Instant::now();
        let mut saved = start;
        let others = before - run.done();
        let mut failed = Ok(());
        run.advance(&backends, |run| {
            progress.reached(others + run.done());
            report.checks[index].update(run, seconds + start.elapsed().as_secs_f64());
            if saved.elapsed() < SAVE_EVERY && !run.is_finished() {
                return ControlFlow::Continue(());
            }
            saved = Instant::now();
            failed = files.write(&report);
            match failed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        failed?;
        before = others + run.done();
        progress.line("done", line(&report, index));
    }
    drop(progress);

    if args.json {
        terminal::print(&report.json().map_err(|e| CliError::Stdout(e.into()))?)?;
    } else {
        terminal::print(&text(&report))?;
    }
    verdict(&report)
}

/// The functions and directions that are asked for.
fn wanted(args: &CheckArgs) -> Result<Vec<(Activation, Pass)>, CliError> {
    let mut wanted = Vec::new();
    let activations = Activation::ALL.iter().map(|a| a.info());
    let taken = activations.map(|info| (info.name, info.aliases));
    let unknown = |name: &str| Error::unknown_function("activation", name, taken.clone());
    for function in Function::select(&args.functions, unknown)? {
        match function {
            Function::Elementwise(f) => {
                if args.run.pass != Some(PassName::Backward) {
                    wanted.push((f, Pass::Forward));
                }
                if args.run.pass != Some(PassName::Forward) {
                    wanted.push((f, Pass::Backward));
                }
            }
            // Among all functions these are left out; by name they are a mistake.
            _ if args.functions.is_empty() => {}
            other => {
                return Err(CliError::Usage(format!(
                    "--exhaustive is for functions of one number; leave out {}, or --exhaustive",
                    other.name()
                )));
            }
        }
    }
    Ok(wanted)
}

/// The backends, in the order in which they are named.
fn backends(args: &CheckArgs, progress: &Progress) -> Result<Vec<Backend>, CliError> {
    if args.run.on.is_empty() {
        return Ok(vec![super::open(&args.backend, progress)?]);
    }
    let mut backends = Vec::new();
    for place in &args.run.on {
        let backend = match place {
            Place::Cpu => Backend::cpu(),
            Place::Gpu(adapter) => Backend::open(BackendKind::Gpu, adapter)?,
        };
        progress.line("backend", backend.description());
        backends.push(backend);
    }
    Ok(backends)
}

/// Where the report goes.
struct Files {
    path: PathBuf,
    json: Target,
    markdown: Target,
}

impl Files {
    fn new(path: &Path) -> Result<Self, CliError> {
        let beside = path.with_extension("md");
        if beside == path {
            return Err(CliError::Usage(
                "the report is JSON, with a .md of the same name beside it; give it another ending"
                    .to_owned(),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            json: Target::file(path)?,
            markdown: Target::file(&beside)?,
        })
    }

    /// The report that is there, if it is to be gone on with.
    fn read(&self, fresh: bool) -> Result<Option<String>, CliError> {
        match std::fs::read(&self.path) {
            _ if fresh => Ok(None),
            // What is no text is no report either.
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error(format!("cannot read it: {e}"))),
        }
    }

    fn write(&self, report: &Report) -> Result<(), CliError> {
        let json = report.json().map_err(|e| self.error(e))?;
        let markdown = report.markdown();
        output::write_texts(&[(&self.json, &json), (&self.markdown, &markdown)])
    }

    fn error(&self, reason: impl ToString) -> CliError {
        CliError::Output {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

/// One check in a line.
fn line(report: &Report, index: usize) -> String {
    let check = &report.checks[index];
    let results: Vec<String> = check
        .results
        .iter()
        .map(|e| {
            format!(
                "{}{}",
                ulp(e.max_ulp.0),
                if e.passed { "" } else { " BROKEN" }
            )
        })
        .collect();
    format!(
        "{} {}: max ULP {}; {:.0} s",
        check.function,
        check.pass,
        results.join(", "),
        check.seconds
    )
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        [
            "function",
            "pass",
            "backend",
            "max ULP",
            "bound",
            "worst input",
            "got",
            "want",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for check in &report.checks {
        for (index, entry) in check.results.iter().enumerate() {
            rows.push(check.row(index, entry));
        }
    }
    let mut text = String::new();
    for (index, backend) in report.backends.iter().enumerate() {
        text += &format!("backend {index}: {backend}\n");
    }
    text += &terminal::table(&rows, &[2, 3, 4, 5, 6, 7]);
    let broken = report.checks.iter().filter(|c| !c.passed()).count();
    text += &format!(
        "{} checks, {broken} outside their bounds\n",
        report.checks.len()
    );
    text
}

/// An error that names the checks that are outside their bounds, where there are any.
fn verdict(report: &Report) -> Result<(), CliError> {
    let broken = report.checks.iter().filter(|c| !c.passed());
    let broken = broken.map(|c| format!("{} {}", c.function, c.pass));
    super::check::verdict_of(&broken.collect::<Vec<_>>(), report.checks.len())
}
