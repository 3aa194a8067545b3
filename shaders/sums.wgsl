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
//   lowest()                     the value of nothing
//   row_of(v, seen, sum, dot), value_of_row(r)  a row with the maximum or reference v; its v
//   higher_value(a, b)           the larger of two; a NaN may be lost
//   rises(b, a)                  whether b is larger than a, or NaN
//   same(a, b), is_infinite(v)   whether two values are one; whether one is infinite
//   snapped_value(v)             a value next to v that can be a reference
//   fixed(v)                     what weights relative to the reference v are made with
//   far_above(v, m)              whether v is more than HEADROOM above m
//   end_of(line, end)            where the units that take part end
//   weight(v, m)                 e^(v - m)
//   weight_from(v, m)            the same for an m that is fixed
//   difference(v, m)             v - m as the sum of two, the first of which is rounded
//   dot_term(g, w)               the second sum's term
// and the constants
//   LONG          differences are so long that eight copies of them take a driver seconds to compile:
//                 they are made in loops
//   FROM_OUTPUT   weights are the elements themselves: there is no maximum
//   EXACT_MAX     the maximum is looked for before the sums, for a logarithm to follow
//   DOTS          there is a second sum, not with EXACT_MAX
//   DOTS_SCALED   its terms have the weight as a factor
//   MASKED        elements may take no part
// Conditions are joined by | and &: the other two become branches, which cost a third of the time
// on a software adapter. So do tests for NaN: one makes the sum of its eight NaN, where it is seen.

// What a row's elements are reduced to.
struct Row {
    // What is close below the maximum; with EXACT_MAX the maximum. Where a value is two numbers, the
    // other is in a place that the pass does not use otherwise.
    max: f32,
    // NAN_SEEN where an element was NaN; KEPT_SEEN where one was there.
    seen: f32,
    // Sum of the weights e^(x - max). With EXACT_MAX without one of the largest, which is the 1 in
    // log(1 + ...): so small logarithms keep their precision.
    sum: f32,
    // The second sum, where there is one.
    dot: f32,
}

// What was seen of a row; the larger wins. KEPT_SEEN is kept where elements may take no part.
const KEPT_SEEN: f32 = 1.0;
const NAN_SEEN: f32 = 2.0;

// A share while it is read: the sums are of e^(x - reference), and the reference follows the
// maximum only where that runs away, because every move rounds the sums.
struct Running {
    reference: Value,
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

// The turns of a loop over eight elements that a driver cannot unroll.
fn eight_turns() -> u32 {
    return 8u + uniforms.zero;
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
    if LONG {
        var values = v;
        var most = values[0];
        for (var j = 1u; j < eight_turns(); j++) {
            most = higher_value(most, values[j]);
        }
        return most;
    }
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
        let most = highest(v);
        if far_above(most, r.reference) {
            let m = snapped_value(most);
            let w = weight_from(r.reference, fixed(m));
            r.total = Sum(r.total.value * w, r.total.lost * w);
            if DOTS_SCALED {
                r.dots = Sum(r.dots.value * w, r.dots.lost * w);
            }
            r.reference = m;
        }
    }
    let m = fixed(r.reference);
    let e = terms_of(v, m, top);
    let eight = pairs(e);
    r.seen = select(r.seen, NAN_SEEN, is_nan(eight));
    r.total = add(r.total, eight);
    if EXACT_MAX {
        r.tops += tops_of(v, top);
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
    var top = lowest();
    var u = share.first;
    if EXACT_MAX {
        // A logarithm near 0 needs the largest term to be 1 and nothing else: a pass for it.
        if LONG {
            for (; u < end; u += PARTS * step) {
                let count = min(PARTS, (end - u + step - 1u) / step);
                top = higher_value(top, highest(turn_at(line, u, step, count, kept_at(line, u, step, count)).values));
            }
        } else {
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
    }
    var r = Running(snapped_value(top), 0.0, Sum(0.0, 0.0), Sum(0.0, 0.0), 0.0);
    u = share.first;
    if LONG {
        for (; u < end; u += PARTS * step) {
            r = with_turn(r, line, top, u, step, min(PARTS, (end - u + step - 1u) / step));
        }
    } else {
        for (; u + (PARTS - 1u) * step < end; u += PARTS * step) {
            r = with_turn(r, line, top, u, step, PARTS);
        }
        if PARTS > 1u {
            if u < end {
                r = with_turn(r, line, top, u, step, (end - u + step - 1u) / step);
            }
        }
    }
    if EXACT_MAX {
        return row_of(top, r.seen, above_one(r.total.value, r.reference, r.tops, top), 0.0);
    }
    return row_of(r.reference, r.seen, r.total.value, r.dots.value);
}

// The sum of all e^(v - top) but for one that is 1, from that of those below the top relative to a
// reference next to it.
fn above_one(total: f32, reference: Value, tops: f32, top: Value) -> f32 {
    return total * moved(reference, top) + max(tops - 1.0, 0.0);
}

// What a sum relative to `a` is multiplied by to be relative to b.
fn moved(a: Value, b: Value) -> f32 {
    return select(weight(a, b), 1.0, same(a, b));
}

// 1 for the maximum.
fn is_top(v: Value, top: Value) -> f32 {
    return select(0.0, 1.0, same(v, top) & !is_infinite(v));
}

// A value's term of the sum.
fn term(v: Value, m: Reference, top: Value) -> f32 {
    let e = weight_from(v, m);
    if EXACT_MAX {
        return select(e, 0.0, same(v, top));
    }
    return e;
}

// The terms of eight values, and how many of them are the maximum.
fn terms_of(v: array<Value, 8>, m: Reference, top: Value) -> Eight {
    if LONG {
        var values = v;
        var e = Eight();
        for (var j = 0u; j < eight_turns(); j++) {
            e[j] = term(values[j], m, top);
        }
        return e;
    }
    return Eight(
        term(v[0], m, top), term(v[1], m, top), term(v[2], m, top), term(v[3], m, top),
        term(v[4], m, top), term(v[5], m, top), term(v[6], m, top), term(v[7], m, top));
}

fn tops_of(v: array<Value, 8>, top: Value) -> f32 {
    return pairs(Eight(
        is_top(v[0], top), is_top(v[1], top), is_top(v[2], top), is_top(v[3], top),
        is_top(v[4], top), is_top(v[5], top), is_top(v[6], top), is_top(v[7], top)));
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
        if rises(value_of_row(b), value_of_row(a)) {
            top = b;
            other = a;
        }
        let w = weight(value_of_row(other), value_of_row(top));
        let others = other.sum + select(1.0, 0.0, is_infinite(value_of_row(other)));
        return row_of(value_of_row(top), seen, top.sum + others * w, 0.0);
    }
    var m = value_of_row(a);
    if rises(value_of_row(b), m) {
        m = value_of_row(b);
    }
    let wa = moved(value_of_row(a), m);
    let wb = moved(value_of_row(b), m);
    let dots = select(a.dot + b.dot, a.dot * wa + b.dot * wb, DOTS_SCALED);
    return row_of(m, seen, a.sum * wa + b.sum * wb, dots);
}

// The part of an invocation that has no element.
fn nothing() -> Row {
    return row_of(lowest(), 0.0, 0.0, 0.0);
}
