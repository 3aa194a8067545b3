//! Which instructions this machine has, and the one place where code that is compiled for them
//! is entered.

/// A computation that is compiled once for each instruction set.
///
/// `run` and all that it calls should be `#[inline(always)]`: only what is inlined into the
/// entry points below is compiled with their instructions.
pub(crate) trait Kernel {
    type Output;
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// A set of instructions that this machine was seen to have. The field is private and set in
/// [`Isa::available`] only, which makes entering code that is compiled for it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// AVX-512 F, VL, DQ and BW with FMA: eight f64 at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA: four f64 at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target always has: SSE2 on x86-64, NEON on AArch64.
    Baseline,
}

/// Whether the baseline has fused multiplication and addition.
const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

impl Isa {
    /// Every set that this machine has, the fastest first; never empty.
    pub(super) fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512vl") && has!("avx512dq") && has!("avx512bw") {
                sets.push(Self(Set::Avx512));
            }
            if avx2 {
                sets.push(Self(Set::Avx2));
            }
        }
        sets.push(Self(Set::Baseline));
        sets
    }

    /// The fastest set, found once for the process.
    pub(crate) fn best() -> Self {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// The name for people.
    pub(super) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Baseline if cfg!(target_arch = "x86_64") => "sse2",
            Set::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Set::Baseline => "baseline",
        }
    }

    /// Whether a product is added to without being rounded first.
    pub(super) fn fuses(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx2 => true,
            Set::Baseline => BASELINE_FMA,
        }
    }

    /// Runs `kernel` with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: a set other than the baseline is made in `available` only, after the
            // features that its entry point enables were detected on this machine.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { run_avx2(kernel) },
            Set::Baseline => kernel.run::<BASELINE_FMA>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Real;
    use crate::cpu::wide::Wide;

    struct Sigmoid<'a>(&'a mut [f64]);
    impl Kernel for Sigmoid<'_> {
        type Output = usize;
        #[inline(always)]
        fn run<const FMA: bool>(self) -> usize {
            for x in self.0.iter_mut() {
                *x = Wide::<FMA>(*x).sigmoid().0;
            }
            self.0.len()
        }
    }

    #[test]
    fn every_set_runs() {
        let sets = Isa::available();
        assert_eq!(sets[0], Isa::best());
        assert_eq!(sets.last(), Some(&Isa(Set::Baseline)));
        for isa in sets {
            let mut x: Vec<f64> = (-50..50).map(f64::from).collect();
            let want: Vec<f64> = x.iter().map(|&x| Real::sigmoid(x)).collect();
            assert_eq!(isa.run(Sigmoid(&mut x)), 100);
            for (got, want) in x.iter().zip(want) {
                assert!((got / want - 1.0).abs() < 1e-10, "{}", isa.name());
            }
        }
    }
}
