// Four interleaved pairs of value and gate an invocation, beside gate.wgsl.

// The values and the gates of the i-th four pairs.
fn values_of(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let first = vec4<f32>(a.xz, b.xz);
    return select(first, vec4<f32>(a.yw, b.yw), uniforms.gate_leads != 0u);
}
fn gates_of(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let second = vec4<f32>(a.yw, b.yw);
    return select(second, vec4<f32>(a.xz, b.xz), uniforms.gate_leads != 0u);
}

@compute @workgroup_size(workgroup_size)
fn forward_pairs(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let a = x[uniforms.x_first + 2u * i];
        let b = x[uniforms.x_first + 2u * i + 1u];
        out[uniforms.out_first + i] = gate(values_of(a, b), gates_of(a, b));
    }
}

@compute @workgroup_size(workgroup_size)
fn backward_pairs(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < uniforms.count {
        let a = x[uniforms.x_first + 2u * i];
        let b = x[uniforms.x_first + 2u * i + 1u];
        let g = dy[uniforms.dy_first + i];
        let v = grad_value(values_of(a, b), gates_of(a, b), g);
        let w = grad_gate(values_of(a, b), gates_of(a, b), g);
        let leads = uniforms.gate_leads != 0u;
        let first = select(v, w, leads);
        // The other one, by bits: as `other_of`.
        let both = bitcast<vec4<u32>>(v) ^ bitcast<vec4<u32>>(w);
        let second = bitcast<vec4<f32>>(both ^ bitcast<vec4<u32>>(first));
        out[uniforms.out_first + 2u * i] = vec4<f32>(first.x, second.x, first.y, second.y);
        out[uniforms.out_first + 2u * i + 1u] = vec4<f32>(first.z, second.z, first.w, second.w);
    }
}
