//! Batches of operations on tensors, which run in one submission.

use super::asked::Staged;
use super::tensor::{Fate, Tensor, Undecided, Users};
use super::{Gpu, Inner};
use crate::catalogue::Activation;
use crate::element::DType;
use crate::error::{Error, Result};
use crate::few::Few;
use crate::kernels::{Kernels, lock};
use std::fmt;
use std::sync::Arc;

/// Operations that run in one submission, in the order of the calls.
///
/// Results are there after [`Batch::submit`]; a batch that is dropped without it runs nothing.
/// An error in a call records nothing and leaves the batch usable.
///
/// Several may be open at once. Those that share a tensor which one of them writes are submitted in
/// the order in which they were recorded; [`Batch::submit`] refuses any other order.
#[must_use = "a batch runs when it is submitted"]
pub struct Batch {
    gpu: Arc<Inner>,
    pub(super) handle: Gpu,
    /// Those of the device, which ask for the known answers of what is new to them.
    kernels: Kernels,
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// All tensors that the work refers to: their buffers must not go to anyone else before it
    /// is submitted.
    kept: Vec<Tensor>,
    /// Tensors that batches which are to be submitted before use, too.
    after: Vec<After>,
    fate: Undecided,
    /// What a browser will have against it.
    #[cfg(target_arch = "wasm32")]
    later: super::later::Recorded,
}

/// A batch that must be settled before another one is submitted, because both use a tensor.
struct After {
    what: &'static str,
    tensor: Tensor,
    fate: Arc<Fate>,
    /// Whether the other one makes what is read.
    makes: bool,
}

impl After {
    /// An error where the batch is open, or was dropped and nobody else made the tensor's values.
    fn check(&self) -> Result<()> {
        let (what, shape) = (self.what, self.tensor.shape().to_vec());
        if self.fate.open() {
            return Err(Error::SubmittedTooEarly { what, shape });
        }
        if self.makes && !self.tensor.users().before {
            return Err(Error::NoValues { what, shape });
        }
        Ok(())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.gpu.info.name;
        write!(f, "Batch({} uses of tensors on {name})", self.kept.len())
    }
}

impl Batch {
    pub(super) fn new(gpu: &Gpu) -> Self {
        let descriptor = wgpu::CommandEncoderDescriptor {
            label: Some("activations batch"),
        };
        Self {
            gpu: Arc::clone(&gpu.inner),
            handle: gpu.clone(),
            kernels: gpu.inner.asking(),
            encoder: gpu.inner.device.create_command_encoder(&descriptor),
            pass: None,
            kept: std::mem::take(&mut *lock(&gpu.inner.spare)),
            after: Vec::new(),
            fate: Undecided::default(),
            #[cfg(target_arch = "wasm32")]
            later: super::later::Recorded::new(),
        }
    }

    /// Submits the work. Does not wait: a read does, and so does [`Gpu::wait`].
    ///
    /// # Errors
    /// [`Error::SubmittedTooEarly`] where a batch that was recorded before uses a tensor that this
    /// one writes, or writes one that this one uses, and is not submitted; [`Error::NoValues`] where
    /// it was to make the tensor and was dropped. [`Error::DeviceLost`], [`Error::Device`].
    pub fn submit(self) -> Result<()> {
        let Self {
            gpu,
            kernels,
            mut encoder,
            pass,
            mut kept,
            after,
            fate,
            #[cfg(target_arch = "wasm32")]
            later,
            ..
        } = self;
        // The pass ends before its encoder.
        drop(pass);
        after.iter().try_for_each(After::check)?;
        let staged = Staged::copied(&gpu, kernels.take_asking(), &mut encoder)?;
        #[cfg(not(target_arch = "wasm32"))]
        let submission = gpu.submit(|| Some(encoder.finish()))?;
        #[cfg(target_arch = "wasm32")]
        let submission = gpu.submit_batch(encoder, &later.0)?;
        staged.submitted(&submission);
        fate.submitted();
        kept.clear();
        *lock(&gpu.spare) = kept;
        Ok(())
    }

    /// A tensor that this batch writes, of which there is nothing to read before.
    pub(super) fn output(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.gpu.healthy()?;
        Tensor::new(&self.handle, shape, dtype, false)
    }

    /// Records one operation of kernels that know f32 alone: tensors of 16 bits are widened into
    /// tensors aside before it, and what it writes is rounded behind it.
    pub(super) fn record<const N: usize>(
        &mut self,
        tensors: [(&'static str, &Tensor); N],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            [wgpu::BufferSlice<'_>; N],
        ) -> Result<()>,
    ) -> Result<()> {
        self.record_all(&tensors, written, |kernels, pass, slices| {
            work(kernels, pass, std::array::from_fn(|i| slices[i]))
        })
    }

    /// [`Batch::record`] for any number of tensors.
    pub(super) fn record_all(
        &mut self,
        tensors: &[(&'static str, &Tensor)],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            &[wgpu::BufferSlice<'_>],
        ) -> Result<()>,
    ) -> Result<()> {
        if tensors.iter().all(|(_, t)| t.dtype() == DType::F32) {
            return self.record_slices(tensors, written, work);
        }
        self.of_this_device(tensors)?;
        if tensors.iter().any(|(_, t)| t.is_empty()) {
            return Ok(());
        }
        // What the operation sees in the place of each, itself where it is f32.
        let mut wide: Vec<Tensor> = Vec::with_capacity(tensors.len());
        for (_, tensor) in tensors {
            // What stands in two places is widened once.
            let before = tensors.iter().position(|(_, t)| t.is(tensor));
            let copy = match before.and_then(|i| wide.get(i)) {
                Some(copy) => copy.clone(),
                None if tensor.dtype() == DType::F32 => (*tensor).clone(),
                None => {
                    let copy = self.output(tensor.shape(), DType::F32)?;
                    let is_read = !written.iter().any(|w| w.is(tensor));
                    if is_read || tensor.has_contents() {
                        self.apply_into(Activation::Identity, *tensor, &copy)?;
                    }
                    copy
                }
            };
            wide.push(copy);
        }
        let around = tensors.iter().zip(&wide);
        let is_result = |tensor: &Tensor| written.iter().any(|w| w.is(tensor));
        let results = around.clone().filter(|((_, t), _)| is_result(t));
        let written: Vec<&Tensor> = results.clone().map(|(_, wide)| wide).collect();
        let all: Vec<_> = around.map(|((what, _), wide)| (*what, wide)).collect();
        self.record_slices(&all, &written, work)?;
        for ((_, tensor), wide) in results.filter(|((_, t), _)| t.dtype() != DType::F32) {
            self.apply_into(Activation::Identity, wide, tensor)?;
        }
        Ok(())
    }

    /// An error where a tensor is another device's.
    pub(super) fn of_this_device(&self, tensors: &[(&'static str, &Tensor)]) -> Result<()> {
        for &(what, tensor) in tensors {
            if !Arc::ptr_eq(&tensor.inner.gpu, &self.gpu) {
                return Err(Error::ForeignTensor { what });
            }
        }
        Ok(())
    }

    /// Records one operation on tensors of this batch's device; an empty one is nothing to do.
    pub(super) fn record_slices(
        &mut self,
        tensors: &[(&'static str, &Tensor)],
        written: &[&Tensor],
        work: impl FnOnce(
            &Kernels,
            &mut wgpu::ComputePass<'static>,
            &[wgpu::BufferSlice<'_>],
        ) -> Result<()>,
    ) -> Result<()> {
        self.of_this_device(tensors)?;
        if tensors.iter().any(|(_, tensor)| tensor.is_empty()) {
            return Ok(());
        }
        let is_written = |tensor: &Tensor| written.iter().any(|w| w.is(tensor));
        for &(what, tensor) in tensors {
            if !is_written(tensor) {
                has_values(what, tensor)?;
            }
        }
        let slices: Few<_, 8> = tensors.iter().map(|(_, tensor)| tensor.slice()).collect();
        let encoder = &mut self.encoder;
        let pass = self.pass.get_or_insert_with(|| {
            encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor::default())
                .forget_lifetime()
        });
        let kernels = &self.kernels;
        self.gpu.recorded(|| work(kernels, pass, &slices))?;
        #[cfg(target_arch = "wasm32")]
        {
            let read = tensors.iter().filter(|(_, tensor)| !is_written(tensor));
            let given: Vec<_> = read
                .flat_map(|(_, x)| x.origins().found_by(&self.later.0))
                .collect();
            for tensor in written {
                tensor
                    .origins()
                    .replaced(&self.later.0, given.iter().cloned());
            }
        }
        self.kept
            .extend(tensors.iter().map(|(_, tensor)| (*tensor).clone()));
        let mut answers = self.kernels.take_relied();
        answers.extend(tensors.iter().flat_map(|(_, tensor)| tensor.answers()));
        for tensor in written {
            let mut known = lock(&tensor.inner.answers);
            for answer in &answers {
                if !known.iter().any(|other| Arc::ptr_eq(other, answer)) {
                    known.push(Arc::clone(answer));
                }
            }
        }
        // What is read before what is written: a tensor may be both.
        for is_write in [false, true] {
            for &(what, tensor) in tensors {
                if is_written(tensor) == is_write {
                    self.uses(what, tensor, is_write);
                }
            }
        }
        Ok(())
    }

    /// Records an operation that reads a tensor before it replaces its values.
    pub(super) fn read_before<T>(
        &mut self,
        (what, tensor): (&'static str, &Tensor),
        record: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.of_this_device(&[(what, tensor)])?;
        has_values(what, tensor)?;
        // As it is before this batch writes it.
        let first = self.after.len();
        self.uses(what, tensor, false);
        #[cfg(target_arch = "wasm32")]
        let origins = tensor.origins().found_by(&self.later.0);
        let done = record(self);
        if done.is_err() {
            self.after.truncate(first);
        }
        #[cfg(target_arch = "wasm32")]
        if done.is_ok() {
            tensor.origins().add(origins);
        }
        done
    }

    /// Notes that the batch reads or writes a tensor, and which batches come first.
    fn uses(&mut self, what: &'static str, tensor: &Tensor, is_write: bool) {
        let own = &self.fate.0;
        let mut users = tensor.users();
        // What this batch writes itself first, it needs nobody for.
        let makes = !is_write && !users.writers.iter().any(|fate| Arc::ptr_eq(fate, own));
        let Users {
            writers, readers, ..
        } = &mut *users;
        let readers_before = readers
            .iter()
            .filter(|_| is_write)
            .map(|fate| (fate, false));
        let before = writers
            .iter()
            .map(|fate| (fate, makes))
            .chain(readers_before);
        for (fate, makes) in before.filter(|(fate, _)| !Arc::ptr_eq(fate, own)) {
            let is_known = |a: &&mut After| a.tensor.is(tensor) && Arc::ptr_eq(&a.fate, fate);
            if let Some(known) = self.after.iter_mut().find(is_known) {
                known.makes |= makes;
                continue;
            }
            self.after.push(After {
                what,
                tensor: tensor.clone(),
                fate: Arc::clone(fate),
                makes,
            });
        }
        let batches = if is_write { writers } else { readers };
        if !batches.iter().any(|fate| Arc::ptr_eq(fate, own)) {
            batches.push(Arc::clone(own));
        }
    }
}

/// An error where a tensor has no values, and no batch that is still open makes any.
fn has_values(what: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.has_contents() {
        return Ok(());
    }
    Err(Error::NoValues {
        what,
        shape: tensor.shape().to_vec(),
    })
}
