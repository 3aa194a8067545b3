//! maxout and its gradient: groups of one contiguous block after the other, over threads.

use super::Cpu;
use super::elementwise::SERIAL_BELOW;
use super::threads::prelude::*;
use crate::error::Result;
use crate::maxout::Groups;
use crate::shape::{AxisShape, same_length};

/// Elements that a thread takes at a time.
const TASK: usize = 16 * 1024;

impl Cpu {
    /// y = the maxima of the groups of x.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn maxout_into(&self, groups: &Groups, x: &[f32], y: &mut [f32]) -> Result<()> {
        let shape = groups.rows();
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", shape.rows(), y.len())?;
        let AxisShape { len, inner, .. } = shape;
        blocks(&shape, y, inner, |o, y| {
            let x = &x[o * len * inner..][..len * y.len()];
            for (x, y) in x.chunks(len * inner).zip(y.chunks_mut(inner)) {
                let (first, rest) = x.split_at(inner);
                y.copy_from_slice(first);
                for step in rest.chunks(inner) {
                    for (y, &x) in y.iter_mut().zip(step) {
                        *y = if exceeds(x, *y) { x } else { *y };
                    }
                }
            }
        });
        Ok(())
    }

    /// dx = the gradient of maxout by x; dy has an element for each group.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch).
    pub(crate) fn grad_maxout_into(
        &self,
        groups: &Groups,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<()> {
        let shape = groups.rows();
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", shape.rows(), dy.len())?;
        same_length("the gradient", x.len(), dx.len())?;
        let AxisShape { len, inner, .. } = shape;
        blocks(&shape, dx, len * inner, |o, dx| {
            let x = &x[o * len * inner..][..dx.len()];
            let dy = &dy[o * inner..][..dx.len() / len];
            let blocks = x.chunks(len * inner).zip(dx.chunks_mut(len * inner));
            for ((x, dx), dy) in blocks.zip(dy.chunks(inner)) {
                for (c, &dy) in dy.iter().enumerate() {
                    let mut winner = c;
                    for i in (c..len * inner).step_by(inner) {
                        // NaN stays where it is, and 0 is the others'.
                        dx[i] = if x[i].is_nan() { x[i] } else { 0.0 };
                        if exceeds(x[i], x[winner]) {
                            winner = i;
                        }
                    }
                    if !x[winner].is_nan() {
                        dx[winner] = dy;
                    }
                }
            }
        });
        Ok(())
    }
}

/// Whether a later element is the maximum instead of an earlier one.
#[inline(always)]
fn exceeds(later: f32, earlier: f32) -> bool {
    (later > earlier) | (later.is_nan() & !earlier.is_nan())
}

/// Calls `each` with the parts of `out`, which has `block` elements for each step along the outer
/// dimension, and the first of those steps.
fn blocks(
    shape: &AxisShape,
    out: &mut [f32],
    block: usize,
    each: impl Fn(usize, &mut [f32]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    if shape.elements() < SERIAL_BELOW {
        return each(0, out);
    }
    let count = TASK.div_ceil(shape.len * shape.inner);
    out.par_chunks_mut(count * block)
        .enumerate()
        .for_each(|(i, out)| each(i * count, out));
}
