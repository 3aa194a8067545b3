// Gated linear units over terms.wgsl: value * f(gate) and both gradients. The composer writes
// `weighed`, `upstream` and `bent_upstream`, the products of f(gate) and f'(gate), and says with
// `CLAMPED` whether limit and offset matter.

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
    // In halves where the sum may leave f32, which the product with a small f(gate) need not.
    let halves = abs(inside) > 1e38 || abs(uniforms.offset) > 1e38;
    let unit = select(1.0, 0.5, halves);
    let a = settled(inside * unit);
    let b = settled(uniforms.offset * unit);
    let s = settled(a + b);
    let larger = select(b, a, abs(a) >= abs(b));
    let lost = settled(larger - s) + other_of(a, b, larger);
    let t = normal(s);
    // The lost part in units of the Term; of a zero or an infinity nothing is lost.
    let lo = select(0.0, scale(lost, clamp(-t.n, -252, 254)), abs(t.n) < 200);
    return Term(t.hi, lo, t.n + select(0, 1, halves));
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
    return select(y, value + gate, is_nan(value) | is_nan(gate));
}

fn grad_value_one(value: f32, gate: f32, dy: f32) -> f32 {
    let g = upstream(dy, bent(gate));
    let shut = CLAMPED & (abs(value) > uniforms.limit);
    let y = select(g, 0.0, shut);
    let factors = select(dy + gate, dy + gate + value, CLAMPED);
    return select(y, factors, is_nan(dy) | is_nan(gate) | (CLAMPED & is_nan(value)));
}

fn grad_gate_one(value: f32, gate: f32, dy: f32) -> f32 {
    let g = bent_upstream(value, bent(gate), dy);
    let shut = CLAMPED & (gate > uniforms.limit);
    let y = select(g, 0.0, shut);
    return select(y, value + gate + dy, is_nan(value) | is_nan(gate) | is_nan(dy));
}

struct Place {
    value: u32,
    gate: u32,
}

// Where the i-th value and its gate lie in blocks of two halves.
fn place(i: u32) -> Place {
    let first = uniforms.x_first + i + (i / uniforms.half) * uniforms.half;
    let second = first + uniforms.half;
    let value = select(first, second, uniforms.gate_leads != 0u);
    return Place(value, (first + second) - value);
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
