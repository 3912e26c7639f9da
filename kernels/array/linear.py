"""Fully connected layer.

forward    y  = x · wᵀ + b
backward   dx = dy · w        dw = dyᵀ · x        db = Σₙ dy
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module
from .products import block_sum, product, written


def linear_forward(x: Array, w: Array, b: Array | None = None, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, D), w (F, D), b (F,) or None -> y (N, F), cache."""
    y = get_array_module(x).ascontiguousarray(product(w, x.T).T)  # for few rows x a third faster than x · wᵀ
    if b is not None:
        y += b
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None)


def linear_backward(
    dy: Array,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, F) -> dx (N, D), dw (F, D), db (F,); None for what is not needed.

    out: arrays that dw and db are written into, whatever they hold.
    """
    x, w, has_bias = cache
    dw = db = None
    if need_dparams:
        dw = product(dy.T, x, out[0])
        db = written(block_sum(dy), out[1]) if has_bias else None
    return product(dy, w) if need_dx else None, dw, db
