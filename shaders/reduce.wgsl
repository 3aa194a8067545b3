// Sums over axes of an array: terms to partial sums, partial sums to fewer, those to results.
// The composer writes `term(i, j)` for the element at x[i] and dy[j]. Nothing is atomic and
// nothing depends on timing, so that a sum has the same bits each time.
//
// An array is six groups of axes, by turns kept and summed over: k1 r1 k2 r2 k3 r3. A row is one
// sum: a value of (k1, k2, k3). A partial sum is a pair: what was added up, and what its roundings
// lost.

struct Uniforms {
    // Terms of a row in this dispatch, or partial sums to merge.
    len: u32,
    r1: u32,
    k2: u32,
    r2: u32,
    k3: u32,
    r3: u32,
    rows: u32,
    // Invocations of a row.
    lanes: u32,
    // Terms that a lane adds up one after the other, or 0 where lanes take turns.
    segment: u32,
    // 1 where neighbouring invocations have neighbouring rows, 0 where they share one.
    columns: u32,
    // Elements before the first in the bindings.
    x_first: u32,
    dy_first: u32,
    out_first: u32,
    // Where partial sums lie: those of row r from first + r * slots on.
    from_first: u32,
    from_slots: u32,
    to_first: u32,
    to_slots: u32,
    // The term's parameters.
    p0: f32,
    p1: f32,
    // What a sum is divided by; 0 for both parts of it as they are.
    divisor: f32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(4) var<storage, read_write> partials: array<vec2<f32>>;

// This invocation's number. Workgroups are folded into two dimensions, of which one ends at 65,535.
fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    opaque_zero = uniforms.zero;
    return id.y * (groups.x * workgroup_size) + id.x;
}

// Row and lane of an invocation.
fn place(i: u32) -> vec2<u32> {
    if uniforms.columns != 0u {
        return vec2<u32>(i % uniforms.rows, i / uniforms.rows);
    }
    return vec2<u32>(i / uniforms.lanes, i % uniforms.lanes);
}

// s + t: the rounded sum, and what was lost so far (Neumaier 1974).
fn add(s: vec2<f32>, t: f32) -> vec2<f32> {
    let total = settled(s.x + t);
    let larger = select(t, s.x, abs(s.x) >= abs(t));
    let lost = settled(settled(larger - total) + other_of(s.x, t, larger));
    return vec2<f32>(total, s.y + lost);
}

fn total(s: vec2<f32>) -> f32 {
    // Past the end of f32, and of NaN, what was lost means nothing.
    let sum = select(s.x + s.y, s.x, is_nan(s.x) || is_inf(s.x));
    let whole = uniforms.divisor == 1.0 || is_nan(sum) || is_inf(sum);
    return select(quotient(sum, uniforms.divisor), sum, whole);
}

fn store(row: u32, s: vec2<f32>) {
    if uniforms.divisor == 0.0 {
        out[uniforms.out_first + 2u * row] = s.x;
        out[uniforms.out_first + 2u * row + 1u] = s.y;
    } else {
        out[uniforms.out_first + row] = total(s);
    }
}

fn lane_sum(row: u32, lane: u32) -> vec2<f32> {
    // Elements from one index of each group to the next.
    let k3_step = uniforms.r3;
    let r2_step = uniforms.k3 * k3_step;
    let k2_step = uniforms.r2 * r2_step;
    let r1_step = uniforms.k2 * k2_step;
    let outer = row / uniforms.k3;
    let start = (outer / uniforms.k2) * (uniforms.r1 * r1_step) + (outer % uniforms.k2) * k2_step
        + (row % uniforms.k3) * k3_step;
    var s = vec2<f32>(0.0, 0.0);
    if uniforms.segment == 0u {
        for (var e = lane; e < uniforms.len; e += uniforms.lanes) {
            let rest = e / uniforms.r3;
            let at = start + (rest / uniforms.r2) * r1_step + (rest % uniforms.r2) * r2_step
                + e % uniforms.r3;
            s = add(s, term(uniforms.x_first + at, uniforms.dy_first + at));
        }
        return s;
    }
    let first = min(lane * uniforms.segment, uniforms.len);
    let count = min(uniforms.segment, uniforms.len - first);
    // Indices count up like an odometer: divisions are dear where such adapters are.
    let rest = first / uniforms.r3;
    var i3 = first % uniforms.r3;
    var i2 = rest % uniforms.r2;
    var at = start + (rest / uniforms.r2) * r1_step + i2 * r2_step + i3;
    for (var e = 0u; e < count; e++) {
        s = add(s, term(uniforms.x_first + at, uniforms.dy_first + at));
        i3 += 1u;
        let carry3 = i3 == uniforms.r3;
        i3 = select(i3, 0u, carry3);
        i2 += select(0u, 1u, carry3);
        let carry2 = i2 == uniforms.r2;
        i2 = select(i2, 0u, carry2);
        at += select(1u, r2_step + 1u - uniforms.r3, carry3);
        at += select(0u, r1_step - uniforms.r2 * r2_step, carry2);
    }
    return s;
}

// Results at once, where a row has one lane.
@compute @workgroup_size(workgroup_size)
fn sum_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = invocation(id, groups);
    if row < uniforms.rows {
        store(row, lane_sum(row, 0u));
    }
}

@compute @workgroup_size(workgroup_size)
fn sum_lanes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.rows * uniforms.lanes {
        let at = place(i);
        partials[uniforms.to_first + at.x * uniforms.to_slots + at.y] = lane_sum(at.x, at.y);
    }
}

// Partial sums `segment` apart from each other, to one in a lane.
fn merged(row: u32, first: u32, count: u32) -> vec2<f32> {
    let begin = uniforms.from_first + row * uniforms.from_slots;
    var s = vec2<f32>(0.0, 0.0);
    for (var e = first; e < min(first + count, uniforms.len); e++) {
        let next = partials[begin + e];
        let sum = add(s, next.x);
        s = vec2<f32>(sum.x, sum.y + next.y);
    }
    return s;
}

@compute @workgroup_size(workgroup_size)
fn merge(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.rows * uniforms.lanes {
        let at = vec2<u32>(i / uniforms.lanes, i % uniforms.lanes);
        let s = merged(at.x, at.y * uniforms.segment, uniforms.segment);
        partials[uniforms.to_first + at.x * uniforms.to_slots + at.y] = s;
    }
}

@compute @workgroup_size(workgroup_size)
fn finish(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = invocation(id, groups);
    if row < uniforms.rows {
        store(row, merged(row, 0u, uniforms.len));
    }
}
