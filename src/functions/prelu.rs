//! The parametric rectifier: an array and its slopes.

use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::kernels::Kernels;
use crate::operation::{
    Cut, DeviceCall, Direction, Given, Kind, Lowered, Operation, Outputs, Part, Piece, Reach, Role,
    Shape, Shapes, Words, Written, f32_of, operations, shaped_as,
};
use crate::plan::{self, HOST_PIECE, SumPiece};
use crate::prelu::Prelu;
use crate::shape::same_length;

operations!(Prelu);

impl Prelu {
    /// The pieces that travel at a time, with the slopes that each needs.
    fn pieces(&self) -> Few<SumPiece, 1> {
        plan::sum_pieces(self.sums(), HOST_PIECE as u64)
    }
}

impl Operation for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn roles(&self) -> &'static [Role] {
        const ROLES: &[Role] = &[Role::INPUT, Role::new("slope", "the slope", Kind::Numbers)];
        ROLES
    }

    fn gradients(&self) -> &'static [(usize, &'static str)] {
        &[(0, "the gradient"), (1, "the gradient by the slope")]
    }

    fn infer(&self, direction: Direction, given: &Given<'_>) -> Result<Shapes> {
        let (x, slope) = (given.x(), given.at(1));
        same_length("the input", self.elements(), x.len())?;
        self.check_slopes("the slope", slope.len())?;
        given.check_dy(self.shape())?;
        let mut shapes = shaped_as(x.shape);
        if direction == Direction::Backward {
            shapes.push(Shape::from_slice(slope.shape));
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
        let (x, slope) = (given.x().f32(), given.at(1).f32());
        match (direction, outputs) {
            (Direction::Backward, [dx, dslope]) => {
                let (dx, dslope) = (f32_of(dx), f32_of(dslope));
                cpu.grad_prelu_into(self, x, slope, given.dy().f32(), dx, dslope)
            }
            (_, outputs) => cpu.prelu_into(self, x, slope, f32_of(&mut outputs[0])),
        }
    }

    fn lower<'a>(
        &'a self,
        direction: Direction,
        given: &'a Given<'a>,
        _output: usize,
        _kernels: &Kernels,
    ) -> Result<Lowered<'a>> {
        let backward = direction == Direction::Backward;
        let mut parts = 0;
        let pieces = self.pieces();
        let pieces = pieces.iter().map(|piece| {
            let elements = piece.start as usize..(piece.start + piece.elements()) as usize;
            let sums = parts..parts + 2 * piece.rows() as usize;
            let mut cut = Piece {
                inputs: [elements.clone(), piece.row_range()].into_iter().collect(),
                outputs: std::iter::once(elements.clone()).collect(),
            };
            if backward {
                parts = sums.end;
                cut.inputs.push(elements);
                cut.outputs.push(sums);
            }
            cut
        });
        let cut = Cut::Pieces(pieces.collect());
        let arrays = given.all().flatten();
        let inputs = arrays.map(|view| (Words::wide(view.data), Reach::Whole));
        let mut lowered = Lowered::new(cut, inputs, Reach::Whole);
        if backward {
            lowered.outputs.push(Written::left(Reach::Whole, parts));
        }
        Ok(lowered)
    }

    fn record(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        part: &Part<'_>,
    ) -> Result<()> {
        let Some(piece) = self.pieces().get(part.piece).map(Self::part) else {
            return Ok(());
        };
        let (x, slope, out) = (part.read(0), part.read(1), part.written(0));
        match part.direction {
            Direction::Backward => {
                let (inputs, outputs) = ([x, slope, part.read(2)], [out, part.written(1)]);
                kernels.grad_prelu_by(pass, &piece, inputs, outputs, 0.0)
            }
            _ => kernels.prelu(pass, &piece, x, slope, out),
        }
    }

    fn record_call(
        &self,
        kernels: &Kernels,
        pass: &mut wgpu::ComputePass<'_>,
        call: &DeviceCall<'_>,
    ) -> Result<()> {
        let (x, slope) = (call.read(0), call.read(1));
        match (call.dy(), call.written(0), call.written(1)) {
            (None, Some(y), _) => kernels.prelu(pass, self, x, slope, y),
            (Some(dy), Some(dx), Some(dslope)) => {
                kernels.grad_prelu_by(pass, self, [x, slope, dy], [dx, dslope], 1.0)
            }
            _ => Err(Error::NotInPlace { function: "prelu" }),
        }
    }

    /// Pieces leave the parts of their sums, which are added up in f64.
    fn finish(&self, _given: &Given<'_>, parts: Vec<f32>) -> Result<Vec<f32>> {
        let mut dslope = vec![0.0; self.slopes()];
        plan::merge_pieces(&self.pieces(), &parts, &mut dslope);
        Ok(dslope)
    }

    fn boxed(&self) -> Box<dyn Operation> {
        Box::new(self.clone())
    }
}
