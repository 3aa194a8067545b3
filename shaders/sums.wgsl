// What rows.wgsl divides, for softmax and its kin: a row is reduced to a maximum m and sums over
// weights e^(x - m). The kind supplies
//   Value, element(line, k, at)  element k of the row, at `at` behind the binding's first
//   high(v)                      a value as an f32, close enough to be a maximum
//   end_of(line, end)            where the elements that take part end
//   kept(v)                      whether an element takes part
//   weight(v, m)                 e^(v - m)
//   dot_term(line, k, at, v, w)  the second sum's term
// and the constants
//   FROM_OUTPUT   weights are the elements themselves: there is no maximum
//   EXACT_MAX     the maximum is looked for before the sums
//   DOTS          there is a second sum
//   DOTS_SCALED   its terms have the weight as a factor
//   MASKED        elements may take no part

// What a row's elements are reduced to.
struct Row {
    // The maximum, or where no logarithm follows what is close below it.
    max: f32,
    // NAN_SEEN where an element was NaN; KEPT_SEEN where one was there.
    seen: f32,
    // Sum of the weights e^(x - max), and of the second sum's terms.
    sum: f32,
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
    var seed = select(negative_infinity(), 0.0, FROM_OUTPUT);
    if !FROM_OUTPUT && share.first < end {
        seed = high(element(line, share.first, line.start + share.first * inner));
    }
    let step = share.step;
    let stride = step * inner;
    var i = share.first;
    if EXACT_MAX {
        // A logarithm near 0 needs the largest term to be 1 and nothing else: a pass for it.
        for (; i + (UNROLL - 1u) * step < end; i += UNROLL * step) {
            let at = line.start + i * inner;
            seed = higher(seed, higher(
                higher(
                    higher(high(element(line, i, at)), high(element(line, i + step, at + stride))),
                    higher(high(element(line, i + 2u * step, at + 2u * stride)), high(element(line, i + 3u * step, at + 3u * stride)))),
                higher(
                    higher(high(element(line, i + 4u * step, at + 4u * stride)), high(element(line, i + 5u * step, at + 5u * stride))),
                    higher(high(element(line, i + 6u * step, at + 6u * stride)), high(element(line, i + 7u * step, at + 7u * stride))))));
        }
        for (; i < end; i += step) {
            seed = higher(seed, high(element(line, i, line.start + i * inner)));
        }
    }
    var r = Running(seed, 0.0, Sum(0.0, 0.0), Sum(0.0, 0.0));
    i = share.first;
    for (; i + (UNROLL - 1u) * step < end; i += UNROLL * step) {
        let at = line.start + i * inner;
        let v = array<Value, 8>(
            element(line, i, at), element(line, i + step, at + stride),
            element(line, i + 2u * step, at + 2u * stride), element(line, i + 3u * step, at + 3u * stride),
            element(line, i + 4u * step, at + 4u * stride), element(line, i + 5u * step, at + 5u * stride),
            element(line, i + 6u * step, at + 6u * stride), element(line, i + 7u * step, at + 7u * stride));
        if !FROM_OUTPUT {
            let most = higher(higher(higher(high(v[0]), high(v[1])), higher(high(v[2]), high(v[3]))),
                higher(higher(high(v[4]), high(v[5])), higher(high(v[6]), high(v[7]))));
            r = follow(r, most);
            if MASKED {
                let any = (kept(v[0]) || kept(v[1])) || (kept(v[2]) || kept(v[3]))
                    || (kept(v[4]) || kept(v[5])) || (kept(v[6]) || kept(v[7]));
                r.seen = select(r.seen, max(r.seen, KEPT_SEEN), any);
            }
            let nan = (is_nan(high(v[0])) || is_nan(high(v[1]))) || (is_nan(high(v[2])) || is_nan(high(v[3])))
                || (is_nan(high(v[4])) || is_nan(high(v[5]))) || (is_nan(high(v[6])) || is_nan(high(v[7])));
            r.seen = select(r.seen, NAN_SEEN, nan);
        }
        let m = r.reference;
        let e = array<f32, 8>(
            weight(v[0], m), weight(v[1], m), weight(v[2], m), weight(v[3], m),
            weight(v[4], m), weight(v[5], m), weight(v[6], m), weight(v[7], m));
        r.total = add(r.total, ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7])));
        if DOTS {
            let low = (dot_term(line, i, at, v[0], e[0]) + dot_term(line, i + step, at + stride, v[1], e[1]))
                + (dot_term(line, i + 2u * step, at + 2u * stride, v[2], e[2]) + dot_term(line, i + 3u * step, at + 3u * stride, v[3], e[3]));
            let up = (dot_term(line, i + 4u * step, at + 4u * stride, v[4], e[4]) + dot_term(line, i + 5u * step, at + 5u * stride, v[5], e[5]))
                + (dot_term(line, i + 6u * step, at + 6u * stride, v[6], e[6]) + dot_term(line, i + 7u * step, at + 7u * stride, v[7], e[7]));
            r.dots = add(r.dots, low + up);
        }
    }
    for (; i < end; i += step) {
        let at = line.start + i * inner;
        let v = element(line, i, at);
        if !FROM_OUTPUT {
            r = follow(r, high(v));
            if MASKED {
                r.seen = select(r.seen, max(r.seen, KEPT_SEEN), kept(v));
            }
            r.seen = select(r.seen, NAN_SEEN, is_nan(high(v)));
        }
        let e = weight(v, r.reference);
        r.total = add(r.total, e);
        if DOTS {
            r.dots = add(r.dots, dot_term(line, i, at, v, e));
        }
    }
    return Row(r.reference, r.seen, r.total.value, r.dots.value);
}

// Two parts of a row as one. A part of nothing but -infinity, or of nothing, has a sum of 0.
fn merge(a: Row, b: Row) -> Row {
    let m = select(a.max, b.max, b.max > a.max || is_nan(b.max));
    let wa = select(exp_below(a.max, m), 1.0, a.max == m);
    let wb = select(exp_below(b.max, m), 1.0, b.max == m);
    let dots = select(a.dot + b.dot, a.dot * wa + b.dot * wb, DOTS_SCALED);
    return Row(m, max(a.seen, b.seen), a.sum * wa + b.sum * wb, dots);
}

// The part of an invocation that has no element.
fn nothing() -> Row {
    return Row(negative_infinity(), 0.0, 0.0, 0.0);
}
