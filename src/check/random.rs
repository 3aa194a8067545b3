//! The check of what draws random numbers: Gumbel noise, and the randomised leaky rectifier.

use super::{Pass, Report};
use crate::backend::Trial;
use crate::error::Result;
use crate::random::Random;
use crate::reference::random as reference;
use crate::reference::ulp_error;
use crate::rrelu::Rrelu;

checks! {
    /// Holds the numbers of the generator on `backend` against its definition, bit for bit, and Gumbel
    /// noise against f64, over a million of each.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn noise / noise_async / noise_by () -> Vec<Report>;
}

pub(crate) async fn noise_by(backend: &Trial) -> Result<Vec<Report>> {
    const COUNT: usize = 1 << 20;
    let random = Random::new(0x9e37_79b9_7f4a_7c15).stream(3).starting_at(5);
    let mut uniform = Report::new("uniform".to_owned(), Pass::Forward, 0.0);
    for (i, got) in backend
        .uniform(random, COUNT)
        .await?
        .into_iter()
        .enumerate()
    {
        let want = random.uniform(i as u64);
        uniform.add(i as f32, got, want.into(), ulp_error(got, want.into(), 0.0));
    }
    let mut gumbel = Report::new("gumbel_noise".to_owned(), Pass::Forward, 2.0);
    for (i, got) in backend
        .gumbel_noise(random, COUNT)
        .await?
        .into_iter()
        .enumerate()
    {
        let want = reference::gumbel(random, i as u64);
        let u = random.uniform(i as u64);
        gumbel.add(u, got, want, ulp_error(got, want, 0.0));
    }
    Ok(vec![uniform, gumbel])
}

checks! {
    /// Holds rrelu in training and in evaluation, forward and backward, against f64.
    ///
    /// # Errors
    /// The backend's own; a breach is in the report.
    fn rrelu / rrelu_async / rrelu_by () -> Vec<Report>;
}

pub(crate) async fn rrelu_by(backend: &Trial) -> Result<Vec<Report>> {
    let specials = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let stratified = (0..=u32::MAX).step_by(50_021).map(f32::from_bits);
    let x: Vec<f32> = specials.into_iter().chain(stratified).collect();
    let dy: Vec<f32> = x.iter().rev().copied().collect();
    // A subnormal input may be flushed, and then takes the slope of zero.
    let flushed: Vec<f32> = x
        .iter()
        .map(|&x| if x.is_subnormal() { 0.0 } else { x })
        .collect();
    let random = Random::new(17);
    let mut forward = Report::new("rrelu".to_owned(), Pass::Forward, 2.0);
    let mut backward = Report::new("rrelu".to_owned(), Pass::Backward, 4.0);
    for (lower, upper) in [
        (0.125, 1.0 / 3.0),
        (-0.3, 0.7),
        (1.5, 1.5),
        (0.0, 0.0),
        (-2e3, 1e-3),
    ] {
        let evaluation = Rrelu::new(lower, upper)?;
        for rrelu in [evaluation, evaluation.training(random)] {
            let largest = reference::rrelu_largest_term(rrelu);
            let got = backend.apply(rrelu, &x).await?;
            let want = reference::rrelu(rrelu, &x);
            for i in 0..x.len() {
                let term = largest * f64::from(if x[i] < 0.0 { x[i].abs() } else { 0.0 });
                forward.add(x[i], got[i], want[i], error(got[i], want[i], term, x[i]));
            }
            let got = backend.grad(rrelu, &x, &dy).await?;
            let want = reference::grad_rrelu(rrelu, &x, &dy);
            let by_zero = reference::grad_rrelu(rrelu, &flushed, &dy);
            for i in 0..x.len() {
                let off = |x: f32, want: f64| {
                    let term = largest * f64::from(if x > 0.0 { 0.0 } else { dy[i].abs() });
                    error(got[i], want, term, dy[i])
                };
                let ulp = off(x[i], want[i]).min(off(flushed[i], by_zero[i]));
                backward.add(x[i], got[i], want[i], ulp);
            }
        }
    }
    Ok(vec![forward, backward])
}

/// The error beside the largest term; a subnormal factor may have been flushed to zero.
fn error(got: f32, want: f64, largest: f64, factor: f32) -> f64 {
    let largest = if largest.is_finite() { largest } else { 0.0 };
    if factor.is_subnormal() && got == 0.0 {
        return 0.0;
    }
    ulp_error(got, want, largest)
}
