"""Batch normalization: each channel to mean 0 and variance 1 over the batch, then scaled and moved by what is learned.

    μ = (1/M) Σ x        var = (1/M) Σ (x − μ)²        σ = √(var + ε)
    x̂ = (x − μ)/σ        y = γ·x̂ + β

All per channel; the sums run over the M values of the channel, in all pictures and at all positions. `inv_std` is 1/σ.

    dβ = Σ dy
    dγ = Σ dy · x̂

For dx let g = γ·dy = ∂L/∂x̂. x acts on L directly, through μ and through var:

    ∂L/∂var = −½ σ⁻² · Σ g·x̂
    ∂L/∂μ   = −(1/σ) Σ g                                       (var's own part, −(2/M) Σ (x − μ), is zero)
    dx      = g/σ + ∂L/∂var · (2/M)(x − μ) + ∂L/∂μ · (1/M)
            = (γ/σ) · (dy − dβ/M − x̂·dγ/M)

When μ and var are constants (running averages, in evaluation) only the first term is left: dx = (γ/σ) · dy.

Ioffe & Szegedy 2015, algorithm 1 and section 3; for pictures section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def batch_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x (…, C) -> mean (C,), biased variance (C,) over all axes but the last."""
    C = x.shape[-1]
    M = x.size // C
    mean, var = np.zeros(C, x.dtype), np.zeros(C, x.dtype)
    for c in range(C):
        mean[c] = x[..., c].sum() / M
        var[c] = ((x[..., c] - mean[c]) ** 2).sum() / M
    return mean, var


def batch_norm_forward(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    *,
    eps: float = 1e-5,
    from_batch: bool,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (…, C), the others (C,) -> y, cache. `from_batch`: mean and var are x's own `batch_moments`."""
    inv_std = 1 / np.sqrt(var + eps)
    y, xhat = np.zeros_like(x), np.zeros_like(x)
    for c in range(x.shape[-1]):
        xhat[..., c] = (x[..., c] - mean[c]) * inv_std[c]
        y[..., c] = gamma[c] * xhat[..., c] + beta[c]
    needs_xhat = remember == "all" or from_batch
    return y, None if remember is None else (xhat if needs_xhat else None, inv_std, gamma, from_batch)


def batch_norm_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (…, C) -> dx, dgamma (C,), dbeta (C,); None for what is not needed."""
    xhat, inv_std, gamma, from_batch = cache
    C = dy.shape[-1]
    M = dy.size // C
    dx, dgamma, dbeta = np.zeros_like(dy), np.zeros(C, dy.dtype), np.zeros(C, dy.dtype)
    for c in range(C):
        dx[..., c] = dy[..., c]
        if need_dparams or from_batch:
            dbeta[c] = dy[..., c].sum()
            dgamma[c] = (dy[..., c] * xhat[..., c]).sum()
        if from_batch:
            dx[..., c] -= dbeta[c] / M + xhat[..., c] * dgamma[c] / M
        dx[..., c] *= gamma[c] * inv_std[c]
    return dx if need_dx else None, dgamma if need_dparams else None, dbeta if need_dparams else None
