"""Chunked arrays: what NumPy's give, lazily, in the memory of a few chunks, also where a worker dies."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import scipy.special as sp
from conftest import ulps

import wgpu_activations as wa

da = pytest.importorskip("dask.array")


@pytest.fixture(autouse=True)
def on_the_cpu():
    """Dask's threads have no `use` of this one's."""
    before = wa.backend()
    wa.set_backend("cpu")
    yield
    wa.set_backend(before)


X = np.random.default_rng(1).normal(size=(12, 30)).astype(np.float32) * 4


@pytest.mark.parametrize("chunks", [(12, 30), (5, 30), (12, 7), (5, 7), (1, 1)])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "logsumexp"])
def test_rows_in_chunks(name, axis, chunks):
    x = da.from_array(X, chunks=chunks)
    y = getattr(wa.dask, name)(x, axis=axis)
    assert isinstance(y, da.Array) and y.dtype == np.float32
    got = y.compute()
    assert got.shape == y.shape
    wide = X.astype(np.float64)
    reference = {"softmax": sp.softmax, "log_softmax": sp.log_softmax, "logsumexp": sp.logsumexp}
    want = reference["softmax"](-wide, axis=axis) if name == "softmin" else reference[name](wide, axis=axis)
    assert ulps(got, want, 1.0 if name == "logsumexp" else 0.0).max() <= 4


def test_three_axes_and_types():
    x = np.random.default_rng(2).normal(size=(3, 8, 6)).astype(np.float16)
    d = da.from_array(x, chunks=(2, 3, 4))
    y = wa.dask.softmax(d, axis=1)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y.compute(), wa.softmax(x, axis=1))
    np.testing.assert_array_equal(wa.dask.logsumexp(d, axis=1).compute(), wa.logsumexp(x, axis=1))


def test_it_is_lazy():
    def never(*_):
        raise AssertionError("computed")

    x = da.from_array(X, chunks=(5, 7)).map_blocks(never, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    wa.dask.softmax(x, axis=1)
    wa.dask.gelu(x)
    wa.dask.cross_entropy(x, np.zeros(12, int))


@pytest.mark.parametrize("info", wa._native.operations(), ids=lambda info: info["name"])
def test_every_function_of_whole_rows(info):
    name = info["name"]
    required = [array for array in info["forms"][0] if not array["optional"]]
    options = {}
    arrays = [X[:, :, None, None] if name == "softmax2d" else X]
    if name == "prelu":
        arrays.append(np.full((1, 30), 0.25, np.float32))
        options["broadcast"] = True
    elif len(required) == 2:
        arrays = [X if required[0]["name"] == "logits" else wa.sigmoid(X)]
        of_classes = name in ["cross_entropy", "nll_loss"]
        arrays.append(np.arange(12) % 30 if of_classes else wa.sigmoid(X[::-1]))
        options["reduction"] = "none"
    assert len(arrays) == len(required)
    want = getattr(wa, name)(*arrays, **options)
    x = da.from_array(arrays[0], chunks=(5, 30, 1, 1)[: arrays[0].ndim])
    y = getattr(wa.dask, name)(x, *arrays[1:], **options)
    got = y.compute()
    assert y.shape == got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=3e-7)


@pytest.mark.parametrize("chunks", [(12, 30), (5, 7), (4, 30), (12, 1)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy(chunks, reduction):
    targets = np.arange(12) * 7 % 30
    targets[3] = -100
    options = {"reduction": reduction, "label_smoothing": 0.1}
    got = wa.dask.cross_entropy(da.from_array(X, chunks=chunks), targets, **options).compute()
    np.testing.assert_allclose(got, wa.cross_entropy(X, targets, **options), rtol=4e-7)


def test_seeds_are_of_the_whole_array():
    want = wa.rrelu(X, seed=5)
    for rows in (12, 5, 1):
        x = da.from_array(X, chunks=(rows, 30))
        np.testing.assert_array_equal(wa.dask.rrelu(x, seed=5).compute(), want)
        noisy = wa.dask.gumbel_softmax(x, seed=5, axis=1).compute()
        np.testing.assert_array_equal(noisy, wa.gumbel_softmax(X, seed=5, axis=1))
    with pytest.raises(ValueError, match="along the first axis alone"):
        wa.dask.rrelu(da.from_array(X, chunks=(5, 7)), seed=5)


def test_masks_are_cut_as_the_array_is():
    keep = np.random.default_rng(3).random(30) < 0.7
    bias = np.random.default_rng(4).normal(size=(12, 30)).astype(np.float32)
    x = da.from_array(X, chunks=(5, 30))
    got = wa.dask.softmax(x, axis=-1, mask=keep, bias=bias, scale=0.5).compute()
    np.testing.assert_array_equal(got, wa.softmax(X, axis=-1, mask=keep, bias=bias, scale=0.5))
    with pytest.raises(ValueError, match="rechunk"):
        wa.dask.softmax(da.from_array(X, chunks=(5, 7)), mask=keep)
    with pytest.raises(ValueError, match="queries' axis 0 is cut"):
        wa.dask.softmax(x, causal=True)
    np.testing.assert_array_equal(wa.dask.softmax(x.rechunk(-1), causal=True).compute(), wa.softmax(X, causal=True))


def test_mistakes():
    x = da.from_array(X, chunks=(5, 7))
    with pytest.raises(TypeError, match="takes a Dask array first"):
        wa.dask.gelu(X)
    with pytest.raises(ValueError, match="has no parts, and axis 1 is cut into 5 chunks"):
        wa.dask.sparsemax(x, axis=1)
    with pytest.raises(TypeError, match="reduction='none'"):
        wa.dask.binary_cross_entropy(x, x)
    with pytest.raises(AttributeError, match="did you mean gelu"):
        wa.dask.gelo
    with pytest.raises(ValueError, match="sizes are not known"):
        wa.dask.gelu(x[x > 0])


SQUARE = np.random.default_rng(5).normal(size=(12, 12)).astype(np.float32)
CUBE = np.random.default_rng(6).normal(size=(4, 6, 6)).astype(np.float32)


def cut(x, *chunks):
    return da.from_array(x, chunks=chunks)


def test_arrays_beside_the_first_are_cut_as_it_is():
    slope = np.linspace(-1, 1, 30, dtype=np.float32)
    want = wa.prelu(X, slope)
    for chunks in [(5, 30), (5, 7), (12, 1), (12, 30)]:
        np.testing.assert_array_equal(wa.dask.prelu(cut(X, *chunks), slope).compute(), want)
    np.testing.assert_array_equal(wa.dask.prelu(cut(X, 5, 30), slope, axis=1).compute(), want)
    np.testing.assert_array_equal(wa.dask.prelu(cut(X, 5, 7), np.float32([0.5])).compute(), wa.prelu(X, [0.5]))
    of_channels = np.linspace(-1, 1, 6, dtype=np.float32)
    want = wa.prelu(CUBE, of_channels)
    np.testing.assert_array_equal(wa.dask.prelu(cut(CUBE, 4, 6, 6), of_channels).compute(), want)
    np.testing.assert_array_equal(wa.dask.prelu(cut(CUBE, 2, 4, 3), of_channels[:, None]).compute(), want)
    weight = np.linspace(1, 2, 30, dtype=np.float32)
    options = {"weight": weight, "reduction": "none"}
    got = wa.dask.bce_with_logits(cut(X, 5, 7), wa.sigmoid(X), **options).compute()
    np.testing.assert_array_equal(got, wa.bce_with_logits(X, wa.sigmoid(X), **options))


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_losses_over_classes_of_whole_rows(axis):
    classed = 1 if axis is None else axis
    targets = np.arange(np.delete(CUBE.shape, classed).prod()).reshape(np.delete(CUBE.shape, classed)) % 4
    weight = np.linspace(1, 2, CUBE.shape[classed], dtype=np.float32)
    chunks = [2, 4, 3]
    chunks[classed] = -1
    for options in ({}, {"weight": weight}):
        want = wa.nll_loss(CUBE, targets, axis=axis, reduction="none", **options)
        got = wa.dask.nll_loss(cut(CUBE, *chunks), targets, axis=axis, reduction="none", **options)
        assert got.shape == want.shape
        np.testing.assert_array_equal(got.compute(), want)


@pytest.mark.parametrize(
    "call, words",
    [
        # Slopes and lengths that lie along another axis than the last, which has as many elements.
        (lambda: wa.dask.prelu(cut(CUBE, 2, 3, 3), np.ones(6, np.float32)), r"prelu of chunks.*rechunk\(-1\)"),
        (lambda: wa.dask.prelu(cut(SQUARE, 12, 5), np.ones(12, np.float32), axis=0), "prelu of chunks"),
        (lambda: wa.dask.softmax(cut(SQUARE, 5, 12), lengths=np.full(12, 3)), "softmax of chunks"),
        (lambda: wa.dask.bce_with_logits(cut(SQUARE, 12, 5), SQUARE, weight=SQUARE[0], axis=0, reduction="none"), "logits of chunks"),
        (lambda: wa.dask.nll_loss(cut(SQUARE, 5, 7), np.zeros(12, int), reduction="none"), "axis 1 is cut into 2 chunks"),
        (lambda: wa.dask.nll_loss(cut(SQUARE, 5, 12), SQUARE, reduction="none"), r"classes of the shape \(12,\)"),
    ],
)
def test_arrays_that_cannot_be_cut_are_one_error_before_anything_is_computed(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_memory_is_that_of_a_few_chunks():
    """A softmax of 40 chunks of 4 MB, summed up: no row is gathered, and no chunk waits."""
    code = textwrap.dedent("""
        import resource, numpy as np, dask, dask.array as da, wgpu_activations as wa
        wa.set_backend("cpu")
        dask.config.set(scheduler="threads", num_workers=2)
        def chunk(block_info=None):
            i = block_info[None]["chunk-location"][0]
            return np.random.default_rng(i).normal(size=1_000_000).astype(np.float32)
        def array(n):
            return da.map_blocks(chunk, chunks=((1_000_000,) * n,), dtype=np.float32, meta=np.empty(0, np.float32))
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        one = wa.dask.softmax(array(2)).sum(dtype=np.float64).compute()
        before = peak()
        total = wa.dask.softmax(array(40)).sum(dtype=np.float64).compute()
        print(one, total, peak() - before)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    one, total, more = done.stdout.split()
    assert abs(float(one) - 1) < 1e-5 and abs(float(total) - 1) < 1e-5
    # The array is 160 MB, and so are its results.
    assert int(more) < 80, done.stdout


def _gelu_and_wait(x):
    time.sleep(0.05)
    return wa.gelu(x)


def test_a_worker_dies():
    """Dask starts what it had again; the results are the same."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        x = da.from_array(np.tile(X, (20, 1)), chunks=(4, 7))
        want = wa.gelu(wa.softmax(np.tile(X, (20, 1)), axis=1))
        y = wa.dask.softmax(x, axis=1).map_blocks(_gelu_and_wait, dtype=np.float32)
        future = client.compute(y)
        time.sleep(2)
        pids = list(client.run(os.getpid).values())
        assert len(pids) == 2 and not future.done()
        os.kill(pids[0], signal.SIGKILL)
        np.testing.assert_allclose(future.result(timeout=120), want, rtol=3e-7)
        assert pids[0] not in client.run(os.getpid).values()
