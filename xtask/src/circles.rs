//! Files that import one another in a circle: what each names of the others, read from the source.
//! Tests do not count, and neither does what a module and those inside it name of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// The text of each file of a crate by its module's path, without comments and tests.
#[derive(Default)]
struct Sources(BTreeMap<String, String>);

/// What a file names of others: the module, and the path that leads there.
type Named = BTreeMap<String, String>;

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.add_folder(folder, "");
        sources
    }

    fn add_folder(&mut self, folder: &Path, module: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let inside = join(module, name);
            match name {
                "tests" => {}
                _ if path.is_dir() => self.add_folder(&path, &inside),
                _ if path.extension().is_none_or(|end| end != "rs") => {}
                "lib" | "main" | "mod" => self.add(module, &fs::read_to_string(&path).unwrap()),
                _ => self.add(&inside, &fs::read_to_string(&path).unwrap()),
            }
        }
    }

    fn add(&mut self, module: &str, text: &str) {
        self.0.insert(module.to_owned(), without_tests(text));
    }

    /// What each file names of others that are not around it or inside it.
    fn named(&self) -> BTreeMap<&str, Named> {
        let imports: BTreeMap<&str, Vec<(String, String)>> = self
            .0
            .iter()
            .map(|(module, text)| (&module[..], self.imports(module, text)))
            .collect();
        let of = |(module, text): (&'_ String, &String)| {
            let mut named = Named::new();
            for path in paths(module, text) {
                let to = self.file_of(&path, &imports);
                if !(is_inside(&to, module) || is_inside(module, &to)) {
                    named.entry(to).or_insert(path);
                }
            }
            named
        };
        self.0.iter().map(|file| (&file.0[..], of(file))).collect()
    }

    /// The names that a file imports, for itself or for others, and the paths that they stand for.
    fn imports(&self, module: &str, text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for line in text.lines().map(str::trim_start) {
            let public = ["pub ", "pub(crate) ", "pub(super) "];
            let public = public.iter().find_map(|public| line.strip_prefix(public));
            let Some(tree) = public.unwrap_or(line).strip_prefix("use ") else {
                continue;
            };
            // The statement may go on in lines below.
            let at = tree.as_ptr() as usize - text.as_ptr() as usize;
            let first = tree.split(|c: char| !is_of_name(c)).next().unwrap_or("");
            if self.0.contains_key(&join(module, first)) {
                leaves(&text[at..], module, &mut found);
            } else if let Some((start, rest)) = anchored(module, &text[at..]) {
                leaves(rest, &start, &mut found);
            }
        }
        found
    }

    /// The file in which the item of a path is, also where another file passes it on.
    fn file_of(&self, path: &str, imports: &BTreeMap<&str, Vec<(String, String)>>) -> String {
        let mut path = path.to_owned();
        // As many as no chain of imports is long.
        for _ in 0..16 {
            let mut file = &path[..];
            while !self.0.contains_key(file) {
                file = file.rsplit_once("::").map_or("", |(before, _)| before);
            }
            let rest = path[file.len()..].trim_start_matches("::");
            let (item, after) = rest.split_once("::").unwrap_or((rest, ""));
            let passed_on = imports[file].iter().find(|(name, _)| name == item);
            match passed_on {
                Some((_, to)) if *to != path => path = join(to, after),
                _ => return file.to_owned(),
            }
        }
        panic!("{path} is imported in a circle");
    }

    /// Every circle, the shortest through each file, with the paths that close it.
    fn circles(&self) -> BTreeSet<String> {
        let named = self.named();
        let mut circles = BTreeMap::new();
        for &start in named.keys() {
            let mut from: BTreeMap<&str, &str> = BTreeMap::new();
            let mut next = VecDeque::from([start]);
            while let Some(file) = next.pop_front() {
                for to in named[file].keys() {
                    if !from.contains_key(&to[..]) {
                        from.insert(to, file);
                        next.push_back(to);
                    }
                }
            }
            if !from.contains_key(start) {
                continue;
            }
            let mut files = vec![start];
            while from[files[files.len() - 1]] != start {
                files.push(from[files[files.len() - 1]]);
            }
            let same: BTreeSet<&str> = files.iter().copied().collect();
            files.reverse();
            files.insert(0, start);
            let steps = files.windows(2).map(|pair| {
                let path = &named[pair[0]][pair[1]];
                format!("  {} names {path}, which is in {}", pair[0], pair[1])
            });
            let steps: Vec<String> = steps.collect();
            circles.entry(same).or_insert(steps.join("\n"));
        }
        circles.into_values().collect()
    }
}

fn join(module: &str, name: &str) -> String {
    match (module, name) {
        (module, "") => module.to_owned(),
        ("", name) => name.to_owned(),
        _ => format!("{module}::{name}"),
    }
}

/// Whether a module is the other one, or inside it.
fn is_inside(module: &str, other: &str) -> bool {
    let rest = module.strip_prefix(other);
    rest.is_some_and(|rest| other.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text without comments, and without the items that are for tests alone. It is as rustfmt
/// leaves it: an item ends in the first line that is indented as it is and ends as items do, or in the
/// line after its `=`.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut of_tests = None;
    let mut has_value = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or("").trim_end();
        let code = line.trim_start();
        let indent = line.len() - code.len();
        match of_tests {
            None if code == "#[cfg(test)]" => of_tests = Some(indent),
            None => {
                kept += line;
                kept += "\n";
            }
            Some(own) if own == indent || has_value => {
                if code.ends_with([';', '}', ',']) {
                    of_tests = None;
                }
                has_value = code.ends_with('=');
            }
            Some(_) => {}
        }
    }
    kept
}

/// Where a path of the crate's own begins: the module, and what follows.
fn anchored<'a>(module: &str, path: &'a str) -> Option<(String, &'a str)> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some((String::new(), rest));
    }
    if let Some(rest) = path.strip_prefix("self::") {
        return Some((module.to_owned(), rest));
    }
    let mut around = module.to_owned();
    let mut rest = path.strip_prefix("super::")?;
    loop {
        around.truncate(around.rfind("::").unwrap_or(0));
        match rest.strip_prefix("super::") {
            Some(further) => rest = further,
            None => return Some((around, rest)),
        }
    }
}

/// The paths of the crate's own that a file has, in imports and anywhere else.
fn paths(module: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| is_of_name(c) || c == ':') {
                continue;
            }
            if let Some((start, rest)) = anchored(module, &text[at..]) {
                leaves(rest, &start, &mut found);
            }
        }
    }
    found.into_iter().map(|(_, path)| path).collect()
}

/// The names that a tree of paths, `a::{b, c::d as e}` say, begins to stand for, and the path of
/// each. Returns what follows it.
fn leaves<'a>(tree: &'a str, path: &str, found: &mut Vec<(String, String)>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            let after = leaves(rest, path, found);
            if after.len() == rest.len() {
                return rest;
            }
            rest = after;
        }
    }
    if let Some(rest) = tree.strip_prefix('*') {
        found.push((String::new(), path.to_owned()));
        return rest;
    }
    let end = tree.find(|c| !is_of_name(c)).unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    let path = match name {
        "self" => path.to_owned(),
        _ => join(path, name),
    };
    match rest.strip_prefix("::") {
        Some(further) if further.starts_with(|c| is_of_name(c) || c == '{' || c == '*') => {
            return leaves(further, &path, found);
        }
        _ => {}
    }
    let alias = rest.strip_prefix(" as ").map(|alias| {
        let end = alias.find(|c| !is_of_name(c)).unwrap_or(alias.len());
        alias.split_at(end)
    });
    let last = path.rsplit("::").next().unwrap_or("");
    let (name, rest) = alias.unwrap_or((last, rest));
    found.push((name.to_owned(), path.clone()));
    rest
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (folder, least) in [("src", 100), ("cli/src", 30), ("xtask/src", 10)] {
        let sources = Sources::read(&project.join(folder));
        assert!(sources.0.len() > least, "{} in {folder}", sources.0.len());
        let named: usize = sources.named().values().map(BTreeMap::len).sum();
        assert!(named > least, "{named} imports in {folder}");
        let circles = Vec::from_iter(sources.circles());
        let text = circles.join("\n\n");
        assert!(circles.is_empty(), "circles in {folder}:\n{text}");
    }
}

/// What a crate of these files has of circles.
#[cfg(test)]
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let mut sources = Sources::default();
    sources.add("", "");
    for (module, text) in files {
        sources.add(module, text);
    }
    Vec::from_iter(sources.circles())
}

#[test]
fn circles_are_seen() {
    let two = circles_of(&[
        ("a", "use crate::b::{\n    C,\n    D as E,\n};\n"),
        (
            "b",
            "pub struct C;\nfn f() {\n    super::a::g::<u8>();\n}\n",
        ),
    ]);
    let said = "  a names b::C, which is in b\n  b names a::g, which is in a";
    assert_eq!(two, [said]);
    let behind_tests = circles_of(&[
        (
            "a",
            "#[cfg(test)]\nconst C: &[D] =\n    &[D];\nfn f() {\n    crate::b::g();\n}\n",
        ),
        ("b", "#[cfg(test)]\nmod tests;\nuse crate::a;\n"),
    ]);
    assert_eq!(behind_tests.len(), 1);
    // Of three, through what others pass on, and through a path that goes up twice.
    let three = circles_of(&[
        ("", "pub use a::A;\nmod a;\n"),
        ("a", "pub(crate) use b::{self, B as C};\nstruct A;\n"),
        ("a::b", "use super::super::d::D;\n"),
        ("d", "use crate::e;\n"),
        ("e", "use crate::a::C;\n"),
        ("f", "use crate::{A, d::*};\n"),
    ]);
    let said = "  a::b names d::D, which is in d\n  d names e, which is in e\n  \
                e names a::C, which is in a::b";
    assert_eq!(three, [said]);
}

#[test]
fn what_is_no_circle_passes() {
    let none = circles_of(&[
        ("", "pub use a::A;\nuse c::C;\n"),
        ("a", "use b::B;\nuse crate::a::b::D;\npub struct A;\n"),
        (
            "a::b",
            "use super::A;\n// crate::c\n/// [`C`](crate::c::C)\n",
        ),
        ("c", "use crate::A;\nuse crate::a::B;\n"),
        (
            "a::e",
            "#[cfg(test)]\nuse crate::c::{\n    C,\n};\n#[cfg(test)]\nconst D: &[E] =\n    &[crate::c::E];\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n",
        ),
    ]);
    assert_eq!(none, [""; 0]);
}
