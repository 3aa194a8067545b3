//! An activation of your own trains a network on handwritten digits, beside relu, sigmoid and gelu:
//! written once in Rust and once in WGSL, fused with the bias in front of it, forward and backward.
//! What the layers' slopes are then shows why sigmoids learn slowly in deep networks, and how relu
//! dies at a large learning rate. All runs on the GPU, a training step in one submission.

#[path = "../common/mod.rs"]
mod common;
mod network;

use common::Outcome;
use network::{Digits, Network};
use wgpu_activations::{Activation, Backend, Custom, CustomFormula, Number, Step, check, wgpu};

/// x / 2 · (1 + x / sqrt(1 + x²)): the shape of silu without an exponential.
struct AlgebraicSilu;

impl CustomFormula for AlgebraicSilu {
    fn value<N: Number>(&self, x: N, _: &[N]) -> N {
        let one = N::constant(1.0);
        N::constant(0.5) * x * (one + x / (one + x.squared()).sqrt())
    }
}

/// The same in WGSL; the derivative is made from the formula above.
const WGSL: &str = "
fn algebraic_silu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + x / sqrt(1.0 + x * x));
}";

fn main() -> Outcome {
    let Some(gpu) = common::gpu()? else {
        return Ok(());
    };
    let digits = Digits::load(&gpu)?;
    // Both texts are one function? Where x is far below 0, 1 + x / sqrt(1 + x²) cancels.
    let own = Custom::new("algebraic_silu").bounds(64, 64).wgsl(WGSL);
    let own = own.formula(AlgebraicSilu)?;
    for report in check::custom::custom(&Backend::Gpu(gpu.clone()), &own, -2.5..=100.0)? {
        println!(
            "{} {:?}: within {:.1} ULP of its formula",
            report.function, report.pass, report.worst_ulp
        );
        assert!(report.passed());
    }

    let rate = 0.1;
    let functions: [(&str, Step, f32); 5] = [
        ("relu", Activation::Relu.into(), rate),
        ("sigmoid", Activation::Sigmoid.into(), rate),
        ("gelu", Activation::Gelu.into(), rate),
        ("algebraic_silu", (&own).into(), rate),
        ("relu, large rate", Activation::Relu.into(), 20.0 * rate),
    ];
    let mut all = Vec::new();
    for (name, function, rate) in functions {
        let mut network = Network::new(&gpu, &digits, function)?;
        let first = network.loss(&digits)?;
        let flow = network.gradients(&digits)?;
        for _ in 0..EPOCHS {
            network.epoch(&digits, rate)?;
        }
        let last = network.loss(&digits)?;
        let layers = network.layers(&digits)?;
        println!(
            "\n{name}, rate {rate}: loss {first:.3} at first, {last:.3} after {EPOCHS} epochs"
        );
        println!("  layer  mean |f'|  saturated  dead units  mean |dL/dW| at first");
        for (i, (layer, flow)) in layers.iter().zip(&flow).enumerate() {
            println!(
                "  {:5}  {:9.4}  {:8.1}%  {:4} of {:2}  {flow:12.2e}",
                i + 1,
                layer.slope,
                100.0 * layer.saturated,
                layer.dead,
                layer.units,
            );
        }
        all.push((first, last, layers, flow));
    }

    // What was to be seen.
    let [relu, sigmoid, gelu, own, hot] = &all[..] else {
        return Ok(());
    };
    for (first, last, ..) in [relu, gelu, own] {
        assert!(*last < 0.5 * first, "the loss falls from {first} to {last}");
    }
    assert!(sigmoid.1 > 2.0 * relu.1, "sigmoid learns slowly");
    let vanishing = |run: &[f64]| run[0] / run[run.len() - 1];
    assert!(vanishing(&sigmoid.3) < 0.1 * vanishing(&relu.3));
    let dead = |run: &[network::Layer]| run.iter().map(|layer| layer.dead).sum::<u64>();
    assert!(dead(&hot.2) > 10 + dead(&relu.2), "relu dies");
    println!(
        "\nthe first layer's gradient is {:.0e} of the last one's with sigmoid, {:.0e} with relu; \
         at the large rate {} units of relu are dead, {} at the small one",
        vanishing(&sigmoid.3),
        vanishing(&relu.3),
        dead(&hot.2),
        dead(&relu.2),
    );
    Ok(())
}

/// Times that every image is seen.
const EPOCHS: usize = 7;

/// A pass of a training step.
type Pass<'a> = wgpu::ComputePass<'a>;
