//! What the system must have for the tests: lavapipe, Mesa's Vulkan driver for any CPU, and the
//! libraries through which drivers are reached.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Debian's names.
const LAVAPIPE: &str = "mesa-vulkan-drivers";
const LOADER: &str = "libvulkan1";
const CLANG: &str = "clang";
const ARM: [&str; 2] = ["gcc-aarch64-linux-gnu", "qemu-user"];
const CHROMIUM: &str = "chromium";
const EGL: [&str; 2] = ["libegl1", "libgl1-mesa-dri"];

/// Makes lavapipe be there where that is possible, and says whether a missing adapter is a
/// failure. Another adapter may answer where lavapipe does not, so that is for the tests to see.
pub fn provide() -> bool {
    let required = is_required(|name| env::var_os(name));
    // Metal and DX12 bring a driver of their own.
    if cfg!(target_os = "linux")
        && let Err(why) = lavapipe(true)
    {
        println!("xtask: {why}; another GPU driver will do");
        return required;
    }
    required || cfg!(target_os = "linux")
}

/// The manifest of the system's lavapipe, which is installed first where it is missing and
/// `install` says so; or why there is none.
pub fn lavapipe(install: bool) -> Result<PathBuf, String> {
    let look = Vulkan::look;
    let missing = look().missing();
    installed(missing, &[LAVAPIPE, LOADER], || look().complete(), install)?;
    look().lavapipe.ok_or_else(|| missing.to_owned())
}

/// The Vulkan loader, in the same way.
pub fn loader(install: bool) -> Result<(), String> {
    let missing = "the Vulkan loader is missing";
    installed(missing, &[LOADER], || Vulkan::look().loader, install)
}

/// The library through which OpenGL is reached without a display, in the same way.
pub fn egl(install: bool) -> Result<(), String> {
    let missing = "the EGL library is missing";
    installed(missing, &EGL, || has_library("libEGL.so.1"), install)
}

/// clang, in the same way.
pub fn clang(install: bool) -> Result<(), String> {
    let there = || runs(&["clang++", "--version"]).is_some();
    installed("clang is missing", &[CLANG], there, install)
}

/// A browser, in the same way.
pub fn chromium(install: bool) -> Result<(), String> {
    let there = || runs(&["chromium", "--version"]).is_some();
    installed("chromium is missing", &[CHROMIUM], there, install)
}

/// A compiler for 64-bit Arm and an emulator of it, in the same way.
pub fn arm(install: bool) -> Result<(), String> {
    let there = || {
        runs(&["aarch64-linux-gnu-gcc", "--version"]).is_some()
            && runs(&["qemu-aarch64", "--version"]).is_some()
    };
    installed(
        "a compiler or an emulator of Arm is missing",
        &ARM,
        there,
        install,
    )
}

/// Nothing where `is_there` says so, at once or after the packages' installation; else why not.
fn installed(
    missing: &str,
    packages: &[&str],
    is_there: impl Fn() -> bool,
    install: bool,
) -> Result<(), String> {
    if is_there() {
        return Ok(());
    }
    let names = packages.join(" and ");
    let outcome = if install {
        Installer::look(Path::new("/usr/bin/apt-get").exists(), runs)
            .map_err(str::to_owned)
            .and_then(|installer| {
                println!("xtask: {missing}; installing {names}");
                installer.install(packages)
            })
    } else {
        Err("nothing is to be installed".to_owned())
    };
    if is_there() {
        return Ok(());
    }
    let why = outcome
        .err()
        .unwrap_or_else(|| "the packages do not bring it".to_owned());
    Err(format!(
        "{missing}, and {why}; Debian's names for it are {names}"
    ))
}

/// Whether the environment makes a missing adapter a failure; the tests decide by the same rule
/// (`tests/common/mod.rs`).
pub fn is_required<V: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<V>) -> bool {
    let is = |name, value| variable(name).is_some_and(|v| v.as_ref() == OsStr::new(value));
    is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1")
}

/// What there is of a Vulkan that runs without a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vulkan {
    loader: bool,
    /// Its manifest.
    lavapipe: Option<PathBuf>,
}

impl Vulkan {
    fn look() -> Self {
        let driver_directories = [
            "/usr/share/vulkan/icd.d",
            "/usr/local/share/vulkan/icd.d",
            "/etc/vulkan/icd.d",
        ];
        Self {
            loader: has_library("libvulkan.so.1"),
            lavapipe: driver_directories
                .into_iter()
                .find_map(|d| lavapipe_manifest(Path::new(d))),
        }
    }

    fn complete(&self) -> bool {
        self.loader && self.lavapipe.is_some()
    }

    fn missing(&self) -> &'static str {
        if self.loader {
            "the software adapter lavapipe is missing"
        } else {
            "the Vulkan loader is missing"
        }
    }
}

/// Whether the system has a shared library of this name.
fn has_library(name: &str) -> bool {
    let cache = Command::new("ldconfig")
        .arg("-p")
        .stdin(Stdio::null())
        .output();
    let listed = |cache: Output| lists(&String::from_utf8_lossy(&cache.stdout), name);
    let directories = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    cache.is_ok_and(listed)
        || directories
            .into_iter()
            .any(|directory| Path::new(directory).join(name).exists())
}

/// Whether `ldconfig -p` lists a library.
fn lists(cache: &str, library: &str) -> bool {
    let name = |line: &str| line.split_whitespace().next() == Some(library);
    cache.lines().any(name)
}

/// Lavapipe's manifest in a folder of Vulkan drivers' manifests.
fn lavapipe_manifest(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        path.file_name()
            .is_some_and(|name| is_lavapipe_manifest(&name.to_string_lossy()))
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

    fn install(self, packages: &[&str]) -> Result<(), String> {
        self.apt_get(&["update"])?;
        let install = ["install", "-y", "--no-install-recommends"];
        self.apt_get(&[&install[..], packages].concat())
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
        let found = |cache: &str| lists(cache, "libvulkan.so.1");
        assert!(found(&format!("2 libs found\n{line}\n")));
        assert!(!found(
            "\tlibvulkan_lvp.so (libc6,x86-64) => /lib/libvulkan_lvp.so\n"
        ));
        assert!(!found(""));
    }

    #[test]
    fn lavapipe_is_known_by_its_manifest() {
        assert!(is_lavapipe_manifest("lvp_icd.x86_64.json"));
        assert!(is_lavapipe_manifest("lvp_icd.json"));
        assert!(!is_lavapipe_manifest("radeon_icd.x86_64.json"));
        assert!(!is_lavapipe_manifest("lvp_icd.json.bak"));
        assert_eq!(lavapipe_manifest(Path::new("no/such/folder")), None);
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
        let with = |loader, lavapipe: bool| Vulkan {
            loader,
            lavapipe: lavapipe.then(|| PathBuf::from("lvp_icd.json")),
        };
        assert!(with(true, true).complete());
        assert!(!with(true, false).complete());
        assert!(with(true, false).missing().contains("lavapipe"));
        assert!(!with(false, true).complete());
        assert!(with(false, true).missing().contains("loader"));
    }

    #[test]
    fn what_is_there_is_not_installed_and_what_is_missing_is_named() {
        assert_eq!(installed("it is missing", &["it"], || true, true), Ok(()));
        let error = installed("it is missing", &["it", "that"], || false, false).unwrap_err();
        assert!(error.starts_with("it is missing, and nothing is to be installed"));
        assert!(error.ends_with("it and that"), "{error}");
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
