"""Every function of the registry through every way that a call can be written, and the objects themselves."""

import inspect
import pathlib
import pickle
import pydoc
import sys

import numpy as np
import pytest
from conftest import BFLOAT16, TYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

import wgpu_activations as wa
from wgpu_activations import _native

INFOS = {info["name"]: info for info in _native.operations()}
RANDOM = np.random.default_rng(7)


def arrays_of(form, shape=(6, 4)):
    """Arrays for the inputs of a form that must be given."""
    arrays = []
    for array in form:
        if array["optional"]:
            continue
        if array["kind"] == "targets":
            arrays.append(np.arange(shape[0]) % shape[1])
        elif array["name"] in ("probabilities", "targets"):
            arrays.append(RANDOM.random(shape).astype(np.float32))
        elif array["name"] == "slope":
            arrays.append(RANDOM.normal(size=shape[1]).astype(np.float32))
        else:
            arrays.append(RANDOM.normal(size=shape).astype(np.float32) * 2)
    return arrays


def shape_of(info):
    return (6, 2, 2) if info["name"] == "softmax2d" else (6, 4)


CASES = [
    pytest.param(name, i, id=f"{name}-{i}" if i else name)
    for name, info in INFOS.items()
    for i in range(len(info["forms"]))
]


def test_they_are_all_here():
    assert len(INFOS) > 60
    assert wa.functions() == list(INFOS)
    assert set(INFOS) <= set(dir(wa))
    for name in INFOS:
        assert getattr(wa, name).name == name
    assert wa.bce_with_logits.name == "bce_with_logits"
    assert wa.silu_and_mul(np.float32([1, 2, 3, 4])) == pytest.approx(wa.swiglu(np.float32([1, 2, 3, 4]), order="gate_first"))


@pytest.mark.parametrize("name, number", CASES)
def test_every_way_gives_the_same(backend, name, number):
    info = INFOS[name]
    form = info["forms"][number]
    arrays = arrays_of(form, shape_of(info))
    f = getattr(wa, name)
    y = f(*arrays)
    assert y.dtype == np.float32 and y.base is None
    np.testing.assert_array_equal(wa.function(name)(*arrays), y)
    np.testing.assert_array_equal(wa.function(name)(*arrays), y)
    names = [array["name"] for array in form if not array["optional"]]
    np.testing.assert_array_equal(f(**dict(zip(names, arrays))), y)
    # Into memory that is there, also with gaps, of another type, and over the input.
    out = np.full(y.shape, 7, np.float32)
    assert f(*arrays, out=out) is out
    np.testing.assert_array_equal(out, y)
    gaps = np.full((*y.shape[:-1], 2 * (y.shape[-1] if y.ndim else 1)), 9, np.float32)[..., ::2] if y.ndim else None
    if y.ndim:
        assert f(*arrays, out=gaps) is gaps
        np.testing.assert_array_equal(gaps, y)
    half = np.zeros(y.shape, np.float16)
    np.testing.assert_array_equal(f(*arrays, out=half), y.astype(np.float16))
    if y.shape == arrays[0].shape:
        own = arrays[0].copy()
        f(own, *arrays[1:], out=own)
        np.testing.assert_array_equal(own, y)
    # Arrays of other layouts, orders of bytes and owners.
    for changed in (
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: memoryview(np.ascontiguousarray(a)),
    ):
        np.testing.assert_array_equal(f(*map(changed, arrays)), y)
    for array in arrays:
        array.flags.writeable = False
    np.testing.assert_array_equal(f(*arrays), y)

    dy = RANDOM.normal(size=y.shape).astype(np.float32)
    dx = wa.grad(f, *arrays, dy)
    assert dx.shape == arrays[0].shape and dx.dtype == np.float32
    np.testing.assert_array_equal(wa.grad(name, *arrays, dy=dy), dx)
    every = wa.grads(f, tuple(arrays), dy)
    by = [array["name"] for array in form if array["differentiable"] and not array["optional"]]
    assert list(every) == by
    np.testing.assert_array_equal(every[by[0]], dx)
    value, slope = wa.value_and_grad(name, *arrays)
    np.testing.assert_array_equal(value, y)
    np.testing.assert_allclose(slope, wa.grad(f, *arrays, np.ones_like(y)), rtol=1e-5, atol=1e-7)
    if info["from_output"]:
        again = wa.grad(name, y, dy, from_output=True)
        np.testing.assert_allclose(again, dx, rtol=1e-4, atol=1e-6)
    else:
        with pytest.raises(ValueError, match="not accurate from its output"):
            wa.grad(name, y, dy if y.ndim else np.float32(1), from_output=True)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name, number", CASES)
def test_results_have_the_type_of_the_first_array(name, number, dtype):
    info = INFOS[name]
    arrays = arrays_of(info["forms"][number], shape_of(info))
    with wa.use("cpu"):
        # Numbers that all types have.
        arrays = [a if a.dtype.kind == "i" else np.round(a * 8) / 8 for a in arrays]
        wide = wa.function(name)(*arrays)
        narrow = [a if a.dtype.kind == "i" else a.astype(dtype) for a in arrays]
        y = wa.function(name)(*narrow)
        assert y.dtype == dtype
        # Rounded once from the value, or from float32's.
        np.testing.assert_allclose(y.astype(np.float32), wide.astype(dtype).astype(np.float32), rtol=2**-7 if dtype == BFLOAT16 else 2**-10)
        dy = np.ones(y.shape, dtype)
        assert wa.grad(name, *narrow, dy).dtype == dtype


@pytest.mark.parametrize("name", INFOS)
def test_help_tells_what_there_is(name):
    f, info = getattr(wa, name), INFOS[name]
    text = pydoc.render_doc(f, renderer=pydoc.plaintext)
    assert info["summary"].split()[0] in text and info["formula"].split()[0] in text
    for option in info["options"]:
        assert f"{option['name']}: " in text
    parameters = inspect.signature(f).parameters
    assert list(parameters)[0] == info["forms"][0][0]["name"]
    assert {option["name"] for option in info["options"]} < set(parameters)
    assert parameters["out"].kind is inspect.Parameter.KEYWORD_ONLY


def test_functions_are_values():
    f = wa.function("elu", alpha=0.5)
    assert f == wa.function("elu(alpha=0.5)") != wa.elu
    assert repr(f) == "<function wgpu_activations.elu(alpha=0.5)>"
    assert pickle.loads(pickle.dumps(f)) == f
    assert len({f, wa.function("elu", alpha=0.5), wa.elu}) == 2
    assert inspect.signature(f).parameters["alpha"].default.text == "0.5"
    x = np.float32([-1, 1])
    assert f(x, alpha=2.0)[0] == wa.elu(x, alpha=2)[0]
    # None is the default again.
    assert f(x, alpha=None)[0] == wa.elu(x)[0]
    assert wa.function(f, alpha=1.5).text == "elu(alpha=1.5)"
    assert wa.softmax(x, axis=0, causal=None)[0] == wa.softmax(x)[0]


def test_types_are_fresh():
    """`python stubs.py` writes what is there."""
    folder = pathlib.Path(__file__).parents[1]
    if not (folder / "stubs.py").exists():
        pytest.skip("not in a clone")
    sys.path.insert(0, str(folder))
    import stubs

    assert stubs.PATH.read_text() == stubs.text()


def test_chains():
    x = RANDOM.normal(size=(6, 4)).astype(np.float32)
    bias, residual = RANDOM.normal(size=4).astype(np.float32), RANDOM.normal(size=(6, 4)).astype(np.float32)
    c = wa.chain("scale(0.5) | bias(axis=1) | gelu | add")
    assert c.operands == ("bias", "add")
    assert pickle.loads(pickle.dumps(c)) == c
    want = wa.gelu(x * np.float32(0.5) + bias) + residual
    np.testing.assert_allclose(c(x, bias, residual), want, rtol=1e-6)
    dy = RANDOM.normal(size=x.shape).astype(np.float32)
    dx, dbias, dresidual = c.grad(x, bias, residual, dy=dy)
    inner = wa.grad("gelu", x * np.float32(0.5) + bias, dy)
    np.testing.assert_allclose(dx, inner * np.float32(0.5), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dbias, inner.sum(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(dresidual, dy)
    half = x.astype(np.float16)
    assert c(half, bias, residual).dtype == np.float16
    dropped = wa.chain("scale(0.125) | softmax(axis=-1) | dropout(0.5, seed=7)")(x)
    assert 0 < (dropped == 0).mean() < 1
    with pytest.raises(ValueError, match="takes 2 operands"):
        c(x, bias)
    with pytest.raises(ValueError, match="column"):
        wa.chain("gelo")


def test_inspect():
    x = np.float32([[1, -2, -3], [2, 3, -1]])
    found = wa.inspect(x, function="relu")
    assert (found.units, found.dead_units, found.zeros) == (3, 1, 3)
    assert found.histogram_counts.sum() == 6 and len(found.histogram_edges) == 33
    assert wa.inspect(x, "leaky_relu(negative_slope=0.5)").min == -1.5
    with pytest.raises(ValueError, match="bins"):
        wa.inspect(x, bins=0)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape_any_strides_any_type(data):
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    shape = data.draw(hn.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=7))
    x = data.draw(hn.arrays(dtype, shape, elements=st.floats(-30, 30, width=16)))
    order = data.draw(st.permutations(range(x.ndim)))
    steps = tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1, -2]))) for _ in shape)
    view = x.transpose(order)[steps]
    with wa.use("cpu"):
        y = wa.gelu(view)
        assert y.shape == view.shape and y.dtype == dtype
        np.testing.assert_array_equal(y, wa.gelu(np.ascontiguousarray(view).reshape(view.shape)))
        if not view.ndim:
            return
        axis = data.draw(st.integers(-view.ndim, view.ndim - 1))
        p = wa.softmax(view, axis=axis)
        assert p.shape == view.shape
        wide = view.astype(np.float64)
        if view.size:
            e = np.exp(wide - wide.max(axis=axis, keepdims=True))
            np.testing.assert_allclose(p, e / e.sum(axis=axis, keepdims=True), rtol=1e-3 if dtype == np.float16 else 1e-6, atol=6e-8)
        total = wa.logsumexp(view, axis=axis)
        assert total.shape == tuple(np.delete(view.shape, axis))

