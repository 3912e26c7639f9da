"""One factor and one offset a channel: the second half of trainable subsampling, and of preprocessing.

    y = γ_c · x + β_c

c: the channel of x. Every element of a channel shares γ_c and β_c, so their gradients are sums over the channel:

    dx   = γ_c · dy
    dγ_c = Σ dy · x
    dβ_c = Σ dy

LeCun, Bottou, Bengio, Haffner 1998, section II.B (layers S2 and S4).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def scale_forward(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """x (…, C), gamma (C,), beta (C,) -> y, cache."""
    y = np.zeros_like(x)
    for c in range(x.shape[-1]):
        y[..., c] = gamma[c] * x[..., c] + beta[c]
    return y, None if remember is None else (x if remember == "all" else None, gamma)


def scale_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    x, gamma = cache
    dx = np.zeros_like(dy) if need_dx else None
    dgamma = np.zeros_like(gamma) if need_dparams else None
    dbeta = np.zeros_like(gamma) if need_dparams else None
    for c in range(dy.shape[-1]):
        if dx is not None:
            dx[..., c] = gamma[c] * dy[..., c]
        if dgamma is not None and dbeta is not None:
            dgamma[c] = (dy[..., c] * x[..., c]).sum()
            dbeta[c] = dy[..., c].sum()
    return dx, dgamma, dbeta
