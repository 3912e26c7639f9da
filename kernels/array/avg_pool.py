"""Average pooling, and the adaptive one whose windows are chosen by the size of the result.

    forward    y[p, q] = (Σ over the window) / count[p, q]        backward   dx at each pixel of a window += dy / count

`count` follows torch: the window clipped to the padded picture when the padding counts, else to the picture itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, get_array_module, workspace
from ..geometry import Pair
from ..threads import share_out
from .blocks import as_rows
from .max_pool import Block, Windows


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
    windows = Windows(x.shape, kernel_size, stride, padding, ceil_mode)
    _, OH, OW, C = windows.output_shape
    axes = zip(x.shape[1:3], kernel_size, stride, padding, (OH, OW), strict=True)
    rows, columns = (window_counts(*axis, count_include_pad) for axis in axes)
    share = xp.asarray(np.repeat(1 / np.outer(rows, columns), C, axis=1).astype(x.dtype))  # (OH, OW·C)
    y = xp.empty(windows.output_shape, x.dtype)

    def of_block(block: Block) -> None:
        source, target = x[block.pixels], y[block.positions]
        target[...] = 0
        for out, pixels in windows.taps(source, target):
            target[out] += source[pixels]
        lines = as_rows(target)
        lines *= share[block.positions[1]]

    share_out(of_block, windows.blocks(x), x)
    return y, None if remember is None else (share, windows)


def avg_pool2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    share, windows = cache
    xp, dy = get_array_module(dy), get_array_module(dy).ascontiguousarray(dy)
    dx = xp.empty(windows.input_shape, dy.dtype)

    def of_block(block: Block) -> None:
        source, target = dy[block.positions], dx[block.pixels]
        each = workspace("each", source.shape, dy)
        xp.multiply(as_rows(source), share[block.positions[1]], out=as_rows(each))
        target[...] = 0
        for out, pixels in windows.taps(target, source):
            target[pixels] += each[out]

    share_out(of_block, windows.blocks(dy), dy)
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
