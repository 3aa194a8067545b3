//! What is done to the elements of a row before its softmax: masks, biases, scales. Which elements
//! take part, and where arrays that are broadcast lie.

use crate::error::{Error, Result};
use crate::few::Few;
use crate::range::Range as Values;
use crate::shape::{AxisShape, element_count, same_length};
use crate::sum::SumShape;
use std::ops::Range;

/// Which keys a query sees: those of its own place and before, along the softmax axis. The queries
/// are the axis before the softmax axis, or the one that [`Shaping::query_axis`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causal {
    /// Query 0 sees key 0: key <= query. PyTorch's `is_causal`, `causal_upper_left`.
    UpperLeft,
    /// The last query sees the last key: key <= query + keys - queries. PyTorch's
    /// `causal_lower_right`, and what a key-value cache wants.
    LowerRight,
}

/// What a row is of which nothing takes part: every element masked, beyond its length, or not yet
/// there for its query. Its gradient by x is 0 whatever the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RowPolicy {
    /// The sum over nothing: softmax and softmin are 0, log_softmax is -infinity, logsumexp
    /// -infinity (or the sink, where there is one).
    #[default]
    Zeros,
    /// NaN.
    Nan,
    /// [`Error::FullyMaskedRow`] names the first such row, and nothing is written. For calls on
    /// host memory; the others answer [`Error::PolicyNeedsHost`].
    Error,
}

/// What is done to the elements of a row before a function of the softmax family.
///
/// With x an element, its value is, in this order (that of FlashAttention, and of ONNX's Attention
/// since its order was corrected in 2026),
///
/// 1. v = `scale` · x, or x / `temperature`;
/// 2. v = cap · tanh(v / cap), where there is a `soft_cap` (Gemma 2);
/// 3. v + `bias`;
/// 4. no part in the row at all, where the `mask` is 0, the key is at or beyond its row's `lengths`,
///    or after its query (`causal`), or the bias is -infinity.
///
/// The function is of these values (softmin of their negatives). What takes no part has the result
/// 0 (-infinity for log_softmax) and the gradient 0, exactly, and is not looked at: a NaN or an
/// infinity there, also in the upstream gradient, does not show. A NaN that takes part makes NaN
/// of all that takes part in its row. A row of which nothing takes part is what [`RowPolicy`] says.
/// A row that takes part with nothing but -infinity has no defined softmax and becomes NaN there, as
/// without a mask, unless there is a sink.
///
/// **A mask says what to keep**: nonzero, or true, takes part. That is the meaning of a bool mask
/// in PyTorch's `scaled_dot_product_attention`, in JAX's `where=` and in ONNX, and the opposite of
/// `masked_fill` and of `key_padding_mask` in PyTorch's `MultiheadAttention`.
///
/// **Values are exact, whatever their size**: what a row needs are differences of values, and they are
/// rounded once, where they are of the size that results show. So a bias of -1e20, or of the lowest f32,
/// that every element of a row has changes nothing, and of scores near 1e38 the larger one wins. PyTorch
/// and JAX add in f32, where such a bias swallows the scores and makes the row even. What keeps
/// elements out here is a mask or a bias of -infinity.
///
/// Mask and bias have any shape that broadcasts to x's by NumPy's rule: axes are aligned at the
/// end, and a missing axis or one of length 1 is repeated. Lengths are aligned at the *beginning*:
/// `[B]` has one for each batch of `[B, H, Q, K]`, and the axis of the function, where they
/// reach it, has length 1.
///
/// Gradients are by x, and by the sinks ([`Backend::grads`](crate::Backend::grads)).
/// The gradient by the bias is that by the values: where there is neither scale nor soft cap it is the
/// one by x, summed over the axes that the bias is broadcast along.
///
/// The arrays are in host memory. On a device they are tensors or ranges of buffers, given to the calls
/// of [`Batch`](crate::Batch) and [`Kernels`](crate::Kernels) beside x; the numbers are options of
/// [`Softmax`](crate::Softmax).
///
/// ```
/// use wgpu_activations::{AxisFunction, Backend, OfShape, Shaping};
/// let backend = Backend::auto()?;
/// // Two rows of three; the last key is padding.
/// let x = [4.0, 4.0, 9.0, 0.0, 0.0, f32::NAN];
/// let shaping = Shaping::new().mask(&[1, 1, 0], &[3]).scale(0.5);
/// let softmax = AxisFunction::Softmax.along(-1).shaped(&shaping);
/// let p = backend.apply(softmax, shaping.inputs(x.of_shape(&[2, 3])))?;
/// assert_eq!(p, [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shaping<'a, M = &'a [u8], B = &'a [f32], L = &'a [u32]> {
    pub(crate) mask: Option<(M, &'a [usize])>,
    pub(crate) bias: Option<(B, &'a [usize])>,
    pub(crate) lengths: Option<(L, &'a [usize])>,
    pub(crate) sinks: Option<(B, &'a [usize])>,
    pub(crate) settings: Settings,
}

/// What x is multiplied or divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Times(f32),
    Over(f32),
}

impl Scale {
    /// The factor of x.
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Times(scale) => scale.into(),
            Self::Over(temperature) => 1.0 / f64::from(temperature),
        }
    }

    /// What [`Scale::value`] lacks.
    pub(crate) fn rest(self) -> f64 {
        match self {
            Self::Times(_) => 0.0,
            Self::Over(temperature) => {
                let (value, temperature) = (self.value(), f64::from(temperature));
                // Fused, so that the remainder is exact.
                value.mul_add(-temperature, 1.0) / temperature
            }
        }
    }
}

/// The numbers of a [`Shaping`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    pub scale: Scale,
    /// 0 where there is none.
    pub soft_cap: f32,
    pub sink: Option<f32>,
    pub causal: Option<Causal>,
    pub query_axis: Option<isize>,
    pub policy: RowPolicy,
}

impl<'a, M, B, L> Shaping<'a, M, B, L> {
    pub(crate) const NONE: Self = Self {
        mask: None,
        bias: None,
        lengths: None,
        sinks: None,
        settings: Settings {
            scale: Scale::Times(1.0),
            soft_cap: 0.0,
            sink: None,
            causal: None,
            query_axis: None,
            policy: RowPolicy::Zeros,
        },
    };

    /// Queries see keys up to their own place.
    pub fn causal(mut self, causal: Causal) -> Self {
        self.settings.causal = Some(causal);
        self
    }

    /// The axis of the queries for [`Shaping::causal`]; the axis before the function's by default.
    pub fn query_axis(mut self, axis: isize) -> Self {
        self.settings.query_axis = Some(axis);
        self
    }

    /// Multiplies x by `scale`, any finite number but 0; 1 by default. Replaces a temperature.
    pub fn scale(mut self, scale: f32) -> Self {
        self.settings.scale = Scale::Times(scale);
        self
    }

    /// Divides x by `temperature`, any finite number but 0. Replaces a scale.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.settings.scale = Scale::Over(temperature);
        self
    }

    /// Keeps scaled elements within (-cap, cap) by cap · tanh(x / cap); 0 is no cap.
    pub fn soft_cap(mut self, cap: f32) -> Self {
        self.settings.soft_cap = cap;
        self
    }

    /// Adds e^`logit` to the sum of exponentials of every row: a place that takes a share and has no
    /// result. 0 adds 1, which is softmax1 (Miller 2023). -infinity is no sink, infinity takes all
    /// of the row, and NaN makes it NaN. Replaces [`Shaping::sinks`].
    pub fn sink(mut self, logit: f32) -> Self {
        (self.settings.sink, self.sinks) = (Some(logit), None);
        self
    }

    /// What a row is of which nothing takes part.
    pub fn row_policy(mut self, policy: RowPolicy) -> Self {
        self.settings.policy = policy;
        self
    }
}

impl<M, B, L> Shaping<'_, M, B, L> {
    /// Which rows have which sink, for an array of `shape`: what each row has one of is added up
    /// over those that share one. For arrays that fit, see [`Geometry::new`].
    ///
    /// # Errors
    /// [`Error::NoSinks`], [`Error::ScatteredAxes`].
    pub(crate) fn sink_sums(&self, shape: &[usize], axis: isize) -> Result<SumShape> {
        let given = match (&self.sinks, self.settings.sink) {
            (Some((_, given)), _) => *given,
            (None, Some(_)) => &[],
            (None, None) => return Err(Error::NoSinks),
        };
        let index = from_either_end(axis, shape.len());
        let own = |i: usize| {
            let along = (i + given.len()).checked_sub(shape.len());
            along.is_some_and(|j| given[j] != 1)
        };
        let rows = (0..shape.len()).filter(|&i| i != index);
        let (lengths, summed): (Vec<usize>, Vec<bool>) = rows.map(|i| (shape[i], !own(i))).unzip();
        SumShape::over(&lengths, &summed)
    }
}

impl Default for Shaping<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> Shaping<'a> {
    /// A shaping that changes nothing yet, for arrays in host memory.
    pub fn new() -> Self {
        Self::NONE
    }

    /// Elements whose mask is 0 take no part; `shape` broadcasts to x's.
    pub fn mask(mut self, keep: &'a [u8], shape: &'a [usize]) -> Self {
        self.mask = Some((keep, shape));
        self
    }

    /// [`Shaping::mask`] of booleans: true takes part.
    pub fn mask_of_bools(self, keep: &'a [bool], shape: &'a [usize]) -> Self {
        self.mask(bytemuck::cast_slice(keep), shape)
    }

    /// Is added to the scaled and capped elements; `shape` broadcasts to x's.
    pub fn bias(mut self, bias: &'a [f32], shape: &'a [usize]) -> Self {
        self.bias = Some((bias, shape));
        self
    }

    /// How many elements of a row take part, from the first on; `shape` broadcasts to x's with
    /// its axes aligned at the beginning.
    pub fn lengths(mut self, lengths: &'a [u32], shape: &'a [usize]) -> Self {
        self.lengths = Some((lengths, shape));
        self
    }

    /// A [`Shaping::sink`] of its own for each row, or for rows that share one: `shape` broadcasts to
    /// x's as a bias does, with the function's axis of length 1. gpt-oss learns one a head, which
    /// for scores `[B, H, Q, K]` is `[H, 1, 1]`. Replaces [`Shaping::sink`].
    ///
    /// ```
    /// use wgpu_activations::{AxisFunction, Backend, OfShape};
    /// // Two heads of one query and three keys: e^0 beside three e^0, and no sink.
    /// let x = [0.0; 6];
    /// let sinks = [0.0, f32::NEG_INFINITY];
    /// let inputs = (x.of_shape(&[1, 2, 1, 3]), sinks.of_shape(&[2, 1, 1]).named("sinks"));
    /// let p = Backend::cpu().apply(AxisFunction::Softmax.along(-1), inputs)?;
    /// assert_eq!(p[..3], [0.25; 3]);
    /// assert_eq!(p[3..], [1.0 / 3.0; 3]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    pub fn sinks(mut self, logits: &'a [f32], shape: &'a [usize]) -> Self {
        (self.sinks, self.settings.sink) = (Some((logits, shape)), None);
        self
    }

    /// Where everything lies for an array of `shape`.
    pub(crate) fn geometry(&self, shape: &[usize], axis: isize) -> Result<Geometry> {
        let geometry = Geometry::new(self, shape, axis)?;
        let given = [
            ("the mask", self.mask.map(|(m, s)| (m.len(), s))),
            ("the bias", self.bias.map(|(b, s)| (b.len(), s))),
            ("the lengths", self.lengths.map(|(l, s)| (l.len(), s))),
            ("the sinks", self.sinks.map(|(s, shape)| (s.len(), shape))),
        ];
        for (what, given) in given {
            if let Some((got, shape)) = given {
                same_length(what, element_count(shape)?, got)?;
            }
        }
        Ok(geometry)
    }

    /// An error that names the first row of which nothing takes part, where that is the policy.
    pub(crate) fn check_rows(&self, geometry: &Geometry) -> Result<()> {
        if self.settings.policy != RowPolicy::Error || geometry.shape.elements() == 0 {
            return Ok(());
        }
        for row in 0..geometry.shape.rows() as u64 {
            let line = self.line(geometry, row);
            let mut steps = 0..line.end;
            if !steps.any(|k| line.keeps(k)) {
                return Err(Error::FullyMaskedRow {
                    row: geometry.coordinates(row),
                });
            }
        }
        Ok(())
    }

    /// What there is of the arrays for a row.
    pub(crate) fn line(&self, geometry: &Geometry, row: u64) -> Line<'a> {
        let [mask, bias, length, sink, query] = geometry.places(row);
        let keys = geometry.shape.len;
        let mut end = match geometry.diagonal {
            Some(diagonal) => (query as i64 + diagonal + 1).clamp(0, keys as i64) as usize,
            None => keys,
        };
        if let Some((lengths, _)) = self.lengths {
            end = end.min(lengths[length as usize] as usize);
        }
        Line {
            end,
            mask: self.mask.map(|(m, _)| &m[mask as usize..]),
            mask_step: geometry.steps[0] as usize,
            bias: self.bias.map(|(b, _)| &b[bias as usize..]),
            bias_step: geometry.steps[1] as usize,
            sink: match self.sinks {
                Some((sinks, _)) => Some(sinks[sink as usize]),
                None => self.settings.sink,
            }
            .filter(|&sink| sink != f32::NEG_INFINITY),
        }
    }
}

/// What takes part in a row of an array in host memory.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Where the elements end that may take part.
    pub end: usize,
    /// The mask from the row's first element on, and the step to the next.
    pub mask: Option<&'a [u8]>,
    pub mask_step: usize,
    pub bias: Option<&'a [f32]>,
    pub bias_step: usize,
    /// What takes part beside the elements; nothing where that is -infinity.
    pub sink: Option<f32>,
}

impl Line<'_> {
    /// Whether element `k`, which is below the end, takes part.
    #[inline(always)]
    pub(crate) fn keeps(&self, k: usize) -> bool {
        self.mask.is_none_or(|m| m[k * self.mask_step] != 0)
            && self
                .bias
                .is_none_or(|b| b[k * self.bias_step] != f32::NEG_INFINITY)
    }
}

/// An axis of the rows, or several that all arrays pass through in even steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dimension {
    pub size: u64,
    /// The strides of mask, bias, lengths, sinks and query number.
    pub strides: [u64; 5],
}

/// Where the arrays of a shaping lie beside an array of some shape.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub shape: AxisShape,
    /// The axes but the function's, the first one first, fused where that is the same.
    pub dimensions: Few<Dimension, 8>,
    /// The strides of mask and bias along the function's axis.
    pub steps: [u64; 2],
    /// The last key of a query less its number.
    pub diagonal: Option<i64>,
    /// The lengths of the axes but the function's.
    outer_shape: Few<usize, 8>,
}

/// An array of a shaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Mask = 0,
    Bias = 1,
    Lengths = 2,
    Sinks = 3,
}

impl Geometry {
    /// Checks shapes and numbers; the arrays' lengths are the caller's to check.
    pub(crate) fn new<M, B, L>(
        shaping: &Shaping<'_, M, B, L>,
        shape: &[usize],
        axis: isize,
    ) -> Result<Self> {
        shaping.settings.check()?;
        let around = AxisShape::new(shape, axis)?;
        // An array without axes is a row of one.
        let shape = if shape.is_empty() { &[1] } else { shape };
        let rank = shape.len();
        let index = from_either_end(axis, rank);
        let none: Few<u64, 8> = shape.iter().map(|_| 0).collect();
        let right = |what, given: Option<&[usize]>| match given {
            Some(given) => strides(what, given, shape, rank.saturating_sub(given.len())),
            None => Ok(none.clone()),
        };
        // Of what each row has one.
        let not_one = |what, given: &[usize]| {
            let mut to = shape.to_vec();
            to[index] = 1;
            Err(Error::NotBroadcastable {
                what,
                shape: given.to_vec(),
                to,
            })
        };
        let mask = right("the mask", shaping.mask.as_ref().map(|m| m.1))?;
        let bias = right("the bias", shaping.bias.as_ref().map(|b| b.1))?;
        let lengths = match &shaping.lengths {
            Some((_, given)) => {
                let along = given.get(index).copied().unwrap_or(1);
                if along != 1 {
                    return not_one("the lengths", given);
                }
                strides("the lengths", given, shape, 0)?
            }
            None => none.clone(),
        };
        let sinks = right("the sinks", shaping.sinks.as_ref().map(|s| s.1))?;
        if let Some((_, given)) = &shaping.sinks {
            let along = (given.len() + index).checked_sub(rank);
            if along.is_some_and(|i| given[i] != 1) {
                return not_one("the sinks", given);
            }
        }
        let (diagonal, query) = match shaping.settings.causal {
            None => (None, None),
            Some(causal) => {
                let query = match shaping.settings.query_axis {
                    Some(query) => {
                        AxisShape::new(shape, query)?;
                        Some(from_either_end(query, rank)).filter(|&q| q != index)
                    }
                    None => index.checked_sub(1),
                };
                let query = query.ok_or(Error::NoQueryAxis { axis: index })?;
                let diagonal = match causal {
                    Causal::UpperLeft => 0,
                    Causal::LowerRight => shape[index] as i64 - shape[query] as i64,
                };
                (Some(diagonal), Some(query))
            }
        };
        let mut dimensions = Few::<Dimension, 8>::default();
        let mut outer_shape = Few::default();
        for i in (0..rank).filter(|&i| i != index) {
            outer_shape.push(shape[i]);
            let size = shape[i] as u64;
            if size == 1 {
                continue;
            }
            let query = u64::from(query == Some(i));
            let strides = [mask[i], bias[i], lengths[i], sinks[i], query];
            match dimensions.last_mut() {
                // Steps of the one before are whole turns of this.
                Some(last) if last.strides == strides.map(|s| s * size) => {
                    last.size *= size;
                    last.strides = strides;
                }
                _ => dimensions.push(Dimension { size, strides }),
            }
        }
        Ok(Self {
            shape: around,
            dimensions,
            steps: [mask[index], bias[index]],
            diagonal,
            outer_shape,
        })
    }

    /// Where mask, bias, length and sink of a row begin, and the number of its query.
    pub(crate) fn places(&self, row: u64) -> [u64; 5] {
        let mut places = [0; 5];
        let mut rest = row;
        for dimension in self.dimensions.iter().rev() {
            let place = rest % dimension.size;
            rest /= dimension.size;
            for (to, stride) in places.iter_mut().zip(dimension.strides) {
                *to += place * stride;
            }
        }
        places
    }

    /// A row's place along each axis but the function's.
    fn coordinates(&self, row: u64) -> Vec<usize> {
        let mut rest = row as usize;
        let mut coordinates = vec![0; self.outer_shape.len()];
        for (to, &size) in coordinates.iter_mut().zip(&self.outer_shape).rev() {
            *to = rest % size;
            rest /= size;
        }
        coordinates
    }

    /// The elements of an array that lie between the first and the last that `steps` of `rows`
    /// use, or a few more; none is empty.
    pub(crate) fn span(&self, which: Which, rows: Range<u64>, steps: Range<u64>) -> Range<u64> {
        let stride = |d: &Dimension| d.strides[which as usize];
        let (mut low, mut high) = (0, 0);
        let (mut first, mut last) = (rows.start, rows.end - 1);
        // Rows below one dimension, so that a place along it is a quotient.
        let mut below: u64 = self.dimensions.iter().map(|d| d.size).product();
        let mut whole = false;
        for dimension in &self.dimensions {
            below /= dimension.size;
            if whole {
                high += (dimension.size - 1) * stride(dimension);
                continue;
            }
            let (from, to) = (first / below, last / below);
            low += from * stride(dimension);
            high += to * stride(dimension);
            // Behind the first axis that rows differ in, they may be anywhere.
            whole = from != to;
            (first, last) = (first % below, last % below);
        }
        if let Some(step) = self.steps.get(which as usize)
            && !steps.is_empty()
        {
            low += steps.start * step;
            high += (steps.end - 1) * step;
        }
        low..high + 1
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let cap = self.soft_cap;
        let (parameter, scale) = match self.scale {
            Scale::Times(scale) => ("scale", scale),
            Scale::Over(temperature) => ("temperature", temperature),
        };
        let wrong = |parameter, value, range| {
            Err(Error::ParameterOutOfRange {
                function: "the shaping",
                parameter,
                value,
                range,
            })
        };
        if !scale.is_finite() || scale == 0.0 {
            return wrong(parameter, scale, Values::NonZero);
        }
        if !cap.is_finite() || cap < 0.0 {
            return wrong("soft_cap", cap, Values::NonNegative);
        }
        Ok(())
    }
}

/// An axis that is in range, counted from the front.
fn from_either_end(axis: isize, rank: usize) -> usize {
    if axis < 0 {
        (axis + rank as isize) as usize
    } else {
        axis as usize
    }
}

/// The strides along the axes of `shape` of an array whose axes begin at axis `first` of it.
fn strides(
    what: &'static str,
    given: &[usize],
    shape: &[usize],
    first: usize,
) -> Result<Few<u64, 8>> {
    let wrong = || Error::NotBroadcastable {
        what,
        shape: given.to_vec(),
        to: shape.to_vec(),
    };
    if given.len() > shape.len() {
        return Err(wrong());
    }
    let mut strides: Few<u64, 8> = shape.iter().map(|_| 0).collect();
    let mut stride = 1;
    for (i, &length) in given.iter().enumerate().rev() {
        let whole = shape[first + i];
        if length == whole && length != 1 {
            strides[first + i] = stride;
        } else if length != 1 {
            return Err(wrong());
        }
        stride *= length as u64;
    }
    Ok(strides)
}
