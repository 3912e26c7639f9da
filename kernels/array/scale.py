"""One factor and one offset a channel: trainable subsampling's second half (LeCun et al. 1998), and preprocessing.

forward    y = γ·x + β        backward   dx = γ·dy    dγ = Σ dy·x    dβ = Σ dy
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from .products import channel_sum


def scale_forward(x: Array, gamma: Array, beta: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (…, C), gamma (C,), beta (C,) -> y, cache."""
    y = x * gamma
    y += beta
    return y, None if remember is None else (x if remember == "all" else None, gamma)


def scale_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    x, gamma = cache
    return (
        dy * gamma if need_dx else None,
        channel_sum(dy * x) if need_dparams else None,
        channel_sum(dy) if need_dparams else None,
    )
