"""Max pooling.

    forward    y[p, q] = max over taps (i, j) of x[p·s + i − pad, q·s + j − pad]        the border counts as −∞
    backward   dx at the pixel that won += dy[p, q]

The winner is kept as the number of its tap (one byte an output element), the *switch* of Zeiler & Fergus 2014. Ties go
to the first tap in row-major order. Overlapping windows can have the same winner: their gradients add.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import Array, get_array_module
from ..geometry import Pair, pool_output_size, tap_range


def max_pool2d_forward(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    remember: str | None = "all",
) -> tuple[Array, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache."""
    xp = get_array_module(x)
    N, H, W, C = x.shape
    OH = pool_output_size(H, kernel_size[0], stride[0], padding[0], ceil_mode)
    OW = pool_output_size(W, kernel_size[1], stride[1], padding[1], ceil_mode)
    taps = list(window_taps((H, W), (OH, OW), kernel_size, stride, padding))
    y = xp.full((N, OH, OW, C), -np.inf, x.dtype)
    for _, out, pixels in taps:
        xp.maximum(y[out], x[pixels], out=y[out])
    if remember is None:
        return y, None
    switches = xp.zeros(y.shape, np.uint8 if len(taps) < 256 else np.int32)
    for number, out, pixels in reversed(taps):  # the first tap that equals the maximum is written last, so it stays
        xp.copyto(switches[out], switches.dtype.type(number), where=x[pixels] == y[out])
    return y, (switches, x.shape, taps)


def max_pool2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    switches, input_shape, taps = cache
    xp = get_array_module(dy)
    dx = xp.zeros(input_shape, dy.dtype)
    for number, out, pixels in taps:
        dx[pixels] += xp.where(switches[out] == number, dy[out], 0)
    return dx


def window_taps(
    size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair
) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """(number, output positions, pixels they read) of each tap of a pooling window, the border left out."""
    for i in range(kernel[0]):
        out_rows, rows = tap_range(i, size[0], out[0], stride[0], padding[0])
        for j in range(kernel[1]):
            out_columns, columns = tap_range(j, size[1], out[1], stride[1], padding[1])
            everything = slice(None)
            yield i * kernel[1] + j, (everything, out_rows, out_columns), (everything, rows, columns)
