//! The crates that a compiled package is made of, with their licences, as a text that goes where it goes.

use crate::cargo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The crates that a workspace member's code for a target has in it, other than the workspace's own.
pub fn of(member: &str, target: &str) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", target])
        .current_dir(cargo::root())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo metadata does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata: {}", said.trim_end()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("what cargo metadata says: {error}"))?;
    let crates = crates(&metadata, member).ok_or("cargo metadata says what is not understood")?;
    let mut texts = BTreeMap::new();
    for one in &crates {
        texts.insert(one.title(), licences(one)?);
    }
    Ok(written(&crates, &texts))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: String,
    manifest: String,
}

impl Crate {
    fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Whether this licence suffices.
    fn offers(&self, licence: &str) -> bool {
        let mut choices = self.licence.split(" OR ").flat_map(|one| one.split('/'));
        !self.licence.contains("AND") && choices.any(|choice| choice.trim() == licence)
    }
}

/// What is in the code of a member: neither macros nor what builds it. None where the data are of another form.
fn crates(metadata: &Value, member: &str) -> Option<BTreeSet<Crate>> {
    let by_id = |list: &'_ Value| -> Option<HashMap<String, Value>> {
        let pairs = list.as_array()?.iter();
        pairs
            .map(|one| Some((one["id"].as_str()?.to_owned(), one.clone())))
            .collect()
    };
    let packages = by_id(&metadata["packages"])?;
    let nodes = by_id(&metadata["resolve"]["nodes"])?;
    let (root, _) = packages.iter().find(|(_, one)| one["name"] == member)?;
    let (mut seen, mut left) = (BTreeSet::new(), vec![root.clone()]);
    let mut found = BTreeSet::new();
    while let Some(id) = left.pop() {
        let package = packages.get(&id)?;
        let mut targets = package["targets"].as_array()?.iter();
        let is_macro = targets.any(|target| target["kind"][0] == "proc-macro");
        if is_macro || !seen.insert(id.clone()) {
            continue;
        }
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        // The workspace's own have no source.
        if !package["source"].is_null() {
            found.insert(Crate {
                name: text("name"),
                version: text("version"),
                licence: text("license"),
                repository: text("repository"),
                manifest: text("manifest_path"),
            });
        }
        for dependency in nodes.get(&id)?["deps"].as_array()? {
            let mut kinds = dependency["dep_kinds"].as_array()?.iter();
            if kinds.any(|kind| kind["kind"].is_null()) {
                left.push(dependency["pkg"].as_str()?.to_owned());
            }
        }
    }
    Some(found)
}

/// The texts of a crate's licence: of MIT's alone, where it offers that.
fn licences(one: &Crate) -> Result<Vec<String>, String> {
    let folder = Path::new(&one.manifest).parent().unwrap_or(Path::new(""));
    let problem = |error| format!("{}: {error}", folder.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(problem)? {
        let name = entry.map_err(problem)?.file_name();
        names.insert(name.to_string_lossy().into_owned());
    }
    names.retain(|name| folder.join(name).is_file());
    names.retain(|name| {
        let name = name.to_uppercase();
        let known = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
        known.iter().any(|start| name.starts_with(start)) && !name.ends_with(".RS")
    });
    let is_of_mit = |name: &String| name.to_uppercase().contains("MIT");
    if one.offers("MIT") && names.iter().any(is_of_mit) {
        names.retain(is_of_mit);
    }
    let texts = names.iter().map(|name| fs::read(folder.join(name)));
    texts
        .map(|text| Ok(String::from_utf8_lossy(&text.map_err(problem)?).into_owned()))
        .collect()
}

/// A line for each crate, then each text once with whose it is.
fn written(crates: &BTreeSet<Crate>, texts: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = "The compiled library may have code of these Rust crates in it. Where there is a choice of licences \
                   that has MIT's, that is taken.\n\n\
                   Rust's standard library: MIT OR Apache-2.0, https://github.com/rust-lang/rust, \
                   Copyright (c) The Rust Project Contributors\n"
        .to_owned();
    for one in crates {
        out += &format!("{}: {}, {}\n", one.title(), one.licence, one.repository);
    }
    let mut owners: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (title, texts) in texts {
        for text in texts {
            let lines = text.lines().map(str::trim_end).collect::<Vec<_>>();
            let text = lines.join("\n").trim_matches('\n').to_owned();
            owners.entry(text).or_default().insert(title);
        }
    }
    for (text, of) in owners {
        let of: Vec<&str> = of.into_iter().collect();
        out += &format!("\n----\n\n{}:\n\n{text}\n", of.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_named_with_its_licence() {
        let package = |name: &str, source: Value, kind: &str| {
            serde_json::json!({
                "id": name, "name": name, "version": "1.0.0", "license": "MIT OR Apache-2.0", "source": source,
                "repository": "https://example.org", "manifest_path": "", "targets": [{ "kind": [kind] }],
            })
        };
        let on = |name: &str, kind: Value| serde_json::json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let deps = vec![
            on("linked", Value::Null),
            on("derive", Value::Null),
            on("cc", "build".into()),
        ];
        let node = |name: &str, deps: Vec<Value>| serde_json::json!({ "id": name, "deps": deps });
        let metadata = serde_json::json!({
            "packages": [
                package("own", Value::Null, "lib"),
                package("linked", "registry".into(), "lib"),
                package("derive", "registry".into(), "proc-macro"),
                package("cc", "registry".into(), "lib"),
            ],
            "resolve": { "nodes": [
                node("own", deps), node("linked", vec![]), node("derive", vec![]), node("cc", vec![]),
            ] },
        });
        let found = crates(&metadata, "own").unwrap();
        let names: Vec<&str> = found.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["linked"]);
        assert!(found.first().unwrap().offers("MIT"));
        let texts = [("linked 1.0.0", "a  \nb\n"), ("other 2.0.0", "a\nb")];
        let texts = texts.map(|(title, text)| (title.to_owned(), vec![text.to_owned()]));
        let out = written(&found, &BTreeMap::from(texts));
        assert!(out.contains("linked 1.0.0: MIT OR Apache-2.0, https://example.org\n"));
        assert!(
            out.ends_with("\n----\n\nlinked 1.0.0, other 2.0.0:\n\na\nb\n"),
            "{out}"
        );
    }

    #[test]
    fn a_choice_is_one_of_what_is_joined_by_or() {
        let of = |licence: &str| Crate {
            name: String::new(),
            version: String::new(),
            licence: licence.to_owned(),
            repository: String::new(),
            manifest: String::new(),
        };
        for licence in ["MIT", "MIT/Apache-2.0", "Zlib OR Apache-2.0 OR MIT"] {
            assert!(of(licence).offers("MIT"), "{licence}");
        }
        for licence in ["Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(!of(licence).offers("MIT"), "{licence}");
        }
    }
}
