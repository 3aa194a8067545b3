//! Lines on stdout and stderr, and progress while something takes long.

use crate::error::CliError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use std::borrow::Cow;
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
    let text = bounded(one_line(&text.to_string()));
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

/// The first few names, and how many more there are.
pub fn some_of<T: AsRef<str>>(names: &[T], most: usize) -> String {
    let (first, more) = names.split_at(names.len().min(most));
    let shown: Vec<_> = first.iter().map(|name| shown(name.as_ref())).collect();
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

/// A text of the user's as a line shows it: of a long one the beginning.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// A line without its middle where it is longer than anybody reads: what was given by mistake may
/// be of any length.
fn bounded(line: String) -> String {
    // Longer than any path that a system takes.
    const MOST: usize = 4608;
    let characters = line.chars().count();
    if characters <= MOST {
        return line;
    }
    let begin: String = line.chars().take(MOST / 2).collect();
    let end: String = line.chars().skip(characters - MOST / 2).collect();
    format!("{begin} … {end}")
}

/// A number with so many significant digits, without zeros at its end.
pub fn significant(x: f64, digits: usize) -> String {
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let scientific = format!("{x:.*e}", digits - 1);
    let parts = scientific.split_once('e');
    let parts = parts.and_then(|(mantissa, power)| Some((mantissa, power.parse::<i32>().ok()?)));
    let (Some((mantissa, power)), false) = (parts, x == 0.0) else {
        // Infinities, NaN, and zero without its sign.
        return (x + 0.0).to_string();
    };
    if (-4..digits as i32).contains(&power) {
        trimmed(&format!("{x:.*}", (digits as i32 - 1 - power) as usize))
    } else {
        format!("{}e{power}", trimmed(mantissa))
    }
}

/// Progress on stderr, where that is a terminal; else nothing is drawn.
pub struct Progress(ProgressBar);

/// Moves a bar that is seen along, where there is a thread to be had for it: indicatif panics where
/// there is none.
fn tick(bar: &ProgressBar, milliseconds: u64) {
    let granted = || {
        let thread = std::thread::Builder::new().spawn(|| {});
        thread.is_ok_and(|thread| thread.join().is_ok())
    };
    if !bar.is_hidden() && granted() {
        bar.enable_steady_tick(Duration::from_millis(milliseconds));
    }
}

impl Progress {
    /// For work of unknown length.
    pub fn spinner() -> Self {
        let bar = ProgressBar::new_spinner();
        tick(&bar, 100);
        Self(bar)
    }

    /// For `steps` steps.
    pub fn bar(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        // Invariant: the template is a valid one.
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}");
        bar.set_style(style.expect("a valid template"));
        tick(&bar, 200);
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
        tick(&bar, 200);
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
        tick(&bar, 200);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (x, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1.0 / 3.0, "0.333333"),
            (1.25e-6, "1.25e-6"),
            (-3.4028234e38, "-3.40282e38"),
            (123456.7, "123457"),
            (1234567.0, "1.23457e6"),
            (0.000123456789, "0.000123457"),
            (999999.9, "1e6"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(significant(x, 6), text);
        }
    }

    #[test]
    fn a_line_is_no_longer_than_anybody_reads() {
        assert_eq!(shown("gelu"), "gelu");
        let long = "é".repeat(100);
        assert_eq!(shown(&long), format!("{}… (200 bytes)", "é".repeat(80)));
        assert_eq!(bounded(long.clone()), long);
        let longer = bounded(format!("{}: advice", "é".repeat(1 << 20)));
        assert_eq!(longer.chars().count(), 4611);
        assert!(longer.ends_with(": advice"), "{longer}");
    }
}
