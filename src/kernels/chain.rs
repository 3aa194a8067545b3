//! Fused chains on ranges of the caller's buffers: one kernel over chunks, and for the gradients
//! by operands that are broadcast a sum over its terms.

use super::axis::{
    Beside, PerRow, RowsRecorder, axis_slots, from_output, kernel_of, one_row, sign_of, unit_of,
    way,
};
use super::sum::Sum;
use super::{
    AnyChain, Bindings, Kernels, ModuleKey, Operand, Slot, TypedSlice, Work, holds, lock, separate,
};
use crate::chain::{Around, Chain, MOST_STEPS, Place, Resolved, Step, rest, threshold};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::plan::{self, AxisChunk, Traits};
use crate::random::halves;
use crate::self_check::Question;
use crate::shader::{
    Access, CHAIN_ENTRY_POINT, ChainModule, Link, Pass, Reach, RowChainModule, Term, Unit, Width,
};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// The words of `Uniforms` of chain.wgsl before the values.
const HEADER: usize = 8;
/// Storage buffers that a chain's kernel binds beside operands and their gradients.
const OWN_BUFFERS: usize = 3;

/// Ranges of buffers that a chain reads beside its input, each with its shape; and for gradients,
/// where each operand's goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChainRanges<'a> {
    /// The operands in the order of the steps, of any types of numbers.
    pub operands: &'a [(TypedSlice<'a>, &'a [usize])],
    /// The gradients by the operands, where they are wanted, of f32; empty where none is.
    pub gradients: &'a [Option<wgpu::BufferSlice<'a>>],
}

/// A chain over a part of an array, on buffers that hold just that.
pub(crate) struct ChainJob<'a> {
    pub chain: &'a Chain,
    pub resolved: &'a Resolved,
    /// The part's elements.
    pub elements: Range<usize>,
    pub x: TypedSlice<'a>,
    /// Each operand's part, as [`Place::span`] has it; all that are whole, the part's elements.
    pub operands: Few<TypedSlice<'a>, 4>,
    pub dy: Option<TypedSlice<'a>>,
    pub out: TypedSlice<'a>,
    /// The terms of the gradients by the operands: an element for each of the part's.
    pub terms: Few<Option<wgpu::BufferSlice<'a>>, 4>,
}

impl Kernels {
    /// Records y = chain(x) in one dispatch; x of that shape.
    ///
    /// # Errors
    /// As [`Kernels::apply`]; [`Error::ChainStep`], [`Error::ChainOperands`],
    /// [`Error::NotBroadcastable`], [`Error::ShapeMismatch`], [`Error::TooManyBuffers`];
    /// [`Error::ChainTooLong`] from 33 steps on; [`Error::OutOfMemory`] where what a part of x needs of an operand is more than a binding
    /// holds.
    pub fn chain<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chain: &Chain,
        shape: &[usize],
        x: impl Into<TypedSlice<'a>>,
        ranges: ChainRanges<'_>,
        y: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        self.whole_chain(pass, chain, shape, (x.into(), None, y.into()), ranges)
    }

    /// Records dx = the gradient by x, from the input, and those by the operands that have a range.
    /// What the steps make is computed again in registers; nothing of the forward pass is needed.
    ///
    /// # Errors
    /// As [`Kernels::chain`].
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub fn grad_chain<'a>(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chain: &Chain,
        shape: &[usize],
        x: impl Into<TypedSlice<'a>>,
        ranges: ChainRanges<'_>,
        dy: impl Into<TypedSlice<'a>>,
        dx: impl Into<TypedSlice<'a>>,
    ) -> Result<()> {
        let arrays = (x.into(), Some(dy.into()), dx.into());
        self.whole_chain(pass, chain, shape, arrays, ranges)
    }

    fn whole_chain(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chain: &Chain,
        shape: &[usize],
        (x, dy, out): (TypedSlice<'_>, Option<TypedSlice<'_>>, TypedSlice<'_>),
        ranges: ChainRanges<'_>,
    ) -> Result<()> {
        let shapes: Few<&[usize], 4> = ranges.operands.iter().map(|(_, shape)| *shape).collect();
        let resolved = chain.resolve(shape, &shapes)?;
        let steps = chain.steps().len();
        if steps > MOST_STEPS {
            let most = MOST_STEPS;
            return Err(Error::ChainTooLong { steps, most });
        }
        if let (Some(around), Some(dy)) = (resolved.around, dy) {
            return self.grad_around(
                pass,
                chain,
                shape,
                (&resolved, around),
                [x, dy, out],
                ranges,
            );
        }
        let wanted = ranges.gradients.len();
        if wanted > 0 && wanted != resolved.places.len() {
            return Err(Error::LengthMismatch {
                what: "the list of gradients by operands",
                expected: resolved.places.len(),
                got: wanted,
            });
        }
        let gradients: Few<_, 4> = (0..resolved.places.len())
            .map(|j| ranges.gradients.get(j).copied().flatten())
            .collect();
        // Of what is broadcast, terms first and then their sums.
        let summed = |j: usize| gradients[j].is_some() && !resolved.places[j].is_whole();
        let places = 0..resolved.places.len();
        let count = places.clone().filter(|&j| summed(j)).count();
        let bytes = (resolved.elements as u64 * 4).next_multiple_of(self.inner.traits.alignment);
        let buffer =
            (count > 0 && bytes > 0).then(|| self.kept(&self.inner.terms, bytes * count as u64));
        let mut terms = gradients.clone();
        let mut used = 0;
        for j in places.filter(|&j| summed(j)) {
            terms[j] = buffer.as_ref().map(|buffer| {
                let slice = buffer.slice(used..used + resolved.elements as u64 * 4);
                used += bytes;
                slice
            });
        }
        for (j, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let gradient = self.operand(*gradient, "gradient by an operand")?;
            holds(&gradient, resolved.places[j].elements())?;
            let inputs = [Some(x), dy, Some(out)].into_iter().flatten();
            for other in inputs.chain(ranges.operands.iter().map(|(slice, _)| *slice)) {
                separate(&self.operand(other, "chain's")?, &gradient)?;
            }
        }
        let job = ChainJob {
            chain,
            resolved: &resolved,
            elements: 0..resolved.elements,
            x,
            operands: ranges.operands.iter().map(|(slice, _)| *slice).collect(),
            dy,
            out,
            terms: terms.clone(),
        };
        self.chain_part(pass, &job)?;
        for (j, place) in resolved.places.iter().enumerate() {
            let (true, Some(terms), Some(gradient)) = (summed(j), terms[j], gradients[j]) else {
                continue;
            };
            let sum = Sum {
                term: Term::Array,
                parameters: [0.0; 2],
                divisor: 1.0,
                shape: &place.sums,
                x: self.operand(terms, "terms")?,
                dy: None,
                out: self.operand(gradient, "gradient by an operand")?,
            };
            self.sum_of(pass, &sum)?;
        }
        Ok(())
    }

    /// The gradients of a chain around a function of rows: its output again, then one part after the
    /// other from the end, through memory.
    fn grad_around(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        chain: &Chain,
        shape: &[usize],
        (resolved, around): (&Resolved, Around),
        [x, dy, dx]: [TypedSlice<'_>; 3],
        ranges: ChainRanges<'_>,
    ) -> Result<()> {
        if resolved.elements == 0 {
            return Ok(());
        }
        let [before, after] = chain.around(around.step);
        let bytes = resolved.elements as u64 * 4;
        let step = bytes.next_multiple_of(self.inner.traits.alignment);
        let buffer = self.kept(&self.inner.middle, 3 * step);
        let [given, made, by_made] = [0, 1, 2].map(|i| buffer.slice(i * step..i * step + bytes));
        let cut = around.operands;
        let operands = ranges.operands.split_at(cut);
        let gradients = ranges.gradients.split_at(cut.min(ranges.gradients.len()));
        let [of_before, of_after] =
            [(operands.0, gradients.0), (operands.1, gradients.1)].map(|(operands, gradients)| {
                ChainRanges {
                    operands,
                    gradients,
                }
            });
        let forward = ChainRanges {
            gradients: &[],
            ..of_before
        };
        // Before anything is recorded.
        for part in [&of_before, &of_after] {
            let gradients = part.gradients.iter().flatten();
            self.binds(OWN_BUFFERS + part.operands.len() + gradients.count())?;
        }
        let (function, rows) = (around.function, &around.shape);
        self.chain(pass, &before, shape, x, forward, given)?;
        self.apply_axis(pass, function, rows, given, made)?;
        self.grad_chain(pass, &after, shape, made, of_after, dy, by_made)?;
        // From the output where that is exact; a place that is no longer needed takes the result.
        let by_given = if from_output(function).is_ok() {
            self.grad_axis_from_output(pass, function, rows, made, by_made, given)?;
            given
        } else {
            self.grad_axis(pass, function, rows, given, by_made, made)?;
            made
        };
        self.grad_chain(pass, &before, shape, x, of_before, by_given, dx)
    }

    /// Records a chain over a part of an array.
    pub(crate) fn chain_part(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        job: &ChainJob<'_>,
    ) -> Result<()> {
        let traits = &self.inner.traits;
        let part = job.elements.len();
        let x = self.operand(job.x, "input")?;
        let out_name = if job.dy.is_some() {
            "gradient"
        } else {
            "output"
        };
        let out = self.operand(job.out, out_name)?;
        let dy = job.dy.map(|dy| self.operand(dy, "upstream gradient"));
        let dy = dy.transpose()?;
        for operand in [Some(&x), Some(&out), dy.as_ref()].into_iter().flatten() {
            holds(operand, part)?;
        }
        let mut inputs = Few::<Operand<'_>, 8>::from([x]);
        inputs.extend(dy);
        let mut operands = Few::default();
        for (place, slice) in job.resolved.places.iter().zip(&job.operands) {
            let operand = self.operand(*slice, place.what)?;
            let (span, _) = place.span(job.elements.start, part);
            holds(&operand, if place.is_whole() { part } else { span.len() })?;
            inputs.push(operand);
            operands.push(operand);
        }
        let mut terms = Few::default();
        for slice in &job.terms {
            let term = slice.map(|slice| self.operand(slice, "gradient by an operand"));
            let term = term.transpose()?;
            if let Some(term) = &term {
                holds(term, part)?;
            }
            terms.push(term);
        }
        let written: Few<Operand<'_>, 8> = terms.iter().flatten().copied().chain([out]).collect();
        for (i, written_one) in written.iter().enumerate() {
            for other in inputs.iter().chain(&written[..i]) {
                separate(other, written_one)?;
            }
        }
        let beside = operands.len() + terms.iter().flatten().count();
        self.binds(OWN_BUFFERS - usize::from(dy.is_none()) + beside)?;
        if part == 0 {
            return Ok(());
        }
        let kind = if dy.is_some() {
            Pass::Backward
        } else {
            Pass::Forward
        };
        let dtypes: Few<DType, 16> = inputs.iter().chain(&written).map(|o| o.dtype).collect();
        // Long code gains nothing from several units an invocation.
        let access = Access::single(traits.access(part as u64, &dtypes).width);
        // What is left over goes by the smallest unit: an element, or what shares a word.
        let rest = match dtypes.iter().all(|&dtype| dtype == DType::F32) {
            true => Width::One,
            false => Width::Two,
        };
        for step in job.chain.steps() {
            if let Step::Apply(f) = step {
                self.consult_activation(pass, f.activation(), kind, access)?;
            }
        }
        let binds = Binds {
            x,
            dy,
            out,
            operands,
            terms,
        };
        if let Some(around) = &job.resolved.around {
            return self.chain_over_rows(pass, job, &binds, around);
        }
        // All of it is checked before anything is recorded.
        let chunks = plan::chunks_of(part as u64, &dtypes, traits);
        for chunk in chunks.clone() {
            binds.fit(job, chunk.start, chunk.len, traits)?;
        }
        for chunk in chunks {
            let tail = chunk.len % access.width.elements();
            for (access, first, count) in [
                (access, 0, chunk.len - tail),
                (Access::single(rest), chunk.len - tail, tail),
            ] {
                if count > 0 {
                    self.chain_chunk(pass, job, &binds, chunk, access, [first, count]);
                }
            }
        }
        Ok(())
    }

    /// A chain around a function of rows, forward, of a whole array: the dispatches of that
    /// function.
    fn chain_over_rows(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        job: &ChainJob<'_>,
        binds: &Binds<'_>,
        around: &Around,
    ) -> Result<()> {
        let traits = &self.inner.traits;
        let (function, shape) = (around.function, &around.shape);
        let mut arrays = [binds.x, binds.out]
            .into_iter()
            .chain(binds.operands.iter().copied());
        if let Some(narrow) = arrays.find(|operand| operand.dtype != DType::F32) {
            let problem = format!(
                "a chain along an axis takes f32, the {} is {}",
                narrow.what, narrow.dtype
            );
            return Err(Error::ChainStep {
                step: around.step + 1,
                text: function.name().to_owned(),
                problem,
            });
        }
        let plan = plan::axis(shape, &self.traits()).ok_or(Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: traits.max_binding,
        })?;
        let (len, inner) = (shape.len as u64, shape.inner as u64);
        let part = |chunk: &AxisChunk| {
            let start = (chunk.first_outer * len + chunk.first_step) * inner;
            (start, chunk.outer * chunk.steps * inner)
        };
        for chunk in plan.chunks.iter() {
            let (start, elements) = part(chunk);
            binds.fit(job, start, elements, traits)?;
        }
        let widest = unit_of(shape, &plan, traits);
        let way = way(shape, &plan);
        let question = Question::Axis(function, Pass::Forward.into(), way);
        self.consult(pass, question, |kernels, pass| {
            kernels.ask_axis(pass, function, Pass::Forward, way, (&plan, widest))
        })?;
        let (unit, width) = match widest {
            Unit::Four => (Unit::Four, Width::Four),
            _ => (Unit::One, Width::One),
        };
        let [before, after] = job.chain.around(around.step);
        let (places, cut) = (&job.resolved.places, around.operands);
        let side = |chain: &Chain, places: &[Place]| ChainModule {
            links: links(chain),
            operands: places
                .iter()
                .map(|place| {
                    let groups = place.sums.shifted_to_the_end();
                    (Reach::new(groups, unit.elements()), DType::F32)
                })
                .collect(),
            access: Access::single(width),
            dtypes: [DType::F32; 3],
            gradients: None,
        };
        let module = RowChainModule {
            function: kernel_of(function),
            unit,
            before: side(&before, &places[..cut]),
            after: side(&after, &places[cut..]),
        };
        let lengths = module.words();
        let beside = |_: &str, chunk: &AxisChunk| {
            let (start, elements) = part(chunk);
            let mut words: Few<u32, 96> = Few::default();
            words.extend(halves(start));
            words.extend([0; RowChainModule::HEADER - 2]);
            let mut bindings = Bindings::default();
            let sides = [(&before, 0..cut), (&after, cut..places.len())];
            for ((chain, side), length) in sides.into_iter().zip(lengths) {
                let mut own: Few<u32, 64> = Few::default();
                values(chain, &mut own);
                for j in side {
                    let (origin, len, index) = window(job, &places[j], start, elements);
                    let (binding, first) = binds.operands[j].window(origin, len, traits);
                    bindings.push((Slot::Operand(j as u32), binding));
                    own.extend(place_words(&places[j], first, index));
                }
                let padding = length - own.len();
                words.extend(own.iter().copied());
                words.extend(std::iter::repeat_n(0, padding));
            }
            Beside {
                bindings,
                constants: Some((Slot::Shaping, words)),
            }
        };
        let (module, _held) = self.chain_key(AnyChain::Rows(module));
        let recorder = RowsRecorder {
            kernels: self,
            module,
            eights: None,
            sign: sign_of(function),
            number: 0.0,
            shape,
            first_row: 0,
            plan: &plan,
            slots: &|entry_point| {
                let mut slots = axis_slots(function, Pass::Forward, entry_point);
                slots.extend((0..places.len()).map(|j| Slot::Operand(j as u32)));
                slots
            },
            one_row: one_row(function, Pass::Forward, shape),
            per_row: PerRow::of(function, Pass::Forward),
            refinements: 0,
            x: Some(binds.x),
            dy: None,
            out: binds.out,
            beside: Some(&beside),
        };
        recorder.check_bindings()?;
        recorder.record(pass);
        Ok(())
    }

    /// One dispatch: `count` elements of a chunk from `first` on.
    fn chain_chunk(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        job: &ChainJob<'_>,
        binds: &Binds<'_>,
        chunk: plan::Chunk,
        access: Access,
        [first, count]: [u64; 2],
    ) {
        let traits = &self.inner.traits;
        let start = job.elements.start as u64 + chunk.start;
        let mut words: Few<u32, 64> = [0; HEADER].into();
        // A chunk is a binding, whose elements a u32 counts.
        let unit = access.width.elements();
        let units = count.div_ceil(unit);
        words[0] = units as u32;
        words[1] = (first / unit) as u32;
        [words[2], words[3]] = halves(start);
        words[5] = (chunk.len - 1) as u32;
        values(job.chain, &mut words);
        let mut bindings = Bindings::default();
        bindings.push((Slot::X, binds.x.window(chunk.start, chunk.len, traits).0));
        if let Some(dy) = &binds.dy {
            bindings.push((Slot::Dy, dy.window(chunk.start, chunk.len, traits).0));
        }
        bindings.push((
            Slot::Out,
            binds.out.window(chunk.start, chunk.len, traits).0,
        ));
        let mut operands = Few::default();
        for (j, (place, operand)) in job.resolved.places.iter().zip(&binds.operands).enumerate() {
            let groups = place.sums.shifted_to_the_end();
            operands.push((Reach::new(groups, unit), operand.dtype));
            let (origin, len, index) = window(job, place, chunk.start, chunk.len);
            let (binding, operand_first) = operand.window(origin, len, traits);
            bindings.push((Slot::Operand(j as u32), binding));
            words.extend(place_words(place, operand_first, index));
        }
        for (j, term) in binds.terms.iter().enumerate() {
            if let Some(term) = term {
                let binding = term.window(chunk.start, chunk.len, traits).0;
                bindings.push((Slot::OperandGradient(j as u32), binding));
            }
        }
        // Whole vec4s, and one at least.
        while words.len() < HEADER + 4 || !words.len().is_multiple_of(4) {
            words.push(0);
        }
        let module = ChainModule {
            links: links(job.chain),
            operands,
            access,
            dtypes: [
                binds.x.dtype,
                binds.out.dtype,
                binds.dy.map_or(DType::F32, |dy| dy.dtype),
            ],
            gradients: binds
                .dy
                .map(|_| binds.terms.iter().map(Option::is_some).collect()),
        };
        let (module, _held) = self.chain_key(AnyChain::Elements(module));
        let workgroup = traits.elementwise_workgroup();
        self.dispatch(
            pass,
            &Work {
                module,
                entry_point: CHAIN_ENTRY_POINT,
                workgroup,
                bindings: &bindings,
                uniforms: &words,
                groups: units
                    .div_ceil(u64::from(access.units))
                    .div_ceil(u64::from(workgroup)),
            },
        );
    }

    /// The key of a chain's module, which is good as long as what comes with it is held.
    fn chain_key(&self, module: AnyChain) -> (ModuleKey, Arc<AnyChain>) {
        let (number, held) = lock(&self.inner.compiled).chain(module);
        (ModuleKey::Chain(number), held)
    }

    /// A buffer of so many bytes at least, kept in one of the kernels' places.
    pub(super) fn kept(&self, kept: &Mutex<Option<wgpu::Buffer>>, bytes: u64) -> wgpu::Buffer {
        let mut kept = lock(kept);
        match &*kept {
            Some(buffer) if buffer.size() >= bytes => buffer.clone(),
            _ => {
                let buffer = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("activations intermediate results"),
                    size: bytes,
                    usage: wgpu::BufferUsages::STORAGE,
                    mapped_at_creation: false,
                });
                self.own(&buffer);
                if let Some(smaller) = kept.replace(buffer.clone()) {
                    self.forget(&smaller);
                }
                buffer
            }
        }
    }
}

/// A chain's arrays, checked.
struct Binds<'a> {
    x: Operand<'a>,
    dy: Option<Operand<'a>>,
    out: Operand<'a>,
    operands: Few<Operand<'a>, 4>,
    terms: Few<Option<Operand<'a>>, 4>,
}

impl Binds<'_> {
    /// An error where what a chunk needs of an operand cannot be bound.
    fn fit(&self, job: &ChainJob<'_>, start: u64, len: u64, traits: &Traits) -> Result<()> {
        let bindable = traits.max_binding.saturating_sub(traits.alignment);
        for place in job.resolved.places.iter().filter(|p| !p.is_whole()) {
            let (_, elements, index) = window(job, place, start, len);
            // Of 4 bytes each at most.
            if elements * 4 > bindable || index + len > u64::from(u32::MAX) {
                return Err(Error::OutOfMemory {
                    bytes: elements * 4,
                    reason: format!(
                        "what a part needs of the operand of {} is more than it binds",
                        place.what
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The elements of an operand's range that a chunk needs, as first and length, and the index of
/// the chunk's first element among those that they begin with.
fn window(job: &ChainJob<'_>, place: &Place, start: u64, len: u64) -> (u64, u64, u64) {
    if place.is_whole() {
        return (start, len, 0);
    }
    let first = job.elements.start + start as usize;
    let (span, begin) = place.span(first, len as usize);
    let (whole, _) = place.span(job.elements.start, job.elements.len());
    let origin = span.start - whole.start;
    (origin as u64, span.len() as u64, (first - begin) as u64)
}

/// An operand's words: where it begins, the index of the bindings' first element, the groups.
fn place_words(place: &Place, first: u32, index: u64) -> [u32; Reach::WORDS] {
    let [_, r1, k2, r2, k3, r3] = place.sums.shifted_to_the_end().map(|n| n as u32);
    [first, index as u32, r1, k2, r2, k3, r3, 0]
}

/// The structure of a chain's steps.
fn links(chain: &Chain) -> Few<Link, 8> {
    let link = |step: &Step| {
        Some(match step {
            Step::Apply(f) => Link::Function(f.activation()),
            Step::Custom(f) => Link::Custom(f.text().clone()),
            Step::Scale(_) => Link::Scale,
            Step::Bias(_) | Step::Add => Link::Add,
            Step::Multiply => Link::Multiply,
            Step::Cast(dtype) => Link::Cast(*dtype),
            Step::Dropout { .. } => Link::Dropout,
            // It stands between two parts, each of which has links of its own.
            Step::Axis(..) => return None,
        })
    };
    chain.steps().iter().filter_map(link).collect()
}

/// The steps' values, as [`Link::words`] counts them.
fn values(chain: &Chain, words: &mut Few<u32, 64>) {
    for step in chain.steps() {
        match step {
            Step::Apply(f) => {
                let values = f.packed();
                let values = &values[..f.parameters().len()];
                words.extend(values.iter().map(|p| p.to_bits()));
            }
            Step::Custom(f) => words.extend(f.parameters().iter().map(|p| p.to_bits())),
            Step::Scale(factor) => words.push(factor.to_bits()),
            Step::Dropout { probability, seed } => {
                words.extend([threshold(*probability), rest(*probability).to_bits()]);
                words.extend(halves(*seed));
            }
            Step::Bias(_) | Step::Add | Step::Multiply | Step::Cast(_) | Step::Axis(..) => {}
        }
    }
}
