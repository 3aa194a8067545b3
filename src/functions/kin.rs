//! The kin of softmax along an axis: hardmax, sparsemax and entmax, maxout, gumbel_softmax.

use super::Along;
use crate::cpu::Cpu;
use crate::error::Result;
use crate::gumbel::GumbelSoftmax;
use crate::kernels::{Kernels, steps_of};
use crate::maxout::Groups;
use crate::operation::{
    Cut, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Reach, Role, Rows, Shapes,
    Words, f32_of, operations, shaped_as,
};
use crate::plan::STEPS;
use crate::shape::AxisShape;
use crate::sparse::SparseFunction;

operations!(Along<SparseFunction>, Along<Maxout>, Along<GumbelSoftmax>);

impl SparseFunction {
    /// This function along `axis`, which counts from the end where it is negative.
    pub fn along(self, axis: isize) -> Along<Self> {
        Along::new(self, axis)
    }
}

impl Operation for Along<SparseFunction> {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::INPUT]
    }

    fn check_from_output(&self) -> Result<()> {
        Ok(())
    }

    fn infer(&self, _direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        self.function.rule()?;
        AxisShape::new(given.x().shape, self.axis)?;
        given.check_dy(given.x().shape)?;
        Ok(shaped_as(given.x().shape))
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (function, axis, shape) = (self.function, self.axis, given.x().shape);
        let (x, out) = (given.x().f32(), f32_of(&mut outputs[0]));
        match direction {
            Direction::Backward => {
                cpu.grad_sparse_into(function, x, given.dy().f32(), shape, axis, out)
            }
            Direction::FromOutput => {
                cpu.grad_sparse_from_output_into(function, x, given.dy().f32(), shape, axis, out)
            }
            _ => cpu.apply_sparse_into(function, x, shape, axis, out),
        }
    }

    fn lower<'a>(
        &'a self,
        _direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let shape = AxisShape::new(given.x().shape, self.axis)?;
        let cut = Cut::Rows(shape, steps_of(self.function.rule()?));
        Ok(Lowered::new(cut, elements(given), Reach::Elements))
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let (function, shape) = (self.function, &part.shape);
        let (x, out) = (part.read(0), part.written(0));
        match part.direction {
            Direction::Backward => kernels.grad_sparse(pass, function, shape, x, part.read(1), out),
            Direction::FromOutput => {
                kernels.grad_sparse_from_output(pass, function, shape, x, part.read(1), out)
            }
            _ => kernels.apply_sparse(pass, function, shape, x, out),
        }
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        let shape = AxisShape::new(shape, self.axis)?;
        Ok(Some(Rows::new(shape, false)))
    }

    fn of_rows(&self, _first: u64) -> Box<dyn Operation> {
        Box::new(self.function.along(1))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}

/// All arrays, of which each has an element for each of the rows'.
fn elements<'a>(given: &'a Given<'a>) -> impl Iterator<Item = (Words<'a>, Reach<'a>)> {
    let arrays = given.all().flatten();
    arrays.map(|view| (Words::wide(view.data), Reach::Elements))
}

/// The maxima of groups of consecutive elements along an axis (Goodfellow et al. 2013); see
/// [`Groups`] for the shape of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxout {
    pieces: usize,
}

impl Maxout {
    /// Groups of `pieces` elements, which divide the length of the axis.
    pub fn new(pieces: usize) -> Self {
        Self { pieces }
    }

    /// Groups along `axis`, which counts from the end where it is negative.
    ///
    /// ```
    /// use wgpu_activations::{Backend, Maxout, OfShape};
    /// let x = [1.0, 5.0, 2.0, -1.0];
    /// let y = Backend::cpu().apply(Maxout::new(2).along(-1), x.of_shape(&[1, 4]))?;
    /// assert_eq!(y, [5.0, 2.0]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    pub fn along(self, axis: isize) -> Along<Self> {
        Along::new(self, axis)
    }
}

impl Along<Maxout> {
    fn groups(&self, given: &Given<'_>) -> Result<Groups> {
        Groups::new(given.x().shape, self.axis, self.function.pieces)
    }
}

impl Operation for Along<Maxout> {
    fn name(&self) -> &'static str {
        "maxout"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::INPUT]
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let groups = self.groups(given)?;
        given.check_dy(groups.output_shape())?;
        match direction {
            Direction::Backward => Ok(shaped_as(given.x().shape)),
            _ => Ok(shaped_as(groups.output_shape())),
        }
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (groups, x) = (self.groups(given)?, given.x().f32());
        let out = f32_of(&mut outputs[0]);
        match direction {
            Direction::Backward => cpu.grad_maxout_into(&groups, x, given.dy().f32(), out),
            _ => cpu.maxout_into(&groups, x, out),
        }
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let cut = Cut::Rows(self.groups(given)?.rows(), STEPS);
        let arrays = given.all().flatten().zip([Reach::Elements, Reach::Rows]);
        let inputs = arrays.map(|(view, reach)| (Words::wide(view.data), reach));
        let output = match direction {
            Direction::Backward => Reach::Elements,
            _ => Reach::Rows,
        };
        Ok(Lowered::new(cut, inputs, output))
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let groups = Groups::of_rows(part.shape);
        let (x, out) = (part.read(0), part.written(0));
        match part.direction {
            Direction::Backward => kernels.grad_maxout(pass, &groups, x, part.read(1), out),
            _ => kernels.maxout(pass, &groups, x, out),
        }
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        let groups = Groups::new(shape, self.axis, self.function.pieces)?;
        Ok(Some(Rows::new(groups.rows(), true)))
    }

    fn of_rows(&self, _first: u64) -> Box<dyn Operation> {
        Box::new(self.function.along(1))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}

impl GumbelSoftmax {
    /// This function along `axis`, which counts from the end where it is negative. A second input of
    /// the array's length, `noise`, takes the place of the random numbers.
    pub fn along(self, axis: isize) -> Along<Self> {
        Along::new(self, axis)
    }
}

impl Operation for Along<GumbelSoftmax> {
    fn name(&self) -> &'static str {
        "gumbel_softmax"
    }

    fn roles(&self) -> &'static [Role] {
        const ROLES: &[Role] = &[
            Role::INPUT,
            Role::new("noise", "the noise", Kind::Numbers).optional(),
        ];
        ROLES
    }

    fn infer(&self, _direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let x = given.x();
        AxisShape::new(x.shape, self.axis)?;
        if let Some(noise) = given.get(1) {
            noise.check("the noise", x.shape)?;
        }
        given.check_dy(x.shape)?;
        Ok(shaped_as(x.shape))
    }

    fn compute(
        &self,
        cpu: &Cpu,
        _direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let shape = AxisShape::new(given.x().shape, self.axis)?;
        let (noise, dy) = (given.get(1).map(|v| v.f32()), given.dy.map(|v| v.f32()));
        let out = f32_of(&mut outputs[0]);
        cpu.gumbel_into(self.function, given.x().f32(), noise, dy, &shape, out)
    }

    fn lower<'a>(
        &'a self,
        _direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let shape = AxisShape::new(given.x().shape, self.axis)?;
        let cut = Cut::Rows(shape, STEPS);
        let tiled = given.get(1).is_none() && !kernels.binds_rows(&shape, STEPS);
        Ok(Lowered {
            // Tiles of columns have no numbers in a row: their noise is gathered as they are.
            noise: tiled.then(|| self.function.random()),
            ..Lowered::new(cut, elements(given), Reach::Elements)
        })
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let shape = &part.shape;
        let gumbel = self.function.skip(part.first_row * shape.len as u64);
        let (x, out) = (part.read(0), part.written(0));
        let has_dy = part.given.dy.is_some();
        let has_noise = part.read.len() > 1 + usize::from(has_dy);
        match (has_noise, has_dy) {
            (false, false) => kernels.gumbel_softmax(pass, gumbel, shape, x, out),
            (true, false) => kernels.gumbel_softmax_with(pass, gumbel, shape, x, part.read(1), out),
            (false, true) => kernels.grad_gumbel_softmax(pass, gumbel, shape, x, part.read(1), out),
            (true, true) => {
                let (noise, dy) = (part.read(1), part.read(2));
                kernels.grad_gumbel_softmax_with(pass, gumbel, shape, x, noise, dy, out)
            }
        }
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        let shape = AxisShape::new(shape, self.axis)?;
        Ok(Some(Rows {
            numbered: true,
            ..Rows::new(shape, false)
        }))
    }

    fn of_rows(&self, first: u64) -> Box<dyn Operation> {
        Box::new(self.function.skip(first).along(1))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}
