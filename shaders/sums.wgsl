// What rows.wgsl divides, for softmax and its kin: a row is reduced to a maximum m and sums over
// weights e^(x - m). The kind supplies
//   keep(line, k)                whether element k takes part
//   keep_four(line, k, step)     and elements k, k + step, ... as bits
//   Value, element(line, k, at, kept)  element k of the row, at `at` behind the binding's first
//   high(v), low(v)              a value as an f32, close enough to be a maximum; what that lacks
//   value_of_row(r), flat(m)     a row's maximum as a value; an f32 as a value
//   higher_value(a, b)           the larger of two
//   same(a, b)                   whether two values are one, and finite
//   end_of(line, end)            where the elements that take part end
//   weight(v, m)                 e^(v - m)
//   dot_term(at, w, kept)        the second sum's term
// and the constants
//   FROM_OUTPUT   weights are the elements themselves: there is no maximum
//   EXACT_MAX     the maximum is looked for before the sums, for a logarithm to follow
//   DOTS          there is a second sum, not with EXACT_MAX
//   DOTS_SCALED   its terms have the weight as a factor
//   MASKED        elements may take no part
// Conditions are joined by | and &: the other two become branches, which cost a third of the time
// on a software adapter.

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
}

// How far an element may lie above the reference: e^16 times 2^32 elements stay far inside f32.
const HEADROOM: f32 = 16.0;
// Elements that are read at a time.
const UNROLL: u32 = 8u;

// The running share after elements whose maximum is `high`, before their terms are added.
fn follow(running: Running, high: f32) -> Running {
    var r = running;
    if high > r.reference + HEADROOM {
        let w = exp_below(r.reference, high);
        r.total = Sum(r.total.value * w, r.total.lost * w);
        if DOTS_SCALED {
            r.dots = Sum(r.dots.value * w, r.dots.lost * w);
        }
        r.reference = high;
    }
    return r;
}

// A share's maximum and sums; each element is read once, or twice where EXACT_MAX.
fn reduce(line: Line, share: Share) -> Row {
    let inner = uniforms.inner;
    let end = end_of(line, share.end);
    // A share of no elements stays at -infinity.
    var top = flat(select(negative_infinity(), 0.0, FROM_OUTPUT));
    if !FROM_OUTPUT && share.first < end {
        top = element(line, share.first, line.start + share.first * inner, keep(line, share.first));
    }
    let step = share.step;
    let stride = step * inner;
    var i = share.first;
    if EXACT_MAX {
        // A logarithm near 0 needs the largest term to be 1 and nothing else: a pass for it.
        for (; i + (UNROLL - 1u) * step < end; i += UNROLL * step) {
            let v = eight(line, i, step);
            top = higher_value(top, higher_value(
                higher_value(higher_value(v[0], v[1]), higher_value(v[2], v[3])),
                higher_value(higher_value(v[4], v[5]), higher_value(v[6], v[7]))));
        }
        for (; i < end; i += step) {
            top = higher_value(top, element(line, i, line.start + i * inner, keep(line, i)));
        }
    }
    var r = Running(high(top), 0.0, Sum(0.0, 0.0), Sum(0.0, 0.0));
    var tops = 0.0;
    i = share.first;
    for (; i + (UNROLL - 1u) * step < end; i += UNROLL * step) {
        let at = line.start + i * inner;
        let near = keep_four(line, i, step);
        let far = keep_four(line, i + 4u * step, step);
        if MASKED {
            // Masks come in stretches.
            if (near | far) == 0u {
                continue;
            }
        }
        let v = eight_kept(line, i, step, near, far);
        if !FROM_OUTPUT {
            if !EXACT_MAX {
                let most = higher(higher(higher(high(v[0]), high(v[1])), higher(high(v[2]), high(v[3]))),
                    higher(higher(high(v[4]), high(v[5])), higher(high(v[6]), high(v[7]))));
                r = follow(r, most);
            }
            if MASKED {
                r.seen = select(r.seen, max(r.seen, KEPT_SEEN), (near | far) != 0u);
            }
            let nan = (is_nan(high(v[0])) | is_nan(high(v[1]))) | (is_nan(high(v[2])) | is_nan(high(v[3])))
                | (is_nan(high(v[4])) | is_nan(high(v[5]))) | (is_nan(high(v[6])) | is_nan(high(v[7])));
            r.seen = select(r.seen, NAN_SEEN, nan);
        }
        var m = top;
        if EXACT_MAX {
            tops += ((is_top(v[0], m) + is_top(v[1], m)) + (is_top(v[2], m) + is_top(v[3], m)))
                + ((is_top(v[4], m) + is_top(v[5], m)) + (is_top(v[6], m) + is_top(v[7], m)));
        } else {
            m = flat(r.reference);
        }
        let e = array<f32, 8>(
            term(v[0], m), term(v[1], m), term(v[2], m), term(v[3], m),
            term(v[4], m), term(v[5], m), term(v[6], m), term(v[7], m));
        r.total = add(r.total, ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7])));
        if DOTS {
            let lower = (dot_term(at, e[0], bit(near, 0u)) + dot_term(at + stride, e[1], bit(near, 1u)))
                + (dot_term(at + 2u * stride, e[2], bit(near, 2u)) + dot_term(at + 3u * stride, e[3], bit(near, 3u)));
            let upper = (dot_term(at + 4u * stride, e[4], bit(far, 0u)) + dot_term(at + 5u * stride, e[5], bit(far, 1u)))
                + (dot_term(at + 6u * stride, e[6], bit(far, 2u)) + dot_term(at + 7u * stride, e[7], bit(far, 3u)));
            r.dots = add(r.dots, lower + upper);
        }
    }
    for (; i < end; i += step) {
        let at = line.start + i * inner;
        let kept = keep(line, i);
        let v = element(line, i, at, kept);
        if !FROM_OUTPUT {
            if !EXACT_MAX {
                r = follow(r, high(v));
            }
            if MASKED {
                r.seen = select(r.seen, max(r.seen, KEPT_SEEN), kept);
            }
            r.seen = select(r.seen, NAN_SEEN, is_nan(high(v)));
        }
        var m = top;
        if EXACT_MAX {
            tops += is_top(v, m);
        } else {
            m = flat(r.reference);
        }
        let e = term(v, m);
        r.total = add(r.total, e);
        if DOTS {
            r.dots = add(r.dots, dot_term(at, e, kept));
        }
    }
    if EXACT_MAX {
        return Row(high(top), r.seen, r.total.value + max(tops - 1.0, 0.0), low(top));
    }
    return Row(r.reference, r.seen, r.total.value, r.dots.value);
}

fn bit(bits: u32, n: u32) -> bool {
    return (bits & (1u << n)) != 0u;
}

// Elements i, i + step, ... of a row, of which `near` and `far` say which take part.
fn eight_kept(line: Line, i: u32, step: u32, near: u32, far: u32) -> array<Value, 8> {
    let stride = step * uniforms.inner;
    let at = line.start + i * uniforms.inner;
    return array<Value, 8>(
        element(line, i, at, bit(near, 0u)),
        element(line, i + step, at + stride, bit(near, 1u)),
        element(line, i + 2u * step, at + 2u * stride, bit(near, 2u)),
        element(line, i + 3u * step, at + 3u * stride, bit(near, 3u)),
        element(line, i + 4u * step, at + 4u * stride, bit(far, 0u)),
        element(line, i + 5u * step, at + 5u * stride, bit(far, 1u)),
        element(line, i + 6u * step, at + 6u * stride, bit(far, 2u)),
        element(line, i + 7u * step, at + 7u * stride, bit(far, 3u)));
}

fn eight(line: Line, i: u32, step: u32) -> array<Value, 8> {
    return eight_kept(line, i, step, keep_four(line, i, step), keep_four(line, i + 4u * step, step));
}

// 1 for the maximum.
fn is_top(v: Value, top: Value) -> f32 {
    return select(0.0, 1.0, same(v, top));
}

// A value's term of the sum.
fn term(v: Value, m: Value) -> f32 {
    let e = weight(v, m);
    if EXACT_MAX {
        return select(e, 0.0, same(v, m));
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
