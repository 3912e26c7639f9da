"""What C functions get for arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

_start_of = (ctypes.c_char * 0).from_buffer


def floats(a: np.ndarray) -> np.ndarray:
    """The array, or a copy where it is not contiguous float32."""
    return np.ascontiguousarray(a, np.float32)


def pointer(a: Any) -> Any:
    """The beginning of a contiguous NumPy array's memory, NULL for None. Keeps the array alive while it lives itself.

    Asking for the address as a number takes five times as long, which counts where a whole step takes a millisecond.
    """
    if a is None:
        return None
    return _start_of(a) if a.flags.writeable else a.__array_interface__["data"][0]
