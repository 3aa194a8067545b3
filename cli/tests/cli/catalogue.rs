//! `list`, and that every name in it can be run.

use crate::support::{Scratch, activations, npy, words};
use serde_json::Value;

fn list() -> Vec<Value> {
    let outcome = activations(&["list", "--json"]).ok();
    assert_eq!(outcome.stderr, "");
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn the_list_has_names_parameters_and_formulas() {
    let all = list();
    assert!(all.len() >= 44, "{} functions", all.len());
    let get = |name: &str| all.iter().find(|f| f["name"] == name).unwrap();
    let leaky = &get("leaky_relu")["parameters"][0];
    assert_eq!(leaky["name"], "negative_slope");
    assert_eq!(leaky["default"].to_string(), "0.01");
    assert_eq!(leaky["range"], "a finite number");
    assert_eq!(get("clamp")["parameters"][0]["default"], "-inf");
    // No f32 is this one.
    assert_eq!(get("hardsigmoid")["parameters"][0]["default"], "1/6");
    assert_eq!(get("softmax")["family"], "softmax");
    assert_eq!(get("gelu")["family"], "activation");
    for function in &all {
        for field in ["formula", "gradient", "summary"] {
            let text = function[field].as_str().unwrap();
            assert!(!text.is_empty() && text.trim() == text, "{function}");
        }
    }

    let text = activations(&["list"]).ok().stdout;
    for function in &all {
        let name = function["name"].as_str().unwrap();
        let line = text
            .lines()
            .find(|l| l.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no line for {name}"));
        assert!(
            line.contains(function["formula"].as_str().unwrap()),
            "{line}"
        );
    }
    assert!(
        text.contains("-p negative_slope=0.01, a finite number"),
        "{text}"
    );
    assert!(text.lines().all(|l| l.chars().count() <= 125), "{text}");
}

#[test]
fn every_alias_is_its_function() {
    let scratch = Scratch::new();
    let values: Vec<f32> = (0..16).map(|i| (i as f32 - 8.0) * 0.75).collect();
    scratch.array("x.npy", &[2, 8], &values);
    scratch.array("p.npy", &[2, 8], &[0.25; 16]);
    scratch.array("slope.npy", &[8], &[0.25; 8]);
    scratch.array("image.npy", &[4, 2, 2], &values);
    scratch.file("t.npy", &npy("<i4", false, &[2], &[1, 0, 0, 0, 7, 0, 0, 0]));
    let mut aliases = 0;
    for function in list() {
        let name = function["name"].as_str().unwrap();
        let inputs = match name {
            "cross_entropy" | "nll_loss" => "{x.npy} {t.npy}",
            "binary_cross_entropy" | "binary_cross_entropy_with_logits" | "focal_loss" => {
                "{p.npy} {p.npy}"
            }
            "prelu" => "{x.npy} {slope.npy}",
            "softmax2d" => "{image.npy}",
            _ => "{x.npy}",
        };
        let run = |name: &str, output: &str| {
            words(
                &scratch,
                &format!("run {name} {inputs} -o {{{output}}} --backend cpu"),
            )
            .ok();
            std::fs::read(scratch.path(output)).unwrap()
        };
        let want = run(name, "want.npy");
        for alias in function["aliases"].as_array().unwrap() {
            aliases += 1;
            let alias = alias.as_str().unwrap();
            // vLLM's have the gate first.
            let want = match alias.ends_with("_and_mul") {
                true => run(&format!("{name} -p order=gate_first"), "first.npy"),
                false => want.clone(),
            };
            assert_eq!(run(alias, "got.npy"), want, "{alias}");
        }
    }
    assert!(aliases >= 50, "only {aliases} aliases");
    words(
        &scratch,
        "run Hard-Sigmoid {x.npy} -o {y.npy} --backend cpu",
    )
    .ok();
}
