"""Dropout, inverted: what is kept grows by 1/(1 − p), so the trained network needs no change.

    y = x · kept/(1 − p)        dx = dy · kept/(1 − p)

p: the probability that an element is dropped; kept: 1 where it stays, else 0, drawn by the caller. kept is a constant
for the derivative, so dx passes through the same mask. E[y] = x, as E[kept] = 1 − p.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, section 4; the scaling at training time, section 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def dropout_forward(
    x: np.ndarray, kept: np.ndarray, *, p: float, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x of any shape, kept bool of the same shape (True with probability 1 − p) -> y, cache."""
    return thin_out(x, kept, p), None if remember is None else (kept, p)


def dropout_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    kept, p = cache
    return thin_out(dy, kept, p)


def thin_out(a: np.ndarray, kept: np.ndarray, p: float) -> np.ndarray:
    """a/(1 − p) where it is kept, 0 elsewhere."""
    thinned = np.zeros_like(a)
    for at in np.ndindex(a.shape):
        if kept[at]:
            thinned[at] = a[at] / (1 - p)
    return thinned
