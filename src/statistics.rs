//! Statistics of activations: what they are, and how the backends' parts of them are merged.

use crate::catalogue::{Activation, Elementwise};
use crate::error::{Error, Result};
use crate::shape::{AxisShape, element_count};

/// What to look at in an array of activations.
///
/// ```
/// use wgpu_activations::{Activation, Backend, Inspect};
/// // Two samples of three units; relu lets nothing of the last one through.
/// let x = [1.0, -2.0, -3.0, 2.0, 3.0, -1.0];
/// let found = Backend::cpu().inspect(&Inspect::of(Activation::Relu), &x, &[2, 3])?;
/// assert_eq!((found.units, found.dead_units), (3, 1));
/// assert_eq!(found.zeros, 3);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inspect {
    function: Elementwise,
    unit_axis: isize,
    saturation: f32,
    bins: u32,
}

/// The most bins of a histogram.
const MOST_BINS: u32 = 4096;

impl Default for Inspect {
    fn default() -> Self {
        Self::of(Activation::Identity)
    }
}

impl Inspect {
    /// The activations f(x) of an array x of pre-activations.
    ///
    /// Units lie along the last axis, a slope below 0.01 counts as saturated, and the histogram
    /// has 32 bins.
    pub fn of(f: impl Into<Elementwise>) -> Self {
        Self {
            function: f.into(),
            unit_axis: -1,
            saturation: 0.01,
            bins: 32,
        }
    }

    /// The axis along which units lie, negative from the end: -1 for (samples, features), 1 for
    /// (samples, channels, height, width). An array of one axis or none is of one unit.
    pub fn unit_axis(self, axis: isize) -> Self {
        Self {
            unit_axis: axis,
            ..self
        }
    }

    /// The magnitude of a slope f'(x) below which an element counts as saturated.
    pub fn saturation(self, slope: f32) -> Self {
        Self {
            saturation: slope,
            ..self
        }
    }

    /// Bins of the histogram, 1 to 4096.
    pub fn bins(self, bins: u32) -> Self {
        Self { bins, ..self }
    }

    /// The function whose values are looked at.
    pub fn function(&self) -> Elementwise {
        self.function
    }

    pub(crate) fn histogram_bins(&self) -> u32 {
        self.bins
    }

    pub(crate) fn threshold(&self) -> f32 {
        self.saturation
    }

    /// The array as (outer, units, inner).
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`], [`Error::OptionOutOfRange`].
    pub(crate) fn units(&self, shape: &[usize]) -> Result<AxisShape> {
        if !(1..=MOST_BINS).contains(&self.bins) {
            return Err(Error::OptionOutOfRange {
                option: "bins",
                value: self.bins.to_string(),
                range: "1 to 4096",
            });
        }
        if self.saturation.is_nan() {
            return Err(Error::OptionOutOfRange {
                option: "saturation",
                value: self.saturation.to_string(),
                range: "a number, not NaN",
            });
        }
        if shape.len() < 2 && (-1..=0).contains(&self.unit_axis) {
            return Ok(AxisShape {
                outer: 1,
                len: 1,
                inner: element_count(shape)?,
            });
        }
        AxisShape::new(shape, self.unit_axis)
    }
}

/// Counts of values in bins of one width.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// The edges, one more than there are bins: bin i counts `edges[i] <= y < edges[i + 1]`, and
    /// the last bin also its upper edge. From the smallest finite value to the largest.
    pub edges: Vec<f32>,
    /// What each bin counts.
    pub counts: Vec<u64>,
}

/// Statistics of activations y = f(x).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Elements of the array.
    pub elements: u64,
    /// y that are NaN; they count in nothing below.
    pub nan: u64,
    /// y that are +infinity.
    pub positive_infinities: u64,
    /// y that are -infinity.
    pub negative_infinities: u64,
    /// y that are 0.
    pub zeros: u64,
    /// The smallest finite y; NaN where there is none.
    pub min: f32,
    /// The largest finite y; NaN where there is none.
    pub max: f32,
    /// The mean of the finite y; NaN where there is none.
    pub mean: f64,
    /// The mean squared distance of the finite y from their mean; NaN where there is none.
    pub variance: f64,
    /// Elements whose slope |f'(x)| is below the threshold of saturation.
    pub saturated: u64,
    /// The mean of |f'(x)| over all x but NaN: what a gradient is multiplied by on its way
    /// through. NaN where there is none.
    pub mean_slope: f64,
    /// Units.
    pub units: u64,
    /// Units whose y is 0 in the whole batch: they pass nothing on, and where the slope is 0 as
    /// well they learn nothing (dying ReLU). None where the array has no element: nothing was seen
    /// of any unit.
    pub dead_units: u64,
    /// How the finite y are spread.
    pub histogram: Histogram,
}

impl Statistics {
    /// The share of units that are dead; 0 where there is no unit.
    pub fn dead_fraction(&self) -> f64 {
        self.dead_units as f64 / self.units.max(1) as f64
    }

    /// The share of elements that are saturated; 0 where there is no element.
    pub fn saturated_fraction(&self) -> f64 {
        self.saturated as f64 / self.elements.max(1) as f64
    }
}

/// Words of a lane's summary in statistics.wgsl.
pub(crate) const SUMMARY_WORDS: usize = 13;
/// Words of a lane's part of the spread in statistics.wgsl.
pub(crate) const SPREAD_WORDS: usize = 2;

/// What is summed up over a part of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub nan: u64,
    pub positive_infinities: u64,
    pub negative_infinities: u64,
    pub zeros: u64,
    pub saturated: u64,
    pub min: f32,
    pub max: f32,
    pub total: f64,
    pub slopes: f64,
}

impl Summary {
    /// Of no elements.
    pub(crate) const NOTHING: Self = Self {
        nan: 0,
        positive_infinities: 0,
        negative_infinities: 0,
        zeros: 0,
        saturated: 0,
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
        total: 0.0,
        slopes: 0.0,
    };

    /// A lane's part as the shader writes it.
    pub(crate) fn from_words(words: &[u32; SUMMARY_WORDS]) -> Self {
        let float = |i: usize| f64::from(f32::from_bits(words[i]));
        // 1 / LARGE_SCALE of the shader.
        let large = |i: usize| float(i) * (1u64 << 60) as f64;
        Self {
            nan: words[0].into(),
            positive_infinities: words[1].into(),
            negative_infinities: words[2].into(),
            zeros: words[3].into(),
            saturated: words[4].into(),
            min: f32::from_bits(words[5]),
            max: f32::from_bits(words[6]),
            total: (float(7) - float(8)) + large(9),
            slopes: (float(10) - float(11)) + large(12),
        }
    }

    pub(crate) fn merge(self, other: Self) -> Self {
        Self {
            nan: self.nan + other.nan,
            positive_infinities: self.positive_infinities + other.positive_infinities,
            negative_infinities: self.negative_infinities + other.negative_infinities,
            zeros: self.zeros + other.zeros,
            saturated: self.saturated + other.saturated,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            total: self.total + other.total,
            slopes: self.slopes + other.slopes,
        }
    }

    fn infinities(&self) -> u64 {
        self.positive_infinities + self.negative_infinities
    }

    /// What the second pass needs, for an array of so many elements.
    pub(crate) fn scale(&self, elements: u64, bins: u32) -> Scale {
        let finite = elements - self.nan - self.infinities();
        let mean = self.total / finite as f64;
        // Nothing is finite: any edges do.
        let (low, high) = if finite == 0 {
            (0.0, 0.0)
        } else {
            (self.min, self.max)
        };
        let (from, to) = (f64::from(low), f64::from(high));
        let width = (to - from) / f64::from(bins);
        let mut edges: Vec<f32> = (0..bins)
            .map(|i| (from + width * f64::from(i)) as f32)
            .collect();
        edges.push(high);
        // Distances of up to 2^129 come below 2^40: their squares stay in range.
        let exponent = if to > from {
            (to - from).log2().ceil() as i32
        } else {
            40
        };
        let shrink = 40 - exponent.clamp(-60, 130);
        Scale {
            shrink: f64::from(shrink).exp2() as f32,
            mean: if finite == 0 { 0.0 } else { mean },
            finite,
            bins_per_half: (2.0 * f64::from(bins) / (to - from)).min(f32::MAX.into()) as f32,
            edges,
        }
    }
}

/// What the second pass is relative to.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// A power of two that distances from the mean are multiplied by.
    pub shrink: f32,
    pub mean: f64,
    pub finite: u64,
    pub bins_per_half: f32,
    pub edges: Vec<f32>,
}

impl Scale {
    pub(crate) fn bins(&self) -> usize {
        self.edges.len() - 1
    }

    /// The bin of a finite y, as `bin_of` of the shader finds it.
    #[inline(always)]
    pub(crate) fn bin_of(&self, y: f32) -> usize {
        let last = self.bins() - 1;
        let half = 0.5 * y - 0.5 * self.edges[0];
        // At most `last`, a small number; NaN, where all values are one, becomes 0.
        let mut bin = ((half * self.bins_per_half).max(0.0) as usize).min(last);
        if bin > 0 && y < self.edges[bin] {
            bin -= 1;
        }
        if bin < last && y >= self.edges[bin + 1] {
            bin += 1;
        }
        bin
    }
}

/// What is known of an array of no elements.
pub(crate) fn of_nothing(what: &Inspect, units: &AxisShape) -> Statistics {
    let summary = Summary::NOTHING;
    let scale = summary.scale(0, what.histogram_bins());
    let counts = vec![0; scale.bins()];
    let units = units.len as u64;
    // The units are no more than numbers: an empty array may name as many as it likes.
    Statistics {
        units,
        ..assemble(0, &summary, scale, 0.0, 0.0, &[], counts)
    }
}

/// Puts the parts together. `squares` is what the second pass added up: the squared distances of
/// the shrunk values from `reference`.
pub(crate) fn assemble(
    elements: u64,
    summary: &Summary,
    scale: Scale,
    squares: f64,
    reference: f64,
    alive: &[bool],
    counts: Vec<u64>,
) -> Statistics {
    let none = scale.finite == 0;
    let slopes = elements - summary.nan;
    let shrink = f64::from(scale.shrink);
    // The reference is the mean but for its rounding.
    let off = reference / shrink - scale.mean;
    let variance = squares / (shrink * shrink) / scale.finite as f64 - off * off;
    Statistics {
        elements,
        nan: summary.nan,
        positive_infinities: summary.positive_infinities,
        negative_infinities: summary.negative_infinities,
        zeros: summary.zeros,
        min: if none { f32::NAN } else { summary.min },
        max: if none { f32::NAN } else { summary.max },
        mean: if none { f64::NAN } else { scale.mean },
        variance: if none { f64::NAN } else { variance.max(0.0) },
        saturated: summary.saturated,
        mean_slope: summary.slopes / slopes as f64,
        units: alive.len() as u64,
        dead_units: alive.iter().filter(|&&alive| !alive).count() as u64,
        histogram: Histogram {
            edges: scale.edges,
            counts,
        },
    }
}
