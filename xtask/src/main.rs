//! The project's chores: `cargo xtask test`, `ci`, `adapters`, `compilers`, `isa`, `hosts`, `torture`,
//! `accuracy`, `performance`, `python`, `web` and `docs`.

mod accuracy;
mod adapter;
mod adapters;
mod bundle;
mod cargo;
#[cfg(test)]
mod circles;
mod compilers;
mod counts;
mod devices;
mod docs;
mod hosts;
mod isa;
mod lane;
mod licences;
mod packages;
mod performance;
mod python;
mod web;

use counts::Counts;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test      install the software adapter where it is missing and may be installed,
            then run every test, documentation test and example
  ci        check the format, the lints and the documentation with warnings denied, then test, and
            beside that compile for Direct3D, Metal, Chrome and an AMD card, check lavapipe and
            SwiftShader, and build and test the Python package
  adapters  hold every function against the f64 reference on each implementation of Vulkan and
            OpenGL that is there or can be had; `cargo xtask adapters --help` has the options
  compilers compile every shader with Direct3D's compiler, as Metal and with Chrome's, and hold
            the arithmetic that they may make of it against the f64 reference;
            `cargo xtask compilers --help` has the options
  isa       compile every pipeline for AMD's cards without a card, and count what the code costs;
            `cargo xtask isa --help` has the options
  hosts     check the library and the command line for Windows, macOS and Linux on 64-bit Arm, the
            library for browsers, and run the CPU backend's tests as Arm code under an emulator
  torture [SECONDS]
            damaged files and chains, interrupted runs, and memory after very many operations: the
            tests that do this in short, for so many seconds each (60), with what they found
  accuracy [REPORT.json...]
            take over what reports of `activations check --exhaustive` found: into the table of
            docs/accuracy.md, and the worst inputs into the inputs of `activations check`
  devices [REPORT.json...]
            take over what reports of `activations report` found into the tables of docs/devices.md
  bundle    make a folder for a Linux machine with a GPU and nothing installed: the program, a Vulkan
            loader, and a script that makes the report and measures PyTorch beside it
  performance [PEERS.json...]
            measure on this machine with `activations bench`, and write the tables of
            docs/performance.md; with reports of benches/peers/run.sh, write theirs
  python    build the Python package's wheel with maturin, install it into an environment under the
            target folder, and test it there with pytest
  web       compile the library to WebAssembly, make the npm package and the page of it, and test them
            in a browser; `cargo xtask web --help` has the options
  docs      write anew what the documentation takes from the code: the table of functions, the
            plots, and the measured accuracy (which needs an adapter)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["test"] => test(),
        ["ci"] => ci(),
        ["ci", lane::STAGES] => lane::stages(),
        ["docs"] => docs::write(),
        ["torture"] => torture("60"),
        ["torture", seconds] if seconds.parse::<u32>().is_ok() => torture(seconds),
        ["performance", ..] => performance::write(&arguments[1..]),
        ["accuracy", ..] => accuracy::write(&arguments[1..]),
        ["devices", ..] => devices::write(&arguments[1..]),
        ["bundle"] => bundle::make(),
        ["isa", isa::PART, ..] => isa::part(&arguments[2..]),
        ["hosts"] => hosts::run(),
        ["python"] => python::run(),
        ["adapters", ..] => match adapters::run(&arguments[1..]) {
            Err(None) => return ExitCode::from(2),
            Err(Some(reason)) => Err(reason),
            Ok(()) => Ok(()),
        },
        ["web", ..] => match web::run(&arguments[1..]) {
            Err(None) => return ExitCode::from(2),
            Err(Some(reason)) => Err(reason),
            Ok(()) => Ok(()),
        },
        ["isa", ..] => match isa::run(&arguments[1..]) {
            Err(None) => return ExitCode::from(2),
            Err(Some(reason)) => Err(reason),
            Ok(()) => Ok(()),
        },
        ["compilers", ..] => match compilers::run(&arguments[1..]) {
            Err(None) => return ExitCode::from(2),
            Err(Some(reason)) => Err(reason),
            Ok(()) => Ok(()),
        },
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What kept a chore from succeeding, as one line for the user.
type Outcome = Result<(), String>;

/// Prints the usage where the arguments ask for it.
fn helped(arguments: &[&str], usage: &str) -> bool {
    let asked = ["help", "--help", "-h"]
        .iter()
        .any(|help| arguments.contains(help));
    if asked {
        println!("{usage}");
    }
    asked
}

fn ci() -> Outcome {
    // What the later stages need is downloaded while the compiler has both cores. What fails is told by the
    // stage that needs it.
    let downloads =
        std::thread::spawn(|| (python::environment().is_ok(), web::tools_of_tests().is_ok()));
    cargo::run(&["fmt", "--all", "--check"], &[])?;
    let lint = "clippy --release --workspace --all-targets -- -D warnings";
    cargo::run(&lint.split(' ').collect::<Vec<_>>(), &[])?;
    let doc = ["doc", "--release", "--workspace", "--no-deps"];
    cargo::run(&doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    let build = ["test", "--release", "--workspace", "--no-run"];
    cargo::run(&build, &[])?;
    // First: of two that install packages, the second finds the system's lock taken.
    let _ = downloads.join();
    adapter::provide();
    let mut counts = Counts::default();
    // Tests and stages leave a core idle for much of their time: they run side by side.
    let lane = lane::start()?;
    let tests_ran = run_tests(&mut counts);
    let stages_ran = lane.end(&mut counts);
    println!("\n{counts}");
    tests_ran.and(stages_ran)?;
    counts.verdict()
}

fn test() -> Outcome {
    let mut counts = Counts::default();
    let tests_ran = run_tests(&mut counts);
    println!("\n{counts}");
    tests_ran?;
    counts.verdict()
}

/// The tests of this name, each for that long. Where one fails it says how to repeat it.
fn torture(seconds: &str) -> Outcome {
    let environment = [
        ("ACTIVATIONS_CACHE", "off"),
        ("ACTIVATIONS_TORTURE", seconds),
    ];
    let mut counts = Counts::default();
    let tests = "test --release --workspace --no-fail-fast --test cli --test gpu -- \
                 torture --test-threads=1";
    let tests: Vec<&str> = tests.split_whitespace().collect();
    let ran = cargo::run_counting(&tests, &environment, &mut counts);
    println!("\n{counts}");
    ran?;
    counts.verdict()
}

fn run_tests(counts: &mut Counts) -> Outcome {
    let environment = [
        // What an earlier run kept must not be what is tested, nor be replaced.
        ("ACTIVATIONS_CACHE", "off"),
        // Where this is set, a test that finds no adapter fails instead of skipping its GPU half.
        ("ACTIVATIONS_REQUIRE_GPU", "1"),
    ];
    let set = if adapter::provide() { 2 } else { 1 };
    let environment = &environment[..set];

    // One feature set for all: another selection of packages would build wgpu a second time.
    let tests = ["test", "--release", "--workspace", "--no-fail-fast"];
    let tests_ran = cargo::run_counting(&tests, environment, counts);
    let examples_ran = cargo::run_examples(environment, counts);
    tests_ran.and(examples_ran)
}
