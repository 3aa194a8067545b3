// Cross entropy and negative log likelihood as kinds of rows.wgsl, forward, backward and both at
// once. The composer writes, for what is computed, `PROBABILITIES`, `DENSE`, `NLL`, `REDUCES`, and
// so that an entry point refers to just the bindings that it has
//   load_target(row)          a row's target class; any for probabilities
//   load_probability(at)      a target probability, at `at` behind the binding's first
//   load_weight(class)        a class's weight, or 1
//   load_dy(row)              a row's upstream gradient
//   store_row(row, r)         the loss, where it is wanted
//
// A row is sparse where one class alone makes its loss, dense where each class c has a factor
// f_c of its -log p_c: under label smoothing, and for target probabilities. A sparse row's sum
// leaves out the target, so that the logarithm of a p close to 1 keeps its precision; and a share
// that has the target takes it as its reference from the start, so that each element is read
// once. A dense row has the same precision from leaving out its maximum, which it must look for.

struct Options {
    // The bits of the target that marks rows to leave out; the number of classes.
    ignore: u32,
    classes: u32,
    // Where the arrays begin in their bindings.
    target_first: u32,
    weight_first: u32,
    dy_first: u32,
    loss_first: u32,
    // 1 where each row has an upstream gradient of its own, 0 where all have the first.
    dy_each: u32,
    // What a target keeps, and what label smoothing gives to each class.
    keep: f32,
    spread: f32,
    // A factor of the upstream gradient.
    scale: f32,
}

@group(0) @binding(14) var<storage, read> targets: array<u32>;
@group(0) @binding(15) var<storage, read> class_weight: array<f32>;
@group(0) @binding(16) var<uniform> options: Options;
@group(0) @binding(17) var<storage, read_write> losses: array<f32>;

struct Line {
    start: u32,
    row: u32,
    // The place of the target among the elements of this binding; where it is in none, beyond.
    aim: u32,
    // Whether the row is not left out, and its target is a class.
    live: bool,
    valid: bool,
}

fn line_of(row: u32) -> Line {
    let class_ = load_target(row);
    let live = PROBABILITIES || class_ != options.ignore;
    let valid = PROBABILITIES || class_ < options.classes;
    return Line(row_start(row), row, class_ - uniforms.step_offset, live, valid);
}

struct Row {
    // Sparse: an element that is close below the maximum, the target where that is. Dense: the
    // maximum. NaN where an element was NaN.
    reference: f32,
    // Of e^(x - reference): sparse but for the target's, dense but for one maximum's.
    sum: f32,
    // Sparse: the target's logit, and nothing. Dense: sums of f and of f (x - reference).
    a: f32,
    b: f32,
}

fn nothing() -> Row {
    // The one that is left out of a dense part's sum is not there.
    return Row(negative_infinity(), select(0.0, -1.0, DENSE), 0.0, 0.0);
}

fn completed(row: u32, r: Row) -> Row {
    return r;
}

fn holds_row() -> bool {
    return false;
}

fn held_row(line: Line) {
}

fn element(line: Line, k: u32) -> f32 {
    return x[uniforms.x_first + line.start + k * uniforms.inner];
}

// How far an element may lie above the reference: e^16 times 2^32 elements stay far inside f32.
const HEADROOM: f32 = 16.0;
// Elements that are read at a time.
const UNROLL: u32 = 8u;

fn highest(v: array<f32, 8>) -> f32 {
    return higher(higher(higher(v[0], v[1]), higher(v[2], v[3])),
        higher(higher(v[4], v[5]), higher(v[6], v[7])));
}

fn any_nan(v: array<f32, 8>) -> bool {
    // Not ||, which is a branch for each.
    return ((is_nan(v[0]) | is_nan(v[1])) | (is_nan(v[2]) | is_nan(v[3])))
        | ((is_nan(v[4]) | is_nan(v[5])) | (is_nan(v[6]) | is_nan(v[7])));
}

fn pairs(v: array<f32, 8>) -> f32 {
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

fn eight(line: Line, k: u32, step: u32) -> array<f32, 8> {
    return array<f32, 8>(
        element(line, k), element(line, k + step), element(line, k + 2u * step), element(line, k + 3u * step),
        element(line, k + 4u * step), element(line, k + 5u * step), element(line, k + 6u * step), element(line, k + 7u * step));
}

fn reduce(line: Line, share: Share) -> Row {
    if !line.live || share.first >= share.end {
        return nothing();
    }
    if NLL {
        return Row(0.0, 0.0, select(0.0, element(line, seed_of(line, share)), has_target(line, share)), 0.0);
    }
    if DENSE {
        return reduce_dense(line, share);
    }
    return reduce_sparse(line, share);
}

fn has_target(line: Line, share: Share) -> bool {
    return line.aim >= share.first && line.aim < share.end && (line.aim - share.first) % share.step == 0u;
}

// The target, or the first element of a share that has it not.
fn seed_of(line: Line, share: Share) -> u32 {
    return select(share.first, line.aim, has_target(line, share));
}

// e^(v - m), or 0 for the target.
fn other(v: f32, m: f32, k: u32, line: Line) -> f32 {
    return select(exp_below(v, m), 0.0, k == line.aim);
}

fn reduce_sparse(line: Line, share: Share) -> Row {
    let step = share.step;
    var reference = element(line, seed_of(line, share));
    let target_logit = select(0.0, reference, has_target(line, share));
    var nan = is_nan(reference);
    var total = Sum(0.0, 0.0);
    var k = share.first;
    for (; k + (UNROLL - 1u) * step < share.end; k += UNROLL * step) {
        let v = eight(line, k, step);
        nan = nan | any_nan(v);
        let high = highest(v);
        if high > reference + HEADROOM {
            let w = exp_below(reference, high);
            total = Sum(total.value * w, total.lost * w);
            reference = high;
        }
        let m = reference;
        let e = array<f32, 8>(
            other(v[0], m, k, line), other(v[1], m, k + step, line),
            other(v[2], m, k + 2u * step, line), other(v[3], m, k + 3u * step, line),
            other(v[4], m, k + 4u * step, line), other(v[5], m, k + 5u * step, line),
            other(v[6], m, k + 6u * step, line), other(v[7], m, k + 7u * step, line));
        total = add(total, pairs(e));
    }
    for (; k < share.end; k += step) {
        let v = element(line, k);
        nan = nan | is_nan(v);
        if v > reference + HEADROOM {
            let w = exp_below(reference, v);
            total = Sum(total.value * w, total.lost * w);
            reference = v;
        }
        total = add(total, other(v, reference, k, line));
    }
    return Row(select(reference, not_a_number(), nan), total.value, target_logit, 0.0);
}

// The factor of an element's -log p.
fn factor(line: Line, k: u32) -> f32 {
    let q = load_probability(line.start + k * uniforms.inner);
    let share = select(select(0.0, options.keep, k == line.aim), options.keep * q, PROBABILITIES);
    return (share + options.spread) * load_weight(k + uniforms.step_offset);
}

// add for terms that may be infinite, of which nothing is lost.
fn add_any(s: Sum, term: f32) -> Sum {
    let t = add(s, term);
    return Sum(t.value, select(t.lost, 0.0, is_inf(t.value)));
}

// f (v - m), where an f of 0 wins.
fn slope_of(f: f32, v: f32, m: f32) -> f32 {
    let d = v - m;
    // A difference past f32 may be within it as a part.
    let term = select(f * d, f * v - f * m, is_inf(d));
    return select(term, 0.0, (v == m) | (f == 0.0));
}

// e^(v - m) but for the maximum.
fn rest_of(v: f32, m: f32) -> f32 {
    return select(exp_below(v, m), 0.0, v == m);
}

fn tie(v: f32, m: f32) -> f32 {
    return select(0.0, 1.0, v == m);
}

fn reduce_dense(line: Line, share: Share) -> Row {
    let step = share.step;
    var m = element(line, share.first);
    var nan = is_nan(m);
    var k = share.first;
    for (; k + (UNROLL - 1u) * step < share.end; k += UNROLL * step) {
        let v = eight(line, k, step);
        nan = nan | any_nan(v);
        m = higher(m, highest(v));
    }
    for (; k < share.end; k += step) {
        let v = element(line, k);
        nan = nan | is_nan(v);
        m = higher(m, v);
    }
    // The maximum's ties are counted, and one of them left out.
    var ties = -1.0;
    var rest = Sum(0.0, 0.0);
    var factors = Sum(0.0, 0.0);
    var slopes = Sum(0.0, 0.0);
    k = share.first;
    for (; k + (UNROLL - 1u) * step < share.end; k += UNROLL * step) {
        let v = eight(line, k, step);
        let e = array<f32, 8>(
            rest_of(v[0], m), rest_of(v[1], m), rest_of(v[2], m), rest_of(v[3], m),
            rest_of(v[4], m), rest_of(v[5], m), rest_of(v[6], m), rest_of(v[7], m));
        let f = array<f32, 8>(
            factor(line, k), factor(line, k + step), factor(line, k + 2u * step), factor(line, k + 3u * step),
            factor(line, k + 4u * step), factor(line, k + 5u * step), factor(line, k + 6u * step), factor(line, k + 7u * step));
        let d = array<f32, 8>(
            slope_of(f[0], v[0], m), slope_of(f[1], v[1], m), slope_of(f[2], v[2], m), slope_of(f[3], v[3], m),
            slope_of(f[4], v[4], m), slope_of(f[5], v[5], m), slope_of(f[6], v[6], m), slope_of(f[7], v[7], m));
        ties += pairs(array<f32, 8>(
            tie(v[0], m), tie(v[1], m), tie(v[2], m), tie(v[3], m),
            tie(v[4], m), tie(v[5], m), tie(v[6], m), tie(v[7], m)));
        rest = add(rest, pairs(e));
        factors = add(factors, pairs(f));
        slopes = add_any(slopes, pairs(d));
    }
    for (; k < share.end; k += step) {
        let v = element(line, k);
        rest = add(rest, rest_of(v, m));
        ties += tie(v, m);
        let f = factor(line, k);
        factors = add(factors, f);
        slopes = add_any(slopes, slope_of(f, v, m));
    }
    return Row(select(m, not_a_number(), nan), ties + rest.value, factors.value, slopes.value);
}

fn merge(a: Row, b: Row) -> Row {
    let m = select(a.reference, b.reference, b.reference > a.reference || is_nan(b.reference));
    let wa = select(exp_below(a.reference, m), 1.0, a.reference == m);
    let wb = select(exp_below(b.reference, m), 1.0, b.reference == m);
    if !DENSE {
        // The target is in one part at most; the others have 0.
        return Row(m, a.sum * wa + b.sum * wb, a.a + b.a, 0.0);
    }
    // What was left out of the lower part comes back; of equal ones, one.
    let equal = a.reference == b.reference;
    let lower_is_a = b.reference == m;
    let high = select(a.sum, b.sum, lower_is_a);
    let low = select((1.0 + b.sum) * wb, (1.0 + a.sum) * wa, lower_is_a);
    let rest = select(high + low, (a.sum + b.sum) + 1.0, equal);
    let moved = slope_of(a.a, a.reference, m) + slope_of(b.a, b.reference, m);
    return Row(m, rest, a.a + b.a, (a.b + b.b) + moved);
}

// log(1 + s) for s >= 0.
fn log1p_any(s: f32) -> f32 {
    let above = settled(1.0 + s);
    let lost = settled(s - settled(above - 1.0));
    let unit = log1p_unit(at_most(s, 1.0));
    return select(log_positive(above) + lost / above, unit.x + unit.y, s <= 1.0);
}

// What a row comes to: the sum of all its e^(x - reference), and what the target is relative to
// the reference.
struct Whole {
    defined: bool,
    sum: f32,
    at_target: f32,
}

fn whole(line: Line, r: Row) -> Whole {
    let at_target = select(exp_below(r.a, r.reference), 1.0, r.a == r.reference);
    let own = select(at_target, 1.0, DENSE);
    let defined = line.valid && (NLL || !(is_nan(r.reference) || is_inf(r.reference)));
    return Whole(defined, r.sum + own, own);
}

fn aim_weight(line: Line) -> f32 {
    return load_weight(select(0u, line.aim + uniforms.step_offset, line.valid));
}

// The loss of a row.
fn loss_of(line: Line, r: Row) -> f32 {
    var loss: f32;
    let w = whole(line, r);
    if NLL {
        loss = -reached(aim_weight(line), r.a);
    } else if DENSE {
        loss = r.a * log1p_any(r.sum) - r.b;
    } else {
        let d = sum(r.reference, -r.a);
        let far = d.x + (d.y + log_positive(w.sum));
        let below = select(far, log1p_any(r.sum), r.a == r.reference);
        let weight = aim_weight(line);
        // A difference past f32 may be within it once it is weighed.
        let huge = 2.0 * (weight * (0.5 * r.reference - 0.5 * r.a));
        loss = select(weight * below, huge, is_inf(r.reference - r.a));
        // A weight of 0 wins over an infinite logarithm.
        loss = select(loss, 0.0, weight == 0.0);
    }
    let value = select(not_a_number(), loss, w.defined);
    return select(0.0, value, line.live);
}

// A product where 0 wins over infinity.
fn reached(a: f32, b: f32) -> f32 {
    let lost = ((a == 0.0) & is_inf(b)) | ((b == 0.0) & is_inf(a));
    return select(a * b, 0.0, lost);
}

struct Slope {
    // What multiplies e^(x - reference), and the upstream gradient where that is not in it.
    scale: f32,
    g: f32,
    at_target: f32,
    bad: bool,
}

fn finish_share(line: Line, share: Share, r: Row) {
    let first = uniforms.out_first + line.start;
    let inner = uniforms.inner;
    if !line.live {
        for (var k = share.first; k < share.end; k += share.step) {
            out[first + k * inner] = 0.0;
        }
        return;
    }
    let w = whole(line, r);
    let g = load_dy(line.row) * options.scale;
    var s = Slope(0.0, g, 0.0, !w.defined || is_nan(g));
    if NLL {
        s.at_target = -reached(g, aim_weight(line));
    } else if DENSE {
        s.scale = quotient(r.a, w.sum);
    } else {
        let weighted = reached(g, aim_weight(line));
        s.scale = quotient(weighted, w.sum);
        s.at_target = -reached(weighted, quotient(r.sum, w.sum));
    }
    let step = share.step;
    var k = share.first;
    for (; k + 3u * step < share.end; k += 4u * step) {
        finish(line, k, r.reference, s);
        finish(line, k + step, r.reference, s);
        finish(line, k + 2u * step, r.reference, s);
        finish(line, k + 3u * step, r.reference, s);
    }
    for (; k < share.end; k += step) {
        finish(line, k, r.reference, s);
    }
}

fn finish(line: Line, k: u32, m: f32, s: Slope) {
    let v = element(line, k);
    var y: f32;
    if NLL {
        y = select(0.0, s.at_target, k == line.aim);
    } else if DENSE {
        y = reached(s.g, exp_below(v, m) * s.scale - factor(line, k));
    } else {
        let d = sum(v, -m);
        // Past e^-173 nothing is left that a finite factor could lift.
        let gone = ((v - m < -170.0) & !is_inf(s.scale)) | (is_inf(v) & (v < 0.0));
        let lifted = select(exp_times(s.scale, d.x, d.y), s.scale, is_inf(s.scale));
        y = select(select(lifted, 0.0, gone), s.at_target, k == line.aim);
    }
    // Negative log likelihood has no gradient but at the target.
    let bad = s.bad && (!NLL || k == line.aim || !line.valid);
    out[uniforms.out_first + line.start + k * uniforms.inner] = select(y, not_a_number(), bad);
}
