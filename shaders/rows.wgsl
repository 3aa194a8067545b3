// Rows along one axis of an array seen as (outer, len, inner): a row is reduced to a few numbers
// in one pass, and has its results in another. Three ways to divide the work, planned by the host:
//   row_per_invocation, row_per_workgroup;
//   split_partial, split_combine, split_finish: `lanes` invocations a row.
// What is computed is the kind's, whose files or composer supply
//   Line, line_of(row)           what is known of a row before it is read; has `start`
//   Row, nothing()               what a share of a row is reduced to, and one without elements
//   reduce(line, share)          a share's part
//   merge(a, b)                  two parts as one
//   completed(row, r)            the row with what takes part beside its elements
//   store_row(row, r)            writes what is one for each row
//   finish_share(...)            writes what is one for each element of a share
//   holds_row(), held_row(line)  rows that an invocation has a way of its own through
//   REDUCES                      a row has no results but what store_row writes
// so that an entry point refers to just the bindings that it has. sums.wgsl has Row and its
// functions for softmax and its kin. The composer declares the arrays x, dy and out, and
//   UNIT                         elements that lie side by side in one element of an array's type
// A share of a row counts in units; more than one element is in it only where rows are contiguous.

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
    // split: contiguous elements a lane, a multiple of every unit, or 0 where lanes take turns.
    segment: u32,
    // -1 where the function is of -x, else 1.
    sign: f32,
    // 0, which no compiler knows: infinities and NaN are made with it.
    zero: u32,
    // The first row and the first step of this binding in the whole array.
    row_offset: u32,
    step_offset: u32,
    // A parameter of the kind's own.
    number: f32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(4) var<storage, read_write> partials: array<Row>;

// A sum with the part that its rounding lost (Kahan 1965), added to by pairwise sums of a few.
struct Sum {
    value: f32,
    lost: f32,
}

fn add(s: Sum, term: f32) -> Sum {
    let y = settled(term - s.lost);
    let t = settled(s.value + y);
    return Sum(t, settled(t - s.value) - y);
}

// What many exponentials are relative to: far + near, of which one is 0. `near` has 23 bits down to
// 2^-9, so that sums with multiples of LN2_HI are exact; from a number that is as far from 0 as `far`,
// what matters differs by little, and the difference is exact.
struct Reference {
    far: f32,
    near: f32,
}

// For an m that `snapped` returned. Nothing is to be taken from -infinity.
fn reference_of(m: f32) -> Reference {
    let is_near = abs(m) < 8192.0;
    return Reference(select(m, 0.0, is_near | (is_inf(m) & (m < 0.0))), select(0.0, m, is_near));
}

// A number within 2^-10 of v that can be a reference.
fn snapped(v: f32) -> f32 {
    return select(v, settled(v + 24576.0) - 24576.0, abs(v) < 8192.0);
}

// e^(x + x_lo - m) for x <= m + 60; 0 for x = -infinity, NaN for NaN and for x = m = +infinity.
// The same as exp_below for a third of its price: m is taken away together with the multiple of
// log 2 that reduces the difference.
fn exp_from(x: f32, x_lo: f32, m: Reference) -> f32 {
    let v = x - m.far;
    let d = (v + x_lo) - m.near;
    // n and 2^(n + 30), which is normal where e^d is not; 12582912 makes integers of sums.
    let t = settled(d * LOG2_E + 12583069.0);
    let n = t - 12583069.0;
    let r = (settled(v - settled(m.near + n * LN2_HI)) + x_lo) - n * LN2_LO;
    // e^r - 1 - r on |r| <= 0.3475 (0.06): a term less than expm1_reduced, which takes longer ones.
    let p = 0.49999994 + r * (0.166665211 + r * (0.0416682921 + r * (0.00836871564
        + r * 0.00138186978)));
    let e = ((1.0 + (r + r * r * p)) * bitcast<f32>(bitcast<u32>(t) << 23u)) * 9.31322575e-10;
    return select(e, 0.0, d < -104.0);
}

// e^(x - m) for x <= m + 88 with the difference's rounding error carried along; 0 for x = -infinity,
// NaN for x = +infinity and for NaN.
fn exp_below(x: f32, m: f32) -> f32 {
    let d = sum(x, -m);
    let e = exp_sum(d.x, d.y);
    return select(e, 0.0, (x - m < -200.0) | (is_inf(x) & (x < 0.0)));
}

fn negative_infinity() -> f32 {
    return bitcast<f32>(0xff800000u + uniforms.zero);
}

fn not_a_number() -> f32 {
    return bitcast<f32>(0x7fc00000u + uniforms.zero);
}

// a + b as the rounded sum and what its rounding lost (Knuth 1969).
fn exact_sum(a: f32, b: f32) -> vec2<f32> {
    let s = settled(a + b);
    let of_b = settled(s - a);
    return vec2<f32>(s, settled(settled(a - settled(s - of_b)) + settled(b - of_b)));
}

// A sum of two whose first is infinite or NaN has no second.
fn bounded(v: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(v.x, select(v.y, 0.0, !is_finite(v.x)));
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

// The first element of a row.
fn row_start(row: u32) -> u32 {
    return (row / uniforms.inner) * uniforms.len * uniforms.inner + row % uniforms.inner;
}

// The units of a row that an invocation has: first, first + step, ... below end.
struct Share {
    first: u32,
    end: u32,
    step: u32,
}

// The larger of two; a NaN only where a is one.
fn higher(a: f32, b: f32) -> f32 {
    return select(a, b, (b > a) | is_nan(a));
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
    let share = Share(0u, uniforms.len / UNIT, 1u);
    let r = completed(row, reduce(line, share));
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
    let share = Share(local, uniforms.len / UNIT, workgroup_size);
    let part = reduce(line, share);
    let r = completed(row, merge_workgroup(part, local));
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
    let units = uniforms.len / UNIT;
    var share = Share(lane, units, uniforms.lanes);
    if uniforms.segment > 0u {
        let segment = uniforms.segment / UNIT;
        let first = min(lane * segment, units);
        share = Share(first, min(first + segment, units), 1u);
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
    let r = completed(row, merge_workgroup(part, local));
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
