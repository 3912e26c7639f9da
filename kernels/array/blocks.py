"""Arrays cut into blocks that stay in a core's cache.

An operation on single values is bound by memory. Done block by block, its steps (subtract, square, add up, …) find the
block in the cache, and the array passes through memory once. Blocks are shared out to the threads.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..backend import Array, get_array_module

BLOCK = 1 << 18  # numbers: steps of 50 µs; of much shorter ones the lock of Python lets only one thread have its turn
Part = tuple[slice, slice]


def chunks(a: Array, unit: int = 1) -> list[slice]:
    """Slices that cover a flat array, each of about BLOCK elements and a multiple of `unit`."""
    step = max(1, BLOCK // unit) * unit if get_array_module(a) is np else max(1, a.size)  # on a device: one launch
    return [slice(start, min(a.size, start + step)) for start in range(0, a.size, step)]


def as_rows(x: Array) -> Array:
    """x (…, W, C) as (N, H, W·C), a view."""
    return x.reshape(row_shape(x.shape))


def row_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(…, W, C) -> (N, H, W·C): long rows, in which each channel comes W times. (N, C) -> (1, N, C)."""
    *lead, W, C = shape if len(shape) > 2 else (shape[0], 1, shape[1])
    *first, H = [1] * (2 - len(lead)) + lead
    return prod(first), H, W * C


def parts(shape: tuple[int, int, int], like: Array) -> list[Part]:
    """(pictures, rows) that cover an array (N, H, L): several pictures, or an even number of rows of one."""
    N, H, L = shape
    if not N * H * L:
        return []
    if get_array_module(like) is not np:
        return [(slice(0, N), slice(0, H))]
    n = max(1, BLOCK // (H * L))
    h = H if H * L <= BLOCK else max(2, BLOCK // L // 2 * 2)
    starts = [(first, row) for first in range(0, N, n) for row in range(0, H, h)]
    return [(slice(first, min(N, first + n)), slice(row, min(H, row + h))) for first, row in starts]


def along(rows: Array, channels: Array) -> Array:
    """One number a channel, (C,) -> (W·C,): written out for a whole row, as short inner loops are slow."""
    return get_array_module(rows).tile(channels, rows.shape[-1] // channels.size)
