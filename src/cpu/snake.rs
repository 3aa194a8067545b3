//! Snake, whose sine has arguments of up to 1e77: nearly all are small, and these are reduced without a table,
//! so that the loop is SIMD code. An element's way depends on its own value alone.

use super::isa::Kernel;
use super::wide::{Wide, times_slope};
use crate::catalogue::{Formula, MAX_PARAMETERS, formulas::Snake};
use std::f64::consts::FRAC_1_PI;

/// Up to here the argument has below 2^20 half periods, whose products with [`PI_HIGH`] and [`PI_MIDDLE`] are
/// exact.
const NEAR: f64 = 3.0e6;
/// Pi in three parts, of which the first two have 32 bits.
const PI_HIGH: f64 = f64::from_bits(0x4009_21fb_5440_0000);
const PI_MIDDLE: f64 = f64::from_bits(0x3de0_b461_1a00_0000);
const PI_LOW: f64 = 1.666_748_583_704_175_8e-19;
/// What is added to this is rounded to an integer, whose lowest bit is the sum's.
const MAGIC: f64 = 1.5 * (1u64 << 52) as f64;

/// (sin(r) / r - 1) / r² in u = r² for |r| <= pi / 2, by the method of [`wide`](super::wide); with it sin(r) has
/// error 2^-54.6.
const SIN: [f64; 8] = [
    -0.166_666_666_666_666_66,
    0.008_333_333_333_333_316,
    -0.000_198_412_698_412_549_66,
    2.755_731_921_916_083_3e-6,
    -2.505_210_761_669_045e-8,
    1.605_897_729_264_274_3e-10,
    -7.643_969_663_988_074e-13,
    2.731_436_876_937_989_3e-15,
];

#[inline(always)]
fn mul_add<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The sine of at most [`NEAR`], within 2^-52.
#[inline(always)]
fn sin<const FMA: bool>(x: f64) -> f64 {
    let shifted = x * FRAC_1_PI + MAGIC;
    let n = shifted - MAGIC;
    let r = mul_add::<FMA>(n, -PI_HIGH, x);
    let r = mul_add::<FMA>(n, -PI_MIDDLE, r);
    let r = mul_add::<FMA>(n, -PI_LOW, r);
    let u = r * r;
    let mut p = SIN[7];
    for c in SIN.iter().rev().skip(1) {
        p = mul_add::<FMA>(p, u, *c);
    }
    let y = mul_add::<FMA>(r * u, p, r);
    // Every other half period is below zero.
    f64::from_bits(y.to_bits() ^ (shifted.to_bits() << 63))
}

/// The parameters as the catalogue's formula takes them.
fn wide<const FMA: bool>([p0, p1]: [f32; MAX_PARAMETERS]) -> [Wide<FMA>; MAX_PARAMETERS] {
    [Wide(p0.into()), Wide(p1.into())]
}

/// y = f(x), by the catalogue's formula.
pub(super) struct Forward<'a> {
    pub parameters: [f32; MAX_PARAMETERS],
    pub x: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let alpha = f64::from(self.parameters[0]);
        let is_near = |x: f32| (alpha * f64::from(x)).abs() <= NEAR;
        let mut all_near = true;
        for (y, &x) in self.out.iter_mut().zip(self.x) {
            all_near &= is_near(x);
            let x = f64::from(x);
            let wave = sin::<FMA>(alpha * x);
            *y = (x + wave * wave / alpha) as f32;
        }
        if !all_near {
            let parameters = wide::<FMA>(self.parameters);
            let all = self.out.iter_mut().zip(self.x);
            for (y, &x) in all.filter(|(_, x)| !is_near(**x)) {
                let value = Snake::forward(Wide::<FMA>(x.into()), parameters).0 as f32;
                *y = if x.is_nan() { x } else { value };
            }
        }
    }
}

/// dx = dy·f'(x), by the catalogue's formula.
pub(super) struct Backward<'a> {
    pub parameters: [f32; MAX_PARAMETERS],
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let twice = 2.0 * f64::from(self.parameters[0]);
        let is_near = |x: f32| (twice * f64::from(x)).abs() <= NEAR;
        let mut all_near = true;
        let all = self.x.iter().zip(self.dy);
        for (dx, (&x, &dy)) in self.out.iter_mut().zip(all.clone()) {
            all_near &= is_near(x);
            *dx = times_slope(x, dy, 1.0 + sin::<FMA>(twice * f64::from(x)));
        }
        if !all_near {
            let parameters = wide::<FMA>(self.parameters);
            let all = self.out.iter_mut().zip(all);
            for (dx, (&x, &dy)) in all.filter(|(_, (x, _))| !is_near(**x)) {
                *dx = times_slope(x, dy, Snake::backward(Wide::<FMA>(x.into()), parameters).0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst<const FMA: bool>() -> f64 {
        let near = NEAR as f32;
        let spread = (0..400_000).map(|i| (i as f32).mul_add(near / 400_000.0, 0.123).min(near));
        let middles = (0..900_000).map(|i| (f64::from(i) * std::f64::consts::PI) as f32);
        let small = (0..3_000_000).map(|i| f32::from_bits(i * 350));
        let all = spread.chain(middles).chain(small).map(f64::from);
        all.filter(|x| *x <= NEAR)
            .flat_map(|x| [x, -x, x * (1.0 + 2f64.powi(-30))])
            .map(|x| (sin::<FMA>(x) - libm::sin(x)).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn the_sine_is_that_of_libm() {
        let worst = worst::<false>().max(worst::<true>());
        assert!(worst <= 2f64.powi(-51), "{worst:e}");
    }
}
