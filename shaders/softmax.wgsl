// The softmax family, forward and backward, as a kind of rows.wgsl. The composer writes, for what
// is computed and for which buffers are one, `KIND`, `BACKWARD`, `FROM_OUTPUT` (softmax's gradient
// with its own output as x), `load_x(i)`, `load_dy(i)`, `load_term(i)` (dy where DOTS) and `store_row(row, r)`;
// and from plain.wgsl or shaped.wgsl what an element's value is.

const SOFTMAX: u32 = 0u;
const LOG_SOFTMAX: u32 = 1u;
const LOGSUMEXP: u32 = 2u;

const REDUCES: bool = KIND == LOGSUMEXP && !BACKWARD;
const EXACT_MAX: bool = KIND != SOFTMAX && !BACKWARD;
// softmax sums g e^(x - m), log_softmax g.
const DOTS: bool = BACKWARD && KIND != LOGSUMEXP;
const DOTS_SCALED: bool = KIND == SOFTMAX;

// The longest row that an invocation holds.
const SHORT: u32 = 16u;

fn dot_term(line: Line, k: u32, at: u32, v: Value, w: f32) -> f32 {
    let g = load_term(uniforms.dy_first + at);
    return select(0.0, select(g, g * w, DOTS_SCALED), kept(v));
}

// An infinite maximum is the limit; a NaN element wins over it.
fn logsumexp_of(r: Row) -> f32 {
    let value = select(r.max + log_positive(r.sum), r.max, is_inf(r.max));
    return select(of_nothing(r, value), not_a_number(), r.seen == NAN_SEEN);
}

// A row's log of the sum; with a NaN where the row has no defined log_softmax.
fn row_log_sum(r: Row) -> f32 {
    return select(log_positive(r.sum), r.sum, is_nan(r.sum));
}

// The results of a share of a row that was reduced to r.
fn finish_share(line: Line, share: Share, r: Row) {
    let log_sum = row_log_sum(r);
    let step = share.step;
    let stride = step * uniforms.inner;
    let end = end_of(line, share.end);
    var i = share.first;
    for (; i + 3u * step < end; i += 4u * step) {
        let at = line.start + i * uniforms.inner;
        finish(line, i, at, r, log_sum);
        finish(line, i + step, at + stride, r, log_sum);
        finish(line, i + 2u * step, at + 2u * stride, r, log_sum);
        finish(line, i + 3u * step, at + 3u * stride, r, log_sum);
    }
    for (; i < end; i += step) {
        finish(line, i, line.start + i * uniforms.inner, r, log_sum);
    }
    if MASKED {
        let none = nothing_kept(r);
        for (; i + 3u * step < share.end; i += 4u * step) {
            let at = uniforms.out_first + line.start + i * uniforms.inner;
            out[at] = none;
            out[at + stride] = none;
            out[at + 2u * stride] = none;
            out[at + 3u * stride] = none;
        }
        for (; i < share.end; i += step) {
            out[uniforms.out_first + line.start + i * uniforms.inner] = none;
        }
    }
}

// The result at element k of a row that was reduced to r.
fn finish(line: Line, k: u32, at: u32, r: Row, log_sum: f32) {
    let v = element(line, k, at);
    var y: f32;
    if BACKWARD {
        // A row of outputs has the sum 1 by what it is.
        let sum = select(r.sum, 1.0, FROM_OUTPUT);
        let share = weight(v, r.max) / sum;
        // The upstream gradient, which is the row's own for logsumexp.
        let g = load_dy(uniforms.dy_first + select(at, line.row, KIND == LOGSUMEXP));
        if KIND == SOFTMAX {
            y = uniforms.sign * share * (g - r.dot / sum);
        } else if KIND == LOG_SOFTMAX {
            y = g - share * r.dot;
        } else {
            y = g * share;
        }
        y = by_input(y, at);
    } else if KIND == SOFTMAX {
        y = weight(v, r.max) / r.sum;
    } else {
        y = log_softmax_of(v, r.max, log_sum);
    }
    out[uniforms.out_first + at] = select(nothing_kept(r), y, kept(v));
}

// Whether rows are held: forward, up to sixteen elements.
fn holds_row() -> bool {
    return !BACKWARD && !REDUCES && uniforms.len <= SHORT;
}

// Element k of a short row, or what changes no maximum and no sum.
fn short_element(line: Line, k: u32) -> Value {
    let i = min(k, uniforms.len - 1u);
    return inside(element(line, i, line.start + i * uniforms.inner), k < end_of(line, uniforms.len));
}

fn store_short(line: Line, k: u32, v: Value, e: f32, r: Row, log_sum: f32) {
    if k < uniforms.len {
        let y = select(log_softmax_of(v, r.max, log_sum), e / r.sum, KIND == SOFTMAX);
        let at = line.start + k * uniforms.inner;
        out[uniforms.out_first + at] = select(nothing_kept(r), y, kept(v));
    }
}

// A row of at most sixteen elements, which an invocation holds: one read, one exponential and
// one write an element.
fn held_row(line: Line) {
    let v = array<Value, 16>(
        short_element(line, 0u), short_element(line, 1u), short_element(line, 2u), short_element(line, 3u),
        short_element(line, 4u), short_element(line, 5u), short_element(line, 6u), short_element(line, 7u),
        short_element(line, 8u), short_element(line, 9u), short_element(line, 10u), short_element(line, 11u),
        short_element(line, 12u), short_element(line, 13u), short_element(line, 14u), short_element(line, 15u));
    let low = higher(higher(higher(high(v[0]), high(v[1])), higher(high(v[2]), high(v[3]))),
        higher(higher(high(v[4]), high(v[5])), higher(high(v[6]), high(v[7]))));
    let up = higher(higher(higher(high(v[8]), high(v[9])), higher(high(v[10]), high(v[11]))),
        higher(higher(high(v[12]), high(v[13])), higher(high(v[14]), high(v[15]))));
    let m = higher(low, up);
    let e = array<f32, 16>(
        weight(v[0], m), weight(v[1], m), weight(v[2], m), weight(v[3], m),
        weight(v[4], m), weight(v[5], m), weight(v[6], m), weight(v[7], m),
        weight(v[8], m), weight(v[9], m), weight(v[10], m), weight(v[11], m),
        weight(v[12], m), weight(v[13], m), weight(v[14], m), weight(v[15], m));
    let first = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    let second = ((e[8] + e[9]) + (e[10] + e[11])) + ((e[12] + e[13]) + (e[14] + e[15]));
    var seen = 0.0;
    if MASKED {
        let any = ((kept(v[0]) || kept(v[1])) || (kept(v[2]) || kept(v[3])))
            || ((kept(v[4]) || kept(v[5])) || (kept(v[6]) || kept(v[7])))
            || ((kept(v[8]) || kept(v[9])) || (kept(v[10]) || kept(v[11])))
            || ((kept(v[12]) || kept(v[13])) || (kept(v[14]) || kept(v[15])));
        seen = select(0.0, KEPT_SEEN, any);
    }
    let r = completed(Row(m, seen, first + second, 0.0));
    var w = 1.0;
    if MASKED {
        // What takes part beside the elements may have moved the maximum.
        w = select(exp_below(m, r.max), 1.0, r.max == m);
    }
    let log_sum = row_log_sum(r);
    store_short(line, 0u, v[0], e[0] * w, r, log_sum);
    store_short(line, 1u, v[1], e[1] * w, r, log_sum);
    store_short(line, 2u, v[2], e[2] * w, r, log_sum);
    store_short(line, 3u, v[3], e[3] * w, r, log_sum);
    store_short(line, 4u, v[4], e[4] * w, r, log_sum);
    store_short(line, 5u, v[5], e[5] * w, r, log_sum);
    store_short(line, 6u, v[6], e[6] * w, r, log_sum);
    store_short(line, 7u, v[7], e[7] * w, r, log_sum);
    store_short(line, 8u, v[8], e[8] * w, r, log_sum);
    store_short(line, 9u, v[9], e[9] * w, r, log_sum);
    store_short(line, 10u, v[10], e[10] * w, r, log_sum);
    store_short(line, 11u, v[11], e[11] * w, r, log_sum);
    store_short(line, 12u, v[12], e[12] * w, r, log_sum);
    store_short(line, 13u, v[13], e[13] * w, r, log_sum);
    store_short(line, 14u, v[14], e[14] * w, r, log_sum);
    store_short(line, 15u, v[15], e[15] * w, r, log_sum);
}
