"""A chain of five calls on tensors that stay on a device, beside the same calls on arrays of the host.

`python bench/resident.py [ELEMENTS [ROUNDS]]`, on the adapter that `wa.Device()` opens. Both begin with the array in
host memory and end there; they take turns, and the best of each counts.
"""

import sys
import time

import numpy as np

import wgpu_activations as wa

ELEMENTS, ROUNDS = (int(float(argument)) for argument in [*sys.argv[1:], "1e6", "15"][:2])
COLUMNS = 1000


# Of much arithmetic, and of little.
CHAINS = [["elu", "gelu", "silu", "tanh", "softmax"], ["leaky_relu", "abs", "hardtanh", "relu", "relu6"]]


def steps(x, names):
    for name in names:
        x = wa.function(name)(x)
    return x


gpu = wa.Backend("gpu")
x = np.random.default_rng(1).standard_normal((ELEMENTS // COLUMNS, COLUMNS), np.float32)
with wa.use(gpu), wa.Device(gpu) as device:
    print(device.description)
    for names in CHAINS:
        ways = {"tensors": lambda: steps(device.array(x), names).numpy(), "arrays": lambda: steps(x, names)}
        np.testing.assert_allclose(ways["tensors"](), ways["arrays"](), rtol=1e-6)
        best = dict.fromkeys(ways, np.inf)
        for _ in range(ROUNDS):
            for way, call in ways.items():
                begin = time.perf_counter()
                call()
                best[way] = min(best[way], time.perf_counter() - begin)
        tensors, arrays = best["tensors"] * 1e3, best["arrays"] * 1e3
        print(
            f"{x.size} elements, {', '.join(names)}: {tensors:.1f} ms on tensors, {arrays:.1f} ms on arrays, "
            f"{arrays / tensors:.2f} times"
        )
