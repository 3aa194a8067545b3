//! Focal loss, which lets what is already told apart count for little.

mod check;
pub(super) mod entry;
mod reference;

use super::element_loss::{ElementLoss, TARGETS, WEIGHT};
use super::loss::LOGITS;
use crate::arrays::Data;
use crate::catalogue::Real;
use crate::cpu::{Wide, reached};
use crate::element_loss::{ElementOptions, Formula, check_probabilities, element_options};
use crate::element_shader::ElementShader;
use crate::error::{Error, Result};
use crate::loss::Reduction;
use crate::operation::{Role, operations};
use std::hint::select_unpredictable;

operations!(FocalLoss);

/// Up to this the shader's accuracy is measured; the paper takes 0 to 5.
const MOST_GAMMA: f32 = 1000.0;

/// Focal loss of logits (Lin et al. 2017, "Focal Loss for Dense Object Detection"), torchvision's
/// `sigmoid_focal_loss`: binary cross entropy in which an element counts the less the surer it is of its
/// target.
///
/// With a logit x, its target t from 0 to 1, p = sigmoid(x) and a weight w (1 by default) the loss of an
/// element is w a q^gamma b:
///
/// - b = t softplus(-x) + (1 - t) softplus(x), binary cross entropy of logits;
/// - q = t (1 - p) + (1 - t) p, the probability that is missing from the target;
/// - a = alpha t + (1 - alpha) (1 - t), which weighs positives against negatives; 1 where alpha is negative.
///
/// By default alpha is 0.25, gamma 2 and the losses' mean is taken, over all elements; torchvision's default
/// is no reduction. With a gamma of 0 it is binary cross entropy, weighed by alpha. A factor of 0 takes its
/// term out, also where the other is infinite: the loss of the logit infinity with the target 1 is 0. A
/// target outside [0, 1] is an error, and NaN on a device, which does not look.
///
/// ```
/// use wgpu_activations::{Backend, FocalLoss, Reduction};
/// let loss = FocalLoss::new().gamma(1.0).alpha(-1.0).reduction(Reduction::None);
/// let of = Backend::cpu().apply(&loss, (&[0.0, 4.0], &[1.0, 1.0]))?;
/// // Half of the probability is missing: log(2) / 2. The surer one counts for next to nothing.
/// assert!((of[0] - 0.34657359).abs() < 1e-7 && of[1] < 0.001);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FocalLoss {
    options: ElementOptions,
    alpha: f32,
    gamma: f32,
}

impl Default for FocalLoss {
    fn default() -> Self {
        Self {
            options: ElementOptions::default(),
            alpha: 0.25,
            gamma: 2.0,
        }
    }
}

element_options!(FocalLoss);

impl FocalLoss {
    /// The weight of the target 1, from 0 to 1, of which the rest is that of the target 0; none where it is
    /// negative. 0.25 by default.
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.alpha = alpha;
        self
    }

    /// The power of the missing probability, from 0 to 1000: 2 by default.
    pub fn gamma(mut self, gamma: f32) -> Self {
        self.gamma = gamma;
        self
    }

    /// The weights of the targets 1 and 0.
    fn balance(&self) -> [f64; 2] {
        let alpha = f64::from(self.alpha);
        match alpha < 0.0 {
            true => [1.0, 1.0],
            false => [alpha, 1.0 - alpha],
        }
    }
}

impl ElementLoss for FocalLoss {
    const ROLES: &'static [Role] = &[LOGITS, TARGETS, WEIGHT];
    const SHADER: &'static ElementShader = &ElementShader {
        name: "focal_loss",
        text: include_str!("../../../shaders/focal_loss.wgsl"),
        loss: "focal_loss(x, t, load_weight(i))",
        slope: "focal_slope(x, t, load_weight(i))",
    };

    fn options(&self) -> &ElementOptions {
        &self.options
    }

    fn options_mut(&mut self) -> &mut ElementOptions {
        &mut self.options
    }

    fn check_options(&self) -> Result<()> {
        let problem = if self.alpha.is_nan() || self.alpha > 1.0 {
            let alpha = self.alpha;
            format!("alpha = {alpha} must be a number from 0 to 1, or negative for none")
        } else if !(0.0..=MOST_GAMMA).contains(&self.gamma) {
            let gamma = self.gamma;
            format!("gamma = {gamma} must be a number from 0 to {MOST_GAMMA}")
        } else {
            return Ok(());
        };
        Err(Error::Options {
            function: Self::SHADER.name,
            problem,
        })
    }

    fn check_values(&self, _x: Data<'_>, targets: Data<'_>) -> Result<()> {
        check_probabilities(&targets.widened())
    }

    fn numbers(&self) -> [f32; 3] {
        let [on, off] = self.balance();
        [on as f32, off as f32, self.gamma]
    }
}

/// What is made of a logit and its target.
struct Parts {
    /// e = exp(-|x|).
    e: f64,
    /// The target's share of the class that the logit's sign speaks against, and the rest.
    shares: [f64; 2],
    /// Binary cross entropy: s |x| + log(1 + e).
    entropy: f64,
    /// s + r e.
    total: f64,
    /// ((s + r e) / (1 + e))^gamma.
    power: f64,
}

impl FocalLoss {
    #[inline(always)]
    fn parts<const FMA: bool>(&self, x: f64, t: f64) -> Parts {
        let e = Wide::<FMA>(-x.abs()).exp_below_zero().0;
        let s = select_unpredictable(x < 0.0, t, 1.0 - t);
        let r = select_unpredictable(x < 0.0, 1.0 - t, t);
        let total = s + r * e;
        // The logarithm of a of a + b as -log(1 + b / a), which is exact on both ends.
        let log = -Wide::<FMA>((r + s * e) / total).ln_1p_any().0;
        let gamma = f64::from(self.gamma);
        // At least what leaves an f32 times any other three; nothing of it without a power.
        let exponent = select_unpredictable(gamma == 0.0, 0.0, (gamma * log).max(-700.0));
        Parts {
            e,
            shares: [s, r],
            entropy: reached(s, x.abs()) + Wide::<FMA>(e).ln_1p().0,
            total,
            power: Wide::<FMA>(exponent).exp_below_zero().0,
        }
    }

    #[inline(always)]
    fn balance_of(&self, t: f64) -> f64 {
        let [on, off] = self.balance();
        let value = on * t + off * (1.0 - t);
        select_unpredictable((0.0..=1.0).contains(&t), value, f64::NAN)
    }
}

impl Formula for FocalLoss {
    #[inline(always)]
    fn loss<const FMA: bool>(&self, x: f64, t: f64, w: f64, _p: f64) -> f64 {
        let parts = self.parts::<FMA>(x, t);
        let value = reached(self.balance_of(t), reached(parts.power, parts.entropy));
        reached(w, value)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(&self, x: f64, t: f64, w: f64, _p: f64) -> f64 {
        let Parts {
            e,
            shares: [s, r],
            entropy,
            total,
            power,
        } = self.parts::<FMA>(x, t);
        // e / (s + r e), which is 1 where all of the target is on the logit's side.
        let over = select_unpredictable(s == 0.0, 1.0, e / total);
        let growth = reached((s - r) * over, reached(self.gamma.into(), entropy));
        let slope = ((s - r * e) + growth) / (1.0 + e);
        let signed = select_unpredictable(x < 0.0, -slope, slope);
        reached(w, reached(self.balance_of(t), reached(power, signed)))
    }
}
