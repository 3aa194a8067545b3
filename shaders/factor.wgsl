// A factor of any size for differences of a row's elements, over rows.wgsl: taken after the difference,
// it makes no rounding error larger, and numbers that leave f32 only where the product does.

// (hi + lo + rest) 2^exponent with 2^exponent = pre mid post.
struct Factor {
    // In [1, 2] or a little below; hi has 12 bits. A host's lo has 12 too, a device's has 24 and no rest.
    hi: f32,
    lo: f32,
    // For numbers before their difference is made, for the difference, and for the product: what makes
    // smaller comes before and behind, what makes larger after the difference.
    pre: f32,
    mid: f32,
    post: f32,
    exponent: i32,
    rest: f32,
    padding: u32,
}

// a - b times a power of two, as the sum of two. The products are settled: taken after the difference,
// the power would be too late.
fn apart(a: f32, b: f32, power: f32) -> vec2<f32> {
    return bounded(exact_sum(settled(a * power), -settled(b * power)));
}

// The factor (a - b), within 2^-34 of itself.
fn stretched(a: f32, b: f32, f: Factor) -> vec2<f32> {
    let d = sum(settled(a * f.pre), -settled(b * f.pre));
    let p = times_parts(vec2<f32>(d.x * f.mid, d.y * f.mid), vec2<f32>(f.hi, f.lo + f.rest));
    return bounded(vec2<f32>(p.x * f.post, p.y * f.post));
}

// The factor times a difference d of numbers that were taken times `pre`; exact to twice an f32's
// precision (Dekker 1971).
fn times_factor(d: vec2<f32>, f: Factor) -> vec2<f32> {
    let x = d.x * f.mid;
    let xh = leading(x);
    let xl = settled(x - xh);
    let cross = exact_sum(settled(xh * f.lo), settled(xl * f.hi));
    let p = exact_sum(settled(xh * f.hi), cross.x);
    let rest = settled(p.y + cross.y) + (xl * f.lo + (x * f.rest + d.y * f.mid * (f.hi + f.lo)));
    let whole = select(p.x, x, !is_finite(x));
    return bounded(vec2<f32>(whole * f.post, rest * f.post));
}

// a + b of sums of two; exact but for the rounding of the second.
fn added(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let hi = exact_sum(a.x, b.x);
    let lo = exact_sum(a.y, b.y);
    let whole = exact_sum(hi.x, settled(hi.y + lo.x));
    return select(vec2<f32>(whole.x, whole.y + lo.y), vec2<f32>(hi.x, 0.0), !is_finite(hi.x));
}

// e^(d.x + d.y) for d.x up to 170.
fn exp_of(d: vec2<f32>) -> f32 {
    // Past that there is no second part to speak of.
    let far = d.x < -170.0;
    return exp_sum(select(d.x, -170.0, far), select(d.y, 0.0, far));
}

// The same as (1 + q) 2^n, down to e^-400.
fn exp_of_far(d: vec2<f32>) -> Scaled {
    let far = d.x < -400.0;
    return exp_far(select(d.x, -400.0, far), select(d.y, 0.0, far));
}

// The gradient by an element whose value is the reference and d more, where the value's derivative by
// the element is s (hi + lo) 2^n: a weight that leaves f32 may come back with it.
fn steep_gradient(d: vec2<f32>, s: Factor, g: f32, w: Whole) -> f32 {
    let e = exp_of_far(d);
    let share = over_sum(1.0 + e.q, w.sum);
    var n = e.n + s.exponent;
    var y = share * w.dot;
    if KIND == SOFTMAX {
        y = share * (g - w.dot);
    } else if KIND == LOG_SOFTMAX {
        let alone = g == 0.0;
        y = select(g - scale(share, clamp(e.n, -252, 254)) * w.dot, -y, alone);
        n = select(s.exponent, n, alone);
    }
    return scale(y * s.hi + y * (s.lo + s.rest), clamp(n, -252, 254));
}
