// Rows of two, four or eight elements that lie side by side, as an entry point beside those of
// rows.wgsl: an invocation has eight elements, which are one to four rows. For softmax.wgsl over
// plain.wgsl; the host leaves no eight that is not full.

// Of each pair of elements, what its row comes to: of pairs, of halves and of all eight.
fn of_rows(pair: vec4<f32>, half: vec2<f32>, all: f32) -> vec4<f32> {
    let longer = select(pair, half.xxyy, uniforms.len > 2u);
    return select(longer, vec4<f32>(all), uniforms.len > 4u);
}

fn row_sums(v: Eight) -> vec4<f32> {
    let pair = vec4<f32>(v[0] + v[1], v[2] + v[3], v[4] + v[5], v[6] + v[7]);
    let half = vec2<f32>(pair.x + pair.y, pair.z + pair.w);
    return of_rows(pair, half, half.x + half.y);
}

fn row_tops(v: array<Value, 8>) -> vec4<f32> {
    let pair = vec4<f32>(
        higher_value(v[0], v[1]), higher_value(v[2], v[3]), higher_value(v[4], v[5]), higher_value(v[6], v[7]));
    let half = vec2<f32>(higher_value(pair.x, pair.y), higher_value(pair.z, pair.w));
    return of_rows(pair, half, higher_value(half.x, half.y));
}

fn whole_of_pair(line: Line, reference: f32, top: f32, total: f32, tops: f32, dot: f32) -> Whole {
    if EXACT_MAX {
        return whole_of(line, row_of(top, 0.0, above_one(total, reference, tops, top), 0.0));
    }
    return whole_of(line, row_of(reference, 0.0, total, dot));
}

@compute @workgroup_size(workgroup_size)
fn rows_in_eights(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    opaque_zero = uniforms.zero;
    let first = (id.y * (groups.x * workgroup_size) + id.x) * 8u;
    if first >= uniforms.rows * uniforms.len {
        return;
    }
    let line = Line(first, 0u);
    let t = turn_at(line, 0u, 1u, PARTS, 255u);
    let v = t.values;
    let g = load_term((uniforms.dy_first + first) / UNIT, 1u, PARTS);
    let top = row_tops(v);
    let reference = vec4<f32>(snapped(top.x), snapped(top.y), snapped(top.z), snapped(top.w));
    let m = array<Reference, 4>(
        reference_of(reference.x), reference_of(reference.y), reference_of(reference.z), reference_of(reference.w));
    let e = Eight(
        term(v[0], m[0], top.x), term(v[1], m[0], top.x), term(v[2], m[1], top.y), term(v[3], m[1], top.y),
        term(v[4], m[2], top.z), term(v[5], m[2], top.z), term(v[6], m[3], top.w), term(v[7], m[3], top.w));
    let total = row_sums(e);
    var tops = vec4<f32>(0.0);
    if EXACT_MAX {
        tops = row_sums(Eight(
            is_top(v[0], top.x), is_top(v[1], top.x), is_top(v[2], top.y), is_top(v[3], top.y),
            is_top(v[4], top.z), is_top(v[5], top.z), is_top(v[6], top.w), is_top(v[7], top.w)));
    }
    var dot = vec4<f32>(0.0);
    if DOTS {
        dot = row_sums(Eight(
            dot_term(g[0], e[0]), dot_term(g[1], e[1]), dot_term(g[2], e[2]), dot_term(g[3], e[3]),
            dot_term(g[4], e[4]), dot_term(g[5], e[5]), dot_term(g[6], e[6]), dot_term(g[7], e[7])));
    }
    let w = array<Whole, 4>(
        whole_of_pair(line, reference.x, top.x, total.x, tops.x, dot.x),
        whole_of_pair(line, reference.y, top.y, total.y, tops.y, dot.y),
        whole_of_pair(line, reference.z, top.z, total.z, tops.z, dot.z),
        whole_of_pair(line, reference.w, top.w, total.w, tops.w, dot.w));
    let y = Eight(
        held_result(v[0], e[0], g[0], w[0]), held_result(v[1], e[1], g[1], w[0]),
        held_result(v[2], e[2], g[2], w[1]), held_result(v[3], e[3], g[3], w[1]),
        held_result(v[4], e[4], g[4], w[2]), held_result(v[5], e[5], g[5], w[2]),
        held_result(v[6], e[6], g[6], w[3]), held_result(v[7], e[7], g[7], w[3]));
    store_out((uniforms.out_first + first) / UNIT, 1u, PARTS, y);
}
