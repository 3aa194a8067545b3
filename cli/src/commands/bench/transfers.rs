//! `activations bench --transfers`: from what size on, and for arrays that lie where, a GPU pays.

use super::rig::{Pass, Prepared, filling, median};
use super::subject::Subject;
use crate::args::BenchArgs;
use crate::commands;
use crate::error::CliError;
use crate::terminal::{self, Progress};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;
use wgpu_activations::Backend;

/// Elements of the arrays, in rows of [`ROW`].
const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const ROW: usize = 1_000;

/// Samples of which the median is taken.
const SAMPLES: usize = 5;

/// What is measured where nothing is named: a function of each element, and one of rows.
const NAMES: [&str; 2] = ["gelu", "softmax"];

/// What is printed as JSON.
#[derive(Serialize)]
struct Summary {
    cpu: String,
    gpu: String,
    results: Vec<Entry>,
}

/// How long one forward call takes, in microseconds.
#[derive(Serialize)]
struct Entry {
    function: &'static str,
    elements: usize,
    /// On the CPU backend.
    cpu_us: f64,
    /// On the GPU, with the transfers there and back.
    from_host_us: f64,
    /// On the GPU, of arrays that are there: one call, submitted and waited for.
    one_call_us: f64,
    /// The same as one of many calls in a submission.
    resident_us: f64,
}

/// Measures and prints a table.
pub fn transfers(args: &BenchArgs) -> Result<(), CliError> {
    let names = match &args.functions[..] {
        [] => NAMES.map(str::to_owned).to_vec(),
        names => names.to_vec(),
    };
    let subjects = Subject::select(&names)?;
    let progress = Progress::bar(SIZES.len() * subjects.len());
    let (cpu, gpu) = (Backend::cpu(), commands::open(&args.backend, &progress)?);
    if !matches!(gpu, Backend::Gpu(_)) {
        return Err(CliError::Usage(
            "--transfers measures a GPU beside the CPU, and what was opened is the CPU: \
             `--backend gpu` takes a software adapter where there is one"
                .into(),
        ));
    }
    let mut results = Vec::new();
    for subject in &subjects {
        for elements in SIZES {
            progress.doing(format_args!("{} of {elements} elements", subject.name));
            results.push(measured(&cpu, &gpu, subject, elements)?);
            progress.step();
        }
    }
    drop(progress);
    let summary = Summary {
        cpu: cpu.description(),
        gpu: gpu.description(),
        results,
    };
    if args.json {
        terminal::print_json(&summary)
    } else {
        terminal::print(&text(&summary))
    }
}

fn measured(
    cpu: &Backend,
    gpu: &Backend,
    subject: &Subject,
    elements: usize,
) -> Result<Entry, CliError> {
    let mut of = Prepared::new(gpu, subject, &[elements / ROW, ROW])?;
    let pass = Pass::Forward;
    let on_cpu = filling(|calls| of.in_memory(cpu, pass, calls))?;
    let from_host = filling(|calls| of.in_memory(gpu, pass, calls))?;
    let resident = filling(|calls| of.resident(gpu, pass, calls))?;
    let each = |taken: Duration, calls: usize| taken.as_secs_f64() * 1e6 / calls as f64;
    let mut all: [Vec<f64>; 4] = Default::default();
    // In turn, so that the machine's other load is in all of them.
    for _ in 0..SAMPLES {
        all[0].push(each(of.in_memory(cpu, pass, on_cpu)?, on_cpu));
        all[1].push(each(of.in_memory(gpu, pass, from_host)?, from_host));
        all[2].push(each(of.resident(gpu, pass, 1)?, 1));
        all[3].push(each(of.resident(gpu, pass, resident)?, resident));
    }
    let [cpu_us, from_host_us, one_call_us, resident_us] = all.map(|mut of| median(&mut of));
    Ok(Entry {
        function: subject.name,
        elements,
        cpu_us,
        from_host_us,
        one_call_us,
        resident_us,
    })
}

fn text(summary: &Summary) -> String {
    let head = [
        "function",
        "elements",
        "CPU us",
        "GPU, with transfers",
        "on the GPU, one call",
        "one of many",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for e in &summary.results {
        let times = [e.cpu_us, e.from_host_us, e.one_call_us, e.resident_us];
        let mut row = vec![e.function.to_owned(), e.elements.to_string()];
        row.extend(times.map(|us| format!("{us:.1}")));
        rows.push(row);
    }
    let mut out = terminal::table(&rows, &[1, 2, 3, 4, 5]);
    let _ = writeln!(out, "\nCPU: {}\nGPU: {}", summary.cpu, summary.gpu);
    for of in summary.results.chunk_by(|a, b| a.function == b.function) {
        let told = |what: &str, us: fn(&Entry) -> f64| match pays_from(of, us) {
            Some(elements) => format!("{what} from {elements} elements on"),
            None => format!("{what} at no size measured"),
        };
        let _ = writeln!(
            out,
            "{}: the GPU is faster {}, {}.",
            of[0].function,
            told("with the transfers", |e| e.from_host_us),
            told("of arrays that are there", |e| e.resident_us),
        );
    }
    out
}

/// The least size from which on the GPU is faster at all that were measured.
fn pays_from(entries: &[Entry], us: fn(&Entry) -> f64) -> Option<usize> {
    let slower = |e: &Entry| us(e) >= e.cpu_us;
    let first = entries.iter().rposition(slower).map_or(0, |last| last + 1);
    entries.get(first).map(|e| e.elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_pays_from_where_it_stays_faster() {
        let of = |times: &[f64]| -> Vec<Entry> {
            let entry = |(i, &from_host_us): (usize, &f64)| Entry {
                function: "gelu",
                elements: SIZES[i],
                cpu_us: 10.0,
                from_host_us,
                one_call_us: 0.0,
                resident_us: 0.0,
            };
            times.iter().enumerate().map(entry).collect()
        };
        let from = |times: &[f64]| pays_from(&of(times), |e| e.from_host_us);
        assert_eq!(from(&[20.0, 9.0, 11.0, 8.0, 7.0]), Some(SIZES[3]));
        assert_eq!(from(&[9.0, 9.0]), Some(SIZES[0]));
        assert_eq!(from(&[9.0, 20.0]), None);
        assert_eq!(from(&[]), None);
    }
}
