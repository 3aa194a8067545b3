//! The losses: which there are, their options, and what is checked before anything is computed.

use crate::arrays::{Array, CheckedFor, Data};
use crate::error::{Error, Result};
use crate::range::Range;
use crate::shape::{AxisShape, same_length};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What becomes of the losses of all rows, or of all elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// One loss for each row, or for each element.
    None,
    /// Their mean; over classes it is weighted, see [`CrossEntropy`].
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::None, Self::Mean, Self::Sum];

    /// The name, PyTorch's.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Sum => "sum",
        }
    }

    /// Elements of the result where `count` losses are reduced.
    pub(crate) fn results(self, count: usize) -> usize {
        match self {
            Self::None => count,
            Self::Mean | Self::Sum => 1,
        }
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reduction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reduction| reduction.name() == text)
            .ok_or_else(|| Error::UnknownReduction {
                name: text.to_owned(),
            })
    }
}

/// What each row of logits should have been.
///
/// Slices, arrays and vectors of `i64`, `i32` and `f32` convert into it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// The class of each row, from 0 on; the shape is the logits' without the class axis.
    Indices(&'a [i64]),
    /// The same in 32 bits.
    Indices32(&'a [i32]),
    /// A probability for each class of each row, in the logits' shape. They need not sum to 1.
    Probabilities(&'a [f32]),
}

macro_rules! targets_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$type]> for Targets<'a> {
            fn from(values: &'a [$type]) -> Self {
                Self::$variant(values)
            }
        }
        impl<'a> From<&'a Vec<$type>> for Targets<'a> {
            fn from(values: &'a Vec<$type>) -> Self {
                Self::$variant(values)
            }
        }
        impl<'a, const N: usize> From<&'a [$type; N]> for Targets<'a> {
            fn from(values: &'a [$type; N]) -> Self {
                Self::$variant(values)
            }
        }
    )*};
}
targets_from!(i64 => Indices, i32 => Indices32, f32 => Probabilities);

impl<'a> Targets<'a> {
    /// An array of classes or probabilities as targets.
    pub(crate) fn of(data: Data<'a>) -> Self {
        match data {
            Data::I64(classes) => Self::Indices(classes),
            Data::I32(classes) => Self::Indices32(classes),
            // Invariant: nothing else takes the place of targets.
            data => Self::Probabilities(data.of_type()),
        }
    }
}

impl<'a> From<Targets<'a>> for Array<'a> {
    fn from(targets: Targets<'a>) -> Self {
        match targets {
            Targets::Indices(classes) => classes.into(),
            Targets::Indices32(classes) => classes.into(),
            Targets::Probabilities(probabilities) => probabilities.into(),
        }
    }
}

/// The class index that PyTorch ignores by default.
pub(crate) const IGNORE_INDEX: i64 = -100;

/// A row's class where the row is ignored, among checked targets.
pub(crate) const IGNORED: u32 = u32::MAX;

/// Cross entropy of logits, PyTorch's `cross_entropy`: softmax and the negative logarithm of the
/// target's probability in one, without the softmax in memory.
///
/// With p = softmax(x) of a row of C classes, class weights w (1 by default) and label smoothing
/// s (0 by default), the loss of a row is
///
/// - for a target class t: -(1 - s) w_t log p_t - s/C sum_c w_c log p_c, or 0 where t is
///   `ignore_index`;
/// - for target probabilities q: -sum_c ((1 - s) q_c + s/C) w_c log p_c.
///
/// [`Reduction::Mean`], the default, divides the sum by the sum of w_t over the rows that are not
/// ignored, or for target probabilities by the number of rows. Where all rows are ignored, or
/// there is none, the mean is NaN and the sum 0.
///
/// The classes lie along `axis`: by default axis 1, or axis 0 of a one-dimensional array, as in
/// PyTorch. A row with a NaN or a positive infinity, or of nothing but negative infinities, has a
/// NaN loss. A weight or a probability of 0 takes its term out, also where log p is infinite,
/// where PyTorch gives NaN. Label smoothing is that of Szegedy et al. (2016), "Rethinking the
/// Inception Architecture".
///
/// ```
/// use wgpu_activations::{Backend, CrossEntropy, OfShape, Reduction};
/// let loss = CrossEntropy::new().label_smoothing(0.1).reduction(Reduction::Sum);
/// let logits = [2.0, 0.5, -1.0, /* row 1 */ 0.0, 3.0, 0.0];
/// let value = Backend::cpu().apply(&loss, (logits.of_shape(&[2, 3]), &[0, 1]))?;
/// assert_eq!(value.len(), 1);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    pub(crate) classes: ClassOptions,
    pub(crate) label_smoothing: f32,
}

/// Negative log likelihood, PyTorch's `nll_loss`: -w_t x_t of a row of log-probabilities x with
/// the target class t; weights, `ignore_index`, reductions and the axis as in [`CrossEntropy`].
///
/// A weight of 0 wins over an infinite log-probability.
#[derive(Clone, Debug, Default)]
pub struct NllLoss {
    pub(crate) classes: ClassOptions,
}

/// What cross entropy and nll_loss have in common.
#[derive(Clone, Debug)]
pub(crate) struct ClassOptions {
    pub weight: Option<Arc<[f32]>>,
    pub ignore_index: i64,
    pub reduction: Reduction,
    pub axis: Option<isize>,
}

impl Default for ClassOptions {
    fn default() -> Self {
        Self {
            weight: None,
            ignore_index: IGNORE_INDEX,
            reduction: Reduction::Mean,
            axis: None,
        }
    }
}

macro_rules! class_options {
    ($type:ident) => {
        impl $type {
            /// The loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            /// A weight for each class; finite numbers.
            pub fn weight(mut self, weight: &[f32]) -> Self {
                self.classes.weight = Some(weight.into());
                self
            }

            /// The class that marks rows to leave out: -100 by default.
            pub fn ignore_index(mut self, class: i64) -> Self {
                self.classes.ignore_index = class;
                self
            }

            /// What becomes of the rows' losses: their mean by default.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.classes.reduction = reduction;
                self
            }

            /// The axis of the classes, which counts from the end where it is negative.
            pub fn axis(mut self, axis: isize) -> Self {
                self.classes.axis = Some(axis);
                self
            }
        }
    };
}
class_options!(CrossEntropy);
class_options!(NllLoss);

impl CrossEntropy {
    /// The share of the target, from 0 to 1, that is spread over all classes: 0 by default.
    pub fn label_smoothing(mut self, share: f32) -> Self {
        self.label_smoothing = share;
        self
    }

    /// Checks everything that can be wrong, and puts targets into one form.
    pub(crate) fn problem<'a>(
        &'a self,
        logits: usize,
        shape: &[usize],
        targets: Targets<'a>,
    ) -> Result<ClassProblem<'a>> {
        self.weighted(logits, shape, targets, self.classes.weight.as_deref())
    }

    /// [`CrossEntropy::problem`] with this weight of classes.
    pub(crate) fn weighted<'a>(
        &self,
        logits: usize,
        shape: &[usize],
        targets: Targets<'a>,
        weight: Option<&'a [f32]>,
    ) -> Result<ClassProblem<'a>> {
        let around = self.around(shape)?;
        same_length("the logits", around.elements(), logits)?;
        self.classes
            .problem(around, targets, weight, self.label_smoothing)
    }

    /// The same for rows whose targets are checked, which are not reduced: ignored rows have the bits
    /// of [`IGNORED`], and weights and the axis are the kernel's own.
    pub(crate) fn for_checked_targets(&self) -> Self {
        Self::new()
            .label_smoothing(self.label_smoothing)
            .ignore_index(-1)
            .reduction(Reduction::None)
    }

    pub(crate) fn check_smoothing(&self) -> Result<()> {
        let value = self.label_smoothing;
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(Error::ParameterOutOfRange {
            function: "cross_entropy",
            parameter: "label_smoothing",
            value,
            range: Range::Share,
        })
    }

    /// The logits seen around the class axis, with the options checked.
    pub(crate) fn around(&self, shape: &[usize]) -> Result<AxisShape> {
        self.check_smoothing()?;
        self.classes.around(shape)
    }
}

/// A loss over classes, for [`Gpu::labels`](crate::Gpu::labels); each of them converts into it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClassLoss {
    /// Cross entropy of logits.
    CrossEntropy(CrossEntropy),
    /// Negative log likelihood of log-probabilities.
    NllLoss(NllLoss),
}

impl From<CrossEntropy> for ClassLoss {
    fn from(loss: CrossEntropy) -> Self {
        Self::CrossEntropy(loss)
    }
}

impl From<NllLoss> for ClassLoss {
    fn from(loss: NllLoss) -> Self {
        Self::NllLoss(loss)
    }
}

impl ClassLoss {
    /// The name of the operation that computes it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy(_) => "cross_entropy",
            Self::NllLoss(_) => "nll_loss",
        }
    }

    pub(crate) fn problem<'a>(
        &'a self,
        inputs: usize,
        shape: &[usize],
        targets: Targets<'a>,
    ) -> Result<ClassProblem<'a>> {
        match self {
            Self::CrossEntropy(loss) => loss.problem(inputs, shape, targets),
            Self::NllLoss(loss) => loss.problem(inputs, shape, targets),
        }
    }

    pub(crate) fn options(&self) -> &ClassOptions {
        match self {
            Self::CrossEntropy(loss) => &loss.classes,
            Self::NllLoss(loss) => &loss.classes,
        }
    }
}

impl NllLoss {
    /// Checks everything that can be wrong, and puts targets into one form.
    pub(crate) fn problem<'a>(
        &'a self,
        log_probabilities: usize,
        shape: &[usize],
        targets: Targets<'a>,
    ) -> Result<ClassProblem<'a>> {
        let weight = self.classes.weight.as_deref();
        self.weighted(log_probabilities, shape, targets, weight)
    }

    /// [`NllLoss::problem`] with this weight of classes.
    pub(crate) fn weighted<'a>(
        &self,
        log_probabilities: usize,
        shape: &[usize],
        targets: Targets<'a>,
        weight: Option<&'a [f32]>,
    ) -> Result<ClassProblem<'a>> {
        if matches!(targets, Targets::Probabilities(_)) {
            return Err(Error::TargetsAreIndices {
                function: "nll_loss",
            });
        }
        let around = self.classes.around(shape)?;
        same_length(
            "the log-probabilities",
            around.elements(),
            log_probabilities,
        )?;
        self.classes.problem(around, targets, weight, 0.0)
    }
}

impl ClassOptions {
    /// The class axis as it was given, or PyTorch's.
    fn axis(&self, rank: usize) -> isize {
        self.axis.unwrap_or(if rank == 1 { 0 } else { 1 })
    }

    /// The index of the class axis, which is in range.
    pub(crate) fn index(&self, rank: usize) -> usize {
        self.axis(rank).rem_euclid(rank.max(1) as isize) as usize
    }

    /// The array seen around the class axis, with the weight checked.
    pub(crate) fn around(&self, shape: &[usize]) -> Result<AxisShape> {
        let around = AxisShape::new(shape, self.axis(shape.len()))?;
        check_class_weight(&around, self.weight.as_deref())?;
        Ok(around)
    }

    /// What targets are checked for, of a loss of this name and an input of this shape.
    pub(crate) fn checked_for(&self, loss: &'static str, shape: &[usize]) -> CheckedFor {
        CheckedFor {
            loss,
            weight: self.weight.clone(),
            ignore_index: self.ignore_index,
            axis: self.axis,
            shape: shape.to_vec(),
        }
    }

    /// Whether targets were checked for a loss of this name with these options.
    pub(crate) fn are_those_of(&self, loss: &'static str, checked: &CheckedFor) -> bool {
        loss == checked.loss
            && self.weight == checked.weight
            && self.ignore_index == checked.ignore_index
            && self.axis == checked.axis
    }

    /// An error where there is a class to ignore, and targets are probabilities.
    pub(crate) fn no_ignored_probabilities(&self) -> Result<()> {
        if self.ignore_index < 0 {
            return Ok(());
        }
        Err(Error::IgnoreIndexOfProbabilities {
            ignore_index: self.ignore_index,
        })
    }

    fn problem<'a>(
        &self,
        shape: AxisShape,
        targets: Targets<'a>,
        weight: Option<&'a [f32]>,
        smoothing: f32,
    ) -> Result<ClassProblem<'a>> {
        check_class_weight(&shape, weight)?;
        let (targets, total) = match targets {
            Targets::Probabilities(q) => {
                same_length("the target probabilities", shape.elements(), q.len())?;
                self.no_ignored_probabilities()?;
                (ClassTargets::Probabilities(q), shape.rows() as f64)
            }
            Targets::Indices(t) => self.checked(shape, t.len(), t.iter().copied(), weight)?,
            Targets::Indices32(t) => {
                self.checked(shape, t.len(), t.iter().map(|&t| i64::from(t)), weight)?
            }
        };
        Ok(ClassProblem {
            shape,
            targets,
            weight,
            smoothing: smoothing.into(),
            reduction: self.reduction,
            total,
        })
    }

    /// The class of every row, and the sum of the weights of those that are not ignored.
    fn checked<'a>(
        &self,
        shape: AxisShape,
        count: usize,
        targets: impl Iterator<Item = i64>,
        weight: Option<&[f32]>,
    ) -> Result<(ClassTargets<'a>, f64)> {
        same_length("the targets", shape.rows(), count)?;
        let mut total = 0.0;
        let mut classes = Vec::with_capacity(count);
        for (row, target) in targets.enumerate() {
            if target == self.ignore_index {
                classes.push(IGNORED);
                continue;
            }
            match usize::try_from(target) {
                Ok(class) if class < shape.len && class < IGNORED as usize => {
                    total += weight.map_or(1.0, |w| f64::from(w[class]));
                    // Below IGNORED, a u32.
                    classes.push(class as u32);
                }
                _ => {
                    return Err(Error::TargetOutOfRange {
                        row,
                        target,
                        classes: shape.len,
                    });
                }
            }
        }
        Ok((ClassTargets::Classes(classes), total))
    }
}

/// An error where there are not as many weights as classes, or one is not finite.
fn check_class_weight(around: &AxisShape, weight: Option<&[f32]>) -> Result<()> {
    let Some(weight) = weight else {
        return Ok(());
    };
    same_length("the class weight", around.len, weight.len())?;
    finite("the class weight", weight)
}

/// A checked call of a loss over classes.
#[derive(Clone, Debug)]
pub(crate) struct ClassProblem<'a> {
    pub shape: AxisShape,
    pub targets: ClassTargets<'a>,
    pub weight: Option<&'a [f32]>,
    pub smoothing: f64,
    pub reduction: Reduction,
    /// What a mean divides by.
    pub total: f64,
}

/// Checked targets.
#[derive(Clone, Debug)]
pub(crate) enum ClassTargets<'a> {
    /// The class of each row, or [`IGNORED`].
    Classes(Vec<u32>),
    /// As many as logits.
    Probabilities(&'a [f32]),
}

impl ClassProblem<'_> {
    /// The upstream gradient of each row, from that of the loss.
    pub(crate) fn upstream<'b>(&self, dy: &'b [f32]) -> Result<Upstream<'b>> {
        upstream(self.reduction, dy, self.shape.rows(), self.total)
    }

    /// An upstream gradient of 1 for the loss.
    pub(crate) fn ones(&self) -> Upstream<'static> {
        Upstream::Same(match self.reduction {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / self.total,
        })
    }

    /// The result from every row's loss.
    pub(crate) fn reduce(&self, losses: &[f64]) -> Vec<f32> {
        reduce(self.reduction, losses, self.total)
    }
}

/// The upstream gradient of every row or element.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upstream<'a> {
    /// Each its own.
    Each(&'a [f32]),
    /// All the same.
    Same(f64),
}

impl Upstream<'_> {
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> f64 {
        match self {
            Self::Each(dy) => dy[i].into(),
            Self::Same(dy) => *dy,
        }
    }
}

pub(crate) fn upstream(
    reduction: Reduction,
    dy: &[f32],
    count: usize,
    total: f64,
) -> Result<Upstream<'_>> {
    same_length("the upstream gradient", reduction.results(count), dy.len())?;
    Ok(match reduction {
        Reduction::None => Upstream::Each(dy),
        Reduction::Sum => Upstream::Same(dy[0].into()),
        Reduction::Mean => Upstream::Same(f64::from(dy[0]) / total),
    })
}

/// The reduction of some losses; `total` is what a mean divides by.
pub(crate) fn reduce(reduction: Reduction, losses: &[f64], total: f64) -> Vec<f32> {
    match reduction {
        Reduction::None => losses.iter().map(|&loss| loss as f32).collect(),
        Reduction::Sum => vec![pairwise_sum(losses) as f32],
        Reduction::Mean => vec![(pairwise_sum(losses) / total) as f32],
    }
}

/// A sum by halves, which in f64 leaves nothing for an f32 to see.
pub(crate) fn pairwise_sum(values: &[f64]) -> f64 {
    if values.len() <= 32 {
        // From +0: the sum of nothing is no -0.
        return values.iter().fold(0.0, |a, b| a + b);
    }
    let (low, high) = values.split_at(values.len() / 2);
    pairwise_sum(low) + pairwise_sum(high)
}

/// An error where a value is NaN or infinite.
pub(crate) fn finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite {
            what,
            index,
            value: values[index],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let loss = CrossEntropy::new();
        let message = |loss: &CrossEntropy, shape: &[usize], targets: Targets<'_>| {
            let count = shape.iter().product();
            loss.problem(count, shape, targets).unwrap_err().to_string()
        };
        let targets = [0i64, 7, -1];
        let text = message(&loss, &[3, 4], (&targets).into());
        assert_eq!(
            text,
            "the target of row 1 is 7, which is no class: there are 4, from 0 on"
        );
        let text = message(&loss, &[3, 8], (&targets).into());
        assert!(text.contains("row 2 is -1"), "{text}");
        let text = message(&loss, &[2, 4], (&targets).into());
        assert!(text.contains("the targets has 3"), "{text}");
        let weighted = CrossEntropy::new().weight(&[1.0, 2.0]);
        let text = message(&weighted, &[3, 4], (&targets).into());
        assert!(text.contains("the class weight has 2 elements"), "{text}");
        let weighted = CrossEntropy::new().weight(&[1.0, f32::NAN]);
        let text = message(&weighted, &[1, 2], (&[0i32]).into());
        assert!(text.contains("class weight at index 1 is NaN"), "{text}");
        let text = message(
            &CrossEntropy::new().label_smoothing(1.5),
            &[1, 2],
            (&[0i32]).into(),
        );
        assert!(text.contains("label_smoothing = 1.5"), "{text}");
        let text = message(
            &CrossEntropy::new().ignore_index(1),
            &[1, 2],
            (&[0.5f32, 0.5]).into(),
        );
        assert!(text.contains("ignore_index"), "{text}");
        assert!(matches!(
            CrossEntropy::new()
                .axis(2)
                .problem(2, &[1, 2], (&[0i32]).into()),
            Err(Error::AxisOutOfRange { .. })
        ));
        let nll = NllLoss::new();
        let error = nll.problem(2, &[1, 2], (&[0.0f32, 1.0]).into());
        assert!(matches!(error, Err(Error::TargetsAreIndices { .. })));
        assert!("average".parse::<Reduction>().is_err());
        assert_eq!("sum".parse::<Reduction>().unwrap(), Reduction::Sum);
    }

    #[test]
    fn the_class_axis_is_pytorchs() {
        let loss = CrossEntropy::new();
        let around = |shape: &[usize]| loss.around(shape).unwrap();
        assert_eq!(around(&[5]).len, 5);
        assert_eq!(around(&[2, 5]).len, 5);
        let image = around(&[2, 5, 3, 4]);
        assert_eq!((image.outer, image.len, image.inner), (2, 5, 12));
        assert!(loss.around(&[]).is_err());
    }

    /// Ignored rows have no part in what a mean divides by.
    #[test]
    fn the_mean_is_weighted() {
        let loss = CrossEntropy::new().weight(&[1.0, 0.5, 4.0]);
        let problem = loss.problem(12, &[4, 3], (&[2i64, -100, 1, 1]).into());
        assert_eq!(problem.unwrap().total, 5.0);
    }
}
