"""Values and gradients against NumPy and SciPy in float64, at the contract's bounds."""

import numpy as np
import pytest
import scipy.special as sp
from conftest import TYPES, hurting, ulps

import wgpu_activations as wa

SQRT2 = np.sqrt(2.0)


def _tanhshrink(x):
    series = x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315
    return np.where(np.abs(x) < 0.02, series, x - np.tanh(x))


def _mish(x):
    e = np.exp(np.minimum(x, 40.0))
    n = e * (e + 2)
    return np.where(x > 30, x, x * n / (n + 2))


def _softsign(x):
    # The limit at the infinities.
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def _times(x, share):
    # 0 beats an infinity.
    return np.where(share == 0, 0.0, x * share)


# Each: the value, the derivative, and the largest term of that where it changes sign.
REFERENCES = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, None),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0, None),
    "leaky_relu": (lambda x: np.where(x > 0, x, float(np.float32(0.01)) * x), None, None),
    "sigmoid": (sp.expit, lambda x: sp.expit(x) * sp.expit(-x), None),
    "log_sigmoid": (sp.log_expit, lambda x: sp.expit(-x), None),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(np.clip(x, -700, 700)) ** 2, None),
    "softplus": (lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 700)))), None, None),
    "softsign": (_softsign, lambda x: 1 / (1 + np.abs(x)) ** 2, None),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.exp(np.minimum(x, 0)), None),
    "silu": (
        lambda x: _times(x, sp.expit(x)),
        lambda x: sp.expit(x) * (1 + _times(x, sp.expit(-x))),
        lambda x: sp.expit(x) * np.maximum(1, np.abs(_times(x, sp.expit(-x)))),
    ),
    "gelu": (
        lambda x: _times(x, 0.5 * sp.erfc(-x / SQRT2)),
        lambda x: 0.5 * sp.erfc(-x / SQRT2) + _times(x, np.exp(-x * x / 2) / np.sqrt(2 * np.pi)),
        lambda x: np.maximum(0.5 * sp.erfc(-x / SQRT2), np.abs(_times(x, np.exp(-x * x / 2) / np.sqrt(2 * np.pi)))),
    ),
    "mish": (lambda x: np.where(x < -700, 0, _mish(np.maximum(x, -700))), None, None),
    "tanhshrink": (_tanhshrink, lambda x: np.tanh(x) ** 2, None),
    "erf": (sp.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x), None),
    "exp": (np.exp, np.exp, None),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_forward_is_within_2_ulp(backend, name):
    x = hurting()
    value, _, _ = REFERENCES[name]
    with np.errstate(all="ignore"):
        want = value(x.astype(np.float64))
    want[np.isnan(x)] = np.nan
    off = ulps(wa.function(name)(x), want)
    worst = np.nanargmax(off)
    assert off[worst] <= 2, (name, x[worst], off[worst])


@pytest.mark.parametrize("name", [name for name, row in REFERENCES.items() if row[1]])
def test_backward_is_within_4_ulp_of_the_largest_term(backend, name):
    x = hurting()
    _, slope, terms = REFERENCES[name]
    dy = np.float32(1.0) * np.ones_like(x)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        want = slope(wide)
        largest = 0.0 if terms is None else terms(wide)
    want[np.isnan(x)] = np.nan
    off = ulps(wa.grad(name, x, dy), want, np.nan_to_num(largest))
    worst = np.nanargmax(off)
    assert off[worst] <= 4, (name, x[worst], off[worst])


@pytest.mark.parametrize("dtype", TYPES[1:], ids=str)
@pytest.mark.parametrize("name", ["gelu", "sigmoid", "silu", "elu"])
def test_16_bits_are_the_nearest_of_the_value(name, dtype):
    """The value of what 16 bits hold, rounded once: at most the next number where it is close to a tie."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    x = x[np.isfinite(x.astype(np.float32))]
    y = wa.function(name)(x)
    assert y.dtype == dtype
    with np.errstate(all="ignore"):
        want = REFERENCES[name][0](x.astype(np.float64))
        nearest = want.astype(np.float32).astype(dtype)
    different = (y != nearest) & ~((np.abs(want) < 2.0**-126) & (y == 0))
    assert different.mean() < 1e-3
    places = lambda a: np.where((a := a.view(np.int16).astype(np.int32)) < 0, -32768 - a, a)
    assert np.abs(places(y) - places(nearest))[different].max(initial=0) <= 1


def _rows():
    random = np.random.default_rng(2)
    rows = [
        random.normal(size=(7, 1000)) * 3,
        random.normal(size=(3, 1000)) * 50,
        1e4 + random.normal(size=(2, 1000)),
        np.full((1, 1000), -1e30),
        np.linspace(-100, 100, 1000)[None],
    ]
    return np.concatenate(rows).astype(np.float32)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "softmin"])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_family(backend, name, axis):
    x = _rows() if axis == 1 else np.ascontiguousarray(_rows().T)
    wide = x.astype(np.float64)
    reference = {
        "softmax": sp.softmax,
        "log_softmax": sp.log_softmax,
        "logsumexp": sp.logsumexp,
        "softmin": lambda x, axis: sp.softmax(-x, axis=axis),
    }[name]
    want = reference(wide, axis=axis)
    # The terms of a difference that the sum's logarithm ends in.
    terms = np.abs(want) if "log" not in name else np.maximum(np.abs(want), 1.0)
    got = wa.function(name)(x, axis=axis)
    assert got.shape == want.shape
    assert ulps(got, want, terms).max() <= 4


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_cross_entropy(backend, reduction):
    x = _rows()
    targets = np.arange(len(x)) * 67 % 1000
    targets[3] = -100
    logs = sp.log_softmax(x.astype(np.float64), axis=1)
    smoothed = 0.9 * -logs[np.arange(len(x)), np.maximum(targets, 0)] + 0.1 * -logs.mean(axis=1)
    smoothed[3] = 0
    want = {"none": smoothed, "sum": smoothed.sum(), "mean": smoothed.sum() / (len(x) - 1)}[reduction]
    got = wa.cross_entropy(x, targets, label_smoothing=0.1, reduction=reduction)
    np.testing.assert_allclose(got, want, rtol=5e-7, atol=1e-7)
    p = sp.softmax(x.astype(np.float64), axis=1)
    onehot = 0.9 * (np.arange(1000) == targets[:, None]) + 0.1 / 1000
    gradient = (p - onehot) * (targets != -100)[:, None]
    if reduction == "none":
        return
    gradient /= len(x) - 1 if reduction == "mean" else 1
    value, dx = wa.value_and_grad("cross_entropy", x, targets, label_smoothing=0.1, reduction=reduction)
    np.testing.assert_allclose(value, want, rtol=5e-7)
    np.testing.assert_allclose(dx, gradient, rtol=2e-6, atol=2e-8)
    alone = wa.grad("cross_entropy", x, targets, label_smoothing=0.1, reduction=reduction)
    np.testing.assert_allclose(alone, gradient, rtol=2e-6, atol=2e-8)


def test_masked_softmax(backend):
    x = np.random.default_rng(3).normal(size=(2, 3, 5, 5)).astype(np.float32)
    keep = np.random.default_rng(4).random((2, 1, 1, 5)) < 0.7
    keep[..., 0] = True
    bias = np.random.default_rng(5).normal(size=(3, 5, 5)).astype(np.float32)
    scores = x.astype(np.float64) * 0.125 + bias
    causal = np.tril(np.ones((5, 5), bool))
    want = sp.softmax(np.where(keep & causal, scores, -np.inf), axis=-1)
    got = wa.softmax(x, axis=-1, scale=0.125, bias=bias, mask=keep, causal=True)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    lengths = np.array([2, 5])
    want = sp.softmax(np.where(np.arange(5) < lengths[:, None, None, None], x.astype(np.float64), -np.inf), axis=-1)
    np.testing.assert_allclose(wa.softmax(x, lengths=lengths), want, rtol=1e-6, atol=1e-7)


def test_gradients_of_several_arrays(backend):
    random = np.random.default_rng(6)
    x, dy = (random.normal(size=(4, 3, 8)).astype(np.float32) for _ in range(2))
    slope = np.float32([0.1, -0.5, 2.0])
    got = wa.grads("prelu", (x, slope), dy)
    assert list(got) == ["input", "slope"]
    wide = slope[:, None].astype(np.float64)
    np.testing.assert_allclose(wa.prelu(x, slope), np.where(x > 0, x, wide * x), rtol=1e-6)
    np.testing.assert_allclose(got["input"], np.where(x > 0, 1, wide) * dy, rtol=1e-6)
    terms = np.where(x > 0, 0, x.astype(np.float64) * dy)
    np.testing.assert_allclose(got["slope"], terms.sum(axis=(0, 2)), rtol=1e-5, atol=1e-6)
    gate = random.normal(size=x.shape).astype(np.float32)
    got = wa.grads("glu", (x, gate), dy)
    share = sp.expit(gate.astype(np.float64))
    np.testing.assert_allclose(got["value"], dy * share, rtol=1e-6)
    np.testing.assert_allclose(got["gate"], dy * x.astype(np.float64) * share * (1 - share), rtol=1e-5, atol=1e-7)
    one = wa.grad("glu", np.concatenate([x, gate], axis=-1), dy)
    np.testing.assert_array_equal(one, np.concatenate([got["value"], got["gate"]], axis=-1))
