"""Average pooling, and the adaptive one whose windows are chosen by the size of the result.

    forward    y[p, q] = (Σ over the window) / count[p, q]        backward   dx at each pixel of a window += dy / count

`count` follows torch: the window clipped to the padded picture when the padding counts, else to the picture itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, get_array_module
from ..geometry import Pair, pool_output_size
from .max_pool import window_taps


def avg_pool2d_forward(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache."""
    xp = get_array_module(x)
    N, H, W, C = x.shape
    axes = list(zip((H, W), kernel_size, stride, padding, strict=True))
    OH, OW = (pool_output_size(*axis, ceil_mode) for axis in axes)
    taps = list(window_taps((H, W), (OH, OW), kernel_size, stride, padding))
    y = xp.zeros((N, OH, OW, C), x.dtype)
    for _, out, pixels in taps:
        y[out] += x[pixels]
    rows, columns = (window_counts(*axis, out, count_include_pad) for axis, out in zip(axes, (OH, OW), strict=True))
    share = xp.asarray((1 / np.outer(rows, columns))[..., None].astype(x.dtype))  # (OH, OW, 1)
    y *= share
    return y, None if remember is None else (share, x.shape, taps)


def avg_pool2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    share, input_shape, taps = cache
    dx = get_array_module(dy).zeros(input_shape, dy.dtype)
    each = dy * share
    for _, out, pixels in taps:
        dx[pixels] += each[out]
    return dx


def window_counts(size: int, kernel: int, stride: int, padding: int, out: int, count_include_pad: bool) -> np.ndarray:
    """How many pixels each window along one axis is divided by: (out,)."""
    start = np.arange(out) * stride - padding
    stop = np.minimum(start + kernel, size + padding)
    if not count_include_pad:
        start, stop = np.maximum(start, 0), np.minimum(stop, size)
    return stop - start


def adaptive_avg_pool2d_forward(x: Array, *, output_size: Pair, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache. Averaging is linear in each axis: y = R x Cᵀ, so dx = Rᵀ dy C."""
    xp = get_array_module(x)
    _, H, W, _ = x.shape
    rows = xp.asarray(averaging_matrix(H, output_size[0]).astype(x.dtype))  # (OH, H)
    columns = xp.asarray(averaging_matrix(W, output_size[1]).astype(x.dtype))  # (OW, W)
    y = average_axes(x, rows, columns)
    return y, None if remember is None else (rows, columns)


def adaptive_avg_pool2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    rows, columns = cache
    return average_axes(dy, rows.T, columns.T)


def average_axes(x: Array, rows: Array, columns: Array) -> Array:
    """Multiply rows by (OH, H) and columns by (OW, W): (N, H, W, C) -> (N, OH, OW, C)."""
    N, H, W, C = x.shape
    xp = get_array_module(x)
    narrow = xp.matmul(columns, x.reshape(N * H, W, C))  # (N·H, OW, C)
    return xp.matmul(rows, narrow.reshape(N, H, columns.shape[0] * C)).reshape(N, rows.shape[0], columns.shape[0], C)


def averaging_matrix(size: int, out: int) -> np.ndarray:
    """(out, size): row o averages the pixels from ⌊o·size/out⌋ to ⌈(o + 1)·size/out⌉, torch's adaptive windows."""
    matrix = np.zeros((out, size))
    for o in range(out):
        start, stop = o * size // out, -((-(o + 1) * size) // out)
        matrix[o, start:stop] = 1 / (stop - start)
    return matrix
