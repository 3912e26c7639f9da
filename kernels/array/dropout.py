"""Dropout (Srivastava et al. 2014), inverted: what is kept grows by 1/(1 − p), so a trained network needs no change.

forward    y = x · kept/(1 − p)        backward   dx = dy · kept/(1 − p)
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module
from .relu import masked, unpack_bits


def dropout_forward(x: Array, kept: Array, *, p: float, remember: str | None = "all") -> tuple[Array, Any]:
    """x of any shape, kept bool of the same shape (True with probability 1 − p) -> y, cache."""
    xp = get_array_module(x)
    return thin_out(x, kept, p), None if remember is None else (xp.packbits(kept), p)


def dropout_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx."""
    bits, p = cache
    return thin_out(dy, unpack_bits(bits, dy), p)


def thin_out(a: Array, kept: Array, p: float) -> Array:
    """a/(1 − p) where it is kept, 0 elsewhere (everywhere when p = 1)."""
    thinned = masked(a, kept)
    thinned *= 1 / (1 - p) if p < 1 else 0
    return thinned
