//! What is of the whole process: the environment that adapters are looked up in, and the memory
//! that an operation takes. Each test runs itself again as a child, in an environment of its own.

use crate::{coded, difference, gpu, relu};
use std::process::{Command, Stdio};
use wgpu_activations::{Activation, AdapterChoice, Backend, BackendKind, Error};

/// Set in a child.
const CHILD: &str = "ACTIVATIONS_TEST_CHILD";

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test `name` in a child with these variables, and returns what it prints; its stderr is
/// this process'.
///
/// # Panics
/// Where the child fails, or does not run exactly that test.
pub fn child(name: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .env(CHILD, "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    text
}

/// Where no driver answers, `gpu` is an error and `auto` the CPU, with the reason readable.
#[test]
fn without_an_adapter_auto_is_the_cpu() {
    if !is_child() {
        let nowhere = "/nonexistent/icd.json";
        let text = child(
            "process::without_an_adapter_auto_is_the_cpu",
            &[
                ("VK_ICD_FILENAMES", nowhere),
                ("VK_DRIVER_FILES", nowhere),
                ("WGPU_BACKEND", "vulkan"),
                ("WGPU_ADAPTER_NAME", ""),
            ],
        );
        assert!(text.contains("chose cpu"), "{text}");
        return;
    }
    assert!(wgpu_activations::adapters().is_empty());
    let error = Backend::open(BackendKind::Gpu, &AdapterChoice::Auto)
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, Error::NoAdapter { .. }), "{error}");
    assert!(error.to_string().contains("CPU backend"), "{error}");
    let auto = Backend::auto().unwrap();
    assert_eq!(auto.kind(), BackendKind::Cpu);
    assert!(
        auto.description().contains("no GPU adapter"),
        "{}",
        auto.description()
    );
    assert_eq!(
        auto.apply(Activation::Relu, &[-1.0, 2.0]).unwrap(),
        [0.0, 2.0]
    );
    // An adapter that was asked for by name is not replaced.
    let named = Backend::open(BackendKind::Auto, &AdapterChoice::Name("any".to_owned()));
    let error = named.map(drop).unwrap_err();
    assert!(matches!(error, Error::UnknownAdapter { .. }), "{error}");
    assert!(error.to_string().contains("there are: none"), "{error}");
    println!("chose {}", auto.description());
}

/// Nobody is given a software adapter unasked, and `auto` opens one device in a process.
#[test]
fn auto_takes_software_where_it_is_named_and_opens_once() {
    let name = "process::auto_takes_software_where_it_is_named_and_opens_once";
    if !is_child() {
        let Some(gpu) = gpu() else { return };
        let software = gpu.info().device_type == wgpu_activations::wgpu::DeviceType::Cpu;
        let text = child(name, &[("WGPU_ADAPTER_NAME", "")]);
        assert!(text.contains("chose ") && text.contains("done"), "{text}");
        assert_eq!(text.contains("chose cpu"), software, "{text}");
        assert_eq!(text.contains("is a software adapter"), software, "{text}");
        let text = child(name, &[("WGPU_ADAPTER_NAME", &gpu.info().name)]);
        assert!(
            text.contains("chose gpu") && text.contains("done"),
            "{text}"
        );
        return;
    }
    let first = Backend::auto().unwrap();
    println!("chose {}", first.description());
    let second = Backend::auto().unwrap();
    let relu = |backend: &Backend| backend.apply(Activation::Relu, &[-1.0, 2.0]);
    if let Backend::Gpu(gpu) = &first {
        let Backend::Gpu(own) = Backend::gpu().unwrap() else {
            panic!("the CPU in the place of a GPU")
        };
        own.device().destroy();
        assert_eq!(relu(&second).unwrap(), [0.0, 2.0]);
        // The second is the first, and lost with it; the third is another.
        gpu.device().destroy();
        let error = relu(&second).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
    let last = Backend::auto().unwrap();
    assert_eq!(last.kind(), first.kind());
    assert_eq!(relu(&last).unwrap(), [0.0, 2.0]);
    println!("done");
}

/// The environment names the adapter.
#[test]
fn the_environment_names_the_adapter() {
    if is_child() {
        match Backend::gpu() {
            Ok(backend) => println!("opened {}", backend.description()),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let name = "process::the_environment_names_the_adapter";
    let text = child(name, &[("WGPU_ADAPTER_NAME", "no such adapter")]);
    assert!(
        text.contains("refused: no adapter matches 'no such adapter'"),
        "{text}"
    );
    if let Some(gpu) = gpu() {
        let text = child(name, &[("WGPU_ADAPTER_NAME", &gpu.info().name)]);
        assert!(
            text.contains("opened gpu") && text.contains("asked for by name"),
            "{text}"
        );
    }
}

/// What Linux says of this process' memory, in KiB.
#[cfg(target_os = "linux")]
pub fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The most memory that this process has had, in MiB.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    status("VmHWM") >> 10
}

/// An operation on host memory takes its input, its output and a bounded staging: on a software
/// adapter, whose memory is the process' own, all of it is to be seen.
#[test]
#[cfg(target_os = "linux")]
fn host_memory_is_streamed() {
    const ELEMENTS: usize = 64 << 20;
    let name = "process::host_memory_is_streamed";
    if !is_child() {
        let text = child(name, &[]);
        assert!(text.contains("took"), "{text}");
        return;
    }
    for backend in crate::common::backends() {
        // 256 MiB each, touched.
        let x = coded(ELEMENTS);
        let mut y = vec![1.0; ELEMENTS];
        // The driver's compiler has its own needs.
        backend.apply(Activation::Relu, &x[..1 << 20]).unwrap();
        let before = peak();
        assert!(before >= 512, "{before} MiB do not hold the arrays");
        backend.apply_into(Activation::Relu, &x, &mut y).unwrap();
        let more = peak() - before;
        println!(
            "took {more} MiB beside the arrays: {}",
            backend.description()
        );
        assert!(more < 200, "{more} MiB");
        assert_eq!(difference(&y, x.iter().copied().map(relu)), None);
    }
}
