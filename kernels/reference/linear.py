"""Fully connected layer: every output is a weighted sum of every input.

    y[n, f] = b[f] + Σ_d w[f, d] · x[n, d]

n: example; f: output; d: input. Each product w·x belongs to one weight and one input, so the chain rule gives

    dx[n, d]  = Σ_f dy[n, f] · w[f, d]
    dw[f, d]  = Σ_n dy[n, f] · x[n, d]
    db[f]     = Σ_n dy[n, f]

Rumelhart, Hinton, Williams 1986, equations 1 and 4–7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .sums import cleared


def linear_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x (N, D), w (F, D), b (F,) or None -> y (N, F), cache."""
    y = np.zeros((x.shape[0], w.shape[0]), x.dtype)
    for n, f in np.ndindex(y.shape):
        y[n, f] = w[f] @ x[n]
        if b is not None:
            y[n, f] += b[f]
    return y, None if remember is None else (x if remember == "all" else None, w, b is not None)


def linear_backward(
    dy: np.ndarray,
    cache: Any,
    *,
    need_dx: bool = True,
    need_dparams: bool = True,
    out: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (N, F) -> dx (N, D), dw (F, D), db (F,); None for what is not needed.

    out: arrays that dw and db are written into, whatever they hold.
    """
    x, w, has_bias = cache
    dx = np.zeros((dy.shape[0], w.shape[1]), dy.dtype) if need_dx else None
    dw = cleared(out[0], w.shape, dy.dtype) if need_dparams else None
    db = cleared(out[1], dy.shape[1:], dy.dtype) if need_dparams and has_bias else None
    for n, f in np.ndindex(dy.shape):
        if dx is not None:
            dx[n] += dy[n, f] * w[f]
        if dw is not None:
            dw[f] += dy[n, f] * x[n]
        if db is not None:
            db[f] += dy[n, f]
    return dx, dw, db
