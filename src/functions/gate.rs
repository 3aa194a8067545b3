//! Gated linear units: of one array that holds value and gate along an axis, or of two.

use super::Along;
use crate::cpu::Cpu;
use crate::error::Result;
use crate::gate::{Gate, GateShape, output_shape};
use crate::kernels::Kernels;
use crate::operation::{
    Cut, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Reach, Role, Rows, Shapes,
    Words, Written, f32_of, operations, shaped_as,
};

operations!(Gate, Along<Gate>);

impl Gate {
    /// This gate of one array that holds value and gate along `axis`, which counts from the end where
    /// it is negative.
    ///
    /// ```
    /// use wgpu_activations::{Backend, Gate, OfShape};
    /// // One row: the values 1 and 2, then the gates 3 and -5.
    /// let x = [1.0, 2.0, 3.0, -5.0];
    /// let y = Backend::cpu().apply(Gate::REGLU.along(-1), x.of_shape(&[1, 4]))?;
    /// assert_eq!(y, [3.0, 0.0]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    pub fn along(self, axis: isize) -> Along<Self> {
        Along::new(self, axis)
    }
}

impl Operation for Along<Gate> {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::INPUT]
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let shape = given.x().shape;
        let output = output_shape(&self.function, shape, self.axis)?;
        match direction {
            Direction::Backward => {
                given.check_dy(&output)?;
                Ok(shaped_as(shape))
            }
            _ => Ok(shaped_as(&output)),
        }
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (gate, axis) = (&self.function, self.axis);
        let (x, shape, out) = (given.x().f32(), given.x().shape, f32_of(&mut outputs[0]));
        match direction {
            Direction::Backward => cpu.grad_gate_into(gate, x, given.dy().f32(), shape, axis, out),
            _ => cpu.gate_into(gate, x, shape, axis, out),
        }
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let rows = GateShape::new(&self.function, given.x().shape, self.axis)?.rows();
        let reaches = [Reach::Elements, Reach::Rows];
        let inputs = given.all().flatten().zip(reaches);
        let inputs = inputs.map(|(view, reach)| (Words::wide(view.data), reach));
        let output = match direction {
            Direction::Backward => Reach::Elements,
            _ => Reach::Rows,
        };
        Ok(Lowered::new(Cut::Rows(rows, 2), inputs, output))
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let shape = GateShape {
            blocks: part.shape.outer,
            half: part.shape.inner,
        };
        let (gate, x, out) = (&self.function, part.read(0), part.written(0));
        match part.direction {
            Direction::Backward => kernels.grad_gate(pass, gate, &shape, x, part.read(1), out),
            _ => kernels.gate(pass, gate, &shape, x, out),
        }
    }

    /// Rows of two: of a value and its gate.
    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        let shape = GateShape::new(&self.function, shape, self.axis)?;
        Ok(Some(Rows::new(shape.rows(), true)))
    }

    fn of_rows(&self, _first: u64) -> Box<dyn Operation> {
        Box::new(self.function.along(1))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}

/// Value and gate in two arrays of one length.
impl Operation for Gate {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn roles(&self) -> &'static [Role] {
        const ROLES: &[Role] = &[
            Role::new("value", "the value", Kind::Numbers),
            Role::new("gate", "the gate", Kind::Numbers),
        ];
        ROLES
    }

    fn gradients(&self) -> &'static [(usize, &'static str)] {
        &[
            (0, "the gradient by the value"),
            (1, "the gradient by the gate"),
        ]
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let value = given.x();
        given.at(1).check("the gate", value.shape)?;
        given.check_dy(value.shape)?;
        let mut shapes = shaped_as(value.shape);
        if direction == Direction::Backward {
            shapes.extend(shaped_as(given.at(1).shape));
        }
        Ok(shapes)
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let (value, gate) = (given.x().f32(), given.at(1).f32());
        match (direction, outputs) {
            (Direction::Backward, [dvalue, dgate]) => {
                let (dvalue, dgate) = (f32_of(dvalue), f32_of(dgate));
                cpu.grad_gate_pair_into(self, value, gate, given.dy().f32(), dvalue, dgate)
            }
            (_, outputs) => cpu.gate_pair_into(self, value, gate, f32_of(&mut outputs[0])),
        }
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let inputs = given.all().flatten();
        let inputs = inputs.map(|view| (Words::wide(view.data), Reach::Elements));
        let mut lowered = Lowered::new(Cut::Elements(given.x().len()), inputs, Reach::Elements);
        if direction == Direction::Backward {
            lowered.outputs.push(Written::output(Reach::Elements));
        }
        Ok(lowered)
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let (value, gate, out) = (part.read(0), part.read(1), part.written(0));
        match part.direction {
            Direction::Backward => {
                let dy = part.read(2);
                kernels.grad_gate_pair(pass, self, value, gate, dy, out, part.written(1))
            }
            _ => kernels.gate_pair(pass, self, value, gate, out),
        }
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}
