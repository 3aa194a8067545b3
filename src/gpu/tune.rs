//! Tuning: how kernels walk arrays is measured on the adapter at hand, and kept for the devices
//! that are opened from then on.

use super::store::{Content, kept};
use super::{Gpu, Inner, Wait, stream};
use crate::arrays::TypedSlice;
use crate::axis::AxisFunction;
use crate::catalogue::Activation;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::plan::{Traits, Walk};
use crate::shader::{Access, Width};
use crate::shape::AxisShape;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

/// What tuning measured and chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TuneReport {
    /// What was tuned, in this order.
    pub measured: Vec<Tuned>,
    /// The file that keeps what was chosen, where it was written.
    pub kept: Option<PathBuf>,
}

/// One of the numbers that are tuned.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Tuned {
    /// What it says, and on what work it was measured.
    pub what: String,
    /// What it can be, the default first.
    pub candidates: Vec<TuneCandidate>,
    /// Which one was chosen. The default gives way where another takes at least 5 % less time.
    pub chosen: usize,
}

/// A choice and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TuneCandidate {
    /// The choice in words.
    pub name: String,
    /// The least seconds that the work took; none where the device cannot.
    pub seconds: Option<f64>,
}

/// Work that candidates are measured on.
enum Probe {
    /// An activation of so many elements of a type.
    Elements(u64, DType),
    /// Softmax of rows.
    Rows(AxisShape),
}

/// A number to tune: what it can be, and how it is set.
struct Knob {
    what: String,
    probes: Vec<Probe>,
    candidates: Vec<(String, Walk)>,
}

/// Rounds in which candidates take turns.
const ROUNDS: usize = 9;
/// How long one measurement is to take at least.
const LEAST: Duration = Duration::from_millis(4);

impl Gpu {
    /// Measures how kernels walk arrays fastest on this adapter: the width of an access, the
    /// sizes of workgroups, and which rows of the softmax family are divided in which way. Takes some
    /// seconds, most of which is compilation; `each` gets what is decided as it comes.
    ///
    /// Where it is to be kept, devices that are opened from then on take it from their cache, as
    /// does everything in other processes; this device stays as it is. Results differ by no more
    /// than roundings that the bounds allow.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`], [`Error::Device`]; [`Error::Cache`] where the
    /// file cannot be written or nothing is kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn tune(&self, keep: bool, each: impl FnMut(&Tuned)) -> Result<TuneReport> {
        pollster::block_on(self.tune_by(keep, each, Wait::Block)).map(|(report, _)| report)
    }

    /// [`Gpu::tune`] without blocking.
    ///
    /// # Errors
    /// As [`Gpu::tune`].
    pub async fn tune_async(&self, keep: bool, each: impl FnMut(&Tuned)) -> Result<TuneReport> {
        let tuned = self.tune_by(keep, each, Wait::Async).await;
        tuned.map(|(report, _)| report)
    }

    /// Forgets what was tuned: devices that are opened from then on take defaults. The file that
    /// was removed, where there was one.
    ///
    /// # Errors
    /// [`Error::Cache`] where the file cannot be removed or nothing is kept.
    pub fn forget_tuning(&self) -> Result<Option<PathBuf>> {
        let store = self.inner.store.as_ref().ok_or_else(no_cache)?;
        let path = store.path(Content::Tuning);
        match store.remove(Content::Tuning) {
            Ok(removed) => Ok(removed.then_some(path)),
            Err(error) => Err(unwritable(path, &error)),
        }
    }

    /// The same device, tuned: by what was kept, or by measuring it now.
    pub(super) async fn tuned(self, wait: Wait) -> Result<Self> {
        let store = self.inner.store.as_ref();
        let is_kept = |store| matches!(kept(store, &self.inner.device), Ok(Some(_)));
        if store.is_some_and(is_kept) {
            return Ok(self);
        }
        let (_, walk) = self.tune_by(store.is_some(), |_| (), wait).await?;
        Ok(self.sharing(self.inner.kernels.walking(walk)))
    }

    async fn tune_by(
        &self,
        keep: bool,
        mut each: impl FnMut(&Tuned),
        wait: Wait,
    ) -> Result<(TuneReport, Walk)> {
        self.inner.kernels.usable()?;
        let gpu = &self.inner;
        if keep && gpu.store.is_none() {
            return Err(no_cache());
        }
        let traits = gpu.kernels.traits();
        let long = gpu.device.features().contains(wgpu::Features::SHADER_INT64);
        let mut walk = Walk::of(traits.software, long);
        let elements = elements(&traits);
        let bytes = elements * 4;
        let [x, y] = [stream::storage(gpu, bytes)?, stream::storage(gpu, bytes)?];
        let arrays = [x.buffer(), y.buffer()];
        let mut measured = Vec::new();
        let knobs = [wide, narrow, workgroup, alone, together, busy];
        for knob in knobs {
            let Some(knob) = knob(&walk, &traits, long, elements) else {
                continue;
            };
            let found = measure(gpu, &traits, &knob, arrays, wait).await?;
            walk = knob.candidates[found.chosen].1;
            each(&found);
            measured.push(found);
        }
        let mut report = TuneReport {
            measured,
            kept: None,
        };
        if let Some(store) = gpu.store.as_ref().filter(|_| keep) {
            let unwritable = |error| unwritable(store.path(Content::Tuning), &error);
            let data = serde_json::to_vec_pretty(&walk).map_err(|e| unwritable(e.into()))?;
            let path = store.write(Content::Tuning, &data).map_err(unwritable)?;
            report.kept = Some(path);
        }
        Ok((report, walk))
    }
}

fn no_cache() -> Error {
    Error::Cache {
        path: PathBuf::new(),
        reason: "nothing is kept from run to run; ACTIVATIONS_CACHE may be off".to_owned(),
    }
}

fn unwritable(path: PathBuf, error: &std::io::Error) -> Error {
    Error::Cache {
        path,
        reason: error.to_string(),
    }
}

/// Elements of the arrays that are measured on: more than caches hold, and no more than one
/// binding does.
fn elements(traits: &Traits) -> u64 {
    let wanted = if traits.software { 4 << 20 } else { 32 << 20 };
    let bound = traits.max_binding / 4;
    // A power of two, so that rows of powers of two fill it.
    1 << wanted.min(bound).max(1 << 16).ilog2()
}

fn accesses(software: bool, long: bool, narrow: bool) -> Vec<Access> {
    let of = |width, units| Access { width, units };
    match (software, long) {
        (true, true) => vec![
            of(Width::Long, 1),
            of(Width::Long, 2),
            of(Width::Eight, 1),
            of(Width::Four, 1),
        ],
        (true, false) => vec![
            of(Width::Eight, 1),
            of(Width::Eight, 2),
            of(Width::Four, 1),
            of(Width::Four, 2),
        ],
        (false, _) if narrow => vec![of(Width::Eight, 1), of(Width::Eight, 2), of(Width::Four, 1)],
        (false, _) => vec![
            of(Width::Four, 1),
            of(Width::Four, 2),
            of(Width::Four, 4),
            of(Width::Eight, 1),
        ],
    }
}

fn access_knob(dtype: DType, walk: &Walk, traits: &Traits, long: bool, elements: u64) -> Knob {
    let narrow = dtype != DType::F32;
    let name = |access: Access| {
        let word = match access.width {
            Width::Long => ", words of 64 bits",
            _ => "",
        };
        let (each, units) = (access.width.elements(), access.units);
        format!("{units} x {each} elements{word}")
    };
    let with = |access| {
        let mut walk = *walk;
        *(if narrow {
            &mut walk.narrow
        } else {
            &mut walk.wide
        }) = access;
        (name(access), walk)
    };
    let accesses = accesses(traits.software, long, narrow);
    Knob {
        what: format!("an invocation's share, silu of {dtype}"),
        probes: vec![Probe::Elements(elements, dtype)],
        candidates: accesses.into_iter().map(with).collect(),
    }
}

fn wide(walk: &Walk, traits: &Traits, long: bool, elements: u64) -> Option<Knob> {
    Some(access_knob(DType::F32, walk, traits, long, elements))
}

fn narrow(walk: &Walk, traits: &Traits, long: bool, elements: u64) -> Option<Knob> {
    Some(access_knob(DType::F16, walk, traits, long, elements))
}

/// A number of which the default comes first, and the others that the device can.
fn numbers(
    default: u32,
    others: &[u32],
    most: u32,
    set: impl Fn(u32) -> Walk,
) -> Vec<(String, Walk)> {
    let others = others.iter().filter(|&&n| n != default && n <= most);
    let all = [default].into_iter().chain(others.copied());
    all.map(|n| (n.to_string(), set(n))).collect()
}

fn workgroup(walk: &Walk, traits: &Traits, _: bool, elements: u64) -> Option<Knob> {
    let set = |workgroup| Walk { workgroup, ..*walk };
    let most = traits.max_invocations.min(Walk::MOST_TOGETHER);
    Some(Knob {
        what: "invocations of an element-wise workgroup, silu of f32".to_owned(),
        probes: vec![Probe::Elements(elements, DType::F32)],
        candidates: numbers(walk.workgroup, &[32, 64, 128, 256, 512], most, set),
    })
}

/// `rows` rows of so many elements that they fill the array.
fn rows_of(len: u64, elements: u64) -> Probe {
    // No more than the array's elements, a usize where it is in memory.
    Probe::Rows(AxisShape {
        outer: (elements / len).max(1) as usize,
        len: len.min(elements) as usize,
        inner: 1,
    })
}

fn alone(walk: &Walk, traits: &Traits, _: bool, elements: u64) -> Option<Knob> {
    let set = |alone| Walk { alone, ..*walk };
    let (lengths, others): (&[u64], &[u32]) = if traits.software {
        (&[2048, 8192, 16_384], &[1024, 4096, 8192, 16_384])
    } else {
        (&[32, 64, 128, 256], &[16, 32, 64, 128, 256])
    };
    Some(Knob {
        what: format!("the longest row that one invocation has alone, softmax of {lengths:?}"),
        probes: lengths.iter().map(|&len| rows_of(len, elements)).collect(),
        candidates: numbers(walk.alone, others, u32::MAX, set),
    })
}

fn together(walk: &Walk, traits: &Traits, _: bool, elements: u64) -> Option<Knob> {
    if traits.software || traits.quirks.barriers {
        // No row is a workgroup's.
        return None;
    }
    let set = |together| Walk { together, ..*walk };
    let most = traits.max_invocations.min(Walk::MOST_TOGETHER);
    Some(Knob {
        what: "invocations that share a row, softmax of [1024, 8192]".to_owned(),
        probes: vec![rows_of(1024, elements), rows_of(8192, elements)],
        candidates: numbers(walk.together, &[64, 128, 256, 512], most, set),
    })
}

fn busy(walk: &Walk, traits: &Traits, _: bool, elements: u64) -> Option<Knob> {
    let set = |busy| Walk { busy, ..*walk };
    let others: &[u32] = if traits.software {
        &[256, 512, 1024, 2048, 4096]
    } else {
        &[16_384, 65_536, 262_144]
    };
    Some(Knob {
        what: "invocations that keep it busy, softmax of 1 and of 16 long rows".to_owned(),
        probes: vec![
            rows_of(elements, elements),
            rows_of(elements / 16, elements),
        ],
        candidates: numbers(walk.busy, others, u32::MAX, set),
    })
}

/// Measures the candidates in turn, each on all probes.
async fn measure(
    gpu: &Arc<Inner>,
    traits: &Traits,
    knob: &Knob,
    arrays: [&wgpu::Buffer; 2],
    wait: Wait,
) -> Result<Tuned> {
    let kernels = knob.candidates.iter().map(|(_, walk)| {
        let traits = Traits {
            walk: *walk,
            ..*traits
        };
        Kernels::with_traits(&gpu.device, traits).trusting()
    });
    let kernels: Vec<Kernels> = kernels.collect();
    let mut seconds = vec![Some(0.0); kernels.len()];
    for probe in &knob.probes {
        let mut least = vec![f64::INFINITY; kernels.len()];
        let mut times = vec![1; kernels.len()];
        for round in 0..ROUNDS + 1 {
            for (i, kernels) in kernels.iter().enumerate() {
                if seconds[i].is_none() {
                    continue;
                }
                let took = match run(gpu, kernels, probe, arrays, times[i], wait).await {
                    Ok(took) => took,
                    Err(error @ (Error::DeviceLost { .. } | Error::OutOfMemory { .. })) => {
                        return Err(error);
                    }
                    // What the driver does not take is no candidate.
                    Err(_) => {
                        seconds[i] = None;
                        continue;
                    }
                };
                if round == 0 {
                    // This one compiled; the next is long enough to be measured.
                    let once = run(gpu, kernels, probe, arrays, 1, wait).await?;
                    let wanted = LEAST.as_secs_f64() / once.as_secs_f64().max(1e-6);
                    times[i] = (wanted.ceil() as u32).clamp(1, 256);
                } else {
                    least[i] = least[i].min(took.as_secs_f64() / f64::from(times[i]));
                }
            }
        }
        for (total, least) in seconds.iter_mut().zip(least) {
            *total = total.map(|total| total + least);
        }
    }
    let candidates: Vec<TuneCandidate> = knob
        .candidates
        .iter()
        .zip(seconds)
        .map(|((name, _), seconds)| TuneCandidate {
            name: name.clone(),
            seconds,
        })
        .collect();
    Ok(Tuned {
        what: knob.what.clone(),
        chosen: choose(&candidates),
        candidates,
    })
}

/// The fastest, or the default where that is not worth a change.
fn choose(candidates: &[TuneCandidate]) -> usize {
    let of = |i: usize| candidates[i].seconds.unwrap_or(f64::INFINITY);
    let fastest = (0..candidates.len()).min_by(|&a, &b| of(a).total_cmp(&of(b)));
    fastest
        .filter(|&i| of(i) < 0.95 * of(0))
        .unwrap_or_default()
}

/// Submits a probe's work so many times at once, and waits for it.
async fn run(
    gpu: &Arc<Inner>,
    kernels: &Kernels,
    probe: &Probe,
    [x, y]: [&wgpu::Buffer; 2],
    times: u32,
    wait: Wait,
) -> Result<Duration> {
    let start = Instant::now();
    let submission = gpu.submit(|| {
        let mut encoder = stream::encoder(gpu);
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..times {
                // The ranges are whole, and of buffers that hold them.
                let recorded = match probe {
                    Probe::Elements(elements, dtype) => {
                        let bytes = elements * dtype.bytes() as u64;
                        let of = |buffer| TypedSlice::new(slice(buffer, bytes), *dtype);
                        kernels.map(&mut pass, Activation::Silu, of(x), of(y))
                    }
                    Probe::Rows(shape) => {
                        let bytes = shape.elements() as u64 * 4;
                        let (x, y) = (slice(x, bytes), slice(y, bytes));
                        kernels.apply_axis(&mut pass, AxisFunction::Softmax, shape, x, y)
                    }
                };
                recorded.ok()?;
            }
        }
        Some(encoder.finish())
    })?;
    gpu.finished(submission, wait).await?;
    Ok(start.elapsed())
}

fn slice(buffer: &wgpu::Buffer, bytes: u64) -> wgpu::BufferSlice<'_> {
    buffer.slice(..bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::Cache;
    use std::fs;

    #[test]
    fn what_was_tuned_is_taken_and_what_is_of_no_use_is_a_warning() {
        let name = format!("activations-tune-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let cache = Cache::Folder(folder.clone());
        let (device, queue) = crate::noop::device();
        let open = || Gpu::from_device_with(device.clone(), queue.clone(), &cache);
        let walk = |gpu: &Gpu| gpu.inner.kernels.traits().walk;
        let gpu = open();
        let default = walk(&gpu);
        assert_eq!(gpu.forget_tuning().unwrap(), None);
        let mut said = 0;
        let report = gpu.tune(false, |_| said += 1).unwrap();
        // It is a software adapter, whose rows are never a workgroup's.
        assert_eq!((report.measured.len(), said), (5, 5));
        assert_eq!(report.kept, None);
        assert!(!folder.exists());
        let report = gpu.tune(true, |_| ()).unwrap();
        let path = report.kept.unwrap();
        let again = open();
        assert_eq!(again.warnings(), [""; 0]);
        assert_eq!(again.forget_tuning().unwrap().as_ref(), Some(&path));
        assert_eq!(walk(&open()), default);

        let store = gpu.inner.store.as_ref().unwrap();
        let other = Walk {
            workgroup: 64,
            alone: 99,
            ..default
        };
        let keep = |walk: &Walk| {
            let data = serde_json::to_vec(walk).unwrap();
            store.write(Content::Tuning, &data).unwrap();
        };
        keep(&other);
        assert_eq!(walk(&open()), other);
        let tuned = pollster::block_on(open().tuned(Wait::Block)).unwrap();
        assert_eq!(walk(&tuned), other);
        // A device that is adopted without a cache takes none.
        let without = Gpu::from_device(device.clone(), queue.clone());
        assert_eq!(walk(&without), default);
        assert!(matches!(
            without.tune(true, |_| ()),
            Err(Error::Cache { .. })
        ));
        for unfit in [
            Walk {
                workgroup: 77,
                ..default
            },
            Walk {
                together: 1 << 20,
                ..default
            },
            Walk { busy: 0, ..default },
            Walk {
                wide: Access {
                    width: Width::Four,
                    units: 0,
                },
                ..default
            },
            Walk {
                narrow: Access::single(Width::Long),
                ..default
            },
        ] {
            keep(&unfit);
            let gpu = open();
            assert_eq!(walk(&gpu), default, "{unfit:?}");
            assert_eq!(gpu.warnings().len(), 1, "{unfit:?}");
        }
        fs::write(&path, "{}").unwrap();
        let gpu = open();
        assert_eq!(walk(&gpu), default);
        let warning = gpu.warnings().concat();
        let file = path.display().to_string();
        assert!(warning.contains(&file), "{warning}");
        assert!(gpu.description().contains(&warning));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_default_gives_way_to_what_is_worth_it() {
        let of = |seconds: &[Option<f64>]| {
            let candidates: Vec<TuneCandidate> = seconds
                .iter()
                .map(|&seconds| TuneCandidate {
                    name: String::new(),
                    seconds,
                })
                .collect();
            choose(&candidates)
        };
        assert_eq!(of(&[Some(1.0), Some(0.96), Some(2.0)]), 0);
        assert_eq!(of(&[Some(1.0), Some(0.9), Some(0.8)]), 2);
        assert_eq!(of(&[Some(1.0), None, Some(0.94)]), 2);
        assert_eq!(of(&[None, Some(1.0)]), 1);
        assert_eq!(of(&[Some(1.0)]), 0);
    }

    #[test]
    fn every_candidate_fits_and_the_default_is_the_first() {
        for (software, long) in [(false, false), (true, false), (true, true)] {
            let walk = Walk::of(software, long);
            let traits = Traits {
                max_binding: 128 << 20,
                alignment: 256,
                max_groups: 65_535,
                max_invocations: 256,
                software,
                walk,
                quirks: Default::default(),
            };
            let elements = elements(&traits);
            for knob in [wide, narrow, workgroup, alone, together, busy] {
                let Some(knob) = knob(&walk, &traits, long, elements) else {
                    assert!(software);
                    continue;
                };
                assert!(knob.candidates.len() > 1, "{}", knob.what);
                assert_eq!(knob.candidates[0].1, walk, "{}", knob.what);
                for (name, walk) in &knob.candidates {
                    assert!(walk.fits(long), "{}: {name}", knob.what);
                }
            }
        }
    }
}
