//! Debian packages unpacked into a folder of ours: a driver beside the system's, which installs
//! nothing and needs no rights.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// apt with lists and archives of its own, over the Debian sources that the machine has and the
/// backports of its release.
pub struct Apt {
    folder: PathBuf,
    /// The release, `bookworm` for instance.
    codename: String,
    /// What went wrong with some of the lists.
    trouble: String,
}

impl Apt {
    /// The lists of the machine's sources, fetched anew into `folder`; or why there are none.
    pub fn update(folder: &Path) -> Result<Self, String> {
        for program in ["apt-get", "dpkg-deb"] {
            if !Path::new("/usr/bin").join(program).exists() {
                return Err(format!("there is no {program} to fetch it with"));
            }
        }
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = debian_codename(&release).ok_or("this is no release of Debian")?;
        let mut apt = Self {
            folder: folder.to_owned(),
            codename: codename.to_owned(),
            trouble: String::new(),
        };
        let sources = folder.join("sources");
        // What an earlier run left may be of other sources.
        if sources.exists() {
            fs::remove_dir_all(&sources).map_err(|e| problem(&sources, e))?;
        }
        for part in ["sources", "lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(|e| problem(&part, e))?;
        }
        for (i, (path, text)) in system_sources().into_iter().enumerate() {
            let deb822 = path.extension().is_some_and(|e| e == "sources");
            let (ours, extension) = if deb822 {
                (stanzas(&text, codename), "sources")
            } else {
                (lines(&text, codename), "list")
            };
            let to = sources.join(format!("{i}.{extension}"));
            fs::write(&to, ours).map_err(|e| problem(&to, e))?;
        }
        // One source that does not answer is no failure, and all of them are none to apt.
        let said = apt.run(&["update"], folder)?;
        if let Some(trouble) = said.lines().find(|line| line.starts_with("W:")) {
            apt.trouble = format!(" ({trouble})");
        }
        Ok(apt)
    }

    /// The packages' archives, without what they depend on.
    pub fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>, String> {
        let folder = self.emptied("download")?;
        self.run(&[&["download"], packages].concat(), &folder)?;
        archives(&folder)
    }

    /// The archives of the backported `packages` and of what they need that this machine lacks; none
    /// of what the machine has.
    pub fn download_backports(&self, packages: &[&str]) -> Result<Vec<PathBuf>, String> {
        let folder = self.emptied("cache/archives")?;
        let of_release = |package| format!("{package}/{}-backports", self.codename);
        let of_release: Vec<String> = packages.iter().map(of_release).collect();
        let mut install = vec!["install", "--download-only", "--no-install-recommends"];
        install.push("--assume-yes");
        install.extend(of_release.iter().map(String::as_str));
        self.run(&install, &folder)?;
        archives(&folder)
    }

    fn emptied(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| problem(&folder, e))?;
        }
        let partial = folder.join("partial");
        fs::create_dir_all(&partial).map_err(|e| problem(&partial, e))?;
        Ok(folder)
    }

    /// What apt-get says beside its results, where it succeeds.
    fn run(&self, arguments: &[&str], folder: &Path) -> Result<String, String> {
        let ours = |option: &str, path: &str| {
            let path = self.folder.join(path);
            format!("{option}={}", path.display())
        };
        let options = [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            ours("Dir::Etc::SourceParts", "sources"),
            ours("Dir::State::Lists", "lists"),
            ours("Dir::Cache", "cache"),
            // Nothing of the system's is written, so that its lock is not needed.
            "Debug::NoLocking=1".to_owned(),
            // As root, apt would download as a user who may not write here.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "Acquire::https::Timeout=20".to_owned(),
        ];
        let output = Command::new("apt-get")
            .arg("--quiet=2")
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(arguments)
            .current_dir(folder)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("apt-get does not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let error = said.lines().find(|line| line.starts_with("E:"));
        Err(format!(
            "apt-get {} says {}{}",
            arguments[0],
            error.unwrap_or("nothing"),
            self.trouble
        ))
    }
}

/// The file beside what was unpacked that names the archives.
pub const LABEL: &str = "packages";

/// Puts the files of `archives` that `wanted` names into `folder`, side by side, in place of what
/// it held, and removes the archives.
pub fn unpack(
    archives: &[PathBuf],
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), String> {
    // Another run may unpack the same: the folder appears whole, at once.
    let scratch = folder.with_extension(format!("{}.part", std::process::id()));
    let (whole, flat) = (scratch.join("whole"), scratch.join("flat"));
    fs::create_dir_all(&flat).map_err(|e| problem(&flat, e))?;
    let mut label = String::new();
    for archive in archives {
        let status = Command::new("dpkg-deb")
            .arg("--extract")
            .args([archive, &whole])
            .stdin(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("dpkg-deb does not unpack {}", archive.display()));
        }
        label += &archive.file_stem().unwrap_or_default().to_string_lossy();
        label.push('\n');
        fs::remove_file(archive).map_err(|e| problem(archive, e))?;
    }
    flatten(&whole, &flat, &wanted).map_err(|e| problem(&whole, e))?;
    let path = flat.join(LABEL);
    fs::write(&path, label).map_err(|e| problem(&path, e))?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| problem(folder, e))?;
    }
    fs::rename(&flat, folder).map_err(|e| problem(folder, e))?;
    fs::remove_dir_all(&scratch).map_err(|e| problem(&scratch, e))
}

/// The first of the archives, name and version, whose files [`unpack`] put into `folder`.
pub fn label(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(LABEL)).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Moves the wanted files below `from` into `to`. Links to another folder would lead nowhere.
fn flatten(from: &Path, to: &Path, wanted: &impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            flatten(&path, to, wanted)?;
        } else if wanted(&entry.file_name().to_string_lossy())
            && (kind.is_file() || fs::read_link(&path)?.components().count() == 1)
        {
            fs::rename(&path, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| problem(folder, e))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut archives: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "deb"))
        .collect();
    archives.sort();
    Ok(archives)
}

fn problem(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The files of apt's sources with their text.
fn system_sources() -> Vec<(PathBuf, String)> {
    let apt = Path::new("/etc/apt");
    let mut paths = vec![apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "list" || extension == "sources")
    });
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((path, text))
        })
        .collect()
}

/// `VERSION_CODENAME` of /etc/os-release, where it is Debian's.
fn debian_codename(release: &str) -> Option<&str> {
    let value = |name| {
        let value = release.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim_matches('"'))
    };
    value("VERSION_CODENAME=").filter(|_| value("ID=") == Some("debian"))
}

/// Whether a suite is of the release: itself, or its updates and the like.
fn of_release(suite: &str, codename: &str) -> bool {
    suite
        .strip_prefix(codename)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
}

/// The stanzas of a deb822 file that are of this release and have Debian's main component, with
/// the backports beside the release.
fn stanzas(text: &str, codename: &str) -> String {
    let mut out = String::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let line = stanza.lines().find(|line| {
                let head = line.split(':').next().unwrap_or_default();
                head.eq_ignore_ascii_case(name)
            });
            line.and_then(|line| Some(line.split_once(':')?.1.split_whitespace()))
        };
        let suites: Vec<&str> = field("Suites").into_iter().flatten().collect();
        let main =
            field("Components").is_some_and(|mut components| components.any(|c| c == "main"));
        if !main || !suites.iter().any(|suite| of_release(suite, codename)) {
            continue;
        }
        let backports = format!("{codename}-backports");
        let add = suites.contains(&codename) && !suites.contains(&backports.as_str());
        for line in stanza.lines() {
            out += line;
            if add && line.to_ascii_lowercase().starts_with("suites:") {
                out += &format!(" {backports}");
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// The same for a file of one source in a line.
fn lines(text: &str, codename: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // deb [options] address suite component...
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.first() != Some(&"deb") {
            continue;
        }
        let options = if words.get(1).is_some_and(|word| word.starts_with('[')) {
            words.iter().position(|word| word.ends_with(']'))
        } else {
            Some(0)
        };
        let Some(suite) = options.map(|last| last + 2) else {
            continue;
        };
        let (Some(name), Some(components)) = (words.get(suite), words.get(suite + 1..)) else {
            continue;
        };
        if !of_release(name, codename) || !components.contains(&"main") {
            continue;
        }
        out += &format!("{line}\n");
        if *name == codename {
            let backports = format!("{codename}-backports");
            words[suite] = &backports;
            out += &format!("{}\n", words.join(" "));
        }
    }
    out
}

/// The folder in which drivers are kept.
pub fn folder() -> Result<PathBuf, String> {
    let target = crate::cargo::target_directory()?.join("adapters");
    // apt runs in another folder.
    let target = env::current_dir().map_or(target.clone(), |here| here.join(target));
    fs::create_dir_all(&target).map_err(|e| problem(&target, e))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_debians_or_none() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(debian_codename(debian), Some("bookworm"));
        let other = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(debian_codename(other), None);
        assert_eq!(debian_codename("ID=debian\n"), None);
    }

    #[test]
    fn stanzas_of_the_release_get_its_backports() {
        let text = "Types: deb\nURIs: mirror://a\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /k.gpg\n\n\
                    Types: deb\nURIs: mirror://b\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nURIs: mirror://c\nSuites: bookworm\nComponents: stable\n\n\
                    Types: deb\nURIs: mirror://d\nSuites: nodistro\nComponents: main\n";
        let ours = stanzas(text, "bookworm");
        assert!(
            ours.contains("Suites: bookworm bookworm-updates bookworm-backports\n"),
            "{ours}"
        );
        assert!(ours.contains("Signed-By: /k.gpg\n"), "{ours}");
        assert!(ours.contains("Suites: bookworm-security\n"), "{ours}");
        assert!(!ours.contains("mirror://c") && !ours.contains("mirror://d"));
        // It is there already.
        assert_eq!(stanzas(&ours, "bookworm").matches("backports").count(), 1);
    }

    #[test]
    fn lines_of_the_release_get_its_backports() {
        let text = "# deb mirror://x bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] mirror://a bookworm main contrib\n\
                    deb mirror://b bookworm-security main\n\
                    deb-src mirror://c bookworm main\n\
                    deb mirror://d bookworm stable\n\
                    deb mirror://e\n\
                    deb [arch=amd64";
        assert_eq!(
            lines(text, "bookworm"),
            "deb [arch=amd64 signed-by=/k.gpg] mirror://a bookworm main contrib\n\
             deb [arch=amd64 signed-by=/k.gpg] mirror://a bookworm-backports main contrib\n\
             deb mirror://b bookworm-security main\n"
        );
    }

    #[test]
    fn wanted_files_end_side_by_side() {
        let scratch = env::temp_dir().join(format!("xtask-packages-{}", std::process::id()));
        let (from, to) = (scratch.join("from"), scratch.join("to"));
        fs::create_dir_all(from.join("usr/lib/deep")).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("usr/lib/deep/a.so"), "a").unwrap();
        fs::write(from.join("usr/lib/b.txt"), "b").unwrap();
        flatten(&from, &to, &|name| name.ends_with(".so")).unwrap();
        assert_eq!(fs::read_to_string(to.join("a.so")).unwrap(), "a");
        assert!(!to.join("b.txt").exists());
        fs::remove_dir_all(&scratch).unwrap();
    }
}
