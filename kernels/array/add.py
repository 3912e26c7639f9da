"""The sum of two arrays, where two ways through a network meet again: the gradient goes back along both unchanged."""

from __future__ import annotations

from ..backend import Array, get_array_module
from ..threads import share_out
from .blocks import chunks


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a + b, of one shape; into `out`, which may be a or b, or a new array."""
    xp = get_array_module(a)
    total = xp.empty_like(a) if out is None else out
    flat_a, flat_b, flat = a.reshape(-1), b.reshape(-1), total.reshape(-1)
    share_out(lambda part: xp.add(flat_a[part], flat_b[part], out=flat[part]), chunks(flat), a)
    return total
