// Sigmoid focal loss of an element (Lin et al. 2017), and its slope by it.
//
// With e = e^-|x|, s the target's share of the class that the logit's sign speaks against and r = 1 - s,
// binary cross entropy is B = s |x| + log(1 + e), and the probability that is missing from the target
// q = (s + r e) / (1 + e). The loss is A B q^gamma with A = alpha t + (1 - alpha) (1 - t). A power takes the
// errors of a logarithm gamma times, so that log q is made in two parts.

// From here on e is taken as m 2^n alone: the parts of a smaller one come near 2^-126, below which devices flush.
const REMOTE: f32 = 55.0;
// Below this both terms of s + r e are taken 2^LIFT up.
const SMALL: f32 = 1e-12;
const LIFT: i32 = 64;

struct Focal {
    // B: in one part where it is too far, else in two.
    entropy: Wide,
    entropy_parts: vec2<f32>,
    // q^gamma.
    power: Scaled,
    // (1 + e) B', but for its sign; in the same way.
    rise: Wide,
    rise_parts: vec2<f32>,
    // (1 + e) q' / q, but for the same sign.
    growth: vec2<f32>,
    // 1 + e, of which the first part has 12 bits.
    above: vec2<f32>,
    is_far: bool,
}

// a + b in two parts, the first of which is the sum.
fn parts_of_sum(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let hi = settled(a.x + b.x);
    let larger = select(b.x, a.x, abs(a.x) >= abs(b.x));
    let rest = settled(settled(larger - hi) + other_of(a.x, b.x, larger));
    let lo = rest + (a.y + b.y);
    let whole = settled(hi + lo);
    return vec2<f32>(whole, settled(hi - whole) + lo);
}

// a * b in two parts, or in one where a part could be flushed.
fn product_parts(a: f32, b: f32) -> vec2<f32> {
    let exact = is_moderate(a) & is_moderate(b) & is_moderate(a * b);
    return select(vec2<f32>(a * b, 0.0), product(a, b), exact);
}

// gamma (hi + lo) as an exponent.
fn power_of(base: vec2<f32>, gamma: f32) -> Scaled {
    let g = split(gamma);
    let hi = settled(base.x * g.x);
    let lo = base.x * g.y + base.y * gamma;
    // Past this the rest may be NaN, and is none.
    return exp_far(hi, select(0.0, lo, hi > -390.0));
}

fn focal(x: f32, t: f32, gamma: f32) -> Focal {
    let against = x >= 0.0;
    let rest = settled(1.0 - t);
    let rest_lo = settled(1.0 - rest) - t;
    let s = vec2<f32>(select(t, rest, against), select(0.0, rest_lo, against));
    let r = vec2<f32>(other_of(t, rest, s.x), other_of(0.0, rest_lo, s.y));
    let a = abs(x);
    // e in two parts, (m + m_lo) 2^n: what its logarithm misses is what it misses.
    let far = exp_far(-a, 0.0);
    let m = 1.0 + far.q;
    let n = f32(far.n);
    let log_m = log_parts(m, 0.0);
    let reached = at_most(a, 400.0);
    let missed = settled(settled(-reached - n * LN2_HI) - log_m.x) - (log_m.y + n * LN2_LO);
    let e = vec2<f32>(m, m * missed);
    let tail = Wide(m, far.n);
    // 1 + e and its logarithm.
    let down = max(far.n, -126);
    let near = vec2<f32>(scale(e.x, down), scale(e.y, down));
    let whole = parts_of_sum(vec2<f32>(1.0, 0.0), near);
    let log_whole = log_parts(whole.x, whole.y);
    // log(s + r e); without a share it is that of e.
    let up = select(0, LIFT, (s.x < SMALL) & (near.x < SMALL));
    let lifted = normalised(s.x);
    let share = vec2<f32>(scale(lifted.m, lifted.n + up), s.y * pow2(up));
    let way = max(far.n + up, -126);
    let reach = select(1.0, 0.0, far.n + up < -126);
    let part = times_parts(split(r.x), narrowed(e.x, e.y));
    let beside = vec2<f32>(scale(part.x, way), scale(part.y + r.y * e.x, way)) * reach;
    let total = parts_of_sum(share, beside);
    // By bits: a device that flushes takes a subnormal number for 0.
    let alone = (bitcast<u32>(s.x) << 1u) == 0u;
    let log_total = log_parts(select(total.x, 1.0, alone), select(total.y, 0.0, alone));
    let lift = f32(up);
    let lowered = parts_of_sum(log_total, vec2<f32>(-lift * LN2_HI, -lift * LN2_LO));
    let log_top = vec2<f32>(select(lowered.x, -reached, alone), select(lowered.y, 0.0, alone));
    let log_q = parts_of_sum(log_top, -log_whole);
    let base = narrowed(log_q.x, log_q.y);
    // s |x| + log(1 + e).
    let distance = product_parts(s.x, a);
    let exact = is_moderate(s.x) & is_moderate(a);
    let grown = vec2<f32>(distance.x, distance.y + select(0.0, s.y * a, exact));
    let entropy_far = plus(times(wide(s.x), wide(a)), tail);
    // s - r e, and (s - r) e / (s + r e).
    let back = times_parts(split(r.x), narrowed(near.x, near.y));
    let rise_far = plus(wide(s.x), times(wide(-r.x), tail));
    let below = narrowed(select(total.x, 1.0, alone), total.y);
    let top = vec2<f32>(scale(e.x, way), scale(e.y, way)) * reach;
    let over = quotient_parts(top.x, top.y, below.x, below.y);
    let ahead = parts_of_sum(s, -r);
    let grows = times_parts(narrowed(over.x, over.y), narrowed(ahead.x, ahead.y));
    var f: Focal;
    // As long as s |x| leads it outlives e.
    f.is_far = (a > REMOTE) & !(exact & (grown.x > 1e-20));
    f.entropy_parts = parts_of_sum(grown, log_whole);
    f.entropy = entropy_far;
    f.power = power_of(base, gamma);
    f.rise_parts = parts_of_sum(s, vec2<f32>(-back.x, -(back.y + r.y * near.x)));
    f.rise = rise_far;
    f.growth = select(grows, ahead, alone);
    f.above = narrowed(whole.x, whole.y);
    return f;
}

// alpha t + (1 - alpha) (1 - t); p0 and p1 are the weights of targets 1 and 0.
fn balance(t: f32) -> vec2<f32> {
    let rest = settled(1.0 - t);
    let on = product_parts(uniforms.p0, t);
    let off = product_parts(uniforms.p1, rest);
    return parts_of_sum(on, vec2<f32>(off.x, off.y + uniforms.p1 * (settled(1.0 - rest) - t)));
}

// hi + lo = (m + m_lo) 2^n, of which m has 12 bits.
struct Parts {
    m: vec2<f32>,
    n: i32,
}

fn normal_parts(v: vec2<f32>) -> Parts {
    let hi = normalised(v.x);
    return Parts(narrowed(hi.m, scale(v.y, clamp(-hi.n, -252, 254))), hi.n);
}

// The balance times v times the power, rounded once.
fn weighed(v: vec2<f32>, t: f32, power: Scaled) -> Wide {
    let a = normal_parts(balance(t));
    let b = normal_parts(v);
    let p = times_parts(a.m, b.m);
    return Wide(p.x + (p.y + (p.x + p.y) * power.q), a.n + b.n + power.n);
}

// The same of a v in one part; infinity stays.
fn weighed_far(v: Wide, t: f32, power: Scaled) -> Wide {
    let a = times(wide(balance(t).x), v);
    return Wide(select(a.m + a.m * power.q, a.m, is_inf(a.m)), a.n + power.n);
}

fn focal_loss(x: f32, t: f32, w: f32) -> Wide {
    let f = focal(x, t, uniforms.p2);
    var value: Wide;
    if f.is_far {
        value = weighed_far(f.entropy, t, f.power);
    } else {
        value = weighed(f.entropy_parts, t, f.power);
    }
    return times(wide(w), where_probability(t, value));
}

fn focal_slope(x: f32, t: f32, w: f32) -> Wide {
    let f = focal(x, t, uniforms.p2);
    var value: Wide;
    if f.is_far {
        let more = times(times(wide(uniforms.p2), f.entropy), wide(f.growth.x + f.growth.y));
        value = weighed_far(plus(f.rise, more), t, f.power);
    } else {
        let more = times_parts(split(uniforms.p2), narrowed(f.entropy_parts.x, f.entropy_parts.y));
        let all = times_parts(narrowed(more.x, more.y), narrowed(f.growth.x, f.growth.y));
        let both = parts_of_sum(f.rise_parts, all);
        let scaled = normal_parts(both);
        let slope = quotient_parts(scaled.m.x, scaled.m.y, f.above.x, f.above.y);
        value = weighed(slope, t, f.power);
        value.n += scaled.n;
    }
    value.m = negated_if(value.m, x < 0.0);
    return times(wide(w), where_probability(t, value));
}
