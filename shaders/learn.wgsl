// df/dp of the activations whose parameters can be learned, over terms.wgsl: functions of x and
// both of the row's parameters. NaN needs no care here.

fn leaky_relu_by_slope(x: f32, slope: f32, unused: f32) -> Term {
    return normal(select(x, 0.0, x > 0.0));
}

fn elu_by_alpha(x: f32, alpha: f32, unused: f32) -> Term {
    return normal(select(expm1_sum(at_most(x, 0.0), 0.0), 0.0, x > 0.0));
}

fn selu_by_alpha(x: f32, alpha: f32, scale_: f32) -> Term {
    return product_of(normal(scale_), elu_by_alpha(x, alpha, scale_));
}

fn selu_by_scale(x: f32, alpha: f32, scale_: f32) -> Term {
    let below = product_of(normal(alpha), elu_by_alpha(x, alpha, scale_));
    if x > 0.0 {
        return normal(x);
    }
    return below;
}

// x^2 sigmoid'(beta x).
fn swish_by_beta(x: f32, beta: f32, unused: f32) -> Term {
    let z = swish_argument(x, beta);
    let square = renewed(product_of(normal(x), normal(x)));
    let t = renewed(product_of(square, logistic_slope_term(z.x, z.y)));
    return Term(t.hi, t.lo, select(t.n, ZERO, abs(z.x) > 709.7));
}

fn linear_by_alpha(x: f32, alpha: f32, beta: f32) -> Term {
    return normal(x);
}

fn linear_by_beta(x: f32, alpha: f32, beta: f32) -> Term {
    return normal(1.0);
}
