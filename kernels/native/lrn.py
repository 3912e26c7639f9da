"""Local response normalization: see lrn.c."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import array
from .arguments import empty, floats, pointer
from .library import function

_norm = function("local_response_norm", "pppnnnff")


def local_response_norm_forward(
    x: np.ndarray,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (…, C) -> y, cache. Exponents other than the usual ¾ go to the array kernel."""
    if size < 1:
        raise ValueError(f"size {size}: expected 1 or more channels")
    if beta != 0.75:
        given: dict[str, Any] = {"size": size, "alpha": alpha, "beta": beta, "k": k, "remember": remember}
        y, content = array.local_response_norm_forward(x, **given)
        return y, None if content is None else (None, content)
    x = floats(x)
    y, C = empty(x.shape), x.shape[-1]
    options = (x.size // max(1, C), C, size, alpha / size, k)
    _norm(pointer(x), None, pointer(y), *options)
    return y, None if remember is None else (x, options)


def local_response_norm_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx."""
    x, options = cache
    if x is None:
        return array.local_response_norm_backward(dy, options)
    dy, dx = floats(dy, x.shape), empty(x.shape)
    _norm(pointer(x), pointer(dy), pointer(dx), *options)
    return dx
