"""Statistics of activations."""

import types as _types

import numpy as np

from . import _native
from ._arrays import as_numbers
from ._functions import function as _function


class Statistics(_types.SimpleNamespace):
    """What was counted: ``elements``, ``nan``, ``zeros``, ``min``, ``max``, ``mean``, ``variance``,
    ``saturated``, ``mean_slope``, ``units``, ``dead_units``, a histogram, and shares of some of them."""


def inspect(x, function="identity", *, unit_axis=-1, saturation=0.01, bins=32):
    """Statistics of the activations f(x) of an array of pre-activations.

    Units lie along ``unit_axis``; one whose values are 0 in the whole batch is dead. An element whose slope is
    below ``saturation`` counts as saturated.
    """
    f = _function(function)
    parameters = [(name, float(value)) for name, value in f.options.items()]
    wide = np.asarray(as_numbers(x, "inspect", "x"), np.float32)
    return Statistics(**_native.inspect(wide, f.name, parameters, unit_axis, saturation, bins))
