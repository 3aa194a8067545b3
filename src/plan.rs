//! How an operation is cut into dispatches: pure arithmetic over shapes and limits, so that it
//! is tested without a device.

mod sum;

pub(crate) use sum::{
    MERGED, PARTIAL_SUM_BYTES, SumPiece, SumPlan, merge_pieces, sum, sum_pieces, total,
};

use crate::element::DType;
use crate::error::Error;
use crate::few::Few;
use crate::shader::{Access, Width};
use crate::shape::AxisShape;

/// The least limits of a device that operations run on.
struct Least {
    invocations: u32,
    workgroups: u32,
    workgroup_memory: u32,
    storage_buffers: u32,
    uniform_buffers: u32,
    binding: u64,
}

/// As [`Kernels`](crate::Kernels) tells its users.
const LEAST: Least = Least {
    invocations: 32,
    workgroups: 16,
    // 16 bytes of each of the most invocations of a workgroup.
    workgroup_memory: 16 * Walk::MOST_TOGETHER,
    // x, dy and the result; and partial results of split rows.
    storage_buffers: 4,
    // Of the arrays, and of the operation.
    uniform_buffers: 2,
    binding: 1024,
};

/// Elements that travel to a device at a time: 16 MiB of f32.
pub(crate) const HOST_PIECE: usize = 4 << 20;

/// The limit that keeps every operation from running, where there is one.
pub(crate) fn lacking(limits: &wgpu::Limits) -> Option<Error> {
    let needs = [
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup.into(),
            LEAST.invocations.into(),
        ),
        (
            "max_compute_workgroup_size_x",
            limits.max_compute_workgroup_size_x.into(),
            LEAST.invocations.into(),
        ),
        (
            "max_compute_workgroups_per_dimension",
            limits.max_compute_workgroups_per_dimension.into(),
            LEAST.workgroups.into(),
        ),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size.into(),
            LEAST.workgroup_memory.into(),
        ),
        (
            "max_storage_buffers_per_shader_stage",
            limits.max_storage_buffers_per_shader_stage.into(),
            LEAST.storage_buffers.into(),
        ),
        (
            "max_uniform_buffers_per_shader_stage",
            limits.max_uniform_buffers_per_shader_stage.into(),
            LEAST.uniform_buffers.into(),
        ),
        (
            "max_storage_buffer_binding_size",
            limits.max_storage_buffer_binding_size,
            LEAST.binding,
        ),
    ];
    let lacks = needs.into_iter().find(|(_, got, needed)| got < needed);
    lacks.map(|(limit, got, needed)| Error::DeviceLimit { limit, needed, got })
}

/// What a plan needs to know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Bytes of a buffer that one binding can see.
    pub max_binding: u64,
    /// What a binding's offset must be a multiple of, in bytes.
    pub alignment: u64,
    /// Workgroups along one dimension of a dispatch.
    pub max_groups: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// Whether the adapter is a CPU: no coalescing to win, and barriers cost dearly.
    pub software: bool,
    /// How kernels walk arrays that are not small.
    pub walk: Walk,
    /// What it gets wrong.
    pub quirks: Quirks,
}

/// How kernels walk arrays; what can be tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cache", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "cache", serde(deny_unknown_fields))]
pub(crate) struct Walk {
    /// Element-wise kernels over arrays of f32.
    pub wide: Access,
    /// Element-wise kernels where an array's numbers have 16 bits.
    pub narrow: Access,
    /// Invocations of an element-wise workgroup.
    pub workgroup: u32,
    /// Elements of the longest row that is one invocation's where there are many such rows.
    pub alone: u32,
    /// Invocations that share a row as a workgroup.
    pub together: u32,
    /// Invocations that keep the device busy: fewer rows are split.
    pub busy: u32,
}

impl Walk {
    /// The largest workgroup that is ever taken: what workgroups keep in their memory fits every
    /// device that has as many invocations.
    pub(crate) const MOST_TOGETHER: u32 = 512;

    /// The default of an adapter: 16 bytes an invocation on hardware; on a CPU, where an access
    /// costs by the word, long words where there are any, and fewer invocations.
    pub(crate) const fn of(software: bool, long: bool) -> Self {
        let (wide, narrow) = match (software, long) {
            (false, _) => (Access::single(Width::Four), Access::single(Width::Eight)),
            (true, false) => (Access::single(Width::Eight), Access::single(Width::Eight)),
            (true, true) => (Access::single(Width::Long), Access::single(Width::Long)),
        };
        Self {
            wide,
            narrow,
            workgroup: 256,
            alone: if software { 4096 } else { 32 },
            together: 256,
            busy: if software { 1024 } else { 65_536 },
        }
    }

    /// Whether a device, with words of 64 bits or not, can: what a file says may be anything.
    #[cfg(feature = "cache")]
    pub(crate) fn fits(&self, long: bool) -> bool {
        let group = |n: u32| n.is_power_of_two() && n <= Self::MOST_TOGETHER;
        // Tails are made up for by element, or by the two of a word.
        let access = |access: Access, widths: &[Width]| {
            (1..=8).contains(&access.units)
                && widths.contains(&access.width)
                && (long || access.width != Width::Long)
        };
        let widths = [Width::Four, Width::Eight, Width::Long];
        access(self.wide, &widths)
            && access(self.narrow, &widths)
            && group(self.workgroup)
            && group(self.together)
            && (1..=1 << 16).contains(&self.alone)
            && (64..=1 << 24).contains(&self.busy)
    }
}

/// What an adapter gets wrong and a plan goes around; the self-check finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// Workgroup memory does not hold what was written before a barrier.
    pub barriers: bool,
    /// Long loops end before their end.
    pub loops: bool,
}

impl Quirks {
    /// What an adapter has that could not be asked.
    pub(crate) fn all() -> Self {
        Self {
            barriers: true,
            loops: true,
        }
    }
}

impl Traits {
    pub(crate) fn of(device: &wgpu::Device) -> Self {
        let limits = device.limits();
        let software = device.adapter_info().device_type == wgpu::DeviceType::Cpu;
        let long = device.features().contains(wgpu::Features::SHADER_INT64);
        Self {
            // A binding is also a whole number of elements, and its size is a u32 in shaders.
            // Nothing is recorded on less than `LEAST` (see `lacking`), but it may be planned.
            max_binding: limits
                .max_storage_buffer_binding_size
                .clamp(LEAST.binding, u64::from(u32::MAX))
                & !3,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            max_groups: limits
                .max_compute_workgroups_per_dimension
                .max(LEAST.workgroups),
            max_invocations: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x)
                .max(LEAST.invocations),
            software,
            walk: Walk::of(software, long),
            quirks: Quirks::default(),
        }
    }

    /// Workgroups in the two dimensions of a dispatch that holds at least `groups`.
    pub(crate) fn fold(&self, groups: u64) -> [u32; 2] {
        let rows = groups.div_ceil(u64::from(self.max_groups)).max(1);
        let columns = groups.div_ceil(rows);
        debug_assert!(rows <= u64::from(self.max_groups));
        // Both are at most max_groups, a u32, where `groups` is at most its square.
        [columns as u32, rows as u32]
    }

    /// The most workgroups of one dispatch.
    pub(crate) fn most_groups(&self) -> u64 {
        u64::from(self.max_groups) * u64::from(self.max_groups)
    }

    /// The invocations of an element-wise workgroup.
    pub(crate) fn elementwise_workgroup(&self) -> u32 {
        self.walk.workgroup.min(self.max_invocations)
    }

    /// How an element-wise kernel walks that many elements, of these types.
    pub(crate) fn access(&self, elements: u64, dtypes: &[DType]) -> Access {
        let narrow = dtypes.iter().any(|&dtype| dtype != DType::F32);
        // Few elements compile no pipeline for many, and a short one where they are not so few.
        match elements {
            0..4 if narrow => Access::single(Width::Two),
            0..4 => Access::single(Width::One),
            4..SMALL if self.software => Access::single(Width::Four),
            _ if narrow => self.walk.narrow,
            _ => self.walk.wide,
        }
    }
}

/// Arrays of fewer elements are walked by fours on a CPU: what wide pipelines take to compile
/// would be most of the time.
const SMALL: u64 = 1 << 14;

/// A part of an array: `len` elements behind the first `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub start: u64,
    pub len: u64,
}

/// Cuts `elements` f32 into parts that can be bound, at offsets that can be bound.
pub(crate) fn chunks(
    elements: u64,
    traits: &Traits,
) -> impl Iterator<Item = Chunk> + Clone + use<> {
    chunks_of(elements, &[DType::F32], traits)
}

/// [`chunks`] of arrays of these types, each of which has that many elements.
pub(crate) fn chunks_of(
    elements: u64,
    dtypes: &[DType],
    traits: &Traits,
) -> impl Iterator<Item = Chunk> + Clone + use<> {
    let bytes = dtypes.iter().map(|dtype| dtype.bytes() as u64);
    let (least, most) = bytes.fold((4, 2), |(least, most), b| (b.min(least), b.max(most)));
    let step = (traits.alignment / least).max(8);
    let dispatch = traits
        .most_groups()
        .saturating_mul(u64::from(traits.elementwise_workgroup()));
    let most = (traits.max_binding / most).min(dispatch) / step * step;
    let most = most.max(step);
    (0..elements.div_ceil(most)).map(move |i| Chunk {
        start: i * most,
        len: most.min(elements - i * most),
    })
}

/// How the rows of an axis function are given to invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// One invocation, one row.
    RowPerInvocation,
    /// One workgroup, one row.
    RowPerWorkgroup,
    /// Several invocations a row, over workgroups, through partial results in memory.
    Split {
        /// Invocations of one row and one chunk of the axis.
        lanes: u32,
        /// Contiguous elements of a lane, or 0 where lanes take turns.
        segment: u32,
    },
}

/// One dispatch's share of an axis operation: some blocks of `outer`, and a part of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AxisChunk {
    pub first_outer: u64,
    pub outer: u64,
    pub first_step: u64,
    pub steps: u64,
}

/// The cutting of an axis operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AxisPlan {
    pub strategy: Strategy,
    pub workgroup: u32,
    /// Invocations that merge the parts of a split row.
    pub merging: u32,
    pub chunks: Few<AxisChunk, 1>,
    /// Chunks that one row is cut into; 1 but for split rows that no binding holds.
    pub chunks_per_row: u64,
}

/// Invocations that keep a device busy.
fn enough_invocations(traits: &Traits) -> u64 {
    u64::from(traits.walk.busy)
}

/// Bytes of a split's partial result of a row.
pub(crate) const PARTIAL_BYTES: u64 = 16;

/// Partial results that a split keeps at most: a bounded scratch, in one binding.
fn most_partials(traits: &Traits) -> u64 {
    // Half of it, for the combined results beside them.
    (1 << 20).min(traits.max_binding / PARTIAL_BYTES) / 2
}

/// Elements that one invocation walks at most. llvmpipe ends a shader whose loops together make
/// more than 65,535 turns, without a word; an element takes three at most, one in each loop.
fn most_steps(traits: &Traits) -> u64 {
    limited(traits, STEPS)
}

/// `steps` where the adapter is a CPU, or ends long loops.
fn limited(traits: &Traits, steps: u64) -> u64 {
    if traits.software || traits.quirks.loops {
        steps
    } else {
        u64::MAX
    }
}

/// Elements that an invocation of a software adapter walks at most in [`axis`].
pub(crate) const STEPS: u64 = 16_384;

/// Plans `shape`'s rows, of which there are arrays in memory: that bounds how many chunks there
/// are. `None` where no binding holds one step along the axis, which the caller
/// must tile by columns.
pub(crate) fn axis(shape: &AxisShape, traits: &Traits) -> Option<AxisPlan> {
    axis_within(shape, traits, STEPS)
}

/// [`axis`] for kernels that walk a row more often: on a software adapter an invocation walks at
/// most `steps` elements.
pub(crate) fn axis_within(shape: &AxisShape, traits: &Traits, steps: u64) -> Option<AxisPlan> {
    let (outer, len, inner) = (shape.outer as u64, shape.len as u64, shape.inner as u64);
    let rows = outer * inner;
    // A binding begins at an aligned offset before the first element that is needed.
    let bindable = (traits.max_binding / 4).saturating_sub(traits.alignment / 4);
    // Rows of no elements still have a result where the function reduces.
    let block = len.max(1) * inner;
    let strategy = strategy(rows, len, inner, traits, steps);
    if block > bindable {
        return split_blocks(shape, bindable, traits, steps);
    }
    if let Strategy::Split { lanes, .. } = strategy
        && (rows * u64::from(lanes) > most_partials(traits) || rows > traits.most_groups())
    {
        return None;
    }
    let workgroup = workgroup(strategy, rows, traits);
    let per_row = match strategy {
        Strategy::RowPerInvocation => 1,
        Strategy::RowPerWorkgroup => u64::from(workgroup),
        Strategy::Split { lanes, .. } => u64::from(lanes),
    };
    let most_rows = traits.most_groups().saturating_mul(u64::from(workgroup)) / per_row;
    let most_outer = (bindable / block.max(1)).min(most_rows / inner.max(1));
    if most_outer == 0 {
        return None;
    }
    let mut chunks = Few::default();
    let mut first = 0;
    while first < outer {
        let count = most_outer.min(outer - first);
        chunks.push(AxisChunk {
            first_outer: first,
            outer: count,
            first_step: 0,
            steps: len,
        });
        first += count;
    }
    Some(AxisPlan {
        strategy,
        workgroup,
        merging: merging(workgroup, traits),
        chunks,
        chunks_per_row: 1,
    })
}

fn strategy(rows: u64, len: u64, inner: u64, traits: &Traits, walked: u64) -> Strategy {
    let enough = enough_invocations(traits);
    // A split costs three dispatches: it must be worth one row's part to each invocation.
    let lanes = (enough / rows.max(1))
        .min(len / 16)
        .min(most_partials(traits) / rows.max(1));
    // The combination of a split has a workgroup for each row.
    let lanes = if rows > traits.most_groups() {
        0
    } else {
        lanes
    };
    let least = len.div_ceil(limited(traits, walked));
    let lanes = lanes.max(least);
    if traits.software {
        let is_short = len <= u64::from(traits.walk.alone);
        if least < 2 && (rows >= 64 && (inner > 1 || is_short) || lanes < 2) {
            return Strategy::RowPerInvocation;
        }
        return split(lanes, len, traits);
    }
    if least > 1 {
        return split(lanes, len, traits);
    }
    // Contiguous short rows, and columns, are read side by side by neighbouring invocations.
    if len <= u64::from(traits.walk.alone) || (inner >= 32 && rows >= enough / 4) {
        Strategy::RowPerInvocation
    } else if inner == 1 && (rows >= 512 || len <= 4096) && !traits.quirks.barriers {
        Strategy::RowPerWorkgroup
    } else if lanes < 2 {
        Strategy::RowPerInvocation
    } else {
        split(lanes, len, traits)
    }
}

/// A split into about `lanes`, which are below 2^20, of rows of `len`.
fn split(lanes: u64, len: u64, traits: &Traits) -> Strategy {
    if !traits.software {
        // Neighbouring invocations read neighbouring elements.
        return Strategy::Split {
            lanes: lanes as u32,
            segment: 0,
        };
    }
    // Each lane of a CPU streams; an odd number of cache lines keeps lanes from each other's
    // cache sets.
    let segment = (len.div_ceil(lanes).div_ceil(16) | 1) * 16;
    Strategy::Split {
        lanes: len.div_ceil(segment) as u32,
        segment: segment as u32,
    }
}

/// A split of the kind of one with this segment, for rows of some hundreds.
pub(crate) fn short_split(segment: u32, len: usize) -> Strategy {
    Strategy::Split {
        lanes: len.div_ceil(16) as u32,
        segment: if segment == 0 { 0 } else { 16 },
    }
}

/// The only chunk's plan of few rows by a strategy of choice.
pub(crate) fn of_strategy(strategy: Strategy, traits: &Traits) -> AxisPlan {
    let workgroup = workgroup(strategy, 1, traits);
    AxisPlan {
        strategy,
        workgroup,
        merging: merging(workgroup, traits),
        chunks: Few::default(),
        chunks_per_row: 1,
    }
}

fn workgroup(strategy: Strategy, rows: u64, traits: &Traits) -> u32 {
    let wanted = match strategy {
        // Few rows are spread over the cores of a software adapter.
        Strategy::RowPerInvocation if traits.software && rows < 4096 => 8,
        Strategy::RowPerInvocation | Strategy::Split { .. } => 64,
        Strategy::RowPerWorkgroup => traits.walk.together,
    };
    wanted.min(traits.max_invocations)
}

/// Without barriers to rely on, one invocation merges alone.
fn merging(workgroup: u32, traits: &Traits) -> u32 {
    if traits.quirks.barriers { 1 } else { workgroup }
}

/// Rows that no binding holds: every block of `outer` is cut along the axis.
fn split_blocks(
    shape: &AxisShape,
    bindable: u64,
    traits: &Traits,
    walked: u64,
) -> Option<AxisPlan> {
    let (len, inner) = (shape.len as u64, shape.inner as u64);
    let steps = bindable / inner;
    if steps == 0 {
        return None;
    }
    let chunks_per_row = len.div_ceil(steps);
    // One block of rows is in flight at a time.
    let rows = inner;
    let lanes = (enough_invocations(traits) / rows)
        .min(steps / 16)
        .min(most_partials(traits) / (rows * chunks_per_row))
        .min(traits.most_groups() / rows)
        .max(steps.div_ceil(limited(traits, walked)));
    if rows * lanes * chunks_per_row > most_partials(traits) || rows * lanes > traits.most_groups()
    {
        return None;
    }
    let mut chunks = Few::default();
    for outer in 0..shape.outer as u64 {
        for i in 0..chunks_per_row {
            chunks.push(AxisChunk {
                first_outer: outer,
                outer: 1,
                first_step: i * steps,
                steps: steps.min(len - i * steps),
            });
        }
    }
    let strategy = split(lanes, steps, traits);
    let workgroup = workgroup(strategy, rows, traits);
    Some(AxisPlan {
        strategy,
        workgroup,
        merging: merging(workgroup, traits),
        chunks,
        chunks_per_row,
    })
}

#[cfg(test)]
mod tests;
