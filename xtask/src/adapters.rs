//! `cargo xtask adapters`: the accuracy check on every implementation of Vulkan and OpenGL that
//! is there or can be had, in one table.

use crate::counts::Counts;
use crate::docs::{Check, HALVES, Rounded, number};
use crate::packages::{self, Apt};
use crate::{Outcome, adapter, cargo};
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The names in this variable, with commas between, may be missing where CI requires them.
const ALLOW_MISSING: &str = "ACTIVATIONS_ALLOW_MISSING";

pub const USAGE: &str = "\
usage: cargo xtask adapters [OPTION...] [NAME...]

Holds every function against the f64 reference on the implementations NAME, or all:

  lavapipe        Mesa's Vulkan driver for any CPU, the system's
  gl              Mesa's llvmpipe through OpenGL
  swiftshader     the Vulkan driver for any CPU of Debian's chromium-common, unpacked below
                  target/adapters
  mesa-backports  lavapipe of Debian's backports, unpacked there too
  gpu             the best adapter of this machine, where it is no software

  --require NAME  NAME's absence is a failure; where CI=true, so is that of lavapipe and
                  swiftshader, except those in ACTIVATIONS_ALLOW_MISSING
  --no-install    take what is there; install and download nothing
  --list          check nothing: print how to run a program on each";

/// The tests that run on SwiftShader, too: those of kernels, buffers and limits that are quick there.
const TESTS: [&str; 7] = [
    "conformance",
    "gate",
    "gpu",
    "oracle",
    "prelu",
    "random",
    "statistics",
];

/// Tests that take long on SwiftShader, and are about what all adapters have in common, or what the
/// check goes over too.
const SLOW: [&str; 4] = [
    "process::",
    "every_strategy_along_every_axis",
    "ten_million_rows_of_two",
    "a_step_past_a_binding_is_tiled",
];

/// One way to run the shaders.
struct Implementation {
    name: &'static str,
    /// A part of its adapter's name; another one that answers in its place is a failure.
    adapter: &'static str,
    /// Its absence is a failure in CI.
    in_ci: bool,
    /// Makes it be there, and says how it is chosen.
    provide: fn(&Provision) -> Result<Found, String>,
}

/// How an implementation is chosen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    environment: Vec<(&'static str, String)>,
    /// What its package is and its version, where the driver does not say.
    package: Option<String>,
}

const ALL: [Implementation; 5] = [
    Implementation {
        name: "lavapipe",
        adapter: "llvmpipe",
        in_ci: true,
        provide: |provision| {
            let manifest = adapter::lavapipe(provision.install)?;
            Ok(Found::vulkan(&manifest))
        },
    },
    Implementation {
        name: "gl",
        adapter: "llvmpipe",
        in_ci: false,
        provide: |provision| {
            adapter::egl(provision.install)?;
            let environment = [
                ("WGPU_BACKEND", "gl"),
                ("LIBGL_ALWAYS_SOFTWARE", "1"),
                ("GALLIUM_DRIVER", "llvmpipe"),
            ];
            Ok(Found {
                environment: environment.map(|(k, v)| (k, v.to_owned())).into(),
                package: None,
            })
        },
    },
    Implementation {
        name: "swiftshader",
        adapter: "SwiftShader",
        in_ci: true,
        provide: swiftshader,
    },
    Implementation {
        name: "mesa-backports",
        adapter: "llvmpipe",
        in_ci: false,
        provide: mesa_backports,
    },
    Implementation {
        name: "gpu",
        adapter: "",
        in_ci: false,
        provide: |_| Ok(Found::default()),
    },
];

impl Found {
    /// The only Vulkan driver is `manifest`'s.
    fn vulkan(manifest: &Path) -> Self {
        let manifest = manifest.display().to_string();
        Self {
            environment: vec![
                ("WGPU_BACKEND", "vulkan".to_owned()),
                ("VK_DRIVER_FILES", manifest.clone()),
                // The older name, for older loaders.
                ("VK_ICD_FILENAMES", manifest),
                // A layer of Mesa's that sorts devices, and talks.
                ("NODEVICE_SELECT", "1".to_owned()),
            ],
            package: None,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let environment = self.environment.iter().map(|(k, v)| (k, v));
        command.envs(environment).stdin(Stdio::null());
        command
    }

    /// What goes before a program's name in a shell.
    fn shell(&self) -> String {
        let words: Vec<String> = self
            .environment
            .iter()
            .map(|(name, value)| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+~".contains(c);
                if value.chars().all(plain) {
                    format!("{name}={value}")
                } else {
                    format!("{name}='{}'", value.replace('\'', r"'\''"))
                }
            })
            .collect();
        words.join(" ")
    }
}

/// What may be installed and downloaded, and the package lists once they were asked for.
struct Provision {
    install: bool,
    apt: OnceCell<Result<Apt, String>>,
}

impl Provision {
    fn apt(&self) -> Result<&Apt, String> {
        if !self.install {
            return Err("it is not here, and nothing is to be downloaded".to_owned());
        }
        let apt = self
            .apt
            .get_or_init(|| Apt::update(&packages::folder()?.join("apt")));
        apt.as_ref().map_err(Clone::clone)
    }
}

fn swiftshader(provision: &Provision) -> Result<Found, String> {
    linux()?;
    adapter::loader(provision.install)?;
    let folder = packages::folder()?.join("swiftshader");
    let manifest = folder.join("vk_swiftshader_icd.json");
    if !manifest.exists() {
        let apt = provision.apt()?;
        println!("xtask: downloading SwiftShader, a part of chromium-common");
        let archives = apt.download(&["chromium-common"])?;
        let wanted = ["libvk_swiftshader.so", "vk_swiftshader_icd.json"];
        packages::unpack(&archives, &folder, |name| wanted.contains(&name))?;
    }
    if !manifest.exists() {
        return Err("chromium-common does not have it any more".to_owned());
    }
    Ok(Found {
        package: packages::label(&folder),
        ..Found::vulkan(&manifest)
    })
}

fn mesa_backports(provision: &Provision) -> Result<Found, String> {
    linux()?;
    adapter::loader(provision.install)?;
    let folder = packages::folder()?.join("mesa-backports");
    let driver = folder.join("libvulkan_lvp.so");
    if !driver.exists() {
        let apt = provision.apt()?;
        println!("xtask: downloading Mesa from Debian's backports");
        let archives = apt.download_backports(&["mesa-vulkan-drivers"])?;
        if archives.is_empty() {
            return Err("the backports have no newer one than the system".to_owned());
        }
        packages::unpack(&archives, &folder, |name| {
            name == "libvulkan_lvp.so"
                || name.contains(".so.")
                || name.starts_with("lvp_icd") && name.ends_with(".json")
        })?;
    }
    if !driver.exists() {
        return Err("the package does not have lavapipe any more".to_owned());
    }
    // The package's own manifest names the driver without a folder: the loader would look for it
    // where the system's is.
    let manifest = folder.join("driver.json");
    let text = json!({"file_format_version": "1.0.0",
                      "ICD": {"library_path": "./libvulkan_lvp.so", "api_version": "1.3.0"}});
    fs::write(&manifest, text.to_string()).map_err(|e| format!("{}: {e}", manifest.display()))?;
    let mut found = Found::vulkan(&manifest);
    let folder = folder.display().to_string();
    found.environment.push(("LD_LIBRARY_PATH", folder));
    Ok(found)
}

fn linux() -> Outcome {
    if cfg!(target_os = "linux") {
        Ok(())
    } else {
        Err("it is fetched on Linux only".to_owned())
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// All where empty.
    names: Vec<String>,
    required: Vec<String>,
    no_install: bool,
    list: bool,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let known = |name: &str| {
            let mut names = ALL.iter().map(|implementation| implementation.name);
            if names.any(|n| n == name) {
                Ok(name.to_owned())
            } else {
                Err(format!("there is no implementation or option {name}"))
            }
        };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            match argument {
                "--no-install" => options.no_install = true,
                "--list" => options.list = true,
                "--require" => {
                    let name = arguments.next().ok_or("--require needs a NAME")?;
                    options.required.push(known(name)?);
                }
                name => options.names.push(known(name)?),
            }
        }
        // What is required is asked for, too.
        if !options.names.is_empty() {
            options.names.extend(options.required.iter().cloned());
        }
        Ok(options)
    }

    fn selects(&self, implementation: &Implementation) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == implementation.name)
    }

    /// Whether its absence is a failure.
    fn requires(
        &self,
        implementation: &Implementation,
        variable: impl Fn(&str) -> Option<String>,
    ) -> bool {
        let name = implementation.name;
        self.required.iter().any(|required| required == name)
            || implementation.in_ci && required_in_ci(name, variable)
    }
}

/// Whether the environment makes it a failure that what has this name is missing.
pub fn required_in_ci(name: &str, variable: impl Fn(&str) -> Option<String>) -> bool {
    let allowed = variable(ALLOW_MISSING).unwrap_or_default();
    variable("CI").is_some_and(|value| value == "true")
        && allowed.split(',').all(|allowed| allowed != name)
}

/// What became of one implementation.
enum Fate {
    Missing(String),
    /// Something is wrong with the implementation, or with the program on it.
    Failed(String),
    Checked(Row),
}

/// A row of the table.
struct Row {
    driver: String,
    checks: usize,
    /// The element-wise functions forward and backward, and the softmax family.
    worst: [f64; 3],
    breaches: Vec<String>,
    /// Results in 16 bits that are within the bounds and not correctly rounded.
    other_way: u64,
    seconds: f64,
}

/// The chore with its arguments; `Err(None)` where they are wrong.
pub fn run(arguments: &[&str]) -> Result<(), Option<String>> {
    if crate::helped(arguments, USAGE) {
        return Ok(());
    }
    let options = Options::parse(arguments).map_err(|reason| {
        eprintln!("xtask: {reason}\n{USAGE}");
        None
    })?;
    if options.list {
        return list(&options).map_err(Some);
    }
    check(&options, &mut Counts::default()).map_err(Some)
}

/// How cargo runs the tests that run on SwiftShader, too.
fn test_arguments() -> Vec<String> {
    let all = ["test", "--release", "--workspace", "--no-fail-fast"];
    let mut arguments = all.map(str::to_owned).to_vec();
    arguments.extend(
        TESTS
            .iter()
            .flat_map(|name| ["--test", name])
            .map(str::to_owned),
    );
    arguments.push("--".to_owned());
    arguments.extend(SLOW.iter().map(|name| format!("--skip={name}")));
    arguments
}

/// What continuous integration does beside the tests: the check on lavapipe and SwiftShader, and
/// tests of the device level on the latter, which has other limits and flushes subnormals.
pub fn ci(counts: &mut Counts) -> Outcome {
    let names = ALL.iter().filter(|implementation| implementation.in_ci);
    let options = Options {
        names: names
            .map(|implementation| implementation.name.to_owned())
            .collect(),
        ..Options::default()
    };
    let checked = check(&options, counts);
    let tested = match swiftshader(&provision(&options)) {
        Ok(found) => {
            println!("\nTests on SwiftShader");
            let mut environment = vec![
                ("ACTIVATIONS_REQUIRE_GPU", "1"),
                ("ACTIVATIONS_CACHE", "off"),
            ];
            environment.extend(found.environment.iter().map(|(k, v)| (*k, v.as_str())));
            let arguments = test_arguments();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            cargo::run_counting(&arguments, &environment, counts)
        }
        // The check has counted it, or let it pass, and said why.
        Err(_) => Ok(()),
    };
    checked.and(tested)
}

fn provision(options: &Options) -> Provision {
    Provision {
        install: !options.no_install,
        apt: OnceCell::new(),
    }
}

/// How to run a program on each.
fn list(options: &Options) -> Outcome {
    let provision = provision(options);
    let mut missing = Vec::new();
    for implementation in ALL.iter().filter(|i| options.selects(i)) {
        let name = implementation.name;
        match (implementation.provide)(&provision) {
            Ok(found) if found.environment.is_empty() => println!("{name}: nothing to set"),
            Ok(found) => println!("{name}: {}", found.shell()),
            Err(why) => {
                println!("{name}: not here: {why}");
                if options.requires(implementation, |name| env::var(name).ok()) {
                    missing.push(name);
                }
            }
        }
    }
    none("required and not here", &missing)
}

/// An error that names the implementations, where there are any.
fn none(fault: &str, names: &[&str]) -> Outcome {
    if names.is_empty() {
        Ok(())
    } else {
        Err(format!("{fault}: {}", names.join(", ")))
    }
}

/// Checks what is selected and prints the table; each implementation counts as a test.
fn check(options: &Options, counts: &mut Counts) -> Outcome {
    let build = ["build", "--release", "--workspace", "--bins", "--examples"];
    cargo::run(&build, &[])?;
    let activations = cargo::target_directory()?.join("release/activations");
    let softmax = axis_functions(&activations)?;

    let provision = provision(options);
    let mut fates = Vec::new();
    for implementation in ALL.iter().filter(|i| options.selects(i)) {
        let fate = match (implementation.provide)(&provision) {
            Err(why) => Fate::Missing(why),
            Ok(found) => {
                println!("\n{}: {} activations", implementation.name, found.shell());
                examine(implementation, &found, &activations, &softmax)
            }
        };
        let fate = match fate {
            Fate::Missing(why) if options.requires(implementation, |name| env::var(name).ok()) => {
                Fate::Failed(format!("required and not here: {why}"))
            }
            other => other,
        };
        match &fate {
            Fate::Checked(row) => counts.add(row.breaches.is_empty()),
            Fate::Failed(_) => counts.add(false),
            Fate::Missing(_) => counts.skip(),
        }
        fates.push((implementation.name, fate));
    }
    println!("\n{}", table(&fates));
    let broken = |fate: &Fate| match fate {
        Fate::Checked(row) => !row.breaches.is_empty(),
        Fate::Failed(_) => true,
        Fate::Missing(_) => false,
    };
    let broken: Vec<&str> = fates
        .iter()
        .filter(|(_, fate)| broken(fate))
        .map(|(name, _)| *name)
        .collect();
    none("the check fails on", &broken)
}

/// The names of the functions along an axis, which have a column of their own.
fn axis_functions(activations: &Path) -> Result<HashSet<String>, String> {
    let list = output(Command::new(activations).args(["list", "--json"]))?;
    let entries = list.as_array().ok_or("`activations list` prints no list")?;
    let axis = entries.iter().filter(|entry| entry["kind"] == "axis");
    let names = axis.filter_map(|entry| Some(entry["name"].as_str()?.to_owned()));
    Ok(names.collect())
}

fn examine(
    implementation: &Implementation,
    found: &Found,
    activations: &Path,
    softmax: &HashSet<String>,
) -> Fate {
    let adapters = output(found.command(activations).args(["adapters", "--json"]));
    let adapters = match adapters {
        Ok(adapters) => adapters,
        Err(why) => return Fate::Failed(why),
    };
    let chosen = adapters
        .as_array()
        .and_then(|adapters| adapters.iter().find(|a| a["chosen"] == true));
    let text = |key: &str| chosen.and_then(|a| a[key].as_str()).unwrap_or_default();
    if implementation.name == "gpu"
        && (chosen.is_none() || text("device_type") == "software adapter")
    {
        return Fate::Missing("this machine has none".to_owned());
    }
    if chosen.is_none() {
        return Fate::Failed("no adapter answers".to_owned());
    }
    if !text("name").contains(implementation.adapter) {
        return Fate::Failed(format!("the adapter `{}` answers instead", text("name")));
    }
    let package = found.package.as_deref().unwrap_or_default();
    let driver = [text("driver"), package].join(" ").trim().to_owned();

    let begin = Instant::now();
    let summary = output(
        found
            .command(activations)
            .args(["check", "--json", "--backend", "gpu"]),
    );
    let row = summary
        .and_then(|summary| Row::new(&summary, driver, softmax))
        .and_then(|mut row| {
            for dtype in HALVES {
                let arguments = ["check", "--json", "--backend", "gpu", "--dtype", dtype];
                row.add_half(dtype, &output(found.command(activations).args(arguments))?)?;
            }
            row.seconds = begin.elapsed().as_secs_f64();
            Ok(row)
        });
    match row {
        Ok(row) => Fate::Checked(row),
        Err(why) => Fate::Failed(why),
    }
}

/// What a program prints as JSON, whether or not it succeeds: a breach is a result here.
fn output(command: &mut Command) -> Result<Value, String> {
    let program = command.get_program().to_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "`activations` printed no JSON and ended with {}",
            output.status
        )
    })
}

impl Row {
    fn new(summary: &Value, driver: String, softmax: &HashSet<String>) -> Result<Self, String> {
        let entries = summary["checks"].as_array();
        let checks: Option<Vec<Check<'_>>> =
            entries.and_then(|entries| entries.iter().map(Check::new).collect());
        let checks = checks.ok_or("the output of `activations check --json` has changed")?;
        let mut worst = [0.0_f64; 3];
        let mut breaches = Vec::new();
        for check in &checks {
            let column = match check.pass {
                _ if softmax.contains(check.name()) => 2,
                "backward" => 1,
                _ => 0,
            };
            worst[column] = worst[column].max(check.ulp);
            if !check.passed {
                let [input, got, want] = ["worst_input", "got", "want"].map(|key| {
                    number(&check.entry[key]).map_or(String::new(), |n| format!("{n:.8e}"))
                });
                breaches.push(format!(
                    "{} {}: {} ULP at {input}: {got} instead of {want}",
                    check.function,
                    check.pass,
                    ulp(check.ulp)
                ));
            }
        }
        Ok(Self {
            driver,
            checks: checks.len(),
            worst,
            breaches,
            other_way: 0,
            seconds: 0.0,
        })
    }

    /// Adds what was found over every number of a type of 16 bits.
    fn add_half(&mut self, dtype: &str, summary: &Value) -> Result<(), String> {
        let all = Rounded::all(summary)?;
        self.checks += all.len();
        self.other_way += all.iter().map(|rounded| rounded.other_way).sum::<u64>();
        for r in all.iter().filter(|rounded| rounded.wrong > 0) {
            self.breaches.push(format!(
                "{} {} in {dtype}: {} of {} results are wrong",
                r.function, r.pass, r.wrong, r.inputs
            ));
        }
        Ok(())
    }
}

/// An error in ULP; what is off by the whole scale in a readable width.
pub fn ulp(ulp: f64) -> String {
    if ulp < 1e6 || ulp.is_infinite() {
        format!("{ulp:.2}")
    } else {
        format!("{ulp:.1e}")
    }
}

/// The table in Markdown, and under it what was outside its bound.
fn table(fates: &[(&str, Fate)]) -> String {
    let mut out = "| Implementation | Driver | Checks | Breaches | Forward | Backward | Softmax | 16 bits | Seconds |\n\
                   |---|---|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (name, fate) in fates {
        let _ = match fate {
            Fate::Checked(row) => {
                let [forward, backward, softmax] = row.worst.map(ulp);
                writeln!(
                    out,
                    "| {name} | {} | {} | {} | {forward} | {backward} | {softmax} | {} | {:.1} |",
                    row.driver,
                    row.checks,
                    row.breaches.len(),
                    row.other_way,
                    row.seconds
                )
            }
            Fate::Missing(why) => writeln!(out, "| {name} | not here: {why} | | | | | | | |"),
            Fate::Failed(why) => writeln!(out, "| {name} | FAILED: {why} | | | | | | | |"),
        };
    }
    for (name, fate) in fates {
        if let Fate::Checked(row) = fate {
            for breach in &row.breaches {
                let _ = writeln!(out, "{name}: {breach}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> &'static Implementation {
        const { &ALL }.iter().find(|i| i.name == name).unwrap()
    }

    #[test]
    fn names_select_and_others_are_refused() {
        let all = Options::parse(&[]).unwrap();
        assert!(ALL.iter().all(|i| all.selects(i)));
        let some = Options::parse(&["gl", "--no-install", "--require", "swiftshader"]).unwrap();
        assert!(some.selects(of("gl")) && some.selects(of("swiftshader")));
        assert!(!some.selects(of("lavapipe")) && some.no_install && !some.list);
        assert!(Options::parse(&["opencl"]).is_err());
        assert!(Options::parse(&["--require"]).is_err());
        assert!(Options::parse(&["--require", "--list"]).is_err());
    }

    #[test]
    fn ci_requires_two_unless_it_is_told() {
        let options = Options::default();
        let none = |_: &str| None;
        let ci = |name: &str| (name == "CI").then(|| "true".to_owned());
        let lenient = |name: &str| match name {
            "CI" => Some("true".to_owned()),
            ALLOW_MISSING => Some("gl,swiftshader".to_owned()),
            _ => None,
        };
        assert!(!options.requires(of("lavapipe"), none));
        assert!(options.requires(of("lavapipe"), ci) && options.requires(of("swiftshader"), ci));
        assert!(!options.requires(of("mesa-backports"), ci));
        assert!(options.requires(of("lavapipe"), lenient));
        assert!(!options.requires(of("swiftshader"), lenient));
        let asked = Options::parse(&["--require", "swiftshader"]).unwrap();
        assert!(asked.requires(of("swiftshader"), lenient));
    }

    #[test]
    fn a_row_has_the_worst_of_each_kind_and_every_breach() {
        let check = |function: &str, pass: &str, ulp: f64, passed: bool| {
            json!({"function": function, "pass": pass, "passed": passed, "inputs": 10,
                   "max_ulp": ulp, "worst_input": -1.5, "got": "NaN", "want": 0.25})
        };
        let summary = json!({"checks": [
            check("elu(alpha=1)", "forward", 0.5, true),
            check("elu(alpha=2)", "forward", 1.5, true),
            check("elu(alpha=1)", "backward", 2e7, false),
            check("softmax", "backward", 1.25, true),
        ]});
        let softmax = HashSet::from(["softmax".to_owned()]);
        let mut row = Row::new(&summary, "driver 1".to_owned(), &softmax).unwrap();
        assert_eq!(row.worst, [1.5, 2e7, 1.25]);
        let half = |wrong: u64| {
            json!({"checks": [{"function": "elu(alpha=1)", "pass": "forward", "inputs": 65_536,
                   "other_way": 7, "wrong": wrong}]})
        };
        row.add_half("f16", &half(0)).unwrap();
        row.add_half("bf16", &half(3)).unwrap();
        let text = table(&[
            ("one", Fate::Checked(row)),
            ("two", Fate::Missing("no network".to_owned())),
        ]);
        assert!(
            text.contains("| one | driver 1 | 6 | 2 | 1.50 | 2.0e7 | 1.25 | 14 | 0.0 |\n"),
            "{text}"
        );
        assert!(text.contains("| two | not here: no network |"), "{text}");
        assert!(
            text.contains("one: elu(alpha=1) backward: 2.0e7 ULP at -1.50000000e0: NaN"),
            "{text}"
        );
        assert!(
            text.contains("one: elu forward in bf16: 3 of 65536 results are wrong\n"),
            "{text}"
        );
        assert!(Row::new(&json!({}), String::new(), &softmax).is_err());
    }

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        let mut found = Found::vulkan(Path::new("/a b/c.json"));
        found
            .environment
            .retain(|(name, _)| *name != "NODEVICE_SELECT");
        assert_eq!(
            found.shell(),
            "WGPU_BACKEND=vulkan VK_DRIVER_FILES='/a b/c.json' VK_ICD_FILENAMES='/a b/c.json'"
        );
    }

    /// A test that was renamed would otherwise be run, or be an error of cargo's, in CI alone.
    #[test]
    fn the_tests_for_swiftshader_are_there() {
        let tests = cargo::root().join("tests");
        let names = cargo::target_names(&tests).unwrap();
        assert!(
            TESTS
                .iter()
                .all(|test| names.iter().any(|name| name == test))
        );
        let mut texts = String::new();
        for file in ["main", "process", "sizes"] {
            texts +=
                &fs::read_to_string(tests.join("gpu").join(file).with_extension("rs")).unwrap();
        }
        for slow in SLOW {
            let declared = format!("mod {};", slow.trim_end_matches(':'));
            assert!(texts.contains(&format!("fn {slow}(")) || texts.contains(&declared));
        }
        let arguments = test_arguments();
        assert!(
            arguments
                .iter()
                .any(|argument| argument == "--skip=process::")
        );
    }

    #[test]
    fn nothing_is_downloaded_where_nothing_is_to_be() {
        let provision = Provision {
            install: false,
            apt: OnceCell::new(),
        };
        assert!(provision.apt().is_err());
    }
}
