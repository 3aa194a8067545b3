"""The WebNN conformance cases, which the library's own tests read, through Python."""

import json
import pathlib

import numpy as np
import pytest

import wgpu_activations as wa

PATH = pathlib.Path(__file__).parents[2] / "tests/data/webnn_cases.jsonl"
CASES = [json.loads(line) for line in PATH.read_text().splitlines()]


def decoded(case, text, shape=None):
    dtype = {"f32": ">f4", "f16": ">f2"}[case["type"]]
    numbers = np.frombuffer(bytes.fromhex(text), dtype)
    return numbers.astype(numbers.dtype.newbyteorder("=")) if shape is None else numbers.reshape(shape)


def places(x):
    bits = x.view(f"i{x.dtype.itemsize}").astype(np.int64)
    top = 1 << (8 * x.dtype.itemsize - 1)
    return np.where(bits < 0, -top - bits, bits)


def test_all_cases_are_there():
    assert len(CASES) == 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(backend, case):
    # Big-endian arrays, as they come out of the file.
    x = decoded(case, case["x"], case["shape"])
    f = wa.function(case["function"], **case.get("parameters", {}))
    if case["function"] == "prelu":
        y = f(x, decoded(case, case["slope"], case["slope_shape"]), broadcast=True)
    elif case["function"] in ("softmax", "logsumexp"):
        axes = case.get("axes", [])
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        rows = x.transpose(kept + axes).reshape([x.shape[axis] for axis in kept] + [-1])
        y = f(rows, axis=-1)
        if case["function"] == "softmax":
            shape = [x.shape[axis] for axis in kept + axes]
            y = y.reshape(shape).transpose(np.argsort(kept + axes))
    else:
        y = f(x)
    want = decoded(case, case["y"])
    assert y.dtype == want.dtype
    y = np.ascontiguousarray(y).reshape(-1)
    (kind, bound), = case["tolerance"].items()
    if kind == "ulp":
        assert np.abs(places(y) - places(want)).max(initial=0) <= bound
    else:
        assert np.abs(y.astype(np.float64) - want).max(initial=0) <= bound
