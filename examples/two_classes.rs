//! Two classes are one logit: softmax of two logits is the logistic function of their difference,
//! cross entropy of the two is binary cross entropy of the one, and what that says about heads,
//! weights, and about losses that are computed in two steps. Every claim is checked as it is
//! printed.

mod common;

use common::{Outcome, worst_ulp};
use wgpu_activations::{
    Activation, AxisFunction, Backend, BceWithLogits, BinaryCrossEntropy, CrossEntropy, OfShape,
    Reduction, Targets,
};

fn main() -> Outcome {
    let backend = Backend::auto()?;
    println!("backend: {}", backend.description());

    // Six samples. A model with two outputs gives logits (x0, x1); only z = x1 - x0 matters,
    // because softmax does not see what is added to both.
    let x = [
        [0.0f32, 0.0],
        [1.5, -0.25],
        [-2.0, 3.0],
        [0.5, 12.5],
        [100.0, 100.75],
        [20.0, -20.0],
    ];
    let z = x.map(|[x0, x1]| x1 - x0);
    let targets = [0i64, 0, 1, 1, 1, 1];
    let t = targets.map(|t| t as f32);
    let flat = x.concat();
    let shape = [x.len(), 2];

    println!("\nsoftmax of (x0, x1) at 1, and sigmoid(x1 - x0):");
    let p = backend.apply(AxisFunction::Softmax.along(-1), flat.of_shape(&shape))?;
    let sigmoid = backend.apply(Activation::Sigmoid, &z)?;
    for ((x, p), sigmoid) in x.iter().zip(p.chunks(2)).zip(&sigmoid) {
        println!("  {x:?}: {:.7} {sigmoid:.7}", p[1]);
    }
    // e^x1 / (e^x0 + e^x1) = 1 / (1 + e^-(x1 - x0)), each within its own bound of the same number.
    let of_one: Vec<f32> = p.chunks(2).map(|p| p[1]).collect();
    worst_ulp(&of_one, sigmoid.iter().map(|&s| s.into()), 6.0);

    println!("\ncross entropy of two classes, and binary cross entropy of z with the target as t:");
    let two = CrossEntropy::new().reduction(Reduction::None);
    let one = BceWithLogits::new().reduction(Reduction::None);
    let indices = Targets::Indices(&targets);
    let of_two = backend.apply(&two, (flat.of_shape(&shape), indices))?;
    let of_one = backend.apply(&one, (&z, &t))?;
    for (i, (two, one)) in of_two.iter().zip(&of_one).enumerate() {
        println!("  {:?}, class {}: {two:.7e} {one:.7e}", x[i], targets[i]);
    }
    // -log softmax_t is log(1 + e^-z) for t = 1 and log(1 + e^z) for t = 0.
    worst_ulp(&of_two, of_one.iter().map(|&l| l.into()), 8.0);

    println!("\ntheir gradients: (t - p, p - t) by (x0, x1), and p - t by z:");
    let dy = [1.0; 6];
    let by_two = backend.grad(&two, (flat.of_shape(&shape), indices), &dy)?;
    let by_one = backend.grad(&one, (&z, &t), &dy)?;
    for (two, one) in by_two.chunks(2).zip(&by_one) {
        println!("  ({:.7}, {:.7})  {one:.7}", two[0], two[1]);
    }
    let second: Vec<f32> = by_two.chunks(2).map(|dx| dx[1]).collect();
    worst_ulp(&second, by_one.iter().map(|&dx| dx.into()), 8.0);
    let first: Vec<f32> = by_two.chunks(2).map(|dx| -dx[0]).collect();
    worst_ulp(&first, by_one.iter().map(|&dx| dx.into()), 8.0);
    // A step of gradient descent moves x0 and x1 by as much as it moves z, in opposite
    // directions, so that their difference moves twice as far: a head with two outputs learns as
    // one with a single output does at twice the learning rate.
    let rate = 0.1;
    let moved = (x[1][1] - rate * by_two[3]) - (x[1][0] - rate * by_two[2]);
    let twice = z[1] - 2.0 * rate * by_one[1];
    println!(
        "after a step at {rate}: two outputs differ by {moved:.6}, one at {}: {twice:.6}",
        2.0 * rate
    );
    assert!((moved - twice).abs() < 1e-5);

    // Weights: a pos_weight is the weight of class 1, but a mean over classes divides by the
    // weights, a mean over elements by their number.
    println!("\nclass 1 weighs 3:");
    let weighted = CrossEntropy::new().weight(&[1.0, 3.0]);
    let positive = BceWithLogits::new().pos_weight(&[3.0]);
    let sums = [
        backend.apply(
            weighted.clone().reduction(Reduction::Sum),
            (flat.of_shape(&shape), indices),
        )?,
        backend.apply(positive.clone().reduction(Reduction::Sum), (&z, &t))?,
    ];
    let means = [
        backend.apply(&weighted, (flat.of_shape(&shape), indices))?,
        backend.apply(&positive, (&z, &t))?,
    ];
    println!("  sums  {:.6} {:.6}", sums[0][0], sums[1][0]);
    println!("  means {:.6} {:.6}", means[0][0], means[1][0]);
    worst_ulp(&sums[0], [sums[1][0].into()], 8.0);
    // Two rows of weight 1 and four of weight 3, and six elements.
    worst_ulp(&means[0], [f64::from(means[1][0]) * 6.0 / 14.0], 8.0);

    // In two steps, sigmoid first, the loss sees p alone. Near 1 an f32 has nothing between
    // 1 - 2^-24 and 1: what the model is wrong about is rounded away, and PyTorch's clamp of the
    // logarithm at -100 is what keeps it finite.
    println!("\na wrong prediction, t = 0: with logits, and sigmoid before the loss");
    let in_steps = BinaryCrossEntropy::new().reduction(Reduction::None);
    let z = [5.0f32, 15.0, 17.0, 40.0];
    let t = [0.0; 4];
    let fused = backend.apply(&one, (&z, &t))?;
    let p = backend.apply(Activation::Sigmoid, &z)?;
    let steps = backend.apply(&in_steps, (&p, &t))?;
    for i in 0..z.len() {
        println!("  z = {:4}: {:.6} {:.6}", z[i], fused[i], steps[i]);
    }
    let exact = z.map(|z| f64::from(z) + libm::log1p(libm::exp(-f64::from(z))));
    worst_ulp(&fused, exact, 4.0);
    assert_eq!(steps[3], 100.0);
    Ok(())
}
