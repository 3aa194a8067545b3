"""Prints hard_points.jsonl: every function of the catalogue and its derivative at the f32 inputs
where implementations go wrong, from definitions written here, to 50 digits.

A derivative is a central difference of the definition, at 600 digits with a step of 1e-150 of x:
the truncation error is some 1e-300 of the result and the cancelled digits leave more than 250.
Only at a kink, which no difference sees, the value is given by hand (PyTorch's convention).
"""

import functools
import json
import struct

import mpmath
from mpmath import mp, mpf

mp.dps = 600
DIGITS = 50
INF = float("inf")


def f32(value):
    """The f32 nearest to value, as an exact Python float."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def neighbours(value):
    """The f32 nearest to value, the one below it and the one above it."""
    x = f32(value)
    if x == 0:
        tiny = f32(2.0**-149)
        return [-tiny, 0.0, tiny]
    b = bits(x)
    pair = [struct.unpack("<f", struct.pack("<I", b + d))[0] for d in (-1, 1)]
    return [x] + pair


# Definitions. Each takes x and its parameters as exact numbers.


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def normal_cdf(x):
    # Integral of the density; erfc keeps the lower tail's digits.
    return mp.erfc(-x / mp.sqrt(2)) / 2 if x < 0 else 1 - mp.erfc(x / mp.sqrt(2)) / 2


def log_one_plus_exp(x):
    # Factored so that no precision is spent on e^x for large x.
    return x + mp.log1p(mp.exp(-x)) if x > 0 else mp.log1p(mp.exp(x))


def clamp(x, low, high):
    return min(max(x, mpf(low)), mpf(high))


def gelu_tanh(x):
    return x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


def gelu_tanh_tail(x):
    # (1 + tanh u) / 2 = 1 / (1 + e^-2u), for where 600 digits of tanh are all nines.
    u = mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)
    return x / (1 + mp.exp(-2 * u))


def shrink(x, lambd, bias):
    if x < -lambd:
        return x + bias
    return x - bias if x > lambd else mpf(0)


def sparse_plus(x):
    if x <= -1:
        return mpf(0)
    return x if x >= 1 else (x + 1) ** 2 / 4


def softplus(x, beta, threshold):
    return x if beta * x > threshold else log_one_plus_exp(beta * x) / beta


QUICK = f32(1.702)  # parameters are f32 numbers, this one included

# name: (definition, parameters with defaults, kinks, derivative at each kink)
# The kinks may depend on the parameters: then they are functions of them.
FUNCTIONS = {
    "relu": (lambda x: max(x, mpf(0)), {}, {0: 0}),
    "relu6": (lambda x: clamp(x, 0, 6), {}, {0: 0, 6: 0}),
    "leaky_relu": (
        lambda x, negative_slope: x if x > 0 else negative_slope * x,
        {"negative_slope": 0.01},
        lambda negative_slope: {0: negative_slope},
    ),
    "elu": (
        lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
        {"alpha": 1.0},
        lambda alpha: {0: alpha},
    ),
    "selu": (
        lambda x, alpha, scale: scale * (x if x > 0 else alpha * mp.expm1(x)),
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
        lambda alpha, scale: {0: mpf(alpha) * mpf(scale)},
    ),
    "celu": (
        lambda x, alpha: x if x > 0 else alpha * mp.expm1(x / alpha),
        {"alpha": 1.0},
        {0: 1},
    ),
    "gelu": (lambda x: x * normal_cdf(x), {}, {}),
    "gelu_tanh": (lambda x: gelu_tanh(x) if x > -10 else gelu_tanh_tail(x), {}, {}),
    "quick_gelu": (lambda x: x * sigmoid(QUICK * x), {}, {}),
    "silu": (lambda x: x * sigmoid(x), {}, {}),
    "swish": (lambda x, beta: x * sigmoid(beta * x), {"beta": 1.0}, {}),
    "mish": (lambda x: x * mp.tanh(log_one_plus_exp(x)), {}, {}),
    "sigmoid": (sigmoid, {}, {}),
    "logsigmoid": (lambda x: -log_one_plus_exp(-x), {}, {}),
    "hardsigmoid": (
        lambda x, alpha, beta: clamp(alpha * x + beta, 0, 1),
        # The default alpha is no f32.
        {"alpha": mpf(1) / 6, "beta": 0.5},
        lambda alpha, beta: {-mpf(beta) / alpha: 0, (1 - mpf(beta)) / alpha: 0},
    ),
    "tanh": (mp.tanh, {}, {}),
    "hardtanh": (
        lambda x, min_val, max_val: clamp(x, min_val, max_val),
        {"min_val": -1.0, "max_val": 1.0},
        lambda min_val, max_val: {min_val: 0, max_val: 0},
    ),
    "clamp": (
        lambda x, min, max: clamp(x, min, max),
        {"min": -INF, "max": INF},
        lambda min, max: {min: 1, max: 1},
    ),
    "hardswish": (lambda x: x * clamp(x + 3, 0, 6) / 6, {}, {-3: 0, 3: 1}),
    "softplus": (
        softplus,
        {"beta": 1.0, "threshold": INF},
        # The branch at the threshold includes it: there the smooth form still holds.
        lambda beta, threshold: {}
        if threshold == INF
        else {mpf(threshold) / beta: sigmoid(mpf(threshold))},
    ),
    "softsign": (lambda x: x / (1 + abs(x)), {}, {0: 1}),
    "tanhshrink": (lambda x: x - mp.tanh(x), {}, {}),
    "hardshrink": (
        lambda x, lambd: x if abs(x) > lambd else mpf(0),
        {"lambd": 0.5},
        lambda lambd: {-lambd: 0, lambd: 0},
    ),
    "softshrink": (
        lambda x, lambd: mp.sign(x) * max(abs(x) - lambd, mpf(0)),
        {"lambd": 0.5},
        lambda lambd: {-lambd: 0, lambd: 0},
    ),
    "shrink": (
        shrink,
        {"lambd": 0.5, "bias": 0.0},
        lambda lambd, bias: {-lambd: 0, lambd: 0},
    ),
    "threshold": (
        lambda x, threshold, value: x if x > threshold else mpf(value),
        {"threshold": 0.0, "value": 0.0},
        lambda threshold, value: {threshold: 0},
    ),
    "thresholded_relu": (
        lambda x, alpha: x if x > alpha else mpf(0),
        {"alpha": 1.0},
        lambda alpha: {alpha: 0},
    ),
    "squareplus": (
        lambda x, b: (x + mp.sqrt(x**2 + b)) / 2,
        {"b": 4.0},
        lambda b: {0: 0.5} if b == 0 else {},
    ),
    "sparse_plus": (sparse_plus, {}, {-1: 0, 1: 1}),
    "sparse_sigmoid": (lambda x: clamp((x + 1) / 2, 0, 1), {}, {-1: 0, 1: 0}),
    "relu_squared": (lambda x: max(x, mpf(0)) ** 2, {}, {0: 0}),
    "exp": (mp.exp, {}, {}),
    # The complement for large x keeps the difference quotient's digits.
    "erf": (
        lambda x: mp.erf(x) if abs(x) < 8 else mp.sign(x) * (1 - mp.erfc(abs(x))),
        {},
        {},
    ),
    "abs": (abs, {}, {0: 0}),
    "square": (lambda x: x * x, {}, {}),
    "linear": (
        lambda x, alpha, beta: alpha * x + beta,
        {"alpha": 1.0, "beta": 0.0},
        {},
    ),
    "identity": (lambda x: x, {}, {}),
    "snake": (
        lambda x, alpha: x + mp.sin(alpha * x) ** 2 / alpha,
        {"alpha": 1.0},
        {},
    ),
    "logcosh": (
        lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2),
        {},
        {0: 0},
    ),
    "lisht": (lambda x: x * mp.tanh(x), {}, {}),
}

# Where exponentials over- or underflow, and the ends of the range.
EVERYWHERE = [0.0, 1e-45, -1e-30, 1e-20, -1e-6, 1e-3, -0.3, 0.5, -1.0, 2.5, -7.0, 20.0, -50.0]
EVERYWHERE += [88.7, -88.7, -104.0, 1e4, -1e10, 1e18, -1e18]
GATES = [-5.6, -9.0, -13.0, -13.2, -14.0, -17.3, -30.0, -86.0, -87.0, -87.5, -89.0, -91.0, -103.5]
GATES += [6.0, 17.3, 44.5]
TAILS = [17.3, -17.3, 9.01, -9.01, 44.5, -44.5, 87.0, -87.0, 88.72, -88.72, 103.9, -103.9, 1e-4]
SMALL = [1e-6, -1e-5, 1e-4, -1e-3, 0.01, 0.03, -0.1, 0.2, 0.2499, 0.25, -0.2501, 0.3, 0.45, 0.7]

MORE = {
    "gelu": GATES + neighbours(-0.7517915964) + [-2.0, -3.5, -4.9, 5.5],
    "gelu_tanh": GATES + neighbours(-0.7524614) + [-2.0, -3.5, -4.9, 5.5, -10.0, -7.2],
    "quick_gelu": GATES + neighbours(-1.2784645 / 1.702) + [-51.0, -51.5],
    "silu": GATES + neighbours(-1.2784645),
    "swish": GATES + neighbours(-1.2784645),
    "mish": GATES + neighbours(-1.1924312),
    "sigmoid": TAILS + GATES,
    "logsigmoid": TAILS + GATES,
    "softplus": TAILS + GATES + neighbours(20.0),
    "tanh": TAILS + SMALL + [0.55, 0.625, -2.0],
    "tanhshrink": TAILS + SMALL + [-0.35, 0.55, 0.756, 0.8, -0.9, 1.0956],
    "logcosh": TAILS + SMALL,
    "lisht": TAILS + SMALL,
    "erf": TAILS + SMALL + [0.84, -0.86, 1.99, 3.8, -3.93, 4.1, -9.2, 9.3],
    "exp": GATES + TAILS + [-87.34, 0.34657, -0.34658],
    "elu": GATES + SMALL,
    "selu": GATES + SMALL,
    "celu": GATES + SMALL,
    "squareplus": SMALL + [-3.0, -100.0, -2048.0, -4096.0, 4096.0, -1e5, 1e19, -1.9e19, 3e38, -3e38],
    "softsign": SMALL + [3e38, -3e38, 16777216.0, -16777216.0],
    "snake": neighbours(-mp.pi / 4) + neighbours(mp.pi) + [3.0, -100.5, 1234.5, 1e6, -3e6],
    "hardswish": neighbours(-1.5) + [2.9, -2.9, 5.7e37, 3e38, -3e38],
    "sparse_plus": [-0.999, 0.999, 0.3],
    "relu_squared": [1.8e19, 3.7e-20],
    "square": [1.8e19, 3.7e-20, -1.5],
}

VARIANTS = [
    ("leaky_relu", {"negative_slope": -97.7}, []),
    ("leaky_relu", {"negative_slope": 35.8}, []),
    ("elu", {"alpha": -3.4681804}, SMALL),
    ("selu", {"alpha": 2.0, "scale": 3.0}, SMALL),
    ("celu", {"alpha": 0.3}, GATES),
    ("celu", {"alpha": -2.0}, SMALL),
    ("swish", {"beta": 1.5}, GATES + neighbours(-1.2784645 / 1.5)),
    ("swish", {"beta": -0.7}, [-x for x in GATES]),
    ("hardsigmoid", {"alpha": 0.2}, []),
    ("hardsigmoid", {"alpha": -0.785, "beta": 0.436}, []),
    ("clamp", {"min": -2.0, "max": 7.0}, []),
    ("softplus", {"beta": 2.0}, TAILS),
    ("softplus", {"beta": -3.0}, TAILS),
    ("softplus", {"threshold": 20.0}, TAILS),
    ("shrink", {"lambd": 0.25, "bias": 1.5}, []),
    ("softshrink", {"lambd": 0.0}, []),
    ("threshold", {"threshold": 0.1, "value": -20.0}, []),
    ("squareplus", {"b": 0.0}, SMALL),
    ("linear", {"alpha": -7.4, "beta": 5.9}, []),
    ("snake", {"alpha": 2.5}, neighbours(-mp.pi / 10) + [1e6]),
    ("snake", {"alpha": -0.1}, neighbours(mp.pi * 5 / 2) + [-11.5, 15.6, 1.1473766e35]),
    ("snake", {"alpha": 35.8}, [3.0, -0.03, 1e6]),
    ("leaky_relu", {"negative_slope": 0.0}, []),
    ("elu", {"alpha": 0.3}, SMALL + GATES),
    ("elu", {"alpha": 35.8}, SMALL),
    ("selu", {"alpha": -1.75, "scale": 0.3}, SMALL + GATES),
    ("celu", {"alpha": 0.1}, SMALL + [-9.0, -8.7, -8.8]),
    ("celu", {"alpha": 35.8}, SMALL + [-3000.0, -3200.0]),
    ("swish", {"beta": 0.0}, []),
    ("swish", {"beta": 0.3}, [x / 0.3 for x in GATES] + neighbours(-1.2784645 / 0.3)),
    ("swish", {"beta": 35.8}, [x / 35.8 for x in GATES] + neighbours(-1.2784645 / 35.8)),
    ("swish", {"beta": -1.75}, [-x / 1.75 for x in GATES] + neighbours(1.2784645 / 1.75)),
    ("hardsigmoid", {"beta": 1.0}, [-5.977453, -5.99]),
    ("hardsigmoid", {"beta": 0.0}, [1.1777381e-38]),
    ("hardtanh", {"min_val": -0.25, "max_val": 20.0}, []),
    ("softplus", {"beta": 0.1}, TAILS + [-880.0, 880.0]),
    ("softplus", {"beta": 35.8}, [x / 35.8 for x in TAILS]),
    ("hardshrink", {"lambd": 1.5}, []),
    ("thresholded_relu", {"alpha": -0.25}, []),
    ("squareplus", {"b": 0.001}, SMALL + [35.5, -35.5, -5e-2, -1e5, -1e18]),
    ("squareplus", {"b": 100.0}, SMALL + [64.0, -64.0, -1e5, -1e18]),
    ("linear", {"alpha": 0.3, "beta": -1.75}, [5.8333, 5.8334]),
]


def derivative(f, x):
    step = max(abs(x), mpf(2) ** -149) * mpf(10) ** -150
    return (f(x + step) - f(x - step)) / (2 * step)


def text(value):
    # No f64 and no f32 tells these from zero.
    if abs(value) < mpf(10) ** -400:
        return "0"
    return mpmath.nstr(value, DIGITS, min_fixed=-2, max_fixed=2)


def row(name, changed, extra):
    definition, defaults, kinks = FUNCTIONS[name]
    parameters = {**defaults, **changed}
    parameters = {k: v if isinstance(v, mpf) else f32(v) for k, v in parameters.items()}
    exact = {k: mpf(v) for k, v in parameters.items()}
    at_kink = kinks(**parameters) if callable(kinks) else kinks
    at_kink = {mpf(k): mpf(v) for k, v in at_kink.items()}

    inputs = [f32(x) for x in EVERYWHERE + extra]
    for kink in at_kink:
        if mp.isfinite(kink):
            inputs += neighbours(kink)
    f = functools.partial(definition, **exact)
    points = []
    for x in sorted(set(inputs)):
        exact_x = mpf(x)
        slope = at_kink[exact_x] if exact_x in at_kink else derivative(f, exact_x)
        points.append([f"{bits(x):08x}", text(f(exact_x)), text(slope)])
    return {"function": name, "parameters": changed, "points": points}


if __name__ == "__main__":
    rows = [row(name, {}, MORE.get(name, [])) for name in FUNCTIONS]
    rows += [row(*variant) for variant in VARIANTS]
    for each in rows:
        print(json.dumps(each, separators=(",", ":")))
