//! What calls cost on a card, from what its code was counted to execute, as tables.

use super::code::{self, Instruction};
use super::wave::{self, Cost, Dispatch, LANES};
use super::{MODEL, Summary, problem, read_list};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A card's arithmetic and memory by its maker's figures.
struct Card {
    name: &'static str,
    /// Compute units, or multiprocessors, and what each adds up of f32 in a cycle.
    units: u32,
    lanes: u32,
    hertz: f64,
    bytes_a_second: f64,
}

const RX_6800: Card = Card {
    name: "RX 6800",
    units: 60,
    lanes: 64,
    hertz: 2.105e9,
    bytes_a_second: 512e9,
};

/// Cards whose memory is faster beside their arithmetic.
const DATA_CENTRE: [Card; 2] = [
    Card {
        name: "Instinct MI300X",
        units: 304,
        lanes: 64,
        hertz: 2.1e9,
        bytes_a_second: 5.3e12,
    },
    Card {
        name: "H100 SXM",
        units: 132,
        lanes: 128,
        hertz: 1.98e9,
        bytes_a_second: 3.35e12,
    },
];

/// Vector units of a compute unit of RDNA 2; each takes a wave in two turns.
const UNITS: u64 = 2;
const TURNS_A_WAVE: f64 = 2.0;

impl Card {
    /// Turns of a lane while memory moves a byte.
    fn turns_a_byte(&self) -> f64 {
        f64::from(self.units * self.lanes) * self.hertz / self.bytes_a_second
    }
}

/// A call that was recorded.
pub struct Call {
    text: String,
    shape: String,
    dtype: String,
    direction: String,
    elements: u64,
    /// What any implementation must read and write.
    bytes: u64,
    dispatches: Vec<(String, Dispatch)>,
}

/// What a call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Turns of lanes an element, with those of lanes that idle.
    pub turns: f64,
    /// Seconds of arithmetic on the card.
    pub seconds: f64,
    /// Bytes that the code reads and writes.
    pub moved: u64,
}

/// A call with its cost, or why it was not counted.
pub type Counted = (Call, Result<Estimate, String>);

fn read_calls(list: &Path) -> Result<Vec<Call>, String> {
    let workgroups: HashMap<String, (u32, usize)> = read_list(list)?
        .into_iter()
        .map(|p| (p.number, (p.workgroup, p.bindings.len())))
        .collect();
    let path = list.join("calls.tsv");
    let text = fs::read_to_string(&path).map_err(|e| problem(&path, e))?;
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        let wrong = || format!("{}: {line}", path.display());
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["call", elements, bytes, text, shape, dtype, direction] => calls.push(Call {
                text: text.to_owned(),
                shape: shape.to_owned(),
                dtype: dtype.to_owned(),
                direction: direction.to_owned(),
                elements: elements.parse().map_err(|_| wrong())?,
                bytes: bytes.parse().map_err(|_| wrong())?,
                dispatches: Vec::new(),
            }),
            ["dispatch", number, columns, rows, ref words @ ..] => {
                let call = calls.last_mut().ok_or_else(wrong)?;
                let &(workgroup, bindings) = workgroups.get(number).ok_or_else(wrong)?;
                let mut dispatch = Dispatch {
                    uniforms: vec![None; bindings],
                    workgroup,
                    groups: [columns, rows].map(|n| n.parse().unwrap_or(0)),
                };
                for word in words {
                    let (turn, words) = word.split_once('=').ok_or_else(wrong)?;
                    let turn: usize = turn.parse().map_err(|_| wrong())?;
                    let words: Option<Vec<u32>> =
                        words.split(',').map(|w| w.parse().ok()).collect();
                    *dispatch.uniforms.get_mut(turn).ok_or_else(wrong)? = words;
                }
                call.dispatches.push((number.to_owned(), dispatch));
            }
            _ => return Err(wrong()),
        }
    }
    Ok(calls)
}

/// Counts the calls of a list by the code that `out` has of their pipelines.
pub fn count(list: &Path, out: &Path) -> Result<Vec<Counted>, String> {
    let calls = read_calls(list)?;
    let mut programs: HashMap<&str, Vec<Instruction>> = HashMap::new();
    for (number, _) in calls.iter().flat_map(|call| &call.dispatches) {
        if !programs.contains_key(number.as_str()) {
            let path = out.join(format!("{number}.s"));
            let text = fs::read_to_string(&path).map_err(|e| problem(&path, e))?;
            programs.insert(number, code::read(&text)?);
        }
    }
    let next = AtomicUsize::new(0);
    let parts = thread::available_parallelism().map_or(2, usize::from);
    let mut estimates: Vec<(usize, Result<Estimate, String>)> = Vec::new();
    thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(call) = calls.get(i) else {
                    return mine;
                };
                mine.push((i, estimate(call, &programs)));
            }
        };
        let running: Vec<_> = (0..parts).map(|_| scope.spawn(work)).collect();
        for handle in running {
            estimates.extend(
                handle
                    .join()
                    .map_err(|_| "a counting thread ended".to_owned())?,
            );
        }
        Ok::<(), String>(())
    })?;
    estimates.sort_by_key(|(i, _)| *i);
    let estimates = estimates.into_iter().map(|(_, estimate)| estimate);
    Ok(calls.into_iter().zip(estimates).collect())
}

fn estimate(call: &Call, programs: &HashMap<&str, Vec<Instruction>>) -> Result<Estimate, String> {
    let mut estimate = Estimate::default();
    for (number, dispatch) in &call.dispatches {
        let (cost, most) = wave::group(&programs[number.as_str()], dispatch)
            .map_err(|why| format!("pipeline {number}: {why}"))?;
        let groups: u64 = dispatch.groups.iter().map(|&n| u64::from(n)).product();
        let waves = groups * u64::from(dispatch.workgroup.div_ceil(LANES as u32));
        estimate.turns += (groups * cost.turns * LANES as u64) as f64;
        estimate.seconds += seconds(&cost, most, groups, waves);
        estimate.moved += groups * (cost.read + cost.written);
    }
    estimate.turns /= call.elements as f64;
    Ok(estimate)
}

/// Seconds of a dispatch's arithmetic: no unit has less to do than its share, and none less than the longest wave.
fn seconds(group: &Cost, most: u64, groups: u64, waves: u64) -> f64 {
    let units = (u64::from(RX_6800.units) * UNITS).min(waves).max(1);
    let share = (groups * group.turns) as f64 / units as f64;
    TURNS_A_WAVE * share.max(most as f64) / RX_6800.hertz
}

impl Estimate {
    /// Arithmetic's time over memory's, and bytes over those that must be moved.
    fn ratios(&self, call: &Call) -> [f64; 2] {
        let memory = call.bytes as f64 / RX_6800.bytes_a_second;
        [self.seconds / memory, self.moved as f64 / call.bytes as f64]
    }
}

/// A call's cells: turns of lanes an element, the ratio of times, and that of bytes.
fn cells((call, estimate): &Counted) -> String {
    match estimate {
        Ok(estimate) => {
            let [time, bytes] = estimate.ratios(call);
            format!("{:.0} | {time:.2} | {bytes:.2}", estimate.turns)
        }
        Err(_) => "– | – | –".to_owned(),
    }
}

/// The tables in Markdown.
pub fn write(version: &str, cards: &[(&str, Summary)], counted: &[Counted]) -> String {
    let mut out = format!("\nWith {version}.\n\n");
    out += "| Card | Pipelines | With a fault | Most vector registers | Scalar registers in lanes | \
            Most workgroup memory | Largest code | Longest |\n|---|--:|--:|--:|--:|--:|--:|--:|\n";
    for (card, summary) in cards {
        let about = super::CARDS.iter().find(|(name, _)| name == card);
        let _ = writeln!(
            out,
            "| {}, `{card}` | {} | {} | {} | {} | {} KiB | {} KiB | {:.1} s |",
            about.map_or("", |(_, about)| about),
            summary.pipelines,
            summary.faults,
            summary.vector_registers,
            summary.in_lanes,
            summary.local.div_ceil(1024),
            summary.code.div_ceil(1024),
            summary.seconds
        );
    }
    let _ = writeln!(
        out,
        "\nOn `{MODEL}`, a lane has {:.1} turns while memory moves a byte.{}\n",
        RX_6800.turns_a_byte(),
        DATA_CENTRE
            .map(|card| format!(
                " On an {} it has {:.1}: ratios are {:.1} times those below.",
                card.name,
                card.turns_a_byte(),
                RX_6800.turns_a_byte() / card.turns_a_byte()
            ))
            .concat()
    );
    out += &elementwise(counted);
    out += &rows(counted);
    out += &others(counted);
    out
}

const PASSES: [&str; 2] = ["Forward", "Backward"];
const TYPES: [&str; 3] = ["f32", "f16", "bf16"];

/// Calls of flat arrays, a row a function.
fn elementwise(counted: &[Counted]) -> String {
    let flat = |call: &Call| !call.shape.contains(',');
    let mut names: Vec<&str> = Vec::new();
    for (call, _) in counted.iter().filter(|(call, _)| flat(call)) {
        if !names.contains(&call.text.as_str()) {
            names.push(&call.text);
        }
    }
    let mut out =
        "Element by element, arithmetic's time over memory's, and in parentheses turns of a \
                   lane an element:\n\n| Function |"
            .to_owned();
    for dtype in TYPES {
        for pass in PASSES {
            let _ = write!(out, " {dtype} {} |", pass.to_lowercase());
        }
    }
    out += &format!("\n|---|{}\n", "--:|".repeat(6));
    for name in names {
        let _ = write!(out, "| `{name}` |");
        for dtype in TYPES {
            for pass in PASSES {
                let found = counted.iter().find(|(call, _)| {
                    call.text == name && call.dtype == dtype && call.direction == pass && flat(call)
                });
                let _ = match found {
                    Some((call, Ok(estimate))) => {
                        let [time, _] = estimate.ratios(call);
                        write!(out, " {time:.2} ({:.0}) |", estimate.turns)
                    }
                    _ => write!(out, " – |"),
                };
            }
        }
        out.push('\n');
    }
    out
}

/// Functions of rows, by their lengths.
const OF_ROWS: [&str; 3] = ["softmax", "log_softmax", "logsumexp"];

fn rows(counted: &[Counted]) -> String {
    let mut out = "\nRows: turns of a lane an element, arithmetic's time over memory's, and bytes that the code \
                   moves over those that any must.\n\n\
                   | Function | Shape | forward | | | backward | | | from output | | |\n\
                   |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let of_rows = |call: &Call| OF_ROWS.contains(&call.text.as_str());
    out += &pairs(counted, of_rows);
    out
}

fn others(counted: &[Counted]) -> String {
    let mut out = "\nEverything else, in the same way:\n\n\
                   | Function | Shape | forward | | | backward | | | from output | | |\n\
                   |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let other = |call: &Call| !OF_ROWS.contains(&call.text.as_str()) && call.shape.contains(',');
    out += &pairs(counted, other);
    let mut whys: Vec<String> = Vec::new();
    for (call, estimate) in counted {
        if let Err(why) = estimate {
            let Call {
                text,
                shape,
                dtype,
                direction,
                ..
            } = call;
            let direction = direction.replace("From", "from ").to_lowercase();
            whys.push(format!(
                "- `{text}` {shape} in {dtype}, {direction}: {why}\n"
            ));
        }
    }
    if !whys.is_empty() {
        let _ = writeln!(out, "\nNot counted:\n\n{}", whys.concat());
    }
    out
}

/// A line for each function and shape, with the cells of each direction.
fn pairs(counted: &[Counted], of: impl Fn(&Call) -> bool) -> String {
    let mut out = String::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (call, _) in counted.iter().filter(|(call, _)| of(call)) {
        let key = (call.text.as_str(), call.shape.as_str());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let text = call.text.replace('|', "\\|");
        let _ = write!(out, "| `{text}` | {} |", call.shape);
        for direction in ["Forward", "Backward", "FromOutput"] {
            let found = counted.iter().find(|(other, _)| {
                (other.text.as_str(), other.shape.as_str()) == key && other.direction == direction
            });
            let cells = found.map_or(" | | ".to_owned(), cells);
            let _ = write!(out, " {cells} |");
        }
        out.push('\n');
    }
    out
}
