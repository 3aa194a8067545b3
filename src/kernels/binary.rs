//! Binary cross entropy, on ranges of the caller's buffers.

use super::loss::each;
use super::{Bindings, Kernels, ModuleKey, Operand, Slot, UpstreamBuffer, Work, holds, separate};
use crate::error::Result;
use crate::loss::{BceWithLogits, BinaryCrossEntropy, BinaryProblem};
use crate::plan;
use crate::shader::BinaryModule;
use crate::shape::{element_count, same_length};

/// `Uniforms` of binary.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct BinaryUniforms {
    pub count: u32,
    pub x_first: u32,
    pub target_first: u32,
    pub weight_first: u32,
    pub positive_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub weight_start: u32,
    pub weight_stride: u32,
    pub weight_count: u32,
    pub positive_start: u32,
    pub positive_stride: u32,
    pub positive_count: u32,
    pub dy_each: u32,
    pub scale: f32,
    pub zero: u32,
}

/// The bindings of a module of binary.wgsl.
#[cfg(test)]
pub(crate) fn binary_slots(module: BinaryModule) -> super::Slots {
    let mut slots = super::Slots::from([Slot::X, Slot::Targets, Slot::Out, Slot::Uniforms]);
    let more = [
        (module.gradient, Slot::Dy),
        (module.weighted, Slot::ClassWeight),
        (module.positives, Slot::PositiveWeight),
    ];
    slots.extend(more.iter().filter(|(is, _)| *is).map(|(_, slot)| *slot));
    slots
}

/// The arrays that a binary loss reads. Weights are there where the loss has some, with as many
/// values.
#[derive(Clone, Copy, Debug)]
pub struct BinaryBuffers<'a> {
    /// Logits or probabilities.
    pub inputs: wgpu::BufferSlice<'a>,
    /// A target probability for each.
    pub targets: wgpu::BufferSlice<'a>,
    /// The loss's weight.
    pub weight: Option<wgpu::BufferSlice<'a>>,
    /// The loss's weight of positives.
    pub pos_weight: Option<wgpu::BufferSlice<'a>>,
}

/// A binary loss on buffers.
pub(crate) struct BinaryCall<'a> {
    pub problem: &'a BinaryProblem<'a>,
    /// Elements of the whole array before those of `x`.
    pub start: usize,
    /// Elements of the arrays here.
    pub count: usize,
    pub x: wgpu::BufferSlice<'a>,
    pub targets: wgpu::BufferSlice<'a>,
    /// All values of the weight and of the weight of positives; those of these elements alone
    /// where each element of the whole array has its own.
    pub weights: [Option<wgpu::BufferSlice<'a>>; 2],
    /// Where the gradient is wanted.
    pub dy: Option<UpstreamBuffer<'a>>,
    pub out: wgpu::BufferSlice<'a>,
}

/// Elements [start, start + len) of an array of weights, and which weight is whose.
struct Spreading<'a> {
    operand: Operand<'a>,
    stride: usize,
    count: usize,
    /// Whether each element of the array has its own weight.
    own: bool,
    start: usize,
}

impl Kernels {
    /// Records the binary cross entropy of each logit of an array of `shape`. The loss must ask
    /// for [`Reduction::None`](crate::Reduction::None): [`Kernels::sum`] adds up what elements have.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; weights that do not fit the shape;
    /// [`Error::OptionNotTaken`](crate::Error::OptionNotTaken) for a reduction;
    /// [`Error::TooManyBuffers`](crate::Error::TooManyBuffers).
    pub fn binary_cross_entropy_with_logits(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &BceWithLogits,
        shape: &[usize],
        buffers: BinaryBuffers<'_>,
        losses: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let count = element_count(shape)?;
        let problem = loss.problem(count, shape, count)?;
        self.binary_loss(pass, &buffers.call(&problem, None, losses)?)
    }

    /// Records dx = the gradient of binary cross entropy by the logits. One upstream gradient for
    /// all elements says by its factor what the loss's reduction is.
    ///
    /// # Errors
    /// As [`Kernels::binary_cross_entropy_with_logits`].
    pub fn grad_binary_cross_entropy_with_logits(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &BceWithLogits,
        shape: &[usize],
        buffers: BinaryBuffers<'_>,
        dy: UpstreamBuffer<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let count = element_count(shape)?;
        let problem = loss.problem(count, shape, count)?;
        self.binary_loss(pass, &buffers.call(&problem, Some(dy), dx)?)
    }

    /// Records the binary cross entropy of each probability of an array of `shape`; NaN where it
    /// is none.
    ///
    /// # Errors
    /// As [`Kernels::binary_cross_entropy_with_logits`].
    pub fn binary_cross_entropy(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &BinaryCrossEntropy,
        shape: &[usize],
        buffers: BinaryBuffers<'_>,
        losses: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let count = element_count(shape)?;
        let problem = loss.unchecked(count, shape, count)?;
        self.binary_loss(pass, &buffers.call(&problem, None, losses)?)
    }

    /// Records dx = the gradient of binary cross entropy by the probabilities.
    ///
    /// # Errors
    /// As [`Kernels::binary_cross_entropy_with_logits`].
    pub fn grad_binary_cross_entropy(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        loss: &BinaryCrossEntropy,
        shape: &[usize],
        buffers: BinaryBuffers<'_>,
        dy: UpstreamBuffer<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let count = element_count(shape)?;
        let problem = loss.unchecked(count, shape, count)?;
        self.binary_loss(pass, &buffers.call(&problem, Some(dy), dx)?)
    }

    /// Records the loss of each element, or its gradient.
    pub(crate) fn binary_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        call: &BinaryCall<'_>,
    ) -> Result<()> {
        let BinaryCall { problem, count, .. } = *call;
        let x = self.operand(call.x, "input")?;
        let targets = self.operand(call.targets, "target")?;
        let out = self.operand(call.out, "output")?;
        let (dy, each, scale) = match call.dy {
            Some(UpstreamBuffer::Each(dy)) => (Some(dy), true, 1.0),
            Some(UpstreamBuffer::Same(dy, scale)) => (Some(dy), false, scale),
            None => (None, false, 1.0),
        };
        let dy = dy.map(|dy| self.operand(dy, "upstream gradient"));
        let dy = dy.transpose()?;
        for operand in [&x, &targets, &out] {
            holds(operand, count)?;
        }
        if let Some(dy) = &dy {
            holds(dy, if each { count } else { 1 })?;
        }
        let spreads = [problem.weight, problem.pos_weight];
        let mut weights = [None, None];
        for (i, (slice, spread)) in call.weights.iter().zip(spreads).enumerate() {
            if let (Some(slice), Some(spread)) = (slice, spread) {
                let own = spread.values.len() == problem.count && problem.count > 1;
                let operand = self.operand(*slice, "weight")?;
                holds(&operand, if own { count } else { spread.values.len() })?;
                weights[i] = Some(Spreading {
                    operand,
                    stride: spread.stride,
                    count: spread.values.len(),
                    own,
                    start: call.start,
                });
            }
        }
        let weighing = weights.iter().flatten().map(|weight| &weight.operand);
        for input in [Some(x), Some(targets), dy]
            .iter()
            .flatten()
            .chain(weighing)
        {
            separate(input, &out)?;
        }
        let weighing = weights.iter().flatten().count();
        self.binds(3 + usize::from(dy.is_some()) + weighing)?;
        let traits = &self.inner.traits;
        let module = BinaryModule {
            with_logits: problem.with_logits,
            gradient: dy.is_some(),
            weighted: weights[0].is_some(),
            positives: weights[1].is_some(),
        };
        let workgroup = traits.elementwise_workgroup();
        for chunk in plan::chunks(count as u64, traits) {
            let (start, len) = (chunk.start, chunk.len);
            let mut bindings = Bindings::default();
            let mut bind = |slot: Slot, (binding, first)| {
                bindings.push((slot, binding));
                first
            };
            let mut uniforms = BinaryUniforms {
                count: len as u32,
                x_first: bind(Slot::X, x.window(start, len, traits)),
                target_first: bind(Slot::Targets, targets.window(start, len, traits)),
                out_first: bind(Slot::Out, out.window(start, len, traits)),
                dy_each: u32::from(each),
                scale,
                ..BinaryUniforms::default()
            };
            if let Some(dy) = &dy {
                let (start, len) = if each { (start, len) } else { (0, 1) };
                uniforms.dy_first = bind(Slot::Dy, dy.window(start, len, traits));
            }
            if let Some(weight) = &weights[0] {
                let (window, place) = weight.window(start, len, traits);
                uniforms.weight_first = bind(Slot::ClassWeight, window);
                [
                    uniforms.weight_start,
                    uniforms.weight_stride,
                    uniforms.weight_count,
                ] = place;
            }
            if let Some(weight) = &weights[1] {
                let (window, place) = weight.window(start, len, traits);
                uniforms.positive_first = bind(Slot::PositiveWeight, window);
                [
                    uniforms.positive_start,
                    uniforms.positive_stride,
                    uniforms.positive_count,
                ] = place;
            }
            let work = Work {
                module: ModuleKey::BinaryLoss(module),
                entry_point: "each",
                workgroup,
                bindings: &bindings,
                uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                groups: len.div_ceil(u64::from(workgroup)),
            };
            self.dispatch(pass, &work);
        }
        Ok(())
    }
}

impl<'a> BinaryBuffers<'a> {
    fn call(
        &self,
        problem: &'a BinaryProblem<'a>,
        dy: Option<UpstreamBuffer<'a>>,
        out: wgpu::BufferSlice<'a>,
    ) -> Result<BinaryCall<'a>> {
        let operation = match (problem.with_logits, dy) {
            (true, None) => "Kernels::binary_cross_entropy_with_logits",
            (true, Some(_)) => "Kernels::grad_binary_cross_entropy_with_logits",
            (false, None) => "Kernels::binary_cross_entropy",
            (false, Some(_)) => "Kernels::grad_binary_cross_entropy",
        };
        if !matches!(dy, Some(UpstreamBuffer::Same(..))) {
            each(operation, problem.reduction)?;
        }
        let weights = [self.weight, self.pos_weight];
        let wanted = [problem.weight, problem.pos_weight];
        for (what, (weight, wanted)) in ["the weight", "the weight of positives"]
            .into_iter()
            .zip(weights.iter().zip(wanted))
        {
            let expected = wanted.map_or(0, |spread| spread.values.len());
            let got = weight.map_or(0, |slice| slice.size() as usize / 4);
            // More may be there than is read, but not without a weight in the loss.
            if got < expected || expected == 0 {
                same_length(what, expected, got)?;
            }
        }
        Ok(BinaryCall {
            problem,
            start: 0,
            count: problem.count,
            x: self.inputs,
            targets: self.targets,
            weights,
            dy,
            out,
        })
    }
}

impl<'a> Spreading<'a> {
    /// What a chunk binds, and its [start, stride, count] of the uniforms.
    fn window(
        &self,
        start: u64,
        len: u64,
        traits: &plan::Traits,
    ) -> ((wgpu::BufferBinding<'a>, u32), [u32; 3]) {
        if self.own {
            let window = self.operand.window(start, len, traits);
            return (window, [0, 1, len as u32]);
        }
        // The period of the weights, within which the first element lies; an array of one value
        // has its own.
        let period = (self.stride * self.count) as u64;
        let first = (self.start as u64 + start) % period;
        let window = self.operand.window(0, self.count as u64, traits);
        (
            window,
            [first as u32, self.stride as u32, self.count as u32],
        )
    }
}
