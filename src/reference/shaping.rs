//! The f64 reference of the softmax family over shaped rows: every element by its coordinates.

use crate::axis::AxisFunction;
use crate::shaping::{Causal, RowPolicy, Shaping};

/// An element that takes part.
#[derive(Clone, Copy)]
struct Element {
    value: f64,
    /// The derivative of the value by x.
    slope: f64,
}

/// A row: its elements' indices, what takes part of them, and its number.
struct Row {
    indices: Vec<usize>,
    elements: Vec<Option<Element>>,
    number: usize,
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
        let (weights, log_sum) = weights(&row.elements, shaping.settings.sink);
        let nothing = row.elements.iter().all(Option::is_none);
        let nan = nothing && shaping.settings.policy == RowPolicy::Nan;
        if function.reduces() {
            out[row.number] = if nan { f64::NAN } else { log_sum };
            continue;
        }
        let log = function == AxisFunction::LogSoftmax;
        for ((&i, element), weight) in row.indices.iter().zip(&row.elements).zip(weights) {
            out[i] = match element {
                None if nan => f64::NAN,
                None if log => f64::NEG_INFINITY,
                None => 0.0,
                Some(_) if weight.is_nan() => f64::NAN,
                Some(element) if log => element.value - log_sum,
                Some(_) => weight,
            };
        }
        if log {
            sharpen(&mut out, &row, shaping.settings.sink);
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
        let (weights, _) = weights(&row.elements, shaping.settings.sink);
        let upstream = |i: usize| {
            let at = if function.reduces() { row.number } else { i };
            f64::from(dy[at])
        };
        let kept: Vec<(usize, Element, f64)> = row
            .indices
            .iter()
            .zip(&row.elements)
            .zip(weights)
            .filter_map(|((&i, element), weight)| Some((i, (*element)?, weight)))
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

/// log_softmax of a row whose largest value stands out: log(1 + rest) from the rest alone.
fn sharpen(out: &mut [f64], row: &Row, sink: Option<f32>) {
    let mut values: Vec<f64> = row.elements.iter().flatten().map(|e| e.value).collect();
    values.extend(sink.map(f64::from));
    values.sort_by(f64::total_cmp);
    let Some((&max, rest)) = values.split_last() else {
        return;
    };
    if !max.is_finite() || values.iter().any(|v| v.is_nan()) {
        return;
    }
    let rest: f64 = rest.iter().map(|v| libm::exp(v - max)).sum();
    for (&i, element) in row.indices.iter().zip(&row.elements) {
        if let Some(element) = element {
            out[i] = (element.value - max) - libm::log1p(rest);
        }
    }
}

/// The softmax of what takes part, 0 for the others, and the logarithm of the sum.
fn weights(elements: &[Option<Element>], sink: Option<f32>) -> (Vec<f64>, f64) {
    let mut values: Vec<f64> = elements.iter().flatten().map(|e| e.value).collect();
    values.extend(sink.map(f64::from));
    let nan = values.iter().any(|v| v.is_nan());
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut terms: Vec<f64> = values.iter().map(|v| libm::exp(v - max)).collect();
    terms.sort_by(f64::total_cmp);
    let sum: f64 = terms.iter().sum();
    let log_sum = match max {
        _ if nan => f64::NAN,
        max if max.is_infinite() => max,
        max => max + libm::log(sum),
    };
    let undefined = nan || max.is_infinite();
    let weights = elements.iter().map(|element| match element {
        None => 0.0,
        Some(_) if undefined => f64::NAN,
        Some(element) => libm::exp(element.value - max) / sum,
    });
    (weights.collect(), log_sum)
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
        let element = (sees && !masked && !beyond && bias != f64::NEG_INFINITY).then(|| {
            let scaled = settings.scale * f64::from(x);
            let cap = f64::from(settings.soft_cap);
            let (value, slope) = if cap > 0.0 {
                let cosh = libm::cosh(scaled / cap);
                (cap * libm::tanh(scaled / cap), 1.0 / (cosh * cosh))
            } else {
                (scaled, 1.0)
            };
            Element {
                value: sign * (value + bias),
                slope: sign * slope * settings.scale,
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
