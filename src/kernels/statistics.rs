//! Statistics of an array's parts: one dispatch adds up what the host merges.

use super::{Bindings, Kernels, ModuleKey, Operand, Slot, Work};
use crate::catalogue::Elementwise;
use crate::error::Result;
use crate::plan::Chunk;
use crate::shape::AxisShape;

/// `Uniforms` of statistics.wgsl.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct StatisticsUniforms {
    pub count: u32,
    pub first: u32,
    pub lanes: u32,
    pub units: u32,
    pub inner: u32,
    pub phase: u32,
    pub lane_first: u32,
    pub p0: f32,
    pub p1: f32,
    pub saturation: f32,
    pub mean: f32,
    pub shrink: f32,
    pub bins: u32,
    pub bins_per_half: f32,
    pub zero: u32,
    pub padding: u32,
}

/// Which of the two passes over an array runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage<'a> {
    /// Counts, extremes and sums; `counts` has a word for each unit.
    Summarise { saturation: f32 },
    /// Squared distances from the mean, and the histogram; `counts` has a word for each bin.
    Spread {
        mean: f32,
        shrink: f32,
        bins: u32,
        bins_per_half: f32,
        edges: wgpu::BufferSlice<'a>,
    },
}

/// A part of an array, and where its results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// The part's elements, and which of the array's they are.
    pub x: wgpu::BufferSlice<'a>,
    pub chunk: Chunk,
    /// The array as (outer, units, inner).
    pub units: AxisShape,
    /// The lanes' results, and how many lanes of other parts come first.
    pub parts: wgpu::BufferSlice<'a>,
    pub lane_first: u32,
    pub counts: wgpu::BufferSlice<'a>,
}

/// Invocations of a workgroup at most.
const WORKGROUP: u32 = 64;

impl Kernels {
    /// Invocations over a part of `elements`.
    pub(crate) fn statistics_lanes(&self, elements: u64) -> u32 {
        let most = if self.inner.traits.software {
            2048
        } else {
            65_536
        };
        // At most 65,536.
        (elements / 512).clamp(1, most) as u32
    }

    /// Records zeros into `counts`.
    pub(crate) fn clear_counts(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        counts: wgpu::BufferSlice<'_>,
    ) -> Result<()> {
        let counts = self.operand(counts, "counts")?;
        let workgroup = WORKGROUP.min(self.inner.traits.max_invocations);
        for chunk in crate::plan::chunks(counts.elements(), &self.inner.traits) {
            let (binding, _) = counts.window(chunk.start, chunk.len, &self.inner.traits);
            let uniforms = StatisticsUniforms {
                // A chunk is a binding, whose elements a u32 counts.
                count: chunk.len as u32,
                ..StatisticsUniforms::default()
            };
            self.dispatch(
                pass,
                &Work {
                    module: ModuleKey::Statistics(f.activation()),
                    entry_point: "clear",
                    workgroup,
                    bindings: &[(Slot::Counts, binding)],
                    uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                    groups: chunk.len.div_ceil(workgroup.into()),
                },
            );
        }
        Ok(())
    }

    /// Records one pass over a part that a binding holds.
    ///
    /// # Errors
    /// As [`Kernels::apply`].
    pub(crate) fn statistics(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        f: Elementwise,
        part: &Part<'_>,
        stage: Stage<'_>,
    ) -> Result<()> {
        let traits = &self.inner.traits;
        let workgroup = WORKGROUP.min(traits.max_invocations);
        let whole = |operand: Operand<'_>| operand.elements();
        let x = self.operand(part.x, "input")?;
        let parts = self.operand(part.parts, "parts")?;
        let counts = self.operand(part.counts, "counts")?;
        let lanes = self.statistics_lanes(part.chunk.len);
        let (x, first) = x.window(0, part.chunk.len, traits);
        let (out, _) = parts.window(0, whole(parts), traits);
        let (counts, _) = counts.window(0, whole(counts), traits);
        let [p0, p1] = f.packed();
        let period = (part.units.len * part.units.inner).max(1) as u64;
        let mut uniforms = StatisticsUniforms {
            count: part.chunk.len as u32,
            first,
            lanes,
            units: part.units.len as u32,
            inner: part.units.inner as u32,
            phase: (part.chunk.start % period) as u32,
            lane_first: part.lane_first,
            p0,
            p1,
            ..StatisticsUniforms::default()
        };
        let mut bindings = Bindings::from([(Slot::X, x), (Slot::Out, out), (Slot::Counts, counts)]);
        let entry_point = match stage {
            Stage::Summarise { saturation } => {
                uniforms.saturation = saturation;
                "summarise"
            }
            Stage::Spread {
                mean,
                shrink,
                bins,
                bins_per_half,
                edges,
            } => {
                uniforms.mean = mean;
                uniforms.shrink = shrink;
                uniforms.bins = bins;
                uniforms.bins_per_half = bins_per_half;
                let edges = self.operand(edges, "edges")?;
                bindings.push((Slot::Edges, edges.window(0, whole(edges), traits).0));
                "spread"
            }
        };
        self.dispatch(
            pass,
            &Work {
                module: ModuleKey::Statistics(f.activation()),
                entry_point,
                workgroup,
                bindings: &bindings,
                uniforms: bytemuck::cast_slice(std::slice::from_ref(&uniforms)),
                groups: lanes.div_ceil(workgroup).into(),
            },
        );
        Ok(())
    }
}
