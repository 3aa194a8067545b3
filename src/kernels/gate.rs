//! Gated linear units: value · f(gate) and its gradients, of one array that holds both or of two.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Work, holds, separate};
use crate::error::Result;
use crate::gate::{Clamp, Gate, GateShape, Order};
use crate::plan;
use crate::shader::{Access, Lanes, Pass, Width};

/// `Uniforms` of gate.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct GateUniforms {
    pub count: u32,
    pub half: u32,
    pub x_first: u32,
    pub gate_first: u32,
    pub dy_first: u32,
    pub out_first: u32,
    pub out_gate_first: u32,
    pub gate_leads: u32,
    pub parameters: [f32; 2],
    pub limit: f32,
    pub offset: f32,
    pub zero: u32,
    pub padding: [u32; 3],
}

/// The bindings of an entry point of gate.wgsl.
#[cfg(test)]
pub(crate) fn gate_slots(entry_point: &str) -> super::Slots {
    let mut slots = super::Slots::from([Slot::X, Slot::Out, Slot::Uniforms]);
    if entry_point.starts_with("backward") {
        slots.push(Slot::Dy);
    }
    if entry_point == "backward_apart" {
        slots.push(Slot::OutSecond);
    }
    let apart = [
        "forward_apart",
        "backward_apart",
        "backward_value",
        "backward_gate",
    ];
    if apart.contains(&entry_point) {
        slots.push(Slot::Second);
    }
    slots
}

/// Elements of an operand: how many lie before the first.
type From<'a> = (Operand<'a>, u64);

impl Kernels {
    /// Records y = value · f(gate) of the two that x holds; see [`GateShape`].
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub(crate) fn gate(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        shape: &GateShape,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&x, shape.elements())?;
        holds(&y, shape.pairs())?;
        separate(&x, &y)?;
        self.consult_gate(pass, function, false)?;
        self.gate_blocks(pass, function, shape, x, None, y);
        Ok(())
    }

    /// Records dx = the gradients by value and gate, in the layout of x.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub(crate) fn grad_gate(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        shape: &GateShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.pairs())?;
        holds(&dx, shape.elements())?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        self.consult_gate(pass, function, true)?;
        self.gate_blocks(pass, function, shape, x, Some(dy), dx);
        Ok(())
    }

    /// Records y = value · f(gate), of ranges of one length.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub(crate) fn gate_pair(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        value: wgpu::BufferSlice<'_>,
        gate: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let value = self.operand(value, "value")?;
        let gate = self.operand(gate, "gate")?;
        let y = self.operand(y, "output")?;
        for other in [&gate, &y] {
            self.same_size(&value, other)?;
        }
        for input in [&value, &gate] {
            separate(input, &y)?;
        }
        self.consult_gate(pass, function, false)?;
        for chunk in plan::chunks(y.elements(), &self.inner.traits) {
            let [value, gate, y] = [value, gate, y].map(|o| (o, chunk.start));
            self.gate_apart(
                pass,
                function,
                "forward_apart",
                [value, gate],
                None,
                &[y],
                chunk.len,
            );
        }
        Ok(())
    }

    /// Records the gradients by value and gate, of ranges of one length.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) fn grad_gate_pair(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        value: wgpu::BufferSlice<'_>,
        gate: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dvalue: wgpu::BufferSlice<'_>,
        dgate: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let value = self.operand(value, "value")?;
        let gate = self.operand(gate, "gate")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dvalue = self.operand(dvalue, "gradient by the value")?;
        let dgate = self.operand(dgate, "gradient by the gate")?;
        for other in [&gate, &dy, &dvalue, &dgate] {
            self.same_size(&value, other)?;
        }
        for output in [&dvalue, &dgate] {
            for input in [&value, &gate, &dy] {
                separate(input, output)?;
            }
        }
        separate(&dvalue, &dgate)?;
        self.binds(5)?;
        self.consult_gate(pass, function, true)?;
        for chunk in plan::chunks(value.elements(), &self.inner.traits) {
            let [value, gate, dy, dvalue, dgate] =
                [value, gate, dy, dvalue, dgate].map(|o| (o, chunk.start));
            self.gate_apart(
                pass,
                function,
                "backward_apart",
                [value, gate],
                Some(dy),
                &[dvalue, dgate],
                chunk.len,
            );
        }
        Ok(())
    }

    /// A gate is no better than its activation, of which the gradients need both directions.
    fn consult_gate(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        backward: bool,
    ) -> Result<()> {
        let activation = function.function().activation();
        // It asks the short pipeline, which is quick to compile.
        let access = Access::single(Width::Four);
        self.consult_activation(pass, activation, Pass::Forward, access)?;
        if backward {
            self.consult_activation(pass, activation, Pass::Backward, access)?;
        }
        Ok(())
    }

    /// Blocks that hold both, cut where a binding ends.
    fn gate_blocks(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        shape: &GateShape,
        x: Operand<'_>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) {
        let traits = &self.inner.traits;
        let (blocks, half) = (shape.blocks as u64, shape.half as u64);
        if blocks * half == 0 {
            return;
        }
        // Binding offsets are multiples of the alignment; a dispatch has a number of invocations.
        let bindable = (traits.max_binding / 4).saturating_sub(traits.alignment / 4);
        let dispatch = traits.most_groups() * u64::from(traits.elementwise_workgroup());
        let most = bindable.min(dispatch) / (2 * half);
        if most == 0 {
            for block in 0..blocks {
                self.gate_halves(pass, function, block, half, x, dy, out);
            }
            return;
        }
        // Chunks begin where fours do.
        let most = if most >= 4 { most / 4 * 4 } else { most };
        let mut first = 0;
        while first < blocks {
            let count = most.min(blocks - first);
            self.gate_chunk(pass, function, (first, count), half, x, dy, out);
            first += count;
        }
    }

    /// Whole blocks, in one dispatch and another for what fours leave over.
    #[expect(clippy::too_many_arguments, reason = "one place behind two calls")]
    fn gate_chunk(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        (first, blocks): (u64, u64),
        half: u64,
        x: Operand<'_>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) {
        let pairs = blocks * half;
        // As elements: which entry point, four or one a lane, and which pairs.
        let parts = if half == 1 {
            let whole = pairs / 4 * 4;
            [
                ("pairs", Lanes::Four, 0, whole),
                ("blocks", Lanes::One, whole, pairs - whole),
            ]
        } else {
            let lanes = if half.is_multiple_of(4) {
                Lanes::Four
            } else {
                Lanes::One
            };
            [("blocks", lanes, 0, pairs), ("blocks", lanes, pairs, 0)]
        };
        let start = first * half;
        for (form, lanes, skipped, count) in parts {
            if count == 0 {
                continue;
            }
            let traits = &self.inner.traits;
            let backward = dy.is_some();
            let entry_point = match (form, backward) {
                ("pairs", false) => "forward_pairs",
                ("pairs", true) => "backward_pairs",
                (_, false) => "forward_blocks",
                (_, true) => "backward_blocks",
            };
            let at = start + skipped;
            let (x, x_first) = x.window(2 * at, 2 * count, traits);
            let mut bindings = Bindings::from([(Slot::X, x)]);
            let mut dy_first = 0;
            if let Some(dy) = dy {
                let (dy, first) = dy.window(at, count, traits);
                bindings.push((Slot::Dy, dy));
                dy_first = first;
            }
            let width = 1 + u64::from(backward);
            let (out, out_first) = out.window(width * at, width * count, traits);
            bindings.push((Slot::Out, out));
            let uniforms = GateUniforms {
                half: half as u32,
                x_first,
                dy_first,
                out_first,
                ..Self::gate_numbers(function)
            };
            self.gate_dispatch(
                pass,
                function,
                entry_point,
                lanes,
                count,
                uniforms,
                &bindings,
            );
        }
    }

    /// One block that no binding holds: its halves are bound apart, a part at a time.
    #[expect(clippy::too_many_arguments, reason = "one place behind two calls")]
    fn gate_halves(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        block: u64,
        half: u64,
        x: Operand<'_>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) {
        let ends = [2 * block * half, (2 * block + 1) * half];
        let [value, gate] = match function.order() {
            Order::ValueFirst => ends,
            Order::GateFirst => [ends[1], ends[0]],
        };
        let step = plan::chunks(u64::MAX, &self.inner.traits)
            .next()
            .map_or(1, |c| c.len);
        // A binding may begin up to an alignment before what is needed.
        let step = (step / 2).max(4);
        let mut done = 0;
        while done < half {
            let count = step.min(half - done);
            let inputs = [(x, value + done), (x, gate + done)];
            let at = block * half + done;
            match dy {
                None => {
                    let y = [(out, at)];
                    self.gate_apart(pass, function, "forward_apart", inputs, None, &y, count);
                }
                Some(dy) => {
                    let dy = Some((dy, at));
                    let [by_value, by_gate] = [[(out, value + done)], [(out, gate + done)]];
                    self.gate_apart(
                        pass,
                        function,
                        "backward_value",
                        inputs,
                        dy,
                        &by_value,
                        count,
                    );
                    self.gate_apart(pass, function, "backward_gate", inputs, dy, &by_gate, count);
                }
            }
            done += count;
        }
    }

    /// Value and gate from ranges of their own, which are bindings.
    #[expect(clippy::too_many_arguments, reason = "one place behind four calls")]
    fn gate_apart(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        entry_point: &'static str,
        [value, gate]: [From<'_>; 2],
        dy: Option<From<'_>>,
        out: &[From<'_>],
        len: u64,
    ) {
        let traits = &self.inner.traits;
        let ranges = [
            Some(value),
            Some(gate),
            dy,
            out.first().copied(),
            out.get(1).copied(),
        ];
        let slots = [Slot::X, Slot::Second, Slot::Dy, Slot::Out, Slot::OutSecond];
        let firsts = ranges.map(|range| {
            let (operand, start) = range?;
            Some(operand.window(start, len, traits).1)
        });
        let fours = firsts.iter().flatten().all(|first| first % 4 == 0);
        let whole = if fours { len / 4 * 4 } else { 0 };
        for (lanes, skipped, count) in [(Lanes::Four, 0, whole), (Lanes::One, whole, len - whole)] {
            if count == 0 {
                continue;
            }
            let windows = ranges.map(|range| {
                let (operand, start) = range?;
                Some(operand.window(start + skipped, count, traits))
            });
            let first = |i: usize| windows[i].as_ref().map_or(0, |(_, first)| *first);
            let uniforms = GateUniforms {
                x_first: first(0),
                gate_first: first(1),
                dy_first: first(2),
                out_first: first(3),
                out_gate_first: first(4),
                ..Self::gate_numbers(function)
            };
            let bindings: Bindings<'_> = slots
                .into_iter()
                .zip(windows)
                .filter_map(|(slot, window)| Some((slot, window?.0)))
                .collect();
            self.gate_dispatch(
                pass,
                function,
                entry_point,
                lanes,
                count,
                uniforms,
                &bindings,
            );
        }
    }

    fn gate_numbers(function: &Gate) -> GateUniforms {
        let Clamp { limit, offset } = function.clamp().unwrap_or(Clamp {
            limit: 0.0,
            offset: 0.0,
        });
        GateUniforms {
            gate_leads: u32::from(function.order() == Order::GateFirst),
            parameters: function.function().packed(),
            limit,
            offset,
            ..GateUniforms::default()
        }
    }

    /// One dispatch over `count` elements of the result; the uniforms are in elements.
    #[expect(clippy::too_many_arguments, reason = "one dispatch's own")]
    fn gate_dispatch(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: &Gate,
        entry_point: &'static str,
        lanes: Lanes,
        count: u64,
        elements: GateUniforms,
        bindings: &[(Slot, wgpu::BufferBinding<'_>)],
    ) {
        let width = lanes.count() as u32;
        // A chunk is a binding, whose elements a u32 counts.
        let uniforms = GateUniforms {
            count: (count / lanes.count()) as u32,
            half: elements.half / width,
            x_first: elements.x_first / width,
            gate_first: elements.gate_first / width,
            dy_first: elements.dy_first / width,
            out_first: elements.out_first / width,
            out_gate_first: elements.out_gate_first / width,
            ..elements
        };
        let workgroup = self.inner.traits.elementwise_workgroup();
        self.dispatch(
            pass,
            &Work {
                module: ModuleKey::Gate {
                    activation: function.function().activation(),
                    clamped: function.clamp().is_some(),
                    lanes,
                },
                entry_point,
                workgroup,
                bindings,
                uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                groups: u64::from(uniforms.count).div_ceil(workgroup.into()),
            },
        );
    }
}
