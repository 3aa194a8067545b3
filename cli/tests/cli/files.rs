//! Output files: whole or not at all, and what was there before survives a failure.

use crate::support::{Outcome, Scratch, command, read, words};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
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

/// A file size limit stands in for a full disk: a write fails half way, whether the limit's signal
/// is ignored or would end the program.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_leaves_no_half_file() {
    let scratch = Scratch::new();
    let input = scratch.array("x.npy", &[1 << 20], &vec![1.0; 1 << 20]);
    let output = scratch.file("out.npy", b"precious");
    fs::create_dir(scratch.path("in")).unwrap();
    fs::copy(&input, scratch.path("in/x.npy")).unwrap();
    let limited = |trap: &str, args: &[&str], files: [&std::path::Path; 3]| -> Outcome {
        let line = format!(r#"{trap} ulimit -f 1000; exec "$0" "$@""#);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line]);
        command.arg(env!("CARGO_BIN_EXE_activations")).args(args);
        command.args(["--backend", "cpu"]).args(files);
        command.output().unwrap().into()
    };
    let option = std::path::Path::new("-o");
    for trap in ["trap '' XFSZ;", "trap - XFSZ;"] {
        for function in ["relu", "sparsemax"] {
            let outcome = limited(trap, &["run", function], [&input, option, &output]);
            outcome.refused(&["out.npy: cannot write it", "File too large"]);
        }
        let new = scratch.path("new");
        let args = ["batch", "--apply", "*=relu"];
        let outcome = limited(trap, &args, [&scratch.path("in"), option, &new]);
        outcome.refused(&["new: cannot write it", "File too large"]);
        assert_eq!(fs::read(&output).unwrap(), b"precious");
        assert_eq!(scratch.names(), ["in", "out.npy", "x.npy"]);
    }
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

    // To a file that is not there yet, by way of another link and by a relative path.
    symlink("far/new.npy", scratch.path("there.npy")).unwrap();
    symlink(scratch.path("there.npy"), scratch.path("first.npy")).unwrap();
    words(&scratch, "run relu {x.npy} -o {first.npy} --backend cpu").ok();
    assert!(scratch.path("first.npy").is_symlink() && scratch.path("there.npy").is_symlink());
    assert_eq!(read(&scratch.path("far/new.npy")).1, [3.0]);
    symlink("none/new.npy", scratch.path("nowhere.npy")).unwrap();
    words(&scratch, "run relu {x.npy} -o {nowhere.npy}").refused(&["none'; create it"]);
    symlink("loop.npy", scratch.path("loop.npy")).unwrap();
    words(&scratch, "run relu {x.npy} -o {loop.npy}").refused(&["loop.npy", "back to itself"]);

    // Other names of a file are not written to, and that is said.
    fs::hard_link(&target, scratch.path("other.npy")).unwrap();
    let outcome = words(&scratch, "run square {x.npy} -o {other.npy} --backend cpu").ok();
    assert!(outcome.stderr.contains("1 other names"), "{outcome:?}");
    assert_eq!(read(&target).1, [3.0]);
    assert_eq!(read(&scratch.path("other.npy")).1, [9.0]);
    let outcome = words(&scratch, "run relu {x.npy} -o {other.npy} --backend cpu").ok();
    assert!(!outcome.stderr.contains("hard links"), "{outcome:?}");

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

/// The tensors of a file: name, dtype, shape and data, in the order of their names.
fn tensors(path: &std::path::Path) -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
    let file = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut all: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, t.dtype(), t.shape().to_vec(), t.data().to_vec()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Streamed, computed whole, in the place of the input, of another type and under a new name: the
/// file's other tensors and what it says of itself stay.
#[test]
fn a_tensor_is_written_beside_the_others() {
    let scratch = Scratch::new();
    let data: Vec<u8> = [-1.0f32, 2.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let three = [7u8, 8, 9];
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let all = [
        ("a", view(Dtype::U8, &[3], &three[..])),
        ("w1", view(Dtype::F32, &[2], &data)),
        ("w2", view(Dtype::F32, &[1, 2], &data)),
    ];
    let said = [("format".to_owned(), "pt".to_owned())].into();
    let file = safetensors::serialize(all, Some(said)).unwrap();
    let path = scratch.file("m.safetensors", &file);
    let bytes = |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let run = |line: &str| {
        let line = line.replace("FILE", path.to_str().unwrap());
        words(&scratch, &format!("{line} --backend cpu"))
    };

    run("run relu FILE:w1 -o FILE:w1").ok();
    let mut want = tensors(&scratch.file("was.safetensors", &file));
    want[1].3 = bytes(&[0.0, 2.0]);
    assert_eq!(tensors(&path), want);
    run("run sparsemax FILE:w2 -o FILE:w2 --dtype f16").ok();
    (want[2].1, want[2].3) = (Dtype::F16, vec![0, 0, 0, 0x3c]);
    assert_eq!(tensors(&path), want);
    run("run relu FILE:a -o FILE:b").ok();
    want.insert(
        1,
        ("b".to_owned(), Dtype::F32, vec![3], bytes(&[7.0, 8.0, 9.0])),
    );
    assert_eq!(tensors(&path), want);
    let file = fs::read(&path).unwrap();
    let (_, said) = SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(said.metadata().as_ref().unwrap()["format"], "pt");

    // What would lose the others, or the file, is refused.
    run("run relu FILE:w1 -o FILE").refused(&["m.safetensors", "has 4 tensors", ":TENSOR"]);
    run("run relu FILE:w1 -o FILE:__metadata__").refused(&["__metadata__"]);
    assert_eq!(fs::read(&path).unwrap(), file);
    let cut = scratch.file("cut.safetensors", &file[..file.len() - 1]);
    run("run relu FILE:w1 -o {cut.safetensors:x}").refused(&["cut.safetensors", "truncated"]);
    assert_eq!(fs::read(cut).unwrap(), file[..file.len() - 1]);
    let none = scratch.file("none.safetensors", b"");
    run("run relu FILE:w1 -o {none.safetensors:x}").ok();
    assert_eq!(tensors(&none)[0].0, "x");
    // The only one is meant where none is named.
    run("run square FILE:w1 -o {none.safetensors}").ok();
    assert_eq!(tensors(&none)[0].3, bytes(&[0.0, 4.0]));
    assert_eq!(tensors(&none).len(), 1);
}

/// Two outputs in one place: both are there afterwards, or none.
#[test]
fn outputs_do_not_take_each_others_place() {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2], &[1.0, 2.0]);
    scratch.array("y.npy", &[2], &[3.0, 5.0]);
    let precious = scratch.file("s.npy", b"precious");
    let grad = |outputs: &str| {
        let line = format!("grad bilinear {{x.npy}} {{y.npy}} {outputs} --backend cpu");
        words(&scratch, &line)
    };
    grad("-o {s.npy} -o {s.npy}").refused(&["s.npy", "two outputs", "one file"]);
    grad("-o {new.npy} -o {./new.npy}").refused(&["new.npy", "two outputs"]);
    grad("-o {t.safetensors:a} -o {t.safetensors:a}").refused(&["the tensor 'a'"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("s.npy", scratch.path("link.npy")).unwrap();
        grad("-o {s.npy} -o {link.npy}").refused(&["link.npy", "two outputs"]);
        std::os::unix::fs::symlink("later.npy", scratch.path("dangling.npy")).unwrap();
        grad("-o {later.npy} -o {dangling.npy}").refused(&["dangling.npy", "two outputs"]);
    }
    assert_eq!(fs::read(precious).unwrap(), b"precious");
    assert!(!scratch.path("t.safetensors").exists());

    // Gradients of x * y, whichever way they are computed.
    grad("-o {t.safetensors:a} -o {t.safetensors:b}").ok();
    let bytes = |x: [f32; 2]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let of = |name: &str, x| (name.to_owned(), Dtype::F32, vec![2], bytes(x));
    let t = scratch.path("t.safetensors");
    assert_eq!(tensors(&t), [of("a", [3.0, 5.0]), of("b", [1.0, 2.0])]);
    grad("-o {t.safetensors:b} -o {t.safetensors:c}").ok();
    let want = [
        of("a", [3.0, 5.0]),
        of("b", [3.0, 5.0]),
        of("c", [1.0, 2.0]),
    ];
    assert_eq!(tensors(&t), want);
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
                break crate::support::signal("INT", child.id());
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
