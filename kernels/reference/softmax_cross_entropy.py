"""Softmax and cross-entropy in one: exact where the two apart would lose everything to rounding.

    p_k = e^{z_k} / Σ_m e^{z_m}                            the probability of class k
    t_k = (1 − ε) · 1[k = target] + ε/K                    the wanted one; ε: label smoothing, K classes
    L   = −(1/N) Σ_n Σ_k t_k · log p_k                     log p_k = z_k − log Σ_m e^{z_m}

z are the logits of example n of N. As ∂ log p_k/∂z_m = 1[k = m] − p_m, and the t_k sum to 1,

    ∂L/∂z_m = −(1/N) Σ_k t_k · (1[k = m] − p_m) = (p_m − t_m)/N
    dz_m    = dL · (p_m − t_m)/N

The largest logit is first moved to 0, which changes neither p nor L: no overflow.

Bridle 1990; label smoothing: Szegedy et al. 2016, section 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax_cross_entropy_forward(
    logits: np.ndarray, targets: np.ndarray, *, label_smoothing: float = 0.0, remember: str | None = "all"
) -> tuple[np.ndarray, Any]:
    """logits (N, K), targets (N,) integers in 0…K − 1 -> loss (0-dimensional, the mean over N), cache.

    Raises ValueError for a target that is no class.
    """
    N, K = logits.shape
    loss = np.zeros((), logits.dtype)
    p, t = np.zeros_like(logits), np.full_like(logits, label_smoothing / K)
    for n in range(N):
        if not 0 <= targets[n] < K:
            raise ValueError(f"target {targets[n]} of example {n} is not in 0…{K - 1}")
        t[n, targets[n]] += 1 - label_smoothing
        z = logits[n] - logits[n].max()  # (K,)
        log_p = z - np.log(np.exp(z).sum())
        p[n] = np.exp(log_p)
        loss -= t[n] @ log_p / N
    return loss, None if remember is None else (p, t)


def softmax_cross_entropy_backward(dloss: np.ndarray | float, cache: Any) -> np.ndarray:
    """dloss, a number -> dlogits (N, K)."""
    p, t = cache
    dlogits = np.zeros_like(p)
    for n in range(len(p)):
        dlogits[n] = dloss * (p[n] - t[n]) / len(p)
    return dlogits
