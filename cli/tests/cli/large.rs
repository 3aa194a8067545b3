//! Files that are larger than the memory that the program may take.

use crate::support::{Outcome, Scratch, npy};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Elements of a 64 MiB file.
const ELEMENTS: usize = 1 << 24;

/// A sparse file of zeros, but for some elements.
fn sparse(scratch: &Scratch, name: &str, shape: &[usize], values: &[(usize, f32)]) -> PathBuf {
    let head = npy("<f4", false, shape, &[]);
    let path = scratch.file(name, &head);
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = 4 * shape.iter().product::<usize>();
    file.set_len((head.len() + bytes) as u64).unwrap();
    for &(place, value) in values {
        file.seek(SeekFrom::Start((head.len() + 4 * place) as u64))
            .unwrap();
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    path
}

/// The element at a place of a file whose array has `elements`.
fn at(path: &Path, elements: usize, place: usize) -> f32 {
    let mut file = File::open(path).unwrap();
    let back = 4 * (elements - place) as i64;
    file.seek(SeekFrom::End(-back)).unwrap();
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).unwrap();
    f32::from_le_bytes(bytes)
}

/// Runs the program on the CPU with 32 MiB for data of any kind, thread stacks included, which
/// is half of the file.
fn run(args: &[&str], files: &[&Path]) -> Outcome {
    Command::new("sh")
        .args(["-c", r#"ulimit -d 32768; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_activations"))
        .args([args[0], "--backend", "cpu"])
        .args(&args[1..])
        .args(files)
        .output()
        .unwrap()
        .into()
}

#[cfg(target_os = "linux")]
#[test]
fn files_go_through_in_less_memory_than_they_take() {
    let scratch = Scratch::new();
    let places = [0, 12_345_678, ELEMENTS - 1];
    let values = [(places[0], 1.0), (places[1], -2.0), (places[2], 3.0)];
    let x = sparse(&scratch, "x.npy", &[ELEMENTS], &values);
    let y = scratch.path("y.npy");

    // The control: a row that has to be there whole has no room.
    let whole = run(&["run", "sparsemax", "-o"], &[&y, &x]);
    whole.refused(&["more than there is memory for", "has to fit"]);
    assert!(!y.exists());

    run(&["run", "relu", "--memory", "4M", "-o"], &[&y, &x]).ok();
    assert_eq!(
        fs::metadata(&y).unwrap().len(),
        fs::metadata(&x).unwrap().len()
    );
    assert_eq!(places.map(|i| at(&y, ELEMENTS, i)), [1.0, 0.0, 3.0]);

    run(
        &["grad", "square", "--memory", "4M", "-o"],
        &[&y, &x, "--upstream".as_ref(), &x],
    )
    .ok();
    assert_eq!(places.map(|i| at(&y, ELEMENTS, i)), [2.0, 8.0, 18.0]);

    // One row that does not fit, in two passes; in the place of its input.
    run(&["run", "softmax", "--memory", "4M", "-o"], &[&x, &x]).ok();
    let exact = values.map(|(_, x)| f64::from(x).exp());
    let sum = exact.iter().sum::<f64>() + (ELEMENTS - 3) as f64;
    let got = places.map(|i| f64::from(at(&x, ELEMENTS, i)));
    for (got, exact) in got.iter().zip(exact) {
        assert!((got / (exact / sum) - 1.0).abs() < 1e-7, "{got}");
    }
    assert_eq!(scratch.names(), ["x.npy", "y.npy"]);
}

#[cfg(target_os = "linux")]
/// Parts of a few bytes would take longer than anybody waits.
#[test]
fn very_little_memory_is_some() {
    let scratch = Scratch::new();
    let x: Vec<f32> = (-2000..2000).map(|i| i as f32).collect();
    scratch.array("x.npy", &[4000], &x);
    let relu: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
    let line = "run relu {x.npy} -o {y.npy} --backend cpu --memory";
    let outcome = crate::support::words(&scratch, &format!("{line} 128")).ok();
    let note = "note: --memory is 128 bytes; 64K, the least, are taken\n";
    assert!(outcome.stderr.contains(note), "{outcome:?}");
    assert_eq!(crate::support::read(&scratch.path("y.npy")).1, relu);
    let outcome = crate::support::words(&scratch, &format!("{line} 64K")).ok();
    assert!(!outcome.stderr.contains("note"), "{outcome:?}");
}

#[test]
fn axes_of_all_kinds_go_through() {
    let scratch = Scratch::new();
    // Along the first axis, where columns are far apart.
    let values = [(0, 1.0), (3 << 20, 1.0)];
    let x = sparse(&scratch, "x.npy", &[4, 1 << 20], &values);
    let y = scratch.path("y.npy");
    let args = [
        "run",
        "log_softmax",
        "--axis",
        "0",
        "--memory",
        "100M",
        "-o",
    ];
    run(&args, &[&y, &x]).refused(&["bytes of buffers", "--memory"]);
    for memory in ["64K", "2M", "4M"] {
        let args = [
            "run",
            "log_softmax",
            "--axis",
            "0",
            "--memory",
            memory,
            "-o",
        ];
        run(&args, &[&y, &x]).ok();
        let sum = (2.0 + 2.0 * 1f64.exp()).ln();
        let close = |place: usize, want: f64| {
            let got = f64::from(at(&y, 4 << 20, place));
            assert!((got / want - 1.0).abs() < 1e-6, "{got} for {want}");
        };
        close(0, 1.0 - sum);
        close(1, -(4f64.ln()));
        close(1 << 20, -sum);
        close(3 << 20, 1.0 - sum);
        close((4 << 20) - 1, -(4f64.ln()));

        let args = [
            "run",
            "logsumexp",
            "--axis",
            "0",
            "--keepdims",
            "--memory",
            memory,
            "-o",
        ];
        run(&args, &[&y, &x]).ok();
        let got = f64::from(at(&y, 1 << 20, 0));
        assert!((got / sum - 1.0).abs() < 1e-6, "{got}");
    }
}

/// Room that there is not is missed before anything is computed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_found_at_once() {
    let scratch = Scratch::new();
    let x = sparse(&scratch, "x.npy", &[ELEMENTS], &[]);
    let y = scratch.file("y.npy", b"precious");
    let outcome: Outcome = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 1000; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_activations"))
        .args(["run", "softmax", "--backend", "cpu", "-o"])
        .args([&y, &x])
        .output()
        .unwrap()
        .into();
    outcome.refused(&["y.npy: cannot write it", "File too large"]);
    assert_eq!(fs::read(&y).unwrap(), b"precious");
    assert_eq!(scratch.names(), ["x.npy", "y.npy"]);
}
