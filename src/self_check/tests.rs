//! The judges without a device: right answers pass, and every wrong word is seen.

use super::answers::{GUARD, INPUTS, inputs, judge};
use super::probes::{Answers, GROUPS, TURNS, WORDS, pairs};
use super::*;
use crate::reference;

fn leading(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xffff_f000)
}

/// What an adapter of IEEE arithmetic without fusion answers to a pair.
fn answers_to([u, v]: [u32; 2]) -> [u32; WORDS] {
    let (a, b) = (f32::from_bits(u), f32::from_bits(v));
    let shift = v & 31;
    let two_sum = {
        let s = a + b;
        let c = s - a;
        (a - (s - c)) + (b - c)
    };
    let (ah, bh) = (leading(a), leading(b));
    let hi = leading(a + b);
    let (large, small) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    let magnitude = a.abs();
    let told = [
        a.is_nan(),
        a.is_infinite(),
        a < b,
        a > b,
        a == b,
        a <= b,
        a >= b,
        (2f32.powi(-96)..2f32.powi(96)).contains(&magnitude),
    ];
    let told = told.iter().enumerate();
    let scaled = 1.5 * 2f64.powi((v as i32).clamp(-252, 254));
    let floats = [
        a + b,
        two_sum,
        two_sum,
        a * b,
        ah * bh,
        ah * (b - bh) + (a - ah) * b,
        hi,
        (large - hi) + small,
        a / b,
        magnitude.sqrt(),
        a - b,
        0.0,
    ];
    let mut words = [0; WORDS];
    for (word, float) in words.iter_mut().zip(floats) {
        *word = float.to_bits();
    }
    words[12..].copy_from_slice(&[
        told.map(|(i, &is)| u32::from(is) << i).sum(),
        if a > b { v } else { u },
        if a < b { v } else { u },
        if u <= v { u } else { v },
        // One that drops NaN.
        a.max(b).to_bits(),
        (u & 0x8000_0000) | (1f32.copysign(b).to_bits() >> 1),
        u ^ 0x8000_0000,
        u.wrapping_mul(v),
        u.wrapping_sub(v),
        u << shift,
        ((u as i32) >> shift) as u32,
        u >> shift,
        ((u64::from(u) * u64::from(v)) >> 32) as u32,
        (u as i32).clamp(-126, 127) as u32,
        (a.clamp(-2e6, 2e6) + 0.5).floor() as i32 as u32,
        (scaled as f32).to_bits(),
        (libm::exp(a.into()) as f32).to_bits(),
        u,
    ]);
    words
}

fn step(value: u32) -> u32 {
    value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

fn ideal() -> Answers {
    let workgroup = 7;
    let mut together = Vec::new();
    for group in 0..GROUPS {
        let mut values: Vec<u32> = (0..workgroup).map(|i| group * workgroup + i).collect();
        for _ in 0..8 {
            values.iter_mut().for_each(|value| *value = step(*value));
            // 7 fold to 4, to 2, to 1.
            let mut t = values.clone();
            for (low, high) in [(0, 4), (1, 5), (2, 6), (0, 2), (1, 3), (0, 1)] {
                t[low] ^= t[high].wrapping_mul(9);
            }
            values.iter_mut().for_each(|value| *value ^= t[0]);
        }
        together.extend(values);
    }
    Answers {
        arithmetic: pairs().into_iter().flat_map(answers_to).collect(),
        together,
        workgroup,
        turns: [TURNS, (0..TURNS).fold(0, |value, _| step(value)), 1],
    }
}

#[test]
fn right_answers_pass() {
    let (findings, quirks, broken) = probes::judge(&ideal());
    let right = |finding: &Finding| finding.verdict == Verdict::Right;
    assert!(findings.iter().all(right), "{findings:#?}");
    assert_eq!((quirks, broken), (Quirks::default(), None));
}

/// Each word of each answer matters to a finding: its verdict, or what is told.
#[test]
fn wrong_answers_are_seen() {
    let ideal = ideal();
    let (good, ..) = probes::judge(&ideal);
    for word in 0..WORDS {
        let mut seen = 0;
        for pair in (0..pairs().len()).rev() {
            if seen > 0 {
                break;
            }
            let mut spoiled = ideal.clone();
            let at = pair * WORDS + word;
            // The leading bits of a number and the last of an integer; or nothing.
            for other in [spoiled.arithmetic[at] ^ 0x4040_0001, 0] {
                spoiled.arithmetic[at] = other;
                let (findings, ..) = probes::judge(&spoiled);
                seen += usize::from(findings != good);
            }
        }
        // What only the whole tells: nothing is a number.
        let mut spoiled = ideal.clone();
        for words in spoiled.arithmetic.chunks_mut(WORDS) {
            words[word] = 0x7fc0_0000;
        }
        let (findings, ..) = probes::judge(&spoiled);
        seen += usize::from(findings != good);
        assert!(seen > 0, "word {word} is never looked at");
    }

    let subjects = |verdict| {
        move |findings: &[Finding]| {
            let of = findings.iter().filter(|f| f.verdict == verdict);
            of.map(|f| f.subject.clone()).collect::<Vec<_>>()
        }
    };
    // The last of the pairs is ordinary.
    let last = ideal.arithmetic.len() - WORDS;
    for (word, subject) in [
        (0, "sums"),
        (1, "errors of sums"),
        (3, "products"),
        (5, "split products"),
        (7, "split products"),
        (8, "division"),
        (12, "bits of floats"),
        (19, "integers"),
        (29, "buffers"),
    ] {
        let mut spoiled = ideal.clone();
        // A part's last bits are beyond what it is held to.
        let part = matches!(word, 5 | 7);
        spoiled.arithmetic[last + word] ^= if part { 0x40_0000 } else { 0x81 };
        let (findings, _, broken) = probes::judge(&spoiled);
        assert_eq!(subjects(Verdict::Distrusted)(&findings), [subject]);
        assert!(broken.is_some_and(|reason| reason.contains(subject)));
    }
    for (word, subject) in [(9, "square root"), (13, "comparisons"), (28, "saturation")] {
        let mut spoiled = ideal.clone();
        spoiled.arithmetic[last + word] ^= 0x81;
        let (findings, _, broken) = probes::judge(&spoiled);
        assert_eq!(subjects(Verdict::Tolerated)(&findings), [subject]);
        assert_eq!(broken, None);
    }

    for place in [0, 6, 7, ideal.together.len() - 1] {
        let mut spoiled = ideal.clone();
        spoiled.together[place] ^= 1;
        let (findings, quirks, _) = probes::judge(&spoiled);
        assert!(quirks.barriers);
        assert_eq!(subjects(Verdict::WorkedAround)(&findings), ["barriers"]);
    }
    for turns in [[65_535, 1, 1], [u32::MAX; 3], [TURNS, 0, 1]] {
        let spoiled = Answers {
            turns,
            ..ideal.clone()
        };
        let (findings, quirks, _) = probes::judge(&spoiled);
        assert!(quirks.loops);
        assert_eq!(subjects(Verdict::WorkedAround)(&findings), ["long loops"]);
    }
}

/// An adapter may flush subnormals on any way, and lose signs of zeros that flushed.
#[test]
fn flushed_subnormals_pass() {
    let mut flushed = ideal();
    let floats = [0, 3, 13, 14];
    for (pair, words) in pairs().iter().zip(flushed.arithmetic.chunks_mut(WORDS)) {
        for k in floats {
            if f32::from_bits(words[k]).is_subnormal() {
                words[k] = 0;
            }
        }
        let [a, b] = pair.map(f32::from_bits);
        if (a + b).is_subnormal() {
            words[0] = 0;
        }
    }
    let (findings, ..) = probes::judge(&flushed);
    let right = |finding: &Finding| finding.verdict == Verdict::Right;
    assert!(findings.iter().all(right), "{findings:#?}");
    assert!(findings.iter().any(|f| f.detail.contains("flushed")));
}

/// The reference's own results, and the guard behind them.
fn exact(question: Question) -> (answers::Inputs, Vec<u32>) {
    let inputs = inputs(question, true);
    let results: Vec<f64> = match question {
        Question::Elementwise(activation, direction) => {
            let f = activation.into();
            let of = |&x: &f32| match direction {
                Direction::Forward => reference::forward(&f, x.into()),
                _ => reference::backward(&f, x.into()),
            };
            inputs.x.iter().map(of).collect()
        }
        Question::Axis(function, Direction::Forward, _) => {
            reference::axis_forward(function, &inputs.x, &inputs.shape)
        }
        Question::Axis(function, Direction::Backward, _) => {
            reference::axis_backward(function, &inputs.x, &inputs.dy, &inputs.shape).0
        }
        // y (g - y . g), by another order of the sum.
        Question::Axis(function, Direction::FromOutput, _) => {
            let rows = inputs
                .x
                .chunks(inputs.shape.len)
                .zip(inputs.dy.chunks(inputs.shape.len));
            let sign = if function == AxisFunction::Softmin {
                -1.0
            } else {
                1.0
            };
            rows.flat_map(|(y, g)| {
                let terms = y.iter().zip(g).rev();
                let dot: f64 = terms.map(|(y, g)| f64::from(*y) * f64::from(*g)).sum();
                let of = move |(y, g): (&f32, &f32)| sign * f64::from(*y) * (f64::from(*g) - dot);
                y.iter().zip(g).map(of).collect::<Vec<_>>()
            })
            .collect()
        }
    };
    assert_eq!(results.len(), inputs.results, "{question}");
    let words = results
        .into_iter()
        .map(|y| (y as f32).to_bits())
        .chain(GUARD);
    (inputs, words.collect())
}

#[test]
fn every_question_has_answers_and_objects_to_others() {
    let all = Question::all();
    assert!(all.len() > 2 * Activation::ALL.len());
    for question in all {
        let (inputs, words) = exact(question);
        assert!(inputs.x.len() >= INPUTS, "{question}");
        let judged = judge(question, &inputs, &words);
        assert!(judged.is_ok(), "{question}: {judged:?}");
        // Zeros, a NaN that is not there, a NaN that is missing, a result of the wrong size.
        let wrong: [&dyn Fn(usize, f32) -> f32; 4] = [
            &|_, _| 0.0,
            &|i, y| if i == 20 { f32::NAN } else { y },
            &|_, y| if y.is_nan() { 1.0 } else { y },
            &|_, y| y * 1.0001,
        ];
        for (k, spoil) in wrong.iter().enumerate() {
            let mut spoiled = words.clone();
            for (i, word) in spoiled[..inputs.results].iter_mut().enumerate() {
                *word = spoil(i, f32::from_bits(*word)).to_bits();
            }
            // The constant functions' gradients are all 0, and rows of outputs have no NaN.
            let same = spoiled == words;
            let judged = judge(question, &inputs, &spoiled);
            assert!(judged.is_err() || same, "{question}, {k}: {judged:?}");
        }
        let mut spoiled = words.clone();
        spoiled[inputs.results] ^= 1;
        let judged = judge(question, &inputs, &spoiled);
        assert!(
            judged.is_err_and(|why| why.contains("behind the end")),
            "{question}"
        );
    }
}
