//! Tables of ratios, and the file with every number.

use crate::case::Case;
use crate::{About, ours};
use serde::Serialize;
use std::fmt::Write;

/// A result that is further off than this, as a share of the largest, is not the same function.
const SAME: f64 = 1e-4;

/// What a peer took for a case.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub peer: String,
    pub place: String,
    /// Seconds of a call, by round.
    pub seconds: Vec<f64>,
    /// The largest difference from this library's result on the CPU, as a share of the largest.
    pub deviation: Option<f64>,
    /// Whether that is close enough to be the same function.
    pub is_same: bool,
    /// Why there are no times.
    pub missing: Option<String>,
    /// GB/s by the median time.
    pub gb_per_s: Option<f64>,
    /// The median over the rounds of the peer's time over this library's, in the same place.
    pub times_ours: Option<f64>,
}

impl Entry {
    pub fn new(about: &About) -> Self {
        Self {
            peer: about.name.clone(),
            place: about.place.clone(),
            seconds: Vec::new(),
            deviation: None,
            is_same: true,
            missing: None,
            gb_per_s: None,
            times_ours: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Measured {
    function: String,
    direction: String,
    rows: usize,
    columns: usize,
    bytes: usize,
    entries: Vec<Entry>,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Report {
    threads: usize,
    peers: Vec<About>,
    cases: Vec<Measured>,
    pub seconds: f64,
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Report {
    pub fn new(peers: Vec<About>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (cases, seconds) = (Vec::new(), 0.0);
        Self {
            threads,
            peers,
            cases,
            seconds,
        }
    }

    pub fn add(&mut self, case: &Case, mut entries: Vec<Entry>) {
        for i in 0..entries.len() {
            let of_place = |e: &&Entry| e.peer == "ours" && e.place == entries[i].place;
            let ours = entries.iter().find(of_place).map(|e| e.seconds.clone());
            let e = &mut entries[i];
            e.is_same = e.deviation.is_none_or(|off| off <= SAME);
            e.gb_per_s = median(e.seconds.clone()).map(|s| case.bytes() as f64 / s / 1e9);
            let pairs = ours.iter().flatten().zip(&e.seconds);
            e.times_ours = median(pairs.map(|(ours, theirs)| theirs / ours).collect());
        }
        self.cases.push(Measured {
            function: case.function.to_owned(),
            direction: case.direction.name().to_owned(),
            rows: case.rows,
            columns: case.columns,
            bytes: case.bytes(),
            entries,
        });
    }

    /// How many times as long each peer takes, a table for each place and direction.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for about in &self.peers {
            if !ours::is_ours(&about.name) {
                let About {
                    name, version, how, ..
                } = about;
                let _ = writeln!(out, "- {name} {version}: {how}");
            }
        }
        for place in ["cpu", "gpu"] {
            for direction in ["forward", "backward"] {
                out += &self.table(place, direction);
            }
        }
        out
    }

    fn table(&self, place: &str, direction: &str) -> String {
        let of_place: Vec<&About> = self.peers.iter().filter(|p| p.place == place).collect();
        let mut peers: Vec<&str> = of_place.iter().map(|p| p.name.as_str()).collect();
        peers.retain(|p| *p != "ours");
        // Columns of peers that computed something.
        let of_direction = || self.cases.iter().filter(|c| c.direction == direction);
        let entry = |case: &Measured, peer: &str| {
            let found = |e: &&Entry| e.place == place && e.peer == peer;
            case.entries.iter().find(found).cloned()
        };
        peers.retain(|p| {
            of_direction().any(|c| entry(c, p).is_some_and(|e| e.times_ours.is_some()))
        });
        if of_direction().next().is_none() || of_place.is_empty() {
            return String::new();
        }
        let mut out = format!(
            "\n{place}, {direction}: GB/s of this library, and the time of each of the others as a multiple of its time\n\n| Function | Shape | ours, GB/s |"
        );
        for peer in &peers {
            let _ = write!(out, " {peer} |");
        }
        let _ = writeln!(out, "\n|---|---|--:|{}", "--:|".repeat(peers.len()));
        for case in of_direction() {
            let rate = entry(case, "ours").and_then(|e| e.gb_per_s);
            let rate = rate.map_or(String::new(), |r| format!("{r:.1}"));
            let (function, rows, columns) = (&case.function, case.rows, case.columns);
            let _ = write!(out, "| `{function}` | [{rows}, {columns}] | {rate} |");
            for peer in &peers {
                let cell = entry(case, peer).map_or(String::new(), |e| cell(&e));
                let _ = write!(out, " {cell} |");
            }
            out.push('\n');
        }
        out
    }
}

/// The ratio; in brackets where the peer computed something else.
fn cell(e: &Entry) -> String {
    let Some(times) = e.times_ours else {
        return String::new();
    };
    match e.deviation {
        Some(off) if !e.is_same => format!("({times:.2}; off by {off:.0e})"),
        _ => format!("{times:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Direction;

    #[test]
    fn ratios_are_to_this_library_in_the_same_place() {
        let about = |name: &str, place: &str| About {
            name: name.to_owned(),
            version: "1".to_owned(),
            place: place.to_owned(),
            how: "so".to_owned(),
        };
        let all = [
            about("ours", "cpu"),
            about("x", "cpu"),
            about("ours", "gpu"),
            about("z", "gpu"),
        ];
        let entries = [1e-3, 2e-3, 4e-3, 1e-3].iter().zip(&all).map(|(&s, a)| {
            let mut e = Entry::new(a);
            e.seconds = vec![s, 2.0 * s, s];
            e.deviation = Some(if a.name == "z" { 0.5 } else { 0.0 });
            e
        });
        let entries = entries.collect();
        let mut report = Report::new(all.to_vec());
        let case = Case {
            function: "relu",
            direction: Direction::Forward,
            rows: 1000,
            columns: 1000,
        };
        report.add(&case, entries);
        let text = report.markdown();
        assert!(
            text.contains("| `relu` | [1000, 1000] | 8.0 | 2.00 |\n"),
            "{text}"
        );
        assert!(text.contains("| 2.0 | (0.25; off by 5e-1) |\n"), "{text}");
    }
}
