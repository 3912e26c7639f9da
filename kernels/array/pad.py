"""A border of zeros. forward: copy into the middle; backward: cut the middle out."""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module
from ..geometry import Padding2d


def zero_pad2d_forward(x: Array, *, padding: Padding2d, remember: str | None = "all") -> tuple[Array, Any]:
    """x (N, H, W, C), padding ((top, bottom), (left, right)) -> y (N, H + top + bottom, W + left + right, C), cache."""
    (top, bottom), (left, right) = padding
    N, H, W, C = x.shape
    y = get_array_module(x).zeros((N, H + top + bottom, W + left + right, C), x.dtype)
    middle = (slice(None), slice(top, top + H), slice(left, left + W))
    y[middle] = x
    return y, None if remember is None else middle


def zero_pad2d_backward(dy: Array, cache: Any) -> Array:
    """dy (N, H + top + bottom, W + left + right, C) -> dx (N, H, W, C)."""
    return dy[cache].copy()
