"""Rates through Python beside NumPy and SciPy, PyTorch and JAX, on the same cores in one run.

`python bench/rates.py [--quick]` prints a Markdown table: millions of elements of the input a second, forward and
backward, the best of several turns in which all libraries take part one after the other. What is not installed, or does
not compute on a type, is left out. NumPy's and SciPy's backward passes are written out as a user would.
"""

import argparse
import importlib.util
import os
import platform
import time

import numpy as np

import wgpu_activations as wa

# Everything on the CPU: JAX and PyTorch would take a GPU that is there.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
wa.set_backend("cpu")


def numpy_rows():
    import scipy.special as sp

    def gelu(x):
        return x * 0.5 * sp.erfc(x * x.dtype.type(-(0.5**0.5)))

    def gelu_slope(x):
        return 0.5 * sp.erfc(x * x.dtype.type(-(0.5**0.5))) + x * np.exp(-0.5 * x * x) * x.dtype.type((2 * np.pi) ** -0.5)

    def softmax_back(x, dy):
        y = sp.softmax(x, axis=-1)
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    def loss(x, t):
        return -np.take_along_axis(sp.log_softmax(x, axis=-1), t[:, None], -1).mean()

    def loss_back(x, t):
        p = sp.softmax(x, axis=-1)
        p[np.arange(len(t)), t] -= 1
        return p / len(t)

    return {
        "sigmoid": (sp.expit, lambda x, dy: dy * (y := sp.expit(x)) * (1 - y)),
        "tanh": (np.tanh, lambda x, dy: dy * (1 - np.tanh(x) ** 2)),
        "gelu": (gelu, lambda x, dy: dy * gelu_slope(x)),
        "silu": (lambda x: x * sp.expit(x), lambda x, dy: dy * (s := sp.expit(x)) * (1 + x * (1 - s))),
        "softmax": (lambda x: sp.softmax(x, axis=-1), softmax_back),
        "cross_entropy": (loss, loss_back),
    }


def our_rows():
    def row(name, **options):
        f = wa.function(name, **options)
        return f, lambda *arrays: wa.grad(f, *arrays)

    rows = {name: row(name) for name in ("sigmoid", "tanh", "gelu", "silu", "softmax")}
    rows["cross_entropy"] = row("cross_entropy")
    return rows


def torch_rows():
    import torch

    F = torch.nn.functional
    functions = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": F.gelu,
        "silu": F.silu,
        "softmax": lambda x: torch.softmax(x, -1),
        "cross_entropy": F.cross_entropy,
    }

    def row(name, f):
        def forward(x, *others):
            with torch.no_grad():
                return f(torch.from_numpy(x), *map(torch.from_numpy, others))

        def backward(x, other):
            x = torch.from_numpy(x).requires_grad_()
            if name == "cross_entropy":
                f(x, torch.from_numpy(other)).backward()
            else:
                f(x).backward(torch.from_numpy(other))
            return x.grad

        return forward, backward

    return {name: row(name, f) for name, f in functions.items()}


def jax_rows():
    import jax
    import jax.numpy as jnp

    functions = {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "silu": jax.nn.silu,
        "softmax": lambda x: jax.nn.softmax(x, axis=-1),
        "cross_entropy": lambda x, t: -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], -1).mean(),
    }

    def row(name, f):
        forward = jax.jit(f)
        if name == "cross_entropy":
            backward = jax.jit(jax.grad(f))
        else:
            backward = jax.jit(lambda x, dy: jax.vjp(f, x)[1](dy)[0])
        wait = lambda f: lambda *arrays: f(*arrays).block_until_ready()
        return wait(forward), wait(backward)

    return {name: row(name, f) for name, f in functions.items()}


LIBRARIES = {"wgpu_activations": our_rows, "NumPy, SciPy": numpy_rows, "PyTorch": torch_rows, "JAX": jax_rows}


def prepared(library, arrays):
    """The arrays as the library has them; PyTorch's tensors are NumPy's memory."""
    if library != "JAX":
        return arrays
    import jax.numpy as jnp

    return tuple(map(jnp.asarray, arrays))


MODULES = {"NumPy, SciPy": "scipy", "PyTorch": "torch", "JAX": "jax"}


def best(calls, turns):
    """The shortest time of each, where they take turns; None for what does not compute."""
    times = dict.fromkeys(calls, None)
    for turn in range(turns + 1):
        for name, call in calls.items():
            if turn and times[name] is None:
                continue
            begin = time.perf_counter()
            try:
                call()
            except Exception:
                continue
            took = time.perf_counter() - begin
            # The first turn compiles, and touches memory.
            times[name] = float("inf") if not turn else min(times[name], took)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="arrays of a sixteenth, two turns")
    quick = parser.parse_args().quick
    there = {name: make() for name, make in LIBRARIES.items() if importlib.util.find_spec(MODULES.get(name, "numpy"))}
    scale, turns = (16, 2) if quick else (1, 5)
    random = np.random.default_rng(1)
    print(f"{wa.backend().description}; {platform.machine()}, Python {platform.python_version()}\n")
    print("| Function | Type | Pass | " + " | ".join(there) + " |")
    print("|---|---|---|" + "---:|" * len(there))
    shapes = {"softmax": (4096 // scale, 1024), "cross_entropy": (4096 // scale, 32_000)}
    for name in ("sigmoid", "tanh", "gelu", "silu", "softmax", "cross_entropy"):
        shape = shapes.get(name, (4096 // scale, 4096))
        wide = random.standard_normal(shape, np.float32) * 3
        for dtype in (np.float32, np.float16):
            x = wide.astype(dtype)
            targets = random.integers(shape[-1], size=shape[0])
            second = targets if name == "cross_entropy" else random.standard_normal(shape, np.float32).astype(dtype)
            inputs = {"forward": (x, targets) if name == "cross_entropy" else (x,), "backward": (x, second)}
            for way, (which, arrays) in enumerate(inputs.items()):
                calls = {
                    library: lambda f=rows[name][way], a=prepared(library, arrays): f(*a)
                    for library, rows in there.items()
                }
                times = best(calls, turns if name != "cross_entropy" else min(turns, 2))
                rates = [f"{x.size / t / 1e6:.0f}" if t else "-" for t in times.values()]
                shown = "x".join(map(str, shape))
                print(f"| {name} {shown} | {x.dtype} | {which} | " + " | ".join(rates) + " |", flush=True)


if __name__ == "__main__":
    main()
