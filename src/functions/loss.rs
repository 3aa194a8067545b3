//! The losses over classes, and what all losses have in common.

use crate::arrays::Data;
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::kernels::{ClassBuffers, Kernels, TargetBuffer, UpstreamBuffer};
use crate::loss::{
    ClassLoss, ClassOptions, ClassTargets, CrossEntropy, NllLoss, Reduction, Targets, reduce,
    upstream,
};
use crate::operation::{
    Cut, DeviceCall, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Reach, Role, Shape,
    Shapes, View, Words, Written, f32_of, operations,
};
use crate::plan::STEPS;
use crate::shape::{AxisShape, same_length};
use std::borrow::Cow;

operations!(CrossEntropy, NllLoss);

const TARGETS: Role = Role::new("targets", "the targets", Kind::Targets);
pub(super) const LOGITS: Role = Role::new("logits", "the logits", Kind::Numbers);

/// For each class.
const CLASS_WEIGHT: Role = Role::new("weight", "the class weight", Kind::Numbers).optional();
/// A weight as the loss's option or as an array of a call; an error where it is both, or on a device.
pub(super) fn weight<'a>(
    function: &'static str,
    option: Option<&'a [f32]>,
    given: &Given<'a>,
    role: usize,
    what: &'static str,
) -> Result<Option<View<'a>>> {
    match (option, given.get(role)) {
        (Some(_), Some(_)) => Err(Error::GivenTwice { function, what }),
        (Some(weight), None) => Ok(Some(View {
            data: Data::F32(weight),
            shape: &[],
            is_flat: true,
        })),
        // What a mean divides by is the host's to know.
        (None, Some(view)) if matches!(view.data, Data::Device(_)) => Err(Error::OptionNotTaken {
            operation: function,
            option: "weight as an array on a device",
            instead: "give the loss its weights from host memory, by its methods `weight` and `pos_weight`",
        }),
        (None, given) => Ok(given),
    }
}

fn class_weight<'a>(
    function: &'static str,
    options: &'a ClassOptions,
    given: &Given<'a>,
) -> Result<Option<Cow<'a, [f32]>>> {
    let own = options.weight.as_deref();
    let weight = weight(function, own, given, 2, CLASS_WEIGHT.what)?;
    Ok(weight.map(|view| view.data.widened()))
}

/// A weight as a device reads it; without one, nothing.
pub(super) fn words(weight: Option<Cow<'_, [f32]>>) -> Words<'_> {
    match weight {
        None => Words::new(Data::F32(&[])),
        Some(Cow::Borrowed(weight)) => Words::new(Data::F32(weight)),
        Some(Cow::Owned(weight)) => Words::owned(weight),
    }
}

/// Targets as f32 or as classes, which executors have made them.
fn targets(view: View<'_>) -> Targets<'_> {
    Targets::of(view.data)
}

/// The shape of the losses of rows, reduced as the options say.
fn of_rows(options: &ClassOptions, shape: &[usize]) -> Shape {
    match options.reduction {
        Reduction::None => rows_of(options, shape),
        Reduction::Mean | Reduction::Sum => Shape::new(),
    }
}

/// The shape without the axis of the classes.
fn rows_of(options: &ClassOptions, shape: &[usize]) -> Shape {
    let mut rows = Shape::from_slice(shape);
    // One number has no axis to leave out.
    if !rows.is_empty() {
        rows.remove(options.index(shape.len()));
    }
    rows
}

/// The outputs of a loss over classes.
fn infer(options: &ClassOptions, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
    let shape = given.x().shape;
    let around = options.around(shape)?;
    if let Some(weight) = given.get(2) {
        same_length(CLASS_WEIGHT.what, around.len, weight.len())?;
    }
    let targets = given.at(1);
    match targets.data.dtype() {
        Some(_) => targets.check("the target probabilities", shape)?,
        None => targets.check("the targets", &rows_of(options, shape))?,
    }
    let (loss, gradient) = (of_rows(options, shape), Shape::from_slice(shape));
    given.check_dy(&loss)?;
    match direction {
        Direction::Backward => Ok(std::iter::once(gradient).collect()),
        Direction::Both => Ok([loss, gradient].into_iter().collect()),
        _ => Ok(std::iter::once(loss).collect()),
    }
}

/// What is written of losses that are reduced, or not.
pub(super) fn losses<'a>(reduction: Reduction, reach: Reach<'a>, count: usize) -> Written<'a> {
    match reduction {
        Reduction::None => Written::output(reach),
        Reduction::Mean | Reduction::Sum => Written::left(reach, count),
    }
}

/// The loss, from those of rows or elements that a device left.
pub(super) fn reduced(reduction: Reduction, total: f64, losses: &[f32]) -> Vec<f32> {
    let losses: Vec<f64> = losses.iter().map(|&loss| loss.into()).collect();
    reduce(reduction, &losses, total)
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn roles(&self) -> &'static [Role] {
        &[LOGITS, TARGETS, CLASS_WEIGHT]
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        self.check_smoothing()?;
        infer(&self.classes, direction, given)
    }

    fn reduced_axis(&self, rank: usize) -> Option<usize> {
        Some(self.classes.index(rank))
    }

    fn has_both(&self) -> bool {
        true
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let weight = class_weight(self.name(), &self.classes, given)?;
        let (x, shape, to) = (given.x().f32(), given.x().shape, targets(given.at(1)));
        let problem = self.weighted(x.len(), shape, to, weight.as_deref())?;
        let upstream = match direction {
            Direction::Backward => Some(problem.upstream(given.dy().f32())?),
            Direction::Both => Some(problem.ones()),
            Direction::Forward | Direction::FromOutput => None,
        };
        if direction == Direction::Backward {
            cpu.class_loss(&problem, x, upstream, &mut [], f32_of(&mut outputs[0]));
            return Ok(());
        }
        let mut losses = vec![0.0; problem.shape.rows()];
        let dx = outputs.get_mut(1).map_or(&mut [][..], f32_of);
        cpu.class_loss(&problem, x, upstream, &mut losses, dx);
        f32_of(&mut outputs[0]).copy_from_slice(&problem.reduce(&losses));
        Ok(())
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let (x, to) = (given.x(), given.at(1));
        let wide = to.data.widened();
        let to_wide = match to.data.dtype() {
            Some(_) => Targets::Probabilities(&wide),
            None => targets(to),
        };
        let weight = class_weight(self.name(), &self.classes, given)?;
        let problem = self.weighted(x.len(), x.shape, to_wide, weight.as_deref())?;
        let to = match problem.targets {
            ClassTargets::Classes(classes) => (Words::owned(classes), Reach::Rows),
            ClassTargets::Probabilities(_) => (Words::wide(to.data), Reach::Elements),
        };
        let (shape, total, reduction) = (problem.shape, problem.total, problem.reduction);
        let dy = match given.dy {
            Some(dy) if reduction == Reduction::None => (Words::wide(dy.data), Reach::Rows),
            Some(dy) => {
                let dy = dy.data.widened();
                let dy = upstream(reduction, &dy, shape.rows(), total)?;
                (Words::owned(vec![dy.at(0) as f32]), Reach::Whole)
            }
            None => (Words::new(Data::F32(&[])), Reach::Whole),
        };
        let inputs = [
            (Words::wide(x.data), Reach::Elements),
            to,
            (words(weight), Reach::Whole),
            dy,
        ];
        let losses = losses(reduction, Reach::Rows, shape.rows());
        let mut lowered = Lowered::new(Cut::Rows(shape, STEPS), inputs, Reach::Elements);
        match direction {
            Direction::Forward => lowered.outputs = std::iter::once(losses).collect(),
            Direction::Both => lowered.outputs.insert(0, losses),
            Direction::Backward | Direction::FromOutput => {}
        }
        lowered.number = match reduction {
            Reduction::Mean => (1.0 / total) as f32,
            Reduction::None | Reduction::Sum => 1.0,
        };
        Ok(lowered)
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let (shape, out) = (&part.shape, part.written(0));
        let buffers = ClassBuffers {
            logits: part.read(0),
            targets: match part.given.at(1).data.dtype() {
                Some(_) => TargetBuffer::Probabilities(part.read(1)),
                None => TargetBuffer::Indices(part.read(1)),
            },
            weight: match (&self.classes.weight, part.given.get(2)) {
                (None, None) => None,
                _ => Some(part.read(2)),
            },
        };
        // Targets are checked, and ignored rows have the bits that the host marks them with.
        let loss = &self.for_checked_targets();
        match part.direction {
            Direction::Both => {
                let (dx, scale) = (part.written(1), part.number);
                kernels.cross_entropy_with_grad(pass, loss, shape, buffers, out, dx, scale)
            }
            Direction::Backward => {
                let dy = self.classes.reduction.upstream(part.read(3), 1.0);
                kernels.grad_cross_entropy(pass, loss, shape, buffers, dy, out)
            }
            _ => kernels.cross_entropy(pass, loss, shape, buffers, out),
        }
    }

    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let on_device = OnDeviceLoss::new(self.name(), &self.classes, kernels, call)?;
        let loss = self.for_checked_targets();
        let loss = &loss.ignore_index(on_device.ignore_index);
        let (shape, buffers, scale) = (on_device.shape, on_device.buffers(), on_device.scale);
        if let (Some(dy), Some(dx)) = (call.dy(), call.written(0)) {
            let dy = self.classes.reduction.upstream(dy, scale);
            return kernels.grad_cross_entropy(pass, loss, &shape, buffers, dy, dx);
        }
        on_device.value(kernels, pass, call, |kernels, pass, losses| {
            match call
                .written(1)
                .filter(|_| call.direction == Direction::Both)
            {
                Some(dx) => {
                    kernels.cross_entropy_with_grad(pass, loss, &shape, buffers, losses, dx, scale)
                }
                None => kernels.cross_entropy(pass, loss, &shape, buffers, losses),
            }
        })
    }

    fn finish(&self, given: &Given<'_>, losses: Vec<f32>) -> Result<Vec<f32>> {
        Ok(reduced(self.classes.reduction, self.total(given)?, &losses))
    }

    fn class_loss(&self) -> Option<ClassLoss> {
        Some(self.clone().into())
    }

    fn with_weight(&self, input: &str, weight: &[f32]) -> Option<Box<dyn Operation>> {
        let is_it = input == CLASS_WEIGHT.name;
        is_it.then(|| Box::new(self.clone().weight(weight)) as _)
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

impl CrossEntropy {
    /// What a mean divides by.
    fn total(&self, given: &Given<'_>) -> Result<f64> {
        let (x, to) = (given.x(), given.at(1));
        let wide = to.data.widened();
        let to = match to.data.dtype() {
            Some(_) => Targets::Probabilities(&wide),
            None => targets(to),
        };
        let weight = class_weight(self.name(), &self.classes, given)?;
        self.weighted(x.len(), x.shape, to, weight.as_deref())
            .map(|problem| problem.total)
    }
}

impl Operation for NllLoss {
    fn name(&self) -> &'static str {
        "nll_loss"
    }

    fn roles(&self) -> &'static [Role] {
        const ROLES: &[Role] = &[
            Role::new("log_probabilities", "the log-probabilities", Kind::Numbers),
            TARGETS,
            CLASS_WEIGHT,
        ];
        ROLES
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        if given.at(1).data.dtype().is_some() {
            return Err(Error::TargetsAreIndices {
                function: "nll_loss",
            });
        }
        infer(&self.classes, direction, given)
    }

    fn reduced_axis(&self, rank: usize) -> Option<usize> {
        Some(self.classes.index(rank))
    }

    /// It reads one number of each row, which takes less than to bring a row to a device.
    fn is_for_the_host(&self) -> bool {
        true
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (x, to) = (given.x(), targets(given.at(1)));
        let weight = class_weight(self.name(), &self.classes, given)?;
        let problem = self.weighted(x.len(), x.shape, to, weight.as_deref())?;
        let out = f32_of(&mut outputs[0]);
        match direction {
            Direction::Backward => {
                cpu.nll_gradient(&problem, problem.upstream(given.dy().f32())?, out);
            }
            _ => out.copy_from_slice(&cpu.nll(&problem, x.f32())),
        }
        Ok(())
    }

    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let on_device = OnDeviceLoss::new(self.name(), &self.classes, kernels, call)?;
        let (shape, buffers) = (on_device.shape, on_device.buffers());
        let ignored = on_device.ignore_index;
        if let (Some(dy), Some(dx)) = (call.dy(), call.written(0)) {
            let dy = self.classes.reduction.upstream(dy, on_device.scale);
            return kernels.grad_nll_loss(pass, ignored, &shape, buffers, dy, dx);
        }
        on_device.value(kernels, pass, call, |kernels, pass, losses| {
            kernels.nll_loss(pass, ignored, &shape, buffers, losses)
        })
    }

    fn class_loss(&self) -> Option<ClassLoss> {
        Some(self.clone().into())
    }

    fn with_weight(&self, input: &str, weight: &[f32]) -> Option<Box<dyn Operation>> {
        let is_it = input == CLASS_WEIGHT.name;
        is_it.then(|| Box::new(self.clone().weight(weight)) as _)
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

/// A loss over classes whose arrays are on a device.
struct OnDeviceLoss<'a> {
    shape: AxisShape,
    logits: wgpu::BufferSlice<'a>,
    targets: TargetBuffer<'a>,
    weight: Option<wgpu::Buffer>,
    /// The class of ignored rows, or what the host marked them with.
    ignore_index: i64,
    reduction: Reduction,
    /// What a mean divides by.
    total: f64,
    /// What an upstream gradient of one for all is multiplied by.
    scale: f32,
}

impl<'a> OnDeviceLoss<'a> {
    fn new(
        function: &'static str,
        options: &ClassOptions,
        kernels: &Kernels,
        call: &DeviceCall<'a>,
    ) -> Result<Self> {
        if call.in_place {
            return Err(Error::NotInPlace { function });
        }
        let weight = class_weight(function, options, call.given)?;
        let shape = options.around(call.given.x().shape)?;
        let to = call.given.at(1).data.on_device();
        if let Some(checked) = to.checked_for {
            let x = call.given.x();
            if !options.are_those_of(function, checked) {
                return Err(Error::OtherLabels {
                    operation: function,
                    of: checked.loss,
                });
            }
            if x.shape != checked.shape {
                return Err(Error::ShapeMismatch {
                    what: "the logits",
                    expected: checked.shape.clone(),
                    got: x.shape.to_vec(),
                });
            }
        }
        let targets = call.read(1);
        let (targets, counted) = match to.contents.classes() {
            true => (TargetBuffer::Indices(targets), None),
            false => {
                options.no_ignored_probabilities()?;
                (
                    TargetBuffer::Probabilities(targets),
                    Some(shape.rows() as f64),
                )
            }
        };
        let total = to.total.or(counted);
        let (total, scale) = match options.reduction {
            Reduction::None | Reduction::Sum => (1.0, 1.0),
            Reduction::Mean => {
                let total = total.ok_or(Error::OptionNotTaken {
                    operation: function,
                    option: "mean",
                    instead: "nobody knows how many rows count; ask for a sum, or say it with \
                              `TypedSlice::mean_over`",
                })?;
                (total, (1.0 / total) as f32)
            }
        };
        Ok(Self {
            shape,
            logits: call.read(0),
            targets,
            weight: weight.map(|weight| kernels.constant(&weight)),
            ignore_index: match to.checked_for {
                Some(_) => -1,
                None => options.ignore_index,
            },
            reduction: options.reduction,
            total,
            scale,
        })
    }

    fn buffers(&self) -> ClassBuffers<'_> {
        ClassBuffers {
            logits: self.logits,
            targets: self.targets,
            weight: self.weight.as_ref().map(|weight| weight.slice(..)),
        }
    }

    /// Records the losses of all rows, and their reduction.
    fn value(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
        losses: impl FnOnce(&Kernels, &mut wgpu::ComputePass<'_>, wgpu::BufferSlice<'_>) -> Result<()>,
    ) -> Result<()> {
        let rows = self.shape.rows();
        record_reduced(
            kernels,
            pass,
            call,
            (self.reduction, rows, self.total),
            losses,
        )
    }
}

/// Records so many losses into the call's first output, or into memory aside and their reduction there.
pub(super) fn record_reduced(
    kernels: &Kernels,
    pass: &mut wgpu::ComputePass<'_>,
    call: &DeviceCall<'_>,
    (reduction, count, total): (Reduction, usize, f64),
    losses: impl FnOnce(&Kernels, &mut wgpu::ComputePass<'_>, wgpu::BufferSlice<'_>) -> Result<()>,
) -> Result<()> {
    let Some(out) = call.written(0) else {
        return Ok(());
    };
    if reduction == Reduction::None {
        return losses(kernels, pass, out);
    }
    let aside = kernels.terms(count);
    losses(kernels, pass, aside.slice(..4 * count.max(1) as u64))?;
    kernels.reduced_loss(pass, count, total as f32, aside.slice(..), out)
}

impl Reduction {
    /// The upstream gradient in a buffer, of one number for all times a factor where losses are
    /// reduced.
    pub(super) fn upstream(self, dy: wgpu::BufferSlice<'_>, scale: f32) -> UpstreamBuffer<'_> {
        match self {
            Self::None => UpstreamBuffer::Each(dy),
            Self::Mean | Self::Sum => UpstreamBuffer::Same(dy, scale),
        }
    }
}
