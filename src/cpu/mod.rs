//! The CPU backend: the same operations, the same accuracy contract, no adapter.
//!
//! An f32 is widened to f64, goes through the catalogue's own formula over [`wide::Wide`], and is
//! rounded back: that rounding is the only error there is to see. [`narrow`] has the few rows that
//! stay in f32 to keep up with memory, [`snake`] the one with a sine. [`isa`] picks the instruction
//! set when the backend is made, [`elementwise`], [`softmax`] and [`shaped`] run the loops.

mod chain;
mod classes;
pub(crate) mod convert;
mod element_loss;
mod elementwise;
mod gate;
mod gumbel;
mod isa;
mod learn;
mod lines;
mod loss;
mod maxout;
mod narrow;
mod narrow_rows;
mod nll;
mod passes;
mod phases;
mod prelu;
mod random;
mod rows;
mod shaped;
mod snake;
mod softmax;
mod sparse;
mod statistics;
mod sum;
pub(crate) mod threads;
mod tiles;
mod wide;

use crate::axis::AxisFunction;
use crate::catalogue::Elementwise;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::shape::{AxisShape, element_count, same_length};
use crate::shaping::Shaping;
use crate::statistics::{Inspect, Statistics, of_nothing};
use crate::sum::SumShape;
pub(crate) use element_loss::reached;
pub(crate) use isa::{Isa, Kernel};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use passes::Coefficients;
pub(crate) use passes::{Columns, Passes};
use phases::{Direction, Job};
pub(crate) use wide::Wide;

/// The CPU backend. Cheap to make and to clone.
///
/// Its threads are those of the rayon pool that the calling thread belongs to, or of the global one,
/// which is made when it is first needed, of as many threads as the system grants. Where that is
/// none, the calling thread computes.
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
        let threads = threads::count();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu: {threads} thread{plural}, {}", self.isa.name())
    }

    /// y = f(x), for x and y of the same length, and of any two types.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub(crate) fn apply_into<T: Element, U: Element>(
        &self,
        f: impl Into<Elementwise>,
        x: &[T],
        y: &mut [U],
    ) -> Result<()> {
        same_length("the output", x.len(), y.len())?;
        elementwise::apply(self.isa, &f.into(), x, y);
        Ok(())
    }

    /// x = f(x).
    ///
    /// # Errors
    /// None today; the signature is that of the other backends.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn apply_in_place<T: Element>(
        &self,
        f: impl Into<Elementwise>,
        x: &mut [T],
    ) -> Result<()> {
        elementwise::apply_in_place(self.isa, &f.into(), x);
        Ok(())
    }

    /// dx = dy · f'(x), for arrays of any three types. A zero factor wins over an infinite one; NaN
    /// in either gives NaN.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub(crate) fn grad_into<T: Element, U: Element, V: Element>(
        &self,
        f: impl Into<Elementwise>,
        x: &[T],
        dy: &[U],
        dx: &mut [V],
    ) -> Result<()> {
        same_length("the upstream gradient", x.len(), dy.len())?;
        same_length("the output", x.len(), dx.len())?;
        elementwise::grad(self.isa, &f.into(), x, dy, dx);
        Ok(())
    }

    /// The sums of x over some of its axes: added up in f64 in an order of their own, so that
    /// they have the same bits on any number of threads.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub(crate) fn sum_into(&self, shape: &SumShape, x: &[f32], sums: &mut [f32]) -> Result<()> {
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.sums(), sums.len())?;
        let exact = sum::sum(shape, |i| f64::from(x[i]));
        for (out, sum) in sums.iter_mut().zip(exact) {
            *out = sum as f32;
        }
        Ok(())
    }

    /// y = function of each row of x along `axis`.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::LengthMismatch`].
    pub(crate) fn apply_axis_into<T: Element>(
        &self,
        function: AxisFunction,
        x: &[T],
        shape: &[usize],
        axis: isize,
        y: &mut [T],
    ) -> Result<()> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.output_elements(function), y.len())?;
        let job = Job {
            function,
            direction: Direction::Forward,
            shape,
            x: Some(x),
            dy: &[],
        };
        softmax::run_any(self.isa, &job, y);
        Ok(())
    }

    /// dx = the gradient of `function` by x along `axis` for the upstream gradient dy.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::LengthMismatch`].
    pub(crate) fn grad_axis_into<T: Element>(
        &self,
        function: AxisFunction,
        x: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
        dx: &mut [T],
    ) -> Result<()> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length(
            "the upstream gradient",
            shape.output_elements(function),
            dy.len(),
        )?;
        same_length("the output", x.len(), dx.len())?;
        let job = Job {
            function,
            direction: Direction::Backward,
            shape,
            x: Some(x),
            dy,
        };
        softmax::run_any(self.isa, &job, dx);
        Ok(())
    }

    /// dx = the gradient of `function` along `axis` from its output y and the upstream gradient
    /// dy: what [`Cpu::grad_axis_into`] gives, without the exponentials.
    ///
    /// Softmax and softmin only: the gradients of the others need more precision than their
    /// output has.
    ///
    /// # Errors
    /// [`Error::NotFromOutput`] for another function; [`Error::AxisOutOfRange`],
    /// [`Error::LengthMismatch`].
    pub(crate) fn grad_axis_from_output_into<T: Element>(
        &self,
        function: AxisFunction,
        y: &[T],
        dy: &[T],
        shape: &[usize],
        axis: isize,
        dx: &mut [T],
    ) -> Result<()> {
        if !matches!(function, AxisFunction::Softmax | AxisFunction::Softmin) {
            return Err(Error::NotFromOutput {
                function: function.name(),
            });
        }
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), y.len())?;
        same_length("the upstream gradient", y.len(), dy.len())?;
        same_length("the output", y.len(), dx.len())?;
        let job = Job {
            function,
            direction: Direction::FromOutput,
            shape,
            x: Some(y),
            dy,
        };
        softmax::run_any(self.isa, &job, dx);
        Ok(())
    }

    /// y = function of each row of x along `axis`, after `shaping`.
    ///
    /// # Errors
    /// As [`Cpu::apply_axis_into`]; [`Error::NotBroadcastable`], [`Error::NoQueryAxis`],
    /// [`Error::ParameterOutOfRange`], [`Error::FullyMaskedRow`].
    pub(crate) fn apply_axis_shaped_into(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
    ) -> Result<()> {
        let geometry = shaping.geometry(shape, axis)?;
        let shape = &geometry.shape;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.output_elements(function), y.len())?;
        shaping.check_rows(&geometry)?;
        let job = shaped::Job {
            function,
            shaping,
            geometry: &geometry,
            x,
            dy: None,
            by_sink: false,
        };
        shaped::run(self.isa, &job, y);
        Ok(())
    }

    /// dx = the gradient of `function` after `shaping` by x along `axis` for the upstream gradient
    /// dy.
    ///
    /// # Errors
    /// As [`Cpu::apply_axis_shaped_into`].
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) fn grad_axis_shaped_into(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let geometry = shaping.geometry(shape, axis)?;
        let shape = &geometry.shape;
        let upstream = shape.output_elements(function);
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", upstream, dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        shaping.check_rows(&geometry)?;
        let job = shaped::Job {
            function,
            shaping,
            geometry: &geometry,
            x,
            dy: Some(dy),
            by_sink: false,
        };
        shaped::run(self.isa, &job, dx);
        Ok(())
    }

    /// The gradient of `function` after `shaping` by its sinks, or of the one number that it has,
    /// for the upstream gradient dy: a term for each row, rounded, and added up in f64.
    ///
    /// # Errors
    /// As [`Cpu::grad_axis_shaped_into`]; [`Error::NoSinks`], [`Error::ScatteredAxes`].
    #[expect(clippy::too_many_arguments, reason = "the operation's own")]
    pub(crate) fn grad_axis_sinks_into(
        &self,
        function: AxisFunction,
        shaping: &Shaping<'_>,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dsinks: &mut [f32],
    ) -> Result<()> {
        let geometry = shaping.geometry(shape, axis)?;
        let sums = shaping.sink_sums(shape, axis)?;
        let shape = &geometry.shape;
        let upstream = shape.output_elements(function);
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", upstream, dy.len())?;
        same_length("the gradient by the sinks", sums.sums(), dsinks.len())?;
        shaping.check_rows(&geometry)?;
        let job = shaped::Job {
            function,
            shaping,
            geometry: &geometry,
            x,
            dy: Some(dy),
            by_sink: true,
        };
        let mut terms = vec![0.0; shape.rows()];
        shaped::run(self.isa, &job, &mut terms);
        self.sum_into(&sums, &terms, dsinks)
    }
}

impl Cpu {
    /// Statistics of the activations of an array of pre-activations; see
    /// [`Backend::inspect`](crate::Backend::inspect).
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::AxisOutOfRange`], [`Error::OptionOutOfRange`].
    pub(crate) fn inspect(&self, what: &Inspect, x: &[f32], shape: &[usize]) -> Result<Statistics> {
        same_length("the array", element_count(shape)?, x.len())?;
        let units = what.units(shape)?;
        if x.is_empty() {
            return Ok(of_nothing(what, &units));
        }
        Ok(statistics::inspect(self.isa, what, x, &units))
    }
}
