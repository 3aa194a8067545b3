//! The element-wise operations: y = f(x) and dx = dy · f'(x), on ranges of the caller's buffers.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Slots, Work, separate};
use crate::arrays::TypedSlice;
use crate::catalogue::{Elementwise, MAX_PARAMETERS};
use crate::element::DType;
use crate::error::Result;
use crate::plan;
use crate::shader::{Access, Pass, Width};

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
    pub last: u32,
    pub padding: [u32; 2],
}

impl Kernels {
    /// Records y = f(x), of any types of numbers, computed in f32 and rounded to that of y.
    pub(crate) fn map<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: impl Into<TypedSlice<'a>>,
        y: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        self.same_size(&x, &y)?;
        separate(&x, &y)?;
        self.elementwise(pass, f.into(), Pass::Forward, Some(x), None, y)
    }

    /// Records x = f(x).
    pub(crate) fn map_in_place<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let x = self.operand(x, "input")?;
        self.elementwise(pass, f.into(), Pass::ForwardInPlace, None, None, x)
    }

    /// Records dx = dy · f'(x), from the input x.
    pub(crate) fn grad_map<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: impl Into<TypedSlice<'a>>,
        dy: impl Into<TypedSlice<'a>>,
        dx: impl Into<TypedSlice<'a>>,
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
    pub(crate) fn grad_map_in_place<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: impl Into<Elementwise>,
        x: impl Into<TypedSlice<'a>>,
        dy: impl Into<TypedSlice<'a>>,
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
        let operands = [x, dy, Some(out)];
        let dtypes = operands.map(|operand| operand.map_or(DType::F32, |o| o.dtype));
        let elements = operands.iter().flatten().map(Operand::elements).min();
        let access = self.inner.traits.access(elements.unwrap_or(0), &dtypes);
        self.consult_activation(pass, f.activation(), kind, access)?;
        self.record_elementwise(pass, f, kind, operands, access);
        Ok(())
    }

    /// Records dispatches on x, dy and the result; by `access` as far as its units go.
    pub(super) fn record_elementwise(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        kind: Pass,
        operands: [Option<Operand<'_>>; 3],
        access: Access,
    ) {
        let traits = &self.inner.traits;
        let dtypes = operands.map(|operand| operand.map_or(DType::F32, |o| o.dtype));
        let bound = operands.iter().flatten();
        // Of an odd number of 16 bits each, the last has a word to itself.
        let elements = bound.map(Operand::elements).min().unwrap_or(0);
        // What is left over goes by the smallest unit: an element, or what shares a word.
        let rest = match dtypes {
            [DType::F32, DType::F32, DType::F32] => Width::One,
            _ => Width::Two,
        };
        for chunk in plan::chunks_of(elements, &dtypes, traits) {
            let tail = chunk.len % access.width.elements();
            for (access, first, count) in [
                (access, 0, chunk.len - tail),
                (Access::single(rest), chunk.len - tail, tail),
            ] {
                if count == 0 {
                    continue;
                }
                let unit = access.width.elements();
                let units = count.div_ceil(unit);
                let invocations = units.div_ceil(u64::from(access.units));
                let groups = invocations.div_ceil(u64::from(traits.elementwise_workgroup()));
                // A chunk is a binding, whose elements a u32 counts.
                let uniforms = ElementwiseUniforms {
                    count: units as u32,
                    first: (first / unit) as u32,
                    parameters: f.packed(),
                    zero: 0,
                    last: (chunk.len - 1) as u32,
                    padding: [0; 2],
                };
                let operands = [Slot::X, Slot::Dy, Slot::Out].into_iter().zip(operands);
                let bindings: Bindings<'_> = operands
                    .filter_map(|(slot, operand)| {
                        // A chunk begins where a binding may.
                        Some((slot, operand?.window(chunk.start, chunk.len, traits).0))
                    })
                    .collect();
                self.dispatch(
                    pass,
                    &Work {
                        module: ModuleKey::Elementwise(f.activation(), access, dtypes),
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
