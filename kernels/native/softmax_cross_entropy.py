"""Softmax and cross-entropy in one: see softmax_cross_entropy.c."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import empty, floats, pointer
from .library import function

_loss = function("softmax_cross_entropy", "ppppnnd")


def softmax_cross_entropy_forward(
    logits: np.ndarray, targets: np.ndarray, *, label_smoothing: float = 0.0, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """logits (N, K), targets (N,) integers in 0…K − 1 -> loss (0-dimensional, the mean over N), cache.

    Raises ValueError for a target that is no class.
    """
    logits, (N, K) = floats(logits), logits.shape
    labels = np.ascontiguousarray(targets, np.int64)
    if labels.shape != (N,):
        raise ValueError(f"targets: expected ({N},), got {labels.shape}")
    gradient, loss = empty((N, K)), np.empty((), np.float32)
    if _loss(pointer(logits), pointer(labels), pointer(gradient), pointer(loss), N, K, label_smoothing):
        raise ValueError(f"targets from {targets.min()} to {targets.max()}, expected 0 to {K - 1}")
    return loss, None if remember is None else gradient


def softmax_cross_entropy_backward(dloss: np.ndarray | float, cache: Any) -> np.ndarray:
    """dloss, a number -> dlogits (N, K)."""
    return np.multiply(cache, dloss, dtype=np.float32)
