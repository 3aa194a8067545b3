//! The report of an exhaustive check: a JSON file from which an interrupted run goes on, and a
//! Markdown file for people.

use crate::terminal::Number;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use wgpu_activations::Activation;
use wgpu_activations::check::Pass;
use wgpu_activations::check::exhaustive::{Run, Span, Tally, Worst};

/// What a file of this kind begins with.
const FORMAT: &str = "activations check --exhaustive, 1";

/// Runs over the same inputs and backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    format: String,
    /// The program's version and a sum of its bytes.
    program: String,
    bits: Bits,
    /// A line for each backend.
    pub backends: Vec<String>,
    /// One for each function and direction.
    pub checks: Vec<Check>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bits {
    first: Hex,
    last: Hex,
    stride: u32,
}

/// A bit pattern, written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hex(u32);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#010x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        let bits = u32::from_str_radix(digits, 16);
        bits.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A run: one function and direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The function's name.
    pub function: String,
    /// forward or backward.
    pub pass: String,
    /// The largest error that is within the contract.
    bound: f64,
    /// How many inputs there are.
    pub inputs: u64,
    /// How many of them were compared.
    pub done: u64,
    /// How long that took.
    pub seconds: f64,
    /// One for each backend, in their order.
    pub results: Vec<Entry>,
}

/// What was found of one backend. What follows from the rest is written and not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whether everything was within the bound.
    #[serde(skip_deserializing)]
    pub passed: bool,
    /// The largest error in ULP.
    #[serde(skip_deserializing)]
    pub max_ulp: Number<f64>,
    #[serde(skip_deserializing)]
    worst_input: Number<f32>,
    #[serde(skip_deserializing)]
    got: Number<f32>,
    #[serde(skip_deserializing)]
    want: Number<f64>,
    worst_input_bits: Option<Hex>,
    got_bits: Option<Hex>,
    outside: u64,
    nan_mismatches: u64,
    flushed: u64,
    zero_signs: u64,
    /// How many errors are in each quarter of an ULP, up to the last that has one.
    histogram: Vec<u64>,
}

impl Entry {
    fn new(tally: &Tally) -> Self {
        let used = tally.histogram.iter().rposition(|&n| n > 0);
        let worst = tally.worst;
        Self {
            passed: tally.passed(),
            max_ulp: Number(worst.map_or(0.0, |w| w.ulp)),
            worst_input: Number(worst.map_or(0.0, |w| w.input)),
            got: Number(worst.map_or(0.0, |w| w.got)),
            want: Number(worst.map_or(0.0, |w| w.want)),
            worst_input_bits: worst.map(|w| Hex(w.input.to_bits())),
            got_bits: worst.map(|w| Hex(w.got.to_bits())),
            outside: tally.outside,
            nan_mismatches: tally.nan_mismatches,
            flushed: tally.flushed,
            zero_signs: tally.zero_signs,
            histogram: tally.histogram[..used.map_or(0, |last| last + 1)].to_vec(),
        }
    }

    /// The tally that it was made of, where it can be one of `inputs` results.
    fn tally(&self, run: &Run, inputs: u64) -> Option<Tally> {
        let mut tally = Tally {
            inputs,
            outside: self.outside,
            nan_mismatches: self.nan_mismatches,
            flushed: self.flushed,
            zero_signs: self.zero_signs,
            ..Tally::EMPTY
        };
        tally
            .histogram
            .get_mut(..self.histogram.len())?
            .copy_from_slice(&self.histogram);
        let counted = tally
            .histogram
            .iter()
            .try_fold(0u64, |sum, &n| sum.checked_add(n));
        tally.worst = match (self.worst_input_bits, self.got_bits) {
            (Some(input), Some(got)) => {
                let [input, got] = [input, got].map(|bits| f32::from_bits(bits.0));
                Some(Worst::new(&run.function(), run.pass(), input, got))
            }
            (None, None) => None,
            _ => return None,
        };
        let possible = tally.outside <= inputs && tally.nan_mismatches <= inputs;
        (counted == Some(inputs) && possible).then_some(tally)
    }
}

impl Check {
    fn new(run: &Run, seconds: f64) -> Self {
        Self {
            function: run.function().activation().to_string(),
            pass: run.pass().to_string(),
            bound: run.bound(),
            inputs: run.span().len(),
            done: run.done(),
            seconds,
            results: run.tallies().iter().map(Entry::new).collect(),
        }
    }

    /// Takes over what a run has come to.
    pub fn update(&mut self, run: &Run, seconds: f64) {
        *self = Self::new(run, seconds);
    }

    /// Whether all inputs were compared.
    pub fn finished(&self) -> bool {
        self.done == self.inputs
    }

    /// A row of the table: function, pass, backend, errors, verdict.
    pub fn row(&self, backend: usize, entry: &Entry) -> Vec<String> {
        vec![
            self.function.clone(),
            self.pass.clone(),
            backend.to_string(),
            ulp(entry.max_ulp.0),
            self.bound.to_string(),
            format!("{:e}", entry.worst_input.0),
            format!("{:.8e}", entry.got.0),
            format!("{:.8e}", entry.want.0),
            match (entry.passed, entry.nan_mismatches) {
                (true, _) => "ok".to_owned(),
                (false, 0) => format!("BROKEN at {} inputs", entry.outside),
                (false, n) => format!("BROKEN at {} inputs, NaN wrong at {n}", entry.outside),
            },
        ]
    }

    /// Whether every result was within the bound.
    pub fn passed(&self) -> bool {
        self.results.iter().all(|entry| entry.passed)
    }

    /// The run that it was made of, where it can be one.
    fn run(&self, span: Span, backends: usize) -> Option<Run> {
        let activation: Activation = self.function.parse().ok()?;
        let pass = [Pass::Forward, Pass::Backward]
            .into_iter()
            .find(|pass| pass.to_string() == self.pass)?;
        let empty = Run::new(activation, pass, span, backends);
        let tallies: Option<Vec<Tally>> = self
            .results
            .iter()
            .map(|entry| entry.tally(&empty, self.done))
            .collect();
        let tallies = tallies.filter(|t| t.len() == backends && self.done <= span.len())?;
        let run = Run::resume(activation, pass, span, self.done, tallies);
        (self.inputs == span.len() && self.bound == run.bound()).then_some(run)
    }
}

/// Why a file is no report to go on from, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; --fresh begins anew in its place, or give another --report",
            self.0
        )
    }
}

impl Report {
    /// A report of runs that have not begun.
    pub fn new(backends: Vec<String>, span: Span, runs: &[(Activation, Pass)]) -> Self {
        let checks = runs
            .iter()
            .map(|&(f, pass)| Check::new(&Run::new(f, pass, span, backends.len()), 0.0));
        Self {
            format: FORMAT.to_owned(),
            program: program(),
            bits: Bits {
                first: Hex(span.first()),
                last: Hex(span.last()),
                stride: span.stride(),
            },
            checks: checks.collect(),
            backends,
        }
    }

    /// The report in a file's text, and its runs: only of this build of the program, over the
    /// same backends, inputs, functions and directions as `begun`, which has not begun.
    pub fn read(text: &str, begun: &Self, span: Span) -> Result<(Self, Vec<Run>), Refusal> {
        let refuse = |reason: &str| Refusal(reason.to_owned());
        let unreadable = refuse("is not a report of `activations check --exhaustive`, or damaged");
        let Ok(mut report) = serde_json::from_str::<Self>(text) else {
            return Err(unreadable);
        };
        if report.format != FORMAT || report.program != begun.program {
            return Err(refuse("was written by another build of this program"));
        }
        if report.backends != begun.backends {
            return Err(refuse(&format!(
                "was measured on other backends: {}",
                report.backends.join(", ")
            )));
        }
        if report.bits != begun.bits {
            return Err(refuse("was measured over other bit patterns"));
        }
        let names = |report: &Self| -> Vec<(String, String)> {
            let checks = report.checks.iter();
            checks
                .map(|c| (c.function.clone(), c.pass.clone()))
                .collect()
        };
        if names(&report) != names(begun) {
            return Err(refuse("is of other functions or directions"));
        }
        let runs: Option<Vec<Run>> = report
            .checks
            .iter()
            .map(|check| check.run(span, report.backends.len()))
            .collect();
        let runs = runs.ok_or(unreadable)?;
        for (check, run) in report.checks.iter_mut().zip(&runs) {
            check.update(run, check.seconds);
        }
        Ok((report, runs))
    }

    /// The JSON text, a line for each check.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let head = [
            ("format", serde_json::to_string(&self.format)?),
            ("program", serde_json::to_string(&self.program)?),
            ("bits", serde_json::to_string(&self.bits)?),
            ("backends", serde_json::to_string(&self.backends)?),
        ];
        let mut out = "{\n".to_owned();
        for (key, value) in head {
            out += &format!("\"{key}\": {value},\n");
        }
        let checks: Result<Vec<String>, _> =
            self.checks.iter().map(serde_json::to_string).collect();
        out += &format!("\"checks\": [\n{}\n]}}\n", checks?.join(",\n"));
        Ok(out)
    }

    /// The Markdown text.
    pub fn markdown(&self) -> String {
        let mut out = "# Exhaustive check\n\n".to_owned();
        let Bits {
            first,
            last,
            stride,
        } = self.bits;
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "Bit patterns {:#010x} to {:#010x}, every {stride}; activations {}.\n",
            first.0, last.0, self.program
        );
        for (index, backend) in self.backends.iter().enumerate() {
            let _ = writeln!(out, "- backend {index}: {backend}");
        }
        let done = self.checks.iter().filter(|c| c.finished()).count();
        let seconds: f64 = self.checks.iter().map(|c| c.seconds).sum();
        let _ = writeln!(
            out,
            "\n{done} of {} checks are done, in {seconds:.0} s.\n",
            self.checks.len()
        );
        out += "| Function | Pass | Backend | Max ULP | Bound | Worst input | Got | Want | Outside | NaN wrong | Flushed | Zeros of the other sign |\n\
                |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let begun = || self.checks.iter().filter(|c| c.done > 0);
        for check in begun() {
            for (index, e) in check.results.iter().enumerate() {
                let mark = if e.passed { "" } else { "**" };
                let rest = if check.finished() {
                    ""
                } else {
                    " (unfinished)"
                };
                let _ = writeln!(
                    out,
                    "| `{}` | {}{rest} | {index} | {mark}{}{mark} | {} | {:e} | {:e} | {:.9e} | {} | {} | {} | {} |",
                    check.function,
                    check.pass,
                    ulp(e.max_ulp.0),
                    check.bound,
                    e.worst_input.0,
                    e.got.0,
                    e.want.0,
                    e.outside,
                    e.nan_mismatches,
                    e.flushed,
                    e.zero_signs,
                );
            }
        }
        out += "\nErrors by quarters of an ULP, the first from 0 to 0.25:\n\n\
                | Function | Pass | Backend | Counts |\n|---|---|--:|---|\n";
        for check in begun() {
            for (index, e) in check.results.iter().enumerate() {
                let counts: Vec<String> = e.histogram.iter().map(u64::to_string).collect();
                let _ = writeln!(
                    out,
                    "| `{}` | {} | {index} | {} |",
                    check.function,
                    check.pass,
                    counts.join(", ")
                );
            }
        }
        out
    }
}

/// An error in ULP; what is off by the whole scale in a readable width.
pub fn ulp(ulp: f64) -> String {
    if ulp.abs() < 1e6 || ulp.is_infinite() {
        format!("{ulp:.2}")
    } else {
        format!("{ulp:.1e}")
    }
}

/// The version, and a sum (FNV-1a; Fowler, Noll & Vo 1991) of the program's bytes, so that no run
/// goes on with other code than it began with.
fn program() -> String {
    let bytes = std::env::current_exe().and_then(std::fs::read);
    let sum = bytes
        .unwrap_or_default()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{} {sum:016x}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;
    use wgpu_activations::Backend;

    fn span() -> Span {
        Span::new(0x3f80_0000, 0x3fff_ffff, 1).unwrap()
    }

    fn begun() -> Report {
        let runs = [
            (Activation::Tanh, Pass::Forward),
            (Activation::Relu, Pass::Backward),
        ];
        Report::new(vec!["cpu: a".to_owned()], span(), &runs)
    }

    /// The report after some chunks of its first run.
    fn half_way() -> (Report, Run) {
        let mut report = begun();
        let mut run = Run::new(Activation::Tanh, Pass::Forward, span(), 1);
        run.advance(&[Backend::cpu()], |_| ControlFlow::Break(()))
            .unwrap();
        report.checks[0].update(&run, 1.5);
        (report, run)
    }

    #[test]
    fn a_report_is_read_back_as_it_was() {
        let (report, run) = half_way();
        let (read, runs) = Report::read(&report.json().unwrap(), &begun(), span()).unwrap();
        assert_eq!(read, report);
        assert_eq!(runs[0], run);
        assert!(run.done() > 0 && !run.is_finished());
        assert_eq!(
            runs[1],
            Run::new(Activation::Relu, Pass::Backward, span(), 1)
        );
        assert!(
            report
                .markdown()
                .contains("| `tanh` | forward (unfinished) | 0 | ")
        );
    }

    #[test]
    fn another_or_a_damaged_report_is_refused() {
        let (report, _) = half_way();
        let text = report.json().unwrap();
        let refused = |text: &str, begun: &Report, span: Span, why: &str| {
            let refusal = Report::read(text, begun, span).unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
            assert!(refusal.contains("--fresh"), "{refusal}");
        };
        let same = begun();
        refused("", &same, span(), "damaged");
        refused("{}", &same, span(), "damaged");
        refused(&text[..text.len() / 2], &same, span(), "damaged");
        let version = env!("CARGO_PKG_VERSION");
        let other = text.replace(&format!("\"{version} "), "\"0.0.1 ");
        refused(&other, &same, span(), "another build");
        refused(&text.replace("cpu: a", "cpu: b"), &same, span(), "cpu: b");
        refused(
            &text.replace("tanh", "gelu"),
            &same,
            span(),
            "other functions",
        );
        let bits = text.replace("0x3f800000", "0x3f800001");
        refused(&bits, &same, span(), "other bit patterns");
        // Counts that cannot be.
        let done = format!("\"done\":{}", report.checks[0].done);
        refused(
            &text.replace(&done, "\"done\":77"),
            &same,
            span(),
            "damaged",
        );
        refused(
            &text.replace("\"got_bits\":\"0x", "\"got_bits\":\"x"),
            &same,
            span(),
            "damaged",
        );
        refused(
            &text.replace("\"outside\":0", "\"outside\":-1"),
            &same,
            span(),
            "damaged",
        );
    }
}
