"""Fully connected layer, float32 on processors. kernels/array/linear.py has the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array
from .library import address, function

forward = function("linear_forward", "ppppnnn")
input_gradient = function("linear_input_gradient", "pppnnn")
weight_gradient = function("linear_weight_gradient", "ppppnnn")


def linear_forward(x: Array, w: Array, b: Array | None = None, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, D), w (F, D), b (F,) or None -> y (N, F), cache."""
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    b = None if b is None else np.ascontiguousarray(b)
    (N, D), F = x.shape, w.shape[0]
    y = np.empty((N, F), np.float32)
    forward(address(x), address(w), address(b), address(y), N, D, F)
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None)


def linear_backward(
    dy: Array,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[Array | None, Array | None] = (None, None),
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (N, F) -> dx (N, D), dw (F, D), db (F,); None for what is not needed."""
    x, w, has_bias = cache
    dy = np.ascontiguousarray(dy)
    (N, F), D = dy.shape, w.shape[1]
    dx = dw = db = None
    if need_dparams:
        dw = np.empty((F, D), np.float32) if out[0] is None else out[0]
        db = (np.empty(F, np.float32) if out[1] is None else out[1]) if has_bias else None
        weight_gradient(address(dy), address(x), address(dw), address(db), N, D, F)
    if need_dx:
        dx = np.empty((N, D), np.float32)
        input_gradient(address(dy), address(w), address(dx), N, D, F)
    return dx, dw, db
