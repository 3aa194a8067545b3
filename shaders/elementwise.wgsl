// The element-wise kernels: an invocation computes one unit, or several that lie as far apart as
// there are invocations. The composer writes the arrays x, dy and out with their loads and stores,
// `activate(x)` and `activate_grad(x, dy)` over the catalogue's functions, and the entry points,
// each of which calls the function of its name with `_unit` for each of its units.

struct Uniforms {
    // Units to compute, and how many lie before them in the binding.
    count: u32,
    first: u32,
    p0: f32,
    p1: f32,
    // 0, for math.wgsl.
    zero: u32,
    // The place of the last element.
    last: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(3) var<uniform> uniforms: Uniforms;

fn forward_unit(i: u32) {
    if i < uniforms.count {
        let at = uniforms.first + i;
        store_out(at, activate(load_x(at)));
    }
}

fn forward_in_place_unit(i: u32) {
    if i < uniforms.count {
        let at = uniforms.first + i;
        store_out(at, activate(load_out(at)));
    }
}

fn backward_unit(i: u32) {
    if i < uniforms.count {
        let at = uniforms.first + i;
        store_out(at, activate_grad(load_x(at), load_dy(at)));
    }
}

// The upstream gradient lies in `out` and is replaced.
fn backward_in_place_unit(i: u32) {
    if i < uniforms.count {
        let at = uniforms.first + i;
        store_out(at, activate_grad(load_x(at), load_out(at)));
    }
}
