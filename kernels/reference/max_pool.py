"""Max pooling: of each window, only the largest value goes on.

    y[n, p, q, c] = max of x[n, u, v, c] over the pixels (u, v) of window (p, q)

n: picture; p, q: output position; c: channel. The window begins at (p·s − pad, q·s − pad); pixels of the border count
as −∞, so they are never chosen (with 0 in their place, a picture of negative values would gain bright edges).

y is the winning pixel itself, so its derivative is 1 there and 0 at the others:

    dx[n, u, v, c] = Σ dy[n, p, q, c]        over the windows (p, q) in which (u, v) won

A sum, as overlapping windows can have the same winner. Where values tie, the first in row-major order wins; the choice
is one of the subgradients, and it must be the same every time. The winner's place is the *switch* of Zeiler & Fergus
2014, section 2.1. With a ReLU behind the pool, a window whose winner is not positive gives 0 and gets no gradient.
Pooling with overlap: Krizhevsky, Sutskever, Hinton 2012, section 3.4.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ..geometry import Pair
from .windows import pool_windows


def max_pool2d_forward(
    x: np.ndarray,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    relu: bool = False,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (N, H, W, C) -> y (N, OH, OW, C), cache. relu: then max(y, 0)."""
    N, H, W, C = x.shape
    rows = pool_windows(H, kernel_size[0], stride[0], padding[0], ceil_mode)  # rows[p]: the u of window p
    columns = pool_windows(W, kernel_size[1], stride[1], padding[1], ceil_mode)  # columns[q]: the v of window q
    y = np.zeros((N, len(rows), len(columns), C), x.dtype)
    switches = np.zeros((*y.shape, 2), int)
    for n, p, q, c in np.ndindex(y.shape):
        window = list(product(rows[p], columns[q]))  # row-major
        winner = np.argmax([x[n, u, v, c] for u, v in window])  # the first of equals; a NaN before all
        u, v = switches[n, p, q, c] = window[winner]
        y[n, p, q, c] = x[n, u, v, c]
    passes = y > 0
    if relu:
        y = np.where(passes | np.isnan(y), y, 0)
    return y, None if remember is None else (switches, passes | (not relu), x.shape)


def max_pool2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, OH, OW, C) -> dx (N, H, W, C)."""
    switches, passes, input_shape = cache
    dx = np.zeros(input_shape, dy.dtype)
    for n, p, q, c in np.argwhere(passes):
        u, v = switches[n, p, q, c]
        dx[n, u, v, c] += dy[n, p, q, c]
    return dx
