//! Random numbers and the randomised leaky rectifier, on ranges of the caller's buffers.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Work, separate};
use crate::error::Result;
use crate::plan;
use crate::random::{Random, halves};
use crate::rrelu::Rrelu;
use crate::shader::{Draw, Pass};

/// `Uniforms` of random.wgsl.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct RandomUniforms {
    pub count: u32,
    pub x_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub block_low: u32,
    pub block_high: u32,
    pub skip: u32,
    pub stream_low: u32,
    pub stream_high: u32,
    pub seed_low: u32,
    pub seed_high: u32,
    pub lower: f32,
    pub width: f32,
    pub width_rest: f32,
    pub zero: u32,
    pub padding: u32,
}

/// The bindings of a drawing module.
#[cfg(test)]
pub(crate) fn draw_slots(draw: Draw) -> super::Slots {
    match draw {
        Draw::Uniform | Draw::Gumbel => [Slot::Out, Slot::Uniforms].into(),
        Draw::Rrelu(pass) => super::elementwise_slots(pass),
    }
}

impl Kernels {
    /// Records out = the numbers between 0 and 1 of `random`, from its first on.
    ///
    /// # Errors
    /// A buffer without `STORAGE`, a misaligned range.
    pub fn uniform(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        random: Random,
        out: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let out = self.operand(out, "output")?;
        self.draw(
            pass,
            Draw::Uniform,
            random,
            Rrelu::default(),
            [None; 2],
            out,
        );
        Ok(())
    }

    /// Records out = Gumbel noise -log(-log u) of the numbers u of `random`.
    ///
    /// # Errors
    /// As [`Kernels::uniform`].
    pub fn gumbel_noise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        random: Random,
        out: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let out = self.operand(out, "output")?;
        self.draw(pass, Draw::Gumbel, random, Rrelu::default(), [None; 2], out);
        Ok(())
    }

    /// Records y = rrelu(x); element i of the ranges takes number i.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub(crate) fn rrelu(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        rrelu: Rrelu,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let Some(random) = rrelu.random() else {
            return self.map(pass, rrelu.evaluation(), x, y);
        };
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        self.same_size(&x, &y)?;
        separate(&x, &y)?;
        let draw = Draw::Rrelu(Pass::Forward);
        self.draw(pass, draw, random, rrelu, [Some(x), None], y);
        Ok(())
    }

    /// Records x = rrelu(x).
    ///
    /// # Errors
    /// As [`Kernels::rrelu`].
    pub(crate) fn rrelu_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        rrelu: Rrelu,
        x: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let Some(random) = rrelu.random() else {
            return self.map_in_place(pass, rrelu.evaluation(), x);
        };
        let x = self.operand(x, "input")?;
        let draw = Draw::Rrelu(Pass::ForwardInPlace);
        self.draw(pass, draw, random, rrelu, [None; 2], x);
        Ok(())
    }

    /// Records dx = the gradient of rrelu by x, with the slopes of the forward pass.
    ///
    /// # Errors
    /// As [`Kernels::rrelu`].
    pub(crate) fn grad_rrelu(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        rrelu: Rrelu,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let Some(random) = rrelu.random() else {
            return self.grad_map(pass, rrelu.evaluation(), x, dy, dx);
        };
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        self.same_size(&x, &dy)?;
        self.same_size(&x, &dx)?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        let draw = Draw::Rrelu(Pass::Backward);
        self.draw(pass, draw, random, rrelu, [Some(x), Some(dy)], dx);
        Ok(())
    }

    /// Records dy = the gradient of rrelu by x.
    ///
    /// # Errors
    /// As [`Kernels::rrelu`].
    pub(crate) fn grad_rrelu_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        rrelu: Rrelu,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let Some(random) = rrelu.random() else {
            return self.grad_map_in_place(pass, rrelu.evaluation(), x, dy);
        };
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        self.same_size(&x, &dy)?;
        separate(&x, &dy)?;
        let draw = Draw::Rrelu(Pass::BackwardInPlace);
        self.draw(pass, draw, random, rrelu, [Some(x), None], dy);
        Ok(())
    }

    fn draw(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        draw: Draw,
        random: Random,
        rrelu: Rrelu,
        [x, dy]: [Option<Operand<'_>>; 2],
        out: Operand<'_>,
    ) {
        let traits = &self.inner.traits;
        let [stream_low, stream_high] = halves(random.stream_number());
        let [seed_low, seed_high] = halves(random.seed());
        // 12 bits of the range of slopes, and the rest of it.
        let width = f64::from(rrelu.upper()) - f64::from(rrelu.lower());
        let leading = f32::from_bits((width as f32).to_bits() & 0xffff_f000);
        for chunk in plan::chunks(out.elements(), traits) {
            let first = random.skip(chunk.start).first();
            let [block_low, block_high] = halves(first / 4);
            let mut uniforms = RandomUniforms {
                // A chunk is a binding, whose elements a u32 counts.
                count: chunk.len as u32,
                block_low,
                block_high,
                skip: (first % 4) as u32,
                stream_low,
                stream_high,
                seed_low,
                seed_high,
                lower: rrelu.lower(),
                width: leading,
                width_rest: (width - f64::from(leading)) as f32,
                ..RandomUniforms::default()
            };
            let mut bindings = Bindings::default();
            for (slot, operand, before) in [
                (Slot::X, x, &mut uniforms.x_first),
                (Slot::Dy, dy, &mut uniforms.dy_first),
                (Slot::Out, Some(out), &mut uniforms.out_first),
            ] {
                if let Some(operand) = operand {
                    let (binding, first) = operand.window(chunk.start, chunk.len, traits);
                    bindings.push((slot, binding));
                    *before = first;
                }
            }
            let workgroup = traits.elementwise_workgroup();
            let blocks = (chunk.len + first % 4).div_ceil(4);
            self.dispatch(
                pass,
                &Work {
                    module: ModuleKey::Random(draw),
                    entry_point: "fill",
                    workgroup,
                    bindings: &bindings,
                    uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                    groups: blocks.div_ceil(u64::from(workgroup)),
                },
            );
        }
    }
}
