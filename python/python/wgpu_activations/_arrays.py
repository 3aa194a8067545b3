"""What other arrays become before the library reads them, and which are refused."""

import sys

import numpy as np

from . import _native

# Whole numbers that float32 holds, every one.
_EXACT = (np.bool_, np.int8, np.uint8, np.int16, np.uint16)


def _is_bfloat16(dtype):
    """Whether it is ml_dtypes' bfloat16, which the library knows from here on."""
    if dtype.name != "bfloat16" or "ml_dtypes" not in sys.modules:
        return False
    _native.set_bfloat16(np.dtype(dtype.newbyteorder("=")))
    return True


def is_number(dtype):
    """Whether the library computes on it as it is."""
    return dtype.newbyteorder("=") in (np.float32, np.float16) or _is_bfloat16(dtype)


def is_literal(value):
    """Whether it is numbers of Python's own, which have no type of an array's."""
    return isinstance(value, (bool, int, float, list, tuple)) and not isinstance(value, np.generic)


def as_array(value, name):
    """An array of NumPy's with the same numbers, without a copy where that can be."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: pass {name}.filled(...)")
    if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def _refused(function, name, dtype, instead):
    return TypeError(f"{function} computes on float32, float16 and bfloat16, and {name} is {dtype}: {instead}")


def as_numbers(value, function, name):
    """An array of float32, float16 or bfloat16."""
    array = as_array(value, name)
    if is_number(array.dtype):
        return array
    dtype = array.dtype
    if dtype.kind in "biuf" and is_literal(value) or dtype.newbyteorder("=") in _EXACT:
        return array.astype(np.float32)
    if dtype.kind in "iuf":
        raise _refused(
            function, name, dtype, f"float32 does not hold all its numbers; pass {name}.astype(np.float32)"
        )
    raise _refused(function, name, dtype, "these are no real numbers that it knows")


def convert(value, kind, function, name):
    """An array for an input of a kind, row-major, aligned and of this machine's byte order."""
    if kind == "numbers":
        array = as_numbers(value, function, name)
    else:
        array = as_array(value, name)
        integer = array.dtype.kind in "iu"
        if kind == "mask":
            if integer:
                array = array != 0
            elif array.dtype != np.bool_:
                raise TypeError(
                    f"{name} of {function} is of bool or whole numbers, and {array.dtype} was given; what is "
                    "added to the scores is a bias"
                )
        elif kind == "lengths":
            if not integer:
                raise TypeError(f"{name} of {function} are whole numbers, and {array.dtype} was given")
            if array.size and not (0 <= int(array.min()) and int(array.max()) < 2**32):
                raise ValueError(f"{name} of {function} are from 0 to 4294967295")
            array = array.astype(np.uint32, copy=False)
        elif integer:
            if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
                raise ValueError(f"{name} of {function} are above what int64 holds")
            if array.dtype.newbyteorder("=") not in (np.int32, np.int64):
                array = array.astype(np.int64)
        else:
            array = as_numbers(value, function, name)
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A", "E"])


def check_out(out):
    """An error where results cannot be written into an array."""
    if not is_number(out.dtype):
        raise TypeError(f"out is of {out.dtype}; results are float32, float16 or bfloat16")
