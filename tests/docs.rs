//! Tables of the documentation that are the registry's. `UPDATE_DOCS=1` writes them anew.

use std::fmt::Write;
use std::path::Path;
use wgpu_activations::{Gate, OperationInfo, Order, Way, operations};

/// A page's table: the page, the word in its marks, and what it must be.
type Table = (&'static str, &'static str, fn() -> String);

const TABLES: [Table; 2] = [
    ("docs/functions.md", "functions", functions),
    ("docs/rust.md", "ways", ways),
];

#[test]
fn tables_are_the_registrys() {
    for (page, name, table) in TABLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let fresh = with_table(&text, name, &table()).expect("the page has the two marks");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == fresh, "{page} is stale: run `cargo xtask docs`");
    }
}

#[test]
fn a_stale_table_is_seen() {
    let fresh = |page: &str| with_table(page, "functions", &functions());
    let marked = "before\n<!-- functions: written by `cargo xtask docs` -->\n<!-- end of functions -->\nafter\n";
    let page = fresh(marked).unwrap();
    assert_eq!(fresh(&page).unwrap(), page);
    let stale = page.replace("`gelu`", "`gelo`");
    assert_ne!(stale, page);
    assert_ne!(fresh(&stale).unwrap(), stale);
    assert_eq!(fresh("no marks"), None);
}

/// The page with the table between its marks.
fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let begin = format!("<!-- {name}: written by `cargo xtask docs` -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{table}{end}{after}"))
}

/// Every function: value, options, names, source.
fn functions() -> String {
    let mut out = String::from(
        "| Function | f(x) | Options and their defaults | Also called | From |\n\
         |---|---|---|---|---|\n",
    );
    for info in operations() {
        let formula = info.formula.replace('|', "\\|");
        let options = info.options.iter().map(|option| match &option.default {
            Some(default) => format!("`{}` {default}", option.name),
            None => format!("`{}`", option.name),
        });
        let options = options.collect::<Vec<_>>().join(", ");
        let aliases = info
            .aliases
            .iter()
            .map(|alias| match first_of(&info, alias) {
                Some(first) => format!("`{alias}` ({first} first)"),
                None => format!("`{alias}`"),
            });
        let aliases = aliases.collect::<Vec<_>>().join(", ");
        let (name, source) = (info.name, info.source);
        writeln!(
            out,
            "| `{name}` | `{formula}` | {options} | {aliases} | {source} |"
        )
        .unwrap();
    }
    out
}

/// What an array has first, where a gate's name says another order than the gate.
fn first_of(info: &OperationInfo, alias: &str) -> Option<&'static str> {
    let [gate, alias] = [info.name, alias].map(|name| name.parse::<Gate>().ok());
    let (gate, alias) = (gate?, alias?);
    (gate.order() != alias.order()).then(|| match alias.order() {
        Order::ValueFirst => "value",
        Order::GateFirst => "gate",
    })
}

/// Operations that miss the same ways, with a name for them together.
fn groups() -> Vec<(String, OperationInfo)> {
    let mut groups: Vec<(Vec<&'static str>, OperationInfo)> = Vec::new();
    for info in operations() {
        let same = |group: &&mut (Vec<_>, OperationInfo)| {
            group.1.family == info.family && group.1.missing == info.missing
        };
        match groups.iter_mut().find(same) {
            Some((names, _)) => names.push(info.name),
            None => groups.push((vec![info.name], info)),
        }
    }
    let groups = groups.into_iter().map(|(names, info)| {
        let name = match info.family {
            "activation" => format!("{} activations", names.len()),
            "gate" => "gates".to_owned(),
            _ => names.join(", "),
        };
        (name, info)
    });
    groups.collect()
}

/// Which operations run which of the ways that are not everyone's.
fn ways() -> String {
    let groups = groups();
    let names = groups.iter().map(|(name, _)| format!(" {name} |"));
    let mut out = format!("| |{}\n|---|", names.collect::<String>());
    out += &"---|".repeat(groups.len());
    out.push('\n');
    let mut reasons: Vec<&'static str> = Vec::new();
    for way in Way::ALL {
        write!(out, "| {way} |").unwrap();
        for (_, info) in &groups {
            let missing = info.missing.iter().find(|(missing, _)| missing == way);
            let Some((_, reason)) = missing else {
                out += " yes |";
                continue;
            };
            let number = reasons.iter().position(|known| known == reason);
            let number = number.unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            write!(out, " no ({}) |", number + 1).unwrap();
        }
        out.push('\n');
    }
    out.push('\n');
    for (i, reason) in reasons.iter().enumerate() {
        writeln!(
            out,
            "{}. {}{}.",
            i + 1,
            reason[..1].to_uppercase(),
            &reason[1..]
        )
        .unwrap();
    }
    out
}
