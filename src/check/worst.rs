//! Inputs that were the worst of all 2^32 somewhere: of a function, on some backend, forward or
//! backward, in this or an earlier version. The stratified check has them all.
//!
//! `cargo xtask accuracy` adds those of new reports of the exhaustive check; it takes none away.

/// Bit patterns for each function by name.
#[rustfmt::skip]
pub(super) const WORST: &[(&str, &[u32])] = &[
    ("gelu", &[0xbc0182c0, 0xbfb6652f, 0xc00cddcf, 0xc0d9ecb5]),
    ("mish", &[0x3a5492f2, 0xc0a3d7aa, 0xc0a5277b, 0xc224db06]),
    ("silu", &[0xc0a3848b, 0xc1825a55, 0xc2a18aa8, 0xc2a71bb4]),
    ("tanh", &[0x3e5581bb, 0x3f1acbec, 0x3f62cef3, 0x413f0cbe]),
];
