//! The compute pipelines of a list, made by whatever Vulkan driver this process is started on: the code
//! that it compiles, with what it says of it. Nothing is submitted, so that a driver without a device will do.

use super::{Compiled, Listed};
use ash::{khr, vk};
use std::ffi::{CStr, CString, c_char};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Pipelines that a process makes at most: Mesa's stand-in for the kernel runs out of memory after some 500.
const BATCH: usize = 200;

/// What ends a process whose driver does not: compiling one pipeline takes no longer.
const LONGEST: Duration = Duration::from_secs(120);

/// Makes the next of every `parts`-th pipeline of a list from `part` on, those that the results of this part in `out`
/// do not know. The result of each is a line there, and its code a file.
pub fn compile(list: &Path, out: &Path, part: usize, parts: usize) -> Result<(), String> {
    let results = super::results_of(out, part);
    let known = super::read_results(&results)?;
    let listed = super::read_list(list)?;
    let mine = listed.into_iter().skip(part).step_by(parts);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&results)
        .map_err(|e| super::problem(&results, e))?;
    let mut write =
        |line: String| writeln!(file, "{line}").map_err(|e| super::problem(&results, e));
    // SAFETY: the loader and the driver are those that the caller chose, and live as long as the process.
    let driver = unsafe { Driver::open() }.map_err(|e| format!("the driver does not open: {e}"))?;
    static NOW: AtomicU64 = AtomicU64::new(0);
    thread::spawn(|| {
        let mut last = (0, Instant::now());
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = NOW.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > LONGEST {
                // The parent knows which one was begun.
                std::process::exit(3);
            }
        }
    });
    let new = mine.filter(|pipeline| !known.contains_key(&pipeline.number));
    for pipeline in new.take(BATCH) {
        NOW.fetch_add(1, Ordering::Relaxed);
        write(super::begun(&pipeline.number))?;
        let code = list.join(format!("{}.spv", pipeline.number));
        let code = fs::read(&code).map_err(|e| super::problem(&code, e))?;
        let words: Vec<u32> = code
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        // SAFETY: naga wrote the words, whose bindings and entry point are those of the list.
        let made = unsafe { driver.make(&pipeline, &words) };
        let compiled = match made {
            Ok((compiled, text)) => {
                let path = out.join(format!("{}.s", pipeline.number));
                fs::write(&path, text).map_err(|e| super::problem(&path, e))?;
                compiled
            }
            Err(error) => Compiled::refused(format!("the driver says {error}")),
        };
        write(super::done(&pipeline.number, &compiled))?;
    }
    Ok(())
}

/// Seconds that this thread has computed: what else runs on the machine is not in it.
fn seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) * 1e-9
}

struct Driver {
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    /// The instance and the library end with the process.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

impl Driver {
    /// The first device of the first driver, with the robustness that wgpu asks for.
    unsafe fn open() -> Result<Self, String> {
        let said = |what: &'static str| move |e: vk::Result| format!("{what}: {e}");
        // SAFETY: as the caller says.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| e.to_string())?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let create = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry
                .create_instance(&create, None)
                .map_err(said("instance"))?;
            let devices = instance.enumerate_physical_devices();
            let devices = devices.map_err(said("devices"))?;
            let physical = *devices.first().ok_or("it has no device")?;

            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut executables =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .push_next(&mut robustness)
                .push_next(&mut executables);
            instance.get_physical_device_features2(physical, &mut features);
            let robust = features.features.robust_buffer_access;
            if robust == 0 || robustness.robust_buffer_access2 == 0 {
                return Err(
                    "it has no robust access to buffers, which the code is made for".to_owned(),
                );
            }
            if executables.pipeline_executable_info == 0 {
                return Err("it does not tell what it compiles".to_owned());
            }
            robustness.null_descriptor = 0;
            robustness.robust_image_access2 = 0;
            robustness.p_next = std::ptr::null_mut();
            executables.p_next = std::ptr::null_mut();
            let mut features = vk::PhysicalDeviceFeatures2::default()
                .features(vk::PhysicalDeviceFeatures::default().robust_buffer_access(true))
                .push_next(&mut robustness)
                .push_next(&mut executables);
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let names: [*const c_char; 2] = [
                khr::pipeline_executable_properties::NAME.as_ptr(),
                ash::ext::robustness2::NAME.as_ptr(),
            ];
            let create = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&names)
                .push_next(&mut features);
            let device = instance.create_device(physical, &create, None);
            let device = device.map_err(said("device"))?;
            let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Self {
                device,
                executables,
                _instance: instance,
                _entry: entry,
            })
        }
    }

    /// A pipeline's statistics and its code as text.
    unsafe fn make(
        &self,
        pipeline: &Listed,
        words: &[u32],
    ) -> Result<(Compiled, String), vk::Result> {
        let device = &self.device;
        let stages = vk::ShaderStageFlags::COMPUTE;
        let bindings = pipeline.bindings.iter().zip(0..);
        let bindings: Vec<vk::DescriptorSetLayoutBinding<'_>> = bindings
            .map(|(&uniform, binding)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_count(1)
                    .stage_flags(stages)
                    .descriptor_type(match uniform {
                        true => vk::DescriptorType::UNIFORM_BUFFER,
                        false => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        let name = CString::new(pipeline.entry.as_str()).unwrap_or_default();
        // SAFETY: as the caller says; each object is let go of after its last use.
        unsafe {
            let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set = [device.create_descriptor_set_layout(&create, None)?];
            let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&set);
            let layout = device.create_pipeline_layout(&create, None)?;
            let create = vk::ShaderModuleCreateInfo::default().code(words);
            let module = device.create_shader_module(&create, None)?;
            let create = vk::ComputePipelineCreateInfo::default()
                .layout(layout)
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                )
                .stage(
                    vk::PipelineShaderStageCreateInfo::default()
                        .stage(stages)
                        .module(module)
                        .name(&name),
                );
            let begin = seconds();
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let seconds = seconds() - begin;
            let told = match made {
                Ok(made) => {
                    let told = self.told(made[0]);
                    made.iter().for_each(|&p| device.destroy_pipeline(p, None));
                    told
                }
                Err((_, error)) => Err(error),
            };
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set[0], None);
            let (statistics, text) = told?;
            let compiled = Compiled {
                seconds,
                statistics,
                refused: None,
            };
            Ok((compiled, text))
        }
    }

    /// What the driver tells of a pipeline.
    unsafe fn told(
        &self,
        pipeline: vk::Pipeline,
    ) -> Result<(Vec<(String, u64)>, String), vk::Result> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let of = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline was made with both capture flags, and lives. Representations are asked for twice, by
        // the API's rules: for their sizes, and then for their contents.
        unsafe {
            let properties = self.executables.get_pipeline_executable_properties(&info)?;
            let mut numbers = Vec::new();
            let mut text = String::new();
            for executable in 0..properties.len() as u32 {
                let of = of.executable_index(executable);
                let statistics = self.executables.get_pipeline_executable_statistics(&of)?;
                numbers.extend(statistics.iter().map(|s| (text_of(&s.name), number(s))));
                let device = self.executables.device();
                let get = self
                    .executables
                    .fp()
                    .get_pipeline_executable_internal_representations_khr;
                let mut count = 0;
                get(device, &of, &mut count, std::ptr::null_mut()).result()?;
                let none = vk::PipelineExecutableInternalRepresentationKHR::default();
                let mut found = vec![none; count as usize];
                get(device, &of, &mut count, found.as_mut_ptr()).result()?;
                let mut contents: Vec<Vec<u8>> =
                    found.iter().map(|r| vec![0; r.data_size]).collect();
                for (r, contents) in found.iter_mut().zip(&mut contents) {
                    r.p_data = contents.as_mut_ptr().cast();
                }
                get(device, &of, &mut count, found.as_mut_ptr()).result()?;
                for (r, contents) in found.iter().zip(&contents) {
                    if text_of(&r.name) == "Assembly" {
                        text += String::from_utf8_lossy(contents).trim_end_matches('\0');
                    }
                }
            }
            Ok((numbers, text))
        }
    }
}

/// A name that Vulkan gives in an array.
fn text_of(name: &[c_char]) -> String {
    // SAFETY: a `c_char` is a byte.
    let bytes = unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), name.len()) };
    let text = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

/// A statistic, all of which are counts here.
fn number(statistic: &vk::PipelineExecutableStatisticKHR<'_>) -> u64 {
    // SAFETY: the format says which member was written.
    unsafe {
        match statistic.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => statistic.value.b32.into(),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => statistic.value.i64.max(0) as u64,
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => statistic.value.f64 as u64,
            _ => statistic.value.u64,
        }
    }
}
