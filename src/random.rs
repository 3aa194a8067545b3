//! Random numbers that an index and a seed determine: Philox 4x32-10, the same bits on every
//! backend, in any order and however an array is cut.

/// A sequence of random numbers, of which every one can be had by its index alone.
///
/// The generator is Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
/// easy as 1, 2, 3", 2011): the key is the seed, the counter's lower half the number of a block of
/// four, its upper half the stream. Number i is word i mod 4 of block i / 4. It has no state, so
/// that a gradient can ask for the numbers of the forward pass again instead of keeping them.
///
/// Equal values give equal bits on the CPU and on every GPU. Two operations that must not share
/// their noise take two seeds or two streams.
///
/// ```
/// use wgpu_activations::Random;
/// let random = Random::new(7).stream(2);
/// assert_eq!(random.bits(10), random.starting_at(4).bits(6));
/// assert!(random.uniform(0) > 0.0 && random.uniform(0) < 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Random {
    seed: u64,
    stream: u64,
    first: u64,
}

impl Random {
    /// The stream 0 of a seed, from its first number on.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            stream: 0,
            first: 0,
        }
    }

    /// Another stream of the same seed; streams are independent of each other.
    #[must_use]
    pub const fn stream(self, stream: u64) -> Self {
        Self { stream, ..self }
    }

    /// The same stream from number `first` on: for an array that is handed over in pieces.
    #[must_use]
    pub const fn starting_at(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// The same numbers without the next `count`.
    #[must_use]
    pub(crate) const fn skip(self, count: u64) -> Self {
        Self {
            first: self.first.wrapping_add(count),
            ..self
        }
    }

    /// The seed.
    pub const fn seed(self) -> u64 {
        self.seed
    }

    /// The number of the stream.
    pub const fn stream_number(self) -> u64 {
        self.stream
    }

    /// The index of the first number.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Number `index` as 32 bits, counted from the first.
    pub fn bits(self, index: u64) -> u32 {
        let at = self.first.wrapping_add(index);
        let [low, high] = halves(at / 4);
        let [s0, s1] = halves(self.stream);
        philox4x32([low, high, s0, s1], halves(self.seed))[(at % 4) as usize]
    }

    /// Number `index` as a number between 0 and 1, both excluded: one of the 2^23 midpoints.
    pub fn uniform(self, index: u64) -> f32 {
        uniform_of(self.bits(index))
    }
}

/// The two 32-bit halves, the lower first.
pub(crate) const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// (k + 1/2) 2^-23 of the upper 23 bits k: exact in f32, never 0, never 1.
#[inline(always)]
pub(crate) fn uniform_of(bits: u32) -> f32 {
    // 2k + 1 has 24 bits.
    ((bits >> 9) * 2 + 1) as f32 * (1.0 / 16_777_216.0)
}

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// The golden ratio and the square root of 3, less 1.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// The bijection Philox 4x32 with ten rounds, by its paper's names.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let lanes = philox_lanes(counter.map(|word| [word]), key);
    lanes.map(|[word]| word)
}

/// [`philox4x32`] of several counters at a time, whose loops vectorise.
#[inline(always)]
pub(crate) fn philox_lanes<const N: usize>(
    counters: [[u32; N]; 4],
    key: [u32; 2],
) -> [[u32; N]; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counters;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        for lane in 0..N {
            let a = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let b = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            c0[lane] = (b >> 32) as u32 ^ c1[lane] ^ k0;
            c1[lane] = b as u32;
            c2[lane] = (a >> 32) as u32 ^ c3[lane] ^ k1;
            c3[lane] = a as u32;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the Random123 distribution.
    #[test]
    fn known_answers() {
        let cases = [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, want) in cases {
            assert_eq!(philox4x32(counter, key), want, "{counter:x?}");
            let lanes = philox_lanes(counter.map(|word| [word; 5]), key);
            assert_eq!(lanes, want.map(|word| [word; 5]));
        }
    }

    #[test]
    fn an_index_finds_its_block_and_word() {
        let random = Random::new(0xa409_3822_299f_31d0).stream(0x0370_7344_1319_8a2e);
        let random = random.starting_at(0x05a3_08d3_243f_6a88 * 4 - 2);
        let block = [0x243f_6a88, 0x05a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let want = philox4x32(block, [0x299f_31d0, 0xa409_3822]);
        for (i, want) in want.into_iter().enumerate() {
            assert_eq!(random.bits(i as u64 + 2), want);
            assert_eq!(random.skip(2).bits(i as u64), want);
        }
        assert_ne!(random.bits(1), random.stream(0).bits(1));
        // The last number, and the first behind it.
        let end = Random::new(1).starting_at(u64::MAX);
        assert_eq!(end.bits(1), Random::new(1).bits(0));
    }

    #[test]
    fn uniforms_fill_the_open_interval() {
        assert_eq!(uniform_of(0), 2f32.powi(-24));
        assert_eq!(uniform_of(u32::MAX), 1.0 - 2f32.powi(-24));
        assert_eq!(uniform_of(0x8000_0000), 0.5 + 2f32.powi(-24));
        let random = Random::new(42);
        let n = 100_000;
        let mean = (0..n).map(|i| f64::from(random.uniform(i))).sum::<f64>() / n as f64;
        // Five standard deviations.
        assert!(
            (mean - 0.5).abs() < 5.0 / (12.0 * n as f64).sqrt(),
            "{mean}"
        );
    }
}
