//! `cargo xtask bundle`: a folder for a Linux machine with a GPU and nothing installed.

use crate::packages::{self, Apt};
use crate::{Outcome, cargo};
use std::fs;
use std::path::{Path, PathBuf};

/// What the folder may hold, so that it travels easily.
const LIMIT: u64 = 64 << 20;

/// What goes into the folder as it is.
const FILES: [&str; 2] = ["run.sh", "torch_rates.py"];

/// Makes the folder, in place of an earlier one.
pub fn make() -> Outcome {
    if !cfg!(target_os = "linux") {
        return Err("a bundle is made on Linux, for Linux".to_owned());
    }
    cargo::run(&["build", "--release", "--workspace"], &[])?;
    let target = cargo::target_directory()?;
    let folder = target.join("bundle");
    let problem = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| problem(&folder, e))?;
    }
    fs::create_dir_all(&folder).map_err(|e| problem(&folder, e))?;
    let sources = cargo::root().join("xtask").join("bundle");
    let program = target.join("release").join("activations");
    let copied = FILES.map(|name| sources.join(name)).into_iter();
    for from in copied.chain([program]) {
        let to = folder.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(|e| problem(&from, e))?;
    }
    let loader = loader(&folder)?;
    let size = size(&folder).map_err(|e| problem(&folder, e))?;
    println!(
        "{}: {:.1} MB, with {loader}; copy it there and run ./run.sh",
        folder.display(),
        size as f64 / 1e6
    );
    if size > LIMIT {
        return Err(format!("it is larger than {} MiB", LIMIT >> 20));
    }
    Ok(())
}

/// Puts Debian's Vulkan loader into the bundle; its name and version.
fn loader(bundle: &Path) -> Result<String, String> {
    let apt = Apt::update(&packages::folder()?.join("apt"))?;
    let archives: Vec<PathBuf> = apt.download(&["libvulkan1"])?;
    let folder = bundle.join("lib");
    packages::unpack(&archives, &folder, |name| name.starts_with("libvulkan.so"))?;
    packages::label(&folder).ok_or("libvulkan1 does not have the loader any more".to_owned())
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let there = entry.metadata()?;
        total += if there.is_dir() {
            size(&entry.path())?
        } else {
            there.len()
        };
    }
    Ok(total)
}
