//! `activations check`: every function, forward and backward, held against the f64 reference.

use crate::args::CheckArgs;
use crate::error::CliError;
use crate::function::Function;
use crate::report::ulp;
use crate::terminal::{self, Number, Progress};
use serde::Serialize;
use wgpu_activations::Backend;
use wgpu_activations::check::{self, Family, Report, Subject};

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    backend: String,
    passed: bool,
    checks: Vec<Entry>,
    /// The gradients for upstream gradients other than 1.
    upstream: Vec<Entry>,
}

/// What was found of a function in one direction.
#[derive(Serialize)]
pub(super) struct Entry {
    pub function: String,
    pub pass: String,
    pub passed: bool,
    inputs: usize,
    pub max_ulp: Number<f64>,
    pub bound: Number<f64>,
    worst_input: Number<f32>,
    got: Number<f32>,
    want: Number<f64>,
    nan_mismatches: usize,
}

impl From<&Report> for Entry {
    fn from(report: &Report) -> Self {
        Self {
            function: report.function.clone(),
            pass: report.pass.to_string(),
            passed: report.passed(),
            inputs: report.inputs,
            max_ulp: Number(report.worst_ulp),
            bound: Number(report.bound),
            worst_input: Number(report.worst_input),
            got: Number(report.got),
            want: Number(report.want),
            nan_mismatches: report.nan_mismatches,
        }
    }
}

/// What a check found, and of an activation what was found of its gradients for upstream gradients
/// other than 1.
pub(super) fn found(
    backend: &Backend,
    subject: Subject,
) -> Result<(Vec<Entry>, Option<Entry>), CliError> {
    let found = check::subject(backend, subject)?;
    let upstream = found.upstream.as_ref().map(|report| Entry {
        pass: "any dy".to_owned(),
        ..Entry::from(report)
    });
    Ok((found.reports.iter().map(Entry::from).collect(), upstream))
}

/// What is checked for these names, each once; everything where there is no name.
pub(super) fn subjects(names: &[String]) -> Result<Vec<Subject>, CliError> {
    if names.is_empty() {
        return Ok(Subject::all());
    }
    let mut subjects = Vec::new();
    for name in names {
        let of_name = Subject::of(name);
        if of_name.is_empty() {
            let families = Family::all().into_iter().map(Family::name);
            return Err(Function::unknown("function of check", name, families).into());
        }
        for subject in of_name {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    Ok(subjects)
}

/// Checks the functions and prints a table.
pub fn check(args: &CheckArgs) -> Result<(), CliError> {
    let subjects = subjects(&args.functions)?;
    let progress = Progress::bar(subjects.len());
    let backend = super::open(&args.backend, &progress)?;

    let mut entries: Vec<Entry> = Vec::new();
    let mut upstream: Vec<Entry> = Vec::new();
    for subject in subjects {
        progress.doing(subject.name());
        let (reports, any_dy) = found(&backend, subject)?;
        entries.extend(reports);
        upstream.extend(any_dy);
        progress.step();
    }
    drop(progress);

    let summary = Summary {
        backend: backend.description(),
        passed: entries.iter().chain(&upstream).all(|e| e.passed),
        checks: entries,
        upstream,
    };
    if args.json {
        terminal::print_json(&summary)?;
    } else {
        terminal::print(&text(&summary.checks, &summary.upstream))?;
    }
    verdict(summary.checks.iter().chain(&summary.upstream))
}

/// An error that names the checks that are outside their bounds, where there are any.
fn verdict<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Result<(), CliError> {
    let broken: Vec<String> = entries
        .clone()
        .filter(|e| !e.passed)
        .map(|e| format!("{} {}", e.function, e.pass))
        .collect();
    verdict_of(&broken, entries.count())
}

/// The same, from the names of what is outside its bounds.
pub(super) fn verdict_of(broken: &[String], all: usize) -> Result<(), CliError> {
    if broken.is_empty() {
        return Ok(());
    }
    Err(CliError::CheckFailed(format!(
        "{} of {all} checks are outside their bounds: {}",
        broken.len(),
        terminal::some_of(broken, 4)
    )))
}

fn text(entries: &[Entry], upstream: &[Entry]) -> String {
    let head = [
        "function",
        "pass",
        "inputs",
        "max ULP",
        "bound",
        "worst input",
        "got",
        "want",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for e in entries.iter().chain(upstream.iter().filter(|e| !e.passed)) {
        let verdict = match (e.passed, e.nan_mismatches) {
            (true, _) => "ok".to_owned(),
            (false, 0) => "BROKEN".to_owned(),
            (false, n) => format!("BROKEN, NaN wrong at {n} inputs"),
        };
        rows.push(vec![
            e.function.clone(),
            e.pass.clone(),
            e.inputs.to_string(),
            ulp(e.max_ulp.0),
            e.bound.0.to_string(),
            format!("{:e}", e.worst_input.0),
            format!("{:.8e}", e.got.0),
            format!("{:.8e}", e.want.0),
            verdict,
        ]);
    }
    let mut text = terminal::table(&rows, &[2, 3, 4, 5, 6, 7]);
    let largest = |a: &&Entry, b: &&Entry| a.max_ulp.0.total_cmp(&b.max_ulp.0);
    if let Some(worst) = upstream.iter().max_by(largest) {
        let (function, ulp) = (&worst.function, ulp(worst.max_ulp.0));
        text += &format!(
            "gradients for upstream gradients other than 1: {ulp} ULP at most, {function}\n"
        );
    }
    let broken = entries.iter().filter(|e| !e.passed).count();
    text += &format!("{} checks, {broken} outside their bounds\n", entries.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench;
    use wgpu_activations::{Way, operations};

    /// What is checked and measured is what the registry says is.
    #[test]
    fn the_registry_says_what_is_checked() {
        let mut checked = 0;
        for info in operations() {
            let has = |way: Way| info.missing.iter().all(|(missing, _)| *missing != way);
            let names = [info.name.to_owned()];
            // That one is softmax's, under another name.
            let is_checked = info.name != "softmax2d";
            assert_eq!(subjects(&names).is_ok(), is_checked, "{names:?}");
            let of_halves = Function::find(info.name).is_some();
            assert_eq!(of_halves, has(Way::CheckOfSixteenBits), "{names:?}");
            assert!(bench::Subject::select(&names).is_ok(), "{names:?}");
            checked += 1;
        }
        assert!(checked > 60, "{checked}");
    }

    use wgpu_activations::Activation;

    fn entries(spoil: impl Fn(&mut Report)) -> Vec<Entry> {
        let reports = check::elementwise(&Backend::cpu(), Activation::Relu.into());
        let mut reports = reports.unwrap();
        spoil(&mut reports[1]);
        reports.iter().map(Entry::from).collect()
    }

    #[test]
    fn a_breach_fails_the_check_and_is_named() {
        let good = entries(|_| {});
        verdict(good.iter()).unwrap();
        assert!(text(&good, &[]).ends_with("2 checks, 0 outside their bounds\n"));

        let breaches: [fn(&mut Report); 3] = [
            |r| r.worst_ulp = r.bound + 0.01,
            |r| r.worst_ulp = f64::INFINITY,
            |r| r.nan_mismatches = 1,
        ];
        for breach in breaches {
            let bad = entries(breach);
            let error = verdict(bad.iter()).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains("1 of 2"), "{error}");
            assert!(error.to_string().contains("relu backward"), "{error}");
            assert!(text(&bad, &[]).contains("BROKEN"), "{}", text(&bad, &[]));
        }
    }

    #[test]
    fn many_breaches_are_one_short_line() {
        let names = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
        assert_eq!(terminal::some_of(&names, 4), "a, b, c, d and 2 more");
        assert_eq!(terminal::some_of(&names[..4], 4), "a, b, c, d");
    }
}
