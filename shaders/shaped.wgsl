// Elements of sums.wgsl scaled, soft-capped, biased and masked: in place of plain.wgsl. A value is an
// element and its bias as they are: what a row needs are differences of values, and those of elements
// and of biases are exact, whatever scale and cap make of them. The composer supplies `load_mask(i)`,
// `load_mask_word(i)`, `load_bias(i)`, `load_length(i)`, `load_sink(i)`, and MASK, BIAS, SCALED, CAPPED,
// SINK, SINKS (each row has its own), RUNS (of eight elements that are read together, four and four lie
// side by side), MASK_RUNS (and so do their bytes of the mask).

const MASKED: bool = true;
// Whether elements are their values.
const AS_THEY_ARE: bool = !BIAS && !SCALED && !CAPPED;
const LONG: bool = !AS_THEY_ARE;
// Whether the second part of a value counts: the bias, or what is infinite or NaN.
const OFFSET: bool = BIAS || CAPPED || (SCALED && SINK);
// Differences of sums are made in units of 2^8, so that their parts stay inside f32.
const UNIT_DOWN: f32 = 0.00390625;
const UNIT_UP: f32 = 256.0;

// An axis of the rows, with the strides that the arrays have along it; 0 where they are broadcast.
struct Dimension {
    size: u32,
    mask: u32,
    bias: u32,
    lengths: u32,
    sinks: u32,
    // 1 along the queries.
    query: u32,
    padding_0: u32,
    padding_1: u32,
}

struct Shaping {
    // Where the arrays begin in their bindings, less where the bindings begin in the arrays: the
    // difference modulo 2^32.
    mask_first: u32,
    bias_first: u32,
    lengths_first: u32,
    sinks_first: u32,
    // The strides along the row.
    mask_step: u32,
    bias_step: u32,
    // The length of a whole row, and whether the last key of a query is query + diagonal.
    keys: u32,
    causal: u32,
    diagonal: i32,
    // The soft cap's two halves.
    cap_hi: f32,
    cap_lo: f32,
    // The logit that takes part beside the elements, where it is one for all rows.
    sink: f32,
    // The scale's sign.
    turn: f32,
    // Whether a row of which nothing takes part becomes NaN.
    nan_rows: u32,
    // The axes of the rows, the last one first.
    count: u32,
    padding_0: u32,
    // The scale's magnitude, in units of 2^8 where there is a bias and no cap; and 2 scale / cap.
    scale: Factor,
    rate: Factor,
    dimensions: array<Dimension, 8>,
}

@group(0) @binding(9) var<storage, read> sinks: array<f32>;
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

// The logit that takes part in a row beside its elements.
fn sink_of(row: u32) -> f32 {
    var at = shaping.sinks_first;
    if SINKS {
        var rest = uniforms.row_offset + row;
        for (var i = 0u; i < shaping.count; i++) {
            var place = rest;
            if i + 1u < shaping.count {
                let next = rest / shaping.dimensions[i].size;
                place = rest - next * shaping.dimensions[i].size;
                rest = next;
            }
            at += place * shaping.dimensions[i].sinks;
        }
    }
    return load_sink(at);
}

alias Value = vec2<f32>;

fn lowest() -> vec2<f32> {
    return select(vec2<f32>(negative_infinity(), 0.0), vec2<f32>(0.0, negative_infinity()), OFFSET);
}

fn zero_value() -> vec2<f32> {
    return vec2<f32>(0.0, 0.0);
}

// The second part of a row's value is where the pass needs nothing else: `seen` is for results of
// rows of which nothing takes part, `dot` for the second sum.
fn row_of(v: vec2<f32>, seen: f32, sum: f32, dot: f32) -> Row {
    return Row(v.x, select(seen, v.y, OFFSET && DOTS), sum, select(dot, v.y, OFFSET && !DOTS));
}

fn value_of_row(r: Row) -> vec2<f32> {
    return vec2<f32>(r.max, select(0.0, select(r.dot, r.seen, DOTS), OFFSET));
}

fn higher_value(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    if BIAS {
        return select(a, b, difference(b, a).x > 0.0);
    }
    // Values grow with their elements.
    return select(a, b, (b.y > a.y) | ((b.y == a.y) & (b.x > a.x)));
}

fn rises(b: vec2<f32>, a: vec2<f32>) -> bool {
    return (difference(b, a).x > 0.0) | is_nan(b.x) | is_nan(b.y);
}

fn same(a: vec2<f32>, b: vec2<f32>) -> bool {
    return (a.x == b.x) & (a.y == b.y);
}

fn is_infinite(v: vec2<f32>) -> bool {
    return is_inf(select(v.x, v.y, OFFSET));
}

fn snapped_value(v: vec2<f32>) -> vec2<f32> {
    if AS_THEY_ARE {
        return vec2<f32>(snapped(v.x), 0.0);
    }
    return v;
}

// The two parts of a value, where it is not the element; nothing is to be taken from -infinity.
fn fixed(v: vec2<f32>) -> Reference {
    if AS_THEY_ARE {
        return reference_of(v.x);
    }
    let least = select(v.x, v.y, OFFSET);
    let none = is_inf(least) & (least < 0.0);
    return Reference(select(v.x, 0.0, none), select(v.y, 0.0, none));
}

fn far_above(v: vec2<f32>, m: vec2<f32>) -> bool {
    if AS_THEY_ARE {
        return v.x > m.x + HEADROOM;
    }
    return difference(v, m).x > HEADROOM;
}

fn end_of(line: Line, end: u32) -> u32 {
    return min((line.end + UNIT - 1u) / UNIT, end);
}

// e^-(hi + lo) for hi in [0, 1024] as (hi + lo) 2^n, with about 31 bits at every step.
struct Power {
    hi: f32,
    lo: f32,
    n: i32,
}

fn fine_power(u: vec2<f32>) -> Power {
    let n = floor(0.5 - u.x * LOG2_E);
    let r0 = settled(-u.x - settled(n * LN2_HI));
    let r0_lo = -u.y - n * LN2_LO;
    let r = settled(r0 + r0_lo);
    let r_lo = settled(settled(r0 - r) + r0_lo);
    // e^r = 1 + r + r^2/2 + r^3 p.
    let rh = leading(r);
    let square = settled(0.5 * rh * rh);
    let square_lo = 0.5 * settled(r - rh) * (r + rh) + r * r_lo;
    let p = 0.166666672 + r * (0.0416664891 + r * (0.00833320711 + r * (0.00139326649 + r * 0.000199451097)));
    let s = exact_sum(r, square);
    let whole = exact_sum(1.0, s.x);
    let tail = whole.y + (s.y + ((r_lo + square_lo) + r * r * r * p));
    let power = settled(whole.x + tail);
    return Power(power, settled(whole.x - power) + tail, small_integer(n));
}

// A part of a power as an f32, for what is added to numbers that are not small.
fn lowered(part: f32, n: i32) -> f32 {
    return scale(part, max(n, -252));
}

// 1 + e for a power of at most 1; hi has 12 bits.
fn above(e: Power) -> vec2<f32> {
    let hi = lowered(e.hi, e.n);
    let whole = exact_sum(1.0, hi);
    return narrowed(whole.x, whole.y + lowered(e.lo, e.n));
}

// 2 scale |x - m| / cap, at most 512; a difference of its own, since scale x may leave f32 where the
// angle does not.
fn angle(x: f32, m: f32) -> vec2<f32> {
    let p = stretched(x, m, shaping.rate);
    let down = p.x < 0.0;
    let hi = negated_if(p.x, down);
    let far = hi > 512.0;
    return narrowed(select(hi, 512.0, far), select(negated_if(p.y, down), 0.0, far));
}

// cap tanh(a) - cap tanh(b) for a = scale x / cap and b = scale m / cap, within 2^-30 of itself however
// close they are: 2 cap (1 - e^(-2 |a - b|)) F / ((1 + e^(-2 |a|)) (1 + e^(-2 |b|))), where F is 1 on
// two sides of 0 and the larger of the two powers on one.
fn capped(x: f32, m: f32) -> vec2<f32> {
    let d = stretched(x, m, shaping.scale);
    let z = angle(x, m);
    let of_x = fine_power(angle(x, 0.0));
    let of_m = fine_power(angle(m, 0.0));
    let below = times_parts(above(of_x), above(of_m));
    let denominator = narrowed(below.x, below.y);
    // 1 - e^-z, or below a quarter that over z.
    let near = z.x < 0.25;
    let u = z.x + z.y;
    let p = 0.166666672 - u * (0.0416666679 - u * (0.00833333377 - u * (0.00138888892 - u * 0.000198412701)));
    let of_z = fine_power(z);
    let first = select(lowered(of_z.hi, of_z.n), 0.5 * z.x, near);
    let second = select(-lowered(of_z.lo, of_z.n), u * u * p - 0.5 * z.y, near);
    let rise = exact_sum(1.0, -first);
    let base = select(vec2<f32>(shaping.cap_hi, shaping.cap_lo), vec2<f32>(2.0 * abs(d.x), 2.0 * negated_if(d.y, d.x < 0.0)), near);
    var power = of_m;
    if abs(x) < abs(m) {
        power = of_x;
    }
    if (x < 0.0) != (m < 0.0) {
        power = Power(1.0, 0.0, 0);
    }
    let top = times_parts(narrowed(rise.x, rise.y + second), narrowed(power.hi, power.lo));
    let q = quotient_parts(2.0 * top.x, 2.0 * top.y, denominator.x, denominator.y);
    let y = times_parts(narrowed(q.x, q.y), narrowed(base.x, base.y));
    let hi = negated_if(lowered(y.x, power.n), d.x < 0.0);
    let lo = negated_if(lowered(y.y, power.n), d.x < 0.0);
    return select(bounded(vec2<f32>(hi, lo)), vec2<f32>(0.0, 0.0), x == m);
}

// A value less another, as the sum of two.
fn difference(v: vec2<f32>, m: vec2<f32>) -> vec2<f32> {
    if AS_THEY_ARE {
        return bounded(exact_sum(v.x, -m.x));
    }
    if !OFFSET {
        return stretched(v.x, m.x, shaping.scale);
    }
    var d: vec2<f32>;
    if CAPPED {
        d = capped(v.x, m.x);
        d = vec2<f32>(d.x * UNIT_DOWN, d.y * UNIT_DOWN);
    } else if SCALED {
        let f = shaping.scale;
        d = times_factor(apart(v.x, m.x, f.pre), f);
    } else {
        d = apart(v.x, m.x, UNIT_DOWN);
    }
    // What is infinite or NaN is so by its second part, whatever the first comes to.
    let b = apart(v.y, m.y, UNIT_DOWN);
    let t = select(added(d, b), b, !is_finite(b.x));
    return bounded(vec2<f32>(t.x * UNIT_UP, t.y * UNIT_UP));
}

// The derivative of a value by its element, times the signs of scale and function.
fn slope_of(x: f32) -> Factor {
    var s = shaping.scale;
    if CAPPED {
        // 4 e / (1 + e)^2.
        let e = fine_power(angle(x, 0.0));
        let d = above(e);
        let r = reciprocal_parts(d.x, d.y);
        let square = settled(r.x * r.x);
        let rest = r.y * (2.0 * r.x + r.y);
        let y = 4.0 * (square * e.hi + (rest * e.hi + square * e.lo));
        s.lo = y * (s.lo + s.rest);
        s.rest = 0.0;
        s.hi = y * s.hi;
        s.exponent = s.exponent + e.n;
    }
    let sign = uniforms.sign * shaping.turn;
    s.hi = s.hi * sign;
    s.lo = s.lo * sign;
    s.rest = s.rest * sign;
    return s;
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
    var v = vec2<f32>(uniforms.sign * shaping.turn * x, 0.0);
    if BIAS {
        v.y = uniforms.sign * load_bias(line.bias + k * shaping.bias_step);
    }
    if OFFSET {
        // A cap is reached at infinity.
        let out = select(!is_finite(v.x), is_nan(v.x), CAPPED);
        v = select(v, vec2<f32>(0.0, v.x + v.y), out);
    }
    return select(lowest(), v, kept);
}

// An element's softmax times its row's sum.
fn weight(v: vec2<f32>, m: vec2<f32>) -> f32 {
    if AS_THEY_ARE {
        return exp_below(v.x, m.x);
    }
    return weight_from(v, fixed(m));
}

fn weight_from(v: vec2<f32>, m: Reference) -> f32 {
    if AS_THEY_ARE {
        return exp_from(v.x, 0.0, m);
    }
    return exp_of(difference(v, vec2<f32>(m.far, m.near)));
}

// The gradient by an element x whose value is v and whose upstream gradient is g.
fn gradient_at(v: vec2<f32>, x: f32, g: f32, w: Whole) -> f32 {
    if SCALED || CAPPED {
        let d = difference(v, vec2<f32>(w.reference.far, w.reference.near));
        return steep_gradient(d, slope_of(x), g, w);
    }
    return held_result(v, weight_from(v, w.reference), g, w);
}

fn completed(row: u32, r: Row) -> Row {
    if !SINK {
        return r;
    }
    let given = sink_of(row);
    // What is infinite or NaN is no value; 0 in its place.
    let finite = is_finite(given);
    let sink = select(0.0, given, finite);
    var whole: Row;
    if !AS_THEY_ARE {
        // A value as any other's: that of an element of 0 with this bias.
        whole = merge(r, row_of(vec2<f32>(0.0, sink), 0.0, select(1.0, 0.0, EXACT_MAX), 0.0));
    } else if EXACT_MAX {
        whole = merge(r, row_of(vec2<f32>(sink, 0.0), 0.0, 0.0, 0.0));
    } else {
        // What others are relative to must be a reference.
        let m = snapped(sink);
        whole = merge(r, row_of(vec2<f32>(m, 0.0), 0.0, select(exp_sum(sink - m, 0.0), 1.0, sink == m), 0.0));
    }
    if finite {
        return whole;
    }
    // One of -infinity adds nothing; of infinity, all others are nothing beside it.
    if is_inf(given) & (given < 0.0) {
        return r;
    }
    whole.sum = whole.sum + given;
    if KIND == LOGSUMEXP && !BACKWARD {
        whole.seen = select(whole.seen, NAN_SEEN, is_nan(given));
    }
    return whole;
}

// The gradient by a row's sink: its share of the sum, times what the results lose by it.
fn gradient_by_sink(row: u32, r: Row) -> f32 {
    let sink = sink_of(row);
    let v = select(vec2<f32>(0.0, sink), vec2<f32>(sink, 0.0), AS_THEY_ARE);
    // One of infinity leaves the others no share.
    let all = is_inf(r.sum);
    let share = select(quotient(weight_from(v, fixed(value_of_row(r))), r.sum), 1.0, all);
    var g = load_dy_of(row);
    if KIND == SOFTMAX {
        g = -select(quotient(r.dot, r.sum), 0.0 * r.dot, all);
    } else if KIND == LOG_SOFTMAX {
        g = -r.dot;
    }
    return select(share * g, 0.0, is_inf(sink) & (sink < 0.0));
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
