//! Sums over axes: terms to partial sums, partial sums to fewer, those to results, in an order
//! that the shape and the device alone decide.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Work, holds, separate};
use crate::error::{Error, Result};
use crate::plan::{self, MERGED, PARTIAL_SUM_BYTES, SumPlan};
use crate::shader::Term;
use crate::sum::SumShape;

/// `Uniforms` of reduce.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SumUniforms {
    pub len: u32,
    pub r1: u32,
    pub k2: u32,
    pub r2: u32,
    pub k3: u32,
    pub r3: u32,
    pub rows: u32,
    pub lanes: u32,
    pub segment: u32,
    pub columns: u32,
    pub x_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub from_first: u32,
    pub from_slots: u32,
    pub to_first: u32,
    pub to_slots: u32,
    pub parameters: [f32; 2],
    pub divisor: f32,
    pub zero: u32,
    pub padding: [u32; 3],
}

/// The bindings of an entry point of reduce.wgsl.
#[cfg(test)]
pub(crate) fn sum_slots(term: Term, entry_point: &str) -> super::Slots {
    let mut slots = super::Slots::from([Slot::Uniforms]);
    if matches!(entry_point, "sum_rows" | "sum_lanes") {
        slots.push(Slot::X);
        if term.binds_dy() {
            slots.push(Slot::Dy);
        }
    }
    if matches!(entry_point, "sum_rows" | "finish") {
        slots.push(Slot::Out);
    }
    if entry_point != "sum_rows" {
        slots.push(Slot::Partials);
    }
    slots
}

/// What is added up, and what becomes of it.
#[derive(Clone, Copy)]
pub(super) struct Sum<'a> {
    pub term: Term,
    pub parameters: [f32; 2],
    /// What a sum is divided by: 1 for the sum itself, 0 for a pair instead, the rounded sum and
    /// what was lost of it.
    pub divisor: f32,
    pub shape: &'a SumShape,
    /// What the term reads; of `shape`, both.
    pub x: Operand<'a>,
    pub dy: Option<Operand<'a>>,
    /// One element for each sum.
    pub out: Operand<'a>,
}

impl Kernels {
    /// Records the sums of x over some of its axes. The sums are compensated, within an ULP of
    /// the exact sum wherever that is not the small rest of a cancellation, and have the same
    /// bits in each run.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::OutOfMemory`] where the partial sums are more than a
    /// binding holds: many long sums of an array that is many bindings large.
    pub fn sum(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        shape: &SumShape,
        x: wgpu::BufferSlice<'_>,
        sums: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let sum = Sum {
            term: Term::Array,
            parameters: [0.0; 2],
            divisor: 1.0,
            shape,
            x: self.operand(x, "input")?,
            dy: None,
            out: self.operand(sums, "output")?,
        };
        self.sum_of(pass, &sum)
    }

    /// Records a sum.
    pub(super) fn sum_of(&self, pass: &mut wgpu::ComputePass<'_>, sum: &Sum<'_>) -> Result<()> {
        // Results of each sum.
        let width = if sum.divisor == 0.0 { 2 } else { 1 };
        holds(&sum.out, width * sum.shape.sums())?;
        for input in [Some(sum.x), sum.dy].iter().flatten() {
            holds(input, sum.shape.elements())?;
            separate(input, &sum.out)?;
        }
        if sum.shape.sums() == 0 {
            return Ok(());
        }
        let traits = &self.traits();
        let plan = self.sum_plan(sum.shape)?;
        if plan.direct() {
            for index in 0..plan.pieces.len() {
                self.sum_piece(pass, sum, &plan, index, None);
            }
            return Ok(());
        }
        let rows = sum.shape.sums() as u64;
        let slots = plan.slots();
        let merged = slots.div_ceil(MERGED);
        let scratch = self.scratch(rows * (slots + merged) * PARTIAL_SUM_BYTES);
        for index in 0..plan.pieces.len() {
            self.sum_piece(pass, sum, &plan, index, Some(&scratch));
        }
        // Two regions take turns: what is merged into one is read from the other.
        let regions = [0, rows * slots];
        let (mut side, mut len) = (0, slots);
        // The plan bounds partial sums by what a binding holds.
        while len > 2 * MERGED {
            let lanes = len.div_ceil(MERGED);
            let uniforms = SumUniforms {
                len: len as u32,
                rows: rows as u32,
                lanes: lanes as u32,
                segment: MERGED as u32,
                from_first: regions[side] as u32,
                from_slots: len as u32,
                to_first: regions[1 - side] as u32,
                to_slots: lanes as u32,
                ..SumUniforms::default()
            };
            let bindings = [(Slot::Partials, scratch.as_entire_buffer_binding())];
            let invocations = rows * lanes;
            self.sum_work(
                pass,
                sum.term,
                &plan,
                "merge",
                &bindings,
                &uniforms,
                invocations,
            );
            (side, len) = (1 - side, lanes);
        }
        let (out, out_first) = sum.out.window(0, width as u64 * rows, traits);
        let uniforms = SumUniforms {
            len: len as u32,
            rows: rows as u32,
            from_first: regions[side] as u32,
            from_slots: len as u32,
            divisor: sum.divisor,
            out_first,
            ..SumUniforms::default()
        };
        let partials = (Slot::Partials, scratch.as_entire_buffer_binding());
        let bindings = [(Slot::Out, out), partials];
        self.sum_work(pass, sum.term, &plan, "finish", &bindings, &uniforms, rows);
        Ok(())
    }

    /// How sums are cut; an error where the device cannot.
    pub(super) fn sum_plan(&self, shape: &SumShape) -> Result<SumPlan> {
        plan::sum(shape, &self.traits()).ok_or_else(|| Error::OutOfMemory {
            bytes: (shape.sums() as u64).saturating_mul(PARTIAL_SUM_BYTES),
            reason: "partial sums are more than it binds".to_owned(),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one dispatch's own")]
    fn sum_work(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        term: Term,
        plan: &SumPlan,
        entry_point: &'static str,
        bindings: &[(Slot, wgpu::BufferBinding<'_>)],
        uniforms: &SumUniforms,
        invocations: u64,
    ) {
        self.dispatch(
            pass,
            &Work {
                module: ModuleKey::Sum(term),
                entry_point,
                workgroup: plan.workgroup,
                bindings,
                uniforms: bytemuck::cast_slice(std::slice::from_ref(uniforms)),
                groups: invocations.div_ceil(u64::from(plan.workgroup)),
            },
        );
    }

    /// The terms of one piece: to partial sums where there is `scratch`, else to results.
    fn sum_piece(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        sum: &Sum<'_>,
        plan: &SumPlan,
        index: usize,
        scratch: Option<&wgpu::Buffer>,
    ) {
        let piece = &plan.pieces[index];
        let traits = &self.inner.traits;
        let [_, r1, k2, r2, k3, r3] = piece.groups.map(|n| n as u32);
        let rows = piece.rows();
        // An empty piece reads nothing, but a binding cannot be empty.
        let elements = piece.elements().max(1);
        let (x, x_first) = sum.x.window(piece.start, elements, traits);
        let dy = sum.dy.map(|dy| dy.window(piece.start, elements, traits));
        let uniforms = SumUniforms {
            len: piece.len() as u32,
            r1,
            k2,
            r2,
            k3,
            r3,
            rows: rows as u32,
            lanes: plan.lanes as u32,
            segment: plan.segment as u32,
            columns: u32::from(r3 == 1 && (k3 > 1 || r2 == 1 && k2 > 1)),
            x_first,
            dy_first: dy.as_ref().map_or(0, |dy| dy.1),
            to_first: (piece.row_first * plan.slots() + piece.index * plan.lanes) as u32,
            to_slots: plan.slots() as u32,
            parameters: sum.parameters,
            divisor: sum.divisor,
            ..SumUniforms::default()
        };
        let mut bindings = Bindings::from([(Slot::X, x)]);
        bindings.extend(dy.map(|dy| (Slot::Dy, dy.0)));
        let (entry_point, uniforms) = match scratch {
            Some(scratch) => {
                bindings.push((Slot::Partials, scratch.as_entire_buffer_binding()));
                ("sum_lanes", uniforms)
            }
            None => {
                let width = if sum.divisor == 0.0 { 2 } else { 1 };
                let start = width * piece.row_first;
                let (out, out_first) = sum.out.window(start, width * rows, traits);
                bindings.push((Slot::Out, out));
                let uniforms = SumUniforms {
                    out_first,
                    ..uniforms
                };
                ("sum_rows", uniforms)
            }
        };
        let invocations = rows * plan.lanes;
        self.sum_work(
            pass,
            sum.term,
            plan,
            entry_point,
            &bindings,
            &uniforms,
            invocations,
        );
    }
}
