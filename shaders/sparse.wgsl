// Sparsemax and entmax of rows, as a kind of rows.wgsl whose row is read several times. With m the
// row's maximum, q = alpha - 1 and c = m - x, results are w (1 - c q / w^q)^(1/q), and w, the
// largest of them, is the root of the row's sum less 1, which Newton's method finds from w = 1:
// the sum is convex in w, so that the steps stay above the root, and each shrinks the sum's excess
// times its slope by four at least.
// For q > 1 results rise from the threshold with an infinite slope. There the passes first look for
// the least element with a result: one whose elements above would sum to less than 1 if its own result
// were 0. Its result t is the root then, and others are (q d + t^q)^(1/q), which lie d above it: a norm
// of ((q d)^(1/q), t), so that the sum is convex in t, and none is below t, so that Newton's method
// from 1 / their number comes from above.
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

// Passes for one row at most. Newton's are proved to be 14 and the logarithm of the row's length; for
// q > 1 the search for the least element takes 8 and the 32 bits of a float, and two passes lie between.
const MOST_PASSES: u32 = select(46u, 88u, KIND == STEEP);
// A step so short, against the root, that another would be lost in rounding.
const SHORT_STEP: f32 = 1.1920929e-7;
// What the phase of a STEEP row is, as its mark. Less are the passes of the search; the first
// HALVINGS halve what is left by value, which suits most rows, and the others halve the floats in it.
const HALVINGS: f32 = 8.0;
const PICK: f32 = 100.0;
const SOLVE: f32 = 101.0;
// Distances of STEEP rows are this times themselves, so that none is subnormal.
const LIFT: f32 = 18446744073709551616.0;
const LIFT_BITS: i32 = 64;

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
// For STEEP the maximum is replaced by the least element with a result; during the search, the members
// are a bound that elements with results reach or pass, one that they pass, and the value between them
// that is looked at. A state is final where the mark is negative.
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
fn completed(row: u32, r: Row) -> Row {
    if is_undefined(r.max) {
        return Row(r.max, 0.0, 0.0, -1.0);
    }
    if KIND == STEEP {
        // From 1/q below the maximum on nothing has a result; one float more for the rounding.
        let least = float_of(key_of(r.max - ratio(1.0, uniforms.number)) - 1);
        return Row(r.max, least, between(least, r.max, 1.0), 1.0);
    }
    return Row(r.max, 1.0, 0.0, 0.0);
}

fn is_final(state: Row) -> bool {
    return state.slope < 0.0;
}

// A float as an integer of the same order, and back.
fn key_of(v: f32) -> i32 {
    let bits = bitcast<i32>(v);
    return select(bits, -(bits & 0x7fffffff), bits < 0);
}

fn float_of(key: i32) -> f32 {
    return bitcast<f32>(select(u32(key), u32(-key) | 0x80000000u, key < 0));
}

// A value between two, for pass `n` of the search.
fn between(low: f32, high: f32, n: f32) -> f32 {
    let middle = 0.5 * low + 0.5 * high;
    if n <= HALVINGS && middle > low && middle < high {
        return middle;
    }
    let a = key_of(low);
    let b = key_of(high);
    // The middle of the two, whose sum may leave the integers.
    return float_of((a >> 1u) + (b >> 1u) + (a & b & 1));
}

// m - v as hi, lo, exactly (Knuth's two-sum).
fn below(v: f32, m: f32) -> vec2<f32> {
    let hi = settled(m - v);
    let part = settled(hi - m);
    let lo = settled(m - settled(hi - part)) - settled(v + part);
    return vec2<f32>(hi, select(0.0, lo, hi < 1e30));
}

// LIFT times v - least as hi, lo, exactly. Where least is large a difference is 0 or beyond 1/q.
fn lifted(v: f32, least: f32) -> vec2<f32> {
    let small = abs(least) < 1e18;
    let factor = select(1.0, LIFT, small);
    return below(least * factor, v * factor) * select(LIFT, 1.0, small);
}

// q w^-q as hi, lo of which hi has 12 bits; w as hi, lo.
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
    let n = min(e.n + q.n, 188);
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

// log(q d) in two parts, of which the first has 12 bits, for a d of LIFT times itself.
fn log_of_rise(d: vec2<f32>) -> vec2<f32> {
    let q = normalised(uniforms.number);
    let e = normalised(d.x);
    let p = product(e.m, q.m);
    let rest = p.y + scale(d.y, -e.n) * q.m;
    let whole = settled(p.x + rest);
    let n = f32(e.n + q.n - LIFT_BITS);
    let log_m = log_parts(whole, settled(p.x - whole) + rest);
    let h = sum(settled(n * LN2_HI), log_m.x);
    return narrowed(h.x, h.y + (log_m.y + n * LN2_LO));
}

// e^(hi + lo) in two parts, for results: by the logarithm of what `exp_sum` gives.
fn exp_parts(hi: f32, lo: f32) -> vec2<f32> {
    let y = exp_sum(hi, lo);
    if !(y > 1e-30) {
        return vec2<f32>(y, 0.0);
    }
    let log_y = log_parts(y, 0.0);
    return vec2<f32>(y, y * (settled(hi - log_y.x) + (lo - log_y.y)));
}

// The result of an element for STEEP, in two parts, and its slope by t: that of one that lies d above
// the least one, whose result is t; p is 1/q.
struct Rise {
    y: vec2<f32>,
    slope: f32,
}

fn rise_of(d: vec2<f32>, t: vec2<f32>, p: vec2<f32>) -> Rise {
    if !(d.x > 0.0) {
        return Rise(t, 1.0);
    }
    // Logarithms of the result for t = 0, and of t.
    let log_d = times_parts(log_of_rise(d), p);
    if !(t.x > 0.0) {
        return Rise(exp_parts(log_d.x, log_d.y), 0.0);
    }
    let log_t = log_parts(t.x, t.y);
    let ahead = settled(log_d.x - log_t.x) + (log_d.y - log_t.y);
    let first = ahead > 0.0;
    // Past this the smaller one is none.
    let far = at_most(uniforms.number * abs(ahead), 200.0);
    let more = log1p_exp(-far, 0.0) * (p.x + p.y);
    let lo = select(log_t.y, log_d.y, first) + more;
    let hi = select(log_t.x, log_d.x, first);
    let behind = settled(log_t.x - hi) + (log_t.y - lo);
    let slope = exp_sum(at_least(settled(uniforms.number - 1.0) * behind, -200.0), 0.0);
    return Rise(exp_parts(hi, lo), slope);
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
    let root = vec2<f32>(state.sum, state.lost);
    if KIND == STEEP {
        return terms_of_phase(line, share, state);
    } else if KIND == SMOOTH {
        k = growth_of(root);
    } else if KIND == ENTMAX {
        k = scale_of(root);
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

// Those of STEEP. In the search: the largest element left below the value that is looked at, the sum of
// results above it if its own were 0, and how many elements are left above. In PICK: the least element
// with a result, negated, and the number of results. In SOLVE: the sum of results, and of slopes.
fn terms_of_phase(line: Line, share: Share, state: Row) -> Row {
    let p = exponent_of();
    var most = negative_infinity();
    var total = Sum(0.0, 0.0);
    var slope = 0.0;
    for (var i = share.first; i < share.end; i += share.step) {
        let v = load_x(line.start + i * uniforms.inner);
        if state.slope == PICK {
            if v >= state.max {
                most = higher_or_nan(most, -v);
                slope += 1.0;
            }
            continue;
        }
        let solves = state.slope == SOLVE;
        let least = select(state.lost, state.max, solves);
        if v > least || (solves && v == least) {
            let t = select(vec2<f32>(0.0, 0.0), vec2<f32>(state.sum, state.lost), solves);
            let rise = rise_of(lifted(v, least), t, p);
            total = add(total, rise.y.x);
            total.lost -= rise.y.y;
            slope += select(select(0.0, 1.0, v < state.max), rise.slope, solves);
        } else if !solves && v > state.sum && v < least {
            most = higher_or_nan(most, v);
        }
    }
    return Row(most, total.value, total.lost, slope);
}

// The state of a STEEP row after a pass whose terms were `s`.
fn refined_in_phase(state: Row, s: Row) -> Row {
    if state.slope == PICK {
        return Row(-s.max, ratio(1.0, s.slope), 0.0, SOLVE);
    }
    let excess = settled(s.sum - 1.0) - s.lost;
    if state.slope == SOLVE {
        let t = state.sum;
        let step = -excess / s.slope;
        // What is left of a result this small is rounding.
        if !(t + step > 9.094947e-13) {
            return Row(state.max, 0.0, 0.0, -1.0);
        }
        let short = abs(step) <= SHORT_STEP * t + 7.450581e-9;
        return Row(state.max, select(t + step, t, short), select(0.0, step, short), select(SOLVE, -1.0, short));
    }
    let inside = excess < 0.0;
    let high = select(state.max, state.lost, inside);
    let low = select(state.lost, state.sum, inside);
    let left = select(s.slope > 0.0, s.max > negative_infinity(), inside);
    let next = state.slope + 1.0;
    return Row(high, low, select(0.0, between(low, high, next), left), select(PICK, next, left));
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
    if KIND == STEEP {
        return refined_in_phase(state, s);
    }
    let w = state.sum;
    let whole = product(w, s.sum);
    let excess = (settled(whole.x - 1.0) + whole.y) + (state.lost * s.sum - w * s.lost);
    let step = -excess / s.slope;
    let short = abs(step) <= SHORT_STEP * w;
    return Row(state.max, select(w + step, w, short), select(0.0, step, short), select(0.0, -1.0, short));
}

// The results of a share of a row whose state is final.
fn finish_share(line: Line, share: Share, state: Row) {
    let undefined = is_undefined(state.max);
    var k = vec2<f32>(0.0, 0.0);
    var p = vec2<f32>(0.0, 0.0);
    // What the root lacks.
    let rest = state.lost;
    let root = vec2<f32>(state.sum, rest);
    if KIND == SMOOTH {
        k = growth_of(root);
    } else if KIND == ENTMAX {
        k = scale_of(root);
    }
    if KIND == ENTMAX || KIND == STEEP {
        p = exponent_of();
    }
    for (var i = share.first; i < share.end; i += share.step) {
        let at = line.start + i * uniforms.inner;
        let v = load_x(at);
        let c = below(v, state.max);
        var y = 0.0;
        if KIND == STEEP {
            if v >= state.max {
                let result = rise_of(lifted(v, state.max), root, p).y;
                y = result.x + result.y;
            }
        } else if KIND == SPARSEMAX {
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
    var state = completed(line.row, reduce(line, share));
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
    var state = completed(row, merge_workgroup(reduce(line, share), local));
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
