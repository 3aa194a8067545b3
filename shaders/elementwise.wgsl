// The element-wise kernels: one invocation, one Element, which the composer makes a vec4<f32>
// or, for what is left over at the end of an array, an f32. The composer also writes
// `activate(x)` and `activate_grad(x, dy)` over the catalogue's functions.

struct Uniforms {
    // Elements to compute, and how many lie before them in the binding.
    count: u32,
    first: u32,
    p0: f32,
    p1: f32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> dy: array<Element>;
@group(0) @binding(2) var<storage, read_write> out: array<Element>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;

// This invocation's element. Workgroups are folded into two dimensions, of which one ends at 65,535.
fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    opaque_zero = uniforms.zero;
    return id.y * (groups.x * workgroup_size) + id.x;
}

@compute @workgroup_size(workgroup_size)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = uniforms.first + i;
        out[at] = activate(x[at]);
    }
}

@compute @workgroup_size(workgroup_size)
fn forward_in_place(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = uniforms.first + i;
        out[at] = activate(out[at]);
    }
}

@compute @workgroup_size(workgroup_size)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = uniforms.first + i;
        out[at] = activate_grad(x[at], dy[at]);
    }
}

// The upstream gradient lies in `out` and is replaced.
@compute @workgroup_size(workgroup_size)
fn backward_in_place(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = uniforms.first + i;
        out[at] = activate_grad(x[at], out[at]);
    }
}
