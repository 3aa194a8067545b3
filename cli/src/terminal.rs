//! Lines on stdout and stderr, and progress while something takes long.

use crate::error::CliError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

/// Writes `text` to stdout. A reader that has gone away wants no more of it: no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(CliError::Stdout),
    }
}

/// Writes a value to stdout as JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::Stdout(e.into()))?;
    print(&format!("{text}\n"))
}

/// Writes one line to stderr; where nobody reads it, that is no error.
pub fn line(kind: &str, text: impl Display) {
    let text = one_line(&text.to_string());
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

/// The first few names, and how many more there are.
pub fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 4;
    let (shown, more) = names.split_at(names.len().min(SHOWN));
    let shown: Vec<&str> = shown.iter().map(AsRef::as_ref).collect();
    match more.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The text with its line breaks, and what else would move a terminal's cursor, as spaces.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(char::is_control).map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|l| !l.is_empty()).collect();
    lines.join(" ")
}

/// Progress on stderr, where that is a terminal; else nothing is drawn.
pub struct Progress(ProgressBar);

impl Progress {
    /// For work of unknown length.
    pub fn spinner() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// For `steps` steps.
    pub fn bar(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        // Invariant: the template is a valid one.
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}");
        bar.set_style(style.expect("a valid template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// For `inputs` results, of which `done` are there: with the rate and the time that is left.
    pub fn inputs(inputs: u64, done: u64) -> Self {
        let bar = ProgressBar::new(inputs).with_position(done);
        // Invariant: the template is a valid one.
        let style = ProgressStyle::with_template("{bar:30} {percent}% {msg}, {rate}, {eta} left");
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // Where nobody reads it, that is no error.
            let _ = write!(out, "{:.0} million/s", state.per_sec() / 1e6);
        };
        bar.set_style(style.expect("a valid template").with_key("rate", rate));
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// For bytes that are moved, so many as [`Progress::moved`] says: with the rate and the time
    /// that is left.
    pub fn bytes() -> Self {
        let bar = ProgressBar::new(0);
        // Invariant: the template is a valid one.
        let style = ProgressStyle::with_template(
            "{bar:30} {percent}% {msg} {decimal_bytes_per_sec}, {eta} left",
        );
        bar.set_style(style.expect("a valid template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Says how many bytes were moved.
    pub fn moved(&self, progress: wgpu_activations::Progress) {
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }

    /// Says how much is done.
    pub fn reached(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Says what is being done now.
    pub fn doing(&self, what: impl Display) {
        self.0.set_message(what.to_string());
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Writes a line to stderr without disturbing the drawing.
    pub fn line(&self, kind: &str, text: impl Display) {
        self.0.suspend(|| line(kind, text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A text table: columns as wide as their widest cell, two spaces between them. Columns in
/// `right` are aligned to the right; the last one is not padded.
pub fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            line += &if right.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A number that stays readable in JSON, which has no infinities and no NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Number<T>(pub T);

impl<T: Copy + Into<f64> + Display + Serialize> Serialize for Number<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wide: f64 = self.0.into();
        if wide.is_finite() {
            self.0.serialize(serializer)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}
