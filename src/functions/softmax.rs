//! The softmax family along an axis, with what is done to its rows before: masks, biases, scales.

use crate::arrays::{Arrays, Data, Inputs, OfShape, each_number};
use crate::axis::AxisFunction;
use crate::cpu::Cpu;
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, ShapedJob, from_output};
use crate::operation::{
    Cut, DeviceCall, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Reach, Role, Rows,
    Shape, Shapes, Words, Written, f32_of, operations,
};
use crate::plan::STEPS;
use crate::shape::AxisShape;
use crate::shaping::{Causal, Geometry, RowPolicy, Scale, Settings, Shaping, Which};
use std::ops::Range;

/// A function along an axis of an array: one of the softmax family, a [`Gate`](crate::Gate), a
/// [`SparseFunction`](crate::SparseFunction), and whatever else has an `along`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Along<F> {
    pub(crate) function: F,
    pub(crate) axis: isize,
}

impl<F> Along<F> {
    pub(super) fn new(function: F, axis: isize) -> Self {
        Self { function, axis }
    }
}

/// A function of the softmax family along an axis, with what is done to the elements of its rows
/// before: they are scaled, capped, biased and masked, as [`Shaping`] says. Its inputs are the array,
/// and where they are given `mask`, `bias`, `lengths` and `sinks`; its gradients are by the array and by
/// the sinks.
///
/// ```
/// use wgpu_activations::{AxisFunction, Backend, OfShape};
/// // Two rows of three; the last key is padding.
/// let x = [4.0, 4.0, 9.0, 0.0, 0.0, f32::NAN];
/// let softmax = AxisFunction::Softmax.along(-1).scale(0.5);
/// let mask = [true, true, false];
/// let p = Backend::cpu().apply(softmax, (x.of_shape(&[2, 3]), &mask))?;
/// assert_eq!(p, [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    function: AxisFunction,
    axis: isize,
    settings: Settings,
}

operations!(Softmax);

impl AxisFunction {
    /// This function along `axis`, which counts from the end where it is negative.
    pub fn along(self, axis: isize) -> Softmax {
        Softmax {
            function: self,
            axis,
            settings: PLAIN,
        }
    }
}

const ROLES: &[Role] = &[
    Role::INPUT,
    Role::new("mask", "the mask", Kind::Mask).optional(),
    Role::new("bias", "the bias", Kind::Numbers).optional(),
    Role::new("lengths", "the lengths", Kind::Lengths).optional(),
    Role::new("sinks", "the sinks", Kind::Numbers).optional(),
];

/// What changes nothing.
const PLAIN: Settings = <Shaping<'_>>::NONE.settings;

/// The inputs beside the array, as the kernels know them.
const ARRAYS: [(usize, Which); 4] = [
    (1, Which::Mask),
    (2, Which::Bias),
    (3, Which::Lengths),
    (4, Which::Sinks),
];

impl Softmax {
    /// The scale, the cap and the other settings of a shaping in the place of these; its arrays are
    /// [`Shaping::inputs`].
    #[must_use]
    pub fn shaped<M, B, L>(mut self, shaping: &Shaping<'_, M, B, L>) -> Self {
        self.settings = shaping.settings;
        self
    }

    /// Queries see keys up to their own place.
    #[must_use]
    pub fn causal(mut self, causal: Causal) -> Self {
        self.settings.causal = Some(causal);
        self
    }

    /// The axis of the queries for [`Softmax::causal`]; the axis before the function's by default.
    #[must_use]
    pub fn query_axis(mut self, axis: isize) -> Self {
        self.settings.query_axis = Some(axis);
        self
    }

    /// Multiplies x by `scale`, as [`Shaping::scale`].
    #[must_use]
    pub fn scale(mut self, scale: f32) -> Self {
        self.settings.scale = Scale::Times(scale);
        self
    }

    /// Divides x by `temperature`, as [`Shaping::temperature`].
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.settings.scale = Scale::Over(temperature);
        self
    }

    /// Keeps scaled elements within (-cap, cap), as [`Shaping::soft_cap`].
    #[must_use]
    pub fn soft_cap(mut self, cap: f32) -> Self {
        self.settings.soft_cap = cap;
        self
    }

    /// One sink for all rows, as [`Shaping::sink`]; an array of sinks is an input.
    #[must_use]
    pub fn sink(mut self, logit: f32) -> Self {
        self.settings.sink = Some(logit);
        self
    }

    /// What a row is of which nothing takes part.
    #[must_use]
    pub fn row_policy(mut self, policy: RowPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Whether nothing is done to the rows.
    fn is_plain(&self, given: &Given<'_>) -> bool {
        let arrays = ARRAYS.iter().any(|&(slot, _)| given.get(slot).is_some());
        self.settings == PLAIN && !arrays
    }

    /// What is done to the rows.
    fn shaping<'a>(&self, given: &Given<'a>) -> Shaping<'a> {
        let numbers = |i: usize| given.get(i).map(|view| (view.f32(), view.shape));
        Shaping {
            mask: given.get(1).map(|view| match view.data {
                Data::U8(mask) => (mask, view.shape),
                // Invariant: the role takes nothing else.
                _ => unreachable!("a mask that is none"),
            }),
            bias: numbers(2),
            lengths: given.get(3).map(|view| match view.data {
                Data::U32(lengths) => (lengths, view.shape),
                // Invariant: the role takes nothing else.
                _ => unreachable!("lengths that are none"),
            }),
            sinks: numbers(4),
            settings: self.settings,
        }
    }

    fn geometry(&self, given: &Given<'_>) -> Result<Geometry> {
        Geometry::new(&self.outline(given), given.x().shape, self.axis)
    }

    /// The shapes of mask, bias, lengths and sinks, whatever they hold.
    fn outline<'a>(&self, given: &Given<'a>) -> Shaping<'a, (), (), ()> {
        let of = |i: usize| given.get(i).map(|view| ((), view.shape));
        Shaping {
            mask: of(1),
            bias: of(2),
            lengths: of(3),
            sinks: of(4),
            settings: self.settings,
        }
    }

    /// The shape of the output.
    fn output(&self, shape: &[usize]) -> Result<Shape> {
        AxisShape::new(shape, self.axis)?;
        let mut output = Shape::from_slice(shape);
        if self.function.reduces() && !shape.is_empty() {
            output.remove(self.axis.rem_euclid(shape.len() as isize) as usize);
        }
        Ok(output)
    }
}

impl<'a> Shaping<'a> {
    /// An array, and behind it the mask and the other arrays that there are here: what a [`Softmax`] of
    /// [`Softmax::shaped`] is computed of.
    ///
    /// ```
    /// use wgpu_activations::{AxisFunction, Backend, OfShape, Shaping};
    /// let shaping = Shaping::new().scale(0.5).lengths(&[2], &[1]);
    /// let softmax = AxisFunction::Softmax.along(-1).shaped(&shaping);
    /// let x = [4.0, 4.0, 9.0];
    /// let p = Backend::cpu().apply(softmax, shaping.inputs(x.of_shape(&[1, 3])))?;
    /// assert_eq!(p, [0.5, 0.5, 0.0]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    pub fn inputs<X: Inputs<'a>>(
        &self,
        x: X,
    ) -> impl Inputs<'a, Number = X::Number, Result = X::Result> {
        Beside { x, shaping: *self }
    }
}

/// An array, and those of a shaping.
struct Beside<'a, X> {
    x: X,
    shaping: Shaping<'a>,
}

impl<'a, X: Inputs<'a>> Inputs<'a> for Beside<'a, X> {
    type Number = X::Number;
    type Result = X::Result;

    fn arrays(self) -> Arrays<'a> {
        let Shaping {
            mask,
            bias,
            lengths,
            sinks,
            ..
        } = self.shaping;
        let mut arrays = self.x.arrays();
        arrays.extend(mask.map(|(mask, shape)| mask.of_shape(shape).named("mask")));
        arrays.extend(bias.map(|(bias, shape)| bias.of_shape(shape).named("bias")));
        arrays.extend(lengths.map(|(lengths, shape)| lengths.of_shape(shape).named("lengths")));
        arrays.extend(sinks.map(|(sinks, shape)| sinks.of_shape(shape).named("sinks")));
        arrays
    }
}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn roles(&self) -> &'static [Role] {
        ROLES
    }

    fn gradients(&self) -> &'static [(usize, &'static str)] {
        &[(0, "the gradient"), (4, "the gradient by the sinks")]
    }

    /// Of plain rows of softmax and softmin.
    fn check_from_output(&self) -> Result<()> {
        from_output(self.function)?;
        if self.settings == PLAIN {
            return Ok(());
        }
        Err(Error::NotFromOutput {
            function: self.name(),
        })
    }

    fn no_gradient_by(&self, name: &str) -> Error {
        match name {
            "sinks" => Error::NoSinks,
            _ => Error::Inputs {
                function: self.name(),
                detail: format!("has no gradient by '{name}'"),
            },
        }
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let shape = given.x().shape;
        let output = self.output(shape)?;
        if self.settings.sink.is_some() && given.get(4).is_some() {
            let (function, what) = (self.name(), "a sink");
            return Err(Error::GivenTwice { function, what });
        }
        let outline = self.outline(given);
        self.geometry(given)?;
        given.check_dy(&output)?;
        let mut shapes = Shapes::new();
        match direction {
            Direction::Forward | Direction::Both => shapes.push(output),
            Direction::FromOutput => shapes.push(Shape::from_slice(shape)),
            Direction::Backward => {
                shapes.push(Shape::from_slice(shape));
                if outline.sinks.is_some() || self.settings.sink.is_some() {
                    outline.sink_sums(shape, self.axis)?;
                    let sinks = outline.sinks.map_or(&[][..], |(_, shape)| shape);
                    shapes.push(Shape::from_slice(sinks));
                }
            }
        }
        Ok(shapes)
    }

    fn reduced_axis(&self, rank: usize) -> Option<usize> {
        let axis = self.axis.rem_euclid(rank.max(1) as isize) as usize;
        self.function.reduces().then_some(axis)
    }

    fn is_one_by_one(&self, direction: Direction) -> bool {
        direction == Direction::Backward
    }

    /// Plain rows, where all numbers are of one type.
    fn takes_on_cpu(&self, given: &Given<'_>, outputs: &[DType]) -> bool {
        let inputs = given.all().flatten().map(|view| view.data.dtype());
        let same = |dtype: Option<DType>| dtype == given.x().data.dtype();
        self.is_plain(given) && inputs.chain(outputs.iter().copied().map(Some)).all(same)
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        if self.is_plain(given) {
            let Some(out) = &mut outputs[0] else {
                return Ok(());
            };
            return each_number!(out, |out| self.plain(cpu, direction, given, out));
        }
        let (function, axis, shaping) = (self.function, self.axis, &self.shaping(given));
        let (x, shape) = (given.x().f32(), given.x().shape);
        if direction != Direction::Backward {
            let y = f32_of(&mut outputs[0]);
            return cpu.apply_axis_shaped_into(function, shaping, x, shape, axis, y);
        }
        let dy = given.dy().f32();
        if outputs[0].is_some() {
            let dx = f32_of(&mut outputs[0]);
            cpu.grad_axis_shaped_into(function, shaping, x, dy, shape, axis, dx)?;
        }
        if let Some(dsinks @ Some(_)) = outputs.get_mut(1) {
            let dsinks = f32_of(dsinks);
            cpu.grad_axis_sinks_into(function, shaping, x, dy, shape, axis, dsinks)?;
        }
        Ok(())
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let is_value = direction == Direction::Forward;
        let per_row = if self.function.reduces() {
            || Reach::Rows
        } else {
            || Reach::Elements
        };
        let result = if is_value { per_row() } else { Reach::Elements };
        let mut inputs = vec![(Words::wide(given.x().data), Reach::Elements)];
        inputs.extend(given.dy.map(|dy| (Words::wide(dy.data), per_row())));
        if self.is_plain(given) {
            let shape = AxisShape::new(given.x().shape, self.axis)?;
            let lowered = Lowered::new(Cut::Rows(shape, STEPS), inputs, result);
            let separate = self.function.reduces() || direction == Direction::FromOutput;
            return Ok(if separate {
                lowered
            } else {
                lowered.in_place()
            });
        }
        let geometry = self.geometry(given)?;
        self.shaping(given).check_rows(&geometry)?;
        let shape = geometry.shape;
        for (slot, which) in ARRAYS {
            let Some(view) = given.get(slot) else {
                continue;
            };
            let words = match which {
                Which::Mask => Words::new(view.data),
                _ => Words::wide(view.data),
            };
            let (geometry, len) = (geometry.clone(), view.len());
            let span = move |rows: Range<u64>| {
                let span = geometry.span(which, rows, 0..geometry.shape.len as u64);
                // Bytes of a mask come from whole words.
                let start = match which {
                    Which::Mask => span.start as usize / 4 * 4,
                    _ => span.start as usize,
                };
                start..(span.end as usize).min(len)
            };
            inputs.push((words, Reach::Span(Box::new(span))));
        }
        let cut = Cut::Rows(shape, STEPS);
        if output == 0 {
            return Ok(Lowered::new(cut, inputs, result));
        }
        Ok(Lowered {
            // A term for each row.
            outputs: std::iter::once(Written::left(Reach::Rows, shape.rows())).collect(),
            ..Lowered::new(cut, inputs, Reach::Rows)
        })
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let (function, shape, x) = (self.function, &part.shape, part.read(0));
        if !self.is_plain(part.given) {
            let dy = part.given.dy.map(|_| part.read(1));
            let mut next = if dy.is_some() { 2 } else { 1 };
            let arrays = ARRAYS.map(|(slot, _)| {
                part.given.get(slot)?;
                next += 1;
                Some((part.read(next - 1), part.inputs[next - 1].start as u64))
            });
            let job = ShapedJob {
                function,
                geometry: &self.geometry(part.given)?,
                settings: &self.settings,
                shape: *shape,
                first_row: part.first_row,
                arrays,
                x,
                dy,
                by_sink: part.output == 1,
                out: part.written(0),
            };
            return kernels.shaped(pass, &job);
        }
        match (part.direction, part.in_place) {
            (Direction::Forward | Direction::Both, true) => {
                kernels.apply_axis_in_place(pass, function, shape, x)
            }
            (Direction::Forward | Direction::Both, false) => {
                kernels.apply_axis(pass, function, shape, x, part.written(0))
            }
            (Direction::Backward, true) => {
                kernels.grad_axis_in_place(pass, function, shape, x, part.read(1))
            }
            (Direction::Backward, false) => {
                kernels.grad_axis(pass, function, shape, x, part.read(1), part.written(0))
            }
            (Direction::FromOutput, _) => {
                let (dy, dx) = (part.read(1), part.written(0));
                kernels.grad_axis_from_output(pass, function, shape, x, dy, dx)
            }
        }
    }

    /// They have a logsumexp, and their sinks a gradient.
    fn records_empty_rows(&self) -> bool {
        true
    }

    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let (function, given) = (self.function, call.given);
        let not_in_place = Error::NotInPlace {
            function: self.name(),
        };
        if !self.is_plain(given) {
            if call.in_place {
                return Err(not_in_place);
            }
            return self.record_shaped(kernels, pass, call);
        }
        let shape = &AxisShape::new(given.x().shape, self.axis)?;
        let x = call.read(0);
        match (call.dy(), call.written(0)) {
            (None, Some(y)) => kernels.apply_axis(pass, function, shape, x, y),
            (Some(dy), Some(dx)) if call.direction == Direction::FromOutput => {
                kernels.grad_axis_from_output(pass, function, shape, x, dy, dx)
            }
            (Some(dy), Some(dx)) => kernels.grad_axis(pass, function, shape, x, dy, dx),
            _ if function.reduces() => Err(not_in_place),
            (None, None) => kernels.apply_axis_in_place(pass, function, shape, x),
            (Some(dy), None) => kernels.grad_axis_in_place(pass, function, shape, x, dy),
        }
    }

    /// Adds up the terms of the gradient by the sinks, of which there is one for each row.
    fn finish(&self, given: &Given<'_>, terms: Vec<f32>) -> Result<Vec<f32>> {
        let sums = self.outline(given).sink_sums(given.x().shape, self.axis)?;
        let mut dsinks = vec![0.0; sums.sums()];
        Cpu::new().sum_into(&sums, &terms, &mut dsinks)?;
        Ok(dsinks)
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        let shape = AxisShape::new(shape, self.axis)?;
        if self.settings.causal.is_some() || self.settings.query_axis.is_some() {
            return Ok(None);
        }
        let is_plain = self.settings == PLAIN;
        Ok(Some(Rows {
            in_place: is_plain && !self.function.reduces(),
            in_two_passes: is_plain.then_some(self.function),
            ..Rows::new(shape, self.function.reduces())
        }))
    }

    fn of_rows(&self, _first: u64) -> Box<dyn Operation> {
        Box::new(Self { axis: 1, ..*self })
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}

impl Softmax {
    /// Records a whole call on rows that something is done to.
    fn record_shaped(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        if self.settings.policy == RowPolicy::Error {
            return Err(Error::PolicyNeedsHost);
        }
        let (given, x) = (call.given, call.read(0));
        let geometry = &self.geometry(given)?;
        let settings = &self.settings;
        let arrays = ARRAYS.map(|(slot, _)| given.get(slot).map(|_| (call.read(slot), 0)));
        let job = |out, by_sink| ShapedJob {
            function: self.function,
            geometry,
            settings,
            shape: geometry.shape,
            first_row: 0,
            arrays,
            x,
            dy: call.dy(),
            by_sink,
            out,
        };
        if let Some(dsinks) = call.written(1) {
            let sums = self.outline(given).sink_sums(given.x().shape, self.axis)?;
            kernels.grad_sinks(pass, &job(dsinks, true), &sums)?;
        }
        match call.written(0) {
            Some(out) => kernels.shaped(pass, &job(out, false)),
            None => Ok(()),
        }
    }

    /// Plain rows of any type of numbers on the CPU.
    fn plain<T: Element>(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        out: &mut [T],
    ) -> Result<()> {
        let (function, axis, shape) = (self.function, self.axis, given.x().shape);
        let (x, dy) = (
            given.x().data.of_type(),
            given.dy.map(|dy| dy.data.of_type()),
        );
        match (direction, dy) {
            (Direction::Backward, Some(dy)) => {
                cpu.grad_axis_into(function, x, dy, shape, axis, out)
            }
            (Direction::FromOutput, Some(dy)) => {
                cpu.grad_axis_from_output_into(function, x, dy, shape, axis, out)
            }
            _ => cpu.apply_axis_into(function, x, shape, axis, out),
        }
    }
}
