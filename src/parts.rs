//! Rows of the softmax family of which each of several machines, or devices, has a part.

use crate::axis::AxisFunction;
use crate::cpu::{Columns, Passes};
use crate::error::{Error, Result};
use crate::shape::{AxisShape, same_length};

/// What a part of some rows says of them: each row's largest element, and sums of e^(x - largest) in f64.
///
/// It is all of softmax, log_softmax, logsumexp and cross entropy that has to travel where a row does not fit
/// one machine, or its classes are divided among devices: every machine makes its part, the parts are merged,
/// and each machine finishes its own elements with what came of it. Merging is associative and commutative up to
/// f64's rounding, and results are within the contract however a row is cut. Softmin is softmax of -x.
///
/// ```
/// use wgpu_activations::{AxisFunction, RowPart};
/// // One row of four in two parts.
/// let (left, right) = ([1.0, 2.0], [2.0, 1.0]);
/// let mut rows = RowPart::of(&left, &[1, 2], -1)?;
/// rows.merge(&RowPart::of(&right, &[1, 2], -1)?)?;
/// let mut y = [0.0; 2];
/// rows.apply_into(AxisFunction::Softmax, &left, &[1, 2], -1, &mut y)?;
/// assert!((y[0] + y[1] - 0.5).abs() < 1e-7);
/// assert!((rows.logsumexp()[0] - 3.0064089).abs() < 1e-6);
/// # Ok::<(), wgpu_activations::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RowPart {
    columns: Columns,
    /// Whether the sums are those of gradients.
    of_gradient: bool,
}

/// The first bytes of a part as bytes.
const MARK: &[u8; 8] = b"wa-rows1";

impl RowPart {
    /// So many rows of which nothing is known: what merging adds nothing by.
    pub fn nothing(rows: usize) -> Self {
        Self {
            columns: Columns::new(rows),
            of_gradient: false,
        }
    }

    /// The same, for gradients.
    pub fn nothing_of_gradient(rows: usize) -> Self {
        Self {
            of_gradient: true,
            ..Self::nothing(rows)
        }
    }

    /// The part of rows along `axis` that an array of a shape has, for values; a row for each index of the
    /// other axes, in row-major order.
    ///
    /// # Errors
    /// [`Error::AxisOutOfRange`], [`Error::ShapeTooLarge`], [`Error::LengthMismatch`].
    pub fn of(x: &[f32], shape: &[usize], axis: isize) -> Result<Self> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        let mut part = Self::nothing(shape.rows());
        part.passes(AxisFunction::LogSoftmax)
            .absorb_blocks(x, &[], shape.inner, &mut part.columns);
        Ok(part)
    }

    /// The part for gradients of softmax and log_softmax: of x and the upstream gradient of the same elements.
    /// Those of logsumexp and cross entropy are made of [`RowPart::of`].
    ///
    /// # Errors
    /// As [`RowPart::of`].
    pub fn of_gradient(x: &[f32], dy: &[f32], shape: &[usize], axis: isize) -> Result<Self> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the upstream gradient", shape.elements(), dy.len())?;
        let mut part = Self::nothing_of_gradient(shape.rows());
        part.passes(AxisFunction::Softmax)
            .absorb_blocks(x, dy, shape.inner, &mut part.columns);
        Ok(part)
    }

    fn passes(&self, function: AxisFunction) -> Passes {
        Passes::new(function, self.of_gradient)
    }

    /// How many rows it is of.
    pub fn rows(&self) -> usize {
        self.columns.parts().0.len()
    }

    /// Takes what another part says of the same rows.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where it has another number of rows; [`Error::Inputs`] where one is for
    /// gradients and the other is not.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        same_length("the other part's rows", self.rows(), other.rows())?;
        if self.of_gradient != other.of_gradient {
            return Err(
                self.wrong("merges with parts of its own kind, for values or for gradients")
            );
        }
        let passes = self.passes(AxisFunction::LogSoftmax);
        passes.merge_all(&mut self.columns, &other.columns);
        Ok(())
    }

    /// softmax or log_softmax of elements of the rows, of which this is the whole.
    ///
    /// # Errors
    /// As [`RowPart::of`]; [`Error::Inputs`] for another function, and where this is for gradients.
    pub fn apply_into(
        &self,
        function: AxisFunction,
        x: &[f32],
        shape: &[usize],
        axis: isize,
        y: &mut [f32],
    ) -> Result<()> {
        let shape = self.checked(x, shape, axis, y)?;
        if self.of_gradient || self.other(function) {
            return Err(
                self.wrong("has the values of softmax and log_softmax, of a part for values")
            );
        }
        let of = match function {
            AxisFunction::Softmax => {
                let passes = Passes::new(function, false);
                return self.map(passes, &self.weights(), x, &[], shape, y);
            }
            _ => &self.columns,
        };
        self.map(self.passes(function), of, x, &[], shape, y)
    }

    /// The gradient of softmax or log_softmax by elements of the rows, of which this is the whole.
    ///
    /// # Errors
    /// As [`RowPart::of`]; [`Error::Inputs`] for another function, and where this is not for gradients.
    pub fn grad_into(
        &self,
        function: AxisFunction,
        x: &[f32],
        dy: &[f32],
        shape: &[usize],
        axis: isize,
        dx: &mut [f32],
    ) -> Result<()> {
        let shape = self.checked(x, shape, axis, dx)?;
        same_length("the upstream gradient", x.len(), dy.len())?;
        if !self.of_gradient || self.other(function) {
            return Err(
                self.wrong("has the gradients of softmax and log_softmax, of a part for gradients")
            );
        }
        self.map(self.passes(function), &self.columns, x, dy, shape, dx)
    }

    /// logsumexp of each row, of which this is the whole.
    pub fn logsumexp(&self) -> Vec<f32> {
        let passes = Passes::new(AxisFunction::LogSumExp, false);
        passes.finish(&self.logs(), &[]).results()
    }

    /// log_softmax of one element of each row: cross entropy's loss is -1 times that of the target's. Of a
    /// row without one, NaN stands for the element.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn log_softmax_of(&self, x: &[f32]) -> Result<Vec<f32>> {
        same_length("the elements", self.rows(), x.len())?;
        let mut y = vec![0.0; x.len()];
        let passes = Passes::new(AxisFunction::LogSoftmax, false);
        let coefficients = passes.finish(&self.logs(), &[]);
        passes.map_blocks(x, &[], &coefficients, x.len(), &mut y);
        Ok(y)
    }

    /// The part as bytes, for the way to another machine: a mark, whether it is for gradients, the number of
    /// rows, then their largest elements as f32 and three f64 sums for each, all in little-endian order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (max, sums) = self.columns.parts();
        let mut bytes = MARK.to_vec();
        bytes.extend(u64::from(self.of_gradient).to_le_bytes());
        bytes.extend((max.len() as u64).to_le_bytes());
        bytes.extend(max.iter().flat_map(|max| max.to_le_bytes()));
        bytes.extend(
            sums.iter()
                .flat_map(|all| all.iter().flat_map(|sum| sum.to_le_bytes())),
        );
        bytes
    }

    /// The part of [`RowPart::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Inputs`] where the bytes are no part.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Self::nothing(0).wrong("is of other bytes than a part's");
        let rest = bytes.strip_prefix(MARK).ok_or_else(damaged)?;
        let (head, rest) = rest.split_at_checked(16).ok_or_else(damaged)?;
        let words: Vec<u64> = head.chunks_exact(8).map(word).collect();
        let (of_gradient, rows) = match words[..] {
            [flag @ (0 | 1), rows] => (flag == 1, usize::try_from(rows).map_err(|_| damaged())?),
            _ => return Err(damaged()),
        };
        if rows.checked_mul(4 + 3 * 8) != Some(rest.len()) {
            return Err(damaged());
        }
        let (max, sums) = rest.split_at(4 * rows);
        // Invariant: chunks of four and of eight bytes, of which there are as many as rows.
        let max = max
            .chunks_exact(4)
            .map(|bytes| f32::from_bits(word(bytes) as u32));
        let sums = |i: usize| {
            let all = &sums[8 * rows * i..8 * rows * (i + 1)];
            all.chunks_exact(8)
                .map(|bytes| f64::from_bits(word(bytes)))
                .collect()
        };
        let columns = Columns::from_parts(max.collect(), std::array::from_fn(sums));
        Ok(Self {
            columns,
            of_gradient,
        })
    }

    fn other(&self, function: AxisFunction) -> bool {
        !matches!(function, AxisFunction::Softmax | AxisFunction::LogSoftmax)
    }

    fn wrong(&self, detail: &str) -> Error {
        Error::Inputs {
            function: "a part of rows",
            detail: detail.to_owned(),
        }
    }

    fn checked(&self, x: &[f32], shape: &[usize], axis: isize, y: &[f32]) -> Result<AxisShape> {
        let shape = AxisShape::new(shape, axis)?;
        same_length("the input", shape.elements(), x.len())?;
        same_length("the output", x.len(), y.len())?;
        same_length("the rows", self.rows(), shape.rows())?;
        Ok(shape)
    }

    /// The sums of weights in one place, as softmax and gradients have them.
    fn weights(&self) -> Columns {
        let (max, [ties, rest, _]) = self.columns.parts();
        let sums = ties.iter().zip(rest).map(|(a, b)| a + b).collect();
        let none = || vec![0.0; max.len()];
        Columns::from_parts(max.to_vec(), [sums, none(), none()])
    }

    /// The sums as logarithms have them: ties with the largest apart.
    fn logs(&self) -> Columns {
        if !self.of_gradient {
            return self.columns.clone();
        }
        let (max, [sums, _, _]) = self.columns.parts();
        let none = || vec![0.0; max.len()];
        Columns::from_parts(max.to_vec(), [none(), sums.to_vec(), none()])
    }

    fn map(
        &self,
        passes: Passes,
        columns: &Columns,
        x: &[f32],
        dy: &[f32],
        shape: AxisShape,
        y: &mut [f32],
    ) -> Result<()> {
        let coefficients = passes.finish(columns, &[]);
        passes.map_blocks(x, dy, &coefficients, shape.inner, y);
        Ok(())
    }
}

/// Bytes, the lowest first.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}
