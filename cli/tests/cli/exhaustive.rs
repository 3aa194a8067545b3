//! `check --exhaustive`, over spans that take a moment.

use crate::support::{Outcome, Scratch, words};
use serde_json::Value;

/// Two chunks and a bit, on the CPU.
const LINE: &str = "check --exhaustive tanh gelu --on cpu --bits 0x3e800000..0x3f000010";

fn run(scratch: &Scratch, line: &str) -> Outcome {
    words(scratch, &format!("{line} --report {{r.json}}"))
}

fn report(scratch: &Scratch) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path("r.json")).unwrap()).unwrap()
}

/// A report without its times.
fn timeless(mut report: Value) -> Value {
    for check in report["checks"].as_array_mut().unwrap() {
        check["seconds"] = Value::Null;
    }
    report
}

#[test]
fn a_report_is_written_for_programs_and_people() {
    let scratch = Scratch::new();
    let outcome = run(&scratch, LINE).ok();
    assert!(outcome.stdout.contains("backend 0: cpu"), "{outcome:?}");
    assert!(
        outcome
            .stdout
            .ends_with("4 checks, 0 outside their bounds\n")
    );
    assert_eq!(scratch.names(), ["r.json", "r.md"]);
    let report = report(&scratch);
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 4);
    for check in checks {
        assert_eq!(check["done"], check["inputs"]);
        assert_eq!(check["inputs"], 0x80_0011);
        let entry = &check["results"][0];
        assert_eq!(entry["passed"], true, "{check}");
        let counts = entry["histogram"].as_array().unwrap().iter();
        let sum: u64 = counts.map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(sum, 0x80_0011);
        assert!(entry["max_ulp"].as_f64().unwrap() > 0.25, "{check}");
    }
    let people = std::fs::read_to_string(scratch.path("r.md")).unwrap();
    assert!(people.contains("4 of 4 checks are done"), "{people}");
    assert!(people.contains("| `tanh` | backward | 0 | 0."), "{people}");
}

/// Stopped in the middle, a run goes on and ends with the report of one that was not.
#[test]
fn an_unfinished_report_is_gone_on_with() {
    let scratch = Scratch::new();
    run(&scratch, LINE).ok();
    let whole = report(&scratch);

    // As it was when only the first check was done.
    let mut half = whole.clone();
    for check in &mut half["checks"].as_array_mut().unwrap()[1..] {
        check["done"] = 0.into();
        check["results"][0]["histogram"] = Value::Array(Vec::new());
        for bits in ["worst_input_bits", "got_bits"] {
            check["results"][0][bits] = Value::Null;
        }
        for count in ["outside", "nan_mismatches", "flushed", "zero_signs"] {
            check["results"][0][count] = 0.into();
        }
    }
    scratch.file("r.json", half.to_string().as_bytes());
    let outcome = run(&scratch, LINE).ok();
    assert!(outcome.stderr.contains("gone on with"), "{outcome:?}");
    assert!(
        !outcome.stderr.contains("done: tanh forward"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("done: tanh backward"),
        "{outcome:?}"
    );
    assert_eq!(timeless(report(&scratch)), timeless(whole));

    // A finished one is only printed.
    let outcome = run(&scratch, LINE).ok();
    assert!(outcome.stderr.contains("is finished"), "{outcome:?}");
    assert!(!outcome.stderr.contains("done:"), "{outcome:?}");
    assert!(outcome.stdout.contains("4 checks"), "{outcome:?}");
}

#[test]
fn another_report_is_refused_and_kept() {
    let scratch = Scratch::new();
    let small = LINE.replace("0x3f000010", "0x3e800100");
    run(&scratch, &small).ok();
    let before = std::fs::read(scratch.path("r.json")).unwrap();
    for (line, why) in [
        (LINE.to_owned(), "other bit patterns"),
        (small.replace("tanh ", ""), "other functions"),
        (format!("{small} --pass forward"), "other functions"),
        (format!("{small} --on cpu"), "other backends"),
    ] {
        run(&scratch, &line).refused(&[why, "--fresh"]);
    }
    scratch.file("r.json", &before[..before.len() / 2]);
    run(&scratch, &small).refused(&["damaged", "--fresh"]);
    run(&scratch, &format!("{small} --fresh")).ok();
    let now = report(&scratch);
    let before: Value = serde_json::from_slice(&before).unwrap();
    assert_eq!(timeless(now), timeless(before));
}

#[test]
fn strides_and_directions_narrow_a_run() {
    let scratch = Scratch::new();
    let line = "check --exhaustive silu --on cpu --stride 65537 --pass backward --json";
    let outcome = run(&scratch, line).ok();
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(printed, report(&scratch));
    let checks = printed["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0]["pass"], "backward");
    assert_eq!(checks[0]["inputs"], u32::MAX / 65_537 + 1);
}

#[test]
fn misuse_is_refused_in_one_line() {
    let scratch = Scratch::new();
    for (line, parts) in [
        ("check relu --on cpu", &["--exhaustive"][..]),
        ("check relu --stride 2", &["--exhaustive"]),
        (
            "check --exhaustive softmax --on cpu",
            &["one number", "softmax"],
        ),
        (
            "check --exhaustive relu --on cpu --backend cpu",
            &["--on", "--backend"],
        ),
        ("check --exhaustive relu --on tpu", &["gpu:ADAPTER"]),
        ("check --exhaustive relu --stride 0", &["--stride"]),
        (
            "check --exhaustive relu --bits 2..1",
            &["--bits", "beyond the last"],
        ),
        ("check --exhaustive relu --bits 1", &["hexadecimal"]),
        (
            "check --exhaustive relu --on cpu --report {x.md}",
            &["another ending"],
        ),
        (
            "check --exhaustive relu --on cpu --report {no/x.json}",
            &["no directory"],
        ),
    ] {
        words(&scratch, line).refused(parts);
    }
    assert!(scratch.names().is_empty());
}
