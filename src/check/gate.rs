//! The accuracy check of gated linear units.

use super::{Noise, Pass, Report};
use crate::backend::Trial;
use crate::error::Result;
use crate::gate::Gate;
use crate::reference::{self, ulp_error};
use std::borrow::Borrow;

/// Triples of value, gate and upstream gradient: dense around zero, far from it, of every
/// exponent, and every special number with every other.
fn triples() -> [Vec<f32>; 3] {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut inputs = [const { Vec::new() }; 3];
    let mut push = |triple: [f32; 3]| {
        for (input, x) in inputs.iter_mut().zip(triple) {
            input.push(x);
        }
    };
    for _ in 0..20_000 {
        push([4.0, 6.0, 2.0].map(|scale| scale * noise.next()));
        push([9.0, 30.0, 1.0].map(|scale| scale * noise.next()));
        push([3e38, 300.0, 3e38].map(|scale| scale * noise.next()));
        // Any exponent; what is subnormal by then is a zero.
        push([(); 3].map(|()| {
            let exponent = (noise.next() * 126.0) as i32;
            noise.next() * 2f32.powi(exponent)
        }));
    }
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let special = [
        0.0,
        -0.0,
        inf,
        -inf,
        nan,
        1.0,
        -1.0,
        7.0,
        -7.0,
        f32::MAX,
        f32::MIN,
    ];
    for value in special {
        for gate in special {
            for dy in special {
                push([value, gate, dy]);
            }
        }
    }
    inputs.map(|input| {
        let normal = |x: f32| if x.is_subnormal() { 0.0 } else { x };
        input.into_iter().map(normal).collect()
    })
}

checks! {
    /// Holds a gate, forward and both gradients, against the reference. Inputs and errors of the
    /// reports are those of the gate.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn gate / gate_async / gate_by (function: &Gate) -> Vec<Report>;
}

pub(crate) async fn gate_by(backend: &Trial, function: impl Borrow<Gate>) -> Result<Vec<Report>> {
    let function = function.borrow();
    let [value, gates, dy] = triples();
    let bounds = function.bounds();
    let mut forward = Report::new(function.to_string(), Pass::Forward, bounds.forward.into());
    let mut backward = Report::new(function.to_string(), Pass::Backward, bounds.backward.into());
    let y = backend.apply(function, (&value, &gates)).await?;
    let gradients = backend.grads(function, (&value, &gates), &dy).await?;
    for i in 0..value.len() {
        let [v, g, u] = [value[i], gates[i], dy[i]].map(f64::from);
        if !in_range(function, g) {
            continue;
        }
        let want = reference::gate::forward(function, v, g);
        forward.add(gates[i], y[i], want, ulp_error(y[i], want, 0.0));
        let want = reference::gate::backward(function, v, g, u);
        let (dvalue, dgate) = (gradients[0][i], gradients[1][i]);
        let by_value = ulp_error(dvalue, want.value, 0.0);
        backward.add(gates[i], dvalue, want.value, by_value);
        // The terms of a derivative may be past f32 where their sum is not.
        let shrink = (f64::from(f32::MAX) / want.largest).min(1.0);
        let by_gate = ulp_error(dgate, want.gate, want.largest) * shrink;
        backward.add(gates[i], dgate, want.gate, by_gate);
    }
    Ok(vec![forward, backward])
}

/// Whether the bounds of a gate hold at this input; see [`Gate::bounds`].
fn in_range(function: &Gate, gate: f64) -> bool {
    let f = function.function();
    let gone = |f: f64| f != 0.0 && f.abs() < f32::MIN_POSITIVE.into();
    function.keeps_parts()
        || !(gone(reference::forward(&f, gate)) || gone(reference::backward(&f, gate)))
}
