//! `cargo xtask compilers`: every entry point of the library through the compilers behind naga that
//! no machine here has a device for, and what they may do to its arithmetic.

use crate::counts::Counts;
use crate::{Outcome, adapter, adapters, cargo};
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

pub const USAGE: &str = "\
usage: cargo xtask compilers [--no-install] [NAME...]

Compiles every entry point of the library, as wgpu hands it over, with NAME, or with all:

  dxc         Direct3D's compiler, over naga's HLSL
  metal       clang over naga's Metal, with headers that stand in for Metal's
  tint        Chrome's compiler, over the WGSL
  arithmetic  clang over naga's Metal with contraction, with fast math and with flushed
              subnormal numbers: the results are held against the f64 reference

clang is installed where it is missing and may be; DXC comes from the Python package
compushady-lrtu and Tint from the npm package webgpu, below target/compilers. What cannot be had is
left out; it is a failure where NAME names it, and where CI=true, except for the names in
ACTIVATIONS_ALLOW_MISSING.

  --no-install  take what is there; install and download nothing";

/// The package that has libdxcompiler, with the archive's hash.
const DXC: &str = "compushady-lrtu==0.18.0 \
                   --hash=sha256:b76371972f2543a1e83034a86c83cfad678dabf66be0b50b7d78edbcb1c98243\n";

/// What fixes the versions of npm's packages and of what they need, with their hashes.
const LOCK: &str = "package-lock.json";

const NAMES: [&str; 4] = ["dxc", "metal", "tint", "arithmetic"];

/// Why something was not compiled.
#[derive(Debug)]
enum Fault {
    /// A tool cannot be had.
    Missing(String),
    Failed(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

type Said = Result<String, Fault>;

/// The chore with its arguments; `Err(None)` where they are wrong.
pub fn run(arguments: &[&str]) -> Result<(), Option<String>> {
    if crate::helped(arguments, USAGE) {
        return Ok(());
    }
    let (options, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| argument.starts_with('-'));
    let unknown = names.iter().find(|name| !NAMES.contains(name));
    let unknown = unknown.or(options.iter().find(|option| **option != "--no-install"));
    if let Some(unknown) = unknown {
        eprintln!("xtask: there is no compiler or option {unknown}\n\n{USAGE}");
        return Err(None);
    }
    let mut counts = Counts::default();
    let outcome = compile(&names, options.is_empty(), &mut counts);
    println!("\n{counts}");
    outcome.and_then(|()| counts.verdict()).map_err(Some)
}

/// What continuous integration does beside the tests: all of it, each name a test.
pub fn ci(counts: &mut Counts) -> Outcome {
    compile(&[], true, counts)
}

/// Compiles with those that are named, or with all.
fn compile(named: &[&str], install: bool, counts: &mut Counts) -> Outcome {
    let names = if named.is_empty() { &NAMES } else { named };
    // The tools are of these machines.
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("xtask: the compilers run on Linux for x86-64 only");
        names.iter().for_each(|_| counts.skip());
        return Ok(());
    }
    let folder = cargo::target_directory()?.join("compilers");
    fs::create_dir_all(&folder).map_err(|e| problem(&folder, e))?;
    let folder = folder.canonicalize().map_err(|e| problem(&folder, e))?;
    let texts = folder.join("texts");
    if names.iter().any(|name| *name != "arithmetic") {
        write_texts(&texts)?;
    }
    let mut failed = Vec::new();
    for name in names {
        let begin = Instant::now();
        let outcome = match *name {
            "dxc" => dxc(&folder, &texts, install),
            "metal" => metal(&folder, &texts, install),
            "tint" => tint(&folder, &texts, install),
            _ => arithmetic(install),
        };
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(said) => {
                println!("{name}: {said} ({seconds:.0} s)");
                counts.add(true);
            }
            Err(Fault::Missing(why)) if !requires(named, name, |name| env::var(name).ok()) => {
                println!("{name}: left out: {why}");
                counts.skip();
            }
            Err(Fault::Missing(why) | Fault::Failed(why)) => {
                println!("{name}: FAILED ({seconds:.0} s)\n{why}");
                counts.add(false);
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("not all is compiled by {}", failed.join(", ")))
    }
}

/// Whether it is a failure that something cannot be had.
fn requires(named: &[&str], name: &str, variable: impl Fn(&str) -> Option<String>) -> bool {
    named.contains(&name) || adapters::required_in_ci(name, variable)
}

fn problem(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// An ignored unit test of the library, which sees what no other part of it does.
pub fn ignored_test(filter: &str, environment: &[(&str, &str)]) -> Outcome {
    let test = [
        "test",
        "--release",
        "--workspace",
        "--lib",
        "--",
        "--ignored",
    ];
    cargo::run(&[&test[..], &[filter]].concat(), environment)
}

/// Each entry point's texts, in place of those of an earlier run.
fn write_texts(texts: &Path) -> Outcome {
    if texts.exists() {
        fs::remove_dir_all(texts).map_err(|e| problem(texts, e))?;
    }
    fs::create_dir_all(texts).map_err(|e| problem(texts, e))?;
    let folder = texts.display().to_string();
    let environment = [("ACTIVATIONS_TEXTS", folder.as_str())];
    ignored_test(
        "shader::tests::compilers::texts_for_compilers",
        &environment,
    )?;
    if numbers(texts)?.is_empty() {
        return Err("the library wrote no texts".to_owned());
    }
    Ok(())
}

/// The numbers of the entry points that were written.
fn numbers(texts: &Path) -> Result<Vec<String>, String> {
    let index = texts.join("index.tsv");
    let text = fs::read_to_string(&index).map_err(|e| problem(&index, e))?;
    let second = |line: &str| line.split('\t').nth(1).map(str::to_owned);
    Ok(text.lines().filter_map(second).collect())
}

/// How many programs run at a time.
fn parts() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// The parts' programs at once; an error has what they say, but the last line of those that succeed.
fn together(commands: Vec<Command>) -> Result<Vec<String>, String> {
    let running: Vec<_> = commands
        .into_iter()
        .map(|mut command| thread::spawn(move || command.stdin(Stdio::null()).output()))
        .collect();
    let mut said = Vec::new();
    let mut failed = String::new();
    for handle in running {
        let output = handle
            .join()
            .map_err(|_| "a compiler's thread ended".to_owned())?;
        let output = output.map_err(|e| format!("a compiler does not start: {e}"))?;
        let text = text_of(&output);
        if output.status.success() {
            said.push(text.lines().last().unwrap_or_default().to_owned());
        } else {
            // Of many errors the first ones tell, and the last line how many there are.
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.iter().skip(40).next_back();
            let shown = lines.iter().take(40).chain(last);
            failed.extend(shown.flat_map(|line| [line, "\n"]));
        }
    }
    if failed.is_empty() {
        Ok(said)
    } else {
        Err(failed)
    }
}

fn text_of(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A tool of the system's that is run for its effect.
fn tool(command: &mut Command) -> Outcome {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = text_of(&output);
    let is_error = |line: &&str| line.to_ascii_lowercase().contains("error");
    let mut shown: Vec<&str> = said.lines().filter(is_error).take(5).collect();
    if shown.is_empty() {
        shown.extend(said.lines().last());
    }
    Err(format!("{name} fails: {}", shown.join("; ")))
}

fn sources() -> PathBuf {
    cargo::root().join("tests/compilers")
}

/// The folder of what `pinned` names, which `fetch` fills where it is missing or of another version.
fn fetched(
    (folder, name): (&Path, &str),
    pinned: &str,
    install: bool,
    fetch: impl FnOnce(&Path) -> Outcome,
) -> Result<PathBuf, Fault> {
    let home = folder.join(name);
    let mark = "pinned";
    if fs::read_to_string(home.join(mark)).is_ok_and(|text| text == pinned) {
        return Ok(home);
    }
    if !install {
        let why = format!("{name} is not here, and nothing is to be downloaded");
        return Err(Fault::Missing(why));
    }
    println!("xtask: downloading {name}");
    // The folder appears whole, at once.
    let scratch = folder.join(format!("{name}.{}.part", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|e| problem(&scratch, e))?;
    if let Err(why) = fetch(&scratch) {
        // What is left is in nobody's way.
        let _ = fs::remove_dir_all(&scratch);
        return Err(Fault::Missing(why));
    }
    let mark = scratch.join(mark);
    fs::write(&mark, pinned).map_err(|e| problem(&mark, e))?;
    if home.exists() {
        fs::remove_dir_all(&home).map_err(|e| problem(&home, e))?;
    }
    fs::rename(&scratch, &home).map_err(|e| problem(&home, e))?;
    Ok(home)
}

/// Downloads and unpacks the wheel that has libdxcompiler.
fn fetch_dxc(folder: &Path) -> Outcome {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, DXC).map_err(|e| problem(&requirements, e))?;
    let download = "-m pip download --quiet --no-deps --only-binary=:all: \
                    --platform manylinux_2_28_x86_64 --python-version 3.11 \
                    --require-hashes --requirement requirements.txt --dest .";
    tool(
        Command::new("python3")
            .args(download.split_whitespace())
            .current_dir(folder),
    )?;
    let entries = fs::read_dir(folder).map_err(|e| problem(folder, e))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or("pip downloads no wheel")?;
    tool(
        Command::new("python3")
            .args(["-m", "zipfile", "--extract"])
            .args([&wheel, folder]),
    )?;
    fs::remove_file(&wheel).map_err(|e| problem(&wheel, e))
}

fn dxc(folder: &Path, texts: &Path, install: bool) -> Said {
    adapter::clang(install).map_err(Fault::Missing)?;
    let home = fetched((folder, "dxc"), DXC, install, fetch_dxc)?;
    let library = home.join("compushady/backends/libdxcompiler_x86_64.so");
    let program = folder.join("dxc-each");
    tool(
        Command::new("clang++")
            .args(["-std=c++17", "-O1", "-o"])
            .args([&program, &sources().join("dxc.cpp")])
            .arg("-ldl"),
    )?;
    let parts = parts();
    let commands = (0..parts).map(|part| {
        let mut command = Command::new(&program);
        command.args([&library, texts]);
        command.args([part.to_string(), parts.to_string()]);
        command
    });
    Ok(summed(together(commands.collect())?)?)
}

/// "N compiled, ..." of each part, as one.
fn summed(said: Vec<String>) -> Result<String, String> {
    let number = |line: &String| line.split(' ').next()?.parse::<usize>().ok();
    let numbers: Option<Vec<usize>> = said.iter().map(number).collect();
    match numbers.map(|numbers| numbers.iter().sum::<usize>()) {
        Some(compiled) if compiled > 0 => Ok(format!("{compiled} entry points compiled")),
        _ => Err(format!("nothing is compiled: {said:?}")),
    }
}

fn metal(folder: &Path, texts: &Path, install: bool) -> Said {
    adapter::clang(install).map_err(Fault::Missing)?;
    // What naga makes of an alias must be refused, or nothing is looked at.
    let refused = folder.join("refused.cpp");
    let text = "struct A { float v[2]; };\nstruct B { float v[2]; };\n\
                float f(A a) { return a.v[0]; }\nfloat g() { return f(B {}); }\n";
    fs::write(&refused, text).map_err(|e| problem(&refused, e))?;
    if together(vec![clang(&refused)]).is_ok() {
        let why = "clang takes a struct for another";
        return Err(Fault::Failed(why.to_owned()));
    }
    let numbers = numbers(texts)?;
    // Some at a time: the headers are read once, and no program grows large.
    let batches = numbers.chunks(numbers.len().div_ceil(4 * parts()).max(1));
    let mut sources = Vec::new();
    for (i, batch) in batches.enumerate() {
        let source = folder.join(format!("metal{i}.cpp"));
        let mut file = fs::File::create(&source).map_err(|e| problem(&source, e))?;
        for number in batch {
            let include = format!("#include \"{}/{number}.cpp\"\n", texts.display());
            file.write_all(include.as_bytes())
                .map_err(|e| e.to_string())?;
        }
        sources.push(source);
    }
    for some in sources.chunks(parts()) {
        together(some.iter().map(|source| clang(source)).collect())?;
    }
    Ok(format!("{} entry points compiled", numbers.len()))
}

/// clang that reads Metal as C++.
fn clang(source: &Path) -> Command {
    let mut command = Command::new("clang++");
    command
        .args(["-std=c++17", "-fsyntax-only", "-w", "-ferror-limit=40"])
        .args(["-Xclang", "-cl-single-precision-constant"])
        .arg("-I")
        .arg(sources())
        .args(["-include", "metal_stdlib"])
        .arg(source);
    command
}

/// The folder with the npm packages that a lock file in `sources` fixes.
pub fn npm(sources: &Path, folder: &Path, name: &str) -> Result<PathBuf, String> {
    let home = npm_fetched(sources, (folder, name), true);
    home.map_err(|fault| match fault {
        Fault::Missing(why) | Fault::Failed(why) => why,
    })
}

fn npm_fetched(sources: &Path, place: (&Path, &str), install: bool) -> Result<PathBuf, Fault> {
    let lock = sources.join(LOCK);
    let pinned = fs::read_to_string(&lock).map_err(|e| problem(&lock, e))?;
    fetched(place, &pinned, install, |scratch| {
        for file in ["package.json", LOCK] {
            let (from, to) = (sources.join(file), scratch.join(file));
            fs::copy(from, &to).map_err(|e| problem(&to, e))?;
        }
        let quietly = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        tool(Command::new("npm").args(quietly).current_dir(scratch))
    })
}

fn tint(folder: &Path, texts: &Path, install: bool) -> Said {
    let home = npm_fetched(&sources(), (folder, "tint"), install)?;
    let mut command = Command::new("node");
    command
        .arg(sources().join("tint.mjs"))
        .arg(texts)
        .current_dir(&home);
    Ok(summed(together(vec![command])?)?)
}

fn arithmetic(install: bool) -> Said {
    adapter::clang(install).map_err(Fault::Missing)?;
    ignored_test("shader::tests::arithmetic", &[])?;
    Ok("all results are within the contract".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_summed_and_none_is_a_failure() {
        let said = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
        let sum = summed(said(&["12 compiled, 0 failed", "30 compiled, 0 failed"])).unwrap();
        assert_eq!(sum, "42 entry points compiled");
        assert!(summed(said(&["0 compiled, 0 failed"])).is_err());
        assert!(summed(said(&["", "3 compiled, 0 failed"])).is_err());
    }

    #[test]
    fn wrong_names_and_options_are_refused() {
        assert_eq!(run(&["fxc"]), Err(None));
        assert_eq!(run(&["dxc", "--fast"]), Err(None));
    }

    #[test]
    fn what_is_missing_fails_where_it_is_named_and_in_ci() {
        let none = |_: &str| None;
        let ci = |name: &str| (name == "CI").then(|| "true".to_owned());
        assert!(!requires(&[], "tint", none) && !requires(&["dxc"], "tint", none));
        assert!(requires(&["tint"], "tint", none) && requires(&[], "tint", ci));
    }

    #[test]
    fn a_download_is_there_whole_or_not_at_all() {
        let folder = env::temp_dir().join(format!("xtask-compilers-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let get = |pinned: &str, install, outcome: Outcome| {
            fetched((&folder, "it"), pinned, install, |scratch| {
                fs::write(scratch.join("file"), pinned).unwrap();
                outcome
            })
        };
        let no_network = Err("no network".to_owned());
        let missing = |got| matches!(got, Err(Fault::Missing(_)));
        assert!(missing(get("1", false, Ok(()))));
        assert!(missing(get("1", true, no_network.clone())));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let home = get("1", true, Ok(())).unwrap();
        // It is not fetched again, but for another version.
        get("1", true, no_network.clone()).unwrap();
        assert!(missing(get("2", true, no_network)));
        get("2", true, Ok(())).unwrap();
        assert_eq!(fs::read_to_string(home.join("file")).unwrap(), "2");
        fs::remove_dir_all(&folder).unwrap();
    }

    /// The sources that are compiled or run, by the names that they have here.
    #[test]
    fn sources_are_there() {
        let names = [
            "dxc.cpp",
            "kernels.h",
            "main.cpp",
            "metal_stdlib",
            "tint.mjs",
        ];
        let all = names.iter().chain(&["package.json", "package-lock.json"]);
        all.for_each(|name| assert!(sources().join(name).is_file(), "{name}"));
    }
}
