"""Fully connected layer, float32 on processors. kernels/array/linear.py has the formulas."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from .arguments import empty, floats, place, pointer
from .library import function

forward = function("linear_forward", "ppppnnn")
input_gradient = function("linear_input_gradient", "pppnnn")
weight_gradient = function("linear_weight_gradient", "ppppnnn")


def linear_forward(x: Array, w: Array, b: Array | None = None, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, D), w (F, D), b (F,) or None -> y (N, F), cache."""
    (N, D), F = x.shape, w.shape[0]
    x, w = floats(x), floats(w, (F, D))
    b = None if b is None else floats(b, (F,))
    y = empty((N, F))
    forward(pointer(x), pointer(w), pointer(b), pointer(y), N, D, F)
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None, N)


def linear_backward(
    dy: Array,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, F) -> dx (N, D), dw (F, D), db (F,); None for what is not needed."""
    x, w, has_bias, N = cache
    F, D = w.shape
    dy = floats(dy, (N, F))
    dx = dw = db = None
    if need_dparams:
        dw, db = place(out[0], (F, D)), place(out[1], (F,)) if has_bias else None
        weight_gradient(pointer(dy), pointer(x), pointer(dw), pointer(db), N, D, F)
    if need_dx:
        dx = empty((N, D))
        input_gradient(pointer(dy), pointer(w), pointer(dx), N, D, F)
    return dx, dw, db
