// f16 and bf16 from and to f32 by integer arithmetic: WGSL's own packing leaves overflow undefined,
// may flush what is small, and knows no bf16. Functions of their arguments alone; no bindings.
//
// Two numbers lie in a word, the first in its lower half. To 16 bits is to the nearest, to even
// between two; beyond the largest lies infinity; NaN stays NaN, quiet, with its sign and the upper
// bits of its payload. What is subnormal in 16 bits is kept, also where a device flushes f32's: of
// f16 it is normal in f32, and of bf16 it is moved as bits.

// Four f16, in the upper halves of words whose lower ones are 0, as f32, exactly.
fn widen_f16(high: vec4<u32>) -> vec4<f32> {
    // Exponent and fraction where f32 has them; the exponent is that of f16.
    let size = (high >> vec4<u32>(3u)) & vec4<u32>(0x0fffe000u);
    let normal = size + vec4<u32>(0x38000000u);
    // 2^-14 less than a number between 2^-14 and 2^-13 whose fraction it is.
    let small = bitcast<vec4<u32>>(bitcast<vec4<f32>>(size + vec4<u32>(0x38800000u)) - 6.103515625e-5);
    let finite = select(normal, small, size < vec4<u32>(0x00800000u));
    let whole = select(finite, size + vec4<u32>(0x70000000u), size >= vec4<u32>(0x0f800000u));
    return bitcast<vec4<f32>>(whole | (high & vec4<u32>(0x80000000u)));
}

// Four f32 rounded to f16, in the lower halves of words whose upper ones are 0.
fn narrow_f16(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let size = bits & vec4<u32>(0x7fffffffu);
    let cut = size >> vec4<u32>(13u);
    // Half a step less a bit, and the bit where that makes it even; 0x38000000 is the exponents'
    // difference. A carry goes to the exponent, and from 65520 on to that of infinity.
    let rounded = (size + (cut & vec4<u32>(1u)) + vec4<u32>(0xc8000fffu)) >> vec4<u32>(13u);
    // The step at 0.5 is 2^-24, that of f16's subnormal numbers: the addition rounds.
    let small = bitcast<vec4<u32>>(bitcast<vec4<f32>>(size) + 0.5) - vec4<u32>(0x3f000000u);
    let finite = select(min(rounded, vec4<u32>(0x7c00u)), small, size < vec4<u32>(0x38800000u));
    let nan = (cut & vec4<u32>(0x3ffu)) | vec4<u32>(0x7e00u);
    let whole = select(finite, nan, size > vec4<u32>(0x7f800000u));
    return whole | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

// As `widen_f16`, of bf16.
fn widen_bf16(high: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(high);
}

// As `narrow_f16`, to bf16.
fn narrow_bf16(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let lowest = (bits >> vec4<u32>(16u)) & vec4<u32>(1u);
    // A carry goes to the exponent, and from the largest to infinity.
    let rounded = bits + (lowest + vec4<u32>(0x7fffu));
    let nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let whole = select(rounded, bits | vec4<u32>(0x00400000u), nan);
    return whole >> vec4<u32>(16u);
}

// Four numbers of two words.
fn unpack_f16(words: vec2<u32>) -> vec4<f32> {
    return widen_f16(unpack_high(words));
}

fn unpack_bf16(words: vec2<u32>) -> vec4<f32> {
    return widen_bf16(unpack_high(words));
}

// Four numbers into two words.
fn pack_f16(x: vec4<f32>) -> vec2<u32> {
    return joined(narrow_f16(x));
}

fn pack_bf16(x: vec4<f32>) -> vec2<u32> {
    return joined(narrow_bf16(x));
}

// Lower halves of words, two to a word.
fn joined(bits: vec4<u32>) -> vec2<u32> {
    return vec2<u32>(bits.x, bits.z) | (vec2<u32>(bits.y, bits.w) << vec2<u32>(16u));
}

// Four numbers of 16 bits in the upper halves of words.
fn unpack_high(words: vec2<u32>) -> vec4<u32> {
    let low = words << vec2<u32>(16u);
    let high = words & vec2<u32>(0xffff0000u);
    return vec4<u32>(low.x, high.x, low.y, high.y);
}

// The same one at a time, in the lower half of a word whose upper half is not looked at, and is 0
// in results.
fn f16_to_f32(bits: u32) -> f32 {
    return unpack_f16(vec2<u32>(bits, 0u)).x;
}

fn f32_to_f16(x: f32) -> u32 {
    return pack_f16(vec4<f32>(x, 0.0, 0.0, 0.0)).x;
}

fn bf16_to_f32(bits: u32) -> f32 {
    return unpack_bf16(vec2<u32>(bits, 0u)).x;
}

fn f32_to_bf16(x: f32) -> u32 {
    return pack_bf16(vec4<f32>(x, 0.0, 0.0, 0.0)).x;
}
