"""Average pooling, and the adaptive one whose windows are chosen by the size of the result.

    y[n, p, q, c] = (1/A[p, q]) Σ x[n, u, v, c]        over the pixels (u, v) of window (p, q)

n: picture; p, q: output position; c: channel. A = height · width is the area that the sum is divided by, in torch's
convention: with `count_include_pad` the window clipped to the padded picture (in ceil mode a window can reach beyond
that), without it the window clipped to the picture itself.

Each pixel enters each window that holds it with weight 1/A, so

    dx[n, u, v, c] = Σ dy[n, p, q, c] / A[p, q]        over the windows (p, q) that hold (u, v)

The adaptive windows along an axis of `size` pixels: window p of `out` covers ⌊p·size/out⌋ … ⌈(p + 1)·size/out⌉ − 1.
They overlap where `out` does not divide `size`.

LeCun, Bottou, Bengio, Haffner 1998, section II.B (subsampling); He et al. 2014, section 2.2 (windows from the output).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..geometry import Pair
from .windows import pool_windows

Windows = Sequence[Sequence[int]]  # the pixels of each window along one axis


def avg_pool2d_forward(
    x: np.ndarray,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache."""
    (_, H, W, _), (KH, KW), (SH, SW), (PH, PW) = x.shape, kernel_size, stride, padding
    rows = pool_windows(H, KH, SH, PH, ceil_mode)  # rows[p]: the u of window p
    columns = pool_windows(W, KW, SW, PW, ceil_mode)  # columns[q]: the v of window q
    if count_include_pad:  # a window is its kernel's length, or less where the padded picture ends
        heights = [min(KH, H + 2 * PH - p * SH) for p in range(len(rows))]
        widths = [min(KW, W + 2 * PW - q * SW) for q in range(len(columns))]
    else:
        heights, widths = [len(u) for u in rows], [len(v) for v in columns]
    area = np.outer(heights, widths).astype(x.dtype)  # (OH, OW)
    y = average(x, rows, columns, area)
    return y, None if remember is None else (x.shape, rows, columns, area)


def avg_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    return spread(dy, *cache)


def adaptive_avg_pool2d_forward(
    x: np.ndarray, *, output_size: Pair, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache."""
    rows, columns = (
        [range(p * size // out, -(-(p + 1) * size // out)) for p in range(out)]  # −(−a // b) = ⌈a/b⌉
        for size, out in zip(x.shape[1:3], output_size, strict=True)
    )
    area = np.outer([len(u) for u in rows], [len(v) for v in columns]).astype(x.dtype)  # (OH, OW)
    y = average(x, rows, columns, area)
    return y, None if remember is None else (x.shape, rows, columns, area)


def adaptive_avg_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    return spread(dy, *cache)


def average(x: np.ndarray, rows: Windows, columns: Windows, area: np.ndarray) -> np.ndarray:
    """The sum over each window, divided by its area: (N, H, W, C) -> (N, OH, OW, C)."""
    y = np.zeros((x.shape[0], *area.shape, x.shape[3]), x.dtype)
    for n, p, q in np.ndindex(y.shape[:3]):
        for u in rows[p]:
            for v in columns[q]:
                y[n, p, q] += x[n, u, v] / area[p, q]  # all channels at once
    return y


def spread(
    dy: np.ndarray, input_shape: tuple[int, ...], rows: Windows, columns: Windows, area: np.ndarray
) -> np.ndarray:
    """`average` backwards: each pixel of a window gets an equal share, (N, OH, OW, C) -> (N, H, W, C)."""
    dx = np.zeros(input_shape, dy.dtype)
    for n, p, q in np.ndindex(dy.shape[:3]):
        for u in rows[p]:
            for v in columns[q]:
                dx[n, u, v] += dy[n, p, q] / area[p, q]
    return dx
