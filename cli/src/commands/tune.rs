//! `activations tune`: how kernels walk arrays on an adapter, measured and kept.

use crate::args::TuneArgs;
use crate::error::CliError;
use crate::terminal::{self, Progress};
use serde::Serialize;
use std::path::PathBuf;
use wgpu_activations::{AdapterChoice, Gpu, GpuOptions, TuneReport, Tuned};

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    backend: String,
    #[serde(flatten)]
    report: Option<TuneReport>,
    removed: Option<PathBuf>,
}

/// Tunes an adapter, or forgets that it was.
pub fn tune(args: &TuneArgs) -> Result<(), CliError> {
    let progress = Progress::spinner();
    progress.doing("opening the backend");
    let adapter = args.adapter.clone();
    let adapter = adapter.unwrap_or_else(AdapterChoice::from_env);
    let gpu = Gpu::open_with(&GpuOptions::new().adapter(adapter))?;
    progress.line("backend", gpu.description());
    let mut summary = Summary {
        backend: gpu.description(),
        report: None,
        removed: None,
    };
    let mut text = String::new();
    if args.reset {
        summary.removed = gpu.forget_tuning()?;
        text = match &summary.removed {
            Some(path) => format!("removed {}\n", path.display()),
            None => "nothing was kept\n".to_owned(),
        };
    } else {
        progress.doing("measuring; this takes some seconds");
        let report = gpu.tune(!args.dry_run, |measured| {
            progress.doing(format!("measured {}", measured.what));
        })?;
        for measured in &report.measured {
            text += &lines(measured);
        }
        text += &match &report.kept {
            Some(path) => format!("kept in {}\n", path.display()),
            None => "nothing is kept\n".to_owned(),
        };
        summary.report = Some(report);
    }
    drop(progress);
    if args.json {
        return terminal::print_json(&summary);
    }
    terminal::print(&text)
}

/// A number that was tuned: its candidates, their times beside the default's, and the choice.
fn lines(measured: &Tuned) -> String {
    let default = measured.candidates.first().and_then(|c| c.seconds);
    let rows = measured
        .candidates
        .iter()
        .enumerate()
        .map(|(i, candidate)| {
            let mark = if i == measured.chosen { "->" } else { "" };
            let time = match (candidate.seconds, default) {
                (None, _) => "not on this device".to_owned(),
                (Some(seconds), None) => format!("{:.3} ms", seconds * 1e3),
                (Some(seconds), Some(default)) => {
                    let share = 100.0 * seconds / default;
                    format!("{:.3} ms, {share:.0} % of the default's", seconds * 1e3)
                }
            };
            vec![mark.to_owned(), candidate.name.clone(), time]
        });
    let rows: Vec<Vec<String>> = rows.collect();
    format!("{}\n{}\n", measured.what, terminal::table(&rows, &[]))
}
