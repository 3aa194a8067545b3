//! The f64 reference of the softmax family over shaped rows: every element by its coordinates, and
//! every value by how far it is from another, since values of 1e20 show no units in f64.

use crate::axis::AxisFunction;
use crate::shaping::{Causal, RowPolicy, Scale, Settings, Shaping};

/// An element that takes part.
#[derive(Clone, Copy)]
struct Element {
    value: Value,
    /// The derivative of the value by x.
    slope: f64,
}

/// cap tanh(x / cap) + bias, or x + bias without a cap; x is scaled, as a sum of two.
#[derive(Clone, Copy)]
struct Value {
    x: [f64; 2],
    bias: f64,
    cap: f64,
}

impl Value {
    fn new(x: f32, bias: f64, sign: f64, settings: &Settings) -> Self {
        let x = f64::from(x);
        // Of products and quotients, what the rounding lost is a number of 53 bits, too.
        let [hi, lo] = match settings.scale {
            Scale::Times(scale) => [x * f64::from(scale), 0.0],
            Scale::Over(temperature) => {
                let temperature = f64::from(temperature);
                let quotient = x / temperature;
                [quotient, quotient.mul_add(-temperature, x) / temperature]
            }
        };
        let lo = if hi.is_finite() { lo } else { 0.0 };
        Self {
            x: [sign * hi, sign * lo],
            bias: sign * bias,
            cap: settings.soft_cap.into(),
        }
    }

    /// A sink's value.
    fn sink(logit: f32, settings: &Settings) -> Self {
        Self {
            bias: logit.into(),
            ..Self::new(0.0, 0.0, 1.0, settings)
        }
    }

    /// The value, rounded.
    fn rounded(self) -> f64 {
        let zero = Self {
            x: [0.0; 2],
            bias: 0.0,
            ..self
        };
        let x = self.x[0];
        let x = if self.cap > 0.0 && x.is_infinite() {
            self.cap.copysign(x)
        } else {
            x
        };
        // An infinity or a NaN by its sum.
        let sum = x + self.bias;
        if sum.is_finite() {
            self.less(zero)
        } else {
            sum
        }
    }

    /// A finite value less another.
    fn less(self, other: Self) -> f64 {
        let biases = exact_sum(self.bias, -other.bias);
        if self.cap > 0.0 {
            let d = difference_of_tanh(self.x[0] / self.cap, other.x[0] / other.cap, {
                let [step, lost] = exact_sum(self.x[0], -other.x[0]);
                let rest = lost + self.x[1] - other.x[1];
                // A cap is reached at infinity.
                (if step.is_finite() { step + rest } else { step }) / self.cap
            });
            let whole = exact_sum(self.cap * d, biases[0]);
            return whole[0] + (whole[1] + biases[1]);
        }
        let steps = exact_sum(self.x[0], -other.x[0]);
        let whole = exact_sum(steps[0], biases[0]);
        whole[0] + (whole[1] + steps[1] + biases[1] + (self.x[1] - other.x[1]))
    }
}

/// tanh(a) - tanh(b), where a - b is `step`: sinh(a - b) / (cosh(a) cosh(b)), without overflow.
fn difference_of_tanh(a: f64, b: f64, step: f64) -> f64 {
    if a == b {
        return 0.0;
    }
    let [of_a, of_b] = [a, b].map(|v| libm::exp(-2.0 * v.abs()));
    let rise = -libm::expm1(-2.0 * step.abs());
    let factor = if (a < 0.0) == (b < 0.0) {
        of_a.max(of_b)
    } else {
        1.0
    };
    (2.0 * rise * factor / ((1.0 + of_a) * (1.0 + of_b))).copysign(step)
}

/// a + b as the rounded sum and what its rounding lost, for finite ones.
pub(super) fn exact_sum(a: f64, b: f64) -> [f64; 2] {
    let sum = a + b;
    let of_b = sum - a;
    [sum, (a - (sum - of_b)) + (b - of_b)]
}

/// A row's values less the largest of them and the sink, that one, and what is its sink.
struct Spread {
    top: f64,
    /// Of what takes part, in order.
    below: Vec<f64>,
    sink: Option<f64>,
    /// Whether there is a softmax.
    defined: bool,
}

impl Spread {
    fn new(row: &Row, settings: &Settings) -> Self {
        let values: Vec<Value> = row.elements.iter().flatten().map(|e| e.value).collect();
        // What adds e^-infinity is not there.
        let logit = row.sink.filter(|&logit| logit != f32::NEG_INFINITY);
        let alone = values.iter().map(|v| v.rounded());
        if logit == Some(f32::INFINITY) && alone.clone().all(|v| v < f64::INFINITY) {
            // The limit: all others are nothing beside it.
            return Self {
                top: f64::INFINITY,
                below: vec![f64::NEG_INFINITY; values.len()],
                sink: Some(0.0),
                defined: true,
            };
        }
        let sink = logit.map(|logit| Value::sink(logit, settings));
        let all = values.iter().copied().chain(sink);
        let rounded: Vec<f64> = all.clone().map(Value::rounded).collect();
        let most = rounded.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let undefined = if rounded.iter().any(|v| v.is_nan()) {
            Some(f64::NAN)
        } else if most.is_infinite() {
            Some(most)
        } else {
            None
        };
        let finite = |v: &Value| v.rounded().is_finite();
        let top = all
            .filter(finite)
            .reduce(|a, b| if b.less(a) > 0.0 { b } else { a });
        let (Some(top), None) = (top, undefined) else {
            return Self {
                top: undefined.unwrap_or(f64::NEG_INFINITY),
                below: vec![f64::NAN; values.len()],
                sink: sink.map(|_| f64::NAN),
                defined: false,
            };
        };
        let below = |v: Value| {
            if finite(&v) {
                v.less(top)
            } else {
                f64::NEG_INFINITY
            }
        };
        Self {
            top: top.rounded(),
            below: values.into_iter().map(below).collect(),
            sink: sink.map(below),
            defined: true,
        }
    }

    /// The sum of the exponentials but for one that is 1.
    fn rest(&self) -> f64 {
        let mut terms: Vec<f64> = self.below.iter().chain(&self.sink).copied().collect();
        terms.sort_by(f64::total_cmp);
        terms.pop();
        terms.into_iter().map(libm::exp).sum()
    }
}

/// A row: its elements' indices, what takes part of them, and its number.
struct Row {
    indices: Vec<usize>,
    elements: Vec<Option<Element>>,
    number: usize,
    sink: Option<f32>,
    /// Where the sink is among all of them.
    sink_at: usize,
}

/// `function` of every row of `x` along `axis` after `shaping`, in f64.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn shaped_forward(
    function: AxisFunction,
    shaping: &Shaping<'_>,
    x: &[f32],
    shape: &[usize],
    axis: usize,
) -> Vec<f64> {
    let rows = rows(function, shaping, x, shape, axis);
    let mut out = vec![
        0.0;
        if function.reduces() {
            rows.len()
        } else {
            x.len()
        }
    ];
    for row in rows {
        let spread = Spread::new(&row, &shaping.settings);
        let rest = spread.rest();
        let undefined = !spread.defined;
        let nothing = row.elements.iter().all(Option::is_none);
        let nan = nothing && shaping.settings.policy == RowPolicy::Nan;
        if function.reduces() {
            out[row.number] = match spread.top {
                _ if nan => f64::NAN,
                top if !top.is_finite() => top,
                top => top + libm::log1p(rest),
            };
            continue;
        }
        let log = function == AxisFunction::LogSoftmax;
        let mut below = spread.below.iter();
        for (&i, element) in row.indices.iter().zip(&row.elements) {
            out[i] = match element.and_then(|_| below.next()) {
                None if nan => f64::NAN,
                None if log => f64::NEG_INFINITY,
                None => 0.0,
                Some(_) if undefined => f64::NAN,
                Some(below) if log => below - libm::log1p(rest),
                Some(below) => libm::exp(*below) / (1.0 + rest),
            };
        }
    }
    out
}

/// The gradient of `function` after `shaping` by `x` for the upstream gradient `dy`, and beside
/// each value the magnitude of the largest term that it is a sum of.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn shaped_backward(
    function: AxisFunction,
    shaping: &Shaping<'_>,
    x: &[f32],
    dy: &[f32],
    shape: &[usize],
    axis: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut out = vec![0.0; x.len()];
    let mut largest = vec![0.0; x.len()];
    for row in rows(function, shaping, x, shape, axis) {
        let spread = Spread::new(&row, &shaping.settings);
        let total = 1.0 + spread.rest();
        let weights = spread.below.iter().map(|below| libm::exp(*below) / total);
        let upstream = |i: usize| {
            let at = if function.reduces() { row.number } else { i };
            f64::from(dy[at])
        };
        let kept: Vec<(usize, Element, f64)> = row
            .indices
            .iter()
            .zip(&row.elements)
            .filter_map(|(&i, element)| Some((i, (*element)?)))
            .zip(weights)
            .map(|((i, element), weight)| (i, element, weight))
            .collect();
        let sum_of =
            |term: &dyn Fn(&(usize, Element, f64)) -> f64| -> f64 { kept.iter().map(term).sum() };
        let dot = sum_of(&|(i, _, y)| upstream(*i) * y);
        let dot_size = sum_of(&|(i, _, y)| (upstream(*i) * y).abs());
        let sum = sum_of(&|(i, ..)| upstream(*i));
        let sum_size = sum_of(&|(i, ..)| upstream(*i).abs());
        for (i, element, y) in &kept {
            let g = upstream(*i);
            let (by_value, size) = match function {
                AxisFunction::Softmax | AxisFunction::Softmin => {
                    (y * (g - dot), y * g.abs().max(dot_size))
                }
                AxisFunction::LogSoftmax => (g - y * sum, g.abs().max(y * sum_size)),
                AxisFunction::LogSumExp => (g * y, (g * y).abs()),
            };
            out[*i] = by_value * element.slope;
            largest[*i] = size * element.slope.abs();
        }
    }
    (out, largest)
}

/// The gradient of `function` after `shaping` by its sinks for the upstream gradient `dy`, and beside
/// each value the sum of the magnitudes of the largest terms that its rows are sums of.
///
/// # Panics
/// Where the shapes do not fit each other, or there is no sink.
pub fn shaped_backward_by_sinks(
    function: AxisFunction,
    shaping: &Shaping<'_>,
    x: &[f32],
    dy: &[f32],
    shape: &[usize],
    axis: usize,
) -> (Vec<f64>, Vec<f64>) {
    assert!(shaping.sinks.is_some() || shaping.settings.sink.is_some());
    let count = shaping.sinks.map_or(1, |(sinks, _)| sinks.len());
    let (mut out, mut sizes) = (vec![0.0; count], vec![0.0; count]);
    for row in rows(function, shaping, x, shape, axis) {
        let spread = Spread::new(&row, &shaping.settings);
        // One of -infinity is no sink.
        let Some(below) = spread.sink else { continue };
        let total = 1.0 + spread.rest();
        // Beside a sink of infinity all others are nothing.
        let share = libm::exp(below) / total;
        let kept = row.indices.iter().zip(&row.elements);
        let kept = kept.filter_map(|(&i, element)| element.map(|_| f64::from(dy[i])));
        let (term, size) = if function.reduces() {
            let term = share * f64::from(dy[row.number]);
            (term, term.abs())
        } else {
            let weight = |below: &f64| match function {
                AxisFunction::LogSoftmax => 1.0,
                _ => libm::exp(*below) / total,
            };
            let terms: Vec<f64> = kept
                .zip(&spread.below)
                .map(|(g, below)| -share * g * weight(below))
                .collect();
            (terms.iter().sum(), terms.iter().map(|t| t.abs()).sum())
        };
        // A NaN that takes part is one of the whole row.
        let nan = if spread.defined { 0.0 } else { f64::NAN };
        out[row.sink_at] += term + nan;
        sizes[row.sink_at] += size;
    }
    (out, sizes)
}

fn rows(
    function: AxisFunction,
    shaping: &Shaping<'_>,
    x: &[f32],
    shape: &[usize],
    axis: usize,
) -> Vec<Row> {
    assert_eq!(x.len(), shape.iter().product::<usize>());
    let settings = &shaping.settings;
    let sign = if function == AxisFunction::Softmin {
        -1.0
    } else {
        1.0
    };
    let mut found: Vec<(Vec<usize>, Row)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for (i, &x) in x.iter().enumerate() {
        let coordinates = coordinates(i, shape);
        let (key, query) = (coordinates[axis], {
            let named = settings.query_axis.unwrap_or(axis as isize - 1);
            if settings.causal.is_none() {
                0
            } else {
                named.rem_euclid(shape.len() as isize) as usize
            }
        });
        let sees = match settings.causal {
            None => true,
            Some(Causal::UpperLeft) => key <= coordinates[query],
            Some(Causal::LowerRight) => key + shape[query] <= coordinates[query] + shape[axis],
        };
        // NumPy's rule: axes are aligned at the end.
        let at_end = |given: &[usize]| {
            let own = &coordinates[coordinates.len() - given.len()..];
            flat(own, given)
        };
        let masked = shaping.mask.is_some_and(|(m, s)| m[at_end(s)] == 0);
        let bias = shaping.bias.map_or(0.0, |(b, s)| f64::from(b[at_end(s)]));
        let beyond = shaping
            .lengths
            .is_some_and(|(l, s)| key >= l[flat(&coordinates[..s.len()], s)] as usize);
        // Of the rows' own axes, along the function's the only one.
        let (sink, sink_at) = match shaping.sinks {
            Some((s, shape)) => (Some(s[at_end(shape)]), at_end(shape)),
            None => (settings.sink, 0),
        };
        let element = (sees && !masked && !beyond && bias != f64::NEG_INFINITY).then(|| {
            let scale = settings.scale.value();
            let cap = f64::from(settings.soft_cap);
            let slope = if cap > 0.0 {
                let cosh = libm::cosh(scale * f64::from(x) / cap);
                1.0 / (cosh * cosh)
            } else {
                1.0
            };
            Element {
                value: Value::new(x, bias, sign, settings),
                slope: sign * slope * scale,
            }
        });
        let mut others = coordinates;
        others.remove(axis);
        let number = *index.entry(others.clone()).or_insert_with(|| {
            let number = found.len();
            found.push((
                others,
                Row {
                    indices: Vec::new(),
                    elements: Vec::new(),
                    number,
                    sink,
                    sink_at,
                },
            ));
            number
        });
        found[number].1.indices.push(i);
        found[number].1.elements.push(element);
    }
    // By their places in order: that is the order of a reduction's results.
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let numbered = found.into_iter().enumerate();
    numbered
        .map(|(number, (_, row))| Row { number, ..row })
        .collect()
}

/// The coordinates of element `i` of an array.
fn coordinates(i: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = i;
    let mut coordinates = vec![0; shape.len()];
    for (to, &size) in coordinates.iter_mut().zip(shape).rev() {
        *to = rest % size;
        rest /= size;
    }
    coordinates
}

/// Where an array of shape `given` has its value for coordinates along its axes.
fn flat(coordinates: &[usize], given: &[usize]) -> usize {
    let places = coordinates.iter().zip(given);
    places.fold(0, |at, (&c, &size)| {
        at * size + if size == 1 { 0 } else { c }
    })
}
