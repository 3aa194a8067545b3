// Philox 4x32 with ten rounds (Salmon et al. 2011): random bits by index.

// The low half of a product is the product.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var i = 0u; i < 10u; i++) {
        let high_0 = multiply_high(0xd2511f53u, c.x);
        let high_1 = multiply_high(0xcd9e8d57u, c.z);
        c = vec4<u32>(high_1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high_0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
        k = k + vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}
