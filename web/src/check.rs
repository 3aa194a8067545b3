//! The checks of a backend against the f64 reference, and of an adapter against its known answers.

use crate::Native;
use crate::error::{error, raised, set};
use js_sys::{Array as List, Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_activations::check::{self, Report, Subject, half};
use wgpu_activations::{DType, Elementwise, Verdict};

/// The functions whose rates a report has.
#[wasm_bindgen]
pub fn rated() -> Vec<String> {
    check::RATED.map(str::to_owned).to_vec()
}

/// What is checked, by number.
#[wasm_bindgen]
pub struct Subjects(Vec<Subject>);

#[wasm_bindgen]
impl Subjects {
    /// Of functions by their names; everything without.
    #[wasm_bindgen(constructor)]
    pub fn new(names: Option<Vec<String>>) -> Result<Self, JsValue> {
        let Some(names) = names else {
            return Ok(Self(Subject::all()));
        };
        let mut all: Vec<Subject> = Vec::new();
        for name in names {
            let of = Subject::of(&name);
            if of.is_empty() {
                // The library says which names there are.
                wgpu_activations::operation_for(&name, &[]).map_err(raised)?;
                let problem = format!("{name} has no check of its own");
                return Err(error(&problem, "UnknownFunction"));
            }
            all.extend(
                of.into_iter()
                    .filter(|one| !all.contains(one))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(Self(all))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn name(&self, number: usize) -> String {
        self.0.get(number).map(Subject::name).unwrap_or_default()
    }

    /// Whether it is held over all numbers of 16 bits, too.
    pub fn has_halves(&self, number: usize) -> bool {
        match self.0.get(number) {
            Some(Subject::Elementwise(f)) => *f == Elementwise::from(f.activation()),
            Some(Subject::Axis(_)) => true,
            _ => false,
        }
    }

    /// The rows of the subject of a number.
    pub fn check(&self, native: &Native, number: usize) -> Promise {
        let (backend, subject) = (native.0.clone(), self.0.get(number).copied());
        future_to_promise(async move {
            let rows = List::new();
            if let Some(subject) = subject {
                let found = check::subject_async(&backend, subject)
                    .await
                    .map_err(raised)?;
                for report in &found.reports {
                    rows.push(&row(report, &report.pass.to_string()));
                }
                if let Some(upstream) = &found.upstream {
                    rows.push(&row(upstream, "any dy"));
                }
            }
            Ok(rows.into())
        })
    }

    /// The rows of the subject of a number, in "f16" or "bf16".
    pub fn check_half(&self, native: &Native, number: usize, dtype: String) -> Promise {
        let (backend, subject) = (native.0.clone(), self.0.get(number).copied());
        future_to_promise(async move {
            let dtype: DType = dtype.parse().map_err(raised)?;
            let found = match subject {
                Some(Subject::Elementwise(f)) => half::elementwise_async(&backend, f, dtype).await,
                Some(Subject::Axis(f)) => half::axis_async(&backend, f, dtype).await,
                _ => Ok(Vec::new()),
            };
            let rows = found.map_err(raised)?;
            Ok(rows.iter().map(rounding).collect::<List>().into())
        })
    }
}

fn row(report: &Report, pass: &str) -> JsValue {
    let row = JsValue::from(Object::new());
    set(&row, "function", &*report.function);
    set(&row, "pass", pass);
    set(&row, "ok", report.passed());
    set(&row, "inputs", report.inputs as f64);
    set(&row, "worstUlp", report.worst_ulp);
    set(&row, "bound", report.bound);
    set(&row, "worstInput", f64::from(report.worst_input));
    set(&row, "got", f64::from(report.got));
    set(&row, "want", report.want);
    set(&row, "nanMismatches", report.nan_mismatches as f64);
    row
}

fn rounding(found: &half::Rounding) -> JsValue {
    let row = JsValue::from(Object::new());
    set(&row, "function", &*found.function);
    set(&row, "pass", found.pass.to_string());
    set(&row, "upstream", found.upstream);
    set(&row, "ok", found.passed());
    set(&row, "inputs", found.inputs as f64);
    set(&row, "otherWay", found.other_way as f64);
    set(&row, "flushed", found.flushed as f64);
    set(&row, "wrong", found.wrong as f64);
    row
}

#[wasm_bindgen]
impl Native {
    /// Asks the adapter everything that the library takes for granted; of the CPU there is nothing to ask.
    pub fn self_check(&self) -> Promise {
        let gpu = self.gpu().cloned();
        future_to_promise(async move {
            let findings = List::new();
            if let Ok(gpu) = gpu {
                let check = gpu.self_check_async().await.map_err(raised)?;
                for finding in &check.findings {
                    let told = JsValue::from(Object::new());
                    set(&told, "subject", &*finding.subject);
                    set(&told, "verdict", finding.verdict.to_string());
                    set(&told, "right", finding.verdict == Verdict::Right);
                    set(&told, "wrong", finding.verdict == Verdict::Distrusted);
                    set(&told, "detail", &*finding.detail);
                    findings.push(&told);
                }
            }
            Ok(findings.into())
        })
    }

    /// What wgpu says of the adapter; nothing of the CPU.
    pub fn adapter(&self) -> JsValue {
        let Ok(gpu) = self.gpu() else {
            return JsValue::UNDEFINED;
        };
        let info = gpu.info();
        let told = JsValue::from(Object::new());
        set(&told, "name", &*info.name);
        set(&told, "backend", info.backend.to_str());
        set(
            &told,
            "device_type",
            match info.device_type {
                wgpu::DeviceType::Cpu => "software adapter",
                _ => "other adapter",
            },
        );
        set(&told, "driver", &*info.driver);
        told
    }
}
