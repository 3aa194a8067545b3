"""The functions over Dask's chunked arrays, lazily: ``wa.dask.softmax(array, axis=-1)``.

Every chunk is computed on its own where its rows are whole. Along an axis that is cut into chunks, softmax,
log_softmax, softmin, logsumexp and cross_entropy are computed by parts: each chunk's largest elements and sums, merged
in a tree, with which the chunks are finished one by one. No row is ever gathered. For that the array's chunks are
computed twice, once for the sums and once for the results, so that none has to wait in memory: an array of random
numbers without a seed would be two different ones.
"""

import math as _math

import dask.array as _da
import numpy as _np
from dask.graph_manipulation import clone as _clone

from ._functions import draws as _draws
from ._functions import function as _function
from ._parts import CrossEntropyPart as _CrossEntropyPart
from ._parts import RowPart as _RowPart

# How many parts are merged at a time.
_WIDTH = 8
# Functions that are known by parts of a row.
_BY_PARTS = ("softmax", "log_softmax", "softmin", "logsumexp")
# Options that speak of an element's place in the whole array.
_OF_PLACES = ("causal", "query_axis")


def apply(f, *arrays, **options):
    """A function of a chunked array, and of others beside it, which have its shape or broadcast to it.

    Options are the function's; an array that goes by name elsewhere goes by name here.
    """
    f = _function(f)
    info = f.info
    named = {name: options.pop(name) for form in info["forms"] for name in _names(form) if name in options}
    options = {**_bound(f), **options}
    bare = _function(f.name)
    if not arrays or not isinstance(arrays[0], _da.Array):
        raise TypeError(f"{f.name} takes a Dask array first; for NumPy's there is wgpu_activations.{f.name}")
    x, *others = arrays
    if any(_math.isnan(length) for length in x.shape):
        raise ValueError("the chunks' sizes are not known: call compute_chunk_sizes() first")
    if info["name"] == "cross_entropy":
        if len(others) > 1:
            raise TypeError("cross_entropy of chunks takes logits and targets")
        targets = others[0] if others else named.pop("targets")
        return _cross_entropy(x, targets, **named, **options)
    if options.get("reduction", "none" if not _has(info, "reduction") else "mean") != "none":
        raise TypeError(f"{f.name} of chunks takes reduction='none'; reduce what comes of it")
    named = {name: other for name, other in named.items() if other is not None}
    if "targets" in [array["kind"] for array in info["forms"][0]]:
        return _of_classes(bare, x, others, named, options)
    if x.npartitions == 1:
        others = [_array(other) for other in others]
        named = {name: _array(other) for name, other in named.items()}
    else:
        others = [_like(other, x, f.name) for other in others]
        named = {name: _like(other, x, f.name) for name, other in named.items()}
        _check(bare, x, others, named, options, info)
    if _draws(bare, options):
        return _seeded(bare, x, others, options, info)
    # A gate of two arrays has no axis.
    axis = None if others and len(info["forms"]) > 1 else _axis(info, options)
    if axis is None:
        return _by_chunks(bare, x, others, named, options, None)
    axis %= x.ndim
    if len(x.chunks[axis]) > 1:
        is_plain = not others and not named and set(_given(options)) <= {"axis"}
        if info["name"] not in _BY_PARTS or not is_plain:
            raise ValueError(
                f"{f.name} with these arrays and options has no parts, and axis {axis} is cut into "
                f"{len(x.chunks[axis])} chunks: rechunk({{{axis}: -1}}) first"
            )
        return _by_parts(info["name"], x, axis)
    cut = [i for i in range(x.ndim) if len(x.chunks[i]) > 1]
    if any(options.get(name) not in (None, False) for name in _OF_PLACES):
        query = options.get("query_axis")
        query = (axis - 1 if query is None else int(query)) % x.ndim
        if query in cut:
            raise ValueError(f"the queries' axis {query} is cut into chunks: rechunk({{{query}: -1}}) first")
    return _by_chunks(bare, x, others, named, {**options, "axis": axis}, axis)


def _names(form):
    return [array["name"] for array in form]


def _axis(info, options):
    """The axis of the rows; none where there are no rows."""
    if info["elementwise"] or options.get("axis") is not None:
        return None if info["elementwise"] else int(options["axis"])
    defaults = [option["default"] for option in info["options"] if option["name"] == "axis"]
    return int(defaults[0]) if defaults and defaults[0] is not None else None


def _has(info, name):
    return any(option["name"] == name for option in info["options"])


def _bound(f):
    values = {}
    for name, value in f.options.items():
        option = next(option for option in f.info["options"] if option["name"] == name)
        kinds = {"number": float, "integer": int, "count": int, "flag": lambda text: text == "true"}
        values[name] = kinds.get(option["kind"], str)(value)
    return values


def _given(options):
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _array(other):
    """An array in one chunk."""
    return other.rechunk(-1) if isinstance(other, _da.Array) else _da.from_array(_np.asarray(other), chunks=-1)


def _like(other, x, name):
    """An array beside x, cut as x is; axes of length 1 are for all chunks."""
    other = other if isinstance(other, _da.Array) else _array(other)
    if other.ndim > x.ndim:
        raise ValueError(f"an array of {name} has more axes than the first one")
    axes = range(x.ndim - other.ndim, x.ndim)
    chunks = []
    for own, axis in enumerate(axes):
        if other.shape[own] not in (1, x.shape[axis]):
            raise ValueError(f"{name}: the shape {other.shape} does not broadcast to {x.shape}")
        chunks.append((1,) if other.shape[own] == 1 else x.chunks[axis])
    return other.rechunk(tuple(chunks))


def _check(f, x, others, named, options, info):
    """One error, before anything is computed, where arrays do not lie beside the first one's last axes, as they are
    cut: asked of the function, by arrays that have another length along each axis."""
    if not others and not named:
        return
    lengths = [1 if length == 1 else 2 + axis for axis, length in enumerate(x.shape)]
    kinds = {array["name"]: array["kind"] for form in info["forms"] for array in form}

    def sample(other, kind):
        shape = [1 if own == 1 else length for own, length in zip(other.shape, lengths[x.ndim - other.ndim :])]
        return _np.ones(shape, {"mask": bool, "lengths": _np.uint32}.get(kind, _np.float32))

    try:
        f(
            _np.ones(lengths, _np.float32),
            *(sample(other, "numbers") for other in others),
            **{name: sample(other, kinds[name]) for name, other in named.items()},
            **options,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{f.name} of chunks takes arrays that broadcast from the first one's last axis on, and is given others "
            f"({error}): give them all of its axes, those that they lack of length 1, or rechunk(-1) first"
        ) from None


def _of_classes(f, x, others, named, options):
    """A loss over classes of whole rows."""
    axis = options.get("axis")
    axis = (min(1, x.ndim - 1) if axis is None else int(axis)) % x.ndim
    if len(x.chunks[axis]) > 1:
        raise ValueError(
            f"{f.name} has no parts, and axis {axis} is cut into {len(x.chunks[axis])} chunks: "
            f"rechunk({{{axis}: -1}}) first"
        )
    targets = _array(others[0] if others else named.pop("targets"))
    rows = tuple(i for i in range(x.ndim) if i != axis)
    shape = tuple(x.shape[i] for i in rows)
    if targets.shape != shape:
        raise ValueError(f"targets are classes of the shape {shape}")
    targets = targets.rechunk(tuple(x.chunks[i] for i in rows))
    # Of each class, and so of each chunk.
    beside = {name: _np.asarray(other) for name, other in named.items()}

    def compute(x, targets):
        return f(x, targets, **beside, **options)

    meta, index = _meta(x.dtype, x.ndim - 1), tuple(range(x.ndim))
    return _da.blockwise(
        compute, rows, x, index, targets, rows, dtype=x.dtype, meta=meta, concatenate=True, align_arrays=False, token=_token(f)
    )


def _by_chunks(f, x, others, named, options, axis):
    names = list(named)

    def compute(*chunks):
        arrays, rest = chunks[: 1 + len(others)], chunks[1 + len(others) :]
        return f(*arrays, **dict(zip(names, rest)), **options)

    if axis is None:
        return _da.map_blocks(compute, x, *others, *named.values(), dtype=x.dtype, meta=_meta(x.dtype, x.ndim), name=_token(f))
    # The shape of the results is that of a row's.
    row = [1] * x.ndim
    row[axis] = x.shape[axis]
    beside = [[min(own, length) for own, length in zip(other.shape, row[x.ndim - other.ndim :])] for other in others]
    shape = f(*(_np.zeros(shape, _np.float32) for shape in [row, *beside]), **options).shape
    if len(shape) < x.ndim:
        return _da.map_blocks(
            compute, x, *others, *named.values(), dtype=x.dtype, drop_axis=axis, meta=_meta(x.dtype, x.ndim - 1), name=_token(f)
        )
    chunks = list(x.chunks)
    chunks[axis] = (shape[axis],)
    return _da.map_blocks(
        compute, x, *others, *named.values(), dtype=x.dtype, chunks=tuple(chunks), meta=_meta(x.dtype, x.ndim), name=_token(f)
    )


def _meta(dtype, ndim):
    return _np.empty((0,) * ndim, dtype)


def _token(f):
    from uuid import uuid4

    return f"{f.name}-{uuid4().hex}"


def _seeded(f, x, others, options, info):
    """Random numbers are numbered by the place in the whole, so that chunks may be cut anywhere."""
    axis = _axis(info, options)
    axis = axis if axis is None else axis % x.ndim
    cut = [i for i in range(1, x.ndim) if len(x.chunks[i]) > 1]
    if cut or axis == 0 and len(x.chunks[0]) > 1:
        raise ValueError("with a seed, chunks are along the first axis alone, and rows are whole: rechunk first")
    start = options.pop("offset", None) or 0
    per_row = _math.prod(x.shape[1:])

    def compute(*chunks, block_info=None):
        first = block_info[0]["array-location"][0][0] if block_info and x.ndim else 0
        return f(*chunks, offset=start + first * per_row, **options)

    return _da.map_blocks(compute, x, *others, dtype=x.dtype, meta=_meta(x.dtype, x.ndim), name=_token(f))


def _boxed(part, ndim):
    """A part as the only element of a chunk."""
    box = _np.empty((1,) * ndim, object)
    box.flat[0] = part
    return box


def _part(x, part_axis, negative):
    return _boxed(_RowPart(-x if negative else x, part_axis), x.ndim)


def _merge(parts, axis, keepdims):
    """The parts of a chunk of parts, merged along an axis."""
    return parts.sum(axis=axis, keepdims=keepdims) if parts.size else parts


def _finish(x, rows, of, along):
    rows = rows.item()
    return rows.apply("softmax", -x, along) if of == "softmin" else rows.apply(of, x, along)


def _total(rows, dtype):
    return rows.item().logsumexp().astype(dtype)


def _parts(f, name, *pairs, ndim, axis, **options):
    """A part of each chunk, then of each row: arrays of parts with a chunk for each."""
    chunks = tuple((1,) * count for count in pairs[0].numblocks)
    parts = _da.blockwise(
        f,
        tuple(range(ndim)),
        *pairs,
        dtype=object,
        meta=_meta(object, ndim),
        adjust_chunks=dict(enumerate(chunks)),
        align_arrays=False,
        token=f"{name}-part",
        **options,
    )
    return _da.reduction(
        parts, _merge, _merge, axis=axis, keepdims=True, dtype=object, meta=_meta(object, ndim), split_every=_WIDTH, concatenate=True
    )


def _by_parts(name, x, axis):
    """A function of the softmax family along an axis that is cut into chunks."""
    index = tuple(range(x.ndim))
    rows = _parts(_part, name, x, index, ndim=x.ndim, axis=axis, negative=name == "softmin", part_axis=axis)
    if name == "logsumexp":
        chunks = tuple(chunks for i, chunks in enumerate(x.chunks) if i != axis)
        meta = _meta(x.dtype, x.ndim - 1)
        return _da.map_blocks(_total, rows, x.dtype, dtype=x.dtype, drop_axis=axis, chunks=chunks, meta=meta)
    # The second time the chunks are computed anew, so that none waits for the sums.
    again, meta = _clone(x), _meta(x.dtype, x.ndim)
    return _da.blockwise(
        _finish, index, again, index, rows, index, dtype=x.dtype, meta=meta, align_arrays=False, of=name, along=axis
    )


def _loss_part(logits, targets, first, ignore_index):
    part = _CrossEntropyPart(logits, targets, int(first[0]), ignore_index=ignore_index)
    return _boxed(part, logits.ndim)


def _losses(parts, smoothing, dtype):
    return parts.item().loss(reduction="none", label_smoothing=smoothing).astype(dtype)


def _cross_entropy(x, targets, axis=None, reduction="mean", ignore_index=-100, label_smoothing=0.0, **others):
    if _given(others):
        raise TypeError(f"cross_entropy of chunks has no option {', '.join(others)}")
    reduction, smoothing = reduction or "mean", label_smoothing or 0.0
    ignored = -100 if ignore_index is None else ignore_index
    if reduction not in ("none", "mean", "sum"):
        raise ValueError("reduction is none or mean or sum")
    axis = (min(1, x.ndim - 1) if axis is None else int(axis)) % x.ndim
    x = _da.moveaxis(x, axis, -1)
    targets = targets if isinstance(targets, _da.Array) else _da.from_array(_np.asarray(targets))
    if targets.shape != x.shape[:-1]:
        raise ValueError(f"targets are classes of the shape {x.shape[:-1]}")
    targets = targets.rechunk(x.chunks[:-1])
    firsts = _da.from_array(_np.cumsum([0, *x.chunks[-1][:-1]]), chunks=1)
    index = tuple(range(x.ndim))
    pairs = (x, index, targets, index[:-1], firsts, index[-1:])
    parts = _parts(_loss_part, "cross_entropy", *pairs, ndim=x.ndim, axis=x.ndim - 1, ignore_index=ignored)
    dtype = x.dtype if reduction == "none" else _np.dtype(_np.float32)
    meta = _meta(dtype, x.ndim - 1)
    losses = _da.map_blocks(
        _losses, parts, smoothing, dtype, dtype=dtype, drop_axis=x.ndim - 1, chunks=x.chunks[:-1], meta=meta
    )
    if reduction == "none":
        return losses
    total = losses.sum(dtype=_np.float64)
    if reduction == "mean":
        total = total / (targets != ignored).sum()
    return total.astype(x.dtype)


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        f = _function(name)
    except ValueError as error:
        raise AttributeError(f"module 'wgpu_activations.dask' has no attribute {name!r}: {error}") from None

    def call(*arrays, **options):
        return apply(f, *arrays, **options)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Of Dask arrays, lazily.\n\n{f.__doc__}"
    return call


def __dir__():
    from ._functions import functions

    return ["apply", *functions()]
