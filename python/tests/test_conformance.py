"""The WebNN conformance cases, which the library's own tests read, through Python.

300 of the collection's 360 are in the file. Of the others 53 are of functions that the library does not have (39 of
reduceLogSum, 14 of log), and 7 are of whole numbers that float32 does not hold (clamp of int32, int64, uint32 and uint64,
relu of int32 and int64), whose types a call refuses.
"""

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
    names = {info["name"] for info in wa._native.operations()}
    assert "log" not in names and "reduce_log_sum" not in names
    for dtype in (np.int32, np.int64, np.uint32, np.uint64):
        for name in ("clamp", "relu"):
            with pytest.raises(TypeError, match="float32 does not hold all its numbers"):
                wa.function(name)(np.array([1], dtype))


def test_whole_numbers_that_float32_holds_are_taken_as_they_are(backend):
    whole = {"int8": np.int8, "uint8": np.uint8}
    seen = 0
    for case in CASES:
        for dtype in (whole[word] for word in case["name"].split() if word in whole):
            x = decoded(case, case["x"], case["shape"]).astype(dtype)
            y = wa.function(case["function"], **case.get("parameters", {}))(x)
            np.testing.assert_array_equal(y.reshape(-1), decoded(case, case["y"]))
            seen += 1
    assert seen == 3


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
