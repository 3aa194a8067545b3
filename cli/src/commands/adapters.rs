//! `activations adapters`: the GPUs that there are, and which one would be taken.

use crate::error::CliError;
use crate::terminal;
use serde::Serialize;
use serde_json::{Map, Value};
use wgpu_activations::AdapterReport;

#[derive(Serialize)]
struct Entry {
    index: usize,
    name: String,
    backend: String,
    device_type: String,
    driver: String,
    chosen: bool,
    why: String,
    limits: Map<String, Value>,
    features: Vec<String>,
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
        }
    }
}

/// The limits that decide what an operation may look like.
fn limits(limits: &wgpu_activations::wgpu::Limits) -> Map<String, Value> {
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

/// Prints the adapters.
pub fn adapters(json: bool) -> Result<(), CliError> {
    let entries: Vec<Entry> = wgpu_activations::adapters()
        .into_iter()
        .map(Entry::from)
        .collect();
    if json {
        return terminal::print_json(&entries);
    }
    if entries.is_empty() {
        return terminal::print(
            "no GPU adapter; everything runs on the CPU backend. A Vulkan driver makes one, \
             Mesa's lavapipe on any CPU.\n",
        );
    }
    let mut text = String::new();
    for entry in &entries {
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
    }
    terminal::print(&text)
}
