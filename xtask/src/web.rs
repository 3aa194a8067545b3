//! The npm package: the library compiled to WebAssembly, with what JavaScript calls it by; the page that is
//! built of it; and the tests of both in a browser.

use crate::counts::Counts;
use crate::{Outcome, adapter, cargo, compilers, devices, hosts, licences};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

pub const USAGE: &str = "\
usage: cargo xtask web [--test | --serve [PORT]]

Compiles the library to WebAssembly and makes the npm package of it, below target/web; where
web/site is there, the page, in target/site.

  --test   then run the tests of web/tests in headless Chromium, which is installed where it is missing
  --serve  then serve target/site on this machine, at port 8080 or PORT

It takes rustup, Node 20.19 or later and npm, and the workspace's own target folder.";

const TARGET: &str = "wasm32-unknown-unknown";

/// Runs a program, and passes on what it says; `read` sees each line of its standard output.
fn run_reading(name: &str, command: &mut Command, mut read: impl FnMut(&str)) -> Outcome {
    println!("     Running {name}");
    let does_not_start = |error| format!("{name} does not start: {error}");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(does_not_start)?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            read(&line);
            // Where nobody reads, the exit code still matters.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
    match child.wait().map_err(does_not_start)? {
        status if status.success() => Ok(()),
        status => Err(format!("{name}: {status}")),
    }
}

fn passed(name: &str, command: &mut Command) -> Outcome {
    run_reading(name, command, |_| ())
}

/// What is downloaded.
pub struct Tools {
    /// The folder that has node_modules.
    node: PathBuf,
}

/// The chore with its arguments; `Err(None)` where they are wrong.
pub fn run(arguments: &[&str]) -> Result<(), Option<String>> {
    if crate::helped(arguments, USAGE) {
        return Ok(());
    }
    in_its_place().map_err(Some)?;
    let done = match arguments {
        [] => tools().and_then(|tools| build(&tools)),
        ["--test"] => {
            let mut counts = Counts::default();
            let done = ci(&mut counts);
            println!("\n{counts}");
            done.and_then(|()| counts.verdict())
        }
        ["--serve", port @ ..] if port.len() < 2 => tools().and_then(|tools| {
            build(&tools)?;
            let site = cargo::target_directory()?.join("site");
            let mut node = Command::new("node");
            node.arg(cargo::root().join("web/tests/serve.mjs"))
                .arg(&site)
                .arg(port.first().unwrap_or(&"8080"));
            passed("node web/tests/serve.mjs", &mut node)
        }),
        _ => {
            eprintln!("{USAGE}");
            return Err(None);
        }
    };
    done.map_err(Some)
}

/// Builds and tests as a stage.
pub fn ci(counts: &mut Counts) -> Outcome {
    in_its_place()?;
    let tools = tools_of_tests()?;
    build(&tools)?;
    test(&tools, counts)
}

/// The page finds the package, and its tests find the page, by fixed paths.
fn in_its_place() -> Outcome {
    let target = cargo::target_directory()?;
    let wanted = cargo::root().join("target");
    let is = |path: &Path| path.canonicalize().map_err(|e| problem(path, e));
    if is(&target)? == is(&wanted).unwrap_or_default() {
        return Ok(());
    }
    Err(format!(
        "the page is built in {}, and the target folder is {}: unset CARGO_TARGET_DIR",
        wanted.display(),
        target.display()
    ))
}

/// Downloads what building and testing take.
pub fn tools_of_tests() -> Result<Tools, String> {
    let tools = tools()?;
    adapter::chromium(true)?;
    Ok(tools)
}

/// Downloads what building takes.
fn tools() -> Result<Tools, String> {
    hosts::provide(TARGET)?;
    let sources = cargo::root().join("web/tests");
    let folder = folder()?;
    fs::create_dir_all(&folder).map_err(|e| problem(&folder, e))?;
    let node = compilers::npm(&sources, &folder, "tools")?;
    Ok(Tools { node })
}

fn folder() -> Result<PathBuf, String> {
    Ok(cargo::target_directory()?.join("web"))
}

fn problem(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(cargo::root());
    command
}

fn npm(arguments: &[&str], folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(folder);
    npm
}

/// What every browser with WebGPU has. With more, wasm-opt writes what some do not read.
const FEATURES: [&str; 7] = [
    "bulk-memory",
    "multivalue",
    "mutable-globals",
    "nontrapping-float-to-int",
    "reference-types",
    "sign-ext",
    "simd",
];

const QUIET: [&str; 3] = ["--no-audit", "--no-fund", "--ignore-scripts"];

/// The package, and the page where there is one.
fn build(tools: &Tools) -> Outcome {
    let begin = Instant::now();
    let package = package(tools)?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("     Package {} ({seconds:.0} s)", package.display());
    let site = cargo::root().join("web/site");
    if !site.join("package.json").is_file() {
        return Ok(());
    }
    // It takes the package from the folder that was made.
    passed("npm ci", npm(&["ci"], &site).args(QUIET))?;
    passed("npm run build", &mut npm(&["run", "build"], &site))
}

/// How rustc compiles it: messages of panics have no paths of this machine.
fn flags() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let root = cargo::root().to_owned();
    let places = [(home, "cargo"), (Some(root), ".")];
    let remaps = places.into_iter().filter_map(|(from, to)| {
        let from = from?;
        Some(format!("--remap-path-prefix={}={to}", from.display()))
    });
    std::iter::once("-Ctarget-feature=+simd128".to_owned())
        .chain(remaps)
        .collect()
}

/// Makes the package, and says where it is.
fn package(tools: &Tools) -> Result<PathBuf, String> {
    let folder = folder()?;
    let (bindgen, glue) = (folder.join("bindgen"), folder.join("glue"));
    let mut wasm = cargo();
    wasm.args(["build", "--profile", "web", "-p", "wgpu-activations-web"])
        .args(["--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags().join("\x1f"));
    let mut tool = cargo();
    tool.args(["build", "--release", "--locked"])
        .args(["--manifest-path", "web/bindgen/Cargo.toml", "--target-dir"])
        .arg(&bindgen);
    // Each has a core to itself for much of its time, and folders of its own.
    let (compiled, made) = thread::scope(|scope| {
        let made = scope.spawn(|| passed("cargo build, of wasm-bindgen", &mut tool));
        let compiled = passed("cargo build --profile web", &mut wasm);
        let panicked = || Err("the build of wasm-bindgen panicked".to_owned());
        (compiled, made.join().unwrap_or_else(|_| panicked()))
    });
    compiled.and(made)?;
    let built = cargo::target_directory()?
        .join(TARGET)
        .join("web/wgpu_activations_web.wasm");
    let bindgen = bindgen
        .join("release/wgpu-activations-bindgen")
        .with_extension(std::env::consts::EXE_EXTENSION);
    passed("wasm-bindgen", Command::new(bindgen).arg(&built).arg(&glue))?;
    let package = folder.join("wgpu-activations");
    if package.exists() {
        fs::remove_dir_all(&package).map_err(|e| problem(&package, e))?;
    }
    fs::create_dir_all(&package).map_err(|e| problem(&package, e))?;
    let small = package.join("native_bg.wasm");
    let mut optimize = Command::new("node");
    optimize
        .arg(tools.node.join("node_modules/binaryen/bin/wasm-opt"))
        .arg("-Oz")
        .args(FEATURES.map(|feature| format!("--enable-{feature}")))
        .arg("-o")
        .args([&small, &glue.join("native_bg.wasm")]);
    passed("wasm-opt", &mut optimize)?;
    let sources = cargo::root().join("web/package");
    let files = ["index.js", "index.d.ts", "package.json", "README.md"].map(|f| sources.join(f));
    let licences = ["LICENSE-MIT", "LICENSE-APACHE"].map(|f| cargo::root().join(f));
    for file in files
        .iter()
        .chain(&licences)
        .chain([&glue.join("native.js")])
    {
        let to = package.join(file.file_name().unwrap_or(OsStr::new("")));
        fs::copy(file, &to).map_err(|e| problem(file, e))?;
    }
    let mut types = Command::new("node");
    types.arg(sources.join("functions.mjs")).arg(&package);
    passed("node web/package/functions.mjs", &mut types)?;
    let notices = package.join("THIRD-PARTY.txt");
    let text = licences::of("wgpu-activations-web", TARGET)?;
    fs::write(&notices, text).map_err(|e| problem(&notices, e))?;
    // Of another version.
    for entry in fs::read_dir(&folder).map_err(|e| problem(&folder, e))? {
        let path = entry.map_err(|e| problem(&folder, e))?.path();
        if path.extension() == Some(OsStr::new("tgz")) {
            fs::remove_file(&path).map_err(|e| problem(&path, e))?;
        }
    }
    let size = fs::metadata(&small).map_or(0, |data| data.len());
    println!("     WebAssembly: {} KiB", size / 1024);
    passed(
        "npm pack",
        npm(&["pack", "--silent"], &folder).arg(&package),
    )?;
    Ok(package)
}

/// Runs the tests in a browser.
fn test(tools: &Tools, counts: &mut Counts) -> Outcome {
    let tests = cargo::root().join("web/tests");
    let entries = fs::read_dir(&tests).map_err(|e| problem(&tests, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    files.sort();
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", "--test-concurrency=1"])
        .args(files)
        // Playwright is found from there.
        .current_dir(&tools.node)
        .env("ACTIVATIONS_WEB", folder()?);
    // The tests write a report anew.
    let report = folder()?.join("report.json");
    let _ = fs::remove_file(&report);
    let tested = run_reading("node --test", &mut node, |line| counts.read_node(line));
    let taken = devices::takes(&report);
    counts.add(taken.is_ok());
    let tested = tested.and(taken);
    let site = cargo::root().join("web/site");
    if !site.join("package.json").is_file() {
        return tested;
    }
    let mut of_page = npm(&["test"], &site);
    let of_page = run_reading("npm test", &mut of_page, |line| counts.read_node(line));
    tested.and(of_page)
}
