//! What several examples share: a GPU or a loud word that there is none, and the check of results.

use std::error::Error;
use wgpu_activations::reference::ulp_error;
use wgpu_activations::{AdapterChoice, Gpu};

/// The result of an example.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A GPU; where there is none, says so and gives `None`, or fails where one is required.
#[allow(dead_code, reason = "not every example opens a device by itself")]
pub fn gpu() -> Outcome<Option<Gpu>> {
    match Gpu::open(&AdapterChoice::from_env()) {
        Ok(gpu) => {
            println!("device: {}", gpu.description());
            Ok(Some(gpu))
        }
        Err(error @ wgpu_activations::Error::NoAdapter { .. }) => no_adapter(error).map(|()| None),
        Err(error) => Err(error.into()),
    }
}

/// The end of an example that needs an adapter and has none: no failure on somebody's laptop,
/// but one where `CI` or `ACTIVATIONS_REQUIRE_GPU` say that an adapter must be there.
#[allow(dead_code, reason = "not every example needs a device")]
pub fn no_adapter(reason: impl Into<Box<dyn Error>>) -> Outcome {
    let is = |name, value| std::env::var(name).is_ok_and(|v| v == value);
    let reason = reason.into();
    if is("CI", "true") || is("ACTIVATIONS_REQUIRE_GPU", "1") {
        return Err(reason);
    }
    println!("SKIPPED: this example needs a GPU adapter. {reason}");
    Ok(())
}

/// The largest error of `got` in ULP of the f64 values `want`; a panic where it is above `most`.
#[allow(dead_code, reason = "not every example compares arrays")]
#[track_caller]
pub fn worst_ulp(got: &[f32], want: impl IntoIterator<Item = f64>, most: f64) -> f64 {
    let want: Vec<f64> = want.into_iter().collect();
    assert_eq!(got.len(), want.len(), "as many results as expected values");
    let errors = got
        .iter()
        .zip(&want)
        .map(|(&got, &want)| ulp_error(got, want, 0.0));
    let worst = errors.fold(0.0, f64::max);
    assert!(
        worst <= most,
        "an error of {worst:.2} ULP where {most} are allowed"
    );
    worst
}
