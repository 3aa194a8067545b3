// Sparsemax and entmax of rows, as a kind of rows.wgsl whose row is read several times. With m the
// row's maximum, q = alpha - 1 and c = m - x, results are w (1 - c q / w^q)^(1/q), and w, the
// largest of them, is the root of the row's sum less 1, which Newton's method finds from w = 1:
// for q <= 1 the sum is convex in w, so that the steps stay above the root, and each shrinks the
// sum's excess times its slope by four at least. For q > 1 results rise from the threshold with an
// infinite slope, and w is halved in.
// A row's state goes through `refined` once for each pass over the row, in
//   row_per_invocation; solve_per_workgroup;
//   split_partial, split_combine (the maximum), then some rounds of refine_partial and
//   refine_combine, then split_finish.
// uniforms.number is q. The composer writes `KIND` and `load_x(at)`.

const SPARSEMAX: u32 = 0u;
const ENTMAX15: u32 = 1u;
const ENTMAX: u32 = 2u;
// Entmax with q > 1.
const STEEP: u32 = 3u;
// Entmax with q so small that a logarithm over q would lose what matters: nearly softmax. With
// v = c w^-q results are w e^-v(1 + e/2 + e^2/3 + ...), e = q v.
const SMOOTH: u32 = 4u;

const REDUCES: bool = false;

// Passes for one row at most. Where q <= 1: 12 and the logarithm of the row's length are proved
// to be enough. Where q > 1: the bits of w and, because w is 1 / the row's length at least, that
// logarithm again.
const MOST_PASSES: u32 = select(44u, 72u, KIND == STEEP);
// A step so short, against the root, that another would be lost in rounding.
const SHORT_STEP: f32 = 1.1920929e-7;

struct Line {
    start: u32,
    row: u32,
}

fn line_of(row: u32) -> Line {
    return Line(row_start(row), row);
}

// What a share of a row is reduced to: its maximum, NaN where an element is; or the sum of the
// elements' terms, what it lost, and the sum of their slopes.
// A row's state has the same members: the maximum; the root, which is w, or sqrt(w) for
// ENTMAX15; what the root lacks; and the mark. For SPARSEMAX the mark is the size of the support.
// For STEEP the root lies above those two, by the mark at most. A state is final where the mark is
// negative.
struct Row {
    max: f32,
    sum: f32,
    lost: f32,
    slope: f32,
}

fn nothing() -> Row {
    return Row(negative_infinity(), 0.0, 0.0, 0.0);
}

// The larger of two, or a NaN.
fn higher_or_nan(a: f32, b: f32) -> f32 {
    return select(select(a, b, b > a), b, is_nan(b) && !is_nan(a));
}

fn merge(a: Row, b: Row) -> Row {
    var m = a.max;
    if !is_nan(m) {
        m = higher_or_nan(m, b.max);
    }
    let s = add(Sum(a.sum, a.lost), b.sum);
    return Row(m, s.value, s.lost + b.lost, a.slope + b.slope);
}

// The maximum of a share.
fn reduce(line: Line, share: Share) -> Row {
    var m = negative_infinity();
    for (var i = share.first; i < share.end; i += share.step) {
        let v = load_x(line.start + i * uniforms.inner);
        m = select(higher_or_nan(m, v), m, is_nan(m));
    }
    return Row(m, 0.0, 0.0, 0.0);
}

fn is_undefined(m: f32) -> bool {
    return is_nan(m) || is_inf(m);
}

// The state that the passes begin with.
fn completed(r: Row) -> Row {
    let mark = select(select(0.0, 1.0, KIND == STEEP), -1.0, is_undefined(r.max));
    return Row(r.max, select(1.0, 0.0, KIND == STEEP), 0.0, mark);
}

fn is_final(state: Row) -> bool {
    return state.slope < 0.0;
}

// The root that a state supposes, as hi, lo.
fn root_of(state: Row) -> vec2<f32> {
    if KIND != STEEP || is_final(state) {
        return vec2<f32>(state.sum, state.lost);
    }
    // In the middle of what is left.
    let half = 0.5 * state.slope;
    let hi = settled(state.sum + half);
    let part = settled(hi - state.sum);
    let lo = state.lost + (settled(state.sum - settled(hi - part)) + settled(half - part));
    let total = settled(hi + lo);
    return vec2<f32>(total, settled(settled(hi - total) + lo));
}

// m - v as hi, lo, exactly (Knuth's two-sum); for STEEP 2^64 of it, because there a distance of any
// size can meet a factor beyond f32.
fn below(v: f32, m: f32) -> vec2<f32> {
    let hi = settled(m - v);
    let part = settled(hi - m);
    let lo = settled(m - settled(hi - part)) - settled(v + part);
    return vec2<f32>(hi, select(0.0, lo, hi < 1e30)) * select(1.0, 18446744073709551616.0, KIND == STEEP);
}

// q w^-q as hi, lo of which hi has 12 bits, for STEEP 2^-64 of it; w as hi, lo.
fn scale_of(root: vec2<f32>) -> vec2<f32> {
    let q = normalised(uniforms.number);
    let q_hi = leading(q.m);
    let log_w = log_parts(root.x, root.y);
    let power = scale(1.0, q.n);
    let hi = -settled((q_hi * power) * log_w.x);
    let lo = -(q_hi * log_w.y + (q.m - q_hi) * (log_w.x + log_w.y)) * power;
    // What is larger has no element but the maximum below 1.
    let whole = settled(hi + lo);
    let past = whole > 200.0;
    let e = exp_far(select(whole, 200.0, past), select(settled(hi - whole) + lo, 0.0, past));
    let one = sum(1.0, e.q);
    let top = settled(one.x * q_hi);
    let rest = one.x * (q.m - q_hi) + one.y * q.m;
    let total = leading(top + rest);
    let n = min(e.n + q.n, 188) - select(0, 64, KIND == STEEP);
    return vec2<f32>(scale(total, n), scale(settled(top - total) + rest, n));
}

// w^-q - 1 as hi, lo of which hi has 12 bits, for SMOOTH; w as hi, lo.
fn growth_of(root: vec2<f32>) -> vec2<f32> {
    let q = uniforms.number;
    let q_hi = leading(q);
    let log_w = log_parts(root.x, root.y);
    let hi = -settled(q_hi * log_w.x);
    let lo = -(q_hi * log_w.y + (q - q_hi) * (log_w.x + log_w.y));
    let t = hi + lo;
    return narrowed(hi, lo + t * t * (0.5 + t * (0.16666667 + t * 0.041666668)));
}

// u and u^(1/q) as power_of, for SMOOTH; k is w^-q - 1.
fn smooth_power_of(c: vec2<f32>, k: vec2<f32>) -> vec2<f32> {
    // Past this the power is below every f32.
    let near = at_most(c.x, 128.0);
    let rise = times_parts(split(near), k);
    let v = sum(near, rise.x);
    let v_lo = v.y + (rise.y + select(c.y, 0.0, near < c.x));
    let half = product(0.5 * uniforms.number, v.x);
    let e = uniforms.number * (v.x + v_lo);
    let rest = e * e * (0.33333334 + e * (0.25 + e * (0.2 + e * (0.16666667 + e * (0.14285715
        + e * (0.125 + e * 0.11111111))))));
    let share = narrowed(half.x, half.y + (0.5 * uniforms.number * v_lo + rest));
    let more = times_parts(narrowed(v.x, v_lo), share);
    let total = sum(v.x, more.x);
    return vec2<f32>(1.0 - e, exp_sum(-total.x, -(total.y + (v_lo + more.y))));
}

// 1/q as hi, lo of which hi has 12 bits.
fn exponent_of() -> vec2<f32> {
    let q = uniforms.number;
    let q_hi = leading(q);
    let p = quotient_parts(1.0, 0.0, q_hi, q - q_hi);
    let hi = leading(p.x);
    return vec2<f32>(hi, (p.x - hi) + p.y);
}

// u = 1 - c k where that is positive, and u^p; else zeros.
fn power_of(c: vec2<f32>, k: vec2<f32>, p: vec2<f32>) -> vec2<f32> {
    let c_hi = leading(c.x);
    let e_lo = c_hi * k.y + ((c.x - c_hi) + c.y) * (k.x + k.y);
    let e = settled(c_hi * k.x);
    if !(e + e_lo < 1.0) {
        return vec2<f32>(0.0, 0.0);
    }
    let whole = sum(1.0, -e);
    let u_lo = whole.y - e_lo;
    let u = settled(whole.x + u_lo);
    if !(u > 0.0) {
        return vec2<f32>(0.0, 0.0);
    }
    let log_u = log_parts(u, settled(whole.x - u) + u_lo);
    return vec2<f32>(u, exp_sum(settled(log_u.x * p.x), log_u.x * p.y + log_u.y * (p.x + p.y)));
}

fn element_of(c: vec2<f32>, k: vec2<f32>, p: vec2<f32>) -> vec2<f32> {
    if KIND == SMOOTH {
        return smooth_power_of(c, k);
    }
    return power_of(c, k, p);
}

// The terms of a share of a row that is in `state`.
fn terms(line: Line, share: Share, state: Row) -> Row {
    var total = Sum(0.0, 0.0);
    var slope = 0.0;
    var k = vec2<f32>(0.0, 0.0);
    var p = vec2<f32>(0.0, 0.0);
    if KIND == SMOOTH {
        k = growth_of(root_of(state));
    } else if KIND >= ENTMAX {
        k = scale_of(root_of(state));
        p = exponent_of();
    }
    for (var i = share.first; i < share.end; i += share.step) {
        let c = below(load_x(line.start + i * uniforms.inner), state.max);
        if KIND == SPARSEMAX {
            // The distances themselves; their number is the slope.
            if settled(state.sum - c.x) + (state.lost - c.y) > 0.0 {
                total = add(total, c.x);
                total.lost -= c.y;
                slope += 1.0;
            }
        } else if KIND == ENTMAX15 {
            let u = settled(state.sum - 0.5 * c.x) + (state.lost - 0.5 * c.y);
            if u > 0.0 {
                total = add(total, u * u);
                slope += u;
            }
        } else if KIND == SMOOTH || c.x * (k.x + k.y) < 1.5 {
            let t = element_of(c, k, p);
            if t.x > 0.0 {
                total = add(total, t.y);
                slope += at_most(t.y / t.x, 1e30);
            }
        }
    }
    return Row(state.max, total.value, total.lost, slope);
}

// The state after a pass whose terms were `s`.
fn refined(state: Row, s: Row) -> Row {
    if is_final(state) {
        return state;
    }
    if KIND == SPARSEMAX {
        // The threshold of the support that was there; exact where the support stays.
        let a = sum(1.0, s.sum);
        let count = leading(s.slope);
        let v = quotient_parts(a.x, a.y - s.lost, count, s.slope - count);
        return Row(state.max, v.x, v.y, select(s.slope, -1.0, s.slope == state.slope));
    }
    if KIND == ENTMAX15 {
        let excess = settled(s.sum - 1.0) - s.lost;
        // Newton's step for w = v^2, as one of v.
        let share = excess / (state.sum * s.slope);
        let step = -state.sum * share / (1.0 + sqrt(at_least(1.0 - share, 0.0)));
        let short = abs(step) <= SHORT_STEP * state.sum;
        return Row(state.max, select(state.sum + step, state.sum, short), select(0.0, step, short),
            select(0.0, -1.0, short));
    }
    let root = root_of(state);
    let w = root.x;
    let whole = product(w, s.sum);
    let excess = (settled(whole.x - 1.0) + whole.y) + (root.y * s.sum - w * s.lost);
    let step = -excess / s.slope;
    if KIND == ENTMAX || KIND == SMOOTH {
        let short = abs(step) <= SHORT_STEP * w;
        return Row(state.max, select(w + step, w, short), select(0.0, step, short), select(0.0, -1.0, short));
    }
    // The half with the root; from 40 bits on it does not matter which.
    let width = 0.5 * state.slope;
    let ended = width <= w * 9.094947e-13;
    if ended {
        return Row(state.max, root.x, root.y, -1.0);
    }
    if excess < 0.0 {
        return Row(state.max, root.x, root.y, width);
    }
    return Row(state.max, state.sum, state.lost, width);
}

// The results of a share of a row whose state is final.
fn finish_share(line: Line, share: Share, state: Row) {
    let undefined = is_undefined(state.max);
    var k = vec2<f32>(0.0, 0.0);
    var p = vec2<f32>(0.0, 0.0);
    // What the root lacks.
    let rest = state.lost;
    if KIND == SMOOTH {
        k = growth_of(vec2<f32>(state.sum, rest));
    } else if KIND >= ENTMAX {
        k = scale_of(vec2<f32>(state.sum, rest));
        p = exponent_of();
    }
    for (var i = share.first; i < share.end; i += share.step) {
        let at = line.start + i * uniforms.inner;
        let c = below(load_x(at), state.max);
        var y = 0.0;
        if KIND == SPARSEMAX {
            y = at_least(settled(state.sum - c.x) + (rest - c.y), 0.0);
        } else if KIND == ENTMAX15 {
            let u = at_least(settled(state.sum - 0.5 * c.x) + (rest - 0.5 * c.y), 0.0);
            y = u * u;
        } else if KIND == SMOOTH || c.x * (k.x + k.y) < 1.5 {
            let t = element_of(c, k, p);
            y = state.sum * t.y + rest * t.y;
        }
        out[uniforms.out_first + at] = select(y, not_a_number(), undefined);
    }
}

fn store_row(row: u32, r: Row) {
}

// Every row that an invocation has is read by it as often as it takes.
fn holds_row() -> bool {
    return true;
}

fn held_row(line: Line) {
    let share = Share(0u, uniforms.len, 1u);
    var state = completed(reduce(line, share));
    for (var i = 0u; i < MOST_PASSES && !is_final(state); i++) {
        state = refined(state, terms(line, share, state));
    }
    finish_share(line, share, state);
}

var<workgroup> shared_final: u32;

// Whether the state, which is the same in all of the workgroup, is final. Compilers that want barriers
// where all invocations come take that from no state that any one of them has computed.
fn all_final(state: Row, local: u32) -> bool {
    if local == 0u {
        shared_final = select(0u, 1u, is_final(state));
    }
    return workgroupUniformLoad(&shared_final) != 0u;
}

@compute @workgroup_size(workgroup_size)
fn solve_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    opaque_zero = uniforms.zero;
    // Surplus workgroups of the fold go along to the barriers on the last row, and write nothing.
    let row = min(group.y * groups.x + group.x, uniforms.rows - 1u);
    let surplus = group.y * groups.x + group.x >= uniforms.rows;
    let line = line_of(row);
    let share = Share(local, uniforms.len, workgroup_size);
    var state = completed(merge_workgroup(reduce(line, share), local));
    for (var i = 0u; i < MOST_PASSES; i++) {
        if all_final(state, local) {
            break;
        }
        state = refined(state, merge_workgroup(terms(line, share, state), local));
    }
    if !surplus {
        finish_share(line, share, state);
    }
}

@compute @workgroup_size(workgroup_size)
fn refine_partial(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let part = part_of(id.y * (groups.x * workgroup_size) + id.x);
    if !part.inside {
        return;
    }
    let first = partials_of(uniforms.row_first + part.row);
    let state = partials[first + uniforms.partials];
    if is_final(state) {
        return;
    }
    partials[first + uniforms.partial_first + part.lane] = terms(line_of(part.row), part.share, state);
}

// One workgroup a row: all terms into one sum, and the row's state after them.
@compute @workgroup_size(workgroup_size)
fn refine_combine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    opaque_zero = uniforms.zero;
    let row = min(group.y * groups.x + group.x, uniforms.rows - 1u);
    let surplus = group.y * groups.x + group.x >= uniforms.rows;
    let first = partials_of(row);
    var part = nothing();
    for (var i = local; i < uniforms.partials; i += workgroup_size) {
        part = merge(part, partials[first + i]);
    }
    let s = merge_workgroup(part, local);
    if local == 0u && !surplus {
        let at = first + uniforms.partials;
        partials[at] = refined(partials[at], s);
    }
}
