"""The sum of two arrays, where two ways through a network meet again: the gradient goes back along both unchanged."""

from __future__ import annotations

import numpy as np


def add(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """a + b, of one shape; into `out`, which may be a or b, or a new array."""
    total = np.zeros_like(a) if out is None else out
    for at in np.ndindex(a.shape):
        total[at] = a[at] + b[at]
    return total
