//! The CPU backend: the same operations, the same accuracy contract, no adapter.
//!
//! An f32 is widened to f64, goes through the catalogue's own formula over [`wide::Wide`], and is
//! rounded back: that rounding is the only error there is to see. [`isa`] picks the instruction
//! set when the backend is made, [`elementwise`] and `rows` run the loops.

mod elementwise;
mod isa;
mod wide;

use crate::axis::{AxisFunction, AxisShape};
use crate::catalogue::Elementwise;
use crate::error::{Error, Result};
use crate::reference;
use isa::Isa;

/// The CPU backend. Cheap to make and to clone; its threads are rayon's global pool.
#[derive(Clone, Debug)]
pub struct Cpu {
    isa: Isa,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// The backend; it is always there.
    pub fn new() -> Self {
        Self { isa: Isa::best() }
    }

    /// What runs: the number of threads and the instruction set.
    pub fn description(&self) -> String {
        let threads = rayon::current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu: {threads} thread{plural}, {}", self.isa.name())
    }

    /// y = f(x), for x and y of the same length.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn apply_into(&self, f: impl Into<Elementwise>, x: &[f32], y: &mut [f32]) -> Result<()> {
        same_length("the output", x.len(), y.len())?;
        elementwise::apply(self.isa, &f.into(), x, y);
        Ok(())
    }

    /// x = f(x).
    ///
    /// # Errors
    /// None today; the signature is that of the other backends.
    pub fn apply_in_place(&self, f: impl Into<Elementwise>, x: &mut [f32]) -> Result<()> {
        elementwise::apply_in_place(self.isa, &f.into(), x);
        Ok(())
    }

    /// dx = dy · f'(x). A zero factor wins over an infinite one; NaN in either gives NaN.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn grad_into(
        &self,
        f: impl Into<Elementwise>,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the output", x.len(), dx.len())?;
        elementwise::grad(self.isa, &f.into(), x, dy, dx);
        Ok(())
    }

    /// dy = dy · f'(x), as [`Cpu::grad_into`].
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn grad_in_place(
        &self,
        f: impl Into<Elementwise>,
        x: &[f32],
        dy_dx: &mut [f32],
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy_dx.len())?;
        elementwise::grad_in_place(self.isa, &f.into(), x, dy_dx);
        Ok(())
    }

    /// y = function of each row of x along `axis`.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::LengthMismatch`].
    pub fn apply_axis_into(
        &self,
        function: AxisFunction,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
    ) -> Result<()> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.output_elements(function), y.len())?;
        for (y, want) in y
            .iter_mut()
            .zip(reference::axis_forward(function, x, &shape))
        {
            *y = want as f32;
        }
        Ok(())
    }

    /// dx = the gradient of `function` by x along `axis` for the upstream gradient dy.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::LengthMismatch`].
    pub fn grad_axis_into(
        &self,
        function: AxisFunction,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length(
            "the upstream gradient",
            shape.output_elements(function),
            dy.len(),
        )?;
        same_length("the output", x.len(), dx.len())?;
        let (want, _) = reference::axis_backward(function, x, dy, &shape);
        for (dx, want) in dx.iter_mut().zip(want) {
            *dx = want as f32;
        }
        Ok(())
    }
}

/// An error where `got` elements are not as many as `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(Error::LengthMismatch {
            what,
            expected,
            got,
        })
    }
}
