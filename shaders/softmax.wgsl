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

fn dot_term(at: u32, w: f32, kept: bool) -> f32 {
    let g = load_term(uniforms.dy_first + at);
    return select(0.0, select(g, g * w, DOTS_SCALED), kept);
}

// An infinite maximum is the limit; a NaN element wins over it.
fn logsumexp_of(r: Row) -> f32 {
    let value = select(r.max + (r.dot + log_one_plus(r.sum)), r.max, is_inf(r.max));
    return select(of_nothing(r, value), not_a_number(), r.seen == NAN_SEEN);
}

// A row's log of the sum, where EXACT_MAX; with a NaN where the row has no defined log_softmax.
fn row_log_sum(r: Row) -> f32 {
    return select(log_one_plus(r.sum), r.sum, is_nan(r.sum));
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
        let four = keep_four(line, i, step);
        if MASKED {
            if four == 0u {
                let none = nothing_kept(r);
                out[uniforms.out_first + at] = none;
                out[uniforms.out_first + at + stride] = none;
                out[uniforms.out_first + at + 2u * stride] = none;
                out[uniforms.out_first + at + 3u * stride] = none;
                continue;
            }
        }
        finish(line, i, at, r, log_sum, bit(four, 0u));
        finish(line, i + step, at + stride, r, log_sum, bit(four, 1u));
        finish(line, i + 2u * step, at + 2u * stride, r, log_sum, bit(four, 2u));
        finish(line, i + 3u * step, at + 3u * stride, r, log_sum, bit(four, 3u));
    }
    for (; i < end; i += step) {
        finish(line, i, line.start + i * uniforms.inner, r, log_sum, keep(line, i));
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
fn finish(line: Line, k: u32, at: u32, r: Row, log_sum: f32, kept: bool) {
    let v = element(line, k, at, kept);
    var y: f32;
    if BACKWARD {
        // A row of outputs has the sum 1 by what it is.
        let sum = select(r.sum, 1.0, FROM_OUTPUT);
        let share = weight(v, value_of_row(r)) / sum;
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
        y = weight(v, value_of_row(r)) / r.sum;
    } else {
        y = log_softmax_of(v, value_of_row(r), log_sum);
    }
    out[uniforms.out_first + at] = select(nothing_kept(r), y, kept);
}

// A place of a short row: whether an element is there and takes part, and its value, or what
// changes no maximum and no sum.
struct Place {
    v: Value,
    kept: bool,
}

fn place(line: Line, k: u32) -> Place {
    let i = min(k, uniforms.len - 1u);
    let kept = k < end_of(line, uniforms.len) && keep(line, i);
    let v = element(line, i, line.start + i * uniforms.inner, kept);
    if k >= uniforms.len {
        return Place(flat(negative_infinity()), kept);
    }
    return Place(v, kept);
}

fn store_short(line: Line, k: u32, p: Place, e: f32, r: Row, log_sum: f32) {
    if k < uniforms.len {
        let y = select(log_softmax_of(p.v, value_of_row(r), log_sum), e / r.sum, KIND == SOFTMAX);
        let at = line.start + k * uniforms.inner;
        out[uniforms.out_first + at] = select(nothing_kept(r), y, p.kept || !MASKED);
    }
}

fn holds_row() -> bool {
    return false;
}

fn held_row(line: Line) {
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
    let p = array<Place, 16>(
        place(line, 0u), place(line, 1u), place(line, 2u), place(line, 3u),
        place(line, 4u), place(line, 5u), place(line, 6u), place(line, 7u),
        place(line, 8u), place(line, 9u), place(line, 10u), place(line, 11u),
        place(line, 12u), place(line, 13u), place(line, 14u), place(line, 15u));
    let lower = higher_value(higher_value(higher_value(p[0].v, p[1].v), higher_value(p[2].v, p[3].v)),
        higher_value(higher_value(p[4].v, p[5].v), higher_value(p[6].v, p[7].v)));
    let upper = higher_value(higher_value(higher_value(p[8].v, p[9].v), higher_value(p[10].v, p[11].v)),
        higher_value(higher_value(p[12].v, p[13].v), higher_value(p[14].v, p[15].v)));
    var m = higher_value(lower, upper);
    if !EXACT_MAX {
        m = flat(high(m));
    }
    let e = array<f32, 16>(
        term(p[0].v, m), term(p[1].v, m), term(p[2].v, m), term(p[3].v, m),
        term(p[4].v, m), term(p[5].v, m), term(p[6].v, m), term(p[7].v, m),
        term(p[8].v, m), term(p[9].v, m), term(p[10].v, m), term(p[11].v, m),
        term(p[12].v, m), term(p[13].v, m), term(p[14].v, m), term(p[15].v, m));
    var tops = 0.0;
    if EXACT_MAX {
        tops = (((is_top(p[0].v, m) + is_top(p[1].v, m)) + (is_top(p[2].v, m) + is_top(p[3].v, m)))
            + ((is_top(p[4].v, m) + is_top(p[5].v, m)) + (is_top(p[6].v, m) + is_top(p[7].v, m))))
            + (((is_top(p[8].v, m) + is_top(p[9].v, m)) + (is_top(p[10].v, m) + is_top(p[11].v, m)))
            + ((is_top(p[12].v, m) + is_top(p[13].v, m)) + (is_top(p[14].v, m) + is_top(p[15].v, m))));
    }
    let first = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    let second = ((e[8] + e[9]) + (e[10] + e[11])) + ((e[12] + e[13]) + (e[14] + e[15]));
    var seen = 0.0;
    if MASKED {
        let any = ((p[0].kept | p[1].kept) | (p[2].kept | p[3].kept))
            | ((p[4].kept | p[5].kept) | (p[6].kept | p[7].kept))
            | ((p[8].kept | p[9].kept) | (p[10].kept | p[11].kept))
            | ((p[12].kept | p[13].kept) | (p[14].kept | p[15].kept));
        seen = select(0.0, KEPT_SEEN, any);
    }
    let r = completed(Row(high(m), seen, (first + second) + max(tops - 1.0, 0.0), select(0.0, low(m), EXACT_MAX)));
    var w = 1.0;
    if MASKED && !EXACT_MAX {
        // What takes part beside the elements may have moved the maximum.
        w = select(exp_below(high(m), r.max), 1.0, r.max == high(m));
    }
    let log_sum = row_log_sum(r);
    store_short(line, 0u, p[0], e[0] * w, r, log_sum);
    store_short(line, 1u, p[1], e[1] * w, r, log_sum);
    store_short(line, 2u, p[2], e[2] * w, r, log_sum);
    store_short(line, 3u, p[3], e[3] * w, r, log_sum);
    store_short(line, 4u, p[4], e[4] * w, r, log_sum);
    store_short(line, 5u, p[5], e[5] * w, r, log_sum);
    store_short(line, 6u, p[6], e[6] * w, r, log_sum);
    store_short(line, 7u, p[7], e[7] * w, r, log_sum);
    store_short(line, 8u, p[8], e[8] * w, r, log_sum);
    store_short(line, 9u, p[9], e[9] * w, r, log_sum);
    store_short(line, 10u, p[10], e[10] * w, r, log_sum);
    store_short(line, 11u, p[11], e[11] * w, r, log_sum);
    store_short(line, 12u, p[12], e[12] * w, r, log_sum);
    store_short(line, 13u, p[13], e[13] * w, r, log_sum);
    store_short(line, 14u, p[14], e[14] * w, r, log_sum);
    store_short(line, 15u, p[15], e[15] * w, r, log_sum);
}
