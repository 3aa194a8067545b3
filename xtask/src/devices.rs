//! What reports of `activations report` found, merged into `docs/devices.jsonl`, from which the
//! tables of docs/devices.md are written.

use crate::accuracy::{between, read, rows};
use crate::adapters::ulp;
use crate::{Outcome, cargo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

const DATA: &str = "docs/devices.jsonl";
const PAGE: &str = "docs/devices.md";
const BEGIN: &str = "<!-- devices: written by `cargo xtask devices` -->\n";
const END: &str = "<!-- end of devices -->";
const FORMAT: &str = "activations report, 1";

/// A line of the data: what a report says of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Device {
    name: String,
    /// The graphics interface; empty of the CPU.
    interface: String,
    driver: String,
    system: String,
    /// The version of the program.
    version: String,
    self_check: Option<bool>,
    /// Why there is nothing of it.
    error: Option<String>,
    forward: Accuracy,
    backward: Accuracy,
    f16: Halves,
    bf16: Halves,
    /// Checks and rates that the time did not suffice for.
    left_out: usize,
    shape: Vec<u64>,
    rates: Vec<Rate>,
}

/// The checks in f32 of one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Accuracy {
    checks: usize,
    max_ulp: f64,
    /// Functions outside their bounds.
    outside: Vec<String>,
}

impl Accuracy {
    /// With what was found beside it. The error of a gradient for an upstream gradient other than 1
    /// is in other units, and is only held against its bound.
    fn and(mut self, upstream: Self) -> Self {
        self.checks += upstream.checks;
        self.outside.extend(upstream.outside);
        self
    }
}

/// The results in a type of 16 bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Halves {
    results: u64,
    wrong: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rate {
    function: String,
    pass: String,
    gb_per_s: f64,
    copy_gb_per_s: f64,
    share_of_copy: f64,
    one_shot_gb_per_s: Option<f64>,
}

/// Merges the reports and writes the page anew.
pub fn write(reports: &[&str]) -> Outcome {
    let root = cargo::root();
    let mut devices: Vec<Device> = rows(DATA)?;
    for report in reports {
        merge(&mut devices, devices_of(Path::new(report))?);
    }
    devices.sort_by_key(|d| {
        let name = d.name.to_lowercase();
        (d.interface.is_empty(), name, d.interface.clone())
    });
    let page = between(&read(&root.join(PAGE))?, BEGIN, END, &tables(&devices)).ok_or(format!(
        "{PAGE} lacks the marks between which the tables go"
    ))?;
    let lines: Result<Vec<String>, _> = devices.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|e| e.to_string())?;
    let lines: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    for (path, text) in [(DATA, lines), (PAGE, page)] {
        std::fs::write(root.join(path), text).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

fn devices_of(report: &Path) -> Result<Vec<Device>, String> {
    let no_report = || format!("{}: no report of `activations report`", report.display());
    of_report(&read(report)?).ok_or_else(no_report)
}

/// Whether a file is a report that this chore takes, with something of each kind in it.
pub fn takes(report: &Path) -> Outcome {
    let devices = devices_of(report)?;
    let full =
        |d: &Device| d.self_check == Some(true) && d.forward.checks > 0 && !d.rates.is_empty();
    match !devices.is_empty() && devices.iter().all(full) {
        true => Ok(()),
        false => Err(format!(
            "{}: a report that lacks something",
            report.display()
        )),
    }
}

/// What a report says of each backend; none where it is none.
fn of_report(text: &str) -> Option<Vec<Device>> {
    let report: Value = serde_json::from_str(text).ok()?;
    if report["format"] != FORMAT {
        return None;
    }
    let system = &report["system"];
    let system = format!(
        "{} {}, {} threads",
        system["os"].as_str()?,
        system["architecture"].as_str()?,
        system["threads"].as_u64()?
    );
    let adapters = report["adapters"].as_array()?;
    let backends = report["backends"].as_array()?.iter();
    backends
        .map(|found| {
            let adapter = match found["adapter"].as_u64() {
                Some(index) => Some(adapters.iter().find(|a| a["index"] == index)?),
                None => None,
            };
            let of_adapter = |field: &str| match adapter {
                Some(adapter) => adapter[field].as_str().map(str::to_owned),
                None => Some(String::new()),
            };
            let name = match adapter {
                Some(_) => of_adapter("name")?,
                None => cpu_name(found["backend"].as_str()?),
            };
            Some(Device {
                name,
                interface: of_adapter("backend")?,
                driver: of_adapter("driver")?,
                system: system.clone(),
                version: report["version"].as_str()?.to_owned(),
                self_check: adapter.and_then(|a| a["self_check"]["passed"].as_bool()),
                error: found["error"].as_str().map(str::to_owned),
                forward: accuracy(&found["check"], "forward")?,
                backward: accuracy(&found["check"], "backward")?
                    .and(accuracy(&found["upstream"], "any dy")?),
                f16: halves(&found["f16"])?,
                bf16: halves(&found["bf16"])?,
                left_out: found["left_out"].as_array()?.len(),
                shape: found["shape"]
                    .as_array()?
                    .iter()
                    .map(Value::as_u64)
                    .collect::<Option<_>>()?,
                rates: found["rates"]
                    .as_array()?
                    .iter()
                    .map(rate)
                    .collect::<Option<_>>()?,
            })
        })
        .collect()
}

/// The instructions that the CPU backend uses, from its description, `cpu: 2 threads, avx512; why`.
fn cpu_name(description: &str) -> String {
    let what = description.split(';').next().unwrap_or_default();
    let instructions = what.split(", ").nth(1);
    instructions.map_or_else(|| "CPU".to_owned(), |name| format!("CPU, {name}"))
}

fn accuracy(checks: &Value, pass: &str) -> Option<Accuracy> {
    let mut found = Accuracy::default();
    for check in checks.as_array()?.iter().filter(|c| c["pass"] == pass) {
        found.checks += 1;
        // An infinity is text, and one that JSON has no number for.
        found.max_ulp = found
            .max_ulp
            .max(check["max_ulp"].as_f64().unwrap_or(f64::MAX));
        if !check["passed"].as_bool()? {
            found.outside.push(check["function"].as_str()?.to_owned());
        }
    }
    Some(found)
}

fn halves(checks: &Value) -> Option<Halves> {
    let mut found = Halves::default();
    for check in checks.as_array()? {
        found.results += check["inputs"].as_u64()?;
        found.wrong += check["wrong"].as_u64()?;
    }
    Some(found)
}

fn rate(rate: &Value) -> Option<Rate> {
    Some(Rate {
        function: rate["function"].as_str()?.to_owned(),
        pass: rate["pass"].as_str()?.to_owned(),
        gb_per_s: rate["median_gb_per_s"].as_f64()?,
        copy_gb_per_s: rate["copy_median_gb_per_s"].as_f64()?,
        share_of_copy: rate["share_of_copy"].as_f64()?,
        one_shot_gb_per_s: rate["one_shot_gb_per_s"].as_f64(),
    })
}

/// Puts what is new in the place of what is known of the same device, driver and system.
fn merge(devices: &mut Vec<Device>, new: Vec<Device>) {
    fn key(d: &Device) -> [&String; 4] {
        [&d.name, &d.interface, &d.driver, &d.system]
    }
    devices.retain(|old| new.iter().all(|new| key(new) != key(old)));
    devices.extend(new);
}

/// The page's tables: accuracy, then rates.
fn tables(devices: &[Device]) -> String {
    let mut out = "\n| Device | Interface and driver | System | Self-check | f32 checks | Outside | Largest error forward, backward (ULP) | Millions of results in f16, wrong | In bf16, wrong | Left out |\n|---|---|---|---|--:|--:|--:|--:|--:|--:|\n".to_owned();
    for d in devices {
        let through = match d.interface.as_str() {
            "" => String::new(),
            // A browser tells of none.
            interface if d.driver.is_empty() => interface.to_owned(),
            interface => format!("{interface}, {}", d.driver),
        };
        let self_check = match (d.self_check, &d.error) {
            (_, Some(why)) => format!("**{why}**"),
            (Some(true), _) => "passed".to_owned(),
            (Some(false), _) => "**failed**".to_owned(),
            (None, _) => String::new(),
        };
        let mut outside = [&d.forward.outside[..], &d.backward.outside].concat();
        outside.sort();
        outside.dedup();
        let outside = if outside.is_empty() {
            "0".to_owned()
        } else {
            format!("**{}**", outside.join(", "))
        };
        let halves = |h: &Halves| match h.wrong {
            0 => format!("{:.1}, 0", h.results as f64 / 1e6),
            wrong => format!("{:.1}, **{wrong}**", h.results as f64 / 1e6),
        };
        let row = [
            d.name.clone(),
            through,
            d.system.clone(),
            self_check,
            (d.forward.checks + d.backward.checks).to_string(),
            outside,
            [&d.forward, &d.backward]
                .map(|accuracy| match accuracy.max_ulp {
                    f64::MAX => ulp(f64::INFINITY),
                    finite => ulp(finite),
                })
                .join(", "),
            halves(&d.f16),
            halves(&d.bf16),
            d.left_out.to_string(),
        ];
        out += &line(&row);
    }
    let mut functions: Vec<&str> = Vec::new();
    for rate in devices.iter().flat_map(|d| &d.rates) {
        if !functions.contains(&rate.function.as_str()) {
            functions.push(&rate.function);
        }
    }
    let head = [
        "Device",
        "Array",
        "Copy, GB/s",
        "`relu` from host memory, GB/s",
    ]
    .map(str::to_owned);
    let names = functions.iter().map(|name| format!("`{name}`"));
    out += &format!(
        "\n{}",
        line(&[&head[..], &names.collect::<Vec<_>>()].concat())
    );
    out += &format!("|---|---{}|\n", "|--:".repeat(2 + functions.len()));
    for d in devices.iter().filter(|d| !d.rates.is_empty()) {
        let shape: Vec<String> = d.shape.iter().map(u64::to_string).collect();
        let mut copies: Vec<f64> = d.rates.iter().map(|rate| rate.copy_gb_per_s).collect();
        copies.sort_by(f64::total_cmp);
        let of = |name: &str, pass: &str| {
            let mut rates = d.rates.iter();
            rates.find(|rate| rate.function == name && rate.pass == pass)
        };
        let one_shot = of("relu", "forward").and_then(|rate| rate.one_shot_gb_per_s);
        let mut row = vec![
            format!("{} {}", d.name, d.interface).trim().to_owned(),
            format!("[{}]", shape.join(", ")),
            format!("{:.1}", copies[copies.len() / 2]),
            one_shot.map_or_else(String::new, |rate| format!("{rate:.1}")),
        ];
        row.extend(functions.iter().map(|name| {
            let rates = ["forward", "backward"].map(|pass| of(name, pass));
            let share = |rate: Option<&Rate>| match rate {
                Some(rate) => format!("{:.0} %", 100.0 * rate.share_of_copy),
                None => "–".to_owned(),
            };
            match rates {
                [None, None] => String::new(),
                rates => rates.map(share).join(", "),
            }
        }));
        out += &line(&row);
    }
    out.push('\n');
    out
}

/// A row of a table; what a driver calls itself may have any sign in it.
fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "format": "activations report, 1", "version": "0.1.0",
        "system": {"os": "linux", "architecture": "x86_64", "threads": 8},
        "adapters": [{"index": 3, "name": "Some GPU | 2", "backend": "vulkan", "driver": "d 1",
                      "self_check": {"passed": true}}],
        "backends": [
            {"backend": "gpu: Some GPU | 2", "adapter": 3, "error": null, "shape": [4, 8],
             "check": [
                {"function": "gelu", "pass": "forward", "passed": true, "max_ulp": 1.5},
                {"function": "tanh", "pass": "backward", "passed": false, "max_ulp": "inf"}],
             "upstream": [
                {"function": "elu(alpha=2)", "pass": "any dy", "passed": false, "max_ulp": 9}],
             "f16": [{"inputs": 65536, "wrong": 0}], "bf16": [{"inputs": 9, "wrong": 1}],
             "left_out": ["rate of relu"],
             "rates": [{"function": "gelu", "pass": "forward", "median_gb_per_s": 401.26,
                        "copy_median_gb_per_s": 407.4, "share_of_copy": 0.985, "one_shot_gb_per_s": 9.04}]},
            {"backend": "cpu: 8 threads, avx2; asked for", "adapter": null, "error": null,
             "shape": [4, 8], "check": [], "upstream": [], "f16": [], "bf16": [], "left_out": [], "rates": []}
        ]
    }"#;

    #[test]
    fn a_report_is_a_line_for_each_backend() {
        let devices = of_report(REPORT).unwrap();
        let [gpu, cpu] = &devices[..] else {
            panic!("{devices:?}");
        };
        assert_eq!(gpu.name, "Some GPU | 2");
        assert_eq!(gpu.forward.max_ulp, 1.5);
        assert_eq!(gpu.backward.max_ulp, f64::MAX);
        assert_eq!(gpu.backward.outside, ["tanh", "elu(alpha=2)"]);
        assert_eq!(gpu.self_check, Some(true));
        assert_eq!((cpu.name.as_str(), cpu.self_check), ("CPU, avx2", None));
        assert!(of_report("{}").is_none() && of_report("text").is_none());
        assert!(of_report(&REPORT.replace("report, 1", "report, 2")).is_none());
    }

    #[test]
    fn a_device_is_replaced_and_others_stay() {
        let new = of_report(REPORT).unwrap();
        let mut devices = new.clone();
        devices[0].version = "0.0.1".to_owned();
        devices[1].system = "another".to_owned();
        merge(&mut devices, new.clone());
        assert_eq!(devices.len(), 3);
        assert!(devices.contains(&new[0]) && devices.contains(&new[1]));
    }

    #[test]
    fn breaches_are_named_in_the_tables() {
        let text = tables(&of_report(REPORT).unwrap());
        let row = "| passed | 3 | **elu(alpha=2), tanh** | 1.50, inf | 0.1, 0 | 0.0, **1** | 1 |";
        assert!(text.contains(row), "{text}");
        let rates = "| Some GPU \\| 2 vulkan | [4, 8] | 407.4 |  | 98 %, – |";
        assert!(text.contains(rates), "{text}");
        // Of a backend without rates there is no row.
        assert_eq!(text.matches("CPU, avx2").count(), 1, "{text}");
    }
}
