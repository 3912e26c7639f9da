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
from ..threads import share_out
from .blocks import chunks

RULES = ("gradient", "guided", "deconvnet", "redirected")


def relu_forward(x: Array, *, rectified: bool = False, remember: str | None = "all") -> tuple[Array, Any]:
    """x of any shape -> y, cache. rectified: x is y already, and only the cache is made."""
    xp = get_array_module(x)
    y = x if rectified else xp.empty_like(x)
    bits = xp.empty(-(-x.size // 8), xp.uint8) if remember else None
    flat, flat_y = x.reshape(-1), y.reshape(-1)

    def of_block(part: slice) -> None:
        if not rectified:
            xp.maximum(flat[part], 0, out=flat_y[part])
        if bits is not None:
            bits[part.start // 8 : -(-part.stop // 8)] = xp.packbits(flat[part] > 0)

    share_out(of_block, chunks(flat, 8), x)
    return y, bits


def relu_backward(dy: Array, cache: Any, *, rule: str = "gradient") -> Array:
    """dy -> dx by one of RULES. Raises ValueError for another rule."""
    xp = get_array_module(dy)
    if rule == "deconvnet":
        return xp.maximum(dy, 0)
    passed = unpack_bits(cache, dy)
    if rule == "gradient":
        return masked(dy, passed)
    if rule == "guided":
        return masked(xp.maximum(dy, 0), passed)
    if rule == "redirected":
        dx = masked(dy, passed)
        alive = (dx != 0).any(axis=tuple(range(1, dy.ndim)), keepdims=True)  # one a picture
        return xp.where(alive, dx, masked(dy, passed | (dy > 0)))
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
    return get_array_module(like).unpackbits(bits)[: like.size].reshape(like.shape).view(bool)


def masked(dy: Array, positive: Array, out: Array | None = None) -> Array:
    """dy where `positive`, y or a bool array, is above 0; zero elsewhere.

    By `and` with a mask of bits, all ones or all zeros: four times as fast as `where`, and unlike a product with 0 or 1
    it blocks infinity and NaN too.
    """
    xp, bits = get_array_module(dy), f"i{dy.itemsize}"
    mask = (positive if positive.dtype == bool else positive > 0).astype(bits)
    xp.negative(mask, out=mask)
    if out is None:
        out = xp.empty_like(dy)
    xp.bitwise_and(dy.view(bits), mask, out=out.view(bits))
    return out
