//! The softmax family along an axis, on ranges of the caller's buffers: one dispatch, or the three
//! of a split, for each chunk of a plan.

use super::{
    Bindings, Kernels, ModuleKey, Operand, Slot, Slots, Work, elementwise_slots, holds, separate,
};
use crate::axis::AxisFunction;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::plan::{self, AxisChunk, AxisPlan, PARTIAL_BYTES, Strategy, Traits};
use crate::self_check::{Question, Way};
use crate::shader::{HELD, HELD_LENGTH, IN_EIGHTS, Pass, Unit};
use crate::shape::AxisShape;

/// The bindings of a softmax entry point.
pub(crate) fn axis_slots(function: AxisFunction, pass: Pass, entry_point: &str) -> Slots {
    let mut slots = elementwise_slots(pass);
    let reduced = function.reduces() && !pass.is_backward();
    match entry_point {
        "split_combine" => {
            slots = if reduced {
                [Slot::Out].into()
            } else {
                Slots::default()
            };
            slots.extend([Slot::Uniforms, Slot::Partials]);
        }
        "split_partial" => {
            // The first pass writes partial results alone, but reads in place from `out`; the
            // gradient of logsumexp is not needed yet.
            let uses_out = pass == Pass::ForwardInPlace
                || (pass == Pass::BackwardInPlace && !function.reduces());
            let is_used = |slot: &&Slot| match slot {
                Slot::Out => uses_out,
                Slot::Dy => !function.reduces(),
                _ => true,
            };
            slots = slots.iter().filter(is_used).copied().collect();
            slots.push(Slot::Partials);
        }
        "split_finish" => slots.push(Slot::Partials),
        _ => {}
    }
    slots
}

/// `Uniforms` of rows.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct AxisUniforms {
    pub len: u32,
    pub inner: u32,
    pub rows: u32,
    pub x_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub lanes: u32,
    pub partials: u32,
    pub partial_first: u32,
    pub row_first: u32,
    pub segment: u32,
    pub sign: f32,
    pub zero: u32,
    pub row_offset: u32,
    pub step_offset: u32,
    pub number: f32,
}

impl Kernels {
    /// Records y = `function` of every row of x, which is seen as `shape`.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::AxisStepTooLarge`].
    pub(crate) fn apply_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&x, shape.elements())?;
        holds(&y, shape.output_elements(function))?;
        separate(&x, &y)?;
        self.axis(pass, function, shape, Pass::Forward, Some(x), None, y)
    }

    /// Records x = `function` of every row of x; not for a function that reduces.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`]; [`Error::LengthMismatch`] where the function reduces.
    pub(crate) fn apply_axis_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let x = self.operand(x, "input")?;
        holds(&x, shape.elements())?;
        in_place_length(function, shape)?;
        self.axis(pass, function, shape, Pass::ForwardInPlace, None, None, x)
    }

    /// Records dx = the gradient of `function` by x, from the input x; dy has the shape of the
    /// function's output.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`].
    pub(crate) fn grad_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.output_elements(function))?;
        holds(&dx, shape.elements())?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        self.axis(pass, function, shape, Pass::Backward, Some(x), Some(dy), dx)
    }

    /// Records dx = the gradient of softmax or softmin by its input, from its output y.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`]; [`Error::NotFromOutput`] for the logarithmic functions, whose
    /// rounded output does not hold the softmax to full accuracy.
    pub(crate) fn grad_axis_from_output(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        y: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        from_output(function)?;
        shape.check()?;
        let y = self.operand(y, "output")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        for operand in [&y, &dy, &dx] {
            holds(operand, shape.elements())?;
        }
        separate(&y, &dx)?;
        separate(&dy, &dx)?;
        self.axis(
            pass,
            function,
            shape,
            Pass::FromOutput,
            Some(y),
            Some(dy),
            dx,
        )
    }

    /// Records dy = the gradient of `function` by x; not for a function that reduces.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis_in_place`].
    pub(crate) fn grad_axis_in_place(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.elements())?;
        in_place_length(function, shape)?;
        separate(&x, &dy)?;
        self.axis(
            pass,
            function,
            shape,
            Pass::BackwardInPlace,
            Some(x),
            None,
            dy,
        )
    }

    /// The strategy that is planned for `shape`, in words: for benchmarks and bug reports.
    pub fn describe_axis(&self, shape: &AxisShape) -> String {
        if let Err(error) = self.usable().and_then(|()| shape.check()) {
            return error.to_string();
        }
        // Only of arrays that there can be are the parts not too many to plan.
        let largest = self.inner.device.limits().max_buffer_size;
        if shape.elements().max(shape.rows()) as u64 > largest / 4 {
            return format!("no buffer holds it: the device's max_buffer_size is {largest}");
        }
        match plan::axis(shape, &self.traits()) {
            Some(plan) => format!(
                "{:?}, workgroups of {}, {} chunks",
                plan.strategy,
                plan.workgroup,
                plan.chunks.len()
            ),
            None => "host tiles".to_owned(),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place behind six public calls"
    )]
    fn axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        kind: Pass,
        x: Option<Operand<'_>>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) -> Result<()> {
        if shape.elements() == 0 && !(function.reduces() && !kind.is_backward() && shape.rows() > 0)
        {
            return Ok(());
        }
        let plan = plan::axis(shape, &self.traits()).ok_or(Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: self.inner.traits.max_binding,
        })?;
        let way = way(shape, &plan);
        let unit = unit_of(shape, &plan, &self.inner.traits);
        let question = Question::Axis(function, kind.into(), way);
        self.consult(pass, question, |kernels, pass| {
            kernels.ask_axis(pass, function, kind, way, (&plan, unit))
        })?;
        let operands = [x, dy, Some(out)];
        self.record_axis(pass, function, shape, kind, (&plan, unit), operands);
        Ok(())
    }

    /// Records a plan's dispatches on x, dy and the result, of which units are read.
    pub(super) fn record_axis(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: AxisFunction,
        shape: &AxisShape,
        kind: Pass,
        (plan, unit): (&AxisPlan, Unit),
        [x, dy, out]: [Option<Operand<'_>>; 3],
    ) {
        let Some(out) = out else { return };
        let kernel = kernel_of(function);
        let recorder = RowsRecorder {
            kernels: self,
            module: ModuleKey::Axis(kernel, kind, unit),
            eights: unit_in_eights(function, shape, plan, &self.inner.traits)
                .map(|unit| ModuleKey::Axis(kernel, kind, unit)),
            sign: sign_of(function),
            number: 0.0,
            shape,
            first_row: 0,
            plan,
            slots: &|entry_point| axis_slots(function, kind, entry_point),
            one_row: one_row(function, kind, shape),
            per_row: PerRow::of(function, kind),
            refinements: 0,
            x,
            dy,
            out,
            beside: None,
        };
        recorder.record(pass);
    }
}

/// The widest unit that divides what a plan makes of a shape's rows.
pub(super) fn unit_of(shape: &AxisShape, plan: &AxisPlan, traits: &Traits) -> Unit {
    // A binding of no elements has room for one.
    if shape.inner != 1 || shape.len == 0 {
        return Unit::One;
    }
    let len = shape.len as u64;
    let found = Unit::ALL.into_iter().find(|unit| {
        let width = unit.elements();
        let mut chunks = plan.chunks.iter();
        len.is_multiple_of(width)
            && chunks.all(|c| {
                c.steps.is_multiple_of(width)
                    && binds(c.first_outer * len + c.first_step, *unit, traits)
            })
    });
    found.unwrap_or(Unit::One)
}

/// Whether units begin at an element of an array.
fn binds(element: u64, unit: Unit, traits: &Traits) -> bool {
    // An array begins at a multiple of the alignment, as do its bindings.
    element.is_multiple_of(unit.elements()) && traits.alignment.is_multiple_of(4 * unit.elements())
}

/// The unit of rows that lie in eights, which may be longer than a row; `None` of other rows.
fn unit_in_eights(
    function: AxisFunction,
    shape: &AxisShape,
    plan: &AxisPlan,
    traits: &Traits,
) -> Option<Unit> {
    let fits = shape.inner == 1
        && matches!(shape.len, 2 | 4 | 8)
        && !function.reduces()
        && plan.strategy == Strategy::RowPerInvocation;
    let len = shape.len as u64;
    let whole = |unit: &Unit| {
        let mut chunks = plan.chunks.iter();
        chunks.all(|c| binds(c.first_outer * len, *unit, traits))
    };
    fits.then(|| Unit::ALL.into_iter().find(whole)).flatten()
}

/// The way through its rows that a plan takes.
pub(super) fn way(shape: &AxisShape, plan: &AxisPlan) -> Way {
    match plan.strategy {
        // What an invocation holds, see softmax.wgsl.
        Strategy::RowPerInvocation if shape.len <= 16 => Way::Short,
        Strategy::RowPerInvocation => Way::Invocation,
        Strategy::RowPerWorkgroup => Way::Workgroup,
        Strategy::Split { .. } => Way::Split,
    }
}

/// Which arrays of an operation over rows have one value for each row.
#[derive(Clone, Copy)]
pub(super) struct PerRow {
    pub dy: bool,
    /// There are no results then beside those of the reduction.
    pub out: bool,
}

impl PerRow {
    pub(super) fn of(function: AxisFunction, kind: Pass) -> Self {
        Self {
            dy: function.reduces() && kind.is_backward(),
            out: function.reduces() && !kind.is_backward(),
        }
    }
}

/// What an operation over rows binds beside its arrays and partial results.
#[derive(Default)]
pub(super) struct Beside<'a> {
    pub bindings: Bindings<'a>,
    /// The words of a uniform struct of the kind's own.
    pub constants: Option<(Slot, Few<u32, 96>)>,
}

/// What an entry point binds beside, for a part of the array.
pub(super) type BesideOf<'a> = &'a dyn Fn(&str, &AxisChunk) -> Beside<'a>;

/// One operation over rows while it is recorded.
pub(super) struct RowsRecorder<'a> {
    pub kernels: &'a Kernels,
    pub module: ModuleKey,
    /// The module of rows that are taken in eights, where these are.
    pub eights: Option<ModuleKey>,
    /// -1 where the function is of -x.
    pub sign: f32,
    /// A parameter of the kind's own.
    pub number: f32,
    pub shape: &'a AxisShape,
    /// The first row's number in the whole array, of which this may be a part.
    pub first_row: u64,
    pub plan: &'a AxisPlan,
    /// The bindings of an entry point, with those beside the arrays.
    pub slots: &'a dyn Fn(&str) -> Slots,
    /// The entry point in which an invocation has a row.
    pub one_row: &'static str,
    pub per_row: PerRow,
    /// Passes over the rows behind the first, for the kinds that refine what they know of a row.
    pub refinements: u32,
    pub x: Option<Operand<'a>>,
    pub dy: Option<Operand<'a>>,
    pub out: Operand<'a>,
    /// What an entry point binds beside, for a part of the array.
    pub beside: Option<BesideOf<'a>>,
}

impl RowsRecorder<'_> {
    /// An error where an entry point needs more storage buffers than the device binds.
    pub(super) fn check_bindings(&self) -> Result<()> {
        let entry_points: &[&str] = match self.plan.strategy {
            Strategy::Split { .. } => &["split_partial", "split_combine", "split_finish"],
            Strategy::RowPerInvocation => &[self.one_row],
            Strategy::RowPerWorkgroup => &["row_per_workgroup"],
        };
        entry_points.iter().try_for_each(|entry_point| {
            let slots = (self.slots)(entry_point);
            self.kernels
                .binds(slots.iter().filter(|slot| slot.is_storage()).count())
        })
    }

    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        match self.plan.strategy {
            Strategy::RowPerInvocation => self.rows(pass, self.one_row, 1),
            Strategy::RowPerWorkgroup => {
                let entry_point = if self.refinements == 0 {
                    "row_per_workgroup"
                } else {
                    "solve_per_workgroup"
                };
                self.rows(pass, entry_point, u64::from(self.plan.workgroup));
            }
            Strategy::Split { lanes, segment } => {
                // Rows that are cut share one set of partial results, a block of rows at a time.
                if self.plan.chunks_per_row > 1 {
                    for block in self.plan.chunks.chunks(self.plan.chunks_per_row as usize) {
                        self.split(pass, block, (lanes, segment), block[0].first_outer, 1);
                    }
                } else {
                    let outer = self.shape.outer as u64;
                    self.split(pass, &self.plan.chunks, (lanes, segment), 0, outer);
                }
            }
        }
    }

    fn rows(&self, pass: &mut wgpu::ComputePass<'_>, entry_point: &'static str, per_row: u64) {
        let workgroup = u64::from(self.plan.workgroup);
        for chunk in &self.plan.chunks {
            let mut chunk = *chunk;
            if let Some(eights) = self.eights {
                let rest = chunk.outer % (8 / self.shape.len as u64);
                let whole = AxisChunk {
                    outer: chunk.outer - rest,
                    ..chunk
                };
                if whole.outer > 0 {
                    let groups = (whole.outer * chunk.steps / 8).div_ceil(workgroup);
                    let uniforms = AxisUniforms::default();
                    self.dispatch_of(eights, pass, IN_EIGHTS, &whole, uniforms, None, groups);
                }
                chunk.first_outer += whole.outer;
                chunk.outer = rest;
            }
            let rows = chunk.outer * self.shape.inner as u64;
            if rows > 0 {
                let groups = (rows * per_row).div_ceil(workgroup);
                let uniforms = AxisUniforms::default();
                self.dispatch(pass, entry_point, &chunk, uniforms, None, groups);
            }
        }
    }

    /// Partial results of all chunks, their combination, and the results of all chunks; the
    /// rows are those of `outer` blocks from `first_outer` on.
    fn split(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chunks: &[AxisChunk],
        (lanes, segment): (u32, u32),
        first_outer: u64,
        outer: u64,
    ) {
        let lanes = u64::from(lanes);
        let inner = self.shape.inner as u64;
        let rows = outer * inner;
        let partials = lanes * self.plan.chunks_per_row;
        let scratch = self.kernels.scratch(rows * (partials + 1) * PARTIAL_BYTES);
        let workgroup = u64::from(self.plan.workgroup);
        // The plan bounds rows and partial results by what a binding holds.
        let of = |i: usize, chunk: &AxisChunk| AxisUniforms {
            lanes: lanes as u32,
            partials: partials as u32,
            partial_first: (i as u64 % self.plan.chunks_per_row * lanes) as u32,
            row_first: ((chunk.first_outer - first_outer) * inner) as u32,
            segment,
            ..AxisUniforms::default()
        };
        let per_lane = |chunk: &AxisChunk| (chunk.outer * inner * lanes).div_ceil(workgroup);
        let all = AxisChunk {
            first_outer,
            outer,
            first_step: 0,
            steps: self.shape.len as u64,
        };
        for pass_over_rows in 0..=self.refinements {
            let [partial, combine] = if pass_over_rows == 0 {
                ["split_partial", "split_combine"]
            } else {
                ["refine_partial", "refine_combine"]
            };
            for (i, chunk) in chunks.iter().enumerate() {
                let (groups, uniforms) = (per_lane(chunk), of(i, chunk));
                self.dispatch(pass, partial, chunk, uniforms, Some(&scratch), groups);
            }
            self.dispatch(pass, combine, &all, of(0, &all), Some(&scratch), rows);
        }
        if self.per_row.out {
            return;
        }
        for (i, chunk) in chunks.iter().enumerate() {
            let groups = per_lane(chunk);
            self.dispatch(
                pass,
                "split_finish",
                chunk,
                of(i, chunk),
                Some(&scratch),
                groups,
            );
        }
    }

    fn dispatch(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        entry_point: &'static str,
        chunk: &AxisChunk,
        uniforms: AxisUniforms,
        scratch: Option<&wgpu::Buffer>,
        groups: u64,
    ) {
        self.dispatch_of(
            self.module,
            pass,
            entry_point,
            chunk,
            uniforms,
            scratch,
            groups,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "a dispatch's own")]
    fn dispatch_of(
        &self,
        module: ModuleKey,
        pass: &mut wgpu::ComputePass<'_>,
        entry_point: &'static str,
        chunk: &AxisChunk,
        mut uniforms: AxisUniforms,
        scratch: Option<&wgpu::Buffer>,
        groups: u64,
    ) {
        let traits = &self.kernels.inner.traits;
        let (len, inner) = (self.shape.len as u64, self.shape.inner as u64);
        let elements = chunk.outer * chunk.steps * inner;
        let start = (chunk.first_outer * len + chunk.first_step) * inner;
        let (row_start, rows) = (chunk.first_outer * inner, chunk.outer * inner);
        // The combination reads no element, and writes one value a row where that is the result.
        let range_of = |per_row: bool| {
            if per_row {
                (row_start, rows)
            } else {
                (start, elements)
            }
        };
        let slots = (self.slots)(entry_point);
        let [(x, x_first), (dy, dy_first), (out, out_first)] = [
            // Rows of no elements read none, but a binding cannot be empty.
            (Slot::X, self.x, (start, elements.max(1))),
            (Slot::Dy, self.dy, range_of(self.per_row.dy)),
            (Slot::Out, Some(self.out), range_of(self.per_row.out)),
        ]
        .map(|(slot, operand, (start, len))| {
            let bound = operand.filter(|_| slots.contains(&slot));
            bound.map(|o| o.window(start, len, traits)).unzip()
        });
        // In place, what is read lies where the result goes.
        let out_first = out_first.unwrap_or(0);
        uniforms.len = chunk.steps as u32;
        uniforms.inner = inner as u32;
        uniforms.rows = rows as u32;
        uniforms.x_first = x_first.unwrap_or(out_first);
        uniforms.dy_first = dy_first.unwrap_or(out_first);
        uniforms.out_first = out_first;
        uniforms.row_offset = (self.first_row + row_start) as u32;
        uniforms.step_offset = chunk.first_step as u32;
        uniforms.sign = self.sign;
        uniforms.number = self.number;
        let arrays = [(Slot::X, x), (Slot::Dy, dy), (Slot::Out, out)];
        let scratch = scratch.map(wgpu::Buffer::as_entire_buffer_binding);
        let beside = self.beside.map(|beside| beside(entry_point, chunk));
        let beside = beside.unwrap_or_default();
        let constants = beside
            .constants
            .map(|(slot, words)| (slot, self.kernels.uniforms(&words)));
        let constants = constants
            .as_ref()
            .map(|(slot, buffer)| (*slot, buffer.as_entire_buffer_binding()));
        let bindings: Bindings<'_> = arrays
            .into_iter()
            .chain([(Slot::Partials, scratch)])
            .filter_map(|(slot, binding)| Some((slot, binding?)))
            .chain(beside.bindings.iter().cloned())
            .chain(constants)
            .collect();
        self.kernels.dispatch(
            pass,
            &Work {
                module,
                entry_point,
                workgroup: if entry_point.ends_with("_combine") {
                    self.plan.merging
                } else {
                    self.plan.workgroup
                },
                bindings: &bindings,
                uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                groups,
            },
        );
    }
}

/// The entry point in which an invocation has a row: it holds a short one.
pub(super) fn one_row(function: AxisFunction, kind: Pass, shape: &AxisShape) -> &'static str {
    if shape.len <= HELD_LENGTH && !function.reduces() && !kind.is_backward() {
        HELD
    } else {
        "row_per_invocation"
    }
}

/// -1 where the function is of -x.
pub(super) fn sign_of(function: AxisFunction) -> f32 {
    if function == AxisFunction::Softmin {
        -1.0
    } else {
        1.0
    }
}

/// Softmin is softmax's kernel with a sign.
pub(super) fn kernel_of(function: AxisFunction) -> AxisFunction {
    match function {
        AxisFunction::Softmin => AxisFunction::Softmax,
        other => other,
    }
}

/// An error where `function`'s gradient is not exact from its output.
pub(crate) fn from_output(function: AxisFunction) -> Result<()> {
    match function {
        AxisFunction::Softmax | AxisFunction::Softmin => Ok(()),
        AxisFunction::LogSoftmax | AxisFunction::LogSumExp => Err(Error::NotFromOutput {
            function: function.name(),
        }),
    }
}

fn in_place_length(function: AxisFunction, shape: &AxisShape) -> Result<()> {
    if function.reduces() {
        return Err(Error::LengthMismatch {
            what: "the in-place output",
            expected: shape.output_elements(function),
            got: shape.elements(),
        });
    }
    Ok(())
}
