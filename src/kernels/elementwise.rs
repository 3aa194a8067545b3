//! The element-wise operations: y = f(x) and dx = dy · f'(x), on ranges of the caller's buffers.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Slots, Work, separate};
use crate::catalogue::{Elementwise, MAX_PARAMETERS};
use crate::error::Result;
use crate::plan;
use crate::shader::{Lanes, Pass};

/// The bindings of an element-wise entry point.
pub(crate) fn elementwise_slots(pass: Pass) -> Slots {
    let mut slots = Slots::default();
    if pass.binds_x() {
        slots.push(Slot::X);
    }
    if pass.binds_dy() {
        slots.push(Slot::Dy);
    }
    slots.extend([Slot::Out, Slot::Uniforms]);
    slots
}

/// `Uniforms` of elementwise.wgsl.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ElementwiseUniforms {
    pub count: u32,
    pub first: u32,
    pub parameters: [f32; MAX_PARAMETERS],
    pub zero: u32,
    pub padding: [u32; 3],
}

impl Kernels {
    /// Records y = f(x).
    ///
    /// # Errors
    /// A buffer without `STORAGE`, a misaligned or overlapping range, ranges of unequal length.
    pub fn apply(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        self.same_size(&x, &y)?;
        separate(&x, &y)?;
        self.elementwise(pass, f.into(), Pass::Forward, Some(x), None, y)
    }

    /// Records x = f(x).
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn apply_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        self.elementwise(pass, f.into(), Pass::ForwardInPlace, None, None, x)
    }

    /// Records dx = dy · f'(x), from the input x.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grad(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        self.same_size(&x, &dy)?;
        self.same_size(&x, &dx)?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        self.elementwise(pass, f.into(), Pass::Backward, Some(x), Some(dy), dx)
    }

    /// Records dy = dy · f'(x).
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub fn grad_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        self.same_size(&x, &dy)?;
        separate(&x, &dy)?;
        self.elementwise(pass, f.into(), Pass::BackwardInPlace, Some(x), None, dy)
    }

    fn elementwise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        kind: Pass,
        x: Option<Operand<'_>>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) -> Result<()> {
        // Few elements compile no pipeline for many.
        let vectors = out.elements() >= 4;
        self.consult_activation(pass, f.activation(), kind, vectors)?;
        self.record_elementwise(pass, f, kind, [x, dy, Some(out)], vectors);
        Ok(())
    }

    /// Records dispatches on x, dy and the result; by fours as far as it goes where `vectors`.
    pub(super) fn record_elementwise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        kind: Pass,
        operands: [Option<Operand<'_>>; 3],
        vectors: bool,
    ) {
        let traits = &self.inner.traits;
        let [x, dy, out] = operands;
        let elements = out.map_or(0, |out| out.elements());
        for chunk in plan::chunks(elements, traits) {
            let tail = if vectors { chunk.len % 4 } else { chunk.len };
            for (lanes, first, count) in [
                (Lanes::Four, 0, chunk.len - tail),
                (Lanes::One, chunk.len - tail, tail),
            ] {
                if count == 0 {
                    continue;
                }
                let groups =
                    count.div_ceil(lanes.count() * u64::from(traits.elementwise_workgroup()));
                // A chunk is a binding, whose elements a u32 counts.
                let uniforms = ElementwiseUniforms {
                    count: (count / lanes.count()) as u32,
                    first: (first / lanes.count()) as u32,
                    parameters: f.packed(),
                    zero: 0,
                    padding: [0; 3],
                };
                let operands = [(Slot::X, x), (Slot::Dy, dy), (Slot::Out, out)];
                let bindings: Bindings<'_> = operands
                    .into_iter()
                    .filter_map(|(slot, operand)| {
                        // A chunk begins where a binding may.
                        Some((slot, operand?.window(chunk.start, chunk.len, traits).0))
                    })
                    .collect();
                self.dispatch(
                    pass,
                    &Work {
                        module: ModuleKey::Elementwise(f.activation(), lanes),
                        entry_point: kind.entry_point(),
                        workgroup: traits.elementwise_workgroup(),
                        bindings: &bindings,
                        uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                        groups,
                    },
                );
            }
        }
    }
}
