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

What usually follows can be had in the same call: y + residual (He et al. 2015, equation 1), then ReLU, then 2×2 max
pooling. Back, dy goes through these in the opposite order first; what arrives is also the gradient of the residual.

Ioffe & Szegedy 2015, algorithm 1 and section 3; for pictures section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .max_pool import max_pool2d_backward, max_pool2d_forward
from .relu import relu_backward, relu_forward


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
    residual: np.ndarray | None = None,
    relu: bool = False,
    pool: bool = False,
    remember: str | None = "all",
) -> tuple[np.ndarray, Any]:
    """x (…, C), the others (C,) -> y, cache. `from_batch`: mean and var are x's own `batch_moments`.

    residual (…, C): y + residual; relu: then max(y, 0); pool: then the maxima of 2×2 windows, (N, H/2, W/2, C).
    """
    if pool and not relu:
        raise ValueError("pool comes with relu only")
    inv_std = 1 / np.sqrt(var + eps)
    y, xhat = np.zeros_like(x), np.zeros_like(x)
    for c in range(x.shape[-1]):
        xhat[..., c] = (x[..., c] - mean[c]) * inv_std[c]
        y[..., c] = gamma[c] * xhat[..., c] + beta[c]
    if residual is not None:
        y += residual
    relu_cache = pool_cache = None
    if relu:
        y, relu_cache = relu_forward(y, remember=remember)
    if pool:
        y, pool_cache = max_pool2d_forward(y, kernel_size=(2, 2), stride=(2, 2), remember=remember)
    if remember is None:
        return y, None
    needs_xhat = remember == "all" or from_batch
    return y, (xhat if needs_xhat else None, inv_std, gamma, from_batch, residual is not None, relu_cache, pool_cache)


def batch_norm_backward(
    dy: np.ndarray, cache: Any, *, need_dx: bool = True, need_dparams: bool = True
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy, y's shape -> dx, dgamma (C,), dbeta (C,), dresidual (…, C); None for what is not needed or was not there."""
    xhat, inv_std, gamma, from_batch, has_residual, relu_cache, pool_cache = cache
    if pool_cache is not None:
        dy = max_pool2d_backward(dy, pool_cache)
    if relu_cache is not None:
        dy = relu_backward(dy, relu_cache)
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
    dresidual = dy.copy() if has_residual else None
    return dx if need_dx else None, dgamma if need_dparams else None, dbeta if need_dparams else None, dresidual
