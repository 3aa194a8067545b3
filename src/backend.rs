//! One type over both backends, for arrays in host memory.

use crate::Cpu;
use crate::catalogue::Elementwise;
use crate::cpu::threads::Place;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, Admitted, Gpu, GpuOptions};
use crate::kernels::lock;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

/// Which backend to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// What is fastest: a hardware GPU that opens and computes right, or an adapter that is named, else
    /// the CPU.
    #[default]
    Auto,
    /// A GPU, or an error.
    Gpu,
    /// The CPU.
    Cpu,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        })
    }
}

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(format!(
                "no backend is called '{}'; use auto, gpu or cpu",
                crate::error::shown(text)
            )),
        }
    }
}

/// Elements that are moved at a time where a call replaces its input.
const PIECE: usize = 4 << 20;

/// What a call computes: on the device, or on the CPU where the backend is that or the adapter is
/// not to be trusted with what the call needs. Every call that a device may compute goes through it.
macro_rules! either {
    ($backend:expr, |$gpu:ident| $on_gpu:expr, |$cpu:ident| $on_cpu:expr) => {
        'done: {
            let $cpu = match $backend {
                $crate::Backend::Gpu($gpu) => match $on_gpu {
                    Err($crate::Error::Untrusted { .. }) => &$crate::Cpu::new(),
                    done => break 'done done,
                },
                $crate::Backend::Cpu(cpu, _) => cpu,
            };
            $on_cpu
        }
    };
}

/// A GPU or the CPU, computing on arrays in host memory.
///
/// Arrays are row-major f32, [`half::f16`] or [`half::bf16`], and are computed in f32 or better.
/// A call takes an operation, which is a value with its options and its axis, and the arrays that it is
/// computed of: slices, slices of a shape ([`OfShape`](crate::OfShape)), or a tuple of them. `_into` calls
/// write an array of any type of numbers. Every call has an `_async` twin that does not block its thread:
/// other threads compute, or wait for the GPU, on copies of the arrays.
///
/// ```
/// use wgpu_activations::{Activation, Backend};
/// let backend = Backend::auto()?;
/// let y = backend.apply(Activation::Relu, &[-1.0, 2.0])?;
/// assert_eq!(y, [0.0, 2.0]);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Backend {
    /// A GPU.
    Gpu(Gpu),
    /// The CPU, and why it was taken.
    Cpu(Cpu, String),
}

/// A call and its twin that does not block. `fn name / async_name / core` hands its arguments to `core`
/// as they are. With `[arrays]`, `core` computes in f32: arrays of 16-bit numbers are widened before it
/// and what comes out is rounded behind it. `f @ Type` is made that type first.
///
/// The twin makes the call on another thread, with arguments of its own
/// ([`carried`](crate::backend::carried)), unless the CPU computes it faster than to wait for one.
macro_rules! twins {
    ($(
        $(#[$doc:meta])*
        fn $name:ident / $async_name:ident / $core:ident $(<$number:ident>)? $([$($array:ident),+])? ($($argument:ident $(@ $into:ident)?: $type:ty),*) -> $output:ty;
    )*) => {
        $(
            $(#[$doc])*
            #[cfg(not(target_arch = "wasm32"))]
            pub fn $name$(<$number: Element>)?(&self, $($argument: $type),*) -> Result<$output> {
                pollster::block_on(twins!(@call self, $core, HostWait::BLOCK, [$($($array),+)?], $($argument),*))
            }

            #[doc = concat!("[`Backend::", stringify!($name), "`] without blocking its thread.")]
            ///
            /// # Errors
            #[doc = concat!("As [`Backend::", stringify!($name), "`].")]
            pub async fn $async_name$(<$number: Element>)?(&self, $($argument: $type),*) -> Result<$output> {
                use $crate::backend::carried::{Carry, FEW, Give, Lend};
                $($(let $argument: $into = $argument.into();)?)*
                let (backend, place) = self.elsewhere(false);
                let elements = 0_usize $(.saturating_add($argument.elements()))*;
                let elements = elements.saturating_mul(1 $(* $argument.passes())*);
                if place == $crate::cpu::threads::Place::Pool && elements <= FEW {
                    return twins!(@call backend, $core, HostWait::ELSEWHERE, [$($($array),+)?], $($argument),*).await;
                }
                $(let $argument = Carry::carried(&$argument).await;)*
                $crate::cpu::threads::elsewhere(place, async move || {
                    $(let $argument = Lend::lent(&$argument); let $argument = Give::given(&$argument);)*
                    twins!(@call backend, $core, HostWait::ELSEWHERE, [$($($array),+)?], $($argument),*).await
                })
                .await
            }
        )*
    };
    (@call $self:ident, $core:ident, $wait:expr, [], $($argument:ident),*) => {
        $self.$core($($argument,)* $wait)
    };
    (@call $self:ident, $core:ident, $wait:expr, [$($array:ident),+], $($argument:ident),*) => {
        async {
            $(let $array = &*convert::widened($array);)+
            $self.$core($($argument,)* $wait).await
        }
    };
}

// Behind the macro, which they use.
mod calls;
pub use calls::Call;
pub(crate) mod carried;
mod chain;
mod learn;
mod many;
mod random;
mod statistics;
mod trial;
pub(crate) use trial::Trial;

/// What [`Backend::auto`] opened in this process, and for which choice.
static OPENED: Mutex<Option<(AdapterChoice, Backend)>> = Mutex::new(None);

/// How a backend's GPU is opened; none is for the CPU.
fn options(kind: BackendKind, adapter: &AdapterChoice) -> Option<GpuOptions> {
    let admitted = match kind {
        BackendKind::Auto => Admitted::Hardware,
        BackendKind::Gpu => Admitted::All,
        BackendKind::Cpu => return None,
    };
    let options = GpuOptions::new().adapter(adapter.clone());
    Some(options.admitted(admitted))
}

impl Backend {
    /// What is fastest: a hardware GPU that opens and computes right, else the CPU;
    /// [`Backend::description`] says which, and why. A software adapter such as Mesa's lavapipe computes
    /// on the same cores as the CPU backend and takes longer, so that it is taken only where it is asked
    /// for: by the environment variable `WGPU_ADAPTER_NAME`, which names any adapter, or with
    /// [`Backend::gpu`].
    ///
    /// The backend is opened once a process: later calls return the same one, with the same device, until
    /// that is lost. [`Backend::open`] opens a device of its own.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`] where the named adapter is not there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn auto() -> Result<Self> {
        let choice = AdapterChoice::from_env();
        match Self::opened(&choice) {
            Some(backend) => Ok(backend),
            None => Self::open(BackendKind::Auto, &choice).map(|backend| backend.kept(choice)),
        }
    }

    /// [`Backend::auto`] without blocking.
    ///
    /// # Errors
    /// As [`Backend::auto`].
    pub async fn auto_async() -> Result<Self> {
        let choice = AdapterChoice::from_env();
        if let Some(backend) = Self::opened(&choice) {
            return Ok(backend);
        }
        let backend = Self::open_async(BackendKind::Auto, &choice).await?;
        Ok(backend.kept(choice))
    }

    /// What [`Backend::auto`] opened for that choice, unless it is lost.
    fn opened(choice: &AdapterChoice) -> Option<Self> {
        let (asked, backend) = lock(&OPENED).clone()?;
        let is_lost = matches!(&backend, Self::Gpu(gpu) if gpu.is_lost());
        (asked == *choice && !is_lost).then_some(backend)
    }

    /// Nothing is locked while a device opens: of two that open at once the later one stays.
    fn kept(self, choice: AdapterChoice) -> Self {
        *lock(&OPENED) = Some((choice, self.clone()));
        self
    }

    /// The best GPU; never the CPU instead, but for an activation or a function of the softmax
    /// family that the adapter is found to get wrong ([`SelfCheck`](crate::SelfCheck)).
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownAdapter`], [`Error::DeviceRequest`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpu() -> Result<Self> {
        Self::open(BackendKind::Gpu, &AdapterChoice::from_env())
    }

    /// [`Backend::gpu`] without blocking.
    ///
    /// # Errors
    /// As [`Backend::gpu`].
    pub async fn gpu_async() -> Result<Self> {
        Self::open_async(BackendKind::Gpu, &AdapterChoice::from_env()).await
    }

    /// The CPU.
    pub fn cpu() -> Self {
        Self::Cpu(Cpu::new(), "asked for".to_owned())
    }

    /// A backend of a kind, on an adapter of choice where it is a GPU.
    ///
    /// # Errors
    /// As [`Backend::auto`] and [`Backend::gpu`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(kind: BackendKind, adapter: &AdapterChoice) -> Result<Self> {
        match options(kind, adapter) {
            Some(options) => Self::on(kind, Gpu::open_with(&options)),
            None => Ok(Self::cpu()),
        }
    }

    /// [`Backend::open`] without blocking.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub async fn open_async(kind: BackendKind, adapter: &AdapterChoice) -> Result<Self> {
        match options(kind, adapter) {
            Some(options) => Self::on(kind, Gpu::open_with_async(&options).await),
            None => Ok(Self::cpu()),
        }
    }

    /// What computes for an async call, and where it does; `host` where the host computes on any
    /// backend.
    fn elsewhere(&self, host: bool) -> (Self, Place) {
        match self {
            Self::Gpu(_) if !host => (self.clone(), Place::Own),
            _ => (Self::cpu(), Place::Pool),
        }
    }

    /// A device as a backend; or the CPU, where that will do and no device opens, or nothing on it
    /// is to be trusted.
    pub(crate) fn on(kind: BackendKind, opened: Result<Gpu>) -> Result<Self> {
        let on_cpu = |why: String| Ok(Self::Cpu(Cpu::new(), why));
        if kind != BackendKind::Auto {
            return opened.map(Self::Gpu);
        }
        match opened {
            Ok(gpu) => {
                let broken = gpu.kernels().trust().anything().err();
                match broken {
                    Some(error) => on_cpu(format!("{} was left: {error}", gpu.info().name)),
                    None => Ok(Self::Gpu(gpu)),
                }
            }
            // Nobody is given the CPU for an adapter that they named and that is not there.
            Err(error @ Error::UnknownAdapter { .. }) => Err(error),
            Err(Error::NoAdapter { reason, .. }) => on_cpu(format!("no GPU adapter: {reason}")),
            Err(error) => on_cpu(format!("no GPU opens: {error}")),
        }
    }

    /// Which of the two it is.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Gpu(_) => BackendKind::Gpu,
            Self::Cpu(..) => BackendKind::Cpu,
        }
    }

    /// The same backend, whose GPU is taken at its word; see [`Gpu::trusting`].
    pub fn trusting(&self) -> Self {
        match self {
            Self::Gpu(gpu) => Self::Gpu(gpu.trusting()),
            Self::Cpu(..) => self.clone(),
        }
    }

    /// One line: the backend, its device, why it was taken, and which functions the CPU computes
    /// in the place of a GPU that gets them wrong.
    pub fn description(&self) -> String {
        match self {
            Self::Gpu(gpu) => format!("gpu: {}", gpu.description()),
            Self::Cpu(cpu, why) => format!("{}; {why}", cpu.description()),
        }
    }

    /// x = f(x).
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn apply_in_place<T: Element>(&self, f: impl Into<Elementwise>, x: &mut [T]) -> Result<()> {
        if let Self::Cpu(cpu, _) = self {
            return cpu.apply_in_place(f, x);
        }
        let f = f.into();
        let mut staged = Vec::new();
        for piece in x.chunks_mut(PIECE) {
            staged.clear();
            staged.extend_from_slice(piece);
            self.apply_into(f, &staged, piece)?;
        }
        Ok(())
    }

    /// [`Backend::apply_in_place`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply_in_place`].
    pub async fn apply_in_place_async<T: Element>(
        &self,
        f: impl Into<Elementwise>,
        x: &mut [T],
    ) -> Result<()> {
        let f = f.into();
        for piece in x.chunks_mut(PIECE) {
            let y = self.apply_async(f, &*piece).await?;
            carried::copy_back(y, piece).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
