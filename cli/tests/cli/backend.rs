//! Which backend runs, and what is said about it.

use crate::support::{Outcome, Scratch, assert_close, command, read, word_command};

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.array("x.npy", &[2, 3], &[-3.0, -0.5, 0.0, 0.25, 1.0, 4.0]);
    scratch
}

/// Runs `line` where no driver can be found.
fn without_adapters(scratch: &Scratch, line: &str) -> Outcome {
    word_command(scratch, line)
        .env("WGPU_BACKEND", "vulkan")
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env_remove("VK_ADD_DRIVER_FILES")
        .env_remove("WGPU_ADAPTER_NAME")
        .output()
        .unwrap()
        .into()
}

#[test]
fn auto_computes_with_and_without_an_adapter() {
    let scratch = scratch();
    let line = "run silu {x.npy} -o {y.npy}";
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let want = [-3.0, -0.5, 0.0, 0.25, 1.0, 4.0].map(silu);

    let mut here = word_command(&scratch, line);
    let here: Outcome = here
        .env_remove("WGPU_ADAPTER_NAME")
        .output()
        .unwrap()
        .into();
    let here = here.ok();
    assert!(here.stderr.contains("backend: "), "{here:?}");
    // Software is taken where it is asked for.
    assert!(!here.stderr.contains("gpu: llvmpipe"), "{here:?}");
    assert_close(&read(&scratch.path("y.npy")).1, &want, 4.0);
    std::fs::remove_file(scratch.path("y.npy")).unwrap();

    let bare = without_adapters(&scratch, line).ok();
    assert!(bare.stderr.starts_with("backend: cpu"), "{bare:?}");
    assert!(bare.stderr.contains("no GPU adapter"), "{bare:?}");
    assert_eq!(bare.stderr.lines().count(), 1, "{bare:?}");
    assert_close(&read(&scratch.path("y.npy")).1, &want, 4.0);
}

#[test]
fn gpu_never_falls_back() {
    let scratch = scratch();
    let line = "run silu {x.npy} -o {y.npy} --backend gpu";
    without_adapters(&scratch, line).refused(&["no GPU adapter", "CPU backend", "lavapipe"]);
    for backend in ["auto", "gpu"] {
        let line = format!("run silu {{x.npy}} -o {{y.npy}} --backend {backend}");
        for adapter in ["no-such-adapter", "99"] {
            let named = format!("{line} --adapter {adapter}");
            let matches = format!("no adapter matches '{adapter}'");
            without_adapters(&scratch, &named).refused(&[&matches, "there are: none"]);
        }
    }
    assert_eq!(scratch.names(), ["x.npy"]);
}

/// A variable that leaves no interface is what is told, not a driver that is missing.
#[test]
fn the_variable_that_leaves_no_adapter_is_named() {
    let scratch = scratch();
    let run = |value: &str, line: &str| -> Outcome {
        let mut command = word_command(&scratch, line);
        command.env("WGPU_BACKEND", value);
        command
            .env_remove("WGPU_ADAPTER_NAME")
            .output()
            .unwrap()
            .into()
    };
    // No system has both.
    let foreign = if cfg!(target_os = "macos") {
        "dx12"
    } else {
        "metal"
    };
    for (value, words) in [
        (foreign, format!("through WGPU_BACKEND={foreign}")),
        ("vulcan", "WGPU_BACKEND names 'vulcan'".to_owned()),
    ] {
        let outcome = run(value, "run silu {x.npy} -o {y.npy} --backend gpu");
        outcome.refused(&["no GPU adapter", &words, "leave out that variable"]);
        assert!(!outcome.stderr.contains("install"), "{outcome:?}");
        let auto = run(value, "run silu {x.npy} -o {y.npy}").ok();
        assert!(auto.stderr.starts_with("backend: cpu"), "{auto:?}");
        assert!(auto.stderr.contains(&words), "{auto:?}");
        let list = run(value, "adapters").ok();
        assert!(list.stdout.contains(&words), "{list:?}");
        assert!(!list.stdout.contains("lavapipe"), "{list:?}");
        let named = run(value, "run silu {x.npy} -o {y.npy} --adapter 0");
        named.refused(&["there are: none", &format!("WGPU_BACKEND={value} limits")]);
    }
}

#[test]
fn no_adapter_is_an_empty_list() {
    let scratch = Scratch::new();
    let json = without_adapters(&scratch, "adapters --json").ok();
    assert_eq!(json.stdout, "[]\n");
    let text = without_adapters(&scratch, "adapters").ok();
    assert!(text.stdout.contains("no GPU adapter"), "{text:?}");
}

#[test]
fn one_adapter_of_the_list_is_chosen() {
    let outcome: Outcome = command(&["adapters", "--json"]).output().unwrap().into();
    let adapters: Vec<serde_json::Value> = serde_json::from_str(&outcome.ok().stdout).unwrap();
    let chosen = adapters.iter().filter(|a| a["chosen"] == true).count();
    assert!(chosen <= 1, "{adapters:?}");
    for (index, adapter) in adapters.iter().enumerate() {
        assert_eq!(adapter["index"], index);
        assert!(adapter["limits"]["max_buffer_size"].as_u64().unwrap() > 0);
        assert!(!adapter["why"].as_str().unwrap().is_empty(), "{adapter}");
        assert!(adapter["features"].is_array());
    }
}

/// Mesa complains on stderr where there is no desktop session; users take it for our error.
#[test]
fn no_session_is_no_complaint() {
    let output = command(&["adapters"])
        .env_remove("XDG_RUNTIME_DIR")
        .output();
    let outcome = Outcome::from(output.unwrap()).ok();
    assert!(!outcome.stderr.contains("XDG_RUNTIME_DIR"), "{outcome:?}");
}

#[test]
fn tuning_is_forgotten_and_says_where_nothing_is_kept() {
    let scratch = scratch();
    let here: Outcome = word_command(&scratch, "adapters --json")
        .output()
        .unwrap()
        .into();
    if here.ok().stdout.trim() == "[]" {
        return;
    }
    let outcome: Outcome = word_command(&scratch, "tune --reset")
        .output()
        .unwrap()
        .into();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("ACTIVATIONS_CACHE"), "{outcome:?}");

    let reset = || -> Outcome {
        let mut command = word_command(&scratch, "tune --reset --json");
        let folder = scratch.path("cache");
        command
            .env("ACTIVATIONS_CACHE", folder)
            .output()
            .unwrap()
            .into()
    };
    let outcome = reset().ok();
    assert!(outcome.stdout.contains("\"removed\": null"), "{outcome:?}");
}

/// The report is whole whatever the time, and says what it left out.
#[test]
fn a_report_has_what_the_time_sufficed_for() {
    let scratch = scratch();
    let line = "report -o {r.json} --seconds 2 --shape 64,64";
    let done = without_adapters(&scratch, line).ok();
    assert!(done.stdout.starts_with("cpu: "), "{done:?}");
    let note = "the report is of the CPU";
    assert!(done.stderr.contains(note), "{done:?}");
    let text = std::fs::read_to_string(scratch.path("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["format"], "activations report, 1");
    assert_eq!(report["adapters"], serde_json::json!([]));
    let [cpu] = &report["backends"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(cpu["passed"], true);
    assert_eq!(cpu["shape"], serde_json::json!([64, 64]));
    let rates = cpu["rates"].as_array().unwrap();
    assert!(
        rates
            .iter()
            .all(|rate| rate["median_gb_per_s"].as_f64() > Some(0.0))
    );
    let [checks, left_out] = ["check", "left_out"].map(|list| cpu[list].as_array().unwrap().len());
    // All of it takes minutes on a machine of two cores, and more than two seconds on any.
    assert!(!rates.is_empty() && checks + left_out > 100, "{text}");
    assert!(left_out > 0, "{text}");

    let named = "report -o {r.json} --seconds 1 --adapter no-such-adapter";
    without_adapters(&scratch, named).refused(&["no adapter matches 'no-such-adapter'"]);
    let nowhere = "report -o {no/r.json} --seconds 1";
    without_adapters(&scratch, nowhere).refused(&["create it first"]);
    assert_eq!(scratch.names(), ["r.json", "x.npy"]);
}
