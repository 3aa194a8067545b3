// What the kernels take for granted of an adapter, asked of it: small questions with answers that
// the host knows. Stands behind math.wgsl, whose splits and bit tests are asked about, too. The
// composer writes `PAIRS` and `WORDS`.

// Bit patterns, so that no value is known to a compiler. First (0, turns of the long loop).
@group(0) @binding(0) var<storage, read> given: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

// A sum that is taken apart in this order (Knuth 1969), with nothing to keep the order.
fn plain_rest(a: f32, b: f32) -> f32 {
    let s = a + b;
    let c = s - a;
    return (a - (s - c)) + (b - c);
}

fn settled_rest(a: f32, b: f32) -> f32 {
    let s = settled(a + b);
    let c = settled(s - a);
    return settled(a - settled(s - c)) + settled(b - c);
}

// What comparisons and bit tests say, a bit each.
fn told(a: f32, b: f32) -> u32 {
    return u32(is_nan(a)) | (u32(is_inf(a)) << 1u) | (u32(a < b) << 2u) | (u32(a > b) << 3u)
        | (u32(a == b) << 4u) | (u32(a <= b) << 5u) | (u32(a >= b) << 6u) | (u32(is_moderate(a)) << 7u);
}

// Each invocation one pair, through every question.
@compute @workgroup_size(64)
fn arithmetic(@builtin(global_invocation_id) id: vec3<u32>) {
    opaque_zero = given[0].x;
    if id.x >= PAIRS {
        return;
    }
    let pair = given[1u + id.x];
    let u = pair.x;
    let v = pair.y;
    let a = bitcast<f32>(u);
    let b = bitcast<f32>(v);
    let at = id.x * WORDS;
    let parts = product(a, b);
    let halves = sum(a, b);
    let rounded = settled(a * b);

    out[at] = bitcast<u32>(a + b);
    out[at + 1u] = bitcast<u32>(settled_rest(a, b));
    out[at + 2u] = bitcast<u32>(plain_rest(a, b));
    out[at + 3u] = bitcast<u32>(a * b);
    out[at + 4u] = bitcast<u32>(parts.x);
    out[at + 5u] = bitcast<u32>(parts.y);
    out[at + 6u] = bitcast<u32>(halves.x);
    out[at + 7u] = bitcast<u32>(halves.y);
    out[at + 8u] = bitcast<u32>(a / b);
    out[at + 9u] = bitcast<u32>(sqrt(abs(a)));
    out[at + 10u] = bitcast<u32>(a - b);
    out[at + 11u] = bitcast<u32>(a * b - rounded);
    out[at + 12u] = told(a, b);
    out[at + 13u] = bitcast<u32>(at_most(a, b));
    out[at + 14u] = bitcast<u32>(at_least(a, b));
    out[at + 15u] = bitcast<u32>(select(b, a, u <= v));
    out[at + 16u] = bitcast<u32>(max(a, b));
    out[at + 17u] = bitcast<u32>(signed_zero(a)) | (bitcast<u32>(with_sign(1.0, b)) >> 1u);
    out[at + 18u] = bitcast<u32>(-a);
    out[at + 19u] = u * v;
    out[at + 20u] = u - v;
    out[at + 21u] = u << (v & 31u);
    out[at + 22u] = bitcast<u32>(bitcast<i32>(u) >> (v & 31u));
    out[at + 23u] = (u >> (v & 31u)) ^ opaque_zero;
    out[at + 24u] = multiply_high(u, v);
    out[at + 25u] = bitcast<u32>(clamp(bitcast<i32>(u), -126, 127));
    out[at + 26u] = bitcast<u32>(small_integer(floor(at_least(at_most(a, 2e6), -2e6) + 0.5)));
    out[at + 27u] = bitcast<u32>(scale(1.5, clamp(bitcast<i32>(v), -252, 254)));
    out[at + 28u] = bitcast<u32>(exp_sum(a, 0.0));
    out[at + 29u] = u;
}

override workgroup_size: u32 = 64u;

var<workgroup> shared_words: array<u32, workgroup_size>;

// Everyone's value is mixed with the sum of all, eight times over: what one misses at a barrier
// shows in all. The sum is a tree that folds any width, as the softmax kernels' is.
@compute @workgroup_size(workgroup_size)
fn together(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    var value = (group.x * workgroup_size + local) ^ given[0].x;
    for (var times = 0u; times < 8u; times += 1u) {
        value = value * 1664525u + 1013904223u;
        shared_words[local] = value;
        workgroupBarrier();
        for (var width = workgroup_size; width > 1u;) {
            let half = (width + 1u) / 2u;
            if local + half < width {
                shared_words[local] = shared_words[local] ^ (shared_words[local + half] * 9u);
            }
            workgroupBarrier();
            width = half;
        }
        value = value ^ workgroupUniformLoad(&shared_words[0]);
    }
    out[group.x * workgroup_size + local] = value;
}

// More turns than some software adapters make before they end a shader without a word.
@compute @workgroup_size(1)
fn turns_of_a_loop() {
    var value = given[0].x;
    var count = 0u;
    for (; count < given[0].y; count += 1u) {
        value = value * 1664525u + 1013904223u;
    }
    out[0] = count;
    out[1] = value;
    out[2] = 1u;
}
