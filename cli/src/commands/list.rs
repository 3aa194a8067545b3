//! `activations list`: the catalogue.

use crate::error::CliError;
use crate::operations::is_only_flag;
use crate::terminal;
use serde::Serialize;
use serde_json::Value;
use wgpu_activations::{OperationInfo, OptionInfo, OptionKind, operations};

/// A function.
#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    family: &'static str,
    aliases: &'static [&'static str],
    /// The arrays of each form that it has; a flag names those that may be missing.
    inputs: Vec<Vec<&'static str>>,
    /// What `-p` takes.
    parameters: Vec<Parameter>,
    summary: &'static str,
    formula: &'static str,
    gradient: &'static str,
    source: &'static str,
}

/// A parameter of a function.
#[derive(Debug, Serialize)]
struct Parameter {
    name: &'static str,
    default: Value,
    range: String,
}

impl From<OptionInfo> for Parameter {
    fn from(option: OptionInfo) -> Self {
        let default = option.default.unwrap_or_else(|| "none".to_owned());
        let range = match option.kind {
            OptionKind::Choice(words) => format!("{}: {}", words.join(" or "), option.meaning),
            _ => option.meaning,
        };
        Self {
            name: option.name,
            // A number where it is one; a fraction or an infinity is a text.
            default: serde_json::from_str(&default).unwrap_or(Value::String(default)),
            range,
        }
    }
}

impl From<OperationInfo> for Entry {
    fn from(info: OperationInfo) -> Self {
        let options = info.options.into_iter();
        let parameters = options.filter(|option| !is_only_flag(option.name));
        Self {
            name: info.name,
            family: info.family,
            aliases: info.aliases,
            inputs: info
                .forms
                .iter()
                .map(|form| form.iter().map(|input| input.name).collect())
                .collect(),
            parameters: parameters.map(Parameter::from).collect(),
            summary: info.summary,
            formula: info.formula,
            gradient: info.gradient,
            source: info.source,
        }
    }
}

/// Prints the catalogue.
pub fn list(json: bool) -> Result<(), CliError> {
    let entries: Vec<Entry> = operations().map(Entry::from).collect();
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
            let default = match &p.default {
                Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            let (name, range) = (p.name, &p.range);
            row("", format!("  -p {name}={default}, {range}"));
        }
    }
    let mut text = terminal::table(&rows, &[]);
    text += "\nA line with -p is a parameter with its default and its range; a default that is a\n\
             fraction is exactly that, as no value that is given can be. Functions along an axis\n\
             take --axis: -1 by default, 1 for cross_entropy, nll_loss and prelu, -3 for softmax2d.\n";
    terminal::print(&text)
}
