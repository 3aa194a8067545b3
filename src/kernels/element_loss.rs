//! Losses of single elements, on ranges of the caller's buffers.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, UpstreamBuffer, Work, holds, separate};
use crate::element_loss::ElementProblem;
use crate::element_shader::ElementShader;
use crate::error::Result;
use crate::plan;
use crate::shader::ElementModule;

/// `Uniforms` of element_loss.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ElementUniforms {
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
    pub p0: f32,
    pub p1: f32,
    pub p2: f32,
    pub zero: u32,
    /// A uniform buffer's length is a multiple of 16 bytes.
    pub padding: [u32; 1],
}

/// The bindings of a module of element_loss.wgsl.
#[cfg(test)]
pub(crate) fn element_slots(module: ElementModule) -> super::Slots {
    let mut slots = super::Slots::from([Slot::X, Slot::Targets, Slot::Out, Slot::Uniforms]);
    let more = [
        (module.gradient, Slot::Dy),
        (module.weighted, Slot::ClassWeight),
        (module.positives, Slot::PositiveWeight),
    ];
    slots.extend(more.iter().filter(|(is, _)| *is).map(|(_, slot)| *slot));
    slots
}

/// A loss on buffers.
pub(crate) struct ElementCall<'a> {
    pub shader: &'static ElementShader,
    /// What the loss's WGSL reads.
    pub numbers: [f32; 3],
    pub problem: &'a ElementProblem<'a>,
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
    /// Records the loss of each element, or its gradient.
    pub(crate) fn element_loss(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        call: &ElementCall<'_>,
    ) -> Result<()> {
        let ElementCall { problem, count, .. } = *call;
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
                let own = spread.count == problem.count && problem.count > 1;
                let operand = self.operand(*slice, "weight")?;
                holds(&operand, if own { count } else { spread.count })?;
                weights[i] = Some(Spreading {
                    operand,
                    stride: spread.stride,
                    count: spread.count,
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
        let module = ElementModule {
            shader: call.shader,
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
            let mut uniforms = ElementUniforms {
                count: len as u32,
                x_first: bind(Slot::X, x.window(start, len, traits)),
                target_first: bind(Slot::Targets, targets.window(start, len, traits)),
                out_first: bind(Slot::Out, out.window(start, len, traits)),
                dy_each: u32::from(each),
                scale,
                p0: call.numbers[0],
                p1: call.numbers[1],
                p2: call.numbers[2],
                ..ElementUniforms::default()
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
                module: ModuleKey::ElementLoss(module),
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
