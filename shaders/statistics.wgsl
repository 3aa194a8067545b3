// Statistics of activations y = f(x) over a part of an array seen as (outer, units, inner): what
// is added up by each invocation over its elements (`summarise`), and, with the mean and the
// range known, squared distances and a histogram (`spread`). The host merges the invocations'
// parts in f64. The composer writes `activate_one(x)` and `slope_one(x)`.

struct Uniforms {
    // Elements in this part, and how many lie before them in the binding.
    count: u32,
    first: u32,
    // Invocations, which take turns.
    lanes: u32,
    // Units, the stride of a unit's elements, and the part's first element modulo units * inner.
    units: u32,
    inner: u32,
    phase: u32,
    // The first lane's place among all parts' lanes.
    lane_first: u32,
    p0: f32,
    p1: f32,
    // A slope below this, in magnitude, passes no gradient.
    saturation: f32,
    // spread: the mean, and a power of two that brings distances from it into range.
    mean: f32,
    shrink: f32,
    // spread: bins, and what turns half a distance from the first edge into a bin.
    bins: u32,
    bins_per_half: f32,
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
// spread: the edges of the bins, one more than there are bins.
@group(0) @binding(5) var<storage, read> edges: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
// summarise: 1 for a unit that was anything but zero. spread: the bins' counts.
@group(0) @binding(6) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;

// A sum with what rounding lost of it (Kahan).
struct Compensated {
    value: f32,
    lost: f32,
}

fn added(a: Compensated, term: f32) -> Compensated {
    let y = settled(term - a.lost);
    let t = settled(a.value + y);
    // An infinite sum has lost nothing.
    return Compensated(t, select(settled(t - a.value) - y, 0.0, is_inf(t)));
}

// Values above this are added apart, scaled down, so that no sum overflows.
const LARGE: f32 = 1.152921504606847e18;
const LARGE_SCALE: f32 = 8.673617379884035e-19;

// Words of a lane's part: a place of `out` each.
const SUMMARY: u32 = 13u;
const SPREAD: u32 = 2u;

@compute @workgroup_size(workgroup_size)
fn clear(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * (groups.x * workgroup_size) + id.x;
    if i < uniforms.count {
        atomicStore(&counts[i], 0u);
    }
}

@compute @workgroup_size(workgroup_size)
fn summarise(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let lane = id.y * (groups.x * workgroup_size) + id.x;
    if lane >= uniforms.lanes {
        return;
    }
    var nan = 0u;
    var positive = 0u;
    var negative = 0u;
    var zeros = 0u;
    var saturated = 0u;
    // Of no numbers: bit patterns of the infinities, made where no compiler sees them.
    var low = bitcast<f32>(0x7f800000u + uniforms.zero);
    var high = bitcast<f32>(0xff800000u + uniforms.zero);
    var total = Compensated(0.0, 0.0);
    var large = 0.0;
    var slopes = Compensated(0.0, 0.0);
    var large_slopes = 0.0;
    // The element's place within its unit's run, and its unit; a turn adds to both.
    let start = uniforms.phase + lane;
    var place = start % uniforms.inner;
    var unit = (start / uniforms.inner) % uniforms.units;
    let place_step = uniforms.lanes % uniforms.inner;
    let unit_step = (uniforms.lanes / uniforms.inner) % uniforms.units;
    var seen_alive = false;
    for (var i = lane; i < uniforms.count; i += uniforms.lanes) {
        let v = x[uniforms.first + i];
        let y = activate_one(v);
        let is_zero = (bitcast<u32>(y) & 0x7fffffffu) == 0u;
        if is_nan(y) {
            nan += 1u;
        } else {
            if is_inf(y) {
                positive += select(0u, 1u, y > 0.0);
                negative += select(1u, 0u, y > 0.0);
            } else {
                low = select(low, y, y < low);
                high = select(high, y, y > high);
                if abs(y) > LARGE {
                    large += y * LARGE_SCALE;
                } else {
                    total = added(total, y);
                }
                zeros += select(0u, 1u, is_zero);
            }
            let slope = abs(slope_one(v));
            saturated += select(0u, 1u, slope < uniforms.saturation);
            if slope > LARGE {
                large_slopes += slope * LARGE_SCALE;
            } else {
                slopes = added(slopes, slope);
            }
        }
        seen_alive = seen_alive || !is_zero;
        place += place_step;
        let carry = place >= uniforms.inner;
        place -= select(0u, uniforms.inner, carry);
        let moved = unit_step + select(0u, 1u, carry);
        if moved != 0u || i + uniforms.lanes >= uniforms.count {
            if seen_alive {
                atomicStore(&counts[unit], 1u);
            }
            seen_alive = false;
            unit += moved;
            unit -= select(0u, uniforms.units, unit >= uniforms.units);
        }
    }
    let at = (uniforms.lane_first + lane) * SUMMARY;
    out[at] = nan;
    out[at + 1u] = positive;
    out[at + 2u] = negative;
    out[at + 3u] = zeros;
    out[at + 4u] = saturated;
    out[at + 5u] = bitcast<u32>(low);
    out[at + 6u] = bitcast<u32>(high);
    out[at + 7u] = bitcast<u32>(total.value);
    out[at + 8u] = bitcast<u32>(total.lost);
    out[at + 9u] = bitcast<u32>(large);
    out[at + 10u] = bitcast<u32>(slopes.value);
    out[at + 11u] = bitcast<u32>(slopes.lost);
    out[at + 12u] = bitcast<u32>(large_slopes);
}

// The bin of y: a guess by division, corrected by the edges, so that both backends agree.
fn bin_of(y: f32) -> u32 {
    let half = 0.5 * y - 0.5 * edges[0];
    let guess = at_most(at_least(half * uniforms.bins_per_half, 0.0), f32(uniforms.bins - 1u));
    var bin = u32(guess);
    if bin > 0u && y < edges[bin] {
        bin -= 1u;
    }
    if bin + 1u < uniforms.bins && y >= edges[bin + 1u] {
        bin += 1u;
    }
    return bin;
}

@compute @workgroup_size(workgroup_size)
fn spread(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let lane = id.y * (groups.x * workgroup_size) + id.x;
    if lane >= uniforms.lanes {
        return;
    }
    var squares = Compensated(0.0, 0.0);
    for (var i = lane; i < uniforms.count; i += uniforms.lanes) {
        let y = activate_one(x[uniforms.first + i]);
        if !is_nan(y) && !is_inf(y) {
            let distance = y * uniforms.shrink - uniforms.mean;
            squares = added(squares, distance * distance);
            if y >= edges[0] && y <= edges[uniforms.bins] {
                atomicAdd(&counts[bin_of(y)], 1u);
            }
        }
    }
    let at = (uniforms.lane_first + lane) * SPREAD;
    out[at] = bitcast<u32>(squares.value);
    out[at + 1u] = bitcast<u32>(squares.lost);
}
