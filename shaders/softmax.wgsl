// The softmax family along one axis of an array seen as (outer, len, inner), forward and
// backward, by two passes over a row: one for its maximum m and the sum of e^(x - m), one for
// the results. Three ways to divide the work, planned by the host:
//   row_per_invocation, row_per_workgroup;
//   split_partial, split_combine, split_finish: `lanes` invocations a row.
// The composer writes, for what is computed and for which buffers are one, `KIND`, `BACKWARD`,
// `FROM_OUTPUT` (softmax's gradient with its own output as x), `load_x(i)`, `load_dy(i)`,
// `dot_term(i, row, e)` and `store_row(row, r)`, so that an entry point refers to just the
// bindings that it has.

struct Uniforms {
    // Length of a row in this binding, and the stride of its elements.
    len: u32,
    inner: u32,
    // Rows in this binding.
    rows: u32,
    // Where the arrays begin in their bindings, in elements.
    x_first: u32,
    dy_first: u32,
    out_first: u32,
    // split: invocations a row, all partial results a row, and the first one's place.
    lanes: u32,
    partials: u32,
    partial_first: u32,
    // split: the first row's place among the partial results' rows.
    row_first: u32,
    // split: contiguous elements a lane, or 0 where lanes take turns.
    segment: u32,
    // -1 for softmin, else 1.
    sign: f32,
    // 0, which no compiler knows: infinities and NaN are made with it.
    zero: u32,
}

const SOFTMAX: u32 = 0u;
const LOG_SOFTMAX: u32 = 1u;
const LOGSUMEXP: u32 = 2u;

// Whether a row's result is one value.
const REDUCES: bool = KIND == LOGSUMEXP && !BACKWARD;

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(4) var<storage, read_write> partials: array<Row>;

// What a row's elements are reduced to.
struct Row {
    // The maximum, or for softmax and for gradients what is close below it; and whether an
    // element was NaN (1) or not (0).
    max: f32,
    nan: f32,
    // Sum of e^(x - max); backward also of g e^(x - max), or of g for log_softmax.
    sum: f32,
    dot: f32,
}

// A sum with the part that its rounding lost (Kahan 1965), added to by pairwise sums of a few.
struct Sum {
    value: f32,
    lost: f32,
}

fn add(s: Sum, term: f32) -> Sum {
    let y = term - s.lost;
    let t = s.value + y;
    return Sum(t, settled(settled(t) - s.value) - y);
}

// e^(x - m) for x <= m + 88 with the difference's rounding error carried along; 0 for x = -infinity,
// NaN for x = +infinity and for NaN.
fn exp_below(x: f32, m: f32) -> f32 {
    let d = sum(x, -m);
    let e = exp_sum(d.x, d.y);
    return select(e, 0.0, x - m < -200.0 || (is_inf(x) && x < 0.0));
}

fn element(i: u32) -> f32 {
    let v = load_x(uniforms.x_first + i);
    return select(uniforms.sign * v, v, FROM_OUTPUT);
}

// An element's softmax times its row's sum.
fn weight(v: f32, m: f32) -> f32 {
    if FROM_OUTPUT {
        return v;
    }
    return exp_below(v, m);
}

// The upstream gradient of element i, which is the row's own for logsumexp.
fn upstream(i: u32, row: u32) -> f32 {
    return load_dy(uniforms.dy_first + select(i, row, KIND == LOGSUMEXP));
}

// The first element of a row.
fn row_start(row: u32) -> u32 {
    return (row / uniforms.inner) * uniforms.len * uniforms.inner + row % uniforms.inner;
}

// The elements of a row that an invocation has: first, first + step, ... below end.
struct Share {
    first: u32,
    end: u32,
    step: u32,
}

// A share while it is read: the sums are of e^(x - reference), and the reference follows the
// maximum only where that runs away, because every move rounds the sums.
struct Running {
    reference: f32,
    nan: f32,
    total: Sum,
    dots: Sum,
}

// How far an element may lie above the reference: e^16 times 2^32 elements stay far inside f32.
const HEADROOM: f32 = 16.0;
// Elements that are read at a time.
const UNROLL: u32 = 8u;
// The longest row that an invocation holds.
const SHORT: u32 = 16u;

// The running share after elements whose maximum is `high`, before their terms are added.
fn follow(running: Running, high: f32) -> Running {
    var r = running;
    if high > r.reference + HEADROOM {
        let w = exp_below(r.reference, high);
        r.total = Sum(r.total.value * w, r.total.lost * w);
        if KIND != LOG_SOFTMAX {
            r.dots = Sum(r.dots.value * w, r.dots.lost * w);
        }
        r.reference = high;
    }
    return r;
}

// A share's maximum and sums; each element is read once, or twice where a logarithm follows.
fn reduce(row: u32, start: u32, share: Share) -> Row {
    let inner = uniforms.inner;
    // A share of no elements stays at -infinity.
    var seed = select(nothing().max, 0.0, FROM_OUTPUT);
    if !FROM_OUTPUT && share.first < share.end {
        seed = element(start + share.first * inner);
    }
    let stride = share.step * inner;
    var i = share.first;
    if KIND != SOFTMAX && !BACKWARD {
        // A logarithm near 0 needs the largest term to be 1 and nothing else: a pass for it.
        for (; i + (UNROLL - 1u) * share.step < share.end; i += UNROLL * share.step) {
            let at = start + i * inner;
            seed = higher(seed, higher(
                higher(higher(element(at), element(at + stride)), higher(element(at + 2u * stride), element(at + 3u * stride))),
                higher(higher(element(at + 4u * stride), element(at + 5u * stride)), higher(element(at + 6u * stride), element(at + 7u * stride)))));
        }
        for (; i < share.end; i += share.step) {
            seed = higher(seed, element(start + i * inner));
        }
    }
    var r = Running(seed, 0.0, Sum(0.0, 0.0), Sum(0.0, 0.0));
    i = share.first;
    for (; i + (UNROLL - 1u) * share.step < share.end; i += UNROLL * share.step) {
        let at = start + i * inner;
        let v = array<f32, 8>(
            element(at), element(at + stride), element(at + 2u * stride), element(at + 3u * stride),
            element(at + 4u * stride), element(at + 5u * stride), element(at + 6u * stride), element(at + 7u * stride));
        if !FROM_OUTPUT {
            let high = higher(higher(higher(v[0], v[1]), higher(v[2], v[3])),
                higher(higher(v[4], v[5]), higher(v[6], v[7])));
            r = follow(r, high);
            let nan = (is_nan(v[0]) || is_nan(v[1])) || (is_nan(v[2]) || is_nan(v[3]))
                || (is_nan(v[4]) || is_nan(v[5])) || (is_nan(v[6]) || is_nan(v[7]));
            r.nan = select(r.nan, 1.0, nan);
        }
        let m = r.reference;
        let e = array<f32, 8>(
            weight(v[0], m), weight(v[1], m), weight(v[2], m), weight(v[3], m),
            weight(v[4], m), weight(v[5], m), weight(v[6], m), weight(v[7], m));
        r.total = add(r.total, ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7])));
        if BACKWARD {
            let low = (dot_term(at, row, e[0]) + dot_term(at + stride, row, e[1]))
                + (dot_term(at + 2u * stride, row, e[2]) + dot_term(at + 3u * stride, row, e[3]));
            let up = (dot_term(at + 4u * stride, row, e[4]) + dot_term(at + 5u * stride, row, e[5]))
                + (dot_term(at + 6u * stride, row, e[6]) + dot_term(at + 7u * stride, row, e[7]));
            r.dots = add(r.dots, low + up);
        }
    }
    for (; i < share.end; i += share.step) {
        let at = start + i * inner;
        let v = element(at);
        if !FROM_OUTPUT {
            r = follow(r, v);
            r.nan = select(r.nan, 1.0, is_nan(v));
        }
        let e = weight(v, r.reference);
        r.total = add(r.total, e);
        r.dots = add(r.dots, dot_term(at, row, e));
    }
    return Row(r.reference, r.nan, r.total.value, r.dots.value);
}

// The larger of two; a NaN only where a is one.
fn higher(a: f32, b: f32) -> f32 {
    return select(a, b, b > a || is_nan(a));
}

// Two parts of a row as one. A part of nothing but -infinity, or of nothing, has a sum of 0.
fn merge(a: Row, b: Row) -> Row {
    let m = select(a.max, b.max, b.max > a.max || is_nan(b.max));
    let wa = select(exp_below(a.max, m), 1.0, a.max == m);
    let wb = select(exp_below(b.max, m), 1.0, b.max == m);
    let dots = select(a.dot * wa + b.dot * wb, a.dot + b.dot, KIND == LOG_SOFTMAX);
    return Row(m, max(a.nan, b.nan), a.sum * wa + b.sum * wb, dots);
}

// The part of an invocation that has no element.
fn nothing() -> Row {
    return Row(bitcast<f32>(0xff800000u + uniforms.zero), 0.0, 0.0, 0.0);
}

// An infinite maximum is the limit; a NaN element wins over it.
fn logsumexp_of(r: Row) -> f32 {
    let value = select(r.max + log_positive(r.sum), r.max, is_inf(r.max));
    return select(value, bitcast<f32>(0x7fc00000u + uniforms.zero), r.nan > 0.0);
}

// x - m - log(sum).
fn log_softmax_of(v: f32, r: Row, log_sum: f32) -> f32 {
    let d = sum(v, -r.max);
    let plain = v - r.max;
    return select(plain - log_sum, d.x - (log_sum - d.y), plain > -1e30);
}

// The results of a share of a row that was reduced to r.
fn finish_share(row: u32, start: u32, share: Share, r: Row) {
    let log_sum = row_log_sum(r);
    let stride = share.step * uniforms.inner;
    var i = share.first;
    for (; i + 3u * share.step < share.end; i += 4u * share.step) {
        let at = start + i * uniforms.inner;
        finish(at, row, r, log_sum);
        finish(at + stride, row, r, log_sum);
        finish(at + 2u * stride, row, r, log_sum);
        finish(at + 3u * stride, row, r, log_sum);
    }
    for (; i < share.end; i += share.step) {
        finish(start + i * uniforms.inner, row, r, log_sum);
    }
}

// The result at element i of a row that was reduced to r.
fn finish(i: u32, row: u32, r: Row, log_sum: f32) {
    let v = element(i);
    var y: f32;
    if BACKWARD {
        // A row of outputs has the sum 1 by what it is.
        let sum = select(r.sum, 1.0, FROM_OUTPUT);
        let share = weight(v, r.max) / sum;
        let g = upstream(i, row);
        if KIND == SOFTMAX {
            y = uniforms.sign * share * (g - r.dot / sum);
        } else if KIND == LOG_SOFTMAX {
            y = g - share * r.dot;
        } else {
            y = g * share;
        }
    } else if KIND == SOFTMAX {
        y = exp_below(v, r.max) / r.sum;
    } else {
        y = log_softmax_of(v, r, log_sum);
    }
    out[uniforms.out_first + i] = y;
}

// A row's log of the sum; with a NaN where the row has no defined log_softmax.
fn row_log_sum(r: Row) -> f32 {
    return select(log_positive(r.sum), r.sum, is_nan(r.sum));
}

// Element k of a short row, or what changes no maximum and no sum.
fn short_element(start: u32, k: u32) -> f32 {
    let v = element(start + min(k, uniforms.len - 1u) * uniforms.inner);
    return select(nothing().max, v, k < uniforms.len);
}

fn store_short(start: u32, k: u32, v: f32, e: f32, r: Row, log_sum: f32) {
    if k < uniforms.len {
        let y = select(log_softmax_of(v, r, log_sum), e / r.sum, KIND == SOFTMAX);
        out[uniforms.out_first + start + k * uniforms.inner] = y;
    }
}

// A row of at most sixteen elements, which an invocation holds: one read, one exponential and
// one write an element.
fn short_row(start: u32) {
    let v = array<f32, 16>(
        short_element(start, 0u), short_element(start, 1u), short_element(start, 2u), short_element(start, 3u),
        short_element(start, 4u), short_element(start, 5u), short_element(start, 6u), short_element(start, 7u),
        short_element(start, 8u), short_element(start, 9u), short_element(start, 10u), short_element(start, 11u),
        short_element(start, 12u), short_element(start, 13u), short_element(start, 14u), short_element(start, 15u));
    let low = higher(higher(higher(v[0], v[1]), higher(v[2], v[3])), higher(higher(v[4], v[5]), higher(v[6], v[7])));
    let up = higher(higher(higher(v[8], v[9]), higher(v[10], v[11])), higher(higher(v[12], v[13]), higher(v[14], v[15])));
    let m = higher(low, up);
    let e = array<f32, 16>(
        exp_below(v[0], m), exp_below(v[1], m), exp_below(v[2], m), exp_below(v[3], m),
        exp_below(v[4], m), exp_below(v[5], m), exp_below(v[6], m), exp_below(v[7], m),
        exp_below(v[8], m), exp_below(v[9], m), exp_below(v[10], m), exp_below(v[11], m),
        exp_below(v[12], m), exp_below(v[13], m), exp_below(v[14], m), exp_below(v[15], m));
    let first = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    let second = ((e[8] + e[9]) + (e[10] + e[11])) + ((e[12] + e[13]) + (e[14] + e[15]));
    let r = Row(m, 0.0, first + second, 0.0);
    let log_sum = row_log_sum(r);
    store_short(start, 0u, v[0], e[0], r, log_sum);
    store_short(start, 1u, v[1], e[1], r, log_sum);
    store_short(start, 2u, v[2], e[2], r, log_sum);
    store_short(start, 3u, v[3], e[3], r, log_sum);
    store_short(start, 4u, v[4], e[4], r, log_sum);
    store_short(start, 5u, v[5], e[5], r, log_sum);
    store_short(start, 6u, v[6], e[6], r, log_sum);
    store_short(start, 7u, v[7], e[7], r, log_sum);
    store_short(start, 8u, v[8], e[8], r, log_sum);
    store_short(start, 9u, v[9], e[9], r, log_sum);
    store_short(start, 10u, v[10], e[10], r, log_sum);
    store_short(start, 11u, v[11], e[11], r, log_sum);
    store_short(start, 12u, v[12], e[12], r, log_sum);
    store_short(start, 13u, v[13], e[13], r, log_sum);
    store_short(start, 14u, v[14], e[14], r, log_sum);
    store_short(start, 15u, v[15], e[15], r, log_sum);
}

@compute @workgroup_size(workgroup_size)
fn row_per_invocation(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let row = id.y * (groups.x * workgroup_size) + id.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row_start(row);
    if !BACKWARD && !REDUCES && uniforms.len <= SHORT {
        short_row(start);
        return;
    }
    let share = Share(0u, uniforms.len, 1u);
    let r = reduce(row, start, share);
    if REDUCES {
        store_row(row, r);
        return;
    }
    finish_share(row, start, share, r);
}

var<workgroup> shared_rows: array<Row, workgroup_size>;

// The merged parts of all of a workgroup's invocations, in each of them.
fn merge_workgroup(part: Row, local: u32) -> Row {
    shared_rows[local] = part;
    workgroupBarrier();
    // Any workgroup size: the upper part folds onto the lower until one is left.
    for (var width = workgroup_size; width > 1u;) {
        let half = (width + 1u) / 2u;
        if local + half < width {
            shared_rows[local] = merge(shared_rows[local], shared_rows[local + half]);
        }
        workgroupBarrier();
        width = half;
    }
    return workgroupUniformLoad(&shared_rows[0]);
}

@compute @workgroup_size(workgroup_size)
fn row_per_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    opaque_zero = uniforms.zero;
    // Surplus workgroups of the fold go along to the barriers on the last row, and write nothing.
    let row = min(group.y * groups.x + group.x, uniforms.rows - 1u);
    let surplus = group.y * groups.x + group.x >= uniforms.rows;
    let start = row_start(row);
    let share = Share(local, uniforms.len, workgroup_size);
    let part = reduce(row, start, share);
    let r = merge_workgroup(part, local);
    if surplus {
        return;
    }
    if REDUCES {
        if local == 0u {
            store_row(row, r);
        }
        return;
    }
    finish_share(row, start, share, r);
}

// An invocation of a split row: the lane is fastest where rows are contiguous, else the row.
struct Part {
    row: u32,
    lane: u32,
    share: Share,
    inside: bool,
}

fn part_of(index: u32) -> Part {
    let inner = uniforms.inner;
    let column = index % inner;
    let rest = index / inner;
    let row = (rest / uniforms.lanes) * inner + column;
    let lane = rest % uniforms.lanes;
    var share = Share(lane, uniforms.len, uniforms.lanes);
    if uniforms.segment > 0u {
        let first = min(lane * uniforms.segment, uniforms.len);
        share = Share(first, min(first + uniforms.segment, uniforms.len), 1u);
    }
    return Part(row, lane, share, row < uniforms.rows);
}

// Where a row's partial results begin; the last is the combined one.
fn partials_of(row: u32) -> u32 {
    return row * (uniforms.partials + 1u);
}

@compute @workgroup_size(workgroup_size)
fn split_partial(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let part = part_of(id.y * (groups.x * workgroup_size) + id.x);
    if !part.inside {
        return;
    }
    let r = reduce(part.row, row_start(part.row), part.share);
    partials[partials_of(uniforms.row_first + part.row) + uniforms.partial_first + part.lane] = r;
}

// One workgroup a row: all partial results into one.
@compute @workgroup_size(workgroup_size)
fn split_combine(
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
    let r = merge_workgroup(part, local);
    if local == 0u && !surplus {
        partials[first + uniforms.partials] = r;
        store_row(row, r);
    }
}

@compute @workgroup_size(workgroup_size)
fn split_finish(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let part = part_of(id.y * (groups.x * workgroup_size) + id.x);
    if !part.inside {
        return;
    }
    let first = partials_of(uniforms.row_first + part.row);
    finish_share(part.row, row_start(part.row), part.share, partials[first + uniforms.partials]);
}
