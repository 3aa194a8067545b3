//! Other systems than this one: the library and the command line are checked for each (for browsers the
//! library), and the CPU backend's tests run as 64-bit Arm code under an emulator.

use crate::counts::Counts;
use crate::{Outcome, adapter, cargo};
use std::process::Command;

/// A system that code is checked for.
struct Host {
    target: &'static str,
    /// The packages that are meant to run there.
    packages: &'static [&'static str],
    /// Of cargo.
    options: &'static [&'static str],
    /// The compiler of what a dependency has in C or assembler.
    compiler: Option<(&'static str, &'static str)>,
}

const BOTH: &[&str] = &["wgpu-activations", "activations-cli"];

const HOSTS: [Host; 6] = [
    Host {
        target: "x86_64-pc-windows-gnu",
        packages: BOTH,
        options: &[],
        compiler: None,
    },
    Host {
        target: "aarch64-apple-darwin",
        packages: BOTH,
        options: &[],
        compiler: Some(("CC_aarch64_apple_darwin", "clang")),
    },
    Host {
        target: ARM,
        packages: BOTH,
        options: &[],
        compiler: Some(("CC_aarch64_unknown_linux_gnu", ARM_COMPILER)),
    },
    Host {
        target: ARM,
        packages: &["wgpu-activations"],
        options: &["--no-default-features"],
        compiler: None,
    },
    Host {
        target: "wasm32-unknown-unknown",
        packages: &["wgpu-activations"],
        options: &[],
        compiler: None,
    },
    // Without the cache, and without wgpu's other interfaces.
    Host {
        target: "wasm32-unknown-unknown",
        packages: &["wgpu-activations-web"],
        options: &[],
        compiler: None,
    },
];

const ARM: &str = "aarch64-unknown-linux-gnu";
const ARM_COMPILER: &str = "aarch64-linux-gnu-gcc";
/// Where Debian has Arm's C library.
const ARM_RUNNER: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu";

/// Checks every host, then runs the tests. A tool that is missing and cannot be had ends it.
pub fn run() -> Outcome {
    adapter::clang(true)?;
    adapter::arm(true)?;
    for host in &HOSTS {
        provide(host.target)?;
        let mut arguments = vec!["check", "--release", "--target", host.target];
        arguments.extend(host.packages.iter().flat_map(|package| ["-p", package]));
        arguments.extend(host.options);
        let mut environment = vec![("RUSTFLAGS", "-D warnings")];
        environment.extend(host.compiler);
        cargo::run(&arguments, &environment)?;
    }
    let mut counts = Counts::default();
    // Slow code under a slow emulator: the CPU backend and the number types, no GPU and no chores.
    let tests = format!(
        "test --release --target {ARM} -p wgpu-activations --lib -- cpu:: element:: reference::"
    );
    let tests: Vec<&str> = tests.split_whitespace().collect();
    let ran = cargo::run_counting(
        &tests,
        &[
            ("CC_aarch64_unknown_linux_gnu", ARM_COMPILER),
            (
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
                ARM_COMPILER,
            ),
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", ARM_RUNNER),
        ],
        &mut counts,
    );
    println!("\n{counts}");
    ran?;
    counts.verdict()
}

/// Makes the standard library of a target be there.
pub fn provide(target: &str) -> Outcome {
    let status = Command::new("rustup")
        .args(["target", "add", target])
        .current_dir(cargo::root())
        .status()
        .map_err(|error| format!("rustup does not start, and {target} needs it: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("rustup target add {target}: {status}"))
    }
}
