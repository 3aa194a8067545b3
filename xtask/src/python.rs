//! The Python package: its wheel is built by maturin, installed into an environment under the target folder
//! and tested there by pytest.

use crate::counts::Counts;
use crate::{Outcome, cargo};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds, installs and tests. What cannot be downloaded is a failure.
pub fn run() -> Outcome {
    let mut counts = Counts::default();
    let ran = environment().and_then(|python| ci(&mut counts, &python, false));
    println!("\n{counts}");
    ran?;
    counts.verdict()
}

/// The same as a stage, with the interpreter of [`environment`]; where `built` says so, the library and wgpu were built by the workspace's tests, and
/// to build them again is a failure.
pub fn ci(counts: &mut Counts, python: &Path, built: bool) -> Outcome {
    let wheel = wheel(python, built)?;
    let size = fs::metadata(&wheel).map_or(0, |data| data.len());
    println!("     Wheel {} ({} KiB)", wheel.display(), size / 1024);
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--force-reinstall",
        "--no-deps",
    ];
    let install = install.iter().map(OsStr::new).chain([wheel.as_os_str()]);
    passed(Command::new(python).args(install), "pip")?;
    let mut pytest = Command::new(python);
    pytest
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--durations=8"])
        // An engine that waits for a worker for ever is a failure.
        .arg("--timeout=300")
        // A GPU is asked for by the tests that want one.
        .env_remove("WGPU_ADAPTER_NAME")
        .env("ACTIVATIONS_CACHE", "off")
        .current_dir(cargo::root().join("python"));
    tested(pytest, counts)
}

/// The interpreter of an environment of its own, with what the tests need.
pub fn environment() -> Result<PathBuf, String> {
    let folder = cargo::target_directory()?.join("python").join("venv");
    let bin = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let python = bin.join("python");
    if !python
        .with_extension(std::env::consts::EXE_EXTENSION)
        .exists()
    {
        let own = if cfg!(windows) { "python" } else { "python3" };
        let make = ["-m", "venv"]
            .iter()
            .map(OsStr::new)
            .chain([folder.as_os_str()]);
        passed(Command::new(own).args(make), "python3 -m venv")?;
    }
    let requirements = cargo::root().join("python/tests/requirements.txt");
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ];
    let install = install
        .iter()
        .map(OsStr::new)
        .chain([requirements.as_os_str()]);
    passed(Command::new(&python).args(install), "pip")?;
    Ok(python)
}

/// The wheel, built with what cargo has built for the workspace.
fn wheel(python: &Path, built: bool) -> Result<PathBuf, String> {
    let target = cargo::target_directory()?;
    let wheels = target.join("python").join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
    }
    let mut maturin = Command::new(python);
    maturin
        .args(["-m", "maturin", "build", "--release", "--out"])
        .arg(&wheels)
        .arg("--interpreter")
        .arg(python)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(cargo::root().join("python"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    println!("     Running maturin build --release");
    let mut child = maturin
        .spawn()
        .map_err(|error| format!("maturin does not start: {error}"))?;
    let stderr = child.stderr.take().ok_or("maturin has no output")?;
    let mut anew = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        eprintln!("{line}");
        let compiled = line.trim_start().strip_prefix("Compiling ");
        let name = compiled
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        if ["wgpu", "naga", "wgpu-activations"].contains(&name) {
            anew.push(name.to_owned());
        }
    }
    let status = child.wait().map_err(|error| format!("maturin: {error}"))?;
    if !status.success() {
        return Err(format!("maturin build: {status}"));
    }
    if built && !anew.is_empty() {
        return Err(format!(
            "the wheel's build compiled {} anew: {}",
            anew.join(", "),
            "python/Cargo.toml lacks a feature that the workspace's build of a dependency has"
        ));
    }
    let entries =
        fs::read_dir(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
    let wheel = entries.filter_map(|entry| Some(entry.ok()?.path())).next();
    wheel.ok_or_else(|| "maturin made no wheel".to_owned())
}

fn passed(command: &mut Command, what: &str) -> Outcome {
    println!("     Running {what}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what} does not start: {error}")),
    }
}

/// Runs pytest, with its output passed on and its last line's numbers added.
fn tested(mut pytest: Command, counts: &mut Counts) -> Outcome {
    println!("     Running pytest");
    let mut child = pytest
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("pytest does not start: {error}"))?;
    let output = child.stdout.take().ok_or("pytest has no output")?;
    let mut last = String::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let _ = writeln!(std::io::stdout(), "{line}");
        if !line.trim().is_empty() {
            last = line;
        }
    }
    counts.read_pytest(&last);
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("pytest: {status}")),
        Err(error) => Err(format!("pytest: {error}")),
    }
}
