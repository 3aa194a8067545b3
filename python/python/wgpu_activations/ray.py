"""The functions over columns of Ray Data: ``ds.map_batches(wa.ray.Apply("gelu", column="x"))``."""

import numpy as _np

from . import _use
from ._functions import draws as _draws
from ._functions import function as _function

_opened = {}


def _backend(name):
    """The worker process' backend of a name, opened by its first batch."""
    if name not in _opened:
        _opened[name] = _use.backend() if name is None else _use._opened(name)
    return _opened[name]


def _tensor(rows, column):
    """The rows of a column as one array; Arrow's lists of numbers come as an array each."""
    rows = _np.asarray(rows)
    if rows.dtype != object:
        return rows
    if len({_np.shape(row) for row in rows}) > 1:
        raise TypeError(f"the rows of column {column!r} have several shapes")
    return _np.stack(rows) if len(rows) else _np.empty(0, _np.float32)


class Apply:
    """A function of a column of batches, a callable for ``map_batches``.

    ``column`` is the column that is read, or several of them for functions of several arrays, and ``output`` the one that
    is written, by default the first that is read. Rows are the column's first axis. A column is a tensor of one type and
    shape; options are the function's.

    Each worker process opens one backend, ``backend`` by name or the best there is. As a class, it makes actors, with a GPU
    for each where there are some::

        ds.map_batches(wa.ray.Apply, fn_constructor_args=["gelu"], fn_constructor_kwargs={"column": "x"},
                       concurrency=2, num_gpus=1)

    Results do not depend on how rows are divided into blocks. With a ``seed`` that needs to know which row is which:
    ``index`` is then the column of the rows' numbers in the whole data set, by which the random numbers are drawn.
    """

    def __init__(self, function, *, column, output=None, index=None, backend=None, **options):
        self.function = _function(function, **options)
        self.columns = [column] if isinstance(column, str) else list(column)
        self.output = self.columns[0] if output is None else output
        self.index = index
        self.backend = backend
        self.seeded = _draws(self.function, self.function.options)
        if self.seeded and index is None:
            raise ValueError(
                f"{self.function.name} with a seed draws by a row's number in the whole data set: name the column "
                "that has it, as index="
            )

    def __call__(self, batch):
        arrays = [_tensor(batch[column], column) for column in self.columns]
        with _use.use(_backend(self.backend)):
            if self.seeded:
                result = self._numbered(arrays, _np.asarray(batch[self.index]))
            else:
                result = self._of_rows(arrays, {})
        return {**batch, self.output: result}

    def _of_rows(self, arrays, options):
        if not len(arrays[0]):
            return arrays[0]
        return self.function(*arrays, **options)

    def _numbered(self, arrays, numbers):
        per_row = int(_np.prod(arrays[0].shape[1:]))
        # Runs of rows that follow one another in the whole.
        ends = [*(_np.flatnonzero(_np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        results, begin = [], 0
        for end in ends:
            if end > begin:
                offset = int(numbers[begin]) * per_row
                results.append(self._of_rows([array[begin:end] for array in arrays], {"offset": offset}))
            begin = end
        return _np.concatenate(results) if results else arrays[0]

    def __repr__(self):
        return f"Apply({self.function.text!r}, column={self.columns})"
