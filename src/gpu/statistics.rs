//! Statistics of activations on the device: two passes over a tensor, or over host memory piece
//! by piece, whose parts are merged on the host.

use super::pool::Purpose;
use super::stream::{self, HostWait, PIECE, ranges};
use super::{Gpu, Inner, Tensor, Wait};
use crate::cpu::threads::{Place, elsewhere};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::kernels::{Part, Stage};
use crate::plan::{self, Chunk, Traits};
use crate::shape::{AxisShape, element_count, same_length};
use crate::statistics::{
    Inspect, SPREAD_WORDS, SUMMARY_WORDS, Statistics, Summary, assemble, of_nothing,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of lanes' results that are kept on the device before they are merged.
const MOST_PARTS: u64 = 16 << 20;
/// Pieces of host memory under way.
const DEPTH: usize = 2;

/// Where the array is.
#[derive(Clone, Copy)]
enum Source<'a> {
    Device(&'a wgpu::Buffer),
    Host(&'a [f32]),
}

impl Gpu {
    /// Statistics of the activations of a tensor of pre-activations; see [`Inspect`].
    ///
    /// # Errors
    /// [`Error::NotSubmitted`] before the batch that computes it is submitted;
    /// [`Error::AxisOutOfRange`], [`Error::OptionOutOfRange`]; [`Error::DeviceLost`],
    /// [`Error::Device`], [`Error::OutOfMemory`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn inspect(&self, what: &Inspect, x: &Tensor) -> Result<Statistics> {
        let x = self.before(x)?;
        pollster::block_on(self.inspect_tensor(what, &x, Wait::Block))
    }

    /// [`Gpu::inspect`] without blocking. Nothing is to write to the tensor before it is done.
    ///
    /// # Errors
    /// As [`Gpu::inspect`].
    pub async fn inspect_async(&self, what: &Inspect, x: &Tensor) -> Result<Statistics> {
        let (gpu, what, x) = (self.clone(), *what, self.before(x)?);
        elsewhere(Place::Own, async move || {
            gpu.inspect_tensor(&what, &x, Wait::ELSEWHERE).await
        })
        .await
    }

    /// The tensor as f32, in a batch of its own ahead of the passes.
    fn before(&self, x: &Tensor) -> Result<Tensor> {
        x.readable_on(&self.inner)?;
        let mut batch = self.batch();
        let x = batch.cast(x, DType::F32)?;
        batch.submit()?;
        Ok(x)
    }

    async fn inspect_tensor(&self, what: &Inspect, x: &Tensor, wait: Wait) -> Result<Statistics> {
        let pass = Passes {
            gpu: &self.inner,
            what,
            units: what.units(x.shape())?,
            source: Source::Device(x.buffer()),
            wait,
        };
        let known = x.known_answers();
        let statistics = pass.run().await?;
        for answer in known {
            answer.verdict().await?;
        }
        Ok(statistics)
    }

    /// Statistics of an array in host memory.
    pub(crate) async fn inspect_host(
        &self,
        what: &Inspect,
        x: &[f32],
        shape: &[usize],
        wait: HostWait,
    ) -> Result<Statistics> {
        same_length("the array", element_count(shape)?, x.len())?;
        let pass = Passes {
            gpu: &self.inner,
            what,
            units: what.units(shape)?,
            source: Source::Host(x),
            wait: wait.0,
        };
        pass.run().await
    }
}

/// The two passes over one array.
struct Passes<'a> {
    gpu: &'a Arc<Inner>,
    what: &'a Inspect,
    units: AxisShape,
    source: Source<'a>,
    wait: Wait,
}

/// A buffer that goes back to the pool.
struct Held<'a>(&'a Inner, wgpu::Buffer);

impl<'a> Held<'a> {
    fn new(gpu: &'a Inner, elements: usize) -> Result<Self> {
        let bytes = elements.max(1) as u64 * 4;
        Ok(Self(gpu, gpu.pool.take(gpu, Purpose::Storage, bytes)?))
    }

    fn slice(&self, elements: usize) -> wgpu::BufferSlice<'_> {
        self.1.slice(..elements.max(1) as u64 * 4)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.pool.give(Purpose::Storage, self.1.clone());
    }
}

impl Passes<'_> {
    async fn run(&self) -> Result<Statistics> {
        self.gpu.healthy()?;
        let (units, elements) = (self.units.len, self.units.elements() as u64);
        if elements == 0 {
            return Ok(of_nothing(self.what, &self.units));
        }
        let limit = Traits::of(&self.gpu.device).max_binding;
        if units as u64 * 4 > limit {
            return Err(Error::AxisStepTooLarge {
                bytes: units as u64 * 4,
                limit,
            });
        }
        let mut summary = Summary::NOTHING;
        let stage = Stage::Summarise {
            saturation: self.what.threshold(),
        };
        let alive = self
            .pass(stage, SUMMARY_WORDS, units, |part| {
                // Invariant: `pass` hands over whole lanes of SUMMARY_WORDS.
                if let Ok(words) = part.try_into() {
                    summary = summary.merge(Summary::from_words(words));
                }
            })
            .await?;
        let alive: Vec<bool> = alive.into_iter().map(|word| word != 0).collect();

        let scale = summary.scale(elements, self.what.histogram_bins());
        let edges = Held::new(self.gpu, scale.edges.len())?;
        stream::upload(self.gpu, &scale.edges, &edges.1, self.wait).await?;
        // Within f32: the mean is, and shrinking brings it near 2^64 at most.
        let reference = (scale.mean * f64::from(scale.shrink)) as f32;
        let stage = Stage::Spread {
            mean: reference,
            shrink: scale.shrink,
            bins: scale.bins() as u32,
            bins_per_half: scale.bins_per_half,
            edges: edges.slice(scale.edges.len()),
        };
        let mut squares = 0.0;
        let counts = self
            .pass(stage, SPREAD_WORDS, scale.bins(), |part| {
                let float = |word: u32| f64::from(f32::from_bits(word));
                squares += float(part[0]) - float(part[1]);
            })
            .await?;
        let counts = counts.into_iter().map(u64::from).collect();
        Ok(assemble(
            elements,
            &summary,
            scale,
            squares,
            reference.into(),
            &alive,
            counts,
        ))
    }

    /// One pass over the array. `take` gets the results of each lane, `words` of them; what comes
    /// back are the counters.
    async fn pass(
        &self,
        stage: Stage<'_>,
        words: usize,
        counters: usize,
        mut take: impl FnMut(&[u32]),
    ) -> Result<Vec<u32>> {
        let kernels = &self.gpu.kernels;
        let f = self.what.function();
        let most = |len: usize| kernels.statistics_lanes(len as u64) as usize * words;
        let chunks = self.chunks();
        let largest = chunks.iter().map(|c| c.len as usize).max().unwrap_or(0);
        let room = (MOST_PARTS as usize / 4).max(most(largest));
        let parts = Held::new(self.gpu, room.min(most(largest) * chunks.len()))?;
        let counts = Held::new(self.gpu, counters)?;
        let staged = match self.source {
            Source::Device(_) => None,
            Source::Host(_) => Some(Held::new(self.gpu, largest)?),
        };
        let mut encoder = self.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            kernels.clear_counts(&mut pass, f, counts.slice(counters))?;
        }
        let cleared = self.gpu.submit(|| Some(encoder.finish()))?;
        self.gpu.settled([cleared]).await?;

        let mut under_way = VecDeque::new();
        let mut filled = 0;
        let mut drained = vec![0.0; room.min(most(largest) * chunks.len())];
        let mut chunks = chunks.into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let lanes = kernels.statistics_lanes(chunk.len) as usize;
            // Chunks are parts of a slice or of a buffer: usize holds them.
            let (start, len) = (chunk.start as usize, chunk.len as usize);
            let x = match (self.source, &staged) {
                (Source::Host(x), Some(staged)) => {
                    let piece = bytemuck::cast_slice(&x[start..start + len]);
                    self.gpu
                        .watched(0, || self.gpu.queue.write_buffer(&staged.1, 0, piece))?;
                    staged.slice(len)
                }
                (Source::Device(buffer), _) => {
                    buffer.slice(chunk.start * 4..(chunk.start + chunk.len) * 4)
                }
                // Invariant: an array in host memory is staged.
                (Source::Host(_), None) => return Err(Error::NotSubmitted),
            };
            let part = Part {
                x,
                chunk,
                units: self.units,
                parts: parts.slice(drained.len()),
                lane_first: (filled / words) as u32,
                counts: counts.slice(counters),
            };
            let mut encoder = self.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                let recorded = || kernels.statistics(&mut pass, f, &part, stage);
                self.gpu.recorded(recorded)?;
            }
            under_way.push_back(self.gpu.submit(|| Some(encoder.finish()))?);
            filled += lanes * words;
            if under_way.len() > DEPTH
                && let Some(oldest) = under_way.pop_front()
            {
                self.gpu.finished(oldest, self.wait).await?;
            }
            let next = chunks
                .peek()
                .map_or(usize::MAX / 2, |c| most(c.len as usize));
            if filled + next > drained.len() {
                let lanes = &mut drained[..filled];
                stream::download(self.gpu, &parts.1, lanes, self.wait).await?;
                for lane in bytemuck::cast_slice(lanes).chunks_exact(words) {
                    take(lane);
                }
                filled = 0;
            }
        }
        let mut found = vec![0.0; counters];
        stream::download(self.gpu, &counts.1, &mut found, self.wait).await?;
        self.gpu.settled(under_way).await?;
        Ok(bytemuck::cast_vec(found))
    }

    /// What is worked on at a time: pieces of host memory, or what a binding sees of a buffer.
    fn chunks(&self) -> Vec<Chunk> {
        let elements = self.units.elements();
        match self.source {
            Source::Device(_) => {
                plan::chunks(elements as u64, &Traits::of(&self.gpu.device)).collect()
            }
            Source::Host(_) => ranges(elements, PIECE)
                .map(|range| Chunk {
                    start: range.start as u64,
                    len: range.len() as u64,
                })
                .collect(),
        }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor {
            label: Some("activations statistics"),
        };
        self.gpu.device.create_command_encoder(&descriptor)
    }
}
