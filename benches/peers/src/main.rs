//! The same functions over the same arrays in this library and in others, in turns in one run on
//! one machine: a table of ratios, and a JSON file with every number.

mod burn;
mod candle;
mod case;
mod ours;
mod report;
mod worker;

use case::{Case, Inputs};
use report::{Entry, Report};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: peers [--quick] [--function NAME]... [--columns N]... [--peer NAME]... [--direction NAME]
             [--rounds N] [--json FILE] [--markdown FILE] [--python FILE]

  --quick      element-wise functions at one shape, three rounds
  --function   only these functions; --columns, --peer, --direction: only these
  --python     the interpreter that has onnxruntime, jax and torch, or some of them";

/// What computes the cases.
pub trait Peer {
    /// Its name in the report, its version, and what a call is.
    fn about(&self) -> About;

    /// Makes a case ready and runs it once; the reason where it cannot.
    ///
    /// # Errors
    /// Why the peer does not compute this case.
    fn prepare(&mut self, case: &Case, inputs: &Inputs) -> Result<(), String>;

    /// How long `calls` calls take.
    fn time(&mut self, calls: u32) -> Result<Duration, String>;

    /// What the case computes.
    fn result(&mut self) -> Result<Vec<f32>, String>;
}

/// A peer, for people.
#[derive(Clone, Debug, serde::Serialize)]
pub struct About {
    pub name: String,
    pub version: String,
    /// Where it computes: `cpu` or `gpu`. Ratios are to this library there.
    pub place: String,
    /// What is prepared before the clock starts.
    pub how: String,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The length of a sample, over as many calls as fit.
const SAMPLE: Duration = Duration::from_millis(15);
/// Threads that spin after their work stop within this.
const PAUSE: Duration = Duration::from_millis(4);

struct Arguments {
    quick: bool,
    functions: Vec<String>,
    columns: Vec<usize>,
    peers: Vec<String>,
    directions: Vec<String>,
    rounds: Option<usize>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    python: Option<PathBuf>,
}

fn arguments() -> Outcome<Arguments> {
    let mut a = Arguments {
        quick: false,
        functions: Vec::new(),
        columns: Vec::new(),
        peers: Vec::new(),
        directions: Vec::new(),
        rounds: None,
        json: None,
        markdown: None,
        python: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--quick" {
            a.quick = true;
            continue;
        }
        let value = words.next().ok_or(USAGE)?;
        match word.as_str() {
            "--function" => a.functions.push(value),
            "--columns" => a.columns.push(value.parse()?),
            "--peer" => a.peers.push(value),
            "--direction" => a.directions.push(value),
            "--rounds" => a.rounds = Some(value.parse()?),
            "--json" => a.json = Some(value.into()),
            "--markdown" => a.markdown = Some(value.into()),
            "--python" => a.python = Some(value.into()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(a)
}

fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|w| w == name)
}

/// Whatever of the peers is there. This library is always first in its place.
fn peers(a: &Arguments, folder: &std::path::Path) -> Outcome<Vec<Box<dyn Peer>>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(ours::Copy::new()),
        Box::new(ours::Cpu::new(false)),
        Box::new(ours::Cpu::new(true)),
        Box::new(burn::Burn::ndarray()),
        Box::new(burn::Burn::flex()),
        Box::new(candle::Candle::new()),
    ];
    match ours::Gpu::new(false) {
        Ok(gpu) => {
            peers.push(Box::new(burn::Burn::wgpu(gpu.is_software())));
            peers.push(Box::new(gpu));
            peers.push(Box::new(ours::Gpu::new(true)?));
        }
        Err(error) => eprintln!("no GPU: {error}"),
    }
    if let Some(python) = &a.python {
        for name in worker::NAMES {
            if !is_wanted(&a.peers, name) {
                continue;
            }
            match worker::Worker::start(python, name, folder) {
                Ok(worker) => peers.push(Box::new(worker)),
                Err(why) => eprintln!("{name} is left out: {why}"),
            }
        }
    }
    peers.retain(|p| {
        let name = p.about().name;
        ours::is_ours(&name) || is_wanted(&a.peers, &name)
    });
    Ok(peers)
}

fn cases(a: &Arguments) -> Vec<Case> {
    let mut cases = Case::all();
    cases.retain(|c| {
        // Rows mean nothing to an element-wise function.
        let quick = !a.quick || c.is_along_rows() || c.columns == 1024;
        let named = is_wanted(&a.functions, c.function);
        let shaped = a.columns.is_empty() || a.columns.contains(&c.columns);
        quick && named && shaped && is_wanted(&a.directions, c.direction.name())
    });
    cases
}

/// Seconds of a call in each round, by peer; or why there are none.
fn measure(peers: &mut [Box<dyn Peer>], case: &Case, inputs: &Inputs, rounds: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut calls = Vec::new();
    let mut want: Option<Vec<f32>> = None;
    for peer in peers.iter_mut() {
        let about = peer.about();
        let mut entry = Entry::new(&about);
        let ready = peer.prepare(case, inputs).and_then(|()| {
            let got = peer.result()?;
            // The first that computes is this library on the CPU.
            if ours::is_copy(&about.name) {
                return Ok(());
            }
            match &want {
                None => want = Some(got),
                Some(want) => entry.deviation = Some(case::deviation(&got, want)),
            }
            Ok(())
        });
        let one = ready.and_then(|()| peer.time(1)).map(|first| {
            // The first call after a preparation may still have something to prepare.
            peer.time(1).unwrap_or(first)
        });
        calls.push(match &one {
            Ok(one) => (SAMPLE.as_nanos() / one.as_nanos().max(1)).clamp(1, 200) as u32,
            Err(_) => 0,
        });
        entry.missing = one.err();
        entries.push(entry);
    }
    let count = peers.len();
    for round in 0..rounds {
        for turn in 0..count {
            let i = (round + turn) % count;
            if entries[i].missing.is_some() {
                continue;
            }
            std::thread::sleep(PAUSE);
            match peers[i].time(calls[i]) {
                Ok(took) => entries[i]
                    .seconds
                    .push(took.as_secs_f64() / f64::from(calls[i])),
                Err(why) => entries[i].missing = Some(why),
            }
        }
    }
    entries
}

fn main() -> Outcome<()> {
    let a = arguments()?;
    let folder = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = run(&a, &folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn run(a: &Arguments, folder: &std::path::Path) -> Outcome<()> {
    let started = Instant::now();
    let inputs = Inputs::new(folder)?;
    let mut peers = peers(a, folder)?;
    let mut report = Report::new(peers.iter().map(|p| p.about()).collect());
    let rounds = a.rounds.unwrap_or(if a.quick { 3 } else { 7 });
    let cases = cases(a);
    for (i, case) in cases.iter().enumerate() {
        eprint!("\r{}/{} {case}          ", i + 1, cases.len());
        let entries = measure(&mut peers, case, &inputs, rounds);
        report.add(case, entries);
    }
    report.seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "\r{} cases in {:.0} s          ",
        cases.len(),
        report.seconds
    );
    let text = report.markdown();
    match &a.markdown {
        Some(path) => std::fs::write(path, text)?,
        None => println!("{text}"),
    }
    if let Some(path) = &a.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}
