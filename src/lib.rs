//! Neural-network activation functions and the softmax family, forward and backward, on any GPU
//! that wgpu reaches, and on the CPU to the same accuracy where there is none.
//!
//! # Which type to start with
//!
//! | You have | Take |
//! |---|---|
//! | arrays in host memory | [`Backend`]: one call, on a GPU or the CPU, whatever the size |
//! | arrays of the ndarray crate, of any strides | the same calls of [`Backend`], with the feature `ndarray` |
//! | arrays that are larger than memory | [`Stream`]: chunks from files, or anything else, to files |
//! | rows of which each of several machines has a part | [`RowPart`]: what of softmax and its kin has to travel |
//! | several operations in a row | [`Gpu`]: [`Tensor`]s stay on the device, a [`Batch`] is one submission |
//! | a wgpu program of your own | [`Kernels`]: records into your compute pass, on your buffers |
//! | a shader of your own | [`shader::fused`]: WGSL text of an activation, to call in it |
//!
//! ```
//! use wgpu_activations::{Activation, AxisFunction, Backend, OfShape};
//!
//! let backend = Backend::auto()?;
//! eprintln!("backend: {}", backend.description());
//!
//! let y = backend.apply(Activation::Gelu, &[-2.0, 0.0, 2.0])?;
//! assert!((y[2] - 1.9544997).abs() < 1e-6);
//!
//! // Two rows of three, along the last axis.
//! let x = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0];
//! let p = backend.apply(AxisFunction::Softmax.along(-1), x.of_shape(&[2, 3]))?;
//! assert!((p[3] - 1.0 / 3.0).abs() < 1e-6);
//! # Ok::<(), wgpu_activations::Error>(())
//! ```
//!
//! # What is computed
//!
//! [`Activation`] is the catalogue; [`Activation::info`] has each one's formula, derivative,
//! parameters and error bounds, and [`Activation::with`] sets parameters by name. Names are
//! PyTorch's, and so are defaults and the derivatives at kinks; other frameworks' names parse as
//! aliases. [`AxisFunction`] is the softmax family.
//!
//! A function with its options is an [`Operation`]: an activation, a function along an axis
//! ([`AxisFunction::along`], [`Gate::along`], [`SparseFunction::along`], [`GumbelSoftmax::along`],
//! [`Maxout::along`]), a [`Gate`] of two arrays, [`Prelu`], [`Rrelu`], a loss. All of them go through the
//! same calls of [`Backend`], and each but [`Prelu`] has a name that parses into one
//! ([`operations`] tells them all, with their options).
//!
//! Arrays are row-major f32, f16 or bf16 of any size, also of none; all are computed in f32 or
//! better. NaN comes out exactly where NaN went in, and
//! every function takes its mathematical limit at the infinities. How far a result may be from the
//! correctly rounded one is [`Bounds`]; [`check`] measures it against the f64 [`mod@reference`].
//!
//! # Waiting, errors
//!
//! Every blocking call of [`Backend`], [`Gpu`] and [`Tensor`] has an `_async` twin, which does not
//! block its thread. Another thread makes the call on copies of the arrays: it compiles, brings them to
//! the GPU and waits for that, or computes. The thread of the future does no more than copy what is read
//! and written, 128 Ki elements between two pauses, and what the CPU computes within about a
//! millisecond. Where no other thread is to be had, it makes the call itself.
//!
//! What blocks: recording into a [`Batch`] or by [`Kernels`] compiles what it has not met yet,
//! [`Gpu::tune_async`] compiles between its measurements, and a [`Stream`] reads and writes. The
//! strides of arrays of the ndarray crate are taken out by the caller's thread.
//!
//! In a browser (`wasm32`) there is one thread, which must not wait: the blocking calls, [`Stream`] and
//! [`check::exhaustive`] are not there, and the async ones compute on it.
//!
//! Wrong shapes, parameters, axes and buffers, a lost device and what wgpu reports
//! asynchronously all arrive as an [`Error`], and never as a panic.
//!
//! # Features
//!
//! `default` is `cache` and wgpu's own default features. With `default-features = false` and what is needed
//! of wgpu's (`wgpu = { version = "30", default-features = false, features = ["vulkan"] }` beside this crate)
//! a program has the graphics interfaces that it wants and no more (`metal` for Apple's systems). `cache` keeps compiled pipelines and tuned
//! numbers from run to run; without it there are no files, and neither serde nor directories. `ndarray` takes
//! arrays of that crate.
//!
//! # Environment
//!
//! `WGPU_BACKEND` limits the graphics interfaces that are asked (`vulkan`, `metal`, `dx12`, `gl`),
//! `ACTIVATIONS_CACHE` names the folder in which compiled pipelines and tuned numbers are kept from
//! run to run, or is `off` ([`Cache`]), and `WGPU_ADAPTER_NAME` asks [`Backend::auto`] and
//! [`Backend::gpu`] for an adapter by a part of its name.

mod arrays;
mod axis;
mod backend;
mod catalogue;
mod chain;
pub mod check;
mod cpu;
mod custom;
mod element;
mod element_loss;
mod element_shader;
mod error;
mod families;
mod few;
mod functions;
mod gate;
mod gpu;
mod gumbel;
mod kernels;
mod learn;
mod loss;
mod many;
mod maxout;
mod names;
#[cfg(feature = "ndarray")]
mod nd;
#[cfg(test)]
mod noop;
mod operation;
mod parts;
mod plan;
mod prelu;
mod random;
mod range;
pub mod reference;
mod rrelu;
mod self_check;
pub mod shader;
mod shape;
mod shaping;
mod sparse;
mod statistics;
#[cfg(not(target_arch = "wasm32"))]
mod stream;
mod sum;

pub use arrays::{
    Array, ArrayMut, BufferArray, Buffers, Inputs, OfShape, Output, Shaped, TypedSlice, Value,
};
pub use axis::AxisFunction;
pub use backend::{Backend, BackendKind, Call};
pub use catalogue::{Activation, Bounds, Elementwise, Info, Parameter};
pub use chain::{Chain, Step};
pub use cpu::Cpu;
pub use custom::{Custom, CustomBuilder, CustomFormula, Number};
pub use element::{DType, Element};
pub use error::{Error, Result};
pub use functions::families::*;
pub use functions::{
    Along, InputInfo, Maxout, OperationInfo, OptionInfo, OptionKind, Softmax, Way, operation_for,
    operation_named, operations,
};
pub use gate::{Gate, Layout, Order};
#[cfg(not(target_arch = "wasm32"))]
pub use gpu::adapters;
pub use gpu::{
    AdapterChoice, AdapterReport, Batch, Cache, Gpu, GpuOptions, Labels, Lengths, Mask, Tensor,
    TensorArray, Tensors, adapters_async,
};
#[cfg(feature = "cache")]
pub use gpu::{TuneCandidate, TuneReport, Tuned};
pub use gumbel::GumbelSoftmax;
pub use half;
pub use kernels::{ChainRanges, Counts, Kernels};
pub use learn::learnable;
pub use loss::{ClassLoss, CrossEntropy, NllLoss, Reduction, Targets};
pub use many::Item;
pub use maxout::Groups;
pub use operation::{IntoOperation, Kind as InputKind, Operation};
pub use parts::RowPart;
pub use prelu::Prelu;
pub use random::{Random, philox4x32};
pub use range::Range;
pub use rrelu::Rrelu;
pub use self_check::{Finding, SelfCheck, Verdict};
pub use shape::AxisShape;
pub use shaping::{Causal, RowPolicy, Shaping};
pub use sparse::SparseFunction;
pub use statistics::{Histogram, Inspect, Statistics};
#[cfg(not(target_arch = "wasm32"))]
pub use stream::{Progress, Raw, Sink, Source, Stream, StreamError, StreamInput};
pub use sum::SumShape;
pub use wgpu;

/// The README's code, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's, too.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
struct Guide;
