"""Rows in parts: however they are cut, wherever they are merged, what one array gives."""

import doctest
import importlib
import pickle

import numpy as np
import pytest
import scipy.special as sp
from conftest import BFLOAT16, ulps
from hypothesis import given, settings
from hypothesis import strategies as st

import wgpu_activations as wa


def rows():
    random = np.random.default_rng(1)
    wide = [random.normal(size=(5, 300)) * 3, random.normal(size=(5, 300)) * 60, 1e4 + random.normal(size=(2, 300))]
    return np.concatenate(wide).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=12), order=st.randoms())
def test_any_cut_in_any_order(cuts, order):
    x = rows()
    pieces = np.split(x, sorted(cuts), axis=1)
    parts = [pickle.loads(pickle.dumps(wa.RowPart(piece))) for piece in pieces]
    # A random tree: merging is associative.
    while len(parts) > 1:
        i = order.randrange(len(parts) - 1)
        a, b = parts[i : i + 2]
        parts[i : i + 2] = [b + a if order.random() < 0.5 else a + b]
    (whole,) = parts
    wide = x.astype(np.float64)
    # A logarithm of 1 + what is far below 1 is no difference of two numbers.
    below = wide - wide.max(axis=1, keepdims=True)
    logs = below - np.log1p(np.sort(np.exp(below), axis=1)[:, :-1].sum(axis=1, keepdims=True))
    for name, want in [("softmax", sp.softmax(wide, axis=1)), ("log_softmax", logs)]:
        got = np.concatenate([whole.apply(name, piece) for piece in pieces], axis=1)
        assert ulps(got, want).max() <= 2
    assert ulps(whole.logsumexp(), sp.logsumexp(wide, axis=1)).max() <= 2
    np.testing.assert_allclose(whole.max + whole.log_sum, sp.logsumexp(wide, axis=1), rtol=0, atol=1e-11)


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_gradients_along_any_axis(axis):
    random = np.random.default_rng(2)
    x, dy = (random.normal(size=(4, 6, 10)).astype(np.float32) for _ in range(2))
    cut = [3]
    for name in ("softmax", "log_softmax"):
        pieces = list(zip(np.split(x, cut, axis), np.split(dy, cut, axis)))
        whole = sum(wa.RowPart(a, axis, dy=b) for a, b in pieces)
        got = np.concatenate([whole.grad(name, a, b, axis) for a, b in pieces], axis)
        np.testing.assert_allclose(got, wa.grad(name, x, dy, axis=axis), rtol=1e-5, atol=1e-7)


def test_types_and_mistakes():
    x = rows().astype(BFLOAT16)
    part = wa.RowPart(x)
    assert part.apply("softmax", x).dtype == BFLOAT16 and part.shape == (12,)
    with pytest.raises(ValueError, match="are not the same"):
        part + wa.RowPart(x[:3])
    with pytest.raises(TypeError, match="softmax and log_softmax"):
        part.apply("logsumexp", x)
    with pytest.raises(TypeError, match="for gradients"):
        part.grad("softmax", x, x)
    with pytest.raises(TypeError):
        part + 1
    with pytest.raises(TypeError, match="astype"):
        wa.RowPart(x.astype(np.float64))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_vocabulary_in_parts(reduction, smoothing, count):
    x = rows()
    targets = np.arange(12) * 53 % 300
    targets[4] = -100
    firsts = [300 * i // count for i in range(count)]
    pieces = np.split(x, firsts[1:], axis=1)
    parts = [wa.CrossEntropyPart(piece, targets, first) for piece, first in zip(pieces, firsts)]
    whole = pickle.loads(pickle.dumps(sum(parts)))
    options = {"reduction": reduction, "label_smoothing": smoothing}
    logs = sp.log_softmax(x.astype(np.float64), axis=1)
    losses = -(1 - smoothing) * logs[np.arange(12), targets % 300] - smoothing * logs.mean(axis=1)
    losses[4] = 0
    want = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / 11}[reduction]
    np.testing.assert_allclose(whole.loss(**options), want, rtol=2.5e-7)
    dy = np.linspace(1, 2, 12).astype(np.float32) if reduction == "none" else 1.0
    got = np.concatenate([whole.grad(p, f, dy=dy, **options) for p, f in zip(pieces, firsts)], axis=1)
    dy = dy if reduction == "none" else np.float32(1)
    want = wa.grad("cross_entropy", x, targets, dy, **options)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)
    assert (got[4] == 0).all()


def test_a_target_that_no_part_has():
    whole = wa.CrossEntropyPart(rows(), np.full(12, 300))
    with pytest.raises(ValueError, match="is 300, which is no class"):
        whole.loss()


@pytest.mark.parametrize("name", ["", "._parts", "._functions"])
def test_the_examples_in_docstrings(name):
    module = importlib.import_module(f"wgpu_activations{name}")
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted or name == "._functions"
