"""Smooth activations: their derivative is a function of their value, so y is all that is kept.

tanh       dx = dy · (1 − y²)
sigmoid    dx = dy · y · (1 − y)
softmax    dx = y · (dy − Σ dy·y)        over the last axis
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module


def tanh_forward(x: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x of any shape -> y, cache."""
    y = get_array_module(x).tanh(x)
    return y, None if remember is None else y


def tanh_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx."""
    return dy * (1 - cache * cache)


def sigmoid_forward(x: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x of any shape -> y, cache. Written with e^−|x|, which never overflows and keeps the digits of small y."""
    xp = get_array_module(x)
    e = xp.exp(-abs(x))
    y = xp.where(x >= 0, 1, e) / (1 + e)
    return y, None if remember is None else y


def sigmoid_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx."""
    return dy * cache * (1 - cache)


def softmax_forward(x: Array, *, remember: str | None = "all") -> tuple[Array, Any]:
    """x (…, K) -> y that is positive and sums to 1 over the last axis, cache."""
    xp = get_array_module(x)
    y = xp.exp(x - x.max(axis=-1, keepdims=True))  # the largest exponent is 0: no overflow
    y /= y.sum(axis=-1, keepdims=True)
    return y, None if remember is None else y


def softmax_backward(dy: Array, cache: Any) -> Array:
    """dy -> dx."""
    return cache * (dy - (dy * cache).sum(axis=-1, keepdims=True))
