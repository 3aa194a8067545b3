//! The kin of softmax on ranges of the caller's buffers: hardmax, sparsemax, entmax, maxout and
//! gumbel_softmax.

use super::axis::{PerRow, RowsRecorder, one_row};
use super::{Kernels, ModuleKey, Operand, Slot, Slots, holds, separate};
use crate::axis::AxisFunction;
use crate::error::{Error, Result};
use crate::gumbel::GumbelSoftmax;
use crate::maxout::Groups;
use crate::plan;
use crate::shader::{self, Argmax, Pass, Sparse};
use crate::shape::AxisShape;
use crate::sparse::{Rule, SparseFunction};

/// The bindings of an entry point over rows whose passes read `reads`, also from `out` where they
/// are `in_place`, and whose results take `finish` beside.
pub(crate) fn kin_slots(
    entry_point: &str,
    reads: &[Slot],
    in_place: bool,
    finish: &[Slot],
    reduces: bool,
) -> Slots {
    let mut slots = Slots::from([Slot::Uniforms]);
    match entry_point {
        "split_partial" | "refine_partial" => {
            slots.extend_from_slice(reads);
            slots.push(Slot::Partials);
            if in_place {
                slots.push(Slot::Out);
            }
        }
        "split_combine" | "refine_combine" => {
            slots.push(Slot::Partials);
            if reduces {
                slots.push(Slot::Out);
            }
        }
        "split_finish" => {
            slots.extend_from_slice(finish);
            slots.extend([Slot::Out, Slot::Partials]);
        }
        _ => {
            slots.extend_from_slice(finish);
            slots.push(Slot::Out);
        }
    }
    slots
}

/// The bindings of an entry point of a module of the kin.
pub(crate) fn module_slots(module: Kin, entry_point: &str) -> Slots {
    let (x, both) = ([Slot::X], [Slot::X, Slot::Dy]);
    let (reads, in_place, finish): (&[Slot], bool, &[Slot]) = match module {
        Kin::Argmax(Argmax::Hardmax | Argmax::Maxout) | Kin::Sparse(_) => (&x, false, &x),
        Kin::Argmax(Argmax::NoisyHardmax) | Kin::Noisy { backward: false } => (&x, true, &x),
        Kin::Argmax(Argmax::HardmaxGrad) => (&both, false, &both),
        Kin::Argmax(Argmax::MaxoutGrad) => (&x, false, &both),
        Kin::SparseGrad(_, false) => (&both, false, &both),
        Kin::SparseGrad(_, true) => (&[Slot::Dy], true, &[Slot::Dy]),
        Kin::Noisy { backward: true } => (&both, true, &both),
    };
    let reduces = module == Kin::Argmax(Argmax::Maxout);
    kin_slots(entry_point, reads, in_place, finish, reduces)
}

/// A module of the kin of softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kin {
    Argmax(Argmax),
    Sparse(Sparse),
    /// The gradient from the output, which may lie where the gradient goes.
    SparseGrad(Sparse, bool),
    /// Softmax over x and noise.
    Noisy {
        backward: bool,
    },
}

impl Kin {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Argmax(argmax) => shader::argmax(argmax),
            Self::Sparse(sparse) => shader::sparse(sparse),
            Self::SparseGrad(sparse, in_place) => shader::sparse_grad(sparse, in_place),
            Self::Noisy { backward } => shader::noisy_softmax(backward),
        }
    }
}

/// Elements that an invocation of a software adapter walks at most, so that all passes together
/// make less than 65,535 turns: as many passes as the logarithm of a row's length and 15, or for a
/// steep entmax 57.
pub(crate) fn steps_of(rule: Rule) -> u64 {
    match rule {
        Rule::Entmax(alpha) if alpha > 2.0 => 512,
        _ => 2048,
    }
}

/// The passes behind the first that a row of `len` takes at most.
fn refinements_of(sparse: Sparse, len: usize) -> u32 {
    let levels = usize::BITS - len.leading_zeros();
    match sparse {
        Sparse::Steep => levels + 56,
        _ => levels + 14,
    }
}

/// Below this alpha a series in alpha - 1 is exact to f32's last bits, over all results that f32 has;
/// from a thousandth above 1 on the powers themselves are.
const SMOOTH_BELOW: f32 = 1.000_976_6;

impl Rule {
    /// The kernel, where it is one of sparse.wgsl.
    fn kernel(self) -> Option<Sparse> {
        match self {
            Self::Hardmax | Self::Softmax => None,
            Self::Sparsemax => Some(Sparse::Sparsemax),
            Self::Entmax15 => Some(Sparse::Entmax15),
            Self::Entmax(alpha) if alpha > 2.0 => Some(Sparse::Steep),
            Self::Entmax(alpha) if alpha < SMOOTH_BELOW => Some(Sparse::Smooth),
            Self::Entmax(_) => Some(Sparse::Entmax),
        }
    }

    /// alpha - 1, exact below 2^24.
    fn order(self) -> f32 {
        match self {
            Self::Entmax(alpha) => alpha - 1.0,
            Self::Entmax15 => 0.5,
            _ => 1.0,
        }
    }
}

/// The arrays of an operation over rows.
struct Arrays<'a> {
    x: Option<Operand<'a>>,
    dy: Option<Operand<'a>>,
    out: Operand<'a>,
}

impl Kernels {
    /// Records y = `function` of every row of x, which is seen as `shape`.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`]; [`Error::OptionOutOfRange`].
    pub(crate) fn apply_sparse(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: SparseFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let rule = function.rule()?;
        if rule == Rule::Softmax {
            return self.apply_axis(pass, AxisFunction::Softmax, shape, x, y);
        }
        shape.check()?;
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&x, shape.elements())?;
        holds(&y, shape.elements())?;
        separate(&x, &y)?;
        let module = match rule.kernel() {
            Some(sparse) => Kin::Sparse(sparse),
            None => Kin::Argmax(Argmax::Hardmax),
        };
        let arrays = Arrays {
            x: Some(x),
            dy: None,
            out: y,
        };
        self.kin(pass, module, rule.order(), shape, steps_of(rule), arrays)
    }

    /// Records dx = the gradient of `function` by x, from the input x.
    ///
    /// # Errors
    /// As [`Kernels::apply_sparse`].
    pub(crate) fn grad_sparse(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: SparseFunction,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let rule = function.rule()?;
        if rule == Rule::Softmax {
            return self.grad_axis(pass, AxisFunction::Softmax, shape, x, dy, dx);
        }
        let Some(sparse) = rule.kernel() else {
            return self.grad_sparse_from_output(pass, function, shape, x, dy, dx);
        };
        shape.check()?;
        // Its output is in the gradient's place until that is known.
        let upstream = self.operand(dy, "upstream gradient")?;
        let out = self.operand(dx, "gradient")?;
        holds(&upstream, shape.elements())?;
        holds(&out, shape.elements())?;
        separate(&upstream, &out)?;
        self.apply_sparse(pass, function, shape, x, dx)?;
        let arrays = Arrays {
            x: None,
            dy: Some(upstream),
            out,
        };
        let module = Kin::SparseGrad(sparse, true);
        self.kin(pass, module, rule.order(), shape, steps_of(rule), arrays)
    }

    /// Records dx = the gradient of `function` by its input, from its output y.
    ///
    /// # Errors
    /// As [`Kernels::apply_sparse`].
    pub(crate) fn grad_sparse_from_output(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        function: SparseFunction,
        shape: &AxisShape,
        y: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let rule = function.rule()?;
        if rule == Rule::Softmax {
            return self.grad_axis_from_output(pass, AxisFunction::Softmax, shape, y, dy, dx);
        }
        let module = match rule.kernel() {
            Some(sparse) => Kin::SparseGrad(sparse, false),
            None => Kin::Argmax(Argmax::HardmaxGrad),
        };
        let arrays = self.three(y, "output", dy, dx, shape)?;
        self.kin(pass, module, rule.order(), shape, steps_of(rule), arrays)
    }

    /// Records y = the maxima of the groups of x.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`].
    pub(crate) fn maxout(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        groups: &Groups,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let shape = groups.rows();
        let (x, y) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&x, shape.elements())?;
        holds(&y, shape.rows())?;
        separate(&x, &y)?;
        let arrays = Arrays {
            x: Some(x),
            dy: None,
            out: y,
        };
        let module = Kin::Argmax(Argmax::Maxout);
        self.kin(pass, module, 1.0, &shape, plan::STEPS, arrays)
    }

    /// Records dx = the gradient of maxout by x; dy has an element for each group.
    ///
    /// # Errors
    /// As [`Kernels::maxout`].
    pub(crate) fn grad_maxout(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        groups: &Groups,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let shape = groups.rows();
        let x = self.operand(x, "input")?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        holds(&x, shape.elements())?;
        holds(&dy, shape.rows())?;
        holds(&dx, shape.elements())?;
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        let arrays = Arrays {
            x: Some(x),
            dy: Some(dy),
            out: dx,
        };
        let module = Kin::Argmax(Argmax::MaxoutGrad);
        self.kin(pass, module, 1.0, &shape, plan::STEPS, arrays)
    }

    /// Records y = gumbel_softmax of every row of x, which is seen as `shape`; element i takes
    /// number i of its random numbers.
    ///
    /// # Errors
    /// As [`Kernels::apply_axis`].
    pub(crate) fn gumbel_softmax(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let (input, output) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&input, shape.elements())?;
        holds(&output, shape.elements())?;
        separate(&input, &output)?;
        self.plan_kin(shape, plan::STEPS)?;
        self.gumbel_noise(pass, gumbel.random(), y)?;
        self.noisy(pass, gumbel, shape, input, None, output)
    }

    /// Records y = gumbel_softmax of every row of x with noise of the caller's own.
    ///
    /// # Errors
    /// As [`Kernels::gumbel_softmax`].
    pub(crate) fn gumbel_softmax_with(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        noise: wgpu::BufferSlice<'_>,
        y: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        shape.check()?;
        let (input, output) = (self.operand(x, "input")?, self.operand(y, "output")?);
        holds(&input, shape.elements())?;
        holds(&output, shape.elements())?;
        separate(&input, &output)?;
        self.plan_kin(shape, plan::STEPS)?;
        self.map(pass, crate::Activation::Identity, noise, y)?;
        self.noisy(pass, gumbel, shape, input, None, output)
    }

    /// Records dx = the gradient of gumbel_softmax by x, with the noise of the forward pass; where
    /// it is hard, that of the soft one.
    ///
    /// # Errors
    /// As [`Kernels::gumbel_softmax`].
    pub(crate) fn grad_gumbel_softmax(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let arrays = self.three(x, "input", dy, dx, shape)?;
        self.plan_kin(shape, plan::STEPS)?;
        self.gumbel_noise(pass, gumbel.random(), dx)?;
        self.noisy_gradient(pass, gumbel, shape, arrays)
    }

    /// Records dx = the gradient of gumbel_softmax by x with noise of the caller's own.
    ///
    /// # Errors
    /// As [`Kernels::gumbel_softmax`].
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) fn grad_gumbel_softmax_with(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        x: wgpu::BufferSlice<'_>,
        noise: wgpu::BufferSlice<'_>,
        dy: wgpu::BufferSlice<'_>,
        dx: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let arrays = self.three(x, "input", dy, dx, shape)?;
        self.plan_kin(shape, plan::STEPS)?;
        self.map(pass, crate::Activation::Identity, noise, dx)?;
        self.noisy_gradient(pass, gumbel, shape, arrays)
    }

    /// gumbel_softmax of x and the noise that lies in `out`.
    fn noisy(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        x: Operand<'_>,
        dy: Option<Operand<'_>>,
        out: Operand<'_>,
    ) -> Result<()> {
        let module = if gumbel.is_hard() && dy.is_none() {
            Kin::Argmax(Argmax::NoisyHardmax)
        } else {
            Kin::Noisy {
                backward: dy.is_some(),
            }
        };
        let arrays = Arrays {
            x: Some(x),
            dy,
            out,
        };
        self.kin(pass, module, gumbel.tau(), shape, plan::STEPS, arrays)
    }

    fn noisy_gradient(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        gumbel: GumbelSoftmax,
        shape: &AxisShape,
        arrays: Arrays<'_>,
    ) -> Result<()> {
        let module = Kin::Noisy { backward: true };
        self.kin(pass, module, gumbel.tau(), shape, plan::STEPS, arrays)
    }

    /// Two inputs and a result of one shape.
    fn three<'a>(
        &self,
        x: wgpu::BufferSlice<'a>,
        what: &'static str,
        dy: wgpu::BufferSlice<'a>,
        dx: wgpu::BufferSlice<'a>,
        shape: &AxisShape,
    ) -> Result<Arrays<'a>> {
        shape.check()?;
        let x = self.operand(x, what)?;
        let dy = self.operand(dy, "upstream gradient")?;
        let dx = self.operand(dx, "gradient")?;
        for operand in [&x, &dy, &dx] {
            holds(operand, shape.elements())?;
        }
        separate(&x, &dx)?;
        separate(&dy, &dx)?;
        Ok(Arrays {
            x: Some(x),
            dy: Some(dy),
            out: dx,
        })
    }

    fn plan_kin(&self, shape: &AxisShape, steps: u64) -> Result<Option<plan::AxisPlan>> {
        if shape.elements() == 0 {
            return Ok(None);
        }
        let traits = &self.traits();
        let plan = plan::axis_within(shape, traits, steps).ok_or(Error::AxisStepTooLarge {
            bytes: shape.inner as u64 * 4,
            limit: traits.max_binding,
        })?;
        Ok(Some(plan))
    }

    fn kin(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        module: Kin,
        number: f32,
        shape: &AxisShape,
        steps: u64,
        arrays: Arrays<'_>,
    ) -> Result<()> {
        let Some(plan) = self.plan_kin(shape, steps)? else {
            return Ok(());
        };
        let recorder = RowsRecorder {
            kernels: self,
            module: ModuleKey::Kin(module),
            eights: None,
            sign: 1.0,
            number,
            shape,
            first_row: 0,
            plan: &plan,
            slots: &|entry_point| module_slots(module, entry_point),
            one_row: match module {
                Kin::Noisy { backward: false } => {
                    one_row(AxisFunction::Softmax, Pass::Forward, shape)
                }
                _ => "row_per_invocation",
            },
            per_row: PerRow {
                dy: module == Kin::Argmax(Argmax::MaxoutGrad),
                out: module == Kin::Argmax(Argmax::Maxout),
            },
            refinements: match module {
                Kin::Sparse(sparse) => refinements_of(sparse, shape.len),
                _ => 0,
            },
            x: arrays.x,
            dy: arrays.dy,
            out: arrays.out,
            beside: None,
        };
        recorder.record(pass);
        Ok(())
    }
}
