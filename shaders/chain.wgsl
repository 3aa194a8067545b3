// Fused chains: an invocation computes one unit, or several. The composer writes the arrays with
// their loads and stores, the steps as straight code, and the entry point.

struct Uniforms {
    // Units to compute, and how many lie before them in the bindings.
    count: u32,
    first: u32,
    // The index in the whole array of the bindings' first f32.
    index_low: u32,
    index_high: u32,
    // 0, for math.wgsl.
    zero: u32,
    // The place of the last element.
    last: u32,
    values: array<vec4<u32>, WORDS>,
}

override workgroup_size: u32 = 64u;

@group(0) @binding(3) var<uniform> uniforms: Uniforms;

// The four random words around the array's f32 number i, counted from the bindings' first.
fn random_block(i: u32, key: vec2<u32>) -> vec4<u32> {
    let low = uniforms.index_low + i;
    let high = uniforms.index_high + select(0u, 1u, low < i);
    return philox(vec4<u32>((low >> 2u) | (high << 30u), high >> 2u, 0u, 0u), key);
}

fn random_word(i: u32, key: vec2<u32>) -> u32 {
    let block = random_block(i, key);
    return block[(uniforms.index_low + i) & 3u];
}

// dy * d, where a zero wins over an infinity; x is where the slope d was taken.
fn through(dy: f32, d: f32, x: f32) -> f32 {
    let y = dy * d;
    return select(y, 0.0, is_nan(y) & !is_nan(x) & !is_nan(dy));
}
