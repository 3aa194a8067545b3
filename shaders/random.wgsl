// Random numbers by index and what is made of them: an invocation has one block of the generator,
// which is four elements. The composer writes `result(i, bits)`, the result of element i from its
// 32 random bits, so that a module refers to just the bindings that it has.

struct Uniforms {
    // Elements to compute, and where the arrays begin in their bindings.
    count: u32,
    x_first: u32,
    dy_first: u32,
    out_first: u32,
    // The first block, and how many of its numbers lie before the first element.
    block_low: u32,
    block_high: u32,
    skip: u32,
    stream_low: u32,
    stream_high: u32,
    seed_low: u32,
    seed_high: u32,
    // rrelu: the smallest slope, and the range of slopes in two parts of which the first has 12 bits.
    lower: f32,
    width: f32,
    width_rest: f32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;

// Block `index` behind the first one; blocks are counted modulo 2^62.
fn block(index: u32) -> vec4<u32> {
    let low = uniforms.block_low + index;
    let high = (uniforms.block_high + select(0u, 1u, low < index)) & 0x3fffffffu;
    let counter = vec4<u32>(low, high, uniforms.stream_low, uniforms.stream_high);
    return philox(counter, vec2<u32>(uniforms.seed_low, uniforms.seed_high));
}

// (k + 1/2) 2^-23 of the upper 23 bits k; exact.
fn uniform_of(bits: u32) -> f32 {
    return f32((bits >> 9u) * 2u + 1u) * 5.9604644775390625e-8;
}

// -log(-log u) for u in (0, 1).
fn gumbel_of(u: f32) -> f32 {
    // Around the root 1/e: u = (1 + d) / e, and the value is -log1p(-log1p(d)).
    let distance = settled(u - 0.36787945) - -9.149756e-9;
    let d = product(distance, 2.71875);
    let d_lo = d.y + distance * -4.6817154e-4;
    let rise = log1p_rest(d.x + d_lo);
    let l = d.x + (d_lo + rise);
    let near = d.x + (d_lo + (rise - log1p_rest(-l)));
    // Elsewhere by e = -log u, as the sum of two.
    let log_u = log_parts(u, 0.0);
    let e = -(log_u.x + log_u.y);
    let e_lo = -(settled(log_u.x + e) + log_u.y);
    let far = -(log_positive(e) + e_lo / e);
    return select(far, near, abs(d.x) < 0.25);
}

// The slope for a number u between 0 and 1: lower + (upper - lower) u.
fn slope_of(u: f32) -> f32 {
    let u_hi = leading(u);
    let p = settled(uniforms.width * u_hi);
    let p_lo = uniforms.width * (u - u_hi) + uniforms.width_rest * u;
    let slope = sum(uniforms.lower, p);
    return slope.x + (slope.y + p_lo);
}

// slope * v, where a slope of 0 wins over an infinity, and not over a NaN.
fn sloped(slope: f32, v: f32) -> f32 {
    return select(slope * v, 0.0, slope == 0.0 && !is_nan(v));
}

fn rrelu(v: f32, u: f32) -> f32 {
    return select(sloped(slope_of(u), v), v, v > 0.0 || is_nan(v));
}

fn rrelu_grad(v: f32, g: f32, u: f32) -> f32 {
    return select(select(sloped(slope_of(u), g), g, v > 0.0), v, is_nan(v));
}

fn store(i: u32, bits: u32) {
    // What lies before the first element wraps, and is none either.
    if i < uniforms.count {
        out[uniforms.out_first + i] = result(i, bits);
    }
}

@compute @workgroup_size(workgroup_size)
fn fill(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let index = id.y * (groups.x * workgroup_size) + id.x;
    if index > (uniforms.count + uniforms.skip - 1u) / 4u {
        return;
    }
    let words = block(index);
    let i = index * 4u - uniforms.skip;
    store(i, words.x);
    store(i + 1u, words.y);
    store(i + 2u, words.z);
    store(i + 3u, words.w);
}
