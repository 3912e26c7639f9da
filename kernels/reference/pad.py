"""A border of zeros around each picture.

    y[n, top + u, left + v, c] = x[n, u, v, c], and 0 in the border        dx[n, u, v, c] = dy[n, top + u, left + v, c]

n: picture; u, v: pixel; c: channel. The border is constant: what dy says there is dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import Padding2d


def zero_pad2d_forward(x: np.ndarray, *, padding: Padding2d, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x (N, H, W, C), padding ((top, bottom), (left, right)) -> y (N, H + top + bottom, W + left + right, C), cache."""
    (top, bottom), (left, right) = padding
    N, H, W, C = x.shape
    y = np.zeros((N, H + top + bottom, W + left + right, C), x.dtype)
    for n, u, v in np.ndindex(N, H, W):
        y[n, top + u, left + v] = x[n, u, v]
    return y, None if remember is None else (x.shape, top, left)


def zero_pad2d_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy (N, H + top + bottom, W + left + right, C) -> dx (N, H, W, C)."""
    input_shape, top, left = cache
    dx = np.zeros(input_shape, dy.dtype)
    for n, u, v in np.ndindex(input_shape[:3]):
        dx[n, u, v] = dy[n, top + u, left + v]
    return dx
