"""Between channels first and channels last."""

from __future__ import annotations

from ..backend import Array, get_array_module


def turn(x: Array) -> Array:
    """x (N, A, B) -> y (N, B, A), contiguous."""
    return get_array_module(x).ascontiguousarray(x.swapaxes(1, 2))
