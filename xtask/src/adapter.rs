//! The software adapter that the tests run on: Mesa's lavapipe, a Vulkan driver for any CPU.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian's names; the loader is a package of its own.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Makes lavapipe be there where that is possible, and says whether a missing adapter is a
/// failure. Another adapter may answer where lavapipe does not, so that is for the tests to see.
pub fn provide() -> bool {
    let required = is_required(|name| env::var_os(name));
    if !cfg!(target_os = "linux") {
        // Metal and DX12 bring a driver of their own.
        return required;
    }
    let before = Vulkan::look();
    if before.complete() {
        return true;
    }
    let [drivers, loader] = PACKAGES;
    let installed = Installer::look(Path::new("/usr/bin/apt-get").exists(), runs)
        .map_err(str::to_owned)
        .and_then(|installer| {
            println!(
                "xtask: {}; installing {drivers} and {loader}",
                before.missing()
            );
            installer.install()
        });
    let now = Vulkan::look();
    if !now.complete() {
        let why = installed
            .err()
            .unwrap_or_else(|| "the packages do not bring it".to_owned());
        println!("xtask: {}, and {why}", now.missing());
        println!("xtask: install {drivers} and {loader} (Debian's names), or another GPU driver");
    }
    required || now.complete()
}

/// Whether the environment makes a missing adapter a failure; the tests decide by the same rule
/// (`tests/common/mod.rs`).
fn is_required<V: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<V>) -> bool {
    let is = |name, value| variable(name).is_some_and(|v| v.as_ref() == OsStr::new(value));
    is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1")
}

/// What there is of a Vulkan that runs without a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vulkan {
    loader: bool,
    lavapipe: bool,
}

impl Vulkan {
    fn look() -> Self {
        let cache = Command::new("ldconfig")
            .arg("-p")
            .stdin(Stdio::null())
            .output();
        let cached = cache.is_ok_and(|output| has_loader(&String::from_utf8_lossy(&output.stdout)));
        let library_directories = [
            "/usr/lib",
            "/usr/lib64",
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
        ];
        let beside = |directory| Path::new(directory).join("libvulkan.so.1").exists();
        let driver_directories = [
            "/usr/share/vulkan/icd.d",
            "/usr/local/share/vulkan/icd.d",
            "/etc/vulkan/icd.d",
        ];
        Self {
            loader: cached || library_directories.into_iter().any(beside),
            lavapipe: driver_directories
                .into_iter()
                .any(|d| names_lavapipe(Path::new(d))),
        }
    }

    fn complete(self) -> bool {
        self.loader && self.lavapipe
    }

    fn missing(self) -> &'static str {
        if self.loader {
            "the software adapter lavapipe is missing"
        } else {
            "the Vulkan loader is missing"
        }
    }
}

/// Whether `ldconfig -p` lists the Vulkan loader.
fn has_loader(cache: &str) -> bool {
    let name = |line: &str| line.split_whitespace().next() == Some("libvulkan.so.1");
    cache.lines().any(name)
}

/// Whether a folder of Vulkan drivers' manifests has lavapipe's.
fn names_lavapipe(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| is_lavapipe_manifest(&entry.file_name().to_string_lossy()))
        })
    })
}

/// The file's name has had the architecture in it, and has not.
fn is_lavapipe_manifest(name: &str) -> bool {
    name.starts_with("lvp_icd") && name.ends_with(".json")
}

/// A way to install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Root,
    Sudo,
}

impl Installer {
    /// How this user may install packages, or why not.
    fn look(apt: bool, runs: impl Fn(&[&str]) -> Option<String>) -> Result<Self, &'static str> {
        if !apt {
            Err("there is no apt-get to install it with")
        } else if runs(&["id", "-u"]).is_some_and(|id| id.trim() == "0") {
            Ok(Self::Root)
        } else if runs(&["sudo", "-n", "true"]).is_some() {
            Ok(Self::Sudo)
        } else {
            Err("this user may not install it")
        }
    }

    fn install(self) -> Result<(), String> {
        self.apt_get(&["update"])?;
        let packages = ["install", "-y", "--no-install-recommends"];
        self.apt_get(&[&packages[..], &PACKAGES].concat())
    }

    fn apt_get(self, arguments: &[&str]) -> Result<(), String> {
        // Through env: sudo drops the variables of its caller.
        let prefix: &[&str] = match self {
            Self::Root => &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"],
            Self::Sudo => &[
                "sudo",
                "-n",
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
            ],
        };
        let words = [prefix, arguments].concat();
        let status = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{}: {status}", words.join(" "))),
            Err(error) => Err(format!("{}: {error}", words.join(" "))),
        }
    }
}

/// The output of a command that succeeds, without a word on the terminal.
fn runs(words: &[&str]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_read_from_ldconfig() {
        let line = "\tlibvulkan.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libvulkan.so.1";
        assert!(has_loader(&format!("2 libs found\n{line}\n")));
        assert!(!has_loader(
            "\tlibvulkan_lvp.so (libc6,x86-64) => /lib/libvulkan_lvp.so\n"
        ));
        assert!(!has_loader(""));
    }

    #[test]
    fn lavapipe_is_known_by_its_manifest() {
        assert!(is_lavapipe_manifest("lvp_icd.x86_64.json"));
        assert!(is_lavapipe_manifest("lvp_icd.json"));
        assert!(!is_lavapipe_manifest("radeon_icd.x86_64.json"));
        assert!(!is_lavapipe_manifest("lvp_icd.json.bak"));
        assert!(!names_lavapipe(Path::new("no/such/folder")));
    }

    #[test]
    fn only_ci_and_the_variable_require_an_adapter() {
        let with = |wanted: &'static str, value: &'static str| {
            is_required(move |name| (name == wanted).then_some(value))
        };
        assert!(with("CI", "true"));
        assert!(with("ACTIVATIONS_REQUIRE_GPU", "1"));
        assert!(!with("CI", "false"));
        assert!(!with("ACTIVATIONS_REQUIRE_GPU", "0"));
        assert!(!with("OTHER", "1"));
    }

    #[test]
    fn both_halves_are_needed() {
        let with = |loader, lavapipe| Vulkan { loader, lavapipe };
        assert!(with(true, true).complete());
        assert!(!with(true, false).complete());
        assert!(with(true, false).missing().contains("lavapipe"));
        assert!(!with(false, true).complete());
        assert!(with(false, true).missing().contains("loader"));
    }

    #[test]
    fn packages_are_installed_by_those_who_may() {
        let answer = |id: &'static str, sudo: bool| {
            move |words: &[&str]| match words {
                ["id", "-u"] => Some(format!("{id}\n")),
                ["sudo", ..] => sudo.then(String::new),
                _ => None,
            }
        };
        assert_eq!(
            Installer::look(true, answer("0", false)),
            Ok(Installer::Root)
        );
        assert_eq!(
            Installer::look(true, answer("1000", true)),
            Ok(Installer::Sudo)
        );
        assert!(Installer::look(true, answer("1000", false)).is_err());
        assert!(Installer::look(false, answer("0", true)).is_err());
    }
}
