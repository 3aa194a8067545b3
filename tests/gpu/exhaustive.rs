//! The exhaustive check on every backend at once, over a small share of all inputs.

use crate::common::backends;
use std::ops::ControlFlow;
use wgpu_activations::Activation;
use wgpu_activations::check::Pass;
use wgpu_activations::check::exhaustive::{Run, Span};

/// The upper half of every bit pattern, and 4.2 million neighbours across two binades, which is
/// more than a chunk.
#[test]
fn every_backend_is_within_its_bounds() {
    let backends = backends();
    let spans = [
        Span::new(0, u32::MAX, 1 << 16).unwrap(),
        Span::new(0xbf60_0000, 0xbf60_0000 + (4 << 20) + 12_345, 1).unwrap(),
    ];
    let functions = [
        Activation::Silu,
        Activation::Softplus,
        Activation::Elu,
        Activation::Erf,
    ];
    for f in functions {
        for pass in [Pass::Forward, Pass::Backward] {
            for span in spans {
                let mut run = Run::new(f, pass, span, backends.len());
                run.advance(&backends, |_| ControlFlow::Continue(()))
                    .unwrap();
                for (backend, tally) in backends.iter().zip(run.tallies()) {
                    let what = format!("{f} {pass} on {}: {tally:?}", backend.description());
                    assert_eq!(tally.inputs, span.len(), "{what}");
                    assert!(tally.passed(), "{what}");
                    assert!(tally.worst.is_some(), "{what}");
                }
            }
        }
    }
}
