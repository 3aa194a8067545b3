"""What the tests share: a reference's error in units in the last place, and a GPU where there is one."""

import contextlib
import os

with contextlib.suppress(ImportError):
    # Its LLVM, which PyTorch's optimisers bring, loads before that of Mesa's software adapter or not at all.
    import triton  # noqa: F401

import hypothesis
import ml_dtypes
import numpy as np
import pytest

import wgpu_activations as wa

# Continuous integration tries the same examples each time; by hand they are new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES = [np.dtype(np.float32), np.dtype(np.float16), BFLOAT16]


def ulps(got, want, terms=0.0):
    """How far float32 results are from float64 ones, in units in the last place of the correctly rounded result
    or of its largest term. Where that is subnormal, 0 will do."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, (got.shape, want.shape)
    with np.errstate(all="ignore"):
        rounded = np.maximum(np.abs(want), terms).astype(np.float32)
        unit = np.spacing(np.maximum(rounded, np.float32(2.0**-126))).astype(np.float64)
        off = np.abs(got - want) / unit
    tiny = 2.0**-126
    same = (got == want) | (np.isnan(got) & np.isnan(want)) | ((np.abs(want) < tiny) & (np.abs(got) <= tiny))
    same |= np.isinf(rounded) & np.isinf(got) & (np.sign(got) == np.sign(want))
    return np.where(same, 0.0, off)


def hurting():
    """Numbers on which formulas break: of every size, next to kinks and ends, and around zero."""
    random = np.random.default_rng(1)
    sizes = np.exp2(np.arange(-149.0, 128.0, 1.5))
    near = np.concatenate([np.linspace(-20, 20, 4001), random.normal(size=4000) * 3, random.normal(size=1000) * 60])
    edges = [0.0, -0.0, 1.0, 3.0, 6.0, 0.5, 20.0, 88.72283, 88.72284, 89.0, -87.33654, -103.97, 3.4028235e38]
    edges = np.float32(edges)
    with np.errstate(over="ignore"):
        around = [np.nextafter(edges, np.float32(s)) for s in (-np.inf, np.inf)]
    x = np.concatenate([sizes, -sizes, near, edges, -edges, *around]).astype(np.float32)
    return np.concatenate([x, np.float32([np.inf, -np.inf, np.nan])])


@pytest.fixture(params=["cpu", "gpu"])
def backend(request):
    """Each backend in turn; without a GPU its half is left out, but not in continuous integration."""
    try:
        opened = wa.Backend(request.param)
    except wa.DeviceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no GPU adapter: {error}")
    with wa.use(opened):
        yield opened
