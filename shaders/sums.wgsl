// What rows.wgsl divides, for softmax and its kin: a row is reduced to a maximum m and sums over
// weights e^(x - m). The composer supplies
//   load_x(at, stride, count)    eight elements as PARTS units of UNIT: unit j, from the binding's
//                                first, is at + min(j, count - 1) stride
//   load_dy(at, stride, count)   the same of the upstream gradient
//   store_out(at, stride, count, y)   writes the first `count` units of eight results
// and the kind
//   keep_eight(line, k, step, count)  which of eight elements take part, as bits: element j is
//                                k + spot(j, step, count)
//   Value, value_at(line, k, at, x, kept)  the value of element k, which is x, at `at` behind the
//                                binding's first
//   high(v), low(v)              a value as an f32, close enough to be a maximum; what that lacks
//   value_of_row(r), flat(m)     a row's maximum as a value; an f32 as a value
//   higher_value(a, b)           the larger of two; a NaN may be lost
//   same(a, b)                   whether two values are one
//   end_of(line, end)            where the units that take part end
//   weight(v, m)                 e^(v - m)
//   weight_from(v, m)            the same relative to a reference
//   dot_term(g, w)               the second sum's term
// and the constants
//   FROM_OUTPUT   weights are the elements themselves: there is no maximum
//   EXACT_MAX     the maximum is looked for before the sums, for a logarithm to follow
//   DOTS          there is a second sum, not with EXACT_MAX
//   DOTS_SCALED   its terms have the weight as a factor
//   MASKED        elements may take no part
// Conditions are joined by | and &: the other two become branches, which cost a third of the time
// on a software adapter. So do tests for NaN: one makes the sum of its eight NaN, where it is seen.

// What a row's elements are reduced to.
struct Row {
    // What is close below the maximum; with EXACT_MAX the maximum.
    max: f32,
    // NAN_SEEN where an element was NaN; KEPT_SEEN where one was there.
    seen: f32,
    // Sum of the weights e^(x - max). With EXACT_MAX without one of the largest, which is the 1 in
    // log(1 + ...): so small logarithms keep their precision.
    sum: f32,
    // The second sum; with EXACT_MAX what `max` lacks of the maximum.
    dot: f32,
}

// What was seen of a row; the larger wins. KEPT_SEEN is kept where elements may take no part.
const KEPT_SEEN: f32 = 1.0;
const NAN_SEEN: f32 = 2.0;

// A share while it is read: the sums are of e^(x - reference), and the reference follows the
// maximum only where that runs away, because every move rounds the sums.
struct Running {
    reference: f32,
    seen: f32,
    total: Sum,
    dots: Sum,
    // With EXACT_MAX: how often the maximum was met.
    tops: f32,
}

// How far an element may lie above the reference: e^16 times 2^32 elements stay far inside f32.
const HEADROOM: f32 = 16.0;
// Units of the eight elements that are read at a time.
const PARTS: u32 = 8u / UNIT;

alias Eight = array<f32, 8>;

// Element j of eight, behind the first of them; of units that are not there, one that is.
fn spot(j: u32, step: u32, count: u32) -> u32 {
    return min(j / UNIT, count - 1u) * step * UNIT + j % UNIT;
}

fn bit(bits: u32, n: u32) -> bool {
    return (bits & (1u << n)) != 0u;
}

// Eight elements, their values, and where the first of them is behind the binding's first element.
struct Turn {
    x: Eight,
    values: array<Value, 8>,
    at: u32,
}

// Units u, u + step, ... of a row, `count` of them.
fn turn_at(line: Line, u: u32, step: u32, count: u32, kept: u32) -> Turn {
    let inner = uniforms.inner;
    let at = line.start + u * UNIT * inner;
    let k = u * UNIT;
    let x = load_x((uniforms.x_first + at) / UNIT, step * inner, count);
    let s = array<u32, 8>(
        0u, spot(1u, step, count), spot(2u, step, count), spot(3u, step, count),
        spot(4u, step, count), spot(5u, step, count), spot(6u, step, count), spot(7u, step, count));
    let values = array<Value, 8>(
        value_at(line, k, at, x[0], bit(kept, 0u)),
        value_at(line, k + s[1], at + s[1] * inner, x[1], bit(kept, 1u)),
        value_at(line, k + s[2], at + s[2] * inner, x[2], bit(kept, 2u)),
        value_at(line, k + s[3], at + s[3] * inner, x[3], bit(kept, 3u)),
        value_at(line, k + s[4], at + s[4] * inner, x[4], bit(kept, 4u)),
        value_at(line, k + s[5], at + s[5] * inner, x[5], bit(kept, 5u)),
        value_at(line, k + s[6], at + s[6] * inner, x[6], bit(kept, 6u)),
        value_at(line, k + s[7], at + s[7] * inner, x[7], bit(kept, 7u)));
    return Turn(x, values, at);
}

// The bits of those of eight elements that are there and take part.
fn kept_at(line: Line, u: u32, step: u32, count: u32) -> u32 {
    let there = (1u << (count * UNIT)) - 1u;
    return keep_eight(line, u * UNIT, step, count) & there;
}

fn highest(v: array<Value, 8>) -> Value {
    return higher_value(
        higher_value(higher_value(v[0], v[1]), higher_value(v[2], v[3])),
        higher_value(higher_value(v[4], v[5]), higher_value(v[6], v[7])));
}

fn pairs(v: Eight) -> f32 {
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// The running share with eight elements more; `top` is the maximum where EXACT_MAX.
fn with_turn(running: Running, line: Line, top: Value, u: u32, step: u32, count: u32) -> Running {
    var r = running;
    let kept = kept_at(line, u, step, count);
    if MASKED {
        // Masks come in stretches.
        if kept == 0u {
            return r;
        }
        r.seen = max(r.seen, KEPT_SEEN);
    }
    let t = turn_at(line, u, step, count, kept);
    let v = t.values;
    if !FROM_OUTPUT & !EXACT_MAX {
        let most = high(highest(v));
        if most > r.reference + HEADROOM {
            let m = snapped(most);
            let w = exp_from(r.reference, 0.0, reference_of(m));
            r.total = Sum(r.total.value * w, r.total.lost * w);
            if DOTS_SCALED {
                r.dots = Sum(r.dots.value * w, r.dots.lost * w);
            }
            r.reference = m;
        }
    }
    let m = reference_of(r.reference);
    let e = Eight(
        term(v[0], m, top), term(v[1], m, top), term(v[2], m, top), term(v[3], m, top),
        term(v[4], m, top), term(v[5], m, top), term(v[6], m, top), term(v[7], m, top));
    let eight = pairs(e);
    r.seen = select(r.seen, NAN_SEEN, is_nan(eight));
    r.total = add(r.total, eight);
    if EXACT_MAX {
        r.tops += pairs(Eight(
            is_top(v[0], top), is_top(v[1], top), is_top(v[2], top), is_top(v[3], top),
            is_top(v[4], top), is_top(v[5], top), is_top(v[6], top), is_top(v[7], top)));
    }
    if DOTS {
        let g = load_term((uniforms.dy_first + t.at) / UNIT, step * uniforms.inner, count);
        r.dots = add(r.dots, pairs(Eight(
            select(0.0, dot_term(g[0], e[0]), bit(kept, 0u)), select(0.0, dot_term(g[1], e[1]), bit(kept, 1u)),
            select(0.0, dot_term(g[2], e[2]), bit(kept, 2u)), select(0.0, dot_term(g[3], e[3]), bit(kept, 3u)),
            select(0.0, dot_term(g[4], e[4]), bit(kept, 4u)), select(0.0, dot_term(g[5], e[5]), bit(kept, 5u)),
            select(0.0, dot_term(g[6], e[6]), bit(kept, 6u)), select(0.0, dot_term(g[7], e[7]), bit(kept, 7u)))));
    }
    return r;
}

// A share's maximum and sums; each element is read once, or twice where EXACT_MAX.
fn reduce(line: Line, share: Share) -> Row {
    let end = end_of(line, share.end);
    let step = share.step;
    // A share of no elements stays at -infinity.
    var top = flat(select(negative_infinity(), 0.0, FROM_OUTPUT));
    var u = share.first;
    if EXACT_MAX {
        // A logarithm near 0 needs the largest term to be 1 and nothing else: a pass for it.
        for (; u + (PARTS - 1u) * step < end; u += PARTS * step) {
            top = higher_value(top, highest(turn_at(line, u, step, PARTS, kept_at(line, u, step, PARTS)).values));
        }
        if PARTS > 1u {
            if u < end {
                let count = (end - u + step - 1u) / step;
                top = higher_value(top, highest(turn_at(line, u, step, count, kept_at(line, u, step, count)).values));
            }
        }
    }
    var r = Running(select(high(top), snapped(high(top)), EXACT_MAX), 0.0, Sum(0.0, 0.0), Sum(0.0, 0.0), 0.0);
    u = share.first;
    for (; u + (PARTS - 1u) * step < end; u += PARTS * step) {
        r = with_turn(r, line, top, u, step, PARTS);
    }
    if PARTS > 1u {
        if u < end {
            r = with_turn(r, line, top, u, step, (end - u + step - 1u) / step);
        }
    }
    if EXACT_MAX {
        return Row(high(top), r.seen, above_one(r.total.value, r.reference, r.tops, top), low(top));
    }
    return Row(r.reference, r.seen, r.total.value, r.dots.value);
}

// The sum of all e^(v - top) but for one that is 1, from that of those below the top relative to a
// reference next to it.
fn above_one(total: f32, reference: f32, tops: f32, top: Value) -> f32 {
    let moved = exp_sum(settled(reference - high(top)) - low(top), 0.0);
    return total * select(moved, 1.0, same(flat(reference), top)) + max(tops - 1.0, 0.0);
}

// 1 for the maximum.
fn is_top(v: Value, top: Value) -> f32 {
    return select(0.0, 1.0, same(v, top) & !is_inf(high(v)));
}

// A value's term of the sum.
fn term(v: Value, m: Reference, top: Value) -> f32 {
    let e = weight_from(v, m);
    if EXACT_MAX {
        return select(e, 0.0, same(v, top));
    }
    return e;
}

// log(1 + s) for s >= 0.
fn log_one_plus(s: f32) -> f32 {
    let unit = log1p_unit(at_most(s, 1.0));
    let above = 1.0 + s;
    let lost = settled(s - above) + 1.0;
    return select(log_positive(above) + lost / above, unit.x + unit.y, s <= 1.0);
}

// Two parts of a row as one. A part of nothing but -infinity, or of nothing, has a sum of 0.
fn merge(a: Row, b: Row) -> Row {
    let seen = max(a.seen, b.seen);
    if EXACT_MAX {
        var top = a;
        var other = b;
        if b.max > a.max || is_nan(b.max) || (b.max == a.max && b.dot > a.dot) {
            top = b;
            other = a;
        }
        let w = weight(value_of_row(other), value_of_row(top));
        let others = other.sum + select(1.0, 0.0, is_inf(other.max));
        return Row(top.max, seen, top.sum + others * w, top.dot);
    }
    let m = select(a.max, b.max, (b.max > a.max) | is_nan(b.max));
    let wa = select(exp_below(a.max, m), 1.0, a.max == m);
    let wb = select(exp_below(b.max, m), 1.0, b.max == m);
    let dots = select(a.dot + b.dot, a.dot * wa + b.dot * wb, DOTS_SCALED);
    return Row(m, seen, a.sum * wa + b.sum * wb, dots);
}

// The part of an invocation that has no element.
fn nothing() -> Row {
    return Row(negative_infinity(), 0.0, 0.0, 0.0);
}
