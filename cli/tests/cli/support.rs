//! What the tests share: running the program, and .npy files written and read by hand, so that
//! the program's own reader and writer are not their own judges.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A scratch directory that vanishes with the value.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// An f32 array, row-major.
    pub fn array(&self, name: &str, shape: &[usize], data: &[f32]) -> PathBuf {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.file(name, &npy("<f4", false, shape, &bytes))
    }

    /// The names of the files that are there, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A .npy file of format 1.0.
pub fn npy(dtype: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    with_header(1, &header(dtype, fortran, shape), data)
}

/// The dictionary as numpy writes it.
pub fn header(dtype: &str, fortran: bool, shape: &[usize]) -> String {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = match shape {
        [one] => format!("{one},"),
        _ => dims.trim_end_matches(", ").to_owned(),
    };
    let order = if fortran { "True" } else { "False" };
    format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': ({dims}), }}")
}

/// A .npy file of format `major`.0 with any text for a header, padded as numpy pads it.
pub fn with_header(major: u8, text: &str, data: &[u8]) -> Vec<u8> {
    let prefix = if major == 1 { 10 } else { 12 };
    let mut text = text.to_owned();
    while !(prefix + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([major, 0]);
    if major == 1 {
        bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    } else {
        bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    }
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

/// Shape and elements of an output: format 1.0, little-endian f32, row-major, or it panics.
pub fn read(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!((10 + length).is_multiple_of(64), "the data is not aligned");
    let text = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(text.contains("'descr': '<f4'"), "{text}");
    assert!(text.contains("'fortran_order': False"), "{text}");
    let dims = text.split_once("'shape': (").unwrap().1;
    let dims = dims.split_once(')').unwrap().0;
    let shape: Vec<usize> = dims
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(|d| d.parse().unwrap())
        .collect();
    let data = &bytes[10 + length..];
    assert_eq!(data.len(), 4 * shape.iter().product::<usize>());
    let data = data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (shape, data.collect())
}

/// The program with these arguments.
pub fn command<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activations"));
    // Whatever the user's cache has.
    command.args(args).env("ACTIVATIONS_CACHE", "off");
    if let Some(name) = adapter() {
        command.env("WGPU_ADAPTER_NAME", name);
    }
    command
}

/// The name of the best adapter: where it is software, the program takes it only by name, and these
/// tests are of both backends.
fn adapter() -> Option<&'static str> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let chosen = wgpu_activations::adapters().into_iter().find(|a| a.chosen);
        chosen.map(|adapter| adapter.name)
    });
    name.as_deref()
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    /// Exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Exit code 2, nothing on stdout, and one error line that has all of `parts`; notes may
    /// precede it.
    #[track_caller]
    pub fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let (last, before) = lines.split_last().expect("an error line");
        assert!(last.starts_with("error: "), "{self:?}");
        for line in before {
            let known = line.starts_with("note: ") || line.starts_with("backend: ");
            assert!(known, "{self:?}");
        }
        for part in parts {
            assert!(last.contains(part), "no '{part}' in: {last}");
        }
    }
}

/// Runs the program.
pub fn activations<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Outcome {
    command(args).output().unwrap().into()
}

/// Runs the program with words that are split at spaces, and `{name}` for a scratch file.
pub fn words(scratch: &Scratch, line: &str) -> Outcome {
    word_command(scratch, line).output().unwrap().into()
}

/// The command that [`words`] runs.
pub fn word_command(scratch: &Scratch, line: &str) -> Command {
    let args: Vec<std::ffi::OsString> = line
        .split_whitespace()
        .map(
            |word| match word.strip_prefix('{').and_then(|w| w.strip_suffix('}')) {
                Some(name) => scratch.path(name).into_os_string(),
                None => word.into(),
            },
        )
        .collect();
    command(&args)
}

/// Sends a signal by its name; false where the process is gone.
#[cfg(unix)]
pub fn signal(name: &str, pid: u32) -> bool {
    let line = format!("kill -{name} {pid}");
    let sent = Command::new("sh").args(["-c", &line]).output();
    sent.unwrap().status.success()
}

/// Asserts that two f32 differ from f64 results by at most `ulp` units in the last place.
#[track_caller]
pub fn assert_close(got: &[f32], want: &[f64], ulp: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let unit = f64::from((want.abs() as f32).next_up()) - f64::from(want.abs() as f32);
        let error = (f64::from(got) - want).abs();
        assert!(error <= ulp * unit, "element {i}: {got} is not {want}");
    }
}
