//! Losses over classes, on ranges of the caller's buffers.

use super::axis::{Beside, PerRow, RowsRecorder};
use super::sum::Sum;
use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Slots, holds, separate};
use crate::catalogue::Activation;
use crate::error::{Error, Result};
use crate::loss::CrossEntropy;
use crate::plan::{self, AxisChunk, Traits};
use crate::shader::{ClassModule, LossPass, Term};
use crate::shape::AxisShape;
use crate::sum::SumShape;

/// The arrays that a loss over classes reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassBuffers<'a> {
    /// Logits, or log-probabilities for the negative log likelihood.
    pub logits: wgpu::BufferSlice<'a>,
    /// What the rows should have been.
    pub targets: TargetBuffer<'a>,
    /// A weight for each class.
    pub weight: Option<wgpu::BufferSlice<'a>>,
}

/// Targets in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetBuffer<'a> {
    /// The class of each row, as i32 or u32. Nobody checks them before they are used: a row whose
    /// target is no class, and not the ignored one, has a NaN loss and a NaN gradient.
    Indices(wgpu::BufferSlice<'a>),
    /// A probability for each class of each row, as f32.
    Probabilities(wgpu::BufferSlice<'a>),
}

/// The upstream gradient of a loss.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UpstreamBuffer<'a> {
    /// One for each row.
    Each(wgpu::BufferSlice<'a>),
    /// One for all, times a factor: 1 for a sum, and for a mean one over what it divides by.
    Same(wgpu::BufferSlice<'a>, f32),
}

/// `Options` of cross_entropy.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LossOptions {
    pub ignore: u32,
    pub classes: u32,
    pub target_first: u32,
    pub weight_first: u32,
    pub dy_first: u32,
    pub loss_first: u32,
    pub dy_each: u32,
    pub keep: f32,
    pub spread: f32,
    pub scale: f32,
}

/// The bindings of an entry point of cross_entropy.wgsl.
pub(crate) fn class_slots(module: ClassModule, entry_point: &str) -> Slots {
    let ClassModule {
        pass,
        probabilities,
        weighted,
        ..
    } = module;
    let of_rows = entry_point == "split_combine";
    let mut slots = Slots::from([Slot::Uniforms]);
    if entry_point.starts_with("split") {
        slots.push(Slot::Partials);
    }
    if of_rows && pass == LossPass::Gradient {
        return slots;
    }
    slots.push(Slot::LossOptions);
    if !of_rows {
        slots.push(Slot::X);
    }
    if !(of_rows && probabilities) {
        slots.push(Slot::Targets);
    }
    if weighted {
        slots.push(Slot::ClassWeight);
    }
    if entry_point == "split_partial" {
        return slots;
    }
    if pass == LossPass::Loss || !of_rows {
        slots.push(Slot::Out);
    }
    if pass == LossPass::Gradient {
        slots.push(Slot::Dy);
    }
    if pass == LossPass::Both && entry_point != "split_finish" {
        slots.push(Slot::Losses);
    }
    slots
}

impl Kernels {
    /// Records the loss of each row of logits, which are seen as `shape` around the class axis. Of
    /// `loss` the label smoothing and the ignored class are taken.
    pub(crate) fn cross_entropy(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &CrossEntropy,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        losses: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let call = ClassCall::cross_entropy(loss, LossPass::Loss)?;
        let losses = self.operand(losses, "loss")?;
        self.class_loss(pass, call, shape, buffers, None, losses, None)
    }

    /// Records dx = the gradient by the logits for an upstream gradient.
    pub(crate) fn grad_cross_entropy(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &CrossEntropy,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        dy: UpstreamBuffer<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let call = ClassCall::cross_entropy(loss, LossPass::Gradient)?;
        let dx = self.operand(dx, "gradient")?;
        self.class_loss(pass, call, shape, buffers, Some(dy), dx, None)
    }

    /// Records the loss of each row, and dx = its gradient by the logits times `scale`.
    #[expect(clippy::too_many_arguments, reason = "two results at once")]
    pub(crate) fn cross_entropy_with_grad(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &CrossEntropy,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        losses: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
        scale: f32,
    ) -> Result<()> {
        let call = ClassCall {
            scale,
            ..ClassCall::cross_entropy(loss, LossPass::Both)?
        };
        let losses = self.operand(losses, "loss")?;
        let dx = self.operand(dx, "gradient")?;
        separate(&losses, &dx)?;
        self.class_loss(pass, call, shape, buffers, None, dx, Some(losses))
    }

    /// Records the negative log likelihood of each row of log-probabilities; targets are classes.
    pub(crate) fn nll_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        ignore_index: i64,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        losses: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let call = ClassCall::nll(ignore_index, LossPass::Loss);
        let losses = self.operand(losses, "loss")?;
        self.class_loss(pass, call, shape, buffers, None, losses, None)
    }

    /// Records dx = the gradient of the negative log likelihood by the log-probabilities.
    pub(crate) fn grad_nll_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        ignore_index: i64,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        dy: UpstreamBuffer<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let call = ClassCall::nll(ignore_index, LossPass::Gradient);
        let dx = self.operand(dx, "gradient")?;
        self.class_loss(pass, call, shape, buffers, Some(dy), dx, None)
    }

    /// Memory for so many losses that are reduced.
    pub(crate) fn terms(&self, losses: usize) -> wgpu::Buffer {
        self.kept(&self.inner.terms, 4 * losses.max(1) as u64)
    }

    /// Records the sum of `count` losses, divided by `divisor`; over nothing it is NaN.
    pub(crate) fn reduced_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        count: usize,
        divisor: f32,
        losses: wgpu::BufferSlice<'_>,
        reduced: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        if divisor == 0.0 {
            let nan = self.constant(&[f32::NAN]);
            return self.map(pass, Activation::Identity, nan.slice(..), reduced);
        }
        self.sum_of(
            pass,
            &Sum {
                term: Term::Array,
                parameters: [0.0; 2],
                divisor,
                shape: &SumShape::over(&[count], &[true])?,
                x: self.operand(losses, "loss")?,
                dy: None,
                out: self.operand(reduced, "output")?,
            },
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place behind five public calls"
    )]
    fn class_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        call: ClassCall,
        shape: &AxisShape,
        buffers: ClassBuffers<'_>,
        dy: Option<UpstreamBuffer<'_>>,
        out: Operand<'_>,
        losses: Option<Operand<'_>>,
    ) -> Result<()> {
        shape.check()?;
        let (rows, elements) = (shape.rows(), shape.elements());
        let x = self.operand(buffers.logits, "logits")?;
        holds(&x, elements)?;
        let (targets, probabilities) = match buffers.targets {
            TargetBuffer::Indices(slice) => (self.operand(slice, "target")?, false),
            TargetBuffer::Probabilities(slice) => (self.operand(slice, "target")?, true),
        };
        holds(&targets, if probabilities { elements } else { rows })?;
        let weight = match buffers.weight {
            Some(slice) => {
                let weight = self.operand(slice, "class weight")?;
                holds(&weight, shape.len)?;
                Some(weight)
            }
            None => None,
        };
        let (dy, each, scale) = match dy {
            Some(UpstreamBuffer::Each(slice)) => (Some(slice), true, 1.0),
            Some(UpstreamBuffer::Same(slice, scale)) => (Some(slice), false, scale),
            None => (None, false, call.scale),
        };
        let dy = dy.map(|dy| self.operand(dy, "upstream gradient"));
        let dy = dy.transpose()?;
        if let Some(dy) = &dy {
            holds(dy, if each { rows } else { 1 })?;
        }
        let is_loss = call.pass == LossPass::Loss;
        holds(&out, if is_loss { rows } else { elements })?;
        if let Some(losses) = &losses {
            holds(losses, rows)?;
        }
        for input in [Some(x), Some(targets), weight, dy].iter().flatten() {
            for output in [Some(out), losses].iter().flatten() {
                separate(input, output)?;
            }
        }
        if elements == 0 {
            // Rows of no classes have no target that is one; what there is to write is NaN at
            // most, and left to the caller as the empty rows of softmax are.
            return Ok(());
        }
        let traits = &self.traits();
        let too_large = Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: traits.max_binding,
        };
        let plan = plan::axis(shape, traits).ok_or(too_large)?;
        let module = ClassModule {
            pass: call.pass,
            nll: call.nll,
            probabilities,
            dense: probabilities || call.smoothing > 0.0,
            weighted: weight.is_some(),
        };
        let inner = shape.inner as u64;
        let beside = |entry_point: &str, chunk: &AxisChunk| {
            let slots = class_slots(module, entry_point);
            let (first_row, rows) = (chunk.first_outer * inner, chunk.outer * inner);
            let steps = (chunk.first_outer * shape.len as u64 + chunk.first_step) * inner;
            let mut bindings = Bindings::default();
            let (start, len) = if probabilities {
                (steps, chunk.outer * chunk.steps * inner)
            } else {
                (first_row, rows)
            };
            let mut bind = |slot, operand, start, len| {
                bound(&mut bindings, &slots, slot, operand, (start, len), traits)
            };
            let options = LossOptions {
                target_first: bind(Slot::Targets, Some(targets), start, len),
                weight_first: bind(Slot::ClassWeight, weight, 0, shape.len as u64),
                dy_first: if each {
                    bind(Slot::Dy, dy, first_row, rows)
                } else {
                    bind(Slot::Dy, dy, 0, 1)
                },
                loss_first: bind(Slot::Losses, losses, first_row, rows),
                dy_each: u32::from(each),
                // The bits of an i32; what does not fit marks no row.
                ignore: i32::try_from(call.ignore_index).map_or(1 << 31, |class| class as u32),
                // Rows that a device holds are shorter than 2^32.
                classes: shape.len as u32,
                keep: (1.0 - call.smoothing) as f32,
                spread: (call.smoothing / shape.len as f64) as f32,
                scale,
            };
            let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&options));
            let constants = slots
                .contains(&Slot::LossOptions)
                .then(|| (Slot::LossOptions, words.iter().copied().collect()));
            Beside {
                bindings,
                constants,
            }
        };
        let recorder = RowsRecorder {
            kernels: self,
            module: ModuleKey::ClassLoss(module),
            eights: None,
            sign: 1.0,
            number: 0.0,
            shape,
            first_row: 0,
            plan: &plan,
            slots: &|entry_point| class_slots(module, entry_point),
            one_row: "row_per_invocation",
            per_row: PerRow {
                dy: false,
                out: is_loss,
            },
            refinements: 0,
            x: Some(x),
            dy: None,
            out,
            beside: Some(&beside),
        };
        recorder.check_bindings()?;
        recorder.record(pass);
        Ok(())
    }
}

/// Binds elements (start, count) of an operand where an entry point has the slot; says how many
/// elements lie in the binding before them.
fn bound<'a>(
    bindings: &mut Bindings<'a>,
    slots: &[Slot],
    slot: Slot,
    operand: Option<Operand<'a>>,
    (start, count): (u64, u64),
    traits: &Traits,
) -> u32 {
    let Some(operand) = operand.filter(|_| slots.contains(&slot)) else {
        return 0;
    };
    let (binding, first) = operand.window(start, count, traits);
    bindings.push((slot, binding));
    first
}

/// What a recorded loss takes from its options.
#[derive(Clone, Copy)]
struct ClassCall {
    pass: LossPass,
    nll: bool,
    smoothing: f64,
    ignore_index: i64,
    scale: f32,
}

impl ClassCall {
    fn cross_entropy(loss: &CrossEntropy, pass: LossPass) -> Result<Self> {
        loss.check_smoothing()?;
        Ok(Self {
            pass,
            nll: false,
            smoothing: loss.label_smoothing.into(),
            ignore_index: loss.classes.ignore_index,
            scale: 1.0,
        })
    }

    fn nll(ignore_index: i64, pass: LossPass) -> Self {
        Self {
            pass,
            nll: true,
            smoothing: 0.0,
            ignore_index,
            scale: 1.0,
        }
    }
}
