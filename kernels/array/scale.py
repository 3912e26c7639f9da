"""One factor and one offset a channel: trainable subsampling's second half (LeCun et al. 1998), and preprocessing.

forward    y = γ·x + β        backward   dx = γ·dy    dγ = Σ dy·x    dβ = Σ dy
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module
from ..threads import share_out
from .blocks import Part, along, as_rows, parts
from .products import channel_sum


def scale_forward(x: Array, gamma: Array, beta: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (…, C), gamma (C,), beta (C,) -> y, cache."""
    y = scaled(x, gamma, beta)
    return y, None if remember is None else (x if remember == "all" else None, gamma)


def scale_backward(
    dy: Array, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    x, gamma = cache
    return (
        scaled(dy, gamma) if need_dx else None,
        channel_sum(dy * x) if need_dparams else None,
        channel_sum(dy) if need_dparams else None,
    )


def scaled(x: Array, gamma: Array, beta: Array | None = None) -> Array:
    """γ·x + β, in blocks of long rows."""
    xp = get_array_module(x)
    y, rows = xp.empty(x.shape, x.dtype), as_rows(xp.ascontiguousarray(x))
    factor, offset = along(rows, gamma), None if beta is None else along(rows, beta)

    def of_block(part: Part) -> None:
        block = as_rows(y)[part]
        xp.multiply(rows[part], factor, out=block)
        if offset is not None:
            block += offset

    share_out(of_block, parts(rows.shape, x), x)
    return y
