"""Rows of the softmax family of which each of several machines, or devices, has a part."""

import numpy as np

from . import _native
from ._arrays import as_numbers


def _wide(x, name):
    return np.ascontiguousarray(np.asarray(as_numbers(x, "a part of rows", name), np.float32)).reshape(np.shape(x))


class RowPart:
    """What a part of some rows says of them: each row's largest element, and sums of e^(x - largest) in float64.

    Every machine makes its part, ``RowPart(x, axis=-1)``; parts are merged, ``a + b`` or ``sum(parts)``, in any
    order; and each machine finishes its own elements with what came of it:

    >>> parts = [RowPart([[1.0, 2.0]]), RowPart([[2.0, 1.0]])]
    >>> sum(parts).apply("softmax", [[1.0, 2.0]])
    array([[0.13447072, 0.3655293 ]], dtype=float32)

    ``RowPart(x, dy=dy)`` is for gradients of softmax and log_softmax. It takes the ways that pickle takes.
    """

    def __init__(self, x, axis=-1, dy=None):
        x = _wide(x, "x")
        if not x.ndim:
            raise ValueError("a part of rows has an axis")
        self._rows = _native.Rows.of(x, axis, None if dy is None else _wide(dy, "dy"))
        self.shape = tuple(np.delete(x.shape, axis))

    @classmethod
    def _of(cls, rows, shape):
        part = cls.__new__(cls)
        part._rows, part.shape = rows, tuple(shape)
        return part

    def __add__(self, other):
        if not isinstance(other, RowPart):
            return NotImplemented
        if self.shape != other.shape:
            raise ValueError(f"rows of the shape {self.shape} and of {other.shape} are not the same")
        return RowPart._of(self._rows.merged(other._rows), self.shape)

    def __radd__(self, other):
        # sum() begins with 0.
        return self if other == 0 else NotImplemented

    def apply(self, function, x, axis=-1):
        """``"softmax"`` or ``"log_softmax"`` of elements of the rows, of which this is the whole."""
        return self._finished(function, x, axis, None)

    def grad(self, function, x, dy, axis=-1):
        """The gradient of ``"softmax"`` or ``"log_softmax"``, of a part that was made with ``dy``."""
        return self._finished(function, x, axis, _wide(dy, "dy"))

    def _finished(self, function, x, axis, dy):
        array = as_numbers(x, "a part of rows", "x")
        result = self._rows.finished(function, _wide(array, "x"), axis, dy)
        return result.astype(array.dtype, copy=False)

    def logsumexp(self):
        """The logarithm of each row's sum, as float32."""
        return self._rows.logsumexp().reshape(self.shape)

    @property
    def max(self):
        """Each row's largest element."""
        return self._numbers()[0]

    @property
    def log_sum(self):
        """The logarithm of each row's sum of e^(x - max), as float64; NaN where a row has no softmax."""
        largest, (ties, rest, _) = self._numbers()
        with np.errstate(all="ignore"):
            # Without the first tie, which is the 1 in log(1 + ...), small logarithms keep their precision.
            return np.where(np.isfinite(largest), np.log1p(ties - 1 + rest), np.nan)

    def _numbers(self):
        data = self._rows.to_bytes()
        count = int(np.prod(self.shape, dtype=np.int64))
        largest = np.frombuffer(data, "<f4", count, 24).reshape(self.shape)
        sums = np.frombuffer(data, "<f8", 3 * count, 24 + 4 * count).reshape(3, *self.shape)
        return largest, sums

    def __reduce__(self):
        return _made_again, (self._rows.to_bytes(), self.shape)

    def __repr__(self):
        return f"<a part of rows of shape {self.shape}>"


def _made_again(data, shape):
    return RowPart._of(_native.Rows.from_bytes(data), shape)


class CrossEntropyPart:
    """What a part of the classes says of a cross entropy: logits [..., classes / k] on each of k workers.

    ``first`` is the number of the part's first class in the whole. Parts are added, and the whole has the
    ``loss`` and, for a worker's own logits, the gradient:

    >>> logits = np.float32([[1, 2, 3, 4]])
    >>> parts = [CrossEntropyPart(logits[:, :3], [3]), CrossEntropyPart(logits[:, 3:], [3], first=3)]
    >>> sum(parts).loss()
    np.float32(0.4401897)
    """

    def __init__(self, logits, targets, first=0, *, ignore_index=-100):
        x, targets = _wide(logits, "logits"), np.asarray(targets)
        if targets.dtype.kind not in "iu" or targets.shape != x.shape[:-1]:
            raise ValueError(f"targets are classes of the shape {x.shape[:-1]}")
        self.rows = RowPart(x)
        self.targets = targets.astype(np.int64)
        self.ignore_index = ignore_index
        self.classes = x.shape[-1]
        own = self._own(first, x.shape[-1])
        self.found = own
        place = np.where(own, self.targets - first, 0)[..., None]
        self.logits = np.where(own, np.take_along_axis(x, place, -1)[..., 0] if x.size else 0, 0).astype(np.float32)
        self.total = x.sum(axis=-1, dtype=np.float64)

    def _own(self, first, count):
        return (self.targets >= first) & (self.targets < first + count) & (self.targets != self.ignore_index)

    def __add__(self, other):
        if not isinstance(other, CrossEntropyPart):
            return NotImplemented
        if not np.array_equal(self.targets, other.targets) or self.ignore_index != other.ignore_index:
            raise ValueError("the parts are of other targets")
        whole = CrossEntropyPart.__new__(CrossEntropyPart)
        whole.rows = self.rows + other.rows
        whole.targets, whole.ignore_index = self.targets, self.ignore_index
        whole.classes = self.classes + other.classes
        # One part has the target's logit, the others 0.
        whole.logits, whole.found = self.logits + other.logits, self.found | other.found
        whole.total = self.total + other.total
        return whole

    def __radd__(self, other):
        return self if other == 0 else NotImplemented

    def _counted(self):
        counted = self.targets != self.ignore_index
        missing = np.argwhere(counted & ~self.found)
        if len(missing):
            row = tuple(missing[0])
            raise ValueError(f"the target of row {row} is {self.targets[row]}, which is no class of a part")
        return counted

    def loss(self, *, reduction="mean", label_smoothing=0.0):
        """The loss; with ``reduction="none"`` of each row."""
        counted, log_sum, largest = self._counted(), self.rows.log_sum, self.rows.max.astype(np.float64)
        with np.errstate(invalid="ignore"):
            losses = (largest - self.logits) + log_sum
            if label_smoothing:
                even = (largest - self.total / self.classes) + log_sum
                losses = (1 - label_smoothing) * losses + label_smoothing * even
        losses = np.where(counted, losses, 0.0)
        if reduction == "none":
            return losses.astype(np.float32)
        if reduction not in ("mean", "sum"):
            raise ValueError("reduction is none or mean or sum")
        with np.errstate(invalid="ignore"):
            return np.float32(losses.sum() / (counted.sum() if reduction == "mean" else 1))

    def grad(self, logits, first=0, *, dy=1.0, reduction="mean", label_smoothing=0.0):
        """The gradient by a part's logits, whose first class is ``first``; ``dy`` is that of the loss."""
        x = as_numbers(logits, "a part of rows", "logits")
        counted = self._counted()
        share = np.asarray(dy, np.float64) * counted
        if reduction == "mean":
            share = share / counted.sum()
        gradient = self.rows.apply("softmax", _wide(x, "logits")).astype(np.float64)
        gradient -= label_smoothing / self.classes
        own = self._own(first, x.shape[-1])
        rows = np.nonzero(own)
        gradient[(*rows, (self.targets - first)[rows])] -= 1 - label_smoothing
        # What does not count has the gradient 0, whatever its logits are.
        return np.where(counted[..., None], gradient * share[..., None], 0.0).astype(x.dtype)
