# Written by python/stubs.py from the library's registry; not by hand.
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

@overload
def relu(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def relu(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Rectified linear unit.

    y = max(x, 0)
    """

@overload
def relu6(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def relu6(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """ReLU that saturates at 6.

    y = min(max(x, 0), 6)
    """

@overload
def leaky_relu(
    input: Tensor,
    *,
    negative_slope: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def leaky_relu(
    input: ArrayLike,
    *,
    negative_slope: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """ReLU with a slope below zero.

    y = x if x > 0 else negative_slope * x
    """

@overload
def elu(
    input: Tensor,
    *,
    alpha: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def elu(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Exponential linear unit.

    y = x if x > 0 else alpha * (exp(x) - 1)
    """

@overload
def selu(
    input: Tensor,
    *,
    alpha: float | None = ...,
    scale: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def selu(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    scale: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Self-normalising ELU.

    y = scale * (x if x > 0 else alpha * (exp(x) - 1))
    """

@overload
def celu(
    input: Tensor,
    *,
    alpha: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def celu(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Continuously differentiable ELU.

    y = x if x > 0 else alpha * (exp(x / alpha) - 1)
    """

@overload
def gelu(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def gelu(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Gaussian error linear unit, exact form.

    y = x * Phi(x), Phi the normal distribution function
    """

@overload
def gelu_tanh(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def gelu_tanh(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The tanh form of GELU, a function of its own.

    y = x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x^3)
    """

@overload
def quick_gelu(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def quick_gelu(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The sigmoid form of GELU: swish with beta 1.702.

    y = x * sigmoid(1.702 x)
    """

@overload
def silu(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def silu(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Sigmoid-weighted linear unit.

    y = x * sigmoid(x)
    """

@overload
def swish(
    input: Tensor,
    *,
    beta: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def swish(
    input: ArrayLike,
    *,
    beta: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """SiLU with a steepness.

    y = x * sigmoid(beta * x)
    """

@overload
def mish(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def mish(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Self-regularised non-monotonic activation.

    y = x * tanh(softplus(x))
    """

@overload
def sigmoid(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def sigmoid(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Logistic function.

    y = 1 / (1 + exp(-x))
    """

@overload
def logsigmoid(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def logsigmoid(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Logarithm of the logistic function.

    y = min(x, 0) - log1p(exp(-|x|))
    """

@overload
def hardsigmoid(
    input: Tensor,
    *,
    alpha: float | None = ...,
    beta: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def hardsigmoid(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    beta: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Piecewise linear sigmoid. The default alpha is 1/6 itself, of which f32 has the nearest.

    y = min(max(alpha * x + beta, 0), 1)
    """

@overload
def tanh(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def tanh(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Hyperbolic tangent.

    y = tanh(x)
    """

@overload
def hardtanh(
    input: Tensor,
    *,
    min_val: float | None = ...,
    max_val: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def hardtanh(
    input: ArrayLike,
    *,
    min_val: float | None = ...,
    max_val: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Clamp whose slope at the bounds is 0.

    y = min(max(x, min_val), max_val)
    """

@overload
def clamp(
    input: Tensor,
    *,
    min: float | None = ...,
    max: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def clamp(
    input: ArrayLike,
    *,
    min: float | None = ...,
    max: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Clamp whose slope at the bounds is 1; a minimum above the maximum gives the maximum.

    y = min(max(x, min), max)
    """

@overload
def hardswish(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def hardswish(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Piecewise linear swish.

    y = x * min(max(x + 3, 0), 6) / 6
    """

@overload
def softplus(
    input: Tensor,
    *,
    beta: float | None = ...,
    threshold: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softplus(
    input: ArrayLike,
    *,
    beta: float | None = ...,
    threshold: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Smooth ReLU; linear where beta * x is above the threshold, which is off by default.

    y = log(1 + exp(beta * x)) / beta
    """

@overload
def softsign(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softsign(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Algebraic sigmoid.

    y = x / (1 + |x|)
    """

@overload
def tanhshrink(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def tanhshrink(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """What tanh takes away.

    y = x - tanh(x)
    """

@overload
def hardshrink(
    input: Tensor,
    *,
    lambd: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def hardshrink(
    input: ArrayLike,
    *,
    lambd: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Zero inside a band, the input outside.

    y = x if |x| > lambd else 0
    """

@overload
def softshrink(
    input: Tensor,
    *,
    lambd: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softshrink(
    input: ArrayLike,
    *,
    lambd: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Soft thresholding: towards zero by lambd.

    y = sign(x) * max(|x| - lambd, 0)
    """

@overload
def shrink(
    input: Tensor,
    *,
    lambd: float | None = ...,
    bias: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def shrink(
    input: ArrayLike,
    *,
    lambd: float | None = ...,
    bias: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Thresholding with an offset of its own.

    y = x + bias if x < -lambd, x - bias if x > lambd, else 0
    """

@overload
def threshold(
    input: Tensor,
    *,
    threshold: float | None = ...,
    value: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def threshold(
    input: ArrayLike,
    *,
    threshold: float | None = ...,
    value: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The input above a threshold, a value elsewhere.

    y = x if x > threshold else value
    """

@overload
def thresholded_relu(
    input: Tensor,
    *,
    alpha: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def thresholded_relu(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The input above alpha, zero elsewhere.

    y = x if x > alpha else 0
    """

@overload
def squareplus(
    input: Tensor,
    *,
    b: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def squareplus(
    input: ArrayLike,
    *,
    b: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Algebraic smooth ReLU.

    y = (x + sqrt(x^2 + b)) / 2
    """

@overload
def sparse_plus(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def sparse_plus(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Quadratic between two straight lines.

    y = 0 if x <= -1, x if x >= 1, else (x + 1)^2 / 4
    """

@overload
def sparse_sigmoid(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def sparse_sigmoid(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Piecewise linear sigmoid between -1 and 1.

    y = min(max((x + 1) / 2, 0), 1)
    """

@overload
def relu_squared(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def relu_squared(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Square of the ReLU.

    y = max(x, 0)^2
    """

@overload
def exp(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def exp(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Exponential.

    y = exp(x)
    """

@overload
def erf(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def erf(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Error function.

    y = erf(x)
    """

@overload
def abs(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def abs(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Magnitude.

    y = |x|
    """

@overload
def square(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def square(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Square.

    y = x^2
    """

@overload
def linear(
    input: Tensor,
    *,
    alpha: float | None = ...,
    beta: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def linear(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    beta: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A straight line.

    y = alpha * x + beta
    """

@overload
def identity(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def identity(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The input itself.

    y = x
    """

@overload
def snake(
    input: Tensor,
    *,
    alpha: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def snake(
    input: ArrayLike,
    *,
    alpha: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Periodic activation; its slope at the infinities, which has no limit, is taken as 1.

    y = x + sin(alpha * x)^2 / alpha
    """

@overload
def logcosh(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def logcosh(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Logarithm of the hyperbolic cosine.

    y = log(cosh(x))
    """

@overload
def lisht(
    input: Tensor,
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def lisht(
    input: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Linearly scaled tanh.

    y = x * tanh(x)
    """

@overload
def rrelu(
    input: Tensor,
    *,
    lower: float | None = ...,
    upper: float | None = ...,
    seed: int | None = ...,
    offset: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def rrelu(
    input: ArrayLike,
    *,
    lower: float | None = ...,
    upper: float | None = ...,
    seed: int | None = ...,
    offset: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """leaky_relu with a random slope for each element in training, their mean in evaluation.

    y = x if x > 0 else a x, a in [lower, upper]
    """

@overload
def glu(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def glu(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * sigmoid(gate)
    """

@overload
def reglu(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def reglu(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * relu(gate)
    """

@overload
def geglu(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def geglu(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * gelu(gate)
    """

@overload
def geglu_tanh(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def geglu_tanh(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * gelu_tanh(gate)
    """

@overload
def swiglu(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    alpha: float | None = ...,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def swiglu(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    alpha: float | None = ...,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * gate * sigmoid(alpha * gate)
    """

@overload
def bilinear(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def bilinear(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = value * gate
    """

@overload
def clamped_swiglu(
    input: Tensor,
    gate: ArrayLike | None = None,
    *,
    alpha: float | None = ...,
    limit: float | None = ...,
    offset: float | None = ...,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def clamped_swiglu(
    input: ArrayLike,
    gate: ArrayLike | None = None,
    *,
    alpha: float | None = ...,
    limit: float | None = ...,
    offset: float | None = ...,
    order: Literal['value_first', 'gate_first'] | None = ...,
    layout: Literal['split', 'interleaved'] | None = ...,
    arrays: Literal['1', '2'] | bool | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A gated linear unit: of one array that holds value and gate along an axis, or of two, the value and the gate. In one array the value is first, or the gate, as vLLM's names have it.

    y = (clamp(value, -limit, limit) + offset) * g * sigmoid(alpha * g), g = min(gate, limit)
    """

@overload
def softmax(
    input: Tensor,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softmax(
    input: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, with what is done to their elements before: scaled, capped, biased, masked.

    y = exp(x - max x) / sum exp(x - max x)
    """

@overload
def log_softmax(
    input: Tensor,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def log_softmax(
    input: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, with what is done to their elements before: scaled, capped, biased, masked.

    y = x - max x - log sum exp(x - max x)
    """

@overload
def softmin(
    input: Tensor,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softmin(
    input: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, with what is done to their elements before: scaled, capped, biased, masked.

    y = softmax(-x)
    """

@overload
def logsumexp(
    input: Tensor,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def logsumexp(
    input: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    scale: float | None = ...,
    temperature: float | None = ...,
    soft_cap: float | None = ...,
    sink: float | None = ...,
    causal: Literal['upper_left', 'lower_right'] | bool | None = ...,
    query_axis: int | None = ...,
    row_policy: Literal['zeros', 'nan', 'error'] | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, with what is done to their elements before: scaled, capped, biased, masked.

    y = max x + log sum exp(x - max x)
    """

@overload
def softmax2d(
    input: Tensor,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def softmax2d(
    input: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Softmax over the channels of images.

    y = exp(x - max x) / sum exp(x - max x)
    """

@overload
def hardmax(
    input: Tensor,
    *,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def hardmax(
    input: ArrayLike,
    *,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, whose results are 0 where an element is far below the largest.

    y = 1 at the first maximum, else 0
    """

@overload
def sparsemax(
    input: Tensor,
    *,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def sparsemax(
    input: ArrayLike,
    *,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, whose results are 0 where an element is far below the largest.

    y = max(x - tau, 0), tau such that the sum is 1
    """

@overload
def entmax(
    input: Tensor,
    *,
    axis: int | None = ...,
    alpha: float | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def entmax(
    input: ArrayLike,
    *,
    axis: int | None = ...,
    alpha: float | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A function of whole rows along an axis, whose results are 0 where an element is far below the largest.

    y = max((alpha - 1) x - tau, 0)^(1 / (alpha - 1)), tau such that the sum is 1
    """

@overload
def gumbel_softmax(
    input: Tensor,
    *,
    noise: ArrayLike | None = None,
    tau: float | None = ...,
    hard: bool | None = ...,
    seed: int | None = ...,
    offset: int | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def gumbel_softmax(
    input: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    tau: float | None = ...,
    hard: bool | None = ...,
    seed: int | None = ...,
    offset: int | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """A sample of the categories whose logarithms are x, smoothed so that it has a gradient.

    y = softmax((x + G) / tau), G = -log(-log u)
    """

@overload
def maxout(
    input: Tensor,
    *,
    axis: int | None = ...,
    pieces: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def maxout(
    input: ArrayLike,
    *,
    axis: int | None = ...,
    pieces: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The maxima of groups of consecutive elements along an axis.

    y = max of x[k pieces] .. x[k pieces + pieces - 1]
    """

@overload
def prelu(
    input: Tensor,
    slope: ArrayLike,
    *,
    axis: int | None = ...,
    broadcast: bool | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def prelu(
    input: ArrayLike,
    slope: ArrayLike,
    *,
    axis: int | None = ...,
    broadcast: bool | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The parametric rectifier: leaky_relu with slopes that are learned.

    y = x if x > 0 else slope * x
    """

@overload
def cross_entropy(
    logits: Tensor,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    ignore_index: int | None = ...,
    label_smoothing: float | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    ignore_index: int | None = ...,
    label_smoothing: float | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The cross entropy of softmax and classes, or probabilities of classes.

    y = -w[t] log softmax(x)[t]
    """

@overload
def nll_loss(
    log_probabilities: Tensor,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    ignore_index: int | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def nll_loss(
    log_probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    ignore_index: int | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The negative log likelihood of classes: cross entropy of what log_softmax made.

    y = -w[t] x[t]
    """

@overload
def binary_cross_entropy_with_logits(
    logits: Tensor,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The binary cross entropy of sigmoid and probabilities.

    y = w ((1 - t) x + (1 + (p - 1) t) log(1 + exp(-x)))
    """

@overload
def binary_cross_entropy(
    probabilities: Tensor,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def binary_cross_entropy(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The binary cross entropy of probabilities.

    y = -w (t log x + (1 - t) log(1 - x)), logarithms from -100 on
    """

@overload
def focal_loss(
    logits: Tensor,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    alpha: float | None = ...,
    gamma: float | None = ...,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def focal_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    alpha: float | None = ...,
    gamma: float | None = ...,
    reduction: Literal['none', 'mean', 'sum'] | None = ...,
    axis: int | None = ...,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Binary cross entropy of sigmoid in which what is already told apart counts for little.

    y = w (alpha t + (1 - alpha) (1 - t)) (t + (1 - 2 t) sigmoid(x))^gamma bce(x, t)
    """
