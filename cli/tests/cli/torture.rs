//! Files, chains and signals by the thousand: damaged files are errors and nothing worse, and a run
//! that is interrupted leaves the old file or the new one. Short here; `cargo xtask torture` says
//! how many seconds each test takes.

use crate::support::{Outcome, Scratch, command, header, npy, signal, with_header};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wgpu_activations::Chain;

/// The rounds of a test: so many, or as many as go into the seconds that the environment has.
struct Rounds {
    name: &'static str,
    least: u64,
    /// None in the short form.
    until: Option<Instant>,
    done: u64,
    told: Instant,
    seed: u64,
}

impl Rounds {
    fn new(name: &'static str, least: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap());
        let now = Instant::now();
        Self {
            name,
            least,
            until: number("ACTIVATIONS_TORTURE").map(|s| now + Duration::from_secs(s)),
            done: 0,
            told: now,
            seed: number("ACTIVATIONS_TORTURE_SEED").unwrap_or(1),
        }
    }

    /// The noise of the next round, and the number that repeats it.
    fn next(&mut self) -> Option<(Noise, u64)> {
        let goes_on = match self.until {
            None => self.done < self.least,
            Some(until) => self.done < self.least || Instant::now() < until,
        };
        if !goes_on {
            self.tell(&format!("{}: {} rounds", self.name, self.done));
            return None;
        }
        if self.told.elapsed() > Duration::from_secs(10) {
            self.told = Instant::now();
            self.tell(&format!("{}: {} rounds so far", self.name, self.done));
        }
        let seed = self.seed + self.done;
        self.done += 1;
        Some((Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), seed))
    }

    fn tell(&self, text: &str) {
        if self.until.is_some() {
            // Past the harness' capture.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Steele, Lea and Flood's SplitMix64 (2014).
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What parsers stumble on.
const TOKENS: [&[u8]; 26] = [
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775808",
    b"4611686018427387904",
    b"4294967296",
    b"1000000000",
    b"-1",
    b"0",
    b"1e999",
    b"(((((((((",
    b"[[[[[[[[[",
    b"{}",
    b"()",
    b"'",
    b"\"",
    b"\\u0000",
    b"\xff\xfe\xc0",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"'<f8'",
    b"'|O'",
    b"True",
    b"null",
    b",",
    b"PK\x01\x02",
];

/// Damages bytes in up to four places, of which most are near the start.
fn damage(bytes: &mut Vec<u8>, noise: &mut Noise) {
    for _ in 0..=noise.below(4) {
        let end = if noise.below(4) == 0 {
            bytes.len()
        } else {
            bytes.len().min(200)
        };
        let at = noise.below(end);
        let there = bytes.len() - at;
        let few = noise.below(9).min(there);
        match noise.below(8) {
            _ if bytes.is_empty() => bytes.extend(noise.one(&TOKENS)),
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = noise.bits() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + few)),
            4 => {
                let again = bytes[at..at + few].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let token = noise.one(&TOKENS);
                drop(bytes.splice(at..at, token.iter().copied()));
            }
            6 => {
                let token = noise.one(&TOKENS);
                let most = token.len().min(there);
                bytes[at..at + most].copy_from_slice(&token[..most]);
            }
            _ => {
                let digit = bytes[at..].iter().position(u8::is_ascii_digit);
                if let Some(digit) = digit {
                    bytes[at + digit] = b'0' + noise.below(10) as u8;
                }
            }
        }
    }
}

/// Whole files of every kind that is read.
fn whole_files() -> Vec<(&'static str, Vec<u8>)> {
    let floats: Vec<u8> = (0..6)
        .flat_map(|i| (i as f32 - 3.0).to_le_bytes())
        .collect();
    let doubles: Vec<u8> = (0..6).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let mut files = vec![
        ("npy", npy("<f4", false, &[2, 3], &floats)),
        ("npy", npy(">f4", true, &[2, 3], &floats)),
        ("npy", npy("<f8", true, &[3, 2, 1], &doubles)),
        ("npy", npy("<V2", false, &[12], &floats)),
        ("npy", with_header(2, &header("|i1", false, &[24]), &floats)),
        ("npy", with_header(3, &header("<u2", false, &[]), &floats)),
    ];
    use safetensors::tensor::{Dtype, TensorView};
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let all = [
        ("x", view(Dtype::F32, &[2, 3], &floats[..])),
        ("y", view(Dtype::I16, &[12], &floats)),
    ];
    let said = [("a".to_owned(), "b".to_owned())].into();
    files.push((
        "safetensors",
        safetensors::serialize(all, Some(said)).unwrap(),
    ));
    for method in [
        zip::CompressionMethod::Stored,
        zip::CompressionMethod::Deflated,
    ] {
        let mut bytes = Vec::new();
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(&mut bytes));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for name in ["x.npy", "y.npy"] {
            archive.start_file(name, options).unwrap();
            archive.write_all(&files[0].1).unwrap();
        }
        archive.finish().unwrap();
        files.push(("npz", bytes));
    }
    files
}

/// Runs the program in 8 GiB of address space; ends it and fails where it takes a minute.
fn limited(args: &[&str], scratch: &Scratch) -> (ExitStatus, String) {
    let errors = scratch.path("stderr");
    let mut child = Command::new("sh")
        .args(["-c", r#"ulimit -v 8388608; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_activations"))
        .args(args)
        .current_dir(scratch.path(""))
        .env("ACTIVATIONS_CACHE", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it hangs: {args:?}");
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    (
        status,
        String::from_utf8_lossy(&fs::read(errors).unwrap()).into_owned(),
    )
}

/// Every run ends with a result, or with one line that says what is wrong and without a file.
#[test]
fn torture_of_damaged_files() {
    let files = whole_files();
    let mut rounds = Rounds::new("damaged files", 150);
    let (mut read, mut refused) = (0, 0);
    while let Some((mut noise, seed)) = rounds.next() {
        let scratch = Scratch::new();
        let (kind, whole) = &files[noise.below(files.len())];
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut noise);
        let input = format!("in.{kind}");
        scratch.file(&input, &bytes);
        let (line, output) = match *kind {
            "npy" => noise.one(&[
                &("run relu in.npy -o out.npy", "out.npy"),
                &("run softmax in.npy -o out.npy", "out.npy"),
                &("run logsumexp in.npy --axis 0 -o out.npy", "out.npy"),
                &("run entmax15 in.npy -o out.npy --dtype bf16", "out.npy"),
                &("grad gelu in.npy -o out.npy", "out.npy"),
                &(
                    "grad softmax in.npy --upstream in.npy -o out.npy",
                    "out.npy",
                ),
            ]),
            "npz" => &("batch in.npz --apply *=gelu -o out.npz", "out.npz"),
            _ => noise.one(&[
                &("run gelu in.safetensors:x -o out.npy", "out.npy"),
                &("run softmax in.safetensors:y -o in.safetensors:z", ""),
                &(
                    "batch in.safetensors --apply *=relu -o out.safetensors",
                    "out.safetensors",
                ),
            ]),
        };
        let args: Vec<&str> = line.split(' ').chain(["--backend", "cpu"]).collect();
        let (status, errors) = limited(&args, &scratch);
        let about = format!("seed {seed}: {line}: {status}: {errors}");
        let mut names = scratch.names();
        names.retain(|name| *name != input && name != "stderr");
        match status.code() {
            Some(0) if output.is_empty() => assert!(names.is_empty(), "{about}"),
            Some(0) => assert_eq!(names, [*output], "{about}"),
            Some(2) => {
                let last = errors.lines().next_back().unwrap_or_default();
                assert!(last.starts_with("error: "), "{about}");
                assert!(names.is_empty(), "{about}: {names:?}");
                let after = fs::read(scratch.path(&input)).unwrap();
                assert_eq!(after, bytes, "{about}");
            }
            _ => panic!("{about}"),
        }
        *(if status.success() {
            &mut read
        } else {
            &mut refused
        }) += 1;
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    rounds.tell(&format!("  {read} read, {refused} refused"));
}

/// A chain's text, whatever was done to it, is a chain or an error; what is a chain reads the same
/// when it is written out.
#[test]
fn torture_of_damaged_chains() {
    let whole = [
        "gelu",
        "scale(0.5) | softmax",
        "bias(1e-3) | leaky_relu(negative_slope=0.2) | square",
        "elu(alpha=2) | log_softmax(axis=-1) | add(3)",
        "softcap(30)|temperature(0.7)|softmax",
    ];
    let mut rounds = Rounds::new("damaged chains", 20_000);
    let (mut read, mut refused) = (0, 0);
    while let Some((mut noise, seed)) = rounds.next() {
        let mut bytes = noise.one(&whole).as_bytes().to_vec();
        damage(&mut bytes, &mut noise);
        let text = String::from_utf8_lossy(&bytes);
        match text.parse::<Chain>() {
            Ok(chain) => {
                read += 1;
                let written = chain.to_string();
                let again = written.parse::<Chain>();
                let again = again.unwrap_or_else(|e| panic!("seed {seed}: {written}: {e}"));
                assert_eq!(again.to_string(), written, "seed {seed}: {text}");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty(), "seed {seed}: {text}");
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    rounds.tell(&format!("  {read} read, {refused} refused"));
}

/// Names and contents of what is at `path`, a file or a folder; none where nothing is.
fn contents(path: &Path) -> Option<Vec<(String, Vec<u8>)>> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let mut all: Vec<_> = entries
            .map(|e| {
                let name = e.file_name().into_string().unwrap();
                (name, fs::read(e.path()).unwrap())
            })
            .collect();
        all.sort();
        return Some(all);
    }
    let bytes = fs::read(path).ok()?;
    Some(vec![(String::new(), bytes)])
}

/// Interrupts runs at any time: no temporary file stays, what is in place is the old or the new, and
/// the exit code says which.
#[test]
fn torture_by_signals() {
    let scratch = Scratch::new();
    let data: Vec<f32> = (0..1 << 20)
        .map(|i| (i % 1000) as f32 / 100.0 - 5.0)
        .collect();
    scratch.array("x.npy", &[1 << 10, 1 << 10], &data);
    fs::create_dir(scratch.path("in")).unwrap();
    for i in 0..200 {
        scratch.array(&format!("in/{i}.npy"), &[64], &data[i..i + 64]);
    }
    let mut cases = vec![
        ("run softmax x.npy --backend cpu --memory 64K -o out", "out"),
        ("run sparsemax x.npy --backend cpu -o out", "out"),
        (
            "run gelu x.npy --backend cpu -o out.safetensors:x",
            "out.safetensors",
        ),
        ("batch in --apply 1*=relu --backend cpu -o folder", "folder"),
    ];
    let run = |line: &str| {
        let mut command = command(&line.split(' ').collect::<Vec<_>>());
        command.current_dir(scratch.path(""));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let gpu = "run gelu x.npy --backend gpu -o out";
    let probe: Outcome = run(gpu).output().unwrap().into();
    if probe.code == Some(0) {
        cases.push((gpu, "out"));
    }
    let remove = |path: &Path| {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
    };
    // What each makes, and how long it takes.
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(line, output)| {
            let path = scratch.path(output);
            remove(&path);
            let start = Instant::now();
            Outcome::from(run(line).output().unwrap()).ok();
            let (took, made) = (start.elapsed(), contents(&path).unwrap());
            remove(&path);
            (line, path, took, made)
        })
        .collect();

    let mut rounds = Rounds::new("signals", 10 * cases.len() as u64);
    let (mut early, mut interrupted, mut finished) = (0, 0, 0);
    while let Some((mut noise, seed)) = rounds.next() {
        let (line, path, took, made) = &cases[seed as usize % cases.len()];
        let is_folder = !made[0].0.is_empty();
        let old = if is_folder || noise.below(2) == 0 {
            None
        } else {
            fs::write(path, b"").unwrap();
            contents(path)
        };
        let (name, number) = [("INT", 2), ("TERM", 15), ("HUP", 1)][noise.below(3)];
        let mut child = run(line).spawn().unwrap();
        if noise.below(4) == 0 {
            // As the new file appears, between this and the end of the program.
            while contents(path) == old && child.try_wait().unwrap().is_none() {}
        } else {
            std::thread::sleep(took.mul_f64(noise.below(1200) as f64 / 1000.0));
        }
        signal(name, child.id());
        let output = child.wait_with_output().unwrap();
        let now = contents(path);
        let status = output.status;
        let errors = String::from_utf8_lossy(&output.stderr);
        let about = format!("seed {seed}: {name}: {line}: {status}: {errors}");
        match (status.code(), status.signal()) {
            (Some(0), _) => {
                finished += 1;
                assert!(now.as_ref() == Some(made), "{about}: not the new file");
            }
            (Some(130), _) => {
                interrupted += 1;
                assert!(errors.ends_with("error: interrupted\n"), "{about}");
                assert!(now == old, "{about}: not the old file");
            }
            // Before the handler is there, as is no file.
            (None, Some(ended)) if ended == number => {
                early += 1;
                assert!(now == old, "{about}: not the old file");
            }
            _ => panic!("{about}"),
        }
        remove(path);
        assert_eq!(scratch.names(), ["in", "x.npy"], "{about}");
    }
    assert!(interrupted + finished > 0);
    rounds.tell(&format!(
        "  {interrupted} interrupted, {finished} finished, {early} before the handler"
    ));
}
