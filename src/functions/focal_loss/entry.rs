//! What the registry has of focal loss.

use super::{FocalLoss, check};
use crate::functions::element_loss::{OF_ELEMENTS, OF_WEIGHTS};
use crate::functions::registry::{About, Entry, entry};

/// The entries.
pub(in crate::functions) fn entries() -> Vec<Entry> {
    let about = About {
        summary: "Binary cross entropy of sigmoid in which what is already told apart counts for little.",
        // bce is that of logits.
        formula: "w (alpha t + (1 - alpha) (1 - t)) (t + (1 - 2 t) sigmoid(x))^gamma bce(x, t)",
        gradient: "w (alpha t + (1 - alpha) (1 - t)) q^gamma (sigmoid(x) - t \
                   + gamma bce(x, t) (1 - 2 t) sigmoid(x) sigmoid(-x) / q), q = t + (1 - 2 t) sigmoid(x)",
        source: "Lin et al. 2017",
        shapes: OF_ELEMENTS,
    };
    let names = ("focal_loss", &["sigmoid_focal_loss"][..]);
    let entry = entry("loss", names, about, |options| {
        let standard = FocalLoss::default();
        let meaning = "the weight of the target 1, from 0 to 1; negative for none";
        let alpha = options.or("alpha", standard.alpha, meaning)?;
        let meaning = "the power of what is missing from the target's probability, 0 to 1000";
        let gamma = options.or("gamma", standard.gamma, meaning)?;
        let loss = standard.alpha(alpha).gamma(gamma).reduction(options.reduction()?);
        let axis = options.get("axis", OF_WEIGHTS)?;
        Ok(Box::new(axis.map_or(loss.clone(), |axis| loss.axis(axis))))
    });
    vec![entry.checked(|trial| Box::pin(check::focal_loss(trial)))]
}
