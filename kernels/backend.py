"""Which library an array belongs to. The arrays choose the device: there is no global switch.

`xp = get_array_module(x)` is NumPy for host arrays and CuPy for device arrays; the kernels in `kernels/array` are
written once, through `xp`. Another array library joins by `register_array_type` (the tests have one).
"""

from __future__ import annotations

import threading
from math import prod
from typing import Any

import numpy as np

Array = Any  # an (N, …) array of whichever registered library

_modules: dict[type, Any] = {np.ndarray: np}


def register_array_type(array_type: type, module: Any) -> None:
    """Let kernels run on `array_type`, whose functions are `module`'s (the names of NumPy's that CuPy has too)."""
    _modules[array_type] = module


def get_array_module(x: Array) -> Any:
    """The module (NumPy, CuPy, …) whose functions work on `x`. Raises TypeError for anything that is no array."""
    module = _modules.get(type(x))
    if module is None:
        if isinstance(x, np.generic | np.ndarray):
            return np
        if type(x).__module__.partition(".")[0] != "cupy":
            raise TypeError(f"expected a NumPy or CuPy array, got {type(x).__name__}")
        import cupy

        register_array_type(cupy.ndarray, cupy)
        module = cupy
    return module


_local = threading.local()


def workspace(name: str, shape: tuple[int, ...], like: Array) -> Array:
    """An uninitialized array of `like`'s dtype and library, kept between calls (one a thread and name; grows only).

    For temporaries inside one kernel: the content is gone with the next call that asks for the same name. Fresh pages
    from the system cost a third of a convolution, kept ones nothing.
    """
    xp = get_array_module(like)
    pool = _local.__dict__.setdefault("pool", {})
    size = prod(shape)
    key = (name, xp.__name__, like.dtype.char)
    if key not in pool or pool[key].size < size:
        pool[key] = xp.empty(size, like.dtype)
    return pool[key][:size].reshape(shape)
