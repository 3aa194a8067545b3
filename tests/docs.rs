//! The table of docs/functions.md is the catalogue's. `UPDATE_DOCS=1` writes it anew.

use std::fmt::Write;
use std::path::Path;
use wgpu_activations::{Activation, AxisFunction, Gate, Info, Order, SparseFunction};

const BEGIN: &str = "<!-- functions: written by `cargo xtask docs` -->\n";
const END: &str = "<!-- end of functions -->";

#[test]
fn the_pages_functions_are_the_catalogues() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let fresh = with_table(&page, &table()).expect("the page has the two marks");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == fresh,
        "docs/functions.md is stale: run `cargo xtask docs`"
    );
}

#[test]
fn a_stale_table_is_seen() {
    let page = format!("before\n{BEGIN}{}{END}\nafter\n", table());
    assert_eq!(with_table(&page, &table()).unwrap(), page);
    let stale = page.replace("`gelu`", "`gelo`");
    assert_ne!(stale, page);
    assert_ne!(with_table(&stale, &table()).unwrap(), stale);
    assert_eq!(with_table("no marks", &table()), None);
}

/// The page with the table between its marks.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn table() -> String {
    let mut out = String::from(
        "| Function | f(x) | Parameters and their defaults | Also called | From |\n\
         |---|---|---|---|---|\n",
    );
    for activation in Activation::ALL {
        let info = activation.info();
        let formula = info.formula;
        row(
            &mut out,
            info.name,
            formula,
            &parameters(info),
            info.aliases,
            info.source,
        );
    }
    for function in AxisFunction::ALL {
        let axis = "the axis, -1 on the command line";
        row(
            &mut out,
            function.name(),
            function.formula(),
            axis,
            function.aliases(),
            "",
        );
    }
    for function in SparseFunction::ALL {
        let axis = match function {
            SparseFunction::Entmax { alpha } => format!("the axis; `alpha` {alpha}"),
            _ => "the axis".to_owned(),
        };
        row(
            &mut out,
            function.name(),
            function.formula(),
            &axis,
            function.aliases(),
            "",
        );
    }
    for gate in Gate::ALL {
        let names = gate.parameters();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let parameters = [&["axis, layout, order".to_owned()][..], &names].concat();
        let with_order = |alias: &&str| match alias.parse::<Gate>().unwrap().order() {
            order if order == gate.order() => (*alias).to_owned(),
            Order::ValueFirst => format!("{alias} (value first)"),
            Order::GateFirst => format!("{alias} (gate first)"),
        };
        let aliases: Vec<String> = gate.aliases().iter().map(with_order).collect();
        row(
            &mut out,
            gate.name(),
            gate.formula(),
            &parameters.join(", "),
            &aliases,
            "",
        );
    }
    out
}

fn row(
    out: &mut String,
    name: &str,
    formula: &str,
    parameters: &str,
    aliases: &[impl AsRef<str>],
    source: &str,
) {
    let formula = formula.replace('|', "\\|");
    let aliases = aliases
        .iter()
        .map(|alias| match alias.as_ref().split_once(' ') {
            Some((alias, note)) => format!("`{alias}` {note}"),
            None => format!("`{}`", alias.as_ref()),
        });
    let aliases: Vec<String> = aliases.collect();
    let aliases = aliases.join(", ");
    writeln!(
        out,
        "| `{name}` | `{formula}` | {parameters} | {aliases} | {source} |"
    )
    .unwrap();
}

fn parameters(info: &Info) -> String {
    let each = info.parameters.iter();
    let each = each.map(|p| match p.exact {
        Some(default) => format!("`{}` {default}", p.name),
        None => format!("`{}` {}", p.name, p.default),
    });
    each.collect::<Vec<_>>().join(", ")
}
