"""Rectifiers, and the sum of two arrays: see relu.c."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array.relu import RULES
from .arguments import empty, floats, place, pointer
from .library import function

_forward = function("relu_forward", "pppnfi")
_backward = function("relu_backward", "pppnfi")
_signs = function("relu_signs", "ppn")
_add = function("add", "pppn")

BLOCK, WORDS = 512, 16  # numbers of a block, and words that hold their bits
CODES = {"gradient": 0, "guided": 1, "deconvnet": 2, "redirected": 0}
LEAKY = 3


def bits_of(size: int) -> int:
    """Words that hold a bit for each of so many numbers."""
    return -(-size // BLOCK) * WORDS


def relu_forward(x: np.ndarray, *, rectified: bool = False, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """x of any shape -> y, cache. rectified: x is y already, and only the cache is made."""
    if not rectified:
        return forward(x, 0.0, False, remember)
    x, bits = floats(x), np.empty(bits_of(x.size), np.uint32)
    _signs(pointer(x), pointer(bits), x.size)
    return x, bits


def relu_backward(dy: np.ndarray, cache: Any, *, rule: str = "gradient") -> np.ndarray:
    """dy -> dx by one of RULES. Raises ValueError for another rule."""
    if rule not in CODES:
        raise ValueError(f"rule {rule!r}: there is {', '.join(RULES)}")
    dy = floats(dy)
    dx = backward(dy, cache, 0.0, CODES[rule])
    if rule == "redirected" and dy.size:
        dead = ~dx.reshape(len(dx), -1).any(axis=1)  # pictures whose gradient is zero everywhere
        dx[dead] = np.maximum(dy[dead], 0)  # where the input was positive, dy is zero there
    return dx


def leaky_relu_forward(x: np.ndarray, *, slope: float = 0.01, remember: str | None = "all") -> tuple[np.ndarray, Any]:
    """y = x where x > 0, slope·x elsewhere; x of any shape -> y, cache."""
    y, bits = forward(x, slope, True, remember)
    return y, None if bits is None else (bits, slope)


def leaky_relu_backward(dy: np.ndarray, cache: Any) -> np.ndarray:
    """dy -> dx = dy where x > 0, slope·dy elsewhere."""
    bits, slope = cache
    return backward(floats(dy), bits, slope, LEAKY)


def forward(x: np.ndarray, slope: float, leaky: bool, remember: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """y, and a bit for each number of x."""
    x = floats(x)
    y = empty(x.shape)
    bits = np.empty(bits_of(x.size), np.uint32) if remember else None
    _forward(pointer(x), pointer(y), pointer(bits), x.size, slope, leaky)
    return y, bits


def backward(dy: np.ndarray, bits: np.ndarray, slope: float, rule: int) -> np.ndarray:
    """dx by the rule of this number."""
    if bits.size != bits_of(dy.size):
        raise ValueError(f"expected the shape of the forward pass, got {dy.shape}")
    dx = empty(dy.shape)
    _backward(pointer(dy), pointer(bits), pointer(dx), dy.size, slope, rule)
    return dx


def add(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """a + b, of one shape; into `out`, which may be a or b, or a new array."""
    a, b = floats(a), floats(b, a.shape)
    y = place(out, a.shape)
    _add(pointer(a), pointer(b), pointer(y), a.size)
    return y
