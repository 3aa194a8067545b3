"""Which backend computes."""

import contextlib as _contextlib

from . import _native
from ._native import Backend


def _opened(backend):
    return backend if isinstance(backend, Backend) else Backend(backend)


def backend():
    """The backend that computes this thread's calls: its ``kind``, and why it was taken, ``description``.

    The first call opens one: a hardware GPU that computes right, or the adapter that the environment variable
    ``WGPU_ADAPTER_NAME`` names, else the CPU.
    """
    return _native.current()


def set_backend(name):
    """Makes the process compute on ``"cpu"``, ``"gpu"``, ``"auto"`` or an adapter by a part of its name."""
    _native.set_default(_opened(name))


@_contextlib.contextmanager
def use(name):
    """Makes this thread compute on a backend within ``with``; names are those of :func:`set_backend`."""
    opened = _opened(name)
    _native.enter(opened)
    try:
        yield opened
    finally:
        _native.leave()
