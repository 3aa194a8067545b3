//! Many arrays in host memory, each with an operation of its own.

use super::{Backend, carried};
use crate::arrays::{DataMut, Inputs, OfShape};
use crate::cpu::Cpu;
use crate::cpu::threads::{Place, elsewhere, prelude::*};
use crate::element::Element;
use crate::error::Result;
use crate::gpu::HostWait;
use crate::many::Item;
use crate::operation::{Direction, Given, on_cpu};
use std::borrow::Borrow;

/// Elements from which an array travels alone.
const LARGE: usize = 1 << 20;
/// Elements of one submission: 64 MiB.
const SUBMISSION: usize = 16 << 20;

impl Backend {
    /// Operations of many arrays, for example of all small tensors of a file: on a GPU one
    /// upload, one submission and one readback for all of them, up to 64 MiB; arrays of an
    /// operation are one dispatch, along an axis those with rows of one length.
    ///
    /// ```
    /// use wgpu_activations::{Activation, AxisFunction, Backend, Item, OfShape};
    /// let (a, b) = (vec![-1.0, 2.0], vec![1.0, 1.0, 1.0, 1.0]);
    /// let y = Backend::cpu().apply_many(&[
    ///     Item::new(Activation::Relu, &a)?,
    ///     Item::of_shape(AxisFunction::Softmax.along(-1), &b, &[2, 2])?,
    /// ])?;
    /// assert_eq!(y, [vec![0.0, 2.0], vec![0.5; 4]]);
    /// # Ok::<(), wgpu_activations::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Backend::apply`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn apply_many<T: Element>(&self, items: &[Item<'_, T>]) -> Result<Vec<Vec<T>>> {
        pollster::block_on(self.apply_many_core(items, HostWait::BLOCK))
    }

    /// [`Backend::apply_many`] without blocking its thread.
    ///
    /// # Errors
    /// As [`Backend::apply_many`].
    pub async fn apply_many_async<T: Element>(&self, items: &[Item<'_, T>]) -> Result<Vec<Vec<T>>> {
        let (backend, place) = self.elsewhere(false);
        let elements = items.iter().map(|item| item.x().len()).sum::<usize>();
        if place == Place::Pool && elements <= carried::FEW {
            return many_on_cpu(&Cpu::new(), items);
        }
        let mut own = Vec::with_capacity(items.len());
        for item in items {
            own.push(item.owning(carried::copied(item.x()).await));
        }
        elsewhere(place, async move || {
            backend.apply_many_core(&own, HostWait::ELSEWHERE).await
        })
        .await
    }

    async fn apply_many_core<T: Element>(
        &self,
        items: &[Item<'_, T>],
        wait: HostWait,
    ) -> Result<Vec<Vec<T>>> {
        if let Self::Cpu(cpu, _) = self {
            return many_on_cpu(cpu, items);
        }
        let mut all = vec![Vec::new(); items.len()];
        let mut packed = Vec::new();
        let mut elements = 0;
        for (i, item) in items.iter().enumerate() {
            if item.x().is_empty() || item.x().len() >= LARGE {
                all[i] = self.alone(item, wait).await?;
                continue;
            }
            packed.push(i);
            elements += item.x().len() + item.results();
            if elements >= SUBMISSION {
                elements = 0;
                self.submit(items, &mut packed, &mut all, wait).await?;
            }
        }
        self.submit(items, &mut packed, &mut all, wait).await?;
        Ok(all)
    }

    /// The items of these numbers, which are taken away.
    async fn submit<T: Element>(
        &self,
        items: &[Item<'_, T>],
        packed: &mut Vec<usize>,
        all: &mut [Vec<T>],
        wait: HostWait,
    ) -> Result<()> {
        if packed.is_empty() {
            return Ok(());
        }
        let chosen: Vec<&Item<'_, T>> = packed.iter().map(|&i| &items[i]).collect();
        let results = either!(self, |gpu| gpu.many_host(&chosen, wait).await, |cpu| {
            many_on_cpu(cpu, &chosen)
        })?;
        for (i, result) in packed.drain(..).zip(results) {
            all[i] = result;
        }
        Ok(())
    }

    async fn alone<T: Element>(&self, item: &Item<'_, T>, wait: HostWait) -> Result<Vec<T>> {
        let shape = item.shape();
        self.value(&*item.operation, item.x().of_shape(&shape), wait)
            .await
    }
}

/// One item a thread.
fn many_on_cpu<'a, T: Element, I: Borrow<Item<'a, T>> + Sync>(
    cpu: &Cpu,
    items: &[I],
) -> Result<Vec<Vec<T>>> {
    let compute = |item: &I| {
        let (item, mut y) = (item.borrow(), vec![T::default(); item.borrow().results()]);
        let shape = item.shape();
        let arrays = item.x().of_shape(&shape).arrays();
        let given = Given::new(&*item.operation, Direction::Forward, &arrays, None)?;
        let outputs = &mut [Some(DataMut::of(&mut y))];
        on_cpu(cpu, &*item.operation, Direction::Forward, &given, outputs)?;
        Ok(y)
    };
    items.par_iter().map(compute).collect()
}
