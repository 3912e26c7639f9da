"""Softmax and cross-entropy in one, which is exact where the two apart would lose everything to rounding.

forward    p = softmax(z),  t = (1 − ε)·onehot(target) + ε/K,  loss = −(1/N) Σ t·log p        ε: label smoothing
backward   dz = dloss · (p − t)/N
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, get_array_module


def softmax_cross_entropy_forward(
    logits: Array, targets: Array, *, label_smoothing: float = 0.0, remember: str | None = "all"
) -> tuple[Array, Any]:
    """logits (N, K), targets (N,) integers in 0…K − 1 -> loss (0-dimensional, the mean over N), cache."""
    xp = get_array_module(logits)
    N, K = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))
    right = log_p[xp.arange(N), targets].sum()
    loss = -((1 - label_smoothing) * right + label_smoothing / K * log_p.sum()) / N
    return loss, None if remember is None else (log_p, targets, label_smoothing)


def softmax_cross_entropy_backward(dloss: Array | float, cache: Any) -> Array:
    """dloss, a number -> dlogits (N, K)."""
    log_p, targets, label_smoothing = cache
    xp = get_array_module(log_p)
    N, K = log_p.shape
    dlogits = xp.exp(log_p)
    dlogits -= label_smoothing / K
    dlogits[xp.arange(N), targets] -= 1 - label_smoothing
    dlogits *= dloss / N
    return dlogits
