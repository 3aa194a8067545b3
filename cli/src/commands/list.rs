//! `activations list`: the catalogue.

use crate::error::CliError;
use crate::operations::{self, Entry};
use crate::terminal;

/// Prints the catalogue.
pub fn list(json: bool) -> Result<(), CliError> {
    let entries: Vec<Entry> = operations::all().iter().map(|o| o.entry()).collect();
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
            let (name, default, range) = (p.name, &p.default, &p.range);
            row("", format!("  -p {name}={default}, {range}"));
        }
    }
    let mut text = terminal::table(&rows, &[]);
    text += "\nA line with -p is a parameter with its default and its range; a default that is a\n\
             fraction is exactly that, as no value that is given can be. Functions along an axis\n\
             take --axis: -1 by default, 1 for cross_entropy, nll_loss, prelu and maxout.\n";
    terminal::print(&text)
}
