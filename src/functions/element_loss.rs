//! Losses of single elements as operations: what a loss has to say of itself, and all that follows from it.

use super::loss::{losses, record_reduced, reduced, weight, words};
use crate::arrays::Data;
use crate::cpu::Cpu;
use crate::element_loss::{ElementOptions, ElementProblem, Formula, Weight, check_weights};
use crate::element_shader::ElementShader;
use crate::error::{Error, Result};
use crate::kernels::{ElementCall, Kernels};
use crate::loss::{Reduction, upstream};
use crate::operation::{
    Cut, DeviceCall, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Reach, Role,
    Sealed, Shape, Shapes, Words, f32_of,
};
use std::borrow::Cow;
use std::fmt;

pub(super) const TARGETS: Role = Role::new("targets", "the targets", Kind::Numbers);
/// For each element, or what broadcasts.
pub(super) const WEIGHT: Role = Role::new("weight", "the weight", Kind::Numbers).optional();
pub(super) const POS_WEIGHT: Role =
    Role::new("pos_weight", "the weight of positives", Kind::Numbers).optional();

/// What an option `axis` means.
pub(super) const OF_WEIGHTS: &str = "of weights that have one axis; the last by default";
/// The shapes of all of them.
pub(super) const OF_ELEMENTS: &str = "One number, or with reduction=none the input's shape, which the targets have. A weight of one axis \
     has one for each index of the option's axis, others broadcast from the last axis on.";

/// A loss of single elements, which this makes an [`Operation`].
pub(crate) trait ElementLoss:
    Formula + Clone + fmt::Debug + Send + Sync + Sealed + 'static
{
    /// The input, [`TARGETS`], [`WEIGHT`] and where there is one [`POS_WEIGHT`].
    const ROLES: &'static [Role];
    /// How a device computes it.
    const SHADER: &'static ElementShader;

    /// What all such losses have.
    fn options(&self) -> &ElementOptions;

    /// The weight of positives that it has as an option.
    fn pos_weight(&self) -> Option<&[f32]> {
        None
    }

    /// The same, to set them.
    fn options_mut(&mut self) -> &mut ElementOptions;

    /// The loss with the weight of this name as its option; none where it has no such weight.
    fn weighted(mut self, name: &str, weight: &[f32]) -> Option<Self> {
        if name != WEIGHT.name {
            return None;
        }
        self.options_mut().weight = Some(weight.into());
        Some(self)
    }

    /// An error where an option is none.
    fn check_options(&self) -> Result<()> {
        Ok(())
    }

    /// An error where there is a number that the loss does not take.
    fn check_values(&self, _x: Data<'_>, _targets: Data<'_>) -> Result<()> {
        Ok(())
    }

    /// A checked call, apart from any executor.
    fn problem(&self, x: &[f32], shape: &[usize], targets: &[f32]) -> Result<ElementProblem<'_>> {
        self.check_options()?;
        self.check_values(Data::F32(x), Data::F32(targets))?;
        let weights = [self.options().weight.as_deref(), self.pos_weight()];
        let weights = self.options().spread_all(weights, shape)?;
        let lengths = [x.len(), targets.len()];
        self.options()
            .problem(Self::ROLES[0].what, shape, lengths, weights)
    }

    /// What its WGSL reads as `uniforms.p0` and so on.
    fn numbers(&self) -> [f32; 3] {
        [0.0; 3]
    }

    /// The weight and that of positives, as options or as arrays; without their numbers where they are
    /// only an `outline`.
    fn weights<'a>(&'a self, given: &Given<'a>, outline: bool) -> Result<[Option<Weight<'a>>; 2]> {
        let own = [self.options().weight.as_deref(), self.pos_weight()];
        let of = |i: usize, role: Role| -> Result<Option<Weight<'a>>> {
            let Some(view) = weight(Self::SHADER.name, own[i], given, 2 + i, role.what)? else {
                return Ok(None);
            };
            let shape = given.x().shape;
            let place = self
                .options()
                .place(role.what, view.len(), view.shape, shape)?;
            Ok(Some(match outline {
                true => place.without_numbers(),
                false => place.filled(view.data.widened()),
            }))
        };
        Ok([of(0, WEIGHT)?, of(1, POS_WEIGHT)?])
    }

    /// The call with the weights that it was given.
    fn of<'a>(
        &self,
        given: &Given<'_>,
        weights: &'a [Option<Weight<'_>>; 2],
    ) -> Result<ElementProblem<'a>> {
        let x = given.x();
        let weights = weights
            .each_ref()
            .map(|weight| weight.as_ref().map(Weight::spread));
        let lengths = [x.len(), given.at(1).len()];
        self.options()
            .problem(Self::ROLES[0].what, x.shape, lengths, weights)
    }
}

impl<L: ElementLoss> Operation for L {
    fn name(&self) -> &'static str {
        L::SHADER.name
    }

    fn roles(&self) -> &'static [Role] {
        L::ROLES
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        self.check_options()?;
        let weights = self.weights(given, true)?;
        let problem = self.of(given, &weights)?;
        given.at(1).check("the targets", given.x().shape)?;
        let whole = Shape::from_slice(given.x().shape);
        match problem.reduction {
            Reduction::None => given.check_dy(&whole)?,
            Reduction::Mean | Reduction::Sum => given.check_dy(&[])?,
        }
        let shape = match (direction, problem.reduction) {
            (Direction::Backward, _) | (_, Reduction::None) => whole,
            (_, Reduction::Mean | Reduction::Sum) => Shape::new(),
        };
        Ok(std::iter::once(shape).collect())
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let out = f32_of(&mut outputs[0]);
        let (x, targets) = (given.x().f32(), given.at(1).f32());
        self.check_values(given.x().data, given.at(1).data)?;
        let weights = checked(self.weights(given, false)?)?;
        let problem = self.of(given, &weights)?;
        match direction {
            Direction::Backward => {
                cpu.grad_element_loss(self, &problem, x, targets, given.dy().f32(), out)
            }
            _ => {
                cpu.element_loss(self, &problem, x, targets, out);
                Ok(())
            }
        }
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let (x, targets) = (given.x(), given.at(1));
        self.check_values(given.x().data, given.at(1).data)?;
        let weights = checked(self.weights(given, false)?)?;
        let problem = self.of(given, &weights)?;
        let (count, reduction, total) = (problem.count, problem.reduction, problem.total());
        let weight = |weight: Option<Weight<'a>>| {
            let values = weight.map(|weight| weight.values);
            // Each element has its own, or they take turns.
            let is_each = |values: &Cow<'_, [f32]>| values.len() == count && count > 1;
            let reach = match values.as_ref().is_some_and(is_each) {
                true => Reach::Elements,
                false => Reach::Whole,
            };
            (words(values), reach)
        };
        let [all, positive] = weights;
        let dy = match given.dy {
            Some(dy) if reduction == Reduction::None => (Words::wide(dy.data), Reach::Elements),
            Some(dy) => {
                let dy = dy.data.widened();
                let dy = upstream(reduction, &dy, count, total)?;
                (Words::owned(vec![dy.at(0) as f32]), Reach::Whole)
            }
            None => (Words::new(Data::F32(&[])), Reach::Whole),
        };
        let inputs = [
            (Words::wide(x.data), Reach::Elements),
            (Words::wide(targets.data), Reach::Elements),
            weight(all),
            weight(positive),
            dy,
        ];
        let mut lowered = Lowered::new(Cut::Elements(count), inputs, Reach::Elements);
        if direction != Direction::Backward {
            lowered.outputs = std::iter::once(losses(reduction, Reach::Elements, count)).collect();
        }
        Ok(lowered)
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let weights = self.weights(part.given, true)?;
        let problem = &self.of(part.given, &weights)?;
        let dy = part.given.dy;
        let dy = dy.map(|_| problem.reduction.upstream(part.read(4), 1.0));
        let call = ElementCall {
            shader: L::SHADER,
            numbers: self.numbers(),
            problem,
            start: part.first_row as usize,
            count: part.shape.rows(),
            x: part.read(0),
            targets: part.read(1),
            weights: [
                problem.weight.map(|_| part.read(2)),
                problem.pos_weight.map(|_| part.read(3)),
            ],
            dy,
            out: part.written(0),
        };
        kernels.element_loss(pass, &call)
    }

    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        if call.in_place {
            return Err(Error::NotInPlace {
                function: L::SHADER.name,
            });
        }
        let weights = checked(self.weights(call.given, false)?)?;
        let problem = &self.of(call.given, &weights)?;
        let scale = match problem.reduction {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean => (1.0 / problem.total()) as f32,
        };
        let weights = [problem.weight, problem.pos_weight];
        let weights = weights.map(|spread| spread.map(|spread| kernels.constant(spread.values)));
        let dy = call.dy().map(|dy| problem.reduction.upstream(dy, scale));
        let record =
            |kernels: &Kernels, pass: &mut wgpu::ComputePass<'_>, out: wgpu::BufferSlice<'_>| {
                let call = ElementCall {
                    shader: L::SHADER,
                    numbers: self.numbers(),
                    problem,
                    start: 0,
                    count: problem.count,
                    x: call.read(0),
                    targets: call.read(1),
                    weights: weights
                        .each_ref()
                        .map(|weight| weight.as_ref().map(|weight| weight.slice(..))),
                    dy,
                    out,
                };
                kernels.element_loss(pass, &call)
            };
        let total = match problem.reduction {
            Reduction::Mean => problem.total(),
            Reduction::None | Reduction::Sum => 1.0,
        };
        let reduction = match dy {
            Some(_) => Reduction::None,
            None => problem.reduction,
        };
        record_reduced(
            kernels,
            pass,
            call,
            (reduction, problem.count, total),
            record,
        )
    }

    fn finish(&self, given: &Given<'_>, losses: Vec<f32>) -> Result<Vec<f32>> {
        Ok(reduced(
            self.options().reduction,
            given.x().len() as f64,
            &losses,
        ))
    }

    fn with_weight(&self, input: &str, weight: &[f32]) -> Option<Box<dyn Operation>> {
        let weighted = self.clone().weighted(input, weight)?;
        Some(Box::new(weighted))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}

/// Weights that are finite.
fn checked(weights: [Option<Weight<'_>>; 2]) -> Result<[Option<Weight<'_>>; 2]> {
    check_weights(weights.each_ref().map(|w| w.as_ref().map(|w| &*w.values)))?;
    Ok(weights)
}
