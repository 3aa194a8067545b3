// The softmax family, forward and backward, as a kind of rows.wgsl over sums.wgsl. The composer
// writes, for what is computed and for which buffers are one, `KIND`, `BACKWARD`, `FROM_OUTPUT`
// (softmax's gradient with its own output as x), `BY_SINK` (the gradient by the row's sink), what sums.wgsl asks for of the arrays,
// `load_term(at, stride, count)` (dy where DOTS), `load_dy_of(row)` (dy where it is one a row) and
// `store_row(row, r)`; and from plain.wgsl or shaped.wgsl what an element's value is, and SINK (something
// takes part in a row beside its elements).

const SOFTMAX: u32 = 0u;
const LOG_SOFTMAX: u32 = 1u;
const LOGSUMEXP: u32 = 2u;

const REDUCES: bool = BY_SINK || (KIND == LOGSUMEXP && !BACKWARD);
const EXACT_MAX: bool = KIND != SOFTMAX && !BACKWARD;
// softmax sums g e^(x - m), log_softmax g.
const DOTS: bool = BACKWARD && KIND != LOGSUMEXP;
const DOTS_SCALED: bool = KIND == SOFTMAX;

fn dot_term(g: f32, w: f32) -> f32 {
    return select(g, g * w, DOTS_SCALED);
}

// A maximum as the sum of two.
fn level(v: Value) -> vec2<f32> {
    return difference(v, zero_value());
}

// An infinite maximum is the limit; a NaN element wins over it.
fn logsumexp_of(r: Row) -> f32 {
    let top = level(value_of_row(r));
    var log = log_one_plus(r.sum);
    if SINK {
        log = select(log, r.sum, is_inf(r.sum));
    }
    let value = select(top.x + (top.y + log), top.x, is_inf(top.x));
    return select(of_nothing(r, value), not_a_number(), r.seen == NAN_SEEN);
}

// What the results of a row are made with.
struct Whole {
    reference: Reference,
    sum: f32,
    // 1 / sum.
    share: f32,
    // The row's mean upstream gradient; for logsumexp its only one, for log_softmax the sum.
    dot: f32,
    // The maximum and log(1 + sum), where EXACT_MAX.
    top: Value,
    log: f32,
}

fn whole_of(line: Line, r: Row) -> Whole {
    var w = Whole(fixed(value_of_row(r)), 1.0, 1.0, r.dot, value_of_row(r), 0.0);
    if EXACT_MAX {
        // A row with an infinite maximum has no logarithms.
        w.log = select(log_one_plus(r.sum), not_a_number(), is_nan(r.sum) | is_infinite(w.top));
        if SINK {
            w.log = select(w.log, r.sum, is_inf(r.sum) & !is_infinite(w.top));
        }
        return w;
    }
    if !FROM_OUTPUT {
        // A row of outputs has the sum 1 by what it is.
        w.sum = r.sum;
        if BACKWARD & LONG {
            // Of nothing but -infinity: long weights are not 0 there, and their quotients no NaN.
            w.sum = select(r.sum, not_a_number(), r.sum == 0.0);
        }
        w.share = reciprocal(r.sum);
        if SINK {
            // One of infinity leaves the others no share.
            w.share = select(w.share, 0.0, is_inf(r.sum));
        }
        if KIND == SOFTMAX {
            w.dot = over_sum(r.dot, w.sum);
        }
    }
    if KIND == LOGSUMEXP {
        w.dot = load_dy_of(line.row);
    }
    return w;
}

// a / sum, for which a device's quotient would leave a gradient no room.
fn over_sum(a: f32, sum: f32) -> f32 {
    let q = quotient(a, sum);
    if SINK {
        // One of infinity leaves the others no share.
        return select(q, select(0.0, a, is_nan(a)), is_inf(sum));
    }
    return q;
}

// The result for a value, an element x and its upstream gradient.
fn result(v: Value, x: f32, g: f32, w: Whole) -> f32 {
    if EXACT_MAX {
        return held_result(v, 0.0, g, w);
    }
    if BACKWARD {
        return gradient_at(v, x, g, w);
    }
    return held_result(v, weight_from(v, w.reference), g, w);
}

// The same where the value's weight e is known, for elements that are their values.
fn held_result(v: Value, e: f32, g: f32, w: Whole) -> f32 {
    if EXACT_MAX {
        // Neither part is above 0.
        let d = difference(v, w.top);
        return settled(d.x - w.log) + d.y;
    }
    if !BACKWARD {
        // A part of the sum is no more than it, whatever the product rounds to; NaN stays.
        return select(at_most(e * w.share, 1.0), 1.0, (e == w.sum) & (e > 0.0));
    }
    // A gradient has no room for the rounding of a reciprocal.
    var share = e;
    if !FROM_OUTPUT {
        share = over_sum(e, w.sum);
    }
    if KIND == SOFTMAX {
        return uniforms.sign * share * (g - w.dot);
    }
    if KIND == LOG_SOFTMAX {
        return g - share * w.dot;
    }
    return w.dot * share;
}

fn results_of(t: Turn, g: Eight, w: Whole) -> Eight {
    let v = t.values;
    if LONG {
        var turn = t;
        var upstream = g;
        var y = Eight();
        for (var j = 0u; j < eight_turns(); j++) {
            y[j] = result(turn.values[j], turn.x[j], upstream[j], w);
        }
        return y;
    }
    return Eight(
        result(v[0], t.x[0], g[0], w), result(v[1], t.x[1], g[1], w),
        result(v[2], t.x[2], g[2], w), result(v[3], t.x[3], g[3], w),
        result(v[4], t.x[4], g[4], w), result(v[5], t.x[5], g[5], w),
        result(v[6], t.x[6], g[6], w), result(v[7], t.x[7], g[7], w));
}

// The results of a share of a row that was reduced to r.
fn finish_share(line: Line, share: Share, r: Row) {
    let w = whole_of(line, r);
    let none = nothing_kept(r);
    let step = share.step;
    var u = share.first;
    if LONG {
        for (; u < share.end; u += PARTS * step) {
            finish_turn(line, u, step, min(PARTS, (share.end - u + step - 1u) / step), w, none);
        }
    } else {
        for (; u + (PARTS - 1u) * step < share.end; u += PARTS * step) {
            finish_turn(line, u, step, PARTS, w, none);
        }
        if PARTS > 1u {
            if u < share.end {
                finish_turn(line, u, step, (share.end - u + step - 1u) / step, w, none);
            }
        }
    }
}

fn finish_turn(line: Line, u: u32, step: u32, count: u32, w: Whole, none: f32) {
    let stride = step * uniforms.inner;
    let kept = kept_at(line, u, step, count);
    let at = line.start + u * UNIT * uniforms.inner;
    if MASKED {
        if kept == 0u {
            store_out((uniforms.out_first + at) / UNIT, stride, count, Eight(none, none, none, none, none, none, none, none));
            return;
        }
    }
    let t = turn_at(line, u, step, count, kept);
    let g = load_term((uniforms.dy_first + at) / UNIT, stride, count);
    var y = results_of(t, g, w);
    if MASKED {
        y = Eight(
            select(none, y[0], bit(kept, 0u)), select(none, y[1], bit(kept, 1u)),
            select(none, y[2], bit(kept, 2u)), select(none, y[3], bit(kept, 3u)),
            select(none, y[4], bit(kept, 4u)), select(none, y[5], bit(kept, 5u)),
            select(none, y[6], bit(kept, 6u)), select(none, y[7], bit(kept, 7u)));
    }
    store_out((uniforms.out_first + at) / UNIT, stride, count, y);
}

fn holds_row() -> bool {
    return false;
}

fn held_row(line: Line) {
}

// Forward results of eight values whose weights are known.
fn held_results(v: array<Value, 8>, e: Eight, w: Whole) -> Eight {
    if LONG {
        var values = v;
        var weights = e;
        var y = Eight();
        for (var j = 0u; j < eight_turns(); j++) {
            y[j] = held_result(values[j], weights[j], 0.0, w);
        }
        return y;
    }
    return Eight(
        held_result(v[0], e[0], 0.0, w), held_result(v[1], e[1], 0.0, w),
        held_result(v[2], e[2], 0.0, w), held_result(v[3], e[3], 0.0, w),
        held_result(v[4], e[4], 0.0, w), held_result(v[5], e[5], 0.0, w),
        held_result(v[6], e[6], 0.0, w), held_result(v[7], e[7], 0.0, w));
}

// A held row's eight results from its values and their weights.
fn store_held(line: Line, first: u32, count: u32, t: Turn, e: Eight, w: Whole, kept: u32, none: f32) {
    var y = held_results(t.values, e, w);
    if MASKED {
        y = Eight(
            select(none, y[0], bit(kept, 0u)), select(none, y[1], bit(kept, 1u)),
            select(none, y[2], bit(kept, 2u)), select(none, y[3], bit(kept, 3u)),
            select(none, y[4], bit(kept, 4u)), select(none, y[5], bit(kept, 5u)),
            select(none, y[6], bit(kept, 6u)), select(none, y[7], bit(kept, 7u)));
    }
    let at = line.start + first * UNIT * uniforms.inner;
    store_out((uniforms.out_first + at) / UNIT, uniforms.inner, count, y);
}

// Rows of at most sixteen elements, forward, each held by an invocation: one read, one
// exponential and one write an element. An entry point of its own: drivers that give up on large
// ones would spoil the others.
@compute @workgroup_size(workgroup_size)
fn row_held(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let row = id.y * (groups.x * workgroup_size) + id.x;
    if row >= uniforms.rows || REDUCES || BACKWARD {
        return;
    }
    let line = line_of(row);
    let units = uniforms.len / UNIT;
    // The second eight may not be there: then some are read that are, and do not count.
    let count = min(units, PARTS);
    let more = max(units, PARTS) - PARTS;
    let second = min(PARTS, units - 1u);
    let kept = kept_at(line, 0u, 1u, count);
    let kept_more = select(0u, kept_at(line, second, 1u, max(more, 1u)), more > 0u);
    let a = turn_at(line, 0u, 1u, count, kept);
    let b = turn_at(line, second, 1u, max(more, 1u), kept_more);
    let top = higher_value(highest(a.values), highest(b.values));
    let reference = snapped_value(top);
    let m = fixed(reference);
    let e = terms_of(a.values, m, top);
    let e_more = terms_of(b.values, m, top);
    var total = pairs(e) + pairs(e_more);
    if EXACT_MAX {
        total = above_one(total, reference, tops_of(a.values, top) + tops_of(b.values, top), top);
    }
    let seen = select(0.0, KEPT_SEEN, MASKED & ((kept | kept_more) != 0u));
    var part = row_of(reference, seen, total, 0.0);
    if EXACT_MAX {
        part = row_of(top, seen, total, 0.0);
    }
    let r = completed(row, part);
    var w = whole_of(line, r);
    if MASKED {
        // What takes part beside the elements may have moved the maximum.
        if !same(reference, value_of_row(r)) {
            w.share = w.share * weight(reference, value_of_row(r));
            w.sum = 0.0;
        }
    }
    let none = nothing_kept(r);
    store_held(line, 0u, count, a, e, w, kept, none);
    store_held(line, PARTS, more, b, e_more, w, kept_more, none);
}
