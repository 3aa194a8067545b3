"""Softmax along an axis of 10^8 elements in 100 chunks, by Dask: its error against float64, and the peak of memory.

`python bench/dask_axis.py [ELEMENTS [CHUNKS]]`. Chunks are made when they are asked for, and so is nothing larger than a
few of them ever in memory; each chunk's results are compared with those of float64 and dropped.
"""

import resource
import sys
import time

import dask
import dask.array as da
import numpy as np

import wgpu_activations as wa

ELEMENTS, CHUNKS = (int(float(argument)) for argument in [*sys.argv[1:], "1e8", "100"][:2])
SIZE = ELEMENTS // CHUNKS


def chunk(block_info=None):
    (place,) = block_info[None]["chunk-location"]
    return np.random.default_rng(place).standard_normal(SIZE, np.float32) * 4


def worst(p, block_info=None):
    """The largest error of a chunk's results, in units in the last place."""
    x = chunk(block_info=block_info | {None: block_info[0]}).astype(np.float64)
    want = np.exp(x - LARGEST) / TOTAL
    unit = np.spacing(np.maximum(want, 2.0**-126).astype(np.float32)).astype(np.float64)
    return np.array([(np.abs(p - want) / unit).max()])


wa.set_backend("cpu")
dask.config.set(scheduler="threads", num_workers=2)
x = da.map_blocks(chunk, chunks=((SIZE,) * CHUNKS,), dtype=np.float32, meta=np.empty(0, np.float32))
# The reference's largest element and sum, chunk by chunk in float64.
LARGEST = float(x.max().compute())
TOTAL = float(np.exp(x.astype(np.float64) - LARGEST).sum().compute())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
largest_error = wa.dask.softmax(x).map_blocks(worst, dtype=np.float64, chunks=((1,) * CHUNKS,)).max().compute()
took = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{SIZE * CHUNKS} elements in {CHUNKS} chunks of {SIZE * 4 / 1e6:.0f} MB: {took:.1f} s with the comparison")
print(f"largest error {largest_error:.2f} ULP; peak of memory {peak / 1024:.0f} MiB, {(peak - before) / 1024:.0f} MiB of them new")
