"""Fully connected layer.

forward    y  = x · wᵀ + b
backward   dx = dy · w        dw = dyᵀ · x        db = Σₙ dy
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from .products import channel_sum, product


def linear_forward(x: Array, w: Array, b: Array | None = None, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, D), w (F, D), b (F,) or None -> y (N, F), cache."""
    y = product(x, w.T)
    if b is not None:
        y += b
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None)


def linear_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, F) -> dx (N, D), dw (F, D), db (F,); None for what is not needed."""
    x, w, has_bias = cache
    return (
        product(dy, w) if need_dx else None,
        product(dy.T, x) if need_dparams else None,
        channel_sum(dy) if need_dparams and has_bias else None,
    )
