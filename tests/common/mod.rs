//! What several test binaries share: the backends that a test runs on.

use std::env;
use std::io::Write;
use wgpu_activations::{Backend, Error};

/// The CPU backend, and the GPU backend where an adapter answers.
///
/// # Panics
/// Where no adapter answers and one is required: `CI=true` or `ACTIVATIONS_REQUIRE_GPU=1`.
/// Where one answers and does not work.
pub fn backends() -> Vec<Backend> {
    let mut backends = vec![Backend::cpu()];
    match Backend::gpu() {
        Ok(gpu) => backends.push(gpu),
        Err(error @ Error::NoAdapter { .. }) => {
            let is = |name, value| env::var(name).is_ok_and(|v| v == value);
            let required = is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1");
            assert!(!required, "an adapter is required: {error}");
            // Straight to the stream: the harness would swallow what a passing test prints.
            // `cargo xtask test` counts these lines. Where nobody reads them, nothing is lost.
            let _ = writeln!(std::io::stdout(), "SKIPPED: {error}");
        }
        Err(error) => panic!("the GPU backend does not open: {error}"),
    }
    backends
}
