// Binary cross entropy of an element, of logits or of probabilities, and its slope by it.

// w (p t log(1 + e^-x) + (1 - t) log(1 + e^x)).
fn logit_loss(x: f32, t: f32, w: f32, p: f32) -> Wide {
    let on = times(wide(p), wide(t));
    let off = wide(1.0 - t);
    if abs(x) > FAR {
        let tail = wide_exp(-abs(x));
        if x > 0.0 {
            return times(wide(w), plus(times(off, wide(x)), times(on, tail)));
        }
        return times(wide(w), plus(times(on, wide(-x)), times(off, tail)));
    }
    let tail = log1p_exp(-abs(x), 0.0);
    let up = wide(at_least(x, 0.0) + tail);
    let down = wide(at_least(-x, 0.0) + tail);
    return times(wide(w), plus(times(on, down), times(off, up)));
}

// w ((1 - t) / (1 + e^-x) - p t / (1 + e^x)).
fn logit_slope(x: f32, t: f32, w: f32, p: f32) -> Wide {
    var on = times(wide(-p), wide(t));
    var off = wide(1.0 - t);
    if abs(x) > FAR {
        let tail = wide_exp(-abs(x));
        if x > 0.0 {
            on = times(on, tail);
        } else {
            off = times(off, tail);
        }
    } else {
        on = times(on, wide(sigmoid_sum(-x, 0.0)));
        off = times(off, wide(sigmoid_sum(x, 0.0)));
    }
    return times(wide(w), plus(off, on));
}

// The least that a logarithm of a probability is taken for, and what the denominator of the
// gradient is at least: PyTorch's.
const LEAST_LOG: f32 = -100.0;
const LEAST_DENOMINATOR: f32 = 1e-12;

// log(p), at least -100, for p in [0, 1].
fn clamped_log(p: f32) -> f32 {
    // Below this the logarithm's argument could be subnormal: taken 2^64 up.
    let small = p < 1e-30;
    let log = log_positive(select(p, p * 18446744073709551616.0, small)) - select(0.0, 44.3614196, small);
    return select(at_least(log, LEAST_LOG), LEAST_LOG, p < 1e-43);
}

// log(1 - p), at least -100, for p in [0, 1].
fn clamped_log_rest(p: f32) -> f32 {
    let rest = 1.0 - p;
    let lost = settled(1.0 - rest) - p;
    let far = log_positive(at_least(rest, 1e-30)) + lost / at_least(rest, 1e-30);
    let f = at_least(-p, -0.28);
    return select(select(far, f + log1p_rest(f), p < 0.28), LEAST_LOG, rest <= 0.0);
}

// -w (t log(p) + (1 - t) log(1 - p)).
fn probability_loss(p: f32, t: f32, w: f32) -> Wide {
    let loss = -(t * clamped_log(p) + (1.0 - t) * clamped_log_rest(p));
    return times(wide(w), where_probability(p, wide(loss)));
}

// w (p - t) / (p (1 - p)).
fn probability_slope(p: f32, t: f32, w: f32) -> Wide {
    let slope = quotient(p - t, at_least(p * (1.0 - p), LEAST_DENOMINATOR));
    return times(wide(w), where_probability(p, wide(slope)));
}
