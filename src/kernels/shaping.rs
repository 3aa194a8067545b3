//! The softmax family over shaped rows, on ranges of the caller's buffers.

use super::axis::{Beside, PerRow, RowsRecorder, axis_slots, kernel_of, one_row, sign_of, unit_of};
use super::sum::Sum;
use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Slots, holds, separate};
use crate::axis::AxisFunction;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::plan::{self, AxisChunk, AxisPlan, Strategy};
use crate::shader::{Pass, Shaped, Sink, Term, Unit, Value};
use crate::shape::AxisShape;
use crate::shaping::{Dimension, Geometry, RowPolicy, Settings, Which};
use crate::sum::SumShape;
use std::ops::Range;

/// The axes that a kernel follows.
const DIMENSIONS: usize = 8;

/// `Dimension` of shaped.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct DimensionUniforms {
    pub size: u32,
    pub mask: u32,
    pub bias: u32,
    pub lengths: u32,
    pub sinks: u32,
    pub query: u32,
    pub padding: [u32; 2],
}

/// `Factor` of factor.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct FactorUniforms {
    pub hi: f32,
    pub lo: f32,
    pub pre: f32,
    pub mid: f32,
    pub post: f32,
    pub exponent: i32,
    pub rest: f32,
    pub padding: u32,
}

impl FactorUniforms {
    /// A number between 2^-240 and 2^240, in units of 2^`unit`.
    fn new(value: f64, unit: i32) -> Self {
        let exponent = (value.to_bits() >> 52) as i32 - 1023;
        let mantissa = value / power_of_two(exponent);
        let hi = leading(mantissa as f32);
        let lo = leading((mantissa - f64::from(hi)) as f32);
        let power = exponent - unit;
        let half = power.div_euclid(2);
        Self {
            hi,
            lo,
            pre: power_of_two(half.min(0)) as f32,
            mid: power_of_two(half.max(0)) as f32,
            post: power_of_two(power - half) as f32,
            exponent,
            rest: (mantissa - f64::from(hi) - f64::from(lo)) as f32,
            padding: 0,
        }
    }
}

/// 2^n, a normal number.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// `Shaping` of shaped.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ShapingUniforms {
    pub mask_first: u32,
    pub bias_first: u32,
    pub lengths_first: u32,
    pub sinks_first: u32,
    pub mask_step: u32,
    pub bias_step: u32,
    pub keys: u32,
    pub causal: u32,
    pub diagonal: i32,
    pub cap_hi: f32,
    pub cap_lo: f32,
    pub sink: f32,
    pub turn: f32,
    pub nan_rows: u32,
    pub count: u32,
    pub padding_0: u32,
    pub scale: FactorUniforms,
    pub rate: FactorUniforms,
    pub dimensions: [DimensionUniforms; DIMENSIONS],
}

/// The leading 12 bits, as `leading` of math.wgsl.
fn leading(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xffff_f000)
}

impl ShapingUniforms {
    /// All but where the arrays begin; with `offset`, values are sums of elements and what a bias
    /// or a sink is.
    fn new(geometry: &Geometry, settings: &Settings, offset: bool) -> Result<Self> {
        let axes = geometry.dimensions.len();
        if axes > DIMENSIONS {
            return Err(Error::TooManyAxes {
                axes,
                most: DIMENSIONS,
            });
        }
        let (scale, cap) = (settings.scale.value(), settings.soft_cap);
        // Sums of scaled elements and biases are made in units of 2^8.
        let unit = if cap > 0.0 || !offset { 0 } else { 8 };
        // Without a cap it is not looked at; past these, every angle is 0 or past what counts.
        let rate = if cap > 0.0 {
            2.0 * scale.abs() / f64::from(cap)
        } else {
            1.0
        };
        let rate = rate.clamp(power_of_two(-240), power_of_two(240));
        let mut dimensions = [DimensionUniforms::default(); DIMENSIONS];
        for (to, from) in dimensions.iter_mut().zip(geometry.dimensions.iter().rev()) {
            // Rows and the arrays' elements are counted in u32, modulo 2^32 where they lie.
            let Dimension { size, strides } = *from;
            let [mask, bias, lengths, sinks, query] = strides.map(|s| s as u32);
            *to = DimensionUniforms {
                size: size as u32,
                mask,
                bias,
                lengths,
                sinks,
                query,
                padding: [0; 2],
            };
        }
        Ok(Self {
            mask_step: geometry.steps[0] as u32,
            bias_step: geometry.steps[1] as u32,
            keys: geometry.shape.len as u32,
            causal: geometry.diagonal.is_some().into(),
            // Both lengths are below 2^31.
            diagonal: geometry.diagonal.unwrap_or(0) as i32,
            cap_hi: leading(cap),
            cap_lo: cap - leading(cap),
            sink: settings.sink.unwrap_or(0.0),
            turn: if scale < 0.0 { -1.0 } else { 1.0 },
            nan_rows: (settings.policy == RowPolicy::Nan).into(),
            count: axes as u32,
            scale: FactorUniforms::new(scale.abs(), unit),
            rate: FactorUniforms::new(rate, 0),
            dimensions,
            ..Self::default()
        })
    }
}

/// An array of a shaping, or a part of it from element `origin` on.
#[derive(Clone, Copy)]
struct Part<'a> {
    operand: Operand<'a>,
    origin: u64,
}

/// An operation over shaped rows: the whole array, or a part of its rows.
#[derive(Clone, Copy)]
pub(crate) struct ShapedJob<'a> {
    pub function: AxisFunction,
    pub geometry: &'a Geometry,
    pub settings: &'a Settings,
    /// The rows, as an array around the axis, and the first one's number in the whole.
    pub shape: AxisShape,
    pub first_row: u64,
    /// Mask, bias, lengths and sinks, each with the number of its range's first element.
    pub arrays: [Option<(wgpu::BufferSlice<'a>, u64)>; 4],
    pub x: wgpu::BufferSlice<'a>,
    /// The upstream gradient where the operation is a gradient.
    pub dy: Option<wgpu::BufferSlice<'a>>,
    /// Whether that is the gradient by the sink, a term for each row.
    pub by_sink: bool,
    pub out: wgpu::BufferSlice<'a>,
}

const ARRAYS: [(Which, Slot, &str, u64); 4] = [
    (Which::Mask, Slot::Mask, "mask", 1),
    (Which::Bias, Slot::Bias, "bias", 4),
    (Which::Lengths, Slot::Lengths, "lengths", 4),
    (Which::Sinks, Slot::Sinks, "sinks", 4),
];

impl Kernels {
    /// Records the gradient by the sinks of all rows of an array, `sums` of a term for each row; one
    /// element for each of the sinks, and one where the sink is a number.
    pub(crate) fn grad_sinks(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        job: &ShapedJob<'_>,
        sums: &SumShape,
    ) -> Result<()> {
        let out = self.operand(job.out, "gradient by the sinks")?;
        holds(&out, sums.sums())?;
        let arrays = job.arrays.iter().flatten().map(|(slice, _)| *slice);
        for input in arrays.chain([job.x]).chain(job.dy) {
            separate(&self.operand(input, "input")?, &out)?;
        }
        // Before anything is recorded.
        self.sum_plan(sums)?;
        // Of no rows there is nothing to bind, and sums of nothing are left.
        let bytes = sums.elements().max(1) as u64 * 4;
        let buffer = self.kept(&self.inner.terms, bytes);
        let terms = buffer.slice(..bytes);
        self.shaped(pass, &ShapedJob { out: terms, ..*job })?;
        let sum = Sum {
            term: Term::Array,
            parameters: [0.0; 2],
            divisor: 1.0,
            shape: sums,
            x: self.operand(terms, "terms")?,
            dy: None,
            out,
        };
        self.sum_of(pass, &sum)
    }

    /// Records an operation over shaped rows; the arrays hold what the rows use of them.
    pub(crate) fn shaped(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        job: &ShapedJob<'_>,
    ) -> Result<()> {
        let traits = &self.traits();
        let (function, shape) = (job.function, &job.shape);
        let kind = if job.dy.is_some() {
            Pass::Backward
        } else {
            Pass::Forward
        };
        let results = match (job.by_sink, kind.is_backward()) {
            (true, _) => shape.rows(),
            (false, true) => shape.elements(),
            (false, false) => shape.output_elements(function),
        };
        let out_name = if kind.is_backward() {
            "gradient"
        } else {
            "output"
        };
        let x = self.operand(job.x, "input")?;
        let out = self.operand(job.out, out_name)?;
        holds(&x, shape.elements())?;
        holds(&out, results)?;
        separate(&x, &out)?;
        let dy = match job.dy {
            Some(dy) => {
                let dy = self.operand(dy, "upstream gradient")?;
                holds(&dy, shape.output_elements(function))?;
                separate(&dy, &out)?;
                Some(dy)
            }
            None => None,
        };
        let mut parts = [None; 4];
        for ((part, array), (_, _, what, _)) in parts.iter_mut().zip(job.arrays).zip(ARRAYS) {
            if let Some((slice, origin)) = array {
                let operand = self.operand(slice, what)?;
                separate(&operand, &out)?;
                *part = Some(Part { operand, origin });
            }
        }
        if results == 0 {
            return Ok(());
        }
        let rows = job.first_row + shape.rows() as u64;
        if rows > u64::from(u32::MAX) || shape.len > i32::MAX as usize {
            return Err(Error::ShapeTooLarge {
                shape: vec![shape.outer, shape.len, shape.inner],
            });
        }
        let sink = match (&parts[3], job.settings.sink) {
            (Some(_), _) => Sink::Array,
            (None, Some(_)) => Sink::Number,
            (None, None) => Sink::None,
        };
        let offset = sink != Sink::None || parts[1].is_some();
        let constants = ShapingUniforms::new(job.geometry, job.settings, offset)?;
        let mut plan = plan::axis(shape, traits).ok_or(Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: traits.max_binding,
        })?;
        let windows = Windows { job, parts };
        windows.refine(&mut plan, traits)?;
        let unit = unit_of(shape, &plan, traits);
        let in_turns = match plan.strategy {
            Strategy::RowPerInvocation => false,
            Strategy::RowPerWorkgroup => true,
            Strategy::Split { segment, .. } => segment == 0,
        };
        let runs = unit == Unit::Four || !in_turns;
        let shaped = Shaped {
            mask: parts[0].is_some(),
            runs,
            mask_runs: parts[0].is_some() && constants.mask_step == 1 && runs,
            bias: parts[1].is_some(),
            lengths: parts[2].is_some(),
            sink,
            by_sink: job.by_sink,
            value: match job.settings {
                settings if settings.soft_cap > 0.0 => Value::Capped,
                settings if settings.scale.value() != 1.0 => Value::Scaled,
                _ => Value::Plain,
            },
        };
        let mut per_row = PerRow::of(function, kind);
        per_row.out |= job.by_sink;
        let recorder = RowsRecorder {
            kernels: self,
            module: ModuleKey::Shaped(kernel_of(function), kind, shaped, unit),
            eights: None,
            sign: sign_of(function),
            number: 0.0,
            shape,
            first_row: job.first_row,
            plan: &plan,
            slots: &|entry_point| shaped_slots(function, kind, shaped, entry_point),
            one_row: one_row(function, kind, shape),
            per_row,
            refinements: 0,
            x: Some(x),
            dy,
            out,
            beside: Some(&|entry_point, chunk| {
                let slots = slots_beside(shaped, entry_point);
                windows.beside(constants, &slots, chunk, traits)
            }),
        };
        recorder.check_bindings()?;
        recorder.record(pass);
        Ok(())
    }
}

/// The bindings of an entry point.
pub(crate) fn shaped_slots(
    function: AxisFunction,
    pass: Pass,
    shaped: Shaped,
    entry_point: &str,
) -> Slots {
    let mut slots = axis_slots(function, pass, entry_point);
    if shaped.by_sink && entry_point == "split_combine" {
        // What is one for each row comes out here, and is made with what is.
        slots.push(Slot::Out);
        if function.reduces() {
            slots.push(Slot::Dy);
        }
    }
    slots.extend(slots_beside(shaped, entry_point).iter().copied());
    slots
}

/// Those beside the ones of the plain kernel.
fn slots_beside(shaped: Shaped, entry_point: &str) -> Slots {
    let mut slots = Slots::from([Slot::Shaping]);
    // Elements are read before parts are merged, and the sink is there once they are.
    let elements = entry_point != "split_combine";
    let whole = !matches!(entry_point, "split_partial" | "split_finish");
    let used = [
        shaped.mask && elements,
        shaped.bias && elements,
        shaped.lengths && elements,
        shaped.sink == Sink::Array && whole,
    ];
    let used = ARRAYS.iter().zip(used).filter(|(_, used)| *used);
    slots.extend(used.map(|((_, slot, ..), _)| *slot));
    slots
}

/// The parts of a shaping's arrays that are bound for a part of the rows.
struct Windows<'a> {
    job: &'a ShapedJob<'a>,
    parts: [Option<Part<'a>>; 4],
}

impl<'a> Windows<'a> {
    /// The elements of an array for a part of the rows, in whole words.
    fn span(&self, which: Which, chunk: &AxisChunk) -> Range<u64> {
        let inner = self.job.shape.inner as u64;
        let first = self.job.first_row + chunk.first_outer * inner;
        let rows = first..first + chunk.outer * inner;
        let steps = chunk.first_step..chunk.first_step + chunk.steps;
        let span = self.job.geometry.span(which, rows, steps);
        match which {
            Which::Mask => span.start / 4 * 4..span.end.next_multiple_of(4),
            _ => span,
        }
    }

    /// Halves the parts of the rows whose arrays no binding holds.
    fn refine(&self, plan: &mut AxisPlan, traits: &plan::Traits) -> Result<()> {
        let bindable = traits.max_binding.saturating_sub(traits.alignment);
        let too_large = Error::AxisStepTooLarge {
            bytes: self.job.shape.inner as u64 * 4,
            limit: traits.max_binding,
        };
        let mut fine = Few::default();
        let mut coarse: Few<AxisChunk, 4> = plan.chunks.iter().rev().copied().collect();
        while let Some(chunk) = coarse.pop() {
            let largest = ARRAYS
                .iter()
                .zip(&self.parts)
                .filter(|(_, part)| part.is_some())
                .map(|(&(which, _, _, bytes), _)| {
                    let span = self.span(which, &chunk);
                    (span.end - span.start) * bytes
                })
                .max();
            if largest.unwrap_or(0) <= bindable {
                fine.push(chunk);
                continue;
            }
            if chunk.outer == 1 {
                return Err(too_large);
            }
            let half = chunk.outer / 2;
            coarse.push(AxisChunk {
                first_outer: chunk.first_outer + half,
                outer: chunk.outer - half,
                ..chunk
            });
            coarse.push(AxisChunk {
                outer: half,
                ..chunk
            });
        }
        plan.chunks = fine;
        if let Strategy::Split { .. } = plan.strategy {
            // Sinks are there for all rows whose parts are merged at once.
            let merged = AxisChunk {
                first_outer: 0,
                outer: self.job.shape.outer as u64,
                first_step: 0,
                steps: 0,
            };
            let whole = plan.chunks_per_row == 1 && self.parts[3].is_some();
            let span = self.span(Which::Sinks, &merged);
            if whole && (span.end - span.start) * 4 > bindable {
                return Err(too_large);
            }
        }
        Ok(())
    }

    fn beside(
        &self,
        mut constants: ShapingUniforms,
        slots: &[Slot],
        chunk: &AxisChunk,
        traits: &plan::Traits,
    ) -> Beside<'a> {
        let mut bindings = Bindings::default();
        let mut firsts = [0; 4];
        for (((which, slot, _, bytes), part), first) in
            ARRAYS.iter().zip(&self.parts).zip(&mut firsts)
        {
            let Some(part) = part.filter(|_| slots.contains(slot)) else {
                continue;
            };
            let span = self.span(*which, chunk);
            // The host may have less than the last word of a mask.
            let words = |elements: u64| elements * bytes / 4;
            let (binding, before) = part.operand.window(
                words(span.start - part.origin),
                words(span.end - span.start),
                traits,
            );
            bindings.push((*slot, binding));
            // Modulo 2^32, as the kernel's sums are.
            *first = (before * (4 / *bytes as u32)).wrapping_sub(span.start as u32);
        }
        [
            constants.mask_first,
            constants.bias_first,
            constants.lengths_first,
            constants.sinks_first,
        ] = firsts;
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&constants));
        Beside {
            bindings,
            constants: Some((Slot::Shaping, words.iter().copied().collect())),
        }
    }
}
