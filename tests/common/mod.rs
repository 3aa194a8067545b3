//! What several test binaries share: the backends that a test runs on.

use std::env;
use std::io::Write;
use wgpu_activations::{Backend, Error, Gpu};

/// The CPU backend, and the GPU backend where an adapter answers. That one is taken at its word:
/// what is wrong must not be computed on the CPU in its place.
pub fn backends() -> Vec<Backend> {
    let gpu = gpu().map(|gpu| Backend::Gpu(gpu.trusting()));
    std::iter::once(Backend::cpu()).chain(gpu).collect()
}

/// A GPU of the test's own, where an adapter answers.
///
/// # Panics
/// Where no adapter answers and one is required: `CI=true` or `ACTIVATIONS_REQUIRE_GPU=1`.
/// Where one answers and does not work.
pub fn gpu() -> Option<Gpu> {
    match Backend::gpu() {
        Ok(Backend::Gpu(gpu)) => Some(gpu),
        Ok(Backend::Cpu(..)) => panic!("the CPU in the place of a GPU"),
        Err(error @ Error::NoAdapter { .. }) => {
            let is = |name, value| env::var(name).is_ok_and(|v| v == value);
            let required = is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1");
            assert!(!required, "an adapter is required: {error}");
            // Straight to the stream: the harness would swallow what a passing test prints.
            // `cargo xtask test` counts these lines. Where nobody reads them, nothing is lost.
            let _ = writeln!(std::io::stdout(), "SKIPPED: {error}");
            None
        }
        Err(error) => panic!("the GPU backend does not open: {error}"),
    }
}
