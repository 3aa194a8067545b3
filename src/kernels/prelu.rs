//! The parametric rectifier, and the gradients by its input and by its slopes.

use super::sum::Sum;
use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Work, holds, separate};
use crate::error::{Error, Result};
use crate::plan;
use crate::prelu::Prelu;
use crate::shader::{Bend, Term};

/// `Uniforms` of prelu.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct PreluUniforms {
    pub count: u32,
    pub index: u32,
    pub x_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub slope_first: u32,
    pub r1: u32,
    pub k2: u32,
    pub r2: u32,
    pub k3: u32,
    pub r3: u32,
    pub zero: u32,
}

/// The bindings of an entry point of prelu.wgsl.
#[cfg(test)]
pub(crate) fn prelu_slots(entry_point: &str) -> super::Slots {
    let mut slots = super::Slots::from([Slot::X, Slot::Second, Slot::Out, Slot::Uniforms]);
    if entry_point == "backward" {
        slots.push(Slot::Dy);
    }
    slots
}

impl Kernels {
    /// Records y = x where x > 0, else slope · x; see [`Prelu`].
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::OutOfMemory`] where the slopes are more than a binding
    /// holds.
    pub(crate) fn prelu(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        prelu: &Prelu,
        x: wgpu::BufferSlice<'_>,
        slope: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        let slope = self.operand(slope, "slope")?;
        holds(&x, prelu.elements())?;
        holds(&slope, prelu.slopes())?;
        holds(&y, prelu.elements())?;
        separate(&x, &y)?;
        separate(&slope, &y)?;
        self.bend(pass, prelu, x, slope, None, y)
    }

    /// The gradients, with the one by the slope divided; by 0 for its two parts.
    pub(crate) fn grad_prelu_by(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        prelu: &Prelu,
        [x, slope, dy]: [wgpu::BufferSlice<'_>; 3],
        [dx, dslope]: [wgpu::BufferSlice<'_>; 2],
        divisor: f32,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let slope = self.operand(slope, "slope")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        let dslope = self.operand(dslope, "gradient by the slope")?;
        for operand in [&x, &dy, &dx] {
            holds(operand, prelu.elements())?;
        }
        holds(&slope, prelu.slopes())?;
        for input in [&x, &slope, &dy] {
            separate(input, &dx)?;
            separate(input, &dslope)?;
        }
        separate(&dx, &dslope)?;
        let sum = Sum {
            term: Term::PreluSlope,
            parameters: [0.0; 2],
            divisor,
            shape: prelu.sums(),
            x,
            dy: Some(dy),
            out: dslope,
        };
        self.bend(pass, prelu, x, slope, Some(dy), dx)?;
        self.sum_of(pass, &sum)
    }

    fn bend(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        prelu: &Prelu,
        x: Operand<'_>,
        slope: Operand<'_>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) -> Result<()> {
        let traits = &self.inner.traits;
        let groups = prelu.sums().shifted_to_the_end().map(|n| n as u64);
        let [k1, r1, k2, r2, k3, r3] = groups;
        let block = r1 * k2 * r2 * k3 * r3;
        let elements = k1 * block;
        if elements == 0 {
            return Ok(());
        }
        // A chunk sees the slopes of the blocks that it has a part of.
        let per_block = k2 * k3;
        let bindable = (traits.max_binding / 4).saturating_sub(traits.alignment / 4);
        let chunks = plan::chunks(elements, traits).map(|chunk| {
            let (first, last) = (chunk.start / block, (chunk.start + chunk.len - 1) / block);
            (chunk, first, (last - first + 1) * per_block)
        });
        let most = chunks.clone().map(|(.., slopes)| slopes).max().unwrap_or(0);
        if most > bindable || block > u64::from(u32::MAX) {
            return Err(Error::OutOfMemory {
                bytes: most.saturating_mul(4),
                reason: "the slopes, or the elements of one, are more than it binds".to_owned(),
            });
        }
        for (chunk, first, slopes) in chunks {
            let (slope, slope_first) = slope.window(first * per_block, slopes, traits);
            let bend = if r3 % 4 == 0 {
                Bend::Shared
            } else if r3 == 1 && k3 % 4 == 0 {
                Bend::Each
            } else {
                Bend::One
            };
            let tail = if bend == Bend::One {
                chunk.len
            } else {
                chunk.len % 4
            };
            for (bend, skipped, count) in [
                (bend, 0, chunk.len - tail),
                (Bend::One, chunk.len - tail, tail),
            ] {
                if count == 0 {
                    continue;
                }
                // Chunks begin where bindings may.
                let [x, out] = [x, out].map(|o| o.window(chunk.start, chunk.len, traits).0);
                let mut bindings = Bindings::from([(Slot::X, x), (Slot::Out, out)]);
                bindings.push((Slot::Second, slope.clone()));
                if let Some(dy) = dy {
                    bindings.push((Slot::Dy, dy.window(chunk.start, chunk.len, traits).0));
                }
                let lanes = bend.lanes().count();
                let first_element = (skipped / lanes) as u32;
                let uniforms = PreluUniforms {
                    count: (count / lanes) as u32,
                    index: (chunk.start - first * block + skipped) as u32,
                    x_first: first_element,
                    dy_first: first_element,
                    out_first: first_element,
                    slope_first,
                    // 0 for one slope; past every index where there is one block.
                    r1: match (slopes, k1) {
                        (1, _) => 0,
                        (_, 1) => u32::MAX,
                        _ => r1 as u32,
                    },
                    k2: k2 as u32,
                    r2: r2 as u32,
                    k3: k3 as u32,
                    r3: r3 as u32,
                    zero: 0,
                };
                let workgroup = traits.elementwise_workgroup();
                self.dispatch(
                    pass,
                    &Work {
                        module: ModuleKey::Prelu(bend),
                        entry_point: if dy.is_some() { "backward" } else { "forward" },
                        workgroup,
                        bindings: &bindings,
                        uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                        groups: u64::from(uniforms.count).div_ceil(workgroup.into()),
                    },
                );
            }
        }
        Ok(())
    }
}
