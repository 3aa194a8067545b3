"""Which arrays are taken, what they become, and which are refused with the way out."""

import ml_dtypes
import numpy as np
import pytest

import wgpu_activations as wa


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble, np.int32, np.int64, np.uint32, np.uint64])
def test_what_float32_does_not_hold_is_refused(dtype):
    x = np.array([1, 2], dtype)
    with pytest.raises(TypeError, match=r"pass input.astype\(np.float32\)"):
        wa.gelu(x)
    with pytest.raises(TypeError, match=r"pass dy.astype\(np.float32\)"):
        wa.grad(wa.gelu, np.float32([1, 2]), x)
    with pytest.raises(TypeError):
        wa.gelu(dtype(1))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint16])
def test_whole_numbers_that_float32_holds_are_float32(dtype):
    x = np.array([0, 1, 1], dtype)
    y = wa.gelu(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, wa.gelu(x.astype(np.float32)))


@pytest.mark.parametrize("x", [1.5, -2, True, [1.0, -2.0], ((1, 2), (3, 4)), []])
def test_pythons_own_numbers_are_float32(x):
    y = wa.silu(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, wa.silu(np.array(x, np.float32)))
    assert np.ndim(y) == np.ndim(x)


@pytest.mark.parametrize(
    "x, words",
    [
        (np.complex64(1), "no real numbers"),
        ("gelu", "no real numbers"),
        (None, "no real numbers"),
        (np.array([1], ml_dtypes.float8_e4m3fn), "no real numbers"),
        (np.ma.masked_array(np.float32([1, 2]), [True, False]), "masked array"),
    ],
)
def test_other_things_are_refused(x, words):
    with pytest.raises(TypeError, match=words):
        wa.gelu(x)


def test_a_number_in_gives_a_number():
    y = wa.relu(np.float32(-1))
    assert isinstance(y, np.float32) and y == 0
    assert isinstance(wa.cross_entropy([[1.0, 2.0]], [1]), np.float32)
    assert isinstance(wa.relu(np.array(1, ml_dtypes.bfloat16)), ml_dtypes.bfloat16)
    assert wa.relu(np.float32(-1), out=np.zeros((), np.float32)).shape == ()


def test_masks_lengths_and_targets():
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    keep = np.array([True, False, True, True])
    want = wa.softmax(x, mask=keep)
    assert (want[:, 1] == 0).all()
    for dtype in (np.uint8, np.int8, np.int32, np.int64, np.uint16):
        np.testing.assert_array_equal(wa.softmax(x, mask=keep.astype(dtype) * 3), want)
    with pytest.raises(TypeError, match="is a bias"):
        wa.softmax(x, mask=keep.astype(np.float32))
    want = wa.softmax(x, lengths=np.uint32([1, 2, 3]))
    for dtype in (np.int8, np.int64, np.uint64, np.int32):
        np.testing.assert_array_equal(wa.softmax(x, lengths=np.array([1, 2, 3], dtype)), want)
    with pytest.raises(ValueError, match="from 0 to 4294967295"):
        wa.softmax(x, lengths=[-1, 2, 3])
    want = wa.cross_entropy(x, np.int64([0, 3, 1]))
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.uint32, np.uint64, np.dtype(">i8"), np.dtype(">i4")):
        assert wa.cross_entropy(x, np.array([0, 3, 1], dtype)) == want
    assert wa.cross_entropy(x, [0, 3, 1]) == want
    probabilities = np.eye(4, dtype=np.float32)[[0, 3, 1]]
    assert wa.cross_entropy(x, probabilities) == pytest.approx(want)
    with pytest.raises(TypeError, match="astype"):
        wa.cross_entropy(x, probabilities.astype(np.float64))


class Dlpack:
    """An array of somebody's who shares it by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Interface:
    def __init__(self, array):
        self.array = array
        self.__array_interface__ = array.__array_interface__


@pytest.mark.parametrize("share", [Dlpack, Interface, memoryview])
def test_arrays_of_others(share):
    x = np.float32([[-1, 2], [3, -4]])
    np.testing.assert_array_equal(wa.relu(share(x)), wa.relu(x))


def test_contiguous_arrays_are_not_copied():
    """A call on a large array takes no memory but for the result."""
    import tracemalloc

    x = np.ones((1 << 20, 4), np.float32)
    wa.relu(x[:1])
    for array, most in [(x, 1.1), (x[::2], 2.1)]:
        tracemalloc.start()
        y = wa.relu(array)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most * y.nbytes
        out = np.empty_like(y)
        tracemalloc.start()
        wa.relu(array, out=out)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (most - 0.9) * y.nbytes


@pytest.mark.parametrize("name", ["gelu", "softmax", "swiglu", "sparsemax", "logsumexp"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 4), (0,)])
def test_of_nothing_comes_nothing(backend, name, shape):
    x = np.zeros(shape, np.float16)
    y = wa.function(name)(x)
    if name == "logsumexp":
        assert y.shape == shape[:-1]
    else:
        assert y.size == 0
        assert wa.grad(name, x, np.zeros_like(y)).shape == shape
