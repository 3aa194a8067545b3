"""Neural-network activations, the softmax family and losses on NumPy arrays.

>>> import numpy as np, wgpu_activations as wa
>>> x = np.array([[1, 2, 3], [5, 5, 5]], np.float32)
>>> wa.softmax(x, axis=-1)[1]
array([0.33333334, 0.33333334, 0.33333334], dtype=float32)
>>> wa.grad(wa.relu, np.float32([-1, 2]), np.float32([1, 0.5]))
array([0. , 0.5], dtype=float32)

``wa.functions()`` lists the functions, each with ``help(wa.gelu)``. Arrays of float32, float16 and
``ml_dtypes.bfloat16`` come out as they went in; see docs/python.md for other types.
"""

import os as _os

from . import _native
from ._chain import Chain, chain
from ._functions import Function, function, functions, grad, grads, value_and_grad
from ._inspect import Statistics, inspect
from ._native import Backend, Device, DeviceError, Tensor, __version__
from ._parts import CrossEntropyPart, RowPart
from ._use import backend, set_backend, use

__all__ = [
    "Backend",
    "Chain",
    "CrossEntropyPart",
    "Device",
    "DeviceError",
    "Function",
    "RowPart",
    "Statistics",
    "Tensor",
    "backend",
    "chain",
    "function",
    "functions",
    "grad",
    "grads",
    "inspect",
    "set_backend",
    "use",
    "value_and_grad",
]

# One callable for each operation of the library.
for _info in _native.operations():
    globals()[_info["name"]] = function(_info["name"])
    __all__.append(_info["name"])
del _info

# Modules that import another library, and so are imported when they are used.
_ENGINES = ("dask", "ray", "torch")

if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_native.forked)


def __getattr__(name):
    if name in _ENGINES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if not name.startswith("_"):
        try:
            # Other frameworks' names of the functions.
            return function(name)
        except ValueError as error:
            raise AttributeError(f"module 'wgpu_activations' has no attribute {name!r}: {error}") from None
    raise AttributeError(f"module 'wgpu_activations' has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, "__version__", *_ENGINES])
