//! The randomised leaky rectifier, element by element.

use crate::cpu::Cpu;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::operation::{
    Cut, Direction, Given, Lowered, Operation, Outputs, Part, Reach, Role, Rows, Shapes, Words,
    f32_of, operations, shaped_as,
};
use crate::rrelu::Rrelu;
use crate::shape::element_count;

operations!(Rrelu);

impl Operation for Rrelu {
    fn name(&self) -> &'static str {
        "rrelu"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::INPUT]
    }

    fn infer(&self, _direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        given.check_dy(given.x().shape)?;
        Ok(shaped_as(given.x().shape))
    }

    fn compute(
        &self,
        cpu: &Cpu,
        _direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (x, out) = (given.x().f32(), f32_of(&mut outputs[0]));
        match given.dy {
            Some(dy) => cpu.grad_rrelu_into(*self, x, dy.f32(), out),
            None => cpu.rrelu_into(*self, x, out),
        }
    }

    fn lower<'a>(
        &'a self,
        _direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let arrays = given.all().flatten();
        let inputs = arrays.map(|view| (Words::wide(view.data), Reach::Elements));
        Ok(Lowered::new(Cut::Elements(given.x().len()), inputs, Reach::Elements).in_place())
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let rrelu = self.skip(part.first_row);
        let x = part.read(0);
        match (part.given.dy, part.in_place) {
            (None, true) => kernels.rrelu_in_place(pass, rrelu, x),
            (None, false) => kernels.rrelu(pass, rrelu, x, part.written(0)),
            (Some(_), true) => kernels.grad_rrelu_in_place(pass, rrelu, x, part.read(1)),
            (Some(_), false) => kernels.grad_rrelu(pass, rrelu, x, part.read(1), part.written(0)),
        }
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        Ok(Some(Rows {
            numbered: self.random().is_some(),
            ..Rows::of_elements(element_count(shape)?)
        }))
    }

    fn of_rows(&self, first: u64) -> Box<dyn Operation> {
        Box::new(self.skip(first))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}
