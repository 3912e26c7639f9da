"""Between channels first, (N, C, H·W), and channels last, (N, H·W, C): y[n, b, a] = x[n, a, b]."""

from __future__ import annotations

import numpy as np


def turn(x: np.ndarray) -> np.ndarray:
    """x (N, A, B) -> y (N, B, A), contiguous."""
    N, A, B = x.shape
    y = np.zeros((N, B, A), x.dtype)
    for n, a, b in np.ndindex(N, A, B):
        y[n, b, a] = x[n, a, b]
    return y
