// Gated linear units: value * f(gate) and both gradients. The composer writes `activation(x)` and
// `slope(x)`, as a Term, or as they are where they are exact (`PLAIN`), and says with `CLAMPED`
// whether limit and offset matter.
//
// A product of rounded factors would lose the bound of 2 ULP, and a factor alone may leave f32
// where the product does not. So factors are carried as (hi + lo) 2^n, whatever n, and rounded
// once.

struct Term {
    hi: f32,
    lo: f32,
    n: i32,
}

// Exponents of 0 and of infinity: past all others, the zero's past the infinity's.
const ZERO: i32 = -1000000;
const INFINITE: i32 = 10000;

// x as a Term with hi in [1, 2), of x's sign; NaN is the caller's care.
fn normal(x: f32) -> Term {
    let subnormal = (bitcast<u32>(x) & 0x7f800000u) == 0u;
    let bits = bitcast<u32>(select(x, x * 16777216.0, subnormal));
    let exponent = i32((bits >> 23u) & 0xffu);
    let n = exponent - select(127, 151, subnormal);
    let past = select(select(n, INFINITE, exponent == 255), ZERO, exponent == 0);
    return Term(bitcast<f32>((bits & 0x807fffffu) | 0x3f800000u), 0.0, past);
}

// The same number with all of hi + lo that an f32 holds in hi; |lo| <= |hi|.
fn renewed(t: Term) -> Term {
    let hi = settled(t.hi + t.lo);
    return Term(hi, settled(t.hi - hi) + t.lo, t.n);
}

// a * b; either's hi is at most some 2^20 and its lo far below that.
fn product_of(a: Term, b: Term) -> Term {
    let ah = leading(a.hi);
    let bh = leading(b.hi);
    let lo = (ah * (b.hi - bh) + (a.hi - ah) * b.hi) + (a.hi * b.lo + a.lo * b.hi);
    return Term(ah * bh, lo, a.n + b.n);
}

fn rounded(t: Term) -> f32 {
    return scale(t.hi + t.lo, clamp(t.n, -252, 254));
}

// e^(hi + lo) for arguments down to where no product with two f32 is anything but 0.
fn exp_far(hi: f32, lo: f32) -> Scaled {
    let x = at_least(at_most(hi, 400.0), -400.0);
    let n = floor((x + lo) * LOG2_E + 0.5);
    let r = (settled(x - n * LN2_HI) + lo) - n * LN2_LO;
    return Scaled(expm1_reduced(r), small_integer(n));
}

// 2^i + 2^j (1 + q) for i, j <= 0 of which one is 0: hi has 12 bits.
fn sum_of_powers(i: i32, j: i32, q: f32) -> vec2<f32> {
    let one = pow2(max(i, -126));
    let power = pow2(max(j, -126));
    let total = settled(one + power);
    let lost = select(one, power, j < i) - settled(total - select(power, one, j < i));
    let rest = power * q + lost;
    let hi = leading(total + rest);
    return vec2<f32>(hi, settled(total - hi) + rest);
}

// x / (1 + e^-(hi + lo)), where hi is above `end`; else 0.
fn gated_term(x: f32, hi: f32, lo: f32) -> Term {
    let e = exp_far(-hi, -lo);
    let m = max(e.n, 0);
    let d = sum_of_powers(-m, e.n - m, e.q);
    let t = normal(x);
    let q = quotient_parts(t.hi, 0.0, d.x, d.y);
    return Term(q.x, q.y, select(t.n - m, ZERO, hi < -709.7));
}

// t.hi (1 + q), where q is not small.
fn times_exp(hi: f32, lo: f32, e: Scaled) -> Term {
    return renewed(Term(hi, lo + (hi + lo) * e.q, e.n));
}

// (1 + e)^2 as hi of 12 bits and lo, with e = 2^n (1 + q), n <= 0.
fn squared_above(above: vec2<f32>) -> vec2<f32> {
    let square = above.x * above.x;
    let rest = above.y * (2.0 * above.x + above.y);
    let hi = leading(square + rest);
    return vec2<f32>(hi, settled(square - hi) + rest);
}

// d/dx of x sigmoid(z) where x dz/dx is `rise`, as gated_slope of math.wgsl.
fn gated_slope_term(hi: f32, lo: f32, rise: f32) -> Term {
    let negative = hi < 0.0;
    let e = exp_far(-abs(hi), select(-lo, lo, negative));
    let above = sum_of_powers(0, min(e.n, 0), e.q);
    let d = squared_above(above);
    let power = pow2(max(e.n, -126));
    let t = select(rise * (power + power * e.q), rise, negative);
    let s = settled(above.x + t);
    let larger = abs(above.x) >= abs(t);
    let lost = settled(select(t, above.x, larger) - s) + select(above.x, t, larger);
    let q = quotient_parts(s, lost + above.y, d.x, d.y);
    let below = times_exp(q.x, q.y, e);
    if negative {
        return below;
    }
    return Term(q.x, q.y, 0);
}

fn sigmoid_term(x: f32) -> Term {
    return gated_term(1.0, x, 0.0);
}
fn sigmoid_grad_term(x: f32) -> Term {
    let e = exp_far(-abs(x), 0.0);
    let d = squared_above(sum_of_powers(0, min(e.n, 0), e.q));
    let q = quotient_parts(1.0, 0.0, d.x, d.y);
    let t = times_exp(q.x, q.y, e);
    return Term(t.hi, t.lo, select(t.n, ZERO, abs(x) > 709.7));
}

fn silu_term(x: f32) -> Term {
    return gated_term(x, x, 0.0);
}
fn silu_grad_term(x: f32) -> Term {
    let near = at_least(at_most(x, 400.0), -400.0);
    return gated_slope_term(near, 0.0, near);
}

fn swish_term(x: f32, beta: f32) -> Term {
    let z = swish_argument(x, beta);
    return gated_term(x, z.x, z.y);
}
fn swish_grad_term(x: f32, beta: f32) -> Term {
    let z = swish_argument(x, beta);
    let near = at_least(at_most(z.x, 400.0), -400.0);
    return gated_slope_term(near, z.y, near + z.y);
}

fn quick_gelu_term(x: f32) -> Term {
    return swish_term(x, 1.702);
}
fn quick_gelu_grad_term(x: f32) -> Term {
    return swish_grad_term(x, 1.702);
}

fn gelu_tanh_term(x: f32) -> Term {
    let near = at_least(at_most(x, 16.0), -16.0);
    let z = gelu_tanh_argument(near);
    let t = gated_term(at_least(x, -16.0), z.x, z.y);
    return Term(t.hi, t.lo, select(t.n, ZERO, x < -21.2));
}
fn gelu_tanh_grad_term(x: f32) -> Term {
    let near = at_least(at_most(x, 16.0), -16.0);
    let z = gelu_tanh_argument(near);
    let t = gated_slope_term(z.x, z.y, near * (1.595769122 + 0.214064449 * near * near));
    return Term(t.hi, t.lo, select(t.n, ZERO, x < -21.2));
}

// The normal distribution's Phi(-t) e^(t^2/2) for t in [0, 28] as hi, lo: the fit of math.wgsl,
// and the asymptotic series past it.
fn mills(t: f32) -> vec2<f32> {
    let inverse = 1.0 / at_least(t, 1.0);
    let s = inverse * inverse;
    let bend = s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s)));
    // 1/sqrt(2 pi) (1 + 1/t) (1 - bend) - 0.46875, from the largest part to the smallest.
    let rise = FRAC_1_SQRT_2PI * inverse;
    let far = (rise - 0.0698077196) - (FRAC_1_SQRT_2PI + rise) * bend;
    let d = sum(t, 1.0);
    let v = select(normal_tail_numerator(at_most(t, 14.0)), far, t > 14.0);
    return quotient_parts(0.46875, v, d.x, d.y);
}

fn gaussian_far(t: f32) -> Scaled {
    let th = leading(t);
    return exp_far(-0.5 * (th * th), -0.5 * ((t - th) * (t + th)));
}

// 1 - t, where t is at most about 1.
fn complement(t: Term) -> Term {
    let hi = scale(t.hi, clamp(t.n, -252, 0));
    let lo = scale(t.lo, clamp(t.n, -252, 0));
    let rest = settled(1.0 - hi);
    return Term(rest, settled(settled(1.0 - rest) - hi) - lo, 0);
}

// x Phi(x).
fn gelu_term(x: f32) -> Term {
    let t = at_most(abs(x), 28.0);
    let m = mills(t);
    let tail = times_exp(m.x, m.y, gaussian_far(t));
    var share = complement(tail);
    if x < 0.0 {
        share = tail;
    }
    let y = renewed(product_of(normal(x), share));
    return Term(y.hi, y.lo, select(y.n, ZERO, x < -38.0));
}
// Phi(x) + x phi(x).
fn gelu_grad_term(x: f32) -> Term {
    let t = at_most(abs(x), 28.0);
    let m = mills(t);
    let th = leading(t);
    // t / sqrt(2 pi), exact in its first part.
    let hi = 0.39892578125 * th;
    let lo = 0.39892578125 * (t - th) + 1.64991514e-5 * t;
    let s = settled(m.x - hi);
    let larger = m.x >= hi;
    let lost = select(-settled(s + hi) + m.x, settled(m.x - s) - hi, larger);
    let below = times_exp(s, lost + (m.y - lo), gaussian_far(t));
    var y = complement(below);
    if x < 0.0 {
        y = below;
    }
    return Term(y.hi, y.lo, select(y.n, ZERO, x < -38.0));
}

struct Uniforms {
    // Elements of the result to compute, and of a block's half.
    count: u32,
    half: u32,
    // Elements before the first in the bindings.
    x_first: u32,
    gate_first: u32,
    dy_first: u32,
    out_first: u32,
    out_gate_first: u32,
    // 1 where the gate comes before the value.
    gate_leads: u32,
    p0: f32,
    p1: f32,
    limit: f32,
    offset: f32,
    // 0, for math.wgsl.
    zero: u32,
}

override workgroup_size: u32 = 64u;

// Value and gate, or the value alone.
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> dy: array<Element>;
@group(0) @binding(2) var<storage, read_write> out: array<Element>;
@group(0) @binding(3) var<uniform> uniforms: Uniforms;
@group(0) @binding(7) var<storage, read> gates: array<Element>;
@group(0) @binding(8) var<storage, read_write> out_gates: array<Element>;

// This invocation's number. Workgroups are folded into two dimensions, of which one ends at 65,535.
fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    opaque_zero = uniforms.zero;
    return id.y * (groups.x * workgroup_size) + id.x;
}

// What f(gate) is multiplied by.
fn weight(value: f32) -> Term {
    if !CLAMPED {
        return normal(value);
    }
    let inside = at_most(at_least(value, -uniforms.limit), uniforms.limit);
    let s = settled(inside + uniforms.offset);
    let larger = abs(inside) >= abs(uniforms.offset);
    let lost = settled(select(uniforms.offset, inside, larger) - s)
        + select(inside, uniforms.offset, larger);
    let t = normal(s);
    // The lost part in units of the Term; of a zero or an infinity nothing is lost.
    return Term(t.hi, select(0.0, scale(lost, clamp(-t.n, -252, 254)), abs(t.n) < 200), t.n);
}

// What goes into f.
fn bent(gate: f32) -> f32 {
    if CLAMPED {
        return at_most(gate, uniforms.limit);
    }
    return gate;
}

// Of numbers, only 0 times an infinity is NaN; there the zero wins.
fn zero_wins(y: f32) -> f32 {
    return select(y, 0.0, is_nan(y));
}

fn gate_one(value: f32, gate: f32) -> f32 {
    let y = weighed(value, bent(gate));
    return select(y, value + gate, is_nan(value) || is_nan(gate));
}

fn grad_value_one(value: f32, gate: f32, dy: f32) -> f32 {
    let g = upstream(dy, bent(gate));
    let shut = CLAMPED && abs(value) > uniforms.limit;
    let y = select(g, 0.0, shut);
    let factors = select(dy + gate, dy + gate + value, CLAMPED);
    return select(y, factors, is_nan(dy) || is_nan(gate) || (CLAMPED && is_nan(value)));
}

fn grad_gate_one(value: f32, gate: f32, dy: f32) -> f32 {
    let g = bent_upstream(value, bent(gate), dy);
    let shut = CLAMPED && gate > uniforms.limit;
    let y = select(g, 0.0, shut);
    return select(y, value + gate + dy, is_nan(value) || is_nan(gate) || is_nan(dy));
}

struct Place {
    value: u32,
    gate: u32,
}

// Where the i-th value and its gate lie in blocks of two halves.
fn place(i: u32) -> Place {
    let first = uniforms.x_first + i + (i / uniforms.half) * uniforms.half;
    let second = first + uniforms.half;
    let gate_leads = uniforms.gate_leads != 0u;
    return Place(select(first, second, gate_leads), select(second, first, gate_leads));
}

@compute @workgroup_size(workgroup_size)
fn forward_blocks(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = place(i);
        out[uniforms.out_first + i] = gate(x[at.value], x[at.gate]);
    }
}

@compute @workgroup_size(workgroup_size)
fn backward_blocks(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let at = place(i);
        let g = dy[uniforms.dy_first + i];
        let value = x[at.value];
        let gate = x[at.gate];
        // The result lies as the input does.
        let shift = uniforms.out_first - uniforms.x_first;
        out[at.value + shift] = grad_value(value, gate, g);
        out[at.gate + shift] = grad_gate(value, gate, g);
    }
}

@compute @workgroup_size(workgroup_size)
fn forward_apart(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        out[uniforms.out_first + i] = gate(x[uniforms.x_first + i], gates[uniforms.gate_first + i]);
    }
}

@compute @workgroup_size(workgroup_size)
fn backward_apart(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let g = dy[uniforms.dy_first + i];
        let value = x[uniforms.x_first + i];
        let gate = gates[uniforms.gate_first + i];
        out[uniforms.out_first + i] = grad_value(value, gate, g);
        out_gates[uniforms.out_gate_first + i] = grad_gate(value, gate, g);
    }
}

// One gradient at a time, where both lie in one buffer and more than a binding apart.
@compute @workgroup_size(workgroup_size)
fn backward_value(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let value = x[uniforms.x_first + i];
        let gate = gates[uniforms.gate_first + i];
        out[uniforms.out_first + i] = grad_value(value, gate, dy[uniforms.dy_first + i]);
    }
}

@compute @workgroup_size(workgroup_size)
fn backward_gate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let value = x[uniforms.x_first + i];
        let gate = gates[uniforms.gate_first + i];
        out[uniforms.out_first + i] = grad_gate(value, gate, dy[uniforms.dy_first + i]);
    }
}
