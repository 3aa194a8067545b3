//! The accuracy check of focal loss.

use super::{FocalLoss, reference};
use crate::backend::Trial;
use crate::check::Report;
use crate::check::loss::Elements;
use crate::error::Result;

/// Holds it, forward and backward, against the reference, over all magnitudes, with targets that are classes
/// and shares, and with several powers and weights.
pub(super) async fn focal_loss(backend: &Trial) -> Result<Vec<Report>> {
    let inputs = Elements::new();
    let losses = |reduction| {
        let plain = FocalLoss::new().reduction(reduction);
        [
            plain.clone(),
            plain.clone().gamma(0.0).alpha(-1.0),
            plain.clone().gamma(0.5).alpha(1.0),
            plain.clone().gamma(5.0).alpha(0.9),
            plain.gamma(1.7).weight(&[1.5, 0.25, 3.0, 0.75]),
        ]
    };
    let (want, want_grad) = (reference::focal_loss, reference::grad_focal_loss);
    inputs
        .compare(backend, "focal_loss", &inputs.x, losses, want, want_grad)
        .await
}
