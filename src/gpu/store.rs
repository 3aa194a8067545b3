//! What is kept from run to run: compiled pipelines and tuned numbers, in files of the user's cache
//! folder. A file is written whole or not at all; one that is broken or of another adapter is
//! ignored with a warning.

use crate::plan::Walk;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, io};

/// Where compiled pipelines and tuned numbers are kept from run to run.
///
/// Files are named by the adapter and lie in a folder of this crate's version; what is in them is
/// of one driver. Nothing but time is lost with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cache {
    /// In the folder that the environment variable `ACTIVATIONS_CACHE` names, nowhere where it is
    /// `off`; where it is not set, in `wgpu-activations` of the user's cache folder.
    #[default]
    User,
    /// In this folder, which is made where it is not there.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

impl Cache {
    /// The folder, where there is one.
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.clone()),
            Self::Off => None,
            Self::User => match std::env::var_os("ACTIVATIONS_CACHE") {
                Some(value) if value == "off" => None,
                Some(value) if !value.is_empty() => Some(value.into()),
                _ => users_folder(),
            },
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn users_folder() -> Option<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "wgpu-activations")?;
    Some(folders.cache_dir().to_owned())
}

/// A browser keeps what it compiles itself.
#[cfg(target_arch = "wasm32")]
fn users_folder() -> Option<PathBuf> {
    None
}

/// What a file is of: an adapter, its driver, and this crate's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    adapter: String,
    backend: String,
    vendor: u32,
    device: u32,
    driver: String,
    version: String,
}

/// A file's first line.
#[derive(Serialize, Deserialize)]
struct Head {
    content: String,
    of: Key,
    bytes: usize,
    checksum: String,
}

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Pipelines,
    Tuning,
}

impl Content {
    fn name(self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Tuning => "tuning",
        }
    }
}

/// The files of one adapter.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
    key: Key,
}

impl Store {
    /// The files of an adapter in a cache; `None` where nothing is kept.
    pub(super) fn new(cache: &Cache, info: &wgpu::AdapterInfo) -> Option<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let driver = [&*info.driver, &*info.driver_info].join(" ");
        Some(Self {
            folder: cache.folder()?.join(version),
            key: Key {
                adapter: info.name.clone(),
                backend: info.backend.to_str().to_owned(),
                vendor: info.vendor,
                device: info.device,
                driver: driver.trim().to_owned(),
                version: version.to_owned(),
            },
        })
    }

    pub(super) fn path(&self, content: Content) -> PathBuf {
        let Key {
            adapter,
            backend,
            vendor,
            device,
            ..
        } = &self.key;
        // Names have any characters; a few bits tell those of one vendor apart.
        let name = checksum(adapter.as_bytes()) as u32;
        let content = content.name();
        self.folder.join(format!(
            "{backend}-{vendor:x}-{device:x}-{name:08x}.{content}"
        ))
    }

    /// What was kept; `None` where nothing was. A file that is of no use is a warning.
    pub(super) fn read(&self, content: Content) -> Result<Option<Vec<u8>>, String> {
        let path = self.path(content);
        let ignored = |why: &str| format!("{} is ignored: {why}", path.display());
        // Before the opening, which would block on a pipe that nobody writes to.
        let file = match fs::metadata(&path) {
            Ok(there) if !there.is_file() => return Err(ignored("it is not a regular file")),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ignored(&error.to_string())),
        };
        let line = file.iter().position(|&byte| byte == b'\n');
        let (head, data) = match line {
            Some(end) => (&file[..end], &file[end + 1..]),
            None => (&file[..], &[][..]),
        };
        let Ok(head) = serde_json::from_slice::<Head>(head) else {
            return Err(ignored("it is not a file of this crate's"));
        };
        if head.content != content.name() || head.of != self.key {
            return Err(ignored("it is of another adapter or driver"));
        }
        if head.bytes != data.len() || head.checksum != checksum_text(data) {
            return Err(ignored("it is damaged"));
        }
        Ok(Some(data.to_vec()))
    }

    /// Keeps `data` in the place of what was kept, whole or not at all.
    pub(super) fn write(&self, content: Content, data: &[u8]) -> io::Result<PathBuf> {
        let head = Head {
            content: content.name().to_owned(),
            of: self.key.clone(),
            bytes: data.len(),
            checksum: checksum_text(data),
        };
        let mut file = serde_json::to_vec(&head)?;
        file.push(b'\n');
        file.extend_from_slice(data);
        let path = self.path(content);
        fs::create_dir_all(&self.folder)?;
        replace(&path, &file)?;
        Ok(path)
    }

    /// Removes what was kept; whether there was something.
    pub(super) fn remove(&self, content: Content) -> io::Result<bool> {
        match fs::remove_file(self.path(content)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What was tuned for a device in a run before; a file that is of no use is a warning.
pub(super) fn kept(
    store: &Store,
    device: &wgpu::Device,
) -> std::result::Result<Option<Walk>, String> {
    let Some(data) = store.read(Content::Tuning)? else {
        return Ok(None);
    };
    let long = device.features().contains(wgpu::Features::SHADER_INT64);
    let walk = serde_json::from_slice::<Walk>(&data).ok();
    match walk.filter(|walk| walk.fits(long)) {
        Some(walk) => Ok(Some(walk)),
        None => {
            let path = store.path(Content::Tuning);
            Err(format!(
                "{} is ignored: its numbers are not for this device",
                path.display()
            ))
        }
    }
}

/// Writes a file beside and moves it into its place.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let written = fs::write(&beside, contents).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// FNV-1a, which tells a torn or flipped file from a whole one.
fn checksum(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn checksum_text(data: &[u8]) -> String {
    format!("{:016x}", checksum(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(driver: &str) -> wgpu::AdapterInfo {
        wgpu::AdapterInfo {
            name: "An adapter / of \"any\" name".to_owned(),
            driver: driver.to_owned(),
            ..wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Noop)
        }
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("activations-{name}-{}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else() {
        let folder = folder("store");
        let cache = Cache::Folder(folder.clone());
        let store = Store::new(&cache, &info("1")).unwrap();
        assert_eq!(store.read(Content::Pipelines), Ok(None));
        let data: Vec<u8> = (0..=255).cycle().take(1000).collect();
        store.write(Content::Pipelines, b"before").unwrap();
        let path = store.write(Content::Pipelines, &data).unwrap();
        assert_eq!(store.read(Content::Pipelines), Ok(Some(data.clone())));
        assert_eq!(store.read(Content::Tuning), Ok(None));
        // Nothing lies beside it.
        let parent = path.parent().unwrap();
        assert_eq!(fs::read_dir(parent).unwrap().count(), 1);

        let other = Store::new(&cache, &info("2")).unwrap();
        let warning = other.read(Content::Pipelines).unwrap_err();
        assert!(warning.contains("another adapter or driver"), "{warning}");
        fs::copy(&path, store.path(Content::Tuning)).unwrap();
        assert!(store.read(Content::Tuning).is_err());

        let whole = fs::read(&path).unwrap();
        for broken in [
            &whole[..whole.len() - 1],
            &whole[..20],
            &[],
            &[&whole[..], b"\0"].concat(),
            &[&whole[..whole.len() - 1], b"\xff"].concat(),
            b"something else\n",
        ] {
            fs::write(&path, broken).unwrap();
            let warning = store.read(Content::Pipelines).unwrap_err();
            assert!(warning.contains("is ignored"), "{warning}");
        }
        assert!(store.remove(Content::Pipelines).unwrap());
        assert!(!store.remove(Content::Pipelines).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_none_is_an_error_and_leaves_nothing() {
        let folder = folder("no-folder");
        fs::write(&folder, "a file").unwrap();
        let store = Store::new(&Cache::Folder(folder.clone()), &info("")).unwrap();
        assert!(store.write(Content::Tuning, b"1").is_err());
        assert!(store.read(Content::Tuning).is_err());
        fs::remove_file(folder).unwrap();
        assert!(Store::new(&Cache::Off, &info("")).is_none());
    }

    /// Nobody writes to a pipe, and nobody is waited for.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = folder("pipe");
        let store = Store::new(&Cache::Folder(folder.clone()), &info("1")).unwrap();
        let path = store.write(Content::Tuning, b"1").unwrap();
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let warning = store.read(Content::Tuning).unwrap_err();
        assert!(warning.contains("not a regular file"), "{warning}");
        // What is kept next takes its place.
        store.write(Content::Tuning, b"2").unwrap();
        assert_eq!(store.read(Content::Tuning), Ok(Some(b"2".to_vec())));
        fs::remove_dir_all(folder).unwrap();
    }

    /// On an adapter that keeps pipelines, and on one that keeps nothing of them.
    #[test]
    fn pipelines_of_no_use_are_a_warning_and_no_more() {
        use crate::{Activation, Error, Gpu, GpuOptions};
        let folder = folder("pipelines");
        let options = GpuOptions::new().cache(Cache::Folder(folder.clone()));
        let right = |gpu: &Gpu| {
            let x = gpu.upload(&[-1.0, 2.0], &[2]).unwrap();
            let mut batch = gpu.batch();
            let y = batch.apply(Activation::Relu, &x).unwrap();
            batch.submit().unwrap();
            assert_eq!(y.read().unwrap(), [0.0, 2.0]);
        };
        let gpu = match Gpu::open_with(&options) {
            Err(Error::NoAdapter { .. }) => return,
            gpu => gpu.unwrap(),
        };
        right(&gpu);
        let store = Store::new(&Cache::Folder(folder.clone()), gpu.info()).unwrap();
        let features = gpu.device().features();
        let keeps = features.contains(wgpu::Features::PIPELINE_CACHE);
        drop(gpu);
        // What a driver keeps is taken without a word.
        let kept = store.read(Content::Pipelines).unwrap();
        let gpu = Gpu::open_with(&options).unwrap();
        assert_eq!(gpu.warnings(), [""; 0]);
        right(&gpu);
        drop(gpu);
        // Whole, but nothing that wgpu knows: it starts anew.
        store.write(Content::Pipelines, b"pipelines?").unwrap();
        let gpu = Gpu::open_with(&options).unwrap();
        right(&gpu);
        drop(gpu);
        fs::write(store.path(Content::Pipelines), "torn").unwrap();
        let gpu = Gpu::open_with(&options).unwrap();
        assert_eq!(gpu.warnings().len(), usize::from(keeps));
        right(&gpu);
        gpu.keep_pipelines();
        assert_eq!(gpu.warnings().len(), usize::from(keeps));
        if kept.is_some() {
            assert!(store.read(Content::Pipelines).unwrap().is_some());
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
