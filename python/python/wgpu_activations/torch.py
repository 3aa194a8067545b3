"""The functions over PyTorch's tensors in host memory, with gradients: ``wa.torch.gelu(x)``.

They are ``torch.autograd.Function``s that compute through this package, on its backend. Tensors are float32, float16 or
bfloat16, and stay where they are: what is contiguous is not copied. A function's gradients are those that it has by its
arrays; there are no second derivatives.
"""

import numpy as _np
import torch as _torch

from ._functions import function as _function


def _array(tensor, name):
    """A tensor's memory as an array."""
    if not isinstance(tensor, _torch.Tensor):
        return tensor
    if tensor.device.type != "cpu":
        raise TypeError(f"{name} is on {tensor.device}; this package reads tensors in host memory: pass {name}.cpu()")
    if tensor.dtype == _torch.float64:
        raise TypeError(f"{name} is float64, whose numbers float32 does not hold; pass {name}.float()")
    tensor = tensor.detach()
    if tensor.dtype == _torch.bfloat16:
        import ml_dtypes

        return tensor.view(_torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _tensor(array):
    """An array's memory as a tensor."""
    array = _np.asarray(array)
    if array.dtype.name == "bfloat16":
        return _torch.from_numpy(array.view(_np.int16)).view(_torch.bfloat16)
    return _torch.from_numpy(array)


class _Call(_torch.autograd.Function):
    @staticmethod
    def forward(ctx, f, names, options, *arrays):
        ctx.f, ctx.names, ctx.options = f, names, options
        ctx.others = [None if isinstance(array, _torch.Tensor) else array for array in arrays]
        ctx.save_for_backward(*(array if isinstance(array, _torch.Tensor) else None for array in arrays))
        given = {name: _array(array, name) for name, array in zip(names, arrays)}
        return _tensor(f(**given, **options))

    @staticmethod
    @_torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        arrays = [other if tensor is None else tensor for tensor, other in zip(ctx.saved_tensors, ctx.others)]
        given = {name: _array(array, name) for name, array in zip(ctx.names, arrays)}
        gradients = ctx.f.gradients(**given, dy=_array(dy, "dy"), **ctx.options)
        by = [
            _tensor(gradients[name]) if wanted and name in gradients else None
            for name, wanted in zip(ctx.names, ctx.needs_input_grad[3:])
        ]
        return None, None, None, *by


def apply(f, *tensors, **keywords):
    """A function of tensors, with its options by name: ``apply("elu(alpha=0.5)", x)``."""
    f = _function(f)
    forms = f.info["forms"]
    arrays = {name: keywords.pop(name) for form in forms for name in (a["name"] for a in form) if name in keywords}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    for form in forms:
        required = [array["name"] for array in form if not array["optional"]]
        if len(tensors) <= len(required) and set(required) <= {*required[: len(tensors)], *arrays}:
            break
    else:
        # The package's own sentence about what is missing or too much.
        return f(*tensors, **arrays, **keywords)
    arrays = {**dict(zip(required, tensors)), **arrays}
    return _Call.apply(f, list(arrays), keywords, *arrays.values())


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        f = _function(name)
    except ValueError as error:
        raise AttributeError(f"module 'wgpu_activations.torch' has no attribute {name!r}: {error}") from None

    def call(*tensors, **keywords):
        return apply(f, *tensors, **keywords)

    call.__name__ = call.__qualname__ = name
    call.__signature__ = f.__signature__
    call.__doc__ = f"Of tensors, with gradients.\n\n{f.__doc__}"
    return call


def __dir__():
    from ._functions import functions

    return ["apply", *functions()]
