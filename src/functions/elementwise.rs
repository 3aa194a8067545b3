//! The activations of the catalogue: element by element, and of 16 bits as they are on both backends.

use crate::arrays::{Data, DataMut, TypedSlice, each_number};
use crate::catalogue::{Activation, Elementwise};
use crate::cpu::Cpu;
use crate::element::DType;
use crate::error::Result;
use crate::kernels::Kernels;
use crate::operation::{
    Cut, DeviceCall, Direction, Given, IntoOperation, Lowered, Operation, Outputs, Part, Reach,
    Role, Rows, Shapes, Words, operations, shaped_as,
};
use crate::shape::element_count;

operations!(Elementwise);

impl IntoOperation for Activation {
    type Held = Elementwise;

    fn held(self) -> Elementwise {
        self.into()
    }
}

impl Operation for Elementwise {
    fn name(&self) -> &'static str {
        self.activation().info().name
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::INPUT]
    }

    fn infer(&self, _direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        given.check_dy(given.x().shape)?;
        Ok(shaped_as(given.x().shape))
    }

    fn takes_on_cpu(&self, _given: &Given<'_>, _outputs: &[DType]) -> bool {
        true
    }

    fn takes_16_bits_on_gpu(&self) -> bool {
        true
    }

    fn compute(
        &self,
        cpu: &Cpu,
        direction: Direction,
        given: &Given<'_>,
        outputs: &mut Outputs<'_>,
    ) -> Result<()> {
        let Some(out) = &mut outputs[0] else {
            return Ok(());
        };
        let (f, x) = (*self, given.x().data);
        if direction != Direction::Backward {
            return match (x, out) {
                (Data::F32(x), out) => each_number!(out, |y| cpu.apply_into(f, x, y)),
                (Data::F16(x), DataMut::F16(y)) => cpu.apply_into(f, x, y),
                (Data::F16(x), DataMut::F32(y)) => cpu.apply_into(f, x, y),
                (Data::Bf16(x), DataMut::Bf16(y)) => cpu.apply_into(f, x, y),
                (Data::Bf16(x), DataMut::F32(y)) => cpu.apply_into(f, x, y),
                (x, out) => each_number!(out, |y| cpu.apply_into(f, &x.widened(), y)),
            };
        }
        // Not every mixture has a loop of its own, which would be 27.
        match (x, given.dy().data, out) {
            (Data::F16(x), Data::F16(dy), DataMut::F16(dx)) => cpu.grad_into(f, x, dy, dx),
            (Data::Bf16(x), Data::Bf16(dy), DataMut::Bf16(dx)) => cpu.grad_into(f, x, dy, dx),
            (x, dy, out) => {
                let (x, dy) = (x.widened(), dy.widened());
                each_number!(out, |dx| cpu.grad_into(f, &x, &dy, dx))
            }
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
        let inputs = arrays.map(|view| (Words::new(view.data), Reach::Elements));
        Ok(Lowered::new(Cut::Elements(given.x().len()), inputs, Reach::Elements).in_place())
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let out = part.written.first().filter(|_| !part.in_place);
        recorded(*self, kernels, pass, part.read, out.copied())
    }

    /// Short, as recording a small activation is what a network does most.
    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let x = call.given.x().range();
        let out = call.outputs.first().copied().flatten();
        match call.given.dy {
            None => recorded(*self, kernels, pass, &[x], out),
            Some(dy) => recorded(*self, kernels, pass, &[x, dy.range()], out),
        }
    }

    fn rows(&self, shape: &[usize]) -> Result<Option<Rows>> {
        Ok(Some(Rows::of_elements(element_count(shape)?)))
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(*self)
    }
}

/// Records f of x, or its gradient of x and dy; in the place of the last one where there is no output.
fn recorded(
    f: Elementwise,
    kernels: &Kernels,
    pass: &mut wgpu::ComputePass<'_>,
    read: &[TypedSlice<'_>],
    out: Option<TypedSlice<'_>>,
) -> Result<()> {
    match (read, out) {
        ([x], None) => kernels.map_in_place(pass, f, *x),
        ([x], Some(y)) => kernels.map(pass, f, *x, y),
        ([x, dy, ..], None) => kernels.grad_map_in_place(pass, f, *x, *dy),
        ([x, dy, ..], Some(dx)) => kernels.grad_map(pass, f, *x, *dy, dx),
        // Invariant: an activation reads an array.
        ([], _) => unreachable!("no array"),
    }
}
