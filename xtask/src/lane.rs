//! The stages of `cargo xtask ci` that run beside the tests, in a process of their own: what they print goes
//! into a file, and is passed on when the tests have ended.

use crate::counts::Counts;
use crate::{Outcome, adapters, cargo, compilers, isa, python, web};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The argument by which `ci` starts itself for them.
pub const STAGES: &str = "--stages";

/// The stages, running.
pub struct Lane {
    child: Child,
    log: PathBuf,
}

/// Starts them.
pub fn start() -> Result<Lane, String> {
    let log = cargo::target_directory()?.join("ci-stages.log");
    let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let same = file.try_clone();
    let same = same.map_err(|error| format!("{}: {error}", log.display()))?;
    let program = std::env::current_exe();
    let program = program.map_err(|error| format!("where this program lies: {error}"))?;
    println!("     Running the later stages beside the tests; their output comes at the end");
    let child = Command::new(program)
        .args(["ci", STAGES])
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(same)
        .spawn()
        .map_err(|error| format!("the later stages do not start: {error}"))?;
    Ok(Lane { child, log })
}

impl Lane {
    /// Waits for them, passes their output on, and adds what the last line counts.
    pub fn end(mut self, counts: &mut Counts) -> Outcome {
        let status = self.child.wait();
        let status = status.map_err(|error| format!("the later stages: {error}"))?;
        let text = fs::read(&self.log);
        let text = text.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_end();
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        println!("{before}");
        let counted = counts.read_total(last);
        if !counted {
            println!("{last}");
        }
        match status.success() && counted {
            true => Ok(()),
            false => Err(format!("the later stages: {status}")),
        }
    }
}

/// Runs them one after the other; the last line has the counts.
pub fn stages() -> Outcome {
    let mut counts = Counts::default();
    let compiled = compilers::ci(&mut counts);
    let for_amd = isa::ci(&mut counts);
    let elsewhere = adapters::ci(&mut counts);
    // Last: maturin's environment compiles PyO3 anew, and the workspace's would once more.
    let packaged = python::environment().and_then(|python| python::ci(&mut counts, &python, true));
    let browsed = web::ci(&mut counts);
    let outcomes = [compiled, for_amd, elsewhere, packaged, browsed];
    let reasons = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    reasons.for_each(|reason| println!("\nxtask: {reason}"));
    println!("{counts}");
    // Told above, so that the counts are what comes last.
    if outcomes.iter().any(Result::is_err) {
        std::process::exit(1);
    }
    Ok(())
}
