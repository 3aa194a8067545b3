//! `activations adapters`: the GPUs that there are, and which one would be taken.

use crate::error::CliError;
use crate::terminal;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Instant;
use wgpu_activations::{AdapterChoice, AdapterReport, Error, Gpu, SelfCheck, Verdict};

/// An adapter, and with a self-check what it gets right.
#[derive(Serialize)]
pub(super) struct Entry {
    pub index: usize,
    pub name: String,
    pub backend: String,
    pub device_type: String,
    driver: String,
    pub chosen: bool,
    why: String,
    limits: Map<String, Value>,
    features: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_check: Option<Checked>,
}

impl Entry {
    /// Every adapter that there is.
    pub fn all() -> Vec<Self> {
        wgpu_activations::adapters()
            .into_iter()
            .map(Self::from)
            .collect()
    }

    /// Opens the adapter and asks it everything; whether all is right.
    pub fn ask(&mut self) -> bool {
        self.self_check.insert(Checked::ask(self.index)).passed
    }

    /// Whether it was asked and something is not right.
    pub fn failed(&self) -> bool {
        self.self_check.as_ref().is_some_and(|check| !check.passed)
    }
}

/// What a self-check found, or why there was none.
#[derive(Serialize)]
struct Checked {
    passed: bool,
    seconds: f64,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    subject: String,
    verdict: String,
    detail: String,
}

impl Checked {
    /// Opens the adapter and asks it everything.
    fn ask(index: usize) -> Self {
        let start = Instant::now();
        let asked = Gpu::open(&AdapterChoice::Index(index)).and_then(|gpu| gpu.self_check());
        Self::new(asked, start.elapsed().as_secs_f64())
    }

    fn new(asked: Result<SelfCheck, Error>, seconds: f64) -> Self {
        let (passed, findings) = match asked {
            Ok(check) => (check.passed(), check.findings),
            Err(error) => {
                let found = Found {
                    subject: "device".to_owned(),
                    verdict: Verdict::Distrusted.to_string(),
                    detail: error.to_string(),
                };
                return Self {
                    passed: false,
                    seconds,
                    findings: vec![found],
                };
            }
        };
        let findings = findings.into_iter().map(|finding| Found {
            subject: finding.subject,
            verdict: finding.verdict.to_string(),
            detail: finding.detail,
        });
        Self {
            passed,
            seconds,
            findings: findings.collect(),
        }
    }

    /// A line for each finding, and how many there are.
    fn text(&self) -> String {
        let mut text = String::new();
        for Found {
            subject,
            verdict,
            detail,
        } in &self.findings
        {
            text += &format!("  {verdict:13}  {subject}: {detail}\n");
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let count = self.findings.len();
        text + &format!(
            "  self-check {verdict}: {count} questions in {:.1} s\n",
            self.seconds
        )
    }
}

impl From<AdapterReport> for Entry {
    fn from(report: AdapterReport) -> Self {
        Self {
            limits: limits(&report.limits),
            features: report
                .features
                .iter_names()
                .map(|(name, _)| name.to_lowercase())
                .collect(),
            index: report.index,
            name: report.name,
            backend: report.backend,
            device_type: report.device_type,
            driver: report.driver,
            chosen: report.chosen,
            why: report.why,
            self_check: None,
        }
    }
}

/// The limits that decide what an operation may look like.
fn limits(limits: &wgpu::Limits) -> Map<String, Value> {
    [
        ("max_buffer_size", limits.max_buffer_size),
        (
            "max_storage_buffer_binding_size",
            limits.max_storage_buffer_binding_size,
        ),
        (
            "min_storage_buffer_offset_alignment",
            limits.min_storage_buffer_offset_alignment.into(),
        ),
        (
            "max_compute_workgroups_per_dimension",
            limits.max_compute_workgroups_per_dimension.into(),
        ),
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup.into(),
        ),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size.into(),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}

/// Prints the adapters, and with `self_check` what each gets right.
pub fn adapters(self_check: bool, json: bool) -> Result<(), CliError> {
    let mut entries = Entry::all();
    if self_check {
        for entry in &mut entries {
            entry.ask();
        }
    }
    if json {
        terminal::print_json(&entries)?;
    } else {
        terminal::print(&text(&entries))?;
    }
    verdict(&entries)
}

/// An error that names the adapters that are not right in everything.
fn verdict(entries: &[Entry]) -> Result<(), CliError> {
    let failed: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.failed())
        .map(|entry| entry.name.as_str())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CliError::CheckFailed(format!(
        "the self-check failed on {}; what is wrong there runs on the CPU instead",
        failed.join(", ")
    )))
}

fn text(entries: &[Entry]) -> String {
    if entries.is_empty() {
        let opened = Gpu::open(&AdapterChoice::Auto).err();
        return opened.map_or_else(String::new, |error| format!("{error}\n"));
    }
    let mut text = String::new();
    for entry in entries {
        let mark = if entry.chosen { "chosen" } else { "not chosen" };
        text += &format!("{}: {}\n", entry.index, entry.name);
        let mut rows = vec![
            ["  backend", &entry.backend].map(str::to_owned).to_vec(),
            ["  type", &entry.device_type].map(str::to_owned).to_vec(),
            ["  driver", &entry.driver].map(str::to_owned).to_vec(),
            vec![format!("  {mark}"), entry.why.clone()],
        ];
        for (name, value) in &entry.limits {
            rows.push(vec![format!("  {name}"), value.to_string()]);
        }
        rows.push(vec!["  features".to_owned(), entry.features.join(", ")]);
        text += &terminal::table(&rows, &[]);
        text += &entry
            .self_check
            .as_ref()
            .map_or_else(String::new, Checked::text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(passed: bool) -> Entry {
        let found = Found {
            subject: "tanh forward".to_owned(),
            verdict: Verdict::Distrusted.to_string(),
            detail: "1e0 instead of 9.9e-1 at 5e0".to_owned(),
        };
        Entry {
            index: 0,
            name: "some adapter".to_owned(),
            backend: "vulkan".to_owned(),
            device_type: "discrete GPU".to_owned(),
            driver: String::new(),
            chosen: true,
            why: String::new(),
            limits: Map::new(),
            features: Vec::new(),
            self_check: Some(Checked {
                passed,
                seconds: 0.1,
                findings: vec![found],
            }),
        }
    }

    #[test]
    fn a_failed_self_check_is_told_and_fails() {
        verdict(&[entry(true)]).unwrap();
        assert!(text(&[entry(true)]).contains("self-check passed: 1 questions"));
        let error = verdict(&[entry(true), entry(false)]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("on some adapter;"), "{error}");
        let text = text(&[entry(false)]);
        assert!(
            text.contains("  WRONG          tanh forward: 1e0 instead"),
            "{text}"
        );
        assert!(text.contains("self-check FAILED"), "{text}");
    }

    /// A device that does not open is no pass.
    #[test]
    fn an_adapter_that_does_not_open_fails() {
        let error = Error::DeviceLost {
            reason: "unplugged".to_owned(),
        };
        let checked = Checked::new(Err(error), 0.1);
        assert!(!checked.passed && checked.text().contains("unplugged"));
    }
}
