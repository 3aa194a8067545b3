//! Golden outputs: digests of what every function computes, bit for bit. They say that numbers are the
//! same as before, not that they are right; the other tests do that.
//!
//! `golden/digests.txt` has a section for each platform, because instruction sets and drivers round
//! differently. `ACTIVATIONS_GOLDEN=write` writes the sections of the machine at hand anew.

mod cases;
mod inputs;

use crate::support::{Outcome, Scratch, activations, command};
use cases::Case;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard};

const RECORD: &str = "ACTIVATIONS_GOLDEN=write cargo test --release --workspace --test cli golden";

/// What makes each array from its name, and where the arrays are kept, so that a case can be repeated.
static INPUTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden");
    std::fs::create_dir_all(&folder).unwrap();
    let cases = cases::all(&list());
    let words = cases.iter().flat_map(|case| case.line.split(' '));
    let names: BTreeSet<&str> = words.filter(|word| word.ends_with(".npy")).collect();
    for name in names {
        // Whole or not at all: another run of the tests may read there.
        let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
        file.write_all(&inputs::file(name)).unwrap();
        file.persist(folder.join(name)).unwrap();
    }
    folder
});

fn list() -> Vec<Value> {
    serde_json::from_str(&activations(&["list", "--json"]).ok().stdout).unwrap()
}

/// The digests that are known: of each platform, of each case.
struct Digests(BTreeMap<String, BTreeMap<String, String>>);

impl Digests {
    const HEAD: &str = "\
# What `golden.rs` found on each platform: a case, then for each array that it writes the shape and a
# digest of its numbers.
";

    fn path() -> &'static Path {
        Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/cli/golden/digests.txt"
        ))
    }

    /// The file, that nobody else in this process writes meanwhile.
    fn locked() -> (Self, MutexGuard<'static, ()>) {
        static ONE: Mutex<()> = Mutex::new(());
        let guard = ONE.lock().unwrap_or_else(|broken| broken.into_inner());
        let text = std::fs::read_to_string(Self::path()).unwrap_or_default();
        let mut sections = BTreeMap::<_, BTreeMap<_, _>>::new();
        let mut section = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = Some(sections.entry(name.to_owned()).or_default());
            } else if let Some((key, value)) = line.split_once(" = ") {
                let section = section.as_mut().expect("a section before the first case");
                section.insert(key.to_owned(), value.to_owned());
            }
        }
        (Self(sections), guard)
    }

    fn write(&self) {
        let mut text = Self::HEAD.to_owned();
        for (platform, section) in &self.0 {
            text += &format!("\n[{platform}]\n");
            text.extend(
                section
                    .iter()
                    .map(|(key, value)| format!("{key} = {value}\n")),
            );
        }
        std::fs::write(Self::path(), text).unwrap();
    }
}

/// Whether the digests are to be written instead of compared.
fn writes() -> bool {
    std::env::var("ACTIVATIONS_GOLDEN").is_ok_and(|value| value == "write")
}

/// Whether there is something to do on a platform; where nothing is known of it, that is said.
fn wanted(platform: &str) -> bool {
    let wanted = writes() || Digests::locked().0.0.contains_key(platform);
    if !wanted {
        skip(&format!(
            "no golden outputs of {platform}; this records them: {RECORD}"
        ));
    }
    wanted
}

/// Straight to the stream: the harness would swallow what a passing test prints.
fn skip(why: &str) {
    let _ = writeln!(std::io::stdout(), "SKIPPED: {why}");
}

/// The digests of what a case writes, or of the error that it is to be; else what went wrong.
type Found = Result<String, String>;

/// Runs a case.
fn digest(case: &Case, backend: &str, threads: Option<usize>, outputs: &Scratch) -> Found {
    let names: Vec<PathBuf> = (0..case.files())
        .map(|i| outputs.path(&format!("{:?}-{i}.npy", std::thread::current().id())))
        .collect();
    let mut run = command(&case.line.split(' ').collect::<Vec<_>>());
    run.args(["--backend", backend]).current_dir(&*INPUTS);
    for name in &names {
        run.arg("-o").arg(name);
    }
    if let Some(threads) = threads {
        run.env("RAYON_NUM_THREADS", threads.to_string());
    }
    let outcome = Outcome::from(run.output().unwrap());
    let lines = || outcome.stderr.lines().rev();
    match (outcome.code, lines().find(|l| l.starts_with("error: "))) {
        (Some(0), _) if case.outputs > 0 => {
            let files = names.iter().map(|name| std::fs::read(name).unwrap());
            Ok(files
                .map(|file| inputs::numbers(&file))
                .collect::<Vec<_>>()
                .join(" "))
        }
        (Some(2), Some(error)) if case.outputs == 0 => {
            Ok(format!("error:{:016x}", inputs::digest(error.bytes())))
        }
        (code, _) => Err(format!(
            "exit code {code:?}, {}",
            lines().next().unwrap_or("nothing said")
        )),
    }
}

/// Runs all cases, two at a time.
fn digests(cases: &[Case], of: impl Fn(&Case) -> Found + Sync) -> BTreeMap<String, Found> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
            let digest = of(case);
            let before = found.lock().unwrap().insert(case.key(), digest);
            assert!(before.is_none(), "{} is there twice", case.key());
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    found.into_inner().unwrap()
}

/// Compares what was found on a platform with what is known, or writes it.
fn hold(platform: &str, backend: &str, cases: &[Case], found: BTreeMap<String, Found>) {
    let (mut digests, _guard) = Digests::locked();
    let known = match writes() {
        true => None,
        false => digests.0.get(platform),
    };
    let mut wrong = Vec::new();
    for case in cases {
        let key = case.key();
        let want = known.map(|known| known.get(&key).map_or("not recorded", |want| want));
        let difference = match (&found[&key], want) {
            (Ok(got), Some(want)) if got == want => continue,
            (Ok(_), None) => continue,
            (Ok(got) | Err(got), Some(want)) => format!("is {got}, was {want}"),
            (Err(got), None) => format!("is {got}"),
        };
        wrong.push(format!("{}\n    {difference}", case.command(backend)));
    }
    for key in known.into_iter().flat_map(BTreeMap::keys) {
        if !found.contains_key(key) {
            wrong.push(format!("{key}\n    is recorded, and no case any more"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} golden outputs differ on {platform}. To repeat one, run its line in {} with the program before \
         and after. Where all of them are meant to differ: {RECORD}\n{}",
        wrong.len(),
        INPUTS.display(),
        wrong.join("\n")
    );
    if writes() {
        let found = found
            .into_iter()
            .filter_map(|(key, found)| Some((key, found.ok()?)));
        digests.0.insert(platform.to_owned(), found.collect());
        digests.write();
    }
}

/// Two numbers of threads give the same bits, but where a case names its own.
#[test]
fn on_the_cpu() {
    let outputs = Scratch::new();
    let mut probe = command(&["run", "relu", "tame-5.npy", "--backend", "cpu", "-o"]);
    let probe = probe.arg(outputs.path("y.npy")).current_dir(&*INPUTS);
    let stderr = Outcome::from(probe.output().unwrap()).ok().stderr;
    // As in `backend: cpu: 2 threads, avx2; asked for`.
    let instructions = stderr.split([',', ';']).nth(1).unwrap().trim();
    // The system's library has the logarithms and powers of entmax.
    let platform = format!("cpu {instructions} on {}", std::env::consts::OS);
    if !wanted(&platform) {
        return;
    }
    let cases = cases::all(&list());
    let found = digests(&cases, |case| {
        let of = |threads| digest(case, "cpu", Some(threads), &outputs);
        match case.threads {
            Some(threads) => of(threads),
            None => match (of(1)?, of(3)?) {
                (one, three) if one == three => Ok(one),
                (one, three) => Err(format!("{one} by one thread and {three} by three")),
            },
        }
    });
    hold(&platform, "cpu", &cases, found);
}

#[test]
fn on_the_adapter() {
    let adapters = activations(&["adapters", "--json"]).ok().stdout;
    let adapters: Vec<Value> = serde_json::from_str(&adapters).unwrap();
    let Some(adapter) = adapters.iter().find(|adapter| adapter["chosen"] == true) else {
        return skip("no GPU adapter");
    };
    let part = |name: &str| adapter[name].as_str().unwrap();
    let (name, interface, driver) = (part("name"), part("backend"), part("driver"));
    let platform = format!("{name} on {interface}, {driver}");
    if !wanted(&platform) {
        return;
    }
    let outputs = Scratch::new();
    let mut cases = cases::all(&list());
    cases.retain(|case| !case.cpu_only);
    let found = digests(&cases, |case| digest(case, "gpu", case.threads, &outputs));
    hold(&platform, "gpu", &cases, found);
}

/// A function, a parameter or a gradient that no case has would change unseen.
#[test]
fn everything_has_a_case() {
    let list = list();
    let cases = cases::all(&list);
    let missing = cases::missing(&list, &cases);
    assert!(
        missing.is_empty(),
        "no golden output has: {}. Add cases to cli/tests/cli/golden/cases.rs, then: {RECORD}",
        missing.join(", ")
    );
    let parameters = serde_json::json!([{"name": "p"}]);
    let other = serde_json::json!({"name": "other", "family": "softmax", "parameters": parameters});
    let missing = cases::missing(&[other], &cases);
    assert_eq!(missing, ["run other", "grad other", "other with -p p="]);

    let outputs = Scratch::new();
    for function in &list {
        let name = function["name"].as_str().unwrap();
        let grads = cases
            .iter()
            .filter(|case| case.function() == name && case.line.starts_with("grad"));
        let most = grads.max_by_key(|case| case.outputs).unwrap();
        let mut more = command(&most.line.split(' ').collect::<Vec<_>>());
        more.args(["--backend", "cpu"]).current_dir(&*INPUTS);
        for i in 0..=most.outputs {
            more.arg("-o").arg(outputs.path(&format!("{i}.npy")));
        }
        let outcome = Outcome::from(more.output().unwrap());
        let refused = outcome.code == Some(2) && outcome.stderr.contains("are given");
        assert!(
            refused,
            "{name} has more than {} gradients; raise the number of outputs of `{}` in \
             cli/tests/cli/golden/cases.rs, then: {RECORD}",
            most.outputs, most.line
        );
    }
}

/// Numbers that are made from names are the same ones everywhere, and one bit is another digest.
#[test]
fn digests_see_every_bit() {
    let file = inputs::file("tame-2x3.npy");
    let numbers = inputs::numbers(&file);
    assert_eq!(numbers, "2x3:cc7fd7f94e6e8967");
    for at in file.len() - 24..file.len() {
        for bit in 0..8 {
            let mut other = file.clone();
            other[at] ^= 1 << bit;
            assert_ne!(inputs::numbers(&other), numbers);
        }
    }
}
