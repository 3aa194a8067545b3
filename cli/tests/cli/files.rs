//! Output files: whole or not at all, and what was there before survives a failure.

use crate::support::{Outcome, Scratch, command, read, words};
use std::fs;

#[test]
fn the_input_may_be_the_output() {
    let scratch = Scratch::new();
    let path = scratch.array("x.npy", &[3], &[-1.0, 0.5, 2.0]);
    words(&scratch, "run relu {x.npy} -o {x.npy} --backend cpu").ok();
    assert_eq!(read(&path), (vec![3], vec![0.0, 0.5, 2.0]));
    words(
        &scratch,
        "grad square {x.npy} --upstream {x.npy} -o {x.npy} --backend cpu",
    )
    .ok();
    assert_eq!(read(&path).1, [0.0, 0.5, 8.0]);
    assert_eq!(scratch.names(), ["x.npy"]);
}

#[test]
fn a_failed_run_leaves_an_existing_output_alone() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 2], &[1.0; 4]);
    scratch.array("dy.npy", &[4], &[1.0; 4]);
    scratch.file("bad.npy", b"\x93NUMPY");
    let output = scratch.file("out.npy", b"precious");
    for line in [
        "run relu {bad.npy} -o {out.npy} --backend cpu",
        "run softmax {x.npy} --axis 2 -o {out.npy} --backend cpu",
        "grad relu {x.npy} --upstream {dy.npy} -o {out.npy} --backend cpu",
        "grad relu {x.npy} --upstream {bad.npy} -o {out.npy} --backend cpu",
    ] {
        words(&scratch, line).refused(&[]);
        assert_eq!(fs::read(&output).unwrap(), b"precious", "{line}");
    }
    assert_eq!(scratch.names(), ["bad.npy", "dy.npy", "out.npy", "x.npy"]);
}

/// A file size limit stands in for a full disk: a write fails half way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_leaves_no_half_file() {
    let scratch = Scratch::new();
    let input = scratch.array("x.npy", &[1 << 20], &vec![1.0; 1 << 20]);
    let output = scratch.file("out.npy", b"precious");
    let outcome: Outcome = std::process::Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 1000; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_activations"))
        .args(["run", "relu", "--backend", "cpu"])
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap()
        .into();
    outcome.refused(&["out.npy: cannot write it", "File too large"]);
    assert_eq!(fs::read(&output).unwrap(), b"precious");
    assert_eq!(scratch.names(), ["out.npy", "x.npy"]);
}

#[test]
fn places_that_cannot_be_written_are_refused_before_the_input_is_read() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("directory")).unwrap();
    // The input is not there either; the output is complained of.
    let run = |output: &str| words(&scratch, &format!("run relu {{no.npy}} -o {output}"));
    run("{directory}").refused(&["is a directory"]);
    run("{none/out.npy}").refused(&["none/out.npy", "no directory", "create it"]);
    run("..").refused(&["is a directory"]);
    let locked = scratch.file("locked.npy", b"precious");
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    run("{locked.npy}").refused(&["read-only"]);
    #[cfg(unix)]
    run("/dev/null").refused(&["/dev/null", "not a regular file"]);
    assert_eq!(scratch.names(), ["directory", "locked.npy"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let scratch = Scratch::new();
    scratch.array("x.npy", &[1], &[3.0]);
    fs::create_dir(scratch.path("far")).unwrap();
    let target = scratch.file("far/real.npy", b"old");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&target, scratch.path("link.npy")).unwrap();
    words(&scratch, "run relu {x.npy} -o {link.npy} --backend cpu").ok();
    assert!(scratch.path("link.npy").is_symlink());
    assert_eq!(read(&target).1, [3.0]);
    assert_eq!(
        fs::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o640
    );

    // A new file gets what the umask leaves.
    let status = std::process::Command::new("sh")
        .args(["-c", r#"umask 027; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_activations"))
        .args(["run", "relu", "--backend", "cpu", "-o"])
        .args([scratch.path("new.npy"), scratch.path("x.npy")])
        .output()
        .unwrap();
    Outcome::from(status).ok();
    let mode = fs::metadata(scratch.path("new.npy"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// What other programs take for standard output is no name by accident.
#[test]
fn a_dash_is_no_file() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2], &[-1.0, 2.0]);
    std::fs::create_dir(scratch.path("in")).unwrap();
    scratch.array("in/a.npy", &[1], &[1.0]);
    for line in [
        "run relu x.npy -o - --backend cpu",
        "run softmax x.npy -o - --backend cpu --causal",
        "grad relu x.npy -o - --backend cpu",
        "batch in -o - --apply *=relu --backend cpu",
    ] {
        let output = crate::support::word_command(&scratch, line)
            .current_dir(scratch.path(""))
            .output();
        let outcome: Outcome = output.unwrap().into();
        outcome.refused(&["-: standard output is not written to", "./-"]);
        assert_eq!(scratch.names(), ["in", "x.npy"]);
    }
    let output = crate::support::word_command(&scratch, "run relu x.npy -o ./- --backend cpu")
        .current_dir(scratch.path(""))
        .output();
    Outcome::from(output.unwrap()).ok();
    assert_eq!(scratch.names(), ["-", "in", "x.npy"]);
}

#[test]
fn a_bare_name_is_a_file_in_the_working_directory() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[1], &[3.0]);
    let output = command(&["run", "relu", "x.npy", "-o", "y.npy", "--backend", "cpu"])
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    Outcome::from(output).ok();
    assert_eq!(scratch.names(), ["x.npy", "y.npy"]);
}

/// An interrupt while the output is being written: no temporary file stays, the old output
/// does, and the exit code is the shells' 130.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_half_file() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let signal = |name: &str, pid: u32| {
        let line = format!("kill -{name} {pid}");
        let sent = std::process::Command::new("sh")
            .args(["-c", &line])
            .output();
        sent.unwrap().status.success()
    };
    // The write of a 256 MiB file is caught in the act; where the machine is faster than the
    // signal, the next attempt may see it.
    for attempt in 1.. {
        let scratch = Scratch::new();
        let elements = 1usize << 26;
        let input = scratch.array("x.npy", &[1], &[0.0]);
        // A sparse file: zeros that take no room on the disk.
        let head = crate::support::npy("<f4", false, &[elements], &[]);
        fs::write(&input, &head).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&input).unwrap();
        file.set_len((head.len() + 4 * elements) as u64).unwrap();
        let output = scratch.file("out.npy", b"precious");

        let mut child = command(&["run", "relu", "--backend", "cpu", "-o"])
            .args([&output, &input])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let caught = loop {
            if scratch.names().iter().any(|n| n.ends_with(".tmp")) {
                break signal("INT", child.id());
            }
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "it hangs");
            std::thread::sleep(Duration::from_millis(1));
        };
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        if outcome.code == Some(0) && attempt < 5 {
            continue;
        }
        assert!(caught, "{outcome:?}");
        assert_eq!(outcome.code, Some(130), "{outcome:?}");
        assert!(
            outcome.stderr.ends_with("error: interrupted\n"),
            "{outcome:?}"
        );
        assert_eq!(fs::read(&output).unwrap(), b"precious");
        assert_eq!(scratch.names(), ["out.npy", "x.npy"]);
        return;
    }
}
