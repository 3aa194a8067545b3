//! Arrays that are made from their names, the same on every machine.

use crate::support::npy;

/// FNV-1a.
pub fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((self.bits() >> 32) * n) >> 32
    }

    /// In [0, 1), of 20 bits.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 44) as f32 / 1_048_576.0
    }

    /// In [-8, 8).
    fn tame(&mut self) -> f32 {
        self.unit() * 16.0 - 8.0
    }
}

/// The file of a name `KIND-SHAPE.npy` or `KIND-SHAPE-EXTRA.npy`, where SHAPE is `2x3` or `scalar`;
/// another EXTRA is another array.
///
/// | Kind | Numbers |
/// |---|---|
/// | `tame`, `dy` | from -8 to 8 |
/// | `bits` | all exponents, both signs, zeros, infinities, NaN; tame ones behind them |
/// | `hard` | an upstream gradient with zeros, infinities, NaN and extreme numbers |
/// | `rows` | rows along the last axis, each extreme in a way of its own |
/// | `bias` | tame ones and negative infinities |
/// | `unit` | from 0 to 1, with both |
/// | `mask` | bytes, 0 or 1; the first row is all 0 |
/// | `below` | whole numbers from 0 to EXTRA |
/// | `class` | whole numbers below EXTRA, some of them -100 |
/// | `f16`, `bf16` | tame ones of 16 bits |
/// | `f16bits`, `bf16bits` | bit patterns over all of 16 bits, at even distances |
pub fn file(name: &str) -> Vec<u8> {
    let mut parts = name.strip_suffix(".npy").unwrap_or(name).split('-');
    let (kind, shape) = (parts.next().unwrap(), parts.next().unwrap());
    let dimensions = shape.split('x').filter(|&d| d != "scalar");
    let shape: Vec<usize> = dimensions.map(|d| d.parse().unwrap()).collect();
    let extra = parts.next().and_then(|n| n.parse::<u64>().ok());
    let (count, last) = (
        shape.iter().product::<usize>(),
        shape.last().map_or(1, |&d| d),
    );
    let mut random = Random(digest(name.bytes()));
    let mut floats = |make: &mut dyn FnMut(usize, &mut Random) -> f32| -> (&str, Vec<u8>) {
        let data = (0..count).flat_map(|i| make(i, &mut random).to_le_bytes());
        ("<f4", data.collect())
    };
    let (code, data) = match kind {
        "tame" | "dy" => floats(&mut |_, r| r.tame()),
        "bits" => {
            let hard = every_exponent();
            floats(&mut |i, r| hard.get(i).copied().unwrap_or_else(|| r.tame()))
        }
        "hard" => floats(&mut |i, r| match i % 19 {
            0 => [
                0.0,
                -0.0,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::NAN,
                1e-45,
                3e38,
            ][i / 19 % 7],
            _ => r.tame(),
        }),
        "rows" => floats(&mut |i, r| row(i / last, i % last, last, r.tame())),
        "bias" => floats(&mut |i, r| match i % 11 {
            7 => f32::NEG_INFINITY,
            _ => r.tame() * 0.5,
        }),
        "unit" => floats(&mut |i, r| match i % 13 {
            3 => 0.0,
            8 => 1.0,
            _ => r.unit(),
        }),
        "mask" => {
            let bytes = (0..count).map(|i| u8::from(i >= last && random.below(4) > 0));
            ("|u1", bytes.collect())
        }
        "below" | "class" => {
            let end = extra.expect("a number behind the shape");
            let number = |i: usize| match (kind, i % 7) {
                ("class", 4) => -100,
                ("class", _) => random.below(end) as i64,
                _ => random.below(end + 1) as i64,
            };
            let data = (0..count).map(number).flat_map(i64::to_le_bytes);
            ("<i8", data.collect())
        }
        "f16bits" | "bf16bits" => {
            let data = (0..count).flat_map(|i| ((i * 0xffff / (count - 1)) as u16).to_le_bytes());
            (
                if kind == "f16bits" { "<f2" } else { "<V2" },
                data.collect(),
            )
        }
        "f16" => {
            // Exponents from -6 to 2.
            let data = (0..count).flat_map(|_| {
                let bits = random.bits() as u16;
                ((bits & 0x83ff) | ((9 + random.below(9) as u16) << 10)).to_le_bytes()
            });
            ("<f2", data.collect())
        }
        "bf16" => {
            let data =
                (0..count).flat_map(|_| ((random.tame().to_bits() >> 16) as u16).to_le_bytes());
            ("<V2", data.collect())
        }
        _ => panic!("no kind of array is called '{kind}'"),
    };
    npy(code, false, &shape, &data)
}

/// Four numbers of each exponent and sign, the special ones among them.
fn every_exponent() -> Vec<f32> {
    let mut random = Random(1);
    let mut all = Vec::new();
    for exponent in 0..256u32 {
        let own = random.below(1 << 23) as u32;
        for mantissa in [0, 1, own, 0x7f_ffff] {
            let bits = (exponent << 23) | mantissa;
            all.extend([bits, bits | (1 << 31)].map(f32::from_bits));
        }
    }
    all
}

/// Element `i` of row `n`, of `len` elements, from a tame number.
fn row(n: usize, i: usize, len: usize, tame: f32) -> f32 {
    let (first, middle) = (i == 0, i == len / 2);
    match n % 15 {
        // All equal, two that are the largest, ever smaller ones.
        1 => 1.5,
        2 if first || middle => 9.0,
        3 => -10.0 * i as f32,
        4 if middle => f32::NAN,
        5 if middle => f32::INFINITY,
        6 if first || middle => f32::INFINITY,
        7 => f32::NEG_INFINITY,
        8 if !middle => f32::NEG_INFINITY,
        9 if first => f32::INFINITY,
        9 if middle => f32::NEG_INFINITY,
        10 => tame * 4e37,
        11 => tame * 1e-39,
        12 if i.is_multiple_of(2) => -0.0,
        12 => 0.0,
        13 => tame * 30.0,
        14 => tame / 1024.0,
        _ => tame,
    }
}

/// The numbers of a file: its shape as text, and their digest, to which every NaN is the same.
pub fn numbers(bytes: &[u8]) -> String {
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(length);
    let header = std::str::from_utf8(header).unwrap();
    let between =
        |from: &str, to: char| header.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let canonical: fn(&[u8]) -> u32 = match between("'descr': '", '\'') {
        "<f4" => |b| match u32::from_le_bytes([b[0], b[1], b[2], b[3]]) {
            bits if f32::from_bits(bits).is_nan() => 0x7fc0_0000,
            bits => bits,
        },
        "<f2" => |b| match u32::from(u16::from_le_bytes([b[0], b[1]])) {
            bits if bits & 0x7fff > 0x7c00 => 0x7e00,
            bits => bits,
        },
        "<V2" => |b| match u32::from(u16::from_le_bytes([b[0], b[1]])) {
            bits if bits & 0x7fff > 0x7f80 => 0x7fc0,
            bits => bits,
        },
        code => panic!("an output of type {code}"),
    };
    let item = if header.contains("'<f4'") { 4 } else { 2 };
    let words = data.chunks_exact(item).map(canonical);
    let digest = digest(words.flat_map(u32::to_le_bytes));
    let shape = between("'shape': (", ')').split(',').map(str::trim);
    let shape: Vec<&str> = shape.filter(|d| !d.is_empty()).collect();
    match &shape[..] {
        [] => format!("():{digest:016x}"),
        shape => format!("{}:{digest:016x}", shape.join("x")),
    }
}
