//! What the registry has of the binary losses.

use super::{BceWithLogits, BinaryCrossEntropy};
use crate::check;
use crate::functions::element_loss::{OF_ELEMENTS, OF_WEIGHTS};
use crate::functions::registry::{About, Entry, entry};

/// The entries.
pub(in crate::functions) fn entries() -> Vec<Entry> {
    vec![bce_with_logits(), binary_cross_entropy()]
}

fn bce_with_logits() -> Entry {
    let about = About {
        summary: "The binary cross entropy of sigmoid and probabilities.",
        formula: "w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)))",
        gradient: "w (sigmoid(x) (1 + (p - 1) t) - p t)",
        source: "PyTorch",
        shapes: OF_ELEMENTS,
    };
    let names = (
        "binary_cross_entropy_with_logits",
        &["bce_with_logits", "sigmoid_cross_entropy_with_logits"][..],
    );
    entry("loss", names, about, |options| {
        let loss = BceWithLogits::new().reduction(options.reduction()?);
        let axis = options.get("axis", OF_WEIGHTS)?;
        Ok(Box::new(axis.map_or(loss.clone(), |axis| loss.axis(axis))))
    })
    .checked(|trial| Box::pin(check::loss::binary_cross_entropy_with_logits_by(trial)))
}

fn binary_cross_entropy() -> Entry {
    let about = About {
        summary: "The binary cross entropy of probabilities.",
        formula: "-w (t log x + (1 - t) log(1 - x)), logarithms from -100 on",
        gradient: "w (x - t) / max(x (1 - x), 1e-12)",
        source: "PyTorch",
        shapes: OF_ELEMENTS,
    };
    let names = ("binary_cross_entropy", &["bce", "bce_loss"][..]);
    entry("loss", names, about, |options| {
        let loss = BinaryCrossEntropy::new().reduction(options.reduction()?);
        let axis = options.get("axis", OF_WEIGHTS)?;
        Ok(Box::new(axis.map_or(loss.clone(), |axis| loss.axis(axis))))
    })
    .checked(|trial| Box::pin(check::loss::binary_cross_entropy_by(trial)))
}
