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
