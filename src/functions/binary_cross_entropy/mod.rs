//! Binary cross entropy, of logits and of probabilities.

pub(super) mod entry;

use super::element_loss::{ElementLoss, POS_WEIGHT, TARGETS, WEIGHT};
use super::loss::LOGITS;
use crate::arrays::Data;
use crate::catalogue::Real;
use crate::cpu::{Wide, reached};
use crate::element_loss::{ElementOptions, Formula, check_probabilities, element_options};
use crate::element_shader::ElementShader;
use crate::error::Result;
use crate::loss::Reduction;
use crate::operation::{Kind, Role, operations};
use std::hint::select_unpredictable;
use std::sync::Arc;

operations!(BceWithLogits, BinaryCrossEntropy);

const TEXT: &str = include_str!("../../../shaders/binary_cross_entropy.wgsl");

/// The least that a logarithm of a probability is taken for, PyTorch's.
const LEAST_LOG: f64 = -100.0;
/// Below this a logarithm is clamped in any case.
const LEAST_PROBABILITY: f64 = 1e-44;
/// What the gradient's denominator is at least, PyTorch's.
const LEAST_DENOMINATOR: f64 = 1e-12;

/// Binary cross entropy of logits, PyTorch's `binary_cross_entropy_with_logits`: the logistic
/// function and [`BinaryCrossEntropy`] in one, which stays finite and exact where the logistic
/// function rounds to 0 or 1.
///
/// With a logit x, its target t (a probability), a weight w and a weight of positives p (both 1
/// by default) the loss of an element is
/// w (p t softplus(-x) + (1 - t) softplus(x)), softplus(x) = log(1 + e^x).
///
/// A factor of 0 takes its term out, also where the other is infinite: the loss of the logit
/// infinity with the target 1 is 0. [`Reduction::Mean`], the default, divides by the number of
/// elements.
#[derive(Clone, Debug, Default)]
pub struct BceWithLogits {
    pub(crate) options: ElementOptions,
    pub(crate) pos_weight: Option<Arc<[f32]>>,
}

/// Binary cross entropy of probabilities, PyTorch's `binary_cross_entropy`:
/// -w (t log p + (1 - t) log(1 - p)), where a logarithm is -100 at least.
///
/// The gradient is PyTorch's, (p - t) / max(p (1 - p), 1e-12). It and the loss are NaN where p
/// is NaN; a p outside [0, 1] is an error. [`BceWithLogits`] is more accurate, because the
/// logistic function that usually comes before this has lost what is close to 1.
#[derive(Clone, Debug, Default)]
pub struct BinaryCrossEntropy {
    pub(crate) options: ElementOptions,
}

element_options!(BceWithLogits);
element_options!(BinaryCrossEntropy);

impl BceWithLogits {
    /// A weight of the positive part for each class along the axis, or for each element, or one
    /// for all; finite numbers. Above 1 it raises recall, below 1 precision.
    pub fn pos_weight(mut self, weight: &[f32]) -> Self {
        self.pos_weight = Some(weight.into());
        self
    }
}

impl ElementLoss for BceWithLogits {
    const ROLES: &'static [Role] = &[LOGITS, TARGETS, WEIGHT, POS_WEIGHT];
    const SHADER: &'static ElementShader = &ElementShader {
        name: "binary_cross_entropy_with_logits",
        text: TEXT,
        loss: "logit_loss(x, t, load_weight(i), load_positive(i))",
        slope: "logit_slope(x, t, load_weight(i), load_positive(i))",
    };

    fn options(&self) -> &ElementOptions {
        &self.options
    }

    fn options_mut(&mut self) -> &mut ElementOptions {
        &mut self.options
    }

    fn pos_weight(&self) -> Option<&[f32]> {
        self.pos_weight.as_deref()
    }

    fn weighted(self, name: &str, weight: &[f32]) -> Option<Self> {
        if name == WEIGHT.name {
            return Some(self.weight(weight));
        }
        (name == POS_WEIGHT.name).then(|| Self::pos_weight(self, weight))
    }
}

impl Formula for BceWithLogits {
    #[inline(always)]
    fn loss<const FMA: bool>(&self, x: f64, t: f64, w: f64, p: f64) -> f64 {
        let [up, down] = softplus::<FMA>(x);
        reached(w, reached(p * t, down) + reached(1.0 - t, up))
    }

    #[inline(always)]
    fn slope<const FMA: bool>(&self, x: f64, t: f64, w: f64, p: f64) -> f64 {
        // Both halves of the logistic function, each to its own precision.
        let e = Wide::<FMA>(-x.abs()).exp_below_zero().0;
        let large = 1.0 / (1.0 + e);
        let small = e * large;
        let up = select_unpredictable(x < 0.0, small, large);
        let down = select_unpredictable(x < 0.0, large, small);
        w * ((1.0 - t) * up - p * t * down)
    }
}

/// log(1 + e^x) and log(1 + e^-x).
#[inline(always)]
fn softplus<const FMA: bool>(x: f64) -> [f64; 2] {
    let tail = Wide::<FMA>(-x.abs()).exp_below_zero().ln_1p().0;
    // A tail that is NaN is one where x is.
    let positive = select_unpredictable(x > 0.0, x, 0.0);
    let negative = select_unpredictable(x < 0.0, -x, 0.0);
    [positive + tail, negative + tail]
}

impl ElementLoss for BinaryCrossEntropy {
    const ROLES: &'static [Role] = &[
        Role::new("probabilities", "the probabilities", Kind::Numbers),
        TARGETS,
        WEIGHT,
    ];
    const SHADER: &'static ElementShader = &ElementShader {
        name: "binary_cross_entropy",
        text: TEXT,
        loss: "probability_loss(x, t, load_weight(i))",
        slope: "probability_slope(x, t, load_weight(i))",
    };

    fn options(&self) -> &ElementOptions {
        &self.options
    }

    fn options_mut(&mut self) -> &mut ElementOptions {
        &mut self.options
    }

    fn check_values(&self, x: Data<'_>, _targets: Data<'_>) -> Result<()> {
        check_probabilities(&x.widened())
    }
}

impl Formula for BinaryCrossEntropy {
    #[inline(always)]
    fn loss<const FMA: bool>(&self, x: f64, t: f64, w: f64, _p: f64) -> f64 {
        // log(a) where a + b = 1, as -log(1 + b / a), which is exact on both ends.
        let log = |a: f64, b: f64| {
            let log = -Wide::<FMA>(b / a).ln_1p_any().0;
            // e^-100 is above this.
            select_unpredictable(a > LEAST_PROBABILITY && log > LEAST_LOG, log, LEAST_LOG)
        };
        let value = w * -(t * log(x, 1.0 - x) + (1.0 - t) * log(1.0 - x, x));
        select_unpredictable((0.0..=1.0).contains(&x), value, f64::NAN)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(&self, x: f64, t: f64, w: f64, _p: f64) -> f64 {
        let denominator = x * (1.0 - x);
        let least = denominator < LEAST_DENOMINATOR;
        let value = (x - t) / select_unpredictable(least, LEAST_DENOMINATOR, denominator);
        w * select_unpredictable((0.0..=1.0).contains(&x), value, f64::NAN)
    }
}
