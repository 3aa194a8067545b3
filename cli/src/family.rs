//! The families beside the catalogue and softmax, as far as `activations check` checks them.

pub use wgpu_activations::check::Family;
