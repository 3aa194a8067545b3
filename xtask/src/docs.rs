//! The pages that are written by what they describe: the table of functions, the plots,
//! and the measured accuracy.

use crate::{Outcome, cargo};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const BEGIN: &str = "<!-- measured: written by `cargo xtask docs` -->\n";
const END: &str = "<!-- end of measured -->";
const BEGIN_HALF: &str = "<!-- 16 bits: written by `cargo xtask docs` -->\n";
const END_HALF: &str = "<!-- end of 16 bits -->";
/// The types of 16 bits.
pub const HALVES: [&str; 2] = ["f16", "bf16"];
const BACKENDS: [&str; 2] = ["gpu", "cpu"];
const PASSES: [&str; 2] = ["forward", "backward"];

/// Writes them anew.
pub fn write() -> Outcome {
    let readme = ["test", "--release", "--workspace", "--test", "docs"];
    cargo::run(&readme, &[("UPDATE_DOCS", "1")])?;
    let build = ["build", "--release", "--workspace", "--bins", "--examples"];
    cargo::run(&build, &[])?;
    let binaries = cargo::target_directory()?.join("release");

    let drawn = Command::new(binaries.join("examples").join("choosing"))
        .arg(cargo::root().join("docs/img"))
        .status();
    if !drawn.is_ok_and(|status| status.success()) {
        return Err("the example `choosing` does not draw".to_owned());
    }

    let activations = binaries.join("activations");
    let (mut summaries, mut halves) = (Vec::new(), Vec::new());
    for backend in BACKENDS {
        summaries.push(check(&activations, backend, &[])?);
        for dtype in HALVES {
            halves.push(check(&activations, backend, &["--dtype", dtype])?);
        }
    }
    let path = cargo::root().join("docs/accuracy.md");
    let page = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let page = between(&page, [BEGIN, END], &measured(&summaries)?)
        .and_then(|page| between(&page, [BEGIN_HALF, END_HALF], &rounded(&halves).ok()?))
        .ok_or("docs/accuracy.md lacks the marks between which the measured values go")?;
    std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))
}

/// What `activations check --json` prints; a breach is a result here, and no failure.
fn check(activations: &Path, backend: &str, more: &[&str]) -> Result<Value, String> {
    let output = Command::new(activations)
        .args(["check", "--json", "--backend", backend])
        .args(more)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", activations.display()))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("`activations check --backend {backend}` printed no JSON"))
}

/// The page with the measured values between its marks.
fn between(page: &str, [begin, end]: [&str; 2], measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{measured}{end}{after}"))
}

/// A function's results in a type of 16 bits, in one direction.
pub struct Rounded<'a> {
    pub function: &'a str,
    pub pass: &'a str,
    pub inputs: u64,
    /// Within f32's bound, and not correctly rounded.
    pub other_way: u64,
    pub wrong: u64,
}

impl<'a> Rounded<'a> {
    /// Those of what `activations check --dtype` printed.
    pub fn all(summary: &'a Value) -> Result<Vec<Self>, String> {
        let read = |entry: &'a Value| {
            let function = entry["function"].as_str()?;
            Some(Self {
                function: function.split('(').next().unwrap_or(function),
                pass: entry["pass"].as_str()?,
                inputs: entry["inputs"].as_u64()?,
                other_way: entry["other_way"].as_u64()?,
                wrong: entry["wrong"].as_u64()?,
            })
        };
        let entries = summary["checks"].as_array();
        let all: Option<Vec<Self>> = entries.and_then(|entries| entries.iter().map(read).collect());
        all.ok_or_else(|| "the output of `activations check --dtype --json` has changed".to_owned())
    }
}

/// How many results of each function are not correctly rounded, a column for each summary.
fn rounded(summaries: &[Value]) -> Result<String, String> {
    let text = |summary: &Value, key: &str| summary[key].as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    let (mut head, mut line) = (String::from("| Function |"), String::from("|---|"));
    let mut out = String::new();
    for summary in summaries {
        let results = Rounded::all(summary)?;
        let (backend, dtype) = (text(summary, "backend"), text(summary, "dtype"));
        let sum = |of: fn(&Rounded<'_>) -> u64| results.iter().map(of).sum::<u64>();
        let _ = writeln!(
            out,
            "- {backend}: {dtype}: {} results, {} not correctly rounded, {} of them wrong",
            sum(|r| r.inputs),
            sum(|r| r.other_way + r.wrong),
            sum(|r| r.wrong)
        );
        let place = backend.split(':').next().unwrap_or_default();
        let _ = write!(head, " {place} {dtype} |");
        line += "--:|";
        all.push(results);
    }
    let _ = writeln!(out, "\n{head}\n{line}");
    let mut names: Vec<&str> = all.iter().flatten().map(|r| r.function).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    for name in names {
        let _ = write!(out, "| `{name}` |");
        for results in &all {
            let count = |pass: &str| {
                let of_pass = |r: &&Rounded<'_>| r.function == name && r.pass == pass;
                let of_pass = results.iter().filter(of_pass);
                let [other, wrong] = of_pass.fold([0, 0], |[other, wrong], r| {
                    [other + r.other_way, wrong + r.wrong]
                });
                if wrong == 0 {
                    other.to_string()
                } else {
                    format!("{other} + **{wrong}**")
                }
            };
            let _ = write!(out, " {}, {} |", count("forward"), count("backward"));
        }
        out.push('\n');
    }
    Ok(out)
}

/// One check of a summary.
pub struct Check<'a> {
    /// The function with its parameters.
    pub function: &'a str,
    pub pass: &'a str,
    pub passed: bool,
    pub ulp: f64,
    pub entry: &'a Value,
}

impl<'a> Check<'a> {
    pub fn new(entry: &'a Value) -> Option<Self> {
        Some(Self {
            function: entry["function"].as_str()?,
            pass: entry["pass"].as_str()?,
            passed: entry["passed"].as_bool()?,
            ulp: number(&entry["max_ulp"])?,
            entry,
        })
    }

    /// The function alone.
    pub fn name(&self) -> &'a str {
        self.function.split('(').next().unwrap_or(self.function)
    }
}

/// A number, or one of those that JSON has as text.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn measured(summaries: &[Value]) -> Result<String, String> {
    let unreadable = "the output of `activations check --json` has changed";
    let mut checks = Vec::new();
    for summary in summaries {
        let entries = summary["checks"].as_array().ok_or(unreadable)?;
        let read: Option<Vec<Check<'_>>> = entries.iter().map(Check::new).collect();
        checks.push(read.ok_or(unreadable)?);
    }

    let mut out = String::new();
    for (summary, checks) in summaries.iter().zip(&checks) {
        let device = summary["backend"].as_str().ok_or(unreadable)?;
        let results: f64 = checks
            .iter()
            .filter_map(|c| number(&c.entry["inputs"]))
            .sum();
        let _ = writeln!(
            out,
            "- {device}: {} checks, {results} results",
            checks.len()
        );
    }
    out += "\n| Function | gpu forward | gpu backward | cpu forward | cpu backward |\n|---|--:|--:|--:|--:|\n";
    let mut names: Vec<&str> = Vec::new();
    for check in &checks[0] {
        if !names.contains(&check.name()) {
            names.push(check.name());
        }
    }
    for name in names {
        let _ = write!(out, "| `{name}` |");
        for checks in &checks {
            for pass in PASSES {
                let _ = write!(out, " {} |", worst(checks, name, pass));
            }
        }
        out.push('\n');
    }
    out += &breaches(&checks);
    Ok(out)
}

/// The largest error over all parameters, bold where one is outside its bound.
fn worst(checks: &[Check<'_>], name: &str, pass: &str) -> String {
    let of_name = || checks.iter().filter(|c| c.name() == name && c.pass == pass);
    let worst = of_name().map(|c| c.ulp).fold(0.0, f64::max);
    if of_name().all(|c| c.passed) {
        format!("{worst:.2}")
    } else {
        format!("**{worst:.2}**")
    }
}

fn breaches(checks: &[Vec<Check<'_>>]) -> String {
    let mut rows = String::new();
    for (backend, checks) in BACKENDS.iter().zip(checks) {
        for check in checks.iter().filter(|c| !c.passed) {
            let [input, got, want] = ["worst_input", "got", "want"].map(|key| {
                // Shortest digits for what was an f32, and for NaN and the infinities their names.
                number(&check.entry[key]).map_or(String::new(), |n| format!("{n:.8e}"))
            });
            let Check {
                function,
                pass,
                ulp,
                ..
            } = check;
            let _ = writeln!(
                rows,
                "| `{function}` | {backend} {pass} | {ulp:.2} | {input} | {got} | {want} |"
            );
        }
    }
    if rows.is_empty() {
        return "\nNo check is outside its bound.\n".to_owned();
    }
    format!(
        "\nOutside their bounds, with the worst input:\n\n\
         | Function | Where | ULP | x | got | want |\n|---|---|--:|--:|--:|--:|\n{rows}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(function: &str, pass: &str, ulp: Value, passed: bool) -> Value {
        json!({"function": function, "pass": pass, "passed": passed, "inputs": 10, "max_ulp": ulp,
               "worst_input": -1.5, "got": "NaN", "want": 0.25})
    }

    #[test]
    fn the_worst_parameters_count_and_breaches_are_listed() {
        let gpu = json!({"backend": "gpu: x", "checks": [
            entry("elu(alpha=1)", "forward", json!(0.5), true),
            entry("elu(alpha=0)", "forward", json!(1.75), true),
            entry("elu(alpha=1)", "backward", json!("inf"), false),
        ]});
        let cpu = json!({"backend": "cpu: y", "checks": []});
        let text = measured(&[gpu, cpu]).unwrap();
        assert!(text.contains("- gpu: x: 3 checks, 30 results\n"), "{text}");
        assert!(
            text.contains("| `elu` | 1.75 | **inf** | 0.00 | 0.00 |\n"),
            "{text}"
        );
        assert!(
            text.contains("| `elu(alpha=1)` | gpu backward | inf | -1.50000000e0 | NaN |"),
            "{text}"
        );
        assert!(measured(&[json!({})]).is_err());
    }

    #[test]
    fn only_what_lies_between_the_marks_changes() {
        let page = format!("a\n{BEGIN}old\n{END}\nb");
        assert_eq!(
            between(&page, [BEGIN, END], "new\n").unwrap(),
            format!("a\n{BEGIN}new\n{END}\nb")
        );
        assert_eq!(between("a page", [BEGIN, END], "new"), None);
    }

    #[test]
    fn what_is_not_correctly_rounded_is_counted() {
        let entry = |pass: &str, other: u64, wrong: u64| {
            json!({"function": "elu(alpha=1)", "pass": pass, "inputs": 65_536,
                   "other_way": other, "wrong": wrong})
        };
        let summary = json!({"backend": "gpu: x", "dtype": "f16", "checks": [
            entry("forward", 4, 0), entry("backward", 1, 0), entry("backward", 2, 5),
        ]});
        let text = rounded(&[summary.clone(), summary]).unwrap();
        assert!(
            text.starts_with(
                "- gpu: x: f16: 196608 results, 12 not correctly rounded, 5 of them wrong\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("| Function | gpu f16 | gpu f16 |\n|---|--:|--:|\n"),
            "{text}"
        );
        assert!(
            text.ends_with("| `elu` | 4, 3 + **5** | 4, 3 + **5** |\n"),
            "{text}"
        );
        assert!(rounded(&[json!({})]).is_err());
    }
}
