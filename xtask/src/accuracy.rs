//! What exhaustive checks found: their reports merged into `docs/accuracy.jsonl`, from which the
//! table of docs/accuracy.md is written, and the worst inputs into `src/check/worst.rs`.

use crate::{Outcome, cargo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

const DATA: &str = "docs/accuracy.jsonl";
const PAGE: &str = "docs/accuracy.md";
const WORST: &str = "src/check/worst.rs";
/// The page with the table of functions.
const FUNCTIONS: &str = "docs/functions.md";
const BEGIN: &str = "<!-- exhaustive: written by `cargo xtask accuracy` -->\n";
const END: &str = "<!-- end of exhaustive -->";
const TABLE_BEGIN: &str = "pub(super) const WORST: &[(&str, &[u32])] = &[\n";
const TABLE_END: &str = "];\n";
const PASSES: [&str; 2] = ["forward", "backward"];

/// A line of the data: what one report found of a function, a direction and a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    function: String,
    pass: String,
    /// A column of the table: `lavapipe`, `SwiftShader`, `cpu`.
    place: String,
    backend: String,
    inputs: u64,
    bound: f64,
    passed: bool,
    max_ulp: f64,
    /// None where no result was off.
    worst_input: Option<f32>,
    worst_input_bits: Option<String>,
    outside: u64,
    nan_mismatches: u64,
    flushed: u64,
}

/// Merges the reports and writes the pages anew.
pub fn write(reports: &[&str]) -> Outcome {
    let root = cargo::root();
    let mut found: Vec<Found> = rows(DATA)?;
    for report in reports {
        let text = read(Path::new(report))?;
        let new = of_report(&text).ok_or(format!(
            "{report}: no report of `activations check --exhaustive`"
        ))?;
        merge(&mut found, new);
    }
    let functions = read(&root.join(FUNCTIONS))?;
    let order = catalogue(&functions);
    let place = |f: &Found| order.iter().position(|name| *name == f.function);
    found.sort_by_key(|f| (place(f), f.place.clone(), f.pass != PASSES[0]));

    let worst =
        with_worst(&read(&root.join(WORST))?, &found).ok_or(format!("{WORST} lacks its table"))?;
    let page = read(&root.join(PAGE))?;
    let page = between(&page, BEGIN, END, &table(&found)).ok_or(format!(
        "{PAGE} lacks the marks between which the table goes"
    ))?;
    let lines: Result<Vec<String>, _> = found.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|e| e.to_string())?.join("\n") + "\n";
    for (path, text) in [(DATA, lines), (PAGE, page), (WORST, worst)] {
        std::fs::write(root.join(path), text).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

/// The rows of a file of the project with one JSON object a line.
pub fn rows<T: DeserializeOwned>(file: &str) -> Result<Vec<T>, String> {
    read(&cargo::root().join(file))?
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{file}: {e}")))
        .collect()
}

/// A file's text.
pub fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a report's finished checks found; none where it is none.
fn of_report(text: &str) -> Option<Vec<Found>> {
    let report: Value = serde_json::from_str(text).ok()?;
    let backends = report["backends"].as_array()?;
    let mut found = Vec::new();
    for check in report["checks"].as_array()? {
        let inputs = check["inputs"].as_u64()?;
        if check["done"].as_u64()? != inputs {
            continue;
        }
        for (backend, entry) in backends.iter().zip(check["results"].as_array()?) {
            let backend = backend.as_str()?;
            let bits = entry["worst_input_bits"].as_str().map(str::to_owned);
            found.push(Found {
                function: check["function"].as_str()?.to_owned(),
                pass: check["pass"].as_str()?.to_owned(),
                place: place(backend),
                backend: backend.to_owned(),
                inputs,
                bound: check["bound"].as_f64()?,
                passed: entry["passed"].as_bool()?,
                // An infinity is text, and one that JSON has no number for.
                max_ulp: entry["max_ulp"].as_f64().unwrap_or(f64::MAX),
                worst_input: bits.as_deref().and_then(from_bits),
                worst_input_bits: bits,
                outside: entry["outside"].as_u64()?,
                nan_mismatches: entry["nan_mismatches"].as_u64()?,
                flushed: entry["flushed"].as_u64()?,
            });
        }
    }
    Some(found)
}

fn from_bits(hex: &str) -> Option<f32> {
    let bits = u32::from_str_radix(hex.strip_prefix("0x")?, 16).ok()?;
    Some(f32::from_bits(bits)).filter(|x| x.is_finite())
}

/// The column that a backend belongs to.
fn place(backend: &str) -> String {
    let known = [
        ("SwiftShader", "SwiftShader"),
        ("llvmpipe", "lavapipe"),
        ("cpu: ", "cpu"),
    ];
    let column = known.iter().find(|(part, _)| backend.contains(part));
    column.map_or(backend, |(_, column)| column).to_owned()
}

/// Puts what is new in the place of what it measures again.
fn merge(found: &mut Vec<Found>, new: Vec<Found>) {
    let key = |f: &Found| (f.function.clone(), f.pass.clone(), f.place.clone());
    let again: BTreeSet<_> = new.iter().map(key).collect();
    found.retain(|f| !again.contains(&key(f)));
    found.extend(new);
}

/// The functions' names in the order of the page's table, which is the catalogue's.
fn catalogue(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// `text` with `new` between the marks; none where they are not there.
pub fn between(text: &str, begin: &str, end: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{new}{end}{after}"))
}

/// The table of worst inputs with those of `found` added.
fn with_worst(text: &str, found: &[Found]) -> Option<String> {
    let (_, rest) = text.split_once(TABLE_BEGIN)?;
    let (rows, _) = rest.split_once(TABLE_END)?;
    let mut worst: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.lines() {
        let name = row.split('"').nth(1)?;
        let hex = row.split(['[', ']', ',', ' ']);
        let bits = hex.filter(|word| word.starts_with("0x"));
        worst.entry(name).or_default().extend(bits);
    }
    for f in found {
        let bits = f.worst_input_bits.as_deref();
        worst.entry(&f.function).or_default().extend(bits);
    }
    let mut new = String::new();
    for (name, bits) in worst.iter().filter(|(_, bits)| !bits.is_empty()) {
        let bits: Vec<&str> = bits.iter().copied().collect();
        // Writing to a String does not fail.
        let _ = writeln!(new, "    (\"{name}\", &[{}]),", bits.join(", "));
    }
    between(text, TABLE_BEGIN, TABLE_END, &new)
}

/// The page's table: a row for each function, the places side by side.
fn table(found: &[Found]) -> String {
    // What was measured later may be on other cores.
    let mut backends: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut functions: Vec<&str> = Vec::new();
    for f in found {
        let of_place = backends.entry(&f.place).or_default();
        of_place.insert(&f.backend);
        if !functions.contains(&f.function.as_str()) {
            functions.push(&f.function);
        }
    }
    // lavapipe first, the CPU last.
    let mut places: Vec<&str> = backends.keys().copied().collect();
    places.sort_by_key(|place| (*place == "cpu", *place != "lavapipe"));

    let mut out = String::new();
    for place in &places {
        let all: Vec<&str> = backends[place].iter().copied().collect();
        let _ = writeln!(out, "- {place}: {}", all.join(", and "));
    }
    let columns = places
        .iter()
        .flat_map(|place| PASSES.map(|pass| format!(" {place} {pass} |")));
    let columns: Vec<String> = columns.collect();
    let rule = "--:|".repeat(columns.len());
    let _ = writeln!(out, "\n| Function |{}\n|---|{rule}", columns.concat());
    for function in &functions {
        let _ = write!(out, "| `{function}` |");
        for place in &places {
            for pass in PASSES {
                let cell = found
                    .iter()
                    .find(|f| f.function == *function && f.place == *place && f.pass == pass)
                    .map_or(String::new(), cell);
                let _ = write!(out, " {cell} |");
            }
        }
        out.push('\n');
    }
    let outside: Vec<&Found> = found.iter().filter(|f| !f.passed).collect();
    if outside.is_empty() {
        out += "\nNothing is outside its bound.\n";
    } else {
        out += "\nOutside their bounds:\n\n| Function | Where | Max ULP | Bound | Results outside | NaN wrong |\n|---|---|--:|--:|--:|--:|\n";
    }
    for f in outside {
        let _ = writeln!(
            out,
            "| `{}` | {} {} | {:.2} | {} | {} | {} |",
            f.function, f.place, f.pass, f.max_ulp, f.bound, f.outside, f.nan_mismatches
        );
    }
    out
}

/// The largest error and its input: bold outside the bound, in italics where not all 2^32 inputs
/// were run.
fn cell(f: &Found) -> String {
    let mark = match (f.passed, f.inputs == 1 << 32) {
        (false, _) => "**",
        (true, true) => "",
        (true, false) => "*",
    };
    let at = f.worst_input.map(|x| format!(" at {x:?}"));
    format!("{mark}{:.2}{mark}{}", f.max_ulp, at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "format": "f", "program": "p", "bits": {"first": "0x00000000"},
        "backends": ["gpu: llvmpipe (LLVM) on vulkan", "cpu: 2 threads"],
        "checks": [
            {"function": "gelu", "pass": "forward", "bound": 2.0, "inputs": 4294967296, "done": 4294967296,
             "results": [
                {"passed": false, "max_ulp": 2.46, "worst_input_bits": "0xc00cddcf", "outside": 3,
                 "nan_mismatches": 0, "flushed": 1},
                {"passed": true, "max_ulp": 0.0, "worst_input_bits": null, "outside": 0,
                 "nan_mismatches": 0, "flushed": 0}]},
            {"function": "gelu", "pass": "backward", "bound": 4.0, "inputs": 4294967296, "done": 7,
             "results": []}
        ]
    }"#;

    #[test]
    fn finished_checks_are_taken_and_replace_older_ones() {
        let new = of_report(REPORT).unwrap();
        assert_eq!(new.len(), 2);
        assert_eq!(new[0].place, "lavapipe");
        assert_eq!(new[0].worst_input, Some(-2.201_038_1));
        assert_eq!((new[1].place.as_str(), new[1].worst_input), ("cpu", None));
        let mut found = new.clone();
        found[0].max_ulp = 9.0;
        found[1].pass = "backward".to_owned();
        merge(&mut found, new);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|f| f.max_ulp < 3.0));
        assert!(of_report("{}").is_none() && of_report("text").is_none());
    }

    #[test]
    fn the_table_has_a_column_for_each_place_and_marks_breaches() {
        let mut found = of_report(REPORT).unwrap();
        found[1].inputs = 100;
        let text = table(&found);
        assert!(
            text.contains("- lavapipe: gpu: llvmpipe (LLVM) on vulkan\n"),
            "{text}"
        );
        let head =
            "| Function | lavapipe forward | lavapipe backward | cpu forward | cpu backward |";
        assert!(text.contains(head), "{text}");
        assert!(
            text.contains("| `gelu` | **2.46** at -2.2010381 |  | *0.00* |  |"),
            "{text}"
        );
        assert!(
            text.contains("| `gelu` | lavapipe forward | 2.46 | 2 | 3 | 0 |"),
            "{text}"
        );
        assert!(table(&found[1..]).ends_with("Nothing is outside its bound.\n"));
    }

    #[test]
    fn worst_inputs_are_added_and_none_goes() {
        let text = format!(
            "head\n{TABLE_BEGIN}    (\"abs\", &[0x2]),\n    (\"gelu\", &[0x1, 0x3]),\n{TABLE_END}tail"
        );
        let found = of_report(REPORT).unwrap();
        let new = with_worst(&text, &found).unwrap();
        let rows = "    (\"abs\", &[0x2]),\n    (\"gelu\", &[0x1, 0x3, 0xc00cddcf]),\n";
        assert_eq!(new, format!("head\n{TABLE_BEGIN}{rows}{TABLE_END}tail"));
        assert_eq!(with_worst(&new, &found).as_ref(), Some(&new));
        assert_eq!(with_worst("no table", &found), None);
    }

    #[test]
    fn the_catalogue_is_read_from_its_page() {
        let page = read(&cargo::root().join(FUNCTIONS)).unwrap();
        let names = catalogue(&page);
        let at = |name: &str| names.iter().position(|n| *n == name);
        assert!(at("relu").unwrap() < at("gelu").unwrap(), "{names:?}");
    }
}
