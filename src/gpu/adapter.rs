//! Which adapters there are, which one is taken, and why.

use crate::cpu::threads::{Place, elsewhere};
use crate::error::{Error, Result, shown};
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::str::FromStr;
use std::task::Poll;

/// Which adapter to open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterChoice {
    /// The best: a discrete GPU before an integrated one, a virtual one, a software adapter.
    #[default]
    Auto,
    /// The one at this place of [`adapters`]'s list.
    Index(usize),
    /// The best of those whose name contains this, in any case.
    Name(String),
}

impl AdapterChoice {
    /// The adapter that the environment variable `WGPU_ADAPTER_NAME` names, else `Auto`.
    pub fn from_env() -> Self {
        match std::env::var("WGPU_ADAPTER_NAME") {
            Ok(name) if !name.is_empty() => Self::Name(name),
            _ => Self::Auto,
        }
    }
}

impl FromStr for AdapterChoice {
    type Err = Infallible;

    /// Digits are an index, anything else a part of a name.
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(index) => Self::Index(index),
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// An adapter as [`adapters`] lists it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterReport {
    /// Its place in the list.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The graphics interface: `vulkan`, `metal`, `dx12`, `gl`, `webgpu`.
    pub backend: String,
    /// Discrete, integrated, virtual, software or other.
    pub device_type: String,
    /// The driver and its version.
    pub driver: String,
    /// What it can bind, hold and dispatch.
    pub limits: wgpu::Limits,
    /// What it can do besides.
    pub features: wgpu::Features,
    /// Whether [`AdapterChoice::Auto`] takes it. [`Backend::auto`](crate::Backend::auto) leaves a
    /// software adapter to the CPU backend, which is faster.
    pub chosen: bool,
    /// Why it is taken or left.
    pub why: String,
}

/// Every adapter that wgpu finds, in its order, and which one `Auto` takes. Empty where none is.
///
/// `WGPU_BACKEND` limits the graphics interfaces that are asked.
#[cfg(not(target_arch = "wasm32"))]
pub fn adapters() -> Vec<AdapterReport> {
    pollster::block_on(caught(reports())).unwrap_or_default()
}

/// [`adapters`] without blocking.
pub async fn adapters_async() -> Vec<AdapterReport> {
    elsewhere(Place::Own, async || {
        caught(reports()).await.unwrap_or_default()
    })
    .await
}

async fn reports() -> Vec<AdapterReport> {
    let found = enumerate(&instance()).await;
    let chosen = best(&found, |_| true);
    let reports = found.iter().enumerate().map(|(index, adapter)| {
        let info = adapter.get_info();
        AdapterReport {
            index,
            name: info.name.clone(),
            backend: info.backend.to_str().to_owned(),
            device_type: device_type(info.device_type).to_owned(),
            driver: driver(&info),
            limits: adapter.limits(),
            features: adapter.features(),
            chosen: Some(index) == chosen,
            why: match (Some(index) == chosen, is_software(&info)) {
                (true, true) => {
                    let why = why(adapter, true, found.len());
                    format!("{why}; taken where it is asked for, else the CPU backend is faster")
                }
                (chosen, _) => why(adapter, chosen, found.len()),
            },
        }
    });
    reports.collect()
}

/// An opened device.
pub(super) struct Opened {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub why: String,
}

/// Which adapters an automatic choice takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Any.
    #[default]
    All,
    /// Those that are no software.
    Hardware,
}

/// Opens the adapter that `choice` names, or the best one that is admitted, with all the limits that
/// it has.
pub(super) async fn open(choice: &AdapterChoice, admitted: Admitted) -> Result<Opened> {
    let opened = caught(async { open_from(&instance(), choice, admitted).await }).await;
    opened.unwrap_or_else(|panic| {
        Err(Error::NoAdapter {
            reason: format!("the way to the graphics driver broke down: {panic}"),
            remedy: "see to what is missing, which may be memory".to_owned(),
        })
    })
}

/// The result of a future, or what it panicked with: wgpu takes for granted that a driver has the
/// memory to say what it is.
async fn caught<T>(future: impl Future<Output = T>) -> std::result::Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Poll::Ready(Err(text.unwrap_or("a panic").to_owned()))
            }
        }
    })
    .await
}

async fn open_from(
    instance: &wgpu::Instance,
    choice: &AdapterChoice,
    admitted: Admitted,
) -> Result<Opened> {
    let found = enumerate(instance).await;
    let names = || {
        found
            .iter()
            .enumerate()
            .map(|(i, a)| format!("{i}: {} ({})", a.get_info().name, a.get_info().backend))
            .collect()
    };
    let unknown = || Error::UnknownAdapter {
        wanted: choice.to_string(),
        available: names(),
        interfaces: interfaces(),
    };
    let (index, why_named) = match choice {
        AdapterChoice::Auto => {
            let index = best(&found, |_| true);
            let index = index.ok_or_else(|| none(!found.is_empty(), interfaces()))?;
            let info = found[index].get_info();
            if admitted == Admitted::Hardware && is_software(&info) {
                return Err(only_software(&info));
            }
            (index, None)
        }
        AdapterChoice::Index(index) if *index < found.len() => (*index, Some("asked for by index")),
        AdapterChoice::Index(_) => return Err(unknown()),
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let index = best(&found, |info| info.name.to_lowercase().contains(&wanted));
            (index.ok_or_else(unknown)?, Some("asked for by name"))
        }
    };
    let adapter = &found[index];
    let info = adapter.get_info();
    let request = wgpu::DeviceDescriptor {
        label: Some("wgpu-activations"),
        // All that the adapter has: larger bindings mean fewer dispatches.
        required_limits: adapter.limits(),
        required_features: wanted(&info) & adapter.features(),
        ..Default::default()
    };
    let opened = adapter.request_device(&request).await;
    let (device, queue) = opened.map_err(|error| Error::DeviceRequest {
        adapter: info.name.clone(),
        reason: error.to_string(),
    })?;
    #[cfg(target_arch = "wasm32")]
    let info = info_of(&device);
    let why = match why_named {
        Some(reason) => reason.to_owned(),
        None => why(adapter, true, found.len()),
    };
    Ok(Opened {
        device,
        queue,
        info,
        why,
    })
}

/// The features that are of use on an adapter that has them.
fn wanted(info: &wgpu::AdapterInfo) -> wgpu::Features {
    let kept = wgpu::Features::PIPELINE_CACHE;
    // Where host and device have one memory.
    let shared = wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
    match info.device_type {
        // Long words are fewer accesses.
        wgpu::DeviceType::Cpu => kept | shared | wgpu::Features::SHADER_INT64,
        wgpu::DeviceType::IntegratedGpu => kept | shared,
        _ => kept,
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// What `WGPU_BACKEND` says, where it is set.
fn interfaces() -> Option<String> {
    let value = std::env::var_os("WGPU_BACKEND")?;
    Some(value.to_string_lossy().into_owned())
}

/// That no adapter will do, of none or of some that there are, through the graphics interfaces
/// that `WGPU_BACKEND` names.
fn none(some: bool, interfaces: Option<String>) -> Error {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Error::NoAdapter {
            reason: "this program was built without any graphics interface of wgpu".to_owned(),
            remedy: "add wgpu's features vulkan, metal, dx12, gles or webgpu, or this crate's default features"
                .to_owned(),
        };
    }
    let driver = "install a Vulkan driver (Mesa's lavapipe runs on any CPU)";
    let reason = if some {
        "no adapter runs compute shaders"
    } else {
        "no graphics driver answers"
    };
    let Some(value) = interfaces else {
        return Error::NoAdapter {
            reason: reason.to_owned(),
            remedy: driver.to_owned(),
        };
    };
    let unknown = |word: &&str| wgpu::Backends::from_comma_list(word).is_empty();
    let reason = match value.split(',').find(unknown) {
        Some(word) => {
            let word = shown(word.trim());
            format!("{reason}, and WGPU_BACKEND names '{word}', which is no graphics interface")
        }
        None => format!("{reason} through WGPU_BACKEND={}", shown(&value)),
    };
    let asked = wgpu::Backends::from_comma_list(&value);
    let unset = "leave out that variable, or name others in it: vulkan, metal, dx12, gl";
    Error::NoAdapter {
        reason,
        remedy: if asked.contains(wgpu::Backends::VULKAN) {
            format!("{driver}, or {unset}")
        } else {
            unset.to_owned()
        },
    }
}

/// What is said of a device's adapter.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn info_of(device: &wgpu::Device) -> wgpu::AdapterInfo {
    device.adapter_info()
}

/// What a browser says of a device's adapter; where it has no name, the vendor and the architecture.
#[cfg(target_arch = "wasm32")]
pub(super) fn info_of(device: &wgpu::Device) -> wgpu::AdapterInfo {
    let mut info = device.adapter_info();
    if info.name.is_empty() {
        let said = device.as_webgpu().map(|device| device.adapter_info());
        let words = said.map(|said| [said.vendor(), said.architecture()]);
        let words = words.into_iter().flatten().filter(|word| !word.is_empty());
        info.name = words.collect::<Vec<_>>().join(" ");
    }
    if info.name.is_empty() {
        info.name = "a GPU without a name".to_owned();
    }
    info
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// That the best adapter computes on the CPU's cores, as the CPU backend does in less time.
fn only_software(info: &wgpu::AdapterInfo) -> Error {
    Error::NoAdapter {
        reason: format!(
            "{} is a software adapter, which is slower; the GPU backend takes it",
            info.name
        ),
        remedy: "ask for the GPU backend".to_owned(),
    }
}

/// A browser has one adapter for each power preference.
#[cfg(target_arch = "wasm32")]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    Vec::from_iter(instance.request_adapter(&options).await.ok())
}

#[cfg(not(target_arch = "wasm32"))]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    found.retain(|a| a.get_info().backend != wgpu::Backend::Noop);
    found
}

/// The best adapter that can compute and that `admits` lets through.
fn best(found: &[wgpu::Adapter], admits: impl Fn(&wgpu::AdapterInfo) -> bool) -> Option<usize> {
    let candidates = found.iter().enumerate().filter(|(_, a)| can_compute(a));
    candidates
        .map(|(i, a)| (i, a.get_info()))
        .filter(|(_, info)| admits(info))
        .min_by_key(|(i, info)| (rank(info), *i))
        .map(|(i, _)| i)
}

fn can_compute(adapter: &wgpu::Adapter) -> bool {
    let flags = adapter.get_downlevel_capabilities().flags;
    flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
        // out, x, dy; and for split rows the partial results.
        && adapter.limits().max_storage_buffers_per_shader_stage >= 4
}

/// Smaller is better. GL reaches the same devices as the others with fewer guarantees.
fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, u8::from(info.backend == wgpu::Backend::Gl))
}

fn why(adapter: &wgpu::Adapter, chosen: bool, count: usize) -> String {
    let info = adapter.get_info();
    let kind = device_type(info.device_type);
    if !can_compute(adapter) {
        format!("{kind}; runs no compute shaders")
    } else if chosen && count == 1 {
        format!("{kind}, the only adapter")
    } else if chosen {
        format!("{kind}, the best of {count} adapters")
    } else {
        format!("{kind}; another ranks before it")
    }
}

pub(super) fn device_type(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software adapter",
        wgpu::DeviceType::Other => "other adapter",
    }
}

fn driver(info: &wgpu::AdapterInfo) -> String {
    [info.driver.as_str(), info.driver_info.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_down_on_the_way_is_an_error() {
        let broken = async { panic!("on purpose: {}", 1) };
        let caught_it: std::result::Result<(), _> = pollster::block_on(caught(broken));
        assert_eq!(caught_it, Err("on purpose: 1".to_owned()));
        assert_eq!(pollster::block_on(caught(async { 2 })), Ok(2));
    }

    #[test]
    fn the_variable_is_named_where_it_is_set() {
        let text = |some, value: Option<&str>| none(some, value.map(str::to_owned)).to_string();
        let unset = text(false, None);
        assert!(!unset.contains("WGPU_BACKEND"), "{unset}");
        assert!(unset.contains("install a Vulkan driver"), "{unset}");
        for value in ["metal", "mtl,dx12", "gl"] {
            let text = text(false, Some(value));
            let named = format!("through WGPU_BACKEND={value}");
            assert!(
                text.contains(&named) && text.contains("leave out"),
                "{text}"
            );
            assert!(!text.contains("install"), "{text}");
        }
        for (value, word) in [
            ("vulcan", "'vulcan'"),
            ("gl, Metall", "'Metall'"),
            ("", "''"),
        ] {
            let text = text(false, Some(value));
            assert!(
                text.contains(&format!("names {word}, which is no")),
                "{text}"
            );
        }
        let both = text(true, Some("Vulkan"));
        assert!(
            both.contains("compute shaders through WGPU_BACKEND=Vulkan"),
            "{both}"
        );
        assert!(
            both.contains("install") && both.contains("leave out"),
            "{both}"
        );
    }
}
