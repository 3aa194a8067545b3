//! The probes: what `shaders/probes.wgsl` asks of an adapter, the answers that IEEE arithmetic
//! and WGSL's promises give, and what another answer means for the kernels.

use super::{Finding, Verdict};
use crate::plan::Quirks;
use crate::reference::ulp_error;

/// Words that an invocation of `arithmetic` writes.
pub(crate) const WORDS: usize = 30;
/// Turns of the long loop; llvmpipe stops at 65,535.
pub(crate) const TURNS: u32 = 70_000;
/// Workgroups of `together`, so that several run at a time.
pub(crate) const GROUPS: u32 = 16;

/// An adapter's answers, word by word.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// [`WORDS`] for each pair.
    pub arithmetic: Vec<u32>,
    /// A word for each invocation of the workgroups of `together`.
    pub together: Vec<u32>,
    /// Invocations of such a workgroup.
    pub workgroup: u32,
    /// Turns made, the value they made, and 1 where the shader got to its end.
    pub turns: [u32; 3],
}

/// What became of a question: what was measured, or what was wrong.
type Outcome = Result<String, String>;

/// The bit patterns that go through every arithmetic question.
pub(crate) fn pairs() -> Vec<[u32; 2]> {
    let floats: [(f32, f32); 40] = [
        (0.0, 0.0),
        (0.0, -0.0),
        (-0.0, -0.0),
        (1.0, -1.0),
        (1.0, f32::EPSILON / 2.0),
        (1.0, f32::EPSILON / 4.0),
        (1.0, -f32::EPSILON / 4.0),
        (16_777_216.0, 1.0),
        (16_777_216.0, 3.0),
        (1e8, 1.2345),
        (-1e8, 0.1),
        (0.1, 0.2),
        (0.1, -0.099_999_994),
        (1e-20, 1e20),
        (3.0, 1e-10),
        (1e-10, 3.0),
        (88.722_84, std::f32::consts::LN_2),
        (-87.336_54, 2.0),
        (-16.6, std::f32::consts::LOG2_E),
        (0.999_999_94, 1.000_000_1),
        (f32::MAX, f32::MAX),
        (f32::MAX, -f32::MAX),
        (f32::MIN, 2.0),
        (f32::MAX, 1.0),
        (1e30, 1e30),
        (f32::MIN_POSITIVE, 0.5),
        (f32::MIN_POSITIVE, -f32::MIN_POSITIVE),
        (1e-30, 1e-30),
        (1e-40, 1.0),
        (1e-40, -1e-40),
        (-1e-45, 2.0),
        (f32::INFINITY, 1.0),
        (1.0, f32::INFINITY),
        (f32::NEG_INFINITY, 2.0),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (f32::INFINITY, f32::NEG_INFINITY),
        (f32::NAN, 1.0),
        (1.0, f32::NAN),
        (f32::NAN, f32::INFINITY),
        (-150.0, f32::NAN),
    ];
    let mut pairs: Vec<[u32; 2]> = floats.map(|(a, b)| [a.to_bits(), b.to_bits()]).into();
    // NaN payloads, and integers at their ends.
    pairs.extend([
        [0xffc0_1234, 0x7f80_0001],
        [0xffff_ffff, 0xffff_ffff],
        [0x8000_0000, 31],
        [0x7fff_ffff, 1],
        [0xdead_beef, 0x0000_ffff],
        [3, 0xffff_fffe],
        [200, 253],
        [0xffff_ff00, 0xffff_ff20],
    ]);
    // Mantissas of all kinds at exponents from -20 to 20.
    let mut state = 0x2545_f491u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state & 0x807f_ffff) | ((107 + (state >> 20) % 41) << 23)
    };
    pairs.extend((0..80).map(|_| [next(), next()]));
    pairs
}

/// Judges an adapter's answers.
pub(crate) fn judge(answers: &Answers) -> (Vec<Finding>, Quirks, Option<String>) {
    let table = Table::new(&answers.arithmetic);
    let mut findings = Vec::new();
    // Without these nothing that the kernels compute can be relied on.
    let foundations: [(&str, Outcome, &str); 8] = [
        (
            "buffers",
            table.each("a word", |t, [u, _]| t.word(29) == u),
            "words do not come back from buffers as they were written",
        ),
        (
            "integers",
            table.integers(),
            "exponents are set and NaN is told by integer operations",
        ),
        (
            "bits of floats",
            table.bits(),
            "NaN and infinities are told by their bits",
        ),
        (
            "sums",
            table.each("a + b or a - b", |t, [u, v]| {
                near(t.word(0), u, v, |a, b| a + b) && near(t.word(10), u, v, |a, b| a - b)
            }),
            "every bound counts on correctly rounded sums",
        ),
        (
            "products",
            table.each("a * b", |t, [u, v]| near(t.word(3), u, v, |a, b| a * b)),
            "every bound counts on correctly rounded products",
        ),
        (
            "errors of sums",
            table.rests(),
            "sums are carried in two parts, which a compiler has merged",
        ),
        (
            "split products",
            table.splits(),
            "products are carried in two parts, which a compiler has merged",
        ),
        (
            "division",
            table.division(),
            "bounds are proved for quotients within 2.5 ULP, which is what WGSL promises",
        ),
    ];
    let mut broken: Option<String> = None;
    for (subject, outcome, meaning) in foundations {
        findings.push(match outcome {
            Ok(detail) => Finding::new(subject, Verdict::Right, detail),
            Err(wrong) => {
                broken.get_or_insert_with(|| format!("{subject}: {wrong}"));
                let detail = format!("{wrong}: {meaning}. No function runs on this adapter");
                Finding::new(subject, Verdict::Distrusted, detail)
            }
        });
    }
    // What these get wrong may matter to one function and not to another.
    let shared: [(&str, Outcome); 5] = [
        ("comparisons", table.comparisons()),
        ("signed zeros", table.zeros()),
        ("infinities", table.infinities()),
        ("saturation", table.saturation()),
        ("square root", table.roots()),
    ];
    for (subject, outcome) in shared {
        findings.push(match outcome {
            Ok(detail) => Finding::new(subject, Verdict::Right, detail),
            Err(wrong) => {
                let detail = format!("{wrong}. Each function's own known answers decide");
                Finding::new(subject, Verdict::Tolerated, detail)
            }
        });
    }
    findings.extend(table.properties());

    let barriers = together(answers);
    let loops = turns(answers.turns);
    let quirks = Quirks {
        barriers: barriers.is_err(),
        loops: loops.is_err(),
    };
    let around = [
        (
            "barriers",
            barriers,
            "No row is given to a workgroup, and parts of a row are merged by one invocation",
        ),
        ("long loops", loops, "Rows are cut so that no loop is long"),
    ];
    for (subject, outcome, workaround) in around {
        findings.push(match outcome {
            Ok(detail) => Finding::new(subject, Verdict::Right, detail),
            Err(wrong) => Finding::new(
                subject,
                Verdict::WorkedAround,
                format!("{wrong}. {workaround}"),
            ),
        });
    }
    findings.push(Finding::new(
        "subgroups",
        Verdict::Right,
        "not asked: no kernel uses them".to_owned(),
    ));
    (findings, quirks, broken)
}

/// The words of all pairs.
struct Table<'a> {
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    pair: [u32; 2],
    words: &'a [u32],
}

impl Row<'_> {
    fn word(&self, k: usize) -> u32 {
        self.words[k]
    }

    fn float(&self, k: usize) -> f32 {
        f32::from_bits(self.words[k])
    }

    fn floats(&self) -> [f32; 2] {
        self.pair.map(f32::from_bits)
    }

    /// Whether both are normal and far from both ends of f32, or 0.
    fn ordinary(&self) -> bool {
        self.floats()
            .iter()
            .all(|x| *x == 0.0 || (1e-18..1e18).contains(&x.abs()))
    }
}

impl<'a> Table<'a> {
    fn new(words: &'a [u32]) -> Self {
        let rows = pairs().into_iter().zip(words.chunks(WORDS));
        Self {
            rows: rows.map(|(pair, words)| Row { pair, words }).collect(),
        }
    }

    /// Whether every pair's answer is `right`; else the first that is not.
    fn each(&self, what: &str, right: impl Fn(&Row<'_>, [u32; 2]) -> bool) -> Outcome {
        for row in &self.rows {
            if !right(row, row.pair) {
                let [u, v] = row.pair;
                return Err(format!(
                    "{what} is wrong for a = {:e} ({u:#010x}), b = {:e} ({v:#010x})",
                    f32::from_bits(u),
                    f32::from_bits(v)
                ));
            }
        }
        Ok(format!("{} pairs as they must be", self.rows.len()))
    }

    /// The worst error of a result in ULP, over ordinary pairs.
    fn worst(&self, k: usize, exact: impl Fn(f64, f64) -> f64, promise: f64) -> Outcome {
        let mut worst = (0.0, 0.0f32, 0.0f32);
        for row in self.rows.iter().filter(|row| row.ordinary()) {
            let [a, b] = row.floats();
            let want = exact(a.into(), b.into());
            // 0 / 0 and x / 0 are asked of nobody.
            if !want.is_finite() {
                continue;
            }
            let ulp = ulp_error(row.float(k), want, 0.0);
            if ulp > worst.0 {
                worst = (ulp, a, b);
            }
        }
        let (ulp, a, b) = worst;
        if ulp <= promise {
            Ok(format!("within {ulp:.2} ULP; {promise} is promised"))
        } else {
            Err(format!(
                "{ulp:.2} ULP off at {a:e}, {b:e} where {promise} is promised"
            ))
        }
    }

    fn division(&self) -> Outcome {
        self.worst(8, |a, b| a / b, 2.5)
    }

    fn roots(&self) -> Outcome {
        // 1 / inversesqrt(x), which may be 2 ULP off, and its quotient 2.5.
        self.worst(9, |a, _| a.abs().sqrt(), 4.5)
    }

    fn integers(&self) -> Outcome {
        self.each("integer arithmetic", |t, [u, v]| {
            let shift = v & 31;
            let high = ((u64::from(u) * u64::from(v)) >> 32) as u32;
            let want = [
                u.wrapping_mul(v),
                u.wrapping_sub(v),
                u << shift,
                ((u as i32) >> shift) as u32,
                u >> shift,
                high,
                (u as i32).clamp(-126, 127) as u32,
            ];
            let a = f32::from_bits(u);
            let rounded = (a.clamp(-2e6, 2e6) + 0.5).floor();
            // Two factors, as the shader has them: each is a power of two with a normal exponent.
            let n = (v as i32).clamp(-252, 254);
            let power = 1.5 * 2f64.powi(n);
            t.words[19..26] == want
                && (a.is_nan() || t.word(26) == rounded as i32 as u32)
                && ulp_error(t.float(27), power, 0.0) == 0.0
        })
    }

    fn bits(&self) -> Outcome {
        self.each("a test of bits", |t, [u, v]| {
            let a = f32::from_bits(u);
            let moderate = (2f32.powi(-96)..2f32.powi(96)).contains(&a.abs());
            let told =
                u32::from(a.is_nan()) | u32::from(a.is_infinite()) << 1 | u32::from(moderate) << 7;
            // The parts are integers but for the shuffle of one float, which may become 0 or
            // another NaN.
            let same = |got: u32, want: u32| near(got, want, want, |a, _| a);
            t.word(12) & 0x83 == told && same(t.word(15), if u <= v { u } else { v })
        })
    }

    fn rests(&self) -> Outcome {
        self.each("the rounding error of a + b", |t, _| {
            let [a, b] = t.floats();
            !t.ordinary() || f64::from(t.float(1)) == two_sum(a, b)
        })
    }

    fn splits(&self) -> Outcome {
        self.each("the split of a sum or a product", |t, _| {
            let [a, b] = t.floats().map(f64::from);
            let close = |k: usize, want: f64, allowed: f64| {
                let parts = f64::from(t.float(k)) + f64::from(t.float(k + 1));
                (parts - want).abs() <= allowed
            };
            // Of a difference the parts are as exact as the larger number.
            let sum = if a * b < 0.0 {
                a.abs().max(b.abs()) * 2f64.powi(-23)
            } else {
                (a + b).abs() * 2f64.powi(-32)
            };
            let short = t.word(6) & 0xfff == 0;
            let product = (a * b).abs() * 2f64.powi(-32);
            !t.ordinary() || (short && close(4, a * b, product) && close(6, a + b, sum))
        })
    }

    fn comparisons(&self) -> Outcome {
        self.each("a comparison", |t, [u, v]| {
            let tells = |a: f32, b: f32| {
                u32::from(a < b) << 2
                    | u32::from(a > b) << 3
                    | u32::from(a == b) << 4
                    | u32::from(a <= b) << 5
                    | u32::from(a >= b) << 6
            };
            let [a, b] = t.floats();
            let told = t.word(12) & 0x7c;
            let kept =
                |k: usize, changed: bool| near(t.word(k), u, v, |a, b| if changed { b } else { a });
            let order = [(a, b), (flush(a), b), (a, flush(b)), (flush(a), flush(b))];
            order
                .iter()
                .any(|&(a, b)| told == tells(a, b) && kept(13, a > b) && kept(14, a < b))
        })
    }

    fn zeros(&self) -> Outcome {
        self.each("a sign of zero", |t, [u, _]| {
            let [a, b] = t.floats();
            let signs = (u & 0x8000_0000) | (1f32.copysign(b).to_bits() >> 1);
            let negated = t.word(18) == u ^ 0x8000_0000 || a.is_nan() || a.is_subnormal();
            // Sums of zeros alone have signs that nothing else explains.
            let zeros = a == 0.0 && b == 0.0;
            let sum = !zeros || t.word(0) == (a + b).to_bits();
            let product = !zeros || t.word(3) == (a * b).to_bits();
            t.word(17) == signs && negated && sum && product
        })
    }

    fn infinities(&self) -> Outcome {
        self.each("arithmetic with an infinity", |t, _| {
            let [a, b] = t.floats();
            let extreme = |x: f32| !x.is_finite();
            let same = |k: usize, want: f32| {
                !extreme(want)
                    || t.word(k) == want.to_bits()
                    || (want.is_nan() && t.float(k).is_nan())
            };
            same(0, a + b) && same(3, a * b)
        })
    }

    fn saturation(&self) -> Outcome {
        self.each("e^a", |t, _| {
            let [a, _] = t.floats();
            // Past 120 powers of two at either end the kernels' own exponential ends by itself.
            let want = libm::exp(f64::from(a).clamp(-170.0, 170.0));
            a.is_nan() || ulp_error(t.float(28), want, 0.0) <= 2.0
        })
    }

    /// What is worth knowing and nothing depends on.
    fn properties(&self) -> Vec<Finding> {
        let ordinary = || self.rows.iter().filter(|row| row.ordinary());
        let contracted = ordinary().any(|row| row.float(11) != 0.0);
        let kept = ordinary().all(|row| {
            let [a, b] = row.floats();
            f64::from(row.float(2)) == two_sum(a, b)
        });
        let drops = self.rows.iter().any(|row| {
            let [a, b] = row.floats();
            (a.is_nan() || b.is_nan()) && !row.float(16).is_nan()
        });
        let subnormal = self.rows.iter().filter(|row| {
            let [a, b] = row.floats();
            (a + b).is_subnormal() || (a * b).is_subnormal()
        });
        let flushed = subnormal.clone().any(|row| {
            let [a, b] = row.floats();
            (a + b).is_subnormal() && row.float(0) == 0.0
                || (a * b).is_subnormal() && row.float(3) == 0.0
        });
        let either = |is: bool, yes: &str, no: &str| if is { yes } else { no }.to_owned();
        [
            (
                "contraction",
                either(
                    contracted,
                    "a * b + c is made an fma",
                    "a * b + c is rounded twice",
                ),
            ),
            (
                "order of sums",
                either(
                    kept,
                    "kept by the compiler",
                    "changed by the compiler where nothing hides it; the kernels hide it",
                ),
            ),
            (
                "built-in max",
                either(drops, "drops NaN; no kernel uses it", "keeps NaN"),
            ),
            ("subnormals", either(flushed, "flushed to zero", "kept")),
        ]
        .map(|(subject, detail)| Finding::new(subject, Verdict::Right, detail))
        .into()
    }
}

/// Whether `got` is the result for these bits, or for one where a subnormal became 0 on its way.
fn near(got: u32, u: u32, v: u32, f: impl Fn(f32, f32) -> f32) -> bool {
    let [a, b] = [u, v].map(f32::from_bits);
    let got = f32::from_bits(got);
    [(a, b), (flush(a), b), (a, flush(b)), (flush(a), flush(b))]
        .iter()
        .map(|&(a, b)| f(a, b))
        .any(|want| {
            got == want
                || got == flush(want)
                || (got.is_nan() && want.is_nan())
                || !want.is_finite()
        })
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0 } else { x }
}

/// a + b less its rounded self; exact, since f64 holds sums of ordinary numbers' parts.
fn two_sum(a: f32, b: f32) -> f64 {
    let s = a + b;
    let c = s - a;
    f64::from((a - (s - c)) + (b - c))
}

/// Whether every invocation has what the barriers should have brought to it.
fn together(answers: &Answers) -> Outcome {
    let width = answers.workgroup as usize;
    for (group, got) in answers.together.chunks(width).enumerate() {
        let mut values: Vec<u32> = (0..width).map(|i| (group * width + i) as u32).collect();
        for _ in 0..8 {
            values.iter_mut().for_each(|v| *v = step(*v));
            let mut tree = values.clone();
            let mut end = width;
            while end > 1 {
                let half = end.div_ceil(2);
                for i in 0..end - half {
                    tree[i] ^= tree[i + half].wrapping_mul(9);
                }
                end = half;
            }
            values.iter_mut().for_each(|v| *v ^= tree[0]);
        }
        if got != values {
            return Err(format!(
                "workgroups of {width} lose what was written to workgroup memory before a barrier"
            ));
        }
    }
    Ok(format!(
        "{GROUPS} workgroups of {width} agree over 8 reductions"
    ))
}

/// Knuth's and Lewis' generator, as the shader has it.
fn step(value: u32) -> u32 {
    value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

fn turns([count, value, end]: [u32; 3]) -> Outcome {
    let want = (0..TURNS).fold(0, |value, _| step(value));
    if (count, value, end) == (TURNS, want, 1) {
        Ok(format!("{TURNS} turns"))
    } else if end != 1 {
        Err(format!("a shader ends in a loop of {TURNS} turns"))
    } else {
        Err(format!("a loop of {TURNS} turns ends after {count}"))
    }
}
