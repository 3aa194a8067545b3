// A loss of each element, forward and backward. The composer writes `result_at(i, x, t)` by a function of
// the loss, and so that an entry point refers to just the bindings that it has `load_weight(i)`,
// `load_positive(i)`, `load_dy(i)`.

struct Uniforms {
    // Elements of this dispatch.
    count: u32,
    // Where the arrays begin in their bindings.
    x_first: u32,
    target_first: u32,
    weight_first: u32,
    positive_first: u32,
    dy_first: u32,
    out_first: u32,
    // Element i has the weight number ((weight_start + i) / weight_stride) % weight_count.
    weight_start: u32,
    weight_stride: u32,
    weight_count: u32,
    positive_start: u32,
    positive_stride: u32,
    positive_count: u32,
    // 1 where each element has an upstream gradient of its own, 0 where all have the first.
    dy_each: u32,
    // A factor of the upstream gradient.
    scale: f32,
    // The loss's own.
    p0: f32,
    p1: f32,
    p2: f32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(14) var<storage, read> targets: array<f32>;
@group(0) @binding(15) var<storage, read> class_weight: array<f32>;
@group(0) @binding(18) var<storage, read> positive_weight: array<f32>;

// m 2^n, so that products of weights, of an upstream gradient and of an exponential leave f32 only where
// the last one does. Infinities and NaN are an m with an n of 0.
struct Wide {
    m: f32,
    n: i32,
}

fn wide(x: f32) -> Wide {
    let v = normalised(x);
    let plain = is_inf(x) | is_nan(x);
    return Wide(select(v.m, x, plain), select(v.n, 0, plain));
}

// A product where 0 wins over infinity.
fn times(a: Wide, b: Wide) -> Wide {
    let lost = ((a.m == 0.0) & is_inf(b.m)) | ((b.m == 0.0) & is_inf(a.m));
    return Wide(select(a.m * b.m, 0.0, lost), a.n + b.n);
}

fn plus(a: Wide, b: Wide) -> Wide {
    // A 0 has no power of two.
    let n = max(select(a.n, -100000, a.m == 0.0), select(b.n, -100000, b.m == 0.0));
    return Wide(scale(a.m, clamp(a.n - n, -252, 0)) + scale(b.m, clamp(b.n - n, -252, 0)), n);
}

fn narrow(a: Wide) -> f32 {
    return scale(a.m, clamp(a.n, -252, 254));
}

// e^x for x <= 0, as far down as three factors of f32 reach.
fn wide_exp(x: f32) -> Wide {
    let e = exp_far(x, 0.0);
    return Wide(1.0 + e.q, e.n);
}

// From here on, log(1 + e^-|x|) and 1 / (1 + e^|x|) are e^-|x|, which may be subnormal where a weight
// makes a normal result of it.
const FAR: f32 = 80.0;

fn is_probability(p: f32) -> bool {
    return p >= 0.0 && p <= 1.0;
}

// The value where a number is a probability, else NaN.
fn where_probability(p: f32, value: Wide) -> Wide {
    return Wide(select(bitcast<f32>(0x7fc00000u + uniforms.zero), value.m, is_probability(p)), value.n);
}

@compute @workgroup_size(workgroup_size)
fn each(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let i = id.y * (groups.x * workgroup_size) + id.x;
    if i >= uniforms.count {
        return;
    }
    let v = x[uniforms.x_first + i];
    let t = targets[uniforms.target_first + i];
    let y = result_at(i, v, t);
    let nan = is_nan(v) | is_nan(t);
    out[uniforms.out_first + i] = select(y, select(v, t, is_nan(t)), nan);
}
