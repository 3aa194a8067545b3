// Elements of sums.wgsl scaled, soft-capped, biased and masked: in place of plain.wgsl. A value is
// carried as hi, lo, since e^v shows the rounding of a large v. The composer supplies `load_mask(i)`,
// `load_mask_word(i)`, `load_bias(i)`, `load_length(i)`, `value_of(x)`, `slope_of(x)`, and MASK, BIAS,
// RUNS (of eight elements that are read together, four and four lie side by side), MASK_RUNS (and
// so do their bytes of the mask).

const MASKED: bool = true;

// An axis of the rows, with the strides that the arrays have along it; 0 where they are broadcast.
struct Dimension {
    size: u32,
    mask: u32,
    bias: u32,
    lengths: u32,
    // 1 along the queries.
    query: u32,
    padding_0: u32,
    padding_1: u32,
    padding_2: u32,
}

struct Shaping {
    // Where the arrays begin in their bindings, less where the bindings begin in the arrays: the
    // difference modulo 2^32.
    mask_first: u32,
    bias_first: u32,
    lengths_first: u32,
    // The strides along the row.
    mask_step: u32,
    bias_step: u32,
    // The length of a whole row, and whether the last key of a query is query + diagonal.
    keys: u32,
    causal: u32,
    diagonal: i32,
    // The scale as an f32, that one's two halves, and what it lacks.
    scale: f32,
    scale_hi: f32,
    scale_lo: f32,
    scale_rest: f32,
    // The soft cap and its two halves; 2 scale / cap, as two; the largest |x| that matters.
    cap: f32,
    cap_hi: f32,
    cap_lo: f32,
    rate_hi: f32,
    rate_lo: f32,
    far: f32,
    // The logit that takes part beside the elements, and whether there is one.
    sink: f32,
    has_sink: u32,
    // Whether a row of which nothing takes part becomes NaN.
    nan_rows: u32,
    // The axes of the rows, the last one first.
    count: u32,
    padding_0: u32,
    padding_1: u32,
    dimensions: array<Dimension, 8>,
}

@group(0) @binding(10) var<storage, read> mask: array<u32>;
@group(0) @binding(11) var<storage, read> bias: array<f32>;
@group(0) @binding(12) var<storage, read> lengths: array<u32>;
@group(0) @binding(13) var<uniform> shaping: Shaping;

struct Line {
    start: u32,
    row: u32,
    // Where the row's elements end for its query and length.
    end: u32,
    // Where the arrays' parts for the row begin.
    mask: u32,
    bias: u32,
}

fn line_of(row: u32) -> Line {
    var rest = uniforms.row_offset + row;
    var mask_at = shaping.mask_first + uniforms.step_offset * shaping.mask_step;
    var bias_at = shaping.bias_first + uniforms.step_offset * shaping.bias_step;
    var length_at = shaping.lengths_first;
    var query = 0u;
    for (var i = 0u; i < shaping.count; i++) {
        let size = shaping.dimensions[i].size;
        var place = rest;
        // The first axis has what is left.
        if i + 1u < shaping.count {
            let next = rest / size;
            place = rest - next * size;
            rest = next;
        }
        mask_at += place * shaping.dimensions[i].mask;
        bias_at += place * shaping.dimensions[i].bias;
        length_at += place * shaping.dimensions[i].lengths;
        query += place * shaping.dimensions[i].query;
    }
    let last = clamp(i32(query) + shaping.diagonal, -1, i32(shaping.keys) - 1);
    var end = select(shaping.keys, u32(last + 1), shaping.causal != 0u);
    end = min(end, load_length(length_at));
    end = clamp(end, uniforms.step_offset, uniforms.step_offset + uniforms.len) - uniforms.step_offset;
    return Line(row_start(row), row, end, mask_at, bias_at);
}

alias Value = vec2<f32>;

fn high(v: vec2<f32>) -> f32 {
    return v.x;
}

fn low(v: vec2<f32>) -> f32 {
    return v.y;
}

fn flat(m: f32) -> vec2<f32> {
    return vec2<f32>(m, 0.0);
}

fn value_of_row(r: Row) -> vec2<f32> {
    return vec2<f32>(r.max, select(0.0, r.dot, EXACT_MAX));
}

fn higher_value(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return select(a, b, (b.x > a.x) | ((b.x == a.x) & (b.y > a.y)));
}

fn same(a: vec2<f32>, b: vec2<f32>) -> bool {
    return (a.x == b.x) & (a.y == b.y);
}

fn end_of(line: Line, end: u32) -> u32 {
    return min((line.end + UNIT - 1u) / UNIT, end);
}

// hi, lo where hi is finite. What leaves f32 by its arithmetic stays the largest f32.
fn bounded(hi: f32, lo: f32, infinite: bool) -> vec2<f32> {
    let out_of_range = (bitcast<u32>(hi) & 0x7fffffffu) >= 0x7f800000u;
    let largest = with_sign(bitcast<f32>(0x7f7fffffu - uniforms.zero), hi);
    return vec2<f32>(
        select(hi, largest, is_inf(hi) & !infinite),
        select(lo, 0.0, out_of_range));
}

// x times the scale; exact to twice an f32's precision (Dekker 1971).
fn scaled(x: f32) -> vec2<f32> {
    let p = settled(x * shaping.scale);
    let xh = leading(x);
    let xl = x - xh;
    let rest = settled(settled(settled(xh * shaping.scale_hi - p) + xh * shaping.scale_lo) + xl * shaping.scale_hi);
    return bounded(p, rest + (xl * shaping.scale_lo + x * shaping.scale_rest), is_inf(x));
}

// 1 - tanh(u) = 2 E / (1 + E) as hi, lo for u = |x scale| / cap and E = e^(-2u), with about 31
// bits at every step.
fn below_cap(x: f32) -> vec2<f32> {
    // 2u, where it is not so large that tanh is 1.
    let a = at_most(abs(x), shaping.far);
    let ah = leading(a);
    let u = ah * shaping.rate_hi;
    let u_lo = ah * shaping.rate_lo + (a - ah) * (shaping.rate_hi + shaping.rate_lo);
    let n = floor(0.5 - u * LOG2_E);
    let r0 = settled(-u - n * LN2_HI);
    let r0_lo = -u_lo - n * LN2_LO;
    let r = settled(r0 + r0_lo);
    let r_lo = settled(r0 - r) + r0_lo;
    // e^r = 1 + r + r^2/2 + r^3 p.
    let rh = leading(r);
    let square = 0.5 * rh * rh;
    let square_lo = 0.5 * (r - rh) * (r + rh) + r * r_lo;
    let p = 0.166666672 + r * (0.0416664891 + r * (0.00833320711 + r * (0.00139326649 + r * 0.000199451097)));
    let s = settled(r + square);
    let s_lo = settled(r - s) + square;
    let whole = settled(1.0 + s);
    let whole_lo = settled(1.0 - whole) + s;
    let tail = whole_lo + (s_lo + ((r_lo + square_lo) + r * r * r * p));
    let power = settled(whole + tail);
    let e = scale(power, small_integer(n));
    let e_lo = scale(settled(whole - power) + tail, small_integer(n));
    let d = settled(1.0 + e);
    let d_lo = (settled(1.0 - d) + e) + e_lo;
    let dh = leading(d);
    return quotient_parts(2.0 * e, 2.0 * e_lo, dh, (d - dh) + d_lo);
}

// cap tanh(scale x / cap).
fn capped(x: f32) -> vec2<f32> {
    let q = below_cap(x);
    // cap q as hi, lo.
    let away = settled(shaping.cap * q.x);
    let qh = leading(q.x);
    let ql = q.x - qh;
    let away_lo = (settled(settled(shaping.cap_hi * qh - away) + shaping.cap_hi * ql) + shaping.cap_lo * qh)
        + (shaping.cap_lo * ql + shaping.cap * q.y);
    let hi = settled(shaping.cap - away);
    let lo = (settled(shaping.cap - hi) - away) - away_lo;
    let turn = select(1.0, -1.0, (x < 0.0) != (shaping.scale < 0.0));
    return select(vec2<f32>(turn * hi, turn * lo), vec2<f32>(x, 0.0), is_nan(x));
}

// The derivative of cap tanh(scale x / cap) by x: (1 - t) (1 + t) times the scale.
fn capped_slope(x: f32) -> f32 {
    let q = below_cap(x);
    let slope = q.x * (2.0 - q.x) + q.y * (2.0 - 2.0 * q.x);
    return select(shaping.scale * slope, x, is_nan(x));
}

// v + b; exact but for the rounding of lo (Dekker 1971).
fn plus(v: vec2<f32>, b: f32) -> vec2<f32> {
    let s = settled(v.x + b);
    let larger = select(b, v.x, abs(v.x) >= abs(b));
    let lo = settled(settled(larger - s) + other_of(v.x, b, larger));
    return bounded(s, lo + v.y, is_inf(v.x) | is_inf(b));
}

// Bit 7 of each byte that is not 0.
fn nonzero_bytes(w: u32) -> u32 {
    return (((w & 0x7f7f7f7fu) + 0x7f7f7f7fu) | w) & 0x80808080u;
}

// The four bytes of the mask from `first` on, as bits.
fn four_of_mask(first: u32) -> u32 {
    let shift = (first & 3u) * 8u;
    var word = load_mask_word(first >> 2u) >> shift;
    if shift != 0u {
        word |= load_mask_word((first >> 2u) + 1u) << (32u - shift);
    }
    // Bits 7, 15, 23 and 31 to 0, 1, 2 and 3: nothing is carried.
    return (((nonzero_bytes(word) >> 7u) * 0x00204081u) >> 21u) & 15u;
}

// Bit j of eight where `condition`.
fn bit_of(condition: bool, j: u32) -> u32 {
    return select(0u, 1u << j, condition);
}

// The lowest eight bits, but for those of elements from `end` on, the first of which is k.
fn before(end: u32, k: u32) -> u32 {
    return (1u << min(end - min(k, end), 8u)) - 1u;
}

fn keep_eight(line: Line, k: u32, step: u32, count: u32) -> u32 {
    var bits = 255u;
    let s = array<u32, 8>(
        0u, spot(1u, step, count), spot(2u, step, count), spot(3u, step, count),
        spot(4u, step, count), spot(5u, step, count), spot(6u, step, count), spot(7u, step, count));
    if MASK {
        let stride = shaping.mask_step;
        let first = line.mask + k * stride;
        if MASK_RUNS {
            bits = four_of_mask(first) | (four_of_mask(first + s[4]) << 4u);
        } else {
            bits = bit_of(load_mask(first), 0u) | bit_of(load_mask(first + s[1] * stride), 1u)
                | bit_of(load_mask(first + s[2] * stride), 2u) | bit_of(load_mask(first + s[3] * stride), 3u)
                | bit_of(load_mask(first + s[4] * stride), 4u) | bit_of(load_mask(first + s[5] * stride), 5u)
                | bit_of(load_mask(first + s[6] * stride), 6u) | bit_of(load_mask(first + s[7] * stride), 7u);
        }
    }
    if BIAS {
        let first = line.bias + k * shaping.bias_step;
        for (var j = 0u; j < 8u; j++) {
            let b = load_bias(first + spot(j, step, count) * shaping.bias_step);
            bits = select(bits, bits & ~(1u << j), is_inf(b) & (b < 0.0));
        }
    }
    // What is there may lie behind the end.
    if !RUNS {
        bits &= bit_of(k < line.end, 0u) | bit_of(k + s[1] < line.end, 1u)
            | bit_of(k + s[2] < line.end, 2u) | bit_of(k + s[3] < line.end, 3u)
            | bit_of(k + s[4] < line.end, 4u) | bit_of(k + s[5] < line.end, 5u)
            | bit_of(k + s[6] < line.end, 6u) | bit_of(k + s[7] < line.end, 7u);
    } else if UNIT == 4u {
        bits &= (before(line.end, k) & 15u) | (before(line.end, k + s[4]) << 4u);
    } else {
        bits &= before(line.end, k);
    }
    return bits;
}

fn value_at(line: Line, k: u32, at: u32, x: f32, kept: bool) -> vec2<f32> {
    var v = uniforms.sign * value_of(x);
    if BIAS {
        v = plus(v, uniforms.sign * load_bias(line.bias + k * shaping.bias_step));
    }
    return vec2<f32>(select(negative_infinity(), v.x, kept), select(0.0, v.y, kept));
}

// An element's softmax times its row's sum.
fn weight(v: vec2<f32>, m: vec2<f32>) -> f32 {
    let d = sum(v.x, -m.x);
    let e = exp_sum(d.x, d.y + (v.y - m.y));
    return select(e, 0.0, (v.x - m.x < -200.0) | (is_inf(v.x) & (v.x < 0.0)));
}

fn weight_from(v: vec2<f32>, m: Reference) -> f32 {
    return exp_from(v.x, v.y, m);
}

// The gradient by an element x whose gradient by its value is d.
fn by_input(d: f32, x: f32) -> f32 {
    return d * slope_of(x);
}

fn completed(r: Row) -> Row {
    if shaping.has_sink != 0u {
        if EXACT_MAX {
            return merge(r, Row(shaping.sink, 0.0, 0.0, 0.0));
        }
        // What others are relative to must be a reference.
        let m = snapped(shaping.sink);
        return merge(r, Row(m, 0.0, select(exp_sum(shaping.sink - m, 0.0), 1.0, shaping.sink == m), 0.0));
    }
    return r;
}

fn nothing_kept(r: Row) -> f32 {
    if BACKWARD {
        return 0.0;
    }
    let empty = select(0.0, negative_infinity(), KIND == LOG_SOFTMAX);
    return of_nothing(r, empty);
}

fn of_nothing(r: Row, value: f32) -> f32 {
    return select(value, not_a_number(), shaping.nan_rows != 0u && r.seen == 0.0);
}
