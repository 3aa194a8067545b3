//! How many tests passed, failed and were skipped, read from what the test harness prints.

use std::fmt;

/// What a test prints where it leaves out its GPU half (`tests/common/mod.rs`).
const SKIP_MARK: &str = "SKIPPED: no GPU adapter";

/// Totals over all test binaries, documentation tests and examples.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds what one line of a test run's output says; most lines say nothing.
    pub fn read(&mut self, line: &str) {
        if line.contains(SKIP_MARK) {
            self.skipped += 1;
        }
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        let Some((_, numbers)) = result.split_once(". ") else {
            return;
        };
        for part in numbers.split("; ") {
            let mut words = part.split(' ');
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            let (Some(number), Some(what)) = (number, words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds what the last line of a run of pytest says: `== 2 failed, 31 passed, 1 skipped in 9.81s ==`.
    pub fn read_pytest(&mut self, line: &str) {
        let words: Vec<&str> = line.trim_matches(['=', ' ']).split([' ', ',']).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" | "error" | "errors" => self.failed += number,
                "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds what a line says that these counts were written as; whether it is one.
    pub fn read_total(&mut self, line: &str) -> bool {
        let numbers: Option<Vec<u64>> = line
            .split(", ")
            .zip(["passed", "failed", "skipped"])
            .map(|(part, what)| part.strip_suffix(what)?.trim_end().parse().ok())
            .collect();
        let Some([passed, failed, skipped]) = numbers.as_deref() else {
            return false;
        };
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        true
    }

    /// Adds what a line of node's test runner says: `ℹ pass 12`.
    pub fn read_node(&mut self, line: &str) {
        let mut words = line.trim_start_matches(['ℹ', '#', ' ']).split(' ');
        let what = words.next().unwrap_or_default();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
            return;
        };
        match what {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => {}
        }
    }

    /// Adds one run that stands for a test.
    pub fn add(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds one that was left out.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// An error where a test failed or none ran.
    pub fn verdict(&self) -> crate::Outcome {
        match self {
            Self { failed: 1.., .. } => Err(format!("{} failed", self.failed)),
            Self { passed: 0, .. } => Err("no test ran".to_owned()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Counts {
        let mut counts = Counts::default();
        lines.iter().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn result_lines_add_up() {
        let counts = read(&[
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.06s",
            "test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "all doctests ran in 0.30s; merged doctests compilation took 0.20s",
        ]);
        assert_eq!(counts.to_string(), "5 passed, 5 failed, 1 skipped");
        assert!(counts.verdict().is_err());
    }

    #[test]
    fn a_skip_is_counted_wherever_the_harness_puts_it() {
        let counts = read(&[
            "SKIPPED: no GPU adapter: nothing answers",
            "test tests::relu ... SKIPPED: no GPU adapter: nothing answers",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(counts.to_string(), "2 passed, 0 failed, 2 skipped");
        assert!(counts.verdict().is_ok());
    }

    #[test]
    fn nodes_numbers_add_up() {
        let mut counts = Counts::default();
        for line in [
            "✔ a pass 3 (2ms)",
            "ℹ tests 9",
            "ℹ pass 5",
            "ℹ fail 1",
            "ℹ cancelled 2",
            "ℹ skipped 1",
        ] {
            counts.read_node(line);
        }
        assert_eq!(counts.to_string(), "5 passed, 3 failed, 1 skipped");
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(
            read(&["test result: ok. 0 passed; 0 failed; 0 ignored"])
                .verdict()
                .is_err()
        );
        assert!(
            read(&["test result: gibberish", "1 passed; 0 failed"])
                .verdict()
                .is_err()
        );
    }

    #[test]
    fn pytests_last_line_adds_up() {
        let mut counts = Counts::default();
        counts
            .read_pytest("==== 2 failed, 31 passed, 1 skipped, 4 warnings in 9.81s (0:00:09) ====");
        counts.read_pytest("5 passed, 1 error in 0.12s");
        assert_eq!(counts.to_string(), "36 passed, 3 failed, 1 skipped");
        counts = Counts::default();
        counts.read_pytest("no tests ran in 0.01s");
        assert!(counts.verdict().is_err());
    }

    #[test]
    fn a_total_reads_as_it_is_written() {
        let mut counts = read(&["test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured"]);
        let line = counts.to_string();
        assert!(counts.read_total(&line));
        assert_eq!(counts.to_string(), "6 passed, 4 failed, 2 skipped");
        for line in [
            "",
            "xtask: it failed",
            "3 passed, 2 failed",
            "x passed, 2 failed, 1 skipped",
        ] {
            assert!(!counts.read_total(line), "{line}");
        }
    }

    #[test]
    fn examples_count_as_tests() {
        let mut counts = Counts::default();
        counts.add(true);
        assert!(counts.verdict().is_ok());
        counts.add(false);
        assert_eq!(counts.to_string(), "1 passed, 1 failed, 0 skipped");
        assert!(counts.verdict().is_err());
    }
}
