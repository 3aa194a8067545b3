//! Inputs that were the worst of all 2^32 somewhere: of a function, on some backend, forward or
//! backward, in this or an earlier version. The stratified check has them all.
//!
//! `cargo xtask accuracy` adds those of new reports of the exhaustive check; it takes none away.

/// Bit patterns for each function by name.
#[rustfmt::skip]
pub(super) const WORST: &[(&str, &[u32])] = &[
    ("celu", &[0xb37ffb10, 0xbea3bebf, 0xbec5543e, 0xc18191b1, 0xc26fba59]),
    ("elu", &[0xb37ffb10, 0xbea3bebf, 0xbec5543e, 0xc26fba59]),
    ("erf", &[0x00b93a73, 0x3fc667b5, 0x40113d24, 0x9c62cdda]),
    ("exp", &[0x3ebd561a, 0xc18191b1, 0xc26fba59]),
    ("gelu", &[0xbc0182c0, 0xbfb6652f, 0xbfeadecc, 0xbfeb4cb0, 0xc00cddcf, 0xc05b55e9, 0xc0d9ecb5, 0xc12f31fb]),
    ("gelu_tanh", &[0xbe6c30bd, 0xc030f44a, 0xc030fb8c, 0xc0b4e9ea]),
    ("hardsigmoid", &[0x343fffb7, 0xc03fed00]),
    ("hardswish", &[0x33c00000, 0x33ddb3c0, 0x3fa003fa, 0xbbd560d1]),
    ("leaky_relu", &[0x83eaaa04, 0xd58aaab3]),
    ("lisht", &[0x3df693e5, 0xbdfe73c1, 0xbdff3bb2, 0xbf039057]),
    ("logcosh", &[0x3e801c28, 0xbdfc7774, 0xbf20a871, 0xbf7c8fc6]),
    ("logsigmoid", &[0x40d39412, 0x41dad845, 0x428cc835, 0xbea7971d]),
    ("mish", &[0x3a5492f2, 0x3ecbca31, 0xc0a3d7aa, 0xc0a5277b, 0xc0a5ef16, 0xc0a632b0, 0xc224db06]),
    ("quick_gelu", &[0xc047b4da, 0xc1b4e244, 0xc1baf717, 0xc1beb71e]),
    ("relu_squared", &[0x20000800, 0x201f8800]),
    ("selu", &[0xbea3f785, 0xbea491ac, 0xc1b4376b, 0xc24638f9]),
    ("sigmoid", &[0x3eae34d4, 0x40a723bc, 0x40e7eb3a, 0xc0a70f63]),
    ("silu", &[0xbeb426c7, 0xc0a3848b, 0xc0a43fa1, 0xc0be35ee, 0xc1825a55, 0xc2172df4, 0xc2a18aa8, 0xc2a71bb4]),
    ("snake", &[0x32ffffc3, 0x45b52e76, 0xbf459eac]),
    ("softplus", &[0xbee79293, 0xbf271a01, 0xc0a70f63, 0xc0d39412, 0xc17993eb, 0xc1dad845]),
    ("softshrink", &[0x4b000001, 0x4b000041]),
    ("softsign", &[0x327fff8e, 0x32ffffff, 0x59dcd958, 0xcbff4f56]),
    ("sparse_plus", &[0x337fffb3, 0x382b4000, 0xb27fffff, 0xbea4a58e]),
    ("sparse_sigmoid", &[0x337fffb3, 0x382b4000]),
    ("square", &[0x20000800, 0x201f8800]),
    ("squareplus", &[0x33ffffb3, 0x33fffff5, 0x3df67c09, 0x3f0bf55f, 0xbd482169, 0xc3963df9]),
    ("swish", &[0xc0a43fa1, 0xc2172df4, 0xc2a18aa8, 0xc2a71bb4]),
    ("tanh", &[0x3e2ffd3d, 0x3e5581bb, 0x3f1acbec, 0x3f1b221c, 0x3f62cef3, 0x413f0cbe, 0xbe134cdc, 0xbf20a871]),
    ("tanhshrink", &[0x3e8bb534, 0x3f0300e2, 0xb0679560, 0xbdfd350f]),
];
