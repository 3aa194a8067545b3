//! The f64 reference, and every backend, against a table of hard points that mpmath computed from
//! definitions of its own (`tests/data/hard_points.py`): what everything else is measured with is
//! itself measured.

mod common;

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use wgpu_activations::{Activation, Elementwise, reference};

/// The largest relative error that the f64 reference may have: a millionth of an f32 ULP.
const TOLERANCE: f64 = 1e-13;
/// Half the smallest subnormal f32: what is below it is zero for every user of the reference.
const ZERO: f64 = 7.006_492_321_624_085e-46;

/// A line of the table.
#[derive(Deserialize)]
struct Row {
    function: String,
    parameters: BTreeMap<String, f32>,
    points: Vec<(String, String, String)>,
}

/// An input with f and f' there.
struct Point {
    x: f64,
    forward: f64,
    backward: f64,
}

fn table() -> Vec<(Elementwise, Vec<Point>)> {
    include_str!("data/hard_points.jsonl")
        .lines()
        .map(|line| {
            let row: Row = serde_json::from_str(line).unwrap();
            let activation: Activation = row.function.parse().unwrap();
            let parameters = row.parameters.iter().map(|(k, &v)| (k.as_str(), v));
            let points = row.points.iter().map(|(x, forward, backward)| Point {
                x: f32::from_bits(u32::from_str_radix(x, 16).unwrap()).into(),
                forward: forward.parse().unwrap(),
                backward: backward.parse().unwrap(),
            });
            (activation.with(parameters).unwrap(), points.collect())
        })
        .collect()
}

/// The error of `got` relative to `want`, or to `scale` where that is larger.
fn error(got: f64, want: f64, scale: f64) -> f64 {
    // The first holds for equal infinities too: beyond f64 there is nothing to tell apart.
    if got == want || (got.abs() < ZERO && want.abs() < ZERO) {
        return 0.0;
    }
    let error = (got - want).abs() / want.abs().max(scale);
    if error.is_nan() { f64::INFINITY } else { error }
}

fn forward_error(f: &Elementwise, point: &Point) -> f64 {
    error(reference::forward(f, point.x), point.forward, 0.0)
}

/// Near a root of f' the error is relative to the largest term, as in the contract.
fn backward_error(f: &Elementwise, point: &Point) -> f64 {
    let scale = reference::largest_term(f, point.x);
    error(reference::backward(f, point.x), point.backward, scale)
}

#[test]
fn the_table_covers_the_catalogue() {
    let table = table();
    let defaults: BTreeSet<_> = table
        .iter()
        .filter(|(f, points)| *f == f.activation().into() && points.len() >= 15)
        .map(|(f, _)| f.activation())
        .collect();
    let all: BTreeSet<_> = Activation::ALL.iter().copied().collect();
    assert_eq!(defaults, all);
    assert!(table.iter().map(|(_, points)| points.len()).sum::<usize>() > 2650);
}

#[test]
fn the_reference_holds_at_the_hard_points() {
    let mut breaches = Vec::new();
    for (f, points) in &table() {
        for point in points {
            let Point { x, .. } = point;
            let forward = forward_error(f, point);
            if forward > TOLERANCE {
                breaches.push(format!("{f} at {x:e}: off by {forward:e}"));
            }
            let backward = backward_error(f, point);
            if backward > TOLERANCE {
                breaches.push(format!("derivative of {f} at {x:e}: off by {backward:e}"));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The contract without the detour over the reference: in ULP of the table's values.
#[test]
fn every_backend_holds_at_the_hard_points() {
    for backend in common::backends() {
        let mut breaches = Vec::new();
        for (f, points) in &table() {
            let x: Vec<f32> = points.iter().map(|point| point.x as f32).collect();
            let y = backend.apply(*f, &x).unwrap();
            let dx = backend.grad(*f, &x, &vec![1.0; x.len()]).unwrap();
            let bounds = f.activation().info().bounds;
            for (i, point) in points.iter().enumerate() {
                // A subnormal input may be flushed to zero on its way.
                let zero = 0.0f64.copysign(point.x);
                let flushed = |error: f64, by_zero: f64| {
                    if x[i].is_subnormal() {
                        error.min(by_zero)
                    } else {
                        error
                    }
                };
                let forward = flushed(
                    reference::ulp_error(y[i], point.forward, 0.0),
                    reference::ulp_error(y[i], reference::forward(f, zero), 0.0),
                );
                if forward > bounds.forward.into() {
                    breaches.push(format!("{f} at {:e}: {forward} ULP", x[i]));
                }
                let scale = reference::largest_term(f, point.x);
                let at_zero = reference::backward(f, zero);
                let backward = flushed(
                    reference::ulp_error(dx[i], point.backward, scale),
                    reference::ulp_error(dx[i], at_zero, reference::largest_term(f, zero)),
                );
                if backward > bounds.backward.into() {
                    breaches.push(format!("{f}' at {:e}: {backward} ULP", x[i]));
                }
            }
        }
        let what = backend.description();
        assert!(breaches.is_empty(), "{what}\n{}", breaches.join("\n"));
    }
}

/// The harness itself: a neighbouring function and a value that is off by ten tolerances are
/// both seen.
#[test]
fn wrong_references_are_seen() {
    let table = table();
    let points_of = |activation: Activation| {
        let row = table.iter().find(|(f, _)| *f == activation.into());
        &row.unwrap().1
    };
    for (wrong, right) in [
        (Activation::GeluTanh, Activation::Gelu),
        (Activation::QuickGelu, Activation::Silu),
        (Activation::Hardtanh, Activation::Tanh),
    ] {
        let points = points_of(right);
        let objects = |error: fn(&Elementwise, &Point) -> f64| {
            points.iter().any(|p| error(&wrong.into(), p) > TOLERANCE)
        };
        assert!(objects(forward_error), "{wrong} passes for {right}");
        assert!(objects(backward_error), "{wrong}' passes for {right}'");
    }
    for point in points_of(Activation::Sigmoid) {
        let off = Point {
            forward: point.forward * (1.0 + 10.0 * TOLERANCE),
            ..*point
        };
        if off.forward > ZERO {
            assert!(forward_error(&Activation::Sigmoid.into(), &off) > TOLERANCE);
        }
    }
}
