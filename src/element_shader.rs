//! How a device computes a loss of single elements, as its family says it.

use std::fmt;
use std::hash::{Hash, Hasher};

/// How a device computes a loss of elements.
pub(crate) struct ElementShader {
    /// The loss's name, which no other has.
    pub name: &'static str,
    /// Its WGSL, which stands behind math.wgsl and element_loss.wgsl.
    pub text: &'static str,
    /// The loss of the element x with the target t as a `Wide`, by `load_weight(i)` and `load_positive(i)`.
    pub loss: &'static str,
    /// Its slope by x.
    pub slope: &'static str,
}

impl fmt::Debug for ElementShader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for ElementShader {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ElementShader {}

impl Hash for ElementShader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
