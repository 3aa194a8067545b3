//! `activations check --dtype f16`: every number of 16 bits, against the correctly rounded results.

use super::check::verdict_of;
use crate::args::CheckArgs;
use crate::error::CliError;
use crate::function::Function;
use crate::terminal::{self, Number, Progress};
use serde::Serialize;
use wgpu_activations::check::half::{self, Rounding};
use wgpu_activations::{Backend, DType};

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    backend: String,
    dtype: &'static str,
    passed: bool,
    checks: Vec<Entry>,
}

/// What was found of a function in one direction.
#[derive(Serialize)]
pub(super) struct Entry {
    pub function: String,
    pub pass: String,
    /// The upstream gradient of a backward pass over an activation.
    upstream: Option<Number<f32>>,
    pub passed: bool,
    pub inputs: usize,
    other_way: usize,
    flushed: usize,
    pub wrong: usize,
    worst: Option<Worst>,
}

#[derive(Serialize)]
struct Worst {
    input: Number<f32>,
    got: Number<f32>,
    want: Number<f64>,
}

impl From<&Rounding> for Entry {
    fn from(report: &Rounding) -> Self {
        Self {
            function: report.function.clone(),
            pass: report.pass.to_string(),
            upstream: report.upstream.map(Number),
            passed: report.passed(),
            inputs: report.inputs,
            other_way: report.other_way,
            flushed: report.flushed,
            wrong: report.wrong,
            worst: report.worst.map(|(input, got, want)| Worst {
                input: Number(input),
                got: Number(got),
                want: Number(want),
            }),
        }
    }
}

/// What is found of a function.
pub(super) fn check(
    backend: &Backend,
    function: Function,
    dtype: DType,
) -> Result<Vec<Entry>, CliError> {
    let reports = match function {
        Function::Elementwise(activation) => half::elementwise(backend, activation.into(), dtype)?,
        Function::Axis(function) => half::axis(backend, function, dtype)?,
    };
    Ok(reports.iter().map(Entry::from).collect())
}

/// Checks the functions and prints a table.
pub fn half(args: &CheckArgs, dtype: DType) -> Result<(), CliError> {
    let unknown = |name: &str| Function::unknown("function of check --dtype", name, []);
    let functions = Function::select(&args.functions, unknown);
    let functions = functions.map_err(|error| {
        CliError::Usage(format!(
            "--dtype checks activations and the softmax family: {error}"
        ))
    })?;
    let progress = Progress::bar(functions.len());
    let backend = super::open(&args.backend, &progress)?;
    let mut entries: Vec<Entry> = Vec::new();
    for function in functions {
        progress.doing(function.name());
        entries.extend(check(&backend, function, dtype)?);
        progress.step();
    }
    drop(progress);

    let summary = Summary {
        backend: backend.description(),
        dtype: dtype.short_name(),
        passed: entries.iter().all(|e| e.passed),
        checks: entries,
    };
    if args.json {
        terminal::print_json(&summary)?;
    } else {
        terminal::print(&text(&summary.checks))?;
    }
    let broken = summary.checks.iter().filter(|e| !e.passed);
    let broken: Vec<String> = broken
        .map(|e| format!("{} {}", e.function, e.pass))
        .collect();
    verdict_of(&broken, summary.checks.len())
}

/// A line for each function and direction; the upstream gradients of one are taken together.
fn text(entries: &[Entry]) -> String {
    let head = [
        "function",
        "pass",
        "results",
        "other way",
        "subnormal",
        "wrong",
        "input",
        "got",
        "want",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let same = |a: &Entry, b: &Entry| a.function == b.function && a.pass == b.pass;
    for of_one in entries.chunk_by(same) {
        let sum = |count: fn(&Entry) -> usize| of_one.iter().map(count).sum::<usize>().to_string();
        let mut row = vec![
            of_one[0].function.clone(),
            of_one[0].pass.clone(),
            sum(|e| e.inputs),
            sum(|e| e.other_way),
            sum(|e| e.flushed),
            sum(|e| e.wrong),
        ];
        match of_one.iter().find_map(|e| e.worst.as_ref()) {
            Some(worst) => row.extend([
                format!("{:e}", worst.input.0),
                format!("{:e}", worst.got.0),
                format!("{:e}", worst.want.0),
            ]),
            None => row.extend([const { String::new() }; 3]),
        }
        rows.push(row);
    }
    let mut text = terminal::table(&rows, &[2, 3, 4, 5, 6, 7, 8]);
    let all = |count: fn(&Entry) -> usize| entries.iter().map(count).sum::<usize>();
    text += &format!(
        "{} results: {} not rounded correctly within f32's bounds, {} subnormal in f32, {} wrong\n",
        all(|e| e.inputs),
        all(|e| e.other_way),
        all(|e| e.flushed),
        all(|e| e.wrong)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_activations::Activation;

    #[test]
    fn what_is_wrong_is_shown_and_counted() {
        let reports = half::elementwise(&Backend::cpu(), Activation::Relu.into(), DType::F16);
        let mut entries: Vec<Entry> = reports.unwrap().iter().map(Entry::from).collect();
        let good = text(&entries);
        assert!(good.contains("relu      forward     65536"), "{good}");
        assert!(good.ends_with(" 0 wrong\n"), "{good}");
        entries[1].wrong = 3;
        entries[1].worst = Some(Worst {
            input: Number(2.0),
            got: Number(f32::NAN),
            want: Number(1.0),
        });
        let bad = text(&entries);
        assert!(bad.contains("NaN") && bad.ends_with(" 3 wrong\n"), "{bad}");
    }
}
