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


def steps(x):
    return wa.softmax(wa.tanh(wa.silu(wa.gelu(wa.elu(x)))), axis=-1)


gpu = wa.Backend("gpu")
x = np.random.default_rng(1).standard_normal((ELEMENTS // COLUMNS, COLUMNS), np.float32)
best = {}
with wa.use(gpu), wa.Device(gpu) as device:

    def on_device():
        return steps(device.array(x)).numpy()

    def on_arrays():
        return steps(x)

    np.testing.assert_allclose(on_device(), on_arrays(), rtol=1e-6)
    for _ in range(ROUNDS):
        for way in (on_device, on_arrays):
            begin = time.perf_counter()
            way()
            best[way.__name__] = min(best.get(way.__name__, 1e9), time.perf_counter() - begin)
print(device.description)
tensors, arrays = best["on_device"], best["on_arrays"]
print(f"{x.size} elements, five calls: {tensors * 1e3:.1f} ms on tensors, {arrays * 1e3:.1f} ms on arrays, {arrays / tensors:.2f} times")
