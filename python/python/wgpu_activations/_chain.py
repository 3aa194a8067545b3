"""Several steps that are computed as one."""

import numpy as np

from . import _native
from ._arrays import as_numbers


class Chain(_native.Chain):
    """Steps one after the other, each array read once and the result written once.

    ``Chain("scale(0.5) | bias(axis=1) | gelu | add")(x, bias, residual)``: steps that need a second array take
    their operands in order. Every step is rounded to float32, and the result to the type of ``x``.
    """

    def __call__(self, x, *operands, out=None):
        """The value, of the shape of ``x``; of tensors, a tensor."""
        if any(isinstance(array, _native.Tensor) for array in (x, out, *operands)):
            return self.record([x, *operands], out=out)[0]
        x = as_numbers(x, "a chain", "the array")
        y = self.value(*self._wide(x, operands))
        return _given(y, x.dtype, out)

    def grad(self, x, *operands, dy):
        """The gradients by ``x``, and by each operand, as a tuple."""
        if any(isinstance(array, _native.Tensor) for array in (x, dy, *operands)):
            return tuple(self.record([x, *operands], dy=dy))
        x = as_numbers(x, "a chain", "the array")
        wide, others = self._wide(x, operands)
        gradients = self.gradients(wide, others, np.asarray(as_numbers(dy, "a chain", "dy"), np.float32))
        return tuple(_given(gradient, x.dtype, None) for gradient in gradients)

    def _wide(self, x, operands):
        operands = [as_numbers(operand, "a chain", "an operand") for operand in operands]
        return np.asarray(x, np.float32), [np.asarray(operand, np.float32) for operand in operands]

    def __repr__(self):
        return f"<chain {self.text}>"

    def __reduce__(self):
        return chain, (self.text,)

    def __eq__(self, other):
        return isinstance(other, Chain) and self.text == other.text

    def __hash__(self):
        return hash(self.text)


def _given(result, dtype, out):
    if out is None:
        return result if result.dtype == dtype else result.astype(dtype)
    if out.shape != result.shape:
        raise ValueError(f"out has the shape {out.shape}, and the result {result.shape}")
    np.copyto(out, result, casting="same_kind")
    return out


def chain(text):
    """A chain by its text: ``chain("scale(0.125) | softmax(axis=-1) | dropout(0.1, seed=7)")``."""
    return Chain(text)
