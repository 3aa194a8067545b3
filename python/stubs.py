"""Writes the package's types, __init__.pyi, from what the registry says: `python stubs.py`, in an environment
where the package is installed. A test fails where the file is stale."""

import pathlib
import sys

import wgpu_activations as wa
from wgpu_activations import _native

PATH = pathlib.Path(__file__).parent / "python/wgpu_activations/__init__.pyi"

HEAD = '''# Written by python/stubs.py from the library's registry; not by hand.
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, Literal, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str

_Function = Function | str | Callable[..., Any]

class DeviceError(RuntimeError): ...

@final
class Backend:
    def __init__(self, name: str = "auto") -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> str: ...

@final
class Device:
    def __init__(self, name: str | Backend | None = None) -> None: ...
    def array(self, x: ArrayLike) -> Tensor: ...
    def submit(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Device: ...
    def __exit__(self, *raised: object) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def description(self) -> str: ...
    @property
    def submissions(self) -> int: ...

@final
class Tensor:
    def numpy(self) -> NDArray[Any]: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...
    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def device(self) -> Device: ...

class Function:
    def __init__(self, text: str, **options: Any) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def options(self) -> dict[str, str]: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @overload
    def __call__(self, input: Tensor, /, *arrays: ArrayLike, out: Tensor | None = None, **keywords: Any) -> Tensor: ...
    @overload
    def __call__(self, *arrays: ArrayLike, out: NDArray[Any] | None = None, **keywords: Any) -> NDArray[Any]: ...

class Chain:
    def __init__(self, text: str) -> None: ...
    @property
    def text(self) -> str: ...
    @property
    def operands(self) -> tuple[str, ...]: ...
    @overload
    def __call__(self, x: Tensor, *operands: ArrayLike, out: Tensor | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: ArrayLike, *operands: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]: ...
    @overload
    def grad(self, x: Tensor, *operands: ArrayLike, dy: ArrayLike) -> tuple[Tensor, ...]: ...
    @overload
    def grad(self, x: ArrayLike, *operands: ArrayLike, dy: ArrayLike) -> tuple[NDArray[Any], ...]: ...

class Statistics(SimpleNamespace): ...

class RowPart:
    shape: tuple[int, ...]
    def __init__(self, x: ArrayLike, axis: int = -1, dy: ArrayLike | None = None) -> None: ...
    def __add__(self, other: RowPart) -> RowPart: ...
    def __radd__(self, other: int) -> RowPart: ...
    def apply(self, function: str, x: ArrayLike, axis: int = -1) -> NDArray[Any]: ...
    def grad(self, function: str, x: ArrayLike, dy: ArrayLike, axis: int = -1) -> NDArray[Any]: ...
    def logsumexp(self) -> NDArray[Any]: ...
    @property
    def max(self) -> NDArray[Any]: ...
    @property
    def log_sum(self) -> NDArray[Any]: ...

class CrossEntropyPart:
    rows: RowPart
    classes: int
    def __init__(
        self, logits: ArrayLike, targets: ArrayLike, first: int = 0, *, ignore_index: int = -100
    ) -> None: ...
    def __add__(self, other: CrossEntropyPart) -> CrossEntropyPart: ...
    def __radd__(self, other: int) -> CrossEntropyPart: ...
    def loss(
        self, *, reduction: Literal["none", "mean", "sum"] = "mean", label_smoothing: float = 0.0
    ) -> NDArray[Any]: ...
    def grad(
        self,
        logits: ArrayLike,
        first: int = 0,
        *,
        dy: ArrayLike = 1.0,
        reduction: Literal["none", "mean", "sum"] = "mean",
        label_smoothing: float = 0.0,
    ) -> NDArray[Any]: ...

def backend() -> Backend: ...
def set_backend(name: str | Backend) -> None: ...
def use(name: str | Backend) -> AbstractContextManager[Backend]: ...
def function(name: str | Function, /, **options: Any) -> Function: ...
def functions() -> list[str]: ...
def chain(text: str) -> Chain: ...
def inspect(
    x: ArrayLike,
    function: _Function = "identity",
    *,
    unit_axis: int = -1,
    saturation: float = 0.01,
    bins: int = 32,
) -> Statistics: ...
@overload
def grad(
    f: _Function, input: Tensor, /, *arrays: ArrayLike, from_output: bool = False, **keywords: Any
) -> Tensor: ...
@overload
def grad(f: _Function, /, *arrays: ArrayLike, from_output: bool = False, **keywords: Any) -> NDArray[Any]: ...
@overload
def grads(
    f: _Function, arrays: Tensor | tuple[Tensor] | tuple[Tensor, ArrayLike], dy: ArrayLike | None = None, /, **keywords: Any
) -> dict[str, Tensor]: ...
@overload
def grads(
    f: _Function, arrays: ArrayLike | tuple[ArrayLike, ...], dy: ArrayLike | None = None, /, **keywords: Any
) -> dict[str, NDArray[Any]]: ...
@overload
def value_and_grad(f: _Function, input: Tensor, /, *arrays: ArrayLike, **keywords: Any) -> tuple[Tensor, Tensor]: ...
@overload
def value_and_grad(f: _Function, /, *arrays: ArrayLike, **keywords: Any) -> tuple[NDArray[Any], NDArray[Any]]: ...
'''

TYPES = {"number": "float", "integer": "int", "count": "int", "flag": "bool"}


def parameter(option):
    if option["kind"] == "choice":
        kind = f"Literal[{', '.join(repr(word) for word in option['words'])}]"
        if option["default"] is None:
            kind += " | bool"
    else:
        kind = TYPES.get(option["kind"], "str")
    return f"{option['name']}: {kind} | None = ..."


def stub(info):
    first, *others = info["forms"]
    lines = []
    for array in first:
        if not array["optional"]:
            lines.append(f"{array['name']}: ArrayLike")
    if others:
        # The names of the other form are for two arrays; by position both are the same.
        required = len(lines)
        lines = [f"{array['name']}: ArrayLike" + (" | None = None" if i >= required else "")
                 for i, array in enumerate(first + others[0][required:])]
    lines.append("*")
    for array in first:
        if array["optional"]:
            lines.append(f"{array['name']}: ArrayLike | None = None")
    lines += [parameter(option) for option in info["options"]]
    of_tensor = [f"{first[0]['name']}: Tensor", *lines[1:], "out: Tensor | None = None"]
    lines.append("out: NDArray[Any] | None = None")
    inside, of_tensor = ("".join(f"    {line},\n" for line in some) for some in (lines, of_tensor))
    documentation = f"    \"\"\"{info['summary']}\n\n    y = {info['formula']}\n    \"\"\"\n"
    head = f"@overload\ndef {info['name']}(\n"
    return f"{head}{of_tensor}) -> Tensor: ...\n{head}{inside}) -> NDArray[Any]:\n{documentation}"


def text():
    return HEAD + "\n" + "\n".join(stub(info) for info in _native.operations())


if __name__ == "__main__":
    PATH.write_text(text())
    print(f"{PATH}: {len(wa.functions())} functions", file=sys.stderr)
