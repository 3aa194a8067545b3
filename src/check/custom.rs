//! A caller's function against its formula in f64.

use super::{Pass, Report, inputs};
use crate::backend::Trial;
use crate::catalogue::Activation;
use crate::chain::Chain;
use crate::custom::Custom;
use crate::error::Result;
use crate::reference::ulp_error;
use std::borrow::Borrow;
use std::ops::RangeInclusive;

checks! {
    /// Holds a custom function and its derivative on `backend` against its formula, and the derivative
    /// against dual numbers, over the inputs of the catalogue's check that lie in `range`.
    ///
    /// Where f'(x) is small, its error is measured against |f(x) / x|, which a derivative that changes
    /// sign is about a difference of.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn custom / custom_async / custom_by (function: &Custom, range: RangeInclusive<f32>) -> Vec<Report>;
}

pub(super) async fn custom_by(
    backend: &Trial,
    function: impl Borrow<Custom>,
    range: RangeInclusive<f32>,
) -> Result<Vec<Report>> {
    let function = function.borrow();
    let mut x = inputs(&Activation::Identity.into());
    x.retain(|x| range.contains(x) || x.is_nan());
    let chain = Chain::new().apply(function);
    let (shape, bounds) = ([x.len()], function.bounds());
    let mut forward = Report::new(function.to_string(), Pass::Forward, bounds.forward.into());
    let y = backend.apply_chain(&chain, &x, &shape).await?;
    for (&x, got) in x.iter().zip(y) {
        let want = function.reference(x.into());
        forward.add(x, got, want, ulp_error(got, want, 0.0));
    }
    let mut backward = Report::new(function.to_string(), Pass::Backward, bounds.backward.into());
    let ones = vec![1.0; x.len()];
    let dx = backend.grad_chain(&chain, &x, &shape, &ones).await?;
    for (&x, got) in x.iter().zip(dx) {
        let want = function.reference_derivative(x.into());
        let secant = (function.reference(x.into()) / f64::from(x)).abs();
        let largest = if secant.is_finite() { secant } else { 0.0 };
        backward.add(x, got, want, ulp_error(got, want, largest));
    }
    Ok(vec![forward, backward])
}
