"""What C functions get for arrays."""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any

import numpy as np

LINE = 16  # floats of a line of the cache
LARGE = 1 << 14  # floats; of less a few more cycles do not show

_start_of = (ctypes.c_char * 0).from_buffer


def floats(a: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The array, or a copy where it is not contiguous float32 on an address that C may read floats from.

    Raises ValueError for another shape than the one given: C would read on behind the end.
    """
    if shape is not None and a.shape != shape:
        raise ValueError(f"expected an array of shape {shape}, got {a.shape}")
    flags = a.flags
    if flags.c_contiguous and flags.aligned and a.dtype == np.float32:
        return a
    return np.require(a, np.float32, ("C", "A"))


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """A new float32 array. A large one begins with a line of the cache, so that no vector lies across two of them."""
    size = prod(shape)
    if size < LARGE:
        return np.empty(shape, np.float32)
    memory = np.empty(size + LINE, np.float32)
    start = -((address(memory) or 0) // memory.itemsize) % LINE
    return memory[start : start + size].reshape(shape)


def writable(a: np.ndarray) -> bool:
    """Whether C may write floats into the array as it lies."""
    flags = a.flags
    return flags.c_contiguous and flags.aligned and flags.writeable and a.dtype == np.float32


def place(out: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Where a result goes: `out`, or a new array. Raises ValueError for an `out` that C cannot write it into."""
    if out is None:
        return empty(shape)
    if out.shape != shape or not writable(out):
        what = f"{out.shape} {out.dtype}" + ("" if out.flags.writeable else ", read-only")
        raise ValueError(f"out: expected a contiguous float32 array of shape {shape} to write into, got {what}")
    return out


def pointer(a: Any) -> Any:
    """The beginning of a contiguous NumPy array's memory, NULL for None. Keeps the array alive while it lives itself.

    Asking for the address as a number takes five times as long, which counts where a whole step takes a millisecond.
    """
    if a is None:
        return None
    return _start_of(a) if a.flags.writeable else a.__array_interface__["data"][0]


def address(a: np.ndarray | None) -> int | None:
    """The same as a number, for the fields of a C structure. The array must live until the call is over."""
    start = pointer(a)
    return start if start is None or isinstance(start, int) else ctypes.addressof(start)
