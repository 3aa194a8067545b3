//! The arrays of `activations bench` where the backend computes, and how long calls take.

use super::copy::CopyKernel;
use super::subject::{Input, Ready, Subject, Values, noise};
use crate::error::CliError;
use crate::memory::zeros_of;
use serde::Serialize;
use std::time::{Duration, Instant};
use wgpu_activations::{
    Activation, Array, Backend, Call, Gpu, Labels, Mask, OfShape, Operation, Targets, Tensor,
    TensorArray,
};

/// A sample is at least this long: calls are repeated to fill it.
const SAMPLE: Duration = Duration::from_millis(20);

/// Samples of each operation; the median of an odd number is one of them.
const SAMPLES: usize = 9;

/// The rate of an operation in one direction.
#[derive(Serialize)]
pub struct Entry {
    pub function: &'static str,
    pub pass: &'static str,
    /// Bytes read and written by one call.
    bytes: u64,
    pub median_ms: f64,
    pub median_gb_per_s: f64,
    pub best_gb_per_s: f64,
    pub copy_median_gb_per_s: f64,
    /// The median of the ratios of neighbouring samples.
    pub share_of_copy: f64,
}

/// What one call computes: the value, or the gradient by the first input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Forward,
    Backward,
}

impl Pass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// A backend with what a copy takes there.
pub struct Rig {
    backend: Backend,
    shape: Vec<usize>,
    copied: Copied,
}

enum Copied {
    Memory { from: Vec<f32>, to: Vec<f32> },
    Kernel { gpu: Gpu, kernel: CopyKernel },
}

/// An operation with its arrays in host memory, and where the backend computes if that is elsewhere.
pub struct Prepared {
    name: &'static str,
    host: Host,
    device: Option<Device>,
}

impl Prepared {
    /// Of an operation around arrays of `shape`.
    pub fn new(backend: &Backend, subject: &Subject, shape: &[usize]) -> Result<Self, CliError> {
        let host = Host::new(subject, shape)?;
        let device = match backend {
            Backend::Gpu(gpu) => Some(Device::new(gpu, &host)?),
            _ => None,
        };
        Ok(Self {
            name: subject.name,
            host,
            device,
        })
    }

    /// How long `calls` calls take on arrays that stay where the backend computes.
    pub fn resident(
        &mut self,
        backend: &Backend,
        pass: Pass,
        calls: usize,
    ) -> Result<Duration, CliError> {
        match &self.device {
            Some(device) => device.time(&*self.host.operation, pass, calls),
            None => self.in_memory(backend, pass, calls),
        }
    }

    /// The same on arrays in host memory.
    pub fn in_memory(
        &mut self,
        backend: &Backend,
        pass: Pass,
        calls: usize,
    ) -> Result<Duration, CliError> {
        self.host.time(backend, pass, calls)
    }

    /// Whether there is a gradient.
    pub fn has(&self, pass: Pass) -> bool {
        pass == Pass::Forward || self.host.dy.is_some()
    }

    /// The bytes that one call reads and writes.
    pub fn bytes(&self, pass: Pass) -> usize {
        let Host { inputs, y, dy, .. } = &self.host;
        let read: usize = inputs.iter().map(Input::bytes).sum();
        match (pass, dy) {
            (Pass::Backward, Some(dy)) => read + size_of_val(&dy[..]) + inputs[0].bytes(),
            _ => read + size_of_val(&y[..]),
        }
    }
}

/// An operation's arrays in host memory.
struct Host {
    operation: Box<dyn Operation>,
    inputs: Vec<Input>,
    /// The result and its shape.
    y: Vec<f32>,
    shape: Vec<usize>,
    /// The upstream gradient, and the gradient by the first input.
    dy: Option<Vec<f32>>,
    dx: Vec<f32>,
}

impl Host {
    fn new(subject: &Subject, shape: &[usize]) -> Result<Self, CliError> {
        let Ready {
            operation,
            inputs,
            shape,
        } = subject.made(shape)?;
        let y = zeros_of(&shape)?;
        let (dy, dx) = match subject.has_gradient() {
            true => (Some(noise(y.len(), 1.0, 9)?), zeros_of(inputs[0].shape())?),
            false => (None, Vec::new()),
        };
        Ok(Self {
            operation,
            inputs,
            y,
            shape,
            dy,
            dx,
        })
    }

    fn time(&mut self, backend: &Backend, pass: Pass, calls: usize) -> Result<Duration, CliError> {
        let arrays = self.inputs.iter().map(Input::array);
        let (call, out) = match (pass, &self.dy) {
            (Pass::Backward, Some(dy)) => {
                let dy: Array<'_> = dy.of_shape(&self.shape).into();
                (Call::gradients(arrays, dy), &mut self.dx)
            }
            _ => (Call::value(arrays), &mut self.y),
        };
        let results = call.shapes(&*self.operation)?.len();
        let start = Instant::now();
        for _ in 0..calls {
            let mut outputs = vec![Some((&mut out[..]).into())];
            // Gradients by others are not asked for.
            outputs.resize_with(results, || None);
            backend.run(&*self.operation, &call, &mut outputs)?;
        }
        Ok(start.elapsed())
    }
}

/// An operation's arrays on a device.
struct Device {
    gpu: Gpu,
    inputs: Vec<Sent>,
    y: Tensor,
    gradient: Option<[Tensor; 2]>,
}

enum Sent {
    Numbers(Tensor),
    Labels(Labels),
    Mask(Mask),
}

impl Device {
    fn new(gpu: &Gpu, host: &Host) -> Result<Self, CliError> {
        let logits = host.inputs[0].shape();
        let sent = |input: &Input| -> Result<Sent, CliError> {
            let labels = |targets: Targets<'_>| match host.operation.class_loss() {
                Some(loss) => gpu.labels(loss, logits, targets).map(Some),
                None => Ok(None),
            };
            Ok(match &input.values {
                Values::Mask(keep) => Sent::Mask(gpu.upload_mask(keep, input.shape())?),
                Values::Classes(classes) => {
                    let labels = labels(classes.into())?;
                    Sent::Labels(labels.ok_or_else(|| {
                        let name = host.operation.name();
                        CliError::Usage(format!("{name} takes no classes on a device"))
                    })?)
                }
                Values::Numbers(x) => Sent::Numbers(gpu.upload(x, input.shape())?),
            })
        };
        let inputs: Result<Vec<Sent>, CliError> = host.inputs.iter().map(sent).collect();
        let gradient = match &host.dy {
            Some(dy) => Some([gpu.upload(dy, &host.shape)?, gpu.empty(logits)?]),
            None => None,
        };
        Ok(Self {
            inputs: inputs?,
            y: gpu.empty(&host.shape)?,
            gradient,
            gpu: gpu.clone(),
        })
    }

    fn time(
        &self,
        operation: &dyn Operation,
        pass: Pass,
        calls: usize,
    ) -> Result<Duration, CliError> {
        let arrays: Vec<TensorArray<'_>> = self
            .inputs
            .iter()
            .map(|sent| match sent {
                Sent::Numbers(tensor) => tensor.into(),
                Sent::Labels(labels) => labels.into(),
                Sent::Mask(mask) => mask.into(),
            })
            .collect();
        let start = Instant::now();
        let mut batch = self.gpu.batch();
        for _ in 0..calls {
            match (pass, &self.gradient) {
                (Pass::Backward, Some([dy, dx])) => {
                    batch.grad_into(operation, &arrays[..], dy, dx)?;
                }
                _ => batch.apply_into(operation, &arrays[..], &self.y)?,
            }
        }
        batch.submit()?;
        self.gpu.wait()?;
        Ok(start.elapsed())
    }
}

impl Rig {
    pub fn new(backend: Backend, shape: &[usize]) -> Result<Self, CliError> {
        let copied = match &backend {
            Backend::Gpu(gpu) => Copied::Kernel {
                kernel: CopyKernel::new(gpu, shape.iter().product()),
                gpu: gpu.clone(),
            },
            _ => Copied::Memory {
                from: zeros_of(shape)?,
                to: zeros_of(shape)?,
            },
        };
        Ok(Self {
            backend,
            shape: shape.to_vec(),
            copied,
        })
    }

    pub fn prepare(&self, subject: &Subject) -> Result<Prepared, CliError> {
        Prepared::new(&self.backend, subject, &self.shape)
    }

    fn copy_bytes(&self) -> u64 {
        match &self.copied {
            Copied::Memory { from, .. } => 2 * size_of_val(&from[..]) as u64,
            Copied::Kernel { kernel, .. } => kernel.bytes(),
        }
    }

    /// How long so many copies take.
    fn copies(&mut self, calls: usize) -> Result<Duration, CliError> {
        let start = Instant::now();
        match &mut self.copied {
            Copied::Memory { from, to } => {
                for _ in 0..calls {
                    self.backend
                        .apply_into(Activation::Identity, &*from, &mut *to)?;
                }
            }
            Copied::Kernel { gpu, kernel } => {
                kernel.submit(gpu, calls);
                gpu.wait()?;
            }
        }
        Ok(start.elapsed())
    }

    /// The rate in a direction; none where there is no gradient.
    pub fn measure(&mut self, of: &mut Prepared, pass: Pass) -> Result<Option<Entry>, CliError> {
        if !of.has(pass) {
            return Ok(None);
        }
        let backend = self.backend.clone();
        let bytes = of.bytes(pass) as u64;
        let copied = self.copy_bytes();
        let mut work = |calls| of.resident(&backend, pass, calls);
        let calls = filling(&mut work)?;
        let copies = filling(|calls| self.copies(calls))?;
        let rate = |bytes: u64, calls: usize, taken: Duration| {
            bytes as f64 * calls as f64 / taken.as_secs_f64() / 1e9
        };
        let (mut of_copies, mut rates, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            let copy = rate(copied, copies, self.copies(copies)?);
            let own = rate(bytes, calls, work(calls)?);
            of_copies.push(copy);
            rates.push(own);
            shares.push(own / copy);
        }
        let best = rates.iter().copied().fold(0.0, f64::max);
        let median_rate = median(&mut rates);
        Ok(Some(Entry {
            function: of.name,
            pass: pass.name(),
            bytes,
            median_ms: bytes as f64 / median_rate / 1e6,
            median_gb_per_s: median_rate,
            best_gb_per_s: best,
            copy_median_gb_per_s: median(&mut of_copies),
            share_of_copy: median(&mut shares),
        }))
    }
}

/// The calls that fill a sample; warms everything up on the way.
pub fn filling(
    mut time: impl FnMut(usize) -> Result<Duration, CliError>,
) -> Result<usize, CliError> {
    time(1)?;
    let one = time(1)?.max(Duration::from_nanos(100));
    let calls = SAMPLE.as_nanos().div_ceil(one.as_nanos());
    Ok(usize::try_from(calls).unwrap_or(1).clamp(1, 1000))
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
