//! The program where the system grants it no thread beside its first.

use crate::support::{Scratch, read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Runs the program under a limit of `processes`. Root knows no such limit: there it is another user.
fn limited(scratch: &Scratch, processes: u32, arguments: &[&str]) -> Option<Output> {
    // No account has it, so that nothing else counts against the limit.
    const NOBODY: u32 = 54_321;
    let mut command = Command::new("bash");
    let script = format!("ulimit -u {processes} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_activations")]);
    command.args(arguments).current_dir(scratch.path(""));
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.starts_with(b"0\n") {
        let everyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(scratch.path(""), everyone).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().ok()?;
    // A folder on the way to the program may be closed to others.
    (!matches!(output.status.code(), Some(126 | 127))).then_some(output)
}

#[test]
fn the_first_thread_does_without_others() {
    let scratch = Scratch::new();
    let x: Vec<f32> = (0..200_000).map(|i| i as f32 * 1e-4 - 10.0).collect();
    scratch.array("x.npy", &[200, 1000], &x);
    for (i, arguments) in [
        &["run", "gelu", "x.npy", "-o", "y.npy", "--backend", "cpu"][..],
        &["run", "softmax", "x.npy", "-o", "y.npy", "--backend", "cpu"],
        &[
            "run",
            "gelu",
            "x.npy",
            "-o",
            "y.npy",
            "--backend",
            "cpu",
            "--memory",
            "1M",
        ],
        &["inspect", "x.npy", "--backend", "cpu"],
    ]
    .into_iter()
    .enumerate()
    {
        let free = limited(&scratch, 1_000, arguments);
        let Some(free) = free else { return };
        assert!(free.status.success(), "{free:?}");
        let want = (i < 3).then(|| read(&scratch.path("y.npy")));
        let _ = std::fs::remove_file(scratch.path("y.npy"));
        for processes in [1, 2, 3] {
            let Some(output) = limited(&scratch, processes, arguments) else {
                return;
            };
            assert!(output.status.success(), "{processes}: {output:?}");
            if let Some(want) = &want {
                assert_eq!(read(&scratch.path("y.npy")), *want);
                std::fs::remove_file(scratch.path("y.npy")).unwrap();
            }
        }
    }
}
