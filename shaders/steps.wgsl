// What the steps of chains share. The number in the whole array of the first element that a kernel
// sees is in its `uniforms`, as two words.

// The four random words around element i, counted from the first that the kernel sees.
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
