//! Parameters of activations that can be learned: the derivative of f by a parameter, a row for
//! each. Nothing here knows of a GPU; `shaders/learn.wgsl` has a function of the same name.

use crate::catalogue::{Activation, MAX_PARAMETERS, Real};
use crate::error::{Error, Result};

/// The derivative of a row's formula by one of its parameters.
pub(crate) trait ByParameter {
    /// df/dp at x; sees finite, infinite and signed-zero x, no NaN.
    fn at<R: Real>(x: R, p: [R; MAX_PARAMETERS]) -> R;
}

/// A computation that is generic over the row, run for one row by [`Learnable::visit`].
pub(crate) trait ParameterVisitor {
    type Output;
    fn visit<F: ByParameter>(self) -> Self::Output;
}

macro_rules! learnable {
    ($($row:ident $name:literal = $activation:ident, $index:literal: |$x:ident, $p:pat_param| $at:expr;)*) => {
        /// A parameter of an activation with a derivative.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Learnable {
            $($row,)*
        }

        impl Learnable {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$row),*];

            /// The activation, and which of its parameters it is.
            pub(crate) fn of(self) -> (Activation, usize) {
                match self {
                    $(Self::$row => (Activation::$activation, $index),)*
                }
            }

            /// The name of the WGSL function.
            pub(crate) fn function(self) -> &'static str {
                match self {
                    $(Self::$row => $name,)*
                }
            }

            /// Runs `visitor` on this row's formula.
            pub(crate) fn visit<V: ParameterVisitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$row => visitor.visit::<rows::$row>(),)*
                }
            }
        }

        mod rows {
            use super::*;
            $(
                pub(super) struct $row;
                impl ByParameter for $row {
                    #[inline(always)]
                    fn at<R: Real>($x: R, $p: [R; MAX_PARAMETERS]) -> R { $at }
                }
            )*
        }
    };
}

#[inline(always)]
fn c<R: Real>(value: f64) -> R {
    R::cst(value)
}

/// `below` where x <= 0, else 0.
#[inline(always)]
fn below<R: Real>(x: R, below: R) -> R {
    R::select(x > c(0.0), c(0.0), below)
}

/// e^x - 1 where x <= 0, else 0.
#[inline(always)]
fn expm1_below<R: Real>(x: R) -> R {
    below(x, x.at_most(0.0).exp_m1())
}

learnable! {
    LeakyReluSlope "leaky_relu_by_slope" = LeakyRelu, 0: |x, _| below(x, x);
    EluAlpha "elu_by_alpha" = Elu, 0: |x, _| expm1_below(x);
    SeluAlpha "selu_by_alpha" = Selu, 0: |x, [_, scale]| scale * expm1_below(x);
    SeluScale "selu_by_scale" = Selu, 1: |x, [alpha, _]|
        R::select(x > c(0.0), x, alpha * x.at_most(0.0).exp_m1());
    SwishBeta "swish_by_beta" = Swish, 0: |x, [beta, _]| {
        // Past 700 the slope of the logistic function is 0 in every product; a zero steepness
        // never gets there.
        let z = (beta * x.at_least(-1e30).at_most(1e30)).at_least(-700.0).at_most(700.0);
        let slope = z.sigmoid() * (-z).sigmoid();
        let far = z.abs() >= c(700.0);
        R::select(far, c(0.0), x * (x * slope))
    };
    LinearAlpha "linear_by_alpha" = Linear, 0: |x, _| x;
    LinearBeta "linear_by_beta" = Linear, 1: |_x, _| c(1.0);
}

impl Learnable {
    /// The parameter `name` of `activation`.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] and [`Error::NotLearnable`].
    pub(crate) fn find(activation: Activation, name: &str) -> Result<Self> {
        let info = activation.info();
        let index = info.parameters.iter().position(|p| p.name == name);
        let Some(index) = index else {
            return Err(Error::UnknownParameter {
                function: info.name,
                name: name.to_owned(),
                known: info.parameters.iter().map(|p| p.name).collect(),
            });
        };
        let found = Self::ALL.iter().find(|l| l.of() == (activation, index));
        found.copied().ok_or_else(|| Error::NotLearnable {
            function: info.name,
            parameter: info.parameters[index].name,
            learnable: Self::ALL.iter().map(|l| l.to_string()).collect(),
        })
    }
}

impl std::fmt::Display for Learnable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (activation, index) = self.of();
        let info = activation.info();
        write!(f, "{} of {}", info.parameters[index].name, info.name)
    }
}

/// Every activation with a parameter that [`Backend::grad_parameter`](crate::Backend::grad_parameter)
/// knows, and the parameter's name.
pub fn learnable() -> impl Iterator<Item = (Activation, &'static str)> {
    Learnable::ALL.iter().map(|l| {
        let (activation, index) = l.of();
        (activation, activation.info().parameters[index].name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Elementwise;
    use crate::reference;

    /// df/dp of `f` at x, in f64 with `libm`.
    fn derivative(l: Learnable, f: &Elementwise, x: f64) -> f64 {
        struct At(f64, [f64; MAX_PARAMETERS]);
        impl ParameterVisitor for At {
            type Output = f64;
            fn visit<F: ByParameter>(self) -> f64 {
                F::at(self.0, self.1)
            }
        }
        l.visit(At(x, f.packed().map(f64::from)))
    }

    /// Every row against dual numbers through the activation's own formula.
    #[test]
    fn rows_are_derivatives() {
        let mut compared = 0;
        for &l in Learnable::ALL {
            let (activation, index) = l.of();
            let parameter = activation.info().parameters[index].name;
            for value in [-1.5f32, 0.0, 0.3, 1.0, 8.0] {
                let f = activation.with([(parameter, value)]).unwrap();
                for i in -600..=600 {
                    let x = f64::from(i) * 0.037 + 0.001;
                    let want = reference::parameter_derivative(&f, index, x);
                    let got = derivative(l, &f, x);
                    let error = (got - want).abs();
                    assert!(
                        error <= 1e-9 * want.abs().max(1e-30),
                        "{l} {f} at {x}: {got} {want}"
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared > 40_000, "{compared}");
    }

    #[test]
    fn limits() {
        let inf = f64::INFINITY;
        let swish = Activation::Swish.into();
        for x in [inf, -inf, 1e30, 0.0] {
            assert_eq!(derivative(Learnable::SwishBeta, &swish, x), 0.0);
        }
        let elu = Activation::Elu.into();
        assert_eq!(derivative(Learnable::EluAlpha, &elu, -inf), -1.0);
        assert_eq!(derivative(Learnable::EluAlpha, &elu, inf), 0.0);
    }

    #[test]
    fn others_are_errors() {
        let unknown = Learnable::find(Activation::Swish, "alpha").unwrap_err();
        assert!(unknown.to_string().contains("beta"), "{unknown}");
        let not = Learnable::find(Activation::Clamp, "min")
            .unwrap_err()
            .to_string();
        assert!(not.contains("beta of swish"), "{not}");
        assert_eq!(
            Learnable::find(Activation::Swish, "beta").unwrap(),
            Learnable::SwishBeta
        );
        assert!(learnable().any(|row| row == (Activation::Elu, "alpha")));
    }
}
