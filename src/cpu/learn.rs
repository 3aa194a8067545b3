//! Gradients by an activation's parameter: sums in f64.

use super::Cpu;
use super::isa::Kernel;
use super::sum::sum_of_chunks;
use super::wide::Wide;
use crate::catalogue::{Elementwise, MAX_PARAMETERS};
use crate::error::Result;
use crate::learn::{ByParameter, Learnable, ParameterVisitor};
use crate::shape::same_length;
use std::marker::PhantomData;

/// The sum of dy · df/dp over a part of the arrays.
struct Part<'a, F> {
    row: PhantomData<F>,
    parameters: [f32; MAX_PARAMETERS],
    x: &'a [f32],
    dy: &'a [f32],
}

impl<F: ByParameter> Kernel for Part<'_, F> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let p = self.parameters.map(|p| Wide::<FMA>(p.into()));
        // Sums side by side, so that lanes of any width add in the same order.
        let mut lanes = [0.0f64; 16];
        for (x, dy) in self.x.chunks(16).zip(self.dy.chunks(16)) {
            for ((lane, &x), &dy) in lanes.iter_mut().zip(x).zip(dy) {
                let product = f64::from(dy) * F::at(Wide::<FMA>(x.into()), p).0;
                // Of numbers, only 0 times an infinity is NaN; there the zero wins.
                let product = if product.is_nan() { 0.0 } else { product };
                let nan = x.is_nan() | dy.is_nan();
                *lane += if nan { f64::NAN } else { product };
            }
        }
        lanes.iter().fold(0.0, |total, lane| total + lane)
    }
}

struct Visit<'a> {
    cpu: &'a Cpu,
    parameters: [f32; MAX_PARAMETERS],
    x: &'a [f32],
    dy: &'a [f32],
}

impl ParameterVisitor for Visit<'_> {
    type Output = f64;
    fn visit<F: ByParameter>(self) -> f64 {
        let isa = self.cpu.isa;
        sum_of_chunks(self.x, self.dy, |x, dy| {
            isa.run(Part {
                row: PhantomData::<F>,
                parameters: self.parameters,
                x,
                dy,
            })
        })
    }
}

impl Cpu {
    /// The gradient by the parameter `name` of f: the sum of dy · df/dp, added up in f64 in an
    /// order of its own.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch),
    /// [`Error::UnknownParameter`](crate::Error::UnknownParameter),
    /// [`Error::NotLearnable`](crate::Error::NotLearnable).
    pub(crate) fn grad_parameter(
        &self,
        f: impl Into<Elementwise>,
        name: &str,
        x: &[f32],
        dy: &[f32],
    ) -> Result<f32> {
        let f = f.into();
        let learnable = Learnable::find(f.activation(), name)?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        let visit = Visit {
            cpu: self,
            parameters: f.packed(),
            x,
            dy,
        };
        Ok(learnable.visit(visit) as f32)
    }
}
