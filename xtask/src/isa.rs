//! `cargo xtask isa`: every pipeline of the library through the compilers of AMD's cards, without a card, and what
//! their code costs: registers, memory that is spilled to, and arithmetic beside the time that memory takes.

mod code;
mod driver;
mod tables;
mod wave;

use crate::adapters;
use crate::counts::Counts;
use crate::packages::{self, Apt};
use crate::{Outcome, adapter, cargo, compilers};
use serde_json::json;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

pub const USAGE: &str = "\
usage: cargo xtask isa [--no-install] [--write] [--list] [NAME...]

Compiles every pipeline of the library for AMD's cards with Mesa's compiler, without a card, and counts
what the code costs. A pipeline that does not compile, that spills to memory or that takes more than 5
seconds is a failure. The cards are NAME, or all:

  polaris10  Radeon RX 480, GCN 4
  vega10     Radeon RX Vega 64, GCN 5
  navi10     Radeon RX 5700 XT, RDNA 1
  navi21     Radeon RX 6800, RDNA 2
  navi31     Radeon RX 7900 XTX, RDNA 3
  gfx1150    Radeon 890M, RDNA 3.5

The driver, and the library that stands in for its kernel's part, are the packages mesa-vulkan-drivers
and mesa-drm-shim of Debian's backports, unpacked below target/adapters.

  --no-install  take what is there; install and download nothing
  --write       put the tables into docs/isa.md in place of printing them
  --list        compile nothing: print how to start a program on each card's driver";

/// The argument by which this program starts itself on a driver.
pub const PART: &str = "--part";

/// The name by which ACTIVATIONS_ALLOW_MISSING allows that the driver is missing.
const NAME: &str = "isa";

/// Cards by the driver's names.
const CARDS: [(&str, &str); 6] = [
    ("polaris10", "Radeon RX 480, GCN 4"),
    ("vega10", "Radeon RX Vega 64, GCN 5"),
    ("navi10", "Radeon RX 5700 XT, RDNA 1"),
    (MODEL, "Radeon RX 6800, RDNA 2"),
    ("navi31", "Radeon RX 7900 XTX, RDNA 3"),
    ("gfx1150", "Radeon 890M, RDNA 3.5"),
];

/// The card whose code is counted.
const MODEL: &str = "navi21";

/// The name of the pipeline that is there to be objected to.
const MUST_SPILL: &str = "must spill";

/// Seconds of computing that a pipeline may take.
const MOST_SECONDS: f64 = 5.0;

const PAGE: &str = "docs/isa.md";
const BEGIN: &str = "<!-- isa: written by `cargo xtask isa --write` -->\n";
const END: &str = "<!-- end of isa -->";

/// The chore with its arguments; `Err(None)` where they are wrong.
pub fn run(arguments: &[&str]) -> Result<(), Option<String>> {
    if crate::helped(arguments, USAGE) {
        return Ok(());
    }
    let (options, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| argument.starts_with('-'));
    let known = |name: &&&str| CARDS.iter().any(|(card, _)| card == *name);
    let unknown = names.iter().find(|name| !known(name));
    let taken = ["--no-install", "--write", "--list"];
    let unknown = unknown.or(options.iter().find(|option| !taken.contains(option)));
    if let Some(unknown) = unknown {
        eprintln!("xtask: there is no card or option {unknown}\n\n{USAGE}");
        return Err(None);
    }
    let install = !options.contains(&"--no-install");
    let all = CARDS.map(|(card, _)| card);
    let cards = if names.is_empty() { &all[..] } else { &names };
    if options.contains(&"--list") {
        let driver = Driver::provide(install).map_err(Some)?;
        cards
            .iter()
            .for_each(|card| println!("{card}: {}", driver.shell(card)));
        return Ok(());
    }
    let mut counts = Counts::default();
    let tables = match options.contains(&"--write") {
        true => Tables::Written,
        false => Tables::Printed,
    };
    let outcome = compile(cards, install, tables, &mut counts);
    println!("\n{counts}");
    outcome.and_then(|()| counts.verdict()).map_err(Some)
}

/// What continuous integration does beside the tests: the card whose code is counted, as one test.
pub fn ci(counts: &mut Counts) -> Outcome {
    if let Err(why) = Driver::provide(true)
        && !adapters::required_in_ci(NAME, |name| env::var(name).ok())
    {
        println!("isa: left out: {why}");
        counts.skip();
        return Ok(());
    }
    compile(&[MODEL], true, Tables::Left, counts)
}

/// What becomes of the tables.
#[derive(Clone, Copy, PartialEq)]
enum Tables {
    /// They are not made.
    Left,
    Printed,
    /// Into the page.
    Written,
}

/// Compiles for these cards; each counts as a test.
fn compile(cards: &[&str], install: bool, tables: Tables, counts: &mut Counts) -> Outcome {
    let driver = Driver::provide(install)?;
    let folder = cargo::target_directory()?.join("isa");
    let list = folder.join("list");
    emptied(&list)?;
    let list = list.canonicalize().map_err(|e| problem(&list, e))?;
    let place = list.display().to_string();
    let test = "kernels::tests::isa::pipelines_for_drivers";
    compilers::ignored_test(test, &[("ACTIVATIONS_ISA", &place)])?;
    let (spilling, listed): (Vec<_>, Vec<_>) = read_list(&list)?
        .into_iter()
        .partition(|pipeline| pipeline.name == MUST_SPILL);
    if listed.is_empty() || spilling.len() != 1 {
        return Err("the library wrote no pipelines, or none that spills".to_owned());
    }
    let mut failed = Vec::new();
    let mut results = Vec::new();
    for &card in cards {
        let begin = Instant::now();
        let out = folder.join(card);
        emptied(&out)?;
        let mut compiled = driver.compile(card, &list, &out)?;
        let mut faults = faults_of(&listed, &compiled);
        // A check that sees no spill would pass everything.
        let spilled = compiled.remove(&spilling[0].number);
        if !spilled
            .and_then(|c| c.fault())
            .is_some_and(|fault| fault.contains("spills"))
        {
            faults.push("the pipeline that must spill does not".to_owned());
        }
        let seconds = begin.elapsed().as_secs_f64();
        let summary = Summary::new(&compiled);
        println!("{card}: {summary} ({seconds:.0} s)");
        for fault in faults.iter().take(40) {
            println!("  {fault}");
        }
        counts.add(faults.is_empty());
        if !faults.is_empty() {
            failed.push(card);
        }
        results.push((card, summary));
    }
    if cards.contains(&MODEL) && tables != Tables::Left {
        let counted = tables::count(&list, &folder.join(MODEL))?;
        let text = tables::write(&driver.version, &results, &counted);
        if tables == Tables::Written {
            let page = cargo::root().join(PAGE);
            let old = crate::accuracy::read(&page)?;
            let new = crate::accuracy::between(&old, BEGIN, END, &text);
            let new = new.ok_or(format!(
                "{PAGE} lacks the marks between which the tables go"
            ))?;
            fs::write(&page, new).map_err(|e| problem(&page, e))?;
        } else {
            println!("\n{text}");
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not all is compiled as it is to be for {}",
        failed.join(", ")
    ))
}

/// A folder with nothing in it.
fn emptied(folder: &Path) -> Outcome {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| problem(folder, e))?;
    }
    fs::create_dir_all(folder).map_err(|e| problem(folder, e))
}

fn problem(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The driver that has no card.
struct Driver {
    folder: PathBuf,
    /// Its package, with the version.
    version: String,
}

impl Driver {
    /// Makes it be there; or why it is not.
    fn provide(install: bool) -> Result<Self, String> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err("the drivers are fetched on Linux for x86-64 only".to_owned());
        }
        adapter::loader(install)?;
        let folder = packages::folder()?.join("amd");
        let needed = ["libvulkan_radeon.so", "libamdgpu_noop_drm_shim.so"];
        let there = || needed.iter().all(|file| folder.join(file).exists());
        if !there() {
            if !install {
                let why = "AMD's driver is not here, and nothing is to be downloaded; \
                           `cargo xtask isa` without --no-install fetches it";
                return Err(why.to_owned());
            }
            let apt = Apt::update(&packages::folder()?.join("apt"))?;
            println!("xtask: downloading AMD's driver from Debian's backports");
            let archives = apt.download_backports(&["mesa-vulkan-drivers", "mesa-drm-shim"])?;
            packages::unpack(&archives, &folder, |name| {
                needed.contains(&name) || name.contains(".so.") || name == "amdgpu.ids"
            })?;
        }
        if !there() {
            let why = "the backports have no driver that is newer than the system's, or it lacks \
                       libamdgpu_noop_drm_shim.so; it is of a release of Debian with both";
            return Err(why.to_owned());
        }
        let text = json!({"file_format_version": "1.0.0",
                          "ICD": {"library_path": "./libvulkan_radeon.so", "api_version": "1.3.0"}});
        let manifest = folder.join("driver.json");
        fs::write(&manifest, text.to_string()).map_err(|e| problem(&manifest, e))?;
        let label = fs::read_to_string(folder.join(packages::LABEL)).unwrap_or_default();
        let version = label
            .lines()
            .find(|line| line.starts_with("mesa-vulkan-drivers"));
        let version = version.unwrap_or("Mesa").replace('_', " ");
        Ok(Self { folder, version })
    }

    /// What starts a program on it as if a card were there.
    fn environment(&self, card: &str) -> Vec<(&'static str, String)> {
        let path = |file: &str| self.folder.join(file).display().to_string();
        vec![
            ("AMDGPU_GPU_ID", card.to_owned()),
            ("LD_PRELOAD", path("libamdgpu_noop_drm_shim.so")),
            ("LD_LIBRARY_PATH", self.folder.display().to_string()),
            ("VK_DRIVER_FILES", path("driver.json")),
            // The older name, for older loaders.
            ("VK_ICD_FILENAMES", path("driver.json")),
            // A layer of Mesa's that sorts devices.
            ("NODEVICE_SELECT", "1".to_owned()),
            // What an earlier run compiled would take no time, and not be read.
            ("MESA_SHADER_CACHE_DISABLE", "true".to_owned()),
        ]
    }

    fn shell(&self, card: &str) -> String {
        let words = self.environment(card);
        let words: Vec<String> = words
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        words.join(" ")
    }

    /// Compiles what is listed in processes of its own, which a pipeline may end.
    fn compile(
        &self,
        card: &str,
        list: &Path,
        out: &Path,
    ) -> Result<BTreeMap<String, Compiled>, String> {
        let program = env::current_exe().map_err(|e| format!("where this program lies: {e}"))?;
        let parts = thread::available_parallelism().map_or(2, usize::from);
        let of_part = |part: usize| {
            let results = results_of(out, part);
            let mut known = 0;
            loop {
                let output = Command::new(&program)
                    .args(["isa", PART])
                    .args([list, out])
                    .args([part.to_string(), parts.to_string()])
                    .envs(self.environment(card))
                    .stdin(Stdio::null())
                    .output()
                    .map_err(|e| format!("{}: {e}", program.display()))?;
                let found = read_results(&results)?;
                // Each run begins pipelines that the next leaves out, until there are none.
                if found.len() == known {
                    if output.status.success() {
                        return Ok(found);
                    }
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let last = said.trim_end().lines().last().unwrap_or("nothing");
                    return Err(format!("{card}: {}: {last}", output.status));
                }
                known = found.len();
            }
        };
        let mut all = BTreeMap::new();
        thread::scope(|scope| {
            let running: Vec<_> = (0..parts)
                .map(|part| scope.spawn(move || of_part(part)))
                .collect();
            for handle in running {
                let part = handle
                    .join()
                    .map_err(|_| "a part's thread ended".to_owned())?;
                all.extend(part?);
            }
            Ok::<(), String>(())
        })?;
        Ok(all)
    }
}

/// A part of the list, in a process on the driver: the folders of the list and of the results, the part, and how many
/// there are.
pub fn part(arguments: &[&str]) -> Outcome {
    let [list, out, part, parts] = arguments else {
        return Err(format!("{PART} is for this program itself"));
    };
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    driver::compile(
        Path::new(list),
        Path::new(out),
        number(part)?,
        number(parts)?,
    )
}

/// A pipeline of the library's list.
struct Listed {
    number: String,
    workgroup: u32,
    entry: String,
    /// Whether each binding is uniform.
    bindings: Vec<bool>,
    name: String,
}

/// What became of a pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
struct Compiled {
    seconds: f64,
    statistics: Vec<(String, u64)>,
    refused: Option<String>,
}

impl Compiled {
    fn refused(why: String) -> Self {
        Self {
            refused: Some(why),
            ..Self::default()
        }
    }

    fn statistic(&self, name: &str) -> u64 {
        let found = self.statistics.iter().find(|(n, _)| n == name);
        found.map_or(0, |(_, value)| *value)
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        let [spilled, scratch] = ["Spilled VGPRs", "Scratch size"].map(|name| self.statistic(name));
        if spilled > 0 || scratch > 0 {
            return Some(format!(
                "it spills to memory: {spilled} registers, {scratch} bytes of scratch"
            ));
        }
        if self.statistic("VGPRs") == 0 {
            return Some("the driver does not say how many registers it takes".to_owned());
        }
        let seconds = self.seconds;
        (seconds > MOST_SECONDS).then(|| format!("the driver takes {seconds:.1} s"))
    }
}

/// What is wrong, a line each; a pipeline without a result is, too.
fn faults_of(listed: &[Listed], compiled: &BTreeMap<String, Compiled>) -> Vec<String> {
    let of = |pipeline: &Listed| {
        let fault = match compiled.get(&pipeline.number) {
            Some(compiled) => compiled.fault()?,
            None => "it was not compiled".to_owned(),
        };
        let Listed {
            number,
            name,
            entry,
            ..
        } = pipeline;
        Some(format!("{number}, {name}, {entry}: {fault}"))
    };
    listed.iter().filter_map(of).collect()
}

/// What is told of all pipelines of a card together.
struct Summary {
    pipelines: usize,
    /// Pipelines with a fault.
    faults: usize,
    seconds: f64,
    vector_registers: u64,
    /// Pipelines that keep scalar registers in lanes of vector registers, which is no memory.
    in_lanes: usize,
    local: u64,
    code: u64,
}

impl Summary {
    fn new(compiled: &BTreeMap<String, Compiled>) -> Self {
        let most = |name: &str| {
            compiled
                .values()
                .map(|c| c.statistic(name))
                .max()
                .unwrap_or(0)
        };
        let of = |is: fn(&Compiled) -> bool| compiled.values().filter(|c| is(c)).count();
        Self {
            pipelines: compiled.len(),
            faults: of(|c| c.fault().is_some()),
            seconds: compiled.values().map(|c| c.seconds).fold(0.0, f64::max),
            vector_registers: most("VGPRs"),
            in_lanes: of(|c| c.statistic("Spilled SGPRs") > 0),
            local: most("LDS size"),
            code: most("Code size"),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pipelines, {} with a fault, at most {} vector registers and {:.1} s",
            self.pipelines, self.faults, self.vector_registers, self.seconds
        )
    }
}

fn read_list(folder: &Path) -> Result<Vec<Listed>, String> {
    let path = folder.join("pipelines.tsv");
    let text = fs::read_to_string(&path).map_err(|e| problem(&path, e))?;
    let listed = text.lines().map(|line| {
        let wrong = || format!("{}: {line}", path.display());
        let fields: Vec<&str> = line.splitn(5, '\t').collect();
        let [number, workgroup, entry, bindings, name] = fields[..] else {
            return Err(wrong());
        };
        Ok(Listed {
            number: number.to_owned(),
            workgroup: workgroup.parse().map_err(|_| wrong())?,
            entry: entry.to_owned(),
            bindings: bindings.chars().map(|c| c == 'u').collect(),
            name: name.to_owned(),
        })
    });
    listed.collect()
}

fn results_of(folder: &Path, part: usize) -> PathBuf {
    folder.join(format!("results{part}.tsv"))
}

fn begun(number: &str) -> String {
    format!("begun\t{number}")
}

fn done(number: &str, compiled: &Compiled) -> String {
    let mut line = format!("done\t{number}\t{:.3}", compiled.seconds);
    match &compiled.refused {
        Some(why) => {
            let _ = write!(line, "\trefused\t{}", why.replace(['\t', '\n'], " "));
        }
        None => {
            for (name, value) in &compiled.statistics {
                let _ = write!(line, "\t{name}={value}");
            }
        }
    }
    line
}

/// What is known of each pipeline that was begun; one that was not done ended its process.
fn read_results(path: &Path) -> Result<BTreeMap<String, Compiled>, String> {
    let mut results = BTreeMap::new();
    if !path.exists() {
        return Ok(results);
    }
    let text = fs::read_to_string(path).map_err(|e| problem(path, e))?;
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (number, compiled) = match fields[..] {
            ["begun", number] => {
                let why = "the driver ends the process, or does not come to an end";
                (number, Compiled::refused(why.to_owned()))
            }
            ["done", number, _, "refused", why] => (number, Compiled::refused(why.to_owned())),
            ["done", number, seconds, ref statistics @ ..] => {
                let statistics = statistics.iter().filter_map(|field| {
                    let (name, value) = field.split_once('=')?;
                    Some((name.to_owned(), value.parse().ok()?))
                });
                let compiled = Compiled {
                    seconds: seconds.parse().unwrap_or(f64::INFINITY),
                    statistics: statistics.collect(),
                    refused: None,
                };
                (number, compiled)
            }
            _ => return Err(format!("{}: {line}", path.display())),
        };
        results.insert(number.to_owned(), compiled);
    }
    Ok(results)
}
