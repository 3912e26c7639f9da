"""Rectifiers, and the rules by which a ReLU can send a gradient back.

    forward    y = max(x, 0)

With f the forward input and R = dy the gradient that comes from above, dx is

    gradient    1[f > 0] · R                 the derivative
    deconvnet   1[R > 0] · R                 Zeiler & Fergus 2014, section 2.1
    guided      1[f > 0] · 1[R > 0] · R      Springenberg et al. 2014, section 3.4
    redirected  the gradient; for a picture where that is zero everywhere, R without what would push a blocked input
                further down (R is the direction of ascent): lets an optimization leave a dead start (Olah et al. 2017)

Only the sign of f is needed: one bit an element.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module

RULES = ("gradient", "guided", "deconvnet", "redirected")


def relu_forward(x: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x of any shape -> y, cache."""
    xp = get_array_module(x)
    return xp.maximum(x, 0), None if remember is None else xp.packbits(x > 0)


def relu_backward(dy: Array, cache: Any, *, rule: str = "gradient") -> Array:
    """dy -> dx by one of RULES. Raises ValueError for another rule."""
    xp = get_array_module(dy)
    if rule == "deconvnet":
        return xp.maximum(dy, 0)
    passed = unpack_bits(cache, dy)
    if rule == "gradient":
        return xp.where(passed, dy, 0)
    if rule == "guided":
        return xp.where(passed, xp.maximum(dy, 0), 0)
    if rule == "redirected":
        dx = xp.where(passed, dy, 0)
        alive = (dx != 0).any(axis=tuple(range(1, dy.ndim)), keepdims=True)  # one a picture
        return xp.where(alive, dx, xp.where(passed | (dy > 0), dy, 0))
    raise ValueError(f"rule {rule!r}: there is {', '.join(RULES)}")


def leaky_relu_forward(x: Array, *, slope: float = 0.01, remember: str | None = "all") -> tuple[Array, Any]:
    """y = x where x > 0, slope·x elsewhere; x of any shape -> y, cache."""
    xp = get_array_module(x)
    passed = x > 0
    return xp.where(passed, x, x * slope), None if remember is None else (xp.packbits(passed), slope)


def leaky_relu_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx = dy where x > 0, slope·dy elsewhere."""
    bits, slope = cache
    return get_array_module(dy).where(unpack_bits(bits, dy), dy, dy * slope)


def unpack_bits(bits: Array, like: Array) -> Array:
    """The bool array of `like`'s shape that `packbits` made `bits` from."""
    return get_array_module(like).unpackbits(bits)[: like.size].reshape(like.shape).astype(bool)
