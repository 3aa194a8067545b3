//! Stdout and stderr: clean, closed, or full.

use crate::support::{Outcome, Scratch, command, words};
use serde_json::Value;

/// A reader that went away before the first byte.
#[test]
fn a_closed_pipe_is_no_panic() {
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["--help"],
        &["adapters"],
        &["check", "relu", "--backend", "cpu"],
        &["bench", "relu", "--shape", "8,8", "--backend", "cpu"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stdout(writer).output().unwrap();
        let outcome = Outcome::from(output);
        assert_eq!(outcome.code, Some(0), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("panic"), "{args:?}: {outcome:?}");
    }
}

#[test]
fn a_closed_stderr_is_no_panic() {
    let scratch = Scratch::new();
    let input = scratch.array("x.npy", &[1], &[1.0]);
    let pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let status = command(&["run", "relu", "--backend", "cpu", "-o"])
        .args([&scratch.path("y.npy"), &input])
        .stderr(pipe())
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
    let status = command(&["run"]).stderr(pipe()).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error() {
    for args in [&["list"][..], &["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let output = command(args).stdout(full.unwrap()).output().unwrap();
        Outcome::from(output).refused(&["standard output", "No space left"]);
    }
}

#[test]
fn one_line_on_stderr_names_the_backend() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[4, 2], &[0.25; 8]);
    for line in [
        "run relu {x.npy} -o {y.npy} --backend cpu",
        "grad relu {x.npy} --upstream {x.npy} -o {y.npy} --backend cpu",
        "check relu --backend cpu",
        "bench relu --shape 8,8 --backend cpu",
    ] {
        let outcome = words(&scratch, line).ok();
        assert_eq!(outcome.stderr.lines().count(), 1, "{line}: {outcome:?}");
        assert!(outcome.stderr.starts_with("backend: cpu"), "{outcome:?}");
        let quiet = line.starts_with("run") || line.starts_with("grad");
        assert_eq!(outcome.stdout.is_empty(), quiet, "{outcome:?}");
    }
}

#[test]
fn json_alone_is_on_stdout() {
    let scratch = Scratch::new();
    let json = |line: &str| -> Value {
        let outcome = words(&scratch, line).ok();
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
    };
    assert!(json("adapters --json").is_array());

    let check = json("check relu softmax --backend cpu --json");
    assert_eq!(check["passed"], true);
    assert!(check["backend"].as_str().unwrap().starts_with("cpu"));
    let checks = check["checks"].as_array().unwrap();
    for (function, pass) in [("relu", "forward"), ("softmax", "backward")] {
        let found = checks
            .iter()
            .find(|c| c["function"] == function && c["pass"] == pass);
        let found = found.unwrap_or_else(|| panic!("no {function} {pass} in {check}"));
        assert_eq!(found["passed"], true);
        assert!(found["inputs"].as_u64().unwrap() > 1000, "{found}");
        assert!(found["max_ulp"].as_f64().unwrap() <= found["bound"].as_f64().unwrap());
    }

    let bench =
        json("bench gelu logsumexp masked-softmax nll-loss --shape 16,32 --backend cpu --json");
    assert_eq!(bench["shape"], serde_json::json!([16, 32]));
    let results = bench["results"].as_array().unwrap();
    let bytes: Vec<u64> = results
        .iter()
        .map(|r| r["bytes"].as_u64().unwrap())
        .collect();
    // 512 elements in and out; backward reads the upstream gradient too; logsumexp has one
    // value for each of the 16 rows, a mask 32 bytes, and a loss 16 classes and one number.
    assert_eq!(bytes, [4096, 6144, 2112, 4160, 4128, 6176, 2116, 4164]);
    for result in results {
        for field in [
            "median_gb_per_s",
            "best_gb_per_s",
            "copy_median_gb_per_s",
            "share_of_copy",
        ] {
            assert!(result[field].as_f64().unwrap() > 0.0, "{result}");
        }
        assert!(result["best_gb_per_s"].as_f64() >= result["median_gb_per_s"].as_f64());
    }
}
