// The parametric rectifier: one invocation, one Element, which the composer makes a vec4<f32> or an
// f32. The gradient by the slopes is a sum of reduce.wgsl.

struct Uniforms {
    // Elements to compute; the index of the first in the array, in f32s.
    count: u32,
    index: u32,
    x_first: u32,
    dy_first: u32,
    out_first: u32,
    slope_first: u32,
    // Groups of axes with and without slopes of their own, by turns; as in reduce.wgsl.
    r1: u32,
    k2: u32,
    r2: u32,
    k3: u32,
    r3: u32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> dy: array<Element>;
@group(0) @binding(2) var<storage, read_write> out: array<Element>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(7) var<storage, read> slopes: array<f32>;

// This invocation's element. Workgroups are folded into two dimensions, of which one ends at 65,535.
fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    opaque_zero = uniforms.zero;
    return id.y * (groups.x * workgroup_size) + id.x;
}

// Where the slope of the array's i-th element lies.
fn slope_of(i: u32) -> u32 {
    if uniforms.r1 == 0u {
        // One for all.
        return uniforms.slope_first;
    }
    if uniforms.k3 == 1u && uniforms.k2 == 1u && uniforms.r2 == 1u {
        // One run for each of the outermost slopes.
        return uniforms.slope_first + i / uniforms.r3 / uniforms.r1;
    }
    if uniforms.k2 == 1u && uniforms.r1 == 0xffffffffu {
        // One cycle of runs after the other. Divisions are dear where neighbours are lanes.
        if uniforms.r3 == 1u {
            return uniforms.slope_first + i % uniforms.k3;
        }
        return uniforms.slope_first + (i / uniforms.r3) % uniforms.k3;
    }
    let runs = i / uniforms.r3;
    let rest = runs / uniforms.k3;
    let middle = rest / uniforms.r2;
    let outer = middle / uniforms.k2 / uniforms.r1;
    return uniforms.slope_first + (outer * uniforms.k2 + middle % uniforms.k2) * uniforms.k3
        + runs % uniforms.k3;
}

// y where x > 0, else slope * y, where a zero wins over an infinity.
fn bend_one(x: f32, y: f32, slope: f32) -> f32 {
    let product = slope * y;
    let none = is_nan(product) & !is_nan(slope) & !is_nan(y);
    return select(select(product, 0.0, none), y, (x > 0.0) & !is_nan(x));
}

@compute @workgroup_size(workgroup_size)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let value = x[uniforms.x_first + i];
        out[uniforms.out_first + i] = bend(value, value, slopes_at(i));
    }
}

@compute @workgroup_size(workgroup_size)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let g = dy[uniforms.dy_first + i];
        out[uniforms.out_first + i] = bend(x[uniforms.x_first + i], g, slopes_at(i));
    }
}
