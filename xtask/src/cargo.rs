//! Running cargo, and what it built, with the output passed through.

use crate::Outcome;
use crate::counts::Counts;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs cargo in the workspace root.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let status = command(arguments, environment).status();
    verdict(arguments, status)
}

/// Runs cargo and adds up the results of the tests in its output.
pub fn run_counting(
    arguments: &[&str],
    environment: &[(&str, &str)],
    counts: &mut Counts,
) -> Outcome {
    let mut child = command(arguments, environment)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let output = child.stdout.take().ok_or("cargo has no output")?;
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    // Bytes, not text: a test may print anything, and all of it is passed on.
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        // Where nobody reads our output any more, the counts and the exit code still matter.
        let _ = std::io::stdout().write_all(&line);
        counts.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    verdict(arguments, child.wait())
}

/// Builds and runs every example of the library; each one counts as a test.
pub fn run_examples(environment: &[(&str, &str)], counts: &mut Counts) -> Outcome {
    run(&["build", "--release", "--workspace", "--examples"], &[])?;
    // Not `cargo run --example`: that selects one package's features and builds wgpu again.
    let binaries = target_directory()?.join("release").join("examples");
    for name in target_names(&root().join("examples"))? {
        println!("\n     Running example {name}");
        let status = Command::new(
            binaries
                .join(&name)
                .with_extension(env::consts::EXE_EXTENSION),
        )
        .current_dir(root())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .status();
        let passed = status.as_ref().is_ok_and(|status| status.success());
        counts.add(passed);
        println!(
            "example {name} ... {}",
            if passed { "ok" } else { "FAILED" }
        );
        if let Err(error) = status {
            println!("  it does not start: {error}");
        }
    }
    Ok(())
}

/// The examples or tests that cargo finds in `directory`: `NAME.rs` and `NAME/main.rs`, in order.
pub fn target_names(directory: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_source = path.extension().is_some_and(|extension| extension == "rs");
            let is_example = is_source || path.join("main.rs").is_file();
            Some(path.file_stem()?.to_str()?.to_owned()).filter(|_| is_example)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// Where this binary lies is where cargo puts everything, whatever its configuration says:
/// TARGET/PROFILE/xtask.
pub fn target_directory() -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let target = this.ancestors().nth(2);
    Ok(target
        .ok_or("this program lies in no target folder")?
        .to_owned())
}

/// The workspace root.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    println!("     Running cargo {}", arguments.join(" "));
    // Cargo names itself to what it runs; the path's one serves where this runs by itself.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

fn verdict(arguments: &[&str], status: std::io::Result<std::process::ExitStatus>) -> Outcome {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo does not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_found_by_cargos_rule() {
        let directory = env::temp_dir().join(format!("xtask-{}", std::process::id()));
        fs::create_dir_all(directory.join("folder")).unwrap();
        fs::create_dir_all(directory.join("data")).unwrap();
        fs::write(directory.join("one.rs"), "").unwrap();
        fs::write(directory.join("folder/main.rs"), "").unwrap();
        fs::write(directory.join("data/README.md"), "").unwrap();
        assert_eq!(target_names(&directory).unwrap(), ["folder", "one"]);
        fs::remove_dir_all(&directory).unwrap();
        assert!(target_names(&directory).is_err());
    }
}
