"""The library's operations as callables, made of what its registry says."""

import inspect as _inspect
import textwrap as _textwrap

from . import _native

_EMPTY = _inspect.Parameter.empty


class _Default:
    """A default as the registry has it, which may be a fraction."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def _default(option):
    text = option["default"]
    if text is None:
        return None
    if option["kind"] == "choice":
        return text
    if option["kind"] == "flag":
        return text == "true"
    if option["kind"] in ("integer", "count"):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return _Default(text)


def _signature(info, bound):
    """Arrays by position, what is optional by name, and options with their defaults."""
    Parameter = _inspect.Parameter
    first, *others = info["forms"]
    parameters = {}
    for form, rest in [(first, False), *((form, True) for form in others)]:
        for i, array in enumerate(form):
            if rest and i < len(first):
                continue
            optional = array["optional"] or rest
            kind = Parameter.KEYWORD_ONLY if array["optional"] else Parameter.POSITIONAL_OR_KEYWORD
            parameters[array["name"]] = Parameter(array["name"], kind, default=None if optional else _EMPTY)
    for option in info["options"]:
        default = bound.get(option["name"], _default(option))
        parameters[option["name"]] = Parameter(option["name"], Parameter.KEYWORD_ONLY, default=default)
    parameters["out"] = Parameter("out", Parameter.KEYWORD_ONLY, default=None)
    ordered = sorted(parameters.values(), key=lambda parameter: parameter.kind)
    return _inspect.Signature(ordered)


_KINDS = {
    "numbers": "float32, float16 or bfloat16",
    "targets": "classes (int32, int64), or probabilities",
    "mask": "bool or whole numbers: what is nonzero takes part",
    "lengths": "whole numbers",
}
_OPTION_KINDS = {"number": "number", "integer": "whole number", "count": "whole number", "flag": "bool"}


def _wrapped(text, indent):
    return _textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent + "    ")


def _documentation(info):
    lines = [info["summary"], ""]
    lines.append(_wrapped(f"y = {info['formula']}", ""))
    lines.append(_wrapped(f"gradient: {info['gradient']}", ""))
    lines += ["", _wrapped(info["shapes"], ""), "", "Arrays"]
    for i, form in enumerate(info["forms"]):
        if i:
            lines.append("  or")
        for array in form:
            optional = ", optional, by name" if array["optional"] else ""
            lines.append(_wrapped(f"{array['name']}: {_KINDS[array['kind']]}{optional}", "    "))
    if info["options"]:
        lines += ["", "Options"]
    for option in info["options"]:
        kind = " or ".join(map(repr, option["words"])) or _OPTION_KINDS.get(option["kind"], "text")
        default = f"default {option['default'] or 'None'}"
        lines.append(_wrapped(f"{option['name']}: {kind}, {default}: {option['meaning']}", "    "))
    lines += ["", "out: an array that takes the result, of its shape, and is returned."]
    by = [array["name"] for form in info["forms"] for array in form if array["differentiable"]]
    lines.append(f"Gradients: by {', '.join(dict.fromkeys(by))}" + ("; also from the output." if info["from_output"] else "."))
    if info["aliases"]:
        lines.append(f"Also called {', '.join(info['aliases'])}.")
    if info["source"]:
        lines.append(f"From: {info['source']}.")
    return "\n".join(lines)


def _options(text):
    """The options that a text has set, as texts."""
    inside = text.partition("(")[2].rstrip(")")
    return dict(part.strip().split("=", 1) for part in inside.split(",")) if inside else {}


class Function(_native.Function):
    """A function with its options; calling it computes.

    ``Function("elu(alpha=0.5)")`` and ``Function("elu", alpha=0.5)`` are the same one.
    """

    def __init__(self, text, **options):
        info = self.info
        self.__name__ = self.__qualname__ = self.name
        self.__module__ = "wgpu_activations"
        self.__doc__ = _documentation(info)
        self.options = _options(self.text)
        self.__signature__ = _signature(info, {name: _Default(value) for name, value in self.options.items()})

    def __repr__(self):
        return f"<function wgpu_activations.{self.text}>"

    def __reduce__(self):
        return function, (self.text,)

    def __eq__(self, other):
        return isinstance(other, Function) and self.text == other.text

    def __hash__(self):
        return hash(self.text)


def function(name, /, **options):
    """A function by its name or an alias, with options: ``function("swiglu", order="gate_first")``.

    A text with options in parentheses does, too: ``function("elu(alpha=0.5)")``.
    """
    if isinstance(name, Function):
        return Function(name.text, **options) if options else name
    if not isinstance(name, str):
        raise TypeError(f"a function, or its name, and {type(name).__name__} was given")
    return Function(name, **options)


def draws(f, options):
    """Whether a function with these options draws random numbers, by an element's place in the array."""
    for option in f.info["options"]:
        if option["name"] == "seed":
            return options.get("seed", option["default"]) is not None
    return False


def functions():
    """The names of all functions, each of which is here by this name."""
    return [info["name"] for info in _native.operations()]


def grad(f, /, *arrays, from_output=False, **keywords):
    """The gradient of ``f`` by its first array: ``grad(wa.gelu, x, dy)``.

    The arrays are those of a call, and ``dy`` behind them is the upstream gradient, of the result's shape; a
    loss that is one number may do without. ``from_output=True`` takes the result in the place of the arrays,
    for functions that can: ``grad("softmax", y, dy, from_output=True)``. Options and arrays go by name as in a
    call.
    """
    f = function(f)
    return f.gradient_from_output(*arrays, **keywords) if from_output else f.gradient(*arrays, **keywords)


def grads(f, arrays, dy=None, /, **keywords):
    """The gradients of ``f`` by all arrays that it has gradients by, as a dict by their names.

    ``grads("prelu", (x, slope), dy)`` has ``"input"`` and ``"slope"``. ``arrays`` is one array or a tuple.
    """
    arrays = arrays if isinstance(arrays, tuple) else (arrays,)
    if dy is not None:
        keywords["dy"] = dy
    return function(f).gradients(*arrays, **keywords)


def value_and_grad(f, /, *arrays, **keywords):
    """The value of ``f`` and its gradient by the first array, for an upstream gradient of 1.

    Of ``cross_entropy`` it is one pass over the logits.
    """
    return function(f).value_and_gradient(*arrays, **keywords)
