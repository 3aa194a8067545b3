//! `activations bench`: the rates of the operations beside the rate of a plain copy.
//!
//! The copy is a kernel of one vec4 an invocation on a GPU, and the identity on the CPU, measured in
//! turn with each operation, so that a share of it is a ratio within the run that the machine's other
//! load does not bend.

mod copy;
mod rig;
mod subject;
mod transfers;

pub use rig::{Entry, Pass, Prepared, Rig, median};
pub use subject::Subject;

use crate::args::BenchArgs;
use crate::error::CliError;
use crate::terminal::{self, Progress};
use serde::Serialize;

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    backend: String,
    shape: Vec<usize>,
    results: Vec<Entry>,
}

/// Measures the operations and prints a table.
pub fn bench(args: &BenchArgs) -> Result<(), CliError> {
    if args.transfers {
        return transfers::transfers(args);
    }
    let shape = &args.shape.0;
    let subjects = Subject::select(&args.functions)?;
    let progress = Progress::bar(2 * subjects.len());
    let backend = crate::commands::open(&args.backend, &progress)?;
    let description = backend.description();
    let mut rig = Rig::new(backend, shape)?;

    let mut results = Vec::new();
    for subject in subjects {
        let mut prepared = match rig.prepare(&subject) {
            Ok(prepared) => prepared,
            // Not every operation takes every shape: only whoever asks for one hears of it.
            Err(CliError::Library(_)) if args.functions.is_empty() => {
                progress.step();
                progress.step();
                continue;
            }
            Err(error) => return Err(error),
        };
        for pass in [Pass::Forward, Pass::Backward] {
            progress.doing(format_args!("{} {}", subject.name, pass.name()));
            results.extend(rig.measure(&mut prepared, pass)?);
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
