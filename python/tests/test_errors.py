"""Mistakes are Python's errors with the fact and the way out, and never a panic."""

import numpy as np
import pytest

import wgpu_activations as wa
from wgpu_activations import _native

X = np.float32([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: wa.gelu(), TypeError, "takes input; it was given 0 by position"),
        (lambda: wa.gelu(X, X), TypeError, "takes input; it was given 2"),
        (lambda: wa.softmax(X, -1), TypeError, "mask, bias, lengths, sinks by name.*as in axis=-1"),
        (lambda: wa.softmax(X, axes=-1), TypeError, "softmax has no 'axes'.*the options axis, scale"),
        (lambda: wa.softmax(X, axis=2), ValueError, "axis 2"),
        (lambda: wa.softmax(X, axis=1.0), TypeError, "axis is a whole number, and float was given"),
        (lambda: wa.softmax(X, axis=True), TypeError, "axis is a whole number"),
        (lambda: wa.softmax(np.float32(1), axis=1), ValueError, "a scalar has no axis"),
        (lambda: wa.softmax(X, causal="no"), ValueError, "causal is upper_left or lower_right"),
        (lambda: wa.softmax(X, scale=2, temperature=2), ValueError, "give one"),
        (lambda: wa.softmax(X, mask=np.ones((3, 3), bool)), ValueError, "does not broadcast"),
        (lambda: wa.elu(X, alpha="0.5"), TypeError, "alpha is a number, and str was given"),
        (lambda: wa.elu(X, alpha=np.nan), ValueError, "alpha"),
        (lambda: wa.gumbel_softmax(X, hard=1), TypeError, "hard is True or False"),
        (lambda: wa.gumbel_softmax(X, seed=-1), ValueError, "seed = -1 must be a whole number"),
        (lambda: wa.function("elu", alpha="x)"), TypeError, "alpha is a number"),
        (lambda: wa.function("elu(alpha=x)"), ValueError, "alpha = x must be a number"),
        (lambda: wa.function("elu", slope=1), TypeError, "elu has no 'slope'"),
        (lambda: wa.function("gelo"), ValueError, "did you mean gelu"),
        (lambda: wa.function(3), TypeError, "a function, or its name"),
        (lambda: wa.gelo, AttributeError, "did you mean gelu"),
        (lambda: wa.softmax2d(X), ValueError, "the input has 2 axes"),
        (lambda: wa.softmax(X, sink=0, sinks=X[:, :1]), ValueError, "leave one of them out"),
        (lambda: wa.cross_entropy(X, [0, 1], weight=X[0, :1]), ValueError, "class weight"),
        (lambda: wa.bce(X / 9, X / 9, weight=np.ones((2, 3, 1), np.float32)), ValueError, "does not broadcast"),
        (lambda: wa.maxout(X, pieces=3), ValueError, "3"),
        (lambda: wa.swiglu(np.ones((2, 3), np.float32)), ValueError, "swiglu"),
        (lambda: wa.swiglu(X, X[:1]), ValueError, "gate"),
        (lambda: wa.swiglu(X, arrays=2), TypeError, "swiglu lacks the gate"),
        (lambda: wa.swiglu(X, arrays=3), ValueError, "arrays is 1 or 2"),
        (lambda: wa.prelu(X, np.ones(3, np.float32)), ValueError, "slope"),
        (lambda: wa.cross_entropy(X), TypeError, "takes logits, targets"),
        (lambda: wa.cross_entropy(X, [0, 2]), ValueError, "the target of row 1 is 2"),
        (lambda: wa.cross_entropy(X, [0]), ValueError, "targets"),
        (lambda: wa.cross_entropy(X, [0, 1], targets=[0, 1]), TypeError, "it was given 2 by position and targets by name"),
        (lambda: wa.nll_loss(X, X), TypeError, "class indices"),
        (lambda: wa.binary_cross_entropy(X, X), ValueError, "between 0 and 1"),
        (lambda: wa.gelu(X, out=np.empty(4, np.float32)), ValueError, r"out has the shape \[4\]"),
        (lambda: wa.gelu(X, out=np.empty((2, 2))), TypeError, "out is of float64"),
        (lambda: wa.gelu(X, out=[0]), TypeError, "out is no NumPy array"),
        (lambda: wa.gelu(X, out=np.broadcast_to(np.float32(0), (2, 2))), ValueError, "read-only"),
        (lambda: wa.grad(wa.gelu, X), TypeError, r"takes dy.*of that shape"),
        (lambda: wa.grad(wa.gelu, X, X[:1]), ValueError, "upstream gradient"),
        (lambda: wa.grad(wa.gelu, X, X, from_output=True), ValueError, "not accurate from its output"),
        (lambda: wa.grad(wa.softmax, X, from_output=True), TypeError, "takes dy"),
        (lambda: wa.grad(wa.gelu, X, X, out=X), TypeError, "gelu has no 'out'"),
        (lambda: wa.Backend("no such adapter"), wa.DeviceError, "no such adapter"),
        (lambda: wa.set_backend("no such adapter"), wa.DeviceError, "no such adapter"),
    ],
)
def test_mistakes(call, error, words):
    with wa.use("cpu"), pytest.raises(error, match=words):
        call()


def test_a_fully_masked_row_can_be_an_error():
    mask = np.array([[True, True], [False, False]])
    assert (wa.softmax(X, mask=mask)[1] == 0).all()
    assert np.isnan(wa.softmax(X, mask=mask, row_policy="nan")[1]).all()
    with pytest.raises(ValueError, match=r"everything is masked in row \[1\]"):
        wa.softmax(X, mask=mask, row_policy="error")


@pytest.mark.parametrize("elements", [1, 1 << 24])
def test_a_panic_is_an_error(elements, capfd):
    with pytest.raises(RuntimeError, match="has a fault, please report it: asked for"):
        _native.fault(elements)


def test_backends():
    with wa.use("cpu") as opened:
        assert wa.backend().kind == opened.kind == "cpu"
        assert "cpu" in repr(wa.backend()) and "threads" in wa.backend().description
    before = wa.backend()
    try:
        wa.set_backend("cpu")
        assert wa.backend().description.endswith("asked for")
    finally:
        wa.set_backend(before)
    assert issubclass(wa.DeviceError, RuntimeError)
