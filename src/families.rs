//! The families of functions that lie in folders of their own below `functions/`: one line each.

/// Calls a macro with all of them: the folder, its types and the names of their operations, and what those are.
macro_rules! families {
    ($each:ident) => {
        $each! {
            binary_cross_entropy {
                BceWithLogits: "binary_cross_entropy_with_logits",
                BinaryCrossEntropy: "binary_cross_entropy",
            } "a loss";
            focal_loss { FocalLoss: "focal_loss", } "a loss";
        }
    };
}
pub(crate) use families;
