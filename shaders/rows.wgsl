// Rows along one axis of an array seen as (outer, len, inner): a row is reduced to a maximum m
// and sums over weights e^(x - m) in one pass, and has its results in another. Three ways to
// divide the work, planned by the host:
//   row_per_invocation, row_per_workgroup;
//   split_partial, split_combine, split_finish: `lanes` invocations a row.
// What is summed and what comes out is the kind's, whose file or composer supplies
//   Line, line_of(row)           what is known of a row before it is read; has `start`
//   Value, element(line, k, at)  element k of the row, at `at` behind the binding's first
//   high(v), is_nan_value(v)     a value as an f32, close enough to be a maximum
//   end_of(line, end)            where the elements that take part end
//   kept(v)                      whether an element takes part
//   weight(v, m)                 e^(v - m)
//   dot_term(line, k, at, v, w)  the second sum's term
//   completed(r)                 the row with what takes part beside its elements
//   store_row(row, r)      writes what is one for each row
//   finish_share(...)            writes what is one for each element of a share
//   holds_row(), held_row(line)  short rows that an invocation reads once, all at once
// and the constants
//   FROM_OUTPUT   weights are the elements themselves: there is no maximum
//   EXACT_MAX     the maximum is looked for before the sums
//   DOTS          there is a second sum
//   DOTS_SCALED   its terms have the weight as a factor
//   REDUCES       a row has no results but what store_row writes
//   MASKED        elements may take no part
// so that an entry point refers to just the bindings that it has.

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
    // -1 where the function is of -x, else 1.
    sign: f32,
    // 0, which no compiler knows: infinities and NaN are made with it.
    zero: u32,
    // The first row and the first step of this binding in the whole array.
    row_offset: u32,
    step_offset: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(4) var<storage, read_write> partials: array<Row>;

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

fn negative_infinity() -> f32 {
    return bitcast<f32>(0xff800000u + uniforms.zero);
}

fn not_a_number() -> f32 {
    return bitcast<f32>(0x7fc00000u + uniforms.zero);
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

// The larger of two; a NaN only where a is one.
fn higher(a: f32, b: f32) -> f32 {
    return select(a, b, b > a || is_nan(a));
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

@compute @workgroup_size(workgroup_size)
fn row_per_invocation(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let row = id.y * (groups.x * workgroup_size) + id.x;
    if row >= uniforms.rows {
        return;
    }
    let line = line_of(row);
    if holds_row() {
        held_row(line);
        return;
    }
    let share = Share(0u, uniforms.len, 1u);
    let r = completed(reduce(line, share));
    store_row(row, r);
    if !REDUCES {
        finish_share(line, share, r);
    }
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
    let line = line_of(row);
    let share = Share(local, uniforms.len, workgroup_size);
    let part = reduce(line, share);
    let r = completed(merge_workgroup(part, local));
    if surplus {
        return;
    }
    if local == 0u {
        store_row(row, r);
    }
    if !REDUCES {
        finish_share(line, share, r);
    }
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
    let r = reduce(line_of(part.row), part.share);
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
    let r = completed(merge_workgroup(part, local));
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
    finish_share(line_of(part.row), part.share, partials[first + uniforms.partials]);
}
