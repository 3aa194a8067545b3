//! `activations list`: the catalogue.

use crate::error::CliError;
use crate::function::Function;
use crate::terminal::{self, Number};
use serde::Serialize;

/// A function as the list shows it.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    kind: &'static str,
    aliases: &'static [&'static str],
    parameters: Vec<ParameterEntry>,
    summary: &'static str,
    formula: &'static str,
    gradient: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

#[derive(Serialize)]
struct ParameterEntry {
    name: &'static str,
    default: Number<f32>,
    range: String,
}

impl Entry {
    fn new(function: Function) -> Self {
        match function {
            Function::Elementwise(a) => {
                let info = a.info();
                let parameters = info.parameters.iter().map(|p| ParameterEntry {
                    name: p.name,
                    default: Number(p.default),
                    range: p.range.to_string(),
                });
                Self {
                    name: info.name,
                    kind: "elementwise",
                    aliases: info.aliases,
                    parameters: parameters.collect(),
                    summary: info.summary.trim(),
                    formula: info.formula,
                    gradient: info.derivative,
                    source: Some(info.source),
                }
            }
            Function::Axis(g) => Self {
                name: g.name(),
                kind: "axis",
                aliases: g.aliases(),
                parameters: Vec::new(),
                summary: if g.reduces() {
                    "Along an axis, which it reduces."
                } else {
                    "Along an axis."
                },
                formula: g.formula(),
                gradient: g.gradient(),
                source: None,
            },
        }
    }
}

/// Prints the catalogue.
pub fn list(json: bool) -> Result<(), CliError> {
    let entries: Vec<Entry> = Function::all().map(Entry::new).collect();
    if json {
        return terminal::print_json(&entries);
    }
    let mut rows = Vec::new();
    for entry in &entries {
        let mut row = |first: &str, second: String| rows.push(vec![first.to_owned(), second]);
        row(entry.name, entry.formula.to_owned());
        if !entry.aliases.is_empty() {
            row("", format!("  also called {}", entry.aliases.join(", ")));
        }
        for p in &entry.parameters {
            let (name, default, range) = (p.name, p.default.0, &p.range);
            row("", format!("  -p {name}={default}, {range}"));
        }
    }
    let mut text = terminal::table(&rows, &[]);
    text += "\nA line with -p is a parameter with its default and its range. The last functions,\n\
             the softmax family, run along an axis: --axis=-1 by default.\n";
    terminal::print(&text)
}
