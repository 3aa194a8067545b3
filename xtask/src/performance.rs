//! What is measured on this machine, written into docs/performance.md: the tables that
//! `activations bench --json` fills, and those of a report of benches/peers.

use crate::{Outcome, cargo};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = "docs/performance.md";
const BACKENDS: [&str; 2] = ["gpu", "cpu"];
const PASSES: [&str; 2] = ["forward", "backward"];
const ROW_FUNCTIONS: [&str; 2] = ["softmax", "log_softmax"];
/// Rows of every length that matters, of the usual 4 Mi elements.
const ROW_SHAPES: [&str; 6] = [
    "2097152,2",
    "65536,64",
    "4096,1024",
    "137,30522",
    "64,65536",
    "4,1048576",
];
const SIZE_FUNCTIONS: [&str; 3] = ["relu", "gelu", "softmax"];
const SIZES: [&str; 4] = ["1024,1024", "4096,4096", "8192,8192", "16384,16384"];

/// Measures, and writes the tables between their marks; with reports of peers, only theirs.
pub fn write(arguments: &[&str]) -> Outcome {
    let path = cargo::root().join(PAGE);
    let mut page = read(&path)?;
    if arguments.is_empty() {
        let activations = build()?;
        let bench = |backend: &str, shape: &str, functions: &[&str]| {
            Bench::run(&activations, backend, shape, functions)
        };
        let mut of_functions = Vec::new();
        for backend in BACKENDS {
            of_functions.push(bench(backend, "4096,1024", &[])?);
        }
        page = between(&page, "functions", &functions(&of_functions))?;
        for (section, shapes, names, cells) in [
            ("rows", &ROW_SHAPES[..], &ROW_FUNCTIONS[..], Cells::Shares),
            ("sizes", &SIZES, &SIZE_FUNCTIONS, Cells::Rates),
        ] {
            let mut by_shape = Vec::new();
            for &shape in shapes {
                for backend in BACKENDS {
                    by_shape.push(bench(backend, shape, names)?);
                }
            }
            page = between(&page, section, &by_shapes(&by_shape, names, &cells))?;
        }
    }
    for report in arguments {
        let text = read(Path::new(report))?;
        let report: Value = serde_json::from_str(&text).map_err(|e| format!("{report}: {e}"))?;
        let table = peers(&report).ok_or("that is no report of benches/peers")?;
        page = between(&page, "peers", &table)?;
    }
    std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The command line, optimised: what is timed.
fn build() -> Result<PathBuf, String> {
    cargo::run(&["build", "--release", "--workspace", "--bins"], &[])?;
    Ok(cargo::target_directory()?
        .join("release")
        .join("activations"))
}

/// The page with `new` between the marks of a section.
fn between(page: &str, section: &str, new: &str) -> Result<String, String> {
    let begin = format!("<!-- {section}: written by `cargo xtask performance` -->\n");
    let end = format!("<!-- end of {section} -->");
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{new}{end}{after}"))
    });
    parts.ok_or_else(|| format!("{PAGE} lacks the marks of its section `{section}`"))
}

/// One run of `activations bench`.
struct Bench {
    /// The backend as it describes itself.
    backend: String,
    shape: String,
    /// By function and pass: share of the copy and GB/s.
    results: Vec<(String, String, f64, f64)>,
}

impl Bench {
    fn run(
        activations: &Path,
        backend: &str,
        shape: &str,
        functions: &[&str],
    ) -> Result<Self, String> {
        let output = Command::new(activations)
            .args(["bench", "--json", "--backend", backend, "--shape", shape])
            .args(functions)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("{}: {e}", activations.display()))?;
        let read = serde_json::from_slice(&output.stdout).ok();
        let read = read.and_then(|value| Self::read(&value));
        read.ok_or_else(|| {
            format!("`activations bench --backend {backend} --shape {shape}` failed")
        })
    }

    fn read(value: &Value) -> Option<Self> {
        let shape = value["shape"].as_array()?;
        let shape: Vec<String> = shape.iter().map(Value::to_string).collect();
        let results = value["results"].as_array()?.iter().map(|entry| {
            Some((
                entry["function"].as_str()?.to_owned(),
                entry["pass"].as_str()?.to_owned(),
                entry["share_of_copy"].as_f64()?,
                entry["median_gb_per_s"].as_f64()?,
            ))
        });
        Some(Self {
            backend: value["backend"].as_str()?.to_owned(),
            shape: format!("[{}]", shape.join(", ")),
            results: results.collect::<Option<_>>()?,
        })
    }

    fn find(&self, function: &str, pass: &str) -> Option<(f64, f64)> {
        let of = self
            .results
            .iter()
            .find(|(f, p, ..)| f == function && p == pass);
        of.map(|&(_, _, share, rate)| (share, rate))
    }
}

/// What a cell shows.
enum Cells {
    /// Shares of the copy beside it.
    Shares,
    /// GB/s.
    Rates,
}

impl Cells {
    fn of(&self, found: Option<(f64, f64)>) -> String {
        match (self, found) {
            (_, None) => String::new(),
            (Self::Shares, Some((share, _))) => format!("{:.0} %", 100.0 * share),
            (Self::Rates, Some((_, rate))) => format!("{rate:.1}"),
        }
    }
}

/// The backends that were measured, each once.
fn described(benches: &[Bench]) -> String {
    let mut names: Vec<&str> = benches.iter().map(|b| b.backend.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| format!("- {name}\n")).collect()
}

/// A row for each function: its shares of the copy, forward and backward, on each backend.
fn functions(benches: &[Bench]) -> String {
    let mut out = described(benches);
    out += "\n| Function | gpu forward | gpu backward | cpu forward | cpu backward |\n|---|--:|--:|--:|--:|\n";
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in benches.iter().flat_map(|b| &b.results) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let _ = write!(out, "| `{name}` |");
        for bench in benches {
            for pass in PASSES {
                let _ = write!(out, " {} |", Cells::Shares.of(bench.find(name, pass)));
            }
        }
        out.push('\n');
    }
    out
}

/// A row for each shape: every function, forward and backward, on each backend.
fn by_shapes(benches: &[Bench], names: &[&str], cells: &Cells) -> String {
    let mut out = String::from("| Shape |");
    for backend in BACKENDS {
        for name in names {
            let _ = write!(out, " {backend} `{name}` | its gradient |");
        }
    }
    let columns = BACKENDS.len() * PASSES.len() * names.len();
    let _ = writeln!(out, "\n|---|{}", "--:|".repeat(columns));
    for pair in benches.chunks(BACKENDS.len()) {
        let _ = write!(out, "| {} |", pair[0].shape);
        for bench in pair {
            for name in names {
                for pass in PASSES {
                    let _ = write!(out, " {} |", cells.of(bench.find(name, pass)));
                }
            }
        }
        out.push('\n');
    }
    out
}

/// A peer in a place and a direction: the least, the median and the largest ratio, and the case of
/// the least.
struct Peer {
    ratios: Vec<(f64, String)>,
    different: usize,
}

/// What a report of benches/peers says: the versions, a row for each peer, and softmax by shape.
fn peers(report: &Value) -> Option<String> {
    let mut out = String::new();
    for peer in report["peers"].as_array()? {
        let text = |key: &str| peer[key].as_str();
        let (name, version, how) = (text("name")?, text("version")?, text("how")?);
        let _ = writeln!(out, "- {name} {version} ({}): {how}", text("place")?);
    }
    let mut all: BTreeMap<(String, String, String), Peer> = BTreeMap::new();
    let cases = report["cases"].as_array()?;
    for case in cases {
        let text = |key: &str| case[key].as_str().map(str::to_owned);
        let (function, direction) = (text("function")?, text("direction")?);
        let name = format!("`{function}` [{}, {}]", case["rows"], case["columns"]);
        for entry in case["entries"].as_array()? {
            let peer = entry["peer"].as_str()?.to_owned();
            let Some(ratio) = entry["times_ours"].as_f64().filter(|_| peer != "ours") else {
                continue;
            };
            let key = (entry["place"].as_str()?.to_owned(), direction.clone(), peer);
            let peer = all.entry(key).or_insert(Peer {
                ratios: Vec::new(),
                different: 0,
            });
            // Infinities are no numbers in JSON.
            let deviation = &entry["deviation"];
            let is_same = entry["is_same"].as_bool().unwrap_or(true);
            peer.different += usize::from(!is_same && !deviation.is_null());
            peer.ratios.push((ratio, name.clone()));
        }
    }
    out += "\n| Where | Peer | Cases | least | at | median | largest | another function |\n|---|---|--:|--:|---|--:|--:|--:|\n";
    for ((place, direction, peer), mut found) in all {
        found.ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = found.ratios.len();
        let (least, at) = &found.ratios[0];
        let (median, largest) = (found.ratios[count / 2].0, found.ratios[count - 1].0);
        let _ = writeln!(
            out,
            "| {place} {direction} | {peer} | {count} | {least:.2} | {at} | {median:.2} | {largest:.2} | {} |",
            found.different
        );
    }
    Some(out + &tables(cases)?)
}

/// The peers' own columns, case by case.
fn tables(cases: &[Value]) -> Option<String> {
    let mut out = String::new();
    for place in ["cpu", "gpu"] {
        for direction in PASSES {
            let of: Vec<&Value> = cases
                .iter()
                .filter(|case| case["direction"] == direction)
                .collect();
            let entries = |case: &Value| -> Vec<Value> {
                let all = case["entries"].as_array().cloned().unwrap_or_default();
                all.into_iter()
                    .filter(|e| e["place"] == place && e["times_ours"].is_number())
                    .collect()
            };
            let mut names: Vec<String> = Vec::new();
            for entry in of.iter().flat_map(|case| entries(case)) {
                let name = entry["peer"].as_str()?.to_owned();
                if name != "ours" && !names.contains(&name) {
                    names.push(name);
                }
            }
            if names.is_empty() {
                continue;
            }
            let _ = write!(
                out,
                "\n{place}, {direction}:\n\n| Function | Shape | ours, GB/s |"
            );
            for name in &names {
                let _ = write!(out, " {name} |");
            }
            let _ = writeln!(out, "\n|---|---|--:|{}", "--:|".repeat(names.len()));
            for case in of {
                let entries = entries(case);
                let of_peer = |name: &str| entries.iter().find(|e| e["peer"] == name);
                let rate = of_peer("ours").and_then(|e| e["gb_per_s"].as_f64());
                let rate = rate.map_or(String::new(), |r| format!("{r:.1}"));
                let (rows, columns) = (&case["rows"], &case["columns"]);
                let function = case["function"].as_str()?;
                let _ = write!(out, "| `{function}` | [{rows}, {columns}] | {rate} |");
                for name in &names {
                    let ratio = of_peer(name).and_then(|e| e["times_ours"].as_f64());
                    let _ = write!(
                        out,
                        " {} |",
                        ratio.map_or(String::new(), |r| format!("{r:.2}"))
                    );
                }
                out.push('\n');
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bench(backend: &str) -> Bench {
        let entry = |pass: &str, share: f64| {
            json!({"function": "softmax", "pass": pass, "share_of_copy": share,
                   "median_gb_per_s": 10.0 * share})
        };
        let value = json!({"backend": backend, "shape": [2, 3],
            "results": [entry("forward", 0.5), entry("backward", 1.25)]});
        Bench::read(&value).unwrap()
    }

    #[test]
    fn tables_show_shares_and_rates() {
        let benches = [bench("gpu: x"), bench("cpu: y")];
        let text = functions(&benches);
        assert!(text.contains("- cpu: y\n- gpu: x\n"), "{text}");
        assert!(
            text.contains("| `softmax` | 50 % | 125 % | 50 % | 125 % |\n"),
            "{text}"
        );
        let text = by_shapes(&benches, &["softmax"], &Cells::Rates);
        assert!(
            text.contains("| [2, 3] | 5.0 | 12.5 | 5.0 | 12.5 |\n"),
            "{text}"
        );
        assert!(Bench::read(&json!({"shape": []})).is_none());
    }

    #[test]
    fn only_what_lies_between_the_marks_changes() {
        let mark = "<!-- rows: written by `cargo xtask performance` -->\n";
        let page = format!("a\n{mark}old\n<!-- end of rows -->\nb");
        let new = between(&page, "rows", "new\n").unwrap();
        assert_eq!(new, format!("a\n{mark}new\n<!-- end of rows -->\nb"));
        assert!(between(&page, "sizes", "new").is_err());
    }

    #[test]
    fn peers_are_summed_up() {
        let entry = |peer: &str, ratio: f64| {
            json!({"peer": peer, "place": "cpu", "times_ours": ratio, "gb_per_s": 8.0,
                   "deviation": 0.5, "is_same": ratio < 3.0})
        };
        let case = |columns: u32, ratio: f64| {
            json!({"function": "relu", "direction": "forward", "rows": 4, "columns": columns,
                   "entries": [entry("ours", 1.0), entry("other", ratio)]})
        };
        let report = json!({
            "peers": [{"name": "other", "version": "3", "place": "cpu", "how": "so"}],
            "cases": [case(2, 2.0), case(64, 1.5), case(1024, 4.0)],
        });
        let text = peers(&report).unwrap();
        assert!(text.contains("- other 3 (cpu): so\n"), "{text}");
        let row = "| cpu forward | other | 3 | 1.50 | `relu` [4, 64] | 2.00 | 4.00 | 1 |\n";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("| `relu` | [4, 1024] | 8.0 | 4.00 |\n"),
            "{text}"
        );
        assert!(peers(&json!({})).is_none());
    }

    #[test]
    fn the_page_has_every_section() {
        let page = read(&cargo::root().join(PAGE)).unwrap();
        for section in ["functions", "rows", "sizes", "peers"] {
            assert!(between(&page, section, "").is_ok(), "{section}");
        }
    }
}
